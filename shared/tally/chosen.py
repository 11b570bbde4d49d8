"""Packed counts → what an answer wants of them, in columns.

An answer reads thousands of keys for each that it shows. So nothing is made of a key here: its values stay
numbers, its texts places in a list, its figures a row of a matrix, and whole columns are compared and chosen.
Only what is listed in the end gets its texts back.

This imports numpy, so who only counts or helps doesn't import this.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from shared.flowlog.texts import Flags, Ints
from shared.flowlog.tuples import INT64_MAX
from shared.tally.families import OF_SIDES, SIDES
from shared.tally.heavy_hitters import Key
from shared.tally.hour_counts import BUCKET_MS
from shared.tally.key_totals import Matrix
from shared.tally.measures import MEASURES, Sums, add_sums, sums_of_bytes, sums_of_first, to_figures
from shared.tally.packing import BUCKET, NUMBERS, ColumnReader, PackedPart, dimensions_of, read_packing
from shared.times import HOUR_MS

type Wanted = tuple[Sequence[str], Callable[[Any], bool], bool]
"""Dimensions, and what has to be true of the value of one of them, of those that a part has; or, if the last
is true, of none. A part that has none of them may have those that tell them (``OF_SIDES``).
"""

_AT_DEST = {"LocalIp": "Inbound", "RemoteIp": "Outbound"}
"""The flows of which a side is the destination."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a part that were wanted, in columns, a number for each row.

    - ``columns``: by dimension the numbers, or the places in ``texts``, if its values are texts;
    - ``figures``: the first measures, a column each; those that it has none of are zero;
    - ``missed``: how much each may have beside its figures; ``scopes``: in how many it was found at least,
      zero where the part is of one scope; ``seen``: two columns of what isn't summed, if that is kept: when
      each was first and last seen, in milliseconds since 1970;
    - ``others``: what the other rows have together; the whole part's ``rest`` and ``floor``.
    """

    columns: Mapping[str, Ints]
    texts: Sequence[str]
    figures: Matrix
    missed: Ints
    scopes: Ints
    seen: tuple[Ints, Ints] | None = None
    others: Sums = 0
    rest: Sums = 0
    floor: int = 0

    def __len__(self) -> int:
        return len(self.figures)

    @staticmethod
    def of(rows: Mapping[str, Sums], name: str = "", seen: tuple[int, int] | None = None) -> "Chosen":
        """Rows by a text, the value of the dimension of this name, if it has one."""
        many = len(rows)
        return Chosen(
            {name: np.arange(many)} if name else {},
            [*rows],
            figures_of(rows.values()),
            np.zeros(many, np.int64),
            np.zeros(many, np.int64),
            (np.full(many, seen[0]), np.full(many, seen[1])) if seen else None,
        )

    def keys(self) -> list[Key]:
        """The keys of all rows."""
        if not self.columns:
            return [()] * len(self)
        values = (
            column.tolist() if name in NUMBERS else [self.texts[place] for place in column.tolist()]
            for name, column in self.columns.items()
        )
        return [*zip(*values, strict=True)]

    def sums(self) -> list[Sums]:
        """The figures of all rows, each as one number."""
        return sums_of(self.figures)

    def column(self, name: str) -> Ints:
        """The column of a dimension, or of a side, which tells what the address at it is."""
        if name in self.columns:
            return self.columns[name]
        at_dest = self.passing("Direction", _AT_DEST[name].__eq__)
        return np.where(at_dest, self.columns["DestIp"], self.columns["SrcIp"])

    def only(self, rows: Flags) -> "Chosen":
        """Those rows alone; what all others have doesn't change."""
        return replace(
            self,
            columns={name: column[rows] for name, column in self.columns.items()},
            figures=self.figures[rows],
            missed=self.missed[rows],
            scopes=self.scopes[rows],
            seen=(self.seen[0][rows], self.seen[1][rows]) if self.seen else None,
        )

    def where(self, wanted: Iterable[Wanted]) -> "Chosen":
        """The rows that fulfil all that is wanted; the others are added to what others have."""
        holding = [self._holds(each) for each in wanted]
        if not holding:
            return self
        rows = np.logical_and.reduce(holding)
        others = add_sums(self.others, sum_up(self.figures[~rows]))
        return replace(_without_other_texts(self.only(rows)), others=others)

    def _holds(self, wanted: Wanted) -> Flags:
        """Row by row, whether it is one that is wanted."""
        names, test, excluded = wanted
        has = [name for name in names if name in self.columns]
        if not has and {*OF_SIDES} <= self.columns.keys():
            has = [name for name in SIDES if name in names]
        holding = [self.passing(name, test) for name in has]
        found: Flags = np.logical_or.reduce(holding) if has else np.zeros(len(self), bool)
        return ~found if excluded else found

    def passing(self, name: str, test: Callable[[Any], bool]) -> Flags:
        """Row by row, whether the value of a dimension passes; each value that there is is tested once."""
        column = self.column(name)
        if name in NUMBERS:
            values, rows = np.unique(column, return_inverse=True)
            passes: Flags = np.fromiter(map(test, values.tolist()), bool, len(values))
            return passes[rows]
        used = places_used([column], len(self.texts))
        passes = np.zeros(len(self.texts), bool)
        passes[used] = [test(self.texts[place]) for place in used.tolist()]
        return passes[column]


def unpack_part(packed: bytes, name: str) -> Chosen:
    """All rows of a part packed by itself.

    ``MalformedInput`` if these bytes are no packing that we know, or that of another part.
    """

    def choose(shares: Iterable[int], parts: Iterable[_Part]) -> Chosen:
        chosen = NOTHING
        if [*shares] != [0]:
            raise ValueError("it is no period's")
        for part in parts:
            if part.name != name:
                raise ValueError(f"it is of {part.name}")
            chosen = _all_of(part)
        return chosen

    return read_packing(packed, _ArrayReader, choose)


def unpack_shares(packed: bytes, asked: Sequence[tuple[str, Sequence[Wanted]]]) -> dict[int, list[Chosen]]:
    """The rows of some parts of each share of a blob's counts, each by its name with what is wanted of it:
    in their order, of the shares that have any of them.

    ``MalformedInput`` if these bytes are no packing that we know.
    """

    def choose(_: Iterable[int], parts: Iterator[_Part]) -> dict[int, list[Chosen]]:
        found: dict[int, list[Chosen]] = {}
        for part in parts:
            for place, (name, wanted) in enumerate(asked):
                if part.name == name:
                    chosen = _all_of(part).where(wanted)
                    found.setdefault(part.share, [NOTHING] * len(asked))[place] = chosen
        return found

    return read_packing(packed, _ArrayReader, choose)


def sum_up(figures: Matrix) -> Sums:
    """What all rows have together."""
    if not len(figures):
        return 0
    if is_small(figures):
        return sums_of_first(figures.sum(axis=0).tolist())
    return reduce(add_sums, sums_of(figures), 0)


def is_small(numbers: Ints | Matrix) -> bool:
    """Whether no sum of any of these rows gets beyond what a column holds."""
    return numbers.size == 0 or max(int(numbers.max()), -int(numbers.min())) <= INT64_MAX // len(numbers)


def figures_of(many: Iterable[Sums]) -> Matrix:
    """Figures of many keys as rows, of each all measures."""
    return np.array([to_figures(sums) for sums in many], np.int64).reshape(-1, len(MEASURES))


def sums_of(figures: Matrix) -> list[Sums]:
    """The figures of each row as one number."""
    return sums_of_bytes(figures.tobytes(), figures.shape[1]) if figures.size else [0] * len(figures)


NOTHING = Chosen.of({})


def _without_other_texts(chosen: Chosen) -> Chosen:
    """The same without texts that no row has: they may be most of what is kept of it."""
    names = [name for name in chosen.columns if name not in NUMBERS]
    used = places_used([chosen.columns[name] for name in names], len(chosen.texts))
    places = np.zeros(len(chosen.texts), np.int64)
    places[used] = np.arange(len(used))
    renumbered = {name: places[chosen.columns[name]] for name in names}
    texts = [chosen.texts[place] for place in used.tolist()]
    return replace(chosen, columns={**chosen.columns, **renumbered}, texts=texts)


def places_used(columns: Iterable[Ints], many: int) -> Ints:
    """Which of so many places these columns have; ``IndexError`` if they have others."""
    used = np.zeros(many, bool)
    for column in columns:
        used[column] = True
    return np.flatnonzero(used)


type _Part = PackedPart[Ints, Matrix]

_MOST = {BUCKET: HOUR_MS // BUCKET_MS - 1, "DestPort": 65_535}
"""The largest numbers that there are of dimensions whose values are no texts."""


def _all_of(part: _Part) -> Chosen:
    columns = {name: column for name, (column, _) in zip(dimensions_of(part.name), part.values, strict=True)}
    texts = [column for column, is_text in part.values if is_text]
    if any(column.size and column.max() >= len(part.texts) for column in texts):
        raise ValueError("there are fewer texts than keys have")
    for name in columns.keys() & _MOST.keys():
        if columns[name].size and columns[name].max() > _MOST[name]:
            raise ValueError(f"a {name} of {columns[name].max()}")
    return Chosen(
        columns,
        part.texts,
        part.figures,
        part.missed,
        part.scopes,
        part.times,
        rest=part.rest,
        floor=part.floor,
    )


class _ArrayReader(ColumnReader[Ints, Matrix]):
    """Columns as arrays."""

    def take(self, many: int, width: int) -> Ints:
        if width == 0:
            return np.zeros(many, np.int64)
        if width == 1:  # most of them
            return np.frombuffer(self._bytes(many), np.uint8).astype(np.int64)
        return self.take_figures(many, [width])[:, 0]

    def take_figures(self, many: int, widths: Sequence[int]) -> Matrix:
        widths = widths or [0]
        planes, places = self._planes(many, widths)
        numbers = np.zeros((many, 8 * len(widths)), np.uint8)
        if planes:
            numbers[:, places] = np.frombuffer(planes, np.uint8).reshape(-1, many).T
        return numbers.view("<i8")

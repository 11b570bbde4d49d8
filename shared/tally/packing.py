"""Counts ⇄ bytes: how counts travel in one entity.

The layout, version 1, inside one zlib stream::

    4 bytes    length of the header, little endian
    header     JSON: {"packing": 1,
                      "shares": {share: {part: [rows, floor, *rest]}},
                      "texts": [how many, how many bytes, what stands between two],
                      "widths": {"keys": …, "missed": …, "scopes": …, "seen": [first, last], "sums": […]}}
    columns    in the order of "widths", each a run of unsigned numbers as byte planes: all lowest bytes first
    texts      one after another, UTF-8; between them the first character of Unicode that is in none of them

The parts of a share are its families, by name, and "traffic", which has neither floor nor rest. The rows of
all parts of all shares stand in the same few columns, one part after another: a few rows of many parts cost
little more than as many rows of one. The keys of a part are the values of its first dimension, then those of
its second, and so on: numbers as they are, texts as their places in the list of all texts. "seen" has rows
only of families that keep times. "scopes", how many scopes have a key, is zero where counts are of one scope.

A column takes as many planes as its largest number needs, its width, so that small numbers take little, zeros
nothing, and zlib meets like with like. Lists of figures end with the last that isn't zero. Rows stand in the
order in which their keys were admitted, which decides which of equal ones is dropped; those of traffic are
sorted. So equal counts are equal bytes, whatever they have been through.
"""

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from operator import itemgetter
from typing import Any

import orjson

from shared.errors import MalformedInput
from shared.tally.families import FAMILIES, OF_PORT
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import (
    MEASURES,
    Sums,
    bits_of_sums,
    bytes_of_sums,
    measures_in,
    sums_of_bytes,
    sums_of_first,
    to_figures,
)

PACKING = 1
"""The version of this layout; a packing that says another is refused."""

COUNTS_BYTES = 524 * 1024
"""The most bytes that a blob's packed counts take in its entity."""

TRAFFIC = "traffic"
"""The name of what is packed beside the families."""

FAMILY_BYTES = 512 * 1024
"""The most bytes that a family takes where each is packed by itself: it has an entity of its own."""

PERIOD_BYTES = 2_800_000
"""The most bytes that all of these take together: they are written in one transaction, which has 4 MiB, in
base64, which takes a third more.
"""

KEYS_LEFT_ALONE = 100
"""A family of up to so many keys gives none of them up to make room, unless no other is left to do so."""

_MOST_NUMBERS = 10_000_000
"""More than any columns have."""


def pack(shares: Mapping[int, HourCounts]) -> bytes:
    """Pack counts by share (-1, 0, +1; see ``BlobCounts``)."""
    return _pack({share: _parts_of(counts) for share, counts in shares.items()})


def pack_within(shares: Mapping[int, HourCounts], most: int = COUNTS_BYTES) -> bytes:
    """Pack counts into at most ``most`` bytes.

    Where they take more, families drop keys in place, which moves those keys' figures to the rest: again and
    again the family of most bytes gives up a quarter of its keys, until all of them should fit.
    """
    packed = pack(shares)
    while len(packed) > most:
        families = {
            (share, name): family
            for share, counts in shares.items()
            for name, family in counts.families.items()
        }
        sizes = {place: len(_lay_out({0: {place[1]: family}})) for place, family in families.items()}
        if not _drop_keys(families, sizes, sum(sizes.values()) * most // len(packed)):
            break
        packed = pack(shares)
    return packed


def pack_apart(counts: HourCounts) -> dict[str, bytes]:
    """Pack each family that has anything, and ``traffic`` if there is any, by itself; gives them by name.

    Each is a packing of share 0 that has this part alone. Families drop keys in place, as in ``pack_within``,
    where they take more than ``FAMILY_BYTES`` each or more than ``PERIOD_BYTES`` all together.
    """
    parts = _parts_of(counts)
    packed = {name: _pack({0: {name: part}}) for name, part in parts.items()}
    families = {name: family for name, family in counts.families.items() if name in parts}

    def fit(some: Mapping[str, HeavyHitters], most: int) -> None:
        while dropping := _drop_keys(some, {name: len(packed[name]) for name in some}, most):
            packed.update({name: _pack({0: {name: some[name]}}) for name in dropping})

    for name, family in families.items():
        fit({name: family}, FAMILY_BYTES)
    fit(families, PERIOD_BYTES - len(packed.get(TRAFFIC, b"")))
    return packed


def _drop_keys[Place](
    families: Mapping[Place, HeavyHitters], sizes: dict[Place, int], most: int
) -> list[Place]:
    """Drop keys until families of these sizes should take ``most`` bytes together; gives those that did."""
    keep = {place: len(family) for place, family in families.items()}
    while sum(sizes.values()) > most and any(keep.values()):
        large = [place for place, keys in keep.items() if keys > KEYS_LEFT_ALONE]
        place = max(large or filter(keep.get, keep), key=sizes.__getitem__)
        left = max(keep[place] * 3 // 4, KEYS_LEFT_ALONE if large else 0)
        sizes[place] = sizes[place] * left // keep[place]
        keep[place] = left
    dropping = [place for place, left in keep.items() if left < len(families[place])]
    for place in dropping:
        families[place].trim(keep[place])
    return dropping


type _Traffic = dict[tuple[int, str, str], Sums]
type _Part = HeavyHitters | _Traffic


def _parts_of(counts: HourCounts) -> dict[str, _Part]:
    """What there is anything of, by name."""
    parts: dict[str, _Part] = {TRAFFIC: counts.traffic} if counts.traffic else {}
    return parts | {name: each for name, each in counts.families.items() if not each.is_empty()}


def dimensions_of(part: str) -> tuple[str, ...]:
    """The columns of a part's keys."""
    return _OF_TRAFFIC if part == TRAFFIC else FAMILIES[part].columns


BUCKET = "Bucket"
"""The dimension of traffic that tells the five minutes of an hour, by number."""

_OF_TRAFFIC = BUCKET, "Direction", "Status"

NUMBERS = {BUCKET, *OF_PORT}
"""Dimensions whose values are no texts."""


# Packing


def _pack(shares: Mapping[int, Mapping[str, _Part]]) -> bytes:
    return zlib.compress(_lay_out(shares), level=1)


def _lay_out(shares: Mapping[int, Mapping[str, _Part]]) -> bytes:
    """A packing before it is compressed."""
    header: dict[str, Any] = {"packing": PACKING, "shares": {}}
    texts = Numbers[str]()
    keys: list[int] = []
    sums: list[Sums] = []
    missed: list[int] = []
    scopes: list[int] = []
    seen: list[tuple[int, int]] = []
    for share, parts in sorted(shares.items()):
        of_parts = header["shares"][str(share)] = {}
        for name, part in parts.items():
            if isinstance(part, HeavyHitters):
                rows: Mapping[Key, Sums] = part.sums
                of_parts[name] = [len(rows), part.floor, *_to_list(part.rest)]
                missed += map(part.missed.get, rows, repeat(0)) if part.missed else repeat(0, len(rows))
                scopes += map(part.scopes.get, rows, repeat(0)) if part.scopes else repeat(0, len(rows))
                seen += map(part.seen.__getitem__, rows) if part.seen else ()
            else:
                rows = dict(sorted(part.items()))
                of_parts[name] = [len(rows)]
                missed += repeat(0, len(rows))
                scopes += repeat(0, len(rows))
            for dimension, column in zip(dimensions_of(name), zip(*rows, strict=True), strict=bool(rows)):
                keys += column if dimension in NUMBERS else map(texts.__getitem__, column)
            sums += rows.values()
    in_texts = {*"".join(texts)}
    between = next(each for each in map(chr, count()) if each not in in_texts)
    joined = between.join(texts).encode("utf-8", "surrogatepass")
    header["texts"] = len(texts), len(joined), between
    first, last = zip(*seen, strict=True) if seen else ((), ())
    columns = _ColumnWriter()
    header["widths"] = {
        "keys": columns.add(keys),
        "missed": columns.add(missed),
        "scopes": columns.add(scopes),
        "seen": [columns.add(first), columns.add(last)],
        "sums": columns.add_sums(sums),
    }
    encoded = orjson.dumps(header)
    return b"".join([len(encoded).to_bytes(4, "little"), encoded, *columns.planes, joined])


class Numbers[Item](dict[Item, int]):
    """Items, each with a number, in the order of first use."""

    def __missing__(self, item: Item) -> int:
        number = self[item] = len(self)
        return number


class _ColumnWriter:
    """Byte planes, one after another."""

    def __init__(self) -> None:
        self.planes: list[bytes] = []

    def add(self, column: Sequence[int]) -> int:
        """Add a column of numbers from 0 on; returns how many planes it took."""
        width = _width_of(max(column, default=0))
        if width == 1:  # most of them
            self.planes.append(bytes(column))
        elif width:
            code, size = _format_of(width)
            numbers = struct.pack(f"<{len(column)}{code}", *column)
            self.planes += [numbers[plane::size] for plane in range(width)]
        return width

    def add_sums(self, sums: Sequence[Sums]) -> list[int]:
        """Add the columns of figures; returns how many planes each took."""
        bits = bits_of_sums(sums)
        measures = measures_in(bits)
        numbers = bytes_of_sums(sums, measures)
        widths = _shortened([*map(_width_of, to_figures(bits))])
        for place, width in enumerate(widths):
            self.planes += [numbers[8 * place + plane :: 8 * measures] for plane in range(width)]
        return widths


def _shortened(numbers: list[int]) -> list[int]:
    """Without the zeros at the end: most counts have nothing of restarts."""
    length = len(numbers)
    while length and not numbers[length - 1]:
        length -= 1
    return numbers[:length]


def _to_list(sums: Sums) -> list[int]:
    """The figures of what is often nothing."""
    return _shortened(to_figures(sums)) if sums else []


def _of_list(numbers: list[int]) -> Sums:
    """What ``_to_list`` has made these of."""
    return sums_of_first(numbers) if any(numbers) else 0


def _format_of(width: int) -> tuple[str, int]:
    """The code of the smallest number that has so many bytes, and how many it has."""
    return ("H", 2) if width == 2 else ("q", 8)


def _width_of(largest: int) -> int:
    return (largest.bit_length() + 7) // 8


# Unpacking


def unpack(packed: bytes) -> dict[int, HourCounts]:
    """The counts that were packed; ``MalformedInput`` if these bytes are no packing that we know."""

    def fill(names: Iterable[int], parts: Iterable[_PlainPart]) -> dict[int, HourCounts]:
        shares = {share: HourCounts() for share in names}
        for part in parts:
            counts = shares[part.share]
            if part.name == TRAFFIC:
                counts.traffic = dict(zip(_keys(part), part.figures, strict=True))  # type: ignore[arg-type]
            else:
                family = counts.families[part.name]
                family.floor, family.rest = part.floor, part.rest
                seen = zip(*part.times, strict=True) if part.times else ()
                family.fill(_keys(part), part.figures, part.missed, seen, part.scopes)
        return shares

    return read_packing(packed, _PlainReader, fill)


def _keys(part: "_PlainPart") -> list[Key]:
    """The keys of all rows."""
    columns = [_items(part.texts, column) if is_text else column for column, is_text in part.values]
    return [*zip(*columns, strict=True)]


def _items(texts: Sequence[str], places: Sequence[int]) -> Sequence[str]:
    """The texts at these places."""
    if len(places) < 2:
        return [texts[place] for place in places]
    found: tuple[str, ...] = itemgetter(*places)(texts)  # half of the time of asking one by one
    return found


@dataclass(frozen=True, slots=True)
class PackedPart[Column, Figures]:
    """A part of a share, in columns. ``values``: of each dimension the numbers, and whether they are places
    in ``texts``; ``times``: when each row was first and last seen, if that is kept.
    """

    share: int
    name: str
    values: Sequence[tuple[Column, bool]]
    texts: Sequence[str]
    figures: Figures
    missed: Column
    scopes: Column
    times: tuple[Column, Column] | None
    floor: int
    rest: Sums


def read_packing[Column, Figures, Made](
    packed: bytes,
    columns: "Callable[[bytes, int], ColumnReader[Column, Figures]]",
    make: Callable[[Iterable[int], Iterator[PackedPart[Column, Figures]]], Made],
) -> Made:
    """What is made of the shares that there are, and of their parts; ``columns`` reads these from a body, at
    a place in it. ``MalformedInput`` if these bytes are no packing that we know.
    """
    try:
        body = _decompressed(packed)
        header_end = 4 + int.from_bytes(body[:4], "little")
        header = orjson.loads(body[4:header_end])
        version = header["packing"]
        if version == PACKING:
            return make(map(int, header["shares"]), _parts_in(header, columns(body, header_end)))
    except Exception as error:  # whatever is wrong with these bytes, they are no packing
        raise MalformedInput(f"counts can't be unpacked: {error!r}") from error
    raise MalformedInput(f"counts are packed as version {version!r}, known is {PACKING}")


def _decompressed(packed: bytes) -> bytes:
    """What one zlib stream holds; ``zlib.decompress`` would not mind what stands behind it."""
    stream = zlib.decompressobj()
    body = stream.decompress(packed)
    if not stream.eof or stream.unused_data:
        raise ValueError("there is less or more than one packing")
    return body


def _parts_in[Column, Figures](
    header: dict[str, Any], reader: "ColumnReader[Column, Figures]"
) -> Iterator[PackedPart[Column, Figures]]:
    parts = [
        (int(share), name, *numbers)
        for share, of_parts in header["shares"].items()
        for name, numbers in of_parts.items()
    ]
    cells = rows = timed = 0
    for _, name, many, *_ in parts:
        if many < 0:
            raise ValueError("fewer rows than none")
        cells += many * len(dimensions_of(name))
        rows += many
        timed += many if _has_times(name) else 0
    if max(cells, rows) > _MOST_NUMBERS:
        raise ValueError("columns are longer than any")
    widths = header["widths"]
    keys = _Runs(reader.take(cells, widths["keys"]))
    missed = _Runs(reader.take(rows, widths["missed"]))
    scopes = _Runs(reader.take(rows, widths["scopes"]))
    first, last = (_Runs(reader.take(timed, width)) for width in widths["seen"])
    figures = _Runs(reader.take_figures(rows, widths["sums"]))
    texts = reader.take_texts(*header["texts"])
    for share, name, many, *numbers in parts:
        floor, *rest = numbers or [0]
        yield PackedPart(
            share,
            name,
            [(keys.next(many), dimension not in NUMBERS) for dimension in dimensions_of(name)],
            texts,
            figures.next(many),
            missed.next(many),
            scopes.next(many),
            (first.next(many), last.next(many)) if _has_times(name) else None,
            _of_list([floor]),  # refused if no column holds it, and so is the rest
            _of_list(rest),
        )


def _has_times(part: str) -> bool:
    return part != TRAFFIC and FAMILIES[part].times


class _Runs[Column]:
    """A column that is taken one run after another."""

    def __init__(self, column: Column) -> None:
        self._column, self._at = column, 0

    def next(self, many: int) -> Column:
        self._at += many
        return self._column[self._at - many : self._at]  # type: ignore[index, no-any-return]


class ColumnReader[Column, Figures](ABC):
    """Takes columns out of a body, one after another; ``ValueError`` if there is less than they take."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body, self._at = body, at

    @abstractmethod
    def take(self, many: int, width: int) -> Column:
        """A column of so many numbers."""

    @abstractmethod
    def take_figures(self, many: int, widths: Sequence[int]) -> Figures:
        """The columns of figures, of so many keys."""

    def take_texts(self, many: int, size: int, between: str) -> list[str]:
        """So many texts, which are all that is left, so many bytes, with this between any two."""
        joined = self._body[self._at :]
        texts = joined.decode("utf-8", "surrogatepass").split(between) if many else []
        if (len(texts), len(joined)) != (many, size):
            raise ValueError("there are more texts or fewer than there should be")
        return texts

    def _planes(self, many: int, widths: Sequence[int]) -> tuple[bytes, list[int]]:
        """The planes of columns that stand side by side, of each row as many numbers of 64 bits as there are
        columns: one plane after another, and of each which byte of such a row it has.
        """
        if len(widths) > len(MEASURES):
            raise ValueError(f"{len(widths)} measures")
        if many * len(widths) > _MOST_NUMBERS or min(widths) < 0 or max(widths) > 8:
            raise ValueError("columns are longer or wider than any")
        places = [8 * column + byte for column, width in enumerate(widths) for byte in range(width)]
        planes = self._bytes(many * len(places))
        for number, place in enumerate(places):
            if place % 8 == 7 and max(planes[many * number : many * (number + 1)], default=0) > 0x7F:
                raise ValueError("a number is too large for a column")
        return planes, places

    def _bytes(self, many: int) -> bytes:
        self._at += many
        if self._at > len(self._body):
            raise ValueError("columns are longer than what there is")
        return self._body[self._at - many : self._at]


type _PlainPart = PackedPart[Sequence[int], Sequence[Sums]]


class _PlainReader(ColumnReader[Sequence[int], Sequence[Sums]]):
    """Columns as what Python has."""

    def take(self, many: int, width: int) -> Sequence[int]:
        if width == 0:
            return bytes(many)
        if width == 1:
            return self._bytes(many)
        return struct.unpack(f"<{many}q", self._side_by_side(many, [width]))

    def take_figures(self, many: int, widths: Sequence[int]) -> Sequence[Sums]:
        return sums_of_bytes(self._side_by_side(many, widths), len(widths)) if widths else [0] * many

    def _side_by_side(self, many: int, widths: Sequence[int]) -> bytearray:
        step = 8 * len(widths)
        numbers = bytearray(step * many)
        planes, places = self._planes(many, widths)
        for number, place in enumerate(places):
            numbers[place::step] = planes[many * number : many * (number + 1)]
        return numbers

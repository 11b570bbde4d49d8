"""What was counted of some periods and scopes → one table, and the lists that an answer shows of it (pure).

Theory of operation
-------------------
What a period of a scope has counted of a question says of each key that it kept what it has, and by how much
that may be too little. What it dropped is in its rest, exactly. An answer is the merge of all of them: a
key's sums are those of all together, and nothing is dropped on the way. In a period that didn't keep a key,
the key may have had some all the same, but no more than the largest that was ever dropped there: the period's
floor, which is never more than what its rest weighs. That bound is added to what the key has missed. So the
laws of one period hold for all together, for every measure and, as to ``Missed``, in the unit that the
question is ranked by:

1. rows + rest = total, exactly;
2. a row ≤ its key's truth ≤ the row + ``Missed``;
3. no key that no period has kept has more than ``missed``.

A row that stands for several keys (``--by``) may lack some of each of them, and of keys that were dropped: no
floor bounds that, but the rest does. The same holds for the log's own sums (``--as-logged``), by which no key
was kept or dropped.

Only then the largest are chosen, and what is beyond the limit goes to the rest of the list.

Conditions are held against every key that was kept, as soon as it is unpacked. What was dropped they can't be
held against: it stands by itself as ``unfiltered``, and the truth is between ``total`` and ``total`` +
``unfiltered``. Up to a family's capacity it is zero. Keys whose own side is an address that the conditions
name may have been read from the entries of the interfaces themselves (see ``descent``): they lack nothing
but what those have dropped.

Nothing is made of a key on the way. What is added is kept as it comes, in columns, with texts by number; from
time to time, and in the end, rows of the same key are found by sorting, and become one. A list of each period
is a table with the period as one more column. Only keys that may be listed get their texts back.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from heapq import nsmallest
from itertools import pairwise, repeat
from typing import Any

import numpy as np

from shared.flowlog.texts import Flags, Ints
from shared.flowlog.tuples import INT64_MAX
from shared.tally.chosen import Chosen, figures_of, is_small, places_used, sum_up, sums_of
from shared.tally.heavy_hitters import Key
from shared.tally.key_totals import Matrix
from shared.tally.measures import PLAIN, Sums, add_sums, logged
from shared.tally.packing import BUCKET, NUMBERS, Numbers
from shared.times import FIRST_MOMENT, to_moment
from shared.views.answers import AnswerRow, Line, LineKey, List, compared_by
from shared.views.query import Query, floor

_FIVE_MINUTES = timedelta(minutes=5)
_MICROSECOND = timedelta(microseconds=1)
_UNKNOWN = int(np.iinfo(np.int64).min)
MOST_APART = 100_000
"""Rows that are kept apart until those of the same key become one, of all sources of a list together; beside
twice as many as there are keys.
"""


class Texts:
    """A number for each text of an answer. Threads may share it."""

    def __init__(self) -> None:
        self._numbers = Numbers[str]()
        self._lock = threading.Lock()

    def renumber(self, columns: Sequence[Ints], texts: Sequence[str]) -> list[Ints]:
        """Columns of places in ``texts`` as columns of our numbers."""
        used = places_used(columns, len(texts))
        its = texts if len(used) == len(texts) else [texts[place] for place in used.tolist()]
        ours = np.zeros(len(texts), np.int64)
        with self._lock:
            ours[used] = [*map(self._numbers.__getitem__, its)]
        return [ours[column] for column in columns]

    def all(self) -> list[str]:
        """The texts by their numbers."""
        with self._lock:
            return [*self._numbers]


@dataclass(slots=True)
class _Dropped:
    """What was dropped in counting, of keys that are named and of others, and the most of any one key; and
    what doesn't fulfil the conditions.
    """

    rest_of_others: Sums = 0
    rest_of_named: Sums = 0
    bound_of_others: int = 0
    bound_of_named: int = 0
    others: Sums = 0

    def add(self, other: "_Dropped") -> None:
        """Add another's."""
        self.rest_of_others = add_sums(self.rest_of_others, other.rest_of_others)
        self.rest_of_named = add_sums(self.rest_of_named, other.rest_of_named)
        self.bound_of_others += other.bound_of_others
        self.bound_of_named += other.bound_of_named
        self.others = add_sums(self.others, other.others)

    @property
    def rest(self) -> Sums:
        """What was dropped: of all keys, where others than those named were read, too."""
        return self.rest_of_others or self.rest_of_named


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows in columns.

    - ``keys``: the list's period, in five minutes since 1970, or zero; then the columns of the key;
    - ``beyond``: missed, less the bound: periods that lack a key needn't visit it;
    - ``scopes``: in how many each is, where that is known, else zero;
    - ``first``, ``last``: the first and the last period that has it, in five minutes since 1970;
    - ``seen``: what isn't summed, a column each;
    - ``named``: whether its own side is an address that the conditions name.
    """

    keys: Sequence[Ints]
    figures: Matrix
    beyond: Ints
    scopes: Ints
    first: Ints
    last: Ints
    seen: Sequence[Ints]
    named: Flags

    def __len__(self) -> int:
        return len(self.figures)


class Merged:
    """What some periods and scopes have of a question together, without a limit, by the columns asked for."""

    __slots__ = ("_adds_scopes", "_apart", "_most_apart", "_query", "_rows", "_texts", "dropped")

    def __init__(self, query: Query, texts: Texts, most_apart: int = MOST_APART) -> None:
        self._query = query
        self._texts = texts
        self._most_apart = most_apart
        self._rows: list[_Rows] = []
        self._apart = 0
        self._adds_scopes = False
        self.dropped: dict[int, _Dropped] = {}

    @staticmethod
    def of_scopes(query: Query, texts: Texts, scopes: Sequence["Merged"]) -> "Merged":
        """What several scopes have together."""
        if len(scopes) == 1:
            return scopes[0]
        together = Merged(query, texts)
        together._adds_scopes = True
        for each in scopes:
            together.join(each)
        return together

    def add(self, period: datetime, chosen: Chosen, *, named: bool = False) -> None:
        """Add what a period has, of one scope or of all; ``named``: of the keys whose own side is an address
        that the conditions name, and of no others.
        """
        number, grain = (period - FIRST_MOMENT) // _FIVE_MINUTES, self._query.grain
        of_list = (floor(period, grain) - FIRST_MOMENT) // _FIVE_MINUTES if grain else 0
        dropped = self.dropped.setdefault(of_list, _Dropped())
        dropped.add(
            _Dropped(0, chosen.rest, 0, chosen.floor, chosen.others)
            if named
            else _Dropped(chosen.rest, 0, chosen.floor, 0, chosen.others)
        )
        many = len(chosen)
        if not many:
            return
        begins = np.full(many, number)
        periods = begins + chosen.columns[BUCKET] if grain == "5m" else np.full(many, of_list)
        texts = [name for name in self._query.key if name not in NUMBERS]
        renumbered = self._texts.renumber([chosen.column(name) for name in texts], chosen.texts)
        columns = {**chosen.columns, **dict(zip(texts, renumbered, strict=True))}
        self._append(
            _Rows(
                [periods, *(columns[name] for name in self._query.key)],
                chosen.figures,
                chosen.missed - chosen.floor,
                chosen.scopes,
                begins,
                begins,
                chosen.seen or () if self._query.question.extremes else (),
                np.full(many, named),
            )
        )

    def join(self, other: "Merged") -> None:
        """Add what was merged of other periods, or of other scopes."""
        for period, dropped in other.dropped.items():
            self.dropped.setdefault(period, _Dropped()).add(dropped)
        rows = other.rows()
        self._append(replace(rows, scopes=np.maximum(rows.scopes, 1)) if self._adds_scopes else rows)

    def rows(self) -> _Rows:
        """A row for each key, and for each period that has a list; they are sorted by period."""
        if not self._rows:
            return _nothing(len(self._query.key), len(self._query.question.extremes), 0)
        if self._apart:
            self._settle()
        return self._rows[0]

    def sums(self) -> dict[Key, Sums]:
        """What each key has."""
        return dict(zip(self._keys(), sums_of(self.rows().figures), strict=True))

    def first_seen(self) -> Iterator[tuple[Key, datetime, datetime]]:
        """Of each key the first period that has it, and when it was first seen, as far as that is known."""
        rows = self.rows()
        periods = [FIRST_MOMENT + first * _FIVE_MINUTES for first in rows.first.tolist()]
        moments = [*map(to_moment, rows.seen[0].tolist())] if self._query.question.keeps_times else periods
        return zip(self._keys(), periods, moments, strict=True)

    def _keys(self) -> list[Key]:
        rows = self.rows()
        return _keys(self._query.key, rows.keys[1:], len(rows), self._texts.all())

    def rest(self, period: int) -> Sums:
        """What was dropped in counting, as it is asked for."""
        rest = self._dropped_of(period).rest
        return logged(rest) if self._query.as_logged and rest else rest

    def bound(self, period: int) -> int:
        """The most that was dropped of any one row."""
        its = self._dropped_of(period)
        return max(its.bound_of_others, its.bound_of_named) if self._is_tight() else self._weigh_rest(period)

    def missed(self, period: int, beyond: int, *, named: bool) -> int:
        """The most that a row may have beside its figures. ``beyond``: the row's, or zero if this has none of
        its key; ``named``: whether its own side is an address that the conditions name.
        """
        if not self._is_tight():
            return self._weigh_rest(period)
        its = self._dropped_of(period)
        return beyond + (its.bound_of_named if named else max(its.bound_of_named, its.bound_of_others))

    def others(self, period: int) -> Sums:
        """What doesn't fulfil the conditions."""
        return self._dropped_of(period).others

    def _dropped_of(self, period: int) -> _Dropped:
        return self.dropped.get(period) or _Dropped()

    def _is_tight(self) -> bool:
        """Whether floors bound what rows lack."""
        return self._query.has_whole_keys and not self._query.as_logged

    def _weigh_rest(self, period: int) -> int:
        rest = self.rest(period)
        return self._query.question.weigh(self._query.question.unit)(rest) if rest else 0

    def _append(self, rows: _Rows) -> None:
        self._rows.append(rows)
        self._apart += len(rows)
        if self._apart > self._most_apart + 2 * len(self._rows[0]):
            self._settle()

    def _settle(self) -> None:
        """Make one row of those of the same key."""
        rows = self._rows[0] if len(self._rows) == 1 else _one_after_another(self._rows)
        order, starts = _group(rows.keys)
        add_scopes = np.add if self._adds_scopes else np.maximum
        widen = [
            np.minimum if choose is min else np.maximum for choose in self._query.question.extremes.values()
        ]
        firsts = order[starts]
        together = _Rows(
            [column[firsts] for column in rows.keys],
            _add_up_figures(rows.figures[order], starts),
            _add_up(rows.beyond[order], starts),
            add_scopes.reduceat(rows.scopes[order], starts),
            np.minimum.reduceat(rows.first[order], starts),
            np.maximum.reduceat(rows.last[order], starts),
            [by.reduceat(column[order], starts) for by, column in zip(widen, rows.seen, strict=False)],
            np.logical_or.reduceat(rows.named[order], starts),
        )
        self._rows, self._apart = [together], 0


def _nothing(columns: int, seen: int, rows: int) -> _Rows:
    """So many rows that have nothing, of keys of so many columns."""
    none = np.zeros(rows, np.int64)
    return _Rows(
        [none] * (1 + columns),
        np.zeros((rows, len(PLAIN)), np.int64),
        *(none, none, none, none),
        [none] * seen,
        none.astype(bool),
    )


def _one_after_another(many: Sequence[_Rows]) -> _Rows:
    """The rows of all of these."""

    def joined(of: Callable[[_Rows], Ints]) -> Ints:
        return np.concatenate([of(rows) for rows in many])

    measures = max(rows.figures.shape[1] for rows in many)
    return _Rows(
        [np.concatenate(columns) for columns in zip(*(rows.keys for rows in many), strict=True)],
        np.concatenate([_widened(rows.figures, measures) for rows in many]),
        joined(lambda rows: rows.beyond),
        joined(lambda rows: rows.scopes),
        joined(lambda rows: rows.first),
        joined(lambda rows: rows.last),
        [np.concatenate(columns) for columns in zip(*(rows.seen for rows in many), strict=True)],
        np.concatenate([rows.named for rows in many]),
    )


def _widened(figures: Matrix, measures: int) -> Matrix:
    """With so many measures: those that are lacking are zero."""
    lacking = measures - figures.shape[1]
    return np.pad(figures, ((0, 0), (0, lacking))) if lacking else figures


def _group(keys: Sequence[Ints]) -> tuple[Ints, Ints]:
    """The order in which rows of the same key stand together, sorted by the first column, and where in it
    each key begins.
    """
    codes, most = keys[0], 1 + int(keys[0].max())
    for column in keys[1:]:
        span = 1 + int(column.max())
        if most * span > INT64_MAX:
            codes = np.unique(codes, return_inverse=True)[1]
            most = 1 + int(codes.max())
        codes, most = codes * span + column, most * span
    order = np.argsort(codes, kind="stable")
    in_order = codes[order]
    return order, np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))


def _add_up(numbers: Ints, starts: Ints) -> Ints:
    """The sums of runs of rows, exactly: where one may be too large for an array, they are Python's."""
    return np.add.reduceat(numbers if is_small(numbers) else numbers.astype(object), starts, axis=0)


def _add_up_figures(figures: Matrix, starts: Ints) -> Matrix:
    """The same of figures, which stay at the largest number that there is."""
    return np.minimum(_add_up(figures, starts), INT64_MAX).astype(np.int64, copy=False)


def _keys(names: Sequence[str], columns: Sequence[Ints], many: int, texts: Sequence[str]) -> list[Key]:
    """The keys of so many rows, of which these are the columns."""
    if not names:
        return [()] * many
    values = (
        column.tolist() if name in NUMBERS else [texts[number] for number in column.tolist()]
        for name, column in zip(names, columns, strict=True)
    )
    return [*zip(*values, strict=True)]


# Lists


@dataclass(frozen=True, slots=True)
class Group:
    """What was merged of the scopes whose rows are one: in a comparison, of the present time and of the time
    before. ``scope``: the one that it is of, where each has rows of its own.
    """

    merged: tuple[Merged, ...]
    scope: str = ""


def list_groups(
    query: Query, groups: Sequence[Group], texts: Texts
) -> Iterator[tuple[datetime | None, List]]:
    """The lists of these groups' keys, those of both times, each cut to the limit: of each period, or one of
    the whole time.
    """
    table = _Table(query, groups, texts.all())
    if not query.grain:
        yield None, table.cut(0, 0, len(table))
        return
    known, begins = np.unique(table.keys[0], return_index=True)
    runs = dict(zip(known.tolist(), pairwise([*begins.tolist(), len(table)]), strict=True))
    dropped = {period for group in groups for merged in group.merged for period in merged.dropped}
    for period in sorted(dropped | runs.keys()):
        yield FIRST_MOMENT + period * _FIVE_MINUTES, table.cut(period, *runs.get(period, (0, 0)))


class _Table:
    """The rows of some groups, those of the same key side by side in their times.

    ``keys``: the period, the group's number if each has rows of its own, the columns of the key, sorted by
    period. ``_places``: for each time the place of its row in ``_rows``, or -1, where a row has nothing.
    """

    def __init__(self, query: Query, groups: Sequence[Group], texts: Sequence[str]) -> None:
        self._query, self._groups, self._texts = query, groups, texts
        of_all = [
            (number, time, merged.rows())
            for number, group in enumerate(groups)
            for time, merged in enumerate(group.merged)
        ]
        numbers, times, parts = zip(*of_all, strict=True)
        rows = _one_after_another(parts)
        lengths = [len(part) for part in parts]
        number_of, time_of = np.repeat(numbers, lengths), np.repeat(times, lengths)
        keys = [rows.keys[0], number_of, *rows.keys[1:]]
        order, starts = _group(keys) if len(rows) else (time_of, time_of)
        self.keys = [column[order[starts]] for column in keys]
        self._places = np.full((1 + max(times), len(starts)), -1)
        slots = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows))))
        self._places[time_of[order], slots] = order
        if query.as_logged:
            rows = replace(rows, figures=_as_logged(rows.figures))
        self._rows = _one_after_another([rows, _nothing(len(query.key), len(rows.seen), 1)])
        self._ranks = self._rank()

    def __len__(self) -> int:
        return len(self.keys[0])

    def cut(self, period: int, begin: int, end: int) -> List:
        """The list of these rows, which are of this period, cut to the limit."""
        keys, shown = self._first(begin, end)
        hidden = np.ones(end - begin, bool)
        hidden[shown - begin] = False
        hidden_rows = self._places[:, begin:end][:, hidden]
        times = [*zip(*(group.merged for group in self._groups), strict=True)]
        return List(
            dict(zip(keys, self._lines(period, shown), strict=True)),
            tuple(sum_up(self._rows.figures[of_time]) for of_time in hidden_rows),
            tuple(reduce(add_sums, (each.rest(period) for each in time), 0) for time in times),
            tuple(max(each.bound(period) for each in time) for time in times),
            reduce(add_sums, (each.others(period) for each in times[0]), 0),
        )

    def _first(self, begin: int, end: int) -> tuple[Sequence[LineKey], Ints]:
        """The keys and places of those of these rows that are listed, in the order that is asked for; of
        equal ones, in that of their keys.
        """
        query, many = self._query, end - begin
        places = np.arange(begin, end)
        if self._ranks and many > query.limit:
            of_each = self._ranks[0][begin:end]
            places = places[of_each <= np.partition(of_each, query.limit - 1)[query.limit - 1]]
        columns = [column[places] for column in self.keys[2:]]
        keys: Sequence[LineKey] = _keys(query.key, columns, len(places), self._texts)
        if query.by_scope:
            numbers = self.keys[1][places].tolist()
            keys = [(self._groups[number].scope, *key) for number, key in zip(numbers, keys, strict=True)]
        if query.order in query.key:
            at = query.key.index(query.order) + query.by_scope
            ranks: Iterable[tuple[Any, ...]] = ((key[at],) for key in keys)
        elif self._ranks:
            ranks = zip(*(each[places].tolist() for each in self._ranks), strict=True)
        else:
            ranks = repeat((), len(keys))
        first = nsmallest(query.limit, zip(ranks, keys, places.tolist(), strict=True))
        return [key for _, key, _ in first], np.array([place for *_, place in first], np.int64)

    def _rank(self) -> Sequence[Ints]:
        """What rows are ordered by, the least first; of equal ones, by the next."""
        query = self._query
        if not query.order or query.order in query.key:
            return []
        places = query.question.orders[compared_by(query)]
        values = _weigh(self._rows.figures, places)[self._places]
        if query.order == "Change":
            return [-np.abs(values[0] - values[1])]
        return [-each for each in values]

    def _lines(self, period: int, shown: Ints) -> Iterator[Line]:
        """What is listed of the rows at these places."""
        rows, of_times = self._rows, self._places[:, shown]
        sums = zip(*(sums_of(rows.figures[of_time]) for of_time in of_times), strict=True)
        beyond = rows.beyond[of_times].T.tolist()
        named = rows.named[of_times].any(axis=0).tolist()
        # Of what isn't counted by keys, all scopes together don't know how many have it.
        scopes = np.maximum(1, rows.scopes[of_times].max(axis=0)).tolist()
        bounded = self._query.question.bounded
        groups = (self._groups[number].merged for number in self.keys[1][shown].tolist())
        for its, more, is_named, many, merged, extremes in zip(
            sums, beyond, named, scopes, groups, self._extremes(of_times[0]), strict=True
        ):
            missed = (
                of_time.missed(period, each, named=is_named)
                for of_time, each in zip(merged, more, strict=True)
            )
            yield Line(its, tuple(missed), many if bounded else None, extremes)

    def _extremes(self, places: Ints) -> Iterator[AnswerRow]:
        """What isn't summed of the rows at these places, where there is one."""
        names, rows = [*self._query.extremes], self._rows
        columns = rows.seen if self._query.question.extremes else (rows.first, rows.last)
        values = [
            [*map(_READ_SEEN[name], column[places].tolist())]
            for name, column in zip(names, columns, strict=False)
        ]
        for number, place in enumerate(places.tolist()):
            yield {name: of_rows[number] for name, of_rows in zip(names, values, strict=True) if place >= 0}


def seen_of_health(last_record: datetime | None, lag_seconds: int | None) -> tuple[int, int]:
    """What isn't summed of an hour's health, as numbers."""
    microseconds = None if last_record is None else (last_record - FIRST_MOMENT) // _MICROSECOND
    return (
        _UNKNOWN if microseconds is None else microseconds,
        _UNKNOWN if lag_seconds is None else lag_seconds,
    )


_READ_SEEN: Mapping[str, Callable[[int], Any]] = {
    "FirstSeen": to_moment,
    "LastSeen": to_moment,
    "LastRecordTime": lambda number: None if number == _UNKNOWN else FIRST_MOMENT + number * _MICROSECOND,
    "LagSeconds": lambda number: None if number == _UNKNOWN else number,
    **dict.fromkeys(("FirstPeriod", "LastPeriod"), lambda number: FIRST_MOMENT + number * _FIVE_MINUTES),
}
"""What numbers of columns that aren't summed stand for."""


def _weigh(figures: Matrix, places: Sequence[int]) -> Ints:
    """The sum of some measures of each row, exactly: as in ``_add_up``."""
    columns = figures[:, [place for place in places if place < figures.shape[1]]]
    is_large = columns.size and int(columns.max()) > INT64_MAX // columns.shape[1]
    return (columns.astype(object) if is_large else columns).sum(axis=1)


def _as_logged(figures: Matrix) -> Matrix:
    """The log's own sums, as ``measures.logged``."""
    if figures.shape[1] == len(PLAIN) or not len(figures):
        return figures
    return figures_of(map(logged, sums_of(figures)))

"""Heavy hitters as arrays: the same counting as ``heavy_hitters.HeavyHitters``, many tuples at a time.

Theory of operation
-------------------
A key is a number here, its *code*. A table has a slot for each key it tracks, in the order in which they were
admitted, as a ``dict`` would have it. To add tuples, each gets the slot of its key: one of the table's, or a
new one, numbered by first appearance. Small codes find it in an array (``Marks``). Others are sorted together
with the table's, so that equal ones are neighbours. Adding up is one ``np.add.at`` for each measure.

That is all as long as the table doesn't settle. It does at the end of the first record after which it has
more than twice as many keys as its capacity. When that is, is known beforehand, because each key is
admitted where it first appears: so the tuples up to there are weighed, the smallest keys dropped, and it goes
on from there. A key that was dropped and comes back is admitted again, at its next appearance. In the end
every key that is tracked gets the figures of its tuples since it was admitted; ``rest`` is what remains of
the total.

Nothing here saturates: who calls makes sure that no sum comes near 2**63.
"""

from copy import copy
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from shared.flowlog.texts import Flags, Ints
from shared.tally.measures import MEASURES, Weight

if TYPE_CHECKING:
    from collections.abc import Sequence

type Codes = npt.NDArray[np.int64]
type Matrix = npt.NDArray[np.int64]

_ROW_BITS = 20
_ROW_BITS_64 = np.uint64(_ROW_BITS)
_ROWS = np.uint64((1 << _ROW_BITS) - 1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MOST_MARKS = 1 << 20
_LATEST = np.iinfo(np.int64).max

MOST_TUPLES = 1 << _ROW_BITS - 1
"""The most tuples that can be added at once, so that there is room for the table's keys as well."""


class Marks:
    """A mark for each small code, all of them empty between two uses, so that tables can share them."""

    def __init__(self) -> None:
        self._marks = np.zeros(1024, np.int32)

    def slots(self, known: Codes, codes: Codes) -> tuple[Ints, Ints, Codes] | None:
        """The slot of each of ``codes``, the rows in which codes appear that aren't ``known``, and the code
        of each slot: the known ones, then the new ones in the order of their first appearance.

        ``None`` if a code is too large to have a mark.
        """
        largest = max(known.max(initial=0), codes.max(initial=0))
        if largest >= _MOST_MARKS or min(known.min(initial=0), codes.min(initial=0)) < 0:
            return None
        if largest >= len(self._marks):
            self._marks = np.zeros(1 << int(largest).bit_length(), np.int32)
        marks = self._marks
        marks[known] = np.arange(1, len(known) + 1)
        slots = marks[codes]
        rows = np.flatnonzero(slots == 0)
        universe = known
        if len(rows):
            new = codes[rows]
            marks[new[::-1]] = -rows[::-1]  # of equal codes the first is the last to be written
            rows = rows[marks[new] == -rows]
            universe = np.concatenate([known, codes[rows]])
            marks[universe] = np.arange(1, len(universe) + 1)
            slots = marks[codes]
        marks[universe] = 0
        return slots.astype(np.int64) - 1, rows, universe


class Table:
    """One family's keys and figures. ``figures`` has a row for each measure, a column for each key.

    ``first`` and ``last``: the times of each key's first and last tuple, if they are wanted.
    """

    def __init__(self, weight: Weight, capacity: int, marks: Marks, *, times: bool = False) -> None:
        self.marks = marks
        self.weight = weight
        self.capacity = capacity
        self.codes: Codes = np.zeros(0, np.int64)
        self.figures: Matrix = np.zeros((len(MEASURES), 0), np.int64)
        self.missed: Ints = np.zeros(0, np.int64)
        self.times: Matrix | None = np.zeros((2, 0), np.int64) if times else None
        self.rest = [0] * len(MEASURES)
        self.floor = 0

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def most(self) -> int:
        """The most keys that are left alone at the end of a record."""
        return 2 * self.capacity

    def copy(self) -> "Table":
        """The same as it is now; arrays are replaced, never changed, so that they can be shared."""
        return copy(self)

    def add(self, codes: Codes, figures: Matrix, sums: Ints, records: Ints, times: Ints) -> Codes:
        """Count tuples: their codes, figures (and the sums of those), record numbers (from 0 on, ascending)
        and times.

        Gives the codes of all keys that were tracked at one time or another.
        """
        known = len(self)
        found = self.marks.slots(self.codes, codes) or _slots(self.codes, codes)
        slots, admitted, universe = found
        size = len(universe)
        before = self.figures.sum(axis=1) + sums
        kept = np.arange(known)
        rows: Ints | slice = slice(None)
        if size <= self.most:
            missed = np.concatenate([self.missed, np.full(size - known, self.floor)])
            live = np.arange(size)
        else:
            weights = self._weigh(figures)
            live, since, missed = self._settle_on_the_way(slots, admitted, weights, records)
            kept = live[(live < known) & (since[live] < 0)]
            tracked = np.zeros(size, np.bool_)
            tracked[live] = True
            rows = np.flatnonzero(tracked[slots] & (since[slots] <= np.arange(len(slots))))
        counted = np.zeros((len(MEASURES), size), np.int64)
        counted[:, kept] = self.figures[:, kept]
        slots = slots[rows]
        for measure in np.flatnonzero(sums).tolist():
            np.add.at(counted[measure], slots, figures[measure][rows])
        if self.times is not None:
            seen = np.full((2, size), [[_LATEST], [-1]])
            seen[:, kept] = self.times[:, kept]
            np.minimum.at(seen[0], slots, times[rows])
            np.maximum.at(seen[1], slots, times[rows])
            self.times = seen[:, live]
        self.codes, self.figures, self.missed = universe[live], counted[:, live], missed[live]
        more = before - self.figures.sum(axis=1)
        self.rest = [one + other for one, other in zip(self.rest, more.tolist(), strict=True)]
        return universe

    def _weigh(self, figures: Matrix) -> Ints:
        return cast("Ints", self.weight(cast("Sequence[int]", figures)))

    def _settle_on_the_way(
        self, slots: Ints, admitted: Ints, weights: Ints, records: Ints
    ) -> tuple[Ints, Ints, Ints]:
        """Which slots are tracked in the end, in the order of admission; and of every slot, from which row on
        it is counted (-1: it was never dropped) and what it missed.
        """
        known, size = len(self), len(self) + len(admitted)
        missed = np.zeros(size, np.int64)
        missed[:known] = self.missed
        estimates = missed.copy()
        estimates[:known] += self._weigh(self.figures)
        since = np.full(size, -1)
        coming = _Coming(slots, np.arange(known, size), admitted)
        live, at = np.arange(known), 0
        while (over := self.most + 1 - len(live)) <= len(coming):
            record = records[coming.row(over)] if over > 0 else 0
            end = int(np.searchsorted(records, record, "right"))
            new = coming.take(end)
            missed[new] = estimates[new] = self.floor
            np.add.at(estimates, slots[at:end], weights[at:end])
            live = np.concatenate([live, new])
            keep = _largest(estimates[live], self.capacity)
            gone, live = live[~keep], live[keep]
            self.floor = max(self.floor, int(estimates[gone].max()))
            back, rows = coming.put_back(gone, end)
            since[back] = rows
            at = end
        new = coming.take(len(slots))
        missed[new] = self.floor
        return np.concatenate([live, new]), since, missed


class _Coming:
    """The slots that are still to be admitted, each with the row at which it will be.

    Those that were never admitted, by row, and beside them the few that were dropped and come back.
    """

    def __init__(self, slots: Ints, new: Ints, rows: Ints) -> None:
        self._slots = slots
        self._last_rows = np.full(len(new) + int(new[0]), -1)
        self._last_rows[slots] = np.arange(len(slots))
        self._sorted: Ints | None = None
        self._new, self._rows = new, rows
        self._back = self._back_rows = new[:0]

    def __len__(self) -> int:
        return len(self._new) + len(self._back)

    def row(self, many: int) -> int:
        """The row at which so many will have been admitted."""
        rows = self._rows[:many]
        if len(self._back):
            rows = np.partition(np.concatenate([rows, self._back_rows]), many - 1)
        return int(rows[many - 1])

    def take(self, end: int) -> Ints:
        """The slots that are admitted before row ``end``, in that order."""
        many = int(np.searchsorted(self._rows, end))
        taken, rows = self._new[:many], self._rows[:many]
        self._new, self._rows = self._new[many:], self._rows[many:]
        if len(self._back):
            now = self._back_rows < end
            taken = np.concatenate([taken, self._back[now]])
            taken = taken[np.argsort(np.concatenate([rows, self._back_rows[now]]))]
            self._back, self._back_rows = self._back[~now], self._back_rows[~now]
        return taken

    def put_back(self, gone: Ints, end: int) -> tuple[Ints, Ints]:
        """Of the slots that were dropped before row ``end``, those that come back, and at which rows."""
        back = gone[self._last_rows[gone] >= end]
        if not len(back):
            return back, back
        if self._sorted is None:
            self._sorted = np.sort((self._slots << _ROW_BITS) + np.arange(len(self._slots)))
        places = np.searchsorted(self._sorted, (back << _ROW_BITS) + end)
        rows = self._sorted[places] & ((1 << _ROW_BITS) - 1)
        self._back = np.concatenate([self._back, back])
        self._back_rows = np.concatenate([self._back_rows, rows])
        return back, rows


def _slots(known: Codes, codes: Codes) -> tuple[Ints, Ints, Codes]:
    """The same as ``Marks.slots`` for codes of any size, by sorting."""
    every = np.concatenate([known, codes])
    order, fresh = _grouped(every)
    firsts = order[fresh]
    slot_of_group = firsts.copy()
    new = np.flatnonzero(firsts >= len(known))
    by_row = new[np.argsort(firsts[new])]
    slot_of_group[by_row] = len(known) + np.arange(len(new))
    slots = np.empty(len(every), np.int64)
    slots[order] = slot_of_group[np.cumsum(fresh) - 1]
    rows = firsts[by_row]
    return slots[len(known) :], rows - len(known), np.concatenate([known, every[rows]])


def _grouped(codes: Codes) -> tuple[Ints, Flags]:
    """An order in which equal codes stand together, the earlier ones first; and where a code begins.

    Codes are mixed, and sorted by their upper bits with their places below. Should two codes be equal in
    those (one in millions of batches), sorting is left to a slower way.
    """
    mixed = codes.view(np.uint64) * _MIX
    mixed &= ~_ROWS
    mixed |= np.arange(len(codes), dtype=np.uint64)
    mixed.sort()
    order = (mixed & _ROWS).astype(np.int64)
    ordered = codes[order]
    fresh = np.ones(len(codes), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    mixed >>= _ROW_BITS_64
    if np.count_nonzero(mixed[1:] != mixed[:-1]) != np.count_nonzero(fresh[1:]):
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return order, fresh


def _largest(estimates: Ints, many: int) -> Flags:
    """Which are the largest; of equal ones, the earlier."""
    least = np.partition(estimates, len(estimates) - many)[len(estimates) - many]
    keep: Flags = estimates > least
    keep[np.flatnonzero(estimates == least)[: many - np.count_nonzero(keep)]] = True
    return keep

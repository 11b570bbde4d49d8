"""Heavy hitters as arrays: the same counting as ``heavy_hitters.HeavyHitters``, many tuples at a time.

Theory of operation
-------------------
A key is a number here, its *code*. A table has a slot for each key it tracks, in the order in which they were
admitted, as a ``dict`` would have it. To add tuples, each gets the slot of its key: one of the table's, or a
new one, numbered by first appearance. Small codes find it in an array (``Marks``). Others are sorted together
with the table's, so that equal ones are neighbours. Adding up is one ``np.add.at`` for each measure.

At the end of a batch the table settles: if it has more than twice as many keys as its capacity, those of
smallest estimate are dropped, as ``HeavyHitters.settle`` does.

Nothing here saturates: who calls makes sure that no sum comes near 2**63.
"""

from operator import add
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from shared.flowlog.texts import Flags, Ints
from shared.tally.measures import MEASURES, PLAIN, Weight

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


class KeyTotals:
    """One family's keys and figures. ``figures`` has a row for each measure, a column for each key; as long
    as nothing was restarted, only the plain measures have rows.

    ``times``: the times of each key's first and last tuple, if they are wanted.
    """

    def __init__(self, weight: Weight, capacity: int, marks: Marks, *, times: bool = False) -> None:
        self.marks = marks
        self.weight = weight
        self.capacity = capacity
        self.codes: Codes = np.zeros(0, np.int64)
        self.figures: Matrix = np.zeros((len(PLAIN), 0), np.int64)
        self.missed: Ints = np.zeros(0, np.int64)
        self.times: Matrix | None = np.zeros((2, 0), np.int64) if times else None
        self.rest = [0] * len(MEASURES)
        self.floor = 0

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, codes: Codes, figures: dict[int, Ints], first: Ints, last: Ints) -> None:
        """Count a batch of tuples, or of sums of them: their codes, their figures by the places of the
        measures (without those that are 0 in all of them), their first and last times; then settle.
        """
        known = len(self)
        if len(self.figures) == len(PLAIN) and max(figures) >= len(PLAIN):
            of_restarts = np.zeros((len(MEASURES) - len(PLAIN), known), np.int64)
            self.figures = np.concatenate([self.figures, of_restarts])
        slots, _, self.codes = self.marks.slots(self.codes, codes) or slots_by_sorting(self.codes, codes)
        new = len(self) - known
        if new:
            self.figures = np.concatenate(
                [self.figures, np.zeros((len(self.figures), new), np.int64)], axis=1
            )
            self.missed = np.concatenate([self.missed, np.full(new, self.floor)])
            if self.times is not None:
                self.times = np.concatenate([self.times, np.full((2, new), [[_LATEST], [-1]])], axis=1)
        for measure, numbers in figures.items():
            np.add.at(self.figures[measure], slots, numbers)
        if self.times is not None:
            np.minimum.at(self.times[0], slots, first)
            np.maximum.at(self.times[1], slots, last)
        if len(self) > 2 * self.capacity:
            self._trim()

    def _trim(self) -> None:
        """Keep the keys of largest estimate, as many as the capacity; the rest goes to ``rest``."""
        estimates = self._weigh(self.figures) + self.missed
        keep = _largest(estimates, self.capacity)
        estimates[keep] = 0
        self.floor = max(self.floor, int(estimates.max()))
        kept = self.figures.take(keep, axis=1)
        dropped = (self.figures.sum(axis=1) - kept.sum(axis=1)).tolist()
        self.rest[: len(dropped)] = map(add, self.rest, dropped)
        self.codes, self.figures, self.missed = self.codes[keep], kept, self.missed[keep]
        if self.times is not None:
            self.times = self.times.take(keep, axis=1)

    def _weigh(self, figures: Matrix) -> Ints:
        return cast("Ints", self.weight(cast("Sequence[int]", figures)))


def slots_by_sorting(known: Codes, codes: Codes) -> tuple[Ints, Ints, Codes]:
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


def _largest(estimates: Ints, many: int) -> Ints:
    """The places of the largest, in order; of equal ones, the earlier."""
    least = np.partition(estimates, len(estimates) - many)[len(estimates) - many]
    keep: Flags = estimates > least
    keep[np.flatnonzero(estimates == least)[: many - np.count_nonzero(keep)]] = True
    return np.flatnonzero(keep)

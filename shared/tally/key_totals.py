"""Heavy hitters as arrays: the same counting as ``heavy_hitters.HeavyHitters``, many tuples at a time.

Theory of operation
-------------------
A key is a number here, its *code*. A table has a slot for each key it tracks, in the order in which they were
admitted, as a ``dict`` would have it. To add tuples, each gets the slot of its key: one of the table's, or a
new one, numbered by first appearance (``slots_of``). Adding up is one ``np.add.at`` for each measure.

Where a batch makes more than twice as many keys as the capacity, those of smallest estimate are dropped, as
``HeavyHitters.settle`` does at the end of a batch; but here before it is added, so that no figures have to be
summed up for a key that isn't kept.

Nothing here saturates: who calls makes sure that no sum comes near 2**63.
"""

import numpy as np
import numpy.typing as npt

from shared.flowlog.texts import Flags, Ints
from shared.tally.measures import MEASURES, PLAIN, Weight

type Codes = npt.NDArray[np.int64]
type Matrix = npt.NDArray[np.int64]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_PLACES = 4  # for each code, so that few share one
_MOST_BITS = 20
_STEP = 32
_LATEST = np.iinfo(np.int64).max


def slots_of(known: Codes, codes: Codes) -> tuple[Ints, Ints, Codes]:
    """The slot of each of ``codes``, the rows in which codes appear that aren't ``known``, and the code of
    each slot: the known ones, which differ, then the new ones in the order of their first appearance.
    """
    every = np.concatenate([known, codes])
    firsts = _firsts(every)
    begins = firsts == np.arange(len(every))
    slots = (np.cumsum(begins) - 1)[firsts[len(known) :]]
    rows = np.flatnonzero(begins[len(known) :])
    return slots, rows, np.concatenate([known, codes[rows]])


def _firsts(codes: Codes) -> Ints:
    """Of each code the row in which it appears first.

    Each row leaves its number in the place of its code, the first of a place as the last. What finds another
    code there, as two have one place, is sorted; that is one in fifteen.
    """
    bits = min((_PLACES * len(codes)).bit_length(), _MOST_BITS)
    places = (codes.view(np.uint64) * _MIX >> np.uint64(64 - bits)).view(np.int64)
    rows = np.arange(len(codes))
    left = np.empty(1 << bits, np.int64)
    left[places[::-1]] = rows[::-1]
    firsts: Ints = left[places]
    strays = np.flatnonzero(codes[firsts] != codes)
    if strays.size:
        _, first, group = np.unique(codes[strays], return_index=True, return_inverse=True)
        firsts[strays] = strays[first[group]]
    return firsts


class KeyTotals:
    """One family's keys and figures. ``figures`` has a row for each measure, a column for each key; as long
    as nothing was restarted, only the plain measures have rows.

    ``times``: the times of each key's first and last tuple, if they are wanted.
    """

    def __init__(self, weight: Weight, capacity: int, *, times: bool = False) -> None:
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
        slots, _, every = slots_of(self.codes, codes)
        missed = self.floor
        if len(every) > 2 * self.capacity:
            keep = self._keep(slots, len(every), figures)
            slot_of_kept = np.full(len(every), -1)
            slot_of_kept[keep] = np.arange(len(keep))
            slots = slot_of_kept[slots]
            rows = np.flatnonzero(slots >= 0)
            self._drop(keep[keep < len(self)], rows, figures)
            slots, first, last = slots[rows], first[rows], last[rows]
            figures = {measure: numbers[rows] for measure, numbers in figures.items()}
            every = every[keep]
        self._make_room(len(every), max(figures), missed)
        self.codes = every
        for measure, numbers in figures.items():
            np.add.at(self.figures[measure], slots, numbers)
        if self.times is not None:
            np.minimum.at(self.times[0], slots, first)
            np.maximum.at(self.times[1], slots, last)

    def _keep(self, slots: Ints, many: int, figures: dict[int, Ints]) -> Ints:
        """The slots of the keys of largest estimate, as many as the capacity, out of so ``many`` that there
        are with this batch; the floor rises to the largest estimate of the others.
        """
        estimates = _grown(self.missed, (many,), self.floor)
        for place in self.weight.places:
            estimates[: len(self)] += self.figures[place]
            if place in figures:
                np.add.at(estimates, slots, figures[place])
        keep = _largest(estimates, self.capacity)
        estimates[keep] = 0
        self.floor = max(self.floor, int(estimates.max()))
        return keep

    def _drop(self, keep: Ints, rows: Ints, figures: dict[int, Ints]) -> None:
        """Keep the keys in these slots, and have all of the batch but these rows, and all other keys, in
        ``rest``.
        """
        kept = self.figures.take(keep, axis=1)
        for measure, dropped in enumerate((self.figures.sum(axis=1) - kept.sum(axis=1)).tolist()):
            self.rest[measure] += dropped
        for measure, numbers in figures.items():
            self.rest[measure] += int(numbers.sum() - numbers[rows].sum())
        self.figures, self.missed = kept, self.missed[keep]
        if self.times is not None:
            self.times = self.times.take(keep, axis=1)

    def _make_room(self, many: int, measure: int, missed: int) -> None:
        """Make room for so many keys, and for this measure; the new keys have missed so much."""
        measures = len(MEASURES) if measure >= len(PLAIN) else len(self.figures)
        if self.figures.shape != (measures, many):
            self.figures = _grown(self.figures, (measures, many), 0)
            self.missed = _grown(self.missed, (many,), missed)
            if self.times is not None:
                self.times = _grown(self.times, (2, many), [[_LATEST], [-1]])


def _grown(numbers: Ints, shape: tuple[int, ...], fill: object) -> Ints:
    """The numbers in the first places of an array of this shape, which is filled up."""
    grown: Ints = np.full(shape, fill, np.int64)
    grown[tuple(map(slice, numbers.shape))] = numbers
    return grown


def _largest(estimates: Ints, many: int) -> Ints:
    """The places of the largest, in order; of equal ones, the earlier."""
    least = _least_of_largest(estimates, many)
    keep: Flags = estimates > least
    keep[np.flatnonzero(estimates == least)[: many - np.count_nonzero(keep)]] = True
    return np.flatnonzero(keep)


def _least_of_largest(numbers: Ints, many: int) -> int:
    """The smallest of the ``many`` largest numbers.

    A sample says about where it is. To search what is above that, or to see that it is just that, takes a
    quarter of the time.
    """
    sample = np.sort(numbers[::_STEP])
    cut = sample[-min(5 * many // (4 * _STEP) + 8, len(sample))]
    above = numbers[numbers > cut]
    if len(above) < many:
        if np.count_nonzero(numbers >= cut) >= many:
            return int(cut)
        above = numbers
    place = len(above) - many
    return int(np.partition(above, place)[place])

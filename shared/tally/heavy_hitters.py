"""A bounded counter that keeps the keys that matter, and knows exactly what it left out.

Theory of operation
-------------------
Space-Saving (Metwally et al., 2005) with an exact remainder. Up to ``capacity`` keys, everything is exact.
Beyond, the keys of least *estimate* are dropped: their figures move into ``rest``, and ``floor`` remembers
the largest estimate ever dropped. A key that comes (back) may have had up to ``floor`` before without being
tracked; that is its ``missed``. Its estimate is its weight + its missed.

Laws, for N = the total weight and K = ``capacity`` (tested in tests/test_heavy_hitters.py):

1. figures of all rows + ``rest`` = figures of all that was added, for every measure;
2. a row's weight ≤ the key's true weight ≤ the row's weight + missed;
3. a key whose true weight is above N / K has a row;
4. with at most K keys, every row is exact, ``rest`` is zero and nothing is missed.

Rows are dropped many at a time: only in ``settle``, which callers call at the end of a batch of additions,
and only when there are more than twice ``capacity``. So up to ``capacity`` keys the result depends on what
was added alone; beyond, also on where batches ended, but the laws hold for any batches.
Law 3 holds because dropping to K rows leaves rows whose estimates are all at least ``floor``, and together at
most N; until the next time ``floor`` stays and N grows.

Where counts of several scopes are merged, each key also knows how many of them have it. That number is never
above the truth, and is exact as long as nothing was dropped on the way.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from heapq import nsmallest
from itertools import repeat
from operator import add, itemgetter, neg

from shared.flowlog.tuples import INT64_MAX
from shared.tally.measures import Figures, Sums, Weight, add_sums, to_figures

type Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One key's figures since it was admitted, and the most weight that it may have had before."""

    key: Key
    figures: Figures
    missed: int


class HeavyHitters:
    """Counts figures by key, for the heaviest keys by ``weight``.

    ``seen``, if ``times`` are wanted: the first and last time at which each key was seen, in milliseconds
    since 1970. ``scopes``: in how many scopes each key was found at least; empty for counts of one scope.
    """

    __slots__ = ("capacity", "floor", "missed", "rest", "scopes", "seen", "sums", "weight")

    def __init__(self, weight: Weight, capacity: int, *, times: bool = False) -> None:
        self.weight = weight
        self.capacity = capacity
        self.sums: dict[Key, Sums] = {}
        self.missed: dict[Key, int] = {}  # keys that missed nothing have no entry
        self.seen: dict[Key, tuple[int, int]] | None = {} if times else None
        self.scopes: dict[Key, int] = {}
        self.rest: Sums = 0
        self.floor = 0

    def __len__(self) -> int:
        return len(self.sums)

    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not (self.sums or self.rest or self.floor)

    def add(self, key: Key, sums: Sums) -> None:
        """Count figures for ``key``."""
        known = self.sums.get(key)
        if known is not None:
            self.sums[key] = add_sums(known, sums)
            return
        self.sums[key] = sums
        if self.floor:
            self.missed[key] = self.floor

    def see(self, key: Key, first: int, last: int) -> None:
        """Note between which times ``key`` was seen, if times are wanted."""
        if self.seen is None:
            return
        known = self.seen.get(key)
        if known is None:
            self.seen[key] = first, last
        elif first < known[0] or known[1] < last:
            self.seen[key] = min(known[0], first), max(known[1], last)

    def settle(self) -> None:
        """Keep ``capacity`` keys if there are more than twice as many; called at the end of a batch."""
        if len(self.sums) > 2 * self.capacity:
            self.trim(self.capacity)

    def trim(self, keep: int) -> None:
        """Keep the ``keep`` keys of largest estimate; the rest goes to ``rest``.

        Of equal ones, those that were admitted earlier stay: that order is the log's, and costs nothing.
        """
        if len(self.sums) <= keep:
            return
        ranks = sorted(zip(self._estimates(), self.sums, strict=True), key=itemgetter(0), reverse=True)
        dropped = [key for _, key in ranks[keep:]]
        self.floor = min(max(self.floor, ranks[keep][0]), INT64_MAX)
        self.rest = reduce(add_sums, map(self.sums.pop, dropped), self.rest)
        for of_keys in (self.missed, self.seen, self.scopes):
            if of_keys:
                for key in dropped:
                    of_keys.pop(key, None)

    def merge(self, other: "HeavyHitters") -> None:
        """Count what ``other`` counted at another time; the laws hold for the sum of both.

        Which scopes have a key isn't known, only how many do: of both times, the larger number holds.
        """
        mine, theirs, missed = self.sums, other.sums, self.missed
        if other.floor:
            for key in mine:
                if key not in theirs:
                    missed[key] = _sum(missed.get(key, 0), other.floor)
        if self.floor:
            for key in theirs:
                if key not in mine:
                    missed[key] = self.floor
        for key, by in other.missed.items():
            missed[key] = _sum(missed.get(key, 0), by)
        for key, sums in theirs.items():
            known = mine.get(key)
            mine[key] = sums if known is None else add_sums(known, sums)
        for key, (first, last) in (other.seen or {}).items():
            self.see(key, first, last)
        self.scopes = _larger(self.scopes, other.scopes)
        self.rest = add_sums(self.rest, other.rest)
        self.floor = _sum(self.floor, other.floor)

    def merge_scope(self, other: "HeavyHitters") -> None:
        """Count what ``other`` counted of one more scope; the laws hold for the sum of both."""
        self.merge(other)
        for key in other.sums:
            self.scopes[key] = self.scopes.get(key, 0) + 1

    def fill(
        self,
        keys: Sequence[Key],
        sums: Iterable[Sums],
        missed: Collection[int],
        seen: Iterable[tuple[int, int]] = (),
        scopes: Collection[int] = (),
    ) -> None:
        """Put back all rows at once, in the order in which they were admitted."""
        self.sums = dict(zip(keys, sums, strict=True))
        if self.seen is not None:
            self.seen = dict(zip(keys, seen, strict=True))
        self.missed = {}
        if any(missed):
            self.missed = {key: missed_by for key, missed_by in zip(keys, missed, strict=True) if missed_by}
        self.scopes = dict(zip(keys, scopes, strict=True)) if any(scopes) else {}

    def rows(self) -> Iterator[Row]:
        """All rows, in the order in which their keys were admitted."""
        return (Row(key, to_figures(sums), self.missed.get(key, 0)) for key, sums in self.sums.items())

    def top(self, many: int) -> tuple[list[Row], Sums]:
        """The ``many`` rows of largest estimate, and what all others and ``rest`` have together.

        The largest is first; equal ones are ordered by key, so that the order is always the same.
        """
        first = nsmallest(many, zip(map(neg, self._estimates()), self.sums, strict=True))
        others = self.sums.copy()
        rows = [Row(key, to_figures(others.pop(key)), self.missed.get(key, 0)) for _, key in first]
        return rows, reduce(add_sums, others.values(), self.rest)

    def _estimates(self) -> list[int]:
        """Each key's, in the order in which they were admitted."""
        weights = self.weight.of_all(self.sums.values())
        if not self.missed:
            return weights
        return [*map(add, weights, map(self.missed.get, self.sums, repeat(0)))]


def _larger(one: dict[Key, int], other: dict[Key, int]) -> dict[Key, int]:
    """Of each key the larger number; the first may be changed."""
    for key, many in other.items():
        one[key] = max(one.get(key, 0), many)
    return one


def _sum(one: int, other: int) -> int:
    return min(one + other, INT64_MAX)

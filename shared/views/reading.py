"""Reading merged counts: which periods a time is read as, and what of them is wanted.

Days are read as such where they have been made, all else as hours: a range query each, in the partition of
the scope, or of all scopes of a kind. The heads are read first. They say what there is, so that nothing can
be missing unnoticed, how much it is, and whether keys were dropped.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from shared.counts.index import Head, Period
from shared.counts.store import Counts, refuse_gone
from shared.errors import BadRequest
from shared.tally.chosen import Chosen, Wanted, unpack_part
from shared.tally.packing import BUCKET, TRAFFIC
from shared.views.query import LENGTHS, Condition, Query, Range, Span

MOST_KEYS = 3_000_000
"""Keys that an answer may read: they take some ten seconds."""

type Heads = dict[datetime, Head]
"""What is there of some hours or days, by when each begins."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Periods of one length, one after another, that a time of a source is read as; ``source`` is a scope, or
    all scopes of a kind.
    """

    source: str
    periods: Range
    heads: Heads

    def keys(self, name: str) -> int:
        """How many keys of a part they have together."""
        return sum(head.parts[name].keys for head in self.heads.values() if name in head.parts)

    def within(self, span: Span) -> "Stretch":
        """Those of its periods that lie in a time, which begins and ends with one of them."""
        heads = {begin: head for begin, head in self.heads.items() if span.since <= begin < span.end}
        return Stretch(self.source, Range(self.periods.grain, span.since, span.end), heads)

    def dropped(self, name: str) -> set[datetime]:
        """Those periods that have dropped keys of a part."""
        parts = ((begin, head.parts.get(name)) for begin, head in self.heads.items())
        return {begin for begin, part in parts if part and (part.floor or any(part.rest))}


def plan(counts: Counts, source: str, span: Span, *, by_hour: bool = False) -> list[Stretch]:
    """What a time of a source is read as; ``by_hour``: as hours alone."""
    days = None if by_hour else span.days()
    made = _heads(counts, source, days) if days else {}
    return [
        Stretch(
            source,
            each,
            {begin: head for begin, head in made.items() if each.since <= begin < each.until}
            if each.grain == "day"
            else _heads(counts, source, each),
        )
        for each in span.ranges(made)
    ]


class Plans:
    """What times of sources are read as, each planned once. Questions that are answered side by side share
    it.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._made: dict[tuple[str, Span, bool], Future[list[Stretch]]] = {}
        self._lock = threading.Lock()

    def of(self, source: str, span: Span, *, by_hour: bool) -> list[Stretch]:
        """The same as ``plan``; who comes while it is made waits for it."""
        key = source, span, by_hour
        with self._lock:
            is_first = key not in self._made
            made = self._made.setdefault(key, Future())
        if is_first:
            try:
                made.set_result(plan(self._counts, source, span, by_hour=by_hour))
            except BaseException as error:
                made.set_exception(error)
                raise
        return made.result()


def check_keys(name: str, stretches: Iterable[Stretch]) -> None:
    """``BadRequest`` if that would be too much to read."""
    keys = sum(each.keys(name) for each in stretches)
    if keys > MOST_KEYS:
        raise BadRequest(
            f"{keys:,} keys would have to be read, and {MOST_KEYS:,} are the most: ask for a shorter time or "
            "fewer scopes; all scopes together (without scope and by-scope) take the least",
            "since",
        )


type Counted = Iterator[tuple[datetime, Chosen]]
"""What was counted of a question, period by period in their order: when each begins, and what it has."""


def read(
    counts: Counts, query: Query, span: Span, stretch: Stretch, conditions: Sequence[Condition]
) -> Counted:
    """What was counted of a question in a stretch, period by period, as far as it fulfils the conditions.

    What heads say that there is must be there: they are read before it, and parts don't go by themselves.
    """
    name, periods = query.question.reads, stretch.periods
    wanted = wanted_of(conditions)
    missing = {begin for begin, head in stretch.heads.items() if name in head.parts}
    if not missing:
        return
    for period, chosen in counts.unpacked(
        stretch.source, name, *_ends(periods), lambda packed: unpack_part(packed, name)
    ):
        missing.discard(period.begin)
        in_time = _within(span, period.begin, chosen) if name == TRAFFIC else chosen
        yield period.begin, in_time.where(wanted)
    if missing:
        raise refuse_gone(stretch.source, name, Period(min(missing), periods.grain))


def _within(span: Span, begin: datetime, chosen: Chosen) -> Chosen:
    """An hour's traffic in those of its five minutes that lie in a time. A day's is in its first hour, as far
    as this can tell: where it is read as a day, that doesn't matter.
    """
    if begin >= span.since and (span.until is None or begin + LENGTHS["hour"] <= span.until):
        return chosen

    def number_of(moment: datetime) -> int:
        """How many of its five minutes begin before a moment."""
        return -((begin - moment) // LENGTHS["5m"])

    buckets = chosen.columns[BUCKET]
    rows = buckets >= number_of(span.since)
    return chosen.only(rows & (buckets < number_of(span.until)) if span.until else rows)


def wanted_of(conditions: Iterable[Condition]) -> list[Wanted]:
    """Conditions as unpacking holds them against keys."""
    return [(each.columns, each.test, each.excludes) for each in conditions]


def _heads(counts: Counts, source: str, periods: Range) -> Heads:
    return dict(counts.heads(source, *_ends(periods)))


def _ends(periods: Range) -> tuple[Period, Period]:
    """The first and the last of them."""
    grain = periods.grain
    return Period(periods.since, grain), Period(periods.until - LENGTHS[grain], grain)

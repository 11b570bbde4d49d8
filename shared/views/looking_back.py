"""Looking back: since when what an answer lists has been there.

The first hour that has a row's key is looked for from the time on that is asked for: in days where there are
any, then in the hours of the day that was found. It is the first *at the latest* where counts have dropped
keys before it, and where nothing is counted before it: of one of the scopes, where all are read together.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.counts.store import Counts
from shared.tally.heavy_hitters import Key
from shared.views.merged import Merged, Texts
from shared.views.query import LENGTHS, Condition, Query, Span, floor
from shared.views.reading import Stretch, check_keys, plan, read


@dataclass(slots=True)
class Firsts:
    """When keys were first seen in a source, as far as is known: ``first`` has the moment, and the hour that
    it lies in; ``unsure`` has hours and days that have dropped keys; ``counted_from``: before it nothing is
    counted; ``began``: the first hours of the scopes that are read.
    """

    counted_from: datetime
    began: Collection[datetime] = ()
    first: dict[Key, tuple[datetime, datetime]] = field(default_factory=dict)
    unsure: list[datetime] = field(default_factory=list)

    def is_sure(self, moment: datetime) -> bool:
        """Whether a key that was first seen then, or in the hour that began then, was not there before."""
        hour = floor(moment, "hour")
        is_counted_before = self.counted_from < hour and hour not in self.began
        return is_counted_before and not any(each < moment for each in self.unsure)


def find_firsts(
    counts: Counts,
    query: Query,
    source: str,
    counted_from: datetime,
    began: Collection[datetime],
    since: datetime,
    keys: Iterable[Key],
) -> Firsts:
    """When these keys of a query were first seen in a source, from ``since`` on. It is ``counted_from`` an
    hour on, and its scopes ``began`` in these.
    """
    wanted = {*keys}
    conditions = [*query.conditions, *_holding(query, wanted)]
    span = Span(floor(since, "hour"), query.span().until, query.now)
    stretches = plan(counts, source, span)
    name = query.question.reads
    check_keys(name, stretches)
    firsts = Firsts(max(counted_from, span.since), began)
    days: dict[datetime, set[Key]] = {}
    left = {*wanted}

    def look_through(stretch: Stretch) -> None:
        """Note which of the keys that are left are first seen where."""
        merged = Merged(query, Texts())
        for begin, chosen in read(counts, query, span, stretch, conditions):
            merged.add(begin, chosen)
        for key, begin, moment in merged.first_seen():
            if key not in left:
                continue
            left.remove(key)
            if stretch.periods.grain == "day":
                days.setdefault(begin, set()).add(key)
            else:
                firsts.first[key] = moment, begin
        firsts.unsure += stretch.dropped(name)

    for stretch in stretches:
        look_through(stretch)
    found: set[Key] = set()
    for day in sorted(days):
        # The day may have dropped keys that its hours have: all that weren't there earlier are looked for.
        left = wanted - found - {key for key, (_, hour) in firsts.first.items() if hour < day}
        firsts.unsure = [each for each in firsts.unsure if each != day]
        wanted_here = {*left}
        within = Span(day, day + LENGTHS["day"], query.now)
        for stretch in plan(counts, source, within, by_hour=True):
            look_through(stretch)
        found |= wanted_here - left
        for key in days[day] & left:  # the day has it, and none of its hours does any more
            firsts.first[key] = day, day
            found.add(key)
    return firsts


def say_since(firsts: Sequence[Firsts], key: Key, listed: datetime | None) -> dict[str, Any]:
    """The columns ``Since`` and ``AtLatest`` of a key, out of those of all sources; ``listed``: the first
    time that the answer itself has of it.

    What the answer has found further down than it was looked for here, it has found in an hour: a day that
    has a key is found here, too.
    """
    moment = min((each.first[key][0] for each in firsts if key in each.first), default=None)
    if listed and (moment is None or listed < floor(moment, "day")):
        return {"Since": listed, "AtLatest": True}
    if moment is None:
        return {}
    return {"Since": moment, "AtLatest": not all(each.is_sure(moment) for each in firsts)}


def _holding(query: Query, keys: Iterable[Key]) -> list[Condition]:
    """What these keys fulfil: other keys are hardly unpacked."""
    columns = zip(query.key, map(set, zip(*keys, strict=True)), strict=True)
    return [Condition(name, "", (name,), values.__contains__) for name, values in columns]

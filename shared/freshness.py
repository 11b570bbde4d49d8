"""Is everything counted, as far as that is known already? Told from what sweeps have found, from what the
rollup has made, and from the rows of all work.

No blob is listed: it costs a few queries, however many there are, and is as old as the last sweep.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from shared.completeness import Hour, examine
from shared.counts.store import Counts
from shared.counts.work import Work
from shared.flowlog.blob_name import CONTAINERS, kind_of
from shared.record_types import Hours, Notice, notice_left_out
from shared.status import ROLLED_UP_WITHIN, rolled_up_until
from shared.times import HOUR
from shared.views.query import Range

SUMS = ("Listed", "Bytes", "Behind", "Blobs", "Tuples", "Malformed", "GarbledBytes")

SWEPT_WITHIN = timedelta(hours=2)
"""So long ago each flow log may have been swept last: every half hour, or more often, it is handed out."""

NAMED_PROBLEMS = 3
"""So many pieces of work that fail are named."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What is known of the hours of each scope.

    - ``hours``: each with what a sweep found of it, and what was made of it;
    - ``notices``: what flow logs leave out;
    - ``problems``: what keeps answers from being complete, a sentence each;
    - ``swept_at``: when a sweep looked last; ``counts_of``: when that scope was rolled up whose turn was
      longest ago; ``as_of``: the service's clock.
    """

    as_of: datetime
    hours: Sequence[Hour]
    notices: Sequence[Notice]
    problems: Sequence[str]
    swept_at: datetime | None
    counts_of: datetime | None

    def behind(self) -> list[Hour]:
        """The hours of which a sweep found more than it could count."""
        return [each for each in self.hours if each.found and each.found.behind]

    def totals(self) -> list[dict[str, Any]]:
        """The sums over all hours, of each kind of logs."""
        totals = {kind: dict.fromkeys(SUMS, 0) for kind in CONTAINERS}
        for each in self.hours:
            sums, row = totals[kind_of(each.scope)], each.row()
            for name in SUMS:
                sums[name] += row[name] or 0
        return [{"Kind": kind, **sums} for kind, sums in totals.items()]


def compute_freshness(
    counts: Counts, accounts: Collection[str], period: Range, now: datetime, scopes: Sequence[str] = ()
) -> Freshness:
    """Find out what is known of the hours of a period, of some scopes (by name, key or a part of either) or
    of all. ``accounts``: where there may be flow logs.

    What flow logs leave out is told by the last day of that time, if it is a day or more.
    """
    known = examine(counts, [*accounts], scopes, period, now)
    states: dict[str, Hours] = {}
    for scope, hours in groupby(known.hours, key=lambda each: each.scope):
        its = {each.hour: each.made.health.states for each in hours if each.made and each.made.health}
        if its:
            states[scope] = its
    works = counts.work.all_of(accounts)
    begun = Begun(works)
    problems = [*begun.say(now), *say_failures(works, now)]
    handed_out = {work.what for work in works if work.kind == "account"}
    if known.unknown and (new := sorted({*accounts} - handed_out)):
        problems.append(f"the app's sweeps have not looked for the flow logs of {', '.join(new)} yet")
    counts_of = rolled_up_until(works)
    if counts_of and now - counts_of > ROLLED_UP_WITHIN:
        problems.append(
            f"counts of {counts_of:%Y-%m-%d %H:%M}: answers lack what was counted since; "
            "run `flowtally rollup`, or see why the app's doesn't: `flowtally doctor`"
        )
    looked = (each.found.looked_at for each in known.hours if each.found and each.found.looked_at)
    return Freshness(
        now,
        known.hours,
        notice_left_out(states, period.since, min(now, period.until), now),
        problems,
        max((*looked, *begun.times.values()), default=None),
        counts_of,
    )


@dataclass(slots=True)
class Begun:
    """When each account's flow logs were looked for last, and when each of them was swept, by the work's
    name; what has never begun isn't in it.
    """

    works: Iterable[Work]
    times: Mapping[str, datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.times = {work.name: began for work in self.works if (began := _looked_at(work))}

    def say(self, now: datetime) -> list[str]:
        """Say what hasn't begun for long, in one sentence, if anything."""
        late = [name for name, began in self.times.items() if now - began > SWEPT_WITHIN]
        if not late:
            return []
        oldest = min(late, key=lambda name: self.times[name])
        more = f" and {len(late) - 1:,} more" if len(late) > 1 else ""
        since = f"the last time at {self.times[oldest]:%Y-%m-%d %H:%MZ}"
        return [f"not begun for {SWEPT_WITHIN // HOUR} hours: {oldest}{more}, {since}"]


def _looked_at(work: Work) -> datetime | None:
    """When work began that is handed out again and again: of a sweep of given hours that isn't known."""
    if work.kind == "account":
        return work.looked_at
    return work.began if work.kind == "sweep" and work.said.startswith("[") else None


def say_failures(works: Iterable[Work], now: datetime) -> list[str]:
    """Say which work fails, or rests, a sentence each; of many, how many more there are."""
    problems = [f"{work.name} {said}" for work in works if (said := work.problem(now))]
    if len(problems) > NAMED_PROBLEMS:
        return [*problems[:NAMED_PROBLEMS], f"{len(problems) - NAMED_PROBLEMS:,} more pieces of work fail"]
    return problems

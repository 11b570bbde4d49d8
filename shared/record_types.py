"""What VNet flow logs leave out, as far as their tuples tell (pure).

A flow log has a setting ``recordTypes``: which tuples it logs, any of ``B`` (a flow begins), ``C`` (it
continues), ``E`` (it ends) and ``D`` (it is denied); all, if it is empty. What isn't logged can't be counted,
and the columns that it would have filled are 0, which looks like an answer. So it is said where

- flows end, and none begins;
- flows begin, and none continues or ends, although each flow does so within minutes.

Both need a day with at least ``ENOUGH`` such tuples and not one that says otherwise: what is merely quiet is
neither. At the day's edges a flow may have one tuple within it and another one outside. So only what lies an
hour inside its beginning, and in hours that are over, is taken for a sign. That no flow is denied can be true
of any network: of denials only the fact is told, without a reason. Of NSG flow logs nothing is said: that
they can be filtered isn't documented.

Source: Microsoft Learn, "Microsoft.Network networkWatchers/flowLogs", ``recordTypes``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from shared.counts.index import is_all
from shared.flowlog.blob_name import kind_of, without_watcher
from shared.tally.states import States
from shared.times import DAY, HOUR, floor_hour

ENOUGH = 50
"""Begins, or ends, of a day that show that a log is in use."""

TOLD_WITHIN = timedelta(minutes=10)
"""So long after a flow has begun at the latest it continues or ends: twice the longest time that was seen."""

NAMED_SCOPES = 3
"""Scopes that a line names; of more, it has the number."""

LOOK_AT = (
    "look at recordTypes of the flow log (az network watcher flow-log show --location REGION --name NAME "
    "--query recordTypes): if it is empty, B, C, E and D are logged, and else only what it names"
)

type Hours = Mapping[datetime, States]
"""Of one scope: the tuples by state of the blobs of each hour."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know about some scopes; ``to_do`` if it may be meant otherwise."""

    scopes: tuple[str, ...]
    found: str
    to_do: str = ""

    def line(self) -> str:
        """In one line, with a few of the scopes by the flow log's name."""
        named = ", ".join(map(_name_of, self.scopes[:NAMED_SCOPES]))
        more = len(self.scopes) - NAMED_SCOPES
        return f"{named}{f' and {more:,} more' if more > 0 else ''}: {self.found}"

    def row(self) -> dict[str, Any]:
        """As data."""
        return {"Scopes": [*self.scopes], "Found": self.found, "ToDo": self.to_do}


def _name_of(scope: str) -> str:
    """What people call a scope: a flow log's name."""
    return "all flow logs together" if is_all(scope) else without_watcher(scope.rpartition("~")[2])


def first_hour_of_day(end: datetime) -> datetime:
    """The first of the hours that make up the day before ``end``."""
    return floor_hour(end - DAY)


def notice_left_out(
    counted: Mapping[str, Hours], since: datetime, end: datetime, now: datetime
) -> list[Notice]:
    """Say what the logs of these scopes seem to leave out, by what was counted in the day before ``end``:
    that is ``now``, or earlier.

    ``counted`` has all hours from ``since`` on, and may have earlier ones: the last denial is looked for in
    all of them. Nothing is said where ``since`` leaves less than a day.
    """
    if since > first_hour_of_day(end):
        return []
    scopes: dict[tuple[str, str], list[str]] = {}
    for scope, hours in sorted(counted.items()):
        if kind_of(scope) == "vnet":
            for left_out in _find_left_out(hours, end):
                scopes.setdefault((left_out, LOOK_AT), []).append(scope)
            if _is_without_denials(hours, end):
                scopes.setdefault((_last_denial(hours, end, now), ""), []).append(scope)
    notices = [Notice(tuple(them), found, to_do) for (found, to_do), them in scopes.items()]
    return sorted(notices, key=lambda each: (not each.to_do, each.to_do, each.found))


def to_lines(notices: Sequence[Notice]) -> Iterator[str]:
    """Notices for people: behind those with something to do that, once."""
    for to_do, some in groupby(notices, key=lambda each: each.to_do):
        yield from (notice.line() for notice in some)
        if to_do:
            yield to_do


def _find_left_out(hours: Hours, end: datetime) -> Iterator[str]:
    day = _day(hours, end)
    first, last = first_hour_of_day(end), end - HOUR - TOLD_WITHIN
    inner = _sum(states for hour, states in day.items() if first < hour <= last)
    total = _sum(day.values())
    if not total.begins and inner.ends >= ENOUGH:
        yield (
            "the flow log leaves out begins: flows allowed are not counted, and bytes may be stated twice, "
            "which can't be seen"
        )
    if not total.continues and not total.ends and inner.begins >= ENOUGH:
        yield "the flow log leaves out continues and ends: bytes are 0 because they aren't logged"


def _is_without_denials(hours: Hours, end: datetime) -> bool:
    """Whether a log is in use, and was without a denial all day."""
    day = _sum(_day(hours, end).values())
    return not day.denials and max(day.begins, day.ends) >= ENOUGH


def _day(hours: Hours, end: datetime) -> Hours:
    return {hour: states for hour, states in hours.items() if first_hour_of_day(end) <= hour < end}


def _sum(many: Iterable[States]) -> States:
    return States(*map(sum, zip(*many, strict=True)))


def _last_denial(hours: Hours, end: datetime, now: datetime) -> str:
    """Since when no flow was denied; if there is no denial at all, for how long that is known."""
    last = max((hour for hour, states in hours.items() if states.denials and hour < end), default=None)
    if last is not None:
        return f"no denial since {last + HOUR:%Y-%m-%d %H:%MZ}"
    known = (end - min(hours)) // HOUR
    long = f"{known // 24} days" if known >= 48 else f"{known} hours" if known >= 2 else "hour"
    if end == now:
        return f"no denial in the last {long}"
    return f"no denial in the {long} before {end:%Y-%m-%d %H:%MZ}"

"""Was an hour complete? Told from the index alone, so also when its blobs are long gone.

Two things are known of each hour and scope: what the last sweep found that had anything new to say (how many
blobs, how many of them behind), and what the rollup made. And of each hour, when a sweep looked at it first
after it was over: since then a finding is final until another one takes its place, and a scope without one
had no blob. What no sweep has looked at isn't known, and is called so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.counts.index import Indexed, SweepFinding
from shared.counts.store import Counts
from shared.periods import OVER_AFTER
from shared.tables import Columns
from shared.times import HOUR
from shared.views.asking import find_scopes
from shared.views.query import Range

COLUMNS = (
    *("Scope", "Hour", "State", "Listed", "Bytes", "Behind", "LookedAt"),
    *("Blobs", "Tuples", "Malformed", "GarbledBytes", "LastRecordTime"),
)
KEY = ("Scope", "Hour", "State")


class State(StrEnum):
    """Whether an hour of a scope is complete, and if not, why not."""

    COMPLETE = "complete"
    BEHIND = "behind"
    NOT_ROLLED_UP = "not rolled up"
    NOT_LOOKED_AT = "not looked at"
    NOT_OVER = "not over"


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a scope: what a sweep has found of it, and what was made of it, if anything."""

    scope: str
    hour: datetime
    state: State
    found: SweepFinding | None
    made: Indexed | None
    looked_at: datetime | None

    def row(self) -> dict[str, Any]:
        """By ``COLUMNS``; what isn't known is ``None``."""
        found, health = self.found, self.made.health if self.made else None
        return {
            "Scope": self.scope,
            "Hour": self.hour,
            "State": str(self.state),
            "Listed": found.listed if found else None,
            "Bytes": found.bytes if found else None,
            "Behind": found.bytes_behind if found else None,
            "LookedAt": self.looked_at,
            "Blobs": health.blobs if health else None,
            "Tuples": health.tuples if health else None,
            "Malformed": health.malformed if health else None,
            "GarbledBytes": health.garbled_bytes if health else None,
            "LastRecordTime": health.last_record_time if health else None,
        }


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is known of a period ``now``: its ``hours``, scope by scope. Those that are over, and that no
    sweep has looked at since, are ``unknown``.
    """

    period: Range
    now: datetime
    hours: Sequence[Hour]
    unknown: Sequence[datetime]

    @property
    def is_over(self) -> bool:
        """Whether the period is over, and was some minutes ago."""
        return self.now >= self.period.until + OVER_AFTER

    @property
    def is_complete(self) -> bool:
        """Whether all that was logged in the period is counted, and in answers; not where that is unknown."""
        return self.is_over and not self.unknown and not self.incomplete()

    def incomplete(self) -> list[Hour]:
        """The hours that aren't complete, or of which that isn't known."""
        return [each for each in self.hours if each.state is not State.COMPLETE]

    def say(self) -> Iterator[str]:
        """Say whether the period is complete, and if not, what is missing and what to do: a line each."""
        form = "%Y-%m-%d" if self.period.grain == "day" else "%Y-%m-%dT%H"
        name = self.period.since.strftime(form)
        states = Counter(each.state for each in self.hours)
        behind, apart = states[State.BEHIND], states[State.NOT_ROLLED_UP]
        found = "not over yet"
        if self.is_complete:
            found = "complete" if self.hours else "complete: sweeps have looked, and there was no blob"
        elif behind or apart:
            found = "not complete"
        elif self.unknown:
            found = "not known to be complete"
        yield f"{name}: {found}"
        if behind:
            yield (
                f"behind when a sweep looked last: {_plural(behind, 'hour')} of a scope; "
                f"`flowtally sweep --since {name}` counts what is still stored"
            )
        if apart:
            yield (
                f"counted, but not merged since it ended, so that answers may lack some: "
                f"{_plural(apart, 'hour')} of a scope; run `flowtally rollup --since {name}`"
            )
        if self.unknown:
            first, last = min(self.unknown), max(self.unknown)
            when = f"{first:%H:%M}" if first == last else f"{first:%H:%M} to {last:%H:%M}"
            yield (
                f"no sweep has looked at {_plural(len(self.unknown), 'hour')} ({when}) after the end, so it "
                f"isn't known what was logged; `flowtally sweep --since {name}` looks at what is still there"
            )


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def examine(counts: Counts, wanted: Sequence[str], period: Range, now: datetime) -> Completeness:
    """Find out all that is known of a period's hours, of some scopes (by name, key or a part of either) or of
    all: those of the catalog, and those that so far only a sweep has seen.
    """
    last = period.until - HOUR
    findings, looked = counts.findings_and_looks(period.since, last)
    found = {key: its for key, (its, _) in findings.items()}
    made = {(scope, hour): its for scope, hour, its in counts.indexed_hours(period.since, last)}
    seen = {
        scope: {"Scope": scope, "Name": scope.rpartition("~")[2], "FirstPeriod": hour, "LastPeriod": hour}
        for scope, hour in found
    }
    return judge(find_scopes(seen | counts.catalog(), wanted), period, now, looked, found, made)


def judge(
    scopes: Iterable[Columns],
    period: Range,
    now: datetime,
    looked: Mapping[datetime, datetime],
    found: Mapping[tuple[str, datetime], SweepFinding],
    made: Mapping[tuple[str, datetime], Indexed],
) -> Completeness:
    """Judge each hour of each scope that has, or may have, a blob of it: ``looked`` says when a sweep looked
    at an hour first after it was over, ``found`` what one found, ``made`` what the rollup made.
    """
    times = [period.since + number * HOUR for number in range((period.until - period.since) // HOUR)]
    hours = []
    for scope in scopes:
        for hour in times:
            key = scope["Scope"], hour
            its, index = found.get(key), made.get(key)
            may_have = scope["FirstPeriod"] <= hour <= scope["LastPeriod"] and hour not in looked
            if its or index or may_have:
                state = _judge(hour, now, is_looked_at=hour in looked, found=its, made=index)
                looks = [moment for moment in (looked.get(hour), its and its.looked_at) if moment]
                hours.append(Hour(*key, state, its, index, max(looks, default=None)))
    unknown = [hour for hour in times if hour not in looked and now >= hour + HOUR + OVER_AFTER]
    return Completeness(period, now, hours, unknown)


def _judge(
    hour: datetime,
    now: datetime,
    *,
    is_looked_at: bool,
    found: SweepFinding | None,
    made: Indexed | None,
) -> State:
    over = hour + HOUR + OVER_AFTER
    if now < over:
        return State.NOT_OVER
    if not is_looked_at:
        return State.NOT_LOOKED_AT
    if found and found.behind:
        return State.BEHIND
    health = made.health if made else None
    blobs = health.blobs if health else 0
    if found and (blobs < found.listed or not made or not made.as_of or made.as_of < over):
        return State.NOT_ROLLED_UP
    return State.COMPLETE

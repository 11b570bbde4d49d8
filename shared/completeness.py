"""Was an hour complete? Told from the index alone, so also when its blobs are long gone.

Two things are known of each hour and scope: what the last sweep found that had anything new to say (how many
blobs, how many of them behind), and what the rollup made. A finding is final once it was made after the hour
was over. And of each hour and account, that its flow logs were looked for after that: so none is missing.
What no sweep has looked at isn't known, and is called so.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.counts.index import Indexed, SweepFinding
from shared.counts.store import Counts
from shared.periods import OVER_AFTER
from shared.tables import Columns
from shared.times import HOUR, hours_from
from shared.views.query import Range
from shared.views.scopes import find_scopes

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
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a scope: what a sweep has found of it, and what was made of it, if anything."""

    scope: str
    hour: datetime
    state: State
    found: SweepFinding | None
    made: Indexed | None

    @property
    def is_anything(self) -> bool:
        """Whether there is anything to say of it: not where a sweep has looked, and there was no blob."""
        return self.state is not State.COMPLETE or bool(self.made or (self.found and self.found.listed))

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
            "LookedAt": found.looked_at if found else None,
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
        archived, unseen = states[State.ARCHIVED], states[State.NOT_LOOKED_AT]
        found = "not over yet"
        if self.is_complete:
            found = "complete" if self.hours else "complete: sweeps have looked, and there was no blob"
        elif behind or apart or archived:
            found = "not complete"
        elif self.unknown or unseen:
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
        if archived:
            yield (
                f"archived before it was counted: {_plural(archived, 'hour')} of a scope; bring the blobs "
                f"back to the cool or hot tier, then `flowtally sweep --since {name}` counts them"
            )
        if unseen:
            yield (
                f"not looked at since it ended: {_plural(unseen, 'hour')} of a scope; "
                f"`flowtally sweep --since {name}` looks at what is still stored"
            )
        if self.unknown:
            first, last = min(self.unknown), max(self.unknown)
            when = f"{first:%H:%M}" if first == last else f"{first:%H:%M} to {last:%H:%M}"
            yield (
                f"in {_plural(len(self.unknown), 'hour')} ({when}) not all accounts were searched for flow "
                f"logs after the end; `flowtally sweep --since {name}` looks at what is still there"
            )


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def examine(
    counts: Counts, accounts: Sequence[str], wanted: Sequence[str], period: Range, now: datetime
) -> Completeness:
    """Find out all that is known of a period's hours, of some scopes (by name, key or a part of either) or of
    all: those of the catalog, and those that so far only a sweep has seen. ``accounts``: where there may be
    flow logs.
    """
    last = period.until - HOUR
    found: dict[tuple[str, datetime], list[SweepFinding]] = {}
    looked: dict[datetime, set[str]] = {}
    for key, (its, _) in counts.findings(period.since, last).items():
        if key.scope:
            found.setdefault((key.scope, key.hour), []).append(its)
        else:
            looked.setdefault(key.hour, set()).add(key.account)
    made = {(scope, hour): its for scope, hour, its in counts.indexed_hours(period.since, last)}
    seen = {
        scope: {"Scope": scope, "Name": scope.rpartition("~")[2], "FirstPeriod": hour, "LastPeriod": hour}
        for scope, hour in found
    }
    sure = {hour for hour, its in looked.items() if its >= {*accounts}}
    scopes = find_scopes(seen | counts.catalog(), wanted)
    return judge(scopes, period, now, sure, {key: _together(its) for key, its in found.items()}, made)


def _together(found: Sequence[SweepFinding]) -> SweepFinding:
    """What was found of an hour of a scope in all accounts; ``looked_at`` is when the last of them was looked
    at, if all were.
    """
    looks = [each.looked_at for each in found]
    return SweepFinding(
        sum(each.listed for each in found),
        sum(each.bytes for each in found),
        sum(each.behind for each in found),
        sum(each.bytes_behind for each in found),
        sum(each.archived for each in found),
        min((look for look in looks if look), default=None) if all(looks) else None,
    )


def judge(
    scopes: Iterable[Columns],
    period: Range,
    now: datetime,
    looked: Container[datetime],
    found: Mapping[tuple[str, datetime], SweepFinding],
    made: Mapping[tuple[str, datetime], Indexed],
) -> Completeness:
    """Judge each hour of each scope that has, or may have, a blob of it: ``looked`` are the hours after whose
    end the flow logs of all accounts were looked for, ``found`` what sweeps found, ``made`` what the rollup
    made.
    """
    times = hours_from(period.since, period.until - HOUR)
    hours = []
    for scope in scopes:
        for hour in times:
            key = scope["Scope"], hour
            its, index = found.get(key), made.get(key)
            if its or index or scope["FirstPeriod"] <= hour <= scope["LastPeriod"]:
                judged = Hour(*key, _judge(hour, now, its, index), its, index)
                if judged.is_anything:
                    hours.append(judged)
    unknown = [hour for hour in times if hour not in looked and now >= hour + HOUR + OVER_AFTER]
    return Completeness(period, now, hours, unknown)


def _judge(hour: datetime, now: datetime, found: SweepFinding | None, made: Indexed | None) -> State:
    over = hour + HOUR + OVER_AFTER
    if now < over:
        return State.NOT_OVER
    if not found or not found.looked_at or found.looked_at < over:
        return State.NOT_LOOKED_AT
    if found.behind:
        return State.BEHIND
    health = made.health if made else None
    blobs = health.blobs if health else 0
    if blobs < found.listed - found.archived or (blobs and (not made or not made.as_of or made.as_of < over)):
        return State.NOT_ROLLED_UP
    return State.ARCHIVED if found.archived else State.COMPLETE

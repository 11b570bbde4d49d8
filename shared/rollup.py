"""Rollup: make the views say what the ledger says.

Which hours have to be made again is told by *fingerprints*: of the ledger entries that have a share in an
hour, and of the hours that a day was made from. They are compared for the hours that ended not long before
the last complete rollup, for those that a note says came late, and for those that the caller asks for. Rows
are always made anew from the counts, never added to, and the fingerprint is written last; so a rollup that
dies leaves at worst what the next one makes again.

Two rollups at once may overwrite each other's rows, the slower one with the older state. Therefore an hour
that was first made of its present state a short while ago is made once more, whatever its fingerprint says.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Self

from shared.errors import FlowtallyError, MalformedInput, Unavailable, Unexpected
from shared.flowlog.blob_name import CONTAINERS, kind_of, parse_blob_name
from shared.ingest import LATE_AFTER
from shared.ledger.store import Foreign, LateNote, Ledger, Posted
from shared.tally.hour_counts import HourCounts
from shared.times import DAY, HOUR, day_key, floor_hour, hour_key
from shared.views.questions import QUESTIONS, Grain
from shared.views.rows import ALL_SCOPES, Health, ViewRow, health_row, partition_of, view_rows
from shared.views.store import CATALOG, Made, Views
from shared.workers import attempt, work_on

ROWS_VERSION = 1
"""Part of every fingerprint: raise it when rows are made differently, and they are all made again."""

SETTLED_AFTER = timedelta(minutes=15)
"""So long after it was made an hour can't be overwritten by a slower rollup any more."""

NOTES_FOLLOWED = timedelta(hours=1)
"""So long after a note was left each rollup compares its hour: the commit may come a while later. Then it is
compared once more, and a last time after ``NOTES_KEPT``, for the case that a process has slept before its
commit, and has died after it."""

NOTES_KEPT = timedelta(days=1)
"""So long after it was left a note stays."""

WORKERS = 4
"""Scopes made at the same time."""

_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_MERGED_KEYS = 10_000


@dataclass(slots=True)
class RolledUp:
    """What a rollup did: hours and days made, rows written or deleted; which hours it looked at; and which
    scopes failed with which error.
    """

    scopes: int = 0
    hours: int = 0
    days: int = 0
    rows: int = 0
    hours_checked: set[datetime] = field(default_factory=set)
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)

    def __iadd__(self, other: "RolledUp") -> Self:
        self.scopes += other.scopes
        self.hours += other.hours
        self.days += other.days
        self.rows += other.rows
        self.hours_checked |= other.hours_checked
        self.failed += other.failed
        return self

    def take(self, name: str, result: int | FlowtallyError) -> bool:
        """Count the rows that were made of one item, or note that it failed; whether it was made.

        Where storage fails, it fails the next item, too: that ends the scope.
        """
        if isinstance(result, Unavailable):
            raise result
        if isinstance(result, FlowtallyError):
            self.failed.append((name, result))
            return False
        self.rows += result
        return True

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        figures = {"Scopes": self.scopes, "Hours": self.hours, "Days": self.days, "Rows": self.rows}
        return {**figures, "Failed": len(self.failed)}


def rollup(ledger: Ledger, views: Views, since: datetime | None = None) -> RolledUp:
    """Make the views of all hours that may have changed, and of those from ``since`` on that have.

    Some scopes at a time. One that fails doesn't hold up the others: it is in ``failed``, and is looked at
    again the next time.
    """
    all_notes, bad_notes, now = ledger.late_notes()
    notes = [note for note in all_notes if not note.compared or now - note.noted > NOTES_KEPT]
    last_rollup = views.last_rollup()
    if last_rollup is None:
        views.create_tables()
    else:
        last_rollup = min(last_rollup, now)
    recent = last_rollup - LATE_AFTER - 2 * HOUR if last_rollup else _EVER
    first = max(min(since or recent, recent), _EVER)
    strangers: list[MalformedInput] = []
    bad_rows: dict[str, MalformedInput] = {}
    job = _Rollup(ledger, views, now, floor_hour(first), notes, views.catalog(bad_rows))
    done = RolledUp()
    for scope, result in work_on(ledger.scopes(strangers), job.roll_scope, WORKERS, "rollup"):
        if isinstance(result, FlowtallyError):
            done.failed.append((scope, result))
        else:
            done += result
    for hour in sorted(done.hours_checked):
        try:
            done.rows += _write_health(views, ALL_SCOPES, hour, views.health_of_all(hour))
        except MalformedInput as error:
            done.failed.append((f"{ALL_SCOPES}~{hour_key(hour)}", error))
    done.failed += [("a late note", error) for error in bad_notes]
    done.failed += [("a row of the ledger", error) for error in strangers]
    # Those that aren't there any more were made anew by this rollup.
    done.failed += [("the catalog", error) for scope, error in bad_rows.items() if scope not in job.catalog]
    for note in notes:
        failed = any(name.startswith(note.scope) for name, _ in done.failed)
        if not failed and now - note.noted > NOTES_KEPT:
            ledger.drop_note(note)
        elif not failed and now - note.noted > NOTES_FOLLOWED:
            ledger.keep_note(note)
    # What is malformed stays so until somebody mends it; only what may pass is worth looking at again.
    if done.scopes and not any(isinstance(error, (Unavailable, Unexpected)) for _, error in done.failed):
        views.keep_last_rollup(now)
    return done


@dataclass(frozen=True, slots=True)
class _Rollup:
    """One rollup, scope by scope: of the hours from ``first`` on and of those that ``notes`` name."""

    ledger: Ledger
    views: Views
    now: datetime
    first: datetime
    notes: list[LateNote]
    catalog: dict[str, ViewRow]

    def roll_scope(self, scope: str) -> RolledUp:
        """Make what has changed of a scope."""
        notes = [note for note in self.notes if note.scope == scope]
        spans = [(self.first, self.now + DAY), *((note.hour - HOUR, note.hour + HOUR) for note in notes)]
        done = RolledUp(scopes=1)
        for first, last in _joined(spans):
            # An hour's rows depend on its neighbours' entries, too.
            found = [*self.ledger.entries(scope, first - HOUR, last + HOUR)]
            posted = [each for each in found if isinstance(each, Posted)]
            foreign = [each for each in found if isinstance(each, Foreign)]
            done.failed += [(scope, each.error) for each in foreign]
            blocked = {each.hour + share * HOUR for each in foreign if each.hour for share in (-1, 0, 1)}
            done += self._make_changed(scope, first, last, posted, blocked)
            done.take(scope, attempt(partial(self._describe, scope, posted), scope))
        return done

    def _make_changed(
        self, scope: str, first: datetime, last: datetime, posted: list[Posted], blocked: set[datetime]
    ) -> RolledUp:
        """Make those of the hours from ``first`` to ``last`` that have changed, and those of their days.

        Not those that are ``blocked``, nor their days: they have a part that can't be read, and would be
        wrong without it.
        """
        concerned = {each.hour + share * HOUR for each in posted for share in _shares(each)}
        hours = sorted(hour for hour in concerned if first <= hour <= last)
        done = RolledUp(hours_checked=set(hours))
        if not hours:
            return done
        made = self.views.made(scope, hours[0], hours[-1])
        by_hour: dict[datetime, list[Posted]] = {}
        for each in posted:
            by_hour.setdefault(each.hour, []).append(each)
        for hour in hours:
            was = made.get(hour_key(hour))
            near = chain.from_iterable(by_hour.get(hour + share * HOUR, ()) for share in (-1, 0, 1))
            if hour not in blocked and self._is_due(was, _fingerprint(hour, near)):
                name = f"{scope}~{hour_key(hour)}"
                made_hour = done.take(name, attempt(partial(self._make_hour, scope, hour, was), name))
                done.hours += made_hour
                if not made_hour:
                    blocked.add(hour)
        for day in sorted(
            {hour.replace(hour=0) for hour in hours} - {hour.replace(hour=0) for hour in blocked}
        ):
            was = made.get(day_key(day))
            fingerprint = self._fingerprint_of_day(scope, day)
            if self._is_due(was, fingerprint):
                name = f"{scope}~{day_key(day)}"
                made_day = partial(self._make_day, scope, day, was, fingerprint)
                done.days += done.take(name, attempt(made_day, name))
        return done

    def _is_due(self, made: Made | None, fingerprint: str) -> bool:
        return made is None or made.fingerprint != fingerprint or self.now - made.written < SETTLED_AFTER

    def _make_hour(self, scope: str, hour: datetime, made: Made | None) -> int:
        """Write the rows of one hour from the entries that have a share in it; gives how many changed."""
        entries = self.ledger.entries
        merged = HourCounts(keys=_MERGED_KEYS)
        posted = []
        for each in chain(
            entries(scope, hour - HOUR, hour - HOUR, counts=True, only="TuplesAfter gt 0L"),
            entries(scope, hour, hour, counts=True),
            entries(scope, hour + HOUR, hour + HOUR, counts=True, only="TuplesBefore gt 0L"),
        ):
            if isinstance(each, Foreign):
                if each.hour is None:  # no part of any hour
                    continue
                raise each.error
            for share_hour, counts in each.entry.counts().hours(each.hour):
                if share_hour == hour:
                    merged.merge(counts)
            posted.append(replace(each, entry=replace(each.entry, packed=b"")))
        rows = self._write_rows(scope, hour, merged, ("5m", "hour"), hour + HOUR)
        health = sum((_health(each) for each in posted if each.hour == hour), Health())
        rows += _write_health(self.views, scope, hour, health)
        self.views.keep_health(scope, hour, health)
        fingerprint = _fingerprint(hour, posted)
        if made is None or made.fingerprint != fingerprint:
            self.views.keep_hour(scope, hour, fingerprint, merged)
        return rows

    def _fingerprint_of_day(self, scope: str, day: datetime) -> str:
        made = self.views.made(scope, day, day + 23 * HOUR)
        return _digest(f"{key} {each.fingerprint}" for key, each in made.items() if key != day_key(day))

    def _make_day(self, scope: str, day: datetime, made: Made | None, fingerprint: str) -> int:
        """Write the rows of one day from its hours; gives how many changed."""
        merged = HourCounts(keys=_MERGED_KEYS)
        for counts in self.views.hours_of_day(scope, day):
            merged.merge(counts)
        rows = self._write_rows(scope, day, merged, ("day",), day + DAY)
        if made is None or made.fingerprint != fingerprint:
            self.views.keep_day(scope, day, fingerprint)
        return rows

    def _write_rows(
        self, scope: str, period: datetime, counts: HourCounts, grains: Iterable[Grain], until: datetime
    ) -> int:
        changed = 0
        for question in QUESTIONS.values():
            for grain in grains:
                if grain in question.grains and question.name != "health":
                    rows = view_rows(scope, question, grain, period, counts)
                    partition = partition_of(scope, question.name, grain)
                    changed += self.views.replace_rows(partition, period, until, rows)
        return changed

    def _describe(self, scope: str, posted: list[Posted]) -> int:
        """Write the scope's row of the catalog: what its key stands for, and which hours there are. No row of
        a view.
        """
        if not posted:
            return 0
        known = self.catalog.get(scope)
        newest = max(
            posted,
            key=lambda each: (each.hour, each.entry.last_record_time or each.hour, each.mac, each.account),
        )
        blob = parse_blob_name(newest.entry.blob_name, CONTAINERS[kind_of(scope)])
        hours = [each.hour for each in posted]
        row: ViewRow = {
            "PartitionKey": CATALOG,
            "RowKey": scope,
            "Scope": scope,
            "View": "scopes",
            "Kind": blob.kind,
            "Name": blob.group,
            "ResourceId": newest.entry.resource_id or blob.resource_id,
            "TargetResourceId": newest.entry.target_id,
            "FirstPeriod": min(hours),
            "LastPeriod": max(hours),
        }
        if known:
            newer = known if known["LastPeriod"] > row["LastPeriod"] else row
            row = {**newer, "FirstPeriod": min(row["FirstPeriod"], known["FirstPeriod"])}
        if known != row:
            self.views.describe_scope(row)
            self.catalog[scope] = row
        return 0


def _write_health(views: Views, scope: str, hour: datetime, health: Health) -> int:
    row = health_row(scope, hour, health)
    return views.replace_rows(row["PartitionKey"], hour, hour + HOUR, [row] if health.blobs else [])


def _joined(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Spans of hours, in order; those that touch each other as one."""
    joined: list[tuple[datetime, datetime]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + HOUR:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def _shares(posted: Posted) -> list[int]:
    """The hours that an entry has to do with: its own, and its neighbours if it counts tuples of theirs, or
    may have done so before its blob was rewritten.
    """
    entry = posted.entry
    before, after = entry.tuples_before or entry.rewrites, entry.tuples_after or entry.rewrites
    return [share for share, there in ((-1, before), (0, True), (1, after)) if there]


def _fingerprint(hour: datetime, posted: Iterable[Posted]) -> str:
    """What the rows of ``hour`` depend on.

    Of the neighbours only the share counts, so that an hour is at rest while the next one grows.
    """
    stated = set()
    for each in posted:
        entry = each.entry
        afresh = f"{entry.rewrites} {entry.carried_in}"  # what makes other figures of as many tuples
        if each.hour == hour:
            stated.add(f"{each.mac} {each.account} {each.etag}")
        elif each.hour == hour - HOUR and entry.tuples_after:
            stated.add(f"{each.mac} {each.account} after {entry.tuples_after} {afresh}")
        elif each.hour == hour + HOUR and entry.tuples_before:
            stated.add(f"{each.mac} {each.account} before {entry.tuples_before} {afresh}")
    return _digest(stated)


def _digest(stated: Iterable[str]) -> str:
    return hashlib.sha256("\n".join([f"rows {ROWS_VERSION}", *sorted(stated)]).encode()).hexdigest()


def _health(posted: Posted) -> Health:
    entry = posted.entry
    last = entry.last_record_time
    return Health(
        1,
        entry.offset,
        entry.records,
        entry.tuples,
        *entry.states,
        entry.malformed,
        entry.garbled_bytes,
        last,
        max(posted.written - last, timedelta()) if last else None,
    )

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
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.blobs import floor_hour
from shared.errors import FlowtallyError
from shared.flowlog.blob_name import parse_blob_name
from shared.ingest import LOOKED_AT
from shared.ledger.entry import day_key, hour_key
from shared.ledger.store import Ledger, Posted
from shared.tally.hour_counts import HourCounts
from shared.views.questions import QUESTIONS, Grain
from shared.views.rows import ALL_SCOPES, Health, ViewRow, health_row, partition_of, view_rows
from shared.views.store import CATALOG, Made, Views

ROWS_VERSION = 1
"""Part of every fingerprint: raise it when rows are made differently, and they are all made again."""

SETTLED_AFTER = timedelta(minutes=15)
"""So long after it was made an hour can't be overwritten by a slower rollup any more."""

NOTES_KEPT = timedelta(hours=1)
"""So long after it was written a note stays: its commit may come a while later."""

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_MERGED_KEYS = 100_000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RolledUp:
    """What a rollup did: hours and days made, rows written or deleted, and what failed with which error."""

    scopes: int = 0
    hours: int = 0
    days: int = 0
    rows: int = 0
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)


def rollup(
    ledger: Ledger, views: Views, since: datetime | None = None, on_scope: Callable[[str], None] | None = None
) -> RolledUp:
    """Make the views of all hours that may have changed, and of those from ``since`` on that have.

    A scope that fails doesn't hold up the others: it is in ``failed``, and is looked at again the next time.
    """
    notes, now = ledger.late_notes()
    done = RolledUp()
    looked_at = views.looked_at()
    recent = looked_at - LOOKED_AT - 2 * _HOUR if looked_at else _EVER
    catalog = views.catalog()
    looked: set[datetime] = set()
    for scope in ledger.scopes():
        own_notes = [note for note in notes if note.scope == scope]
        try:
            posted = [*ledger.entries(scope, floor_hour(min(since or recent, recent)), now + _DAY)]
            for note in own_notes:
                posted += ledger.entries(scope, note.hour - 2 * _HOUR, note.hour + 2 * _HOUR)
            looked |= _roll_scope(scope, posted, now, ledger, views, done)
            _describe(scope, posted, catalog.get(scope), views)
        except FlowtallyError as error:
            log.exception("rollup of %s failed", scope)
            done.failed.append((scope, error))
        else:
            for note in own_notes:
                if now - note.noted > NOTES_KEPT:
                    ledger.drop_note(note)
        done.scopes += 1
        if on_scope:
            on_scope(scope)
    for hour in sorted(looked):
        row = health_row(ALL_SCOPES, hour, views.health_of_all(hour))
        done.rows += views.replace_rows(row["PartitionKey"], hour, hour + _HOUR, [row])
    if not done.failed:
        views.keep_looked_at(now)
    return done


def _roll_scope(
    scope: str, posted: list[Posted], now: datetime, ledger: Ledger, views: Views, done: RolledUp
) -> set[datetime]:
    """Make what has changed of the hours that ``posted`` has a share in; gives those hours."""
    hours = sorted({each.hour + share * _HOUR for each in posted for share in _shares(each)})
    if not hours:
        return set()
    made = views.made(scope, hours[0], hours[-1])
    for hour in hours:
        was = made.get(hour_key(hour))
        if _is_due(was, _fingerprint(hour, posted), now):
            done.rows += _make_hour(scope, hour, was, ledger, views)
            done.hours += 1
    for day in sorted({hour.replace(hour=0) for hour in hours}):
        done.days += _make_day(scope, day, made.get(day_key(day)), now, views, done)
    return set(hours)


def _is_due(made: Made | None, fingerprint: str, now: datetime) -> bool:
    return made is None or made.fingerprint != fingerprint or now - made.written < SETTLED_AFTER


def _make_hour(scope: str, hour: datetime, made: Made | None, ledger: Ledger, views: Views) -> int:
    """Write the rows of one hour from the entries that have a share in it; gives how many changed."""
    posted = [
        *ledger.entries(scope, hour - _HOUR, hour - _HOUR, counts=True, only="TuplesAfter gt 0L"),
        *ledger.entries(scope, hour, hour, counts=True),
        *ledger.entries(scope, hour + _HOUR, hour + _HOUR, counts=True, only="TuplesBefore gt 0L"),
    ]
    merged = HourCounts(keys=_MERGED_KEYS)
    for entry in posted:
        for share_hour, counts in entry.entry.counts().hours(entry.hour):
            if share_hour == hour:
                merged.merge(counts, entry.mac)
    rows = _write_rows(scope, hour, merged, ("5m", "hour"), hour + _HOUR, views)
    health = sum((_health(entry) for entry in posted if entry.hour == hour), Health())
    row = health_row(scope, hour, health)
    rows += views.replace_rows(row["PartitionKey"], hour, hour + _HOUR, [row] if health.blobs else [])
    fingerprint = _fingerprint(hour, posted)
    if made is None or made.fingerprint != fingerprint:
        views.keep_health(scope, hour, health)
        views.keep_hour(scope, hour, fingerprint, merged)
    return rows


def _make_day(
    scope: str, day: datetime, made: Made | None, now: datetime, views: Views, done: RolledUp
) -> bool:
    """Write the rows of one day from its hours, if any of them was made since; gives whether it did."""
    hours = views.made(scope, day, day + 23 * _HOUR)
    stated = [
        f"{key} {hour.fingerprint}" for key, hour in sorted(hours.items()) if len(key) > len("yyyymmdd")
    ]
    fingerprint = _digest(stated)
    if not stated or not _is_due(made, fingerprint, now):
        return False
    merged = HourCounts(keys=_MERGED_KEYS)
    for _, _, counts in views.hours_of_day(scope, day):
        merged.merge(counts)
    done.rows += _write_rows(scope, day, merged, ("day",), day + _DAY, views)
    if made is None or made.fingerprint != fingerprint:
        views.keep_day(scope, day, fingerprint)
    return True


def _write_rows(
    scope: str, period: datetime, counts: HourCounts, grains: Iterable[Grain], until: datetime, views: Views
) -> int:
    changed = 0
    for question in QUESTIONS.values():
        for grain in grains:
            if grain in question.grains and question.name != "health":
                rows = view_rows(scope, question, grain, period, counts)
                changed += views.replace_rows(partition_of(scope, question.name, grain), period, until, rows)
    return changed


def _shares(posted: Posted) -> list[int]:
    """The hours that an entry has to do with: its own, and its neighbours if it counted tuples of theirs."""
    before, after = posted.entry.tuples_before, posted.entry.tuples_after
    return [share for share, there in ((-1, before), (0, True), (1, after)) if there]


def _fingerprint(hour: datetime, posted: Iterable[Posted]) -> str:
    """What the rows of ``hour`` depend on.

    Of the neighbours only the share counts, so that an hour is at rest while the next one grows.
    """
    stated = set()
    for each in posted:
        entry = each.entry
        if each.hour == hour:
            stated.add(f"{each.mac} {each.etag}")
        elif each.hour == hour - _HOUR and entry.tuples_after:
            stated.add(f"{each.mac} after {entry.tuples_after} {entry.rewrites}")
        elif each.hour == hour + _HOUR and entry.tuples_before:
            stated.add(f"{each.mac} before {entry.tuples_before} {entry.rewrites}")
    return _digest(stated)


def _digest(stated: Iterable[str]) -> str:
    return hashlib.sha256("\n".join([f"rows {ROWS_VERSION}", *sorted(stated)]).encode()).hexdigest()


def _health(posted: Posted) -> Health:
    entry = posted.entry
    return Health(
        1,
        entry.offset,
        entry.records,
        entry.tuples,
        entry.malformed,
        entry.garbled_bytes,
        entry.last_record_time,
        posted.written - entry.last_record_time if entry.last_record_time else None,
    )


def _describe(scope: str, posted: list[Posted], known: ViewRow | None, views: Views) -> None:
    """Write the scope's row of the catalog: what its key stands for, and which hours there are."""
    if not posted:
        return
    newest = max(posted, key=lambda each: (each.hour, each.entry.last_record_time or each.hour, each.mac))
    blob = parse_blob_name(newest.entry.blob_name)
    hours = [each.hour for each in posted]
    if known:
        hours += [known["FirstPeriod"], known["LastPeriod"]]
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
    if known is None or newest.hour >= known["LastPeriod"]:
        if known != row:
            views.describe_scope(row)
    elif known["FirstPeriod"] != row["FirstPeriod"]:
        views.describe_scope({**known, "FirstPeriod": row["FirstPeriod"]})

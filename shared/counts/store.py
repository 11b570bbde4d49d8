"""The edge to table ``flowcounts``: merged counts of hours and days, and the index of what has been made.

A period's counts are one entity for each family, and one, the *head*, that says what they were merged from.
All of them are in the scope's partition, so they are written in one transaction: readers never see half of
them. The row of the index is written last of all, when the rows of that state are in ``flowstats``.

Every write is conditional, by one rule: it uses an ETag only if that was learnt before what it writes was
loaded. So who is late fails with ``Conflict``, and nothing old takes the place of something new.
Everything here can be made again from the ledger.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import batched, groupby
from typing import Any

from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

from shared.connection import storage_errors
from shared.counts.health import HEALTH_COLUMNS, HEALTH_MEASURES, Health
from shared.counts.index import (
    HEAD_TYPES,
    FlowLogHour,
    Head,
    Indexed,
    Period,
    SweepFinding,
    all_of,
    day_period,
    head_columns,
    hour_period,
    hours_of,
    index_columns,
    is_all,
    read_partition,
    rejects_from_json,
    to_head,
    to_written,
)
from shared.counts.work import WorkRows
from shared.entities import check_columns, from_chunks, refuse_row, to_chunks
from shared.errors import Conflict, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS, Kind, kind_of
from shared.queries import Found, query
from shared.tables import END, Columns, Tables, if_unchanged
from shared.tally import packing
from shared.tally.families import FAMILIES
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import TRAFFIC
from shared.times import DAY, FIRST_MOMENT, HOUR, day_key, floor_hour, hour_key, hours_from
from shared.transactions import MOST_OPERATIONS, Put, delete_groups, transact

SCOPES = "~scopes"
"""PartitionKey of the catalog; RowKey is the scope, or what stands for all scopes of a kind."""

FEW_HOURS = 30
"""Of so many hours the index is asked one by one, where it is one scope's."""

_HEAD = "head"
_FOUND = "found~"
"""What the RowKeys of sweeps' findings begin with: ``found~{scope}~{account}``, or ``found~~{account}``."""
_TO_JOIN = "~to-join"
"""PartitionKey of the notes that a period of a scope has been made; RowKey ``{kind}~{period's key}``."""

_DESCRIBED_ANEW = "the next rollup makes it anew"
_MADE_ANEW = "then run `flowtally rollup --again`: it is made anew"

_INDEX_TYPES: dict[str, type] = {
    **dict.fromkeys(("Rejects", "Sizes", "Written"), str),
    **dict.fromkeys(HEALTH_MEASURES, int),
    **dict.fromkeys(("LastRecordTime", "AsOf"), datetime),
    "LagSeconds": int,
}
_HOURS = "PartitionKey ge @first and PartitionKey le @last and RowKey ge 'nsg~'"
"""Of scopes alone: what stands for all of a kind, and what sweeps found, comes before them."""
_HOURS_OF_ONE = "PartitionKey ge @first and PartitionKey le @last and RowKey eq @scope"
_SAID = ("Fingerprint", "Rejects", "AsOf", *HEALTH_COLUMNS)
"""The columns of the index that answers need."""

_CATALOG_TYPES: dict[str, type] = {
    **dict.fromkeys(("RowKey", "Scope", "Kind", "Name", "ResourceId", "TargetResourceId"), str),
    **dict.fromkeys(("FirstPeriod", "LastPeriod"), datetime),
}
_MAYBE_PRUNED = {"PrunedBefore": datetime}
_OF_ALL_TYPES: dict[str, type] = {
    **dict.fromkeys(("RowKey", "Scope", "Kind"), str),
    **dict.fromkeys(("FirstPeriod", "LastPeriod"), datetime),
    "Scopes": int,
}
_FOUND_TYPES = dict.fromkeys(("Listed", "Bytes", "Behind", "BytesBehind", "Archived"), int)
_LOOKED_AT = {"LookedAt": datetime}


@dataclass(frozen=True, slots=True)
class JoinNote:
    """A period of some scope of a kind has been made, or is about to be; ``noted`` is when that was said.
    ``followed``: all scopes of the kind together have been made of it since.
    """

    kind: Kind
    period: Period
    noted: datetime
    followed: bool
    etag: str


class Counts:
    """Table ``flowcounts``. Threads may share one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._counts = tables.table("flowcounts")
        self.work = WorkRows(tables)

    def create_tables(self) -> None:
        """Create the tables that aren't there."""
        self._tables.create()

    def now(self) -> datetime:
        """The storage service's clock, by a request of its own."""
        self._get(SCOPES, "~")
        return self._tables.server_time()

    # Counts

    def head(self, scope: str, period: Period) -> Head:
        """What a period's stored counts were merged from; an empty one if there are none, or if it can't be
        read: then the counts are stored anew.
        """
        row = self._get(scope, f"{_HEAD}~{period.key}")
        if row is None:
            return Head()
        try:
            return self._read_head(row)
        except MalformedInput:
            return Head(etag=row.etag)

    def heads_of_hours(self, scope: str, day: Period) -> dict[datetime, Head]:
        """What is stored of each of a day's hours, by hour."""
        return dict(self.heads(scope, *_hours_of(day)))

    def heads(self, scope: str, first: Period, last: Period) -> Iterator[tuple[datetime, Head]]:
        """What is stored of each of the hours, or days, from ``first`` to ``last``, and when it begins."""
        for row in self._range(scope, *_of(_HEAD, first, last)):
            yield self._period_of(row).begin, self._read_head(row)

    def part(self, scope: str, name: str, first: Period, last: Period) -> Iterator[tuple[Period, bytes]]:
        """One part of the counts of the periods from ``first`` to ``last``, packed."""
        for row in self._range(scope, *_of(name, first, last)):
            try:
                yield self._period_of(row), from_chunks(row.columns)
            except MalformedInput as error:
                raise refuse_row("flowcounts", row.columns, str(error), _MADE_ANEW) from error

    def unpacked[Made](
        self, scope: str, name: str, first: Period, last: Period, unpack: Callable[[bytes], Made]
    ) -> Iterator[tuple[Period, Made]]:
        """What this makes of the same; ``MalformedInput`` names the row where it can't."""
        for period, packed in self.part(scope, name, first, last):
            with _of_row(scope, name, period):
                made = unpack(packed)
            yield period, made

    def store(self, scope: str, period: Period, head: Head, parts: Mapping[str, bytes]) -> str:
        """Write parts of a period's counts together with their head, in the place of the head that has
        ``head.etag``. Gives the head's new ETag; ``Conflict`` if that isn't the one that is there any more.
        """
        keys = {"PartitionKey": scope, "RowKey": f"{_HEAD}~{period.key}"}
        puts = [Put({**keys, **head_columns(head)}, head.etag)]
        for name, packed in parts.items():
            puts.append(Put({**keys, "RowKey": f"{name}~{period.key}", **to_chunks(packed)}))
        return transact(self._counts, scope, puts)[0]

    def delete_before(self, scope: str, before: datetime, *, dry_run: bool = False) -> int:
        """Delete the counts of the hours and days before this day, of a scope or of all of a kind; the index
        stays. Gives how many entities there are; with ``dry_run`` they stay.
        """
        many = 0
        for first, end in (
            (day_period(FIRST_MOMENT), day_period(before)),
            (hour_period(FIRST_MOMENT), hour_period(before)),
        ):
            periods: dict[str, list[str]] = {}
            for name in (_HEAD, TRAFFIC, *FAMILIES):
                keys = f"{name}~{first.key}", f"{name}~{end.key}"
                for row in self._range(scope, *keys, select=["RowKey"]):
                    key = row.columns["RowKey"]
                    periods.setdefault(key.rpartition("~")[2], []).append(key)
                if not periods:
                    break  # without a head there is nothing
            many += sum(map(len, periods.values()))
            if not dry_run:
                delete_groups(self._counts, scope, periods.values())
        return many

    def _period_of(self, row: Found) -> Period:
        """The period of a row of counts."""
        try:
            period = read_partition(row.columns["RowKey"].rpartition("~")[2][1:])
        except ValueError:
            raise refuse_row(
                "flowcounts", row.columns, "its RowKey is no period's", "nothing needs it"
            ) from None
        return period

    def _read_head(self, row: Found) -> Head:
        check_columns("flowcounts", row.columns, HEAD_TYPES, mend=_MADE_ANEW)
        try:
            return to_head(row.columns, row.etag)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise refuse_row("flowcounts", row.columns, f"it is damaged ({error})", _MADE_ANEW) from error

    # The index

    def fingerprints(
        self, first: datetime, last: datetime, scope: str = "", now: datetime | None = None
    ) -> dict[tuple[str, Period], str]:
        """Of what state a period was made, by scope (or all of a kind) and period: of the days that ``first``
        and ``last`` lie in, of those in between, and of all their hours.

        With a ``scope`` of that alone; then of the first and the last day only the hours asked for, and their
        neighbours. A short time up to ``now`` is asked for hour by hour, as the index has all scopes side by
        side.
        """
        begin, end = f"~{day_key(first)}", f"~{day_key(last)}24"
        found: dict[tuple[str, Period], str] = {}
        if scope and now:
            until = min(floor_hour(now) + HOUR, last)
            hours = hours_from(first - HOUR, until)
            if len(hours) <= FEW_HOURS:
                days = {day_period(hour): None for hour in hours if day_period(hour).end <= now}
                # Of a day that is over all hours are needed.
                whole = {hour for day in days for hour in hours_of(day)}
                for period in [*map(hour_period, sorted(whole.union(hours))), *days]:
                    if its := self.indexed(scope, period).fingerprint:
                        found[scope, period] = its
                begin = f"~{hour_key(until + HOUR)}"
        ends: dict[str, Any] = {"first": begin, "last": end, "scope": scope}
        for row in query(
            self._counts,
            _HOURS_OF_ONE if scope else _HOURS,
            ends,
            select=["PartitionKey", "RowKey", "Fingerprint"],
        ):
            fingerprint = row.columns.get("Fingerprint")
            if isinstance(fingerprint, str):  # what has none is made anew
                try:
                    found[row.columns["RowKey"], read_partition(row.columns["PartitionKey"])] = fingerprint
                except ValueError:
                    continue  # nobody's; nothing needs it
        return found

    def fingerprints_of_day(self, scope: str, day: Period) -> dict[Period, str]:
        """Of what state a day and its hours were made, of one scope (or of all of a kind)."""
        periods = [*map(hour_period, hours_of(day)), day]
        if len(periods) > FEW_HOURS:
            found = self.fingerprints(day.begin, day.begin, scope)
            return {period: fingerprint for (_, period), fingerprint in found.items()}
        asked = {period: self.indexed(scope, period).fingerprint for period in periods}
        return {period: fingerprint for period, fingerprint in asked.items() if fingerprint}

    def first_hour(self, since: datetime) -> datetime | None:
        """The first hour from ``since`` on that the index says anything of, or the first of such a day; one
        small query.
        """
        for row in query(
            self._counts,
            "PartitionKey ge @first and PartitionKey lt '~:'",
            {"first": f"~{hour_key(since)}"},
            select=["PartitionKey", "RowKey"],
            page=1,
        ):
            with suppress(ValueError):
                return read_partition(row.columns["PartitionKey"]).begin
        return None

    def indexed(self, scope: str, period: Period) -> Indexed:
        """What the index says of a period; if it says nothing that can be used, no more than its ETag."""
        row = self._get(period.index, scope)
        if row is None:
            return Indexed()
        try:
            return self._read_indexed(row)
        except MalformedInput:
            return Indexed(etag=row.etag)

    def made_of(self, hour: datetime, kind: Kind) -> dict[str, str]:
        """Of what state an hour was made, of each scope of a kind."""
        partition = hour_period(hour).index
        select = ["PartitionKey", "RowKey", "Fingerprint"]
        rows = query(self._counts, "PartitionKey eq @hour", {"hour": partition}, select=select)
        found = {row.columns["RowKey"]: row.columns.get("Fingerprint") for row in rows}
        return {
            scope: fingerprint
            for scope, fingerprint in found.items()
            if isinstance(fingerprint, str) and _is_scope(scope) and kind_of(scope) == kind
        }

    def scopes_of(self, hour: datetime, kind: Kind) -> dict[str, Indexed]:
        """What the index says of an hour, of each scope of a kind, in the order of their keys."""
        found = {}
        for row in query(self._counts, "PartitionKey eq @hour", {"hour": hour_period(hour).index}):
            scope = row.columns["RowKey"]
            if _is_scope(scope) and kind_of(scope) == kind:
                found[scope] = self._read_indexed(row)
        return found

    def indexed_hours(
        self, since: datetime, until: datetime, scope: str = ""
    ) -> Iterator[tuple[str, datetime, Indexed]]:
        """What the index says of the hours from ``since`` to ``until``, both included, in their order: of
        each scope, or of one alone (or of all of a kind). What was written isn't asked for.
        """
        for row in query(
            self._counts,
            _HOURS_OF_ONE if scope else _HOURS,
            {"first": f"~{hour_key(since)}", "last": f"~{hour_key(until)}", "scope": scope},
            select=["PartitionKey", "RowKey", *_SAID],
        ):
            its = row.columns["RowKey"]
            try:
                period = read_partition(row.columns["PartitionKey"])
            except ValueError:
                continue
            if period.grain == "hour" and (scope or _is_scope(its)):
                yield its, period.begin, self._read_indexed(row)

    def say_done(self, scope: str, period: Period, indexed: Indexed) -> None:
        """Write a period's row of the index, in the place of the one that has ``indexed.etag``: all that it
        speaks of is written. ``Conflict`` if somebody else has said so first.
        """
        columns = {"PartitionKey": period.index, "RowKey": scope, **index_columns(indexed)}
        transact(self._counts, period.index, [Put(columns, indexed.etag)])

    @staticmethod
    def _read_indexed(row: Found) -> Indexed:
        columns = row.columns
        check_columns("flowcounts", columns, {"Fingerprint": str}, _INDEX_TYPES, mend=_MADE_ANEW)
        try:
            stated = json.loads(columns.get("Sizes", "{}"))
            sizes = {str(name): (int(keys), int(size)) for name, (keys, size) in stated.items()}
            rejects = rejects_from_json(columns.get("Rejects", "{}"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise refuse_row("flowcounts", columns, f"it is damaged ({error})", _MADE_ANEW) from error
        has_health = "Blobs" in columns
        if has_health:
            check_columns("flowcounts", columns, dict.fromkeys(HEALTH_MEASURES, int), mend=_MADE_ANEW)
        return Indexed(
            columns["Fingerprint"],
            Health.from_columns(columns) if has_health else None,
            rejects,
            sizes,
            columns.get("AsOf"),
            to_written(columns.get("Written")),
            row.etag,
        )

    # What sweeps found

    def findings(
        self, since: datetime, until: datetime, flow_log: tuple[str, str] | None = None
    ) -> dict[FlowLogHour, tuple[SweepFinding, str]]:
        """What the last sweep found of the hours from ``since`` to ``until``, both included, with each row's
        ETag: of all flow logs, by one query, or of one (its account and scope), by one request an hour.
        """
        rows: Iterable[Found | None]
        if flow_log:
            key = _found_key(*flow_log)
            rows = (self._get(hour_period(hour).index, key) for hour in hours_from(since, until))
        else:
            ends = {"first": f"~{hour_key(since)}", "last": f"~{hour_key(until)}"}
            rows = query(
                self._counts,
                "PartitionKey ge @first and PartitionKey le @last and RowKey ge @found and RowKey lt @end",
                {**ends, "found": _FOUND, "end": f"{_FOUND}{END}"},
            )
        found = {}
        for row in rows:
            if row is None:
                continue
            columns = row.columns
            scope, _, account = columns["RowKey"].removeprefix(_FOUND).rpartition("~")
            try:
                hour = read_partition(columns["PartitionKey"]).begin
            except ValueError:
                continue  # nobody's; nothing needs it
            try:
                check_columns("flowcounts", columns, _FOUND_TYPES, _LOOKED_AT, mend="the next sweep does it")
                its = SweepFinding(*(columns[name] for name in _FOUND_TYPES))
                its = replace(its, looked_at=columns.get("LookedAt"))
            except MalformedInput:
                its = SweepFinding()
            found[FlowLogHour(account, scope, hour)] = its, row.etag
        return found

    def keep_findings(self, found: Mapping[FlowLogHour, tuple[SweepFinding, str]]) -> None:
        """Write what a sweep found, each in the place of the row that has this ETag. Where another sweep has
        written, its finding stays.
        """
        by_hour = groupby(sorted(found.items()), key=lambda item: hour_period(item[0].hour).index)
        for partition, items in by_hour:
            puts = []
            for key, (its, etag) in items:
                values = its.listed, its.bytes, its.behind, its.bytes_behind, its.archived, its.looked_at
                keys = {"PartitionKey": partition, "RowKey": _found_key(key.account, key.scope)}
                names = *_FOUND_TYPES, *_LOOKED_AT
                puts.append(Put({**keys, **dict(zip(names, values, strict=True))}, etag))
            for some in batched(puts, MOST_OPERATIONS, strict=False):
                try:
                    transact(self._counts, partition, some)
                except Conflict:
                    for put in some:
                        with suppress(Conflict):
                            transact(self._counts, partition, [put])

    # The catalog

    def catalog(self, refused: dict[str, MalformedInput] | None = None) -> dict[str, Columns]:
        """A row for each scope: name, kind, resource ids, first and last hour; ``PrunedBefore``, if it was.

        Rows that can't be used are told in ``refused``, by their RowKey; without it the first raises
        ``MalformedInput``.
        """
        return self.catalogs(refused)[0]

    def catalog_of_all(self) -> dict[str, Columns]:
        """A row for all scopes of each kind: from which hour to which their counts together have been made,
        and how many scopes there are. None of a kind that has no scope, or whose row can't be used.
        """
        return self.catalogs({})[1]

    def catalogs(
        self, refused: dict[str, MalformedInput] | None = None
    ) -> tuple[dict[str, Columns], dict[str, Columns]]:
        """Both ``catalog`` and ``catalog_of_all``, in one request."""
        scopes: dict[str, Columns] = {}
        of_all: dict[str, Columns] = {}
        for row in self._range(SCOPES, "", END):
            columns = row.columns
            if is_all(columns["RowKey"]):
                if _is_sound(columns) and columns["RowKey"] == all_of(columns["Kind"]):
                    of_all[columns["Kind"]] = columns
                continue
            try:
                check_columns("flowcounts", columns, _CATALOG_TYPES, _MAYBE_PRUNED, mend=_DESCRIBED_ANEW)
                if columns["Scope"] != columns["RowKey"]:
                    raise refuse_row("flowcounts", columns, "it is no scope's", "nothing needs it")
            except MalformedInput as error:
                if refused is None:
                    raise
                refused[str(columns.get("RowKey"))] = error
            else:
                scopes[columns["Scope"]] = columns
        return scopes, of_all

    def described(self, scope: str) -> tuple[Columns | None, str]:
        """The catalog's row of a scope, or of all of a kind, if one can be used; and the row's ETag."""
        row = self._get(SCOPES, scope)
        if row is None:
            return None, ""
        return row.columns if _is_sound(row.columns) else None, row.etag

    def describe(self, row: Columns, etag: str) -> None:
        """Write a row of the catalog in the place of the one that has this ETag, or ``Conflict``."""
        transact(self._counts, SCOPES, [Put({**row, "PartitionKey": SCOPES}, etag)])

    def say_pruned(self, scope: str, before: datetime) -> None:
        """Say in the catalog that what a scope (or all of a kind) has from before this day is no part of
        answers any more, unless it says so of a later day. A row that isn't there is made by the rollup.
        """
        while True:
            row, etag = self.described(scope)
            if row is None or row.get("PrunedBefore", before - DAY) >= before:
                return
            with suppress(Conflict):
                self.describe({**row, "PrunedBefore": before}, etag)
                return

    # What is to be joined

    def note_to_join(self, kind: Kind, periods: Iterable[Period]) -> datetime:
        """Leave a note that these periods of a scope are about to be made, and so of all scopes of its kind
        together. Gives the storage service's clock.

        To be called *before* they are made, so that no note is missing.
        """
        noted = self._noted_at() or self.now()
        puts = [
            Put({"PartitionKey": _TO_JOIN, "RowKey": f"{kind}~{period.key}", "Noted": noted})
            for period in {period.key: period for period in periods}.values()
        ]
        for some in batched(puts, MOST_OPERATIONS, strict=False):
            transact(self._counts, _TO_JOIN, some)
        return noted

    def to_join(self) -> list["JoinNote"]:
        """The periods that were noted, by kind, in order of time; a day after its hours."""
        notes = []
        for row in self._range(_TO_JOIN, "", END):
            kind, _, key = row.columns["RowKey"].partition("~")
            noted = row.columns.get("Noted")
            try:
                period = read_partition(key[1:])
            except ValueError:
                continue  # nobody's; nothing needs it
            if kind in CONTAINERS and isinstance(noted, datetime):
                followed = row.columns.get("Followed") is True
                notes.append(JoinNote(kind_of(f"{kind}~"), period, noted, followed, row.etag))
        return sorted(notes, key=lambda note: (note.kind, note.period.end, note.period.grain == "day"))

    def follow(self, note: "JoinNote") -> str:
        """Keep a note as followed, unless it has been left again. Gives its new ETag, or the old one."""
        columns = {**_note_keys(note), "Noted": note.noted, "Followed": True}
        try:
            return transact(self._counts, _TO_JOIN, [Put(columns, note.etag)])[0]
        except Conflict:
            return note.etag

    def drop_note(self, note: "JoinNote") -> None:
        """Remove a note, unless it has been left again."""
        with storage_errors("dropping a note"), suppress(ResourceModifiedError, ResourceNotFoundError):
            self._counts.delete_entity(_note_keys(note), **if_unchanged(note.etag))

    def _noted_at(self) -> datetime | None:
        try:
            return self._tables.server_time()
        except Unavailable:
            return None  # this thread has asked for nothing yet

    def _get(self, partition: str, row_key: str) -> Found | None:
        """One entity; ``None`` if there is none."""
        condition = "PartitionKey eq @partition and RowKey eq @row"
        return next(query(self._counts, condition, {"partition": partition, "row": row_key}), None)

    def _range(
        self, partition: str, first: str, last: str, select: list[str] | None = None
    ) -> Iterator[Found]:
        """The entities of one partition with ``first`` <= RowKey < ``last``, in order."""
        return query(
            self._counts,
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
            {"partition": partition, "first": first, "last": last},
            select,
        )


def unpack_counts(scope: str, name: str, period: Period, packed: bytes) -> HourCounts:
    """The counts of what ``Counts.part`` gave; ``MalformedInput`` names the row if they can't be unpacked."""
    with _of_row(scope, name, period):
        return packing.unpack(packed)[0]


@contextmanager
def _of_row(scope: str, name: str, period: Period) -> Iterator[None]:
    """What is wrong with these counts is said of their row."""
    try:
        yield
    except (MalformedInput, KeyError) as error:
        keys = {"PartitionKey": scope, "RowKey": f"{name}~{period.key}"}
        reason = str(error) if isinstance(error, MalformedInput) else "its counts are no period's"
        raise refuse_row("flowcounts", keys, reason, _MADE_ANEW) from error


def refuse_gone(scope: str, name: str, period: Period) -> MalformedInput:
    """That a part of a period's counts isn't there, which its head speaks of."""
    return MalformedInput(
        f"row {scope} / {name}~{period.key} of table flowcounts is gone; "
        "run `flowtally rollup --again`: it is made anew"
    )


def _of(name: str, first: Period, last: Period) -> tuple[str, str]:
    """The range of RowKeys of a part in the periods from ``first`` to ``last``."""
    return f"{name}~{first.key}", f"{name}~{last.key}{END}"


def _hours_of(day: Period) -> tuple[Period, Period]:
    return hour_period(day.begin), hour_period(day.begin.replace(hour=23))


def _is_sound(row: Columns) -> bool:
    """Whether a row of the catalog can be used."""
    try:
        types = _OF_ALL_TYPES if is_all(row["RowKey"]) else _CATALOG_TYPES
        check_columns("flowcounts", row, types, _MAYBE_PRUNED, mend="")
    except MalformedInput:
        return False
    return True


def _note_keys(note: JoinNote) -> dict[str, str]:
    return {"PartitionKey": _TO_JOIN, "RowKey": f"{note.kind}~{note.period.key}"}


def _found_key(account: str, scope: str) -> str:
    return f"{_FOUND}{scope}~{account}"


def _is_scope(row_key: str) -> bool:
    return not is_all(row_key) and not row_key.startswith(_FOUND)

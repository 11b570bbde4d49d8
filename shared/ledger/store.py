"""The ledger's edge: loading and committing entries of table ``flowledger``.

One blob, one entity, one compare-and-swap::

    A: load (offset 100, ETag 1) ── read 100‥180 ── write if ETag is 1 ✓  (offset 180, ETag 2)
    B:    load (offset 100, ETag 1) ── read 100‥150 ────── write if ETag is 1 ✗ Conflict
                                             load (offset 180, ETag 2) ── read 180‥ …

The write holds the offset, the counts *and* what was rejected, and there is no other. Before it nothing has
happened, after it everything has; a write whose answer was lost is found by the next load. So every byte is
counted once, whoever reads it how often, and whenever somebody dies.

Nothing of an entry is remembered between updates: an update is three requests, the load, the ranged read and
the write. At an hour's edge there may be one or two more (see ``shared/ingest.py``).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableErrorCode, UpdateMode

from shared.connection import storage_errors
from shared.entities import check_columns, refuse_row
from shared.errors import Conflict, MalformedInput
from shared.flowlog.blob_name import UNKNOWN_MAC, BlobName
from shared.ledger.entry import (
    READABLE,
    RESTARTS_COLUMNS,
    Entry,
    from_columns,
    partition_of,
    to_columns,
)
from shared.queries import Found, query
from shared.tables import (
    END,
    OVERTAKEN,
    Columns,
    Tables,
    from_entity,
    has_code,
    if_unchanged,
    put_in_place,
    read_etag,
)
from shared.times import check_year, hour_key, parse_hour_key

LATE = "~late"
"""PartitionKey of the notes that an hour was written to after the rollup had ceased to look at it by itself;
RowKey ``{scope}~{yyyymmddHH}``. ``~`` sorts behind every scope."""

PRUNED = "~pruned"
"""PartitionKey of the marks that say before when a scope was pruned; RowKey the scope, or what stands for all
scopes of a kind.
"""

NEVER_PRUNED = timedelta(days=1)
"""So young hours are never pruned: who looks at them alone need not ask."""

_LEDGER = "flowledger"
_PARTITION = re.compile(rf"(.+)~([0-9]{{10}})~(?:[0-9A-F]{{12}}|{UNKNOWN_MAC})", re.DOTALL)
_NOTE_ANEW = "then run `flowtally rollup --since` with the day that it was of"
_NOT_NEEDED = "nothing needs it"
_MARK_ANEW = "then run `flowtally prune` as it was run before: it is made anew"

NOTE_GOOD_FOR = timedelta(minutes=10)
"""A process that has left a note leaves the same one again only after this time."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry as it was loaded, and its entity's keys; ``etag`` is empty if the blob has no entity yet."""

    partition: str
    account: str
    entry: Entry
    etag: str


@dataclass(frozen=True, slots=True)
class Posted:
    """An entry as a query shows it, with the time at which it was written."""

    partition: str
    scope: str
    hour: datetime
    mac: str
    account: str
    entry: Entry
    etag: str
    written: datetime


@dataclass(frozen=True, slots=True)
class Foreign:
    """A row of the ledger that can't be read, because another version of Flowtally or somebody else wrote it;
    ``error`` says why. ``hour`` is ``None`` where its key has none.
    """

    partition: str
    account: str
    hour: datetime | None
    error: MalformedInput


@dataclass(frozen=True, slots=True)
class LateNote:
    """An old hour of a scope was written to; ``noted`` is when that was last said.

    ``compared``: the rollup has compared the hour some time after that, when most commits that the note may
    stand for have been made.
    """

    scope: str
    hour: datetime
    noted: datetime
    compared: bool
    etag: str


@dataclass(frozen=True, slots=True)
class OldEntry:
    """Where an entry is that may be deleted, and of which blob."""

    partition: str
    account: str
    hour: datetime
    blob_name: str


class Ledger:
    """Entries of table ``flowledger``. Threads may share one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._ledger = tables.table("flowledger")
        self._noted: dict[str, datetime] = {}

    # Ingest

    def load(self, blob: BlobName, account: str) -> Loaded:
        """Load the entry of a blob of this storage account; an empty one if it has no entity yet."""
        partition = partition_of(blob)
        with storage_errors(f"loading the ledger's entity {partition}"):
            try:
                entity = self._ledger.get_entity(partition, account)
            except ResourceNotFoundError as error:
                if has_code(error, TableErrorCode.TABLE_NOT_FOUND):
                    self._tables.create()
                return Loaded(partition, account, Entry(blob.name), "")
            columns, etag = from_entity(entity), read_etag(entity.metadata["etag"])
            if (columns.get("PartitionKey"), columns.get("RowKey")) != (partition, account):
                raise ValueError("another entity, or none")
        return Loaded(partition, account, from_columns(columns), etag)

    def neighbour(self, blob: BlobName, account: str, hours: int) -> Entry | None:
        """The entry of the same interface's blob so many hours later (below 0: before), without its counts
        and rejects; ``None`` if there is none, or none that can be read.
        """
        partition = partition_of(blob, hours)
        with storage_errors(f"loading the ledger's entity {partition}"):
            try:
                entity = self._ledger.get_entity(partition, account, select=[*READABLE, *RESTARTS_COLUMNS])
            except ResourceNotFoundError:
                return None
            columns = from_entity(entity)
            if (columns.get("PartitionKey"), columns.get("RowKey")) != (partition, account):
                raise ValueError("another entity, or none")
        try:
            return from_columns(columns)
        except MalformedInput:
            return None

    def commit(self, loaded: Loaded, entry: Entry) -> datetime:
        """Write ``entry`` in the place of the entry that was loaded, and return when it was written.

        ``Conflict`` if somebody else has written the entity since it was loaded.
        """
        columns = to_columns(entry, loaded.partition, loaded.account)
        with storage_errors(f"writing the ledger's entity {loaded.partition}"):
            try:
                return check_year(put_in_place(self._ledger, columns, loaded.etag)["date"])
            except OVERTAKEN as error:
                raise Conflict(f"somebody else has written {loaded.partition}") from error

    def note_late(self, blob: BlobName, now: datetime) -> None:
        """Tell the rollup that an hour is written to that it doesn't look at by itself any more.

        To be called *before* the commit, so that no note is missing, and again after it, for the case that
        the process has slept in between. ``now`` is the storage service's clock: a process's own clocks stand
        still while a laptop sleeps. Nothing is written if this process has left the same note a short while
        ago.
        """
        key = f"{blob.scope}~{hour_key(blob.hour)}"
        before = self._noted.get(key)
        if before is not None and now - before <= NOTE_GOOD_FOR:
            return
        note = {"PartitionKey": LATE, "RowKey": key, "Noted": now}
        with storage_errors(f"noting that {key} is late"):
            self._ledger.upsert_entity(note, mode=UpdateMode.REPLACE)
        self._noted[key] = now

    # Rollup, sweep, status

    def late_notes(self, scope: str = "") -> tuple[list[LateNote], list[MalformedInput], datetime]:
        """All notes, or those of a scope; what is wrong with those that can't be read; and the storage
        service's clock.
        """
        notes, refused = [], []
        first = f"{scope}~" if scope else ""
        for found in query(
            self._ledger,
            "PartitionKey eq @late and RowKey ge @first and RowKey lt @last",
            {"late": LATE, "first": first, "last": f"{first}{END}"},
        ):
            columns = found.columns
            scope, _, hour_text = columns["RowKey"].rpartition("~")
            hour = _hour(hour_text)
            try:
                check_columns(_LEDGER, columns, {"Noted": datetime}, {"Compared": bool}, mend=_NOTE_ANEW)
                if not scope or hour is None:
                    raise refuse_row(_LEDGER, columns, "its RowKey is no scope and hour", _NOTE_ANEW)
            except MalformedInput as error:
                refused.append(error)
            else:
                compared = columns.get("Compared", False)
                notes.append(LateNote(scope, hour, columns["Noted"], compared, found.etag))
        return notes, refused, self._tables.server_time()

    def server_time(self) -> datetime:
        """The storage service's clock when it last answered this thread."""
        return self._tables.server_time()

    def keep_note(self, note: LateNote) -> None:
        """Keep a note as compared, unless it has been said again."""
        entity = {**_note_keys(note), "Noted": note.noted, "Compared": True}
        with storage_errors("keeping a note"), suppress(ResourceModifiedError, ResourceNotFoundError):
            self._ledger.update_entity(entity, mode=UpdateMode.REPLACE, **if_unchanged(note.etag))

    def drop_note(self, note: LateNote) -> None:
        """Remove a note, unless it has been said again."""
        with storage_errors("dropping a note"), suppress(ResourceModifiedError, ResourceNotFoundError):
            self._ledger.delete_entity(_note_keys(note), **if_unchanged(note.etag))

    # Retention

    def pruned(self) -> dict[str, datetime]:
        """Before when each scope was pruned, and all scopes of a kind together; none that never was.

        ``MalformedInput`` names a mark that can't be read.
        """
        marks = query(self._ledger, "PartitionKey eq @pruned", {"pruned": PRUNED})
        return {mark.columns["RowKey"]: _read_mark(mark.columns) for mark in marks}

    def pruned_before(self, scope: str) -> datetime | None:
        """Before when a scope, or all scopes of a kind together, was pruned; ``None`` if it never was."""
        mark = self._mark(scope)
        return _read_mark(mark.columns) if mark else None

    def mark_pruned(self, scope: str, before: datetime) -> None:
        """Say that a scope, or all scopes of a kind together, is pruned before this day, unless it is before
        a later one already.
        """
        while True:
            mark = self._mark(scope)
            if mark and _read_mark(mark.columns) >= before:
                return
            columns = {"PartitionKey": PRUNED, "RowKey": scope, "Before": before}
            with storage_errors(f"noting that {scope} is pruned"), suppress(*OVERTAKEN):
                put_in_place(self._ledger, columns, mark.etag if mark else "")
                return

    def entries_before(self, scope: str, before: datetime) -> Iterator[OldEntry]:
        """The entries of a scope's hours before this one, in order of hour: where they are and of which blob,
        also of those that can't be read.
        """
        for found in query(
            self._ledger,
            "PartitionKey ge @first and PartitionKey lt @last",
            {"first": f"{scope}~", "last": f"{scope}~{hour_key(before)}"},
            select=["PartitionKey", "RowKey", "BlobName"],
        ):
            partition, account = found.columns["PartitionKey"], found.columns["RowKey"]
            owner, hour = _read_partition(partition)
            if owner == scope and hour is not None:
                yield OldEntry(partition, account, hour, str(found.columns.get("BlobName", "")))

    def delete_entry(self, entry: OldEntry) -> None:
        """Delete an entry, if it is still there."""
        with storage_errors(f"deleting the ledger's entity {entry.partition}"):
            self._ledger.delete_entity(entry.partition, entry.account)

    def _mark(self, scope: str) -> Found | None:
        keys = {"pruned": PRUNED, "scope": scope}
        return next(query(self._ledger, "PartitionKey eq @pruned and RowKey eq @scope", keys), None)

    # What there is

    def scopes(self, refused: list[MalformedInput] | None = None) -> Iterator[str]:
        """All scopes that have an entry, in order; one small query for each.

        What the rows are whose keys are no entry's is told in ``refused``.
        """
        after = ""
        while True:
            found = query(
                self._ledger,
                "PartitionKey gt @after",
                {"after": after},
                select=["PartitionKey", "RowKey"],
                page=1,
            )
            first = next(found, None)
            if first is None or first.columns["PartitionKey"] >= LATE:
                return
            after = first.columns["PartitionKey"]
            scope, hour = _read_partition(after)
            if hour is None:
                if refused is not None:
                    refused.append(refuse_row(_LEDGER, first.columns, "it is no blob's", _NOT_NEEDED))
                continue
            yield scope
            after = f"{scope}~{END}"

    def first_hour(self, scope: str, since: datetime) -> datetime | None:
        """The first hour from ``since`` on that a scope has an entry of; one small query."""
        for found in query(
            self._ledger,
            "PartitionKey ge @first and PartitionKey lt @last",
            {"first": f"{scope}~{hour_key(since)}", "last": f"{scope}~{END}"},
            select=["PartitionKey", "RowKey"],
            page=1,
        ):
            owner, hour = _read_partition(found.columns["PartitionKey"])
            if owner == scope and hour is not None:
                return hour
        return None

    def entries(
        self, scope: str, since: datetime, until: datetime, *, counts: bool = False, only: str = ""
    ) -> Iterator[Posted | Foreign]:
        """The entries of a scope's hours from ``since`` to ``until``, both included, in order of hour.

        Without ``counts`` the readable columns only. ``only`` is a further condition (OData, a constant).
        """
        condition = "PartitionKey ge @first and PartitionKey lt @last"
        ends = {"first": f"{scope}~{hour_key(since)}", "last": f"{scope}~{hour_key(until)}~{END}"}
        select = None if counts else [*READABLE, "Timestamp"]
        found = query(self._ledger, f"{condition} and {only}" if only else condition, ends, select=select)
        return self._posted(scope, found)

    def entries_of(self, scope: str, mac: str, hour: datetime) -> Iterator[Posted | Foreign]:
        """The entries of an interface's hour, one for each storage account that has a blob of it, with their
        counts.
        """
        partition = f"{scope}~{hour_key(hour)}~{mac}"
        found = query(self._ledger, "PartitionKey eq @partition", {"partition": partition})
        return self._posted(scope, found)

    @staticmethod
    def _posted(scope: str, rows: Iterable[Found]) -> Iterator[Posted | Foreign]:
        """The entries that these rows are."""
        for found in rows:
            partition, account = found.columns["PartitionKey"], found.columns["RowKey"]
            owner, hour = _read_partition(partition)
            if hour is None:
                error = refuse_row(_LEDGER, found.columns, "it is no blob's", _NOT_NEEDED)
                yield Foreign(partition, account, None, error)
            elif owner == scope:  # another scope's name may begin with this one's
                try:
                    entry = from_columns(found.columns)
                except MalformedInput as error:
                    yield Foreign(partition, account, hour, error)
                    continue
                mac = partition.rpartition("~")[2]
                yield Posted(partition, scope, hour, mac, account, entry, found.etag, found.written)


def _read_mark(columns: Columns) -> datetime:
    """Before when a scope was pruned, by a mark's columns."""
    check_columns(_LEDGER, columns, {"Before": datetime}, mend=_MARK_ANEW)
    before: datetime = columns["Before"]
    return before


def _note_keys(note: LateNote) -> dict[str, str]:
    return {"PartitionKey": LATE, "RowKey": f"{note.scope}~{hour_key(note.hour)}"}


def _read_partition(partition: str) -> tuple[str, datetime | None]:
    """The scope and the hour of an entry's PartitionKey; no hour if it is none."""
    found = _PARTITION.fullmatch(partition)
    return (found[1], _hour(found[2])) if found else (partition, None)


def _hour(key: str) -> datetime | None:
    """The hour of a key; ``None`` if it has none."""
    try:
        return parse_hour_key(key)
    except ValueError:
        return None

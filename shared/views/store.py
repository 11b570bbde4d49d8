"""The views' edge: tables ``flowstats`` (the rows that people read) and ``flowhours`` (what they come from).

``flowhours`` holds, for every scope and hour, the merged counts of all its network interfaces, so that a day
is made from 24 entities and not from thousands, and the *fingerprint* of the ledger entries that they were
merged from. It is written after the rows: a fingerprint says that the rows of that state have been written.
Nothing in either table is ever added to; everything can be made again from the ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from azure.data.tables import TableClient

from shared.errors import MalformedInput
from shared.ledger.entry import day_key, from_chunks, hour_key, to_chunks
from shared.ledger.packing import pack_within, unpack
from shared.tables import END, Columns, Found, Tables, query, write_batches
from shared.tally.hour_counts import HourCounts
from shared.views.questions import Grain
from shared.views.rows import ALL_SCOPES, Health, ViewRow, partition_of, period_key

CATALOG = f"{ALL_SCOPES}~scopes"
"""PartitionKey of the catalog in ``flowstats``; RowKey is the scope."""

_HEALTH = "~health"
"""PartitionKey in ``flowhours`` of every scope's health by hour; RowKey ``{yyyymmddHH}~{scope}``."""

_LOOKED_AT = "~looked-at"
"""PartitionKey in ``flowhours`` of the time up to which nothing was overlooked."""


@dataclass(frozen=True, slots=True)
class Made:
    """From which state of the ledger an hour's or a day's rows were made, and when."""

    fingerprint: str
    written: datetime


class Views:
    """Rows of ``flowstats`` and summaries of ``flowhours``."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stats = tables.table("flowstats")
        self._hours = tables.table("flowhours")

    def create_tables(self) -> None:
        """Create the tables that aren't there."""
        self._tables.create()

    # flowstats

    def replace_rows(self, partition: str, since: datetime, until: datetime, rows: list[ViewRow]) -> int:
        """Make ``rows`` what the partition holds of the periods from ``since`` up to and without ``until``.

        Gives the number of rows that had to be written or deleted: none if they are there already.
        """
        first, last = period_key(since), period_key(until)
        found = [*self._range(self._stats, partition, first, last)]
        there = {row.columns["RowKey"]: row.columns for row in found}
        wanted = {row["RowKey"]: row for row in rows}
        changed = [row for key, row in wanted.items() if there.get(key) != row]
        gone = [row for row in found if row.columns["RowKey"] not in wanted]
        write_batches(self._stats, partition, changed, gone)
        return len(changed) + len(gone)

    def rows(
        self, scope: str, view: str, grain: Grain, since: datetime, until: datetime
    ) -> Iterator[ViewRow]:
        """The rows of a view, for the periods that begin from ``since`` up to and without ``until``."""
        partition = partition_of(scope, view, grain)
        found = self._range(self._stats, partition, period_key(since), period_key(until))
        return (row.columns for row in found)

    def catalog(self) -> dict[str, ViewRow]:
        """A row for each scope: name, kind, resource ids, first and last hour."""
        found = self._range(self._stats, CATALOG, "", END)
        return {row.columns["Scope"]: row.columns for row in found}

    def describe_scope(self, row: ViewRow) -> None:
        """Write a scope's row of the catalog."""
        write_batches(self._stats, CATALOG, [row], [])

    # flowhours

    def made(self, scope: str, since: datetime, until: datetime) -> dict[str, Made]:
        """What has been made of the hours and days from ``since`` to ``until``, by their RowKey."""
        found = self._range(
            self._hours,
            scope,
            day_key(since),
            hour_key(until) + END,
            select=["RowKey", "Fingerprint", "Timestamp"],
        )
        return {row.columns["RowKey"]: Made(row.columns["Fingerprint"], row.written) for row in found}

    def keep_hour(self, scope: str, hour: datetime, fingerprint: str, counts: HourCounts) -> None:
        """Write an hour's merged counts, once its rows are written."""
        counts.trim()
        columns = {"Fingerprint": fingerprint, **to_chunks(pack_within({0: counts}))}
        self._put(scope, hour_key(hour), columns)

    def hours_of_day(self, scope: str, day: datetime) -> Iterator[HourCounts]:
        """The counts of each of a day's hours that has any."""
        key = day_key(day)
        for row in self._range(self._hours, scope, f"{key}00", f"{key}24"):
            try:
                yield unpack(from_chunks(row.columns))[0]
            except MalformedInput as error:
                raise MalformedInput(
                    f"table flowhours, {scope}, {row.columns['RowKey']}: {error}; "
                    "delete the tables flowhours and flowstats, they are made anew"
                ) from error

    def keep_day(self, scope: str, day: datetime, fingerprint: str) -> None:
        """Say that a day's rows are written, and from what."""
        self._put(scope, day_key(day), {"Fingerprint": fingerprint})

    def keep_health(self, scope: str, hour: datetime, health: Health) -> None:
        """Write a scope's share in the health of all, unless it is there."""
        key = f"{hour_key(hour)}~{scope}"
        there = {
            found.columns["RowKey"]: Health.from_columns(found.columns).columns()
            for found in self._range(self._hours, _HEALTH, key, key + END)
        }
        if there.get(key) != health.columns():
            self._put(_HEALTH, key, health.columns())

    def health_of_all(self, hour: datetime) -> Health:
        """The health of all scopes together."""
        key = hour_key(hour)
        found = self._range(self._hours, _HEALTH, f"{key}~", f"{key}~{END}")
        return sum((Health.from_columns(row.columns) for row in found), Health())

    def looked_at(self) -> datetime | None:
        """When the last rollup began that failed nowhere: it saw all that was written long before."""
        for row in self._range(self._hours, _LOOKED_AT, "", END):
            return row.columns["Time"]  # type: ignore[no-any-return]
        return None

    def keep_looked_at(self, time: datetime) -> None:
        """Say that all scopes have been looked at."""
        self._put(_LOOKED_AT, "rollup", {"Time": time})

    def _put(self, partition: str, key: str, columns: Columns) -> None:
        write_batches(self._hours, partition, [{"PartitionKey": partition, "RowKey": key, **columns}], [])

    @staticmethod
    def _range(
        table: TableClient, partition: str, first: str, last: str, select: list[str] | None = None
    ) -> Iterator[Found]:
        """The entities of one partition with ``first`` <= RowKey < ``last``, in order."""
        return query(
            table,
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
            {"partition": partition, "first": first, "last": last},
            select,
        )

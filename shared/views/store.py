"""The views' edge: tables ``flowstats`` (the rows that people read) and ``flowhours`` (what they come from).

``flowhours`` holds, for every scope and hour, the merged counts of all its network interfaces, so that a day
is made from 24 entities and not from thousands, and the *fingerprint* of the ledger entries that they were
merged from. It is written after the rows: a fingerprint says that the rows of that state have been written.
Nothing in either table is ever added to; everything can be made again from the ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from azure.data.tables import TableClient

from shared.entities import check_columns, refuse_row
from shared.errors import MalformedInput
from shared.ledger.entry import from_chunks, to_chunks
from shared.tables import END, Columns, Found, Tables, query, write_batches
from shared.tally.families import OF_PORT
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import OF_RESTARTS, PLAIN
from shared.tally.packing import pack_within, unpack
from shared.times import day_key, hour_key, parse_hour_key
from shared.views.questions import HEALTH_COLUMNS, HEALTH_MEASURES, QUESTIONS, Grain
from shared.views.rows import ALL_SCOPES, Health, ViewRow, partition_of, period_key

CATALOG = f"{ALL_SCOPES}~scopes"
"""PartitionKey of the catalog in ``flowstats``; RowKey is the scope."""

_HEALTH = "~health"
"""PartitionKey in ``flowhours`` of every scope's health by hour; RowKey ``{yyyymmddHH}~{scope}``."""

_LAST_ROLLUP = "~looked-at"
"""PartitionKey in ``flowhours`` of the time up to which nothing was overlooked."""


_MADE_ANEW = "then run `flowtally rollup --since` with its day: it is made anew"
_CATALOG_TYPES = {
    **dict.fromkeys(("RowKey", "Scope", "Kind", "Name", "ResourceId", "TargetResourceId"), str),
    **dict.fromkeys(("FirstPeriod", "LastPeriod"), datetime),
}
_HEALTH_TYPES: tuple[dict[str, type], dict[str, type]] = (
    dict.fromkeys(HEALTH_MEASURES, int),
    {"LastRecordTime": datetime, "LagSeconds": int},
)


@cache
def _types_of(view: str) -> tuple[dict[bool, dict[str, type]], dict[str, type]]:
    """The columns of a view's rows by type: those of a row and of a rest that have to be there; others."""
    question = QUESTIONS[view]
    rest: dict[str, type] = {"Period": datetime, "Grain": str}
    if question.name == "health":
        rest |= _HEALTH_TYPES[0]
        return {True: rest, False: rest}, _HEALTH_TYPES[1]
    rest |= dict.fromkeys(PLAIN, int)
    key: dict[str, type] = {name: int if name in OF_PORT else str for name in question.key}
    optional: dict[str, type] = {
        **dict.fromkeys(OF_RESTARTS, int),
        "IsRest": bool,
        "FirstSeen": datetime,
        "LastSeen": datetime,
    }
    counted = {"Rank": int, "Missed": int}
    if question.bounded:
        rest |= {"Missed": int, "IsRest": bool}
    return {True: rest, False: rest | key}, optional | counted


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
        wanted, optional = _types_of(view)
        mend = f"and row {scope} / {{}} of table flowhours: {_MADE_ANEW}"
        for row in self._range(self._stats, partition, period_key(since), period_key(until)):
            columns = row.columns
            rest = columns.get("IsRest") is True
            period = str(columns.get("RowKey"))[: 8 if grain == "day" else 10]
            check_columns("flowstats", columns, wanted[rest], optional, mend=mend.format(period))
            yield columns

    def catalog(self, refused: dict[str, MalformedInput] | None = None) -> dict[str, ViewRow]:
        """A row for each scope: name, kind, resource ids, first and last hour.

        Rows that can't be used are told in ``refused``, by their RowKey; without it the first raises
        ``MalformedInput``.
        """
        catalog: dict[str, ViewRow] = {}
        for row in self._range(self._stats, CATALOG, "", END):
            try:
                check_columns("flowstats", row.columns, _CATALOG_TYPES, mend="the next rollup makes it anew")
                if row.columns["Scope"] != row.columns["RowKey"]:
                    raise refuse_row("flowstats", row.columns, "it is no scope's", "nothing needs it")
            except MalformedInput as error:
                if refused is None:
                    raise
                refused[str(row.columns.get("RowKey"))] = error
            else:
                catalog[row.columns["Scope"]] = row.columns
        return catalog

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
        # What has no fingerprint is made anew.
        return {
            row.columns["RowKey"]: Made(row.columns["Fingerprint"], row.written)
            for row in found
            if isinstance(row.columns.get("Fingerprint"), str) and row.written
        }

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
            except (MalformedInput, KeyError) as error:
                raise refuse_row("flowhours", row.columns, str(error), _MADE_ANEW) from error

    def keep_day(self, scope: str, day: datetime, fingerprint: str) -> None:
        """Say that a day's rows are written, and from what."""
        self._put(scope, day_key(day), {"Fingerprint": fingerprint})

    def keep_health(self, scope: str, hour: datetime, health: Health) -> None:
        """Write a scope's share in the health of all, unless it is there."""
        key = f"{hour_key(hour)}~{scope}"
        columns = health.columns()
        for found in self._range(self._hours, _HEALTH, key, key + END):
            if {name: value for name, value in found.columns.items() if name in HEALTH_COLUMNS} == columns:
                return
        self._put(_HEALTH, key, columns)

    def health_of_all(self, hour: datetime) -> Health:
        """The health of all scopes together."""
        key = hour_key(hour)
        health = Health()
        for row in self._range(self._hours, _HEALTH, f"{key}~", f"{key}~{END}"):
            check_columns("flowhours", row.columns, *_HEALTH_TYPES, mend=_MADE_ANEW)
            health += Health.from_columns(row.columns)
        return health

    def health_by_scope(self, since: datetime, until: datetime) -> Iterator[tuple[str, datetime, Health]]:
        """Each scope's health of each of the hours from ``since`` to ``until``, both included."""
        for row in self._range(self._hours, _HEALTH, hour_key(since), f"{hour_key(until)}~{END}"):
            check_columns("flowhours", row.columns, *_HEALTH_TYPES, mend=_MADE_ANEW)
            hour, _, scope = row.columns["RowKey"].partition("~")
            try:
                yield scope, parse_hour_key(hour), Health.from_columns(row.columns)
            except ValueError:
                raise refuse_row(
                    "flowhours", row.columns, "its RowKey is no hour and scope", "nothing needs it"
                ) from None

    def last_rollup(self) -> datetime | None:
        """When the last rollup began that failed nowhere: it saw all that was written long before."""
        for row in self._range(self._hours, _LAST_ROLLUP, "rollup", "rollup" + END):
            try:
                check_columns("flowhours", row.columns, {"Time": datetime}, mend="")
            except MalformedInput:
                return None  # as if it were the first rollup: all is looked at, and this row is written anew
            time: datetime = row.columns["Time"]
            return time
        return None

    def keep_last_rollup(self, time: datetime) -> None:
        """Say that all scopes have been looked at."""
        self._put(_LAST_ROLLUP, "rollup", {"Time": time})

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

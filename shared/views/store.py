"""The views' edge: table ``flowstats``, the rows that people read.

What a view has of one period is written in one transaction, which holds to the ETag of the first of its rows:
so a rollup that is late can't put older rows in the place of newer ones, and readers see all of a state or
nothing of it.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched

from shared.errors import Conflict
from shared.queries import Found, query
from shared.tables import Tables
from shared.times import FIRST_MOMENT
from shared.transactions import MOST_OPERATIONS, Put, delete_groups, transact
from shared.views.questions import VIEWS, Grain
from shared.views.rows import ViewRow, partition_of, period_key, row_keys

_MARKER = "~flowtally"
"""PartitionKey of the row that marks the table: where it isn't what it was, the table was emptied."""


@dataclass(frozen=True, slots=True)
class There:
    """The rows that a view has of a period: their keys, and the ETag of the first that there should be;
    empty if that isn't there.
    """

    keys: Sequence[str] = ()
    etag: str = ""


class Views:
    """Table ``flowstats``. Threads may share one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stats = tables.table("flowstats")

    # What marks the table

    def marker(self) -> str:
        """What tells this table from one of the same name that was made later; empty if it has no marker."""
        condition = "PartitionKey eq @partition and RowKey eq 'marker'"
        for row in query(self._stats, condition, {"partition": _MARKER}):
            its = row.columns.get("Id")
            return its if isinstance(its, str) else ""
        return ""

    def make_marker(self) -> str:
        """Give the table a marker, if it has none, and return the one that it has."""
        columns = {"PartitionKey": _MARKER, "RowKey": "marker", "Id": uuid.uuid4().hex}
        try:
            transact(self._stats, _MARKER, [Put(columns, "")])
        except Conflict:  # somebody else has, or it is one that can't be read
            if marker := self.marker():
                return marker
            transact(self._stats, _MARKER, [Put(columns)])
        return str(columns["Id"])

    # Rows

    def find_rows(self, scope: str, view: str, grain: Grain, begin: datetime, end: datetime) -> There:
        """Which rows a view has of a period."""
        rows = self._range(partition_of(scope, view, grain), begin, end, select=["RowKey"])
        etags = {row.columns["RowKey"]: row.etag for row in rows}
        (first,) = row_keys(view, begin, 1)
        return There([*etags], etags.get(first, ""))

    def replace_rows(self, lists: Sequence[tuple[Sequence[ViewRow], There]]) -> list[str]:
        """Write lists of one view and grain, each of a period of its own, in the place of those that are
        there; all in one transaction. Gives the ETag of the first row of each; ``Conflict`` if any of them
        isn't any more what was there.
        """
        partition = ""
        firsts: list[Put] = []
        others: list[Put] = []
        surplus: list[str] = []
        for (first, *rest), there in lists:
            partition = first["PartitionKey"]
            firsts.append(Put(first, there.etag))
            others += map(Put, rest)
            kept = {first["RowKey"], *(row["RowKey"] for row in rest)}
            surplus += [key for key in there.keys if key not in kept]
        room = MOST_OPERATIONS - len(firsts) - len(others)
        etags = transact(self._stats, partition, [*firsts, *others], surplus[:room])
        # More of them are there only if somebody has written rows by hand; then this list is by itself.
        for more in batched(surplus[room:], MOST_OPERATIONS - 1, strict=False):
            etags[:1] = transact(self._stats, partition, [Put(firsts[0].columns, etags[0])], more)
        return etags[: len(lists)]

    def delete_before(self, scope: str, before: datetime, *, dry_run: bool = False) -> int:
        """Delete the rows of the periods before this day, of a scope or of all of a kind. Gives how many
        there are; with ``dry_run`` they stay.
        """
        many = 0
        for view, question in VIEWS.items():
            for grain in question.grains:
                partition = partition_of(scope, view, grain)
                rows = self._range(partition, FIRST_MOMENT, before, select=["RowKey"])
                periods: dict[str, list[str]] = {}
                for row in rows:
                    key = row.columns["RowKey"]
                    periods.setdefault(key.partition("~")[0], []).append(key)
                many += sum(map(len, periods.values()))
                if not dry_run:
                    delete_groups(self._stats, partition, periods.values())
        return many

    def _range(
        self, partition: str, since: datetime, until: datetime, select: list[str] | None = None
    ) -> Iterator[Found]:
        """The rows of one partition and of the periods that begin from ``since`` and before ``until``."""
        return query(
            self._stats,
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
            {"partition": partition, "first": period_key(since), "last": period_key(until)},
            select,
        )

"""Status: is everything counted? What is stored against what was read, by scope and hour."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.blobs import FlowLogs
from shared.ledger.store import Ledger
from shared.record_types import Notice, notice_left_out
from shared.sweep import Compared, compare
from shared.tally.states import NO_STATES, States, add_states
from shared.times import HOUR, floor_hour

SUMS = ("Blobs", "Offset", "Length", "Behind", "Tuples", "Malformed", "GarbledBytes")
COLUMNS = ("Scope", "Hour", *SUMS, "LastRecordTime", "LagSeconds")


@dataclass(frozen=True, slots=True)
class Status:
    """A row of ``COLUMNS`` for each scope and hour; names that are no flow log's; the service's clock; which
    rows of the ledger can't be read, so that their blobs aren't counted on; and what flow logs leave out.
    """

    rows: list[dict[str, Any]]
    strangers: list[str]
    as_of: datetime
    refused: list[str]
    notices: list[Notice]

    def total(self) -> dict[str, int]:
        """The sums over all rows: of what can be summed."""
        return {name: sum(row[name] for row in self.rows) for name in SUMS}


def compute_status(
    flow_logs: FlowLogs, ledger: Ledger, since: datetime, until: datetime, now: datetime
) -> Status:
    """Compare the hours from ``since`` to ``until``, both included; reads listings, but no blob.

    What flow logs leave out is told by the last day of that time, if it is a day or more.
    """
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    states: dict[str, dict[datetime, States]] = {}
    strangers, refused = [], []
    for found in compare(flow_logs, ledger, since, until):
        if isinstance(found, str):
            strangers.append(found)
            continue
        if found.error:
            refused.append(str(found.error))
        blob = found.listed.blob
        _add(rows.setdefault((blob.scope, blob.hour), defaultdict(int)), found, now)
        hours = states.setdefault(blob.scope, {})
        hours[blob.hour] = add_states(hours.get(blob.hour, NO_STATES), found.entry.states)
    return Status(
        [{"Scope": scope, "Hour": hour, **row} for (scope, hour), row in sorted(rows.items())],
        strangers,
        now,
        refused,
        notice_left_out(states, floor_hour(since), min(now, floor_hour(until) + HOUR), now),
    )


def _add(row: dict[str, Any], found: Compared, now: datetime) -> None:
    """Add a blob to its scope's hour. Lag: from the last record to its commit, or until now if behind."""
    entry = found.entry
    values = (1, entry.offset, found.listed.length, found.behind)
    for name, value in zip(SUMS, (*values, entry.tuples, entry.malformed, entry.garbled_bytes), strict=True):
        row[name] += value
    last = entry.last_record_time
    if last is not None:
        row["LastRecordTime"] = max(last, row["LastRecordTime"] or last)
        lag = (now if found.behind else found.written or now) - last
        row["LagSeconds"] = max(row["LagSeconds"], int(lag.total_seconds()))

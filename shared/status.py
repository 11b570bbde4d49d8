"""Status: is everything counted? What is stored against what was read, by scope and hour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.blobs import FlowLogs
from shared.counts.store import Counts
from shared.counts.work import Work
from shared.flowlog.blob_name import CONTAINERS
from shared.flows import find_logs
from shared.ledger.store import Ledger
from shared.record_types import Notice, notice_left_out
from shared.sweep import Compared, compare
from shared.tally.states import NO_STATES, States, add_states
from shared.times import HOUR, floor_hour

SUMS = ("Blobs", "Offset", "Length", "Behind", "Tuples", "Malformed", "GarbledBytes")
COLUMNS = ("Scope", "Hour", *SUMS, "LastRecordTime", "LagSeconds")

ROLLED_UP_WITHIN = timedelta(minutes=30)
"""So old the last complete rollup may be. One begins every five minutes, and a large one takes several; what
has failed in one is tried again by the next."""


@dataclass(slots=True)
class Status:
    """What a comparison of the blobs that are stored with the ledger has found.

    - ``rows``: of ``COLUMNS``, for each scope and hour;
    - ``strangers``: names that are no flow log's;
    - ``as_of``: the service's clock;
    - ``refused``: which rows of the ledger can't be read, so that their blobs aren't counted on;
    - ``notices``: what flow logs leave out;
    - ``problems``: what else keeps answers from being complete, a sentence each;
    - ``counts_of``: when the last complete rollup began; ``ledger_until``: the last commit to the ledger.
    """

    as_of: datetime
    rows: list[dict[str, Any]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts_of: datetime | None = None
    ledger_until: datetime | None = None

    def total(self) -> dict[str, int]:
        """The sums over all rows: of what can be summed."""
        return {name: sum(row[name] for row in self.rows) for name in SUMS}

    def behind(self) -> list[dict[str, Any]]:
        """The rows that are behind."""
        return [row for row in self.rows if row["Behind"]]


def compute_status(
    flow_logs: FlowLogs,
    ledger: Ledger,
    counts: Counts,
    since: datetime,
    until: datetime,
    now: datetime,
    scopes: Sequence[str] = (),
) -> Status:
    """Compare the hours from ``since`` to ``until``, both included; reads listings, but no blob. Of some
    scopes, given by name, key or a part of either, or of all.

    What flow logs leave out is told by the last day of that time, if it is a day or more.
    """
    status = Status(now)
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    states: dict[str, dict[datetime, States]] = {}
    first_write: datetime | None = None
    logs = find_logs(flow_logs, scopes) if scopes else None
    for found in compare(flow_logs, ledger, since, until, logs):
        if isinstance(found, str):
            status.strangers.append(found)
            continue
        if found.error:
            status.refused.append(str(found.error))
        if found.written:
            status.ledger_until = max(found.written, status.ledger_until or found.written)
            first_write = min(found.written, first_write or found.written)
        blob = found.listed.blob
        _add(rows.setdefault((blob.scope, blob.hour), _no_row(blob.scope, blob.hour)), found, now)
        hours = states.setdefault(blob.scope, {})
        hours[blob.hour] = add_states(hours.get(blob.hour, NO_STATES), found.entry.states)
    status.rows = [row for _, row in sorted(rows.items())]
    end = min(now, floor_hour(until) + HOUR)
    status.notices = notice_left_out(states, floor_hour(since), end, now)
    status.counts_of = rolled_up_until(counts.work.all("roll-up").values())
    if not rows and not flow_logs.has_containers():
        status.problems.append(
            f"the account {flow_logs.account} has no flow logs: neither of the containers that Network "
            f"Watcher writes to is there ({', '.join(CONTAINERS.values())}); is FLOW_LOGS the right account?"
        )
    status.problems += say_counts_old(status.counts_of, first_write, status.ledger_until, now)
    return status


def rolled_up_until(works: Iterable[Work]) -> datetime | None:
    """When that scope was rolled up last whose turn was longest ago; ``None`` if none ever was."""
    return min((work.looked_at for work in works if work.looked_at), default=None)


def say_counts_old(
    counts_of: datetime | None, first_write: datetime | None, last_write: datetime | None, now: datetime
) -> list[str]:
    """Say that merged counts are older than the ledger, if they are, and have been for long.

    ``counts_of``: when the last complete rollup began; there may have been none. ``first_write``,
    ``last_write``: of the ledger.
    """
    if not first_write or not last_write or (counts_of and last_write <= counts_of):
        return []
    if now - (counts_of or first_write) <= ROLLED_UP_WITHIN:
        return []
    form = "%Y-%m-%d %H:%M" if counts_of and counts_of.date() != last_write.date() else "%H:%M"
    counts = f"counts of {counts_of:{form}}" if counts_of else "no merged counts yet"
    mend = "run `flowtally rollup`, or see why the app's doesn't: `flowtally doctor`"
    return [
        f"{counts}; ledger until {last_write:{form}}: answers lack what was counted in between; {mend}",
    ]


def _no_row(scope: str, hour: datetime) -> dict[str, Any]:
    return {
        "Scope": scope,
        "Hour": hour,
        **dict.fromkeys(SUMS, 0),
        "LastRecordTime": None,
        "LagSeconds": None,
    }


def _add(row: dict[str, Any], found: Compared, now: datetime) -> None:
    """Add a blob to its scope's hour. Lag: from the last record to its commit, or until now if behind."""
    entry = found.entry
    values = (1, entry.offset, found.listed.length, found.behind)
    for name, value in zip(SUMS, (*values, entry.tuples, entry.malformed, entry.garbled_bytes), strict=True):
        row[name] += value
    if last := entry.last_record_time:
        row["LastRecordTime"] = max(last, row["LastRecordTime"] or last)
    lag = entry.lag(found.listed.blob.hour, now if found.behind else found.written or now)
    if lag is not None:
        row["LagSeconds"] = max(int(lag.total_seconds()), row["LagSeconds"] or 0)

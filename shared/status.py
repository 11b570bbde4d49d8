"""Status: is everything counted? What is stored against what was read, by account, scope and hour."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.accounts import Failure, ask_each
from shared.blobs import FlowLog, FlowLogs
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
COLUMNS = ("Account", "Scope", "Hour", *SUMS, "LastRecordTime", "LagSeconds")

ROLLED_UP_WITHIN = timedelta(minutes=30)
"""So old the last complete rollup may be. One begins every five minutes, and a large one takes several; what
has failed in one is tried again by the next."""


@dataclass(slots=True)
class Status:
    """What a comparison of the blobs that are stored with the ledger has found.

    - ``rows``: of ``COLUMNS``, for each account, scope and hour;
    - ``strangers``: names that are no flow log's;
    - ``failures``: accounts that couldn't be asked, and of which nothing is in here;
    - ``as_of``: the service's clock;
    - ``refused``: which rows of the ledger can't be read, so that their blobs aren't counted on;
    - ``notices``: what flow logs leave out;
    - ``problems``: what else keeps answers from being complete, a sentence each;
    - ``counts_of``: when the last complete rollup of a scope began whose turn was longest ago;
    - ``ledger_until``: the last commit to the ledger.
    """

    as_of: datetime
    rows: list[dict[str, Any]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
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
    accounts: Sequence[FlowLogs],
    ledger: Ledger,
    counts: Counts,
    since: datetime,
    until: datetime,
    now: datetime,
    scopes: Sequence[str] = (),
) -> Status:
    """Compare the hours from ``since`` to ``until``, both included; reads listings, but no blob. Of all
    accounts, side by side; of some scopes, given by name, key or a part of either, or of all.

    What flow logs leave out is told by the last day of that time, if it is a day or more.
    """
    status = Status(now)
    logs = None
    if scopes:
        logs, status.failures = find_logs(accounts, scopes)

    def compare_account(account: FlowLogs) -> _OfAccount:
        folders = [folder for log in logs[account.account] for folder in log.folders] if logs else None
        return _compare_account(account, ledger, since, until, now, folders)

    asked = accounts if logs is None else [each for each in accounts if each.account in logs]
    answers, failures = ask_each(asked, compare_account, is_only=len(accounts) == 1)
    status.failures += failures
    states: dict[str, dict[datetime, States]] = {}
    written: dict[str, _Written] = {}
    for _, its in answers:
        status.rows += its.rows.values()
        status.strangers += its.strangers
        status.refused += its.refused
        status.problems += its.problems
        for scope, times in its.written.items():
            written[scope] = written.get(scope, times).and_also(times)
        for (scope, hour), more in its.states.items():
            hours = states.setdefault(scope, {})
            hours[hour] = add_states(hours.get(hour, NO_STATES), more)
    status.rows.sort(key=lambda row: (row["Scope"], row["Hour"], row["Account"]))
    end = min(now, floor_hour(until) + HOUR)
    status.notices = notice_left_out(states, floor_hour(since), end, now)
    works = counts.work.all("roll-up").values()
    rolled_up = {work.what: work.looked_at for work in works if work.looked_at}
    status.counts_of = min((rolled_up[scope] for scope in written if scope in rolled_up), default=None)
    status.ledger_until = max((times.last for times in written.values()), default=None)
    status.problems += _say_counts_old(rolled_up, written, now)
    return status


@dataclass(frozen=True, slots=True)
class _Written:
    """When the first and the last entry of a scope was written."""

    first: datetime
    last: datetime

    def and_also(self, other: "_Written") -> "_Written":
        return _Written(min(self.first, other.first), max(self.last, other.last))


def rolled_up_until(works: Iterable[Work]) -> datetime | None:
    """When that scope was rolled up last whose turn was longest ago; ``None`` if none ever was. Where it is
    known whose flow logs are swept, of these alone: of others nothing new comes.
    """
    rows = [*works]
    swept = {work.scope for work in rows if work.kind == "sweep" and work.said}
    times = (
        work.looked_at
        for work in rows
        if work.kind == "roll-up" and work.looked_at and (work.what in swept or not swept)
    )
    return min(times, default=None)


@dataclass(slots=True)
class _OfAccount:
    """What was found of one account: as ``Status`` has it, but for ``states``, the tuples of each scope and
    hour, and when entries of each scope were written.
    """

    rows: dict[tuple[str, datetime], dict[str, Any]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    states: dict[tuple[str, datetime], States] = field(default_factory=dict)
    written: dict[str, _Written] = field(default_factory=dict)


def _compare_account(
    account: FlowLogs,
    ledger: Ledger,
    since: datetime,
    until: datetime,
    now: datetime,
    folders: Sequence[FlowLog] | None,
) -> _OfAccount:
    its = _OfAccount()
    for found in compare(account, ledger, since, until, folders):
        if isinstance(found, str):
            its.strangers.append(found)
            continue
        if found.error:
            its.refused.append(str(found.error))
        key = scope, _ = found.listed.blob.scope, found.listed.blob.hour
        if found.written:
            times = _Written(found.written, found.written)
            its.written[scope] = its.written.get(scope, times).and_also(times)
        _add(its.rows.setdefault(key, _no_row(account.account, *key)), found, now)
        its.states[key] = add_states(its.states.get(key, NO_STATES), found.entry.states)
    if not its.rows and not account.has_containers():
        its.problems.append(
            f"the account {account.account} has no flow logs: neither of the containers that Network "
            f"Watcher writes to is there ({', '.join(CONTAINERS.values())}); is {account.connection} the "
            "right account?"
        )
    return its


def _say_counts_old(
    rolled_up: Mapping[str, datetime], written: Mapping[str, _Written], now: datetime
) -> list[str]:
    """Say it of that scope whose merged counts are the oldest of those that are too old."""
    for scope, times in sorted(written.items(), key=lambda item: rolled_up.get(item[0], item[1].first)):
        if said := say_counts_old(rolled_up.get(scope), times.first, times.last, now):
            return said
    return []


def say_counts_old(
    counts_of: datetime | None, first_write: datetime | None, last_write: datetime | None, now: datetime
) -> list[str]:
    """Say that merged counts are older than the ledger, if they are, and have been for long.

    ``counts_of``: when the last complete rollup of a scope began; there may have been none. ``first_write``,
    ``last_write``: of the scope in the ledger.
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


def _no_row(account: str, scope: str, hour: datetime) -> dict[str, Any]:
    return {
        "Account": account,
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

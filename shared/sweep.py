"""Sweep: count what has grown, whatever the events did.

There are two ways to find it. *Looking* reads each known interface's open blob on from its offset, if it has
changed: what hasn't costs one request, and what has is already there. It needs no listing, but finds nothing
new. *Catching up* lists the blobs of some hours and compares them with the ledger: that finds new interfaces,
and all that was missed. It is the backfill, too.

Both work as they find: nothing is kept of what was found but what is being worked on. The newest day comes
first, as it is what people ask for, and of a day the hours in order, so that little is read twice (see
``ingest``, *the hour's edge*).
"""

from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from shared.blobs import FlowLog, FlowLogs, ListedBlob
from shared.counts.index import FlowLogHour, SweepFinding
from shared.counts.store import Counts
from shared.errors import FlowtallyError, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS, BlobName, kind_of, parse_blob_name
from shared.ingest import Ingested, ingest, ingest_known
from shared.ledger.entry import Entry, partition_of
from shared.ledger.store import NEVER_PRUNED, Foreign, Ledger, Posted
from shared.periods import OVER_AFTER
from shared.times import DAY, HOUR, day_of, floor_hour, hours_from
from shared.workers import attempt, work_on

WORKERS = 8
"""Blobs ingested at the same time."""

COUNTED_WITHIN = timedelta(minutes=10)
"""So long after an update at the latest it is counted, if events arrive."""

STILL_WRITTEN = timedelta(minutes=15)
"""So long after an hour's end its blobs may still grow as a matter of course."""

_FEW = 2 * DAY
"""Of a longer time a flow log's folders are looked for first, so that no day is listed that isn't there."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A blob as it is stored, beside its entry (an empty one if there is none) and when that was written;
    ``error``: why its entry can't be read. ``stale``: it has begun with something else than what the hour
    before ended with.
    """

    listed: ListedBlob
    entry: Entry
    written: datetime | None
    error: MalformedInput | None = None
    stale: bool = False

    @property
    def behind(self) -> int:
        """Bytes that haven't been looked at yet, the closing two among them; 0 if none, or if the blob is
        archived, as it can't be read then.

        The version tells, and no clock: a blob is up to date if the very version that is stored was read to
        its end. Any other version is behind, by one byte at least, even if it is empty. A blob that was read
        again after it was listed is called behind, too; the sweep finds nothing new in it. One that is stale
        is behind as a whole.
        """
        return 0 if self.listed.archived else self._unread

    @property
    def archived(self) -> bool:
        """Whether it was archived before it was counted to its end."""
        return self.listed.archived and bool(self._unread)

    @property
    def _unread(self) -> int:
        if self.stale:
            return max(self.listed.length, 1)
        if self.listed.etag == self.entry.blob_etag:
            return 0
        beyond = self.listed.length - self.entry.offset
        return max(beyond if beyond > 0 else self.listed.length, 1)

    @property
    def left(self) -> bool:
        """Whether it was updated long after it was counted last, or after its hour began.

        Of a single blob that may only mean that it has just woken up.
        """
        return (
            bool(self.behind)
            and not self.stale
            and (self.listed.modified - (self.written or self.listed.blob.hour) > COUNTED_WITHIN)
        )


@dataclass(slots=True)
class Lateness:
    """Tell blobs that no event has brought from those whose event is on its way.

    Late is a blob whose last update has been waiting for long. That alone doesn't show lost events where
    blobs grow every minute: there the last update is always a new one. So if most of the blobs that were
    updated a short while ago had been left alone for long before, these are late, too: by kind of log and
    account, as each has an event subscription of its own.
    """

    waiting: int = 0
    recent: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, found: Compared, account: str, now: datetime) -> None:
        """Take in a blob of an account; ``now`` is the storage service's clock."""
        subscription = account, found.listed.blob.kind
        if now - found.listed.modified <= COUNTED_WITHIN:
            self.recent[subscription] += 1
            self.left[subscription] += found.left
        elif found.behind and not found.stale:
            self.waiting += 1

    @property
    def late(self) -> int:
        """How many blobs are late."""
        return self.waiting + sum(left for its, left in self.left.items() if left * 2 > self.recent[its])


@dataclass(frozen=True, slots=True)
class ScopeLog:
    """A scope's flow log in an account: all that lies in these ``folders``. There are several where Azure has
    written the same name in several ways.
    """

    account: FlowLogs
    scope: str
    folders: tuple[FlowLog, ...]

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.scope} in {self.account.account}"


@dataclass(slots=True)
class Swept:
    """What a sweep found and did: known blobs looked at, blobs listed, blobs behind, those of them that are
    late, how many of them were ``ingested``, and what was ``counted`` of them; blobs that were archived
    before they were counted, names that are no flow log's, and what failed with which error. ``left``: which
    hours it has not come to, from when to when, both included.
    """

    looked: int = 0
    listed: int = 0
    behind: int = 0
    late: int = 0
    ingested: int = 0
    counted: Ingested = field(default_factory=Ingested)
    archived: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)
    left: list[tuple[datetime, datetime]] = field(default_factory=list)

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        return {
            "Looked": self.looked,
            "Listed": self.listed,
            "Grown": self.behind,
            "Late": self.late,
            "Archived": len(self.archived),
            "Failed": len(self.failed),
            "Bytes": self.counted.bytes,
            "Records": self.counted.records,
            "Tuples": self.counted.tuples,
            "Malformed": self.counted.malformed,
        }

    def warnings(self) -> Iterator[str]:
        """What was passed over, a line each; archived blobs are named together."""
        for name in self.strangers:
            yield f"not a flow log, passed over: {name}"
        if self.archived:
            many = f" and {len(self.archived) - 1:,} more" if len(self.archived) > 1 else ""
            yield (
                f"archived before it was counted, passed over: {self.archived[0]}{many}; "
                "bring what is wanted back to the cool or hot tier, and sweep again"
            )


# Flow logs


def find_flow_logs(account: FlowLogs) -> tuple[list[ScopeLog], list[str]]:
    """The flow logs of an account, in order of scope, and names that stand beside them and are none."""
    folders: dict[str, list[FlowLog]] = {}
    strangers = []
    for found in account.logs():
        named = None if isinstance(found, str) else found.named()
        if isinstance(found, str):
            strangers.append(found)
        elif named is None:
            strangers.append(found.prefix)
        else:
            folders.setdefault(named.scope, []).append(found)
    logs = [ScopeLog(account, scope, tuple(its)) for scope, its in sorted(folders.items())]
    return logs, strangers


def compare(
    flow_logs: FlowLogs,
    ledger: Ledger,
    since: datetime,
    until: datetime,
    logs: Iterable[FlowLog | str] | None = None,
) -> Iterator[Compared | str]:
    """Every blob of the hours from ``since`` to ``until``, beside its entry; names that are no flow log's. Of
    these flow logs or of all, one after the other, each in order of hour.

    Reads listings and the ledger's readable columns, no blob. In memory are the entries of three hours of a
    scope at the most. What is of days that were pruned is passed over.
    """
    for log in flow_logs.logs() if logs is None else logs:
        if isinstance(log, str):
            yield log
            continue
        entries: _Entries | None = None
        pruned_before: datetime | None = None
        for found in flow_logs.list_blobs(since, until, [log]):
            if isinstance(found, str):
                yield found
                continue
            if entries is None:
                entries = _Entries(ledger.entries(found.blob.scope, since - HOUR, until), flow_logs.account)
                if since < flow_logs.server_time() - NEVER_PRUNED:
                    pruned_before = ledger.pruned_before(found.blob.scope)
            if pruned_before is None or pruned_before <= found.blob.hour:
                yield _compared(found, entries)


def _compared(found: ListedBlob, entries: "_Entries") -> Compared:
    known = entries.of(found.blob.hour).get(partition_of(found.blob))
    if isinstance(known, Posted) and known.entry.blob_name == found.blob.name:
        before = entries.of(found.blob.hour - HOUR).get(partition_of(found.blob, -1))
        stale = isinstance(before, Posted) and not known.entry.follows(before.entry)
        return Compared(found, known.entry, known.written, stale=stale)
    # What can't be read is as good as none here: ingest says what is the matter with it.
    error = known.error if isinstance(known, Foreign) else None
    return Compared(found, Entry(found.blob.name), None, error)


class _Entries:
    """A scope's entries of one account, hour by hour as they come, in order: those of the last hours asked
    for are kept.
    """

    def __init__(self, entries: Iterable[Posted | Foreign], account: str) -> None:
        self._coming = ((each.hour, each) for each in entries if each.hour and each.account == account)
        self._next = next(self._coming, None)
        self._hours: dict[datetime, dict[str, Posted | Foreign]] = {}

    def of(self, hour: datetime) -> dict[str, Posted | Foreign]:
        """The entries of an hour by partition; of none that is before the last one asked for but by one."""
        while self._next and self._next[0] <= hour:
            its, each = self._next
            if its not in self._hours:
                self._hours = {other: kept for other, kept in self._hours.items() if other >= its - HOUR}
            self._hours.setdefault(its, {})[each.partition] = each
            self._next = next(self._coming, None)
        return self._hours.get(hour, {})


# Looking


def look(log: ScopeLog, ledger: Ledger, now: datetime) -> Swept:
    """Count what has grown of a flow log's known interfaces: of those that had a blob in this hour or in the
    one before. In an hour's first quarter the blobs of the hour before are looked at, too.
    """
    swept = Swept()

    def known() -> Iterator[_Due]:
        for due in _find_known(log, ledger, now):
            if isinstance(due, Foreign):
                swept.failed.append((due.partition, due.error))
                continue
            swept.looked += 1
            yield due

    for due, result in work_on(known(), partial(_ingest, ledger), WORKERS, "look"):
        if isinstance(result, FlowtallyError):
            swept.failed.append((due.blob.name, result))
        elif result.updates:
            swept.behind += 1
            swept.ingested += 1
            swept.counted += result
    return swept


def _find_known(log: ScopeLog, ledger: Ledger, now: datetime) -> Iterator["_Due | Foreign"]:
    """The open blobs of the interfaces that the ledger knows, each with what is known of it; and what of the
    ledger can't be read.
    """
    hour = floor_hour(now)
    first = hour - HOUR if now - hour < STILL_WRITTEN else hour
    entries = _Entries(ledger.entries(log.scope, first - HOUR, hour), log.account.account)
    while first <= hour:
        before, its = entries.of(first - HOUR), entries.of(first)
        for posted in its.values():
            if isinstance(posted, Foreign):
                yield posted
            else:
                blob = _blob_of(posted)
                earlier = before.get(partition_of(blob, -1))
                stale = isinstance(earlier, Posted) and not posted.entry.follows(earlier.entry)
                yield _Due(log.account, blob, 0, stale, None if stale else posted.entry)
        for posted in before.values():
            if isinstance(posted, Posted):
                blob = _blob_of(posted).at(first)
                if partition_of(blob) not in its:
                    yield _Due(log.account, blob, 0, known=Entry(blob.name))
        first += HOUR


def _blob_of(posted: Posted) -> BlobName:
    return parse_blob_name(posted.entry.blob_name, CONTAINERS[kind_of(posted.scope)])


# Catching up


@dataclass(frozen=True, slots=True)
class _Due:
    """A blob to be ingested: so many bytes are behind; what is ``known`` of its entry, if it is to be read
    before that is loaded.
    """

    account: FlowLogs
    blob: BlobName
    behind: int
    stale: bool = False
    known: Entry | None = None


def _ingest(ledger: Ledger, due: _Due) -> Ingested:
    if due.known:
        return ingest_known(due.blob, due.known, due.account, ledger)
    return ingest(due.blob, due.account, ledger, look_back=due.stale)


def sweep(
    accounts: Sequence[FlowLogs],
    ledger: Ledger,
    counts: Counts,
    since: datetime,
    until: datetime,
    on_progress: Callable[[float, Swept], None] | None = None,
) -> Swept:
    """Ingest all blobs of the hours from ``since`` to ``until`` that are behind, of all flow logs of these
    accounts, some at a time.

    What fails doesn't hold up the rest: a blob, a flow log, an account is in ``failed``. ``on_progress`` is
    told which part of the time has been looked at, from 0 to 1, and what was done so far.
    """
    swept = Swept()
    logs: list[ScopeLog] = []
    looked_for: list[str] = []
    for account, found in work_on(accounts, _find_if_there, len(accounts), "accounts"):
        if isinstance(found, FlowtallyError):
            swept.failed.append((f"account {account.account}", found))
            continue
        logs += found[0]
        swept.strangers += found[1]
        looked_for.append(account.account)
    catching = _CatchingUp(ledger, counts, swept, looked_for=looked_for)
    return _catch_up(catching, logs, since, until, on_progress)


def _find_if_there(account: FlowLogs) -> tuple[list[ScopeLog], list[str]]:
    account.now(patient=False)  # who doesn't answer is found out soon
    return find_flow_logs(account)


def catch_up(
    log: ScopeLog,
    ledger: Ledger,
    counts: Counts,
    since: datetime,
    until: datetime,
    swept: Swept,
    most: int,
) -> None:
    """Ingest what is behind of a flow log, newest day first, and add it to ``swept``. When so many blobs have
    been found behind, what remains of the time is in ``left``, from an hour's beginning on.
    """
    _catch_up(_CatchingUp(ledger, counts, swept, most), [log], since, until)


def _catch_up(
    catching: "_CatchingUp",
    logs: Sequence[ScopeLog],
    since: datetime,
    until: datetime,
    on_progress: Callable[[float, Swept], None] | None = None,
) -> Swept:
    windows = [*_windows(logs, since, until, catching)]
    for number, (first, last, its) in enumerate(windows):
        if catching.is_enough():
            catching.swept.left.append((first, last))
            continue
        for part in catching.run(its, first, last):
            if on_progress:
                on_progress((number + part) / len(windows), catching.swept)
    catching.swept.late = catching.lateness.late
    return catching.swept


type _Window = tuple[datetime, datetime, list[ScopeLog]]
"""From which hour to which, both included, and the flow logs that are looked at then."""


def _windows(
    logs: Sequence[ScopeLog], since: datetime, until: datetime, catching: "_CatchingUp"
) -> Iterator[_Window]:
    """The days of a time, newest first, each with the flow logs that have begun by then. A short time is
    taken as a whole.
    """
    if until - since < _FEW:
        yield since, until, [*logs]
        return
    begun: dict[datetime, list[ScopeLog]] = {}
    newest = since
    for log in logs:
        days = attempt(partial(_days_of, log, since, until), log.name)
        if isinstance(days, FlowtallyError):
            catching.fail(log, days)
        elif days:
            catching.days[log.name] = set(days)
            begun.setdefault(min(days), []).append(log)
            newest = max(newest, *days, log.account.server_time())
    day = day_of(min(until, newest))
    while begun and day >= min(begun):
        its = [log for first, logs_ in sorted(begun.items()) if first <= day for log in logs_]
        yield max(day, since), min(day + DAY - HOUR, until), its
        day -= DAY


def _days_of(log: ScopeLog, since: datetime, until: datetime) -> list[datetime]:
    return sorted({day for folder in log.folders for day in log.account.days(folder, since, until)})


@dataclass(slots=True)
class _CatchingUp:
    """What a sweep knows while it goes on. ``most``: how many blobs are enough; ``looked_for``: the accounts
    all of whose flow logs are looked at; ``days``: of which days a flow log has folders, where that is known;
    ``away``: the accounts that gave no answer; ``missed``: those that a flow log couldn't be looked at of.
    """

    ledger: Ledger
    counts: Counts
    swept: Swept
    most: int | None = None
    looked_for: Sequence[str] = ()
    lateness: Lateness = field(default_factory=Lateness)
    days: dict[str, set[datetime]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)

    def is_enough(self) -> bool:
        """Whether as much has been found as is to be done at once."""
        return self.most is not None and self.swept.behind >= self.most

    def fail(self, log: ScopeLog, error: FlowtallyError) -> None:
        """A flow log can't be looked at. If its account gave no answer, its others aren't asked for."""
        self.swept.failed.append((log.name, error))
        self.missed.add(log.account.account)
        cause = error.__cause__
        if isinstance(error, Unavailable) and getattr(cause, "status_code", None) is None:
            self.away.add(log.account.account)

    def run(self, logs: Sequence[ScopeLog], first: datetime, last: datetime) -> Iterator[float]:
        """Ingest what is behind of these hours; yields which part of them has been looked at."""
        findings = _Findings(self.counts, logs, self.looked_for, first, last)
        began = self.ledger.server_time()
        done = 0

        def behind() -> Iterator[_Due]:
            nonlocal done
            for log in logs:
                if log.account.account not in self.away:
                    yield from self._behind(log, first, last, findings)
                done += 1

        for due, result in work_on(behind(), partial(_ingest, self.ledger), WORKERS, "sweep"):
            if isinstance(result, FlowtallyError):
                self.swept.failed.append((due.blob.name, result))
            else:
                self.swept.ingested += 1
                self.swept.counted += result
                findings.caught_up(due)
            yield done / len(logs)
        findings.keep(began, self.missed)

    def _behind(
        self, log: ScopeLog, first: datetime, last: datetime, findings: "_Findings"
    ) -> Iterator[_Due]:
        """What is behind of a flow log, until it is enough."""
        days = self.days.get(log.name)
        folders = log.folders if days is None or day_of(first) in days else ()
        try:
            for folder in folders:
                # What was left of one is left of all: no hour is half looked at.
                last = yield from self._behind_in(log, folder, first, last, findings)
        except FlowtallyError as error:
            self.fail(log, error)
        else:
            findings.listed(log, first, last)

    def _behind_in(
        self, log: ScopeLog, folder: FlowLog, first: datetime, last: datetime, findings: "_Findings"
    ) -> Generator[_Due, None, datetime]:
        """What is behind in a flow log's folder, until it is enough; gives the last hour it has come to."""
        hour, seen = first, 0
        for found in compare(log.account, self.ledger, first, last, [folder]):
            if isinstance(found, str):
                self.swept.strangers.append(found)
                continue
            if found.listed.blob.hour > hour and self.is_enough():
                next_hour = found.listed.blob.hour
                self._leave(next_hour, last, blobs_an_hour=-(-seen * HOUR // (next_hour - first)))
                return next_hour - HOUR
            hour = max(hour, found.listed.blob.hour)
            seen += 1
            now = log.account.server_time()
            self.swept.listed += 1
            self.lateness.add(found, log.account.account, now)
            findings.add(log, found, now)
            if found.archived:
                self.swept.archived.append(found.listed.blob.name)
            if found.behind:
                self.swept.behind += 1
                yield _Due(log.account, found.listed.blob, found.behind, found.stale)
        return last

    def _leave(self, first: datetime, last: datetime, blobs_an_hour: int) -> None:
        """Leave the hours from ``first`` to ``last``, in parts of as many blobs as are done at once."""
        hours = max((self.most or 1) // max(blobs_an_hour, 1), 1)
        while first <= last:
            self.swept.left.append((first, min(first + (hours - 1) * HOUR, last)))
            first += hours * HOUR


class _Findings:
    """What a sweep finds of each flow log and hour, beside what is known of it from the last one.

    To know that an hour was complete, also when its blobs are long gone, it is enough that one sweep has said
    so after the hour was over. So what is found as it was known is not written once more, unless it was
    behind, or the hour wasn't over when it was written. An hour without a blob is a finding, too.
    """

    def __init__(
        self,
        counts: Counts,
        logs: Sequence[ScopeLog],
        looked_for: Sequence[str],
        since: datetime,
        until: datetime,
    ) -> None:
        self._counts = counts
        one = (logs[0].account.account, logs[0].scope) if len(logs) == 1 and not looked_for else None
        self._known = counts.findings(since, until, one)
        if not self._known:
            counts.create_tables()  # flowcounts may have been deleted
        self._found: dict[FlowLogHour, SweepFinding] = {}
        self._listed = [(account, "", since, until) for account in looked_for]

    def add(self, log: ScopeLog, compared: Compared, now: datetime) -> None:
        """Take in a blob."""
        key, behind = FlowLogHour(log.account.account, log.scope, compared.listed.blob.hour), compared.behind
        its = self._found.get(key, SweepFinding())
        self._found[key] = SweepFinding(
            its.listed + 1,
            its.bytes + compared.listed.length,
            its.behind + bool(behind),
            its.bytes_behind + behind,
            its.archived + compared.archived,
            now,
        )

    def caught_up(self, due: _Due) -> None:
        """Take note that a blob isn't behind any more."""
        key = FlowLogHour(due.account.account, due.blob.scope, due.blob.hour)
        its = self._found[key]
        left = its.behind - 1, its.bytes_behind - due.behind
        self._found[key] = replace(its, behind=left[0], bytes_behind=left[1])

    def listed(self, log: ScopeLog, first: datetime, last: datetime) -> None:
        """Take note that all of these hours were listed to their end."""
        self._listed.append((log.account.account, log.scope, first, last))

    def keep(self, began: datetime, missed: Container[str]) -> None:
        """Write what isn't known yet, of a sweep that began to look then. Not that all flow logs of an
        account were looked at, if one was ``missed``.
        """
        new = {}
        for account, scope, first, last in self._listed:
            if not scope and account in missed:
                continue
            for hour in hours_from(first, last):
                over = hour + HOUR + OVER_AFTER
                key = FlowLogHour(account, scope, hour)
                its = self._found.get(key, SweepFinding())
                known, etag = self._known.get(key, (SweepFinding(), ""))
                is_new = replace(known, looked_at=its.looked_at) != its
                is_first = began >= over and (known.looked_at is None or known.looked_at < over)
                if its.behind or is_new or is_first:
                    new[key] = replace(its, looked_at=began), etag
        self._counts.keep_findings(new)

"""Sweep: ingest every blob that is behind, whatever the events did. It is the backfill, too."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.blobs import FlowLog, FlowLogs, ListedBlob
from shared.counts.index import SweepFinding
from shared.counts.store import Counts
from shared.errors import FlowtallyError, MalformedInput
from shared.ingest import Ingested, ingest
from shared.ledger.entry import Entry, partition_of
from shared.ledger.store import Foreign, Ledger, Posted
from shared.periods import OVER_AFTER
from shared.times import DAY, HOUR, floor_hour
from shared.workers import work_on

WORKERS = 8
"""Blobs ingested at the same time."""

COUNTED_WITHIN = timedelta(minutes=10)
"""So long after an update at the latest it is counted, if events arrive."""


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
        """Bytes that haven't been looked at yet, the closing two among them; 0 if none.

        The version tells, and no clock: a blob is up to date if the very version that is stored was read to
        its end. Any other version is behind, by one byte at least, even if it is empty. A blob that was read
        again after it was listed is called behind, too; the sweep finds nothing new in it. One that is stale
        is behind as a whole.
        """
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
    updated a short while ago had been left alone for long before, these are late, too: by kind of log, as
    each has an event subscription of its own.
    """

    waiting: int = 0
    recent: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def add(self, found: Compared, now: datetime) -> None:
        """Take in a blob; ``now`` is the storage service's clock."""
        if now - found.listed.modified <= COUNTED_WITHIN:
            self.recent[found.listed.blob.kind] += 1
            self.left[found.listed.blob.kind] += found.left
        elif found.behind and not found.stale:
            self.waiting += 1

    @property
    def late(self) -> int:
        """How many blobs are late."""
        return self.waiting + sum(left for kind, left in self.left.items() if left * 2 > self.recent[kind])


@dataclass(slots=True)
class Swept:
    """What a sweep found and did: blobs listed, blobs behind, those of them that are late, what was counted
    of them; names that are no flow log's; and what failed with which error.
    """

    listed: int = 0
    behind: int = 0
    late: int = 0
    ingested: list[Ingested] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        sums = {
            name: sum(getattr(each, name.lower()) for each in self.ingested)
            for name in ("Bytes", "Records", "Tuples", "Malformed")
        }
        found = {"Listed": self.listed, "Behind": self.behind, "Late": self.late}
        return found | {"Failed": len(self.failed), **sums}


def compare(
    flow_logs: FlowLogs,
    ledger: Ledger,
    since: datetime,
    until: datetime,
    logs: Iterable[FlowLog | str] | None = None,
) -> Iterator[Compared | str]:
    """Every blob of the hours from ``since`` to ``until``, beside its entry; names that are no flow log's. Of
    these flow logs, those of one scope together, or of all.

    Reads listings and the ledger's readable columns, no blob.
    """
    entries: dict[str, dict[str, Posted | Foreign]] = {}
    for found in flow_logs.list_blobs(since, until, logs):
        if isinstance(found, str):
            yield found
            continue
        scope = found.blob.scope
        if scope not in entries:
            entries = {
                scope: {
                    each.partition: each
                    for each in ledger.entries(scope, since - HOUR, until)
                    if each.account == flow_logs.account
                }
            }
        known = entries[scope].get(partition_of(found.blob))
        if isinstance(known, Posted) and known.entry.blob_name == found.blob.name:
            before = entries[scope].get(partition_of(found.blob, -1))
            stale = isinstance(before, Posted) and not known.entry.follows(before.entry)
            yield Compared(found, known.entry, known.written, stale=stale)
        else:
            # What can't be read is as good as none here: ingest says what is the matter with it.
            error = known.error if isinstance(known, Foreign) else None
            yield Compared(found, Entry(found.blob.name), None, error)


class _Findings:
    """What a sweep finds of each scope and hour, beside what is known of it from the last one.

    To know that an hour was complete, also when its blobs are long gone, it is enough that one sweep has said
    so. So what is found as it was known is not written once more, unless it was behind. That nothing has come
    since, or that there never was a blob, is known by the first sweep that looks at an hour after it is over.
    """

    def __init__(self, counts: Counts, since: datetime, until: datetime) -> None:
        self._counts = counts
        self._since, self._until = since, until
        self._known, self._looked = counts.findings_and_looks(since, until)
        if not self._known:
            counts.create_tables()  # flowcounts may have been deleted
        self._found: dict[tuple[str, datetime], SweepFinding] = {}

    def add(self, compared: Compared, now: datetime) -> None:
        """Take in a blob."""
        blob, behind = compared.listed.blob, compared.behind
        its = self._found.get((blob.scope, blob.hour), SweepFinding())
        self._found[blob.scope, blob.hour] = SweepFinding(
            its.listed + 1,
            its.bytes + compared.listed.length,
            its.behind + bool(behind),
            its.bytes_behind + behind,
            now,
        )

    def caught_up(self, compared: Compared) -> None:
        """Take note that a blob isn't behind any more."""
        blob = compared.listed.blob
        its = self._found[blob.scope, blob.hour]
        left = its.behind - 1, its.bytes_behind - compared.behind
        self._found[blob.scope, blob.hour] = replace(its, behind=left[0], bytes_behind=left[1])

    def keep(self, began: datetime) -> None:
        """Write what isn't known yet, of a sweep that began to look then.

        Of days before the first blob nothing is written, but for the last two: there may be very many.
        """
        by_hour: dict[datetime, dict[str, tuple[SweepFinding, str]]] = {}
        for (scope, hour), its in self._found.items():
            known, etag = self._known.get((scope, hour), (SweepFinding(), ""))
            if its.behind or replace(known, looked_at=its.looked_at) != its:
                by_hour.setdefault(hour, {})[scope] = its, etag
        first = min((hour for _, hour in (*self._known, *self._found)), default=self._until)
        hour = max(self._since, min(first.replace(hour=0), floor_hour(self._until) - 2 * DAY))
        looked = set()
        while hour <= self._until and began >= hour + HOUR + OVER_AFTER:
            if hour not in self._looked:
                looked.add(hour)
            hour += HOUR
        for hour in sorted(looked | by_hour.keys()):
            self._counts.keep_findings(hour, by_hour.get(hour, {}), began if hour in looked else None)


def sweep(
    flow_logs: FlowLogs,
    ledger: Ledger,
    counts: Counts,
    since: datetime,
    until: datetime,
    on_progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Ingest all blobs of the hours from ``since`` to ``until`` that are behind, some at a time.

    A blob that fails doesn't hold up the others: it is in ``failed``. ``on_progress`` is told how many bytes
    are done of how many.
    """
    swept, lateness, findings = Swept(), Lateness(), _Findings(counts, since, until)
    began = ledger.server_time()
    behind: list[Compared] = []
    for found in compare(flow_logs, ledger, since, until):
        if isinstance(found, str):
            swept.strangers.append(found)
            continue
        swept.listed += 1
        now = flow_logs.server_time()
        lateness.add(found, now)
        findings.add(found, now)
        if found.behind:
            behind.append(found)
    swept.behind, swept.late = len(behind), lateness.late
    total, done = sum(each.behind for each in behind), 0
    for each, result in work_on(
        behind,
        lambda each: ingest(each.listed.blob, flow_logs, ledger, look_back=each.stale),
        WORKERS,
        "sweep",
    ):
        if isinstance(result, FlowtallyError):
            swept.failed.append((each.listed.blob.name, result))
        else:
            swept.ingested.append(result)
            findings.caught_up(each)
        done += each.behind
        if on_progress:
            on_progress(done, total)
    findings.keep(began)
    return swept

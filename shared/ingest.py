"""Ingest: count what is new in one blob.

Theory of operation: the hour's edge
------------------------------------
What was restarted late in an hour (see ``flowlog/restarts.py``) is stated once more in the next hour's blob,
which therefore begins with what the *hour before* ended with: the entry before says so as ``pending``, the
entry of the blob as ``carried_in``. Blobs are counted in any order, side by side, and the hour before may
grow after the next hour has begun. So there are two rules, one on each side of the edge, and each holds
*after* the writer's own commit:

- who has counted a blob from its beginning looks at the hour before once more;
- who has committed another ``pending`` to an hour that is over looks at the next hour, once the blob's end is
  reached: a blob that is counted afresh in several commits has said other things in between.

Where the two differ, the later blob is counted afresh. Of two writers, one on each side, the one that commits
last sees what the other has committed. Who dies between commit and look leaves a difference that the sweep
sees. An hour before that isn't there, or can't be read, is no reason to count anything afresh.

What is carried ends with the hour's first quarter; so counting afresh doesn't go on from hour to hour.
"""

import hashlib
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.blobs import FlowLogs, Stretch
from shared.errors import Conflict, FlowtallyError, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS, BlobName, parse_blob_name
from shared.flowlog.restarts import Restarts
from shared.ledger.entry import LEFT_OUT, Entry
from shared.ledger.store import Ledger, Loaded
from shared.tally.blob_counter import MOST_REJECTS, BlobCounter
from shared.tally.packing import pack_within
from shared.tally.states import States
from shared.times import HOUR

UPDATE_BYTES = 64 * 1024 * 1024
"""Bytes counted before they are committed at the latest: the most that a crash can cost."""

LATE_AFTER = timedelta(hours=3)
"""So long after an hour's end the rollup looks at it by itself; written later, it needs a note."""

DELAYED_AFTER = timedelta(minutes=5)
"""So long after a blob's update its commit is called delayed."""

HEAD_BYTES = 4096
"""Bytes of a blob's beginning by which it is told from another blob; not more than ``blobs.WINDOW``."""

_MOST_CONFLICTS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one call counted: bytes passed, whole records, tuples counted, tuples rejected; in how many
    commits, after how many conflicts; ``lag``: from the blob's last update to the commit, the longest of
    several; ``delayed``: how many commits came later than ``DELAYED_AFTER``.
    """

    bytes: int = 0
    records: int = 0
    tuples: int = 0
    malformed: int = 0
    updates: int = 0
    conflicts: int = 0
    delayed: int = 0
    lag: timedelta | None = None

    def __add__(self, other: "Ingested") -> "Ingested":
        """Both together."""
        lags = [each.lag for each in (self, other) if each.lag is not None]
        return Ingested(
            self.bytes + other.bytes,
            self.records + other.records,
            self.tuples + other.tuples,
            self.malformed + other.malformed,
            self.updates + other.updates,
            self.conflicts + other.conflicts,
            self.delayed + other.delayed,
            max(lags, default=None),
        )

    def row(self) -> dict[str, float | None]:
        """All in figures, named as columns are."""
        return {
            "Bytes": self.bytes,
            "Records": self.records,
            "Tuples": self.tuples,
            "Malformed": self.malformed,
            "Updates": self.updates,
            "Conflicts": self.conflicts,
            "Delayed": self.delayed,
            "LagSeconds": self.lag.total_seconds() if self.lag is not None else None,
        }


@dataclass(frozen=True, slots=True)
class _Update:
    """What there is to commit: the new entry, and whether the blob was counted from its beginning; when that
    version of the blob was written, and read; whether it ends there.
    """

    entry: Entry
    afresh: bool
    modified: datetime
    read: datetime
    at_end: bool


def ingest(
    blob: BlobName,
    flow_logs: FlowLogs,
    ledger: Ledger,
    *,
    look_back: bool = False,
    ahead: "ReadAhead | None" = None,
) -> Ingested:
    """Bring a blob's entry up to the blob's present end.

    Whatever called for it is only a hint: the blob is read as it is now, and nothing new is a normal outcome.
    ``look_back``: see whether the blob has begun with what the hour before ended with, too. ``ahead``: what
    has been read of the blob already.
    ``MalformedInput`` if the ledger's entry is another blob's or of an unknown version; ``Unavailable`` if
    storage fails: what has been committed stays committed, and a later call goes on from there.
    """
    done = Ingested()
    conflicts = 0
    look_ahead = False
    while True:
        loaded = ledger.load(blob, flow_logs.account)
        if loaded.entry.blob_name != blob.name:
            raise MalformedInput(
                f"{blob.name} can't be counted: its place is taken by {loaded.entry.blob_name}"
            )
        first, ahead = ahead.of(loaded.entry) if ahead else None, None
        try:
            update = _read_update(blob, loaded, flow_logs, ledger, look_back=look_back, first=first)
            if update is None:
                entry = loaded.entry
                break
            committed = _commit(blob, ledger, loaded, update)
        except Conflict as conflict:
            conflicts += 1
            if conflicts == _MOST_CONFLICTS:
                raise Unavailable(
                    f"{blob.name}: gave up after {conflicts} conflicts: {conflict}"
                ) from conflict
            time.sleep(random.uniform(0, 0.02 * 2 ** min(conflicts, 6)))  # noqa: S311 -- so that racers part
            continue
        entry = update.entry
        before = loaded.entry  # what is counted afresh for the hour's edge has been told before
        if entry.rewrites != before.rewrites:
            before = Entry(blob.name)
        _log_rejects(before, entry)
        done += _gained(before, entry, committed - update.modified)
        look_ahead |= entry.pending != loaded.entry.pending and committed >= blob.hour + HOUR
        look_back = update.afresh and not entry.follows(_hour_before(blob, flow_logs, ledger))
        if update.at_end and not look_back:
            break
    # Not before the blob's end: what is pending in between is no reason to count the next hour afresh.
    if look_ahead:
        done += replace(_mend_next(blob, entry, flow_logs, ledger), delayed=0, lag=None)
    return replace(done, conflicts=conflicts)


def ingest_known(blob: BlobName, known: Entry, flow_logs: FlowLogs, ledger: Ledger) -> Ingested:
    """Bring a blob's entry up to the blob's present end, if there is anything new.

    ``known``: what a query has shown of its entry; an empty one if there is none. The blob is read before its
    entry is loaded: if it is as it was, or isn't there, that is the only request.
    """
    first = flow_logs.read(blob, _reads_from(known), unless=known.blob_etag)
    if first is None:
        return Ingested()
    return ingest(blob, flow_logs, ledger, ahead=ReadAhead(known, first))


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """What was read of a blob from where its entry, as it was ``known``, had been read to."""

    known: Entry
    first: Stretch

    def of(self, entry: Entry) -> Stretch | None:
        """What was read, if it goes on from where ``entry`` ends."""
        return self.first if self.known.read_to == entry.read_to else None


def _commit(blob: BlobName, ledger: Ledger, loaded: Loaded, update: _Update) -> datetime:
    """Commit, and return when; before and after with a note, if the rollup has ceased to look by itself."""
    late_from = blob.hour + HOUR + LATE_AFTER
    if update.read > late_from:
        ledger.note_late(blob, update.read)
    committed = ledger.commit(loaded, update.entry)
    if committed > late_from:
        ledger.note_late(blob, committed)
    return committed


def _hour_before(blob: BlobName, flow_logs: FlowLogs, ledger: Ledger) -> Entry | None:
    """The entry that may carry something into this blob's hour, if there is one."""
    return ledger.neighbour(blob, flow_logs.account, -1) if blob.kind == "vnet" else None


def _afresh(blob: BlobName, before: Entry | None, rewrites: int) -> Entry:
    """The entry of a blob of which nothing has been counted."""
    if before is None or not before.pending:
        return Entry(blob.name, rewrites=rewrites)
    try:
        carried = Restarts.unpack(before.restarts).carried(blob.hour - HOUR)
    except MalformedInput as error:
        log.warning("%s begins without what the hour before ended with: %s", blob.name, error)
        return Entry(blob.name, rewrites=rewrites, carried_in=before.pending + LEFT_OUT)
    return Entry(blob.name, rewrites=rewrites, carried_in=before.pending, restarts=carried.pack())


def _mend_next(blob: BlobName, entry: Entry, flow_logs: FlowLogs, ledger: Ledger) -> Ingested:
    """Count the next hour's blob afresh if it has begun with something else than what ``entry`` says.

    Whatever fails there is no reason for this blob to fail: the sweep sees it, too.
    """
    after = ledger.neighbour(blob, flow_logs.account, +1)
    if after is None or after.carried_in == entry.pending:
        return Ingested()
    log.info("%s is counted afresh: the hour before it has ended with something else", after.blob_name)
    try:
        return ingest(
            parse_blob_name(after.blob_name, CONTAINERS[blob.kind]), flow_logs, ledger, look_back=True
        )
    except FlowtallyError as error:
        log.warning("%s is left to the next sweep: %s", after.blob_name, error)
        return Ingested()


def _read_update(
    blob: BlobName,
    loaded: Loaded,
    flow_logs: FlowLogs,
    ledger: Ledger,
    *,
    look_back: bool,
    first: Stretch | None,
) -> _Update | None:
    """Read on from the entry's offset, and count; ``None`` if the blob has nothing new. ``first``: what has
    been read from there already.
    """
    entry, before, afresh = loaded.entry, None, not loaded.etag
    if look_back or afresh:
        before = _hour_before(blob, flow_logs, ledger)
        afresh = afresh or (before is not None and before.pending != entry.carried_in)
    first = first or flow_logs.read(blob, _reads_from(entry), unless="" if afresh else entry.blob_etag)
    if first is None:
        return None
    rewritten = not _same_before(blob, entry, first, flow_logs)
    if rewritten:
        log.warning("%s was rewritten before byte %d: counted afresh", blob.name, entry.offset)
        before = _hour_before(blob, flow_logs, ledger)
    if rewritten or afresh:
        entry = _afresh(blob, before, entry.rewrites + rewritten)
        if first.start > 0:
            first = flow_logs.read(blob, 0, only_if=first.etag)
            if first is None:
                return None

    counter = BlobCounter(entry.counts(), blob.hour, blob.mac, blob.resource_id, entry.offset)
    rejects = entry.reject_counts()
    at_end = False
    for data, last, ends_here in _stretches(blob, first, entry.offset, flow_logs):
        more = data
        while True:
            some = counter.feed(more, last=last)
            rejects.add(some)
            if len(some) < MOST_REJECTS:
                break
            more = b""
        at_end = ends_here
    counts, reader = counter.counts, counter.reader
    unread = reader.unread() if at_end else None
    unread_bytes = unread.end - unread.start if unread else 0
    return _Update(
        Entry(
            blob_name=blob.name,
            offset=reader.position,
            head=_digest(first.data, reader.position) if first.start == 0 else entry.head,
            tail=reader.tail or entry.tail,
            blob_etag=first.etag if at_end else "",
            blob_created=first.created,
            records=counts.records,
            tuples=counts.tuples,
            states=States(*counts.states),
            malformed=counts.malformed,
            garbled_bytes=counts.garbled_bytes + unread_bytes,
            unread_bytes=unread_bytes,
            last_record_time=counts.last_record_time,
            tuples_before=counts.tuples_in_share(-1),
            tuples_after=counts.tuples_in_share(+1),
            rewrites=entry.rewrites,
            resource_id=counter.resource_id or entry.resource_id,
            target_id=counter.target_id or entry.target_id,
            pending=counts.restarts.carried(blob.hour).digest(),
            carried_in=entry.carried_in,
            rejects=rejects.pack(),
            restarts=counts.restarts.pack(),
            packed=pack_within(counts.shares),
        ),
        not entry.offset,
        first.modified,
        first.server_time,
        at_end,
    )


def _reads_from(entry: Entry) -> int:
    """Where reading on begins: at the blob's beginning as long as that is short, and else at the tail."""
    return 0 if entry.offset <= HEAD_BYTES else entry.offset - len(entry.tail)


def _same_before(blob: BlobName, entry: Entry, first: Stretch, flow_logs: FlowLogs) -> bool:
    """Whether the blob still holds, before the entry's offset, the bytes that were counted.

    ``first`` begins at the blob's first byte, or at the tail. From the tail on it is compared first. Blobs of
    equal shape can end alike: so where the blob was created at another time, its beginning decides, too. That
    time alone doesn't, because it isn't documented whether each commit to a blob keeps it.
    """
    if first.start == 0:
        return not entry.offset or _digest(first.data, entry.offset) == entry.head
    if not first.data.startswith(entry.tail):
        return False
    if first.created == entry.blob_created:
        return True
    beginning = flow_logs.read(blob, 0, most=HEAD_BYTES, only_if=first.etag)
    return beginning is not None and _digest(beginning.data, HEAD_BYTES) == entry.head


def _digest(data: bytes, length: int) -> bytes:
    """A digest of a blob's first ``length`` bytes, ``HEAD_BYTES`` of them at the most."""
    return hashlib.sha256(data[: min(length, HEAD_BYTES)]).digest()[:16]


def _stretches(
    blob: BlobName, first: Stretch, offset: int, flow_logs: FlowLogs
) -> Iterator[tuple[bytes, bool, bool]]:
    """The bytes from ``offset``, window by window, all of one version of the blob: with each, whether it is
    the last for now, and whether the blob ends there.

    If the blob grows meanwhile, what was read so far is good, and the next update takes the rest.
    """
    stretch, data = first, first.data[offset - first.start :]
    while True:
        at_end = stretch.end >= stretch.length
        following = None
        if not at_end and stretch.end - offset < UPDATE_BYTES:
            try:
                following = flow_logs.read(blob, stretch.end, only_if=first.etag)
            except Conflict:
                log.debug("%s has grown while it was read", blob.name)
        yield data, following is None, at_end
        if following is None:
            return
        stretch, data = following, following.data


def _log_rejects(before: Entry, after: Entry) -> None:
    """Say what an update has rejected, if a reason is new in this blob: where a log's format has changed,
    each update rejects something.
    """
    if before.rejects == after.rejects:
        return
    was, now = before.reject_counts(), after.reject_counts()
    reasons = [reason.value for reason in now.by_reason if reason not in was.by_reason]
    if not reasons:
        return
    log.warning(
        "%s: %d tuples rejected and %d bytes garbled from byte %d to %d: %s",
        *(after.blob_name, now.tuples - was.tuples, now.garbled_bytes - was.garbled_bytes),
        *(before.offset, after.offset, "; ".join(reasons)),
    )


def _gained(before: Entry, after: Entry, lag: timedelta) -> Ingested:
    """What one commit has counted."""
    return Ingested(
        after.offset - before.offset,
        after.records - before.records,
        after.tuples - before.tuples,
        after.malformed - before.malformed,
        updates=1,
        delayed=int(lag > DELAYED_AFTER),
        lag=lag,
    )

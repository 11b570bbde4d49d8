"""The raw log, readable: tuples straight from the blobs, read by the reference grammar.

Which blobs, their names tell (``find_blobs``); each of them is read to its end, window by window. Rows come
as they are read, so memory doesn't grow with the log. What the counting rejects is rejected here, too, and is
given as a row that says why: among flows it is left out only where what is known of it fails a condition. A
blob that can't be read is named in ``Progress``, and the others are read all the same. So is an account that
can't be asked for its blobs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.accounts import Failure, ask_each
from shared.advice import to_read_blob
from shared.blobs import FlowLogs
from shared.connection import refusal_of
from shared.errors import BadRequest, Conflict, Unavailable
from shared.flowlog.blob_name import UNKNOWN_MAC, BlobName
from shared.flowlog.reasons import Reason, Rejected
from shared.flowlog.records import Garbled, Record, RecordReader, RuleTuples
from shared.flowlog.rejects import Reject, TuplePlaces, reject_garbled
from shared.flowlog.restarts import Correction, Restarts
from shared.flowlog.tuples import FlowTuple, read_tuple
from shared.sweep import ScopeLog, find_flow_logs
from shared.tally.measures import (
    PLAIN,
    add_figures,
    corrected,
    figures_of,
    no_figures,
    to_columns,
)
from shared.times import HOUR, HOUR_MS, floor_hour, to_moment
from shared.views.query import Condition
from shared.views.scopes import find_scopes

type FlowRow = dict[str, Any]

COLUMNS = (
    *("Time", "Account", "Scope", "Mac", "Direction", "Status", "State", "Encryption", "L4Protocol"),
    *("SrcIp", "SrcPort", "DestIp", "DestPort", "AclGroup", "AclRule"),
    *PLAIN[4:],
    *("Rejected", "ByteFrom", "ByteTo", "Sample"),
)
REJECT_COLUMNS = ("Hour", "Account", "Scope", "Mac", "BlobName", "ByteFrom", "ByteTo", "Reason", "Sample")
DECISION_KEY = ("Status", "AclRule", "AclGroup", "Encryption", "Scope", "Direction")
DECISION_COLUMNS = (
    *(*DECISION_KEY, "Ports", "Tuples", "FlowsAllowed", "FlowsDenied"),
    *("BytesSrcToDest", "BytesDestToSrc", "FirstSeen", "LastSeen"),
)

LATE = timedelta(minutes=10)
"""A tuple usually stands in a record written up to a minute or so after it: ten are on the safe side."""

_MOST_SILENCES = 3
"""Blobs in a row for which storage gives no answer, before it is taken to be away."""

_MOST_PORTS = 3
_JOINT = ", "


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob in an account: the same name in another account is another blob."""

    account: FlowLogs
    blob: BlobName

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """In which order blobs are read: by hour, scope, interface and account."""
        return self.blob.hour, self.blob.scope, self.blob.mac, self.account.account


@dataclass(frozen=True, slots=True)
class Unread:
    """A blob that couldn't be read, or not to its end: why, and what helps."""

    account: str
    blob: str
    reason: str
    to_do: str


@dataclass(slots=True)
class Progress:
    """What has been looked at so far: blobs and bytes read, records, tuples read, tuples and bytes that can't
    be; and the blobs that couldn't be read.
    """

    blobs: int = 0
    bytes: int = 0
    records: int = 0
    tuples: int = 0
    rejected: int = 0
    garbled_bytes: int = 0
    unread: list[Unread] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which flows: from ``since`` up to and without ``until`` (``None``: all that there is), those that
    fulfil all conditions.
    """

    since: datetime
    until: datetime | None
    conditions: tuple[Condition, ...] = ()

    def may_hold_time(self, blob: BlobName, written: datetime | None) -> bool:
        """Whether what has no time of its own may be of the time asked for: by when it was written or, where
        that isn't known, by its blob's hour.
        """
        if written is None:
            return self.is_of_its_time(blob)
        return self.since <= written and (self.until is None or written - LATE < self.until)

    def may_hold(self, row: Mapping[str, Any]) -> bool:
        """Whether no condition fails for what is known of a row."""
        return all(
            each.holds(row) or not any(row.get(name) is not None for name in each.columns)
            for each in self.conditions
        )

    def may_hold_of(self, blob: BlobName) -> bool:
        """Whether no condition fails for the blob's interface, if that is known."""
        return self.may_hold({"Mac": None if blob.mac == UNKNOWN_MAC else blob.mac})

    def is_of_its_time(self, blob: BlobName) -> bool:
        """Whether the blob's hour is wanted, and its interface."""
        return (
            floor_hour(self.since) <= blob.hour
            and (self.until is None or blob.hour < self.until)
            and self.may_hold_of(blob)
        )

    def blobs_of(self, stored: Iterable[StoredBlob]) -> list[StoredBlob]:
        """Those of these blobs whose hours are wanted, of interfaces that are wanted."""
        return [each for each in stored if self.is_of_its_time(each.blob)]


def find_logs(
    accounts: Sequence[FlowLogs], scopes: Sequence[str]
) -> tuple[dict[str, list[ScopeLog]], list[Failure]]:
    """The flow logs of these scopes (or of all), by account; and which accounts couldn't be asked.

    ``BadRequest`` if there is no such scope; ``Unavailable`` if there is none in the accounts that answered.
    """
    answers, failures = ask_each(accounts, lambda account: find_flow_logs(account)[0])
    logs = [log for _, its in answers for log in its]
    catalog: dict[str, FlowRow] = {
        log.scope: {"Scope": log.scope, "Name": named.group}
        for log in logs
        for folder in log.folders
        if (named := folder.named())
    }
    try:
        chosen = {row["Scope"] for row in find_scopes(catalog, scopes)}
    except BadRequest as error:
        if failures:
            raise Unavailable(f"{error}; {'; '.join(map(Failure.say, failures))}") from error
        raise
    found: dict[str, list[ScopeLog]] = {}
    for log in logs:
        if log.scope in chosen:
            found.setdefault(log.account.account, []).append(log)
    return found, failures


def find_blobs(
    accounts: Sequence[FlowLogs], scopes: Sequence[str], wanted: Wanted
) -> tuple[list[StoredBlob], list[Failure]]:
    """The blobs that may hold what is wanted, in order of hour, scope and interface: those of the hours asked
    for, and of one hour before and after; and which accounts couldn't be asked for theirs.

    A tuple may be timed up to an hour before its blob's hour and up to an hour after it, and what is further
    away is rejected: so no other blob can hold one. A narrower bound there is not. Tuples aren't in the order
    of time, and records were seen whose times are hours from their tuples': so each of these blobs is read to
    its end, whatever the times of its records.

    ``BadRequest`` if there is no such scope.
    """
    logs, failures = find_logs(accounts, scopes)

    def list_blobs(account: FlowLogs) -> list[StoredBlob]:
        end = wanted.until - timedelta.resolution if wanted.until else account.server_time()
        first, last = floor_hour(wanted.since) - HOUR, floor_hour(end) + HOUR
        folders = [folder for log in logs[account.account] for folder in log.folders]
        return [
            StoredBlob(account, found.blob)
            for found in account.list_blobs(first, last, folders)
            if not isinstance(found, str) and wanted.may_hold_of(found.blob)
        ]

    having = [each for each in accounts if each.account in logs]
    answers, more = ask_each(having, list_blobs, is_only=len(accounts) == 1)
    blobs = [each for _, its in answers for each in its]
    return sorted(blobs, key=lambda each: each.order), [*failures, *more]


def find_blob(accounts: Sequence[FlowLogs], blob: BlobName) -> tuple[list[StoredBlob], list[Failure]]:
    """A blob in each of the accounts that have it; and which accounts couldn't be asked."""
    answers, failures = ask_each(accounts, lambda account: account.has(blob))
    return [StoredBlob(account, blob) for account, there in answers if there], failures


def read_flows(stored: Iterable[StoredBlob], wanted: Wanted, looked: Progress) -> Iterator[FlowRow]:
    """Rows of ``COLUMNS``, blob by blob in the order of the log: flows, and what can't be read (``Rejected``
    says why). ``looked`` is kept up to date.

    A row has the figures that the log states. Beside the columns it has those that are counted
    (``Counted``), and for filters ``LocalIp`` and ``RemoteIp``.
    """
    carried: dict[tuple[str, str, str, datetime], Restarts] = {}
    reader = _BlobReader(looked)
    for each in stored:
        blob, account = each.blob, each.account.account
        restarts = carried.pop((account, blob.scope, blob.mac, blob.hour), Restarts())
        for item in reader.items(each):
            if isinstance(item, Garbled):
                looked.garbled_bytes += item.end - item.start
                row = _rejected(each, None, reject_garbled(item))
                if wanted.may_hold_time(blob, None) and wanted.may_hold(row):
                    yield row
                continue
            looked.records += 1
            yield from _rows(each, item, restarts, wanted, looked)
        carried[account, blob.scope, blob.mac, blob.hour + HOUR] = restarts.carried(blob.hour)


def read_rejects(stored: Iterable[StoredBlob], now: datetime, looked: Progress) -> Iterator[FlowRow]:
    """Rows of ``REJECT_COLUMNS``, blob by blob in the order of the log: everything that isn't counted, each
    tuple and each stretch of bytes. ``looked`` is kept up to date.

    What has no whole record at the end of a blob is one of them once its hour is over; before, it is not
    decided.
    """
    reader = _BlobReader(looked)
    for each in stored:
        for item in reader.items(each):
            if isinstance(item, Record):
                looked.records += 1
                for _, reads in _read_groups(each.blob, item, looked):
                    yield from (_reject_row(each, read) for read in reads if isinstance(read, Reject))
            elif item.reason is not Reason.UNREAD or each.blob.hour + HOUR + LATE <= now:
                looked.garbled_bytes += item.end - item.start
                yield _reject_row(each, reject_garbled(item))


class _BlobReader:
    """Reads blobs one after the other, and goes on where one can't be read.

    If an account gives no answer for some blobs in a row, it is away: its others aren't asked for, as that
    would take hours.
    """

    def __init__(self, looked: Progress) -> None:
        self._looked = looked
        self._silences: Counter[str] = Counter()

    def items(self, stored: StoredBlob) -> Iterator[Record | Garbled]:
        """A blob's items, as far as it can be read; ``looked`` says if that isn't to its end."""
        account, name = stored.account.account, stored.blob.name
        if self._silences[account] >= _MOST_SILENCES:
            reason = f"{name} wasn't asked for, as storage gave no answer for the blobs before it"
            self._looked.unread.append(Unread(account, name, reason, to_read_blob(None, "")))
            return
        self._looked.blobs += 1
        try:
            yield from _items(stored.account, stored.blob, self._looked)
        except Unavailable as error:
            status, code = refusal_of(error)
            self._looked.unread.append(Unread(account, name, str(error), to_read_blob(status, code)))
            refused = error.__cause__ is None or (status is not None and status < 500)
            self._silences[account] = 0 if refused else self._silences[account] + 1
        else:
            self._silences[account] = 0


def _items(flow_logs: FlowLogs, blob: BlobName, looked: Progress) -> Iterator[Record | Garbled]:
    """A blob's items, window by window.

    If the blob grows meanwhile, reading goes on behind the last item: what was read stands as it was.
    """
    reader = RecordReader()
    at, etag, again = 0, "", 0
    while True:
        try:
            stretch = flow_logs.read(blob, at, only_if=etag)
        except Conflict:
            tail = reader.tail
            reader = RecordReader(reader.position)
            reader.tail = tail
            at, etag, again = reader.position - len(tail), "", len(tail)
            continue
        if stretch is None:
            raise Unavailable(f"{blob.name} isn't there any more")
        looked.bytes += len(stretch.data)
        if again and not stretch.data.startswith(reader.tail):
            raise Unavailable(f"{blob.name} was rewritten while it was read")
        ends_here = stretch.end >= stretch.length
        yield from reader.feed(stretch.data[again:], last=ends_here)
        if ends_here:
            break
        at, etag, again = stretch.end, stretch.etag, 0
    if left := reader.unread():
        yield left


def _rows(
    stored: StoredBlob, record: Record, restarts: Restarts, wanted: Wanted, looked: Progress
) -> Iterator[FlowRow]:
    blob = stored.blob
    since_ms = wanted.since.timestamp() * 1000
    until_ms = wanted.until.timestamp() * 1000 if wanted.until else float("inf")
    may_be_of_time = wanted.may_hold_time(blob, record.time)
    for group, reads in _read_groups(blob, record, looked):
        source = {
            "Mac": group.mac_in(blob.mac),
            "AclGroup": group.acl_group or blob.resource_id,
            "AclRule": group.rule,
        }
        flows = [read if isinstance(read, FlowTuple) else None for read in reads]
        corrections = restarts.follow(group.tuples, flows) if record.grammar == "vnet-v4" else {}
        for number, read in enumerate(reads):
            if isinstance(read, Reject):
                row = _rejected(stored, record.time, read) | source
                if may_be_of_time and wanted.may_hold(row):
                    yield row
            elif since_ms <= read.time_ms < until_ms:
                row = _row(stored, read, corrections.get(number)) | source
                if all(each.holds(row) for each in wanted.conditions):
                    yield row


def _read_groups(
    blob: BlobName, record: Record, looked: Progress
) -> Iterator[tuple[RuleTuples, list[FlowTuple | Reject]]]:
    """A record's groups, each with its tuples, read or rejected."""
    hour_ms = int(blob.hour.timestamp() * 1000)
    places = TuplePlaces(record)
    first = 0
    for group in record.groups:
        elements = group.tuples
        reads: list[FlowTuple | Reject] = []
        for number, element in enumerate(elements, start=first):
            try:
                reads.append(_read(element, record, hour_ms))
                looked.tuples += 1
            except Rejected as verdict:
                reads.append(places.reject(number, element, verdict.reason))
                looked.rejected += 1
        yield group, reads
        first += len(elements)


def _read(element: object, record: Record, hour_ms: int) -> FlowTuple:
    flow = read_tuple(element, record.grammar)
    if not hour_ms - HOUR_MS <= flow.time_ms < hour_ms + 2 * HOUR_MS:
        raise Rejected(Reason.FAR_TIME)
    return flow


def _row(stored: StoredBlob, flow: FlowTuple, correction: Correction | None) -> FlowRow:
    state = "Ended" if flow.flows_ended else "Began" if flow.flows_allowed else "Continues"
    if correction and correction.restart:
        state = "Restarted"
    stated = figures_of(flow)
    counted = corrected(stated, correction) if correction else stated
    return {
        "Time": to_moment(flow.time_ms),
        **_source(stored),
        "Direction": flow.direction,
        "Status": flow.status,
        "State": "" if flow.flows_denied else state,
        "Encryption": flow.encryption,
        "L4Protocol": flow.protocol,
        "SrcIp": flow.src_ip,
        "SrcPort": flow.src_port,
        "DestIp": flow.dest_ip,
        "DestPort": flow.dest_port,
        "LocalIp": flow.dest_ip if flow.direction == "Inbound" else flow.src_ip,
        "RemoteIp": flow.src_ip if flow.direction == "Inbound" else flow.dest_ip,
        **dict(zip(PLAIN, stated, strict=False)),
        "Counted": counted,
    }


def _source(stored: StoredBlob) -> FlowRow:
    """Where a row comes from."""
    return {"Account": stored.account.account, "Scope": stored.blob.scope, "Mac": stored.blob.mac}


def _rejected(stored: StoredBlob, time: datetime | None, reject: Reject) -> FlowRow:
    return {
        "Time": time,
        **_source(stored),
        "Rejected": reject.reason.value,
        "ByteFrom": reject.start,
        "ByteTo": reject.end,
        "Sample": reject.sample,
    }


def _reject_row(stored: StoredBlob, reject: Reject) -> FlowRow:
    return {
        "Hour": stored.blob.hour,
        **_source(stored),
        "BlobName": stored.blob.name,
        "ByteFrom": reject.start,
        "ByteTo": reject.end,
        "Reason": reject.reason.value,
        "Sample": reject.sample,
    }


def decisions(flows: Iterable[Mapping[str, Any]]) -> list[FlowRow]:
    """Who decided on these flows: a row of ``DECISION_COLUMNS`` for each scope, group, rule, direction,
    status and encryption, the one that decided last first. ``Ports``: all the destination ports, each with
    its protocol. Figures are those that are counted.
    """
    found: dict[tuple[Any, ...], FlowRow] = {}
    for flow in flows:
        row = found.setdefault(
            tuple(flow[name] for name in DECISION_KEY),
            {
                **{name: flow[name] for name in DECISION_KEY},
                "Figures": no_figures(),
                "Ports": set(),
                "FirstSeen": flow["Time"],
                "LastSeen": flow["Time"],
            },
        )
        add_figures(row["Figures"], flow["Counted"])
        row["Ports"].add((flow["L4Protocol"], flow["DestPort"]))
        row["FirstSeen"] = min(row["FirstSeen"], flow["Time"])
        row["LastSeen"] = max(row["LastSeen"], flow["Time"])
    rows = [_decision(**row) for row in found.values()]
    return sorted(rows, key=lambda row: (row["LastSeen"], row["AclRule"]), reverse=True)


def _decision(Figures: list[int], Ports: set[tuple[str, int]], **row: Any) -> FlowRow:  # noqa: N803 -- columns
    ports = [f"{protocol} {port}" for protocol, port in sorted(Ports)]
    return {**row, **to_columns(Figures), "Ports": _JOINT.join(ports)}


def shorten_ports(ports: str) -> str:
    """``Ports`` of a decision as people read them: the first few, and how many more there are."""
    every = ports.split(_JOINT)
    more = f" and {len(every) - _MOST_PORTS:,} more" if len(every) > _MOST_PORTS else ""
    return _JOINT.join(every[:_MOST_PORTS]) + more

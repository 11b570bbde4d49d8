"""One blob's entry in the ledger: its checkpoint and its counts, together, as one entity's columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.entities import check_columns, from_chunks, refuse_row, to_chunks
from shared.errors import MalformedInput
from shared.flowlog.blob_name import BlobName
from shared.flowlog.rejects import RejectCounts
from shared.flowlog.restarts import MOST_PACKED, Restarts
from shared.tally.hour_counts import BlobCounts
from shared.tally.packing import unpack
from shared.tally.states import NO_STATES, STATES, States
from shared.times import HOUR, hour_key

SCHEMA = 1
"""The version of these columns; an entity that says another is refused and left alone."""

COPIED_AFTER = timedelta(hours=1)
"""What is created so long after its hour was over wasn't written by Network Watcher as it logged."""

LEFT_OUT = " left out"
"""What ``CarriedIn`` ends in where the restarts of the hour before could not be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one blob.

    - ``offset``: the byte after the last item counted; reading on starts there.
    - ``head``: a digest of the blob's first bytes before ``offset``; ``tail``: the last bytes before it. A
      blob that was remade is told by them.
    - ``blob_etag``: the version that was read to its end; empty if there was more to read.
    - ``blob_created``: when the blob was created, as its storage says.
    - ``records``, ``tuples``, ``malformed``: up to ``offset``, whole records, tuples counted and rejected.
    - ``states``: of ``tuples``, how many of each state.
    - ``garbled_bytes``: bytes that are no record; ``unread_bytes`` of them lie beyond ``offset`` and will be
      looked at again when the blob has grown.
    - ``tuples_before``, ``tuples_after``: how many of ``tuples`` belong to the hour before the blob's own,
      and to the one after it.
    - ``rewrites``: how often the blob was found rewritten and counted afresh.
    - ``pending``: a digest of the restarted flows that the next hour's blob has to begin with, empty if there
      are none; ``carried_in``: of those that this one has begun with, or, with ``LEFT_OUT`` behind it, of
      those that could not be read.
    - ``rejects``: what was rejected up to ``offset``, by reason, packed; ``restarts``: the flows that are
      pending there; ``packed``: the counts. They are empty if only the readable columns were asked for.
    """

    blob_name: str
    offset: int = 0
    head: bytes = b""
    tail: bytes = b""
    blob_etag: str = ""
    blob_created: datetime | None = None
    records: int = 0
    tuples: int = 0
    states: States = NO_STATES
    malformed: int = 0
    garbled_bytes: int = 0
    unread_bytes: int = 0
    last_record_time: datetime | None = None
    tuples_before: int = 0
    tuples_after: int = 0
    rewrites: int = 0
    resource_id: str = ""
    target_id: str = ""
    pending: str = ""
    carried_in: str = ""
    rejects: bytes = b""
    restarts: bytes = b""
    packed: bytes = b""

    @property
    def read_to(self) -> tuple[int, str, bytes, bytes]:
        """Up to where the blob has been read, and of which version."""
        return self.offset, self.blob_etag, self.head, self.tail

    def follows(self, before: "Entry | None") -> bool:
        """Whether this has begun with what ``before``, the hour before, has ended with, as far as that is
        there and could be read.
        """
        return before is None or self.carried_in.removesuffix(LEFT_OUT) == before.pending

    def lag(self, hour: datetime, counted: datetime) -> timedelta | None:
        """How long its last record had waited when it was ``counted``; ``hour`` is the blob's.

        ``None`` where that tells nothing: there is no record, or the blob was created long after its hour
        was over, as copies are.
        """
        if self.last_record_time is None:
            return None
        if self.blob_created and self.blob_created > hour + HOUR + COPIED_AFTER:
            return None
        return max(counted - self.last_record_time, timedelta())

    def counts(self) -> BlobCounts:
        """The counts, unpacked into objects of their own.

        ``MalformedInput`` if they aren't those of ``tuples`` tuples: somebody else has written to the entity.
        """
        try:
            counts = BlobCounts(
                records=self.records,
                tuples=self.tuples,
                states=[*self.states],
                malformed=self.malformed,
                garbled_bytes=self.garbled_bytes - self.unread_bytes,
                last_record_time=self.last_record_time,
                shares=unpack(self.packed) if self.packed else {},
                restarts=Restarts.unpack(self.restarts),
            )
        except MalformedInput as error:
            raise MalformedInput(f"the ledger's entity of {self.blob_name} is damaged: {error}") from error
        packed = sum(map(counts.tuples_in_share, counts.shares))
        if packed != self.tuples:
            raise MalformedInput(
                f"the ledger's entity of {self.blob_name} is damaged: "
                f"it has the counts of {packed} tuples, and says {self.tuples}"
            )
        if sum(self.states) != self.tuples:
            raise MalformedInput(
                f"the ledger's entity of {self.blob_name} is damaged: "
                f"it says {self.tuples} tuples, and {sum(self.states)} by state"
            )
        return counts

    def reject_counts(self) -> RejectCounts:
        """What was rejected, unpacked into an object of its own.

        ``MalformedInput`` if it isn't what the readable columns say: somebody else has written to the entity.
        """
        try:
            rejects = RejectCounts.unpack(self.rejects)
        except MalformedInput as error:
            raise MalformedInput(f"the ledger's entity of {self.blob_name} is damaged: {error}") from error
        held = rejects.tuples, rejects.garbled_bytes
        stated = self.malformed, self.garbled_bytes - self.unread_bytes
        if held != stated:
            raise MalformedInput(
                f"the ledger's entity of {self.blob_name} is damaged: it has the rejects of {held[0]} tuples "
                f"and {held[1]} garbled bytes, and says {stated[0]} and {stated[1]}"
            )
        return rejects


def partition_of(blob: BlobName, hours: int = 0) -> str:
    """A blob's PartitionKey in ``flowledger``, or that of the same interface's blob so many hours later."""
    return f"{blob.scope}~{hour_key(blob.hour + hours * HOUR)}~{blob.mac}"


def to_columns(entry: Entry, partition: str, account: str) -> dict[str, Any]:
    """The entity's columns. ``account`` names the storage account that the blob lies in: a blob of the same
    name in another account is another blob.
    """
    return {
        "PartitionKey": partition,
        "RowKey": account,
        "SchemaVersion": SCHEMA,
        "BlobName": entry.blob_name,
        "Offset": entry.offset,
        "Records": entry.records,
        "Tuples": entry.tuples,
        **dict(zip(STATES, entry.states, strict=True)),
        "Malformed": entry.malformed,
        "GarbledBytes": entry.garbled_bytes,
        "UnreadBytes": entry.unread_bytes,
        "LastRecordTime": entry.last_record_time,
        "BlobETag": entry.blob_etag,
        "BlobCreated": entry.blob_created,
        "TuplesBefore": entry.tuples_before,
        "TuplesAfter": entry.tuples_after,
        "Rewrites": entry.rewrites,
        "ResourceId": entry.resource_id,
        "TargetResourceId": entry.target_id,
        "Pending": entry.pending,
        "CarriedIn": entry.carried_in,
        "Head": entry.head,
        "Tail": entry.tail,
        "Rejects": entry.rejects,
        **to_chunks(entry.restarts, RESTARTS),
        **to_chunks(entry.packed),
    }


_COUNTED_ANEW = (
    "then run `flowtally sweep --since` and `flowtally rollup --since` with its day: its blob is counted anew"
)
_OPTIONAL: dict[str, type] = {
    **dict.fromkeys(("LastRecordTime", "BlobCreated"), datetime),
    **dict.fromkeys(("Head", "Tail", "Rejects"), bytes),
}
_WANTED: dict[str, type] = {
    **dict.fromkeys(("BlobName", "BlobETag", "ResourceId", "TargetResourceId"), str),
    **dict.fromkeys(("Pending", "CarriedIn"), str),
    **dict.fromkeys(("Offset", "Records", "Tuples", "Malformed", "GarbledBytes", "UnreadBytes"), int),
    **dict.fromkeys(("TuplesBefore", "TuplesAfter", "Rewrites", *STATES), int),
}


def from_columns(columns: Mapping[str, Any]) -> Entry:
    """The entry; ``MalformedInput`` if another version of Flowtally wrote it, or somebody has edited it."""
    version = columns.get("SchemaVersion")
    if isinstance(version, int) and not isinstance(version, bool) and version != SCHEMA:
        raise MalformedInput(
            f"the ledger's entity {columns['PartitionKey']} is of schema version {version}; "
            f"this Flowtally knows version {SCHEMA}: "
            "update it, then run `flowtally rollup --since` for the hours concerned"
        )
    check_columns("flowledger", columns, {"SchemaVersion": int}, mend=_COUNTED_ANEW)
    check_columns("flowledger", columns, _WANTED, _OPTIONAL, mend=_COUNTED_ANEW)
    try:
        packed = from_chunks(columns)
    except MalformedInput as error:
        raise refuse_row("flowledger", columns, str(error), _COUNTED_ANEW) from None
    try:
        restarts = from_chunks(columns, RESTARTS)
    except MalformedInput:  # who unpacks them is told; the rest is as good for who doesn't ask for them
        restarts = _NO_RESTARTS
    return Entry(
        blob_name=columns["BlobName"],
        offset=columns["Offset"],
        head=columns.get("Head", b""),
        tail=columns.get("Tail", b""),
        blob_etag=columns["BlobETag"],
        blob_created=columns.get("BlobCreated"),
        records=columns["Records"],
        tuples=columns["Tuples"],
        states=States(*(columns[name] for name in STATES)),
        malformed=columns["Malformed"],
        garbled_bytes=columns["GarbledBytes"],
        unread_bytes=columns["UnreadBytes"],
        last_record_time=columns.get("LastRecordTime"),
        tuples_before=columns["TuplesBefore"],
        tuples_after=columns["TuplesAfter"],
        rewrites=columns["Rewrites"],
        resource_id=columns["ResourceId"],
        target_id=columns["TargetResourceId"],
        pending=columns["Pending"],
        carried_in=columns["CarriedIn"],
        rejects=columns.get("Rejects", b""),
        restarts=restarts,
        packed=packed,
    )


RESTARTS = "Restarts"
_NO_RESTARTS = b"not binary"

RESTARTS_COLUMNS = tuple(to_chunks(bytes(MOST_PACKED), RESTARTS))
READABLE = tuple(name for name in to_columns(Entry(""), "", "") if name != "Rejects")
"""The columns to ask for where the counts aren't wanted."""

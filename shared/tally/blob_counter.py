"""The engine: bytes of a blob → its counts and rejects.

Theory of operation
-------------------
``records``, ``tuples`` and ``BlobCounts.count_record`` say what a blob's counts are: the *reference*.
The counter arrives at the same counts by two ways:

- little is counted by the reference itself;
- much goes through columns: ``BatchReader`` reads records, ``ColumnCounter`` counts their tuples, two
  megabytes at a time.

Families are kept within their capacity at the end of each batch: where that drops keys, the two ways, which
batch differently, may keep different ones, each within the laws of ``heavy_hitters``. Where nothing is
dropped, they agree to the byte.

The reference stays the judge of the second way as well. It reads each record that isn't plainly written and
each tuple that isn't clean, so that there is one answer to what is rejected, and why. And it counts a whole
batch where the columns' arithmetic would not do.

numpy is imported with the first batch: an instance that is started for a quiet minute does without.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from shared.flowlog.batches import BatchReader, NotPlainError
from shared.flowlog.blob_name import UNKNOWN_MAC
from shared.flowlog.records import Garbled, Record
from shared.flowlog.rejects import Reject, reject_garbled, reject_tuples
from shared.tally.hour_counts import BlobCounts

if TYPE_CHECKING:
    from shared.tally.column_counter import ColumnCounter, Rejections

MOST_REJECTS = 10_000
"""Rejects that are given at once, more or less: garbage may hold millions."""

SMALL = 32 * 1024
"""Bytes up to which the reference is faster, where nothing has been counted yet."""

BYTES_A_KEY = 17
"""For each key that has to be carried into tables and back, the reference counts so many bytes."""


class BlobCounter:
    """Counts a blob's bytes from ``position`` on into ``counts``.

    ``hour`` and ``mac`` are the blob's, ``acl_group`` that of logs whose records don't name one.
    ``resource_id`` and ``target_id`` are the last that a record named.
    """

    def __init__(
        self, counts: BlobCounts, hour: datetime, mac: str, acl_group: str, position: int = 0
    ) -> None:
        self.reader = BatchReader(position)
        self.resource_id = ""
        self.target_id = ""
        self._counts = counts
        self._hour = hour
        self._mac = mac
        self._acl_group = acl_group
        self._columns: ColumnCounter | None = None

    @property
    def counts(self) -> BlobCounts:
        """The counts of all that was fed."""
        self._write_back()
        return self._counts

    def feed(self, data: bytes, *, last: bool = True) -> list[Reject]:
        """Count the bytes that follow those fed before, as far as they are whole (see ``RecordReader.feed``),
        and give what of them is rejected. Where that is ``MOST_REJECTS`` or more, it may not be all: nothing
        has to be fed for the rest.
        """
        if self._columns is None and self._is_little(len(data) + self.reader.waiting):
            return self._count_by_reference(self.reader.feed(data, last=last))
        rejects: list[Reject] = []
        if not self.reader.add(data, last=last):
            return rejects
        while True:
            batch = self.reader.next_batch()
            try:
                rejects += self._count(batch)
            except NotPlainError:
                self.reader.be_careful()
                batch = self.reader.next_batch()
                rejects += self._count(batch)
            self.reader.go_on(batch)
            if not batch or len(rejects) >= MOST_REJECTS:
                return rejects

    def _is_little(self, size: int) -> bool:
        """Whether so many bytes are the reference's to count."""
        if size < SMALL:
            return True
        shares = self._counts.shares.values()
        keys = sum(len(family) for share in shares for family in share.families.values())
        return size < SMALL + BYTES_A_KEY * keys

    def _count(self, items: list[Record | Garbled]) -> list[Reject]:
        """Count a batch; ``NotPlainError``, with nothing counted, if an array isn't what it was taken for."""
        if self._mac == UNKNOWN_MAC:  # columns are of one interface
            return self._count_by_reference(items)
        if self._columns is None:
            from shared.tally.column_counter import ColumnCounter  # noqa: PLC0415 -- see above

            self._columns = ColumnCounter(self._counts, self._hour, self._mac, self._acl_group)
        rejected = self._columns.count(items)
        return self._count_by_reference(items) if rejected is None else self._count_items(items, rejected)

    def _count_items(self, items: list[Record | Garbled], rejected: "Rejections") -> list[Reject]:
        """Count what there is to count beside the tuples."""
        counts = self._counts
        rejects: list[Reject] = []
        for number, item in enumerate(items):
            if isinstance(item, Garbled):
                rejects.append(self._count_garbled(item))
                continue
            counts.records += 1
            counts.note_time(item.time, self._hour)
            self._note_ids(item)
            if number in rejected:
                counts.malformed += len(rejected[number])
                rejects += reject_tuples(item, rejected[number])
        return rejects

    def _count_by_reference(self, items: Iterable[Record | Garbled]) -> list[Reject]:
        self._write_back()
        rejects: list[Reject] = []
        for item in items:
            if isinstance(item, Garbled):
                rejects.append(self._count_garbled(item))
                continue
            rejects += self._counts.count_record(item, self._hour, self._mac, self._acl_group)
            self._note_ids(item)
        self._counts.settle()
        return rejects

    def _count_garbled(self, garbled: Garbled) -> Reject:
        self._counts.garbled_bytes += garbled.end - garbled.start
        return reject_garbled(garbled)

    def _note_ids(self, record: Record) -> None:
        self.resource_id = record.resource_id or self.resource_id
        self.target_id = record.target_id or self.target_id

    def _write_back(self) -> None:
        """Make the counts complete, if columns have counted."""
        if self._columns:
            self._columns.write_back()
            self._columns = None

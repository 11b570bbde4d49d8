"""Bytes → whole records, many at a time, whose arrays of tuples stay bytes: the reader for large stretches.

Theory of operation
-------------------
Nearly all of a record is its tuples. So each array of tuples is cut out, unread, and a number that occurs
nowhere else, the *mark*, is put in its place. What is left, the *skeleton*, is decoded and read like any
record. Where the decoder finds a mark, it puts back what was cut out there. As a document is decoded from its
beginning to its end, each array comes back where it stood, if the record that is read has all of them.

Most arrays are the last thing in an object that has one other key: ``{"rule":"…","flowTuples":[…]}``. Then
the whole object is cut out, so that the decoder has less to do. What stands between two arrays recurs, and is
looked at only once.

An array is cut out from ``["`` to the next ``]``, on trust: that is right if it is *plain*, strings of
``[0-9A-Za-z.:,_-]`` with nothing between them but commas. Whoever reads the tuples finds out if it isn't
(``NotPlainError``). From then on the reader is ``careful``, up to the end of what it was fed: it looks at
each array before it cuts it out. It turns careful by itself where it meets bytes that seem to be a record and
aren't.

Whatever isn't exactly so is read by ``records.Scan``. So the items are the same, whoever reads them, and so
are the positions after each.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from shared.flowlog import records
from shared.flowlog.reasons import Rejected
from shared.flowlog.records import Garbled, Record, RecordReader

BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of records that are read together: enough for whole columns, few enough for the caches."""

BATCH_ITEMS = 10_000
"""Items that are read together, at most: garbage may have one in every two bytes."""

_LOOK_AHEAD = 64 * 1024
"""Bytes between two arrays; where there are more, ``records.Scan`` reads."""

_SHORT = 1024
"""Bytes between two arrays that are remembered, so that they are looked at once."""

_MARK = "727051389460000001"
_MARK_BYTES = _MARK.encode()

_SEPARATORS = re.compile(records.SEPARATORS.pattern.encode("latin-1"), re.IGNORECASE)
_RECORD_START = re.compile(records.RECORD_START.pattern.encode(), re.IGNORECASE)
_ARRAY_START = re.compile(rb'"flowTuples":\["', re.IGNORECASE)
_GROUP_START = re.compile(rb'\{"(rule|mac)":"([ !#-\[\]-~]*)",\Z', re.IGNORECASE)
_PLAIN = re.compile(rb'"(?!,")[0-9A-Za-z.:,_-]*"(?:,"(?!,")[0-9A-Za-z.:,_-]*")*+')
_QUOTE = ord('"')


class NotPlainError(Exception):
    """An array isn't plain, or it can't be cut out for another reason."""


def is_plain(array: bytes) -> bool:
    """Whether these are JSON strings that mean what they show, with commas between them.

    The string ``","`` is left out: it looks like the joint between two.
    """
    return _PLAIN.fullmatch(array) is not None


class _Between(NamedTuple):
    """What stands between two arrays: where a record begins in it, or -1. If it ends in the beginning of an
    object, with one key and its value: what stands before the object, the key and the value.
    """

    record_at: int
    before_group: bytes = b""
    key: str = ""
    value: str = ""


@lru_cache(maxsize=1024)
def _look(text: bytes, since: int) -> _Between:
    """Look at what stands between two arrays. A record may begin from byte ``since`` on."""
    record = _RECORD_START.search(text, since)
    record_at = record.start() if record else -1
    group = _GROUP_START.match(text, max(text.rfind(b"{"), 0))
    if not group:
        return _Between(record_at)
    return _Between(record_at, text[: group.start()], group[1].decode().lower(), group[2].decode())


def _decode(skeleton: str, cut_out: list[object]) -> tuple[Any, int]:
    """The document that a skeleton begins with, with what was cut out in its place, and where it ends."""
    values = iter(cut_out)

    def number(digits: str) -> object:
        return next(values, None) if digits == _MARK else int(digits)

    return records.decoder(number).raw_decode(skeleton)


class BatchReader(RecordReader):
    """A reader that can also be asked for batches: ``add``, then ``next_batch`` and ``go_on`` by turns."""

    def __init__(self, position: int = 0) -> None:
        super().__init__(position)
        self._careful = False
        self._array_start = b""
        self._array_at = -1

    def add(self, data: bytes, *, last: bool = True) -> bool:
        """Take the bytes that follow; whether it is time to ask for batches (see ``RecordReader.feed``)."""
        if data:
            self._careful, self._array_at = False, -1
        return super().add(data, last=last)

    def be_careful(self) -> None:
        """Look at each array before it is cut out, up to the end of what was fed."""
        self._careful, self._array_at = True, -1

    def next_batch(self) -> list[Record | Garbled]:
        """The next items; none if no more is whole. Records whose arrays are bytes are of one grammar."""
        items: list[Record | Garbled] = []
        first = at = self.position - self._data_start
        grammar = None
        while at - first < BATCH_BYTES and len(items) < BATCH_ITEMS:
            if record := self._cut(at):
                if grammar is None:
                    grammar = record.grammar
                elif grammar != record.grammar:
                    break
                items.append(record)
            elif item := self._next(at):
                items.append(item)
            else:
                break
            at = items[-1].end - self._data_start
        return items

    def go_on(self, items: list[Record | Garbled]) -> None:
        """Pass what ``next_batch`` gave."""
        if items:
            self._pass(items[-1])
        else:
            self._wait()

    def _cut(self, at: int) -> Record | None:
        """The record that comes next, if it is one whose arrays can be cut out."""
        separators = _SEPARATORS.match(self._data, at, at + records.LONGEST_GAP)
        start = separators.end() if separators else at
        if start - at == records.LONGEST_GAP or not _RECORD_START.match(self._data, start):
            return None
        if not self._careful:
            try:
                return self._cut_from(start)
            except NotPlainError:
                self.be_careful()
        try:
            return self._cut_from(start)
        except NotPlainError:
            return None

    def _cut_from(self, start: int) -> Record:
        """The record that seems to begin at ``start``; ``NotPlainError`` if its arrays can't be cut out."""
        data = self._data
        pieces: list[bytes] = []
        cut_out: list[object] = []
        at, since = start, 1
        while True:
            array_at = self._next_array(at)
            limit = min(array_at, at + _LOOK_AHEAD)
            between = self._between(at, limit, since)
            if between.record_at >= 0 or array_at > limit or array_at == len(data):
                break
            begin = array_at + len(self._array_start) - 1
            end = self._array_end(begin, start + records.LONGEST_RECORD)
            array = data[begin:end]
            if between.key and data.startswith(b"]}", end):
                pieces.append(between.before_group)
                cut_out.append({between.key: between.value, "flowtuples": array})
                at = end + 2
            else:
                pieces.append(data[at : begin - 1])
                cut_out.append(array)
                at = end + 1
            since = 0
        if between.record_at < 0 and limit < len(data):
            raise NotPlainError
        end = at + between.record_at if between.record_at >= 0 else limit
        pieces.append(data[at:end])
        return self._put_together(start, end, _MARK_BYTES.join(pieces), cut_out)

    def _between(self, at: int, limit: int, since: int) -> _Between:
        """What stands between two arrays, from ``at`` to ``limit``."""
        if limit - at <= _SHORT:
            return _look(self._data[at:limit], since)
        record = _RECORD_START.search(self._data, at + since, limit)
        return _Between(record.start() - at if record else -1)

    def _next_array(self, at: int) -> int:
        """Where the next array of tuples begins; the end of the data if none does. Looks at no byte twice.

        How the key is spelled is what the first one shows.
        """
        if self._array_at < at:
            data = self._data
            if self._array_at < 0:
                spelled = _ARRAY_START.search(data, at)
                self._array_start = spelled[0] if spelled else b""
                self._array_at = spelled.start() if spelled else len(data)
            else:
                found = data.find(self._array_start, at)
                self._array_at = found if found >= 0 else len(data)
        return self._array_at

    def _array_end(self, begin: int, limit: int) -> int:
        """Where the array ends whose first quote is at ``begin``: at its closing bracket."""
        data = self._data
        if self._careful:
            plain = _PLAIN.match(data, begin)
            if not plain or data[plain.end() : plain.end() + 1] != b"]":
                raise NotPlainError
            return plain.end()
        end = data.find(b"]", begin, limit)
        if end < begin + 2 or data[end - 1] != _QUOTE:
            raise NotPlainError
        return end

    def _put_together(self, start: int, end: int, skeleton: bytes, cut_out: list[object]) -> Record:
        """The record of this skeleton, between ``start`` and ``end``, with what was cut out in its place."""
        try:
            document, length = _decode(skeleton.decode("latin-1"), cut_out)
            if not skeleton[:length].isascii():
                document, _ = _decode(skeleton[:length].decode("utf-8"), cut_out)
            end -= len(skeleton) - length
            record = records.read_record(self._data[start:end], self._data_start + start, document)
        except (ValueError, RecursionError, Rejected):
            raise NotPlainError from None
        found = sum(isinstance(group.array, bytes) for group in record.groups)
        lost = found != len(cut_out) or skeleton.count(_MARK_BYTES) != len(cut_out)
        if lost or record.grammar == "nsg" or end - start > records.LONGEST_RECORD:
            raise NotPlainError
        return record

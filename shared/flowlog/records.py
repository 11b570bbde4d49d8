"""Bytes of a growing blob → whole records, and where to read on.

Theory of operation
-------------------
A blob is ``{"records":[R,R,…]}``, committed again every minute with more records before the closing
``]}``. So whatever is read is a *stretch* of it: from the end of the last record read to the end that
the blob had just then, or to the end of a window. The reader is fed such stretches, in order, and does no
I/O itself.

At any position one of two things comes next: *separators* (white space, commas, wrappers that open or
close, a byte-order mark), which are passed over, or an *item*. An item is a record, or it is garbled:
bytes that are no record, up to the next place where one begins. A record begins where an object's first key
is one that only records have, so a stretch that is cut off or overwritten costs itself and nothing else.

What is at the end of a stretch and neither complete nor followed by a record is left alone: it may be the
half of a record. ``position`` stays before it, ``unread`` says how many bytes it has. So the items, and the
position after each, depend on the blob's bytes alone, never on how they were cut up; the tests feed every
blob whole, byte by byte and in random pieces.

A record is decoded once, by the ``json`` module, through Latin-1, where one byte is one character, so that
the end that the decoder reports is a byte's position. What isn't plain ASCII is then decoded once more.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.flowlog.blob_name import UNKNOWN_MAC, shortened
from shared.flowlog.reasons import Reason, Rejected
from shared.flowlog.tuples import Grammar

LONGEST_RECORD = 8 * 1024 * 1024
"""Bytes. Network Watcher's records have about 32 kB; 250 times that is no record but a hole."""

UNREAD = Reason.UNREAD

LONGEST_NAME = 1024
"""Characters of a rule's or resource's name. Azure's own limits are a tenth of that."""

LONGEST_GAP = 1024 * 1024
"""Bytes between two records; where more say nothing, they are passed by as garbled."""

LONGEST_TAIL = 64
"""Bytes. They are read again with every update, so they are few."""

SEPARATORS = re.compile(
    r'(?:[ \t\r\n,]+|\][ \t\r\n]*\}|\{[ \t\r\n]*"records"[ \t\r\n]*:[ \t\r\n]*\[|\xef\xbb\xbf)*',
    re.IGNORECASE | re.ASCII,
)
RECORD_START = re.compile(
    r'\{[ \t\r\n]*"(?:time|systemId|macAddress|category|resourceId|operationName|properties'
    r'|flowLogVersion|flowLogGUID|flowLogResourceID|targetResourceID|flowRecords)"[ \t\r\n]*:',
    re.IGNORECASE | re.ASCII,
)


class RuleTuples(NamedTuple):
    """What one rule saw: one ``flowTuples`` array, its tuples not yet read.

    ``acl_group``: v4 ``aclID`` in lower case; empty for NSG logs, whose records are all of one NSG.
    ``array``: its elements, or what is written between its brackets, where nothing but strings is.
    ``mac``: the interface as the record names it, whatever stands there.
    """

    acl_group: str
    rule: str
    array: list[object] | bytes
    mac: object = None

    @property
    def tuples(self) -> list[object]:
        """The array's elements."""
        if isinstance(self.array, list):
            return self.array
        elements: list[object] = json.loads(b"[%b]" % self.array)
        return elements

    def mac_in(self, blob_mac: str) -> str:
        """The interface: the blob's, or the one that the record names if the blob's isn't known."""
        if blob_mac != UNKNOWN_MAC:
            return blob_mac
        mac = self.mac.replace("-", "").upper() if isinstance(self.mac, str) else ""
        return mac if _MAC.fullmatch(mac) else UNKNOWN_MAC


@dataclass(frozen=True, slots=True)
class Record:
    """One record: bytes ``start`` to ``end`` of the blob. ``time`` is ``None`` where it can't be read.

    ``resource_id`` is the NSG or the flow log, ``target_id`` what is watched (the NSG; v4: a VNet, subnet
    or NIC); empty where the record doesn't say.
    """

    start: int
    end: int
    source: bytes
    time: datetime | None
    grammar: Grammar
    resource_id: str
    target_id: str
    groups: list[RuleTuples]


_NSG_GRAMMARS: dict[object, Grammar] = {None: "nsg", 1: "nsg-v1", 2: "nsg-v2"}
_MAC = re.compile("[0-9A-F]{12}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}(?:\.0*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Garbled:
    """Bytes ``start`` to ``end`` of the blob that are no record; ``sample`` is their beginning."""

    start: int
    end: int
    reason: Reason
    sample: bytes


class RecordReader:
    """Reads records from stretches of a blob's bytes, fed in order.

    ``position`` is the byte *after* the last item read: before the next comma, before the closing ``]}``.
    Reading on later from there gives what reading on at once would have given. ``tail`` is the end of that
    item: where it doesn't stand before ``position`` any more, the blob is another one.
    """

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.tail = b""
        self._data = b""
        self._data_start = position
        self._wait_for = 0
        self._scan: Scan | None = None

    def feed(self, data: bytes, *, last: bool = True) -> Iterator[Record | Garbled]:
        """Take the bytes that follow those fed before, and give the items that are whole now.

        With ``last=False`` more is to be fed at once: a long record then isn't tried again with every
        piece, but only when there is twice as much of it.
        """
        if not self.add(data, last=last):
            return
        while item := self._next(self.position - self._data_start):
            self._pass(item)
            yield item
        self._wait()

    def add(self, data: bytes, *, last: bool = True) -> bool:
        """Take the bytes that follow; whether it is time to look for items."""
        if data:
            self._data = self._data[self.position - self._data_start :] + data
            self._data_start = self.position
            self._scan = None
        return last or self.waiting >= self._wait_for

    @property
    def waiting(self) -> int:
        """How many bytes were fed and are no item yet."""
        return len(self._data) - (self.position - self._data_start)

    def _next(self, at: int) -> Record | Garbled | None:
        """The item that comes next at byte ``at`` of what was fed; ``None`` while that can't be told."""
        if self._scan is None:
            self._scan = Scan(self._data.decode("latin-1"))
        found = self._scan.next_item(at)
        if found is None:
            return None
        start, end, document = found
        return _read_item(self._data[start:end], self._data_start + start, document)

    def _pass(self, item: Record | Garbled) -> None:
        self.position = item.end
        self._wait_for = 0
        end = item.end - self._data_start
        self.tail = self._data[max(item.start - self._data_start, end - LONGEST_TAIL) : end]

    def _wait(self) -> None:
        self._wait_for = min(2 * self.waiting, LONGEST_RECORD)
        self._scan = None

    def unread(self) -> Garbled | None:
        """What was fed and is no item yet, without the separators around it; ``None`` if nothing is left.

        If the blob ends here, these bytes can't be read.
        """
        at = self.position
        text = self._data[at - self._data_start :].decode("latin-1")
        start = _separators_end(text, 0)
        text = _without_separators_after(text)
        if start >= len(text):
            return None
        return Garbled(
            at + start, at + len(text), Reason.UNREAD, text[start : start + 1024].encode("latin-1")
        )


type _Found = Any  # the document that was decoded, or the Reason why none was


def _without_separators_after(text: str) -> str:
    end = len(text)
    while True:
        while end and text[end - 1] in " \t\r\n,":
            end -= 1
        inner = end - 1
        while inner > 0 and text[inner - 1] in " \t\r\n":
            inner -= 1
        if inner < 1 or text[end - 1] != "}" or text[inner - 1] != "]":
            return text[:end]
        end = inner - 1


def _separators_end(text: str, at: int) -> int:
    found = SEPARATORS.match(text, at, at + LONGEST_GAP)
    return found.end() if found else at


class Scan:
    """Finds the items of a text, one after another; looks for the beginnings of records only once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._segment = ""
        self._segment_start = 0
        self._following: re.Match[str] | None = None
        self._segment_end = 0

    def next_item(self, at: int) -> tuple[int, int, _Found] | None:
        """The next item's start, end and document; ``None`` while that can't be told.

        No item contains the beginning of another record, even if it would be JSON: a record that is cut off
        inside an array would swallow those that follow.
        """
        text = self.text
        start = _separators_end(text, at)
        if start - at == LONGEST_GAP:
            return at, start, Reason.SEPARATORS
        if start == len(text):
            return None
        self._find_following(start)
        limit = start + LONGEST_RECORD
        if text[start] == "{":
            try:
                document, end = DECODER.raw_decode(self._segment, start - self._segment_start)
            except (ValueError, RecursionError):
                pass
            else:
                end += self._segment_start
                if end <= limit:
                    return start, end, document
        if self._following and self._following.end() <= limit:
            garbled = text[start : self._segment_end].rstrip(" \t\r\n,")
            return start, start + len(garbled), _why_not(garbled)
        if len(text) >= limit:
            return start, limit, Reason.NO_END
        return None

    def _find_following(self, start: int) -> None:
        """Make the segment that of ``start``: up to where the next record begins, if one does."""
        if self._segment_start <= start < self._segment_end:
            return
        self._following = RECORD_START.search(self.text, start + 1)
        self._segment_start = start
        self._segment_end = self._following.start() if self._following else len(self.text)
        self._segment = self.text[start : self._segment_end]


def _why_not(text: str) -> Reason:
    """Why these bytes, taken for themselves, are no record."""
    try:
        DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return _why_not_json(error)
    return Reason.NO_OBJECT


def _why_not_json(error: Exception) -> Reason:
    return Reason.KEY_TWICE if error.args == (Reason.KEY_TWICE,) else Reason.NOT_JSON


def _read_item(source: bytes, start: int, found: _Found) -> Record | Garbled:
    """The item that ``Scan.next_item`` found: its bytes, where they are in the blob, and what they say."""
    end = start + len(source)
    if isinstance(found, Reason):
        return Garbled(start, end, found, source[:1024])
    try:
        if not source.isascii():
            found = DECODER.decode(source.decode("utf-8"))
        return read_record(source, start, found)
    except UnicodeDecodeError:
        reason = Reason.NOT_UTF8
    except ValueError as error:
        reason = _why_not_json(error)
    except Rejected as error:
        reason = error.reason
    return Garbled(start, end, reason, source[:1024])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys in lower case, as their case varies; a key that stands twice would hide what it stood for."""
    document = {key.lower(): value for key, value in pairs}
    if len(document) != len(pairs):
        raise ValueError(Reason.KEY_TWICE)
    return document


def decoder(whole_number: Callable[[str], object] = int) -> json.JSONDecoder:
    """A decoder for records; ``whole_number`` makes a value of a whole number's digits."""
    return json.JSONDecoder(object_pairs_hook=_object, parse_int=whole_number)


DECODER = decoder()


def read_record(source: bytes, start: int, document: dict[str, Any]) -> Record:
    """The record that a document, as a decoder gives it, is; ``Rejected`` if it is none.

    Its arrays of tuples are lists or, where they were cut out, bytes.
    """
    try:
        if "flowrecords" in document:
            if _version(document.get("flowlogversion")) not in {None, 4}:
                raise Rejected(Reason.VNET_VERSION)
            grammar: Grammar = "vnet-v4"
            mac = document.get("macaddress")
            groups = [
                RuleTuples(acl, _name(group["rule"]), _array_of(group), mac)
                for flow in _list_of(document["flowrecords"]["flows"])
                for acl in [_name(flow["aclid"]).lower()]
                for group in _list_of(flow["flowgroups"])
            ]
        elif "properties" in document:
            properties = document["properties"]
            version = _version(properties.get("version"))
            if version not in _NSG_GRAMMARS:
                raise Rejected(Reason.NSG_VERSION)
            grammar = _NSG_GRAMMARS[version]
            groups = [
                RuleTuples("", rule, _array_of(inner), inner.get("mac"))
                for flow in _list_of(properties["flows"])
                for rule in [_name(flow["rule"])]
                for inner in _list_of(flow["flows"])
            ]
        else:
            raise Rejected(Reason.NO_RECORD)
    except (KeyError, TypeError, AttributeError):
        raise Rejected(Reason.STRUCTURE) from None
    of_nsg = document.get("resourceid")
    return Record(
        start=start,
        end=start + len(source),
        source=source,
        time=record_time(document.get("time")),
        grammar=grammar,
        resource_id=_resource(document.get("flowlogresourceid", of_nsg)),
        target_id=_resource(document.get("targetresourceid", of_nsg)),
        groups=groups,
    )


def _array_of(group: dict[str, Any]) -> list[object] | bytes:
    array = group["flowtuples"]
    return array if isinstance(array, bytes) else _list_of(array)


def _list_of(value: object) -> list[Any]:
    """The value, if it is an array; else ``TypeError``."""
    if isinstance(value, list):
        return value
    raise TypeError


def _name(value: object) -> str:
    """A name as a table can hold it: what is longer than a name can be ends in a digest of itself, and half a
    character (a lone surrogate) is written as JSON does.
    """
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii():
        value = value.encode("utf-8", "backslashreplace").decode()
    return value if len(value) <= LONGEST_NAME else shortened(value, LONGEST_NAME)


def _resource(value: object) -> str:
    """A resource id, for information only: empty where it is none."""
    return _name(value) if isinstance(value, str) and len(value) <= LONGEST_NAME else ""


def _version(value: object) -> object:
    """The number, also where it was written as text; ``value`` itself where it is none."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return float(value)
    return value if value is None or type(value) in {int, float} else repr(value)


def record_time(value: object) -> datetime | None:
    """When a record says that it was written; ``None`` where that can't be read."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None:
            return None
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None

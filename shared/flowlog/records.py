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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.flowlog.reasons import Reason, Rejected
from shared.flowlog.tuples import Grammar

LONGEST_RECORD = 8 * 1024 * 1024
"""Bytes. Network Watcher's records have about 32 KB; 250 times that is no record but a hole."""

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


@dataclass(frozen=True, slots=True)
class RuleTuples:
    """What one rule saw: the elements of one ``flowTuples`` array, not yet read.

    ``acl_group``: v4 ``aclID`` in lower case; empty for NSG logs, whose records are all of one NSG.
    """

    acl_group: str
    rule: str
    tuples: list[object]


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

    def feed(self, data: bytes, *, last: bool = True) -> Iterator[Record | Garbled]:
        """Take the bytes that follow those fed before, and give the items that are whole now.

        With ``last=False`` more is to be fed at once: a long record then isn't tried again with every
        piece, but only when there is twice as much of it.
        """
        self._data = self._data[self.position - self._data_start :] + data
        self._data_start = base = self.position
        if not last and len(self._data) < self._wait_for:
            return
        text = self._data.decode("latin-1")
        scan = Scan(text)
        at = 0
        while item := scan.next_item(at):
            start, at, found = item
            self.position = base + at
            self.tail = self._data[max(start, at - LONGEST_TAIL) : at]
            yield read_item(self._data[start:at], base + start, found)
        self._wait_for = min(2 * (len(text) - at), LONGEST_RECORD)

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


def read_item(source: bytes, start: int, found: _Found) -> Record | Garbled:
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


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_record(source: bytes, start: int, document: dict[str, Any]) -> Record:
    """The record that a document, as ``DECODER`` gives it, is; ``Rejected`` if it is none."""
    if "flowrecords" in document:
        grammar: Grammar = "vnet-v4"
        if _version(document, "flowlogversion") not in {None, 4}:
            raise Rejected(Reason.VNET_VERSION)
        groups = [
            RuleTuples(acl.lower(), _text(group, "rule"), _list(group, "flowtuples"))
            for flow in _list(_dict(document["flowrecords"]), "flows")
            for acl in [_text(flow, "aclid")]
            for group in _list(_dict(flow), "flowgroups")
        ]
        resource_id = document.get("flowlogresourceid")
        target_id = document.get("targetresourceid")
    elif "properties" in document:
        properties = _dict(document["properties"])
        known: dict[float | str | None, Grammar] = {None: "nsg", 1: "nsg-v1", 2: "nsg-v2"}
        version = _version(properties, "version")
        if version not in known:
            raise Rejected(Reason.NSG_VERSION)
        grammar = known[version]
        groups = [
            RuleTuples("", rule, _list(inner, "flowtuples"))
            for flow in _list(properties, "flows")
            for rule in [_text(flow, "rule")]
            for inner in _list(_dict(flow), "flows")
        ]
        resource_id = target_id = document.get("resourceid")
    else:
        raise Rejected(Reason.NO_RECORD)
    return Record(
        start=start,
        end=start + len(source),
        source=source,
        time=record_time(document.get("time")),
        grammar=grammar,
        resource_id=_resource(resource_id),
        target_id=_resource(target_id),
        groups=groups,
    )


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Rejected(Reason.OBJECT_EXPECTED)
    return value


def _list(parent: object, key: str) -> list[Any]:
    value = _dict(parent).get(key)
    if not isinstance(value, list):
        raise Rejected(Reason.ARRAY_EXPECTED)
    return value


def _text(parent: object, key: str) -> str:
    """A name: text that a table can hold, and of a length that a name can have."""
    value = _dict(parent).get(key)
    if not isinstance(value, str):
        raise Rejected(Reason.NAME_EXPECTED)
    if len(value) > LONGEST_NAME:
        raise Rejected(Reason.LONG_NAME)
    if not _is_unicode(value):
        raise Rejected(Reason.HALF_CHARACTER)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _resource(value: object) -> str:
    """A resource id, for information only: empty where it is none."""
    fits = isinstance(value, str) and len(value) <= LONGEST_NAME and _is_unicode(value)
    return str(value) if fits else ""


def _version(parent: dict[str, Any], key: str) -> float | str | None:
    """The number, also where it was written as text."""
    value = parent.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    try:
        return float(value) if isinstance(value, str) else repr(value)
    except ValueError:
        return repr(value)


def record_time(value: object) -> datetime | None:
    """When a record says that it was written; ``None`` where that can't be read."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is None:
            return None
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None

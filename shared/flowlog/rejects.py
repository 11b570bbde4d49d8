"""What a log holds that can't be counted: where it stands, why, what it looks like, and how much of it.

A ``Reject`` is an event of the reading. ``RejectCounts`` accumulates rejects by reason, and packs into few
bytes whatever the log holds; the log itself has the rest, and reading it again gives every reject.
"""

import json
import re
import struct
from array import array
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from shared.errors import MalformedInput
from shared.flowlog.reasons import Reason
from shared.flowlog.records import Garbled, Record

LONGEST_SAMPLE = 960
"""Bytes, as UTF-8."""

MOST_PACKED = 32 * 1024
"""Bytes that packed counts have at the most."""


# Events


@dataclass(frozen=True, slots=True)
class Reject:
    """``count`` rejected tuples of one record, the first of which has bytes ``start`` to ``end`` of the blob.

    Where ``count`` is 0, these bytes are no record. ``sample`` is the beginning of what stands there.
    """

    start: int
    end: int
    reason: Reason
    count: int
    sample: str


def reject_garbled(garbled: Garbled) -> Reject:
    """A stretch that is no record."""
    return Reject(garbled.start, garbled.end, garbled.reason, 0, _sample(garbled.sample))


def reject_tuples(record: Record, rejected: Sequence[tuple[object, Reason]]) -> list[Reject]:
    """The tuples of a record that break the grammar: one ``Reject`` for each reason, with its first tuple.

    ``rejected`` is in the order of the record, and has every element that is equal to one it has.
    """
    counts = Counter(reason for _, reason in rejected)
    firsts: dict[Reason, Reject] = {}
    places = TuplePlaces(record)
    elements = [element for group in record.groups for element in group.tuples]
    number = 0
    for element, reason in rejected:
        while number < len(elements) and elements[number] is not element and elements[number] != element:
            number += 1
        if reason not in firsts:
            firsts[reason] = places.reject(number, element, reason, counts[reason])
            if len(firsts) == len(counts):
                break
        number += 1
    return [*firsts.values()]


def _sample(written: bytes) -> str:
    if len(written) <= LONGEST_SAMPLE and written.isascii():
        return written.decode()
    decoder = getincrementaldecoder("utf-8")("backslashreplace")
    text = decoder.decode(written[:LONGEST_SAMPLE], final=len(written) <= LONGEST_SAMPLE)
    return text.encode()[:LONGEST_SAMPLE].decode("utf-8", "ignore")


# Where tuples stand

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]|[^\[\]{}:," \t\r\n]+', re.DOTALL)

type _Path = list[str | None]
"""The keys under which an array and what it stands in are found; ``None`` for what is in an array."""

_NSG_TUPLES: _Path = [None, "properties", "flows", None, "flows", None, "flowtuples"]
_VNET_TUPLES: _Path = [None, "flowrecords", "flows", None, "flowgroups", None, "flowtuples"]


class TuplePlaces:
    """Where the elements of a record's arrays of tuples stand, numbered through in the order of the record.

    They are looked for once, when the first is asked for. Where a key stands twice, the record may have more
    arrays than are read: then its elements are taken to be as wide as the record.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._places: array[int] | None = None

    def reject(self, number: int, element: object, reason: Reason, count: int = 1) -> Reject:
        """The ``Reject`` for the element of this number, and for ``count - 1`` others."""
        record = self._record
        if self._places is None:
            path = _VNET_TUPLES if record.grammar == "vnet-v4" else _NSG_TUPLES
            self._places = _places_of_tuples(record.source, path)
            if len(self._places) != 2 * sum(len(group.tuples) for group in record.groups):
                self._places = array("q")
        start, end = self._places[2 * number : 2 * number + 2] or (0, len(record.source))
        written = (
            record.source[start:end] if self._places else repr(element).encode("utf-8", "backslashreplace")
        )
        return Reject(record.start + start, record.start + end, reason, count, _sample(written))


def _places_of_tuples(source: bytes, path: _Path) -> "array[int]":
    """From and to which byte each element of the arrays of this path goes: two numbers an element."""
    places = array("q")
    around: _Path = []
    starts: list[int] = []
    key: str | None = None
    written = b""
    for token in _TOKEN.finditer(source):
        before, written = written, token[0]
        match written:
            case b"[" | b"{":
                around.append(key)
                starts.append(token.start())
                key = None
            case b"]" | b"}":
                around.pop()
                start = starts.pop()
                if around == path:
                    places.extend((start, token.end()))
            case b":":
                key = json.loads(before).lower() if len(around) < len(path) else None
            case b",":
                key = None
            case _ if around == path:
                quote = written.startswith(b'"')
                places.extend((token.start() + quote, token.end() - quote))
    return places


# Counts

_PLACE = attrgetter("start", "end", "sample")
"""Orders rejects, and counts of them, by where they stand; the sample decides between two of one place."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """What was rejected for one reason: so many tuples, or so many stretches with ``garbled_bytes`` together.

    ``start`` and ``end`` are the bytes of the first in the blob, ``sample`` is the beginning of it.
    """

    count: int
    garbled_bytes: int
    start: int
    end: int
    sample: str

    def __add__(self, other: "ReasonCount") -> "ReasonCount":
        first = min(self, other, key=_PLACE)
        return replace(
            first, count=self.count + other.count, garbled_bytes=self.garbled_bytes + other.garbled_bytes
        )


class RejectCounts:
    """How much of a blob was rejected, by reason, with the first place and a sample of each.

    In what order rejects are added makes no difference.
    """

    __slots__ = ("by_reason",)

    def __init__(self, by_reason: Mapping[Reason, ReasonCount] | None = None) -> None:
        self.by_reason = dict(by_reason or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RejectCounts) and self.by_reason == other.by_reason

    __hash__ = None  # type: ignore[assignment]

    def add(self, rejects: Iterable[Reject]) -> None:
        """Count these rejects, too."""
        by_reason: dict[Reason, list[Reject]] = {}
        for reject in rejects:
            by_reason.setdefault(reject.reason, []).append(reject)
        for reason, some in by_reason.items():
            first = min(some, key=_PLACE)
            more = ReasonCount(
                sum(one.count or 1 for one in some),
                sum(one.end - one.start for one in some if not one.count),
                first.start,
                first.end,
                first.sample,
            )
            before = self.by_reason.get(reason)
            self.by_reason[reason] = before + more if before else more

    @property
    def tuples(self) -> int:
        """Rejected tuples."""
        return sum(each.count for each in self.by_reason.values() if not each.garbled_bytes)

    @property
    def garbled_bytes(self) -> int:
        """Bytes that are no record."""
        return sum(each.garbled_bytes for each in self.by_reason.values())

    def pack(self) -> bytes:
        """These counts in at most ``MOST_PACKED`` bytes; none if nothing was rejected.

        A byte with the format's version; then for each reason its name, which a byte with its length
        precedes, the numbers as ``_NUMBERS`` has them, and the sample.
        """
        packed = bytearray()
        for reason in sorted(self.by_reason, key=lambda reason: reason.name):
            each = self.by_reason[reason]
            sample = each.sample.encode()
            packed += bytes([len(reason.name)]) + reason.name.encode()
            packed += _NUMBERS.pack(each.count, each.garbled_bytes, each.start, each.end, len(sample))
            packed += sample
        return bytes([_VERSION]) + packed if packed else b""

    @classmethod
    def unpack(cls, packed: bytes) -> "RejectCounts":
        """The counts that were packed; ``MalformedInput`` if these bytes are no such counts."""
        by_reason: dict[Reason, ReasonCount] = {}
        try:
            if packed and packed[0] != _VERSION:
                raise ValueError(f"version {packed[0]} is unknown")  # noqa: TRY301
            at = 1
            while at < len(packed):
                name_end = at + 1 + packed[at]
                reason = Reason[packed[at + 1 : name_end].decode()]
                count, garbled_bytes, start, end, length = _NUMBERS.unpack_from(packed, name_end)
                at = name_end + _NUMBERS.size + length
                sample = packed[at - length : at].decode()
                by_reason[reason] = ReasonCount(count, garbled_bytes, start, end, sample)
            counts = cls(by_reason)
            if counts.pack() != packed:
                raise ValueError("they are cut off or damaged")  # noqa: TRY301
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise MalformedInput(f"rejects can't be unpacked: {error}") from error
        return counts


_VERSION = 1
_NUMBERS = struct.Struct("<QQQQH")
"""Count, garbled bytes, the first place's start and end, and the length of the sample in bytes."""

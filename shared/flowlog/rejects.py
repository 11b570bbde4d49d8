"""What a log holds that can't be counted, kept so that nothing is lost: where, why, what it looks like."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from shared.flowlog.records import Garbled, Record

LONGEST_SAMPLE = 1024
"""Bytes, as UTF-8."""

_ARRAY = re.compile(rb'"flowTuples"[ \t\r\n]*:[ \t\r\n]*\[', re.IGNORECASE)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes ``start`` to ``end`` of a blob, with ``count`` rejected tuples (0: they are no record)."""

    start: int
    end: int
    reason: str
    count: int
    sample: str


def reject_garbled(garbled: Garbled) -> Reject:
    """A stretch that is no record."""
    return Reject(garbled.start, garbled.end, garbled.reason, 0, _sample(garbled.sample))


def reject_tuples(record: Record, rejected: Iterable[tuple[object, str]]) -> list[Reject]:
    """The tuples of a record that break the grammar, as ``(tuple, reason)``: one ``Reject`` for each reason,
    from its first tuple to its last.

    ``rejected`` is in the order of the record. What isn't found there (a number where a tuple should be) is
    placed as wide as its record. No two rejects start at the same byte.
    """
    by_reason: dict[str, Reject] = {}
    written = [*_strings_of_tuples(record.source)]
    passed = 0
    for element, reason in rejected:
        place = None
        for number in range(passed, len(written)):
            if written[number][2] == element:
                place, passed = written[number], number + 1
                break
        if place:
            start, end = record.start + place[0], record.start + place[1]
            sample = record.source[place[0] : place[1]]
        else:
            start, end, sample = record.start, record.end, repr(element).encode("utf-8", "backslashreplace")
        reject = Reject(start, end, reason, 1, _sample(sample))
        by_reason[reason] = _join(by_reason[reason], reject) if reason in by_reason else reject
    by_start: dict[int, Reject] = {}
    for reject in by_reason.values():
        at = reject.start
        by_start[at] = _join(by_start[at], reject) if at in by_start else reject
    return sorted(by_start.values(), key=lambda reject: reject.start)


def _join(one: Reject, other: Reject) -> Reject:
    return Reject(
        min(one.start, other.start),
        max(one.end, other.end),
        one.reason if other.reason in one.reason else f"{one.reason}; {other.reason}",
        one.count + other.count,
        one.sample,
    )


def _strings_of_tuples(source: bytes) -> Iterator[tuple[int, int, str]]:
    """The strings in a record's arrays of tuples, in order: from and to which byte, and what they say."""
    for array in _ARRAY.finditer(source):
        depth = 1
        for token in _TOKEN.finditer(source, array.end()):
            depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
            if depth == 0:
                break
            if depth == 1 and token[0].startswith(b'"'):
                with suppress(ValueError):
                    yield token.start() + 1, token.end() - 1, json.loads(token[0])


def _sample(written: bytes) -> str:
    text = written[:LONGEST_SAMPLE].decode("utf-8", "backslashreplace")
    return text.encode()[:LONGEST_SAMPLE].decode("utf-8", "ignore")

"""What a log holds that can't be counted, kept so that nothing is lost: where, why, what it looks like."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.flowlog.records import Garbled, Record

LONGEST_SAMPLE = 1024


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

    A tuple that isn't found as it was decoded (escapes, numbers) is placed as wide as its record. No two
    start at the same byte.
    """
    by_reason: dict[str, Reject] = {}
    searched = 0
    for element, reason in rejected:
        written = element.encode("utf-8", "replace") if isinstance(element, str) else b""
        found = record.source.find(b'"' + written + b'"', searched) if isinstance(element, str) else -1
        if found >= 0:
            searched = found + 1
            start, end = record.start + found + 1, record.start + found + 1 + len(written)
        else:
            start, end, written = record.start, record.end, repr(element).encode("utf-8", "replace")
        reject = Reject(start, end, reason, 1, _sample(written))
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


def _sample(written: bytes) -> str:
    return written[:LONGEST_SAMPLE].decode("utf-8", "backslashreplace")[:LONGEST_SAMPLE]

"""What has been written, in numbers: what a correct reader counts, and what is true of the traffic.

A flow's counters are four: packets and bytes from its source to its destination, packets and bytes back. In
VNet logs some traffic is stated more than once: after a restart a flow states all that has passed since it
began (see ``lives``). So the sum of all counters in a log is more than the traffic:

    logged = passed + restated        for each of the four

*Passed* is what went over the wire during the log. Where a flow was restarted before the log began, nothing
in the log says that its first counters restate anything: they are taken to have passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

type Counters = tuple[int, int, int, int]
"""Packets and bytes from source to destination, packets and bytes back."""

NOTHING: Counters = (0, 0, 0, 0)


def added(one: Counters, other: Counters) -> Counters:
    """Add four counters to four others."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def taken_from(one: Counters, other: Counters) -> Counters:
    """Take four counters out of four others."""
    return one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]


def bytes_of(counters: Sequence[int]) -> int:
    """The bytes of both ways."""
    return counters[1] + counters[3]


@dataclass(frozen=True, slots=True)
class Truth:
    """What has been written, and what of it is true of the traffic. Malformed tuples add to nothing but their
    own number.
    """

    tuples: int
    """Well-formed tuples."""
    malformed: int
    """Tuples that a reader has to reject."""
    records: int
    """Whole records."""
    garbled_bytes: int
    """Length of the stretches between records that are no records, without the comma before each."""
    began: int = 0
    """Flows that were allowed and really began."""
    restarted: int = 0
    """Restarts that stand in the log as such: an end and a begin, one right after the other in one array."""
    parted: int = 0
    """Restarts that don't: the end and the begin stand in two records, or one of them was filtered out."""
    passed: Counters = NOTHING
    """What really passed."""
    restated: Counters = NOTHING
    """What was stated again."""
    unseen: Counters = NOTHING
    """The part of what was stated again that no reader can know of: that of the parted restarts."""

    def __add__(self, other: "Truth") -> "Truth":
        return Truth(*(_sum(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)))


def _sum[T: (int, Counters)](one: T, other: T) -> T:
    if isinstance(one, int):
        return one + other
    return added(one, other)


ZERO = Truth(0, 0, 0, 0)

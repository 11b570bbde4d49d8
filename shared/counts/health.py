"""What was read of an hour's blobs, and what of them could not be counted (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.flowlog.reasons import Reason
from shared.tally.states import STATES, States

if TYPE_CHECKING:  # see `shared/cli/__init__.py`: help doesn't wait for it
    from shared.flowlog.rejects import RejectCounts

HEALTH_MEASURES = ("Blobs", "Bytes", "Records", "Tuples", *STATES, "Malformed", "GarbledBytes")
HEALTH_COLUMNS = (*HEALTH_MEASURES, "LastRecordTime", "LagSeconds")


@dataclass(frozen=True, slots=True)
class Health:
    """What was read of an hour's blobs. ``lag``: from a blob's last record to its commit, the longest.

    Each of the ``tuples`` begins a flow, continues or ends one, or is a denial.
    """

    blobs: int = 0
    bytes: int = 0
    records: int = 0
    tuples: int = 0
    begins: int = 0
    continues: int = 0
    ends: int = 0
    denials: int = 0
    malformed: int = 0
    garbled_bytes: int = 0
    last_record_time: datetime | None = None
    lag: timedelta | None = None

    def __add__(self, other: "Health") -> "Health":
        return Health(
            self.blobs + other.blobs,
            self.bytes + other.bytes,
            self.records + other.records,
            self.tuples + other.tuples,
            self.begins + other.begins,
            self.continues + other.continues,
            self.ends + other.ends,
            self.denials + other.denials,
            self.malformed + other.malformed,
            self.garbled_bytes + other.garbled_bytes,
            max(filter(None, (self.last_record_time, other.last_record_time)), default=None),
            max((lag for lag in (self.lag, other.lag) if lag is not None), default=None),
        )

    @property
    def states(self) -> States:
        """The tuples by state."""
        return States(self.begins, self.continues, self.ends, self.denials)

    def columns(self) -> dict[str, Any]:
        """As an entity's columns; what isn't known has none."""
        values = (
            *(self.blobs, self.bytes, self.records, self.tuples),
            *self.states,
            *(self.malformed, self.garbled_bytes),
            self.last_record_time,
            None if self.lag is None else int(self.lag.total_seconds()),
        )
        named = zip(HEALTH_COLUMNS, values, strict=True)
        return {name: value for name, value in named if value is not None}

    @staticmethod
    def from_columns(columns: Mapping[str, Any]) -> "Health":
        """What ``columns`` gave."""
        values: list[Any] = [columns.get(name) for name in HEALTH_COLUMNS]
        if values[-1] is not None:
            values[-1] = timedelta(seconds=values[-1])
        return Health(*values)


class RejectTotal(NamedTuple):
    """What was rejected for one reason: so many tuples, or so many stretches with ``garbled_bytes`` together,
    in so many blobs.
    """

    rejects: int
    garbled_bytes: int
    blobs: int


type RejectTotals = dict[Reason, RejectTotal]


def add_rejects(into: RejectTotals, more: Mapping[Reason, RejectTotal]) -> None:
    """Add to what was rejected, reason by reason."""
    for reason, total in more.items():
        known = into.get(reason, RejectTotal(0, 0, 0))
        into[reason] = RejectTotal(*(one + other for one, other in zip(known, total, strict=True)))


def rejects_of_blob(counts: "RejectCounts") -> RejectTotals:
    """What was rejected of one blob."""
    return {
        reason: RejectTotal(each.count, each.garbled_bytes, 1) for reason, each in counts.by_reason.items()
    }

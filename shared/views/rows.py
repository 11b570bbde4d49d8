"""Counts → the rows of the views (pure). A row is a dict of an entity's columns, plain values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.flowlog.blob_name import key_join
from shared.tally.heavy_hitters import HeavyHitters, Row
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import (
    OF_RESTARTS,
    Figures,
    Sums,
    add_figures,
    add_to,
    to_columns,
    to_figures,
)
from shared.tally.states import States
from shared.times import to_moment
from shared.views.questions import HEALTH_COLUMNS, RANKED_ROWS, Grain, Question

type ViewRow = dict[str, Any]

ALL_SCOPES = "all"
_LONGEST_KEY = 400


def partition_of(scope: str, view: str, grain: Grain) -> str:
    """PartitionKey of a view in ``flowstats``."""
    return f"{scope}~{view}~{grain}"


def period_key(period: datetime) -> str:
    """``yyyymmddHHMM``: how RowKeys begin."""
    return period.strftime("%Y%m%d%H%M")


def view_rows(
    scope: str, question: Question, grain: Grain, period: datetime, counts: HourCounts
) -> list[ViewRow]:
    """The rows of one view for one period (5m: for all periods of the hour)."""
    if not counts.traffic:
        return []  # no tuple, no rows: not even a rest
    view = _View(scope, question, grain)
    if question.name == "traffic":
        return [*view.traffic(period, counts)]
    family = counts.families[question.name]
    rows = family.ranked()
    if question.ranked_by is None:
        return [*view.unranked(period, rows, family), *view.rest(period, family, [], always=False)]
    kept = sorted(rows[:RANKED_ROWS], key=lambda row: family.weight(row.figures), reverse=True)
    return [*view.ranked(period, kept), *view.rest(period, family, rows[RANKED_ROWS:], always=True)]


@dataclass(frozen=True, slots=True)
class _View:
    scope: str
    question: Question
    grain: Grain

    def traffic(self, period: datetime, counts: HourCounts) -> Iterator[ViewRow]:
        total: dict[tuple[datetime, str, str], Sums] = {}
        for (bucket, direction, status), sums in counts.traffic.items():
            begins = period + timedelta(minutes=5 * bucket) if self.grain == "5m" else period
            add_to(total, (begins, direction, status), sums)
        for (begins, *key), sums in sorted(total.items()):
            yield self._row(begins, _joined(key), key, to_figures(sums))

    def unranked(self, period: datetime, rows: Iterable[Row], family: HeavyHitters) -> Iterator[ViewRow]:
        for row in rows:
            times = (family.seen or {}).get(row.key)
            seen = {"FirstSeen": to_moment(times[0]), "LastSeen": to_moment(times[1])} if times else {}
            yield self._row(
                period, _joined(row.key), row.key, row.figures, Missed=row.missed, IsRest=False, **seen
            )

    def ranked(self, period: datetime, rows: Iterable[Row]) -> Iterator[ViewRow]:
        for rank, row in enumerate(rows, start=1):
            yield self._row(
                period, f"{rank:04d}", row.key, row.figures, Rank=rank, Missed=row.missed, IsRest=False
            )

    def rest(
        self, period: datetime, family: HeavyHitters, beyond: Iterable[Row], *, always: bool
    ) -> Iterator[ViewRow]:
        """What has no row of its own; it has missed nothing, as it is what the total leaves."""
        figures = to_figures(family.rest)
        for row in beyond:
            add_figures(figures, row.figures)
        if always or any(figures):
            yield self._row(period, "0000", (), figures, Rank=0, Missed=0, IsRest=True)

    def _row(
        self, period: datetime, key: str, dimensions: Sequence[Any], figures: Figures, **more: object
    ) -> ViewRow:
        return {
            **_head(self.scope, self.question.name, self.grain, period, key),
            **dict(zip(self.question.key, dimensions, strict=False)),
            **_measures(figures),
            **more,
        }


def _measures(figures: Figures) -> dict[str, int]:
    """The measures' columns; those of restarts only where there were any."""
    columns = to_columns(figures)
    return {name: value for name, value in columns.items() if value or name not in OF_RESTARTS}


def _head(scope: str, view: str, grain: Grain, period: datetime, key: str) -> ViewRow:
    """What every row begins with."""
    return {
        "PartitionKey": partition_of(scope, view, grain),
        "RowKey": f"{period_key(period)}~{key}",
        "Scope": scope,
        "View": view,
        "Grain": grain,
        "Period": period,
    }


def _joined(key: Iterable[Any]) -> str:
    return key_join(map(str, key), _LONGEST_KEY)


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


def health_row(scope: str, period: datetime, health: Health) -> ViewRow:
    """The row of view ``health``."""
    return {**_head(scope, "health", "hour", period, "total"), **health.columns()}

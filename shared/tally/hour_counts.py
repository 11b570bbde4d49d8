"""The counts of one clock hour, and those of a blob, which has a share in up to three hours.

A tuple counts in the hour of its *own* time. A blob's first record holds tuples of the hour before, so a
blob has shares: -1 the hour before its own, 0 its own, +1 the hour after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Literal

from shared.flowlog.reasons import Reason, Rejected
from shared.flowlog.records import Record
from shared.flowlog.rejects import Reject, reject_tuples
from shared.flowlog.restarts import Correction, Restarts
from shared.flowlog.tuples import FlowTuple, read_tuple
from shared.tally.families import DIMENSIONS, FAMILIES, Predicate, dimensions_of
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.measures import (
    Figures,
    Sums,
    add_sums,
    add_to,
    corrected,
    figures_of,
    to_figures,
    to_sums,
)
from shared.tally.states import STATES, state_of
from shared.times import DAY, HOUR_MS

BUCKET_MS = 300_000


class HourCounts:
    """Everything that is counted of one clock hour.

    ``traffic`` is exact, by (five-minute bucket 0–11, direction, status); ``families`` are bounded, by name.
    """

    __slots__ = ("_plans", "families", "traffic")

    def __init__(self, keys: int | None = None) -> None:
        self.traffic: dict[tuple[int, str, str], Sums] = {}
        self.families = {
            family.name: HeavyHitters(family.weight, keys or family.keys, times=family.times)
            for family in FAMILIES.values()
        }
        self._plans: dict[tuple[str, str, bool], _Plan] = {}

    def count(
        self, flow: FlowTuple, mac: str, acl_group: str, rule: str, correction: Correction | None = None
    ) -> None:
        """Count one tuple in every family that it belongs to, as far as it has to be changed, corrected."""
        figures = figures_of(flow)
        sums = to_sums(corrected(figures, correction) if correction else figures)
        time_ms, direction, status = flow.time_ms, flow.direction, flow.status
        has_encryption = flow.encryption != ""
        add_to(self.traffic, (time_ms % HOUR_MS // BUCKET_MS, direction, status), sums)
        values = dimensions_of(flow, mac, acl_group, rule)
        plan = self._plans.get((direction, status, has_encryption))
        if plan is None:
            plan = self._plans[direction, status, has_encryption] = self._plan(
                direction, status, has_encryption=has_encryption
            )
        for family, key_of, conditions in plan:
            for place, holds in conditions:
                if not holds(values[place]):
                    break
            else:
                key = key_of(values)
                family.add(key, sums)
                if family.seen is not None:
                    family.see(key, time_ms, time_ms)

    def merge(self, other: "HourCounts") -> None:
        """Count what ``other`` counted."""
        self._merge(other, HeavyHitters.merge)

    def merge_scope(self, other: "HourCounts") -> None:
        """Count what ``other`` counted of one more scope in the same time."""
        self._merge(other, HeavyHitters.merge_scope)

    def _merge(self, other: "HourCounts", merge: Callable[[HeavyHitters, HeavyHitters], None]) -> None:
        for key, sums in other.traffic.items():
            add_to(self.traffic, key, sums)
        for name, family in other.families.items():
            if not family.is_empty():
                merge(self.families[name], family)
        self.settle()

    def settle(self) -> None:
        """Keep the families within their capacity; called at the end of a batch."""
        for family in self.families.values():
            family.settle()

    def trim(self, grain: Literal["hour", "day"], *, of_all: bool) -> None:
        """Keep no more keys than a family is to keep of such a period when it is stored."""
        for name, family in self.families.items():
            family.trim(FAMILIES[name].kept.of(grain, of_all=of_all))

    def totals(self) -> Figures:
        """The figures of everything counted in this hour."""
        return to_figures(reduce(add_sums, self.traffic.values(), 0))

    def _plan(self, direction: str, status: str, *, has_encryption: bool) -> "_Plan":
        """The families in which tuples of this direction and status may count, with the other conditions."""
        given = {"Direction": direction, "Status": status, **({} if has_encryption else {"Encryption": ""})}
        return [
            (
                self.families[family.name],
                family.key_of(),
                [
                    (DIMENSIONS.index(name), holds)
                    for name, holds in family.where.items()
                    if name not in given
                ],
            )
            for family in FAMILIES.values()
            if all(holds(given[name]) for name, holds in family.where.items() if name in given)
        ]


type _Plan = list[tuple[HeavyHitters, Callable[[tuple[Any, ...]], Key], list[tuple[int, Predicate]]]]
"""Families; how to take a key out of a tuple's dimensions; conditions, with their dimensions' places."""


@dataclass(slots=True)
class BlobCounts:
    """All that is counted of one blob up to its offset, and what of its flows has still to be followed.

    ``states``: of the tuples, how many of each state.
    """

    records: int = 0
    tuples: int = 0
    states: list[int] = field(default_factory=lambda: [0] * len(STATES))
    malformed: int = 0
    garbled_bytes: int = 0
    last_record_time: datetime | None = None
    shares: dict[int, HourCounts] = field(default_factory=dict)
    restarts: Restarts = field(default_factory=Restarts)

    def count_record(self, record: Record, hour: datetime, mac: str, acl_group: str) -> list[Reject]:
        """Count a whole record of the blob of ``hour``, and give what of it is rejected.

        ``mac`` is the interface's, ``acl_group`` that of logs whose records don't name one (NSG logs: the
        NSG's resource id).
        """
        hour_start_ms = int(hour.timestamp()) * 1000
        rejected: list[tuple[object, Reason]] = []
        for group in record.groups:
            acl = group.acl_group or acl_group
            seen_by = group.mac_in(mac)
            elements = group.tuples
            flows: list[FlowTuple | None] = []
            shares: list[HourCounts | None] = []
            for element in elements:
                try:
                    flow = read_tuple(element, record.grammar)
                    shares.append(self._share((flow.time_ms - hour_start_ms) // HOUR_MS))
                    flows.append(flow)
                except Rejected as verdict:
                    rejected.append((element, verdict.reason))
                    shares.append(None)
                    flows.append(None)
            corrections = self.restarts.follow(elements, flows) if record.grammar == "vnet-v4" else {}
            for number, (counted, share) in enumerate(zip(flows, shares, strict=True)):
                if counted and share:
                    share.count(counted, seen_by, acl, group.rule, corrections.get(number))
                    self.tuples += 1
                    self.states[state_of(counted)] += 1
        self.records += 1
        self.malformed += len(rejected)
        self.note_time(record.time, hour)
        return reject_tuples(record, rejected) if rejected else []

    def note_time(self, time: datetime | None, hour: datetime) -> None:
        """Note when a record of the blob of ``hour`` was written."""
        if time and abs(time - hour) < DAY:  # else it says nothing
            self.last_record_time = max(time, self.last_record_time or time)

    def settle(self) -> None:
        """Keep the families within their capacity; called at the end of a batch of records."""
        for share in self.shares.values():
            share.settle()

    def tuples_in_share(self, share: int) -> int:
        """How many tuples were counted in the hour before (-1), of (0) or after (+1) the blob's own."""
        return self.shares[share].totals()[0] if share in self.shares else 0

    def hours(self, hour: datetime) -> Iterator[tuple[datetime, HourCounts]]:
        """The shares, each with its clock hour."""
        return ((hour + timedelta(hours=share), counts) for share, counts in self.shares.items())

    def _share(self, share: int) -> HourCounts:
        if share not in (-1, 0, 1):
            raise Rejected(Reason.FAR_TIME)
        if share not in self.shares:
            self.shares[share] = HourCounts()
        return self.shares[share]

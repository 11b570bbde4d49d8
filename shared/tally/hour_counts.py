"""The counts of one clock hour, and those of a blob, which has a share in up to three hours.

A tuple counts in the hour of its *own* time. A blob's first record holds tuples of the hour before, so a
blob has shares: -1 the hour before its own, 0 its own, +1 the hour after.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce

from shared.flowlog.records import Record
from shared.flowlog.rejects import Reject, reject_tuples
from shared.flowlog.tuples import FlowTuple, Rejected, read_tuple
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.measures import (
    Figures,
    Sums,
    Weight,
    add_sums,
    add_to,
    figures_of,
    flows_denied,
    to_figures,
    to_sums,
    traffic,
    tuples,
)

KEYS = 1_000
"""How many keys a family keeps at least, if it has so many."""

FAR = "time is more than an hour outside the blob's hour"

HOUR_MS = 3_600_000
BUCKET_MS = 300_000


@dataclass(frozen=True, slots=True)
class Family:
    """One bounded group-by: the columns of its key, and what its keys are ranked by."""

    name: str
    columns: tuple[str, ...]
    weight: Weight
    keys: int = KEYS


FAMILIES = {
    family.name: family
    for family in (
        Family("rules", ("AclGroup", "AclRule", "Direction", "Status"), tuples),
        Family("denied-sources", ("SrcIp",), flows_denied),
        Family("talkers", ("RemoteIp", "Direction"), traffic),
        Family("denied-ports", ("L4Protocol", "DestPort", "Direction"), flows_denied),
        Family("allowed-ports", ("L4Protocol", "DestPort", "Direction"), traffic),
        Family(
            "conversations", ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclRule"), traffic
        ),
        Family(
            "denied-conversations",
            ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclRule"),
            flows_denied,
        ),
        # Empty in a blob's counts, which are one interface's; filled when blobs are merged.
        Family("nics", ("Mac", "Direction", "Status"), tuples, keys=10_000),
    )
}


class HourCounts:
    """Everything that is counted of one clock hour.

    ``traffic`` is exact, by (five-minute bucket 0–11, direction, status); ``families`` are bounded; ``seen``
    has the first and last time of each tracked rule, in milliseconds since 1970.
    """

    __slots__ = ("families", "seen", "traffic")

    def __init__(self, keys: int | None = None) -> None:
        self.traffic: dict[tuple[int, str, str], Sums] = {}
        self.seen: dict[Key, tuple[int, int]] = {}
        self.families = {
            family.name: HeavyHitters(family.weight, keys or family.keys) for family in FAMILIES.values()
        }

    def count(self, flow: FlowTuple, acl_group: str, rule: str) -> None:
        """Count one tuple in every view that it belongs to."""
        sums = to_sums(figures_of(flow))
        time_ms, direction, status = flow.time_ms, flow.direction, flow.status
        add_to(self.traffic, (time_ms % HOUR_MS // BUCKET_MS, direction, status), sums)

        families = self.families
        rule_key = (acl_group, rule, direction, status)
        families["rules"].add(rule_key, sums)
        self._see(rule_key, time_ms, time_ms)

        port = (flow.protocol, flow.dest_port, direction)
        conversation = (flow.src_ip, flow.dest_ip, flow.dest_port, flow.protocol, direction, rule)
        if status == "Denied":
            if direction == "Inbound":
                families["denied-sources"].add((flow.src_ip,), sums)
            families["denied-ports"].add(port, sums)
            families["denied-conversations"].add(conversation, sums)
        else:
            remote_ip = flow.src_ip if direction == "Inbound" else flow.dest_ip
            families["talkers"].add((remote_ip, direction), sums)
            families["allowed-ports"].add(port, sums)
            families["conversations"].add(conversation, sums)

    def merge(self, other: "HourCounts", mac: str | None = None) -> None:
        """Count what ``other`` counted; ``mac`` says whose it was, for the family ``nics``."""
        for (bucket, direction, status), sums in other.traffic.items():
            add_to(self.traffic, (bucket, direction, status), sums)
            if mac is not None:
                self.families["nics"].add((mac, direction, status), sums)
        for name, family in other.families.items():
            self.families[name].merge(family)
        for key, (first, last) in other.seen.items():
            self._see(key, first, last)
        self.settle()

    def settle(self) -> None:
        """Keep the families within their capacity; called at the end of a batch."""
        for family in self.families.values():
            family.settle()
        self.forget_dropped_rules()

    def trim(self) -> None:
        """Keep no more keys than a family is to keep when it is stored."""
        for name, family in self.families.items():
            family.trim(FAMILIES[name].keys)
        self.forget_dropped_rules()

    def forget_dropped_rules(self) -> None:
        """``seen`` follows the family ``rules``."""
        rules = self.families["rules"].sums
        if len(self.seen) > len(rules):
            self.seen = {key: times for key, times in self.seen.items() if key in rules}

    def totals(self) -> Figures:
        """The figures of everything counted in this hour."""
        return to_figures(reduce(add_sums, self.traffic.values(), 0))

    def _see(self, key: Key, first: int, last: int) -> None:
        known = self.seen.get(key)
        if known is None:
            self.seen[key] = first, last
        elif first < known[0] or known[1] < last:
            self.seen[key] = min(known[0], first), max(known[1], last)


@dataclass(slots=True)
class BlobCounts:
    """All that is counted of one blob up to its offset."""

    records: int = 0
    tuples: int = 0
    malformed: int = 0
    garbled_bytes: int = 0
    last_record_time: datetime | None = None
    shares: dict[int, HourCounts] = field(default_factory=dict)

    def count_record(self, record: Record, hour: datetime, acl_group: str) -> list[Reject]:
        """Count a whole record of the blob of ``hour``, and give what of it is rejected.

        ``acl_group`` is that of logs whose records don't name one (NSG logs: the NSG's resource id).
        """
        hour_start_ms = int(hour.timestamp()) * 1000
        rejected: list[tuple[object, str]] = []
        for group in record.groups:
            acl = group.acl_group or acl_group
            for element in group.tuples:
                try:
                    flow = read_tuple(element, record.grammar)
                    share = self._share((flow.time_ms - hour_start_ms) // HOUR_MS)
                except Rejected as verdict:
                    rejected.append((element, verdict.reason))
                    continue
                share.count(flow, acl, group.rule)
                self.tuples += 1
        self.records += 1
        self.malformed += len(rejected)
        self.note_time(record.time, hour)
        return reject_tuples(record, rejected) if rejected else []

    def note_time(self, time: datetime | None, hour: datetime) -> None:
        """Note when a record of the blob of ``hour`` was written."""
        if time and abs(time - hour) < timedelta(days=1):  # else it says nothing
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
            raise Rejected(FAR)
        if share not in self.shares:
            self.shares[share] = HourCounts()
        return self.shares[share]

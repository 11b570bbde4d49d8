"""A stand-in for Azure Network Watcher: seeded flow logs, in fast motion, whose contents are known.

Theory of operation
-------------------
`hour_of` is pure. It yields one NIC's hour minute by minute: the data blocks that Network Watcher would add
to the hour's blob in that minute, and the truth about them. It works from the inside out:

    _world    the hosts that exist, the same for every NIC of a seed: some talk much, most talk little
    _PATTERNS who opens which flows to whom, and which rule decides
    _Traffic  the flows that are open, and what each has to say in a given minute: its tuples
    _BAD      how a well-formed tuple becomes one that every reader has to reject
    _record   tuples sorted by rule, cut at about 32 KB, in JSON whose keys vary in order and case

`write` is the impure part: it commits these blocks to storage as Network Watcher does, with an opener, data
blocks, and a closer, one atomic block list after another, so that every committed version is whole JSON.

All times are UTC. A minute's records appear some seconds after the minute and hold its tuples, so the first
record of an hour's blob holds tuples of the previous clock hour. The same arguments give the same bytes.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal, NamedTuple
from uuid import UUID

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

Format = Literal["nsg-v1", "nsg-v2", "vnet-v4"]

OPENER = b'{"records":['
CLOSER = b"]}"
RECORD_BYTES = 32_000
"""Network Watcher starts a new record, with the same time, when one reaches about this size."""

NSG_CONTAINER = "insights-logs-networksecuritygroupflowevent"
VNET_CONTAINER = "insights-logs-flowlogflowevent"

_SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
_REGION = "WESTEUROPE"


# What is written, and what is true of it.


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface whose traffic is logged, in one format, into one blob an hour."""

    format: Format
    mac: str
    """Twelve upper-case hexadecimal digits."""
    group: str
    """The network security group's name or, for VNet logs, the flow log's."""

    @property
    def container(self) -> str:
        """The container that Network Watcher uses for this kind of log."""
        return VNET_CONTAINER if self.format == "vnet-v4" else NSG_CONTAINER

    @property
    def log(self) -> str:
        """The resource id that stands in the records: of the NSG or of the flow log."""
        provider = f"/SUBSCRIPTIONS/{_SUBSCRIPTION}/RESOURCEGROUPS/{{}}/PROVIDERS/MICROSOFT.NETWORK/"
        if self.format == "vnet-v4":
            watcher = f"NETWORKWATCHERS/NETWORKWATCHER_{_REGION}/FLOWLOGS/{self.group.upper()}"
            return provider.format("NETWORKWATCHERRG") + watcher
        return provider.format("RG-DEMO") + f"NETWORKSECURITYGROUPS/{self.group.upper()}"

    def blob_name(self, hour: datetime) -> str:
        """Name the blob of the clock hour that begins at `hour`."""
        if self.format == "vnet-v4":
            watcher = f"NETWORKWATCHER_{_REGION}_{self.group.upper()}"
            log = f"flowLogResourceID=/{_SUBSCRIPTION}_NETWORKWATCHERRG/{watcher}"
        else:
            log = f"resourceId={self.log}"
        return f"{log}/{hour:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress={self.mac}/PT1H.json"


@dataclass(frozen=True, slots=True)
class Truth:
    """What has been written, in numbers that a correct reader arrives at too."""

    tuples: int
    """Well-formed tuples."""
    malformed: int
    """Tuples that a reader has to reject."""
    records: int
    """Whole records."""
    garbled_bytes: int
    """Length of the stretches between records that are no records, without the comma before each."""

    def __add__(self, other: "Truth") -> "Truth":
        return Truth(
            self.tuples + other.tuples,
            self.malformed + other.malformed,
            self.records + other.records,
            self.garbled_bytes + other.garbled_bytes,
        )


ZERO = Truth(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of one blob."""

    blocks: tuple[bytes, ...]
    """The data blocks added: a record or several each. All but the blob's first begin with a comma."""
    truth: Truth
    """Of these blocks alone."""


def hour_of(
    nic: Nic,
    hour: datetime,
    *,
    seed: int,
    tuples_per_minute: int = 40,
    minutes: int = 60,
    bad: float = 0.002,
    garbled: float = 0.0,
) -> Iterator[Minute]:
    """Yield the first `minutes` minutes of the blob of `nic` for the clock hour that begins at `hour`.

    `tuples_per_minute` is an average: a few minutes are idle and add nothing, a few are much busier.
    `bad` is the proportion of malformed tuples. `garbled` is the probability, a minute, of a stretch of bytes
    between two records that is no record. Raises ValueError if `hour` is not a full hour in UTC.
    """
    if hour.utcoffset() != timedelta(0) or hour != hour.replace(minute=0, second=0, microsecond=0):
        raise ValueError(f"not a full hour in UTC: {hour.isoformat()}")
    rng = random.Random(f"{nic}{hour:%Y%m%d%H} {seed} {tuples_per_minute} {minutes} {bad} {garbled}")
    traffic = _Traffic(nic, seed, rng, tuples_per_minute)
    hour_ms = int(hour.timestamp()) * 1000
    delay_ms = rng.uniform(2_000, 19_000)
    first = True
    for number in range(minutes):
        written_ms = hour_ms + number * 60_000 + delay_ms + rng.uniform(0, 1_000)
        window = range(int(written_ms) - 59_000, hour_ms + number * 60_000)
        lines = traffic.minute(number, window, _busyness(rng, tuples_per_minute, number))
        lines = [_spoiled(nic.format, line, rng) if rng.random() < bad else line for line in lines]
        records = [_record(nic, part, _timestamp(written_ms), rng) for part in _cut(lines)]
        stretch = _garbled(records[0], rng) if records and not first and rng.random() < garbled else b""
        malformed = sum(line.malformed for line in lines)
        yield Minute(
            _blocks(records, stretch, rng, first=first),
            Truth(len(lines) - malformed, malformed, len(records), len(stretch)),
        )
        first = first and not records


def whole_blob(minutes: Iterable[Minute]) -> tuple[bytes, Truth]:
    """Put together the blob that these minutes amount to, and the truth of all of it."""
    blocks: list[bytes] = []
    truth = ZERO
    for minute in minutes:
        blocks += minute.blocks
        truth += minute.truth
    return b"".join((OPENER, *blocks, CLOSER)), truth


def _busyness(rng: random.Random, average: int, number: int) -> int:
    """Draw how many tuples a minute holds. The first minute of a blob is never idle."""
    if number == 0:
        return max(1, average) if average else 0
    kind = rng.random()
    if kind < 0.05:
        return 0
    return round(average * (3 if kind < 0.09 else rng.uniform(0.6, 1.4)))


# Hosts. Remote addresses are those reserved for documentation.


@dataclass(frozen=True, slots=True)
class _Talkers:
    """Hosts in the order of how much they talk: the nth has 1/n^1.1 of the first one's share."""

    hosts: tuple[str, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, hosts: Iterable[str]) -> "_Talkers":
        unique = tuple(dict.fromkeys(hosts))
        return cls(unique, tuple(accumulate((rank + 1) ** -1.1 for rank in range(len(unique)))))

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.hosts, cum_weights=self.shares)[0]


type _Peer = Literal["internal", "remote", "scanner", "ipv6"]


@lru_cache(maxsize=8)
def _world(seed: int) -> dict[_Peer, _Talkers]:
    rng = random.Random(f"world {seed}")

    def documentation() -> str:
        return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randint(1, 254)}"

    return {
        "internal": _Talkers.of(_internal(rng) for _ in range(120)),
        "remote": _Talkers.of(documentation() for _ in range(400)),
        "scanner": _Talkers.of(documentation() for _ in range(6)),
        "ipv6": _Talkers.of(f"2001:db8:{rng.getrandbits(16):x}::{rng.getrandbits(12):x}" for _ in range(40)),
    }


def _internal(rng: random.Random) -> str:
    return f"10.{rng.randint(0, 3)}.{rng.randint(0, 15)}.{rng.randint(4, 250)}"


# Flows: who talks to whom.

_TCP, _UDP, _ICMP, _ESP = 6, 17, 1, 50
_HIGH = range(1024, 65536)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A kind of flow that a NIC sees: its share of all flows, the other end, and the rule that decides."""

    share: float
    direction: Literal["I", "O"]
    peer: _Peer
    protocol: int
    ports: Sequence[int]
    rule: str
    allowed: bool = True


_PATTERNS = (
    _Pattern(16, "I", "remote", _TCP, (443,), "UserRule_allow-https"),
    _Pattern(2, "I", "internal", _TCP, (22,), "UserRule_allow-ssh-from-bastion"),
    _Pattern(8, "I", "internal", _TCP, (1433, 443, 8080), "DefaultRule_AllowVnetInBound"),
    _Pattern(3, "I", "internal", _UDP, _HIGH, "DefaultRule_AllowVnetInBound"),
    _Pattern(20, "O", "remote", _TCP, (443, 443, 443, 80), "DefaultRule_AllowInternetOutBound"),
    _Pattern(2, "O", "remote", _UDP, (123, 443), "DefaultRule_AllowInternetOutBound"),
    _Pattern(12, "O", "internal", _UDP, (53,), "DefaultRule_AllowVnetOutBound"),
    _Pattern(8, "O", "internal", _TCP, (1433, 445, 5432), "UserRule_allow-databases"),
    _Pattern(3, "O", "internal", _TCP, _HIGH, "DefaultRule_AllowVnetOutBound"),
    _Pattern(14, "I", "scanner", _TCP, range(1, 65536), "DefaultRule_DenyAllInBound", allowed=False),
    _Pattern(2, "I", "scanner", _UDP, (161, 1900, 5060), "DefaultRule_DenyAllInBound", allowed=False),
    _Pattern(5, "I", "scanner", _TCP, (3389,), "UserRule_block-rdp", allowed=False),
    _Pattern(3, "I", "remote", _TCP, (22,), "UserRule_block-ssh", allowed=False),
    _Pattern(2, "O", "remote", _TCP, (25,), "UserRule_block-smtp", allowed=False),
)
_VNET_PATTERNS = (
    *_PATTERNS,
    _Pattern(2, "O", "internal", _UDP, (53,), "PlatformRule"),
    _Pattern(0.5, "I", "internal", _TCP, (443,), "unspecified"),
    _Pattern(1, "I", "remote", _ICMP, (0,), "DefaultRule_DenyAllInBound", allowed=False),
    _Pattern(0.5, "O", "internal", _ICMP, (0,), "DefaultRule_AllowVnetOutBound"),
    _Pattern(0.5, "O", "remote", _ESP, (0,), "DefaultRule_AllowInternetOutBound"),
)
_IPV6_SHARE = 0.02

_ENCRYPTION = {
    "NX": 70,
    "X": 22,
    "NX_HW_NOT_SUPPORTED": 2,
    "NX_SW_NOT_READY": 1,
    "NX_NOT_ACCEPTED": 1,
    "NX_NOT_SUPPORTED": 2,
    "NX_LOCAL_DST": 1,
    "NX_FALLBACK": 1,
}


@dataclass(slots=True)
class _Flow:
    """A flow, and how much it still has to say."""

    ends: str
    """Source address, destination address, source port, destination port."""
    pattern: _Pattern
    encryption: str
    acl: str
    silent: bool
    """True if nothing follows its first tuple: it is denied, or the format knows no states."""
    continuing: int
    """How many more tuples it has before its last."""
    spoke: bool = False
    restated: tuple[int, int, int, int] = (0, 0, 0, 0)
    """What an earlier end counted and the final end counts again."""


# Tuples: the grammar of each format, field by field.

type _State = Literal["B", "C", "E"]
type _Fields = dict[str, str]

_ENDS = ("source", "destination", "source port", "destination port")
_COUNTERS = ("packets sent", "bytes sent", "packets received", "bytes received")
_GRAMMAR: dict[Format, tuple[str, ...]] = {
    "nsg-v1": ("time", *_ENDS, "protocol", "direction", "decision"),
    "nsg-v2": ("time", *_ENDS, "protocol", "direction", "decision", "state", *_COUNTERS),
    "vnet-v4": ("time", *_ENDS, "protocol", "direction", "state", "encryption", *_COUNTERS),
}


def _v1_tuple(flow: _Flow, at_ms: int) -> str:
    seen = flow.pattern
    protocol = "U" if seen.protocol == _UDP else "T"
    return f"{at_ms // 1000},{flow.ends},{protocol},{seen.direction},{'A' if seen.allowed else 'D'}"


def _v2_tuple(flow: _Flow, at_ms: int, state: _State, counters: str) -> str:
    return f"{_v1_tuple(flow, at_ms)},{state},{counters}"


def _v4_tuple(flow: _Flow, at_ms: int, state: _State, counters: str) -> str:
    seen = flow.pattern
    shown = state if seen.allowed else "D"
    return f"{at_ms},{flow.ends},{seen.protocol},{seen.direction},{shown},{flow.encryption},{counters}"


class _Line(NamedTuple):
    """A tuple on its way into a record."""

    at_ms: int
    text: str
    flow: _Flow
    malformed: bool = False


class _Traffic:
    """The flows of one NIC during one hour, and in which minute each speaks next."""

    def __init__(self, nic: Nic, seed: int, rng: random.Random, tuples_per_minute: int) -> None:
        own = random.Random(f"{nic} {seed}")
        self._nic = nic
        self._rng = rng
        self._world = _world(seed)
        self._address = _internal(own)
        self._address6 = f"2001:db8:a::{own.getrandbits(16):x}"
        self._acls = _acls(nic)
        self._patterns = _VNET_PATTERNS if nic.format == "vnet-v4" else _PATTERNS
        self._shares = tuple(accumulate(pattern.share for pattern in self._patterns))
        self._turn = rng.randrange(len(_HIGH))
        # Some flows are open already: they began in the previous hour's blob.
        earlier = [flow for _ in range(tuples_per_minute // 2) if not (flow := self._open()).silent]
        self._due: dict[int, list[_Flow]] = {0: earlier}

    def minute(self, number: int, window: range, wanted: int) -> list[_Line]:
        """Speak `wanted` tuples, or few more, within the `window` of milliseconds, in the order of time."""
        lines: list[_Line] = []
        due = self._due.pop(number, [])
        for flow in due[:wanted]:
            lines += self._continue(flow, number, window)
        self._due.setdefault(number + 1, []).extend(due[wanted:])
        while len(lines) < wanted:
            lines += self._begin(number, window)
        lines.sort(key=lambda line: line.at_ms)
        return lines

    def _begin(self, number: int, window: range) -> Iterator[_Line]:
        flow = self._open()
        line = self._line(flow, self._moment(window), "B")
        yield line
        if flow.silent:
            if self._rng.random() < 0.01:
                yield line  # knocked twice within one tick of the clock: two identical tuples, both count
        elif not flow.continuing and self._rng.random() < 0.5:
            yield self._line(flow, self._moment(range(line.at_ms, window.stop)), "E")
        else:
            self._later(flow, number)

    def _continue(self, flow: _Flow, number: int, window: range) -> Iterator[_Line]:
        at_ms = self._moment(window)
        if self._nic.format == "vnet-v4" and not flow.spoke and self._rng.random() < 0.1:
            # The platform re-creates the flow: it ends and begins in one millisecond, and its later end
            # counts again what this one counts.
            flow.restated = self._counters()
            flow.continuing = 0
            yield _Line(at_ms, _v4_tuple(flow, at_ms, "E", _joined(flow.restated)), flow)
            yield self._line(flow, at_ms, "B")
            self._later(flow, number)
        elif flow.continuing:
            yield self._line(flow, at_ms, "C")
            flow.continuing -= 1
            self._later(flow, number)
        else:
            yield self._line(flow, at_ms, "E")
        flow.spoke = True

    def _line(self, flow: _Flow, at_ms: int, state: _State) -> _Line:
        if self._nic.format == "nsg-v1":
            return _Line(at_ms, _v1_tuple(flow, at_ms), flow)
        if state == "C":
            counters = _joined(self._counters())
        elif state == "E":
            counters = _joined(a + b for a, b in zip(self._counters(), flow.restated, strict=True))
        elif self._nic.format == "vnet-v4" and self._rng.random() < 0.5:
            counters = "0,0,0,0"
        else:
            counters = ",,,"
        tuple_text = _v4_tuple if self._nic.format == "vnet-v4" else _v2_tuple
        return _Line(at_ms, tuple_text(flow, at_ms, state, counters), flow)

    def _open(self) -> _Flow:
        rng = self._rng
        pattern = rng.choices(self._patterns, cum_weights=self._shares)[0]
        own, kind = self._address, pattern.peer
        if rng.random() < _IPV6_SHARE:
            own, kind = self._address6, "ipv6"
        peer = self._world[kind].draw(rng)
        source, destination = (peer, own) if pattern.direction == "I" else (own, peer)
        port = rng.choice(pattern.ports)
        self._turn = (self._turn + 7919) % len(_HIGH)  # a prime: every port has its turn before any returns
        source_port = _HIGH[self._turn] if port else 0
        return _Flow(
            ends=f"{source},{destination},{source_port},{port}",
            pattern=pattern,
            encryption=rng.choices(_CODES, cum_weights=_CODE_SHARES)[0],
            acl=_FIXED_ACLS.get(pattern.rule) or rng.choice(self._acls),
            silent=self._nic.format == "nsg-v1" or not pattern.allowed,
            continuing=int(rng.expovariate(0.5)),
        )

    def _later(self, flow: _Flow, number: int) -> None:
        self._due.setdefault(number + self._rng.choice((1, 1, 1, 2, 4)), []).append(flow)

    def _moment(self, window: range) -> int:
        return window.start + int(self._rng.random() * len(window))

    def _counters(self) -> tuple[int, int, int, int]:
        """Draw packets and bytes, sent and received, since the flow's previous tuple: seldom many."""
        rng = self._rng
        sent = min(int(3 * rng.paretovariate(1.1)), 10**7)
        received = int(sent * (0.3 + rng.random()))
        return sent, sent * int(54 + 1400 * rng.random()), received, received * int(54 + 1400 * rng.random())


_CODES = tuple(_ENCRYPTION)
_CODE_SHARES = tuple(accumulate(_ENCRYPTION.values()))
_FIXED_ACLS = {"PlatformRule": str(UUID(int=0)), "unspecified": "unspecified"}


def _acls(nic: Nic) -> tuple[str, ...]:
    """Two access control lists: real logs name one by its GUID and another by its resource id."""
    guid = UUID(int=random.Random(f"acl {nic.group}").getrandbits(128), version=4)
    groups = f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/rg-demo/providers/Microsoft.Network"
    return str(guid), f"{groups}/networkSecurityGroups/nsg-{nic.group.lower()}"


def _joined(counters: Iterable[int]) -> str:
    return ",".join(map(str, counters))


# Malformed tuples: each way spoils one thing and leaves the rest well-formed.

type _Spoil = Callable[[_Fields, random.Random], None]


def _set(name: str, *values: str) -> tuple[str, _Spoil]:
    """Put one of `values` into the field `name`."""

    def spoil(fields: _Fields, rng: random.Random) -> None:
        fields[name] = rng.choice(values)

    return name, spoil


def _field_less(fields: _Fields, rng: random.Random) -> None:
    del fields[rng.choice(tuple(fields))]


def _field_more(fields: _Fields, _: random.Random) -> None:
    fields["surplus"] = "0"


def _odd_digits(fields: _Fields, rng: random.Random) -> None:
    fields["time"] = rng.choice((fields["time"][:-1], fields["time"] + "0", "noon", ""))


def _far_away(fields: _Fields, rng: random.Random) -> None:
    """Move the time at least two hours out of the blob's hour."""
    unit = 1000 if len(fields["time"]) == 13 else 1
    away_s = rng.randint(3 * 3600 + 60, 30 * 86_400)
    fields["time"] = str(int(fields["time"]) + rng.choice((-1, 1)) * away_s * unit)


def _counter_missing(fields: _Fields, rng: random.Random) -> None:
    _make_continuing(fields, rng)
    fields[rng.choice(_COUNTERS)] = ""


def _counter_too_large(fields: _Fields, rng: random.Random) -> None:
    _make_continuing(fields, rng)
    fields[rng.choice(_COUNTERS)] = str(rng.choice((2**63, 2**64, 10**30)))


def _make_continuing(fields: _Fields, rng: random.Random) -> None:
    fields["state"] = rng.choice("CE")
    fields.update({name: str(rng.randint(1, 9999)) for name in _COUNTERS})
    if "decision" in fields:
        fields["decision"] = "A"


_NO_PORT = ("65536", "99999", "https", "-1", "")
_NO_ADDRESS = ("10.0.0.256", "10.0.0", "localhost", "2001:db8:::1", "")
_BAD: tuple[tuple[str, _Spoil], ...] = (
    ("time", _field_less),
    ("time", _field_more),
    ("time", _odd_digits),
    ("time", _far_away),
    _set("source", *_NO_ADDRESS),
    _set("destination", *_NO_ADDRESS),
    _set("source port", *_NO_PORT),
    _set("destination port", *_NO_PORT),
    _set("protocol", "X", "256", "ICMP", ""),
    _set("direction", "X", "IO", ""),
    _set("decision", "X", "AD", ""),
    _set("state", "X", "BE", ""),
    _set("encryption", "Y", "NX_", ""),
    ("packets sent", _counter_missing),
    ("packets sent", _counter_too_large),
)
"""Pairs of a field that the format must have, and a way to spoil a tuple that has it."""


def _spoiled(kind: Format, line: _Line, rng: random.Random) -> _Line:
    names = _GRAMMAR[kind]
    fields = dict(zip(names, line.text.split(","), strict=True))
    spoil = rng.choice([spoil for needed, spoil in _BAD if needed in names])
    spoil(fields, rng)
    return line._replace(text=",".join(fields.values()), malformed=True)


# Records, and the bytes between them.

type _Json = dict[str, Any]

_SPELLINGS = {
    "resourceId": ("resourceId", "resourceid", "resourceID"),
    "systemId": ("systemId", "systemid"),
    "macAddress": ("macAddress", "macaddress"),
    "flowLogResourceID": ("flowLogResourceID", "flowLogResourceId"),
    "targetResourceID": ("targetResourceID", "targetResourceId"),
    "flowLogGUID": ("flowLogGUID", "flowLogGuid"),
    "aclID": ("aclID", "aclId"),
}


def _varied(rng: random.Random, members: _Json) -> _Json:
    """Shuffle an object's keys, and spell some of them in another case."""
    keys = rng.sample(tuple(members), len(members))
    return {rng.choice(_SPELLINGS.get(key, (key,))): members[key] for key in keys}


def _record(nic: Nic, lines: Sequence[_Line], timestamp: str, rng: random.Random) -> bytes:
    make = _vnet_record if nic.format == "vnet-v4" else _nsg_record
    return json.dumps(make(nic, lines, timestamp, rng), separators=(",", ":")).encode()


def _nsg_record(nic: Nic, lines: Sequence[_Line], timestamp: str, rng: random.Random) -> _Json:
    rules = _by_rule(lines)
    flows = [
        _varied(rng, {"rule": rule, "flows": [_varied(rng, {"mac": nic.mac, "flowTuples": tuples})]})
        for rule, tuples in rules.items()
    ]
    quiet = sorted({pattern.rule for pattern in _PATTERNS} - rules.keys())
    if quiet and rng.random() < 0.3:
        flows.insert(rng.randint(0, len(flows)), _varied(rng, {"rule": rng.choice(quiet), "flows": []}))
    version = 2 if nic.format == "nsg-v2" else 1
    members: _Json = {
        "time": timestamp,
        "systemId": _guid(nic),
        "category": "NetworkSecurityGroupFlowEvent",
        "resourceId": nic.log,
        "operationName": "NetworkSecurityGroupFlowEvents",
        "properties": _varied(rng, {"Version": version, "flows": flows}),
    }
    if version == 2 or rng.random() < 0.5:  # the oldest logs lack it
        members["macAddress"] = nic.mac
    return _varied(rng, members)


def _vnet_record(nic: Nic, lines: Sequence[_Line], timestamp: str, rng: random.Random) -> _Json:
    flows = []
    for acl in dict.fromkeys(line.flow.acl for line in lines):
        groups = [
            _varied(rng, {"rule": rule, "flowTuples": tuples})
            for rule, tuples in _by_rule(line for line in lines if line.flow.acl == acl).items()
        ]
        cut = rng.randint(0, len(groups))  # a list may recur, each time with some of its rules
        parts = [part for part in (groups[:cut], groups[cut:]) if part]
        flows += [_varied(rng, {"aclID": acl, "flowGroups": part}) for part in parts]
    network = f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/rg-demo/providers/Microsoft.Network"
    return _varied(
        rng,
        {
            "time": timestamp,
            "flowLogVersion": 4,
            "flowLogGUID": _guid(nic),
            "macAddress": nic.mac,
            "category": "FlowLogFlowEvent",
            "flowLogResourceID": nic.log,
            "targetResourceID": f"{network}/virtualNetworks/vnet-{nic.group.lower()}",
            "operationName": "FlowLogFlowEvent",
            "flowRecords": {"flows": flows},
        },
    )


def _by_rule(lines: Iterable[_Line]) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for line in lines:
        rules.setdefault(line.flow.pattern.rule, []).append(line.text)
    return rules


@lru_cache(maxsize=1024)
def _guid(nic: Nic) -> str:
    return str(UUID(int=random.Random(f"log {nic.group}").getrandbits(128), version=4))


def _timestamp(written_ms: float) -> str:
    """Format a record's time as Network Watcher does: with seven digits of a second."""
    ticks = int(written_ms * 10_000)
    moment = datetime.fromtimestamp(ticks // 10_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ticks % 10_000_000:07d}Z"


def _cut(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Cut a minute's tuples into the portions of its records."""
    part: list[_Line] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line.text) + 3  # two quotes and a comma
        if size >= RECORD_BYTES - 1_000:
            yield part
            part, size = [], 0
    if part:
        yield part


_NOISE = bytes(set(range(256)) - set(b"{}[], \t\r\n"))


def _garbled(record: bytes, rng: random.Random) -> bytes:
    """Make a stretch that is no record: one cut off in the middle, or noise without braces or commas."""
    if rng.random() < 0.5:
        return record[: rng.randrange(20, len(record) - 1)].rstrip(b",")
    return bytes(rng.choices(_NOISE, k=rng.randrange(20, 400)))


def _blocks(
    records: Sequence[bytes], stretch: bytes, rng: random.Random, *, first: bool
) -> tuple[bytes, ...]:
    """Pack a minute's records into one block or into one each, behind the garbled stretch if there is one."""
    together = [b",".join(records)] if records and rng.random() < 0.5 else records
    bodies = [stretch, *together] if stretch else together
    return tuple(b"," * (not first or index > 0) + body for index, body in enumerate(bodies))


# The writer.

_OPENER_NAME = "A" + 32 * "0"
_CLOSER_NAME = "Z" + 32 * "0"


@dataclass(slots=True)
class BlobWriter:
    """Lets one blob grow as Network Watcher does: every commit is one atomic Put Block List."""

    container: ContainerClient
    name: str
    _data: list[BlobBlock] = field(default_factory=list, init=False)
    _begun: bool = field(default=False, init=False)

    def append(self, minute: Minute) -> None:
        """Stage a minute's data blocks and commit them before the closer.

        The first call creates the blob (or starts it anew), even if the minute has no data: 14 bytes then.
        A later minute without data commits nothing.
        """
        if self._begun and not minute.blocks:
            return
        blob = self.container.get_blob_client(self.name)
        if not self._begun:
            blob.stage_block(_OPENER_NAME, OPENER)
            blob.stage_block(_CLOSER_NAME, CLOSER)
            self._begun = True
        for block in minute.blocks:
            name = f"D{len(self._data):032d}"
            blob.stage_block(name, block)
            self._data.append(BlobBlock(name))
        blob.commit_block_list([BlobBlock(_OPENER_NAME), *self._data, BlobBlock(_CLOSER_NAME)])


def write(  # noqa: PLR0913 - dials, each of its own
    connection_string: str,
    nics: Sequence[Nic],
    hours: Sequence[datetime],
    *,
    seed: int,
    tuples_per_minute: int = 40,
    seconds_per_minute: float = 0.0,
    bad: float = 0.002,
    garbled: float = 0.0,
    on_minute: Callable[[Truth], None] | None = None,
) -> Truth:
    """Write the blobs of all `nics` for all `hours`, minute by minute and side by side.

    Creates the containers if they are missing. A logged minute takes `seconds_per_minute` seconds, or as long
    as the storage needs. After each, `on_minute` is told the truth about everything written so far.
    """
    started = time.monotonic()
    truth = ZERO
    with BlobServiceClient.from_connection_string(connection_string) as service:
        containers = {name: _container(service, name) for name in (NSG_CONTAINER, VNET_CONTAINER)}
        growing: dict[tuple[Nic, datetime], tuple[BlobWriter, Iterator[Minute]]] = {}
        for elapsed, turns in enumerate(_turns(nics, hours, random.Random(seed))):
            time.sleep(max(0.0, started + elapsed * seconds_per_minute - time.monotonic()))
            for nic, hour, number in turns:
                if number == 0:
                    writer = BlobWriter(containers[nic.container], nic.blob_name(hour))
                    minutes = hour_of(
                        nic, hour, seed=seed, tuples_per_minute=tuples_per_minute, bad=bad, garbled=garbled
                    )
                else:
                    writer, minutes = growing.pop((nic, hour))
                minute = next(minutes)
                writer.append(minute)
                truth += minute.truth
                if number < 59:
                    growing[nic, hour] = writer, minutes
            if on_minute:
                on_minute(truth)
    return truth


def _container(service: BlobServiceClient, name: str) -> ContainerClient:
    with suppress(ResourceExistsError):
        service.create_container(name)
    return service.get_container_client(name)


def _turns(
    nics: Sequence[Nic], hours: Sequence[datetime], rng: random.Random
) -> Iterator[list[tuple[Nic, datetime, int]]]:
    """Yield, for each minute that passes, which minutes (0..59) of which blobs are written, in order.

    Some blobs get their last minute late, among the first ones of the next hour, as in reality.
    """
    late: list[tuple[Nic, datetime, int]] = []
    for hour in sorted(set(hours)):
        for number in range(60):
            turns = [(nic, hour, number) for nic in nics] + late
            rng.shuffle(turns)
            late = [turn for turn in turns if number == 59 and rng.random() < 0.5]
            yield [turn for turn in turns if turn not in late]
    if late:
        yield late


def demo_nics(count: int) -> list[Nic]:
    """Name `count` NICs, spread over the three formats, several to a group."""
    groups: tuple[tuple[Format, tuple[str, str]], ...] = (
        ("vnet-v4", ("flowlog-hub", "flowlog-spoke")),
        ("nsg-v2", ("nsg-web", "nsg-data")),
        ("nsg-v1", ("nsg-legacy", "nsg-branch")),
    )

    def nic(number: int) -> Nic:
        kind, names = groups[number % 3]
        return Nic(kind, f"000D3A{number + 1:06X}", names[number // 6 % 2])

    return [nic(number) for number in range(count)]


def main() -> None:
    """Write flow logs and print what is true of them, as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.network_watcher", description=main.__doc__)
    default = os.environ.get("FLOW_LOGS")
    parser.add_argument(
        "--connection-string", default=default, required=not default, help="of the storage [env FLOW_LOGS]"
    )
    parser.add_argument("--nics", type=int, default=6)
    parser.add_argument("--hours", type=int, default=2)
    parser.add_argument(
        "--until", type=datetime.fromisoformat, default=datetime.now(UTC), help="end of the last hour [now]"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tuples-per-minute", type=int, default=40, help="of each NIC, on average")
    parser.add_argument("--seconds-per-minute", type=float, default=0.0)
    parser.add_argument("--bad", type=float, default=0.002, help="proportion of malformed tuples")
    parser.add_argument("--garbled", type=float, default=0.0, help="probability of garbled bytes, a minute")
    given = parser.parse_args()

    until = given.until if given.until.tzinfo else given.until.replace(tzinfo=UTC)
    until = until.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    nics = demo_nics(given.nics)
    hours = [until - timedelta(hours=ago) for ago in range(given.hours, 0, -1)]
    truth = write(
        given.connection_string,
        nics,
        hours,
        seed=given.seed,
        tuples_per_minute=given.tuples_per_minute,
        seconds_per_minute=given.seconds_per_minute,
        bad=given.bad,
        garbled=given.garbled,
    )
    print(
        json.dumps(
            {
                "blobs": len(nics) * len(hours),
                "records": truth.records,
                "tuples": truth.tuples,
                "malformed": truth.malformed,
                "garbled_bytes": truth.garbled_bytes,
            }
        )
    )


if __name__ == "__main__":
    main()

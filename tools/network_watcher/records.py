"""Records in JSON, the blocks that hold them, and the bytes between them."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from tools.network_watcher.flows import Line
from tools.network_watcher.hosts import PATTERNS
from tools.network_watcher.nics import SUBSCRIPTION, Nic

OPENER = b'{"records":['
CLOSER = b"]}"
RECORD_BYTES = 32_000
"""Network Watcher starts a new record, with the same time, when one reaches about this size."""

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


def record_of(nic: Nic, lines: Sequence[Line], time: str, rng: random.Random) -> bytes:
    """Write a record down."""
    make = _vnet_record if nic.format == "vnet-v4" else _nsg_record
    return json.dumps(make(nic, lines, time, rng), separators=(",", ":")).encode()


def _nsg_record(nic: Nic, lines: Sequence[Line], time: str, rng: random.Random) -> _Json:
    rules = _by_rule(lines)
    flows = [
        _varied(rng, {"rule": rule, "flows": [_varied(rng, {"mac": nic.mac, "flowTuples": tuples})]})
        for rule, tuples in rules.items()
    ]
    quiet = sorted({pattern.rule for pattern in PATTERNS} - rules.keys())
    if quiet and rng.random() < 0.3:
        flows.insert(rng.randint(0, len(flows)), _varied(rng, {"rule": rng.choice(quiet), "flows": []}))
    version = 2 if lines[0].format == "nsg-v2" else 1
    members: _Json = {
        "time": time,
        "systemId": _guid(nic),
        "category": "NetworkSecurityGroupFlowEvent",
        "resourceId": nic.log,
        "operationName": "NetworkSecurityGroupFlowEvents",
        "properties": _varied(rng, {"Version": version, "flows": flows}),
    }
    if version == 2 or rng.random() < 0.5:  # the oldest logs lack it
        members["macAddress"] = nic.mac
    return _varied(rng, members)


def _vnet_record(nic: Nic, lines: Sequence[Line], time: str, rng: random.Random) -> _Json:
    flows = []
    for acl in dict.fromkeys(line.flow.acl for line in lines):
        groups = [
            _varied(rng, {"rule": rule, "flowTuples": tuples})
            for rule, tuples in _by_rule(line for line in lines if line.flow.acl == acl).items()
        ]
        cut = rng.randint(0, len(groups))  # a list may recur, each time with some of its rules
        parts = [part for part in (groups[:cut], groups[cut:]) if part]
        flows += [_varied(rng, {"aclID": acl, "flowGroups": part}) for part in parts]
    network = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-demo/providers/Microsoft.Network"
    return _varied(
        rng,
        {
            "time": time,
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


def _by_rule(lines: Iterable[Line]) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for line in lines:
        rules.setdefault(line.flow.pattern.rule, []).append(line.text)
    return rules


@lru_cache(maxsize=1024)
def _guid(nic: Nic) -> str:
    return str(UUID(int=random.Random(f"log {nic.group}").getrandbits(128), version=4))


def timestamp(written_ms: float) -> str:
    """Format a record's time as Network Watcher does: with seven digits of a second."""
    ticks = int(written_ms * 10_000)
    moment = datetime.fromtimestamp(ticks // 10_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ticks % 10_000_000:07d}Z"


def cut(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cut a minute's tuples into the portions of its records."""
    part: list[Line] = []
    size = 0
    for line in lines:
        full = size >= RECORD_BYTES - 1_000 and line.place != "after"
        if part and (full or line.place == "apart"):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.text) + 3  # two quotes and a comma
    if part:
        yield part


_NOISE = bytes(set(range(256)) - set(b"{}[], \t\r\n"))


def garbled_stretch(record: bytes, rng: random.Random) -> bytes:
    """Make a stretch that is no record: one cut off in the middle, or noise without braces or commas."""
    if rng.random() < 0.5:
        return record[: rng.randrange(20, len(record) - 1)].rstrip(b",")
    return bytes(rng.choices(_NOISE, k=rng.randrange(20, 400)))


def blocks_of(
    records: Sequence[bytes], stretch: bytes, rng: random.Random, *, first: bool
) -> tuple[bytes, ...]:
    """Pack a minute's records into one block or into one each, behind the garbled stretch if there is one."""
    together = [b",".join(records)] if records and rng.random() < 0.5 else records
    bodies = [stretch, *together] if stretch else together
    return tuple(b"," * (not first or index > 0) + body for index, body in enumerate(bodies))

"""The bench's data: logs made on the spot, from seeds, and ways to count them."""

import random
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from shared.blobs import WINDOW
from shared.flowlog.records import Record, RecordReader
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts, HourCounts
from tools.network_watcher import CLOSER, OPENER, Format, Nic, hour_of, whole_blob

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
BUSY = 2500
"""Tuples a minute of a busy interface."""

FLOODED = 100_000
"""Tuples of a flood, and at the most its sources."""


def nic_of(form: Format) -> Nic:
    """The interface that is measured."""
    return Nic(form, "000D3A00BE0C", "bench")


@lru_cache(maxsize=4)
def hour_blob(form: Format, tuples_per_minute: int, *, shuffled: bool = False, restarts: float = 0) -> bytes:
    """An hour's blob. Keys stand in the order in which Network Watcher writes them or, ``shuffled``, in
    another one in each object. Of a VNet log's tuples, this proportion is of restarts.
    """
    minutes = hour_of(
        nic_of(form), HOUR, seed=1, tuples_per_minute=tuples_per_minute, bad=0, restarts=restarts, parted=0
    )
    blob = whole_blob(minutes)[0]
    return blob if shuffled else orjson.dumps(_ordered(orjson.loads(blob)))


def minute_blob(form: Format, tuples: int) -> bytes:
    """A blob of one minute."""
    return whole_blob(
        hour_of(nic_of(form), HOUR, seed=3, tuples_per_minute=tuples, minutes=1, bad=0, restarts=0)
    )[0]


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        names = {key.lower(): key for key in value}
        return {name: _ordered(value[names[name]]) for name in sorted(names, key=_place)}
    return [*map(_ordered, value)] if isinstance(value, list) else value


def _place(name: str) -> tuple[bool, bool, str]:
    return name in {"properties", "flowrecords", "flows", "flowgroups", "flowtuples"}, name != "time", name


def repeated(blob: bytes, size: int) -> bytes:
    """A blob's records as often as makes about ``size`` bytes."""
    body = blob[len(OPENER) : -len(CLOSER)]
    return OPENER + b",".join([body] * max(1, round(size / len(body)))) + CLOSER


def flood(form: Format, sources: int, tuples: int = FLOODED) -> bytes:
    """An hour in which so many addresses knock at one, and get in half of the time."""
    rng = random.Random(1)
    records = []
    for number in range(0, tuples, 350):
        lines = [_knock(form, each, sources, rng) for each in range(number, number + 350)]
        groups = [{"rule": "UserRule_flood", "flowTuples": lines}]
        if form == "vnet-v4":
            properties: dict[str, object] = {"flowRecords": {"flows": [{"aclID": "a", "flowGroups": groups}]}}
        else:
            inner = [{"rule": "UserRule_flood", "flows": [{"flowTuples": lines}]}]
            properties = {"properties": {"Version": int(form[-1]), "flows": inner}}
        records.append(orjson.dumps({"time": "2026-01-01T12:01:02.1234567Z", **properties}))
    return OPENER + b",".join(records) + CLOSER


def _knock(form: Format, number: int, sources: int, rng: random.Random) -> str:
    host, denied = number % sources, number % 2
    port = rng.randrange(65_536) if sources > 50 else number % 50
    milliseconds = "000" if form == "vnet-v4" else ""
    source = f"100.{64 + (host >> 16)}.{host >> 8 & 255}.{host & 255}"
    ends = f"{source},10.0.0.4,{number % 50_000},{port}"
    verdict = {
        "nsg-v1": "T,I," + "AD"[denied],
        "nsg-v2": "T,I," + ("A,E", "D,B")[denied],
        "vnet-v4": "6,I," + ("E,NX", "D,NX")[denied],
    }[form]
    counters = "" if form == "nsg-v1" else ",,,," if denied else f",{number % 90},{number * 7},3,900"
    return f"{int(HOUR.timestamp()) + number // 30}{milliseconds},{ends},{verdict}{counters}"


def count(blob: bytes, counts: BlobCounts | None = None, window: int = WINDOW) -> BlobCounts:
    """All that ingest does between reading and packing."""
    counter = BlobCounter(counts or BlobCounts(), HOUR, "000D3AF87856", "")
    for at in range(0, len(blob), window):
        counter.feed(blob[at : at + window], last=at + window >= len(blob))
    return counter.counts


def count_plainly(blob: bytes, counts: BlobCounts | None = None) -> BlobCounts:
    """The same by the reference, one tuple at a time."""
    counts = counts or BlobCounts()
    for item in RecordReader().feed(blob):
        if isinstance(item, Record):
            counts.count_record(item, HOUR, "000D3AF87856", "")
            counts.settle()
    return counts


def keys_of(shares: dict[int, HourCounts]) -> int:
    """Keys in all families of all shares."""
    return sum(len(family) for share in shares.values() for family in share.families.values())


def shares_with(form: Format, keys: int) -> dict[int, HourCounts]:
    """Counts of an hour with exactly so many keys: those of a quiet one, less the smallest of them."""
    shares = count(hour_blob(form, 10)).shares
    while keys_of(shares) > keys:
        largest = max((each for share in shares.values() for each in share.families.values()), key=len)
        largest.trim(len(largest) - 1)
    return shares

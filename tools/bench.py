"""What it costs, as ratios against a baseline measured in the same run: ``make bench``.

The floor is ``orjson.loads`` of the same bytes, the fastest way to look at all of a record that there is in
Python. The reference is the plain reading, one tuple at a time, doing the same counts. Runs are interleaved,
and the median is taken, because machines are shared and noisy.

The bulk is one busy interface's hour, again and again. Records are written as Network Watcher writes them,
with keys in the same order each time; ``shuffled`` has every object's keys in an order of its own.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

import orjson

from shared.flowlog.records import Record, RecordReader
from shared.ledger.packing import pack, unpack
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from tools.network_watcher import Format, Nic, hour_of, whole_blob

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR_S = int(HOUR.timestamp())
WINDOW = 4 * 1024 * 1024

type Measured = dict[str, object]


def main() -> int:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=main.__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100], help="sizes of the bulk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="count a gigabyte and print the memory it took")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(json.dumps(memory_of(given.memory_of)))
        return 0
    if given.memory:
        print(json.dumps(memory()))
        return 0
    measured = [*bulk(given.megabytes, given.rounds), *floods(given.rounds), *small(given.rounds)]
    measured += packings(given.rounds)
    for row in measured:
        print("  ".join(f"{title} {value}" for title, value in row.items()), flush=True)
    print(json.dumps({"floor": "orjson.loads", "rounds": given.rounds, "measured": measured}))
    return 0


def bulk(sizes: list[int], rounds: int) -> Iterator[Measured]:
    """Large blobs of each format, against the floor and the reference (which counts a tenth of the bytes)."""
    for form in get_args(Format):
        for shuffled in (False, True):
            hour = busy_hour(form, 2500, shuffled=shuffled)
            for size in sizes:
                blob = repeated(hour, size * 10**6)
                part = blob[: len(blob) // (10 if size <= 10 else 100)]
                floor, engine, reference = medians(
                    rounds, partial(orjson.loads, blob), partial(count, blob), partial(count_plainly, part)
                )
                yield {
                    "what": f"bulk {form}{' shuffled' if shuffled else ''}",
                    "bytes": len(blob),
                    "engine_x_floor": round(engine / floor, 2),
                    "target": 4.5 if size <= 10 else 3.0,
                    "reference_x_engine": round(reference / len(part) / (engine / len(blob)), 1),
                    "MB_per_s": round(len(blob) / engine / 1e6, 1),
                }


def floods(rounds: int) -> Iterator[Measured]:
    """100,000 sources in an hour, all families full, against as many bytes with few keys."""
    for form in get_args(Format):
        many, few = flood(form, 100_000), flood(form, 50)
        of_many, of_few = medians(rounds, partial(count, many), partial(count, few))
        ratio = (of_many / len(many)) / (of_few / len(few))
        yield {"what": f"flood {form}", "bytes": len(many), "x_few_keys": round(ratio, 2), "target": 1.5}


def small(rounds: int) -> Iterator[Measured]:
    """A minute of 2 KB and one of 20 KB, for an empty blob and for one of many keys."""
    for form in get_args(Format):
        before = count(busy_hour(form, 300)).shares
        for size in (20, 200):
            blob = whole_blob(hour_of(_nic(form), HOUR, seed=3, tuples_per_minute=size, minutes=1, bad=0))[0]
            for what, packed in (("empty", b""), ("full", pack(before))):
                known = [BlobCounts(shares=unpack(packed) if packed else {}) for _ in range(20 * rounds)]
                engine, reference = medians(
                    10 * rounds, partial(_on, known, count, blob), partial(_on, known, count_plainly, blob)
                )
                yield {
                    "what": f"small {form}, {what}",
                    "bytes": len(blob),
                    "engine_x_reference": round(engine / reference, 2),
                    "target": 1.0,
                }


def packings(rounds: int) -> Iterator[Measured]:
    """Packing and unpacking, in milliseconds."""
    for form in get_args(Format):
        for tuples, target in ((10, None), (2500, 25)):
            shares = count(busy_hour(form, tuples)).shares
            packed = pack(shares)
            took, untook = medians(rounds, partial(pack, shares), partial(unpack, packed))
            yield {
                "what": f"packing {form}",
                "keys": sum(len(family) for share in shares.values() for family in share.families.values()),
                "bytes": len(packed),
                "pack_ms": round(1e3 * took, 2),
                "unpack_ms": round(1e3 * untook, 2),
                "target": target,
            }


def memory() -> Measured:
    """Count a gigabyte in windows, and say how much memory that took beyond the imported process."""
    body = busy_hour("nsg-v2", 2500)[len(b'{"records":[') : -2] + b","
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "tools.bench", "--memory-of", file.name],
            stdout=subprocess.PIPE,
            check=True,
        )
    measured: Measured = json.loads(done.stdout)
    return measured


def memory_of(path: Path) -> Measured:
    """The same, of a blob that is this file's records again and again, in a process of its own."""
    before = _most_memory()
    counter = BlobCounter(BlobCounts(), HOUR, "")
    fed = 0
    while fed < 10**9:
        with path.open("rb") as file:
            while data := file.read(WINDOW):
                counter.feed(data, last=False)
                fed += len(data)
    counter.feed(b"]}")
    after = _most_memory()
    return {"bytes": fed, "tuples": counter.counts.tuples, "MB_more": round((after - before) / 1024, 1)}


def _most_memory() -> int:
    """KiB that this process has had at the most; unlike ``getrusage``, this forgets its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def count(blob: bytes, counts: BlobCounts | None = None) -> BlobCounts:
    """All that ingest does between reading and packing."""
    counter = BlobCounter(counts or BlobCounts(), HOUR, "")
    for at in range(0, len(blob), WINDOW):
        counter.feed(blob[at : at + WINDOW], last=at + WINDOW >= len(blob))
    return counter.counts


def count_plainly(blob: bytes, counts: BlobCounts | None = None) -> BlobCounts:
    """The same by the reference."""
    counts = counts or BlobCounts()
    for item in RecordReader().feed(blob):
        if isinstance(item, Record):
            counts.count_record(item, HOUR, "")
    return counts


def _on(known: list[BlobCounts], count: Callable[[bytes, BlobCounts], BlobCounts], blob: bytes) -> None:
    """Count into the next of these."""
    count(blob, known.pop())


def _nic(form: Format) -> Nic:
    return Nic(form, "000D3A00BE0C", "bench")


def busy_hour(form: Format, tuples_per_minute: int, *, shuffled: bool = False) -> bytes:
    """An hour's blob."""
    minutes = hour_of(_nic(form), HOUR, seed=1, tuples_per_minute=tuples_per_minute, bad=0)
    blob = whole_blob(minutes)[0]
    return blob if shuffled else orjson.dumps(_ordered(orjson.loads(blob)))


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        names = {key.lower(): key for key in value}
        return {name: _ordered(value[names[name]]) for name in sorted(names, key=_place)}
    return [*map(_ordered, value)] if isinstance(value, list) else value


def _place(name: str) -> tuple[bool, bool, str]:
    return name in {"properties", "flowrecords", "flows", "flowgroups", "flowtuples"}, name != "time", name


def repeated(hour: bytes, size: int) -> bytes:
    """The hour's records as often as makes about ``size`` bytes."""
    opener = b'{"records":['
    body = hour[len(opener) : -2]
    return opener + b",".join([body] * max(1, round(size / len(body)))) + b"]}"


def flood(form: Format, sources: int) -> bytes:
    """An hour in which so many addresses knock at one, and get in half of the time."""
    rng = random.Random(1)
    records = []
    for number in range(0, 100_000, 350):
        lines = []
        for each in range(number, number + 350):
            host = each % sources
            source = f"100.{64 + (host >> 16)}.{host >> 8 & 255}.{host & 255}"
            ends = f"{HOUR_S + each // 30}{'000' if form == 'vnet-v4' else ''},{source},10.0.0.4"
            port, denied = (rng.randrange(65_536) if sources > 50 else each % 50), each % 2
            counters = "" if form == "nsg-v1" else ",,,," if denied else f",{each % 90},{each * 7},3,900"
            verdict = {
                "nsg-v1": "T,I," + "AD"[denied],
                "nsg-v2": "T,I," + ("A,E", "D,B")[denied],
                "vnet-v4": "6,I," + ("E,NX", "D,NX")[denied],
            }[form]
            lines.append(f"{ends},{each % 50_000},{port},{verdict}{counters}")
        groups = [{"rule": "UserRule_flood", "flowTuples": lines}]
        if form == "vnet-v4":
            properties: dict[str, object] = {"flowRecords": {"flows": [{"aclID": "a", "flowGroups": groups}]}}
        else:
            inner = [{"rule": "UserRule_flood", "flows": [{"flowTuples": lines}]}]
            properties = {"properties": {"Version": int(form[-1]), "flows": inner}}
        records.append(orjson.dumps({"time": "2026-01-01T12:01:02.1234567Z", **properties}))
    return b'{"records":[' + b",".join(records) + b"]}"


def medians(rounds: int, *jobs: Callable[[], object]) -> list[float]:
    """Seconds of each job, run by turns."""
    taken: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, times in zip(jobs, taken, strict=True):
            began = time.perf_counter()
            result = job()
            times.append(time.perf_counter() - began)
            del result
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    sys.exit(main())

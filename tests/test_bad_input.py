"""Whatever bytes a blob holds, the reader ends, keeps its memory, and accounts for every tuple.

With `--effort 2500`: a blob of 1 GB, a record of 200 MB, one with eighty million tuples, more mutations.
"""

import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog.rejects import Reject
from shared.tally.blob_counter import MOST_REJECTS, BlobCounter
from shared.tally.hour_counts import BlobCounts
from tools.network_watcher import Format, Nic, hour_of, whole_blob

HOUR = datetime(2026, 10, 31, 23, tzinfo=UTC)
WINDOW = 4 * 1024 * 1024
FORMATS: tuple[Format, ...] = ("nsg-v1", "nsg-v2", "vnet-v4")


# Mutated blobs, and a scan of their bytes that knows nothing of the reader


@cache
def a_blob(kind: Format, seed: int) -> bytes:
    """Some minutes as Network Watcher writes them, with bad tuples and garbled stretches."""
    minutes = hour_of(
        Nic(kind, "000D3A000002", "g"), HOUR, seed=seed, tuples_per_minute=4, minutes=6, bad=0.2
    )
    return whole_blob(minutes)[0]


TOKENS = (
    *(b'"', b",", b"[", b"]", b"{", b"}", b":", b"\\", b"\\u0000", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf"),
    *(b"null", b"NaN", b"1e999", b"-", b"9" * 400, b'""', b'","', b'"rule":"x",', b'"Version":2'),
    *(b'"flowTuples":[', b'"flowTuples":"', b'"records":[', b'{"time":', b"]}]}]}}"),
    *(b"\x00" * 9, b" " * 50, b"[" * 2000, b'{"a":' * 500),
)


@st.composite
def mutated_blobs(draw: st.DrawFn) -> bytes:
    """Blobs with some bytes changed, cut out, doubled, moved, or put in."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    data = bytearray(a_blob(draw(st.sampled_from(FORMATS)), rng.randrange(4)))
    for _ in range(draw(st.integers(0, 12))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 1, 1, 2, 10, 100, 1500]))
        match rng.randrange(6):
            case 0:
                data[start:end] = rng.randbytes(end - start)
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end]
            case 3:
                place = rng.randrange(len(data) + 1)
                data[place:place] = data[start:end]
            case _:
                data[start:end] = rng.choice(TOKENS)
    return bytes(data)


SEPARATORS = re.compile(
    rb'(?:[ \t\r\n,]|\][ \t\r\n]*\}|\{[ \t\r\n]*"records"[ \t\r\n]*:[ \t\r\n]*\[|\xef\xbb\xbf)*',
    re.IGNORECASE,
)


def scan(data: bytes, garbled: dict[int, int], offset: int) -> tuple[int, int]:
    """The records and the tuples that stand outside of the garbled stretches (given by start and end)."""
    records = tuples = at = 0
    decoder = json.JSONDecoder(object_pairs_hook=lowered)
    while True:
        found = SEPARATORS.match(data, at)
        start = found.end() if found else at
        if start >= offset:
            return records, tuples
        if start in garbled:
            at = garbled[start]
            continue
        document, length = decoder.raw_decode(data[start:].decode("latin-1"))
        records, tuples, at = records + 1, tuples + tuples_in(document), start + length


def tuples_in(record: dict[str, Any]) -> int:
    """The elements of all arrays of tuples that stand where the format has them."""
    if "flowrecords" in record:
        outer, inner = record["flowrecords"]["flows"], "flowgroups"
    else:
        outer, inner = record["properties"]["flows"], "flows"
    return sum(len(group["flowtuples"]) for flow in outer for group in flow[inner])


def lowered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are in lower case."""
    return {key.lower(): value for key, value in pairs}


def count(data: bytes) -> tuple[BlobCounter, list[Reject]]:
    """Count a blob as a whole."""
    counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "/nsg")
    return counter, counter.feed(data)


def assert_conserved(data: bytes) -> None:
    """Every tuple of the bytes is counted once or rejected once, and every byte belongs to something."""
    counter, rejects = count(data)
    counts, offset = counter.counts, counter.reader.position
    garbled = {reject.start: reject.end for reject in rejects if not reject.count}
    assert scan(data, garbled, offset) == (counts.records, counts.tuples + counts.malformed)
    assert sum(end - start for start, end in garbled.items()) == counts.garbled_bytes
    assert sum(reject.count for reject in rejects) == counts.malformed
    assert sum(map(counts.tuples_in_share, counts.shares)) == counts.tuples
    left = counter.reader.unread()
    at = left.start if left else len(data)
    assert not SEPARATORS.sub(b"", data[offset:at])


@pytest.mark.timeout(0)
def test_every_tuple_is_counted_or_rejected(pytestconfig: pytest.Config) -> None:
    examples = settings(max_examples=150 * pytestconfig.getoption("--effort") // 100, deadline=None)
    examples(given(mutated_blobs())(assert_conserved))()


# Large and monstrous input


def large(kind: str, size: int) -> Iterator[bytes]:
    """A blob of about ``size`` bytes in pieces; whatever it holds, a good record of one tuple is its last."""
    begin = (
        b'{"time":"2026-10-31T23:01:00Z","category":"NetworkSecurityGroupFlowEvent","properties":'
        b'{"Version":2,"flows":[{"rule":"UserRule_web","flows":[{"mac":"000D3AF87856","flowTuples":['
    )
    end = b"]}]}]}}"
    some = b",".join(
        b'"%d,203.0.113.%d,10.0.0.4,%d,%d,T,I,D,B,,,,"' % (HOUR.timestamp() + n % 60, n % 200, n, n % 100)
        for n in range(1000)
    )

    def filled(piece: bytes) -> Iterator[bytes]:
        return repeat(piece, size // len(piece) + 1)

    yield b'{"records":['
    match kind:
        case "blob":
            yield from filled(begin + some + end + b",")
        case "record":
            yield from chain([begin, some], filled(b"," + some), [end, b","])
        case "tuples":
            yield from chain([begin, b'""'], filled(b',""' * 10_000), [end, b","])
        case "string":
            yield from chain([begin, b'"'], filled(b"x" * 100_000), [b'"', end, b","])
        case "nested":
            yield from ([b'{"time":', b"[" * (size // 2), b"]" * (size // 2), b"},"])
        case "garbage":
            yield from filled(bytes(range(0x80, 0x100)) * 1000)
            yield b","
    yield begin + b'"%d,203.0.113.1,10.0.0.4,1,2,T,I,D,B,,,,"' % HOUR.timestamp() + end + b"]}"


def windows(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes as a blob is read."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= WINDOW:
            yield bytes(held[:WINDOW])
            del held[:WINDOW]
    yield bytes(held)


def swallow(kind: str, size: int) -> dict[str, int]:
    """Count a large blob in this process; what came of it, and the memory that it took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "/nsg")
    fed = rejected = garbled = 0
    for data, following in pairwise(chain(windows(large(kind, size)), [b""])):
        fed += len(data)
        for reject in counter.feed(data, last=not following):
            rejected, garbled = rejected + reject.count, garbled + (not reject.count)
    counts = counter.counts
    return {
        "bytes": fed,
        "position": counter.reader.position,
        "tuples": counts.tuples,
        "malformed": counts.malformed,
        "garbled": counts.garbled_bytes,
        "stretches": garbled,
        "rejected": rejected,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
    }


LARGE = {  # bytes at the usual effort, and what is garbled of it
    "blob": (40_000_000, 0),
    "record": (8_000_000 + 2_000_000, 1),
    "tuples": (10_000_000, 1),
    "string": (9_000_000, 1),
    "nested": (200_000, 1),
    "garbage": (20_000_000, 1),
}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", LARGE)
def test_memory_is_bounded_and_the_record_behind_is_counted(kind: str, pytestconfig: pytest.Config) -> None:
    size, is_garbled = LARGE[kind]
    size = max(size, size * min(pytestconfig.getoption("--effort"), 2_500) // 100)
    run = f"from tests.test_bad_input import *; print(json.dumps(swallow({kind!r}, {size})))"
    ended = subprocess.run(
        [sys.executable, "-c", run], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    got = json.loads(ended.stdout)
    assert got["position"] == got["bytes"] - len("]}")
    assert got["rejected"] == got["malformed"]
    assert bool(got["stretches"]) == bool(is_garbled)
    assert got["tuples"] == 1 if is_garbled else got["tuples"] > size // 60
    assert not is_garbled or 0 <= got["bytes"] - got["garbled"] < 400
    assert got["megabytes"] < 200
    assert got["stretches"] < MOST_REJECTS

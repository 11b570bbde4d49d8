"""Rows from bytes to counts and back, without storage: CPU seconds.

The *floor* is ``orjson.loads`` of the same bytes, the fastest way to look at all of a record that there is in
Python. The *reference* is the plain reading, one tuple at a time, doing the same counts.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import add
from statistics import median
from typing import get_args

import orjson

from shared.blobs import WINDOW
from shared.tally.hour_counts import BlobCounts, HourCounts
from shared.tally.packing import pack, unpack
from tools.bench.logs import (
    BUSY,
    FLOODED,
    count,
    count_plainly,
    flood,
    hour_blob,
    keys_of,
    minute_blob,
    repeated,
    shares_with,
)
from tools.bench.measuring import Row, by_turns, ratios
from tools.network_watcher import Format

FORMATS: tuple[Format, ...] = get_args(Format)
_MIB = 1024 * 1024


def bulk(megabytes: Sequence[int], rounds: int, tuples_per_minute: int = BUSY) -> Iterator[Row]:
    """One busy interface's hour, again and again, against the floor and the reference; the latter counts a
    tenth of the small bulk, a hundredth of the large one.
    """
    for form in FORMATS:
        for shuffled in (False, True):
            hour = hour_blob(form, tuples_per_minute, shuffled=shuffled)
            for size in megabytes:
                blob = repeated(hour, size * 10**6)
                share = 10 if size <= 10 else 100
                part = blob[: len(blob) // share]
                floor, counted, plainly = by_turns(
                    rounds, partial(orjson.loads, blob), partial(count, blob), partial(count_plainly, part)
                )
                what = f"{form}, {size} MB{', keys in any order' if shuffled else ''}"
                yield Row(
                    *("bulk", what, "× floor", ratios(counted, floor)),
                    None if shuffled else 4.5 if size <= 10 else 3.2,
                    aside={"MB/s": len(blob) / median(counted) / 1e6},
                )
                if not shuffled:
                    faster = ratios(plainly, counted, share)
                    yield Row("bulk", what, "× faster than the reference", faster, 8, at_least=True)


def restarts(rounds: int, tuples_per_minute: int = BUSY) -> Iterator[Row]:
    """A VNet log of which half the tuples are restarts, against one without any."""
    without, half = (
        repeated(hour_blob("vnet-v4", tuples_per_minute, restarts=share), 10**7) for share in (0, 0.5)
    )
    of_half, of_none = by_turns(rounds, partial(count, half), partial(count, without))
    figures = ratios(of_half, of_none, len(without) / len(half))
    yield Row("restarts", "vnet-v4, half of the tuples", "× no restarts", figures, 2.0)


def floods(rounds: int, tuples: int = FLOODED) -> Iterator[Row]:
    """100,000 sources in an hour, all families full, against as many bytes with few keys."""
    for form in FORMATS:
        many, few = flood(form, FLOODED, tuples), flood(form, 50, tuples)
        of_many, of_few = by_turns(rounds, partial(count, many), partial(count, few))
        figures = ratios(of_many, of_few, len(few) / len(many))
        yield Row(
            *("floods", f"{form}, 100,000 sources", "× few keys", figures, 1.7),
            aside={"MB": len(many) / 1e6, "MB/s": len(many) / median(of_many) / 1e6},
        )


def small(rounds: int) -> Iterator[Row]:
    """A minute of about 2 kB and one of about 20 kB, for an empty blob and for one of many keys."""
    for form in FORMATS:
        packed = pack(count(hour_blob(form, 300)).shares)
        for tuples in (20, 260):
            blob = minute_blob(form, tuples)
            for what, shares in (("empty", b""), ("full", packed)):
                known = [BlobCounts(shares=unpack(shares) if shares else {}) for _ in range(2 * rounds)]
                engine, reference = by_turns(
                    rounds, partial(_into, known, count, blob), partial(_into, known, count_plainly, blob)
                )
                yield Row(
                    *("small", f"{form}, {len(blob) / 1e3:.1f} kB onto {what} counts", "× reference"),
                    ratios(engine, reference),
                    1.0,
                    aside={"ms": 1e3 * median(engine)},
                )


def _into(known: list[BlobCounts], count: Callable[[bytes, BlobCounts], BlobCounts], blob: bytes) -> None:
    """Count into the next of these."""
    count(blob, known.pop())


def packing(rounds: int, tuples_per_minute: int = BUSY) -> Iterator[Row]:
    """Packing and unpacking a small entity and a full one, against the same rows as JSON in zlib."""
    for form in FORMATS:
        full = count(hour_blob(form, tuples_per_minute)).shares
        for what, shares, target in (("small", shares_with(form, 200), None), ("full", full, 2.0)):
            packed, rows = pack(shares), _rows_of(shares)
            as_json = _to_json(rows)
            packs, unpacks, writes, reads = by_turns(
                rounds,
                partial(pack, shares),
                partial(unpack, packed),
                partial(_to_json, rows),
                partial(_of_json, as_json),
            )
            both, plainly = ([*map(add, *each)] for each in ((packs, unpacks), (writes, reads)))
            yield Row(
                *("packing", f"{form}, {what}: {keys_of(shares):,} keys", "× JSON and zlib"),
                *(ratios(both, plainly), target),
                aside={"ms": 1e3 * median(both), "kB": len(packed) / 1e3, "kB as JSON": len(as_json) / 1e3},
            )


type _JsonRows = dict[str, list[list[object]]]


def _rows_of(shares: Mapping[int, HourCounts]) -> _JsonRows:
    """Each family's rows as lists: key, figures, missed."""
    return {
        f"{share} {name}": [[*row.key, *row.figures, row.missed] for row in family.rows()]
        for share, hour in shares.items()
        for name, family in hour.families.items()
    }


def _to_json(rows: _JsonRows) -> bytes:
    return zlib.compress(orjson.dumps(rows), level=1)


def _of_json(written: bytes) -> object:
    return orjson.loads(zlib.decompress(written))


def windows(megabytes: int, rounds: int, tuples_per_minute: int = BUSY) -> Iterator[Row]:
    """The size of the windows that a large blob is read in, against the one that is in use."""
    blob = repeated(hour_blob("vnet-v4", tuples_per_minute), megabytes * 10**6)
    sizes = [_MIB // 4, _MIB, 16 * _MIB]
    used, *others = by_turns(rounds, *(partial(count, blob, None, size) for size in (WINDOW, *sizes)))
    for size, taken in zip(sizes, others, strict=True):
        yield Row("windows", f"{size / _MIB:g} MiB", f"× {WINDOW // _MIB} MiB", ratios(taken, used))

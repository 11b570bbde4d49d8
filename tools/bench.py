"""What it costs, as ratios against a baseline measured in the same run: ``make bench``.

The floor is ``json.loads`` of the same bytes: no reader that looks at all of a record can be faster with the
same decoder. Runs are interleaved, and the median is taken, because machines are shared and noisy.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import get_args

from shared.flowlog.records import Record, RecordReader
from shared.ledger.packing import pack, unpack
from shared.tally.hour_counts import BlobCounts
from tools.network_watcher import Format, Nic, hour_of, whole_blob

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROUNDS = 7


def main() -> int:
    """Measure, and print a table and one line of JSON."""
    measured: list[dict[str, object]] = []
    for form in get_args(Format):
        nic = Nic(form, "000D3A00BE0C", "bench")
        for minute_tuples in (10, 300):
            blob, _ = whole_blob(hour_of(nic, HOUR, seed=1, tuples_per_minute=minute_tuples, bad=0))
            counts = count(blob)
            packed = pack(counts.shares)
            floor, *times = medians(
                partial(json.loads, blob),
                partial(count, blob),
                partial(pack, counts.shares),
                partial(unpack, packed),
            )
            measured.append(
                {
                    "format": form,
                    "bytes": len(blob),
                    "tuples": counts.tuples,
                    "keys": sum(
                        len(family) for share in counts.shares.values() for family in share.families.values()
                    ),
                    "packed_bytes": len(packed),
                    **{
                        f"{name}_x_floor": round(taken / floor, 2)
                        for name, taken in zip(("count", "pack", "unpack"), times, strict=True)
                    },
                }
            )
    titles = [*measured[0]]
    print("  ".join(f"{title:>14}" for title in titles))
    for row in measured:
        print("  ".join(f"{row[title]!s:>14}" for title in titles))
    print(json.dumps({"floor": "json.loads", "rounds": ROUNDS, "measured": measured}))
    return 0


def count(blob: bytes) -> BlobCounts:
    """All that ingest does between reading and packing."""
    counts = BlobCounts()
    for item in RecordReader().feed(blob):
        assert isinstance(item, Record)
        counts.count_record(item, HOUR, "")
    return counts


def medians(*jobs: Callable[[], object]) -> list[float]:
    """Seconds of each job, run by turns."""
    taken: list[list[float]] = [[] for _ in jobs]
    for _ in range(ROUNDS):
        for job, times in zip(jobs, taken, strict=True):
            began = time.perf_counter()
            job()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    sys.exit(main())

"""What asking costs: each question's time, requests and bytes, over a month of many scopes.

``python -m tools.bench_answers`` starts Azurite behind a counting forwarder, writes ``flowcounts`` as a
rollup would (days, and the hours of the last two days), and asks. One scope is busy and has all families, the
others are quiet and have few, so that loading takes minutes and not hours.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from shared.counts.health import Health, RejectTotal
from shared.counts.index import Head, Indexed, Period, day_period, hour_period, part_of
from shared.counts.store import SCOPES, Counts
from shared.flowlog.reasons import Reason
from shared.ledger.store import Ledger
from shared.settings import Connection
from shared.tables import Tables
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import pack_apart
from shared.views.asking import ask
from shared.views.query import Given, floor, read_query
from shared.views.questions import QUESTIONS
from tools.azurite import azurite
from tools.bench.logs import HOUR as HOUR_OF_LOGS
from tools.bench.logs import count
from tools.network_watcher import Nic, hour_of, whole_blob
from tools.proxy import Traffic, forwarded

NOW = floor(datetime.now(UTC), "hour") + timedelta(minutes=30)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SHARED = ("talkers", "denied-sources")
"""The questions that are asked of all scopes together."""


def main() -> int:
    """Load, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scopes", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with azurite() as emulator, forwarded(emulator) as (connection_string, traffic):
        direct = Tables(Connection("BENCH", connection_string=emulator.connection_string))
        direct.create()
        began = time.monotonic()
        parts = load(direct, given.scopes, given.days)
        print(
            f"{parts:,} parts of {given.scopes} scopes in {time.monotonic() - began:.0f} s", file=sys.stderr
        )
        tables = Tables(Connection("BENCH", connection_string=connection_string))
        print("| question | of | time | requests | kB | ms |")
        print("|---|---|---|---|---|---|")
        for name, asked in questions(given.days):
            print(measure(tables, traffic, name, asked, given.rounds), flush=True)
    return 0


def questions(days: int) -> Iterator[tuple[str, Given]]:
    """What is asked: every question of one scope, some of all."""
    for name in QUESTIONS:
        yield name, {"scope": ["scope-000"], "since": ["24h"]}
        yield name, {"scope": ["scope-000"], "since": [f"{days}d"]}
    for name in SHARED:
        yield name, {"since": [f"{days}d"]}


def measure(tables: Tables, traffic: Traffic, name: str, asked: Given, rounds: int) -> str:
    """Ask some times: the median time, and what one answer takes."""
    counts, times = Counts(tables), []
    for _ in range(rounds):
        traffic.clear()
        began = time.perf_counter()
        answer = ask(counts, Ledger(tables), read_query(name, asked, NOW))
        times.append(time.perf_counter() - began)
        assert answer.rows
    taken = sum(request.answer_bytes for request in traffic.requests)
    scope = "one scope" if "scope" in asked else f"{len(answer.scopes)} scopes"
    middle = sorted(times)[len(times) // 2]
    figures = (len(traffic.requests), f"{taken / 1000:,.0f}", f"{middle * 1000:,.0f}")
    cells = (name, scope, asked["since"][0], *figures)
    return f"| {' | '.join(map(str, cells))} |"


def load(tables: Tables, scopes: int, days: int) -> int:
    """Write the counts of all scopes; gives the number of their parts."""
    rng, counts = random.Random(1), Counts(tables)
    last, many, few = floor(NOW, "hour"), [*worlds(40)], [*worlds(1)]
    written = 0
    for number in range(scopes):
        scope = f"vnet~subscription~group~scope-{number:03d}"
        for period in periods(days):
            of_period = rng.choice(few if number else many)
            parts = pack_apart(of_period)
            if number:
                parts = {name: parts[name] for name in SHARED if name in parts}
            said = {name: part_of(of_period, name, len(packed), "") for name, packed in parts.items()}
            counts.store(scope, period, Head("made", said), parts)
            say(counts, scope, period)
            written += len(parts)
        row = {"PartitionKey": SCOPES, "RowKey": scope, "Scope": scope, "Name": scope[-9:], "Kind": "vnet"}
        times = {"FirstPeriod": NOW - days * DAY, "LastPeriod": last}
        counts.describe({**row, "ResourceId": "", "TargetResourceId": "", **times}, "")
    return written


def say(counts: Counts, scope: str, period: Period) -> None:
    """Write a period's row of the index."""
    health = Health(10, 10_000_000, 1_000, 100_000, last_record_time=period.begin + HOUR)
    counts.say_done(scope, period, Indexed("made", health, {Reason.PORT: RejectTotal(3, 0, 1)}, as_of=NOW))


def worlds(tuples_per_minute: int) -> Iterator[HourCounts]:
    """Some hours of one interface, with keys that mostly recur."""
    nic = Nic("vnet-v4", "000D3AF87856", "bench")
    for seed in range(4):
        data, _ = whole_blob(hour_of(nic, HOUR_OF_LOGS, seed=seed, tuples_per_minute=tuples_per_minute))
        yield count(data).shares[0]


def periods(days: int) -> Iterator[Period]:
    """The periods that there are: all days, and the hours of the last two days."""
    yield from (day_period(NOW - number * DAY) for number in range(days + 1))
    yield from (hour_period(floor(NOW, "hour") - number * HOUR) for number in range(48))


if __name__ == "__main__":
    sys.exit(main())

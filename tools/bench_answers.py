"""What asking costs: each question's time, requests and bytes, over a month of many scopes.

``python -m tools.bench_answers`` starts Azurite behind a counting forwarder, writes rows of ``flowstats`` as
a rollup would (days, and the hours of the last two days), and asks. One scope has as many rows as a view
keeps, the others have few, so that loading takes minutes and not hours.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from shared.settings import Connection
from shared.tables import Tables, write_batches
from shared.tally.measures import PLAIN
from shared.views.asking import ask
from shared.views.query import Given, floor, read_query
from shared.views.questions import QUESTIONS, Grain, Question
from shared.views.rows import ALL_SCOPES, Health, ViewRow, health_row, partition_of, period_key
from shared.views.store import CATALOG, Views
from tools.azurite import azurite
from tools.proxy import Traffic, forwarded

NOW = floor(datetime.now(UTC), "hour") + timedelta(minutes=30)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FULL, FEW = 100, 3
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
        rows = load(direct, given.scopes, given.days)
        print(f"{rows:,} rows of {given.scopes} scopes in {time.monotonic() - began:.0f} s", file=sys.stderr)
        views = Views(Tables(Connection("BENCH", connection_string=connection_string)))
        print("| question | of | time | requests | KB | ms |")
        print("|---|---|---|---|---|---|")
        for name, asked in questions(given.days):
            print(measure(views, traffic, name, asked, given.rounds), flush=True)
    return 0


def questions(days: int) -> Iterator[tuple[str, Given]]:
    """What is asked: every question of one scope, some of all."""
    for name in QUESTIONS:
        yield name, {"scope": ["scope-000"], "since": ["24h"]}
        yield name, {"scope": ["scope-000"], "since": [f"{days}d"]}
    for name in SHARED:
        yield name, {"since": [f"{days}d"]}


def measure(views: Views, traffic: Traffic, name: str, asked: Given, rounds: int) -> str:
    """Ask some times: the median time, and what one answer takes."""
    times = []
    for _ in range(rounds):
        traffic.clear()
        began = time.perf_counter()
        answer = ask(views, read_query(name, asked, NOW))
        times.append(time.perf_counter() - began)
        assert answer.rows
    taken = sum(request.answer_bytes for request in traffic.requests)
    scope = "one scope" if "scope" in asked else f"{len(answer.scopes)} scopes"
    middle = sorted(times)[len(times) // 2]
    figures = (len(traffic.requests), f"{taken / 1000:,.0f}", f"{middle * 1000:,.0f}")
    cells = (name, scope, asked["since"][0], *figures)
    return f"| {' | '.join(map(str, cells))} |"


def load(tables: Tables, scopes: int, days: int) -> int:
    """Write the rows of all scopes; gives their number."""
    stats = tables.table("flowstats")
    rng = random.Random(1)
    written = 0
    for number in range(scopes):
        scope = f"nsg~subscription~group~scope-{number:03d}"
        for question in QUESTIONS.values():
            if number and question.name not in (*SHARED, "health"):
                continue
            for grain in question.grains:
                most = FULL if number == 0 else FEW
                rows = [
                    row
                    for period in periods(grain, days)
                    for row in rows_of(rng, scope, question, grain, period, most)
                ]
                write_batches(stats, partition_of(scope, question.name, grain), rows, [])
                written += len(rows)
        row: ViewRow = {
            "PartitionKey": CATALOG,
            "RowKey": scope,
            "Scope": scope,
            "Name": scope[-9:],
            "Kind": "nsg",
        }
        row |= {"FirstPeriod": NOW - days * DAY, "LastPeriod": floor(NOW, "hour")}
        write_batches(stats, CATALOG, [row], [])
    last = health_row(ALL_SCOPES, floor(NOW, "hour"), Health(1, 1, last_record_time=NOW))
    write_batches(stats, last["PartitionKey"], [last], [])
    return written


def periods(grain: Grain, days: int) -> Iterator[datetime]:
    """The periods that are there: all days; of shorter ones those of the last two days."""
    length = {"5m": timedelta(minutes=5), "hour": HOUR, "day": DAY}[grain]
    since = floor(NOW - (days * DAY if grain == "day" else 2 * DAY), grain)
    while since <= NOW:
        yield since
        since += length


def rows_of(
    rng: random.Random, scope: str, question: Question, grain: Grain, period: datetime, most: int
) -> Iterator[ViewRow]:
    """Rows of one period, with keys that mostly recur."""
    if question.name == "health":
        health = Health(10, 10_000_000, 1_000, 100_000, last_record_time=period + HOUR)
        yield health_row(scope, period, health)
        return
    number = most if question.ranked_by else 4
    for rank, key in enumerate(rng.sample(range(2 * number), number), start=1):
        yield {
            "PartitionKey": partition_of(scope, question.name, grain),
            "RowKey": f"{period_key(period)}~{rank:04d}",
            "Scope": scope,
            "View": question.name,
            "Grain": grain,
            "Period": period,
            **dict.fromkeys(question.key, f"198.51.100.{key}"),
            **{name: rng.randrange(1_000_000 // rank) for name in PLAIN},
            "Rank": rank,
            "Missed": 0,
            "IsRest": False,
        }


if __name__ == "__main__":
    sys.exit(main())

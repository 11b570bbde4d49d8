"""Measure, print one table, write JSON, and say by the exit code whether a target was missed."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tools.bench.answering import answers
from tools.bench.backlog import backlog
from tools.bench.counting import bulk, floods, packing, restarts, small, windows
from tools.bench.estate import Size, estate
from tools.bench.hosting import at_once, instance, messages
from tools.bench.logs import BUSY, FLOODED
from tools.bench.measuring import Row, table
from tools.bench.memory import memory
from tools.bench.rolling import rolling
from tools.bench.starting import commands, starting
from tools.bench.storing import SMALL_MINUTE, processes, queries, scale, transactions, updates

type Section = Callable[[argparse.Namespace], Iterator[Row]]

SECTIONS: dict[str, Section] = {
    "bulk": lambda given: bulk(given.megabytes, given.rounds, given.tuples),
    "restarts": lambda given: restarts(given.rounds, given.tuples),
    "floods": lambda given: floods(given.rounds, min(FLOODED, 40 * given.tuples)),
    "small": lambda given: small(8 * given.rounds),
    "packing": lambda given: packing(4 * given.rounds, given.tuples),
    "windows": lambda given: windows(max(given.megabytes), given.rounds, given.tuples),
    "memory": lambda given: memory(given.memory_of, given.tuples),
    "starting": lambda given: starting(2 * given.rounds),
    "commands": lambda given: commands(2 * given.rounds),
    "updates": lambda given: updates(min(40, 8 * given.rounds)),
    "transactions": lambda given: transactions(2 * given.rounds),
    "queries": lambda given: queries(2 * given.rounds),
    "at-once": lambda given: at_once(given.rounds, given.away / 1000),
    "instance": lambda given: instance(max(given.megabytes)),
    "messages": lambda given: messages(max(1, given.rounds // 2)),
    "processes": lambda given: processes(given.rounds, given.tuples, min(200, given.nics)),
    "backlog": lambda given: backlog(given.rounds, min(10, given.nics)),
    "rollup": lambda given: rolling(given.rounds, given.hours, given.tuples),
    "answers": lambda given: answers(given.rounds, given.scopes, given.days),
    "estate": lambda given: estate(_size(given)),
    "scale": lambda given: scale(given.nics, min(40, 8 * given.rounds)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are named; 1 if a target was missed by more than the noise."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"all of them if none is named: {', '.join(SECTIONS)}")
    parser.add_argument("--without", nargs="+", choices=SECTIONS, default=[], metavar="SECTION")
    parser.add_argument("--rounds", type=int, default=5, help="more rounds, less noise [%(default)s]")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100], help="sizes of the bulk")
    parser.add_argument("--tuples", type=int, default=BUSY, help="of the bulk, a minute [%(default)s]")
    parser.add_argument("--memory-of", type=int, default=1000, metavar="MB", help="size of the large blob")
    parser.add_argument(
        "--away", type=float, default=20, metavar="MS", help="until storage answers [%(default)s]"
    )
    parser.add_argument("--nics", type=int, default=10_000, help="interfaces to be known [%(default)s]")
    parser.add_argument("--hours", type=int, default=24, help="of the day to be rolled up [%(default)s]")
    parser.add_argument("--scopes", type=int, default=300, help="scopes that are asked [%(default)s]")
    parser.add_argument("--days", type=int, default=30, help="of these scopes [%(default)s]")
    parser.add_argument(
        "--estate", type=int, nargs=2, default=[60, 6], metavar=("INTERFACES", "FLOW_LOGS"), help="[60 6]"
    )
    parser.add_argument(
        "--estate-tuples", type=int, default=SMALL_MINUTE, metavar="TUPLES", help="a minute [%(default)s]"
    )
    parser.add_argument("--instances", type=int, default=4, help="of the app [%(default)s]")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="[%(default)s]")
    given = parser.parse_args(arguments)
    if unknown := set(given.sections) - SECTIONS.keys():
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    wanted = [name for name in given.sections or SECTIONS if name not in given.without]

    given.json.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in wanted:
        began = time.monotonic()
        rows += SECTIONS[name](given)
        given.json.write_text(json.dumps(_document(given, rows), indent=1))  # now: the next may take long
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    missed = [row for row in rows if row.verdict == "missed"]
    for row in missed:
        print(f"missed: {row.section}, {row.what}: {row.unit}", file=sys.stderr)
    return 1 if missed else 0


def _size(given: argparse.Namespace) -> Size:
    interfaces, flow_logs = given.estate
    return Size(interfaces, flow_logs, given.estate_tuples, given.instances)


def _document(given: argparse.Namespace, rows: list[Row]) -> dict[str, object]:
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.process_cpu_count(),
        "rounds": given.rounds,
        "rows": [row.as_json() for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())

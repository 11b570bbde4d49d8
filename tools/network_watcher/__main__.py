"""Write flow logs, and print what is true of them as one line of JSON."""

import argparse
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from tools.network_watcher import demo_nics, write
from tools.network_watcher.hours import DEFAULTS


def main() -> None:
    """Write them as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tools.network_watcher", description=__doc__)
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
    parser.add_argument("--seconds-per-minute", type=float, default=0.0)
    for dial, what in {
        "tuples_per_minute": "of each NIC, on average",
        "bad": "proportion of malformed tuples",
        "garbled": "probability of garbled bytes, a minute",
        "restarts": "proportion of a VNet log's tuples that are of restarts",
        "parted": "proportion of restarts whose two tuples stand in two records",
        "scans": "probability of a scan of thousands of ports, a minute",
        "record_types": "states that are written into VNet logs",
    }.items():
        preset = DEFAULTS[dial]  # type: ignore[literal-required]
        parser.add_argument(
            f"--{dial.replace('_', '-')}", type=type(preset), default=preset, help=f"{what} [{preset}]"
        )
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
        seconds_per_minute=given.seconds_per_minute,
        tuples_per_minute=given.tuples_per_minute,
        bad=given.bad,
        garbled=given.garbled,
        restarts=given.restarts,
        parted=given.parted,
        scans=given.scans,
        record_types=given.record_types,
    )
    print(json.dumps({"blobs": len(nics) * len(hours), **asdict(truth)}))


if __name__ == "__main__":
    main()

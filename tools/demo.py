"""The main job, shown at work: ``make demo``.

Starts Azurite, lets a Network Watcher in fast motion write flow logs, counts them meanwhile with the very
command that people use, and compares the writer's own count with what was counted and rejected: every tuple
and every byte that it wrote, and what of it is true of the traffic.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.azurite import azurite, settings_for
from tools.network_watcher.truth import Truth, bytes_of

FLOWTALLY = str(Path(sys.executable).with_name("flowtally"))
NICS, HOURS, SEED = 6, 2, 7


def main() -> int:
    """Run the demo; 0 if all that was written was counted or rejected, and the truth is within what was."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave Azurite up until Ctrl-C")
    keep = parser.parse_args().keep
    began = time.monotonic()
    with azurite() as emulator:
        environment = {**settings_for(emulator), "COLUMNS": "160"}
        say(f"Azurite is up. {NICS} network interfaces write {HOURS} hours of flow logs, in fast motion;")
        say("`flowtally sweep --watch` counts them while they grow:\n")
        written = write_and_sweep(environment)
        say("\nThe writer is done. One last sweep, and the views are made:\n")
        flowtally(environment, "sweep")
        flowtally(environment, "rollup")
        for question in (
            ["status"],
            ["show", "traffic", "--grain", "day", "--since", "2d"],
            ["show", "denied-sources", "--scope", "nsg-web", "--limit", "5"],
            ["show", "rules", "--scope", "nsg-web", "--order-by", "FlowsDenied", "--limit", "4"],
            ["show", "talkers", "--scope", "flowlog-hub", "--grain", "day", "--since", "2d", "--limit", "5"],
        ):
            flowtally(environment, *question)
        held = hold_against(written, environment)
        say(f"({time.monotonic() - began:.0f} s)")
        if keep:
            say("\nAzurite stays up until Ctrl-C. To go on asking, in another terminal:\n")
            say(f"{exports(emulator.connection_string)}\n")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                pass
    return 0 if held else 1


def write_and_sweep(environment: Mapping[str, str]) -> Truth:
    """Write logs while a sweep watches, and give the writer's own count."""
    writer = subprocess.Popen(
        [
            *(sys.executable, "-m", "tools.network_watcher", "--nics", str(NICS), "--hours", str(HOURS)),
            *("--seed", str(SEED), "--seconds-per-minute", "0.1", "--garbled", "0.02", "--scans", "0.002"),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    sweeper = subprocess.Popen(
        [FLOWTALLY, "sweep", "--since", "4h", "--watch", "2", "-o", "ndjson"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with writer, sweeper:
        assert sweeper.stdout is not None
        assert writer.stdout is not None
        for line in sweeper.stdout:
            swept = json.loads(line)
            say(
                f"  {datetime.now(UTC):%H:%M:%S}  {swept['Grown']:3} blobs had grown: "
                f"+{swept['Bytes']:9,} bytes, +{swept['Tuples']:6,} tuples, {swept['Malformed']:3} rejected"
            )
            if writer.poll() is not None:
                break
        sweeper.terminate()
        written = json.loads(writer.stdout.read())
    return Truth(**{each.name: written[each.name] for each in fields(Truth)})


def hold_against(written: Truth, environment: Mapping[str, str]) -> bool:
    """Compare the writer's count with the ledger's, and the truth with what is counted; a line for each."""
    blobs = answer_of(environment, "status")["rows"]
    tuples, rejected, garbled = (
        sum(row[name] for row in blobs) for name in ("Tuples", "Malformed", "GarbledBytes")
    )
    complete = (tuples, rejected, garbled) == (written.tuples, written.malformed, written.garbled_bytes)
    say(
        f"written: {written.tuples:,} tuples, {written.malformed:,} malformed ones, "
        f"{written.garbled_bytes:,} garbled bytes · counted: {tuples:,} tuples, {rejected:,} rejected, "
        f"{garbled:,} bytes garbled · {'nothing lost, nothing twice' if complete else 'THESE DIFFER'}"
    )
    lists = answer_of(environment, "show", "traffic", "--grain", "day", "--since", "2d")["lists"]
    total = Counter[str]()
    for each in lists:  # one of each kind of logs
        total.update(each["total"])
    counted = total["BytesSrcToDest"] + total["BytesDestToSrc"]
    logged = bytes_of(written.passed) + bytes_of(written.restated)
    conserved = logged == counted + total["BytesRestated"]
    say(
        f"bytes that the logs state: {logged:,} · counted: {counted:,}, stated before: "
        f"{total['BytesRestated']:,} · {'together the same' if conserved else 'THESE DIFFER'}"
    )
    visible = bytes_of(written.passed) + bytes_of(written.unseen)
    true = counted - total["BytesDoubtful"] <= visible <= counted and not total["RestartsLost"]
    flows, doubtful = total["FlowsAllowed"], total["BytesDoubtful"]
    true = true and flows == written.began + written.parted
    say(
        f"what really passed: {bytes_of(written.passed):,} bytes, {written.began:,} flows; stated again by "
        f"restarts that no reader can see, being in two records: {bytes_of(written.unseen):,} bytes, "
        f"{written.parted:,} flows · counted: {counted:,} bytes, {doubtful:,} of them doubtful, "
        f"{flows:,} flows · {'the truth is within' if true else 'THE TRUTH IS NOT WITHIN'}"
    )
    return complete and conserved and true


def answer_of(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Run a command, and read its answer."""
    command = [FLOWTALLY, *arguments, "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def flowtally(environment: Mapping[str, str], *arguments: str) -> None:
    """Run a command as a person would, and show it."""
    say(f"$ flowtally {' '.join(arguments)}")
    subprocess.run([FLOWTALLY, *arguments], env=environment, stderr=subprocess.STDOUT, check=False)


def exports(connection_string: str) -> str:
    """The settings, to paste into a shell."""
    return "\n".join(f"export {name}='{connection_string}'" for name in ("FLOW_LOGS", "RESULTS"))


def say(*lines: str) -> None:
    """Print at once, so that the lines stand in the order of what happened."""
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())

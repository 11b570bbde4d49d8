"""How far a plain sum of VNet flow logs is off: ``python -m tools.plain_sum``.

Adds up the counters of logs as other programs do, counts the same logs with Flowtally, and compares both with
the truth. The logs are chains of tuples out of real logs, with other addresses, and hours of logs that
``tools.network_watcher`` writes. Writes the table into docs/truth.md.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from shared.tally.measures import MEASURES, add_figures, no_figures, to_figures
from tools.network_watcher import ZERO, Nic, hour_of, whole_blob
from tools.network_watcher.truth import bytes_of

PAGE = Path(__file__).parent.parent / "docs" / "truth.md"
BEGIN, END = "<!-- plain sums -->\n", "<!-- /plain sums -->"
COMMAND = "python -m tools.plain_sum"

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOURS = 6
SEED = 1

type Said = tuple[float, str, str]
"""Seconds since the hour began, state, and counters: packets and bytes there, packets and bytes back."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Flows that began, and bytes of both ways."""

    flows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of a log; ``doubtful`` are the bytes that Flowtally counts and doubts."""

    log: str
    plain: Sums
    counted: Sums
    doubtful: int
    true: Sums
    true_bytes: str = ""
    """The bytes in words, where they aren't known."""


def rows() -> Iterator[Row]:
    """Measure all logs."""
    yield _chain(
        "three connections, restarted as they began",
        [
            [(1, "B", ",,,"), (1, "E", first), (1, "B", ",,,"), (6.5, "E", last)]
            for first, last in (
                ("2,140,1,116", "14,4839,11,6078"),
                ("3,723,2,323", "14,4205,11,6078"),
                ("3,723,2,323", "14,4885,11,6078"),
            )
        ],
        Sums(3, 3 * 6078 + 4839 + 4205 + 4885),
    )
    times = [0, 1, 3, 7, 15, 31, 63]
    yield _chain(
        "a connection that nobody answers",
        [
            [
                (0, "B", ",,,"),
                *(each for at in times[1:] for each in ((at, "E", "1,124,0,0"), (at, "B", ",,,"))),
            ]
        ],
        Sums(1, 6 * 124),
    )
    yield _chain(
        "a clock, asked for 20 days from one port",
        [
            [
                (1, "E", "2,180,2,264"),
                (1, "B", ",,,"),
                (65, "E", "27347,2461230,27343,3609276"),
                (65, "B", ",,,"),
            ]
        ],
        Sums(0, 0),
        "at least 444",
    )
    for restarts in (0.0, 0.04, 0.2, 0.5):
        yield _simulated(f"simulated: {restarts:.0%} of tuples", restarts, 0)
    yield _simulated("simulated: 20% of tuples, one restart in 20 in two records", 0.2, 0.05)


def _chain(log: str, connections: list[list[Said]], true: Sums, true_bytes: str = "") -> Row:
    hour_ms = int(HOUR.timestamp()) * 1000
    tuples = [
        f"{hour_ms + round(1000 * at_s)},10.0.0.4,203.0.113.7,{port},443,6,O,{state},NX,{counters}"
        for port, said in enumerate(connections, start=50_000)
        for at_s, state, counters in said
    ]
    groups = [{"rule": "DefaultRule_AllowInternetOutBound", "flowTuples": tuples}]
    flows = [{"aclID": "00000000-0000-0000-0000-000000000000", "flowGroups": groups}]
    records = [{"time": "2026-01-01T12:02:03.1234567Z", "flowLogVersion": 4, "flowRecords": {"flows": flows}}]
    blobs = [json.dumps({"records": records}, separators=(",", ":")).encode()]
    return Row(log, _plain(blobs), *_counted(blobs), true, true_bytes)


def _simulated(log: str, restarts: float, parted: float) -> Row:
    nic = Nic("vnet-v4", "000D3AF87856", "flowlog")
    blobs, truth = [], ZERO
    for number in range(HOURS):
        hour = HOUR + timedelta(hours=number)
        minutes = hour_of(
            *(nic, hour),
            seed=SEED,
            follows=number > 0,
            tuples_per_minute=200,
            bad=0,
            restarts=restarts,
            parted=parted,
        )
        blob, its_truth = whole_blob(minutes)
        blobs.append(blob)
        truth += its_truth
    return Row(log, _plain(blobs), *_counted(blobs), Sums(truth.began, bytes_of(truth.passed)))


def _plain(blobs: list[bytes]) -> Sums:
    """Add up what stands in these blobs."""
    flows = total = 0
    for blob in blobs:
        for record in json.loads(blob)["records"]:
            named = {key.lower(): value for key, value in record.items()}
            for acl in named["flowrecords"]["flows"]:
                for group in acl["flowGroups"]:
                    for text in group["flowTuples"]:
                        fields = text.split(",")
                        flows += fields[7] == "B"
                        total += int(fields[10] or 0) + int(fields[12] or 0)
    return Sums(flows, total)


def _counted(blobs: list[bytes]) -> tuple[Sums, int]:
    """Count these blobs with Flowtally, one hour after the other; and the bytes that it doubts."""
    figures = no_figures()
    restarts = BlobCounts().restarts
    for number, blob in enumerate(blobs):
        hour = HOUR + timedelta(hours=number)
        counter = BlobCounter(BlobCounts(restarts=restarts.carried(hour - timedelta(hours=1))), hour, "", "")
        assert not counter.feed(blob)
        restarts = counter.counts.restarts
        for share in counter.counts.shares.values():
            add_figures(figures, to_figures(sum(share.traffic.values())))
    named = dict(zip(MEASURES, figures, strict=True))
    return (
        Sums(named["FlowsAllowed"], named["BytesSrcToDest"] + named["BytesDestToSrc"]),
        named["BytesDoubtful"],
    )


def table() -> str:
    """The rows as Markdown."""
    lines = [
        "| | flows: plain sum | Flowtally | truth | bytes: plain sum | Flowtally | doubtful | truth |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows():
        plain = f"{row.plain.bytes:,}"
        if not row.true_bytes and row.plain.bytes != row.true.bytes:
            plain += f" ({(row.plain.bytes - row.true.bytes) / row.true.bytes:+.0%})"
        lines.append(
            f"| {row.log} | {row.plain.flows:,} | {row.counted.flows:,} | {row.true.flows:,} "
            f"| {plain} | {row.counted.bytes:,} | {row.doubtful:,} "
            f"| {row.true_bytes or f'{row.true.bytes:,}'} |"
        )
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/truth.md with the table as it is now."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(table(), end="")

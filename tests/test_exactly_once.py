"""Every tuple is counted exactly once, whoever counts, how often, in what order, and whenever somebody dies.

Each test disturbs the counting in its own way, then lets one quiet sweep and one quiet rollup pass, and
compares all that the tables hold with what one undisturbed pass makes of the same blobs, and with a naive
count of the blobs' own text.
"""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count as numbers
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Unavailable
from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.ingest import ingest
from shared.ledger.store import LATE, Ledger
from shared.rollup import rollup
from shared.sweep import WORKERS
from tests import naive
from tests.system import (
    HOUR,
    NIGHT,
    Killed,
    Stores,
    assert_counted,
    assert_same,
    assert_views_say,
    blob_of,
    dies_at_write,
    flow,
    host,
    record,
    results,
    results_of_one_pass,
    rows_of,
    wait_until,
)
from tests.system import NOISE as NO_RECORD
from tools.network_watcher import BlobWriter, Minute, Nic, Truth, demo_nics, hour_of, write
from tools.proxy import Fault, Request, Traffic

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[1]
NICS = [
    *demo_nics(3),  # one of each format
    Nic("vnet-v4", "000D3AAAAAAA", "flowlog-hub"),  # another one of the first one's scope
]


def settle_and_compare(stores: Stores, noise: list[bytes], until: datetime = NIGHT + 2 * HOUR) -> None:
    """One quiet sweep and one quiet rollup, and everything is as it should be."""
    with host(stores.connection_string) as quiet:
        quiet.sweep(until=until)
        quiet.rollup()
        disturbed = results(quiet)
    blobs = stores.blobs()
    assert_views_say(disturbed.stats, naive.count(blobs, noise))
    assert_same(disturbed, results_of_one_pass(stores, until))


# Events in any order, hosts side by side


@dataclass
class Growing:
    """A blob that grows by a random number of minutes at a time, with noise between its records."""

    blob: BlobName
    writer: BlobWriter
    minutes: list[Minute]
    rng: random.Random
    noise: list[bytes] = field(default_factory=list)
    written: int = 0

    def grow(self) -> None:
        """Commit the next minutes, all at once."""
        some = [self.minutes.pop(0) for _ in range(min(self.rng.randint(1, 4), len(self.minutes)))]
        blocks = [block for minute in some for block in minute.blocks]
        if (
            self.minutes and self.written and self.rng.random() < 0.4
        ):  # whole records are to have the last word
            self.noise.append(self._stretch(blocks))
            blocks.insert(self.rng.randint(0, len(blocks)), b"," + self.noise[-1])
        self.written += len(blocks)
        self.writer.append(Minute(tuple(blocks), Truth(0, 0, 0, 0)))

    def _stretch(self, blocks: list[bytes]) -> bytes:
        mark = f"#{self.blob.mac}{self.blob.hour:%d%H}{len(self.noise)}#".encode()
        if blocks and self.rng.random() < 0.5:  # a record that breaks off
            record = blocks[0].removeprefix(b",")
            return record[: self.rng.randrange(20, len(record) // 2)].rstrip(b", ") + mark
        return mark + bytes(self.rng.choices(range(0x80, 0x100), k=self.rng.randint(1, 300)))


def growing_blob(stores: Stores, nic: Nic, hour: datetime, rng: random.Random) -> Growing:
    minutes = hour_of(nic, hour, seed=rng.randint(0, 9), tuples_per_minute=2, minutes=7, bad=0.1)
    return Growing(parse_blob_name(nic.blob_name(hour)), stores.writer(nic, hour), [*minutes], rng)


@pytest.mark.parametrize("seed", range(3))
def test_events_in_any_order_and_number_on_two_hosts_with_rollups_in_between(
    stores: Stores, other_host: Stores, seed: int
) -> None:
    rng = random.Random(seed)
    growing = [growing_blob(stores, nic, hour, rng) for nic in NICS for hour in (NIGHT, NIGHT + HOUR)]
    unfinished = [*growing]
    jobs: list[Future[Any]] = []
    with ThreadPoolExecutor(4) as pool:
        while unfinished:
            one = rng.choice(unfinished)
            one.grow()
            if not one.minutes:
                unfinished.remove(one)
            events = [one] * rng.randint(0, 3) + rng.sample(growing, k=rng.randint(0, 2))
            rng.shuffle(events)
            for event in events:
                at = rng.choice((stores, other_host))
                jobs.append(pool.submit(ingest, event.blob, at.flow_logs, at.ledger))
            if rng.random() < 0.1:
                at = rng.choice((stores, other_host))
                jobs.append(pool.submit(rollup, at.ledger, at.counts, at.views))
    for job in jobs:
        assert not getattr(job.result(), "failed", None)
    settle_and_compare(stores, [stretch for one in growing for stretch in one.noise])


def test_more_keys_than_are_kept(stores: Stores, other_host: Stores) -> None:
    """A scan with more sources and ports than a family keeps, in many updates: what is dropped goes to the
    rest, exactly, rows are true within what they missed, and the attacker is found. In one pass, likewise.
    """
    rng = random.Random(1)
    nic = NICS[1]
    blob = parse_blob_name(nic.blob_name(NIGHT))
    writer = stores.writer(nic, NIGHT)
    for minute in range(12):
        when = NIGHT + timedelta(minutes=5 * minute)
        scan = [
            flow(when, source=f"198.18.{rng.randrange(7)}.{rng.randrange(250)}", decision="D", port=port)
            for port in rng.choices(range(20_000), k=300)
        ]
        attack = [flow(when, source="192.0.2.66", decision="D", port=22)] * 30
        blocks = [
            b"," * (minute > 0 or part > 0) + record(when, *scan[part::3], *attack) for part in range(3)
        ]
        writer.append(Minute(tuple(blocks), Truth(0, 0, 0, 0)))
        if rng.random() < 0.6:
            at = rng.choice((stores, other_host))
            ingest(blob, at.flow_logs, at.ledger)
    stores.sweep()
    stores.rollup()
    truth = naive.count(stores.blobs())
    for found in (results(stores), results_of_one_pass(stores)):
        assert_views_say(found.stats, truth, exact=False)
        first = found.stats[
            "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web~denied-sources~hour",
            f"{NIGHT:%Y%m%d%H%M}~0001",
        ]
        assert (first["SrcIp"], first["Tuples"], first["Missed"]) == ("192.0.2.66", 12 * 3 * 30, 0)


# Answers that are lost


def test_an_answer_that_is_lost_is_no_tuple_counted_twice(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    """Storage has written, but nobody hears of it: the SDK tries again, and meets its own write."""
    unlucky, traffic = counted_stores
    rng = random.Random(3)
    growing = [growing_blob(stores, nic, NIGHT, rng) for nic in NICS[:3]]
    writes = numbers(1)
    traffic.fault = lambda request: Fault.LOST if request.writes and next(writes) % 3 == 0 else None
    for one in growing:
        while one.minutes:
            one.grow()
            for _ in range(
                2
            ):  # a new entity is not sent again by the SDK, so that it may take a second event
                with suppress(Unavailable):
                    ingest(one.blob, unlucky.flow_logs, unlucky.ledger)
    assert next(writes) > 6
    traffic.fault = None
    settle_and_compare(stores, [stretch for one in growing for stretch in one.noise])


# Processes that are killed


@contextmanager
def processes_that_are_killed(stores: Stores, commands: list[list[str]], seed: int) -> Iterator[list[int]]:
    """Keep a process running for each command; kill one after the other, at random moments.

    Gives how often a process was killed, ended well, and ended badly.
    """
    counted = [0, 0, 0]
    leaving = threading.Event()

    def keep_running(command: list[str], rng: random.Random) -> None:
        while not leaving.is_set():
            with subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **stores.environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                deadline = time.monotonic() + rng.uniform(1.2, 5)
                while process.poll() is None and time.monotonic() < deadline and not leaving.is_set():
                    time.sleep(0.01)
                if process.poll() is None:
                    process.send_signal(rng.choice((signal.SIGKILL, signal.SIGTERM)))
                    process.wait(20)
                    counted[0] += 1
                else:
                    counted[1 if process.returncode == 0 else 2] += 1

    rng = random.Random(seed)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(commands)))
        jobs = [pool.submit(keep_running, command, random.Random(rng.random())) for command in commands]
        try:
            yield counted
        finally:
            leaving.set()
    for job in jobs:
        job.result()


@pytest.mark.timeout(0)
def test_processes_side_by_side_killed_at_random_moments(stores: Stores, pytestconfig: pytest.Config) -> None:
    """For half a minute; with `--effort 1200` for four."""
    nics = [NICS[0], NICS[1]]
    hours = [
        NIGHT + number * HOUR for number in range(min(24, 2 * pytestconfig.getoption("--effort") // 100))
    ]
    flowtally = str(Path(sys.executable).with_name("flowtally"))
    span = ["--since", f"{NIGHT:%Y-%m-%d}", "--until", f"{NIGHT + 25 * HOUR:%Y-%m-%d}"]
    sweeping = [flowtally, "sweep", "--watch", "0.2", *span, "-o", "ndjson"]
    with processes_that_are_killed(stores, [sweeping, sweeping, [flowtally, "rollup"]], seed=4) as ended:
        write(
            stores.connection_string,
            nics,
            hours,
            seed=4,
            tuples_per_minute=1,
            seconds_per_minute=0.17,
            bad=0.05,
        )
    killed, _, failed = ended
    log.info("%d processes killed", killed)
    assert killed >= 5
    assert failed == 0
    settle_and_compare(stores, [], hours[-1])


def test_a_sweep_that_is_interrupted_ends_at_once_and_loses_nothing(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    """Whatever the blobs that it has begun are at: here, storage doesn't answer."""
    through, traffic = counted_stores
    nics = [Nic("nsg-v2", f"{number:012X}", "nsg-web") for number in range(40)]
    for nic in nics:
        stores.put(nic, NIGHT, blob_of(WHOLE, record(NIGHT, "?")))
    reads: list[Request] = []
    let_go = threading.Event()

    def answer(request: Request) -> None:
        if request.reads_blob:
            reads.append(request)
            if len(reads) > 10:
                let_go.wait(60)

    traffic.fault = answer
    flowtally = str(Path(sys.executable).with_name("flowtally"))
    command = [flowtally, "sweep", "--since", f"{NIGHT:%Y-%m-%d}", "--until", f"{NIGHT + 24 * HOUR:%Y-%m-%d}"]
    with subprocess.Popen(
        command,
        env={**os.environ, **through.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        wait_until(lambda: len(reads) >= 10 + WORKERS, "all workers wait")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    let_go.set()
    traffic.fault = None
    assert b"Traceback" not in said
    counted = [key for key in rows_of(stores, "flowledger") if key[0] != LATE]
    assert 0 < len(counted) < len(nics)
    settle_and_compare(stores, [])


# A host that is overtaken at the worst moment


class Overtaken(Ledger):
    """A host that has read, and is about to write, when others have done more already."""

    def __init__(self, stores: Stores, meanwhile: Callable[[], object]) -> None:
        super().__init__(stores.tables)
        self.meanwhile: Callable[[], object] | None = meanwhile

    def commit(self, *arguments: Any) -> datetime:
        """Write, but too late."""
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().commit(*arguments)


WHOLE = record(NIGHT, flow(NIGHT))
CUT_OFF = WHOLE[:-40]
NOISE = CUT_OFF + b"#noise#"


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param(
            (blob_of(WHOLE), blob_of(WHOLE, CUT_OFF), blob_of(WHOLE, NO_RECORD, WHOLE)), id="garbled"
        ),
        pytest.param(
            (blob_of(WHOLE), b'{"records":[' + WHOLE + b"," + CUT_OFF, blob_of(WHOLE, WHOLE)), id="whole"
        ),
        pytest.param(
            (
                blob_of(WHOLE),
                blob_of(WHOLE, record(NIGHT, "?")),
                blob_of(record(NIGHT, flow(NIGHT, port=80))),
            ),
            id="rewritten",
        ),
        pytest.param(
            (
                blob_of(WHOLE),
                blob_of(WHOLE, record(NIGHT, "?")),
                blob_of(record(NIGHT, flow(NIGHT, port=666)), record(NIGHT, "?")),
            ),
            id="rewritten with a reject at the same place",
        ),
    ],
)
def test_what_an_overtaken_host_rejected_does_not_stay(
    stores: Stores, other_host: Stores, versions: tuple[bytes, bytes, bytes]
) -> None:
    first, seen, last = versions
    nic = NICS[1]

    def overtake() -> None:
        blob = stores.put(nic, NIGHT, last)
        ingest(blob, other_host.flow_logs, other_host.ledger)

    blob = stores.put(nic, NIGHT, first)
    ingest(blob, stores.flow_logs, stores.ledger)
    stores.put(nic, NIGHT, seen)
    ingest(blob, stores.flow_logs, Overtaken(stores, overtake))
    stores.sweep()
    assert_counted(stores, nic, blob, last)


# Damage that is done once


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_a_host_that_dies_at_any_write_of_an_update(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    """The note, the commit: wherever ingest ends, the next one ends well."""
    nic, items = NICS[1], [WHOLE]
    for number in range(2):
        items += [record(NIGHT, flow(NIGHT, port=number), "?"), NOISE]
        blob = stores.put(nic, NIGHT, blob_of(*items))
        with host(stores.connection_string) as dying, monkeypatch.context() as patch:
            dies_at_write(patch, number, written=written)
            with pytest.raises(Killed):
                ingest(blob, dying.flow_logs, dying.ledger)
    items.append(WHOLE)
    stores.put(nic, NIGHT, blob_of(*items))
    settle_and_compare(stores, [NOISE] * 2)

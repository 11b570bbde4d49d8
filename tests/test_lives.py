"""Whole lives of growing blobs, through the app as the host drives it: events that come twice, late, in any
order or never, several at a time, on two instances; timers in between; instances that are killed; storage
that refuses for a while. In the end the views say what a naive count of the blobs says.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from tests import naive
from tests.system import HOUR, NIGHT, Stores, assert_same, assert_views_say, results, results_of_one_pass
from tests.worker import ROOT, Worker, WorkerFailed, drain, queue_of_work, worker
from tools.azurite import Azurite
from tools.network_watcher import NSG_CONTAINER, Nic, Truth, demo_nics, write
from tools.proxy import Fault, Traffic
from tools.storage_queue import Queue

NICS = demo_nics(2)  # one of each kind of log
HOURS = (NIGHT, NIGHT + HOUR)
HOST = json.loads((ROOT / "host.json").read_text())["extensions"]["blobs"]
ATTEMPTS, AT_A_TIME = HOST["poisonBlobThreshold"], HOST["maxDegreeOfParallelism"]
"""So often does the host try an event before it is poisonous; so many has an instance at the same time."""


@dataclass
class Host:
    """Two instances of the app, and what the host does with events: it tries again, and at last gives up."""

    settings: dict[str, str]
    pool: ThreadPoolExecutor
    stack: ExitStack
    queue: Queue
    instances: list[Worker] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    poison: list[Nic] = field(default_factory=list)

    def start(self) -> Worker:
        instance = self.stack.enter_context(worker(self.settings))
        self.instances.append(instance)
        return instance

    def kill_one(self) -> None:
        """Kill an instance without a warning; another takes its place."""
        self.instances.pop(0).process.kill()
        self.start()

    def deliver(self, nic: Nic, hour: datetime, rng: random.Random) -> None:
        """An event of a blob, tried on any instance until it succeeds or is poisonous."""
        function = "ingest_nsg" if nic.container == NSG_CONTAINER else "ingest_vnet"
        for _ in range(ATTEMPTS):
            try:
                done = rng.choice(self.instances).invoke_blob(function, nic.container, nic.blob_name(hour))
            except WorkerFailed as gone:
                self.failures.append(str(gone))
                continue
            if done.succeeded:
                return
            self.failures.append(done.error)
        self.poison.append(nic)

    def time(self, timer: str) -> None:
        """A timer's time has come, and its work is done. Neither is tried again: the next time comes."""
        try:
            done = self.instances[0].invoke_timer(timer)
            for text in (text for texts in done.outputs.values() for text in texts):
                self.queue.put(text)
            while message := self.queue.take():
                done = self.instances[0].invoke_queue("work", message)
                self.queue.delete(message)
        except WorkerFailed as gone:
            self.failures.append(str(gone))
            return
        if not done.succeeded:
            self.failures.append(done.error)


@contextmanager
def running_host(connection_string: str, storage: Azurite) -> Iterator[Host]:
    days = (datetime.now(UTC) - NIGHT).days + 2
    settings = {
        "FLOW_LOGS": connection_string,
        "RESULTS": connection_string,
        "FLOWTALLY_SWEEP_SINCE": f"{days}d",
    }
    with ExitStack() as stack:
        queue = stack.enter_context(queue_of_work(storage.connection_string))
        host = Host(settings, stack.enter_context(ThreadPoolExecutor(2 * AT_A_TIME)), stack, queue)
        host.start()
        host.start()
        yield host


def test_whole_lives(counted_stores: tuple[Stores, Traffic], storage: Azurite) -> None:
    reached, traffic = counted_stores
    rng = random.Random(1)
    jobs: list[Future[None]] = []
    minutes = count()
    with running_host(reached.connection_string, storage) as host:

        def pass_minute(_: Truth) -> None:
            """What happens after each minute of the logs: its events, and now and then something else."""
            now = next(minutes)
            traffic.fault = (lambda _: Fault.FORBIDDEN) if now in range(30, 40) else None
            if now in {20, 70}:
                host.kill_one()
            begun = HOURS[: 1 + now // 60]
            events = [(nic, hour) for nic in NICS for hour in begun for _ in range(rng.choice((0, 0, 1, 2)))]
            rng.shuffle(events)
            for nic, hour in events:
                jobs.append(host.pool.submit(host.deliver, nic, hour, random.Random(rng.random())))
            if rng.random() < 0.05:
                jobs.append(host.pool.submit(host.time, rng.choice(("daily", "rollup"))))

        truth = write(
            storage.connection_string,
            NICS,
            HOURS,
            seed=1,
            tuples_per_minute=3,
            bad=0.05,
            on_minute=pass_minute,
        )
        for job in jobs:
            job.result()
        assert any("Unavailable" in error for error in host.failures)
        assert any("gone" in error for error in host.failures)
        assert host.poison
        running = host.instances[0]
        for timer in ("daily", "rollup", "rollup"):
            drain(running, host.queue, running.invoke_timer(timer))
    counted = results(reached)
    assert sum(row["Tuples"] for row in counted.ledger.values()) == truth.tuples
    assert_views_say(counted.stats, naive.count(reached.blobs()))
    assert_same(counted, results_of_one_pass(reached))

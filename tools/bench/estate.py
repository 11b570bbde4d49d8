"""A whole estate under Microsoft's worker code: many flow logs in several accounts, several instances.

What stands in for Azure is this file. It writes flow logs as Network Watcher does, by a clock that is moved.
It plays the host, too: it fires the timers, hands each event and each message of the queue to an instance
that is idle, one at a time, deletes what is done, and puts on the queue what comes back.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from statistics import median

from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from shared.counts.index import read_partition
from shared.entities import from_chunks
from shared.flowlog.blob_name import parse_blob_name
from shared.settings import ingest_function
from shared.tally.measures import to_columns, to_figures
from shared.tally.packing import unpack
from shared.times import HOUR
from tests import naive
from tests.system import Rows, assert_views_say, leave_out_open_periods, rows_of
from tests.system import host as stores_of
from tests.worker import Invocation, Worker, worker
from tools.bench.logs import count_plainly, minute_blob
from tools.bench.measuring import WALL, Row
from tools.bench.metering import Asked, Asking, MeteredAzurite, metered_azurite
from tools.bench.storing import MINUTE, cpu_seconds
from tools.cost import model
from tools.cost.measured import EVENT_MS, REFERENCE_MS
from tools.network_watcher import CLOSER, OPENER, VNET_CONTAINER, Minute, Nic, hour_of, whole_blob
from tools.storage_queue import Message, Queue

ACCOUNTS = ("flowlogsweu", "flowlogseus", "flowlogssea")
_RESULTS = "results"
_WORK = "work"
_QUEUE = "flowtally-work"
_EVERYONE = "all~vnet"

_HOUR = datetime(2026, 3, 4, 12, tzinfo=UTC)
"""The hour that is logged: long ago, and far from a day's end."""

_WARM_UP, _ROUNDS = 3, 12
"""Rounds before those that are measured: a quarter of an hour. Then an hour: in its last quarter the hour of
the clock is closed, while the next one is written.
"""
_MINUTES = 5
"""Of a round."""
_WRITERS = 4
_REFERENCES = 5
_MOST_LOGS = 80
"""So many interfaces write logs of their own. Others write what one in another flow log writes."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is watched, by how many instances; ``tuples`` a minute of an interface, on average."""

    interfaces: int
    flow_logs: int
    tuples: int
    instances: int

    def __str__(self) -> str:
        return f"{self.interfaces:,} in {self.flow_logs:,}"

    @property
    def of_one(self) -> int:
        """Interfaces of a flow log."""
        return -(-self.interfaces // self.flow_logs)


# Flow logs


@dataclass(slots=True)
class _Growing:
    """The blob of an interface that grows by some minutes at a time."""

    account: str
    nic: Nic
    hours: Sequence[Sequence[Minute]]
    container: ContainerClient
    same: int
    """Interfaces of the same number have logs of the same content."""
    written: int = 0
    """Minutes so far."""
    _blocks: list[BlobBlock] = field(default_factory=list)

    @property
    def event(self) -> tuple[str, str]:
        """The function that an event of this interface's first blob names, and that blob's name."""
        return ingest_function(f"FLOW_LOGS_{self.account.upper()}", "vnet"), self.nic.blob_name(_HOUR)

    def grow(self, minutes: int) -> int:
        """Let Network Watcher add so many minutes in one block; gives the bytes, 0 of idle ones. No hour ends
        among these minutes.
        """
        number, minute = divmod(self.written, 60)
        new = self.hours[number][minute : minute + minutes]
        self.written += minutes
        if minute == 0:
            self._blocks = []
        added = b"".join(block for minute in new for block in minute.blocks)
        if not added:
            return 0
        blob = self.container.get_blob_client(self.nic.blob_name(_HOUR + number * HOUR))
        ends = BlobBlock("A" * 33), BlobBlock("Z" * 33)
        if not self._blocks:
            for block, data in zip(ends, (OPENER, CLOSER), strict=True):
                blob.stage_block(block.id, data)
        self._blocks.append(BlobBlock(f"D{len(self._blocks):032d}"))
        blob.stage_block(self._blocks[-1].id, added)
        blob.commit_block_list([ends[0], *self._blocks, ends[1]])
        return len(added)

    def blobs(self) -> dict[str, bytes]:
        """All that has been written."""
        return {
            self.nic.blob_name(_HOUR + number * HOUR): whole_blob(minutes[: self.written - 60 * number])[0]
            for number, minutes in enumerate(self.hours)
            if self.written > 60 * number
        }


def _interfaces(size: Size, containers: Mapping[str, ContainerClient]) -> list[_Growing]:
    """All interfaces, spread over flow logs, and these over accounts."""
    logs: dict[int, list[tuple[Minute, ...]]] = {}
    found = []
    for number in range(size.interfaces):
        flow_log, place = divmod(number, size.of_one)
        same = flow_log % max(1, _MOST_LOGS // size.of_one) * size.of_one + place
        account = ACCOUNTS[flow_log % len(ACCOUNTS)]
        nic = Nic("vnet-v4", f"000D3A{same:06X}", f"flowlog-{flow_log:04d}")
        if same not in logs:
            logs[same] = [
                tuple(hour_of(nic, hour, seed=1, tuples_per_minute=size.tuples, bad=0, minutes=minutes))
                for hour, minutes in ((_HOUR, 60), (_HOUR + HOUR, (_WARM_UP + _ROUNDS) * _MINUTES - 60))
            ]
        found.append(_Growing(account, nic, logs[same], containers[account], same))
    return found


# The host


@dataclass(slots=True)
class _Spent:
    """What a kind of job has taken: how often, CPU seconds, requests as the app counts them, and seconds."""

    times: int = 0
    cpu: float = 0.0
    requests: int = 0
    longest: float = 0.0


class _Host:
    """Hands work to instances that are idle, one invocation at a time, and adds up what jobs have taken."""

    def __init__(self, instances: Sequence[Worker], queue: Queue) -> None:
        self.spent: dict[str, _Spent] = defaultdict(_Spent)
        self.failed: list[str] = []
        self._instances = instances
        self._queue = queue
        self._lock = threading.Lock()

    def fire(self, timer: str) -> None:
        """A timer's time has come."""
        self._run(self._instances[0], timer, lambda instance: instance.invoke_timer(timer))

    def hand_out(self, events: Sequence[tuple[str, str]]) -> None:
        """Events, each a function and a blob's name."""
        left = iter(events)

        def work(instance: Worker) -> None:
            while True:
                with self._lock:
                    event = next(left, None)
                if event is None:
                    return
                self._run(instance, "event", partial(_invoke_blob, event))

        self._at_once(work)

    def drain(self) -> None:
        """Hand out messages until there are no more."""
        busy = 0

        def work(instance: Worker) -> None:
            nonlocal busy
            while True:
                with self._lock:
                    message = self._queue.take()
                    busy += message is not None
                    if message is None and not busy:
                        return
                if message is None:
                    time.sleep(0.02)
                    continue
                self._run(instance, "message", partial(_invoke_queue, message))
                with self._lock:
                    self._queue.delete(message)
                    busy -= 1

        self._at_once(work)

    def taken(self) -> dict[str, _Spent]:
        """What jobs have taken since this was called last."""
        spent, self.spent = self.spent, defaultdict(_Spent)
        return dict(sorted(spent.items()))

    def _at_once(self, work: Callable[[Worker], None]) -> None:
        with ThreadPoolExecutor(len(self._instances)) as pool:
            for _ in pool.map(work, self._instances):
                pass

    def _run(self, instance: Worker, what: str, invoke: Callable[[Worker], Invocation]) -> None:
        process = instance.process.pid
        began, cpu = WALL(), cpu_seconds(process)
        done = invoke(instance)
        seconds, cpu = WALL() - began, cpu_seconds(process) - cpu
        words, requests = set(), 0
        for log in instance.logs_of(done):
            word, _, facts = log.message.partition(" {")
            if log.level == "Error":
                self.failed.append(log.message)
            elif facts:
                words.add(word)
                requests += json.loads("{" + facts).get("Requests", 0)
        if not done.succeeded:
            self.failed.append(f"{what}: {done.error}")
        with self._lock:
            its = self.spent[", ".join(sorted(words)) or what]
            its.times += 1
            its.cpu += cpu
            its.requests += requests
            its.longest = max(its.longest, seconds)
        for texts in done.outputs.values():
            for text in texts:
                self._queue.put(text)


def _invoke_blob(event: tuple[str, str], instance: Worker) -> Invocation:
    function, blob = event
    return instance.invoke_blob(function, VNET_CONTAINER, blob)


def _invoke_queue(message: Message, instance: Worker) -> Invocation:
    return instance.invoke_queue(_WORK, message)


# The whole


@dataclass(frozen=True, slots=True)
class _Estate:
    """Emulators, the first of which has the results, and the host, and all interfaces; and how many ms of CPU
    a job that is always the same has taken, from time to time: how fast the machine is, as loaded as it is.
    """

    size: Size
    emulators: tuple[MeteredAzurite, ...]
    host: _Host
    interfaces: list[_Growing]
    references_ms: list[float] = field(default_factory=list)

    def set_clock(self, now: datetime) -> None:
        """Let it be this time in all of Azure."""
        for each in self.emulators:
            each.set_clock(now)
        blob = minute_blob("vnet-v4", MINUTE)
        for _ in range(_REFERENCES):
            began = time.thread_time()
            count_plainly(blob)
            self.references_ms.append(1000 * (time.thread_time() - began))

    def grow(self, minutes: int) -> int:
        """Let all interfaces write so many minutes; gives how many bytes."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            return sum(pool.map(lambda each: each.grow(minutes), self.interfaces))

    @property
    def reference_ms(self) -> float:
        """What the reference takes now."""
        return median(self.references_ms)

    def quiet(self, cpu: float) -> float:
        """What so much CPU would be on the machine that tools.cost reckons with."""
        return cpu * REFERENCE_MS / self.reference_ms

    def reckoned(self, mode: model.Mode, bytes_a_minute: float) -> model.Estate:
        """Name this estate as tools.cost does."""
        return model.Estate(
            self.size.interfaces,
            self.size.flow_logs,
            mode=mode,
            kilobytes=bytes_a_minute / 1e3,
            accounts=len(ACCOUNTS),
        )

    def forget(self) -> None:
        """Forget what has been measured so far."""
        self.host.taken()
        self.asked()
        self.references_ms.clear()

    def asked(self) -> Asking:
        """What all emulators were asked since this was called last."""
        return sum((each.taken() for each in self.emulators), Asking())

    def check(self, now: datetime) -> None:
        """The tables hold what the naive count of each flow log holds; all together, its traffic."""
        with stores_of(self.emulators[0].connection_string) as stores:
            stats, counts = (rows_of(stores, table) for table in ("flowstats", "flowcounts"))
        by_scope: dict[str, Rows] = defaultdict(dict)
        for key, row in stats.items():
            by_scope[row["Scope"]][key] = row
        counted: dict[tuple[int, ...], naive.Count] = {}
        total = [0] * len(naive.MEASURES)
        for _, group in groupby(self.interfaces, attrgetter("nic.group")):
            flow_log = [*group]
            kind = tuple(each.same for each in flow_log)
            if kind not in counted:
                blobs = {name: blob for each in flow_log for name, blob in each.blobs().items()}
                counted[kind] = naive.count(blobs)
            truth = _of_scope(counted[kind], parse_blob_name(flow_log[0].event[1]).scope, now)
            (scope,) = {scope for scope, _ in truth.health}
            assert_views_say(by_scope.pop(scope), truth, exact=False)
            for period in truth.rows:
                if period[1:3] == ("traffic", "hour"):
                    total = [one + other for one, other in zip(total, truth.total(period), strict=True)]
        assert {*by_scope} <= {_EVERYONE}, by_scope.keys()
        assert _traffic_of_all(counts) == total, "all scopes together"


def _of_scope(truth: naive.Count, scope: str, now: datetime) -> naive.Count:
    """The truth about a flow log, said of another one of the same content, without what has no rows yet."""
    rows = {(scope, *period[1:]): keys for period, keys in truth.rows.items()}
    seen = {(scope, *period[1:]): keys for period, keys in truth.seen.items()}
    health = {(scope, hour): its for (of, hour), its in truth.health.items() if of != _EVERYONE}
    same = replace(truth, rows=rows, seen=seen, health=health)
    leave_out_open_periods(same, now)
    return same


def _traffic_of_all(counts: Rows) -> list[int]:
    """All figures of the traffic of all scopes together, of all hours."""
    total = [0] * len(naive.MEASURES)
    for (scope, key), row in counts.items():
        view, _, period = key.rpartition("~")
        if scope == _EVERYONE and view == "traffic" and read_partition(f"~{period[1:]}").grain == "hour":
            for sums in unpack(from_chunks(row))[0].traffic.values():
                columns = to_columns(to_figures(sums))
                total = [one + columns[name] for one, name in zip(total, naive.MEASURES, strict=True)]
    return total


@contextmanager
def _estate(size: Size, mode: model.Mode) -> Iterator[_Estate]:
    with ExitStack() as stack:
        emulators = tuple(stack.enter_context(metered_azurite(name)) for name in (_RESULTS, *ACCOUNTS))
        containers = {}
        for each in emulators[1:]:
            service = stack.enter_context(BlobServiceClient.from_connection_string(each.connection_string))
            containers[each.account] = service.create_container(VNET_CONTAINER)
        results_of = emulators[0].connection_string
        settings = {
            "FLOWTALLY_MODE": mode,
            "RESULTS": results_of,
            "AzureWebJobsStorage": results_of,
            **{f"FLOW_LOGS_{each.account.upper()}": each.connection_string for each in emulators[1:]},
        }
        queue = Queue(results_of, _QUEUE)
        queue.create()
        stack.callback(queue.close)
        instances = [stack.enter_context(worker(settings)) for _ in range(size.instances)]
        yield _Estate(size, emulators, _Host(instances, queue), _interfaces(size, containers))


def estate(size: Size, modes: Sequence[model.Mode] = ("schedule", "events")) -> Iterator[Row]:
    """An hour of updates in mode schedule, and five minutes of them in mode events."""
    for mode in modes:
        with _estate(size, mode) as running:
            yield from (_scheduled if mode == "schedule" else _by_events)(running)
            assert not running.host.failed, running.host.failed[:3]


def _scheduled(at: _Estate) -> Iterator[Row]:
    seconds, written, asking = [], 0, Asking()
    for number in range(1, _WARM_UP + _ROUNDS + 1):
        if number == _WARM_UP + 1:
            at.forget()
        now = _HOUR + timedelta(minutes=number * _MINUTES)
        at.set_clock(now)
        added = at.grow(_MINUTES)
        at.asked()
        began = WALL()
        at.host.fire("sweep")
        at.host.drain()
        if number > _WARM_UP:
            seconds.append(WALL() - began)
            asking += at.asked()
            written += added
    updates = at.size.interfaces * _ROUNDS * _MINUTES
    yield _rate(at, "schedule", updates, written, seconds, asking)
    spent = at.host.taken()
    jobs = model.hourly(at.reckoned("schedule", written / updates))
    cpu = sum(its.cpu for its in spent.values())
    yield Row(
        *("estate", "… schedule: all jobs", "× the CPU that tools.cost reckons with"),
        (at.quiet(cpu) * model.HOURS / sum(each.cpu for each in jobs),),
        aside={
            "× its blob reads": _share(asking, "blob reads", sum(each.reads for each in jobs)),
            "× its listings": _share(asking, "listings", sum(each.listings for each in jobs)),
            "× its table requests": _share(asking, "table requests", sum(each.table for each in jobs)),
            "CPU s": cpu,
            "reference ms": at.reference_ms,
        },
    )
    yield from _jobs("schedule", spent)
    for minutes in (_MINUTES, 2 * _MINUTES):  # rounds that find nothing; the second one has all joined
        at.set_clock(now + timedelta(minutes=minutes))
        at.host.fire("sweep")
        at.host.drain()
    yield from _jobs("schedule, nothing new", at.host.taken())
    at.check(now + timedelta(minutes=2 * _MINUTES))


def _by_events(at: _Estate) -> Iterator[Row]:
    seconds, written, asking = [], 0, Asking()
    for number in range(_MINUTES + 1):
        at.set_clock(_HOUR + timedelta(minutes=number + 1))
        added = at.grow(1)
        at.asked()
        began = WALL()
        at.host.hand_out([each.event for each in at.interfaces])
        if number == 0:  # entries are new
            at.forget()
            continue
        seconds.append(WALL() - began)
        asking += at.asked()
        written += added
    updates = at.size.interfaces * _MINUTES
    yield _rate(at, "events", updates, written, seconds, asking)
    spent = at.host.taken()
    cpu = sum(its.cpu for its in spent.values())
    kilobytes = written / updates / 1e3
    yield Row(
        *("estate", "… events: updates", "× the CPU that tools.cost reckons with"),
        (1000 * at.quiet(cpu) / updates / (EVENT_MS + model.update_ms(kilobytes, kilobytes)),),
        aside={"CPU s": cpu, "reference ms": at.reference_ms},
    )
    yield from _jobs("events", spent)
    to_views = []
    for minutes in (10, 15):  # what is rolled up by the first is joined by the second
        at.set_clock(_HOUR + timedelta(minutes=minutes, seconds=30))
        began = WALL()
        at.host.fire("rollup")
        at.host.drain()
        to_views.append(WALL() - began)
    yield Row("estate", f"events, {at.size}", "s from the rollup's time to views", (to_views[0],))
    yield from _jobs("events", at.host.taken())
    for minutes in (20, 50):  # the first one has more to write down
        at.host.taken()
        at.set_clock(now := _HOUR + timedelta(minutes=minutes))
        at.host.fire("sweep")
        at.host.drain()
    yield from _jobs("events, a second sweep", at.host.taken())
    at.check(now)


def _rate(
    at: _Estate, mode: model.Mode, updates: int, written: int, seconds: Sequence[float], asking: Asking
) -> Row:
    return Row(
        *("estate", f"{mode}, {at.size}", "updates a second"),
        (updates / sum(seconds),),
        aside={
            "kB each": written / updates / 1e3,
            "seconds of the longest round": max(seconds),
            "an update: requests": asking.made / updates,
            "bytes": (asking.received + asking.sent) / updates,
            **{f"{name} in all": number for name, number in sorted(asking.requests.items())},
        },
    )


def _share(asking: Asking, name: Asked, of_month: float) -> float:
    return asking.requests[name] * model.HOURS / of_month


def _jobs(when: str, spent: Mapping[str, _Spent]) -> Iterator[Row]:
    for job, its in spent.items():
        yield Row(
            *("estate", f"… {when}: {job}", "CPU ms each", (1000 * its.cpu / its.times,)),
            aside={"times": its.times, "requests": its.requests / its.times, "longest s": its.longest},
        )

"""An instance of the function app, under Microsoft's worker code: how many updates at once, and its memory.

Azure's storage is farther away than an emulator on the same machine, so that each answer is held back for a
while. The worker gets one core, as an instance of 2,048 MB has. What the host beside it takes is not in these
figures.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import median
from uuid import uuid4

from azure.storage.blob import BlobBlock

from shared.tables import TABLES
from tests.worker import Worker, drain, put_all, queue_of_work, worker
from tools.azurite import Azurite
from tools.bench.measuring import WALL, Row, ratios
from tools.bench.storing import MINUTE, SMALL_MINUTE, Growing, Host, cpu_seconds, emulator, this_hour
from tools.network_watcher import CLOSER, OPENER, VNET_CONTAINER, Nic, hour_of, whole_blob

AT_ONCE = (1, 2, 4, 8, 16)
MESSAGES_AT_ONCE = (1, 2, 3, 4, 8)
_BLOBS = 32
_LARGE_TUPLES = 2500
_EVER = datetime(2000, 1, 1, tzinfo=UTC)


# Storage that is some way off


class _Relay(threading.Thread):
    """Passes bytes on to a port of this machine, and back again after ``seconds``."""

    def __init__(self, target: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._target, self._seconds = target, seconds
        self._listening = threading.Event()
        self._port = 0
        self.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        self._listening.wait()
        return self._port

    def run(self) -> None:
        """Serve until the process ends."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            _pump(reader, questions, 0), _pump(answers, writer, self._seconds), return_exceptions=True
        )


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


def _far_off(storage: Azurite, seconds: float) -> str:
    text = storage.connection_string
    for port in (storage.blob_port, storage.table_port):
        text = text.replace(f":{port}/", f":{_Relay(port, seconds).port}/")
    return text


@contextmanager
def _instance(connection_string: str) -> Iterator[Worker]:
    """The app on one core, with as many threads as the worker code gives it there."""
    settings = {"FLOW_LOGS": connection_string, "RESULTS": connection_string}
    with ExitStack() as stack:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
        try:
            running = stack.enter_context(worker(settings))
        finally:
            os.sched_setaffinity(0, cores)
        yield running


def _invoke(running: Worker, names: list[str], at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for done in pool.map(lambda name: running.invoke_blob("ingest_vnet", VNET_CONTAINER, name), names):
            assert done.succeeded, done.error


# How many at once


@dataclass
class _Crowd:
    """Blobs that grow, and an instance of their own that counts them, so many at once."""

    at_once: int
    running: Worker
    blobs: list[Growing]
    a_second: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def count(self) -> None:
        """Count the minute that each blob has grown by."""
        began, cpu = WALL(), cpu_seconds(self.running.process.pid)
        _invoke(self.running, [blob.name.name for blob in self.blobs], self.at_once)
        self.a_second.append(len(self.blobs) / (WALL() - began))
        self.cpu.append((cpu_seconds(self.running.process.pid) - cpu) / len(self.blobs))


def at_once(rounds: int, seconds: float = 0.02, blobs: int = _BLOBS) -> Iterator[Row]:
    """Updates a second by one instance, so many events at once, against one after the other."""
    with emulator() as (storage, at):
        far_off = _far_off(storage, seconds)
        for size, tuples in (("2 kB", SMALL_MINUTE), ("20 kB", MINUTE)):
            with ExitStack() as stack:
                crowds = [
                    _Crowd(
                        number,
                        stack.enter_context(_instance(far_off)),
                        [
                            Growing(at, f"00{tuples:04X}{number:02X}{blob:04X}", tuples)
                            for blob in range(blobs)
                        ],
                    )
                    for number in AT_ONCE
                ]
                for turn in range(rounds + 1):
                    for crowd in crowds:
                        for blob in crowd.blobs:
                            blob.grow()
                    for crowd in crowds if turn % 2 else crowds[::-1]:
                        crowd.count()
                for crowd in crowds:
                    yield Row(
                        *("at-once", f"{size}, {crowd.at_once} at once", "× updates a second one by one"),
                        ratios(crowd.a_second[1:], crowds[0].a_second[1:]),
                        aside={
                            "a second": median(crowd.a_second[1:]),
                            "CPU ms each": 1e3 * median(crowd.cpu[1:]),
                            "MB": _most_memory(crowd.running),
                        },
                    )


# Memory


def instance(megabytes: int = 100) -> Iterator[Row]:
    """The most memory of the worker process in a busy hour, and where much is waiting to be counted."""
    hour = this_hour() - timedelta(hours=3)
    with emulator() as (storage, at):
        growing = [Growing(at, f"000D3A0000{blob:02X}", MINUTE) for blob in range(5)]
        with _instance(storage.connection_string) as running:
            for _ in range(45):
                for blob in growing:
                    blob.grow()
                _invoke(running, [blob.name.name for blob in growing], 5)
            yield _row("45 minutes of 20 kB, of 5 interfaces", running)
        for what, count, size, tuples in (
            ("16 hours of 1.2 MB, at once", 16, 0, MINUTE),
            (f"5 blobs of {megabytes} MB, at once", 5, megabytes, _LARGE_TUPLES),
        ):
            names = [_put(at, hour, number, size, tuples) for number in range(count)]
            with _instance(storage.connection_string) as running:
                _invoke(running, names, 16)
                yield _row(what, running)
            at.tables.service.delete_table("flowledger")
            at.tables.create()
        for number in range(8):
            _put(at, hour, number, megabytes, _LARGE_TUPLES)
        with _instance(storage.connection_string) as running:
            _sweep(storage, running, 1)
            yield _row(f"a sweep over 8 blobs of {megabytes} MB, and 8 of 1.2 MB", running)


def messages(rounds: int, flow_logs: int = 8, hours: int = 20) -> Iterator[Row]:
    """The most memory of the worker process, and how fast it is, with so many messages of the queue at once,
    each of a flow log of which hours of 1.2 MB wait to be counted.
    """
    last = this_hour() - timedelta(hours=2)
    seconds: dict[int, list[float]] = {number: [] for number in MESSAGES_AT_ONCE}
    most: dict[int, float] = {}
    with emulator() as (storage, at):
        for number in range(flow_logs):
            for hour in range(hours):
                _put(at, last - timedelta(hours=hour), number, 0, MINUTE, f"bench-{number}")
        for turn in range(rounds):
            for at_once in MESSAGES_AT_ONCE if turn % 2 else MESSAGES_AT_ONCE[::-1]:
                for name in TABLES:
                    at.tables.service.delete_table(name)
                at.tables.create()
                with _instance(storage.connection_string) as running:
                    began = WALL()
                    _sweep(storage, running, at_once)
                    seconds[at_once].append(WALL() - began)
                    most[at_once] = max(most.get(at_once, 0), _most_memory(running))
                counted = sum(
                    1 for scope in at.ledger.scopes() for _ in at.ledger.entries(scope, _EVER, last)
                )
                assert counted == flow_logs * hours, counted
    for at_once, taken in seconds.items():
        yield Row(
            *("messages", f"{at_once} at once", "× as fast as one by one"),
            ratios(seconds[MESSAGES_AT_ONCE[0]], taken),
            aside={"MB": most[at_once], "seconds": median(taken)},
        )


def _sweep(storage: Azurite, running: Worker, at_once: int) -> None:
    """Let the timer hand out sweeps, and so many messages at a time be worked on until none is left."""
    with queue_of_work(storage.connection_string) as queue, ThreadPoolExecutor(at_once) as pool:
        put_all(queue, running.invoke_timer("sweep"))
        for _ in pool.map(lambda _: drain(running, queue), range(at_once)):
            pass


def _row(what: str, running: Worker) -> Row:
    return Row("instance", what, "MB in all", (_most_memory(running),))


def _most_memory(running: Worker) -> float:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0]) / 1e6


@cache
def _hour(when: datetime, tuples: int) -> bytes:
    minutes = hour_of(
        Nic("vnet-v4", "000D3A00BE0C", "bench"), when, seed=1, tuples_per_minute=tuples, bad=0, restarts=0
    )
    return whole_blob(minutes)[0][len(OPENER) : -len(CLOSER)]


def _put(at: Host, when: datetime, number: int, megabytes: int, tuples: int, flow_log: str = "bench") -> str:
    """Write a blob of an hour's records, as often as makes so many megabytes, or once."""
    nic, body = Nic("vnet-v4", f"000D3B{number:06X}", flow_log), _hour(when, tuples)
    blob = at.flow_logs.service.get_blob_client(nic.container, nic.blob_name(when))
    parts = [OPENER, body, *[b"," + body] * max(0, round(megabytes * 1e6 / len(body)) - 1), CLOSER]
    blocks = [BlobBlock(uuid4().hex) for _ in parts]
    for block, part in zip(blocks, parts, strict=True):
        blob.stage_block(block.id, part)
    blob.commit_block_list(blocks)
    return nic.blob_name(when)

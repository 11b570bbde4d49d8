"""Rows of whole jobs on Azurite: updates, sweeps, transactions; by one process and by two."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.core import MatchConditions
from azure.data.tables import TableClient, TableServiceClient, UpdateMode
from azure.storage.blob import BlobServiceClient

from shared.blobs import WINDOW, FlowLogs
from shared.counts.store import Counts
from shared.flowlog.blob_name import HOUR_FOLDER, BlobName, parse_blob_name
from shared.ingest import ingest
from shared.ledger.entry import Entry, partition_of, to_columns
from shared.ledger.store import Ledger, Loaded
from shared.queries import query
from shared.settings import Connection
from shared.sweep import sweep
from shared.tables import Columns, Tables, to_entity
from shared.tally.measures import PLAIN
from shared.tally.packing import pack
from shared.tally.states import States
from shared.times import floor_hour
from shared.transactions import Put, transact
from tools.azurite import ACCOUNT, Azurite, azurite
from tools.bench.logs import BUSY, HOUR, hour_blob, repeated, shares_with
from tools.bench.measuring import CPU, WALL, Row, by_turns, ratios
from tools.network_watcher import NSG_CONTAINER, VNET_CONTAINER, BlobWriter, Nic, hour_of, whole_blob
from tools.proxy import Request, forwarded

_HOUR = timedelta(hours=1)
_LARGE = 12_000_000
"""Bytes of a blob that computing outweighs storage with."""

SMALL_MINUTE, MINUTE = 20, 250
"""Tuples of a minute of about 2 kB and of one of about 20 kB."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a process that ingests keeps: its clients."""

    flow_logs: FlowLogs
    tables: Tables
    ledger: Ledger
    counts: Counts


@contextmanager
def host(connection_string: str) -> Iterator[Host]:
    """A host that begins without connections."""
    connection = Connection("BENCH", connection_string=connection_string)
    flow_logs, tables = FlowLogs(connection), Tables(connection)
    try:
        yield Host(flow_logs, tables, Ledger(tables), Counts(tables))
    finally:
        flow_logs.service.close()
        tables.service.close()


@contextmanager
def emulator() -> Iterator[tuple[Azurite, Host]]:
    """Azurite with our tables and Network Watcher's containers, and a host of it."""
    with azurite() as storage, host(storage.connection_string) as at:
        at.tables.create()
        for container in (NSG_CONTAINER, VNET_CONTAINER):
            at.flow_logs.service.create_container(container).close()
        yield storage, at


class Growing:
    """An interface's blob of the present hour that grows by a minute at a time, for some fifty minutes."""

    def __init__(self, at: Host, mac: str, tuples_per_minute: int) -> None:
        nic, hour = Nic("vnet-v4", mac, "bench"), this_hour()
        minutes = hour_of(nic, hour, seed=1, tuples_per_minute=tuples_per_minute, bad=0, restarts=0)
        self._minutes = (minute for minute in minutes if minute.blocks)
        container = at.flow_logs.service.get_container_client(nic.container)
        self._writer = BlobWriter(container, nic.blob_name(hour))
        self.name = parse_blob_name(nic.blob_name(hour))
        self.grow()
        ingest(self.name, at.flow_logs, at.ledger)

    def grow(self) -> None:
        """Let Network Watcher add a minute."""
        self._writer.append(next(self._minutes))


def this_hour() -> datetime:
    """The hour that it is now."""
    return floor_hour(datetime.now(UTC))


def _ingest(blob: BlobName, at: Host) -> None:
    assert ingest(blob, at.flow_logs, at.ledger).records


# One update


class _Bare:
    """The storage requests of an update and nothing else: the same bytes, by the same SDKs."""

    def __init__(self, storage: Azurite, at: Host, blob: BlobName) -> None:
        self._connection_string = storage.connection_string
        self._blobs: BlobServiceClient = at.flow_logs.service
        self._table = at.tables.table("flowledger")
        self._blob = blob
        self._partition = f"bare~{partition_of(blob)}"
        self._start, self._entity = 0, self._entity_of(Entry(blob.name))
        self._etag = self._table.create_entity(self._entity)["etag"]

    def _entity_of(self, entry: Entry) -> dict[str, Any]:
        return to_entity(to_columns(entry, self._partition, ACCOUNT))

    def follow(self, loaded: Loaded) -> None:
        """Do next what an update of this entry asks for."""
        self._start = loaded.entry.offset - len(loaded.entry.tail)
        self._entity = self._entity_of(loaded.entry)
        self._write(self._table)

    def same(self) -> None:
        """Load the entity, read what is new, and write the entity."""
        self._load(self._table)
        self._read(self._blobs)
        self._write(self._table)

    def new(self) -> None:
        """The same by new clients."""
        with (
            BlobServiceClient.from_connection_string(
                self._connection_string, max_single_get_size=WINDOW
            ) as blobs,
            TableServiceClient.from_connection_string(self._connection_string) as tables,
        ):
            table = tables.get_table_client("flowledger")
            self._load(table)
            self._read(blobs)
            self._write(table)

    def _load(self, table: TableClient) -> None:
        table.get_entity(self._partition, ACCOUNT)

    def _read(self, blobs: BlobServiceClient) -> None:
        blob = blobs.get_blob_client(VNET_CONTAINER, self._blob.name)
        blob.download_blob(offset=self._start, length=WINDOW).readall()

    def _write(self, table: TableClient) -> None:
        written = table.update_entity(
            self._entity,
            mode=UpdateMode.REPLACE,
            etag=self._etag,
            match_condition=MatchConditions.IfNotModified,
        )
        self._etag = written["etag"]


def updates(rounds: int) -> Iterator[Row]:
    """An update end to end, against its storage requests alone; each round is one minute of a growing blob.

    A new host makes its clients first and opens its connections, as it is with the bare requests.
    """
    with emulator() as (storage, at):

        def on_new_host(blob: BlobName) -> None:
            with host(storage.connection_string) as new:
                _ingest(blob, new)

        for size, tuples in (("2 kB", SMALL_MINUTE), ("20 kB", MINUTE)):
            for number, what in enumerate(("on the same host", "on a new host")):
                growing = Growing(at, f"000D3A{tuples:05X}{number}", tuples)
                bare = _Bare(storage, at, growing.name)
                update, requests = (
                    (partial(_ingest, growing.name, at), bare.same),
                    (partial(on_new_host, growing.name), bare.new),
                )[number]

                def prepare(growing: Growing = growing, bare: _Bare = bare) -> None:
                    growing.grow()
                    bare.follow(at.ledger.load(growing.name, ACCOUNT))

                whole, part = by_turns(rounds, update, requests, clock=WALL, before_round=prepare)
                yield Row(
                    *("updates", f"{size}, {what}", "× its requests", ratios(whole, part), 1.5),
                    aside={"ms": 1e3 * median(whole), "requests alone ms": 1e3 * median(part)},
                )


# Many interfaces


def scale(nics: int, rounds: int) -> Iterator[Row]:
    """An update where ``nics`` interfaces are known against one where ten are, and a sweep over all those,
    of which none has changed.
    """
    with emulator() as (few, at_few), emulator() as (many, at_many):
        fill(at_few, 10)
        fill(at_many, nics)
        yield from _update_among_many((few, at_few), (many, at_many), nics, rounds)
        yield from sweeping(many, at_many)


def _update_among_many(
    few: tuple[Azurite, Host], many: tuple[Azurite, Host], nics: int, rounds: int
) -> Iterator[Row]:
    what = f"{nics:,} interfaces"
    sides = [(at, Growing(at, "000D3AFFFFF0", MINUTE)) for _, at in (few, many)]

    def update(at: Host, growing: Growing) -> None:
        _ingest(growing.name, at)

    jobs = [partial(update, *side) for side in sides]

    def prepare() -> None:
        for _, growing in sides:
            growing.grow()

    of_few, of_many = by_turns(rounds, *jobs, clock=CPU, before_round=prepare)
    yield Row(
        *("scale", what, "× CPU seconds at 10", ratios(of_many, of_few), 1.1),
        aside={"ms": 1e3 * median(of_many)},
    )
    passed = [
        [*_requests_of(storage, side[1], update)]
        for (storage, _), side in zip((few, many), sides, strict=True)
    ]
    requests = [len(side) for side in passed]
    sizes = [sum(each.sent_bytes + each.answer_bytes for each in side) for side in passed]
    for each, (at_few, at_many) in (("requests", requests), ("bytes", sizes)):
        yield Row(
            *("scale", what, f"× {each} at 10", (at_many / at_few,), 1.1),
            aside={"each": at_many / _COUNTED},
        )


_COUNTED = 5


def _requests_of(
    storage: Azurite, growing: Growing, update: Callable[[Host, Growing], None]
) -> Iterator[Request]:
    """What passes in some updates; one before them opens the connections."""
    with forwarded(storage) as (connection_string, traffic), host(connection_string) as at:
        for number in range(1 + _COUNTED):
            growing.grow()
            traffic.clear()
            update(at, growing)
            if number:
                yield from traffic.taken()


def fill(at: Host, nics: int) -> None:
    """Blobs of the previous hour, read to their ends, of interfaces in ten flow logs; 200 keys each."""
    hour = this_hour() - _HOUR
    packed = pack(shares_with("vnet-v4", 200))
    blobs = at.flow_logs.service.get_container_client(VNET_CONTAINER)
    ledger = at.tables.table("flowledger")

    def put(number: int) -> None:
        nic = Nic("vnet-v4", f"000D3B{number:06X}", f"flowlog-{number % 10}")
        name = nic.blob_name(hour)
        etag = blobs.get_blob_client(name).upload_blob(data)["etag"].strip('"')
        entry = Entry(
            name, len(data) - 2, blob_etag=etag, records=1, tuples=5, states=States(5), packed=packed
        )
        ledger.create_entity(to_entity(to_columns(entry, partition_of(parse_blob_name(name)), ACCOUNT)))

    data, _ = whole_blob(
        hour_of(Nic("vnet-v4", "0" * 12, "bench"), hour, seed=1, tuples_per_minute=5, minutes=1, restarts=0)
    )
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, range(nics)):
            pass


def sweeping(storage: Azurite, at: Host) -> Iterator[Row]:
    """A sweep such as the timer's over blobs of which none has changed: what it asks for, and its time."""
    until = this_hour() + _HOUR
    since = until - 25 * _HOUR
    sweep([at.flow_logs], at.ledger, at.counts, since, until)  # writes down what it finds, as it is the first
    with forwarded(storage) as (connection_string, traffic), host(connection_string) as through:
        swept = sweep([through.flow_logs], through.ledger, through.counts, since, until)
    assert not swept.behind
    assert not swept.failed
    what = f"{swept.listed:,} quiet blobs"
    listings = [request for request in traffic.requests if "comp=list" in request.path]
    queries = [request for request in traffic.requests if "flowledger" in request.path]
    known = [request for request in traffic.requests if "flowcounts" in request.path]
    for each, figure, target in (
        ("contents read", sum(request.reads_blob for request in traffic.requests), 0),
        ("writes", sum(request.writes for request in traffic.requests), 0),
        ("listings beyond its hours", sum(_beyond(request, since, until) for request in listings), 0),
        ("listings", len(listings), None),
        ("queries of the ledger", len(queries), None),
        ("queries of what is known", len(known), 1),
        ("other requests", len(traffic.requests) - len(listings) - len(queries) - len(known), 0),
    ):
        yield Row("sweep", what, each, (figure,), target)
    for clock, unit in ((WALL, "s"), (CPU, "CPU s")):
        (taken,) = by_turns(
            1, partial(sweep, [at.flow_logs], at.ledger, at.counts, since, until), clock=clock
        )
        yield Row("sweep", what, unit, taken)


def _beyond(listing: Request, since: datetime, until: datetime) -> bool:
    """Whether a listing asks for hours outside of these: if it asks for hours at all."""
    prefix = parse_qs(urlsplit(listing.path).query).get("prefix", [""])[0]
    root, _, folder = prefix.partition("/y=")
    hours = (since.replace(minute=0) + number * _HOUR for number in range(-24 * 400, 24 * 32))
    return bool(root and folder) and any(
        hour.strftime(HOUR_FOLDER).startswith("y=" + folder) and not since <= hour <= until for hour in hours
    )


# A transaction


_AT_ONCE = 10
"""Transactions that are timed together."""


def transactions(rounds: int) -> Iterator[Row]:
    """Transactions of a view's rows, against the same ones by the SDK's own ``submit_transaction``."""
    with emulator() as (_, at):
        stats = at.tables.table("flowstats")
        for number, target in ((10, 0.3), (100, 0.15)):
            rows = [_view_row(rank) for rank in range(number)]
            ours, sdk = by_turns(rounds, partial(_by_us, stats, rows), partial(_by_the_sdk, stats, rows))
            yield Row(
                *("transactions", f"{number} rows", "× CPU seconds by the SDK", ratios(ours, sdk), target),
                aside={
                    "CPU ms a row": 1e3 * median(ours) / number / _AT_ONCE,
                    "by the SDK": 1e3 * median(sdk) / number / _AT_ONCE,
                },
            )


def _view_row(rank: int) -> Columns:
    """A row as the view of conversations has them."""
    key = dict.fromkeys(("Direction", "SrcIp", "DestIp", "DestPort", "L4Protocol", "AclRule"), "10.0.0.4")
    figures = dict.fromkeys((*PLAIN, "Missed"), 1_000_000 * rank)
    keys = {"PartitionKey": "bench~conversations~hour", "RowKey": f"2026112604~{rank:04d}"}
    return keys | {"Scope": "bench", "View": "conversations", "Period": HOUR} | key | figures | {"Rank": rank}


def _by_us(table: TableClient, rows: list[Columns]) -> None:
    for _ in range(_AT_ONCE):
        transact(table, rows[0]["PartitionKey"], [Put(row) for row in rows])


def _by_the_sdk(table: TableClient, rows: list[Columns]) -> None:
    for _ in range(_AT_ONCE):
        table.submit_transaction([("upsert", to_entity(row), {"mode": "replace"}) for row in rows])


# Queries


def queries(rounds: int) -> Iterator[Row]:
    """Queries of a view's rows, against the same ones by the SDK's own ``query_entities``."""
    with emulator() as (_, at):
        stats = at.tables.table("flowstats")
        rows = [_view_row(rank) for rank in range(100)]
        transact(stats, rows[0]["PartitionKey"], [Put(row) for row in rows])
        for number in (10, 100):
            ends = {"partition": rows[0]["PartitionKey"], "end": rows[number - 1]["RowKey"]}
            asked = stats, "PartitionKey eq @partition and RowKey le @end", ends
            assert len([*query(*asked)]) == number
            ours, sdk = by_turns(
                rounds, partial(_read_by_us, *asked), partial(_read_by_the_sdk, *asked), clock=CPU
            )
            yield Row(
                *("queries", f"{number} rows", "× CPU seconds by the SDK", ratios(ours, sdk)),
                aside={
                    "CPU ms": 1e3 * median(ours) / _AT_ONCE,
                    "by the SDK": 1e3 * median(sdk) / _AT_ONCE,
                },
            )


def _read_by_us(*asked: Any) -> None:
    for _ in range(_AT_ONCE):
        for _ in query(*asked):
            pass


def _read_by_the_sdk(*asked: Any) -> None:
    for _ in range(_AT_ONCE):
        ask_by_sdk(*asked)


def ask_by_sdk(
    table: TableClient,
    condition: str,
    parameters: Mapping[str, str],
    select: Sequence[str] | None = None,
    *,
    page: int | None = None,
) -> None:
    """Read what ``query`` would, by the SDK's own ``query_entities``, and throw it away."""
    options: dict[str, Any] = {"select": select, "results_per_page": page}
    for _ in table.query_entities(condition, parameters=dict(parameters), **options):
        pass


# Two processes


_own_host: list[Host] = []


def _start(connection_string: str) -> None:
    """Begin a process that ingests: its clients are made once."""
    connection = Connection("BENCH", connection_string=connection_string)
    tables = Tables(connection)
    _own_host.append(Host(FlowLogs(connection), tables, Ledger(tables), Counts(tables)))


def _ingest_named(name: str) -> float:
    """Ingest a blob from its beginning; gives the CPU seconds that it took."""
    began = CPU()
    _ingest(parse_blob_name(name), _own_host[0])
    return CPU() - began


def processes(rounds: int, tuples_per_minute: int = BUSY, updates: int = 200) -> Iterator[Row]:
    """The same blobs by one process and by two: some large ones, which compute, and many single small
    updates, which mostly wait for Azurite.

    A machine whose second core is busy with something else hasn't two cores to give. So the large blobs'
    figure is relative to what two processes get here and now that do nothing but compute, as if that were
    twice the work of one. ``Azurite busy``: its CPU seconds a second; it serves with one thread, so of one.
    """
    with emulator() as (storage, at), _pool(storage, 1) as one, _pool(storage, 2) as two:
        data = repeated(hour_blob("vnet-v4", tuples_per_minute), _LARGE * tuples_per_minute // BUSY)
        large = [_put(at, Nic("vnet-v4", f"000D3AA{number:05X}", "bench"), HOUR, data) for number in range(8)]
        small = [_put(at, *_minute_of(number)) for number in range(updates)]
        for what, names, target in (
            (f"{len(large)} blobs of {len(data) / 1e6:.1f} MB", large, 1.7),
            (f"{len(small)} single updates of 20 kB", small, None),
        ):
            runs = [_Run(storage, pool, names) for pool in (one, two)]
            by_one, by_two, spun_by_one, spun_by_two = by_turns(
                rounds,
                *(run.ingest for run in runs),
                *(run.compute for run in runs),
                clock=WALL,
                before_job=partial(_forget_entries, at),
            )
            seen, possible = ratios(by_one, by_two), ratios(spun_by_one, spun_by_two)
            yield Row(
                *(
                    "processes",
                    what,
                    "× the work of one",
                    ratios(seen, possible, 2) if target else seen,
                    target,
                ),
                at_least=True,
                aside={
                    "blobs a second by one": len(names) / median(by_one),
                    "by two": len(names) / median(by_two),
                    "two that only compute": median(possible),
                    "CPU seconds by two × by one": median(ratios(runs[1].cpu, runs[0].cpu)),
                    "Azurite busy": median(runs[1].busy),
                },
            )


class _Run:
    """Blobs that a number of processes ingest, again and again; and what that took."""

    def __init__(self, storage: Azurite, pool: ProcessPoolExecutor, names: list[str]) -> None:
        self._azurite, self._pool, self._names = storage.process_id, pool, names
        self.cpu: list[float] = []
        self.busy: list[float] = []

    def ingest(self) -> None:
        """Ingest each blob from its beginning."""
        began, azurite_began = WALL(), cpu_seconds(self._azurite)
        self.cpu.append(sum(self._pool.map(_ingest_named, self._names)))
        self.busy.append((cpu_seconds(self._azurite) - azurite_began) / (WALL() - began))

    def compute(self) -> None:
        """Do nothing but compute, in as many parts."""
        for _ in self._pool.map(sum, [range(5_000_000)] * 8):
            pass


def _pool(storage: Azurite, processes: int) -> ProcessPoolExecutor:
    begin = get_context("spawn")
    pool = ProcessPoolExecutor(processes, begin, initializer=_start, initargs=(storage.connection_string,))
    for _ in pool.map(time.sleep, [0.1] * processes):  # as many begin as have something to do
        pass
    return pool


def _put(at: Host, nic: Nic, hour: datetime, data: bytes) -> str:
    name = nic.blob_name(hour)
    at.flow_logs.service.get_blob_client(nic.container, name).upload_blob(data)
    return name


def _minute_of(number: int) -> tuple[Nic, datetime, bytes]:
    nic, hour = Nic("vnet-v4", f"000D3AB{number:05X}", "bench"), this_hour()
    return (
        nic,
        hour,
        whole_blob(hour_of(nic, hour, seed=1, tuples_per_minute=MINUTE, minutes=1, bad=0, restarts=0))[0],
    )


def _forget_entries(at: Host) -> None:
    at.tables.service.delete_table("flowledger")
    at.tables.create()


def cpu_seconds(process: int) -> float:
    """CPU seconds that a process has taken so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

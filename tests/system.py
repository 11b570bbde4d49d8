"""What the system tests share: stores on an emulator, blobs to be read, and all that the tables hold."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
import requests
from azure.core.exceptions import ResourceExistsError
from azure.data.tables import EntityProperty
from click.testing import Result

from shared import periods
from shared.blobs import FlowLogs
from shared.counts.index import read_partition
from shared.counts.store import Counts
from shared.counts.work import Work
from shared.entities import from_chunks
from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.flowlog.rejects import RejectCounts
from shared.ingest import ingest
from shared.ledger.entry import from_columns, partition_of
from shared.ledger.store import LATE, Ledger
from shared.rollup import RolledUp, rollup
from shared.settings import Connection
from shared.sweep import Swept, sweep
from shared.tables import Tables, from_entity
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts, HourCounts
from shared.tally.measures import add_to, to_columns, to_figures
from shared.tally.packing import pack, pack_within, unpack
from shared.views.store import Views
from tests import naive
from tools.azurite import ACCOUNT
from tools.network_watcher import (
    CLOSER,
    NSG_CONTAINER,
    OPENER,
    VNET_CONTAINER,
    BlobWriter,
    Nic,
)

HOUR = timedelta(hours=1)
NIGHT = datetime(2026, 10, 31, 23, tzinfo=UTC)
"""The last hour of a day and of a month, weeks before these tests were written."""

EVENING = NIGHT - HOUR
"""An hour whose neighbours are of the same day: a rollup needs fewer requests for it."""

FEW_VIEWS = ("traffic", "rules", "talkers", "denied-ports", "nics", "health", "rejects")
"""Some views of each kind: for a rollup, others are more of the same."""

FEWEST_VIEWS = ("traffic", "denied-ports", "health", "rejects")
"""One view of each kind: totals, a list whose rows come and go, and the two that are made of no counts.

For a rollup that is frozen, or dies, at each of its requests in turn: a second list is written by requests of
the same kind, beside those of the first.
"""

NOISE = b"#no record#"
"""What may stand between two records, and is none."""

MARKER = ("~flowtally", "marker")
"""PartitionKey and RowKey of the row by which a table of views is told from a later one."""

type Rows = dict[tuple[str, str], dict[str, Any]]
"""What a table holds: columns by PartitionKey and RowKey."""

type Call = Callable[..., Result]
"""The program's arguments → what it said, and how it ended."""


# Stores


@dataclass(frozen=True)
class Stores:
    """One host's clients, with that host's own memory."""

    connection_string: str
    flow_logs: FlowLogs
    tables: Tables
    ledger: Ledger
    counts: Counts
    views: Views

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a process that uses the same storage."""
        return {"FLOW_LOGS": self.connection_string, "RESULTS": self.connection_string}

    def sweep(self, since: datetime = NIGHT - 2 * HOUR, until: datetime = NIGHT + 2 * HOUR) -> Swept:
        """Sweep the hours around the night, with nothing failing: it notes what it found of each."""
        swept = sweep([self.flow_logs], self.ledger, self.counts, since, until)
        assert swept.failed == [], swept.failed[:3]
        return swept

    def rollup(self, since: datetime | None = None, *, again: bool = False) -> RolledUp:
        """Roll up, with nothing failing."""
        done = rollup(self.ledger, self.counts, self.views, since, again=again)
        assert done.failed == [], done.failed[:3]
        return done

    def rolled_up_at(self, moment: datetime, scope: str = "nsg~any") -> None:
        """Let the last rollup of each scope have begun then; or of one, if there was none."""
        works = self.counts.work.all("roll-up").values() or [Work("roll-up", scope)]
        self.counts.work.keep([replace(work, looked_at=moment) for work in works])

    def swept_at(self, moment: datetime) -> None:
        """Let the account's flow logs have been looked for then."""
        self.counts.work.keep([Work("account", self.flow_logs.account, looked_at=moment)])

    def put(self, nic: Nic, hour: datetime, data: bytes) -> BlobName:
        """Write a whole blob at once."""
        return self.put_named(nic.container, nic.blob_name(hour), data)

    def count(self, nic: Nic, hour: datetime, data: bytes) -> None:
        """Write a whole blob at once, and count it as an event would."""
        ingest(self.put(nic, hour, data), self.flow_logs, self.ledger)

    def put_named(self, container: str, name: str, data: bytes) -> BlobName:
        """Write a whole blob at once, by its name."""
        self.flow_logs.service.get_blob_client(container, name).upload_blob(data, overwrite=True)
        return parse_blob_name(name, container)

    def writer(self, nic: Nic, hour: datetime) -> BlobWriter:
        """Let a blob grow as Network Watcher does."""
        return BlobWriter(self.flow_logs.service.get_container_client(nic.container), nic.blob_name(hour))

    def blobs(self) -> dict[str, bytes]:
        """All flow logs that are stored, by name."""
        found = {}
        for container in (NSG_CONTAINER, VNET_CONTAINER):
            client = self.flow_logs.service.get_container_client(container)
            for name in [*client.list_blob_names()]:
                found[name] = client.download_blob(name).readall()
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self.flow_logs.service.close()
        self.tables.service.close()


@contextmanager
def host(connection_string: str) -> Iterator[Stores]:
    """A host that begins without memory."""
    connection = Connection("TEST", connection_string=connection_string)
    flow_logs, tables = FlowLogs(connection), Tables(connection)
    stores = Stores(connection_string, flow_logs, tables, Ledger(tables), Counts(tables), Views(tables))
    try:
        yield stores
    finally:
        stores.close()


def create_all(stores: Stores) -> None:
    """The containers that Network Watcher writes to, and our tables."""
    for container in (NSG_CONTAINER, VNET_CONTAINER):
        with suppress(ResourceExistsError):
            stores.flow_logs.service.create_container(container).close()
    stores.tables.create()


def forget_results(stores: Stores) -> None:
    """Delete all tables; the blobs stay."""
    for table in [*stores.tables.service.list_tables()]:
        stores.tables.service.delete_table(table.name)


def forget_all(stores: Stores) -> None:
    """Delete all that the storage holds."""
    forget_results(stores)
    for container in [*stores.flow_logs.service.list_containers()]:
        stores.flow_logs.service.delete_container(container.name)


# What the tables hold


def rows_of(stores: Stores, table: str) -> Rows:
    """A table's entities as plain columns, but not what marks a table of views."""
    found: Rows = {}
    for entity in stores.tables.table(table).list_entities():
        columns = {
            name: value.value if isinstance(value, EntityProperty) else value
            for name, value in entity.items()
        }
        found[columns["PartitionKey"], columns["RowKey"]] = columns
    return {key: columns for key, columns in found.items() if key[0] != MARKER[0]}


def says_anything(row: Mapping[str, Any]) -> bool:
    """Whether a row of a view has more than zeros."""
    return any(row.get(name) for name in ("Tuples", "Blobs", "Rejects"))


def without_zeros(stats: Rows) -> Rows:
    """The rows of views that have more than zeros."""
    return {key: row for key, row in stats.items() if says_anything(row)}


def named_rows(stores: Stores, view: str, grain: str = "hour") -> list[dict[str, Any]]:
    """The rows of a view that stand for a key, and have more than zeros."""
    return [
        row
        for row in without_zeros(rows_of(stores, "flowstats")).values()
        if (row["View"], row["Grain"]) == (view, grain) and not row.get("IsRest")
    ]


@dataclass(frozen=True)
class Results:
    """All that does not depend on who counted how often: of the ledger every byte, but not the late notes;
    of merged counts those that hold anything, to the byte; of the views every column, but not how long the
    counting took.
    """

    ledger: Rows
    counts: Rows
    stats: Rows


def results(stores: Stores) -> Results:
    """What the tables hold now."""
    ledger = rows_of(stores, "flowledger")
    counts = rows_of(stores, "flowcounts")
    stats = rows_of(stores, "flowstats")
    return Results(
        {key: row for key, row in ledger.items() if key[0] != LATE},
        {key: row for key, row in counts.items() if "Counts00" in row and row["Counts00"] != _NOTHING},
        {key: _without(row, "LagSeconds") for key, row in stats.items()},
    )


_NOTHING = pack({0: HourCounts()})


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def results_of_one_pass(stores: Stores, until: datetime = NIGHT + 2 * HOUR) -> Results:
    """What one undisturbed pass over the blobs gives, into empty tables. The tables stay so."""
    forget_results(stores)
    with host(stores.connection_string) as fresh:
        fresh.tables.create()
        fresh.sweep(until=until)
        fresh.rollup()
        return results(fresh)


def assert_same(got: Results, wanted: Results) -> None:
    """Equal row by row, to the last byte; but rows that hold nothing but zeros may be there or not."""
    for name in ("ledger", "counts"):
        assert_same_rows(getattr(got, name), getattr(wanted, name), name)
    assert_same_rows(without_zeros(got.stats), without_zeros(wanted.stats), "stats")


def assert_same_rows(got: Rows, wanted: Rows, name: str) -> None:
    """Equal row by row; what differs is said shortly."""
    missing, surplus = wanted.keys() - got.keys(), got.keys() - wanted.keys()
    assert not missing, f"{name} lacks {sorted(missing)[:5]} and {len(missing)} in all"
    assert not surplus, f"{name} has, too much, {sorted(surplus)[:5]} and {len(surplus)} in all"
    for key, row in wanted.items():
        differing = {
            column: (got[key].get(column), row.get(column))
            for column in row.keys() | got[key].keys()
            if got[key].get(column) != row.get(column)
        }
        assert not differing, f"{name} {key}: {differing} (got, wanted)"


# Views against the naive count


def assert_views_say(stats: Rows, truth: naive.Count, *, exact: bool = True) -> None:
    """The views hold exactly what the naive count counts: every period, every key, every figure.

    With ``exact=False`` there are more keys than a family keeps: rows may have missed what they say that
    they may have missed, and rows + rest are the total all the same.
    """
    counted = [row for key, row in sorted(stats.items()) if row["View"] not in ("health", "rejects")]
    by_period = {period: [*rows] for period, rows in groupby(counted, key=_period)}
    with_tuples = {period for period, rows in by_period.items() if any(row["Tuples"] for row in rows)}
    assert with_tuples == truth.rows.keys()
    for period, keys in truth.rows.items():
        rows = by_period.get(period, [])
        rows = [row for row in rows if says_anything(row) or row.get("IsRest")]
        shown = {_key(row): row for row in rows if not row.get("IsRest")}
        assert len(shown) + len([row for row in rows if row.get("IsRest")]) == len(rows), period
        for key, row in shown.items():
            _assert_row_is_true(period, row, keys.get(key), exact=exact)
        total = [min(sum(column), naive.LARGEST) for column in zip(*map(_figures, rows), strict=True)]
        assert total == truth.total(period), f"{period}: rows + rest differ from the total"
        if period[1] != "traffic":
            _assert_ranks(period, rows, keys, exact=exact)
        elif exact:
            assert shown.keys() == keys.keys(), period
        if period[1] == "rules":
            for key, row in shown.items():
                seen = tuple(_milliseconds(row[name]) for name in ("FirstSeen", "LastSeen"))
                assert not exact or seen == truth.seen[period][key], (period, key)
    assert_health_says(stats, truth)


def assert_views_are_right(stores: Stores) -> None:
    """The views that a rollup in this process makes say what a naive count of all blobs says."""
    blobs, views = stores.blobs(), vars(periods)["VIEWS"]
    truth = naive.count(blobs)
    truth.rows = {period: keys for period, keys in truth.rows.items() if period[1] in views}
    made = results(stores)
    assert_all_say(made.counts, naive.count(blobs), stores.tables.server_time())
    leave_out_open_periods(truth, stores.tables.server_time())
    assert_views_say(made.stats, truth)


def assert_all_say(counts: Rows, truth: naive.Count, now: datetime) -> None:
    """The counts of all scopes of a kind together hold exactly what the naive count of each adds up to."""
    wanted = {
        period: keys
        for period, keys in truth.of_all().items()
        if period[2] == "hour" or (period[2] == "day" and _is_over("day", period[3], now))
    }
    said: dict[naive.Period, dict[naive.Key, tuple[naive.Figures, int]]] = {}
    for (scope, row_key), row in counts.items():
        if not scope.startswith("all~"):
            continue
        view, _, period = row_key.rpartition("~")
        its = read_partition(f"~{period[1:]}")
        counted = unpack(from_chunks(row))[0]
        if view == "traffic":
            traffic: dict[tuple[Any, ...], int] = {}
            for (_, *way), sums in counted.traffic.items():
                add_to(traffic, tuple(way), sums)
            keys = {way: (_shown(to_figures(sums)), 0) for way, sums in traffic.items()}
        else:
            family = counted.families[view]
            assert (family.rest, family.floor, family.missed) == (0, 0, {}), (scope, row_key)
            keys = {row.key: (_shown(row.figures), family.scopes[row.key]) for row in family.rows()}
        said[scope, view, its.grain, its.begin] = keys
    assert said.keys() == wanted.keys()
    for each, truths in wanted.items():
        knows_scopes = each[1] != "traffic"
        assert said[each] == {
            key: (figures, many * knows_scopes) for key, (figures, many) in truths.items()
        }, each


def _shown(figures: Sequence[int]) -> naive.Figures:
    columns = to_columns(figures)
    return [columns[name] for name in naive.MEASURES]


def leave_out_open_periods(truth: naive.Count, now: datetime) -> None:
    """Leave out what has no rows yet: days, and lists of hours, that aren't over for ten minutes."""
    truth.rows = {
        (scope, view, grain, begins): keys
        for (scope, view, grain, begins), keys in truth.rows.items()
        if (view == "traffic" and grain != "day") or _is_over(grain, begins, now)
    }


def _is_over(grain: str, begins: datetime, now: datetime) -> bool:
    return begins + (24 * HOUR if grain == "day" else HOUR) <= now - timedelta(minutes=10)


def assert_health_says(stats: Rows, truth: naive.Count) -> None:
    """Health, too, for each scope and for all together."""
    rows = [row for row in stats.values() if row["View"] == "health" and row["Blobs"]]
    said = {
        (row["Scope"], row["Period"]): naive.Health(
            *(row[name] for name in ("Blobs", "Bytes", "Records", "Tuples")),
            *(row[name] for name in ("Begins", "Continues", "Ends", "Denials")),
            *(row[name] for name in ("Malformed", "GarbledBytes")),
            *(row[name] for name in ("LastRecordTime",) if name in row),
        )
        for row in rows
    }
    assert said == dict(truth.health)
    _assert_rejects_say(stats, truth)


def _assert_rejects_say(stats: Rows, truth: naive.Count) -> None:
    """By reason, together what health has: of each scope's hours, and of its days."""
    wanted: dict[tuple[str, str, datetime], list[int]] = defaultdict(lambda: [0, 0])
    for (scope, hour), health in truth.health.items():
        for grain, begins in (("hour", hour), ("day", hour.replace(hour=0))):
            if not scope.startswith("all~") and _is_over(grain, begins, datetime.now(UTC)):
                total = wanted[scope, grain, begins]
                wanted[scope, grain, begins] = [total[0] + health.malformed, total[1] + health.garbled_bytes]
    said: dict[tuple[str, str, datetime], list[int]] = defaultdict(lambda: [0, 0])
    for row in stats.values():
        if row["View"] == "rejects":
            total = said[row["Scope"], row["Grain"], row["Period"]]
            total[0] += 0 if row["GarbledBytes"] else row["Rejects"]
            total[1] += row["GarbledBytes"]
    assert {key: total for key, total in said.items() if any(total)} == {
        key: total for key, total in wanted.items() if any(total)
    }


def _period(row: Mapping[str, Any]) -> naive.Period:
    return row["Scope"], row["View"], row["Grain"], row["Period"]


def _key(row: Mapping[str, Any]) -> naive.Key:
    return tuple(row[name] for name in naive.DIMENSIONS[row["View"]])


def _figures(row: Mapping[str, Any]) -> naive.Figures:
    return [row.get(name, 0) for name in naive.MEASURES]


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _assert_row_is_true(
    period: naive.Period, row: Mapping[str, Any], truth: naive.Figures | None, *, exact: bool
) -> None:
    assert truth is not None, f"{period}: nothing in the log has the key {_key(row)}"
    if exact or not row.get("Missed"):
        assert (_figures(row), row.get("Missed", 0)) == (truth, 0), f"{period} {_key(row)}"
        return
    said, true = naive.weight(period[1], _figures(row)), naive.weight(period[1], truth)
    assert said <= true <= said + row["Missed"], f"{period} {_key(row)}"


def _assert_ranks(
    period: naive.Period,
    rows: Sequence[Mapping[str, Any]],
    keys: Mapping[naive.Key, naive.Figures],
    *,
    exact: bool,
) -> None:
    """Ranks from 1, at most 99 (of hours of ranked views 10), the largest first, and a row for the rest."""
    most = 10 if period[1] in naive.RANKED and period[2] == "hour" else 99
    shown, rest = [row for row in rows if not row["IsRest"]], [row for row in rows if row["IsRest"]]
    assert [row["Rank"] for row in rest] == [0], period
    assert [row["Rank"] for row in shown] == [*range(1, min(len(keys), most) + 1)], period
    weights = [naive.weight(period[1], _figures(row)) for row in shown]
    assert weights == sorted(weights, reverse=True), period
    if exact:
        largest = sorted((naive.weight(period[1], figures) for figures in keys.values()), reverse=True)
        assert weights == largest[: len(weights)], period


# Flow logs made by hand


def flow(when: datetime, source: str = "203.0.113.9", port: int = 443, **changed: str) -> str:
    """A tuple of an NSG log, version 2: an inbound flow that is allowed and begins."""
    fields = {
        "time": str(int(when.timestamp())),
        "source": source,
        "destination": "10.0.0.4",
        "source_port": "50000",
        "port": str(port),
        "protocol": "T",
        "direction": "I",
        "decision": "A",
        "state": "B",
        "counters": ",,,",
    }
    return ",".join((fields | changed).values())


def record(when: datetime, *tuples: object, rule: str = "UserRule_web", **more: Any) -> bytes:
    """A record of an NSG log, version 2, with one rule."""
    document = {
        "time": f"{when:%Y-%m-%dT%H:%M:%S}.1234567Z",
        "category": "NetworkSecurityGroupFlowEvent",
        "properties": {
            "Version": 2,
            "flows": [{"rule": rule, "flows": [{"mac": "000D3AF87856", "flowTuples": tuples}]}],
        },
    }
    return json.dumps(document | more, separators=(",", ":")).encode()


def blob_of(*items: bytes) -> bytes:
    """A blob of these items."""
    return OPENER + b",".join(items) + CLOSER


# One blob


def assert_counted(stores: Stores, nic: Nic, blob: BlobName, data: bytes) -> None:
    """The entry of a blob of the night is that of one pass over its bytes, rejects and all, and the naive
    count agrees, if all that is garbled is ``NOISE``.
    """
    partition = partition_of(blob)
    entry = from_columns(from_entity(stores.tables.table("flowledger").get_entity(partition, ACCOUNT)))
    truth = naive.count({nic.blob_name(NIGHT): data}, [NOISE] * data.count(NOISE)).health[
        naive.all_of(blob.scope), NIGHT
    ]
    said = (entry.offset, entry.records, entry.tuples, entry.malformed, entry.garbled_bytes)
    assert said == (truth.bytes, truth.records, truth.tuples, truth.malformed, truth.garbled_bytes)

    counter = BlobCounter(BlobCounts(), NIGHT, blob.mac, blob.resource_id)
    rejects = RejectCounts()
    rejects.add(counter.feed(data))
    assert entry.packed == pack_within(counter.counts.shares)
    assert entry.reject_counts() == rejects


# Waiting


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for something that will be so soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


# Dying


class Killed(BaseException):
    """What a host raises that is killed: nothing catches it, and nothing is written any more."""


def dies_at_write(patch: pytest.MonkeyPatch, number: int, *, written: bool = False) -> None:
    """Kill the host when it sends its write of that number (from 0): before or after that is ``written``.

    Writes are counted where they leave for the network, so none is overlooked.
    """
    left = [number]
    lock = threading.Lock()
    send = requests.Session.request

    def send_or_die(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        if method.upper() in {"GET", "HEAD"}:
            return send(session, method, url, **options)
        with lock:
            left[0] -= 1
            dead, last = left[0] < -1, left[0] == -1
        if dead or (last and not written):
            raise Killed
        answer = send(session, method, url, **options)
        if last:
            raise Killed
        return answer

    patch.setattr(requests.Session, "request", send_or_die)

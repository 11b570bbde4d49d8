"""Rows of the rollup: its CPU against that of ingesting the same logs, in a backfill and in the steady state.

The logs are a day of eight interfaces of both kinds, in five scopes. One process ingests and rolls up; the
results of 10 rows an hour of a ranked view and those of 99 lie in two accounts of the same emulator, so that
both are made of the same ledger, by turns.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from statistics import median
from typing import Any
from unittest.mock import patch

import shared.counts.store
import shared.views.store
from shared import periods
from shared.connection import count_requests
from shared.counts.store import Counts
from shared.flowlog.blob_name import parse_blob_name
from shared.ingest import ingest
from shared.ledger.entry import Entry
from shared.ledger.store import Ledger
from shared.rollup import rollup
from shared.settings import Connection
from shared.sweep import sweep
from shared.tables import TABLES, Tables
from shared.tally.hour_counts import HourCounts
from shared.times import HOUR
from shared.views import questions
from shared.views.store import Views
from tools.azurite import ACCOUNT, OTHER_ACCOUNT, Azurite
from tools.bench.measuring import CPU, Row, ratios
from tools.bench.storing import Host, emulator
from tools.network_watcher import BlobWriter, Nic, demo_nics, hour_of, whole_blob

NICS = demo_nics(8)
TUPLES = 29
"""A minute of an interface, on average: 340,000 in a day of all."""

_MINUTE = timedelta(minutes=1)
_EVERY = 5
"""Minutes from a rollup to the next."""

_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
"""A day that ingestion, which sees the true clock, never takes for late."""


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is rolled up: hours of a day; tuples a minute of an interface; minutes of an hour."""

    hours: int
    tuples: int

    @property
    def minutes(self) -> int:
        """How much of an hour the steady state takes: all of it with a whole day."""
        return 60 * self.hours // 24


@dataclass(slots=True)
class _Spent:
    """What rollups have taken: CPU seconds, by part too, storage requests, and rows written."""

    seconds: float = 0.0
    requests: int = 0
    rows: int = 0
    hours: int = 0
    days: int = 0
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_PARTS, 0.0))


@dataclass(frozen=True, slots=True)
class _Results:
    """The merged counts and views of one account, with so many rows a view and period."""

    rows: int
    tables: Tables
    counts: Counts
    views: Views

    def empty(self) -> None:
        """Delete what there is."""
        _empty(self.tables)

    def roll_up(self, ledger: Ledger, spent: _Spent, since: datetime | None = None) -> float:
        """Roll up once; gives the CPU seconds that it took, which are added to what was ``spent``."""
        rows = patch.object(questions, "RANKED_ROWS_AN_HOUR", self.rows)
        with rows, count_requests() as requests, _by_part(spent.parts):
            began = CPU()
            done = rollup(ledger, self.counts, self.views, since)
            seconds = CPU() - began
        assert not done.failed, done.failed[:3]
        spent.seconds += seconds
        spent.requests += requests.made
        spent.rows += done.rows
        spent.hours += done.hours
        spent.days += done.days
        return seconds


def _results(storage: Azurite, account: str, rows: int) -> _Results:
    text = storage.connection_string.replace(ACCOUNT, account)
    tables = Tables(Connection("BENCH", connection_string=text))
    tables.create()
    return _Results(rows, tables, Counts(tables), Views(tables))


def _empty(tables: Tables) -> None:
    for name in TABLES:
        tables.service.delete_table(name)
    tables.create()


def rolling(rounds: int, hours: int, tuples: int) -> Iterator[Row]:
    """A backfill of a day of so many hours, again with nothing changed, and hours of that day in fast motion.

    ``tuples``: a minute of an interface, on average. Of rounds, half are made at the most.
    """
    size = _Size(hours, min(tuples, TUPLES))
    rounds = max(1, rounds // 2)
    with emulator() as (storage, at):
        results = _results(storage, ACCOUNT, 10), _results(storage, OTHER_ACCOUNT, questions.ROWS)
        yield from _backfill(at, results, size, rounds)
        for each in results:
            each.empty()
        yield from _steadily(storage, at, results, size, rounds)
        for each in results:
            each.tables.service.close()


# Backfill


def _backfill(at: Host, results: tuple[_Results, _Results], size: _Size, rounds: int) -> Iterator[Row]:
    hours = [_LONG_AGO + number * HOUR for number in range(size.hours)]
    megabytes = sum(len(_put_hour(at, nic, hour, size)) for hour in hours for nic in NICS) / 1e6
    ingested: list[float] = []
    again: list[float] = []
    rolled_up: list[list[float]] = [[] for _ in results]
    spent = [_Spent() for _ in results]
    tuples = 0
    for turn in range(rounds):
        for each in results:
            each.empty()
        ledger = Ledger(at.tables)  # which remembers no notes
        began = CPU()
        swept = sweep([at.flow_logs], ledger, results[0].counts, hours[0], hours[-1])
        ingested.append(CPU() - began)
        assert swept.ingested == len(hours) * len(NICS), swept.failed[:3]
        tuples = swept.row()["Tuples"]
        pairs = [*zip(results, rolled_up, spent, strict=True)]
        for each, times, its in pairs if turn % 2 == 0 else pairs[::-1]:
            times.append(each.roll_up(ledger, its))
        again.append(results[0].roll_up(ledger, _Spent(), hours[0]))
    for each, times, its, target in zip(results, rolled_up, spent, (1.0, None), strict=True):
        yield Row(
            *("rollup", f"a day at {each.rows} rows", "× ingesting it", ratios(times, ingested), target),
            aside={
                "MB": megabytes,
                "tuples": tuples,
                "ingestion CPU s": median(ingested),
                "of an hour of a scope: requests": its.requests / (its.hours or 1),
                "rows": its.rows / (its.hours or 1),
            },
        )
        yield _parts(f"a day at {each.rows} rows", its, times)
    yield Row("rollup", "again, nothing changed", "× ingesting it", ratios(again, ingested), 0.1)


def _put_hour(at: Host, nic: Nic, hour: datetime, size: _Size) -> bytes:
    data = whole_blob(hour_of(nic, hour, seed=1, tuples_per_minute=size.tuples, bad=0))[0]
    at.flow_logs.service.get_blob_client(nic.container, nic.blob_name(hour)).upload_blob(data)
    return data


# The steady state


class _MovedTables(Tables):
    """Tables whose service's clock is moved by hand."""

    now = _AHEAD

    def server_time(self) -> datetime:
        """Whatever it was moved to."""
        return self.now


def _steadily(
    storage: Azurite, at: Host, results: tuple[_Results, _Results], size: _Size, rounds: int
) -> Iterator[Row]:
    """Hours late on a day, of which what was before has been rolled up. A round is one of these hours."""
    tables = _MovedTables(Connection("BENCH", connection_string=storage.connection_string))
    ledger = Ledger(tables)
    late = size.hours * 3 // 4
    for hour in (_AHEAD + number * HOUR for number in range(late)):
        for nic in NICS:
            _put_hour(at, nic, hour, size)
            ingest(parse_blob_name(nic.blob_name(hour), nic.container), at.flow_logs, ledger)
    tables.now = _AHEAD + late * HOUR - _MINUTE
    for each in results:
        each.roll_up(ledger, _Spent())
    spent = [_Spent() for _ in results]
    hours = range(late, min(late + rounds, size.hours))
    times = [_pass_hour(at, ledger, tables, results, spent, number, size) for number in hours]
    tables.service.close()
    updates, *of_rollups = zip(*times, strict=True)
    rollups = len(hours) * (size.minutes // _EVERY)
    for each, seconds, its, target in zip(results, of_rollups, spent, (1.0, None), strict=True):
        what = f"an hour, {_EVERY} updates a rollup, {each.rows} rows"
        yield Row(
            *("rollup", what, "× its updates", ratios(seconds, updates), target),
            aside={
                "updates' CPU s": median(updates),
                "of a rollup: hours made": its.hours / rollups,
                "days made": its.days / rollups,
                "requests": its.requests / rollups,
                "rows": its.rows / rollups,
            },
        )
        yield _parts(what, its, seconds)


def _pass_hour(
    at: Host,
    ledger: Ledger,
    tables: _MovedTables,
    results: tuple[_Results, _Results],
    spent: list[_Spent],
    number: int,
    size: _Size,
) -> tuple[float, ...]:
    """Let an hour pass: each minute an update of each interface, every five minutes a rollup. Gives the CPU
    seconds of all updates, and those of the rollups, by where their results are.
    """
    hour = _AHEAD + number * HOUR
    growing = [_Growing(at, nic, hour, size) for nic in NICS]
    updates, of_rollups = 0.0, [0.0 for _ in results]
    for minute in range(size.minutes):
        for each in growing:
            each.grow()
        began = CPU()
        for each in growing:
            ingest(each.blob, at.flow_logs, ledger)
        updates += CPU() - began
        if (minute + 1) % _EVERY == 0:
            tables.now = hour + minute * _MINUTE + _MINUTE / 2
            for place in (0, 1) if minute % 2 else (1, 0):
                of_rollups[place] += results[place].roll_up(ledger, spent[place])
    return updates, *of_rollups


class _Growing:
    """The blob of an hour that grows by a minute at a time."""

    def __init__(self, at: Host, nic: Nic, hour: datetime, size: _Size) -> None:
        self._minutes = hour_of(nic, hour, seed=1, tuples_per_minute=size.tuples, bad=0)
        container = at.flow_logs.service.get_container_client(nic.container)
        self._writer = BlobWriter(container, nic.blob_name(hour))
        self.blob = parse_blob_name(nic.blob_name(hour), nic.container)

    def grow(self) -> None:
        """Let Network Watcher add the next minute."""
        self._writer.append(next(self._minutes))


# By part


_PARTS: Mapping[str, tuple[tuple[Any, str], ...]] = {
    "reading the ledger": ((Ledger, "entries"),),
    "unpacking": ((Entry, "counts"), (periods, "unpack_counts")),
    "merging": ((HourCounts, "merge"), (HourCounts, "trim")),
    "packing": ((periods, "pack_apart"),),
    "making rows": ((periods, "period_rows"),),
    "transactions": ((shared.counts.store, "transact"), (shared.views.store, "transact")),
    "queries of flowcounts": ((shared.counts.store, "query"),),
}
"""The functions that do each part, by where they are called from. What they call of another part is that
part's.
"""


@contextmanager
def _by_part(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the CPU seconds that each part takes inside the ``with`` block, in all threads."""
    meter = _Meter(seconds, threading.Lock())
    with ExitStack() as stack:
        for part, functions in _PARTS.items():
            for owner, name in functions:
                stack.enter_context(patch.object(owner, name, meter.metered(part, getattr(owner, name))))
        yield


class _Meter(threading.local):
    """What a thread's CPU time is being spent on: a part, or none of them (``""``)."""

    def __init__(self, seconds: dict[str, float], lock: threading.Lock) -> None:
        self._seconds, self._lock = seconds, lock
        self._part, self._since = "", time.thread_time()

    def metered[**P, T](self, part: str, function: Callable[P, T]) -> Callable[P, T]:
        """The same function, metered, and what it gives one by one as well."""

        @wraps(function)
        def metered(*arguments: P.args, **options: P.kwargs) -> T:
            with self._on(part):
                result = function(*arguments, **options)
            return self._each(part, result) if isinstance(result, Iterator) else result  # type: ignore[return-value]

        return metered

    def _each(self, part: str, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self._on(part):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def _on(self, part: str) -> Iterator[None]:
        before = self._turn_to(part)
        try:
            yield
        finally:
            self._turn_to(before)

    def _turn_to(self, part: str) -> str:
        now, before = time.thread_time(), self._part
        if before:
            with self._lock:
                self._seconds[before] += now - self._since
        self._part, self._since = part, now
        return before


def _parts(what: str, spent: _Spent, times: Sequence[float]) -> Row:
    """What the rollups' CPU seconds were spent on, in fractions."""
    parts = {part: seconds / spent.seconds for part, seconds in spent.parts.items()}
    return Row(
        *("rollup", f"… {what}", "CPU s", tuple(times)), aside={**parts, "else": 1 - sum(parts.values())}
    )

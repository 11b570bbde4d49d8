"""Rollups that are late: frozen before any of their requests, for as long as another one takes to the end.

Nothing old may be left in the place of something new, whether the late one goes on, or dies after its next
request; and the next rollup finds all that is missing.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count as numbers
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from shared.counts.index import day_period, hour_period
from shared.errors import Conflict
from shared.rollup import rollup
from shared.tables import Tables
from shared.times import HOUR
from shared.transactions import transact
from shared.views.rows import row_keys
from shared.views.store import Views
from tests.system import (
    EVENING,
    NIGHT,
    Killed,
    Results,
    Stores,
    assert_same,
    assert_views_are_right,
    blob_of,
    create_all,
    dies_at_write,
    flow,
    forget_results,
    host,
    record,
    results,
    results_of_one_pass,
    rows_of,
)
from tools.network_watcher import Nic

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
WEB2 = Nic("nsg-v2", "000D3A000009", "nsg-web")

type State = dict[Nic, Callable[[datetime], bytes]]
"""What blobs of an hour hold."""


def blob(*ports: int, garbled: bool = False) -> Callable[[datetime], bytes]:
    """A record with inbound flows to these ports, some denied."""

    def of(hour: datetime) -> bytes:
        flows = [flow(hour, port=port, decision="D" if port % 2 else "A") for port in ports]
        return blob_of(record(hour, *flows, *(["?"] if garbled else [])))

    return of


ONE: State = {WEB: blob(443, 80)}
MANY: State = {WEB: blob(*range(20, 40), garbled=True), DATA: blob(22)}
EMPTY: State = {WEB: lambda _: blob_of()}


@pytest.mark.usefixtures("fewest_views")
@pytest.mark.timeout(1200)  # minutes, where other work is beside it
@pytest.mark.parametrize(
    ("before", "late", "newest", "dies", "start", "step"),
    [
        *(
            pytest.param(ONE, MANY, ONE, True, start, 3, id=f"of what is then as it was, from {start} on")
            for start in range(3)
        ),
        pytest.param(ONE, MANY, ONE, False, 0, 5, id="of what is then as it was, and it goes on"),
        pytest.param({}, ONE, MANY, True, 0, 3, id="of what wasn't there, and grows"),
        pytest.param(MANY, ONE, EMPTY, True, 0, 3, id="of what is then empty"),
    ],
)
def test_a_rollup_that_is_frozen_before_any_of_its_requests(
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
    before: State,
    late: State,
    newest: State,
    *,
    dies: bool,
    start: int,
    step: int,
    pytestconfig: pytest.Config,
) -> None:
    """Its request of each number in turn is held back until another rollup has ended, of a newer state.

    In the hardest case each, in three tests; in the others each third or fifth, or with more effort each one,
    too. Where it dies, requests that leave the same are one: see ``frozen_at_request``. What is rewritten is
    compared in the hours beside it, too: with more effort one of these is of another day, so that much more
    is read, and nothing but zeros written.
    """
    thorough = pytestconfig.getoption("--effort") > 100
    step, hour = (1, NIGHT) if thorough else (step, EVENING)
    # Notes are dropped at once: none helps the next rollup to look again.
    monkeypatch.setattr("shared.rollup.NOTES_KEPT", -HOUR)
    monkeypatch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -HOUR)
    hours = [hour + by * HOUR for by in (-1, 0, 1)]
    written = {each.index for of in hours for each in (hour_period(of), day_period(of))}

    def nobody_writes(url: str) -> bool:
        return (index_read(url) or "") not in {"", *written}

    wanted = None
    for number in numbers(start, step):
        forget_results(stores)
        for name in [*stores.blobs()]:
            stores.flow_logs.service.get_blob_client(WEB.container, name).delete_blob()
        create_all(stores)
        for state in (before, late):
            put(stores, state, hour)
            if state is before:
                stores.rollup()
        with host(stores.connection_string) as frozen, host(stores.connection_string) as other:

            def overtake(other: Stores = other) -> None:
                put(other, newest, hour)
                other.rollup()

            with monkeypatch.context() as patch:
                reached = frozen_at_request(patch, number, overtake, dies=dies, reads_alike=nobody_writes)
                with suppress(Killed):
                    rollup(frozen.ledger, frozen.counts, frozen.views)
            if not reached:
                assert number > 30
                return
            wanted = wanted or made(stores)
            assert_views_are_right(stores)
            assert_same(made(stores), wanted)
            assert other.rollup().hours == 0
            assert_same(made(stores), wanted)


@pytest.mark.usefixtures("fewest_views")
def test_a_share_that_has_come_and_gone_while_a_rollup_died(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hour after depends on just what it did before, and yet isn't what it was: a rollup has begun it."""
    monkeypatch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -HOUR)  # the notes' table is a new one each time
    late = blob_of(record(NIGHT, flow(NIGHT + HOUR, port=22)))
    after = blob_of(record(NIGHT + HOUR, flow(NIGHT + HOUR)))
    wanted = None
    for number in numbers(0, 3):
        forget_results(stores)
        create_all(stores)
        stores.count(DATA, NIGHT + HOUR, after)
        put(stores, {DATA: blob(443)})
        stores.rollup()
        stores.count(DATA, NIGHT, late)
        with monkeypatch.context() as patch, host(stores.connection_string) as dying:
            dies_at_write(patch, number, written=True)
            try:
                rollup(dying.ledger, dying.counts, dying.views)
            except Killed:
                pass
            else:
                break
        put(stores, {DATA: blob(80)})
        stores.rollup()
        assert_views_are_right(stores)
        there = made(stores)
        wanted = wanted or replace(results_of_one_pass(stores), ledger={})
        assert_same(there, wanted)
    assert number > 10


@pytest.mark.usefixtures("few_views")
def test_rollups_on_both_sides_of_the_moment_when_an_hour_is_over(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies, or is frozen, before the lists of an hour that is over, as one from before that comes in
    between: to it the hour has no lists. The next one writes all of them, though some are right.
    """
    now = NIGHT + timedelta(minutes=71)
    monkeypatch.setattr(Tables, "server_time", lambda _: now)
    states: list[State] = [{WEB: blob(22)}, {WEB: blob(443, 80)}]
    for state in states:
        put(stores, state)
        stores.rollup()
    (partition,) = {key[0] for key in rows_of(stores, "flowstats") if key[0].endswith("web~rules~hour")}
    first = partition, f"{NIGHT:%Y%m%d%H%M}~0000"
    known = stores.tables.table("flowstats").get_entity(*first).metadata["etag"]
    put(stores, {WEB: MANY[WEB]})
    with monkeypatch.context() as patch, host(stores.connection_string) as dying:
        patch.setattr(Views, "replace_rows", killed)
        with suppress(Killed):
            rollup(dying.ledger, dying.counts, dying.views)
    put(stores, ONE)
    for minutes in (69, 72):
        now = NIGHT + timedelta(minutes=minutes)
        stores.rollup()
    assert_views_are_right(stores)
    assert stores.tables.table("flowstats").get_entity(*first).metadata["etag"] != known


@pytest.mark.usefixtures("few_views")
def test_a_rollup_that_has_listed_before_a_neighbour_had_a_share(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has made the hour with that share; this one goes on, stores its counts, and dies."""
    put(stores, {WEB: blob(443)})
    stores.rollup()
    put(stores, {WEB2: blob(80)})
    with host(stores.connection_string) as late, host(stores.connection_string) as other:
        indexed = late.counts.indexed

        def indexed_late(*arguments: Any) -> Any:
            monkeypatch.setattr(late.counts, "indexed", indexed)
            other.count(WEB, NIGHT + HOUR, blob_of(record(NIGHT + HOUR, flow(NIGHT))))
            other.rollup()
            return indexed(*arguments)

        monkeypatch.setattr(late.counts, "indexed", indexed_late)
        die_once_stored(monkeypatch, late)
        with suppress(Killed):
            rollup(late.ledger, late.counts, late.views)
        stores.rollup()
    assert_views_are_right(stores)
    assert_same(made(stores), replace(results_of_one_pass(stores), ledger={}))


@pytest.mark.usefixtures("few_views")
def test_a_rollup_that_began_before_an_hour_was_over_and_dies_after_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stores the hour as over: else its day would be made again and again."""
    now = NIGHT + timedelta(minutes=65)
    monkeypatch.setattr(Tables, "server_time", lambda _: now)
    before = blob_of(record(NIGHT - HOUR, flow(NIGHT - HOUR)))
    stores.count(WEB, NIGHT - HOUR, before)
    put(stores, {WEB: blob(443)})
    stores.rollup()
    put(stores, {WEB2: blob(80)})
    with host(stores.connection_string) as late, host(stores.connection_string) as other:
        scopes = late.ledger.scopes

        def scopes_late(*arguments: Any) -> Any:
            nonlocal now
            now = NIGHT + timedelta(minutes=71)
            other.rollup()
            return scopes(*arguments)

        monkeypatch.setattr(late.ledger, "scopes", scopes_late)
        die_once_stored(monkeypatch, late)
        with suppress(Killed):
            rollup(late.ledger, late.counts, late.views)
    stores.count(WEB2, NIGHT - HOUR, before)
    done = [stores.rollup() for _ in range(2)]
    assert [(each.hours, each.days) for each in done] == [(1, 1), (0, 0)]


@pytest.mark.usefixtures("few_views")
def test_counts_that_are_not_those_of_the_index_are_made_anew_before_their_day_is(stores: Stores) -> None:
    """However they came there: else the day would be made of them, and again and again."""
    stores.count(WEB, NIGHT - HOUR, blob_of(record(NIGHT - HOUR, flow(NIGHT - HOUR))))
    put(stores, ONE)
    stores.rollup()
    scope = next(iter(stores.counts.catalog()))
    head = stores.counts.head(scope, hour_period(NIGHT))
    stores.counts.store(scope, hour_period(NIGHT), replace(head, fingerprint="of the dead"), {})
    stores.count(WEB, NIGHT - HOUR, blob_of(*[record(NIGHT - HOUR, flow(NIGHT - HOUR))] * 2))
    done = [stores.rollup(NIGHT - HOUR) for _ in range(2)]
    assert [(each.hours, each.days) for each in done] == [(2, 1), (0, 0)]
    assert_views_are_right(stores)
    assert_same(made(stores), replace(results_of_one_pass(stores), ledger={}))


def test_leftovers_of_several_transactions_are_deleted_only_while_nobody_has_written(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, Any]] = [
        {"PartitionKey": "scope~rules~hour", "RowKey": key} for key in row_keys("rules", NIGHT, 250)
    ]
    stats = stores.tables.table("flowstats")
    for row in rows:
        stats.create_entity(row)
    there = stores.views.find_rows("scope", "rules", "hour", NIGHT, NIGHT + HOUR)
    newer = {**rows[0], "Note": "newer"}

    def overtaken(*arguments: Any) -> list[str]:
        monkeypatch.setattr("shared.views.store.transact", transact)
        etags = transact(*arguments)
        stats.upsert_entity(newer)
        return etags

    monkeypatch.setattr("shared.views.store.transact", overtaken)
    with pytest.raises(Conflict):
        stores.views.replace_rows([(rows[:2], there)])
    assert len(rows_of(stores, "flowstats")) == 152
    there = stores.views.find_rows("scope", "rules", "hour", NIGHT, NIGHT + HOUR)
    (etag,) = stores.views.replace_rows([(rows[:2], there)])
    there = stores.views.find_rows("scope", "rules", "hour", NIGHT, NIGHT + HOUR)
    assert (there.etag, [*there.keys]) == (etag, row_keys("rules", NIGHT, 2))


def die_once_stored(patch: pytest.MonkeyPatch, stores: Stores) -> None:
    """Let a host die as soon as it has stored a period's counts."""
    store = stores.counts.store

    def store_and_die(*arguments: Any) -> None:
        store(*arguments)
        raise Killed

    patch.setattr(stores.counts, "store", store_and_die)


def killed(*_: Any) -> None:
    """End here."""
    raise Killed


def put(stores: Stores, state: State, hour: datetime = NIGHT) -> None:
    """Let an hour's blobs hold this, and count them."""
    for nic, data in state.items():
        stores.count(nic, hour, data(hour))


def made(stores: Stores) -> Results:
    """What rollups have made."""
    return replace(results(stores), ledger={})


def index_read(url: str) -> str | None:
    """The partition of the index that a request asks for, if it asks for rows of one alone."""
    asked = re.search(r"PartitionKey eq '(~\d{8,10})'", unquote(url))
    return asked[1] if asked else None


def frozen_at_request(
    patch: pytest.MonkeyPatch,
    number: int,
    overtake: Callable[[], None],
    *,
    dies: bool,
    reads_alike: Callable[[str], bool] = lambda _: False,
) -> list[None]:
    """Hold the request of this number back until ``overtake`` has come to its end; with ``dies``, kill the
    host that sent it when it is answered. What is returned is filled when that request was reached.

    Who dies leaves what it has written. So all reads that a thread sends between two writes, its own or
    another thread's, are one case: frozen before any of them, the host has written the same before, and
    writes nothing afterwards. With ``dies`` the first of them alone is numbered, and each write.

    Nor are reads numbered that ``reads_alike`` tells by their URL: those that are answered the same before
    and after ``overtake``. Frozen before one, a host goes on as if frozen before the request after it.
    """
    left, lock = [number], threading.Lock()
    overtaking, dead = threading.Event(), threading.Event()
    reached: list[None] = []
    reading: set[int] = set()
    send = requests.Session.request

    def is_numbered(method: str, url: str) -> bool:
        if method.upper() not in {"GET", "HEAD"}:
            reading.clear()
            return True
        if not dies:
            return not reads_alike(url)
        reads_on = threading.get_ident() in reading
        reading.add(threading.get_ident())
        return not reads_on

    def send_late(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        if overtaking.is_set():
            return send(session, method, url, **options)
        with lock:
            if dead.is_set():
                raise Killed
            numbered = is_numbered(method, url)
            left[0] -= numbered
            last = numbered and left[0] == -1
            if last:
                reached.append(None)
                overtaking.set()
                overtake()
                overtaking.clear()
                answer = send(session, method, url, **options)
                if dies:
                    dead.set()
                    raise Killed
                return answer
        return send(session, method, url, **options)

    patch.setattr(requests.Session, "request", send_late)
    return reached

"""The hour's edge: what was restarted late in an hour is stated once more in the next hour's blob.

In whatever order the blobs are counted, side by side, and whoever dies: one sweep, and each has begun with
what the hour before it ended with.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise, permutations
from typing import Any

import pytest
from azure.data.tables import UpdateMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.ingest import ingest
from shared.ledger.entry import partition_of
from shared.ledger.store import LATE, Ledger
from tests import naive
from tests.system import (
    HOUR,
    NIGHT,
    Killed,
    Stores,
    assert_same,
    assert_same_rows,
    assert_views_say,
    blob_of,
    dies_at_write,
    forget_results,
    host,
    results,
    results_of_one_pass,
    rows_of,
)
from tools.network_watcher import Nic, demo_nics, hour_of, whole_blob
from tools.proxy import Traffic

NIC = demo_nics(1)[0]
HOURS = [NIGHT + number * HOUR for number in range(3)]


def tuple_of(when: datetime, port: int, state: str, counters: str = "0,0,0,0") -> str:
    return f"{int(when.timestamp() * 1000)},10.0.0.4,192.0.2.9,50000,{port},6,O,{state},NX,{counters}"


def record(when: datetime, *tuples: str) -> bytes:
    groups = [{"rule": "UserRule_out", "flowTuples": tuples}]
    document = {
        "time": f"{when:%Y-%m-%dT%H:%M:%S}.1234567Z",
        "flowLogVersion": 4,
        "category": "FlowLogFlowEvent",
        "flowRecords": {"flows": [{"aclID": "00000000-0000-0000-0000-000000000007", "flowGroups": groups}]},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def restart(when: datetime, port: int) -> tuple[str, str]:
    return tuple_of(when, port, "E", f"{port},1400,10,1160"), tuple_of(when, port, "B")


def records_of(hour: datetime) -> list[bytes]:
    """An hour that states, at its beginning, what was restarted late in the hour before, one of it in a tuple
    of that hour; and that ends likewise. Its last record is the one that comes late.
    """
    late = hour + timedelta(minutes=57)
    seconds = timedelta(seconds=1)
    return [
        record(
            hour + 2 * seconds,
            tuple_of(hour - 2 * seconds, 8080, "E", "9000,12345,1000,54321"),
            tuple_of(hour + 1 * seconds, 443, "E", "900,4839,110,6078"),
        ),
        record(
            hour + timedelta(minutes=5),
            tuple_of(hour + timedelta(minutes=4), 22, "C", "5000,50000,5000,50000"),
            tuple_of(hour + timedelta(minutes=5), 22, "E", "5000,50000,5000,50000"),
        ),
        record(late + 5 * seconds, *restart(late, 443), *restart(late, 22)),
        record(hour + HOUR + seconds, *restart(hour + HOUR - 10 * seconds, 8080)),
    ]


def blob(hour: datetime, nic: Nic = NIC) -> BlobName:
    return parse_blob_name(nic.blob_name(hour), nic.container)


def put_all(stores: Stores) -> None:
    for hour in HOURS:
        stores.put(NIC, hour, blob_of(*records_of(hour)))


def assert_settled(stores: Stores) -> None:
    """One sweep leaves nothing behind, and the ledger is that of one pass in order, to the last byte."""
    with host(stores.connection_string) as quiet:
        quiet.sweep()
        assert quiet.sweep().behind == 0
        found = results(quiet).ledger
        forget_results(quiet)
        quiet.tables.create()
        for hour in HOURS:
            ingest(blob(hour), quiet.flow_logs, quiet.ledger)
        assert_same_rows(found, results(quiet).ledger, "ledger")


def assert_views_settled(stores: Stores) -> None:
    """The views are those of one pass, and what a naive count says."""
    stores.sweep()
    stores.rollup()
    found = results(stores)
    assert_views_say(found.stats, naive.count(stores.blobs()))
    assert_same(found, results_of_one_pass(stores))


@pytest.fixture
def other_host(stores: Stores) -> Iterator[Stores]:
    with host(stores.connection_string) as other:
        yield other


def test_what_is_carried_changes_figures_of_both_hours(stores: Stores) -> None:
    """So that the tests that follow say something."""
    put_all(stores)
    for hour in HOURS:
        ingest(blob(hour), stores.flow_logs, stores.ledger)
    entries = [stores.ledger.load(blob(hour), stores.flow_logs.account).entry for hour in HOURS]
    assert not entries[0].carried_in
    for before, after in pairwise(entries):
        assert before.pending == after.carried_in != ""
        shares = after.counts().shares
        restated = [shares[share].totals()[9:13] for share in (-1, 0)]
        assert restated == [[8080, 1400, 10, 1160], [443 + 22, 2800, 20, 2320]]
        assert shares[0].totals()[8] == 3, "and its own are restarted"


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_hours_are_counted_in_any_order(stores: Stores, order: tuple[int, ...]) -> None:
    put_all(stores)
    for number in order:
        ingest(blob(HOURS[number]), stores.flow_logs, stores.ledger)
    for number, hour in enumerate(HOURS):
        entry = stores.ledger.load(blob(hour), stores.flow_logs.account).entry
        if number:
            before = stores.ledger.load(blob(HOURS[number - 1]), stores.flow_logs.account).entry
            assert entry.carried_in == before.pending != "", "nobody has died: no sweep is needed"
    assert_settled(stores)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_blobs_grow_while_others_are_counted(stores: Stores, rng: random.Random) -> None:
    """Each blob grows record by record, the last one late, and events come for any of them."""
    for hour in HOURS:
        stores.put(NIC, hour, blob_of())
    forget_results(stores)
    stores.tables.create()
    grown = dict.fromkeys(HOURS, 0)
    while any(many < 4 for many in grown.values()):
        hour = rng.choice([hour for hour, many in grown.items() if many < 4])
        grown[hour] += 1
        stores.put(NIC, hour, blob_of(*records_of(hour)[: grown[hour]]))
        for _ in range(rng.randrange(3)):
            ingest(blob(rng.choice(HOURS)), stores.flow_logs, stores.ledger)
    assert_settled(stores)


class Meanwhile(Ledger):
    """A ledger at which something else happens just before, or just after, a commit."""

    def __init__(self, stores: Stores, meanwhile: Callable[[], object], *, after: bool) -> None:
        super().__init__(stores.tables)
        self._meanwhile: Callable[[], object] | None = meanwhile
        self._after = after

    def commit(self, *arguments: Any) -> datetime:
        """Commit, with what else happens."""
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile and not self._after:
            meanwhile()
        committed = super().commit(*arguments)
        if meanwhile and self._after:
            meanwhile()
        return committed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_two_hosts_side_by_side_one_on_each_side_of_the_edge(
    stores: Stores, other_host: Stores, first: int, *, after: bool
) -> None:
    """The one commits while the other is about to commit, or while it is about to look at its neighbour."""
    put_all(stores)
    one, other = blob(HOURS[first]), blob(HOURS[1 - first])
    ledger = Meanwhile(stores, lambda: ingest(other, other_host.flow_logs, other_host.ledger), after=after)
    ingest(one, stores.flow_logs, ledger)
    entries = [stores.ledger.load(blob(hour), stores.flow_logs.account).entry for hour in HOURS[:2]]
    assert entries[0].pending == entries[1].carried_in != ""
    assert_settled(stores)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_host_that_dies_at_any_write(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, number: int, order: tuple[int, int], *, written: bool
) -> None:
    put_all(stores)
    with host(stores.connection_string) as dying, monkeypatch.context() as patch:
        dies_at_write(patch, number, written=written)
        with pytest.raises(Killed):  # noqa: PT012 -- at any of these
            for hour in (*order, 2):
                ingest(blob(HOURS[hour]), dying.flow_logs, dying.ledger)
    assert_settled(stores)


def test_the_sweep_sees_what_nobody_has_looked_at(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    put_all(stores)
    with host(stores.connection_string) as dying, monkeypatch.context() as patch:
        ingest(blob(HOURS[1]), dying.flow_logs, dying.ledger)
        patch.setattr("shared.ingest._mend_next", _dies)
        with pytest.raises(Killed):
            ingest(blob(HOURS[0]), dying.flow_logs, dying.ledger)
    swept = stores.sweep(HOURS[0], HOURS[1])
    assert (swept.behind, swept.late) == (1, 0), "no event is late"
    assert_settled(stores)


def test_what_is_counted_afresh_is_told_once(stores: Stores) -> None:
    put_all(stores)
    told = [ingest(blob(hour), stores.flow_logs, stores.ledger) for hour in reversed(HOURS)]
    entries = [stores.ledger.load(blob(hour), stores.flow_logs.account).entry for hour in HOURS]
    assert sum(each.updates for each in told) == 2 * len(HOURS) - 1
    assert sum(each.tuples for each in told) == sum(entry.tuples for entry in entries)
    assert sum(each.bytes for each in told) == sum(entry.offset for entry in entries)


def _dies(*_: object) -> None:
    raise Killed


# Hours before that aren't there, or can't be read; later blobs that aren't there any more


def delete_entity(stores: Stores, hour: datetime) -> None:
    stores.tables.table("flowledger").delete_entity(partition_of(blob(hour)), stores.flow_logs.account)


def delete_blob(stores: Stores, hour: datetime) -> None:
    stores.flow_logs.service.get_blob_client(NIC.container, NIC.blob_name(hour)).delete_blob()


def test_an_hour_before_that_is_gone_is_no_reason(stores: Stores) -> None:
    put_all(stores)
    stores.sweep()
    before = rows_of(stores, "flowledger")
    delete_entity(stores, HOURS[0])
    delete_blob(stores, HOURS[0])
    assert stores.sweep().behind == 0
    after = rows_of(stores, "flowledger")
    assert after == {key: row for key, row in before.items() if f"~{HOURS[0]:%Y%m%d%H}~" not in key[0]}


def test_an_hour_before_that_cant_be_read_is_no_reason(stores: Stores) -> None:
    put_all(stores)
    stores.sweep()
    keys = {"PartitionKey": partition_of(blob(HOURS[0])), "RowKey": stores.flow_logs.account}
    stores.tables.table("flowledger").update_entity(keys | {"Offset": "many"}, mode=UpdateMode.MERGE)
    assert stores.sweep(HOURS[1], HOURS[2]).behind == 0
    delete_entity(stores, HOURS[1])
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    entry = stores.ledger.load(blob(HOURS[1]), stores.flow_logs.account).entry
    assert entry.carried_in == ""
    delete_entity(stores, HOURS[0])
    assert_settled(stores)


def test_damaged_restarts_of_the_hour_before_are_left_out(stores: Stores) -> None:
    put_all(stores)
    ingest(blob(HOURS[0]), stores.flow_logs, stores.ledger)
    keys = {"PartitionKey": partition_of(blob(HOURS[0])), "RowKey": stores.flow_logs.account}
    stores.tables.table("flowledger").update_entity(keys | {"Restarts00": b"damaged"}, mode=UpdateMode.MERGE)
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    entry = stores.ledger.load(blob(HOURS[1]), stores.flow_logs.account).entry
    assert entry.counts().shares[-1].totals()[9:13] == [0, 0, 0, 0]
    assert stores.sweep(HOURS[1], HOURS[1]).behind == 0


@pytest.mark.parametrize("damaged", [b"damaged", "no binary"])
def test_restarts_that_were_damaged_count_again_when_their_hour_is_counted_anew(
    stores: Stores, damaged: bytes | str
) -> None:
    put_all(stores)
    ingest(blob(HOURS[0]), stores.flow_logs, stores.ledger)
    keys = {"PartitionKey": partition_of(blob(HOURS[0])), "RowKey": stores.flow_logs.account}
    stores.tables.table("flowledger").update_entity(keys | {"Restarts00": damaged}, mode=UpdateMode.MERGE)
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    assert stores.sweep(HOURS[1], HOURS[1]).behind == 0
    delete_entity(stores, HOURS[0])
    assert_settled(stores)


def test_a_blob_is_rewritten_just_when_it_is_counted_afresh(stores: Stores) -> None:
    """It had tuples of the hour after it, of which nothing else tells."""
    ahead = record(HOURS[1], tuple_of(HOURS[2] + timedelta(minutes=1), 99, "C", "1,1,1,1"))
    stores.put(NIC, HOURS[1], blob_of(*records_of(HOURS[1])[:2], ahead))
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    stores.rollup()
    stores.put(NIC, HOURS[1], blob_of(*records_of(HOURS[1])[:2]))
    stores.put(NIC, HOURS[0], blob_of(*records_of(HOURS[0])))
    ingest(blob(HOURS[0]), stores.flow_logs, stores.ledger)
    stores.sweep()
    assert stores.ledger.load(blob(HOURS[1]), stores.flow_logs.account).entry.rewrites == 1
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_a_later_blob_that_is_gone_is_left_as_it_is(stores: Stores) -> None:
    put_all(stores)
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    before = stores.ledger.load(blob(HOURS[1]), stores.flow_logs.account)
    delete_blob(stores, HOURS[1])
    ingest(blob(HOURS[0]), stores.flow_logs, stores.ledger)
    assert stores.ledger.load(blob(HOURS[1]), stores.flow_logs.account) == before


def test_rows_of_the_hour_before_follow_when_the_next_is_counted_afresh(stores: Stores) -> None:
    """As many tuples of it are in the next hour's blob as before, but other bytes."""
    put_all(stores)
    ingest(blob(HOURS[1]), stores.flow_logs, stores.ledger)
    stores.rollup()
    ingest(blob(HOURS[0]), stores.flow_logs, stores.ledger)
    stores.rollup()
    assert_views_settled(stores)


# What it costs


def test_only_an_hours_edge_costs_more_than_three_requests(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    requests = []
    for hour in HOURS[:2]:
        for many in range(1, 5):
            stores.put(NIC, hour, blob_of(*records_of(hour)[:many]))
            traffic.clear()
            ingest(blob(hour), stores.flow_logs, stores.ledger)
            requests.append(len(traffic.requests))
    # An hour's first looks back twice, and leaves a note, because the hour is an old one. Where what is
    # pending changes, it looks ahead, because the hour is over.
    assert requests == [6, 3, 4, 4, 6, 3, 4, 4]


def test_what_is_counted_afresh_in_several_commits_goes_no_further_than_the_next_hour(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two of them it isn't pending yet what will be pending in the end."""
    monkeypatch.setattr("shared.ingest.UPDATE_BYTES", 1)
    monkeypatch.setattr("shared.blobs.WINDOW", 5_000)
    monkeypatch.setattr("shared.ingest.HEAD_BYTES", 1_000)
    hours = [NIGHT + number * HOUR for number in range(4)]
    for hour in hours:
        filler = [
            record(hour + minute * timedelta(minutes=1), *[tuple_of(hour, 80, "B")] * 40)
            for minute in range(6, 11)
        ]
        first, second, *others = records_of(hour)
        stores.put(NIC, hour, blob_of(first, second, *filler, *others))
        assert ingest(blob(hour), stores.flow_logs, stores.ledger).updates > 2
    before = rows_of(stores, "flowledger")
    late = hours[0] + timedelta(minutes=59)
    data = stores.blobs()[NIC.blob_name(hours[0])].removesuffix(b"]}")
    stores.put(NIC, hours[0], data + b"," + record(late, *restart(late, 99)) + b"]}")
    done = ingest(blob(hours[0]), stores.flow_logs, stores.ledger)
    after = rows_of(stores, "flowledger")
    changed = sorted(key[0] for key in after if after[key] != before.get(key) and key[0] != LATE)
    assert changed == [partition_of(blob(hour)) for hour in hours[:2]]
    assert done.updates <= 12, "each byte of the next hour once"


def test_logs_of_many_hours_as_network_watcher_writes_them(stores: Stores) -> None:
    for nic in demo_nics(1):
        for hour in HOURS:
            minutes = hour_of(nic, hour, seed=5, tuples_per_minute=15, restarts=0.3)
            stores.put(nic, hour, whole_blob(minutes)[0])
    blobs = [parse_blob_name(name) for name in stores.blobs()]
    random.Random(1).shuffle(blobs)
    for each in blobs:
        ingest(each, stores.flow_logs, stores.ledger)
    assert_views_settled(stores)

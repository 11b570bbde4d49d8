"""What counting costs: requests and bytes, counted between the SDK and the storage."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs import hour_prefixes
from shared.flowlog.blob_name import HOUR_FOLDER, parse_blob_name
from shared.ingest import ingest
from shared.times import floor_hour
from tests.system import HOUR, NIGHT, Stores, blob_of, flow, host, record, results
from tools.network_watcher import Nic, demo_nics, hour_of, whole_blob
from tools.proxy import Traffic

NICS = demo_nics(3)


@pytest.fixture
def new_host(counted_stores: tuple[Stores, Traffic]) -> Iterator[Callable[[], Stores]]:
    """Hosts that have just started, all counted together."""
    with ExitStack() as leaving:
        yield lambda: leaving.enter_context(host(counted_stores[0].connection_string))


def this_hour() -> datetime:
    return floor_hour(datetime.now(UTC))


def test_a_second_sweep_over_unchanged_blobs_reads_no_blob_and_writes_nothing(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    host_counted, traffic = counted_stores
    odd = [b"", b"{}", b"no JSON", blob_of(), blob_of(b"garbled"), b"\xef\xbb\xbf" + blob_of()]
    for number, data in enumerate(odd):
        stores.put(Nic("nsg-v2", f"00000000000{number}", "nsg-odd"), NIGHT, data)
    for nic in NICS:
        stores.put(nic, NIGHT, whole_blob(hour_of(nic, NIGHT, seed=1, tuples_per_minute=2, garbled=0.1))[0])
    host_counted.sweep()
    assert [request for request in traffic.taken() if request.reads_blob]
    before = results(stores)

    with host(host_counted.connection_string) as another_host:
        swept = another_host.sweep()
    again = traffic.taken()
    assert (swept.listed, swept.behind) == (len(odd) + len(NICS), 0)
    assert [request for request in again if request.reads_blob or request.writes] == []
    assert results(stores) == before


@given(
    st.datetimes(datetime(2023, 12, 1), datetime(2024, 4, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 24 * 70),
)
def test_prefixes_cover_the_hours_asked_for_once_and_no_other(since: datetime, hours: int) -> None:
    first, until = floor_hour(since), since + hours * HOUR
    prefixes = [*hour_prefixes(since, until)]
    for number in range(-24, hours + 25):
        folder = (first + number * HOUR).strftime(HOUR_FOLDER)
        assert sum(map(folder.startswith, prefixes)) == (0 <= number <= hours), folder
    assert len(prefixes) <= 11 + 30 + 3 + 30 + 11, "hours, days, months, days, hours"


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2180, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(24 * 300, 24 * 7000),
)
def test_whole_years_are_asked_for_as_such(since: datetime, hours: int) -> None:
    first, until = floor_hour(since), floor_hour(since) + hours * HOUR
    prefixes = [*hour_prefixes(since, until)]
    months = [first.replace(day=1, hour=0) + number * 31 * 24 * HOUR for number in range(hours // 744 + 2)]
    for each in [first, until + HOUR, *(month.replace(day=1) for month in months)]:
        for moment in (each - HOUR, each):
            folder = moment.strftime(HOUR_FOLDER)
            assert sum(map(folder.startswith, prefixes)) == (first <= moment <= until), folder
    years = until.year - first.year
    assert len(prefixes) <= 2 * (11 + 30 + 11) + years


def test_a_sweep_lists_what_it_is_asked_for_and_nothing_else(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    """Whether the account answers; folders down to the flow logs, one request each; then for each flow log
    the hours; then its ledger, and before when that was pruned.
    """
    host_counted, traffic = counted_stores
    nics = [*NICS, replace(NICS[1], mac="000D3AAAAAAA"), replace(NICS[1], group="nsg-other")]
    for nic in nics:
        for hours in (-27, -26, -1, 0, 1, 2):
            stores.put(nic, NIGHT + hours * HOUR, blob_of())
    swept = host_counted.sweep(NIGHT - 26 * HOUR, NIGHT + HOUR)
    assert swept.listed == 4 * len(nics)
    traffic.clear()
    host_counted.sweep(NIGHT - 26 * HOUR, NIGHT + HOUR)

    asked = [parse_qs(urlsplit(each.path).query) for each in traffic.requests if "comp=list" in each.path]
    assert len([each for each in asked if "restype" not in each]) == 1
    asked = [each for each in asked if "restype" in each]
    folders = [each.get("prefix", [""])[0] for each in asked if "delimiter" in each]
    prefixes = [each["prefix"][0].partition("/y=2026/") for each in asked if "delimiter" not in each]
    flow_logs = {nic.blob_name(NIGHT).partition("/y=")[0] for nic in nics}
    assert len(flow_logs) == 4
    parts = [flow_log.split("/") for flow_log in flow_logs]
    above = {"/".join(part[:deep]) + "/" for part in parts for deep in range(1, len(part) + 1)}
    assert sorted(folders) == ["", "", *sorted(above)], "once each, and two containers"
    night = ["m=10/d=30/h=21/", "m=10/d=30/h=22/", "m=10/d=30/h=23/", "m=10/d=31/", "m=11/d=01/h=00/"]
    assert sorted((root, hours) for root, _, hours in prefixes) == sorted(product(flow_logs, night))
    found, *others = [each.path for each in traffic.requests if "comp=list" not in each.path]
    assert "/flowcounts()" in found, "what the last sweep found"
    assert len(others) == 2 * len(flow_logs)
    assert all("/flowledger(" in path for path in others)
    assert sum("~pruned" in unquote(path) for path in others) == len(flow_logs)


def test_ingest_of_an_unchanged_blob_transfers_no_content_and_writes_nothing(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    ingest(blob, stores.flow_logs, stores.ledger)
    traffic.clear()
    ingest(blob, stores.flow_logs, stores.ledger)
    load, read = traffic.requests
    assert (load.method, load.status, load.reads_blob) == ("GET", 200, False)
    assert (read.method, read.status, read.answer_bytes) == ("GET", 304, 0)


def test_a_second_rollup_makes_nothing_and_writes_no_rows(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    for hour in (NIGHT, NIGHT + HOUR):
        stores.count(NICS[1], hour, blob_of(record(hour, flow(hour - timedelta(seconds=1)), flow(hour))))
    assert stores.rollup().rows
    traffic.clear()
    again = stores.rollup()
    written = [request.path for request in traffic.requests if request.writes]
    assert (again.hours, again.days, again.rows) == (0, 0, 0)
    assert len(written) == 1, "only up to when all has been looked at is written"


def test_a_backfill_reads_each_entry_once_and_nothing_of_what_it_has_made(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    for hour in (NIGHT + number * HOUR for number in range(25)):
        stores.count(NICS[1], hour, blob_of(record(hour, flow(hour - timedelta(seconds=1)), flow(hour))))
    traffic.clear()
    done = stores.rollup()
    queries = [unquote(request.path) for request in traffic.requests if request.method == "GET"]
    entries = [path for path in queries if "/flowledger()" in path and "$select" not in path]
    of_hours = [path for path in entries if "PartitionKey ge 'nsg~" in path]
    assert (done.hours, done.days) == (26, 2)
    assert len(of_hours) == done.hours + 1, "and once more those after midnight, for the hour before"
    assert not [path for path in queries if "/flowcounts()" in path and "RowKey ge 'traffic~" in path]


@pytest.mark.parametrize(
    ("nic", "by_turns"),
    [*((nic, False) for nic in NICS), (NICS[0], True)],
    ids=[*(nic.format for nic in NICS), "by new hosts"],
)
def test_sixty_updates_cost_three_requests_each_and_read_only_what_is_new(
    new_host: Callable[[], Stores],
    counted_stores: tuple[Stores, Traffic],
    nic: Nic,
    *,
    by_turns: bool,
) -> None:
    """The first update of a VNet log's hour looks at the hour before, before its own commit and after it."""
    stores, traffic = counted_stores
    hour = this_hour()
    blob, writer = parse_blob_name(nic.blob_name(hour)), stores.writer(nic, hour)
    same_host, fetched, tuples, of_first = new_host(), 0, 0, 5 if nic.format == "vnet-v4" else 3
    for minute in hour_of(nic, hour, seed=2, bad=0):
        writer.append(minute)
        at = new_host() if by_turns else same_host
        traffic.clear()
        done = ingest(blob, at.flow_logs, at.ledger)
        tuples += done.tuples
        expected = (3 if tuples > done.tuples else of_first) if done.updates else 2
        assert len(traffic.requests) == expected, traffic.requests
        fetched += sum(request.answer_bytes for request in traffic.requests if request.reads_blob)
    size = sum(map(len, stores.blobs().values()))
    assert tuples > 1000
    assert fetched <= 1.05 * size


def test_an_update_costs_the_same_however_many_interfaces_there_are(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    hour = this_hour()
    items = [record(hour, flow(hour, port=port)) for port in range(20)]

    def cost_of_two_updates(number: int) -> list[tuple[str, int, int]]:
        nic = replace(NICS[1], mac=f"000D3A{number:06X}")
        traffic.clear()
        for most in (10, 20):
            blob = stores.put(nic, hour, blob_of(*items[:most]))
            assert ingest(blob, stores.flow_logs, stores.ledger).records == 10
        return [(each.method, each.sent_bytes, each.answer_bytes) for each in traffic.taken()]

    among_few = cost_of_two_updates(0)
    for number in range(1, 30):
        cost_of_two_updates(number)
    among_many = cost_of_two_updates(30)
    assert [method for method, *_ in among_many] == [method for method, *_ in among_few]
    for (_, *many), (_, *few) in zip(among_many, among_few, strict=True):
        # Counts name their interface, and not every name is compressed to as many bytes.
        assert all(abs(one - other) <= 8 for one, other in zip(many, few, strict=True))


def test_rejects_cost_no_request(counted_stores: tuple[Stores, Traffic]) -> None:
    stores, traffic = counted_stores
    hour = this_hour()
    good = record(hour, flow(hour))
    blob = stores.put(NICS[1], hour, blob_of(good))
    ingest(blob, stores.flow_logs, stores.ledger)
    stores.put(NICS[1], hour, blob_of(good, record(hour, flow(hour), *["?"] * 300), b"#garbled#", good))
    traffic.clear()
    assert ingest(blob, stores.flow_logs, stores.ledger).malformed == 300
    assert len(traffic.requests) == 3


def notes_in(traffic: Traffic) -> int:
    return sum(request.writes and "~late" in request.path for request in traffic.taken())


def test_an_old_hour_costs_one_note_for_the_rollup_a_host_and_not_one_an_update(
    counted_stores: tuple[Stores, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, traffic = counted_stores
    one, neighbour = NICS[1], Nic("nsg-v2", "000D3AAAAAAA", NICS[1].group)

    def update(nic: Nic, hour: datetime, records: int) -> int:
        blob = stores.put(nic, hour, blob_of(*[record(hour, flow(hour))] * records))
        traffic.clear()
        assert ingest(blob, stores.flow_logs, stores.ledger).records
        return notes_in(traffic)

    assert [update(one, NIGHT, records) for records in (1, 2, 3)] == [1, 0, 0]
    assert update(neighbour, NIGHT, 1) == 0, "it is the same scope's hour"
    assert update(one, NIGHT + HOUR, 1) == 1, "it is another hour"
    assert update(one, this_hour(), 1) == 0, "it is a recent hour"
    assert update(one, this_hour() - 2 * HOUR, 1) == 0, "so is this"
    monkeypatch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -timedelta(seconds=1))
    assert update(one, NIGHT, 4) == 2, "the note is old before the commit, and again after it"

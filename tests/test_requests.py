"""What counting costs: requests and bytes, counted between the SDK and the storage."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from shared.blobs import floor_hour
from shared.flowlog.blob_name import parse_blob_name
from shared.ingest import ingest
from shared.rollup import SETTLED_AFTER
from tests.system import HOUR, NIGHT, Stores, blob_of, flow, host, record, results
from tools.network_watcher import Nic, demo_nics, hour_of, whole_blob
from tools.proxy import Traffic

NICS = demo_nics(3)


@pytest.fixture
def new_host(counted_stores: tuple[Stores, Traffic]) -> Iterator[Callable[[], Stores]]:
    """Hosts without memory, all counted together."""
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

    with host(host_counted.connection_string) as without_memory:
        swept = without_memory.sweep()
    again = traffic.taken()
    assert (swept.listed, swept.behind) == (len(odd) + len(NICS), 0)
    assert [request for request in again if request.reads_blob or request.writes] == []
    assert results(stores) == before


def test_ingest_of_an_unchanged_blob_transfers_no_content_and_writes_nothing(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    ingest(blob, stores.flow_logs, stores.ledger)
    traffic.clear()
    ingest(blob, stores.flow_logs, stores.ledger)
    assert [(request.method, request.status, request.answer_bytes) for request in traffic.requests] == [
        ("GET", 304, 0)
    ]


@pytest.mark.parametrize("settled", [False, True], ids=["a moment later", "when all has settled"])
def test_a_second_rollup_writes_no_rows(
    counted_stores: tuple[Stores, Traffic], monkeypatch: pytest.MonkeyPatch, *, settled: bool
) -> None:
    stores, traffic = counted_stores
    for hour in (NIGHT, NIGHT + HOUR):
        stores.put(NICS[1], hour, blob_of(record(hour, flow(hour - timedelta(seconds=1)), flow(hour))))
    stores.sweep()
    assert stores.rollup().rows
    if settled:
        monkeypatch.setattr("shared.rollup.SETTLED_AFTER", -SETTLED_AFTER)
    traffic.clear()
    again = stores.rollup()
    written = [request.path for request in traffic.requests if request.writes]
    assert again.rows == 0
    assert len(written) == 1, "only up to when all has been looked at is written"
    if settled:
        assert (again.hours, again.days) == (0, 0)


@pytest.mark.parametrize(
    ("nic", "warm", "most"),
    [*((nic, True, 2) for nic in NICS), (NICS[0], False, 3)],
    ids=[*(f"{nic.format}-warm" for nic in NICS), "cold"],
)
def test_sixty_updates_read_only_what_is_new(
    new_host: Callable[[], Stores],
    counted_stores: tuple[Stores, Traffic],
    nic: Nic,
    most: int,
    *,
    warm: bool,
) -> None:
    stores, traffic = counted_stores
    hour = this_hour()
    blob, writer = parse_blob_name(nic.blob_name(hour)), stores.writer(nic, hour)
    same_host, fetched, tuples = new_host(), 0, 0
    for number, minute in enumerate(hour_of(nic, hour, seed=2, bad=0)):
        writer.append(minute)
        at = same_host if warm else new_host()
        traffic.clear()
        done = ingest(blob, at.flow_logs, at.ledger)
        tuples += done.tuples
        assert len(traffic.requests) <= (most if number else 3), f"minute {number}: {traffic.requests}"
        fetched += sum(request.answer_bytes for request in traffic.requests if request.reads_blob)
    size = sum(map(len, stores.blobs().values()))
    assert tuples > 1000
    assert fetched <= 1.05 * size


def test_rejects_cost_one_request_more(counted_stores: tuple[Stores, Traffic]) -> None:
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
    monkeypatch.setattr("shared.ledger.store._NOTE_GOOD_FOR_SECONDS", 0)
    assert update(one, NIGHT, 4) == 1, "the note is old"

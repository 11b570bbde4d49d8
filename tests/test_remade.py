"""A blob that is deleted and made anew, emptied or shortened is another one: no tuple of the old one stays.

The emulator sets the time of creation when a blob is written at once, and keeps it when blocks are committed.
For Azure the second isn't documented, so nothing may depend on it.
"""

import json
import time
from datetime import timedelta

import pytest

from shared.ingest import ingest
from shared.ledger.entry import Entry
from shared.ledger.store import Posted
from shared.status import compute_status
from shared.sweep import Compared, compare
from tests import naive
from tests.system import HOUR, NIGHT, Stores, assert_views_say, blob_of, flow, record, results
from tools.network_watcher import OPENER, Minute, Nic, Truth
from tools.proxy import Traffic

WEB, HUB = Nic("nsg-v2", "000D3A000001", "nsg-web"), Nic("vnet-v4", "000D3A000001", "flowlog-hub")


def entry_of(stores: Stores, nic: Nic) -> Entry:
    """The entry of an interface's blob of the night."""
    scope = next(scope for scope in stores.ledger.scopes() if scope.startswith(nic.format[:3]))
    (posted,) = stores.ledger.entries(scope, NIGHT, NIGHT)
    assert isinstance(posted, Posted)
    return posted.entry


def pretty(minute: int) -> bytes:
    """A record that ends in many closing brackets and blanks."""
    return json.dumps(
        json.loads(record(NIGHT + timedelta(minutes=minute), tuple_of(minute))), indent=8
    ).encode()


def with_operation_last(minute: int) -> bytes:
    return record(
        NIGHT + timedelta(minutes=minute),
        tuple_of(minute),
        resourceId=WEB.log,
        operationName="NetworkSecurityGroupFlowEvents" + " of the resource that is named above" * 2,
    )


def with_an_empty_group_last(minute: int) -> bytes:
    document = json.loads(record(NIGHT + timedelta(minutes=minute), tuple_of(minute)))
    document["properties"]["flows"].append({"rule": "DefaultRule_DenyAllInBound" + "x" * 60, "flows": []})
    return json.dumps(document, separators=(",", ":")).encode()


def of_a_vnet_scan(minute: int) -> bytes:
    """A record whose last tuples are always the same."""
    milliseconds = int(NIGHT.timestamp()) * 1000
    own = f"{milliseconds + minute},203.0.113.9,10.0.0.4,50000,{2000 + minute},6,I,D,NX,0,0,0,0"
    scan = [f"{milliseconds},198.51.100.7,10.0.0.4,5555{number},22,6,I,D,NX,0,0,0,0" for number in range(3)]
    document = {
        "time": f"{NIGHT:%Y-%m-%dT%H:%M:%S}.1234567Z",
        "flowLogVersion": 4,
        "category": "FlowLogFlowEvent",
        "flowRecords": {
            "flows": [{"aclID": "a", "flowGroups": [{"rule": "DenyAll", "flowTuples": [own, *scan]}]}]
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def tuple_of(minute: int) -> str:
    return flow(NIGHT + timedelta(minutes=minute), port=2000 + minute)


SHAPES = {
    "pretty-printed": (WEB, pretty),
    "operationName last": (WEB, with_operation_last),
    "an empty group last": (WEB, with_an_empty_group_last),
    "a VNet scan": (HUB, of_a_vnet_scan),
}


def wait_for_another_second() -> None:
    """Times of creation are whole seconds."""
    time.sleep(1.01 - time.time() % 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_blob_that_is_deleted_and_made_anew_with_records_of_the_same_widths(
    stores: Stores, shape: str
) -> None:
    nic, write = SHAPES[shape]
    old = blob_of(*[write(minute) for minute in range(10, 25)])
    blob = stores.put(nic, NIGHT, old)
    stores.sweep()
    entry = entry_of(stores, nic)
    stores.flow_logs.service.get_blob_client(nic.container, blob.name).delete_blob()
    wait_for_another_second()
    new = blob_of(*[write(minute) for minute in range(30, 55)])
    tail = slice(entry.offset - len(entry.tail), entry.offset)
    assert old[tail] == new[tail], "they can't be told by the tail"
    stores.put(nic, NIGHT, new)
    stores.sweep()
    assert entry_of(stores, nic).rewrites == 1
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


@pytest.mark.parametrize("records", [1, 40])
def test_a_time_of_creation_that_changes_with_a_commit_costs_a_read_and_counts_nothing_afresh(
    counted_stores: tuple[Stores, Traffic], records: int
) -> None:
    stores, traffic = counted_stores
    items = [record(NIGHT + timedelta(seconds=number), flow(NIGHT, port=number)) for number in range(records)]
    blob = stores.put(WEB, NIGHT, blob_of(*items))
    ingest(blob, stores.flow_logs, stores.ledger)
    wait_for_another_second()
    stores.put(WEB, NIGHT, blob_of(*items, items[0]))
    traffic.clear()
    done = ingest(blob, stores.flow_logs, stores.ledger)
    assert (done.records, done.tuples, entry_of(stores, WEB).rewrites) == (1, 1, 0)
    assert sum(request.reads_blob for request in traffic.requests) == (1 if records == 1 else 2)
    assert sum(request.answer_bytes for request in traffic.requests if request.reads_blob) < 5_000


def test_a_blob_that_grows_by_blocks_is_read_once_an_update(counted_stores: tuple[Stores, Traffic]) -> None:
    stores, traffic = counted_stores
    writer = stores.writer(WEB, NIGHT)
    for number in range(3):
        one = record(NIGHT, *[flow(NIGHT, port=port) for port in range(60)])
        writer.append(Minute(((b"," if number else b"") + one,), Truth(0, 0, 0, 0)))
        traffic.clear()
        stores.sweep()
        assert sum(request.reads_blob for request in traffic.requests) == 1
        wait_for_another_second()
    assert entry_of(stores, WEB).tuples == 180


# Versions that are not longer


@pytest.mark.parametrize("data", [b"", b"[", blob_of(), blob_of(record(NIGHT, flow(NIGHT, port=80)))])
def test_a_shorter_version_is_behind_though_the_old_one_was_committed_later(
    stores: Stores, data: bytes
) -> None:
    """A slow update of the old version may commit long after the new one was written."""
    stores.put(WEB, NIGHT, blob_of(*[record(NIGHT, flow(NIGHT))] * 3))
    stores.sweep()
    entry = entry_of(stores, WEB)
    stores.put(WEB, NIGHT, data)
    (loaded,) = [stores.ledger.load(each.listed.blob, stores.flow_logs.account) for each in compared(stores)]
    time.sleep(2.5)
    stores.ledger.commit(loaded, entry)
    assert [each.behind > 0 for each in compared(stores)] == [True]
    now = NIGHT + HOUR
    status = compute_status([stores.flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT, now)
    assert status.total()["Behind"] > 0
    assert stores.sweep().behind == 1
    assert [each.behind for each in compared(stores)] == [0]
    assert (entry_of(stores, WEB).tuples, entry_of(stores, WEB).rewrites) == (data.count(b"flowTuples"), 1)


def compared(stores: Stores) -> list[Compared]:
    found = [*compare(stores.flow_logs, stores.ledger, NIGHT, NIGHT)]
    return [each for each in found if not isinstance(each, str)]


def test_an_empty_blob_is_read_to_its_end_and_read_on_when_it_grows(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores
    blob = stores.put(WEB, NIGHT, b"")
    assert stores.sweep().behind == 1
    assert (entry_of(stores, WEB).offset, entry_of(stores, WEB).blob_etag != "") == (0, True)
    traffic.clear()
    assert stores.sweep().behind == 0
    assert not [request for request in traffic.requests if request.reads_blob or request.writes]
    assert ingest(blob, stores.flow_logs, stores.ledger).updates == 0
    stores.put(WEB, NIGHT, OPENER + record(NIGHT, flow(NIGHT)))
    stores.sweep()
    assert (entry_of(stores, WEB).tuples, entry_of(stores, WEB).rewrites) == (1, 0)

"""Sweep makes the count complete: whatever events came or did not come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.data.tables import UpdateMode

from shared.blobs import ListedBlob
from shared.completeness import examine
from shared.counts.index import FlowLogHour, SweepFinding
from shared.errors import Conflict, MalformedInput, Unavailable
from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.ingest import ingest
from shared.ledger.entry import Entry, partition_of
from shared.rollup import rollup
from shared.sweep import Compared, Lateness, Swept, catch_up, compare, find_flow_logs, sweep
from shared.views.query import Range
from tests import naive
from tests.system import (
    HOUR,
    NIGHT,
    Call,
    Stores,
    assert_same,
    assert_views_say,
    blob_of,
    flow,
    host,
    named_rows,
    record,
    results,
    rows_of,
    wait_until,
)
from tools.azurite import ACCOUNT
from tools.network_watcher import CLOSER, NSG_CONTAINER, VNET_CONTAINER, Nic, demo_nics, hour_of, whole_blob

WEB, DATA, LEGACY = (Nic("nsg-v2", f"00000000000{number}", f"nsg-{number}") for number in range(3))


def one_record(hour: datetime = NIGHT) -> bytes:
    return blob_of(record(hour, flow(hour)))


def behind(stores: Stores, since: datetime = NIGHT, until: datetime = NIGHT) -> dict[str, int]:
    """Bytes behind, by MAC."""
    found = [*compare(stores.flow_logs, stores.ledger, since, until)]
    return {each.listed.blob.mac: each.behind for each in found if not isinstance(each, str)}


def test_it_counts_what_no_event_told_of(stores: Stores) -> None:
    for nic in demo_nics(6):
        for hour in (NIGHT, NIGHT + HOUR):
            stores.put(
                nic, hour, whole_blob(hour_of(nic, hour, seed=5, tuples_per_minute=2, minutes=4, bad=0.1))[0]
            )
    swept = stores.sweep()
    stores.rollup()
    assert (swept.listed, swept.behind, swept.ingested) == (12, 12, 12)
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_it_reads_on_where_events_left_off(stores: Stores) -> None:
    items = [record(NIGHT, flow(NIGHT)), record(NIGHT, flow(NIGHT), flow(NIGHT))]
    ingest(stores.put(WEB, NIGHT, blob_of(items[0])), stores.flow_logs, stores.ledger)
    stores.put(WEB, NIGHT, blob_of(*items))
    done = stores.sweep().counted
    assert (done.records, done.tuples, done.bytes) == (1, 2, len(items[1]) + 1)


def test_only_the_hours_asked_for(stores: Stores) -> None:
    hours = [NIGHT + ago * HOUR for ago in (-30, -5, -1, 0, 1, 2, 24)]
    for hour in hours:
        stores.put(WEB, hour, one_record(hour))
    for since, until in ((-1, 1), (0, 0), (-30, -5), (2, 30), (-30, 24)):
        listed = {
            each.listed.blob.hour
            for each in compare(stores.flow_logs, stores.ledger, NIGHT + since * HOUR, NIGHT + until * HOUR)
            if not isinstance(each, str)
        }
        assert listed == {hour for hour in hours if NIGHT + since * HOUR <= hour <= NIGHT + until * HOUR}


def test_behind_is_what_has_not_been_looked_at(stores: Stores) -> None:
    data = one_record()
    stores.put(WEB, NIGHT, data)
    stores.put(DATA, NIGHT, b"")
    assert behind(stores) == {WEB.mac: len(data), DATA.mac: 1}
    stores.sweep()
    assert behind(stores) == {WEB.mac: 0, DATA.mac: 0}
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT)), b"x" * 100))
    assert behind(stores)[WEB.mac] == 103, "the stretch, its comma and the closing two"
    stores.put(WEB, NIGHT, b"short")
    assert behind(stores)[WEB.mac] == 5, "all of it: it was rewritten"


@pytest.mark.parametrize(
    ("blobs", "late"),
    [
        ([(0, None, 5)] * 3, 0),  # grown a moment ago, counted five minutes before
        ([(0, None, 40)] * 3, 3),  # growing all the time, and left alone
        ([(0, None, 40)] + [(0, "same", 0)] * 3, 0),  # one has woken up, its event is on its way
        ([(11, None, 0), (11, "same", 0), (0, "same", 0)], 1),  # waiting for long
        ([(11, None, 0)] + [(0, None, 40)] * 2, 3),
        ([], 0),
    ],
)
def test_late_is_what_no_event_has_brought(blobs: list[tuple[int, str | None, int]], late: int) -> None:
    """Blobs: minutes since the update, the version that was counted, minutes from that to the update."""
    lateness, now = Lateness(), NIGHT + 3 * HOUR
    name = parse_blob_name(WEB.blob_name(NIGHT), WEB.container)
    other = replace(name, kind="vnet")
    for _ in blobs:  # the events of the other kind, and of another account, arrive, and hide nothing
        lateness.add(Compared(ListedBlob(name, 9, "same", now), Entry("", blob_etag="same"), now), "b", now)
        lateness.add(Compared(ListedBlob(other, 9, "same", now), Entry("", blob_etag="same"), now), "a", now)
    for ago, counted, before in blobs:
        modified = now - timedelta(minutes=ago)
        entry = replace(Entry(name.name), blob_etag=counted or "other")
        lateness.add(
            Compared(ListedBlob(name, 9, "same", modified), entry, modified - timedelta(minutes=before)),
            "a",
            now,
        )
    assert lateness.late == late


def test_a_blob_that_grew_a_moment_ago_is_behind_and_not_late(stores: Stores) -> None:
    call = (stores.flow_logs, stores.ledger)
    ingest(stores.put(WEB, NIGHT, one_record()), *call)
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT)), record(NIGHT, flow(NIGHT))))
    first = stores.sweep()
    stores.put(DATA, NIGHT, one_record())
    stores.put(LEGACY, NIGHT, one_record())
    second = stores.sweep()
    assert [(each.behind, each.late) for each in (first, second)] == [(1, 0), (2, 2)]
    assert second.row()["Late"] == 2


def test_hours_that_are_left_are_left_in_all_folders_of_a_flow_log(stores: Stores) -> None:
    """Azure has written one name in two ways; what is handed on, and no more, is what wasn't looked at."""
    hours = [NIGHT + number * HOUR for number in range(4)]
    for hour in hours:
        stores.put(WEB, hour, one_record(hour))
        stores.put_named(NSG_CONTAINER, DATA.blob_name(hour).replace("NSG-1", "nsg-0"), one_record(hour))
    (log,), _ = find_flow_logs(stores.flow_logs)
    assert len(log.folders) == 2
    waiting = [(hours[0], hours[-1])]
    while waiting:
        since, until = waiting.pop()
        swept = Swept()
        catch_up(log, stores.ledger, stores.counts, since, until, swept, most=1)
        assert not swept.failed
        waiting += swept.left
        known = stores.counts.findings(hours[0], hours[-1])
        assert [key for key, (its, _) in known.items() if its.looked_at and its.listed != 2] == []
    assert {key.hour for key in known} == {*hours}
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_names_that_are_no_flow_logs_are_reported_and_the_others_done(stores: Stores) -> None:
    root = WEB.blob_name(NIGHT).partition("/y=")[0]
    strangers = {
        NSG_CONTAINER: [
            "notes.txt",
            "folder/other.json",
            f"{root}/readme",
            f"{root}/{NIGHT:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress=NOTAMAC/PT1H.json",
            f"{root}/{NIGHT:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress=000D3A000002/PT1H.json.bak",
            f"{root}/{NIGHT:y=%Y/m=%m/d=%d}/h=99/m=00/macAddress=000D3A000002/PT1H.json",
        ],
        VNET_CONTAINER: ["flowLogResourceID=/x/é \n%41.json"],
    }
    for container, names in strangers.items():
        for name in names:
            stores.flow_logs.service.get_blob_client(container, name).upload_blob(b"{}")
    stores.put(WEB, NIGHT, one_record())
    swept = stores.sweep(NIGHT.replace(hour=0))
    assert sorted(swept.strangers) == sorted(name for names in strangers.values() for name in names)
    assert (swept.listed, swept.ingested) == (1, 1)


def test_a_blob_whose_name_does_not_say_the_interface_is_counted_by_what_its_records_say(
    stores: Stores, call: Call
) -> None:
    """So it was before December 2017, when one blob had all interfaces of a log."""
    groups = [
        {"mac": mac, "flowTuples": [flow(NIGHT, port=port) for port in ports]}
        for mac, ports in (("00-0D-3A-F8-78-56", [80]), ("000d3af87857", [80, 443]), (None, [22, 23, 25]))
    ]
    properties = {"Version": 2, "flows": [{"rule": "UserRule_web", "flows": groups}]}
    data = blob_of(record(NIGHT, properties=properties), *[one_record_of_nobody()] * 300)
    name = WEB.blob_name(NIGHT).replace(f"/macAddress={WEB.mac}", "")
    blob = stores.put_named(NSG_CONTAINER, name, data)
    assert (stores.sweep().ingested, stores.sweep().behind) == (1, 0)
    assert [key[0] for key in results(stores).ledger] == [f"{blob.scope}~{NIGHT:%Y%m%d%H}~unknown"]
    stores.rollup()
    assert {(row["Mac"], row["Tuples"]) for row in named_rows(stores, "nics")} == {
        ("000D3AF87856", 1),
        ("000D3AF87857", 2),
        ("unknown", 303),
    }
    raw = call("flows", blob.scope, "--since", f"{NIGHT:%Y-%m-%d}", "--mac", "000D3AF87857", "-o", "ndjson")
    assert raw.stdout.count('"Mac": "000D3AF87857"') == raw.stdout.count("\n") == 2


def one_record_of_nobody() -> bytes:
    """A record that doesn't say its interface."""
    groups = [{"mac": "?", "flowTuples": [flow(NIGHT)]}]
    return record(NIGHT, properties={"Version": 2, "flows": [{"rule": "UserRule_web", "flows": groups}]})


@pytest.mark.parametrize(
    ("container", "name", "scope"),
    [
        (VNET_CONTAINER, "resourceId=/SUBSCRIPTIONS/S/VIRTUALNETWORKS/HUB", "vnet~"),
        (NSG_CONTAINER, "flowLogResourceID=/S_RG/NETWORKWATCHER_EAST_LOG", "nsg~"),
    ],
)
def test_the_container_tells_the_kind_of_log_whatever_the_name_begins_with(
    stores: Stores, call: Call, container: str, name: str, scope: str
) -> None:
    name += f"/{NIGHT:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress=000D3A000001/PT1H.json"
    stores.put_named(container, name, one_record())
    assert (stores.sweep().ingested, stores.sweep().behind) == (1, 0)
    stores.rollup()
    (row,) = stores.counts.catalog().values()
    assert row["Scope"].startswith(scope)
    assert row["Kind"] + "~" == scope
    for what in (row["Scope"], f"{container}/{name}"):
        raw = call("flows", what, "--since", f"{NIGHT:%Y-%m-%d}", "-o", "ndjson")
        assert raw.stdout.count("\n") == 1


def test_no_hour_is_complete_of_which_a_flow_log_could_not_be_listed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for nic in (WEB, DATA):
        stores.put(nic, NIGHT, one_record())
    listed = stores.flow_logs.list_blobs

    def list_but_one(since: datetime, until: datetime, logs: Any) -> Any:
        if DATA.group.upper() in logs[0].prefix:
            raise Unavailable("refused")
        return listed(since, until, logs)

    with monkeypatch.context() as patch:
        patch.setattr(stores.flow_logs, "list_blobs", list_but_one)
        swept = sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT)
    assert (swept.ingested, len(swept.failed)) == (1, 1)
    stores.rollup()
    for complete in (False, True):
        period = Range("hour", NIGHT, NIGHT + HOUR)
        assert examine(stores.counts, [ACCOUNT], (), period, NIGHT + 3 * HOUR).is_complete is complete
        stores.sweep(NIGHT, NIGHT)
        stores.rollup()


def test_containers_that_are_not_there_are_no_failure(stores: Stores) -> None:
    for container in (NSG_CONTAINER, VNET_CONTAINER):
        stores.flow_logs.service.delete_container(container)
    assert stores.sweep().listed == 0


def test_tables_that_are_not_there_yet_are_made(stores: Stores) -> None:
    for table in [*stores.tables.service.list_tables()]:
        stores.tables.service.delete_table(table.name)
    for nic in (WEB, DATA, LEGACY):
        stores.put(nic, NIGHT, one_record())
    assert stores.sweep().ingested == 3


def test_progress_ends_at_all_of_it(stores: Stores) -> None:
    for nic in (WEB, DATA, LEGACY):
        stores.put(nic, NIGHT, one_record())
    said: list[tuple[float, int]] = []
    sweep(
        [stores.flow_logs],
        stores.ledger,
        stores.counts,
        NIGHT,
        NIGHT,
        lambda part, swept: said.append((part, swept.counted.bytes)),
    )
    size = len(one_record()) - len(CLOSER)
    assert [done for _, done in said] == [size, 2 * size, 3 * size]
    assert said == sorted(said)
    assert 0 <= said[0][0] < said[-1][0] == 1


# What it leaves behind


def test_what_it_found_of_an_hour_is_kept_and_stays_when_the_blobs_are_gone(stores: Stores) -> None:
    other_scope = Nic("nsg-v2", "00000000000F", "nsg-other")
    blob = stores.put(WEB, NIGHT, one_record())
    same_scope = Nic("nsg-v2", "00000000000E", WEB.group)
    stores.put(same_scope, NIGHT, one_record())
    name = other_scope.blob_name(NIGHT + HOUR)
    stores.put(other_scope, NIGHT + HOUR, one_record(NIGHT + HOUR))
    spoil_entry(stores, parse_blob_name(name, NSG_CONTAINER))
    assert [name for name, _ in sweep_all(stores).failed] == [name]

    size = len(one_record())
    other = blob.scope.replace(WEB.group, other_scope.group)
    here, there = (
        FlowLogHour(ACCOUNT, blob.scope, NIGHT),
        FlowLogHour(ACCOUNT, other, NIGHT + HOUR),
    )
    found = stores.counts.findings(NIGHT - HOUR, NIGHT + HOUR)
    assert {key: replace(its, looked_at=None) for key, (its, _) in found.items() if its.listed} == {
        here: SweepFinding(2, 2 * size, 0, 0),
        there: SweepFinding(1, size, 1, size),
    }
    assert FlowLogHour(ACCOUNT, "", NIGHT) in found, "all flow logs of the account were looked for"
    assert replace(here, hour=NIGHT + HOUR) in found, "there was no blob"
    for its, _ in found.values():
        assert its.looked_at
        assert abs(datetime.now(UTC) - its.looked_at) < timedelta(minutes=5)

    sweep_all(stores)
    again = stores.counts.findings(NIGHT, NIGHT + HOUR)
    assert again[here] == found[here], "complete as it was: not written once more"
    assert again[there][1] != found[there][1], "behind: looked at once more"
    for nic in (WEB, same_scope):
        stores.flow_logs.service.get_blob_client(WEB.container, nic.blob_name(NIGHT)).delete_blob()
    stores.put(other_scope, NIGHT, b"")
    sweep_all(stores)
    last = stores.counts.findings(NIGHT, NIGHT)
    assert last[here] == found[here]
    assert replace(last[replace(there, hour=NIGHT)][0], looked_at=None) == SweepFinding(1, 0, 0, 0)


def test_a_finding_that_was_edited_or_that_another_sweep_has_written_costs_nothing(
    stores: Stores, other_host: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = stores.put(WEB, NIGHT, one_record())
    stores.sweep()
    key = FlowLogHour(ACCOUNT, blob.scope, NIGHT)
    finding, _ = stores.counts.findings(NIGHT, NIGHT)[key]
    table = stores.tables.table("flowcounts")
    row = f"~{NIGHT:%Y%m%d%H}", f"found~{blob.scope}~{ACCOUNT}"
    table.upsert_entity({"PartitionKey": row[0], "RowKey": row[1], "Listed": "many"}, mode=UpdateMode.REPLACE)
    assert stores.counts.findings(NIGHT, NIGHT)[key][0] == SweepFinding()
    stores.sweep()
    assert replace(stores.counts.findings(NIGHT, NIGHT)[key][0], looked_at=None) == replace(
        finding, looked_at=None
    )

    stores.put(DATA, NIGHT, one_record())
    stores.put(WEB, NIGHT, b"")
    keep = stores.counts.keep_findings

    def late(*arguments: Any) -> None:
        other_host.sweep()
        others = other_host.counts.findings(NIGHT, NIGHT)
        keep(*arguments)
        assert stores.counts.findings(NIGHT, NIGHT) == others

    monkeypatch.setattr(stores.counts, "keep_findings", late)
    stores.sweep()


def spoil_entry(stores: Stores, blob: BlobName) -> None:
    """Leave an entity in a blob's place that can't be read."""
    spoiled = {"PartitionKey": partition_of(blob), "RowKey": ACCOUNT, "SchemaVersion": 2}
    stores.tables.table("flowledger").create_entity(spoiled)


def sweep_all(stores: Stores) -> Swept:
    """Sweep, whatever fails."""
    return sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT - 24 * HOUR, NIGHT + 24 * HOUR)


# What can't be counted does not hold up the others


def test_an_entry_of_a_newer_version_is_refused_and_left_alone_and_the_others_are_done(
    stores: Stores, other_host: Stores
) -> None:
    same_scope = Nic("nsg-v2", "00000000000F", WEB.group)
    stores.put(WEB, NIGHT, one_record())
    key = f"nsg~00000000-0000-0000-0000-000000000001~rg-demo~{WEB.group}~{NIGHT:%Y%m%d%H}~{WEB.mac}"
    newer = {"PartitionKey": key, "RowKey": ACCOUNT, "SchemaVersion": 2, "Novel": "thing"}
    stores.tables.table("flowledger").create_entity(newer)
    stores.put(WEB, NIGHT + 3 * HOUR, one_record(NIGHT + 3 * HOUR))
    stores.put(same_scope, NIGHT, one_record())
    stores.put(DATA, NIGHT, one_record())

    swept = sweep([other_host.flow_logs], other_host.ledger, other_host.counts, NIGHT, NIGHT + 24 * HOUR)
    ((name, error),) = swept.failed
    assert name == WEB.blob_name(NIGHT)
    assert isinstance(error, MalformedInput)
    assert "version 2" in str(error)
    assert swept.ingested == 3
    assert rows_of(stores, "flowledger")[key, ACCOUNT] == newer

    done = rollup(other_host.ledger, other_host.counts, other_host.views)
    ((scope, why),) = done.failed
    assert key.startswith(scope)
    assert "version 2" in str(why)
    shown = {(row["Scope"], row["Period"]) for row in named_rows(stores, "nics")}
    assert shown >= {(scope, NIGHT + 3 * HOUR), (scope.replace(WEB.group, DATA.group), NIGHT)}
    assert rows_of(stores, "flowledger")[key, ACCOUNT] == newer
    assert behind(stores)[WEB.mac] > 0, "status tells that it isn't counted"


def test_two_names_of_one_entry_are_not_counted_into_each_other(stores: Stores) -> None:
    """Names that differ by case only would share an entity; the second is refused, and said why."""
    stores.put(WEB, NIGHT, one_record())
    stores.sweep()
    twin = WEB.blob_name(NIGHT).replace("RG-DEMO", "rg-demo")
    stores.put_named(NSG_CONTAINER, twin, blob_of(*[record(NIGHT, flow(NIGHT))] * 2))
    stores.put(DATA, NIGHT, one_record())
    swept = sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT)
    ((name, error),) = swept.failed
    assert (name, swept.ingested) == (twin, 1)
    assert WEB.blob_name(NIGHT) in str(error)


def test_a_host_that_never_gets_its_turn_gives_up_and_says_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.ingest._MOST_CONFLICTS", 3)

    def always_second(*_: object) -> None:
        raise Conflict("somebody else has written")

    monkeypatch.setattr(stores.ledger, "commit", always_second)
    blob = stores.put(WEB, NIGHT, one_record())
    with pytest.raises(Unavailable, match="3 conflicts"):
        ingest(blob, stores.flow_logs, stores.ledger)


# Large blobs


def test_a_large_blob_is_read_in_windows_and_committed_on_the_way(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.blobs.WINDOW", 10_000)
    monkeypatch.setattr("shared.ingest.UPDATE_BYTES", 40_000)
    nic = demo_nics(1)[0]
    data, _ = whole_blob(hour_of(nic, NIGHT, seed=3, minutes=15, bad=0))
    assert len(data) > 50_000
    with host(stores.connection_string) as small_windows:
        blob = small_windows.put(nic, NIGHT, data)
        done = ingest(blob, small_windows.flow_logs, small_windows.ledger)
        assert done.updates > 1
        assert done.bytes == len(data) - len(b"]}")
        small_windows.rollup()
        assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_a_blob_that_grows_while_it_is_read_is_read_on(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.blobs.WINDOW", 1_000)
    monkeypatch.setattr("shared.ingest.HEAD_BYTES", 300)
    items = [record(NIGHT + timedelta(seconds=number), flow(NIGHT)) for number in range(40)]
    read, reads = stores.flow_logs.read, []

    def growing(*arguments: object, **options: object) -> object:
        reads.append(arguments)
        if len(reads) <= 20:
            stores.put(WEB, NIGHT, blob_of(*items[: 20 + len(reads)]))
        return read(*arguments, **options)  # type: ignore[arg-type]

    blob = stores.put(WEB, NIGHT, blob_of(*items[:20]))
    monkeypatch.setattr(stores.flow_logs, "read", growing)
    wait_until(lambda: ingest(blob, stores.flow_logs, stores.ledger).records == 0, "all has been read")
    monkeypatch.undo()
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_a_blob_is_counted_afresh_once_its_entity_is_deleted(stores: Stores) -> None:
    """As docs/operate.md says."""
    blob = stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?")))
    stores.sweep()
    stores.rollup()
    before = results(stores)
    stores.tables.table("flowledger").delete_entity(partition_of(blob), ACCOUNT)
    stores.sweep()
    stores.rollup(NIGHT)
    assert_same(results(stores), before)

"""Work: timers hand it out, messages do it; once, in any order, beside others, and softly where it fails."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from azure.data.tables import UpdateMode
from hypothesis import given
from hypothesis import strategies as st

from shared.completeness import State, examine
from shared.counts.index import hour_period
from shared.counts.work import MOST_TRIES, RESTS, TAKES, Work
from shared.errors import MalformedInput
from shared.ledger.entry import partition_of
from shared.periods import OVER_AFTER
from shared.settings import Settings, read_settings
from shared.stores import Stores as Clients
from shared.times import floor_hour, hour_key
from shared.views.query import Range
from shared.work import LISTS_AT, Dispatcher, Message, is_due, read_message
from tests.system import (
    HOUR,
    NIGHT,
    Stores,
    assert_same,
    assert_views_are_right,
    blob_of,
    flow,
    forget_results,
    host,
    record,
    results,
    rows_of,
)
from tests.worker import WorkerFailed, drain, put_all, queue_of_work, worker
from tools.azurite import ACCOUNT
from tools.network_watcher import NSG_CONTAINER, Nic, demo_nics, hour_of, whole_blob
from tools.proxy import Request, Traffic

WEB, DATA = (Nic("nsg-v2", f"00000000000{number}", f"nsg-{number}") for number in range(2))
HUB = Nic("vnet-v4", "0000000000AA", "flowlog-hub")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def one_record(hour: datetime, *ports: int) -> bytes:
    return blob_of(*(record(hour, flow(hour, port=port)) for port in ports or (443,)))


def dispatcher(stores: Stores, mode: str = "schedule", **settings: str) -> Dispatcher:
    read: Settings = read_settings(stores.environment | {"FLOWTALLY_MODE": mode} | settings)
    clients = Clients(stores.tables, stores.ledger, stores.counts, stores.views, (stores.flow_logs,))
    return Dispatcher(clients, read)


def do_all(at: Dispatcher, messages: Sequence[Message]) -> int:
    """Do all messages, and those that follow from them; gives how many there were. As if a second had passed
    since work began last, which is as fine as the service's clock is.
    """
    done, waiting = 0, [replace(each, made=each.made + SECOND) for each in messages]
    while waiting:
        waiting += at.do(waiting.pop(0).text())
        done += 1
    return done


def open_hour(stores: Stores) -> datetime:
    return stores.flow_logs.now().replace(minute=0, second=0, microsecond=0)


def works(stores: Stores) -> dict[str, Work]:
    return stores.counts.work.all()


# Messages


some_times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    st.builds(
        Message,
        st.sampled_from(["sweep", "roll-up", "join", "prune"]),
        st.text(),
        some_times,
        st.none() | some_times,
        st.none() | some_times,
    )
)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert read_message(message.text()) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"Work": "sweep"}',
        '{"Work": "dance", "What": "a", "Made": "2026-11-01T00:00:00+00:00"}',
        '{"Work": "sweep", "What": 1, "Made": "2026-11-01T00:00:00+00:00"}',
        '{"Work": ["sweep"], "What": "a", "Made": "2026-11-01T00:00:00+00:00"}',
        '{"Work": "sweep", "What": "a", "Made": "yesterday"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_message_is_named_and_dropped(stores: Stores, text: str) -> None:
    with pytest.raises(MalformedInput, match="flowtally-work"):
        read_message(text)
    assert dispatcher(stores).do(text) == []


@pytest.mark.parametrize(
    ("looked_at", "now", "due"),
    [
        (None, NIGHT, True),
        (NIGHT + LISTS_AT, NIGHT + LISTS_AT + 5 * MINUTE, False),
        (NIGHT + LISTS_AT - MINUTE, NIGHT + LISTS_AT, True),
        (NIGHT + LISTS_AT, NIGHT + HOUR + LISTS_AT - MINUTE, False),
        (NIGHT + LISTS_AT, NIGHT + HOUR + LISTS_AT, True),
        (NIGHT - 9 * HOUR, NIGHT, True),
    ],
)
def test_what_is_looked_for_once_an_hour_is_due_when_the_hour_before_is_over(
    looked_at: datetime | None, now: datetime, due: bool
) -> None:
    assert is_due(looked_at, now) is due


# From flow logs to answers


def test_a_schedule_counts_everything_without_an_event(stores: Stores) -> None:
    hour = open_hour(stores)
    for nic in (WEB, DATA, HUB):
        stores.put(nic, hour - HOUR, one_record(hour - HOUR))
        stores.put(nic, hour, one_record(hour))
    at = dispatcher(stores)
    first = at.hand_out_sweeps()
    assert sorted(message.kind for message in first.messages) == ["sweep"] * 3
    assert do_all(at, first.messages) == 3
    joins = at.hand_out_sweeps()
    assert joins.row() == {
        "Sweeps": 3,
        "RollUps": 0,
        "Joins": len(joins.messages) - 3,
        "Prunes": 0,
        "Failed": 0,
    }
    do_all(at, joins.messages)
    assert_views_are_right(stores)

    for nic in (WEB, HUB):  # grown: looked at, not listed
        stores.put(nic, hour, one_record(hour, 443, 22))
    for _ in range(2):
        do_all(at, at.hand_out_sweeps().messages)
    assert_views_are_right(stores)


def test_what_has_not_grown_costs_one_request_a_known_blob(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = open_hour(stores)
    for nic in (WEB, HUB):
        stores.put(nic, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    asked: list[str] = []
    read, load, listed = stores.flow_logs.read, stores.ledger.load, stores.flow_logs.list_blobs

    def note(name: str, call: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return call(*arguments, **options)

        return noted

    monkeypatch.setattr(stores.flow_logs, "read", note("read", read))
    monkeypatch.setattr(stores.flow_logs, "list_blobs", note("list", listed))
    monkeypatch.setattr(stores.ledger, "load", note("load", load))
    for message in at.hand_out_sweeps().messages:
        if message.kind == "sweep":
            at.do(replace(message, made=message.made + SECOND).text())
    quarter = stores.flow_logs.now() - hour < 15 * MINUTE
    assert asked.count("read") == 2, ("nothing was logged in the hour before", quarter)
    assert {*asked} == {"read"}


def test_a_join_beside_a_rollup_leaves_what_that_makes_to_the_next_join(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, [each for each in at.hand_out_sweeps().messages if each.kind == "sweep"])
    joins = [each for each in at.hand_out_sweeps().messages if each.kind == "join"]
    stores.put(WEB, hour, one_record(hour, 443, 22))
    left = stores.counts.note_to_join("nsg", [hour_period(hour)])  # by a rollup that has just begun
    do_all(at, joins)
    with monkeypatch.context() as patch:
        patch.setattr(stores.counts, "note_to_join", lambda *_: left)
        do_all(at, [each for each in at.hand_out_sweeps().messages if each.kind == "sweep"])
    assert do_all(at, [each for each in at.hand_out_sweeps().messages if each.kind == "join"])
    assert_views_are_right(stores)


def test_both_modes_leave_the_same_tables(stores: Stores) -> None:
    """Every column but times of writing, ETags, lag and rewrites."""
    hour = open_hour(stores)
    nics = demo_nics(5)
    half, whole = (
        {nic: whole_blob(hour_of(nic, hour, seed=3, tuples_per_minute=9, minutes=minutes))[0] for nic in nics}
        for minutes in (3, 6)
    )
    tables = []
    for mode in ("schedule", "events"):
        forget_results(stores)
        stores.tables.create()
        at = dispatcher(stores, mode)
        for data in (half, whole):
            for nic in nics:
                stores.put(nic, hour, data[nic])
            for _ in range(2):
                do_all(at, at.hand_out_sweeps().messages)
        if mode == "events":
            for _ in range(2):
                do_all(at, at.hand_out_rollups().messages)
        tables.append(results(stores))
    for ledger in (each.ledger for each in tables):
        for row in ledger.values():
            row["Rewrites"] = row["BlobETag"] = row["BlobCreated"] = None
    assert_same(tables[1], tables[0])


def test_a_new_interface_is_found_by_the_next_listing(stores: Stores) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    new = Nic("nsg-v2", "00000000000F", WEB.group)
    blob = stores.put(new, hour, one_record(hour))
    do_all(at, at.hand_out_sweeps().messages)
    assert not stores.ledger.load(blob, ACCOUNT).etag
    row = works(stores)[f"sweep~{ACCOUNT}~{blob.scope}"]
    stores.counts.work.keep([replace(row, looked_at=hour - 2 * HOUR)])  # an hour later
    do_all(at, at.hand_out_sweeps().messages)
    assert stores.ledger.load(blob, ACCOUNT).entry.tuples == 1


def test_the_next_hour_s_blob_of_a_known_interface_is_found_without_a_listing(stores: Stores) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour - HOUR, one_record(hour - HOUR))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    blob = stores.put(WEB, hour, one_record(hour))
    do_all(at, at.hand_out_sweeps().messages)
    assert stores.ledger.load(blob, ACCOUNT).entry.tuples == 1


def test_what_was_missed_while_no_sweep_ran_is_listed_by_the_next_one(stores: Stores) -> None:
    """Up to a day of it; until then its hours aren't called complete."""
    now = stores.flow_logs.now()
    last = floor_hour(now - OVER_AFTER) - HOUR
    missed = [stores.put(WEB, last - number * HOUR, one_record(last - number * HOUR)) for number in (0, 4, 9)]
    at = dispatcher(stores)
    handed_out = at.hand_out_sweeps().messages

    def states() -> dict[str, State]:
        period = Range("hour", last - 9 * HOUR, last + HOUR)
        found = examine(stores.counts, [ACCOUNT], (), period, now)
        assert not found.unknown
        assert found.is_complete == ({each.state for each in found.hours} == {State.COMPLETE})
        return {f"{(last - each.hour) // HOUR}": each.state for each in found.hours}

    assert {*states().values()} == {State.NOT_LOOKED_AT}
    do_all(at, handed_out)
    assert states() == dict.fromkeys(("0", "4", "9"), State.COMPLETE)
    assert all(stores.ledger.load(blob, ACCOUNT).etag for blob in missed)

    new = stores.put(WEB, last - 5 * HOUR, one_record(last - 5 * HOUR))
    row = works(stores)[f"sweep~{ACCOUNT}~{new.scope}"]
    stores.counts.work.keep([replace(row, looked_at=last - 3 * HOUR)])
    do_all(at, at.hand_out_sweeps().messages)
    assert not stores.ledger.load(new, ACCOUNT).etag, "it was looked at when it was over"
    stores.counts.work.keep([replace(row, looked_at=last - 4 * HOUR)])
    do_all(at, at.hand_out_sweeps().messages)
    assert stores.ledger.load(new, ACCOUNT).etag


def test_the_last_days_are_looked_at_daily_in_slices(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many blobs as are done at once, and what is left is handed on: each blob is read once."""
    monkeypatch.setattr("shared.work.MOST_BLOBS", 4)
    hour = open_hour(stores)
    hours = [hour - number * HOUR for number in (1, 2, 3, 26, 27, 50)]
    for number in range(3):
        for each in hours:
            nic = Nic("nsg-v2", f"0000000000{number:02}", "nsg-0")
            stores.put(nic, each, one_record(each))
    at = dispatcher(stores, FLOWTALLY_SWEEP_SINCE="4d")
    commits, commit = [], stores.ledger.commit

    def note(*arguments: Any) -> datetime:
        commits.append(1)
        return commit(*arguments)

    monkeypatch.setattr(stores.ledger, "commit", note)
    assert do_all(at, at.hand_out_daily().messages) > 2
    assert len(commits) == 18
    assert [key for key in works(stores) if key.startswith("sweep")] == [
        f"sweep~{ACCOUNT}~{next(iter(stores.ledger.scopes()))}",
    ], "the rows of what won't come again are gone"
    do_all(at, at.hand_out_sweeps().messages)
    assert_views_are_right(stores)


def test_hours_that_were_handed_on_and_failed_are_swept_again(stores: Stores) -> None:
    hour = open_hour(stores) - 30 * HOUR
    scope, partition = spoil(stores, WEB, hour)
    at = dispatcher(stores)
    do_all(at, at.hand_out_daily().messages)
    (failed,) = (work for work in works(stores).values() if work.failed_since and work.kind == "sweep")
    assert failed.what.startswith(f"{ACCOUNT}~{scope}~")
    stores.tables.table("flowledger").delete_entity(partition, ACCOUNT)
    handed_out = at.hand_out_sweeps()
    assert [message.work for message in handed_out.messages if message.since] == [failed.what]
    do_all(at, handed_out.messages)
    assert failed.key not in works(stores)
    do_all(at, at.hand_out_sweeps().messages)
    assert_views_are_right(stores)


def test_hours_that_always_fail_are_swept_again_once_however_many_days_they_fail(stores: Stores) -> None:
    spoil(stores, WEB, open_hour(stores) - 30 * HOUR)
    at = dispatcher(stores)

    def failed() -> list[Work]:
        return [work for work in works(stores).values() if work.failed_since and work.kind == "sweep"]

    do_all(at, at.hand_out_daily().messages)
    (first,) = failed()
    log, hour = first.what[:-10], open_hour(stores) - 8 * 24 * HOUR
    stores.counts.work.keep([replace(first, what=log + hour_key(hour))])
    stores.counts.work.drop(first)
    do_all(at, at.hand_out_daily().messages)
    assert [work.what for work in failed()] == [first.what]

    stores.flow_logs.service.delete_container(NSG_CONTAINER)
    account = works(stores)[f"account~{ACCOUNT}"]
    stores.counts.work.keep([replace(account, looked_at=hour)])
    assert at.hand_out_sweeps().row()["Sweeps"] == 0
    assert not failed()


def test_hours_that_were_handed_on_and_whose_messages_were_lost_are_swept_all_the_same(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies after its work, before the host has put what follows into the queue."""
    monkeypatch.setattr("shared.work.MOST_BLOBS", 1)
    hour = open_hour(stores) - 30 * HOUR
    for each in (hour, hour + HOUR):
        stores.put(WEB, each, one_record(each))
    at = dispatcher(stores)
    (message,) = at.hand_out_daily().messages
    lost = at.do(message.text())
    assert lost
    assert not [again for again in at.hand_out_sweeps().messages if again.since], "they may be waiting"
    for handed_on in lost:
        row = works(stores)[f"sweep~{handed_on.work}"]
        long_ago = replace(handed_on, made=handed_on.made - 2 * HOUR)
        stores.counts.work.keep([replace(row, said=long_ago.text())])
    do_all(at, at.hand_out_sweeps().messages)
    assert stores.sweep(hour, hour + HOUR).behind == 0
    assert not [again for again in at.hand_out_sweeps().messages if again.since]
    do_all(at, at.hand_out_sweeps().messages)
    assert_views_are_right(stores)


def test_what_there_is_no_work_for_any_more_is_forgotten_and_a_scope_without_a_flow_log_is_rolled_up(
    stores: Stores,
) -> None:
    hour = open_hour(stores)
    blob = stores.put(WEB, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    gone = [Work("sweep", "another~nsg~x"), Work("account", "another"), Work("roll-up", "nsg~x")]
    stores.counts.work.keep(gone)
    stores.flow_logs.service.delete_container(NSG_CONTAINER)
    account = works(stores)[f"account~{ACCOUNT}"]
    stores.counts.work.keep([replace(account, looked_at=hour - 2 * HOUR)])
    at.hand_out_daily()
    assert works(stores).keys() == {account.key, f"roll-up~{blob.scope}"}
    stores.rolled_up_at(hour - HOUR)
    (message,) = (each for each in at.hand_out_sweeps().messages if each.kind == "roll-up")
    assert message.what == blob.scope
    do_all(at, [message])
    assert at.hand_out_sweeps().row()["RollUps"] == 0

    stores.tables.service.delete_table("flowcounts")
    daily = at.hand_out_daily().messages
    assert [each.what for each in daily if each.kind == "roll-up"] == [blob.scope], "nobody else would"
    do_all(at, daily)
    assert blob.scope in stores.counts.catalog()


def test_what_is_older_than_it_is_kept_is_pruned_daily_in_parts(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.prune.MOST_DAYS", timedelta(days=20))
    hour = open_hour(stores)
    old = [hour - timedelta(days=days) for days in (90, 70, 45)]
    for each in old:
        blob = stores.put(WEB, each, one_record(each))
    stores.sweep(old[0], old[-1])
    stores.rollup()
    stores.flow_logs.service.delete_container(NSG_CONTAINER)
    assert {each.kind for each in dispatcher(stores).hand_out_daily().messages} == set()
    at = dispatcher(stores, FLOWTALLY_KEEP="60d")
    handed_out = at.hand_out_daily()
    assert handed_out.row()["Prunes"] == 3
    assert do_all(at, handed_out.messages) > 3
    assert {key[0].split("~")[-2][:8] for key in rows_of(stores, "flowledger") if key[0][0] == "n"} == {
        f"{old[-1]:%Y%m%d}"
    }
    catalog = stores.counts.catalog()[blob.scope]
    assert old[1] < catalog["PrunedBefore"] < old[2]
    assert not [key for key in works(stores) if key.startswith("prune")]


# Once, and softly


def test_a_message_that_comes_twice_or_late_is_done_once(stores: Stores) -> None:
    hour = open_hour(stores)
    blob = stores.put(WEB, hour, one_record(hour))
    at = dispatcher(stores)
    (message,) = at.hand_out_sweeps().messages
    do_all(at, [message])
    before = rows_of(stores, "flowcounts")
    stores.put(WEB, hour, one_record(hour, 443, 22))
    for late in (message, replace(message, made=message.made - HOUR)):
        assert at.do(late.text()) == []
    assert rows_of(stores, "flowcounts") == before
    assert stores.ledger.load(blob, ACCOUNT).entry.tuples == 1


def test_work_that_is_being_done_is_left_to_who_does_it(stores: Stores, other_host: Stores) -> None:
    """Also if its message comes from a later timer; but not for ever, as the process may have died."""
    hour = open_hour(stores)
    blob = stores.put(WEB, hour, one_record(hour))
    at, other = dispatcher(stores), dispatcher(other_host)
    (message,) = at.hand_out_sweeps().messages
    work = stores.counts.work.get("sweep", message.what)
    now = stores.counts.now()
    begun = stores.counts.work.begin(work, now)
    assert begun
    assert stores.counts.work.begin(work, now) is None, "who comes second at the same time has lost"
    later = replace(message, made=now + MINUTE)
    do_all(other, [later])
    assert not stores.ledger.load(blob, ACCOUNT).etag
    assert other.hand_out_sweeps().messages == []
    stores.counts.work.keep([replace(begun, began=now - TAKES)])
    do_all(other, [later])
    assert stores.ledger.load(blob, ACCOUNT).etag


def spoil(stores: Stores, nic: Nic, hour: datetime) -> tuple[str, str]:
    """Leave an entity in a blob's place that can't be read."""
    blob = stores.put(nic, hour, one_record(hour))
    spoiled = {"PartitionKey": partition_of(blob), "RowKey": ACCOUNT, "SchemaVersion": 2}
    stores.tables.table("flowledger").upsert_entity(spoiled, mode=UpdateMode.REPLACE)
    return blob.scope, partition_of(blob)


def test_one_flow_log_that_always_fails_holds_up_no_other(stores: Stores) -> None:
    hour = open_hour(stores)
    scope, partition = spoil(stores, WEB, hour)
    stores.put(DATA, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    first = works(stores)[f"sweep~{ACCOUNT}~{scope}"]
    assert first.failed_since
    assert partition in first.why
    assert "has failed since" in first.problem(stores.counts.now())
    assert works(stores)[f"sweep~{ACCOUNT}~{scope.replace(WEB.group, DATA.group)}"].problem(NIGHT) == ""
    assert len([row for row in rows_of(stores, "flowstats").values() if row["View"] == "traffic"]) > 0
    do_all(at, at.hand_out_sweeps().messages)
    assert works(stores)[first.key].failed_since == first.failed_since, "since when it fails stays known"

    stores.tables.table("flowledger").delete_entity(partition, ACCOUNT)
    row = works(stores)[first.key]
    stores.counts.work.keep([replace(row, looked_at=None)])
    for _ in range(2):
        do_all(at, at.hand_out_sweeps().messages)
    assert works(stores)[first.key].problem(stores.counts.now()) == ""
    assert_views_are_right(stores)


def test_work_that_kills_its_process_rests_after_three_tries_and_is_named(stores: Stores) -> None:
    hour = open_hour(stores)
    blob = stores.put(WEB, hour, one_record(hour))
    stores.put(DATA, hour, one_record(hour))
    at = dispatcher(stores)
    doomed = next(each for each in at.hand_out_sweeps().messages if blob.scope in each.what)
    key = f"sweep~{doomed.what}"
    for tries in range(1, MOST_TRIES + 1):
        now = stores.counts.now()
        begun = stores.counts.work.begin(works(stores)[key], now)
        assert begun
        assert begun.tries == tries
        stores.counts.work.keep([replace(begun, began=now - TAKES)])  # it died ten minutes ago
        assert ("never come to its end" in works(stores)[key].problem(now)) == (tries == MOST_TRIES)
    handed_out = at.hand_out_sweeps().messages
    assert all(blob.scope not in each.what for each in handed_out if each.kind == "sweep")
    do_all(at, [*handed_out, replace(doomed, made=stores.counts.now() + MINUTE)])
    assert not stores.ledger.load(blob, ACCOUNT).etag
    stores.counts.work.keep([replace(works(stores)[key], began=stores.counts.now() - RESTS)])
    do_all(at, at.hand_out_sweeps().messages)
    assert stores.ledger.load(blob, ACCOUNT).etag
    assert works(stores)[key].problem(stores.counts.now()) == ""


def test_a_flow_log_that_is_gone_is_forgotten(stores: Stores) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour, one_record(hour))
    blob = stores.put(DATA, hour, one_record(hour))
    at = dispatcher(stores)
    (first, _) = sorted(at.hand_out_sweeps().messages, key=lambda each: each.what)
    stores.flow_logs.service.get_blob_client(NSG_CONTAINER, blob.name).delete_blob()
    row = works(stores)[f"account~{ACCOUNT}"]
    stores.counts.work.keep([replace(row, looked_at=hour - 2 * HOUR)])
    assert [each.what for each in at.hand_out_sweeps().messages] == [first.what]


def test_an_account_that_does_not_answer_is_named_and_nothing_of_it_is_handed_out(stores: Stores) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour, one_record(hour))
    gone = re.sub(r"127\.0\.0\.1:\d+/\w+", "127.0.0.1:9/nobody", stores.connection_string)
    with host(gone) as other:
        accounts = stores.flow_logs, other.flow_logs
        clients = Clients(stores.tables, stores.ledger, stores.counts, stores.views, accounts)
        at = Dispatcher(clients, dispatcher(stores).settings)
        handed_out = at.hand_out_sweeps()
        assert [name for name, _ in handed_out.failed] == [f"account {other.flow_logs.account}"]
        assert len(handed_out.messages) == 1
        row = works(stores)[f"account~{other.flow_logs.account}"]
        assert "has failed since" in row.problem(NIGHT)


def test_rows_that_somebody_has_edited_are_as_good_as_none(stores: Stores) -> None:
    hour = open_hour(stores)
    stores.put(WEB, hour, one_record(hour))
    at = dispatcher(stores)
    do_all(at, at.hand_out_sweeps().messages)
    table = stores.tables.table("flowcounts")
    for key in works(stores):
        table.upsert_entity(
            {"PartitionKey": "~work", "RowKey": key, "Tries": "many"}, mode=UpdateMode.REPLACE
        )
    table.upsert_entity({"PartitionKey": "~work", "RowKey": "by hand", "Tries": 1})
    stores.put(WEB, hour, one_record(hour, 443, 22))
    for _ in range(2):
        do_all(at, at.hand_out_sweeps().messages)
    assert_views_are_right(stores)


# Processes


def test_a_process_that_dies_at_its_work_takes_nothing_along(
    stores: Stores, counted_stores: tuple[Stores, Traffic]
) -> None:
    """Its message is seen again after a while, and left alone as long as the process may be at it still; then
    a timer hands the same out, and another process does it.
    """
    hour = open_hour(stores)
    blob = stores.put(WEB, hour, one_record(hour))
    reached, traffic = counted_stores
    at_it, go_on = Event(), Event()

    def hold(request: Request) -> None:
        if request.reads_blob:
            at_it.set()
            go_on.wait(60)

    settings = {**reached.environment, "FLOWTALLY_MODE": "schedule"}
    with queue_of_work(stores.connection_string) as queue:
        with worker(settings) as running, ThreadPoolExecutor(1) as pool:
            put_all(queue, running.invoke_timer("sweep"))
            message = queue.take(hidden_seconds=1)
            assert message
            traffic.fault = hold
            done = pool.submit(running.invoke_queue, "work", message)
            assert at_it.wait(60)
            running.process.kill()
            with pytest.raises(WorkerFailed):
                done.result()
            traffic.fault = None
            go_on.set()
        key = f"sweep~{ACCOUNT}~{blob.scope}"
        assert works(stores)[key].tries == 1
        with worker(settings) as running:
            while (again := queue.take()) is None:
                time.sleep(0.1)
            assert again.dequeue_count == 2
            assert running.invoke_queue("work", again).succeeded
            queue.delete(again)
            assert not stores.ledger.load(blob, ACCOUNT).etag, "left alone"
            assert drain(running, queue, running.invoke_timer("sweep")) == 0, "for ten minutes"
            stores.counts.work.keep([replace(works(stores)[key], began=stores.counts.now() - TAKES)])
            assert drain(running, queue, running.invoke_timer("sweep")) == 1
            assert drain(running, queue, running.invoke_timer("sweep")) == 2
    assert_views_are_right(stores)


def test_two_processes_share_the_work_and_do_none_of_it_twice(stores: Stores) -> None:
    hour = open_hour(stores)
    nics = [Nic("nsg-v2", f"{number:012X}", f"nsg-{number % 6}") for number in range(12)]
    for nic in nics:
        for each in (hour - HOUR, hour):
            stores.put(nic, each, one_record(each))
    settings = {**stores.environment, "FLOWTALLY_MODE": "schedule"}
    with queue_of_work(stores.connection_string) as queue, worker(settings) as one, worker(settings) as other:
        put_all(queue, one.invoke_timer("sweep"))
        with ThreadPoolExecutor(2) as pool:
            shares = [*pool.map(lambda running: drain(running, queue), (one, other))]
        assert sum(shares) == 6
        assert min(shares) > 0
        drain(one, queue, other.invoke_timer("sweep"))
    ledger = rows_of(stores, "flowledger").values()
    assert sorted(row["Records"] for row in ledger) == [1] * 24
    assert_views_are_right(stores)

"""The views say what the ledger says: whatever came late, changed, or died on the way."""

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count as numbers
from typing import Any

import pytest
from azure.data.tables import UpdateMode

from shared.blobs import FlowLogs
from shared.counts.index import Period, all_of, day_period, hour_period
from shared.counts.store import FEW_HOURS
from shared.errors import Conflict
from shared.ingest import ingest
from shared.ledger.store import LATE, Posted
from shared.periods import Job, PeriodMaker
from shared.rollup import rollup
from shared.settings import Connection
from shared.sweep import sweep
from shared.tables import Tables
from shared.tally.packing import unpack
from shared.times import floor_hour
from shared.views.questions import VIEWS
from tests import naive
from tests.system import (
    HOUR,
    NIGHT,
    Killed,
    Stores,
    assert_health_says,
    assert_views_are_right,
    blob_of,
    dies_at_write,
    flow,
    host,
    record,
    results_of_one_pass,
    rows_of,
)
from tools.azurite import ACCOUNT, OTHER_ACCOUNT
from tools.network_watcher import VNET_CONTAINER, Nic, demo_nics

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
SCOPE = "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web"
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.usefixtures("few_views")


def minute(when: datetime, *ports: int) -> bytes:
    """A record of inbound flows to some ports: allowed, and one of them denied."""
    denied = flow(when, port=ports[0], decision="D")
    return record(when, *(flow(when, port=port) for port in ports), denied)


def periods(stores: Stores) -> set[tuple[str, datetime]]:
    """Grain and beginning of all periods that have a row of view ``rules``."""
    return {
        (row["Grain"], row["Period"])
        for row in rows_of(stores, "flowstats").values()
        if row["View"] == "rules" and row["Tuples"]
    }


# Late data


def test_hours_of_weeks_ago_reach_the_views_once_they_are_backfilled(stores: Stores) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    stores.put(WEB, now, blob_of(minute(now, 443)))
    stores.sweep(now, now)
    stores.rollup()
    for hour in (NIGHT, NIGHT - 30 * 24 * HOUR):
        stores.put(WEB, hour, blob_of(minute(hour, 443)))
        stores.sweep(hour, hour)
    assert stores.rollup().hours == 2, "what came late: the recent hour is as it was"
    assert_views_are_right(stores)


@pytest.mark.usefixtures("few_views")
def test_a_backfill_has_the_entries_of_few_hours_in_memory(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of a network with thousands of interfaces has a hundred thousand."""
    kept = []
    make = PeriodMaker.make

    def count(self: PeriodMaker, scope: str, jobs: Sequence[Job]) -> Iterator[Any]:
        gc.collect()
        kept.append((len(jobs), sum(isinstance(each, Posted) for each in gc.get_objects())))
        return make(self, scope, jobs)

    for hours in range(10):
        when = NIGHT - hours * HOUR
        stores.put(WEB, when, blob_of(minute(when, 443)))
    stores.sweep(NIGHT - 10 * HOUR)
    monkeypatch.setattr(PeriodMaker, "make", count)
    assert stores.rollup().hours == 10
    assert max(hours for hours, _ in kept) == 10
    assert max(entries for _, entries in kept) <= 3


def test_an_old_hour_that_grows_once_more_is_made_once_more(stores: Stores, other_host: Stores) -> None:
    """Whoever wrote to it, and whether or not the last note has been dealt with."""
    items = [minute(NIGHT, 443)]
    for port, at in ((1, stores), (2, other_host), (3, stores)):
        items.append(minute(NIGHT + SECOND, port))
        stores.put(WEB, NIGHT, blob_of(*items))
        at.sweep()
        stores.rollup()
        assert_views_are_right(stores)


def test_notes_of_late_hours_are_kept_for_a_while_and_then_dropped(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    (note,) = stores.ledger.late_notes()[0]
    now = service_clock(monkeypatch)
    for later, kept in (
        (timedelta(), [False]),
        (timedelta(minutes=59), [False]),
        (timedelta(minutes=61), [True]),
        (timedelta(hours=23), [True]),
        (timedelta(hours=25), []),
    ):
        now.ahead = later
        stores.rollup()
        notes, _, _ = stores.ledger.late_notes()
        assert [each.compared for each in notes] == kept
        assert all(each.noted == note.noted for each in notes)


class ServiceClock:
    """How far the clock of the results' storage, as rollups see it, is ahead of what it was."""

    ahead = timedelta()


def service_clock(monkeypatch: pytest.MonkeyPatch) -> ServiceClock:
    """Let time pass at will for rollups."""
    clock, server_time = ServiceClock(), Tables.server_time
    monkeypatch.setattr(Tables, "server_time", lambda tables: server_time(tables) + clock.ahead)
    return clock


@pytest.mark.parametrize(
    ("asleep", "after", "dies"),
    [
        pytest.param(timedelta(hours=2), timedelta(hours=3), False, id="and goes on"),
        pytest.param(timedelta(days=3), timedelta(days=3, minutes=5), False, id="for days and goes on"),
        pytest.param(timedelta(minutes=30), timedelta(minutes=65), True, id="for minutes and dies"),
        pytest.param(timedelta(hours=2), timedelta(hours=25), True, id="and dies"),
    ],
)
def test_a_sweep_that_sleeps_between_its_note_and_its_commit_is_rolled_up(
    stores: Stores,
    other_host: Stores,
    monkeypatch: pytest.MonkeyPatch,
    asleep: timedelta,
    after: timedelta,
    *,
    dies: bool,
) -> None:
    """Rollups look at the hour while it sleeps; a process's own clock doesn't tell it that it has slept."""
    clock, commit = service_clock(monkeypatch), stores.ledger.commit
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    blob = stores.put(DATA, NIGHT, blob_of(minute(NIGHT, 443)))
    ingest(blob, other_host.flow_logs, other_host.ledger)

    def sleep_and_commit(*arguments: Any) -> datetime:
        for part in range(1, 5):
            clock.ahead = asleep * part / 4
            other_host.rollup()
        committed = commit(*arguments) + asleep
        if dies:
            raise Killed
        return committed

    monkeypatch.setattr(stores.ledger, "commit", sleep_and_commit)
    with suppress(Killed):
        stores.sweep()
    clock.ahead = after
    other_host.rollup()
    assert_views_are_right(stores)


def test_a_commit_that_became_late_on_the_way_leaves_a_note(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, commit = datetime.now(UTC).replace(minute=0, second=0, microsecond=0), stores.ledger.commit
    stores.put(WEB, hour, blob_of(minute(hour, 443)))
    monkeypatch.setattr(stores.ledger, "commit", lambda *arguments: commit(*arguments) + 5 * HOUR)
    stores.sweep(hour, hour)
    assert [note.hour for note in stores.ledger.late_notes()[0]] == [hour]


def test_rollup_after_a_long_pause_looks_at_all_that_was_counted_meanwhile(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours that were counted in time need no note; the pause itself says how far to look back."""
    monkeypatch.setattr("shared.ingest.LATE_AFTER", timedelta(days=10_000))  # counted in time, back then
    stores.count(WEB, NIGHT - 48 * HOUR, blob_of(minute(NIGHT - 48 * HOUR, 443)))
    stores.rollup()
    stores.rolled_up_at(NIGHT)
    for hour in (NIGHT, NIGHT + HOUR, NIGHT + 20 * HOUR):
        stores.count(WEB, hour, blob_of(minute(hour, 443)))
    assert stores.ledger.late_notes()[0] == []
    stores.rollup()
    assert_views_are_right(stores)


def test_since_finds_what_no_note_tells_of(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    stores.rollup()
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443), minute(NIGHT, 80)))
    stores.sweep()
    for note in stores.ledger.late_notes()[0]:
        stores.ledger.drop_note(note)
    assert stores.rollup().hours == 0
    assert stores.rollup(since=NIGHT).hours == 1
    assert_views_are_right(stores)


# Neighbouring hours


def test_tuples_of_the_hour_before_count_there_and_on_its_day(stores: Stores) -> None:
    midnight = NIGHT + HOUR
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    stores.rollup()
    stores.put(WEB, midnight, blob_of(minute(midnight - SECOND, 80, 443), minute(midnight, 443)))
    stores.put(DATA, midnight, blob_of(minute(midnight - SECOND, 80)))
    stores.sweep()
    stores.rollup()
    assert_views_are_right(stores)
    assert ("day", NIGHT.replace(hour=0)) in periods(stores)


def test_tuples_of_the_hour_after_count_there(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443), minute(NIGHT + HOUR + SECOND, 443)))
    stores.sweep()
    stores.rollup()
    assert_views_are_right(stores)
    assert ("day", NIGHT + HOUR) in periods(stores)


def test_an_hour_is_at_rest_while_its_neighbour_grows(stores: Stores) -> None:
    items = [minute(NIGHT + HOUR - SECOND, 443), minute(NIGHT + HOUR, 443)]
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    made = []
    for port in range(3):
        items.append(minute(NIGHT + HOUR + SECOND, port))
        stores.put(WEB, NIGHT + HOUR, blob_of(*items))
        stores.sweep()
        done = stores.rollup()
        made.append((done.hours, done.days))
    assert made == [(2, 2), (1, 1), (1, 1)]
    assert_views_are_right(stores)


# Today


@pytest.mark.usefixtures("all_views")
def test_lists_are_written_when_an_hour_is_over_and_days_are_made_when_they_are(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then an hour has counts, and rows of how much there was; a day has nothing."""
    clock, now = service_clock(monkeypatch), datetime.now(UTC)
    hour = now.replace(hour=23, minute=0, second=0, microsecond=0)
    open_views = {"traffic", "health"}
    for minutes, ports, hours, days in (
        (30, 3, 1, 0),
        (65, 5, 1, 0),
        (69, 5, 0, 0),  # nothing has changed, and nothing has been over for ten minutes
        (71, 5, 1, 1),
        (72, 5, 0, 0),
        (73, 7, 1, 1),  # late data
    ):
        clock.ahead = hour + timedelta(minutes=minutes) - now
        data = blob_of(*(minute(hour, port) for port in range(ports)))
        if data not in stores.blobs().values():
            stores.put(WEB, hour, data)
        stores.sweep(hour, hour)
        done = stores.rollup()
        assert (done.hours, done.days) == (hours, days), minutes
        views = {row["View"] for row in rows_of(stores, "flowstats").values()}
        assert views == (open_views if minutes < 70 else {*VIEWS}), minutes
        assert (tuples_stored(stores, hour_period(hour)), tuples_stored(stores, day_period(hour))) == (
            2 * ports,
            2 * ports if minutes > 70 else 0,
        )
        assert_views_are_right(stores)


def test_a_day_is_made_when_it_is_over_although_its_last_data_is_of_its_morning(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rollups all day long have long ceased to look at that hour by themselves."""
    monkeypatch.setattr("shared.ingest.LATE_AFTER", timedelta(days=10_000))  # counted in time, back then
    clock, now = service_clock(monkeypatch), datetime.now(UTC)
    hour = now.replace(hour=3, minute=0, second=0, microsecond=0)
    stores.put(WEB, hour, blob_of(minute(hour, 443)))
    stores.sweep(hour, hour)
    assert stores.ledger.late_notes()[0] == []
    days = []
    for passed in (*(number * HOUR for number in range(1, 22)), 21 * HOUR + timedelta(minutes=11), 22 * HOUR):
        clock.ahead = hour + passed - now
        days.append(stores.rollup().days)
    assert days == [*[0] * 21, 1, 0]
    assert_views_are_right(stores)


def tuples_stored(stores: Stores, period: Period) -> int:
    """How many tuples the stored counts of a period have."""
    parts = stores.counts.part(SCOPE, "traffic", period, period)
    return sum(unpack(packed)[0].totals()[0] for _, packed in parts)


# Several accounts


@pytest.fixture
def other_account(stores: Stores) -> Iterator[FlowLogs]:
    """A second account that Network Watcher writes to, with no blob in it."""
    address = stores.connection_string.replace(ACCOUNT, OTHER_ACCOUNT)
    flow_logs = FlowLogs(Connection("OTHER", connection_string=address))
    flow_logs.service.create_container(WEB.container).close()
    yield flow_logs
    flow_logs.service.delete_container(WEB.container)
    flow_logs.service.close()


def test_a_log_that_moves_to_another_account_within_the_hour_is_counted_whole(
    stores: Stores, other_account: FlowLogs
) -> None:
    """Blobs of one name in two accounts are two blobs, whichever is swept last and how often."""
    blob = stores.put(WEB, NIGHT, blob_of(*[record(NIGHT, flow(NIGHT, port=22))] * 25))
    moved = other_account.service.get_blob_client(WEB.container, blob.name)
    items = [record(NIGHT, flow(NIGHT - SECOND, port=80))]
    for _ in range(2):
        items += [record(NIGHT + HOUR - SECOND, flow(NIGHT + HOUR - SECOND, port=443))] * 12
        moved.upload_blob(blob_of(*items), overwrite=True)
        for flow_logs in (other_account, stores.flow_logs, other_account):
            assert sweep([flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT).failed == []
            stores.rollup()
    for flow_logs in (other_account, stores.flow_logs):
        assert sweep([flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT).behind == 0
    assert {key[1] for key in rows_of(stores, "flowledger") if key[0] != LATE} == {ACCOUNT, OTHER_ACCOUNT}
    stats = rows_of(stores, "flowstats")
    tuples = {
        row["Period"]: row["Tuples"]
        for row in stats.values()
        if row["View"] == "rules" and row["Grain"] == "hour" and row["Rank"] == 1
    }
    assert tuples == {NIGHT: 49, NIGHT - HOUR: 1}
    health = stats[f"{SCOPE}~health~hour", f"{NIGHT:%Y%m%d%H%M}~total"]
    assert (health["Blobs"], health["Tuples"]) == (2, 50)


# Rows that have to go


@pytest.mark.usefixtures("all_views")
def test_stale_rows_go_when_a_blob_is_rewritten_with_fewer_keys(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(*(minute(NIGHT + number * SECOND, *range(50)) for number in range(3))))
    stores.sweep()
    stores.rollup()
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    assert stores.rollup().rows
    assert_views_are_right(stores)


@pytest.mark.parametrize("by", [-1, 1], ids=["before", "after"])
def test_stale_rows_go_when_a_share_in_a_neighbouring_hour_vanishes(stores: Stores, by: int) -> None:
    hour, elsewhere = NIGHT, NIGHT - SECOND if by < 0 else NIGHT + HOUR
    stores.put(WEB, hour, blob_of(minute(elsewhere, 22), minute(hour, 443)))
    stores.sweep()
    stores.rollup()
    assert len(periods(stores)) == (3 if by < 0 else 4)
    stores.put(WEB, hour, blob_of(minute(hour + SECOND, 80)))
    stores.sweep()
    stores.rollup()
    assert_views_are_right(stores)
    assert len(periods(stores)) == 2


def test_nothing_but_zeros_is_left_of_an_hour_whose_blob_is_emptied(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    stores.rollup()
    stores.put(WEB, NIGHT, blob_of())
    stores.sweep()
    stores.rollup()
    assert periods(stores) == set()


# Dying, and not being alone


@pytest.mark.usefixtures("fewest_views")
def test_a_rollup_that_dies_at_any_write_is_made_good_by_the_next_one(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time with new data, and a write later than before, until it is through. All views are below.

    Nothing is made once more for having been made just now, and notes are dropped at once: the hard case.
    """
    monkeypatch.setattr("shared.rollup.NOTES_KEPT", -SECOND)
    monkeypatch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -SECOND)
    items = [minute(NIGHT - SECOND, 22)]
    for number in numbers():
        items.append(minute(NIGHT + number * SECOND, 443 + number % 2))
        stores.count(WEB, NIGHT, blob_of(*items))
        died = False
        with host(stores.connection_string) as dying, monkeypatch.context() as patch:
            dies_at_write(patch, number)
            try:
                rollup(dying.ledger, dying.counts, dying.views)
            except Killed:
                died = True
        if not died:
            break
        stores.rollup()
        if number % 4 == 0:
            assert_views_are_right(stores)
    assert number > 20
    assert_views_are_right(stores)


@pytest.mark.usefixtures("all_views")
@pytest.mark.parametrize("at", range(0, 38, 6))
def test_all_that_a_dead_rollup_left_is_as_one_pass_would_have_made_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("shared.rollup.NOTES_KEPT", -SECOND)
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT - SECOND, 22), minute(NIGHT, 443)))
    stores.sweep()
    with host(stores.connection_string) as dying, monkeypatch.context() as patch:
        dies_at_write(patch, at)
        with pytest.raises(Killed):
            rollup(dying.ledger, dying.counts, dying.views)
    stores.rollup()
    assert_views_are_right(stores)


def test_rollups_at_once_with_rows_to_write_and_to_delete(stores: Stores, other_host: Stores) -> None:
    """All of them end well, and what they leave is right, or is put right by the next one."""
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            ports = range(number, 20 - 6 * number)
            for nic in (WEB, DATA):
                stores.put(nic, NIGHT, blob_of(minute(NIGHT - SECOND, *ports), minute(NIGHT, *ports)))
            stores.sweep()
            jobs = [
                pool.submit(rollup, each.ledger, each.counts, each.views)
                for each in (stores, other_host, stores)
            ]
            assert [job.result().failed for job in jobs] == [[], [], []]
    stores.rollup()
    assert_views_are_right(stores)


# Scopes


def test_scopes_whose_keys_begin_alike_are_kept_apart(stores: Stores) -> None:
    paths = ["A", "A/B", "A/B/C", "A/9999999999/B", "A-B", "AA", "A0", "a!", "B"]
    for number, path in enumerate(paths):
        name = f"flowLogResourceID=/{path}/{NIGHT:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress=000D3A000001/PT1H.json"
        stores.put_named(VNET_CONTAINER, name, blob_of(*[minute(NIGHT, 443)] * (number + 1)))
    swept = stores.sweep()
    assert (swept.listed, swept.behind) == (len(paths), len(paths))
    done = stores.rollup()
    stats = rows_of(stores, "flowstats")
    said = {
        row["Scope"]: row["Tuples"]
        for row in stats.values()
        if row["View"] == "nics" and row["Grain"] == "hour" and row.get("Status") == "Allowed"
    }
    assert done.scopes == len(paths)
    assert sorted(said.values()) == [*range(1, len(paths) + 1)]
    assert stores.sweep().behind == 0


def test_health_is_kept_for_each_scope_and_for_all(stores: Stores) -> None:
    live = floor_hour(stores.flow_logs.now())
    for nic, hour, good in ((WEB, NIGHT, 1), (WEB, NIGHT + HOUR, 2), (DATA, NIGHT, 3), (WEB, live, 1)):
        stores.count(nic, hour, blob_of(*[record(hour, *[flow(hour)] * good, "?", "?")] * 2))
    stores.rollup()
    stats = rows_of(stores, "flowstats")
    assert_health_says(stats, naive.count(stores.blobs()))
    total = stats["all~nsg~health~hour", f"{NIGHT:%Y%m%d%H%M}~total"]
    assert (total["Blobs"], total["Tuples"], total["Malformed"]) == (2, 8, 8)
    assert "LagSeconds" not in total, "its blobs were created long after their hour"
    assert stats["all~nsg~health~hour", f"{live:%Y%m%d%H%M}~total"]["LagSeconds"] >= 0


def test_a_backfill_that_is_killed_amid_all_scopes_together_has_not_made_them_in_vain(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with the day at which it was killed."""
    hours = [NIGHT - 24 * HOUR * day for day in range(3)]
    for hour in hours:
        stores.put(WEB, hour, blob_of(minute(hour, 443)))
    stores.sweep(hours[-1])
    scopes_of, asked = stores.counts.scopes_of, []

    def die_at_the_third(hour: datetime, kind: Any) -> Any:
        asked.append(hour)
        if len(asked) == 3:
            raise Killed
        return scopes_of(hour, kind)

    monkeypatch.setattr(stores.counts, "scopes_of", die_at_the_third)
    with suppress(Killed):
        stores.rollup()
    monkeypatch.setattr(stores.counts, "scopes_of", scopes_of)
    done = stores.rollup()
    assert (asked, done.hours, done.rows) == (sorted(hours), 0, 1)
    assert_health_says(rows_of(stores, "flowstats"), naive.count(stores.blobs()))


def test_a_note_stays_until_all_scopes_together_are_made(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.rollup.NOTES_KEPT", -HOUR)  # notes are dropped at once
    monkeypatch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -HOUR)
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    stores.sweep()
    stores.rollup()
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443), minute(NIGHT, 80)))
    stores.sweep()
    replace_rows = stores.views.replace_rows

    def refuse(lists: Any) -> list[str]:
        if lists[0][0][0]["Scope"] == "all~nsg":
            raise Conflict("others keep writing")
        return replace_rows(lists)

    monkeypatch.setattr(stores.views, "replace_rows", refuse)
    assert len(rollup(stores.ledger, stores.counts, stores.views).failed) == 1
    monkeypatch.setattr(stores.views, "replace_rows", replace_rows)
    stores.rollup()
    assert_health_says(rows_of(stores, "flowstats"), naive.count(stores.blobs()))


def test_the_catalog_says_what_a_scope_is_and_which_hours_there_are(stores: Stores) -> None:
    nics = demo_nics(2)
    for nic, hours in ((nics[0], [NIGHT]), (nics[1], [NIGHT, NIGHT - 10 * HOUR, NIGHT + 3 * HOUR])):
        for hour in hours:
            stores.count(nic, hour, blob_of(record(hour, flow(hour), resourceId=nic.log)))
            stores.rollup()
    catalog = stores.counts.catalog()
    nsg, vnet = catalog.values()
    assert len(catalog) == 2
    assert nsg["Scope"] == SCOPE
    assert (nsg["Name"].lower(), nsg["Kind"], nsg["ResourceId"]) == ("nsg-web", "nsg", nics[1].log)
    assert (nsg["FirstPeriod"], nsg["LastPeriod"]) == (NIGHT - 10 * HOUR, NIGHT + 3 * HOUR)
    assert (vnet["Name"].lower(), vnet["Kind"], vnet["FirstPeriod"]) == ("flowlog-hub", "vnet", NIGHT)


@pytest.mark.parametrize("hours", [(0, 0), (-1, 1), (-24, 3)], ids=str)
def test_the_index_says_the_same_hour_by_hour_and_at_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, hours: tuple[int, int]
) -> None:
    """Of hours of days that are over, and of the days: of one scope, and of all of a kind. Most tests ask at
    once, for the sake of their time.
    """
    for nic, by in ((WEB, -29), (WEB, -2), (WEB, 0), (WEB, 1), (DATA, 0), (DATA, 2)):
        stores.count(nic, NIGHT + by * HOUR, blob_of(minute(NIGHT + by * HOUR, 443)))
    stores.rollup()
    first, last = (NIGHT + by * HOUR for by in hours)
    made, of_days = [], []
    for few in (0, FEW_HOURS):
        monkeypatch.setattr("shared.counts.store.FEW_HOURS", few)
        made.append(stores.counts.fingerprints(first, last, SCOPE, stores.counts.now()))
        of_days.append(
            [
                stores.counts.fingerprints_of_day(scope, day_period(when))
                for scope in (SCOPE, all_of("nsg"))
                for when in (first, NIGHT, last)
            ]
        )
    assert made[0] == made[1]
    assert of_days[0] == of_days[1]
    assert all(of_days[0])
    assert {scope for scope, _ in made[0]} == {SCOPE}
    assert (SCOPE, day_period(NIGHT)) in made[0]


@pytest.mark.parametrize("few", [0, FEW_HOURS])
def test_rollups_leave_the_same_whether_the_index_is_asked_hour_by_hour_or_at_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """The first one of a day, one of a change, one of a day before, and of a row without its fingerprint."""
    monkeypatch.setattr("shared.counts.store.FEW_HOURS", few)
    index = stores.tables.table("flowcounts")
    done = []
    for nic, by, ports in ((WEB, 0, [443]), (WEB, 0, [443, 80]), (WEB, -24, [22]), (DATA, -1, [22])):
        when = NIGHT + by * HOUR
        stores.count(nic, when, blob_of(*(minute(when, port) for port in ports)))
        done.append(stores.rollup())
    row = index.get_entity(hour_period(NIGHT).index, SCOPE)
    row.pop("Fingerprint")
    index.update_entity(row, mode=UpdateMode.REPLACE)
    done += [stores.rollup(NIGHT), stores.rollup(NIGHT)]
    assert [(each.hours, each.days, each.of_all) for each in done] == [
        (1, 1, 2), (1, 1, 2), (1, 1, 2), (1, 1, 2), (1, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    assert_views_are_right(stores)


def test_rollup_of_nothing(stores: Stores) -> None:
    assert (stores.rollup().scopes, rows_of(stores, "flowstats")) == (0, {})


def test_an_undisturbed_pass_is_the_same_whatever_was_before(stores: Stores) -> None:
    """The comparison that other tests rely on tells differences."""
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 443)))
    one = results_of_one_pass(stores)
    assert one == results_of_one_pass(stores)
    stores.put(WEB, NIGHT, blob_of(minute(NIGHT, 444)))
    assert one != results_of_one_pass(stores)

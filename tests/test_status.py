"""Status: what is behind, of what was asked for; whether a day was complete, also when its blobs are gone."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.completeness import Completeness, State, judge
from shared.counts.health import Health
from shared.counts.index import Indexed, SweepFinding
from shared.ledger.entry import COPIED_AFTER, Entry
from shared.periods import OVER_AFTER
from shared.status import ROLLED_UP_WITHIN, say_counts_old
from shared.times import HOUR, floor_hour
from shared.views.query import Range
from tests.system import NIGHT, Call, Stores, blob_of, flow, forget_all, record
from tests.test_sweep import spoil_entry
from tools.network_watcher import Nic

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
VNET = Nic("vnet-v4", "000D3A000004", "flowlog-hub")
SINCE = ("--since", f"{NIGHT - HOUR:%Y-%m-%dT%H}", "--until", f"{NIGHT + HOUR:%Y-%m-%dT%H}")
DAY = NIGHT.replace(hour=0)


def one_record(hour: datetime = NIGHT) -> bytes:
    return blob_of(record(hour, flow(hour)))


def rows_of(said: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(said)["rows"]
    return rows


# What is asked for


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [("nsg-web", {"nsg-web"}), ("NSG-", {"nsg-web", "nsg-data"}), ("hub", {"flowlog-hub"}), ("", None)],
)
def test_a_scope_is_given_by_its_name_or_a_part_of_it(
    stores: Stores, call: Call, scope: str, wanted: set[str] | None
) -> None:
    for nic in (WEB, DATA, VNET):
        stores.put(nic, NIGHT, one_record())
    done = call("status", *SINCE, "-o", "json", *(["--scope", scope] if scope else []))
    found = {row["Scope"].rpartition("~")[2].rpartition("_")[2] for row in rows_of(done.stdout)}
    assert (done.exit_code, found) == (1, wanted or {"nsg-web", "nsg-data", "flowlog-hub"})
    assert f"{len(found)} blobs" in done.stderr


def test_a_scope_that_there_is_not_is_named_with_those_near(stores: Stores, call: Call) -> None:
    stores.put(WEB, NIGHT, one_record())
    done = call("status", "--scope", "nsg-wbe")
    assert done.exit_code == 2
    assert "nsg-wbe" in done.stderr
    assert "NSG-WEB" in done.stderr


def test_only_what_is_behind_is_shown_and_all_is_summed(stores: Stores, call: Call) -> None:
    stores.put(WEB, NIGHT, one_record())
    stores.sweep()
    stores.put(DATA, NIGHT, one_record())
    done = call("status", *SINCE, "--behind", "-o", "json")
    assert [row["Scope"].endswith("nsg-data") for row in rows_of(done.stdout)] == [True]
    assert "2 blobs" in done.stderr
    stores.sweep()
    stores.rollup()
    done = call("status", *SINCE, "--behind", "-o", "json")
    assert (done.exit_code, rows_of(done.stdout)) == (0, [])


# What else keeps answers from being complete


def test_an_account_without_flow_logs_is_said_to_be_one(stores: Stores, call: Call) -> None:
    assert call("status").exit_code == 0, "there are containers, and no blob yet"
    forget_all(stores)
    stores.tables.create()
    done = call("status")
    assert done.exit_code == 1
    assert "has no flow logs" in done.stderr
    assert "insights-logs-flowlogflowevent" in done.stderr


def test_counts_older_than_the_ledger_are_said(stores: Stores, call: Call) -> None:
    stores.put(WEB, NIGHT, one_record())
    stores.sweep()
    assert call("status", *SINCE).exit_code == 0, "the first rollup is still to come"
    stores.rollup()
    assert call("status", *SINCE).exit_code == 0
    now = stores.flow_logs.now()
    stores.rolled_up_at(now - ROLLED_UP_WITHIN / 2)
    assert call("status", *SINCE).exit_code == 0, "the next rollup is still to come"
    stores.rolled_up_at(now - 4 * HOUR)
    done = call("status", *SINCE, "-o", "json")
    assert done.exit_code == 1
    assert "counts of " in done.stderr
    assert "; ledger until " in done.stderr
    assert json.loads(done.stdout)["problems"]
    stores.rollup()
    assert call("status", *SINCE).exit_code == 0


minutes = st.integers(0, 300).map(lambda number: NIGHT + timedelta(minutes=number))


@given(st.none() | minutes, minutes, minutes, minutes)
def test_counts_are_old_if_a_commit_waits_longer_than_a_rollup_takes(
    counts_of: datetime | None, first: datetime, last: datetime, now: datetime
) -> None:
    assume(first <= last <= now)
    said = say_counts_old(counts_of, first, last, now)
    waits = counts_of is None or counts_of < last
    assert bool(said) == (waits and now - (counts_of or first) > ROLLED_UP_WITHIN)
    assert say_counts_old(counts_of, None, None, now) == []


@given(st.timedeltas(timedelta(0), timedelta(days=3)), st.none() | st.timedeltas(timedelta(0), 9 * HOUR))
def test_the_lag_of_copied_logs_is_nobodys(counted: timedelta, created: timedelta | None) -> None:
    entry = Entry("x", last_record_time=NIGHT, blob_created=None if created is None else NIGHT + created)
    is_copy = created is not None and created > HOUR + COPIED_AFTER
    assert entry.lag(NIGHT, NIGHT + counted) == (None if is_copy else counted)
    assert replace(entry, last_record_time=None).lag(NIGHT, NIGHT + counted) is None


def test_a_log_that_was_copied_has_no_lag_and_a_live_one_has(stores: Stores, call: Call) -> None:
    this_hour = floor_hour(stores.flow_logs.now())
    stores.put(WEB, NIGHT, one_record())
    stores.put(WEB, this_hour, one_record(this_hour))
    stores.sweep(NIGHT, this_hour)
    stores.rollup(NIGHT)
    done = call("status", "--since", f"{NIGHT:%Y-%m-%dT%H}", "-o", "json")
    copied, live = rows_of(done.stdout)
    assert (copied["LagSeconds"], copied["LastRecordTime"] is not None) == (None, True)
    assert 0 <= live["LagSeconds"] < 2 * 3600
    health = call("show", "health", "--since", f"{NIGHT:%Y-%m-%dT%H}", "--grain", "hour", "-o", "json")
    lags = {row["Period"]: row["LagSeconds"] for row in rows_of(health.stdout) if row["Blobs"]}
    assert [lags[f"{hour:%Y-%m-%dT%H:%M:%SZ}"] is None for hour in (NIGHT, this_hour)] == [True, False]


# Was a day complete


def at(call: Call, moment: str, *options: str) -> tuple[int, Mapping[str, Any], dict[str, str]]:
    """The exit code, what was said, and the states by scope and hour."""
    done = call("status", "--at", moment, "-o", "json", *options)
    said = json.loads(done.stdout)
    names = [row["Scope"].rpartition("~")[2].rpartition("_")[2] for row in said["rows"]]
    states = {
        f"{name} {row['Hour'][11:13]}": row["State"] for name, row in zip(names, said["rows"], strict=True)
    }
    assert done.stderr.splitlines() == said["said"]
    assert said["complete"] is (done.exit_code == 0)
    return done.exit_code, said, states


def test_a_day_was_complete_also_when_its_blobs_are_gone(stores: Stores, call: Call) -> None:
    blobs = ((WEB, NIGHT), (DATA, NIGHT), (WEB, NIGHT - 5 * HOUR))
    for nic, of in blobs:
        stores.put(nic, of, one_record(of))
    stores.sweep(DAY)
    stores.rollup()
    complete = {"nsg-web 18": "complete", "nsg-web 23": "complete", "nsg-data 23": "complete"}
    day, hour = f"{NIGHT:%Y-%m-%d}", f"{NIGHT:%Y-%m-%dT%H}"
    assert at(call, day)[::2] == (0, complete)
    for nic, of in blobs:
        stores.flow_logs.service.get_blob_client(nic.container, nic.blob_name(of)).delete_blob()
    stores.sweep(DAY)
    code, said, states = at(call, day)
    assert (code, states, said["said"]) == (0, complete, [f"{day}: complete"])
    assert said["rows"][0]["Listed"] == said["rows"][0]["Blobs"] == said["rows"][0]["Tuples"] == 1
    assert at(call, hour)[2].keys() == {"nsg-web 23", "nsg-data 23"}
    assert at(call, f"{hour}:00Z")[0] == 0
    assert at(call, day, "--scope", "nsg-data")[2].keys() == {"nsg-data 23"}
    assert at(call, day, "--behind")[2] == {}
    assert at(call, f"{NIGHT - 6 * HOUR:%Y-%m-%dT%H}")[:1] == (0,), "there was no blob"


def test_what_is_not_known_is_said_to_be(stores: Stores, call: Call) -> None:
    stores.put(WEB, NIGHT, one_record())
    stores.sweep(NIGHT, NIGHT)
    stores.rollup()
    day = f"{NIGHT:%Y-%m-%d}"
    code, said, states = at(call, day)
    assert (code, states) == (1, {"nsg-web 23": "complete"})
    assert said["said"][0] == f"{day}: not known to be complete"
    assert "in 23 hours (00:00 to 22:00) not all accounts were searched" in said["said"][1]
    assert at(call, f"{NIGHT:%Y-%m-%dT%H}")[0] == 0
    assert at(call, "2020-01-01")[:1] == (1,)
    stores.sweep(DAY, NIGHT)
    assert at(call, day)[0] == 0


def test_what_is_behind_and_what_is_not_rolled_up_is_not_complete(stores: Stores, call: Call) -> None:
    for nic in (WEB, DATA):
        stores.put(nic, NIGHT, one_record())
    stores.sweep()
    stores.rollup()
    hour = f"{NIGHT:%Y-%m-%dT%H}"
    late = Nic("nsg-v2", "000D3A000009", "nsg-web")
    stores.put(late, NIGHT, one_record())
    spoil_entry(stores, stores.put(VNET, NIGHT, one_record()))
    call("sweep", *SINCE)
    missing = {"nsg-web 23": "not rolled up", "flowlog-hub 23": "behind"}
    code, said, states = at(call, hour)
    assert (code, states) == (1, {**missing, "nsg-data 23": "complete"})
    assert "`flowtally sweep" in said["said"][1]
    assert "run `flowtally rollup" in said["said"][2]
    assert at(call, hour, "--behind")[2] == missing
    call("rollup")
    assert at(call, hour, "--behind")[2] == {"flowlog-hub 23": "behind"}


def test_an_hour_that_is_not_over_is_not_complete(stores: Stores, call: Call) -> None:
    now = floor_hour(stores.flow_logs.now())
    stores.put(WEB, now, one_record(now))
    stores.sweep(now, now)
    stores.rollup()
    code, said, states = at(call, f"{now:%Y-%m-%dT%H}")
    assert (code, {*states.values()}) == (1, {"not over"})
    assert said["said"] == [f"{now:%Y-%m-%dT%H}: not over yet"]


def test_that_an_hour_was_looked_at_is_said_once(stores: Stores) -> None:
    stores.put(WEB, NIGHT, one_record())
    stores.sweep(DAY)
    found = stores.counts.findings(DAY, NIGHT + HOUR)
    assert {DAY, NIGHT, NIGHT + HOUR} <= {key.hour for key in found if key.scope}, "also without a blob"
    assert {DAY, NIGHT, NIGHT + HOUR} <= {key.hour for key in found if not key.scope}
    stores.sweep(DAY)
    assert stores.counts.findings(DAY, NIGHT + HOUR) == found


@pytest.mark.parametrize("text", ["2026", "yesterday", "24h", "2026-11-03T05:30", "1969-12-31", "2026-02-30"])
def test_a_day_or_hour_that_is_none_is_refused(call: Call, text: str) -> None:
    done = call("status", "--at", text)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "2026-11-03T05" in done.stderr


def test_a_day_has_no_other_times(call: Call) -> None:
    done = call("status", "--at", "2026-11-03", "--since", "2d")
    assert (done.exit_code, "leave since and until out" in done.stderr) == (2, True)


some_hours = st.integers(0, 23).map(lambda number: DAY + number * HOUR)
SCOPES = ("nsg~a", "nsg~b")


@given(
    st.sets(some_hours),
    st.dictionaries(
        st.tuples(st.sampled_from(SCOPES), some_hours),
        st.builds(
            SweepFinding,
            listed=st.integers(0, 3),
            behind=st.sampled_from([0, 0, 0, 1]),
            archived=st.sampled_from([0, 0, 0, 1]),
            looked_at=st.sampled_from([NIGHT + 30 * HOUR] * 5 + [DAY]),
        ),
    ),
    st.dictionaries(
        st.tuples(st.sampled_from(SCOPES), some_hours), st.tuples(st.integers(1, 3), st.booleans())
    ),
    st.integers(0, 60),
    st.booleans(),
)
def test_complete_is_what_was_looked_at_and_counted_and_merged_and_nothing_else(
    looked: set[datetime],
    found: dict[tuple[str, datetime], SweepFinding],
    counted: dict[tuple[str, datetime], tuple[int, bool]],
    age: int,
    looked_at_all: bool,
) -> None:
    every = [DAY + number * HOUR for number in range(24)]
    if looked_at_all:
        looked = {*every}
        nothing = SweepFinding(looked_at=NIGHT + 30 * HOUR)
        found = {(scope, hour): nothing for scope in SCOPES for hour in every} | found
    made = {
        (scope, hour): Indexed(
            "f", Health(blobs=blobs), as_of=hour + HOUR + OVER_AFTER - timedelta(seconds=early)
        )
        for (scope, hour), (blobs, early) in counted.items()
    }
    catalog = [{"Scope": scope, "FirstPeriod": DAY, "LastPeriod": NIGHT} for scope in SCOPES]
    now = DAY + age * HOUR
    day = Range("day", DAY, DAY + 24 * HOUR)
    judged: Completeness = judge(catalog, day, now, looked, found, made)
    missing = [
        key
        for key in ((scope, hour) for scope in SCOPES for hour in every)
        if (its := found.get(key, SweepFinding())).behind
        or its.archived
        or its.looked_at != NIGHT + 30 * HOUR
        or its.listed > counted.get(key, (0, True))[0]
        or (key in counted and counted[key][1])
    ]
    truth = now >= day.until + OVER_AFTER and len(looked) == 24 and not missing
    assert judged.is_complete == truth
    assert (
        next(iter(judged.say())).endswith(": complete") == (truth and bool(judged.hours)) or not judged.hours
    )
    states = {(each.scope, each.hour): each.state for each in judged.hours}
    assert {key for key, its in found.items() if its.listed} <= states.keys()
    assert made.keys() <= states.keys()
    for key, state in states.items():
        assert (state is State.COMPLETE) <= (key not in missing)

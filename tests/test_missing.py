"""What has been made and is gone: tables, rows, a part of the counts. It is found missing, and made anew."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from shared.counts.index import SweepFinding, day_period, hour_period
from shared.rollup import rollup
from shared.sweep import sweep
from shared.times import HOUR
from tests.system import (
    MARKER,
    NIGHT,
    Call,
    Stores,
    assert_same,
    assert_views_are_right,
    blob_of,
    create_all,
    flow,
    forget_results,
    record,
    results,
    rows_of,
)
from tools.network_watcher import Nic

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
SCOPE = "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web"
HOURS = (NIGHT - 30 * 24 * HOUR, NIGHT - HOUR, NIGHT)


@pytest.fixture
def rolled_up(stores: Stores, few_views: None) -> Stores:  # noqa: ARG001 -- it is there for what it does
    """Some hours of two scopes, the oldest of a month ago; what notes there were is dropped."""
    for hour in HOURS:
        for nic in (WEB, DATA):
            when = hour + HOUR / 30
            stores.count(nic, hour, blob_of(record(when, flow(when, port=80), flow(when, decision="D"), "?")))
    stores.rollup()
    for note in stores.ledger.late_notes()[0]:
        stores.ledger.drop_note(note)
    assert stores.rollup().hours == 0
    return stores


def delete_tables(*names: str) -> Callable[[Stores], None]:
    """Delete tables."""

    def delete(stores: Stores) -> None:
        for name in names:
            stores.tables.service.delete_table(name)

    return delete


def delete_rows(table: str, *words: str) -> Callable[[Stores], None]:
    """Delete the rows whose keys have all these words in them."""

    def delete(stores: Stores) -> None:
        gone = [key for key in rows_of(stores, table) if all(word in "/".join(key) for word in words)]
        assert gone
        for key in gone:
            stores.tables.table(table).delete_entity(*key)

    return delete


def empty_views(stores: Stores) -> None:
    """Delete each row of the views, and the one that marks the table."""
    delete_rows("flowstats", "~")(stores)
    stores.tables.table("flowstats").delete_entity(*MARKER)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(delete_tables("flowstats"), id="table of views"),
        pytest.param(delete_tables("flowcounts"), id="table of counts"),
        pytest.param(delete_tables("flowcounts", "flowstats"), id="both"),
        pytest.param(empty_views, id="all rows of views"),
    ],
)
def test_a_table_that_is_gone_is_made_anew_by_the_next_rollup(
    rolled_up: Stores, lose: Callable[[Stores], None]
) -> None:
    before = results(rolled_up)
    lose(rolled_up)
    assert rolled_up.rollup().hours == len(HOURS) * 2
    assert_same(results(rolled_up), before)
    assert_views_are_right(rolled_up)
    assert rolled_up.rollup().hours == 0


@pytest.mark.parametrize("dies_after", [1, 27])
def test_what_makes_a_lost_table_anew_goes_on_where_it_died(
    rolled_up: Stores, monkeypatch: pytest.MonkeyPatch, dies_after: int
) -> None:
    """It isn't begun again, nor ended too early: rollups may end at any time."""
    before, left = results(rolled_up), [dies_after]
    replace_rows = rolled_up.views.replace_rows

    class TimeIsUp(BaseException):
        pass

    def until(*arguments: Any) -> list[str]:
        left[0] -= 1
        if not left[0]:
            raise TimeIsUp
        return replace_rows(*arguments)

    delete_tables("flowstats")(rolled_up)
    create_all(rolled_up)
    with monkeypatch.context() as patch:
        patch.setattr(rolled_up.views, "replace_rows", until)
        with pytest.raises(TimeIsUp):
            rollup(rolled_up.ledger, rolled_up.counts, rolled_up.views)
    made = rolled_up.rollup()
    assert 0 < made.hours <= len(HOURS) * 2 - (dies_after > 1)
    assert_same(results(rolled_up), before)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(delete_rows("flowstats", SCOPE, "rules~hour", "0001"), id="row of a view"),
        pytest.param(delete_rows("flowstats", SCOPE, "rules~day", "0000"), id="first row of a view"),
        pytest.param(delete_rows("flowstats", SCOPE, "traffic~5m"), id="view"),
        pytest.param(delete_rows("flowstats", "all~nsg~health"), id="health of all"),
        pytest.param(delete_rows("flowcounts", SCOPE, "rules~h"), id="part of the counts"),
        pytest.param(delete_rows("flowcounts", SCOPE, "head~h"), id="head of the counts"),
        pytest.param(delete_rows("flowcounts", SCOPE, "~d"), id="counts of a day"),
        pytest.param(delete_rows("flowcounts", "~scopes"), id="catalog"),
    ],
)
def test_rows_that_are_gone_are_made_anew_by_rollup_again(
    rolled_up: Stores, call: Call, lose: Callable[[Stores], None]
) -> None:
    before, catalog = results(rolled_up), rolled_up.counts.catalog()
    lose(rolled_up)
    done = call("rollup", "--again")
    assert (done.exit_code, done.stderr) == (0, "")
    assert_same(results(rolled_up), before)
    assert rolled_up.counts.catalog() == catalog


def test_an_hour_that_the_index_does_not_know_is_made_by_any_rollup(rolled_up: Stores) -> None:
    delete_rows("flowcounts", f"{hour_period(NIGHT).index}/", SCOPE)(rolled_up)
    assert rolled_up.rollup(since=NIGHT).hours == 1
    assert_views_are_right(rolled_up)


def test_a_day_whose_hours_are_not_all_there_is_not_made_of_the_others(rolled_up: Stores) -> None:
    """It is said which counts are missing, and what makes them anew; that does."""
    delete_rows("flowcounts", SCOPE, f"talkers~{hour_period(NIGHT - HOUR).key}")(rolled_up)
    rolled_up.count(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT, port=25))))
    done = rollup(rolled_up.ledger, rolled_up.counts, rolled_up.views, NIGHT)
    assert [str(error) for _, error in done.failed if "flowtally rollup --again" in str(error)]
    assert [name for name, _ in done.failed] == [f"{SCOPE}~{day_period(NIGHT).key[1:]}"]
    rolled_up.rollup(again=True)
    assert_views_are_right(rolled_up)


def test_what_the_ledger_has_no_more_of_is_left_as_it_is_and_said(rolled_up: Stores, call: Call) -> None:
    before = results(rolled_up)
    delete_rows("flowledger", SCOPE, "~2026103122~")(rolled_up)
    done = call("rollup", "--again")
    assert f"left as it is, as nothing of it is in the ledger any more: {SCOPE}~2026103122" in done.stderr
    assert done.exit_code == 0
    after = results(rolled_up)
    assert (after.counts, after.stats) == (before.counts, before.stats)


def test_again_and_since_are_not_asked_for_together(call: Call) -> None:
    done = call("rollup", "--again", "--since", "2d")
    assert (done.exit_code, "leave --since out" in done.stderr) == (2, True)


# What sweeps find


def findings(stores: Stores) -> dict[tuple[str, datetime], SweepFinding]:
    """What the index says that sweeps have found, by scope (none for the account) and hour."""
    found = stores.counts.findings(NIGHT - 24 * HOUR, NIGHT + HOUR)
    return {(key.scope, key.hour): its for key, (its, _) in found.items()}


def test_what_a_sweep_has_found_of_an_hour_stays_when_its_blobs_are_gone(stores: Stores) -> None:
    data = blob_of(record(NIGHT, flow(NIGHT)))
    stores.put(WEB, NIGHT, data)
    stores.sweep()
    found = findings(stores)
    its = found[SCOPE, NIGHT]
    assert (its.listed, its.bytes, its.behind, its.bytes_behind) == (1, len(data), 0, 0)
    assert its.looked_at
    blobs = stores.flow_logs.service.get_container_client(WEB.container)
    blobs.delete_blob(WEB.blob_name(NIGHT))
    stores.sweep()
    assert findings(stores) == found


def test_a_sweep_finds_no_table(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.sweep()
    found = findings(stores)
    stores.tables.service.delete_table("flowcounts")
    stores.sweep()
    assert findings(stores).keys() == found.keys()


def test_what_is_behind_is_said_until_it_is_counted(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.put(Nic("nsg-v2", "000D3A000009", "nsg-web"), NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    fails, commit = iter([True]), stores.ledger.commit

    def fail_once(*arguments: Any) -> datetime:
        if next(fails, False):
            raise OSError("out of order")
        return commit(*arguments)

    monkeypatch.setattr(stores.ledger, "commit", fail_once)
    assert len(sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT).failed) == 1
    its = findings(stores)[SCOPE, NIGHT]
    assert (its.listed, its.behind) == (2, 1)
    assert 0 < its.bytes_behind < its.bytes
    stores.sweep()
    assert findings(stores)[SCOPE, NIGHT].behind == 0


def test_a_sweep_that_finds_what_is_known_writes_nothing(stores: Stores) -> None:
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.sweep()
    before = rows_of(stores, "flowcounts")
    stores.sweep()
    assert rows_of(stores, "flowcounts") == before


def test_a_sweep_that_is_late_does_not_write_over_what_a_newer_one_has_found(
    stores: Stores, other_host: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    keep = stores.counts.keep_findings

    def keep_late(*arguments: Any) -> None:
        stores.put(DATA, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
        stores.put(WEB, NIGHT, blob_of(*[record(NIGHT, flow(NIGHT))] * 2))
        other_host.sweep()
        keep(*arguments)

    monkeypatch.setattr(stores.counts, "keep_findings", keep_late)
    stores.sweep()
    assert findings(stores)[SCOPE, NIGHT].bytes == len(blob_of(*[record(NIGHT, flow(NIGHT))] * 2))
    forget_results(stores)

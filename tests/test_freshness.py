"""Freshness over HTTP: what sweeps, the rollup and all work have left tells it, and no blob is listed."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.counts.work import Work
from shared.freshness import SWEPT_WITHIN, Freshness, compute_freshness
from shared.http_api import status
from shared.status import ROLLED_UP_WITHIN
from shared.sweep import sweep
from shared.times import HOUR, floor_hour
from shared.views.query import Range
from tests.system import NIGHT, Stores, blob_of, flow, record
from tests.test_sweep import spoil_entry
from tools.azurite import ACCOUNT
from tools.network_watcher import Nic
from tools.proxy import Traffic

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
VNET = Nic("vnet-v4", "000D3A000004", "flowlog-hub")
DAY = Range("hour", NIGHT.replace(hour=0), NIGHT + HOUR)
MINUTE = timedelta(minutes=1)


def one_record(hour: datetime = NIGHT) -> bytes:
    return blob_of(record(hour, flow(hour)))


def fresh(
    stores: Stores, *scopes: str, period: Range = DAY, accounts: Sequence[str] = (ACCOUNT,)
) -> Freshness:
    return compute_freshness(stores.counts, accounts, period, stores.counts.now(), scopes)


def totals(found: Freshness, name: str) -> dict[str, int]:
    return {each["Kind"]: each[name] for each in found.totals()}


def test_it_tells_what_sweeps_found_and_what_was_made_of_it(stores: Stores) -> None:
    for nic in (WEB, DATA):
        stores.put(nic, NIGHT, one_record())
    stores.sweep()
    stores.rollup()
    stores.swept_at(stores.counts.now())
    found = fresh(stores)
    rows = {each.scope.rpartition("~")[2]: each.row() for each in found.hours}
    assert rows.keys() == {"nsg-web", "nsg-data"}
    for row in rows.values():
        assert (row["Listed"], row["Blobs"], row["Tuples"], row["Behind"]) == (1, 1, 1, 0)
        assert row["Bytes"] == len(one_record())
        assert row["LookedAt"] <= found.swept_at
    assert (totals(found, "Blobs"), totals(found, "Behind")) == ({"nsg": 2, "vnet": 0}, {"nsg": 0, "vnet": 0})
    assert (found.problems, found.behind()) == ([], [])
    assert [each.scope.rpartition("~")[2] for each in fresh(stores, "nsg-web").hours] == ["nsg-web"]


def test_what_a_sweep_could_not_count_is_behind(stores: Stores) -> None:
    stores.put(WEB, NIGHT, one_record())
    spoil_entry(stores, stores.put(DATA, NIGHT, one_record()))
    assert sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT, NIGHT).failed
    found = fresh(stores)
    assert [each.scope.rpartition("~")[2] for each in found.behind()] == ["nsg-data"]
    assert totals(found, "Behind")["nsg"] == len(one_record())


def test_it_lists_no_blob_and_costs_as_many_requests_whatever_there_is(
    counted_stores: tuple[Stores, Traffic],
) -> None:
    stores, traffic = counted_stores

    def cost() -> int:
        traffic.clear()
        found = status(stores.counts, [ACCOUNT])({}, stores.counts.now())
        assert json.loads(found.body)["rows"]
        assert all(f"{ACCOUNT}/flow" in each.path for each in traffic.requests), "tables alone"
        return len(traffic.requests)

    hour = floor_hour(stores.flow_logs.now())
    stores.put(WEB, hour, one_record(hour))
    stores.sweep(hour, hour)
    stores.rollup()
    first = cost()
    for nic in (DATA, VNET):
        for back in range(3):
            stores.put(nic, hour - back * HOUR, one_record(hour - back * HOUR))
    stores.sweep(hour - 3 * HOUR, hour)
    stores.rollup()
    assert cost() == first <= 6


def work_of(now: datetime, **more: Any) -> list[Work]:
    """A sweep of each of two flow logs, and their rollups."""
    return [
        Work("account", ACCOUNT, looked_at=now),
        *(Work("sweep", f"{ACCOUNT}~nsg~x~{name}", said="[]", began=now) for name in "ab"),
        *(Work("roll-up", f"nsg~x~{name}", looked_at=now) for name in "ab"),
        *more.values(),
    ]


def test_work_that_fails_or_rests_or_has_not_begun_for_long_is_a_problem(stores: Stores) -> None:
    now = stores.counts.now()
    stores.counts.work.keep(work_of(now - MINUTE))
    assert fresh(stores).problems == []
    since = f"{now - HOUR:%Y-%m-%d %H:%MZ}"
    failing = [Work("join", f"nsg~{number}", failed_since=now - HOUR, why="no") for number in range(5)]
    stores.counts.work.keep(failing)
    assert fresh(stores).problems == [
        *(f"join of nsg~{number} has failed since {since}: no" for number in range(3)),
        "2 more pieces of work fail",
    ]
    for each in failing:
        stores.counts.work.drop(stores.counts.work.get("join", each.what))
    resting = Work("sweep", f"{ACCOUNT}~nsg~x~a", said="[]", began=now - 11 * MINUTE, tries=3)
    stores.counts.work.keep([resting])
    (said,) = fresh(stores).problems
    assert said.startswith(f"sweep of nsg~x~a in {ACCOUNT} has begun 3 times and never come to its end")
    stores.counts.work.keep(work_of(now - SWEPT_WITHIN - MINUTE))
    standing, late = fresh(stores).problems
    assert standing.startswith(f"not begun for 2 hours: account {ACCOUNT} and 2 more, the last time at ")
    assert late.startswith("counts of ")


def test_counts_are_late_if_a_scope_whose_flow_log_is_swept_was_not_rolled_up(stores: Stores) -> None:
    now = stores.counts.now()
    gone = Work("roll-up", "nsg~x~gone", looked_at=now - 99 * HOUR)
    stores.counts.work.keep(work_of(now, gone=gone))
    found = fresh(stores)
    assert (found.problems, found.counts_of) == ([], now)
    late = now - ROLLED_UP_WITHIN - MINUTE
    stores.counts.work.keep([Work("roll-up", "nsg~x~a", looked_at=late)])
    found = fresh(stores)
    assert found.counts_of == late
    (said,) = found.problems
    assert said.startswith(f"counts of {late:%Y-%m-%d %H:%M}: answers lack what was counted since; ")


def test_an_account_that_no_sweep_has_looked_at_is_a_problem_a_removed_one_is_none(
    stores: Stores,
) -> None:
    now = stores.counts.now()
    stores.counts.work.keep(work_of(now, failing=Work("account", "removed", failed_since=now, why="no")))
    assert fresh(stores).problems == []
    (said,) = fresh(stores, accounts=[ACCOUNT, "newlogs"]).problems
    assert said == "the app's sweeps have not looked for the flow logs of newlogs yet"


def test_nothing_is_known_before_the_first_sweep(stores: Stores) -> None:
    found = fresh(stores)
    assert (found.swept_at, found.counts_of, found.hours) == (None, None, [])

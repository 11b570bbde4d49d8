"""All scopes of a kind together: what each has is added up, and it is known how many have a key."""

import random
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from shared.counts.index import all_of, day_period, hour_period, is_all, kind_of_all, read_partition
from shared.entities import from_chunks
from shared.flowlog.blob_name import CONTAINERS
from shared.join import Joiner, kind_and_day
from shared.periods import PeriodMaker
from shared.rollup import roll_up, rollup
from shared.tally.chosen import unpack_part
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import to_columns, to_figures
from shared.tally.packing import pack, unpack
from tests import naive
from tests.strategies import shrink_families
from tests.system import (
    HOUR,
    NIGHT,
    Stores,
    assert_views_are_right,
    blob_of,
    flow,
    record,
    results,
    rows_of,
)
from tools.network_watcher import Nic, hour_of, whole_blob

WEB, DATA, APP = (
    Nic("nsg-v2", f"000D3A00000{number}", name)
    for number, name in enumerate(("nsg-web", "nsg-data", "nsg-app"))
)
HUB, SPOKE = Nic("vnet-v4", "000D3A000011", "flowlog-hub"), Nic("vnet-v4", "000D3A000012", "flowlog-spoke")
NSGS, VNETS = all_of("nsg"), all_of("vnet")

pytestmark = pytest.mark.usefixtures("few_views")


def put(stores: Stores, nic: Nic, hour: datetime, *ports: int) -> None:
    """A blob with a flow to each of these ports, each in a record of its own."""
    stores.put(nic, hour, blob_of(*(record(hour, flow(hour, port=port)) for port in ports)))


def ports_of(stores: Stores, everyone: str, period: Any) -> dict[int, tuple[int, int]]:
    """Of each allowed port the tuples and the scopes."""
    unpack = partial(unpack_part, name="allowed-ports")
    ((_, chosen),) = stores.counts.unpacked(everyone, "allowed-ports", period, period, unpack)
    rows = zip(chosen.keys(), chosen.sums(), chosen.scopes.tolist(), strict=True)
    return {int(key[1]): (to_figures(sums)[0], scopes) for key, sums, scopes in rows}


def test_no_scope_is_taken_for_all_of_a_kind() -> None:
    assert [(all_of(kind), is_all(all_of(kind)), kind_of_all(all_of(kind))) for kind in CONTAINERS] == [
        ("all~nsg", True, "nsg"),
        ("all~vnet", True, "vnet"),
    ]
    assert not any(map(is_all, ("nsg~all", "vnet~all~nsg", "found~all~nsg", "all")))


def test_each_key_knows_how_many_scopes_have_it(stores: Stores) -> None:
    """Of a day, only as many as have it in one of its hours."""
    for nic, hour, ports in (
        (WEB, NIGHT, (443, 443, 22)),
        (DATA, NIGHT, (443, 5432)),
        (APP, NIGHT - HOUR, (443, 8080)),
        (WEB, NIGHT - HOUR, (22,)),
    ):
        put(stores, nic, hour, *ports)
    stores.sweep()
    stores.rollup()
    assert ports_of(stores, NSGS, hour_period(NIGHT)) == {443: (3, 2), 22: (1, 1), 5432: (1, 1)}
    assert ports_of(stores, NSGS, day_period(NIGHT)) == {
        443: (4, 2),
        22: (2, 1),
        5432: (1, 1),
        8080: (1, 1),
    }
    assert_views_are_right(stores)
    row = stores.counts.catalog_of_all()["nsg"]
    assert (row["FirstPeriod"], row["LastPeriod"], row["Scopes"]) == (NIGHT - HOUR, NIGHT, 3)
    assert row.keys() >= {"Scope", "Kind"}
    assert stores.counts.catalog_of_all().keys() == {"nsg"}
    assert len(stores.counts.catalog()) == 3


@pytest.mark.parametrize("seed", range(6))
def test_all_scopes_together_have_what_a_naive_count_of_each_adds_up_to(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In random worlds, of which half have more keys than are kept: then within what is dropped."""
    rng = random.Random(seed)
    keys = rng.randint(3, 30) if seed % 2 else 0
    if keys:
        shrink_families(monkeypatch, keys)
    nics = [WEB, DATA, APP, replace(WEB, mac="000D3A0000FF"), HUB, SPOKE]
    for nic in rng.sample(nics, rng.randint(3, len(nics))):
        for hour in rng.sample([NIGHT - 30 * HOUR, NIGHT - HOUR, NIGHT, NIGHT + HOUR], rng.randint(1, 3)):
            minutes = hour_of(nic, hour, seed=rng.randint(0, 2), tuples_per_minute=3, minutes=9, bad=0.05)
            stores.count(nic, hour, whole_blob(minutes)[0])
    stores.rollup()
    if not keys:
        assert_views_are_right(stores)
    assert_all_are_true(stores, dropped=bool(keys))
    assert stores.rollup(NIGHT - 48 * HOUR).of_all == 0


def assert_all_are_true(stores: Stores, *, dropped: bool) -> None:
    """Rows and rest are the total of all scopes; a row is less than its key's truth by what it has missed at
    the most, and no more scopes have it than really do.
    """
    truth = naive.count(stores.blobs()).of_all()
    some_dropped = False
    for (scope, row_key), row in results(stores).counts.items():
        view, _, period = row_key.rpartition("~")
        if not is_all(scope) or view == "traffic":
            continue
        begins = read_partition(f"~{period[1:]}")
        its = truth[scope, view, begins.grain, begins.begin]
        family = unpack(from_chunks(row))[0].families[view]
        some_dropped |= family.floor > 0
        rows = {each.key: figures_of(each.figures) for each in family.rows()}
        total = [
            sum(column) for column in zip(*rows.values(), figures_of(to_figures(family.rest)), strict=True)
        ]
        assert total == [
            sum(column) for column in zip(*(figures for figures, _ in its.values()), strict=True)
        ]
        for key, figures in rows.items():
            said, true = naive.weight(view, figures), naive.weight(view, its[key][0])
            assert said <= true <= said + family.missed.get(key, 0)
            assert 1 <= family.scopes[key] <= its[key][1]
    assert some_dropped is dropped


def figures_of(figures: list[int]) -> list[int]:
    columns = to_columns(figures)
    return [columns[name] for name in naive.MEASURES]


def test_a_late_change_of_one_scope_changes_all_of_its_kind(stores: Stores) -> None:
    for nic in (WEB, DATA, HUB):
        put(stores, nic, NIGHT, 443)
    stores.sweep()
    assert stores.rollup().of_all == 4
    put(stores, DATA, NIGHT, 443, 22)
    stores.sweep()
    assert stores.rollup().of_all == 2
    assert ports_of(stores, NSGS, day_period(NIGHT)) == {443: (2, 2), 22: (1, 1)}
    assert ports_of(stores, VNETS, day_period(NIGHT)) == {443: (1, 1)}
    assert_views_are_right(stores)
    assert stores.rollup(NIGHT).of_all == 0


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_part_of_a_scope_that_can_not_be_read_fails_that_hour_and_nothing_else(
    stores: Stores, how: str
) -> None:
    for hour in (NIGHT - HOUR, NIGHT):
        for nic in (WEB, DATA, HUB):
            put(stores, nic, hour, 443)
    stores.sweep()
    stores.rollup()
    (scope,) = (each for each in stores.counts.catalog() if each.endswith("nsg-web"))
    table, key = stores.tables.table("flowcounts"), f"rules~{hour_period(NIGHT).key}"
    table.delete_entity(scope, key)
    if how == "damaged":
        table.create_entity({"PartitionKey": scope, "RowKey": key, "Counts00": b"none"})
    for nic in (DATA, HUB):
        for hour in (NIGHT - HOUR, NIGHT):
            put(stores, nic, hour, 443, 22)
    stores.sweep()
    done = rollup(stores.ledger, stores.counts, stores.views)
    ((name, error),) = done.failed
    assert name == f"{NSGS}~{hour_period(NIGHT).key[1:]}"
    assert scope in str(error)
    assert "flowtally rollup --again" in str(error)
    assert ports_of(stores, NSGS, hour_period(NIGHT - HOUR)) == {443: (2, 2), 22: (1, 1)}
    assert ports_of(stores, NSGS, hour_period(NIGHT)) == {443: (2, 2)}
    assert ports_of(stores, VNETS, day_period(NIGHT)) == {443: (2, 1), 22: (2, 1)}
    stores.rollup(again=True)
    assert_views_are_right(stores)


def test_counts_that_are_not_those_of_the_index_are_made_anew_before_all_are(stores: Stores) -> None:
    """However they came there."""
    for nic in (WEB, DATA):
        put(stores, nic, NIGHT, 443)
    stores.sweep()
    stores.rollup()
    (scope,) = (each for each in stores.counts.catalog() if each.endswith("nsg-web"))
    head = stores.counts.head(scope, hour_period(NIGHT))
    name, nothing = "allowed-ports", pack({0: HourCounts()})
    parts = {**head.parts, name: replace(head.parts[name], digest="another")}
    other = replace(head, fingerprint="of the dead", parts=parts)
    stores.counts.store(scope, hour_period(NIGHT), other, {name: nothing})
    put(stores, DATA, NIGHT, 443, 22)
    stores.sweep()
    assert stores.rollup().hours == 2
    assert_views_are_right(stores)


def test_all_are_made_anew_by_rollup_again(stores: Stores) -> None:
    for nic in (WEB, DATA, HUB):
        put(stores, nic, NIGHT, 443)
    stores.sweep()
    stores.rollup()
    before, catalog = results(stores), stores.counts.catalog_of_all()
    for partition, row_key in rows_of(stores, "flowcounts"):
        if is_all(partition) or is_all(row_key):
            stores.tables.table("flowcounts").delete_entity(partition, row_key)
    stores.rollup(again=True)
    assert (results(stores), stores.counts.catalog_of_all()) == (before, catalog)


def test_the_catalog_says_from_when_on_all_are_made_only_when_they_are(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier days are added from the first on: before the last of them is made, not all are there."""
    put(stores, WEB, NIGHT, 443)
    stores.sweep()
    stores.rollup()
    days = [NIGHT - number * 24 * HOUR for number in (4, 3, 2)]
    for day in days:
        put(stores, WEB, day, 443)
    stores.sweep(days[0])
    said: list[datetime] = []
    scopes_of = stores.counts.scopes_of

    def note_what_is_said(hour: datetime, kind: Any) -> Any:
        said.append(stores.counts.catalog_of_all()["nsg"]["FirstPeriod"])
        return scopes_of(hour, kind)

    monkeypatch.setattr(stores.counts, "scopes_of", note_what_is_said)
    stores.rollup()
    assert said == [NIGHT] * 3
    assert stores.counts.catalog_of_all()["nsg"]["FirstPeriod"] == days[0]


def test_a_backfill_that_is_not_joined_yet_does_not_hold_up_later_hours(stores: Stores) -> None:
    for nic in (WEB, DATA):
        put(stores, nic, NIGHT, 443)
    stores.sweep()
    stores.rollup()
    put(stores, WEB, NIGHT + HOUR, 443)
    stores.sweep()
    scope = next(each for each in stores.ledger.scopes() if WEB.group in each)
    roll_up(scope, stores.ledger, stores.counts, stores.views, stores.counts.work.get("roll-up", scope))
    stores.counts.note_to_join("nsg", [hour_period(NIGHT - 48 * HOUR)])
    now, marker = stores.counts.now(), stores.views.marker()
    joiner = Joiner(PeriodMaker(stores.ledger, stores.counts, stores.views, now, marker, again=False))

    def said() -> tuple[datetime, datetime]:
        joiner.describe("nsg")
        row = stores.counts.catalog_of_all()["nsg"]
        return row["FirstPeriod"], row["LastPeriod"]

    assert said() == (NIGHT, NIGHT), "the hour after that is made of a scope, and not yet of all"
    day = day_period(NIGHT + HOUR)
    notes = [note for note in stores.counts.to_join() if kind_and_day(note) == ("nsg", day)]
    assert not joiner.join("nsg", day, notes).failed
    assert said() == (NIGHT, NIGHT + HOUR)

"""Pruning: whole days go; of what is kept nothing changes, whoever counts, merges or prunes again or dies."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count as numbers
from typing import Any

import pytest

from shared import prune as job
from shared.counts.index import read_partition
from shared.errors import Unavailable
from shared.ledger.store import LATE, PRUNED
from shared.prune import Pruned, prune
from shared.rollup import rollup
from shared.times import DAY, HOUR
from shared.views.asking import ask
from shared.views.composed import read_pair
from shared.views.query import read_query
from tests.system import (
    Call,
    Killed,
    Rows,
    Stores,
    assert_same_rows,
    blob_of,
    create_all,
    dies_at_write,
    flow,
    forget_all,
    host,
    record,
    rows_of,
)
from tests.test_late_rollups import frozen_at_request, index_read
from tools.azurite import ACCOUNT
from tools.network_watcher import Nic

FIRST, SECOND, THIRD = (datetime(2026, 9, day, tzinfo=UTC) for day in (10, 11, 12))
"""Three days, more than 30 days before these tests were written."""

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
HOURS = (
    *(FIRST + 23 * HOUR, SECOND, SECOND + 5 * HOUR, SECOND + 23 * HOUR),
    *(THIRD, THIRD + HOUR, THIRD + 7 * HOUR),
)


def old_blob(hour: datetime) -> bytes:
    """An hour's blob, with tuples of the hour before and of the one after, too."""
    times = hour - timedelta(seconds=30), hour + timedelta(minutes=9), hour + timedelta(minutes=61)
    flows = [flow(when, port=80 + number) for number, when in enumerate(times)]
    return blob_of(record(hour + timedelta(minutes=30), *flows, flow(times[1], port=22, decision="D")))


def count_old_days(
    stores: Stores, *nics: Nic, hours: Sequence[datetime] = HOURS, keep_blobs: bool = False
) -> None:
    """Count and merge these hours of the three days; then delete their blobs."""
    for nic in nics:
        for hour in hours:
            stores.count(nic, hour, old_blob(hour))
    stores.rollup()
    if not keep_blobs:
        delete_blobs(stores)


def delete_blobs(stores: Stores) -> None:
    """Delete all blobs, as a rule of the account's life cycle does."""
    for name in [*stores.blobs()]:
        stores.flow_logs.service.get_blob_client(WEB.container, name).delete_blob()


def prune_it(
    stores: Stores, before: datetime, *, force: bool = False, dry_run: bool = False
) -> dict[str, Pruned]:
    """Prune, with nothing failing; what was pruned, by scope."""
    its = [stores.flow_logs], stores.ledger, stores.counts, stores.views
    done = prune(*its, before, force=force, dry_run=dry_run)
    assert done.failed == [], done.failed[:3]
    return {each.scope: each for each in done.pruned}


type Tables = dict[str, Rows]


def tables_of(stores: Stores) -> Tables:
    """All that the tables hold, but notes, and what is known of work."""
    found = {name: rows_of(stores, name) for name in ("flowledger", "flowcounts", "flowstats")}
    return {
        name: {key: row for key, row in rows.items() if key[0] not in (LATE, "~work", "~to-join")}
        for name, rows in found.items()
    }


def kept(tables: Tables, day: datetime) -> Tables:
    """Those rows that pruning before this day leaves: what is from then on, the ledger's last hour before it,
    the index and the catalog; of these not what pruning says.
    """
    return {
        "flowledger": {
            key: row
            for key, row in tables["flowledger"].items()
            if key[0] != PRUNED and key[0].split("~")[-2] >= f"{day - HOUR:%Y%m%d%H}"
        },
        "flowcounts": {
            key: without(row, "PrunedBefore")
            for key, row in tables["flowcounts"].items()
            if key[0].startswith("~") or read_partition(key[1].rpartition("~")[2][1:]).begin >= day
        },
        "flowstats": {key: row for key, row in tables["flowstats"].items() if key[1] >= f"{day:%Y%m%d%H%M}"},
    }


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def what_was_made(tables: Tables) -> Tables:
    """Without when and with which ETags it was written."""
    return {
        name: {key: without(row, "AsOf", "Written", "LagSeconds") for key, row in rows.items()}
        for name, rows in tables.items()
    }


def assert_same_tables(got: Tables, wanted: Tables) -> None:
    for name, rows in wanted.items():
        assert_same_rows(got[name], rows, name)


def assert_pruned(stores: Stores, before: Tables, day: datetime) -> None:
    """There is what was there from that day on, to the byte, and nothing older but index and catalog."""
    now = tables_of(stores)
    wanted = kept(before, day)
    assert_same_tables(kept(now, day), wanted)
    marks = {key for key in now["flowledger"] if key[0] == PRUNED}
    assert now["flowledger"].keys() - marks == wanted["flowledger"].keys()
    for name in ("flowcounts", "flowstats"):
        assert now[name].keys() == wanted[name].keys(), name


@pytest.mark.usefixtures("few_views")
def test_whole_days_go_and_nothing_else_changes(stores: Stores) -> None:
    count_old_days(stores, WEB, DATA, keep_blobs=True)
    stores.sweep(FIRST, THIRD + DAY)  # what sweeps found stays, too
    delete_blobs(stores)
    before = tables_of(stores)
    would = prune_it(stores, THIRD + 9 * HOUR, dry_run=True)
    assert_same_tables(tables_of(stores), before)
    done = prune_it(stores, THIRD + 9 * HOUR)
    assert done == would, "a dry run says what will be deleted"
    assert_pruned(stores, before, THIRD)
    after = tables_of(stores)
    for name, figure in (("flowledger", "entries"), ("flowcounts", "counts"), ("flowstats", "rows")):
        many = sum(getattr(each, figure) for each in done.values())
        gone = before[name].keys() - after[name].keys()
        assert many == len(gone) > 0, name
    again = prune_it(stores, THIRD)
    assert [(each.before, each.entries, each.counts, each.rows) for each in again.values()] == [
        (THIRD, 0, 0, 0)
    ] * 3
    assert_same_tables(tables_of(stores), after)
    web, data, everyone = sorted(done, key=lambda scope: (scope.startswith("all~"), scope), reverse=False)
    assert everyone == "all~nsg"
    assert {done[scope].entries for scope in (web, data)} == {3}, "the last hour before the day stays"


@pytest.mark.usefixtures("few_views")
@pytest.mark.parametrize("way", ["as usual", "since", "again", "of new tables"])
def test_rollups_leave_what_was_pruned_alone_and_make_the_same_of_what_is_kept(
    stores: Stores, way: str
) -> None:
    count_old_days(stores, WEB, DATA)
    before = tables_of(stores)
    pruned = prune_it(stores, THIRD)
    scopes = {scope: THIRD for scope in pruned if not scope.startswith("all~")}
    after = what_was_made(tables_of(stores))
    if way == "of new tables":
        stores.tables.service.delete_table("flowcounts")
        stores.tables.service.delete_table("flowstats")
        create_all(stores)
        done = stores.rollup()
        now = tables_of(stores)
        catalog = {key: row["PrunedBefore"] for key, row in now["flowcounts"].items() if key[0] == "~scopes"}
        assert catalog == {("~scopes", scope): THIRD for scope in pruned}
        wanted = {
            name: {key: row for key, row in rows.items() if "Counts00" in row or name == "flowstats"}
            for name, rows in kept(before, THIRD).items()
        }
        got = {
            name: {key: row for key, row in rows.items() if key in wanted[name]} for name, rows in now.items()
        }
        assert_same_tables(what_was_made(got), what_was_made(wanted))
        assert now["flowstats"].keys() == wanted["flowstats"].keys()
    else:
        done = stores.rollup(FIRST if way == "since" else None, again=way == "again")
        assert (done.hours == 0) is (way != "again")
        assert_same_tables(what_was_made(tables_of(stores)), after)
    assert done.left == []
    assert done.pruned == ({} if way == "as usual" else scopes)


@pytest.mark.usefixtures("few_views")
def test_an_old_blob_that_is_still_listed_is_not_counted_again(stores: Stores) -> None:
    count_old_days(stores, WEB, keep_blobs=True)
    before = tables_of(stores)
    prune_it(stores, THIRD, force=True)
    assert_pruned(stores, before, THIRD)
    after = tables_of(stores)
    swept = stores.sweep(FIRST, THIRD + DAY)
    assert (swept.listed, swept.behind) == (3, 0)
    stores.put(WEB, SECOND + 6 * HOUR, old_blob(SECOND + 6 * HOUR))
    stores.put(WEB, THIRD + 8 * HOUR, old_blob(THIRD + 8 * HOUR))
    assert stores.sweep(FIRST, THIRD + DAY).behind == 1, "what is younger is"
    stores.rollup()
    now = tables_of(stores)
    assert {key for key in now["flowledger"].keys() - after["flowledger"].keys() if key[0] != LATE} == {
        (key[0].replace(f"{THIRD:%Y%m%d}07", f"{THIRD:%Y%m%d}08"), ACCOUNT)
        for key in after["flowledger"]
        if f"~{THIRD:%Y%m%d}07~" in key[0]
    }
    assert not any(key[1] < f"{THIRD:%Y%m%d}" for key in now["flowstats"])


@pytest.mark.usefixtures("fewest_views")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("written", [False, True], ids=["before it writes", "after it has written"])
def test_one_that_dies_at_any_of_its_writes_is_gone_on_with(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, *, written: bool
) -> None:
    """What answers have and what rollups make is right in between, and then nothing is left."""
    step = 1 if pytestconfig.getoption("--effort") > 100 else 8
    wanted: dict[str, Any] = {}
    for number in numbers(0 if written else 2, step):
        forget_all(stores)
        create_all(stores)
        count_old_days(stores, WEB)
        before = tables_of(stores)
        with host(stores.connection_string) as dying, monkeypatch.context() as patch:
            dies_at_write(patch, number, written=written)
            with suppress(Killed):
                prune([dying.flow_logs], dying.ledger, dying.counts, dying.views, THIRD)
                assert number > 15
                return
        with host(stores.connection_string) as other:
            said = talkers(other)
            wanted = wanted or talkers(other, since=THIRD)
            # Until it is written down all is there; from then on nothing older is answered.
            assert len(said["rows"]) == 3 * len(wanted["rows"]) or said["rows"] == wanted["rows"], number
            other.rollup(again=True)
            assert_same_tables(
                what_was_made(kept(tables_of(other), THIRD)), what_was_made(kept(before, THIRD))
            )
        before = tables_of(stores)
        prune_it(stores, THIRD)
        assert_pruned(stores, before, THIRD)


def talkers(stores: Stores, since: datetime = FIRST) -> dict[str, Any]:
    """How many of each hour, as an answer has it, and what it notes."""
    given = {"since": [since.isoformat()], "until": [(THIRD + DAY).isoformat()], "grain": ["day"]}
    answer = ask(stores.counts, stores.ledger, read_query("rules", given, datetime.now(UTC)))
    return {"rows": [row for row in answer.rows if not row["IsRest"]], "notes": answer.notes}


@pytest.mark.usefixtures("fewest_views")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("again", [False, True])
def test_a_rollup_that_is_frozen_while_what_it_makes_is_pruned(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, *, again: bool
) -> None:
    """The index says of each hour what it did, and what is left over goes the next time.

    Pruning writes nothing to the index, so a rollup reads the same of it before and after.
    """
    step = 1 if pytestconfig.getoption("--effort") > 100 else 25 if again else 6
    late = SECOND + 5 * HOUR
    for number in numbers(1, step):
        forget_all(stores)
        create_all(stores)
        count_old_days(stores, WEB, hours=(FIRST + 23 * HOUR, late, THIRD - HOUR, THIRD))
        if not again:
            stores.count(WEB, late, blob_of(record(late, flow(late), flow(late))))
            delete_blobs(stores)
        before = tables_of(stores)
        with host(stores.connection_string) as frozen, host(stores.connection_string) as other:

            def overtake(other: Stores = other) -> None:
                prune_it(other, THIRD)

            with monkeypatch.context() as patch:
                reached = frozen_at_request(
                    patch, number, overtake, dies=False, reads_alike=lambda url: bool(index_read(url))
                )
                done = rollup(frozen.ledger, frozen.counts, frozen.views, again=again)
            if not reached:
                assert number > 9
                return
            assert done.failed == []
            prune_it(other, THIRD)
        now = tables_of(stores)
        for name, rows in kept(now, THIRD).items():
            marks = {key for key in now[name] if key[0] == PRUNED}
            assert now[name].keys() - marks == rows.keys(), (name, number)
        assert_same_rows(kept(now, THIRD)["flowledger"], kept(before, THIRD)["flowledger"], "ledger")
        for key, row in kept(before, THIRD)["flowcounts"].items():
            if key[0].startswith(f"~{FIRST:%Y%m}"):  # made of all the ledger had, or not at all
                assert now["flowcounts"][key].get("Blobs") == row.get("Blobs"), (key, number)


# What is kept


@pytest.mark.usefixtures("few_views")
def test_the_last_30_days_are_kept_unless_it_is_forced(stores: Stores, call: Call) -> None:
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in (40, 20, 0):
        hour = today - days * DAY
        stores.count(WEB, hour, blob_of(record(hour, flow(hour))))
    stores.rollup()
    delete_blobs(stores)
    (said, _) = prune_it(stores, now).values()
    assert (said.before, said.entries, said.kept) == (today - 30 * DAY, 1, "last 30 days")
    assert "--force" in said.because
    shown = call("prune", "--before", "0h", "--force", "--dry-run", "-o", "json")
    assert shown.exit_code == 0, shown.output
    (row, _) = json.loads(shown.stdout)["rows"]
    assert row["PrunedBefore"][:10] == f"{today - DAY:%Y-%m-%d}"
    assert (row["LedgerEntries"], row["Kept"]) == (1, "still counted")
    shown = call("prune", "--before", "0h", "--force")
    assert "hours that young may still change" in shown.stderr
    assert "entities were deleted" in shown.stderr
    ledger = {key for key in rows_of(stores, "flowledger") if not key[0].startswith("~")}
    assert [f"~{today:%Y%m%d}00~" in key[0] for key in ledger] == [True]


@pytest.mark.usefixtures("few_views")
def test_what_is_younger_than_a_blob_that_is_still_listed_is_kept_unless_it_is_forced(stores: Stores) -> None:
    count_old_days(stores, WEB, DATA, keep_blobs=True)
    delete = stores.flow_logs.service.get_blob_client
    delete(WEB.container, WEB.blob_name(HOURS[0])).delete_blob()
    before = tables_of(stores)
    done = prune_it(stores, THIRD)
    web, data = (done[next(scope for scope in done if scope.endswith(name))] for name in ("web", "data"))
    assert (web.before, web.kept) == (SECOND, "still listed")
    assert f"{SECOND:%Y-%m-%d} on: the account {ACCOUNT} still lists" in web.because
    assert (data.before, data.entries, data.counts, data.rows) == (None, 0, 0, 0)
    assert done["all~nsg"].before == SECOND
    now = tables_of(stores)
    assert {
        key for key in before["flowstats"].keys() - now["flowstats"].keys() if "nsg-data" in key[0]
    } == set()
    assert prune_it(stores, THIRD, force=True)[data.scope].before == THIRD
    assert_pruned(stores, before, THIRD)


@pytest.mark.usefixtures("few_views")
def test_much_is_pruned_in_parts(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    count_old_days(stores, WEB)
    before = tables_of(stores)
    monkeypatch.setattr(job, "MOST_ENTRIES", 1)
    parts = [*_parts(stores)]
    assert [(each.before, each.entries, each.more) for each in parts] == [
        (SECOND, 0, True),
        (THIRD, 3, False),
    ]
    prune_it(stores, THIRD)
    assert_pruned(stores, before, THIRD)


def _parts(stores: Stores) -> Iterator[Pruned]:
    (scope,) = stores.counts.catalog()
    more = True
    while more:
        part = job.prune_scope([stores.flow_logs], stores.ledger, stores.counts, stores.views, scope, THIRD)
        yield part
        more = part.more


@pytest.mark.usefixtures("few_views")
def test_a_scope_whose_account_gives_no_answer_holds_up_no_other(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_old_days(stores, WEB, DATA)
    first_blob = stores.flow_logs.first_blob

    def fails_for_one(log: Any) -> Any:
        if "NSG-DATA" in log.prefix.upper():
            raise Unavailable("no answer")
        return first_blob(log)

    monkeypatch.setattr(stores.flow_logs, "first_blob", fails_for_one)
    done = prune([stores.flow_logs], stores.ledger, stores.counts, stores.views, THIRD)
    assert [str(error) for _, error in done.failed] == ["no answer"]
    assert [(each.scope.rpartition("~")[2], each.before) for each in done.pruned] == [
        ("nsg-web", THIRD),
        ("nsg", THIRD),
    ]


# What answers say


@pytest.mark.usefixtures("few_views")
def test_answers_say_what_was_pruned(stores: Stores, call: Call) -> None:
    count_old_days(stores, WEB, DATA)
    of_kept = ["--since", f"{THIRD:%Y-%m-%d}", "--until", f"{THIRD + DAY:%Y-%m-%d}"]
    of_all = ["--since", f"{FIRST:%Y-%m-%d}", "--until", f"{THIRD + DAY:%Y-%m-%d}"]
    of_pruned = ["--since", f"{FIRST:%Y-%m-%d}", "--until", f"{SECOND:%Y-%m-%d}"]
    questions = ("rules", "conversations", "talkers", "traffic", "nics")
    before = {name: call("show", name, *of_kept, "-o", "json").stdout for name in questions}
    health = call("show", "health", *of_all, "-o", "json").stdout
    status = call("status", "--at", f"{SECOND:%Y-%m-%d}").stdout
    prune_it(stores, THIRD)
    for name in questions:
        assert call("show", name, *of_kept, "-o", "json").stdout == before[name]
        for grain in ([], ["--grain", "day"]):
            said = json.loads(call("show", name, *of_all, *grain, "-o", "json").stdout)
            assert (
                said["rows"] == json.loads(call("show", name, *of_kept, *grain, "-o", "json").stdout)["rows"]
            )
            assert f"what was counted before {THIRD:%Y-%m-%d} was pruned" in said["notes"][0]
        said = json.loads(call("show", name, *of_pruned, "-o", "json").stdout)
        assert said["rows"] == []
        assert said["why_empty"].startswith("what was counted in that time was pruned")
    assert call("show", "health", *of_all, "-o", "json").stdout == health, "the index stays"
    assert call("status", "--at", f"{SECOND:%Y-%m-%d}").stdout == status
    shown = call("show", "conversations", *of_all, "--port", "9999")
    assert f"from {THIRD:%Y-%m-%d} on nothing fulfils port 9999" in shown.stderr
    # New is only what the time before was counted of.
    shown = call("show", "rules", "--compare", *of_kept, "-o", "json")
    rows = json.loads(shown.stdout)["rows"]
    assert {row["Trend"] for row in rows} == {"may be new"}
    # Since when: at the latest.
    shown = call("show", "rules", "--look-back", "90d", *of_kept, "-o", "json")
    firsts = {(row["Since"][:10], row["AtLatest"]) for row in json.loads(shown.stdout)["rows"]}
    assert firsts == {(f"{THIRD:%Y-%m-%d}", True)}
    scopes = json.loads(call("scopes", "-o", "json").stdout)["rows"]
    assert {(row["FirstPeriod"][:10], row["PrunedBefore"][:10]) for row in scopes} == {
        (f"{FIRST:%Y-%m-%d}", f"{THIRD:%Y-%m-%d}")
    }


@pytest.mark.usefixtures("few_views")
def test_a_verdict_on_two_addresses_says_what_was_pruned(stores: Stores) -> None:
    count_old_days(stores, WEB)
    prune_it(stores, THIRD)
    given = {"a": ["203.0.113.9"], "b": ["192.0.2.1"], "since": [FIRST.isoformat()]}
    composed = read_pair(given, datetime.now(UTC)).answer(stores.counts, stores.ledger)
    assert "what was counted before was pruned" in composed.verdict[0]
    assert any("was pruned" in note for note in composed.notes)


@pytest.mark.usefixtures("few_views")
def test_rollup_again_says_what_it_leaves_alone(stores: Stores, call: Call) -> None:
    count_old_days(stores, WEB)
    prune_it(stores, THIRD)
    said = call("rollup", "--again")
    assert said.exit_code == 0
    assert f"left as it is, as it was pruned: what is before {THIRD:%Y-%m-%d}, of nsg~" in said.stderr
    assert "in the ledger any more" not in said.stderr

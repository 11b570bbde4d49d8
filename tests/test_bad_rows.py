"""Rows that somebody has edited, or added by hand: each is refused by name, and it alone."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.data.tables import EntityProperty, UpdateMode
from click.testing import Result

from shared import http_api
from shared.counts.store import SCOPES as CATALOG
from shared.errors import FlowtallyError, MalformedInput, Unexpected
from shared.http_api import Answer
from shared.ledger.store import LATE
from shared.rollup import rollup
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import pack
from shared.views.rows import ViewRow
from shared.views.store import There, Views
from shared.workers import work_on
from tests.system import (
    HOUR,
    MARKER,
    NIGHT,
    Call,
    Stores,
    assert_views_are_right,
    blob_of,
    flow,
    named_rows,
    record,
    rows_of,
)
from tools.azurite import ACCOUNT
from tools.network_watcher import Nic

WEB, DATA = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
WEB2 = Nic("nsg-v2", "000D3A000009", "nsg-web")
SCOPE = "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web"
OTHER = SCOPE.replace("web", "data")
ENTRY = f"{SCOPE}~2026103123~{WEB.mac}"
FAR = datetime(9999, 12, 31, 23, tzinfo=UTC)
SINCE = ("--since", "2026-10-31T22:00", "--until", "2026-11-01T02:00")

type Change = dict[str, Any]


@pytest.fixture
def rolled_up(stores: Stores, fewest_views: None) -> Stores:  # noqa: ARG001 -- it is there for what it does
    """Two scopes with an hour each, counted and rolled up into one view of each kind."""
    for nic in (WEB, DATA):
        stores.count(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.rollup()
    return stores


def grow(stores: Stores) -> None:
    """Let both blobs grow, so that both have to be counted and rolled up again."""
    for nic in (WEB, DATA):
        stores.put(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT)), record(NIGHT, flow(NIGHT, port=8080))))


def edit(stores: Stores, table: str, partition: str, row: str, change: Change) -> None:
    """Change columns of an entity as one does by hand; ``None`` takes a column out, a new key adds a row."""
    client = stores.tables.table(table)
    there = rows_of(stores, table).get((partition, row), {})
    columns = {**there, "PartitionKey": partition, "RowKey": row, **change}
    entity = {
        name: EntityProperty(value, "Edm.Int64") if type(value) is int else value
        for name, value in columns.items()
        if value is not None
    }
    client.upsert_entity(entity, mode=UpdateMode.REPLACE)


def get(answer: Answer, **given: list[str]) -> Any:
    """What the HTTP API answers."""
    response = http_api.respond(answer, "/?" + "&".join(f"{k}={v}" for k, vs in given.items() for v in vs))
    return response.status, json.loads(response.body)


# A blob's entity

ENTRIES: dict[str, tuple[Change, str]] = {
    "a number that is a text": ({"Tuples": "1"}, "its Tuples is text, not a whole number"),
    "a fraction": ({"Offset": 1.5}, "its Offset is float, not a whole number"),
    "a negative number": ({"Records": -1}, "its Records is -1"),
    "a missing column": ({"BlobETag": None}, "it has no column BlobETag"),
    "a binary that is a text": ({"Counts00": "AAAA"}, "its counts aren't binary"),
    "another binary that is a text": ({"Tail": "AAAA"}, "its Tail is text, not binary"),
    "a time of the year 9999": ({"LastRecordTime": FAR}, "its LastRecordTime is 9999-12-31T23:00:00+00:00"),
    "a time that is a text": ({"LastRecordTime": "now"}, "its LastRecordTime is text, not a time"),
    "no version": ({"SchemaVersion": None}, "it has no column SchemaVersion"),
    "a version that is a text": ({"SchemaVersion": "1"}, "its SchemaVersion is text"),
}


@pytest.mark.parametrize(("change", "says"), ENTRIES.values(), ids=ENTRIES)
def test_an_edited_entry_is_refused_and_others_go_on(
    rolled_up: Stores, call: Call, change: Change, says: str
) -> None:
    grow(rolled_up)
    edit(rolled_up, "flowledger", ENTRY, ACCOUNT, change)
    named = f"row {ENTRY} / {ACCOUNT} of table flowledger can't be used: {says}"

    swept = call("sweep", *SINCE, "-o", "json")
    (row,) = json.loads(swept.stdout)["rows"]
    assert (swept.exit_code, row["Failed"], row["Grown"], row["Tuples"]) == (1, 1, 2, 1)
    assert named in swept.stderr

    done = call("rollup", "-o", "json")
    (row,) = json.loads(done.stdout)["rows"]
    assert (done.exit_code, row["Failed"] > 0, row["Scopes"]) == (1, True, 2)
    assert named.partition(":")[0] in done.stderr

    status = call("status", *SINCE, "-o", "json")
    behind = {each["Scope"]: each["Behind"] for each in json.loads(status.stdout)["rows"]}
    assert (status.exit_code, behind[SCOPE] > 0, behind[OTHER]) == (1, True, 0)
    # It reads the readable columns only.
    assert ("delete the row, then run `flowtally sweep" in status.stderr) == ("Counts00" not in change)
    tuples = call("show", "nics", *SINCE, "-o", "json", "--scope", "nsg-data")
    assert json.loads(tuples.stdout)["rows"][0]["Tuples"] == 2
    assert call("scopes").exit_code == 0
    code, said = get(http_api.status(rolled_up.counts, [ACCOUNT]), since=["6d"])
    assert (code, isinstance(said["problems"], list)) == (200, True)

    # The mend that it says.
    rolled_up.tables.table("flowledger").delete_entity(ENTRY, ACCOUNT)
    rolled_up.sweep()
    rolled_up.rollup(NIGHT)
    assert_views_are_right(rolled_up)


@pytest.mark.usefixtures("few_views")
@pytest.mark.parametrize(
    ("nic", "change"),
    [
        pytest.param(WEB2, {"Counts00": b"?"}, id="the counts of one without a share"),
        pytest.param(WEB, {"Rejects": b"?"}, id="the rejects of one with a share"),
    ],
)
def test_a_backfill_makes_the_hours_beside_a_damaged_entry(stores: Stores, nic: Nic, change: Change) -> None:
    stores.put(WEB, NIGHT - HOUR, blob_of(record(NIGHT - HOUR, flow(NIGHT - HOUR))))
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT - HOUR / 60), flow(NIGHT))))
    stores.put(WEB2, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.sweep()
    edit(stores, "flowledger", f"{SCOPE}~2026103123~{nic.mac}", ACCOUNT, change)

    done = rollup(stores.ledger, stores.counts, stores.views)

    assert {name for name, _ in done.failed} == {f"{SCOPE}~2026103123"}
    assert [row["Tuples"] for row in named_rows(stores, "nics")] == [2]


# Rows by hand

STRAYS: dict[str, tuple[str, str]] = {
    "before all others": ("a", "b"),
    "a key without its parts": ("nsg~!", "x"),
    "a key with two parts": ("nsg~!~x", "x"),
    "no interface": (f"{SCOPE}~2026103123", ACCOUNT),
    "no such interface": (f"{SCOPE}~2026103123~zz", ACCOUNT),
    "no hour": (f"{SCOPE}~2026103199~{WEB.mac}", ACCOUNT),
    "an hour of the year 9999": (f"{SCOPE}~9999123123~{WEB.mac}", ACCOUNT),
    "a scope of its own": (f"nsg~0~2026103123~{WEB.mac}", ACCOUNT),
    "beside an entry": (ENTRY, "by hand"),
    "behind all others": ("zzz", "zzz"),
    "a late note of nothing": (LATE, "x"),
    "a late note of the year 9999": (LATE, f"{SCOPE}~9999123123"),
    "a late note without its time": (LATE, f"{SCOPE}~2026103111"),
}


@pytest.mark.parametrize("key", STRAYS.values(), ids=STRAYS)
def test_a_row_by_hand_in_the_ledger_holds_up_nothing(
    rolled_up: Stores, call: Call, key: tuple[str, str]
) -> None:
    grow(rolled_up)
    edit(rolled_up, "flowledger", *key, {"Note": "mine", "Noted": None})
    swept = call("sweep", *SINCE)
    assert swept.exit_code == 0, swept.output
    done = call("rollup", *SINCE[:2], "-o", "json")
    (row,) = json.loads(done.stdout)["rows"]
    assert row["Scopes"] >= 2
    if "9999123123" not in key[0] and key[0] != "zzz":  # those lie outside of what is looked at
        assert done.exit_code == 1
        assert f"row {key[0]} / {key[1]} of table flowledger can't be used" in done.stderr
    assert (call("status", *SINCE).exit_code, call("scopes").exit_code) == (0, 0)
    for scope in ("nsg-web", "nsg-data"):
        assert call("show", "nics", *SINCE, "--scope", scope).exit_code == 0
    blocked = key[0] == ENTRY
    assert {*rolled_up.ledger.scopes()} >= {OTHER, SCOPE}
    if blocked:
        rolled_up.tables.table("flowledger").delete_entity(*key)
        rolled_up.rollup(NIGHT)
    assert_views_are_right(rolled_up)


# What the rollup keeps for itself

INDEX, DAY_INDEX = "~2026103123", "~20261031"
NOBODYS = """{"head":"W/\\"datetime'2026-11-01T00%3A00%3A00.0000000Z'\\"","digests":{"nics":"x"},"merged":"",
"marker":"","rows":{}}"""

EDITS: dict[str, tuple[str, str, Change]] = {
    "a fingerprint that is a number": (INDEX, SCOPE, {"Fingerprint": 7}),
    "no fingerprint": (INDEX, SCOPE, {"Fingerprint": None}),
    "no fingerprint of a day": (DAY_INDEX, SCOPE, {"Fingerprint": None}),
    "no fingerprint of all": (INDEX, "all~nsg", {"Fingerprint": None}),
    "health that is a text": (INDEX, SCOPE, {"Tuples": "many"}),
    "half of a health": (INDEX, SCOPE, {"Records": None}),
    "sizes that are none": (INDEX, SCOPE, {"Sizes": "[]"}),
    "rejects for no reason": (INDEX, SCOPE, {"Rejects": '{"FUN":[1,0,1]}'}),
    "rejects without numbers": (DAY_INDEX, SCOPE, {"Rejects": '{"PORT":[]}'}),
    "what was written is a text": (INDEX, SCOPE, {"Written": "much"}),
    "what was written is a number": (DAY_INDEX, SCOPE, {"Written": 7}),
    "what was written isn't there": (INDEX, SCOPE, {"Written": NOBODYS}),
    "no ETag": (INDEX, SCOPE, {"Written": '{"head":"x","digests":{},"merged":"","marker":"","rows":{}}'}),
    "a stray in the index": ("~2026103199", SCOPE, {"Fingerprint": "x"}),
    "parts that are none": (SCOPE, "head~h2026103123", {"Parts": "?"}),
    "parts of a day that are none": (SCOPE, "head~d20261031", {"Parts": None}),
    "rejects of a head that are none": (SCOPE, "head~h2026103123", {"Rejects": "[7]"}),
    "counts that are a text": (SCOPE, "nics~h2026103123", {"Counts00": "AAAA"}),
    "counts of a day that are a text": (SCOPE, "nics~d20261031", {"Counts00": "AAAA"}),
    "counts of a day that are none": (SCOPE, "nics~d20261031", {"Counts00": b"AAAA"}),
    "a time of the year 9999": ("~looked-at", "rollup", {"Time": FAR}),
    "a time that is a text": ("~looked-at", "rollup", {"Time": "now"}),
    "no time": ("~looked-at", "rollup", {"Time": None}),
    "a time that is to come": ("~looked-at", "rollup", {"Time": datetime(2199, 1, 1, tzinfo=UTC)}),
    "no marker": ("~looked-at", "rollup", {"Marker": None}),
    "another marker": ("~looked-at", "rollup", {"Marker": "other"}),
    "a table that is marked with a number": (*MARKER, {"Id": 7}),
    "a table that is marked as another": (*MARKER, {"Id": "other"}),
    "a table that is marked twice": (MARKER[0], "by hand", {"Note": "mine"}),
}


def table_of(partition: str) -> str:
    return "flowstats" if partition == MARKER[0] else "flowcounts"


def roll_up_after_an_edit(stores: Stores, call: Call, partition: str, row: str, change: Change) -> Result:
    """Sweep and roll up what has grown, after somebody has edited a row that a rollup keeps."""
    grow(stores)
    edit(stores, table_of(partition), partition, row, change)
    assert call("sweep", *SINCE).exit_code == 0
    return call("rollup", *SINCE[:2])


def assert_right_and_at_rest(stores: Stores) -> None:
    assert_views_are_right(stores)
    done = stores.rollup(NIGHT - HOUR)
    assert (done.hours, done.days, done.rows) == (0, 0, 0)


@pytest.mark.usefixtures("index_by_hours")
@pytest.mark.parametrize(("partition", "row", "change"), EDITS.values(), ids=EDITS)
def test_what_the_next_rollup_makes_anew(
    rolled_up: Stores, call: Call, partition: str, row: str, change: Change
) -> None:
    done = roll_up_after_an_edit(rolled_up, call, partition, row, change)
    assert (done.exit_code, done.stderr) == (0, "")
    assert_right_and_at_rest(rolled_up)


EARLIER = "h2026103122"

UNREADABLE: dict[str, tuple[str, str, Change]] = {
    "counts that are a text": (SCOPE, f"nics~{EARLIER}", {"Counts00": "AAAA"}),
    "counts that are none": (SCOPE, f"nics~{EARLIER}", {"Counts00": b"AAAA"}),
    "no counts": (SCOPE, f"nics~{EARLIER}", {"Counts00": None}),
    "counts of no hour": (SCOPE, f"nics~{EARLIER}x", {"Note": "mine"}),
    "parts that are none": (SCOPE, f"head~{EARLIER}", {"Parts": '{"nics":[1,2]}'}),
    "rejects that are none": (SCOPE, f"head~{EARLIER}", {"Rejects": None}),
    "a head by hand": (SCOPE, "head~h2026103111", {"Note": "mine"}),
    "a head of no hour": (SCOPE, "head~h2026103111x", {"Note": "mine"}),
    "an index row by hand": (INDEX, "nsg~by hand", {"Note": "mine"}),
    "health by hand": (INDEX, "nsg~by hand", {"Fingerprint": "x", "Blobs": 1, "Tuples": "many"}),
}


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "made anew"])
@pytest.mark.parametrize(("partition", "row", "change"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_the_rollup_cannot_read_is_named_and_others_go_on(
    rolled_up: Stores, call: Call, partition: str, row: str, change: Change, *, again: bool
) -> None:
    """By hand, or of an hour that is as it was: its day needs it."""
    rolled_up.count(WEB, NIGHT - HOUR, blob_of(record(NIGHT - HOUR, flow(NIGHT - HOUR))))
    rolled_up.rollup()
    known = (partition, row) in rows_of(rolled_up, "flowcounts")
    done = roll_up_after_an_edit(rolled_up, call, partition, row, change)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"row {partition} / {row} of table flowcounts can't be used: " in done.stderr
    of_other = call("show", "nics", *SINCE, "--scope", "nsg-data", "-o", "json")
    assert [each["Tuples"] for each in json.loads(of_other.stdout)["rows"]] == [2]
    asked = call("show", "nics", "--by-scope", *SINCE, "-o", "json")
    if EARLIER in row:  # it is of what the question is about
        assert (asked.exit_code, asked.stdout) == (1, "")
        assert f"row {partition} / {row} of table flowcounts can't be used: " in asked.stderr
    else:
        assert {each["Scope"]: each["Tuples"] for each in json.loads(asked.stdout)["rows"]} == {
            SCOPE: 3,
            OTHER: 2,
        }

    # The mend that it says; what was made by a rollup needn't even be deleted.
    assert "; delete the row, " in done.stderr
    if not (known and again):
        rolled_up.tables.table("flowcounts").delete_entity(partition, row)
    assert ("rollup --again`" in done.stderr) or "nothing needs it" in done.stderr
    assert call("rollup", "--again").exit_code == 0
    assert_right_and_at_rest(rolled_up)


@pytest.mark.usefixtures("index_by_hours")
@pytest.mark.parametrize("change", [{"Tuples": "many"}, {"Fingerprint": None}, {"Rejects": "?"}], ids=str)
def test_what_is_said_of_an_hour_is_named_by_all_who_read_it_and_made_anew(
    rolled_up: Stores, call: Call, change: Change
) -> None:
    """That of a scope that is as it was: the health of all scopes together needs it, and so does doctor."""
    edit(rolled_up, "flowcounts", INDEX, OTHER, change)
    rolled_up.count(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT)), record(NIGHT, flow(NIGHT, port=8080))))
    named = f"row {INDEX} / {OTHER} of table flowcounts can't be used: "
    with pytest.raises(MalformedInput, match=re.escape(named)):
        _ = [*rolled_up.counts.indexed_hours(NIGHT, NIGHT)]
    done = call("rollup")
    if "Fingerprint" in change:  # it is made anew before it is read
        assert done.exit_code == 0
    else:
        assert (done.exit_code, done.stderr.count("\n"), named in done.stderr) == (1, 1, True)
        assert call("rollup", "--again").exit_code == 0
    assert_right_and_at_rest(rolled_up)


@pytest.mark.parametrize("row", ["nics", "head"])
def test_counts_that_are_gone_are_missed_and_made_anew(rolled_up: Stores, call: Call, row: str) -> None:
    rolled_up.count(WEB, NIGHT - HOUR, blob_of(record(NIGHT - HOUR, flow(NIGHT - HOUR))))
    rolled_up.rollup()
    rolled_up.tables.table("flowcounts").delete_entity(SCOPE, f"{row}~{EARLIER}")
    grow(rolled_up)
    rolled_up.sweep()
    done = call("rollup")
    assert (done.exit_code, "run `flowtally rollup --again`" in done.stderr) == (1, True)
    assert SCOPE in done.stderr
    assert call("rollup", "--again").exit_code == 0
    assert_right_and_at_rest(rolled_up)


# What is asked


DAY = ("--since", "2026-10-31", "--until", "2026-11-01")

READ: dict[str, tuple[str, Sequence[str], tuple[str, str], Change]] = {
    "counts that are a text": ("nics", SINCE, (SCOPE, "nics~h2026103123"), {"Counts00": "AAAA"}),
    "counts that are none": ("rules", SINCE, (SCOPE, "rules~h2026103123"), {"Counts00": b"AAAA"}),
    "no counts": ("talkers", SINCE, (SCOPE, "talkers~h2026103123"), {"Counts00": None}),
    "no traffic": ("traffic", SINCE, (SCOPE, "traffic~h2026103123"), {"Counts00": None}),
    "counts of another family": (
        "nics",
        SINCE,
        (SCOPE, "nics~h2026103123"),
        {"Counts00": "rules~h2026103123"},
    ),
    "counts of several hours": (
        "nics",
        SINCE,
        (SCOPE, "nics~h2026103123"),
        {"Counts00": pack({1: HourCounts()})},
    ),
    "counts of no hour": ("nics", SINCE, (SCOPE, "nics~h2026103123x"), {"Note": "mine"}),
    "addresses that are none": ("nics", SINCE, (SCOPE, "addresses~h2026103123"), {"Counts00": b""}),
    "counts of a day that are none": ("nics", DAY, (SCOPE, "nics~d20261031"), {"Counts00": b"AAAA"}),
    "parts that are none": ("nics", SINCE, (SCOPE, "head~h2026103123"), {"Parts": "?"}),
    "parts of a day that are none": ("nics", DAY, (SCOPE, "head~d20261031"), {"Parts": "?"}),
    "a head of no day": ("nics", DAY, (SCOPE, "head~d20261031x"), {"Note": "mine"}),
    "health that is a text": ("health", SINCE, (INDEX, SCOPE), {"Tuples": "1"}),
    "half of a health": ("health", SINCE, (INDEX, SCOPE), {"Records": None}),
    "a time of the year 9999": ("health", SINCE, (INDEX, SCOPE), {"LastRecordTime": FAR}),
    "rejects without numbers": ("rejects", SINCE, (INDEX, SCOPE), {"Rejects": '{"PORT":[]}'}),
}


@pytest.mark.parametrize(("question", "times", "place", "change"), READ.values(), ids=READ)
def test_what_an_answer_cannot_read_is_named(
    rolled_up: Stores, call: Call, question: str, times: Sequence[str], place: tuple[str, str], change: Change
) -> None:
    rows = rows_of(rolled_up, "flowcounts")
    other = rows.get((SCOPE, str(change.get("Counts00"))))
    edit(rolled_up, "flowcounts", *place, {"Counts00": other["Counts00"]} if other else change)
    named = f"row {' / '.join(place)} of table flowcounts can't be used"
    asked = call("show", question, *times, "--scope", "nsg-web")
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert asked.stderr.startswith(f"flowtally: {named}")
    assert asked.stderr.count("\n") == 1
    assert call("show", question, *times, "--scope", "nsg-data").exit_code == 0
    code, said = get(
        http_api.show(rolled_up.counts, rolled_up.ledger, question),
        scope=["nsg-web"],
        since=[times[1]],
        until=[times[3]],
    )
    assert (code, said["detail"].startswith(named)) == (500, True)
    # The mend that it says.
    assert "; delete the row, " in asked.stderr
    rolled_up.tables.table("flowcounts").delete_entity(*place)
    assert call("rollup", "--again").exit_code == 0
    assert call("show", question, *times, "--scope", "nsg-web").exit_code == 0
    assert_right_and_at_rest(rolled_up)


@pytest.mark.parametrize(("part", "times"), [("nics~d20261031", DAY), ("addresses~h2026103123", SINCE)])
def test_a_part_that_is_gone_is_named(rolled_up: Stores, call: Call, part: str, times: Sequence[str]) -> None:
    rolled_up.tables.table("flowcounts").delete_entity(SCOPE, part)
    asked = call("show", "nics", *times, "--scope", "nsg-web")
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert f"row {SCOPE} / {part} of table flowcounts is gone; run `flowtally rollup --again`" in asked.stderr
    assert call("rollup", "--again").exit_code == 0
    assert call("show", "nics", *times, "--scope", "nsg-web").exit_code == 0


def test_what_becomes_of_rows_is_nothing_to_an_answer(rolled_up: Stores, call: Call) -> None:
    """They are an export. What somebody has added to them by hand goes when they are made anew."""
    asked = ("show", "traffic", *SINCE, "-o", "json")
    answer = call(*asked).stdout
    partition, row = f"{SCOPE}~traffic~hour", "202610312300~by hand"
    edit(rolled_up, "flowstats", partition, row, {"Note": "mine"})
    for key in rows_of(rolled_up, "flowstats"):
        if key[0] == partition and key[1] != row:
            edit(rolled_up, "flowstats", *key, {"Tuples": "1"})
    assert call(*asked).stdout == answer
    assert call("rollup", "--again").exit_code == 0
    assert (partition, row) not in rows_of(rolled_up, "flowstats")
    assert_right_and_at_rest(rolled_up)


CATALOGS: dict[str, tuple[str, Change]] = {
    "a time that is a text": (SCOPE, {"LastPeriod": "now"}),
    "a time of the year 9999": (SCOPE, {"LastPeriod": FAR}),
    "no name": (SCOPE, {"Name": None}),
    "no scope": (SCOPE, {"Scope": None}),
    "a row by hand": ("by hand", {"Note": "mine"}),
    "a row in another's name": ("by hand", {"Scope": SCOPE}),
}


@pytest.mark.parametrize(("row", "change"), CATALOGS.values(), ids=CATALOGS)
def test_an_edited_catalog_is_named_and_made_anew(
    rolled_up: Stores, call: Call, row: str, change: Change
) -> None:
    there = rows_of(rolled_up, "flowcounts")[CATALOG, SCOPE]
    edit(
        rolled_up,
        "flowcounts",
        CATALOG,
        row,
        {**there, **change, "RowKey": row} if "Note" not in change else change,
    )
    named = f"row {CATALOG} / {row} of table flowcounts can't be used"
    listed = call("scopes", "-o", "json")
    assert (listed.exit_code, named in listed.stderr) == (1, True)
    assert OTHER in [each["Scope"] for each in json.loads(listed.stdout)["rows"]]
    asked = call("show", "nics", *SINCE)
    assert (asked.exit_code, asked.stdout, named in asked.stderr) == (1, "", True)
    code, said = get(http_api.scopes(rolled_up.counts))
    assert (code, said["detail"].startswith(named)) == (500, True)
    done = call("rollup", *SINCE[:2])
    by_hand = row != SCOPE
    assert (done.exit_code, named in done.stderr) == (by_hand, by_hand)
    if by_hand:
        rolled_up.tables.table("flowcounts").delete_entity(CATALOG, row)
    assert (call("scopes").exit_code, call("show", "nics", *SINCE).exit_code) == (0, 0)


# Whatever the exception is


def fail_with(error: BaseException) -> Callable[[str], str]:
    def work(item: str) -> str:
        if item == "bad":
            raise error
        return item

    return work


@pytest.mark.parametrize("error", [ZeroDivisionError("x\ny"), OverflowError(), RecursionError("deep")])
def test_an_unexpected_exception_is_its_items(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    items = ["good", "bad", "better"]
    done = dict(work_on(items, fail_with(error), 2, "test"))
    failure = done.pop("bad")
    assert done == {"good": "good", "better": "better"}
    assert isinstance(failure, Unexpected)
    assert str(failure).startswith(f"unexpected {type(error).__name__}: ")
    assert "\n" not in str(failure)
    assert failure.__cause__ is error
    assert "Traceback" in caplog.text
    named = dict(work_on(items, fail_with(MalformedInput("known")), 2, "test"))["bad"]
    assert isinstance(named, FlowtallyError)
    assert str(named) == "known"


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_process_is_not_caught(error: BaseException) -> None:
    with pytest.raises(type(error)):
        dict(work_on(["good", "bad"], fail_with(error), 2, "test"))


def test_an_unexpected_exception_in_a_scope_leaves_the_others(
    rolled_up: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(rolled_up)
    rolled_up.sweep()
    replace_rows = type(rolled_up.views).replace_rows

    def fails(views: Views, lists: Sequence[tuple[Sequence[ViewRow], There]]) -> list[str]:
        if lists[0][0][0]["Scope"] == SCOPE:
            raise ZeroDivisionError("odd")
        return replace_rows(views, lists)

    with monkeypatch.context() as patch:
        patch.setattr(type(rolled_up.views), "replace_rows", fails)
        done = rollup(rolled_up.ledger, rolled_up.counts, rolled_up.views, NIGHT)
    assert [(name, str(error)[:29]) for name, error in done.failed] == [
        (f"{SCOPE}~2026103123", "unexpected ZeroDivisionError:")
    ]
    rolled_up.rollup(NIGHT - HOUR)
    assert_views_are_right(rolled_up)

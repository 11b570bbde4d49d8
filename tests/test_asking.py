"""What asking costs: range queries in known partitions, never a scan, and as few as there can be."""

import re
from datetime import datetime, timedelta
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from shared.connection import count_requests
from shared.counts.health import Health, RejectTotal
from shared.counts.index import Head, Indexed, Period, day_period, hour_period, part_of
from shared.counts.store import SCOPES as CATALOG
from shared.flowlog.blob_name import as_written, parse_blob_name, readable
from shared.flowlog.reasons import Reason
from shared.record_types import first_hour_of_day
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import pack_apart
from shared.views.asking import ask
from shared.views.query import Given, read_query
from shared.views.questions import QUESTIONS
from shared.views.scopes import find_scopes
from tests.system import HOUR, NIGHT, Stores
from tests.test_answers import world_of
from tools.proxy import Traffic

SCOPES = ("~s~g~web", "~s~g~web-2")
"""Two, behind the kind of their logs."""

PART = re.compile(
    r"PartitionKey eq '[^']*' and RowKey ge '(?P<name>[a-z-]+)~(?P<grain>[hd])[0-9]+' and RowKey lt '[^']+'"
)
INDEX = re.compile(r"PartitionKey ge '~[0-9]+' and PartitionKey le '~[0-9]+'( and RowKey eq '[^']+')?")
NOW = NIGHT + timedelta(minutes=30)
LOOKING_BACK = 7
"""Requests that looking back takes: of 30 days in days and hours, and of the hours of the first day found."""


@pytest.fixture(params=["nsg", "vnet"])
def written(counted_stores: tuple[Stores, Traffic], request: pytest.FixtureRequest) -> tuple[Stores, Traffic]:
    """Two scopes with counts of every family in the hours of four days, of which the first three are made."""
    stores, traffic = counted_stores
    scopes = [request.param + scope for scope in SCOPES]
    counts = HourCounts()
    for event in world_of(2, 20):
        counts.count(event.flow, event.mac, "group", event.rule)
    packed = pack_apart(counts)
    head = Head("", {name: part_of(counts, name, len(each), "") for name, each in packed.items()})
    midnight = day_period(NIGHT).begin
    hours = [midnight - 70 * HOUR, midnight - HOUR, NIGHT]
    periods = [*map(hour_period, hours), *(day_period(midnight - days * 24 * HOUR) for days in (3, 2, 1))]
    for scope in scopes:
        for period in periods:
            stores.counts.store(scope, period, head, packed)
        row = {"RowKey": scope, "Scope": scope, "Kind": request.param, "Name": scope.rpartition("~")[2]}
        row |= {"ResourceId": "/resource", "TargetResourceId": ""}
        stores.counts.describe({**row, "FirstPeriod": hours[0], "LastPeriod": NIGHT}, "")
    rejects = {Reason.PORT: RejectTotal(1, 0, 1)}
    for scope in (*scopes, "all~nsg", "all~vnet"):
        for hour in hours:
            last = hour + timedelta(minutes=25)
            said = Indexed("made", Health(1, 5, last_record_time=last), rejects, as_of=hour)
            stores.counts.say_done(scope, hour_period(hour), said)
    traffic.clear()
    return stores, traffic


def requests_of(written: tuple[Stores, Traffic], question: str, given: Given) -> list[str]:
    """The filters of the requests that an answer takes, without those for the catalog and for how fresh it
    is; it has rows.
    """
    stores, traffic = written
    kinds = {row["Kind"] for row in stores.counts.catalog().values()}
    traffic.clear()
    assert ask(stores.counts, stores.ledger, read_query(question, given, NOW)).rows
    asked = traffic.taken()
    assert {(request.method, request.status) for request in asked} == {("GET", 200)}
    assert {urlsplit(request.path).path.rpartition("/")[2] for request in asked} == {"flowcounts()"}
    catalog, *filters = (unquote(parse_qs(urlsplit(request.path).query)["$filter"][0]) for request in asked)
    assert f"'{CATALOG}'" in catalog
    day = first_hour_of_day(read_query(question, given, NOW).span().end)
    # What VNet flow logs leave out is told by a day, how fresh others are by the last two hours.
    of_day = kinds == {"vnet"} and question not in ("health", "rejects")
    first = f"~{min(day, NIGHT - HOUR) if of_day else NIGHT - HOUR:%Y%m%d%H}"
    fresh = re.compile(rf"PartitionKey ge '{first}' and PartitionKey le '~[0-9]+' and RowKey eq '[^']+'")
    assert all(PART.fullmatch(each) or INDEX.fullmatch(each) for each in filters), filters
    index = [place for place, each in enumerate(filters) if fresh.fullmatch(each)]
    for place in index[: len(given.get("scope", SCOPES))]:  # how fresh each is, and what its log leaves out
        filters[place] = ""
    return [each for each in filters if each]


@pytest.mark.parametrize(
    "text",
    [
        *("NSG-MÜNCHEN", "nsg-münchen", "Rg-München", "münchen~nsg", "nsg-m%C3%BCnchen", "NSG-M!C3!BCNCHEN"),
        *(normalize(form, "rg-münchen") for form in ("NFC", "NFD", "NFKC", "NFKD")),
        "/resourceGroups/RG-München/providers/",
    ],
)
def test_a_scope_is_found_by_its_name_however_that_is_written(text: str) -> None:
    path = (
        "resourceId=/SUBSCRIPTIONS/S/RESOURCEGROUPS/{}/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/{}"
    )
    catalog = {}
    for names in (("RG-MÜNCHEN", "NSG-MÜNCHEN"), ("RG-MUNCHEN", "NSG-MUNCHEN")):
        blob = parse_blob_name(f"{path.format(*names)}/y=2026/m=11/d=01/h=00/m=00/PT1H.json")
        catalog[blob.scope] = {"Scope": blob.scope, "Name": blob.group, "ResourceId": blob.resource_id}
        assert as_written(blob.scope, blob.group, path.format(*names)) == "~".join(["nsg", "s", *names])
    assert [row["Name"] for row in find_scopes(catalog, [text])] == ["NSG-MÜNCHEN"]


def test_a_key_that_ends_in_a_digest_stays_as_it_is() -> None:
    scope = parse_blob_name(f"resourceId=/{'ü' * 200}/y=2026/m=11/d=01/h=00/m=00/PT1H.json").scope
    assert readable(scope) == scope


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_costs_few_ranges_and_no_scan(written: tuple[Stores, Traffic], question: str) -> None:
    in_index = question in ("health", "rejects")
    families = 2 if QUESTIONS[question].beside else 1
    looking_back = LOOKING_BACK if QUESTIONS[question].looks_back else 0
    for given, most in (
        ({"scope": ["web-2"]}, 2),
        ({"scope": ["web-2"], "since": ["3d"]}, 6),
        # Addresses are of the whole time.
        ({"scope": ["web-2"], "since": ["3d"], "grain": ["hour"]}, 2 if families == 1 else 4),
        ({"scope": ["web-2"], "since": ["36h"], "compare": ["true"]}, 12),
        ({"since": ["3d"]}, 6 * len(SCOPES)),
    ):
        filters = requests_of(written, question, given)
        if in_index:
            assert len(filters) == len(given.get("scope", SCOPES)) * (1 + ("compare" in given))
            assert all(INDEX.fullmatch(each) for each in filters)
        else:
            assert all(PART.fullmatch(each) for each in filters)
            if not {*given} & {"grain", "compare"}:  # what there is is read once, for addresses, too
                looks = looking_back * len(given.get("scope", SCOPES))
                assert len(filters) <= most // 2 * (1 + families) + looks, filters
            else:
                assert len(filters) <= most * families, filters


def test_an_answer_of_a_day_takes_at_most_four_requests_beside_the_catalog_and_how_fresh_it_is(
    written: tuple[Stores, Traffic],
) -> None:
    midnight = day_period(NIGHT).begin
    for question in QUESTIONS:
        for since in (NOW - 24 * HOUR, midnight, midnight - 24 * HOUR):
            until = min(since + 24 * HOUR, NOW)
            given = {"scope": ["web-2"], "since": [since.isoformat()], "until": [until.isoformat()]}
            most = 4 + (LOOKING_BACK if QUESTIONS[question].looks_back else 0)
            assert len(requests_of(written, question, given)) <= most


def test_days_are_read_as_days_where_they_are_made(written: tuple[Stores, Traffic]) -> None:
    filters = requests_of(written, "talkers", {"scope": ["web-2"], "since": ["7d"]})
    read = [(found["name"], found["grain"]) for each in filters if (found := PART.fullmatch(each))]
    assert read == [
        *(("head", grain) for grain in "dhh"),
        *(("talkers", grain) for grain in "dh"),
    ], "what there is, and how much, is known before it is read; hours without counts aren't asked for"


def total(written: tuple[Stores, Traffic], since: datetime, *more: Period) -> int:
    stores, _ = written
    for period in more:
        stores.counts.store(SCOPES[1], period, Head(), {})
    given = {"scope": ["web-2"], "since": [since.isoformat()]}
    return int(ask(stores.counts, stores.ledger, read_query("rules", given, NOW)).lists[0].total["Tuples"])


def test_a_day_that_is_not_made_is_read_as_hours_and_one_that_is_not_over_too(
    written: tuple[Stores, Traffic],
) -> None:
    midnight = day_period(NIGHT).begin
    assert total(written, midnight - 72 * HOUR) == 20 * (3 + 1), "three days, and an hour of today"
    assert total(written, midnight - 96 * HOUR) == 20 * (3 + 1), "a day that has nothing"
    # A head of today, which isn't over, doesn't make it a day.
    assert total(written, midnight - 72 * HOUR, day_period(NIGHT)) == 20 * (3 + 1)


def test_a_day_that_has_nothing_of_a_family_has_nothing_to_miss(written: tuple[Stores, Traffic]) -> None:
    midnight = day_period(NIGHT).begin
    assert total(written, midnight - 120 * HOUR, day_period(midnight - 96 * HOUR)) == 20 * (3 + 1)


def test_requests_of_all_threads_are_counted_and_their_connections_kept(
    counted_stores: tuple[Stores, Traffic], caplog: pytest.LogCaptureFixture
) -> None:
    """Many scopes have dropped keys, and entries of theirs are looked for: that takes all threads."""
    stores, traffic = counted_stores
    counts = HourCounts()
    for event in world_of(2, 60):
        counts.count(event.flow, "000D3A000001", "group", event.rule)
    counts.families["conversations"].trim(2)
    packed = pack_apart(counts)
    head = Head("", {name: part_of(counts, name, len(each), "") for name, each in packed.items()})
    for number in range(30):
        scope = f"nsg~s~g~web-{number:02d}"
        stores.counts.store(scope, hour_period(NIGHT), head, packed)
        row = {"RowKey": scope, "Scope": scope, "Kind": "nsg", "Name": scope.rpartition("~")[2]}
        times = {"FirstPeriod": NIGHT, "LastPeriod": NIGHT}
        stores.counts.describe({**row, "ResourceId": "", "TargetResourceId": "", **times}, "")
    traffic.clear()
    for given in ({}, {"to": ["192.0.2.1"]}):
        with count_requests() as requests:
            assert ask(stores.counts, stores.ledger, read_query("conversations", given, NOW)).lists
        assert requests.made == len(traffic.taken()) > 30 * 3
    assert not [each for each in caplog.records if each.name.startswith("urllib3")]

"""What asking costs: range queries in known partitions, never a scan, and as few as there can be."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from shared.counts.health import Health, RejectTotal
from shared.counts.index import day_period, hour_period
from shared.counts.store import SCOPES as CATALOG
from shared.flowlog.reasons import Reason
from shared.tally.hour_counts import HourCounts
from shared.transactions import Put, transact
from shared.views.asking import ask
from shared.views.query import Given, read_query
from shared.views.questions import QUESTIONS
from shared.views.rows import ViewRow, partition_of, period_rows
from tests.system import HOUR, NIGHT, Stores
from tests.test_answers import world_of
from tools.proxy import Traffic

SCOPES = ("nsg~s~g~web", "nsg~s~g~web-2")
RANGE = re.compile(
    r"PartitionKey eq '[^']*~(?P<grain>5m|hour|day|scopes)' and RowKey ge '[^']*' and RowKey lt '[^']+'"
)
NOW = NIGHT + timedelta(minutes=30)


@pytest.fixture
def written(counted_stores: tuple[Stores, Traffic]) -> tuple[Stores, Traffic]:
    """Two scopes with rows in every view, of two hours and days."""
    stores, traffic = counted_stores
    counts = HourCounts()
    for event in world_of(1, 20):
        one = HourCounts()
        one.count(event.flow, event.mac, "group", event.rule)
        counts.merge(one)
    stats = stores.tables.table("flowstats")
    rejects = {Reason.PORT: RejectTotal(1, 0, 1)}
    for scope in (*SCOPES, "all"):
        views = ["health"] if scope == "all" else [*QUESTIONS]
        for hour in (NIGHT, NIGHT - 30 * HOUR):
            health = Health(1, 5, last_record_time=hour)
            for period in (hour_period(hour), day_period(hour)):
                for _, _, rows in period_rows(scope, period, views, counts, health, rejects):
                    transact(stats, rows[0]["PartitionKey"], [*map(Put, rows)])
    for scope in SCOPES:
        row: ViewRow = {"PartitionKey": CATALOG, "RowKey": scope, "Scope": scope, "Kind": scope[:3]}
        row |= {"Name": scope.rpartition("~")[2], "ResourceId": "/resource", "TargetResourceId": ""}
        row |= {"FirstPeriod": NIGHT - 7 * 24 * HOUR, "LastPeriod": NIGHT}
        stores.counts.describe(row, "")
    traffic.clear()
    return stores, traffic


def requests_of(written: tuple[Stores, Traffic], question: str, given: Given) -> list[str]:
    """The filters of the requests that an answer takes; it has rows."""
    stores, traffic = written
    assert ask(stores.counts, stores.views, read_query(question, given, NOW)).rows
    asked = traffic.taken()
    assert {(request.method, request.status) for request in asked} == {("GET", 200)}
    for request in asked:
        table = "flowcounts" if f"'{CATALOG}'" in unquote(request.path) else "flowstats"
        assert urlsplit(request.path).path.endswith(f"/{table}()")
    return [unquote(parse_qs(urlsplit(request.path).query)["$filter"][0]) for request in asked]


def test_a_question_costs_a_range_for_each_length_of_period_and_no_scan(
    written: tuple[Stores, Traffic],
) -> None:
    for question in QUESTIONS:
        assert_few_ranges(written, question)


def assert_few_ranges(written: tuple[Stores, Traffic], question: str) -> None:
    longest = len(QUESTIONS[question].grains)
    of_another_view = 2 * longest - 1 if QUESTIONS[question].beside else 0
    for given, most in (
        ({"scope": ["web-2"]}, 2 * longest - 1),
        ({"scope": ["web-2"], "since": ["7d"]}, 2 * longest - 1),
        ({"scope": ["web-2"], "since": ["7d"], "grain": ["hour"]}, 1),
        ({"scope": ["web-2"], "since": ["3d"], "compare": ["true"]}, 2 * (2 * longest - 1)),
        ({"since": ["7d"], "grain": ["hour"]}, len(SCOPES)),
    ):
        filters = requests_of(written, question, given)
        assert all(RANGE.fullmatch(each) for each in filters), filters
        about_rows = [each for each in filters if "~health~" not in each and f"'{CATALOG}'" not in each]
        if question == "health":
            about_rows = filters[2:]
        assert len(filters) - len(about_rows) == 2, "the catalog, and how fresh it is"
        scopes = 1 if "scope" in given else len(SCOPES)
        assert len(about_rows) <= most + scopes * of_another_view, filters


def test_days_are_read_as_days(written: tuple[Stores, Traffic]) -> None:
    filters = requests_of(written, "talkers", {"scope": ["web-2"], "since": ["7d"]})
    rows = [each for each in filters if "~talkers~" in each]
    grains = [found["grain"] for each in rows if (found := RANGE.fullmatch(each))]
    assert sorted(grains) == ["day", "hour"], "hours up to midnight, then days up to now"
    assert partition_of(SCOPES[1], "talkers", "day") in "".join(rows)

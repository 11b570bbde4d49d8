"""Time is what the log and the storage service say: no zone, no summer, no clock of a host's own."""

import ast
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.flowlog.blob_name import parse_blob_name
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from tests import naive
from tests.system import (
    HOUR,
    Stores,
    assert_views_say,
    blob_of,
    flow,
    host,
    leave_out_open_periods,
    record,
    results,
)
from tools.network_watcher import Nic

ROOT = Path(__file__).parents[1]
SECOND = timedelta(seconds=1)
WEB = Nic("nsg-v2", "000D3A000002", "nsg-web")

EDGES = {
    "hour": "2026-11-20T14:00",
    "day": "2026-11-20T00:00",
    "month": "2026-11-01T00:00",
    "year": "2026-01-01T00:00",
    "leap day": "2024-02-29T00:00",
    "after the leap day": "2024-03-01T00:00",
    "behind a leap second": "2017-01-01T00:00",
    "summer time begins in Europe": "2026-03-29T01:00",
    "summer time ends in Europe": "2026-10-25T01:00",
    "summer time ends in New York": "2026-11-01T06:00",
}


@pytest.fixture(params=["Europe/Berlin", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host that lives by another time than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def blobs_around(edge: datetime) -> dict[str, bytes]:
    """The hours before and behind an edge. Each one's first record holds tuples of the hour before, and its
    last one some of the hour after.
    """
    found = {}
    for hour in (edge - HOUR, edge):
        moments = (hour - SECOND, hour, hour + HOUR - SECOND, hour + HOUR)
        first = record(hour, *(flow(moment, port=port) for port, moment in enumerate(moments)))
        last = record(hour + HOUR - SECOND, flow(hour + 1800 * SECOND), flow(hour + HOUR, port=7))
        found[WEB.blob_name(hour)] = blob_of(first, last)
    return found


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_a_tuple_counts_in_its_own_hour_at_every_edge_of_the_calendar(zone: str, edge: str) -> None:
    assert time.tzname[0] in {"CET", "EST"}, zone
    blobs = blobs_around(datetime.fromisoformat(edge).replace(tzinfo=UTC))
    counted: Counter[datetime] = Counter()
    for name, data in blobs.items():
        blob = parse_blob_name(name)
        counter = BlobCounter(BlobCounts(), blob.hour, blob.mac, blob.resource_id)
        assert counter.feed(data) == []
        for hour, counts in counter.counts.hours(blob.hour):
            counted[hour] += counts.totals()[0]
    truth = naive.count(blobs)
    wanted = {period[3]: truth.total(period)[0] for period in truth.rows if period[1:3] == ("nics", "hour")}
    assert counted == wanted


@pytest.mark.parametrize("edge", ["2026-01-01T00:00", "2026-10-25T01:00"])
def test_the_views_of_a_new_year_and_of_a_day_that_has_25_hours_elsewhere(
    stores: Stores, zone: str, edge: str
) -> None:
    first = datetime.fromisoformat(edge).replace(tzinfo=UTC)
    for name, data in blobs_around(first).items():
        stores.put_named(WEB.container, name, data)
    assert stores.sweep(first - HOUR, first).ingested == 2, zone
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_a_leap_second_is_no_time_of_a_record(stores: Stores) -> None:
    """UTC has them, Unix time has not: the tuples count, and the record's time is not known."""
    hour = datetime(2016, 12, 31, 23, tzinfo=UTC)
    when = hour + HOUR - SECOND
    stores.put(WEB, hour, blob_of(record(when, flow(when), time="2016-12-31T23:59:60.0000000Z")))
    done = stores.sweep(hour, hour).counted
    assert (done.records, done.tuples, done.malformed) == (1, 1, 0)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_hosts_clock_has_no_say(stores: Stores, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Wrong by more than a year: the same entities, the same rows, the same notes for late hours."""
    now = stores.flow_logs.now()
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    for hour in (this_hour - HOUR, this_hour - 30 * HOUR):
        stores.put(WEB, hour, blob_of(record(hour, flow(hour - SECOND), flow(hour), "?")))
    seconds, right = days * 86_400, time.time
    with monkeypatch.context() as patch, host(stores.connection_string) as wrong:
        patch.setattr(time, "time", lambda: right() + seconds)
        wrong.sweep(this_hour - 48 * HOUR, this_hour)
        wrong.rollup()
    assert [note.hour for note in stores.ledger.late_notes()[0]] == [this_hour - 30 * HOUR]
    skewed = results(stores)
    truth = naive.count(stores.blobs())
    leave_out_open_periods(truth, now)
    assert_views_say(skewed.stats, truth)
    assert stores.rollup().rows == 0
    assert len(skewed.ledger) == 2


def test_only_who_asks_a_question_is_answered_by_the_clock_of_a_host() -> None:
    """`--since 24h` is by the clock of whoever types it, over HTTP by that of the host that answers: it
    decides what is asked for, never what is counted or written. Nothing else asks for a host's time.
    """
    asked = set()
    for path in [*(ROOT / "shared").rglob("*.py"), ROOT / "function_app.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {
                *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
                *("time.time", "time.time_ns", "time.localtime", "time.gmtime"),
            }:
                asked.add(path.relative_to(ROOT).parts[1])
    assert asked == {"cli", "http_api.py"}

"""docs/read-elsewhere.md: its filters find, in storage, what they say; and it says each of them one way."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.tables import from_entity
from tests.system import Stores
from tools.network_watcher import demo_nics, hour_of, whole_blob

TEXT = (Path(__file__).parent.parent / "docs" / "read-elsewhere.md").read_text()
FILTERS = re.findall(r"```odata\n(.*?)\n```", TEXT)
CATALOG = "PartitionKey eq '~scopes'"
MORNING = datetime(2026, 11, 22, 5, tzinfo=UTC)
RANGE = re.compile(r"PartitionKey eq '([^']+)' and RowKey ge '(\d{12})' and RowKey lt '(\d{12})'")


@pytest.fixture
def rolled_up(stores: Stores) -> Stores:
    for nic in demo_nics(2):
        for hour in (MORNING, MORNING + timedelta(hours=1)):
            data, _ = whole_blob(hour_of(nic, hour, seed=6, tuples_per_minute=12, minutes=20, bad=0))
            stores.put(nic, hour, data)
    stores.sweep(MORNING, MORNING + timedelta(hours=1))
    stores.rollup()
    return stores


def test_every_filter_finds_its_rows_in_one_partition(rolled_up: Stores) -> None:
    (scope,) = (each for each in rolled_up.counts.catalog() if each.startswith("nsg~"))
    assert len(FILTERS) == 6
    for written in FILTERS:
        condition = written.replace("SCOPE", scope)
        table = rolled_up.tables.table("flowcounts" if written == CATALOG else "flowstats")
        everything = [from_entity(entity) for entity in table.list_entities()]
        found = [from_entity(entity) for entity in table.query_entities(condition)]
        assert found, condition
        partition = condition.split("'")[1]
        within = RANGE.match(condition)
        first, last = (within[2], within[3]) if within else ("", "~")
        assert within or "RowKey" not in condition
        wanted = [
            row
            for row in everything
            if row["PartitionKey"] == partition
            and first <= row["RowKey"] < last
            and ("Rank" not in condition or 1 <= row["Rank"] <= 10)
        ]
        assert [row["RowKey"] for row in found] == sorted(row["RowKey"] for row in wanted), condition


def test_other_tools_are_told_a_filter_that_is_tried() -> None:
    (by_cli,) = re.findall(r'--filter "(.*?)"', TEXT)
    assert by_cli in FILTERS
    partition, since, until, catalog = re.findall(r'\[(?:PartitionKey|RowKey)\] (?:=|>=|<) "(.*?)"', TEXT)
    assert f"PartitionKey eq '{catalog}'" == CATALOG
    (tried,) = [each for each in map(RANGE.fullmatch, FILTERS) if each and each[1] == partition]
    assert tried.groups() == (partition, since, until)

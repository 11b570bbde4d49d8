"""docs/read-elsewhere.md and the files beside it: their filters find what they say, in storage and over HTTP;
the tables, columns and types that they name are there.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.counts.health import Health
from shared.counts.index import Period
from shared.counts.store import SCOPES
from shared.http_api import OUTPUT
from shared.openapi import describe_api
from shared.tables import from_entity
from shared.tally.hour_counts import HourCounts
from shared.views.questions import QUESTIONS, VIEWS, Grain
from shared.views.rows import period_rows
from tests.shown import Shown
from tests.system import Stores
from tests.web import KEY
from tools.network_watcher import demo_nics, hour_of, whole_blob

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "read-elsewhere.md").read_text()
ROWS, SCOPES_PQ, ANSWERS = (
    (DOCS / "read-elsewhere" / f"{name}.pq").read_text() for name in ("rows", "scopes", "answers")
)
DASHBOARD = json.loads((DOCS / "read-elsewhere" / "grafana.json").read_text())
API = describe_api(OUTPUT)

FILTERS = re.findall(r"```odata\n(.*?)\n```", TEXT)
CATALOG = "PartitionKey eq '~scopes'"
MORNING = datetime(2026, 11, 22, 5, tzinfo=UTC)
RANGE = re.compile(r"PartitionKey eq '([^']+)' and RowKey ge '(\d{12})' and RowKey lt '(\d{12})'")


@pytest.fixture
def rolled_up(stores: Stores) -> Stores:
    for nic in demo_nics(2):
        for hour in (MORNING, MORNING + timedelta(hours=1)):
            data, _ = whole_blob(hour_of(nic, hour, seed=6, tuples_per_minute=12, minutes=20, bad=0.1))
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
            and ("Rank" not in condition or 1 <= row["Rank"] <= 3)
        ]
        assert [row["RowKey"] for row in found] == sorted(row["RowKey"] for row in wanted), condition


def test_numbers_in_filters_are_marked_as_azure_wants_them() -> None:
    """It takes no 64-bit number without an L; the emulator does."""
    assert all(number.endswith("L") for each in FILTERS for number in re.findall(r" (\d+\w*)", each))


def test_the_azure_cli_is_told_a_filter_that_is_tried_and_unpacks_what_it_nests(rolled_up: Stores) -> None:
    """Numbers of 64 bits come in a document of their own, with a type beside them; all else plainly."""
    commands = re.findall(r'--filter "(.*?)".*?--query "items\[\]\.\{(.*?)\}"', TEXT, re.DOTALL)
    assert len(commands) == 2
    for condition, chosen in commands:
        assert condition in FILTERS
        table = rolled_up.tables.table("flowcounts" if condition == CATALOG else "flowstats")
        (scope,) = (each for each in rolled_up.counts.catalog() if each.startswith("nsg~"))
        for entity in table.query_entities(condition.replace("SCOPE", scope)):
            row = from_entity(entity)
            for column in chosen.split(","):
                name, _, source = column.partition(":")
                assert source == (f"{name}.value" if isinstance(row.get(name, 0), int) else name) or (
                    row.get(name) is None and source == name
                )


# Power Query


def names_in(text: str) -> list[str]:
    """The texts in a piece of Power Query."""
    return re.findall(r'"([^"]*)"', text)


def list_of(script: str, name: str) -> list[str]:
    """The texts in the lists that a name stands for, in Power Query."""
    (found,) = re.findall(rf"^    {name} =(.*?)(?:,\n(?=    \S)|\nin\b)", script, re.DOTALL | re.MULTILINE)
    return names_in(found)


def by_view(name: str, view: str) -> list[str]:
    """The texts that a name stands for in rows.pq if a view is asked for: it has a list for some views, and
    one for all others.
    """
    (found,) = re.findall(rf"^    {name} =(.*?\}}),\n(?=    \S)", ROWS, re.DOTALL | re.MULTILINE)
    cases = re.findall(r'if View = "(.*?)" then\s*\{(.*?)\}', found, re.DOTALL)
    (others,) = re.findall(r"else\s*\{([^{}]*)\}\s*$", found, re.DOTALL)
    return names_in(dict(cases).get(view, others))


def columns_of(view: str) -> list[str]:
    """The columns that rows.pq expands of a view."""
    return [
        "Scope",
        "View",
        "Grain",
        "Period",
        *KEYS[view],
        *by_view("Measures", view),
        *by_view("Beside", view),
    ]


(_KEYS,) = re.findall(r"^    Keys = \[\n(.*?)\n    \],", ROWS, re.DOTALL | re.MULTILINE)
KEYS = {
    name: names_in(its) for name, its in re.findall(r'^ +(?:#")?([\w-]+)"? = (\{.*?\})', _KEYS, re.MULTILINE)
}


def test_rows_pq_knows_the_columns_of_every_view() -> None:
    assert {name: tuple(its) for name, its in KEYS.items()} == {
        question.name: question.key for question in VIEWS.values()
    }
    for question in VIEWS.values():
        assert tuple(by_view("Measures", question.name)) == question.measures
        beside = {*by_view("Beside", question.name)}
        assert {*question.extremes} == beside - {"Rank", "Missed", "IsRest"}
    columns = '{"Scope", "View", "Grain", "Period"} & Record.Field(Keys, View) & Measures & Beside'
    assert f"Columns = {columns}" in ROWS


@pytest.mark.parametrize("kind", ["nsg", "vnet"])
def test_rows_pq_finds_what_there_is_with_all_columns_and_their_types(rolled_up: Stores, kind: str) -> None:
    assert 'Partition = Scope & "~" & View & "~" & Grain' in ROWS
    assert '[Name = "flowstats"]' in ROWS
    assert "each [PartitionKey] = Partition and [RowKey] >= First and [RowKey] < End" in ROWS
    assert ROWS.count('"yyyyMMddHHmm"') == 2
    (scope,) = (each for each in rolled_up.counts.catalog() if each.startswith(f"{kind}~"))
    table = rolled_up.tables.table("flowstats")
    whole, times = list_of(ROWS, "Whole"), list_of(ROWS, "Times")
    for question in VIEWS.values():
        measures = by_view("Measures", question.name)
        for grain in question.grains:
            first, end = f"{MORNING:%Y%m%d%H%M}", f"{MORNING + timedelta(days=1):%Y%m%d%H%M}"
            if grain == "day":
                first = f"{MORNING:%Y%m%d0000}"
            partition = f"{scope}~{question.name}~{grain}"
            found = [
                from_entity(entity)
                for entity in table.query_entities(
                    f"PartitionKey eq '{partition}' and RowKey ge '{first}' and RowKey lt '{end}'"
                )
            ]
            assert found, partition
            columns = columns_of(question.name)
            assert {name for row in found for name in row} - {"PartitionKey", "RowKey"} <= {*columns}
            for row in found:
                for name, value in row.items():
                    kinds = (
                        name in [*whole, *measures],
                        name in times,
                        name == "IsRest",
                    )
                    types = (type(value) is int, isinstance(value, datetime), isinstance(value, bool))
                    assert kinds == types, (name, value)


@pytest.mark.parametrize("view", VIEWS)
def test_rows_pq_fills_quiet_periods_with_the_rows_that_a_rollup_makes_of_nothing(view: str) -> None:
    (ways,) = re.findall(r"^    Ways =(.*?\}),\n(?=    \S)", ROWS, re.DOTALL | re.MULTILINE)
    cases = dict(re.findall(r'if View = "(.*?)" then \{(.*?)\}', ways, re.DOTALL))
    (others,) = re.findall(r"else \{([^{}]*)\}\s*$", ways)
    records = re.findall(r"\[(.*?)\]", cases.get(view, others))
    filled = [
        {
            **dict.fromkeys(by_view("Measures", view), 0),
            **{
                name: {"0": 0, "true": True}.get(value, value.strip('"'))
                for name, value in re.findall(r'(\w+) = ("\w+"|\w+)', record)
            },
        }
        for record in records
    ]
    grain: Grain = "hour"
    ((_, _, rows),) = (
        made
        for made in period_rows("nsg~a", Period(MORNING, "hour"), [view], HourCounts(), Health(), {})
        if made[1] == grain
    )
    beside = {"PartitionKey", "RowKey", "Scope", "View", "Grain", "Period", "Missed"}
    made = [{name: value for name, value in row.items() if name not in beside} for row in rows]
    restarts = {"FlowsRestarted", "BytesRestated", "BytesDoubtful", "RestartsLost"}
    assert [{name: value for name, value in row.items() if name not in restarts} for row in filled] == made
    steps = dict(re.findall(r'(?:#")?(\w+)"? = #duration\((.*?)\)', ROWS[ROWS.index("Step =") :]))
    lengths = {
        name: timedelta(
            **dict(zip(("days", "hours", "minutes", "seconds"), map(int, its.split(", ")), strict=True))
        )
        for name, its in steps.items()
    }
    assert lengths == {"5m": timedelta(minutes=5), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def test_scopes_pq_finds_the_catalog_with_all_columns_and_their_types(rolled_up: Stores) -> None:
    assert f'each [PartitionKey] = "{SCOPES}"' in SCOPES_PQ
    assert '[Name = "flowcounts"]' in SCOPES_PQ
    assert 'each not Text.StartsWith([RowKey], "all~")' in SCOPES_PQ
    partition = rolled_up.tables.table("flowcounts").query_entities(CATALOG)
    keys = [entity["RowKey"] for entity in partition if not entity["RowKey"].startswith("all~")]
    assert keys == [*rolled_up.counts.catalog()]
    columns, times = list_of(SCOPES_PQ, "Columns"), list_of(SCOPES_PQ, "Times")
    for row in rolled_up.counts.catalog().values():
        assert {*row} - {"PartitionKey", "RowKey"} == {*columns}
        assert {name for name in columns if isinstance(row[name], datetime)} == {*times}


def schema_of(route: str) -> dict[str, Any]:
    """The schema of a row of an answer, by the API's own description."""
    answer = API["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    properties: dict[str, Any] = answer["properties"]["rows"]["items"]["properties"]
    return properties


def type_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "string"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    (kind,) = (each for each in types if each != "null")
    return "time" if schema.get("format") == "date-time" else kind


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_pq_knows_the_types_of_all_columns(question: str) -> None:
    texts, times = list_of(ANSWERS, "Texts"), list_of(ANSWERS, "Times")
    for name, schema in schema_of(f"/show/{question}").items():
        told = (
            "time" if name in times
            else "string" if name in texts
            else "boolean" if name in ("IsRest", "AtLatest")
            else "number" if name == "ChangePercent"
            else "integer"
        )  # fmt: skip
        assert told == type_of(schema), name


def ask(site: Shown, path: str, given: dict[str, str]) -> Any:
    """What the HTTP API answers."""
    answer = requests.get(f"{site.url}/api/{path}", given, headers={"x-functions-key": KEY}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_answers_pq_asks_what_the_api_takes(site: Shown) -> None:
    (question,) = re.findall(r'^    Question = "(.*?)"', ANSWERS, re.MULTILINE)
    (given,) = re.findall(r"^    Parameters = \[(.*?)\]", ANSWERS, re.MULTILINE)
    params = dict(re.findall(r'(\S+) = "(.*?)"', given))
    assert ask(site, f"show/{question}", params)["rows"]
    assert 'RelativePath = "api/show/" & Question' in ANSWERS
    assert 'ApiKeyName = "code"' in ANSWERS


# Grafana


TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
"""The dashboard's questions, each with its panel's title."""

GRAFANA_TYPES = {"time": "timestamp", "string": "string", "integer": "number", "boolean": "boolean"}


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[title for title, _ in TARGETS])
def test_the_dashboard_asks_what_the_api_takes_and_shows_columns_that_it_gives(
    site: Shown, title: str, target: dict[str, Any]
) -> None:
    route = target["url"].removeprefix("/api")
    taken = {each["name"] for each in API["paths"][route]["get"]["parameters"] if each["in"] == "query"}
    given = {each["key"]: each["value"] for each in target["url_options"]["params"]}
    assert given.keys() <= taken, title
    schema = schema_of(route)
    for column in target["columns"]:
        assert column["type"] == GRAFANA_TYPES[type_of(schema[column["selector"]])], column
    variables = {each["name"]: each["current"]["value"] for each in DASHBOARD["templating"]["list"]}
    now = datetime.now(UTC)
    variables |= {"__from:date:iso": _iso(now - timedelta(hours=24)), "__to:date:iso": _iso(now)}
    for kind in ("nsg", "vnet"):
        filled = {name: _fill_in(value, variables | {"kind": kind}) for name, value in given.items()}
        rows = ask(site, target["url"].removeprefix("/api/"), filled)[target["root_selector"]]
        assert rows or title.startswith("Behind")
        for row in rows:
            assert {column["selector"] for column in target["columns"]} <= row.keys()


def _fill_in(value: str, variables: dict[str, str]) -> str:
    """Put in variables as Grafana does."""
    return re.sub(r"\$\{?([\w:]+)\}?", lambda found: variables[found[1]], value)


def _iso(moment: datetime) -> str:
    """A moment as Grafana writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def test_the_dashboard_is_one_that_can_be_imported() -> None:
    (wanted,) = DASHBOARD["__inputs"]
    assert {target["datasource"]["uid"] for _, target in TARGETS} == {f"${{{wanted['name']}}}"}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len({*ids}) == len(ids)
    kinds = {panel["type"] for panel in DASHBOARD["panels"]}
    assert kinds == {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len({*places}) == len(places), "no panel lies over another"
    assert max(x for x, _ in places) < 24


def test_every_file_is_named_on_the_page() -> None:
    files = {path.name for path in (DOCS / "read-elsewhere").iterdir()}
    assert files == {*re.findall(r"\]\(read-elsewhere/(.*?)\)", TEXT)}

"""The Kusto queries of alerts, workbook and documentation: Microsoft's parser understands them, they ask for
what the app really writes, and each alert fires on its fault and on no other.

What the app writes is what it leaves under Microsoft's worker code while storage fails in several ways. The
queries run over it in duckdb-kql, an engine that has nothing to do with Microsoft's. Application Insights
itself takes no part: that its tables have the columns of ``TABLES`` is known from its documentation.
"""

import json
import operator
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import cache, partial
from typing import Any

import duckdb_kql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.summary import Sums
from shared.times import DAY
from tests.system import HOUR, Stores, blob_of, flow, record
from tests.worker import ROOT, HttpAnswer, Invocation, Worker, put_all, queue_of_work, worker
from tools.network_watcher import NSG_CONTAINER, VNET_CONTAINER, Nic, demo_nics
from tools.proxy import Fault, OldBlob, Request, Traffic
from tools.storage_queue import Queue

ALERTS = ROOT / "infra/modules/alerts.bicep"
WORKBOOK = json.loads((ROOT / "infra/workbook.json").read_text())
ALERTS_SECTION = (ROOT / "docs/operate.md").read_text().split("\n## Alerts\n")[1].split("\n## ")[0]

_COMMON = {"timestamp": "datetime", "itemType": "string", "itemCount": "int"}
TABLES = {
    "traces": _COMMON | {"message": "string", "severityLevel": "int"},
    "requests": _COMMON | {"name": "string", "success": "string", "resultCode": "string", "duration": "real"},
    **dict.fromkeys(("exceptions", "dependencies", "customMetrics", "performanceCounters"), _COMMON),
}
"""The columns that the queries use, of Application Insights' tables."""

_HOURS = [f"PT{hours}H" for hours in range(1, 7)]
FREQUENCIES = ["PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT45M", *_HOURS, "P1D"]
WINDOWS = [*FREQUENCIES[1:], "P2D"]
OPERATORS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "GreaterThan": (">", operator.gt),
    "GreaterThanOrEqual": ("≥", operator.ge),
    "LessThan": ("<", operator.lt),
    "LessThanOrEqual": ("≤", operator.le),
    "Equals": ("=", operator.eq),
}
"""Azure's names, how the documentation writes them, and what they mean."""


# The queries


@dataclass(frozen=True)
class Rule:
    """An alert, as infra/modules/alerts.bicep declares it."""

    name: str
    description: str
    query: str
    column: str
    operator: str
    threshold: int
    severity: int
    window: str
    frequency: str
    mode: str

    def fires(self, value: float) -> bool:
        """Whether Azure would call somebody."""
        return OPERATORS[self.operator][1](value, self.threshold)


def read_rules() -> Iterator[Rule]:
    """Read the rules: one object each, with one property a line."""
    for block in re.findall(r"^  \{\n((?: {4}\w+: .+\n)+)  \}$", ALERTS.read_text(), re.MULTILINE):
        yield Rule(**{name: read_value(value) for name, value in re.findall(r"(\w+): (.+)\n", block)})


def read_value(source: str) -> Any:
    """A literal, or the content of the file that is loaded."""
    if loaded := re.fullmatch(r"loadTextContent\('(.+)'\)", source):
        return (ALERTS.parent / loaded[1]).read_text()
    text = re.fullmatch(r"'(.*)'", source)
    return text[1].replace(r"\'", "'") if text else int(source)


RULES = [*read_rules()]
BOTH_MODES = {rule.name for rule in RULES if not rule.mode}

QUERIES = {
    **{f"alert {rule.name}": rule.query for rule in RULES},
    **{
        f"workbook {item['name']}": item["content"]["query"].replace("{TimeRange:grain}", "1h")
        for item in WORKBOOK["items"]
        if item["type"] == 3
    },
    **{
        f"{page.name} {number}": query
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for number, query in enumerate(re.findall(r"```kusto\n(.*?)```", page.read_text(), re.DOTALL))
    },
}

SLIPS = {
    "traces | where mesage == 'x'": "1:16: The name 'mesage'",
    "trace\n| take 1": "1:1: The name 'trace'",
    "traces\n| summarize summ(itemCount)": "2:13: The name 'summ'",
    "traces | where": "1:15: ",
    "requests | project duraton": "1:20: The name 'duraton'",
}
"""Queries with a mistake, and how what the parser says of it begins."""


# What Microsoft's parser says


@pytest.fixture(scope="module")
def analysed() -> dict[str, dict[str, list[str]]]:
    """The mistakes in each query, and the columns of its result. One process for all."""
    tables = {
        name: f"({', '.join(f'{column}: {kind}' for column, kind in columns.items())})"
        for name, columns in TABLES.items()
    }
    asked = json.dumps({"tables": tables, "queries": {**QUERIES, **{slip: slip for slip in SLIPS}}})
    done = subprocess.run(
        ["node", ROOT / "tests/kusto.js"],  # noqa: S607 -- as `make setup` finds it
        input=asked,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found


def test_microsofts_parser_finds_no_mistake_in_any_query(analysed: dict[str, dict[str, list[str]]]) -> None:
    assert {name: analysed[name]["mistakes"] for name in QUERIES if analysed[name]["mistakes"]} == {}
    kinds = {name.split(maxsplit=1)[0] for name in QUERIES}
    assert {"alert", "workbook", "operate.md"} <= kinds, "queries are looked for in all three places"


def test_microsofts_parser_finds_what_is_misspelt(analysed: dict[str, dict[str, list[str]]]) -> None:
    for slip, said in SLIPS.items():
        assert analysed[slip]["mistakes"], slip
        assert analysed[slip]["mistakes"][0].startswith(said)


def test_an_alert_measures_the_one_column_of_its_query(analysed: dict[str, dict[str, list[str]]]) -> None:
    for rule in RULES:
        assert analysed[f"alert {rule.name}"]["columns"] == [rule.column], rule.name


# What Azure takes, and no compiler checks


def refusals(rule: Rule) -> Iterator[str]:
    """Why Azure would not take a rule, or would overlook what it looks for."""
    if rule.mode not in ("", "events", "schedule"):
        yield "mode"
    if rule.severity not in range(5):
        yield "severity"
    if rule.operator not in OPERATORS:
        yield "operator"
    if rule.window not in WINDOWS:
        yield "window"
    if rule.frequency not in FREQUENCIES:
        yield "frequency"
    elif rule.window in WINDOWS and duration(rule.frequency) > duration(rule.window):
        yield "frequency beyond window"
    if "ago(" in rule.query:
        yield "time range in the query: the window is it"
    elif duration(rule.frequency) == duration(rule.window):
        yield "a line that comes late is in no window"


def duration(iso: str) -> timedelta:
    """An ISO 8601 duration of one unit."""
    found = re.fullmatch(r"P(?:(\d+)D|T(\d+)([HM]))", iso)
    assert found, iso
    days, amount, unit = found.groups()
    return timedelta(days=int(days or 0), **{"hours" if unit == "H" else "minutes": int(amount or 0)})


def test_every_rule_is_one_that_azure_takes() -> None:
    assert {rule.name for rule in RULES} == {path.stem for path in (ROOT / "infra/alerts").iterdir()}
    assert ALERTS.read_text().count("loadTextContent(") == len(RULES)
    assert {rule.name: [*refusals(rule)] for rule in RULES if [*refusals(rule)]} == {}


@pytest.mark.parametrize(
    ("slip", "refused"),
    [
        ({"mode": "event"}, "mode"),
        ({"severity": 9}, "severity"),
        ({"operator": "Less"}, "operator"),
        ({"window": "PT7M"}, "window"),
        ({"window": "PT30M", "frequency": "PT1H"}, "frequency beyond window"),
        ({"window": "PT15M", "frequency": "PT15M"}, "a line that comes late is in no window"),
        ({"frequency": "PT20M"}, "frequency"),
        ({"query": "traces | where timestamp > ago(1h)"}, "time range in the query: the window is it"),
    ],
)
def test_a_rule_that_azure_refuses_is_found(slip: dict[str, Any], refused: str) -> None:
    assert slip.keys() <= {field.name for field in fields(Rule)}
    assert [*refusals(replace(RULES[0], **slip))] == [refused]


def test_a_rule_without_a_whole_threshold_is_none() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        read_value("0.5")


def test_the_operators_page_lists_the_alerts_as_they_are() -> None:
    shown = re.findall(r"^(\| `[\w-]+` \| \d \| [^|]+ \|)", ALERTS_SECTION, re.MULTILINE)
    assert shown == [
        f"| `{rule.name}` | {rule.severity} | `{rule.column}` {OPERATORS[rule.operator][0]} {rule.threshold} "
        f"in {spoken(rule.window)}, looked at every {spoken(rule.frequency)} |"
        for rule in RULES
    ]


def spoken(iso: str) -> str:
    """A duration as people say it."""
    minutes = int(duration(iso).total_seconds() / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h"


# What the app leaves


class Telemetry:
    """What Application Insights would hold, in an engine that runs Kusto queries."""

    def __init__(self) -> None:
        self.database = duckdb_kql.connect()
        kinds = {"datetime": "TIMESTAMP", "string": "VARCHAR", "int": "INTEGER", "real": "DOUBLE"}
        for table, columns in TABLES.items():
            declared = ", ".join(f"{name} {kinds[kind]}" for name, kind in columns.items())
            self.database.execute(f"CREATE TABLE {table} ({declared})")

    def add(self, table: str, **values: object) -> None:
        """Add a row: now, and by itself."""
        row = {"timestamp": datetime.now(UTC), "itemType": table.removesuffix("s"), "itemCount": 1, **values}
        self._insert(table, [*row], [[*row.values()]])

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        marks = ", ".join(f"({', '.join('?' * len(columns))})" for _ in rows)
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks}"  # noqa: S608 -- our own names
        self.database.execute(insert, [value for row in rows for value in row])

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The rows that a query gives."""
        # Not by `sql`, which makes a relation first: the engine would plan each query twice.
        found = self.database.execute(translate(query))
        columns = [name for name, *_ in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def firing(self) -> dict[str, set[str]]:
        """The alerts that call somebody, by mode."""
        found: dict[str, set[str]] = {"events": set(), "schedule": set()}
        for rule in RULES:
            (row,) = self.ask(rule.query)
            if rule.fires(row[rule.column]):
                for mode in [rule.mode] if rule.mode else found:
                    found[mode].add(rule.name)
        return found

    def take(self, other: "Telemetry", *, item_count: int = 1) -> None:
        """Add all that another holds, each row as one that stands for so many."""
        for table, columns in TABLES.items():
            place = [*columns].index("itemCount")
            rows = other.database.table(table).fetchall()
            if rows:
                its = [[*row[:place], item_count, *row[place + 1 :]] for row in rows]
                self._insert(table, [*columns], its)


@cache
def translate(query: str) -> str:
    """The query in the engine's own language."""
    return str(duckdb_kql.to_sql(query, schema={name: [*columns] for name, columns in TABLES.items()}))


@dataclass
class Scene:
    """The app while something happens to it: what it writes goes to ``telemetry``."""

    running: Worker
    queue: Queue
    stores: Stores
    traffic: Traffic
    hour: datetime
    good: Telemetry
    telemetry: Telemetry
    ago: timedelta = timedelta()
    """How long ago the app writes what it writes: the queries see no other clock."""

    def after_a_good_hour(self) -> None:
        """All was well until now."""
        self.telemetry.take(self.good)

    def blob(self, *tuples: object, nic: Nic | None = None) -> tuple[str, str]:
        """Write a blob, with one good tuple and these: container and name."""
        nic, self.hour = nic or NIC, self.hour + HOUR
        name = self.stores.put(nic, self.hour, blob_of(record(self.hour, flow(self.hour), *tuples))).name
        return nic.container, name

    def blobs(self) -> None:
        """Write an hour's blobs of more interfaces than may wait for their event."""
        self.hour += HOUR
        for number in range(11):
            nic = replace(NIC, mac=f"000D3AAA{number:04X}")
            self.stores.put(nic, self.hour, blob_of(record(self.hour, flow(self.hour))))

    def forget_blobs(self) -> None:
        """Delete all blobs: to the sweep, those of a moment ago would be counted in good time."""
        for container in (NSG_CONTAINER, VNET_CONTAINER):
            client = self.stores.flow_logs.service.get_container_client(container)
            for name in [*client.list_blob_names()]:
                client.delete_blob(name)

    def event(self, container: str, name: str) -> None:
        """A blob has grown."""
        self._note("ingest_nsg", lambda: self.running.invoke_blob("ingest_nsg", container, name))

    def timer(self, function: str) -> None:
        """A timer's time has come, and what it hands out is put into the queue."""
        done = self._note(function, lambda: self.running.invoke_timer(function))
        if isinstance(done, Invocation) and done.succeeded:
            put_all(self.queue, done)

    def work(self) -> None:
        """All that is in the queue is done."""
        while message := self.queue.take():
            done = self._note("work", partial(self.running.invoke_queue, "work", message))
            if isinstance(done, Invocation) and done.succeeded:
                put_all(self.queue, done)
            self.queue.delete(message)

    def sweep(self) -> None:
        """All flow logs are swept, as far back as there are blobs: that is what the daily timer is for."""
        self.timer("daily")
        self.work()

    def roll_up(self) -> None:
        """All scopes are rolled up."""
        self.timer("rollup")
        self.work()

    def question(self) -> None:
        """Somebody looks at the page."""
        self._note("scopes", lambda: self.running.request("GET", "/api/scopes"))

    def host_says(self, message: str, level: int) -> None:
        """The host writes a line of its own."""
        self.telemetry.add(
            "traces", message=message, severityLevel=level, timestamp=datetime.now(UTC) - self.ago
        )

    def _note(self, function: str, invoke: Callable[[], Invocation | HttpAnswer]) -> Invocation | HttpAnswer:
        before = len(self.running.logs)
        done = invoke()
        raised = not done.succeeded if isinstance(done, Invocation) else done == HttpAnswer(500, {}, b"")
        for log in self.running.logs[before:]:
            if log.invocation_id:
                level = ("Information", "Warning", "Error").index(log.level) + 1
                self.host_says(log.message, level)
        if raised:  # the only ones that the host sends, as host.json has it
            self.telemetry.add("requests", name=function, success="False", resultCode="0", duration=1000.0)
        return done

    @property
    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The lines about invocations: word and facts."""
        for row in self.telemetry.ask("traces | project message"):
            if found := re.fullmatch(r"([a-z ]+) (\{.*\})", row["message"]):
                yield found[1], json.loads(found[2])


NIC = demo_nics(2)[1]


def good_hour(scene: Scene) -> None:
    """Blobs grow and are counted, the timers run, somebody looks at the page."""
    for _ in range(3):
        container, name = scene.blob()
        for _ in range(2):
            scene.event(container, name)
    for _ in range(2):
        scene.sweep()
        scene.roll_up()
    scene.question()


def only_events(scene: Scene) -> None:
    """The timers stand still."""
    scene.event(*scene.blob())


def only_timers(scene: Scene) -> None:
    """No event comes, and nothing is behind."""
    scene.sweep()
    scene.roll_up()


def nothing(scene: Scene) -> None:
    """The app doesn't run."""


def storage_refuses_one(scene: Scene) -> None:
    """One event meets a storage that answers 403."""
    scene.after_a_good_hour()
    container, name = scene.blob()
    scene.traffic.fault = lambda _: Fault.FORBIDDEN
    scene.event(container, name)


def storage_refuses_all(scene: Scene) -> None:
    """Everything meets a storage that answers 403."""
    scene.traffic.fault = lambda _: Fault.FORBIDDEN
    good_hour(scene)


def event_comes_late(scene: Scene) -> None:
    """An event comes long after the blob was written."""
    scene.after_a_good_hour()
    container, name = scene.blob()
    content = scene.stores.flow_logs.service.get_blob_client(container, name).download_blob().readall()
    created = formatdate(0, usegmt=True)  # answered as one of 1970
    scene.traffic.old_blobs[name] = OldBlob(content, '"0x1"', created)
    scene.traffic.fault = lambda request: Fault.STALE if request.reads_blob else None
    scene.event(container, name)


def events_are_lost(scene: Scene) -> None:
    """Blobs grow, and no event comes: twice, until the sweep finds them."""
    scene.after_a_good_hour()
    for scene.ago in (timedelta(minutes=30), timedelta()):
        scene.forget_blobs()
        scene.blobs()
        scene.sweep()


def no_event_ever_comes(scene: Scene) -> None:
    """Blobs grow, and neither has an event come before."""
    for scene.ago in (timedelta(minutes=30), timedelta()):
        scene.forget_blobs()
        scene.blobs()
        scene.sweep()
    scene.roll_up()


def events_are_on_their_way(scene: Scene) -> None:
    """Blobs have grown since their last event, a moment before the sweep comes: twice."""
    scene.after_a_good_hour()
    blobs = [(NIC, scene.hour - number * HOUR) for number in range(11)]
    for updates in range(1, 4):
        for nic, hour in blobs:
            items = [record(hour, flow(hour))] * updates
            name = scene.stores.put(nic, hour, blob_of(*items)).name
            if updates == 1:
                scene.event(nic.container, name)
        if updates > 1:
            scene.sweep()
    assert [facts["Grown"] for word, facts in scene.lines if word == "swept"][-2:] == [11, 11]


def ledger_refuses_one(scene: Scene) -> None:
    """The sweep meets an entity that it may not write."""
    scene.after_a_good_hour()
    scene.blob()

    def fault(request: Request) -> Fault | None:
        return Fault.FORBIDDEN if request.writes and "flowledger" in request.path else None

    scene.traffic.fault = fault
    scene.sweep()


def ledger_cannot_be_read(scene: Scene) -> None:
    """A sweep and a rollup, handed out before, meet a ledger that answers 403."""
    scene.timer("daily")
    scene.timer("rollup")
    scene.traffic.fault = lambda request: Fault.FORBIDDEN if "flowledger" in request.path else None
    scene.work()


def account_refuses(scene: Scene) -> None:
    """Twice timers meet an account of flow logs that answers 403."""
    scene.after_a_good_hour()
    scene.traffic.fault = lambda request: Fault.FORBIDDEN if "comp=list" in request.path else None
    for _ in range(2):
        scene.sweep()


def queue_is_not_worked_on(scene: Scene) -> None:
    """The function that does the work doesn't run."""
    scene.after_a_good_hour()
    for _ in range(4):
        scene.timer("daily")
    scene.queue.clear()


def other_blob(scene: Scene) -> None:
    """An event is about a blob that is no flow log."""
    scene.after_a_good_hour()
    scene.event(NIC.container, "notes.txt")


def damaged_tuples(scene: Scene) -> None:
    """A blob holds tuples that can't be read."""
    scene.after_a_good_hour()
    scene.event(*scene.blob("?", "?"))


def host_stops(scene: Scene) -> None:
    """The host's process ends. It says so as Microsoft's WebScriptHostExceptionHandler does: an error."""
    scene.after_a_good_hour()
    scene.host_says("An unhandled exception has occurred. Host is shutting down.", 3)


def host_gives_up(scene: Scene) -> None:
    """The host moves an event away. It says so as Microsoft's QueueProcessor does: a warning."""
    scene.after_a_good_hour()
    queue = "webjobs-blobtrigger-poison"
    scene.host_says(f"Message has reached MaxDequeueCount of 5. Moving message to queue '{queue}'.", 2)


SCENES: Mapping[Callable[[Scene], None], set[str]] = {
    good_hour: set(),
    only_events: {"no-sweep", "no-rollup"},
    only_timers: set(),
    nothing: {"nothing-counted", "no-sweep", "no-rollup"},
    storage_refuses_one: {"failures"},
    storage_refuses_all: {"failures", "nothing-counted", "no-sweep", "no-rollup"},
    event_comes_late: {"lag"},
    events_are_lost: {"sweep-finds-work"},
    no_event_ever_comes: {"sweep-finds-work", "nothing-counted"},
    events_are_on_their_way: set(),
    ledger_refuses_one: {"cannot-be-counted"},
    ledger_cannot_be_read: {"nothing-counted", "no-sweep", "no-rollup", "cannot-be-counted"},
    account_refuses: {"account-fails", "cannot-be-counted"},
    queue_is_not_worked_on: {"work-waits"},
    other_blob: {"cannot-be-counted"},
    damaged_tuples: {"rejects"},
    host_stops: {"host-stopped"},
    host_gives_up: {"poison-messages"},
}
"""What happens, and which alerts fire then with mode=events: these and no others."""

ONLY_IN_SCHEDULE: Mapping[Callable[[Scene], None], set[str]] = {
    only_events: {"nothing-swept"},
    nothing: {"nothing-swept"},
    storage_refuses_all: {"nothing-swept"},
    ledger_cannot_be_read: {"nothing-swept"},
}
"""Which alerts of mode=schedule alone fire then. Those of both modes fire as above."""

NOT_RUN = {"workbook telemetry"}
"""Queries that only the parser has seen: the engine has no ``estimate_data_size()``."""


def this_hour() -> datetime:
    """The hour that it is."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def test_each_alert_fires_on_its_fault_and_is_silent_in_a_good_hour(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    reached, traffic = counted_stores
    written: dict[str, set[str]] = {}
    settings = {"FLOWTALLY_SWEEP_SINCE": f"{len(SCENES) + 2}d"}
    good, everything = Telemetry(), Telemetry()
    with (
        queue_of_work(stores.environment["FLOW_LOGS"]) as queue,
        worker({**reached.environment, **settings}) as running,
    ):
        for number, (happens, firing) in enumerate(SCENES.items()):
            telemetry = good if happens is good_hour else Telemetry()
            hour = this_hour() - (number + 1) * DAY
            scene = Scene(running, queue, stores, traffic, hour, good, telemetry)
            happens(scene)
            traffic.fault = None
            in_schedule = firing & BOTH_MODES | ONLY_IN_SCHEDULE.get(happens, set())
            assert telemetry.firing() == {"events": firing, "schedule": in_schedule}, happens.__doc__
            sampled, twice = Telemetry(), Telemetry()
            sampled.take(telemetry, item_count=2)
            for _ in range(2):
                twice.take(telemetry)
            assert sampled.firing() == twice.firing(), "rows stand for what sampling left out"
            for word, facts in scene.lines:
                written.setdefault(word, set()).update(facts)
            everything.take(telemetry)
        with worker({**reached.environment, "FLOWTALLY_KEEP": "400d"}) as keeping:
            scene = Scene(keeping, queue, stores, traffic, this_hour(), Telemetry(), Telemetry())
            scene.timer("daily")
            scene.work()
            written["pruned"] = {name for word, facts in scene.lines if word == "pruned" for name in facts}
    seen = set().union(*SCENES.values(), *ONLY_IN_SCHEDULE.values())
    assert seen == {rule.name for rule in RULES}, "every alert was seen to fire"
    assert unwritten(QUERIES, written) == {}
    misspelt = {"slip": QUERIES["alert lag"].replace("line.Delayed", "line.Lag")}
    assert unwritten(misspelt, written) == {"slip": {"Lag"}}
    for name in QUERIES.keys() - NOT_RUN:
        rows = everything.ask(QUERIES[name])
        assert rows, f"{name} finds nothing"
        assert [column for column in rows[0] if all(row[column] is None for row in rows)] == [], name
    for name in NOT_RUN:
        with pytest.raises(duckdb_kql.KqlUnsupportedError):
            everything.ask(QUERIES[name])


GOOD_OUTCOMES = st.fixed_dictionaries(
    {
        "Blob": st.sampled_from(["a", "b"]),
        "Account": st.just("stflowlogsweu"),
        **{
            name: st.integers(0, 1000)
            for name in ("Bytes", "Records", "Tuples", "Malformed", "Updates", "Conflicts", "Requests")
        },
        "Delayed": st.integers(0, 2),
        "LagSeconds": st.none() | st.integers(0, 1000),
        "Seconds": st.integers(0, 60),
    }
)
OUTCOMES = GOOD_OUTCOMES | st.just(
    {"Blob": "a", "Account": "stflowlogsweu", "Error": "out of order", "Seconds": 1}
)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), OUTCOMES), min_size=1, max_size=12), GOOD_OUTCOMES)
def test_queries_find_the_same_in_lines_about_many_updates_as_in_one_about_each(
    updates: list[tuple[int, dict[str, Any]]], last: dict[str, Any]
) -> None:
    """The last update is good and comes long after the others, so that a line about all of them is due."""
    about = {name for name, query in QUERIES.items() if '"ingested {"' in query and name not in NOT_RUN}
    assert {f"alert {name}" for name in ("nothing-counted", "failures", "lag", "rejects")} < about
    found = []
    now = datetime.now(UTC)
    for every_seconds in (0, 60):
        telemetry, sums, seconds = Telemetry(), Sums(every_seconds), 0
        for waited, facts in [*updates, (1000, last)]:
            seconds += waited
            if line := sums.add(facts, seconds):
                message, level = f"ingested {json.dumps(line)}", 3 if "Error" in line else 1
                telemetry.add("traces", message=message, severityLevel=level, timestamp=now)
        found.append({name: telemetry.ask(QUERIES[name]) for name in about})
    assert found[0] == found[1]


def test_in_schedule_a_good_half_hour_is_silent_and_one_without_sweeps_is_not(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    """With the lines that the app writes in that mode: of looks at known blobs, and of no event."""
    reached, traffic = counted_stores
    with (
        queue_of_work(stores.environment["FLOW_LOGS"]) as queue,
        worker({**reached.environment, "FLOWTALLY_MODE": "schedule"}) as running,
    ):
        scene = Scene(running, queue, stores, traffic, this_hour() - HOUR, Telemetry(), Telemetry())
        scene.blob()
        for timer in ("daily", "sweep", "sweep"):
            scene.timer(timer)
            scene.work()
        scene.question()
        assert scene.telemetry.firing()["schedule"] == set()
        assert {word for word, _ in scene.lines} == {"handed out", "swept", "rolled up", "joined", "answered"}
        assert sum(facts.get("Tuples", 0) for word, facts in scene.lines if word == "swept") == 1
        scene.telemetry = Telemetry()
        traffic.fault = lambda request: Fault.FORBIDDEN if "comp=list" in request.path else None
        for _ in range(2):
            scene.timer("sweep")
            scene.work()
        assert scene.telemetry.firing()["schedule"] == {
            *("nothing-swept", "no-rollup", "account-fails", "cannot-be-counted")
        }


def test_host_json_lets_through_what_two_alerts_wait_for() -> None:
    """Category and level are those of Microsoft's source: QueueProcessor, WebScriptHostExceptionHandler."""
    levels = json.loads((ROOT / "host.json").read_text())["logging"]["logLevel"]
    severities = ["Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"]
    for category, written_at in (
        ("Host.Triggers.Queue", "Warning"),
        ("Microsoft.Azure.WebJobs.Script.WebHost.WebScriptHostExceptionHandler", "Error"),
    ):
        rule = max((name for name in levels if category.startswith(name)), key=len, default="default")
        assert severities.index(levels[rule]) <= severities.index(written_at), category


def unwritten(queries: Mapping[str, str], written: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The names that a query asks a line for, and that no line of its words has."""
    found = {}
    for name, query in queries.items():
        words = re.findall(r'startswith "([a-z ]+) \{"', query)
        asked = set(re.findall(r"\bline\.(\w+)", query))
        assert words or not asked, f"{name} asks lines that it does not choose"
        if missing := asked.difference(*(written[word] for word in words)):
            found[name] = missing
    return found


# The workbook


def test_the_workbook_is_one_that_azure_shows() -> None:
    source = (ROOT / "infra/workbook.json").read_text()
    assert len(source) < 131_072, "Bicep loads no longer text"
    assert source.count("__COMPONENT__") == 1
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert WORKBOOK["fallbackResourceIds"] == ["__COMPONENT__"]
    items = {kind: [item for item in WORKBOOK["items"] if item["type"] == kind] for kind in (1, 3, 9)}
    assert sum(map(len, items.values())) == len(WORKBOOK["items"])
    (parameters,) = items[9]
    (time_range,) = parameters["content"]["parameters"]
    assert (time_range["name"], time_range["type"]) == ("TimeRange", 4)
    for item in items[3]:
        content = item["content"]
        assert content["timeContextFromParameter"] == "TimeRange"
        assert content["resourceType"] == "microsoft.insights/components"
        assert content["visualization"] in {"timechart", "table"}
        assert not re.search(r"\{(?!TimeRange:grain\})\w", content["query"]), "no other parameter"
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len({*names})

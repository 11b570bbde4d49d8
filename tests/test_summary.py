"""One line about an invocation, or about many updates, as the host gets it: JSON behind a word, and true."""

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.connection import count_requests
from shared.ingest import Ingested, ingest
from shared.join import Joined
from shared.rollup import RolledUp
from shared.summary import Sums, summary
from shared.sweep import Swept
from shared.work import HandedOut
from tests.system import NIGHT, Stores, blob_of, flow, record
from tests.worker import ROOT, Invocation, Worker, put_all, queue_of_work, worker
from tools.azurite import ACCOUNT, Azurite
from tools.network_watcher import NSG_CONTAINER, demo_nics
from tools.proxy import Fault, Traffic

NIC = demo_nics(2)[1]
OTHER = demo_nics(8)[7]


def lines_of(running: Worker, done: Invocation) -> dict[str, dict[str, Any]]:
    """What an invocation says of its work, by the word that each line begins with."""
    lines = {}
    for said in running.logs_of(done):
        word, brace, rest = said.message.partition(" {")
        if brace and said.level != "Warning":
            lines[word] = json.loads("{" + rest)
            assert 0 <= lines[word].pop("Seconds") < 60
            assert lines[word].pop("Events", 1) == 1
    return lines


def line_of(running: Worker, done: Invocation, word: str) -> dict[str, Any]:
    """The one line about an invocation."""
    ((said, line),) = lines_of(running, done).items()
    assert said == word
    return line


def test_every_invocation_says_what_it_did_in_how_many_requests(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    reached, traffic = counted_stores
    blob = stores.put(NIC, NIGHT, blob_of(record(NIGHT, flow(NIGHT), flow(NIGHT), "?")))
    stores.put(OTHER, NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?")))
    days = {"FLOWTALLY_SWEEP_SINCE": "3650d"}

    with worker({**reached.environment, **days}) as running, queue_of_work(stores.connection_string) as queue:

        def counted(done: Invocation, word: str) -> dict[str, Any]:
            line = line_of(running, done, word)
            assert line.pop("Requests") == len(traffic.taken()), "each attempt is counted"
            return line

        traffic.clear()
        lines = [
            counted(running.invoke_blob("ingest_nsg", NIC.container, blob.name), "ingested") for _ in range(2)
        ]
        lags = [line.pop("LagSeconds") for line in lines]
        daily = running.invoke_timer("daily")
        handed_out = counted(daily, "handed out")
        put_all(queue, daily)
        swept, rolled_up, rejected = [], [], []
        while message := queue.take():
            traffic.clear()
            done = running.invoke_queue("work", message)
            lines_of_work = lines_of(running, done)
            asked = sum(line.pop("Requests") for line in lines_of_work.values())
            assert asked == len(traffic.taken()), "each line has its own"
            swept.append(lines_of_work["swept"])
            rolled_up.append(lines_of_work["rolled up"])
            rejected += [log for log in running.logs_of(done) if log.level == "Warning"]
            queue.delete(message)
        traffic.clear()
        strange = counted(running.invoke_blob("ingest_nsg", NIC.container, "notes.txt"), "ingested")
        traffic.fault = lambda _: Fault.FORBIDDEN
        failed = running.invoke_blob("ingest_nsg", NIC.container, OTHER.blob_name(NIGHT))
        refused = line_of(running, failed, "ingested")
        traffic.fault = None
    size = len(blob_of(record(NIGHT, flow(NIGHT), flow(NIGHT), "?"))) - len("]}")
    assert lines == [
        {"Blob": blob.name, "Account": ACCOUNT, "Bytes": size, "Records": 1, "Tuples": 2, "Malformed": 1}
        | {"Updates": 1, "Conflicts": 0, "Delayed": 0},
        {"Blob": blob.name, "Account": ACCOUNT, "Bytes": 0, "Records": 0, "Tuples": 0, "Malformed": 0}
        | {"Updates": 0, "Conflicts": 0, "Delayed": 0},
    ]
    assert 0 <= lags[0] < 60
    assert lags[1] is None
    assert handed_out == {"Sweeps": 2, "RollUps": 0, "Joins": 0, "Prunes": 0, "Failed": 0}
    found = sorted((line["Listed"], line["Grown"], line["Tuples"], line["Failed"]) for line in swept)
    assert found == [(1, 0, 0, 0), (1, 1, 1, 0)]
    assert {line["Account"] for line in swept} == {ACCOUNT}
    assert {line["Scope"] for line in swept} == {line["Scope"] for line in rolled_up}
    assert len(rejected) == 1, "what its threads say is the invocation's: the host drops what is nobody's"
    assert [(line["Hours"], line["Failed"]) for line in rolled_up] == [(1, 0)] * 2
    assert "notes.txt" in strange["PassedOver"]
    assert refused["Error"].startswith("Unavailable: ")
    assert not failed.succeeded


def test_the_operators_page_shows_the_lines_as_they_are() -> None:
    shown = (ROOT / "docs/operate.md").read_text().split("```text\n")[1].split("```")[0]
    always = {"Requests", "Seconds"}
    for word, row in (
        ("ingested", {"Events": 1, "Account": "", **Ingested().row()}),
        ("handed out", HandedOut().row()),
        ("swept", {"Account": "", "Scope": "", **Swept().row()}),
        ("rolled up", {"Scope": "", **RolledUp().row()}),
        ("joined", {"Kind": "", "Day": "", **Joined().row()}),
    ):
        line = re.search(rf"{word} (\{{[^}}]+\}})", shown)
        assert line
        names = set(re.findall(r'"(\w+)":', line[1]))
        assert names <= row.keys() | always, word
        assert "…," in line[1] or names == row.keys() | always, word


@st.composite
def updates(draw: st.DrawFn) -> list[tuple[float, dict[str, Any]]]:
    """What updates say, each some seconds after the one before."""
    figures = st.integers(0, 10**12)
    well = st.fixed_dictionaries(
        {
            "Blob": st.sampled_from("ab"),
            "Account": st.just("logs"),
            "Tuples": figures,
            "LagSeconds": st.none() | st.floats(0, 1e6),
            "Seconds": st.integers(0, 100_000).map(lambda milliseconds: milliseconds / 1000),
        }
    )
    badly = st.fixed_dictionaries({"Blob": st.sampled_from("ab"), "Seconds": figures})
    badly = st.sampled_from(["Error", "PassedOver"]).flatmap(
        lambda name: badly.map(lambda facts: {**facts, name: "why"})
    )
    return draw(st.lists(st.tuples(st.floats(0, 100), well | badly)))


@given(updates(), st.sampled_from([0, 60]))
def test_lines_about_many_updates_add_up_to_what_each_has_said(
    said: list[tuple[float, dict[str, Any]]], every_seconds: int
) -> None:
    sums, now = Sums(every_seconds), 1e-3
    well: list[tuple[float, dict[str, Any]]] = []
    since: list[dict[str, Any]] = []
    for seconds, facts in [*said, (1e9, {**said[0][1], "Tuples": 1})] if said else []:
        now += seconds
        line = sums.add(facts, now)
        if {"Error", "PassedOver"} & facts.keys():
            assert line == {**facts, "Events": 1}, "by itself, and at once"
            continue
        since.append(facts)
        if line is None:
            assert now - well[-1][0] < every_seconds
            continue
        assert not well or now - well[-1][0] >= every_seconds
        assert line["Events"] == len(since)
        assert line["Tuples"] == sum(each["Tuples"] for each in since)
        assert line["Seconds"] == pytest.approx(sum(each["Seconds"] for each in since))
        lags = [each["LagSeconds"] for each in since if each["LagSeconds"] is not None]
        assert line["LagSeconds"] == max(lags, default=None)
        assert line.get("Blob") == (since[0]["Blob"] if len({each["Blob"] for each in since}) == 1 else None)
        assert line["Account"] == "logs"
        well.append((now, dict(line)))
        since.clear()


def test_updates_at_the_same_time_are_added_up_too() -> None:
    sums = Sums(60)
    with ThreadPoolExecutor(8) as pool:
        said = [*pool.map(lambda _: sums.add({"Tuples": 1}, now=1), range(2000)), sums.add({"Tuples": 1}, 61)]
    lines = [line for line in said if line]
    assert [line["Events"] for line in lines] == [1, 2000]
    assert sum(line["Tuples"] for line in lines) == 2001


def test_of_many_updates_there_is_one_line_and_one_of_what_fails(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    reached, traffic = counted_stores
    blobs = [stores.put(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT)))) for nic in (NIC, OTHER)]
    with worker({**reached.environment, "FLOWTALLY_UPDATE_LINES": "sums"}) as running:
        for name in [*[each.name for each in blobs] * 3, "notes.txt"]:
            assert running.invoke_blob("ingest_nsg", NIC.container, name).succeeded
        traffic.fault = lambda _: Fault.FORBIDDEN
        running.invoke_blob("ingest_nsg", NIC.container, blobs[1].name)
        traffic.fault = None
    said = [each for each in running.logs if each.message.startswith("ingested {")]
    lines = [json.loads(each.message.removeprefix("ingested ")) for each in said]
    assert [(each.level, line["Events"]) for each, line in zip(said, lines, strict=True)] == [
        *[("Information", 1)] * 2,
        ("Error", 1),
    ]
    assert [line["Blob"] for line in lines] == [blobs[0].name, "notes.txt", blobs[1].name]
    assert [line.get("Updates") for line in lines] == [1, None, None]


def test_every_value_of_host_json_is_justified_on_the_operators_page() -> None:
    """Its table has a row for each value, with what it is, and no other rows."""
    page = (ROOT / "docs/operate.md").read_text()
    section = page.partition("## host.json, value by value")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE))
    host = json.loads((ROOT / "host.json").read_text())
    logging_ = host["logging"]
    sampling = logging_["applicationInsights"]["samplingSettings"]
    levels = {
        re.sub(r"Function\.[\w*]+\.", "Function.NAME.", name): level
        for name, level in logging_["logLevel"].items()
    }
    default = levels.pop("default")
    on, a_second = ("off", "on")[sampling["isEnabled"]], sampling["maxTelemetryItemsPerSecond"]
    blobs, queues = host["extensions"].pop("blobs"), host["extensions"].pop("queues")
    assert rows == {
        "`extensionBundle`": f"`{host['extensionBundle']['version']}`",
        **{f"`{name}`": f"{value}" for name, value in blobs.items()},
        **{f"`queues` `{name}`": f"{value}" for name, value in queues.items()},
        "`samplingSettings`": f"{on}, {a_second} a second",
        "`excludedTypes`": f"`{sampling['excludedTypes']}`",
        "`logLevel` `default`": f"`{default}`",
        **{f"`{name}`": f"`{level}`" for name, level in levels.items()},
    }
    assert host.keys() == {"version", "extensionBundle", "extensions", "logging"}
    assert not host["extensions"]
    assert sampling.keys() == {"isEnabled", "maxTelemetryItemsPerSecond", "excludedTypes"}


def test_a_conflict_is_counted(stores: Stores, other_host: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host commits between this one's reading and its commit; then the blob grows."""
    blob = stores.put(NIC, NIGHT, blob_of(*[record(NIGHT, flow(NIGHT))] * 2))
    read = stores.flow_logs.read

    def be_overtaken(*arguments: Any, **options: Any) -> Any:
        stretch = read(*arguments, **options)
        monkeypatch.undo()
        ingest(blob, other_host.flow_logs, other_host.ledger)
        stores.put(NIC, NIGHT, blob_of(*[record(NIGHT, flow(NIGHT))] * 3))
        return stretch

    monkeypatch.setattr(stores.flow_logs, "read", be_overtaken)
    done = ingest(blob, stores.flow_logs, stores.ledger)
    assert (done.conflicts, done.records, done.updates) == (1, 1, 1)


def test_the_facts_are_values_of_the_log_record_too(caplog: pytest.LogCaptureFixture) -> None:
    """They become custom dimensions where the worker exports its records by itself."""
    with caplog.at_level(logging.INFO, "flowtally"), summary("counted", Blob="b") as line:
        line.say(Tuples=3, Scope="ø\n{}%s")
    (logged,) = caplog.records
    assert json.loads(logged.getMessage().removeprefix("counted "))["Scope"] == "ø\n{}%s"
    assert "\n" not in logged.getMessage()
    assert {name: vars(logged)[name] for name in ("Blob", "Tuples", "Requests")} == {
        "Blob": "b",
        "Tuples": 3,
        "Requests": 0,
    }
    with (
        caplog.at_level(logging.INFO, "flowtally"),
        pytest.raises(OSError, match="out"),
        summary("counted"),
    ):
        raise OSError("out of order")
    assert caplog.records[-1].levelname == "ERROR"
    assert "OSError: out of order" in caplog.records[-1].getMessage()


def test_requests_of_other_contexts_are_not_counted(stores: Stores, storage: Azurite) -> None:
    assert storage.connection_string == stores.connection_string
    container = stores.flow_logs.service.get_container_client(NSG_CONTAINER)
    with ThreadPoolExecutor(1) as pool, count_requests() as outer:
        container.exists()
        with count_requests() as inner:
            pool.submit(copy_context().run, container.exists).result()
            pool.submit(container.exists).result()
    assert (outer.made, inner.made) == (1, 1)

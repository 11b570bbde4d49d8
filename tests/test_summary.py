"""One line about each invocation, as the host gets it: JSON behind a word, and true."""

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from shared.connection import count_requests
from shared.ingest import Ingested, ingest
from shared.rollup import RolledUp
from shared.summary import summary
from shared.sweep import Swept
from tests.system import NIGHT, Stores, blob_of, flow, record
from tests.worker import ROOT, Invocation, Worker, worker
from tools.azurite import Azurite
from tools.network_watcher import NSG_CONTAINER, demo_nics
from tools.proxy import Fault, Traffic

NIC = demo_nics(2)[1]
OTHER = demo_nics(8)[7]


def line_of(running: Worker, done: Invocation, word: str) -> dict[str, Any]:
    """The last line about an invocation."""
    message = running.logs_of(done)[-1].message
    assert message.startswith(f"{word} {{")
    line: dict[str, Any] = json.loads(message.removeprefix(f"{word} "))
    assert 0 <= line.pop("Seconds") < 60
    return line


def test_every_invocation_says_what_it_did_in_how_many_requests(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    reached, traffic = counted_stores
    blob = stores.put(NIC, NIGHT, blob_of(record(NIGHT, flow(NIGHT), flow(NIGHT), "?")))
    stores.put(OTHER, NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?")))
    days = {"FLOWTALLY_SWEEP_SINCE": "3650d"}

    with worker({**reached.environment, **days}) as running:

        def counted(done: Invocation, word: str) -> dict[str, Any]:
            line = line_of(running, done, word)
            assert line.pop("Requests") == len(traffic.taken()), "each attempt is counted"
            return line

        traffic.clear()
        lines = [
            counted(running.invoke_blob("ingest_nsg", NIC.container, blob.name), "ingested") for _ in range(2)
        ]
        lags = [line.pop("LagSeconds") for line in lines]
        sweep = running.invoke_timer("sweep")
        swept = counted(sweep, "swept")
        rolled_up = counted(running.invoke_timer("rollup"), "rolled up")
        strange = counted(running.invoke_blob("ingest_nsg", NIC.container, "notes.txt"), "ingested")
        traffic.fault = lambda _: Fault.FORBIDDEN
        failed = running.invoke_blob("ingest_nsg", NIC.container, OTHER.blob_name(NIGHT))
        refused = line_of(running, failed, "ingested")
        traffic.fault = None
    size = len(blob_of(record(NIGHT, flow(NIGHT), flow(NIGHT), "?"))) - len("]}")
    assert lines == [
        {"Blob": blob.name, "Bytes": size, "Records": 1, "Tuples": 2, "Malformed": 1}
        | {"Updates": 1, "Conflicts": 0},
        {"Blob": blob.name, "Bytes": 0, "Records": 0, "Tuples": 0, "Malformed": 0}
        | {"Updates": 0, "Conflicts": 0},
    ]
    assert 0 <= lags[0] < 60
    assert lags[1] is None
    assert (swept["Listed"], swept["Grown"], swept["Tuples"], swept["Failed"]) == (2, 1, 1, 0)
    rejected = [log for log in running.logs_of(sweep) if log.level == "Warning"]
    assert len(rejected) == 1, "what its threads say is the invocation's: the host drops what is nobody's"
    assert (rolled_up["Scopes"], rolled_up["Hours"], rolled_up["Failed"]) == (2, 2, 0)
    assert "notes.txt" in strange["PassedOver"]
    assert refused["Error"].startswith("Unavailable: ")
    assert not failed.succeeded


def test_the_operators_page_shows_the_lines_as_they_are() -> None:
    shown = (ROOT / "docs/operate.md").read_text().split("```text\n")[1].split("```")[0]
    always = {"Requests", "Seconds"}
    for word, row in (
        ("ingested", {"Blob": "", **Ingested().row()}),
        ("swept", Swept().row()),
        ("rolled up", RolledUp().row()),
    ):
        line = re.search(rf"{word} (\{{[^}}]+\}})", shown)
        assert line
        names = set(re.findall(r'"(\w+)":', line[1]))
        assert names <= row.keys() | always, word
        assert "…," in line[1] or names == row.keys() | always, word


def test_every_value_of_host_json_is_justified_on_the_operators_page() -> None:
    """Its table has a row for each value, with what it is, and no other rows."""
    page = (ROOT / "docs/operate.md").read_text()
    section = page.partition("## host.json, value by value")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE))
    host = json.loads((ROOT / "host.json").read_text())
    logging_ = host["logging"]
    sampling = logging_["applicationInsights"]["samplingSettings"]
    levels = {
        re.sub(r"Function\.\w+\.", "Function.NAME.", name): level
        for name, level in logging_["logLevel"].items()
    }
    default = levels.pop("default")
    on, a_second = ("off", "on")[sampling["isEnabled"]], sampling["maxTelemetryItemsPerSecond"]
    blobs = host["extensions"].pop("blobs")
    assert rows == {
        "`extensionBundle`": f"`{host['extensionBundle']['version']}`",
        **{f"`{name}`": f"{value}" for name, value in blobs.items()},
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

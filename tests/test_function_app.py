"""The function app as the host sees it: what it is bound to, and that each function does its job on real
storage, under Microsoft's own worker code.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.settings import read_settings
from tests.system import NIGHT, Stores, assert_views_are_right, blob_of, flow, record, results
from tests.worker import ROOT, Worker, WorkerFailed, drain, queue_of_work, worker
from tools.network_watcher import NSG_CONTAINER, VNET_CONTAINER, Nic, demo_nics, hour_of, whole_blob

NICS = demo_nics(3)
IDENTITY = {
    "FLOW_LOGS__blobServiceUri": "https://logs.blob.core.windows.net",
    "FLOW_LOGS__credential": "managedidentity",
    "RESULTS__tableServiceUri": "https://results.table.core.windows.net",
    "RESULTS__credential": "managedidentity",
}

QUEUE = {"queueName": "flowtally-work", "connection": "AzureWebJobsStorage"}
QUEUE_TRIGGER = {"direction": "IN", "name": "message", "type": "queueTrigger", **QUEUE}
HTTP_ANSWER = {"type": "http", "direction": "OUT", "name": "$return"}
HOST_SETTINGS = {"AzureWebJobsStorage", "FUNCTIONS_WORKER_RUNTIME"}


def blob_trigger(container: str, source: str = "EventGrid") -> dict[str, Any]:
    """Deferred: the host hands over the blob's name, and doesn't send its content with each update."""
    return {
        "type": "blobTrigger",
        "direction": "IN",
        "name": "blob",
        "path": container + "/{name}",
        "connection": "FLOW_LOGS",
        "source": source,
        "properties": {"SupportsDeferredBinding": True},
    }


def to_queue(name: str) -> dict[str, Any]:
    return {"direction": "OUT", "name": name, "type": "queue", **QUEUE}


def timer_trigger(schedule: str) -> dict[str, Any]:
    return {"type": "timerTrigger", "direction": "IN", "name": "timer", "schedule": schedule}


def http_trigger(route: str, level: str = "FUNCTION") -> dict[str, Any]:
    return {
        "type": "httpTrigger",
        "direction": "IN",
        "name": "req",
        "methods": ["GET"],
        "authLevel": level,
        "route": route,
    }


def bindings(running: Worker) -> dict[str, dict[str, Any]]:
    """The functions, each with what triggers it: of the others only HTTP's answer is bound, and the queue. So
    nothing keeps the host from handing over a blob's name alone, as it does where no other binding has a
    ``{name}``.
    """
    wanted = {
        "httpTrigger": [HTTP_ANSWER],
        "timerTrigger": [to_queue("work")],
        "queueTrigger": [to_queue("follow")],
        "blobTrigger": [],
    }
    for function in running.functions.values():
        others = [each for each in function.bindings if each is not function.trigger]
        assert others == wanted[function.trigger["type"]]
    return {name: function.trigger for name, function in running.functions.items()}


def test_the_functions_and_what_triggers_them() -> None:
    """With identities, and nothing to reach: indexing needs no storage."""
    with worker(IDENTITY) as running:
        assert bindings(running) == {
            "ingest_nsg": blob_trigger(NSG_CONTAINER),
            "ingest_vnet": blob_trigger(VNET_CONTAINER),
            "sweep": timer_trigger("0 7,37 * * * *"),
            "daily": timer_trigger("0 17 2 * * *"),
            "rollup": timer_trigger("30 */5 * * * *"),
            "work": QUEUE_TRIGGER,
            "questions": http_trigger("questions"),
            "scopes": http_trigger("scopes"),
            "show": http_trigger("show/{question}"),
            "pair": http_trigger("pair"),
            "host": http_trigger("host"),
            "status": http_trigger("status"),
            "doctor": http_trigger("doctor"),
            "openapi": http_trigger("openapi.json"),
            "dashboard": http_trigger("dashboard", "ANONYMOUS"),
        }


def level_of(category: str, levels: dict[str, str]) -> str:
    """The level from which on lines of a category are kept, as Microsoft's logging package finds it
    (LoggerRuleSelector): by the longest rule whose beginning, and end behind a ``*``, are the category's.
    """
    rules = [rule.partition("*") for rule in levels if rule != "default"]
    found = [
        "".join(rule)
        for rule in rules
        if category.lower().startswith(rule[0].lower()) and category.lower().endswith(rule[2].lower())
    ]
    return levels[max(found, key=len, default="default")]


def test_the_host_keeps_what_each_function_says_about_itself() -> None:
    """All else is kept from warnings on: the host's own two lines about each invocation above all. Of the
    invocations' results only failures are kept. Names of functions depend on the accounts, so one rule holds
    for those.
    """
    levels = json.loads((ROOT / "host.json").read_text())["logging"]["logLevel"]
    accounts = {"FLOW_LOGS_STWEU__blobServiceUri": "https://stweu.blob.core.windows.net"}
    with worker(IDENTITY | accounts) as running:
        names = running.functions.keys()
    assert {"ingest_nsg", "ingest_vnet_stweu"} <= names
    for name in names:
        assert level_of(f"Function.{name}.User", levels) == "Information"
        assert level_of(f"Function.{name}", levels) == "Warning"
    others = {"default": "Warning", "Host.Results": "Error"}
    rules = {f"Function.{'ingest_*' if name.startswith('ingest_') else name}.User" for name in names}
    assert levels == others | dict.fromkeys(rules, "Information")


def test_source_and_schedules_are_settings() -> None:
    settings = {
        "FLOWTALLY_MODE": "polling",
        "FLOWTALLY_SWEEP_SCHEDULE": "0 0 * * * *",
        "FLOWTALLY_ROLLUP_SCHEDULE": "0 */2 * * * *",
    }
    with worker(IDENTITY | settings) as running:
        found = bindings(running)
    assert found["ingest_nsg"] == blob_trigger(NSG_CONTAINER, "LogsAndContainerScan")
    assert found["ingest_vnet"] == blob_trigger(VNET_CONTAINER, "LogsAndContainerScan")
    assert found["sweep"] == timer_trigger("0 0 * * * *")
    assert found["rollup"] == timer_trigger("0 */2 * * * *")


def test_a_schedule_has_no_trigger_on_flow_logs_and_no_rollup_of_its_own() -> None:
    with worker(IDENTITY | {"FLOWTALLY_MODE": "schedule"}) as running:
        found = bindings(running)
    assert not {"ingest_nsg", "ingest_vnet", "rollup"} & found.keys()
    assert found["sweep"] == timer_trigger("0 */5 * * * *")


def test_each_account_has_functions_of_its_own() -> None:
    others = {
        f"FLOW_LOGS_{name}__blobServiceUri": f"https://{name.lower()}.blob.core.windows.net"
        for name in ("STWEU", "STEUS2")
    }
    with worker({name: value for name, value in IDENTITY.items() if "FLOW" not in name} | others) as running:
        found = bindings(running)
    for name in ("stweu", "steus2"):
        for kind, container in (("nsg", NSG_CONTAINER), ("vnet", VNET_CONTAINER)):
            wanted = {**blob_trigger(container), "connection": f"FLOW_LOGS_{name.upper()}"}
            assert found[f"ingest_{kind}_{name}"] == wanted
    assert "ingest_nsg" not in found


def test_a_missing_setting_fails_at_start_with_one_clear_error() -> None:
    with (
        pytest.raises(WorkerFailed, match=r"^BadSettings: RESULTS__tableServiceUri is not set;.*$"),
        worker(IDENTITY | {"RESULTS__tableServiceUri": ""}),
    ):
        pass


def test_the_example_for_a_machine_of_ones_own_holds_just_what_is_read() -> None:
    """Everything that the app reads with a connection string, what the host reads, and nothing else."""
    values = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    read: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            read.add(name)
            return super().get(name, default)

    read_settings(Environment(values))
    assert {name for name in read if "__" not in name} == values.keys() - HOST_SETTINGS
    with worker(values) as running:
        assert bindings(running)["ingest_nsg"]["source"] == "LogsAndContainerScan"


def test_the_functions_do_their_jobs(stores: Stores) -> None:
    """Events for some of the blobs, one of them twice; the sweep for the rest; then the rollup."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for nic in NICS:
        stores.put(nic, hour, whole_blob(hour_of(nic, hour, seed=8, tuples_per_minute=2, minutes=5))[0])
    vnet, nsg, _ = NICS
    with worker(stores.environment) as running:
        for function, nic in (("ingest_vnet", vnet), ("ingest_nsg", nsg), ("ingest_vnet", vnet)):
            assert running.invoke_blob(function, nic.container, nic.blob_name(hour)).succeeded
        with queue_of_work(stores.environment["FLOW_LOGS"]) as queue:
            for timer in ("sweep", "rollup", "rollup"):
                assert drain(running, queue, running.invoke_timer(timer))
    assert_views_are_right(stores)


def test_an_event_for_a_log_whose_name_begins_otherwise_than_its_container_s_do(stores: Stores) -> None:
    name = NICS[0].blob_name(NIGHT).replace("flowLogResourceID=", "resourceId=")
    stores.put_named(VNET_CONTAINER, name, blob_of(record(NIGHT, flow(NIGHT))))
    with worker(stores.environment) as running:
        assert running.invoke_blob("ingest_vnet", VNET_CONTAINER, name).succeeded
    assert [key[0][:5] for key, row in results(stores).ledger.items() if row["Tuples"] == 1] == ["vnet~"]
    assert stores.sweep().behind == 0


def test_an_event_for_what_can_never_be_counted_is_no_failure(stores: Stores) -> None:
    """The host would call the function again at once, and then put the event among the poisonous."""
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    twin = blob.name.replace("RG-DEMO", "rg-demo")
    stores.put_named(NSG_CONTAINER, twin, blob_of())
    gone = Nic("nsg-v2", "0" * 12, "nsg-gone").blob_name(NIGHT)
    with worker(stores.environment) as running:
        for name in ("notes.txt", blob.name.replace("h=23", "h=24"), gone, blob.name, twin):
            assert running.invoke_blob("ingest_nsg", NSG_CONTAINER, name).succeeded
    passed_over = [log for log in running.logs if log.message.startswith("passed over")]
    assert [log.level for log in passed_over] == ["Warning"] * 3
    assert len(results(stores).ledger) == 1


def test_storage_that_fails_is_a_failed_invocation(stores: Stores) -> None:
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    wrong_key = stores.connection_string.replace("AccountKey=E", "AccountKey=F")
    with worker({**stores.environment, "RESULTS": wrong_key}) as running:
        done = running.invoke_blob("ingest_nsg", NSG_CONTAINER, blob.name)
    assert not done.succeeded
    assert done.error.startswith("Unavailable: ")

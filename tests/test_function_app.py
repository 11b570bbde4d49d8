"""The function app: what it is bound to, and that each function does its job on real storage."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import naive
from tests.system import NIGHT, Stores, assert_views_say, blob_of, flow, record, results
from tools.network_watcher import NSG_CONTAINER, VNET_CONTAINER, Nic, demo_nics, hour_of, whole_blob

ROOT = Path(__file__).parents[1]
NICS = demo_nics(3)

type Run = Callable[..., subprocess.CompletedProcess[str]]

INDEX = """
import json
from function_app import app
functions = {each.get_function_name(): each.get_bindings_dict()["bindings"] for each in app.get_functions()}
print(json.dumps(functions, default=lambda value: value.value))
"""

# As the host does it: deferred binding hands over a client of the SDK, timers a TimerRequest.
CALL = """
import json, logging, sys
from azure.storage.blob import BlobServiceClient
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from function_app import app, settings
functions = {each.get_function_name(): each.get_user_function() for each in app.get_functions()}
service = BlobServiceClient.from_connection_string(settings.flow_logs.connection_string)
for name, container, blob in json.loads(sys.argv[1]):
    functions[name](service.get_blob_client(container, blob) if container else None)
"""


@pytest.fixture
def run(stores: Stores) -> Run:
    """Run Python in a process of its own, with the settings of a function app."""

    def run_it(code: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        names = ("FLOW_LOGS", "RESULTS", "FLOWTALLY")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", code, *arguments],
            cwd=ROOT,
            env=environment | stores.environment | settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_it


def index(run: Run, **settings: str) -> dict[str, dict[str, Any]]:
    """The functions, each with its one binding."""
    done = run(INDEX, **settings)
    assert done.returncode == 0, done.stderr
    functions = json.loads(done.stdout)
    assert all(len(bindings) == 1 for bindings in functions.values())
    return {name: bindings[0] for name, bindings in functions.items()}


def test_the_functions_and_what_triggers_them(run: Run) -> None:
    functions = index(run)
    assert {name: each["type"] for name, each in functions.items()} == {
        "ingest_nsg": "blobTrigger",
        "ingest_vnet": "blobTrigger",
        "sweep": "timerTrigger",
        "rollup": "timerTrigger",
    }
    for name, container in (("ingest_nsg", NSG_CONTAINER), ("ingest_vnet", VNET_CONTAINER)):
        trigger = functions[name]
        assert trigger["path"] == container + "/{name}"
        assert trigger["connection"] == "FLOW_LOGS"
        assert trigger["source"] == "EventGrid"
    for name in ("sweep", "rollup"):
        assert len(functions[name]["schedule"].split()) == 6


def test_source_and_schedules_are_settings(run: Run) -> None:
    functions = index(
        run,
        FLOWTALLY_TRIGGER_SOURCE="Polling",
        FLOWTALLY_SWEEP_SCHEDULE="0 0 * * * *",
        FLOWTALLY_ROLLUP_SCHEDULE="0 */2 * * * *",
    )
    assert {functions[name]["source"] for name in ("ingest_nsg", "ingest_vnet")} == {"LogsAndContainerScan"}
    assert functions["sweep"]["schedule"] == "0 0 * * * *"
    assert functions["rollup"]["schedule"] == "0 */2 * * * *"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"FLOW_LOGS": ""}, "FLOW_LOGS__blobServiceUri"),
        ({"RESULTS": ""}, "RESULTS__tableServiceUri"),
        ({"FLOWTALLY_TRIGGER_SOURCE": "Guessing"}, "FLOWTALLY_TRIGGER_SOURCE"),
        ({"FLOWTALLY_SWEEP_SCHEDULE": "often"}, "FLOWTALLY_SWEEP_SCHEDULE"),
    ],
)
def test_a_missing_or_wrong_setting_fails_at_start_with_one_clear_error(
    run: Run, settings: dict[str, str], named: str
) -> None:
    done = run(INDEX, **settings)
    last = done.stderr.splitlines()[-1]
    assert done.returncode != 0
    assert last.startswith("shared.errors.BadSettings: ")
    assert named in last
    assert "During handling" not in done.stderr


def test_identity_settings_need_no_storage_to_be_indexed(run: Run) -> None:
    functions = index(
        run,
        FLOW_LOGS="",
        FLOW_LOGS__blobServiceUri="https://logs.blob.core.windows.net",
        FLOW_LOGS__credential="managedidentity",
        RESULTS="",
        RESULTS__tableServiceUri="https://results.table.core.windows.net",
    )
    assert len(functions) == 4


def test_the_functions_do_their_jobs(run: Run, stores: Stores) -> None:
    """Events for some of the blobs, twice and in any order; the sweep for the rest; then the rollup."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for nic in NICS:
        stores.put(nic, hour, whole_blob(hour_of(nic, hour, seed=8, tuples_per_minute=2, minutes=5))[0])
    vnet, nsg, _ = NICS
    events = [
        ("ingest_vnet", vnet.container, vnet.blob_name(hour)),
        ("ingest_nsg", nsg.container, nsg.blob_name(hour)),
        ("ingest_vnet", vnet.container, vnet.blob_name(hour)),
        ("sweep", None, None),
        ("rollup", None, None),
    ]
    done = run(CALL, json.dumps(events))
    assert done.returncode == 0, done.stderr
    assert "swept 3 blobs: 1 were behind, 0 failed" in done.stderr
    assert "rolled up 3 scopes" in done.stderr
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


def test_an_event_for_what_can_never_be_counted_is_no_failure(run: Run, stores: Stores) -> None:
    """The host would deliver it again and again, and then put it among the poisonous."""
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    events = [
        ("ingest_nsg", NSG_CONTAINER, "notes.txt"),
        ("ingest_nsg", NSG_CONTAINER, blob.name.replace("h=23", "h=24")),
        ("ingest_nsg", NSG_CONTAINER, Nic("nsg-v2", "0" * 12, "nsg-gone").blob_name(NIGHT)),
        ("ingest_nsg", NSG_CONTAINER, blob.name),
        ("ingest_nsg", NSG_CONTAINER, blob.name.replace("RG-DEMO", "rg-demo")),
    ]
    stores.put_named(NSG_CONTAINER, events[-1][2], blob_of())
    done = run(CALL, json.dumps(events))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WARNING passed over") == 3
    assert len(results(stores).ledger) == 1


def test_storage_that_fails_is_a_failure_so_that_the_host_tries_again(run: Run, stores: Stores) -> None:
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    wrong_key = stores.connection_string.replace("AccountKey=E", "AccountKey=F")
    done = run(CALL, json.dumps([("ingest_nsg", NSG_CONTAINER, blob.name)]), RESULTS=wrong_key)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("shared.errors.Unavailable: ")

"""Several accounts of flow logs: what one of them does, or doesn't, is no matter of the others."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shared import cli
from shared.flowlog.blob_name import BlobName
from shared.ledger.store import Ledger
from shared.settings import Connection
from shared.tables import Tables
from tests.system import HOUR, NIGHT, Stores, blob_of, create_all, flow, forget_all, host, record
from tools.azurite import ACCOUNT_KEY, azurite
from tools.network_watcher import NSG_CONTAINER, Nic
from tools.proxy import Request, forwarded

NAMES = ("openlogs", "shutlogs", "mutelogs")
"""The accounts: the first one also holds the results, the second may refuse, the third may say nothing."""

TIME = ("--since", f"{NIGHT:%Y-%m-%dT%H}", "--until", f"{NIGHT + HOUR:%Y-%m-%dT%H}")
WHY = ("why", "--from", "203.0.113.0/24", "--to", "10.0.0.4", *TIME)
EVERYWHERE = Nic("nsg-v2", "000D3A000001", "nsg-everywhere")
"""An interface whose flow log was written to all of the accounts, one after the other."""


@dataclass
class Estate:
    """Three emulators; ``blobs`` by account: one of a scope of its own, one of a scope that all have."""

    stores: list[Stores]
    well: dict[str, str]
    ill: dict[str, str]
    blobs: dict[str, tuple[BlobName, BlobName]]


def nic_of(account: str) -> Nic:
    return Nic("nsg-v2", "000D3A000002", f"nsg-{account}")


@pytest.fixture(scope="module")
def running() -> Iterator[Estate]:
    """Emulators with settings for all of them, once as they are, and once where the second refuses this key
    and the third takes requests and never answers.
    """
    with ExitStack() as stack:
        emulators = [stack.enter_context(azurite(account=name)) for name in NAMES]
        stores = [stack.enter_context(host(each.connection_string)) for each in emulators]
        mute, traffic = stack.enter_context(forwarded(emulators[2]))
        released = Event()
        stack.callback(released.set)

        def hold(_: Request) -> None:
            released.wait(60)

        traffic.fault = hold
        settings = {
            f"FLOW_LOGS_{name.upper()}": each.connection_string
            for name, each in zip(NAMES, stores, strict=True)
        }
        settings["RESULTS"] = stores[0].connection_string
        shut = stores[1].connection_string.replace(ACCOUNT_KEY, ACCOUNT_KEY.replace("E", "F"))
        ill = {**settings, "FLOW_LOGS_SHUTLOGS": shut, "FLOW_LOGS_MUTELOGS": mute}
        yield Estate(stores, settings, ill, {})


@pytest.fixture
def estate(running: Estate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    """All accounts have a blob of a scope of their own, and one of a scope that the others have, too."""
    monkeypatch.setattr("shared.blobs._IMPATIENT", {"retry_total": 0, "read_timeout": 1})
    for number, (account, stores) in enumerate(zip(NAMES, running.stores, strict=True)):
        create_all(stores)
        source = f"203.0.113.{number + 1}"
        data = blob_of(record(NIGHT, flow(NIGHT, source), "a,b"))
        running.blobs[account] = stores.put(nic_of(account), NIGHT, data), stores.put(EVERYWHERE, NIGHT, data)
    yield running
    for stores in running.stores:
        forget_all(stores)


def call(settings: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, [*arguments], env=settings)


def answer(settings: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, what was answered, and what was said."""
    done = call(settings, *arguments, "-o", "json")
    assert done.stdout, done
    return done.exit_code, json.loads(done.stdout), re.sub(r"\s+", " ", done.stderr)


def assert_both_are_named(said: str) -> None:
    """Those that failed, by name and connection, with why and what helps."""
    assert re.search(
        r"account shutlogs \(FLOW_LOGS_SHUTLOGS\): [^;]*403[^;]*; .*the flow-log account shutlogs", said
    )
    assert re.search(
        r"account mutelogs \(FLOW_LOGS_MUTELOGS\): no answer: [Rr]ead timed out; flowtally doctor", said
    )


# All is well


def test_a_sweep_counts_all_and_status_says_so_by_account(estate: Estate) -> None:
    code, found, _ = answer(estate.well, "status", *TIME)
    assert (code, {row["Account"] for row in found["rows"]}) == (1, {*NAMES})
    done = call(estate.well, "sweep", *TIME)
    assert done.exit_code == 0, done.stderr
    code, found, _ = answer(estate.well, "status", *TIME)
    assert (code, found["failed"], found["problems"]) == (0, [], [])
    assert [(row["Scope"].rpartition("~")[2], row["Account"]) for row in found["rows"]] == sorted(
        [("nsg-everywhere", name) for name in NAMES] + [(f"nsg-{name}", name) for name in NAMES]
    )
    assert all((row["Behind"], row["Tuples"]) == (0, 1) for row in found["rows"])
    assert call(estate.well, "rollup").exit_code == 0
    code, found, said = answer(estate.well, "status", "--at", f"{NIGHT:%Y-%m-%dT%H}")
    assert (code, {row["Blobs"] for row in found["rows"]}) == (0, {1, 3}), said


def test_a_table_has_the_account_if_there_are_several(estate: Estate) -> None:
    call(estate.well, "sweep", *TIME)
    assert "mutelogs" in call({**estate.well, "COLUMNS": "80"}, "status", *TIME).stdout
    alone = {name: text for name, text in estate.well.items() if name in ("RESULTS", "FLOW_LOGS_OPENLOGS")}
    assert "Account" not in call(alone, "status", *TIME).stdout
    assert "Account" not in call(alone, "flows", "nsg-openlogs", *TIME).stdout


@pytest.mark.parametrize("command", ["flows", "rejects"])
def test_a_name_that_several_accounts_have_is_read_in_all_and_a_url_in_its_own(
    estate: Estate, command: str
) -> None:
    _, everywhere = estate.blobs["mutelogs"]
    for asked in (everywhere.name, "nsg-everywhere"):
        code, found, _ = answer(estate.well, command, asked, *TIME)
        per_account = 2 if command == "flows" else 1
        assert (code, sorted({row["Account"] for row in found["rows"]})) == (0, sorted(NAMES))
        assert len(found["rows"]) == 3 * per_account
    table = call(estate.well, command, "nsg-everywhere", *TIME).stdout
    assert all(name in table for name in NAMES)
    url = estate.stores[2].flow_logs.service.get_blob_client(NSG_CONTAINER, everywhere.name).url
    code, found, _ = answer(estate.well, command, f"{url}?sig=secret", *TIME)
    assert (code, {row["Account"] for row in found["rows"]}) == (0, {"mutelogs"})


def test_a_url_of_another_account_is_refused_with_the_connections_that_there_are(estate: Estate) -> None:
    blob, _ = estate.blobs["openlogs"]
    url = f"https://elsewhere.blob.core.windows.net/{NSG_CONTAINER}/{blob.name}"
    done = call(estate.well, "flows", url)
    assert done.exit_code == 2
    for name in ("the account elsewhere", *NAMES, *(f"FLOW_LOGS_{name.upper()}" for name in NAMES)):
        assert name in done.stderr
    done = call(estate.well, "flows", blob.name.replace("openlogs", "nobody").replace("OPENLOGS", "NOBODY"))
    assert done.exit_code == 2
    assert "of the accounts mutelogs, openlogs, shutlogs: it was never written" in done.stderr


def test_why_reads_all(estate: Estate) -> None:
    code, found, _ = answer(estate.well, *WHY)
    assert (code, sum(row["Tuples"] for row in found["rows"])) == (0, 6)


# One refuses, and one doesn't answer


def test_a_sweep_goes_on(estate: Estate) -> None:
    began = time.monotonic()
    done = call(estate.ill, "sweep", *TIME)
    assert time.monotonic() - began < 20
    assert done.exit_code == 1
    said = re.sub(r"\s+", " ", done.stderr)
    for name in ("shutlogs", "mutelogs"):
        assert f"failed, left to the next sweep: account {name}: " in said
    assert [
        *Ledger(Tables(Connection("RESULTS", connection_string=estate.well["RESULTS"]))).scopes()
    ] == sorted(blob.scope for blob in estate.blobs["openlogs"])
    code, found, _ = answer(estate.ill, "status", "--at", f"{NIGHT:%Y-%m-%dT%H}")
    assert code == 1
    assert "not all accounts were searched" in " ".join(found["said"])


def test_status_goes_on(estate: Estate) -> None:
    call(estate.ill, "sweep", *TIME)
    for scope in ((), ("--scope", "nsg-everywhere")):
        code, found, said = answer(estate.ill, "status", *TIME, *scope)
        assert (code, {row["Account"] for row in found["rows"]}) == (1, {"openlogs"})
        assert {row["Behind"] for row in found["rows"]} == {0}
        assert [each["Account"] for each in found["failed"]] == ["mutelogs", "shutlogs"]
        assert_both_are_named(said)


def test_what_may_be_in_an_account_that_did_not_answer_is_not_said_to_be_unknown(estate: Estate) -> None:
    for command in (("status", "--scope", "nsg-mutelogs"), ("flows", "nsg-mutelogs")):
        done = call(estate.ill, *command, *TIME)
        assert done.exit_code == 1
        assert "unknown scope 'nsg-mutelogs'" in done.stderr
        assert_both_are_named(re.sub(r"\s+", " ", done.stderr))
    blob, _ = estate.blobs["mutelogs"]
    done = call(estate.ill, "flows", blob.name)
    assert done.exit_code == 1
    assert "as far as they answered" in done.stderr


@pytest.mark.parametrize("command", [("flows", "nsg-everywhere"), ("rejects", "nsg-everywhere"), ("why",)])
def test_reading_the_log_goes_on(estate: Estate, command: tuple[str, ...]) -> None:
    code, found, said = answer(estate.ill, *(WHY if command == ("why",) else (*command, *TIME)))
    assert (code, len(found["failed"])) == (1, 2)
    assert found["rows"]
    assert {row.get("Account", "openlogs") for row in found["rows"]} == {"openlogs"}
    assert_both_are_named(said)
    assert "incomplete: 2 of the accounts couldn't be asked" in said


def test_doctor_goes_on(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.doctor._ANSWERS_WITHIN_SECONDS", 1)
    call(estate.ill, "sweep", *TIME)
    code, found, _ = answer(estate.ill, "doctor")
    outcomes = {row["Step"]: row["Outcome"] for row in found["rows"]}
    assert code == 1
    assert [step for step, outcome in outcomes.items() if outcome == "failed"] == [
        "FLOW_LOGS_MUTELOGS answers",
        "list flow logs in shutlogs",
    ]
    assert [step for step, outcome in outcomes.items() if outcome == "skipped"] == [
        *("list flow logs in mutelogs", "read flow logs in mutelogs", "read flow logs in shutlogs"),
        *("counting in mutelogs", "counting in openlogs", "counting in shutlogs"),
    ], "in openlogs there is no blob of the last hours"
    for step in ("list flow logs in openlogs", "tables", "read results", "record types", "work"):
        assert outcomes[step] == "ok", step
    to_dos = {row["Step"]: row["ToDo"] for row in found["rows"]}
    assert "the flow-log account mutelogs" in to_dos["FLOW_LOGS_MUTELOGS answers"] or "Azurite" in str(to_dos)
    well = answer(estate.well, "doctor")[1]["rows"]
    assert not [row for row in well if row["Outcome"] == "failed"]
    assert "FLOW_LOGS_MUTELOGS" in well[0]["Found"]
    assert well[0]["Found"].endswith("mode events")


def test_a_named_blob_is_read_where_it_can_be(estate: Estate) -> None:
    _, blob = estate.blobs["openlogs"]
    code, found, said = answer(estate.ill, "flows", blob.name)
    assert (code, {row["Account"] for row in found["rows"]}) == (1, {"openlogs"})
    assert_both_are_named(said)

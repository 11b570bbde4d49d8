"""What comes from outside stays data, and what is secret stays out of sight."""

import ast
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import ResourceTypes, generate_account_sas
from click.testing import CliRunner

from shared import cli
from shared.connection import storage_errors
from shared.counts.index import Head, Indexed, day_period, hour_period
from shared.errors import FlowtallyError, Unavailable
from shared.ingest import ingest
from shared.settings import read_settings
from shared.views.store import There
from tests.system import HOUR, NIGHT, Stores, blob_of, flow, host, named_rows, record
from tools.azurite import ACCOUNT, ACCOUNT_KEY, Azurite
from tools.licences import licences, table
from tools.network_watcher import Nic
from tools.proxy import Fault, Request, forwarded

ROOT = Path(__file__).parents[1]
WEB = Nic("nsg-v2", "000D3A000002", "nsg-web")

# Filters


def queries() -> Iterator[tuple[str, ast.expr]]:
    """All conditions that are handed to the tables, with where."""
    for path in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "query" and len(node.args) > 1:
                yield f"{path.name}:{node.lineno}", node.args[1]
            if called in {"query_entities", "list_entities", "query_tables"}:
                assert path.name == "tables.py", f"{path.name}:{node.lineno}: all queries go through `query`"


def test_conditions_are_constants() -> None:
    """A name or a constant; or, in one place, two constants that are joined."""
    found = dict(queries())
    assert len(found) >= 4
    pasted = {where: ast.unparse(condition) for where, condition in found.items() if _is_pasted(condition)}
    assert [*pasted.values()] in ([], ["f'{condition} and {only}' if only else condition"])


def _is_pasted(condition: ast.expr) -> bool:
    return not isinstance(condition, ast.Constant) and any(
        isinstance(node, ast.JoinedStr | ast.BinOp) for node in ast.walk(condition)
    )


@pytest.mark.parametrize("evil", ["x' or PartitionKey ne 'x", "' or '1' eq '1", "@after", "%27 or 1 eq 1"])
def test_a_scope_that_is_a_filter_finds_nothing(stores: Stores, evil: str) -> None:
    stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    stores.sweep()
    stores.rollup()
    assert [*stores.ledger.entries(evil, NIGHT, NIGHT)] == []
    assert stores.views.find_rows(evil, "rules", "hour", NIGHT, NIGHT + HOUR).keys == []
    assert stores.views.find_rows(evil, "rules", "hour", NIGHT, NIGHT + HOUR) == There([])
    hour = hour_period(NIGHT)
    assert stores.counts.head(evil, hour) == Head()
    assert stores.counts.heads_of_hours(evil, day_period(NIGHT)) == {}
    assert [*stores.counts.part(evil, "rules", hour, hour)] == []
    assert [*stores.counts.part(hour.index, evil, hour, hour)] == []
    assert stores.counts.indexed(evil, hour) == Indexed()
    assert stores.counts.described(evil) == (None, "")


def test_a_name_that_is_a_filter_is_a_scope_of_its_own(stores: Stores) -> None:
    """Quotes and operators in a path are part of the key, nothing else."""
    name = WEB.blob_name(NIGHT).replace("NSG-WEB", "x' or PartitionKey ne 'x")
    good = blob_of(record(NIGHT, flow(NIGHT)))
    stores.put(WEB, NIGHT, good)
    stores.put_named(WEB.container, name, good)
    assert stores.sweep().ingested == 2
    stores.rollup()
    there = [len([*stores.ledger.entries(scope, NIGHT, NIGHT)]) for scope in stores.ledger.scopes()]
    assert there == [1, 1]
    tuples = [row["Tuples"] for grain in ("hour", "day") for row in named_rows(stores, "nics", grain)]
    assert tuples == [1] * 4
    scopes = {*stores.ledger.scopes()}
    assert stores.counts.scopes_of(NIGHT, "nsg").keys() == stores.counts.catalog().keys() == scopes
    assert {key.scope for key in stores.counts.findings(NIGHT, NIGHT)} - {""} == scopes


# Secrets


def secrets_of(storage: Azurite) -> dict[str, str]:
    """Connection strings with a secret in them, by that secret."""
    sas = generate_account_sas(
        ACCOUNT,
        ACCOUNT_KEY,
        ResourceTypes(service=True, container=True, object=True),
        "rwdlacu",
        datetime.now(UTC) + timedelta(hours=1),
        services="bt",
    )
    ends = ";".join(part for part in storage.connection_string.split(";") if "Endpoint=" in part)
    signature = next(part for part in sas.split("&") if part.startswith("sig=")).removeprefix("sig=")
    return {ACCOUNT_KEY: storage.connection_string, signature: f"{ends};SharedAccessSignature={sas}"}


def _meets(fault: Fault | None, request: Request) -> Fault | None:
    return fault if request.method == "GET" else None


@pytest.mark.usefixtures("few_views")
@pytest.mark.parametrize("kind", ["key", "SAS"])
def test_nothing_that_is_said_holds_a_secret(
    storage: Azurite,
    stores: Stores,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Work that succeeds and work that fails, in every way, with all that `--verbose` shows."""
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0)
    monkeypatch.setattr("shared.connection.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("shared.ingest._MOST_CONFLICTS", 3)
    secret, connection_string = [*secrets_of(storage).items()][kind == "SAS"]
    for logger in ("", "azure", "shared"):  # as much as `--verbose` shows, whatever other tests have set
        caplog.set_level(logging.INFO, logger=logger)
    said: list[str] = [repr(read_settings({"FLOW_LOGS": connection_string, "RESULTS": connection_string}))]
    with forwarded(storage) as (text, traffic):
        ends = {part.partition("=")[0]: part for part in text.split(";")}
        through = ";".join(ends.get(part.partition("=")[0], part) for part in connection_string.split(";"))
        with host(through) as at:
            for fault in [None, *Fault]:
                traffic.fault = partial(_meets, fault)
                blob = stores.put(WEB, NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?"), str(fault).encode()))
                try:
                    ingest(blob, at.flow_logs, at.ledger)
                except FlowtallyError as error:
                    said.append(str(error))
                try:
                    at.rollup()
                except (FlowtallyError, AssertionError) as error:
                    said.append(str(error))
    said += [entry.getMessage() for entry in caplog.records]
    assert len(said) > 100
    assert any("answer 403" in line for line in said)
    assert not [line for line in said if secret in line or "sig=" in line.replace("sig=REDACTED", "")]
    with pytest.raises(Unavailable) as refused, host(through.replace(secret[:5], "AAAAA")) as stranger:
        stranger.flow_logs.now()
    assert secret[5:] not in str(refused.value)


@pytest.mark.parametrize("name", ["FLOW_LOGS", "RESULTS", "both"])
def test_a_password_in_an_endpoint_is_never_said(
    storage: Azurite, stores: Stores, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    text = storage.connection_string.replace("http://127.0.0.1", "http://user:TOPSECRET@127.0.0.1")
    settings = {each: text for each in ("FLOW_LOGS", "RESULTS") if name in (each, "both")}
    caplog.set_level(logging.INFO)
    for words in (
        ["doctor"],
        ["doctor", "-o", "json"],
        ["-v", "status"],
        ["-v", "flows", "nsg-web"],
        ["scopes"],
    ):
        done = CliRunner().invoke(cli.main, words, env={**stores.environment, **settings})
        assert done.exit_code == 2, words
        assert "a user name or a password" in done.output
        assert "TOPSECRET" not in done.output + caplog.text


def test_a_message_names_an_address_without_what_may_be_secret_in_it() -> None:
    for text in (
        "Invalid URL: 'https://user:TOPSECRET@logs/a'",
        "no answer from https://logs/a?sv=1&sig=TOPSECRET: refused",
        "Max retries exceeded with url: /a?comp=list&sig=TOPSECRET (Caused by: x)",
        "Unable to connect to proxy http://TOPSECRET@proxy:8080/",
    ):
        with pytest.raises(Unavailable) as error, storage_errors("reading"):
            raise AzureError(text)
        assert "TOPSECRET" not in str(error.value)
        assert str(error.value).startswith(f"reading: {text[:10]}")


# Licences


def test_the_licences_of_all_that_is_shipped_are_listed() -> None:
    assert (ROOT / "docs/licences.md").read_text().endswith(table())


def test_no_licence_binds_more_than_itself() -> None:
    for name, licence in licences().items():
        assert any(known in licence for known in ("MIT", "BSD", "Apache", "PSF", "MPL 2.0")), (name, licence)
        assert "GPL" not in licence, (name, licence)

"""Doctor says of each step whether it is well, and what to do if not; by identity on storage that takes
tokens, as in Azure, and by connection string.
"""

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared import advice, cli
from shared.advice import Where
from shared.blobs import ListedBlob
from shared.connection import credential, innermost
from shared.counts.work import Work
from shared.doctor import _ago, _count_late, examine
from shared.flowlog.blob_name import parse_blob_name
from shared.ledger.entry import Entry
from shared.settings import Mode
from shared.sweep import Compared
from shared.times import floor_hour
from tests.identity import CLIENT_ID, Identity, certify, identity, token
from tests.system import HOUR, Stores, blob_of, create_all, flow, host, record
from tests.worker import ROOT, drain, queue_of_work, worker
from tools.azurite import ACCOUNT, ACCOUNT_KEY, Azurite, azurite
from tools.network_watcher import demo_nics
from tools.proxy import Fault, Traffic

NIC = demo_nics(2)[1]
LAST_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
ROLES = r"Storage (Blob Data Reader|Table Data Contributor|Table Data Reader .*Contributor\)) on .*"
STEPS = [
    *("settings", "identity for FLOW_LOGS", "FLOW_LOGS answers", "identity for RESULTS", "RESULTS answers"),
    *("list flow logs", "read flow logs", "tables", "read results", "write results", "counting", "views"),
    *("record types", "sweeps", "work"),
]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A certificate that clients in this process, and its children, trust."""
    folder = tmp_path_factory.mktemp("certificate")
    certify(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(folder / "cert.pem"))
        yield folder


@pytest.fixture(scope="module")
def guarded(trusted: Path) -> Iterator[Azurite]:
    """Storage that takes tokens."""
    with azurite(certificate=trusted) as storage, host(storage.connection_string) as stores:
        create_all(stores)
        stores.put(NIC, LAST_HOUR, blob_of(record(LAST_HOUR, flow(LAST_HOUR))))
        yield storage


SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0"  # noqa: S105 -- it opens nothing
HOST_STEPS = ["host blobs", "host queues", "host tables", "flow-log queues"]


def settings_by_identity(storage: Azurite, known: Identity) -> dict[str, str]:
    """What a function app has in Azure, without what only its host needs."""
    credential.cache_clear()
    return {
        "FLOW_LOGS__blobServiceUri": storage.blob_service,
        "FLOW_LOGS__credential": "managedidentity",
        "FLOW_LOGS__clientId": CLIENT_ID,
        "RESULTS__tableServiceUri": storage.table_service,
        "RESULTS__credential": "managedidentity",
        "RESULTS__clientId": CLIENT_ID,
        "REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"],
        **known.environment,
    }


def settings_of_the_host(storage: Azurite) -> dict[str, str]:
    """What the host has in Azure beside that."""
    queues = storage.blob_service.replace(str(storage.blob_port), str(storage.queue_port))
    return {
        "AzureWebJobsStorage__blobServiceUri": f"{storage.blob_service}/",
        "AzureWebJobsStorage__queueServiceUri": f"{queues}/",
        "AzureWebJobsStorage__tableServiceUri": f"{storage.table_service}/",
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": CLIENT_ID,
        "FLOW_LOGS__queueServiceUri": f"{queues}/",
    }


def examined(settings: dict[str, str]) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the findings by step."""
    done = CliRunner().invoke(cli.main, ["doctor", "-o", "json"], env=settings)
    assert done.stdout, done
    rows = json.loads(done.stdout)["rows"]
    return done.exit_code, {row["Step"]: row for row in rows}


def outcomes(found: dict[str, dict[str, str]], outcome: str) -> list[str]:
    return [step for step, row in found.items() if row["Outcome"] == outcome]


# By identity


def test_the_app_works_by_identity_and_all_is_well(guarded: Azurite) -> None:
    with identity(token()) as known:
        settings = settings_by_identity(guarded, known)
        with (
            worker(settings | settings_of_the_host(guarded)) as running,
            queue_of_work(guarded.connection_string) as queue,
        ):
            done = running.invoke_blob("ingest_nsg", NIC.container, NIC.blob_name(LAST_HOUR))
            assert done.error == ""
            for timer in ("sweep", "rollup"):
                assert drain(running, queue, running.invoke_timer(timer))
            inside = running.request("GET", "/api/doctor").json()["rows"]
        assert {(each["resource"], each["client_id"]) for each in known.asked} == {
            ("https://storage.azure.com", CLIENT_ID)
        }
        code, found = examined(settings)
    assert list(found) == STEPS
    assert outcomes(found, "ok") == STEPS
    assert code == 0
    assert {row["Where"] for row in found.values()} == {"here"}
    assert CLIENT_ID in found["identity for FLOW_LOGS"]["Found"]
    assert [row["Step"] for row in inside] == STEPS + HOST_STEPS
    assert {(row["Where"], row["Outcome"]) for row in inside} == {("app", "ok")}


@pytest.mark.parametrize(
    ("changed", "failed", "says"),
    [
        ({"FLOW_LOGS__queueServiceUri": ""}, "flow-log queues", "FLOW_LOGS__queueServiceUri is not set"),
        (
            {"AzureWebJobsStorage__tableServiceUri": ""},
            "host tables",
            "Uri is not set: the host doesn't start",
        ),
        (
            {"AzureWebJobsStorage__queueServiceUri": "http://127.0.0.1:9"},
            "host queues",
            "no answer from 127.",
        ),
        (
            {"AzureWebJobsStorage__blobServiceUri": ""},
            "host blobs",
            "AzureWebJobsStorage__blobServiceUri is not set: the host doesn't start",
        ),
        *(
            ({f"{service}ServiceUri": text}, step, says)
            for service, step in (
                ("AzureWebJobsStorage__queue", "host queues"),
                ("FLOW_LOGS__queue", "flow-log queues"),
            )
            for text, says in (
                (f"AccountName=x;AccountKey={SECRET}", "is no service address"),
                ("https://[x/", "is no service address"),
                (f"https://{SECRET}@x.queue.core.windows.net", "is no service address"),
                (f"https://x.queue.core.windows.net/?sig={SECRET}", "is no service address"),
                ("http://x.queue.core.windows.net", "must begin with https://"),
                ("http://localhost.example.org", "must begin with https://"),
            )
        ),
    ],
)
def test_what_the_host_lacks(guarded: Azurite, changed: dict[str, str], failed: str, says: str) -> None:
    with identity(token()) as known:
        settings = settings_by_identity(guarded, known) | settings_of_the_host(guarded) | changed
        _, found = examined(settings)
    assert [step for step in outcomes(found, "failed") if step in HOST_STEPS] == [failed]
    assert says in found[failed]["Found"]
    assert found[failed]["ToDo"]
    assert SECRET not in json.dumps(found)


def test_by_schedule_nothing_is_asked_of_the_queues_of_flow_logs(guarded: Azurite) -> None:
    with identity(token()) as known:
        settings = settings_by_identity(guarded, known) | settings_of_the_host(guarded)
        del settings["FLOW_LOGS__queueServiceUri"]
        _, found = examined({**settings, "FLOWTALLY_MODE": "schedule"})
    assert [step for step in found if step in HOST_STEPS] == HOST_STEPS[:-1]
    assert found["settings"]["Found"].endswith("mode schedule")


@pytest.mark.parametrize("mode", ["events", "schedule"])
@pytest.mark.parametrize("code", ["AuthorizationFailure", "AuthorizationPermissionMismatch"])
def test_an_event_ends_the_apps_host_where_there_are_events(mode: Mode, code: str) -> None:
    service = advice.service_of_flow_logs("FLOW_LOGS_X", "x")
    for where in ("here", "app"):
        said = advice.to_be_allowed(service, 403, code, where, mode=mode)
        assert "the flow-log account x" in said
        assert ("each event ends the app's host process" in said) == (mode == "events" and where == "app")


@pytest.mark.parametrize(
    "text",
    ["https://[x/", f"https://user:{SECRET}@x.y", "http://x.blob.core.windows.net", "http://localhost@x.y"],
)
def test_an_address_that_no_token_goes_to(storage: Azurite, text: str) -> None:
    code, found = examined({"FLOW_LOGS__blobServiceUri": text, "RESULTS": storage.connection_string})
    assert (code, [*found]) == (2, ["settings"])
    assert found["settings"]["Found"].startswith("FLOW_LOGS__blobServiceUri ")
    assert text not in json.dumps(found)


@pytest.mark.filterwarnings("ignore:Testing an element's truth value")  # the blob SDK's reading of errors
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda: token(valid_until=-5), id="expired"),
        pytest.param(lambda: token(valid_from=600), id="not yet valid"),
        pytest.param(lambda: token("https://vault.azure.net"), id="for another service"),
        pytest.param(lambda: "no.token.atall", id="none"),
    ],
)
def test_a_token_that_is_not_accepted(guarded: Azurite, given: Callable[[], str]) -> None:
    with identity(given()) as known:
        code, found = examined(settings_by_identity(guarded, known))
    assert code == 1
    assert outcomes(found, "failed") == ["list flow logs", "tables"]
    for step in ("list flow logs", "tables"):
        assert "clock" in found[step]["ToDo"]
        assert "(answer 403, AuthenticationFailed)" in found[step]["Found"]


def test_without_a_token_it_says_so_and_no_command_asks_again_and_again(guarded: Azurite) -> None:
    with identity(None) as known:
        settings = settings_by_identity(guarded, known)
        code, found = examined(settings)
        assert code == 1
        assert outcomes(found, "failed") == ["identity for FLOW_LOGS", "identity for RESULTS"]
        assert "az login" in found["identity for RESULTS"]["ToDo"]
        for command in ("status", "scopes"):
            known.asked.clear()
            done = CliRunner().invoke(cli.main, [command], env=settings)
            (line,) = done.stderr.splitlines()
            assert (done.exit_code, done.stdout) == (1, ""), command
            assert line.startswith("flowtally: "), command
            assert len(known.asked) == 1, command


# What the service says


@contextmanager
def refusing(code: str) -> Iterator[str]:
    """A storage account that refuses everything with this code, as the services word it: its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            if code:
                self.send_header("x-ms-error-code", code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            error = {"code": code, "message": {"lang": "en-us", "value": "It is refused.\nRequestId:1"}}
            if code and self.command != "HEAD":
                self.wfile.write(json.dumps({"odata.error": error}).encode())

        do_HEAD = do_DELETE = do_GET  # noqa: N815 -- HTTP's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = threading.Thread(target=server.serve_forever, args=(0.02,))
        running.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{ACCOUNT}"
        finally:
            server.shutdown()
            running.join()


@pytest.mark.parametrize(
    ("code", "here", "app"),
    [
        ("AuthorizationPermissionMismatch", f"role {ROLES}ten minutes.* then$", f"role {ROLES}ten minutes"),
        ("AuthorizationFailure", "firewall .* keeps this machine out", "firewall .* keeps the app out"),
        ("KeyBasedAuthenticationNotPermitted", "ServiceUri instead of ", "ServiceUri instead of "),
        ("AuthenticationFailed", "clock", "clock"),
        ("SomethingElse", f"role {ROLES}up to ten minutes", f"role {ROLES}up to ten minutes"),
        ("", "proxy", "proxy"),
    ],
)
def test_what_to_do_depends_on_the_services_answer(storage: Azurite, code: str, here: str, app: str) -> None:
    with refusing(code) as address:
        text = storage.connection_string.replace(storage.blob_service, address)
        settings = dict.fromkeys(("FLOW_LOGS", "RESULTS"), text.replace(storage.table_service, address))
        _, found = examined(settings)
        in_app = {each.step: each.row() for each in examine(settings, "app")}
    for rows, wanted in ((found, here), (in_app, app)):
        assert outcomes(rows, "failed") == ["list flow logs", "tables"]
        for step in ("list flow logs", "tables"):
            assert re.search(wanted, rows[step]["ToDo"])
            assert "RequestId" not in rows[step]["Found"]
            assert code in rows[step]["Found"]
    said_of_the_host = "ends the app's host process" in in_app["list flow logs"]["ToDo"]
    assert said_of_the_host == (code not in {"KeyBasedAuthenticationNotPermitted", "AuthenticationFailed"})


def test_the_app_says_of_itself_what_keeps_it_out(storage: Azurite) -> None:
    """What the account's firewall does to the host is seen nowhere else."""
    with refusing("AuthorizationFailure") as address:
        text = storage.connection_string.replace(storage.blob_service, address)
        with worker({"FLOW_LOGS": text, "RESULTS": storage.connection_string}) as running:
            answer = running.request("GET", "/api/doctor")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    found = {row["Step"]: row for row in answer.json()["rows"]}
    assert outcomes(found, "failed") == ["list flow logs"]
    assert {row["Where"] for row in found.values()} == {"app"}
    assert "allow the app's subnet" in found["list flow logs"]["ToDo"]
    assert "each event ends the app's host process" in found["list flow logs"]["ToDo"]
    assert "each event" not in json.dumps([*examine({"FLOW_LOGS": text, "RESULTS": text})], default=repr)


@pytest.mark.parametrize("known", [True, False])
def test_no_finding_holds_a_secret(storage: Azurite, known: bool) -> None:
    key = ACCOUNT_KEY if known else ACCOUNT_KEY.replace("E", "F")
    text = storage.connection_string.replace(ACCOUNT_KEY, key)
    with worker({"FLOW_LOGS": text, "RESULTS": text}) as running:
        answer = running.request("GET", "/api/doctor?output=csv")
    assert answer.status == 200
    assert (b"failed to authenticate" in answer.body) != known
    assert (b"is the key right" in answer.body) != known
    for secret in (key, key[:20], "AccountKey"):
        assert secret.encode() not in answer.body
        assert all(secret not in log.message for log in running.logs)


def test_a_service_that_fails_is_no_question_of_permissions() -> None:
    assert "service health" in advice.to_be_allowed(advice.FLOW_LOGS, 500, "InternalError", "app")
    assert "service health" in advice.to_be_allowed(advice.FLOW_LOGS, None, "", "here")


def test_other_refusals_are_of_a_wrong_address() -> None:
    for code in ("InvalidUri", "ResourceNotFound"):
        said = advice.to_be_allowed(advice.HOST_QUEUES, 404, code, "app")
        assert said.startswith("is this the address of the queue service of the host's account, without a")
    assert "proxy" not in advice.to_be_allowed(advice.FLOW_LOGS, 500, "InternalError", "app")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 407, 502])
def test_what_has_no_error_code_may_be_a_proxys(status: int) -> None:
    assert "does a proxy stand between" in advice.to_be_allowed(advice.FLOW_LOGS, status, "", "here")


def test_a_certificate_that_is_not_trusted(guarded: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    text = guarded.connection_string
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    _, found = examined({"FLOW_LOGS": text, "RESULTS": text})
    answer = found["FLOW_LOGS answers"]
    assert re.search(r": (self-signed certificate|unable to get local issuer certificate)$", answer["Found"])
    assert "REQUESTS_CA_BUNDLE" in answer["ToDo"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1028)", "wrong version number"),
        ("[Errno 111] Connection refused", "Connection refused"),
        (f"Not supported proxy scheme socks9://me:{SECRET}@proxy:1", "socks9://proxy:1"),
        ("", "OSError"),
    ],
)
def test_a_reason_in_a_few_words(error: str, said: str) -> None:
    assert innermost(OSError(error)).endswith(said)
    assert SECRET not in innermost(OSError(error))


def test_a_minute_is_one() -> None:
    minutes = (timedelta(minutes=number) for number in (-1, 0, 1, 2))
    assert [*map(_ago, minutes)] == ["just now", "just now", "1 minute ago", "2 minutes ago"]


def test_the_sections_that_messages_name_are_there() -> None:
    """Such as "docs/http.md, Keys"."""
    texts = [path.read_text() for path in (ROOT / "shared").glob("*.py")]
    named = {
        each for text in texts for each in re.findall(r"(docs/[a-z]+\.md), ([A-Z][A-Za-z -]*[A-Za-z])", text)
    }
    assert len(named) >= 5
    for page, section in named:
        assert re.search(f"^##+ {section}$", (ROOT / page).read_text(), re.MULTILINE), (page, section)


@pytest.mark.parametrize("where", ["here", "app"])
def test_what_the_name_resolves_to_says_where_to_look(where: Where) -> None:
    said = {
        advice.to_reach(advice.FLOW_LOGS, where, address)
        for address in ("", "private address 10.0.0.4", "public address 203.0.113.4")
    }
    assert len(said) == 3
    assert all("DNS" in text or "route" in text for text in said)


# What is handed out


@pytest.mark.parametrize("mode", ["events", "schedule"])
def test_an_app_whose_work_is_done_finds_itself_well(stores: Stores, mode: Mode) -> None:
    this_hour = LAST_HOUR + HOUR
    for hour in (LAST_HOUR, this_hour):
        stores.put(NIC, hour, blob_of(record(hour, flow(hour))))
    settings = {**stores.environment, "FLOWTALLY_MODE": mode}
    with worker(settings) as running, queue_of_work(stores.connection_string) as queue:
        for timer in ("sweep",) if mode == "schedule" else ("sweep", "rollup"):
            assert drain(running, queue, running.invoke_timer(timer))
        said = running.request("GET", "/api/doctor").json()
        status = running.request("GET", "/api/status").json()
    assert {row["Outcome"] for row in said["rows"]} == {"ok"}, said
    assert said["reads"] == {
        "mode": mode,
        "accounts": {"FLOW_LOGS": ACCOUNT},
        "functions": ["ingest_nsg", "ingest_vnet"] if mode == "events" else [],
    }
    assert (status["problems"], len(status["rows"])) == ([], 2)
    assert {row["Behind"] for row in status["rows"]} == {0}
    assert status["swept_at"] <= status["as_of"]
    assert status["counts_of"]
    assert examined(settings)[0] == 0


def test_sweeps_that_stand_still_and_work_that_fails(stores: Stores) -> None:
    now = stores.flow_logs.now()
    rows = [
        Work("account", ACCOUNT, looked_at=now - timedelta(minutes=3)),
        Work("sweep", f"{ACCOUNT}~nsg~x~web", said="[]", began=now - timedelta(minutes=1)),
        Work("sweep", "removed~nsg~x~web", said="[]", began=now - 99 * HOUR, failed_since=now, why="no"),
    ]
    stores.counts.work.keep(rows)
    _, found = examined(stores.environment)
    assert found["sweeps"]["Found"] == "the last one began 1 minute ago"
    assert outcomes(found, "failed") == []
    standing = replace(rows[1], began=now - 3 * HOUR)
    resting = Work("roll-up", "nsg~x~web", began=now - timedelta(minutes=20), tries=3)
    stores.counts.work.keep([standing, replace(rows[0], failed_since=now - HOUR, why="no host"), resting])
    code, found = examined(stores.environment)
    assert (code, outcomes(found, "failed")) == (1, ["sweeps", "work"])
    last = f"{now - 3 * HOUR:%Y-%m-%d %H:%MZ}"
    said = f"not begun for 2 hours: sweep of nsg~x~web in {ACCOUNT}, the last time at {last}"
    assert found["sweeps"]["Found"] == said
    assert (
        f"account {ACCOUNT} has failed since {now - HOUR:%Y-%m-%d %H:%MZ}: no host" in found["work"]["Found"]
    )
    assert "roll-up of nsg~x~web has begun 3 times and never come to its end" in found["work"]["Found"]
    assert found["sweeps"]["ToDo"]
    assert found["work"]["ToDo"]


def test_by_schedule_what_a_new_interface_logs_is_found_within_the_hour(stores: Stores) -> None:
    now = stores.flow_logs.now()
    blob = parse_blob_name(NIC.blob_name(floor_hour(now)), NIC.container)

    def late(mode: Mode, age: timedelta, written: timedelta | None) -> int:
        listed = ListedBlob(replace(blob, hour=now - age), 9, "1", now - timedelta(minutes=20))
        found = Compared(listed, Entry(blob.name), None if written is None else now - written)
        return _count_late([found], ACCOUNT, mode, now)

    for mode in ("events", "schedule"):
        assert late(mode, HOUR, timedelta(minutes=40)) == 1
    assert late("events", timedelta(minutes=40), None) == 1
    assert late("schedule", timedelta(minutes=40), None) == 0
    assert late("schedule", timedelta(minutes=91), None) == 1


# By connection string


def test_nothing_there_yet_is_no_failure(stores: Stores) -> None:
    for table in [*stores.tables.service.list_tables()]:
        stores.tables.service.delete_table(table.name)
    code, found = examined(stores.environment)
    assert (code, outcomes(found, "failed")) == (0, [])
    assert outcomes(found, "note") == ["read flow logs", "tables", "views", "sweeps"]
    assert [*stores.tables.service.list_tables()] == [], "nothing is created"


def test_no_flow_log_was_ever_written_to_the_account(stores: Stores) -> None:
    for container in [*stores.flow_logs.service.list_containers()]:
        stores.flow_logs.service.delete_container(container.name)
    code, found = examined(stores.environment)
    assert (code, outcomes(found, "failed")) == (1, ["list flow logs"])
    assert outcomes(found, "skipped") == ["read flow logs", "counting"]


def test_events_that_do_not_arrive_and_views_that_stand_still(stores: Stores) -> None:
    stores.put(NIC, LAST_HOUR, blob_of(record(LAST_HOUR, flow(LAST_HOUR))))
    stores.rolled_up_at(stores.flow_logs.now() - timedelta(hours=1))
    code, found = examined(stores.environment)
    assert (code, outcomes(found, "failed")) == (1, ["counting", "views"])
    assert "1 of 1 blobs" in found["counting"]["Found"]
    assert "subscription" in found["counting"]["ToDo"]
    assert "60 minutes" in found["views"]["Found"]
    stores.sweep(LAST_HOUR, LAST_HOUR)
    stores.rollup()
    assert examined(stores.environment)[0] == 0


def test_an_account_that_does_not_answer(stores: Stores, storage: Azurite) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{taken.getsockname()[1]}/"
        text = storage.connection_string.replace(f"127.0.0.1:{storage.blob_port}/", dead)
        code, found = examined({**stores.environment, "FLOW_LOGS": text})
    assert (code, outcomes(found, "failed")) == (1, ["FLOW_LOGS answers"])
    assert "refused" in found["FLOW_LOGS answers"]["Found"]
    assert "private address 127.0.0.1" in found["FLOW_LOGS answers"]["Found"]
    assert "is Azurite running?" in found["FLOW_LOGS answers"]["ToDo"]
    assert "write results" in outcomes(found, "ok"), "the other account is examined all the same"


@pytest.mark.parametrize("name", ["a..b", "..", "x" * 300])
def test_a_name_that_is_none_does_not_answer(stores: Stores, storage: Azurite, name: str) -> None:
    text = storage.connection_string.replace(f"127.0.0.1:{storage.blob_port}", name)
    code, found = examined({**stores.environment, "FLOW_LOGS": text})
    assert (code, outcomes(found, "failed")) == (1, ["FLOW_LOGS answers"])
    assert "account's name" in found["FLOW_LOGS answers"]["ToDo"]


def test_who_may_only_read_is_told_so_and_goes_on(
    counted_stores: tuple[Stores, Traffic], stores: Stores
) -> None:
    reached, traffic = counted_stores
    stores.rollup()
    traffic.fault = lambda request: Fault.FORBIDDEN if request.writes else None
    code, found = examined(reached.environment)
    assert (code, outcomes(found, "failed")) == (0, [])
    assert found["write results"]["Outcome"] == "note"
    assert "Storage Table Data Contributor" in found["write results"]["ToDo"]
    assert found["views"]["Outcome"] != "skipped"
    inside = {each.step: each for each in examine(reached.environment, "app")}
    assert inside["write results"].outcome == "failed", "the app has to write"


@pytest.mark.parametrize("address", ["https://[x/", f"https://x:{SECRET}/", "https://x:99999/", "https://"])
def test_a_connection_string_with_an_address_that_is_none(storage: Azurite, address: str) -> None:
    text = f"AccountName=x;AccountKey={SECRET};BlobEndpoint={address}"
    code, found = examined({"FLOW_LOGS": text, "RESULTS": storage.connection_string})
    assert (code, [*found]) == (2, ["settings"])
    assert SECRET not in json.dumps(found)


def test_a_wrong_setting_ends_it_with_2() -> None:
    code, found = examined({"FLOW_LOGS": "", "RESULTS": ""})
    assert (code, [*found]) == (2, ["settings"])
    assert "FLOW_LOGS__blobServiceUri" in found["settings"]["Found"]


def test_nothing_is_written(counted_stores: tuple[Stores, Traffic]) -> None:
    reached, traffic = counted_stores
    traffic.clear()
    examined(reached.environment)
    assert {request.method for request in traffic.requests if request.writes} == {"DELETE"}
    assert {request.status for request in traffic.requests if request.writes} == {404}

"""``flowtally doctor --app``: the app's own findings beside those of this machine, over real HTTP; each way
in which the app may fail to give them is told from the others, with what to do.
"""

import gzip
import json
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from shared import app_doctor, cli
from shared.app_doctor import compare_reads, examine_app, read_address
from shared.doctor import COLUMNS, Finding, Reads
from shared.errors import BadRequest
from tests.shown import Shown
from tests.system import Stores, blob_of, flow, record
from tests.test_doctor import LAST_HOUR, NIC, STEPS
from tests.web import KEY, Site, serve
from tests.worker import worker

SECRET = "a-key-that-is-seen-nowhere=="  # noqa: S105 -- it opens nothing
ROW = dict(zip(COLUMNS, ("app", "settings", "ok", "all there", ""), strict=True))


def doctor(settings: dict[str, str], *options: str, key: str = KEY, columns: int = 80) -> Result:
    environment = {**settings, "FLOWTALLY_APP_KEY": key, "COLUMNS": str(columns)}
    return CliRunner().invoke(cli.main, ["doctor", *options], env=environment)


# An app that answers


def test_both_are_shown_and_told_apart(stores: Stores) -> None:
    stores.put(NIC, LAST_HOUR, blob_of(record(LAST_HOUR, flow(LAST_HOUR))))
    stores.sweep(LAST_HOUR, LAST_HOUR)
    stores.rollup()
    stores.swept_at(stores.flow_logs.now())
    with worker(stores.environment) as running, serve(Site(running)) as url:
        done = doctor(stores.environment, "--app", url, "-o", "json")
    rows = json.loads(done.stdout)["rows"]
    here, app = ([row for row in rows if row["Where"] == where] for where in ("here", "app"))
    assert [row["Step"] for row in here] == [*STEPS, "function app"]
    assert [row["Step"] for row in app] == [*STEPS, "accounts and mode"]
    assert {row["Outcome"] for row in rows} == {"ok"}
    assert (done.exit_code, done.stderr) == (0, "all well\n")


@pytest.mark.parametrize("output", ["table", "csv", "tsv", "ndjson"])
def test_where_is_in_every_output(site: Shown, output: str) -> None:
    """And the key is in no address."""
    done = doctor(site.stores.environment, "--app", f"{site.url}/api/", "-o", output)
    lines = [
        line for line in done.stdout.splitlines() if "function app" in line or "FLOW_LOGS answers" in line
    ]
    assert site.site.seen[-1] == "GET /api/doctor"
    assert ["app" in line.replace("function app", "") for line in lines] == [False, False, True]
    assert ["here" in line.replace("Where", "") for line in lines] == [True, True, False]


def test_without_an_app_a_table_does_not_say_where(site: Shown) -> None:
    assert "Where" not in doctor(site.stores.environment).stdout
    assert '"Where","Step"' in doctor(site.stores.environment, "-o", "csv").stdout


def test_what_fails_in_the_app_alone_is_said_to(stores: Stores) -> None:
    """The app's storage has another key; this machine's settings are right."""
    wrong_key = stores.connection_string.replace("AccountKey=E", "AccountKey=F")
    with worker({**stores.environment, "RESULTS": wrong_key}) as running, serve(Site(running)) as url:
        done = doctor(stores.environment, "--app", url)
    assert done.exit_code == 1
    assert done.stderr == "failed: tables (app)\n"
    assert " tables (app): " in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_wrong_settings_here_do_not_keep_the_app_from_being_asked(site: Shown) -> None:
    done = doctor({"FLOW_LOGS": "", "RESULTS": ""}, "--app", site.url, "-o", "ndjson")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["Step"] for row in rows] == ["settings", "function app", *STEPS, "accounts and mode"]
    assert (done.exit_code, done.stderr) == (2, "failed: settings\n")


def test_the_app_wants_a_key_of_its_own(site: Shown) -> None:
    (found,) = examine_app(site.url, SECRET, {})
    assert found.found == "the app doesn't accept the key (answer 401)"
    assert "docs/http.md, Keys" in found.to_do


# What it reads


def settings_of(*names: str, **more: str) -> dict[str, str]:
    uris = {
        f"FLOW_LOGS_{name.upper()}__blobServiceUri": f"https://{name}.blob.core.windows.net" for name in names
    }
    return {**uris, "RESULTS__tableServiceUri": "https://results.table.core.windows.net", **more}


def functions_of(*names: str) -> list[str]:
    return [f"ingest_{kind}_{name}" for name in names for kind in ("nsg", "vnet")]


@pytest.mark.parametrize(
    ("here", "mode", "accounts", "functions", "outcome", "found", "to_do"),
    [
        (settings_of("a", "b"), "events", "ab", functions_of("a", "b"), "ok", "accounts: a, b, ", ""),
        (settings_of("a"), "schedule", "a", [], "ok", "mode schedule", ""),
        (
            settings_of("a"),
            "events",
            "ab",
            functions_of("a", "b"),
            "note",
            "not in the settings here: b",
            "set FLOW_LOGS_B__blobServiceUri",
        ),
        (
            settings_of("a", "b"),
            "events",
            "a",
            functions_of("a"),
            "failed",
            "the app doesn't read b",
            "commands 1, 2 and 3 with it among flowLogAccounts",
        ),
        (
            settings_of("a", "b"),
            "events",
            "ab",
            functions_of("a"),
            "failed",
            "the app lacks: ingest_nsg_b, ingest_vnet_b",
            "publishing",
        ),
        (
            settings_of("a"),
            "schedule",
            "a",
            functions_of("a"),
            "failed",
            "in mode schedule: ingest_nsg_a, ingest_vnet_a",
            "publishing",
        ),
        (
            settings_of("a", FLOWTALLY_MODE="schedule"),
            "events",
            "a",
            functions_of("a"),
            "failed",
            "the app's mode is events, and FLOWTALLY_MODE is schedule here",
            "with mode=schedule",
        ),
        ({}, "events", "a", functions_of("a"), "skipped", "can't be read", ""),
    ],
)
def test_what_the_app_reads_is_compared_with_the_settings_here(
    here: dict[str, str],
    mode: str,
    accounts: str,
    functions: list[str],
    outcome: str,
    found: str,
    to_do: str,
) -> None:
    app = Reads(mode, {f"FLOW_LOGS_{name.upper()}": name for name in accounts}, functions)
    finding = compare_reads(here, app)
    assert (finding.outcome, finding.where) == (outcome, "app")
    assert found in finding.found
    assert to_do in finding.to_do
    assert bool(to_do) == bool(finding.to_do)


# An app that doesn't


type Headers = list[tuple[str, str]]


@contextmanager
def answering(status: str, headers: Headers, body: bytes = b"") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Something that gives every request this answer: its address, and the requests."""
    asked: list[dict[str, Any]] = []

    def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ)
        start_response(status, headers)
        return [body]

    with serve(site) as url:
        yield url, asked


HTML = ("Content-Type", "text/html")
JSON = ("Content-Type", "application/json")
GZIP = ("Content-Encoding", "gzip")
READS = {"mode": "events", "accounts": {"FLOW_LOGS": "logs"}, "functions": ["ingest_nsg", "ingest_vnet"]}
FINDINGS = json.dumps({"rows": [ROW], "reads": READS}).encode()
LOGIN = "https://login.microsoftonline.com/common/oauth2/authorize?redirect_uri=x"


@pytest.mark.parametrize(
    ("status", "headers", "body", "found", "to_do"),
    [
        ("401 Unauthorized", [], b"", "doesn't accept the key", "docs/http.md"),
        (
            "401 Unauthorized",
            [("WWW-Authenticate", "Bearer")],
            b"",
            "App Service authentication",
            "turn it off",
        ),
        ("302 Found", [("Location", LOGIN)], b"", "App Service authentication", "paths"),
        ("302 Found", [("Location", "/.auth/login/aad")], b"", "App Service authentication", "paths"),
        ("403 Ip Forbidden", [HTML], b"<h1>Ip Forbidden", "stopped, or refuses", "access restrictions"),
        ("404 Not Found", [], b"", "no function doctor", "func azure functionapp publish APP --python"),
        ("500 Internal Server Error", [], b"", "the function doctor failed", "Application Insights"),
        ("502 Bad Gateway", [HTML], b"<h1>", "no findings came back (answer 502)", "try again"),
        ("503 Unavailable", [], b"Function host is not running.", "host is not running", "queueServiceUri"),
        ("200 OK", [HTML], b"<h1>Sign in", "with no findings (text/html)", "sign-in page"),
        ("200 OK", [JSON], b"{}", "with no findings", "same version"),
        ("200 OK", [JSON], b'{"rows": []}', "with no findings", "same version"),
        ("200 OK", [JSON], b'{"rows": [{"Step": "settings"}]}', "with no findings", "same version"),
        ("200 OK", [JSON], json.dumps([ROW]).encode(), "with no findings", "same version"),
        ("200 OK", [JSON], b"[" * 100_000, "with no findings", "same version"),
        ("200 OK", [JSON], b'{"rows": [{"a":' * 100_000, "with no findings", "same version"),
        ("200 OK", [JSON], FINDINGS + b" " * 1_000_000, "with no findings", "same version"),
        ("200 OK", [JSON, GZIP], gzip.compress(b" " * 50_000_000), "with no findings", "same version"),
        ("200 OK", [JSON, GZIP], b"no gzip", "no answer from", "the app's name"),
        ("200 OK", [("Content-Type", "x" * 1_000)], b"", f"no findings ({'x' * 40})", "same version"),
        ("302 Found", [("Location", "http://[bad")], b"", "no findings came back (answer 302)", "address"),
        (
            "302 Found",
            [("Location", f"https://{SECRET}@a.b:81/x?y")],
            b"",
            "redirects to https://a.b:81 (",
            "",
        ),
        ("299 Odd", [], b"", "no findings came back (answer 299)", "address of Flowtally's"),
    ],
)
def test_why_no_findings_come_back(
    status: str, headers: Headers, body: bytes, found: str, to_do: str
) -> None:
    with answering(status, headers, body) as (url, asked):
        (finding,) = examine_app(url, SECRET, {})
    assert (finding.step, finding.outcome, finding.where) == ("function app", "failed", "here")
    assert found in finding.found
    assert to_do in finding.to_do
    assert SECRET not in f"{finding}"
    assert [each["HTTP_X_FUNCTIONS_KEY"] for each in asked] == [SECRET]
    assert [each["QUERY_STRING"] for each in asked] == [""]


def test_a_redirect_is_named_and_the_key_does_not_follow_it() -> None:
    with (
        answering("200 OK", [JSON], FINDINGS) as (other, asked_there),
        answering("307 Temporary Redirect", [("Location", f"{other}/api/doctor")]) as (url, _),
    ):
        (finding,) = examine_app(url, SECRET, {})
        assert asked_there == []
        assert other in finding.found
        assert len(examine_app(other, SECRET, {})) == 3


@pytest.mark.parametrize(
    "changed", [{"Outcome": "perhaps"}, {"Outcome": ["ok"]}, {"Found": None}, {"Step": 7}, {"ToDo": {}}]
)
def test_what_is_no_finding_is_not_shown(changed: dict[str, Any]) -> None:
    with answering("200 OK", [JSON], json.dumps({"rows": [ROW | changed], "reads": READS}).encode()) as (
        url,
        _,
    ):
        (finding,) = examine_app(url, SECRET, {})
    assert "with no findings" in finding.found


def test_findings_are_the_apps_whatever_they_say() -> None:
    with answering(
        "200 OK", [JSON], json.dumps({"rows": [ROW | {"Where": "here"}], "reads": READS}).encode()
    ) as (url, _):
        findings = examine_app(url, SECRET, {})
    assert findings[1:-1] == [Finding("settings", "ok", "all there", "", "app")]


def test_what_an_app_says_is_harmless_to_a_terminal(site: Shown) -> None:
    evil = ROW | {"Outcome": "failed", "Found": "\x1b]0;owned\x07", "ToDo": "\x1b]0;owned\x07 look"}
    with answering("200 OK", [JSON], json.dumps({"rows": [evil], "reads": READS}).encode()) as (url, _):
        done = doctor(site.stores.environment, "--app", url)
    assert not {"\x1b", "\x07"} & {*done.output}
    assert "look" in done.stdout


def test_the_key_goes_through_no_proxy_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        answering("200 OK", [JSON], FINDINGS) as (proxy, seen),
        answering("200 OK", [JSON], FINDINGS) as (url, _),
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert len(examine_app(url, SECRET, {})) == 3
    assert seen == []


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_doctor, "_SECONDS", (1, 0.3))

    def drip(_: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [JSON])
        for _second in range(50):
            yield b" "
            time.sleep(0.1)

    with serve(drip) as url:
        began = time.monotonic()
        (finding,) = examine_app(url, SECRET, {})
        assert time.monotonic() - began < 2
    assert "took longer than 0.3 seconds" in finding.found


def test_nobody_answers() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        (finding,) = examine_app(f"http://127.0.0.1:{taken.getsockname()[1]}", SECRET, {})
    assert "no answer from http://127.0.0.1:" in finding.found
    assert "refused" in finding.found
    assert "the app's name" in finding.to_do


@pytest.mark.parametrize("host", ["a..b", "..", "-", "x" * 300])
def test_a_name_that_is_none(host: str) -> None:
    (finding,) = examine_app(f"https://{host}", SECRET, {})
    assert f"no answer from https://{host}: " in finding.found


@pytest.mark.parametrize("key", ["", "  ", "two words", "ключ", "line\nend", "\x00"])
def test_what_is_no_key_is_not_sent(key: str) -> None:
    with answering("200 OK", []) as (url, asked):
        (finding,) = examine_app(url, key, {})
    assert asked == []
    assert "FLOWTALLY_APP_KEY" in finding.found
    assert "docs/http.md, Keys" in finding.to_do
    assert not key.strip() or key not in f"{finding}"


# Its address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://app.azurewebsites.net", "https://app.azurewebsites.net"),
        (" https://App.azurewebsites.net/ ", "https://app.azurewebsites.net"),
        ("https://app.azurewebsites.net/api", "https://app.azurewebsites.net"),
        ("https://app.azurewebsites.net:8443/api/", "https://app.azurewebsites.net:8443"),
        ("http://localhost:7071", "http://localhost:7071"),
        ("http://[::1]:7071", "http://[::1]:7071"),
    ],
)
def test_an_address(text: str, address: str) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "app", "app.azurewebsites.net", "https://", "https://[", "https://a:b", "ftp://localhost"),
        *("http://app.azurewebsites.net", "http://localhost.example.org", "http://10.0.0.4"),
        *("https://app/other", f"https://app/api/doctor?code={SECRET}", f"https://{SECRET}@app"),
        *(f"https://app#{SECRET}", f"https://app?code={SECRET}"),
    ],
)
def test_no_address_and_nothing_is_asked(text: str) -> None:
    done = doctor({"FLOW_LOGS": "", "RESULTS": ""}, "--app", text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("flowtally: app: must ")
    assert "https://" in done.stderr
    assert SECRET not in done.stderr


@given(st.text() | st.text().map("https://".__add__) | st.text().map("http://localhost".__add__))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = read_address(text)
    except BadRequest:
        return
    assert address.startswith(("https://", "http://localhost"))
    assert read_address(address) == address

"""Ask the function app over HTTP what it finds when it examines itself; where no findings come back, say why.

The app is asked with one of its function keys, which is sent in a header to the given address and nowhere
else: redirects are not followed, and no message holds it.
"""

import json
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast, get_args
from urllib.parse import urljoin, urlsplit

import requests

from shared import advice
from shared.connection import innermost
from shared.doctor import COLUMNS, NO_ANSWER, Finding, Outcome, Reads, place_of, read_reads
from shared.errors import BadRequest, BadSettings
from shared.flowlog.blob_name import CONTAINERS
from shared.settings import LOCAL_HOSTS, ingest_function

KEY_SETTING = "FLOWTALLY_APP_KEY"

_STEP = "function app"
_READS = "accounts and mode"
_ACCOUNTS = "docs/deploy.md, Adding and removing accounts"
_MODES = "docs/deploy.md, Changing the mode"
_SECONDS = (10, 240)
"""To connect, and until the answer has come. Azure itself gives up after 230 s."""
_MOST_BYTES = 1_000_000
"""More than findings ever are."""
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")
_SIGN_IN = ("/.auth/", "login.microsoftonline.", "login.windows.net")
_TROUBLE = "docs/deploy.md, When something fails"
_KEY_COMMAND = "docs/http.md, Keys, has the command"
_REFUSALS: dict[int, tuple[str, str]] = {
    HTTPStatus.UNAUTHORIZED: (
        "the app doesn't accept the key",
        f"set {KEY_SETTING} to a key of this app, not of a single function of it: {_KEY_COMMAND}",
    ),
    HTTPStatus.FORBIDDEN: (
        "the app is stopped, or refuses this machine",
        (
            "is the app running (az functionapp show --query state)? Do its access restrictions let this "
            "machine in, and is public network access on?"
        ),
    ),
    HTTPStatus.NOT_FOUND: (
        "the app has no function doctor",
        (
            "publish this version: func azure functionapp publish APP --python. If that has been done, the "
            f"app couldn't load its functions: {_TROUBLE}"
        ),
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "the function doctor failed",
        "look at the app's exceptions in Application Insights: docs/operate.md",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "the app's host is not running",
        (
            "wait a minute and try again. If it stays so, a setting that the host needs is missing or wrong "
            "(FLOW_LOGS_…__queueServiceUri, AzureWebJobsStorage__…), or the host's account refuses it: "
            f"{_TROUBLE}"
        ),
    ),
}


def read_address(text: str) -> str:
    """Read the app's address; ``BadRequest`` if it isn't one, or if a key would be sent in plain text."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    if (
        not _HOST.fullmatch(host)
        or parts.username
        or parts.query
        or parts.fragment
        or parts.path.strip("/") not in ("", "api")
    ):
        # Not quoted: a key may be in it.
        raise BadRequest(
            "must be the app's address alone, such as https://APP.azurewebsites.net; its key goes into the "
            f"environment variable {KEY_SETTING}",
            "app",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOCAL_HOSTS):
        raise BadRequest("must begin with https://, as a key is sent to it", "app")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}:{port}" if port else f"{parts.scheme}://{name}"


def examine_app(address: str, key: str, environment: Mapping[str, str]) -> list[Finding]:
    """Get the app's own findings, behind one of whether it answers, and before one of what it reads, compared
    with the settings of this ``environment``.
    """
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        found = f"{KEY_SETTING} has characters that are in no key" if key else f"{KEY_SETTING} is not set"
        return [Finding(_STEP, "failed", found, f"set it to a function key of the app: {_KEY_COMMAND}")]
    try:
        answer, body = _ask(address, key)
    except NO_ANSWER as error:
        found = f"no answer from {address}: {innermost(error)}"
        to_do = (
            "is the app's name right? Does a firewall or a proxy stand between? If the app has a private "
            "endpoint, run this in its network"
        )
        if isinstance(error, requests.exceptions.SSLError):
            to_do = advice.TO_TRUST
        return [Finding(_STEP, "failed", found, to_do)]
    if answer.status_code != HTTPStatus.OK:
        return [_explain(answer)]
    said = _read_findings(body)
    if said is None:
        kind = answer.headers.get("Content-Type", "no type")[:40]
        found = f"{address} answers, but with no findings ({kind})"
        to_do = (
            "is this the address of Flowtally's function app, and are both of the same version? A proxy or a "
            "sign-in page may answer in its place: open the address in a browser"
        )
        return [Finding(_STEP, "failed", found, to_do)]
    findings, reads = said
    return [Finding(_STEP, "ok", f"{address} answers"), *findings, compare_reads(environment, reads)]


def compare_reads(environment: Mapping[str, str], app: Reads) -> Finding:
    """Compare what the app reads with the settings here, and the functions that it has with its accounts."""
    try:
        here = read_reads(environment)
    except BadSettings as error:
        return Finding(_READS, "skipped", f"the settings here can't be read: {error}", where="app")
    wrong, to_dos = [], []
    wanted = {ingest_function(name, kind) for name in app.accounts for kind in CONTAINERS}
    if app.mode == "schedule":
        wanted = set()
    if missing := sorted(wanted - {*app.functions}):
        wrong.append(f"functions that the app lacks: {', '.join(missing)}")
        to_dos.append(f"repeat commands 2 and 3: Azure learns triggers at publishing ({_MODES})")
    if surplus := sorted({*app.functions} - wanted):
        wrong.append(f"functions of no account that the app reads in mode {app.mode}: {', '.join(surplus)}")
        to_dos.append(f"repeat commands 2 and 3: Azure learns triggers at publishing ({_MODES})")
    if environment.get("FLOWTALLY_MODE") and app.mode != here.mode:
        wrong.append(f"the app's mode is {app.mode}, and FLOWTALLY_MODE is {here.mode} here")
        to_dos.append(
            f"set it to {app.mode} here; or, to change the app's, repeat commands 1, 2 and 3 with "
            f"mode={here.mode} ({_MODES})"
        )
    if unread := sorted({*here.accounts.values()} - {*app.accounts.values()}):
        wrong.append(f"the app doesn't read {', '.join(unread)}, to which settings here lead")
        to_dos.append(f"repeat commands 1, 2 and 3 with it among flowLogAccounts ({_ACCOUNTS})")
    only_there = {name: its for name, its in app.accounts.items() if its not in here.accounts.values()}
    more = f"; not in the settings here: {', '.join(sorted(only_there.values()))}" if only_there else ""
    if wrong:
        return Finding(_READS, "failed", "; ".join(wrong) + more, "; ".join(dict.fromkeys(to_dos)), "app")
    said = (
        f"mode {app.mode}, accounts: {', '.join(sorted(app.accounts.values()))}, "
        f"functions for events: {len(app.functions):,}{more}"
    )
    if not only_there:
        return Finding(_READS, "ok", said, where="app")
    names = ", ".join(f"{name}__blobServiceUri" for name in sorted(only_there))
    to_do = f"to have these accounts in status, flows and why here, too, set {names}"
    return Finding(_READS, "note", said, to_do, "app")


class _Session(requests.Session):
    """Redirects aren't followed: nor is it read where to, which raises where that is no address."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 -- its caller's names
        return None


def _ask(address: str, key: str) -> tuple[requests.Response, bytes]:
    """Send the one request: the answer, and as much of its content as findings can be long."""
    until = time.monotonic() + _SECONDS[1]
    with _Session() as session:
        # A proxy for http:// would be sent the key in plain text, on its way to this very machine.
        session.trust_env = address.startswith("https://")
        with session.get(
            f"{address}/api/doctor",
            headers={"x-functions-key": key, "Accept": "application/json"},
            timeout=_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as answer:
            body = b""
            while len(body) <= _MOST_BYTES and (part := answer.raw.read1(65_536, decode_content=True)):
                body += part
                if time.monotonic() > until:
                    raise requests.Timeout(f"the answer took longer than {_SECONDS[1]} seconds")
            return answer, body


def _explain(answer: requests.Response) -> Finding:
    status = answer.status_code
    elsewhere = _redirect(answer)
    if any(each in elsewhere for each in _SIGN_IN) or (
        status == 401 and "WWW-Authenticate" in answer.headers
    ):
        found = "the app asks for a sign-in: App Service authentication is on"
        to_do = (
            "it keeps function keys out, and Event Grid's events: leave their paths out of it, or turn it "
            "off (docs/deploy.md, Sign-in by Microsoft Entra ID)"
        )
    elif elsewhere:
        found = f"the app redirects to {urlsplit(elsewhere).scheme}://{place_of(elsewhere)[1]}"
        to_do = "if that is the app, give --app that address; the key was not sent there"
    else:
        found, to_do = _REFUSALS.get(
            status,
            (
                "no findings came back",
                f"try again; if it stays so: is this the address of Flowtally's function app? {_TROUBLE}",
            ),
        )
    return Finding(_STEP, "failed", f"{found} (answer {status})", to_do)


def _redirect(answer: requests.Response) -> str:
    """Where an answer redirects to; empty if nowhere, or to what is no address."""
    if not answer.is_redirect:
        return ""
    try:
        elsewhere = urljoin(answer.url, answer.headers.get("Location", ""))
        return elsewhere if place_of(elsewhere)[0] else ""
    except ValueError:
        return ""


def _read_findings(body: bytes) -> tuple[list[Finding], Reads] | None:
    """The findings in an answer's content, and what the app reads; ``None`` if it isn't doctor's."""
    if len(body) > _MOST_BYTES:
        return None
    try:
        said: Any = json.loads(body)
        findings = [_read_finding(row) for row in said["rows"]]
        reads = said["reads"]
        texts = (reads["mode"], *reads["accounts"], *reads["accounts"].values(), *reads["functions"])
        if not findings or not all(isinstance(text, str) for text in texts):
            return None
        return findings, Reads(reads["mode"], reads["accounts"], reads["functions"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read_finding(row: Any) -> Finding:
    step, outcome, found, to_do = (row[name] for name in COLUMNS[1:])
    if outcome not in get_args(Outcome) or not all(isinstance(text, str) for text in (step, found, to_do)):
        raise ValueError("no finding")
    return Finding(step, cast("Outcome", outcome), found, to_do, "app")

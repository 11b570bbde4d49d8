"""Ask the function app over HTTP what it finds when it examines itself; where no findings come back, say why.

The app is asked with one of its function keys, which is sent in a header to the given address and nowhere
else: redirects are not followed, and no message holds it.
"""

import json
import re
import time
from http import HTTPStatus
from typing import Any, cast, get_args
from urllib.parse import urljoin, urlsplit

import requests

from shared import advice
from shared.doctor import COLUMNS, NO_ANSWER, Finding, Outcome, innermost, place_of
from shared.errors import BadRequest
from shared.settings import LOCAL_HOSTS

KEY_SETTING = "FLOWTALLY_APP_KEY"

_STEP = "function app"
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
            "(FLOW_LOGS__queueServiceUri, AzureWebJobsStorage__…), or the host's account refuses it: "
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


def examine_app(address: str, key: str) -> list[Finding]:
    """Get the app's own findings, behind one of whether it answers."""
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
    findings = _read_findings(body)
    if findings is None:
        kind = answer.headers.get("Content-Type", "no type")[:40]
        found = f"{address} answers, but with no findings ({kind})"
        to_do = (
            "is this the address of Flowtally's function app, and are both of the same version? A proxy or a "
            "sign-in page may answer in its place: open the address in a browser"
        )
        return [Finding(_STEP, "failed", found, to_do)]
    return [Finding(_STEP, "ok", f"{address} answers"), *findings]


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


def _read_findings(body: bytes) -> list[Finding] | None:
    """The findings in an answer's content; ``None`` if it isn't doctor's."""
    if len(body) > _MOST_BYTES:
        return None
    try:
        rows: Any = json.loads(body)["rows"]
        return [_read_finding(row) for row in rows] or None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read_finding(row: Any) -> Finding:
    step, outcome, found, to_do = (row[name] for name in COLUMNS[1:])
    if outcome not in get_args(Outcome) or not all(isinstance(text, str) for text in (step, found, to_do)):
        raise ValueError("no finding")
    return Finding(step, cast("Outcome", outcome), found, to_do, "app")

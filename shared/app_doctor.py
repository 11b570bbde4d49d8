"""Ask the function app over HTTP what it finds when it examines itself; where no findings come back, say why.

The app is asked with one of its function keys, which is sent in a header to the given address and nowhere
else: redirects are not followed, and no message holds it.
"""

import re
from http import HTTPStatus
from typing import Any, cast, get_args
from urllib.parse import urljoin, urlsplit

import requests

from shared.doctor import COLUMNS, NO_ANSWER, Finding, Outcome, innermost
from shared.errors import BadRequest

KEY_SETTING = "FLOWTALLY_APP_KEY"

_STEP = "function app"
_SECONDS = (10, 240)
"""To connect, and until the answer. Azure itself gives up after 230 s."""
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")
_LOCAL = ("localhost", "127.0.0.1", "::1")
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
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
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
        answer = requests.get(
            f"{address}/api/doctor",
            headers={"x-functions-key": key, "Accept": "application/json"},
            timeout=_SECONDS,
            allow_redirects=False,
        )
    except NO_ANSWER as error:
        found = f"no answer from {address}: {innermost(error)}"
        to_do = (
            "is the app's name right? Does a firewall or a proxy stand between? If the app has a private "
            "endpoint, run this in its network"
        )
        return [Finding(_STEP, "failed", found, to_do)]
    if answer.status_code != HTTPStatus.OK:
        return [_explain(answer)]
    findings = _read_findings(answer)
    if findings is None:
        found = f"{address} answers, but with no findings ({answer.headers.get('Content-Type', 'no type')})"
        to_do = (
            "is this the address of Flowtally's function app, and are both of the same version? A proxy or a "
            "sign-in page may answer in its place: open the address in a browser"
        )
        return [Finding(_STEP, "failed", found, to_do)]
    return [Finding(_STEP, "ok", f"{address} answers"), *findings]


def _explain(answer: requests.Response) -> Finding:
    status = answer.status_code
    elsewhere = urljoin(answer.url, answer.headers.get("Location", "")) if answer.is_redirect else ""
    if any(each in elsewhere for each in _SIGN_IN) or (
        status == 401 and "WWW-Authenticate" in answer.headers
    ):
        found = "the app asks for a sign-in: App Service authentication is on"
        to_do = (
            "it keeps function keys out, and Event Grid's events: leave their paths out of it, or turn it "
            "off (docs/deploy.md, Sign-in by Microsoft Entra ID)"
        )
    elif elsewhere:
        parts = urlsplit(elsewhere)
        found = f"the app redirects to {parts.scheme}://{parts.netloc}"
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


def _read_findings(answer: requests.Response) -> list[Finding] | None:
    """The findings of an answer; ``None`` if it isn't doctor's."""
    try:
        rows: Any = answer.json()["rows"]
        return [_read_finding(row) for row in rows] or None
    except (ValueError, KeyError, TypeError):
        return None


def _read_finding(row: Any) -> Finding:
    step, outcome, found, to_do = (row[name] for name in COLUMNS[1:])
    if outcome not in get_args(Outcome) or not all(isinstance(text, str) for text in (step, found, to_do)):
        raise ValueError("no finding")
    return Finding(step, cast("Outcome", outcome), found, to_do, "app")

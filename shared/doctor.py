"""Doctor: is everything there that counting needs, step by step; and for each failure, what to do.

Each step is a harmless try of what the app does: nothing is created, written or counted. The permissions that
are tried are those of whoever runs it; the app's own identity may have others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from shared.blobs import FlowLogs, floor_hour
from shared.connection import credential, storage_errors
from shared.errors import BadSettings, FlowtallyError, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS
from shared.ledger.store import Ledger
from shared.settings import Connection, Settings, read_settings
from shared.sweep import Compared, compare
from shared.tables import TABLES, Tables
from shared.views.store import Views

Outcome = Literal["ok", "note", "failed", "skipped"]

COLUMNS = ("Step", "Outcome", "Found", "ToDo")
LOOKS_BACK = timedelta(hours=2)
COUNTED_WITHIN = timedelta(minutes=10)
"""So long after an update at the latest it is counted, if events arrive."""
ROLLED_UP_WITHIN = timedelta(minutes=30)

_SCOPE = "https://storage.azure.com/.default"
_ANSWERS_WITHIN_SECONDS = 10
_SERVICES = {"FLOW_LOGS": "blob", "RESULTS": "table"}
_ROLES = {"FLOW_LOGS": "Storage Blob Data Reader", "RESULTS": "Storage Table Data Contributor"}
_NO_EVENTS = (
    "is the function app running, and are there event subscriptions for both of its functions? See "
    "docs/operate.md; meanwhile, flowtally sweep counts"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found; ``to_do`` if it failed, or as a hint."""

    step: str
    outcome: Outcome
    found: str
    to_do: str = ""

    def row(self) -> dict[str, str]:
        """The finding by ``COLUMNS``."""
        return dict(zip(COLUMNS, (self.step, self.outcome, self.found, self.to_do), strict=True))


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """All steps, one after the other. What can't be tried because an earlier one failed is skipped."""
    try:
        settings = read_settings(environment)
        stores = _Stores(settings)
    except BadSettings as error:
        yield Finding("settings", "failed", str(error), "docs/settings.md lists them all")
        return
    yield Finding("settings", "ok", ", ".join(map(_named, (settings.flow_logs, settings.results))))
    flow_logs = [*_examine_account(settings.flow_logs, stores.flow_logs.service.url)]
    yield from flow_logs
    results = [*_examine_account(settings.results, stores.tables.service.url)]
    yield from results
    reached = {name: _all_well(found) for name, found in (("FLOW_LOGS", flow_logs), ("RESULTS", results))}
    for name, step, attempt in (
        ("FLOW_LOGS", "list flow logs", stores.list_containers),
        ("FLOW_LOGS", "read flow logs", stores.read_newest),
        ("RESULTS", "tables", stores.list_tables),
        ("RESULTS", "read results", stores.read_ledger),
        ("RESULTS", "write results", stores.try_to_delete),
    ):
        finding = _attempt(step, attempt, name) if reached[name] else _skipped(step)
        reached[name] = reached[name] and finding.outcome != "failed"
        yield finding
    for step, attempt in (("counting", stores.compare), ("views", stores.look_at_views)):
        yield _attempt(step, attempt, "RESULTS") if all(reached.values()) else _skipped(step)


def _examine_account(connection: Connection, url: str) -> Iterator[Finding]:
    """Who asks, and whether anybody answers."""
    step = f"identity for {connection.name}"
    if connection.connection_string:
        yield Finding(step, "ok", "a connection string")
    else:
        try:
            with storage_errors("no token"):
                credential(connection).get_token(_SCOPE)
        except Unavailable as error:
            yield Finding(step, "failed", str(error), _to_get_a_token(connection))
            return
        yield Finding(step, "ok", "a token, by " + _kind(connection))
    host = urlsplit(url).netloc
    step = f"{connection.name} answers"
    try:
        requests.head(url, timeout=_ANSWERS_WITHIN_SECONDS)
    except requests.RequestException as error:
        yield Finding(step, "failed", f"no answer from {host}: {_innermost(error)}", _TO_REACH)
        return
    yield Finding(step, "ok", host)


_TO_REACH = (
    "is the account's name right? Does a firewall or a proxy stand between? With a private endpoint: does "
    "this machine's DNS know it?"
)


class _Stores:
    """The stores, and what is tried on them. Each try gives a finding, or raises ``Unavailable``."""

    def __init__(self, settings: Settings) -> None:
        self.flow_logs = FlowLogs(settings.flow_logs)
        self.tables = Tables(settings.results)
        self.ledger = Ledger(self.tables)
        self.views = Views(self.tables)
        self._tables: list[str] = []

    def list_containers(self, step: str) -> Finding:
        """Which containers of flow logs are there; the clock is asked for in the way that the app does it."""
        self.flow_logs.now()
        there = []
        for kind, name in CONTAINERS.items():
            with storage_errors(f"looking for container {name}"):
                if self.flow_logs.service.get_container_client(name).exists():
                    there.append(f"{kind.upper()} flow logs")
        if not there:
            to_do = "turn flow logs on for this account; their containers appear with the first one"
            return Finding(step, "failed", "no container of flow logs", to_do)
        return Finding(step, "ok", ", ".join(there))

    def read_newest(self, step: str) -> Finding:
        """The last byte of the blob that was written last."""
        now = self.flow_logs.now()
        listed = self.flow_logs.list_blobs(floor_hour(now - LOOKS_BACK), now + timedelta(hours=1))
        blobs = [each for each in listed if not isinstance(each, str)]
        newest = max(blobs, key=lambda each: each.modified, default=None)
        if newest is None:
            to_do = "no traffic, or flow logs are off: look at Network Watcher, flow logs"
            return Finding(step, "note", "no flow log of the last two hours", to_do)
        self.flow_logs.read(newest.blob, max(newest.length - 1, 0))
        age = _ago(now - newest.modified)
        return Finding(step, "ok", f"blobs of the last two hours: {len(blobs):,}, the newest written {age}")

    def list_tables(self, step: str) -> Finding:
        """Which of our tables are there."""
        with storage_errors("listing tables"):
            there = {table.name for table in self.tables.service.list_tables()}
        self._tables = [name for name in TABLES if name in there]
        missing = [name for name in TABLES if name not in there]
        if missing:
            to_do = "the app's first update makes them, or flowtally sweep and flowtally rollup"
            return Finding(step, "note", "not there yet: " + ", ".join(missing), to_do)
        return Finding(step, "ok", ", ".join(TABLES))

    def read_ledger(self, step: str) -> Finding:
        """The first scope, by the query that the rollup begins with."""
        first = next(self.ledger.scopes(), None)
        return Finding(step, "ok", f"the first scope is {first}" if first else "nothing counted yet")

    def try_to_delete(self, step: str) -> Finding:
        """Delete what isn't there: who may, may write, too; who may not, is refused all the same."""
        if not self._tables:
            return Finding(step, "skipped", "there is no table yet")
        try:
            with storage_errors(f"deleting nothing from {self._tables[0]}"):
                self.tables.table(self._tables[0]).delete_entity("~doctor", "~doctor")
        except Unavailable as error:
            if getattr(error.__cause__, "status_code", None) != 403:
                raise
            to_do = f"fine for who only asks; the app, sweep and rollup need the role {_ROLES['RESULTS']}"
            return Finding(step, "note", "not allowed", to_do)
        return Finding(step, "ok", "allowed")

    def compare(self, step: str) -> Finding:
        """The newest blobs' lengths against their offsets, which tell whether events arrive."""
        now = self.flow_logs.now()
        found = compare(self.flow_logs, self.ledger, floor_hour(now - LOOKS_BACK), now + timedelta(hours=1))
        compared = [each for each in found if isinstance(each, Compared)]
        if not compared:
            return Finding(step, "skipped", "no flow log of the last two hours")
        behind = [each for each in compared if each.behind]
        waiting = [now - each.listed.modified for each in behind]
        left = [each for each in behind if _is_left(each)]
        size = sum(each.behind for each in behind)
        said = f"{len(behind):,} of {len(compared):,} blobs behind, by {size:,} bytes in all"
        if behind and (max(waiting) > COUNTED_WITHIN or len(left) > len(compared) / 2):
            return Finding(step, "failed", said, _NO_EVENTS)
        return Finding(step, "ok", said if behind else f"nothing is behind (blobs: {len(compared):,})")

    def look_at_views(self, step: str) -> Finding:
        """When the last rollup began that failed nowhere."""
        last = self.views.looked_at()
        if last is None:
            return Finding(step, "note", "never made", "flowtally rollup makes them, or the app's timer")
        age = self.tables.server_time() - last
        if age > ROLLED_UP_WITHIN:
            to_do = "look for its errors: docs/operate.md; flowtally rollup makes them meanwhile"
            return Finding(step, "failed", f"made {_ago(age)}", to_do)
        return Finding(step, "ok", f"made {_ago(age)}")


def _is_left(each: Compared) -> bool:
    """Whether a blob was updated long after it was counted last, or after its hour began.

    Of a single blob that may only mean that it has just woken up.
    """
    return each.listed.modified - (each.written or each.listed.blob.hour) > COUNTED_WITHIN


def _attempt(step: str, attempt: Callable[[str], Finding], name: str) -> Finding:
    try:
        return attempt(step)
    except MalformedInput as error:
        return Finding(step, "failed", str(error), "docs/operate.md, versions")
    except FlowtallyError as error:
        return Finding(step, "failed", str(error), _to_be_allowed(error.__cause__, name))


def _to_be_allowed(cause: BaseException | None, name: str) -> str:
    """What to do about an answer of the service, by its code."""
    code = getattr(cause, "error_code", "")
    code = str(getattr(code, "value", code))
    status = getattr(cause, "status_code", None)
    role = f"give this identity the role {_ROLES[name]} on the account (it takes up to ten minutes to hold)"
    if code in {"AuthorizationPermissionMismatch", "InsufficientAccountPermissions"}:
        return role
    if code == "KeyBasedAuthenticationNotPermitted":
        return f"the account takes no keys: set {name}__{_SERVICES[name]}ServiceUri instead of {name}"
    if code == "AuthorizationFailure":
        return f"the account's firewall keeps this machine out; or {role}"
    if isinstance(cause, ClientAuthenticationError) or status in {401, 403}:
        return (
            "the account doesn't accept this token or key: is the identity of the account's own tenant, this "
            f"machine's clock right, the key not rotated? If all that is well, {role}"
        )
    if isinstance(cause, ServiceRequestError):
        return _TO_REACH
    return "storage itself fails: try again, and look at the account's service health"


def _to_get_a_token(connection: Connection) -> str:
    if connection.credential == "managedidentity":
        return (
            f"is the identity assigned to this machine or app, its client id {connection.name}__clientId? "
            f"On your own machine leave {connection.name}__credential out, and sign in with az login"
        )
    return "sign in with az login, to the account's tenant"


def _kind(connection: Connection) -> str:
    if connection.credential != "managedidentity":
        return "whoever is signed in"
    return f"managed identity {connection.client_id}".strip()


def _named(connection: Connection) -> str:
    how = f"at {connection.service_uri}" if connection.service_uri else "by connection string"
    return f"{connection.name} {how}"


def _skipped(step: str) -> Finding:
    return Finding(step, "skipped", "because of what failed above")


def _all_well(found: list[Finding]) -> bool:
    return all(finding.outcome != "failed" for finding in found)


def _innermost(error: BaseException) -> str:
    """The reason in a few words: libraries wrap it several times."""
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or reason.__context__
        if not isinstance(inner, BaseException):
            return str(reason).rpartition(": ")[2].strip("'()<> ") or type(reason).__name__
        reason = inner


def _ago(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes:,} minutes ago" if minutes else "just now"

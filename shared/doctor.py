"""Check step by step whether everything is there that counting needs, and say what to do about each failure.

Each step tries harmlessly what the app does: nothing is created, written or counted. It tries the permissions
and the network of whoever runs it: an engineer's on their machine, the app's own in the app, where the route
``/api/doctor`` runs it. No finding holds a secret.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import formatdate
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
import urllib3

from shared import advice
from shared.advice import (
    FLOW_LOG_QUEUES,
    HOST_BLOBS,
    HOST_QUEUES,
    HOST_TABLES,
    RESULTS,
    Service,
    Where,
    service_of_flow_logs,
)
from shared.blobs import FlowLogs
from shared.connection import REQUEST_ID, credential, innermost, refusal_of, storage_errors
from shared.counts.store import Counts
from shared.errors import BadSettings, FlowtallyError, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS, kind_of
from shared.freshness import Begun, say_failures
from shared.ledger.store import Ledger
from shared.record_types import Hours, first_hour_of_day, notice_left_out
from shared.settings import Connection, Mode, Settings, check_service_uri, read_settings
from shared.status import ROLLED_UP_WITHIN, rolled_up_until
from shared.stores import open_accounts
from shared.sweep import Compared, Lateness, compare
from shared.tables import TABLES, Tables
from shared.times import HOUR, floor_hour
from shared.views.formats import human_bytes
from shared.workers import work_on

Outcome = Literal["ok", "note", "failed", "skipped"]

COLUMNS = ("Where", "Step", "Outcome", "Found", "ToDo")
LOOKS_BACK = timedelta(hours=2)
DENIALS_SINCE = timedelta(days=30)
"""So far back the last denial is looked for."""
FOUND_WITHIN = timedelta(minutes=90)
"""So long after an hour's beginning its blobs of new interfaces are found by schedule: by hourly listings."""

NAMED_ACCOUNTS = 5
MOST_LOOKED_BACK = 10
"""Scopes for which that is done; it costs a query each."""

NO_ANSWER = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""What a request raises that gets no answer; some names make urllib3 raise a ``ValueError`` of its own."""

_SCOPE = "https://storage.azure.com/.default"
_ANSWERS_WITHIN_SECONDS = 10
_NO_EVENTS = (
    "is the function app running, and is there an event subscription for each of its two ingest functions? "
    "docs/operate.md says how to look; flowtally sweep counts meanwhile"
)
_NO_SWEEPS = (
    "is the function app running, with its timer sweep and its function work? docs/operate.md says how to "
    "look; flowtally sweep counts meanwhile"
)
_WORK_FAILS = "each timer tries it again; docs/operate.md says what to do about errors"
_NO_ADDRESS = "a connection string holds an address that is none"
_SETTINGS = "docs/settings.md lists all settings"
_NOT_TRIED = "not tried, because of a failure above"

_HOST_STEPS = (
    ("host blobs", HOST_BLOBS),
    ("host queues", HOST_QUEUES),
    ("host tables", HOST_TABLES),
)
_LISTINGS = {"blob": "?comp=list&maxresults=1", "queue": "?comp=list&maxresults=1", "table": "Tables?$top=1"}
"""For each kind of service the request that lists one container, queue or table."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found, and where it was tried; ``to_do`` if it failed, or as a hint."""

    step: str
    outcome: Outcome
    found: str
    to_do: str = ""
    where: Where = "here"

    def row(self) -> dict[str, str]:
        """The finding by ``COLUMNS``."""
        values = (self.where, self.step, self.outcome, self.found, self.to_do)
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(frozen=True, slots=True)
class Reads:
    """What a process reads: in which ``mode``, which account by which connection; ``functions``: those that
    it has for events, by name.
    """

    mode: str
    accounts: Mapping[str, str]
    functions: Collection[str] = ()

    def row(self) -> dict[str, Any]:
        """As data."""
        return {"mode": self.mode, "accounts": dict(self.accounts), "functions": sorted(self.functions)}


def read_reads(environment: Mapping[str, str], functions: Collection[str] = ()) -> Reads:
    """What a process with these settings reads; ``BadSettings`` if they can't be used."""
    settings = read_settings(environment)
    accounts = {each.connection: each.account for each in open_accounts(settings.flow_logs)}
    return Reads(settings.mode, accounts, functions)


def examine(environment: Mapping[str, str], where: Where = "here") -> Iterator[Finding]:
    """Try all steps, one after the other. What can't be tried because an earlier one failed is skipped.

    What only the app's host needs is tried where the host's settings are.
    """
    for finding in _examine(environment, where):
        yield replace(finding, where=where)


def _examine(environment: Mapping[str, str], where: Where) -> Iterator[Finding]:
    try:
        settings = read_settings(environment)
        flow_logs = open_accounts(settings.flow_logs)
        results = _Results(settings, where)
        urls = [*(each.service.url for each in flow_logs), results.tables.service.url]
        places = [place_of(url)[1] for url in urls]
    except BadSettings as error:
        yield Finding("settings", "failed", str(error), _SETTINGS)
        return
    except (
        ValueError
    ):  # an address in a connection string that is none; not quoted, as it stands beside a key
        yield Finding("settings", "failed", _NO_ADDRESS, _SETTINGS)
        return
    if not all(places):
        yield Finding("settings", "failed", _NO_ADDRESS, _SETTINGS)
        return
    yield Finding("settings", "ok", _describe(settings))
    results.accounts = {each.account for each in flow_logs}
    accounts = [
        _Account(each, connection, settings.mode, where, f" in {each.account}" if len(flow_logs) > 1 else "")
        for each, connection in zip(flow_logs, settings.flow_logs, strict=True)
    ]
    yield from _side_by_side(accounts, _Account.examine)
    found = [*_examine_account(RESULTS, settings.results, results.tables.service.url, where)]
    is_there = all(finding.outcome != "failed" for finding in found)
    yield from found
    yield from _side_by_side(accounts, _Account.examine_flow_logs)
    by_key = bool(settings.results.connection_string)
    for step, attempt in (
        ("tables", results.list_tables),
        ("read results", results.read_ledger),
        ("write results", results.try_to_delete),
    ):
        finding = _attempt(step, attempt, RESULTS, where, by_key=by_key) if is_there else _skipped(step)
        is_there = is_there and finding.outcome != "failed"
        yield finding
    ledger = results.ledger if is_there else None
    yield from _side_by_side(accounts, lambda account: account.examine_counting(ledger))
    for step, attempt in (
        ("views", results.check_views),
        ("record types", results.check_record_types),
        ("sweeps", results.check_sweeps),
        ("work", results.check_work),
    ):
        yield _attempt(step, attempt, RESULTS, where) if is_there else _skipped(step)
    if any(name.startswith(f"{HOST_BLOBS.connection}__") and environment[name] for name in environment):
        yield from _examine_host(environment, accounts, where)


def _examine_host(
    environment: Mapping[str, str], accounts: Sequence["_Account"], where: Where
) -> Iterator[Finding]:
    """What the host alone needs, where its settings are."""
    by_identity = [each for each in accounts if not each.connection.connection_string]
    if not by_identity:
        return
    for step, service in _HOST_STEPS:
        yield _list_one(step, service, environment, where)
    for each in by_identity:
        if each.mode == "events":
            service = service_of_flow_logs(each.connection.name, each.name, FLOW_LOG_QUEUES)
            yield _list_one(f"flow-log queues{each.behind}", service, environment, where)


def _side_by_side(
    accounts: Sequence["_Account"], examine: Callable[["_Account"], list[Finding]]
) -> Iterator[Finding]:
    """Examine all accounts at once; findings in the order of accounts."""
    if len(accounts) == 1:
        yield from examine(accounts[0])
        return
    found = {each.name: result for each, result in work_on(accounts, examine, len(accounts), "accounts")}
    for each in accounts:
        result = found[each.name]
        if isinstance(result, FlowtallyError):
            raise result
        yield from result


def _examine_account(service: Service, connection: Connection, url: str, where: Where) -> Iterator[Finding]:
    """Whether there is an identity to ask with, and whether anybody answers."""
    step = f"identity for {connection.name}"
    if connection.connection_string:
        yield Finding(step, "ok", "a connection string")
    else:
        try:
            with storage_errors("no token"):
                credential(connection).get_token(_SCOPE)
        except Unavailable as error:
            yield Finding(step, "failed", str(error), advice.to_get_a_token(connection, where))
            return
        yield Finding(step, "ok", "a token, by " + _kind(connection))
    step = f"{connection.name} answers"
    name, place = place_of(url)
    address = _address(name)
    at = f"{place}, {address}" if address else place
    try:
        requests.head(url, timeout=_ANSWERS_WITHIN_SECONDS)
    except NO_ANSWER as error:
        to_do = _to_reach(service, where, address, error)
        yield Finding(step, "failed", f"no answer from {at}: {innermost(error)}", to_do)
        return
    yield Finding(step, "ok", at)


def place_of(url: str) -> tuple[str, str]:
    """Host, and host with port, of an address: all of it that may be shown."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return host, f"{shown}:{parts.port}" if parts.port else shown


def _to_reach(service: Service, where: Where, address: str, error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return advice.TO_TRUST
    return advice.to_reach(service, where, address)


def _address(host: str) -> str:
    """What a name resolves to: whether it is private tells whether a private endpoint is used. Empty if the
    name isn't known here, where a proxy may know it all the same.
    """
    try:
        first = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        address = ipaddress.ip_address(first)
    except (OSError, ValueError, IndexError):
        return ""
    return f"{'public' if address.is_global else 'private'} address {address}"


def _list_one(step: str, service: Service, environment: Mapping[str, str], where: Where) -> Finding:
    """List one container, queue or table, as the host's own identity: what the host needs, and no client of
    ours does.
    """
    name = service.connection
    account = environment.get(f"{name}__accountName", "").strip()
    uri = environment.get(service.setting, "").strip()
    if not uri and account:
        uri = f"https://{account}.{service.kind}.core.windows.net"
    if not uri:
        to_do = f"set it to the address of the {service.kind} service of {service.account}; docs/settings.md"
        return Finding(step, "failed", f"{service.setting} is not set: the host doesn't start", to_do)
    try:
        check_service_uri(service.setting, uri, service.kind)
    except BadSettings as error:
        return Finding(step, "failed", str(error), _SETTINGS)
    connection = Connection(
        name,
        service_uri=uri,
        credential=environment.get(f"{name}__credential", "").strip().lower(),
        client_id=environment.get(f"{name}__clientId", ""),
    )
    try:
        with storage_errors("no token"):
            token = credential(connection).get_token(_SCOPE).token
    except Unavailable as error:
        return Finding(step, "failed", str(error), advice.to_get_a_token(connection, where))
    host, place = place_of(uri)
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/{_LISTINGS[service.kind]}",
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/json;odata=nometadata"
                if service.kind == "table"
                else "application/xml",
                "x-ms-date": formatdate(usegmt=True),
                "x-ms-version": "2020-12-06",
            },
            timeout=_ANSWERS_WITHIN_SECONDS,
            allow_redirects=False,
        )
    except NO_ANSWER as error:
        to_do = _to_reach(service, where, _address(host), error)
        return Finding(step, "failed", f"no answer from {place}: {innermost(error)}", to_do)
    return _judge_listing(step, service, place, answer, where)


def _judge_listing(
    step: str, service: Service, place: str, answer: requests.Response, where: Where
) -> Finding:
    if answer.status_code == 200 and REQUEST_ID not in answer.headers:
        to_do = "does a proxy, a firewall or a sign-in page answer in its place?"
        return Finding(step, "failed", f"what answers at {place} isn't Azure Storage", to_do)
    if answer.status_code == 200:
        return Finding(step, "ok", place)
    code = answer.headers.get("x-ms-error-code", "")
    found = f"no list from {place} {_answer(answer.status_code, code)}"
    return Finding(step, "failed", found, advice.to_be_allowed(service, answer.status_code, code, where))


@dataclass
class _Account:
    """An account of flow logs, and what is tried on it. ``behind``: what the names of its steps end with."""

    flow_logs: FlowLogs
    connection: Connection
    mode: Mode
    where: Where
    behind: str
    is_there: bool = False

    def __post_init__(self) -> None:
        self.name = self.flow_logs.account
        self.service = service_of_flow_logs(self.connection.name, self.name)

    def examine(self) -> list[Finding]:
        """Whether there is an identity to ask it with, and whether anybody answers."""
        url = self.flow_logs.service.url
        found = [*_examine_account(self.service, self.connection, url, self.where)]
        self.is_there = all(finding.outcome != "failed" for finding in found)
        return found

    def examine_flow_logs(self) -> list[Finding]:
        """Whether its flow logs can be listed and read."""
        findings = []
        for name, attempt in (("list flow logs", self.list_containers), ("read flow logs", self.read_newest)):
            step = name + self.behind
            finding = self._attempt(step, attempt) if self.is_there else _skipped(step)
            self.is_there = self.is_there and finding.outcome != "failed"
            findings.append(finding)
        return findings

    def examine_counting(self, ledger: Ledger | None) -> list[Finding]:
        """Whether its blobs are counted."""
        step = f"counting{self.behind}"
        if not self.is_there or ledger is None:
            return [_skipped(step)]
        return [self._attempt(step, partial(self.compare, ledger))]

    def _attempt(self, step: str, attempt: Callable[[str], Finding]) -> Finding:
        by_key = bool(self.connection.connection_string)
        return _attempt(step, attempt, self.service, self.where, by_key=by_key, mode=self.mode)

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
        listed = self.flow_logs.list_blobs(floor_hour(now - LOOKS_BACK), now + HOUR)
        blobs = [each for each in listed if not isinstance(each, str)]
        newest = max(blobs, key=lambda each: each.modified, default=None)
        if newest is None:
            to_do = "there is no traffic, or flow logs are off: look at Network Watcher, flow logs"
            return Finding(step, "note", "no flow log of the last two hours", to_do)
        self.flow_logs.read(newest.blob, max(newest.length - 1, 0))
        age = _ago(now - newest.modified)
        return Finding(step, "ok", f"blobs of the last two hours: {len(blobs):,}, the newest written {age}")

    def compare(self, ledger: Ledger, step: str) -> Finding:
        """The newest blobs' lengths against their offsets, which tell whether they are counted in time."""
        now = self.flow_logs.now()
        found = compare(self.flow_logs, ledger, floor_hour(now - LOOKS_BACK), now + HOUR)
        compared = [each for each in found if isinstance(each, Compared)]
        if not compared:
            return Finding(step, "skipped", "no flow log of the last two hours")
        behind = [each for each in compared if each.behind]
        size = sum(each.behind for each in behind)
        said = f"{len(behind):,} of {len(compared):,} blobs behind, by {human_bytes(size)} in all"
        if _count_late(compared, self.name, self.mode, now):
            return Finding(step, "failed", said, _NO_SWEEPS if self.mode == "schedule" else _NO_EVENTS)
        return Finding(step, "ok", said if behind else f"nothing is behind (blobs: {len(compared):,})")


def _count_late(compared: Iterable[Compared], account: str, mode: Mode, now: datetime) -> int:
    """How many of an account's blobs are late. By schedule an interface that isn't known yet is found within
    the hour, and what it has logged until then is none of them.
    """
    lateness, unfound = Lateness(), 0
    for each in compared:
        if mode == "schedule" and not each.written:
            unfound += bool(each.behind) and now - each.listed.blob.hour > FOUND_WITHIN
        else:
            lateness.add(each, account, now)
    return lateness.late + unfound


class _Results:
    """The tables of results, and what is tried on them."""

    def __init__(self, settings: Settings, where: Where) -> None:
        self.where = where
        self.accounts = set[str]()
        self.tables = Tables(settings.results)
        self.ledger = Ledger(self.tables)
        self.counts = Counts(self.tables)
        self._tables: list[str] = []

    def list_tables(self, step: str) -> Finding:
        """Which of our tables are there."""
        with storage_errors("listing tables"):
            there = {table.name for table in self.tables.service.list_tables()}
        self._tables = [name for name in TABLES if name in there]
        missing = [name for name in TABLES if name not in there]
        if missing:
            to_do = "the app's first update creates them; so do flowtally sweep and flowtally rollup"
            return Finding(step, "note", "not there yet: " + ", ".join(missing), to_do)
        return Finding(step, "ok", ", ".join(TABLES))

    def read_ledger(self, step: str) -> Finding:
        """The first scope, by the query that the rollup begins with."""
        first = next(self.ledger.scopes(), None)
        return Finding(step, "ok", f"the first scope is {first}" if first else "nothing counted yet")

    def try_to_delete(self, step: str) -> Finding:
        """Delete what isn't there: who may, may write, too; who may not, is refused all the same.

        The app has to write; on an engineer's machine it is no failure if only reading is allowed.
        """
        if not self._tables:
            return Finding(step, "skipped", "there is no table yet")
        try:
            with storage_errors(f"deleting nothing from {self._tables[0]}"):
                self.tables.table(self._tables[0]).delete_entity("~doctor", "~doctor")
        except Unavailable as error:
            if self.where == "app" or getattr(error.__cause__, "status_code", None) != 403:
                raise
            to_do = f"asking needs no more; flowtally sweep and rollup need the role {RESULTS.role}"
            return Finding(step, "note", "not allowed", to_do)
        return Finding(step, "ok", "allowed")

    def check_views(self, step: str) -> Finding:
        """When the last rollup began that failed nowhere."""
        looked_at = rolled_up_until(self.counts.work.all().values())
        if looked_at is None:
            to_do = "the app's timer runs it every five minutes; flowtally rollup does it now"
            return Finding(step, "note", "no rollup has ended yet", to_do)
        age = self.tables.server_time() - looked_at
        if age > ROLLED_UP_WITHIN:
            to_do = "look for the rollup's errors: docs/operate.md; flowtally rollup does it meanwhile"
            return Finding(step, "failed", f"last rolled up {_ago(age)}", to_do)
        return Finding(step, "ok", f"last rolled up {_ago(age)}")

    def check_record_types(self, step: str) -> Finding:
        """What VNet flow logs leave out; where a day had no denial, when there was one last."""
        now = self.tables.server_time()
        since = first_hour_of_day(now)
        counted: dict[str, Hours] = {}
        for scope, hour, its in self.counts.indexed_hours(since, now):
            if kind_of(scope) == "vnet" and its.health:
                counted[scope] = {**counted.get(scope, {}), hour: its.health.states}
        if not counted:
            return Finding(step, "ok", "no VNet flow log was counted in the last 24 hours")
        notices = notice_left_out(counted, since, now, now)
        quiet = [scope for notice in notices if not notice.to_do for scope in notice.scopes]
        for scope in quiet[:MOST_LOOKED_BACK]:
            earlier = self.counts.indexed_hours(floor_hour(now - DENIALS_SINCE), since - HOUR, scope)
            before = {hour: its.health.states for _, hour, its in earlier if its.health}
            counted[scope] = before | {**counted[scope]}
        notices = notice_left_out(counted, since, now, now)
        to_do = next((notice.to_do for notice in notices if notice.to_do), "")
        said = (
            "; ".join(notice.line() for notice in notices)
            or f"nothing seems left out (VNet flow logs: {len(counted):,})"
        )
        return Finding(step, "note" if to_do else "ok", said, to_do)

    def check_sweeps(self, step: str) -> Finding:
        """When each account's flow logs were looked for last, and each of them was swept."""
        begun = Begun(self.counts.work.all_of(self.accounts))
        now = self.tables.server_time()
        if not begun.times:
            to_do = "the app's timer hands sweeps out; flowtally sweep does one now"
            return Finding(step, "note", "none has begun yet", to_do)
        for said in begun.say(now):
            return Finding(step, "failed", said, _NO_SWEEPS)
        return Finding(step, "ok", f"the last one began {_ago(now - max(begun.times.values()))}")

    def check_work(self, step: str) -> Finding:
        """Which work fails, or rests."""
        works = self.counts.work.all_of(self.accounts)
        if problems := say_failures(works, self.tables.server_time()):
            return Finding(step, "failed", "; ".join(problems), _WORK_FAILS)
        return Finding(step, "ok", "nothing that was handed out has failed")


def _attempt(
    step: str,
    attempt: Callable[[str], Finding],
    service: Service,
    where: Where,
    *,
    by_key: bool = False,
    mode: Mode = "events",
) -> Finding:
    try:
        return attempt(step)
    except MalformedInput as error:
        return Finding(step, "failed", str(error), "docs/operate.md, Versions")
    except FlowtallyError as error:
        status, code = refusal_of(error)
        found = str(error).replace(f"(answer {status})", _answer(status, code))
        if by_key and "failed to authenticate" in found:  # Azurite's code for it is that of a firewall
            code = "AuthenticationFailed"
        to_do = advice.to_be_allowed(service, status, code, where, by_key=by_key, mode=mode)
        return Finding(step, "failed", found, to_do)


def _answer(status: int | None, code: str) -> str:
    return f"(answer {status}, {code})" if code else f"(answer {status})"


def _kind(connection: Connection) -> str:
    if connection.credential != "managedidentity":
        return "whoever is signed in"
    return f"managed identity {connection.client_id}".strip()


def _describe(settings: Settings) -> str:
    """The mode, and where the settings lead."""
    named = [*map(_named, settings.flow_logs[:NAMED_ACCOUNTS])]
    if more := len(settings.flow_logs) - NAMED_ACCOUNTS:
        named += [f"{more:,} more accounts"] if more > 0 else []
    return f"{', '.join([*named, _named(settings.results)])}; mode {settings.mode}"


def _named(connection: Connection) -> str:
    how = f"at {connection.service_uri}" if connection.service_uri else "by connection string"
    return f"{connection.name} {how}"


def _skipped(step: str) -> Finding:
    return Finding(step, "skipped", _NOT_TRIED)


def _ago(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes:,} minute{'' if minutes == 1 else 's'} ago" if minutes > 0 else "just now"

"""The settings: environment variables in the host's own convention for connections, the same for the
function app and for the command line.

A connection ``NAME`` is either ``NAME__blobServiceUri`` (or ``NAME__tableServiceUri``), used with an
identity, or ``NAME`` with a connection string, for the Azurite emulator. There is one for each storage
account of flow logs: ``FLOW_LOGS`` and ``FLOW_LOGS_{NAME}``. docs/settings.md lists all settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from shared.errors import BadSettings
from shared.times import parse_age

Mode = Literal["events", "schedule", "polling"]
"""What begins the counting: an event for each update of a blob; a timer that looks what has grown; or the
host's own polling of the containers, which is for Azurite alone, as that sends no events.
"""

UpdateLines = Literal["sums", "each"]
"""What the log says of updates that events bring: a line a minute about all of them, or one about each."""

FLOW_LOGS = "FLOW_LOGS"
"""What the names of connections to flow logs begin with."""

_FLOW_LOGS = re.compile(f"{FLOW_LOGS}(_[A-Za-z0-9]+)?")

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""This machine, to which secrets may be sent without encryption."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one storage service: by connection string, or at ``service_uri`` with an identity."""

    name: str
    connection_string: str = field(default="", repr=False)  # may hold a key
    service_uri: str = ""
    credential: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. ``flow_logs``: a connection for each account, in the order of their names;
    ``sweep_since``: how far back the daily look goes; ``keep``: how long results are kept, ``None`` for ever.
    """

    flow_logs: tuple[Connection, ...]
    results: Connection
    mode: Mode
    sweep_schedule: str
    sweep_since: timedelta
    rollup_schedule: str
    keep: timedelta | None
    update_lines: UpdateLines


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check all settings; ``BadSettings`` names the one that is wrong and what it wants."""
    mode = environment.get("FLOWTALLY_MODE", "events")
    if mode not in get_args(Mode):
        raise BadSettings(f"FLOWTALLY_MODE is {mode!r}; it must be events, schedule or polling")
    update_lines = environment.get("FLOWTALLY_UPDATE_LINES", "sums")
    if update_lines not in get_args(UpdateLines):
        raise BadSettings(f"FLOWTALLY_UPDATE_LINES is {update_lines!r}; it must be sums or each")
    return Settings(
        flow_logs=tuple(_connection(environment, name, "blob") for name in _names_of_flow_logs(environment)),
        results=_connection(environment, "RESULTS", "table"),
        mode=cast("Mode", mode),
        sweep_schedule=_schedule(
            environment,
            "FLOWTALLY_SWEEP_SCHEDULE",
            "0 */5 * * * *" if mode == "schedule" else "0 7,37 * * * *",
        ),
        sweep_since=_age(environment, "FLOWTALLY_SWEEP_SINCE", "7d") or timedelta(),
        rollup_schedule=_schedule(environment, "FLOWTALLY_ROLLUP_SCHEDULE", "30 */5 * * * *"),
        keep=_age(environment, "FLOWTALLY_KEEP", ""),
        update_lines=cast("UpdateLines", update_lines),
    )


def ingest_function(connection: str, kind: str) -> str:
    """The name of the app's function that ingests a kind of flow log of the account of this connection:
    ``ingest_vnet``, or ``ingest_vnet_{name}`` for ``FLOW_LOGS_{NAME}``. Event subscriptions name it.
    """
    return f"ingest_{kind}{connection.removeprefix(FLOW_LOGS).lower()}"


def _names_of_flow_logs(environment: Mapping[str, str]) -> list[str]:
    """The connections to flow logs of which anything is set; ``FLOW_LOGS`` alone if nothing is."""
    names = set()
    for setting in environment:
        name, _, _ = setting.partition("__")
        if not environment[setting].strip() or not (name == FLOW_LOGS or name.startswith(f"{FLOW_LOGS}_")):
            continue
        if not _FLOW_LOGS.fullmatch(name):
            raise BadSettings(
                f"{setting} is no setting: behind {FLOW_LOGS}_ a name of letters and digits must stand, "
                f"such as the storage account's: {FLOW_LOGS}_STFLOWLOGSWEU__blobServiceUri"
            )
        names.add(name)
    folded: dict[str, str] = {}
    for name in sorted(names):
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise BadSettings(f"{other} and {name} differ in capital letters only; give one another name")
    return sorted(names) or [FLOW_LOGS]


def _age(environment: Mapping[str, str], name: str, default: str) -> timedelta | None:
    """A time span; ``None`` where nothing is set and there is no default."""
    text = environment.get(name, default)
    if not default and not text.strip():
        return None
    try:
        return parse_age(text)
    except ValueError as mend:
        raise BadSettings(f"{name} is {text!r}; {mend}") from None


def _connection(environment: Mapping[str, str], name: str, service: str) -> Connection:
    uri_setting = f"{name}__{service}ServiceUri"
    connection_string = environment.get(name, "").strip()
    service_uri = environment.get(uri_setting, "").strip()
    wanted = _wanted(service)
    if service_uri:
        check_service_uri(uri_setting, service_uri, service)
        credential = environment.get(f"{name}__credential", "").strip().lower()
        if credential not in ("", "managedidentity"):
            raise BadSettings(
                f"{name}__credential is {credential!r}; it must be managedidentity, or not be set"
            )
        return Connection(
            name,
            service_uri=service_uri,
            credential=credential,
            client_id=environment.get(f"{name}__clientId", ""),
        )
    if not connection_string:
        raise BadSettings(
            f"{uri_setting} is not set; set it to the service's address, {wanted}"
            f" (or {name} to a connection string, for Azurite)"
        )
    if "=" not in connection_string:
        raise BadSettings(f"{name} is no connection string; it must be NAME=VALUE pairs joined by semicolons")
    if "@" in connection_string:
        # Neither quoted nor used: requests would be sent with it, and their addresses be logged.
        raise BadSettings(
            f"{name} is no connection string that can be used: an endpoint in it has a user name or a "
            "password (before an @); leave them out"
        )
    return Connection(name, connection_string=connection_string)


def check_service_uri(setting: str, uri: str, service: str) -> None:
    """Check the address of a storage service, to which an identity's token is sent; ``BadSettings`` if it is
    none, or if the token would be sent in plain text to another machine.
    """
    try:
        parts = urlsplit(uri)
        plain = bool(parts.hostname) and parts.port != 0 and "@" not in uri
    except ValueError:
        plain = False
    if not plain or not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", uri):
        # Not quoted, nor is a connection string: it may hold a key.
        raise BadSettings(f"{setting} is no service address; it must be a plain one, {_wanted(service)}")
    if parts.scheme != "https" and parts.hostname not in LOCAL_HOSTS:
        raise BadSettings(f"{setting} must begin with https://, as a token is sent to it, {_wanted(service)}")


def _wanted(service: str) -> str:
    return f"such as https://ACCOUNT.{service}.core.windows.net"


def _schedule(environment: Mapping[str, str], name: str, default: str) -> str:
    schedule = environment.get(name, default)
    if len(schedule.split()) != 6:
        raise BadSettings(
            f"{name} is {schedule!r}; it must be an NCRONTAB of six fields, such as {default!r}"
        )
    return schedule

"""The settings: environment variables in the host's own convention for connections, the same for the
function app and for the command line.

A connection ``NAME`` is either ``NAME__blobServiceUri`` (or ``NAME__tableServiceUri``), used with an
identity, or ``NAME`` with a connection string, for the Azurite emulator. docs/settings.md lists them all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from shared.errors import BadSettings
from shared.times import parse_age

TriggerSource = Literal["EventGrid", "Polling"]

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
    """All settings, checked."""

    flow_logs: Connection
    results: Connection
    trigger_source: TriggerSource
    sweep_schedule: str
    sweep_since: timedelta
    rollup_schedule: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check all settings; ``BadSettings`` names the one that is wrong and what it wants."""
    source = environment.get("FLOWTALLY_TRIGGER_SOURCE", "EventGrid")
    if source not in get_args(TriggerSource):
        raise BadSettings(f"FLOWTALLY_TRIGGER_SOURCE is {source!r}; it must be EventGrid or Polling")
    since = environment.get("FLOWTALLY_SWEEP_SINCE", "24h")
    try:
        age = parse_age(since)
    except ValueError as mend:
        raise BadSettings(f"FLOWTALLY_SWEEP_SINCE is {since!r}; {mend}") from None
    return Settings(
        flow_logs=_connection(environment, "FLOW_LOGS", "blob"),
        results=_connection(environment, "RESULTS", "table"),
        trigger_source=cast("TriggerSource", source),
        sweep_schedule=_schedule(environment, "FLOWTALLY_SWEEP_SCHEDULE", "0 7,37 * * * *"),
        sweep_since=age,
        rollup_schedule=_schedule(environment, "FLOWTALLY_ROLLUP_SCHEDULE", "30 */5 * * * *"),
    )


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

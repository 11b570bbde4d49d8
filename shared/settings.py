"""The settings: environment variables in the host's own convention for connections, the same for the
function app and for the command line.

A connection ``NAME`` is either ``NAME__blobServiceUri`` (or ``NAME__tableServiceUri``), used with an
identity, or ``NAME`` with a connection string, for the Azurite emulator. docs/settings.md lists them all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, cast, get_args

from shared.errors import BadSettings

TriggerSource = Literal["EventGrid", "Polling"]

_AGE = re.compile(r"([0-9]{1,6})([mhd])")
_LONGEST_AGE = timedelta(days=36_500)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


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
    age = parse_age(since)
    if age is None:
        raise BadSettings(f"FLOWTALLY_SWEEP_SINCE is {since!r}; it must be a time span such as 24h or 7d")
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
    wanted = f"such as https://ACCOUNT.{service}.core.windows.net"
    if service_uri:
        if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", service_uri):
            # Not quoted, nor is a connection string: it may hold a key.
            raise BadSettings(f"{uri_setting} is no service address; it must be a plain one, {wanted}")
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
    return Connection(name, connection_string=connection_string)


def _schedule(environment: Mapping[str, str], name: str, default: str) -> str:
    schedule = environment.get(name, default)
    if len(schedule.split()) != 6:
        raise BadSettings(
            f"{name} is {schedule!r}; it must be an NCRONTAB of six fields, such as {default!r}"
        )
    return schedule


def parse_age(text: str) -> timedelta | None:
    """A time span such as ``90m``, ``24h``, ``7d``; ``None`` if it is none."""
    found = _AGE.fullmatch(text.strip())
    age = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    return age if age is not None and age <= _LONGEST_AGE else None


def parse_when(text: str, now: datetime) -> datetime | None:
    """A moment: an age before ``now``, or an ISO 8601 date or time (UTC where no offset is given)."""
    age = parse_age(text)
    try:
        if age is not None:
            return now - age
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None

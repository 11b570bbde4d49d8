"""A flow log's blob name: which log, which hour, which network interface.

Names are read from the right, where all layouts agree::

    …/y=YYYY/m=MM/d=DD/h=HH/m=00/macAddress=XXXXXXXXXXXX/PT1H.json

Before December 2017, ``macAddress=`` wasn't there: such a blob holds the records of all interfaces of its
log, and only they say which.

What stands to the left names the flow log itself. NSG logs have an ARM resource id there; of VNet logs three
layouts are known, two that join subscription and resource group, and watcher and flow log, with underscores,
and one that is a resource id. Of these the names are the log's identity; of anything else the whole path is,
as one name. No layout is mapped onto another, and no scope is the beginning of another one.

The container that the blob lies in tells which kind of log it is. The name's first word usually says the
same. Where it doesn't, the container is right, and the word is part of the log's identity.

Source: Microsoft Learn, "Flow logging for network security groups" and "Virtual network flow logs".
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from shared.errors import MalformedInput
from shared.times import check_year

Kind = Literal["nsg", "vnet"]

CONTAINERS: dict[Kind, str] = {
    "nsg": "insights-logs-networksecuritygroupflowevent",
    "vnet": "insights-logs-flowlogflowevent",
}
"""The container that Network Watcher writes each kind of log to."""

KINDS: dict[str, Kind] = {container: kind for kind, container in CONTAINERS.items()}
"""The kind of log that each container holds."""

HOUR_FOLDER = "y=%Y/m=%m/d=%d/h=%H/"
"""``strftime`` pattern of an hour's folder below a scope's."""

UNKNOWN_MAC = "unknown"
"""Stands for the interface where a name doesn't say it."""

_IN_ANY_CASE = re.IGNORECASE | re.ASCII
_LAYOUT = re.compile(
    r"(?P<root>resourceId|flowLogResourceID)=/(?P<path>.+)"
    r"/y=(?P<y>[1-9][0-9]{3})/m=(?P<m>[0-9]{2})/d=(?P<d>[0-9]{2})/h=(?P<h>[0-9]{2})/m=00"
    r"(?:/macAddress=(?P<mac>[0-9A-Fa-f]{12}))?/PT1H\.json",
    _IN_ANY_CASE,
)
_RESOURCE_ID = re.compile(
    r"subscriptions/([^/_]+)/resourcegroups/([^/]+)/providers/microsoft\.network/"
    r"(?:networksecuritygroups/([^/]+)|networkwatchers/([^/]+)/flowlogs/([^/]+))",
    _IN_ANY_CASE,
)
_JOINED = re.compile(r"([^/_]+_[^/]+)/([^/]+)")
_WATCHER_PREFIX = re.compile(r"^NETWORKWATCHER_[A-Z0-9]+_(?=.)", _IN_ANY_CASE)
_KEY_SAFE = re.compile(r"[A-Za-z0-9._()\-]")
_LONGEST_SCOPE = 300
_ESCAPED = re.compile("(?:![0-9a-f]{2})+")
_DIGEST = re.compile("![0-9a-f]{32}$")
_GROUP = re.compile("/resourcegroups/([^/]+)/", _IN_ANY_CASE)


@dataclass(frozen=True, slots=True)
class BlobName:
    """One blob: a flow log's traffic of one network interface in one clock hour.

    ``scope`` is what the flow log watches, as a lower-case string that is safe in table keys;
    ``group`` the NSG's or flow log's own name; ``resource_id`` the path to it, in lower case. ``mac`` is
    ``UNKNOWN_MAC`` where the name doesn't say it.
    """

    name: str
    kind: Kind
    scope: str
    group: str
    resource_id: str
    hour: datetime
    mac: str

    @property
    def written_id(self) -> str:
        """``resource_id`` as the name writes it."""
        found = _LAYOUT.fullmatch(self.name)
        return "/" + found["path"] if found else self.resource_id

    def at(self, hour: datetime) -> "BlobName":
        """The blob of the same interface in another hour."""
        found = _LAYOUT.fullmatch(self.name)
        if not found:  # it was made from a name that has the layout
            raise ValueError(f"not a flow log's name: {self.name!r}")
        before, after = self.name[: found.start("y") - 2], self.name[found.end("h") + 1 :]
        return replace(self, name=f"{before}{hour.strftime(HOUR_FOLDER)}{after}", hour=hour)


def parse_blob_name(name: str, container: str = "") -> BlobName:
    """Read the name of a blob in ``container``; ``MalformedInput`` if it isn't a flow log's.

    Where the container isn't known, the name's first word tells the kind of log.
    """
    found = _LAYOUT.fullmatch(name)
    if not found:
        raise MalformedInput(
            f"not a flow log's name: {name!r} "
            "(expected …/y=YYYY/m=MM/d=DD/h=HH/m=00/macAddress=XXXXXXXXXXXX/PT1H.json)"
        )
    year, month, day, hour_of_day = (int(found[part]) for part in "ymdh")
    try:
        hour = check_year(datetime(year, month, day, hour_of_day, tzinfo=UTC))
    except ValueError as error:
        raise MalformedInput(f"not a flow log's name: {name!r} ({error})") from None
    usual: Kind = "nsg" if found["root"].lower() == "resourceid" else "vnet"
    kind = KINDS.get(container, usual)
    path = found["path"]
    if kind == usual:
        resource, whole = _RESOURCE_ID.fullmatch(path), "/" + path
    else:
        resource, whole = None, f"{found['root']}=/{path}"
    joined = _JOINED.fullmatch(path) if kind == usual == "vnet" else None
    known = resource or joined
    own = [part for part in known.groups() if part] if known else [whole]
    group = own[-1].rpartition("/")[2]
    if joined:
        group = without_watcher(group)
    return BlobName(
        name=name,
        kind=kind,
        scope=key_join([kind, *map(str.lower, own)]),
        group=group,
        resource_id="/" + path.lower(),
        hour=hour,
        mac=found["mac"].upper() if found["mac"] else UNKNOWN_MAC,
    )


def kind_of(scope: str) -> Kind:
    """The kind of log that a scope's key says."""
    return "nsg" if scope.startswith("nsg~") else "vnet"


def without_watcher(name: str) -> str:
    """A flow log's name where its watcher's and region's stand before it."""
    return _WATCHER_PREFIX.sub("", name, count=1)


def readable(scope: str) -> str:
    """A scope's key with the characters that a key can't hold, all in lower case."""
    if _DIGEST.search(scope):
        return scope
    return _ESCAPED.sub(
        lambda found: bytes.fromhex(found[0].replace("!", "")).decode(errors="replace"), scope
    )


def as_written(scope: str, name: str, resource_id: str) -> str:
    """A scope's key with its name, and its resource group's, as Azure writes them."""
    group = _GROUP.search(resource_id)
    text = readable(scope)
    for part, end in ((name, ""), (group[1] if group else "", "~")):
        before, found, after = text.rpartition(part.lower() + end)
        text = before + part + end + after if part and found else text
    return text


def key_join(parts: Iterable[str], longest: int = _LONGEST_SCOPE) -> str:
    """Parts joined by ``~`` into a piece of a table key; different parts give different keys.

    Every character that a key can't hold stands as ``!xx`` bytes of its UTF-8. Keys have a limit of 512
    characters: what is longer than ``longest`` ends in a digest of itself.
    """
    return shortened("~".join("".join(map(_key_safe, part)) for part in parts), longest)


def shortened(text: str, longest: int) -> str:
    """The text, or as much of it as leaves room for a digest of the whole."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 33]}!{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _key_safe(char: str) -> str:
    if _KEY_SAFE.match(char):
        return char
    return "".join(f"!{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))

"""A naive count: whole blobs in, what the views have to say out.

Plain ``json.loads``, ``split`` and ``dict``, written from the format's description and the design alone. It
shares nothing with the code under test, keeps everything, knows no offset, and is exact by having nothing
clever in it.
"""

import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

MEASURES = (
    *("Tuples", "FlowsAllowed", "FlowsDenied", "FlowsEnded"),
    *("PacketsSrcToDest", "BytesSrcToDest", "PacketsDestToSrc", "BytesDestToSrc"),
    *("FlowsRestarted", "BytesRestated", "BytesDoubtful", "RestartsLost"),
)
LARGEST = 2**63 - 1

DIMENSIONS = {
    "traffic": ("Direction", "Status"),
    "rules": ("AclGroup", "AclRule", "Direction", "Status"),
    "denied-sources": ("SrcIp",),
    "talkers": ("RemoteIp", "Direction"),
    "denied-ports": ("L4Protocol", "DestPort", "Direction"),
    "allowed-ports": ("L4Protocol", "DestPort", "Direction"),
    "conversations": ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclGroup", "AclRule"),
    "denied-conversations": ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclGroup", "AclRule"),
    "nics": ("Mac", "Direction", "Status"),
    "addresses": ("Mac", "LocalIp"),
    "exposed-ports": ("L4Protocol", "DestPort", "LocalIp", "AclGroup", "AclRule"),
    "encryption": ("Encryption", "Direction"),
}
RANKED_BY_DENIALS = {"denied-sources", "denied-ports", "denied-conversations"}
RANKED_BY_TRAFFIC = {"talkers", "allowed-ports", "conversations"}
RANKED = RANKED_BY_DENIALS | RANKED_BY_TRAFFIC | {"exposed-ports"}
NOT_OF_THE_INTERNET = [
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # private
        *("100.64.0.0/10", "169.254.0.0/16", "fe80::/10"),  # shared; link-local
        *("127.0.0.0/8", "::1/128", "224.0.0.0/4", "ff00::/8"),  # loopback; multicast
        "168.63.129.16/32",  # Azure's own
    )
]

type Key = tuple[Any, ...]
type Figures = list[int]
type Pending = dict[tuple[str, ...], tuple[int, list[int], bool]]
"""By source, destination, ports, protocol and direction of a restarted flow: when, what its E stated, and
whether that is all it ever had. The first to be restarted comes first."""
type Flow = tuple[int, dict[str, Any], Figures]
"""A tuple's time (ms), dimensions and figures."""

type Period = tuple[str, str, str, datetime]
"""Scope, view, grain, and when it begins."""

_NAME = re.compile(
    r"(resourceId|flowLogResourceID)=/(.+)/y=(\d+)/m=(\d+)/d=(\d+)/h=(\d+)/m=00/macAddress=(\w+)/PT1H\.json"
)


@dataclass
class Health:
    """What there is to read of a scope's hour."""

    blobs: int = 0
    bytes: int = 0
    records: int = 0
    tuples: int = 0
    begins: int = 0
    continues: int = 0
    ends: int = 0
    denials: int = 0
    malformed: int = 0
    garbled_bytes: int = 0
    last_record_time: datetime | None = None


@dataclass
class Count:
    """All rows of all periods; first and last time (ms) of each rule; health by scope and hour."""

    rows: dict[Period, dict[Key, Figures]] = field(default_factory=lambda: defaultdict(dict))
    seen: dict[Period, dict[Key, tuple[int, int]]] = field(default_factory=lambda: defaultdict(dict))
    health: dict[tuple[str, datetime], Health] = field(default_factory=lambda: defaultdict(Health))

    def total(self, period: Period) -> Figures:
        """Everything that a view counts in a period."""
        return [min(sum(column), LARGEST) for column in zip(*self.rows[period].values(), strict=True)]

    def of_all(self) -> dict[Period, dict[Key, tuple[Figures, int]]]:
        """All scopes of a kind together: of each key its figures, and in how many scopes it is: of a day, in
        that hour in which it is in the most.
        """
        figures: dict[Period, dict[Key, Figures]] = defaultdict(dict)
        scopes: dict[Period, dict[Key, int]] = defaultdict(lambda: defaultdict(int))
        for (scope, view, grain, begins), keys in self.rows.items():
            period = all_of(scope), view, grain, begins
            for key, more in keys.items():
                known = figures[period].get(key, [0] * len(MEASURES))
                figures[period][key] = [min(sum(each), LARGEST) for each in zip(known, more, strict=True)]
                scopes[period][key] += 1
        for (everyone, view, grain, begins), keys in figures.items():
            if grain == "day":
                hours = [begins + timedelta(hours=number) for number in range(24)]
                for key in keys:
                    numbers = [scopes.get((everyone, view, "hour", hour), {}).get(key, 0) for hour in hours]
                    scopes[everyone, view, grain, begins][key] = max(numbers)
        return {
            period: {key: (its, scopes[period][key]) for key, its in keys.items()}
            for period, keys in figures.items()
        }


def all_of(scope: str) -> str:
    """What stands for all scopes of a scope's kind."""
    return "all~" + scope.split("~", maxsplit=1)[0]


def count(blobs: Mapping[str, bytes], noise: Iterable[bytes] = ()) -> Count:
    """Count whole blobs, given by their names.

    ``noise``: stretches that stand behind a comma somewhere in them and are no records.
    """
    result = Count()
    noise = sorted(noise, key=len, reverse=True)
    carried: dict[tuple[str, str, datetime], Pending] = {}
    for name in sorted(blobs):  # the hours of an interface in order
        _count_blob(result, name, blobs[name], noise, carried)
    return result


def _count_blob(
    result: Count,
    name: str,
    raw: bytes,
    noise: Iterable[bytes],
    carried: dict[tuple[str, str, datetime], Pending],
) -> None:
    found = _NAME.fullmatch(name)
    assert found, name
    root, path, year, month, day, hour_of_day, mac = found.groups()
    hour = datetime(int(year), int(month), int(day), int(hour_of_day), tzinfo=UTC)
    scope, nsg = _scope(root, path), "/" + path.lower()

    clean, garbled = raw, 0
    for stretch in noise:
        if stretch in clean:
            clean = clean.replace(b"," + stretch, b"", 1)
            garbled += len(stretch)
    records = lowered(json.loads(clean))["records"]

    kinds = [result.health[scope, hour], result.health[all_of(scope), hour]]
    for health in kinds:
        health.blobs += 1
        health.bytes += len(raw.removesuffix(b"]}")) if records else 0
        health.records += len(records)
        health.garbled_bytes += garbled
    pending = carried.get((scope, mac, hour), {})
    for record in records:
        time = datetime.fromisoformat(record["time"])
        for acl, rule, text, flow in _read_all(record, nsg, hour, pending):
            for health in kinds:
                health.tuples += flow is not None
                health.malformed += flow is None
                if flow:
                    _count_state(health, text)
            if flow:
                _count_flow(result, scope, mac.upper(), acl, rule, *flow)
        for health in kinds:
            health.last_record_time = max(time, health.last_record_time or time)
    carried[scope, mac, hour + timedelta(hours=1)] = _restarted_since(hour + timedelta(minutes=45), pending)


def _restarted_since(moment: datetime, pending: Pending) -> Pending:
    return {flow: each for flow, each in pending.items() if each[0] >= moment.timestamp() * 1000}


def _count_state(health: Health, text: str) -> None:
    """Count a good tuple by the state that it says; before version 4, what is allowed has it in a field more,
    and before version 2 it has none: then something begins.
    """
    fields = text.split(",")
    letter = fields[7]
    if letter == "A":
        letter = fields[8] if len(fields) > 8 else "B"
    health.begins += letter == "B"
    health.continues += letter == "C"
    health.ends += letter == "E"
    health.denials += letter == "D"


def _scope(root: str, path: str) -> str:
    parts = path.lower().split("/")
    if root == "resourceId":  # /SUBSCRIPTIONS/{}/RESOURCEGROUPS/{}/PROVIDERS/MICROSOFT.NETWORK/…GROUPS/{}
        return "~".join(["nsg", parts[1], parts[3], parts[7]])
    return "~".join(["vnet", *parts])


def lowered(value: Any) -> Any:
    """The same JSON with all keys in lower case."""
    if isinstance(value, dict):
        return {key.lower(): lowered(member) for key, member in value.items()}
    return [lowered(item) for item in value] if isinstance(value, list) else value


def _read_all(
    record: dict[str, Any], nsg: str, hour: datetime, pending: Pending
) -> Iterator[tuple[str, str, str, Flow | None]]:
    """Group of rules, rule, text, and what there is to count of every tuple."""
    for acl, rule, texts in arrays(record, nsg):
        flows = [read(record, text, hour) for text in texts]
        if "flowrecords" in record:
            flows = without_restated(texts, flows, pending)
        for text, flow in zip(texts, flows, strict=True):
            yield acl, rule, text, flow


def arrays(record: dict[str, Any], nsg: str) -> Iterator[tuple[str, str, list[str]]]:
    """Group of rules, rule, and texts of every array of tuples."""
    if "properties" in record:
        for flow in record["properties"]["flows"]:
            for inner in flow["flows"]:
                yield nsg, flow["rule"], inner["flowtuples"]
    else:
        for acl in record["flowrecords"]["flows"]:
            for group in acl["flowgroups"]:
                yield acl["aclid"].lower(), group["rule"], group["flowtuples"]


def without_restated(texts: list[str], flows: list[Flow | None], pending: Pending) -> list[Flow | None]:
    """Follow restarts through one array of a VNet log: the same tuples with the figures that are true."""
    lines = [text.split(",") if flow else None for text, flow in zip(texts, flows, strict=True)]
    moments = [(line[0], *_flow(line)) if line and len(line[0]) == 13 else None for line in lines]
    states = [line[7] if line else "" for line in lines]
    restarts = {
        number
        for number in range(len(lines) - 1)
        if states[number : number + 2] == ["E", "B"]
        and moments[number]
        and moments[number] == moments[number + 1]
    }
    result: list[Flow | None] = []
    for number, (line, flow) in enumerate(zip(lines, flows, strict=True)):
        if line is None or flow is None or states[number] == "D":
            result.append(flow)
            continue
        time_ms, key, figures = flow
        name = _flow(line)
        figures = [*figures]
        if number - 1 in restarts:  # the B of a restart
            figures[MEASURES.index("FlowsAllowed")] = 0
        elif states[number] == "B":
            if name in pending and pending[name][0] < time_ms:
                del pending[name]
        else:
            _take_out(
                name,
                time_ms,
                figures,
                pending,
                number in restarts,
                begun=(
                    number > 0
                    and number - 2 not in restarts
                    and states[number - 1] == "B"
                    and moments[number - 1] == moments[number]
                ),
            )
        result.append((time_ms, key, figures))
    return result


def _flow(line: list[str]) -> tuple[str, ...]:
    source, destination = (str(ipaddress.ip_address(text)) for text in line[1:3])
    ports = str(int(line[3])), str(int(line[4]))
    return (
        source,
        destination,
        *ports,
        {"T": "6", "U": "17"}.get(line[5], str(int(line[5])) if line[5].isdigit() else ""),
        line[6],
    )


def _take_out(
    name: tuple[str, ...], time_ms: int, figures: Figures, pending: Pending, restart: bool, *, begun: bool
) -> None:
    """Take out of the figures of a C or an E what was stated before; if it is a restart's, remember it."""
    counters = figures[4:8]
    known = pending.get(name)
    late = known is not None and time_ms < known[0]
    lost = late and restart
    followed = False
    if known and not late:
        del pending[name]
        was_ms, stated, exact = known
        if time_ms - was_ms > 600_000 or any(now < was for now, was in zip(counters, stated, strict=True)):
            lost = True
        else:
            followed = True
            figures[4:8] = [now - was for now, was in zip(counters, stated, strict=True)]
            figures[9] = min(stated[1] + stated[3], LARGEST)
            figures[10] = 0 if exact else min(figures[5] + figures[7], LARGEST)
    if restart:
        figures[3], figures[8] = 0, 1
        if counters[2] > 0 and not late:
            pending[name] = time_ms, counters, begun or followed
            if len(pending) > 2000:
                del pending[next(iter(pending))]
                figures[11] += 1
    figures[11] += lost


def read(record: dict[str, Any], text: str, hour: datetime) -> Flow | None:
    """A tuple's time (ms), dimensions and figures; ``None`` if it has to be rejected."""
    fields = text.split(",")
    version = 4 if "flowrecords" in record else record["properties"]["version"]
    if len(fields) != {1: 8, 2: 13, 4: 13}[version]:
        return None
    when, source, destination, source_port, port, protocol, direction, verdict = fields[:8]
    extra = fields[8] if version > 1 else ""
    counters = fields[9:]
    if version == 4:
        state, denied = verdict, verdict == "D"
        valid = verdict in {"B", "C", "E", "D"} and _is_encryption(extra)
    else:
        state, denied = extra or "B", verdict == "D"
        valid = verdict in {"A", "D"} and (version == 1 or extra in {"B", "C", "E"})
    if not re.fullmatch(r"\d{10}|\d{13}", when):
        return None
    time_ms = int(when) * (1000 if len(when) == 10 else 1)
    begins_ms = int(hour.timestamp()) * 1000
    valid = bool(
        valid
        and begins_ms - 3_600_000 <= time_ms < begins_ms + 7_200_000
        and _is_address(source)
        and _is_address(destination)
        and all(re.fullmatch(r"\d{1,5}", given) and int(given) < 65_536 for given in (source_port, port))
        and (protocol in {"T", "U"} or (re.fullmatch(r"\d{1,3}", protocol) and int(protocol) < 256))
        and direction in {"I", "O"}
        and all(re.fullmatch(r"\d*", given) and int(given or 0) <= LARGEST for given in counters)
        and (state not in {"C", "E"} or "" not in counters)
    )
    if not valid:
        return None
    key = {
        "Direction": {"I": "Inbound", "O": "Outbound"}[direction],
        "Status": "Denied" if denied else "Allowed",
        "SrcIp": str(ipaddress.ip_address(source)),
        "DestIp": str(ipaddress.ip_address(destination)),
        "DestPort": int(port),
        "L4Protocol": {"T": "TCP", "U": "UDP", "6": "TCP", "17": "UDP"}.get(protocol, protocol),
    }
    key["Encryption"] = extra if version == 4 else ""
    began = state == "B" and not denied
    stated = [int(given or 0) for given in counters or "0000"]
    figures = [1, began, denied, state == "E", *stated, 0, 0, 0, 0]
    return time_ms, key, [int(figure) for figure in figures]


def _is_encryption(text: str) -> bool:
    """Encrypted, or not for a reason, whatever it is: Microsoft may add some."""
    letters = text.replace("_", "a")
    return text == "X" or (text[:2] == "NX" and len(text) <= 62 and letters.isalnum() and letters.isascii())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_internet(text: str) -> bool:
    """Whether an address belongs to the internet; a mapped one is what it maps."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return not any(address in network for network in NOT_OF_THE_INTERNET)


def _count_flow(
    result: Count,
    scope: str,
    mac: str,
    acl: str,
    rule: str,
    time_ms: int,
    flow: dict[str, Any],
    figures: Figures,
) -> None:
    inbound, denied = flow["Direction"] == "Inbound", flow["Status"] == "Denied"
    local, remote = (flow["DestIp"], flow["SrcIp"]) if inbound else (flow["SrcIp"], flow["DestIp"])
    flow = {**flow, "AclGroup": acl, "AclRule": rule, "Mac": mac, "LocalIp": local, "RemoteIp": remote}
    views = ["traffic", "rules", "nics", "addresses"]
    if flow["Encryption"]:
        views.append("encryption")
    if inbound and not denied and is_internet(flow["SrcIp"]):
        views.append("exposed-ports")
    if denied:
        views += ["denied-ports", "denied-conversations", *(["denied-sources"] if inbound else [])]
    else:
        views += ["talkers", "allowed-ports", "conversations"]
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).replace(second=0)
    begins = {
        "5m": moment - timedelta(minutes=moment.minute % 5),
        "hour": moment.replace(minute=0),
        "day": moment.replace(minute=0, hour=0),
    }
    for view in views:
        key = tuple(flow[name] for name in DIMENSIONS[view])
        for grain, period in begins.items():
            if grain == "5m" and view != "traffic":
                continue
            rows = result.rows[scope, view, grain, period]
            known = rows.get(key, [0] * len(MEASURES))
            rows[key] = [min(one + other, LARGEST) for one, other in zip(known, figures, strict=True)]
            if view == "rules":
                seen = result.seen[scope, view, grain, period]
                first, last = seen.get(key, (time_ms, time_ms))
                seen[key] = min(first, time_ms), max(last, time_ms)


def weight(view: str, figures: Sequence[int]) -> int:
    """What a view ranks by: denials, or bytes both ways and tuples, or tuples alone."""
    named = dict(zip(MEASURES, figures, strict=True))
    if view in RANKED_BY_DENIALS:
        return named["FlowsDenied"]
    if view in RANKED_BY_TRAFFIC:
        return named["BytesSrcToDest"] + named["BytesDestToSrc"] + named["Tuples"]
    return named["Tuples"]

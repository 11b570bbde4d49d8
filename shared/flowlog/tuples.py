"""The grammar of a flow tuple: the reference reading, one comma-separated string at a time.

This is the specification. It is written to be read; whatever is faster has to agree with it on every
figure, on which tuples are rejected, and why.

=========  ===========================  =========================================  ====================
field      NSG version 1 (8 fields)     NSG version 2 (13 fields)                  VNet version 4 (13)
=========  ===========================  =========================================  ====================
0          time: 10 digits are seconds, 13 digits are milliseconds since 1970, in every version
1–4        source address, destination address, source port, destination port
5          protocol: ``T``, ``U`` or the IANA number 0–255
6          direction: ``I`` inbound, ``O`` outbound
7          decision ``A`` or ``D``      decision ``A`` or ``D``                    state ``B C E D``
8          –                            state ``B C E``                            encryption: ``X``, ``NX…``
9–12       –                            packets and bytes source → destination, packets and bytes back
=========  ===========================  =========================================  ====================

The codes behind ``NX`` are Microsoft's to add to: all of up to 62 letters, digits and underscores are taken.

The counters say what went by since the previous tuple of the flow. ``C`` (continuing) and ``E`` (ended)
have all four; ``B`` (began) and denied flows may leave them empty.

Source: Microsoft Learn, "Flow logging for network security groups", "Virtual network flow logs".
"""

import ipaddress
import re
from functools import lru_cache
from typing import Literal, NamedTuple

from shared.flowlog.reasons import Reason, Rejected

Direction = Literal["Inbound", "Outbound"]
Status = Literal["Allowed", "Denied"]
Grammar = Literal["nsg", "nsg-v1", "nsg-v2", "vnet-v4"]
"""``nsg`` is an NSG record that doesn't say its version: the number of fields tells."""

INT64_MAX = 2**63 - 1

_LONGEST_ADDRESS = 45

_DIRECTIONS: dict[str, Direction] = {"I": "Inbound", "O": "Outbound"}
_PROTOCOLS = {"T": "TCP", "U": "UDP", "6": "TCP", "17": "UDP"}
_FIELDS: dict[Grammar, frozenset[int]] = {
    "nsg": frozenset({8, 13}),
    "nsg-v1": frozenset({8}),
    "nsg-v2": frozenset({13}),
    "vnet-v4": frozenset({13}),
}
_ENCRYPTION = re.compile(r"X|NX[0-9A-Za-z_]{0,60}")


class FlowTuple(NamedTuple):
    """One tuple, read. ``time_ms``: milliseconds since 1970 UTC; ``encryption``: its code, empty where the
    version has none; counters: packets and bytes.
    """

    time_ms: int
    src_ip: str
    dest_ip: str
    src_port: int
    dest_port: int
    protocol: str
    direction: Direction
    status: Status
    encryption: str
    flows_allowed: int
    flows_denied: int
    flows_ended: int
    packets_src_to_dest: int
    bytes_src_to_dest: int
    packets_dest_to_src: int
    bytes_dest_to_src: int


class Verdict(NamedTuple):
    """What the fields protocol to state or encryption say together, in the order of ``FlowTuple``; and last,
    whether the counters have to be there.
    """

    protocol: str
    direction: Direction
    status: Status
    encryption: str
    flows_allowed: int
    flows_denied: int
    flows_ended: int
    needs_counters: bool


def read_tuple(text: object, grammar: Grammar) -> FlowTuple:
    """Read one element of a ``flowTuples`` array; ``Rejected`` if it breaks the grammar."""
    if not isinstance(text, str):
        raise Rejected(Reason.NO_STRING)
    fields = text.split(",")
    if len(fields) not in _FIELDS[grammar]:
        raise Rejected(Reason.NUMBER_OF_FIELDS)
    time_ms = _time(fields[0])
    src_ip, dest_ip = _address(fields[1]), _address(fields[2])
    src_port = _number(fields[3], 5, 65_535, Reason.PORT)
    dest_port = _number(fields[4], 5, 65_535, Reason.PORT)
    verdict = read_verdict(grammar, *fields[5:9])
    counters = fields[9:] or ["", "", "", ""]
    if verdict.needs_counters and "" in counters:
        raise Rejected(Reason.COUNTER_MISSING)
    return FlowTuple(
        time_ms,
        src_ip,
        dest_ip,
        src_port,
        dest_port,
        *verdict[:-1],
        *[_number(text, 19, INT64_MAX, Reason.COUNTER) if text else 0 for text in counters],
    )


@lru_cache(maxsize=4096)
def read_verdict(
    grammar: Grammar, protocol: str, direction: str, decision: str, rest: str | None = None
) -> Verdict:
    """Read the fields from the protocol on, as many as there are before the counters; ``Rejected`` if one
    breaks the grammar.
    """
    known_protocol = _protocol(protocol)
    if direction not in _DIRECTIONS:
        raise Rejected(Reason.DIRECTION)
    if grammar == "vnet-v4":
        state, encryption = decision, rest or ""
        if state not in {"B", "C", "E", "D"}:
            raise Rejected(Reason.STATE)
        if not _ENCRYPTION.fullmatch(encryption):
            raise Rejected(Reason.ENCRYPTION)
        denied = state == "D"
    else:
        if decision not in {"A", "D"}:
            raise Rejected(Reason.DECISION)
        denied = decision == "D"
        state, encryption = "B" if rest is None else rest, ""
        if state not in {"B", "C", "E"}:
            raise Rejected(Reason.STATE)
    return Verdict(
        protocol=known_protocol,
        direction=_DIRECTIONS[direction],
        status="Denied" if denied else "Allowed",
        encryption=encryption,
        flows_allowed=int(state == "B" and not denied),
        flows_denied=int(denied),
        flows_ended=int(state == "E"),
        needs_counters=state in {"C", "E"},
    )


def _number(text: str, most_digits: int, largest: int, reason: Reason) -> int:
    """A whole number; ``Rejected`` for this reason if it is none, too long or too large."""
    # By itself, isdigit takes the digits of every script.
    if text.isdigit() and text.isascii() and len(text) <= most_digits and (number := int(text)) <= largest:
        return number
    raise Rejected(reason)


def _time(text: str) -> int:
    if len(text) not in {10, 13}:
        raise Rejected(Reason.TIME)
    number = _number(text, 13, 10**13, Reason.TIME)
    return number * 1000 if len(text) == 10 else number


def canonical(text: str) -> str | None:
    """An address in its shortest form; ``None`` if it is none."""
    return _canonical(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=65_536)
def _canonical(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def _address(text: str) -> str:
    address = canonical(text)
    if address is None:
        raise Rejected(Reason.ADDRESS)
    return address


def _protocol(text: str) -> str:
    known = _PROTOCOLS.get(text)
    if known:
        return known
    number = str(_number(text, 3, 255, Reason.PROTOCOL))
    return _PROTOCOLS.get(number, number)

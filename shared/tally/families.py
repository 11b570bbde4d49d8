"""The families: what tuples are grouped by, each declared once.

Both readings, packing, the rollup, the questions and their documentation follow from ``FAMILIES``. To count
by something new, add an entry to it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from shared.flowlog.tuples import FlowTuple
from shared.tally.address_ranges import is_internet
from shared.tally.measures import Weight, flows_denied, traffic, tuples

if TYPE_CHECKING:  # see `shared/cli/__init__.py`: help doesn't wait for it
    from shared.tally.heavy_hitters import Key

KEYS = 1_000
"""How many keys a family keeps at least of a blob, if it has so many."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many keys a family keeps of merged counts: of an hour and a day of a scope, and of an hour and a
    day of all scopes of a kind together.

    What an answer may cost decides that (docs/tables.md): 24 hours are as many periods as 24 days.
    """

    hour: int = 1_000
    day: int = 2_000
    hour_of_all: int = 500
    day_of_all: int = 2_000

    def of(self, grain: Literal["hour", "day"], *, of_all: bool) -> int:
        """How many keys are kept of a period."""
        if grain == "hour":
            return self.hour_of_all if of_all else self.hour
        return self.day_of_all if of_all else self.day


ALL_INTERFACES = Kept(10_000, 10_000, 10_000, 10_000)
"""For what tells which interfaces there are: an answer finds by it which interface has an address."""

OF_KIND = ("Direction", "Status", "L4Protocol", "Encryption", "AclGroup", "AclRule", "Mac")
"""Dimensions of few values, which many tuples share. ``Encryption`` is empty where the log has none."""

OF_ADDRESS = ("SrcIp", "DestIp", "RemoteIp", "LocalIp")
"""Dimensions that are addresses; the local one is the side that is the interface, the remote one isn't."""

SIDES = ("LocalIp", "RemoteIp")
OF_SIDES = ("Direction", "SrcIp", "DestIp")
"""The dimensions that tell which address is local, and which remote."""

OF_PORT = ("DestPort",)

DIMENSIONS = (*OF_KIND, *OF_ADDRESS, *OF_PORT)
"""All that tuples can be grouped by, in the order of ``dimensions_of``."""

MOST_ADDRESSES = 2
"""Addresses in one family's key at the most: a key is one number of 64 bits where much is counted."""

type Predicate = Callable[[Any], bool]


@runtime_checkable
class PredicateOfRanges(Protocol):
    """A predicate of addresses that is asked once for many IPv4 addresses where much is counted: ``of_all``
    is what holds for all that begin with two numbers (``10.0``), ``None`` if that depends on the rest.
    """

    def __call__(self, address: str) -> bool:
        """Whether it holds for an address."""
        ...

    def of_all(self, first_two: str) -> bool | None:
        """Whether it holds for all of these."""
        ...


@cache
def equals(value: str) -> Predicate:
    """Whether a dimension has this value. The same object each time, so that equal conditions are equal."""
    return lambda given: bool(given == value)


DENIED, ALLOWED = {"Status": equals("Denied")}, {"Status": equals("Allowed")}

TWICE = "A flow between two logged interfaces stands in both logs, outbound at one and inbound at the other."
STATED_BYTES = (
    "Bytes and packets are those that the log states: version 1 has none, NSG logs lack those of inbound TCP "
    "rules of one's own unless the network has a flow timeout. What VNet logs state twice is taken out "
    "(`BytesRestated`), as far as can be told (`BytesDoubtful`, `RestartsLost`)."
)
_NO_BYTES = "What was denied has no bytes and no packets: the log doesn't state any."
_FROM_INTERNET = (
    "From the internet is what comes from neither private, shared, link-local, loopback nor multicast "
    "addresses nor Azure's 168.63.129.16: what comes through a proxy or a gateway counts as from there."
)
_NO_SOURCE_PORTS = "Source ports are not kept: flows that differ in them alone are one conversation."


@dataclass(frozen=True, slots=True)
class Family:
    """One bounded group-by.

    - ``columns``: the dimensions of its keys, of ``DIMENSIONS``; at most two addresses and a port;
    - ``weight``: what its keys are ranked by; ``keys``: how many it keeps at least of a blob; ``kept``: how
      many of merged counts;
    - ``where``: conditions, by dimension: a tuple counts if it fulfils all; ``counts``: the same in words;
    - ``times``: whether the first and last time of each key are kept;
    - ``ranked``: whether a view's rows are numbered by weight, and the small ones left to the rest;
    - ``help``: what it answers, a sentence; ``unknown``: what it can't know, a sentence each.
    """

    name: str
    columns: tuple[str, ...]
    weight: Weight
    help: str
    unknown: tuple[str, ...] = ()
    where: Mapping[str, Predicate] = field(default_factory=dict)
    counts: str = "all tuples"
    keys: int = KEYS
    kept: Kept = Kept()
    times: bool = False
    ranked: bool = True

    def __post_init__(self) -> None:
        unknown = {*self.columns, *self.where} - {*DIMENSIONS}
        if unknown:
            raise ValueError(
                f"family {self.name}: unknown dimensions {sorted(unknown)}; choose of {DIMENSIONS}"
            )
        if sum(column in OF_ADDRESS for column in self.columns) > MOST_ADDRESSES:
            raise ValueError(f"family {self.name}: a key has room for {MOST_ADDRESSES} addresses")

    def key_of(self) -> "Callable[[tuple[Any, ...]], Key]":
        """A function that takes a key out of ``dimensions_of`` a tuple."""
        places = [*map(DIMENSIONS.index, self.columns)]
        if len(places) == 1:
            return lambda values: (values[places[0]],)
        return itemgetter(*places)


def dimensions_of(flow: FlowTuple, mac: str, acl_group: str, rule: str) -> tuple[Any, ...]:
    """A tuple's values in the order of ``DIMENSIONS``."""
    source, destination, direction = flow.src_ip, flow.dest_ip, flow.direction
    remote, local = (source, destination) if direction == "Inbound" else (destination, source)
    return (  # fmt: skip -- in the order of DIMENSIONS, a kind of dimension a line
        direction,
        flow.status,
        flow.protocol,
        flow.encryption,
        acl_group,
        rule,
        mac,
        source,
        destination,
        remote,
        local,
        flow.dest_port,
    )


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "rules",
            ("AclGroup", "AclRule", "Direction", "Status"),
            tuples,
            "Which rules decide, how often, since when and until when.",
            (
                "A rule that has decided nothing has no row: the log doesn't name it.",
                "NSG logs name the rule, but not its priority or what it says.",
                "VNet logs may have traffic of one's own under PlatformRule: one's own rules lack it.",
            ),
            times=True,
            ranked=False,
        ),
        Family(
            "denied-sources",
            ("SrcIp",),
            flows_denied,
            "Who is being denied: source addresses of denied inbound flows.",
            ("Source addresses of denied flows can be forged.", _NO_BYTES),
            {**DENIED, "Direction": equals("Inbound")},
            "denied inbound tuples",
        ),
        Family(
            "talkers",
            ("RemoteIp", "Direction"),
            traffic,
            "Who talks most: remote addresses of allowed flows, by traffic.",
            (STATED_BYTES,),
            ALLOWED,
            "allowed tuples",
        ),
        Family(
            "denied-ports",
            ("L4Protocol", "DestPort", "Direction"),
            flows_denied,
            "Which ports are knocked at: destination ports of denied flows.",
            (_NO_BYTES,),
            DENIED,
            "denied tuples",
        ),
        Family(
            "allowed-ports",
            ("L4Protocol", "DestPort", "Direction"),
            traffic,
            "Which ports are in use: destination ports of allowed flows, by traffic.",
            (
                "An allowed flow need not have been answered: the port may be closed behind the rule.",
                STATED_BYTES,
            ),
            ALLOWED,
            "allowed tuples",
        ),
        Family(
            "conversations",
            ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclGroup", "AclRule"),
            traffic,
            "Who talks to whom: addresses, port, rule and its group of allowed flows, by traffic.",
            (_NO_SOURCE_PORTS, TWICE, STATED_BYTES),
            ALLOWED,
            "allowed tuples",
        ),
        Family(
            "denied-conversations",
            ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclGroup", "AclRule"),
            flows_denied,
            "Who is kept from whom, by which rule: addresses, port, rule and its group of denied flows.",
            (_NO_SOURCE_PORTS, _NO_BYTES),
            DENIED,
            "denied tuples",
        ),
        Family(
            "nics",
            ("Mac", "Direction", "Status"),
            tuples,
            "Which network interfaces see what.",
            ("An interface is its MAC address: the log doesn't name the machine.",),
            keys=10_000,
            kept=ALL_INTERFACES,
            ranked=False,
        ),
        # Ranked by tuples: what is allowed and what is denied tells an address equally well.
        Family(
            "addresses",
            ("Mac", "LocalIp"),
            tuples,
            "Which addresses does an interface have: those at its side of the flows.",
            (
                "An address that nothing came from or went to has no row.",
                "An interface that forwards traffic, as a firewall's does, has the addresses of others, too.",
            ),
            kept=ALL_INTERFACES,
            ranked=False,
        ),
        # Ranked by tuples: how often a port was reached; most that knocks at an open one moves no bytes.
        Family(
            "exposed-ports",
            ("L4Protocol", "DestPort", "LocalIp", "AclGroup", "AclRule"),
            tuples,
            "Which ports were reached from the internet: allowed inbound flows, by address and rule.",
            (
                "A port that is open to the internet and that nobody tried has no row.",
                "An allowed flow need not have been answered: the port may be closed behind the rule.",
                _FROM_INTERNET,
            ),
            {**ALLOWED, "Direction": equals("Inbound"), "SrcIp": is_internet},
            "allowed inbound tuples whose source is of the internet",
        ),
        # Ranked by tuples: a code stands in each tuple, of denied flows, too, which have no bytes.
        Family(
            "encryption",
            ("Encryption", "Direction"),
            tuples,
            "How much is encrypted by the virtual network, and why the rest isn't: by code.",
            (
                "The code is about the virtual network's own encryption: that of applications isn't seen.",
                "NSG logs have no such code: they have no row here.",
                STATED_BYTES,
            ),
            {"Encryption": bool},
            "tuples with a code, that is of VNet logs",
            ranked=False,
        ),
    )
}

"""The hosts that exist, and who opens which flows to whom.

Remote addresses are those reserved for documentation. The hosts are the same for every NIC of a seed: some
talk much, most talk little.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Literal
from uuid import UUID

from tools.network_watcher.nics import SUBSCRIPTION, Nic

TCP, UDP, _ICMP, _ESP = 6, 17, 1, 50
_HIGH = range(1024, 65536)
_IPV6_SHARE = 0.02

type _Peer = Literal["internal", "remote", "scanner", "ipv6"]


@dataclass(frozen=True, slots=True)
class _Talkers:
    """Hosts in the order of how much they talk: the nth has 1/n^1.1 of the first one's share."""

    hosts: tuple[str, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, hosts: Iterable[str]) -> "_Talkers":
        unique = tuple(dict.fromkeys(hosts))
        return cls(unique, tuple(accumulate((rank + 1) ** -1.1 for rank in range(len(unique)))))

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.hosts, cum_weights=self.shares)[0]


@lru_cache(maxsize=8)
def _world(seed: int) -> dict[_Peer, _Talkers]:
    rng = random.Random(f"world {seed}")

    def documentation() -> str:
        return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randint(1, 254)}"

    return {
        "internal": _Talkers.of(_internal(rng) for _ in range(120)),
        "remote": _Talkers.of(documentation() for _ in range(400)),
        "scanner": _Talkers.of(documentation() for _ in range(6)),
        "ipv6": _Talkers.of(f"2001:db8:{rng.getrandbits(16):x}::{rng.getrandbits(12):x}" for _ in range(40)),
    }


def _internal(rng: random.Random) -> str:
    return f"10.{rng.randint(0, 3)}.{rng.randint(0, 15)}.{rng.randint(4, 250)}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of flow that a NIC sees: its share of all flows, the other end, and the rule that decides."""

    share: float
    direction: Literal["I", "O"]
    peer: _Peer
    protocol: int
    ports: Sequence[int]
    rule: str
    allowed: bool = True


_SCAN = Pattern(14, "I", "scanner", TCP, range(1, 65536), "DefaultRule_DenyAllInBound", allowed=False)
PATTERNS = (
    Pattern(16, "I", "remote", TCP, (443,), "UserRule_allow-https"),
    Pattern(2, "I", "internal", TCP, (22,), "UserRule_allow-ssh-from-bastion"),
    Pattern(8, "I", "internal", TCP, (1433, 443, 8080), "DefaultRule_AllowVnetInBound"),
    Pattern(3, "I", "internal", UDP, _HIGH, "DefaultRule_AllowVnetInBound"),
    Pattern(20, "O", "remote", TCP, (443, 443, 443, 80), "DefaultRule_AllowInternetOutBound"),
    Pattern(2, "O", "remote", UDP, (123, 443), "DefaultRule_AllowInternetOutBound"),
    Pattern(12, "O", "internal", UDP, (53,), "DefaultRule_AllowVnetOutBound"),
    Pattern(8, "O", "internal", TCP, (1433, 445, 5432), "UserRule_allow-databases"),
    Pattern(3, "O", "internal", TCP, _HIGH, "DefaultRule_AllowVnetOutBound"),
    _SCAN,
    Pattern(2, "I", "scanner", UDP, (161, 1900, 5060), "DefaultRule_DenyAllInBound", allowed=False),
    Pattern(5, "I", "scanner", TCP, (3389,), "UserRule_block-rdp", allowed=False),
    Pattern(3, "I", "remote", TCP, (22,), "UserRule_block-ssh", allowed=False),
    Pattern(2, "O", "remote", TCP, (25,), "UserRule_block-smtp", allowed=False),
)
_VNET_PATTERNS = (
    *PATTERNS,
    Pattern(2, "O", "internal", UDP, (53,), "PlatformRule"),
    Pattern(0.5, "I", "internal", TCP, (443,), "unspecified"),
    Pattern(1, "I", "remote", _ICMP, (0,), "DefaultRule_DenyAllInBound", allowed=False),
    Pattern(0.5, "O", "internal", _ICMP, (0,), "DefaultRule_AllowVnetOutBound"),
    Pattern(0.5, "O", "remote", _ESP, (0,), "DefaultRule_AllowInternetOutBound"),
    # Rules of Network Manager stand above those of all groups.
    Pattern(1, "I", "internal", TCP, (5986,), "AllowManagement_6f9619ff-8b86-4d01-b42d-00cf4fc964ff"),
    Pattern(1, "I", "remote", TCP, (23,), "BlockTelnet_0b1f6471-1bf0-4dda-aec3-cb9272f09590", allowed=False),
)

_ENCRYPTION = {
    "NX": 70,
    "X": 22,
    "NX_HW_NOT_SUPPORTED": 2,
    "NX_SW_NOT_READY": 1,
    "NX_NOT_ACCEPTED": 1,
    "NX_NOT_SUPPORTED": 2,
    "NX_LOCAL_DST": 1,
    "NX_FALLBACK": 1,
}
_CODES = tuple(_ENCRYPTION)
_CODE_SHARES = tuple(accumulate(_ENCRYPTION.values()))


@dataclass(frozen=True, slots=True)
class Flow:
    """Who talks to whom, and what the log says of it in every tuple."""

    ends: str
    """Source address, destination address, source port, destination port."""
    pattern: Pattern
    encryption: str
    acl: str


_FIXED_ACLS = {"PlatformRule": str(UUID(int=0)), "unspecified": "unspecified"}


class Host:
    """The host behind a NIC: the one end of all its flows."""

    def __init__(self, nic: Nic, seed: int) -> None:
        own = random.Random(f"{nic} {seed}")
        self._world = _world(seed)
        self._address = _internal(own)
        self._address6 = f"2001:db8:a::{own.getrandbits(16):x}"
        self._acls = _acls(nic)
        self._all = _Choice.of(_VNET_PATTERNS if nic.format == "vnet-v4" else PATTERNS)
        self._connections = _Choice.of(each for each in _VNET_PATTERNS if each.allowed and each.ports != (0,))

    def open(self, rng: random.Random, source_port: int) -> Flow:
        """Open a flow of any kind, from this port if its protocol has ports."""
        return self._flow(rng, self._all.draw(rng), source_port)

    def connect(self, rng: random.Random, source_port: int, *, protocol: int | None = None) -> Flow:
        """Open a flow that is allowed and has ports; of this protocol, if one is given."""
        while True:
            pattern = self._connections.draw(rng)
            if protocol in (None, pattern.protocol):
                return self._flow(rng, pattern, source_port)

    def scan(self, rng: random.Random, source_port: int, ports: int) -> list[Flow]:
        """Have so many ports knocked at by one scanner."""
        scanner = self._world["scanner"].draw(rng)
        acl = rng.choice(self._acls)
        return [
            Flow(f"{scanner},{self._address},{source_port},{port}", _SCAN, "NX", acl)
            for port in rng.sample(_SCAN.ports, ports)
        ]

    def _flow(self, rng: random.Random, pattern: Pattern, source_port: int) -> Flow:
        own, kind = self._address, pattern.peer
        if rng.random() < _IPV6_SHARE:
            own, kind = self._address6, "ipv6"
        peer = self._world[kind].draw(rng)
        source, destination = (peer, own) if pattern.direction == "I" else (own, peer)
        port = rng.choice(pattern.ports)
        return Flow(
            ends=f"{source},{destination},{source_port if port else 0},{port}",
            pattern=pattern,
            encryption=rng.choices(_CODES, cum_weights=_CODE_SHARES)[0],
            acl=_FIXED_ACLS.get(pattern.rule) or rng.choice(self._acls),
        )


@dataclass(frozen=True, slots=True)
class _Choice:
    """Patterns, drawn by their shares."""

    patterns: tuple[Pattern, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, patterns: Iterable[Pattern]) -> "_Choice":
        kept = tuple(patterns)
        return cls(kept, tuple(accumulate(pattern.share for pattern in kept)))

    def draw(self, rng: random.Random) -> Pattern:
        return rng.choices(self.patterns, cum_weights=self.shares)[0]


def _acls(nic: Nic) -> tuple[str, ...]:
    """Name two access control lists: real logs name one by its GUID and another by its resource id."""
    guid = UUID(int=random.Random(f"acl {nic.group}").getrandbits(128), version=4)
    groups = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-demo/providers/Microsoft.Network"
    return str(guid), f"{groups}/networkSecurityGroups/nsg-{nic.group.lower()}"

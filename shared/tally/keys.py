"""Keys by number: what the tables of a blob's counts call the keys of its families.

An address, a rule, a protocol and direction: each distinct one has a small number, and a family's key is put
together from those, as one number of 64 bits (its *code*). The numbers last until the tables are written
back; when they run out, that is done, and numbering begins anew.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from shared.flowlog.columns import Verdicts
from shared.flowlog.texts import Addresses, Flags, Ints
from shared.flowlog.tuples import Grammar
from shared.tally.heavy_hitters import Key
from shared.tally.tables import Codes, Marks

MOST_ADDRESSES = 1 << 18
MOST_WAYS = 1 << 12
"""How many of each a code has room for."""

_TRAITS = 1 << 10  # 256 protocols, 2 directions, 2 statuses

_SRC, _DEST, _PORT = 46, 28, 12
_PORT_BITS = 16
_ADDRESS = (1 << 18) - 1

type Rule = tuple[str, str]


class Numbers[T: Hashable]:
    """Distinct things, numbered in order of appearance."""

    def __init__(self) -> None:
        self.things: list[T] = []
        self._number: dict[T, int] = {}

    def number(self, thing: T) -> int:
        """The thing's number; a new one if it is new."""
        number = self._number.get(thing)
        if number is None:
            number = self._number[thing] = len(self.things)
            self.things.append(thing)
        return number

    def numbers(self, things: Sequence[T]) -> list[int]:
        """The things' numbers."""
        try:
            return [*map(self._number.__getitem__, things)]
        except KeyError:
            return [*map(self.number, things)]


class Keys:
    """All that is numbered. ``acl_group`` is that of the rules that don't name one.

    A *kind* is what a tuple has beside addresses and port: ACL and rule, and the trait that its verdict gives
    it (protocol, direction, status). Of each kind the arrays say what it is in the families' keys.
    """

    def __init__(self, acl_group: str) -> None:
        self._acl_group = acl_group
        self.addresses = Addresses()
        self.groups: Numbers[Rule] = Numbers()
        self.rules: Numbers[tuple[str, str, str, str]] = Numbers()
        self.services: Numbers[tuple[str, str]] = Numbers()
        self.ways: Numbers[tuple[str, str, str]] = Numbers()
        self.traits: dict[tuple[str, str, str], int] = {}
        self.marks = Marks()
        self._verdicts: dict[Grammar, Verdicts] = {}
        self._kinds: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._known: list[tuple[int, int, int, bool, bool]] = []
        self.rule: Codes = np.zeros(0, np.int64)
        self.service: Codes = np.zeros(0, np.int64)
        self.way: Codes = np.zeros(0, np.int64)
        self.denied: Flags = np.zeros(0, np.bool_)
        self.inbound: Flags = np.zeros(0, np.bool_)

    def verdicts(self, grammar: Grammar) -> Verdicts:
        """The verdicts of a grammar; all grammars share the traits."""
        if grammar not in self._verdicts:
            self._verdicts[grammar] = Verdicts(grammar, self.traits)
        return self._verdicts[grammar]

    def kinds(self, groups: Ints, traits: Ints) -> Ints:
        """The kinds of tuples, by the numbers of their rules' groups and their traits."""
        if len(self._kinds) < len(self.groups.things) * _TRAITS:
            grown = np.full(2 * len(self.groups.things) * _TRAITS, -1, np.int32)
            grown[: len(self._kinds)] = self._kinds
            self._kinds = grown
        places = groups * _TRAITS + traits
        kinds: Ints = self._kinds[places].astype(np.int64)
        new = places[kinds < 0]
        if new.size:
            for place in np.unique(new).tolist():
                self._kinds[place] = self._learn(place // _TRAITS, place % _TRAITS)
            rule, service, way, denied, inbound = zip(*self._known, strict=True)
            self.rule, self.service = np.array(rule, np.int64), np.array(service, np.int64)
            self.way = np.array(way, np.int64)
            self.denied, self.inbound = np.array(denied, np.bool_), np.array(inbound, np.bool_)
            kinds = self._kinds[places].astype(np.int64)
        return kinds

    def full(self, more_addresses: int) -> bool:
        """Whether numbers may run out with so many more addresses."""
        return self.addresses.size + more_addresses > MOST_ADDRESSES or len(self.ways.things) > MOST_WAYS

    def _learn(self, group: int, trait: int) -> int:
        acl_group, rule = self.groups.things[group]
        protocol, direction, status = list(self.traits)[trait]
        self._known.append(
            (
                self.rules.number((acl_group or self._acl_group, rule, direction, status)),
                self.services.number((protocol, direction)),
                self.ways.number((protocol, direction, rule)),
                status == "Denied",
                direction == "Inbound",
            )
        )
        return len(self._known) - 1

    def code_ports(self, ports: Ints, kinds: Ints) -> Codes:
        """Codes of (protocol, port, direction)."""
        return self.service[kinds] << _PORT_BITS | ports

    def code_conversations(self, src: Ints, dest: Ints, ports: Ints, kinds: Ints) -> Codes:
        """Codes of (source, destination, port, protocol, direction, rule)."""
        return src << _SRC | dest << _DEST | ports << _PORT | self.way[kinds]

    def code_talkers(self, remote: Ints, inbound: Flags) -> Codes:
        """Codes of (address, direction)."""
        return 2 * remote + inbound


type Code = Callable[[Keys, Sequence[Key]], Codes]
type Decode = Callable[[Keys, Codes], Iterable[Key]]


def _code_rules(keys: Keys, known: Sequence[Key]) -> Codes:
    return np.array([keys.rules.number(key) for key in known], np.int64)  # type: ignore[arg-type]


def _decode_rules(keys: Keys, codes: Codes) -> Iterable[Key]:
    return map(keys.rules.things.__getitem__, codes.tolist())


def _code_sources(keys: Keys, known: Sequence[Key]) -> Codes:
    return _addresses(keys, known, 0)


def _decode_sources(keys: Keys, codes: Codes) -> Iterable[Key]:
    return zip(keys.addresses.texts(codes), strict=True)


def _code_talkers(keys: Keys, known: Sequence[Key]) -> Codes:
    remote = _addresses(keys, known, 0)
    return keys.code_talkers(remote, np.array([key[1] == "Inbound" for key in known], np.bool_))


def _decode_talkers(keys: Keys, codes: Codes) -> Iterable[Key]:
    remote = keys.addresses.texts(codes >> 1)
    directions = ["Inbound" if code & 1 else "Outbound" for code in codes.tolist()]
    return zip(remote, directions, strict=True)


def _code_ports(keys: Keys, known: Sequence[Key]) -> Codes:
    service = [keys.services.number((str(key[0]), str(key[2]))) for key in known]
    ports = np.array([key[1] for key in known], np.int64)
    return np.array(service, np.int64) << _PORT_BITS | ports


def _decode_ports(keys: Keys, codes: Codes) -> Iterable[Key]:
    found = [(code & 0xFFFF, keys.services.things[code >> _PORT_BITS]) for code in codes.tolist()]
    return ((protocol, port, direction) for port, (protocol, direction) in found)


def _code_conversations(keys: Keys, known: Sequence[Key]) -> Codes:
    ports = np.array([key[2] for key in known], np.int64)
    way = [keys.ways.number((str(key[3]), str(key[4]), str(key[5]))) for key in known]
    ends = _addresses(keys, known, 0) << _SRC | _addresses(keys, known, 1) << _DEST
    return ends | ports << _PORT | np.array(way, np.int64)


def _decode_conversations(keys: Keys, codes: Codes) -> Iterable[Key]:
    src, dest = _ends(codes)
    sources, destinations = keys.addresses.texts(src), keys.addresses.texts(dest)
    for source, destination, code in zip(sources, destinations, codes.tolist(), strict=True):
        protocol, direction, rule = keys.ways.things[code & 0xFFF]
        yield source, destination, code >> 12 & 0xFFFF, protocol, direction, rule


def _addresses(keys: Keys, known: Sequence[Key], place: int) -> Codes:
    return keys.addresses.addresses_of([str(key[place]) for key in known])


def _ends(conversations: Codes) -> tuple[Ints, Ints]:
    """Source and destination."""
    return conversations >> _SRC & _ADDRESS, conversations >> _DEST & _ADDRESS


CODINGS: dict[str, tuple[Code, Decode]] = {
    "rules": (_code_rules, _decode_rules),
    "denied-sources": (_code_sources, _decode_sources),
    "talkers": (_code_talkers, _decode_talkers),
    "denied-ports": (_code_ports, _decode_ports),
    "allowed-ports": (_code_ports, _decode_ports),
    "conversations": (_code_conversations, _decode_conversations),
    "denied-conversations": (_code_conversations, _decode_conversations),
}
"""For each family of a blob's counts: keys to codes, and codes to keys."""

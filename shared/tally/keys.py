"""Keys by number: what the tables of a blob's counts call the keys of its families.

An address, a rule, a combination of what has few values: each distinct one has a small number, and a family's
key is put together from those, as one number of 64 bits (its *code*): the combination in the upper bits, then
the port, then the addresses. The numbers last until the tables are written back; when they run out, that is
done, and numbering begins anew.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.flowlog.columns import Trait, Verdicts
from shared.flowlog.texts import Addresses, Flags, Ints
from shared.flowlog.tuples import Grammar
from shared.tally.families import (
    FAMILIES,
    OF_ADDRESS,
    OF_KIND,
    OF_PORT,
    Family,
    Predicate,
    PredicateOfRanges,
)
from shared.tally.heavy_hitters import Key
from shared.tally.key_totals import Codes, slots_of

_ADDRESS_BITS, _PORT_BITS = 18, 16
_ADDRESS, _PORT = (1 << _ADDRESS_BITS) - 1, (1 << _PORT_BITS) - 1
MOST_ADDRESSES = 1 << _ADDRESS_BITS

_MOST_KINDS = 1 << 64 - 2 * _ADDRESS_BITS - _PORT_BITS
"""So many kinds, traits or texts of verdicts, and numbering begins anew: a log may make up codes without
end. A kind has room beside two addresses and a port in 64 bits (``Keys.join``).
"""

_MOST_PLACES = 1 << 22
"""The size of the table of kinds at the most: a place for each rule and trait."""

_UNKNOWN, _ASKED = -1, -2
"""In place of whether a condition holds, 0 or 1."""

type Rule = tuple[str, str]

type _Kinds = Mapping[str, Sequence[str]]
"""Kinds of tuples as columns: their values by the names of the dimensions, each of ``OF_KIND``."""


class NumbersRanOutError(Exception):
    """There are more distinct things than codes have room for."""


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
    """All that is numbered. ``mac`` is the interface's, ``acl_group`` that of the rules that don't name one.

    A *kind* is what a tuple has beside addresses and port: ACL and rule, and the trait that its verdict gives
    it (protocol, direction, status, encryption). ``denied`` and ``inbound`` say of each kind what it is.
    """

    def __init__(self, mac: str, acl_group: str) -> None:
        self._mac = mac
        self._acl_group = acl_group
        self.addresses = Addresses()
        self.groups: Numbers[Rule] = Numbers()
        self.traits: dict[Trait, int] = {}
        self.codings = {family.name: Coding(family, self.addresses) for family in FAMILIES.values()}
        self._verdicts: dict[Grammar, Verdicts] = {}
        self._kinds: npt.NDArray[np.int32] = np.zeros((0, 0), np.int32)
        self.denied: Flags = np.zeros(0, np.bool_)
        self.inbound: Flags = np.zeros(0, np.bool_)

    def verdicts(self, grammar: Grammar) -> Verdicts:
        """The verdicts of a grammar; all grammars share the traits."""
        if grammar not in self._verdicts:
            self._verdicts[grammar] = Verdicts(grammar, self.traits)
        return self._verdicts[grammar]

    def kinds(self, groups: Ints, traits: Ints) -> Ints:
        """The kinds of tuples, by the numbers of their rules' groups and their traits.

        ``NumbersRanOutError`` if there are too many of both.
        """
        self._make_room()
        table, columns = self._kinds.reshape(-1), self._kinds.shape[1]
        places = groups * columns + traits
        kinds: Ints = table[places].astype(np.int64)
        new = places[kinds < 0]
        if new.size:
            new = np.unique(new)
            table[new] = np.arange(len(self.denied), len(self.denied) + len(new))
            self._learn((new // columns).tolist(), (new % columns).tolist())
            kinds = table[places].astype(np.int64)
        return kinds

    def join(self, src: Ints, dest: Ints, port: Ints, kind: Ints) -> Codes:
        """All that tuples are grouped by as one number each."""
        codes = kind << _PORT_BITS
        codes |= port
        codes <<= _ADDRESS_BITS
        codes |= dest
        codes <<= _ADDRESS_BITS
        codes |= src
        return codes

    def full(self, more_addresses: int) -> bool:
        """Whether numbers may run out with so many more addresses."""
        many = max(len(self.denied), len(self.traits), sum(map(len, self._verdicts.values())))
        return (
            self.addresses.size + more_addresses > MOST_ADDRESSES
            or many > _MOST_KINDS
            or any(coding.full for coding in self.codings.values())
        )

    def _make_room(self) -> None:
        """Make the table of kinds large enough for all rules and traits."""
        rows, columns = self._kinds.shape
        if rows < len(self.groups.things):
            rows = 2 * len(self.groups.things)
        if columns < len(self.traits):
            columns = 2 * len(self.traits)
        if rows * columns > _MOST_PLACES:
            raise NumbersRanOutError
        if (rows, columns) != self._kinds.shape:
            grown = np.full((rows, columns), -1, np.int32)
            grown[: self._kinds.shape[0], : self._kinds.shape[1]] = self._kinds
            self._kinds = grown

    def _learn(self, groups: list[int], traits: list[int]) -> None:
        """Take in kinds, by the numbers of their rules' groups and their traits."""
        known_traits = [*self.traits]
        acl_groups, rules = zip(*map(self.groups.things.__getitem__, groups), strict=True)
        protocols, directions, statuses, encryptions = zip(
            *map(known_traits.__getitem__, traits), strict=True
        )
        kinds: _Kinds = {
            "Direction": directions,
            "Status": statuses,
            "L4Protocol": protocols,
            "Encryption": encryptions,
            "AclGroup": [acl_group or self._acl_group for acl_group in acl_groups],
            "AclRule": rules,
            "Mac": [self._mac] * len(rules),
        }
        for coding in self.codings.values():
            coding.learn(kinds)
        self.denied = np.concatenate([self.denied, np.array(statuses) == "Denied"])
        self.inbound = np.concatenate([self.inbound, np.array(directions) == "Inbound"])


class Coding:
    """How the keys of one family become numbers and come back from them, and which tuples count in it."""

    def __init__(self, family: Family, addresses: Addresses) -> None:
        self.family = family
        self._addresses = addresses
        self._of_kind = [column for column in family.columns if column in OF_KIND]
        self._conditions = [(name, holds) for name, holds in family.where.items() if name in OF_KIND]
        self._of_address = [column for column in family.columns if column in OF_ADDRESS]
        self._port_at = _ADDRESS_BITS * len(self._of_address)
        self._has_port = not {*OF_PORT}.isdisjoint(family.columns)
        self._kind_at = self._port_at + _PORT_BITS * self._has_port
        self._combinations: Numbers[tuple[str, ...]] = Numbers()
        self._number: Codes = np.zeros(0, np.int64)
        self._counts: Flags = np.zeros(0, np.bool_)
        self._judged: dict[Predicate, npt.NDArray[np.int8]] = {}
        self.condition = frozenset(family.where.items())
        """Equal for families in which the same tuples count."""

    @property
    def full(self) -> bool:
        """Whether codes have no room for as many combinations as there are."""
        return len(self._combinations.things) > 1 << 64 - self._kind_at

    def learn(self, kinds: _Kinds) -> None:
        """Take in more kinds of tuples."""
        counts = np.ones(len(kinds["Mac"]), np.bool_)
        for name, holds in self._conditions:
            verdicts = {value: bool(holds(value)) for value in {*kinds[name]}}
            counts &= [*map(verdicts.__getitem__, kinds[name])]
        self._counts = np.concatenate([self._counts, counts])
        if self._of_kind:
            combinations = [*zip(*map(kinds.__getitem__, self._of_kind), strict=True)]
            numbers = np.array(self._combinations.numbers(combinations), np.int64)
            self._number = np.concatenate([self._number, numbers])

    def choose(self, kinds: Ints, addresses: dict[str, Ints], ports: Ints) -> Ints | None:
        """The rows of the tuples that count in this family; ``None`` if all do."""
        if not self.condition:
            return None
        if not self._counts.any():
            return np.zeros(0, np.int64)
        rows = np.flatnonzero(self._counts[kinds])
        for name, holds in self.family.where.items():
            if name in OF_ADDRESS:
                rows = rows[self._judge(holds, addresses[name][rows])]
            elif name in OF_PORT:
                rows = rows[self._judge(holds, ports[rows], of_ports=True)]
        return None if len(rows) == len(kinds) else rows

    def encode(self, kinds: Ints, addresses: dict[str, Ints], ports: Ints) -> Codes:
        """The codes of tuples, by their kinds, the numbers of their addresses and their ports."""
        parts = [addresses[column] << at for column, at in self._address_places()]
        if self._has_port:
            parts.append(ports << self._port_at)
        if self._of_kind:
            parts.append(self._number[kinds] << self._kind_at)
        codes = parts[0].copy()
        for part in parts[1:]:
            codes |= part
        return codes

    def encode_known(self, keys: Sequence[Key]) -> Codes:
        """The codes of keys that were counted before; ``NumbersRanOutError`` if there is no room for them."""
        columns = dict(zip(self.family.columns, zip(*keys, strict=True), strict=True))
        codes = np.zeros(len(keys), np.int64)
        for column, at in self._address_places():
            codes |= self._addresses.addresses_of([*columns[column]]) << at
        if self._has_port:
            codes |= np.array(columns[OF_PORT[0]], np.int64) << self._port_at
        if self._of_kind:
            combinations = [*zip(*(columns[column] for column in self._of_kind), strict=True)]
            numbers = self._combinations.numbers(combinations)
            if self.full or self._addresses.size > MOST_ADDRESSES:
                raise NumbersRanOutError
            codes |= np.array(numbers, np.int64) << self._kind_at
        return codes

    def decode(self, codes: Codes) -> Iterator[Key]:
        """The keys of these codes."""
        columns: dict[str, Iterable[Any]] = {}
        for column, at in self._address_places():
            columns[column] = self._addresses.texts(codes >> at & _ADDRESS)
        if self._has_port:
            columns[OF_PORT[0]] = (codes >> self._port_at & _PORT).tolist()
        if self._of_kind:
            numbers = codes >> self._kind_at & ((1 << 64 - self._kind_at) - 1 if self._kind_at else -1)
            found = map(self._combinations.things.__getitem__, numbers.tolist())
            columns |= dict(zip(self._of_kind, zip(*found, strict=True), strict=False))
        return zip(*(columns.get(column, ()) for column in self.family.columns), strict=True)

    def _address_places(self) -> Iterator[tuple[str, int]]:
        """The address columns, each with the bit at which it begins in a code."""
        return ((column, _ADDRESS_BITS * place) for place, column in enumerate(self._of_address))

    def _judge(self, holds: Predicate, numbers: Ints, *, of_ports: bool = False) -> Flags:
        """Of which of these addresses (or ports) a condition holds; each distinct one is asked once."""
        size = 1 << _PORT_BITS if of_ports else self._addresses.size
        known = self._judged.get(holds, np.zeros(0, np.int8))
        if len(known) < size:
            known = self._judged[holds] = np.concatenate(
                [known, np.full(size - len(known), _UNKNOWN, np.int8)]
            )
        known[numbers[known[numbers] < 0]] = _ASKED
        new = np.flatnonzero(known == _ASKED)
        if isinstance(holds, PredicateOfRanges):
            places, _, begins = slots_of(new[:0], self._addresses.begins(new).view(np.int64))
            firsts = [first.decode() for first in begins.astype("<i8").view("S8").tolist()]
            verdicts = [holds.of_all(first) if first else None for first in firsts]
            known[new] = np.array([_UNKNOWN if each is None else each for each in verdicts], np.int8)[places]
            new = new[known[new] < 0]
        values: list[Any] = new.tolist() if of_ports else self._addresses.texts(new)
        known[new] = [holds(value) for value in values]
        return known[numbers] > 0

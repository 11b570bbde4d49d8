"""Going down: where merged counts have dropped keys, those of an interface's address are read from its blobs.

The counts of an hour, a day or of all scopes keep the largest keys of many interfaces; the ledger's entry of
one interface's hour keeps the largest of that one. So where a question names an address that an interface
has, its keys are not looked for in counts that have dropped some, but

    all scopes → the scopes whose ``addresses`` have it → hours → the entries of those interfaces

as far down as something was dropped, and no further. What is found there is complete, unless the entry itself
has dropped keys: its rest and floor say so.

Where ``addresses`` have dropped some themselves, or where the entries haven't all that the hour has of such
an address, as one is gone or can't be read, they aren't complete. Then the hour's own counts are used, with
their bounds, which hold for the keys as well that only the entries have.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from operator import itemgetter

import numpy as np

from shared.counts.index import is_all
from shared.counts.store import Counts
from shared.errors import MalformedInput
from shared.ledger.store import Ledger, Posted
from shared.tally.chosen import Chosen, unpack_shares
from shared.tally.measures import figure
from shared.times import HOUR
from shared.views.query import LENGTHS, Condition, Query, Span
from shared.views.questions import QUESTIONS, Grain
from shared.views.reading import MOST_KEYS, Stretch, plan, read, wanted_of
from shared.workers import Workers

MOST_SCOPES = 500
"""Scopes in which an address is looked for at the most."""

_ADDRESSES = QUESTIONS["addresses"]
_OWN_SIDE = ("LocalIp",)
_NAMES_SIDE = {"Inbound": {"LocalIp", "DestIp"}, "Outbound": {"LocalIp", "SrcIp"}}


@dataclass(frozen=True, slots=True)
class Named:
    """The keys of a query whose own side is an address that the conditions name. ``all_are``: whether keys
    that fulfil the conditions have no other.
    """

    inside: Condition
    all_are: bool

    @property
    def outside(self) -> Condition:
        """What the other keys fulfil."""
        return replace(self.inside, excludes=True)


def named_in(query: Query) -> Named | None:
    """The keys whose own side is named, if the question's keys tell it and the conditions name one."""
    if "LocalIp" not in query.question.projected:
        return None
    naming = [each for each in query.conditions if each.names_addresses and {*each.columns} != {"RemoteIp"}]
    known = {*query.question.filtered}
    if not naming:
        return None
    tests = [each.test for each in naming]
    inside = Condition("", "", _OWN_SIDE, lambda value: any(test(value) for test in tests))
    if "Direction" in query.question.key:
        of_direction = [each for each in query.conditions if each.columns == ("Direction",)]
        directions = [
            way for way in _NAMES_SIDE if all(each.holds({"Direction": way}) for each in of_direction)
        ]
    else:
        directions = ["Inbound"]  # exposed ports, and what has its own side as a column
    all_are = all(
        any({*each.columns} & known <= _NAMES_SIDE[direction] for each in naming) for direction in directions
    )
    return Named(inside, all_are)


type Found = list[tuple[str, datetime, Chosen]]
"""What was found: of which source, in which period."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Reads the keys of a query whose own side is named, from as far down as something was dropped.

    ``scopes``: those of the kind of logs that is read, for the addresses that all of them together have.
    ``workers``: how many requests are made at the same time.
    """

    counts: Counts
    ledger: Ledger
    query: Query
    named: Named
    scopes: Sequence[str]
    workers: int

    def read(self, stretches: Iterable[Stretch], whole: Span) -> Found:
        """What these stretches have of them, and what is below where they have dropped keys; in order."""
        found: Found = []
        for stretch in stretches:
            dropped = stretch.dropped(self._name)
            found += [each for each in self._read_here(stretch, whole) if each[1] not in dropped]
            for below in self._runs(dropped, stretch.periods.grain):
                found += self._go_down(stretch, below)
        return sorted(found, key=itemgetter(1))

    @property
    def _name(self) -> str:
        return self.query.question.reads

    @property
    def _conditions(self) -> Sequence[Condition]:
        return (*self.query.conditions, self.named.inside)

    def _read_here(self, stretch: Stretch, span: Span) -> Found:
        """What the counts themselves have, with their bounds."""
        counted = read(self.counts, self.query, span, stretch, self._conditions)
        return [(stretch.source, begin, chosen) for begin, chosen in counted]

    def _runs(self, periods: Iterable[datetime], grain: Grain) -> Iterator[Span]:
        """These periods as spans without a gap."""
        length = LENGTHS[grain]
        runs: list[Span] = []
        for begin in sorted(periods):
            since = runs.pop().since if runs and runs[-1].until == begin else begin
            runs.append(Span(since, begin + length, self.query.now))
        return iter(runs)

    def _go_down(self, stretch: Stretch, span: Span) -> Found:
        """What is below a run of periods that have dropped keys."""
        if is_all(stretch.source):
            return self._read_scopes(stretch, span)
        if stretch.periods.grain == "day":
            return self.read(plan(self.counts, stretch.source, span, by_hour=True), span)
        return self._read_entries(stretch, span)

    def _read_scopes(self, stretch: Stretch, span: Span) -> Found:
        """What those scopes have whose interfaces may have such an address."""
        if len(self.scopes) > MOST_SCOPES:
            return self._of_run(stretch, span)
        by_hour = stretch.periods.grain == "hour"  # a run of hours may be a whole day, and is still asked for
        with Workers(self.workers, thread_name_prefix="descent") as pool:
            plans = [*pool.map(lambda scope: plan(self.counts, scope, span, by_hour=by_hour), self.scopes)]
            if sum(each.keys(_ADDRESSES.name) for each in chain.from_iterable(plans)) > MOST_KEYS:
                return self._of_run(stretch, span)
            may_have = [*pool.map(partial(self._may_have, span), plans)]
            holding = [stretches for stretches, may in zip(plans, may_have, strict=True) if may]
            below = replace(self, workers=max(1, self.workers // max(1, len(holding))))
            return [*chain.from_iterable(pool.map(lambda each: below.read(each, span), holding))]

    def _may_have(self, span: Span, stretches: Iterable[Stretch]) -> bool:
        """Whether an interface of a scope has such an address, as far as that is known."""
        return any(its.tuples or its.may_be_more for its in self._interfaces(stretches, span).values())

    def _interfaces(self, stretches: Iterable[Stretch], span: Span) -> "dict[datetime, _Interfaces]":
        """The interfaces that have such an address, by period."""
        found = {}
        asked = Query(_ADDRESSES, span.since, span.until, span.now)
        for stretch in stretches:
            dropped = stretch.dropped(_ADDRESSES.name)
            for begin, chosen in read(self.counts, asked, span, stretch, [self.named.inside]):
                found[begin] = _Interfaces(_tuples_by_mac(chosen), begin in dropped)
        return found

    def _of_run(self, stretch: Stretch, span: Span) -> Found:
        """What the counts themselves have of a run of periods."""
        return self._read_here(stretch.within(span), span)

    def _read_entries(self, stretch: Stretch, span: Span) -> Found:
        """What the ledger's entries of such interfaces have, hour by hour; and what the hours themselves have
        whose entries aren't complete.
        """
        scope = stretch.source
        run = stretch.within(span)
        interfaces = self._interfaces([run], span)
        hours = run.dropped(self._name)
        of_hours = {hour: interfaces.get(hour, _Interfaces({}, may_be_more=True)) for hour in hours}
        entries = self._load(
            scope,
            {(mac, hour + by * HOUR) for hour, its in of_hours.items() for mac in its.tuples for by in _NEAR},
        )
        found: Found = []
        incomplete: dict[datetime, list[Chosen]] = {}
        for hour, its in of_hours.items():
            below: list[Chosen] = []
            is_complete = not its.may_be_more
            for mac, tuples in its.tuples.items():
                shares = [
                    shares[-by] for by in _NEAR for shares in entries[mac, hour + by * HOUR] if -by in shares
                ]
                below += [share.chosen for share in shares]
                is_complete = is_complete and sum(share.tuples.get(mac, 0) for share in shares) >= tuples
            if is_complete:
                found += [(scope, hour, chosen) for chosen in below]
            else:
                incomplete[hour] = below
        if incomplete:
            for _, hour, chosen in self._read_here(run, span):
                if hour in incomplete:
                    found.append((scope, hour, chosen))
                    found += [(scope, hour, _beside(chosen, below)) for below in incomplete[hour]]
        return found

    def _load(
        self, scope: str, wanted: Iterable[tuple[str, datetime]]
    ) -> "dict[tuple[str, datetime], list[dict[int, _Share]]]":
        """What the entries of these interfaces and hours have of the named keys, by share. What can't be read
        has nothing.
        """
        conditions, inside = wanted_of(self._conditions), wanted_of([self.named.inside])

        def unpack(packed: bytes) -> dict[int, _Share]:
            shares = unpack_shares(packed, [(_ADDRESSES.name, inside), (self._name, conditions)])
            return {
                share: _Share(_tuples_by_mac(addresses), chosen)
                for share, (addresses, chosen) in shares.items()
            }

        def load(place: tuple[str, datetime]) -> list[dict[int, _Share]]:
            try:
                its = self.ledger.entries_of(scope, *place)
                return [unpack(each.entry.packed) for each in its if isinstance(each, Posted)]
            except MalformedInput:
                return []

        places = sorted(wanted)
        with Workers(self.workers, thread_name_prefix="descent") as pool:
            return dict(zip(places, pool.map(load, places), strict=True))


_NEAR = (-1, 0, 1)
"""The hours, from an hour on, whose blobs may have a share in it."""


@dataclass(frozen=True, slots=True)
class _Interfaces:
    """Of a period, how many tuples each interface has at the named addresses, by its MAC address, and whether
    there may be more.
    """

    tuples: dict[str, int]
    may_be_more: bool


@dataclass(frozen=True, slots=True)
class _Share:
    """Of a share of an entry, the same, and what is wanted of it."""

    tuples: dict[str, int]
    chosen: Chosen


def _tuples_by_mac(addresses: Chosen) -> dict[str, int]:
    found: dict[str, int] = {}
    for (mac, _), sums in zip(addresses.keys(), addresses.sums(), strict=True):
        found[str(mac)] = found.get(str(mac), 0) + figure(sums, _ADDRESSES.orders["Tuples"])
    return found


def _beside(hour: Chosen, entry: Chosen) -> Chosen:
    """What an entry has of keys that its hour has dropped: the hour's rest and floor bound it."""
    known, keys = {*hour.keys()}, entry.keys()
    dropped = entry.only(np.array([key not in known for key in keys], bool))
    return replace(dropped, missed=np.zeros_like(dropped.missed), others=0, rest=0, floor=0)

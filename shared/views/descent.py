"""Going down: where merged counts have dropped keys, those of an interface's address are read from its blobs.

The counts of an hour, a day or of all scopes keep the largest keys of many interfaces; the ledger's entry of
one interface's hour keeps the largest of that one. So where a question names an address that an interface
has, its keys are not looked for in counts that have dropped some, but

    all scopes → the scopes whose ``addresses`` have it → hours → the entries of those interfaces

as far down as something was dropped, and no further. What is found there is complete, unless the entry itself
has dropped keys: its rest and floor say so. Where ``addresses`` have dropped some themselves, or an entry is
gone, the counts above are used as they are, with their bounds.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from operator import itemgetter

from shared.counts.index import Part, is_all
from shared.counts.store import Counts
from shared.errors import MalformedInput
from shared.ledger.store import Ledger, Posted
from shared.tally.measures import MEASURES, to_sums
from shared.tally.packing import Chosen, unpack_shares
from shared.times import HOUR
from shared.views.query import LENGTHS, Condition, Query, Span
from shared.views.questions import QUESTIONS, Grain
from shared.views.reading import Stretch, plan, read, wanted_of

MOST_SCOPES = 500
"""Scopes in which an address is looked for at the most."""

WORKERS = 8
"""Requests at the same time."""

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
        any({*each.columns} <= _NAMES_SIDE[direction] for each in naming) for direction in directions
    )
    return Named(inside, all_are)


type Found = list[tuple[str, datetime, Chosen]]
"""What was found: of which source, in which period."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Reads the keys of a query whose own side is named, from as far down as something was dropped.

    ``scopes``: those of the kind of logs that is read, for the addresses that all of them together have.
    """

    counts: Counts
    ledger: Ledger
    query: Query
    named: Named
    scopes: Sequence[str]

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
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="descent") as pool:
            may_have = [*pool.map(partial(self._may_have, span), self.scopes)]

            def read_scope(scope: str) -> Found:
                return self.read(plan(self.counts, scope, span), span)

            holding = [scope for scope, may in zip(self.scopes, may_have, strict=True) if may]
            return [*chain.from_iterable(pool.map(read_scope, holding))]

    def _may_have(self, span: Span, scope: str) -> bool:
        """Whether an interface of a scope has such an address, as far as that is known."""
        stretches = plan(self.counts, scope, span)
        return any(its or dropped for its, dropped in self._interfaces(stretches, span).values())

    def _interfaces(self, stretches: Iterable[Stretch], span: Span) -> dict[datetime, tuple[set[str], bool]]:
        """By period, the MAC addresses of the interfaces that have such an address, and whether there may be
        more of them.
        """
        found: dict[datetime, tuple[set[str], bool]] = {}
        asked = Query(_ADDRESSES, span.since, span.until, span.now)
        for stretch in stretches:
            dropped = stretch.dropped(_ADDRESSES.name)
            for begin, chosen in read(self.counts, asked, span, stretch, [self.named.inside]):
                found[begin] = {str(mac) for mac, _ in chosen.sums}, begin in dropped
        return found

    def _of_run(self, stretch: Stretch, span: Span) -> Found:
        """What the counts themselves have of a run of periods."""
        its = self._read_here(stretch, span)
        return [each for each in its if span.since <= each[1] < span.end]

    def _read_entries(self, stretch: Stretch, span: Span) -> Found:
        """What the ledger's entries of such interfaces have, hour by hour. The counts themselves are used
        where it isn't known which these are, or where one of their entries is gone.
        """
        scope = stretch.source
        interfaces = self._interfaces(plan(self.counts, scope, span, by_hour=True), span)
        hours = [hour for hour in stretch.dropped(self._name) if span.since <= hour < span.end]
        wanted = {
            (mac, hour + by * HOUR)
            for hour in hours
            for mac in interfaces.get(hour, (set(), False))[0]
            for by in (-1, 0, 1)  # a blob has a share in its neighbours' hours
        }
        entries = self._load(scope, wanted)
        found: Found = []
        above: set[datetime] = set()
        for hour in hours:
            macs, may_be_more = interfaces.get(hour, (set(), False))
            if any(entries.get((mac, hour)) is None for mac in macs) or (may_be_more and not macs):
                above.add(hour)
                continue
            for mac in macs:
                for by in (-1, 0, 1):
                    for shares in entries.get((mac, hour + by * HOUR)) or ():
                        if -by in shares:
                            found.append((scope, hour, shares[-by]))
            if may_be_more:
                found.append((scope, hour, _beyond(stretch.heads[hour].parts[self._name])))
        if above:
            found += [each for each in self._of_run(stretch, span) if each[1] in above]
        return found

    def _load(
        self, scope: str, wanted: Iterable[tuple[str, datetime]]
    ) -> dict[tuple[str, datetime], list[dict[int, Chosen]] | None]:
        """What the entries of these interfaces and hours have of the named keys, by share; ``None`` where
        there is none, or one that can't be read.
        """
        conditions = wanted_of(self._conditions)

        def load(place: tuple[str, datetime]) -> list[dict[int, Chosen]] | None:
            its = [*self.ledger.entries_of(scope, *place)]
            try:
                return (
                    [
                        unpack_shares(each.entry.packed, self._name, conditions)
                        for each in its
                        if isinstance(each, Posted)
                    ]
                    if its and all(isinstance(each, Posted) for each in its)
                    else None
                )
            except MalformedInput:
                return None

        places = sorted(wanted)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="descent") as pool:
            return dict(zip(places, pool.map(load, places), strict=True))


def _beyond(part: Part) -> Chosen:
    """What of a period stands behind its rest and floor alone."""
    rest = to_sums([*part.rest, *[0] * (len(MEASURES) - len(part.rest))])
    return Chosen({}, {}, {}, 0, rest, part.floor)

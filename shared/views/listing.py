"""From a question to its lists: what is read of each scope, or of all together, and merged.

How much that is is known before. Where a condition names an interface's address and keys were dropped, the
entries below are read (see ``descent``). What isn't counted by keys, health and rejects, stands in the index.

This imports numpy (see ``tally/chosen.py``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from heapq import merge as merge_sorted
from itertools import chain, groupby, starmap
from operator import itemgetter

from shared.counts.health import HEALTH_MEASURES, Health
from shared.counts.index import Indexed
from shared.counts.store import Counts
from shared.errors import BadRequest
from shared.ledger.store import Ledger
from shared.tally.chosen import NOTHING, Chosen
from shared.tally.measures import sums_of_first
from shared.times import HOUR
from shared.views.answers import List, ListKey
from shared.views.descent import Descent, named_in
from shared.views.interfaces import (
    Addresses,
    list_addresses,
    of_addresses,
    put_addresses,
    with_addresses_known,
)
from shared.views.looking_back import Firsts, find_firsts, say_since
from shared.views.merged import MOST_APART, Group, Merged, Texts, list_groups, seen_of_health
from shared.views.query import Condition, Query, Span, floor
from shared.views.reading import Plans, Stretch, check_keys, read
from shared.views.scopes import Source
from shared.workers import Workers

WORKERS = 16
"""Scopes read at the same time; of one that is gone down into, what is below."""

_ROWS_AT_A_TIME = 20_000

type _Piece = tuple[datetime, str, Chosen, bool]
"""What was read of a source: of which period, of which scope or of all of them, and whether it is of the keys
whose own side is named.
"""


type Known = dict[tuple[str, str, Span], list[list[_Piece]]]
"""What was read of a question, of each source of a kind of logs, in a time."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Makes the lists of a question. ``plans`` are shared with the other questions of an answer; ``known``:
    what other forms of the question have read, ``None`` if it has no other.
    """

    counts: Counts
    ledger: Ledger
    query: Query
    sources: Sequence[Source]
    pool: Workers
    most_rows: int
    plans: Plans
    known: Known | None

    def lists(self) -> tuple[dict[ListKey, List], int]:
        """The lists of each kind and period. Beside them how many tuples are at addresses that were dropped,
        if addresses are asked for.
        """
        lists: dict[ListKey, List] = {}
        elsewhere = rows = 0
        for kind, its in groupby(self.sources, key=lambda source: source.kind):
            sources, query, addresses = [*its], self.query, Addresses()
            if query.question.beside:
                everything = of_addresses(query)
                texts = Texts()
                merged = [*self._merge(everything, sources, everything.span(), texts)]
                addresses = list_addresses(Merged.of_scopes(everything, texts, merged))
                elsewhere += addresses.elsewhere
                query = with_addresses_known(query, addresses)
            for period, found in self._lists_of(query, sources):
                rows += len(found.lines) + 1
                if rows > self.most_rows:
                    raise BadRequest(
                        f"the answer has more than {self.most_rows:,} rows; "
                        "ask for fewer rows a list, longer periods or a shorter time",
                        "limit",
                    )
                lists[kind, period] = found
                if "Mac" in query.key:
                    put_addresses(found, self.query, addresses)
                if query.look_back:
                    self._look_back(query, query.look_back, sources, found)
        return lists, elsewhere

    def _look_back(self, query: Query, since: datetime, sources: Sequence[Source], its: List) -> None:
        """Put into a list's lines since when they are there."""
        keys = {line[1:] if query.by_scope else line for line in its.lines}
        if not keys:
            return

        def find(source: Source) -> Firsts:
            kept_from = source.kept_from
            begin = max(since, source.pruned_before or since)
            return find_firsts(self.counts, query, source.name, kept_from, source.began, begin, keys)

        firsts = dict(zip((source.name for source in sources), self.pool.map(find, sources), strict=True))
        for key, line in its.lines.items():
            of_line = [firsts[key[0]]] if query.by_scope else [*firsts.values()]
            listed = line.extremes.get("FirstSeen") or line.extremes.get("FirstPeriod")
            line.extremes |= say_since(of_line, key[1:] if query.by_scope else key, listed)

    def _lists_of(self, query: Query, sources: Sequence[Source]) -> Iterator[tuple[datetime | None, List]]:
        """The lists that these sources make: of each period, or one of the whole time."""
        if query.grain:
            yield from self._lists_by_period(query, sources)
            return
        times, texts = [query.span(), query.span().before] if query.compare else [query.span()], Texts()
        merged = zip(*(self._merge(query, sources, span, texts) for span in times), strict=True)
        yield from list_groups(query, _groups(query, sources, [*merged], texts), texts)

    def _lists_by_period(
        self, query: Query, sources: Sequence[Source]
    ) -> Iterator[tuple[datetime | None, List]]:
        """Some periods at a time: enough to be worth a table, and no more, however many there are."""

        def period(piece: tuple[datetime, int, _Piece]) -> datetime:
            return piece[0]

        def numbered(place: int, pieces: Iterable[_Piece]) -> Iterator[tuple[datetime, int, _Piece]]:
            read_as = query.grain if query.grain == "day" else "hour"
            return ((floor(piece[0], read_as), place, piece) for piece in pieces)

        def lists(read_of: Sequence[Sequence[_Piece]]) -> Iterator[tuple[datetime | None, List]]:
            texts = Texts()
            merged = [
                (_merge_pieces(query, texts, len(sources), source, pieces),)
                for source, pieces in zip(sources, read_of, strict=True)
            ]
            return list_groups(query, _groups(query, sources, merged, texts), texts)

        streams = [*starmap(numbered, enumerate(self._readers(query, sources, query.span())))]
        read_of: list[list[_Piece]] = [[] for _ in sources]
        rows = 0
        for _, its in groupby(merge_sorted(*streams, key=period), key=period):
            for _, place, piece in its:
                read_of[place].append(piece)
                rows += 1 + len(piece[2])
            if rows > _ROWS_AT_A_TIME:
                yield from lists(read_of)
                read_of, rows = [[] for _ in sources], 0
        if rows:
            yield from lists(read_of)

    def _merge(self, query: Query, sources: Sequence[Source], span: Span, texts: Texts) -> Iterator[Merged]:
        """What each source has in a time."""
        return self.pool.map(
            partial(_merge_pieces, query, texts, len(sources)),
            sources,
            self._readers(query, sources, span),
        )

    def _readers(self, query: Query, sources: Sequence[Source], span: Span) -> list[Iterator[_Piece]]:
        """Of each source what reads it. How much that is is known before. What several forms of a question
        need is read once.
        """
        if self.known is None:
            return self._open(query, sources, span)
        key = query.question.reads, sources[0].kind, span
        if key not in self.known:
            self.known[key] = [*self.pool.map(list, self._open(query, sources, span))]
        return [iter(pieces) for pieces in self.known[key]]

    def _open(self, query: Query, sources: Sequence[Source], span: Span) -> list[Iterator[_Piece]]:
        name = query.question.reads
        if query.question.in_index:
            return _read_index(self.counts, name, sources, span)
        by_hour = query.grain not in (None, "day")

        def plan_source(source: Source) -> list[Stretch]:
            kept = span.begun_at(source.pruned_before)
            return self.plans.of(source.name, kept, by_hour=by_hour) if kept else []

        plans = [*self.pool.map(plan_source, sources)]
        check_keys(name, chain.from_iterable(plans))
        return [
            self._read(query, source, stretches, span)
            for source, stretches in zip(sources, plans, strict=True)
        ]

    def _read(
        self, query: Query, source: Source, stretches: Sequence[Stretch], span: Span
    ) -> Iterator[_Piece]:
        """What was counted of a question in a time. Where keys were dropped, those whose own side is named
        are read by themselves.
        """

        def here(conditions: Sequence[Condition]) -> Iterator[_Piece]:
            for stretch in stretches:
                for begin, chosen in read(self.counts, query, span, stretch, conditions):
                    yield begin, source.name, chosen, False

        named = named_in(query)
        if named is None or not any(each.dropped(query.question.reads) for each in stretches):
            yield from here(query.conditions)
            return
        workers = max(1, WORKERS // len(self.sources))
        descent = Descent(self.counts, self.ledger, query, named, source.scopes, workers)
        found = [(begin, scope, chosen, True) for scope, begin, chosen in descent.read(stretches, span)]
        if not named.all_are:
            found += here((*query.conditions, named.outside))
        yield from sorted(found, key=itemgetter(0))


def _merge_pieces(
    query: Query, texts: Texts, sources: int, source: Source, pieces: Iterable[_Piece]
) -> Merged:
    """All that was read of a source, one of so many, together."""
    most_apart = MOST_APART // sources
    merged = Merged(query, texts, most_apart)
    below: dict[str, Merged] = {}
    for begin, scope, chosen, named in pieces:
        its = merged if scope == source.name else below.setdefault(scope, Merged(query, texts, most_apart))
        its.add(begin, chosen, named=named)
    if below:
        merged.join(Merged.of_scopes(query, texts, [*below.values()]))
    return merged


def _groups(
    query: Query, sources: Sequence[Source], merged: Sequence[tuple[Merged, ...]], texts: Texts
) -> list[Group]:
    """What is added up, of what was merged of each source and time."""
    if query.by_scope:
        return [Group(its, source.name) for source, its in zip(sources, merged, strict=True)]
    return [Group(tuple(Merged.of_scopes(query, texts, time) for time in zip(*merged, strict=True)))]


# What stands in the index


def _of_health(said: Indexed) -> Chosen:
    health = said.health or Health()
    columns = health.columns()
    sums = sums_of_first(columns[name] for name in HEALTH_MEASURES)
    seen = seen_of_health(columns.get("LastRecordTime"), columns.get("LagSeconds"))
    return Chosen.of({"": sums}, seen=seen) if sums else NOTHING


def _of_rejects(said: Indexed) -> Chosen:
    return Chosen.of({str(reason): sums_of_first(each) for reason, each in said.rejects.items()}, "Reason")


_OF_INDEX: Mapping[str, Callable[[Indexed], Chosen]] = {"health": _of_health, "rejects": _of_rejects}


def _read_index(counts: Counts, name: str, sources: Sequence[Source], span: Span) -> list[Iterator[_Piece]]:
    """What the index has of each source: scopes stand there side by side, and are read once for all."""
    hours, of_hour = span.whole_hours, _OF_INDEX[name]
    found: dict[str, list[_Piece]] = {source.name: [] for source in sources}
    for only in [*found] if len(found) <= _READ_ONE_BY_ONE else [""]:
        for source, hour, said in counts.indexed_hours(hours.since, hours.end - HOUR, only):
            if source in found:
                found[source].append((hour, source, of_hour(said), False))
    return [iter(pieces) for pieces in found.values()]


_READ_ONE_BY_ONE = 2

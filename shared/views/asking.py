"""Asking: from a query to its answer, over the merged counts of hours and days.

All scopes of a kind are read together, from the counts that the rollup has merged of them; some of them side
by side. What isn't counted by keys, health and rejects, stands in the index. What doesn't fulfil the
conditions is never unpacked; where a condition names an interface's address and keys were dropped, the
entries below are read (see ``descent``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from heapq import merge as merge_sorted
from itertools import chain, groupby
from operator import itemgetter
from unicodedata import normalize
from urllib.parse import unquote

from shared.counts.health import HEALTH_MEASURES, Health
from shared.counts.index import Indexed, all_of, is_all
from shared.counts.store import Counts
from shared.errors import BadRequest
from shared.flowlog.blob_name import readable
from shared.ledger.store import Ledger, Posted
from shared.record_types import first_hour_of_day, notice_left_out, to_lines
from shared.tally.measures import sums_of_first
from shared.tally.packing import NOTHING, TRAFFIC, Chosen
from shared.tally.states import States
from shared.times import DAY, HOUR
from shared.views.answers import (
    Answer,
    AnswerRow,
    Group,
    List,
    ListKey,
    Merged,
    list_groups,
    make_answer,
)
from shared.views.descent import Descent, named_in
from shared.views.formats import KIND_NAMES
from shared.views.interfaces import (
    Addresses,
    list_addresses,
    of_addresses,
    put_addresses,
    say_elsewhere,
    with_addresses_known,
)
from shared.views.looking_back import Firsts, find_firsts, say_since
from shared.views.query import Condition, Query, Span, floor, nearest
from shared.views.questions import QUESTIONS
from shared.views.reading import Stretch, check_keys, plan, read
from shared.workers import Workers

WORKERS = 16
"""Scopes read at the same time; of one that is gone down into, what is below."""

MOST_SIDE_BY_SIDE = 50
"""Scopes that are read side by side at the most."""

MOST_ROWS = 200_000
"""Rows of an answer at the most."""


def ask(counts: Counts, ledger: Ledger, query: Query, most_rows: int = MOST_ROWS) -> Answer:
    """Answer a question. ``BadRequest`` if there is no such scope, or if that is too much to read or to list,
    ``Unavailable`` if storage fails, ``MalformedInput`` names the row that is damaged or gone, and what mends
    it.
    """
    return ask_all(counts, ledger, [[query]], most_rows)[0][0]


def ask_all(
    counts: Counts, ledger: Ledger, asked: Sequence[Sequence[Query]], most_rows: int = MOST_ROWS
) -> list[list[Answer]]:
    """Answer several questions of the same scopes and time, side by side. Each of ``asked`` is one question
    in one form or several, which differ in ``by``, ``order`` and ``limit`` alone: it is read once.
    """
    query = asked[0][0]
    catalog, of_all = counts.catalogs()
    found = find_scopes(catalog, query.scopes)
    scopes = [row for row in found if not query.kind or row["Kind"] == query.kind]
    if found and not scopes:
        known = " and ".join(sorted({KIND_NAMES[row["Kind"]] for row in found}))
        whose = ", ".join(query.scopes) or "what is watched"
        raise BadRequest(
            f"{whose} has no {KIND_NAMES[query.kind]} flow logs; there are {known} flow logs", "kind"
        )
    sources = [
        source
        for kind in sorted({row["Kind"] for row in scopes})
        for source in _sources(query, kind, scopes, catalog, of_all.get(kind))
    ]
    with (
        Workers(WORKERS, thread_name_prefix="ask") as pool,
        Workers(len(asked), thread_name_prefix="question") as questions,
    ):
        looked = pool.map(partial(_look_at_index, counts, query.span().end), sources)

        def list_forms(forms: Sequence[Query]) -> list[tuple[dict[ListKey, List], int]]:
            known: _Known | None = {} if len(forms) > 1 else None
            return [_Asking(counts, ledger, form, sources, pool, most_rows, known).lists() for form in forms]

        lists = [*questions.map(list_forms, asked)]
        recent = dict(zip((source.name for source in sources), looked, strict=True))
        as_of = max((each.last_record for each in recent.values() if each.last_record), default=None)
        behind = [*_say_behind(ledger, query, sources, as_of, pool)]

    def answer(form: Query, its: Mapping[ListKey, List], elsewhere: int) -> Answer:
        pruned = _find_pruned(form, sources, scopes)
        made = make_answer(form, _as_kept(form, scopes, sources), its, as_of)
        return replace(
            made,
            pruned_before=pruned,
            why_empty=made.why_empty and _say_what_is_left(form, pruned, made.why_empty),
            notes=(
                *_say_pruned(sources, pruned),
                *made.notes,
                *behind,
                *_say_unmerged(form, sources, scopes),
                *_say_left_out(form, sources, recent),
                *say_elsewhere(form, elsewhere),
            ),
        )

    return [
        [answer(form, *its) for form, its in zip(forms, of_forms, strict=True)]
        for forms, of_forms in zip(asked, lists, strict=True)
    ]


def find_scopes(catalog: Mapping[str, AnswerRow], wanted: Sequence[str]) -> list[AnswerRow]:
    """The catalog's rows of the scopes that are wanted, each by its key, its name as Azure writes it, or a
    part of either; all if none is wanted. ``BadRequest`` says which names are near, if one is unknown.
    """
    if not wanted:
        return [*catalog.values()]
    found: dict[str, AnswerRow] = {}
    names = {key: [*map(_comparable, (key, readable(key), *_names_of(row)))] for key, row in catalog.items()}
    for text in wanted:
        name = _comparable(text)
        fits = {key: catalog[key] for key, its in names.items() if name in its} or {
            key: catalog[key] for key, its in names.items() if any(name in each for each in its)
        }
        found |= fits
        if not fits:
            known = (
                nearest(text, {row["Name"] for row in catalog.values()}) if catalog else "there is none yet"
            )
            raise BadRequest(f"unknown scope {text!r}; {known}", "scope")
    return [row for key, row in catalog.items() if key in found]


def _names_of(row: AnswerRow) -> Iterator[str]:
    """What Azure calls a scope: its name, and its resource's id."""
    yield row["Name"]
    if resource := row.get("ResourceId"):
        yield resource


def _comparable(name: str) -> str:
    """A name without what may differ in how it is written: case, Unicode's forms, percent encoding."""
    return normalize("NFKC", normalize("NFKC", unquote(name)).casefold())


@dataclass(frozen=True, slots=True)
class _Source:
    """Whose counts are read: ``name`` is a scope, or all scopes of a kind; ``scopes`` are those that it has
    the counts of; ``first`` and ``last`` are the first and last hour that it has; ``began`` are the first
    hours of its scopes; ``pruned_before``: what was before this day isn't there any more, ``None`` if nothing
    was pruned.
    """

    name: str
    kind: str
    scopes: tuple[str, ...]
    first: datetime
    last: datetime
    began: frozenset[datetime]
    pruned_before: datetime | None

    @property
    def kept_from(self) -> datetime:
        """The first hour of which it can have anything."""
        return max(self.first, self.pruned_before or self.first)


def _sources(
    query: Query,
    kind: str,
    scopes: Sequence[AnswerRow],
    catalog: Mapping[str, AnswerRow],
    of_all: AnswerRow | None,
) -> list[_Source]:
    """Where the counts of these scopes of a kind are read: all that there are are read together, if all of
    them have been merged, or if they are too many to be read side by side.
    """
    its = [row for row in scopes if row["Kind"] == kind]
    everyone = len(its) == sum(row["Kind"] == kind for row in catalog.values())
    if everyone and of_all and len(its) > 1 and not query.by_scope:
        first, last = _lasting(its)
        is_merged = (
            of_all["FirstPeriod"] <= first and last <= of_all["LastPeriod"] and of_all["Scopes"] >= len(its)
        )
        if is_merged or len(its) > MOST_SIDE_BY_SIDE:
            names = tuple(row["Scope"] for row in its)
            began = frozenset(_kept_from(row) for row in its)
            times = of_all["FirstPeriod"], of_all["LastPeriod"]
            return [_Source(all_of(kind), kind, names, *times, began, of_all.get("PrunedBefore"))]
    if len(its) > MOST_SIDE_BY_SIDE and everyone and not query.by_scope:
        raise BadRequest(
            f"{len(its):,} scopes aren't merged together yet, and {MOST_SIDE_BY_SIDE} are read side by side "
            "at the most: run `flowtally rollup`, or name fewer",
            "scope",
        )
    if len(its) > MOST_SIDE_BY_SIDE:
        raise BadRequest(
            f"{len(its):,} scopes are asked for, and {MOST_SIDE_BY_SIDE} are read side by side at the most: "
            "name fewer, or leave scope and by-scope out to read all of them together",
            "by-scope" if query.by_scope else "scope",
        )
    return [
        _Source(
            row["Scope"],
            kind,
            (row["Scope"],),
            row["FirstPeriod"],
            row["LastPeriod"],
            frozenset([_kept_from(row)]),
            row.get("PrunedBefore"),
        )
        for row in its
    ]


def _kept_from(scope: AnswerRow) -> datetime:
    """The first hour of which there can be anything, by a scope's row of the catalog."""
    first: datetime = scope["FirstPeriod"]
    pruned_before: datetime = scope.get("PrunedBefore", first)
    return max(first, pruned_before)


def _lasting(scopes: Sequence[AnswerRow]) -> tuple[datetime, datetime]:
    """The first and the last hour that any of these scopes has."""
    return min(row["FirstPeriod"] for row in scopes), max(row["LastPeriod"] for row in scopes)


type _Piece = tuple[datetime, str, Chosen, bool]
"""What was read of a source: of which period, of which scope or of all of them, and whether it is of the keys
whose own side is named.
"""


type _Known = dict[tuple[str, str, Span], list[list[_Piece]]]
"""What was read of a question, of each source of a kind of logs, in a time."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """``known``: what other forms of the question have read, ``None`` if it has no other."""

    counts: Counts
    ledger: Ledger
    query: Query
    sources: Sequence[_Source]
    pool: Workers
    most_rows: int
    known: _Known | None

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
                merged = [*self._merge(everything, sources, everything.span())]
                addresses = list_addresses(_together(everything, merged))
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

    def _look_back(self, query: Query, since: datetime, sources: Sequence[_Source], its: List) -> None:
        """Put into a list's lines since when they are there."""
        keys = {line[1:] if query.by_scope else line for line in its.lines}
        if not keys:
            return

        def find(source: _Source) -> Firsts:
            kept_from = source.kept_from
            begin = max(since, source.pruned_before or since)
            return find_firsts(self.counts, query, source.name, kept_from, source.began, begin, keys)

        firsts = dict(zip((source.name for source in sources), self.pool.map(find, sources), strict=True))
        for key, line in its.lines.items():
            of_line = [firsts[key[0]]] if query.by_scope else [*firsts.values()]
            listed = line.extremes.get("FirstSeen") or line.extremes.get("FirstPeriod")
            line.extremes |= say_since(of_line, key[1:] if query.by_scope else key, listed)

    def _lists_of(self, query: Query, sources: Sequence[_Source]) -> Iterator[tuple[datetime | None, List]]:
        """The lists that these sources make: of each period, or one of the whole time."""
        if query.grain:
            yield from self._lists_by_period(query, sources)
            return
        times = [query.span(), query.span().before] if query.compare else [query.span()]
        merged = zip(*(self._merge(query, sources, span) for span in times), strict=True)
        yield None, list_groups(query, _groups(query, sources, [*merged]))

    def _lists_by_period(
        self, query: Query, sources: Sequence[_Source]
    ) -> Iterator[tuple[datetime | None, List]]:
        """Period by period: no more than one of them is held at a time, however many there are."""

        def begin(piece: tuple[datetime, int, _Piece]) -> datetime:
            return piece[0]

        def numbered(place: int, pieces: Iterable[_Piece]) -> Iterator[tuple[datetime, int, _Piece]]:
            return ((floor(piece[0], query.grain or "hour"), place, piece) for piece in pieces)

        read_by = self._readers(query, sources, query.span())
        streams = [numbered(place, pieces) for place, pieces in enumerate(read_by)]
        for period, its in groupby(merge_sorted(*streams, key=begin), key=begin):
            of: dict[int, list[_Piece]] = {}
            for _, place, piece in its:
                of.setdefault(place, []).append(piece)
            merged = [(_merge_pieces(query, sources[place], pieces),) for place, pieces in sorted(of.items())]
            yield period, list_groups(query, _groups(query, [sources[place] for place in sorted(of)], merged))

    def _merge(self, query: Query, sources: Sequence[_Source], span: Span) -> Iterator[Merged]:
        """What each source has in a time."""
        return self.pool.map(partial(_merge_pieces, query), sources, self._readers(query, sources, span))

    def _readers(self, query: Query, sources: Sequence[_Source], span: Span) -> list[Iterator[_Piece]]:
        """Of each source what reads it. How much that is is known before. What several forms of a question
        need is read once.
        """
        if self.known is None:
            return self._open(query, sources, span)
        key = query.question.reads, sources[0].kind, span
        if key not in self.known:
            self.known[key] = [*self.pool.map(list, self._open(query, sources, span))]
        return [iter(pieces) for pieces in self.known[key]]

    def _open(self, query: Query, sources: Sequence[_Source], span: Span) -> list[Iterator[_Piece]]:
        name = query.question.reads
        if name in _OF_INDEX:
            return _read_index(self.counts, name, sources, span)
        by_hour = query.grain not in (None, "day")

        def plan_source(source: _Source) -> list[Stretch]:
            kept = span.begun_at(source.pruned_before)
            return plan(self.counts, source.name, kept, by_hour=by_hour) if kept else []

        plans = [*self.pool.map(plan_source, sources)]
        check_keys(name, chain.from_iterable(plans))
        return [
            self._read(query, source, stretches, span)
            for source, stretches in zip(sources, plans, strict=True)
        ]

    def _read(
        self, query: Query, source: _Source, stretches: Sequence[Stretch], span: Span
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


def _merge_pieces(query: Query, source: _Source, pieces: Iterable[_Piece]) -> Merged:
    """All that was read of a source, together."""
    merged = Merged(query)
    below: dict[str, Merged] = {}
    for begin, scope, chosen, named in pieces:
        its = merged if scope == source.name else below.setdefault(scope, Merged(query))
        its.add(begin, chosen, named=named)
    if below:
        merged.join(_together(query, [*below.values()]), other_scopes=False)
    return merged


def _together(query: Query, scopes: Sequence[Merged]) -> Merged:
    """What several scopes have together."""
    if len(scopes) == 1:
        return scopes[0]
    together = Merged(query)
    for each in scopes:
        together.join(each, other_scopes=True)
    return together


def _groups(query: Query, sources: Sequence[_Source], merged: Sequence[tuple[Merged, ...]]) -> list[Group]:
    """What is added up, of what was merged of each source and time."""
    if query.by_scope:
        return [Group(its, source.name) for source, its in zip(sources, merged, strict=True)]
    return [Group(tuple(_together(query, time) for time in zip(*merged, strict=True)))]


# What stands in the index


def _of_health(said: Indexed) -> Chosen:
    health = said.health or Health()
    columns = health.columns()
    sums = sums_of_first(columns[name] for name in HEALTH_MEASURES)
    seen = tuple(columns.get(name) for name in QUESTIONS["health"].extremes)
    return Chosen([()], [sums], seen=[seen]) if sums else NOTHING


def _of_rejects(said: Indexed) -> Chosen:
    rejects = said.rejects
    return Chosen([(str(reason),) for reason in rejects], [*map(sums_of_first, rejects.values())])


_OF_INDEX: Mapping[str, Callable[[Indexed], Chosen]] = {"health": _of_health, "rejects": _of_rejects}


def _read_index(counts: Counts, name: str, sources: Sequence[_Source], span: Span) -> list[Iterator[_Piece]]:
    """What the index has of each source: scopes stand there side by side, and are read once for all."""
    hours, of_hour = span.whole_hours, _OF_INDEX[name]
    found: dict[str, list[_Piece]] = {source.name: [] for source in sources}
    for only in [*found] if len(found) <= _READ_ONE_BY_ONE else [""]:
        for source, hour, said in counts.indexed_hours(hours.since, hours.end - HOUR, only):
            if source in found:
                found[source].append((hour, source, of_hour(said), False))
    return [iter(pieces) for pieces in found.values()]


_READ_ONE_BY_ONE = 2


# How fresh it is, and what the logs leave out

_BEHIND = timedelta(minutes=15)
"""So much later the ledger's last record may be: the rollup runs every five minutes."""


@dataclass(frozen=True, slots=True)
class _Recent:
    """What the index says of a source: the time of the last record that was counted; and of the hours of the
    last day of the time asked for, the tuples by state.
    """

    last_record: datetime | None
    states: Mapping[datetime, States]


def _look_at_index(counts: Counts, end: datetime, source: _Source) -> _Recent:
    day = first_hour_of_day(end), floor(end, "hour")
    newest = source.last - HOUR, source.last  # the last hour's blobs may be without a record
    near = newest[0] <= day[1] + DAY and day[0] <= newest[1] + DAY
    ranges = [(min(day[0], newest[0]), max(day[1], newest[1]))] if near else [day, newest]
    last_record, states = None, {}
    for since, until in ranges:
        for _, hour, said in counts.indexed_hours(since, until, source.name):
            health = said.health or Health()
            states[hour] = health.states
            if newest[0] <= hour <= newest[1] and health.last_record_time:
                last_record = max(health.last_record_time, last_record or health.last_record_time)
    return _Recent(last_record, states)


def _say_left_out(query: Query, sources: Sequence[_Source], recent: Mapping[str, _Recent]) -> Iterator[str]:
    """What VNet flow logs seem to leave out. That nothing is denied matters where denials are asked for."""
    span, question = query.span(), query.question
    if not (question.bounded or question.reads == TRAFFIC):
        return
    counted = {each.name: recent[each.name].states for each in sources if each.kind == "vnet"}
    notices = notice_left_out(counted, span.whole_hours.since, span.end, query.now)
    yield from to_lines([each for each in notices if each.to_do or question.unit == "FlowsDenied"])


def _find_pruned(query: Query, sources: Sequence[_Source], scopes: Sequence[AnswerRow]) -> datetime | None:
    """Before when what was counted of the time asked for was pruned, of any of these sources; ``None`` if
    none was. The index has it all the same.
    """
    if query.question.reads in _OF_INDEX:
        return None
    since = min([query.span().since, *([query.span().before.since] if query.compare else [])])
    first = min((row["FirstPeriod"] for row in scopes), default=since)
    days = [each.pruned_before for each in sources if each.pruned_before]
    return max((day for day in days if since < day and first < day), default=None)


def _as_kept(query: Query, scopes: Sequence[AnswerRow], sources: Sequence[_Source]) -> Sequence[AnswerRow]:
    """The catalog's rows with the first hour that there can be anything of, where an answer is read."""
    if query.question.reads in _OF_INDEX:
        return scopes
    kept = {scope: source.kept_from for source in sources for scope in source.scopes if source.pruned_before}
    return [
        {**row, "FirstPeriod": max(_kept_from(row), kept.get(row["Scope"], _kept_from(row)))}
        for row in scopes
    ]


def _say_pruned(sources: Sequence[_Source], pruned: datetime | None) -> Iterator[str]:
    """That what was counted of the time asked for isn't there any more."""
    if not pruned:
        return
    of = "" if all(each.pruned_before == pruned for each in sources) else " of some of the scopes"
    yield (
        f"what was counted{of} before {pruned:%Y-%m-%d} was pruned, and is no part of this answer; "
        "`flowtally status --at` tells whether a day was complete"
    )


def _say_what_is_left(query: Query, pruned: datetime | None, why_empty: str) -> str:
    """Why there are no rows, where a part of the time was pruned."""
    if not pruned:
        return why_empty
    if query.span().end <= pruned:
        return f"what was counted in that time was pruned, as all that is before {pruned:%Y-%m-%d}"
    return f"from {pruned:%Y-%m-%d} on {why_empty}; what was counted before was pruned"


def _say_unmerged(query: Query, sources: Sequence[_Source], scopes: Sequence[AnswerRow]) -> Iterator[str]:
    """That all scopes of a kind are read together though not all that they have is merged: they are too many
    to be read side by side.
    """
    span = query.span()
    for source in sources:
        first, last = _lasting([row for row in scopes if row["Kind"] == source.kind])
        lacks_first = span.since < source.first and first < source.first
        lacks_last = source.last + HOUR < span.end and source.last < last
        if is_all(source.name) and (lacks_first or lacks_last):
            yield (
                f"all {KIND_NAMES[source.kind]} flow logs together are merged from "
                f"{source.first:%Y-%m-%d %H:%MZ} to {source.last + HOUR:%Y-%m-%d %H:%MZ}: what some of them "
                "have before or after it may be missing here; `flowtally rollup` merges it"
            )


def _say_behind(
    ledger: Ledger, query: Query, sources: Sequence[_Source], as_of: datetime | None, pool: Workers
) -> Iterator[str]:
    """That the ledger has records that aren't merged yet, where what is merged isn't of now."""
    scopes = [scope for source in sources for scope in source.scopes]
    end = min(query.span().end, query.now)
    if as_of is None or as_of >= end - _BEHIND or len(scopes) > MOST_SIDE_BY_SIDE:
        return

    def last_in_ledger(scope: str) -> datetime | None:
        entries = ledger.entries(scope, floor(as_of, "hour"), floor(end, "hour"))
        times = (each.entry.last_record_time for each in entries if isinstance(each, Posted))
        return max(filter(None, times), default=None)

    last = max(filter(None, pool.map(last_in_ledger, scopes)), default=None)
    if last and last > as_of + _BEHIND:
        yield (
            f"the rollup is behind: merged are records until {as_of:%Y-%m-%d %H:%M:%SZ}, the ledger has some "
            f"until {last:%Y-%m-%d %H:%M:%SZ}; `flowtally rollup` merges them"
        )

"""Packed counts of some periods and scopes → the answer to a question (pure).

Theory of operation
-------------------
What a period of a scope has counted of a question says of each key that it kept what it has, and by how much
that may be too little. What it dropped is in its rest, exactly. An answer is the merge of all of them: a
key's sums are those of all together, and nothing is dropped on the way. In a period that didn't keep a key,
the key may have had some all the same, but no more than the largest that was ever dropped there: the period's
floor, which is never more than what its rest weighs. That bound is added to what the key has missed. So the
laws of one period hold for all together, for every measure and, as to ``Missed``, in the unit that the
question is ranked by:

1. rows + rest = total, exactly;
2. a row ≤ its key's truth ≤ the row + ``Missed``;
3. no key that no period has kept has more than ``missed``.

A row that stands for several keys (``--by``) may lack some of each of them, and of keys that were dropped: no
floor bounds that, but the rest does. The same holds for the log's own sums (``--as-logged``), by which no key
was kept or dropped.

Only then the largest are chosen, and what is beyond the limit goes to the rest of the list.

Conditions are held against every key that was kept, while it is unpacked. What was dropped they can't be held
against: it stands by itself as ``unfiltered``, and the truth is between ``total`` and ``total`` +
``unfiltered``. Up to a family's capacity it is zero. Keys whose own side is an address that the conditions
name may have been read from the entries of the interfaces themselves (see ``descent``): they lack nothing
but what those have dropped.

NSG logs and VNet logs record the same traffic: they are never added up. Each kind has lists of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from heapq import nsmallest
from itertools import chain, repeat
from operator import add, itemgetter, neg
from typing import Any

from shared.flowlog.blob_name import as_written
from shared.tally.heavy_hitters import Key
from shared.tally.measures import Sums, add_sums, add_to, figure, logged
from shared.tally.packing import Chosen, Numbers
from shared.times import HOUR, to_moment
from shared.views.explanations import explain_codes, explain_rules
from shared.views.query import Query, Span
from shared.views.questions import Question

type AnswerRow = dict[str, Any]
type LineKey = tuple[Any, ...]
type ListKey = tuple[str, datetime | None]
"""The kind of logs that a list is of, and its period: ``None`` for a list of the whole time."""

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_FRESH = timedelta(hours=1)
_FIVE_MINUTES = timedelta(minutes=5)

BEFORE = "Before"
"""Columns that begin with this are those of the time before; by itself, what a change is a change from."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the rows of one kind of logs are of.

    - ``total`` = ``shown`` + ``rest``, for every measure; ``shown`` is of the rows that stand for a key.
    - ``missed``: the most that was dropped of any one row in counting, in the answer's ``unit``.
    - ``unfiltered``: with conditions, what couldn't be held against them, because it was dropped in counting,
      beside ``total``; else ``None``.
    - ``before``: in a comparison, the total of the time before.
    """

    kind: str
    total: dict[str, int]
    shown: dict[str, int]
    rest: dict[str, int]
    unfiltered: dict[str, int] | None
    before: dict[str, int] | None
    missed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: flat rows, and what they leave out.

    - ``columns``: the columns of ``rows``, in order. A row with ``IsRest`` true stands for all that has no
      row in its list, so that the rows of a list are its total.
    - ``lists``: totals, one for each kind of logs that there is, also where it has no rows.
    - ``scopes``: those that it is of; ``names``: each with names as Azure writes them.
    - ``since``, ``until``: the time that it is of; ``as_of`` the time of the last record that was counted.
    - ``notes``: what has to be known to read it rightly. ``why_empty``: why there are no rows, if so.
    - ``others``: how many tuples the question is about that don't fulfil the conditions.
    - ``pruned_before``: what was counted before this day of the time that it is of was pruned.
    """

    question: Question
    key: tuple[str, ...]
    scopes: tuple[str, ...]
    names: Mapping[str, str]
    since: datetime
    until: datetime
    columns: tuple[str, ...]
    rows: list[AnswerRow]
    lists: tuple[Totals, ...]
    unit: str
    as_of: datetime | None
    notes: tuple[str, ...]
    why_empty: str
    others: int
    pruned_before: datetime | None = None


@dataclass(slots=True)
class Line:
    """What a list has of one key: its sums, and how much they may lack; in how many scopes it is, if that is
    known; what isn't summed. In a comparison, sums and what they lack are of the present time and of the time
    before.
    """

    sums: tuple[Sums, ...]
    missed: tuple[int, ...]
    scopes: int | None = None
    extremes: AnswerRow = field(default_factory=dict)


@dataclass(slots=True)
class List:
    """A list in the making: its lines, and what has none. ``cut`` was beyond the limit; ``rest`` was dropped
    in counting, of each row ``bound`` at the most; ``others`` doesn't fulfil the conditions. In a comparison,
    all but that of the present time and of the time before.
    """

    lines: dict[LineKey, Line]
    cut: tuple[Sums, ...]
    rest: tuple[Sums, ...]
    bound: tuple[int, ...]
    others: Sums


type Project = Callable[[Key], Key]


class Merged:
    """What some periods and scopes have of a question together, without a limit, by the columns asked for.

    Each key has a place; what is known of it stands there in each of some lists.
    """

    __slots__ = (
        *("_query", "beyond", "bound_of_named", "bound_of_others", "first", "last", "many", "named"),
        *("others", "places", "rest_of_named", "rest_of_others", "seen", "sums"),
    )

    def __init__(self, query: Query) -> None:
        self._query = query
        self.places = Numbers[Key]()
        self.sums: list[Sums] = []
        self.beyond: list[int] = []  # missed, less the bound: periods that lack a key needn't visit it
        self.first: list[datetime] = []  # the first and the last period that has a key
        self.last: list[datetime] = []
        self.many: list[int] = []  # scopes, where they are known
        self.seen: dict[int, tuple[Any, ...]] = {}
        self.named: set[int] = set()
        self.rest_of_others = self.rest_of_named = self.others = 0
        self.bound_of_others = self.bound_of_named = 0

    def add(self, period: datetime, chosen: Chosen, *, named: bool = False) -> None:
        """Add what a period has, of one scope or of all, later than those before; ``named``: of the keys
        whose own side is an address that the conditions name, and of no others.
        """
        chosen = projected(self._query, chosen)
        places = self._admit(chosen.keys, period, period)
        sums, beyond, last, many = self.sums, self.beyond, self.last, self.many
        for place, more in zip(places, chosen.sums, strict=True):
            sums[place] = add_sums(sums[place], more)
            last[place] = period
        if chosen.floor:
            for place, missed in zip(places, chosen.missed or repeat(0), strict=False):
                beyond[place] += missed - chosen.floor
        for place, scopes in zip(places, chosen.scopes, strict=False):
            many[place] = max(many[place], scopes)
        self._see(zip(places, chosen.seen, strict=False))
        self.others = add_sums(self.others, chosen.others)
        if named:
            self.named.update(places)
            self.rest_of_named = add_sums(self.rest_of_named, chosen.rest)
            self.bound_of_named += chosen.floor
        else:
            self.rest_of_others = add_sums(self.rest_of_others, chosen.rest)
            self.bound_of_others += chosen.floor

    def join(self, other: "Merged", *, other_scopes: bool) -> None:
        """Add what was merged of other scopes, or of other periods."""
        places = self._admit(other.places, _LAST, _FIRST)
        sums, beyond, many = self.sums, self.beyond, self.many
        add_scopes = add if other_scopes else max
        for its, place in enumerate(places):
            sums[place] = add_sums(sums[place], other.sums[its])
            beyond[place] += other.beyond[its]
            many[place] = add_scopes(many[place], other.many[its] or 1)
            self.first[place] = min(self.first[place], other.first[its])
            self.last[place] = max(self.last[place], other.last[its])
        self._see((places[its], seen) for its, seen in other.seen.items())
        self.named.update(places[its] for its in other.named)
        self.rest_of_others = add_sums(self.rest_of_others, other.rest_of_others)
        self.rest_of_named = add_sums(self.rest_of_named, other.rest_of_named)
        self.others = add_sums(self.others, other.others)
        self.bound_of_others += other.bound_of_others
        self.bound_of_named += other.bound_of_named

    def _admit(self, keys: Iterable[Key], first: datetime, last: datetime) -> list[int]:
        """The places of these keys; those that are new are in no scope and have no sums yet."""
        places = [*map(self.places.__getitem__, keys)]
        new = len(self.places) - len(self.sums)
        for column, value in ((self.sums, 0), (self.beyond, 0), (self.many, 0)):
            column.extend(repeat(value, new))
        self.first.extend(repeat(first, new))
        self.last.extend(repeat(last, new))
        return places

    def _see(self, those: Iterable[tuple[int, tuple[Any, ...]]]) -> None:
        """Widen what isn't summed."""
        for place, seen in those:
            self.seen[place] = self._widened(self.seen[place], seen) if place in self.seen else seen

    @property
    def rest(self) -> Sums:
        """What was dropped: of all keys, where others than those named were read, too."""
        return self.rest_of_others or self.rest_of_named

    @property
    def bound(self) -> int:
        """The most that was dropped of any one row."""
        return max(self.bound_of_others, self.bound_of_named) if self._is_tight() else self._weigh_rest()

    def missed(self, key: Key, *, named: bool = False) -> int:
        """The most that a key may have beside its sums; ``named``: it is one of those that were read by
        themselves. One that wasn't found may be.
        """
        if not self._is_tight():
            return self._weigh_rest()
        bound = self.bound_of_named if named else max(self.bound_of_named, self.bound_of_others)
        return bound + (self.beyond[self.places[key]] if key in self.places else 0)

    def is_named(self, key: Key) -> bool:
        """Whether a key is one of those that were read by themselves."""
        return self.places.get(key) in self.named

    def scopes(self, key: Key) -> int:
        """In how many scopes a key is, at least."""
        return max(1, self.many[self.places[key]] if key in self.places else 0)

    def extremes(self, key: Key) -> AnswerRow:
        """What isn't summed of a key."""
        if key not in self.places:
            return {}
        question, place = self._query.question, self.places[key]
        seen = self.seen.get(place, ()) if question.extremes else (self.first[place], self.last[place])
        values = map(to_moment, seen) if question.keeps_times else seen
        return dict(zip(self._query.extremes, values, strict=False))

    def asked_sums(self) -> dict[Key, Sums]:
        """The sums of each key as they are asked for."""
        sums = map(logged, self.sums) if self._query.as_logged else self.sums
        return dict(zip(self.places, sums, strict=True))

    def _is_tight(self) -> bool:
        """Whether floors bound what rows lack."""
        return self._query.has_whole_keys and not self._query.as_logged

    def _weigh_rest(self) -> int:
        sums = logged(self.rest) if self._query.as_logged else self.rest
        return self._query.question.weigh(self._query.question.unit)(sums) if sums else 0

    def _widened(self, one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(self._query.question.extremes.values(), one, other, strict=True)
        return tuple(
            choose([value for value in values if value is not None] or [None]) for choose, *values in pairs
        )


def projected(query: Query, chosen: Chosen) -> Chosen:
    """The same, by the columns asked for."""
    if not query.by:
        return chosen
    keys = [*map(_projection(query.question.key, query.by), chosen.keys)]
    if query.has_whole_keys:
        return replace(chosen, keys=keys)
    sums: dict[Key, Sums] = {}
    seen: dict[Key, tuple[Any, ...]] = {}
    scopes: dict[Key, int] = {}
    for key, more in zip(keys, chosen.sums, strict=True):
        known = sums.get(key)
        sums[key] = more if known is None else add_sums(known, more)
    for key, many in zip(keys, chosen.scopes, strict=False):
        scopes[key] = max(scopes.get(key, 1), many)
    for key, (first, last) in zip(keys, chosen.seen, strict=False):
        before = seen.get(key, (first, last))
        seen[key] = min(before[0], first), max(before[1], last)
    return Chosen(
        [*sums],
        [*sums.values()],
        scopes=[*scopes.values()],
        seen=[*seen.values()],
        others=chosen.others,
        rest=chosen.rest,
        floor=chosen.floor,
    )


def _projection(key: Sequence[str], by: Sequence[str]) -> Project:
    """A function that takes what ``by`` names out of a key with these columns."""
    takes = [_taking(key, name) for name in by]
    return lambda values: tuple(take(values) for take in takes)


def _taking(key: Sequence[str], name: str) -> Callable[[Key], Any]:
    if name in key:
        return itemgetter(key.index(name))
    inbound, outbound = ("DestIp", "SrcIp") if name == "LocalIp" else ("SrcIp", "DestIp")
    direction, if_inbound, if_outbound = map(key.index, ("Direction", inbound, outbound))
    return lambda values: values[if_inbound if values[direction] == "Inbound" else if_outbound]


type Counted = Iterable[tuple[datetime, Chosen]]
"""What was counted of a question, period by period in their order: when each begins, and what it has."""


def by_minutes(query: Query, span: Span, period: datetime, chosen: Chosen) -> Counted:
    """An hour's traffic, by direction and status, for each five minutes that lie in a time. A day's is in its
    first hour, as far as this can tell: where it is read as a day, that doesn't matter.
    """
    found: dict[datetime, dict[Key, Sums]] = {}
    others: dict[datetime, Sums] = {}
    for (bucket, *way), sums in sorted(zip(chosen.keys, chosen.sums, strict=True)):
        moment = period + _FIVE_MINUTES * int(bucket)
        if moment < span.since or (span.until and moment >= span.until):
            continue
        key = tuple(way)
        its = found.setdefault(moment, {})
        if query.holds(dict(zip(query.question.key, key, strict=True))):
            its[key] = sums
        else:
            add_to(others, moment, sums)
    for moment, its in found.items():
        yield moment, Chosen([*its], [*its.values()], others=others.get(moment, 0))


@dataclass(frozen=True, slots=True)
class Group:
    """What was merged of the scopes whose rows are one: in a comparison, of the present time and of the time
    before. ``scope``: the one that it is of, where each has rows of its own.
    """

    merged: tuple[Merged, ...]
    scope: str = ""


def list_groups(query: Query, groups: Sequence[Group]) -> List:
    """A list of these groups' keys, those of both times, cut to the limit."""
    none = (0,) * (2 if query.compare else 1)
    sums: dict[LineKey, tuple[Sums, ...]] = {}
    for group in groups:
        of_times = [each.asked_sums() for each in group.merged]
        prefix = (group.scope,) if query.by_scope else ()
        for key in dict.fromkeys(chain(*of_times)):
            sums[*prefix, *key] = tuple(its.get(key, 0) for its in of_times)
    of = {group.scope: group for group in groups}
    shown = _first(query, sums)
    lines = {
        line: _line(query, of[line[0]], line[1:], sums[line])
        if query.by_scope
        else _line(query, of[""], line, sums[line])
        for line in shown
    }
    times = [*zip(*(group.merged for group in groups), strict=True)]
    return List(
        lines,
        _total(its for line, its in sums.items() if line not in shown) or none,
        tuple(_sums(query, reduce(add_sums, (each.rest for each in time), 0)) for time in times) or none,
        tuple(max(each.bound for each in time) for time in times) or none,
        reduce(add_sums, (each.others for each in times[0]), 0) if times else 0,
    )


def _line(query: Query, group: Group, key: Key, sums: tuple[Sums, ...]) -> Line:
    named = any(each.is_named(key) for each in group.merged)
    return Line(
        sums,
        tuple(each.missed(key, named=named) for each in group.merged),
        # Of what isn't counted by keys, all scopes together don't know how many have it.
        max(each.scopes(key) for each in group.merged) if query.question.bounded else None,
        group.merged[0].extremes(key),
    )


def _sums(query: Query, sums: Sums) -> Sums:
    """Sums as they are asked for."""
    return logged(sums) if query.as_logged and sums else sums


def _total(many: Iterable[tuple[Sums, ...]]) -> tuple[Sums, ...]:
    """What all of these have together, time by time."""
    return tuple(reduce(add_sums, each, 0) for each in zip(*many, strict=True))


def _first(query: Query, sums: Mapping[LineKey, tuple[Sums, ...]]) -> dict[LineKey, None]:
    """The keys that are listed, in the order that is asked for; of equal ones, in their own."""
    if not query.order:
        return dict.fromkeys(nsmallest(query.limit, sums))
    if query.order in query.key:
        place = query.key.index(query.order) + query.by_scope
        return dict.fromkeys(nsmallest(query.limit, sums, key=lambda key: (key[place], key)))
    weigh = query.question.weigh(compared_by(query))

    def rank(of: tuple[Sums, ...]) -> tuple[int, ...]:
        values = [*map(weigh, of)]
        return (-abs(values[0] - values[1]),) if query.order == "Change" else tuple(map(neg, values))

    ranked = nsmallest(query.limit, ((rank(of), key) for key, of in sums.items()))
    return dict.fromkeys(key for _, key in ranked)


def compared_by(query: Query) -> str:
    """The measure that the rows are ordered by, and that a change is a change of."""
    return query.order if query.order in query.question.orders else query.question.unit


def make_answer(
    query: Query, scopes: Sequence[AnswerRow], lists: Mapping[ListKey, List], as_of: datetime | None
) -> Answer:
    """The answer that these lists make; ``scopes`` are the catalog's rows of the scopes that were asked."""
    question, span = query.question, query.span()
    rows = [*_rows(query, scopes, lists)]
    totals = []
    everything = dropped = others = 0
    for kind in sorted({scope["Kind"] for scope in scopes} | {kind for kind, _ in lists}):
        its = [each for (of, _), each in lists.items() if of == kind]
        totals.append(_totals(query, kind, its))
        dropped = add_sums(dropped, reduce(add_sums, (each.rest[0] for each in its), 0))
        for each in its:
            others = add_sums(others, each.others)
            everything = reduce(add_sums, (each.cut[0], each.rest[0], each.others), everything)
            everything = reduce(add_sums, (line.sums[0] for line in each.lines.values()), everything)
    missed = max((each.missed for each in totals), default=0)
    return Answer(
        question=question,
        key=query.key,
        scopes=tuple(scope["Scope"] for scope in scopes),
        names={
            scope["Scope"]: as_written(scope["Scope"], scope["Name"], scope.get("ResourceId") or "")
            for scope in scopes
        },
        since=span.since,
        until=span.end,
        columns=_columns(query),
        rows=rows,
        lists=tuple(totals),
        unit=question.unit,
        as_of=as_of,
        notes=(*_notes(query, scopes, dropped, missed, as_of), *_explanations(query, rows)),
        why_empty=""
        if any(row["IsRest"] is False for row in rows)
        else _why_empty(query, scopes, everything, dropped, as_of),
        others=figure(others, question.orders["Tuples"]) if others else 0,
    )


def _rows(query: Query, scopes: Sequence[AnswerRow], lists: Mapping[ListKey, List]) -> Iterator[AnswerRow]:
    since = query.span().since
    late = {name for scope in _counted_late(query, scopes) for name in (scope["Kind"], scope["Scope"])}
    for (kind, period), its in sorted(lists.items(), key=lambda each: (each[0][0], each[0][1] or since)):
        for rank, (key, line) in enumerate(its.lines.items(), start=1):
            whose = key[0] if query.by_scope else kind
            yield _row(query, kind, period, rank, key, line, is_before_counted=whose not in late)
        left = _left(query, its)
        if any(left):
            nobody = (None,) * (len(query.key) + query.by_scope)
            yield _row(query, kind, period, 0, nobody, Line(left, (0, 0)), is_before_counted=False)


def _counted_late(query: Query, scopes: Sequence[AnswerRow]) -> list[AnswerRow]:
    """Scopes that aren't counted from the beginning of the time before: what is new there may be older."""
    since = query.span().before.since
    return [scope for scope in scopes if scope["FirstPeriod"] > since]


def _left(query: Query, its: List) -> tuple[Sums, ...]:
    """What has no row in a list."""
    return its.cut if query.conditions else _total([its.cut, its.rest])


def _totals(query: Query, kind: str, lists: Sequence[List]) -> Totals:
    none: tuple[Sums, ...] = (0, 0) if query.compare else (0,)
    shown = _total([none, *(line.sums for its in lists for line in its.lines.values())])
    left = _total([none, *(_left(query, its) for its in lists)])
    rest = _total([none, *(its.rest for its in lists)])
    total = _total([shown, left])
    figures = query.question.figures
    return Totals(
        kind,
        figures(total[0]),
        figures(shown[0]),
        figures(left[0]),
        figures(rest[0]) if query.conditions else None,
        figures(total[1]) if query.compare else None,
        max((its.bound[0] for its in lists), default=0),
    )


def _columns(query: Query) -> tuple[str, ...]:
    question = query.question
    compared = [BEFORE + name for name in (*question.measures, "Missed")]
    return (
        "Kind",
        *(["Scope"] if query.by_scope else []),
        *(["Period"] if query.grain else []),
        *(["Rank"] if question.ranked_by else []),
        *query.key,
        *(question.beside if "Mac" in query.key else ()),
        *([] if query.by_scope else ["Scopes"]),
        *question.measures,
        *query.extremes,
        *(["Since", "AtLatest"] if query.look_back else []),
        *(["Missed"] if question.bounded else []),
        "IsRest",
        *([*compared, BEFORE, "Change", "ChangePercent", "Trend"] if query.compare else []),
    )


def _row(
    query: Query,
    kind: str,
    period: datetime | None,
    rank: int,
    key: LineKey,
    line: Line,
    *,
    is_before_counted: bool,
) -> AnswerRow:
    question = query.question
    names = ("Scope", *query.key) if query.by_scope else query.key
    row = {
        "Kind": kind,
        "Period": period,
        "Rank": rank,
        **dict(zip(names, key, strict=True)),
        "Scopes": line.scopes,
        **question.figures(line.sums[0]),
        **line.extremes,
        "Missed": line.missed[0],
        "IsRest": rank == 0,
    }
    if query.compare:
        now, before = map(question.weigh(compared_by(query)), line.sums)
        row |= {BEFORE + name: value for name, value in question.figures(line.sums[1]).items()}
        row |= {BEFORE + "Missed": line.missed[1], BEFORE: before, "Change": now - before}
        row["ChangePercent"] = round(100 * (now - before) / before, 1) if before else None
        row["Trend"] = _trend(line, is_before_counted=is_before_counted) if rank else None
    return {name: row.get(name) for name in _columns(query)}


def _trend(line: Line, *, is_before_counted: bool) -> str | None:
    """Whether what a row stands for is new, or gone: only if the other time was counted, and has dropped
    nothing of it.
    """
    (now, before), (missed, missed_before) = line.sums, line.missed
    if not before:
        return "new" if is_before_counted and not missed_before else "may be new"
    if not now:
        return "may be gone" if missed else "gone"
    return None


def _notes(
    query: Query, scopes: Sequence[AnswerRow], dropped: Sums, missed: int, as_of: datetime | None
) -> Iterator[str]:
    question = query.question
    tuples = figure(dropped, question.orders["Tuples"]) if question.bounded else 0
    if tuples:
        filtered = " and couldn't be filtered: some of them may belong here, too" if query.conditions else ""
        yield (
            f"{tuples:,} tuples are of keys that were dropped in counting{filtered}; "
            f"no row lacks more than {missed:,} ({question.unit})"
        )
        if command := _command_for_raw_log(query):
            yield f"the log itself tells whether they do: `{command}`"
        if compared_by(query) != question.unit:
            yield f"keys are kept by {question.unit}: by {compared_by(query)}, larger ones may have no row"
    if query.compare and (late := _counted_late(query, scopes)):
        first = min(scope["FirstPeriod"] for scope in late)
        some = f" of {len(late):,} of {len(scopes):,} scopes" if len(late) < len(scopes) else ""
        since = query.span().before.since
        yield (
            f"the time before begins {since:%Y-%m-%d %H:%MZ}, but what is counted{some} begins only "
            f"{first:%Y-%m-%d %H:%MZ}{' or later' if some else ''}: what looks new may be older"
        )
    if as_of and as_of < query.span().end - _FRESH:
        yield f"nothing is counted after {as_of:%Y-%m-%d %H:%M:%SZ}"


def _command_for_raw_log(query: Query) -> str:
    """The command that finds in the raw log what conditions that name addresses ask for; else nothing."""
    naming = [each for each in query.conditions if each.names_addresses]
    if not naming:
        return ""
    words = ["why"] if {"from", "to"} == {each.name for each in naming} else ["flows", "SCOPE"]
    words += [f"--{each.name} {text}" for each in naming for text in each.text.split(" or ")]
    words += [f"--since {query.span().since:%Y-%m-%dT%H:%MZ}"]
    words += [f"--until {query.span().until:%Y-%m-%dT%H:%MZ}"] if query.span().until else []
    return " ".join(["flowtally", *words])


def _explanations(query: Query, rows: Iterable[AnswerRow]) -> Iterator[str]:
    """What the rows are of, where their names don't tell."""
    explain = {"rules": explain_rules, "encryption": explain_codes}.get(query.question.name)
    if explain and {*query.key} >= {*query.question.key}:
        yield from explain(row for row in rows if not row["IsRest"])


def _why_empty(
    query: Query, scopes: Sequence[AnswerRow], everything: Sums, dropped: Sums, as_of: datetime | None
) -> str:
    """Why no key has a row: nothing there yet, nothing there any more, or nothing that fits."""
    span = query.span()
    if not scopes:
        return (
            "nothing has been counted yet: run `flowtally sweep` and `flowtally rollup`, "
            "or wait for the function app"
        )
    if query.conditions and (tuples := figure(everything, query.question.orders["Tuples"])):
        asked = ", ".join(f"{each.name} {each.text}" for each in query.conditions)
        nothing = "nothing that was kept fulfils" if dropped else "nothing fulfils"
        # Where an address is named, others may not have been read.
        is_named = any(each.names_addresses for each in query.conditions)
        of = "" if is_named else f", of {tuples:,} tuples that this question is about"
        return f"{nothing} {asked}{of}"
    first = min(scope["FirstPeriod"] for scope in scopes)
    last = max(scope["LastPeriod"] for scope in scopes) + HOUR
    if span.since >= last:
        return (
            f"nothing is counted after {as_of or last:%Y-%m-%d %H:%M:%SZ}: either nothing was logged since, "
            "or counting is behind, which `flowtally status` tells"
        )
    if span.end <= first:
        return f"what is counted begins only at {first:%Y-%m-%d %H:%MZ}"
    if query.question.name == "rejects":
        return "nothing was rejected in that time"
    return "there was no such traffic in that time"

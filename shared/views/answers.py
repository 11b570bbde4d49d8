"""Packed counts of some periods → the answer to a question (pure).

Theory of operation
-------------------
What a period has counted of a question says of each key that it kept what it has, and by how much that may be
too little. What it dropped is in its rest, exactly. An answer is the merge of the periods: a key's sums are
those of all of them together, and nothing is dropped on the way. In a period that didn't keep a key, the key
may have had some all the same, but no more than the largest that was ever dropped there: the period's floor,
which is never more than what its rest weighs. That bound is added to what the key has missed. So the laws of
one period hold for all together, for every measure and, as to ``Missed``, in the unit that the question is
ranked by:

1. rows + rest = total, exactly;
2. a row ≤ its key's truth ≤ the row + ``Missed``;
3. no key that no period has kept has more than ``missed``.

Only then the largest are chosen, and what is beyond the limit goes to the rest of the list.

Conditions are held against every key that was kept, while it is unpacked. What was dropped they can't be held
against: it stands by itself as ``unfiltered``, and the truth is between ``total`` and ``total`` +
``unfiltered``. Up to a family's capacity it is zero.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from heapq import nsmallest
from itertools import groupby
from operator import neg
from typing import Any

from shared.tally.heavy_hitters import Key
from shared.tally.measures import Sums, add_sums, figure
from shared.tally.packing import Chosen
from shared.times import HOUR, to_moment
from shared.views.explanations import explain_codes, explain_rules
from shared.views.query import Query, Span, floor
from shared.views.questions import Question

type AnswerRow = dict[str, Any]
type LineKey = tuple[Any, ...]

_FRESH = timedelta(hours=1)
_FIVE_MINUTES = timedelta(minutes=5)

BEFORE = "Before"
"""Columns that begin with this are those of the time before; by itself, what a change is a change from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: flat rows, and what they leave out.

    - ``columns``: the columns of ``rows``, in order. A row with ``IsRest`` true stands for all that has no
      row in its list, so that the rows of a list are its total.
    - ``total`` = ``shown`` + ``rest``, for every measure; ``shown`` is of the rows that stand for a key.
    - ``missed``: the most that was dropped of any one key in counting, in ``unit``.
    - ``unfiltered``: with conditions, what couldn't be held against them, because it was dropped in counting,
      beside ``total``; else ``None``.
    - ``before``: in a comparison, the total of the time before.
    - ``since``, ``until``: the time that it is of; ``as_of`` the time of the last record that was counted.
    - ``notes``: what has to be known to read it rightly. ``why_empty``: why there are no rows, if so.
    """

    question: Question
    scopes: tuple[str, ...]
    since: datetime
    until: datetime
    columns: tuple[str, ...]
    rows: list[AnswerRow]
    total: dict[str, int]
    shown: dict[str, int]
    rest: dict[str, int]
    unfiltered: dict[str, int] | None
    before: dict[str, int] | None
    missed: int
    unit: str
    as_of: datetime | None
    notes: tuple[str, ...]
    why_empty: str


@dataclass(slots=True)
class Line:
    """What a list has of one key: its sums, and how much they may lack; what isn't summed. In a comparison,
    of the present time and of the time before.
    """

    sums: tuple[Sums, ...]
    missed: tuple[int, ...]
    extremes: AnswerRow = field(default_factory=dict)


@dataclass(slots=True)
class List:
    """A list in the making: its lines, and what has none. ``cut`` was beyond the limit; ``rest`` was dropped
    in counting, of each key ``bound`` at the most; ``others`` doesn't fulfil the conditions. In a comparison,
    all but that of the present time and of the time before.
    """

    lines: dict[LineKey, Line]
    cut: tuple[Sums, ...]
    rest: tuple[Sums, ...]
    bound: tuple[int, ...]
    others: Sums


class Merged:
    """What some periods have of a question together, without a limit."""

    __slots__ = ("_missed", "_question", "bound", "others", "rest", "seen", "sums")

    def __init__(self, question: Question) -> None:
        self._question = question
        self.sums: dict[Key, Sums] = {}
        self._missed: dict[Key, int] = {}  # less ``bound``, so that periods that lack a key needn't visit it
        self.seen: dict[Key, tuple[Any, ...]] = {}
        self.rest = self.others = self.bound = 0

    def add(self, chosen: Chosen) -> None:
        """Add a period."""
        sums, missed = self.sums, self._missed
        for key, more in chosen.sums.items():
            known = sums.get(key)
            sums[key] = more if known is None else add_sums(known, more)
        if chosen.floor:
            for key in chosen.sums:
                missed[key] = missed.get(key, 0) + chosen.missed.get(key, 0) - chosen.floor
        for key, seen in chosen.seen.items():
            self.seen[key] = self._widened(self.seen[key], seen) if key in self.seen else seen
        self.rest = add_sums(self.rest, chosen.rest)
        self.others = add_sums(self.others, chosen.others)
        self.bound += chosen.floor

    def missed(self, key: Key) -> int:
        """The most that a key may have beside its sums."""
        return self.bound + self._missed.get(key, 0)

    def extremes(self, key: Key) -> AnswerRow:
        """What isn't summed of a key."""
        seen = self.seen.get(key, ())
        values = map(to_moment, seen) if self._question.bounded else seen
        return dict(zip(self._question.extremes, values, strict=False))

    def _widened(self, one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(self._question.extremes.values(), one, other, strict=True)
        return tuple(
            choose([value for value in values if value is not None] or [None]) for choose, *values in pairs
        )


type Counted = Iterable[tuple[datetime, Chosen]]
"""What was counted of a question, period by period in their order: when each begins, and what it has."""


def merge(question: Question, counted: Counted) -> Merged:
    """All periods together."""
    merged = Merged(question)
    for _, chosen in counted:
        merged.add(chosen)
    return merged


def list_scope(query: Query, scope: str, read: Callable[[Span], Counted]) -> dict[datetime | None, List]:
    """The lists of one scope, cut to the limit: one for each period (with ``grain``), or one of the whole
    time (under ``None``). ``read`` gives what was counted of the question in a time.
    """
    question, span = query.question, query.span()
    if query.compare:
        times = (merge(question, read(span)), merge(question, read(span.before)))
        return {None: _list(query, scope, times)}

    def period_of(counted: tuple[datetime, Chosen]) -> datetime | None:
        return floor(counted[0], query.grain) if query.grain else None

    return {
        period: _list(query, scope, (merge(question, its),))
        for period, its in groupby(read(span), key=period_of)
    }


def by_minutes(query: Query, span: Span, period: datetime, chosen: Chosen) -> Counted:
    """An hour's traffic, by direction and status, for each five minutes that lie in a time. A day's is in its
    first hour, as far as this can tell: where it is read as a day, that doesn't matter.
    """
    found: dict[datetime, Chosen] = {}
    for (bucket, *way), sums in sorted(chosen.sums.items()):
        moment = period + _FIVE_MINUTES * int(bucket)
        if moment < span.since or (span.until and moment >= span.until):
            continue
        its = found.setdefault(moment, Chosen({}, {}, {}, 0, 0, 0))
        key = tuple(way)
        if query.holds(dict(zip(query.question.key, key, strict=True))):
            its.sums[key] = sums
        else:
            found[moment] = replace(its, others=add_sums(its.others, sums))
    return found.items()


def _list(query: Query, scope: str, times: Sequence[Merged]) -> List:
    """The list of a scope: the keys of the present time and, in a comparison, those of the time before."""
    keys = {**times[0].sums, **times[-1].sums}
    sums = {(scope, *key): tuple(each.sums.get(key, 0) for each in times) for key in keys}
    shown = _first(query, sums)
    return List(
        {
            key: Line(sums[key], tuple(each.missed(key[1:]) for each in times), times[0].extremes(key[1:]))
            for key in shown
        },
        _total(of for key, of in sums.items() if key not in shown) or (0,) * len(times),
        tuple(each.rest for each in times),
        tuple(each.bound for each in times),
        times[0].others,
    )


def join_scopes(query: Query, found: Iterable[dict[datetime | None, List]]) -> dict[datetime | None, List]:
    """The lists of several scopes, joined period by period and cut to the limit."""
    lists: dict[datetime | None, List] = {}
    for each in found:
        for period, its in each.items():
            lists[period] = _join(query, lists[period], its) if period in lists else its
    return lists


def _join(query: Query, one: List, other: List) -> List:
    lines = one.lines | other.lines
    shown = _first(query, {key: line.sums for key, line in lines.items()})
    cut = [line.sums for key, line in lines.items() if key not in shown]
    return List(
        {key: lines[key] for key in shown},
        _total([one.cut, other.cut, *cut]),
        _total([one.rest, other.rest]),
        tuple(map(max, one.bound, other.bound)),
        add_sums(one.others, other.others),
    )


def _total(many: Iterable[tuple[Sums, ...]]) -> tuple[Sums, ...]:
    """What all of these have together, time by time."""
    return tuple(reduce(add_sums, each, 0) for each in zip(*many, strict=True))


def _first(query: Query, sums: Mapping[LineKey, tuple[Sums, ...]]) -> dict[LineKey, None]:
    """The keys that are listed, in the order that is asked for; of equal ones, in their own."""
    if not query.order:
        return dict.fromkeys(nsmallest(query.limit, sums))
    weigh = query.question.weigh(compared_by(query))

    def rank(of: tuple[Sums, ...]) -> tuple[int, ...]:
        values = [*map(weigh, of)]
        return (-abs(values[0] - values[1]),) if query.order == "Change" else tuple(map(neg, values))

    ranked = nsmallest(query.limit, ((rank(of), key) for key, of in sums.items()))
    return dict.fromkeys(key for _, key in ranked)


def compared_by(query: Query) -> str:
    """The measure that the rows are ordered by, and that a change is a change of."""
    return query.question.unit if query.order in ("", "Change") else query.order


def make_answer(
    query: Query, scopes: Sequence[AnswerRow], lists: Mapping[datetime | None, List], as_of: datetime | None
) -> Answer:
    """The answer that these lists make; ``scopes`` are the catalog's rows of the scopes that were asked."""
    question, span = query.question, query.span()
    none: tuple[Sums, ...] = (0, 0) if query.compare else (0,)
    shown, cut, rest = none, none, none
    others = 0
    rows: list[AnswerRow] = []
    for period, its in sorted(lists.items(), key=lambda each: each[0] or span.since):
        left = its.cut if query.conditions else _total([its.cut, its.rest])
        for rank, (key, line) in enumerate(its.lines.items(), start=1):
            rows.append(_row(query, period, rank, key, line))
        if any(left):
            nobody = (None,) * (1 + len(question.key))
            rows.append(_row(query, period, 0, nobody, Line(left, (0, 0))))
        shown = _total([shown, *(line.sums for line in its.lines.values())])
        cut, rest = _total([cut, left]), _total([rest, its.rest])
        others = add_sums(others, its.others)
    total = _total([shown, cut])
    missed = max((its.bound[0] for its in lists.values()), default=0)
    return Answer(
        question=question,
        scopes=tuple(scope["Scope"] for scope in scopes),
        since=span.since,
        until=span.end,
        columns=_columns(query),
        rows=rows,
        total=question.figures(total[0]),
        shown=question.figures(shown[0]),
        rest=question.figures(cut[0]),
        unfiltered=question.figures(rest[0]) if query.conditions else None,
        before=question.figures(total[1]) if query.compare else None,
        missed=missed,
        unit=question.unit,
        as_of=as_of,
        notes=(*_notes(query, scopes, rest[0], missed, as_of), *_explanations(question, rows)),
        why_empty=""
        if any(row["IsRest"] is False for row in rows)
        else _why_empty(query, scopes, reduce(add_sums, (total[0], rest[0], others)), as_of),
    )


def _columns(query: Query) -> tuple[str, ...]:
    question = query.question
    return (
        "Scope",
        *(["Period"] if query.grain else []),
        *(["Rank"] if question.ranked_by else []),
        *question.key,
        *question.beside,
        *question.measures,
        *question.extremes,
        *(["Missed"] if question.bounded else []),
        "IsRest",
        *([BEFORE + name for name in (*question.measures, "Missed")] if query.compare else []),
        *([BEFORE, "Change"] if query.compare else []),
    )


def _row(query: Query, period: datetime | None, rank: int, key: LineKey, line: Line) -> AnswerRow:
    question = query.question
    row = {
        "Scope": key[0],
        "Period": period,
        "Rank": rank,
        **dict(zip(question.key, key[1:], strict=True)),
        **question.figures(line.sums[0]),
        **line.extremes,
        "Missed": line.missed[0],
        "IsRest": rank == 0,
    }
    if query.compare:
        now, before = map(question.weigh(compared_by(query)), line.sums)
        row |= {BEFORE + name: value for name, value in question.figures(line.sums[1]).items()}
        row |= {BEFORE + "Missed": line.missed[1], BEFORE: before, "Change": now - before}
    return {name: row.get(name) for name in _columns(query)}


def _notes(
    query: Query, scopes: Sequence[AnswerRow], dropped: Sums, missed: int, as_of: datetime | None
) -> Iterator[str]:
    question = query.question
    tuples = figure(dropped, question.orders["Tuples"]) if question.bounded else 0
    if tuples:
        filtered = " and couldn't be filtered: some of them may belong here, too" if query.conditions else ""
        yield (
            f"{tuples:,} tuples are of keys that were dropped in counting{filtered}; "
            f"of no key more than {missed:,} ({question.unit})"
        )
        if compared_by(query) != question.unit:
            yield f"keys are kept by {question.unit}: by {compared_by(query)}, larger ones may have no row"
    if question.bounded and {"nsg", "vnet"} <= {scope["Kind"] for scope in scopes}:
        yield "NSG logs and VNet logs of the same machines record the same traffic: it may be in here twice"
    if as_of and as_of < query.span().end - _FRESH:
        yield f"nothing is counted after {as_of:%Y-%m-%d %H:%M:%SZ}"


def _explanations(question: Question, rows: Iterable[AnswerRow]) -> Iterator[str]:
    """What the rows are of, where their names don't tell."""
    explain = {"rules": explain_rules, "encryption": explain_codes}.get(question.name)
    return explain(row for row in rows if not row["IsRest"]) if explain else iter(())


def _why_empty(query: Query, scopes: Sequence[AnswerRow], everything: Sums, as_of: datetime | None) -> str:
    """Why no key has a row: nothing there yet, nothing there any more, or nothing that fits."""
    span = query.span()
    if not scopes:
        return (
            "nothing has been counted yet: run `flowtally sweep` and `flowtally rollup`, "
            "or wait for the function app"
        )
    if query.conditions and (tuples := figure(everything, query.question.orders["Tuples"])):
        asked = ", ".join(f"{each.name} {each.text}" for each in query.conditions)
        return f"nothing fulfils {asked}, of {tuples:,} tuples that this question is about"
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

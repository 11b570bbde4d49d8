"""Rows of a view → the answer to a question (pure).

Theory of operation
-------------------
A view's rows of one period say of each key what it has, and by how much that may be too little (``Missed``).
Everything without a row is in the rest, exactly. Summed over periods, a key's figures are the sum of its
rows'. In a period where it has no row, it may have had some all the same: no more than is in that period's
rest, and no more than the least of the rows kept there may have (a key with more would have been kept
instead). That bound is added to what it has missed. So the laws of one period hold for all together, for
every measure and, as to ``Missed``, in the unit that the view is ranked by:

1. rows + rest = total, exactly;
2. a row ≤ its key's truth ≤ the row + ``Missed``;
3. no key without a row has more than ``missed`` of the answer.

Conditions can be held against rows only, not against what is in the rest. So with conditions, ``total`` is of
the rows that fulfil them, and the view's rest stands by itself as ``unfiltered``: the truth is between
``total`` and ``total`` + ``unfiltered``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from shared.tally.measures import Figures, add_figures
from shared.times import HOUR
from shared.views.explanations import explain_codes, explain_rules
from shared.views.query import Query, Range, Span
from shared.views.questions import Question

type AnswerRow = dict[str, Any]
type LineKey = tuple[Any, ...]

_FRESH = timedelta(hours=1)

BEFORE = "Before"
"""Columns that begin with this are those of the time before; by itself, what a change is a change from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question: flat rows, and what they leave out.

    - ``columns``: the columns of ``rows``, in order. A row with ``IsRest`` true stands for all that has no
      row in its list, so that the rows of a list are its total.
    - ``total`` = ``shown`` + ``rest``, for every measure; ``shown`` is of the rows that stand for a key.
    - ``missed``: the most that a key may have which none of the periods has a row of, in ``unit``.
    - ``unfiltered``: with conditions, what couldn't be held against them, beside ``total``; else ``None``.
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
    """What a list has of one key: its measures, how much they may lack, and what isn't summed.

    In a comparison the time before stands behind the present one: twice the measures, two numbers of
    ``missed``.
    """

    figures: Figures
    missed: list[int]
    extremes: AnswerRow = field(default_factory=dict)


@dataclass(slots=True)
class List:
    """A list in the making: ``cut`` is what lines had that were cut off, ``rest`` what never had a line,
    ``bound`` the most that a key without a line may have, ``everything`` what the view holds, whatever the
    conditions.
    """

    lines: dict[LineKey, Line]
    cut: Figures
    rest: Figures
    bound: list[int]
    everything: Figures


def list_scope(
    query: Query, scope: str, read: Callable[[Range], Iterable[AnswerRow]]
) -> dict[datetime | None, List]:
    """The lists of one scope, cut to the limit: one for each period (with ``grain``), or one of the whole
    time (under ``None``). ``read`` gives the rows of a range of periods, in their order.
    """
    grains = [query.grain] if query.grain else query.question.grains

    def lists_of(span: Span) -> dict[datetime | None, List]:
        return _list_periods(query, scope, chain.from_iterable(map(read, span.ranges(grains))))

    lists = lists_of(query.span())
    if query.compare:
        before, none = lists_of(query.span().before), nothing(query.question)
        lists = {None: compare(lists.get(None, none), before.get(None, none))}
    return {period: cut(its, query) for period, its in lists.items()}


def join_scopes(query: Query, found: Iterable[dict[datetime | None, List]]) -> dict[datetime | None, List]:
    """The lists of several scopes, joined period by period and cut to the limit."""
    lists: dict[datetime | None, List] = {}
    for each in found:
        for period, its in each.items():
            lists[period] = cut(join(lists[period], its), query) if period in lists else its
    return lists


def _list_periods(query: Query, scope: str, rows: Iterable[AnswerRow]) -> dict[datetime | None, List]:
    lists: dict[datetime | None, List] = {}
    for (_, period), group in groupby(rows, key=itemgetter("Grain", "Period")):
        its = lists.setdefault(period if query.grain else None, nothing(query.question))
        _add_period(its, query, scope, group)
    for its in lists.values():
        for line in its.lines.values():
            line.missed[0] += its.bound[0]
    return lists


def _add_period(its: List, query: Query, scope: str, rows: Iterable[AnswerRow]) -> None:
    """Add one period to a list. What a line has missed is counted less ``bound`` here, so that the periods
    in which it has no row need no visit.
    """
    question = query.question
    weigh = question.weigh(question.unit)
    rest = [0] * len(question.measures)
    named = []
    for row in rows:
        figures = [row.get(name, 0) for name in question.measures]
        if not any(figures):  # its place is kept in the table, but there is nothing to tell
            continue
        add_figures(its.everything, figures)
        if row.get("IsRest"):
            add_figures(rest, figures)
        else:
            named.append((row, figures, row.get("Missed", 0)))
    add_figures(its.rest, rest)
    unnamed = weigh(rest)
    bound = min([unnamed, *(weigh(figures) + missed for _, figures, missed in named)])
    its.bound[0] += bound
    for row, figures, missed in named:
        if query.holds(row):
            key = (scope, *(row.get(name) for name in question.key))
            line = its.lines.setdefault(key, Line([0] * len(figures), [0]))
            add_figures(line.figures, figures)
            line.missed[0] += min(missed, unnamed) - bound
            for name, choose in question.extremes.items():
                values = [value for value in (line.extremes.get(name), row.get(name)) if value is not None]
                if values:
                    line.extremes[name] = choose(values)


def compare(now: List, before: List) -> List:
    """Both times side by side, in the same lines: keys of either have one."""
    width = len(now.rest)
    lines = {}
    for key in now.lines.keys() | before.lines.keys():
        one, other = (its.lines.get(key) or Line([0] * width, [*its.bound]) for its in (now, before))
        lines[key] = Line(one.figures + other.figures, one.missed + other.missed, one.extremes)
    return List(
        lines,
        now.cut + before.cut,
        now.rest + before.rest,
        now.bound + before.bound,
        now.everything + before.everything,
    )


def nothing(question: Question) -> List:
    """A list of nothing."""
    width = len(question.measures)
    return List({}, [0] * width, [0] * width, [0], [0] * width)


def join(one: List, other: List) -> List:
    """A list of two scopes' lines."""
    for name in ("cut", "rest", "everything"):
        add_figures(getattr(one, name), getattr(other, name))
    bound = [*map(max, one.bound, other.bound)]
    return List(one.lines | other.lines, one.cut, one.rest, bound, one.everything)


def cut(its: List, query: Query) -> List:
    """Put the lines in the order that is asked for, and cut off those beyond the limit."""
    keys = sorted(its.lines)
    if query.order:
        weigh = _weigher(query)
        keys.sort(key=lambda key: weigh(its.lines[key].figures), reverse=True)
    for key in keys[query.limit :]:
        add_figures(its.cut, its.lines[key].figures)
    return List(
        {key: its.lines[key] for key in keys[: query.limit]}, its.cut, its.rest, its.bound, its.everything
    )


def _weigher(query: Query) -> Callable[[Figures], tuple[int, int]]:
    weigh = query.question.weigh(compared_by(query))
    width = len(query.question.measures)
    if query.order == "Change":
        return lambda figures: (abs(weigh(figures) - weigh(figures[width:])), 0)
    return lambda figures: (weigh(figures), weigh(figures[width:]) if query.compare else 0)


def compared_by(query: Query) -> str:
    """The measure that the rows are ordered by, and that a change is a change of."""
    return query.question.unit if query.order in ("", "Change") else query.order


def make_answer(
    query: Query, scopes: Sequence[AnswerRow], lists: Mapping[datetime | None, List], as_of: datetime | None
) -> Answer:
    """The answer that these lists make; ``scopes`` are the catalog's rows of the scopes that were asked."""
    question, span = query.question, query.span()
    width = len(question.measures) * (2 if query.compare else 1)
    shown, rest, unnamed, everything = ([0] * width for _ in range(4))
    rows: list[AnswerRow] = []
    for period, its in sorted(lists.items(), key=lambda each: each[0] or span.since):
        left = [*its.cut]
        if not query.conditions:
            add_figures(left, its.rest)
        for rank, (key, line) in enumerate(its.lines.items(), start=1):
            add_figures(shown, line.figures)
            rows.append(_row(query, period, rank, key, line))
        if any(left):
            nobody = (None,) * (1 + len(question.key))
            rows.append(_row(query, period, 0, nobody, Line(left, [0, 0])))
        for into, figures in ((rest, left), (unnamed, its.rest), (everything, its.everything)):
            add_figures(into, figures)
    total = [one + other for one, other in zip(shown, rest, strict=True)]
    missed = max((its.bound[0] for its in lists.values()), default=0)
    return Answer(
        question=question,
        scopes=tuple(scope["Scope"] for scope in scopes),
        since=span.since,
        until=span.end,
        columns=_columns(query),
        rows=rows,
        total=_named(question, total),
        shown=_named(question, shown),
        rest=_named(question, rest),
        unfiltered=_named(question, unnamed) if query.conditions else None,
        before=_named(question, total[len(question.measures) :]) if query.compare else None,
        missed=missed,
        unit=question.unit,
        as_of=as_of,
        notes=(*_notes(query, scopes, unnamed, missed, as_of), *_explanations(question, rows)),
        why_empty=""
        if any(row["IsRest"] is False for row in rows)
        else _why_empty(query, scopes, everything, as_of),
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
    width = len(question.measures)
    row = {
        "Scope": key[0],
        "Period": period,
        "Rank": rank,
        **dict(zip(question.key, key[1:], strict=True)),
        **_named(question, line.figures),
        **line.extremes,
        "Missed": line.missed[0],
        "IsRest": rank == 0,
    }
    if query.compare:
        weigh = question.weigh(compared_by(query))
        before = line.figures[width:]
        row |= {BEFORE + name: value for name, value in _named(question, before).items()}
        row |= {BEFORE + "Missed": line.missed[1], BEFORE: weigh(before)}
        row["Change"] = weigh(line.figures) - weigh(before)
    return {name: row.get(name) for name in _columns(query)}


def _named(question: Question, figures: Figures) -> dict[str, int]:
    return dict(zip(question.measures, figures, strict=False))


def _notes(
    query: Query, scopes: Sequence[AnswerRow], unnamed: Figures, missed: int, as_of: datetime | None
) -> Iterator[str]:
    question = query.question
    tuples = question.counted
    if query.conditions and unnamed[tuples]:
        yield (
            f"{unnamed[tuples]:,} tuples have no row of their own and can't be filtered: "
            "some of them may belong here, too"
        )
    if unnamed[tuples] and compared_by(query) != question.unit:
        yield f"rows are kept by {question.unit}: by {compared_by(query)}, larger ones may have no row"
    if missed and question.ranked_by:
        yield f"no key without a row has more than {missed:,} ({question.unit})"
    if question.bounded and {"nsg", "vnet"} <= {scope["Kind"] for scope in scopes}:
        yield "NSG logs and VNet logs of the same machines record the same traffic: it may be in here twice"
    if as_of and as_of < query.span().end - _FRESH:
        yield f"nothing is counted after {as_of:%Y-%m-%d %H:%M:%SZ}"


def _explanations(question: Question, rows: Iterable[AnswerRow]) -> Iterator[str]:
    """What the rows are of, where their names don't tell."""
    explain = {"rules": explain_rules, "encryption": explain_codes}.get(question.name)
    return explain(row for row in rows if not row["IsRest"]) if explain else iter(())


def _why_empty(query: Query, scopes: Sequence[AnswerRow], everything: Figures, as_of: datetime | None) -> str:
    """Why no key has a row: nothing there yet, nothing there any more, or nothing that fits."""
    span = query.span()
    if not scopes:
        return (
            "nothing has been counted yet: run `flowtally sweep` and `flowtally rollup`, "
            "or wait for the function app"
        )
    tuples = everything[query.question.counted]
    if tuples and query.conditions:
        asked = ", ".join(f"{each.name} {each.text}" for each in query.conditions)
        return f"no row fulfils {asked}, of {tuples:,} tuples that this question is about"
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

"""Lists of what was counted → the answer to a question, with its totals and notes (pure).

NSG logs and VNet logs record the same traffic: they are never added up. Each kind has lists of its own (see
``merged``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from shared.flowlog.blob_name import as_written
from shared.tally.measures import Sums, add_sums, figure
from shared.times import HOUR
from shared.views.explanations import explain_codes, explain_rules
from shared.views.query import Query
from shared.views.questions import Question

type AnswerRow = dict[str, Any]
type LineKey = tuple[Any, ...]
type ListKey = tuple[str, datetime | None]
"""The kind of logs that a list is of, and its period: ``None`` for a list of the whole time."""

_FRESH = timedelta(hours=1)

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


def _total(many: Iterable[tuple[Sums, ...]]) -> tuple[Sums, ...]:
    """What all of these have together, time by time."""
    return tuple(reduce(add_sums, each, 0) for each in zip(*many, strict=True))


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

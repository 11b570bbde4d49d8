"""Asking: from a query to its answer, over the merged counts of hours and days.

All scopes of a kind are read together, from the counts that the rollup has merged of them; some of them side
by side. ``listing`` reads and merges; here stands what is asked of whom, and what has to be said beside it:
how fresh it is, what was pruned, what the logs leave out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from shared.counts.health import Health
from shared.counts.index import is_all
from shared.counts.store import Counts
from shared.errors import BadRequest
from shared.ledger.store import Ledger, Posted
from shared.record_types import first_hour_of_day, notice_left_out, to_lines
from shared.tally.packing import TRAFFIC
from shared.tally.states import States
from shared.times import DAY, HOUR
from shared.views.answers import Answer, AnswerRow, List, ListKey, make_answer
from shared.views.formats import KIND_NAMES
from shared.views.interfaces import say_elsewhere
from shared.views.query import Query, floor
from shared.views.scopes import (
    MOST_SIDE_BY_SIDE,
    Source,
    find_scopes,
    find_sources,
    kept_from_of,
    lasting_of,
)
from shared.workers import Workers

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
    # They import numpy: the app starts without.
    from shared.views.listing import WORKERS, Known, Listing  # noqa: PLC0415
    from shared.views.reading import Plans  # noqa: PLC0415

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
        for source in find_sources(query, kind, scopes, catalog, of_all.get(kind))
    ]
    with (
        Workers(WORKERS, thread_name_prefix="ask") as pool,
        Workers(len(asked), thread_name_prefix="question") as questions,
    ):
        of_day = any(_may_say_left_out(form) for forms in asked for form in forms)
        looked = pool.map(partial(_look_at_index, counts, query.span().end, of_day=of_day), sources)
        plans = Plans(counts)

        def list_forms(forms: Sequence[Query]) -> list[tuple[dict[ListKey, List], int]]:
            known: Known | None = {} if len(forms) > 1 else None
            return [
                Listing(counts, ledger, form, sources, pool, most_rows, plans, known).lists()
                for form in forms
            ]

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


# How fresh it is, and what the logs leave out

_BEHIND = timedelta(minutes=15)
"""So much later the ledger's last record may be: the rollup runs every five minutes."""


@dataclass(frozen=True, slots=True)
class _Recent:
    """What the index says of a source: the time of the last record that was counted; and, if that was asked
    for, of the hours of the last day of the time asked for the tuples by state.
    """

    last_record: datetime | None
    states: Mapping[datetime, States]


def _look_at_index(counts: Counts, end: datetime, source: Source, *, of_day: bool) -> _Recent:
    newest = source.last - HOUR, source.last  # the last hour's blobs may be without a record
    ranges = [newest]
    if of_day and source.kind == "vnet":
        day = first_hour_of_day(end), floor(end, "hour")
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


def _may_say_left_out(query: Query) -> bool:
    return query.question.bounded or query.question.reads == TRAFFIC


def _say_left_out(query: Query, sources: Sequence[Source], recent: Mapping[str, _Recent]) -> Iterator[str]:
    """What VNet flow logs seem to leave out. That nothing is denied matters where denials are asked for."""
    span, question = query.span(), query.question
    if not _may_say_left_out(query):
        return
    counted = {each.name: recent[each.name].states for each in sources if each.kind == "vnet"}
    notices = notice_left_out(counted, span.whole_hours.since, span.end, query.now)
    yield from to_lines([each for each in notices if each.to_do or question.unit == "FlowsDenied"])


def _find_pruned(query: Query, sources: Sequence[Source], scopes: Sequence[AnswerRow]) -> datetime | None:
    """Before when what was counted of the time asked for was pruned, of any of these sources; ``None`` if
    none was. The index has it all the same.
    """
    if query.question.in_index:
        return None
    since = min([query.span().since, *([query.span().before.since] if query.compare else [])])
    first = min((row["FirstPeriod"] for row in scopes), default=since)
    days = [each.pruned_before for each in sources if each.pruned_before]
    return max((day for day in days if since < day and first < day), default=None)


def _as_kept(query: Query, scopes: Sequence[AnswerRow], sources: Sequence[Source]) -> Sequence[AnswerRow]:
    """The catalog's rows with the first hour that there can be anything of, where an answer is read."""
    if query.question.in_index:
        return scopes
    kept = {scope: source.kept_from for source in sources for scope in source.scopes if source.pruned_before}
    return [
        {**row, "FirstPeriod": max(kept_from_of(row), kept.get(row["Scope"], kept_from_of(row)))}
        for row in scopes
    ]


def _say_pruned(sources: Sequence[Source], pruned: datetime | None) -> Iterator[str]:
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


def _say_unmerged(query: Query, sources: Sequence[Source], scopes: Sequence[AnswerRow]) -> Iterator[str]:
    """That all scopes of a kind are read together though not all that they have is merged: they are too many
    to be read side by side.
    """
    span = query.span()
    for source in sources:
        first, last = lasting_of([row for row in scopes if row["Kind"] == source.kind])
        lacks_first = span.since < source.first and first < source.first
        lacks_last = source.last + HOUR < span.end and source.last < last
        if is_all(source.name) and (lacks_first or lacks_last):
            yield (
                f"all {KIND_NAMES[source.kind]} flow logs together are merged from "
                f"{source.first:%Y-%m-%d %H:%MZ} to {source.last + HOUR:%Y-%m-%d %H:%MZ}: what some of them "
                "have before or after it may be missing here; `flowtally rollup` merges it"
            )


def _say_behind(
    ledger: Ledger, query: Query, sources: Sequence[Source], as_of: datetime | None, pool: Workers
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

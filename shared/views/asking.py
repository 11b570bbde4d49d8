"""Asking: from a query to its answer, over the merged counts of hours and days.

Days are read as such where they have been made, all else as hours: a range query each, in the scope's own
partition. What isn't counted by keys, health and rejects, stands in the index. Scopes are asked side by side;
what doesn't fulfil the conditions is never unpacked, and what is beyond the limit of each is let go at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.counts.health import HEALTH_MEASURES, Health
from shared.counts.index import ALL_SCOPES, Indexed, Period
from shared.counts.store import Counts, refuse_gone
from shared.errors import BadRequest
from shared.tally.measures import MEASURES, Sums, to_sums
from shared.tally.packing import TRAFFIC, Chosen
from shared.times import HOUR
from shared.views.answers import (
    Answer,
    AnswerRow,
    Counted,
    List,
    by_minutes,
    join_scopes,
    list_scope,
    make_answer,
)
from shared.views.interfaces import (
    list_addresses,
    of_addresses,
    put_addresses,
    say_elsewhere,
    with_addresses_known,
)
from shared.views.query import LENGTHS, Query, Range, Span, nearest
from shared.views.questions import QUESTIONS

WORKERS = 16
"""Scopes asked at the same time."""


def ask(counts: Counts, query: Query) -> Answer:
    """Answer a question. ``BadRequest`` if there is no such scope, ``Unavailable`` if storage fails,
    ``MalformedInput`` names the row that is damaged or gone, and what mends it.
    """
    catalog = counts.catalog()
    scopes = _scopes_of(query, catalog)
    everyone = len(scopes) == len(catalog)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="ask") as pool:
        freshness = pool.map(
            lambda scope: _last_record(counts, scope),
            [{"Scope": ALL_SCOPES, "LastPeriod": max(scope["LastPeriod"] for scope in scopes)}]
            if everyone and scopes
            else scopes,
        )
        elsewhere: list[int] = []
        if query.question.name in _OF_INDEX:
            lists = join_scopes(query, _ask_index(counts, query, scopes) if scopes else ())
        else:
            lists = join_scopes(
                query, pool.map(lambda scope: _ask_scope(counts, query, scope["Scope"], elsewhere), scopes)
            )
        as_of = max((moment for moment in freshness if moment), default=None)
    answer = make_answer(query, scopes, lists, as_of)
    return replace(answer, notes=(*answer.notes, *say_elsewhere(query, sum(elsewhere))))


def find_scopes(catalog: Mapping[str, AnswerRow], wanted: Sequence[str]) -> list[AnswerRow]:
    """The catalog's rows of the scopes that are wanted, each by its key, its name or a part of either; all
    if none is wanted. ``BadRequest`` says which names are near, if one is unknown.
    """
    if not wanted:
        return [*catalog.values()]
    found: dict[str, AnswerRow] = {}
    for text in wanted:
        lower = text.lower()
        fits = {key: row for key, row in catalog.items() if lower in (key, row["Name"].lower())} or {
            key: row for key, row in catalog.items() if lower in key or lower in row["Name"].lower()
        }
        found |= fits
        if not fits:
            known = (
                nearest(text, {row["Name"] for row in catalog.values()}) if catalog else "there is none yet"
            )
            raise BadRequest(f"{text!r} is none; {known}", "scope")
    return [row for key, row in catalog.items() if key in found]


def _scopes_of(query: Query, catalog: Mapping[str, AnswerRow]) -> list[AnswerRow]:
    if ALL_SCOPES not in query.scopes:
        return find_scopes(catalog, query.scopes)
    if query.question.name != "health" or len(query.scopes) > 1:
        raise BadRequest(f"{ALL_SCOPES!r} is for health alone; leave it out to see each scope", "scope")
    if not catalog:
        return []
    first = min(row["FirstPeriod"] for row in catalog.values())
    last = max(row["LastPeriod"] for row in catalog.values())
    return [{"Scope": ALL_SCOPES, "Kind": "", "FirstPeriod": first, "LastPeriod": last}]


def _ask_scope(counts: Counts, query: Query, scope: str, elsewhere: list[int]) -> dict[datetime | None, List]:
    """The lists of one scope. To ``elsewhere`` goes how many tuples are at addresses that were dropped, if
    addresses are asked for.
    """
    if not query.question.beside:
        return list_scope(query, scope, lambda span: _read(counts, query, scope, span))
    everything = of_addresses(query)
    addresses = list_addresses(_read(counts, everything, scope, everything.span()))
    elsewhere.append(addresses.elsewhere)
    known = with_addresses_known(query, addresses)
    lists = list_scope(known, scope, lambda span: _read(counts, known, scope, span))
    put_addresses(lists, query, addresses)
    return lists


def _read(counts: Counts, query: Query, scope: str, span: Span) -> Counted:
    """What was counted of a question in a time, period by period. What heads say that there is must be there:
    they are read before it, and parts don't go by themselves.
    """
    name = query.question.name
    conditions = () if name == TRAFFIC else query.conditions
    wanted = [(each.columns, each.test, each.excludes) for each in conditions]
    days = span.days() if query.grain in (None, "day") else None
    made = _has_part(counts, name, scope, days) if days else {}
    for each in span.ranges(made):
        has_part = made if each.grain == "day" else _has_part(counts, name, scope, each)
        gone = {begin for begin, has in has_part.items() if has and each.since <= begin < each.until}
        for period, chosen in counts.choose(scope, name, *_ends(each), wanted):
            gone.discard(period.begin)
            if name == TRAFFIC:
                yield from by_minutes(query, span, period.begin, chosen)
            else:
                yield period.begin, chosen
        if gone:
            raise refuse_gone(scope, name, Period(min(gone), each.grain))


def _has_part(counts: Counts, name: str, scope: str, periods: Range) -> dict[datetime, bool]:
    """Of the periods that have been made, whether they have anything of a question."""
    return {begin: name in head.parts for begin, head in counts.heads(scope, *_ends(periods))}


def _ends(periods: Range) -> tuple[Period, Period]:
    """The first and the last of them."""
    grain = periods.grain
    return Period(periods.since, grain), Period(periods.until - LENGTHS[grain], grain)


# What stands in the index


def _of_health(said: Indexed) -> Chosen:
    health = said.health or Health()
    columns = health.columns()
    sums = _to_sums(columns[name] for name in HEALTH_MEASURES)
    seen = tuple(columns.get(name) for name in QUESTIONS["health"].extremes)
    return Chosen({(): sums}, {}, {(): seen}, 0, 0, 0) if sums else _NOTHING


def _of_rejects(said: Indexed) -> Chosen:
    return Chosen(
        {(str(reason),): _to_sums(total) for reason, total in said.rejects.items()}, {}, {}, 0, 0, 0
    )


_OF_INDEX: Mapping[str, Callable[[Indexed], Chosen]] = {"health": _of_health, "rejects": _of_rejects}
_NOTHING = Chosen({}, {}, {}, 0, 0, 0)


def _to_sums(figures: Iterable[int]) -> Sums:
    """Figures as one number, those of measures that there are fewer of."""
    given = [*figures]
    return to_sums([*given, *[0] * (len(MEASURES) - len(given))])


def _ask_index(
    counts: Counts, query: Query, scopes: Sequence[Mapping[str, Any]]
) -> Iterator[dict[datetime | None, List]]:
    """The lists of each scope: the index has them side by side, so it is read once for all."""
    only = scopes[0]["Scope"] if len(scopes) == 1 else ""
    of_hour = _OF_INDEX[query.question.name]
    times = [query.span(), query.span().before] if query.compare else [query.span()]
    found: dict[Span, dict[str, list[tuple[datetime, Chosen]]]] = {}
    for span in times:
        by_scope = found[span] = {}
        hours = span.whole_hours
        for scope, hour, said in counts.indexed_hours(hours.since, hours.end - HOUR, only):
            by_scope.setdefault(scope, []).append((hour, of_hour(said)))

    def read(scope: str) -> Callable[[Span], Counted]:
        return lambda span: found[span].get(scope, [])

    for each in scopes:
        yield list_scope(query, each["Scope"], read(each["Scope"]))


def _last_record(counts: Counts, scope: Mapping[str, Any]) -> datetime | None:
    """The time of the last record of a scope that was counted: its last hour's blobs may be without one."""
    last = scope["LastPeriod"]
    said = (said.health for _, _, said in counts.indexed_hours(last - HOUR, last, scope["Scope"]))
    times = (health.last_record_time for health in said if health)
    return max((moment for moment in times if moment), default=None)

"""Asking: from a query to its answer, over the stored views.

Each scope's rows are one range in each partition that its periods are in, never a scan. Scopes are asked side
by side, and what is beyond the limit of each is let go at once, so that memory doesn't grow with the rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.counts.index import ALL_SCOPES
from shared.counts.store import Counts
from shared.errors import BadRequest
from shared.times import HOUR
from shared.views.answers import Answer, List, join_scopes, list_scope, make_answer
from shared.views.interfaces import list_addresses, put_addresses, say_elsewhere, with_addresses_known
from shared.views.query import Query, Range, nearest
from shared.views.rows import ViewRow
from shared.views.store import Views

WORKERS = 16
"""Scopes asked at the same time."""


def ask(counts: Counts, views: Views, query: Query) -> Answer:
    """Answer a question. ``BadRequest`` if there is no such scope, ``Unavailable`` if storage fails."""
    catalog = counts.catalog()
    scopes = _scopes_of(query, catalog)
    everyone = len(scopes) == len(catalog)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="ask") as pool:
        freshness = pool.map(
            lambda scope: _last_record(views, scope),
            [{"Scope": ALL_SCOPES, "LastPeriod": max(scope["LastPeriod"] for scope in scopes)}]
            if everyone and scopes
            else scopes,
        )
        elsewhere: list[int] = []
        lists = join_scopes(
            query, pool.map(lambda scope: _ask_scope(views, query, scope["Scope"], elsewhere), scopes)
        )
        as_of = max((moment for moment in freshness if moment), default=None)
    answer = make_answer(query, scopes, lists, as_of)
    return replace(answer, notes=(*answer.notes, *say_elsewhere(query, sum(elsewhere))))


def find_scopes(catalog: Mapping[str, ViewRow], wanted: Sequence[str]) -> list[ViewRow]:
    """The catalog's rows of the scopes that are wanted, each by its key, its name or a part of either; all
    if none is wanted. ``BadRequest`` says which names are near, if one is unknown.
    """
    if not wanted:
        return [*catalog.values()]
    found: dict[str, ViewRow] = {}
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


def _scopes_of(query: Query, catalog: Mapping[str, ViewRow]) -> list[ViewRow]:
    if ALL_SCOPES not in query.scopes:
        return find_scopes(catalog, query.scopes)
    if query.question.name != "health" or len(query.scopes) > 1:
        raise BadRequest(f"{ALL_SCOPES!r} is for health alone; leave it out to see each scope", "scope")
    if not catalog:
        return []
    first = min(row["FirstPeriod"] for row in catalog.values())
    last = max(row["LastPeriod"] for row in catalog.values())
    return [{"Scope": ALL_SCOPES, "Kind": "", "FirstPeriod": first, "LastPeriod": last}]


def _ask_scope(views: Views, query: Query, scope: str, elsewhere: list[int]) -> dict[datetime | None, List]:
    """The lists of one scope. To ``elsewhere`` goes how many tuples are at addresses that have no row, if
    addresses are asked for.
    """

    def read(view: str) -> Callable[[Range], Iterable[ViewRow]]:
        return lambda each: views.rows(scope, view, each.grain, each.since, each.until)

    if not query.question.beside:
        return list_scope(query, scope, read(query.question.name))
    addresses = list_addresses(query, scope, read("addresses"))
    elsewhere.append(addresses.elsewhere)
    lists = list_scope(with_addresses_known(query, addresses), scope, read(query.question.name))
    put_addresses(lists, query, addresses)
    return lists


def _last_record(views: Views, scope: Mapping[str, Any]) -> datetime | None:
    """The time of the last record of a scope that was counted: its last hour's blobs may be without one."""
    last = scope["LastPeriod"]
    rows = views.rows(scope["Scope"], "health", "hour", last - HOUR, last + HOUR)
    return max((row["LastRecordTime"] for row in rows if "LastRecordTime" in row), default=None)

"""Scopes by their names, and where their counts are read: each by itself, or all of a kind together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from unicodedata import normalize
from urllib.parse import unquote

from shared.counts.index import all_of
from shared.errors import BadRequest
from shared.flowlog.blob_name import readable
from shared.views.answers import AnswerRow
from shared.views.query import Query, nearest

MOST_SIDE_BY_SIDE = 50
"""Scopes that are read side by side at the most."""


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
class Source:
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


def find_sources(
    query: Query,
    kind: str,
    scopes: Sequence[AnswerRow],
    catalog: Mapping[str, AnswerRow],
    of_all: AnswerRow | None,
) -> list[Source]:
    """Where the counts of these scopes of a kind are read: all that there are are read together, if all of
    them have been merged, or if they are too many to be read side by side.
    """
    its = [row for row in scopes if row["Kind"] == kind]
    everyone = len(its) == sum(row["Kind"] == kind for row in catalog.values())
    if everyone and of_all and len(its) > 1 and not query.by_scope:
        first, last = lasting_of(its)
        is_merged = (
            of_all["FirstPeriod"] <= first and last <= of_all["LastPeriod"] and of_all["Scopes"] >= len(its)
        )
        if is_merged or len(its) > MOST_SIDE_BY_SIDE:
            names = tuple(row["Scope"] for row in its)
            began = frozenset(kept_from_of(row) for row in its)
            times = of_all["FirstPeriod"], of_all["LastPeriod"]
            return [Source(all_of(kind), kind, names, *times, began, of_all.get("PrunedBefore"))]
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
        Source(
            row["Scope"],
            kind,
            (row["Scope"],),
            row["FirstPeriod"],
            row["LastPeriod"],
            frozenset([kept_from_of(row)]),
            row.get("PrunedBefore"),
        )
        for row in its
    ]


def kept_from_of(scope: AnswerRow) -> datetime:
    """The first hour of which there can be anything, by a scope's row of the catalog."""
    first: datetime = scope["FirstPeriod"]
    pruned_before: datetime = scope.get("PrunedBefore", first)
    return max(first, pruned_before)


def lasting_of(scopes: Sequence[AnswerRow]) -> tuple[datetime, datetime]:
    """The first and the last hour that any of these scopes has."""
    return min(row["FirstPeriod"] for row in scopes), max(row["LastPeriod"] for row in scopes)

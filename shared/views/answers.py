"""Answers to questions: rows of a view, what they leave out, and how fresh they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from shared.errors import BadRequest
from shared.tally.measures import MEASURES, Figures, add_figures, no_figures
from shared.views.questions import HEALTH_COLUMNS, Grain, Question
from shared.views.rows import ViewRow
from shared.views.store import Views


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows with the columns to show; ``total`` of everything that the view counts in the periods asked for,
    ``shown`` of the rows that stand for one key, ``rest`` of what has no row of its own: shown + rest =
    total, for every measure. ``as_of`` is the time of the last record that was counted.
    """

    columns: tuple[str, ...]
    rows: list[ViewRow]
    total: dict[str, int] | None = None
    shown: dict[str, int] | None = None
    rest: dict[str, int] | None = None
    as_of: datetime | None = None


def find_scopes(catalog: Iterable[ViewRow], wanted: str | None) -> list[ViewRow]:
    """The catalog's rows for a scope, given as its key, its name or a part of either; all for ``None``.

    ``BadRequest`` lists what there is, if nothing fits.
    """
    rows = [*catalog]
    if wanted is None:
        return rows
    text = wanted.lower()
    for fits in (
        [row for row in rows if text in (row["Scope"], row["Name"].lower())],
        [row for row in rows if text in row["Scope"] or text in row["Name"].lower()],
    ):
        if fits:
            return fits
    known = ", ".join(sorted(row["Name"] for row in rows)) or "none yet: has `flowtally rollup` been run?"
    raise BadRequest(f"no scope is called {wanted!r}; there are: {known}")


def ask(
    views: Views,
    question: Question,
    scopes: list[str],
    grain: Grain,
    since: datetime,
    until: datetime,
    *,
    limit: int | None = None,
    order_by: str | None = None,
) -> Answer:
    """Answer a question for periods that begin from ``since`` up to and without ``until``.

    With ``limit``, so many rows are shown of each scope and period, the largest by ``order_by`` (else by
    rank); what is cut off is added to that period's rest.
    """
    found = [row for scope in scopes for row in views.rows(scope, question.name, grain, since, until)]
    as_of = max(
        (
            row["LastRecordTime"]
            for scope in scopes
            for row in views.rows(scope, "health", "hour", since, until)
            if "LastRecordTime" in row
        ),
        default=None,
    )
    return _answer(question, found, limit, order_by, as_of)


def _answer(
    question: Question, found: list[ViewRow], limit: int | None, order_by: str | None, as_of: datetime | None
) -> Answer:
    measures = HEALTH_COLUMNS[:-2] if question.name == "health" else MEASURES
    if order_by is not None and order_by not in measures:
        raise BadRequest(f"order-by {order_by!r} is no measure; it must be one of {', '.join(measures)}")
    columns = question.columns if len({row["Scope"] for row in found}) < 2 else ("Scope", *question.columns)
    if question.name == "health":
        rows = sorted(found, key=lambda row: -row[order_by]) if order_by else found
        return Answer(columns, rows[:limit], as_of=as_of)
    if "IsRest" not in question.columns:
        limit = None  # a handful of rows, and nowhere to put what is cut
    shown, rest, rows = no_figures(), no_figures(), []
    for _, period in groupby(found, key=lambda row: (row["Scope"], row["Period"])):
        kept = _cut([*period], question, limit, order_by)
        for row in kept:
            add_figures(rest if row.get("IsRest") else shown, _figures(row))
        rows += kept
    total = [one + other for one, other in zip(shown, rest, strict=True)]
    return Answer(columns, rows, _named(total), _named(shown), _named(rest), as_of)


def _named(figures: Figures) -> dict[str, int]:
    return dict(zip(MEASURES, figures, strict=True))


def _cut(rows: list[ViewRow], question: Question, limit: int | None, order_by: str | None) -> list[ViewRow]:
    """One period's rows, in order and no more than ``limit``, and then its rest."""
    rests = [row for row in rows if row.get("IsRest")]
    rows = [row for row in rows if not row.get("IsRest")]
    if order_by:
        rows.sort(key=lambda row: -row[order_by])
    elif question.ranked_by is None and limit is not None:
        rows.sort(key=lambda row: -row["Tuples"])
    beyond = rows[limit:] if limit is not None else []
    if beyond:
        figures = no_figures()
        for row in [*rests, *beyond]:
            add_figures(figures, _figures(row))
        like = (rests or rows)[0]
        kept = {name: like[name] for name in ("Scope", "View", "Grain", "Period")}
        rests = [{**kept, "Rank": 0, "Missed": 0, "IsRest": True, **_named(figures)}]
    return [*rows[:limit], *rests]


def _figures(row: ViewRow) -> Figures:
    return [row[name] for name in MEASURES]

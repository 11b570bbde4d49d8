"""The HTTP API: a request's parameters → a response. Questions are read and answered as on the command line.

Every answer has an ``ETag``; a request with ``If-None-Match`` that names it is answered with 304 and no body.
What is wrong with a request is said in ``application/problem+json`` (RFC 9457), whose ``parameter`` is the
one that is wrong. Keys are the host's business: what gets here has one where one is needed.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, get_args
from urllib.parse import parse_qsl, urlsplit

from shared import page
from shared.completeness import COLUMNS as STATUS_COLUMNS
from shared.counts.store import Counts
from shared.doctor import COLUMNS as DOCTOR_COLUMNS
from shared.doctor import examine, read_reads
from shared.errors import BadRequest, FlowtallyError, Unavailable
from shared.freshness import compute_freshness
from shared.ledger.store import Ledger
from shared.openapi import SCOPE_COLUMNS, describe_api
from shared.times import HOUR, floor_hour
from shared.views.asking import ask
from shared.views.composed import COMPOSITIONS
from shared.views.formats import Format, beyond_rows, dump, pieces, plain
from shared.views.query import (
    STATUS_PARAMETERS,
    Given,
    Parameter,
    Range,
    find_question,
    parameters_of,
    read_parameters,
    read_query,
    read_times,
)
from shared.views.questions import QUESTIONS, Question

MOST_ROWS = 20_000
"""Rows of one response at the most."""

MOST_STATUS = timedelta(days=7)
"""The longest time that the status can be asked for: it reads what is known of every hour of each scope."""

_MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
}
_TITLES = {400: "Bad request", 404: "Not found", 500: "Internal error", 503: "Storage is unavailable"}
_KEY = "code"  # how the host may be handed its key
_FRESH = 60  # seconds for which an answer may be used again unasked: `now` has minutes, and no finer


def _read_format(text: str, _: datetime) -> str:
    if text not in _MEDIA_TYPES:
        raise ValueError(f"it must be one of {', '.join(_MEDIA_TYPES)}")
    return text


OUTPUT = Parameter(
    "output",
    "How the answer is written; in all but json, without what it leaves out.",
    _read_format,
    {"type": "string", "enum": get_args(Format)},
    "json",
)


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back: the host adds what it has to."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200


type Answer = Callable[[Given, datetime], Response]
"""Parameters and the present time → a response; may raise what ``shared.errors`` has."""


def respond(answer: Answer, url: str, if_none_match: str = "") -> Response:
    """Answer a request for ``url``, whatever goes wrong on the way that is ours to name."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    try:
        found = answer(given_in(url), now)
    except BadRequest as error:
        return problem(404 if error.parameter == "question" else 400, str(error), error.parameter)
    except Unavailable as error:
        return problem(503, str(error))
    except FlowtallyError as error:
        return problem(500, str(error))
    etag = f'"{hashlib.sha256(found.body).hexdigest()[:32]}"'
    headers = {"X-Content-Type-Options": "nosniff", "ETag": etag, **found.headers}
    if if_none_match.strip() == "*" or etag in _etags(if_none_match):
        return Response(b"", headers, 304)
    return Response(found.body, headers)


def given_in(url: str) -> Given:
    """A URL's parameters, but for the host's key. What the host makes of them has one value of each name."""
    given: dict[str, list[str]] = {}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name != _KEY:
            given.setdefault(name, []).append(text)
    return given


def problem(status: int, detail: str, parameter: str = "") -> Response:
    """What is wrong, as RFC 9457 has it."""
    said = {"type": "about:blank", "title": _TITLES[status], "status": status, "detail": detail}
    headers = {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if status == 503:
        headers["Retry-After"] = "10"
    body = dump(said | ({"parameter": parameter} if parameter else {}))
    return Response(body.encode(), headers, status)


# The routes


def show(counts: Counts, ledger: Ledger, name: str) -> Answer:
    """``/api/show/{question}``: the answer to a question."""

    def answer(given: Given, now: datetime) -> Response:
        find_question(name)
        form, rest = _read_output(given, now)
        answered = ask(counts, ledger, read_query(name, rest, now), MOST_ROWS)
        return _rows(answered.columns, answered.rows, form, beyond_rows(answered), "limit")

    return answer


def composed(counts: Counts, ledger: Ledger, name: str) -> Answer:
    """``/api/pair``, ``/api/host``: what takes several questions."""

    def answer(given: Given, now: datetime) -> Response:
        form, rest = _read_output(given, now)
        found = COMPOSITIONS[name].read(rest, now).answer(counts, ledger)
        return _rows(found.columns, [*found.rows], form, found.beyond_rows(), "limit")

    return answer


def scopes(counts: Counts) -> Answer:
    """``/api/scopes``: what is watched."""

    def answer(given: Given, now: datetime) -> Response:
        form, rest = _read_output(given, now)
        read_parameters((), rest, now)
        return _rows(SCOPE_COLUMNS, [*counts.catalog().values()], form, {})

    return answer


def status(counts: Counts, accounts: Collection[str]) -> Answer:
    """``/api/status``: is everything counted, as of the last sweep, by scope and hour. ``accounts``: where
    there may be flow logs.
    """

    def answer(given: Given, now: datetime) -> Response:
        form, rest = _read_output(given, now)
        values = read_parameters(STATUS_PARAMETERS, rest, now)
        since, until = read_times(values, now, timedelta(hours=24))
        if (until or now) - since > MOST_STATUS:
            raise BadRequest(f"{MOST_STATUS.days} days are the most; take a later one", "since")
        last = floor_hour(until - timedelta.resolution) if until else floor_hour(now)
        period = Range("hour", floor_hour(since), max(last, floor_hour(since)) + HOUR)
        found = compute_freshness(counts, accounts, period, counts.now(), values.get("scope", ()))
        more = {
            "totals": found.totals(),
            "notices": [each.row() for each in found.notices],
            "problems": found.problems,
            "swept_at": plain(found.swept_at),
            "counts_of": plain(found.counts_of),
            "as_of": plain(found.as_of),
        }
        hours = found.behind() if values.get("behind") else found.hours
        return _rows(STATUS_COLUMNS, [each.row() for each in hours], form, more)

    return answer


def doctor(environment: Mapping[str, str], functions: Collection[str] = ()) -> Answer:
    """``/api/doctor``: what the app finds when it examines itself, and what it reads; ``functions``: those
    that it has for events. Not cached: it is asked after a change.
    """

    def answer(given: Given, now: datetime) -> Response:
        form, rest = _read_output(given, now)
        read_parameters((), rest, now)
        rows = [each.row() for each in examine(environment, "app")]
        found = _rows(DOCTOR_COLUMNS, rows, form, {"reads": read_reads(environment, functions).row()})
        return replace(found, headers={**found.headers, "Cache-Control": "no-store"})

    return answer


def questions(given: Given, now: datetime) -> Response:
    """``/api/questions``: what can be asked, and with which parameters."""
    read_parameters((), given, now)
    return _json({"questions": [describe(question) for question in QUESTIONS.values()]})


def describe(question: Question) -> dict[str, Any]:
    """A question as data."""
    return {
        "name": question.name,
        "help": question.help,
        "key": question.key,
        "measures": question.measures,
        "orders": [*question.orders],
        "grains": question.grains,
        "unit": question.unit,
        "unknown": question.unknown,
        "parameters": [
            {"name": each.name, "help": each.help, "default": each.default or None, "schema": each.schema}
            for each in (*parameters_of(question), OUTPUT)
        ],
    }


def openapi(given: Given, now: datetime) -> Response:
    """``/api/openapi.json``: the API's description."""
    read_parameters((), given, now)
    return _json(describe_api(OUTPUT))


def dashboard(given: Given, now: datetime) -> Response:  # noqa: ARG001 -- what is selected is the page's business
    """``/api/dashboard``: the page, which holds no figure; it asks for them with the key it is given."""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"{page.policy("'self'")}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(_page(), headers)


@cache
def _page() -> bytes:
    return page.render().encode()


def _read_output(given: Given, now: datetime) -> tuple[Format, Given]:
    """The format asked for, and the other parameters. None may be empty: it would be as good as not given."""
    for name, texts in given.items():
        if not all(text.strip() for text in texts):
            raise BadRequest("is empty; leave it out", name)
    wanted = {name: texts for name, texts in given.items() if name == OUTPUT.name}
    form: Format = read_parameters((OUTPUT,), wanted, now).get(OUTPUT.name, "json")
    return form, {name: texts for name, texts in given.items() if name != OUTPUT.name}


def _rows(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    form: Format,
    beyond: Mapping[str, Any],
    too_many: str = "since",
) -> Response:
    """Rows and what there is beyond them; ``too_many``: the parameter that makes for fewer."""
    if len(rows) > MOST_ROWS:
        raise BadRequest(
            f"the answer has {len(rows):,} rows, and {MOST_ROWS:,} are the most; "
            "ask for fewer rows a list, longer periods, a shorter time or one scope",
            too_many,
        )
    return _data("".join(pieces(columns, rows, form, lambda: beyond)), _MEDIA_TYPES[form])


def _json(value: Any) -> Response:
    return _data(dump(value), _MEDIA_TYPES["json"])


def _data(text: str, media_type: str) -> Response:
    headers = {
        "Content-Type": media_type,
        "Cache-Control": f"private, max-age={_FRESH}",
        "Vary": "x-functions-key",
    }
    return Response(text.encode(), headers)


def _etags(header: str) -> set[str]:
    return {each.strip().removeprefix("W/") for each in header.split(",")}

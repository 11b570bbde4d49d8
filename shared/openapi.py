"""The HTTP API's description (OpenAPI 3.1), made from the registries of questions and parameters (pure)."""

from collections.abc import Iterable, Sequence
from typing import Any

from shared.completeness import COLUMNS as STATUS_COLUMNS
from shared.doctor import COLUMNS as DOCTOR_COLUMNS
from shared.freshness import SUMS
from shared.views.answers import BEFORE
from shared.views.composed import COMPOSITIONS, SHARE
from shared.views.query import STATUS_PARAMETERS, Parameter, parameters_of
from shared.views.questions import QUESTIONS, Question

type Schema = dict[str, Any]

SCOPE_COLUMNS = (
    *("Scope", "Name", "Kind", "FirstPeriod", "LastPeriod", "PrunedBefore"),
    *("ResourceId", "TargetResourceId"),
)

_VERSION = "1.0.0"
_TIMES = (
    "Period",
    "Hour",
    "FirstPeriod",
    "LastPeriod",
    "FirstSeen",
    "LastSeen",
    "LastRecordTime",
    "PrunedBefore",
    "LookedAt",
)
_WHOLE = ("DestPort", "Rank", "Scopes", "LagSeconds", *SUMS)
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_NUMBER: Schema = {"type": "integer", "format": "int64"}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTION = """\
Exact aggregates of Azure Network Watcher flow logs.

All times are UTC; all whole numbers are 64 bits wide. An answer may be up to five minutes behind what was \
counted, and can be used again for a minute without asking."""


def describe_api(output: Parameter) -> Schema:
    """The whole document; ``output`` is the parameter that every answer takes beside its own."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flowtally", "version": _VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/api"}],
        "security": [{"header": []}, {"query": []}],
        "paths": {
            "/questions": _path("questions", "What can be asked.", (), _questions()),
            "/scopes": _path("scopes", "What is watched.", (output,), _list(SCOPE_COLUMNS), rows=True),
            "/status": _path(
                "status",
                "Is everything counted, as of the last sweep: what it found, what was made of it, by hour.",
                (*STATUS_PARAMETERS, output),
                _list(
                    STATUS_COLUMNS,
                    totals={"type": "array", "items": _object(Kind=_TEXT, **dict.fromkeys(SUMS, _NUMBER))},
                    notices={"type": "array", "items": _notice()},
                    problems={"type": "array", "items": _TEXT},
                    swept_at=_or_null(_TIME),
                    counts_of=_or_null(_TIME),
                    as_of=_TIME,
                ),
                rows=True,
            ),
            "/doctor": _path(
                "doctor",
                "Is everything there that counting needs: what the app finds, step by step, and what to do.",
                (output,),
                _list(
                    DOCTOR_COLUMNS,
                    reads=_object(
                        mode={"enum": ["events", "schedule", "polling"]},
                        accounts={"type": "object", "additionalProperties": _TEXT},
                        functions={"type": "array", "items": _TEXT},
                    ),
                ),
                rows=True,
            ),
            **{
                f"/{name}": _path(name, its.help, (*its.parameters, output), _composed(name), rows=True)
                for name, its in COMPOSITIONS.items()
            },
            "/openapi.json": _path("openapi", "This document.", (), {"type": "object"}),
            **{
                f"/show/{name}": _path(
                    f"show-{name}",
                    question.help,
                    (*parameters_of(question), output),
                    _answer(question),
                    rows=True,
                )
                for name, question in QUESTIONS.items()
            },
        },
        "components": {
            "schemas": {"Problem": _problem()},
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "query": {"type": "apiKey", "in": "query", "name": "code"},
            },
        },
    }


def _path(
    name: str, summary: str, parameters: Iterable[Parameter], schema: Schema, *, rows: bool = False
) -> Schema:
    media: Schema = {"application/json": {"schema": schema}}
    if rows:
        media |= {
            each: {"schema": _TEXT}
            for each in ("application/x-ndjson", "text/csv", "text/tab-separated-values")
        }
    etag = {"ETag": {"description": "The version of the answer.", "required": True, "schema": _TEXT}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": [*map(_parameter, parameters), _IF_NONE_MATCH],
            "responses": {
                "200": {"description": "The answer.", "headers": etag, "content": media},
                "304": {"description": "It is still the version that the request names.", "headers": etag},
                **{
                    status: {
                        "description": text,
                        "content": {"application/problem+json": {"schema": _PROBLEM}},
                    }
                    for status, text in (
                        ("400", "A parameter is unknown or wrong: it is named."),
                        ("503", "Storage didn't answer; trying again later may help."),
                    )
                },
                "401": {"description": "The host wants a key."},
            },
        }
    }


_IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An ETag: is the answer still that version?",
    "schema": _TEXT,
}


def _parameter(parameter: Parameter) -> Schema:
    default = f" Default: {parameter.default}." if parameter.default else ""
    schema: Schema = {**parameter.schema}
    if parameter.many:
        schema = {"type": "array", "items": schema}
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.help + default,
        "schema": schema,
        **({"required": True} if parameter.required else {}),
    }


def _answer(question: Question) -> Schema:
    return _object(
        question={"const": question.name},
        scopes={"type": "array", "items": _TEXT},
        since=_TIME,
        until=_TIME,
        rows={"type": "array", "items": _row(question)},
        lists={"type": "array", "items": _totals(question)},
        unit={"enum": [*question.orders]},
        as_of=_or_null(_TIME),
        notes={"type": "array", "items": _TEXT},
        why_empty=_TEXT,
    )


def _totals(question: Question) -> Schema:
    measures = _figures(question.measures)
    nullable = {"oneOf": [measures, {"type": "null"}]}
    return _object(
        kind={"enum": ["nsg", "vnet"]},
        total=measures,
        shown=measures,
        rest=measures,
        unfiltered=nullable,
        before=nullable,
        missed=_NUMBER,
    )


def _composed(name: str) -> Schema:
    """A composition: its rows have the columns of all its sections, null where a section hasn't one."""
    question = QUESTIONS["conversations"]
    texts: Schema = {"type": "array", "items": _TEXT}
    labels: Schema = {"type": "object", "additionalProperties": _TEXT}
    section = _object(
        section=_TEXT,
        labels=labels,
        question={"enum": [*QUESTIONS]},
        lists={"type": "array", "items": _totals(question)},
        unit=_TEXT,
        why_empty=_TEXT,
    )
    always: Schema = {
        "Section": _TEXT,
        "Kind": _TEXT,
        **dict.fromkeys(question.measures, _NUMBER),
        "Missed": _NUMBER,
        "IsRest": {"type": "boolean"},
    }
    columns = (*question.projected, "Mac", "Addresses", "Status", "At", "As", "Rank", "Scopes", *_PERIODS)
    sometimes = {each: _or_null(_column(each)) for each in columns} | {SHARE: {"type": ["number", "null"]}}
    return _object(
        name={"const": name},
        verdict=texts,
        rows={"type": "array", "items": {**_object(**always), "properties": always | sometimes}},
        sections={"type": "array", "items": section},
        scopes=texts,
        since=_TIME,
        until=_TIME,
        as_of=_or_null(_TIME),
        notes=texts,
    )


def _row(question: Question) -> Schema:
    """A row: what it always has, with ``grain`` its period, in a comparison what was before; with ``by`` only
    some of the columns of its key.

    The row of the rest stands for no key: there, what makes up a key is null.
    """
    always: Schema = {
        "Kind": _TEXT,
        **({"Rank": _NUMBER} if question.ranked_by else {}),
        **dict.fromkeys(question.measures, _NUMBER),
        **({"Missed": _NUMBER} if question.bounded else {}),
        "IsRest": {"type": "boolean"},
    }
    extremes = (*question.extremes, *(_PERIODS if question.bounded else ()))
    sometimes: Schema = {
        "Scope": _or_null(_TEXT),
        "Scopes": _or_null(_NUMBER),
        "Period": _TIME,
        **{name: _or_null(_column(name)) for name in (*question.projected, *question.beside, *extremes)},
        **{f"{BEFORE}{name}": _NUMBER for name in (*question.measures, "Missed")},
        **dict.fromkeys((BEFORE, "Change"), _NUMBER),
        "ChangePercent": {"type": ["number", "null"]},
        "Since": _or_null(_TIME),
        "AtLatest": {"type": ["boolean", "null"]},
        "Trend": {"enum": ["new", "gone", "may be new", "may be gone", None]},
    }
    return {**_object(**always), "properties": always | sometimes}


_PERIODS = ("FirstPeriod", "LastPeriod")


def _list(columns: Sequence[str], **more: Schema) -> Schema:
    row = _object(**{name: _or_null(_column(name)) for name in columns})
    return _object(rows={"type": "array", "items": row}, **more)


def _notice() -> Schema:
    return _object(Scopes={"type": "array", "items": _TEXT}, Found=_TEXT, ToDo=_TEXT)


def _questions() -> Schema:
    texts: Schema = {"type": "array", "items": _TEXT}
    parameter = _object(name=_TEXT, help=_TEXT, default=_or_null(_TEXT), schema={"type": "object"})
    question = _object(
        name={"enum": [*QUESTIONS]},
        help=_TEXT,
        key=texts,
        measures=texts,
        orders=texts,
        grains=texts,
        unit=_TEXT,
        unknown=texts,
        parameters={"type": "array", "items": parameter},
    )
    return _object(questions={"type": "array", "items": question})


def _problem() -> Schema:
    said: Schema = {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}
    return {
        "type": "object",
        "description": "RFC 9457, with the name of the parameter that is wrong, if it is one.",
        "properties": {**said, "parameter": _TEXT},
        "required": [*said],
        "additionalProperties": False,
    }


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _figures(names: Iterable[str]) -> Schema:
    return _object(**dict.fromkeys(names, _NUMBER))


def _column(name: str) -> Schema:
    return _TIME if name in _TIMES else _NUMBER if name in _WHOLE else _TEXT


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}

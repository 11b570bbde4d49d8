"""The commands that ask: scopes, show."""

from datetime import datetime, timedelta
from typing import Any

import click

from shared.blobs import floor_hour
from shared.cli.frame import command, connect, main, output_option, say, since_option, until_option
from shared.errors import BadRequest
from shared.output import Output, left_out, print_answer
from shared.views.answers import Answer, ask, find_scopes
from shared.views.questions import QUESTIONS
from shared.views.rows import ALL_SCOPES

_HOUR = timedelta(hours=1)
_INSTANT = timedelta(microseconds=1)


@main.command()
@output_option
@command
def scopes(output: Output) -> None:
    """What is watched: the scopes that there are answers for."""
    rows = [*connect().views.catalog().values()]
    columns = (
        *("Name", "Kind", "Scope", "FirstPeriod", "LastPeriod"),
        *(() if output == "table" else ("ResourceId", "TargetResourceId")),
    )
    print_answer(Answer(columns, rows), output)
    if not rows:
        say("no scope yet: run `flowtally sweep` and `flowtally rollup`, or wait for the function app")


@main.command(
    epilog="Questions: " + " ".join(f"{question.name}: {question.help}" for question in QUESTIONS.values())
)
@click.argument("question", type=click.Choice(list(QUESTIONS)))
@click.option("--scope", help="A scope's name or key, or a part of it. Default: all scopes.")
@since_option(None)
@until_option
@click.option("--grain", type=click.Choice(["5m", "hour", "day"]), default="hour", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Rows a period; the others go to its rest. [10]")
@click.option("--order-by", metavar="MEASURE", help="Another order than the ranks'.")
@output_option
@command
def show(
    question: str,
    scope: str | None,
    since: datetime | None,
    until: datetime | None,
    grain: Any,
    limit: int | None,
    order_by: str | None,
    output: Output,
) -> None:
    """Answer a question; without --since for the last period that there is.

    Example: flowtally show denied-sources --scope nsg-web --since 24h
    """
    asked = QUESTIONS[question]
    if grain not in asked.grains:
        raise BadRequest(f"{question} has no grain {grain}; it has {', '.join(asked.grains)}")
    stores = connect()
    catalog = stores.views.catalog()
    found = find_scopes(catalog.values(), None if scope == ALL_SCOPES else scope)
    keys = [ALL_SCOPES] if scope == ALL_SCOPES else [row["Scope"] for row in found]
    if scope == ALL_SCOPES and question != "health":
        raise BadRequest("only health is kept for all scopes together; leave --scope out to see each")
    last = max((row["LastPeriod"] for row in found), default=None)
    if last is None:
        raise BadRequest("there is nothing to show yet: run `flowtally sweep` and `flowtally rollup` first")
    if since is None:
        last = min(last, floor_hour(until - _INSTANT)) if until else last
        since = last.replace(hour=0) if grain == "day" else last
    answer = ask(
        stores.views,
        asked,
        keys,
        grain,
        floor_hour(since) if grain != "day" else floor_hour(since).replace(hour=0),
        until or last + 2 * _HOUR,
        limit=limit or (10 if asked.ranked_by else None),
        order_by=order_by,
    )
    print_answer(answer, output)
    if not answer.rows:
        say("no rows for that time: `flowtally scopes` says from when to when there are some")
    say(left_out(answer))

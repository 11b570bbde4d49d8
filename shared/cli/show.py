"""The commands that ask: scopes, show, report."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from shared import report as report_room
from shared.cli.frame import command, connect, main, output_option, parameter_options, say, watch_option
from shared.errors import BadRequest, MalformedInput, Unavailable
from shared.output import Output, left_out, print_answer, print_rows
from shared.views.asking import ask
from shared.views.query import PARAMETERS, Given, read_query
from shared.views.questions import QUESTIONS


@main.command()
@output_option
@command
def scopes(output: Output) -> None:
    """What is watched: the scopes that there are answers for."""
    refused: dict[str, MalformedInput] = {}
    rows = [*connect().counts.catalog(refused).values()]
    columns = (
        *("Name", "Kind", "Scope", "FirstPeriod", "LastPeriod"),
        *(() if output == "table" else ("ResourceId", "TargetResourceId")),
    )
    print_rows(columns, rows, output)
    for error in refused.values():
        say(f"flowtally: {error}")
    if not rows and not refused:
        say("no scope yet: run `flowtally sweep` and `flowtally rollup`, or wait for the function app")
    sys.exit(1 if refused else 0)


@main.command(
    epilog="""\b
Examples:
  flowtally show denied-sources --scope nsg-web
  flowtally show talkers --since 7d --limit 20 -o csv
  flowtally show rules --rule deny --since 2026-11-20 --until 2026-11-21
  flowtally show conversations --ip 10.0.0.0/8 --port 443 --order-by Bytes
  flowtally show nics --ip 10.0.0.4
  flowtally show denied-ports --since 24h --compare --order-by Change
  flowtally show traffic --grain hour --watch

\b
Questions:
"""
    + "\n".join(f"  {question.name:22}{question.help}" for question in QUESTIONS.values())
)
@click.argument(
    "question", shell_complete=lambda _, __, text: [name for name in QUESTIONS if name.startswith(text)]
)
@parameter_options(PARAMETERS)
@watch_option
@output_option
@command
def show(question: str, given: Given, watch: float | None, output: Output) -> None:
    """Answer a question: of the last 24 hours, as one list, unless asked otherwise.

    Figures are summed over the time asked for; rows that may lack something say by how much at the most.
    What has no row is in the rest.
    """
    read_query(question, given, datetime.now(UTC))  # what is wrong with it is said before anything is asked
    stores = connect()

    def show_once() -> None:
        query = read_query(question, given, datetime.now(UTC))
        answer = ask(stores.counts, query)
        print_answer(answer, query, output)
        for line in left_out(answer, query):
            say(line)

    _repeat(show_once, watch)


def _repeat(show_once: Callable[[], None], watch: float | None) -> None:
    """Look once, or again and again: on a terminal, each time on an empty screen."""
    while True:
        if watch and sys.stdout.isatty():
            click.clear()
        try:
            show_once()
        except Unavailable as error:
            if not watch:
                raise
            say(f"flowtally: {error}")
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(watch)


@main.command()
@parameter_options(report_room.PARAMETERS)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    help="The file to write; what is there is replaced.",
)
@command
def report(given: Given, out: Path) -> None:
    """Write the page as one file: charts and tables of a scope and time, to read anywhere and to mail.

    Example: flowtally report --scope nsg-web --since 7d --out nsg-web.html
    """
    stores = connect()
    now = datetime.now(UTC)
    text = report_room.make_report(stores, given, now)
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise BadRequest(f"{out}: {error.strerror}", "out") from None
    say(f"{out}: {len(text.encode()):,} bytes")

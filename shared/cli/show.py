"""The commands that ask: scopes, pair, host, show, report."""

import copy
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from shared.cli.frame import (
    GivenType,
    command,
    connect,
    connect_to_results,
    explain_filters,
    main,
    output_option,
    parameter_options,
    say,
    watch_option,
)
from shared.errors import BadRequest, MalformedInput, Unavailable
from shared.views.formats import Output, human_bytes
from shared.views.query import (
    HOST_PARAMETERS,
    PAIR_PARAMETERS,
    PARAMETERS,
    REPORT_PARAMETERS,
    Given,
    Parameter,
    parameters_of,
    read_parameters,
    read_query,
)
from shared.views.questions import QUESTIONS, Question


@main.command()
@output_option
@command
def scopes(output: Output) -> None:
    """What is watched: the scopes that there are answers for."""
    from shared.output import print_rows

    refused: dict[str, MalformedInput] = {}
    rows = [*connect_to_results().counts.catalog(refused).values()]
    columns = (
        *("Name", "Kind", "Scope", "FirstPeriod", "LastPeriod"),
        *(("PrunedBefore",) if output != "table" or any("PrunedBefore" in row for row in rows) else ()),
        *(() if output == "table" else ("ResourceId", "TargetResourceId")),
    )
    print_rows(columns, rows, output, keep=("Name", "Kind", "Scope"))
    for error in refused.values():
        say(f"flowtally: {error}")
    if not rows and not refused:
        say("no scope yet: run `flowtally sweep` and `flowtally rollup`, or wait for the function app")
    sys.exit(1 if refused else 0)


@main.command(
    epilog="""\b
Examples:
  flowtally pair 10.0.0.4 10.0.0.7
  flowtally pair 203.0.113.9 10.0.0.4 --since 7d
  flowtally pair 10.1.0.0/16 10.2.0.4 --scope nsg-web --limit 50
"""
)
@parameter_options(PAIR_PARAMETERS)
@output_option
@command
def pair(given: Given, output: Output) -> None:
    """Does A talk to B, or was it tried and denied? Both ways, by port and rule, with times.

    A and B are addresses, or ranges such as 10.0.0.0/8. It begins with a sentence for each direction. What
    the source's interface has logged (Out) and what the destination's has (In) stand side by side: where both
    are logged, a flow is in both.

    It is answered from what was counted. `flowtally why` reads the log itself.
    """
    _show_composed("pair", given, output)


@main.command(
    epilog="""\b
Examples:
  flowtally host 10.0.0.4
  flowtally host 203.0.113.9 --since 7d --limit 20
"""
)
@parameter_options(HOST_PARAMETERS)
@output_option
@command
def host(given: Given, output: Output) -> None:
    """All about an address: its interface, ports, peers and rules, allowed and denied, first and last seen.

    Where it is an interface's, ports, peers and rules are those that this interface has logged: Out is what
    it sent, In what it was sent. Where it is none, they are those that the interfaces have logged which it
    talked to.
    """
    _show_composed("host", given, output)


def _show_composed(name: str, given: Given, output: Output) -> None:
    from shared.views.composed import COMPOSITIONS

    asked = COMPOSITIONS[name].read(given, datetime.now(UTC))
    results = connect_to_results()

    from shared.output import print_composed, what_of

    composed = asked.answer(results.counts, results.ledger)
    print_composed(composed, output)
    if output != "table":
        for line in composed.verdict:
            say(line)
    say(what_of(composed.first.answer, composed.first.query))
    for note in composed.notes:
        say(f"note: {note}")


class _QuestionName(click.ParamType[str]):
    """The name of a question."""

    name = "question"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in QUESTIONS:
            return str(value)
        if value in main.commands:
            self.fail(f"{value!r} is a command, no question; give it with: flowtally {value}", param, ctx)
        near = get_close_matches(str(value).lower(), QUESTIONS)
        meant = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(QUESTIONS)}"
        return self.fail(f"unknown question {value!r}; {meant}", param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's signature
        param: click.Parameter,  # noqa: ARG002 -- the same
        incomplete: str,
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in QUESTIONS if name.startswith(incomplete)]


_ASKED = f"{__name__}.asked"
"""Where a context has the question that is asked, and its options."""


class _Show(click.Command):
    """The command ``show``: as soon as a question is named, its help and completion are of that question.

    Options that the question doesn't have are hidden. They are read all the same, to say who has them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args([*args])
        question = QUESTIONS.get(given.get("question", ""))
        if question:
            ctx.meta[_ASKED] = question, [_option_of(question, each) for each in self.get_params(ctx)]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        _, options = ctx.meta.get(_ASKED, (None, None))
        return options or super().get_params(ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        question, _ = ctx.meta.get(_ASKED, (None, None))
        return [question.name, "[OPTIONS]"] if question else super().collect_usage_pieces(ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        question, _ = ctx.meta.get(_ASKED, (None, None))
        if not question:
            super().format_help_text(ctx, formatter)
            return
        _, figures, _ = inspect.cleandoc(self.help or "").split("\n\n", 2)
        paragraphs = question.help, figures, explain_filters(parameters_of(question))
        for text in filter(None, paragraphs):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(text)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if _ASKED not in ctx.meta:
            super().format_epilog(ctx, formatter)


_PARAMETERS = {each.name: each for each in PARAMETERS}


def _option_of(question: Question, option: click.Parameter) -> click.Parameter:
    """An option of ``show`` as it is where this question is asked."""
    parameter = _PARAMETERS.get(option.opts[0].removeprefix("--"))
    if not isinstance(option, click.Option) or parameter is None:
        return option
    option = copy.copy(option)
    option.hidden = parameter not in parameters_of(question)
    if parameter.name == "grain":
        option.type = GivenType(_choosing(parameter, question.grains))
        option.metavar = f"[{'|'.join(question.grains)}]"
    if parameter.name == "order-by":
        orders = [*question.orders, *question.projected, "Change"]
        option.type = GivenType(_choosing(parameter, orders))
        measures = f"{', '.join(question.orders)}, Change (with --compare)"
        option.help = f"{parameter.help} One of {measures}. [{question.order or 'its key'}]"
    return option


def _choosing(parameter: Parameter, choices: Sequence[str]) -> Parameter:
    return replace(parameter, schema={**parameter.schema, "enum": [*choices]})


@main.command(
    cls=_Show,
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
    + "\n".join(f"  {question.name:22}{question.help}" for question in QUESTIONS.values()),
)
@click.argument("question", type=_QuestionName())
@parameter_options(PARAMETERS)
@watch_option
@output_option
@command
def show(question: str, given: Given, watch: float | None, output: Output) -> None:
    """Answer a question: of the last 24 hours, as one list, unless asked otherwise.

    Figures are summed over the time asked for; rows that may lack something say by how much at the most.
    What has no row is in the rest.

    `flowtally show QUESTION --help` says what that question takes.
    """
    read_query(question, given, datetime.now(UTC))  # what is wrong with it is said before anything is asked
    results = connect_to_results()

    from shared.output import left_out, print_answer
    from shared.views.asking import ask

    def show_once() -> None:
        query = read_query(question, given, datetime.now(UTC))
        answer = ask(results.counts, results.ledger, query)
        print_answer(answer, query, output)
        for line in left_out(answer, query):
            say(line)
        if question == "rejects" and not answer.why_empty:
            scope = answer.scopes[0] if len(answer.scopes) == 1 else "SCOPE"
            say(f"each of them, with its place and its text: `flowtally rejects {scope}`")

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
@parameter_options(REPORT_PARAMETERS)
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
    now = datetime.now(UTC)
    read_parameters(REPORT_PARAMETERS, given, now)  # what is wrong with them is said before anything is asked
    stores = connect()

    from shared.report import make_report

    text = make_report(stores, given, now)
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise BadRequest(f"{out}: {error.strerror}", "out") from None
    say(f"{out}: {human_bytes(len(text.encode()))}")

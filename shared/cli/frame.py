"""What all commands share: the group, the stores, options, errors and exit codes."""

import inspect
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from shared.errors import BadRequest, BadSettings, FlowtallyError
from shared.terminal import line_width, wrap
from shared.times import parse_when
from shared.views.formats import printable
from shared.views.query import Given, Parameter
from shared.views.questions import QUESTIONS

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.stores import Results, Stores


def connect() -> "Stores":
    """Make clients by the settings in the environment."""
    settings = _settings()

    from shared.stores import open_stores

    return open_stores(settings)


def connect_to_results() -> "Results":
    """The same, of the results alone: the SDK of blobs takes a fifth of the time of a command."""
    settings = _settings()

    from shared.stores import open_results

    return open_results(settings)


def _settings() -> "Settings":
    """What is wrong with them is said before an SDK is loaded."""
    from shared.settings import read_settings

    return read_settings(os.environ)


def say(message: str) -> None:
    """Say something that is no data: on stderr, harmless to a terminal, in lines as long as the terminal's;
    where it is none, in one line.
    """
    width = line_width(sys.stderr) if sys.stderr.isatty() else None
    click.echo(wrap(printable(message), width), err=True)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (BadSettings, BadRequest) as error:
        say(f"flowtally: {error}")
        sys.exit(2)
    except FlowtallyError as error:
        say(f"flowtally: {error}")
        sys.exit(1)


def command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """Errors of ours in one line, with the exit code that the package's docstring says."""

    @wraps(function)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> None:
        with _one_line_errors():
            function(*arguments, **options)

    return wrapped


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "ndjson", "csv", "tsv"]),
    default="table",
    show_default=True,
    help="How to print the answer.",
)


class When(click.ParamType[datetime]):
    """A moment: ``24h`` or ``7d`` ago, or ISO 8601."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it; a usage error says what would do."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_when(value, datetime.now(UTC))
        except ValueError as mend:
            self.fail(f"{value!r} won't do; {mend}.", param, ctx)


def since_option(default: str | None) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """The option ``--since``."""
    return click.option(
        "--since",
        type=When(),
        default=default,
        show_default=default is not None,
        help="From when on: an age such as 24h or 7d, or an ISO 8601 time (UTC).",
    )


until_option = click.option(
    "--until", type=When(), help="Until when: as --since. Default: all that there is."
)


def watch_option(function: click.decorators.FC) -> click.decorators.FC:
    """The option ``--watch``."""
    return click.option(
        "--watch",
        is_flag=False,
        flag_value=10.0,
        type=click.FloatRange(min=0.1),
        metavar="[SECONDS]",
        help="Go on until interrupted, looking again every so many seconds (10).",
    )(function)


class GivenType(click.ParamType[str]):
    """A text that is read elsewhere, by the same rules as over HTTP; its choices are offered by the shell."""

    def __init__(self, parameter: Parameter) -> None:
        self.name = parameter.name
        self.parameter = parameter

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's signature
        param: click.Parameter,  # noqa: ARG002 -- the same
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer the parameter's choices."""
        wanted = incomplete.lower()
        return [CompletionItem(each) for each in self.parameter.choices if each.lower().startswith(wanted)]


class _Folded(click.Option):
    """An option without a line of its own in the help; the shell completes it all the same."""

    def get_help_record(self, ctx: click.Context) -> None:
        """None."""


def explain_filters(parameters: Iterable[Parameter]) -> str:
    """Say how filters are given, for those that there are among the parameters; empty if there is none."""
    excluding = next((each.name for each in parameters if each.excludes), None)
    if excluding is None:
        return ""
    return (
        "A filter that is given more than once, or with a list, means either. "
        f"With not- before its name (--{excluding}) it leaves out what it finds."
    )


def parameter_options(
    parameters: Iterable[Parameter],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for each parameter, an argument for one that is required; the command gets them together, as
    ``given``. Its help says in one sentence that there are those that leave out what others find.
    """
    known = [*parameters]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def wrapped(**options: Any) -> None:
            given = take_given(known, options)
            function(given=given, **options)

        for parameter in reversed(known):
            if parameter.required:
                wrapped = click.argument(_argument(parameter), metavar=parameter.name.upper())(wrapped)
                continue
            default = f" [{parameter.default}]" if parameter.default and not parameter.is_flag else ""
            wrapped = click.option(
                f"--{parameter.name}",
                _argument(parameter),
                cls=_Folded if parameter.excludes else None,
                type=None if parameter.is_flag else GivenType(parameter),
                is_flag=parameter.is_flag,
                metavar=f"[{'|'.join(parameter.choices)}]" if parameter.choices else None,
                multiple=parameter.many,
                help=parameter.help + default,
            )(wrapped)
        wrapped.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{explain_filters(known)}"
        return wrapped

    return decorate


def take_given(parameters: Iterable[Parameter], options: dict[str, Any]) -> Given:
    """Take the parameters that were given out of a command's options."""
    given: dict[str, list[str]] = {}
    for parameter in parameters:
        value = options.pop(_argument(parameter))
        if isinstance(value, bool):
            given[parameter.name] = ["true"] if value else []
        elif value:
            given[parameter.name] = [value] if isinstance(value, str) else [*value]
    return given


def _argument(parameter: Parameter) -> str:
    return "given_" + parameter.name.replace("-", "_")


class _Printable(logging.Formatter):
    """Names from the logs stand in messages: what doesn't print is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class _Commands(click.Group):
    """The commands. For an unknown one that is a question, or nearly, the command that asks it is named."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first; a usage error says what may have been meant."""
        name = args[0]
        known = name in self.commands or name.startswith("-") or ctx.resilient_parsing
        if not known and name in QUESTIONS:
            words = shlex.join(["flowtally", "show", *args])
            raise click.UsageError(f"{name!r} is a question, no command; ask it with: {words}", ctx)
        if not known:
            ways = {each: f"flowtally {each}" for each in self.commands} | {
                each: f"flowtally show {each}" for each in QUESTIONS
            }
            near = [ways[each] for each in get_close_matches(name.lower(), ways)]
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flowtally")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def main(verbose: bool) -> None:
    """Exact aggregates of Azure Network Watcher flow logs.

    The connections are environment variables: FLOW_LOGS__blobServiceUri and RESULTS__tableServiceUri, or
    connection strings in FLOW_LOGS and RESULTS.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal can show every name
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("azure").setLevel(logging.INFO if verbose else logging.ERROR)

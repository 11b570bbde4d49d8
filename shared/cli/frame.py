"""What all commands share: the group, the stores, options, errors and exit codes."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import click

from shared.blobs import FlowLogs
from shared.errors import BadRequest, BadSettings, FlowtallyError
from shared.ledger.store import Ledger
from shared.settings import parse_when, read_settings
from shared.tables import Tables
from shared.views.store import Views


@dataclass(frozen=True)
class Stores:
    """The stores that the settings name."""

    flow_logs: FlowLogs
    tables: Tables
    ledger: Ledger
    views: Views


def connect() -> Stores:
    """Clients by the settings in the environment."""
    settings = read_settings(os.environ)
    tables = Tables(settings.results)
    return Stores(FlowLogs(settings.flow_logs), tables, Ledger(tables), Views(tables))


def say(message: str) -> None:
    """Say something that is no data: on stderr."""
    click.echo(message, err=True)


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


class _When(click.ParamType[datetime]):
    """A moment: ``24h`` or ``7d`` ago, or ISO 8601."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        moment = parse_when(value, datetime.now(UTC))
        if moment is None:
            self.fail(f"{value!r} is neither an age such as 24h or 7d nor an ISO 8601 time.", param, ctx)
        return moment


def since_option(default: str | None) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """The option ``--since``."""
    return click.option(
        "--since",
        type=_When(),
        default=default,
        show_default=default is not None,
        help="From when on: an age such as 24h or 7d, or an ISO 8601 time (UTC).",
    )


until_option = click.option(
    "--until", type=_When(), help="Until when: as --since. Default: all that there is."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    logging.getLogger("azure").setLevel(logging.INFO if verbose else logging.ERROR)

"""The command line: ``flowtally``.

Data goes to stdout, messages and progress to stderr. Exit codes: 0 well; 1 something is behind or has failed;
2 a setting, an argument or an option is missing or wrong.
"""

import io
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from shared import rollup as rollup_job
from shared import sweep as sweep_job
from shared.blobs import FlowLogs, floor_hour
from shared.errors import BadRequest, BadSettings, FlowtallyError, Unavailable
from shared.ledger.store import Ledger
from shared.output import Output, left_out, print_answer
from shared.settings import parse_when, read_settings
from shared.tables import Tables
from shared.views.answers import Answer, ask, find_scopes
from shared.views.questions import QUESTIONS
from shared.views.rows import ALL_SCOPES
from shared.views.store import Views

_HOUR = timedelta(hours=1)
_INSTANT = timedelta(microseconds=1)
_STATUS_COLUMNS = (
    *("Scope", "Hour", "Blobs", "Offset", "Length", "Behind", "Tuples", "Malformed", "GarbledBytes"),
    *("LastRecordTime", "LagSeconds"),
)


@dataclass(frozen=True)
class _Stores:
    flow_logs: FlowLogs
    tables: Tables
    ledger: Ledger
    views: Views


def _connect() -> _Stores:
    settings = read_settings(os.environ)
    tables = Tables(settings.results)
    return _Stores(FlowLogs(settings.flow_logs), tables, Ledger(tables), Views(tables))


def _say(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (BadSettings, BadRequest) as error:
        _say(f"flowtally: {error}")
        sys.exit(2)
    except FlowtallyError as error:
        _say(f"flowtally: {error}")
        sys.exit(1)


def _command[**P](function: Callable[P, None]) -> Callable[P, None]:
    """Errors of ours in one line, with the exit code that the module's docstring says."""

    @wraps(function)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> None:
        with _one_line_errors():
            function(*arguments, **options)

    return wrapped


_output = click.option(
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


def _since(default: str | None) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option(
        "--since",
        type=_When(),
        default=default,
        show_default=default is not None,
        help="From when on: an age such as 24h or 7d, or an ISO 8601 time (UTC).",
    )


_until = click.option("--until", type=_When(), help="Until when: as --since. Default: all that there is.")


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


@main.command()
@_since("24h")
@_until
@click.option(
    "--watch",
    is_flag=False,
    flag_value=10.0,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Go on until interrupted, sweeping every so many seconds (10).",
)
@_output
@_command
def sweep(since: datetime, until: datetime | None, watch: float | None, output: Output) -> None:
    """Count all that is behind: of the last 24 hours, or since another time.

    This is the backfill, too: flowtally sweep --since 30d
    """
    stores = _connect()
    stores.tables.create()
    span = datetime.now(UTC) - since
    while True:
        try:
            now = stores.flow_logs.now()
            first = now - span if watch else since
            swept = _sweep_with_progress(stores, floor_hour(first), until or now + _HOUR)
        except Unavailable as error:
            if not watch:
                raise
            _say(f"flowtally: {error}")
            time.sleep(watch)
            continue
        for name in swept.strangers:
            _say(f"not a flow log, passed over: {name}")
        for name, failure in swept.failed:
            _say(f"failed, to be tried again: {name}: {failure}")
        if swept.behind or not watch:
            sums = {
                name: sum(getattr(each, name.lower()) for each in swept.ingested)
                for name in ("Bytes", "Records", "Tuples", "Malformed")
            }
            row = {"Listed": swept.listed, "Behind": swept.behind, "Failed": len(swept.failed), **sums}
            print_answer(Answer(tuple(row), [row]), output)
        if not watch:
            sys.exit(1 if swept.failed else 0)
        time.sleep(watch)


def _sweep_with_progress(stores: _Stores, since: datetime, until: datetime) -> sweep_job.Swept:
    console = Console(stderr=True)
    with Progress(
        TextColumn("sweep"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("sweep", total=None)
        return sweep_job.sweep(
            stores.flow_logs,
            stores.ledger,
            since,
            until,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


@main.command()
@_since(None)
@_output
@_command
def rollup(since: datetime | None, output: Output) -> None:
    """Make the views of all hours that have changed.

    Recent and late hours are found by themselves; --since compares older ones, too.
    """
    stores = _connect()
    stores.tables.create()
    done = rollup_job.rollup(stores.ledger, stores.views, since)
    for scope, error in done.failed:
        _say(f"failed, to be tried again: {scope}: {error}")
    row = {
        "Scopes": done.scopes,
        "Hours": done.hours,
        "Days": done.days,
        "Rows": done.rows,
        "Failed": len(done.failed),
    }
    print_answer(Answer(tuple(row), [row]), output)
    sys.exit(1 if done.failed else 0)


@main.command()
@_since("24h")
@_until
@_output
@_command
def status(since: datetime, until: datetime | None, output: Output) -> None:
    """Is everything counted: what is stored against what was read, by scope and hour.

    Exits with 1 if something is behind.
    """
    stores = _connect()
    now = stores.flow_logs.now()
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    strangers = []
    for found in sweep_job.compare(stores.flow_logs, stores.ledger, floor_hour(since), until or now + _HOUR):
        if isinstance(found, str):
            strangers.append(found)
            continue
        blob = found.listed.blob
        _add_status(rows.setdefault((blob.scope, blob.hour), defaultdict(int)), found, now)
    answer = Answer(
        _STATUS_COLUMNS,
        [{"Scope": scope, "Hour": hour, **row} for (scope, hour), row in sorted(rows.items())],
        as_of=now,
    )
    print_answer(answer, output)
    behind = sum(row["Behind"] for row in answer.rows)
    for name in strangers:
        _say(f"not a flow log, not counted: {name}")
    rejected = sum(row["Malformed"] for row in answer.rows)
    garbled = sum(row["GarbledBytes"] for row in answer.rows)
    _say(
        f"{sum(row['Blobs'] for row in answer.rows):,} blobs, {behind:,} bytes behind, "
        f"{sum(row['Tuples'] for row in answer.rows):,} tuples counted, {rejected:,} rejected, "
        f"{garbled:,} bytes garbled; as of {now:%Y-%m-%d %H:%M:%SZ}"
    )
    sys.exit(1 if behind else 0)


def _add_status(row: dict[str, Any], found: sweep_job.Compared, now: datetime) -> None:
    """Add a blob to its scope's hour. Lag: from the last record to its commit, or until now if behind."""
    entry = found.entry
    for name, value in (
        ("Blobs", 1),
        ("Offset", entry.offset),
        ("Length", found.listed.length),
        ("Behind", found.behind),
        ("Tuples", entry.tuples),
        ("Malformed", entry.malformed),
        ("GarbledBytes", entry.garbled_bytes),
    ):
        row[name] += value
    last = entry.last_record_time
    if last is not None:
        row["LastRecordTime"] = max(last, row["LastRecordTime"] or last)
        lag = (now if found.behind else found.written or now) - last
        row["LagSeconds"] = max(row["LagSeconds"], int(lag.total_seconds()))


@main.command()
@_output
@_command
def scopes(output: Output) -> None:
    """What is watched: the scopes that there are answers for."""
    rows = [*_connect().views.catalog().values()]
    columns = (
        *("Name", "Kind", "Scope", "FirstPeriod", "LastPeriod"),
        *(() if output == "table" else ("ResourceId", "TargetResourceId")),
    )
    print_answer(Answer(columns, rows), output)
    if not rows:
        _say("no scope yet: run `flowtally sweep` and `flowtally rollup`, or wait for the function app")


@main.command(
    epilog="Questions: " + " ".join(f"{question.name}: {question.help}" for question in QUESTIONS.values())
)
@click.argument("question", type=click.Choice(list(QUESTIONS)))
@click.option("--scope", help="A scope's name or key, or a part of it. Default: all scopes.")
@_since(None)
@_until
@click.option("--grain", type=click.Choice(["5m", "hour", "day"]), default="hour", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Rows a period; the others go to its rest. [10]")
@click.option("--order-by", metavar="MEASURE", help="Another order than the ranks'.")
@_output
@_command
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
    stores = _connect()
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
        _say("no rows for that time: `flowtally scopes` says from when to when there are some")
    _say(left_out(answer))

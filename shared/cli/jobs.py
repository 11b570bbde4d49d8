"""The commands that work and that watch over it: sweep, rollup, prune, status, doctor."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from shared.cli.frame import (
    When,
    command,
    connect,
    connect_to_results,
    main,
    output_option,
    parameter_options,
    say,
    since_option,
    until_option,
    watch_option,
)
from shared.errors import BadRequest, Unavailable
from shared.terminal import line_width, wrap
from shared.times import HOUR, floor_hour
from shared.views.formats import Output, human_bytes, plain, printable
from shared.views.query import AT, STATUS_PARAMETERS, Given, read_parameters, read_times

if TYPE_CHECKING:
    from shared.doctor import Finding
    from shared.prune import PruneResult
    from shared.rollup import RolledUp
    from shared.stores import Results, Stores
    from shared.sweep import Swept


@main.command()
@since_option("24h")
@until_option
@watch_option
@output_option
@command
def sweep(since: datetime, until: datetime | None, watch: float | None, output: Output) -> None:
    """Count all that is behind: of the last 24 hours, or since another time.

    This is the backfill, too: flowtally sweep --since 30d
    """
    stores = connect()

    from shared.output import print_rows

    stores.tables.create()
    span = datetime.now(UTC) - since
    while True:
        now = datetime.now(UTC)
        first = now - span if watch else since
        try:
            swept = _sweep_with_progress(stores, floor_hour(first), until or now + HOUR)
        except Unavailable as error:
            if not watch:
                raise
            say(f"flowtally: {error}")
            time.sleep(watch)
            continue
        for warning in swept.warnings():
            say(warning)
        for name, failure in swept.failed:
            say(f"failed, left to the next sweep: {name}: {failure}")
        if swept.behind or not watch:
            row = swept.row()
            print_rows(tuple(row), [row], output)
        if not watch:
            sys.exit(1 if swept.failed else 0)
        time.sleep(watch)


def _sweep_with_progress(stores: "Stores", since: datetime, until: datetime) -> "Swept":
    from shared import sweep as job

    with _progress("sweep") as report:

        def show(part: float, swept: "Swept") -> None:
            said = f"{swept.ingested:,} of {swept.listed:,} blobs, {human_bytes(swept.counted.bytes)}"
            report(part, said)

        return job.sweep(stores.accounts, stores.ledger, stores.counts, since, until, show)


@contextmanager
def _progress(name: str) -> Iterator[Callable[..., None]]:
    """A bar on a terminal. What is given takes the part that is done, from 0 to 1, and what else to say."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn(name),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=1, said="")

        def report(part: float, said: str = "") -> None:
            progress.update(task, completed=part, said=said)

        yield report


@main.command()
@since_option(None)
@click.option("--again", is_flag=True, help="Make all anew, whatever seems to be there already.")
@output_option
@command
def rollup(since: datetime | None, *, again: bool, output: Output) -> None:
    """Make the merged counts and the views of all hours that have changed.

    Recent and late hours are found by themselves; --since compares older ones, too. With --again all that was
    counted is made anew: that mends what somebody has changed or deleted in the tables.
    """
    if again and since:
        raise click.UsageError("--again makes all anew: leave --since out")
    results = connect_to_results()

    from shared.output import print_rows

    results.tables.create()
    done = _rollup_with_progress(results, since, again=again)
    for scope, error in done.failed:
        say(f"failed, left to the next rollup: {scope}: {error}")
    for name in done.left:
        say(f"left as it is, as nothing of it is in the ledger any more: {name}")
    for day, scopes in _by_day(done.pruned).items():
        say(f"left as it is, as it was pruned: what is before {day:%Y-%m-%d}, of {_some(scopes)}")
    row = done.row()
    print_rows(tuple(row), [row], output)
    sys.exit(1 if done.failed else 0)


def _rollup_with_progress(results: "Results", since: datetime | None, *, again: bool) -> "RolledUp":
    from shared import rollup as job

    with _progress("rollup") as report:
        return job.rollup(results.ledger, results.counts, results.views, since, again=again, progress=report)


@main.command()
@click.option(
    "--before",
    required=True,
    type=When(),
    help="Before which day: an age such as 400d, or an ISO 8601 time (UTC).",
)
@click.option("--dry-run", is_flag=True, help="Delete nothing; say what would be deleted.")
@click.option("--force", is_flag=True, help="Delete the last 30 days, too, and what flow logs still list.")
@output_option
@command
def prune(before: datetime, *, dry_run: bool, force: bool, output: Output) -> None:
    """Delete what was counted before a day: ledger, merged counts and rows, in whole days.

    It is still known then whether a day was complete (flowtally status --at), but answers don't have it any
    more, and it isn't counted again. Kept are the last 30 days, and what is younger than the oldest blob that
    a flow log still has.

    \b
    Examples:
      flowtally prune --before 400d --dry-run
      flowtally prune --before 2026-01-01
    """  # noqa: D301 -- click's mark for lines that stay as they are
    stores = connect()

    from shared.output import print_rows
    from shared.prune import COLUMNS

    done = _prune_with_progress(stores, before, force=force, dry_run=dry_run)
    for scope, error in done.failed:
        say(f"failed, run it again: {scope}: {error}")
    reasons = [*dict.fromkeys(each.because for each in done.pruned if each.because)]
    for reason in reasons[:_SOME]:
        say(reason)
    if reasons[_SOME:]:
        say(f"and {len(reasons) - _SOME:,} more, for which see column Kept")
    print_rows(COLUMNS, [each.row() for each in done.pruned], output, keep=("Scope", "PrunedBefore"))
    entities = sum(each.entries + each.counts + each.rows for each in done.pruned)
    say(f"{entities:,} entities {'would be' if dry_run else 'were'} deleted")
    sys.exit(1 if done.failed else 0)


_SOME = 5
"""So many of a long list are said."""


def _by_day(days: Mapping[str, datetime]) -> dict[datetime, list[str]]:
    """Names by their days, in the order of these."""
    found: dict[datetime, list[str]] = {}
    for name, day in sorted(days.items(), key=lambda each: (each[1], each[0])):
        found.setdefault(day, []).append(name)
    return found


def _some(names: Sequence[str]) -> str:
    """Names, as many as are read."""
    more = f" and {len(names) - _SOME:,} more" if names[_SOME:] else ""
    return ", ".join(names[:_SOME]) + more


def _prune_with_progress(stores: "Stores", before: datetime, *, force: bool, dry_run: bool) -> "PruneResult":
    from shared import prune as job

    with _progress("prune") as report:
        return job.prune(
            stores.accounts,
            stores.ledger,
            stores.counts,
            stores.views,
            before,
            force=force,
            dry_run=dry_run,
            progress=report,
        )


@main.command()
@parameter_options((*STATUS_PARAMETERS, AT))
@output_option
@command
def status(given: Given, output: Output) -> None:
    """Is everything counted: what is stored against what was read, by account, scope and hour.

    Exits with 1 if something is behind, if merged counts are older than the ledger, if there are no flow
    logs, or if an account can't be asked. With --at the blobs aren't asked: what sweeps and the rollup have
    left in the index tells whether a day or an hour was complete. Exits with 1 if it wasn't, or if that isn't
    known.

    \b
    Examples:
      flowtally status --scope nsg-web --behind
      flowtally status --at 2026-11-03
    """  # noqa: D301 -- click's mark for lines that stay as they are
    now = datetime.now(UTC)
    values = read_parameters((*STATUS_PARAMETERS, AT), given, now)
    if "at" in values and values.keys() & {"since", "until"}:
        raise BadRequest("is a time of its own: leave since and until out", AT.name)
    since, until = read_times(values, now, 24 * HOUR)
    stores = connect()
    if "at" in values:
        _show_completeness(stores, values, output)
    else:
        _show_status(stores, values, (since, until or now + HOUR), output)


def _show_status(
    stores: "Stores", values: Mapping[str, Any], times: tuple[datetime, datetime], output: Output
) -> None:
    from shared.output import print_rows
    from shared.record_types import to_lines
    from shared.status import COLUMNS, compute_status

    since, until = times
    scopes = values.get("scope", ())
    now = stores.counts.now()
    found = compute_status(
        stores.accounts, stores.ledger, stores.counts, floor_hour(since), until, now, scopes
    )
    is_wide = output != "table" or len(stores.accounts) > 1
    print_rows(
        COLUMNS if is_wide else [each for each in COLUMNS if each != "Account"],
        found.behind() if values.get("behind") else found.rows,
        output,
        lambda: {
            "notices": [each.row() for each in found.notices],
            "problems": found.problems,
            "failed": [each.row() for each in found.failures],
            "as_of": plain(now),
        },
        keep=("Account", "Scope", "Hour", "Behind"),
    )
    for name in found.strangers:
        say(f"not a flow log, not counted: {name}")
    for reason in found.refused:
        say(f"not counted on: {reason}")
    for line in to_lines(found.notices):
        say(line)
    total = found.total()
    say(
        f"{total['Blobs']:,} blobs, {human_bytes(total['Behind'])} behind, "
        f"{total['Tuples']:,} tuples counted, {total['Malformed']:,} rejected, "
        f"{human_bytes(total['GarbledBytes'])} garbled; as of {now:%Y-%m-%d %H:%M:%SZ}"
    )
    for problem in found.problems:
        say(problem)
    for failure in found.failures:
        say(failure.say())
    sys.exit(1 if total["Behind"] or found.problems or found.failures else 0)


def _show_completeness(stores: "Stores", values: Mapping[str, Any], output: Output) -> None:
    from shared.completeness import COLUMNS, KEY, examine
    from shared.output import print_rows

    now = stores.counts.now()
    accounts = [each.account for each in stores.accounts]
    found = examine(stores.counts, accounts, values.get("scope", ()), values["at"], now)
    hours = found.incomplete() if values.get("behind") else found.hours
    print_rows(
        COLUMNS,
        [each.row() for each in hours],
        output,
        lambda: {"complete": found.is_complete, "said": [*found.say()], "as_of": plain(found.now)},
        keep=KEY,
    )
    for line in found.say():
        say(line)
    sys.exit(0 if found.is_complete else 1)


@main.command()
@click.option("--app", metavar="ADDRESS", help="Show, too, what the function app at this address finds.")
@output_option
@command
def doctor(app: str | None, output: Output) -> None:
    """Is everything there that counting needs: settings, identity, permissions, tables, events.

    Tries each step without changing anything, and says for each failure what to do. The permissions and the
    network that are tried are this machine's. With --app https://APP.azurewebsites.net the function app tries
    its own, too: it is asked with the function key in the environment variable FLOWTALLY_APP_KEY. What it
    reads, and in which mode, is compared with the settings here.

    Exits with 1 if something fails, here or in the app, with 2 if it is the settings.
    """
    from shared.app_doctor import KEY_SETTING, examine_app, read_address
    from shared.doctor import COLUMNS, examine
    from shared.output import print_rows

    address = read_address(app) if app is not None else None
    findings = [*examine(os.environ)]
    if address:
        findings += examine_app(address, os.environ.get(KEY_SETTING, ""), os.environ)
    rows = [finding.row() for finding in findings]
    if output == "table":
        _, *narrow, _ = COLUMNS
        print_rows(("Where", *narrow) if address else narrow, rows, output)
        _print_to_dos(findings)
    else:
        print_rows(COLUMNS, rows, output)
    failed = [finding for finding in findings if finding.outcome == "failed"]
    names = [f"{each.step} (app)" if each.where == "app" else each.step for each in failed]
    say(f"failed: {', '.join(names)}" if failed else "all well")
    sys.exit(2 if "settings" in names else 1 if failed else 0)


def _print_to_dos(findings: Sequence["Finding"]) -> None:
    """Print what to do under the table, where sentences have room; once for all steps that need the same."""
    steps: dict[str, list[str]] = {}
    for each in findings:
        if each.to_do:
            steps.setdefault(each.to_do, []).append(
                f"{each.step} (app)" if each.where == "app" else each.step
            )
    if steps:
        click.echo("What to do:")
    width = line_width(sys.stdout)
    for to_do, names in steps.items():
        end = "" if to_do.endswith("?") else "."
        click.echo(wrap(printable(f"{', '.join(names)}: {to_do}{end}"), width, " "))

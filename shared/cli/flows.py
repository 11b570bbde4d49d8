"""The commands that read the raw log: flows, rejects, why."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from shared.cli.frame import command, connect, main, output_option, parameter_options, say
from shared.errors import BadRequest, MalformedInput, Unavailable
from shared.times import HOUR
from shared.views.formats import Output, human_bytes, plain
from shared.views.query import (
    RAW_PARAMETERS,
    REJECTS_PARAMETERS,
    WHY_PARAMETERS,
    Condition,
    Given,
    read_parameters,
    read_times,
)

if TYPE_CHECKING:
    from shared.accounts import Failure
    from shared.blobs import FlowLogs
    from shared.flowlog.blob_name import BlobName
    from shared.flows import FlowRow, Progress, StoredBlob, Wanted

_TABLE_ROWS = 100
_TABLE_SAMPLE = 200
_KEPT = (
    *("Time", "Account", "Scope", "Direction", "Status", "L4Protocol", "SrcIp", "DestIp", "DestPort"),
    *("AclRule", "Rejected", "Hour", "ByteFrom", "ByteTo", "Reason", "Sample"),
)
"""The columns of raw logs that are never left out of a table."""
_NAMED = 5
"""Blobs that can't be read which are named, of those that the same would help."""


@main.command(
    epilog="""\b
Examples:
  flowtally flows nsg-web --since 10m
  flowtally flows nsg-web --ip 203.0.113.9 --status denied
  flowtally flows hub --since 2026-11-22T05:00 --until 2026-11-22T05:10 -o ndjson
  flowtally flows resourceId=/SUBSCRIPTIONS/.../PT1H.json --port 22
"""
)
@click.argument("blob_or_scope")
@parameter_options(RAW_PARAMETERS)
@output_option
@command
def flows(blob_or_scope: str, given: Given, output: Output) -> None:
    """The raw log of a scope, or of one blob: a row for each tuple, as it was logged.

    Where a VNet log ends a flow and begins it again in one millisecond, the state of both tuples is
    Restarted; their figures are those of the log, too. Read straight from the blobs, blob by blob, in the
    order of the log. A tuple that can't be read is a row, too, that says why; it is left out only where a
    filter rules it out. A blob is given by its name, by its container and name with a slash between them, or
    by its URL. Of a name, and of a scope, the blobs of all accounts are read.
    """
    now = datetime.now(UTC)
    values = read_parameters(RAW_PARAMETERS, given, now)
    accounts = connect().accounts

    from shared.flows import COLUMNS, Progress, read_flows

    wanted, blobs, failures = _choose_blobs(accounts, blob_or_scope, values, now, HOUR)
    looked = Progress()
    rows = read_flows(blobs, wanted, looked)
    number = _print_log(COLUMNS, rows, output, blobs, wanted, looked, failures, values.get("limit"))
    if not number:
        say(_nothing(wanted, blobs, looked, failures))
    _end(wanted, looked, len(blobs), failures)


@main.command(
    epilog="""\b
Examples:
  flowtally rejects nsg-web
  flowtally rejects hub --since 7d -o ndjson
  flowtally rejects resourceId=/SUBSCRIPTIONS/.../PT1H.json -o csv
"""
)
@click.argument("blob_or_scope")
@parameter_options(REJECTS_PARAMETERS)
@output_option
@command
def rejects(blob_or_scope: str, given: Given, output: Output) -> None:
    """All that can't be counted of a scope, or of one blob: a row for each tuple and each stretch of bytes.

    Read again from the blobs of the hours asked for: where it stands, why it is rejected, and its beginning.
    What is no whole record yet at the end of a blob is listed once its hour is over. `flowtally show rejects`
    counts them by reason.
    """
    now = datetime.now(UTC)
    values = read_parameters(REJECTS_PARAMETERS, given, now)
    accounts = connect().accounts

    from shared.flows import REJECT_COLUMNS, Progress, read_rejects

    wanted, blobs, failures = _choose_blobs(accounts, blob_or_scope, values, now, 24 * HOUR)
    blobs = wanted.blobs_of(blobs)
    looked = Progress()
    rows = read_rejects(blobs, now, looked)
    number = _print_log(REJECT_COLUMNS, rows, output, blobs, wanted, looked, failures, values.get("limit"))
    if not number:
        nothing = f"nothing is rejected in {_log_of(looked, failures)} of that time"
        say(nothing if looked.bytes else _nothing(wanted, blobs, looked, failures))
    else:
        say("how many there are for each reason: `flowtally show rejects`")
    _end(wanted, looked, len(blobs), failures)


def _print_log(
    columns: Sequence[str],
    rows: "Iterator[FlowRow]",
    output: Output,
    blobs: Sequence["StoredBlob"],
    wanted: "Wanted",
    looked: "Progress",
    failures: Sequence["Failure"],
    limit: int | None,
) -> int:
    """Print rows as they are read, at most ``limit``; give their number, and say if there may be more.

    A table is for people: fewer rows, short samples, no account nor scope where there is only one, and no
    blobs' names, which hour, scope and interface tell, too.
    """
    from shared.output import print_rows

    hidden = set[str]()
    if output == "table":
        limit = limit or _TABLE_ROWS
        hidden = {"BlobName"}
        if len({each.blob.scope for each in blobs}) == 1:
            hidden.add("Scope")
        if len({each.account.account for each in blobs}) == 1:
            hidden.add("Account")
        rows = (row | {"Sample": row["Sample"][:_TABLE_SAMPLE]} if "Sample" in row else row for row in rows)
    counted = _Counted(islice(rows, limit))
    print_rows(
        [each for each in columns if each not in hidden],
        counted,
        output,
        lambda: _beyond(wanted, looked, failures),
        keep=_KEPT,
    )
    if counted.number == limit:
        say(f"stopped after {limit:,} rows: there may be more")
    return counted.number


class _Counted:
    """Rows, and how many have come by."""

    def __init__(self, rows: "Iterator[FlowRow]") -> None:
        self._rows = rows
        self.number = 0

    def __iter__(self) -> "Iterator[FlowRow]":
        for row in self._rows:
            self.number += 1
            yield row


@main.command(
    epilog="""\b
Examples:
  flowtally why --from 203.0.113.9 --to 10.0.0.4
  flowtally why --from 10.1.0.0/16 --to 10.0.0.4 --port 1433 --since 24h
"""
)
@parameter_options(WHY_PARAMETERS)
@output_option
@command
def why(given: Given, output: Output) -> None:
    """Which network security group and rule decided on flows from an address to another, and how.

    \b
    Read from the raw log, so it says what was logged, and no more:
    - a flow stands there under the side that opened it (for the other way round, ask the other way round);
    - the log names the rule that decided, not its priority, nor other rules that would have; where it
      names none, encryption may be the reason, and its code says why;
    - what never reached a logged interface, or was stopped before it, is not in there;
    - flows and bytes are counted as in all answers: what a VNet log states twice is counted once.
    """  # noqa: D301 -- click's mark for lines that stay as they are
    now = datetime.now(UTC)
    values = read_parameters(WHY_PARAMETERS, given, now)
    for name in ("from", "to"):
        if name not in values:
            raise BadRequest("is needed: an address such as 192.0.2.7, or a range such as 10.0.0.0/8", name)
    since, until = read_times(values, now, 3 * HOUR)
    accounts = connect().accounts

    from shared.flows import (
        DECISION_COLUMNS,
        DECISION_KEY,
        Progress,
        Wanted,
        decisions,
        find_blobs,
        read_flows,
        shorten_ports,
    )
    from shared.output import for_people, print_rows
    from shared.views.explanations import explain_codes, explain_rules, is_denied_by_encryption

    wanted = Wanted(since, until, _conditions(values))
    blobs, failures = find_blobs(accounts, values.get("scope", ()), wanted)
    looked, rejected = Progress(), 0

    def readable() -> "Iterator[FlowRow]":
        nonlocal rejected
        for row in read_flows(blobs, wanted, looked):
            if "Rejected" in row:
                rejected += 1
            else:
                yield row

    rows = decisions(readable())
    notes = [*explain_rules(rows), *explain_codes(filter(is_denied_by_encryption, rows))]
    shown = [row | {"Ports": shorten_ports(row["Ports"])} for row in rows] if output == "table" else rows
    print_rows(
        DECISION_COLUMNS,
        shown,
        output,
        lambda: _beyond(wanted, looked, failures) | {"notes": notes},
        keep=(*DECISION_KEY, "LastSeen"),
    )
    if rows:
        say(f"last decision, {for_people('LastSeen', rows[0]['LastSeen'])}: {_decided(rows[0])}")
        for note in notes:
            say(f"note: {note}")
    else:
        say(_nothing(wanted, blobs, looked, failures))
    if rejected:
        say(f"note: {rejected:,} of the log's entries can't be read; `flowtally rejects` shows them")
    _end(wanted, looked, len(blobs), failures)


def _decided(row: "FlowRow") -> str:
    from shared.views.explanations import explain_denial, is_denied_by_encryption

    if is_denied_by_encryption(row):
        return f"denied {explain_denial(row['Encryption'])}"
    return f"{row['Status'].lower()} by {row['AclRule']} of {row['AclGroup'].rpartition('/')[2]}"


def _choose_blobs(
    accounts: "Sequence[FlowLogs]",
    blob_or_scope: str,
    values: Mapping[str, Any],
    now: datetime,
    usual: timedelta,
) -> "tuple[Wanted, list[StoredBlob], list[Failure]]":
    """What is asked for, and the blobs to read: the one that is named, or a scope's of that time; of all
    accounts, but of an URL. And which accounts couldn't be asked.

    Of a single blob all is asked for unless times are given; of a scope the ``usual`` time before ``now``.
    ``BadRequest`` if there is no such blob.
    """
    from shared.flowlog.blob_name import CONTAINERS
    from shared.flows import Wanted, find_blob, find_blobs

    text = re.split("[?#]", blob_or_scope, maxsplit=1)[0]  # behind it a signature may stand, never to be said
    blob, its_accounts = _blob_named(text, accounts)
    end = max(now, blob.hour + HOUR) if blob else now
    since, until = read_times(values, end, end - (blob.hour - HOUR) if blob else usual)
    wanted = Wanted(since, until, _conditions(values))
    if not blob:
        return wanted, *find_blobs(accounts, [text], wanted)
    found, failures = find_blob(its_accounts, blob)
    if not found:
        where = ", ".join(each.account for each in its_accounts)
        missing = (
            f"there is no blob {blob.name!r} in container {CONTAINERS[blob.kind]} of the "
            f"account{'s' if len(its_accounts) > 1 else ''} {where}"
        )
        if failures:
            raise Unavailable(
                f"{missing}, as far as they answered; {'; '.join(each.say() for each in failures)}"
            )
        raise BadRequest(f"{missing}: it was never written, or is no longer kept", "blob-or-scope")
    return wanted, found, failures


def _blob_named(text: str, accounts: "Sequence[FlowLogs]") -> "tuple[BlobName | None, Sequence[FlowLogs]]":
    """Read a blob's name, its container and name, or its URL: the blob, and the accounts that it may be in.
    No blob if the text may be a scope.
    """
    from shared.blobs import split_url
    from shared.flowlog.blob_name import KINDS, parse_blob_name

    if "/" not in text:
        return None, accounts
    container, _, name = text.partition("/")
    if "://" in text:
        try:
            its_account, container, name = split_url(text)
        except ValueError:
            raise BadRequest("the URL can't be read", "blob-or-scope") from None
        if container not in KINDS:
            raise BadRequest(
                f"this URL names no blob in one of the containers {' and '.join(KINDS)}", "blob-or-scope"
            )
        known = ", ".join(f"{each.connection} ({each.account})" for each in accounts)
        accounts = [each for each in accounts if each.account == its_account]
        if not accounts:
            raise BadRequest(
                f"this blob is of the account {its_account}, to which no connection leads; these do: {known}",
                "blob-or-scope",
            )
        text = f"{container}/{name}"
    try:
        blob = parse_blob_name(name, container) if container in KINDS else parse_blob_name(text)
    except MalformedInput:
        raise BadRequest(f"{text!r} is no flow log's blob, nor a scope", "blob-or-scope") from None
    return blob, accounts


def _conditions(values: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(value for value in values.values() if isinstance(value, Condition))


def _nothing(
    wanted: "Wanted", blobs: "list[StoredBlob]", looked: "Progress", failures: "Sequence[Failure]"
) -> str:
    if not wanted.blobs_of(blobs):
        if failures:
            return "the accounts that answered have no log of that time"
        return "there is no log of that time: nothing was logged, or it is no longer kept"
    if looked.unread and not looked.bytes:
        return "nothing could be read of the log of that time"
    if not looked.tuples and not looked.unread:
        return "the log of that time is empty"
    return f"nothing such is in {_log_of(looked, failures)} of that time, neither allowed nor denied"


def _log_of(looked: "Progress", failures: "Sequence[Failure]") -> str:
    return "what could be read of the log" if looked.unread or failures else "the log"


def _beyond(wanted: "Wanted", looked: "Progress", failures: "Sequence[Failure]") -> dict[str, Any]:
    return {
        "since": plain(wanted.since),
        "until": plain(wanted.until),
        "looked_at": asdict(looked),
        "failed": [each.row() for each in failures],
    }


def _end(wanted: "Wanted", looked: "Progress", blobs: int, failures: "Sequence[Failure]") -> None:
    """Say what was looked at. If something couldn't be read, say what, and what helps, and exit with 1."""
    for failure in failures:
        say(failure.say())
    to_dos: dict[str, list[str]] = {}
    for each in looked.unread:
        to_dos.setdefault(each.to_do, []).append(f"{each.reason} (account {each.account})")
    for to_do, reasons in to_dos.items():
        for reason in reasons[:_NAMED]:
            say(f"not read: {reason}")
        if len(reasons) > _NAMED:
            say(f"not read, and the same would help: {len(reasons) - _NAMED:,} blobs more")
        say(f"what helps: {to_do}")
    until = f"{wanted.until:%Y-%m-%d %H:%M:%S}" if wanted.until else "now"
    say(
        f"looked at {looked.blobs:,} of {blobs:,} blobs, {human_bytes(looked.bytes)}: "
        f"{looked.tuples:,} tuples, {looked.rejected:,} rejected, "
        f"{human_bytes(looked.garbled_bytes)} garbled · from {wanted.since:%Y-%m-%d %H:%M:%S} to {until}, UTC"
    )
    if looked.unread:
        say(f"incomplete: {len(looked.unread):,} of these blobs couldn't be read, or not to the end")
    if failures:
        say(f"incomplete: {len(failures):,} of the accounts couldn't be asked")
    if looked.unread or failures:
        sys.exit(1)

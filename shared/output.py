"""How answers are printed: a table for people, everything else for programs."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.views.answers import BEFORE, Answer, compared_by
from shared.views.formats import document, dump, lines, plain_row, printable
from shared.views.query import Query

Output = Literal["table", "json", "ndjson", "csv", "tsv"]

_WIDTH_UNKNOWN = 200
_MINUTES = ("Period", "Hour", "FirstPeriod", "LastPeriod")
_NARROWEST_TEXT = 15
_DROPPED_FIRST = (
    *("FlowsEnded", "PacketsDestToSrc", "PacketsSrcToDest", "GarbledBytes", "FirstSeen", "FlowsAllowed"),
    *("Records", "Kind", "LagSeconds", "Length", "FirstPeriod", "State", "SrcPort"),
)
_TITLES = {
    "PacketsSrcToDest": "Packets →",
    "BytesSrcToDest": "Bytes →",
    "PacketsDestToSrc": "Packets ←",
    "BytesDestToSrc": "Bytes ←",
    "FlowsAllowed": "Allowed",
    "FlowsDenied": "Denied",
    "FlowsEnded": "Ended",
    "L4Protocol": "Proto",
    "DestPort": "Port",
    "LagSeconds": "Lag",
    "GarbledBytes": "Garbled",
    "LastRecordTime": "Last record",
}
_NOT_COUNTED = ("DestPort", "SrcPort", "Rank", "ByteFrom", "ByteTo")
_KEPT_IF_EMPTY = ("L4Protocol", "DestPort", "LagSeconds", "LastRecordTime")
_HIDDEN_IF_EMPTY = {*_TITLES, "Missed", "Malformed"} - {*_KEPT_IF_EMPTY}
_BYTES = ("Bytes", "BytesSrcToDest", "BytesDestToSrc", "GarbledBytes", "Traffic")


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    output: Output,
    beyond: Mapping[str, Any] | None = None,
    out: TextIO | None = None,
) -> None:
    """Print rows to ``out`` (default: stdout); with JSON, what is ``beyond`` them, too."""
    out = out or sys.stdout
    if output == "table":
        if rows:
            _print_table(columns, rows, out)
    elif output == "json":
        print(dump({"rows": [plain_row(columns, row) for row in rows], **(beyond or {})}, indent=2), file=out)
    else:
        for line in lines(columns, rows, output):
            print(_harmless(line) if out.isatty() else line, end="", file=out)


def print_answer(answer: Answer, query: Query, output: Output) -> None:
    """Print an answer to stdout."""
    if output == "table":
        print_rows(_columns_for_people(answer, query), answer.rows, output)
    elif output == "json":
        sys.stdout.write(dump(document(answer), indent=2) + "\n")
    else:
        print_rows(answer.columns, answer.rows, output)


def _columns_for_people(answer: Answer, query: Query) -> list[str]:
    """Of the time before only what the rows are compared by; no scope where there is one only."""
    compared = compared_by(query)
    known = (BEFORE + compared, BEFORE + "Missed")
    return [
        name
        for name in answer.columns
        if not (name.startswith(BEFORE) and name not in known)
        and not (name == "Scope" and len(answer.scopes) == 1)
    ]


def _harmless(line: str) -> str:
    """A line of data as a terminal may see it: what stands between its tabs, and before its end."""
    return "\t".join(map(printable, line.removesuffix("\n").split("\t"))) + "\n"


def left_out(answer: Answer, query: Query) -> Iterator[str]:
    """What an answer is of, what it leaves out, and how fresh it is: some lines."""
    if answer.why_empty:
        yield answer.why_empty
    sums = [("total", answer.total)]
    if any(answer.rest.values()):
        sums += [("shown", answer.shown), ("rest", answer.rest)]
    if answer.before is not None:
        sums.append(("before", answer.before))
    parts = [f"{name} {_sums(figures)}" for name, figures in sums]
    as_of = for_people("as_of", answer.as_of) if answer.as_of else "nothing counted yet"
    yield " · ".join([*parts, f"as of {as_of}"])
    form = "%Y-%m-%d %H:%M"
    until = f"{answer.until:{form}}" if query.until or query.compare else "now"
    scopes = f"{len(answer.scopes)} scopes" if len(answer.scopes) != 1 else answer.scopes[0]
    yield f"{scopes} · from {answer.since:{form}} to {until}, UTC"
    for note in answer.notes:
        yield f"note: {note}"


def _sums(figures: Mapping[str, int]) -> str:
    if "Blobs" in figures:
        return (
            f"{figures['Blobs']:,} blobs, {human_bytes(figures['Bytes'])}, {figures['Tuples']:,} tuples, "
            f"{figures['Malformed']:,} rejected"
        )
    both = figures["BytesSrcToDest"] + figures["BytesDestToSrc"]
    parts = [f"{figures['Tuples']:,} tuples", f"{figures['FlowsDenied']:,} denied"]
    return ", ".join([*parts, *([human_bytes(both)] if both else [])])


def _print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], out: TextIO) -> None:
    """A table that fits the terminal: columns are left out, and said to be, before a number is cut short."""
    known_width = out.isatty() or "COLUMNS" in os.environ
    console = Console(file=out, highlight=False, width=None if known_width else _WIDTH_UNKNOWN)
    left = [name for name in columns if _is_shown(name, rows)]
    dropped = []
    for name in filter(left.__contains__, _DROPPED_FIRST):
        if _least_width(_table(left, rows)) <= console.width:
            break
        left.remove(name)
        dropped.append(_TITLES.get(name, name))
    table = _table(left, rows)
    console.width = max(console.width, _least_width(table))
    console.print(table)
    if dropped:
        console.print(Text(f"{', '.join(dropped)}: no room here; in a wider window, or with -o csv", "dim"))


def _least_width(table: Table) -> int:
    """Characters a line when texts are folded and numbers are whole; three stand between columns."""
    return sum(column.min_width or 0 for column in table.columns) + 3 * len(table.columns)


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    short = {
        name: _shortest({str(row[name]) for row in rows if row.get(name)}, separator)
        for name, separator in (("Scope", "~"), ("AclGroup", "/"))
    }
    cells = [[_cell(name, row, short.get(name, {})) for name in columns] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        title = _title(name)
        widest = max(map(len, [title, *(line[place] for line in cells)]))
        kinds = {type(row.get(name)) for row in rows} - {type(None)}
        table.add_column(
            title,
            justify="right" if int in kinds else "left",
            overflow="fold",
            no_wrap=str not in kinds,
            min_width=min(widest, _NARROWEST_TEXT) if str in kinds else widest,
        )
    first = next((place for place, name in enumerate(columns) if name not in ("Scope", "Period")), 0)
    for row, line in zip(rows, cells, strict=True):
        if row.get("IsRest"):
            line[first] = "rest"
        table.add_row(*map(Text, line), style="dim" if row.get("IsRest") else None)
    return table


def _title(name: str) -> str:
    if name.startswith(BEFORE):
        return f"{_title(name.removeprefix(BEFORE))} before"
    return _TITLES.get(name, name)


def _is_shown(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    if name == "IsRest":
        return False
    hidden_if_empty = name in _HIDDEN_IF_EMPTY or name == BEFORE + "Missed"
    return not hidden_if_empty or any(row.get(name) for row in rows)


def _shortest(paths: set[str], separator: str) -> dict[str, str]:
    """The ends of paths, all of as few parts as still tell them apart."""
    for parts in range(1, 20):
        short = {path: separator.join(path.split(separator)[-parts:]) for path in paths}
        if len(set(short.values())) == len(paths):
            return short
    return {}


def _cell(name: str, row: Mapping[str, Any], short: Mapping[str, str]) -> str:
    value = row.get(name)
    return for_people(name, short.get(value, value) if isinstance(value, str) else value)


def for_people(name: str, value: object) -> str:
    """A column's value as people read it."""
    formats: list[tuple[type, Callable[[Any], str]]] = [
        (type(None), lambda _: ""),
        (bool, lambda yes: "yes" if yes else "no"),
        (
            datetime,
            lambda time: time.strftime("%Y-%m-%d %H:%M" if name in _MINUTES else "%Y-%m-%d %H:%M:%SZ"),
        ),
        (int, lambda number: _number(name.removeprefix(BEFORE), number)),
    ]
    for kind, form in formats:
        if isinstance(value, kind):
            return form(value)
    return printable(str(value))


def _number(name: str, number: int) -> str:
    if name == "LagSeconds":
        return f"{number // 3600}:{number // 60 % 60:02d}:{number % 60:02d}"
    if name in _NOT_COUNTED:
        return str(number)
    return human_bytes(number) if name in _BYTES else f"{number:,}"


def human_bytes(number: int) -> str:
    """A number of bytes in three or four figures: 999 B, 1.2 KB, 45.6 MB, 7.9 GB (a kilobyte is 1,000)."""
    if number < 1_000:
        return f"{number} B"
    size = float(number)
    for unit in ("KB", "MB", "GB", "TB", "PB"):
        size /= 1_000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size:,.1f} PB"

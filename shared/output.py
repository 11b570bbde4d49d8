"""How answers are printed: a table for people, everything else for programs."""

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.views.answers import Answer

Output = Literal["table", "json", "ndjson", "csv", "tsv"]

_WIDTH_UNKNOWN = 200
_MINUTES = ("Period", "Hour", "FirstPeriod", "LastPeriod")
_NARROWEST_TEXT = 15
_DROPPED_FIRST = (
    *("FlowsEnded", "PacketsDestToSrc", "PacketsSrcToDest", "GarbledBytes", "FirstSeen", "FlowsAllowed"),
    *("Records", "Grain", "Kind", "LagSeconds", "Length", "FirstPeriod"),
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
}
_HIDDEN_IF_EMPTY = {*_TITLES, "Missed", "GarbledBytes", "Malformed"} - {
    "L4Protocol",
    "DestPort",
    "LagSeconds",
}


def print_answer(answer: Answer, output: Output, out: TextIO | None = None) -> None:
    """Print an answer to ``out`` (default: stdout); what it leaves out too, where the format has room."""
    out = out or sys.stdout
    if output == "table":
        _print_table(answer, out)
    elif output == "json":
        document = {
            "rows": [_plain_row(answer, row) for row in answer.rows],
            **{name: getattr(answer, name) for name in ("total", "shown", "rest")},
            "as_of": _plain(answer.as_of),
        }
        print(json.dumps(document, indent=2, ensure_ascii=False), file=out)
    elif output == "ndjson":
        for row in answer.rows:
            print(json.dumps(_plain_row(answer, row), ensure_ascii=False), file=out)
    else:
        writer = csv.writer(out, delimiter="," if output == "csv" else "\t", lineterminator="\n")
        writer.writerow(answer.columns)
        for row in answer.rows:
            writer.writerow(_plain(row.get(name)) for name in answer.columns)


def left_out(answer: Answer) -> str:
    """What an answer leaves out, and how fresh it is, in one line."""
    parts = []
    if answer.total and answer.shown and answer.rest:
        all_three = (("total", answer.total), ("shown", answer.shown), ("rest", answer.rest))
        parts = [
            f"{name} {sums['Tuples']:,} tuples, {sums['FlowsDenied']:,} denied, "
            f"{sums['BytesSrcToDest'] + sums['BytesDestToSrc']:,} bytes"
            for name, sums in (all_three if answer.rest["Tuples"] else all_three[:1])
        ]
    as_of = _for_people("as_of", answer.as_of) if answer.as_of else "nothing counted yet"
    return " · ".join([*parts, f"as of {as_of}"])


def _print_table(answer: Answer, out: TextIO) -> None:
    """A table that fits the terminal: columns are left out, and said to be, before a number is cut short."""
    known_width = out.isatty() or "COLUMNS" in os.environ
    console = Console(file=out, highlight=False, width=None if known_width else _WIDTH_UNKNOWN)
    columns = [name for name in answer.columns if _is_shown(name, answer.rows)]
    dropped = []
    for name in filter(columns.__contains__, _DROPPED_FIRST):
        if _least_width(_table(columns, answer.rows)) <= console.width:
            break
        columns.remove(name)
        dropped.append(_TITLES.get(name, name))
    table = _table(columns, answer.rows)
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
        title = _TITLES.get(name, name)
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


def _is_shown(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    if name == "IsRest":
        return False
    return name not in _HIDDEN_IF_EMPTY or any(row.get(name) for row in rows)


def _shortest(paths: set[str], separator: str) -> dict[str, str]:
    """The ends of paths, all of as few parts as still tell them apart."""
    for parts in range(1, 20):
        short = {path: separator.join(path.split(separator)[-parts:]) for path in paths}
        if len(set(short.values())) == len(paths):
            return short
    return {}


def _cell(name: str, row: Mapping[str, Any], short: Mapping[str, str]) -> str:
    value = row.get(name)
    return _for_people(name, short.get(value, value) if isinstance(value, str) else value)


def _for_people(name: str, value: object) -> str:
    formats: list[tuple[type, Callable[[Any], str]]] = [
        (type(None), lambda _: ""),
        (bool, lambda yes: "yes" if yes else "no"),
        (
            datetime,
            lambda time: time.strftime("%Y-%m-%d %H:%M" if name in _MINUTES else "%Y-%m-%d %H:%M:%SZ"),
        ),
        (int, lambda number: str(number) if name in ("DestPort", "Rank") else f"{number:,}"),
    ]
    if name == "LagSeconds" and isinstance(value, int):
        return f"{value // 3600}:{value // 60 % 60:02d}:{value % 60:02d}"
    for kind, form in formats:
        if isinstance(value, kind):
            return form(value)
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value))


def _plain_row(answer: Answer, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(row.get(name)) for name in answer.columns}


def _plain(value: object) -> object:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value

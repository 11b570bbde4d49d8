"""How answers are printed: a table for people, everything else for programs."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.flowlog.blob_name import without_watcher
from shared.views.answers import BEFORE, Answer, AnswerRow, compared_by
from shared.views.formats import Output, beyond_rows, pieces, printable
from shared.views.query import Query

_WIDTH_UNKNOWN = 200
_PAGE = 1_000
_GAP = 2
"""Characters between two columns."""

_MINUTES = ("Period", "Hour", "FirstPeriod", "LastPeriod")
_MOMENTS = ("Time", "FirstSeen", "LastSeen", "LastRecordTime")
_BOTH_WAYS = ("BytesSrcToDest", "BytesDestToSrc")
_LEFT_OUT_FIRST = (
    *("FlowsRestarted", "RestartsLost", "BytesDoubtful", "BytesRestated"),
    *("FlowsEnded", "PacketsDestToSrc", "PacketsSrcToDest", "GarbledBytes", "FirstSeen", "FlowsAllowed"),
    *(BEFORE + "Missed", "Records", "Kind", "Length", "FirstPeriod", "Encryption", "State", "SrcPort"),
    *("Begins", "Continues", "Ends", "Denials"),
)
_LEFT_OUT_THEN = (
    *(*_BOTH_WAYS, "LagSeconds", "Mac", "AclGroup", "ByteFrom", "ByteTo", "L4Protocol", "Rank", "Tuples"),
    "Missed",
)
_NARROWEST = {"SrcIp": 15, "DestIp": 15, "RemoteIp": 15}
"""Characters of a text's column at the least; 12 where nothing else is said."""

_TITLES = {
    "PacketsSrcToDest": "Packets →",
    "BytesSrcToDest": "Bytes →",
    "PacketsDestToSrc": "Packets ←",
    "BytesDestToSrc": "Bytes ←",
    "FlowsAllowed": "Allowed",
    "FlowsDenied": "Denied",
    "FlowsEnded": "Ended",
    "FlowsRestarted": "Restarted",
    "BytesRestated": "Restated",
    "BytesDoubtful": "Doubtful",
    "RestartsLost": "Lost",
    "L4Protocol": "Proto",
    "DestPort": "Port",
    "Direction": "Dir",
    "LagSeconds": "Lag",
    "GarbledBytes": "Garbled",
    "LastRecordTime": "Last record",
}
_SHORT = {"Direction": {"Inbound": "In", "Outbound": "Out"}}
_NOT_COUNTED = ("DestPort", "SrcPort", "Rank", "ByteFrom", "ByteTo")
_HIDDEN_IF_ZERO = (
    *("FlowsAllowed", "FlowsDenied", "FlowsEnded", "PacketsSrcToDest", "PacketsDestToSrc"),
    *("FlowsRestarted", "BytesRestated", "BytesDoubtful", "RestartsLost"),
    *(*_BOTH_WAYS, "GarbledBytes", "Malformed", "Missed", BEFORE + "Missed", "Bytes"),
)
_BYTES = ("Bytes", *_BOTH_WAYS, "BytesRestated", "BytesDoubtful", "GarbledBytes", "Traffic")
_UNIT = ":"
"""Joins a column's name and the measure that it is in, where the name alone doesn't tell."""

_BREAK = re.compile(r"(?<=[-_.:~/ ,])|(?<=[a-z])(?=[A-Z])")
"""Where names and addresses are broken into lines, if they have to be."""


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    output: Output,
    beyond: Callable[[], Mapping[str, Any]] = dict,
    out: TextIO | None = None,
    *,
    ordered_by: str = "",
) -> None:
    """Print rows to ``out`` (default: stdout), as they come; with JSON, what is ``beyond`` them, too.

    A table is printed a thousand rows at a time, as they have to be known before it can be drawn. What it is
    ``ordered_by`` is never left out of it.
    """
    out = out or sys.stdout
    if output == "table":
        for page in batched(rows, _PAGE, strict=False):
            _print_table(columns, page, out, ordered_by)
        return
    for piece in pieces(columns, rows, output, beyond):
        out.write(_harmless(piece) if out.isatty() else piece)


def print_answer(answer: Answer, query: Query, output: Output) -> None:
    """Print an answer to stdout."""
    columns, rows = _for_people(answer, query) if output == "table" else (answer.columns, answer.rows)
    print_rows(columns, rows, output, lambda: beyond_rows(answer), ordered_by=compared_by(query))


def _for_people(answer: Answer, query: Query) -> tuple[Sequence[str], list[AnswerRow]]:
    """The columns that people need, with units where a column's name doesn't tell: no scope where there is
    one only, and of the time before no more than what the rows are compared by.
    """
    compared = compared_by(query)
    units = {
        "Missed": answer.unit,
        BEFORE: compared,
        BEFORE + "Missed": answer.unit,
        "Change": compared,
    }
    names = {
        name: f"{name}{_UNIT}{units[name]}" if name in units else name
        for name in answer.columns
        if not (name.startswith(BEFORE) and name not in units)
        and not (name == "Scope" and len(answer.scopes) == 1)
    }
    rows = [
        {**{shown: row[name] for name, shown in names.items()}, "IsRest": row["IsRest"]}
        for row in answer.rows
    ]
    return [*names.values()], rows


def _harmless(data: str) -> str:
    """Data as a terminal may see it: nothing but what prints, tabs and ends of lines."""
    return "".join(char if char.isprintable() or char in "\t\n" else printable(char) for char in data)


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
    if "Rejects" in figures:
        return f"{figures['Rejects']:,} rejects, {human_bytes(figures['GarbledBytes'])} garbled"
    if "Blobs" in figures:
        return (
            f"{figures['Blobs']:,} blobs, {human_bytes(figures['Bytes'])}, {figures['Tuples']:,} tuples, "
            f"{figures['Malformed']:,} rejected"
        )
    both = figures["BytesSrcToDest"] + figures["BytesDestToSrc"]
    parts = [f"{figures['Tuples']:,} tuples", f"{figures['FlowsDenied']:,} denied"]
    return ", ".join([*parts, *([human_bytes(both)] if both else [])])


def _print_table(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], out: TextIO, ordered_by: str
) -> None:
    """A table that fits the terminal: columns are left out, and said to be, before a number is cut short.

    Texts are broken into lines only as far as they are long, and shorter only where nothing else helps.
    """
    known_width = out.isatty() or "COLUMNS" in os.environ
    console = Console(file=out, highlight=False, width=None if known_width else _WIDTH_UNKNOWN)
    cells = _cells(columns, rows)
    kept, left_out = _fitting(cells, rows, console.width, ordered_by)
    _name_rests(kept, rows)
    widths = _widths(kept, rows, console.width, 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for name in kept:
        table.add_column(_title(name), justify="right" if _is(int, name, rows) else "left", no_wrap=True)
    for place, row in enumerate(rows):
        line = [_broken(cells[name][place], width) for name, width in zip(kept, widths, strict=True)]
        table.add_row(*map(Text, line), style="dim" if row.get("IsRest") else None)
    console.width = max(console.width, _total(widths))
    console.print(table)
    if left_out:
        names = ", ".join(map(_title, left_out))
        console.print(Text(f"{names}: no room here; in a wider window, or with -o csv", "dim"))


type _Cells = dict[str, list[str]]
"""What stands in the cells of each column."""


def _cells(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> _Cells:
    short: dict[str, Mapping[str, str]] = {**_SHORT}
    for name, separator in (("Scope", "~"), ("AclGroup", "/")):
        short[name] = _shortest({str(row[name]) for row in rows if row.get(name)}, separator)
    cells = {
        name: [_cell(name, row, short.get(name, {})) for row in rows]
        for name in columns
        if name != "IsRest" and any(_is_worth_showing(name, row.get(name)) for row in rows)
    }
    for name in filter(cells.__contains__, _MOMENTS):
        if len({cell[:10] for cell in cells[name] if cell}) == 1:
            cells[name] = [cell[11:] for cell in cells[name]]  # all of one day
    if any(name in cells for name in _BOTH_WAYS):
        both = [sum(row.get(name) or 0 for name in _BOTH_WAYS) for row in rows]
        cells["Bytes"] = [*map(human_bytes, both)]
    return cells


def _name_rests(cells: _Cells, rows: Sequence[Mapping[str, Any]]) -> None:
    first = next((name for name in cells if name not in ("Scope", "Period")), None)
    for place, row in enumerate(rows):
        if row.get("IsRest") and first:
            cells[first][place] = "rest"


def _is_worth_showing(name: str, value: object) -> bool:
    hidden_if_zero = name.partition(_UNIT)[0] in _HIDDEN_IF_ZERO
    return value is not None and value != "" and (value != 0 or not hidden_if_zero)


def _fitting(
    cells: _Cells, rows: Sequence[Mapping[str, Any]], room: int, ordered_by: str
) -> tuple[_Cells, list[str]]:
    """The columns that fit, and those that are left out. Bytes both ways are one column where there is no
    room for two.
    """
    first = [name for name in _LEFT_OUT_FIRST if name != ordered_by]
    then = [name for name in _LEFT_OUT_THEN if name != ordered_by]
    for longest, dispensable in ((32, first), (16, first + then)):
        kept = {name: column for name, column in cells.items() if name != "Bytes" or not _ways(cells)}
        left_out: list[str] = []
        for name in ("", *_named(dispensable, kept)):
            if name in kept:
                del kept[name]
                if name not in _BOTH_WAYS:
                    left_out.append(name)
            if name in _BOTH_WAYS:
                kept = {each: cells[each] for each in cells if each in kept or each == "Bytes"}
            if _total(_widths(kept, rows, room, longest)) <= room:
                return kept, left_out
    return kept, left_out


def _named(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    """The columns of these names, whatever their units."""
    units = {column.partition(_UNIT)[0]: column for column in columns}
    return [units[name] for name in names if name in units]


def _ways(cells: _Cells) -> bool:
    return any(name in cells for name in _BOTH_WAYS)


def _widths(cells: _Cells, rows: Sequence[Mapping[str, Any]], room: int, longest: int) -> list[int]:
    """How wide the columns are to be: as their texts are, but where there is no room, those of more than
    ``longest`` characters become narrower, the widest first.
    """
    widths = [max(map(len, [_title(name), *column])) for name, column in cells.items()]
    least = [
        max(len(_title(name)), min(width, max(longest, _NARROWEST.get(name, 12))))
        if _is(str, name, rows)
        else width
        for (name, width) in zip(cells, widths, strict=True)
    ]
    while _total(widths) > room:
        spare, place = max((width - least[place], place) for place, width in enumerate(widths))
        if spare <= 0:
            break
        widths[place] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * len(widths) + 1


def _is(kind: type, name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return kind in {type(row.get(name)) for row in rows} or (kind is int and name == "Bytes")


def _broken(text: str, width: int) -> str:
    """A text in lines of at most ``width`` characters, broken where a reader would."""
    lines = []
    while len(text) > width:
        at = max((found.start() for found in _BREAK.finditer(text, 0, width)), default=0)
        at = at if at > width // 3 else width
        lines.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return "\n".join([*lines, text])


def _title(name: str) -> str:
    name, _, unit = name.partition(_UNIT)
    if name.startswith(BEFORE):
        return f"{_title(name.removeprefix(BEFORE) or unit)} before"
    return _TITLES.get(name, name)


def _shortest(paths: set[str], separator: str) -> dict[str, str]:
    """The ends of paths, all of as few parts as still tell them apart."""
    for parts in range(1, 20):
        ends = {path: separator.join(path.split(separator)[-parts:]) for path in paths}
        for short in ({path: without_watcher(end) for path, end in ends.items()}, ends):
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
        (datetime, lambda time: time.strftime("%Y-%m-%d %H:%M" if name in _MINUTES else "%Y-%m-%d %H:%M:%S")),
        (int, lambda number: _number(name, number)),
    ]
    for kind, form in formats:
        if isinstance(value, kind):
            return form(value)
    return printable(str(value))


def _number(name: str, number: int) -> str:
    name, _, unit = name.partition(_UNIT)
    if name == "LagSeconds":
        return f"{number // 3600}:{number // 60 % 60:02d}:{number % 60:02d}"
    if name in _NOT_COUNTED:
        return str(number)
    text = human_bytes(abs(number)) if (unit or name) in _BYTES else f"{abs(number):,}"
    sign = "-" if number < 0 else "+" if name == "Change" and number else ""
    return sign + text


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

"""How answers are printed: a table for people, everything else for programs."""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.flowlog.blob_name import readable, without_watcher
from shared.layout import GAP, Column, Kind, fit, make_column, total
from shared.terminal import line_width, wrap
from shared.views.answers import BEFORE, Answer, AnswerRow, Totals, compared_by
from shared.views.composed import SHARE, Composed, Section
from shared.views.formats import KIND_NAMES, Output, beyond_rows, human_bytes, pieces, printable
from shared.views.query import Query

_WIDTH_UNKNOWN = 200
_PAGE = 1_000

_MINUTES = ("Period", "Hour", "FirstPeriod", "LastPeriod", "Since")
_MOMENTS = ("Time", "FirstSeen", "LastSeen", "LastRecordTime")
_BOTH_WAYS = ("BytesSrcToDest", "BytesDestToSrc")
_BOTH = "Bytes"
"""The column of bytes both ways together."""
_LEFT_OUT_FIRST = (
    *("FlowsRestarted", "RestartsLost", "BytesDoubtful", "BytesRestated"),
    *("FlowsEnded", "PacketsDestToSrc", "PacketsSrcToDest", "GarbledBytes", "FirstSeen", "FlowsAllowed"),
    *(BEFORE + "Missed", "Records", "Scopes", "Length", "FirstPeriod", "State", "SrcPort"),
    *("Begins", "Continues", "Ends", "Denials", "LastRecordTime"),
)
_LEFT_OUT_THEN = (*_BOTH_WAYS, "LagSeconds", "Mac", "ByteFrom", "ByteTo", "Rank", "Tuples", "Missed")
"""What is left out after these: all else that need not stay, beginning on the right."""

_LISTS = ("Scope", "Kind", "Period")
"""What tells the lists of an answer apart; the rows of one have the same."""
_SHOWN_BY = {"Traffic": (_BOTH,), "Packets": ("PacketsSrcToDest", "PacketsDestToSrc")}
"""The columns that show a measure which has none of its name."""

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
    "ChangePercent": "Change %",
    SHARE: "Share %",
}
_SHORT = {"Direction": {"Inbound": "In", "Outbound": "Out"}}
_PATHS = {"Scope": "~", "AclGroup": "/"}
"""Names that have several parts, and what is between these."""
_NO_NAME = re.compile(r"[ :]|\d\.\d")
"""What sentences, IPv6 addresses and IPv4 addresses have."""
_NOT_COUNTED = ("DestPort", "SrcPort", "Rank", "ByteFrom", "ByteTo")
_HIDDEN_IF_ZERO = (
    *("FlowsAllowed", "FlowsDenied", "FlowsEnded", "PacketsSrcToDest", "PacketsDestToSrc"),
    *("FlowsRestarted", "BytesRestated", "BytesDoubtful", "RestartsLost"),
    *(*_BOTH_WAYS, "GarbledBytes", "Malformed", "Missed", BEFORE + "Missed", "Bytes"),
)
_BYTES = (
    *("Bytes", *_BOTH_WAYS, "BytesRestated", "BytesDoubtful", "GarbledBytes", "Traffic"),
    *("Offset", "Length", "Behind"),
)
_UNIT = ":"
"""Joins a column's name and the measure that it is in, where the name alone doesn't tell."""


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    output: Output,
    beyond: Callable[[], Mapping[str, Any]] = dict,
    out: TextIO | None = None,
    *,
    keep: Collection[str] | None = None,
) -> None:
    """Print rows to ``out`` (default: stdout), as they come; with JSON, what is ``beyond`` them, too.

    A table is printed a thousand rows at a time, as they have to be known before it can be drawn. Where a
    terminal has no room for it, columns are left out, and said to be, but none of those to ``keep``
    (default: all), such as tell its rows apart.
    """
    out = out or sys.stdout
    if output == "table":
        for page in batched(rows, _PAGE, strict=False):
            _print_table(columns, page, out, columns if keep is None else keep)
        return
    for piece in pieces(columns, rows, output, beyond):
        out.write(_harmless(piece) if out.isatty() else piece)


def print_answer(answer: Answer, query: Query, output: Output) -> None:
    """Print an answer to stdout. What its rows stand for, and what they are ordered by, is never left out."""
    columns, rows = _for_people(answer, query) if output == "table" else (answer.columns, answer.rows)
    order = compared_by(query)
    keep = {*_LISTS, *answer.key, *_SHOWN_BY.get(order, (order,)), BEFORE, "Change", "Since"}
    print_rows(
        columns,
        rows,
        output,
        lambda: beyond_rows(answer),
        keep=[name for name in (*columns, _BOTH) if name.partition(_UNIT)[0] in keep],
    )


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
        and not (name == "Kind" and len(answer.lists) == 1)
        and not (name in ("Scope", "Scopes") and len(answer.scopes) == 1)
        and not (query.look_back and name in ("FirstPeriod", "FirstSeen", "AtLatest"))
    }
    rows = [
        {**{shown: row[name] for name, shown in names.items()}, "IsRest": row["IsRest"]}
        for row in answer.rows
    ]
    for row in rows:
        if "Scope" in row:
            row["Scope"] = answer.names.get(row["Scope"], row["Scope"])
    if query.look_back:
        for shown, row in zip(rows, answer.rows, strict=True):
            shown["Since"] = _since(row)
    return [*names.values()], rows


def _since(row: AnswerRow) -> str | None:
    """Since when what a row stands for is there; ``≤`` where that is known only at the latest."""
    moment = row["Since"]
    return moment and f"{'≤ ' if row['AtLatest'] else ''}{for_people('Since', moment)}"


def print_composed(composed: Composed, output: Output) -> None:
    """Print a composition to stdout: a table for each section that has rows, after the verdict."""
    if output != "table":
        print_rows(composed.columns, composed.rows, output, composed.beyond_rows)
        return
    width = line_width(sys.stdout)
    sys.stdout.writelines(wrap(printable(line), width) + "\n" for line in composed.verdict)
    for section in composed.sections:
        rows = [{**row, "Flows": row["FlowsAllowed"] + row["FlowsDenied"]} for row in section.rows]
        if not rows:
            continue
        sys.stdout.write(f"\n{wrap(section.title, width)}\n")
        columns = [name for name in _of_people(composed) if _tells(name, section, rows)]
        keep = {*_LISTS, *(name for part in section.parts for name in (*part.labels, *part.answer.key))}
        print_rows(
            columns, rows, output, keep=[*filter(keep.__contains__, columns), "As", "Flows", _BOTH, SHARE]
        )


def _of_people(composed: Composed) -> Iterator[str]:
    """The columns that people need: what was allowed and denied is told by label, so flows are one column."""
    for name in composed.columns:
        if name == "FlowsAllowed":
            yield "Flows"
        elif not name.startswith(("Flows", "Packets", "Restarts")) and name not in ("Section", "Rank"):
            yield name


def _tells(name: str, section: Section, rows: Sequence[AnswerRow]) -> bool:
    """Whether a column tells people anything: not if the title says it, or there is one value only."""
    values = {row.get(name) for row in rows if not row["IsRest"]}
    if name in ("SrcIp", "DestIp"):
        return not values <= {*section.title.split()}
    return name not in ("Kind", "Scopes") or len(values) > 1


def _harmless(data: str) -> str:
    """Data as a terminal may see it: nothing but what prints, tabs and ends of lines."""
    return "".join(char if char.isprintable() or char in "\t\n" else printable(char) for char in data)


def left_out(answer: Answer, query: Query) -> Iterator[str]:
    """What an answer is of, what it leaves out, and how fresh it is: some lines."""
    if answer.why_empty:
        yield answer.why_empty
    for its in answer.lists:
        kind = f"{KIND_NAMES[its.kind]} logs: " if len(answer.lists) > 1 else ""
        yield kind + " · ".join(f"{name} {_sums(figures)}" for name, figures in _totals(its))
    yield what_of(answer, query)
    for note in answer.notes:
        yield f"note: {note}"


def what_of(answer: Answer, query: Query) -> str:
    """What an answer is of, and how fresh it is."""
    as_of = f"as of {for_people('as_of', answer.as_of)}" if answer.as_of else "nothing counted yet"
    form = "%Y-%m-%d %H:%M"
    until = f"{answer.until:{form}}" if query.until or query.compare else "now"
    scopes = f"{len(answer.names)} scopes" if len(answer.names) != 1 else next(iter(answer.names.values()))
    return f"{scopes} · from {answer.since:{form}} to {until}, UTC · {as_of}"


def _totals(its: Totals) -> Iterator[tuple[str, Mapping[str, int]]]:
    yield "total", its.total
    if any(its.rest.values()):
        yield "shown", its.shown
        yield "rest", its.rest
    if its.before is not None:
        yield "before", its.before


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
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], out: TextIO, keep: Collection[str]
) -> None:
    """A table that fits the terminal, as far as what it has to ``keep`` lets it."""
    width = line_width(out) or _WIDTH_UNKNOWN
    layout = lay_out(columns, rows, width, keep)
    console = Console(file=out, highlight=False, width=width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in layout.columns:
        table.add_column(column.title, justify="right" if column.kind == "number" else "left", no_wrap=True)
    for row, line in zip(rows, zip(*layout.lines, strict=True), strict=bool(layout.columns)):
        table.add_row(*map(Text, line), style="dim" if row.get("IsRest") else None)
    console.width = max(width, _needed(layout))
    console.print(table)
    if layout.left_out:
        console.width = width
        names = ", ".join(layout.left_out)
        console.print(Text(f"{names}: no room here; in a wider window, or with -o csv", "dim"))


def _needed(layout: "Layout") -> int:
    """The width that a table has on a terminal, where some characters are as wide as two."""
    lines = (
        [column.title, *"\n".join(cells).split("\n")]
        for column, cells in zip(layout.columns, layout.lines, strict=True)
    )
    return total([max(map(cell_len, each)) for each in lines])


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table, and the lines in each of their cells; titles of those that are left out."""

    columns: Sequence[Column]
    lines: Sequence[Sequence[str]]
    left_out: Sequence[str]


def lay_out(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int, keep: Collection[str]
) -> Layout:
    """Lay out a table in ``width`` characters.

    Where they are too few, measures are left out first, then names are shortened; and where that isn't
    enough, the table is wider: no two rows that differ in a name look alike, and no number is cut.
    """
    made = _make_columns(columns, rows, keep, fold=False)
    _, everything, _ = next(_choices(made, keep))
    if total([made[name].width for name in everything]) > width:
        made = _make_columns(columns, rows, keep, fold=True)
    for longest, names, missing in _choices(made, keep):
        shown, left_out = [made[name] for name in names], [made[name].title for name in missing]
        widths = fit(shown, width, longest)
        if widths:
            break
    else:
        widths = [column.narrowest for column in shown]
    lines = [column.lines(its) for column, its in zip(shown, widths, strict=True)]
    return Layout(shown, lines, left_out)


def _choices(columns: dict[str, Column], keep: Collection[str]) -> Iterator[tuple[int, list[str], list[str]]]:
    """What may be shown, the best first: how long names and texts may stay, which columns there are, and
    which are left out. Bytes both ways are one column where there is no room for two.
    """
    ways = [name for name in columns if name in _BOTH_WAYS]
    everything = [name for name in columns if name != _BOTH or not ways]
    merged = [name for name in columns if name not in ways]
    merges = bool(ways) and not {*ways} & {*keep}
    first, then = _named(_LEFT_OUT_FIRST, columns), _named(_LEFT_OUT_THEN, columns)
    others = [name for name in reversed(columns) if name not in (*first, *then)]
    for longest, dispensable in ((32, first), (16, [*first, *then, *others])):
        shown, left_out = everything, list[str]()
        yield longest, shown, left_out
        for name in dispensable:
            if name in ways and merges:
                shown = [each for each in merged if each not in left_out]
            elif name in shown and name not in keep:
                shown = [each for each in shown if each != name]
                left_out = [*left_out, name]
            yield longest, shown, left_out
    yield 0, shown, left_out


def _make_columns(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], keep: Collection[str], *, fold: bool
) -> dict[str, Column]:
    """The columns that have something to show, by name; that of bytes both ways before the two.

    A text that tells rows apart is a name, unless it is a sentence or an address. ``fold``: without what
    names need not have.
    """
    shown = [
        name
        for name in names
        if name != "IsRest" and any(_is_worth_showing(name, row.get(name)) for row in rows)
    ]
    rests = [row for row in rows if row.get("IsRest")]
    named, *_ = (
        *(name for name in shown if name in keep and all(row.get(name) is None for row in rests)),
        *shown,
        "",
    )
    made: dict[str, Column] = {}
    for name in shown:
        values = [row.get(name) for row in rows]
        cells = _cells(name, values, fold=fold)
        if name == named:
            cells = ["rest" if row.get("IsRest") else cell for row, cell in zip(rows, cells, strict=True)]
        if name in _BOTH_WAYS and _BOTH not in made:
            both = (sum(row.get(way) or 0 for way in _BOTH_WAYS) for row in rows)
            made[_BOTH] = make_column(_BOTH, map(human_bytes, both), "number")
        kind: Kind = "time" if name in _MINUTES else _kind(values, is_kept=name in keep)
        made[name] = make_column(_title(name), cells, kind)
    return made


def _kind(values: Sequence[object], *, is_kept: bool) -> Kind:
    types = {type(value) for value in values}
    if str in types:
        is_name = is_kept and not any(_NO_NAME.search(value) for value in values if isinstance(value, str))
        return "name" if is_name else "text"
    return "number" if types & {int, float} else "time"


def _cells(name: str, values: Sequence[object], *, fold: bool) -> list[str]:
    texts = {value for value in values if isinstance(value, str)}
    short: Mapping[str, str] = _SHORT.get(name, {})
    if name in _PATHS:
        short = _shortest(texts, _PATHS[name])
        short = {path: readable(end) for path, end in short.items()} if name == "Scope" else short
    elif name == "AclRule" and fold:
        short = {rule: rule.removeprefix("DefaultRule_").removeprefix("UserRule_") for rule in texts}
        short = short if len({*short.values()}) == len(texts) else {}
    shown = (short.get(value, value) if isinstance(value, str) else value for value in values)
    cells = [for_people(name, value) for value in shown]
    if name in _MOMENTS and len({cell[:10] for cell in cells if cell}) == 1:
        return [cell[11:] for cell in cells]  # all of one day
    return ["" if name == "Rank" and cell == "0" else cell for cell in cells]


def _is_worth_showing(name: str, value: object) -> bool:
    hidden_if_zero = name.partition(_UNIT)[0] in _HIDDEN_IF_ZERO
    return value is not None and value != "" and (value != 0 or not hidden_if_zero)


def _named(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    """The columns of these names, whatever their units."""
    units = {column.partition(_UNIT)[0]: column for column in columns}
    return [units[name] for name in names if name in units]


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


def for_people(name: str, value: object) -> str:
    """A column's value as people read it."""
    formats: list[tuple[type, Callable[[Any], str]]] = [
        (type(None), lambda _: ""),
        (bool, lambda yes: "yes" if yes else "no"),
        (datetime, lambda time: time.strftime("%Y-%m-%d %H:%M" if name in _MINUTES else "%Y-%m-%d %H:%M:%S")),
        (int, lambda number: _number(name, number)),
        (float, lambda number: f"{number:,.1f}"),
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

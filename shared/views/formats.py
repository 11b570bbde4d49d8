"""Rows and answers as data: JSON, a JSON document a line, CSV, TSV (pure).

What programs read is exact: times in ISO 8601 (UTC), numbers as they are, texts as logged, with some cares.
In JSON, what doesn't print is written as an escape. In CSV and TSV:

- every text is in quotes, numbers aren't;
- what a spreadsheet would take for a formula has an apostrophe before it, at the beginning of a text and,
  as some spreadsheets split a line at other characters than the file's own, behind a comma, semicolon, tab,
  vertical bar or end of line in it. Where an apostrophe stood already, another one is put before it: who
  drops one apostrophe in each of these places has the text as it was logged (``as_logged``);
- a MAC address has hyphens (``00-0D-3A-F8-78-56``): of digits alone a spreadsheet or pandas would make a
  number, and ``12E456789012`` would be 12 × 10⁴⁵⁶⁷⁸⁹⁰¹².
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # messages are made printable here, also where nothing is answered
    from shared.views.answers import Answer

Format = Literal["json", "ndjson", "csv", "tsv"]
Output = Literal["table", "json", "ndjson", "csv", "tsv"]
"""How the command line prints rows: as a table for people, or in a format for programs."""

_BEGINS = r"(^|[,;|\t\r\n])"
"""Where a spreadsheet may see a cell begin: at the beginning, or behind what it takes for a separator."""

_FORMULA = re.compile(r"^(?=[\t\r\n])|" + _BEGINS + r"(?=[\s\"\x00-\x1f]*[=+\-@＝＋－＠]|')")
"""Where it may take what follows for a formula, the wide forms too, also behind white space and quotes; and
where the mark itself follows.
"""

_MARK = re.compile(_BEGINS + "'")
_MAC = re.compile("[0-9A-F]{12}")


KIND_NAMES = {"nsg": "NSG", "vnet": "VNet"}
"""The kinds of logs, as people call them."""

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def document(answer: "Answer") -> dict[str, Any]:
    """An answer as a JSON document: its rows, and what they leave out."""
    return {"rows": [plain_row(answer.columns, row) for row in answer.rows], **beyond_rows(answer)}


def beyond_rows(answer: "Answer") -> dict[str, Any]:
    """What an answer's document says beside its rows."""
    return {
        "question": answer.question.name,
        "scopes": answer.scopes,
        "since": plain(answer.since),
        "until": plain(answer.until),
        "lists": [asdict(each) for each in answer.lists],
        "unit": answer.unit,
        "as_of": plain(answer.as_of),
        "notes": answer.notes,
        "why_empty": answer.why_empty,
    }


def dump(value: Any) -> str:
    """JSON in one line, in which every character prints."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def pieces(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    form: Format,
    beyond: Callable[[], Mapping[str, Any]] = dict,
) -> Iterator[str]:
    """Rows in one of the formats, piece by piece, however many there are. With JSON, what is ``beyond`` them
    comes after them, and is asked for only then.
    """
    if form == "json":
        yield from _json(columns, rows, beyond)
    elif form == "ndjson":
        for row in rows:
            yield dump(plain_row(columns, row)) + "\n"
    else:
        page = io.StringIO(newline="")
        writer = csv.writer(
            page,
            delimiter="," if form == "csv" else "\t",
            lineterminator="\n",
            quoting=csv.QUOTE_STRINGS,
        )
        for cells in _cells(columns, rows):
            writer.writerow(cells)
            yield page.getvalue()
            page.seek(0)
            page.truncate()


def _json(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], beyond: Callable[[], Mapping[str, Any]]
) -> Iterator[str]:
    yield '{\n  "rows": ['
    joint = "\n    "
    for row in rows:
        yield joint + dump(plain_row(columns, row))
        joint = ",\n    "
    yield "\n  ]"
    for name, value in beyond().items():
        yield f",\n  {dump(name)}: {dump(value)}"
    yield "\n}\n"


def _cells(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[Iterable[object]]:
    yield columns
    for row in rows:
        yield (cell(row.get(name), is_mac=name == "Mac") for name in columns)


def cell(value: object, *, is_mac: bool = False) -> object:
    """A value as it stands in CSV and TSV."""
    value = plain(value)
    if not isinstance(value, str):
        return value
    if is_mac and _MAC.fullmatch(value):
        return "-".join(value[place : place + 2] for place in range(0, 12, 2))
    return _FORMULA.sub(r"\1'", value)


def as_logged(text: str) -> str:
    """A text of CSV or TSV as it was logged: without the marks of ``cell``."""
    return _MARK.sub(r"\1", text)


def plain_row(columns: Sequence[str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it stands in JSON: every column, ``null`` where it has none."""
    return {name: plain(row.get(name)) for name in columns}


def plain(value: object) -> object:
    """A value as it stands in data."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def human_bytes(number: int) -> str:
    """A number of bytes in four figures at the most: 999 B, 1.2 kB, 45.6 MB, 7.9 GB (a kB is 1,000 bytes).

    The page's script has the same rule.
    """
    if number < 1_000:
        return f"{number} B"
    power, tenth = 0, 100
    while (tenths := (number + tenth // 2) // tenth) >= 10_000 and power < len(_UNITS) - 1:
        power, tenth = power + 1, tenth * 1_000
    return f"{tenths // 10:,}.{tenths % 10} {_UNITS[power]}"


def printable(text: str) -> str:
    """Text in which everything prints: what doesn't is written as an escape, so that it does nothing to a
    terminal.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _escaped(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]

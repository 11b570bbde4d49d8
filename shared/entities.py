"""Reading of entities: each column is checked by its type before it is used (pure).

Long binary takes several columns.

Anybody can edit a table: a number becomes a text, a column is left out, a row is added by hand. Such a row is
refused by name, with what mends it, and it alone: the others are read.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.errors import MalformedInput
from shared.times import check_year

_IN_WORDS = {str: "text", int: "a whole number", datetime: "a time", bytes: "binary", bool: "true or false"}


def check_columns(
    table: str,
    columns: Mapping[str, Any],
    wanted: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    *,
    mend: str,
) -> None:
    """Check that an entity of ``table`` has the columns that are ``wanted``, and that these and the
    ``optional`` ones are of their types: ``str``, ``int`` (from 0), ``datetime``, ``bytes`` or ``bool``.

    ``MalformedInput`` names the row and the column; ``mend``: what makes the row anew once it is deleted.
    """
    for name, kind in {**wanted, **(optional or {})}.items():
        value: Any = columns.get(name)
        if value is None:
            if name in wanted:
                raise refuse_row(table, columns, f"it has no column {name}", mend)
            continue
        if not _is_of(value, kind):
            found = _IN_WORDS.get(type(value), type(value).__name__)
            raise refuse_row(table, columns, f"its {name} is {found}, not {_IN_WORDS[kind]}", mend)
        if kind is datetime:
            try:
                check_year(value)
            except ValueError as error:
                raise refuse_row(
                    table, columns, f"its {name} is {value.isoformat()}; {error}", mend
                ) from None
        elif kind is int and value < 0:
            raise refuse_row(table, columns, f"its {name} is {value}, which can't be", mend)


def _is_of(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def refuse_row(table: str, columns: Mapping[str, Any], reason: str, mend: str) -> MalformedInput:
    """The error of a row that can't be used."""
    keys = (str(columns.get(name, "")) for name in ("PartitionKey", "RowKey"))
    return MalformedInput(
        f"row {' / '.join(keys)} of table {table} can't be used: {reason}; delete the row, {mend}"
    )


_CHUNK = 60 * 1024
COUNTS = "Counts"
"""How the columns that hold packed counts are called, each with its number."""


def to_chunks(packed: bytes, name: str = COUNTS) -> dict[str, bytes]:
    """Packed bytes as columns that each fit a binary property: ``Counts00``, ``Counts01`` and so on."""
    return {
        f"{name}{number:02d}": packed[at : at + _CHUNK]
        for number, at in enumerate(range(0, len(packed), _CHUNK))
    }


def from_chunks(columns: Mapping[str, Any], name: str = COUNTS) -> bytes:
    """The packed bytes of an entity; ``MalformedInput`` if they aren't binary."""
    chunks = [columns[column] for column in sorted(columns) if column.startswith(name)]
    if not all(isinstance(chunk, bytes) for chunk in chunks):
        raise MalformedInput(f"its {name.lower()} aren't binary")
    return b"".join(chunks)

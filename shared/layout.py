"""Fit a table into the width of a terminal (pure).

Numbers are never cut. A name is shortened in the middle, and never so far that two names of its column look
alike. Any other text, an address among them, is broken into lines, as half of one is worth nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

GAP = 2
"""Characters between two columns."""

NARROWEST = 8
"""Characters that a name or a text has at the least."""

type Kind = Literal["number", "time", "text", "name"]

_ADDRESS = 15
"""Characters of an IPv4 address at the most: texts become narrower than that only when names can't."""

_BREAK = re.compile(r"(?<=[-_.:~/ ,])|(?<=[a-z])(?=[A-Z])")
"""Where texts are broken into lines, if they have to be."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column with what stands in its cells, row by row; ``narrowest``: the width that it needs."""

    title: str
    cells: tuple[str, ...]
    kind: Kind
    narrowest: int

    @property
    def width(self) -> int:
        """How wide it is where there is room."""
        return max(map(len, [self.title, *self.cells]))

    def lines(self, width: int) -> list[str]:
        """The cells in at most this width, which is ``narrowest`` or more."""
        if self.kind == "name":
            short = _shorten({*self.cells}, width) or {}
            return [short.get(cell, cell) for cell in self.cells]
        if self.kind == "text":
            return [_break(cell, width) for cell in self.cells]
        return [*self.cells]


def make_column(title: str, cells: Iterable[str], kind: Kind) -> Column:
    """Make a column, and find out how narrow it can be."""
    cells = tuple(cells)
    full = max(map(len, [title, *cells]))
    narrowest = full
    if kind == "text":
        narrowest = max(len(title), min(full, NARROWEST))
    elif kind == "name":
        names = {*cells}
        while narrowest > max(len(title), NARROWEST) and _shorten(names, narrowest - 1):
            narrowest -= 1
    return Column(title, cells, kind, narrowest)


def fit(columns: Sequence[Column], room: int, longest: int) -> list[int] | None:
    """Find widths with which the table fits into ``room``; ``None`` if there are none.

    Names and texts are narrowed, the widest first, but to no less than ``longest`` characters; where that is
    0, names as far as they can be, and then texts.
    """
    widths = [column.width for column in columns]
    least = [max(column.narrowest, min(column.width, longest)) for column in columns]
    addresses = [
        max(its, min(column.width, _ADDRESS)) if column.kind == "text" else its
        for its, column in zip(least, columns, strict=True)
    ]
    for narrow in (addresses, least):
        while total(widths) > room:
            spare, place = max(
                ((width, place) for place, width in enumerate(widths) if width > narrow[place]),
                default=(0, 0),
            )
            if not spare:
                break
            widths[place] -= 1
    return widths if total(widths) <= room else None


def total(widths: Sequence[int]) -> int:
    """How wide a table is whose columns are."""
    return sum(widths) + GAP * len(widths) + 1


def _shorten(names: set[str], width: int) -> dict[str, str] | None:
    """Shorten in the middle what is longer, all in one place, so that all are still told apart; ``None`` if
    that can't be done.
    """
    kept = width - 1
    for end in (kept * 3 // 5, kept // 4, kept * 4 // 5):
        short = {
            name: name if len(name) <= width else f"{name[: kept - end]}…{name[len(name) - end :]}"
            for name in names
        }
        if len({*short.values()}) == len(names):
            return short
    return None


def _break(text: str, width: int) -> str:
    """A text in lines of at most ``width`` characters, broken where a reader would."""
    lines = []
    while len(text) > width:
        at = max((found.start() for found in _BREAK.finditer(text, 0, width)), default=0)
        at = at if at > width // 3 else width
        lines.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return "\n".join([*lines, text])

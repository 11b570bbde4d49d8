"""How much a terminal has room for."""

import os
import textwrap
from typing import TextIO

_USUAL_WIDTH = 80


def line_width(stream: TextIO) -> int | None:
    """How many characters a line has: as COLUMNS says, else as the terminal does; ``None`` if it is none."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal():
        return int(stated)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except OSError:
        return _USUAL_WIDTH


def wrap(text: str, width: int | None, indent: str = "") -> str:
    """Wrap a text into lines of less than ``width`` characters, each but the first by two characters further
    to the right; a word that is longer stays whole. Without a width it stays one line.
    """
    if width is None:
        return indent + text
    lines = textwrap.wrap(
        text,
        max(width - 1, 20),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)

"""Find the commands that pages, templates and scripts tell a user to run.

A command stands in a block of a page, in code within its text, in a comment or an output of a Bicep file, or
in a script. What a shell would put in (``$NAME``, ``$(…)``) stays as it is written.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/*.md", "docs/decisions/*.md")
TEMPLATES = ("infra/**/*.bicep", "infra/**/*.bicepparam")
SCRIPTS = ("infra/*.sh", "infra/*.ps1")

SHELLS = {
    "sh": "\\",
    "bash": "\\",
    "powershell": "`",
}  # how a language escapes a character
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?[^\n]*\n.*?^\s*\1$", re.DOTALL | re.MULTILINE)
_OUTPUT = re.compile(r"'((?:az|func) (?:\\.|\$\{[^}]*\}|[^'\\])*)'")
ELLIPSIS = "…"  # in a command: something is left out here
# What a shell puts in, or whoever reads it.
_PUT_IN = re.compile(r"\$\w+|\$@|\$\{[^}]*\}|\$\((?:[^()]|\([^()]*\))*\)|^\(.*\)$|^@\w+$|…")
# What may stand before a command's name: an assignment, and the words that begin a clause.
_BEFORE = re.compile(r"\w+=.*|\$[\w:]+|=|!|if|then|elif|else|while|until|do|time|exec", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its arguments; one that is only ``mentioned`` in a sentence may lack some or all."""

    place: str
    words: tuple[str, ...]
    mentioned: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {' '.join(self.words)}"


def find_commands(program: str, root: Path = ROOT) -> list[Command]:
    """Find all commands of a program, in the order of the files' names."""
    found = []
    for patterns, read in ((PAGES, read_page), (TEMPLATES, read_template), (SCRIPTS, read_script)):
        for path in sorted(each for pattern in patterns for each in root.glob(pattern)):
            for line, words, mentioned in read(path):
                if words[0] == program:
                    place = f"{path.relative_to(root)}:{line}"
                    found.append(Command(place, tuple(words), mentioned))
    return found


def fill_in(words: Sequence[str]) -> list[str]:
    """Put a placeholder where a shell puts something in, or whoever reads the command."""
    return [_PUT_IN.sub("PLACEHOLDER", word) for word in words]


type Words = tuple[int, list[str]]  # where a command begins, and its words
type Found = Iterator[tuple[int, list[str], bool]]  # its line, its words, whether it is only mentioned


def find_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Find the blocks of a page that a shell is to run: where each begins, its language, and what is in it.

    Of a block of text these are the lines after a prompt.
    """
    for block in _BLOCK.finditer(text):
        language, source = block.groups()
        if language == "text":
            lines = re.sub(r"^(?:\$ |(?!\$ ).*$)", "", source, flags=re.MULTILINE)
            yield block.start(2), "sh", lines
        elif language in SHELLS:
            yield block.start(2), language, source


def read_page(path: Path) -> Found:
    """Read what a page has for a shell, and the code within its text."""
    text = path.read_text()
    for start, language, source in find_blocks(text):
        yield from _read_shell(text, start, source, SHELLS[language])
    yield from _read_code(_BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text))


def read_template(path: Path) -> Found:
    """Read the comments of a Bicep file that are a command, and the strings and code that begin with one."""
    text = path.read_text()
    for comment in re.finditer(r"^\s*//\s*((?:az|func|sh|make) .*)$", text, re.MULTILINE):
        yield from _read_shell(text, comment.start(1), comment[1], "\\")
    for string in _OUTPUT.finditer(text):
        source = re.sub(r"\$\{[^}]*\}", "PLACEHOLDER", string[1]).replace("\\'", "'")
        yield from ((_line(text, string.start()), words, False) for _, words in split_commands(source))
    yield from _read_code(text)


def read_script(path: Path) -> Found:
    """Read a script of a POSIX shell, or of PowerShell."""
    text = path.read_text()
    yield from _read_shell(text, 0, text, SHELLS["powershell" if path.suffix == ".ps1" else "sh"])


def _read_shell(text: str, start: int, source: str, escape: str) -> Found:
    source = _HERE_DOCUMENT.sub(lambda each: re.sub(r"[^\n]", " ", each[0]), source)
    for at, words in split_commands(source, escape):
        yield _line(text, start + at), words, False


def _read_code(text: str) -> Found:
    for code in _CODE.finditer(text):
        source = re.sub(r"\s*\n\s*", " ", code[1]).replace("\\|", "|")
        if not re.match(r"(az|func|make|flowtally) ", source):  # other code is no shell command
            continue
        for _, words in split_commands(source):
            # A sentence may be about a command, or about one of its options, which then comes last.
            whole = any(word.startswith("-") for word in words) and not words[-1].startswith("-")
            yield _line(text, code.start()), words, not whole


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def split_commands(text: str, escape: str = "\\", start: int = 0, end: int | None = None) -> Iterator[Words]:
    """Split a shell's text into simple commands: where each begins, and its words, without their quotes.

    What stands in ``$(…)`` is split, too; in PowerShell, whose escape is a backtick, so is what stands in
    ``(…)``. Redirections are left out.
    """
    words: list[tuple[int, str]] = []
    at, end = start, len(text) if end is None else end
    while at < end:
        char = text[at]
        if text.startswith(escape + "\n", at):
            at += 2
        elif char in " \t":
            at += 1
        elif char == "#":
            at = _find("\n", text, at, end)
        elif char in "<>":
            at = _find("[\n;|&]", text, at, end)
        elif char in "\n;|&{}" or char == ")" or (char == "(" and escape == "\\"):
            yield from _command(words)
            words, at = [], at + 1
        else:
            word, until, inner = _read_word(text, at, end, escape)
            words.append((at, word))
            for first, last in inner:
                yield from split_commands(text, escape, first, last)
            at = until
    yield from _command(words)


def _command(words: list[tuple[int, str]]) -> Iterator[Words]:
    while words and _BEFORE.fullmatch(words[0][1]):
        words = words[1:]
    if words:
        yield words[0][0], [word for _, word in words]


def _read_word(text: str, at: int, end: int, escape: str) -> tuple[str, int, list[tuple[int, int]]]:
    """Read a word: its text, where it ends, and where the commands inside begin and end."""
    word, inner = "", []
    while at < end and text[at] not in " \t\n;|&<>":
        group = re.compile(r"\$\(" if escape == "\\" else r"[$@]?\(").match(text, at)
        if group:
            until = _skip(text, group.end() - 1, escape)
            inner.append((group.end(), until - 1))
            word += text[at:until]
        elif text[at] in "()":
            break
        else:
            until = _skip(text, at, escape)
            if text[at] == "'":
                word += text[at + 1 : until - 1]
            elif text[at] == '"':
                word += re.sub(rf'{re.escape(escape)}(["$`\\])', r"\1", text[at + 1 : until - 1])
                inner += [
                    (each.end(), _skip(text, each.end() - 1, escape) - 1)
                    for each in re.compile(r"\$\(").finditer(text, at, until)
                ]
            else:
                word += text[at:until].removeprefix(escape)
        at = until
    return word, at, inner


def _skip(text: str, at: int, escape: str) -> int:
    """Where what begins at this place ends: a quoted text, a parenthesis, an escaped or a plain character."""
    char = text[at]
    if char == escape:
        return at + 2
    if char == "'":
        return text.index("'", at + 1) + 1
    if char == '"':
        at += 1
        while text[at] != '"':
            at = _skip(text, at + 1, escape) if text.startswith("$(", at) else at + 1 + (text[at] == escape)
        return at + 1
    if char == "(":
        at += 1
        while text[at] != ")":
            at = _skip(text, at, escape)
        return at + 1
    return at + 1


def _find(pattern: str, text: str, at: int, end: int) -> int:
    found = re.compile(pattern).search(text, at, end)
    return found.start() if found else end

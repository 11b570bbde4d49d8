"""Hold the Azure CLI's commands in pages, templates and scripts to what its own parser takes.

The Azure CLI is too large for ``make setup`` (700 MB). So ``make azure-cli`` installs it into an environment
of its own and runs this module there: each command goes through the real parser, and what that knows of the
commands in use is written to ``tests/azure_cli.json``. The tests read that file and need no Azure CLI.
"""

import contextlib
import importlib
import importlib.metadata
import io
import json
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from tools.commands import ELLIPSIS, ROOT, Command, fill_in, find_commands

SNAPSHOT = ROOT / "tests" / "azure_cli.json"
VALUES = {None: "one", 0: "none", "?": "optional", "*": "any", "+": "some"}  # by argparse's nargs


class KnownCommands:
    """A program's commands with their options; a name without a dash is that of a positional argument."""

    def __init__(self, commands: dict[str, list[dict[str, Any]]]) -> None:
        self.commands = commands

    def find(self, words: Sequence[str]) -> str:
        """Find the longest name of a command that the words begin with; empty if there is none."""
        names = (" ".join(words[1:end]) for end in range(len(words), 1, -1))
        return next((name for name in names if name in self.commands), "")

    def check(self, words: Sequence[str], *, mentioned: bool = False) -> Iterator[str]:
        """Say what is wrong with a command and its arguments."""
        name = self.find(words)
        if name not in self.commands:
            yield "no such command, or none in use before (then run: make azure-cli)"
            return
        options = self.commands[name]
        arguments = words[1 + len(name.split()) :]
        given = yield from _read_options(arguments, options)
        for option in options:
            values = given.get(option["names"][0])
            if values is not None and (values or not mentioned):
                yield from _check_values(option, values)
            if values is None and not mentioned and ELLIPSIS not in words and _is_missing(option, given):
                yield f"{option['names'][0]} is missing"


def _read_options(
    words: Sequence[str], options: list[dict[str, Any]]
) -> Generator[str, None, dict[str, list[str]]]:
    """Yield what is wrong; return the values that are given, by the first name of their option."""
    names = {name: option["names"][0] for option in options for name in option["names"]}
    positional = next((name for name in names if not name.startswith("-")), None)
    given: dict[str, list[str]] = {}
    values: list[str] | None = None
    for word in words:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name.startswith("-") and name in names:
            values = given.setdefault(names[name], [])
            values += [value] if equals else []
        elif name.startswith("-"):
            yield f"no such option: {name}"
            values = []
        elif word == ELLIPSIS and values != []:
            continue
        elif values is None and positional:
            given.setdefault(positional, []).append(word)
        elif values is None:
            yield f"no such argument: {word}"
        elif values is not None:
            values.append(word)
    return given


def _is_missing(option: dict[str, Any], given: dict[str, list[str]]) -> bool:
    alternative = option["required"]  # False, True, or the option that can stand for this one
    return alternative is True or (alternative is not False and alternative not in given)


def _check_values(option: dict[str, Any], values: list[str]) -> Iterator[str]:
    name, count, choices = option["names"][0], option["values"], option["choices"]
    fits = {"one": len(values) == 1, "none": not values, "optional": len(values) < 2, "any": True}
    if not fits.get(count, bool(values)):
        yield f"{name} takes {count} value(s), not: {' '.join(values) or 'none'}"
    for value in values if choices else ():
        if not value.startswith("$") and value.lower() not in {each.lower() for each in choices}:
            yield f"{name} takes one of {', '.join(choices)}; not: {value}"


class _Parsed(BaseException):
    """The real parser has taken the arguments. Not an Exception, because the Azure CLI catches those."""


def ask_parser(words: Sequence[str]) -> tuple[bool, str, list[dict[str, Any]]]:
    """Give a command to the real parser: whether it takes it, its name, and its options."""
    # Imported by name, because they are there only in the environment of `make azure-cli`.
    core = importlib.import_module("azure.cli.core")
    events = importlib.import_module("knack.events")

    def stop(*_: Any, **__: Any) -> None:
        raise _Parsed

    cli = core.get_default_cli()
    cli.register_event(events.EVENT_INVOKER_POST_PARSE_ARGS, stop)  # after the Azure CLI's own checks there
    taken = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # help is long
            cli.invoke(list(words[1:]))
    except _Parsed:
        taken = True
    except SystemExit as stopped:
        taken = stopped.code == 0  # it was asked for help
    by_name = cli.invocation.parser.subparser_map
    name = next((name for end in range(len(words), 1, -1) if (name := " ".join(words[1:end])) in by_name), "")
    return taken, name, list(_read_actions(cli, name, by_name[name])) if name else []


def _read_actions(cli: Any, name: str, parser: Any) -> Iterator[dict[str, Any]]:
    # What --ids can stand for isn't required any more by then; the handler that made it so remembers it.
    (handler,) = [
        each
        for handlers in cli._event_handlers.values()  # noqa: SLF001 -- there is no other way to it
        for each in handlers
        if each.__name__ == "add_ids_arguments"
    ]
    free = dict(zip(handler.__code__.co_freevars, handler.__closure__, strict=True))
    by_id = free["ids_metadata"].cell_contents.get(name, {}).get("required", [])
    for action in parser._actions:  # noqa: SLF001 -- argparse has no other list of them
        if type(action).__name__ != "IgnoreAction":
            yield {
                "names": sorted(action.option_strings, key=lambda each: not each.startswith("--"))
                or [action.dest],
                "required": "--ids" if action.dest in by_id else bool(action.required),
                "values": VALUES.get(action.nargs, "some"),
                "choices": [str(each) for each in action.choices or ()],
            }


def write_snapshot(commands: Sequence[Command], version: str) -> bool:
    """Give all commands to the real parser and write down what it knows of them; true if it takes all."""
    known: dict[str, list[dict[str, Any]]] = {}
    well = True
    for command in commands:
        left_out = command.mentioned or ELLIPSIS in command.words
        taken, name, options = ask_parser([*fill_in(command.words), *(["--help"] if left_out else [])])
        if taken and name:
            known[name] = options
        else:
            print(f"not taken: {command}")
            well = False
    blocks = []
    for name in sorted(known):
        lines = ",\n".join(f"      {json.dumps(option)}" for option in known[name])
        blocks.append(f"    {json.dumps(name)}: [\n{lines}\n    ]")
    head = f'{{\n  "version": {json.dumps(version)},\n  "commands": {{\n'
    SNAPSHOT.write_text(head + ",\n".join(blocks) + "\n  }\n}\n")
    return well


if __name__ == "__main__":
    sys.exit(0 if write_snapshot(find_commands("az"), importlib.metadata.version("azure-cli")) else 1)

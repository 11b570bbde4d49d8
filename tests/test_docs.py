"""The documentation says what is so: the questions' page, and every command that a page shows."""

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import cli
from shared.cli.frame import take_given
from shared.views.composed import COMPOSITIONS
from shared.views.query import (
    PARAMETERS,
    RAW_PARAMETERS,
    REJECTS_PARAMETERS,
    WHY_PARAMETERS,
    Parameter,
    read_parameters,
    read_query,
)
from tools import plain_sum
from tools import question_pages as questions
from tools.commands import ELLIPSIS, ROOT, Command, find_commands

COMMANDS = [each for each in find_commands("flowtally") if not each.mentioned and ELLIPSIS not in each.words]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def read_as(parameters: Sequence[Parameter]) -> Callable[[dict[str, Any]], object]:
    """Read a command's options as these parameters."""
    return lambda options: read_parameters(parameters, take_given(parameters, options), NOW)


READ: dict[str, Callable[[dict[str, Any]], object]] = {
    "show": lambda options: read_query(options["question"], take_given(PARAMETERS, options), NOW),
    "flows": read_as(RAW_PARAMETERS),
    "rejects": read_as(REJECTS_PARAMETERS),
    "why": read_as(WHY_PARAMETERS),
    **{name: read_as(its.parameters) for name, its in COMPOSITIONS.items()},
}


def give(words: Sequence[str]) -> None:
    """Give a command as far as it can be without storage: its options, and the values of its parameters."""
    _, name, *arguments = words
    # Below the group's context: a command keeps the names of its help option from its first one.
    group = cli.main.make_context("flowtally", [name])
    with cli.main.commands[name].make_context(name, arguments, parent=group) as context:
        if name in READ:
            READ[name](context.params)


def test_the_page_of_questions_is_what_the_registry_says() -> None:
    assert questions.PAGE.read_text() == questions.page(), "run `python -m tools.question_pages`"
    assert questions.TABLES.read_text() == questions.tables(), "run `python -m tools.question_pages`"


def test_the_page_of_truth_has_the_figures_that_are_measured() -> None:
    assert plain_sum.PAGE.read_text() == plain_sum.page(), f"run `{plain_sum.COMMAND}`"
    assert plain_sum.COMMAND in plain_sum.PAGE.read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_that_a_page_shows_can_be_given(command: Command) -> None:
    give(command.words)


def test_the_readme_shows_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in cli.main.commands if f"flowtally {name}" not in text] == []


def test_examples_in_help_can_be_given() -> None:
    for name in READ:
        epilog = cli.main.commands[name].epilog or ""
        lines = [line.strip() for line in epilog.splitlines() if line.startswith(f"  flowtally {name} ")]
        assert len(lines) > 1
        for line in lines:
            give(shlex.split(line))

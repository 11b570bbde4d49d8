"""Every command that pages, templates and scripts show goes through its own parser, where that can be had."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jmespath
import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from tools.azure_cli import SNAPSHOT, KnownCommands
from tools.commands import PAGES, ROOT, Command, fill_in, find_blocks, find_commands, split_commands

AZURE_CLI = KnownCommands(json.loads(SNAPSHOT.read_text())["commands"])
NOTHING: dict[str, Any] = {"required": False, "values": "none", "choices": []}
ONE: dict[str, Any] = {"required": False, "values": "one", "choices": []}
# Core Tools can't be installed here, so this is written down from their source as far as it is of use to us
# (Azure/azure-functions-core-tools, PublishFunctionAppAction.cs and its base classes, August 2026).
# Without --python they stop in a fresh clone: the language is in local.settings.json, which is not in git.
CORE_TOOLS = KnownCommands(
    {
        "": [{"names": ["--version"], **NOTHING}],
        "start": [],
        "azure functionapp publish": [
            {"names": ["NAME"], **ONE, "required": True},
            {"names": ["--python"], **NOTHING, "required": True},
            {"names": ["--build", "-b"], **ONE, "choices": ["remote", "local"]},
            {"names": ["--no-build"], **NOTHING},
            {"names": ["--list-included-files"], **NOTHING},
            {"names": ["--list-ignored-files"], **NOTHING},
            {"names": ["--show-keys"], **NOTHING},
            {"names": ["--subscription"], **ONE},
            {"names": ["--slot"], **ONE},
        ],
    }
)
TARGETS = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TEXTS = sorted(page for pattern in PAGES for page in ROOT.glob(pattern))


def parse_query(query: str) -> Iterator[str]:
    try:
        jmespath.compile(query)
    except jmespath.exceptions.JMESPathError as error:
        yield str(error)


def queries(command: Command) -> list[str]:
    words = fill_in(command.words)
    return [value for word, value in itertools.pairwise(words) if word == "--query"]


def check_target(command: Command) -> Iterator[str]:
    for word in command.words[1:]:
        if "=" not in word and word not in TARGETS:
            yield f"the Makefile has no target {word}"


def check_files(command: Command) -> Iterator[str]:
    for word in command.words:
        if re.match(r"(infra|tools|tests|docs)/", word) and not (ROOT / word).exists():
            yield f"there is no {word}"


def check_core_tools(command: Command) -> Iterator[str]:
    bare = " ".join(command.words[1:]) in CORE_TOOLS.commands
    yield from CORE_TOOLS.check(command.words, mentioned=command.mentioned and bare)


def check_script(command: Command) -> Iterator[str]:
    yield from check_files(command)
    if command.words[1:] == ("infra/events.sh",):
        yield "RESOURCE_GROUP is missing"


CHECKS: dict[str, Callable[[Command], Iterator[str]]] = {
    "az": lambda command: AZURE_CLI.check(command.words, mentioned=command.mentioned),
    "func": check_core_tools,
    "make": check_target,
    "sh": check_script,
}
COMMANDS = [command for program in CHECKS for command in find_commands(program)]


def problems(line: str, *, mentioned: bool = False) -> list[str]:
    ((_, words),) = split_commands(line)
    return list(CHECKS[words[0]](Command("a page", tuple(words), mentioned)))


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_is_taken_by_its_parser(command: Command) -> None:
    assert [f"{command.place}: {problem}" for problem in CHECKS[command.words[0]](command)] == []


def test_commands_are_found_in_all_places() -> None:
    places = {(command.words[0], command.place.split(":")[0]) for command in COMMANDS}
    assert {
        ("az", "docs/deploy.md"),
        ("az", "infra/main.bicep"),
        ("az", "infra/main.bicepparam"),
        ("az", "infra/events.sh"),
        ("az", "infra/events.ps1"),
        ("func", "docs/deploy.md"),
        ("func", "infra/main.bicep"),
        ("make", "README.md"),
        ("sh", "docs/deploy.md"),
    } <= places


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("az deployment groups create --resource-group x", "no such command"),
        ("az group create --name x --location y --regoin y", "no such option: --regoin"),
        ("az group create --name x", "--location is missing"),
        ("az identity show --name x", "--resource-group is missing"),
        ("az group create --name --location y", "--name takes one value(s), not: none"),
        ("az group create --name x y --location z", "--name takes one value(s), not: x y"),
        ("az group delete --name x --yes y", "--yes takes none value(s), not: y"),
        ("az group delete x --name y", "no such argument: x"),
        ("az account show --output csv", "--output takes one of json"),
        ("func azure functionapp publish NAME", "--python is missing"),
        ("func azure functionapp publish --python", "NAME is missing"),
        ("func azure functionapp publish NAME --python --build here", "--build takes one of remote"),
        ("func azure functionapp publish NAME --python --zip x", "no such option: --zip"),
        ("make tests", "the Makefile has no target tests"),
        ("sh infra/event.sh flowtally", "there is no infra/event.sh"),
        ("sh infra/events.sh", "RESOURCE_GROUP is missing"),
    ],
)
def test_a_wrong_command_is_found(line: str, problem: str) -> None:
    assert any(each.startswith(problem) for each in problems(line)), problems(line)


@pytest.mark.parametrize(
    "line",
    [
        "az group create -n x -l y",
        "az group create --name=x --location=y --tags a=b c=d",
        "az identity show --ids x y",
        "az group create …",
        "az group create --name x … --output TSV",
        "make demo KEEP=1",
    ],
)
def test_a_right_command_is_taken(line: str) -> None:
    assert problems(line) == []


def test_what_is_only_mentioned_needs_no_arguments() -> None:
    assert problems("az group create", mentioned=True) == []
    assert problems("az group", mentioned=True) != []
    assert problems("az group create --tags", mentioned=True) == []
    assert problems("az group create --tag", mentioned=True) == ["no such option: --tag"]
    assert problems("func azure functionapp publish", mentioned=True) == []
    assert problems("func azure functionapp publish NAME", mentioned=True) == ["--python is missing"]


PAGE = r"""# A page that says `az in text --a b` and, over two lines, `az in
text --b c | d`, in a table `az a \| b`, and only mentions `az mention` and `az a --option`; `azd up` is none.

```sh
az a  --b 'c d' "e \"f\"" g\ h \
  --i j          # az comment
X=1 Y=$(az k --l "$(az m 'n)')") az o >p; az q && az r | az s
f() { az t "u $(az v)"; }
if ! az w; then az x; fi
cat <<'END'
az here document
END
```

```text
$ az after a prompt
az output
```

```json
az in JSON
```

```powershell
$y = @(az y `
    --a (f 'b') "c`"$d")
if (-not (az z)) { az end }
```
"""
BICEP = """// az comment --a
// Says `az mention`, and more of az.
output one string = 'az output --a ${resourceGroup().name} --b \\'c\\''
"""
FOUND = r"""
README.md:5: az|a|--b|c d|e "f"|g h|--i|j
README.md:7: az|k|--l|$(az m 'n)')
README.md:7: az|m|n)
README.md:7: az|o
README.md:7: az|q
README.md:7: az|r
README.md:7: az|s
README.md:8: az|t|u $(az v)
README.md:8: az|v
README.md:9: az|w
README.md:9: az|x
README.md:16: az|after|a|prompt
README.md:25: az|y|--a|(f 'b')|c"$d
README.md:27: az|z
README.md:27: az|end
README.md:1: az|in|text|--a|b
README.md:1: az|in|text|--b|c
README.md:2: az|a (mentioned)
README.md:2: az|mention (mentioned)
README.md:2: az|a|--option (mentioned)
infra/a.bicep:1: az|comment|--a
infra/a.bicep:3: az|output|--a|PLACEHOLDER|--b|c
infra/a.bicep:2: az|mention (mentioned)
infra/a.ps1:1: az|a
infra/a.sh:1: az|a
"""


def test_commands_are_found_and_split_as_a_shell_does(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    (tmp_path / "README.md").write_text(PAGE)
    (tmp_path / "infra" / "a.bicep").write_text(BICEP)
    (tmp_path / "infra" / "a.sh").write_text("x=$(az a)\n")
    (tmp_path / "infra" / "a.ps1").write_text("$x = az a\n")
    found = [
        f"{each.place}: {'|'.join(each.words)}{' (mentioned)' if each.mentioned else ''}"
        for each in find_commands("az", tmp_path)
    ]
    assert sorted(found) == sorted(FOUND.split("\n")[1:-1])


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.words[0] == "az" and queries(each)], ids=str
)
def test_every_query_is_one(command: Command) -> None:
    assert [problem for query in queries(command) for problem in parse_query(query)] == []


def test_a_wrong_query_is_found() -> None:
    assert [*parse_query("[?ends_with(source, '/LOGS'].name")] != []
    assert [*parse_query("properties.outputs.$1.value")] != []


def blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(source, id=f"{page.name}:{page.read_text().count('\n', 0, start) + 1}")
        for page in TEXTS
        for start, language, source in find_blocks(page.read_text())
        if language in languages
    ]


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize("source", blocks("sh", "bash"))
def test_every_block_is_shell(source: str) -> None:
    ran = subprocess.run(["bash", "-n"], input=source, capture_output=True, text=True, check=False)  # noqa: S607 -- the user's own
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("source", blocks("powershell"))
def test_every_block_is_powershell(source: str) -> None:
    parser = Parser(Language(tree_sitter_powershell.language()))
    assert not parser.parse(source.encode()).root_node.has_error


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.name))
def test_files_that_a_block_names_are_there(page: Path) -> None:
    text = page.read_text()
    commands = [
        Command(f"{page.name}", tuple(words))
        for _, language, source in find_blocks(text)
        for _, words in split_commands(source, "`" if language == "powershell" else "\\")
    ]
    assert [problem for command in commands for problem in check_files(command)] == []

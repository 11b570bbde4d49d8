"""What is published: the folder as each tool sends it, with the packages as they run in Azure."""

import os
import platform
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from pathspec import GitIgnoreSpec

from tests.system import NIGHT, Stores, blob_of, flow, record, results
from tests.test_function_app import IDENTITY
from tests.worker import ROOT, WorkerFailed, drain, queue_of_work, worker
from tools.network_watcher import demo_nics
from tools.package import PACKAGES, PACKAGES_IN_ZIP, build, published, write_zip

MOST_MEGABYTES = 90
NIC = demo_nics(2)[1]
IGNORED = (ROOT / ".funcignore").read_text()
STRANGERS = """
    .azure/prod/.env            .env                  .env.local               .git/config
    .github/workflows/x.yml     .gitattributes        .idea/x.xml              .venv/.installed
    .venv/lib/x.py              .vscode/x.json        CHANGELOG.md             CONTRIBUTING.md
    LICENSE                     Makefile              SECURITY.md              __pycache__/x.pyc
    azure.yaml                  build/.x              build/flowtally.zip      docs/x.md
    env/.x                      env/x.py              flowtally.egg-info/x     flowtally.zip
    infra/.x                    infra/main.bicep      local.settings.json      my_env/.x
    my_env/x.py                 myenv/x.py            node_modules/.bin/x      node_modules/@x/x.js
    package-lock.json           package.json          pyproject.toml           requirements-dev.txt
    shared/__pycache__/x.pyc    shared/views/__pycache__/x.pyc                 tests/x.py
    tools/x.py                  venv/.x               venv/x.py                venv3.13/x.py
    shared/.env                 shared/views/.env.x   shared/x.pem             server.pem
    x.key                       shared/page/x.key     x.pfx                    x.p12
    denied.csv                  denied.tsv            denied.ndjson
""".split()  # noqa: SIM905 -- as a table it is read at once
"""Files that may lie in somebody's folder and are not to be published."""

type Publishes = Callable[[str, str], bool]
"""A file's name, the text of .funcignore → whether the file is published."""


# How the tools read .funcignore


def patterns_of(ignored: str) -> list[str]:
    lines = [line.strip() for line in ignored.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def core_tools_publish(name: str, ignored: str) -> bool:
    """Azure Functions Core Tools (``GitIgnoreParser``): each pattern is anchored at the top, and denies
    whatever begins with it and has the end of a word there; ``*`` is one character or more, ``**`` crosses
    folders.
    """
    escaped = [
        re.sub(r"[-\[\]/{}()+?.\\^$|]", r"\\\g<0>", each.removeprefix("/")) for each in patterns_of(ignored)
    ]
    denied = "|".join(f"({each.replace('**', '(.+)').replace('*', '([^/]+)')})" for each in escaped)
    return not re.match(rf"({denied})\b", name, re.ASCII)


def azd_publishes(name: str, ignored: str) -> bool:
    """The Azure Developer CLI (``denormal/go-gitignore``), for the two kinds of pattern that .funcignore has:
    ``/x``, whose ``*`` matches slashes, too, and ``**/x``, which is the name of any file or folder.
    """
    path = PurePosixPath(name)
    for part in [path, *path.parents][:-1]:
        for pattern in patterns_of(ignored):
            if fnmatchcase(
                part.name if pattern.startswith("**/") else str(part), re.sub(r"^(\*\*)?/", "", pattern)
            ):
                return False
    return True


def git_publishes(name: str, ignored: str) -> bool:
    """Git's own rules, which the other tools follow, and ``make package``."""
    return not GitIgnoreSpec.from_lines(ignored.splitlines()).match_file(name)


TOOLS: list[Publishes] = [core_tools_publish, azd_publishes, git_publishes]


@cache
def files() -> frozenset[str]:
    """All files of the folder, but those of three folders that have thousands."""
    found = set()
    for folder, folders, names in ROOT.walk():
        folders[:] = [each for each in folders if each not in {".git", ".venv", "node_modules"}]
        found |= {str((folder / name).relative_to(ROOT)) for name in names}
    return frozenset(found)


def pins(name: str) -> dict[str, str]:
    """Versions by package."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ \n]+)", (ROOT / name).read_text(), re.MULTILINE))


def sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Bytes by what stands at the top, without what Python makes itself."""
    for top in folder.iterdir():
        every = top.rglob("*") if top.is_dir() else [top]
        yield top.name, sum(each.stat().st_size for each in every if each.is_file() and each.suffix != ".pyc")


@pytest.mark.parametrize("publishes", TOOLS)
def test_every_tool_publishes_what_the_app_needs_and_nothing_else(publishes: Publishes) -> None:
    code = {name for name in files() if name.startswith("shared/") and "/__pycache__/" not in name}
    assert code
    assert {name for name in files() if publishes(name, IGNORED)} == code | {
        "function_app.py",
        "host.json",
        "requirements.txt",
    }, "what isn't to be published belongs in .funcignore"
    assert not [name for name in STRANGERS if publishes(name, IGNORED)]


@pytest.mark.parametrize(
    "name", ["passwords.txt", "keys.json", "shared/keys.json", "shared/id_rsa", "other/x.py", "x.py"]
)
def test_what_is_not_the_apps_is_not_packed(tmp_path: Path, name: str) -> None:
    shutil.copyfile(ROOT / ".funcignore", tmp_path / ".funcignore")
    for file in ("function_app.py", "shared/x.py", "shared/page/vendor/LICENSE", ".env", "shared/x.pem"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert published(tmp_path) == {"function_app.py", "shared/x.py", "shared/page/vendor/LICENSE"}
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=f"not part of the app.*: {re.escape(name)}$"):
        published(tmp_path)


def test_the_tools_read_patterns_differently() -> None:
    """Why .funcignore has the patterns that it has, and no others."""
    assert [publishes("build/.x", "/build/") for publishes in TOOLS[::2]] == [True, False]
    assert [publishes("shared/x.md", "/*.md") for publishes in TOOLS] == [True, False, True]
    assert [publishes("env/x.py", "/*env") for publishes in TOOLS] == [True, False, False]
    assert all(re.fullmatch(r"(\*\*)?/[^!/]*[^!/ ]", pattern) for pattern in patterns_of(IGNORED))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("build") / "flowtally.zip"
    build(target)
    return target


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the packages are those for Azure: Linux on x86-64",
)
def test_the_package_runs_with_nothing_installed(package: Path, tmp_path: Path, stores: Stores) -> None:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    packages = tmp_path / PACKAGES_IN_ZIP
    blob = stores.put(NIC, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    queue = queue_of_work(stores.connection_string)
    with worker(stores.environment, tmp_path, packages) as running, queue as waiting:
        assert running.invoke_blob("ingest_nsg", NIC.container, blob.name).error == ""
        assert drain(running, waiting, running.invoke_timer("rollup"))
    assert results(stores).stats
    with worker(IDENTITY, tmp_path, packages) as running:
        assert running.functions
    shutil.rmtree(packages / "azure/data")
    with pytest.raises(WorkerFailed, match=r"No module named 'azure\.data'"), worker({}, tmp_path, packages):
        pass


def test_the_package_holds_what_git_reads_as_published_and_bytecode_that_stays_valid(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
        compiled = {name for name in names if name.endswith(".pyc")}
        flags = {archive.read(name)[4:8] for name in compiled}
    assert flags == {b"\1\0\0\0"}, "bytecode has to be taken without a look at its source's time"
    assert {name for name in names - compiled if not name.startswith(PACKAGES_IN_ZIP)} == published()
    assert {"function_app", "__init__"} <= {PurePosixPath(name).name.split(".")[0] for name in compiled}
    assert not [name for name in names if "/tests/" in name], "what packages test themselves with"
    assert not [name for name in names if name.endswith("/RECORD") or f"{PACKAGES_IN_ZIP}/bin/" in name]


def test_the_same_files_make_the_same_package(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("pass")
    other.write_text("")
    write_zip(tmp_path / "first.zip", {"a": one, "b/c": other})
    os.utime(one, (0, 0))
    one.chmod(0o700)
    write_zip(tmp_path / "second.zip", {"b/c": other, "a": one})
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_no_package_hides_a_part_of_the_app() -> None:
    """On Python 3.13 the app's folder comes last on ``sys.path``."""
    shipped = {top.name.partition(".")[0] for top in PACKAGES.iterdir()}
    assert "numpy" in shipped
    assert not shipped & {"function_app", "shared", "tests", "tools"}


def test_it_is_no_heavier_than_it_was() -> None:
    weights = dict(sizes(PACKAGES)) | {"flowtally": sum((ROOT / name).stat().st_size for name in published())}
    heaviest = sorted(weights.items(), key=lambda each: -each[1])
    table = "\n".join(f"{size / 1e6:8.1f} MB  {name}" for name, size in heaviest if size > 100_000)
    total = sum(weights.values()) / 1e6
    print(f"{total:8.1f} MB\n{table}")  # noqa: T201 -- to be seen with -s
    assert total < MOST_MEGABYTES, table


def test_requirements_are_pinned_with_hashes_and_are_what_the_tests_run_with() -> None:
    pinned, tested = pins("requirements.txt"), pins("requirements-dev.txt")
    assert pinned.items() <= tested.items()
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text())
    assert [block.split("==")[0] for block in blocks if "--hash=sha256:" in block] == [*pinned]
    for asked in map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ):
        assert asked.specifier.contains(pinned[asked.name]), asked


def test_the_workflow_calls_targets_that_are_there_and_pins_its_actions() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    called = set(re.findall(r"(?<=run: make ).+", workflow))
    assert called == {"lint test", "bicep"}
    assert set(" ".join(called).split()) <= set(
        re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    actions = re.findall(r"(?<=uses: ).+", workflow)
    assert actions
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action) for action in actions)

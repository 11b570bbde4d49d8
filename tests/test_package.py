"""What is published: the folder as ``func`` sends it, with the packages that Azure installs."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pathspec import GitIgnoreSpec

from tests.system import NIGHT, Stores, blob_of, flow, record, results
from tests.test_function_app import IDENTITY
from tests.worker import ROOT, WorkerFailed, worker
from tools.network_watcher import demo_nics

PRODUCTION = ROOT / ".venv/production"
"""requirements.txt, installed by ``make setup`` as Azure's remote build does it."""

OURS = {"function_app.py", "host.json", "requirements.txt", "shared"}
MOST_MEGABYTES = 90
NIC = demo_nics(2)[1]
IGNORED = (ROOT / ".funcignore").read_text()


@cache
def files() -> frozenset[str]:
    """All files of the folder, but those of three folders that have thousands."""
    found = set()
    for folder, folders, names in ROOT.walk():
        folders[:] = [each for each in folders if each not in {".git", ".venv", "node_modules"}]
        found |= {str((folder / name).relative_to(ROOT)) for name in names}
    return frozenset(found)


def published() -> set[str]:
    """The files that ``func`` sends, by its own reading of .funcignore: each pattern is anchored at the top,
    matches whatever begins with it, and ``*`` stands for one character or more, ``**`` for folders, too.
    """
    lines = [line.strip().removeprefix("/") for line in IGNORED.splitlines()]
    patterns = [
        re.escape(line).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        for line in lines
        if line and not line.startswith("#")
    ]
    denied = re.compile("|".join(patterns))
    return {name for name in files() if not denied.match(name)}


def pins(name: str) -> dict[str, str]:
    """Versions by package."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ \n]+)", (ROOT / name).read_text(), re.MULTILINE))


def sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Bytes by what stands at the top, without what Python makes itself."""
    for top in folder.iterdir():
        every = top.rglob("*") if top.is_dir() else [top]
        yield top.name, sum(each.stat().st_size for each in every if each.is_file() and each.suffix != ".pyc")


def test_what_func_sends_is_what_the_app_needs_and_git_reads_the_patterns_alike() -> None:
    sent = published()
    assert {name.split("/")[0] for name in sent} == OURS, "what isn't to be published belongs in .funcignore"
    assert sent == {
        name for name in files() if not GitIgnoreSpec.from_lines(IGNORED.splitlines()).match_file(name)
    }
    assert not any("__pycache__" in name for name in sent)
    assert ".funcignore" not in sent


def test_what_is_sent_runs_with_what_is_installed(tmp_path: Path, stores: Stores) -> None:
    for name in published():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    blob = stores.put(NIC, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    with worker(stores.environment, tmp_path, PRODUCTION) as running:
        done = [running.invoke_blob("ingest_nsg", NIC.container, blob.name), running.invoke_timer("rollup")]
    assert [each.error for each in done] == ["", ""]
    assert results(stores).stats
    with worker(IDENTITY, tmp_path, PRODUCTION) as running:
        assert running.functions
    (tmp_path / "function_app.py").write_text("import pytest")
    with pytest.raises(WorkerFailed, match="No module named 'pytest'"), worker({}, tmp_path, PRODUCTION):
        pass


def test_no_package_hides_a_part_of_the_app() -> None:
    """On Python 3.13 the app's folder comes last on ``sys.path``."""
    shipped = {top.name.partition(".")[0] for top in PRODUCTION.iterdir()}
    assert "numpy" in shipped
    assert not shipped & {"function_app", "shared", "tests", "tools"}


def test_it_is_no_heavier_than_it_was() -> None:
    weights = dict(sizes(PRODUCTION)) | {
        "flowtally": sum((ROOT / name).stat().st_size for name in published())
    }
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

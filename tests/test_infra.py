"""infra/: what can be checked of it without Azure, and mostly without a compiler. Each check can fail.

`python -m tests.test_infra` writes the tables of parameters into docs/deploy.md.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import azure_types
from tests.bicep import Bicep, read, text
from tests.infra_rules import (
    ACCOUNTS,
    ROOT,
    UNDEFINED,
    Infra,
    of_bicep,
    of_project,
    read_infra,
    registered_with,
)

INFRA = ROOT / "infra"
PAGE = ROOT / "docs" / "deploy.md"
USED_BY_INFRA = ["azure.yaml", "docs/deploy.md"]


@pytest.fixture(scope="module")
def infra() -> Infra:
    return read_infra(INFRA, azure_types.definitions)


def test_nothing_would_let_a_first_deployment_fail(infra: Infra) -> None:
    assert len(infra.templates) >= 10
    assert [*of_bicep(infra)] == []
    assert not UNDEFINED & infra.types.keys(), "azmcp has come to know what UNDEFINED names"


def test_it_fits_the_app(infra: Infra) -> None:
    assert [*of_project(infra)] == []


@dataclass(frozen=True, slots=True)
class Slip:
    """One entry of infra_slips.txt."""

    name: str
    file: str
    before: str
    after: str
    said: str


def slips(section: str) -> list[Slip]:
    """The entries of a section."""
    source = (ROOT / "tests" / "infra_slips.txt").read_text()
    entries = source.partition(f"== {section}\n")[2].partition("\n== ")[0].strip().split("\n\n")
    found = []
    for head, *lines in (entry.splitlines() for entry in entries):
        name, _, file = head.partition(": ")
        before, after, said = (
            "\n".join(line[2:] for line in lines if line[0] == sign) for sign in ("-", "+", "!")
        )
        gone = "" if any(line[0] == "+" for line in lines) else "\n"
        found.append(Slip(name, file, before + gone, after, said))
    return found


def broken(slip: Slip, folder: Path) -> Infra:
    """A copy of infra/, and of what belongs to it, with a slip."""
    shutil.copytree(INFRA, folder / "infra")
    for name in USED_BY_INFRA:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    path = folder / "infra" / slip.file
    source = path.read_text()
    assert slip.before in source
    path.write_text(source.replace(slip.before, slip.after, 1))
    return read_infra(folder / "infra", azure_types.definitions)


@pytest.mark.parametrize("slip", slips("what would let a first deployment fail"), ids=lambda slip: slip.name)
def test_a_slip_is_found(slip: Slip, tmp_path: Path) -> None:
    assert slip.said in "\n".join(of_bicep(broken(slip, tmp_path)))


@pytest.mark.parametrize("slip", slips("what only this project knows"), ids=lambda slip: slip.name)
def test_what_does_not_fit_the_app_is_found(slip: Slip, tmp_path: Path) -> None:
    assert slip.said in "\n".join(of_project(broken(slip, tmp_path)))


def test_each_account_has_functions_of_its_own_and_in_schedule_none(infra: Infra) -> None:
    """As infra/ sets the app up: the rules compare what events.bicep subscribes with this."""
    with_events, by_schedule = (registered_with(infra, mode) for mode in ("events", "schedule"))
    assert with_events["ingest_vnet_stflowlogsweu"] == {
        "type": "blobTrigger",
        "direction": "IN",
        "name": "blob",
        "path": "insights-logs-flowlogflowevent/{name}",
        "connection": "FLOW_LOGS_STFLOWLOGSWEU",
        "source": "EventGrid",
    }
    added = with_events.keys() - by_schedule.keys()
    wanted = {f"ingest_{kind}_{account}" for kind in ("nsg", "vnet") for account in ACCOUNTS}
    assert {name for name in added if name.startswith("ingest_")} == wanted


def resources_alone(file: Bicep) -> str:
    """The resources of a file, in the older Bicep that checkov reads: it looks at nothing else."""
    resources = "\n\n".join(text(each.node) for each in file.all("resource").values() if not each.existing)
    on_one_line = re.sub(r"\n *(?=[?:] )", " ", resources)
    return re.sub(r"!\.|\.\?", ".", on_one_line).replace("[?", "[") + "\n"


def test_checkov_can_read_all_resources_and_finds_nothing(infra: Infra, tmp_path: Path) -> None:
    for name, file in infra.files.items():
        if file.all("resource"):
            path = tmp_path / "kept" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(resources_alone(file))
    storage = (tmp_path / "kept" / "modules" / "storage.bicep").read_text()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "storage.bicep").write_text(
        storage.replace("HttpsTrafficOnly: true", "HttpsTrafficOnly: false")
    )
    (tmp_path / "broken" / "types.bicep").write_text("type Nullable = string?\n")

    python = ROOT / ".venv" / "checkov" / "bin" / "python"
    assert python.exists(), "checkov is missing: run `make setup`"
    done = subprocess.run(
        [python, ROOT / "tests" / "checkov_scan.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {
        folder: {
            kind: [each for each in told if each.lstrip("/").startswith(folder)]
            for kind, told in json.loads(done.stdout).items()
        }
        for folder in ("kept", "broken")
    }
    assert found["kept"]["failed"] == []
    assert found["kept"]["unreadable"] == []
    assert len(found["kept"]["passed"]) >= 17
    assert all(len(each.split(": ")[2].split()) >= 6 for each in found["kept"]["skipped"]), "a skip says why"
    assert ["CKV_AZURE_3 " in each for each in found["broken"]["failed"]] == [True]
    assert found["broken"]["unreadable"] == ["broken/types.bicep"]


def parameter_table(file: Bicep) -> str:
    """The parameters as docs/deploy.md shows them."""
    rows = ["| parameter | default | |", "|---|---|---|"]
    for each in file.all("param").values():
        default = f"`{text(each.value)}`" if each.value else "–"
        rows.append(f"| `{each.name}` | {default} | {each.description} |")
    return "\n".join(rows)


def with_parameter_tables(page: str) -> str:
    """The page with a table between each pair of its marks, such as ``<!-- parameters of main.bicep -->``."""
    return re.sub(
        r"(<!-- parameters of (\S+) -->\n).*?(<!-- /parameters -->)",
        lambda found: f"{found[1]}{parameter_table(read(INFRA / found[2]))}\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def test_the_parameters_are_documented() -> None:
    page = PAGE.read_text()
    marked = re.findall(r"<!-- parameters of (\S+) -->\n\|", page)
    assert marked == ["main.bicep", "events.bicep", "flow-logs.bicep"]
    assert page == with_parameter_tables(page), "run `python -m tests.test_infra`"
    assert with_parameter_tables(page.replace("| `tags` |", "| `tag` |")) == page


if __name__ == "__main__":
    PAGE.write_text(with_parameter_tables(PAGE.read_text()))

"""infra/: what can be checked of it without a compiler and without Azure. Every check is shown to fail."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import azure_types
from tests.bicep import Bicep, read, text
from tests.infra_rules import Infra, blob_functions, commands, of_bicep, of_project, read_infra

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"


@pytest.fixture(scope="module")
def infra() -> Infra:
    return read_infra(INFRA, azure_types.definitions)


def test_it_is_what_a_compiler_would_take(infra: Infra) -> None:
    assert len(infra.templates) >= 8
    assert [*of_bicep(infra)] == []


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
    text = (ROOT / "tests" / "infra_slips.txt").read_text()
    entries = text.partition(f"== {section}\n")[2].partition("\n== ")[0].strip().split("\n\n")
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
    """A copy of infra/ with a slip."""
    shutil.copytree(INFRA, folder / "infra")
    path = folder / "infra" / slip.file
    source = path.read_text()
    assert slip.before in source
    path.write_text(source.replace(slip.before, slip.after, 1))
    return read_infra(folder / "infra", azure_types.definitions)


@pytest.mark.parametrize("slip", slips("what a compiler would say"), ids=lambda slip: slip.name)
def test_a_slip_is_found(slip: Slip, tmp_path: Path) -> None:
    assert slip.said in "\n".join(of_bicep(broken(slip, tmp_path)))


@pytest.mark.parametrize("slip", slips("what only this project knows"), ids=lambda slip: slip.name)
def test_what_does_not_fit_the_app_is_found(slip: Slip, tmp_path: Path) -> None:
    assert slip.said in "\n".join(of_project(broken(slip, tmp_path)))


def test_the_functions_are_those_of_the_app() -> None:
    functions = blob_functions((ROOT / "function_app.py").read_text())
    assert functions == {
        "ingest_nsg": "insights-logs-networksecuritygroupflowevent",
        "ingest_vnet": "insights-logs-flowlogflowevent",
    }


def test_an_unknown_resource_type_is_no_type() -> None:
    with pytest.raises(KeyError, match=r"Microsoft\.Web/site"):
        azure_types.definitions({"Microsoft.Web/site"})


def test_checkov_can_read_everything_and_finds_nothing(tmp_path: Path) -> None:
    shutil.copytree(INFRA, tmp_path / "kept")
    shutil.copytree(INFRA / "modules", tmp_path / "broken")
    storage = tmp_path / "broken" / "storage.bicep"
    storage.write_text(storage.read_text().replace("HttpsTrafficOnly: true", "HttpsTrafficOnly: false"))
    (tmp_path / "broken" / "roles.bicep").write_text(
        "type Nullable = string?\noutput who string = deployer().objectId\n"
    )

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
    assert len(found["kept"]["passed"]) >= 19
    assert all(len(each.split(": ")[2].split()) >= 6 for each in found["kept"]["skipped"]), "a skip says why"
    assert ["CKV_AZURE_3 " in each for each in found["broken"]["failed"]] == [True]
    assert found["broken"]["unreadable"] == ["broken/roles.bicep"]


def parameter_table(file: Bicep) -> str:
    """The parameters as docs/deploy.md shows them."""
    rows = ["| parameter | default | |", "|---|---|---|"]
    for each in file.all("param").values():
        default = f"`{text(each.value)}`" if each.value else "–"
        rows.append(f"| `{each.name}` | {default} | {each.description} |")
    return "\n".join(rows)


@pytest.mark.parametrize("name", ["main.bicep", "events.bicep", "flow-logs.bicep"])
def test_the_parameters_are_documented(name: str) -> None:
    table = parameter_table(read(INFRA / name))
    assert table in (ROOT / "docs" / "deploy.md").read_text(), f"docs/deploy.md lacks this table:\n{table}"


@pytest.mark.parametrize("name", ["README.md", "docs/deploy.md"])
def test_the_commands_in_the_docs_are_complete(infra: Infra, name: str) -> None:
    source = (ROOT / name).read_text()
    assert [*commands(source, infra)] == []
    assert source.count("--parameters flowLogAccountName=") == 1
    without = source.replace("--parameters flowLogAccountName=", "--parameters flowLogAccount=")
    assert [*commands(without, infra)] == [
        "main.bicep has no parameter flowLogAccount",
        "main.bicep needs flowLogAccountName",
    ]

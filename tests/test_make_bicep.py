"""`make bicep`, with stand-ins for the compiler: it compiles every file, and no warning passes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BICEP = """\
#!/bin/sh
[ "$1" = --version ] && { echo "Bicep CLI version 0.0.1"; exit; }
echo "$@" >> calls
case $2 in
  infra/warned.bicep) echo "/infra/warned.bicep(1,7) : Warning no-unused-params: it is not used" >&2 ;;
  infra/wrong.bicep) echo "/infra/wrong.bicep(1,1) : Error BCP007: it is not recognized" >&2; exit 1 ;;
esac
"""
AZ = """\
#!/bin/sh
echo "$@" >> calls
[ "$1 $2" != "bicep version" ] || VERSION
"""


def make_bicep(folder: Path, *files: str, **programs: str) -> tuple[int, str, list[str]]:
    """Run tools/bicep.sh over files with stand-ins for programs: status, output, and the stand-ins' calls."""
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "bicep.sh", folder / "tools")
    for name in files:
        (folder / "infra" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "infra" / name).touch()
    path = folder / "bin"
    path.mkdir()
    for name in ("cat", "dirname", "find", "grep", "mktemp", "rm", "sh", "sort"):
        (path / name).symlink_to(shutil.which(name) or "")
    for name, source in programs.items():
        (path / name).write_text(source)
        (path / name).chmod(0o755)
    done = subprocess.run(
        [path / "sh", folder / "tools" / "bicep.sh"],
        env=os.environ | {"PATH": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    calls = folder / "calls"
    return done.returncode, done.stdout, calls.read_text().splitlines() if calls.exists() else []


def test_make_bicep_compiles_every_file(tmp_path: Path) -> None:
    status, said, calls = make_bicep(
        tmp_path, "main.bicep", "main.bicepparam", "modules/a.bicep", bicep=BICEP
    )
    assert (status, said.splitlines()[-1]) == (0, "3 files compile without an error or a warning")
    assert calls == [
        "build infra/main.bicep --stdout",
        "build-params infra/main.bicepparam --stdout",
        "build infra/modules/a.bicep --stdout",
    ]


@pytest.mark.parametrize("name", ["warned.bicep", "wrong.bicep"])
def test_make_bicep_fails_where_the_compiler_warns(tmp_path: Path, name: str) -> None:
    status, said, calls = make_bicep(tmp_path, "main.bicep", name, bicep=BICEP)
    assert status == 1
    assert len(calls) == 2
    assert said.splitlines()[1].startswith(f"infra/{name}:")
    assert said.splitlines()[-1] == "make bicep: 1 of 2 files with errors or warnings"


def test_make_bicep_says_what_to_install_and_installs_nothing(tmp_path: Path) -> None:
    status, said, calls = make_bicep(tmp_path / "none", "main.bicep")
    assert status == 1
    assert "az bicep install" in said
    missing = "{ echo 'ERROR: Bicep CLI not found. Install it now by running az bicep install' >&2; exit 1; }"
    status, said, calls = make_bicep(tmp_path / "az", "main.bicep", az=AZ.replace("VERSION", missing))
    assert status == 1
    assert "az bicep install" in said
    assert calls == ["bicep version"]


def test_make_bicep_takes_the_azure_cli_that_has_the_compiler(tmp_path: Path) -> None:
    az = AZ.replace("VERSION", 'echo "Bicep CLI version 0.0.1"')
    status, said, calls = make_bicep(tmp_path, "main.bicep", "main.bicepparam", az=az)
    assert (status, said.splitlines()[-1]) == (0, "2 files compile without an error or a warning")
    assert calls == [
        "bicep version",
        "bicep build --file infra/main.bicep --stdout",
        "bicep build-params --file infra/main.bicepparam --stdout",
    ]

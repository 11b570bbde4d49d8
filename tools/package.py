"""Build the package for publishing without a remote build: `make package` writes build/flowtally.zip.

It holds what `.funcignore` lets through, and the packages that `make setup` has installed for Azure's
platform from the pinned, hashed wheels, in the folder where Azure's Python worker looks for them. All of it
is compiled, which would cost a new instance about a second, each time where the folder is read-only. The
bytecode isn't compared with the times of its sources, so it is valid wherever the package is unpacked.

The packages' own tests are left out.

The same files make the same package, byte for byte: names are sorted, times and permissions are fixed.
"""

import compileall
import py_compile
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / ".venv/production"
"""requirements.txt, installed by `make setup` for Azure's platform and compiled."""
PACKAGES_IN_ZIP = ".python_packages/lib/site-packages"

_AT_THE_TOP = {"function_app.py", "host.json", "requirements.txt"}
_OF_SHARED = {".py", ".typed", ".css", ".js", ".html", "LICENSE"}
"""Endings, or whole names, of what the app's code consists of."""


def published(root: Path = ROOT) -> set[str]:
    """The files that `.funcignore` lets through, read as git reads it.

    Ends the program if there is one that isn't the app's: it may hold a secret.
    """
    ignored = GitIgnoreSpec.from_lines((root / ".funcignore").read_text().splitlines())
    found = set()
    for folder, folders, names in root.walk():
        place = folder.relative_to(root)
        folders[:] = [name for name in folders if not ignored.match_file(f"{place / name}/")]
        found |= {str(place / name) for name in names if not ignored.match_file(place / name)}
    if strangers := sorted(name for name in found if not _is_of_the_app(PurePosixPath(name))):
        sys.exit(f"not part of the app, and .funcignore lets it through: {', '.join(strangers)}")
    return found


def _is_of_the_app(file: PurePosixPath) -> bool:
    if file.parts[0] != "shared":
        return str(file) in _AT_THE_TOP
    return (file.suffix or file.name) in _OF_SHARED


def build(target: Path) -> None:
    """Write the package to `target`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file in published():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, folder / file)
        compileall.compile_dir(
            folder, quiet=2, stripdir=folder, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        ours = {str(file.relative_to(folder)): file for file in _files(folder)}
        packages = {
            f"{PACKAGES_IN_ZIP}/{file.relative_to(PACKAGES)}": file
            for file in _files(PACKAGES)
            if "tests" not in file.relative_to(PACKAGES).parts
        }
        write_zip(target, ours | packages)


def write_zip(target: Path, files: Mapping[str, Path]) -> None:
    """Write a zip file with these contents by name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # of 1980, the first time that a zip file can hold
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            package.writestr(entry, file.read_bytes())


def _files(folder: Path) -> Iterator[Path]:
    """All files but those that only pip needs: scripts hold this machine's paths, RECORD their checksums."""
    for file in folder.rglob("*"):
        parts = file.relative_to(folder).parts
        if file.is_file() and parts[0] not in {"bin", ".installed"} and file.name != "RECORD":
            yield file


if __name__ == "__main__":
    target = ROOT / "build/flowtally.zip"
    build(target)
    print(f"""{target.relative_to(ROOT)} is written ({target.stat().st_size / 1e6:.0f} MB). To publish it:

  az functionapp deployment source config-zip --resource-group GROUP --name NAME \\
    --src {target.relative_to(ROOT)} --build-remote false""")

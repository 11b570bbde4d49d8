"""Build the package for publishing without a remote build: `make package` writes build/flowtally.zip.

It holds what `.funcignore` lets through, and the packages that `make setup` has installed for Azure's
platform from the pinned, hashed wheels, in the folder where Azure's Python worker looks for them. All of it
is compiled, which would cost a new instance about a second, each time where the folder is read-only. The
bytecode isn't compared with the times of its sources, so it is valid wherever the package is unpacked.

The same files make the same package, byte for byte: names are sorted, times and permissions are fixed.
"""

import compileall
import py_compile
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / ".venv/production"
"""requirements.txt, installed by `make setup` for Azure's platform and compiled."""
PACKAGES_IN_ZIP = ".python_packages/lib/site-packages"


def published() -> set[str]:
    """The files that `.funcignore` lets through, read as git reads it."""
    ignored = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    found = set()
    for folder, folders, names in ROOT.walk():
        place = folder.relative_to(ROOT)
        folders[:] = [name for name in folders if not ignored.match_file(f"{place / name}/")]
        found |= {str(place / name) for name in names if not ignored.match_file(place / name)}
    return found


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
        packages = {f"{PACKAGES_IN_ZIP}/{file.relative_to(PACKAGES)}": file for file in _files(PACKAGES)}
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

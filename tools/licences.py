"""What is published with the function app, and under which licences, as the packages themselves say.

`python -m tools.licences` prints the table of docs/licences.md.
"""

import re
from importlib.metadata import metadata
from pathlib import Path

_REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def licences() -> dict[str, str]:
    """The licence of each package in requirements.txt, by name."""
    return {name: _licence(name) for name in sorted(_PINNED.findall(_REQUIREMENTS.read_text()))}


def _licence(package: str) -> str:
    """The expression, or the classifiers, or the first line of the free text."""
    about = metadata(package)
    named = [
        value.rpartition(" :: ")[2]
        for value in about.get_all("Classifier", [])
        if value.startswith("License :: ") and value != "License :: OSI Approved"
    ]
    stated = about.get("License-Expression") or ", ".join(named) or about.get("License") or "not stated"
    return str(stated).strip().splitlines()[0]


def table() -> str:
    """Markdown."""
    rows = [f"| {name} | {licence} |" for name, licence in licences().items()]
    return "\n".join(["| package | licence |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")

"""What a cold start doesn't do: each would cost every new instance, and everyone who asks for help."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = """
import json, sys
from pathlib import Path
import function_app
early = [name for name in ("numpy", "shared.http_api", "shared.views.listing") if name in sys.modules]
import numpy
threads = len([*Path("/proc/self/task").iterdir()])
print(json.dumps([threads, early, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_importing_the_app_and_numpy_starts_no_thread_and_loads_no_tool() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=Path(__file__).parents[1],
        env={
            "FLOW_LOGS__blobServiceUri": "https://logs.blob.core.windows.net",
            "RESULTS__tableServiceUri": "https://results.table.core.windows.net",
        },
        stdout=subprocess.PIPE,
        check=True,
    )
    threads, early, packages = json.loads(done.stdout)
    assert threads == 1
    assert early == [], "what only answers and large batches need"
    assert not {"click", "rich", "hypothesis", "tests", "tools"} & {*packages}


ASK = """
import sys
import shared.output, shared.views.composed, shared.views.listing
from shared.settings import read_settings
from shared.stores import open_results
open_results(read_settings(dict.fromkeys(("RESULTS", "FLOW_LOGS"), "UseDevelopmentStorage=true")))
print("azure.data.tables" in sys.modules, "azure.storage" in sys.modules)
"""


def test_who_asks_of_results_alone_waits_for_no_package_of_blobs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


SAY = """
import json, sys
from shared.cli import main
try:
    main(sys.argv[1:], prog_name="flowtally")
except SystemExit as left:
    code = left.code
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
installed = [
    name for name, file in files.items()
    if "-packages" in file and "." not in name and not name.startswith("__editable__")
]
print("", json.dumps([code, installed]), sep="\\n")
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("show --help", 0),
        ("show talkers --help", 0),
        ("flows --help", 0),
        ("pair --help", 0),
        ("status --help", 0),
        ("report --help", 0),
        ("statsu", 2),
        ("talkers", 2),
        ("show talker", 2),
        ("show talkers --nonsense", 2),
        ("show talkers --since x", 2),
        ("show talkers --port 22", 2),
        ("show talkers -o xml", 2),
        ("flows nsg-web --ip x", 2),
        ("rejects nsg-web --limit x", 2),
        ("why --from 10.0.0.4", 2),
        ("sweep --since x", 2),
        ("report --out x --ip x", 2),
        ("status", 2),
        ("show talkers", 2),
    ],
)
def test_help_and_errors_of_the_command_line_load_no_package_but_click(words: str, code: int) -> None:
    """Also where settings are missing, as here."""
    assert said(*words.split()) == [code, ["click"]]


@pytest.mark.parametrize("words", ["flowtally s", "flowtally show t", "flowtally show talkers --order-by P"])
def test_completion_by_the_shell_loads_no_package_but_click(words: str) -> None:
    place = str(words.count(" "))
    completion = {"_FLOWTALLY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": place}
    assert said(**completion) == [0, ["click"]]


def said(*words: str, **environment: str) -> object:
    """The exit code of a command line, and the packages that it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SAY, *words],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])

"""A cold start: importing the function app, against the packages of Azure's that it can't do without; and
what the command line says without asking storage, against the packages that it is made with.

Fresh processes, by turns; CPU seconds from before the first import to after the last, of the command line
those of the whole process. Nothing is fetched: the settings are those of a deployment with identities, which
makes clients but asks for no token.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from tools.bench.measuring import Row, ratios

AZURE = (
    "azure.functions, azurefunctions.extensions.bindings.blob, azure.storage.blob, azure.data.tables, "
    "azure.identity"
)
_IMPORT = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"
CLICK_AND_RICH = "click, rich.console, rich.progress, rich.table"
_SAID = {
    "flowtally --help": ["--help"],
    "flowtally show talkers --help": ["show", "talkers", "--help"],
    "flowtally stats, an error": ["stats"],
    "flowtally show talkers --since x, an error": ["show", "talkers", "--since", "x"],
    "completing flowtally show t": [],
}
_COMPLETION = {
    "_FLOWTALLY_COMPLETE": "bash_complete",
    "COMP_WORDS": "flowtally show t",
    "COMP_CWORD": "2",
}
_SAY = """
import sys, time
from shared.cli import main
try:
    main(sys.argv[1:], prog_name="flowtally")
except SystemExit:
    print("", time.process_time(), sep="\\n")
"""
_ROOT = Path(__file__).parents[2]


def starting(rounds: int) -> Iterator[Row]:
    """With every module compiled; and with ours compiled at each start, as from a package that holds none."""
    with tempfile.TemporaryDirectory() as compiled, tempfile.TemporaryDirectory() as theirs:
        _import_seconds("function_app", compiled, keep=True)
        _import_seconds(AZURE + ", numpy", theirs, keep=True)
        for what, cache, target in (("modules compiled", compiled, 1.2), ("ours not compiled", theirs, None)):
            azure, numpy, app = [], [], []
            for _ in range(rounds):
                azure.append(_import_seconds(AZURE, cache))
                numpy.append(_import_seconds(AZURE + ", numpy", cache))
                app.append(_import_seconds("function_app", cache))
            yield Row(
                *("starting", f"import function_app, {what}", "× Azure's packages"),
                ratios(app, azure),
                target,
                aside={
                    "ms": 1e3 * median(app),
                    "Azure's packages ms": 1e3 * median(azure),
                    "with numpy ms": 1e3 * median(numpy),
                },
            )


def commands(rounds: int) -> Iterator[Row]:
    """Help, errors and completion, with every module compiled."""
    with tempfile.TemporaryDirectory() as compiled:
        imported = f"import time, {CLICK_AND_RICH}; print(time.process_time())"
        for what, arguments in _SAID.items():
            environment = {} if arguments else _COMPLETION
            _seconds([_SAY, *arguments], compiled, environment)
            _seconds([imported], compiled)
            packages, said = [], []
            for _ in range(rounds):
                packages.append(_seconds([imported], compiled))
                said.append(_seconds([_SAY, *arguments], compiled, environment))
            yield Row(
                *("commands", what, "× click and rich"),
                ratios(said, packages),
                1.5,
                aside={"ms": 1e3 * median(said), "click and rich ms": 1e3 * median(packages)},
            )


def _seconds(program: list[str], compiled: str, environment: dict[str, str] | None = None) -> float:
    """CPU seconds of a process, by the last line that it writes."""
    done = subprocess.run(
        [sys.executable, "-c", *program],
        cwd=_ROOT,
        env=_environment(os.environ) | {"PYTHONPYCACHEPREFIX": compiled} | (environment or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def _import_seconds(modules: str, compiled: str, *, keep: bool = False) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(modules)],
        cwd=_ROOT,
        env=_environment(os.environ) | {"PYTHONPYCACHEPREFIX": compiled} | _dont_write(keep=keep),
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(done.stdout)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("FLOW_LOGS", "RESULTS", "FLOWTALLY", "PYTHONDONTWRITEBYTECODE")
    return {
        **{name: value for name, value in environment.items() if not name.startswith(ours)},
        "FLOW_LOGS__blobServiceUri": "https://logs.blob.core.windows.net",
        "FLOW_LOGS__credential": "managedidentity",
        "RESULTS__tableServiceUri": "https://results.table.core.windows.net",
        "RESULTS__credential": "managedidentity",
    }


def _dont_write(*, keep: bool) -> dict[str, str]:
    return {} if keep else {"PYTHONDONTWRITEBYTECODE": "1"}

"""A cold start: importing the function app, against the packages of Azure's that it can't do without.

Fresh processes, by turns; CPU seconds from before the first import to after the last. Nothing is fetched:
the settings are those of a deployment with identities, which makes clients but asks for no token.
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

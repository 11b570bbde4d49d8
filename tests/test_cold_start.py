"""What a cold start doesn't do: each would cost every new instance."""

import json
import subprocess
import sys
from pathlib import Path

IMPORT = """
import json, sys
from pathlib import Path
import function_app, numpy
threads = len([*Path("/proc/self/task").iterdir()])
print(json.dumps([threads, sorted({name.partition(".")[0] for name in sys.modules})]))
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
    threads, packages = json.loads(done.stdout)
    assert threads == 1
    assert not {"click", "rich", "hypothesis", "tests", "tools"} & {*packages}

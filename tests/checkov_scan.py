"""Runs checkov over a folder of Bicep files; runs in checkov's own environment (`make setup`).

Its command line imports the scanners of thirty other languages first, which takes four times as long; the
checks are the same. checkov counts what its parser can't read as "0 failed", so that is reported, too.
"""

import json
import sys
from pathlib import Path

import checkov.arm.checks.resource
import checkov.bicep.checks.param.azure
import checkov.bicep.checks.resource.azure  # noqa: F401 -- importing the three registers the checks
from checkov.bicep.runner import Runner
from checkov.runner_filter import RunnerFilter


def scan(folder: Path) -> dict[str, list[str]]:
    """What was found: ``passed``, ``failed``, ``skipped`` as "file: check", and ``unreadable`` files."""
    report = Runner().run(root_folder=str(folder), runner_filter=RunnerFilter(framework=["bicep"]))
    return {
        "passed": [f"{each.file_path}: {each.check_id}" for each in report.passed_checks],
        "failed": [f"{each.file_path}: {each.check_id} {each.check_name}" for each in report.failed_checks],
        "skipped": [
            f"{each.file_path}: {each.check_id}: {each.check_result['suppress_comment'].strip()}"
            for each in report.skipped_checks
        ],
        "unreadable": [str(Path(path).relative_to(folder)) for path in report.parsing_errors],
    }


if __name__ == "__main__":
    print(json.dumps(scan(Path(sys.argv[1]))))  # noqa: T201 -- to whoever started it

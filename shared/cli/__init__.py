"""The command line: ``flowtally``. One module for each group of commands.

Data goes to stdout, messages and progress to stderr. Exit codes: 0 well; 1 something is behind or has failed;
2 a setting, an argument or an option is missing or wrong.
"""

from shared.cli import flows, jobs, show
from shared.cli.frame import main

__all__ = ["flows", "jobs", "main", "show"]

"""The command line: ``flowtally``. One module for each group of commands.

Data goes to stdout, messages and progress to stderr. Exit codes: 0 well; 1 something is behind or has failed;
2 a setting, an argument or an option is missing or wrong.

Help, errors and completion by the shell take little more time than Python and click: the modules here import
no SDK, nor what imports one. A command imports what it works with when it runs.
"""

from shared.cli import flows, jobs, show
from shared.cli.frame import main

__all__ = ["flows", "jobs", "main", "show"]

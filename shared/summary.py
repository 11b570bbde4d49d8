"""One line about each invocation: what it did, in how many requests, how long it took.

``ingested {"Blob": …, "Tuples": 12, …}``: a word that stays the same, then JSON. So Application Insights can
be asked (docs/operate.md has the queries) whether the host passes on the message only, or the worker exports
the record with its ``extra`` values, as custom dimensions of the same names.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.connection import count_requests

log = logging.getLogger("flowtally")


@dataclass(slots=True)
class Summary:
    """What is to be said; ``say`` may be called any number of times."""

    facts: dict[str, Any] = field(default_factory=dict)

    def say(self, **facts: Any) -> None:
        """Add facts, named as columns are."""
        self.facts |= facts


@contextmanager
def summary(word: str, **facts: Any) -> Iterator[Summary]:
    """Write the line at the end of the ``with`` block: also of one that fails, which goes on failing."""
    said = Summary(facts)
    began = time.monotonic()
    with count_requests() as requests:
        try:
            yield said
        except Exception as error:
            said.say(Error=f"{type(error).__name__}: {error}")
            raise
        finally:
            said.say(Requests=requests.made, Seconds=round(time.monotonic() - began, 3))
            level = logging.ERROR if "Error" in said.facts else logging.INFO
            log.log(level, "%s %s", word, json.dumps(said.facts, ensure_ascii=False), extra=said.facts)

"""One line about each invocation: what it did, in how many requests, how long it took.

``ingested {"Blob": …, "Tuples": 12, …}``: a word that stays the same, then JSON. So Application Insights can
be asked (docs/operate.md has the queries) whether the host passes on the message only, or the worker exports
the record with its ``extra`` values, as custom dimensions of the same names.

What is done very often, counting an update, has one line a minute about all that went well: see ``Sums``.
"""

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
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


class Sums:
    """What many invocations did, added up until there is a line about all of them. Threads may share one.

    The first line is written at once, and then one every so many seconds, if there is anything to say. What
    has failed or was passed over is not added up: it has a line of its own at once, which names the blob.
    What a process hasn't said yet when it ends is missing in the log; nothing else depends on it.
    """

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._sums: Mapping[str, Any] = {}
        self._said = -math.inf
        self._lock = threading.Lock()

    def add(self, facts: Mapping[str, Any], now: float) -> Mapping[str, Any] | None:
        """Add an invocation's facts. Give the facts of a line, if one is due; ``now`` is in seconds.

        Each line has the number of its ``Events``; over all lines of a process they and all other figures but
        ``LagSeconds``, which is the longest, are the sums over its invocations.
        """
        facts = {"Events": 1, **facts}
        if facts.keys() & _SAID_ALONE:
            return facts
        with self._lock:
            self._sums = _together(self._sums, facts) if self._sums else facts
            if now - self._said < self._every_seconds:
                return None
            due, self._sums, self._said = self._sums, {}, now
            return due


_SAID_ALONE = {"Error", "PassedOver"}


def _together(sums: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Figures are added up; a text is kept if it is the same in both."""
    both: dict[str, Any] = {}
    for name in [each for each in sums if each in facts]:
        one, other = sums[name], facts[name]
        if name == "LagSeconds":
            both[name] = max((lag for lag in (one, other) if lag is not None), default=None)
        elif not isinstance(one, str):
            both[name] = round(one + other, 3)
        elif one == other:
            both[name] = one
    return both


@contextmanager
def summary(word: str, sums: Sums | None = None, /, **facts: Any) -> Iterator[Summary]:
    """Write the line at the end of the ``with`` block: also of one that fails, which goes on failing. With
    ``sums``, only if a line is due.
    """
    said = Summary(facts)
    began = time.monotonic()
    with count_requests() as requests:
        try:
            yield said
        except Exception as error:
            said.say(Error=f"{type(error).__name__}: {error}")
            raise
        finally:
            now = time.monotonic()
            said.say(Requests=requests.made, Seconds=round(now - began, 3))
            line = sums.add(said.facts, now) if sums else said.facts
            if line is not None:
                level = logging.ERROR if "Error" in line else logging.INFO
                log.log(level, "%s %s", word, json.dumps(line, ensure_ascii=False), extra=line)

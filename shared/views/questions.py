"""The registry of questions: each view declared once.

The rollup fills the views from this list; the command line offers them from it. Adding a question is adding
an entry here (and its group-by in ``tally/hour_counts.py``, if it counts something new).
"""

from dataclasses import dataclass
from typing import Literal

from shared.tally.hour_counts import FAMILIES
from shared.tally.measures import MEASURES

Grain = Literal["5m", "hour", "day"]

RANKED_ROWS = 100
"""Rows of a ranked view in one period at the most, beside the one that holds the rest."""


@dataclass(frozen=True, slots=True)
class Question:
    """One view of table ``flowstats``.

    ``key``: the dimensions that its rows stand for; ``ranked_by``: what its ranks are by, ``None`` if all
    rows are kept.
    """

    name: str
    help: str
    key: tuple[str, ...]
    ranked_by: str | None
    grains: tuple[Grain, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of an answer, in order."""
        if self.name == "health":
            return ("Period", *HEALTH_COLUMNS)
        ranked = ("Rank",) if self.ranked_by else ()
        seen = ("FirstSeen", "LastSeen") if self.name == "rules" else ()
        bounded = ("Missed", "IsRest") if self.name in FAMILIES else ()
        return ("Period", *ranked, *self.key, *MEASURES, *seen, *bounded)


HEALTH_COLUMNS = (
    "Blobs",
    "Bytes",
    "Records",
    "Tuples",
    "Malformed",
    "GarbledBytes",
    "LastRecordTime",
    "LagSeconds",
)

_BOTH: tuple[Grain, ...] = ("hour", "day")


def _family(name: str, text: str, ranked_by: str | None) -> Question:
    return Question(name, text, FAMILIES[name].columns, ranked_by, _BOTH)


QUESTIONS = {
    question.name: question
    for question in (
        Question(
            "traffic",
            "How much is going on: tuples, flows and bytes, in and out, allowed and denied.",
            ("Direction", "Status"),
            None,
            ("5m", *_BOTH),
        ),
        _family("rules", "Which rules decide, how often, since when and until when.", None),
        _family(
            "denied-sources", "Who is being denied: source addresses of denied inbound flows.", "FlowsDenied"
        ),
        _family("talkers", "Who talks most: remote addresses of allowed flows, by traffic.", "traffic"),
        _family(
            "denied-ports", "Which ports are knocked at: destination ports of denied flows.", "FlowsDenied"
        ),
        _family(
            "allowed-ports",
            "Which ports are in use: destination ports of allowed flows, by traffic.",
            "traffic",
        ),
        _family(
            "conversations",
            "Who talks to whom: addresses, port and rule of allowed flows, by traffic.",
            "traffic",
        ),
        _family(
            "denied-conversations",
            "Who is kept from whom, by which rule: addresses, port and rule of denied flows.",
            "FlowsDenied",
        ),
        _family("nics", "Which network interfaces see what.", None),
        Question(
            "health",
            "Is it all there: blobs, bytes, records, tuples, rejects, last record, lag.",
            (),
            None,
            ("hour",),
        ),
    )
}

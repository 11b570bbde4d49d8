"""The registry of questions: each declared once, with its view.

The rollup fills the views from this list; the command line, the HTTP routes, the page and docs/questions.md
offer the questions from it. Each family of ``tally/families.py`` is a question; two more are declared here.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from shared.counts.health import HEALTH_MEASURES
from shared.tally.families import FAMILIES, OF_SIDES, SIDES, STATED_BYTES, TWICE, Family
from shared.tally.measures import COLUMNS, MEASURES, Sums, figure, to_columns, to_figures

Grain = Literal["5m", "hour", "day"]

ROWS = 99
"""Rows of a view in one period at the most, beside the one that holds the rest: with that, as many as one
transaction takes.
"""

RANKED_ROWS_AN_HOUR = 10
"""The same, of an hour of a view that ranks its rows. Answers are made of the counts, which have all of them;
rows are for other programs, and the dearest thing to write.
"""

SHOWN_ROWS = 10
"""Rows of a ranked question's answer, unless it is asked for more or fewer."""

_SUMS: Mapping[str, tuple[str, ...]] = {
    "Bytes": ("BytesSrcToDest", "BytesDestToSrc"),
    "Packets": ("PacketsSrcToDest", "PacketsDestToSrc"),
    "Traffic": ("BytesSrcToDest", "BytesDestToSrc", "Tuples"),
}
"""What can be ordered by beside the measures themselves: sums of them."""

SHORT_NAMES: Mapping[str, str] = {
    "Allowed": "FlowsAllowed",
    "Denied": "FlowsDenied",
    "Ended": "FlowsEnded",
    "Restarted": "FlowsRestarted",
    "Restated": "BytesRestated",
    "Doubtful": "BytesDoubtful",
    "Lost": "RestartsLost",
}
"""What tables call these measures."""

_MADE_OF = {"BytesRestated": ("BytesSrcToDestRestated", "BytesDestToSrcRestated")}

REJECTS_MEASURES = ("Rejects", "GarbledBytes", "Blobs")


@dataclass(frozen=True, slots=True)
class Question:
    """What can be asked, and the view of table ``flowstats`` that is of the same.

    - ``key``: the dimensions that its rows stand for;
    - ``ranked_by``: what an answer's ranks are by, ``None`` if it has none;
    - ``order``: what an answer is ordered by (one of ``orders``), empty for its key;
    - ``grains``: the periods that it is kept for, the longest last;
    - ``unknown``: what it can't know, a sentence each;
    - ``measures``: the columns that are summed over periods; ``extremes``: those of which the least or
      largest is taken;
    - ``beside``: columns that another view fills (see ``interfaces``);
    - ``of``: the family that it is asked of, if that has another name: then it has no view of its own;
    - ``by``: the columns of the key that rows stand for, if they aren't all;
    - ``looks_back``: rows say since when they are there.
    """

    name: str
    help: str
    key: tuple[str, ...]
    ranked_by: str | None
    order: str
    grains: tuple[Grain, ...]
    unknown: tuple[str, ...]
    measures: tuple[str, ...] = COLUMNS
    extremes: Mapping[str, Callable[[list[Any]], Any]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    of: str = ""
    by: tuple[str, ...] = ()
    looks_back: bool = False

    @property
    def reads(self) -> str:
        """The part of the counts that it is answered from."""
        return self.of or self.name

    @property
    def in_index(self) -> bool:
        """Whether it is answered from the index: it isn't counted by keys."""
        return self.reads in ("health", "rejects")

    @property
    def filtered(self) -> tuple[str, ...]:
        """The columns that filters are held against: those of the key, and what can be told of them."""
        beside = ["LocalIp"] if "Addresses" in self.beside else []
        sides = SIDES if {*OF_SIDES} <= {*self.key} else ()
        return (*self.key, *beside, *sides)

    @property
    def projected(self) -> tuple[str, ...]:
        """The columns that rows can stand for: those of the key, and the sides where it tells them."""
        return (*self.key, *(side for side in SIDES if {*OF_SIDES} <= {*self.key}))

    @property
    def bounded(self) -> bool:
        """Whether rows may be missing, or have missed something."""
        return self.reads in FAMILIES

    def grains_of(self, period: Literal["hour", "day"]) -> tuple[Grain, ...]:
        """The grains of the rows that are made of an hour's counts, or of a day's."""
        return tuple(grain for grain in self.grains if (grain == "day") == (period == "day"))

    def rows_of(self, grain: Grain) -> int:
        """How many rows a period of this grain has at the most, beside its rest."""
        return RANKED_ROWS_AN_HOUR if self.ranked_by and grain == "hour" else ROWS

    @property
    def unit(self) -> str:
        """What ``Missed`` is counted in: one of ``orders``."""
        return self.ranked_by or self.order or "Tuples"

    @property
    def orders(self) -> dict[str, tuple[int, ...]]:
        """What an answer can be ordered by: of each, the places in sums of the measures that make it up."""
        single: dict[str, tuple[int, ...]] = {name: (place,) for place, name in enumerate(self.measures)}
        if self.measures == COLUMNS:
            single = {name: tuple(map(MEASURES.index, _MADE_OF.get(name, (name,)))) for name in COLUMNS}
        sums = {
            name: tuple(place for part in parts for place in single[part])
            for name, parts in _SUMS.items()
            if name not in single and set(parts) <= single.keys()
        }
        return single | sums

    def weigh(self, order: str) -> Callable[[Sums], int]:
        """A function that gives the value of ``order`` (one of ``orders``) of a key's sums."""
        places = self.orders[order]
        return lambda sums: figure(sums, places)

    def value(self, order: str, row: Mapping[str, Any]) -> int:
        """The value of ``order`` (one of ``orders``) of a row."""
        parts = (order,) if order in self.measures else _SUMS[order]
        return sum(row[part] for part in parts)

    @property
    def keeps_times(self) -> bool:
        """Whether it is kept when each key was first and last seen."""
        return self.bounded and bool(self.extremes)

    def figures(self, sums: Sums) -> dict[str, int]:
        """A key's sums by the names of the measures."""
        figures = to_figures(sums)
        return (
            to_columns(figures)
            if self.measures == COLUMNS
            else dict(zip(self.measures, figures, strict=False))
        )


_BOTH: tuple[Grain, ...] = ("hour", "day")
_KEPT = (
    "Of an hour {hour:,} are kept by name, of a day {day:,} (of all scopes together {hour_of_all:,} and "
    "{day_of_all:,}), the largest; what others there are is in the rest, and answers say so."
)


def question_of(family: Family) -> Question:
    """The question that a family answers."""
    return Question(
        family.name,
        family.help,
        family.columns,
        family.weight.name if family.ranked else None,
        family.weight.name,
        _BOTH,
        (*family.unknown, _KEPT.format(**asdict(family.kept))),
        extremes={"FirstSeen": min, "LastSeen": max} if family.times else {},
        beside=("Addresses",) if family.name == "nics" else (),
    )


VIEWS = {
    question.name: question
    for question in (
        Question(
            "traffic",
            "How much is going on: tuples, flows and bytes, in and out, allowed and denied.",
            ("Direction", "Status"),
            None,
            "",
            ("5m", *_BOTH),
            (TWICE, STATED_BYTES),
        ),
        *map(question_of, FAMILIES.values()),
        Question(
            "health",
            "Is it all there: blobs, bytes, records, tuples by state, rejects, last record, lag.",
            (),
            None,
            "",
            ("hour",),
            ("Only what has been read is known: `flowtally status` compares it with what is stored.",),
            measures=HEALTH_MEASURES,
            extremes={"LastRecordTime": max, "LagSeconds": max},
        ),
        Question(
            "rejects",
            "What could not be counted, and why: rejected tuples and stretches of bytes, by reason; "
            "`flowtally rejects` lists each.",
            ("Reason",),
            None,
            "Rejects",
            _BOTH,
            (
                "What each of them looks like, and where it stands, `flowtally rejects` reads from the log.",
                "A blob with rejects for several reasons counts for each of them.",
            ),
            measures=REJECTS_MEASURES,
        ),
    )
}
"""The questions that have a view of their own in table ``flowstats``."""

QUESTIONS = {
    **VIEWS,
    "denied": replace(
        VIEWS["denied-conversations"],
        name="denied",
        help="Who is denied, since when, by which rule, how often, and when last: in and out.",
        of="denied-conversations",
        by=("SrcIp", "Direction", "AclGroup", "AclRule"),
        looks_back=True,
    ),
}
"""All that can be asked."""

"""Jobs by turns, and what follows from their times: rows with noise and verdicts."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

type Job = Callable[[], object]
type Clock = Callable[[], float]
type Verdict = Literal["held", "in doubt", "missed", ""]

CPU: Clock = time.process_time
WALL: Clock = time.perf_counter


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``figures``: what each round gave, in ``unit``. The target is the most that the
    figure may be, or with ``at_least`` the least; without a target there is no verdict. ``aside``: what else
    is worth knowing, by name.
    """

    section: str
    what: str
    unit: str
    figures: tuple[float, ...]
    target: float | None = None
    at_least: bool = False
    aside: Mapping[str, float] = field(default_factory=dict)

    @property
    def figure(self) -> float:
        """The median."""
        return statistics.median(self.figures)

    @property
    def noise(self) -> float:
        """The distance between the quartiles; 0 of a single round."""
        if len(self.figures) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.figures, method="inclusive")
        return high - low

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met."""
        if self.target is None:
            return ""
        missed_by = self.target - self.figure if self.at_least else self.figure - self.target
        if missed_by <= 0:
            return "held"
        return "missed" if missed_by > self.noise else "in doubt"

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "section": self.section,
            "what": self.what,
            "unit": self.unit,
            "figure": self.figure,
            "noise": self.noise,
            "target": self.target,
            "at_least": self.at_least,
            "verdict": self.verdict,
            "rounds": self.figures,
            "aside": dict(self.aside),
        }


def by_turns(
    rounds: int,
    *jobs: Job,
    clock: Clock = CPU,
    before_round: Job | None = None,
    before_job: Job | None = None,
) -> list[tuple[float, ...]]:
    """Seconds that each job took in each round; in every second round the last job is the first.

    What is done before each round or before each job is outside of their times.
    """
    taken: list[list[float]] = [[] for _ in jobs]
    pairs = [*zip(jobs, taken, strict=True)]
    for turn in range(rounds):
        if before_round:
            before_round()
        for job, times in pairs if turn % 2 == 0 else pairs[::-1]:
            if before_job:
                before_job()
            began = clock()
            result = job()
            times.append(clock() - began)
            del result  # outside of the time that it took to make
    return [tuple(times) for times in taken]


def ratios(over: Iterable[float], under: Iterable[float], factor: float = 1.0) -> tuple[float, ...]:
    """Round by round, one divided by the other, times ``factor``."""
    return tuple(factor * a / b for a, b in zip(over, under, strict=True))


def table(rows: Sequence[Row]) -> str:
    """The rows for people, in columns."""
    lines = [("", "", "figure", "noise", "target", "", "")]
    for row, before in zip(rows, [None, *rows], strict=False):
        sign = "≥" if row.at_least else "≤"
        lines.append(
            (
                row.section if before is None or before.section != row.section else "",
                row.what,
                f"{_number(row.figure)} {row.unit}",
                f"±{_number(row.noise / 2)}" if row.noise else "",
                "" if row.target is None else f"{sign} {_number(row.target)}",
                row.verdict,
                ", ".join(f"{name} {_number(value)}" for name, value in row.aside.items()),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 1000 else f"{value:.3g}"

"""The page: one self-contained HTML document, for the browser of the function app and as a file to mail.

It is put together from ``page.html``, ``page.css``, ``page.js`` and the chart library in ``vendor``, as they
are. The same document serves both: what it shows is fetched from beside it, or, in a report, embedded. Its
Content-Security-Policy allows the script and the style by their hashes, and no address but its own.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from shared.times import HOUR
from shared.views.query import REPORT_PARAMETERS, parameters_of
from shared.views.questions import QUESTIONS, Grain, Question

_HERE = Path(__file__).parent
_SCRIPTS = ("locale.js", "vendor/uPlot.iife.min.js", "page.js")
_STYLES = ("vendor/uPlot.min.css", "page.css")

INTERFACES, ALLOWED, DENIED = "nics", "conversations", "denied-conversations"
"""The questions asked instead of ``traffic`` where an interface, an address or a port is selected."""

LOOKS_BACK = "7d"
"""How far the page looks for since when something is there: each time that it is shown."""

LAYOUT = (
    *("denied-sources", "denied-ports", "denied-conversations", "denied"),
    *("talkers", "allowed-ports", "conversations"),
    *("rules", "exposed-ports", "encryption", "nics", "addresses", "rejects"),
)
"""The order of the tables; a question that isn't named here comes last."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of the page: the question that it shows the answer to, and with which parameters it asks,
    beside those that are selected. ``instead``: what is asked where one of these parameters is selected; of
    several the last holds. ``by_time``: one list for each period. ``table``: shown as a table.
    """

    id: str
    question: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    by_time: bool = False
    table: bool = False


def _panels() -> Iterator[Panel]:
    yield Panel("health", "health")
    for status, conversations in (("Allowed", ALLOWED), ("Denied", DENIED)):
        asked = {"status": status, "by": "Direction"}
        instead = {"mac": INTERFACES, "ip": conversations, "port": conversations}
        yield Panel(f"series-{status.lower()}", "traffic", asked, instead, by_time=True)
        yield Panel(f"change-{status.lower()}", "traffic", {**asked, "compare": "true"}, instead)
    tables = [name for name in QUESTIONS if name not in ("traffic", "health")]
    tables.sort(key=lambda name: LAYOUT.index(name) if name in LAYOUT else len(LAYOUT))
    for name in tables:
        looks_back = {"look-back": LOOKS_BACK} if QUESTIONS[name].looks_back else {}
        yield Panel(name, name, {"limit": "10", **looks_back}, table=True)


PANELS = (*_panels(),)


SELECTED = tuple(each.name for each in REPORT_PARAMETERS)
"""The parameters that are selected on the page, or for a report."""


def grains_of(question: Question) -> list[tuple[Grain, float]]:
    """What charts are drawn by, the finest first, each with the hours that a window has at the most. An hour
    of conversations has many keys: of long windows their days are read.
    """
    hours = 3 * 24 if question.name in (ALLOWED, DENIED) else 14 * 24
    most: dict[Grain, float] = {"5m": 12, "hour": hours, "day": 1e9}
    return [(grain, most[grain]) for grain in question.grains]


def asks(
    panel: Panel, selection: Mapping[str, Sequence[str]], window: timedelta
) -> tuple[str, dict[str, list[str]]]:
    """The question that a panel asks, and its parameters: for a report what ``queryOf`` in page.js is for
    the browser. ``window``: the time that is looked at.
    """
    instead = [name for parameter, name in panel.instead.items() if selection.get(parameter)]
    question = QUESTIONS[[panel.question, *instead][-1]]
    takes = {each.name for each in parameters_of(question)}
    given = {name: [*texts] for name, texts in selection.items() if texts and name in takes}
    given |= {name: [text] for name, text in panel.parameters.items() if name in takes}
    if panel.by_time:
        given["grain"] = [next(grain for grain, most in grains_of(question) if window / HOUR <= most)]
    return question.name, given


def render(report: Mapping[str, Any] | None = None) -> str:
    """The whole document; with ``report``, what it shows is that, and it fetches nothing."""
    data = {"report": report, **_described()}
    return _fill(
        (_HERE / "page.html").read_text("utf-8"),
        policy=policy("'none'" if report else "'self'"),
        style=_joined(_STYLES),
        data=embeddable(data),
        script=_joined(_SCRIPTS),
    )


def policy(connect: str) -> str:
    """The Content-Security-Policy; ``connect``: where the script may fetch from."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(_joined(_SCRIPTS))}",
            f"style-src {_digest(_joined(_STYLES))}",
            "img-src data:",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def embeddable(value: Any) -> str:
    """JSON that can stand in a script element, whatever the texts in it: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((_HERE / name).read_text("utf-8").strip() for name in names)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _fill(template: str, **parts: str) -> str:
    """The parts in their places; what stands in a part is not looked at."""
    for name in ("policy", "style", "data", "script"):
        before, _, template = template.partition("{{" + name + "}}")
        parts[name] = before + parts[name]
    return "".join(parts[name] for name in ("policy", "style", "data", "script")) + template


def _described() -> dict[str, Any]:
    """What the script has to know of the questions and panels."""
    return {
        "selected": SELECTED,
        "panels": [asdict(panel) for panel in PANELS],
        "questions": {
            name: {
                "name": name,
                "help": question.help,
                "key": question.by or question.key,
                "filtered": question.filtered,
                "measures": question.measures,
                "times": [*question.extremes, *(["Since", "LastPeriod"] if question.looks_back else [])],
                "unit": question.unit,
                "ranked": question.ranked_by is not None,
                "grains": [{"grain": grain, "hours": hours} for grain, hours in grains_of(question)],
                "unknown": question.unknown,
                "parameters": [each.name for each in parameters_of(question)],
            }
            for name, question in QUESTIONS.items()
        },
    }

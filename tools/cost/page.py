"""The tables of docs/cost.md, and the bill of one estate."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from tools.cost.measured import ERROR
from tools.cost.model import (
    Estate,
    Mode,
    bill,
    counts_gb,
    defender,
    instances,
    ledger_gb,
    requests_a_second,
    traffic_analytics,
    uncapped_telemetry_gb,
    works,
)
from tools.cost.prices import PRICES

PAGE = Path(__file__).parent.parent.parent / "docs" / "cost.md"
BEGIN, END = "<!-- python -m tools.cost -->\n", "<!-- /python -m tools.cost -->"

SIZES = (
    *((10, 1), (100, 5), (1000, 20), (10_000, 100), (10_000, 1000), (10_000, 10_000)),
    *((100_000, 100), (100_000, 1000), (100_000, 10_000)),
)
"""Interfaces, and flow logs."""

_INSTANCES = (
    "How many are at work at the most; how long a round takes, and how long joining all scopes. "
    "Requests: to the accounts of flow logs together; to that of results."
)
USUAL = Estate(1000, 20)
MODES: tuple[Mode, ...] = get_args(Mode)[::-1]


def tables() -> str:
    """All that the page shows of the model."""
    both = [replace(USUAL, mode=mode) for mode in MODES]
    parts = [
        _sizes(),
        f"### What for\n\n{_lines(both)}",
        *(f"### What is done in `{each.mode}`\n\n{_works(each)}" for each in both),
        f"### How many instances\n\n{_INSTANCES}\n\n{_instances()}",
        f"### Against the targets\n\n{_targets()}",
        f"### When Traffic Analytics is cheaper\n\n{_break_even()}",
        f"### What is kept, and for how long\n\n{_kept()}",
        f"### Prices\n\n{_prices()}",
    ]
    return "\n".join(parts)


def page() -> str:
    """docs/cost.md with the tables as they have to be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}{tables()}{END}{rest.partition(END)[2]}"


def one(estate: Estate) -> str:
    """The bill of one estate, what is done for it, and what Traffic Analytics would cost."""
    at, total = instances(estate), bill(estate).total
    of_logs, of_results = requests_a_second(estate)
    rows = [
        *(
            (
                f"Traffic Analytics every {every} minutes",
                f"{_dollars(dollars)}, {_ratio(dollars / total)} × as much",
            )
            for every, dollars in ((each, traffic_analytics(estate, each)) for each in (60, 10))
        ),
        ("telemetry, if there were no daily cap", f"{uncapped_telemetry_gb(estate):,.0f} GB"),
        ("instances at work at a time, at the most", f"{at.queue + at.blob:,}"),
        ("a round takes", _seconds(at.round_s)),
        ("joining all scopes takes", _seconds(at.join_s)),
        ("requests a second to each account of flow logs", f"{of_logs:,.1f}"),
        ("requests a second to the account of results", f"{of_results:,.1f}"),
        ("Defender for Storage, where flow logs have it: at most", f"{_dollars(defender(estate))} more"),
    ]
    return "\n".join((_lines([estate]), _works(estate), _markdown(("beside that", ""), rows)))


def _sizes() -> str:
    rows = []
    for interfaces, flow_logs in SIZES:
        of_mode = [Estate(interfaces, flow_logs, mode=mode) for mode in MODES]
        bills = [bill(each) for each in of_mode]
        rivals = [traffic_analytics(of_mode[0], every) for every in (60, 10)]
        rows.append(
            (
                f"{interfaces:,} in {flow_logs:,}",
                *(_dollars(its.total) for its in bills),
                _dollars(bill(replace(of_mode[1], memory_mb=512)).total),
                *(f"${its.of_interface:.3f}" for its in bills),
                *map(_dollars, rivals),
                *(" / ".join(_ratio(rival / its.total) for rival in rivals) for its in bills),
            )
        )
    head = (
        "interfaces in flow logs",
        *("`schedule`", "`events`", "… with 512 MB", "`schedule`, an interface", "`events`, an interface"),
        *("Traffic Analytics, 60 min", "… 10 min", "60 / 10 min, ÷ `schedule`", "60 / 10 min, ÷ `events`"),
    )
    return _markdown(head, rows)


def _prices() -> str:
    rows = [
        (
            each.metadata["of"],
            _price(getattr(USUAL.prices, each.name)),
            f"`{each.name}`",
            each.metadata["source"],
        )
        for each in PRICES
    ]
    return _markdown(("", "$", "`--price`", "as quoted by"), rows)


def _lines(estates: Sequence[Estate]) -> str:
    bills = [bill(each) for each in estates]
    rows = [
        (name, *(_dollars(its.lines[name]) for its in bills))
        for name in bills[0].lines
        if any(its.lines[name] for its in bills)
    ]
    rows.append(("**together**", *(f"**{_dollars(its.total)}**" for its in bills)))
    rows.append(("… an interface", *(f"${its.of_interface:.3f}" for its in bills)))
    return _markdown(("$ a month", *(f"`{each.mode}`" for each in estates)), rows)


def _works(estate: Estate) -> str:
    rows = [
        (
            work.job,
            _count(work.executions),
            _count(work.cpu),
            *map(_count, (work.reads, work.listings, work.table, work.queue)),
        )
        for work in works(estate)
    ]
    return _markdown(
        ("a month", "executions", "CPU s", "blob reads", "listings", "table requests", "queue requests"), rows
    )


def _instances() -> str:
    rows = []
    for interfaces, flow_logs in SIZES:
        cells = []
        for mode in MODES:
            for memory_mb in (2048, 512):
                at = instances(Estate(interfaces, flow_logs, mode=mode, memory_mb=memory_mb))
                cells.append(f"{at.queue + at.blob:,}; {_seconds(at.round_s)}; {_seconds(at.join_s)}")
        requests = (requests_a_second(Estate(interfaces, flow_logs, mode=mode)) for mode in MODES)
        rows.append(
            (
                f"{interfaces:,} in {flow_logs:,}",
                *cells,
                *(f"{of_logs:,.1f}; {of_results:,.1f}" for of_logs, of_results in requests),
            )
        )
    head = (
        "interfaces in flow logs",
        *(f"`{mode}`, {memory:,} MB" for mode in MODES for memory in (2048, 512)),
        *(f"requests a second in `{mode}`" for mode in MODES),
    )
    return _markdown(head, rows)


def _targets() -> str:
    rows = [
        _target("`schedule`, 1,000 interfaces in 20 flow logs: Traffic Analytics at 60 min ÷ it", USUAL, 40),
        _target("`events`, the same", replace(USUAL, mode="events"), 8),
        _target("… with 512 MB", replace(USUAL, mode="events", memory_mb=512), 8),
    ]
    for mode in MODES:
        few, many = (bill(Estate(number, number // 10, mode=mode)).of_interface for number in (10, 10_000))
        rows.append(
            (
                f"`{mode}`: $ an interface with 10,000 in 1,000 flow logs ÷ with 10 in one",
                f"{many / few:.2f}",
                "≤ 1",
                "held" if many <= few else "**missed**",
            )
        )
    return _markdown(("", "reckoned", "target", ""), rows)


def _target(what: str, estate: Estate, at_least: float) -> tuple[str, str, str, str]:
    ratio = traffic_analytics(estate) / bill(estate).total
    missed = "*in doubt*" if ratio >= at_least * (1 - ERROR) else "**missed**"
    return what, f"{ratio:.1f}", f"≥ {at_least}", "held" if ratio >= at_least else missed


def _break_even() -> str:
    rows = [
        (
            f"{interfaces:,} in {flow_logs:,}",
            *(
                f"{_least_kilobytes(Estate(interfaces, flow_logs, mode=mode), every):.1f}"
                for mode in MODES
                for every in (60, 10)
            ),
        )
        for interfaces, flow_logs in ((1, 1), *SIZES[:5])
    ]
    head = ("below so many kB a minute", *(f"`{mode}`, {every} min" for mode in MODES for every in (60, 10)))
    return _markdown(head, rows)


def _least_kilobytes(estate: Estate, every_minutes: Literal[60, 10]) -> float:
    """From how many kB a minute and interface on an estate costs less than Traffic Analytics."""
    low, high = 0.0, 1000.0
    for _ in range(40):
        middle = (low + high) / 2
        at = replace(estate, kilobytes=middle)
        low, high = (low, middle) if bill(at).total < traffic_analytics(at, every_minutes) else (middle, high)
    return high


def _kept() -> str:
    rows = []
    for months in (1, 3, 12, 36):
        own = [replace(USUAL, mode=mode, keep_months=months) for mode in MODES]
        gigabytes = months * (ledger_gb(own[0]) + counts_gb(own[0]))
        rows.append(
            (
                f"{months}",
                f"{gigabytes:,.0f} GB",
                *(_dollars(bill(each).total) for each in own),
                *(_ratio(traffic_analytics(each) / bill(each).total) for each in own),
            )
        )
    head = ("months kept", "in tables", *(f"`{mode}`" for mode in MODES))
    return _markdown((*head, *(f"Traffic Analytics, 60 min, ÷ `{mode}`" for mode in MODES)), rows)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(each) for each in (head, *rows)]
    ruler = "|".join(["---", *["--:"] * (len(head) - 1)])
    return "".join(
        f"{line}\n" for line in (f"| {lines[0]} |", f"|{ruler}|", *(f"| {each} |" for each in lines[1:]))
    )


def _price(dollars: float) -> str:
    return f"${dollars:.2f}" if dollars >= 0.3 else f"${dollars:f}".rstrip("0")


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def _dollars(dollars: float) -> str:
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}"


def _count(number: float) -> str:
    for least, unit in ((1e6, " million"), (1e3, " thousand")):
        if number >= least:
            return f"{number / least:,.1f}{unit}"
    return f"{number:,.0f}" if number else "–"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"

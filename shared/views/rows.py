"""Counts → the rows of the views (pure). A row is a dict of an entity's columns, plain values.

What a period has of one view is written as a whole, in one transaction. Its rows' keys follow from how many
there are, and the first of them is always there, even where there is nothing to tell: whoever writes holds
to its ETag, and what a longer list has left over can be deleted without being read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from shared.counts.health import Health, RejectTotal
from shared.counts.index import Period
from shared.flowlog.reasons import Reason
from shared.tally.heavy_hitters import HeavyHitters, Row
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import (
    OF_RESTARTS,
    PLAIN,
    Figures,
    Sums,
    add_to,
    to_columns,
    to_figures,
)
from shared.tally.packing import TRAFFIC
from shared.times import to_moment
from shared.views.questions import REJECTS_MEASURES, VIEWS, Grain

type ViewRow = dict[str, Any]

_BUCKET = timedelta(minutes=5)
_WAYS = (*product(("Inbound", "Outbound"), ("Allowed", "Denied")),)
"""Direction and status of the rows of ``traffic``, in the order of their keys."""


def partition_of(scope: str, view: str, grain: Grain) -> str:
    """PartitionKey of a view in ``flowstats``."""
    return f"{scope}~{view}~{grain}"


def period_key(period: datetime) -> str:
    """``yyyymmddHHMM``: how RowKeys begin."""
    return period.strftime("%Y%m%d%H%M")


def row_keys(view: str, begin: datetime, rows: int) -> list[str]:
    """The RowKeys of the rows that a view has of a period (5m: of an hour), if there are so many."""
    if view == TRAFFIC:
        periods = [period_key(begin + _BUCKET * bucket) for bucket in range(-(-rows // len(_WAYS)))]
        return [f"{period}~{direction}~{status}" for period, (direction, status) in product(periods, _WAYS)][
            :rows
        ]
    period = period_key(begin)
    if view == "health":
        return [f"{period}~total"][:rows]
    return [f"{period}~{rank:04d}" for rank in range(rows)]


def period_rows(
    scope: str,
    period: Period,
    views: Iterable[str],
    counts: HourCounts,
    health: Health | None,
    rejects: Mapping[Reason, RejectTotal],
) -> Iterator[tuple[str, Grain, list[ViewRow]]]:
    """The rows that these views have of a period, each list by itself; what has a rest begins with it."""
    for name in views:
        question = VIEWS[name]
        for grain in question.grains_of(period.grain):
            if name == "health":
                rows: list[ViewRow] = [(health or Health()).columns()]
            elif name == "rejects":
                rows = [*_rejects(rejects)]
            elif name == TRAFFIC:
                rows = [*_traffic(period, grain, counts)]
            else:
                rows = [*_ranked(question.key, counts.families[name], question.rows_of(grain))]
            keys = row_keys(name, period.begin, len(rows))
            head = {"Scope": scope, "View": name, "Grain": grain, "Period": period.begin}
            partition = partition_of(scope, name, grain)
            yield (
                name,
                grain,
                [
                    {"PartitionKey": partition, "RowKey": key, **head, **row}
                    for key, row in zip(keys, rows, strict=True)
                ],
            )


def _traffic(period: Period, grain: Grain, counts: HourCounts) -> Iterator[ViewRow]:
    """By direction and status. In five minutes without tuples there are rows of zeros; after the last ones
    that have any, there is none.
    """
    total: dict[tuple[int, str, str], Sums] = {}
    for (bucket, direction, status), sums in counts.traffic.items():
        add_to(total, (bucket if grain == "5m" else 0, direction, status), sums)
    last = max((bucket for bucket, _, _ in total), default=0)
    for bucket, (direction, status) in product(range(last + 1), _WAYS):
        sums = total.get((bucket, direction, status), 0)
        row = {"Direction": direction, "Status": status, **_measures(to_figures(sums))}
        if grain == "5m":
            row["Period"] = period.begin + _BUCKET * bucket
        yield row


def _ranked(key: Sequence[str], family: HeavyHitters, most: int) -> Iterator[ViewRow]:
    """The largest by name; before them what has no row of its own. That has missed nothing, as it is what the
    total leaves.
    """
    largest, others = family.top(most)
    yield {**_measures(to_figures(others)), "Rank": 0, "Missed": 0, "IsRest": True}
    largest.sort(key=lambda row: family.weight(row.figures), reverse=True)
    for rank, row in enumerate(largest, start=1):
        yield {
            **dict(zip(key, row.key, strict=True)),
            **_measures(row.figures),
            "Rank": rank,
            "Missed": row.missed,
            "IsRest": False,
            **_seen(family, row),
        }


def _seen(family: HeavyHitters, row: Row) -> ViewRow:
    times = (family.seen or {}).get(row.key)
    return {"FirstSeen": to_moment(times[0]), "LastSeen": to_moment(times[1])} if times else {}


def _rejects(rejects: Mapping[Reason, RejectTotal]) -> Iterator[ViewRow]:
    """By reason, the most first. There are fewer reasons than rows: nothing is left to the rest."""
    yield {**_of_rejects(RejectTotal(0, 0, 0)), "Rank": 0, "IsRest": True}
    most_first = sorted(rejects.items(), key=lambda each: (-each[1].rejects, each[0]))
    for rank, (reason, total) in enumerate(most_first, start=1):
        yield {"Reason": str(reason), **_of_rejects(total), "Rank": rank, "IsRest": False}


def _of_rejects(total: RejectTotal) -> dict[str, int]:
    return dict(zip(REJECTS_MEASURES, total, strict=True))


def _measures(figures: Figures) -> dict[str, int]:
    """The measures' columns; those of restarts only where there were any."""
    if not any(figures[len(PLAIN) :]):
        return dict(zip(PLAIN, figures, strict=False))
    columns = to_columns(figures)
    return {name: value for name, value in columns.items() if value or name not in OF_RESTARTS}

"""Network interfaces and their addresses: the rows of ``nics``, beside those of ``addresses`` (pure).

An interface's addresses are those that ``addresses`` has rows of, in the same scope and time. Where that view
has dropped keys, an interface may have others: ``Addresses.elsewhere`` says how many tuples those had.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.views.answers import AnswerRow, List, list_scope
from shared.views.query import Condition, Query, Range
from shared.views.questions import QUESTIONS

_MOST_SHOWN = 5
"""Addresses in a row at the most, those that are asked for and the busiest first."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a scope's interfaces, by MAC address, the busiest first; and the tuples of those that
    have no row.
    """

    by_mac: dict[str, list[str]] = field(default_factory=dict)
    elsewhere: int = 0


def list_addresses(query: Query, scope: str, read: Callable[[Range], Iterable[AnswerRow]]) -> Addresses:
    """The addresses of a scope's interfaces in the time of a query, that of a comparison's other side too.
    ``read`` gives the rows of ``addresses`` of a range of periods.
    """
    question, span = QUESTIONS["addresses"], query.span()
    everything = Query(
        question,
        span.before.since if query.compare else span.since,
        span.until,
        query.now,
        limit=sys.maxsize,
        order="Tuples",
    )
    found = list_scope(everything, scope, read).get(None)
    if found is None:
        return Addresses()
    by_mac: dict[str, list[str]] = {}
    for _, mac, address in found.lines:
        by_mac.setdefault(mac, []).append(address)
    return Addresses(by_mac, found.rest[question.measures.index("Tuples")])


def with_addresses_known(query: Query, addresses: Addresses) -> Query:
    """The same query, whose conditions on addresses are held against all that an interface has."""
    return replace(query, conditions=tuple(_of_interfaces(each, addresses) for each in query.conditions))


def _of_interfaces(condition: Condition, addresses: Addresses) -> Condition:
    if "LocalIp" not in condition.columns:
        return condition
    macs = {mac for mac, its in addresses.by_mac.items() if any(map(condition.test, its))}
    return replace(condition, columns=("Mac",), test=macs.__contains__)


def put_addresses(lists: dict[datetime | None, List], query: Query, addresses: Addresses) -> None:
    """Put each interface's addresses into its lines."""
    asked = [each.test for each in query.conditions if "LocalIp" in each.columns]
    for its in lists.values():
        for (_, mac, *_), line in its.lines.items():
            known = addresses.by_mac.get(mac, [])
            known = sorted(known, key=lambda address: not all(test(address) for test in asked))
            more = f" and {len(known) - _MOST_SHOWN:,} more" if len(known) > _MOST_SHOWN else ""
            line.extremes["Addresses"] = ", ".join(known[:_MOST_SHOWN]) + more


def say_elsewhere(query: Query, tuples: int) -> Iterator[str]:
    """What has to be known where so many tuples are at addresses that have no row."""
    if tuples:
        asked = any("LocalIp" in each.columns for each in query.conditions)
        finds = ", and others may have the one asked for" if asked else ""
        yield f"{tuples:,} tuples are at addresses that have no row: interfaces may have more{finds}"

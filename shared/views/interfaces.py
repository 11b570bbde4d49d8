"""Network interfaces and their addresses: what was counted of ``nics``, beside ``addresses`` (pure).

An interface's addresses are those that ``addresses`` has kept, in the same kind of logs and time. Where that
family has dropped keys, an interface may have others: ``Addresses.elsewhere`` says how many tuples those had.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shared.views.answers import List
from shared.views.query import Condition, Query
from shared.views.questions import QUESTIONS

if TYPE_CHECKING:  # it imports numpy
    from shared.views.merged import Merged

_ADDRESSES = QUESTIONS["addresses"]

_MOST_SHOWN = 5
"""Addresses in a row at the most, those that are asked for and the busiest first."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of interfaces, by MAC address, the busiest first; and the tuples of those that were
    dropped.
    """

    by_mac: dict[str, list[str]] = field(default_factory=dict)
    elsewhere: int = 0


def of_addresses(query: Query) -> Query:
    """The question of all addresses in the time of a query, that of a comparison's other side too."""
    span = query.span()
    since = span.before.since if query.compare else span.since
    return Query(_ADDRESSES, since, span.until, query.now)


def list_addresses(merged: "Merged") -> Addresses:
    """The addresses of interfaces, out of what was counted of ``addresses``."""
    tuples = _ADDRESSES.weigh("Tuples")
    by_mac: dict[str, list[str]] = {}
    sums = merged.sums()
    for mac, address in sorted(sums, key=lambda key: (-tuples(sums[key]), key)):
        by_mac.setdefault(str(mac), []).append(str(address))
    return Addresses(by_mac, tuples(merged.rest(0)))


def with_addresses_known(query: Query, addresses: Addresses) -> Query:
    """The same query, whose conditions on addresses are held against all that an interface has."""
    return replace(query, conditions=tuple(_of_interfaces(each, addresses) for each in query.conditions))


def _of_interfaces(condition: Condition, addresses: Addresses) -> Condition:
    if "LocalIp" not in condition.columns:
        return condition
    macs = {mac for mac, its in addresses.by_mac.items() if any(map(condition.test, its))}
    return replace(condition, columns=("Mac",), test=macs.__contains__)


def put_addresses(its: List, query: Query, addresses: Addresses) -> None:
    """Put each interface's addresses into its lines."""
    asked = [each.test for each in query.conditions if "LocalIp" in each.columns and not each.excludes]
    place = query.key.index("Mac") + query.by_scope
    for key, line in its.lines.items():
        known = addresses.by_mac.get(key[place], [])
        known = sorted(known, key=lambda address: not all(test(address) for test in asked))
        more = f" and {len(known) - _MOST_SHOWN:,} more" if len(known) > _MOST_SHOWN else ""
        line.extremes["Addresses"] = ", ".join(known[:_MOST_SHOWN]) + more


def say_elsewhere(query: Query, tuples: int) -> Iterator[str]:
    """What has to be known where so many tuples are at addresses that were dropped in counting."""
    if tuples:
        asked = {each.excludes for each in query.conditions if "LocalIp" in each.columns}
        finds = ", and others may have the one asked for" if False in asked else ""
        finds += ", and these may have one that is to be left out" if True in asked else ""
        yield (
            f"{tuples:,} tuples are at addresses that were dropped in counting: "
            f"interfaces may have more{finds}"
        )

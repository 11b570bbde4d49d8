"""Restarts in columns: the tuples that have to do with them are found all at once, and each is then put to
the reference, ``flowlog.restarts``, in the log's order.

A restart is found by comparing each tuple with its neighbour. What belongs to a pending flow is found by its
ports first, whose 16 bits in a flow's digest stand in a table of marks; only where these agree is the digest
made.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from shared.flowlog.restarts import (
    FACTORS,
    PORT_BITS,
    PORT_FACTOR,
    Correction,
    Restarts,
    text_digest,
    way_digest,
)
from shared.flowlog.texts import Flags, Ints
from shared.tally.keys import Keys
from shared.tally.measures import MEASURES

_ALLOWED, _DENIED, _ENDED = map(MEASURES.index, ("FlowsAllowed", "FlowsDenied", "FlowsEnded"))
_COUNTERS = range(MEASURES.index("PacketsSrcToDest"), MEASURES.index("BytesDestToSrc") + 1)
_PACKETS_BACK = MEASURES.index("PacketsDestToSrc")
_RESTARTED, _DOUBTFUL, _LOST = map(MEASURES.index, ("FlowsRestarted", "BytesDoubtful", "RestartsLost"))
_RESTATED = range(_RESTARTED + 1, _DOUBTFUL)
_PORT_MASK = (1 << PORT_BITS) - 1
_PORT_BITS = np.uint64(PORT_BITS)

type Figures = dict[int, Ints]
"""By the place of a measure what each tuple adds to it; without those that are 0 in all tuples."""

type Digests = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FlowColumns:
    """Which flow each tuple belongs to, and when: addresses and traits by number. ``restated``: whether its
    log is of the kind that restates.
    """

    time_ms: Ints
    src: Ints
    dest: Ints
    src_port: Ints
    port: Ints
    trait: Ints
    restated: Flags

    def of(self, rows: Ints) -> "FlowColumns":
        """These rows of it."""
        return FlowColumns(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Restarts: the rows of their ``E``; and whether a ``B`` of the same flow and moment, which is no
    restart's, stands right before it.
    """

    ends: Ints
    begun: Flags

    @staticmethod
    def none() -> "Pairs":
        """No restarts."""
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def of(self, rows: Ints) -> "Pairs":
        """The same, where only these rows are left, theirs among them."""
        return Pairs(np.searchsorted(rows, self.ends), self.begun)


def find_pairs(figures: Figures, flows: FlowColumns, keys: Keys, arrays: Ints, good: Flags) -> Pairs:
    """Find the restarts among ``good`` rows; ``arrays``: the array that each tuple is in."""
    began, ended = figures[_ALLOWED], figures[_ENDED]
    ends = np.flatnonzero(ended[:-1] & began[1:])
    if not ends.size:
        return Pairs.none()
    way = _ways(keys)[flows.trait]

    def are_one_flow(one: Ints, other: Ints) -> Flags:
        same: Flags = good[one] & good[other] & (arrays[one] == arrays[other])
        for column in (flows.time_ms, flows.src, flows.dest, flows.src_port, flows.port, way):
            same &= column[one] == column[other]
        return same

    ends = ends[are_one_flow(ends, ends + 1)]
    before = ends - 1
    is_restarts = np.zeros(len(good), np.bool_)
    is_restarts[ends + 1] = True
    begun = (ends > 0) & (began[before] > 0) & ~is_restarts[before] & are_one_flow(before, ends)
    return Pairs(ends, begun)


def correct(figures: Figures, flows: FlowColumns, pairs: Pairs, restarts: Restarts, keys: Keys) -> None:
    """Follow the restarts through a batch, and change what has to be changed of its figures, in place."""
    rows = _of_pending(figures, flows, pairs, restarts)
    corrections = [*_follow(rows, figures, flows, pairs, restarts, keys)] if rows.size else []
    if pairs.ends.size:
        restarted = figures[_RESTARTED] = np.zeros(len(flows.time_ms), np.int64)
        restarted[pairs.ends] = 1
        figures[_ENDED][pairs.ends] = 0
        figures[_ALLOWED][pairs.ends + 1] = 0
    _put(corrections, figures, len(flows.time_ms))


def _of_pending(figures: Figures, flows: FlowColumns, pairs: Pairs, restarts: Restarts) -> Ints:
    """The rows of tuples whose flow may be pending when they come, and of the restarts that make it so."""
    established = pairs.ends
    if established.size:
        established = established[_column(figures, _PACKETS_BACK, flows)[established] > 0]
    marks = np.zeros(1 << PORT_BITS, np.bool_)
    of_ports = _of_ports(flows)
    marks[of_ports[established]] = True
    marks[[digest & _PORT_MASK for digest in restarts.pending]] = True
    chosen = marks[of_ports] & flows.restated & (_column(figures, _DENIED, flows) == 0)
    chosen[pairs.ends + 1] = False
    return np.flatnonzero(chosen)


_STATE, _BEGIN, _RESTART, _BEGUN = range(4)
"""What a tuple is: counters of a flow; its begin; a restart; a restart right behind the begin."""


def _follow(
    rows: Ints, figures: Figures, flows: FlowColumns, pairs: Pairs, restarts: Restarts, keys: Keys
) -> Iterator[tuple[int, Correction]]:
    """Put these rows to the reference: which of them have to be changed, and what."""
    whats = np.where(_column(figures, _ALLOWED, flows) > 0, _BEGIN, _STATE)
    whats[pairs.ends] = np.where(pairs.begun, _BEGUN, _RESTART)
    counters = zip(*(_column(figures, place, flows)[rows].tolist() for place in _COUNTERS), strict=True)
    digests = _digests(flows.of(rows), keys).tolist()
    times, pending = flows.time_ms[rows].tolist(), restarts.pending
    for row, what, digest, time_ms, stated in zip(
        rows.tolist(), whats[rows].tolist(), digests, times, counters, strict=True
    ):
        if what >= _RESTART:
            yield row, restarts.restart(digest, time_ms, stated, begun=what == _BEGUN)
        elif digest in pending:
            if what == _BEGIN:
                restarts.begin(digest, time_ms)
            else:
                yield row, restarts.state(digest, time_ms, stated)


def _digests(flows: FlowColumns, keys: Keys) -> Digests:
    """The same as ``restarts.flow_digest``, for many."""
    ports = (flows.src_port << 16 | flows.port).view(np.uint64)
    parts = (
        _of_addresses(keys, flows.src),
        _of_addresses(keys, flows.dest),
        _ways(keys)[flows.trait],
        ports,
    )
    mixed = sum((part * np.uint64(factor) for part, factor in zip(parts, FACTORS, strict=True)), np.uint64(0))
    digests: Digests = mixed >> _PORT_BITS << _PORT_BITS | _of_ports(flows).view(np.uint64)
    return digests


def _of_ports(flows: FlowColumns) -> Ints:
    """The lowest bits of the digests, which the ports alone make."""
    return (flows.src_port ^ flows.port * PORT_FACTOR) & _PORT_MASK


def _of_addresses(keys: Keys, numbers: Ints) -> Digests:
    distinct, places = np.unique(numbers, return_inverse=True)
    texts = keys.addresses.texts(distinct)
    return np.array([*map(text_digest, texts)], np.uint64)[places]


def _ways(keys: Keys) -> Digests:
    """By the number of a trait, what its protocol and direction are in a flow's digest."""
    ways = (way_digest(protocol, direction) for protocol, direction, *_ in keys.traits)
    return np.fromiter(ways, np.uint64)


def _put(corrections: list[tuple[int, Correction]], figures: Figures, many: int) -> None:
    """Change the figures of these rows; what no tuple has is left out."""
    if not corrections:
        return
    rows = np.array([row for row, _ in corrections])
    columns = np.array(
        [(*correction.restated, correction.doubtful, correction.lost) for _, correction in corrections]
    ).T
    for place, numbers in zip((*_RESTATED, _DOUBTFUL, _LOST), columns, strict=True):
        if numbers.any():
            figures[place] = np.zeros(many, np.int64)
            figures[place][rows] = numbers
    for place, restated in zip(_COUNTERS, _RESTATED, strict=True):
        if restated in figures:
            figures[place] -= figures[restated]


def _column(figures: Figures, place: int, flows: FlowColumns) -> Ints:
    numbers = figures.get(place)
    return np.zeros(len(flows.time_ms), np.int64) if numbers is None else numbers

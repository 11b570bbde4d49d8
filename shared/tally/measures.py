"""The measures: what is summed for every key, everywhere under the same names.

A key's *figures* are a list of eight whole numbers in the order of ``MEASURES``: tuples, flows, packets and
bytes. They are what a signed 64-bit column holds: a sum beyond it stays at the largest number there is.
"""

from collections.abc import Callable, Sequence

from shared.flowlog.tuples import INT64_MAX, FlowTuple

MEASURES = (
    "Tuples",
    "FlowsAllowed",
    "FlowsDenied",
    "FlowsEnded",
    "PacketsSrcToDest",
    "BytesSrcToDest",
    "PacketsDestToSrc",
    "BytesDestToSrc",
)

type Figures = list[int]
type Weight = Callable[[Sequence[int]], int]


def no_figures() -> Figures:
    """Eight zeros."""
    return [0] * len(MEASURES)


def figures_of(flow: FlowTuple) -> Figures:
    """What one tuple adds."""
    return [
        1,
        flow.flows_allowed,
        flow.flows_denied,
        flow.flows_ended,
        flow.packets_src_to_dest,
        flow.bytes_src_to_dest,
        flow.packets_dest_to_src,
        flow.bytes_dest_to_src,
    ]


def add_figures(into: Figures, figures: Sequence[int]) -> None:
    """Add ``figures`` to ``into``, in place."""
    for place, more in enumerate(figures):
        if more:
            total = into[place] + more
            into[place] = total
            if total > INT64_MAX:
                into[place] = INT64_MAX


def tuples(figures: Sequence[int]) -> int:
    """Ranks what has neither a decision nor a size in common: rules, network interfaces."""
    return figures[0]


def flows_denied(figures: Sequence[int]) -> int:
    """Ranks what was denied."""
    return figures[2]


def traffic(figures: Sequence[int]) -> int:
    """Ranks what was allowed: bytes both ways + tuples, so that logs without bytes rank too."""
    return figures[5] + figures[7] + figures[0]

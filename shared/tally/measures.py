"""The measures: what is summed for every key, everywhere under the same names.

A key's *figures* are eight whole numbers in the order of ``MEASURES``: tuples, flows, packets and bytes. They
are what a signed 64-bit column holds: a sum beyond it stays at the largest number there is.

Where much is added up, figures are one number, their *sums*: 64 bits for each, the first one lowest. To add
two of them is one addition: none of the eight gets beyond its 64 bits, and if the uppermost of those is set,
it has become too large for a column.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import or_

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
type Sums = int

SUMS_BYTES = 8 * len(MEASURES)

_FIELDS = struct.Struct(f"<{len(MEASURES)}Q")
_EACH = struct.Struct(f"{SUMS_BYTES}s")
_number_of = partial(int.from_bytes, byteorder="little")
_TOP_BITS = sum(1 << 64 * place + 63 for place in range(len(MEASURES)))


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
        into[place] = min(into[place] + more, INT64_MAX)


def to_sums(figures: Iterable[int]) -> Sums:
    """Eight figures as one number; ``ValueError`` if one is too large for a column."""
    sums = int.from_bytes(_FIELDS.pack(*figures), "little")
    if sums & _TOP_BITS:
        raise ValueError("a figure is too large for a column")
    return sums


def to_figures(sums: Sums) -> Figures:
    """What the number stands for."""
    return [*_FIELDS.unpack(sums.to_bytes(SUMS_BYTES, "little"))]


def add_sums(one: Sums, other: Sums) -> Sums:
    """The sums of both."""
    total = one + other
    return _saturated(total) if total & _TOP_BITS else total


def add_to[K](totals: dict[K, Sums], key: K, sums: Sums) -> None:
    """Add to what a key has, if it has any yet."""
    totals[key] = add_sums(totals.get(key, 0), sums)


def _saturated(sums: Sums) -> Sums:
    return to_sums(min(figure, INT64_MAX) for figure in to_figures(sums))


def bytes_of_sums(many: Iterable[Sums]) -> bytes:
    """Figures of many keys, ``SUMS_BYTES`` for each: 64-bit numbers, little endian."""
    return b"".join([sums.to_bytes(SUMS_BYTES, "little") for sums in many])


def sums_of_bytes(data: bytes | bytearray) -> list[Sums]:
    """What ``bytes_of_sums`` made these bytes of, if no figure is too large for a column."""
    return [*map(_number_of, [each for (each,) in _EACH.iter_unpack(data)])]


def bits_of_sums(many: Iterable[Sums]) -> Figures:
    """Of each measure, the bits that are set in any of these: as long as the largest figure."""
    return to_figures(reduce(or_, many, 0))


@dataclass(frozen=True, slots=True)
class Weight:
    """What keys are ranked by: the sum of some measures, under a name."""

    name: str
    measures: tuple[str, ...]
    places: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", tuple(map(MEASURES.index, self.measures)))

    def __call__(self, figures: Sequence[int]) -> int:
        """The weight of a key with these figures."""
        return sum(figures[place] for place in self.places)


tuples = Weight("Tuples", ("Tuples",))
"""Ranks what has neither a decision nor a size in common: rules, network interfaces."""

flows_denied = Weight("FlowsDenied", ("FlowsDenied",))
"""Ranks what was denied."""

traffic = Weight("Traffic", ("BytesSrcToDest", "BytesDestToSrc", "Tuples"))
"""Ranks what was allowed: bytes both ways + tuples, so that logs without bytes rank too."""

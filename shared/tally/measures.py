"""The measures: what is summed for every key, everywhere under the same names.

A key's *figures* are whole numbers in the order of ``MEASURES``: tuples, flows, packets and bytes, and last
what restarts change of them (see ``flowlog/restarts.py``). They are what a signed 64-bit column holds: a sum
beyond it stays at the largest number there is.

Where much is added up, figures are one number, their *sums*: 64 bits for each, the first one lowest. To add
two of them is one addition: none of them gets beyond its 64 bits, and if the uppermost of those is set, it
has become too large for a column. Restarts are rare, and their measures come last: sums without any are
short, and so is all that is made of them.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from shared.flowlog.tuples import INT64_MAX, FlowTuple

if TYPE_CHECKING:  # see `shared/cli/__init__.py`: help doesn't wait for it
    from shared.flowlog.restarts import Correction

PLAIN = (
    "Tuples",
    "FlowsAllowed",
    "FlowsDenied",
    "FlowsEnded",
    "PacketsSrcToDest",
    "BytesSrcToDest",
    "PacketsDestToSrc",
    "BytesDestToSrc",
)
"""What every log states. Flows, packets and bytes are those that really were: without what is restated."""

MEASURES = (
    *PLAIN,
    "FlowsRestarted",
    "PacketsSrcToDestRestated",
    "BytesSrcToDestRestated",
    "PacketsDestToSrcRestated",
    "BytesDestToSrcRestated",
    "BytesDoubtful",
    "RestartsLost",
)

OF_RESTARTS = ("FlowsRestarted", "BytesRestated", "BytesDoubtful", "RestartsLost")
COLUMNS = (*PLAIN, *OF_RESTARTS)
"""How rows show the measures: restated bytes as one number, both ways together."""

type Figures = list[int]
type Sums = int

_FIELDS = struct.Struct(f"<{len(MEASURES)}Q")
_number_of = int.from_bytes
_TOP_BITS = sum(1 << 64 * place + 63 for place in range(len(MEASURES)))
_LOWEST = (1 << 64) - 1
_FIRST_OF_RESTARTS = 1 << 64 * len(PLAIN)
_NO_RESTARTS = [0] * (len(MEASURES) - len(PLAIN))


def no_figures() -> Figures:
    """As many zeros as there are measures."""
    return [0] * len(MEASURES)


def figures_of(flow: FlowTuple) -> Figures:
    """What one tuple adds as it is stated."""
    return [
        1,
        flow.flows_allowed,
        flow.flows_denied,
        flow.flows_ended,
        flow.packets_src_to_dest,
        flow.bytes_src_to_dest,
        flow.packets_dest_to_src,
        flow.bytes_dest_to_src,
        *_NO_RESTARTS,
    ]


def corrected(figures: Figures, correction: "Correction") -> Figures:
    """What a tuple of these figures adds where restarts change something of it."""
    tuples, allowed, denied, ended, *counters = figures[: len(PLAIN)]
    restarted = ended if correction.restart else 0
    if correction.restart:
        allowed = ended = 0
    restated = correction.restated
    return [
        *(tuples, allowed, denied, ended),
        *(counter - before for counter, before in zip(counters, restated, strict=True)),
        *(restarted, *restated, correction.doubtful, correction.lost),
    ]


def to_columns(figures: Sequence[int]) -> dict[str, int]:
    """Figures under the names of ``COLUMNS``."""
    restarted, _, sent, _, received, doubtful, lost = figures[len(PLAIN) :]
    of_restarts = restarted, min(sent + received, INT64_MAX), doubtful, lost
    return dict(zip(COLUMNS, (*figures[: len(PLAIN)], *of_restarts), strict=True))


def logged(sums: Sums) -> Sums:
    """The log's own sums: with what it states twice, and a restart as an end and a beginning."""
    figures = to_figures(sums)
    tuples, allowed, denied, ended, *counters = figures[: len(PLAIN)]
    restarted, *restated = figures[len(PLAIN) : len(PLAIN) + 5]
    stated = (
        *(tuples, allowed + restarted, denied, ended + restarted),
        *(counter + more for counter, more in zip(counters, restated, strict=True)),
        *_NO_RESTARTS,
    )
    return to_sums(min(each, INT64_MAX) for each in stated)


def add_figures(into: Figures, figures: Sequence[int]) -> None:
    """Add ``figures`` to ``into``, in place."""
    for place, more in enumerate(figures):
        into[place] = min(into[place] + more, INT64_MAX)


def to_sums(figures: Iterable[int]) -> Sums:
    """Figures as one number; ``ValueError`` if one is too large for a column."""
    sums = int.from_bytes(_FIELDS.pack(*figures), "little")
    if sums & _TOP_BITS:
        raise ValueError("a figure is too large for a column")
    return sums


def sums_of_first(figures: Iterable[int]) -> Sums:
    """The same of the first figures; the others are zero."""
    given = [*figures]
    return to_sums([*given, *[0] * (len(MEASURES) - len(given))])


def to_figures(sums: Sums) -> Figures:
    """What the number stands for."""
    return [*_FIELDS.unpack(sums.to_bytes(_FIELDS.size, "little"))]


def add_sums(one: Sums, other: Sums) -> Sums:
    """The sums of both."""
    total = one + other
    return _saturated(total) if total & _TOP_BITS else total


def figure(sums: Sums, places: Iterable[int]) -> int:
    """What the measures at these places have together."""
    return sum(sums >> 64 * place & _LOWEST for place in places)


def add_to[K](totals: dict[K, Sums], key: K, sums: Sums) -> None:
    """Add to what a key has, if it has any yet."""
    totals[key] = add_sums(totals.get(key, 0), sums)


def _saturated(sums: Sums) -> Sums:
    return to_sums(min(figure, INT64_MAX) for figure in to_figures(sums))


def bits_of_sums(many: Iterable[Sums]) -> Sums:
    """Of each measure, the bits that are set in any of these: as long as the largest figure."""
    return reduce(or_, many, 0)


def measures_in(bits: Sums) -> int:
    """How many of the measures, from the first on, it takes to hold sums of which these are the bits."""
    return len(PLAIN) if bits < _FIRST_OF_RESTARTS else len(MEASURES)


def bytes_of_sums(many: Iterable[Sums], measures: int) -> bytes:
    """The first figures of many keys: so many numbers for each, of 64 bits, little endian."""
    return b"".join([sums.to_bytes(8 * measures, "little") for sums in many])


def sums_of_bytes(data: bytes | bytearray, measures: int) -> list[Sums]:
    """What ``bytes_of_sums`` made these bytes of, if no figure is too large for a column."""
    return [_number_of(each, "little") for (each,) in struct.iter_unpack(f"{8 * measures}s", data)]


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

    def of_all(self, many: Collection[Sums]) -> list[int]:
        """The weights of keys with these sums."""
        columns = ([sums >> 64 * place & _LOWEST for sums in many] for place in self.places)
        return [*map(sum, zip(*columns, strict=True))]


tuples = Weight("Tuples", ("Tuples",))
"""Ranks what has neither a decision nor a size in common: rules, network interfaces."""

flows_denied = Weight("FlowsDenied", ("FlowsDenied",))
"""Ranks what was denied."""

traffic = Weight("Traffic", ("BytesSrcToDest", "BytesDestToSrc", "Tuples"))
"""Ranks what was allowed: bytes both ways + tuples, so that logs without bytes rank too."""

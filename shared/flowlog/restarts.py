"""Restarts: what VNet flow logs state of a flow for the second time.

Theory of operation
-------------------
A flow's counters say what went by since they were last stated. But now and then the platform makes a flow
anew: the log has an ``E`` and, right after it in the same millisecond, a ``B`` of the same flow. Neither did
the flow end there, nor did it begin: that is a *restart*. What the log states of the flow next counts from
its very beginning, so the bytes before the restart stand in the log twice.

So a flow that was restarted is *pending*, with the counters that the ``E`` stated. When its next counters
come, a ``C``, an ``E`` or another restart, those are taken out of them. How much was stated before is known
exactly if the flow began in the millisecond of its restart (``B,E,B``), or if that was not its first restart.
Otherwise there may have been more: the ``E`` states only what went by since counters before it. Then the
bytes that are left are *doubtful*: the truth is between none of them and all of them.

An ``E`` without packets back is another kind of restart. Nobody answers, and the first packet is sent again:
each ``E`` states a packet of its own, and nothing is stated twice.

What ends a pending flow:

- its next counters: they include what is pending, or they are another flow's and stay as they are;
- a ``B`` at another millisecond: another flow begins, with the same addresses and ports;
- ten minutes of its tuples' own time: counters that come later stay as they are.

Where counters stay as they are that may restate, and where there is no room for another pending flow, a
restart is *lost*, and counted as such.

Records are never cut, so no cut through a log matters; a pair that the log has split over two records isn't
seen. A restart near the end of an hour is carried into the next hour's blob (``carried``).
"""

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from shared.errors import MalformedInput
from shared.flowlog.tuples import INT64_MAX, FlowTuple

PENDING_FOR_MS = 600_000
"""So long after its restart a flow's next counters may come; in the logs that are known, within 5 minutes."""

MOST_PENDING = 2_000
"""Pending flows at the most; one more takes the place of the one that was restarted first."""

CARRIED_FROM = timedelta(minutes=45)
"""Restarts from this minute of an hour on are carried into the next: ten minutes, and those that the next
hour's first record may reach back."""

MOST_PACKED = 84 * 1024
"""Bytes that packed restarts have at the most."""

type Counters = tuple[int, int, int, int]
"""Packets and bytes there, packets and bytes back."""

NOTHING: Counters = (0, 0, 0, 0)


class Correction(NamedTuple):
    """What has to be changed of a tuple's figures: of its counters, ``restated`` were stated before, and
    ``doubtful`` bytes of the others may have been; ``lost`` restarts could not be followed. ``restart``: it
    is one half of a restart, and neither ends a flow nor begins one.
    """

    restated: Counters = NOTHING
    doubtful: int = 0
    lost: int = 0
    restart: bool = False


AS_STATED = Correction()
_LOST = Correction(lost=1)
_RESTART = Correction(restart=True)


class Pending(NamedTuple):
    """A flow that was restarted: when, and the counters that are stated once more; ``exact`` if these are
    all that it ever had.
    """

    time_ms: int
    counters: Counters
    exact: bool


class Restarts:
    """The flows of a log that are pending, in the order in which they were restarted."""

    def __init__(self) -> None:
        self.pending: OrderedDict[int, Pending] = OrderedDict()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Restarts) and [*self.pending.items()] == [*other.pending.items()]

    __hash__ = None  # type: ignore[assignment]

    # The state machine: one tuple of a flow after the other, in the log's order.

    def begin(self, flow: int, time_ms: int) -> None:
        """A ``B`` that is no restart's."""
        pending = self.pending.get(flow)
        if pending and time_ms > pending.time_ms:
            del self.pending[flow]

    def state(self, flow: int, time_ms: int, counters: Counters) -> Correction:
        """A ``C`` or an ``E``, a restart's or not: what has to be changed of it."""
        pending = self.pending.get(flow)
        if pending is None or time_ms < pending.time_ms:
            return AS_STATED
        del self.pending[flow]
        if time_ms - pending.time_ms > PENDING_FOR_MS:
            return _LOST
        packets, sent, packets_back, received = pending.counters
        if (
            counters[0] < packets
            or counters[1] < sent
            or counters[2] < packets_back
            or counters[3] < received
        ):
            return _LOST
        doubtful = 0 if pending.exact else counters[1] - sent + counters[3] - received
        return Correction(pending.counters, min(doubtful, INT64_MAX))

    def restart(self, flow: int, time_ms: int, counters: Counters, *, begun: bool) -> Correction:
        """The ``E`` of a restart: what has to be changed of it. ``begun``: a ``B`` of the flow, and no
        restart's, stands right before it, in the same millisecond.
        """
        known = self.pending.get(flow)
        if known and time_ms < known.time_ms:  # what came later was stated before it, and it can't be undone
            return _RESTART._replace(lost=1)
        restated, doubtful, lost, _ = self.state(flow, time_ms, counters)
        if counters[2]:
            exact = begun or (known is not None and not lost)
            self.pending[flow] = Pending(time_ms, counters, exact)
            if len(self.pending) > MOST_PENDING:
                self.pending.popitem(last=False)
                lost += 1
        return Correction(restated, doubtful, lost, restart=True)

    # An array of tuples.

    def follow(self, elements: Sequence[object], flows: Sequence[FlowTuple | None]) -> dict[int, Correction]:
        """Follow an array of VNet tuples: what has to be changed of them, by their numbers.

        ``elements`` as they are written, ``flows`` as they were read: ``None`` for one that was rejected.
        """
        corrections: dict[int, Correction] = {}
        for number, flow in enumerate(flows):
            if flow is None or flow.flows_denied or number in corrections:
                continue
            if flow.flows_ended and _are_restart(elements, flows, number):
                begun = number - 1 not in corrections and _begins_there(elements, flows, number)
                digest, counters = flow_digest(flow), _counters(flow)
                corrections[number] = self.restart(digest, flow.time_ms, counters, begun=begun)
                corrections[number + 1] = _RESTART
            elif self.pending:
                digest = flow_digest(flow)
                if flow.flows_allowed:
                    self.begin(digest, flow.time_ms)
                elif digest in self.pending:
                    corrections[number] = self.state(digest, flow.time_ms, _counters(flow))
        return corrections

    # Between updates, and between hours.

    def carried(self, hour: datetime) -> "Restarts":
        """Those that the blob of the next hour begins with."""
        from_ms = int((hour + CARRIED_FROM).timestamp()) * 1000
        carried = Restarts()
        carried.pending.update(
            (flow, pending) for flow, pending in self.pending.items() if pending.time_ms >= from_ms
        )
        return carried

    def digest(self) -> str:
        """A digest of these, empty if there are none."""
        return hashlib.blake2b(self.pack(), digest_size=8).hexdigest() if self.pending else ""

    def pack(self) -> bytes:
        """These in at most ``MOST_PACKED`` bytes; none if nothing is pending.

        A byte with the format's version, the earliest time, then for each flow its digest, its counters, and
        in three bytes how much later it was restarted. The uppermost bit of the first counter says *exact*:
        a counter has 63.
        """
        if not self.pending:
            return b""
        earliest = min(pending.time_ms for pending in self.pending.values())
        packed = bytearray(_HEAD.pack(_VERSION, earliest))
        for flow, (time_ms, (packets, *others), exact) in self.pending.items():
            packed += _FLOW.pack(flow, packets | exact << 63, *others)
            packed += (time_ms - earliest).to_bytes(3, "little")
        return bytes(packed)

    @classmethod
    def unpack(cls, packed: bytes) -> "Restarts":
        """What was packed; ``MalformedInput`` if these bytes are no such thing."""
        restarts = cls()
        if not packed:
            return restarts
        try:
            version, earliest = _HEAD.unpack_from(packed)
            if version != _VERSION:
                raise ValueError(f"version {version} is unknown")  # noqa: TRY301
            for at in range(_HEAD.size, len(packed), _FLOW_BYTES):
                flow, packets, *others = _FLOW.unpack_from(packed, at)
                if min(others) < 0:
                    raise ValueError("a counter is below 0")  # noqa: TRY301
                time_ms = earliest + int.from_bytes(packed[at + _FLOW.size : at + _FLOW_BYTES], "little")
                counters = (packets & _63_BITS, *others)
                restarts.pending[flow] = Pending(time_ms, counters, bool(packets >> 63))
            if restarts.pack() != packed or len(restarts.pending) > MOST_PENDING:
                raise ValueError("they are cut off or damaged")  # noqa: TRY301
        except (ValueError, OverflowError, struct.error) as error:
            raise MalformedInput(f"restarts can't be unpacked: {error}") from error
        return restarts


_VERSION = 1
_HEAD = struct.Struct("<Bq")
_FLOW = struct.Struct("<QQqqq")
_FLOW_BYTES = _FLOW.size + 3
_63_BITS = 2**63 - 1


# A flow's digest

FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)
"""Odd numbers by which the parts of a flow's digest are multiplied, so that no two parts can be exchanged."""

PORT_FACTOR = 40_503
PORT_BITS = 16
_64_BITS = 2**64 - 1
_PORT_MASK = (1 << PORT_BITS) - 1


@lru_cache(maxsize=65_536)
def text_digest(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def way_digest(protocol: str, direction: str) -> int:
    """64 bits of a flow's protocol and direction."""
    return text_digest(f"{protocol} {direction}")


def flow_digest(flow: FlowTuple) -> int:
    """64 bits that stand for a flow: its addresses, ports, protocol and direction.

    The lowest 16 are made of its ports alone: tuples that can't be of a pending flow are told by those.
    """
    parts = (
        text_digest(flow.src_ip),
        text_digest(flow.dest_ip),
        way_digest(flow.protocol, flow.direction),
        flow.src_port << 16 | flow.dest_port,
    )
    mixed = sum(part * factor for part, factor in zip(parts, FACTORS, strict=True)) & _64_BITS
    of_ports = (flow.src_port ^ flow.dest_port * PORT_FACTOR) & _PORT_MASK
    return mixed >> PORT_BITS << PORT_BITS | of_ports


# Neighbours in an array


def _are_restart(elements: Sequence[object], flows: Sequence[FlowTuple | None], number: int) -> bool:
    """Whether the ``E`` of this number and the tuple behind it are a restart: not where their time is in
    seconds, as some pages have it, because there what is one moment isn't known.
    """
    end, begin = flows[number], flows[number + 1] if number + 1 < len(flows) else None
    if not end or not begin or not begin.flows_allowed or not _are_one_flow(end, begin):
        return False
    return all(map(is_in_ms, elements[number : number + 2]))


def is_in_ms(element: object) -> bool:
    """Whether a good tuple's time is written in milliseconds."""
    return isinstance(element, str) and element.find(",") == 13


def _begins_there(elements: Sequence[object], flows: Sequence[FlowTuple | None], number: int) -> bool:
    """Whether the tuple before the ``E`` of this number is the ``B`` of the same flow and moment."""
    before, flow = flows[number - 1] if number else None, flows[number]
    if not flow or not before or not before.flows_allowed or not _are_one_flow(before, flow):
        return False
    return is_in_ms(elements[number - 1])


def _are_one_flow(one: FlowTuple, other: FlowTuple) -> bool:
    """Whether two tuples are of one flow and of one moment."""
    return one[:6] == other[:6] and one.direction == other.direction


def _counters(flow: FlowTuple) -> Counters:
    return (
        flow.packets_src_to_dest,
        flow.bytes_src_to_dest,
        flow.packets_dest_to_src,
        flow.bytes_dest_to_src,
    )

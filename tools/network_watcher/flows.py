"""Flows and their tuples, field by field in each format, and the flows that live within one hour."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tools.network_watcher.hosts import UDP, Flow, Host
from tools.network_watcher.nics import Format
from tools.network_watcher.truth import NOTHING, Counters

_ENDS = ("source", "destination", "source port", "destination port")
COUNTERS = ("packets sent", "bytes sent", "packets received", "bytes received")
GRAMMAR: dict[Format, tuple[str, ...]] = {
    "nsg-v1": ("time", *_ENDS, "protocol", "direction", "decision"),
    "nsg-v2": ("time", *_ENDS, "protocol", "direction", "decision", "state", *COUNTERS),
    "vnet-v4": ("time", *_ENDS, "protocol", "direction", "state", "encryption", *COUNTERS),
}

SOURCE_PORTS = range(1024, 32_768)
"""Source ports of the flows that live within one hour. Those of other flows are above."""

LONGEST_SCAN = 3_000

type State = Literal["B", "C", "E", "D"]
"""Began, continues, ended, denied."""


class Restated(NamedTuple):
    """What a tuple states that was stated before, by the tuples up to a restart."""

    counters: Counters
    restarted_ms: int
    seen: bool
    """Whether the restart stands in the log as one, its end and its begin being neighbours in one array."""


class Line(NamedTuple):
    """A tuple on its way into a record, and what is true of it."""

    at_ms: int
    text: str
    flow: Flow
    state: State
    format: Format
    began: bool = False
    """Whether a flow really began with it."""
    passed: Counters = NOTHING
    """What of its counters has passed since the flow's tuple before it."""
    restated: Restated | None = None
    """And what hasn't."""
    restart: Literal["", "seen", "parted"] = ""
    """Whether it is the end of a restart, and whether that can be seen."""
    place: Literal["anywhere", "after", "apart"] = "anywhere"
    """Whether it has to stand right after the line before it, or may not stand in one record with it."""
    malformed: bool = False


def line_of(kind: Format, flow: Flow, at_ms: int, state: State, counters: str) -> Line:
    """Write a flow's tuple down in a format, of which version 1 shows neither state nor counters."""
    seen = flow.pattern
    if kind == "vnet-v4":
        text = f"{at_ms},{flow.ends},{seen.protocol},{seen.direction},{state},{flow.encryption},{counters}"
    else:
        protocol = "U" if seen.protocol == UDP else "T"
        text = f"{at_ms // 1000},{flow.ends},{protocol},{seen.direction},{'A' if seen.allowed else 'D'}"
        if kind == "nsg-v2":
            text += f",{'B' if state == 'D' else state},{counters}"
    return Line(at_ms, text, flow, state, kind)


def first_counters(kind: Format, rng: random.Random) -> str:
    """Write down the counters of a flow that begins or is denied: there are none."""
    return "0,0,0,0" if kind == "vnet-v4" and rng.random() < 0.5 else ",,,"


def joined(counters: Iterable[int]) -> str:
    """Write counters down."""
    return ",".join(map(str, counters))


def drawn_counters(rng: random.Random) -> Counters:
    """Draw packets and bytes, sent and received: seldom many."""
    sent = min(int(3 * rng.paretovariate(1.1)), 10**7)
    received = int(sent * (0.3 + rng.random()))
    return sent, sent * int(54 + 1400 * rng.random()), received, received * int(54 + 1400 * rng.random())


@dataclass(slots=True)
class _Open:
    """A flow that is open, and how many more tuples it has before its last."""

    flow: Flow
    continuing: int


class Traffic:
    """The flows of one NIC that live within one hour, and in which minute each speaks next."""

    def __init__(self, host: Host, kind: Format, rng: random.Random, tuples_per_minute: int) -> None:
        self.kind = kind
        self._host = host
        self._rng = rng
        self._turn = rng.randrange(len(SOURCE_PORTS))
        # Some flows are open already: they began before this hour's blob.
        self._due: dict[int, list[_Open]] = {}
        if kind != "nsg-v1":
            flows = [self._open() for _ in range(tuples_per_minute // 2)]
            self._due[0] = [flow for flow in flows if flow.flow.pattern.allowed]

    def minute(self, number: int, window: range, wanted: int) -> list[Line]:
        """Speak ``wanted`` tuples, or few more, within the ``window`` of milliseconds."""
        due = self._due.pop(number, [])
        lines = [self._continue(flow, number, window) for flow in due[:wanted]]
        self._due.setdefault(number + 1, []).extend(due[wanted:])
        while len(lines) < wanted:
            lines += self._begin(number, window)
        return lines

    def change_to_version_1(self) -> None:
        """Write version 1 from now on, in which flows that are open have nothing more to say."""
        self.kind = "nsg-v1"
        self._due.clear()

    def scan(self, window: range) -> list[Line]:
        """Be scanned: thousands of ports are knocked at."""
        flows = self._host.scan(self._rng, self._source_port(), self._rng.randint(1_000, LONGEST_SCAN))
        return [self._line(flow, self._moment(window), "D") for flow in flows]

    def _begin(self, number: int, window: range) -> Iterator[Line]:
        opened = self._open()
        allowed = opened.flow.pattern.allowed
        line = self._line(opened.flow, self._moment(window), "B" if allowed else "D")._replace(began=allowed)
        yield line
        if self.kind == "nsg-v1" or not allowed:  # nothing follows
            if self._rng.random() < 0.01:
                yield line  # knocked twice within one tick of the clock: two identical tuples, both count
        elif not opened.continuing and self._rng.random() < 0.5:
            yield self._line(opened.flow, self._moment(range(line.at_ms, window.stop)), "E")
        else:
            self._later(opened, number)

    def _continue(self, opened: _Open, number: int, window: range) -> Line:
        state: State = "C" if opened.continuing else "E"
        if opened.continuing:
            opened.continuing -= 1
            self._later(opened, number)
        return self._line(opened.flow, self._moment(window), state)

    def _line(self, flow: Flow, at_ms: int, state: State) -> Line:
        if state in {"B", "D"} or self.kind == "nsg-v1":
            return line_of(self.kind, flow, at_ms, state, first_counters(self.kind, self._rng))
        passed = drawn_counters(self._rng)
        return line_of(self.kind, flow, at_ms, state, joined(passed))._replace(passed=passed)

    def _open(self) -> _Open:
        return _Open(self._host.open(self._rng, self._source_port()), int(self._rng.expovariate(0.5)))

    def _source_port(self) -> int:
        # The step is a prime: every port has its turn before any returns.
        self._turn = (self._turn + 7919) % len(SOURCE_PORTS)
        return SOURCE_PORTS[self._turn]

    def _later(self, opened: _Open, number: int) -> None:
        self._due.setdefault(number + self._rng.choice((1, 1, 1, 2, 4)), []).append(opened)

    def _moment(self, window: range) -> int:
        return window.start + int(self._rng.random() * len(window))

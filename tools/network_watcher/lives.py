"""Connections that are restarted on the way, and what their tuples state because of it.

A flow has a *lifetime*, which is what has passed since it began, and a *baseline*. Each tuple with counters
states lifetime − baseline.

- After a ``C`` the baseline is the lifetime: the next tuple states what has passed since.
- A restart is an ``E`` and a ``B`` in one millisecond: the platform makes the flow anew. Nothing began with
  the ``B``, nothing ended with the ``E``. After that of an established flow the baseline is zero: the next
  tuple states everything since the flow began, once more.
- Where the other end has never answered, a restart is a SYN that is sent again. Each ``E`` states its SYN.

Source: samples of VNet flow logs. Microsoft's pages don't describe restarts.

These connections live across the edges of hours. Those that begin in one minute are drawn from a seed of the
NIC and of that minute. An hour writes the part of them that falls into it, and so needs those of the last
minutes before it, too.
"""

import random
from dataclasses import dataclass, field
from functools import lru_cache

from tools.network_watcher.flows import (
    SOURCE_PORTS,
    Line,
    Restated,
    State,
    drawn_counters,
    first_counters,
    joined,
    line_of,
)
from tools.network_watcher.hosts import TCP, Flow, Host
from tools.network_watcher.nics import Nic
from tools.network_watcher.truth import NOTHING, Counters, added, taken_from

LONGEST_MINUTES = 18
"""A connection ends at the latest so many minutes after the one in which it began."""

MOST_RESTARTS = 0.5
"""The largest share of a log's tuples that can be of restarts: connections have other tuples, too."""

_PORTS = range(SOURCE_PORTS.stop, 65_536)
"""Source ports of these connections alone: their tuples and those of other flows are never mixed up."""

_TUPLES_OF_RESTARTS = 4.8
"""How many of a connection's tuples are of restarts, on average."""

_LONGEST_PAUSE = 300_000
"""Milliseconds from a restart to the flow's next counters, at the most."""


def lives_of(
    nic: Nic, host: Host, minute: int, *, seed: int, tuples_per_minute: int, restarts: float, parted: float
) -> list[list[Line]]:
    """Give the tuples, in order, of each connection that begins in this minute (counted from 1970).

    ``restarts`` is the share of a log's tuples that are of restarts, where it has ``tuples_per_minute``.
    ``parted`` is the probability that the two tuples of a restart stand in two records.
    """
    rng = random.Random(f"lives {nic} {minute} {seed} {tuples_per_minute} {restarts} {parted}")
    wanted = restarts * tuples_per_minute / _TUPLES_OF_RESTARTS
    most = int(wanted) + 1
    many = int(wanted + rng.random())
    ports = [_PORTS[(minute * most + number) % len(_PORTS)] for number in range(many)]
    lives = [
        _life(host, rng, port, range(minute * 60_000, minute * 60_000 + 60_000), parted) for port in ports
    ]
    return [lines for lines in lives if not any(is_idle(nic, seed, line.at_ms // 60_000) for line in lines)]


@lru_cache(maxsize=4096)
def is_idle(nic: Nic, seed: int, minute: int) -> bool:
    """Whether a NIC has no traffic in this minute, counted from 1970. A blob's first minute is never idle."""
    return minute % 60 != 59 and random.Random(f"idle {nic} {seed} {minute}").random() < 0.08


def _life(host: Host, rng: random.Random, port: int, minute: range, parted: float) -> list[Line]:
    at_ms = rng.choice(minute)
    if rng.random() < 0.5:
        return _unanswered(host.connect(rng, port, protocol=TCP), rng, at_ms, parted)
    return _established(host.connect(rng, port), rng, at_ms, parted)


def _unanswered(flow: Flow, rng: random.Random, at_ms: int, parted: float) -> list[Line]:
    """Let nobody answer: the SYN is sent again, up to six times, after 1, 2, 4, 8, 16, 32 seconds."""
    life = _Life(flow, rng, parted)
    syn = (1, rng.choice((66, 74, 124)), 0, 0)
    life.begin(at_ms)
    for again in range(rng.randint(1, 6)):
        life.passes(syn)
        at_ms += 1000 * 2**again + rng.randint(0, 20)
        life.restart(at_ms)
    if rng.random() < 0.5:
        life.passes(syn)
        life.end(at_ms + rng.randint(1_000, 40_000))
    return life.lines


def _established(flow: Flow, rng: random.Random, at_ms: int, parted: float) -> list[Line]:
    """Begin in one of four ways; be restarted, mostly once; end."""
    life = _Life(flow, rng, parted)
    way = rng.random()
    if way < 0.7:  # in the millisecond of its restart
        life.begin(at_ms)
    elif way < 0.8:  # a while before
        life.begin(at_ms)
        at_ms += rng.randint(1, 60_000)
    elif way < 0.9:  # a while before, and it has stated counters since
        life.begin(at_ms)
        for _ in range(rng.randint(1, 2)):
            life.passes(_answered(rng))
            at_ms += rng.randint(1, 60_000)
            life.goes_on(at_ms)
        at_ms += rng.randint(1, 60_000)
    else:  # long before the log
        sent, received = (int(10 ** rng.uniform(1, 4.5)) for _ in range(2))
        life.is_old((sent, 90 * sent, received, 130 * received))
    life.passes(_answered(rng))
    life.restart(at_ms)
    for _ in range(2):
        if rng.random() < 0.75:
            break
        at_ms += _pause(rng)
        life.passes(_perhaps_more(rng))
        life.restart(at_ms)
    life.passes(_perhaps_more(rng))
    life.end(at_ms + _pause(rng))
    return life.lines


def _pause(rng: random.Random) -> int:
    """Draw the milliseconds from a restart to the flow's next counters."""
    return rng.randint(5_000, 6_000) if rng.random() < 0.8 else rng.randint(6_000, _LONGEST_PAUSE)


def _perhaps_more(rng: random.Random) -> Counters:
    return drawn_counters(rng) if rng.random() < 0.8 else NOTHING


def _answered(rng: random.Random) -> Counters:
    sent, sent_bytes, received, received_bytes = drawn_counters(rng)
    return (sent, sent_bytes, received, received_bytes) if received else (sent, sent_bytes, 1, 60)


@dataclass(slots=True)
class _Life:
    """A connection as it goes on, and its tuples."""

    flow: Flow
    _rng: random.Random
    _parted: float
    lines: list[Line] = field(default_factory=list)
    _lifetime: Counters = NOTHING
    _baseline: Counters = NOTHING
    _covered: Counters = NOTHING
    """Its lifetime at the last tuple with counters."""
    _restarted: tuple[int, bool] | None = None
    """The restart since that tuple: when, and whether readers can see it."""

    def is_old(self, lifetime: Counters) -> None:
        """Say that it began, and stated so much, before the first tuple."""
        self._lifetime = self._baseline = self._covered = lifetime

    def passes(self, more: Counters) -> None:
        """Let traffic pass."""
        self._lifetime = added(self._lifetime, more)

    def begin(self, at_ms: int) -> None:
        """Add a ``B``."""
        self.lines.append(self._without_counters(at_ms)._replace(began=True))

    def goes_on(self, at_ms: int) -> None:
        """Add a ``C``."""
        self.lines.append(self._with_counters(at_ms, "C"))
        self._baseline = self._lifetime

    def restart(self, at_ms: int) -> None:
        """Add a restart."""
        seen = self._rng.random() >= self._parted
        end = self._with_counters(at_ms, "E")
        at_once = self.lines and self.lines[-1].at_ms == at_ms
        self.lines += [
            end._replace(restart="seen" if seen else "parted", place="after" if at_once else "anywhere"),
            self._without_counters(at_ms)._replace(place="after" if seen else "apart"),
        ]
        if self._lifetime[2]:
            self._baseline = NOTHING
            self._restarted = at_ms, seen
        else:
            self._baseline = self._lifetime

    def end(self, at_ms: int) -> None:
        """Add an ``E``."""
        self.lines.append(self._with_counters(at_ms, "E"))

    def _without_counters(self, at_ms: int) -> Line:
        return line_of("vnet-v4", self.flow, at_ms, "B", first_counters("vnet-v4", self._rng))

    def _with_counters(self, at_ms: int, state: State) -> Line:
        stated = taken_from(self._lifetime, self._baseline)
        passed = taken_from(self._lifetime, self._covered)
        restated = None
        if self._restarted:
            restated = Restated(taken_from(stated, passed), *self._restarted)
        self._covered, self._restarted = self._lifetime, None
        line = line_of("vnet-v4", self.flow, at_ms, state, joined(stated))
        return line._replace(passed=passed, restated=restated)

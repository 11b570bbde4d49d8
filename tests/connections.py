"""Connections, simulated: what passes over the wire, and what a VNet flow log states of it.

A connection has a *lifetime*, the packets and bytes that have passed since it began, and a *baseline*. Each
``C`` and ``E`` states lifetime − baseline.

- A ``C`` sets the baseline to the lifetime.
- A restart, an ``E`` and a ``B`` in one millisecond, sets it to zero if the other end has ever answered. If
  not, it is a first packet that is sent again, and sets the baseline to the lifetime.

So beside each tuple stands the truth: what has passed since the connection's last tuple with counters. How a
reader finds it out isn't known here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Literal, NamedTuple

from hypothesis import strategies as st

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR_MS = int(HOUR.timestamp()) * 1000
MINUTE_MS, TEN_MINUTES_MS, ONE_HOUR_MS = 60_000, 600_000, 3_600_000
WRITTEN_AFTER_MS = MINUTE_MS
"""A tuple stands in the blob of the hour in which it was written, this much later."""

type Counters = tuple[int, int, int, int]
"""Packets and bytes there, packets and bytes back."""

NOTHING: Counters = (0, 0, 0, 0)


def plus(one: Sequence[int], other: Sequence[int]) -> Counters:
    """The sums of four counters and four others."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def minus(one: Sequence[int], other: Sequence[int]) -> Counters:
    """Their differences."""
    return one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]


def both_ways(counters: Sequence[int]) -> int:
    """The bytes of both ways."""
    return counters[1] + counters[3]


# What happens to a connection


@dataclass(frozen=True)
class Step:
    """Some traffic, and after some time a tuple: ``EB`` is a restart, ``B`` a new connection from the same
    port to the same.
    """

    after_ms: int
    passes: Counters
    then: Literal["B", "C", "E", "EB"]


@dataclass(frozen=True)
class Plan:
    """A connection, or several from one port, one after the other."""

    at_ms: int
    """When its first tuple is written, if it begins in the log; else its steps count from here."""
    steps: tuple[Step, ...]
    old: Counters | None = None
    """Its lifetime, all of which was stated before, if it began before the log."""


class Said(NamedTuple):
    """A tuple, and what is true of it."""

    at_ms: int
    text: str
    state: str
    stated: Counters = NOTHING
    passed: Counters = NOTHING
    began: int = 0
    """1 if a connection began with it."""
    ended: int = 0
    """1 if one ended."""
    restarts: int = 0
    """1 if it is the ``E`` of a restart."""
    doubtful: int = 0
    """Bytes of both ways that no reader can be sure of: those since a restart before which the log shows
    neither the connection's very begin, in the same millisecond, nor another restart as its last counters."""


@dataclass
class _Connection:
    """A connection at work."""

    name: str
    """Addresses and ports, as a tuple has them."""
    direction: str
    said: list[Said] = field(default_factory=list)
    lifetime: Counters = NOTHING
    baseline: Counters = NOTHING
    covered: Counters = NOTHING
    """The lifetime at the last tuple with counters."""
    restarted: Said | None = None
    """The ``E`` of the restart of an established connection since which nothing has been stated."""
    sure: bool = False
    """Whether the log shows all that had passed until then."""

    def begin(self, at_ms: int) -> None:
        self.lifetime = self.baseline = self.covered = NOTHING
        self.restarted = None
        self.said.append(Said(at_ms, self._text(at_ms, "B", ",,,"), "B", began=1))

    def state(self, at_ms: int, state: Literal["C", "E"]) -> Said:
        stated = minus(self.lifetime, self.baseline)
        doubtful = 0
        if self.restarted and not self.sure:
            doubtful = both_ways(minus(stated, self.restarted.stated))
        text = self._text(at_ms, state, ",".join(map(str, stated)))
        said = Said(
            *(at_ms, text, state, stated, minus(self.lifetime, self.covered)),
            ended=state == "E",
            doubtful=doubtful,
        )
        self.said.append(said)
        self.covered, self.restarted = self.lifetime, None
        if state == "C":
            self.baseline = self.lifetime
        return said

    def restart(self, at_ms: int) -> None:
        answered = self.lifetime[2] > 0
        if answered and self.lifetime[2] == self.baseline[2]:
            # A restart without packets back is read as a first packet that was sent again.
            self.lifetime = plus(self.lifetime, (0, 0, 1, 60))
        begun_at_once = bool(self.said and self.said[-1].began and self.said[-1].at_ms == at_ms)
        again = self.restarted is not None
        end = self.state(at_ms, "E")._replace(ended=0, restarts=1)
        self.said[-1] = end
        self.said.append(Said(at_ms, self._text(at_ms, "B", "0,0,0,0"), "B"))
        if answered:
            self.baseline, self.restarted, self.sure = NOTHING, end, begun_at_once or again
        else:
            self.baseline = self.lifetime

    def _text(self, at_ms: int, state: str, counters: str) -> str:
        return f"{at_ms},{self.name},6,{self.direction},{state},NX,{counters}"


def said_by(plan: Plan, number: int, *, longest_ms: int = TEN_MINUTES_MS) -> list[Said]:
    """All tuples of a plan, whose number tells its addresses and ports from those of other plans.

    After a restart its next counters come within ``longest_ms``, whatever is planned.
    """
    inbound = number % 2
    here, there = "10.0.0.4", f"203.0.113.{number % 250}" if number % 3 else f"2001:db8::{number + 1:x}"
    ends = f"{there},{here}" if inbound else f"{here},{there}"
    it = _Connection(f"{ends},{40_000 + number},{(443, 53)[number % 2]}", "OI"[inbound])
    at_ms, over = plan.at_ms, False
    if plan.old is None:
        it.begin(at_ms)
    else:
        it.lifetime = it.baseline = it.covered = plan.old
    for step in plan.steps:
        at_ms += min(step.after_ms, longest_ms) if it.restarted else step.after_ms
        if step.then == "B" or over:
            at_ms += 1  # else it would be a restart
            it.begin(at_ms)
            over = False
            continue
        it.lifetime = plus(it.lifetime, step.passes)
        if step.then == "EB":
            it.restart(at_ms)
        else:
            it.state(at_ms, step.then)
            over = step.then == "E"
    return it.said


# Logs


@dataclass(frozen=True)
class Truth:
    """What stands in a log, and what passed."""

    tuples: int = 0
    begins: int = 0
    ends: int = 0
    began: int = 0
    ended: int = 0
    restarts: int = 0
    doubtful: int = 0
    logged: Counters = NOTHING
    passed: Counters = NOTHING


def truth_of(said: Iterable[Said]) -> Truth:
    """What these tuples amount to."""
    said = [*said]
    logged = passed = NOTHING
    for each in said:
        logged, passed = plus(logged, each.stated), plus(passed, each.passed)
    states = [each.state for each in said]
    return Truth(
        tuples=len(said),
        begins=states.count("B"),
        ends=states.count("E"),
        began=sum(each.began for each in said),
        ended=sum(each.ended for each in said),
        restarts=sum(each.restarts for each in said),
        doubtful=sum(each.doubtful for each in said),
        logged=logged,
        passed=passed,
    )


@dataclass(frozen=True)
class Log:
    """The blobs of one interface, by the number of their hour, and the truth of each."""

    blobs: dict[int, bytes]
    truth: dict[int, Truth]


def log_of(plans: Sequence[Plan], *, longest_ms: int = TEN_MINUTES_MS) -> Log:
    """Write down what connections say, all on one interface."""
    blobs: dict[int, list[bytes]] = {}
    truth: dict[int, list[Said]] = {}
    said = [
        (number, *each)  # the tuples of one connection in one millisecond stand together
        for number, plan in enumerate(plans)
        for each in _moments(said_by(plan, number, longest_ms=longest_ms))
    ]
    for minute, moments in groupby(sorted(said, key=lambda each: each[1]), lambda each: each[1] // MINUTE_MS):
        hour = ((minute + 1) * MINUTE_MS - HOUR_MS) // ONE_HOUR_MS
        rules: dict[str, list[Said]] = {}
        for number, _, tuples in moments:
            rules.setdefault("UserRule_web" if number % 4 < 2 else "UserRule_dns", []).extend(tuples)
        blobs.setdefault(hour, []).append(record_of(minute, rules))
        truth.setdefault(hour, []).extend(each for tuples in rules.values() for each in tuples)
    return Log(
        {hour: blob_of(records) for hour, records in blobs.items()},
        {hour: truth_of(tuples) for hour, tuples in truth.items()},
    )


def _moments(said: Iterable[Said]) -> Iterator[tuple[int, list[Said]]]:
    for at_ms, together in groupby(said, key=lambda each: each.at_ms):
        yield at_ms, [*together]


def record_of(minute: int, rules: dict[str, list[Said]]) -> bytes:
    """One record, written a minute after its tuples."""
    groups = [{"rule": rule, "flowTuples": [each.text for each in tuples]} for rule, tuples in rules.items()]
    written = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=(minute + 1) * MINUTE_MS)
    return record_of_groups(groups, f"{written:%Y-%m-%dT%H:%M:%S}.1234567Z")


def record_of_groups(
    groups: Sequence[Mapping[str, object]], time: str = "2026-01-01T12:01:00.1234567Z"
) -> bytes:
    """One record of these groups of tuples."""
    record = {
        "time": time,
        "flowLogVersion": 4,
        "macAddress": "000D3AF87856",
        "category": "FlowLogFlowEvent",
        "flowRecords": {"flows": [{"aclID": "a", "flowGroups": groups}]},
    }
    return json.dumps(record, separators=(",", ":")).encode()


def blob_of(records: Iterable[bytes]) -> bytes:
    """A blob of these records."""
    return b'{"records":[' + b",".join(records) + b"]}"


# Strategies

_some = st.integers(0, 3) | st.integers(0, 50_000) | st.integers(0, 2**40)
counters = st.tuples(_some, _some, _some, _some)
answered = st.tuples(_some, _some, _some.map(lambda some: some + 1), _some)
"""With packets back."""
_usual_pauses = st.integers(5_000, 6_000)
_pauses = (
    _usual_pauses
    | st.sampled_from([0, 0, 1, MINUTE_MS, TEN_MINUTES_MS, TEN_MINUTES_MS + 1])
    | st.integers(0, 20 * MINUTE_MS)
)
_states: st.SearchStrategy[Literal["B", "C", "E", "EB"]] = st.sampled_from(["C", "EB", "EB", "EB", "E", "B"])
steps = st.lists(st.builds(Step, _pauses, counters, _states), max_size=7).map(tuple)
moments = st.integers(HOUR_MS - MINUTE_MS, HOUR_MS + 2 * ONE_HOUR_MS) | st.builds(
    lambda edge, away: HOUR_MS + edge * ONE_HOUR_MS + away,
    st.integers(1, 2),
    st.integers(-2 * MINUTE_MS, 2_000),
)
"""Anywhere within three hours, or close to where one ends."""

plans = st.builds(Plan, moments, steps, st.none() | counters)
"""Connections of all kinds."""

unanswered = st.builds(
    Plan,
    moments,
    st.lists(
        st.builds(
            Step,
            st.sampled_from([1_000, 2_000, 4_000, 8_000, 16_000, 32_000]),
            st.sampled_from([(1, 66, 0, 0), (1, 124, 0, 0)]),
            st.sampled_from(["EB", "EB", "EB", "E"]),
        ),
        min_size=1,
        max_size=7,
    ).map(tuple),
)
"""Connections that nobody answers: their first packet is sent again."""

at_once = st.builds(
    lambda at_ms, first, more, last: Plan(at_ms, (Step(0, first, "EB"), *more, *last)),
    moments,
    answered,
    st.lists(st.builds(Step, _pauses, counters, st.just("EB")), max_size=3).map(tuple),
    st.builds(Step, _pauses, counters, st.sampled_from(["C", "E"])).map(lambda step: (step,)) | st.just(()),
)
"""Connections that are restarted in the millisecond in which they begin, and then perhaps again."""

"""Restarts, as laws over simulated connections: what is counted, and what passed.

The truth is that of ``connections``: it comes from what they do, and not from what a reader makes of it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MalformedInput
from shared.flowlog.restarts import Restarts
from shared.tally import blob_counter
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from shared.tally.measures import MEASURES
from shared.tally.packing import pack, unpack
from tests import naive
from tests.connections import (
    HOUR,
    HOUR_MS,
    NOTHING,
    ONE_HOUR_MS,
    TEN_MINUTES_MS,
    Counters,
    Log,
    Plan,
    Step,
    Truth,
    answered,
    at_once,
    blob_of,
    both_ways,
    log_of,
    moments,
    plans,
    plus,
    record_of_groups,
    said_by,
    truth_of,
    unanswered,
)
from tests.strategies import summed, traffic_of
from tools.network_watcher import ZERO, Nic, hour_of, whole_blob

READINGS: tuple[Literal["plain", "columns"], ...] = ("plain", "columns")
type Reading = Literal["plain", "columns"]

readings = st.sampled_from(READINGS)


@contextmanager
def reading_by(reading: Reading) -> Iterator[None]:
    """Have all counted in one of the two ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blob_counter, "SMALL", 0 if reading == "columns" else 10**9)
        patch.setattr(blob_counter, "BYTES_A_KEY", 0)
        yield


@dataclass(frozen=True)
class Counted:
    """What was counted of a log, or of one blob."""

    figures: Mapping[str, int]
    packed: bytes = b""
    """All counts, as they are stored."""
    restarts: bytes = b""
    """What is pending in the end."""

    def __getitem__(self, measure: str) -> int:
        return self.figures[measure]

    @property
    def counters(self) -> Counters:
        """Packets and bytes there and back."""
        one, two, three, four = (
            self[name]
            for name in ("PacketsSrcToDest", "BytesSrcToDest", "PacketsDestToSrc", "BytesDestToSrc")
        )
        return one, two, three, four

    @property
    def restated(self) -> Counters:
        """What was taken out of them."""
        one, two, three, four = (
            self[f"{name}Restated"]
            for name in ("PacketsSrcToDest", "BytesSrcToDest", "PacketsDestToSrc", "BytesDestToSrc")
        )
        return one, two, three, four

    def __add__(self, other: "Counted") -> "Counted":
        return Counted({name: self[name] + other[name] for name in self.figures})


def count_blob(
    data: bytes,
    hour: datetime = HOUR,
    *,
    after: Restarts | None = None,
    cuts: Sequence[int] = (),
    rejects: int | None = 0,
) -> tuple[Counted, Restarts]:
    """Count a blob, ``after`` what is pending from the hour before, read up to each of the ``cuts`` in turn.
    Between these, counts and pending flows are stored and loaded again.
    """
    counts, position = BlobCounts(restarts=Restarts.unpack(after.pack() if after else b"")), 0
    for end in sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)}):
        counter = BlobCounter(counts, hour, "000D3AF87856", "", position)
        rejected = counter.feed(data[position:end])
        assert rejects is None or len(rejected) == rejects
        position = counter.reader.position
        counts = counter.counts
        counts.shares = unpack(pack(counts.shares))
        counts.restarts = Restarts.unpack(counts.restarts.pack())
    figures = summed(figures for share in counts.shares.values() for figures in traffic_of(share).values())
    assert figures[0] == counts.tuples
    named = dict(zip(MEASURES, figures, strict=True))
    return Counted(named, pack(counts.shares), counts.restarts.pack()), counts.restarts


def count_log(log: Log, *, cuts: Sequence[int] = ()) -> dict[int, Counted]:
    """Count a log's blobs, hour by hour."""
    counted = {}
    carried: dict[int, Restarts] = {}
    for number, data in sorted(log.blobs.items()):
        hour = HOUR + timedelta(hours=number)
        counted[number], restarts = count_blob(data, hour, after=carried.get(number), cuts=cuts)
        carried[number + 1] = restarts.carried(hour)
    return counted


def assert_conserved(counted: Counted, truth: Truth) -> None:
    """Logged = counted + restated, in each measure."""
    assert counted["Tuples"] == truth.tuples
    assert counted["FlowsAllowed"] + counted["FlowsRestarted"] == truth.begins
    assert counted["FlowsEnded"] + counted["FlowsRestarted"] == truth.ends
    assert plus(counted.counters, counted.restated) == truth.logged


def assert_true(counted: Counted, truth: Truth) -> None:
    """Counted − doubtful ≤ truth ≤ counted; exactly the truth where nothing is doubtful."""
    assert (counted["FlowsAllowed"], counted["FlowsEnded"]) == (truth.began, truth.ended)
    assert counted["FlowsRestarted"] == truth.restarts
    assert counted["RestartsLost"] == 0
    assert both_ways(counted.counters) - counted["BytesDoubtful"] <= both_ways(truth.passed)
    assert all(true <= count for true, count in zip(truth.passed, counted.counters, strict=True))
    if not counted["BytesDoubtful"]:
        assert both_ways(counted.counters) == both_ways(truth.passed)


def total(counted: Mapping[int, Counted]) -> Counted:
    """The sum of all blobs."""
    return sum(counted.values(), start=Counted(dict.fromkeys(MEASURES, 0)))


some_plans = st.lists(plans | at_once | unanswered, min_size=1, max_size=5)
some_cuts = st.lists(st.integers(0, 10**6), max_size=3)


@given(some_plans, readings)
@settings(deadline=None, max_examples=150)
def test_the_truth_lies_within_what_is_doubtful(some: list[Plan], reading: Reading) -> None:
    log = log_of(some)
    with reading_by(reading):
        counted = count_log(log)
    assert counted.keys() == log.truth.keys()
    for hour, truth in log.truth.items():
        assert_conserved(counted[hour], truth)
        assert_true(counted[hour], truth)
        assert counted[hour]["BytesDoubtful"] == truth.doubtful
    assert_true(
        total(counted), truth_of(each for number, plan in enumerate(some) for each in said_by(plan, number))
    )


@given(some_plans, readings)
@settings(deadline=None, max_examples=100)
def test_what_is_logged_is_counted_or_restated_even_where_restarts_are_lost(
    some: list[Plan], reading: Reading
) -> None:
    log = log_of(some, longest_ms=2 * ONE_HOUR_MS)
    with reading_by(reading):
        counted = count_log(log)
    for hour, truth in log.truth.items():
        assert_conserved(counted[hour], truth)
        assert all(true <= count for true, count in zip(truth.passed, counted[hour].counters, strict=True))


@given(st.lists(at_once, min_size=1, max_size=4), readings)
@settings(deadline=None, max_examples=100)
def test_connections_whose_begin_stands_at_their_first_restart_are_counted_exactly(
    some: list[Plan], reading: Reading
) -> None:
    log = log_of(some)
    with reading_by(reading):
        counted = count_log(log)
    for hour, truth in log.truth.items():
        assert counted[hour].counters == truth.passed
        assert counted[hour]["BytesDoubtful"] == 0
        assert_true(counted[hour], truth)


@given(st.lists(unanswered, min_size=1, max_size=4), readings)
@settings(deadline=None, max_examples=50)
def test_a_first_packet_that_is_sent_again_loses_nothing(some: list[Plan], reading: Reading) -> None:
    log = log_of(some)
    with reading_by(reading):
        counted = count_log(log)
    for hour, truth in log.truth.items():
        assert counted[hour].counters == truth.logged == truth.passed
        assert (counted[hour].restated, counted[hour]["BytesDoubtful"]) == (NOTHING, 0)
        assert_true(counted[hour], truth)


@given(moments, counters_before := answered, answered, st.integers(0, TEN_MINUTES_MS), readings)
@settings(deadline=None, max_examples=50)
def test_after_a_second_restart_nothing_is_doubtful(
    at_ms: int, before: Counters, more: Counters, pause_ms: int, reading: Reading
) -> None:
    """The first restart's lifetime can't be known; the second states all of it."""
    step = Step(pause_ms, more, "EB")
    log = log_of([Plan(at_ms, (step, step, Step(pause_ms, more, "E")), old=before)])
    with reading_by(reading):
        counted = total(count_log(log))
    assert counted["BytesDoubtful"] == both_ways(plus(before, more))
    assert counted.counters == plus(plus(more, more), plus(before, more))


@given(some_plans, some_cuts)
@settings(deadline=None, max_examples=100)
def test_any_cut_and_both_readings_give_equal_counts(some: list[Plan], cuts: list[int]) -> None:
    log = log_of(some, longest_ms=2 * ONE_HOUR_MS)
    found = []
    for reading in READINGS:
        with reading_by(reading):
            found += [count_log(log), count_log(log, cuts=cuts)]
    assert found == [found[0]] * len(found)


# What real logs have, with addresses of the documentation


def tuples_of(port: int, *said: tuple[float, str, str], direction: str = "O") -> list[str]:
    """Tuples of one connection: seconds since the hour began, state, counters."""
    return [
        f"{HOUR_MS + round(1000 * at_s)},10.0.0.4,203.0.113.7,{port},443,6,{direction},{state},NX,{counters}"
        for at_s, state, counters in said
    ]


def count_arrays(
    *arrays: Sequence[str], after: Restarts | None = None, rejects: int = 0
) -> tuple[Counted, Restarts]:
    """Count arrays of tuples, all in one record, in both readings."""
    data = blob_of([record_of_groups([{"rule": "UserRule_web", "flowTuples": [*each]} for each in arrays])])
    found = []
    for reading in READINGS:
        with reading_by(reading):
            found.append(count_blob(data, after=after, rejects=rejects))
    assert found[0][0] == found[1][0]
    return found[0]


RESTART = ((10, "E", "7,700,5,5000"), (10, "B", "0,0,0,0"))
"""It is pending with 5,700 bytes."""


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ((2, 140, 1, 116), (14, 4839, 11, 6078)),
        ((3, 723, 2, 323), (14, 4205, 11, 6078)),
        ((3, 723, 2, 323), (14, 4885, 11, 6078)),
    ],
)
def test_three_connections_that_were_restarted_as_they_began(first: Counters, last: Counters) -> None:
    said = tuples_of(
        50_000,
        (1, "B", ",,,"),
        (1, "E", ",".join(map(str, first))),
        (1, "B", ",,,"),
        (6.4, "E", ",".join(map(str, last))),
    )
    counted, pending = count_arrays(said)
    assert counted.counters == last
    assert counted.restated == first
    assert (counted["FlowsAllowed"], counted["FlowsEnded"], counted["FlowsRestarted"]) == (1, 1, 1)
    assert (counted["BytesDoubtful"], counted["RestartsLost"]) == (0, 0)
    assert pending.pack() == b""


def test_a_clock_that_restates_twenty_days_at_once() -> None:
    """Nearly all bytes are doubtful, and that is true: they passed long before."""
    said = tuples_of(
        123,
        (1, "E", "2,180,2,264"),
        (1, "B", ",,,"),
        (65, "E", "27347,2461230,27343,3609276"),
        (65, "B", ",,,"),
        (129, "E", "27348,2461320,27344,3609408"),
    )
    counted, _ = count_arrays(said)
    assert (counted["FlowsAllowed"], counted["FlowsEnded"], counted["FlowsRestarted"]) == (0, 1, 2)
    assert counted["BytesDoubtful"] == 2461230 - 180 + 3609276 - 264
    assert both_ways(counted.counters) - counted["BytesDoubtful"] == 180 + 264 + 90 + 132
    assert counted.restated == (27349, 2461410, 27345, 3609540)


def test_first_packets_that_are_sent_again() -> None:
    times = [0, 1, 3, 7, 15, 31, 63]
    said = [(0, "B", ",,,")]
    for time in times[1:]:
        said += [(time, "E", "1,124,0,0"), (time, "B", ",,,")]
    counted, pending = count_arrays(tuples_of(50_000, *said))
    assert counted.counters == (6, 6 * 124, 0, 0)
    assert counted.restated == NOTHING
    assert (counted["FlowsAllowed"], counted["FlowsEnded"], counted["FlowsRestarted"]) == (1, 0, 6)
    assert pending.pack() == b""


# What is a restart, and what isn't


def test_a_restart_is_an_end_and_a_begin_side_by_side_in_one_millisecond() -> None:
    end, begin = tuples_of(1, *RESTART)
    [other] = tuples_of(2, (10, "C", "1,1,1,1"))
    [late] = tuples_of(1, (10.001, "B", ",,,"))
    [back] = tuples_of(1, (10, "B", ",,,"), direction="I")
    bad = begin.replace("203.0.113.7", "203.0.113.700")
    seen = [
        count_arrays(*arrays)[0]["FlowsRestarted"]
        for arrays in (
            [[end, begin]],
            [[begin, end]],
            [[end], [begin]],
            [[end, other, begin]],
            [[end, late]],
            [[end, back]],
            [[end.replace(",1,443,", ",2,443,"), begin]],
            [[end.replace(",6,O,", ",17,O,"), begin]],
            [[end.replace(",E,", ",C,"), begin]],
            [[end, begin.replace(",B,", ",D,")]],
            [[end.replace("000,", ",", 1), begin.replace("000,", ",", 1)]],
        )
    ]
    assert seen == [1] + 10 * [0]
    counted, _ = count_arrays([end, bad, begin], rejects=1)
    assert (counted["FlowsRestarted"], counted["Tuples"]) == (0, 2)


def test_what_is_one_moment_is_not_known_of_times_in_seconds() -> None:
    """Not even of the begin before a restart; nor where a short address has its comma where another time's
    milliseconds end.
    """
    begin, end, *more = tuples_of(1, (10, "B", ",,,"), *RESTART, (15, "E", "9,900,6,6000"))
    counted, _ = count_arrays([begin.replace("000,", ",", 1), end, *more])
    assert (counted["FlowsRestarted"], counted["BytesDoubtful"]) == (1, 1200)
    pair = [text.replace("10.0.0.4", "::").replace("000,", ",", 1) for text in (end, more[0])]
    assert count_arrays(pair)[0]["FlowsRestarted"] == 0


def test_addresses_are_compared_in_their_shortest_form() -> None:
    end, begin = tuples_of(1, *RESTART)
    long, short = "2001:0DB8:0:0::7", "2001:db8::7"
    counted, pending = count_arrays([end.replace("203.0.113.7", long), begin.replace("203.0.113.7", short)])
    assert counted["FlowsRestarted"] == 1
    counted, _ = count_arrays(
        [each.replace("203.0.113.7", short) for each in tuples_of(1, (12, "E", "8,800,6,6000"))],
        after=pending,
    )
    assert counted.restated == (7, 700, 5, 5000)


def test_an_array_is_read_in_its_own_order() -> None:
    """Records hold minutes, and the tuples of a rule stand in no order of time between connections."""
    first, second = tuples_of(1, *RESTART, (15, "E", "9,900,6,6000")), tuples_of(2, (2, "E", "1,60,1,60"))
    counted, _ = count_arrays(first + second)
    assert counted.counters == (10, 960, 7, 6060)


@pytest.mark.parametrize("later", [(15, "E", "9,900,6,6000"), (15, "C", "9,900,6,6000")])
def test_next_counters_lack_what_was_restated(later: tuple[int, str, str]) -> None:
    counted, pending = count_arrays(tuples_of(1, *RESTART, later, (20, "E", "1,100,1,100")))
    assert counted.counters == (10, 1000, 7, 6100)
    assert counted.restated == (7, 700, 5, 5000)
    assert (counted["BytesDoubtful"], counted["RestartsLost"]) == (200 + 1000, 0)
    assert pending.pack() == b""


# What ends a pending flow


@pytest.mark.parametrize(
    ("said", "restated", "lost", "still"),
    [
        pytest.param([(610, "E", "9,900,6,6000")], 5700, 0, False, id="ten minutes"),
        pytest.param([(610.001, "E", "9,900,6,6000")], 0, 1, False, id="more than ten minutes"),
        pytest.param([(15, "E", "7,700,5,5000")], 5700, 0, False, id="nothing new"),
        pytest.param([(15, "E", "6,900,6,6000")], 0, 1, False, id="fewer packets"),
        pytest.param([(15, "E", "9,699,6,6000")], 0, 1, False, id="fewer bytes"),
        pytest.param([(15, "E", "9,900,4,6000")], 0, 1, False, id="fewer packets back"),
        pytest.param([(15, "E", "9,900,6,4999")], 0, 1, False, id="fewer bytes back"),
        pytest.param([(11, "B", ",,,"), (15, "E", "9,900,6,6000")], 0, 0, False, id="begun anew"),
        pytest.param([(9, "B", ",,,"), (15, "E", "9,900,6,6000")], 5700, 0, False, id="begun before"),
        pytest.param([(10, "B", ",,,"), (15, "E", "9,900,6,6000")], 5700, 0, False, id="begun there"),
        pytest.param([(9, "C", "1,50,1,50"), (15, "E", "9,900,6,6000")], 5700, 0, False, id="stated before"),
        pytest.param([(9, "E", "8,800,6,6000")], 0, 0, True, id="ended before"),
        pytest.param([(10, "E", "8,800,6,6000")], 5700, 0, False, id="ended in the same millisecond"),
        pytest.param(
            [(9, "E", "8,800,6,6000"), (9, "B", ",,,"), (15, "E", "9,900,6,6000")],
            *(5700, 1, False),
            id="restarted before, but logged after",
        ),
        pytest.param([(12, "D", ",,,"), (15, "E", "9,900,6,6000")], 5700, 0, False, id="denied between"),
        pytest.param([(12, "E", "1,60,0,0"), (12, "B", ",,,")], 0, 1, False, id="a first packet, sent again"),
    ],
)
def test_what_ends_a_pending_flow(
    said: list[tuple[float, str, str]], restated: int, lost: int, still: bool
) -> None:
    counted, pending = count_arrays(tuples_of(1, *RESTART), tuples_of(1, *said))
    assert (both_ways(counted.restated), counted["RestartsLost"]) == (restated, lost)
    assert bool(pending.pack()) == still


@pytest.mark.parametrize(
    ("said", "doubtful"),
    [
        pytest.param([(0, "E", "7,700,5,5000")], True, id="an end"),
        pytest.param([(0, "B", ",,,"), (0, "E", "7,700,5,5000")], False, id="begun there"),
        pytest.param([(-0.001, "B", ",,,"), (0, "E", "7,700,5,5000")], True, id="begun before"),
        pytest.param([(0, "B", ",,,"), (0, "C", "1,60,1,60"), (0, "E", "7,700,5,5000")], True, id="gone on"),
        pytest.param(
            [(0, "E", "1,60,0,0"), (0, "B", ",,,"), (0, "E", "7,700,5,5000")],
            True,
            id="behind the begin of a restart",
        ),
        pytest.param(
            [(-5, "E", "6,600,4,4000"), (-5, "B", ",,,"), (0, "E", "7,700,5,5000")],
            False,
            id="restarted before",
        ),
        pytest.param(
            [(-601, "E", "6,600,4,4000"), (-601, "B", ",,,"), (0, "E", "7,700,5,5000")],
            True,
            id="restarted long before",
        ),
        pytest.param(
            [(-5, "E", "8,800,4,4000"), (-5, "B", ",,,"), (0, "E", "7,700,5,5000")],
            True,
            id="restarted before with more",
        ),
        pytest.param(
            [(-5, "E", "6,60,4,40"), (-5, "B", ",,,"), (-1, "C", "7,70,5,50"), (0, "E", "7,700,5,5000")],
            True,
            id="restarted before, and gone on",
        ),
    ],
)
def test_what_is_doubtful_after_a_restart(said: list[tuple[float, str, str]], doubtful: bool) -> None:
    """It ends with the ``E`` of a restart."""
    said = [(1000 + at_s, state, counters) for at_s, state, counters in [*said, (0, "B", ",,,")]]
    _, pending = count_arrays(tuples_of(1, *said))
    counted, _ = count_arrays(tuples_of(1, (1005, "E", "9,900,6,6000")), after=pending)
    assert counted.counters == (2, 200, 1, 1000)
    assert counted["BytesDoubtful"] == (1200 if doubtful else 0)


def test_at_most_two_thousand_flows_are_pending() -> None:
    """One more takes the place of the one that was restarted first."""
    some = [tuples_of(port, *RESTART) for port in range(1, 2_002)]
    ends = [tuples_of(port, (15, "E", "9,900,6,6000")) for port in range(1, 2_002)]
    counted, pending = count_arrays(*some)
    assert counted["RestartsLost"] == 1
    assert len(pending.pack()) <= 84 * 1024
    counted, _ = count_arrays(*ends, after=pending)
    assert counted.restated == tuple(2_000 * each for each in (7, 700, 5, 5000))
    counted, _ = count_arrays(ends[0], after=pending)
    assert counted.restated == NOTHING


# The edges of hours


@pytest.mark.parametrize(
    ("at_s", "carried"), [(44 * 60 + 59, False), (45 * 60, True), (3599, True), (3601, True)]
)
def test_what_was_restarted_in_the_last_quarter_of_an_hour_is_carried(at_s: int, carried: bool) -> None:
    said = tuples_of(1, *((at_s, state, counters) for _, state, counters in RESTART))
    _, pending = count_arrays(said)
    assert pending.pack()
    after = pending.carried(HOUR)
    assert bool(after.pack()) == carried
    assert after.carried(HOUR + timedelta(hours=1)).pack() == b""


@given(st.lists(plans, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_in_a_log_that_begins_with_any_of_its_hours_first_counters_are_taken_as_stated(
    some: list[Plan],
) -> None:
    log = log_of(some)
    for number, data in log.blobs.items():
        counted, _ = count_blob(data, HOUR + timedelta(hours=number))
        assert_conserved(counted, log.truth[number])
        assert all(
            true <= count for true, count in zip(log.truth[number].passed, counted.counters, strict=True)
        )


@given(st.lists(at_once, max_size=3))
@settings(deadline=None, max_examples=50)
def test_what_is_pending_is_stored_as_it_is(some: list[Plan]) -> None:
    for number, data in log_of(some).blobs.items():
        _, pending = count_blob(data, HOUR + timedelta(hours=number))
        assert Restarts.unpack(pending.pack()) == pending


def test_counters_below_zero_are_no_packed_restarts() -> None:
    restarts = Restarts()
    restarts.restart(1, HOUR_MS, (1, -1, 1, 1), begun=False)
    with pytest.raises(MalformedInput, match="below 0"):
        Restarts.unpack(restarts.pack())


def test_only_vnet_logs_restart() -> None:
    lines = [
        f"{HOUR_MS // 1000 + 10},10.0.0.4,203.0.113.7,1,443,T,O,A,{rest}"
        for rest in ("E,7,700,5,5000", "B,,,,", "E,9,900,6,6000")
    ]
    record = {
        "time": "2026-01-01T12:01:00.1234567Z",
        "properties": {"Version": 2, "flows": [{"rule": "UserRule_web", "flows": [{"flowTuples": lines}]}]},
    }
    data = blob_of([json.dumps(record, separators=(",", ":")).encode()])
    for reading in READINGS:
        with reading_by(reading):
            counted, _ = count_blob(data)
        assert counted.counters == (16, 1600, 11, 11000)
        assert (counted["FlowsAllowed"], counted["FlowsEnded"], counted["FlowsRestarted"]) == (1, 2, 0)


@given(
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.sampled_from([5, 60]),
    st.sampled_from([0.04, 0.5]),
    st.sampled_from([0, 0.2]),
    readings,
)
@settings(deadline=None, max_examples=15)
def test_the_truth_lies_within_what_is_doubtful_in_hours_of_an_interface(
    seed: int, hours: int, tuples_per_minute: int, restarts: float, parted: float, reading: Reading
) -> None:
    """In logs of the simulated Network Watcher, too, which knows what of them no reader can see."""
    nic, blobs, truth = Nic("vnet-v4", "000D3AF87856", "flowlog-hub"), {}, ZERO
    for number in range(hours):
        minutes = hour_of(
            *(nic, HOUR + timedelta(hours=number)),
            seed=seed,
            follows=number > 0,
            bad=0,
            tuples_per_minute=tuples_per_minute,
            restarts=restarts,
            parted=parted,
        )
        blobs[number], its_truth = whole_blob(minutes)
        truth += its_truth
    with reading_by(reading):
        counted = total(count_log(Log(blobs, {})))
    assert plus(counted.counters, counted.restated) == plus(truth.passed, truth.restated)
    assert counted["FlowsRestarted"] == truth.restarted
    assert counted["FlowsAllowed"] == truth.began + truth.parted
    assert counted["RestartsLost"] == 0
    visible = plus(truth.passed, truth.unseen)
    assert all(true <= count for true, count in zip(visible, counted.counters, strict=True))
    assert both_ways(counted.counters) - counted["BytesDoubtful"] <= both_ways(visible)


# Any tuples, in any order

_any_tuples = st.builds(
    lambda at, ends, protocol, direction, state, counters: (
        f"{at},{ends},{protocol},{direction},{state},NX,{counters}"
    ),
    st.sampled_from(
        [*(str(HOUR_MS + at_ms) for at_ms in (0, 0, 0, 1, 5_000, 600_000, 600_001)), str(HOUR_MS // 1000)]
    ),
    st.sampled_from(
        [
            *("10.0.0.4,2001:db8::7,1,443", "10.0.0.4,2001:DB8:0::7,1,443", "2001:db8::7,10.0.0.4,1,443"),
            *("10.0.0.4,2001:db8::7,443,1", "10.0.0.4,2001:db8::7,01,443", "10.0.0.4,2001:db8::x,1,443"),
        ]
    ),
    st.sampled_from(["6", "6", "006", "T", "17"]),
    st.sampled_from("OOOI"),
    st.sampled_from("BBEEECD"),
    st.sampled_from(
        ["1,60,1,60", "1,60,0,0", "2,120,1,60", "3,180,2,120", "0,0,0,0", f"1,{2**55},1,{2**55}"]
    ),
)
_pairs = st.tuples(_any_tuples, st.sampled_from("BEC")).map(
    lambda pair: [pair[0].replace(",B,", ",E,"), pair[0].replace(",E,", f",{pair[1]},")]
)
_arrays = st.lists(_any_tuples.map(lambda text: [text]) | _pairs, max_size=8).map(
    lambda some: [text for each in some for text in each]
)


@given(st.lists(st.lists(_arrays, max_size=3), max_size=4), some_cuts)
@settings(deadline=None, max_examples=200)
def test_both_readings_and_the_naive_count_agree_on_any_tuples(
    records: list[list[list[str]]], cuts: list[int]
) -> None:
    data = blob_of(
        record_of_groups([{"rule": "UserRule_web", "flowTuples": array} for array in arrays])
        for arrays in records
    )
    found = []
    for reading in READINGS:
        with reading_by(reading):
            found += [count_blob(data, rejects=None)[0], count_blob(data, cuts=cuts, rejects=None)[0]]
    assert found == [found[0]] * 4
    counted = naive.count({Nic("vnet-v4", "000D3AF87856", "flowlog-hub").blob_name(HOUR): data})
    for day in (period for period in counted.rows if period[1:3] == ("traffic", "day")):
        truth = dict(zip(naive.MEASURES, counted.total(day), strict=True))
        assert truth.pop("BytesRestated") == both_ways(found[0].restated)
        assert truth == {name: found[0][name] for name in truth}
    logged = [
        text.split(",") for arrays in records for array in arrays for text in array if ":x," not in text
    ]
    good = [fields for fields in logged if fields[7] != "D"]
    assert found[0]["FlowsAllowed"] + found[0]["FlowsRestarted"] == sum(fields[7] == "B" for fields in good)
    assert found[0]["FlowsEnded"] + found[0]["FlowsRestarted"] == sum(fields[7] == "E" for fields in good)

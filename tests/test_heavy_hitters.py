"""The bounded counter keeps what matters and knows exactly what it left out: the laws of its docstring."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog.tuples import INT64_MAX
from shared.tally.heavy_hitters import HeavyHitters, Key, Row
from shared.tally.measures import (
    MEASURES,
    Figures,
    Weight,
    flows_denied,
    no_figures,
    to_figures,
    to_sums,
    traffic,
    tuples,
)
from tests.strategies import assert_laws, copy_family, plain_family, summed

SETTLE = None
"""The end of a batch of additions."""

type Event = tuple[Key, Figures] | None

weights = st.sampled_from([tuples, flows_denied, traffic])
capacities = st.integers(1, 5)
keys = st.integers(0, 15).map(lambda number: (f"10.0.0.{number}", number))
# Every tuple weighs at least 1, whatever it is ranked by.
figures = st.lists(st.integers(0, 30), min_size=len(MEASURES) - 3, max_size=len(MEASURES) - 3).map(
    lambda more: [1, 0, 1 + more[0] % 3, *more]
)
additions = st.tuples(keys, figures)
streams = st.lists(st.one_of(additions, additions, additions, st.just(SETTLE)), max_size=60)


@dataclass
class Truth:
    """What was added, kept without any bound."""

    weight: Weight
    by_key: dict[Key, Figures]

    def total(self) -> Figures:
        return summed(self.by_key.values())

    def of(self, key: Key) -> int:
        return self.weight(self.by_key[key])


def feed(family: HeavyHitters, truth: Truth, events: Sequence[Event]) -> None:
    for event in events:
        if event is None:
            family.settle()
            continue
        key, more = event
        family.add(key, to_sums(more))
        truth.by_key[key] = summed([truth.by_key[key], more])


def fresh(weight: Weight, capacity: int) -> tuple[HeavyHitters, Truth]:
    return HeavyHitters(weight, capacity), Truth(weight, defaultdict(no_figures))


def ranked(family: HeavyHitters) -> list[Row]:
    """All rows by rank."""
    return family.top(len(family))[0]


@given(weights, capacities, streams)
@settings(max_examples=300)
def test_the_four_laws_hold_at_any_time(weight: Weight, capacity: int, events: list[Event]) -> None:
    family, truth = fresh(weight, capacity)
    for event in events:
        feed(family, truth, [event])
        assert_laws(family, capacity, truth.by_key)


@given(weights, capacities, streams)
def test_a_settled_counter_has_at_most_twice_as_many(
    weight: Weight, capacity: int, events: list[Event]
) -> None:
    family, truth = fresh(weight, capacity)
    feed(family, truth, [*events, SETTLE])
    assert len(family) <= 2 * capacity
    assert len(family) >= min(capacity, len(truth.by_key))


@given(weights, capacities, streams, st.randoms(use_true_random=False))
def test_within_a_batch_only_the_order_of_admission_makes_a_difference(
    weight: Weight, capacity: int, events: list[Event], random: Random
) -> None:
    shuffled: list[Event] = []
    stretch: list[tuple[Key, Figures]] = []
    for event in [*events, SETTLE]:
        if event is None:
            firsts = {event[0]: event for event in reversed(stretch)}
            again = [event for event in stretch if event is not firsts[event[0]]]
            random.shuffle(again)
            shuffled += [*(event for event in stretch if event is firsts[event[0]]), *again, SETTLE]
            stretch = []
        else:
            stretch.append(event)
    one, _ = fresh(weight, capacity)
    other, _ = fresh(weight, capacity)
    feed(one, Truth(weight, defaultdict(no_figures)), [*events, SETTLE])
    feed(other, Truth(weight, defaultdict(no_figures)), shuffled)
    assert plain_family(one) == plain_family(other)
    assert ranked(one) == ranked(other)


@given(weights, capacities, st.lists(streams, max_size=4), st.booleans())
@settings(max_examples=200)
def test_the_laws_hold_for_the_sum_of_several_counters(
    weight: Weight, capacity: int, parts: list[list[Event]], settle: bool
) -> None:
    total, truth = fresh(weight, capacity)
    for events in parts:
        part, _ = fresh(weight, capacity)
        feed(part, truth, events)
        before = plain_family(part)
        total.merge(part)
        assert plain_family(part) == before
        if settle:
            total.settle()
        assert_laws(total, capacity, truth.by_key)


@given(
    weights,
    st.tuples(capacities, capacities, capacities),
    st.lists(st.lists(streams, max_size=3), max_size=3),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300)
def test_over_several_levels_the_laws_hold_for_the_smallest_capacity_on_the_way(
    weight: Weight, levels: tuple[int, int, int], hours: list[list[list[Event]]], random: Random
) -> None:
    """Blobs, hours of them, a day of hours: at each level families are settled or trimmed."""

    def stored(family: HeavyHitters, smallest: int, truth: Truth) -> HeavyHitters:
        if random.getrandbits(1):
            family.trim(family.capacity)
        family.settle()
        assert_laws(family, smallest, truth.by_key)
        return copy_family(family)

    of_blob, of_hour, of_day = levels
    day, truth_of_day = fresh(weight, of_day)
    for blobs in hours:
        hour, truth_of_hour = fresh(weight, of_hour)
        for events in blobs:
            blob, truth_of_blob = fresh(weight, of_blob)
            feed(blob, truth_of_blob, events)
            hour.merge(stored(blob, of_blob, truth_of_blob))
            for truth in (truth_of_hour, truth_of_day):
                for key, figures in truth_of_blob.by_key.items():
                    truth.by_key[key] = summed([truth.by_key[key], figures])
        day.merge(stored(hour, min(of_blob, of_hour), truth_of_hour))
    stored(day, min(levels), truth_of_day)


@given(
    weights,
    st.tuples(capacities, capacities, capacities),
    st.lists(st.lists(streams, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=300)
def test_of_each_key_it_is_known_how_many_scopes_have_it_at_least(
    weight: Weight, levels: tuple[int, int, int], hours: list[list[list[Event]]]
) -> None:
    """Never too many; and just as many, in the hour with the most, where nothing was dropped on the way."""
    of_scope, of_hour, of_day = levels
    day, dropped = HeavyHitters(weight, of_day), False
    truth: dict[Key, int] = defaultdict(int)
    for scopes in hours:
        hour = HeavyHitters(weight, of_hour)
        truth_of_hour: dict[Key, int] = defaultdict(int)
        for events in scopes:
            scope, counted = fresh(weight, of_scope)
            feed(scope, counted, [*events, SETTLE])
            for key in counted.by_key:
                truth_of_hour[key] += 1
            hour.merge_scope(scope)
            hour.settle()
            dropped |= scope.floor > 0 or hour.floor > 0
            assert_scopes(hour, truth_of_hour, exact=not dropped)
        truth |= {key: max(truth[key], many) for key, many in truth_of_hour.items()}
        day.merge(copy_family(hour))
        day.settle()
        dropped |= day.floor > 0
        assert_scopes(day, truth, exact=not dropped)


def assert_scopes(family: HeavyHitters, truth: dict[Key, int], *, exact: bool) -> None:
    assert family.scopes.keys() == family.sums.keys()
    assert all(1 <= many <= truth[key] for key, many in family.scopes.items())
    assert not exact or family.scopes == truth


@given(weights, capacities, st.lists(streams, min_size=2, max_size=3), streams)
def test_counting_goes_on_after_a_merge(
    weight: Weight, capacity: int, parts: list[list[Event]], more: list[Event]
) -> None:
    total, truth = fresh(weight, capacity)
    for events in parts:
        part, _ = fresh(weight, capacity)
        feed(part, truth, events)
        total.merge(part)
    for event in more:
        feed(total, truth, [event])
        assert_laws(total, capacity, truth.by_key)


@given(weights, capacities, streams, streams)
def test_a_sum_has_no_order(weight: Weight, capacity: int, one: list[Event], other: list[Event]) -> None:
    families = []
    for events in (one, other):
        family, truth = fresh(weight, capacity)
        feed(family, truth, events)
        families.append(family)
    forth, back = copy_family(families[0]), copy_family(families[1])
    forth.merge(families[1])
    back.merge(families[0])
    assert plain_family(forth) == plain_family(back)


@given(weights, capacities, streams, st.integers(0, 6))
def test_laws_1_and_2_survive_any_trimming(
    weight: Weight, capacity: int, events: list[Event], keep: int
) -> None:
    family, truth = fresh(weight, capacity)
    feed(family, truth, events)
    family.trim(keep)
    assert len(family) <= keep
    feed(family, truth, events)
    rows = [*family.rows()]
    assert summed([*(row.figures for row in rows), to_figures(family.rest)]) == truth.total()
    for row in rows:
        assert weight(row.figures) <= truth.of(row.key) <= weight(row.figures) + row.missed


@given(weights, capacities, streams)
def test_rows_can_be_taken_out_and_put_back(weight: Weight, capacity: int, events: list[Event]) -> None:
    family, truth = fresh(weight, capacity)
    feed(family, truth, events)
    assert plain_family(copy_family(family)) == plain_family(family)


@given(weights, capacities, streams)
def test_ranks_are_by_estimate_then_by_key(weight: Weight, capacity: int, events: list[Event]) -> None:
    family, truth = fresh(weight, capacity)
    feed(family, truth, events)
    rows = sorted(family.rows(), key=lambda row: (-weight(row.figures) - row.missed, row.key))
    assert family.top(len(family)) == (rows, family.rest)
    assert {row.key for row in rows} == set(family.sums)


@given(weights, capacities, streams, st.integers(0, 20))
def test_the_top_is_the_head_of_the_ranks_and_the_sums_of_all_others(
    weight: Weight, capacity: int, events: list[Event], many: int
) -> None:
    family, truth = fresh(weight, capacity)
    feed(family, truth, events)
    rows = ranked(family)
    top, others = family.top(many)
    assert top == rows[:many]
    left = [row.figures for row in rows[many:]]
    assert to_figures(others) == summed([*left, to_figures(family.rest)])


# Examples


def one_of(weight: int) -> Figures:
    return [1, 0, weight, *no_figures()[3:]]


def test_a_spoofed_flood_does_not_hide_the_attacker() -> None:
    """He comes last; whoever keeps the first K keys only would never see him."""
    family = HeavyHitters(flows_denied, 100)
    for number in range(20_000):
        family.add((f"flood {number}",), to_sums(one_of(1)))
        if number % 50 == 0:
            family.settle()
    for _ in range(300):
        family.add(("attacker",), to_sums(one_of(1)))
        family.settle()
    first = ranked(family)[0]
    assert first.key == ("attacker",)
    assert 299 <= flows_denied(first.figures) <= 300 <= flows_denied(first.figures) + first.missed
    assert first.missed <= 20_000 / 100


def test_what_is_dropped_goes_to_the_rest_and_what_comes_back_may_have_missed_it() -> None:
    family = HeavyHitters(flows_denied, 2)
    for key, weight in (("a", 9), ("b", 8), ("c", 3), ("d", 2)):
        family.add((key,), to_sums(one_of(weight)))
    family.settle()
    assert len(family) == 4  # twice as many are left alone
    family.add(("e",), to_sums(one_of(2)))
    family.settle()
    assert ranked(family) == [Row(("a",), one_of(9), 0), Row(("b",), one_of(8), 0)]
    assert (to_figures(family.rest), family.floor) == ([3, 0, *one_of(7)[2:]], 3)
    family.add(("c",), to_sums(one_of(1)))
    assert ranked(family)[2] == Row(("c",), one_of(1), 3)


def test_what_both_parts_of_a_sum_dropped_may_have_been_missed_twice() -> None:
    parts = []
    for _ in range(2):
        part = HeavyHitters(flows_denied, 1)
        for key, weight in (("a", 9), ("b", 5), ("c", 4)):
            part.add((key,), to_sums(one_of(weight)))
        part.settle()
        parts.append(part)
    total = HeavyHitters(flows_denied, 1)
    for part in parts:
        total.merge(part)
    total.add(("b",), to_sums(one_of(1)))
    assert ranked(total) == [Row(("a",), [2, *one_of(18)[1:]], 0), Row(("b",), one_of(1), 10)]


def test_of_keys_of_equal_estimate_those_admitted_last_are_dropped() -> None:
    for order in ("abcde", "edcba", "bdaec"):
        family = HeavyHitters(flows_denied, 2)
        for key in order:
            family.add((key,), to_sums(one_of(1)))
        family.settle()
        assert [row.key for row in family.rows()] == [(order[0],), (order[1],)]


@pytest.mark.parametrize("weight", [tuples, flows_denied, traffic])
def test_sums_stay_at_the_largest_number_that_a_column_holds(weight: Weight) -> None:
    most = [INT64_MAX] * len(MEASURES)
    family = HeavyHitters(weight, 1)
    for key in ("a", "b", "c", "a"):
        family.add((key,), to_sums(most))
    family.settle()
    for key in ("b", "d"):
        family.add((key,), to_sums(most))
    family.settle()
    other = HeavyHitters(weight, 1)
    other.merge(family)
    other.merge(family)
    other.add(("z",), to_sums(most))
    for one in (family, other):
        assert to_figures(one.rest) == most
        assert one.floor == INT64_MAX
        for row in one.rows():
            assert row.figures == most
            assert row.missed in {0, INT64_MAX}


def test_an_empty_counter() -> None:
    family = HeavyHitters(tuples, 1)
    family.settle()
    family.merge(HeavyHitters(tuples, 1))
    assert (len(family), [*family.rows()], ranked(family)) == (0, [], [])
    assert (family.rest, family.floor) == (0, 0)

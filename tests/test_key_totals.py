"""What counting in columns does by arrays, against the same by dictionaries and sorting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.tally.heavy_hitters import HeavyHitters
from shared.tally.key_totals import KeyTotals, slots_of
from shared.tally.measures import MEASURES, PLAIN, to_figures, to_sums, tuples

_MIX = 0x9E3779B97F4A7C15
_UNMIX = pow(_MIX, -1, 2**64)

_codes = st.one_of(
    st.integers(0, 40),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 40).map(lambda number: (number * _UNMIX + 2**63) % 2**64 - 2**63),  # all have one place
)


@given(st.lists(_codes, unique=True), st.lists(_codes, min_size=1))
def test_a_code_has_its_slot_in_the_order_of_first_appearance(known: list[int], codes: list[int]) -> None:
    slots = {code: slot for slot, code in enumerate(dict.fromkeys([*known, *codes]))}
    new = [*slots][len(known) :]

    found, rows, every = slots_of(np.array(known, np.int64), np.array(codes, np.int64))

    assert found.tolist() == [slots[code] for code in codes]
    assert every.tolist() == [*slots]
    assert rows.tolist() == [codes.index(code) for code in new]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), min_size=1), max_size=6),
    st.integers(0, 2**32),
    st.integers(1, 60),
)
def test_a_table_keeps_and_drops_what_the_bounded_counter_does(
    batches: list[list[tuple[int, int]]], seed: int, capacity: int
) -> None:
    """Batches as drawn, and large ones, where the sample tells where to cut."""
    table, counter = KeyTotals(tuples, capacity), HeavyHitters(tuples, capacity)
    rng = np.random.default_rng(seed)
    for drawn in batches:
        many = [*zip(rng.integers(0, 5000, 900).tolist(), rng.integers(0, 3, 900).tolist(), strict=True)]
        for batch in (drawn, many):
            codes, numbers = (np.array(column, np.int64) for column in zip(*batch, strict=True))
            table.add(codes, {0: numbers}, codes, codes)
            for code, number in batch:
                counter.add((code,), to_sums([number] + [0] * (len(MEASURES) - 1)))
            counter.settle()

            rows = [(row.key[0], row.figures[0], row.missed) for row in counter.rows()]
            mine = zip(table.codes.tolist(), table.figures[0].tolist(), table.missed.tolist(), strict=True)
            assert [*mine] == rows
            assert table.rest[: len(PLAIN)] == [*to_figures(counter.rest)][: len(PLAIN)]
            assert table.floor == counter.floor

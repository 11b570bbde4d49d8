"""Tuples by state: each counts in one, whichever way it is read, and the ledger's entity says how many there
are of each.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MalformedInput
from shared.flowlog.records import Record, RecordReader
from shared.flowlog.tuples import read_tuple
from shared.ledger.entry import Entry, to_columns
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from shared.tally.measures import MEASURES
from shared.tally.packing import pack
from shared.tally.states import BEGINS, CONTINUES, DENIALS, ENDS, STATES, States, state_of
from tests.strategies import Good, Layout, Written, hour_records
from tests.test_engine import HOUR, bounds, cut, generated_blobs, mutated, some_bounds, some_cuts
from tests.test_hour_counts import counted, rules_in


def states_in(written: Sequence[Written]) -> dict[str, int]:
    """A naive count, straight from the JSON of records that are whole."""
    found: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    for record in written:
        good = {one.text for _, _, members in record.groups for one in members if isinstance(one, Good)}
        for _, _, texts in rules_in(json.loads(record.source)):
            for text in texts:
                if not isinstance(text, str) or text not in good:
                    continue
                fields = text.split(",")
                letters = {
                    "nsg-v1": {"A": "B", "D": "D"}.get(fields[7], ""),
                    "nsg-v2": "D" if fields[7] == "D" else fields[8:9],
                    "vnet-v4": fields[7],
                }
                letter = letters[record.layout][0]
                found[{"B": "Begins", "C": "Continues", "E": "Ends", "D": "Denials"}[letter]] += 1
    return dict(found)


@given(hour_records())
@settings(max_examples=150, deadline=None)
def test_every_tuple_counts_in_the_state_that_it_says(written: list[Written]) -> None:
    counts = counted(written)
    assert dict(zip(STATES, counts.states, strict=True)) == states_in(written)
    assert sum(counts.states) == counts.tuples


@pytest.mark.parametrize(
    ("layout", "fields", "place"),
    [
        ("nsg-v1", "A", BEGINS),
        ("nsg-v1", "D", DENIALS),
        ("nsg-v2", "A,B,,,,", BEGINS),
        ("nsg-v2", "A,C,1,2,3,4", CONTINUES),
        ("nsg-v2", "A,E,1,2,3,4", ENDS),
        ("nsg-v2", "D,B,,,,", DENIALS),
        ("nsg-v2", "D,C,1,2,3,4", DENIALS),
        ("nsg-v2", "D,E,1,2,3,4", DENIALS),
        ("vnet-v4", "B,NX,0,0,0,0", BEGINS),
        ("vnet-v4", "C,NX,1,2,3,4", CONTINUES),
        ("vnet-v4", "E,NX,1,2,3,4", ENDS),
        ("vnet-v4", "D,NX,0,0,0,0", DENIALS),
    ],
)
def test_the_states_of_every_version(layout: Layout, fields: str, place: int) -> None:
    protocol = "6" if layout == "vnet-v4" else "T"
    text = f"1767268760,10.0.0.4,10.0.0.5,1024,443,{protocol},I,{fields}"
    assert state_of(read_tuple(text, layout)) == place


@settings(deadline=None, max_examples=60)
@given(generated_blobs, st.integers(0, 2**32), some_bounds, some_cuts, st.booleans())
def test_both_readings_count_the_same(
    blob: Callable[[], bytes], seed: int, small: dict[str, int], places: list[int], whole: bool
) -> None:
    data = blob() if whole else mutated(blob(), random.Random(seed))
    expected = BlobCounts()
    for item in RecordReader().feed(data):
        if isinstance(item, Record):
            expected.count_record(item, HOUR, "000D3AF87856", "acl")
    with bounds(**small):
        counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "acl")
        for piece in cut(data, places):
            counter.feed(piece)
    counts = counter.counts
    assert counts.states == expected.states
    assert sum(counts.states) == counts.tuples == expected.tuples


def test_a_batch_that_is_left_to_the_reference_is_counted_once() -> None:
    """What might reach 2**63 is counted by the reference, although the columns have read it."""
    large = f"1767268760,10.0.0.4,10.0.0.5,1024,443,6,I,E,NX,1,{2**62},1,1"
    plain = large.replace(str(2**62), "2")
    with bounds():
        counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "acl")
        counter.feed(vnet_record([plain, large, plain.replace(",E,", ",C,")] * 40))
    assert counter.counts.states == [0, 40, 80, 0]


def test_a_flow_that_was_made_anew_ends_and_begins_as_it_is_logged() -> None:
    """Whatever is counted of it elsewhere."""
    begin = "1767268760123,10.0.0.4,10.0.0.5,1024,443,6,I,B,NX,0,0,0,0"
    end = begin.replace("B,NX,0,0,0,0", "E,NX,2,140,1,116")
    record = vnet_record([begin, end, begin])
    reference, (item,) = BlobCounts(), RecordReader().feed(record)
    assert isinstance(item, Record)
    reference.count_record(item, HOUR, "000D3AF87856", "acl")
    with bounds():
        counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "acl")
        counter.feed(record)
    for counts in (reference, counter.counts):
        (hour,) = counts.shares.values()
        totals = dict(zip(MEASURES, hour.totals(), strict=True))
        assert (totals["FlowsAllowed"], totals["FlowsEnded"], totals["FlowsRestarted"]) == (1, 0, 1)
        assert counts.states == [2, 0, 1, 0]


def vnet_record(tuples: list[str]) -> bytes:
    group = {"rule": "r", "flowTuples": tuples}
    record = {
        "time": "2026-01-01T12:01:00Z",
        "flowLogVersion": 4,
        "flowRecords": {"flows": [{"aclID": "acl", "flowGroups": [group]}]},
    }
    return json.dumps({"records": [record]}).encode()


@given(hour_records())
@settings(max_examples=40, deadline=None)
def test_the_ledgers_entity_says_them_and_is_refused_where_they_are_not_its_tuples(
    written: list[Written],
) -> None:
    counts = counted(written)
    entry = Entry("blob", tuples=counts.tuples, states=States(*counts.states), packed=pack(counts.shares))
    columns = to_columns(entry, "p", "a")
    assert {name: columns[name] for name in STATES} == states_in(written)
    assert sum(columns[name] for name in STATES) == columns["Tuples"]
    assert entry.counts().states == counts.states
    for place in range(len(STATES)):
        changed = [*entry.states]
        changed[place] += 1
        with pytest.raises(MalformedInput, match=r"of blob is damaged: it says \d+ tuples, and \d+ by"):
            replace(entry, states=States(*changed)).counts()

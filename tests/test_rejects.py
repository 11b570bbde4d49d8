"""What can't be counted is kept: where it stands, why, what it looks like, and how much of it there is."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import MalformedInput
from shared.flowlog.reasons import MOST_REASONS, Reason
from shared.flowlog.records import Garbled, Record, RecordReader, RuleTuples
from shared.flowlog.rejects import (
    LONGEST_SAMPLE,
    MOST_PACKED,
    ReasonCount,
    Reject,
    RejectCounts,
    TuplePlaces,
    reject_garbled,
    reject_tuples,
)
from shared.tally.hour_counts import BlobCounts
from tests.strategies import HOUR, Bad, Blob, Written, blobs, hour_records, records_of

MAC = "000D3AF87856"
VNET = (
    '{"records":[{"time":"rule","é":{"flows":[{"flowTuples":["x"]}]},"flowRecords":{"flowTuples":["x"],'
    '"flows":[{"aclID":"mac","flowTuples":["x"],"flowGroups":[{"rule":"x","KEY":[@'
    ']},{"rule":"y","flowTuples":[]}]}]},"properties":{"flows":[{"flows":[{"flowTuples":["x"]}]}]}}]}'
)
NSG = (
    '{"records":[{"time":"rule","properties":{"flowTuples":["x"],"flows":[{"rule":"[{\\"","flows":[{"KEY":[@'
    ']}]},{"rule":"y","flows":[{"flowTuples":[]}]}]},"flowTuples":["x"]}]}'
)
KEYS = ("flowTuples", "FLOWTUPLES", "flow\\u0054uples", "flowtuple\\u0053")
FRAMES = [frame.replace("KEY", key) for frame in (VNET, NSG) for key in KEYS]
"""A blob of one record, with ``@`` where the elements of an array of tuples go."""


def written_escaped(text: str) -> str:
    return '"' + "".join(f"\\u{ord(char):04x}" for char in text) + '"'


def written_plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


texts = st.sampled_from(["", "x", "rule", "mac", "time", "a,b", 'a","b', "\\", "ü", "?", "\x01", "x" * 3000])
others = st.sampled_from(
    [
        *("1", "-1.5e3", "null", "true", '["b"]', '"]"', '"[]],"', '{"b":"c"}', '{"flowTuples":["x"]}'),
        *("[ ]", "{ }", '[{"a":[1,"x",{}]},[[]]]', "9" * 400),
    ]
)
elements = st.one_of(
    st.builds(lambda text, write: write(text), texts, st.sampled_from([written_plain, written_escaped])),
    others,
)
gaps = st.sampled_from(["", "", " ", "\n\t"])
reasons = st.sampled_from(Reason)

type Spelling = Callable[[str], str]


def record_of(data: bytes) -> Record:
    (item,) = RecordReader().feed(data)
    assert isinstance(item, Record)
    return item


def placed(written: list[str], frame: str = FRAMES[0], gap: str = "") -> tuple[Record, list[tuple[int, int]]]:
    """A record with these elements as they are written, and the bytes of each, of a string between quotes."""
    before, after = frame.split("@")
    data = bytearray(before.encode())
    places = []
    for number, element in enumerate(written):
        data += b"," if number else b""
        data += gap.encode()
        quote = element.startswith('"')
        start = len(data) + quote
        data += element.encode()
        places.append((start, len(data) - quote))
        data += gap.encode()
    return record_of(bytes(data) + after.encode()), places


# Laws: where tuples stand


@given(st.lists(st.tuples(elements, st.none() | reasons), max_size=8), st.sampled_from(FRAMES), gaps)
@settings(max_examples=400)
@example([('"x"', Reason.PORT)], FRAMES[0], "")
def test_every_tuple_is_placed_exactly(
    written: list[tuple[str, Reason | None]], frame: str, gap: str
) -> None:
    record, places = placed([element for element, _ in written], frame, gap)
    values = record.groups[0].tuples
    # Equal tuples have one verdict, and what is no string is always rejected.
    by_text = {
        value: reason for value, (_, reason) in zip(values, written, strict=True) if type(value) is str
    }
    verdicts = [by_text[value] if isinstance(value, str) else Reason.NO_STRING for value in values]
    rejected = [(value, reason) for value, reason in zip(values, verdicts, strict=True) if reason]
    wanted = [(place, reason) for place, reason in zip(places, verdicts, strict=True) if reason]
    tuple_places = TuplePlaces(record)
    each = [
        tuple_places.reject(number, value, reason)
        for number, (value, reason) in enumerate(zip(values, verdicts, strict=True))
        if reason
    ]
    assert [((reject.start, reject.end), reject.reason) for reject in each] == wanted
    assert all(reject.count == 1 for reject in each)
    by_reason: dict[Reason, list[Reject]] = {}
    for reject in each:
        by_reason.setdefault(reject.reason, []).append(reject)
    assert reject_tuples(record, rejected) == [
        Reject(first.start, first.end, reason, 1 + len(others), first.sample)
        for reason, (first, *others) in by_reason.items()
    ]


@given(hour_records(most=3))
@settings(max_examples=150)
def test_every_rejected_tuple_is_counted_once_with_its_reason(written: list[Written]) -> None:
    counts = BlobCounts()
    for record, meant in zip(records_of(written), written, strict=True):
        bad = [one for _, _, members in meant.groups for one in members if isinstance(one, Bad)]
        rejects = counts.count_record(record, HOUR, MAC, "")
        assert sum(reject.count for reject in rejects) == len(bad)
        assert {reject.reason for reject in rejects} == {one.reason for one in bad}
        starts = [reject.start for reject in rejects]
        assert starts == sorted(set(starts))
        for reject in rejects:
            assert record.start <= reject.start <= reject.end <= record.end


@given(blobs())
@settings(max_examples=150)
def test_no_two_rejects_of_a_blob_start_at_the_same_byte(blob: Blob) -> None:
    rejects, counts = rejects_of(blob.data)
    assert len({reject.start for reject in rejects}) == len(rejects)
    assert sum(reject.count for reject in rejects) == counts.malformed
    for reject in rejects:
        assert_sample_is_safe(reject.sample)


def rejects_of(data: bytes) -> tuple[list[Reject], BlobCounts]:
    """What the reference rejects of a blob, and its counts without what is garbled."""
    reader, counts = RecordReader(), BlobCounts()
    rejects: list[Reject] = []
    for item in reader.feed(data):
        if isinstance(item, Garbled):
            rejects.append(reject_garbled(item))
        else:
            rejects += counts.count_record(item, HOUR, MAC, "")
    unread = reader.unread()
    return [*rejects, *([reject_garbled(unread)] if unread else [])], counts


class Compared(str):
    """A text that counts how often texts are compared."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


@pytest.mark.parametrize("key", KEYS)
def test_the_work_to_place_tuples_is_proportional_to_their_number(key: str) -> None:
    values: list[object] = [0] * 20_000 + [""] * 20_000
    source = NSG.replace("KEY", key).replace("@", json.dumps(values)[1:-1])
    source = source.removeprefix('{"records":[').removesuffix("]}")
    groups = [RuleTuples("", "x", [Compared(value) if value == "" else value for value in values])]
    record = Record(0, len(source), source.encode(), None, "nsg-v2", "", "", groups)
    Compared.times = 0
    rejected = [(0, Reason.NO_STRING)] * 20_000 + [("", Reason.NUMBER_OF_FIELDS)] * 20_000
    assert [(reject.count, reject.start) for reject in reject_tuples(record, rejected)] == [
        (20_000, source.index("[0, 0") + 1),
        (20_000, source.index(', ""') + 3),
    ]
    assert Compared.times <= len(values)


# Laws: samples


def assert_sample_is_safe(sample: str) -> None:
    assert len(sample.encode("utf-8")) <= LONGEST_SAMPLE == 960


@given(st.binary(max_size=1100) | st.text(max_size=600).map(str.encode))
@example(b"\xc3\xbc" * 300 + b"\xff" * 424)
@example(b"\xff" * 1024)
@example(b"x" * 959 + "ü".encode())
def test_a_sample_is_text_of_at_most_960_bytes(data: bytes) -> None:
    garbled = Garbled(7, 7 + len(data), Reason.NOT_JSON, data[:1024])
    reject = reject_garbled(garbled)
    assert (reject.start, reject.end, reject.reason, reject.count) == (7, 7 + len(data), Reason.NOT_JSON, 0)
    assert_sample_is_safe(reject.sample)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_a_sample_of_good_text_is_cut_between_characters(text: str) -> None:
    sample = reject_garbled(Garbled(0, 1, Reason.NOT_JSON, text.encode()[:1024])).sample
    assert text.startswith(sample)
    assert sample == text or len(sample.encode()) > LONGEST_SAMPLE - 4


@given(st.text(st.characters(), max_size=1100))
@example("\ud800" * 1100)
@example("\U0001f600" * 1100)
def test_a_sample_of_a_tuple_is_text_of_at_most_960_bytes(text: str) -> None:
    record, _ = placed([json.dumps(text)])
    (reject,) = reject_tuples(record, [(text, Reason.ADDRESS)])
    assert_sample_is_safe(reject.sample)


# Laws: counts

numbers = st.integers(0, 2**50)


@st.composite
def some_rejects(draw: st.DrawFn) -> list[Reject]:
    """Rejects of a blob; those for one reason are all tuples or all stretches."""
    rejects = []
    for _ in range(draw(st.integers(0, 12))):
        reason, start = draw(reasons), draw(numbers)
        count = draw(st.integers(1, 2**40)) if [*Reason].index(reason) % 2 else 0
        sample = draw(st.text(max_size=20))
        rejects.append(Reject(start, start + draw(st.integers(1, 2**40)), reason, count, sample))
    return rejects


def counts_of(rejects: list[Reject]) -> RejectCounts:
    counts = RejectCounts()
    counts.add(rejects)
    return counts


@given(some_rejects())
def test_counts_add_up(rejects: list[Reject]) -> None:
    counts = counts_of(rejects)
    assert counts.tuples == sum(reject.count for reject in rejects)
    assert counts.garbled_bytes == sum(reject.end - reject.start for reject in rejects if not reject.count)
    assert counts.by_reason.keys() == {reject.reason for reject in rejects}
    for reason, each in counts.by_reason.items():
        those = [reject for reject in rejects if reject.reason == reason]
        first = min(those, key=lambda reject: (reject.start, reject.end, reject.sample))
        assert (each.start, each.end, each.sample) == (first.start, first.end, first.sample)
        assert each.count == sum(reject.count or 1 for reject in those)


@given(some_rejects(), st.randoms(use_true_random=False), st.integers(0, 12))
def test_neither_order_nor_cuts_nor_packing_between_make_a_difference(
    rejects: list[Reject], rng: random.Random, cut: int
) -> None:
    wanted = counts_of(rejects)
    rng.shuffle(rejects)
    counts = RejectCounts.unpack(counts_of(rejects[:cut]).pack())
    first = RejectCounts(counts.by_reason)
    counts.add(rejects[cut:])
    assert counts == wanted
    assert counts.pack() == wanted.pack()
    assert RejectCounts.unpack(counts.pack()) == wanted
    assert first == counts_of(rejects[:cut]), "a copy is left as it was"


@given(blobs())
@settings(max_examples=100)
def test_what_a_blob_counts_as_rejected_is_the_sum_of_its_reasons(blob: Blob) -> None:
    rejects, counts = rejects_of(blob.data)
    assert counts_of(rejects).tuples == counts.malformed


def test_there_are_few_reasons_and_all_have_room() -> None:
    assert len(Reason) <= MOST_REASONS == 32
    assert all(reason.name.isascii() and len(reason.name) <= 24 for reason in Reason)
    each_with_the_longest_name = 1 + 24 + 8 * 4 + 2 + LONGEST_SAMPLE
    assert 1 + MOST_REASONS * each_with_the_longest_name <= MOST_PACKED == 32 * 1024


@pytest.mark.parametrize("char", ["x", "\x00", '"', "\\", "\x7f", "é", "\u20ac", "\U0001f600"])
def test_the_most_that_can_be_rejected_has_room(char: str) -> None:
    sample = (char * LONGEST_SAMPLE).encode()[:1024]
    rejects = [
        reject_garbled(Garbled(2**63 - 2**50, 2**63 - 1, reason, sample))
        for reason in islice(cycle(Reason), 1000)
    ]
    counts = counts_of(rejects)
    assert len(counts.pack()) <= MOST_PACKED
    assert RejectCounts.unpack(counts.pack()) == counts


def test_nothing_rejected_is_no_bytes() -> None:
    assert RejectCounts().pack() == b""
    assert RejectCounts.unpack(b"") == RejectCounts()


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"\x01" + data))
@example(b"\x02")
@example(b"\x01")
def test_bytes_that_are_no_counts_are_refused(data: bytes) -> None:
    try:
        counts = RejectCounts.unpack(data)
    except MalformedInput as error:
        assert str(error).startswith("rejects can't be unpacked: ")  # noqa: PT017
    else:
        assert counts.pack() == data


@given(some_rejects(), st.data())
def test_damaged_counts_are_refused_or_are_counts(rejects: list[Reject], data: st.DataObject) -> None:
    packed = bytearray(counts_of(rejects).pack())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(packed)))
        packed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(MalformedInput):
        assert RejectCounts.unpack(bytes(packed)).pack() == packed


# Examples


def test_one_reject_for_each_reason_with_its_first_tuple() -> None:
    record, places = placed(['"a"', '"b"', '"c"', '"d"'])
    one, two = Reason.PORT, Reason.STATE
    rejects = reject_tuples(record, [("a", one), ("b", two), ("c", one), ("d", two)])
    assert rejects == [Reject(*places[0], one, 2, "a"), Reject(*places[1], two, 2, "b")]


@pytest.mark.parametrize("element", [None, 1, True, [], {}, ["a"], 2**70])
def test_what_is_no_string_is_placed_and_shown_as_it_is_written(element: Any) -> None:
    record, (place,) = placed([json.dumps(element)])
    (reject,) = reject_tuples(record, [(element, Reason.NO_STRING)])
    assert reject == Reject(*place, Reason.NO_STRING, 1, json.dumps(element))


def test_where_a_key_stands_twice_tuples_are_placed_as_wide_as_their_record() -> None:
    source = b'{"properties":{"flows":[{"rule":"r","flows":[{"flowTuples":["a","b"],"flowTuples":["b"]}]}]}}'
    record = Record(7, 7 + len(source), source, None, "nsg-v2", "", "", [RuleTuples("", "r", ["b"])])
    assert reject_tuples(record, [("b", Reason.PORT)]) == [Reject(7, record.end, Reason.PORT, 1, "'b'")]


def test_rejects_of_one_reason_keep_the_first_place() -> None:
    counts = counts_of(
        [
            Reject(50, 60, Reason.PORT, 2, "b"),
            Reject(5, 6, Reason.PORT, 1, "a"),
            Reject(70, 75, Reason.NOT_JSON, 0, "c"),
            Reject(90, 91, Reason.NOT_JSON, 0, "d"),
        ]
    )
    assert counts.by_reason == {
        Reason.PORT: ReasonCount(3, 0, 5, 6, "a"),
        Reason.NOT_JSON: ReasonCount(2, 6, 70, 75, "c"),
    }
    assert (counts.tuples, counts.garbled_bytes) == (3, 6)


def test_nothing_rejected_is_no_reject() -> None:
    record, _ = placed([])
    assert reject_tuples(record, []) == []

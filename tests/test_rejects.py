"""What can't be counted is kept: where it stands, why, and what it looks like."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.flowlog.records import Garbled, Record, RecordReader
from shared.flowlog.rejects import Reject, reject_garbled, reject_tuples
from shared.tally.hour_counts import BlobCounts
from tests.strategies import HOUR, Bad, Blob, Written, blobs, hour_records, records_of

BEFORE = (
    '{"records":[{"time":"rule","flowRecords":{"flows":['
    '{"aclID":"mac","flowGroups":[{"rule":"x","flowTuples":['
)
AFTER = "]}]}]}}]}"


def written_escaped(text: str) -> str:
    return '"' + "".join(f"\\u{ord(char):04x}" for char in text) + '"'


def written_plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


texts = st.sampled_from(["", "x", "rule", "mac", "time", "a,b", 'a","b', "\\", "ü", "?", "\x01", "x" * 3000])
elements = st.lists(
    st.tuples(texts, st.sampled_from([written_plain, written_escaped])), min_size=1, max_size=6
)

type Spelling = Callable[[str], str]


def record_of(data: bytes) -> Record:
    (item,) = RecordReader().feed(data)
    assert isinstance(item, Record)
    return item


def placed(written: list[str]) -> tuple[Record, list[tuple[int, int]]]:
    """A record with these elements as they are written, and the bytes between each one's quotes."""
    data = bytearray(BEFORE.encode())
    places = []
    for number, element in enumerate(written):
        data += b"," if number else b""
        start = len(data)
        data += element.encode()
        places.append((start + 1, len(data) - 1))
    return record_of(bytes(data) + AFTER.encode()), places


# Laws


@given(elements)
@settings(max_examples=300)
@example([("rule", written_plain)])
@example([("x", written_plain)])
@example([("", written_plain)])
@example([("x", written_escaped), ("x", written_plain)])
def test_the_range_of_a_reject_holds_every_tuple_that_it_counts(elements: list[tuple[str, Spelling]]) -> None:
    record, places = placed([write(text) for text, write in elements])
    (reject,) = reject_tuples(record, [(text, "why") for text, _ in elements])
    assert reject.count == len(elements)
    assert record.start <= reject.start <= places[0][0]
    assert places[-1][1] <= reject.end <= record.end


@given(st.lists(texts, min_size=1, max_size=6))
@example(["x", "x", "rule"])
def test_tuples_written_as_they_are_read_are_placed_exactly(elements: list[str]) -> None:
    plain = [text for text in elements if json.dumps(text, ensure_ascii=False) == f'"{text}"'] or ["y"]
    record, places = placed([written_plain(text) for text in plain])
    rejects = reject_tuples(record, [(text, f"reason {number}") for number, text in enumerate(plain)])
    assert [(reject.start, reject.end) for reject in rejects] == places
    assert [reject.reason for reject in rejects] == [f"reason {number}" for number in range(len(plain))]


@given(hour_records(most=3))
@settings(max_examples=150)
def test_every_rejected_tuple_is_counted_once_with_its_reason(written: list[Written]) -> None:
    counts = BlobCounts()
    starts: list[int] = []
    for record, meant in zip(records_of(written), written, strict=True):
        bad = [one for _, _, members in meant.groups for one in members if isinstance(one, Bad)]
        rejects = counts.count_record(record, HOUR, "000D3AF87856", "")
        assert sum(reject.count for reject in rejects) == len(bad)
        assert {why for reject in rejects for why in reject.reason.split("; ")} == {one.reason for one in bad}
        for reject in rejects:
            assert record.start <= reject.start <= reject.end <= record.end
        starts += [reject.start for reject in rejects]
    assert len(set(starts)) == len(starts)
    assert starts == sorted(starts)


@given(blobs())
@settings(max_examples=150)
def test_no_two_rejects_of_a_blob_start_at_the_same_byte(blob: Blob) -> None:
    reader, counts = RecordReader(), BlobCounts()
    rejects: list[Reject] = []
    for item in reader.feed(blob.data):
        if isinstance(item, Garbled):
            rejects.append(reject_garbled(item))
        else:
            rejects += counts.count_record(item, HOUR, "000D3AF87856", "")
    unread = reader.unread()
    rejects += [reject_garbled(unread)] if unread else []
    assert len({reject.start for reject in rejects}) == len(rejects)
    assert sum(reject.count for reject in rejects) == counts.malformed
    for reject in rejects:
        assert_sample_is_safe(reject.sample)


def assert_sample_is_safe(sample: str) -> None:
    assert len(sample.encode("utf-8")) <= 1024


@given(st.binary(max_size=1100) | st.text(max_size=600).map(str.encode))
@example(b"\xc3\xbc" * 300 + b"\xff" * 424)
@example(b"\xff" * 1024)
@example(b"x" * 1023 + "ü".encode())
def test_a_sample_is_text_of_at_most_1_kib(data: bytes) -> None:
    garbled = Garbled(7, 7 + len(data), "why", data[:1024])
    reject = reject_garbled(garbled)
    assert (reject.start, reject.end, reject.reason, reject.count) == (7, 7 + len(data), "why", 0)
    assert_sample_is_safe(reject.sample)


@given(st.text(st.characters(), max_size=1100))
@example("\ud800" * 1100)
@example("\U0001f600" * 1100)
def test_a_sample_of_a_tuple_is_text_of_at_most_1_kib(text: str) -> None:
    record, _ = placed([json.dumps(text)])
    (reject,) = reject_tuples(record, [(text, "why")])
    assert_sample_is_safe(reject.sample)


# Examples


def test_one_reject_for_each_reason_from_its_first_tuple_to_its_last() -> None:
    record, places = placed(['"a"', '"b"', '"c"', '"d"'])
    rejects = reject_tuples(record, [("a", "one"), ("b", "two"), ("c", "one"), ("d", "two")])
    assert rejects == [
        Reject(places[0][0], places[2][1], "one", 2, "a"),
        Reject(places[1][0], places[3][1], "two", 2, "b"),
    ]


def test_the_same_tuple_twice_is_two_places() -> None:
    record, places = placed(['"a"', '"a"'])
    assert reject_tuples(record, [("a", "one"), ("a", "two")]) == [
        Reject(*places[0], "one", 1, "a"),
        Reject(*places[1], "two", 1, "a"),
    ]


@pytest.mark.parametrize("element", [None, 1, True, [], {}, ["a"], 2**70])
def test_what_is_no_string_is_placed_as_wide_as_its_record(element: object) -> None:
    record, _ = placed([json.dumps(element)])
    (reject,) = reject_tuples(record, [(element, "not a string")])
    assert reject == Reject(record.start, record.end, "not a string", 1, repr(element))


@pytest.mark.parametrize("other", ["1", "null", '["b"]', '"]"', '"[]],"', '{"b":"c"}', written_escaped("é]")])
def test_what_stands_beside_a_tuple_does_not_change_its_place(other: str) -> None:
    record, places = placed([other, '"a"', other, '"z"'])
    rejected = [(json.loads(other), "other"), ("a", "one"), (json.loads(other), "other"), ("z", "two")]
    rejects = {reject.reason: reject for reject in reject_tuples(record, rejected)}
    assert rejects["one"] == Reject(*places[1], "one", 1, "a")
    assert rejects["two"] == Reject(*places[3], "two", 1, "z")


def test_reasons_that_start_at_the_same_byte_are_joined() -> None:
    record, _ = placed(["1", "null"])
    assert reject_tuples(record, [(1, "not a string"), (None, "another reason")]) == [
        Reject(record.start, record.end, "not a string; another reason", 2, "1")
    ]


def test_nothing_rejected_is_no_reject() -> None:
    record, _ = placed([])
    assert reject_tuples(record, []) == []

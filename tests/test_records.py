"""Records: whatever a blob holds and however it is cut up, the same items are found at the same bytes.

A *reading* is what a reader gave: every item with the reader's position and tail after it, and at last what
is left unread. THE law is that the reading depends on the blob's bytes alone.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog import records
from shared.flowlog.reasons import Reason
from shared.flowlog.records import LONGEST_TAIL, Garbled, Record, RecordReader
from shared.flowlog.rejects import Reject, reject_garbled
from shared.tally.hour_counts import BlobCounts
from tests.strategies import (
    HOUR,
    Blob,
    Written,
    blobs,
    cuts,
    element_of,
    plain_records,
    record_document,
)

NSG = b'{"time":"2026-11-21T05:01:02.1234567Z","resourceId":"/N","properties":{"Version":2,"flows":[]}}'
VNET = b'{"time":"2026-11-21T05:01:02Z","flowLogVersion":4,"flowRecords":{"flows":[]}}'
SEPARATORS = re.compile(
    rb'(?:[ \t\r\n,]|\][ \t\r\n]*\}|\{[ \t\r\n]*"(?i:records)"[ \t\r\n]*:[ \t\r\n]*\[|\xef\xbb\xbf)*'
)

type Item = Record | Garbled


@dataclass(frozen=True)
class Reading:
    items: list[tuple[Item, int, bytes]]
    position: int
    unread: Garbled | None


def read(pieces: Sequence[bytes], position: int = 0, waits: Sequence[bool] = ()) -> Reading:
    """Feed the pieces; ``waits`` says after which of them more is to come at once."""
    reader = RecordReader(position)
    items: list[tuple[Item, int, bytes]] = []
    for number, piece in enumerate(pieces):
        wait = number < len(pieces) - 1 and number < len(waits) and waits[number]
        items += [(item, reader.position, reader.tail) for item in reader.feed(piece, last=not wait)]
    return Reading(items, reader.position, reader.unread())


def items_of(data: bytes) -> list[Item]:
    return [item for item, _, _ in read([data]).items]


def only_record(data: bytes) -> Record:
    (item,) = items_of(data)
    assert isinstance(item, Record), item
    return item


def only_garbled(data: bytes) -> Garbled:
    (item,) = items_of(data)
    assert isinstance(item, Garbled), item
    return item


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# THE law


@given(st.data(), blobs())
@settings(max_examples=300)
def test_it_makes_no_difference_how_a_blob_is_cut_up(data: st.DataObject, blob: Blob) -> None:
    pieces = data.draw(cuts(blob.data))
    waits = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    assert read(pieces, waits=waits) == read([blob.data])


@given(blobs(plain_records(most=1), most=3))
@settings(max_examples=40, deadline=None)
def test_a_blob_may_be_fed_byte_by_byte(blob: Blob) -> None:
    assert read(bytewise(blob.data)) == read([blob.data])
    assert read(bytewise(blob.data), waits=[True] * len(blob.data)) == read([blob.data])


@given(st.data(), blobs())
@settings(max_examples=200)
def test_reading_can_stop_after_any_item_and_be_resumed(data: st.DataObject, blob: Blob) -> None:
    whole = read([blob.data])
    for done, (_, position, _) in enumerate(whole.items, start=1):
        rest = data.draw(cuts(blob.data[position:], most=2))
        assert read(rest, position) == Reading(whole.items[done:], whole.position, whole.unread)


@given(st.data(), blobs(), st.integers(100, 600), st.integers(4, 100))
@settings(max_examples=200)
def test_the_law_holds_for_stretches_and_gaps_that_are_too_long(
    data: st.DataObject, blob: Blob, longest: int, gap: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "LONGEST_RECORD", longest)
        patch.setattr(records, "LONGEST_GAP", gap)
        whole = read([blob.data])
        assert read(data.draw(cuts(blob.data))) == whole
        for done, (item, position, _) in enumerate(whole.items, start=1):
            assert item.end - item.start <= max(longest, gap)
            rest = read([blob.data[position:]], position)
            assert rest == Reading(whole.items[done:], whole.position, whole.unread)
        unread = whole.unread
        assert unread is None or unread.end - unread.start < longest


@given(blobs(clean=True))
@settings(max_examples=100)
def test_a_growing_blob_gives_each_record_once(blob: Blob) -> None:
    """Every version of the blob ends in ``]}`` after its last record; the next puts more in its place."""
    found: list[Item] = []
    position = 0
    for _, end, _ in blob.records:
        reading = read([blob.data[position:end] + b"]}"], position)
        assert reading.position == end
        assert reading.unread is None
        found += [item for item, _, _ in reading.items]
        position = reading.position
    assert found == items_of(blob.data)


# What is found


@given(blobs())
@settings(max_examples=300)
def test_garbage_costs_itself_and_nothing_else(blob: Blob) -> None:
    """Every whole record is found, with exactly its bytes and everything that it says."""
    found = {item.start: item for item in items_of(blob.data)}
    for start, end, written in blob.records:
        item = found[start]
        assert isinstance(item, Record), item
        assert (item.end, item.source) == (end, written.source)
        assert item.grammar == written.layout
        assert [(group.acl_group, group.rule, group.tuples) for group in item.groups] == [
            (acl, rule, [element_of(element) for element in elements])
            for acl, rule, elements in written.groups
        ]
        assert item.time == datetime(2026, 11, 21, 5, 1, 2, 123456, tzinfo=UTC)


@given(blobs(clean=True))
@settings(max_examples=100)
def test_a_good_blob_has_nothing_but_records(blob: Blob) -> None:
    reading = read([blob.data])
    assert [(item.start, item.end) for item, _, _ in reading.items] == [
        (start, end) for start, end, _ in blob.records
    ]
    assert all(isinstance(item, Record) for item, _, _ in reading.items)
    assert reading.unread is None


@given(blobs() | st.binary(max_size=200).map(lambda data: Blob(data, [])))
@settings(max_examples=300)
def test_every_byte_is_a_records_or_garbled_or_separates(blob: Blob) -> None:
    reading = read([blob.data])
    stretches: list[Item] = [item for item, _, _ in reading.items]
    stretches += [reading.unread] if reading.unread else []
    edges = [0, *(edge for item in stretches for edge in (item.start, item.end)), len(blob.data)]
    assert edges == sorted(edges)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        assert SEPARATORS.fullmatch(blob.data[start:end]), blob.data[start:end]
    for item in stretches:
        assert item.start < item.end
        source = blob.data[item.start : item.end]
        assert item.source == source if isinstance(item, Record) else item.sample == source[:1024]


@given(blobs())
def test_position_and_tail_are_those_of_the_last_item(blob: Blob) -> None:
    reading = read([blob.data])
    for item, position, tail in reading.items:
        assert position == item.end
        assert tail == blob.data[max(item.start, item.end - LONGEST_TAIL) : item.end]
    assert reading.position == (reading.items[-1][1] if reading.items else 0)


def test_the_position_is_before_the_comma_and_before_the_closer() -> None:
    data = b'{"records":[' + NSG + b"," + VNET + b"]}"
    positions = [position for _, position, _ in read([data]).items]
    assert [data[position:] for position in positions] == [b"," + VNET + b"]}", b"]}"]


def test_nothing_is_taken_of_a_blob_with_opener_and_closer_only() -> None:
    assert read([b'{"records":[]}']) == Reading([], 0, None)


def test_a_half_record_waits_for_its_other_half() -> None:
    half, other_half = VNET[:30], VNET[30:]
    data = b'{"records":[' + NSG + b"," + half
    reading = read([data])
    assert [item.end for item, _, _ in reading.items] == [reading.position] == [12 + len(NSG)]
    assert reading.unread == Garbled(13 + len(NSG), len(data), Reason.UNREAD, half)
    assert [(item.start, item.end) for item in items_of(data + other_half)] == [
        (12, 12 + len(NSG)),
        (13 + len(NSG), len(data + other_half)),
    ]


@pytest.mark.parametrize(
    "end", [b"", b"]}", b"\r\n]\r\n}\r\n", b"," + b" " * 500, b" ]" + b"\n" * 500 + b"}"]
)
def test_what_is_unread_ends_before_the_separators_after_it(end: bytes) -> None:
    half = b'{"time":"2026'
    assert read([half + end]).unread == Garbled(0, len(half), Reason.UNREAD, half)


def test_a_stretch_that_never_ends_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    data = b'{"time":"' + b"x" * 2500
    reading = read([data])
    assert [(item.start, item.end) for item, _, _ in reading.items] == [(0, 1000), (1000, 2000)]
    assert reading.unread == Garbled(2000, len(data), Reason.UNREAD, data[2000:])


# Spellings


@pytest.mark.parametrize(
    "data",
    [
        NSG,
        b"\xef\xbb\xbf" + NSG,
        b'\xef\xbb\xbf{"records":[' + NSG + b"]}",
        b'{"records":[' + NSG + b",]}",
        b'{"records":[{"records":[' + NSG + b"]}]}",
        b'{"RECORDS" : [\r\n\t' + NSG + b"\r\n] }\r\n",
        b'{"records":[,' + NSG,
        json.dumps({"records": [json.loads(NSG)]}, indent=4).encode(),
    ],
)
def test_wrappers_commas_and_marks_are_no_part_of_a_record(data: bytes) -> None:
    assert json.loads(only_record(data).source) == json.loads(NSG)


@given(plain_records())
def test_key_order_and_key_case_make_no_difference(written: Written) -> None:
    plain = json.dumps(record_document(written.layout, written.groups)).encode()
    assert only_record(plain).groups == [
        group for group in only_record(written.source).groups if group.rule != "UserRule_silent"
    ]


@pytest.mark.parametrize(
    ("version", "grammar"),
    [
        ('"Version":1,', "nsg-v1"),
        ('"Version":2,', "nsg-v2"),
        ('"version":2.0,', "nsg-v2"),
        ('"VERSION":"2",', "nsg-v2"),
        ('"Version":null,', "nsg"),
        ("", "nsg"),
    ],
)
def test_versions_of_nsg_logs(version: str, grammar: str) -> None:
    record = only_record(f'{{"category":"","properties":{{{version}"flows":[]}}}}'.encode())
    assert record.grammar == grammar


@pytest.mark.parametrize(
    "version", ["", '"flowLogVersion":4,', '"flowlogversion":"4",', '"flowLogVersion":4.0,']
)
def test_versions_of_vnet_logs(version: str) -> None:
    assert only_record(f'{{{version}"flowRecords":{{"flows":[]}}}}'.encode()).grammar == "vnet-v4"


NO_VERSIONS = [
    "0",
    '"0_2"',
    '"0_4"',
    '" 2"',
    '"２"',
    '"2e0"',
    '"+2"',
    "3",
    "-1",
    "true",
    '"x"',
    '""',
    "[]",
    "{}",
    "NaN",
    "Infinity",
    "1e999",
    "2.5",
    "9" * 4000,
]


@pytest.mark.parametrize("version", NO_VERSIONS)
def test_unknown_versions_are_refused(version: str) -> None:
    nsg = only_garbled(f'{{"time":"","properties":{{"Version":{version},"flows":[]}}}}'.encode())
    vnet = only_garbled(f'{{"flowLogVersion":{version},"flowRecords":{{"flows":[]}}}}'.encode())
    assert nsg.reason is Reason.NSG_VERSION
    assert vnet.reason is Reason.VNET_VERSION


def test_what_a_record_says_of_itself() -> None:
    nsg, vnet = (
        only_record(NSG),
        only_record(VNET[:-1] + b',"flowLogResourceID":"/F","targetResourceID":"/T"}'),
    )
    assert (nsg.resource_id, nsg.target_id) == ("/N", "/N")
    assert (vnet.resource_id, vnet.target_id) == ("/F", "/T")
    older = only_record(VNET[:-1] + b',"resourceId":"/R"}')
    assert (older.resource_id, older.target_id) == ("/R", "/R")
    silent = only_record(VNET)
    assert (silent.resource_id, silent.target_id) == ("", "")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ('"2026-11-21T05:01:02.1234567Z"', datetime(2026, 11, 21, 5, 1, 2, 123456, tzinfo=UTC)),
        ('"2026-11-21T05:01:02Z"', datetime(2026, 11, 21, 5, 1, 2, tzinfo=UTC)),
        ('"2026-11-21T05:01:02"', datetime(2026, 11, 21, 5, 1, 2, tzinfo=UTC)),
        ('"2026-11-21T07:01:02+02:00"', datetime(2026, 11, 21, 5, 1, 2, tzinfo=UTC)),
        ('"yesterday"', None),
        ('"\\ud800"', None),
        ('""', None),
        ("1700000000", None),
        ("null", None),
        ("{}", None),
        ('"2026-13-01T00:00:00Z"', None),
        ('"0001-01-01T00:00:00+01:00"', None),
        ('"9999-12-31T23:59:59-01:00"', None),
    ],
)
def test_the_time_of_a_record_is_read_or_none(text: str, time: datetime | None) -> None:
    assert only_record(f'{{"time":{text},"flowRecords":{{"flows":[]}}}}'.encode()).time == time


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00Z", "1600-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999Z"]
)
def test_the_last_records_time_is_one_that_a_table_can_hold_and_a_clock_could_show(time: str) -> None:
    """Azure tables begin in 1601; a time far from the blob's hour would stand as the last one forever."""
    counts = BlobCounts()
    for source in (f'{{"time":"{time}","flowRecords":{{"flows":[]}}}}'.encode(), VNET):
        counts.count_record(only_record(source), HOUR, "000D3AF87856", "")
        last = counts.last_record_time
        assert last is None or abs(last - HOUR) < timedelta(days=1)


# What is no record


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", Reason.NO_RECORD),
        (b'{"time":"2026-11-21T05:00:00Z"}', Reason.NO_RECORD),
        (b'{"properties":[]}', Reason.STRUCTURE),
        (b'{"properties":null}', Reason.STRUCTURE),
        (b'{"properties":{}}', Reason.STRUCTURE),
        (b'{"properties":{"flows":{}}}', Reason.STRUCTURE),
        (b'{"properties":{"flows":[1]}}', Reason.STRUCTURE),
        (b'{"properties":{"flows":[{"flows":[]}]}}', Reason.STRUCTURE),
        (
            b'{"properties":{"flows":[{"rule":"r","flows":[{}]}]}}',
            Reason.STRUCTURE,
        ),
        (
            b'{"flowRecords":{"flows":[{"flowGroups":[]}]}}',
            Reason.STRUCTURE,
        ),
        (
            b'{"flowRecords":{"flows":[{"aclID":"a","flowGroups":{}}]}}',
            Reason.STRUCTURE,
        ),
        (b'{"category":"\xff","flowRecords":{"flows":[]}}', Reason.NOT_UTF8),
        (b'{"category":"\xed\xa0\x80","flowRecords":{"flows":[]}}', Reason.NOT_UTF8),
        (b'{"category":"\xc3","flowRecords":{"flows":[]}}', Reason.NOT_UTF8),
    ],
)
def test_whole_json_that_is_no_record_says_why(data: bytes, reason: Reason) -> None:
    assert only_garbled(data) == Garbled(0, len(data), reason, data)


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (VNET[:-2], Reason.NOT_JSON),
        (VNET[:20], Reason.NOT_JSON),
        (b'{"time":1,"TIME":2}', Reason.KEY_TWICE),
        (b'{"time":[{"a":1,"a":1}]}', Reason.KEY_TWICE),
        (b'{"time":"\n"}', Reason.NOT_JSON),
        (b"\x00" * 100, Reason.NOT_JSON),
        (b'{"time":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.NOT_JSON),
        (
            b'{"time":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
            Reason.NOT_JSON,
        ),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b'{"time":' + b"9" * 5000 + b"}", Reason.NOT_JSON),
        (b'{"time":[', Reason.NOT_JSON),
    ],
)
def test_a_garbled_stretch_ends_where_the_next_record_begins(garbage: bytes, reason: Reason) -> None:
    garbled, record = items_of(b'{"records":[' + garbage + b" , \n" + VNET + b"]}")
    assert isinstance(garbled, Garbled)
    assert garbled.reason is reason
    assert (garbled.start, garbled.end) == (12, 12 + len(garbage))
    assert garbled.sample == garbage[:1024]
    assert isinstance(record, Record)
    assert record.source == VNET


@pytest.mark.parametrize(("one", "other"), [("É", "é"), ("Ä", "ä"), ("ſ", "ſ"), ("K", "k"), ("\u212a", "k")])
def test_a_key_that_stands_twice_is_refused_in_every_script(one: str, other: str) -> None:
    data = f'{{"time":"",{json.dumps(one)}:1,"{one}":2,"{other}":3,"flowRecords":{{"flows":[]}}}}'.encode()
    garbled, record = items_of(data + b"," + VNET)
    assert isinstance(garbled, Garbled)
    assert garbled.reason is Reason.KEY_TWICE
    assert isinstance(record, Record)


def test_keys_that_differ_only_beyond_ascii_are_refused_not_raised() -> None:
    data = '{"time":"","É":1,"é":2,"flowRecords":{"flows":[]}}'.encode()
    kinds = [type(item) for item in items_of(data + b"," + VNET)]
    assert kinds[-1] is Record
    assert len(kinds) == 2


def test_only_a_byte_order_mark_is_taken_for_one() -> None:
    """``CF BB BF`` are the capitals of a mark's bytes, read as Latin-1: they are garbled."""
    first, second = items_of(b"\xcf\xbb\xbf" + VNET)
    assert isinstance(first, Garbled)
    assert first.end == 3
    assert isinstance(second, Record)


def test_a_record_inside_a_string_is_text() -> None:
    rule = '{"time":"","properties":{"Version":2,"flows":[]}},'
    document = record_document("nsg-v2", [("", rule, [])])
    assert only_record(json.dumps(document).encode()).groups[0].rule == rule


@pytest.mark.parametrize("depth", [500, 5_000, 9_900, 9_980, *range(9_985, 10_001)])
@pytest.mark.parametrize(
    "template",
    [
        b'{"flowLogVersion":DEEP,"flowRecords":{"flows":[]}}',
        b'{"targetResourceID":DEEP,"flowRecords":{"flows":[]}}',
        '{"category":"é","targetResourceID":DEEP,"flowRecords":{"flows":[]}}'.encode(),
        b'{"flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r","flowTuples":[DEEP]}]}]}}',
    ],
)
def test_nesting_that_can_just_be_decoded_breaks_nothing_later(template: bytes, depth: int) -> None:
    data = template.replace(b"DEEP", b"[" * depth + b"]" * depth) + b"," + VNET
    items = items_of(data)
    assert items[-1].end == len(data)
    counts = BlobCounts()
    for item in items:
        if isinstance(item, Record):
            counts.count_record(item, HOUR, "000D3AF87856", "")


@pytest.mark.parametrize(
    ("template", "attribute"),
    [
        ('{"properties":{"flows":[{"rule":"NAME","flows":[{"flowTuples":["x"]}]}]}}', "rule"),
        (
            '{"flowRecords":{"flows":[{"aclID":"","flowGroups":[{"rule":"NAME","flowTuples":["x"]}]}]}}',
            "rule",
        ),
        (
            '{"flowRecords":{"flows":[{"aclID":"NAME","flowGroups":[{"rule":"","flowTuples":["x"]}]}]}}',
            "acl_group",
        ),
    ],
)
def test_a_name_that_is_too_long_ends_in_a_digest_and_costs_nothing(template: str, attribute: str) -> None:
    def name_as_read(name: str) -> str:
        (group,) = only_record(template.replace("NAME", name).encode()).groups
        assert group.tuples == ["x"]
        return str(getattr(group, attribute))

    longest = "é" * 1024
    assert name_as_read(longest) == longest
    read = [name_as_read(longest + more) for more in ("é", "ü", "x" * 100_000)]
    assert len({*read}) == 3
    assert {name[:991] for name in read} == {longest[:991]}
    assert {len(name) for name in read} == {1024}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("\\ud83d\\ude00", "\U0001f600"),  # a pair is a character
        ("\\ud83d", "\\ud83d"),
        ("a\\udfffé", "a\\udfffé"),
    ],
)
def test_half_a_character_in_a_name_stands_as_json_writes_it(written: str, name: str) -> None:
    data = f'{{"properties":{{"flows":[{{"rule":"{written}","flows":[{{"flowTuples":[]}}]}}]}}}}'
    assert [group.rule for group in only_record(data.encode()).groups] == [name]


# What tables can hold

UNFIT = {
    "a lone surrogate": "\\ud800",
    "a surrogate pair upside down": "\\ude00\\ud83d",
    "NUL and control characters": "\\u0000\\u0001\\u001b[31m\\u007f\\u009f",
    "100,000 characters": "x" * 100_000,
    "100,000 beyond the basic plane": "\\ud83d\\ude00" * 100_000,
}


def texts_to_store(item: Item, counts: BlobCounts) -> Iterator[str]:
    """What of an item becomes a string column of some table."""
    rejects: list[Reject]
    if isinstance(item, Garbled):
        rejects = [reject_garbled(item)]
    else:
        rejects = counts.count_record(item, HOUR, "000D3AF87856", "")
        yield item.resource_id
        yield item.target_id
        for group in item.groups:
            yield group.rule
            yield group.acl_group
    for reject in rejects:
        yield reject.reason
        yield reject.sample


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
@pytest.mark.parametrize(
    "template",
    [
        '{"properties":{"flows":[{"rule":"UNFIT","flows":[{"mac":"","flowTuples":["x"]}]}]}}',
        '{"flowRecords":{"flows":[{"aclID":"UNFIT","flowGroups":[{"rule":"","flowTuples":["x"]}]}]}}',
        '{"flowRecords":{"flows":[{"aclID":"","flowGroups":[{"rule":"UNFIT","flowTuples":["x"]}]}]}}',
        '{"flowRecords":{"flows":[{"aclID":"","flowGroups":[{"rule":"","flowTuples":["UNFIT"]}]}]}}',
        '{"flowRecords":{"flows":[{"aclID":"","flowGroups":[{"rule":"","flowTuples":[["UNFIT"]]}]}]}}',
        '{"resourceId":"UNFIT","properties":{"flows":[]}}',
        '{"resourceId":{"a":"UNFIT"},"properties":{"flows":[]}}',
        '{"flowLogResourceID":"UNFIT","flowRecords":{"flows":[]}}',
        '{"targetResourceID":"UNFIT","flowRecords":{"flows":[]}}',
        '{"flowLogVersion":"UNFIT","flowRecords":{"flows":[]}}',
        '{"properties":{"Version":["UNFIT"],"flows":[]}}',
        '{"time":"UNFIT","flowRecords":{"flows":[]}}',
        '{"category":"UNFIT"}',
    ],
)
def test_whatever_a_record_says_tables_can_hold_what_is_made_of_it(template: str, unfit: str) -> None:
    """A string property is at most 64 KiB of UTF-16, and travels as UTF-8."""
    for item in items_of(template.replace("UNFIT", unfit).encode()):
        for text in texts_to_store(item, BlobCounts()):
            assert text.isascii() or text.encode("utf-8")
            assert len(text.encode("utf-16-le")) <= 64 * 1024


# Effort, by counting


BROKEN = {
    "good records": VNET + b",",
    "objects that are no records": b'{"foo":{}},',
    "records cut off in an object": VNET[:-2] + b",",
    "records cut off in a string": b'{"category":{},"time":"',
    "records cut off in an array": b'{"time":[{"a":1},',
    "garbage": b"}{,",
}


@pytest.mark.parametrize("piece", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("whole", [True, False])
def test_every_object_is_decoded_only_a_few_times(
    monkeypatch: pytest.MonkeyPatch, piece: bytes, whole: bool
) -> None:
    decoded = 0

    def count(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal decoded
        decoded += 1
        return {key.lower(): value for key, value in pairs}

    monkeypatch.setattr(records, "DECODER", json.JSONDecoder(object_pairs_hook=count))
    data = piece * 400 + VNET
    pieces = [data] if whole else [data[at : at + 64] for at in range(0, len(data), 64)]
    reading = read(pieces, waits=[True] * len(pieces))
    assert sum(isinstance(item, Record) for item, _, _ in reading.items) in {1, 401}
    assert decoded <= 6 * data.count(b"{")


class CountingSearch:
    """A pattern that counts how many characters it was made to look at."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.looked_at = pattern, 0

    def search(self, text: str, start: int = 0, end: int = sys.maxsize) -> re.Match[str] | None:
        found = self.pattern.search(text, start, end)
        self.looked_at += max((found.end() if found else min(end, len(text))) - start, 0)
        return found


@pytest.mark.parametrize("piece", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("end", [b"", VNET])
@pytest.mark.parametrize("whole", [True, False])
def test_every_byte_is_searched_only_a_few_times(
    monkeypatch: pytest.MonkeyPatch, piece: bytes, end: bytes, whole: bool
) -> None:
    """Objects of a kind that nobody knows yet must not stop a blob from being passed."""
    search = CountingSearch(records.RECORD_START)
    monkeypatch.setattr(records, "RECORD_START", search)
    data = piece * 400 + end
    pieces = [data] if whole else [data[at : at + 64] for at in range(0, len(data), 64)]
    read(pieces, waits=[True] * len(pieces))
    assert search.looked_at <= 6 * len(data)


def test_position_and_items_belong_together_when_a_caller_stops_in_the_middle() -> None:
    """A caller that doesn't take all items of a stretch finds the reader where it left it."""
    reader = RecordReader()
    data = b'{"records":[' + NSG + b"," + VNET
    first = next(reader.feed(data))
    second = next(reader.feed(b""))
    assert (first.start, second.start) == (12, 13 + len(NSG))


@pytest.mark.parametrize("depth", [10, 1000])
def test_prefixes_of_a_deep_record_are_unread(depth: int) -> None:
    assert items_of(b'{"time":' + b"[" * depth) == []


def test_neighbours_do_not_overlap() -> None:
    items = items_of(NSG + b"x" + VNET + b"y" + NSG)
    assert [type(item) for item in items] == [Record, Garbled, Record, Garbled, Record]
    assert all(one.end <= other.start for one, other in pairwise(items))

"""One blob's entry: columns that an entity can hold, and the same entry back from them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.entities import from_chunks, to_chunks
from shared.errors import MalformedInput
from shared.flowlog.blob_name import parse_blob_name
from shared.flowlog.reasons import Reason
from shared.flowlog.rejects import Reject, RejectCounts
from shared.flowlog.tuples import INT64_MAX
from shared.ledger.entry import READABLE, SCHEMA, Entry, from_columns, partition_of, to_columns
from shared.tally.packing import COUNTS_BYTES, pack
from shared.tally.states import States
from shared.times import hour_key
from tests.strategies import Written, hour_records, plain
from tests.test_hour_counts import counted

NAME = (
    "resourceId=/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/WEB"
    "/y=2026/m=11/d=21/h=05/m=00/macAddress=000D3AF87856/PT1H.json"
)

int64 = st.integers(0, INT64_MAX)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
entries = st.builds(
    Entry,
    blob_name=st.text(),
    offset=int64,
    head=st.binary(max_size=16),
    tail=st.binary(max_size=64),
    blob_created=st.none() | times,
    blob_etag=st.text(),
    records=int64,
    tuples=int64,
    states=st.builds(States, int64, int64, int64, int64),
    malformed=int64,
    garbled_bytes=int64,
    unread_bytes=int64,
    last_record_time=st.none() | times,
    tuples_before=int64,
    tuples_after=int64,
    rewrites=int64,
    resource_id=st.text(),
    target_id=st.text(),
    rejects=st.binary(max_size=100),
    packed=st.binary(max_size=100) | st.integers(0, COUNTS_BYTES).map(lambda size: b"\x07" * size),
)


@given(entries)
@settings(deadline=None)
def test_what_goes_into_columns_comes_back(entry: Entry) -> None:
    assert from_columns(to_columns(entry, "p", "account")) == entry


@given(entries, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_columns_come_back_from_a_table_in_any_order_and_without_those_that_are_none(
    entry: Entry, random: Any
) -> None:
    columns = [(name, value) for name, value in to_columns(entry, "p", "a").items() if value is not None]
    random.shuffle(columns)
    assert from_columns({**dict(columns), "Timestamp": "", "odata.etag": ""}) == entry


@given(st.integers(0, COUNTS_BYTES), st.binary(min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_packed_counts_are_cut_into_columns_that_fit(length: int, pattern: bytes) -> None:
    packed = (pattern * (length // len(pattern) + 1))[:length]
    chunks = to_chunks(packed)
    assert from_chunks(chunks) == packed
    assert all(0 < len(chunk) <= 60 * 1024 for chunk in chunks.values())
    assert [*chunks] == sorted(chunks)
    assert len(chunks) <= 11


@given(hour_records())
@settings(max_examples=40, deadline=None)
def test_the_counts_of_an_entry_are_those_that_it_was_made_of(written: list[Written]) -> None:
    counts = counted(written)
    entry = Entry(
        NAME,
        records=counts.records,
        tuples=counts.tuples,
        states=States(*counts.states),
        malformed=counts.malformed,
        garbled_bytes=7 + 5,
        unread_bytes=5,
        last_record_time=counts.last_record_time,
        packed=pack(counts.shares),
    )
    back = entry.counts()
    assert plain(back.shares) == plain(counts.shares)
    assert (back.records, back.tuples, back.malformed) == (counts.records, counts.tuples, counts.malformed)
    assert back.states == counts.states
    assert (back.last_record_time, back.garbled_bytes) == (counts.last_record_time, 7)
    for share in back.shares.values():  # objects of their own
        share.traffic.clear()
    assert plain(entry.counts().shares) == plain(counts.shares)


def test_a_new_entry_has_no_counts() -> None:
    assert Entry(NAME).counts().shares == {}


@pytest.mark.parametrize("schema", [0, SCHEMA + 1])
def test_an_entity_of_another_version_is_refused_with_what_to_do(schema: object) -> None:
    columns = to_columns(Entry(NAME), "the~partition", "account") | {"SchemaVersion": schema}
    with pytest.raises(
        MalformedInput, match=r"the~partition is of schema version .*knows version 1: update it"
    ):
        from_columns(columns)


@pytest.mark.parametrize("schema", ["1", True, None])
def test_an_entity_without_a_version_is_no_entry(schema: object) -> None:
    columns = to_columns(Entry(NAME), "the~partition", "account") | {"SchemaVersion": schema}
    with pytest.raises(MalformedInput, match="row the~partition / account of table flowledger can't be used"):
        from_columns(columns)


def test_an_entity_without_a_column_is_refused_with_its_name() -> None:
    columns = to_columns(Entry(NAME), "the~partition", "account")
    for missing in READABLE:
        if missing in {"PartitionKey", "RowKey", "LastRecordTime", "BlobCreated", "Head", "Tail"}:
            continue
        with pytest.raises(MalformedInput, match="the~partition"):
            from_columns({name: value for name, value in columns.items() if name != missing})


def test_the_columns_of_the_contract_are_there() -> None:
    columns = to_columns(Entry(NAME, last_record_time=datetime(2026, 11, 21, tzinfo=UTC)), "p", "account")
    assert columns["PartitionKey"] == "p"
    assert columns["RowKey"] == "account"
    assert columns.keys() >= {
        *("BlobName", "Offset", "Records", "Tuples", "Malformed", "GarbledBytes"),
        *("LastRecordTime", "BlobETag", "SchemaVersion"),
    }


def test_the_readable_columns_are_all_but_the_counts_and_rejects() -> None:
    """Head and tail are among them: by these a blob is read on without its entry."""
    columns = to_columns(Entry(NAME, packed=b"x" * 100_000), "p", "account")
    short = {name for name, value in columns.items() if not isinstance(value, bytes)}
    assert set(READABLE) == short | {"Head", "Tail"}
    assert from_columns({name: columns[name] for name in READABLE}) == Entry(NAME)


def test_partitions_are_scope_hour_and_mac() -> None:
    assert partition_of(parse_blob_name(NAME)) == "nsg~s~r~web~2026112105~000D3AF87856"
    assert hour_key(datetime(2026, 1, 2, 3, tzinfo=UTC)) == "2026010203"


@pytest.mark.parametrize(
    "changed",
    [
        {"malformed": 4},
        {"garbled_bytes": 8},
        {"unread_bytes": 1},
        {"rejects": b""},
        {"rejects": b"\x01\x00"},
    ],
)
def test_rejects_that_are_not_what_the_columns_say_are_refused(changed: dict[str, Any]) -> None:
    rejects = RejectCounts()
    rejects.add([Reject(5, 9, Reason.PORT, 3, "a"), Reject(20, 27, Reason.NOT_JSON, 0, "b")])
    entry = Entry(NAME, malformed=3, garbled_bytes=17, unread_bytes=10, rejects=rejects.pack())
    assert entry.reject_counts() == rejects
    with pytest.raises(MalformedInput, match=r"the ledger's entity of .*PT1H\.json is damaged: "):
        replace(entry, **changed).reject_counts()

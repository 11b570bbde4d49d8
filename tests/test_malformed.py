"""What can't be counted is kept, with place and reason; the rest is counted exactly; nothing stops."""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from shared.flowlog.reasons import Reason
from shared.flowlog.rejects import ReasonCount, RejectCounts
from shared.ingest import Ingested, ingest
from tests import naive
from tests.system import (
    EVENING,
    HOUR,
    Rows,
    Stores,
    assert_views_say,
    blob_of,
    flow,
    host,
    named_rows,
    record,
    results,
    results_of_one_pass,
    rows_of,
    without_zeros,
)
from tools.network_watcher import OPENER, Nic, demo_nics

WEB, OTHER = Nic("nsg-v2", "000D3A000002", "nsg-web"), Nic("nsg-v2", "000D3A000003", "nsg-data")
VNET = demo_nics(1)[0]
GOOD = record(EVENING, flow(EVENING), flow(EVENING, port=80))
LARGEST = 2**63 - 1


def count(stores: Stores, data: bytes, nic: Nic = WEB) -> dict[str, Any]:
    """Write a blob, count it, and see that a second call has nothing to do; gives the ledger's columns."""
    blob = stores.put(nic, EVENING, data)
    ingest(blob, stores.flow_logs, stores.ledger)
    before = results(stores)
    with host(stores.connection_string) as again:
        assert ingest(blob, again.flow_logs, again.ledger) == Ingested()
        assert again.sweep(EVENING, EVENING).behind == 0
    assert results(stores) == before
    return entry_of(stores, nic)


def entry_of(stores: Stores, nic: Nic = WEB) -> dict[str, Any]:
    (entry,) = [row for key, row in rows_of(stores, "flowledger").items() if key[0].endswith(nic.mac)]
    return entry


def rejects_of(stores: Stores, nic: Nic = WEB) -> dict[Reason, ReasonCount]:
    """What the ledger's entity says was rejected."""
    return RejectCounts.unpack(entry_of(stores, nic)["Rejects"]).by_reason


def figures(entry: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return entry["Records"], entry["Tuples"], entry["Malformed"], entry["GarbledBytes"]


# Tuples


def spoiled(good: str) -> Iterator[tuple[str, str]]:
    """A tuple of version 2 or 4, spoiled in every way; with the reason."""
    fields = good.split(",")

    def changed(place: int, value: str) -> str:
        return ",".join([*fields[:place], value, *fields[place + 1 :]])

    yield from ((",".join(fields[:-1]), "fields"), (good + ",", "fields"), ("", "fields"))
    for time in ("17934876000", "1793487", "yesterday", "\uff11" * 10, "-793487600"):
        yield changed(0, time), "digits"
    for hours in (-2, 3, 24 * 365):
        yield changed(0, str(int((EVENING + hours * HOUR).timestamp()))), "hour"
    for place in (1, 2):
        for address in ("10.0.0", "10.0.0.256", "localhost", "fe80::1%eth0", ""):
            yield changed(place, address), "address"
    for place in (3, 4):
        for port in ("65536", "-1", "http", "", "1.5", "٤٤٣"):
            yield changed(place, port), "port"
    yield from ((changed(5, given), "protocol") for given in ("256", "X", "", "-6", "1000"))
    yield from ((changed(6, given), "direction") for given in ("X", "", "i", "IO"))
    yield from ((changed(7, given), "decision" if "T" in fields else "state") for given in ("X", "", "AD"))
    yield from ((changed(8, given), "state" if "T" in fields else "encryption") for given in ("X!", "", "nx"))
    for place in (9, 10, 11, 12):
        for counter in (str(2**63), str(10**30), "-1", "1.0", "1e3", "one"):
            yield changed(place, counter), "64-bit"
        yield changed(place, ""), "missing"


CONTINUING = flow(EVENING, state="C", counters="1,2,3,4")
CONTINUING_V4 = f"{int(EVENING.timestamp())}000,192.0.2.1,10.0.0.4,50000,443,6,I,C,NX,1,2,3,4"


def vnet_record(*tuples: object, rule: str = "UserRule_web", acl: str = "unspecified") -> bytes:
    groups = [{"rule": rule, "flowTuples": tuples}]
    return json.dumps(
        {
            "time": f"{EVENING:%Y-%m-%dT%H:%M:%S}Z",
            "flowLogVersion": 4,
            "category": "FlowLogFlowEvent",
            "flowRecords": {"flows": [{"aclID": acl, "flowGroups": groups}]},
        }
    ).encode()


@pytest.mark.parametrize(
    ("nic", "good", "make"), [(WEB, CONTINUING, record), (VNET, CONTINUING_V4, vnet_record)], ids=["v2", "v4"]
)
def test_every_kind_of_bad_tuple_is_kept_with_its_reason_and_its_place(
    stores: Stores, nic: Nic, good: str, make: Any
) -> None:
    every = [*spoiled(good)]
    when = [EVENING] if make is record else []
    data = blob_of(*(make(*when, good, text, good) for text, _ in every))
    entry = count(stores, data, nic)
    assert figures(entry) == (len(every), 2 * len(every), len(every), 0)
    rejects = rejects_of(stores, nic)
    texts: dict[Reason, list[str]] = {}
    for text, why in every:
        (reason,) = [reason for reason in rejects if why in reason.value]
        texts.setdefault(reason, []).append(text)
    assert texts.keys() == rejects.keys()
    for reason, kept in rejects.items():
        first = texts[reason][0]
        assert (kept.count, kept.garbled_bytes, kept.sample) == (len(texts[reason]), 0, first)
        assert data[kept.start : kept.end].decode() == first
        assert kept.start == data.index(f'"{first}"'.encode()) + 1
    stores.rollup()
    (total,) = named_rows(stores, "nics")
    assert (total["Tuples"], total["BytesDestToSrc"]) == (2 * len(every), 8 * len(every))


@pytest.mark.parametrize("element", [None, 7, 1.5, True, [], ["a"], {}, {"a": 1}, 10**400, [[[[[]]]]] * 9])
def test_an_element_that_is_no_text_is_one_bad_tuple(stores: Stores, element: object) -> None:
    data = blob_of(record(EVENING, flow(EVENING), element, flow(EVENING)))
    assert figures(count(stores, data)) == (1, 2, 1, 0)
    (kept,) = rejects_of(stores).values()
    assert kept.count == 1
    assert json.loads(data[kept.start : kept.end]) == element


def test_many_bad_tuples_are_counted_by_reason(stores: Stores) -> None:
    many = ["?"] * 500 + [flow(EVENING, port=70_000)] * 300 + [flow(EVENING)] * 200
    data = blob_of(record(EVENING, *many), record(EVENING, *many))
    assert figures(count(stores, data)) == (2, 400, 1600, 0)
    assert sorted(kept.count for kept in rejects_of(stores).values()) == [600, 1000]


def test_garbage_of_many_small_pieces_is_one_update(stores: Stores) -> None:
    """However many rejects there are: each adds to a count, and none is a row of its own."""
    data = blob_of(GOOD, *[b"{}"] * 60_000, GOOD)
    blob = stores.put(WEB, EVENING, data)
    assert ingest(blob, stores.flow_logs, stores.ledger).updates == 1
    assert figures(entry_of(stores)) == (2, 4, 0, 120_000)
    (kept,) = rejects_of(stores).values()
    assert (kept.count, kept.garbled_bytes, kept.sample) == (60_000, 120_000, "{}")
    assert data[kept.start : kept.end] == b"{}"


def test_a_warning_names_the_blob_and_the_reason(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    data = blob_of(GOOD, record(EVENING, flow(EVENING), "?"))
    with caplog.at_level(logging.WARNING):
        stores.put(WEB, EVENING, data)
        stores.sweep()
    (message,) = [entry.getMessage() for entry in caplog.records if entry.name.startswith("shared")]
    assert WEB.blob_name(EVENING) in message
    assert (
        f"1 tuples rejected and 0 bytes garbled from byte 0 to {len(data) - 2}: wrong number of fields"
        in message
    )


def test_each_reason_is_warned_of_once_in_a_blob(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    """Where a log's format has changed, each update rejects something. It is counted, not said each time."""
    parts = [record(EVENING, flow(EVENING), "?"), record(EVENING, "?", "?"), b"garbage", record(EVENING, "?")]
    with caplog.at_level(logging.WARNING):
        for end in range(1, len(parts) + 1):
            stores.put(WEB, EVENING, blob_of(*parts[:end]))
            stores.sweep()
    messages = [entry.getMessage() for entry in caplog.records if entry.name.startswith("shared")]
    assert ["wrong number of fields" in message for message in messages] == [True, False]
    assert sorted(kept.count for kept in rejects_of(stores).values()) == [1, 4]


# Stretches that are no records

CUT_OFF = GOOD[:100]
STRETCHES = {
    "bytes": bytes(range(0x80, 0x100)) * 3,
    "text": b"-- the quick brown fox --",
    "cut off": CUT_OFF,
    "cut off in a text": GOOD[: GOOD.index(b"50000") + 2],
    "zeros": bytes(1000),
    "brackets": b"[[[[{{{{",
    "not UTF-8": GOOD.replace(b"UserRule_web", b"\xff\xfe"),
    "a key twice": GOOD.replace(b'"category"', b'"time"'),
    "no structure": b'{"time":"2026-10-31T23:00:00Z","properties":7}',
    "no tuples": b'{"time":"2026","properties":{"Version":2,"flows":[{"rule":"a","flows":[{}]}]}}',
    "no such version": GOOD.replace(b'"Version":2', b'"Version":3'),
    "another document": b'{"time":"2026-10-31T23:00:00Z","message":"hello"}',
    "a number": b"42",
    "too deep": b'{"time":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("stretch", STRETCHES.values(), ids=STRETCHES)
def test_a_garbled_stretch_costs_itself_and_nothing_else(stores: Stores, stretch: bytes) -> None:
    data = blob_of(GOOD, stretch, GOOD, GOOD)
    entry = count(stores, data)
    assert figures(entry) == (3, 6, 0, len(stretch))
    (kept,) = rejects_of(stores).values()
    assert data[kept.start : kept.end] == stretch
    assert (kept.count, kept.garbled_bytes) == (1, len(stretch))


def test_all_of_them_in_one_blob(stores: Stores) -> None:
    items = [item for number, each in enumerate(STRETCHES.values(), 1) for item in (each, goods(number))]
    entry = count(stores, blob_of(GOOD, *items))
    assert figures(entry) == (len(items) // 2 + 1, len(items) + 2, 0, sum(map(len, STRETCHES.values())))
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs(), STRETCHES.values()))


def goods(number: int) -> bytes:
    """A record unlike others."""
    return record(
        EVENING + timedelta(seconds=number), flow(EVENING, port=number), flow(EVENING, port=number + 100)
    )


@pytest.mark.parametrize("stretch", STRETCHES.values(), ids=STRETCHES)
def test_at_the_end_too_and_again_when_the_blob_has_grown(stores: Stores, stretch: bytes) -> None:
    first = count(stores, blob_of(GOOD, stretch))
    assert figures(first)[:3] == (1, 2, 0)
    assert first["GarbledBytes"] > 0
    passed = [kept.start for kept in rejects_of(stores).values()]
    assert passed == ([] if first["UnreadBytes"] else [len(OPENER + GOOD) + 1])
    entry = count(stores, blob_of(GOOD, stretch, GOOD))
    assert figures(entry) == (2, 4, 0, len(stretch))
    (kept,) = rejects_of(stores).values()
    assert (kept.start, kept.end - kept.start) == (len(OPENER + GOOD) + 1, len(stretch))


# Blobs that are odd as a whole

PRETTY = json.dumps({"records": [json.loads(GOOD)] * 2}, indent=4).replace("\n", "\r\n").encode()
ODD = {
    "empty": (b"", None),
    "opener and closer": (blob_of(), (0, 0, 0, 0)),
    "opener only": (OPENER, (0, 0, 0, 0)),
    "white space": (b" \r\n\t ", (0, 0, 0, 0)),
    "byte-order mark": (b"\xef\xbb\xbf" + blob_of(GOOD), (1, 2, 0, 0)),
    "pretty-printed": (PRETTY, (2, 4, 0, 0)),
    "pretty-printed with a mark": (b"\xef\xbb\xbf" + PRETTY, (2, 4, 0, 0)),
    "nested wrapper": (b'{"records":[' + blob_of(GOOD, GOOD) + b"]}", (2, 4, 0, 0)),
    "bare record": (GOOD, (1, 2, 0, 0)),
    "records without a wrapper": (GOOD + b"\n" + GOOD, (2, 4, 0, 0)),
    "trailing comma": (blob_of(GOOD, b""), (1, 2, 0, 0)),
    "not closed": (OPENER + GOOD, (1, 2, 0, 0)),
    "no JSON": (b"<html>not found</html>", (0, 0, 0, 22)),
    "another JSON": (b'{"hello":"world"}', (0, 0, 0, 17)),
    "an array": (b"[1,2,3]", None),
    "zeros": (bytes(5000), (0, 0, 0, 5000)),
}


@pytest.mark.parametrize(("data", "wanted"), ODD.values(), ids=ODD)
def test_an_odd_blob(stores: Stores, data: bytes, wanted: tuple[int, int, int, int] | None) -> None:
    entry = count(stores, data)
    assert wanted is None or figures(entry) == wanted
    rejects = RejectCounts.unpack(entry["Rejects"])
    assert rejects.tuples == entry["Malformed"]
    assert rejects.garbled_bytes == entry["GarbledBytes"] - entry["UnreadBytes"]
    stores.put(OTHER, EVENING, blob_of(GOOD))
    stores.sweep()
    stores.rollup()
    assert entry_of(stores, OTHER)["Tuples"] == 2


@pytest.mark.parametrize("data", [data for data, wanted in ODD.values() if wanted and wanted[1]])
def test_an_odd_blob_in_two_updates(stores: Stores, data: bytes) -> None:
    """Cut anywhere: what is not whole yet is read again later."""
    blob = stores.put(WEB, EVENING, data)
    for end in range(40, len(data), 101):
        stores.put(WEB, EVENING, data[:end])
        ingest(blob, stores.flow_logs, stores.ledger)
    stores.put(WEB, EVENING, data)
    stores.sweep()
    grown = results(stores)
    one_pass = results_of_one_pass(stores)
    assert {row["Rejects"] for row in (*grown.ledger.values(), *one_pass.ledger.values())} == {b""}
    assert figures(*grown.ledger.values()) == figures(*one_pass.ledger.values())


# Blobs that don't only grow

REWRITTEN = {
    "shorter": (blob_of(GOOD, GOOD, GOOD), blob_of(record(EVENING, flow(EVENING, port=22)))),
    "longer": (blob_of(GOOD), blob_of(*[record(EVENING, flow(EVENING, port=22))] * 9)),
    "of the same length": (
        blob_of(record(EVENING, flow(EVENING, port=443), "?")),
        blob_of(record(EVENING, "?", flow(EVENING, port=222))),
    ),
    "to nothing": (blob_of(GOOD, b"garbled", GOOD), b""),
    "to no records": (blob_of(record(EVENING, flow(EVENING), "?"), GOOD), blob_of()),
    "from no JSON": (b"no JSON at all", blob_of(GOOD)),
    "to no JSON": (blob_of(GOOD, GOOD), b"no JSON at all"),
    "with other rejects": (
        blob_of(record(EVENING, "?", "??")),
        blob_of(GOOD, record(EVENING, "???"), b"#", GOOD),
    ),
}


@pytest.mark.parametrize(("first", "second"), REWRITTEN.values(), ids=REWRITTEN)
def test_a_blob_that_is_rewritten_is_counted_afresh(
    stores: Stores, other_host: Stores, first: bytes, second: bytes
) -> None:
    blob = stores.put(WEB, EVENING, first)
    ingest(blob, stores.flow_logs, stores.ledger)
    stores.rollup()
    stores.put(WEB, EVENING, second)
    ingest(blob, other_host.flow_logs, other_host.ledger)
    stores.rollup()
    entry = entry_of(stores)
    got, rejects = figures(entry), entry["Rejects"]
    shown = but_health(results(stores).stats)
    if second:
        wanted = results_of_one_pass(stores)
        assert got == figures(*wanted.ledger.values())
        assert [rejects] == [row["Rejects"] for row in wanted.ledger.values()]
        assert shown == but_health(wanted.stats)
    else:
        assert (got, rejects, shown) == ((0, 0, 0, 0), b"", {})


def but_health(stats: Rows) -> Rows:
    """What rows of all other views say that have more than zeros."""
    return {key: row for key, row in without_zeros(stats).items() if row["View"] != "health"}


def test_a_blob_that_is_deleted_stays_counted_and_one_made_anew_is_counted_afresh(stores: Stores) -> None:
    blob = stores.put(WEB, EVENING, blob_of(GOOD, GOOD))
    client = stores.flow_logs.service.get_blob_client(WEB.container, blob.name)
    ingest(blob, stores.flow_logs, stores.ledger)
    client.delete_blob()
    assert ingest(blob, stores.flow_logs, stores.ledger) == Ingested()
    assert stores.sweep().listed == 0
    assert figures(entry_of(stores)) == (2, 4, 0, 0)
    stores.put(WEB, EVENING, blob_of(record(EVENING + timedelta(seconds=1), flow(EVENING))))
    stores.sweep()
    assert figures(entry_of(stores)) == (1, 1, 0, 0)


def test_an_event_of_a_blob_that_was_never_there(stores: Stores) -> None:
    blob = stores.put(WEB, EVENING, b"")
    stores.flow_logs.service.get_blob_client(WEB.container, blob.name).delete_blob()
    assert ingest(blob, stores.flow_logs, stores.ledger) == Ingested()
    assert rows_of(stores, "flowledger") == {}


# Values that no table likes

NAMES = {
    "control characters": "a\x00b\x01\n\r\t\x1f\x7f\x85",
    "quotes": "'\"`'' or 1 eq 1 --",
    "key breakers": "a/b\\c#d?e%f+g~h!i",
    "long": "x" * 1000,
    "long and wide": "\U0001f600" * 500,
    "emoji": "\U0001f600 \u202e rule",
    "half a character": "a\ud800b",
    "half a character behind": "\udfff",
    "empty": "",
    "spaces": "  ",
    "far too long": "y" * 100_000,
}
ALTERED = {"far too long", "half a character", "half a character behind"}


@pytest.mark.parametrize("where", ["rule", "acl", "resourceId", "time", "tuple"])
def test_no_text_wedges_the_pipeline(stores: Stores, where: str) -> None:
    """The record counts, and the records beside it, later ones and other blobs go on."""
    counted, rules = 0, set()
    for number, (what, name) in enumerate(NAMES.items()):
        nic, good = Nic("nsg-v2", f"{number:012d}", "nsg-web"), GOOD
        if where == "acl":
            nic, good = Nic("vnet-v4", nic.mac, "flowlog-hub"), vnet_record(CONTINUING_V4, CONTINUING_V4)
            odd = vnet_record(CONTINUING_V4, acl=name)
        elif where == "tuple":
            odd = record(EVENING, flow(EVENING), name)
        else:
            odd = record(EVENING, flow(EVENING), **{where: name})
        count(stores, blob_of(good, odd), nic)
        entry = count(stores, blob_of(good, odd, good), nic)
        assert figures(entry) == (3, 5, int(where == "tuple"), 0), what
        counted += entry["Tuples"]
        rules |= {name} if where == "rule" and what not in ALTERED else set()
    stores.rollup()
    shown = named_rows(stores, "rules", "day")
    assert sum(row["Tuples"] for row in shown) == counted
    assert {row["AclRule"] for row in shown} >= rules


@pytest.mark.parametrize(
    "time",
    [
        *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1500-06-01T00:00:00Z", "yesterday", ""),
        *("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.9999999Z", "2026-10-31", None, 7, ["2026"]),
        "2026-10-31T23:00:00",
    ],
)
def test_no_time_of_a_record_wedges_the_pipeline(stores: Stores, time: object) -> None:
    entry = count(stores, blob_of(GOOD, record(EVENING, flow(EVENING), time=time), GOOD))
    assert figures(entry) == (3, 5, 0, 0)
    stores.rollup()
    health = rows_of(stores, "flowstats")["all~nsg~health~hour", f"{EVENING:%Y%m%d%H%M}~total"]
    assert abs(health["LastRecordTime"] - EVENING) < timedelta(days=1)
    assert len([*stores.ledger.entries(next(stores.ledger.scopes()), EVENING, EVENING)]) == 1


def test_sums_beyond_64_bits_stay_at_the_largest_number(stores: Stores) -> None:
    most = ",".join([str(LARGEST)] * 4)
    for nic in (WEB, Nic("nsg-v2", "000D3A00000F", WEB.group)):
        for hour in (EVENING - HOUR, EVENING):
            many = [flow(hour, state="C", counters=most, port=port % 3) for port in range(9)]
            stores.put(nic, hour, blob_of(*[record(hour, *many)] * 3))
    stores.sweep()
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))
    stores.rollup()


def test_more_keys_than_an_entity_holds_are_fewer_keys_and_not_a_failure(stores: Stores) -> None:
    """Long names, every key another one: the entity's limit costs keys, never totals."""
    when = EVENING + timedelta(minutes=1)
    items = [
        record(
            when,
            *(flow(when, source=f"198.18.{part}.{host}", decision="D", port=host) for host in range(40)),
            rule=f"{part:04d}" + "r" * 900,
        )
        for part in range(60)
    ]
    count(stores, blob_of(*items))
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()), exact=False)

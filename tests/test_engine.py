"""The engine counts what the reference counts, for any bytes, cut anywhere: to the byte where no family drops
keys; beyond, everything but the families to the byte, and those within the laws of ``heavy_hitters``.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog import batches
from shared.flowlog.blob_name import parse_blob_name
from shared.flowlog.records import Garbled, Record, RecordReader
from shared.flowlog.rejects import Reject, reject_garbled
from shared.flowlog.restarts import Restarts
from shared.flowlog.texts import LONGEST, Addresses, Texts
from shared.flowlog.tuples import canonical
from shared.tally import blob_counter, keys
from shared.tally.blob_counter import BlobCounter
from shared.tally.families import FAMILIES
from shared.tally.hour_counts import BlobCounts, HourCounts
from shared.tally.measures import MEASURES, PLAIN, no_figures
from shared.tally.packing import pack, unpack
from tests import naive
from tests.strategies import assert_laws, figures_by_key, shrink_families, summed, traffic_of
from tools.network_watcher import Format, Nic, hour_of, whole_blob
from tools.network_watcher.hours import Dials

HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR_S = int(HOUR.timestamp())
FORMATS: tuple[Format, ...] = ("nsg-v1", "nsg-v2", "vnet-v4")


@dataclass
class State:
    """All that is known after some bytes."""

    position: int
    tail: bytes
    unread: Garbled | None
    counters: tuple[object, ...]
    ids: tuple[str, str]
    rejects: list[Reject]
    restarts: Restarts
    shares: dict[int, HourCounts] = field(compare=False)


def by_reference(pieces: Sequence[bytes]) -> State:
    """What the reference makes of these pieces, fed one after another."""
    counts, reader = BlobCounts(), RecordReader()
    rejects: list[Reject] = []
    ids = ["", ""]
    for piece in pieces:
        for item in reader.feed(piece):
            if isinstance(item, Record):
                rejects += counts.count_record(item, HOUR, "000D3AF87856", "acl")
                counts.settle()
                ids = [item.resource_id or ids[0], item.target_id or ids[1]]
            else:
                rejects.append(reject_garbled(item))
                counts.garbled_bytes += item.end - item.start
    return _state(counts, reader, rejects, (ids[0], ids[1]))


def by_engine(
    pieces: Sequence[bytes], *, reload_after: Sequence[bool] = (), last: bool = True, acl: str = "acl"
) -> State:
    """What the engine makes of them; where it is to be reloaded, the counts travel through the ledger.

    With ``last=False`` pieces are said to be followed by more.
    """
    counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", acl)
    rejects: list[Reject] = []
    for number, piece in enumerate(pieces):
        rejects += counter.feed(piece, last=last or number == len(pieces) - 1)
        if number < len(reload_after) and reload_after[number]:
            waiting = b"".join(pieces[: number + 1])[counter.reader.position :]
            tail, ids = counter.reader.tail, (counter.resource_id, counter.target_id)
            counts = counter.counts
            restarts = Restarts.unpack(counts.restarts.pack())
            counts = replace(counts, shares=unpack(pack(counts.shares)), restarts=restarts)
            counter = BlobCounter(counts, HOUR, "000D3AF87856", acl, counter.reader.position)
            counter.reader.tail, (counter.resource_id, counter.target_id) = tail, ids
            rejects += counter.feed(waiting)
    return _state(counter.counts, counter.reader, rejects, (counter.resource_id, counter.target_id))


def _state(counts: BlobCounts, reader: RecordReader, rejects: list[Reject], ids: tuple[str, str]) -> State:
    counters = (
        counts.records,
        counts.tuples,
        counts.malformed,
        counts.garbled_bytes,
        tuple(counts.states),
        counts.last_record_time,
        {share: traffic_of(hour) for share, hour in counts.shares.items()},
    )
    state = reader.position, reader.tail, reader.unread(), counters, ids, rejects
    return State(*state, counts.restarts, counts.shares)


def assert_agree(data: bytes, *found: State) -> None:
    """All of ``found`` are what the reference makes of these bytes."""
    with pytest.MonkeyPatch.context() as patch:
        capacities = {name: family.keys for name, family in FAMILIES.items()}
        shrink_families(patch, 1_000_000)
        expected = by_reference([data])
    truth = {
        (share, name): figures_by_key(family)
        for share, hour in expected.shares.items()
        for name, family in hour.families.items()
    }
    exact = all(len(keys) <= capacities[name] for (_, name), keys in truth.items())
    for state in found:
        assert state == expected
        if exact:
            assert pack(state.shares) == pack(expected.shares)
        for share, hour in state.shares.items():
            for name, family in hour.families.items():
                assert_laws(family, capacities[name], truth[share, name])


@contextmanager
def bounds(*, keys_: int = 1000, batch: int = 512 * 1024, small: int = 0) -> Iterator[None]:
    """Make everything smaller, so that what is rare happens often."""
    with pytest.MonkeyPatch.context() as patch:
        shrink_families(patch, keys_)
        patch.setattr(batches, "BATCH_BYTES", batch)
        patch.setattr(blob_counter, "SMALL", small)
        patch.setattr(blob_counter, "BYTES_A_KEY", 0)
        yield


some_bounds = st.fixed_dictionaries(
    {
        "keys_": st.sampled_from([1, 2, 5, 20, 1000]),
        "batch": st.sampled_from([1, 3000, 40_000, 512 * 1024]),
    }
)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """``data`` in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


some_cuts = st.lists(st.integers(0, 10**7), max_size=4)


@lru_cache(maxsize=64)
def generated(
    form: Format, seed: int, tuples: int, bad: float, garbled: float, restarts: float = 0.04
) -> bytes:
    """A blob as Network Watcher writes it, with what should not be in it."""
    nic = Nic(form, "000D3A00BE0C", "bench")
    minutes = hour_of(
        nic,
        HOUR,
        seed=seed,
        tuples_per_minute=tuples,
        minutes=20,
        bad=bad,
        garbled=garbled,
        restarts=restarts,
    )
    return whole_blob(minutes)[0]


generated_blobs = st.builds(
    partial,
    st.just(generated),
    st.sampled_from(FORMATS),
    st.integers(0, 3),
    st.sampled_from([3, 40]),
    st.sampled_from([0.0, 0.05]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.04, 0.5]),
)

SPLINTERS = (
    *(
        b'"',
        b",",
        b'","',
        b"]",
        b"[",
        b"{",
        b"}",
        b":",
        b"\\",
        b" ",
        b"\n",
        b"\x00",
        b"\xff",
        b"-",
        b"0",
        b"99999",
    ),
    *(b'\\"', b"\\u0030", b'{"time":"2026-01-01T12:00:00Z",', b'"flowTuples":["', b'"FLOWTUPLES":["', b"]}"),
    *(
        b'"flowTuples":[]',
        b'["',
        b'"]',
        b"727051389460000000",
        b'"x\\"time":"2026-01-01T12:00:00Z"',
        b",,,,",
        b"B",
    ),
    *(
        b"9223372036854775807",
        b"9223372036854775808",
        b"1152921504606846976",
        b"2001:DB8::00A",
        b"::1",
        b"010.0.0.1",
    ),
    *(
        b"65536",
        b"255",
        b"006",
        "ü".encode(),
        b"null",
        b"@",
        b"1767268760",
        b"1767261600000",
        b'"rule":"x",',
        b"1e5",
    ),
    *(b',"flowTuples":["a"]', b"\xef\xbb\xbf", b'{"records":[', b"999999999999999999", b"12345678901234567"),
)


def mutated(blob: bytes, rng: random.Random) -> bytes:
    """The blob, or its beginning, with some bytes replaced, inserted, deleted or moved."""
    data = bytearray(blob[: rng.choice([5_000, 20_000, 60_000])])
    for _ in range(rng.choice([0, 1, 2, 5])):
        at = rng.randrange(len(data))
        copied = rng.randrange(len(data))
        splinter = rng.choice(
            [
                *rng.choices(SPLINTERS, k=4),
                bytes([rng.randrange(256)]),
                bytes(data[copied : copied + rng.choice([1, 5, 50, 500, 5000])]),
                b"",
            ]
        )
        if rng.random() < 0.5:  # where it hurts
            found = data.find(rng.choice([b'"', b",", b"]", b'flowTuples":["', b'{"', b":"]), at)
            at = found if found >= 0 else at
        data[at : at + rng.choice([0, 0, 1, 1, 2, 10, 300])] = splinter
    return bytes(data)


@settings(deadline=None, max_examples=150)
@given(
    generated_blobs,
    st.integers(0, 2**32),
    some_bounds,
    some_cuts,
    st.lists(st.booleans(), max_size=4),
    st.booleans(),
)
def test_equals_the_reference(
    blob: Callable[[], bytes],
    seed: int,
    small: dict[str, int],
    places: list[int],
    reloads: list[bool],
    last: bool,
) -> None:
    data = mutated(blob(), random.Random(seed))
    with bounds(**small):
        pieces = cut(data, places)
        found = by_engine(pieces, last=last), by_engine(pieces, reload_after=reloads)
        assert_agree(data, by_reference(pieces), *found)


@pytest.mark.parametrize(
    ("form", "dials"),
    [
        ("vnet-v4", {"restarts": 0.5, "parted": 0.1}),
        ("vnet-v4", {"restarts": 0.5, "record_types": "CED"}),
        ("vnet-v4", {"restarts": 0.5, "record_types": "BE"}),
        ("vnet-v4", {"scans": 0.1}),
        ("nsg-v2", {"version_1_from": 7}),
    ],
)
def test_equals_the_reference_on_logs_of_all_kinds(form: Format, dials: Dials) -> None:
    nic = Nic(form, "000D3A00BE0C", "bench")
    data = whole_blob(hour_of(nic, HOUR, seed=1, **dials))[0]
    with bounds():
        pieces = cut(data, [len(data) // 3, len(data) // 2])
        found = by_engine([data]), by_engine(pieces, reload_after=[True, False])
        assert_agree(data, *found)
    shares = found[0].shares.values()
    figures = dict(
        zip(MEASURES, summed(row for share in shares for row in traffic_of(share).values()), strict=True)
    )
    restated = figures["BytesSrcToDestRestated"] + figures["BytesDestToSrcRestated"]
    counted = naive.count({nic.blob_name(HOUR): data})
    [day] = [period for period in counted.rows if period[1:3] == ("traffic", "day")]
    truth = dict(zip(naive.MEASURES, counted.total(day), strict=True))
    assert truth == {name: restated if name == "BytesRestated" else figures[name] for name in truth}


# Records of few tuples with everything in them that is good, bad or strange.

TIMES = (
    "1767268760",
    "1767268760123",
    "1767265200",
    "1767272399999",
    "1767272400",
    "1767265199999",
    "1767261600",
)
ODD_TIMES = (
    "1767261599",
    "1767276000",
    "17672687601",
    "",
    "x767268760",
    "0000000000",
    "9999999999999",
    " 767268760",
)
IPS = (
    "10.0.0.4",
    "10.0.0.5",
    "203.0.113.255",
    "255.255.255.255",
    "0.0.0.1",
    "2001:db8::a",
    "2001:DB8:0::A",
    "::1",
)
ODD_IPS = (
    "",
    "10.0.0.256",
    "010.0.0.1",
    "1.2.3",
    "1.2.3.4.5",
    "1..2.3",
    "a",
    "1.2.3.4 ",
    "::ffff:1.2.3.4",
    "fe80::1%1",
)
LONG_IPS = (
    "2001:0db8:0000:0000:0000:0000:0000:000a",
    "2001:db8:1:2:3:4:5:6",
    "1111111111111111",
    "255.255.255.2555",
)
PORTS = ("0", "443", "65535", "00080")
ODD_PORTS = ("", "65536", "99999", "000443", "-1", "4 3", "0x1")
PROTOCOLS = ("T", "U", "6", "17", "006", "1", "255", "0")
ODD_PROTOCOLS = ("", "256", "0006", "t", "TCP", "1e1")
COUNTERS = ("0", "1", "99999999", "100000000", "1234567890123456")
ODD_COUNTERS = (
    "",
    "12345678901234567",
    str(2**61),
    str(2**63 - 1),
    str(2**63),
    "00000000000000000001",
    "-1",
    "1.0",
)
ENCRYPTIONS = ("X", "NX", "NX_HW_NOT_SUPPORTED", "NX_NEW")
RULES = ("UserRule_a", "UserRule_ü", 'x"flowTuples":["', "DefaultRule_]}{", "UserRule_a\\", "\ud800", "")


def pick(rng: random.Random, usual: Sequence[str], odd: Sequence[str], oddity: float) -> str:
    """One of the usual, or rarely of the odd."""
    return rng.choice(odd if rng.random() < oddity else usual)


def strange_tuple(form: Format, rng: random.Random, oddity: float) -> object:
    """A tuple of which each field is odd with that probability, or an element that is none."""
    if rng.random() < oddity / 4:
        return rng.choice(
            [
                None,
                1,
                [],
                {},
                "",
                ",",
                "a,",
                ",,",
                '"',
                "ü",
                "]",
                '"],"x":["',
                "1,2,3",
                1e5,
                727051389460000001,
            ]
        )
    fields = [
        pick(rng, TIMES, ODD_TIMES, oddity),
        pick(rng, IPS, ODD_IPS + LONG_IPS, oddity),
        pick(rng, IPS, ODD_IPS + LONG_IPS, oddity),
        pick(rng, PORTS, ODD_PORTS, oddity),
        pick(rng, PORTS, ODD_PORTS, oddity),
        pick(rng, PROTOCOLS, ODD_PROTOCOLS, oddity),
        pick(rng, "IO", ("", "i", "IO"), oddity),
    ]
    if form == "vnet-v4":
        fields += [pick(rng, "BCED", ("", "A"), oddity), pick(rng, ENCRYPTIONS, ("", "nx", "NX-"), oddity)]
    elif form == "nsg-v2":
        fields += [pick(rng, "AD", ("", "a"), oddity), pick(rng, "BCE", ("", "D"), oddity)]
    else:
        fields += [pick(rng, "AD", ("", "a"), oddity)]
    if form != "nsg-v1":
        fields += [pick(rng, COUNTERS, ODD_COUNTERS, oddity) for _ in range(4)]
        if rng.random() < 0.4:
            fields[9:] = ["", "", "", ""]
    if rng.random() < oddity / 4:
        fields.insert(rng.randrange(len(fields)), "0")
    return ",".join(fields)


def strange_record(form: Format, rng: random.Random, oddity: float) -> bytes:
    """A record of some groups, written in one of several ways."""
    key = rng.choice(["flowTuples", "flowTuples", "flowtuples"])
    groups = [
        (
            rng.choice(RULES),
            {key: [strange_tuple(form, rng, oddity) for _ in range(rng.choice([0, 1, 3, 9]))]},
        )
        for _ in range(rng.choice([0, 1, 2, 4]))
    ]
    time = rng.choice(["2026-01-01T12:01:02.1234567Z", "2026-01-01T12:59:02Z", "2026", "yesterday"])
    document: dict[str, object] = {"time": time, "macAddress": "000D3AF87856"}
    if form == "vnet-v4":
        flows = [
            {"aclID": rng.choice(["a", "B", ""]), "flowGroups": [{"rule": rule, **group}]}
            for rule, group in groups
        ]
        document |= {"flowLogVersion": rng.choice([4, 4, 4, "4", 5]), "flowRecords": {"flows": flows}}
        document["flowLogResourceID"] = rng.choice(["/F", "/G"])
    else:
        version = rng.choice([int(form[-1])] * 6 + [None])
        document["properties"] = {
            "Version": version,
            "flows": [{"rule": rule, "flows": [{"mac": "m", **group}]} for rule, group in groups],
        }
    if rng.random() < 0.1:
        document["x"] = rng.choice(["é", {"time": 1}, "]", {"flowTuples": ["1"]}])
    write = rng.random()
    if write < 0.08:
        return json.dumps(document, indent=1).encode()
    if write < 0.16:
        return json.dumps(document, separators=(",", ":")).replace(".", "\\u002e").encode()
    ascii_ = write < 0.6 or "\ud800" in str(document)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=ascii_).encode("utf-8", "replace")


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(FORMATS),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.01, 0.2]),
    st.integers(0, 12),
    some_bounds,
    some_cuts,
    st.lists(st.booleans(), max_size=4),
)
def test_equals_the_reference_on_strange_records(
    form: Format,
    seed: int,
    oddity: float,
    many: int,
    small: dict[str, int],
    places: list[int],
    reloads: list[bool],
) -> None:
    rng = random.Random(seed)
    others = [form] * 8 + list(FORMATS)
    joints = [b","] * 6 + [b",\r\n", b"", b"garbage", b'{"foo":1},', b"]},", b'{"time":']
    data = b'{"records":['
    for _ in range(many):
        data += strange_record(rng.choice(others), rng, oddity) + rng.choice(joints)
    data += b"]}"
    with bounds(**small):
        pieces = cut(data, places)
        assert_agree(data, by_engine(pieces), by_engine(pieces, reload_after=reloads))


# Skeletons put together from pieces that recur, good and bad: what is remembered of one must not mislead.

_NSG = '{"time":"2026-01-01T12:01:02Z","properties":{"version":2,"flows":['
_VNET = '{"time":"2026-01-01T12:01:02Z","flowLogVersion":4,"flowRecords":{"flows":['
BEGINNINGS = (
    *(_NSG + '{"rule":"a","flows":[{"mac":"m",', _NSG + '{"flows":[{', _NSG + '{"rule":"a","flows":[{"x":1,'),
    *(_VNET + '{"aclID":"A","flowGroups":[{"rule":"a",', _VNET + '{"aclID":"B","flowGroups":[{'),
    '{"properties":{"version":2,"flows":[{"rule":"a","flows":[{"mac":"m",',
)
JOINTS = (
    *(']}]},{"rule":"b","flows":[{"mac":"m",', ']}]},{"rule":"c","flows":[{', ']}]},{"flows":[{'),
    *(']}]},{"rule":"d","flows":[]},{"rule":"e","flows":[{', ']},{"mac":"n",', ']}],"rule":"f"},{"flows":[{'),
    *(']}]},{"rule":"g","rule":"h","flows":[{', ']}]},{"time":"x","rule":"i","flows":[{', "],"),
    *(']}]}],"flows":[{"rule":"j","flows":[{', ']}]},{"rule":1,"flows":[{', ']}]},{"rule":"k","x":[{'),
    *(
        ']}]},{"aclID":"C","flowGroups":[{"rule":"b",',
        ']},{"rule":"l",',
        ']},{"rule":"",',
        ']}]},{"flowGroups":[{"rule":"b",',
    ),
    *(']}]},{"rule":"\\u00fc","flows":[{', ']}]},{"rule":"ü","flows":[{', "]}]}]}}," + BEGINNINGS[0]),
    *(']}]},{"rule":"b","flows":[{"flowTuples":[1]},{', ']}]},{"time":"2026-01-01T12:01:02Z","flows":[{'),
)
ENDINGS = (
    *(
        "]}]}]}}",
        '],"mac":"m"}]}]}}',
        ']}]}],"x":1}}',
        ']}],"rule":"m"}]}}',
        '],"x":1}]}]}}',
        ']}]}],"version":2}}',
    ),
    *(']}]}]},"time":"2026-01-01T12:01:03Z"}', "]}]}]}", ']}]}]},"resourceId":"/R"}', ']}]},{"rule":"n"}]}}'),
)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_pieces_of_records_mean_the_same_in_any_record(seed: int) -> None:
    rng = random.Random(seed)
    beginnings = rng.sample(BEGINNINGS, 2)
    joints, endings = [JOINTS[0], *rng.sample(JOINTS, 2)], [ENDINGS[0], *rng.sample(ENDINGS, 1)]
    records = []
    for _ in range(15):
        beginning, ending = rng.choice(beginnings), rng.choice(endings)
        parts = [beginning, *rng.choices(joints, k=rng.randrange(4)), ending]
        verdict = "6,I,E,NX" if "flowRecords" in beginning else "T,I,A,E"
        records.append(f'"flowTuples":["{HOUR_S},10.0.0.1,10.0.0.9,1,2,{verdict},1,2,3,4"'.join(parts))
    data = ",".join(records).encode()
    with bounds():
        assert_agree(data, by_engine([data]))


def flood(form: Format, many: int, rng: random.Random) -> bytes:
    """Records in which most tuples have a source of their own."""
    blob = b'{"records":['
    for number in range(0, many, 50):
        lines = []
        for each in range(number, number + 50):
            source = rng.choice(["203.0.113.9", f"{each >> 8 & 255}.{each & 255}.{rng.randrange(4)}.7"])
            if rng.random() < 0.1:
                source = f"2001:db8::{each % 700:x}"
            line = f"{HOUR_S + number // 10},{source},10.0.0.4,{each % 65536},{rng.randrange(900)},T,I,"
            state = rng.choice(["A,B,,,,", f"A,C,{each % 7},{each % 11},0,1", "D,B,,,,", "D,B,,,,"])
            if form == "vnet-v4":
                state = {"A,B": "B,NX", "A,C": "C,NX", "D,B": "D,NX"}[state[:3]] + state[3:]
            lines.append(line + (state[:1] if form == "nsg-v1" else state))
        blob += _record_of(form, lines) + b","
    return blob + b"]}"


def _record_of(form: Format, lines: list[str]) -> bytes:
    if form == "vnet-v4":
        flows = [{"aclID": "a", "flowGroups": [{"rule": "R", "flowTuples": lines}]}]
        document: dict[str, object] = {"time": "2026-01-01T12:01:02Z", "flowRecords": {"flows": flows}}
    else:
        flows = [{"rule": "R", "flows": [{"flowTuples": lines}]}]
        document = {"time": "2026-01-01T12:01:02Z", "properties": {"Version": int(form[-1]), "flows": flows}}
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("capacity", [3, 40, 1000])
def test_equals_the_reference_in_a_flood(form: Format, capacity: int) -> None:
    data = flood(form, 9000, random.Random(capacity))
    with bounds(keys_=capacity, batch=60_000):
        reloaded = by_engine(cut(data, [100_000, 300_000]), reload_after=[True])
        assert_agree(data, by_reference([data]), by_engine([data]), reloaded)
        assert reloaded.shares[0].families["denied-sources"].floor > 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("capacity", [40, 1000])
def test_the_laws_hold_in_a_flood_against_the_naive_count(form: Format, capacity: int) -> None:
    data = flood(form, 9000, random.Random(capacity)).replace(b",]}", b"]}")
    name = Nic(form, "000D3AF87856", "bench").blob_name(HOUR)
    counted, acl = naive.count({name: data}), parse_blob_name(name).resource_id
    with bounds(keys_=capacity, batch=60_000):
        hour = by_engine(cut(data, [100_000, 500_000]), reload_after=[True], acl=acl).shares[0]
    for (_, view, grain, _), truth in counted.rows.items():
        if grain == "hour" and view in hour.families and view != "rules":
            assert not any(any(figures[len(PLAIN) :]) for figures in truth.values())
            zeros = no_figures()[len(PLAIN) :]
            stated = {key: [*figures[: len(PLAIN)], *zeros] for key, figures in truth.items()}
            assert_laws(hour.families[view], capacity, stated)
    empty = {name for name, family in hour.families.items() if not len(family)}
    assert empty == (set() if form == "vnet-v4" else {"encryption"})


def test_numbers_that_run_out_begin_anew() -> None:
    data = flood("nsg-v2", 6000, random.Random(1))
    with bounds(batch=30_000), pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "MOST_ADDRESSES", 10_000)
        found = by_engine([data])
        patch.setattr(keys, "MOST_ADDRESSES", 10)
        assert_agree(data, found, by_engine([data]))


@pytest.mark.parametrize("rules", [1, 400])
@pytest.mark.parametrize(("kinds", "places"), [(1 << 12, 1 << 22), (500, 1 << 22), (1 << 12, 20_000)])
def test_a_code_that_is_another_in_each_tuple_is_counted(
    rules: int, kinds: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kinds run out of numbers now and then, or of places for them."""
    lines = [f"{HOUR_S},203.0.113.9,10.0.0.4,1,22,6,I,B,NX_{each},,,," for each in range(3000)]
    lines += [f"{HOUR_S},203.0.113.9,10.0.0.4,1,22,6,I,D,NX,,,,"] * 300
    records = [
        _record_of("vnet-v4", lines[at : at + 50]).replace(b'"R"', b'"R%d"' % (at % rules))
        for at in range(0, len(lines), 50)
    ]
    data = b",".join(records)
    monkeypatch.setattr(keys, "_MOST_KINDS", kinds)
    monkeypatch.setattr(keys, "_MOST_PLACES", places)
    with bounds(batch=30_000):
        assert_agree(data, by_engine([data]), by_engine(cut(data, [70_000, 150_000]), reload_after=[True]))


def test_sums_stay_at_the_largest_number() -> None:
    lines = [
        f"{HOUR_S},10.0.0.{n % 3},10.0.0.9,1,{n % 2},T,I,A,C,1,{2**62},1,{n * 10**15}" for n in range(90)
    ]
    data = b",".join(_record_of("nsg-v2", lines[n : n + 9]) for n in range(0, 90, 9))
    with bounds(batch=1000):
        assert_agree(data, by_engine([data]))


def test_records_that_are_cut_inside_an_array_cost_themselves() -> None:
    one = _record_of("nsg-v2", [f"{HOUR_S},10.0.0.1,10.0.0.9,1,2,T,I,A,B,,,,"] * 9)
    for end in range(1, len(one)):
        data = one + b"," + one[:end] + b"," + one + one[: end // 2]
        with bounds():
            assert_agree(data, by_engine([data]))


def test_a_quiet_minute_needs_no_numpy() -> None:
    """Importing it would be a good part of a cold start."""
    program = """if True:
        import datetime, sys
        from shared.tally.packing import pack, unpack
        from shared.ingest import BlobCounter
        from shared.tally.hour_counts import BlobCounts
        counter = BlobCounter(BlobCounts(), datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC), "", "")
        counter.feed(sys.stdin.buffer.read())
        assert counter.counts.tuples
        assert unpack(pack(counter.counts.shares))
        print("numpy" in sys.modules)
    """
    data = generated("nsg-v2", 1, 3, 0.05, 0.3)[:6000]
    found = subprocess.run([sys.executable, "-c", program], input=data, stdout=subprocess.PIPE, check=True)
    assert found.stdout == b"False\n"


def test_fed_byte_by_byte() -> None:
    data = generated("vnet-v4", 1, 3, 0.05, 0.3)[:6000]
    pieces = [data[at : at + 1] for at in range(len(data))]
    with bounds():
        assert_agree(data, by_engine(pieces))


@given(
    st.lists(
        st.text(st.sampled_from("0123456789.:abF"), max_size=18) | st.ip_addresses().map(str), max_size=60
    )
)
def test_addresses_are_the_reference_s(texts: list[str]) -> None:
    addresses = Addresses()
    for _ in range(2):
        found = addresses.addresses_of(texts).tolist()
        written = addresses.written(np.array([max(number, 0) for number in found], np.int64))
        for text, number, address in zip(texts, found, written, strict=True):
            assert (address.decode() if number >= 0 else None) == canonical(text)


@given(st.lists(st.ip_addresses().map(str), max_size=60))
def test_how_addresses_begin(texts: list[str]) -> None:
    addresses = Addresses()
    begins = addresses.begins(addresses.addresses_of(texts)).astype("<u8").view("S8")
    assert begins.tolist() == [
        b"" if ":" in text else ".".join(text.split(".")[:2]).encode() for text in texts
    ]


@given(st.lists(st.lists(st.binary(max_size=20) | st.binary(max_size=100), max_size=300), max_size=5))
def test_texts_have_one_number_each(batches: list[list[bytes]]) -> None:
    numbered = Texts()
    known: dict[bytes, int] = {}
    for texts in batches:
        cut_off = [text[:LONGEST] for text in texts]
        numbers = numbered.numbers_of(texts)
        assert numbered.written(numbers) == cut_off
        for text, number in zip(cut_off, numbers.tolist(), strict=True):
            assert known.setdefault(text, number) == number


@pytest.mark.timeout(60)  # if each were searched for among all others: minutes
def test_texts_can_not_be_made_to_have_one_place() -> None:
    """They would have one if the secret were 0, by the numbers that texts are mixed with."""
    mix, mix_high, length = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 8 << 56
    unmixed = (place * pow(mix, -1, 2**64) ^ length * mix_high for place in range(100_000))
    texts = [(each % 2**64).to_bytes(8, "little") for each in unmixed]
    assert sorted(Texts().numbers_of(texts).tolist()) == [*range(len(texts))]

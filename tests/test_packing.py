"""Packing: what is packed comes back, equal counts are equal bytes, and a pause between two records is
invisible in the result.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MalformedInput
from shared.flowlog.tuples import INT64_MAX
from shared.ledger.entry import Entry, to_columns
from shared.tally.chosen import Wanted, unpack_part, unpack_shares
from shared.tally.families import DIMENSIONS, FAMILIES, SIDES
from shared.tally.hour_counts import BlobCounts, HourCounts
from shared.tally.measures import MEASURES, PLAIN, Figures, Sums, add_sums, to_figures, to_sums
from shared.tally.packing import (
    COUNTS_BYTES,
    FAMILY_BYTES,
    KEYS_LEFT_ALONE,
    PACKING,
    PERIOD_BYTES,
    TRAFFIC,
    pack,
    pack_apart,
    pack_within,
    unpack,
)
from shared.tally.states import States
from tests.strategies import (
    HOUR,
    HOUR_MS,
    Written,
    copy_family,
    hour_records,
    plain,
    records_of,
    seen_of,
    shrink_families,
)

TITLES = ("Bucket", *DIMENSIONS)

numbers = st.integers(0, 300) | st.integers(0, INT64_MAX) | st.sampled_from([255, 256, 2**32, INT64_MAX])
texts = st.sampled_from(
    [
        "",
        "10.0.0.4",
        "2001:db8::a",
        "Inbound",
        "UserRule_ü",
        "\U0001f600",
        "\ud83d",
        "\ude00",
        "\x00",
        "x" * 300,
    ]
) | st.text(st.characters(), max_size=8)
ports = st.integers(0, 65_535)
sums = st.lists(numbers, min_size=len(MEASURES), max_size=len(MEASURES)).map(
    lambda row: to_sums([max(row[0], 1), row[1], max(row[2], 1), *row[3:]])
)


@st.composite
def hours(draw: st.DrawFn) -> HourCounts:
    """Counts with anything in them, some of them trimmed down to little or nothing."""
    counts = HourCounts()
    traffic = st.tuples(st.integers(0, 11), texts, texts)
    counts.traffic = draw(st.dictionaries(traffic, sums, max_size=3))
    for name in draw(st.sets(st.sampled_from([*FAMILIES]), max_size=4)):
        family = counts.families[name]
        key = st.tuples(*(ports if title == "DestPort" else texts for title in FAMILIES[name].columns))
        for stretch in range(2):
            for row in draw(st.dictionaries(key, sums, max_size=4)).items():
                family.add(*row)
            if stretch == 0 and draw(st.booleans()):
                family.trim(draw(st.integers(0, 3)))
    times = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
    for rule in counts.families["rules"].sums:
        counts.families["rules"].see(rule, *draw(times))
    if draw(st.booleans()):  # of several scopes
        for family in counts.families.values():
            family.scopes = {key: draw(st.integers(1, INT64_MAX)) for key in family.sums}
    return counts


shares = st.dictionaries(st.sampled_from([-1, 0, 1]), hours(), max_size=3)


def totals(counts: HourCounts, name: str) -> Figures:
    """Rows + rest of a family."""
    family = counts.families[name]
    return to_figures(reduce(add_sums, family.sums.values(), family.rest))


# Round trip


@given(shares)
@settings(max_examples=200, deadline=None)
def test_what_is_packed_comes_back(counts: dict[int, HourCounts]) -> None:
    packed = pack(counts)
    back = unpack(packed)
    assert plain(back) == plain(counts)
    assert pack(back) == packed


@given(shares, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_equal_counts_in_the_same_order_of_admission_are_equal_bytes(
    counts: dict[int, HourCounts], random: Random
) -> None:
    other: dict[int, HourCounts] = {}
    for share in shuffled(random, counts):
        hour = other[share] = HourCounts()
        hour.traffic = {key: counts[share].traffic[key] for key in shuffled(random, counts[share].traffic)}
        for name, family in counts[share].families.items():
            hour.families[name] = copy_family(family)
    assert pack(other) == pack(counts)


def shuffled[Item](random: Random, items: Iterable[Item]) -> list[Item]:
    order = [*items]
    random.shuffle(order)
    return order


def test_nothing_packs_to_nothing() -> None:
    assert unpack(pack({})) == {}
    assert plain(unpack(pack({0: HourCounts()}))) == plain({0: HourCounts()})


def test_a_family_that_lost_all_its_rows_keeps_its_rest() -> None:
    counts = HourCounts()
    counts.families["rules"].add(("a", "b", "Inbound", "Allowed"), to_sums([1] * len(MEASURES)))
    counts.families["rules"].trim(0)
    assert plain(unpack(pack({0: counts}))) == plain({0: counts})
    assert unpack(pack({0: counts}))[0].families["rules"].rest == to_sums([1] * len(MEASURES))


# Bytes that are no packing


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput, match="can't be unpacked"):
        unpack(data)


@given(shares, st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_that_were_changed_are_refused(counts: dict[int, HourCounts], data: st.DataObject) -> None:
    packed = bytearray(pack(counts))
    at = data.draw(st.integers(0, len(packed) - 1))
    change = data.draw(st.integers(1, 255))
    cut = bytes(packed[:at])
    packed[at] ^= change
    for damaged in (bytes(packed), cut):
        try:
            back = unpack(damaged)
        except MalformedInput:
            continue
        assert plain(back) == plain(counts)  # a bit that zlib doesn't look at


@given(shares, st.data())
@settings(max_examples=200, deadline=None)
def test_a_body_that_was_changed_is_refused_or_read_but_never_breaks(
    counts: dict[int, HourCounts], data: st.DataObject
) -> None:
    """As if another program had written it: the checksum is right, what it covers isn't."""
    body = bytearray(zlib.decompress(pack(counts)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    read_or_refuse(bytes(body))


JUNK: list[Any] = [None, -1, 1, 1.5, "", "x", [], [1], [[]], {}, {"0": 1}, 10**6, True]


@given(st.data(), st.sampled_from(JUNK))
@settings(max_examples=200, deadline=None)
def test_a_header_of_another_shape_is_refused_or_read_but_never_breaks(
    data: st.DataObject, junk: object
) -> None:
    counts = HourCounts()
    counts.traffic[0, "Inbound", "Allowed"] = to_sums([1] * len(MEASURES))
    counts.families["rules"].add(("a", "b", "Inbound", "Allowed"), to_sums([1] * len(MEASURES)))
    counts.families["talkers"].add(("10.0.0.4", "Inbound"), to_sums([1] * len(MEASURES)))
    counts.families["rules"].see(("a", "b", "Inbound", "Allowed"), 1, 2)
    body = zlib.decompress(pack({0: counts}))
    end = 4 + int.from_bytes(body[:4], "little")
    header = json.loads(body[4:end])
    place: Any = header
    while True:
        key = data.draw(st.sampled_from([*place] if isinstance(place, dict) else [*range(len(place))]))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = junk
        break
    read_or_refuse(with_header(header, body[end:]))


@pytest.mark.parametrize("header", JUNK)
def test_a_header_that_is_none_is_refused(header: object) -> None:
    with pytest.raises(MalformedInput):
        unpack(zlib.compress(with_header(header, b"")))


def test_another_version_is_refused_by_name() -> None:
    body = with_header({"packing": PACKING + 1, "shares": []}, b"")
    with pytest.raises(MalformedInput, match="packed as version 2, known is 1"):
        unpack(zlib.compress(body))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("rows", value) for value in (-1, 0, 2, 2**40, 2**70)),
        *(("texts", [value, 16, "\0"]) for value in (-1, 0, 1, 3, 2**40)),
        *(("texts", [2, value, "\0"]) for value in (-1, 0, 15, 17, 2**40)),
        *(("texts", [2, 16, between]) for between in ("", "\1", "0", 0, None)),
        *(("texts", value) for value in (2, [], [2, 16], [2, 16, "\0", 0])),
        *(("sums", [width] * 15) for width in (-1, 2, 9)),
        *(("sums", [1] * number) for number in (14, 16)),
        *(("seen", widths) for widths in ([], [0], [0, 9], [0, 0, 0])),
        *(("keys", width) for width in (-1, 2, 9)),
        *((name, width) for name in ("missed", "scopes") for width in (-1, 1, 9)),
    ],
)
def test_a_column_is_never_read_beyond_the_bytes_that_are_there(name: str, value: Any) -> None:
    """Whatever the header says, reading takes no more memory and time than what was packed."""
    counts = HourCounts()
    counts.families["talkers"].add(("10.0.0.4", "Inbound"), to_sums([1] * len(MEASURES)))
    body = zlib.decompress(pack({0: counts}))
    end = 4 + int.from_bytes(body[:4], "little")
    header = json.loads(body[4:end])
    if name == "rows":
        header["shares"]["0"]["talkers"][0] = value
    else:
        (header if name == "texts" else header["widths"])[name] = value
    with pytest.raises(MalformedInput):
        unpack(zlib.compress(with_header(header, body[end:])))


def test_texts_may_hold_any_character() -> None:
    """Also those that could stand between two of them."""
    counts = HourCounts()
    for group, rule in (("", "\0"), ("\1\0", "\3"), ("\ud800", ""), ("\0\0", "\4\1")):
        counts.families["rules"].add((group, rule, "Inbound", "Allowed"), 1)
    keys = [*counts.families["rules"].sums]
    assert [*unpack(pack({0: counts}))[0].families["rules"].sums] == keys


def test_a_column_without_rows_is_no_wider_than_a_number() -> None:
    """Otherwise the width alone would decide how long reading takes."""
    widths: dict[str, Any] = {"keys": 0, "missed": 0, "scopes": 0, "seen": [0, 0]}
    widths |= {"sums": []}
    header = {
        "packing": PACKING,
        "shares": {"0": {"talkers": [0, 1]}},
        "texts": [0, 0, "\0"],
        "widths": widths,
    }
    assert unpack(zlib.compress(with_header(header, b"")))[0].families["talkers"].floor == 1
    names = "keys", "missed", "scopes"
    for name, value in (*((name, 10**7) for name in names), ("seen", [0, 10**7]), ("sums", [10**7])):
        broken = {**header, "widths": widths | {name: value}}
        with pytest.raises(MalformedInput):
            unpack(zlib.compress(with_header(broken, b"")))


@pytest.mark.parametrize("where", ["key", "missed", "scopes", "seen", "sums", "restarts", "floor", "rest"])
@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -1])
def test_a_figure_that_no_column_holds_is_refused(where: str, number: int) -> None:
    counts = HourCounts()
    family = counts.families["rules"]
    key = ("g", "r", "Inbound", "Allowed")
    family.add(key, to_sums([INT64_MAX] * len(MEASURES)))
    family.see(key, INT64_MAX, INT64_MAX)
    family.rest = to_sums([INT64_MAX] * len(MEASURES))
    family.missed[key] = family.scopes[key] = INT64_MAX
    family.floor = INT64_MAX
    body = zlib.decompress(pack({0: counts}))
    end = 4 + int.from_bytes(body[:4], "little")
    header, columns = json.loads(body[4:end]), body[end:]
    part, widths = header["shares"]["0"]["rules"], header["widths"]
    eights = {"missed": 8, "scopes": 8, "seen": [8, 8], "sums": [8] * len(MEASURES)}
    assert widths == {"keys": 1, **eights}
    if where in {"floor", "rest"}:
        part[1 if where == "floor" else 5] = number
    elif where == "key":
        widths["keys"], columns = 8, (number % 2**64).to_bytes(8, "little") * len(key) + columns[len(key) :]
    else:  # the columns of eight bytes, behind a key of four
        at = (
            len(key)
            + 8 * {"missed": 0, "scopes": 1, "seen": 3, "sums": 4, "restarts": 3 + len(MEASURES)}[where]
        )
        columns = columns[:at] + (number % 2**64).to_bytes(8, "little") + columns[at + 8 :]
    unpack(zlib.compress(with_header(json.loads(body[4:end]), body[end:])))
    with pytest.raises(MalformedInput):
        unpack(zlib.compress(with_header(header, columns)))


def with_header(header: object, columns: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(4, "little") + encoded + columns


def read_or_refuse(body: bytes) -> None:
    try:
        unpack(zlib.compress(body))
    except MalformedInput:
        return


# The split law


def count(written: Sequence[Written], pauses: Sequence[bool]) -> dict[int, HourCounts]:
    """Count records; where there is a pause, the counts go through the ledger."""
    counts = BlobCounts()
    for record, pause in zip(records_of(written), pauses, strict=True):
        counts.count_record(record, HOUR, "000D3AF87856", "nsg")
        counts.settle()
        if pause:
            counts.shares = unpack(pack(counts.shares))
    return counts.shares


@given(
    hour_records(most=6, rules=st.text(max_size=2)),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(1, 4),
)
@settings(max_examples=200, deadline=None)
def test_a_pause_between_two_batches_makes_no_difference(
    written: list[Written], pauses: list[bool], keys: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shrink_families(patch, keys)
        with_pauses = count(written, pauses[: len(written)])
        without = count(written, [False] * len(written))
    assert plain(with_pauses) == plain(without)
    assert pack(with_pauses) == pack(without)


# Sizes


def full_hour(random: Random, keys: int, *, restarts: bool = True) -> HourCounts:
    """Every family full of keys and figures that can't be compressed: in 100 groups, rules of their own."""
    hour = HourCounts()

    def add(name: str, *key: str | int) -> None:
        figures = [random.getrandbits(40), *(random.getrandbits(63) for _ in PLAIN[1:])]
        of_restarts = [random.getrandbits(63) if restarts else 0 for _ in MEASURES[len(PLAIN) :]]
        hour.families[name].add(key, to_sums(figures + of_restarts))

    def ip() -> str:
        return ":".join(f"{random.randrange(4096, 65_536):x}" for _ in range(8))

    groups = [f"/subscriptions/{random.getrandbits(256):064x}" for _ in range(100)]
    for number in range(keys):
        port, direction, status = random.randrange(65_536), "Inbound", "Allowed"
        rule = f"UserRule_{random.getrandbits(128):032x}"
        add("rules", f"/subscriptions/{random.getrandbits(256):064x}", rule, direction, status)
        add("denied-sources", ip())
        add("talkers", ip(), direction)
        for name in ("denied-ports", "allowed-ports"):
            add(name, str(number % 256), port, direction)
        for name in ("denied-conversations", "conversations"):
            add(name, ip(), ip(), port, "TCP", direction, random.choice(groups), rule)
        add("addresses", f"{random.getrandbits(48):012X}", ip())
        add("exposed-ports", "TCP", port, ip(), random.choice(groups), rule)
        add("encryption", f"NX_{random.getrandbits(228):057x}", direction)
    start = HOUR_MS
    for key in hour.families["rules"].sums:
        hour.families["rules"].see(key, start + random.randrange(10**6), start + 3_599_999)
    hour.traffic = {
        (bucket, way, status): to_sums(random.getrandbits(63) for _ in MEASURES)
        for bucket in range(12)
        for way in ("Inbound", "Outbound")
        for status in ("Allowed", "Denied")
    }
    return hour


def test_the_fullest_counts_fit_an_entity_and_their_totals_stay() -> None:
    random = Random(1)
    counts = {share: full_hour(random, 2000) for share in (-1, 0, 1)}
    expected = {(share, name): totals(counts[share], name) for share in counts for name in FAMILIES}
    packed = pack_within(counts)
    assert COUNTS_BYTES * 0.8 < len(packed) <= COUNTS_BYTES
    back = unpack(packed)
    assert {(share, name): totals(back[share], name) for share in back for name in FAMILIES} == expected
    for hour in (*back.values(), *counts.values()):
        assert seen_of(hour).keys() == hour.families["rules"].sums.keys()
        assert all(len(hour.families[name]) >= KEYS_LEFT_ALONE for name in FAMILIES if name != "nics")
    assert (
        entity_bytes_of(to_columns(Entry("x" * 1024, packed=packed, tail=b"x" * 32), "p" * 512, "a"))
        < 540 * 1024
    )


def test_a_flood_of_one_kind_of_key_costs_the_small_families_nothing() -> None:
    counts = {share: full_hour(Random(4), 100) for share in (-1, 0, 1)}
    flood = full_hour(Random(5), 12_000).families["conversations"]
    counts[0].families["conversations"] = flood
    small = {place: plain_of(counts, *place) for place in places(counts) if place != (0, "conversations")}
    assert len(pack_within(counts)) <= COUNTS_BYTES
    assert small == {place: plain_of(counts, *place) for place in small}
    assert KEYS_LEFT_ALONE < len(flood) < 12_000


def test_names_too_long_for_the_entity_go_to_the_rest() -> None:
    """Where a hundred keys a family are more than there is room for, they give way, too."""
    hour = HourCounts()
    random = Random(6)
    for _ in range(100):
        group, rule = ("".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(1024)) for _ in "ab")
        key = (group, rule, "Inbound", "Allowed")
        hour.families["rules"].add(key, to_sums([1] * len(MEASURES)))
        hour.families["rules"].see(key, 1, 2)
    assert len(pack_within({0: hour}, 100_000)) <= 100_000
    assert 1 <= len(hour.families["rules"]) < 100
    assert totals(hour, "rules") == [100] * len(MEASURES)


def places(counts: dict[int, HourCounts]) -> list[tuple[int, str]]:
    return [(share, name) for share in counts for name in FAMILIES]


def plain_of(counts: dict[int, HourCounts], share: int, name: str) -> object:
    return plain(counts)[share][name]


def entity_bytes_of(columns: dict[str, Any]) -> int:
    """As Microsoft's page on the size of an entity has it: names and strings in UTF-16, 8 bytes a number."""
    size = 4
    for name, value in columns.items():
        assert len(value) <= 64 * 1024 if isinstance(value, bytes) else True
        width = len(value) if isinstance(value, bytes) else 2 * len(value) if isinstance(value, str) else 8
        size += 8 + 2 * len(name) + width + 4
    return size


def test_packing_within_does_nothing_where_there_is_nothing_to_do() -> None:
    counts = {0: full_hour(Random(2), 20)}
    before = plain(counts)
    assert pack_within(counts) == pack(counts)
    assert plain(counts) == before


@given(shares, st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_packing_within_anything_never_changes_totals(counts: dict[int, HourCounts], spare: int) -> None:
    for hour in counts.values():  # sums of numbers beyond 64 bits stay at the largest
        for family in hour.families.values():
            family.sums = {key: bounded(sums) for key, sums in family.sums.items()}
            family.rest = bounded(family.rest)
    expected = {(share, name): totals(counts[share], name) for share in counts for name in FAMILIES}
    traffic = {share: dict(hour.traffic) for share, hour in counts.items()}
    most = len(pack(emptied(counts))) + spare
    packed = pack_within(counts, most)
    assert len(packed) <= most
    back = unpack(packed)
    assert {(share, name): totals(back[share], name) for share in back for name in FAMILIES} == expected
    assert {share: hour.traffic for share, hour in back.items()} == traffic


def bounded(sums: Sums) -> Sums:
    return to_sums(min(figure, 2**50) for figure in to_figures(sums))


def emptied(counts: dict[int, HourCounts]) -> dict[int, HourCounts]:
    """The same without any rows: no packing can be smaller."""
    empty = unpack(pack(counts))
    for hour in empty.values():
        for family in hour.families.values():
            family.trim(0)
    return empty


# Each family by itself


def parts_of(counts: HourCounts) -> set[str]:
    """The names of what these counts have anything of."""
    empty = plain({0: HourCounts()})[0]
    return {name for name, part in plain({0: counts})[0].items() if part != empty[name]}


@given(hours())
@settings(max_examples=100, deadline=None)
def test_parts_that_were_packed_apart_hold_what_they_are_called_and_merge_to_the_whole(
    counts: HourCounts,
) -> None:
    before, packed = plain({0: counts}), pack_apart(counts)
    assert plain({0: counts}) == before
    assert packed.keys() == parts_of(counts)
    merged = HourCounts()
    for name, part in packed.items():
        back = unpack(part)
        assert parts_of(back[0]) == {name}
        assert plain(back)[0][name] == before[0][name]
        assert pack_apart(back[0]) == {name: part}
        merged.merge(back[0])
    assert plain({0: merged}) == before
    assert pack_apart(merged) == packed


wants = st.tuples(st.sets(st.sampled_from(TITLES), min_size=1), st.integers(0, 3), st.booleans())


@given(hours(), st.lists(wants, max_size=3))
@settings(max_examples=60, deadline=None)
def test_of_a_part_comes_back_what_is_wanted_and_what_the_others_have(
    counts: HourCounts, asked: list[tuple[set[str], int, bool]]
) -> None:
    wanted = [([*names], partial(_is_other, one), excluded) for names, one, excluded in asked]
    for name, packed in pack_apart(counts).items():
        titles = ("Bucket", "Direction", "Status") if name == TRAFFIC else FAMILIES[name].columns
        whole = unpack(packed)[0]
        family = whole.families.get(name)
        rows: Mapping[tuple[Any, ...], int] = family.sums if family else whole.traffic

        def is_wanted(key: tuple[Any, ...], titles: Sequence[str] = titles) -> bool:
            values = dict(zip(titles, key, strict=True))
            for names, test, excluded in wanted:
                tried = [values[each] for each in names if each in values]
                if not tried and {"SrcIp", "DestIp"} <= values.keys():
                    local, remote = values["SrcIp"], values["DestIp"]
                    if values["Direction"] == "Inbound":
                        local, remote = remote, local
                    tried = [{"LocalIp": local, "RemoteIp": remote}[each] for each in names if each in SIDES]
                if any(map(test, tried)) is excluded:
                    return False
            return True

        chosen = unpack_part(packed, name).where(wanted)
        keys = [key for key in rows if is_wanted(key)]
        assert chosen.keys() == keys, "in order"
        assert chosen.sums() == [rows[key] for key in keys]
        assert chosen.others == reduce(add_sums, (of for key, of in rows.items() if not is_wanted(key)), 0)
        if family:
            for column, known in ((chosen.missed, family.missed), (chosen.scopes, family.scopes)):
                assert column.tolist() == [known.get(key, 0) for key in keys]
            seen = [*zip(*(each.tolist() for each in chosen.seen), strict=True)] if chosen.seen else []
            assert seen == ([family.seen[key] for key in keys] if family.seen else [])
            assert (chosen.rest, chosen.floor) == (family.rest, family.floor)


def _is_other(one: int, value: str | int) -> bool:
    return len(str(value)) % 4 != one


def test_a_value_is_tested_once_however_many_rows_have_it() -> None:
    packed = pack_apart(full_hour(Random(1), 500))["conversations"]
    tested: list[str] = []

    def test(value: str) -> bool:
        tested.append(value)
        return True

    unpack_part(packed, "conversations").where([(["AclRule", "Direction"], test, False)])
    rows = unpack(packed)[0].families["conversations"].sums
    assert sorted(tested) == sorted([*{key[-1] for key in rows}, *{key[4] for key in rows}])


def test_another_part_than_the_one_asked_for_is_refused() -> None:
    hour = full_hour(Random(1), 10)
    parts = pack_apart(hour)
    for packed in (parts["rules"], pack({0: hour}), pack({1: hour}), pack({0: hour, 1: hour}), pack({})):
        with pytest.raises(MalformedInput, match="it is"):
            unpack_part(packed, "nics")
    assert len(unpack_part(pack({0: HourCounts()}), "nics")) == 0, "what is no part any more"


def test_nothing_packs_apart_to_nothing() -> None:
    assert pack_apart(HourCounts()) == {}


def test_the_fullest_families_fit_their_entities_and_one_transaction_and_their_totals_stay() -> None:
    hour = full_hour(Random(1), 4_000)
    expected = {name: totals(hour, name) for name in FAMILIES}
    packed = pack_apart(hour)
    assert packed.keys() == {TRAFFIC, *FAMILIES} - {"nics"}
    assert max(map(len, packed.values())) <= FAMILY_BYTES
    assert PERIOD_BYTES * 0.9 < sum(map(len, packed.values())) <= PERIOD_BYTES
    for name, part in packed.items():
        assert plain(unpack(part))[0][name] == plain({0: hour})[0][name]
    assert {name: totals(hour, name) for name in FAMILIES} == expected
    assert all(len(hour.families[name]) > KEYS_LEFT_ALONE for name in packed if name != TRAFFIC)
    assert pack_apart(hour) == packed


def test_names_too_long_for_a_transaction_go_to_the_rest() -> None:
    """Families of a hundred keys of the longest texts, all at once, are more than there is room for."""
    hour, random = HourCounts(), Random(6)
    for name, family in hour.families.items():
        for number in range(100):
            titles = FAMILIES[name].columns
            texts = (random.randbytes(1024).decode("latin-1") for _ in titles)
            key = tuple(
                number if title == "DestPort" else text for title, text in zip(titles, texts, strict=True)
            )
            family.add(key, to_sums([1] * len(MEASURES)))
            family.see(key, 1, 2)
    packed = pack_apart(hour)
    assert packed.keys() == FAMILIES.keys()
    assert max(map(len, packed.values())) <= FAMILY_BYTES
    assert PERIOD_BYTES * 0.9 < sum(map(len, packed.values())) <= PERIOD_BYTES
    for name, family in hour.families.items():
        assert 1 <= len(family) <= 100
        assert totals(hour, name) == [100] * len(MEASURES)
    assert any(len(family) < 100 for family in hour.families.values())


def test_a_flood_of_one_kind_of_key_costs_the_other_families_of_a_period_nothing() -> None:
    hour, flood = full_hour(Random(4), 100), full_hour(Random(5), 4_000).families["conversations"]
    hour.families["conversations"] = flood
    small = {name: plain_of({0: hour}, 0, name) for name in FAMILIES if name != "conversations"}
    packed = pack_apart(hour)
    assert FAMILY_BYTES * 0.75 < len(packed["conversations"]) <= FAMILY_BYTES
    assert small == {name: plain_of({0: hour}, 0, name) for name in small}


# Damage


@given(st.data())
def test_a_damaged_entity_is_noticed_and_never_miscounted(data: st.DataObject) -> None:
    """Bytes that are changed, missing, doubled or behind the end; a whole column that is missing."""
    counts = BlobCounts()
    for record in records_of(data.draw(hour_records())):
        counts.count_record(record, HOUR, "000D3AF87856", "acl")
    states, packed_counts = States(*counts.states), pack_within(counts.shares)
    entry = Entry("name", tuples=counts.tuples, states=states, packed=packed_counts)
    packed, at = bytearray(entry.packed), data.draw(st.integers(0, len(entry.packed) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "behind", "double", "none"])):
        case "flip":
            packed[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del packed[at : at + data.draw(st.integers(1, 50))]
        case "behind":
            packed += data.draw(st.binary(min_size=1, max_size=9))
        case "double":
            packed += entry.packed
        case "none":
            packed.clear()
    try:
        assert plain(replace(entry, packed=bytes(packed)).counts().shares) == plain(counts.shares)
    except MalformedInput as error:
        assert "the ledger's entity of name is damaged" in str(error)  # noqa: PT017 -- or else equal
    if counts.tuples:
        with pytest.raises(MalformedInput, match="says"):
            replace(entry, tuples=counts.tuples + 1).counts()


@given(hours(), st.data())
@settings(max_examples=200, deadline=None)
def test_of_damaged_bytes_columns_are_what_keys_are_or_are_refused(
    counts: HourCounts, data: st.DataObject
) -> None:
    """Also where the stream is whole: it is the content that somebody has changed."""
    body = bytearray(zlib.decompress(pack({0: counts})))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "more"])):
            case "flip":
                body[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut" if len(body) > 1:
                del body[at]
            case "more":
                body.insert(at, data.draw(st.integers(0, 255)))
    packed = zlib.compress(bytes(body))
    asked: list[tuple[str, Sequence[Wanted]]] = [(name, ()) for name in (TRAFFIC, *FAMILIES)]
    try:
        columns = unpack_shares(packed, asked)
    except MalformedInput:
        return
    shares = unpack(packed)
    for share, chosen in columns.items():
        for (name, _), its in zip(asked, chosen, strict=True):
            family = None if name == TRAFFIC else shares[share].families[name]
            traffic = shares[share].traffic
            rows: Mapping[tuple[Any, ...], int] = traffic if family is None else family.sums
            if len({*its.keys()}) == len(its):  # a key that is there twice has one row there
                assert dict(zip(its.keys(), its.sums(), strict=True)) == rows
            if family is not None:
                assert (its.rest, its.floor) == (family.rest, family.floor)


@pytest.mark.parametrize(("name", "number"), [("Bucket", 12), ("DestPort", 65_536), ("DestPort", 2**62)])
def test_a_number_that_no_log_has_is_refused(name: str, number: int) -> None:
    hour = HourCounts()
    if name == "Bucket":
        hour.traffic[number, "Inbound", "Allowed"] = 1
    else:
        hour.families["denied-ports"].add(("TCP", number, "Inbound"), 1)
    for part, packed in pack_apart(hour).items():
        with pytest.raises(MalformedInput, match=f"a {name} of {number}"):
            unpack_part(packed, part)

"""Counting: what is counted equals a naive count with plain dicts, and nothing is lost on any edge."""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog.reasons import Reason
from shared.flowlog.tuples import INT64_MAX
from shared.tally import packing
from shared.tally.families import FAMILIES, Kept
from shared.tally.hour_counts import BlobCounts, HourCounts
from shared.tally.measures import PLAIN, Figures, no_figures, to_figures
from shared.tally.packing import pack_apart, pack_within, unpack
from tests.naive import is_internet
from tests.strategies import (
    HOUR,
    HOUR_MS,
    Bad,
    Good,
    Layout,
    Written,
    assert_laws,
    assert_laws_1_and_2,
    figures_by_key,
    hour_records,
    plain,
    plain_family,
    record_document,
    records_of,
    seen_of,
    shrink_families,
    traffic_of,
    written_records,
)

NSG_ID = "/subscriptions/s/nsg"


MAC = "000D3AF87856"
NO_RESTARTS = no_figures()[len(PLAIN) :]


def counted(written: Sequence[Written], mac: str = MAC, *, pauses: bool = False) -> BlobCounts:
    """Count records, each a batch; with pauses, the counts go through the ledger after each."""
    counts = BlobCounts()
    for record in records_of(written):
        counts.count_record(record, HOUR, mac, NSG_ID)
        counts.settle()
        if pauses:
            counts.shares = unpack(pack_within(counts.shares))
    return counts


def one_record(layout: Layout, *texts: str, rule: str = "r", time: str = "2026-11-21T05:01:00Z") -> Written:
    elements: list[Good | Bad] = [Bad(text, "") for text in texts]
    document = record_document(layout, [("acl", rule, elements)], time)
    return Written(layout, document, json.dumps(document).encode(), [])


def v2(ms: int, way: str = "I", decision: str = "A", end: str = "B,,,,", src: str = "10.0.0.4") -> str:
    return f"{ms},{src},10.0.0.5,1024,443,T,{way},{decision},{end}"


# A naive count, straight from the JSON


class Naive:
    """Everything in plain dicts; no bound, no sharing with what it checks."""

    def __init__(self) -> None:
        self.traffic: dict[int, dict[Any, Figures]] = defaultdict(lambda: defaultdict(no_figures))
        self.families: dict[tuple[int, str], dict[Any, Figures]] = defaultdict(
            lambda: defaultdict(no_figures)
        )
        self.seen: dict[int, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.tuples = 0

    def count(self, written: Written) -> None:
        good = {one.text for _, _, members in written.groups for one in members if isinstance(one, Good)}
        bad = {
            str(one.element) for _, _, members in written.groups for one in members if isinstance(one, Bad)
        }
        assert not good & bad
        for acl, rule, elements in rules_in(json.loads(written.source)):
            for text in elements:
                if isinstance(text, str) and text in good:
                    self.count_tuple(text.split(","), acl or NSG_ID, rule, written.layout)

    def count_tuple(self, fields: list[str], acl: str, rule: str, layout: Layout) -> None:
        ms = int(fields[0]) * (1000 if len(fields[0]) == 10 else 1)
        src, dest = (str(ipaddress.ip_address(text)) for text in fields[1:3])
        port = int(fields[4])
        protocol = {"T": "TCP", "U": "UDP", "6": "TCP", "006": "TCP", "17": "UDP"}.get(fields[5], fields[5])
        direction = {"I": "Inbound", "O": "Outbound"}[fields[6]]
        if layout == "vnet-v4":
            state, denied = fields[7], fields[7] == "D"
        else:
            state, denied = (fields[8] if layout == "nsg-v2" else "B"), fields[7] == "D"
        status = "Denied" if denied else "Allowed"
        counters = [int(text or 0) for text in fields[9:]] or [0, 0, 0, 0]
        figures = [1, int(state == "B" and not denied), int(denied), int(state == "E"), *counters]
        figures += NO_RESTARTS

        hour = (ms - HOUR_MS) // 3_600_000
        minute = (ms - HOUR_MS) // 60_000 % 60
        keys: dict[str, tuple[str | int, ...]] = {
            "rules": (acl, rule, direction, status),
            "nics": (MAC, direction, status),
        }
        local = dest if direction == "Inbound" else src
        keys["addresses"] = (MAC, local)
        if layout == "vnet-v4":
            keys["encryption"] = (fields[8], direction)
        conversation: tuple[str | int, ...] = (src, dest, port, protocol, direction, acl, rule)
        if denied:
            keys |= {"denied-ports": (protocol, port, direction), "denied-conversations": conversation}
            if direction == "Inbound":
                keys["denied-sources"] = (src,)
        else:
            keys |= {"allowed-ports": (protocol, port, direction), "conversations": conversation}
            keys["talkers"] = (src if direction == "Inbound" else dest, direction)
            if direction == "Inbound" and is_internet(src):
                keys["exposed-ports"] = (protocol, port, local, acl, rule)
        add(self.traffic[hour][(minute // 5, direction, status)], figures)
        for family, key in keys.items():
            add(self.families[hour, family][key], figures)
        self.seen[hour][keys["rules"]].append(ms)
        self.tuples += 1


def add(into: Figures, figures: Figures) -> None:
    into[:] = [one + other for one, other in zip(into, figures, strict=True)]


def rules_in(record: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    record = lower_keys(record)
    if "flowrecords" in record:
        return [
            (flow["aclid"].lower(), group["rule"], group["flowtuples"])
            for flow in record["flowrecords"]["flows"]
            for group in flow["flowgroups"]
        ]
    return [
        ("", flow["rule"], inner["flowtuples"])
        for flow in record["properties"]["flows"]
        for inner in flow["flows"]
    ]


def lower_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): lower_keys(member) for key, member in value.items()}
    return [lower_keys(member) for member in value] if isinstance(value, list) else value


def naive(written: Sequence[Written]) -> Naive:
    count = Naive()
    for record in written:
        count.count(record)
    return count


# Laws


@given(hour_records())
@settings(max_examples=150, deadline=None)
def test_what_is_counted_equals_a_naive_count(written: list[Written]) -> None:
    counts, truth = counted(written), naive(written)
    assert counts.shares.keys() == truth.traffic.keys()
    for share, hour in counts.shares.items():
        assert traffic_of(hour) == truth.traffic[share]
        assert seen_of(hour) == {key: (min(times), max(times)) for key, times in truth.seen[share].items()}
        for name, family in hour.families.items():
            assert figures_by_key(family) == truth.families.get((share, name), {}), name
            assert (family.rest, family.missed, family.floor) == (0, {}, 0)


@given(hour_records())
@settings(max_examples=150, deadline=None)
def test_every_tuple_is_counted_once_or_rejected_once(written: list[Written]) -> None:
    counts = counted(written)
    elements = [one for record in written for _, _, members in record.groups for one in members]
    assert counts.records == len(written)
    assert counts.tuples == sum(isinstance(one, Good) for one in elements)
    assert counts.malformed == sum(isinstance(one, Bad) for one in elements)
    assert counts.tuples == sum(hour.totals()[0] for hour in counts.shares.values())
    assert counts.tuples == sum(counts.tuples_in_share(share) for share in (-1, 0, 1))


def what_a_family_counts(name: str, hour: HourCounts, truth: dict[Any, Figures]) -> Figures:
    """The total of all tuples that belong to a family, from the exact traffic; where that doesn't tell, from
    what the naive count has of each key.
    """
    total = no_figures()
    if name in ("exposed-ports", "encryption"):
        for figures in truth.values():
            add(total, figures)
        return total
    for (_, direction, status), figures in traffic_of(hour).items():
        belongs = {
            "rules": True,
            "denied-sources": (direction, status) == ("Inbound", "Denied"),
            "talkers": status == "Allowed",
            "denied-ports": status == "Denied",
            "allowed-ports": status == "Allowed",
            "conversations": status == "Allowed",
            "denied-conversations": status == "Denied",
            "nics": True,
            "addresses": True,
        }[name]
        if belongs:
            add(total, figures)
    return total


@given(hour_records(rules=st.text(max_size=2)), st.integers(1, 3), st.sampled_from([None, 900, 300]))
@settings(max_examples=150, deadline=None)
def test_rows_and_rest_are_all_that_a_family_counts_far_over_capacity(
    written: list[Written], keys: int, most: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shrink_families(patch, keys)
        counts = counted(written)
    if most:
        pack_within(counts.shares, most)
    truth = naive(written)
    for share, hour in counts.shares.items():
        assert traffic_of(hour) == truth.traffic[share]
        assert seen_of(hour).keys() == hour.families["rules"].sums.keys()
        for name, family in hour.families.items():
            total = to_figures(family.rest)
            for row in family.rows():
                add(total, row.figures)
                weight = family.weight(truth.families[share, name][row.key])
                assert family.weight(row.figures) <= weight <= family.weight(row.figures) + row.missed
            assert total == what_a_family_counts(name, hour, truth.families[share, name]), name
            assert len(family) <= 2 * keys


@given(hour_records(most=3), hour_records(most=3), st.sampled_from([None, 2]))
@settings(max_examples=100, deadline=None)
def test_hours_of_several_interfaces_merge_to_the_count_of_all(
    one: list[Written], other: list[Written], keys: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if keys:
            shrink_families(patch, keys)
        merged = HourCounts()
        parts = {mac: counted(each, mac).shares.get(0) for mac, each in (("AA", one), ("BB", other))}
        for part in parts.values():
            if part:
                before = plain({0: part})
                merged.merge(part)
                assert plain({0: part}) == before
    truth = naive([*one, *other])
    assert traffic_of(merged) == truth.traffic.get(0, {})
    nics: dict[Any, Figures] = defaultdict(no_figures)
    for mac, part in parts.items():
        for (_, direction, status), figures in traffic_of(part).items() if part else ():
            add(nics[mac, direction, status], figures)
    if keys is None:
        assert figures_by_key(merged.families["nics"]) == nics
        assert {mac for mac, _ in merged.families["addresses"].sums} == {mac for mac, *_ in nics}
        assert seen_of(merged) == {key: (min(at), max(at)) for key, at in truth.seen.get(0, {}).items()}
    for name, family in merged.families.items():
        if keys is None and "Mac" not in FAMILIES[name].columns:
            assert figures_by_key(family) == truth.families.get((0, name), {})
        total = to_figures(family.rest)
        for row in family.rows():
            add(total, row.figures)
        assert total == what_a_family_counts(name, merged, truth.families.get((0, name), {}))


capacities = st.integers(1, 4)
days = st.lists(st.lists(hour_records(most=2, rules=st.text(max_size=2)), max_size=2), max_size=3)


def passed_on(counts: HourCounts) -> tuple[HourCounts, dict[str, bytes]]:
    """Counts after they were packed apart and put together again; and how they were packed."""
    packed = pack_apart(counts)
    again = HourCounts(keys=10**6)
    for part in packed.values():
        again.merge(unpack(part)[0])
    assert plain({0: again}) == plain({0: counts})
    return again, packed


@given(days, st.tuples(capacities, capacities, capacities), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_laws_hold_for_blobs_hours_and_days_by_the_smallest_capacity_on_the_way(
    hours: list[list[list[Written]]], levels: tuple[int, int, int], pause: bool
) -> None:
    of_blob, of_hour, of_day = levels
    packings = []
    for pauses in (False, pause):
        day, truth_of_day = HourCounts(keys=of_day), Naive()
        for blobs in hours:
            hour, truth_of_hour = HourCounts(keys=of_hour), Naive()
            for written in blobs:
                with pytest.MonkeyPatch.context() as patch:
                    shrink_families(patch, of_blob)
                    blob = counted(written, pauses=pauses).shares.get(0, HourCounts())
                    blob = unpack(pack_within({0: blob}))[0]
                hour.merge(blob)
                assert_laws_of_hour(blob, of_blob, naive(written))
                for truth in (truth_of_hour, truth_of_day):
                    for record in written:
                        truth.count(record)
            stored, packed = passed_on(hour)
            packings.append(packed)
            assert_laws_of_hour(stored, min(of_blob, of_hour), truth_of_hour)
            day.merge(stored)
        stored, packed = passed_on(day)
        packings.append(packed)
        assert_laws_of_hour(stored, min(levels), truth_of_day)
    assert packings[: len(hours) + 1] == packings[len(hours) + 1 :]


def assert_laws_of_hour(hour: HourCounts, capacity: int, truth: Naive) -> None:
    assert traffic_of(hour) == truth.traffic.get(0, {})
    for name, family in hour.families.items():
        assert_laws(family, capacity, truth.families.get((0, name), {}))


@given(days, st.integers(0, 2500), st.integers(0, 5000))
@settings(max_examples=200, deadline=None)
def test_what_has_no_room_goes_to_the_rest_at_each_level(
    hours: list[list[list[Written]]], of_family: int, of_all: int
) -> None:
    day, truth_of_day = HourCounts(), Naive()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "FAMILY_BYTES", of_family)
        patch.setattr(packing, "PERIOD_BYTES", of_all)
        for blobs in hours:
            hour, truth_of_hour = HourCounts(), Naive()
            for written in blobs:
                shares = counted(written).shares
                hour.merge(unpack(pack_within(shares, of_all)).get(0, HourCounts()))
                for truth in (truth_of_hour, truth_of_day):
                    for record in written:
                        truth.count(record)
            stored, _ = passed_on(hour)
            day.merge(stored)
            assert traffic_of(stored) == truth_of_hour.traffic.get(0, {})
            for name, family in stored.families.items():
                assert_laws_1_and_2(family, truth_of_hour.families.get((0, name), {}))
        stored, packed = passed_on(day)
    for name, family in stored.families.items():
        assert_laws_1_and_2(family, truth_of_day.families.get((0, name), {}))
        assert len(packed.get(name, b"")) <= of_family or not len(family)
    kept = sum(len(family) for family in stored.families.values())
    assert sum(map(len, packed.values())) <= of_all or not kept


@given(st.data(), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_of_the_order_of_a_records_tuples_only_first_appearances_matter(
    data: st.DataObject, keys: int
) -> None:
    texts = data.draw(
        st.lists(
            st.integers(0, 30).map(lambda n: v2(HOUR_MS + n, "I", "AD"[n % 2], src=f"10.0.0.{n}")),
            max_size=30,
        )
    )
    firsts = [*dict.fromkeys(texts)]
    again = [text for place, text in enumerate(texts) if text in texts[:place]]
    shuffled = [*firsts, *data.draw(st.permutations(again))]
    with pytest.MonkeyPatch.context() as patch:
        shrink_families(patch, keys + 1)
        one, other = counted([one_record("nsg-v2", *texts)]), counted([one_record("nsg-v2", *shuffled)])
    assert plain(one.shares) == plain(other.shares)


@given(written_records("vnet-v4"))
def test_a_record_without_an_acl_group_of_its_own_counts_for_the_blobs(written: Written) -> None:
    source = written.source.replace(b"unspecified", b"")
    groups = {group.acl_group or NSG_ID for record in records_of([written]) for group in record.groups}
    assert "" not in groups
    counts = counted([Written(written.layout, {}, source, [])])
    for hour in counts.shares.values():
        assert all(key[0] for key in seen_of(hour))


# Hours and their edges


@pytest.mark.parametrize(
    ("offset_ms", "share", "bucket"),
    [
        (-3_600_001, None, None),
        (-3_600_000, -1, 0),
        (-300_001, -1, 10),
        (-300_000, -1, 11),
        (-1, -1, 11),
        (0, 0, 0),
        (299_999, 0, 0),
        (300_000, 0, 1),
        (3_599_999, 0, 11),
        (3_600_000, 1, 0),
        (7_199_999, 1, 11),
        (7_200_000, None, None),
    ],
)
def test_a_tuple_counts_in_the_hour_of_its_own_time(
    offset_ms: int, share: int | None, bucket: int | None
) -> None:
    counts = BlobCounts()
    (record,) = records_of([one_record("nsg-v2", v2(HOUR_MS + offset_ms))])
    rejects = counts.count_record(record, HOUR, "000D3AF87856", NSG_ID)
    if share is None:
        assert counts.shares == {}
        assert [reject.reason for reject in rejects] == [Reason.FAR_TIME]
        assert (counts.tuples, counts.malformed) == (0, 1)
    else:
        assert rejects == []
        assert [*counts.shares] == [share]
        assert [*counts.shares[share].traffic] == [(bucket, "Inbound", "Allowed")]
        assert [*counts.hours(HOUR)] == [(HOUR + timedelta(hours=share), counts.shares[share])]


def test_a_time_in_seconds_and_one_in_milliseconds_are_one_time() -> None:
    counts = counted([one_record("nsg-v2", v2(HOUR_MS // 1000), v2(HOUR_MS))])
    assert seen_of(counts.shares[0]) == {(NSG_ID, "r", "Inbound", "Allowed"): (HOUR_MS, HOUR_MS)}
    assert counts.shares[0].totals()[0] == 2


def test_first_and_last_seen_are_by_rule_and_hour() -> None:
    counts = counted(
        [
            one_record("nsg-v2", v2(HOUR_MS + 5), v2(HOUR_MS + 3), v2(HOUR_MS - 7), rule="a"),
            one_record("nsg-v2", v2(HOUR_MS + 9), v2(HOUR_MS + 1, decision="D"), rule="a"),
        ]
    )
    allowed, denied = (NSG_ID, "a", "Inbound", "Allowed"), (NSG_ID, "a", "Inbound", "Denied")
    assert seen_of(counts.shares[0]) == {
        allowed: (HOUR_MS + 3, HOUR_MS + 9),
        denied: (HOUR_MS + 1, HOUR_MS + 1),
    }
    assert seen_of(counts.shares[-1]) == {allowed: (HOUR_MS - 7, HOUR_MS - 7)}


# Which tuple belongs to which view


@pytest.mark.parametrize(
    ("way", "decision", "views"),
    [
        ("I", "A", {"talkers": ("10.0.0.4", "Inbound"), "allowed-ports": ("TCP", 443, "Inbound")}),
        ("O", "A", {"talkers": ("10.0.0.5", "Outbound"), "allowed-ports": ("TCP", 443, "Outbound")}),
        ("I", "D", {"denied-sources": ("10.0.0.4",), "denied-ports": ("TCP", 443, "Inbound")}),
        ("O", "D", {"denied-ports": ("TCP", 443, "Outbound")}),
    ],
)
def test_which_views_a_tuple_belongs_to(way: str, decision: str, views: dict[str, object]) -> None:
    counts = counted([one_record("nsg-v2", v2(HOUR_MS, way, decision))])
    found = {name: [*family.sums] for name, family in counts.shares[0].families.items() if len(family)}
    direction = "Inbound" if way == "I" else "Outbound"
    status = "Allowed" if decision == "A" else "Denied"
    conversations = "conversations" if decision == "A" else "denied-conversations"
    assert found == {name: [key] for name, key in views.items()} | {
        "rules": [(NSG_ID, "r", direction, status)],
        "nics": [(MAC, direction, status)],
        "addresses": [(MAC, "10.0.0.5" if way == "I" else "10.0.0.4")],
        conversations: [("10.0.0.4", "10.0.0.5", 443, "TCP", direction, NSG_ID, "r")],
    }


@pytest.mark.parametrize(
    ("way", "decision", "source", "exposed"),
    [
        ("I", "A", "203.0.113.9", 1),
        ("I", "D", "203.0.113.9", 0),
        ("O", "A", "203.0.113.9", 0),
        ("I", "A", "10.0.0.4", 0),
        ("I", "A", "168.63.129.16", 0),
        ("I", "A", "::ffff:10.0.0.4", 0),
        ("I", "A", "::ffff:203.0.113.9", 1),
    ],
)
def test_a_port_is_exposed_that_is_reached_from_the_internet(
    way: str, decision: str, source: str, exposed: int
) -> None:
    counts = counted([one_record("nsg-v2", v2(HOUR_MS, way, decision, src=source))])
    found = [*counts.shares[0].families["exposed-ports"].sums]
    assert found == [("TCP", 443, "10.0.0.5", NSG_ID, "r")] * exposed


def test_an_encryption_code_is_counted_as_it_is_written() -> None:
    text = f"{HOUR_MS},10.0.0.4,10.0.0.5,1024,443,6,O,D,NX_NEW,,,,"
    counts = counted([one_record("vnet-v4", text)])
    assert [*counts.shares[0].families["encryption"].sums] == [("NX_NEW", "Outbound")]


def test_identical_tuples_are_all_counted() -> None:
    text = v2(HOUR_MS, end="E,1,2,3,4")
    counts = counted([one_record("nsg-v2", text, text), one_record("nsg-v2", text)])
    assert counts.shares[0].totals() == [3, 0, 0, 3, 3, 6, 9, 12, *NO_RESTARTS]


def test_the_acl_group_is_the_records_own_or_the_blobs() -> None:
    vnet = f"{HOUR_MS},10.0.0.4,10.0.0.5,1,443,6,I,B,X,,,,"
    records = (one_record("vnet-v4", vnet), "acl"), (one_record("nsg-v2", v2(HOUR_MS)), NSG_ID)
    for record, group in records:
        assert [*seen_of(counted([record]).shares[0])] == [(group, "r", "Inbound", "Allowed")]


def test_sums_stay_at_the_largest_number_that_a_column_holds() -> None:
    text = v2(HOUR_MS, end=f"E,{INT64_MAX},1,{INT64_MAX},{INT64_MAX}")
    counts = counted([one_record("nsg-v2", text, text)])
    expected = [2, 0, 0, 2, INT64_MAX, 2, INT64_MAX, INT64_MAX, *NO_RESTARTS]
    assert counts.shares[0].totals() == expected
    assert [*figures_by_key(counts.shares[0].families["talkers"]).values()] == [expected]


def test_the_last_records_time_is_the_latest_and_needs_no_tuples() -> None:
    counts = counted(
        [
            one_record("nsg-v2", time="2026-11-21T05:02:00Z"),
            one_record("nsg-v2", time="2026-11-21T05:01:00Z"),
            one_record("nsg-v2", time="never"),
        ]
    )
    assert counts.last_record_time == HOUR + timedelta(minutes=2)
    assert (counts.records, counts.tuples, counts.malformed, counts.shares) == (3, 0, 0, {})


def test_trimmed_hours_keep_what_is_stored_and_the_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_families(monkeypatch, 10)
    counts = counted([one_record("nsg-v2", *(v2(HOUR_MS, src=f"10.0.0.{n}") for n in range(15)))])
    hour = counts.shares[0]
    assert len(hour.families["talkers"]) == 15
    hour.trim("hour", of_all=False)
    assert len(hour.families["talkers"]) == 10
    assert plain_family(hour.families["talkers"])["rest"] == [5, 5, 0, 0, 0, 0, 0, 0, *NO_RESTARTS]
    assert {name: family.capacity for name, family in hour.families.items()} == dict.fromkeys(FAMILIES, 10)


@pytest.mark.parametrize(
    ("grain", "of_all", "many"),
    [("hour", False, 4), ("day", False, 5), ("hour", True, 2), ("day", True, 3)],
)
def test_of_each_level_as_many_keys_are_kept_as_are_declared(
    monkeypatch: pytest.MonkeyPatch, grain: Literal["hour", "day"], many: int, *, of_all: bool
) -> None:
    monkeypatch.setitem(FAMILIES, "talkers", replace(FAMILIES["talkers"], kept=Kept(4, 5, 2, 3)))
    counts = counted([one_record("nsg-v2", *(v2(HOUR_MS, src=f"10.0.0.{n}") for n in range(15)))])
    hour = counts.shares[0]
    hour.trim(grain, of_all=of_all)
    assert (len(hour.families["talkers"]), len(hour.families["conversations"])) == (many, 15)


def test_what_tells_which_interfaces_there_are_is_kept_everywhere() -> None:
    for name in ("nics", "addresses"):
        assert {*asdict(FAMILIES[name].kept).values()} == {10_000}

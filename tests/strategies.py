"""Flow logs for laws: tuples, records and blobs, each generated together with what it means."""

import ipaddress
import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import strategies as st

from shared.flowlog.records import Record, RecordReader
from shared.flowlog.tuples import INT64_MAX, FlowTuple
from shared.tally.families import FAMILIES, Kept
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import Figures, add_figures, no_figures, to_figures, to_sums

type Layout = Literal["nsg-v1", "nsg-v2", "vnet-v4"]
type Json = dict[str, Any]

LAYOUTS: tuple[Layout, ...] = ("nsg-v1", "nsg-v2", "vnet-v4")
HOUR = datetime(2026, 11, 21, 5, tzinfo=UTC)
HOUR_MS = int(HOUR.timestamp()) * 1000
ENCRYPTIONS = (
    "X",
    "NX",
    "NX_HW_NOT_SUPPORTED",
    "NX_SW_NOT_READY",
    "NX_NOT_ACCEPTED",
    "NX_NOT_SUPPORTED",
    "NX_LOCAL_DST",
    "NX_FALLBACK",
    "NX_NEW_IN_2027",
    "NX_" + 59 * "z",
)

layouts = st.sampled_from(LAYOUTS)


@dataclass(frozen=True)
class Good:
    """A tuple as it is written, and as it is to be read."""

    text: str
    flow: FlowTuple


@dataclass(frozen=True)
class Bad:
    """An element of ``flowTuples`` that is to be rejected, and why."""

    element: object
    reason: str


# Tuples


@st.composite
def _written_address(draw: st.DrawFn) -> tuple[str, str]:
    address = draw(st.ip_addresses())
    if isinstance(address, ipaddress.IPv4Address):
        return str(address), str(address)
    forms = [str(address), str(address).upper(), address.exploded, address.exploded.upper()]
    return draw(st.sampled_from(forms)), str(address)


addresses = _written_address() | st.sampled_from(
    [("10.0.0.4", "10.0.0.4"), ("203.0.113.9", "203.0.113.9"), ("2001:DB8::00A", "2001:db8::a")]
)
protocols = st.sampled_from(
    [("T", "TCP"), ("U", "UDP"), ("6", "TCP"), ("17", "UDP"), ("1", "1"), ("006", "TCP"), ("0", "0")]
) | st.integers(18, 255).map(lambda number: (str(number), str(number)))
ports = st.integers(0, 65_535)
counters = st.integers(0, 10_000) | st.integers(0, INT64_MAX) | st.sampled_from([2**31, 2**32, INT64_MAX])
any_time = st.integers(10**9, 10**10 - 1).map(lambda seconds: (str(seconds), seconds * 1000)) | st.integers(
    10**12, 10**13 - 1
).map(lambda ms: (str(ms), ms))


@dataclass(frozen=True)
class Ending:
    """What stands behind the direction, and what it means."""

    fields: tuple[str, ...]
    denied: bool = False
    began: bool = False
    ended: bool = False
    counts: bool = False
    encryption: str = ""


ENDINGS: dict[Layout, list[Ending]] = {
    "nsg-v1": [Ending(("A",), began=True), Ending(("D",), denied=True)],
    "nsg-v2": [
        Ending(("A", "B"), began=True),
        Ending(("A", "C"), counts=True),
        Ending(("A", "E"), counts=True, ended=True),
        Ending(("D", "B"), denied=True),
    ],
    "vnet-v4": [
        ending
        for code in ENCRYPTIONS
        for ending in (
            Ending(("B", code), began=True, encryption=code),
            Ending(("C", code), counts=True, encryption=code),
            Ending(("E", code), counts=True, ended=True, encryption=code),
            Ending(("D", code), denied=True, encryption=code),
        )
    ],
}


def good_tuple(  # noqa: PLR0917 -- these are the parts of a tuple, in its order
    layout: Layout,
    time: tuple[str, int],
    ips: Sequence[tuple[str, str]],
    port_numbers: Sequence[int],
    protocol: tuple[str, str],
    way: Literal["I", "O"],
    ending: Ending,
    figures: Sequence[int],
    empty: str,
) -> Good:
    """A tuple of these parts, each as it is written and as it is to be read."""
    four = [*figures] if ending.counts else [0, 0, 0, 0]
    tail = [str(number) if ending.counts else empty for number in four] if layout != "nsg-v1" else []
    text = ",".join(
        [time[0], *(ip[0] for ip in ips), *map(str, port_numbers), protocol[0], way, *ending.fields, *tail]
    )
    return Good(
        text,
        FlowTuple(
            time_ms=time[1],
            src_ip=ips[0][1],
            dest_ip=ips[1][1],
            src_port=port_numbers[0],
            dest_port=port_numbers[1],
            protocol=protocol[1],
            direction="Inbound" if way == "I" else "Outbound",
            status="Denied" if ending.denied else "Allowed",
            encryption=ending.encryption,
            flows_allowed=int(ending.began),
            flows_denied=int(ending.denied),
            flows_ended=int(ending.ended),
            packets_src_to_dest=four[0],
            bytes_src_to_dest=four[1],
            packets_dest_to_src=four[2],
            bytes_dest_to_src=four[3],
        ),
    )


def good_tuples(layout: Layout) -> st.SearchStrategy[Good]:
    """Tuples of every kind that the layout knows."""
    return st.builds(
        good_tuple,
        st.just(layout),
        any_time,
        st.tuples(addresses, addresses),
        st.tuples(ports, ports),
        protocols,
        st.sampled_from("IO"),
        st.sampled_from(ENDINGS[layout]),
        st.tuples(counters, counters, counters, counters),
        st.sampled_from(["", "0"]),
    )


NO_TIMES = ("", "1", "123456789", "12345678901", "17000000001234", "-170000000", "170000000.", "١٧٠٠٠٠٠٠٠٠")
NO_ADDRESSES = (
    *("", "x", "10.0.0", "10.0.0.256", "10.0.0.4/32", "010.0.0.4", " 10.0.0.4", "167772164"),
    *("fe80::1%eth0", "[::1]", "::g", "1::2::3", "١.٢.٣.٤"),
)
NO_PORTS = ("", "-1", "65536", "99999", "100000", "x", "80.0", "+80", " 80", "٨٠", "²")
NO_PROTOCOLS = ("", "256", "999", "1000", "-1", "t", "TCP", "X", "٦")
NO_ENCRYPTIONS = ("", "x", "B", "XX", "nx", "NX-", "NX_A B", "NX\n", "NX_É", "NX_" + 60 * "A")
NO_COUNTERS = ("-1", str(2**63), str(2**64), "9" * 5000, "1.0", "1e3", "x", " 1", "٣", "NaN")

_TIME, _ADDRESS, _PORT = "time is neither 10 nor 13 digits", "not an address", "not a port"
_COUNTER = "counter is no signed 64-bit number"


def bad_values(layout: Layout) -> list[tuple[int, str, str]]:
    """Values that break one field of an otherwise good tuple: field, value, reason."""
    broken = [(0, value, _TIME) for value in NO_TIMES]
    broken += [(field, value, _ADDRESS) for field in (1, 2) for value in NO_ADDRESSES]
    broken += [(field, value, _PORT) for field in (3, 4) for value in NO_PORTS]
    broken += [(5, value, "unknown protocol") for value in NO_PROTOCOLS]
    broken += [(6, value, "unknown direction") for value in ("", "i", "o", "X", "IO", "Inbound")]
    if layout == "vnet-v4":
        broken += [(7, value, "unknown state") for value in ("", "A", "b", "BC", "X")]
        broken += [(8, value, "unknown encryption") for value in NO_ENCRYPTIONS]
    else:
        broken += [(7, value, "unknown decision") for value in ("", "a", "B", "AD", "X")]
    if layout == "nsg-v2":
        broken += [(8, value, "unknown state") for value in ("", "A", "b", "D", "X")]
    if layout != "nsg-v1":
        broken += [(field, value, _COUNTER) for field in (9, 10, 11, 12) for value in NO_COUNTERS]
    return broken


BAD_VALUES = {layout: bad_values(layout) for layout in LAYOUTS}
NO_TEXTS: tuple[object, ...] = (None, 1, True, [], {}, ["a"], 2**70)


def bad_tuple(layout: Layout, good: Good, number: int) -> Bad:
    """A good tuple with one thing wrong, so that there is one right answer why: the ``number``-th thing."""
    fields = good.text.split(",")
    kind, number = number % 4, number // 4
    if kind == 0:
        return Bad(NO_TEXTS[number % len(NO_TEXTS)], "not a string")
    if kind == 1:
        changed = [fields[:-1], [*fields, "0"], [], fields[:1], fields[:7]][number % 5]
        return Bad(",".join(changed), "wrong number of fields")
    if kind == 2 and layout != "nsg-v1":
        gaps = 1 + number % 15
        state = "CE"[number // 15 % 2]
        fields[7:9] = ["A", state] if layout == "nsg-v2" else [state, "X"]
        fields[9:] = ["" if gaps >> place & 1 else "7" for place in range(4)]
        return Bad(",".join(fields), "counter missing")
    broken = BAD_VALUES[layout]
    field, value, reason = broken[number % len(broken)]
    fields[field] = value
    return Bad(",".join(fields), reason)


def bad_tuples(layout: Layout) -> st.SearchStrategy[Bad]:
    """Tuples with one thing wrong."""
    return st.builds(bad_tuple, st.just(layout), good_tuples(layout), st.integers(0, 10_000))


# Tuples that a blob of HOUR may hold, of few keys, so that keys recur; each from one number, to be quick.

FEW_IPS = [(ip, ip) for ip in ("10.0.0.4", "10.0.0.5", "203.0.113.9", "2001:db8::a")]
FEW_PROTOCOLS = [("T", "TCP"), ("17", "UDP"), ("1", "1")]
EDGES_MS = (0, 1_234_567, -3_600_000, -1, 299_999, 300_000, 3_599_999, 3_600_000, 7_199_999)
FAR_MS = (-3_600_001, 7_200_000, -(10**9), 10**9, -HOUR_MS, 10**13 - 1 - HOUR_MS)
FAR = "time is more than an hour outside the blob's hour"


class _Choices:
    """Choices that a number stands for; small numbers choose what comes first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def below(self, bound: int) -> int:
        self.number, choice = divmod(self.number, bound)
        return choice

    def one[Option](self, options: Sequence[Option]) -> Option:
        return options[self.below(len(options))]


def hour_tuple(layout: Layout, number: int) -> Good | Bad:
    """The ``number``-th tuple of a blob of ``HOUR``: good, bad, or of another hour."""
    choices = _Choices(number)
    kind = choices.one(["good"] * 6 + ["bad", "far"])
    ms = HOUR_MS + choices.one(FAR_MS if kind == "far" else EDGES_MS)
    seconds = (f"{ms // 1000:010d}", ms // 1000 * 1000)
    good = good_tuple(
        layout,
        choices.one([(f"{ms:013d}", ms)] if kind == "far" else [(f"{ms:013d}", ms), seconds]),
        (choices.one(FEW_IPS), choices.one(FEW_IPS)),
        (1024, choices.one([22, 53, 443])),
        choices.one(FEW_PROTOCOLS),
        choices.one(("I", "O")),
        choices.one(ENDINGS[layout]),
        [choices.below(10) * choices.below(1000) for _ in range(4)],
        choices.one(["", "0"]),
    )
    if kind == "far":
        return Bad(good.text, FAR)
    return good if kind == "good" else bad_tuple(layout, good, choices.number)


def hour_tuples(layout: Layout) -> st.SearchStrategy[Good | Bad]:
    """What a blob of ``HOUR`` may hold: tuples of few keys and small figures, and some to be rejected."""
    return st.integers(0, 2**80).map(lambda number: hour_tuple(layout, number))


# Records

nasty_names = st.sampled_from(
    [
        "DefaultRule_AllowInternetOutBound",
        "UserRule_überall",
        "UserRule_規則\U0001f600",
        'UserRule_"quoted"\\',
        'UserRule_{"time":1}',
        "UserRule_]},{[",
        "UserRule_\x07\x1b[31m\x00",
        "unspecified",
        "",
    ]
)
names = nasty_names | st.text(string.printable, max_size=12)
acls = st.sampled_from(
    [
        "00000000-0000-0000-0000-000000000000",
        "unspecified",
        "/subscriptions/S/resourceGroups/R/providers/Microsoft.Network/networkSecurityGroups/Web",
    ]
)

type Element = Good | Bad
type Group = tuple[str, str, list[Element]]


@dataclass(frozen=True)
class Written:
    """One record: its JSON, its bytes, and the tuples of each rule: (ACL in lower case, rule, elements)."""

    layout: Layout
    document: Json
    source: bytes
    groups: list[Group]


def element_of(element: Element) -> object:
    """What stands in the ``flowTuples`` array."""
    return element.text if isinstance(element, Good) else element.element


def record_document(
    layout: Layout, groups: Sequence[Group], time: str = "2026-11-21T05:01:02.1234567Z"
) -> Json:
    """A record as Network Watcher writes it."""
    if layout == "vnet-v4":
        return {
            "time": time,
            "flowLogVersion": 4,
            "flowLogGUID": "66aa66aa-0000-0000-0000-000000000001",
            "macAddress": "000D3AF87856",
            "category": "FlowLogFlowEvent",
            "flowLogResourceID": "/SUBSCRIPTIONS/S/FLOWLOGS/F",
            "targetResourceID": "/subscriptions/S/virtualNetworks/V",
            "operationName": "FlowLogFlowEvent",
            "flowRecords": {
                "flows": [
                    {
                        "aclID": acl,
                        "flowGroups": [{"rule": rule, "flowTuples": [*map(element_of, elements)]}],
                    }
                    for acl, rule, elements in groups
                ]
            },
        }
    return {
        "time": time,
        "systemId": "66aa66aa-0000-0000-0000-000000000001",
        "macAddress": "000D3AF87856",
        "category": "NetworkSecurityGroupFlowEvent",
        "resourceId": "/SUBSCRIPTIONS/S/NETWORKSECURITYGROUPS/N",
        "operationName": "NetworkSecurityGroupFlowEvents",
        "properties": {
            "Version": 1 if layout == "nsg-v1" else 2,
            "flows": [
                {
                    "rule": rule,
                    "flows": [{"mac": "000D3AF87856", "flowTuples": [*map(element_of, elements)]}],
                }
                for _, rule, elements in groups
            ],
        },
    }


def with_keys(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with every key changed."""
    if isinstance(value, dict):
        return {change(key): with_keys(member, change) for key, member in value.items()}
    return [with_keys(member, change) for member in value] if isinstance(value, list) else value


KEY_CASES: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.swapcase)


def _compact(document: Json) -> str:
    return json.dumps(document, separators=(",", ":"))


def _pretty(document: Json) -> str:
    return json.dumps(document, indent=2).replace("\n", "\r\n")


def _unescaped(document: Json) -> str:
    text = json.dumps(document, ensure_ascii=False)
    return text if text.isprintable() else _compact(document)


def _escaped(document: Json) -> str:
    return _compact(document).replace(".", "\\u002e").replace("/", "\\/")


WRITERS: tuple[Callable[[Json], str], ...] = (_compact, json.dumps, _pretty, _unescaped, _escaped)


@st.composite
def written_records(
    draw: st.DrawFn,
    layout: Layout | None = None,
    elements: Callable[[Layout], st.SearchStrategy[Element]] | None = None,
    most: int = 4,
    rules: st.SearchStrategy[str] = names,
    writers: Sequence[Callable[[Json], str]] = WRITERS,
) -> Written:
    """Records of every layout, in every spelling, with good and bad tuples or none at all."""
    layout_of = draw(layouts) if layout is None else layout
    element = elements(layout_of) if elements else st.one_of(good_tuples(layout_of), bad_tuples(layout_of))
    groups: list[Group] = draw(
        st.lists(st.tuples(acls, rules, st.lists(element, max_size=most)), max_size=most)
    )
    document = record_document(layout_of, groups)
    order = draw(st.permutations([*document])) if draw(st.booleans()) else [*document]
    document = with_keys({key: document[key] for key in order}, draw(st.sampled_from(KEY_CASES)))
    if layout_of != "vnet-v4" and groups and draw(st.booleans()):
        silent = {"rule": "UserRule_silent", "flows": []}  # the rule exists and saw nothing
        _member(_member(document, "properties"), "flows").append(silent)
    expected = [(acl.lower() if layout_of == "vnet-v4" else "", rule, tuples) for acl, rule, tuples in groups]
    return Written(layout_of, document, draw(st.sampled_from(writers))(document).encode(), expected)


def _member(document: Json, name: str) -> Any:
    return next(value for key, value in document.items() if key.lower() == name)


def plain_records(most: int = 2) -> st.SearchStrategy[Written]:
    """Records whose tuples are of no interest, quickly drawn."""
    elements: st.SearchStrategy[Element] = st.sampled_from(
        [
            Bad("1493763938,203.0.113.105,10.2.0.4,35370,23,T,I,A,B,,,,", ""),
            Bad("1663146003599,2001:db8::a,198.51.100.180,23956,443,6,O,E,NX,1,2,3,4", ""),
            Bad('garbled "\\ \ud800 \U0001f600 ,[{', ""),
            Bad(None, ""),
            Bad([{"a": -1}], ""),
        ]
    )
    return written_records(elements=lambda _: elements, most=most)


# Blobs


@dataclass(frozen=True)
class Blob:
    """A blob's bytes, and where in them the whole records are."""

    data: bytes
    records: list[tuple[int, int, Written]]


OPENERS = (
    b'{"records":[',
    b"",
    b'\xef\xbb\xbf{"records":[',
    b'{\r\n  "Records" : [\r\n    ',
    b'{"records":[{"records":[',
)
CLOSERS = (b"]}", b"", b",]}", b"\r\n  ]\r\n}\r\n", b"]}]}", b"] }\n")
BETWEEN = (b",", b",\r\n    ", b" , ", b"", b"\n", b']},{"records":[')
GARBAGE = (
    b"\x00\x00\x00\x00",
    b"null",
    b'"text"',
    b"}}}",
    b"]",
    b"{",
    b'{"',
    b'{"records":{',
    b"{}",
    b'{"foo":1}',
    b'{"foo":[1,{"bar":"',
    b"\xff\xfe",
    b"\xcf\xbb\xbf",
    b'{"time":',
    b'{"time":NaN,"properties":{"flows":1}}',
    b'{"time":1,"TIME":2}',
    b'{"time":"2026-11-21T05:00:00Z","flowRecords":{"flows":[{',
    b'{"category":"\xff","flowRecords":{"flows":[]}}',
    b'{"time":"","flowLogVersion":5,"flowRecords":{"flows":[]}}',
    b"-----",
)


@st.composite
def blobs(
    draw: st.DrawFn, records: st.SearchStrategy[Written] | None = None, most: int = 5, *, clean: bool = False
) -> Blob:
    """Blobs as they are and as they should never be: with garbage and halves of records in between."""
    a_record = plain_records() if records is None else records
    data = bytearray(draw(st.sampled_from(OPENERS)))
    found: list[tuple[int, int, Written]] = []
    for number in range(draw(st.integers(0, most))):
        if number:
            data += draw(st.sampled_from(BETWEEN))
        what = "record" if clean else draw(st.sampled_from(["record"] * 4 + ["half", "garbage", "noise"]))
        if what == "garbage":
            data += draw(st.sampled_from(GARBAGE))
        elif what == "noise":
            data += draw(st.binary(max_size=20))
        else:
            record = draw(a_record)
            if what == "half":
                data += record.source[: draw(st.integers(1, len(record.source) - 1))]
            else:
                found.append((len(data), len(data) + len(record.source), record))
                data += record.source
    data += draw(st.sampled_from(CLOSERS))
    return Blob(bytes(data), found)


@st.composite
def cuts(draw: st.DrawFn, data: bytes, most: int = 6) -> list[bytes]:
    """``data`` in pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=most)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


# Counts of records


def hour_records(
    most: int = 4, rules: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[list[Written]]:
    """Some records of one blob of ``HOUR``."""
    some = st.sampled_from(["DefaultRule_a", "UserRule_ü", "UserRule_規則"]) if rules is None else rules
    return layouts.flatmap(
        lambda layout: st.lists(
            written_records(layout, hour_tuples, most=3, rules=some, writers=[_compact]), max_size=most
        )
    )


def records_of(written: Sequence[Written]) -> list[Record]:
    """The records as a reader gives them, from one blob."""
    data = b'{"records":[' + b",".join(record.source for record in written) + b"]}"
    return [item for item in RecordReader().feed(data) if isinstance(item, Record)]


def shrink_families(patch: pytest.MonkeyPatch, keys: int) -> None:
    """Let families overflow early."""
    for name, family in FAMILIES.items():
        kept = Kept(keys, keys, keys, keys)
        patch.setitem(FAMILIES, name, replace(family, keys=keys, kept=kept))


# Counts as plain values, to compare and to print


def figures_by_key(family: HeavyHitters) -> dict[Key, Figures]:
    """A family's figures, in the order in which its keys were admitted."""
    return {row.key: row.figures for row in family.rows()}


def traffic_of(hour: HourCounts) -> dict[tuple[int, str, str], Figures]:
    """An hour's exact traffic."""
    return {key: to_figures(sums) for key, sums in hour.traffic.items()}


def assert_laws(family: HeavyHitters, capacity: int, truth: Mapping[Key, Figures]) -> None:
    """The four laws of ``heavy_hitters``, against every key's true figures."""
    assert_laws_1_and_2(family, truth)
    rows = {row.key: row for row in family.rows()}
    # 3. whatever is above N / K has a row
    total = sum(map(family.weight, truth.values()))
    assert {key for key in truth if family.weight(truth[key]) * capacity > total} <= rows.keys()
    # 4. up to K keys, all is exact
    if len(truth) <= capacity:
        assert {key: row.figures for key, row in rows.items()} == truth
        assert family.rest == 0
        assert not any(row.missed for row in rows.values())


def assert_laws_1_and_2(family: HeavyHitters, truth: Mapping[Key, Figures]) -> None:
    """Those that hold whatever was dropped."""
    rows = {row.key: row for row in family.rows()}
    # 1. rows + rest = all
    assert summed([*(row.figures for row in rows.values()), to_figures(family.rest)]) == summed(
        truth.values()
    )
    # 2. row ≤ truth ≤ row + missed
    for key, row in rows.items():
        weight = family.weight(row.figures)
        assert weight <= family.weight(truth[key]) <= weight + row.missed
        assert all(mine <= its for mine, its in zip(row.figures, truth[key], strict=True))


def summed(rows: Iterable[Figures]) -> Figures:
    """The sums of all columns, which stay at the largest number that a column holds."""
    total = no_figures()
    for row in rows:
        add_figures(total, row)
    return total


def seen_of(hour: HourCounts) -> dict[Key, tuple[int, int]]:
    """The first and last times of an hour's rules."""
    seen = hour.families["rules"].seen
    assert seen is not None
    return seen


def plain_family(family: HeavyHitters) -> dict[str, object]:
    """A family's whole state."""
    return {
        "figures": figures_by_key(family),
        "missed": dict(family.missed),
        "scopes": dict(family.scopes),
        "floor": family.floor,
        "rest": to_figures(family.rest),
        "seen": None if family.seen is None else dict(family.seen),
    }


def plain(shares: Mapping[int, HourCounts]) -> dict[int, dict[str, object]]:
    """The whole state of a blob's counts."""
    return {
        share: {
            "traffic": traffic_of(counts),
            **{name: plain_family(family) for name, family in counts.families.items()},
        }
        for share, counts in shares.items()
    }


def copy_family(family: HeavyHitters) -> HeavyHitters:
    """An independent copy."""
    copy = HeavyHitters(family.weight, family.capacity, times=family.seen is not None)
    rows = [*family.rows()]
    copy.fill(
        [row.key for row in rows],
        [to_sums(row.figures) for row in rows],
        [row.missed for row in rows],
        [family.seen[row.key] for row in rows] if family.seen is not None else (),
        [family.scopes.get(row.key, 0) for row in rows],
    )
    copy.floor, copy.rest = family.floor, family.rest
    return copy


column_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: name.lower() not in {"partitionkey", "rowkey", "timestamp", "etag"}
)
"""Names that a column of a table may have, beside those that all have."""

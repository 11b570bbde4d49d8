"""The grammar of a tuple: what each field may say, what is rejected, and why exactly."""

import ipaddress
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog.reasons import Rejected
from shared.flowlog.tuples import INT64_MAX, Direction, FlowTuple, Grammar, Status, read_tuple
from tests.strategies import (
    ENCRYPTIONS,
    LAYOUTS,
    Bad,
    Good,
    Layout,
    bad_tuples,
    bad_values,
    good_tuples,
    layouts,
)

V1 = "1493763938,203.0.113.105,10.2.0.4,35370,23,T,I,A"
V2 = "1493763938,203.0.113.105,10.2.0.4,35370,23,T,I,A,C,1,2,3,4"
V4 = "1663146003599,10.0.0.6,198.51.100.180,23956,443,6,O,C,NX,1,2,3,4"
EXAMPLES: dict[Layout, str] = {"nsg-v1": V1, "nsg-v2": V2, "vnet-v4": V4}


def changed(layout: Layout, field: int, value: str) -> str:
    """The layout's example with one field changed."""
    fields = EXAMPLES[layout].split(",")
    fields[field] = value
    return ",".join(fields)


def reason(element: object, grammar: Grammar) -> str:
    with pytest.raises(Rejected) as rejected:
        read_tuple(element, grammar)
    assert str(rejected.value) == rejected.value.reason
    return rejected.value.reason


def flows(flow: FlowTuple) -> tuple[int, int, int]:
    return flow.flows_allowed, flow.flows_denied, flow.flows_ended


def counters(flow: FlowTuple) -> list[int]:
    return [
        flow.packets_src_to_dest,
        flow.bytes_src_to_dest,
        flow.packets_dest_to_src,
        flow.bytes_dest_to_src,
    ]


# Laws


@given(st.data(), layouts)
@settings(max_examples=300)
def test_a_good_tuple_is_read_to_exactly_what_it_was_written_from(
    data: st.DataObject, layout: Layout
) -> None:
    good: Good = data.draw(good_tuples(layout))
    assert read_tuple(good.text, layout) == good.flow
    if layout != "vnet-v4":  # a record that doesn't say its version
        assert read_tuple(good.text, "nsg") == good.flow


@given(st.data(), layouts)
@settings(max_examples=300)
def test_a_bad_tuple_is_rejected_for_what_is_wrong_with_it(data: st.DataObject, layout: Layout) -> None:
    bad: Bad = data.draw(bad_tuples(layout))
    assert reason(bad.element, layout) == bad.reason


@given(
    st.text() | st.text("0123456789.,:TUIOABCEDNX", max_size=120) | st.none() | st.integers(),
    st.sampled_from(get_args(Grammar)),
)
def test_anything_is_read_or_rejected(element: object, grammar: Grammar) -> None:
    try:
        flow = read_tuple(element, grammar)
    except Rejected:
        return
    assert flow.direction in get_args(Direction)
    assert flow.status in get_args(Status)
    assert all(0 <= counter <= INT64_MAX for counter in counters(flow))


@given(st.ip_addresses(v=6))
def test_all_spellings_of_an_ipv6_address_are_one(address: ipaddress.IPv6Address) -> None:
    spellings = {str(address), address.exploded, address.exploded.upper(), str(address).upper()}
    read = {read_tuple(changed("nsg-v1", 1, spelling), "nsg-v1").src_ip for spelling in spellings}
    assert read == {str(address)}


# Tables


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_broken_field_has_its_reason(layout: Layout) -> None:
    wrong = {
        (field, value): (given_reason, expected)
        for field, value, expected in bad_values(layout)
        for given_reason in [reason(changed(layout, field, value), layout)]
        if given_reason != expected
    }
    assert not wrong


@pytest.mark.parametrize("element", [None, True, 1, 1.5, float("nan"), 2**70, [], [V2], {}, {"a": V2}])
@pytest.mark.parametrize("grammar", get_args(Grammar))
def test_what_is_no_string_is_rejected(element: object, grammar: Grammar) -> None:
    assert reason(element, grammar) == "not a string"


@pytest.mark.parametrize(
    ("grammar", "accepted"), [("nsg", {8, 13}), ("nsg-v1", {8}), ("nsg-v2", {13}), ("vnet-v4", {13})]
)
def test_the_number_of_fields_is_the_grammars(grammar: Grammar, accepted: set[int]) -> None:
    example = V4 if grammar == "vnet-v4" else V2
    fields = [*example.split(","), "0", "0"]
    for number in range(len(fields) + 1):
        text = ",".join(fields[:number])
        if number in accepted:
            read_tuple(text, grammar)
        else:
            assert reason(text, grammar) == "wrong number of fields"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1493763938", 1_493_763_938_000),
        ("1493763938001", 1_493_763_938_001),
        ("0000000000", 0),
        ("9999999999", 9_999_999_999_000),
        ("0000000000001", 1),
    ],
)
def test_ten_digits_are_seconds_and_thirteen_milliseconds(
    layout: Layout, text: str, milliseconds: int
) -> None:
    assert read_tuple(changed(layout, 0, text), layout).time_ms == milliseconds


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10.0.0.4", "10.0.0.4"),
        ("0.0.0.1", "0.0.0.1"),
        ("255.255.255.255", "255.255.255.255"),
        ("::", "::"),
        ("2001:DB8:0:0:0:0:0:A", "2001:db8::a"),
        ("2001:0db8::000a", "2001:db8::a"),
        ("fe80::1:0:0:1", "fe80::1:0:0:1"),
        ("::ffff:10.0.0.4", "::ffff:10.0.0.4"),
        ("::FFFF:0A00:0004", "::ffff:10.0.0.4"),
    ],
)
def test_addresses_are_canonical(layout: Layout, written: str, read: str) -> None:
    assert read_tuple(changed(layout, 1, written), layout).src_ip == read
    assert read_tuple(changed(layout, 2, written), layout).dest_ip == read


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("written", "read"), [("0", 0), ("00", 0), ("00080", 80), ("443", 443), ("65535", 65535)]
)
def test_ports(layout: Layout, written: str, read: int) -> None:
    assert read_tuple(changed(layout, 3, written), layout).src_port == read
    assert read_tuple(changed(layout, 4, written), layout).dest_port == read


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("written", "read"),
    [
        *[("T", "TCP"), ("6", "TCP"), ("006", "TCP"), ("U", "UDP"), ("17", "UDP"), ("017", "UDP")],
        *[("0", "0"), ("000", "0"), ("1", "1"), ("01", "1"), ("255", "255")],
    ],
)
def test_protocols_are_a_letter_or_a_number(layout: Layout, written: str, read: str) -> None:
    assert read_tuple(changed(layout, 5, written), layout).protocol == read


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("written", "read"), [("I", "Inbound"), ("O", "Outbound")])
def test_directions(layout: Layout, written: str, read: str) -> None:
    assert read_tuple(changed(layout, 6, written), layout).direction == read


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_encryption_codes(encryption: str) -> None:
    """A code that nobody knows yet is kept as it is written."""
    expected = read_tuple(V4, "vnet-v4")._replace(encryption=encryption)
    assert read_tuple(changed("vnet-v4", 8, encryption), "vnet-v4") == expected


@pytest.mark.parametrize(
    ("grammar", "end", "status", "allowed_denied_ended"),
    [
        ("nsg-v1", "A", "Allowed", (1, 0, 0)),
        ("nsg-v1", "D", "Denied", (0, 1, 0)),
        ("nsg-v2", "A,B,,,,", "Allowed", (1, 0, 0)),
        ("nsg-v2", "A,C,1,2,3,4", "Allowed", (0, 0, 0)),
        ("nsg-v2", "A,E,1,2,3,4", "Allowed", (0, 0, 1)),
        ("nsg-v2", "D,B,,,,", "Denied", (0, 1, 0)),
        ("vnet-v4", "B,NX,,,,", "Allowed", (1, 0, 0)),
        ("vnet-v4", "B,NX,0,0,0,0", "Allowed", (1, 0, 0)),
        ("vnet-v4", "C,NX,1,2,3,4", "Allowed", (0, 0, 0)),
        ("vnet-v4", "E,NX,1,2,3,4", "Allowed", (0, 0, 1)),
        ("vnet-v4", "D,NX,,,,", "Denied", (0, 1, 0)),
        ("vnet-v4", "D,NX,0,0,0,0", "Denied", (0, 1, 0)),
    ],
)
def test_what_each_state_counts(
    grammar: Grammar, end: str, status: str, allowed_denied_ended: tuple[int, int, int]
) -> None:
    flow = read_tuple(f"1493763938,10.0.0.1,10.0.0.2,1,2,T,I,{end}", grammar)
    assert flow.status == status
    assert flows(flow) == allowed_denied_ended
    assert counters(flow) == ([1, 2, 3, 4] if "1,2,3,4" in end else [0, 0, 0, 0])


@pytest.mark.parametrize(("grammar", "end"), [("nsg-v2", "A,{}"), ("nsg", "A,{}"), ("vnet-v4", "{},X")])
@pytest.mark.parametrize("state", ["C", "E"])
@pytest.mark.parametrize("four", ["", ",,,", "1,,,", ",1,1,1", "1,1,1,"])
def test_continuing_and_ended_flows_need_all_four_counters(
    grammar: Grammar, end: str, state: str, four: str
) -> None:
    text = f"1493763938,10.0.0.1,10.0.0.2,1,2,T,I,{end.format(state)},{four}"
    assert reason(text, grammar) == ("wrong number of fields" if four.count(",") < 3 else "counter missing")


@pytest.mark.parametrize("layout", ["nsg-v2", "vnet-v4"])
def test_counters_reach_to_the_edge_of_64_bits(layout: Layout) -> None:
    fields = EXAMPLES[layout].split(",")
    flow = read_tuple(",".join([*fields[:9], "0", "1", str(2**32), str(2**63 - 1)]), layout)
    assert counters(flow) == [0, 1, 2**32, 2**63 - 1]
    assert reason(",".join([*fields[:9], "0", "1", "0", str(2**63)]), layout) == (
        "counter is no signed 64-bit number"
    )


def test_the_flow_of_microsofts_documentation_sums_to_its_figures() -> None:
    """Counters are since the previous tuple: the total is the sum over C and E."""
    flow = "203.0.113.105,10.2.0.4,35370,23,T,I,A"
    log = [
        f"1493763938,{flow},B,,,,",
        f"1493695838,{flow},C,1021,588096,8005,4610880",
        f"1493696138,{flow},E,52,29952,47,27072",
    ]
    read = [read_tuple(text, "nsg-v2") for text in log]
    packets = sum(one.packets_src_to_dest + one.packets_dest_to_src for one in read)
    octets = sum(one.bytes_src_to_dest + one.bytes_dest_to_src for one in read)
    assert (packets, octets) == (9_125, 5_256_000)
    assert [sum(one) for one in zip(*map(flows, read), strict=True)] == [1, 0, 1]

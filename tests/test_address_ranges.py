"""Which addresses belong to the internet: as a list of networks has it that is written by hand."""

import ipaddress
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tally.address_ranges import is_internet
from tests import naive


def edges() -> Iterator[str]:
    """The first and the last address of each network that isn't of the internet, and their neighbours."""
    for network in naive.NOT_OF_THE_INTERNET:
        for address in (network.network_address, network.broadcast_address):
            for step in (-1, 0, 1):
                if 0 <= int(address) + step < 2**network.max_prefixlen:
                    yield str(address + step)


@pytest.mark.parametrize("address", [*edges()])
def test_networks_end_where_they_end(address: str) -> None:
    mapped = str(ipaddress.IPv6Address(f"::ffff:{address}")) if "." in address else address
    assert is_internet(address) == is_internet(mapped) == naive.is_internet(address)


@given(st.ip_addresses().map(str))
def test_any_address(address: str) -> None:
    assert is_internet(address) == naive.is_internet(address)


@given(st.ip_addresses(v=4).map(str) | st.just("168.63.129.16"))
def test_what_is_said_of_many_holds_for_each(address: str) -> None:
    assert is_internet.of_all(".".join(address.split(".")[:2])) in (is_internet(address), None)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "168.63.129.15", "100.128.0.0"]
)
def test_what_is_for_documentation_counts_as_the_internet(address: str) -> None:
    assert is_internet(address)

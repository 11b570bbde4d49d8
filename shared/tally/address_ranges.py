"""Which addresses belong to the internet."""

import ipaddress

_PLATFORM = "168.63.129.16"
"""Azure's own address in every virtual network: DNS, health probes of load balancers, the machines' agent.

Source: Microsoft Learn, "What is IP address 168.63.129.16?".
"""

_FIRST_NUMBERS = {"10", "127", *map(str, range(224, 240))}
"""How IPv4 addresses begin that aren't of the internet: private, loopback, multicast."""

_FIRST_TWO = {
    "192.168",
    "169.254",
    *(f"172.{number}" for number in range(16, 32)),
    *(f"100.{number}" for number in range(64, 128)),
}
"""Likewise: private (RFC 1918), link-local, shared (RFC 6598)."""

_NO_INTERNET_V6 = [*map(ipaddress.IPv6Network, ("::1/128", "fc00::/7", "fe80::/10", "ff00::/8"))]
"""Loopback, private (RFC 4193), link-local, multicast."""


class Internet:
    """Whether an address, in its shortest form, belongs to the internet: whether it isn't private (RFC 1918,
    RFC 4193), shared (RFC 6598), link-local, loopback, multicast, nor the platform's own.

    An IPv4 address that is mapped into IPv6 (``::ffff:10.0.0.1``) is that IPv4 address. Ranges for
    documentation are of the internet here. ``ipaddress.is_private`` has another list, which grows with its
    version.
    """

    def __call__(self, address: str) -> bool:
        """Whether it is one of the internet."""
        if ":" in address:
            parsed = ipaddress.IPv6Address(address)
            if parsed.ipv4_mapped is None:
                return not any(parsed in network for network in _NO_INTERNET_V6)
            address = str(parsed.ipv4_mapped)
        first, second, _ = address.split(".", 2)
        return first not in _FIRST_NUMBERS and f"{first}.{second}" not in _FIRST_TWO and address != _PLATFORM

    def of_all(self, first_two: str) -> bool | None:
        """The same of all IPv4 addresses that begin with these two numbers (``10.0``), if they agree."""
        return None if _PLATFORM.startswith(f"{first_two}.") else self(f"{first_two}.0.0")


is_internet = Internet()

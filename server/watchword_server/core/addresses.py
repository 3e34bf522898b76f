"""IP addresses as they are compared: one form for one address."""

import ipaddress

from watchword_server.core.model.names import IPAddress


def address_from(text: str) -> IPAddress:
    """The address; of an IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2) the IPv4 address. Raises `ValueError`."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

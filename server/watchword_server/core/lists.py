"""Lists as expressions and selectors ask them whether a value is in them."""

from collections.abc import Container
from ipaddress import ip_network

from watchword_server.core.language.sets import IpRanges
from watchword_server.core.rules import GatewayList

Matcher = Container[object]  # of bytes, or for an IP list of (4 or 6, number)


def matcher_of(values: GatewayList) -> Matcher:
    """An IP list as merged ranges, any other as a set of bytes. Both answer in the same time whatever their length."""
    if values.type == "IP":
        return IpRanges.of(ip_network(value) for value in values.values)
    return frozenset(value.encode() for value in values.values)


def list_key(list_id: str) -> str:
    """How expressions look a list up: its id without dashes (the API writes `$` and a UUID both ways)."""
    return list_id.replace("-", "")

"""A URL as a decision door reads it (`doors/requests.py` reads what proxies say; a test holds the two together)."""

import ipaddress
import re
from typing import Final, NamedTuple

from watchword_server.configuration.document.base import quoted
from watchword_server.core.model.names import IPAddress

_URL: Final = re.compile(r"(https?)://([^/?#@\\]+)([/?][^#]*)?")
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\]")
_PORT: Final = re.compile(r"(.*):([0-9]{1,5})")
_PORTS: Final = {"http": 80, "https": 443}


class Target(NamedTuple):
    """What of a request its URL tells. `port` None: the scheme's own."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str


def target_of(url: str) -> Target:
    """The parts of an absolute http(s) URL. Raises `ValueError` with what to write instead."""
    parts = _URL.fullmatch(url)
    if parts is None or not (url.isascii() and url.isprintable() and " " not in url and "\\" not in url):
        raise ValueError(f"{quoted(url)} is not an absolute URL: write one like `https://wiki.corp.example/pages/7`")
    scheme, authority, rest = parts.groups(default="/")
    name, port = authority.lower(), None
    with_port = _PORT.fullmatch(name)
    if with_port is not None and not name.endswith("]"):
        name, port = with_port[1], int(with_port[2])
    name = name.removesuffix(".")
    if not _HOST.fullmatch(name) or ".." in name or (port is not None and port > 0xFFFF):
        raise ValueError(f"{quoted(authority)} is not a host name: write one like `wiki.corp.example`")
    path, _, query = (rest if rest.startswith("/") else f"/{rest}").partition("?")
    return Target(scheme, name, None if port == _PORTS[scheme] else port, path, query)


def address_of(text: str) -> IPAddress:
    """A source address; of IPv6's mapped ones the IPv4 address. Raises `ValueError` with what to write instead."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address: write one like `192.0.2.10`") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

"""Values that several sections share: email addresses, networks, plain text."""

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo

from watchword_server.configuration.document.base import quoted
from watchword_server.configuration.document.expressions import reading_of

_WITHOUT_STAR = {
    "email": "write an address like `ada@corp.example`; all of a domain are `email_domain: { domain: corp.example }`",
    "domain": "write a domain like `corp.example`, and an item for each further one",
}

Text = Annotated[str, Field(min_length=1, max_length=350)]


def email_address(text: str) -> str:
    """Itself. Raises `ValueError` if it cannot be an email address."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not an email address: write one like `ada@corp.example`")
    return text


def email_domain(text: str) -> str:
    """Itself. Raises `ValueError` if it cannot be what stands after the `@`."""
    if "@" in text or " " in text or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not a domain: write what stands after the `@`, like `corp.example`")
    return text


def without_star(text: str, info: ValidationInfo) -> str:
    """Itself. Raises `ValueError` if it has a `*`, which would only ever match itself; one that is stored may have it."""
    if "*" in text and not reading_of(info).stored:
        raise ValueError(f"{quoted(text)} has a `*`, and none is a wildcard here: {_WITHOUT_STAR[str(info.field_name)]}")
    return text


def network(text: str) -> str:
    """Itself. Raises `ValueError` if it is neither an IP address nor a network whose host bits are zero."""
    try:
        ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"{quoted(text)} is not an IP address or network: write one like `192.0.2.0/24` or `2001:db8::/32`"
            ) from None
        raise ValueError(f"{quoted(text)} has bits set after its prefix: write `{meant}`") from None
    return text


def web_address(text: str) -> str:
    """Itself. Raises `ValueError` if it is not the address of something on the web."""
    scheme, separator, rest = text.partition("://")
    if scheme not in ("http", "https") or not separator or rest[:1] in ("", "/") or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not a URL: write one like `https://wiki.corp.example/pages`")
    return text


def key_set_url(text: str) -> str:
    """Itself: where an issuer publishes its keys. Raises `ValueError` for an address that somebody else could answer."""
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}):
        raise ValueError("has to be https, or http on loopback: who answers it says who somebody is")
    if not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("is an address such as https://id.corp.example/keys, without a user name or fragment")
    return text

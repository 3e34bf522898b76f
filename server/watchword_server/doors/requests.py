"""What the decision doors have in common: reading a proxy's words about a request, strictly."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server.core.model import AccessRequest, Identity, IPAddress
from watchword_server.core.rules import Assertion, Caller
from watchword_server.errors import RequestMalformedError
from watchword_server.services.resolving import Presented

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\]")
_URL: Final = re.compile(r"(https?)://([^/?#@\\]+)([/?][^#]*)?")
# ASCII: case-folding makes one address of two beyond it, and proxies do not agree on how to write it in a header.
_EMAIL: Final = re.compile(r"(?:(?![@,;<>\"\\])[!-~]){1,64}@[A-Za-z0-9.-]{1,253}")
_MAX_TARGET: Final = 16_384
_MAX_CERTIFICATE_TEXT: Final = 64 * 1024


def access_request(
    *,
    caller: Caller,
    method: str,
    scheme: str,
    host: str,
    target: str,
    address: str | None,
    headers: Mapping[str, Sequence[str]],
) -> AccessRequest:
    """A request as the rules see it. `target` is the path with its query; `headers` are the client's, by lower-case name.

    What the caller's entry does not let it assert is left out. Raises `RequestMalformedError`.
    """
    if not _METHOD.fullmatch(method):
        raise RequestMalformedError("a method of letters is missing")
    if len(target) > _MAX_TARGET or not target.startswith(("/", "*")) or not _is_plain(target) or "#" in target or "\\" in target:
        raise RequestMalformedError("the request target is not a plain path with a query")
    path, _, query = target.partition("?")
    return AccessRequest(
        method=method,
        scheme=scheme,
        host=normal_host(host),
        path=path,
        query=query,
        source_ip=_address(address) if Assertion.ADDRESS in caller.may_assert and address else None,
        identity=_identity(caller, headers),
        caller=caller.name,
    )


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, host with its port, and target of an absolute http(s) URL. Raises `RequestMalformedError`."""
    parts = _URL.fullmatch(url)
    if parts is None or not _is_plain(url):
        raise RequestMalformedError("the original URL is not an absolute http or https URL without user information")
    scheme, host, target = parts.groups(default="/")
    return scheme, host, target if target.startswith("/") else f"/{target}"


def normal_host(host: str) -> str:
    """Lower case, without port and trailing dot. Raises `RequestMalformedError` for what is no host name."""
    name = host.lower() if host.isascii() else ""  # U+212A is `k` in lower case
    if not name.endswith("]"):
        head, colon, port = name.rpartition(":")
        if colon and port.isdigit() and len(port) <= 5:
            name = head
    name = name.removesuffix(".")
    if not _HOST.fullmatch(name) or ".." in name:
        raise RequestMalformedError("the host is not a host name")
    return name


def presented_certificate(text: str) -> Presented:
    """The client certificate from URL-encoded PEM, as Envoy and nginx pass it; empty text: none was presented."""
    if not text:
        return Presented()
    if len(text) > _MAX_CERTIFICATE_TEXT:
        return Presented(unreadable=True)
    try:
        certificate = x509.load_pem_x509_certificate(unquote_to_bytes(text))
    except (ValueError, x509.InvalidVersion):
        return Presented(unreadable=True)
    return Presented(certificate_der=certificate.public_bytes(Encoding.DER))


def _identity(caller: Caller, headers: Mapping[str, Sequence[str]]) -> Identity | None:
    if Assertion.IDENTITY not in caller.may_assert or caller.identity_header is None:
        return None
    values = headers.get(caller.identity_header, ())
    if not values or list(values) == [""]:
        return None
    if len(values) != 1 or not _EMAIL.fullmatch(values[0]):
        raise RequestMalformedError(f"`{caller.identity_header}` does not hold one email address")
    return Identity(email=values[0].casefold())


def _address(text: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise RequestMalformedError("the source address is not one IP address") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text

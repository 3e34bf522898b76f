"""What the decision doors have in common: reading a proxy's words about a request, strictly."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar

from cryptography import x509

from watchword_server.core.addresses import address_from
from watchword_server.core.model.decisions import AccessRequest, Identity, Value
from watchword_server.core.model.names import DeviceId, IPAddress
from watchword_server.core.rules import Assertion, Caller
from watchword_server.doors.facts import facts_of_a_route, reported_facts, together
from watchword_server.doors.passed_certificates import MAX_LENGTH, from_der
from watchword_server.errors import RequestMalformedError
from watchword_server.services.facts import fact_value
from watchword_server.services.resolving import Presented, ServiceCredential
from watchword_server.services.user_identities import EMAIL

_Text = TypeVar("_Text", str, bytes)

CLIENT_ID_HEADER: Final = "cf-access-client-id"
CLIENT_SECRET_HEADER: Final = "cf-access-client-secret"  # noqa: S105 - a name of a header
DEVICE_TOKEN_HEADER: Final = "device-token"  # noqa: S105 - a name of a header
DEVICE_PROOF_HEADER: Final = "device-proof"
# What a client shows for itself and no application needs: removed from what it gets.
CLIENT_CREDENTIALS: Final = frozenset({CLIENT_ID_HEADER, CLIENT_SECRET_HEADER, DEVICE_TOKEN_HEADER, DEVICE_PROOF_HEADER})
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\]")
_URL: Final = re.compile(r"(https?)://([^/?#@\\]+)([/?][^#]*)?")
_CREDENTIAL: Final = re.compile(r"(?!.*,)[!-~]{1,256}")  # a comma: several headers that a proxy joined
_BEARER: Final = "bearer "
_PORTS: Final = {"http": 80, "https": 443}
_MAX_TARGET: Final = 16_384


def access_request(
    *,
    caller: Caller,
    method: str,
    scheme: str,
    host: str,
    target: str,
    address: str | None,
    headers: Mapping[str, Sequence[str]],
    of_the_route: Mapping[str, str] = MappingProxyType({}),
) -> AccessRequest:
    """A request as the rules see it. `target` is the path with its query; `headers` are the client's, by lower-case name.

    `of_the_route` is what the caller's configuration says of the route, by whatever names.

    What the caller's entry does not let it assert is left out. Raises `RequestMalformedError`.
    """
    if not _METHOD.fullmatch(method):
        raise RequestMalformedError("a method of letters is missing")
    if len(target) > _MAX_TARGET or not target.startswith(("/", "*")) or not _is_plain(target) or "#" in target or "\\" in target:
        raise RequestMalformedError("the request target is not a plain path with a query")
    path, _, query = target.partition("?")
    name, port = split_authority(host)
    return AccessRequest(
        method=method,
        scheme=scheme,
        host=name,
        port=None if port == _PORTS.get(scheme) else port,
        path=path,
        query=query,
        source_ip=_address(address) if Assertion.ADDRESS in caller.may_assert and address else None,
        identity=_identity(caller, headers),
        caller=caller.name,
        facts=together(reported_facts(caller, headers), facts_of_a_route(caller, of_the_route)),
    )


def connection_request(
    *, caller: Caller, address: str, destination: str, destination_port: int, server_name: str, port: int | None
) -> AccessRequest:
    """A connection as the network rules see it. `server_name`: what the client asked for by SNI, empty if it did not.

    Raises `RequestMalformedError`.
    """
    facts: dict[str, Value] = {}
    for fact, told in (("net.dst.ip", destination), ("net.src.port", port)):
        if told:
            facts[fact] = fact_value(fact, told)
    host = ""
    if server_name:
        host, _ = split_authority(server_name)
        facts["net.sni.host"] = host.encode()
    return AccessRequest(
        method="",
        scheme="",
        host=host,
        path="",
        query="",
        source_ip=_address(address) if Assertion.ADDRESS in caller.may_assert and address else None,
        identity=None,
        caller=caller.name,
        port=destination_port or None,
        facts=facts,
        is_connection=True,
    )


def as_headers(
    caller: Caller,
    *,
    identity: str,
    facts: str,
    client_id: str,
    client_secret: str,
    device_token: str = "",
    device_proof: str = "",
) -> Mapping[str, Sequence[str]]:
    """What a contract without headers says in fields of its own, as the headers that `access_request` reads. Empty: not told."""
    tokens = caller.user_tokens
    told = (
        (caller.identity_header if tokens is None else tokens.header, identity),
        (caller.facts_header, facts),
        (CLIENT_ID_HEADER, client_id),
        (CLIENT_SECRET_HEADER, client_secret),
        (DEVICE_TOKEN_HEADER, device_token),
        (DEVICE_PROOF_HEADER, device_proof),
    )
    return {name: (value,) for name, value in told if name is not None and value}


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, host with its port, and target of an absolute http(s) URL. Raises `RequestMalformedError`."""
    parts = _URL.fullmatch(url)
    if parts is None or not _is_plain(url):
        raise RequestMalformedError("the original URL is not an absolute http or https URL without user information")
    scheme, host, target = parts.groups(default="/")
    return scheme, host, target if target.startswith("/") else f"/{target}"


def split_authority(authority: str) -> tuple[str, int | None]:
    """The host in lower case without trailing dot, and the port if there is one. Raises `RequestMalformedError`."""
    name = authority.lower() if authority.isascii() else ""  # U+212A is `k` in lower case
    port: int | None = None
    if not name.endswith("]"):
        head, colon, digits = name.rpartition(":")
        if colon and digits.isdigit() and len(digits) <= 5:
            name, port = head, int(digits)
    name = name.removesuffix(".")
    if not _HOST.fullmatch(name) or ".." in name or (port is not None and port > 0xFFFF):
        raise RequestMalformedError("the host is not a host name, or its port is none")
    return name, port


def presented(
    caller: Caller, certificate: str, decode: Callable[[str], bytes], headers: Mapping[str, Sequence[str]]
) -> Presented:
    """What a request shows for itself. `certificate`: in the form that `decode` reads; empty: none was presented.

    Raises `RequestMalformedError` for a service token's headers that are there twice.
    """
    return _presented(caller, certificate, decode, headers)


def presented_der(
    caller: Caller, certificate: bytes, headers: Mapping[str, Sequence[str]], *, stated_device: str = ""
) -> Presented:
    """As `presented`, for a contract that passes the certificate's own bytes, and perhaps a device's id; empty: none."""
    shown = _presented(caller, certificate, from_der, headers)
    return replace(shown, stated_device=DeviceId(stated_device)) if stated_device else shown


def _presented(
    caller: Caller, certificate: _Text, decode: Callable[[_Text], bytes], headers: Mapping[str, Sequence[str]]
) -> Presented:
    shown = Presented(
        service_credential=_service_credential(headers),
        user_token=_user_token(caller, headers),
        device_token=_one_or_none(headers, DEVICE_TOKEN_HEADER),
        device_proof=_one_or_none(headers, DEVICE_PROOF_HEADER),
    )
    if not certificate:
        return shown
    try:
        if len(certificate) > MAX_LENGTH:
            raise ValueError("no certificate is that long")
        der = decode(certificate)
    except (ValueError, x509.InvalidVersion):
        return replace(shown, unreadable=True)
    return replace(shown, certificate_der=der)


def _one_or_none(headers: Mapping[str, Sequence[str]], name: str) -> str | None:
    found = [value for value in headers.get(name, ()) if value]
    if len(found) > 1 or any("," in value for value in found):
        raise RequestMalformedError(f"`{name}` is there twice")
    return found[0] if found else None


def _user_token(caller: Caller, headers: Mapping[str, Sequence[str]]) -> str | None:
    """The token that tells who the user is, as the client sent it; None: there is none."""
    place = caller.user_tokens
    if place is None:
        return None
    if place.header is not None:
        found = [value for value in headers.get(place.header, ()) if value]
        if place.header == "authorization":
            found = [value[len(_BEARER) :].strip() for value in found if value.lower().startswith(_BEARER)]
    else:
        pairs = (pair.strip().partition("=") for value in headers.get("cookie", ()) for pair in value.split(";"))
        found = [value.strip('"') for name, _, value in pairs if name == place.cookie and value]
    if len(found) > 1:
        raise RequestMalformedError("the request has two tokens for one user")
    return found[0] if found else None


def _service_credential(headers: Mapping[str, Sequence[str]]) -> ServiceCredential | None:
    """What the client sent as a service token: a credential of its own, which asks for no permission of the caller's."""
    if CLIENT_ID_HEADER not in headers and CLIENT_SECRET_HEADER not in headers:
        return None
    client_id, client_secret = (_credential(headers, name) for name in (CLIENT_ID_HEADER, CLIENT_SECRET_HEADER))
    return ServiceCredential(client_id, client_secret) if client_id or client_secret else None


def _credential(headers: Mapping[str, Sequence[str]], name: str) -> str:
    """The value; empty where there is none, which is half a credential that no token has."""
    values = headers.get(name, ())
    if not values or list(values) == [""]:
        return ""
    if len(values) != 1 or not _CREDENTIAL.fullmatch(values[0]):
        raise RequestMalformedError(f"`{name}` does not hold one credential")
    return values[0]


def _identity(caller: Caller, headers: Mapping[str, Sequence[str]]) -> Identity | None:
    if Assertion.IDENTITY not in caller.may_assert or caller.identity_header is None:
        return None
    values = headers.get(caller.identity_header, ())
    if not values or list(values) == [""]:
        return None
    if len(values) != 1 or not EMAIL.fullmatch(values[0]):
        raise RequestMalformedError(f"`{caller.identity_header}` does not hold one email address")
    return Identity(email=values[0].casefold())


def _address(text: str) -> IPAddress:
    try:
        return address_from(text)
    except ValueError as error:
        raise RequestMalformedError("the source address is not one IP address") from error


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text

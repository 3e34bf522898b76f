"""The fields that Cloudflare Gateway's expressions may speak of, by filter. Types are as its samples use them, without coercion.

Source: Gateway's pages on DNS, network, HTTP and egress policies and on identity selectors. Where they contradict
each other, a field has the stricter type.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from watchword_server.core.language.scheme import Limits, Scheme
from watchword_server.core.language.types import BOOL, BYTES, INT, IP, ArrayOf, MapOf, Type

Part: TypeAlias = Literal["traffic", "identity", "device_posture"]

_STRINGS: Final = ArrayOf(BYTES)
_NUMBERS: Final = ArrayOf(INT)
_ADDRESSES: Final = ArrayOf(IP)


def _fields(*groups: tuple[Type, str]) -> Mapping[str, Type]:
    return {name: kind for kind, names in groups for name in names.split()}


IDENTITY_FIELDS: Final = _fields(
    (BYTES, "identity.email identity.name"),
    (ArrayOf(MapOf(BYTES)), "identity.groups"),  # records of id, name and email
    (_STRINGS, "identity.groups.id identity.groups.name identity.groups.email identity.oidc_claims"),
    (MapOf(_STRINGS), "identity.saml_attributes"),
)
MEMBERS: Final = {"identity.groups": frozenset({"id", "name", "email"})}
POSTURE_FIELDS: Final = _fields((_STRINGS, "device_posture.checks.passed device_posture.checks.failed"))
OWNER_FIELDS: Final = _fields((BYTES, "device.owner.email"), (BOOL, "device.owned_by_user"))  # ours: Cloudflare has no owners
HTTP_FIELDS: Final = _fields(
    (BYTES, "http.request.host http.request.method http.request.uri http.request.uri.path http.request.uri.query"),
    (BYTES, "http.request.uri.path_and_query http.download.mime http.upload.mime http.body_phase http.conn.vnet_id"),
    (BYTES, "http.src_ip.geo.country http.src_ip.geo.continent http.dst_ip.geo.country http.dst_ip.geo.continent"),
    (BYTES, "net.onramp.type net.offramp.type proxy.endpoint"),
    (_STRINGS, "http.request.domains http.download.file.types http.upload.file.types dlp.profiles app.statuses"),
    (_NUMBERS, "http.request.uri.content_category http.request.uri.security_category app.ids app.hosts_ids app.supports_ids"),
    (INT, "http.download.file.size http.upload.file.size http.response.status_code"),
    (IP, "http.conn.src_ip http.conn.dst_ip http.conn.internal_src_ip"),
    (BOOL, "access.target access.private_app"),
)
L4_FIELDS: Final = _fields(
    (INT, "net.dst.port net.src.port"),
    (IP, "net.dst.ip net.src.ip net.src.internal_src_ip"),
    (BYTES, "net.protocol net.protocol.detection net.sni.host net.vnet_id net.onramp.type net.offramp.type proxy.endpoint"),
    (BYTES, "net.src.geo.country net.src.geo.continent net.dst.geo.country net.dst.geo.continent"),
    (_STRINGS, "net.sni.domains"),
    (_NUMBERS, "net.fqdn.content_category net.fqdn.security_category app.ids"),
    (BOOL, "access.target access.private_app"),
)
EGRESS_FIELDS: Final = {**L4_FIELDS, **_fields((BYTES, "net.fqdn.host"), (_STRINGS, "net.fqdn.domains"))}
DNS_FIELDS: Final = _fields(
    (BYTES, "dns.fqdn dns.query_rtype dns.location dns.doh_subdomain"),
    (BYTES, "dns.src.geo.country dns.src.geo.continent dns.dst.geo.country dns.dst.geo.continent"),
    (_STRINGS, "dns.domains dns.response.cname dns.response.mx dns.response.ptr dns.response.txt"),
    (_NUMBERS, "dns.content_category dns.security_category app.ids"),
    (IP, "dns.src_ip dns.src_internal_ip"),
    (_ADDRESSES, "dns.resolved_ips dns.authoritative_ns_ips dns.resolved_ip"),
)

# AuthZEN's entities (Authorization API 1.0, 5). A property is in the map of its type, a nested one under its path with dots.
_PROPERTIES: Final[Mapping[str, Type]] = {
    "properties": MapOf(BYTES),
    "properties.bool": MapOf(BOOL),
    "properties.int": MapOf(INT),
    "properties.list": MapOf(_STRINGS),  # of strings
}
AUTHZEN_PROPERTIES: Final[Mapping[str, Type]] = {
    f"{entity}.{name}": kind for entity in ("subject", "action", "resource", "context") for name, kind in _PROPERTIES.items()
}
AUTHZEN_FIELDS: Final[Mapping[str, Type]] = {
    **_fields((BYTES, "subject.type subject.id action.name resource.type resource.id")),
    **AUTHZEN_PROPERTIES,
}

_TRAFFIC: Final[Mapping[str, Mapping[str, Type]]] = {
    "http": HTTP_FIELDS,
    "l4": L4_FIELDS,
    "egress": EGRESS_FIELDS,
    "dns": DNS_FIELDS,
    "authzen": AUTHZEN_FIELDS,
}
_ELSEWHERE: Final = {
    name: "is a field of "
    + " and ".join(f"`filters: [{one}]`" for one, known in _TRAFFIC.items() if name in known)
    + ": write a rule of its own for it"
    for fields in _TRAFFIC.values()
    for name in fields
} | dict.fromkeys(
    [*POSTURE_FIELDS, *OWNER_FIELDS], "is no field of `filters: [dns]`: a DNS query comes from no device that could be asked"
)


@lru_cache(maxsize=64)
def gateway_scheme(filter: str, part: Part, limits: Limits, missing_not_equal: bool) -> Scheme:  # noqa: A002, FBT001 - Gateway's word
    """The scheme of one of a rule's three expressions. Raises `ValueError` for a filter or a part that there is not.

    Each may speak of the other parts' fields too: a rule is their conjunction anyway, and rules are written so. A DNS query comes
    from no device that could be asked, hence `dns` has no posture.
    """
    if filter not in _TRAFFIC:
        raise ValueError(f"`{filter}` is no filter: known are {', '.join(_TRAFFIC)}")
    if part not in get_args(Part):
        raise ValueError(f"`{part}` is no part of a rule: known are {', '.join(get_args(Part))}")
    posture = {} if filter == "dns" else {**POSTURE_FIELDS, **OWNER_FIELDS}
    fields = {**_TRAFFIC[filter], **IDENTITY_FIELDS, **posture}
    return Scheme(
        fields,
        limits=limits,
        missing_not_equal=missing_not_equal,
        gateway=True,
        members=MEMBERS,
        elsewhere={name: where for name, where in _ELSEWHERE.items() if name not in fields},
    )

"""Facts about a request that only its caller can know, by name, with their types: what may be reported, and what reads it.

Most are fields of the rules language; those marked here are ours, for selectors alone. A fact nobody reported is unknown: a field
of it is missing, a selector on it neither true nor false. Facts about the user (`identity.…`) count only from a caller that may
assert identity, all others only from one that may assert facts.
"""

from collections.abc import Mapping
from typing import Final

from watchword_server.core.language.gateway import HTTP_FIELDS, IDENTITY_FIELDS, L4_FIELDS
from watchword_server.core.language.types import BYTES, ArrayOf, Type

COUNTRY: Final = "http.src_ip.geo.country"
LOGIN_METHOD: Final = "identity.login_method"
AUTH_METHODS: Final = "identity.auth_methods"  # RFC 8176
AUTH_CONTEXTS: Final = "identity.auth_contexts"
GITHUB_ORGANIZATIONS: Final = "identity.github_organizations"  # each `name`, and `name/team` for each team
USER_RISK_SCORE: Final = "identity.user_risk_score"
ACCOUNTS: Final = "identity.accounts"
LINKED_APP_TOKENS: Final = "access.linked_app_tokens"
EXTERNAL_EVALUATIONS: Final = "access.external_evaluations"  # the addresses of those that said yes
GROUPS: Final = "identity.groups"
SAML_ATTRIBUTES: Final = "identity.saml_attributes"
OIDC_CLAIMS: Final = "identity.oidc_claims"

_OURS: Final[Mapping[str, Type]] = {
    LOGIN_METHOD: BYTES,
    AUTH_METHODS: ArrayOf(BYTES),
    AUTH_CONTEXTS: ArrayOf(BYTES),
    GITHUB_ORGANIZATIONS: ArrayOf(BYTES),
    USER_RISK_SCORE: BYTES,
    ACCOUNTS: ArrayOf(BYTES),
    LINKED_APP_TOKENS: ArrayOf(BYTES),
    EXTERNAL_EVALUATIONS: ArrayOf(BYTES),
}
# What the request itself says, or what follows from another fact: nobody can report it.
DERIVED: Final = frozenset({
    "http.request.host", "http.request.domains", "http.request.method", "http.request.uri", "http.request.uri.path",
    "http.request.uri.query", "http.request.uri.path_and_query", "http.conn.src_ip", "net.src.ip", "net.dst.port", "net.protocol",
    "net.sni.domains",
    "identity.email", "identity.groups.id", "identity.groups.name", "identity.groups.email",
})  # fmt: skip
REPORTABLE: Final[Mapping[str, Type]] = {
    name: kind for name, kind in {**HTTP_FIELDS, **L4_FIELDS, **IDENTITY_FIELDS, **_OURS}.items() if name not in DERIVED
}


def is_about_the_user(fact: str) -> bool:
    """Whether only a caller that may assert identity can report it."""
    return fact.startswith("identity.")

"""Forward auth: for Caddy, HAProxy and others at `/v1/authz/forward-auth`, for Traefik at `/v1/authz/forward-auth/traefik`.

Required from the proxy, each once: X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Uri. With its entry's
permission: the client certificate (X-Client-Cert-Der in base64, or what Traefik's PassTLSClientCert writes), the headers of
identity and facts, X-Forwarded-For (one address). 200 allows; everything else goes to the client as it is, and denies.
"""

from collections.abc import Callable
from typing import Final

from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.http_authz import Subrequest
from watchword_server.doors.passed_certificates import from_base64_der, from_traefik
from watchword_server.doors.requests import access_request, presented
from watchword_server.errors import RequestMalformedError
from watchword_server.services.resolving import Presented

PATH: Final = "/v1/authz/forward-auth"
NAME: Final = "forward_auth"
TRAEFIK_PATH: Final = "/v1/authz/forward-auth/traefik"
TRAEFIK_NAME: Final = "forward_auth_traefik"
_SCHEMES: Final = frozenset({"http", "https"})


def read(subrequest: Subrequest, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What Caddy or HAProxy asks about. Raises `RequestMalformedError`."""
    return _asked(subrequest, caller), _shown(caller, subrequest, "x-client-cert-der", from_base64_der)


def read_traefik(subrequest: Subrequest, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What Traefik asks about. Raises `RequestMalformedError`."""
    return _asked(subrequest, caller), _shown(caller, subrequest, "x-forwarded-tls-client-cert", from_traefik)


def _asked(subrequest: Subrequest, caller: Caller) -> AccessRequest:
    scheme = subrequest.one("x-forwarded-proto")
    if scheme not in _SCHEMES:
        raise RequestMalformedError("`x-forwarded-proto` is neither http nor https")
    return access_request(
        caller=caller,
        method=subrequest.one("x-forwarded-method"),
        scheme=scheme,
        host=subrequest.one("x-forwarded-host"),
        target=subrequest.one("x-forwarded-uri"),
        address=subrequest.at_most_one("x-forwarded-for"),
        headers=subrequest.headers,
    )


def _shown(caller: Caller, subrequest: Subrequest, header: str, decode: Callable[[str], bytes]) -> Presented:
    return presented(caller, subrequest.at_most_one(header), decode, subrequest.headers)

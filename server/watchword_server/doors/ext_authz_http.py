"""Envoy's contract over HTTP: ext_authz with an `http_service` whose `path_prefix` is `/v1/authz/ext-authz`.

The subrequest has the method, the Host and, behind the prefix, the target of the request itself. Required besides:
X-Forwarded-Proto. With the caller's entry's permission: X-Forwarded-Client-Cert of exactly one element (SANITIZE_SET) with the
certificate in it, the headers of identity and facts, X-Forwarded-For (one address). Envoy sends a header only if
`allowed_headers` names it. 200 allows, 403 denies; other statuses deny as well.
"""

from typing import Final

from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.http_authz import Subrequest
from watchword_server.doors.passed_certificates import from_forwarded_client_cert
from watchword_server.doors.requests import access_request, presented
from watchword_server.errors import RequestMalformedError
from watchword_server.services.resolving import Presented

PREFIX: Final = "/v1/authz/ext-authz"
NAME: Final = "ext_authz_http"


def read(subrequest: Subrequest, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What Envoy asks about. Raises `RequestMalformedError`."""
    if not subrequest.target.startswith(f"{PREFIX}/"):
        raise RequestMalformedError(f"the target does not begin with `{PREFIX}/`: is it Envoy's `path_prefix`?")
    scheme = subrequest.one("x-forwarded-proto")
    if scheme not in ("http", "https"):
        raise RequestMalformedError("`x-forwarded-proto` is neither http nor https")
    asked = access_request(
        caller=caller,
        method=subrequest.method,
        scheme=scheme,
        host=subrequest.one("host"),
        target=subrequest.target.removeprefix(PREFIX),
        address=subrequest.at_most_one("x-forwarded-for"),
        headers=subrequest.headers,
    )
    certificate = subrequest.at_most_one("x-forwarded-client-cert")
    return asked, presented(caller, certificate, from_forwarded_client_cert, subrequest.headers)

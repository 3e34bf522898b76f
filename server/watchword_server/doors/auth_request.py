"""nginx's contract: `auth_request` subrequests at `/v1/authz/auth-request`. Fixed; nothing is guessed.

Required from the proxy: X-Original-Method, X-Original-URL. With its entry's permission: X-Client-Cert (URL-encoded PEM), the
headers of identity and facts, X-Forwarded-For (one address). From the client itself: the headers of a service token. 200 allows,
403 denies; nginx turns everything else into 500, which denies as well.
"""

from typing import Final

from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.rules import Caller
from watchword_server.doors.http_authz import Subrequest
from watchword_server.doors.passed_certificates import from_escaped_pem
from watchword_server.doors.requests import access_request, presented, split_url
from watchword_server.services.resolving import Presented

PATH: Final = "/v1/authz/auth-request"
NAME: Final = "auth_request"


def read(subrequest: Subrequest, caller: Caller) -> tuple[AccessRequest, Presented]:
    """What nginx asks about. Raises `RequestMalformedError`."""
    scheme, host, target = split_url(subrequest.one("x-original-url"))
    asked = access_request(
        caller=caller,
        method=subrequest.one("x-original-method"),
        scheme=scheme,
        host=host,
        target=target,
        address=subrequest.at_most_one("x-forwarded-for"),
        headers=subrequest.headers,
    )
    return asked, presented(caller, subrequest.at_most_one("x-client-cert"), from_escaped_pem, subrequest.headers)

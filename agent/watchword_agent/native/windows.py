"""The helper for the certificate stores of Windows, as the account that it runs as sees them."""

import functools
import hashlib
from collections.abc import Iterator

from watchword_agent.native.serving import Answer, Request, base64_of, serve, statement_of
from watchword_agent.native.windows_calls import Calls, windows_calls
from watchword_agent.native.windows_codes import KeyFailureError
from watchword_agent.native.windows_keys import sign, state_of_key
from watchword_agent.native.windows_stores import certificates_in, changes_of, der_of, location_of, opened_store


def main() -> None:
    """Answers until standard input ends."""
    calls = functools.cache(windows_calls)  # elsewhere than on Windows each request fails, and says why
    serve(
        {
            "list": lambda request: listed(calls(), request),
            "sign": lambda request: signed(calls(), request),
            "watch": lambda request: watched(calls(), request),
        }
    )


def listed(calls: Calls, request: Request) -> Answer:
    """`place`, `allow_pkcs1` → `certificates`: each with `der`, `location`, and the `state` of its key with a `detail`."""
    place, allow_pkcs1 = str(request["place"]), bool(request["allow_pkcs1"])
    certificates = []
    with opened_store(calls, place) as store:
        for context in certificates_in(calls, store):
            der = der_of(context)
            state, detail = state_of_key(calls, context, allow_pkcs1=allow_pkcs1)
            certificates.append({"der": base64_of(der), "location": location_of(place, der), "state": state, "detail": detail})
    return {"certificates": certificates}


def signed(calls: Calls, request: Request) -> Answer:
    """`place`, `sha256` of a certificate, `scheme`, `allow_pkcs1`, `statement` → `scheme`, `signature`; or `state`, `detail`."""
    statement, allow_pkcs1 = statement_of(request), bool(request["allow_pkcs1"])
    with opened_store(calls, str(request["place"])) as store:
        for context in certificates_in(calls, store):
            if hashlib.sha256(der_of(context)).hexdigest() != request["sha256"]:
                continue
            try:
                scheme, signature = sign(calls, context, statement, scheme=str(request["scheme"]), allow_pkcs1=allow_pkcs1)
            except KeyFailureError as failure:
                return {"state": failure.state, "detail": failure.detail}
            return {"scheme": scheme, "signature": base64_of(signature)}
    return {"state": "ABSENT", "detail": "the certificate is no longer in the store"}


def watched(calls: Calls, request: Request) -> Iterator[Answer]:
    """`place` → `watching` it, then `changed` after each change."""
    place = str(request["place"])
    with opened_store(calls, place) as store:
        changes = changes_of(calls, store, place)
        next(changes)
        yield {"watching": place}
        for _ in changes:
            yield {"changed": place}

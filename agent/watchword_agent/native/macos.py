"""The helper for the System keychain of macOS."""

import functools
import hashlib

from watchword_agent.native.macos_calls import Calls, macos_calls
from watchword_agent.native.macos_codes import KeyFailureError
from watchword_agent.native.macos_keychain import SYSTEM_KEYCHAIN, location_of, opened_keychain
from watchword_agent.native.serving import Answer, HelperError, Request, base64_of, serve, statement_of


def main() -> None:
    """Answers until standard input ends."""
    calls = functools.cache(macos_calls)  # elsewhere than on macOS each request fails, and says why
    serve(
        {
            "list": lambda request: listed(calls(), request),
            "sign": lambda request: signed(calls(), request),
        }
    )


def listed(calls: Calls, request: Request) -> Answer:
    """`place` → `certificates`: each with `der`, `location`, and the `state` of its key with a `detail`."""
    path, certificates = _path_of(request), []
    with opened_keychain(calls, path) as keychain:
        for entry in keychain.entries():
            state, detail = keychain.state_of_key(entry)
            location = location_of(path, entry.der)
            certificates.append({"der": base64_of(entry.der), "location": location, "state": state, "detail": detail})
    return {"certificates": certificates}


def signed(calls: Calls, request: Request) -> Answer:
    """`place`, `sha256` of a certificate, `scheme`, `allow_pkcs1`, `statement` → `scheme`, `signature`; or `state`, `detail`."""
    statement, allow_pkcs1 = statement_of(request), bool(request["allow_pkcs1"])
    with opened_keychain(calls, _path_of(request)) as keychain:
        for entry in keychain.entries():
            if hashlib.sha256(entry.der).hexdigest() != request["sha256"]:
                continue
            try:
                scheme, signature = keychain.sign(entry, statement, scheme=str(request["scheme"]), allow_pkcs1=allow_pkcs1)
            except KeyFailureError as failure:
                return {"state": failure.state, "detail": failure.detail}
            return {"scheme": scheme, "signature": base64_of(signature)}
    return {"state": "ABSENT", "detail": "the certificate is no longer in the keychain"}


def _path_of(request: Request) -> str:
    if request["place"] != "system":
        raise HelperError("store_unsupported", f"there is no store `{request['place']}` for a daemon of macOS: `system`")
    return SYSTEM_KEYCHAIN

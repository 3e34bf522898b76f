"""Tokens by way of a PKCS #11 library, of which a process loads one: what lies in them, signatures by their keys.

A PIN arrives with the request that uses it, and is used once: whether it may be tried again is for the caller to know.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from watchword import possession
from watchword_agent.native.cryptoki import (
    CKA_ALWAYS_AUTHENTICATE,
    CKA_CERTIFICATE_TYPE,
    CKA_CLASS,
    CKA_ID,
    CKA_LABEL,
    CKA_MODULUS,
    CKA_SIGN,
    CKA_VALUE,
    CKC_X_509,
    CKM_ECDSA,
    CKM_EDDSA,
    CKM_RSA_PKCS,
    CKM_RSA_PKCS_PSS,
    CKO_CERTIFICATE,
    CKO_PRIVATE_KEY,
    CKR_DEVICE_REMOVED,
    CKR_PIN_EXPIRED,
    CKR_PIN_INCORRECT,
    CKR_PIN_INVALID,
    CKR_PIN_LEN_RANGE,
    CKR_PIN_LOCKED,
    CKR_TOKEN_NOT_PRESENT,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
    CKU_CONTEXT_SPECIFIC,
    CKU_USER,
    Cryptoki,
    CryptokiError,
)
from watchword_agent.native.serving import Answer, HelperError, Request, base64_of, serve, statement_of, unbase64

_MAX_CERTIFICATE_BYTES: Final = 32 * 1024  # a larger one is not sent
_MAX_TOTAL_BYTES: Final = 16 * 2**20  # an answer has its limit
_POLL_SECONDS: Final = 2.0  # libraries that can wait for a slot's event are few, and some hold everything up while they do
_SHA256_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, 9.2

# How a signature of each scheme is made, and what the mechanism signs.
_MECHANISMS: Final[Mapping[str, tuple[int, Callable[[bytes], bytes]]]] = {
    possession.RSA_PSS_SHA256: (CKM_RSA_PKCS_PSS, lambda statement: hashlib.sha256(statement).digest()),
    possession.RSA_PKCS1_SHA256: (CKM_RSA_PKCS, lambda statement: _SHA256_DIGEST_INFO + hashlib.sha256(statement).digest()),
    possession.ECDSA_P256_SHA256: (CKM_ECDSA, lambda statement: hashlib.sha256(statement).digest()),
    possession.ECDSA_P384_SHA384: (CKM_ECDSA, lambda statement: hashlib.sha384(statement).digest()),
    possession.ED25519: (CKM_EDDSA, lambda statement: statement),
}
_NUMBER_BYTES: Final = {possession.ECDSA_P256_SHA256: 32, possession.ECDSA_P384_SHA384: 48}
_LOGINS: Final = {
    CKR_USER_ALREADY_LOGGED_IN: "done",
    CKR_PIN_INCORRECT: "wrong",
    CKR_PIN_INVALID: "wrong",
    CKR_PIN_LEN_RANGE: "wrong",
    CKR_PIN_EXPIRED: "expired",
    CKR_PIN_LOCKED: "locked",
    CKR_USER_PIN_NOT_INITIALIZED: "unset",
}
_TRUE: Final = b"\x01"
_T = TypeVar("_T")


def main() -> None:
    """Serves; see each operation."""
    serve({"tokens": _tokens, "login": _login, "objects": _objects, "sign": _sign, "watch": _watch})


def _tokens(request: Request) -> Answer:
    """The tokens that the library `module` (an absolute path) reaches, whether they are set up or not."""
    module = _module(str(request["module"]))
    tokens = []
    for slot in _telling(str(request["module"]), module.slots):
        try:
            token, flags = module.token(slot)
            tokens.append({"slot": slot, "flags": flags, "token": token, "slot_info": module.slot(slot)})
        except CryptokiError as error:
            if error.code not in (CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT):
                continue  # one that is broken is no reason not to look at the others
    return {"library": _telling(str(request["module"]), module.library), "tokens": tokens}


def _login(request: Request) -> Answer:
    """Logs in to the token in `slot` with `pin`, by one attempt. `login`: done, wrong, expired, locked, unset or failed."""
    module, slot = _module(str(request["module"])), int(request["slot"])
    try:
        module.login(_session(module, slot), CKU_USER, unbase64(request["pin"]))
    except CryptokiError as error:
        return {"login": _LOGINS.get(error.code, "failed"), "detail": str(error)}
    return {"login": "done"}


def _objects(request: Request) -> Answer:
    """The certificates and the private keys that the token in `slot` shows now, and the schemes that it signs by."""
    module, slot = _module(str(request["module"])), int(request["slot"])
    schemes = [scheme for scheme, (mechanism, _) in _MECHANISMS.items() if module.can_sign(slot, mechanism)]
    try:
        session = _session(module, slot)
        certificates = list(_certificates(module, session))
        keys = [_key(module, session, handle) for handle in list(module.objects(session, {CKA_CLASS: CKO_PRIVATE_KEY}))]
    except CryptokiError as error:
        gone = error.code in (CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT)
        raise HelperError("token_missing" if gone else "module_failed", str(error)) from None
    return {"certificates": certificates, "keys": keys, "schemes": schemes}


def _sign(request: Request) -> Answer:
    """The signature of a statement by the private key `key`, an object of the session, by one of the schemes."""
    statement, scheme, key = statement_of(request), str(request["scheme"]), int(request["key"])
    module, slot = _module(str(request["module"])), int(request["slot"])
    mechanism, prepared = _MECHANISMS[scheme]
    try:
        session = _session(module, slot)
        module.sign_init(session, key, mechanism)
        if "pin" in request:  # the key wants it before each signature
            module.login(session, CKU_CONTEXT_SPECIFIC, unbase64(request["pin"]))
        signature = module.sign(session, prepared(statement))
        if scheme in _NUMBER_BYTES:
            signature = possession.ecdsa_der(signature, _NUMBER_BYTES[scheme])
    except (CryptokiError, ValueError) as error:
        raise HelperError("module_failed", str(error)) from None
    return {"signature": base64_of(signature)}


def _watch(request: Request) -> Iterator[Answer]:
    """Tells whenever a token comes or goes, of the library `place`."""
    module = _module(str(request["place"]))

    def present() -> list[Any]:
        try:
            return [(slot, module.token(slot)[0]) for slot in module.slots()]
        except CryptokiError as error:
            return [error.code]

    seen, never = present(), threading.Event()
    yield {}
    while True:
        never.wait(_POLL_SECONDS)
        if (now := present()) != seen:
            seen = now
            yield {"changed": str(request["place"])}


@cache
def _module(path: str) -> Cryptoki:
    if not Path(path).is_file():
        raise HelperError("module_missing", f"`{path}`")
    try:
        return Cryptoki(path)
    except OSError:
        raise HelperError("module_failed", f"`{path}` is no PKCS #11 library that can be loaded") from None
    except CryptokiError as error:
        raise HelperError("module_failed", f"`{path}`: {error}") from None


@cache
def _session(module: Cryptoki, slot: int) -> int:
    """One session for a token: a login holds for all of them, as long as one is open."""
    return module.open_session(slot)


def _telling(path: str, ask: Callable[[], _T]) -> _T:
    try:
        return ask()
    except CryptokiError as error:
        raise HelperError("module_failed", f"`{path}`: {error}") from None


def _certificates(module: Cryptoki, session: int) -> Iterator[Answer]:
    total = 0
    for handle in list(module.objects(session, {CKA_CLASS: CKO_CERTIFICATE, CKA_CERTIFICATE_TYPE: CKC_X_509})):
        der = module.attribute(session, handle, CKA_VALUE)
        total += len(der)
        if 0 < len(der) <= _MAX_CERTIFICATE_BYTES and total <= _MAX_TOTAL_BYTES:
            yield {"der": base64_of(der), **_names(module, session, handle)}


def _key(module: Cryptoki, session: int, handle: int) -> Answer:
    signs = module.attribute(session, handle, CKA_SIGN)
    return {
        "key": handle,
        "signs": not signs or signs == _TRUE,
        "modulus": module.attribute(session, handle, CKA_MODULUS).hex(),
        "wants_pin": module.attribute(session, handle, CKA_ALWAYS_AUTHENTICATE) == _TRUE,
        **_names(module, session, handle),
    }


def _names(module: Cryptoki, session: int, handle: int) -> Answer:
    label = module.attribute(session, handle, CKA_LABEL).decode("utf-8", "replace")
    return {"id": module.attribute(session, handle, CKA_ID).hex(), "label": label}

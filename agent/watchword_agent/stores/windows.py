"""Certificates and keys in the certificate stores of Windows: the machine's, and those of the user who is signed in."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.helper_process import HelperProcess
from watchword_agent.native.serving import base64_of, unbase64
from watchword_agent.stores.base import Contents, Found, Possession, Visit, Watched

# The second reads the store of whoever is signed in where it runs as the system itself, whose own store nobody means.
_HELPERS: Final = {"system": "windows", "user": "windows_user"}
_OPENING_SECONDS: Final = 30.0  # a smart card takes its time for each key


class WindowsStore:
    """`system` is LocalMachine\\My, `user` CurrentUser\\My. Nothing is ever asked of the user."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`."""
        found: list[Found] = []
        failures: list[CollectionFailedError] = []
        for place in places:
            try:
                found += _found_at(place, visit)
            except CollectionFailedError as failure:
                failures.append(failure)
        if failures and len(failures) == len(places):
            raise next((failure for failure in failures if failure.code != "store_missing"), failures[0])
        return Contents(tuple(found), tuple(failures))

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """See `CertificateStore`."""
        return Watched(stores=frozenset((_HELPERS[place], place) for place in places if place in _HELPERS))


def _found_at(place: str, visit: Visit) -> list[Found]:
    if place not in _HELPERS:
        raise CollectionFailedError("store_unsupported", f"there is no store `{place}` on Windows: `system` or `user`")
    process = visit.exits.enter_context(visit.access.helpers.start(_HELPERS[place]))
    answer = process.ask({"op": "list", "place": place, "allow_pkcs1": visit.allow_pkcs1}, seconds=_OPENING_SECONDS)
    return [_found(each, place, process, allow_pkcs1=visit.allow_pkcs1) for each in answer["certificates"]]


def _found(told: dict[str, Any], place: str, process: HelperProcess, *, allow_pkcs1: bool) -> Found:
    der, state = unbase64(told["der"]), _state(told["state"])
    detail = str(told["detail"])
    if state != pb.PRIVATE_KEY_STATE_USABLE:
        return Found(der, str(told["location"]), state, key_detail=detail)
    scheme = _scheme_of(der)
    if scheme is None:
        kind = "a kind of key that no proof is made with"
        return Found(der, str(told["location"]), pb.PRIVATE_KEY_STATE_UNSUPPORTED, key_detail=kind)
    request = {
        "op": "sign",
        "place": place,
        "sha256": hashlib.sha256(der).hexdigest(),
        "scheme": scheme,
        "allow_pkcs1": allow_pkcs1,
    }
    return Found(der, str(told["location"]), state, partial(_sign, process, request))


def _sign(process: HelperProcess, request: dict[str, Any], statement: bytes) -> Possession:
    try:
        answer = process.ask(request | {"statement": base64_of(statement)}, seconds=_OPENING_SECONDS)
    except CollectionFailedError as failure:
        raise SigningFailedError(failure.detail) from failure
    if "state" in answer:
        raise SigningFailedError(str(answer["detail"]), _state(answer["state"]))
    return Possession(str(answer["scheme"]), unbase64(answer["signature"]))


def _state(word: str) -> pb.PrivateKeyState:
    """As a helper names it."""
    return cast("pb.PrivateKeyState", pb.PrivateKeyState.Value(f"PRIVATE_KEY_STATE_{word}"))


def _scheme_of(der: bytes) -> str | None:
    """The scheme of the certificate's key; None if it has none here, or the certificate cannot be read."""
    try:
        match x509.load_der_x509_certificate(der).public_key():
            case rsa.RSAPublicKey():
                return possession.RSA_PSS_SHA256
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
                return possession.ECDSA_P256_SHA256
            case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
                return possession.ECDSA_P384_SHA384
            case _:
                return None
    except (ValueError, UnsupportedAlgorithm):
        return None

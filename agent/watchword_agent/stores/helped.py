"""What a helper process lists and signs of a system's own stores: the agent's side of it, the same for Windows and macOS."""

import hashlib
from collections.abc import Callable, Sequence
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
from watchword_agent.stores.base import Contents, Found, Possession, Visit

_ANSWER_SECONDS: Final = 30.0  # a smart card takes its time for each key


def look_with_helpers(places: Sequence[str], visit: Visit, helper_of: Callable[[str], str]) -> Contents:
    """Everything at these places, as `CertificateStore.look`; `helper_of` names a place's helper or raises itself."""
    found: list[Found] = []
    failures: list[CollectionFailedError] = []
    for place in places:
        try:
            found += _found_at(place, visit, helper_of(place))
        except CollectionFailedError as failure:
            failures.append(failure)
    if failures and len(failures) == len(places):
        raise next((failure for failure in failures if failure.code != "store_missing"), failures[0])
    return Contents(tuple(found), tuple(failures))


def _found_at(place: str, visit: Visit, helper: str) -> list[Found]:
    process = visit.exits.enter_context(visit.access.helpers.start(helper))
    answer = process.ask({"op": "list", "place": place, "allow_pkcs1": visit.allow_pkcs1}, seconds=_ANSWER_SECONDS)
    try:  # it may run as a user, who has it say what they like
        return [_found(each, place, process, allow_pkcs1=visit.allow_pkcs1) for each in answer["certificates"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CollectionFailedError("helper_crashed", f"the helper `{helper}` said what is not understood") from error


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
        answer = process.ask(request | {"statement": base64_of(statement)}, seconds=_ANSWER_SECONDS)
        if "state" in answer:
            raise SigningFailedError(str(answer["detail"]), _state(answer["state"]))
        return Possession(str(answer["scheme"]), unbase64(answer["signature"]))
    except CollectionFailedError as failure:
        raise SigningFailedError(failure.detail) from failure
    except (KeyError, TypeError, ValueError) as error:
        raise SigningFailedError("the helper said what is not understood") from error


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

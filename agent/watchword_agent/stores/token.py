"""One PKCS #11 token: logging in without ever locking it, and which of its keys belongs to which certificate."""

import hashlib
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.helper_process import HelperProcess
from watchword_agent.native.serving import base64_of, unbase64
from watchword_agent.stores.base import Found, Possession, Visit
from watchword_agent.stores.foreign_keys import is_true, modulus, scheme_for
from watchword_agent.stores.passwords import TOKEN_PREFIX, password_for
from watchword_agent.stores.pkcs11_uri import TokenUri

# PKCS #11 2.40, 3.2, flags of a token
_CKF_LOGIN_REQUIRED: Final = 0x04
_CKF_PROTECTED_AUTHENTICATION_PATH: Final = 0x100
_CKF_TOKEN_INITIALIZED: Final = 0x400
_CKF_USER_PIN_FINAL_TRY: Final = 0x20000
_CKF_USER_PIN_LOCKED: Final = 0x40000


class WrongPins:
    """PINs that tokens did not take, for as long as this process lives: none is tried twice, so that no counter runs out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)  # nobody finds a PIN of a few digits from what is kept of it
        self._wrong: set[tuple[str, ...]] = set()

    def attempt(self, token: tuple[str, ...], pin: bytes, login: Callable[[], str]) -> str:
        """What `login` gives, `wrong` being a wrong PIN; the same without a call where that is known."""
        mark = (*token, hashlib.blake2b(pin, key=self._secret).hexdigest())
        with self._lock:  # two looks at once are one attempt too
            if mark in self._wrong:
                return "wrong"
            outcome = login()
            if outcome == "wrong":
                self._wrong.add(mark)
            return outcome


@dataclass(frozen=True, slots=True)
class _Access:
    """How far keys can be used: USABLE, or the state that all of them share, and why."""

    state: pb.PrivateKeyState
    detail: str = ""
    pin: bytes | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as a helper tells of it. `names`: `label`, `manufacturer`, `model`, `serial`."""

    module: str
    process: HelperProcess
    slot: int
    flags: int
    names: Mapping[str, str]

    @property
    def is_initialized(self) -> bool:
        """Whether anything can lie in it."""
        return bool(self.flags & _CKF_TOKEN_INITIALIZED)

    def contents(self, uris: Sequence[TokenUri], visit: Visit, wrong_pins: WrongPins) -> list[Found]:
        """The certificates that one of the URIs means. Raises `CollectionFailedError`, also where there is none."""
        if not self.is_initialized:
            detail = f"the token in slot {self.slot} of `{self.module}` is not set up: initialise it"
            raise CollectionFailedError("token_not_initialized", detail)
        access = self._logged_in(visit, wrong_pins)
        told = self._ask("objects")
        found = []
        for certificate in told["certificates"]:
            keys = _keys_of(certificate, told["keys"])
            if any(_means(uri, certificate, keys) for uri in uris):
                found.append(self._found(certificate, keys, told["schemes"], access, allow_pkcs1=visit.allow_pkcs1))
        if not found:
            raise CollectionFailedError("no_certificate", self._nothing(told, access))
        return found

    def _logged_in(self, visit: Visit, wrong_pins: WrongPins) -> _Access:
        """What keeps us from a key, once for all keys; a PIN is tried only where no harm can come of it."""
        name = self._name
        if not self.flags & _CKF_LOGIN_REQUIRED:
            return _Access(pb.PRIVATE_KEY_STATE_USABLE)
        if self.flags & _CKF_PROTECTED_AUTHENTICATION_PATH:
            return _Access(pb.PRIVATE_KEY_STATE_NEEDS_UI, f"{name} takes its PIN at its own keys only, and the agent asks nobody")
        if self.flags & _CKF_USER_PIN_LOCKED:
            return _Access(
                pb.PRIVATE_KEY_STATE_LOCKED, f"the PIN of {name} is locked after wrong ones: set a new one by its SO PIN"
            )
        place = TOKEN_PREFIX + self.names["label"]
        try:
            pin = password_for(place, visit.access)
        except CollectionFailedError as failure:
            return _Access(pb.PRIVATE_KEY_STATE_LOCKED, failure.detail)
        if pin is None:
            return _Access(pb.PRIVATE_KEY_STATE_LOCKED, f"{name} wants a PIN: give it by `password_files`, as `{place}`")
        if self.flags & _CKF_USER_PIN_FINAL_TRY:
            detail = f"the next wrong PIN locks {name}, so none is tried: log in once yourself with the right one"
            return _Access(pb.PRIVATE_KEY_STATE_WRONG_PASSWORD, detail)
        identity = tuple(self.names[each] for each in ("manufacturer", "model", "serial", "label"))
        outcome = wrong_pins.attempt(identity, pin, lambda: str(self._ask("login", pin=base64_of(pin))["login"]))
        return _OUTCOMES.get(outcome, _OUTCOMES["failed"])(name, pin)

    def _found(
        self,
        certificate: Mapping[str, Any],
        keys: Sequence[Mapping[str, Any]],
        schemes: Sequence[str],
        access: _Access,
        *,
        allow_pkcs1: bool,
    ) -> Found:
        der = unbase64(certificate["der"])
        location = self._location(certificate)
        key, state, detail = _choice(der, keys)
        if key is None and state != pb.PRIVATE_KEY_STATE_ABSENT:
            return Found(der, location, state, key_detail=detail)
        if access.state != pb.PRIVATE_KEY_STATE_USABLE:  # its key may be hidden as long as nobody logs in
            return Found(der, location, access.state, key_detail=access.detail)
        if key is None:
            return Found(der, location, state, key_detail=f"{self._name} holds no private key for it, by its CKA_ID")
        if not key["signs"]:
            return Found(der, location, pb.PRIVATE_KEY_STATE_DENIED, key_detail=f"{self._name} lets this key sign nothing")
        scheme = scheme_for(der, schemes, allow_pkcs1=allow_pkcs1)
        if scheme is None:
            detail = f"{self._name} signs by no scheme that this kind of key proves possession with"
            return Found(der, location, pb.PRIVATE_KEY_STATE_UNSUPPORTED, key_detail=detail)
        asked = {"key": key["key"], "scheme": scheme}
        if key["wants_pin"] and access.pin is not None:
            asked["pin"] = base64_of(access.pin)
        return Found(der, location, pb.PRIVATE_KEY_STATE_USABLE, partial(self._sign, der, asked))

    def _sign(self, der: bytes, asked: Mapping[str, Any], statement: bytes) -> Possession:
        """See `Signer`; verified, as a token may hold the key of another certificate under the same CKA_ID."""
        try:
            signature = unbase64(self._ask("sign", **asked, statement=base64_of(statement))["signature"])
        except CollectionFailedError as failure:
            raise SigningFailedError(failure.detail) from failure
        proof = Possession(str(asked["scheme"]), signature)
        if not is_true(proof, statement, der):
            raise SigningFailedError(f"{self._name} signs by another key", pb.PRIVATE_KEY_STATE_MISMATCH)
        return proof

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 -- what JSON carries
        return self.process.ask({"op": operation, "module": self.module, "slot": self.slot, **request})

    def _nothing(self, told: Mapping[str, Any], access: _Access) -> str:
        if access.state != pb.PRIVATE_KEY_STATE_USABLE:
            return f"{self._name} shows none that is meant: {access.detail}"
        if told["keys"] and not told["certificates"]:
            return f"{self._name} holds a private key and no certificate: write the certificate to it, with the CKA_ID of the key"
        return f"{self._name} holds none that is meant"

    @property
    def _name(self) -> str:
        return f"the token `{self.names['label']}`"

    def _location(self, certificate: Mapping[str, Any]) -> str:
        """As a URI that means this certificate alone."""
        parts = {"token": self.names["label"], "serial": self.names["serial"], "object": certificate["label"]}
        identifier = "".join(f"%{byte:02X}" for byte in bytes.fromhex(certificate["id"]))
        texts = [f"{name}={quote(text, safe='')}" for name, text in parts.items() if text]
        return "pkcs11:" + ";".join([*texts, *([f"id={identifier}"] if identifier else [])])


_OUTCOMES: Final[Mapping[str, Callable[[str, bytes], _Access]]] = {
    "done": lambda _, pin: _Access(pb.PRIVATE_KEY_STATE_USABLE, pin=pin),
    "wrong": lambda name, _: _Access(
        pb.PRIVATE_KEY_STATE_WRONG_PASSWORD, f"{name} did not take the PIN that `password_files` gives; it is not tried again"
    ),
    "expired": lambda name, _: _Access(pb.PRIVATE_KEY_STATE_DENIED, f"{name} wants a new PIN before anything else"),
    "locked": lambda name, _: _Access(
        pb.PRIVATE_KEY_STATE_LOCKED, f"the PIN of {name} is locked after wrong ones: set a new one by its SO PIN"
    ),
    "unset": lambda name, _: _Access(pb.PRIVATE_KEY_STATE_LOCKED, f"{name} has no PIN yet: set one by its SO PIN"),
    "failed": lambda name, _: _Access(pb.PRIVATE_KEY_STATE_FAILED, f"{name} let nobody log in"),
}


def _keys_of(certificate: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [key for key in keys if key["id"] and key["id"] == certificate["id"]]


def _means(uri: TokenUri, certificate: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a URI means this certificate, by itself or by its private key (`type`)."""
    if uri.id is not None and uri.id.hex() != certificate["id"]:
        return False
    if uri.object is None:
        return True
    own, of_keys = {certificate["label"]}, {key["label"] for key in keys}
    return uri.object in {"cert": own, "private": of_keys}.get(uri.type or "", own | of_keys)


def _choice(der: bytes, keys: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any] | None, pb.PrivateKeyState, str]:
    """The key that fits, of those with the certificate's CKA_ID; what an EC key fits, only its signature tells."""
    if not keys:
        return None, pb.PRIVATE_KEY_STATE_ABSENT, ""
    wanted = modulus(der)
    for key in keys:
        if wanted is None or not key["modulus"] or int(key["modulus"], 16) == wanted:
            return key, pb.PRIVATE_KEY_STATE_USABLE, ""
    return None, pb.PRIVATE_KEY_STATE_MISMATCH, "the private key with the same CKA_ID belongs to another certificate"

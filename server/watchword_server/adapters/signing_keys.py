"""The keys that this service signs tokens with (RFC 7515, 7517): a set in a file, of which the public halves are published.

A new key is published for a while before it signs, so that whoever keeps our key set has it by then; one that signs no longer
stays published until the last token it signed has ended. A file of the operator's is the same on every replica, and only read.
"""

import base64
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from watchword_server.core.model.names import Instant
from watchword_server.errors import ConfigurationError, ConflictError, Problem, StoreUnavailableError, TokenRefusedError

FILE: Final = "signing-keys.json"
PUBLISHED_FIRST_SECONDS: Final = 600.0
STAYS_PUBLISHED_SECONDS: Final = 3600.0
_SKEW_SECONDS: Final = 5  # between replicas
_MAX_KEYS: Final = 16
_MAX_BYTES: Final = 64 * 1024
_PRIVATE: Final = frozenset({"d"})
_MEMBERS: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}  # of a thumbprint (RFC 7638, 3.2; RFC 8037, 2)
_ALGORITHMS: Final = {"P-256": "ES256", "Ed25519": "EdDSA"}

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. `public` is what may be published of it; `created_at` counts from when it may be used."""

    id: str
    algorithm: str  # ES256 or EdDSA
    created_at: Instant
    public: Mapping[str, str]
    private: PrivateKey


@dataclass(slots=True)
class SigningKeys:
    """A key set, the oldest first. `shared`: the operator's file, which we do not write."""

    path: Path
    shared: bool
    algorithm: str
    _keys: tuple[SigningKey, ...]

    @classmethod
    def open(cls, path: Path, *, shared: bool, algorithm: str, now: Instant) -> Self:
        """The keys of the file; one of ours is made where there is none. Raises `ConfigurationError`."""
        if not shared and not path.exists():
            keys = cls(path, shared, algorithm, ())
            keys._keys = (_new_key(algorithm, now),)  # nobody knows our key set yet: nothing to wait for
            keys._write()
            return keys
        return cls(path, shared, algorithm, _read(path))

    @classmethod
    def add_to(cls, path: Path, *, algorithm: str, now: Instant) -> SigningKey:
        """Adds a key to an operator's file, or makes the file. Raises `ConfigurationError`, `OSError`."""
        keys = cls(path, shared=False, algorithm=algorithm, _keys=_read(path) if path.exists() else ())
        key = _new_key(algorithm, now)
        keys._keys = (*keys._keys, key)
        keys._write()
        return key

    def current(self, now: Instant) -> SigningKey:
        """The key that signs: the newest that was published long enough; the oldest if none was."""
        ready = [key for key in self._keys if key.created_at + PUBLISHED_FIRST_SECONDS <= now]
        return ready[-1] if ready else self._keys[0]

    def published(self, now: Instant) -> Sequence[SigningKey]:
        """The keys whose tokens may be in use, or will be soon; the oldest first."""
        return [key for key, until in self._with_ends() if until is None or now < until]

    def standing(self, now: Instant) -> Sequence[tuple[SigningKey, str]]:
        """Each published key: `next`, `signing` or `retiring`."""
        signing = self.current(now)
        published = self.published(now)
        place = published.index(signing)
        return [
            (key, "signing" if key is signing else "retiring" if index < place else "next") for index, key in enumerate(published)
        ]

    def next_key(self, now: Instant) -> SigningKey:
        """A key to rotate to; `rotate_to` takes it. Raises `ConflictError`."""
        if self.shared:
            raise ConflictError(f"the keys are in `{self.path}`: add one there, on every replica")
        if self.standing(now)[-1][1] == "next":
            raise ConflictError("there is a next key already: it signs ten minutes after it was made")
        return _new_key(self.algorithm, now)

    def rotate_to(self, key: SigningKey, now: Instant) -> None:
        """Publishes the next key, and forgets those that are published no more. Raises `StoreUnavailableError`."""
        before, self._keys = self._keys, (*self.published(now), key)
        try:
            self._write()
        except OSError as error:
            self._keys = before
            raise StoreUnavailableError(f"`{self.path}` cannot be written: {error.strerror}") from error

    def sign(self, claims: Mapping[str, object], *, kind: str, now: Instant) -> str:
        """A token of these claims. `kind`: its `typ`, so that none passes for another (RFC 8725, 3.11)."""
        return signed(self.current(now), claims, kind=kind)

    def verified(self, token: str, *, kind: str, audience: str, issuer: str, now: Instant) -> Mapping[str, Any]:
        """What a token of ours says (RFC 8725). Raises `TokenRefusedError`."""
        try:
            header = jwt.get_unverified_header(token)
            key = next((key for key in self.published(now) if key.id == header.get("kid")), None)
            if key is None or header.get("typ") != kind or "crit" in header:
                raise TokenRefusedError("no token of ours of this kind")
            claims: dict[str, Any] = jwt.decode(
                token,
                key.private.public_key(),
                algorithms=[key.algorithm],
                audience=audience,
                issuer=issuer,
                options={"require": ["exp", "iat", "iss", "aud"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise TokenRefusedError("not signed by us, or for another audience") from error
        issued_at, ends_at = claims["iat"], claims["exp"]
        if not isinstance(issued_at, int) or not isinstance(ends_at, int) or not issued_at - _SKEW_SECONDS <= now < ends_at:
            raise TokenRefusedError("expired")
        return claims

    def _with_ends(self) -> list[tuple[SigningKey, float | None]]:
        """Each key and when it stops being published: a while after its successor signs."""
        successors = [*self._keys[1:], None]
        return [
            (key, None if after is None else after.created_at + PUBLISHED_FIRST_SECONDS + STAYS_PUBLISHED_SECONDS)
            for key, after in zip(self._keys, successors, strict=True)
        ]

    def _write(self) -> None:
        text = json.dumps({"keys": [_private_jwk(key) for key in self._keys]}, indent=1) + "\n"
        new = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        new.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def signed(key: SigningKey, claims: Mapping[str, object], *, kind: str) -> str:
    """A token of these claims. `kind`: its `typ`, so that none passes for another (RFC 8725, 3.11)."""
    return jwt.encode(dict(claims), key.private, algorithm=key.algorithm, headers={"typ": kind, "kid": key.id})


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638), base64url. Raises `ValueError` for a kind that has none here."""
    names = _MEMBERS.get(str(jwk.get("kty")))
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        raise ValueError("it is no public key of a kind that is known here")
    text = json.dumps({name: jwk[name] for name in names}, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _new_key(algorithm: str, now: Instant) -> SigningKey:
    private: PrivateKey
    private = ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())
    return _key(private, now)


def _key(private: PrivateKey, created_at: Instant) -> SigningKey:
    public: dict[str, str]
    if isinstance(private, ec.EllipticCurvePrivateKey):
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    told = {name: public[name] for name in _MEMBERS[public["kty"]]}
    key_id, algorithm = thumbprint(told), _ALGORITHMS[told["crv"]]
    return SigningKey(key_id, algorithm, created_at, {**told, "kid": key_id, "alg": algorithm, "use": "sig"}, private)


def _private_jwk(key: SigningKey) -> dict[str, object]:
    private: Mapping[str, str]
    if isinstance(key.private, ec.EllipticCurvePrivateKey):
        private = ECAlgorithm.to_jwk(key.private, as_dict=True)
    else:
        private = OKPAlgorithm.to_jwk(key.private, as_dict=True)
    return {**key.public, **{name: private[name] for name in _PRIVATE}, "created_at": int(key.created_at)}


def _read(path: Path) -> tuple[SigningKey, ...]:
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _refused(f"`{path}` cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _refused(f"`{path}` may be read by others: `chmod 600 {path}`")
    try:
        document = json.loads(text)
        entries = document["keys"]
        keys = [_read_key(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, jwt.PyJWTError) as error:
        raise _refused(f"`{path}` is no set of private keys (RFC 7517) on P-256 or Ed25519: {error}") from error
    if not 1 <= len(keys) <= _MAX_KEYS or len({key.id for key in keys}) != len(keys):
        raise _refused(f"`{path}` has {len(keys)} keys, or one twice: write 1 to {_MAX_KEYS}")
    return tuple(sorted(keys, key=lambda key: key.created_at))


def _read_key(entry: Mapping[str, Any]) -> SigningKey:
    created_at = entry["created_at"]
    if not isinstance(created_at, int) or isinstance(created_at, bool):
        raise ValueError("`created_at` is not a whole number of seconds")  # noqa: TRY004 - told as what the file says
    told = {name: entry[name] for name in (*_MEMBERS[entry["kty"]], "d")}
    private = ECAlgorithm.from_jwk(told) if told["kty"] == "EC" else OKPAlgorithm.from_jwk(told)
    if not isinstance(private, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) or told["crv"] not in _ALGORITHMS:
        raise ValueError("a key is of another kind")
    return _key(private, Instant(created_at))


def _refused(message: str) -> ConfigurationError:
    return ConfigurationError([Problem(("decisions", "signing_keys_file"), message)])

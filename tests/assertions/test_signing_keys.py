"""The keys that our own tokens are signed with: published before they sign and after, never readable by others."""

import json
import stat
from pathlib import Path

import jwt
import pytest

from watchword_server.adapters.signing_keys import (
    PUBLISHED_FIRST_SECONDS,
    STAYS_PUBLISHED_SECONDS,
    SigningKeys,
    signed,
    thumbprint,
)
from watchword_server.core.model.names import Instant
from watchword_server.errors import ConfigurationError, ConflictError, TokenRefusedError

NOW = Instant(1_800_000_000.0)
CLAIMS = {"iss": "us", "aud": ["a", "b"], "iat": int(NOW), "exp": int(NOW) + 60, "sub": "x"}


def opened(directory: Path, *, algorithm: str = "ES256", shared: bool = False) -> SigningKeys:
    return SigningKeys.open(directory / "signing-keys.json", shared=shared, algorithm=algorithm, now=NOW)


def later(seconds: float) -> Instant:
    return Instant(NOW + seconds)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_is_made_once_for_its_owner_only_and_signs_at_once(tmp_path: Path, algorithm: str) -> None:
    keys = opened(tmp_path, algorithm=algorithm)
    assert stat.S_IMODE((tmp_path / "signing-keys.json").stat().st_mode) == 0o600
    key = keys.current(NOW)
    assert opened(tmp_path).current(NOW).id == key.id
    token = signed(key, CLAIMS, kind="test+jwt")
    published = jwt.PyJWK.from_dict(dict(key.public))
    assert jwt.decode(token, published, algorithms=[algorithm], audience="b", options={"verify_exp": False, "verify_iat": False})
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": key.id, "typ": "test+jwt"}
    assert "d" not in key.public
    assert thumbprint(key.public) == key.id


def test_the_thumbprint_is_that_of_the_standard() -> None:
    """RFC 8037, A.3."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_new_key_is_published_first_then_signs_then_the_old_one_goes(tmp_path: Path) -> None:
    keys = opened(tmp_path)
    first = keys.current(NOW)
    begin = later(10_000)
    second = keys.next_key(begin)
    keys.rotate_to(second, begin)

    def standing(seconds: float) -> list[tuple[str, str]]:
        return [(key.id, state) for key, state in keys.standing(Instant(begin + seconds))]

    assert standing(0) == standing(PUBLISHED_FIRST_SECONDS - 1) == [(first.id, "signing"), (second.id, "next")]
    signs = PUBLISHED_FIRST_SECONDS
    assert standing(signs) == [(first.id, "retiring"), (second.id, "signing")]
    assert standing(signs + STAYS_PUBLISHED_SECONDS - 1) == standing(signs)
    assert standing(signs + STAYS_PUBLISHED_SECONDS) == [(second.id, "signing")]
    with pytest.raises(ConflictError, match="next key already"):
        keys.next_key(Instant(begin + 1))
    third = keys.next_key(Instant(begin + 100_000))
    keys.rotate_to(third, Instant(begin + 100_000))
    stored = json.loads((tmp_path / "signing-keys.json").read_text())["keys"]
    assert [entry["kid"] for entry in stored] == [second.id, third.id]


def test_a_token_of_ours_is_verified_and_no_other(tmp_path: Path) -> None:
    keys, stranger = opened(tmp_path), opened_elsewhere(tmp_path)
    key = keys.current(NOW)

    def verified(token: str, *, kind: str = "k+jwt", audience: str = "a", issuer: str = "us", now: Instant = NOW) -> bool:
        try:
            return bool(keys.verified(token, kind=kind, audience=audience, issuer=issuer, now=now))
        except TokenRefusedError:
            return False

    good = signed(key, CLAIMS, kind="k+jwt")
    assert verified(good)
    assert verified(good, now=later(59))
    assert not verified(good, now=later(60))
    assert not verified(good, now=later(-6))
    assert not verified(good, kind="other+jwt")
    assert not verified(good, audience="c")
    assert not verified(good, issuer="them")
    assert not verified(signed(stranger.current(NOW), CLAIMS, kind="k+jwt"))
    head, body, signature = good.split(".")
    assert not verified(f"{head}.{body}.{signature[:-6]}AAAAAA")
    assert not verified(f"{head}.{body}.")
    assert not verified("nonsense")
    for missing in ("exp", "iat", "aud", "iss"):
        assert not verified(signed(key, {name: value for name, value in CLAIMS.items() if name != missing}, kind="k+jwt"))
    for wrong in ({"exp": "never"}, {"exp": None}, {"iat": "now"}, {"exp": True}):
        assert not verified(signed(key, {**CLAIMS, **wrong}, kind="k+jwt"))
    none = jwt.encode(CLAIMS, key="", algorithm="none", headers={"typ": "k+jwt", "kid": key.id})
    assert not verified(none)
    secret = key.id.encode()  # what everybody knows
    assert not verified(jwt.encode(CLAIMS, secret, algorithm="HS256", headers={"typ": "k+jwt", "kid": key.id}))


def opened_elsewhere(directory: Path) -> SigningKeys:
    (directory / "elsewhere").mkdir()
    return opened(directory / "elsewhere")


def test_a_shared_file_is_read_and_never_written(tmp_path: Path) -> None:
    path = tmp_path / "signing-keys.json"
    first = SigningKeys.add_to(path, algorithm="EdDSA", now=NOW)
    second = SigningKeys.add_to(path, algorithm="ES256", now=later(50))
    keys = opened(tmp_path, shared=True)
    assert [key.id for key in keys.published(NOW)] == [first.id, second.id]
    assert keys.current(later(PUBLISHED_FIRST_SECONDS + 50)).id == second.id
    with pytest.raises(ConflictError, match="on every replica"):
        keys.next_key(later(50_000))


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0o600, "cannot be read"),
        ("{}", 0o600, "no set of private keys"),
        ('{"keys": []}', 0o600, "has 0 keys"),
        ("not json", 0o600, "no set of private keys"),
        ('{"keys": [{"kty": "oct", "k": "AA", "created_at": 1}]}', 0o600, "no set of private keys"),
        (
            '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA", "created_at": 1}]}',
            0o600,
            "no set of private",
        ),
        ("good", 0o640, "may be read by others"),
        ("undated", 0o600, "created_at"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str | None, mode: int, told: str) -> None:
    path = tmp_path / "signing-keys.json"
    if content in {"good", "undated"}:
        SigningKeys.add_to(path, algorithm="ES256", now=NOW)
        if content == "undated":
            path.write_text(path.read_text().replace("created_at", "made_at"))
    elif content is not None:
        path.write_text(content)
    if content is not None:
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=told):
        opened(tmp_path, shared=True)

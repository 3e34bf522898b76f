"""The System keychain of macOS, through every call that is made of it, over a stand-in of the frameworks: see docs/agent.md."""

import ctypes
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent import stand_ins
from agent.proofs import verify_possession
from support.pki import Credential, KeyKind, Pki
from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.helper_process import Helpers
from watchword_agent.native import macos, macos_codes
from watchword_agent.native.macos_calls import Calls
from watchword_agent.native.serving import HelperError, base64_of
from watchword_agent.stores.base import Access, Contents, Found, Visit
from watchword_agent.stores.macos import MacStore

pytestmark = pytest.mark.needs_program("cc")

STATEMENT = possession.statement(
    nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16, check_id="check_1", certificate_der=b"x"
)


class Keychain:
    """The directory that the stand-in takes for the System keychain."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def add(self, client: Credential, name: str = "laptop", *, key: Credential | None = None, with_key: bool = True) -> None:
        (self.directory / f"{name}.der").write_bytes(client.der)
        if with_key:
            pkcs8 = (key or client).key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            (self.directory / f"{name}.key").write_bytes(pkcs8)

    def fails(self, name: str, code: int) -> None:
        (self.directory / f"{name}.error").write_text(str(code))

    def look(self, exits: ExitStack, *places: str, allow_pkcs1: bool = False) -> Contents:
        helpers = stand_ins.helpers("macos", STAND_IN_KEYCHAIN=str(self.directory))
        return MacStore().look(places or ("system",), Visit({}, Access(helpers), exits, allow_pkcs1=allow_pkcs1))


@pytest.fixture
def keychain(tmp_path: Path) -> Keychain:
    return Keychain(tmp_path / "keychain")


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


def refusal(found: Found) -> tuple[pb.PrivateKeyState, str]:
    assert found.sign is not None
    with pytest.raises(SigningFailedError) as caught:
        found.sign(STATEMENT)
    return caught.value.state, str(caught.value)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_a_key_signs_in_the_scheme_of_its_kind(keychain: Keychain, pki: Pki, exits: ExitStack, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    keychain.add(client)
    (found,) = keychain.look(exits).found
    assert (found.der, found.private_key) == (client.der, pb.PRIVATE_KEY_STATE_USABLE)
    assert found.location.startswith("/Library/Keychains/System.keychain SHA-256 ")
    assert found.sign is not None
    proof = found.sign(STATEMENT)
    verify_possession(client.der, scheme=proof.scheme, signature=proof.signature, statement=STATEMENT)


def test_a_key_without_pss_signs_only_where_the_check_allows_pkcs1(keychain: Keychain, pki: Pki, exits: ExitStack) -> None:
    client = pki.issuing.issue(key="rsa2048")
    keychain.add(client)
    (keychain.directory / "laptop.no-pss").touch()
    (found,) = keychain.look(exits).found
    assert refusal(found)[0] == pb.PRIVATE_KEY_STATE_UNSUPPORTED
    (found,) = keychain.look(exits, allow_pkcs1=True).found
    assert found.sign is not None
    proof = found.sign(STATEMENT)
    assert proof.scheme == possession.RSA_PKCS1_SHA256
    public_key = client.certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(proof.signature, STATEMENT, padding.PKCS1v15(), hashes.SHA256())


def test_certificates_come_in_their_order_with_and_without_keys(keychain: Keychain, pki: Pki, exits: ExitStack) -> None:
    first, second = pki.issuing.issue("a"), pki.issuing.issue("b")
    keychain.add(first, "1", with_key=False)
    keychain.add(second, "2")
    found = keychain.look(exits).found
    assert [(each.der, each.private_key) for each in found] == [
        (first.der, pb.PRIVATE_KEY_STATE_ABSENT),
        (second.der, pb.PRIVATE_KEY_STATE_USABLE),
    ]
    assert "-25300" in found[0].key_detail


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (-25308, pb.PRIVATE_KEY_STATE_NEEDS_UI),
        (-128, pb.PRIVATE_KEY_STATE_NEEDS_UI),
        (-25293, pb.PRIVATE_KEY_STATE_DENIED),
        (-34018, pb.PRIVATE_KEY_STATE_DENIED),
        (-67671, pb.PRIVATE_KEY_STATE_DENIED),
        (-50, pb.PRIVATE_KEY_STATE_UNSUPPORTED),
        (-25291, pb.PRIVATE_KEY_STATE_UNREADABLE),
        (-12345, pb.PRIVATE_KEY_STATE_FAILED),
    ],
)
def test_why_a_key_does_not_sign_is_told(
    keychain: Keychain, pki: Pki, exits: ExitStack, code: int, state: pb.PrivateKeyState
) -> None:
    keychain.add(pki.issuing.issue())
    keychain.fails("laptop", code)
    (found,) = keychain.look(exits).found
    told, detail = refusal(found)
    assert told == state
    assert f"SecKeyCreateSignature: {code}" in detail


def test_a_certificate_that_went_away_does_not_sign(keychain: Keychain, pki: Pki, exits: ExitStack) -> None:
    keychain.add(pki.issuing.issue())
    (found,) = keychain.look(exits).found
    (keychain.directory / "laptop.der").unlink()
    assert refusal(found)[0] == pb.PRIVATE_KEY_STATE_ABSENT


def test_an_empty_keychain_is_no_error(keychain: Keychain, exits: ExitStack) -> None:
    assert keychain.look(exits).found == ()


@pytest.mark.parametrize(
    ("status", "code"),
    [(-25294, "store_missing"), (-25295, "store_corrupt"), (-25308, "store_denied"), (-36, "store_unreadable")],
)
def test_why_a_keychain_cannot_be_read_is_told(keychain: Keychain, exits: ExitStack, status: int, code: str) -> None:
    keychain.fails("search", status)
    with pytest.raises(CollectionFailedError) as caught:
        keychain.look(exits)
    assert caught.value.code == code
    assert f"SecItemCopyMatching: {status}" in caught.value.detail


def test_there_is_no_other_store(keychain: Keychain, pki: Pki, exits: ExitStack) -> None:
    keychain.add(pki.issuing.issue())
    contents = keychain.look(exits, "system", "user")
    assert len(contents.found) == 1
    assert [trouble.code for trouble in contents.troubles] == ["store_unsupported"]


def test_the_keychains_file_is_watched() -> None:
    visit = Visit({}, Access(Helpers()), ExitStack())
    assert MacStore().watched(("system",), visit).files == {"/Library/Keychains/System.keychain"}
    assert not MacStore().watched(("user",), visit).files


def test_elsewhere_than_on_a_mac_the_helper_says_so(exits: ExitStack) -> None:
    with pytest.raises(CollectionFailedError, match="part of macOS"):
        MacStore().look(("system",), Visit({}, Access(Helpers()), exits))


def test_every_reference_is_released_once_and_none_is_used_after(
    keychain: Keychain, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the end of it: a signature, a refusal, no key, a keychain that cannot be read."""
    monkeypatch.setenv("STAND_IN_KEYCHAIN", str(keychain.directory))
    library = ctypes.CDLL(str(stand_ins.library("macos")))
    calls = Calls(lambda _: library)

    def tried(der: bytes, scheme: str) -> str:
        fields = {"place": "system", "allow_pkcs1": False, "scheme": scheme, "statement": base64_of(STATEMENT)}
        try:
            macos.listed(calls, fields)
            answer = macos.signed(calls, fields | {"sha256": hashlib.sha256(der).hexdigest()})
        except HelperError as error:
            return error.code
        finally:
            assert (library.stand_in_live(), library.stand_in_misused()) == (0, 0)
        return str(answer.get("state", "signed"))

    client, bare = pki.issuing.issue(key="p256"), pki.issuing.issue(key="p256")
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "ABSENT"
    keychain.add(client)
    keychain.add(bare, "bare", with_key=False)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "signed"
    assert tried(client.der, possession.ECDSA_P384_SHA384) == "UNSUPPORTED"
    assert tried(bare.der, possession.ECDSA_P256_SHA256) == "ABSENT"
    keychain.fails("laptop", -25308)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "NEEDS_UI"
    keychain.fails("search", -25294)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "store_missing"


def test_a_codes_name_is_told_beside_it() -> None:
    assert macos_codes.described("SecKeychainOpen", -25294) == "SecKeychainOpen: -25294 errSecNoSuchKeychain"
    assert macos_codes.described("SecKeychainOpen", 7) == "SecKeychainOpen: 7"

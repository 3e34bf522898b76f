"""Certificates of Windows whose keys are CNG's, through every call that is made of them, over a stand-in of its libraries.

Keys of the CryptoAPI before it are used under Wine: `tests/platforms/wine`.
"""

import ctypes
import hashlib
import json
import sys
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
from watchword_agent.native import windows
from watchword_agent.native.serving import HelperError, base64_of
from watchword_agent.native.windows_calls import Calls
from watchword_agent.stores.base import Access, Contents, Found, Visit
from watchword_agent.stores.windows import WindowsStore

pytestmark = pytest.mark.needs_program("cc")

STATEMENT = possession.statement(
    nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16, check_id="check_1", certificate_der=b"x"
)


class Store:
    """The directory that the stand-in takes for a store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def add(self, client: Credential, name: str = "laptop", *, key_of: Credential | None = None, link: bool = True) -> None:
        (self.directory / f"{name}.der").write_bytes(client.der)
        pkcs8 = (key_of or client).key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / f"{name}.key").write_bytes(pkcs8)
        if link:
            (self.directory / f"{name}.link").touch()

    def fails(self, what: str, code: int) -> None:
        (self.directory / what).write_text(f"{code:X}")

    def look(self, exits: ExitStack, *, allow_pkcs1: bool = False) -> Contents:
        helpers = stand_ins.helpers("windows", STAND_IN_STORE=str(self.directory))
        return WindowsStore().look(("system",), Visit({}, Access(helpers), exits, allow_pkcs1=allow_pkcs1))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


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
def test_a_key_signs_in_the_scheme_of_its_kind(store: Store, pki: Pki, exits: ExitStack, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    store.add(client)
    (found,) = store.look(exits).found
    assert (found.der, found.private_key) == (client.der, pb.PRIVATE_KEY_STATE_USABLE)
    assert found.location.startswith("Cert:\\LocalMachine\\My\\")
    assert found.sign is not None
    for _ in range(8):  # a number of an ECDSA signature begins with zeros now and then
        proof = found.sign(STATEMENT)
        verify_possession(client.der, scheme=proof.scheme, signature=proof.signature, statement=STATEMENT)


def test_a_provider_without_pss_signs_only_where_the_check_allows_pkcs1(store: Store, pki: Pki, exits: ExitStack) -> None:
    client = pki.issuing.issue(key="rsa2048")
    store.add(client)
    (store.directory / "laptop.no-pss").touch()
    (found,) = store.look(exits).found
    assert refusal(found)[0] == pb.PRIVATE_KEY_STATE_UNSUPPORTED
    (found,) = store.look(exits, allow_pkcs1=True).found
    assert found.sign is not None
    proof = found.sign(STATEMENT)
    assert proof.scheme == possession.RSA_PKCS1_SHA256
    public_key = client.certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(proof.signature, STATEMENT, padding.PKCS1v15(), hashes.SHA256())


CODES = [
    (0x80090022, "NTE_SILENT_CONTEXT", pb.PRIVATE_KEY_STATE_NEEDS_UI),
    (0x8009002E, "NTE_UI_REQUIRED", pb.PRIVATE_KEY_STATE_NEEDS_UI),
    (0x8010006E, "SCARD_W_CANCELLED_BY_USER", pb.PRIVATE_KEY_STATE_NEEDS_UI),
    (0x80090010, "NTE_PERM", pb.PRIVATE_KEY_STATE_DENIED),
    (0x80070005, "E_ACCESSDENIED", pb.PRIVATE_KEY_STATE_DENIED),
    (0x80090016, "NTE_BAD_KEYSET", pb.PRIVATE_KEY_STATE_ABSENT),
    (0x8009000D, "NTE_NO_KEY", pb.PRIVATE_KEY_STATE_ABSENT),
    (0x8010000C, "SCARD_E_NO_SMARTCARD", pb.PRIVATE_KEY_STATE_ABSENT),
    (0x80100069, "SCARD_W_REMOVED_CARD", pb.PRIVATE_KEY_STATE_ABSENT),
    (0x8010006B, "SCARD_W_WRONG_CHV", pb.PRIVATE_KEY_STATE_WRONG_PASSWORD),
    (0x8010006C, "SCARD_W_CHV_BLOCKED", pb.PRIVATE_KEY_STATE_WRONG_PASSWORD),
    (0x80090015, "NTE_BAD_PUBLIC_KEY", pb.PRIVATE_KEY_STATE_MISMATCH),
    (0x8009000B, "NTE_BAD_KEY_STATE", pb.PRIVATE_KEY_STATE_UNREADABLE),
    (0x80090029, "NTE_NOT_SUPPORTED", pb.PRIVATE_KEY_STATE_UNSUPPORTED),
    (0x80091234, "", pb.PRIVATE_KEY_STATE_FAILED),
]


@pytest.mark.parametrize(("code", "name", "state"), CODES)
def test_why_a_key_does_not_open_or_sign_is_told(
    store: Store, pki: Pki, exits: ExitStack, code: int, name: str, state: pb.PrivateKeyState
) -> None:
    store.add(pki.issuing.issue())
    store.fails("laptop.sign", code)
    (found,) = store.look(exits).found
    told, detail = refusal(found)
    assert told == state
    assert f"NCryptSignHash: 0x{code:08X} {name}".strip() in detail
    store.fails("laptop.acquire", code)
    (found,) = store.look(exits).found
    assert found.private_key == state
    assert f"CryptAcquireCertificatePrivateKey: 0x{code:08X} {name}".strip() in found.key_detail


def test_another_certificates_key_is_told_as_such(store: Store, pki: Pki, exits: ExitStack) -> None:
    store.add(pki.issuing.issue(), key_of=pki.issuing.issue())
    (found,) = store.look(exits).found
    assert found.private_key == pb.PRIVATE_KEY_STATE_MISMATCH


def test_a_certificate_that_names_no_key_has_none(store: Store, pki: Pki, exits: ExitStack) -> None:
    store.add(pki.issuing.issue(), link=False)
    (found,) = store.look(exits).found
    assert found.private_key == pb.PRIVATE_KEY_STATE_ABSENT


@pytest.mark.parametrize(("status", "code"), [(2, "store_missing"), (5, "store_denied"), (1392, "store_unreadable")])
def test_why_a_store_cannot_be_read_is_told(store: Store, exits: ExitStack, status: int, code: str) -> None:
    store.fails("open", status)
    with pytest.raises(CollectionFailedError) as caught:
        store.look(exits)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"certificates": 1},
        {"certificates": [{}]},
        {"certificates": [{"der": "?", "location": "", "state": "USABLE", "detail": ""}]},
        {"certificates": [{"der": "", "location": "", "state": "SPLENDID", "detail": ""}]},
    ],
)
def test_a_helper_that_a_user_bent_is_not_believed(tmp_path: Path, exits: ExitStack, answer: object) -> None:
    program = tmp_path / "helper.py"
    program.write_text(f"import sys\nfor _ in sys.stdin: print({json.dumps({'ok': answer})!r}, flush=True)\n")
    helpers = Helpers(command=(sys.executable, "-I", "-S", str(program)))
    with pytest.raises(CollectionFailedError) as caught:
        WindowsStore().look(("user",), Visit({}, Access(helpers), exits))
    assert caught.value.code == "helper_crashed"


@pytest.mark.parametrize("signed", [{}, {"scheme": "ed25519", "signature": "?"}, {"state": "SPLENDID", "detail": ""}])
def test_a_signature_that_is_none_is_a_failure(tmp_path: Path, pki: Pki, exits: ExitStack, signed: dict[str, str]) -> None:
    der = base64_of(pki.issuing.issue().der)
    listed = {"certificates": [{"der": der, "location": "", "state": "USABLE", "detail": ""}]}
    program = tmp_path / "helper.py"
    answers = [json.dumps({"ok": listed}), json.dumps({"ok": signed})]
    program.write_text(f"import sys\nfor answer in {answers!r}:\n    sys.stdin.readline(); print(answer, flush=True)\n")
    helpers = Helpers(command=(sys.executable, "-I", "-S", str(program)))
    (found,) = WindowsStore().look(("user",), Visit({}, Access(helpers), exits)).found
    assert refusal(found)[0] == pb.PRIVATE_KEY_STATE_FAILED


def test_elsewhere_than_on_windows_the_helper_says_so(exits: ExitStack) -> None:
    with pytest.raises(CollectionFailedError, match="part of Windows"):
        WindowsStore().look(("system",), Visit({}, Access(Helpers()), exits))


def test_every_handle_is_closed_once_and_nobody_is_ever_asked(store: Store, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the end of it. The stand-in counts what lacks a flag that keeps Windows silent."""
    monkeypatch.setenv("STAND_IN_STORE", str(store.directory))
    library = ctypes.CDLL(str(stand_ins.library("windows")))
    calls = Calls(lambda _: library, library.stand_in_last_error)

    def tried(der: bytes, scheme: str) -> str:
        fields = {"place": "system", "allow_pkcs1": False, "scheme": scheme, "statement": base64_of(STATEMENT)}
        try:
            windows.listed(calls, fields)
            answer = windows.signed(calls, fields | {"sha256": hashlib.sha256(der).hexdigest()})
        except HelperError as error:
            return error.code
        finally:
            assert (library.stand_in_live(), library.stand_in_misused()) == (0, 0)
        return str(answer.get("state", "signed"))

    client, bare = pki.issuing.issue(key="p256"), pki.issuing.issue(key="p256")
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "ABSENT"
    store.add(client)
    store.add(bare, "bare", link=False)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "signed"
    assert tried(client.der, possession.ECDSA_P384_SHA384) == "FAILED"
    assert tried(client.der, possession.RSA_PSS_SHA256) == "UNSUPPORTED"
    assert tried(bare.der, possession.ECDSA_P256_SHA256) == "ABSENT"
    store.fails("laptop.sign", 0x80090022)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "NEEDS_UI"
    store.fails("open", 5)
    assert tried(client.der, possession.ECDSA_P256_SHA256) == "store_denied"

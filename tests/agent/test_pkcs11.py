"""PKCS #11 tokens, by SoftHSM: which objects a URI means, who may log in, and that no wrong PIN is tried twice."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.proofs import verify_possession
from support.pki import Credential, KeyKind, Pki
from support.programs import program
from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import Helpers
from watchword_agent.stores.base import Access, Contents, Found, Visit
from watchword_agent.stores.pkcs11 import Pkcs11Store

pytestmark = pytest.mark.needs_program("softhsm2-util")

MODULE = next(
    (path for path in (Path("/usr/lib/softhsm/libsofthsm2.so"), Path("/usr/lib64/pkcs11/libsofthsm2.so")) if path.exists()),
    Path("/usr/lib/softhsm/libsofthsm2.so"),
)
STATEMENT = possession.statement(
    nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16, check_id="check_1", certificate_der=b"x"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in a directory of their own; the PIN of each is 1234."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "SOFTHSM2_CONF": str(self.directory / "softhsm2.conf")}

    def make(self, label: str) -> None:
        self._util("--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", "1234")

    def add(self, label: str, client: Credential, name: str, *, identifier: str = "a1", with_certificate: bool = True) -> None:
        """A key, and its certificate: with the helper's own module, as softhsm2-util imports keys alone."""
        pem = self.directory / "key.pem"
        pem.write_bytes(client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._util("--import", str(pem), "--token", label, "--label", name, "--id", identifier, "--pin", "1234")
        if with_certificate:
            self.add_certificate(label, client, name, identifier=identifier)

    def add_certificate(self, label: str, client: Credential, name: str, *, identifier: str = "a1") -> None:
        der = self.directory / "certificate.der"
        der.write_bytes(client.der)
        arguments = ["--module", str(MODULE), "--token-label", label, "--login", "--pin", "1234", "--write-object", str(der)]
        self._run(str(program("pkcs11-tool")), *arguments, "--type", "cert", "--label", name, "--id", identifier)

    def pin_file(self, pin: str) -> Path:
        path = self.directory / f"pin-{pin}"
        path.write_text(f"{pin}\n")
        path.chmod(0o600)
        return path

    def _util(self, *arguments: str) -> None:
        self._run(str(program("softhsm2-util")), *arguments)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nlog.level = ERROR\n")
    made = Tokens(tmp_path)
    made.make("laptop")
    return made


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


def contents(
    tokens: Tokens,
    exits: ExitStack,
    uri: str = "pkcs11:token=laptop",
    *,
    pin: str | None = "1234",
    modules: tuple[Path, ...] = (MODULE,),
    store: Pkcs11Store | None = None,
) -> Contents:
    passwords = {} if pin is None else {"token=laptop": tokens.pin_file(pin)}
    access = Access(Helpers(environment=tokens.environment), passwords, modules)
    return (store or Pkcs11Store()).look([uri], Visit({"hostname": "laptop-1", "serial_number": None}, access, exits))


def failure(tokens: Tokens, uri: str, **options: object) -> str:
    with ExitStack() as exits, pytest.raises(CollectionFailedError) as caught:
        contents(tokens, exits, uri, **options)  # type: ignore[arg-type]
    assert caught.value.detail
    return caught.value.code


def proves(found: Found) -> bool:
    assert found.sign is not None, found.key_detail
    proof = found.sign(STATEMENT)
    verify_possession(found.der, scheme=proof.scheme, signature=proof.signature, statement=STATEMENT)
    return True


@pytest.mark.needs_program("pkcs11-tool")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_a_key_in_a_token_signs(tokens: Tokens, pki: Pki, exits: ExitStack, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    tokens.add("laptop", client, "client")
    (found,) = contents(tokens, exits).found
    assert found.der == client.der
    assert found.location.startswith("pkcs11:token=laptop;")
    assert proves(found)


@pytest.mark.needs_program("pkcs11-tool")
def test_a_uri_means_one_object_of_one_token(tokens: Tokens, pki: Pki, exits: ExitStack) -> None:
    first, second = pki.issuing.issue(), pki.issuing.issue()
    tokens.add("laptop", first, "laptop-1", identifier="a1")
    tokens.add("laptop", second, "other one", identifier="b2")
    tokens.make("spare")
    assert [found.der for found in contents(tokens, exits, "pkcs11:token=laptop;object=${hostname}").found] == [first.der]
    assert [found.der for found in contents(tokens, exits, "pkcs11:object=other%20one").found] == [second.der]
    assert [found.der for found in contents(tokens, exits, "pkcs11:id=%B2").found] == [second.der]
    assert len(contents(tokens, exits).found) == 2
    assert failure(tokens, "pkcs11:token=spare") == "no_certificate"
    assert failure(tokens, "pkcs11:token=laptop;object=none") == "no_certificate"


@pytest.mark.needs_program("pkcs11-tool")
def test_without_a_pin_the_certificate_is_found_and_its_key_is_locked(tokens: Tokens, pki: Pki, exits: ExitStack) -> None:
    tokens.add("laptop", pki.issuing.issue(), "client")
    (found,) = contents(tokens, exits, pin=None).found
    assert found.private_key == pb.PRIVATE_KEY_STATE_LOCKED
    assert "password_files" in found.key_detail


@pytest.mark.needs_program("pkcs11-tool")
def test_a_wrong_pin_is_tried_once(tokens: Tokens, pki: Pki, exits: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt would bring the token nearer to being locked for good."""
    tokens.add("laptop", pki.issuing.issue(), "client")
    store, attempts = Pkcs11Store(), []
    attempt = store._wrong_pins.attempt

    def counted(token: tuple[str, ...], pin: bytes, log_in: object) -> str:
        return attempt(token, pin, lambda: (attempts.append(pin), log_in())[1])  # type: ignore[operator,func-returns-value]

    monkeypatch.setattr(store._wrong_pins, "attempt", counted)
    for _ in range(3):
        (found,) = contents(tokens, exits, pin="9999", store=store).found
        assert found.private_key == pb.PRIVATE_KEY_STATE_WRONG_PASSWORD
    assert attempts == [b"9999"]
    (found,) = contents(tokens, exits, pin="1234", store=store).found
    assert proves(found)


@pytest.mark.needs_program("pkcs11-tool")
def test_a_certificate_alone_has_no_key_and_a_key_alone_is_none(tokens: Tokens, pki: Pki, exits: ExitStack) -> None:
    client = pki.issuing.issue()
    tokens.add("laptop", client, "key only", with_certificate=False)
    assert failure(tokens, "pkcs11:token=laptop") == "no_certificate"
    tokens.add_certificate("laptop", client, "certificate only", identifier="c3")
    (found,) = contents(tokens, exits).found
    assert found.private_key == pb.PRIVATE_KEY_STATE_ABSENT


@pytest.mark.parametrize(
    ("uri", "options", "code"),
    [
        ("pkcs11:token=none", {}, "token_missing"),
        ("pkcs11:token=laptop?pin-value=1234", {}, "uri_invalid"),
        ("pkcs11:token=laptop?pin-source=file:/etc/shadow", {}, "uri_invalid"),
        ("pkcs11:token", {}, "uri_invalid"),
        ("pkcs11:token=${serial_number}", {}, "variable_unavailable"),
        ("pkcs11:token=laptop?module-path=/tmp/evil.so", {}, "module_not_allowed"),
        ("pkcs11:token=laptop", {"modules": ()}, "module_not_allowed"),
        ("pkcs11:token=laptop", {"modules": (Path("/nonexistent/libtoken.so"),)}, "module_missing"),
        ("pkcs11:token=laptop", {"modules": (Path("/usr/lib/x86_64-linux-gnu/libc.so.6"),)}, "module_failed"),
    ],
)
def test_a_token_that_disappoints_says_how(tokens: Tokens, uri: str, options: dict[str, object], code: str) -> None:
    assert failure(tokens, uri, **options) == code


@pytest.mark.parametrize(("body", "code"), [("for (;;);", "helper_timeout"), ("__builtin_trap();", "helper_crashed")])
def test_a_library_that_hangs_or_crashes_leaves_the_agent_alone(tokens: Tokens, tmp_path: Path, body: str, code: str) -> None:
    source, library = tmp_path / "bad.c", tmp_path / "bad.so"
    source.write_text("unsigned long C_GetFunctionList(void **list) { " + body + " return 5; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    access = Access(Helpers(environment=tokens.environment, answer_seconds=1.5), {}, (library,))
    with ExitStack() as exits, pytest.raises(CollectionFailedError) as caught:
        Pkcs11Store().look(["pkcs11:token=laptop"], Visit({}, access, exits))
    assert caught.value.code == code

"""The PEM store: certificates and keys in many arrangements, and what is said where something is missing."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from agent.proofs import verify_possession
from agent.visits import visit
from support.pki import Credential, KeyKind, Pki, generate_key, key_pem, root_authority
from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.identity import Identity
from watchword_agent.kinds.client_certificate import look
from watchword_agent.stores.base import Candidate, Watched
from watchword_agent.stores.pem import PemStore
from watchword_agent.stores.signing import signer_for

USABLE, ABSENT, LOCKED = pb.PRIVATE_KEY_STATE_USABLE, pb.PRIVATE_KEY_STATE_ABSENT, pb.PRIVATE_KEY_STATE_LOCKED
MISMATCH, UNSUPPORTED = pb.PRIVATE_KEY_STATE_MISMATCH, pb.PRIVATE_KEY_STATE_UNSUPPORTED
STATEMENT = b"a statement"
LAPTOP = Identity("linux", "laptop-1", None)


@pytest.fixture
def client(pki: Pki) -> Credential:
    return pki.issuing.issue()


def find(*paths: Path | str) -> Sequence[Candidate]:
    check = pb.ClientCertificateCheck(paths=[str(path) for path in paths], check_private_key=True)
    evidence = look(check, LAPTOP, visit(hostname="laptop-1"))
    return evidence.candidates()


def failure(*paths: Path | str) -> tuple[str, str]:
    with pytest.raises(CollectionFailedError) as caught:
        find(*paths)
    return caught.value.code, caught.value.detail


def put(path: Path, *blocks: bytes) -> Path:
    path.write_bytes(b"".join(blocks))
    return path


def proves(candidate: Candidate) -> bool:
    assert candidate.sign is not None
    proof = candidate.sign(STATEMENT)
    verify_possession(candidate.chain[0], scheme=proof.scheme, signature=proof.signature, statement=STATEMENT)
    return True


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "ed25519"])
def test_every_kind_of_key_signs_by_its_own_scheme(tmp_path: Path, pki: Pki, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, key_pem(client.key)))
    assert (candidate.chain, candidate.private_key) == ((client.der,), USABLE)
    assert proves(candidate)


@pytest.mark.parametrize("kind", ["p224", "p521", "ed448"])
def test_a_key_without_a_scheme_is_unsupported(tmp_path: Path, pki: Pki, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, key_pem(client.key)))
    assert (candidate.private_key, candidate.sign) == (UNSUPPORTED, None)


@pytest.mark.parametrize("order", ["certificate first", "key first"])
@pytest.mark.parametrize("files", ["one", "two"])
def test_certificate_and_key_are_found_in_one_file_or_two_in_any_order(
    tmp_path: Path, client: Credential, order: str, files: str
) -> None:
    blocks = [client.pem, key_pem(client.key)]
    if order == "key first":
        blocks.reverse()
    if files == "one":
        found = find(put(tmp_path / "both.pem", *blocks))
    else:
        found = find(*(put(tmp_path / f"{n}.pem", block) for n, block in enumerate(blocks)))
    (candidate,) = found
    assert candidate.chain == (client.der,)
    assert proves(candidate)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_leaf_of_a_chain_in_any_order_is_the_one_that_fits_the_key(
    tmp_path: Path, pki: Pki, client: Credential, place: int
) -> None:
    blocks = [pki.root.pem, pki.issuing.pem, client.pem]
    blocks.insert(place, key_pem(client.key))
    (candidate,) = find(put(tmp_path / "client.pem", *blocks))
    assert candidate.chain == (client.der, pki.issuing.credential.der, pki.root.credential.der)
    assert candidate.private_key == USABLE


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_both_forms_of_a_key_are_read(tmp_path: Path, pki: Pki, form: PrivateFormat, kind: KeyKind) -> None:
    client = pki.issuing.issue(key=kind)
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, client.key.private_bytes(Encoding.PEM, form, NoEncryption())))
    assert proves(candidate)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_an_encrypted_key_is_locked(tmp_path: Path, client: Credential, form: PrivateFormat) -> None:
    encrypted = client.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, encrypted))
    assert (candidate.chain, candidate.private_key, candidate.sign) == ((client.der,), LOCKED, None)


def test_a_key_that_cannot_be_read_is_unsupported(tmp_path: Path, client: Credential) -> None:
    junk = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, junk))
    assert candidate.private_key == UNSUPPORTED


def test_without_a_key_the_certificate_is_sent_all_the_same(tmp_path: Path, client: Credential) -> None:
    (candidate,) = find(put(tmp_path / "client.pem", client.chain_pem))
    assert (candidate.chain, candidate.private_key) == (client.chain, ABSENT)


def test_a_key_file_that_is_missing_leaves_the_certificate(tmp_path: Path, client: Credential) -> None:
    (candidate,) = find(put(tmp_path / "client.pem", client.pem), tmp_path / "missing.key")
    assert candidate.private_key == ABSENT


def test_a_key_of_another_certificate_is_a_mismatch(tmp_path: Path, client: Credential) -> None:
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, key_pem(generate_key())))
    assert (candidate.private_key, candidate.sign) == (MISMATCH, None)


def test_a_key_that_fits_one_certificate_says_nothing_about_another(tmp_path: Path, pki: Pki, client: Credential) -> None:
    other = pki.issuing.issue("laptop-2.corp.example")
    found = find(put(tmp_path / "client.pem", other.pem, client.pem, key_pem(client.key)))
    assert [(candidate.chain[0], candidate.private_key) for candidate in found] == [(client.der, USABLE), (other.der, ABSENT)]


def test_several_pairs_are_matched_across_files(tmp_path: Path, pki: Pki) -> None:
    first, second = pki.issuing.issue("first"), pki.issuing.issue("second", key="ed25519")
    found = find(
        put(tmp_path / "certificates.pem", first.pem, second.pem),
        put(tmp_path / "keys.pem", key_pem(second.key), key_pem(first.key)),
    )
    assert [candidate.chain[0] for candidate in found] == [first.der, second.der]
    assert all(map(proves, found))


def test_a_renewed_certificate_of_the_same_key_and_the_old_one_are_both_usable(
    tmp_path: Path, pki: Pki, client: Credential
) -> None:
    renewed = pki.issuing.issue(key=client.key)
    found = find(put(tmp_path / "client.pem", client.pem, renewed.pem, key_pem(client.key)))
    assert [(candidate.chain[0], candidate.private_key) for candidate in found] == [(client.der, USABLE), (renewed.der, USABLE)]


def test_the_same_certificate_in_two_files_is_one_candidate(tmp_path: Path, client: Credential) -> None:
    found = find(put(tmp_path / "a.pem", client.pem), put(tmp_path / "b.pem", client.pem, key_pem(client.key)))
    assert [(candidate.location, candidate.private_key) for candidate in found] == [(str(tmp_path / "a.pem"), USABLE)]


def test_at_most_eight_candidates_are_sent_those_with_a_key_first(tmp_path: Path, pki: Pki, client: Credential) -> None:
    others = [pki.issuing.issue(f"laptop-{n}") for n in range(9)]
    found = find(put(tmp_path / "client.pem", *(other.pem for other in others), client.pem, key_pem(client.key)))
    assert len(found) == 8
    assert found[0].chain[0] == client.der


def test_a_chain_holds_what_is_above_and_nothing_unrelated(tmp_path: Path, pki: Pki, client: Credential) -> None:
    found = find(put(tmp_path / "client.pem", key_pem(client.key), pki.web.pem, pki.issuing.pem, client.pem))
    assert found[0].chain == (client.der, pki.issuing.credential.der)
    assert [candidate.chain for candidate in found[1:]] == [(pki.web.credential.der,)]


def test_a_long_chain_is_cut(tmp_path: Path) -> None:
    authority = root_authority()
    for depth in range(10):
        authority = authority.issue_authority(f"CA {depth}")
    client = authority.issue()
    (candidate,) = find(put(tmp_path / "client.pem", client.chain_pem, key_pem(client.key)))
    assert candidate.chain == client.chain[:8]


def test_both_certificates_of_a_cross_signed_issuer_are_above_the_leaf(tmp_path: Path, pki: Pki) -> None:
    key = generate_key()
    old, new = pki.root.issue_authority("Cross CA", key=key), pki.web.issue_authority("Cross CA", key=key)
    client = old.issue()
    (candidate,) = find(put(tmp_path / "client.pem", client.pem, key_pem(client.key), old.pem, new.pem))
    assert candidate.chain == (client.der, old.credential.der, new.credential.der)


def test_authorities_that_issued_each_other_are_still_sent(tmp_path: Path) -> None:
    first, second = root_authority("First"), root_authority("Second")
    crossed = [first.issue("Second", ca=True), second.issue("First", ca=True)]
    found = find(put(tmp_path / "client.pem", *(each.pem for each in crossed)))
    assert {candidate.chain[0] for candidate in found} == {each.der for each in crossed}


def test_a_self_signed_certificate_is_a_candidate(tmp_path: Path, pki: Pki) -> None:
    (candidate,) = find(put(tmp_path / "client.pem", pki.root.pem, key_pem(pki.root.credential.key)))
    assert (candidate.chain, candidate.private_key) == ((pki.root.credential.der,), USABLE)


def test_text_around_and_between_is_passed_over(tmp_path: Path, client: Credential) -> None:
    pem = client.pem.replace(b"\n", b"\r\n")
    noise = b"subject=CN = laptop\n-----BEGIN CERTIFICATE-----\nunfinished\n-----BEGIN X-----\n-----END Y-----\n"
    (candidate,) = find(put(tmp_path / "client.pem", noise, pem, b"Bag Attributes\n", key_pem(client.key), b"\xff\xfe\n"))
    assert proves(candidate)


def test_a_certificate_that_does_not_parse_is_none(tmp_path: Path, client: Credential) -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (candidate,) = find(put(tmp_path / "client.pem", broken, client.pem))
    assert candidate.chain == (client.der,)
    assert failure(put(tmp_path / "broken.pem", broken))[0] == "certificate_unreadable"


def test_variables_are_filled_in(tmp_path: Path, client: Credential) -> None:
    put(tmp_path / "laptop-1.pem", client.pem)
    (candidate,) = find(f"{tmp_path}/${{hostname}}.pem")
    assert candidate.location == f"{tmp_path}/laptop-1.pem"


def test_nothing_at_any_path_is_missing_and_says_where(tmp_path: Path) -> None:
    assert failure(tmp_path / "a.pem", tmp_path / "b.pem") == ("path_missing", f"`{tmp_path}/a.pem`, `{tmp_path}/b.pem`")


def test_a_missing_certificate_beside_its_key_is_missing(tmp_path: Path, client: Credential) -> None:
    key = put(tmp_path / "client.key", key_pem(client.key))
    assert failure(tmp_path / "client.pem", key) == ("path_missing", f"`{tmp_path}/client.pem`")


def test_files_without_a_certificate_hold_none(tmp_path: Path, client: Credential) -> None:
    key = put(tmp_path / "client.key", key_pem(client.key))
    assert failure(key) == ("no_certificate", f"`{tmp_path}/client.key` holds a private key and no certificate")
    code, detail = failure(put(tmp_path / "client.der", client.der))
    assert code == "no_certificate"
    assert "openssl x509 -inform DER" in detail


@pytest.mark.parametrize("before", [True, False])
def test_another_reason_tells_more_than_missing(tmp_path: Path, before: bool) -> None:
    paths: list[Path | str] = [tmp_path / "missing.pem", tmp_path]
    assert failure(*(reversed(paths) if before else paths)) == ("not_a_file", f"`{tmp_path}` is a directory")
    assert failure(tmp_path / "missing.pem", "/etc/${serial_number}.pem")[0] == "variable_unavailable"


def test_a_certificate_that_was_found_outweighs_every_failure(tmp_path: Path, client: Credential) -> None:
    path = put(tmp_path / "client.pem", client.pem)
    assert len(find("relative.pem", "/etc/${serial_number}.pem", tmp_path / "missing.pem", tmp_path, path)) == 1


def test_a_detail_fits_into_a_message(tmp_path: Path) -> None:
    assert len(failure(*(tmp_path / ("n" * 200 + str(n)) for n in range(20)))[1].encode()) <= 1000


def test_too_many_paths_are_refused(tmp_path: Path) -> None:
    assert failure(*(tmp_path / str(n) for n in range(33)))[0] == "path_invalid"


def test_watched_are_the_paths_that_can_be_meant(tmp_path: Path) -> None:
    places = [f"{tmp_path}/${{hostname}}.pem", "relative.pem", "/etc/${serial_number}.pem"]
    watched = PemStore().watched(places, visit(hostname="laptop-1"))
    assert watched == Watched(frozenset({f"{tmp_path}/laptop-1.pem", f"{tmp_path}/laptop-1.pem.ocsp"}))


# ---- Stapled OCSP responses ---------------------------------------------------------------------------------------------


def ocsp_response(client: Credential, pki: Pki) -> bytes:
    issuer, now = pki.issuing.credential, dt.datetime.now(dt.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=client.certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now,
        next_update=now + dt.timedelta(hours=1),
        revocation_time=None,
        revocation_reason=None,
    )
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate).sign(issuer.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def test_an_ocsp_response_beside_the_file_is_brought_along(tmp_path: Path, pki: Pki, client: Credential) -> None:
    path = put(tmp_path / "client.pem", client.pem, key_pem(client.key))
    response = ocsp_response(client, pki)
    put(tmp_path / "client.pem.ocsp", response)
    assert [candidate.ocsp_responses for candidate in find(path)] == [(response,)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"root:$6$secret:19000:0:99999:7:::\n", id="something else"),
        pytest.param(bytes.fromhex("30030a0106"), id="an unsuccessful response"),
        pytest.param(b"\x30" * 20_000, id="too large"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_ocsp_response_stays_on_the_device(tmp_path: Path, client: Credential, content: bytes) -> None:
    path = put(tmp_path / "client.pem", client.pem, key_pem(client.key))
    put(tmp_path / "client.pem.ocsp", content)
    assert [candidate.ocsp_responses for candidate in find(path)] == [()]


def test_no_content_of_a_file_leaves_but_certificates(tmp_path: Path) -> None:
    code, detail = failure(put(tmp_path / "shadow", b"root:$6$secret:19000:0:99999:7:::\n"))
    assert "secret" not in code + detail


def test_a_damaged_rsa_key_signs_nothing_rather_than_something_wrong() -> None:
    """A wrong RSA-CRT signature gives the primes away (Boneh, DeMillo, Lipton 1997)."""
    good = generate_key("rsa2048")
    assert isinstance(good, rsa.RSAPrivateKey)
    numbers = good.private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d ^ 2,  # what OpenSSL falls back on when it notices
        dmp1=numbers.dmp1 ^ 2,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    signer = signer_for(damaged)
    assert signer is not None
    with pytest.raises(SigningFailedError):
        signer(STATEMENT)

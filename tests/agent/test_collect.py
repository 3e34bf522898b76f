"""Collecting for a set of checks: one finding each, whatever happens."""

from pathlib import Path

import pytest

from agent.device import check
from agent.proofs import verify_possession
from agent.visits import access
from support.pki import Pki, key_pem
from watchword import possession
from watchword.v1 import posture_pb2 as pb
from watchword_agent.collect import Collector
from watchword_agent.errors import SigningFailedError
from watchword_agent.identity import Identity
from watchword_agent.kinds.base import ProofBinding
from watchword_agent.stores import pem
from watchword_agent.stores.base import Watched

BINDING = ProofBinding(nonce=b"n" * 32, audience="audience_1", device_id="dev_1", session_id=b"s" * 16)
LINUX = Identity("linux", "laptop-1", None)


def collector(identity: Identity = LINUX) -> Collector:
    return Collector(lambda: identity, access(), clock=lambda: 12.0)


def look(*checks: pb.Check, identity: Identity = LINUX) -> list[pb.CheckEvidence]:
    collected = collector(identity).collect(checks, BINDING)
    assert collected.identity == identity
    assert {finding.looked_at for finding in collected.findings} <= {12.0}
    assert [finding.evidence.check_id for finding in collected.findings] == [each.id for each in checks]
    assert all(finding.evidence.check_revision == 3 for finding in collected.findings if finding.evidence.check_id != "bare")
    return [finding.evidence for finding in collected.findings]


@pytest.fixture
def path(tmp_path: Path, pki: Pki) -> Path:
    client = pki.issuing.issue()
    (tmp_path / "client.pem").write_bytes(client.pem + key_pem(client.key))
    return tmp_path / "client.pem"


def test_a_proof_is_bound_to_the_challenge_the_device_and_the_check(path: Path) -> None:
    for evidence in look(check("check-a", path), check("check-b", path)):
        (candidate,) = evidence.client_certificate.candidates
        statement = possession.statement(
            nonce=BINDING.nonce,
            audience=BINDING.audience,
            device_id=BINDING.device_id,
            session_id=BINDING.session_id,
            check_id=evidence.check_id,
            certificate_der=candidate.chain[0],
        )
        verify_possession(
            candidate.chain[0],
            scheme=candidate.possession_scheme,
            signature=candidate.possession_signature,
            statement=statement,
        )


def test_no_proof_is_brought_where_none_is_wanted(path: Path) -> None:
    (evidence,) = look(check("check-a", path, check_private_key=False))
    (candidate,) = evidence.client_certificate.candidates
    assert (candidate.possession_scheme, candidate.possession_signature) == ("", b"")
    assert candidate.private_key == pb.PRIVATE_KEY_STATE_USABLE


def test_what_cannot_be_looked_at_does_not_hinder_the_others(path: Path, tmp_path: Path) -> None:
    missing, found = look(check("check-a", tmp_path / "missing.pem"), check("check-b", path))
    assert missing.error.code == "path_missing"
    assert len(found.client_certificate.candidates) == 1


@pytest.mark.parametrize(
    ("platform", "code"), [("windows", "library_missing"), ("mac", "library_missing"), ("beos", "store_unsupported")]
)
def test_the_store_of_another_platform_cannot_be_looked_at(platform: str, code: str) -> None:
    (evidence,) = look(check("check-a"), identity=Identity(platform, "laptop-1", None))
    assert evidence.error.code == code


def test_a_kind_of_check_that_is_not_known_is_reported() -> None:
    (evidence,) = look(pb.Check(id="bare", revision=3))
    assert evidence.error.code == "kind_unsupported"


def test_a_fault_in_one_check_is_reported_without_its_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> bytes:
        raise RuntimeError("words of a file")

    monkeypatch.setattr(pem, "read", fail)
    (evidence,) = look(check("check-a", path))
    assert (evidence.error.code, evidence.error.detail) == ("internal_error", "RuntimeError")


def test_a_key_that_fails_to_sign_is_not_usable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(statement: bytes) -> bytes:
        raise SigningFailedError("ecdsa-p256-sha256")

    monkeypatch.setattr(pem, "signer_for", lambda _: fail)
    (evidence,) = look(check("check-a", path))
    (candidate,) = evidence.client_certificate.candidates
    assert (candidate.private_key, candidate.possession_signature) == (pb.PRIVATE_KEY_STATE_FAILED, b"")


def test_evidence_that_would_not_fit_into_a_message_gives_up_its_largest_parts(tmp_path: Path, pki: Pki) -> None:
    names = [f"{n}.device-with-many-names.corp.example" for n in range(300)]
    certificates = [pki.issuing.issue(f"client-{n}", subject_alternative_names=names) for n in range(8)]
    (tmp_path / "many.pem").write_bytes(b"".join(each.pem for each in certificates))
    (tmp_path / "one.pem").write_bytes(certificates[0].pem)
    findings = look(*(check(f"check-{n}", tmp_path / "many.pem") for n in range(5)), check("check-z", tmp_path / "one.pem"))
    assert sum(finding.ByteSize() for finding in findings) <= 240 * 1024
    assert [finding.error.code for finding in findings].count("evidence_too_large") in (1, 2, 3)
    assert findings[-1].WhichOneof("found") == "client_certificate"


def test_what_hangs_is_reported_for_every_check(path: Path) -> None:
    collected = collector().timed_out([check("check-a", path), check("check-b")])
    assert [finding.evidence.error.code for finding in collected.findings] == ["collection_timeout"] * 2


def test_watched_are_the_files_of_all_checks(path: Path, tmp_path: Path) -> None:
    checks = [check("check-a", path, tmp_path / "missing.pem"), check("check-b", "/etc/${hostname}.pem"), check("check-c")]
    certificates = {str(path), str(tmp_path / "missing.pem"), "/etc/laptop-1.pem"}
    staples = {f"{certificate}.ocsp" for certificate in certificates}
    database = {f"/etc/pki/nssdb/{name}" for name in ("cert9.db", "key4.db", "pkcs11.txt")}  # of the check without paths
    assert collector().watched([*checks, pb.Check(id="bare")]) == Watched(frozenset(certificates | staples | database))

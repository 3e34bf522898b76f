"""The doctor: what it finds, what it calls it, what it says to do; and the other commands for the person at the device."""

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.device import check_set
from agent.visits import access
from support.pki import Credential, Pki, generate_key, key_pem
from watchword.v1 import posture_pb2 as pb
from watchword_agent import advice
from watchword_agent.__main__ import main
from watchword_agent.doctor.examining import examine_check
from watchword_agent.doctor.report import CheckReport, Outcome
from watchword_agent.identity import Identity
from watchword_agent.key_files import KeyFiles
from watchword_agent.state import Enrollment, StateDirectory
from watchword_server.core.certificates.refusal import ORDER
from watchword_server.core.kinds.client_certificate import _NO_SIGNATURE
from watchword_server.core.verify import COLLECTION_ERRORS

LAPTOP = Identity("linux", "laptop-1", None)


def examined(*paths: Path, **wanted: object) -> CheckReport:
    check = pb.Check(id="check_1", name="laptop", schedule_seconds=300)
    check.client_certificate.MergeFrom(
        pb.ClientCertificateCheck(paths=map(str, paths), check_private_key=True, **wanted)  # type: ignore[arg-type]
    )
    return examine_check(check, LAPTOP, access(), None, now=dt.datetime.now(tz=dt.UTC))


@pytest.fixture
def client(pki: Pki) -> Credential:
    return pki.issuing.issue()


def put(path: Path, *blocks: bytes) -> Path:
    path.write_bytes(b"".join(blocks))
    return path


def test_a_certificate_that_is_right_is_told_with_the_command_that_shows_it(tmp_path: Path, client: Credential) -> None:
    report = examined(put(tmp_path / "client.pem", client.pem, key_pem(client.key)))
    (certificate,) = report.certificates
    assert (report.device_reason, certificate.signs, certificate.sent) == ("", True, True)
    assert certificate.subject == "CN=laptop-1.corp.example"
    assert certificate.extended_key_usage == ("clientAuth",)
    assert certificate.command == f"openssl storeutl -certs -noout -text {tmp_path}/client.pem"


def test_each_way_to_disappoint_has_the_servers_word_and_advice(tmp_path: Path, pki: Pki, client: Credential) -> None:
    issuer = [pki.issuing.credential.certificate.subject.public_bytes()]
    key = key_pem(client.key)
    good, other = put(tmp_path / "good.pem", client.pem, key), pki.web.issue()
    expired = pki.issuing.issue(not_before=-2 * dt.timedelta(days=2), not_after=-dt.timedelta(days=1), key=client.key)
    for reason, report in {
        "path_missing": examined(tmp_path / "missing.pem"),
        "private_key_absent": examined(put(tmp_path / "alone.pem", client.pem)),
        "private_key_mismatch": examined(put(tmp_path / "other.pem", client.pem, key_pem(generate_key()))),
        "private_key_locked": examined(put(tmp_path / "locked.pem", client.pem, key_pem(client.key, password=b"secret"))),
        "file_incomplete": examined(put(tmp_path / "half.pem", client.pem[:-40])),
        "certificate_wrong_issuer": examined(put(tmp_path / "web.pem", other.pem, key_pem(other.key)), issuer_names=issuer),
        "certificate_expired": examined(put(tmp_path / "old.pem", expired.pem, key)),
        "extended_key_usage_missing": examined(good, extended_key_usage=["emailProtection"]),
        "common_name_mismatch": examined(good, common_name="${hostname}.other.example"),
        "serial_number_unknown": examined(good, common_name="${serial_number}"),
        "subject_alternative_name_mismatch": examined(good, subject_alternative_names=["laptop-1"]),
    }.items():
        assert report.device_reason == reason
        assert report.advice == advice.CHECKS[reason]
        assert report.outcome is Outcome.FAILED
        assert report.places[0].command


def test_every_reason_that_the_server_gives_has_advice() -> None:
    possession = {"possession_missing", "possession_scheme_refused", "possession_invalid", *_NO_SIGNATURE.values()}
    told = {*COLLECTION_ERRORS, *ORDER, *possession, "certificate_not_found", "collection_failed", "claim_too_old"}
    assert told - advice.CHECKS.keys() == set()


def test_a_reason_of_a_newer_server_is_told_as_such() -> None:
    assert "too old" in advice.advice_for("a_reason_of_tomorrow")
    assert advice.advice_for("passed") == ""


@pytest.fixture
def enrolled(tmp_path: Path, client: Credential) -> StateDirectory:
    """With a server that is not there, and one check."""
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    key = KeyFiles().load_or_create(state.key_path)
    state.keep_enrollment(
        Enrollment(
            server="http://127.0.0.1:9",
            ca_file=None,
            device_id="dev_1",
            key_id=key.key_id,
            audience="audience",
            pending_approval=False,
            serial_number=None,
            hostname="laptop-1",
        )
    )
    state.keep_checks(check_set(put(tmp_path / "client.pem", client.pem)))
    return state


def run(*arguments: str, code: int) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_doctor_works_without_agent_and_server(enrolled: StateDirectory) -> None:
    report = json.loads(run("doctor", "--json", "--state", str(enrolled.path), code=1))
    assert report["outcome"] == "failed"
    assert [each["reason"] for each in report["checks"]] == ["private_key_absent"]
    assert {each["code"]: each["outcome"] for each in report["findings"]}["server"] == "failed"
    told = run("doctor", "--state", str(enrolled.path), code=1)
    assert "→ import the private key together with its certificate" in told


def test_checks_and_stores_are_shown(enrolled: StateDirectory) -> None:
    assert "private_key_absent" in run("checks", "--state", str(enrolled.path), code=0)
    stores = json.loads(run("stores", "--json", "--state", str(enrolled.path), code=0))
    assert {each["place"] for each in stores} == {"system", "user"}


def test_unenrolling_removes_what_enrolling_made_and_nothing_else(enrolled: StateDirectory) -> None:
    (enrolled.path / "notes.txt").write_text("mine")
    assert run("unenroll", "--offline", "--yes", "--state", str(enrolled.path), code=0) == "dev_1\n"
    assert {path.name for path in enrolled.path.iterdir()} <= {"notes.txt", "agent.lock", "lock"}
    run("unenroll", "--offline", "--yes", "--state", str(enrolled.path), code=1)

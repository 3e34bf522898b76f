"""`watchword certificate verify`: the verdict at the command line, with every reason."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.pki import DAY, HOUR, Authority, Pki
from watchword_server.__main__ import main
from watchword_server.cli.certificate_verify import _MEANINGS
from watchword_server.core.certificates.refusal import ORDER


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture
def issuing(pki: Pki, tmp_path: Path) -> Authority:
    (tmp_path / "root.pem").write_bytes(pki.root.pem)
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    pki.issuing.issue("laptop-1.corp.example", subject_alternative_names=("laptop-1",)).write(tmp_path)
    return pki.issuing


def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    placed = [str(directory / each) if each.endswith((".pem", ".crl", ".der")) else each for each in arguments]
    result = CliRunner().invoke(main, ["certificate", "verify", *placed])
    return result.exit_code, result.stdout, result.stderr


def judged(directory: Path, *arguments: str) -> dict[str, Any]:
    code, out, _ = run(directory, *arguments, "--json")
    verdict: dict[str, Any] = json.loads(out)
    assert code == (0 if verdict["passed"] else 1)
    return verdict


def test_every_reason_has_its_meaning() -> None:
    assert _MEANINGS.keys() == set(ORDER)


@pytest.mark.usefixtures("issuing")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--ca", "ca.pem"), id="directly issued"),
        pytest.param(("--ca", "ca.pem", "--eku", "clientAuth", "--cn", "LAPTOP-1.corp.example"), id="with conditions"),
        pytest.param(("--ca", "root.pem", "--trust", "chain"), id="through an intermediate"),
        pytest.param(("--ca", "ca.pem", "--cn", "${hostname}.corp.example", "--hostname", "laptop-1"), id="with a variable"),
        pytest.param(("--ca", "ca.pem", "--san", "other", "--san", "laptop-1"), id="with any of the alternative names"),
    ],
)
def test_a_good_certificate_passes_and_its_path_is_told(tmp_path: Path, arguments: Sequence[str]) -> None:
    verdict = judged(tmp_path, "--cert", "client.pem", *arguments)
    assert verdict["reason"] == "passed"
    assert verdict["path"][0]["subject"] == "CN=laptop-1.corp.example"
    code, out, _ = run(tmp_path, "--cert", "client.pem", *arguments)
    assert (code, out.splitlines()[0]) == (0, "passed: CN=laptop-1.corp.example")


def test_everything_that_is_wrong_is_told_and_the_verdicts_own_reason_first(tmp_path: Path, issuing: Authority) -> None:
    wrong = issuing.issue("laptop-2", not_before=-DAY, not_after=-HOUR, extended_key_usage=("serverAuth",))
    (tmp_path / "wrong.pem").write_bytes(wrong.pem)
    arguments = ("--ca", "ca.pem", "--cert", "wrong.pem", "--eku", "clientAuth", "--cn", "laptop-1", "--san", "x")
    verdict = judged(tmp_path, *arguments)
    others = ["extended_key_usage_missing", "common_name_mismatch", "subject_alternative_name_mismatch"]
    assert [verdict["reason"], *(other["reason"] for other in verdict["also"])] == ["certificate_expired", *others]
    _, out, _ = run(tmp_path, *arguments)
    assert all(_MEANINGS[reason] in out for reason in ("certificate_expired", *others))


@pytest.mark.usefixtures("issuing")
def test_the_time_can_be_another(tmp_path: Path) -> None:
    arguments = ("--ca", "ca.pem", "--cert", "client.pem", "--at")
    assert judged(tmp_path, *arguments, "2020-01-01T00:00:00Z")["reason"] == "issuer_not_valid_now"
    assert judged(tmp_path, *arguments, "1577836800")["expected"] == "valid at 2020-01-01T00:00:00+00:00"


@pytest.mark.usefixtures("issuing")
def test_where_revocation_is_required_and_nothing_is_known_it_is_refused(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "--ca", "ca.pem", "--cert", "client.pem", "--revocation", "require")
    assert verdict["reason"] == "revocation_unknown"
    _, out, _ = run(tmp_path, "--ca", "ca.pem", "--cert", "client.pem", "--revocation", "require")
    assert "no revocation list of CN=" in out
    assert "(for CN=laptop-1.corp.example, serial " in out
    assert "--crl" in out
    assert "{" not in out


@pytest.mark.usefixtures("issuing")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ca", "client.pem", "--cert", "client.pem"), "is no CA that could be uploaded"),
        (("--ca", "ca.pem", "--cert", "client.pem", "--at", "yesterday"), "`yesterday` is no time"),
        (("--ca", "ca.pem", "--cert", "client.pem", "--crl", "ca.pem"), "no revocation list that can be read"),
        (("--ca", "ca.pem", "--cert", "missing.pem"), "does not exist"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, arguments: Sequence[str], message: str) -> None:
    code, out, error = run(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert message in error

"""Lists and responses that the `openssl` program made."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from support.pki import Credential, root_authority
from support.revocation import parsed
from watchword_server.core.certificates.crl import RevocationListRefusedError, read_revocation_list
from watchword_server.core.certificates.ocsp import ocsp_request, read_ocsp_response
from watchword_server.core.certificates.revocation import RevocationReason
from watchword_server.core.model.names import Instant

pytestmark = pytest.mark.needs_program("openssl")
CA = root_authority()

CONFIG = """
[ca]
default_ca = it
[it]
database = index.txt
crlnumber = number
default_md = {digest}
default_crl_days = 7
{more}
[delta]
2.5.29.27 = critical,ASN1:INTEGER:16
[point]
issuingDistributionPoint = critical,@place
[place]
fullname = URI:http://ca.example/1.crl
"""


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)


def index_line(leaf: Credential, state: str, revoked: str = "") -> str:
    number = leaf.certificate.serial_number
    serial = number.to_bytes((number.bit_length() + 7) // 8, "big").hex().upper()  # whole bytes: an odd digit is an error
    return f"{state}\t330101000000Z\t{revoked}\t{serial}\tunknown\t/CN=laptop\n"


def made(directory: Path, *leaves: Credential, digest: str = "sha256", more: str = "") -> bytes:
    CA.credential.write(directory, "ca")
    lines = [index_line(leaf, "R", "260101000000Z,keyCompromise") for leaf in leaves]
    (directory / "index.txt").write_text("".join(lines))
    (directory / "number").write_text("11\n")
    (directory / "ca.conf").write_text(CONFIG.format(digest=digest, more=more))
    openssl(directory, *["ca", "-gencrl", "-config", "ca.conf", "-keyfile", "ca.key", "-cert", "ca.pem", "-out", "list.pem"])
    return x509.load_pem_x509_crl((directory / "list.pem").read_bytes()).public_bytes(Encoding.DER)


def test_its_list_is_read(tmp_path: Path) -> None:
    leaf = CA.issue()
    listed = read_revocation_list(made(tmp_path, leaf), parsed(CA))
    found = listed.entries.find(leaf.certificate.serial_number)
    assert found is not None
    assert found.reason is RevocationReason.KEY_COMPROMISE
    assert (listed.number, listed.base_number) == (17, None)


def test_its_delta_list_is_one(tmp_path: Path) -> None:
    assert read_revocation_list(made(tmp_path, more="crl_extensions = delta"), parsed(CA)).base_number == 16


def test_its_distribution_point_is_understood(tmp_path: Path) -> None:
    listed = read_revocation_list(made(tmp_path, more="crl_extensions = point"), parsed(CA))
    assert listed.scope.places == frozenset({"uri:http://ca.example/1.crl"})


def test_its_list_over_sha1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RevocationListRefusedError, match="algorithm"):
        read_revocation_list(made(tmp_path, digest="sha1"), parsed(CA))


@pytest.mark.parametrize("revoked", [False, True])
def test_its_response_to_our_request_is_believed(tmp_path: Path, *, revoked: bool) -> None:
    leaf = CA.issue()
    certificate, issuer = parsed(leaf, CA)
    CA.credential.write(tmp_path, "ca")
    (tmp_path / "index.txt").write_text(index_line(leaf, *(("R", "260101000000Z") if revoked else ("V",))))
    (tmp_path / "request").write_bytes(ocsp_request(certificate, issuer))
    arguments = "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin request -respout response -ndays 2"
    openssl(tmp_path, *arguments.split())
    der = (tmp_path / "response").read_bytes()
    status = read_ocsp_response(der, certificate=certificate, issuer=issuer, now=Instant(time.time() + 1))
    assert (status.revoked is not None) is revoked

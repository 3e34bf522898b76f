"""A directory as an operator has it: rule files beside `pki/` and `secrets/`, right ones and wrong ones."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.pki import Pki, key_pem

HERE = Path(__file__).parent
SECRET = "0123456789abcdef" * 4


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki.make()


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Path:
    directory = tmp_path_factory.mktemp("rules")
    for cases in ("accepted", "refused"):
        for case in (HERE / cases).glob("*.yaml"):
            shutil.copy(case, directory)
    files = {
        "issuing-ca.pem": pki.issuing.pem,
        "bundle.pem": b"Issuing, then root:\n" + pki.issuing.pem + pki.root.pem,
        "ca-and-key.pem": pki.issuing.pem + key_pem(pki.issuing.credential.key),
        "key.pem": key_pem(pki.issuing.credential.key, password=b"secret"),
        "ca.der": pki.issuing.credential.certificate.public_bytes(Encoding.DER),
        "junk.pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "leaf.pem": pki.issuing.issue().pem,
        "not-a-ca.pem": pki.root.issue_authority(ca=False).pem,
        "no-signing.pem": pki.root.issue(ca=True, key_cert_sign=False).pem,
        "version-1.pem": pki.root.issue(version=1).pem,
    }
    (directory / "pki").mkdir()
    for name, content in files.items():
        (directory / "pki" / name).write_bytes(content)
    secrets = {"edge-envoy": SECRET + "\n", "short": "hunter2\n", "blanks": "correct horse battery staple and more\n"}
    (directory / "secrets").mkdir()
    for name, text in secrets.items():
        (directory / "secrets" / name).write_text(text)
    return directory

"""Our path verdict beside OpenSSL's and `cryptography`'s, on chains by chance: where they differ, the difference is known.

300 chains; with WATCHWORD_SOAK=1 (`make soak`) 5,000. WATCHWORD_SEED shifts the seeds. A difference that nobody wrote down fails.
"""

import datetime as dt
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

import conformance
from certificates.generated import Case, generate
from certificates.making import AT

CHAINS: Final = 5000 if os.environ.get("WATCHWORD_SOAK") else 300
FIRST_SEED: Final = int(os.environ.get("WATCHWORD_SEED", "0"))
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "certificates.md"
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH


def has(*traits: str) -> Callable[[frozenset[str]], bool]:
    return lambda found: any(trait in found for trait in traits)


class Difference(Enum):
    """Who differs, whether we pass what it refuses, why (the words of docs/certificates.md), and what such a chain has."""

    def __init__(self, peer: str, we_pass: bool, why: str, concerns: Callable[[frozenset[str]], bool]) -> None:
        self.peer = peer
        self.we_pass = we_pass
        self.why = why
        self.concerns = concerns

    CA_AS_CLIENT = ("OpenSSL", False, "a CA's certificate shown as a client certificate", has("CA:leaf", "signs:leaf"))
    KEY_OF_A_CA = ("both", False, "a certificate with the key of a CA of its path", has("key of a CA:leaf"))
    WEAK_CURVE = ("both", False, "a certificate's key on P-224", has("leaf:p224"))
    SIGNS = ("cryptography", False, "a client certificate that may sign certificates", has("signs:leaf"))
    CONSTRAINING_CLIENT = (
        "both",
        False,
        "name constraints in a client certificate",
        has("constraints dns:leaf", "constraints mail:leaf", "constraints uri:leaf", "constraints directory:leaf"),
    )
    NO_BASIC_CONSTRAINTS = (
        "OpenSSL",
        False,
        "a CA without basic constraints, where its key usage says that it signs",
        has("no basic constraints:anchor", "no basic constraints:between"),
    )
    POLICY = ("both", False, "a path that demands a certificate policy and has none", has("policy demanded"))
    SEVERAL_PATHS = ("OpenSSL", True, "several paths, the first of which does not hold", has("cross"))
    SELF_ISSUED = (
        "OpenSSL",
        True,
        "a certificate that is self-issued, not self-signed, and names no key",
        has("self-issued:leaf", "self-issued:between"),
    )
    USAGE_OF_THE_TRUSTED = (
        "OpenSSL",
        True,
        "extended key usage in the trusted CA's own certificate",
        has("usage server:anchor", "usage any:anchor"),
    )
    ANY_USAGE = ("OpenSSL", True, "a CA for any extended key usage", has("usage any:between"))
    KEY_IDENTIFIERS = ("OpenSSL", True, "key identifiers that disagree", has("key identifiers"))
    ED25519 = ("cryptography", True, "a CA with an Ed25519 key", has("ca:ed25519"))
    NAME_BYTES = ("cryptography", True, "the same name in other letters, spaces or string types", has("issuer otherwise"))
    FORMS = (
        "cryptography",
        True,
        "name constraints on directory names and URIs",
        has("constraints directory", "constraints uri"),
    )
    SELF_ISSUED_COUNTED = (
        "cryptography",
        True,
        "path length with CAs that renew their own key",
        lambda found: "self-issued:between" in found and "path length" in found,
    )
    USAGE_OF_A_CA = ("cryptography", False, "extended key usage of a CA between", has("usage server:between"))
    CRITICAL_POLICIES = ("cryptography", True, "critical policy constraints", has("policy demanded"))


def ours(case: Case) -> bool:
    return conformance.verdict(case.chain, [case.anchor], AT, CLIENT.dotted_string)


def openssl(case: Case, directory: Path) -> bool:
    files = {"leaf": case.chain[:1], "between": case.chain[1:], "root": (case.anchor,)}
    for name, ders in files.items():
        (directory / f"{case.seed}.{name}").write_bytes(b"".join(map(_pem, ders)))
    command = ["openssl", "verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-auth_level", "2", "-purpose", "sslclient"]
    command += ["-attime", str(int(AT.timestamp())), "-CAfile", str(directory / f"{case.seed}.root")]
    if len(case.chain) > 1:
        command += ["-untrusted", str(directory / f"{case.seed}.between")]
    return subprocess.run([*command, str(directory / f"{case.seed}.leaf")], capture_output=True, check=False).returncode == 0


def library(case: Case) -> bool:
    leaf, *between = map(x509.load_der_x509_certificate, case.chain)
    anchor = x509.load_der_x509_certificate(case.anchor)
    try:
        _verifier(anchor).verify(leaf, between)
    except verification.VerificationError:
        return False
    return True


def _verifier(anchor: x509.Certificate) -> verification.ClientVerifier:
    policy, either = verification.ExtensionPolicy, verification.Criticality.AGNOSTIC
    for_cas = (
        policy.permit_all()
        .require_present(x509.BasicConstraints, either, None)
        .may_be_present(x509.KeyUsage, either, _signs_certificates)
        .may_be_present(x509.NameConstraints, either, None)
    )
    for_clients = (
        policy.permit_all()
        .may_be_present(x509.SubjectAlternativeName, either, None)
        .may_be_present(x509.ExtendedKeyUsage, either, _for_clients)
        .may_be_present(x509.BasicConstraints, either, _no_ca)
    )
    builder = verification.PolicyBuilder().store(verification.Store([anchor])).time(AT.astimezone(dt.UTC).replace(tzinfo=None))
    return builder.extension_policies(ca_policy=for_cas, ee_policy=for_clients).build_client_verifier()


def _signs_certificates(policy: object, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError


def _for_clients(policy: object, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and CLIENT not in usage:
        raise ValueError


def _no_ca(policy: object, certificate: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


# ---- The comparison -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disagreement:
    """On one chain, with the differences that may be why."""

    case: Case
    peer: str
    we_pass: bool

    @property
    def known(self) -> list[Difference]:
        """None: nobody knows why."""
        return [
            difference
            for difference in Difference
            if difference.peer in (self.peer, "both")
            and difference.we_pass is self.we_pass
            and difference.concerns(self.case.traits)
        ]


@pytest.fixture(scope="module")
def disagreements(tmp_path_factory: pytest.TempPathFactory) -> list[Disagreement]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: the path verdict has one second opinion less (apt-get install openssl)")
    directory = tmp_path_factory.mktemp("chains")
    cases = [generate(seed) for seed in range(FIRST_SEED, FIRST_SEED + CHAINS)]
    with ThreadPoolExecutor(2) as pool:
        told_by_openssl = list(pool.map(lambda case: openssl(case, directory), cases))
    found = []
    passed = 0
    for case, by_openssl in zip(cases, told_by_openssl, strict=True):
        told = ours(case)
        passed += told
        for peer, verdict in (("OpenSSL", by_openssl), ("cryptography", library(case))):
            if verdict is not told:
                found.append(Disagreement(case, peer, we_pass=told))
    assert CHAINS / 4 < passed < CHAINS * 3 / 4  # the chains are of both kinds
    return found


def test_where_we_differ_is_known(disagreements: list[Disagreement]) -> None:
    unknown = [(one.case.seed, one.peer, one.we_pass, sorted(one.case.traits)) for one in disagreements if not one.known]
    assert unknown == []


def test_what_is_known_still_differs(disagreements: list[Disagreement]) -> None:
    """A row that no chain needs says something that is no longer true, or never was."""
    if CHAINS < 5000:
        seen = Counter(difference for one in disagreements for difference in one.known)
        assert len(seen) > len(Difference) / 2
    else:
        alone = {one.known[0] for one in disagreements if len(one.known) == 1}  # nothing else about the chain explains it
        assert set(Difference) - alone == set()


def test_the_documentation_has_these_differences_and_no_others() -> None:
    table = PAGE.read_text().split("\n## Differences")[1]
    rows = re.findall(r"^\| (.*?) \| (passes|refused) \| (.*?) \|$", table, re.MULTILINE)
    assert set(rows) == {
        (difference.why, "passes" if difference.we_pass else "refused", difference.peer) for difference in Difference
    }

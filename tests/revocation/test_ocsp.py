"""An OCSP response is believed when the issuer, or whom it names for this, says it now and of this certificate."""

import contextlib
import functools
import random
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from support.pki import DAY, HOUR, Authority, Credential, generate_key, root_authority
from support.revocation import UNKNOWN, ocsp_response, parsed, responder_of
from watchword_server.core.certificates.ocsp import MAX_RESPONSE_LENGTH, OcspRefusedError, ocsp_request, read_ocsp_response
from watchword_server.core.certificates.revocation import OcspStatus, RevocationReason
from watchword_server.core.model.names import Instant

KEY = generate_key()
REVOKED, UNKNOWN_STATUS = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


@functools.cache
def ca() -> Authority:
    return root_authority()


@functools.cache
def leaf() -> Credential:
    return ca().issue()


def read(der: bytes, *, later: float = 0) -> OcspStatus:
    import time

    certificate, issuer = parsed(leaf(), ca())
    return read_ocsp_response(der, certificate=certificate, issuer=issuer, now=Instant(time.time() + later))


@pytest.mark.parametrize("id_digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda d: d.name)
def test_the_issuer_says_that_a_certificate_is_good(id_digest: hashes.HashAlgorithm) -> None:
    status = read(ocsp_response(leaf(), ca(), id_digest=id_digest))
    assert status.revoked is None
    assert status.responder is None


def test_a_delegated_responder_says_that_it_is_revoked() -> None:
    responder = responder_of(ca(), key=KEY)
    reason = x509.ReasonFlags.key_compromise
    status = read(ocsp_response(leaf(), ca(), REVOKED, responder=responder, reason=reason))
    assert status.revoked is not None
    assert status.revoked.reason is RevocationReason.KEY_COMPROMISE
    assert status.responder == responder.certificate.serial_number


def _delegated(**wrong: object) -> bytes:
    return ocsp_response(leaf(), ca(), responder=responder_of(ca(), key=KEY, **wrong))  # type: ignore[arg-type]


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "too large": ("too_large", lambda: b"\x30" * (MAX_RESPONSE_LENGTH + 1)),
    "not a response": ("malformed", lambda: b"\x30\x00"),
    "try later": (
        "not_successful",
        lambda: ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            __import__("cryptography").hazmat.primitives.serialization.Encoding.DER
        ),
    ),
    "another certificate": ("another_certificate", lambda: ocsp_response(ca().issue(), ca())),
    "another issuer of the name": ("another_certificate", lambda: ocsp_response(leaf(), root_authority())),
    "id over SHA-224": ("another_certificate", lambda: ocsp_response(leaf(), ca(), id_digest=hashes.SHA224())),
    "another signature": ("signature", lambda: ocsp_response(leaf(), ca(), damaged_signature=True)),
    "signed over SHA-224": ("algorithm", lambda: ocsp_response(leaf(), ca(), digest=hashes.SHA224())),
    "responder not in it": (
        "responder",
        lambda: ocsp_response(leaf(), ca(), responder=responder_of(ca(), key=KEY), shown=[leaf()]),
    ),
    "responder of another CA": (
        "responder",
        lambda: ocsp_response(leaf(), ca(), responder=responder_of(root_authority(), key=KEY)),
    ),
    "responder not for OCSP": ("responder", lambda: _delegated(usage=x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH)),
    "responder without a usage": ("responder", lambda: _delegated(usage=None)),
    "responder is a CA": ("responder", lambda: _delegated(ca=True)),
    "responder not for signatures": ("responder", lambda: _delegated(digital_signature=False)),
    "responder with something critical": ("responder", lambda: _delegated(extensions=[(UNKNOWN, True)])),
    "responder expired": ("responder_not_valid_now", lambda: _delegated(not_before=-2 * DAY, not_after=-DAY)),
    "more certificates than anybody needs": (
        "malformed",
        lambda: ocsp_response(leaf(), ca(), responder=(one := responder_of(ca(), key=KEY)), shown=[one, *[leaf()] * 4]),
    ),
    "responder with a weak key": (
        "responder",
        lambda: ocsp_response(leaf(), ca(), responder=responder_of(ca(), key=generate_key("rsa1024"))),
    ),
    "critical extension": ("extension_not_understood", lambda: ocsp_response(leaf(), ca(), extensions=[(UNKNOWN, True)])),
    "no end": ("next_update_missing", lambda: ocsp_response(leaf(), ca(), next_update=None)),
    "stale": ("not_current", lambda: ocsp_response(leaf(), ca(), this_update=-2 * DAY, next_update=-DAY)),
    "of tomorrow": ("not_current", lambda: ocsp_response(leaf(), ca(), this_update=HOUR)),
    "not known": ("unknown_status", lambda: ocsp_response(leaf(), ca(), UNKNOWN_STATUS)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_response_is_its_reason(case: str) -> None:
    reason, make = REFUSED[case]
    der = make()
    for _ in range(2):  # what is remembered says the same
        with pytest.raises(OcspRefusedError) as refused:
            read(der)
        assert refused.value.reason == reason


def test_an_issuer_with_a_weak_key_says_nothing() -> None:
    import time

    weak = root_authority(key="rsa1024")
    client = weak.issue()
    certificate, issuer = parsed(client, weak)
    with pytest.raises(OcspRefusedError, match="responder: certificate_key_weak"):
        read_ocsp_response(ocsp_response(client, weak), certificate=certificate, issuer=issuer, now=Instant(time.time()))


def test_a_nonce_is_understood_though_nobody_asked_with_one() -> None:
    assert read(ocsp_response(leaf(), ca(), extensions=[(x509.OCSPNonce(b"n" * 16), True)])).revoked is None


def test_a_remembered_response_still_ends() -> None:
    der = ocsp_response(leaf(), ca())
    read(der)
    with pytest.raises(OcspRefusedError, match="not_current"):
        read(der, later=2 * DAY.total_seconds())


def test_a_request_names_the_certificate() -> None:
    request = ocsp.load_der_ocsp_request(ocsp_request(*parsed(leaf(), ca())))
    assert request.serial_number == leaf().certificate.serial_number


def test_damaged_responses_lead_to_typed_errors_only() -> None:
    der, chance, believed = ocsp_response(leaf(), ca(), responder=responder_of(ca(), key=KEY)), random.Random(7), 0
    for _ in range(1500):
        damaged = bytearray(der)
        damaged[chance.randrange(len(der))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(OcspRefusedError):
            believed += read(bytes(damaged)).revoked is not None
    assert believed == 0

"""What the path verdict is asked in these tests, at one moment."""

from collections.abc import Collection, Sequence

from cryptography import x509

from certificates.making import NOW, Made
from watchword_server.core.certificates.path import find_path, issued_by
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model.names import Instant


def reason(
    chain: Sequence[Made],
    anchor: Made,
    *,
    intermediates: Sequence[Made] = (),
    usages: Collection[x509.ObjectIdentifier] = (),
    max_length: int = 8,
    now: Instant = NOW,
) -> str:
    """Why `find_path` refuses; `passed`."""
    error = refusal(chain, anchor, intermediates=intermediates, usages=usages, max_length=max_length, now=now)
    return "passed" if error is None else error.reason


def refusal(
    chain: Sequence[Made],
    anchor: Made,
    *,
    intermediates: Sequence[Made] = (),
    usages: Collection[x509.ObjectIdentifier] = (),
    max_length: int = 8,
    now: Instant = NOW,
) -> CertificateRefusedError | None:
    """The refusal of `find_path`; None: it passes."""
    try:
        find_path(
            [certificate.der for certificate in chain],
            anchor.der,
            intermediates=[certificate.der for certificate in intermediates],
            usages=usages,
            max_length=max_length,
            now=now,
        )
    except CertificateRefusedError as error:
        return error
    return None


def reason_direct(leaf: Made, issuer: Made, *, now: Instant = NOW) -> str:
    """Why `issued_by` refuses; `passed`."""
    try:
        issued_by(leaf.der, issuer.der, now=now)
    except CertificateRefusedError as error:
        return error.reason
    return "passed"

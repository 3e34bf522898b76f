"""Revocation lists made for one test."""

import datetime as dt
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from support.pki import DAY, HOUR, Authority, Credential

MINUTE: Final = dt.timedelta(minutes=1)


def make_list(
    authority: Authority,
    revoked: Iterable[Credential | int] = (),
    *,
    number: int = 1,
    base_number: int | None = None,
    this_update: dt.timedelta = -HOUR,
    next_update: dt.timedelta = DAY,
    pem: bool = False,
    corrupt: bool = False,
) -> bytes:
    """A list signed by an authority; times are relative to now. `base_number`: a delta list."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.credential.certificate.subject)
        .last_update(now + this_update)
        .next_update(now + next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if base_number is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base_number), critical=True)
    for each in revoked:
        serial_number = each if isinstance(each, int) else each.certificate.serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial_number).revocation_date(now - 2 * MINUTE)
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(authority.credential.key, hashes.SHA256())
    content = made.public_bytes(Encoding.PEM if pem else Encoding.DER)
    return content[:-1] + bytes([content[-1] ^ 1]) if corrupt else content

"""The product's own verdicts in the shape that conformance suites ask for: thin adapters, with nothing decided here.

`verdict` is RFC 5280 path validation for any of several trusted CAs, `verify_possession` a signature by a certificate's key.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from watchword import possession
from watchword_server.core import keys
from watchword_server.core.certificates.crl import RevocationListRefusedError, read_revocation_list
from watchword_server.core.certificates.parsed import ParsedCertificate, parse_whole
from watchword_server.core.certificates.path import ValidPath, find_path
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import NOTHING_KNOWN, IssuerRevocation, RevocationView
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.model.checks import RevocationPolicy
from watchword_server.core.model.names import Instant

_MAX_INTERMEDIATES: Final = 8  # where the suite leaves it to us
_RAW_SIZES: Final = {"ecdsa-p256-sha256-raw": 32, "ecdsa-p384-sha384-raw": 48}


def verdict(
    chain: Sequence[bytes],
    roots: Sequence[bytes],
    time: dt.datetime,
    eku: str | None,
    crls: Sequence[bytes] | None = None,
    max_depth: int | None = None,
) -> bool:
    """Whether `chain[0]` has a valid path to one of `roots` at `time`, through the rest of `chain`.

    `eku`: dotted; a certificate without extended key usage is unrestricted. `crls`: every link must be known not to be revoked.
    `max_depth`: how many intermediates are allowed.
    """
    usages = [] if eku is None else [x509.ObjectIdentifier(eku)]
    max_length = (_MAX_INTERMEDIATES if max_depth is None else max_depth) + 2
    now = Instant(time.timestamp())
    for root in roots:
        try:
            path = find_path(chain, root, usages=usages, max_length=max_length, now=now)
            if _allows(path.leaf, usages) and (crls is None or _is_not_revoked(path, crls, chain[1:], now)):
                return True
        except CertificateRefusedError:
            continue
    return False


def verify_possession(alg: str, spki: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key's over `message`. `alg` as in `possession`; with `-raw` or `-der` where it is ECDSA."""
    if alg in _RAW_SIZES:
        signature = possession.ecdsa_der(signature, _RAW_SIZES[alg])
    scheme = alg.removesuffix("-raw").removesuffix("-der")
    key = cast("CertificatePublicKeyTypes", load_der_public_key(spki))
    return keys.proves_possession(key, scheme=scheme, statement=message, signature=signature)


def _allows(leaf: ParsedCertificate, usages: Sequence[x509.ObjectIdentifier]) -> bool:
    present = leaf.extension(x509.ExtendedKeyUsage)
    return present is None or all(usage in present for usage in usages)


def _is_not_revoked(path: ValidPath, crls: Sequence[bytes], others: Sequence[bytes], now: Instant) -> bool:
    """`others`: certificates that may sign lists in the name of a CA of the path."""
    issuers = [*path.certificates[1:], *filter(None, map(_readable, others))]
    view = NOTHING_KNOWN
    for crl in crls:
        try:
            listed = read_revocation_list(crl, issuers)
        except RevocationListRefusedError:
            continue
        known = view.issuers.get(listed.issuer, IssuerRevocation())
        lists = IssuerRevocation(lists=(*known.lists, listed))
        view = RevocationView(issuers={**view.issuers, listed.issuer: lists})
    check_revocation(path, RevocationPolicy.REQUIRE, view, now=now)
    return True


def _readable(der: bytes) -> ParsedCertificate | None:
    try:
        return parse_whole(der)
    except CertificateRefusedError:
        return None

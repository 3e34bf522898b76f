"""A certificate's path to a trusted CA (RFC 5280, 6.1): signatures, validity, constraints, keys.

`trust: issuer`: the uploaded certificate signed it directly, as in Cloudflare's client. `trust: chain`: through intermediates.
`path_building` finds paths, `path_validation` has the conditions in their fixed order, and the one the certificate stumbles over
is the reason. Paths that were found are remembered with the time in which they hold.
"""

import contextlib
import functools
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from watchword_server.core.certificates.parsed import ParsedCertificate, fingerprint, parse, parse_issuer
from watchword_server.core.certificates.path_building import build_path
from watchword_server.core.certificates.path_validation import check_issuer, check_not_the_issuer, check_path
from watchword_server.core.certificates.refusal import Attempt, CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered
from watchword_server.core.certificates.strength import check_algorithm, check_key, check_signature
from watchword_server.core.certificates.work import Work
from watchword_server.core.model import Fingerprint, Instant

MAX_INTERMEDIATES: Final = 64  # of the device and of the bundle together
_SHORTEST: Final = 2
MAX_PATH_LENGTH: Final = 8  # certificates, the client's and the trusted one included
_REMEMBERED_PATHS: Final = 16_384
_READING_COST: Final = 15  # microseconds to parse a certificate, without its names
_NAME_BYTES_A_MICROSECOND: Final = 8  # of names


@dataclass(frozen=True, slots=True)
class ValidPath:
    """A path that holds from `valid_from` to `valid_until`, both included: the client certificate first, the trusted CA last."""

    certificates: tuple[ParsedCertificate, ...]
    valid_from: Instant
    valid_until: Instant

    @property
    def leaf(self) -> ParsedCertificate:
        """The client certificate."""
        return self.certificates[0]


_Question = tuple[bytes, bytes, frozenset[x509.ObjectIdentifier], int]

_PATHS: Final[Remembered[_Question, ValidPath]] = Remembered(_REMEMBERED_PATHS)
_ISSUED: Final[Remembered[tuple[bytes, bytes], ValidPath]] = Remembered(_REMEMBERED_PATHS)  # by both certificates
_INTERMEDIATES: Final[Remembered[Fingerprint, ParsedCertificate]] = Remembered(1024)  # of paths that hold


def find_path(
    chain: Sequence[bytes],
    anchor: bytes,
    *,
    intermediates: Sequence[bytes] = (),
    usages: Collection[x509.ObjectIdentifier] = (),
    max_length: int = MAX_PATH_LENGTH,
    now: Instant,
) -> ValidPath:
    """A valid path from `chain[0]` to the anchor, through the rest of `chain` (in no particular order) and `intermediates`.

    `usages`: what the check wants of the certificate, and so of each CA between. `max_length` is in certificates, both ends
    included. Raises `CertificateRefusedError`; of several paths that do not hold, the one that came furthest gives the reason.
    """
    question = (_digest(chain), _trust_digest(anchor, tuple(intermediates)), frozenset(usages), max_length)
    known = _PATHS.get(question)
    if known is not None and known.valid_from <= now <= known.valid_until:
        return known
    leaf, trusted = parse(chain[0]), parse_issuer(anchor)
    check_not_the_issuer(leaf, trusted)
    if leaf.head.issuer == trusted.outline.subject and max_length >= _SHORTEST:  # then most often nothing has to be built
        with contextlib.suppress(CertificateRefusedError):
            path = _direct_path(leaf, trusted, now=now)
            _PATHS.put(question, path)
            return path
    work = Work()
    candidates, unreadable = _candidates((*chain[1:], *intermediates), but={chain[0], anchor}, work=work)
    certificates = build_path(leaf, trusted, candidates, usages, max_length=max_length, unreadable=unreadable, work=work, now=now)
    for certificate in certificates[1:-1]:
        _INTERMEDIATES.put(certificate.fingerprint, certificate)
    path = _valid_path(certificates)
    _PATHS.put(question, path)
    return path


def issued_by(der: bytes, issuer_der: bytes, *, now: Instant) -> ValidPath:
    """Whether the issuer signed this end-entity certificate directly and both are valid at `now`: a path of two.

    Raises `CertificateRefusedError`.
    """
    question = (der, issuer_der)
    known = _ISSUED.get(question)
    if known is not None and known.valid_from <= now <= known.valid_until:
        return known
    path = _direct_path(parse(der), parse_issuer(issuer_der), now=now)
    _ISSUED.put(question, path)
    return path


def check_signing_certificate(issuer: ParsedCertificate) -> None:
    """Whether a certificate may sign client certificates at all, at whatever time. Raises `CertificateRefusedError`."""
    check_issuer(issuer)


def _direct_path(certificate: ParsedCertificate, issuer: ParsedCertificate, *, now: Instant) -> ValidPath:
    check_not_the_issuer(certificate, issuer)
    check_algorithm(certificate)
    if not issuer.may_issue:
        check_key(issuer)
    check_signature(certificate, issuer)
    check_path((certificate, issuer), (), work=Work(), now=now)
    return _valid_path((certificate, issuer))


def _candidates(ders: Sequence[bytes], *, but: Collection[bytes], work: Work) -> tuple[list[ParsedCertificate], list[Attempt]]:
    """Those that could be part of a path, each once, and those that cannot be read."""
    found: list[ParsedCertificate] = []
    unreadable: list[Attempt] = []
    if len(ders) > MAX_INTERMEDIATES:
        raise CertificateRefusedError(
            "chain_too_complex", expected=f"at most {MAX_INTERMEDIATES} intermediates", received=f"{len(ders)}"
        )
    for der in dict.fromkeys(ders):
        if der in but:
            continue
        try:
            certificate = _INTERMEDIATES.get(fingerprint(der)) or parse(der)
            work.spend(
                _READING_COST + (len(certificate.outline.subject) + len(certificate.outline.issuer)) // _NAME_BYTES_A_MICROSECOND
            )
            _ = (certificate.subject, certificate.issuer)
        except CertificateRefusedError as error:  # it may not be needed
            if error.reason == "chain_too_complex":
                raise
            unreadable.append(Attempt((None,), error.reason, error.expected, error.received))
        else:
            found.append(certificate)
    return found, unreadable


def _valid_path(certificates: tuple[ParsedCertificate, ...]) -> ValidPath:
    return ValidPath(
        certificates,
        valid_from=max([certificate.not_before for certificate in certificates]),
        valid_until=min([certificate.not_after for certificate in certificates]),
    )


def _digest(ders: Sequence[bytes]) -> bytes:
    digest = hashlib.sha256()
    for der in ders:
        digest.update(len(der).to_bytes(4, "big"))
        digest.update(der)
    return digest.digest()


@functools.lru_cache(maxsize=256)
def _trust_digest(anchor: bytes, intermediates: tuple[bytes, ...]) -> bytes:
    return _digest((anchor, *intermediates))

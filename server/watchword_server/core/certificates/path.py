"""A certificate's path to a trusted CA (RFC 5280, 6.1): signatures, validity, constraints, keys.

`trust: issuer`: the uploaded certificate signed it directly, as in Cloudflare's client. `trust: chain`: through intermediates.
`path_building` finds paths, `path_validation` has the conditions in their fixed order, and the one the certificate stumbles over
is the reason. Paths that were found are remembered with the time in which they hold.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from watchword_server.core.certificates.parsed import ParsedCertificate, fingerprint, parse, parse_issuer
from watchword_server.core.certificates.path_building import build_path
from watchword_server.core.certificates.path_validation import check_issuer, check_not_the_issuer, check_path
from watchword_server.core.certificates.refusal import Attempt, CertificateRefusedError
from watchword_server.core.certificates.remembered import Remembered
from watchword_server.core.certificates.strength import check_signed
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.names import Fingerprint, Instant

MAX_INTERMEDIATES: Final = 64  # of the device and of the bundle together
_SHORTEST: Final = 2
MAX_PATH_LENGTH: Final = 8  # certificates, the client's and the trusted one included
_REMEMBERED_LEAVES: Final = 16_384
_REMEMBERED_BYTES: Final = 64 * 2**20
_LEAF_BYTES: Final = 2048  # about what one takes in memory, read, besides what grows with it
_BYTES_OF_A_BYTE: Final = 4  # of its encoding
_PATHS_OF_A_LEAF: Final = 8
_READING_COST: Final = 25  # microseconds to parse a certificate, without its names
_NAME_BYTES_A_MICROSECOND: Final = 2  # of names, to compare and to tell


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


@dataclass(slots=True)
class _Known:
    """A client certificate that once passed, parsed once, and the paths that were found, each with the usages it is good for."""

    leaf: ParsedCertificate
    paths: list[tuple[ValidPath, frozenset[x509.ObjectIdentifier]]] = field(default_factory=list)


_KNOWN: Final[Remembered[bytes, _Known]] = Remembered(_REMEMBERED_LEAVES, weight=_REMEMBERED_BYTES)
_INTERMEDIATES: Final[Remembered[Fingerprint, ParsedCertificate]] = Remembered(1024)  # of paths that hold


def find_path(
    chain: Sequence[bytes],
    anchor: bytes,
    *,
    intermediates: Sequence[bytes] = (),
    usages: Collection[x509.ObjectIdentifier] = (),
    max_length: int = MAX_PATH_LENGTH,
    work: Work | None = None,
    now: Instant,
) -> ValidPath:
    """A valid path from `chain[0]` to the anchor, through the rest of `chain` (in no particular order) and `intermediates`.

    `usages`: what the check wants of the certificate, and so of each CA between. `max_length` is in certificates, both ends
    included. `work`: what it may cost.

    Raises `CertificateRefusedError`; of several paths that do not hold, the one that came furthest gives the reason.
    """
    work = work or Work()
    wanted = frozenset(usages)
    offered = (*chain[1:], *intermediates)
    some = offered if len(offered) <= MAX_INTERMEDIATES else ()
    known = _known_path(chain[0], anchor, some, usages=wanted, max_length=max_length, now=now)
    if known is not None:
        return known
    leaf, trusted = _leaf(chain[0], work), parse_issuer(anchor)
    check_not_the_issuer(leaf, trusted)
    if leaf.head.issuer == trusted.outline.subject and max_length >= _SHORTEST:  # then most often nothing has to be built
        try:
            return _direct_path(leaf, trusted, work=work, now=now)
        except CertificateRefusedError as error:
            if error.reason == "chain_too_complex":
                raise
    work.spend(_names_cost(leaf))
    candidates, unreadable = _candidates(offered, but={chain[0], anchor}, work=work)
    certificates = build_path(leaf, trusted, candidates, wanted, max_length=max_length, unreadable=unreadable, work=work, now=now)
    for certificate in certificates[1:-1]:
        _INTERMEDIATES.put(certificate.fingerprint, certificate)
    return _remembered(_valid_path(certificates), wanted)


def issued_by(der: bytes, issuer_der: bytes, *, work: Work | None = None, now: Instant) -> ValidPath:
    """Whether the issuer signed this end-entity certificate directly and both are valid at `now`: a path of two.

    Raises `CertificateRefusedError`.
    """
    known = _known_path(der, issuer_der, (), usages=frozenset(), max_length=_SHORTEST, now=now)
    if known is not None:
        return known
    work = work or Work()
    return _direct_path(_leaf(der, work), parse_issuer(issuer_der), work=work, now=now)


def check_signing_certificate(issuer: ParsedCertificate) -> None:
    """Whether a certificate may sign client certificates at all, at whatever time. Raises `CertificateRefusedError`."""
    check_issuer(issuer)


def _direct_path(certificate: ParsedCertificate, issuer: ParsedCertificate, *, work: Work, now: Instant) -> ValidPath:
    check_not_the_issuer(certificate, issuer)
    check_signed(certificate, issuer, work)
    check_path((certificate, issuer), (), work=work, now=now)
    return _remembered(_valid_path((certificate, issuer)), frozenset())


def _known_path(
    leaf: bytes,
    anchor: bytes,
    offered: Collection[bytes],
    *,
    usages: frozenset[x509.ObjectIdentifier],
    max_length: int,
    now: Instant,
) -> ValidPath | None:
    """A path that was found before and holds now, through intermediates that are all among those offered."""
    known = _KNOWN.get(leaf)
    for path, good_for in () if known is None else known.paths:
        certificates = path.certificates
        if (
            path.valid_from <= now <= path.valid_until
            and len(certificates) <= max_length
            and certificates[-1].der == anchor
            and (len(certificates) == _SHORTEST or usages <= good_for)  # which are asked of the CAs between
            and all(certificate.der in offered for certificate in certificates[1:-1])
        ):
            return path
    return None


def _remembered(path: ValidPath, usages: frozenset[x509.ObjectIdentifier]) -> ValidPath:
    known = _KNOWN.get(path.leaf.der)
    if known is None:
        known = _Known(path.leaf)
        _KNOWN.put(path.leaf.der, known, weight=_LEAF_BYTES + _BYTES_OF_A_BYTE * len(path.leaf.der))
    known.paths.insert(0, (path, usages))
    del known.paths[_PATHS_OF_A_LEAF:]
    return path


def _leaf(der: bytes, work: Work) -> ParsedCertificate:
    """Read once, if it ever passed."""
    known = _KNOWN.get(der)
    if known is not None:
        return known.leaf
    work.spend(_READING_COST)
    return parse(der)


def _names_cost(certificate: ParsedCertificate) -> int:
    return (len(certificate.head.subject) + len(certificate.head.issuer)) // _NAME_BYTES_A_MICROSECOND


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
            certificate = _INTERMEDIATES.get(fingerprint(der))
            if certificate is None:
                work.spend(_READING_COST)
                certificate = parse(der)
                work.spend(_names_cost(certificate))
                _ = (certificate.outline, certificate.subject, certificate.issuer)
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

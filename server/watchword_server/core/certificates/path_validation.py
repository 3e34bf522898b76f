"""Whether a path holds, once its signatures are verified (RFC 5280, 6.1): each condition with its section, in their order."""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from watchword_server.core.certificates.name_constraints import check_name_constraints
from watchword_server.core.certificates.parsed import ParsedCertificate, read_whole
from watchword_server.core.certificates.policies import POLICY_MAPPINGS, check_policies
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.strength import check_key
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.names import Instant

_PATH_COST: Final = 30  # microseconds, without what is counted below
_EXTENSION_BYTES: Final = 16  # of a certificate whose extensions are read, in a microsecond
# What this house understands and may therefore be critical (RFC 5280, 4.2).
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
        POLICY_MAPPINGS,
    }
)


def check_path(path: Sequence[ParsedCertificate], usages: Collection[x509.ObjectIdentifier], *, work: Work, now: Instant) -> None:
    """Whether a path whose signatures were verified holds at `now`. The client certificate first, the trusted CA last.

    `usages`: what the check wants; each CA between must allow it. Raises `CertificateRefusedError`.
    """
    work.spend(_PATH_COST)
    leaf, *issuers = path
    for certificate in path:  # only here, and so only of certificates that our CA stands for, is the costly part looked at
        if not certificate.is_read:
            work.spend(len(certificate.der) // _EXTENSION_BYTES)
        _ = (certificate.extensions, certificate.subject_name)  # the issuer's name is the subject of the next
    for issuer in issuers:
        check_not_the_issuer(leaf, issuer)
    _check_end_entity(leaf)
    unknown = [leaf, *(issuer for issuer in issuers if not issuer.may_issue)]
    for certificate in unknown:
        _check_understood(certificate)
    for certificate in unknown:
        check_key(certificate)
    for issuer in reversed(unknown[1:]):
        _check_ca(issuer)
        issuer.may_issue = True
    _check_path_length(issuers)
    check_name_constraints(path, work)
    check_policies(path)
    for issuer in reversed(issuers):
        _check_valid(issuer, now)
    if now < leaf.not_before:  # RFC 5280, 4.1.2.5
        raise CertificateRefusedError("certificate_not_yet_valid", expected=_moment(now), received=_iso(leaf.not_before))
    if now > leaf.not_after:
        raise CertificateRefusedError("certificate_expired", expected=_moment(now), received=_iso(leaf.not_after))
    for issuer in issuers[:-1]:
        _check_usages(issuer, usages)


def check_issuer(issuer: ParsedCertificate) -> None:
    """Whether a certificate may sign certificates at all, at whatever time. Raises `CertificateRefusedError`."""
    if not issuer.may_issue:
        check_key(issuer)
        _check_ca(issuer)
        _check_understood(issuer)
        issuer.may_issue = True


def check_intermediate(issuer: ParsedCertificate, usages: Collection[x509.ObjectIdentifier], *, now: Instant) -> None:
    """Whether a CA certificate could be part of any path that holds at `now`. Raises `CertificateRefusedError`."""
    read_whole(issuer)
    check_issuer(issuer)
    _check_valid(issuer, now)
    _check_usages(issuer, usages)


def check_not_the_issuer(leaf: ParsedCertificate, issuer: ParsedCertificate) -> None:
    """A CA's certificate is public: whoever holds it holds nothing. Raises `CertificateRefusedError`."""
    if leaf.der == issuer.der or leaf.public_key == issuer.public_key:
        raise CertificateRefusedError("certificate_is_the_issuer", received=leaf.subject_text())


def is_valid(certificate: ParsedCertificate, now: Instant) -> bool:
    """Whether `now` is within its validity, whose first and last second count."""
    return certificate.not_before <= now <= certificate.not_after


def _check_end_entity(certificate: ParsedCertificate) -> None:
    if certificate.x509.version is not x509.Version.v3:
        raise CertificateRefusedError("certificate_malformed", expected="X.509 v3", received=certificate.x509.version.name)
    constraints = certificate.extension(x509.BasicConstraints)
    usage = certificate.extension(x509.KeyUsage)
    is_ca = (constraints is not None and constraints.ca) or (usage is not None and usage.key_cert_sign)
    if is_ca or certificate.extension(x509.NameConstraints) is not None:  # which only a CA may have (RFC 5280, 4.2.1.10)
        raise CertificateRefusedError("certificate_is_a_ca", received=certificate.subject_text())


def _check_understood(certificate: ParsedCertificate) -> None:
    unknown = [
        extension.oid.dotted_string
        for extension in certificate.extensions
        if extension.critical and extension.oid not in _UNDERSTOOD
    ]
    if unknown:  # RFC 5280, 4.2: reject what is critical and not understood
        raise CertificateRefusedError("certificate_extension_not_understood", received=unknown)


def _check_ca(issuer: ParsedCertificate) -> None:
    constraints = issuer.extension(x509.BasicConstraints)
    usage = issuer.extension(x509.KeyUsage)
    if constraints is None or not constraints.ca:  # RFC 5280, 6.1.4 (k)
        raise _not_a_ca(issuer, "basic constraints `CA:TRUE`")
    if issuer.x509.version is not x509.Version.v3:
        raise _not_a_ca(issuer, "X.509 v3")
    if usage is not None and not usage.key_cert_sign:  # RFC 5280, 6.1.4 (n)
        raise _not_a_ca(issuer, "key usage `Certificate Sign`")
    if not issuer.subject_name.rdns:  # RFC 5280, 4.1.2.6: whoever issues has a name
        raise _not_a_ca(issuer, "a subject")


def _check_path_length(issuers: Sequence[ParsedCertificate]) -> None:
    """RFC 5280, 6.1.4 (l) and (m): how many CAs may follow, those that renew their own key not counted."""
    below = 0
    for place, issuer in enumerate(issuers):
        if place > 0 and not issuers[place - 1].is_self_issued:
            below += 1
        constraints = issuer.extension(x509.BasicConstraints)
        allowed = constraints.path_length if constraints is not None else None
        if allowed is not None and below > allowed:
            raise CertificateRefusedError(
                "path_length_exceeded", expected=f"at most {allowed} CAs below {issuer.subject_text()}", received=f"{below}"
            )


def _check_valid(issuer: ParsedCertificate, now: Instant) -> None:
    if not is_valid(issuer, now):
        raise CertificateRefusedError(
            "issuer_not_valid_now", expected=_moment(now), received=f"{_validity(issuer)}: {issuer.subject_text()}"
        )


def _check_usages(issuer: ParsedCertificate, wanted: Collection[x509.ObjectIdentifier]) -> None:
    usage = issuer.extension(x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage:
        return
    missing = [oid for oid in wanted if oid not in usage]
    if missing:
        raise CertificateRefusedError(
            "extended_key_usage_missing",
            expected=[oid.dotted_string for oid in missing],
            received=f"a CA that may not: {issuer.subject_text()}",
        )


def _not_a_ca(issuer: ParsedCertificate, expected: str) -> CertificateRefusedError:
    return CertificateRefusedError("issuer_not_a_ca", expected=expected, received=issuer.subject_text())


def _moment(now: Instant) -> str:
    return f"valid at {_iso(now)}"


def _validity(certificate: ParsedCertificate) -> str:
    return f"{_iso(certificate.not_before)} to {_iso(certificate.not_after)}"


def _iso(at: Instant) -> str:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat(timespec="seconds")

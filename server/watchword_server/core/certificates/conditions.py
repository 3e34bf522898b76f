"""What a check asks of a certificate besides its path: extended key usage, common name, alternative names, with variables."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from watchword_server.core.certificates.names import lower_case
from watchword_server.core.certificates.parsed import ParsedCertificate, plain
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model.checks import ClientCertificateConfig

_MAX_SHOWN_NAMES: Final = 16
_EXTENDED_KEY_USAGE: Final = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}
_EXTENDED_KEY_USAGE_NAMES: Final = {oid: name for name, oid in _EXTENDED_KEY_USAGE.items()}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_VARIABLE: Final = re.compile(r"\$\{(serial_number|hostname)\}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the device is said to be, for `${serial_number}` and `${hostname}`; None: not known."""

    serial_number: str | None
    hostname: str | None
    reported_serial_number: str | None = None  # by evidence; another one than the enrollment's fails what uses it


def check_conditions(certificate: ParsedCertificate, config: ClientCertificateConfig, subject: Subject) -> None:
    """Raises `CertificateRefusedError` with the first condition of the check that does not hold."""
    _check_extended_key_usage(certificate, config.extended_key_usage)
    if config.common_name is not None:
        expected = substitute(config.common_name, subject)
        names = certificate.common_names
        if lower_case(expected) not in set(map(lower_case, names)):
            raise CertificateRefusedError("common_name_mismatch", expected=expected, received=_shown(names))
    if config.subject_alternative_names:
        wanted = [substitute(pattern, subject) for pattern in config.subject_alternative_names]
        found = certificate.alternative_names
        if not any(name in certificate.lower_case_names for name in map(_typed, wanted)):
            shown = _shown([text for _, text in found])
            raise CertificateRefusedError("subject_alternative_name_mismatch", expected=wanted, received=shown)


def wanted_usages(config: ClientCertificateConfig) -> frozenset[x509.ObjectIdentifier]:
    """The extended key usages a check wants, which the CAs of a path must allow too."""
    return frozenset(_EXTENDED_KEY_USAGE[name] for name in config.extended_key_usage)


def substitute(pattern: str, subject: Subject) -> str:
    """Replaces `${serial_number}` and `${hostname}`. A value that is not known is a reason of its own, never an empty string.

    Raises `CertificateRefusedError`.
    """
    if "${serial_number}" in pattern:
        if not subject.serial_number:
            raise CertificateRefusedError("serial_number_unknown", expected=pattern)
        if subject.reported_serial_number is not None and subject.reported_serial_number != subject.serial_number:
            raise CertificateRefusedError(
                "serial_number_mismatch", expected=subject.serial_number, received=subject.reported_serial_number
            )
    if "${hostname}" in pattern and not subject.hostname:
        raise CertificateRefusedError("hostname_unknown", expected=pattern)
    values = {"serial_number": subject.serial_number or "", "hostname": subject.hostname or ""}
    # In one pass: a value that reads like a variable is not substituted again.
    return _VARIABLE.sub(lambda variable: values[variable[1]], pattern)


def _check_extended_key_usage(certificate: ParsedCertificate, wanted: tuple[str, ...]) -> None:
    if not wanted:
        return
    usage = certificate.extension(x509.ExtendedKeyUsage)
    present = usage or ()
    missing = [name for name in wanted if _EXTENDED_KEY_USAGE[name] not in present]
    if missing:
        received = [_EXTENDED_KEY_USAGE_NAMES.get(oid, oid.dotted_string) for oid in usage or ()]
        raise CertificateRefusedError("extended_key_usage_missing", expected=list(wanted), received=received)


def _typed(wanted: str) -> tuple[type[x509.GeneralName], str]:
    """Of which type an alternative name has to be: what a CA may not say as a DNS name it must not say as a URI."""
    try:
        return x509.IPAddress, lower_case(str(ipaddress.ip_address(wanted)))
    except ValueError:
        pass
    if _SCHEME.match(wanted):
        return x509.UniformResourceIdentifier, lower_case(wanted)
    return x509.RFC822Name if "@" in wanted else x509.DNSName, lower_case(wanted)


def _shown(names: Sequence[str]) -> list[str]:
    return [plain(name) for name in names[:_MAX_SHOWN_NAMES]]

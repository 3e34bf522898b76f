"""Which of a check's conditions a certificate meets, as far as the device can tell: to choose what to send, and to explain.

The server judges; nothing here decides anything.
"""

import datetime as dt
import ipaddress
import re
import string
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from watchword.v1 import posture_pb2 as pb
from watchword_agent.stores.base import Found, Variables

_LOWER: Final = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_VARIABLE: Final = re.compile(r"\$\{(serial_number|hostname)\}")
_USAGES: Final = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH, "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION}
_USAGE_NAMES: Final = {oid: name for name, oid in _USAGES.items()} | {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth"}
_KEY_REASONS: Final = {
    pb.PRIVATE_KEY_STATE_ABSENT: "private_key_absent",
    pb.PRIVATE_KEY_STATE_LOCKED: "private_key_locked",
    pb.PRIVATE_KEY_STATE_MISMATCH: "private_key_mismatch",
    pb.PRIVATE_KEY_STATE_UNSUPPORTED: "possession_key_unsupported",
    pb.PRIVATE_KEY_STATE_UNREADABLE: "private_key_unreadable",
    pb.PRIVATE_KEY_STATE_DENIED: "private_key_denied",
    pb.PRIVATE_KEY_STATE_NEEDS_UI: "private_key_needs_ui",
    pb.PRIVATE_KEY_STATE_WRONG_PASSWORD: "private_key_password_wrong",
    pb.PRIVATE_KEY_STATE_FAILED: "private_key_failed",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition by the reason that the server would give if it does not hold (docs/reasons.md)."""

    reason: str
    met: bool
    expected: str
    found: str


def load(der: bytes) -> x509.Certificate | None:
    """The certificate; None for what is none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.not_valid_after_utc)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension):
        return None
    return certificate


def examine(
    found: Found, certificate: x509.Certificate | None, wanted: pb.ClientCertificateCheck, variables: Variables, now: dt.datetime
) -> tuple[Condition, ...]:
    """Each condition of the check, in the server's order."""
    if certificate is None:
        return (Condition("certificate_malformed", met=False, expected="a certificate", found="what cannot be read"),)
    conditions = [*_issuer(certificate, wanted), *_dates(certificate, now), *_usage(certificate, wanted)]
    if wanted.common_name:
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        conditions.append(_name("common_name_mismatch", [wanted.common_name], names, variables))
    if wanted.subject_alternative_names:
        names = alternative_names(certificate)
        conditions.append(_name("subject_alternative_name_mismatch", list(wanted.subject_alternative_names), names, variables))
    if wanted.check_private_key:
        usable = found.private_key == pb.PRIVATE_KEY_STATE_USABLE
        reason = _KEY_REASONS.get(found.private_key, "private_key_absent")
        told = "there" if usable else found.key_detail or reason
        conditions.append(Condition(reason, met=usable, expected="a private key that signs", found=told))
    return tuple(conditions)


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """The alternative names that a check may ask for, as text."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
    return [str(name.value) for name in names if isinstance(name, kinds)]


def usages(certificate: x509.Certificate) -> list[str]:
    """The extended key usages by name, or by number."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [_USAGE_NAMES.get(oid, oid.dotted_string) for oid in extension]


def _issuer(certificate: x509.Certificate, wanted: pb.ClientCertificateCheck) -> list[Condition]:
    if not wanted.issuer_names:
        return []
    met = certificate.issuer.public_bytes() in wanted.issuer_names
    return [Condition("certificate_wrong_issuer", met, _names(wanted), certificate.issuer.rfc4514_string())]


def _names(wanted: pb.ClientCertificateCheck) -> str:
    return " or ".join(map(_name_text, wanted.issuer_names))


def _name_text(der: bytes) -> str:
    return der.hex()  # the library reads names only inside of certificates


def _dates(certificate: x509.Certificate, now: dt.datetime) -> list[Condition]:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [
        Condition("certificate_not_yet_valid", since <= now, "valid now", f"valid from {since.isoformat()}"),
        Condition("certificate_expired", now <= until, "valid now", f"valid until {until.isoformat()}"),
    ]


def _usage(certificate: x509.Certificate, wanted: pb.ClientCertificateCheck) -> list[Condition]:
    if not wanted.extended_key_usage:
        return []
    has = usages(certificate)
    met = set(wanted.extended_key_usage) <= set(has)
    return [
        Condition(
            "extended_key_usage_missing", met, ", ".join(wanted.extended_key_usage), ", ".join(has) or "no extended key usage"
        )
    ]


def _name(reason: str, templates: list[str], names: list[str], variables: Variables) -> Condition:
    for variable in ("serial_number", "hostname"):
        if not variables.get(variable) and all(f"${{{variable}}}" in template for template in templates):
            return Condition(
                f"{variable}_unknown", met=False, expected=" or ".join(templates), found=f"this device has no {variable}"
            )
    usable = [text for template in templates if (text := _substituted(template, variables)) is not None]
    has = {_comparable(name) for name in names}
    met = any(_comparable(text) in has for text in usable)
    return Condition(reason, met, " or ".join(usable), ", ".join(names) or "none")


def _substituted(template: str, variables: Variables) -> str | None:
    if any(not variables.get(variable) for variable in _VARIABLE.findall(template)):
        return None
    return _VARIABLE.sub(lambda match: variables[match[1]] or "", template)


def _comparable(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.translate(_LOWER)

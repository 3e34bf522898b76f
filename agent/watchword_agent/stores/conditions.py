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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from watchword.v1 import posture_pb2 as pb
from watchword_agent.stores.base import Found, Variables
from watchword_agent.stores.names import name_text, same_name

_LOWER: Final = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_VARIABLE: Final = re.compile(r"\$\{(serial_number|hostname)\}")
_USAGES: Final = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH, "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION}
_USAGE_NAMES: Final = {oid: name for name, oid in _USAGES.items()} | {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth"}
_HASHES: Final = ("sha256", "sha384", "sha512")
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_STRONG_KEYS: Final = "RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm)
_KIND_NAMES: Final[dict[type[x509.GeneralName], str]] = {
    x509.DNSName: "DNS",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "IP",
}
KEY_REASONS: Final = {
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
    conditions = [
        *_issuer(certificate, wanted),
        *_kind(certificate),
        *_dates(certificate, now),
        *_usage(certificate, wanted),
    ]
    if wanted.common_name:
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        conditions.append(_name("common_name_mismatch", [wanted.common_name], names, variables))
    if wanted.subject_alternative_names:
        conditions.append(_alternative_name(certificate, list(wanted.subject_alternative_names), variables))
    if wanted.check_private_key:
        usable = found.private_key == pb.PRIVATE_KEY_STATE_USABLE
        reason = KEY_REASONS.get(found.private_key, "private_key_absent")
        told = "there" if usable else found.key_detail or reason
        conditions.append(Condition(reason, met=usable, expected="a private key that signs", found=told))
    return tuple(conditions)


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """The alternative names that a check may ask for, as text."""
    return [_general_name_text(name) for name in _general_names(certificate)]


def usages(certificate: x509.Certificate) -> list[str]:
    """The extended key usages by name, or by number."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [_USAGE_NAMES.get(oid, oid.dotted_string) for oid in extension]


def key_text(certificate: x509.Certificate) -> str:
    """The kind and size of a certificate's key."""
    try:
        key = certificate.public_key()
    except _UNREADABLE:
        return "a kind of key that cannot be read"
    match key:
        case rsa.RSAPublicKey():
            return f"RSA of {key.key_size} bits"
        case ec.EllipticCurvePublicKey():
            return key.curve.name
        case _:
            return type(key).__name__.removesuffix("PublicKey")


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether it says that it is a CA's."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issuer(certificate: x509.Certificate, wanted: pb.ClientCertificateCheck) -> list[Condition]:
    """Without names any issuer may be right; that the signature is the issuer's, only the server can tell."""
    if not wanted.issuer_names:
        return []
    expected = " or ".join(map(name_text, wanted.issuer_names))
    subject, issuer = certificate.subject.public_bytes(), certificate.issuer.public_bytes()
    if is_ca(certificate) and any(same_name(subject, name) for name in wanted.issuer_names):
        told = "the CA's own certificate"
        return [Condition("certificate_is_the_issuer", met=False, expected=f"one issued by {expected}", found=told)]
    met = any(same_name(issuer, name) for name in wanted.issuer_names)
    return [Condition("certificate_wrong_issuer", met, expected, certificate.issuer.rfc4514_string())]


def _kind(certificate: x509.Certificate) -> list[Condition]:
    try:
        algorithm = certificate.signature_hash_algorithm
        digest = "none" if algorithm is None else algorithm.name
        strong_signature = algorithm is None or digest in _HASHES
    except _UNREADABLE:
        digest, strong_signature = "an unknown algorithm", False
    ca, key = is_ca(certificate), key_text(certificate)
    return [
        Condition("certificate_algorithm_refused", strong_signature, f"signed with {', '.join(_HASHES)} or Ed25519", digest),
        Condition("certificate_is_a_ca", not ca, "a client's certificate", "a CA's certificate" if ca else "a client's"),
        Condition("certificate_key_weak", _is_strong(certificate), _STRONG_KEYS, key),
    ]


def _is_strong(certificate: x509.Certificate) -> bool:
    try:
        key = certificate.public_key()
    except _UNREADABLE:
        return False
    match key:
        case rsa.RSAPublicKey():
            return 2048 <= key.key_size <= 8192
        case ec.EllipticCurvePublicKey():
            return key.curve.name in _CURVES
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


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
    unknown = _unknown_variable(templates, variables)
    if unknown is not None:
        return unknown
    texts = [_substituted(template, variables) for template in templates]
    has = {name.translate(_LOWER) for name in names}
    met = any(text.translate(_LOWER) in has for text in texts)
    return Condition(reason, met, " or ".join(texts), ", ".join(names) or "none")


def _alternative_name(certificate: x509.Certificate, templates: list[str], variables: Variables) -> Condition:
    unknown = _unknown_variable(templates, variables)
    if unknown is not None:
        return unknown
    texts = [_substituted(template, variables) for template in templates]
    has = {(type(name), _general_name_text(name).translate(_LOWER)) for name in _general_names(certificate)}
    met = any(_typed(text) in has for text in texts)
    shown = [f"{_KIND_NAMES[type(name)]} {_general_name_text(name)}" for name in _general_names(certificate)]
    found = ", ".join(shown) or "none"
    expected = " or ".join(f"{_KIND_NAMES[_typed(text)[0]]} {text}" for text in texts)
    return Condition("subject_alternative_name_mismatch", met, expected, found)


def _typed(wanted: str) -> tuple[type[x509.GeneralName], str]:
    """Of which type an alternative name has to be, as the server reads it."""
    try:
        return x509.IPAddress, str(ipaddress.ip_address(wanted))
    except ValueError:
        pass
    if _SCHEME.match(wanted):
        return x509.UniformResourceIdentifier, wanted.translate(_LOWER)
    return x509.RFC822Name if "@" in wanted else x509.DNSName, wanted.translate(_LOWER)


def _general_names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name for name in names if type(name) in _KIND_NAMES]


def _general_name_text(name: x509.GeneralName) -> str:
    return str(name.value)


def _unknown_variable(templates: list[str], variables: Variables) -> Condition | None:
    """One that any of them uses and the device does not know: the server compares none of them then."""
    for variable in ("serial_number", "hostname"):
        if not variables.get(variable) and any(f"${{{variable}}}" in template for template in templates):
            told = f"this device has no {variable.replace('_', ' ')}"
            return Condition(f"{variable}_unknown", met=False, expected=" or ".join(templates), found=told)
    return None


def _substituted(template: str, variables: Variables) -> str:
    return _VARIABLE.sub(lambda match: variables[match[1]] or "", template)

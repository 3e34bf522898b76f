"""A certificate revocation list (RFC 5280, 5): from DER to a verified `RevocationList`.

Reading one takes microseconds an entry: with a million of them seconds, which is why it happens in a process of its own
(`revocation_reader`). Times are not looked at: a list is dated when it is used.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from watchword_server.core.certificates.distribution_points import places
from watchword_server.core.certificates.names import canonical_name
from watchword_server.core.certificates.ocsp import reason_of
from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import (
    IssuerKey,
    IssuerRevocation,
    ListScope,
    ListSigner,
    RevocationList,
    RevocationView,
    Revoked,
    issuer_key_of,
)
from watchword_server.core.certificates.serial_index import PackedSerialIndex, pack
from watchword_server.core.certificates.strength import check_algorithm, check_key, check_signature
from watchword_server.core.model.names import Instant

MAX_LIST_LENGTH: Final = 256 * 1024 * 1024
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
        ExtensionOID.FRESHEST_CRL,
    }
)
_SIGNER_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


class RevocationListRefusedError(Exception):
    """Why a list is not believed: `reason` (docs/reasons.md), and `detail` for people.

    `too_large`, `malformed`, `next_update_missing`, `wrong_issuer`, `issuer_may_not_sign_lists`, `issuer_key_weak`, `algorithm`,
    `signature`, `extension_not_understood`, `scope_unsupported`, `number_missing`, `entry_not_understood`,
    `serial_number_too_long`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read_revocation_list(der: bytes, issuers: Sequence[ParsedCertificate]) -> RevocationList:
    """The list, verified against whichever of `issuers` signed it. Raises `RevocationListRefusedError`.

    `issuers` are trusted CA certificates, and certificates that may sign lists in their name: of the CA's name, for signing
    lists, and issued by the CA itself or by whoever issued the CA's certificate.
    """
    return read_packed(der, issuers)[0]


def read_packed(der: bytes, issuers: Sequence[ParsedCertificate]) -> tuple[RevocationList, PackedSerialIndex]:
    """As `read_revocation_list`; beside the list its index, whose bytes can be kept. Raises `RevocationListRefusedError`."""
    if len(der) > MAX_LIST_LENGTH:
        raise RevocationListRefusedError("too_large", f"{len(der)} bytes, at most {MAX_LIST_LENGTH}")
    try:
        parsed = x509.load_der_x509_crl(der)
        name, extensions = canonical_name(parsed.issuer), parsed.extensions
    except UNREADABLE as error:
        raise RevocationListRefusedError("malformed", "not a revocation list in DER or PEM, or damaged") from error
    covered, signer = _signer(parsed, [issuer for issuer in issuers if issuer.subject == name], issuers)
    # Only from here on, and so only for lists that are genuine, is anything inside believed.
    unknown = [extension.oid.dotted_string for extension in extensions if extension.critical and extension.oid not in _UNDERSTOOD]
    if unknown:  # RFC 5280, 5.2
        raise RevocationListRefusedError("extension_not_understood", f"critical and not understood: {', '.join(unknown)}")
    number, base_number = _numbers(extensions)
    if parsed.next_update_utc is None:  # RFC 5280, 5.1.2.5
        raise RevocationListRefusedError("next_update_missing", "without nextUpdate nothing tells how long the list holds")
    index = _index(parsed)
    listed = RevocationList(
        issuer=issuer_key_of(covered),
        sha256=hashlib.sha256(der).digest(),
        number=number,
        base_number=base_number,
        this_update=_instant(parsed.last_update_utc),
        next_update=_instant(parsed.next_update_utc),
        entries=index,
        scope=_scope(extensions, parsed.issuer),
        signer=signer,
    )
    return listed, index


def view_of(ders: Iterable[bytes], issuers: Sequence[ParsedCertificate]) -> RevocationView:
    """What these lists say together. Raises `RevocationListRefusedError` for the first that is not believed."""
    lists: dict[IssuerKey, tuple[RevocationList, ...]] = {}
    for der in ders:
        listed = read_revocation_list(der, issuers)
        lists[listed.issuer] = (*lists.get(listed.issuer, ()), listed)
    return RevocationView(issuers={issuer: IssuerRevocation(known) for issuer, known in lists.items()})


def _signer(
    parsed: x509.CertificateRevocationList, named: Sequence[ParsedCertificate], issuers: Sequence[ParsedCertificate]
) -> tuple[ParsedCertificate, ListSigner | None]:
    """The CA whose certificates the list covers, and who signed in its stead, if anybody did."""
    if not named:
        raise RevocationListRefusedError(
            "wrong_issuer", f"issued by `{_text(parsed.issuer)}`, which is none of the CA's certificates"
        )
    _check_algorithm(parsed)
    signers = [issuer for issuer in named if _verifies(parsed, issuer)]
    if not signers:
        raise RevocationListRefusedError("signature", f"not signed by a key of `{_text(parsed.issuer)}`")
    refused = RevocationListRefusedError("signature", "not signed by anybody who may")
    for signer in signers:
        try:
            _check_may_sign(signer)
            if _is_authority(signer):
                return signer, None
            covered, parent = _authority_of(signer, named, issuers)
            return covered, ListSigner(issuer_key_of(parent), signer.serial_number, signer.not_before, signer.not_after)
        except RevocationListRefusedError as error:
            refused = error
    raise refused


def _check_algorithm(parsed: x509.CertificateRevocationList) -> None:
    try:
        digest = parsed.signature_hash_algorithm
    except UNREADABLE as error:
        raise RevocationListRefusedError("algorithm", "signed with an unknown algorithm") from error
    if digest is not None and digest.name not in _HASHES:  # None: Ed25519 hashes by itself
        raise RevocationListRefusedError("algorithm", f"signed over {digest.name}; sign lists with {', '.join(sorted(_HASHES))}")


def _verifies(parsed: x509.CertificateRevocationList, issuer: ParsedCertificate) -> bool:
    try:
        # Also compares what is said of the algorithm inside and outside of what is signed (RFC 5280, 5.1.1.2).
        return parsed.is_signature_valid(issuer.public_key)  # type: ignore[arg-type]  # X25519 and X448 keys raise TypeError
    except (*UNREADABLE, UnsupportedAlgorithm):
        return False


def _check_may_sign(signer: ParsedCertificate) -> None:
    try:
        check_key(signer)
        usage = signer.extension(x509.KeyUsage)
    except CertificateRefusedError as error:
        raise RevocationListRefusedError("issuer_key_weak", f"signed with a key of {signer.key_text()}") from error
    if usage is not None and not usage.crl_sign:  # RFC 5280, 6.3.3 (f)
        raise RevocationListRefusedError("issuer_may_not_sign_lists", "the CA's key usage has no `CRL Sign`")
    if usage is None and not _is_authority(signer):
        raise RevocationListRefusedError("issuer_may_not_sign_lists", "neither a CA's certificate nor one for signing lists")


def _is_authority(certificate: ParsedCertificate) -> bool:
    usage, constraints = certificate.extension(x509.KeyUsage), certificate.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _authority_of(
    signer: ParsedCertificate, named: Sequence[ParsedCertificate], issuers: Sequence[ParsedCertificate]
) -> tuple[ParsedCertificate, ParsedCertificate]:
    """The CA that a certificate for signing lists stands in for, and who issued that certificate.

    A name means one CA only to whoever gives names away: so either the CA itself issued the signer, or the same key that issued
    the CA's certificate did.
    """
    if any(extension.critical and extension.oid not in _SIGNER_UNDERSTOOD for extension in signer.extensions):
        raise RevocationListRefusedError("issuer_may_not_sign_lists", "its certificate has an extension that is not understood")
    for authority in filter(_is_authority, named):
        for parent in filter(_is_authority, (authority, *issuers)):
            itself = parent.public_key == authority.public_key and parent.subject == authority.subject
            if _issued(signer, parent) and (itself or _issued(authority, parent)):
                return authority, parent
    raise RevocationListRefusedError(
        "issuer_may_not_sign_lists", "the certificate that signed it comes neither from the CA nor from the CA's own issuer"
    )


def _issued(certificate: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    try:
        check_key(issuer)
        check_algorithm(certificate)
        check_signature(certificate, issuer)
    except CertificateRefusedError:
        return False
    return True


def _numbers(extensions: x509.Extensions) -> tuple[int | None, int | None]:
    number = base_number = None
    for extension in extensions:
        match extension.value:
            case x509.CRLNumber(crl_number=value):
                number = value
            case x509.DeltaCRLIndicator(crl_number=value):
                base_number = value
            case _:
                pass
    if base_number is not None and number is None:  # RFC 5280, 5.2.4
        raise RevocationListRefusedError("number_missing", "a delta list without a number fits no complete list")
    return number, base_number


def _scope(extensions: x509.Extensions, issuer: x509.Name) -> ListScope:
    try:
        point = extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return ListScope()
    # Such lists tell about certificates of others, of another kind, or only a part: to take one for the whole would let pass.
    unsupported = {
        "indirect": point.indirect_crl,
        "of attribute certificates": point.only_contains_attribute_certs,
        "for some reasons only": point.only_some_reasons is not None,
    }
    for what, is_so in unsupported.items():
        if is_so:
            raise RevocationListRefusedError("scope_unsupported", f"the list is {what}; use a complete list of the CA itself")
    named = point.full_name is not None or point.relative_name is not None
    return ListScope(
        end_entities=not point.only_contains_ca_certs,
        authorities=not point.only_contains_user_certs,
        places=places(point.full_name, point.relative_name, issuer) if named else None,
    )


def _index(parsed: x509.CertificateRevocationList) -> PackedSerialIndex:
    try:
        return PackedSerialIndex(pack(_entries(parsed)))
    except OverflowError as error:
        raise RevocationListRefusedError("serial_number_too_long", "an entry's serial number has more than 21 bytes") from error
    except UNREADABLE as error:
        raise RevocationListRefusedError("malformed", "an entry cannot be read") from error


def _entries(parsed: x509.CertificateRevocationList) -> Iterator[tuple[int, Revoked]]:
    for entry in parsed:
        flag: x509.ReasonFlags | None = None
        for extension in entry.extensions:
            if extension.oid == CRLEntryExtensionOID.CRL_REASON and isinstance(extension.value, x509.CRLReason):
                flag = extension.value.reason
            elif extension.oid == CRLEntryExtensionOID.CERTIFICATE_ISSUER:
                raise RevocationListRefusedError("scope_unsupported", "an entry is about a certificate of another issuer")
            elif extension.critical and extension.oid != CRLEntryExtensionOID.INVALIDITY_DATE:  # RFC 5280, 5.3
                raise RevocationListRefusedError(
                    "entry_not_understood", f"critical and not understood: {extension.oid.dotted_string}"
                )
        yield entry.serial_number, Revoked(_instant(entry.revocation_date_utc), reason_of(flag))


def _text(name: x509.Name) -> str:
    try:
        text = name.rfc4514_string()
    except UNREADABLE:
        return "?"
    return "".join(character if character.isprintable() else "?" for character in text[:256])


def _instant(at: dt.datetime) -> Instant:
    return Instant(at.timestamp())

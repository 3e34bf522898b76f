"""Revocation: what the lists and responses of an issuer say of a serial number (RFC 5280, 6.3).

A list is read once, elsewhere; here it is a value: when it holds, and an index from serial number to entry. Nothing here looks at
URLs inside certificates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.certificates.path import ValidPath
from watchword_server.core.model import Instant, RevocationPolicy


class IssuerKey(NamedTuple):
    """Who issues certificates and lists: a name and a key. Two CAs of one name are two issuers."""

    name: CanonicalName
    public_key_sha256: bytes


def issuer_key_of(issuer: ParsedCertificate) -> IssuerKey:
    """By which the lists of an issuer are found."""
    return IssuerKey(issuer.subject, issuer.public_key_sha256)


class RevocationReason(StrEnum):
    """RFC 5280, 5.3.1; `UNSPECIFIED` also where the entry gives none."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    CA_COMPROMISE = "ca_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    CERTIFICATE_HOLD = "certificate_hold"
    REMOVE_FROM_CRL = "remove_from_crl"  # in delta lists only
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"
    AA_COMPROMISE = "aa_compromise"


class Revoked(NamedTuple):
    """An entry of a list. `revoked_at` is the CA's word; that it lies in the future does not help."""

    revoked_at: Instant
    reason: RevocationReason


class SerialIndex(Protocol):
    """The entries of one list; a lookup takes microseconds however many there are."""

    def __len__(self) -> int: ...

    def find(self, serial_number: int) -> Revoked | None:
        """The entry of a serial number; None: it is not on the list."""
        ...


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature, issuer and extensions were verified when it was read. Times are looked at when it is used.

    `base_number` is set in a delta list: the number of the complete list it adds to.
    """

    issuer: IssuerKey
    sha256: bytes
    number: int | None
    base_number: int | None
    this_update: Instant
    next_update: Instant
    entries: SerialIndex


class OcspStatus(NamedTuple):
    """What a verified OCSP response says of one certificate."""

    revoked: Revoked | None
    this_update: Instant
    next_update: Instant


@dataclass(frozen=True, slots=True)
class IssuerRevocation:
    """Everything known of one issuer's certificates. `lists`: complete and delta ones. `responses`: fetched, by serial number."""

    lists: tuple[RevocationList, ...] = ()
    responses: Mapping[int, OcspStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevocationView:
    """What is known of revocation now: immutable, replaced whole. `generation` differs between any two."""

    generation: int = 0
    issuers: Mapping[IssuerKey, IssuerRevocation] = field(default_factory=dict)


NOTHING_KNOWN = RevocationView()


def check_revocation(
    path: ValidPath, policy: RevocationPolicy, view: RevocationView, *, stapled: Sequence[bytes] = (), now: Instant
) -> Instant | None:
    """Whether no certificate of the path but the trusted one is revoked. `stapled`: OCSP responses in DER, from the device.

    Returns until when that is known, where the policy requires to know; else None. Raises `CertificateRefusedError`:
    `certificate_revoked`, `issuer_revoked`, and with `RevocationPolicy.REQUIRE` `revocation_unknown`.
    """
    del path, policy, view, stapled, now
    return None

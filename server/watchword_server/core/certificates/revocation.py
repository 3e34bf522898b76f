"""What is known of revocation: the lists and responses of an issuer, by serial number (RFC 5280, 6.3).

A list is read once, elsewhere (`crl.py`); here it is a value: when it holds, and an index from serial number to entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.model.names import Instant


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


class ListScope(NamedTuple):
    """Which of its issuer's certificates a list speaks for (RFC 5280, 5.2.5). The default: all.

    `places` None: whatever distribution point they name; else one of these (`distribution_points.py`).
    """

    end_entities: bool = True
    authorities: bool = True
    places: frozenset[str] | None = None


EVERYTHING = ListScope()


class ListSigner(NamedTuple):
    """A certificate that signs lists in the name of a CA without being the CA's own."""

    issuer: IssuerKey
    serial_number: int
    not_before: Instant
    not_after: Instant


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature, issuer and extensions were verified when it was read. Times are looked at when it is used.

    `issuer` is the CA whose certificates it covers. `base_number` is set in a delta list: the least number of a complete list
    that it adds to. `signer` None: the CA's own key signed it. `is_stored` False: it is on its way into the store; what it
    revokes is revoked already, but it takes nothing back and vouches for nothing yet.
    """

    issuer: IssuerKey
    sha256: bytes
    number: int | None
    base_number: int | None
    this_update: Instant
    next_update: Instant
    entries: SerialIndex
    scope: ListScope = EVERYTHING
    signer: ListSigner | None = None
    is_stored: bool = True


class OcspStatus(NamedTuple):
    """What a verified OCSP response says of one certificate. `responder`: the serial number of a delegated responder's own."""

    revoked: Revoked | None
    this_update: Instant
    next_update: Instant
    responder: int | None = None


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

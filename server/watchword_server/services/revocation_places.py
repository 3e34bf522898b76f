"""Where revocation lists are kept by place, and which list may follow which."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from watchword_server.core.certificates.revocation import IssuerKey, ListScope, RevocationList
from watchword_server.core.model.checks import SigningCertificate
from watchword_server.core.model.names import CertificateId
from watchword_server.core.times import rfc3339
from watchword_server.errors import ConflictError
from watchword_server.ports.revocation import ListSource, StoredRevocationList


class Slot(NamedTuple):
    """Where there is one list at most: a place of an uploaded CA."""

    certificate_id: CertificateId
    source: ListSource
    place: str


@dataclass(frozen=True, slots=True)
class KeptList:
    """A list in force, and how it is stored."""

    stored: StoredRevocationList
    revocation_list: RevocationList

    @property
    def kind(self) -> str:
        """What lists of one issuer replace each other."""
        return _kind(self.revocation_list)


def slot_of(stored: StoredRevocationList) -> Slot:
    """Its place."""
    return Slot(stored.certificate_id, stored.source, stored.place)


def signers_of(signing: SigningCertificate) -> tuple[bytes, ...]:
    """The certificates of an entry, any of which may have signed a list."""
    return (signing.der, *signing.intermediates, *signing.list_signers)


def is_wanted(slot: Slot, signing: SigningCertificate | None) -> bool:
    """Whether the entry of a CA, if there is one, still names the place."""
    if signing is None:
        return False
    match slot.source:
        case ListSource.URL:
            return any(place.url == slot.place for place in signing.list_places)
        case ListSource.PATH:
            return any(place.path == slot.place for place in signing.list_places)
        case ListSource.UPLOAD:
            return True


def place_of_upload(revocation_list: RevocationList) -> str:
    """Where uploaded lists replace each other: an issuer's key, the kind of list, and which certificates it is about."""
    issuer, scope = revocation_list.issuer.public_key_sha256.hex(), revocation_list.scope
    if scope == ListScope():
        return f"{issuer} {_kind(revocation_list)}"
    told = repr((scope.end_entities, scope.authorities, sorted(scope.places) if scope.places is not None else None))
    return f"{issuer} {_kind(revocation_list)} {hashlib.sha256(told.encode()).hexdigest()}"


def refuse_displacing(new: RevocationList, before: KeptList | None) -> None:
    """A place goes on telling what it told: else whoever answers there could make a list go by showing another good one.

    Raises `ConflictError`.
    """
    if before is not None and _what(before.revocation_list) != _what(new):
        raise ConflictError(
            "the list is of another issuer, or for other certificates, than the one in force from there: "
            "name its place besides, or take this one out of the rules and put it back"
        )


def refuse_older(new: RevocationList, rivals: Iterable[KeptList]) -> None:
    """An old list is as well signed as the newest, and does not know of the latest revocations. Raises `ConflictError`."""
    for kept in rivals:
        known = kept.revocation_list
        if _what(known) != _what(new):
            continue
        if known.number is not None and new.number is not None and new.number < known.number:
            raise ConflictError(f"the list has number {new.number}, and {known.number} is in force: bring the newest")
        if new.this_update < known.this_update:
            ours, theirs = rfc3339(known.this_update), rfc3339(new.this_update)
            raise ConflictError(f"the list is of {theirs}, and one of {ours} is in force: bring the newest")


def only(found: Sequence[KeptList]) -> KeptList | None:
    """The one there is; None: there is none, or there are several."""
    return found[0] if len(found) == 1 else None


def _kind(revocation_list: RevocationList) -> str:
    return "complete" if revocation_list.base_number is None else "delta"


def _what(revocation_list: RevocationList) -> tuple[IssuerKey, str, ListScope]:
    """Lists that tell the same of other times: of these, the newest counts."""
    return revocation_list.issuer, _kind(revocation_list), revocation_list.scope

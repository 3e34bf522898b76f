"""Revocation lists and statuses: kept, and read from elsewhere."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from watchword_server.core.certificates.revocation import IssuerKey, OcspStatus, RevocationList
from watchword_server.core.model.names import CertificateId, Fingerprint, Instant


class ListSource(StrEnum):
    """How a revocation list came here."""

    URL = "url"
    PATH = "path"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class StoredRevocationList:
    """A revocation list as it is kept, without its bytes. Of one uploaded CA there is at most one a source and place.

    `place` is the URL or path it was read from; for an upload, the issuer's key in hexadecimal and `complete` or `delta`.
    """

    certificate_id: CertificateId
    source: ListSource
    place: str
    sha256: bytes  # over the DER bytes
    length: int
    received_at: Instant


@dataclass(frozen=True, slots=True)
class StoredOcspRevocation:
    """What a responder said of a certificate; it is kept if that is revoked.

    `certificate_id`: the uploaded CA whose entry names the responder. `not_after`: when the certificate ends.
    """

    certificate_id: CertificateId
    issuer: IssuerKey
    serial_number: int
    status: OcspStatus
    not_after: Instant


class RevocationStore(Protocol):
    """Revocation lists, as large as they may be: their bytes travel in pieces of at most 1 MiB."""

    async def revocation_lists(self) -> Sequence[StoredRevocationList]:
        """All of them."""
        ...

    async def read_revocation_list(self, stored: StoredRevocationList, take: Callable[[bytes], None]) -> None:
        """Hands the bytes to `take`, piece by piece. Raises `NotFoundError`."""
        ...

    async def commit_revocation_list(self, stored: StoredRevocationList, pieces: Iterable[bytes]) -> int:
        """Keeps a list in place of the one with the same CA, source and place; returns the revision."""
        ...

    async def remove_revocation_lists(self, lists: Sequence[StoredRevocationList], *, now: Instant) -> int:
        """Forgets lists; returns the revision."""
        ...

    async def ocsp_revocations(self) -> Sequence[StoredOcspRevocation]:
        """All of them."""
        ...

    async def commit_ocsp_revocation(self, stored: StoredOcspRevocation, *, now: Instant) -> int:
        """Keeps a revocation in place of the one with the same CA, issuer and serial number; returns the revision."""
        ...

    async def remove_ocsp_revocations(self, issuer: IssuerKey, serial_number: int, *, before: Instant, now: Instant) -> int:
        """Forgets what was said of a certificate `before`, for whichever CA; returns the revision."""
        ...

    async def retire_ocsp_revocations(self, certificate_ids: Collection[CertificateId], *, now: Instant) -> int:
        """Forgets those for other CAs than these, and those of certificates that have ended; returns the revision."""
        ...


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A revocation list to fetch and read. `place`: an http or https URL, or a path; of an upload, the file that holds it.

    `issuers`: the certificates in DER of the CAs whose lists are wanted, and whatever certificates may sign lists for them.
    `previous` is the SHA-256 of the list read before from the same place: the answer names what changed against it.
    """

    source: ListSource
    place: str
    issuers: tuple[bytes, ...]
    max_bytes: int = 256 * 1024 * 1024
    timeout_seconds: float = 300
    etag: str | None = None
    last_modified: str | None = None
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadList:
    """A list that was read and verified. `content` is the file of its DER bytes until it is let go."""

    revocation_list: RevocationList
    content: Path
    length: int
    issuer_certificate: Fingerprint  # of the CA among `ReadRequest.issuers` whose certificates the list covers
    etag: str | None = None
    last_modified: str | None = None
    # Serial numbers; None where they are too many to name (2000), or there was no previous list.
    newly_revoked: frozenset[int] | None = None
    no_longer_revoked: frozenset[int] | None = None


class RevocationReading(Protocol):
    """Fetches, verifies and indexes revocation lists outside of the process that decides."""

    async def read(self, request: ReadRequest) -> ReadList | None:
        """The list at its place; None: not modified since. Raises `RevocationReadError`."""
        ...

    async def keep_only(self, sha256s: Collection[bytes]) -> None:
        """Lets the files of all other lists go. An index that is in use stays readable."""
        ...


class OcspAsking(Protocol):
    """Asks the responders that operators name."""

    async def ask(self, url: str, request: bytes) -> bytes:
        """The answer to a request, both in DER; it is not looked into. Raises `RevocationReadError`."""
        ...

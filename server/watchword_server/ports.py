"""What the services need from the outside, in the core's words. Adapters implement these; tests fake them.

Every store method raises `StoreUnavailableError` when the store does not answer or take it: then nothing was changed.
Whatever a method returned for is durable.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from watchword_server.core.audit import Act, Link
from watchword_server.core.certificates.revocation import IssuerKey, OcspStatus, RevocationList
from watchword_server.core.enrollment import EnrollmentToken, ProvenEnrollment
from watchword_server.core.model import (
    CertificateBinding,
    CertificateId,
    CheckId,
    Device,
    DeviceId,
    DeviceKey,
    DevicePosture,
    DeviceState,
    Fingerprint,
    Instant,
    JudgedClaim,
    KeyFingerprint,
    Lock,
    PostureResult,
    SeenBoot,
)
from watchword_server.core.revisions import EntryChange, Revision, State


class Clock(Protocol):
    """Time that never goes backwards, not even over a restart."""

    def now(self) -> Instant:
        """The current instant; never less than any returned before."""
        ...


class Randomness(Protocol):
    """Where nonces and ids come from."""

    def __call__(self, length: int, /) -> bytes:
        """`length` unpredictable bytes."""
        ...


# ---- Devices and their results ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EvidenceCommit:
    """One device's judged evidence, to be stored whole or not at all.

    `epoch` is the session's. With `claims_epoch` (the first evidence of a session) the stored epoch has to be `epoch - 1` and
    becomes `epoch`; else it has to be `epoch`. `boots` and `key_cloned_at` are the device's from now on.
    `promotes_key` is the id of the pending key that signed: it becomes the device's. `leaves`: the device said goodbye, and
    `judged` is all that is left of it.
    """

    device_id: DeviceId
    epoch: int
    claims_epoch: bool
    seen_at: Instant
    hostname: str | None
    judged: tuple[JudgedClaim, ...]
    boots: tuple[SeenBoot, ...] = ()
    key_cloned_at: Instant | None = None
    promotes_key: str | None = None
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class KeyRotationCommit:
    """A key that is to be the device's next; `epoch` is that of the session that proposes it, which has claimed it."""

    device_id: DeviceId
    epoch: int
    seen_at: Instant
    new_key: DeviceKey
    pending_until: Instant


@dataclass(frozen=True, slots=True)
class Rejudgement:
    """A stored claim judged again. Takes effect only if the stored claim is still the one received at `claim_received_at`."""

    device_id: DeviceId
    judged: JudgedClaim
    is_another_verdict: bool = True  # than the one the device was told; else it holds for another time, or for other reasons

    @property
    def claim_received_at(self) -> Instant:
        """When the claim arrived that was judged again."""
        return self.judged.context.received_at


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """A claim as the store keeps it, with the device it belongs to."""

    device: Device
    judged: JudgedClaim


class DeviceStore(Protocol):
    """Devices, their newest judged claims, and which certificate belongs to which device."""

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """A device of any state with its newest results, consistent as of `revision`; None: no such device."""
        ...

    async def bindings(self, key: KeyFingerprint) -> tuple[Sequence[CertificateBinding], int]:
        """The certificates of this key that any device ever proved in a passing check, and the revision of the answer.

        One entry a device and certificate.
        """
        ...

    async def commit_evidence(self, commit: EvidenceCommit) -> int:
        """Stores judged evidence and returns the revision.

        A binding follows each claim: a proven certificate is bound until its result expires; one that the newest claim of the
        same device and check no longer proves ends at `seen_at`.

        Raises `SupersededError` if the epoch is not this session's any more, `DeviceNotActiveError` if the device is not active,
        `EnvelopeInvalidError` if the key to promote is not pending any more.
        """
        ...

    async def commit_key_rotation(self, commit: KeyRotationCommit) -> int:
        """Keeps the new key as the device's pending one, in place of another; returns the revision.

        Raises `NewKeyRefusedError` if it is any device's key or awaits another device's first evidence, `SupersededError`.
        """
        ...

    async def commit_rejudged(self, rejudged: Sequence[Rejudgement]) -> int:
        """Stores claims judged again, each if its claim is still the newest and its device active; returns the revision."""
        ...

    async def claims(
        self,
        *,
        check_ids: frozenset[CheckId] | None = None,
        key: KeyFingerprint | None = None,
        device_id: DeviceId | None = None,
        serial_numbers: frozenset[int] | None = None,
    ) -> Sequence[StoredClaim]:
        """Stored claims of active devices: for any of the checks, that prove the key, of one device, or with a serial number.

        The serial numbers are of certificates that results are about, whoever issued them.
        """
        ...

    async def enroll(self, enrollment: ProvenEnrollment, *, now: Instant) -> Device:
        """Runs `plan_enrollment` and what it says in one transaction: the token is used exactly when it leads to something.

        Raises `EnrollmentRefusedError`.
        """
        ...

    async def set_device_state(self, device_id: DeviceId, state: DeviceState, *, now: Instant) -> int:
        """Approves or revokes; returns the revision. Approving a device revokes another one with the same serial number.

        Revoked is final. Raises `NotFoundError`, `ConflictError`.
        """
        ...

    async def set_device_lock(self, device_id: DeviceId, reason: str | None, *, now: Instant) -> int:
        """Locks a device, or unlocks it (None); returns the revision.

        Raises `NotFoundError`; `ConflictError` if it is revoked, or not locked when it is to be unlocked.
        """
        ...

    async def set_device_owner(self, device_id: DeviceId, owner: str | None, *, now: Instant) -> int:
        """Says whose a device is (None: nobody's); returns the revision. Raises `NotFoundError`, `ConflictError` (revoked)."""
        ...

    async def clear_key_clone(self, device_id: DeviceId, *, now: Instant) -> int:
        """Forgets that two machines were seen with the device's key, and its boots; ends its session; returns the revision.

        Raises `NotFoundError`; `ConflictError` if nothing of the kind is known of it.
        """
        ...

    async def devices(self) -> Sequence[DevicePosture]:
        """All devices with their results, by time of enrollment."""
        ...

    async def devices_page(self, *, after: DeviceId | None, limit: int, without_revoked: bool = False) -> Sequence[DevicePosture]:
        """The next devices with their results, by time of enrollment. Raises `NotFoundError` if there is no device `after`."""
        ...


# ---- The posture log ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PostureQuery:
    """Which entries of the posture log, the newest first. `since` and `until`: they held at some time between."""

    limit: int
    before: int | None = None
    device_id: str | None = None
    check_id: str | None = None
    passed: bool | None = None
    reason: str | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class PostureEntry:
    """What a check on a device came to, for as long as it stayed the same. `result` is the newest that said so.

    `ended_at`: when another result took its place or the device left; None: it is the newest.
    """

    number: int
    device_id: DeviceId
    hostname: str | None  # the newest that the device signed
    result: PostureResult
    since: Instant
    evaluations: int
    ended_at: Instant | None


class PostureLogStore(Protocol):
    """What checks came to, in the past as well. The store's methods that keep results write it, in their transactions."""

    async def posture_entries(self, query: PostureQuery) -> Sequence[PostureEntry]:
        """Entries of the posture log."""
        ...

    async def trim_posture_log(self, *, rows: int, older_than: Instant) -> None:
        """Removes entries that ended or were last confirmed before `older_than`, and the oldest above `rows`."""
        ...


# ---- Rules --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of the rules as it was configured. `kind` is the section of the rule file; `body` is JSON with references as ids.

    `revision` is the store revision at which the body last changed.
    """

    kind: str
    id: str
    name: str
    body: Mapping[str, object]
    revision: int
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class RulesChange:
    """Entries to write and to remove, in one transaction; `upserts` carry no meaningful revision or times yet."""

    upserts: tuple[StoredObject, ...]
    deletes: tuple[tuple[str, str], ...]  # (kind, id)
    rolls_back_to: int | None = None  # the revision whose rules it brings back


class RuleStore(Protocol):
    """The operators' entries."""

    async def load_rules(self) -> tuple[Sequence[StoredObject], int]:
        """All entries, and the rules revision."""
        ...

    async def rules_revision(self) -> int:
        """The rules revision alone."""
        ...

    async def commit_rules(self, change: RulesChange, *, expected_revision: int, now: Instant) -> int:
        """Writes a change if the rules revision is still `expected_revision`; returns the new rules revision (a store revision).

        Every entry whose name or body changed gets the new revision as its own; without a change the revision stays. Raises
        `ConflictError` if somebody else was first.
        """
        ...

    async def revisions(self, *, before: int | None, limit: int) -> Sequence[Revision]:
        """Changes of the rules that are kept, the newest first; with `before`, those of lower numbers."""
        ...

    async def revision(self, number: int) -> tuple[Revision, Sequence[EntryChange]]:
        """A change of the rules with what it did, without secrets. Raises `NotFoundError`."""
        ...

    async def states_at(self, number: int) -> Mapping[tuple[str, str], State | None]:
        """What each entry that was changed since a revision was then, by kind and id; None: it was not there.

        Raises `NotFoundError` for a revision that is not kept.
        """
        ...


# ---- Revocation ------------------------------------------------------------------------------------------------------------


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


# ---- Tokens -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An operator's token for the API. `role` is read, write or admin; `expires_at` None: never."""

    id: str
    secret_sha256: bytes
    name: str
    role: str
    created_at: Instant
    expires_at: Instant | None
    revoked: bool = False
    last_used_at: Instant | None = None  # to the minute; None: never


class TokenStore(Protocol):
    """Enrollment tokens and API tokens; secrets only as SHA-256."""

    async def add_enrollment_token(self, token: EnrollmentToken) -> None:
        """Stores a new token. Raises `NotFoundError` if it is bound to a device that does not exist."""
        ...

    async def enrollment_tokens(self) -> Sequence[EnrollmentToken]:
        """All of them, newest first."""
        ...

    async def add_api_token(self, token: ApiToken) -> None:
        """Stores a new token."""
        ...

    async def api_token(self, token_id: str) -> ApiToken | None:
        """The token with this id."""
        ...

    async def api_tokens(self) -> Sequence[ApiToken]:
        """All of them, newest first."""
        ...

    async def revoke_token(self, token_id: str, *, now: Instant) -> None:
        """Ends an enrollment or API token. Raises `NotFoundError`."""
        ...

    async def save_token_uses(self, used: Mapping[str, Instant]) -> None:
        """Keeps when API tokens were last used, by their ids."""
        ...


class TokenKey(Protocol):
    """A key of ours that signs tokens. `algorithm`: ES256 or EdDSA; `created_at`: from when it is published."""

    @property
    def id(self) -> str: ...  # noqa: D102 - fields
    @property
    def algorithm(self) -> str: ...  # noqa: D102
    @property
    def created_at(self) -> Instant: ...  # noqa: D102


class TokenSigning(Protocol):
    """Signs tokens of ours and knows them again."""

    def sign(self, claims: Mapping[str, object], *, kind: str, now: Instant) -> str:
        """A token of these claims; `kind` is its `typ`."""
        ...

    def verified(self, token: str, *, kind: str, audience: str, issuer: str, now: Instant) -> Mapping[str, Any]:
        """What a token of ours says, if all of it holds. Raises `TokenRefusedError`."""
        ...


class TokenProofs(Protocol):
    """Proofs of a key that a client has (RFC 9449)."""

    def verified(self, proof: str) -> tuple[str, Mapping[str, Any]]:
        """The key's thumbprint (RFC 7638), and what the key signed. Raises `TokenRefusedError`."""
        ...


class TokenKeys(Protocol):
    """The keys that our own tokens are signed with (RFC 7517)."""

    def standing(self, now: Instant) -> Sequence[tuple[TokenKey, str]]:
        """Each published key, the oldest first: `next`, `signing` or `retiring`."""
        ...

    def next_key(self, now: Instant) -> Any:  # noqa: ANN401 - only `rotate_to` looks into it
        """A key to rotate to. Raises `ConflictError`: not now, or not here."""
        ...

    def rotate_to(self, key: Any, now: Instant) -> None:  # noqa: ANN401 - as above
        """Publishes it; it signs after a while. Raises `StoreUnavailableError`."""
        ...


class IssuedTokens(Protocol):
    """Tokens (RFC 7519) that somebody else issues and signs."""

    async def claims(self, token: str, *, now: Instant) -> Mapping[str, object]:
        """What a token says, if all of it holds at `now`. Raises `TokenRefusedError`, `KeysUnavailableError`."""
        ...


# ---- The audit log --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records. `actor` and `target`: an id or a kind; `action`: one, or the word before the point of several.

    Behind `after` (a number) the oldest first; else the newest first, below `before`.
    """

    limit: int
    after: int | None = None
    before: int | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: Instant | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What of the past is kept: at least so many, and all that is not older; of revisions, so many bytes at most."""

    audit_records: int
    audit_seconds: float
    revisions: int
    revision_seconds: float
    revision_bytes: int


class AuditStore(Protocol):
    """Who changed what. A change is recorded by the store's method that makes it, in its transaction."""

    async def audit_records(self, query: AuditQuery) -> Sequence[Mapping[str, object]]:
        """Records with their hashes, as `core.audit` has them."""
        ...

    async def audit_head(self) -> Link:
        """The place of the last record."""
        ...

    async def record(self, acts: Sequence[Act]) -> None:
        """Writes records of what changed nothing in the store."""
        ...

    async def trim_history(self, retention: Retention, *, now: Instant) -> None:
        """Removes what is not to be kept, and records through where."""
        ...


# ---- Memory ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Failed results or a lock of one device that already hold, while their commit is on its way."""

    serial: int
    device_id: DeviceId
    results: Mapping[CheckId, PostureResult]
    covers: frozenset[CheckId]  # the checks its commit is about, failed or not
    state: DeviceState | None = None
    lock: Lock | None = None


class PostureMemory(Protocol):
    """What is known without asking the store; `posture` and `bindings` ask it once where memory has nothing."""

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """The device with its results as they hold now; None: unknown."""
        ...

    async def bindings(self, key: KeyFingerprint) -> Sequence[CertificateBinding]:
        """The certificates of this key, with the devices that proved them. Their state is `posture`'s to tell."""
        ...

    def narrow(
        self,
        device_id: DeviceId,
        results: Iterable[PostureResult] = (),
        *,
        state: DeviceState | None = None,
        lock: Lock | None = None,
    ) -> Narrowing:
        """Lets what narrows (failed results, a state, a lock) hold before its commit. Ended by `settle`; never by time."""
        ...

    def settle(self, narrowing: Narrowing, *, revision: int | None = None) -> None:
        """The narrowing's commit is done, or came to nothing (`revision` None): the store's answer holds again."""
        ...

    def hold(self, narrowing: Narrowing) -> None:
        """The narrowing's commit failed: it holds until a later commit about the same checks is done."""
        ...

    def release_lock(self, device_id: DeviceId) -> bool:
        """Ends a lock that is held; False: none was."""
        ...

    def committed(self, device: Device, results: Iterable[PostureResult], *, revision: int) -> None:
        """A commit changed the device and these of its results."""
        ...

    def forget_device(self, device_id: DeviceId, *, revision: int) -> None:
        """The store holds something newer, as of `revision`."""
        ...

    def forget_key(self, key: KeyFingerprint, *, revision: int) -> None:
        """The bindings of its certificates changed, as of `revision`."""
        ...

    def forget_all(self, *, revision: int) -> None:
        """The store holds something newer, as of `revision`, and it is simpler to read everything again."""
        ...


# ---- Decisions of the past -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """Which decisions, the newest first; `before` is a decision's id. Times are texts as the decision log has them.

    `rule`: the id or name of one that decided.
    """

    limit: int
    before: str | None = None
    decision: str | None = None
    reason: str | None = None
    caller: str | None = None
    device_id: str | None = None
    user_email: str | None = None
    host: str | None = None
    rule: str | None = None
    since_text: str | None = None
    until_text: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Records of the decision log; `next` is the `before` of the next page, if there is more to look through."""

    records: Sequence[Mapping[str, object]]
    next: str | None


# ---- What is told outside -------------------------------------------------------------------------------------------------


class EventLog(Protocol):
    """A bounded log of JSON objects, one a line: the decision log and the posture log."""

    def write(self, event: Mapping[str, object] | Callable[[], Mapping[str, object]]) -> None:
        """Takes the event, or what will make it elsewhere, without waiting; counts what it had to drop."""
        ...

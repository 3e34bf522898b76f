"""The tables. What runs in the field comes from `migrations/`; a test proves both the same.

Instants are seconds since the Unix epoch. JSON columns hold what `codec.py` writes.
"""

from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class ChangeKind(StrEnum):
    """What a row of the change log is about; the comment says what its key is."""

    DEVICE = "device"  # device id: the device or its results
    CERTIFICATE = "certificate"  # SHA-256 of a public key in hex: which devices proved which certificate of it, and until when
    RULES = "rules"  # empty: the rules are read whole
    ENROLLMENT_TOKEN = "enrollment_token"  # noqa: S105 - a name, not a secret; token id
    REVOCATION = "revocation"  # certificate id: which revocation lists and answers are kept for it
    API_TOKEN = "api_token"  # noqa: S105 - as above; token id


# One row: what is true of the store as a whole.
meta: Final = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("store_id", Text, nullable=False),  # UUID; another one means another history
    Column("account_id", Text, nullable=False),  # 32 hexadecimal digits
    Column("revision", BigInteger, nullable=False),
    Column("rules_revision", BigInteger, nullable=False),  # the revision of the last change of the rules
    Column("clock_floor", Double, nullable=False),  # the latest instant known here
    CheckConstraint("id = 1", name="single_row"),
)

changes: Final = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Double, nullable=False),
)

devices: Final = Table(
    "devices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("public_key_der", LargeBinary, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("key_protection", Text),  # as the agent claims; NULL: not told
    Column("platform", Text, nullable=False),
    Column("hostname", Text),
    Column("serial_number", Text),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("enrolled_at", Double, nullable=False),
    Column("last_seen_at", Double),
    Column("enrolled_by", Text, nullable=False),  # the token that brought the present key; no foreign key: tokens name devices
    Column("boots", Text),  # JSON: which boots of which machine attested, newest last
    Column("key_cloned_at", Double),  # when two machines were seen with the device's key; NULL: never
    Column("pending_key_id", Text),  # a key that waits for its first evidence; with the next three, or NULL as they are
    Column("pending_public_key_der", LargeBinary),
    Column("pending_algorithm", Text),
    Column("pending_key_protection", Text),  # NULL here as well: not told
    Column("pending_until", Double),
    Column("locked_at", Double),  # with the next, or NULL as it is
    Column("lock_reason", Text),
    Column("owner", Text),  # an email address, case-folded
    UniqueConstraint("key_id"),
    Index("ix_devices_serial_number", "serial_number"),
    Index("uq_devices_pending_key_id", "pending_key_id", unique=True),
    Index(
        "uq_devices_active_serial_number",
        "serial_number",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

enrollment_tokens: Final = Table(
    "enrollment_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("needs_approval", Boolean, nullable=False),
    Column("serial_number", Text),
    Column("platform", Text),
    Column("device_id", Text, ForeignKey("devices.id")),
    Column("owner", Text),  # of the devices that it enrolls
    CheckConstraint("uses <= max_uses", name="uses"),
)

api_tokens: Final = Table(
    "api_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked", Boolean, nullable=False),
    Column("last_used_at", Double),  # to the minute; NULL: never, as far as is known
)

# The newest judged claim of each device and check. The large column is the last: who wants the result does not read past it.
results: Final = Table(
    "results",
    metadata,
    Column("device_id", Text, ForeignKey("devices.id"), primary_key=True),
    Column("check_id", Text, primary_key=True),
    Column("received_at", Double, nullable=False),  # of the claim; a rejudgement holds only for this one
    Column("proven_certificate", LargeBinary),
    Column("proven_key", LargeBinary),  # SHA-256 of its SubjectPublicKeyInfo
    Column("certificate_serial", LargeBinary),  # of the certificate the result is about, as 20 bytes or more, big-endian
    Column("result", Text, nullable=False),  # JSON
    Column("context", Text, nullable=False),  # JSON
    Column("claim", Text, nullable=False),  # JSON
    Index("ix_results_check_id", "check_id"),
    Index("ix_results_proven_certificate", "proven_certificate"),
    Index("ix_results_proven_key", "proven_key"),
    Index("ix_results_certificate_serial", "certificate_serial"),
)

# What the checks of each device came to, and from when until when. Results that say the same, one after the other, are one row.
posture_log: Final = Table(
    "posture_log",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),  # in the order of arrival
    Column("device_id", Text, nullable=False),  # no foreign key, nor is the next: the log outlives both
    Column("check_id", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of what makes two results say the same
    Column("since", Double, nullable=False),  # when it was first judged so
    Column("last_at", Double, nullable=False),  # and last
    Column("evaluations", BigInteger, nullable=False),
    Column("evidence_at", Double, nullable=False),  # of the last, as `expires_at` is
    Column("expires_at", Double),
    Column("ended_at", Double),  # when another took its place, or the device left; NULL: it is the newest
    Column("body", Text, nullable=False),  # JSON: the rest of the first result
    Index("ix_posture_log_device_id_check_id", "device_id", "check_id"),
    Index("ix_posture_log_last_at", "last_at"),
    Index(
        "uq_posture_log_newest",
        "device_id",
        "check_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# Which device ever proved which certificate. Rows stay when the proof ends.
certificate_bindings: Final = Table(
    "certificate_bindings",
    metadata,
    Column("fingerprint", LargeBinary, primary_key=True),
    Column("device_id", Text, ForeignKey("devices.id"), primary_key=True),
    Column("check_id", Text, primary_key=True),
    Column("proven_until", Double),  # NULL: never ends by itself
    Column("key_sha256", LargeBinary),  # of the certificate's SubjectPublicKeyInfo; NULL in rows older than this column
    Index("ix_certificate_bindings_key_sha256", "key_sha256"),
    Index("ix_certificate_bindings_device_id_check_id", "device_id", "check_id"),
)

objects: Final = Table(
    "objects",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("revision", BigInteger, nullable=False),  # of the last change of name or body
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("kind", "name"),
)

# Revocation lists as they came, in pieces of at most 1 MiB, so that nothing has to hold a whole one at once.
revocation_lists: Final = Table(
    "revocation_lists",
    metadata,
    Column("certificate_id", Text, primary_key=True),  # the uploaded CA's
    Column("source", Text, primary_key=True),  # url, path, upload
    Column("place", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("received_at", Double, nullable=False),
)

revocation_list_pieces: Final = Table(
    "revocation_list_pieces",
    metadata,
    Column("certificate_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("place", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Certificates that a responder called revoked. Serial numbers are in hexadecimal: they are longer than an integer can be.
ocsp_revocations: Final = Table(
    "ocsp_revocations",
    metadata,
    Column("certificate_id", Text, primary_key=True),  # the uploaded CA's whose entry names the responder
    Column("issuer_name", LargeBinary, primary_key=True),  # as names are compared
    Column("issuer_key_sha256", LargeBinary, primary_key=True),
    Column("serial_number", Text, primary_key=True),
    Column("revoked_at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("this_update", Double, nullable=False),
    Column("next_update", Double, nullable=False),
    Column("responder", Text),  # the serial number of a delegated responder's certificate
    Column("not_after", Double, nullable=False),  # of the certificate
)

# The audit log. `record` is the canonical text that `hash` was made of; the columns beside it repeat what is looked for.
audit: Final = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text),
    Column("action", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text),
    Column("record", Text, nullable=False),  # JSON
    Column("hash", Text, nullable=False),  # SHA-256 in hexadecimal
    Index("ix_audit_actor_id", "actor_id"),
    Index("ix_audit_target_id", "target_id"),
)

# Changes of the rules, and what each did to which entry.
revisions: Final = Table(
    "revisions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # the rules revision that it made
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),  # JSON
    Column("rolls_back_to", BigInteger),
    Column("entries", Integer, nullable=False),
    Column("length", BigInteger, nullable=False),  # bytes of what it did
    Column("difference_sha256", Text, nullable=False),
    Column("audit_number", BigInteger, nullable=False),
)

revision_entries: Final = Table(
    "revision_entries",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("line", Text, nullable=False),  # JSON: the entry before and after, without secrets
)

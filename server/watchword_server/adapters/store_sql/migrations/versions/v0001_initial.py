"""The first tables, and the identity of a new store."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From nothing."""
    meta = op.create_table(
        "meta",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("rules_revision", sa.BigInteger, nullable=False),
        sa.Column("clock_floor", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_meta"),
        sa.CheckConstraint("id = 1", name="ck_meta_single_row"),
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("revision", "kind", "key", name="pk_changes"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("public_key_der", sa.LargeBinary, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("hostname", sa.Text),
        sa.Column("serial_number", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("enrolled_at", sa.Double, nullable=False),
        sa.Column("last_seen_at", sa.Double),
        sa.Column("enrolled_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("key_id", name="uq_devices_key_id"),
    )
    op.create_index("ix_devices_serial_number", "devices", ["serial_number"])
    op.create_index(
        "uq_devices_active_serial_number",
        "devices",
        ["serial_number"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "enrollment_tokens",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.Column("needs_approval", sa.Boolean, nullable=False),
        sa.Column("serial_number", sa.Text),
        sa.Column("platform", sa.Text),
        sa.Column("device_id", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_enrollment_tokens"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_enrollment_tokens_device_id"),
        sa.CheckConstraint("uses <= max_uses", name="ck_enrollment_tokens_uses"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
    )
    op.create_table(
        "results",
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("check_id", sa.Text, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("proven_certificate", sa.LargeBinary),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("claim", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("device_id", "check_id", name="pk_results"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_results_device_id"),
    )
    op.create_index("ix_results_check_id", "results", ["check_id"])
    op.create_index("ix_results_proven_certificate", "results", ["proven_certificate"])
    op.create_table(
        "certificate_bindings",
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("check_id", sa.Text, nullable=False),
        sa.Column("proven_until", sa.Double),
        sa.PrimaryKeyConstraint("fingerprint", "device_id", "check_id", name="pk_certificate_bindings"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_certificate_bindings_device_id"),
    )
    op.create_index("ix_certificate_bindings_device_id_check_id", "certificate_bindings", ["device_id", "check_id"])
    op.create_table(
        "objects",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_objects"),
        sa.UniqueConstraint("kind", "name", name="uq_objects_kind_name"),
    )
    identity = {"id": 1, "store_id": str(uuid.uuid4()), "account_id": uuid.uuid4().hex}
    op.bulk_insert(meta, [{**identity, "revision": 0, "rules_revision": 0, "clock_floor": 0.0}])

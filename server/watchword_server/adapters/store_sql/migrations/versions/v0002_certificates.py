"""Keys beside certificates, boots, keys to come, revocation lists, revocations by responders."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds what is known of keys and of revocation. Rows of before learn theirs with the device's next evidence."""
    _add_columns(
        "devices",
        "enrolled_by",
        sa.Column("boots", sa.Text()),
        sa.Column("key_cloned_at", sa.Double()),
        sa.Column("pending_key_id", sa.Text()),
        sa.Column("pending_public_key_der", sa.LargeBinary()),
        sa.Column("pending_algorithm", sa.Text()),
        sa.Column("pending_until", sa.Double()),
        sa.Column("key_protection", sa.Text()),
        sa.Column("pending_key_protection", sa.Text()),
    )
    op.create_index("uq_devices_pending_key_id", "devices", ["pending_key_id"], unique=True)
    _add_columns(
        "results",
        "proven_certificate",
        sa.Column("proven_key", sa.LargeBinary()),
        sa.Column("certificate_serial", sa.LargeBinary()),
    )
    op.create_index("ix_results_proven_key", "results", ["proven_key"])
    op.create_index("ix_results_certificate_serial", "results", ["certificate_serial"])
    _add_columns("certificate_bindings", "proven_until", sa.Column("key_sha256", sa.LargeBinary()))
    op.create_index("ix_certificate_bindings_key_sha256", "certificate_bindings", ["key_sha256"])
    op.create_table(
        "revocation_lists",
        sa.Column("certificate_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_id", "source", "place", name="pk_revocation_lists"),
    )
    op.create_table(
        "revocation_list_pieces",
        sa.Column("certificate_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_id", "source", "place", "number", name="pk_revocation_list_pieces"),
    )
    op.create_table(
        "ocsp_revocations",
        sa.Column("certificate_id", sa.Text(), nullable=False),
        sa.Column("issuer_name", sa.LargeBinary(), nullable=False),
        sa.Column("issuer_key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("this_update", sa.Double(), nullable=False),
        sa.Column("next_update", sa.Double(), nullable=False),
        sa.Column("responder", sa.Text()),
        sa.Column("not_after", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "certificate_id", "issuer_name", "issuer_key_sha256", "serial_number", name="pk_ocsp_revocations"
        ),
    )


def _add_columns(table: str, after: str, *columns: "sa.Column[Any]") -> None:
    """Where SQLite is made to write the table anew, its definition is the same as if it had always been so."""
    recreate: Literal["always", "never"] = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table(table, recreate=recreate) as batch:
        for column in columns:
            batch.add_column(column, insert_after=after)

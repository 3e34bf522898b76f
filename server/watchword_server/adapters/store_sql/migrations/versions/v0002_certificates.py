"""Keys beside certificates, boots, keys to come, revocation lists."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds what is known of keys and of revocation. Rows of before learn theirs with the device's next evidence."""
    for column in (
        sa.Column("boots", sa.Text()),
        sa.Column("key_cloned_at", sa.Double()),
        sa.Column("pending_key_id", sa.Text()),
        sa.Column("pending_public_key_der", sa.LargeBinary()),
        sa.Column("pending_algorithm", sa.Text()),
        sa.Column("pending_until", sa.Double()),
    ):
        op.add_column("devices", column)
    op.create_index("uq_devices_pending_key_id", "devices", ["pending_key_id"], unique=True)
    op.add_column("results", sa.Column("proven_key", sa.LargeBinary()))
    op.add_column("results", sa.Column("certificate_serial", sa.LargeBinary()))
    op.create_index("ix_results_proven_key", "results", ["proven_key"])
    op.create_index("ix_results_certificate_serial", "results", ["certificate_serial"])
    op.add_column("certificate_bindings", sa.Column("key_sha256", sa.LargeBinary()))
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

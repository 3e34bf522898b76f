"""The posture log; locks of devices."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds both. The log begins with what is judged from now on."""
    # Where SQLite is made to write the table anew, its definition is the same as if it had always been so.
    recreate: Literal["always", "never"] = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("devices", recreate=recreate) as batch:
        batch.add_column(sa.Column("locked_at", sa.Double()), insert_after="pending_until")
        batch.add_column(sa.Column("lock_reason", sa.Text()), insert_after="locked_at")
    op.create_table(
        "posture_log",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("check_id", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("evaluations", sa.BigInteger(), nullable=False),
        sa.Column("evidence_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_posture_log"),
    )
    op.create_index("ix_posture_log_device_id_check_id", "posture_log", ["device_id", "check_id"])
    op.create_index("ix_posture_log_last_at", "posture_log", ["last_at"])
    newest = sa.text("ended_at IS NULL")
    op.create_index(
        "uq_posture_log_newest",
        "posture_log",
        ["device_id", "check_id"],
        unique=True,
        sqlite_where=newest,
        postgresql_where=newest,
    )

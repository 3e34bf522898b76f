"""Owners of devices, by operators or by the token that enrolled one."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Nobody owns a device of before."""
    # Where SQLite is made to write the table anew, its definition is the same as if it had always been so.
    recreate: Literal["always", "never"] = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("devices", recreate=recreate) as batch:
        batch.add_column(sa.Column("owner", sa.Text()), insert_after="lock_reason")
    with op.batch_alter_table("enrollment_tokens", recreate=recreate) as batch:
        batch.add_column(sa.Column("owner", sa.Text()), insert_after="device_id")

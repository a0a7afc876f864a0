"""Of sources that keep their messages themselves: how many of them wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("sources", sa.Column("behind", sa.BigInteger(), nullable=True))
    op.add_column("sources", sa.Column("behind_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("sources") as table:
        table.drop_column("behind_at")
        table.drop_column("behind")

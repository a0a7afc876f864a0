"""Which older versions may go on with the tables: what a roll-back asks before it opens a newer store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `migrate` fills it, by what the newest version knows.
    op.create_table("compatible", sa.Column("since", sa.String(32), nullable=False, primary_key=True))


def downgrade() -> None:
    op.drop_table("compatible")

"""What is deleted and not removed yet: many rows are hidden at once and removed in steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "purges",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("definition_id", sa.BigInteger, nullable=False),
        sa.Column("indicators_to", sa.BigInteger, nullable=False),
        sa.Column("definitions_to", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_purges_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_purges"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_purges_tenant_id_definition_id", "purges", ["tenant_id", "definition_id"])


def downgrade() -> None:
    op.drop_table("purges")

"""What changed of what is matched, so that a live index reads the changes instead of everything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("target_id", sa.BigInteger, nullable=False),
        sa.Column("indicators_to", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_changes_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_tenant_id_generation", "changes", ["tenant_id", "generation"])
    op.create_table(
        "receipts",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("key", word(256), nullable=False),
        sa.Column("digest", word(64), nullable=False),
        sa.Column("answer", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_receipts_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.UniqueConstraint("tenant_id", "key", name="uq_receipts_tenant_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_receipts_tenant_id_created_at", "receipts", ["tenant_id", "created_at"])


def downgrade() -> None:
    op.drop_table("receipts")
    op.drop_table("changes")

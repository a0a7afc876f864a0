"""What several hosts share: marks of failed attempts and of assertions, and which host has which job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Identity, Words, word
from indicia.store.migrations import walls

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("mark", word(64), nullable=False),
        sa.Column("value", word(64), nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("kept_until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_marks"),
        sa.UniqueConstraint("kind", "mark", name="uq_marks_kind_mark"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_marks_kept_until", "marks", ["kept_until"])
    op.create_table(
        "jobs",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("tenant_id", Identity, nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("key", word(32), nullable=False),
        sa.Column("host", Words, nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("made_by", Words, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_jobs_tenant_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("tenant_id", "kind", "key", name="uq_jobs_tenant_id_kind_key"),
        sqlite_autoincrement=True,
    )
    walls.build("jobs")


def downgrade() -> None:
    op.drop_table("jobs")
    op.drop_table("marks")

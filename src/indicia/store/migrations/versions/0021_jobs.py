"""Jobs are rows, with what was asked, how far they are and who works on them; their files are pieces.

The version before keeps a note of each in the same table, and goes on to: to it a job of this version is on
another host. Its notes have no phase, and are no jobs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Identity, Words, word
from indicia.store.migrations import walls

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind, default in (
        ("phase", word(16), ""),
        ("asked", Words, ""),
        ("state", Words, ""),
        ("lease", word(32), ""),
        ("lease_until", sa.BigInteger(), "0"),
        ("attempts", sa.BigInteger(), "0"),
        ("cancelled", sa.Boolean(), sa.false()),
    ):
        op.add_column("jobs", sa.Column(name, kind, nullable=False, server_default=default))
    op.create_index("ix_jobs_phase_kind", "jobs", ["phase", "kind"])
    op.create_index("ix_jobs_tenant_id_id", "jobs", ["tenant_id", "id"], unique=True)
    op.create_table(
        "job_pieces",
        sa.Column("id", Identity, autoincrement=True, nullable=False),
        sa.Column("tenant_id", Identity, nullable=False),
        sa.Column("job_id", Identity, nullable=False),
        sa.Column("name", word(32), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_job_pieces_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name="fk_job_pieces_tenant_id_job_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_job_pieces"),
        sa.UniqueConstraint(
            "tenant_id", "job_id", "name", "position", name="uq_job_pieces_tenant_id_job_id_name_position"
        ),
        sqlite_autoincrement=True,
    )
    walls.build("job_pieces")


def downgrade() -> None:
    op.drop_table("job_pieces")
    op.drop_index("ix_jobs_tenant_id_id", "jobs")
    op.drop_index("ix_jobs_phase_kind", "jobs")
    with op.batch_alter_table("jobs") as table:
        for name in ("phase", "asked", "state", "lease", "lease_until", "attempts", "cancelled"):
            table.drop_column(name)

"""Allow-lists, and for how long what is recorded is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("counters", sa.Column("allow_revision", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("detections", sa.Column("allow_list_id", sa.BigInteger))
    for name in ("detections", "alerts"):
        op.add_column(name, sa.Column("allow_lists", Words, nullable=False, server_default="[]"))
        op.create_index(f"ix_{name}_tenant_id_snapshot_id", name, ["tenant_id", "snapshot_id"])
    only = sa.text("allow_list_id IS NOT NULL")
    op.create_index(
        "ix_detections_allow_list",
        "detections",
        ["tenant_id", "allow_list_id", "id"],
        sqlite_where=only,
        postgresql_where=only,
    )
    _of_tenant(
        "allow_lists",
        sa.Column("name", word(100), nullable=False),
        sa.Column("owner", Words, nullable=False),
        sa.Column("comment", Words, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("action", word(16), nullable=False),
        sa.Column("types", Words, nullable=False),
        sa.Column("entry_count", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger),
        sa.Column("last_modified_by", Words),
        sa.Column("suppressed_count", sa.BigInteger, nullable=False),
        sa.Column("last_suppressed_at", sa.BigInteger),
        sa.UniqueConstraint("tenant_id", "id", name="uq_allow_lists_tenant_id_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_allow_lists_tenant_id_name"),
    )
    _of_tenant(
        "allow_entries",
        sa.Column("list_id", ID, nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("value", Words, nullable=False),
        sa.Column("type", word(16)),
        sa.ForeignKeyConstraint(
            ["tenant_id", "list_id"],
            ["allow_lists.tenant_id", "allow_lists.id"],
            name="fk_allow_entries_tenant_id_list_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_allow_entries_tenant_id_list_id_id", "allow_entries", ["tenant_id", "list_id", "id"])
    _of_tenant(
        "retention",
        sa.Column("kept", word(16), nullable=False),
        sa.Column("days", sa.BigInteger),
        sa.Column("most", sa.BigInteger),
        sa.UniqueConstraint("tenant_id", "kept", name="uq_retention_tenant_id_kept"),
    )


def _of_tenant(name: str, *more: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        *more,
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=f"fk_{name}_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for name in ("retention", "allow_entries", "allow_lists"):
        op.drop_table(name)
    op.drop_index("ix_detections_allow_list", "detections")
    for name in ("detections", "alerts"):
        op.drop_index(f"ix_{name}_tenant_id_snapshot_id", name)
        op.drop_column(name, "allow_lists")
    op.drop_column("detections", "allow_list_id")
    op.drop_column("counters", "allow_revision")

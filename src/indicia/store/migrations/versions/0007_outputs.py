"""Outputs, and what they are to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "outputs",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("name", word(64), nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("target", Words, nullable=False),
        sa.Column("sends", Words, nullable=False),
        sa.Column("options", Words, nullable=False),
        sa.Column("sealed", Words, nullable=False),
        sa.Column("severity", word(32)),
        sa.Column("definition_ids", Words, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger),
        sa.Column("last_modified_by", Words),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("fault", Words),
        sa.Column("delivered_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_outputs_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outputs"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_outputs_tenant_id_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_outputs_tenant_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outbox",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("output_id", ID, nullable=False),
        sa.Column("message_id", word(40), nullable=False),
        sa.Column("sent", word(16), nullable=False),
        sa.Column("body", Words, nullable=False),
        sa.Column("state", word(16), nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("done_at", sa.BigInteger),
        sa.Column("fault", Words),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_outbox_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "output_id"],
            ["outputs.tenant_id", "outputs.id"],
            name="fk_outbox_tenant_id_output_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_outbox_tenant_id_output_id_state_id", "outbox", ["tenant_id", "output_id", "state", "id"]
    )
    op.create_index("ix_outbox_tenant_id_message_id", "outbox", ["tenant_id", "message_id"])


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_table("outputs")

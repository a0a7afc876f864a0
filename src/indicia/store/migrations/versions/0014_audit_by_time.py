"""The audit log by its time, as people read it."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NAME = "ix_audit_tenant_id_at_id"


def upgrade() -> None:
    op.create_index(NAME, "audit", ["tenant_id", "at", "id"])


def downgrade() -> None:
    op.drop_index(NAME, "audit")

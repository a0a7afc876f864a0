"""Detections are found by when they were recorded, as SIEM tools ask for them."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_detections_tenant_id_recorded_at_id", "detections", ["tenant_id", "recorded_at", "id"]
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_detections_tenant_id_recorded_at_id", "detections")

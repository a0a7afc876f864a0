"""Indices by which people look for indicators, and for what was done to one."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

HEAD = sa.text("substr(canonical, 1, 24)")
INDICES: tuple[tuple[str, str, Sequence[str | sa.TextClause]], ...] = (
    ("ix_indicators_tenant_id_type_function_id", "indicators", ["tenant_id", "type", "function", "id"]),
    ("ix_indicators_head", "indicators", ["tenant_id", HEAD, "id"]),
    ("ix_snapshots_tenant_id_definition_id", "snapshots", ["tenant_id", "definition_id"]),
)
PARTS = (
    ("ix_indicators_disabled", "indicators", ["tenant_id", "id"], "enabled IS 0", "enabled IS false"),
    ("ix_indicators_expiring", "indicators", ["tenant_id", "expires_at", "id"], "expires_at IS NOT NULL", ""),
    ("ix_audit_entity", "audit", ["tenant_id", "set_name", "key", "id"], '"key" IS NOT NULL', ""),
)


def upgrade() -> None:
    for name, table, columns in INDICES:
        op.create_index(name, table, columns)
    for name, table, columns, where, other in PARTS:
        only = sa.text(where)
        op.create_index(
            name, table, columns, sqlite_where=only, postgresql_where=sa.text(other) if other else only
        )


def downgrade() -> None:
    for name, table, _ in INDICES:
        op.drop_index(name, table)
    for name, table, *_ in PARTS:
        op.drop_index(name, table)

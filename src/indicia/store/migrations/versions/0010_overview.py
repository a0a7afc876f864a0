"""What was recorded in each hour, which sources send events, and what the overview groups alerts by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTED = """
INSERT INTO tallies (tenant_id, hour, severity, alerts, detections, silent)
SELECT tenant_id, hour, severity, sum(alerts), sum(detections), sum(silent) FROM (
    SELECT a.tenant_id AS tenant_id, a.created_at / :hour AS hour, s.severity AS severity,
        count(*) AS alerts, 0 AS detections, 0 AS silent
    FROM alerts a JOIN snapshots s ON s.tenant_id = a.tenant_id AND s.id = a.snapshot_id GROUP BY 1, 2, 3
    UNION ALL
    SELECT d.tenant_id, d.recorded_at / :hour, s.severity,
        0, sum(CASE WHEN d.raises THEN 1 ELSE 0 END), sum(CASE WHEN d.raises THEN 0 ELSE 1 END)
    FROM detections d JOIN snapshots s ON s.tenant_id = d.tenant_id AND s.id = d.snapshot_id GROUP BY 1, 2, 3
) AS found GROUP BY 1, 2, 3
"""
"""What was recorded before."""


MACHINES = "ix_alerts_machine"


def _on_server() -> bool:
    """Whether it is PostgreSQL: `tables` says why machines have another index there."""
    return op.get_context().dialect.name == "postgresql"


def _indices() -> list[tuple[str, ...]]:
    ordered = [("status", "snapshot_id"), ("created_at",)]
    return ordered if _on_server() else [*ordered, ("machine", "created_at")]


def upgrade() -> None:
    for columns in _indices():
        op.create_index(f"ix_alerts_tenant_id_{'_'.join(columns)}", "alerts", ["tenant_id", *columns])
    if _on_server():
        op.create_index(MACHINES, "alerts", ["machine"], postgresql_using="hash")
    op.create_index(
        "ix_alerts_storm",
        "alerts",
        ["tenant_id", "id"],
        sqlite_where=sa.text("storm IS 1"),
        postgresql_where=sa.text("storm IS true"),
    )
    _of_tenant(
        "tallies",
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("severity", word(32), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("alerts", "detections", "silent")),
        sa.UniqueConstraint("tenant_id", "hour", "severity", name="uq_tallies_tenant_id_hour_severity"),
    )
    _of_tenant(
        "sources",
        sa.Column("name", Words, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("events", "malformed", "detections")),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("event_at", sa.BigInteger),
        sa.UniqueConstraint("tenant_id", "name", name="uq_sources_tenant_id_name"),
    )
    op.get_bind().execute(sa.text(COUNTED), {"hour": 3600 * 1_000_000})


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
    op.drop_table("sources")
    op.drop_table("tallies")
    op.drop_index("ix_alerts_storm", "alerts")
    if _on_server():
        op.drop_index(MACHINES, "alerts")
    for columns in _indices():
        op.drop_index(f"ix_alerts_tenant_id_{'_'.join(columns)}", "alerts")

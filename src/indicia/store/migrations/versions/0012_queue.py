"""The queue of alerts: its orders, the values of each alert; and the events of detections."""

from __future__ import annotations

import json
from hashlib import blake2b

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERS = {
    "ix_alerts_newest": ["id", "status", "severity_rank", "last_seen"],
    "ix_alerts_gravest": ["severity_rank", "id", "status", "last_seen"],
    "ix_alerts_last_seen": ["last_seen", "id", "status", "severity_rank"],
    "ix_alerts_largest": ["detection_count", "id", "status", "severity_rank", "last_seen"],
    "ix_alerts_tenant_id_machine_created_at": ["machine", "created_at"],
    "ix_alerts_tenant_id_assigned_to": ["assigned_to"],
}
SEVERITIES = ("Informational", "Low", "Medium", "High")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("severity_rank", sa.Integer, nullable=False, server_default="0"))
    for rank, severity in enumerate(SEVERITIES):
        op.execute(
            f"UPDATE alerts SET severity_rank = {rank} "  # noqa: S608 - both are words of this file
            f"WHERE snapshot_id IN (SELECT id FROM snapshots WHERE severity = '{severity}')"
        )
    for name, columns in ORDERS.items():
        op.create_index(name, "alerts", ["tenant_id", *columns], if_not_exists=True)
    _beside("event_texts", "detection_id", "detections", sa.Column("text", sa.Text, nullable=False))
    _beside("alert_values", "alert_id", "alerts", sa.Column("value_key", sa.BigInteger, nullable=False))
    op.create_index(
        "ix_alert_values_tenant_id_value_key_alert_id", "alert_values", ["tenant_id", "value_key", "alert_id"]
    )
    if not op.get_context().as_sql:
        _fill(op.get_bind())


def _beside(name: str, key: str, owner: str, column: sa.Column[int] | sa.Column[str]) -> None:
    unique = ["tenant_id", key, *([column.name] if name == "alert_values" else [])]
    op.create_table(
        name,
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column(key, sa.String(32), nullable=False),
        column,
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=f"fk_{name}_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", key],
            [f"{owner}.tenant_id", f"{owner}.{key}"],
            name=f"fk_{name}_tenant_id_{key}",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(*unique, name=f"uq_{name}_{'_'.join(unique)}"),
        sqlite_autoincrement=True,
    )


def _fill(connection: sa.Connection) -> None:
    """The values that alerts name, and those of the detections of alerts that have more than they name."""
    found = connection.execute(sa.text("SELECT tenant_id, alert_id, indicators FROM alerts")).all()
    pairs = {(tenant, alert, value) for tenant, alert, named in found for value in json.loads(named)}
    full = {(tenant, alert) for tenant, alert, named in found if len(json.loads(named)) > 9}
    more = sa.text(
        "SELECT DISTINCT indicator_canonical FROM detections WHERE tenant_id = :tenant AND raises "
        "AND alert_id = :alert"
    )
    for tenant, alert in full:
        values = connection.execute(more, {"tenant": tenant, "alert": alert}).scalars()
        pairs |= {(tenant, alert, value) for value in values}
    new = sa.text("INSERT INTO alert_values (tenant_id, alert_id, value_key) VALUES (:tenant, :alert, :key)")
    rows = [
        {"tenant": tenant, "alert": alert, "key": _key(value)} for tenant, alert, value in sorted(pairs)
    ]
    if rows:
        connection.execute(new, rows)


def _key(value: str) -> int:
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def downgrade() -> None:
    op.drop_table("alert_values")
    op.drop_table("event_texts")
    for name in ORDERS:
        op.drop_index(name, "alerts", if_exists=True)
    op.drop_column("alerts", "severity_rank")

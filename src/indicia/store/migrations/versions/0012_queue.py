"""The queue of alerts: its orders, the values of each alert; and the events of detections."""

from __future__ import annotations

import json
from hashlib import blake2b

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERS = {
    "ix_alerts_newest": ["id", "status", "severity_rank", "last_seen", "detection_count"],
    "ix_alerts_gravest": ["severity_rank", "id", "status", "last_seen"],
    "ix_alerts_last_seen": ["last_seen", "id", "status", "severity_rank"],
    "ix_alerts_largest": ["detection_count", "id", "status", "severity_rank", "last_seen"],
    "ix_alerts_tenant_id_assigned_to": ["assigned_to"],
}
SEVERITIES = ("Informational", "Low", "Medium", "High")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("severity_rank", sa.Integer, nullable=False, server_default="0"))
    ranked = sa.text(
        "UPDATE alerts SET severity_rank = :rank "
        "WHERE snapshot_id IN (SELECT id FROM snapshots WHERE severity = :severity)"
    )
    for rank, severity in enumerate(SEVERITIES):
        op.execute(ranked.bindparams(rank=rank, severity=severity))
    for name, columns in ORDERS.items():
        op.create_index(name, "alerts", ["tenant_id", *columns])
    op.drop_index("ix_alerts_tenant_id_id", "alerts")
    op.create_index("ix_alerts_tenant_id_id", "alerts", ["tenant_id", "id"], unique=True)
    _beside(
        "event_texts",
        sa.Column("detection_id", word(32), nullable=False),
        sa.Column("text", Words, nullable=False),
        of="detections.detection_id",
        unique=["tenant_id", "detection_id"],
    )
    _beside(
        "alert_values",
        sa.Column("alert_number", ID, nullable=False),
        sa.Column("value_key", sa.BigInteger, nullable=False),
        of="alerts.id",
        unique=["tenant_id", "alert_number", "value_key"],
    )
    op.create_index(
        "ix_alert_values_tenant_id_value_key_alert_number",
        "alert_values",
        ["tenant_id", "value_key", "alert_number"],
    )
    if not op.get_context().as_sql:
        _fill(op.get_bind())


def _beside(
    name: str,
    key: sa.Column[int] | sa.Column[str],
    column: sa.Column[int] | sa.Column[str],
    *,
    of: str,
    unique: list[str],
) -> None:
    owner, _ = of.split(".")
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        key,
        column,
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=f"fk_{name}_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", key.name],
            [f"{owner}.tenant_id", of],
            name=f"fk_{name}_tenant_id_{key.name}",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sa.UniqueConstraint(*unique, name=f"uq_{name}_{'_'.join(unique)}"),
        sqlite_autoincrement=True,
    )


def _fill(connection: sa.Connection) -> None:
    """The values that alerts name, and those of the detections of alerts that have more than they name."""
    new = sa.text(
        "INSERT INTO alert_values (tenant_id, alert_number, value_key) VALUES (:tenant, :alert, :key)"
    )
    more = sa.text(
        "SELECT DISTINCT indicator_canonical FROM detections WHERE tenant_id = :tenant "
        "AND (alert_id = :alert AND raises OR storm_id = :alert)"
    )
    found = sa.text("SELECT tenant_id, id, alert_id, indicators FROM alerts ORDER BY id")
    for tenant, number, alert, named in connection.execute(found).all():
        values = set(json.loads(named))
        if len(values) > 9:
            values |= set(connection.execute(more, {"tenant": tenant, "alert": alert}).scalars())
        keys = {_key(value) for value in values}
        if keys:
            pairs = [{"tenant": tenant, "alert": number, "key": key} for key in sorted(keys)]
            connection.execute(new, pairs)


def _key(value: str) -> int:
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def downgrade() -> None:
    op.drop_table("alert_values")
    op.drop_table("event_texts")
    op.drop_index("ix_alerts_tenant_id_id", "alerts")
    op.create_index("ix_alerts_tenant_id_id", "alerts", ["tenant_id", "id"])
    for name in ORDERS:
        op.drop_index(name, "alerts")
    op.drop_column("alerts", "severity_rank")

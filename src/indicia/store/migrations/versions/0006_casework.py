"""Work on alerts, suppressions, storms, and who changed what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("classification", word(16), nullable=False, server_default="Unknown"))
    op.add_column(
        "alerts", sa.Column("determination", word(24), nullable=False, server_default="NotAvailable")
    )
    op.add_column("alerts", sa.Column("assigned_to", Words))
    op.add_column("alerts", sa.Column("resolved_at", sa.BigInteger))
    op.add_column("alerts", sa.Column("storm", sa.Boolean, nullable=False, server_default="0"))
    op.add_column("detections", sa.Column("silenced", word(16)))
    op.add_column("detections", sa.Column("suppression_id", sa.BigInteger))
    op.add_column("detections", sa.Column("storm_id", word(32)))
    for name, column in (("suppression", "suppression_id"), ("storm", "storm_id")):
        only = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_detections_{name}",
            "detections",
            ["tenant_id", column, "id"],
            sqlite_where=only,
            postgresql_where=only,
        )
    _of_alerts("alert_comments", sa.Column("text", Words, nullable=False), *_made())
    _of_alerts(
        "alert_changes",
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("property", word(32), nullable=False),
        sa.Column("before", Words),
        sa.Column("after", Words),
    )
    _of_tenant(
        "suppressions",
        sa.Column("definition_uid", word(36)),
        sa.Column("definition_id", sa.BigInteger),
        sa.Column("machine", Words),
        sa.Column("value", Words),
        sa.Column("reason", Words, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("alert_id", word(32)),
        *_made(),
        sa.Column("suppressed_count", sa.BigInteger, nullable=False),
        sa.Column("last_suppressed_at", sa.BigInteger),
    )
    op.create_index("ix_suppressions_tenant_id_ends_at", "suppressions", ["tenant_id", "ends_at"])
    op.create_index("ix_suppressions_tenant_id_id", "suppressions", ["tenant_id", "id"])
    _of_tenant(
        "openings",
        sa.Column("definition_uid", word(36), nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.UniqueConstraint(
            "tenant_id", "hour", "definition_uid", name="uq_openings_tenant_id_hour_definition_uid"
        ),
    )
    _of_tenant(
        "audit",
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", Words, nullable=False),
        sa.Column("through", word(16), nullable=False),
        sa.Column("request_id", word(128)),
        sa.Column("action", word(16), nullable=False),
        sa.Column("set_name", word(32), nullable=False),
        sa.Column("key", word(64)),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("before", Words),
        sa.Column("after", Words),
    )
    op.create_index("ix_audit_tenant_id_id", "audit", ["tenant_id", "id"])


def _made() -> tuple[sa.Column[int], sa.Column[str]]:
    return (
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
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


def _of_alerts(name: str, *more: sa.schema.SchemaItem) -> None:
    _of_tenant(
        name,
        sa.Column("alert_id", word(32), nullable=False),
        *more,
        sa.ForeignKeyConstraint(
            ["tenant_id", "alert_id"],
            ["alerts.tenant_id", "alerts.alert_id"],
            name=f"fk_{name}_tenant_id_alert_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(f"ix_{name}_tenant_id_alert_id_id", name, ["tenant_id", "alert_id", "id"])


def downgrade() -> None:
    for name in ("audit", "openings", "suppressions", "alert_changes", "alert_comments"):
        op.drop_table(name)
    for name in ("suppression", "storm"):
        op.drop_index(f"ix_detections_{name}", "detections")
    for table, columns in (
        ("detections", ("silenced", "suppression_id", "storm_id")),
        ("alerts", ("classification", "determination", "assigned_to", "resolved_at", "storm")),
    ):
        for column in columns:
            op.drop_column(table, column)

"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", word(36), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
        sa.UniqueConstraint("uid", name="uq_tenants_uid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("kid", word(64), nullable=False),
        sa.Column("private_pem", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
        sa.UniqueConstraint("kid", name="uq_signing_keys_kid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "applications",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("client_id", word(36), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("roles", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_applications_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
        sa.UniqueConstraint("client_id", name="uq_applications_client_id"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_applications_tenant_id_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "secrets",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("application_id", ID, nullable=False),
        sa.Column("hash", Words, nullable=False),
        sa.Column("hint", Words, nullable=False),
        sa.Column("description", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["tenant_id", "application_id"],
            ["applications.tenant_id", "applications.id"],
            name="fk_secrets_tenant_id_application_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_secrets_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_secrets_tenant_id_application_id", "secrets", ["tenant_id", "application_id"])
    op.create_table(
        "definitions",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("uid", word(36), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("title", Words, nullable=False),
        sa.Column("severity", word(32), nullable=False),
        sa.Column("category", word(40), nullable=False),
        sa.Column("internal_description", Words, nullable=False),
        sa.Column("ux_description", Words, nullable=False),
        sa.Column("recommended_action", Words),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("group_by", word(16), nullable=False),
        sa.Column("window_seconds", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger),
        sa.Column("last_modified_by", Words),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_definitions_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_definitions"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_definitions_tenant_id_id"),
        sa.UniqueConstraint("tenant_id", "uid", name="uq_definitions_tenant_id_uid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "indicators",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("definition_id", ID, nullable=False),
        sa.Column("type", word(16), nullable=False),
        sa.Column("value", Words, nullable=False),
        sa.Column("canonical", Words, nullable=False),
        sa.Column("canonical_key", sa.BigInteger, nullable=False),
        sa.Column("function", word(16), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("valid_from", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("source", Words),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger),
        sa.Column("last_modified_by", Words),
        sa.ForeignKeyConstraint(
            ["tenant_id", "definition_id"],
            ["definitions.tenant_id", "definitions.id"],
            name="fk_indicators_tenant_id_definition_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_indicators_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_indicators"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_indicators_tenant_id_canonical_key_definition_id",
        "indicators",
        ["tenant_id", "canonical_key", "definition_id"],
    )
    op.create_index(
        "ix_indicators_tenant_id_definition_id_id", "indicators", ["tenant_id", "definition_id", "id"]
    )
    op.create_index("ix_indicators_tenant_id_id", "indicators", ["tenant_id", "id"])
    op.create_table(
        "imports",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("key", word(128), nullable=False),
        sa.Column("definition_id", ID, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("added", sa.BigInteger, nullable=False),
        sa.Column("known", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "definition_id"],
            ["definitions.tenant_id", "definitions.id"],
            name="fk_imports_tenant_id_definition_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_imports_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
        sa.UniqueConstraint(
            "tenant_id", "definition_id", "key", name="uq_imports_tenant_id_definition_id_key"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "snapshots",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("digest", word(64), nullable=False),
        sa.Column("definition_id", sa.BigInteger, nullable=False),
        sa.Column("uid", word(36), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("title", Words, nullable=False),
        sa.Column("severity", word(32), nullable=False),
        sa.Column("category", word(40), nullable=False),
        sa.Column("internal_description", Words, nullable=False),
        sa.Column("ux_description", Words, nullable=False),
        sa.Column("recommended_action", Words),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("group_by", word(16), nullable=False),
        sa.Column("window_seconds", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger),
        sa.Column("last_modified_by", Words),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_snapshots_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("tenant_id", "digest", name="uq_snapshots_tenant_id_digest"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_snapshots_tenant_id_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alerts",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("alert_id", word(32), nullable=False),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("machine", Words, nullable=False),
        sa.Column("group", Words, nullable=False),
        sa.Column("window", Words, nullable=False),
        sa.Column("first_seen", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger),
        sa.Column("detection_count", sa.BigInteger, nullable=False),
        sa.Column("indicators", Words, nullable=False),
        sa.Column("status", word(16), nullable=False),
        sa.Column("reopened_count", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_modified_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name="fk_alerts_tenant_id_snapshot_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_alerts_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("tenant_id", "alert_id", name="uq_alerts_tenant_id_alert_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alerts_tenant_id_id", "alerts", ["tenant_id", "id"])
    op.create_table(
        "detections",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("detection_id", word(32), nullable=False),
        sa.Column("alert_id", word(32), nullable=False),
        sa.Column("event_id", word(32), nullable=False),
        sa.Column("raises", sa.Boolean, nullable=False),
        sa.Column("source", Words, nullable=False),
        sa.Column("line", sa.BigInteger, nullable=False),
        sa.Column("event_time", sa.BigInteger),
        sa.Column("time_note", word(16)),
        sa.Column("machine", Words, nullable=False),
        sa.Column("schema", word(64), nullable=False),
        sa.Column("window", Words, nullable=False),
        sa.Column("evidence", Words, nullable=False),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("indicator_id", sa.BigInteger, nullable=False),
        sa.Column("indicator_type", word(16), nullable=False),
        sa.Column("indicator_value", Words, nullable=False),
        sa.Column("indicator_canonical", Words, nullable=False),
        sa.Column("indicator_function", word(16), nullable=False),
        sa.Column("indicator_valid_from", sa.BigInteger),
        sa.Column("indicator_expires_at", sa.BigInteger),
        sa.Column("indicator_source", Words),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name="fk_detections_tenant_id_snapshot_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_detections_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_detections"),
        sa.UniqueConstraint("tenant_id", "detection_id", name="uq_detections_tenant_id_detection_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_detections_tenant_id_alert_id_id", "detections", ["tenant_id", "alert_id", "id"])
    op.create_index("ix_detections_tenant_id_id", "detections", ["tenant_id", "id"])
    op.create_table(
        "counters",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("definitions", sa.BigInteger, nullable=False),
        sa.Column("indicators", sa.BigInteger, nullable=False),
        sa.Column("patterns", sa.BigInteger, nullable=False),
        sa.Column("alerts", sa.BigInteger, nullable=False),
        sa.Column("detections", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_counters_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_counters"),
    )


def downgrade() -> None:
    op.drop_table("counters")
    op.drop_table("detections")
    op.drop_table("alerts")
    op.drop_table("snapshots")
    op.drop_table("imports")
    op.drop_table("indicators")
    op.drop_table("definitions")
    op.drop_table("secrets")
    op.drop_table("applications")
    op.drop_table("signing_keys")
    op.drop_table("tenants")

"""Certificates and refresh tokens of applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("application_id", ID, nullable=False),
        sa.Column("sha1", word(40), nullable=False),
        sa.Column("sha256", word(64), nullable=False),
        sa.Column("pem", Words, nullable=False),
        sa.Column("subject", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("valid_from", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["tenant_id", "application_id"],
            ["applications.tenant_id", "applications.id"],
            name="fk_certificates_tenant_id_application_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_certificates_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_certificates_tenant_id_application_id", "certificates", ["tenant_id", "application_id"]
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("application_id", ID, nullable=False),
        sa.Column("family", sa.BigInteger, nullable=False),
        sa.Column("hash", Words, nullable=False),
        sa.Column("resource", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("family_expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["tenant_id", "application_id"],
            ["applications.tenant_id", "applications.id"],
            name="fk_refresh_tokens_tenant_id_application_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_refresh_tokens_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_refresh_tokens"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_refresh_tokens_tenant_id_application_id_family",
        "refresh_tokens",
        ["tenant_id", "application_id", "family"],
    )
    op.create_index("ix_refresh_tokens_tenant_id_hash", "refresh_tokens", ["tenant_id", "hash"])


def downgrade() -> None:
    op.drop_table("refresh_tokens")
    op.drop_table("certificates")

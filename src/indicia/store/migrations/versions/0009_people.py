"""People, what they may do in which tenant, their sessions, and one-time links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words, word

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _tenant(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    """The column, and what it refers to."""
    return (
        sa.Column("tenant_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=f"fk_{table}_tenant_id", ondelete="CASCADE"
        ),
    )


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", word(36), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("login", Words, nullable=False),
        sa.Column("password", Words),
        sa.Column("issuer", Words),
        sa.Column("subject", Words),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("uid", name="uq_people_uid"),
        sa.UniqueConstraint("login", name="uq_people_login"),
        sa.UniqueConstraint("issuer", "subject", name="uq_people_issuer_subject"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "members",
        sa.Column("id", ID, nullable=False),
        *_tenant("members"),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("role", word(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_members_person_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        sa.UniqueConstraint("tenant_id", "person_id", name="uq_members_tenant_id_person_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_members_person_id", "members", ["person_id"])
    op.create_table(
        "sessions",
        sa.Column("id", ID, nullable=False),
        *_tenant("sessions"),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("hash", word(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("address", Words, nullable=False),
        sa.Column("agent", Words, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "person_id"],
            ["members.tenant_id", "members.person_id"],
            name="fk_sessions_tenant_id_person_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("hash", name="uq_sessions_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_tenant_id_person_id", "sessions", ["tenant_id", "person_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "links",
        sa.Column("id", ID, nullable=False),
        *_tenant("links"),
        sa.Column("hash", word(64), nullable=False),
        sa.Column("role", word(16), nullable=False),
        sa.Column("person_id", ID),
        sa.Column("name", Words, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Words, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_links_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_links"),
        sa.UniqueConstraint("hash", name="uq_links_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_links_tenant_id_id", "links", ["tenant_id", "id"])
    op.create_index("ix_links_person_id", "links", ["person_id"])


def downgrade() -> None:
    for table in ("links", "sessions", "members", "people"):
        op.drop_table(table)

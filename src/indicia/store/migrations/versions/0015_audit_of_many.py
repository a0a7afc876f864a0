"""Entries of the audit log about many say about which, so that they are in the history of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from indicia.store.columns import Words

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

NAME = "ix_audit_many"
MORE = ("first_id", "last_id")


def upgrade() -> None:
    for name in MORE:
        op.add_column("audit", sa.Column(name, sa.BigInteger))
    op.add_column("audit", sa.Column("ids", Words))
    only = sa.text("first_id IS NOT NULL")
    columns = ["tenant_id", "set_name", "id", *MORE]
    op.create_index(NAME, "audit", columns, sqlite_where=only, postgresql_where=only)


def downgrade() -> None:
    op.drop_index(NAME, "audit")
    for name in ("ids", *MORE):
        op.drop_column("audit", name)

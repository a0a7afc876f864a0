"""A second wall between tenants on PostgreSQL, for a service whose user does not own the tables.

Within a transaction of one tenant `indicia.tenant` says whose it is (`Scope.walled`), and whoever is subject
to row-level security sees and writes rows of that tenant alone, whatever a statement says. The owner of the
tables is not: who migrates, copies and dumps has all of them.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = (
    "alert_changes", "alert_comments", "alert_values", "alerts", "allow_entries", "allow_lists",
    "applications", "audit", "certificates", "changes", "counters", "definitions", "detections",
    "event_texts", "imports", "indicators", "links", "members", "openings", "outbox", "outputs",
    "purges", "receipts", "refresh_tokens", "retention", "secrets", "sessions", "snapshots", "sources",
    "suppressions", "tallies",
)  # fmt: skip
# Sub-queries are asked once for a statement, not once for a row.
WHOSE = """
    (SELECT coalesce(current_setting('indicia.tenant', true), '')) = ''
    OR tenant_id = (SELECT CAST(nullif(current_setting('indicia.tenant', true), '') AS bigint))
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"CREATE POLICY tenant ON {table} USING ({WHOSE})")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"DROP POLICY tenant ON {table}")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

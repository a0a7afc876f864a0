"""A second wall between tenants on PostgreSQL, for a service whose user does not own the tables.

Within a transaction of one tenant `indicia.tenant` says whose it is (`Scope.walled`), and whoever is subject
to row-level security sees and writes rows of that tenant alone, whatever a statement says. The owner of the
tables is not: who migrates, copies and dumps has all of them.
"""

from __future__ import annotations

from indicia.store.migrations import walls

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


def upgrade() -> None:
    walls.build(*TABLES)


def downgrade() -> None:
    walls.tear_down(*TABLES)

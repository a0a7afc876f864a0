"""The policy of row-level security of each table of tenants on PostgreSQL: see `versions/0019_walls`."""

from __future__ import annotations

from alembic import op

# Sub-queries are asked once for a statement, not once for a row.
_WHOSE = """
    (SELECT coalesce(current_setting('indicia.tenant', true), '')) = ''
    OR tenant_id = (SELECT CAST(nullif(current_setting('indicia.tenant', true), '') AS bigint))
"""


def build(*tables: str) -> None:
    """Give tables the policy; nothing on SQLite."""
    if op.get_context().dialect.name == "postgresql":
        for table in tables:
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"CREATE POLICY tenant ON {table} USING ({_WHOSE})")


def tear_down(*tables: str) -> None:
    """Take it from them."""
    if op.get_context().dialect.name == "postgresql":
        for table in tables:
            op.execute(f"DROP POLICY tenant ON {table}")
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

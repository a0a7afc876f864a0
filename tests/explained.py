"""How a database goes about what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from indicia.store import TenantStore
from stored import engine_of

ON_A_FILE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""A test of plans that are SQLite's; those of PostgreSQL are in test_postgres_queries.py."""


def asked(tenant: TenantStore, call: Callable[[], object]) -> list[tuple[str, Any]]:
    """The statements of a call with their parameters, as the driver gets them."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, text: str, given: Any, _context: Any, _many: bool) -> None:
        if text.startswith("SELECT"):
            seen.append((text, given))

    engine = engine_of(tenant)
    event.listen(engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return seen


def plans(tenant: TenantStore, call: Callable[[], object]) -> list[tuple[str, str]]:
    """The statements of a call, and the steps that the database would take for each."""
    found = asked(tenant, call)
    with tenant._database.reading() as connection:
        explain = "EXPLAIN " if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        return [
            (text, "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + text, given)))
            for text, given in found
        ]

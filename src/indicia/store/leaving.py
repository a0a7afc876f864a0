"""A tenant goes: from the first transaction on nobody enters it and nothing of it is matched or sent, and the
rest is removed in steps, with which others who write take turns.

The tenant itself goes last, so that what was broken off goes on when it is begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import Table

from indicia.store import directory, purges, tables
from indicia.store.engine import Database
from indicia.store.nouns import Tenant
from indicia.store.scope import Scope

SLICE = 2000
"""Rows of one transaction."""
Tell = Callable[[str, int, int], None]
"""Of which table, how many rows are gone, and of how many."""
_FIRST = (tables.links, tables.members, tables.applications)
"""By which people and applications enter; sessions, secrets, certificates and tokens go with them."""


def leave(database: Database, tenant: Tenant, tell: Tell) -> None:
    """Remove a tenant and everything of it."""
    with database.writing() as connection:
        scope = Scope(connection, tenant.id)
        people = [
            row.person_id for row in scope.rows(scope.select(tables.members, tables.members.c.person_id))
        ]
        for table in _FIRST:
            scope.delete(table)
        directory.remove_people(connection, people)
        scope.update(tables.outputs, enabled=False)
        purges.hide(scope, whole=True)
    for table in _rows_of_tenants():
        _empty(database, tenant, table, tell)
    with database.writing() as connection:
        scope = Scope(connection, tenant.id, deleted=True)
        for table in _rows_of_tenants():  # what somebody wrote meanwhile, who had begun before
            scope.delete(table)
        scope.delete(tables.counters)
        directory.remove_tenant(connection, tenant)


def _rows_of_tenants() -> Iterator[Table]:
    """What refers to another table comes before it; `counters` has one row, which goes with the tenant."""
    for table in reversed(tables.METADATA.sorted_tables):
        if table in tables.OF_TENANTS and table is not tables.counters:
            yield table


def _empty(database: Database, tenant: Tenant, table: Table, tell: Tell) -> None:
    with database.reading() as connection:
        total = Scope(connection, tenant.id, deleted=True).count(table)
    gone = 0
    while gone < total:
        with database.tidying() as connection:
            scope = Scope(connection, tenant.id, deleted=True)
            some = scope.select(table, table.c.id).order_by(table.c.id).limit(SLICE)
            count = scope.delete(table, table.c.id.in_(some))
        if not count:
            return
        gone += count
        tell(table.name, gone, total)

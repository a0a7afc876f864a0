"""No statement is made, and none runs, but where the tenant is added: by the sources, by the tables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from indicia import store as package
from indicia.store import Store, tables
from indicia.store.scope import Scope
from stored import add, url

FOLDER = Path(package.__file__).parent
BUILDERS = {
    "select",
    "insert",
    "update",
    "delete",
    "text",
    "union",
    "union_all",
    "exists",
    "table",
    "lambda_stmt",
}
"""What makes a statement."""
RUNNERS = {
    "execute",
    "exec_driver_sql",
    "scalar",
    "scalars",
    "executemany",
    "executescript",
    "driver_connection",
}
"""What runs one."""
BUILDING = {"scope.py", "directory.py", "people.py", "copying.py", "migrate.py", "marks.py"}
"""Where statements may be made: with the tenant, to find the tenant, about people, who have several, to copy
a store whole, to say which versions may use it, and about marks, which are nobody's."""
RUNNING = BUILDING | {"sqlite.py", "postgres.py", "reach.py", "migrate.py", "inspection.py"}
"""Where they may run; the last five read versions, set pragmas, and ask whether a server is there."""
MODULES = {
    ("tenant.py", "definitions"),
    ("tenant.py", "indicators"),
    ("imports.py", "indicators"),
    ("uploads.py", "indicators"),
    ("tenant.py", "suppressions"),
    ("scope.py", "self"),
}
"""Where these names are modules of the store, not tables."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the store but the migrations."""
    for path in sorted(FOLDER.glob("*.py")):
        yield path.name, ast.parse(path.read_text("utf-8"))


def test_statements_are_made_in_one_place() -> None:
    strange = [
        f"{name}: {alias.name}"
        for name, module in modules()
        if name not in BUILDING
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        for alias in node.names
        if alias.name in BUILDERS
    ]
    assert not strange, f"only Scope makes statements: {strange}"
    whole = [
        name
        for name, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Import) and any(alias.name.startswith("sqlalchemy") for alias in node.names)
    ]
    assert not whole, f"what is used of sqlalchemy is named, so that this test sees it: {whole}"


def called(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Every method that is called: of what, and its name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr


def test_statements_run_in_one_place() -> None:
    strange = [
        f"{name}: {owner}.{method}"
        for name, module in modules()
        if name not in RUNNING
        for owner, method in called(module)
        if method in RUNNERS
    ]
    assert not strange, f"only Scope runs statements: {strange}"


def test_no_table_makes_its_own_statements() -> None:
    strange = [
        f"{name}: {owner}.{method}"
        for name, module in modules()
        for owner, method in called(module)
        if method in {"select", "insert", "update", "delete"}
        and owner not in {"scope", "self.scope", "self._scope"}
        and (name, owner) not in MODULES
    ]
    assert not strange, f"table.select() and the like pass by the scope: {strange}"


def test_every_table_is_a_tenants_or_says_why_not() -> None:
    others = {table.name for table in tables.METADATA.tables.values()} - {t.name for t in tables.OF_TENANTS}
    assert others == {"tenants", "signing_keys", "people", "compatible", "marks"}


def test_a_reference_between_tables_of_tenants_holds_the_tenant() -> None:
    loose = [
        f"{table.name}: {rule.column_keys}"
        for table in tables.OF_TENANTS
        for rule in table.foreign_key_constraints
        if rule.referred_table in tables.OF_TENANTS and "tenant_id" not in rule.column_keys
    ]
    assert not loose


def test_a_scope_refuses_what_is_nobodys(tmp_path: Path, database: str) -> None:
    with Store.open(url(tmp_path / "indicia.db")) as store, store._database.writing() as connection:
        scope = Scope(connection, 1)
        for call in (
            lambda: scope.select(tables.tenants),
            lambda: scope.update(tables.signing_keys, kid="x"),
            lambda: scope.delete(tables.tenants),
            lambda: scope.insert(tables.tenants, name="x"),
            lambda: scope.insert_many(tables.tenants, ("name",), [("x",)]),
        ):
            with pytest.raises(TypeError, match="is not a table of tenants"):
                call()
        with pytest.raises(TypeError, match="stays with its tenant"):
            scope.update(tables.definitions, tenant_id=2)


def test_the_database_refuses_a_row_of_two_tenants(tmp_path: Path, database: str) -> None:
    path = tmp_path / "indicia.db"
    with Store.open(url(path)) as store:
        one, two = (store.tenant(store.add_tenant(name).uid) for name in ("one", "two"))
        owner = add(one, 1)
        with store._database.writing() as connection:
            scope = Scope(connection, two.tenant.id)
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                scope.insert(tables.imports, key="k", definition_id=owner.id, **NOTHING)


NOTHING: dict[str, Any] = {
    "position": 0,
    "added": 0,
    "known": 0,
    "finished": False,
    "started_at": 0,
    "last_modified_at": 0,
}

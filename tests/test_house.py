"""The rules of the house that no linter knows: sizes, names, layers, errors, and where SQL may stand."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from indicia import errors
from indicia.feeds import FORMATS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "indicia"
MAPPINGS = PACKAGE / "telemetry" / "mappings"
FILE_LINES = 600
FUNCTION_LINES = 60
MODULES = sorted(PACKAGE.rglob("*.py"))
ALL_CODE = [
    *MODULES,
    *sorted(path for folder in ("tests", "bench", "examples") for path in (ROOT / folder).rglob("*.py")),
]
FORBIDDEN_MODULES = {"utils", "util", "common", "core", "helpers", "helper", "misc", "manager", "base"}
FORBIDDEN_CLASSES = re.compile(r"(Manager|Helper|Base|Util|Utils)$")
ROOT_ERRORS = {"Exception", "BaseException", "ValueError", "RuntimeError", "OSError"}
DATABASE = {"sqlalchemy", "sqlite3", "alembic"}
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|REPLACE|WITH)\s", re.IGNORECASE)


def where(path: Path) -> str:
    """The name of a file as a reader of the failure looks for it."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """A module as its syntax."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imported(path: Path) -> set[str]:
    """The full names of what a module imports."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def test_no_file_is_too_long() -> None:
    long = {
        where(path): count
        for path in ALL_CODE
        if (count := len(path.read_text("utf-8").splitlines())) > FILE_LINES
    }
    assert not long, f"more than {FILE_LINES} lines: {long}"


@pytest.mark.full
def test_no_function_is_too_long() -> None:
    long = {
        f"{where(path)}:{node.lineno} {node.name}": count
        for path in ALL_CODE
        if path.parent.name != "versions"  # a migration is one list of steps, and never changes
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert not long, f"more than {FUNCTION_LINES} lines: {long}"


@pytest.mark.full
def test_names_say_what_a_thing_is() -> None:
    modules = [where(path) for path in MODULES if {path.stem, path.parent.name} & FORBIDDEN_MODULES]
    assert not modules, f"a module is named by its noun: {modules}"
    bad = []
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and FORBIDDEN_CLASSES.search(node.name):
                bad.append(f"{where(path)}:{node.lineno} {node.name}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("get_"):
                bad.append(f"{where(path)}:{node.lineno} {node.name}")
    assert not bad, f"verbs for functions without get_, nouns for classes: {bad}"


def leaves() -> list[type[errors.IndiciaError]]:
    """Every error that has no error below it."""
    found: list[type[errors.IndiciaError]] = []
    todo = [errors.IndiciaError]
    while todo:
        kind = todo.pop()
        below = kind.__subclasses__()
        todo.extend(below)
        if not below:
            found.append(kind)
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: str(leaf.__name__))
def test_every_error_leaf_states_code_and_status_and_is_drawn(leaf: type[errors.IndiciaError]) -> None:
    assert {"code", "status"} <= vars(leaf).keys(), f"{leaf.__name__} inherits its code or status"
    assert leaf.__doc__
    drawn = re.search(rf"── {leaf.__name__}\b.*", errors.__doc__ or "")
    assert drawn, f"{leaf.__name__} is not drawn in the docstring of errors.py"
    assert str(leaf.status) in drawn[0], f"{leaf.__name__} is drawn with another status than {leaf.status}"


@pytest.mark.full
def test_all_errors_live_in_one_tree() -> None:
    strange = [
        f"{where(path)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and path.name != "errors.py"
        and any(
            isinstance(base, ast.Name) and base.id in {"Exception", "BaseException", "ValueError"}
            for base in node.bases
        )
    ]
    assert not strange, f"errors that users meet are leaves of errors.py: {strange}"


def test_every_top_level_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {name.strip() for layer in layers for name in re.split(r"[|:]", layer)}
    there = {
        f"indicia.{path.stem}"
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    there -= {"indicia.__init__", "indicia.__main__"}
    assert there - placed == set(), "a new top-level module is given its layer in pyproject.toml first"


def test_only_the_store_speaks_to_a_database() -> None:
    strange = {
        where(path): sorted(found)
        for path in MODULES
        if "store" not in path.relative_to(PACKAGE).parts
        and (found := {name for name in imported(path) if name.split(".")[0] in DATABASE})
    }
    assert not strange, f"SQL is the store's: {strange}"


def test_no_sql_is_put_together_from_text() -> None:
    strange = [
        f"{where(path)}:{node.lineno}"
        for path in MODULES
        if "migrations" not in path.parts  # what makes functions and tables binds nothing
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        and any(isinstance(node, ast.FormattedValue) for node in node.values)
        and isinstance(first := node.values[0], ast.Constant)
        and SQL.match(str(first.value))
    ]
    assert not strange, f"values are bound, names are tables' own: {strange}"


def test_settings_are_read_at_the_edge() -> None:
    strange = [
        where(path)
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] not in {"cli", "web", "settings.py"}
        and any(name.startswith("indicia.settings") for name in imported(path))
    ]
    assert not strange, f"settings are read in cli and web and passed down: {strange}"


def loaded(statement: str) -> set[str]:
    """The modules that a new interpreter has after a statement."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_costs_nothing() -> None:
    assert loaded("import indicia") - loaded("") == {"indicia"}


def test_help_loads_neither_store_nor_service() -> None:
    heavy = {"sqlalchemy", "alembic", "starlette", "uvicorn", "cryptography", "rich", "joserfc"}
    assert heavy & loaded("import indicia.cli") == set()


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.toml")), ids=lambda path: str(path.stem))
def test_every_mapping_explains_itself(path: Path) -> None:
    text = path.read_text("utf-8")
    mapping = tomllib.loads(text)
    if path.stem.endswith("-fields"):
        assert text.startswith("#"), (
            "a shared table begins with a comment: what it is, by which documentation"
        )
    else:
        assert len(mapping.get("title", "")) > 10, "a schema has a title: what writes it"


@pytest.mark.parametrize("name", FORMATS)
def test_every_feed_explains_itself(name: str) -> None:
    words = (inspect.getdoc(importlib.import_module(FORMATS[name])) or "").split()
    assert len(words) >= 15, "an adapter's docstring is its manual: what it reads, gives and refuses"


@pytest.mark.full
def test_every_file_of_the_package_is_typed_and_says_what_it_is() -> None:
    bare = [where(path) for path in MODULES if path.stat().st_size and not ast.get_docstring(tree(path))]
    assert not bare, f"a module begins with what it is: {bare}"

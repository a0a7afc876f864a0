"""What SQLite and PostgreSQL say in different words: the one place where queries differ.

Everything else that the store asks is SQL that both understand. A statement is made without knowing for which
of the two; these parts of it are put into words when it is sent.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Sql = ColumnElement[Any]


class Position(FunctionElement[int]):
    """Where a part stands first in a text, in characters from 1; 0 where it does not."""

    type = BigInteger()
    inherit_cache = True


class Unindexed(FunctionElement[Any]):
    """A value by which few rows are sorted.

    A planner that is asked for the first ones would rather walk all rows in the order of an index than look
    up the few that a condition names and sort those; so this value is not quite that of the index.
    """

    inherit_cache = True

    def __init__(self, value: Sql) -> None:
        super().__init__(value)
        self.type = value.type


class ByCodePoint(FunctionElement[str]):
    """A text that stands in a statement, which is compared as the columns are, not as the database likes."""

    type = Text()
    inherit_cache = True


class Compared(FunctionElement[int]):
    """An integer against a double, without rounding either: negative, zero or positive."""

    type = Integer()
    inherit_cache = True


def _parts(element: FunctionElement[Any], compiler: SQLCompiler, **more: Any) -> list[str]:
    return [compiler.process(clause, **more) for clause in element.clauses]


@compiles(Position)
def _position(element: Position, compiler: SQLCompiler, **more: Any) -> str:
    return "instr({}, {})".format(*_parts(element, compiler, **more))


@compiles(Position, "postgresql")
def _position_postgresql(element: Position, compiler: SQLCompiler, **more: Any) -> str:
    return "strpos({}, {})".format(*_parts(element, compiler, **more))


@compiles(Unindexed)
def _unindexed(element: Unindexed, compiler: SQLCompiler, **more: Any) -> str:
    return "+{}".format(*_parts(element, compiler, **more))


@compiles(Unindexed, "postgresql")
def _unindexed_postgresql(element: Unindexed, compiler: SQLCompiler, **more: Any) -> str:
    # What is no number is in no index of the order of ids, or of a beginning, that a planner could walk.
    return "({}{})".format(*_parts(element, compiler, **more), " + 0" * isinstance(element.type, Integer))


@compiles(ByCodePoint)
def _by_code_point(element: ByCodePoint, compiler: SQLCompiler, **more: Any) -> str:
    return "{}".format(*_parts(element, compiler, **more))


@compiles(ByCodePoint, "postgresql")
def _by_code_point_postgresql(element: ByCodePoint, compiler: SQLCompiler, **more: Any) -> str:
    return '({} COLLATE "C")'.format(*_parts(element, compiler, **more))


@compiles(Compared)
def _compared(element: Compared, compiler: SQLCompiler, **more: Any) -> str:
    left, right = _parts(element, compiler, **more)
    again = _parts(element, compiler, **more)
    return f"(({left} > {right}) - ({again[0]} < {again[1]}))"


@compiles(Compared, "postgresql")
def _compared_postgresql(element: Compared, compiler: SQLCompiler, **more: Any) -> str:
    # One number would be made of the other by its own rules; the function is that of a migration.
    return "odata_compared_int64_double({}, {})".format(*_parts(element, compiler, **more))

"""Trees of the query language as SQL, and the pages of entities that they select.

A tree never brings a text of SQL along: names are the tables' own, values are bound. Every table, those of
sub-queries too, comes from the scope and so from one tenant. What SQLite has no equal function for is done
by the functions of `odata.functions` themselves (`engine` registers them), so case, trimming, calendar and
arithmetic are those of the plain meaning. Texts are compared by their code points, which is SQLite's own
order of UTF-8.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Row,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    not_,
    or_,
)
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.selectable import FromClause, NamedFromClause
from sqlalchemy.types import NullType, TypeEngine

from indicia.model import AlertDefinition, Indicator
from indicia.odata import tree
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR, Entity, Navigation
from indicia.odata.functions import Type
from indicia.odata.tree import Comparison, Expression, Order, Query, Value
from indicia.store import counting, definitions, rows, tables
from indicia.store.scope import Scope

T = TypeVar("T")
Sql = ColumnElement[Any]
_FAN = 8
"""Operands of `and` or `or` that stand in one row; SQLite takes expressions of at most 1,000 levels."""

_TABLES: Mapping[str, Table] = {
    ALERT_DEFINITION.set_name: tables.definitions,
    INDICATOR.set_name: tables.indicators,
}
_OWNER = "definition_id"
"""The column by which an indicator belongs to its definition: the one way between the two sets."""

_SQL_TYPES: Mapping[Type, TypeEngine[Any]] = {
    Type.NULL: NullType(),
    Type.BOOLEAN: Boolean(),
    Type.DOUBLE: Float(),
    Type.STRING: Text(),
    Type.ENUM: Text(),
}
_INTEGER = BigInteger()
_COMPARE: Mapping[Comparison, Callable[[Any, Any], Sql]] = {
    Comparison.EQ: operator.eq,
    Comparison.NE: operator.ne,
    Comparison.GT: operator.gt,
    Comparison.GE: operator.ge,
    Comparison.LT: operator.lt,
    Comparison.LE: operator.le,
}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the entities that a query selects."""

    found: list[T]
    last: tuple[Value, ...] | None
    """The sort keys of the last one where more follow; None on the last page."""


def definition_page(scope: Scope, query: Query) -> Page[AlertDefinition]:
    """The alert definitions that a query selects."""
    found, last = _page(scope, ALERT_DEFINITION, query, None)
    return Page([rows.definition(row) for row in found], last)


def indicator_page(scope: Scope, query: Query, definition_id: int | None) -> Page[Indicator]:
    """The indicators that a query selects, of one definition or of all."""
    found, last = _page(scope, INDICATOR, query, definition_id)
    owners = definitions.by_id(scope, (row.definition_id for row in found))
    return Page([rows.indicator(row, owners[row.definition_id]) for row in found], last)


def indicator_pages(
    scope: Scope, query: Query, definition_ids: Iterable[int], *, counted: bool
) -> dict[int, tuple[Page[Indicator], int | None]]:
    """For each definition the page of its indicators, and how many there are where that is asked for."""
    return {
        number: (
            indicator_page(scope, query, number),
            count(scope, INDICATOR, query.where, number) if counted else None,
        )
        for number in definition_ids
    }


def count(scope: Scope, entity: Entity, where: Expression | None, definition_id: int | None = None) -> int:
    """How many entities a filter keeps."""
    if where is None and definition_id is None:
        have = counting.counts(scope)
        return have.definitions if entity is ALERT_DEFINITION else have.indicators
    table = _TABLES[entity.set_name]
    statement = _narrowed(scope.select(table, func.count()), _Compiler(scope, table), where, definition_id)
    row = scope.row(statement)
    return 0 if row is None else int(row[0])


def condition(scope: Scope, entity: Entity, where: Expression) -> Sql:
    """A filter in SQL, as the condition of a statement over the set's table."""
    return _Compiler(scope, _TABLES[entity.set_name]).sql(where)


def statement(scope: Scope, entity: Entity, query: Query, definition_id: int | None = None) -> Select[Any]:
    """The query in SQL, for one row more than its limit; its last columns are the sort keys."""
    table = _TABLES[entity.set_name]
    compiler = _Compiler(scope, table)
    order = query.order or tree.total((), entity)
    keys = [compiler.sort_key(item.key) for item in order]
    labelled = [key.label(f"key_{number}") for number, key in enumerate(keys)]
    chosen = scope.select(table, *table.c, *labelled)
    chosen = _narrowed(chosen, compiler, query.where, definition_id)
    if query.after is not None:
        chosen = chosen.where(_beyond(order, keys, query.after))
    chosen = chosen.order_by(*(_direction(item, key) for item, key in zip(order, keys, strict=True)))
    return chosen.limit(query.limit + 1).offset(query.skip or None)


def _page(
    scope: Scope, entity: Entity, query: Query, definition_id: int | None
) -> tuple[Sequence[Row[Any]], tuple[Value, ...] | None]:
    found = scope.rows(statement(scope, entity, query, definition_id))
    shown = found[: query.limit]
    if len(found) == len(shown) or not shown:
        return shown, None
    count_of_keys = len(query.order) or 1
    return shown, tuple(shown[-1][-count_of_keys:])


def _narrowed(
    chosen: Select[Any], compiler: _Compiler, where: Expression | None, definition_id: int | None
) -> Select[Any]:
    if definition_id is not None:
        chosen = chosen.where(tables.indicators.c[_OWNER] == definition_id)
    return chosen if where is None else chosen.where(compiler.sql(where))


def _direction(item: Order, key: Sql) -> Sql:
    """Null is the lowest of all; SQLite thinks so itself, others are told."""
    turned = key.desc() if item.descending else key.asc()
    if not tree.nullable(item.key):
        return turned
    return turned.nulls_last() if item.descending else turned.nulls_first()


def _beyond(order: Sequence[Order], keys: Sequence[Sql], after: Sequence[Value]) -> Sql:
    """What comes after the sort keys of an entity: the first key that differs decides."""
    steps = [_compared(item, key, value) for item, key, value in zip(order, keys, after, strict=True)]
    # The last key is the id, which no two share: what is level there is the entity itself.
    condition = steps.pop()[0]
    for further, level in reversed(steps):
        condition = or_(further, and_(level, condition))
    return condition


def _compared(item: Order, key: Sql, value: Value) -> tuple[Sql, Sql]:
    """Whether a key comes after a value, and whether it is the same."""
    if value is None:
        return (_false() if item.descending else key.is_not(None)), key.is_(None)
    bound = literal(value, key.type)
    if not item.descending:
        return key > bound, key == bound
    lower = key < bound
    return (or_(lower, key.is_(None)) if tree.nullable(item.key) else lower), key == bound


def _false() -> Sql:
    return literal(False, Boolean())


@lru_cache(maxsize=256)
def _alias(table: Table, number: int) -> NamedFromClause[Any]:
    """Kept, because making one copies every column."""
    return table.alias(f"{table.name}_{number}")


class _Compiler:
    """The expressions of one query over one table."""

    def __init__(self, scope: Scope, table: Table) -> None:
        self.scope = scope
        self.bound: dict[str, FromClause] = {tree.IT: table}
        self.aliases = 0

    def alias(self, way: Navigation) -> NamedFromClause[Any]:
        """The table that a way leads to, under a name of its own within the query."""
        self.aliases += 1
        return _alias(_TABLES[way.target], self.aliases)

    def sql(self, node: Expression) -> Sql:
        """A node in SQL, null where its meaning is null."""
        compile_: Callable[[_Compiler, Any], Sql] = _COMPILE[type(node)]
        return compile_(self, node)

    def sort_key(self, node: Expression) -> Sql:
        """What entities are sorted by: members by their number, texts by their first characters."""
        key = self.sql(node)
        if node.enum is not None:
            return _rank(node.enum, key)
        return func.substr(key, 1, tree.SORTED_TEXT, type_=Text()) if node.kind is Type.STRING else key

    def literal(self, node: tree.Literal) -> Sql:
        return literal(node.value, _SQL_TYPES.get(node.kind, _INTEGER))

    def member(self, node: tree.Member) -> Sql:
        return self.column(node.variable, node.steps, node.described.attribute)

    def column(self, variable: str, steps: Sequence[Navigation], name: str) -> Sql:
        """A column of what the steps lead to; each step is a sub-query of the one row."""
        if not steps:
            return self.bound[variable].c[name]
        key = self.column(variable, steps[:-1], _OWNER)
        if name == "id":
            return key
        target = self.alias(steps[-1])
        chosen = self.scope.select(target, target.c[name]).where(target.c.id == key)
        return chosen.correlate_except(target).scalar_subquery()

    def call(self, node: tree.Call) -> Sql:
        given = [self.operand(argument) for argument in node.arguments]
        native = _NATIVE.get(node.function.name)
        if native is not None:
            return native(*given)
        function: Callable[..., Sql] = getattr(func, node.function.key)
        return function(*given, type_=_SQL_TYPES.get(node.kind, _INTEGER))

    def operand(self, node: Expression) -> Sql:
        """A node as part of an expression: what is itself a condition stands in parentheses."""
        found = self.sql(node)
        return Grouping(found) if node.kind is Type.BOOLEAN else found

    def compare(self, node: tree.Compare) -> Sql:
        left, right = self.operand(node.left), self.operand(node.right)
        empty = [tree.nullable(side) for side in (node.left, node.right)]
        if node.operator in (Comparison.EQ, Comparison.NE):
            if not any(empty):
                return _COMPARE[node.operator](left, right)
            same = node.operator is Comparison.EQ
            return left.is_not_distinct_from(right) if same else left.is_distinct_from(right)
        enum = node.left.enum or node.right.enum
        if enum is not None:
            left, right = _rank(enum, left), _rank(enum, right)
        plain = _COMPARE[node.operator](left, right)
        if not any(empty):
            return plain
        both = node.operator in (Comparison.GE, Comparison.LE) and all(empty)
        return func.coalesce(plain, and_(left.is_(None), right.is_(None)) if both else _false())

    def within(self, node: tree.In) -> Sql:
        given = [value.value for value in node.values if isinstance(value, tree.Literal)]
        values = [value for value in given if value is not None]
        operand = self.operand(node.operand)
        one_of = operand.in_(values) if values else _false()
        if len(values) < len(given):
            one_of = or_(operand.is_(None), one_of)
        return func.coalesce(one_of, _false()) if tree.nullable(node.operand) else one_of

    def negation(self, node: tree.Not) -> Sql:
        return not_(self.operand(node.operand))

    def junction(self, node: tree.Junction) -> Sql:
        """Operands joined in a balanced tree, so that a long list is not a deep expression."""
        join, word = (and_, "AND") if node.every else (or_, "OR")
        parts = [self.operand(operand) for operand in node.operands]
        joined = [join(*parts[start : start + _FAN]) for start in range(0, len(parts), _FAN)]
        while len(joined) > 1:
            # bool_op is not flattened into one long chain, as and_ of and_ would be.
            pairs = zip(joined[::2], joined[1::2], strict=False)
            odd = joined[-1:] if len(joined) % 2 else []
            joined = [left.bool_op(word)(right) for left, right in pairs] + odd
        return joined[0]

    def quantified(self, node: tree.Quantified) -> Sql:
        inner, target, predicate = self.related(node)
        if node.every:
            predicate = None if predicate is None else not_(predicate)
        if predicate is not None:
            inner = inner.where(predicate)
        found = inner.correlate_except(target).exists()
        return not_(found) if node.every else found

    def count(self, node: tree.Count) -> Sql:
        inner, target, predicate = self.related(node)
        inner = inner.with_only_columns(func.count(), maintain_column_froms=True)
        if predicate is not None:
            inner = inner.where(predicate)
        return inner.correlate_except(target).scalar_subquery()

    def related(self, node: tree.Quantified | tree.Count) -> tuple[Select[Any], FromClause, Sql | None]:
        """The rows of a collection, their table, and the predicate: true or false, never null."""
        of = node.collection
        target = self.alias(of.navigation)
        owner = self.column(of.variable, of.steps, "id")
        inner = self.scope.select(target, target.c.id).where(target.c[_OWNER] == owner)
        if node.predicate is None:
            return inner, target, None
        self.bound[node.variable] = target
        predicate = self.operand(node.predicate)
        del self.bound[node.variable]
        if tree.nullable(node.predicate):
            predicate = func.coalesce(predicate, _false())
        return inner, target, predicate


_COMPILE: Mapping[type, Callable[..., Sql]] = {
    tree.Literal: _Compiler.literal,
    tree.Member: _Compiler.member,
    tree.Call: _Compiler.call,
    tree.Compare: _Compiler.compare,
    tree.In: _Compiler.within,
    tree.Not: _Compiler.negation,
    tree.Junction: _Compiler.junction,
    tree.Quantified: _Compiler.quantified,
    tree.Count: _Compiler.count,
}


def _rank(enum: type[StrEnum], value: Sql) -> Sql:
    """A member's number in $metadata."""
    return case({str(item): number for number, item in enumerate(enum)}, value=value)


def _starts(text: Sql, part: Sql) -> Sql:
    return func.substr(text, 1, func.length(part), type_=Text()) == part


def _ends(text: Sql, part: Sql) -> Sql:
    start = func.length(text, type_=_INTEGER) - func.length(part, type_=_INTEGER)
    return and_(start >= 0, func.substr(text, start + 1, type_=Text()) == part)


_NATIVE: Mapping[str, Callable[..., Sql]] = {
    "contains": lambda text, part: func.instr(text, part, type_=_INTEGER) > 0,
    "startswith": _starts,
    "endswith": _ends,
    "length": lambda text: func.length(text, type_=_INTEGER),
    "indexof": lambda text, part: func.instr(text, part, type_=_INTEGER) - 1,
    "concat": lambda left, right: left.concat(right),
}
"""Functions that SQLite has with the same meaning, characters being code points in both."""

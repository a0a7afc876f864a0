"""Trees of the query language as SQL, and the pages of entities that they select.

A tree never brings a text of SQL along: names are the tables' own, values are bound. Every table, those of
sub-queries too, comes from the scope and so from one tenant. What a database has no equal function for is
done on SQLite by the functions of `odata.functions` themselves (`engine` registers them), on PostgreSQL by
functions of the same names (migration 0016), so case, trimming, calendar and arithmetic are those of the
plain meaning. Texts are compared by their code points, which is the order of their bytes in UTF-8.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Alias,
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Row,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    literal_column,
    not_,
    or_,
)
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.selectable import FromClause, NamedFromClause
from sqlalchemy.types import NullType, TypeEngine

from indicia.odata import tree
from indicia.odata.entities import (
    ALERT,
    ALERT_CHANGE,
    ALERT_COMMENT,
    ALERT_DEFINITION,
    ALLOW_ENTRY,
    ALLOW_LIST,
    AUDIT,
    DETECTION,
    INDICATOR,
    OUTPUT,
    OUTPUT_MESSAGE,
    SUPPRESSION,
)
from indicia.odata.functions import Type
from indicia.odata.shapes import Entity, Navigation
from indicia.odata.tree import Comparison, Expression, Order, Query, Value
from indicia.store import (
    alerts,
    allow,
    audit,
    casework,
    counting,
    indicators,
    outbox,
    purges,
    rows,
    suppressions,
    tables,
)
from indicia.store.dialect import ByCodePoint, Compared, Position, Unindexed
from indicia.store.scope import Scope

T = TypeVar("T")
Sql = ColumnElement[Any]
_FAN = 8
"""Operands of `and` or `or` that stand in one row; SQLite takes expressions of at most 1,000 levels."""

_TABLES: Mapping[str, Table] = {
    ALERT_DEFINITION.set_name: tables.definitions,
    INDICATOR.set_name: tables.indicators,
    ALERT.set_name: tables.alerts,
    DETECTION.set_name: tables.detections,
    ALERT_COMMENT.set_name: tables.alert_comments,
    ALERT_CHANGE.set_name: tables.alert_changes,
    SUPPRESSION.set_name: tables.suppressions,
    ALLOW_LIST.set_name: tables.allow_lists,
    ALLOW_ENTRY.set_name: tables.allow_entries,
    OUTPUT.set_name: tables.outputs,
    OUTPUT_MESSAGE.set_name: tables.outbox,
    AUDIT.set_name: tables.audit,
}
_COUNTED = frozenset({"definitions", "indicators", "alerts", "detections"})
"""Tables of which the tenant's counters know how many rows there are."""
_SNAPSHOT = "snapshot."

_SQL_TYPES: Mapping[Type, TypeEngine[Any]] = {
    Type.NULL: NullType(),
    Type.BOOLEAN: Boolean(),
    Type.DOUBLE: Float(),
    Type.STRING: Text(),
    Type.ENUM: Text(),
}
_INTEGER = BigInteger()
_NULL: Sql = literal_column("NULL", NullType())
_ZERO: Sql = literal_column("0", Integer())
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


@dataclass(frozen=True, slots=True)
class Within:
    """The collection that a navigation leads to from one entity."""

    column: str
    """Of the set's table: `Navigation.target_key`."""
    value: int | str


def page(scope: Scope, entity: Entity, query: Query, within: Within | None = None) -> Page[Any]:
    """The entities that a query selects, as nouns."""
    found = scope.rows(statement(scope, entity, query, within))
    shown = found[: query.limit]
    more = len(found) > len(shown) > 0
    count_of_keys = len(query.order) or 1
    last = tuple(shown[-1][-count_of_keys:]) if more else None
    return Page(_NOUNS[entity.set_name](scope, shown), last)


def nouns(scope: Scope, entity: Entity, column: str, values: Iterable[int | str]) -> list[Any]:
    """The entities that hold one of the values in a column."""
    table = _TABLES[entity.set_name]
    wanted = [value for value in values if value is not None]
    if len(wanted) == 1:
        found = scope.lookup(table, column, wanted[0])
    else:
        found = scope.rows_in(scope.select(table), table.c[column], wanted)
    return _NOUNS[entity.set_name](scope, found)


def count(scope: Scope, entity: Entity, where: Expression | None, within: Within | None = None) -> int:
    """How many entities a filter keeps."""
    table = _TABLES[entity.set_name]
    if where is None and within is None and table.name in _COUNTED:
        return int(getattr(counting.counts(scope), table.name))
    statement = _narrowed(scope.select(table, func.count()), _Compiler(scope, table), where, within)
    row = scope.row(statement)
    return 0 if row is None else int(row[0])


def condition(scope: Scope, entity: Entity, where: Expression) -> Sql:
    """A filter in SQL, as the condition of a statement over the set's table."""
    return _Compiler(scope, _TABLES[entity.set_name]).condition(where, tree.IT)


_KEPT = 256
_STATEMENTS: dict[tuple[int, str, Query, Within | None], Select[Any]] = {}
"""Statements that were made, because half of the time of a short page goes into making one. They hold the
tenant, so they are kept by it; not those of further pages, of which each is another."""


def statement(scope: Scope, entity: Entity, query: Query, within: Within | None = None) -> Select[Any]:
    """The query in SQL, for one row more than its limit; its last columns are the sort keys."""
    if query.after is not None or scope.purging:
        return _statement(scope, entity, query, within)
    key = scope.tenant_id, entity.set_name, query, within
    found = _STATEMENTS.get(key)
    if found is None:
        if len(_STATEMENTS) >= _KEPT:
            _STATEMENTS.clear()
        found = _STATEMENTS[key] = _statement(scope, entity, query, within)
    return found


def _statement(scope: Scope, entity: Entity, query: Query, within: Within | None) -> Select[Any]:
    table = _TABLES[entity.set_name]
    compiler = _Compiler(scope, table)
    order = query.order or tree.total((), entity)
    keys = [compiler.sort_key(item.key) for item in order]
    if query.where is not None and compiler.keys_of(query.where, tree.IT) is not None:
        keys = [Unindexed(key) for key in keys]
    labelled = [key.label(f"key_{number}") for number, key in enumerate(keys)]
    chosen = scope.select(table).add_columns(*labelled)
    chosen = _narrowed(chosen, compiler, query.where, within)
    if table is tables.indicators:
        chosen = chosen.where(*purges.bounds(scope))
    if query.after is not None:
        chosen = chosen.where(_beyond(order, keys, query.after))
    chosen = chosen.order_by(*(_direction(item, key) for item, key in zip(order, keys, strict=True)))
    return chosen.limit(query.limit + 1).offset(query.skip or None)


def _narrowed(
    chosen: Select[Any], compiler: _Compiler, where: Expression | None, within: Within | None
) -> Select[Any]:
    if within is not None:
        chosen = chosen.where(compiler.bound[tree.IT].c[within.column] == within.value)
    return chosen if where is None else chosen.where(compiler.condition(where, tree.IT))


def _direction(item: Order, key: Sql) -> Sql:
    """Null is the lowest of all; SQLite thinks so itself, PostgreSQL is told."""
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


_NOUNS: Mapping[str, Callable[[Scope, Sequence[Row[Any]]], list[Any]]] = {
    ALERT_DEFINITION.set_name: lambda _scope, found: [rows.definition(row) for row in found],
    INDICATOR.set_name: indicators.nouns,
    ALERT.set_name: alerts.nouns,
    DETECTION.set_name: alerts.detection_nouns,
    ALERT_COMMENT.set_name: casework.comment_nouns,
    ALERT_CHANGE.set_name: casework.change_nouns,
    SUPPRESSION.set_name: suppressions.nouns,
    ALLOW_LIST.set_name: allow.nouns,
    ALLOW_ENTRY.set_name: allow.entry_nouns,
    OUTPUT.set_name: outbox.nouns,
    OUTPUT_MESSAGE.set_name: outbox.message_nouns,
    AUDIT.set_name: audit.nouns,
}


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

    def alias(self, table: Table) -> NamedFromClause[Any]:
        """The table under a name of its own within the query."""
        self.aliases += 1
        return _alias(table, self.aliases)

    def condition(self, where: Expression, variable: str) -> Sql:
        """A filter of what is bound to the variable, with what of it the index of values can answer."""
        keys = self.keys_of(where, variable)
        plain = self.operand(where)
        return plain if keys is None else and_(self.bound[variable].c.canonical_key.in_(sorted(keys)), plain)

    def keys_of(self, where: Expression, variable: str) -> frozenset[int] | None:
        """What the index of values holds of all that can fulfil a filter; None where that may be any."""
        found = self.bound[variable]
        table = found.element if isinstance(found, Alias) else found
        wanted = tree.pinned(where, variable, "Value") if table is tables.indicators else None
        return None if wanted is None else indicators.canonical_keys(wanted)

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
        if node.value is None:
            return _NULL  # bound, it would need a type
        bound = literal(node.value, _SQL_TYPES.get(node.kind, _INTEGER))
        return ByCodePoint(bound) if node.kind is Type.STRING else bound

    def member(self, node: tree.Member) -> Sql:
        return self.column(node.variable, node.steps, node.described.stored)

    def column(self, variable: str, steps: Sequence[Navigation], name: str) -> Sql:
        """A column of what the steps lead to; each step is a sub-query of the one row."""
        if not steps:
            return self.inside(self.bound[variable], name)
        step = steps[-1]
        key = self.column(variable, steps[:-1], step.key)
        if name == step.target_key and not step.nullable:
            return key
        target = self.alias(_TABLES[step.target])
        chosen = self.scope.select(target, self.inside(target, name)).where(target.c[step.target_key] == key)
        return chosen.correlate_except(target).scalar_subquery()

    def inside(self, table: FromClause, name: str) -> Sql:
        """A column of a table, or of the snapshot that its row refers to."""
        if not name.startswith(_SNAPSHOT):
            return table.c[name]
        kept = self.alias(tables.snapshots)
        chosen = self.scope.select(kept, kept.c[name.removeprefix(_SNAPSHOT)])
        chosen = chosen.where(kept.c.id == table.c.snapshot_id)
        return chosen.correlate_except(kept).scalar_subquery()

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
        if {node.left.kind, node.right.kind} == {Type.INT64, Type.DOUBLE}:
            if node.operator is Comparison.NE:
                return not_(self.operand(replace(node, operator=Comparison.EQ)))
            turned = node.left.kind is Type.DOUBLE
            sides = (_ZERO, Compared(right, left)) if turned else (Compared(left, right), _ZERO)
            return _ordered(node.operator, left, right, sides, empty)
        if node.operator in (Comparison.EQ, Comparison.NE):
            if not any(empty):
                return _COMPARE[node.operator](left, right)
            same = node.operator is Comparison.EQ
            return left.is_not_distinct_from(right) if same else left.is_distinct_from(right)
        enum = node.left.enum or node.right.enum
        if enum is not None:
            left, right = _rank(enum, left), _rank(enum, right)
        return _ordered(node.operator, left, right, (left, right), empty)

    def within(self, node: tree.In) -> Sql:
        given = [value.value for value in node.values if isinstance(value, tree.Literal)]
        alike = _AS.get(node.operand.kind)
        values = [value for value in (given if alike is None else map(alike, given)) if value is not None]
        operand = self.operand(node.operand)
        one_of = operand.in_(values) if values else _false()
        if None in given:
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
        target = self.alias(_TABLES[of.navigation.target])
        owner = self.column(of.variable, of.steps, of.navigation.key)
        inner = self.scope.select(target, target.c.id).where(target.c[of.navigation.target_key] == owner)
        if node.predicate is None:
            return inner, target, None
        self.bound[node.variable] = target
        predicate = self.condition(node.predicate, node.variable)
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


def _ordered(by: Comparison, left: Sql, right: Sql, sides: tuple[Sql, Sql], empty: Sequence[bool]) -> Sql:
    """A comparison that is never null: of two nulls it is true where it may be of two that are level."""
    plain = _COMPARE[by](*sides)
    if not any(empty):
        return plain
    both = all(empty) and by in (Comparison.EQ, Comparison.GE, Comparison.LE)
    return func.coalesce(plain, and_(left.is_(None), right.is_(None)) if both else _false())


def _whole(value: Value) -> Value:
    """The integer that is as much as a number; None where there is none."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and -(2**63) <= value < 2**63 else None
    return value


def _double(value: Value) -> Value:
    """The double that is as much as a number; None where there is none."""
    if isinstance(value, int):
        return float(value) if float(value) == value else None
    return value


_AS: Mapping[Type, Callable[[Value], Value]] = {Type.INT64: _whole, Type.DOUBLE: _double}
"""Numbers of a list as those that are looked for in it, for databases that would round one of the two."""


def _starts(text: Sql, part: Sql) -> Sql:
    return func.substr(text, 1, func.length(part), type_=Text()) == part


def _ends(text: Sql, part: Sql) -> Sql:
    start = func.length(text, type_=Integer()) - func.length(part, type_=Integer())
    return and_(start >= 0, func.substr(text, start + 1, type_=Text()) == part)


_NATIVE: Mapping[str, Callable[..., Sql]] = {
    "contains": lambda text, part: Position(text, part) > 0,
    "startswith": _starts,
    "endswith": _ends,
    "length": lambda text: func.length(text, type_=_INTEGER),
    "indexof": lambda text, part: Position(text, part) - 1,
    "concat": lambda left, right: left.concat(right),
}
"""Functions that databases have with the same meaning, characters being code points in all of them."""

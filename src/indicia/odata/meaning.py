"""The plain meaning of a tree over nouns: what every database must give, written to be read.

Null is OData's, not SQL's (OData 4.01 Part 2, 5.1.1.1): `null eq null` is true, a value and null are not
equal, `gt` and `lt` with a null are false, `ge` and `le` are so unless both are null. `and`, `or` and `not`
know true, false and null; functions of null are null; a filter keeps what is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cmp_to_key
from typing import Any, TypeAlias

from indicia.model import AlertDefinition, Indicator
from indicia.odata import literals
from indicia.odata.shapes import Navigation
from indicia.odata.tree import (
    IT,
    SORTED_TEXT,
    Call,
    Collection,
    Compare,
    Comparison,
    Count,
    Expression,
    In,
    Junction,
    Literal,
    Member,
    Not,
    Order,
    Quantified,
    Query,
    Value,
)

Noun: TypeAlias = AlertDefinition | Indicator
IndicatorsOf: TypeAlias = Callable[[Any], Sequence[Indicator]]

_COMPARE: Mapping[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.EQ: operator.eq,
    Comparison.NE: operator.ne,
    Comparison.GT: operator.gt,
    Comparison.GE: operator.ge,
    Comparison.LT: operator.lt,
    Comparison.LE: operator.le,
}
_ORDERED = frozenset({Comparison.GT, Comparison.GE, Comparison.LT, Comparison.LE})
_BOTH_NULL = frozenset({Comparison.EQ, Comparison.GE, Comparison.LE})


@dataclass(frozen=True, slots=True)
class Meaning:
    """Evaluates trees; `indicators_of` gives the indicators of a definition."""

    indicators_of: IndicatorsOf

    def keeps(self, node: Expression | None, noun: Noun) -> bool:
        """Whether a filter keeps the noun."""
        return node is None or self.value(node, {IT: noun}) is True

    def answer(self, query: Query, nouns: Sequence[Noun]) -> list[Noun]:
        """What a query gives of the nouns, its `after` aside."""
        kept = [noun for noun in nouns if self.keeps(query.where, noun)]

        def compare(left: Noun, right: Noun) -> int:
            return self.compare(query.order, left, right)

        ordered = sorted(kept, key=cmp_to_key(compare))
        return ordered[query.skip : query.skip + query.limit]

    def compare(self, order: Sequence[Order], left: Noun, right: Noun) -> int:
        """Negative, zero or positive: where two nouns stand to each other. No order is that of ids."""
        for item in order:
            a, b = (self.sort_key(item.key, noun) for noun in (left, right))
            if a != b:
                lower = b is not None if a is None else b is not None and a < b
                return -1 if lower is not item.descending else 1
        return 0 if order else left.id - right.id

    def sort_key(self, node: Expression, noun: Noun) -> Any:
        """What a noun is sorted by: members by their number, texts by their first characters."""
        value = self.value(node, {IT: noun})
        if isinstance(value, str) and node.enum is None:
            return value[:SORTED_TEXT]
        return _rank(node.enum, value)

    def value(self, node: Expression, bound: Mapping[str, Noun]) -> Value:
        """The value of a node, its variables bound to nouns."""
        evaluate: Callable[[Meaning, Any, Mapping[str, Noun]], Value] = _EVALUATE[type(node)]
        return evaluate(self, node, bound)

    def _literal(self, node: Literal, _bound: Mapping[str, Noun]) -> Value:
        return node.value

    def _member(self, node: Member, bound: Mapping[str, Noun]) -> Value:
        value = node.described.of(_walk(bound[node.variable], node.steps))
        if isinstance(value, datetime):
            return literals.micros(value)
        return str(value) if isinstance(value, StrEnum) else value

    def _call(self, node: Call, bound: Mapping[str, Noun]) -> Value:
        given = [self.value(argument, bound) for argument in node.arguments]
        if any(value is None for value in given):
            return None
        result: Value = node.function.apply(*given)
        return result

    def _compare(self, node: Compare, bound: Mapping[str, Noun]) -> Value:
        left, right = self.value(node.left, bound), self.value(node.right, bound)
        if left is None and right is None:
            return node.operator in _BOTH_NULL
        if left is None or right is None:
            return node.operator is Comparison.NE
        if node.operator in _ORDERED:
            left, right = _rank(node.left.enum, left), _rank(node.right.enum, right)
        return _COMPARE[node.operator](left, right)

    def _in(self, node: In, bound: Mapping[str, Noun]) -> Value:
        operand = self.value(node.operand, bound)
        return any(operand == self.value(value, bound) for value in node.values)

    def _not(self, node: Not, bound: Mapping[str, Noun]) -> Value:
        operand = self.value(node.operand, bound)
        return None if operand is None else not operand

    def _junction(self, node: Junction, bound: Mapping[str, Noun]) -> Value:
        values = [self.value(operand, bound) for operand in node.operands]
        decides = not node.every
        if decides in values:
            return decides
        return None if None in values else node.every

    def _quantified(self, node: Quantified, bound: Mapping[str, Noun]) -> Value:
        kept = self._kept(node.collection, node.variable, node.predicate, bound)
        return all(kept) if node.every else any(kept)

    def _count(self, node: Count, bound: Mapping[str, Noun]) -> Value:
        return sum(self._kept(node.collection, node.variable, node.predicate, bound))

    def _kept(
        self, of: Collection, variable: str, predicate: Expression | None, bound: Mapping[str, Noun]
    ) -> list[bool]:
        found = self.indicators_of(_walk(bound[of.variable], of.steps))
        return [
            predicate is None or self.value(predicate, {**bound, variable: item}) is True for item in found
        ]


_EVALUATE: Mapping[type, Callable[..., Value]] = {
    Literal: Meaning._literal,
    Member: Meaning._member,
    Call: Meaning._call,
    Compare: Meaning._compare,
    In: Meaning._in,
    Not: Meaning._not,
    Junction: Meaning._junction,
    Quantified: Meaning._quantified,
    Count: Meaning._count,
}


def _walk(noun: Noun, steps: Sequence[Navigation]) -> Noun:
    for step in steps:
        noun = getattr(noun, step.attribute or "")
    return noun


def _rank(enum: type[StrEnum] | None, value: Value) -> Value:
    """A member's number in $metadata; what is no member stays."""
    return value if enum is None or value is None else [str(item) for item in enum].index(str(value))

"""What a query asks, as a tree of frozen, typed nodes. `parse` makes it, `meaning` and the store read it.

Values inside are plain: times and durations are microseconds (times since 1970 UTC), dates are days since
1970, times of day microseconds since midnight, members of enums their names. So both readers compare the
same integers and the same texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from indicia.odata.functions import Function, Type
from indicia.odata.shapes import Entity, Kind, Navigation, Property

Value: TypeAlias = bool | int | float | str | None
IT = "$it"
"""The variable that is bound to the entity the query is about."""
SORTED_TEXT = 256
"""Characters of a text that count when it is sorted by, so that the token of the next page stays short."""

_TYPES = {
    Kind.INT64: Type.INT64,
    Kind.STRING: Type.STRING,
    Kind.BOOLEAN: Type.BOOLEAN,
    Kind.TIME: Type.TIME,
    Kind.ENUM: Type.ENUM,
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the query."""

    kind: Type
    value: Value
    enum: type[StrEnum] | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A property of the entity at the end of `steps`, which begin at a variable."""

    variable: str
    steps: tuple[Navigation, ...]
    described: Property

    @property
    def kind(self) -> Type:
        """The property's type."""
        return _TYPES[self.described.kind]

    @property
    def enum(self) -> type[StrEnum] | None:
        """The property's enum."""
        return self.described.enum


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an arithmetic operator, and what it is given."""

    enum: ClassVar[None] = None
    function: Function
    arguments: tuple[Expression, ...]

    @property
    def kind(self) -> Type:
        """The function's result."""
        return self.function.result


class Comparison(StrEnum):
    """The six comparisons."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"


@dataclass(frozen=True, slots=True)
class Compare:
    """Two operands of one type, or of two numeric ones."""

    kind: ClassVar[Type] = Type.BOOLEAN
    enum: ClassVar[None] = None

    operator: Comparison
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class In:
    """Whether a value is one of a list."""

    kind: ClassVar[Type] = Type.BOOLEAN
    enum: ClassVar[None] = None

    operand: Expression
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Negation; null stays null."""

    kind: ClassVar[Type] = Type.BOOLEAN
    enum: ClassVar[None] = None

    operand: Expression


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` (every) or `or` of two operands or more."""

    kind: ClassVar[Type] = Type.BOOLEAN
    enum: ClassVar[None] = None

    every: bool
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """The entities at the end of a path that leads to many."""

    variable: str
    steps: tuple[Navigation, ...]
    navigation: Navigation


@dataclass(frozen=True, slots=True)
class Quantified:
    """`any` or `all` (every) of a collection; each of its entities is bound to the variable in turn."""

    kind: ClassVar[Type] = Type.BOOLEAN
    enum: ClassVar[None] = None

    every: bool
    collection: Collection
    variable: str
    predicate: Expression | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many entities a collection has, those alone that a filter keeps where there is one."""

    kind: ClassVar[Type] = Type.INT64
    enum: ClassVar[None] = None
    collection: Collection
    variable: str
    predicate: Expression | None


Expression: TypeAlias = Literal | Member | Call | Compare | In | Not | Junction | Quantified | Count


@dataclass(frozen=True, slots=True)
class Order:
    """One key of a sort order. Null is lower than every value."""

    key: Expression
    descending: bool = False


ID = "Id"


def total(order: tuple[Order, ...], entity: Entity) -> tuple[Order, ...]:
    """The order made total: keys up to the first that is the id itself, else all and the id after them."""
    kept: list[Order] = []
    for item in order:
        kept.append(item)
        key = item.key
        if isinstance(key, Member) and key.variable == IT and not key.steps and key.described.name == ID:
            return tuple(kept)
    return (*kept, Order(Member(IT, (), entity.by_name[ID])))


@dataclass(frozen=True, slots=True)
class Query:
    """Which entities of a set, in which order, and which part of them."""

    where: Expression | None = None
    order: tuple[Order, ...] = ()
    """Total: see `total`; empty: by id."""
    after: tuple[Value, ...] | None = None
    """The sort keys of the entity before the first one wanted."""
    skip: int = 0
    limit: int = 1000


def nullable(node: Expression) -> bool:
    """Whether the node can be null."""
    match node:
        case Literal():
            return node.value is None
        case Member():
            return node.described.nullable or any(step.nullable for step in node.steps)
        case Call():
            return node.function.partial or any(nullable(argument) for argument in node.arguments)
        case Not():
            return nullable(node.operand)
        case Junction():
            return any(nullable(operand) for operand in node.operands)
        case _:
            return False


def pinned(node: Expression, variable: str, name: str) -> frozenset[str] | None:
    """The texts of which the property of the variable's entity has one, wherever the node is true.

    None where it may have any, as far as can be seen from `eq`, `in`, `and` and `or`.
    """
    match node:
        case Compare(Comparison.EQ, left, right):
            sides = (left, right) if isinstance(left, Member) else (right, left)
            return _texts(sides[0], sides[1:], variable, name)
        case In():
            return _texts(node.operand, node.values, variable, name)
        case Junction():
            parts = [pinned(operand, variable, name) for operand in node.operands]
            known = [part for part in parts if part is not None]
            if node.every:
                return min(known, key=len, default=None)
            return frozenset().union(*known) if len(known) == len(parts) else None
        case _:
            return None


def _texts(of: Expression, values: tuple[Expression, ...], variable: str, name: str) -> frozenset[str] | None:
    if not (isinstance(of, Member) and (of.variable, of.steps, of.described.name) == (variable, (), name)):
        return None
    given = [value.value for value in values if isinstance(value, Literal)]
    return frozenset(map(str, given)) if len(given) == len(values) and None not in given else None

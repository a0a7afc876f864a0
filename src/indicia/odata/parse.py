"""Text to tree: `$filter` and `$orderby` by precedence climbing, types checked as the tree grows.

A security boundary: the text is bounded before it is read (`tokens`), the tree while it grows. Whatever is
refused raises InvalidValue (400) or NotSupported (501) with the option as target and the column in words.
Grammar and precedence: OData 4.01 Part 2, 5.1.1; operators and function names in any letter case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn

from indicia.errors import Forbidden
from indicia.odata import constants, functions, literals
from indicia.odata.entities import BY_SET, NAMESPACE
from indicia.odata.functions import NUMERIC, Function, Type
from indicia.odata.shapes import Entity, Navigation, Property
from indicia.odata.shapes import Kind as PropertyKind
from indicia.odata.tokens import Kind, Token, Tokens
from indicia.odata.tree import (
    IT,
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
    Value,
    total,
)

DEPTH_LIMIT = 24
"""Levels of a tree: parentheses, functions, chains of arithmetic."""
NODE_LIMIT = 2000
"""Operators, names and literals of one request's expressions."""
COLLECTION_DEPTH = 1
"""Collections inside collections: each level multiplies what the store has to look at."""
ORDER_LIMIT = 8
"""Sort keys."""

_COMPARISONS = {item.value: item for item in Comparison}
_PRECEDENCE = {
    "or": 1,
    "and": 2,
    "eq": 3,
    "ne": 3,
    "gt": 4,
    "ge": 4,
    "lt": 4,
    "le": 4,
    "add": 5,
    "sub": 5,
    "mul": 6,
    "div": 6,
    "divby": 6,
    "mod": 6,
    "in": 8,
    "has": 8,
}
_UNARY = 7
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}
_EDM_WORDS = {
    Type.NULL: "null",
    Type.BOOLEAN: "true or false",
    Type.INT64: "an integer",
    Type.DOUBLE: "a number",
    Type.STRING: "a text in single quotes",
    Type.TIME: "a time such as 2030-01-31T12:00:00Z",
    Type.DATE: "a date such as 2030-01-31",
    Type.TIME_OF_DAY: "a time of day such as 12:30:00",
    Type.DURATION: "a duration such as duration'PT12H'",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a whole request may use, shared by its expressions."""

    nodes: list[int]

    @classmethod
    def fresh(cls) -> Bounds:
        """Nothing used yet."""
        return cls([0])


@dataclass(frozen=True, slots=True)
class _Piece:
    """A node with what the parser knows beside it."""

    node: Expression
    column: int
    height: int = 1


@dataclass(frozen=True, slots=True)
class Context:
    """What an expression may refer to beside its own text."""

    entity: Entity
    aliases: Mapping[str, str]
    """Texts of the parameter aliases, by `@name`."""
    now: datetime
    bounds: Bounds
    sets: Mapping[str, Entity]
    """Where navigations may lead: the sets that the caller may read."""

    def target(self, way: Navigation) -> Entity:
        """What a navigation leads to. Raises Forbidden where the caller may not read that."""
        found = self.sets.get(way.target)
        if found is None:
            raise Forbidden(f"the token lacks the role for {way.target}, where {way.name} leads")
        return found


def context(
    entity: Entity,
    aliases: Mapping[str, str] | None = None,
    now: datetime | None = None,
    sets: Mapping[str, Entity] = BY_SET,
) -> Context:
    """The context of a request about a set; `now()` is one moment for all of it."""
    return Context(entity, aliases or {}, now or datetime.now(UTC), Bounds.fresh(), sets)


def predicate(text: str, within: Context, target: str = "$filter") -> Expression:
    """A whole text as a Boolean expression."""
    tokens = _begin(text, target)
    parser = _Parser(tokens, within)
    piece = parser.expression(0)
    _end(tokens)
    return parser.boolean(piece, "the filter").node


def order(text: str, within: Context, target: str = "$orderby") -> tuple[Order, ...]:
    """A whole text as sort keys, made total by the id."""
    tokens = _begin(text, target)
    parser = _Parser(tokens, within)
    keys: list[Order] = []
    while True:
        piece = parser.expression(0)
        if piece.node.kind is Type.NULL:
            tokens.fail(piece.column, "null sorts nothing")
        keys.append(Order(piece.node, _descending(tokens)))
        if len(keys) > ORDER_LIMIT:
            tokens.fail(piece.column, f"more than {ORDER_LIMIT} sort keys")
        if not tokens.take(","):
            break
    _end(tokens)
    return total(tuple(keys), within.entity)


def _begin(text: str, target: str) -> Tokens:
    tokens = Tokens(text, target)
    if text[:1] in (" ", "\t") or text[-1:] in (" ", "\t"):
        tokens.fail(1, "white space at the beginning or the end")
    return tokens


def _descending(tokens: Tokens) -> bool:
    word = tokens.current.text.lower()
    if tokens.current.kind is Kind.NAME and word in ("asc", "desc"):
        tokens.advance()
        return word == "desc"
    return False


def _end(tokens: Tokens) -> None:
    if tokens.current.kind is not Kind.END:
        tokens.unexpected("an operator or the end")


class _Parser:
    """One expression."""

    def __init__(self, tokens: Tokens, within: Context) -> None:
        self.tokens = tokens
        self.within = within
        self.variables: dict[str, Entity] = {IT: within.entity}
        self.implicit = IT
        self.depth = 0
        self.collections = 0
        self.in_alias = False

    # Faults

    def fail(self, column: int, message: str) -> NoReturn:
        self.tokens.fail(column, message)

    # Growing the tree within bounds

    def grown(self, node: Expression, column: int, *below: _Piece) -> _Piece:
        height = 1 + max((piece.height for piece in below), default=0)
        if height > DEPTH_LIMIT:
            self.fail(column, f"nested more than {DEPTH_LIMIT} levels deep")
        used = self.within.bounds.nodes
        used[0] += 1
        if used[0] > NODE_LIMIT:
            self.fail(column, f"more than {NODE_LIMIT} operators, names and values")
        return _Piece(node, column, height)

    def descend(self, column: int) -> None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            self.fail(column, f"nested more than {DEPTH_LIMIT} levels deep")

    # Operators

    def expression(self, least: int) -> _Piece:
        """An expression of operators that bind as strongly as `least`, or more."""
        self.descend(self.tokens.current.column)
        left = self.unary()
        while (found := self.operator()) is not None and found[1] >= least:
            word, strength = found
            place = self.tokens.advance()
            if word in ("and", "or"):
                left = self.junction(word, strength, left)
            elif word == "in":
                left = self.within_list(left)
            elif word == "has":
                self.tokens.later(place.column, "the operator has")
            else:
                left = self.binary(word, place, left, self.expression(strength + 1))
        self.depth -= 1
        return left

    def operator(self) -> tuple[str, int] | None:
        """The operator that comes next, with its strength."""
        token = self.tokens.current
        if token.kind is not Kind.NAME or not token.spaced:
            return None
        word = token.text.lower()
        strength = _PRECEDENCE.get(word)
        return None if strength is None else (word, strength)

    def unary(self) -> _Piece:
        token = self.tokens.current
        if token.kind is Kind.NAME and token.text.lower() == "not":
            self.tokens.advance()
            operand = self.boolean(self.expression(_UNARY), "not", ": write not (…)")
            return self.grown(Not(operand.node), token.column, operand)
        if token.kind is Kind.SYMBOL and token.text in "+-":
            self.tokens.advance()
            return self.signed(token)
        return self.primary()

    def signed(self, sign: Token) -> _Piece:
        """A number with its sign, or the negation of an expression."""
        number = self.tokens.current
        if number.kind in (Kind.INTEGER, Kind.NUMBER) and not number.spaced:
            self.tokens.advance()
            node = constants.number(self.tokens, f"{sign.text}{number.text}", sign.column)
            return self.grown(node, sign.column)
        if sign.text == "+":
            self.tokens.unexpected("a number after '+'")
        operand = self.expression(_UNARY)
        return self.call(
            "negate", functions.OPERATORS_BY_NAME["negate"], sign.column, [operand], "the operator -"
        )

    def junction(self, word: str, strength: int, left: _Piece) -> _Piece:
        pieces = [self.boolean(left, word)]
        while True:
            pieces.append(self.boolean(self.expression(strength + 1), word))
            found = self.operator()
            if found is None or found[0] != word:
                break
            self.tokens.advance()
        nodes = tuple(piece.node for piece in pieces)
        return self.grown(Junction(word == "and", nodes), left.column, *pieces)

    def binary(self, word: str, place: Token, left: _Piece, right: _Piece) -> _Piece:
        comparison = _COMPARISONS.get(word)
        if comparison is None:
            overloads = functions.OPERATORS_BY_NAME[word]
            return self.call(word, overloads, place.column, [left, right], f"the operator {word}")
        left, right = self.alike(left, right)
        return self.grown(Compare(comparison, left.node, right.node), left.column, left, right)

    def within_list(self, operand: _Piece) -> _Piece:
        """The list after `in`."""
        if self.tokens.at("["):
            self.tokens.later(self.tokens.current.column, "a list in brackets: write (…)")
        self.tokens.expect("(", " and a list of values after in")
        values: list[_Piece] = []
        while not self.tokens.take(")"):
            if values:
                self.tokens.expect(",", " or ')'")
            value = self.expression(_UNARY)
            if not isinstance(value.node, Literal):
                self.fail(value.column, "the list after in holds literals")
            operand, value = self.alike(operand, value)
            values.append(value)
        return self.grown(In(operand.node, tuple(v.node for v in values)), operand.column, operand, *values)

    # Types

    def boolean(self, piece: _Piece, what: str, hint: str = "") -> _Piece:
        if piece.node.kind not in (Type.BOOLEAN, Type.NULL):
            self.fail(piece.column, f"{what} takes true or false, not {_named(piece.node)}{hint}")
        return piece

    def alike(self, left: _Piece, right: _Piece) -> tuple[_Piece, _Piece]:
        """Two operands that can be compared; a text beside an enum becomes its member."""
        if left.node.kind is Type.ENUM:
            right = self.member(right, left.node.enum)
        elif right.node.kind is Type.ENUM:
            left = self.member(left, right.node.enum)
        kinds = {left.node.kind, right.node.kind} - {Type.NULL}
        enums = {left.node.enum, right.node.enum} - {None}
        if (len(kinds) > 1 and kinds != NUMERIC) or len(enums) > 1:
            wanted = _wanted(left.node)
            hint = "; date(…) makes a date of a time" if kinds == {Type.TIME, Type.DATE} else ""
            self.fail(right.column, f"expected {wanted}, found {_named(right.node)}{hint}")
        return left, right

    def member(self, piece: _Piece, enum: type[StrEnum] | None) -> _Piece:
        node = piece.node
        if enum is None or not isinstance(node, Literal) or node.kind is not Type.STRING:
            return piece
        name = str(node.value)
        return _Piece(constants.member(self.tokens, enum, name, piece.column), piece.column)

    def call(
        self, name: str, overloads: tuple[Function, ...], column: int, given: list[_Piece], what: str
    ) -> _Piece:
        function = functions.overload(overloads, tuple(piece.node.kind for piece in given))
        if function is None:
            takes = " or ".join(f"({', '.join(_short(kind) for kind in f.arguments)})" for f in overloads)
            found = ", ".join(_named(piece.node) for piece in given)
            self.fail(column, f"{what} takes {takes}, not ({found})")
        last = given[-1].node if given else None
        if name in ("div", "divby", "mod") and isinstance(last, Literal) and last.value == 0:
            self.fail(given[-1].column, "division by zero")
        return self.grown(Call(function, tuple(piece.node for piece in given)), column, *given)

    # Operands

    def primary(self) -> _Piece:
        token = self.tokens.current
        if self.tokens.take("("):
            inner = self.expression(0)
            self.tokens.expect(")", " or an operator")
            return _Piece(inner.node, token.column, inner.height)
        reader = _READERS.get(token.kind, _Parser.constant if token.kind in constants.KINDS else None)
        if reader is None:
            if token.text in ("[", "{", '"') and token.kind is Kind.SYMBOL:
                self.tokens.later(token.column, "a list, an object or a text in double quotes")
            self.tokens.unexpected("a property, a value, a function or '('")
        return reader(self, token)

    def literal(self, kind: Type, value: Value, token: Token) -> _Piece:
        return self.grown(Literal(kind, value), token.column)

    def constant(self, token: Token) -> _Piece:
        self.tokens.advance()
        return self.grown(constants.literal(self.tokens, token), token.column)

    def alias(self, token: Token) -> _Piece:
        """A parameter alias: what its own query option says; null where it says nothing (5.3)."""
        self.tokens.advance()
        if self.tokens.at("/"):
            self.tokens.later(token.column, "a path below a parameter alias or an annotation")
        if self.in_alias:
            self.tokens.later(token.column, "a parameter alias inside another one")
        text = self.within.aliases.get(token.text)
        if text is None:
            return self.literal(Type.NULL, None, token)
        inner = _Parser(Tokens(text, token.text), self.within)
        inner.in_alias = True
        inner.depth = self.depth
        piece = inner.expression(0)
        _end(inner.tokens)
        return _Piece(piece.node, token.column, piece.height)

    def name(self, token: Token) -> _Piece:
        self.tokens.advance()
        if self.tokens.at("(") and not self.tokens.current.spaced:
            return self.function(token)
        word = token.text.lower()
        if token.text not in self.variables:
            if word in _WORDS:
                kind = Type.NULL if word == "null" else Type.BOOLEAN
                return self.literal(kind, _WORDS[word], token)
            if token.text in ("INF", "NaN", "$root", "$this") or "." in token.text:
                self.tokens.later(token.column, token.text[:80])
            return self.path(self.implicit, token)
        if not self.tokens.take("/"):
            self.whole(token)
        return self.path(token.text, self.named())

    def whole(self, token: Token) -> NoReturn:
        name = token.text
        self.tokens.later(token.column, f"a whole entity as a value (name a property, as {name}/Id)")

    def named(self) -> Token:
        """A name that must come now, taken."""
        if self.tokens.current.kind is not Kind.NAME:
            self.tokens.unexpected("a name")
        return self.tokens.advance()

    def function(self, token: Token) -> _Piece:
        name = token.text.lower()
        if name in functions.MOMENTS:
            return self.moment(name, token)
        overloads = functions.BY_NAME.get(name)
        if overloads is None:
            if name in functions.LATER or "." in name or token.text in self.entity_names():
                self.tokens.later(token.column, f"{token.text[:80]}(…)")
            self.fail(token.column, f"there is no function {token.text[:80]!r}")
        self.tokens.expect("(")
        given: list[_Piece] = []
        while not self.tokens.take(")"):
            if given:
                self.tokens.expect(",", " or ')'")
            given.append(self.expression(0))
        return self.call(name, overloads, token.column, given, name)

    def entity_names(self) -> set[str]:
        return {way.name for way in self.variables[self.implicit].navigations} | self.within.sets.keys()

    def moment(self, name: str, token: Token) -> _Piece:
        self.tokens.expect("(")
        self.tokens.expect(")", f": {name} takes nothing")
        fixed = {"mindatetime": functions.FIRST_TIME, "maxdatetime": functions.LAST_TIME}
        return self.literal(Type.TIME, fixed.get(name, literals.micros(self.within.now)), token)

    # Paths

    def path(self, variable: str, token: Token) -> _Piece:
        """Names joined by slashes, from a variable on; the first of them is taken already."""
        entity = self.variables[variable]
        steps: list[Navigation] = []
        start = token.column
        while True:
            described = entity.by_name.get(token.text)
            if described is not None:
                return self.property_at(variable, tuple(steps), described, start)
            way = entity.navigation(token.text)
            if way is None:
                self.unknown(entity, token)
            if way.many:
                return self.collection(Collection(variable, tuple(steps), way), start)
            if not self.tokens.take("/"):
                self.whole(token)
            steps.append(way)
            entity = self.within.target(way)
            token = self.named()

    def property_at(
        self, variable: str, steps: tuple[Navigation, ...], described: Property, column: int
    ) -> _Piece:
        if self.tokens.at("/"):
            self.tokens.later(self.tokens.current.column, f"a path below {described.name}")
        if described.many:
            what = "numbers" if described.kind is PropertyKind.NUMBERS else "texts"
            self.tokens.later(column, f"{described.name}, a collection of {what}, in an expression")
        return self.grown(Member(variable, steps, described), column)

    def unknown(self, entity: Entity, token: Token) -> NoReturn:
        if token.text.startswith("$") or "." in token.text:
            self.tokens.later(token.column, token.text)
        names = [item.name for item in entity.properties] + [way.name for way in entity.navigations]
        near = next((name for name in names if name.lower() == token.text.lower()), None)
        hint = f"; did you mean {near}?" if near else f"; it has {', '.join(names)}"
        self.fail(token.column, f"{entity.name} has no property {token.text[:80]!r}{hint}")

    def collection(self, found: Collection, column: int) -> _Piece:
        """any, all or $count of a path that leads to many."""
        if not self.tokens.take("/"):
            self.fail(column, f"{found.navigation.name} is a collection: add /any(…), /all(…) or /$count")
        self.collections += 1
        if self.collections > COLLECTION_DEPTH:
            self.fail(column, "any, all and $count of a collection may not stand inside one another")
        token = self.named()
        word = token.text.lower()
        if word in ("any", "all"):
            piece = self.quantified(word == "all", found, column)
        elif word == "$count":
            piece = self.count(found, column)
        elif word in ("$filter", "$ref") or "." in word:
            self.tokens.later(token.column, token.text)
        else:
            self.fail(token.column, f"expected any, all or $count after a collection, found {token.shown}")
        self.collections -= 1
        return piece

    def quantified(self, every: bool, found: Collection, column: int) -> _Piece:
        self.tokens.expect("(")
        if not every and self.tokens.take(")"):
            return self.grown(Quantified(False, found, "", None), column)
        variable = self.named()
        if variable.text in self.variables or "." in variable.text or variable.text.startswith("$"):
            self.fail(variable.column, f"{variable.text[:80]!r} cannot be the name of a new variable")
        self.tokens.expect(":", " after the variable, as any(x:x/Id eq 1)")
        self.variables[variable.text] = self.within.target(found.navigation)
        inner = self.boolean(self.expression(0), "any and all")
        del self.variables[variable.text]
        self.tokens.expect(")", " or an operator")
        return self.grown(Quantified(every, found, variable.text, inner.node), column, inner)

    def count(self, found: Collection, column: int) -> _Piece:
        if not self.tokens.at("(") or self.tokens.current.spaced:
            return self.grown(Count(found, "", None), column)
        self.tokens.advance()
        option = self.named()
        if option.text.lower() not in ("$filter", "filter"):
            self.tokens.later(option.column, f"{option.text[:80]} of $count")
        self.tokens.expect("=", " after $filter")
        outer, variable = self.implicit, f"$count{self.collections}"
        self.implicit, self.variables[variable] = variable, self.within.target(found.navigation)
        inner = self.boolean(self.expression(0), "the filter of $count")
        self.implicit = outer
        del self.variables[variable]
        self.tokens.expect(")", " or an operator")
        return self.grown(Count(found, variable, inner.node), column, inner)


_READERS: Mapping[Kind, Callable[[_Parser, Token], _Piece]] = {
    Kind.NAME: _Parser.name,
    Kind.ALIAS: _Parser.alias,
}


def _short(kind: Type) -> str:
    return kind.removeprefix("Edm.")


def _named(node: Expression) -> str:
    """A node as an error names it: its type, and the enum it is of."""
    if node.enum is not None:
        return f"{NAMESPACE}.{node.enum.__name__}"
    return str(node.kind)


def _wanted(node: Expression) -> str:
    """What may stand beside a node."""
    if node.enum is not None:
        return f"one of {', '.join(repr(str(item)) for item in node.enum)}"
    return _EDM_WORDS[node.kind]

"""Properties of entities as typed fields, and the conditions that are written with them.

    (Indicator.Value == "it's") & ~Indicator.Source.is_null()
    AlertDefinition.IndicatorsOfCompromise.any(Indicator.Type == IndicatorType.SHA1)

A condition is built from fields and values and never from text, so no value can end its quotes: whatever a
value holds, it is one literal (OData ABNF 4.01). A value of another type than the field's is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from indicia.errors import InvalidValue

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
INT64 = range(-(2**63), 2**63)
Written = Callable[[str], str]
"""A part of a condition, given the path to the entity that its fields belong to."""


@dataclass(frozen=True, eq=False)
class Condition:
    """What entities have to fulfil. Join conditions by `&`, `|` and `~`; `and`, `or`, `not` cannot work."""

    parts: tuple[Written, ...]
    joined_by: str = ""

    def __and__(self, other: Condition) -> Condition:
        return self._join("and", other)

    def __or__(self, other: Condition) -> Condition:
        return self._join("or", other)

    def __invert__(self) -> Condition:
        return Condition((lambda prefix: f"not ({self.text(prefix)})",))

    def __bool__(self) -> bool:
        raise TypeError("join conditions by &, | and ~ with parentheses around each, not by and, or, not")

    def _join(self, word: str, other: Condition) -> Condition:
        if not isinstance(other, Condition):
            raise TypeError(f"{word} joins two conditions; this is {other!r}")
        return Condition((*self._as_parts_of(word), *other._as_parts_of(word)), word)

    def _as_parts_of(self, word: str) -> tuple[Written, ...]:
        """Flat where the word is the same: the service limits how deep parentheses go."""
        return self.parts if self.joined_by == word else (self._nested if self.joined_by else self.text,)

    def _nested(self, prefix: str) -> str:
        return f"({self.text(prefix)})"

    def text(self, prefix: str = "") -> str:
        """As `$filter` has it."""
        return f" {self.joined_by} ".join(part(prefix) for part in self.parts)

    def __repr__(self) -> str:
        return f"Condition({self.text()!r})"


@dataclass(frozen=True)
class Order:
    """One sort key of `$orderby`."""

    text: str


@dataclass(frozen=True)
class Codec(Generic[T]):
    """One type of value: how it is called, checked, written as a literal, read from and written to JSON."""

    what: str
    fits: Callable[[Any], bool]
    literal: Callable[[T], str]
    read: Callable[[Any], T]
    write: Callable[[T], Any]


class Field(Generic[T]):
    """A property: `Indicator.Value == "evil.example"` is a condition, so are `!=`, `<`, `<=`, `>` and `>=`.

    None stands for null in `==` and `!=`.
    """

    def __init__(self, name: str, attribute: str, codec: Codec[T], *, sent: bool = True) -> None:
        self.name = name
        self.attribute = attribute
        self.codec = codec
        self.sent = sent
        """False where the service alone sets it."""
        self.path = name

    def __get__(self, instance: object, owner: type) -> Field[T]:
        """Itself; reached through a navigation property, the field at the end of that way."""
        found: Field[T] = self._behind(instance)
        return found

    def _behind(self, instance: object) -> Any:
        way = _way_of(instance)
        if not way:
            return self
        there = object.__new__(type(self))
        there.__dict__.update(self.__dict__, path=f"{way}/{self.path}")
        return there

    def literal(self, value: T | None) -> str:
        """A value as a filter spells it. Raises InvalidValue for one of another type."""
        if value is None:
            return "null"
        if not self.codec.fits(value):
            raise InvalidValue(f"takes {self.codec.what}, not {str(value)[:80]!r}", target=self.name)
        return self.codec.literal(value)

    def _compared(self, operator: str, value: T | None) -> Condition:
        literal = self.literal(value)
        return Condition((lambda prefix: f"{prefix}{self.path} {operator} {literal}",))

    def __eq__(self, value: T | None) -> Condition:  # type: ignore[override]
        return self._compared("eq", value)

    def __ne__(self, value: T | None) -> Condition:  # type: ignore[override]
        return self._compared("ne", value)

    def __lt__(self, value: T) -> Condition:
        return self._compared("lt", value)

    def __le__(self, value: T) -> Condition:
        return self._compared("le", value)

    def __gt__(self, value: T) -> Condition:
        return self._compared("gt", value)

    def __ge__(self, value: T) -> Condition:
        return self._compared("ge", value)

    __hash__ = object.__hash__

    def is_null(self) -> Condition:
        """Without a value; the same as `== None`."""
        return self._compared("eq", None)

    def within(self, values: Collection[T]) -> Condition:
        """Equal to one of the values. Raises InvalidValue where there are none."""
        if isinstance(values, str) or not values:
            raise InvalidValue("within takes a list of one or more values", target=self.name)
        literals = ",".join(self.literal(value) for value in values)
        return Condition((lambda prefix: f"{prefix}{self.path} in ({literals})",))

    @property
    def ascending(self) -> Order:
        """For `order`: lowest first, null before everything."""
        return Order(f"{self.path} asc")

    @property
    def descending(self) -> Order:
        """For `order`: highest first."""
        return Order(f"{self.path} desc")

    def __repr__(self) -> str:
        return f"<field {self.path}>"


class Text(Field[str]):
    """A property that holds text; letter case counts, and so does every `%` and `_`."""

    def __init__(self, name: str, attribute: str, *, sent: bool = True) -> None:
        super().__init__(name, attribute, TEXT, sent=sent)

    def __get__(self, instance: object, owner: type) -> Text:
        """As of `Field`."""
        found: Text = self._behind(instance)
        return found

    def _called(self, function: str, value: str) -> Condition:
        literal = self.literal(value)
        return Condition((lambda prefix: f"{function}({prefix}{self.path},{literal})",))

    def startswith(self, value: str) -> Condition:
        """Begins with the value."""
        return self._called("startswith", value)

    def endswith(self, value: str) -> Condition:
        """Ends with the value."""
        return self._called("endswith", value)

    def contains(self, value: str) -> Condition:
        """Holds the value."""
        return self._called("contains", value)


class Fields:
    """The fields of one entity; an instance is the way to it from another entity."""

    @classmethod
    def table(cls) -> dict[str, Field[Any]]:
        """Every field by its name."""
        return {
            name: found
            for kind in reversed(cls.__mro__)
            for name, found in vars(kind).items()
            if isinstance(found, Field)
        }


F = TypeVar("F", bound=Fields)


def one(fields: type[F], name: str) -> F:
    """A navigation property that leads to one entity, whose fields follow with a dot."""
    way = object.__new__(fields)
    way.__dict__["_way"] = name
    return way


def _way_of(instance: object) -> str:
    """The navigation property that an instance is the way of; empty for an entity or a class."""
    return instance.__dict__.get("_way", "") if isinstance(instance, Fields) else ""


class Many:
    """A navigation property that leads to many entities."""

    def __init__(self, name: str) -> None:
        self.path = name

    def __get__(self, instance: object, owner: type) -> Many:
        """Itself; reached through another navigation property, what is at the end of both."""
        way = _way_of(instance)
        return Many(f"{way}/{self.path}") if way else self

    def any(self, condition: Condition) -> Condition:
        """At least one of them fulfils the condition."""
        return self._quantified("any", condition)

    def all(self, condition: Condition) -> Condition:
        """Every one of them fulfils the condition; so it is where there are none."""
        return self._quantified("all", condition)

    def _quantified(self, word: str, condition: Condition) -> Condition:
        def written(prefix: str) -> str:
            # A name of its own for each level, so that the inner one never hides the outer one.
            name = f"x{prefix.count('/')}"
            return f"{prefix}{self.path}/{word}({name}:{condition.text(f'{name}/')})"

        return Condition((written,))


def ordering(keys: Iterable[Order | Field[Any]]) -> str:
    """As `$orderby` has it; a field alone is ascending."""
    return ",".join((key.ascending if isinstance(key, Field) else key).text for key in keys)


def _quoted(value: str) -> str:
    if "\0" in value:
        raise InvalidValue("a text must not contain the character U+0000")
    return "'" + value.replace("'", "''") + "'"


def _stamp(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(raw: Any) -> datetime:
    return datetime.fromisoformat(raw)


def _same(raw: Any) -> Any:
    return raw


def _texts(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        raise ValueError(f"{str(raw)[:80]!r} where a list of texts belongs")
    return tuple(raw)


def _as(kind: type[T]) -> Callable[[Any], T]:
    def read(raw: Any) -> T:
        if type(raw) is not kind:
            raise ValueError(f"{str(raw)[:80]!r} where {kind.__name__} belongs")
        return raw

    return read


TEXT: Codec[str] = Codec("a text", lambda value: isinstance(value, str), _quoted, _as(str), str)
NUMBER: Codec[int] = Codec(
    "an integer of 64 bits", lambda value: type(value) is int and value in INT64, str, _as(int), _same
)
FLAG: Codec[bool] = Codec(
    "True or False", lambda value: isinstance(value, bool), lambda value: str(value).lower(), _as(bool), _same
)
TIME: Codec[datetime] = Codec(
    "a datetime with its time zone",
    lambda value: isinstance(value, datetime) and value.utcoffset() is not None,
    _stamp,
    _time,
    _stamp,
)

TEXTS: Codec[tuple[str, ...]] = Codec(
    "no value: a list of texts is not compared", lambda value: False, str, _texts, list
)


def choice(kind: type[E]) -> Codec[E]:
    """The codec of an enum, whose literals are its names in quotes."""
    return Codec(
        f"a member of {kind.__name__}",
        lambda value: isinstance(value, kind),
        lambda value: _quoted(value.value),
        kind,
        lambda value: value.value,
    )


def number(name: str, attribute: str, *, sent: bool = True) -> Field[int]:
    """A field of integers."""
    return Field(name, attribute, NUMBER, sent=sent)


def flag(name: str, attribute: str, *, sent: bool = True) -> Field[bool]:
    """A field of True and False."""
    return Field(name, attribute, FLAG, sent=sent)


def time(name: str, attribute: str, *, sent: bool = True) -> Field[datetime]:
    """A field of moments, in UTC when read."""
    return Field(name, attribute, TIME, sent=sent)


def member(name: str, attribute: str, kind: type[E], *, sent: bool = True) -> Field[E]:
    """A field of an enum."""
    return Field(name, attribute, choice(kind), sent=sent)


def texts(name: str, attribute: str) -> Field[tuple[str, ...]]:
    """A field of lists of texts, which is read and not compared."""
    return Field(name, attribute, TEXTS, sent=False)

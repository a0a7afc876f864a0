"""The functions and arithmetic operators of the language: what each takes, what it gives, what it does.

One table for the parser (types), the plain meaning, and the store, which gives the very same functions to
its database where that has none of its own. A function of null is null (OData 4.01 Part 2, 5.1.1.4) and so
is what has no result: a quotient by zero, a sum beyond 64 bits, a time beyond the year 9999.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FIRST_DAY = date.min.toordinal() - EPOCH_ORDINAL
LAST_DAY = date.max.toordinal() - EPOCH_ORDINAL
FIRST_TIME = FIRST_DAY * DAY
LAST_TIME = (LAST_DAY + 1) * DAY - 1
_INT64 = 2**63


class Type(StrEnum):
    """What an expression can be."""

    NULL = "null"
    BOOLEAN = "Edm.Boolean"
    INT64 = "Edm.Int64"
    DOUBLE = "Edm.Double"
    STRING = "Edm.String"
    TIME = "Edm.DateTimeOffset"
    DATE = "Edm.Date"
    TIME_OF_DAY = "Edm.TimeOfDay"
    DURATION = "Edm.Duration"
    ENUM = "an enum"


NUMERIC = frozenset({Type.INT64, Type.DOUBLE})


@dataclass(frozen=True, slots=True)
class Function:
    """One overload of a function or operator."""

    name: str
    arguments: tuple[Type, ...]
    result: Type
    apply: Callable[..., Any]
    """Called with values that are not null. Gives None where there is no result; never raises."""
    partial: bool = False
    """Whether it can give null although no argument is."""

    @property
    def key(self) -> str:
        """Its name in a database: `odata_year_date`."""
        kinds = "_".join(kind.removeprefix("Edm.").lower() for kind in self.arguments)
        return f"odata_{self.name}_{kinds}"

    def takes(self, given: tuple[Type, ...]) -> bool:
        """Whether arguments of those types fit; null fits everywhere, an integer where a double is taken."""
        return len(given) == len(self.arguments) and all(
            kind is wanted or kind is Type.NULL or (kind is Type.INT64 and wanted is Type.DOUBLE)
            for kind, wanted in zip(given, self.arguments, strict=True)
        )


def _int64(value: int) -> int | None:
    return value if -_INT64 <= value < _INT64 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _time(value: int) -> int | None:
    return value if FIRST_TIME <= value <= LAST_TIME else None


def _day(value: int) -> int | None:
    return value if FIRST_DAY <= value <= LAST_DAY else None


def _quotient(left: int, right: int) -> int | None:
    """Integer division that cuts towards zero."""
    if right == 0:
        return None
    quotient = abs(left) // abs(right)
    return _int64(quotient if (left < 0) == (right < 0) else -quotient)


def _remainder(left: int, right: int) -> int | None:
    """What that division leaves; it has the sign of the left operand."""
    if right == 0:
        return None
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


def _ratio(left: float, right: float) -> float | None:
    return None if right == 0 else _finite(left / right)


def _half_up(value: float) -> float:
    """The nearest whole number; halves go away from zero."""
    size = abs(value)
    whole = float(math.floor(size))
    return math.copysign(whole + 1 if size - whole >= 0.5 else whole, value)


def _substring(text: str, start: int, length: int | None = None) -> str:
    start = max(start, 0)
    return text[start:] if length is None else text[start : start + max(length, 0)]


def _lower(text: str) -> str:
    """Each letter by itself, also the capital sigma at the end of a word."""
    return text.replace("\u03a3", "\u03c3").lower()


def _calendar(day: int) -> date:
    return date.fromordinal(min(max(day, FIRST_DAY), LAST_DAY) + EPOCH_ORDINAL)


def _whole_days(duration: int) -> int:
    return abs(duration) // DAY * (1 if duration >= 0 else -1)


_B, _I, _D, _S = Type.BOOLEAN, Type.INT64, Type.DOUBLE, Type.STRING
_T, _Y, _C, _P = Type.TIME, Type.DATE, Type.TIME_OF_DAY, Type.DURATION

OPERATORS: tuple[Function, ...] = (
    Function("add", (_I, _I), _I, lambda a, b: _int64(a + b), partial=True),
    Function("add", (_D, _D), _D, lambda a, b: _finite(float(a) + float(b)), partial=True),
    Function("add", (_T, _P), _T, lambda a, b: _time(a + b), partial=True),
    Function("add", (_Y, _P), _Y, lambda a, b: _day(a + _whole_days(b)), partial=True),
    Function("add", (_P, _P), _P, lambda a, b: _int64(a + b), partial=True),
    Function("sub", (_I, _I), _I, lambda a, b: _int64(a - b), partial=True),
    Function("sub", (_D, _D), _D, lambda a, b: _finite(float(a) - float(b)), partial=True),
    Function("sub", (_T, _P), _T, lambda a, b: _time(a - b), partial=True),
    Function("sub", (_Y, _P), _Y, lambda a, b: _day(a - _whole_days(b)), partial=True),
    Function("sub", (_P, _P), _P, lambda a, b: _int64(a - b), partial=True),
    Function("sub", (_T, _T), _P, lambda a, b: _int64(a - b), partial=True),
    Function("sub", (_Y, _Y), _P, lambda a, b: (a - b) * DAY),
    Function("mul", (_I, _I), _I, lambda a, b: _int64(a * b), partial=True),
    Function("mul", (_D, _D), _D, lambda a, b: _finite(float(a) * float(b)), partial=True),
    Function("div", (_I, _I), _I, _quotient, partial=True),
    Function("div", (_D, _D), _D, lambda a, b: _ratio(float(a), float(b)), partial=True),
    Function("divby", (_I, _I), _D, _ratio, partial=True),
    Function("divby", (_D, _D), _D, lambda a, b: _ratio(float(a), float(b)), partial=True),
    Function("mod", (_I, _I), _I, _remainder, partial=True),
    Function("mod", (_D, _D), _D, lambda a, b: math.fmod(a, b) if b else None, partial=True),
    Function("negate", (_I,), _I, lambda a: _int64(-a), partial=True),
    Function("negate", (_D,), _D, lambda a: -a),
    Function("negate", (_P,), _P, lambda a: _int64(-a), partial=True),
)

FUNCTIONS: tuple[Function, ...] = (
    Function("contains", (_S, _S), _B, lambda text, part: part in text),
    Function("startswith", (_S, _S), _B, lambda text, part: text.startswith(part)),
    Function("endswith", (_S, _S), _B, lambda text, part: text.endswith(part)),
    Function("length", (_S,), _I, len),
    Function("indexof", (_S, _S), _I, lambda text, part: text.find(part)),
    Function("substring", (_S, _I), _S, _substring),
    Function("substring", (_S, _I, _I), _S, _substring),
    Function("tolower", (_S,), _S, _lower),
    Function("toupper", (_S,), _S, lambda text: text.upper()),
    Function("trim", (_S,), _S, lambda text: text.strip()),
    Function("concat", (_S, _S), _S, lambda left, right: left + right),
    Function("year", (_T,), _I, lambda time: _calendar(time // DAY).year),
    Function("year", (_Y,), _I, lambda day: _calendar(day).year),
    Function("month", (_T,), _I, lambda time: _calendar(time // DAY).month),
    Function("month", (_Y,), _I, lambda day: _calendar(day).month),
    Function("day", (_T,), _I, lambda time: _calendar(time // DAY).day),
    Function("day", (_Y,), _I, lambda day: _calendar(day).day),
    Function("hour", (_T,), _I, lambda time: time % DAY // (3600 * SECOND)),
    Function("hour", (_C,), _I, lambda time: time // (3600 * SECOND)),
    Function("minute", (_T,), _I, lambda time: time % DAY // (60 * SECOND) % 60),
    Function("minute", (_C,), _I, lambda time: time // (60 * SECOND) % 60),
    Function("second", (_T,), _I, lambda time: time % DAY // SECOND % 60),
    Function("second", (_C,), _I, lambda time: time // SECOND % 60),
    Function("fractionalseconds", (_T,), _D, lambda time: time % SECOND / SECOND),
    Function("fractionalseconds", (_C,), _D, lambda time: time % SECOND / SECOND),
    Function("date", (_T,), _Y, lambda time: time // DAY),
    Function("time", (_T,), _C, lambda time: time % DAY),
    Function("totalseconds", (_P,), _D, lambda duration: duration / SECOND),
    Function("round", (_I,), _I, lambda number: number),
    Function("round", (_D,), _D, _half_up),
    Function("floor", (_I,), _I, lambda number: number),
    Function("floor", (_D,), _D, lambda number: float(math.floor(number))),
    Function("ceiling", (_I,), _I, lambda number: number),
    Function("ceiling", (_D,), _D, lambda number: float(math.ceil(number))),
)
MOMENTS = frozenset({"now", "mindatetime", "maxdatetime"})
"""Functions without arguments; the parser puts their value in their place."""
LATER = frozenset(
    {
        "case",
        "cast",
        "isof",
        "matchespattern",
        "totaloffsetminutes",
        "hassubset",
        "hassubsequence",
        "geo.distance",
        "geo.intersects",
        "geo.length",
    }
)
"""Functions of the standard that are answered by 501."""


def _by_name(table: tuple[Function, ...]) -> Mapping[str, tuple[Function, ...]]:
    names = {function.name for function in table}
    return {name: tuple(function for function in table if function.name == name) for name in names}


BY_NAME: Mapping[str, tuple[Function, ...]] = _by_name(FUNCTIONS)
OPERATORS_BY_NAME: Mapping[str, tuple[Function, ...]] = _by_name(OPERATORS)


def overload(overloads: tuple[Function, ...], given: tuple[Type, ...]) -> Function | None:
    """The first overload that takes arguments of those types."""
    return next((function for function in overloads if function.takes(given)), None)


def null_safe(function: Function) -> Callable[..., Any]:
    """The function as a database calls it: null in, null out."""
    apply = function.apply

    def call(*arguments: Any) -> Any:
        return None if None in arguments else apply(*arguments)

    return call

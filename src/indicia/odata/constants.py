"""Literals of the query language: a token in, a typed node out. Every fault is told at its column."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

from indicia.odata import literals
from indicia.odata.entities import ENUMS, NAMESPACE, SPELLINGS
from indicia.odata.functions import Type
from indicia.odata.tokens import Kind, Token, Tokens
from indicia.odata.tree import Literal

_ENUMS = {f"{NAMESPACE}.{enum.__name__}": enum for enum in ENUMS}


def literal(tokens: Tokens, token: Token) -> Literal:
    """The node of a token of one of `KINDS`. InvalidValue; NotSupported for GUIDs and such."""
    return KINDS[token.kind](tokens, token)


def number(tokens: Tokens, text: str, column: int) -> Literal:
    """An integer of 64 bits, or a double where there is a point or an exponent; the sign is in the text."""
    if text.lstrip("+-").isdecimal():
        whole = literals.integer(text)
        if whole is None:
            tokens.fail(column, f"{text} is not an integer of 64 bits")
        return Literal(Type.INT64, whole)
    value = float(text)
    if math.isinf(value):
        tokens.fail(column, f"{text} is beyond the numbers of 64 bits")
    return Literal(Type.DOUBLE, value)


def member(tokens: Tokens, enum: type[StrEnum], text: str, column: int) -> Literal:
    """A member of an enum by its name, or by its number in $metadata."""
    names = [str(item) for item in enum]
    name = SPELLINGS.get(text, text)
    if text.isascii() and text.isdecimal() and len(text) < 4 and int(text) < len(names):
        name = names[int(text)]
    if name not in names:
        known = ", ".join(names)
        tokens.fail(column, f"{text[:80]!r} is none of {NAMESPACE}.{enum.__name__}: {known}")
    return Literal(Type.ENUM, name, enum)


def _text(_tokens: Tokens, token: Token) -> Literal:
    return Literal(Type.STRING, token.text[1:-1].replace("''", "'"))


def _number(tokens: Tokens, token: Token) -> Literal:
    return number(tokens, token.text, token.column)


def _time(tokens: Tokens, token: Token) -> Literal:
    text = token.text.replace(" ", "+")
    return _converted(tokens, token, Type.TIME, lambda given: literals.micros(literals.time(given)), text)


def _date(tokens: Tokens, token: Token) -> Literal:
    return _converted(tokens, token, Type.DATE, literals.days, token.text)


def _time_of_day(tokens: Tokens, token: Token) -> Literal:
    return _converted(tokens, token, Type.TIME_OF_DAY, literals.time_of_day, token.text)


def _guid(tokens: Tokens, token: Token) -> Literal:
    tokens.later(token.column, "a GUID as a value (Uid is a text: write it in single quotes)")


def _prefixed(tokens: Tokens, token: Token) -> Literal:
    """duration'…', and the member of an enum as Indicia.Severity'High'."""
    prefix, _, quoted = token.text.partition("'")
    text = quoted[:-1].replace("''", "'")
    if prefix.lower() == "duration":
        return _converted(tokens, token, Type.DURATION, literals.duration, text)
    if prefix.lower() in ("binary", "geography", "geometry"):
        tokens.later(token.column, f"a literal of {prefix.lower()}")
    enum = _ENUMS.get(prefix)
    if enum is None:
        tokens.fail(token.column, f"there is no type {prefix[:80]!r}; enums are {', '.join(_ENUMS)}")
    return member(tokens, enum, text, token.column)


def _converted(tokens: Tokens, token: Token, kind: Type, convert: Callable[[str], int], text: str) -> Literal:
    try:
        return Literal(kind, convert(text))
    except ValueError as error:
        tokens.fail(token.column, f"{text[:40]!r} {error}")


KINDS: Mapping[Kind, Callable[[Tokens, Token], Literal]] = {
    Kind.TEXT: _text,
    Kind.PREFIXED: _prefixed,
    Kind.TIME: _time,
    Kind.DATE: _date,
    Kind.TIME_OF_DAY: _time_of_day,
    Kind.GUID: _guid,
    Kind.NUMBER: _number,
    Kind.INTEGER: _number,
}

"""The text of an expression as tokens (OData ABNF 4.01), read one at a time as the parser asks for them.

Nothing is converted here and nothing is read ahead, so a text that is refused at its fiftieth character
costs fifty characters, whatever follows. Every token knows its column, counted from 1 in the decoded text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from indicia.errors import InvalidValue, NotSupported

TEXT_LIMIT = 16_384
"""Characters of one expression."""
INTEGER_DIGITS = 19
NUMBER_LENGTH = 40
"""Characters of a number with fraction or exponent; a double has 17 significant digits."""
NAME_LENGTH = 128


class Kind(Enum):
    """What a token is; the value is what an error calls it."""

    NAME = "a name"
    ALIAS = "a parameter alias"
    TEXT = "a text"
    PREFIXED = "a literal with prefix"
    TIME = "a time"
    DATE = "a date"
    TIME_OF_DAY = "a time of day"
    GUID = "a GUID"
    NUMBER = "a number"
    INTEGER = "an integer"
    SYMBOL = "a symbol"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    kind: Kind
    text: str
    column: int
    spaced: bool
    """Whether white space stands before it."""

    @property
    def shown(self) -> str:
        """The token as an error shows it."""
        if self.kind is Kind.END:
            return "the end"
        return repr(self.text if len(self.text) <= 40 else f"{self.text[:37]}…")


# Every repetition is possessive: what does not match is not tried again in another way.
_QUOTED = r"'(?:[^']++|'')*+'"
# A `+` that was not percent-encoded arrives as a space; in an offset it can be nothing else.
_TIME = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:[Zz]|[-+ ]\d\d:\d\d)?"
_TOKEN = re.compile(
    rf"""(?P<GUID>[0-9A-Fa-f]{{8}}-(?:[0-9A-Fa-f]{{4}}-){{3}}[0-9A-Fa-f]{{12}})
    |(?P<TIME>{_TIME})
    |(?P<DATE>\d{{4}}-\d\d-\d\d)
    |(?P<TIME_OF_DAY>\d\d:\d\d(?::\d\d(?:\.\d{{1,12}})?)?)
    |(?P<NUMBER>\d++(?:\.\d++(?:[eE][-+]?\d++)?|[eE][-+]?\d++))
    |(?P<INTEGER>\d++)
    |(?P<TEXT>{_QUOTED})
    |(?P<PREFIXED>[A-Za-z_][A-Za-z0-9_.]*+{_QUOTED})
    |(?P<NAME>\$?[A-Za-z_][A-Za-z0-9_.]*+)
    |(?P<ALIAS>@[A-Za-z_][A-Za-z0-9_.]*+)
    |(?P<SYMBOL>[-+()/,:;=*\[\]{{}}"])""",
    re.VERBOSE | re.ASCII,
)
_SPACE = re.compile(r"[ \t]*")
_WORD = re.compile(r"[A-Za-z0-9_.$@']")
_CHECKED = frozenset({Kind.GUID, Kind.TIME, Kind.DATE, Kind.TIME_OF_DAY, Kind.NUMBER, Kind.INTEGER})
_LENGTHS = {
    Kind.INTEGER: (INTEGER_DIGITS, "an integer has at most 19 digits"),
    Kind.NUMBER: (NUMBER_LENGTH, f"a number has at most {NUMBER_LENGTH} characters"),
    Kind.NAME: (NAME_LENGTH, f"a name has at most {NAME_LENGTH} characters"),
    Kind.ALIAS: (NAME_LENGTH, f"a name has at most {NAME_LENGTH} characters"),
}


class Tokens:
    """The tokens of one text; `current` is the one to look at, `advance` takes it."""

    __slots__ = ("_place", "current", "target", "text")

    def __init__(self, text: str, target: str) -> None:
        self.text = text
        self.target = target
        """The query option, for errors."""
        self._place = 0
        if len(text) > TEXT_LIMIT:
            self.fail(TEXT_LIMIT, f"the expression is longer than {TEXT_LIMIT} characters")
        if "\0" in text:
            self.fail(text.index("\0") + 1, "the character U+0000 is not allowed")
        self.current = self._next()

    def advance(self) -> Token:
        """The current token; the one after it becomes current."""
        token = self.current
        self.current = self._next()
        return token

    def at(self, symbol: str) -> bool:
        """Whether the current token is that symbol."""
        return self.current.kind is Kind.SYMBOL and self.current.text == symbol

    def take(self, symbol: str) -> bool:
        """Take that symbol if it is the current token."""
        found = self.at(symbol)
        if found:
            self.advance()
        return found

    def expect(self, symbol: str, why: str = "") -> None:
        """Take that symbol. Raises InvalidValue where another token stands."""
        if not self.take(symbol):
            self.unexpected(f"{symbol!r}{why}")

    def unexpected(self, expected: str) -> NoReturn:
        """Raise InvalidValue: something else stands where `expected` was wanted."""
        self.fail(self.current.column, f"expected {expected}, found {self.current.shown}")

    def fail(self, column: int, message: str) -> NoReturn:
        """Raise InvalidValue at a column."""
        raise InvalidValue(f"column {column}: {message}", target=self.target)

    def later(self, column: int, what: str) -> NoReturn:
        """Raise NotSupported: the standard has it and this service does not."""
        raise NotSupported(
            f"column {column}: {what} is not supported by this service yet", target=self.target
        )

    def _next(self) -> Token:
        text, start = self.text, self._place
        spaces = _SPACE.match(text, start)
        place = spaces.end() if spaces else start
        if place == len(text):
            self._place = place
            return Token(Kind.END, "", place + 1, place > start)
        found = _TOKEN.match(text, place)
        if found is None:
            if text[place] == "'":
                self.fail(place + 1, "the text that begins here is not closed by a quote")
            self.fail(place + 1, f"the character {text[place]!r} cannot stand here")
        kind = Kind[str(found.lastgroup)]
        end = found.end()
        self._check(kind, place, end)
        self._place = end
        return Token(kind, found.group(), place + 1, place > start)

    def _check(self, kind: Kind, place: int, end: int) -> None:
        limit = _LENGTHS.get(kind)
        if limit is not None and end - place > limit[0]:
            self.fail(place + 1, limit[1])
        if kind in _CHECKED and _WORD.match(self.text, end):
            shown = self.text[place : end + 10]
            self.fail(place + 1, f"{shown!r} is neither a number, a date, a time nor a name")

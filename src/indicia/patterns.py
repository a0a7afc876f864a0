r"""Regular expressions whose time grows with the length of the text alone, whoever wrote them.

The expression becomes states (Thompson's construction), and all states that are possible are followed at
once; nothing is ever tried again. What they are together is remembered, so a letter costs one look into a
dictionary. What would need more than states is refused: references, look-around, word borders.

    .  [a-z]  [^a-z]  \d \w \s \D \W \S  \. and other escapes  ( )  (?: )  |  ? * + {n} {n,} {n,m}  ^  $

Written plainly, or between slashes as MISP does: `/^a+$/i`; of the flags `i` counts, `g` and `u` say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from indicia.errors import InvalidValue

LENGTH = 512
"""Characters of an expression."""
STATES = 500
"""States of one, repetitions written out."""
TEXT = 1024
"""Characters of a text beyond which nothing is found in it."""
REPEATS = 255
_REMEMBERED = 500
"""Steps that are remembered; then it begins anew."""
_BEGIN, _END = "^", "$"
_CLASSES = {
    "d": (("0", "9"),),
    "w": (("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_")),
    "s": ((" ", " "), ("\t", "\r")),
}
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}

Ranges = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Letters:
    """Which letters a state takes."""

    ranges: Ranges
    negated: bool = False

    def take(self, letter: str, *, any_case: bool) -> bool:
        """Whether a letter is one of them."""
        spelt = {letter, letter.lower(), letter.upper()} if any_case else {letter}
        inside = any(low <= one <= high for one in spelt for low, high in self.ranges)
        return inside is not self.negated


@dataclass(slots=True)
class _Node:
    """One state: it takes a letter, holds at a border, or is only a way on."""

    letters: _Letters | None = None
    border: str = ""
    ways: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A part of an expression: `kind` is letters, border, all, any or repeat."""

    kind: str
    letters: _Letters | None = None
    border: str = ""
    parts: tuple[_Tree, ...] = ()
    least: int = 0
    most: int | None = 0


class Pattern:
    """A compiled expression. Raises InvalidValue, with the place, for what is none or too large."""

    def __init__(self, text: str) -> None:
        if len(text) > LENGTH:
            raise InvalidValue(f"the expression has {len(text)} characters; at most {LENGTH} are allowed")
        inner, self._any_case = _written(text)
        self._nodes: list[_Node] = []
        self._last = self._node(_Node())
        self._first = self._add(_Parser(inner).whole(), self._last)
        self._begin = self._closed({self._first}, (_BEGIN,))
        self._again = self._closed({self._first}, ())
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def found_in(self, text: str) -> bool:
        """Whether some part of the text fulfils it; of one longer than TEXT characters none does."""
        if len(text) > TEXT:
            return False
        at = self._begin if text else self._closed({self._first}, (_BEGIN, _END))
        for letter in text:
            if self._last in at:
                return True
            key = (at, letter)
            step = self._steps.get(key)
            if step is None:
                if len(self._steps) >= _REMEMBERED:
                    self._steps.clear()
                step = self._steps[key] = self._step(at, letter)
            at = step
        return self._last in at or self._last in self._closed(set(at), (_END,))

    def _step(self, at: frozenset[int], letter: str) -> frozenset[int]:
        after: set[int] = set()
        for number in at:
            node = self._nodes[number]
            if node.letters is not None and node.letters.take(letter, any_case=self._any_case):
                after.update(node.ways)
        return self._closed(after, ()) | self._again

    def _closed(self, at: set[int], borders: tuple[str, ...]) -> frozenset[int]:
        """With everything that is reached without a letter, at these borders of the text."""
        todo, found = list(at), set(at)
        while todo:
            node = self._nodes[todo.pop()]
            if node.letters is None and (not node.border or node.border in borders):
                new = [way for way in node.ways if way not in found]
                found.update(new)
                todo.extend(new)
        return frozenset(found)

    def _node(self, node: _Node) -> int:
        if len(self._nodes) >= STATES:
            raise InvalidValue(f"the expression needs more than {STATES} states; repeat less")
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _add(self, tree: _Tree, then: int) -> int:
        """The first state of a part behind which `then` follows."""
        match tree.kind:
            case "all":
                for part in reversed(tree.parts):
                    then = self._add(part, then)
                return then
            case "any":
                return self._node(_Node(ways=[self._add(part, then) for part in tree.parts]))
            case "repeat":
                return self._repeat(tree, then)
            case _:
                return self._node(_Node(tree.letters, tree.border, [then]))

    def _repeat(self, tree: _Tree, then: int) -> int:
        (part,) = tree.parts
        if tree.most is None:
            loop = self._node(_Node())
            self._nodes[loop].ways = [self._add(part, loop), then]
            then = loop
        else:
            end = then
            for _ in range(tree.most - tree.least):
                then = self._node(_Node(ways=[self._add(part, then), end]))
        for _ in range(tree.least):
            then = self._add(part, then)
        return then


def _written(text: str) -> tuple[str, bool]:
    """The expression without slashes, and whether letter case says nothing."""
    inner, slash, flags = text[1:].rpartition("/")
    if not (text.startswith("/") and slash and not flags.strip("giu")):
        return text, False
    return inner, "i" in flags


class _Parser:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def whole(self) -> _Tree:
        """All of it."""
        tree = self._alternatives()
        if self._at < len(self._text):
            raise self._wrong("nothing is open here")
        return tree

    def _wrong(self, what: str) -> InvalidValue:
        return InvalidValue(f"{what}, at character {self._at + 1} of the expression")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        letter = self._peek()
        if not letter:
            raise self._wrong("something is missing")
        self._at += 1
        return letter

    def _taken(self, text: str) -> bool:
        there = self._text.startswith(text, self._at)
        self._at += len(text) if there else 0
        return there

    def _alternatives(self) -> _Tree:
        parts = [self._sequence()]
        while self._taken("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Tree("any", parts=tuple(parts))

    def _sequence(self) -> _Tree:
        parts: list[_Tree] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._single()))
        return _Tree("all", parts=tuple(parts))

    def _repeated(self, part: _Tree) -> _Tree:
        least, most = self._times()
        if (least, most) == (1, 1):
            return part
        if part.kind == "border":
            raise self._wrong("a border cannot be repeated")
        self._taken("?")  # how greedy it is makes no difference to whether something is found
        if self._peek() in ("*", "+", "?", "{"):
            raise self._wrong("what is repeated is repeated again; put it in brackets")
        return _Tree("repeat", parts=(part,), least=least, most=most)

    def _times(self) -> tuple[int, int | None]:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._taken(sign):
                return times
        if not self._taken("{"):
            return 1, 1
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at : max(end, self._at)].partition(",")
        most = (high if comma else low) or None
        if end < 0 or not _count(low) or (most is not None and not _count(most)):
            raise self._wrong(f"`{{` begins a repetition {{n}}, {{n,}} or {{n,m}} up to {REPEATS}")
        self._at = end + 1
        if most is not None and int(most) < int(low):
            raise self._wrong("the repetition ends before it begins")
        return int(low), None if most is None else int(most)

    def _single(self) -> _Tree:
        letter = self._next()
        if letter == "(":
            return self._group()
        if letter in "*+?{":
            raise self._wrong("there is nothing to repeat")
        if letter in (_BEGIN, _END):
            return _Tree("border", border=letter)
        if letter == ".":
            return _Tree("letters", _Letters((("\n", "\n"),), negated=True))
        if letter == "[":
            return _Tree("letters", self._class())
        if letter == "\\":
            return _Tree("letters", self._escape())
        return _Tree("letters", _Letters(((letter, letter),)))

    def _group(self) -> _Tree:
        self._depth += 1
        if self._depth > 50:
            raise self._wrong("too many brackets inside each other")
        if not self._taken("?:") and self._peek() == "?":
            raise self._wrong("only (…) and (?:…) are known; look-around and the like are not")
        inner = self._alternatives()
        if not self._taken(")"):
            raise self._wrong("a closing bracket is missing")
        self._depth -= 1
        return _Tree("any", parts=(inner,))

    def _escape(self) -> _Letters:
        letter = self._next()
        if letter.lower() in _CLASSES:
            return _Letters(_CLASSES[letter.lower()], letter.isupper())
        if letter.isalnum() and letter not in _ESCAPED:
            raise self._wrong(f"\\{letter} is not known here")
        plain = _ESCAPED.get(letter, letter)
        return _Letters(((plain, plain),))

    def _class(self) -> _Letters:
        negated = self._taken("^")
        ranges: list[tuple[str, str]] = []
        while not ranges or self._peek() != "]":
            ranges += self._range()
        self._at += 1
        return _Letters(tuple(ranges), negated)

    def _range(self) -> Ranges:
        low = self._next()
        if low == "\\":
            found = self._escape()
            if found.negated:
                raise self._wrong("a negated class cannot stand in another one")
            if len(found.ranges) > 1 or found.ranges[0][0] != found.ranges[0][1]:
                return found.ranges
            low = found.ranges[0][0]
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return ((low, low),)
        self._at += 1
        high = self._next()
        if high == "\\":
            high = self._escape().ranges[0][0]
        if high < low:
            raise self._wrong("the range ends before it begins")
        return ((low, high),)


def _count(text: str) -> bool:
    """Whether it is a number of repetitions."""
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= REPEATS

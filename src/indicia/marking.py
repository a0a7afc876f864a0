r"""Where in the text of an event its evidence stands, so that it can be shown marked.

The text is JSON, as it was written, or a line. A piece of evidence names a path and the text that was met
there. In JSON the strings at that path are found with their escapes, those of JSON inside strings, too, so
that the mark covers `\u0065vil.example` as it is written. Of a line whose fields were read from it, only
the text itself can be looked for. What cannot be found is said to be so, and never guessed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from indicia.model import EVENT_LIMIT, Evidence

_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?\Z)', re.DOTALL)
_NEXT = re.compile(r"[^\s,:]")
_BARE = re.compile(r'[^\s,:"{}\[\]]+')
_STEP = re.compile(r"\{(?:json|xml)\}")
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_OPENED = 3
"""JSON inside JSON inside JSON; events are opened no deeper."""
_DEEPEST = 100
"""Levels of objects and lists; events have no fields below that, and each level costs memory."""
_MOST = 200
"""Places that are marked for one piece of evidence."""


class Found(StrEnum):
    """Where a piece of evidence was found."""

    FIELD = "field"
    """In the field that it names."""
    LINE = "line"
    """In the line, wherever the text stands: which of its fields that is, a line does not show."""
    CUT = "cut"
    """Nowhere in the part of the event that was kept."""
    NOWHERE = "nowhere"
    """Nowhere: it was put together from several places, or the copy that was kept says it otherwise."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the text."""

    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Marking:
    """A text in parts, and for each piece of evidence where it was found."""

    segments: tuple[Segment, ...]
    found: tuple[Found, ...]
    cut: bool
    """Whether the event was longer than what is kept of it."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A text and where its characters are written in the whole; one entry more, for its end."""

    text: str
    at: Sequence[int]


def mark(text: str, evidence: Sequence[Evidence]) -> Marking:
    """The text of an event (`Facts.text`) with its evidence marked."""
    cut, text = len(text) > EVENT_LIMIT, text[:EVENT_LIMIT]
    whole = _Layer(text, range(len(text) + 1))
    as_json = text.lstrip().startswith("{")
    spans: list[tuple[int, int]] = []
    found = []
    for piece in evidence:
        held = list(_in_json(whole, piece.path, piece.matched)) if as_json else []
        where = Found.FIELD if held or (not as_json and not piece.path) else Found.LINE
        if not held and not as_json:
            held = _occurrences(whole, piece.matched)
        spans += held
        found.append(where if held else Found.CUT if cut else Found.NOWHERE)
    return Marking(tuple(_segments(text, spans)), tuple(found), cut)


def _segments(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[Segment]:
    place = 0
    for start, end in sorted(spans):
        if end <= place:
            continue
        start = max(start, place)
        if start > place:
            yield Segment(text[place:start], marked=False)
        yield Segment(text[start:end], marked=True)
        place = end
    if place < len(text):
        yield Segment(text[place:], marked=False)


def _occurrences(layer: _Layer, wanted: str) -> list[tuple[int, int]]:
    """Where a text stands, as the evidence spells it, else in any letter case."""
    if not wanted:
        return []
    for flags in (0, re.IGNORECASE):
        matches = islice(re.finditer(re.escape(wanted), layer.text, flags), _MOST)
        spans = [(layer.at[one.start()], layer.at[one.end()]) for one in matches]
        if spans:
            return spans
    return []


def _in_json(whole: _Layer, path: str, matched: str) -> Iterator[tuple[int, int]]:
    """The spans of a text at the path of an object; of a URL of several fields, those of the fields."""
    for layer in _at_path(whole, path):
        yield from _occurrences(layer, matched) or _occurrences(layer, html.escape(matched, quote=False))
        return
    if "+" in path:
        for part in path.split("+"):
            for layer in _at_path(whole, part):
                if layer.text and layer.text in matched:
                    yield layer.at[0], layer.at[-1]


def _at_path(whole: _Layer, path: str) -> list[_Layer]:
    """The string at a path, or none; of a key that comes twice the last counts."""
    layer = whole
    opened = _STEP.split(path)
    if len(opened) > _OPENED:
        return []
    for depth, part in enumerate(opened):
        wanted = part.removeprefix(".") if depth else part
        if depth and not layer.text.lstrip().startswith(("{", "[")):
            return [layer]  # XML: the field is somewhere in it
        last = None
        for where, start, end in _strings(layer.text):
            if where == wanted:
                last = start, end
        if last is None:
            return []
        layer = _decoded(layer, *last)
    return [layer]


def _decoded(layer: _Layer, start: int, end: int) -> _Layer:
    """What a JSON string says, between its quotes."""
    pieces: list[str] = []
    at: list[int] = []
    place = start
    for escape in _ESCAPE.finditer(layer.text, start, end):
        pieces.append(layer.text[place : escape.start()])
        at += layer.at[place : escape.start()]
        pieces.append(_said(escape[0]))
        at.append(layer.at[escape.start()])
        place = escape.end()
    pieces.append(layer.text[place:end])
    at += layer.at[place : end + 1]
    return _Layer("".join(pieces), at)


def _said(escape: str) -> str:
    """One character."""
    if escape[1] != "u":
        return _SHORT.get(escape[1], escape[1])
    high, low = int(escape[2:6], 16), int(escape[8:12] or "0", 16)
    if low:
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    return "\ufffd" if 0xD800 <= high < 0xE000 else chr(high)


def _strings(text: str) -> Iterator[tuple[str, int, int]]:
    """Each string that is a value, as path, start and end between its quotes; as far as it can be read.

    Paths are spelt as `telemetry.events` spells them: keys joined by dots, list elements as `[0]`.
    """
    stack: list[_Level] = []
    place = 0
    while (head_at := _NEXT.search(text, place)) is not None:
        head, place = head_at[0], head_at.start()
        if head in "{[":
            if len(stack) > _DEEPEST:
                return
            stack.append(_Level(_enter(stack), is_list=head == "["))
            place += 1
        elif head in "}]":
            if stack:
                stack.pop()
            place += 1
        elif head == '"':
            matched = _STRING.match(text, place)
            if matched is None:
                return
            place = matched.end()
            if stack and stack[-1].expects_key:
                stack[-1].key = _decoded(_Layer(text, range(len(text) + 1)), *matched.span(1)).text
                stack[-1].expects_key = False
            else:
                yield _enter(stack), *matched.span(1)
        else:
            bare = _BARE.match(text, place)
            place = bare.end() if bare else place + 1
            _enter(stack)


@dataclass(slots=True)
class _Level:
    """An object or a list that is open."""

    path: str
    is_list: bool
    key: str = ""
    count: int = 0
    expects_key: bool = True

    def __post_init__(self) -> None:
        self.expects_key = not self.is_list


def _enter(stack: list[_Level]) -> str:
    """The path of the value that comes now."""
    if not stack:
        return ""
    level = stack[-1]
    if level.is_list:
        level.count += 1
        return f"{level.path}[{level.count - 1}]"
    level.expects_key = True
    return f"{level.path}.{level.key}" if level.path else level.key

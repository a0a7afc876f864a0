"""JSON documents over many lines, cut out of a stream without parsing them."""

from __future__ import annotations

import re
from collections.abc import Iterator

TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"(?:[^"\\]++|\\.)*+"[^"{}\[\]]*+)*+', re.DOTALL)
"""Everything up to the next bracket that stands in no string, or to a string without an end."""
QUOTE = ord('"')
OPENING = b"{["
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_NOT_BETWEEN = re.compile(rb"[^\s,\[\]]")
"""Between documents: blanks, and the commas and brackets of arrays."""
_STRANGE_END = re.compile(rb"[{\n]")


class Splitter:
    """Cuts a stream of chunks into its outermost objects, whatever arrays they stand in."""

    def __init__(self) -> None:
        self._data = b""
        self._place = 0
        self._start = -1
        """Where the object begins that is not whole yet; -1: there is none."""
        self._depth = 0
        """Brackets that are open, counted from that beginning."""
        self._in_string = False
        self._dropping = False
        self._line = 1
        self._counted = 0
        self._start_line = 1

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Objects that are whole now, and what is none, each with the line on which it begins."""
        self._data += chunk
        while self._place < len(self._data):
            found = self._between() if self._depth == 0 else self._inside()
            if found is None:
                break
            if found:
                yield self._start_line, found
        self._forget()

    def _between(self) -> bytes | None:
        """Go on to the next object. Gives what stands there and is none; None where data is needed."""
        found = _NOT_BETWEEN.search(self._data, self._place)
        if found is None:
            self._place = len(self._data)
            return None
        start = found.start()
        self._line += self._data.count(b"\n", self._counted, start)
        self._counted, self._start_line = start, self._line
        if found[0] == b"{":
            self._start, self._depth, self._place = start, 1, start + 1
            return b""
        end = _STRANGE_END.search(self._data, start)
        self._place = end.start() if end else len(self._data)
        return self._data[start : self._place].strip(b" \t\r\n,[]")

    def _inside(self) -> bytes | None:
        """Go on to the end of the object. Gives it where it is whole; None where data is needed."""
        data = self._data
        if self._in_string and not self._leave_string():
            return None
        while True:
            place = TO_BRACKET.match(data, self._place).end()  # type: ignore[union-attr]
            if place == len(data):
                self._place = place
                return None
            self._place = place + 1
            if data[place] == QUOTE:
                self._in_string = True
                if not self._leave_string():
                    return None
                continue
            self._depth += 1 if data[place] in OPENING else -1
            if self._depth == 0:
                start, self._start = self._start, -1
                dropped, self._dropping = self._dropping, False
                return b"" if dropped else data[start : self._place]

    def _leave_string(self) -> bool:
        end = _STRING_REST.match(self._data, self._place).end()  # type: ignore[union-attr]
        self._in_string = end == len(self._data) or self._data[end] != QUOTE
        self._place = end + (not self._in_string)
        return not self._in_string

    @property
    def pending(self) -> tuple[int, int] | None:
        """Line and length of an object that has begun and not ended."""
        return None if self._start < 0 else (self._start_line, len(self._data) - self._start)

    def drop(self) -> None:
        """Go on without the object that has begun: what follows up to its end is passed over."""
        self._start, self._dropping = -1, True
        self._forget()

    def _forget(self) -> None:
        keep = self._start if self._start >= 0 else self._place
        if keep > self._counted:
            self._line += self._data.count(b"\n", self._counted, keep)
        self._data = self._data[keep:]
        self._place -= keep
        self._counted = max(self._counted - keep, 0)
        self._start = 0 if self._start >= 0 else -1

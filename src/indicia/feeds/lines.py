"""Bytes become numbered lines of text, each of bounded length."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

import zstandard

LIMIT = 1024 * 1024
"""Bytes of one line; a longer one has a fault."""
HEAD = 200
"""Lines by which a format is recognised."""
_UTF16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Line(NamedTuple):
    """One line without its end."""

    number: int
    """1-based."""
    text: str
    fault: str | None = None
    """Why the line cannot be used."""


def _nobody() -> None:
    """Hears it."""


def lines(stream: BinaryIO, broken: Callable[[], None] = _nobody) -> Iterator[Line]:
    """UTF-8, or the UTF-16 that a byte order mark announces. Line ends: LF, CR LF.

    What is not valid in the encoding, what is too long, and a compressed stream that breaks off are
    faults; `broken` hears of the last of these, after which nothing follows.
    """
    number, raw = 0, _pieces(stream)
    while True:
        number += 1
        try:
            piece, whole = next(raw)
        except StopIteration:
            return
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zstandard.ZstdError) as error:
            broken()
            yield Line(number, "", f"the file breaks off here: {error}")
            return
        if whole:
            try:
                yield Line(number, piece.decode("utf-8").rstrip("\r\n"))
            except UnicodeDecodeError as error:
                yield Line(number, "", f"not valid UTF-8 or UTF-16 at byte {error.start + 1} of the line")
        else:
            yield Line(number, "", f"longer than {LIMIT} bytes")


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines with their ends, in UTF-8; of one that is too long only the beginning, and False."""
    first = stream.readline(2)
    for mark, encoding in _UTF16:
        if first == mark:
            first, stream = b"", io.BufferedReader(_Recoded(stream, encoding), 1 << 16)
    piece = first if first.endswith(b"\n") else first + stream.readline(LIMIT)
    piece = piece.removeprefix(codecs.BOM_UTF8)
    while piece:
        whole = len(piece) < LIMIT or piece.endswith(b"\n")
        if not whole:
            while (rest := stream.readline(LIMIT)) and not rest.endswith(b"\n"):
                pass
        yield piece, whole
        piece = stream.readline(LIMIT)


class _Recoded(io.RawIOBase):
    """UTF-16, as spreadsheets save "Unicode text", read as UTF-8; what is not valid stays so."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data:
            # Two bytes of UTF-16 are three of UTF-8 at the most, and one unit may wait in the decoder.
            piece = self._stream.read(len(buffer) // 3)
            data = self._decoder.decode(piece, final=not piece).encode("utf-8", "surrogatepass")
            if not piece:
                break
        buffer[: len(data)] = data
        return len(data)


def first_of(all_lines: Iterator[Line]) -> tuple[list[Line], Iterable[Line]]:
    """The first lines to look at, and all of them to read."""
    head = list(islice(all_lines, HEAD))
    return head, chain(head, all_lines)

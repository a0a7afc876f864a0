"""Bytes become numbered lines of text, each of bounded length."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

LIMIT = 1024 * 1024
"""Bytes of one line; a longer one has a fault."""
HEAD = 200
"""Lines by which a format is recognised."""
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Line(NamedTuple):
    """One line without its end."""

    number: int
    """1-based."""
    text: str
    fault: str | None = None
    """Why the line cannot be used."""


def lines(stream: BinaryIO) -> Iterator[Line]:
    """UTF-8, or what the byte order mark says. Line ends: LF, CR LF.

    What is not valid in the encoding, what is too long, and a compressed stream that breaks off are
    faults; after the last of these nothing follows.
    """
    number, encoding = 0, "utf-8"
    raw = _pieces(stream)
    while True:
        number += 1
        try:
            piece, whole = next(raw)
        except StopIteration:
            return
        except (OSError, EOFError, ValueError, RuntimeError) as error:
            yield Line(number, "", f"the stream ends here: {error}")
            return
        except Exception as error:
            # zstandard's and zlib's errors have no common parent but Exception.
            if type(error).__module__ == "builtins":
                raise
            yield Line(number, "", f"the stream ends here: {error}")
            return
        if number == 1:
            piece, encoding = _less_mark(piece)
            if encoding != "utf-8":
                yield from _utf16(chain((piece,), (piece for piece, _ in raw)), encoding)
                return
        yield _line(number, piece, whole=whole)


def _line(number: int, piece: bytes, *, whole: bool) -> Line:
    if not whole:
        return Line(number, "", f"longer than {LIMIT} bytes")
    try:
        return Line(number, piece.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return Line(number, "", f"not UTF-8 at byte {error.start + 1}")


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines with their ends; of one that is too long only the beginning, and False."""
    while piece := stream.readline(LIMIT):
        whole = len(piece) < LIMIT or piece.endswith(b"\n")
        if not whole:
            while (rest := stream.readline(LIMIT)) and not rest.endswith(b"\n"):
                pass
        yield piece, whole


def _less_mark(piece: bytes) -> tuple[bytes, str]:
    for mark, encoding in _BOMS:
        if piece.startswith(mark):
            return piece.removeprefix(mark), encoding
    return piece, "utf-8"


def _utf16(pieces: Iterator[bytes], encoding: str) -> Iterator[Line]:
    """What spreadsheets save as "Unicode text"."""
    decoder, rest, number = codecs.getincrementaldecoder(encoding)("replace"), "", 1
    for piece in pieces:
        *found, rest = (rest + decoder.decode(piece)).split("\n")
        for text in found:
            yield Line(number, text.rstrip("\r"))
            number += 1
    if rest:
        yield Line(number, rest.rstrip("\r"))


def first_of(all_lines: Iterator[Line]) -> tuple[list[Line], Iterable[Line]]:
    """The first lines to look at, and all of them to read."""
    head = list(islice(all_lines, HEAD))
    return head, chain(head, all_lines)

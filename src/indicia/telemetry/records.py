"""Bytes become records: JSON objects, Zeek TSV rows, CSV rows, lines. Nothing here knows a schema.

The form is known by looking at the first bytes. Whatever cannot be read as its form is reported as
malformed with its line and skipped; nothing stops the stream. Memory is bounded by LIMIT.

What an event holds is read in one way everywhere: invalid UTF-8 and unpaired surrogates are U+FFFD, a byte
order mark is dropped (UTF-16 with its mark is read as well), of a key that comes twice the last counts.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, NoReturn

import msgspec

from indicia.telemetry import zeek

LIMIT = 64 * 1024 * 1024
"""Bytes of one line, document or CSV row; a longer one is malformed."""
_HEAD = 1 << 20
"""Bytes by which a form is known."""
_CHUNK = 1 << 20
_ENVELOPES = ("Records", "records", "value", "Events")
_ARRAY = re.compile(rb"\s*\[[\s\[]*[{\]]")
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"(?:[^"\\]++|\\.)*+"[^"{}\[\]]*+)*+', re.DOTALL)
"""Everything up to the next bracket that stands in no string, or to a string without an end."""
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_NOT_BETWEEN = re.compile(rb"[^\s,\[\]]")
"""Between documents: blanks, and the commas and brackets of arrays."""
_STRANGE_END = re.compile(rb"[{\n]")
_FOREIGN = {
    b"ElfFile\0": "an EVTX file, which is not read yet",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\xfd7zXZ\0": "xz-compressed: decompress it first",
    b"BZh91AY&SY": "bzip2-compressed: decompress it first",
}
_QUOTE = ord('"')
_OPENING = b"{["
_decode = msgspec.json.Decoder().decode

Report = Callable[[int, str], None]
"""Hears of line and reason; line 0 stands for the stream as a whole."""
Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stood."""

    line: int
    """1-based line on which it begins; 0-based element of a JSON array."""
    value: Value | bytes
    """An object, or a line without its line end."""


def read(stream: BufferedIOBase, report: Report) -> Iterator[Record]:
    """Every record of the stream; `report` hears of what is malformed, and where the stream breaks off."""
    lines = _Lines(stream, report)
    head = lines.head
    first = head.lstrip()[:1]
    if foreign := next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None):
        report(0, foreign)
    elif head.startswith((b"#separator ", b"#fields\t")):
        yield from _zeek(lines, report)
    elif _ARRAY.match(head):
        yield from _documents(lines, report, array=True)
    elif first == b"{":
        yield from _json(lines, report)
    elif _is_csv(head):
        yield from _csv(lines, report)
    else:
        yield from _plain(lines)


class _Lines:
    """Lines with their numbers, without line ends, with a look at the beginning."""

    def __init__(self, stream: BufferedIOBase, report: Report) -> None:
        self._stream = stream
        self._report = report
        self._broken = False
        head = b""
        pieces = self._bytes()
        while len(head) < _HEAD and (more := next(pieces, b"")):
            head += more
        self._utf16 = None
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._utf16 = codecs.getincrementaldecoder("utf-16")("replace")
            head = self._utf16.decode(head).encode()
        self.head = head.removeprefix(codecs.BOM_UTF8)
        """The first HEAD bytes or so."""

    def _bytes(self) -> Iterator[bytes]:
        """As they come. Where the stream breaks off, what came before counts."""
        while not self._broken:
            try:
                chunk = self._stream.read1(_CHUNK)
            except OSError as error:
                self._broken = True
                self._report(0, f"the stream ends here: {error}")
                return
            if not chunk:
                return
            yield chunk

    def chunks(self) -> Iterator[bytes]:
        """Everything as UTF-8, in pieces as they come."""
        if self.head:
            yield self.head
        if self._utf16 is None:
            yield from self._bytes()
            return
        for chunk in self._bytes():
            yield self._utf16.decode(chunk).encode()
        yield self._utf16.decode(b"", final=True).encode()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for number, line in self.whole():
            yield number, line[:-1] if line.endswith(b"\r") else line

    def whole(self) -> Iterator[tuple[int, bytes]]:
        """Lines that may still end in CR; none that is longer than LIMIT, nor the piece before a break."""
        number, begun, size = 1, [b""], 0
        for chunk in self.chunks():
            first, *others = chunk.split(b"\n")
            was, size = size, size + len(first)
            if size <= LIMIT:
                begun.append(first)
            elif was <= LIMIT:
                self._report(number, f"longer than {LIMIT} bytes")
                begun = []
            if others:
                if begun:
                    yield number, b"".join(begun)
                for number, line in enumerate(others[:-1], number + 1):  # noqa: B020 - goes on counting
                    yield number, line
                number, begun, size = number + 1, [others[-1]], len(others[-1])
        if size and begun and not self._broken:
            yield number, b"".join(begun)


def decode(data: bytes | str) -> Any:
    """A JSON document. Raises ValueError with the reason; hostile depth and numbers included."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    try:
        return _without_surrogates(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"not valid JSON: {constant}")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(element) for element in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(below) for key, below in value.items()}
    return value


def _plain(lines: _Lines) -> Iterator[Record]:
    """Lines of text; one that is a JSON object all the same is that object."""
    for number, line in lines:
        if line[:1] == b"{" and line.rstrip()[-1:] == b"}":
            try:
                value = decode(line)
            except ValueError:
                value = None
            yield Record(number, value if isinstance(value, dict) else line)
        elif line.strip():
            yield Record(number, line)


def _json(lines: _Lines, report: Report) -> Iterator[Record]:
    """One object a line, or documents over many lines."""
    if _begins_a_document(lines.head):
        yield from _documents(lines, report, array=False)
        return
    for number, line in lines:
        if line and not line.isspace():
            yield from _line_of_json(number, line.removeprefix(codecs.BOM_UTF8), report)


def _begins_a_document(head: bytes) -> bool:
    """Whether the first line opens what it does not close, and was not just cut off: what follows tells."""
    first, _, rest = head.lstrip().partition(b"\n")
    first = first.strip()
    if _depth(first) <= 0 or not rest:
        return False
    if first[-1:] in (b"{", b"[", b",", b":"):
        return True
    try:
        return not isinstance(decode(rest.lstrip().partition(b"\n")[0]), dict)
    except ValueError:
        return True


def _depth(data: bytes) -> int:
    """Brackets that are open at the end; a string without an end is one."""
    depth, place = 0, 0
    while (place := _TO_BRACKET.match(data, place).end()) < len(data):  # type: ignore[union-attr]
        if data[place] == _QUOTE:
            return depth + 1
        depth += 1 if data[place] in _OPENING else -1
        place += 1
    return depth


def _line_of_json(number: int, line: bytes, report: Report) -> Iterator[Record]:
    """The object of a line, or several that stand one behind the other."""
    try:
        value = decode(line)
    except ValueError as error:
        splitter = _Splitter()
        documents = [document for _, document in splitter.feed(line)]
        if splitter.pending is not None:
            documents.append(line[-splitter.pending[1] :])
        if len(documents) < 2:
            report(number, str(error))
            return
        for document in documents:
            yield from _of_document(number, document, report)
    else:
        yield from _objects(number, value, report)


def _of_document(number: int, document: bytes, report: Report) -> Iterator[Record]:
    try:
        value = decode(document)
    except ValueError as error:
        report(number, str(error))
    else:
        yield from _objects(number, value, report)


def _objects(number: int, value: Any, report: Report) -> Iterator[Record]:
    """The object, or the objects of its envelope (`Records` of CloudTrail files, `records` of Event Hub)."""
    if not isinstance(value, dict):
        report(number, f"not a JSON object but {type(value).__name__}")
        return
    if len(value) <= 3:
        for key in _ENVELOPES:
            inner = value.get(key)
            if isinstance(inner, list) and inner and all(isinstance(element, dict) for element in inner):
                yield from (Record(number, element) for element in inner)
                return
    yield Record(number, value)


class _Splitter:
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
            place = _TO_BRACKET.match(data, self._place).end()  # type: ignore[union-attr]
            if place == len(data):
                self._place = place
                return None
            self._place = place + 1
            if data[place] == _QUOTE:
                self._in_string = True
                if not self._leave_string():
                    return None
                continue
            self._depth += 1 if data[place] in _OPENING else -1
            if self._depth == 0:
                start, self._start = self._start, -1
                dropped, self._dropping = self._dropping, False
                return b"" if dropped else data[start : self._place]

    def _leave_string(self) -> bool:
        end = _STRING_REST.match(self._data, self._place).end()  # type: ignore[union-attr]
        self._in_string = end == len(self._data) or self._data[end] != _QUOTE
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


def _documents(lines: _Lines, report: Report, *, array: bool) -> Iterator[Record]:
    """Objects over many lines, one behind the other or in an array, each read as soon as it is whole."""
    splitter, element = _Splitter(), 0
    for chunk in lines.chunks():
        for line, document in splitter.feed(chunk):
            yield from _of_document(element if array else line, document, report)
            element += 1
        pending = splitter.pending
        if pending is not None and pending[1] > LIMIT:
            report(element if array else pending[0], f"longer than {LIMIT} bytes")
            element += 1
            splitter.drop()
    if splitter.pending is not None:
        report(element if array else splitter.pending[0], "not valid JSON: the document has no end")


def _zeek(lines: _Lines, report: Report) -> Iterator[Record]:
    """Rows of a Zeek log under its `#` header; a header in mid-file (a rotation) counts from there."""
    header = zeek.Header()
    for number, line in lines:
        if line.startswith(b"#"):
            header.read(line)
        elif line:
            try:
                yield Record(number, header.row(line))
            except ValueError as error:
                report(number, str(error))


def _is_csv(head: bytes) -> bool:
    """A header of at least three words, and a second line of as many cells."""
    lines = head.decode("utf-8", "replace").splitlines()[:2]
    if len(lines) < 2 or "," not in lines[0]:
        return False
    names = next(csv.reader(lines[:1]), [])
    simple = all(re.fullmatch(r"[A-Za-z_@][\w @.:/()-]{0,60}", name.strip()) for name in names)
    if not simple or len(names) < 3 or len(set(names)) < len(names):
        return False
    try:
        cells = next(csv.reader(head.decode("utf-8", "replace").splitlines(keepends=True)[1:200]), [])
    except csv.Error:
        return False
    return len(cells) == len(names)


class _Texts:
    """The lines of a CSV file, no more than LIMIT bytes for one row."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines.whole()
        self.begin = 0
        """The line on which the row begins; 0: none has begun."""
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self.begin = self.begin or number
        self._size += len(line)
        if self._size > LIMIT:
            raise csv.Error(f"a row longer than {LIMIT} bytes")
        return line.decode("utf-8", "replace") + "\n"

    def start(self) -> None:
        """A new row begins."""
        self.begin = self._size = 0


def _csv(lines: _Lines, report: Report) -> Iterator[Record]:
    """Rows as objects under the names of the first. A row with fewer cells has fewer keys."""
    csv.field_size_limit(LIMIT)
    texts = _Texts(lines)
    rows = csv.reader(texts)
    names = [name.strip() for name in next(rows)]
    while True:
        texts.start()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            report(texts.begin, f"not valid CSV: {error}")
            continue
        if len(cells) > len(names):
            report(texts.begin, f"{len(cells)} cells under a header of {len(names)}")
        elif cells:
            yield Record(texts.begin, dict(zip(names, cells, strict=False)))

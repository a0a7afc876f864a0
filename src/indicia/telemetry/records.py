"""Bytes become records: JSON objects, Zeek TSV rows, CSV rows, lines. Nothing here knows a schema.

The form is known by looking at the first bytes. Whatever cannot be read as its form is reported as
malformed with its line and skipped; nothing stops the stream. Memory is bounded by LIMIT.

What an event holds is read in one way everywhere: invalid UTF-8 and unpaired surrogates are U+FFFD, a byte
order mark is dropped, of a key that comes twice the last counts.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, NoReturn

import msgspec

from indicia.telemetry import zeek

LIMIT = 64 * 1024 * 1024
"""Bytes of one line or document; a longer one is malformed."""
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_ENVELOPES = ("Records", "records", "value", "Events")
_STRUCTURE = re.compile(rb'[{}\[\]"]')
_STRING_END = re.compile(rb'["\\]')
_decode = msgspec.json.Decoder().decode

Report = Callable[[int, str], None]
Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stood."""

    line: int
    """1-based line on which it begins; 0-based element of a JSON array."""
    value: Value | bytes
    """An object, or a line without its line end."""


def read(stream: BinaryIO, report: Report) -> Iterator[Record]:
    """Every record of the stream; `report` hears of line and reason of what is malformed."""
    lines = _Lines(stream, report)
    head = lines.peek()
    first = head.lstrip()[:1]
    if head.startswith(b"#separator"):
        yield from zeek_rows(lines, report)
    elif first == b"[":
        yield from _documents(lines, report, array=True)
    elif first == b"{":
        yield from _json(lines, head, report)
    elif _is_csv(head):
        yield from _csv(lines, report)
    else:
        for number, line in lines:
            if line.strip():
                yield Record(number, line)


class _Lines:
    """Lines with their numbers, without line ends, with a look at the beginning."""

    def __init__(self, stream: BinaryIO, report: Report) -> None:
        self._stream = stream
        self._report = report
        self._head = stream.read(_CHUNK)
        while len(self._head) < _CHUNK and (more := stream.read(_CHUNK)):
            self._head += more
        self._head = self._head.removeprefix(_BOM)

    def peek(self) -> bytes:
        """The first megabyte."""
        return self._head

    def chunks(self) -> Iterator[bytes]:
        """Everything, in pieces as they come."""
        head, self._head = self._head, b""
        if head:
            yield head
        while chunk := self._stream.read(_CHUNK):
            yield chunk

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        number, rest, over = 1, b"", False
        for chunk in self.chunks():
            pieces = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
            rest = pieces.pop()
            for line in pieces:
                if not over:
                    yield number, line[:-1] if line.endswith(b"\r") else line
                number, over = number + 1, False
            if len(rest) > LIMIT:
                if not over:
                    self._report(number, f"longer than {LIMIT} bytes")
                rest, over = b"", True
        if rest and not over:
            yield number, rest.removesuffix(b"\r")


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


def _json(lines: _Lines, head: bytes, report: Report) -> Iterator[Record]:
    """One object a line where the first line is a whole document or no beginning of one."""
    first = head.lstrip().split(b"\n", 1)[0].strip()
    try:
        decode(first)
    except ValueError:
        if _depth(first) > 0:
            yield from _documents(lines, report, array=False)
            return
    for number, line in lines:
        if line and not line.isspace():
            yield from _line_of_json(number, line, report)


def _line_of_json(number: int, line: bytes, report: Report) -> Iterator[Record]:
    try:
        yield from _objects(number, decode(line), report)
    except ValueError as error:
        documents = list(_split(line))
        if len(documents) < 2:
            report(number, str(error))
            return
        for document in documents:
            yield from _line_of_json(number, document, report)


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


def _depth(data: bytes) -> int:
    depth, place = 0, 0
    while found := _STRUCTURE.search(data, place):
        place = found.end()
        if found[0] == b'"':
            place = _after_string(data, place)
            if place < 0:
                return depth
        else:
            depth += 1 if found[0] in b"{[" else -1
    return depth


def _after_string(data: bytes, place: int) -> int:
    while found := _STRING_END.search(data, place):
        if found[0] == b'"':
            return found.end()
        place = found.end() + 1
    return -1


def _split(data: bytes) -> Iterator[bytes]:
    """Documents that stand one behind the other on a line."""
    depth, place, start = 0, 0, 0
    while found := _STRUCTURE.search(data, place):
        place = found.end()
        if found[0] == b'"':
            place = _after_string(data, place)
            if place < 0:
                break
            continue
        depth += 1 if found[0] in b"{[" else -1
        if depth == 0:
            yield data[start:place].strip()
            start = place
    if data[start:].strip():
        yield data[start:].strip()


class _Splitter:
    """Cuts a stream of chunks into its outermost (or, of an array, second outermost) objects."""

    def __init__(self, array: bool) -> None:
        self._floor = 1 if array else 0
        self._depth = 0
        self._data = b""
        self._place = 0
        self._start = -1
        self._start_line = 0
        self._line = 1
        self._counted = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Documents that are whole now, each with the line on which it begins."""
        self._data += chunk
        data = self._data
        while self._place < len(data):
            if self._in_string and not self._leave_string():
                break
            found = _STRUCTURE.search(data, self._place)
            if found is None:
                self._place = len(data)
                break
            self._place = found.end()
            if found[0] == b'"':
                self._in_string = True
            elif found[0] in b"{[":
                self._open(found.start())
            elif (start := self._close()) >= 0:
                yield self._start_line, data[start : self._place]
        self._forget()

    @property
    def pending(self) -> tuple[int, int] | None:
        """Line and length of a document that has begun and not ended."""
        return None if self._start < 0 else (self._start_line, len(self._data) - self._start)

    def drop(self) -> None:
        """Forget what has begun."""
        self._start, self._depth, self._in_string = -1, self._floor, False
        self._place = len(self._data)
        self._forget()

    def _leave_string(self) -> bool:
        while found := _STRING_END.search(self._data, self._place):
            if found[0] == b"\\":
                if found.end() >= len(self._data):
                    self._place = found.start()
                    return False
                self._place = found.end() + 1
                continue
            self._place, self._in_string = found.end(), False
            return True
        self._place = len(self._data)
        return False

    def _open(self, at: int) -> None:
        if self._depth == self._floor and self._start < 0:
            self._line += self._data.count(b"\n", self._counted, at)
            self._counted, self._start, self._start_line = at, at, self._line
        self._depth += 1

    def _close(self) -> int:
        self._depth = max(self._depth - 1, 0)
        if self._depth == self._floor and self._start >= 0:
            start, self._start = self._start, -1
            return start
        return -1

    def _forget(self) -> None:
        keep = self._start if self._start >= 0 else self._place
        self._line += self._data.count(b"\n", self._counted, keep) if keep > self._counted else 0
        self._data = self._data[keep:]
        self._place -= keep
        self._counted = max(self._counted - keep, 0)
        self._start = 0 if self._start >= 0 else -1


def _documents(lines: _Lines, report: Report, *, array: bool) -> Iterator[Record]:
    splitter, element = _Splitter(array), 0
    for chunk in lines.chunks():
        for line, document in splitter.feed(chunk):
            number = element if array else line
            element += 1
            try:
                yield from _objects(number, decode(document), report)
            except ValueError as error:
                report(number, str(error))
        pending = splitter.pending
        if pending is not None and pending[1] > LIMIT:
            report(element if array else pending[0], f"longer than {LIMIT} bytes")
            splitter.drop()
    if splitter.pending is not None:
        report(element if array else splitter.pending[0], "not valid JSON: the document has no end")


def zeek_rows(lines: _Lines, report: Report) -> Iterator[Record]:
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


def _csv(lines: _Lines, report: Report) -> Iterator[Record]:
    csv.field_size_limit(LIMIT)
    texts = (line.decode("utf-8", "replace").replace("\0", "\ufffd") + "\n" for _, line in lines)
    rows = csv.reader(texts)
    names = [name.strip() for name in next(rows)]
    number = rows.line_num + 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            report(number, f"not valid CSV: {error}")
            number = rows.line_num + 1
            continue
        if len(cells) > len(names):
            report(number, f"{len(cells)} cells under a header of {len(names)}")
        elif cells:
            yield Record(number, dict(zip(names, cells, strict=False)))
        number = rows.line_num + 1


def peekable(records: Iterator[Record]) -> tuple[Record | None, Iterator[Record]]:
    """The first record and all of them."""
    first = next(records, None)
    return first, records if first is None else chain((first,), records)

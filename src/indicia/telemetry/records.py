"""Bytes become records: JSON objects, rows of many kinds, Windows events, lines. Nothing here knows a schema.

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum
from io import BufferedIOBase
from typing import Any, NoReturn

import msgspec

from indicia.telemetry import evtx, tables, zeek
from indicia.telemetry.documents import OPENING, QUOTE, TO_BRACKET, Splitter
from indicia.telemetry.lines import LIMIT, WHOLE, Lines, Numbered, Report, Selection, without_cr

_ENVELOPES = ("Records", "records", "value", "Events")
_ARRAY = re.compile(rb"\s*\[[\s\[]*[{\]]")
_FOREIGN = {
    b"PK\x03\x04": "a zip archive inside a stream or an archive: unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it first",
    b"Rar!\x1a\x07": "a RAR archive: unpack it first",
    b"PARE": "an encrypted Parquet file: decrypt it first",
}
_decode = msgspec.json.Decoder().decode
_DIGITS = 400

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stood."""

    line: int
    """1-based line on which it begins; 0-based element of a JSON array."""
    value: Value | bytes
    """An object, or a line without its line end."""
    text: bytes | None = None
    """The line that the object was read from, where the line says which event it is."""
    raw: bytes | str | None = field(default=None, compare=False)
    """The JSON of the object as it was written, where it stood alone."""


class Form(Enum):
    """What a stream is made of."""

    FOREIGN = "nothing that can be read"
    ZEEK = "rows of a Zeek log"
    ARRAY = "a JSON array"
    DOCUMENTS = "JSON documents over many lines"
    JSON = "a JSON object a line"
    CSV = "rows under a header"
    TSV = "rows under a header, cells between tabs"
    LINES = "lines of text"
    EVTX = "a Windows event log"
    PARQUET = "a Parquet file"
    ARROW = "a file of Arrow's IPC"
    ARROW_STREAM = "a stream of Arrow's IPC"


@dataclass(frozen=True, slots=True)
class Part:
    """How a piece of a file is to be read whose beginning lies elsewhere."""

    form: Form
    header: bytes = b""
    """The `#` lines of a Zeek log that hold where the piece begins; the header of an EVTX file."""
    first: int = 0
    """The number of the first chunk of an EVTX file."""
    rows: tuple[int, int] | None = None
    """Row groups or batches, the first and the one behind the last; then the file is opened whole."""


def form_of(head: bytes) -> Form:
    """The form of a stream by its first bytes, without byte order mark."""
    if any(head.startswith(magic) for magic in _FOREIGN):
        return Form.FOREIGN
    if (columnar := _container(head)) is not None:
        return columnar
    if head.startswith((b"#separator ", b"#fields\t")):
        return Form.ZEEK
    if _ARRAY.match(head):
        return Form.ARRAY
    if head.lstrip()[:1] == b"{":
        return Form.DOCUMENTS if _begins_a_document(head) else Form.JSON
    if _is_table(head, ","):
        return Form.CSV
    return Form.TSV if _is_table(head, "\t") else Form.LINES


def _container(head: bytes) -> Form | None:
    if head.startswith(evtx.MAGIC):
        return Form.EVTX
    if head.startswith(tables.PARQUET):
        return Form.PARQUET
    if head.startswith(tables.FILE):
        return Form.ARROW
    return Form.ARROW_STREAM if tables.is_stream(head) else None


def read(
    stream: BufferedIOBase,
    report: Report,
    selection: Selection | None = None,
    part: Part | None = None,
    feeds: Callable[[int], None] = lambda _count: None,
) -> Iterator[Record]:
    """Every record of the stream; `report` hears of what is malformed, and where the stream breaks off.

    With a `selection` only of what its sieve names: the rest is neither parsed nor judged as malformed.
    `feeds` hears at the end how many line feeds a stream of lines had.
    """
    lines = Lines(stream, report)
    form = part.form if part is not None else form_of(lines.head)
    match form:
        case Form.FOREIGN:
            report(WHOLE, next(what for magic, what in _FOREIGN.items() if lines.head.startswith(magic)))
        case Form.ZEEK:
            yield from _zeek(lines, report, selection, part.header if part is not None else b"")
        case Form.ARRAY | Form.DOCUMENTS:
            yield from _documents(lines, report, selection, array=form is Form.ARRAY)
        case Form.JSON:
            yield from _json(lines, report, selection)
        case Form.CSV | Form.TSV:
            yield from _csv(lines, report, selection, "," if form is Form.CSV else "\t")
        case Form.LINES:
            yield from _plain(lines, selection)
        case Form.EVTX:
            yield from _evtx(lines, report, selection, part)
        case _:
            yield from _rows(form, lines, stream, report, selection, part)
    feeds(lines.feeds)


def _evtx(lines: Lines, report: Report, selection: Selection | None, part: Part | None) -> Iterator[Record]:
    header, first = (part.header, part.first) if part is not None else (b"", 0)
    pieces = _sized(lines.raw(), evtx.CHUNK, 0 if header else evtx.HEADER)
    header = header or next(pieces)
    for number, text in evtx.texts(pieces, header, first, report, selection):
        yield from _of_document(number, text, report)


def _sized(chunks: Iterator[bytes], size: int, first: int) -> Iterator[bytes]:
    """The bytes in pieces of one size; the first one of another where that is given, the last one shorter."""
    wanted, held = first or size, bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= wanted:
            yield bytes(held[:wanted])
            del held[:wanted]
            wanted = size
    if held:
        yield bytes(held)


def _rows(
    form: Form,
    lines: Lines,
    stream: BufferedIOBase,
    report: Report,
    selection: Selection | None,
    part: Part | None,
) -> Iterator[Record]:
    """Rows of files of columns."""
    if form is Form.ARROW_STREAM:
        found = tables.arrow_stream(lines.head, stream, report, selection)
        yield from (Record(number, row) for number, row in found)
        return
    try:
        file = tables.seekable(lines.head, stream)
    except OSError as error:
        report(WHOLE, f"the stream ends here: {error}")
        return
    with nullcontext() if file is stream else file:
        read_rows = tables.parquet if form is Form.PARQUET else tables.arrow_file
        found = read_rows(file, report, selection, part.rows if part is not None else None)
        yield from (Record(number, row) for number, row in found)


def _wanted(lines: Lines, selection: Selection | None) -> Iterator[Numbered]:
    """The lines that are to be parsed, without CR."""
    if selection is None:
        yield from lines.filled()
        return
    for number, line in lines.named(selection):
        yield number, without_cr(line)


def decode(data: bytes | str) -> Any:
    """A JSON document. Raises ValueError with the reason; hostile depth and numbers included."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    try:
        return _without_surrogates(json.loads(text, parse_constant=_refuse, parse_int=_integer))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" starting at").removesuffix(" at")
        raise ValueError(f"not valid JSON: {what} at character {error.pos}") from None


def _integer(digits: str) -> int | float:
    """Beyond what a double holds it is infinite, as `1e999` is; Python reads no more than 4,300 digits."""
    return int(digits) if len(digits) < _DIGITS else float(digits)


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


def _plain(lines: Lines, selection: Selection | None) -> Iterator[Record]:
    """Lines of text; one that is a JSON object all the same is that object."""
    for number, line in _wanted(lines, selection):
        if line[:1] == b"{" and line.rstrip()[-1:] == b"}":
            try:
                value = decode(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield Record(number, value, raw=line)
            else:
                yield Record(number, line)
        elif line.strip():
            yield Record(number, line)


def _json(lines: Lines, report: Report, selection: Selection | None) -> Iterator[Record]:
    """One object a line, or several."""
    for number, line in _wanted(lines, selection):
        if line and not line.isspace():
            yield from _line_of_json(number, line.removeprefix(codecs.BOM_UTF8), report)


def of_lines(numbered: Iterable[Numbered], report: Report) -> Iterator[Record]:
    """Lines of JSON that somebody else has cut, as those of a file are read."""
    for number, line in numbered:
        if len(line) > LIMIT:
            report(number, f"a line of more than {LIMIT >> 20} MiB")
        elif line and not line.isspace():
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
    while (place := TO_BRACKET.match(data, place).end()) < len(data):  # type: ignore[union-attr]
        if data[place] == QUOTE:
            return depth + 1
        depth += 1 if data[place] in OPENING else -1
        place += 1
    return depth


def _line_of_json(number: int, line: bytes, report: Report) -> Iterator[Record]:
    """The object of a line, or several that stand one behind the other."""
    try:
        value = decode(line)
    except ValueError as error:
        if b"{" not in line or b"}" not in line:  # no object is in it
            report(number, str(error))
            return
        splitter = Splitter()
        documents = [document for _, document in splitter.feed(line)]
        if splitter.pending is not None:
            documents.append(line[-splitter.pending[1] :])
        if len(documents) < 2:
            report(number, str(error))
            return
        for document in documents:
            yield from _of_document(number, document, report)
    else:
        yield from _objects(number, value, report, line)


def _of_document(number: int, document: bytes | str, report: Report) -> Iterator[Record]:
    try:
        value = decode(document)
    except ValueError as error:
        report(number, str(error))
    else:
        yield from _objects(number, value, report, document)


def _objects(number: int, value: Any, report: Report, raw: bytes | str) -> Iterator[Record]:
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
    yield Record(number, value, raw=raw)


def _documents(lines: Lines, report: Report, selection: Selection | None, *, array: bool) -> Iterator[Record]:
    """Objects over many lines, one behind the other or in an array, each read as soon as it is whole."""
    splitter, element = Splitter(), 0
    for chunk in lines.chunks():
        for line, document in splitter.feed(chunk):
            if selection is None or selection.sieve.holds(document):
                yield from _of_document(element if array else line, document, report)
            else:
                selection.passed(1)
            element += 1
        pending = splitter.pending
        if pending is not None and pending[1] > LIMIT:
            report(element if array else pending[0], f"longer than {LIMIT} bytes")
            element += 1
            splitter.drop()
    if splitter.pending is not None:
        report(element if array else splitter.pending[0], "not valid JSON: the document has no end")


def _zeek(lines: Lines, report: Report, selection: Selection | None, above: bytes) -> Iterator[Record]:
    """Rows of a Zeek log under its `#` header; a header in mid-file (a rotation) counts from there."""
    header = zeek.Header()
    for line in above.split(b"\n"):
        header.read(without_cr(line))
    if selection is None:
        found = lines.filled(b"")
    else:
        # Zeek's escapes write what is no text as text, so lines with such bytes are all judged.
        further = zeek.Further(above or lines.head)
        found = ((n, without_cr(line)) for n, line in lines.named(selection, all_odd=True, also=further))
    for number, line in found:
        if line.startswith(b"#"):
            header.read(line)
        elif line:
            try:
                yield Record(number, header.row(line))
            except ValueError as error:
                report(number, str(error))


def _is_table(head: bytes, delimiter: str) -> bool:
    """A header of at least three words, and a second line of as many cells."""
    lines = head.decode("utf-8", "replace").splitlines()[:2]
    if len(lines) < 2 or delimiter not in lines[0]:
        return False
    names = next(csv.reader(lines[:1], delimiter=delimiter), [])
    simple = all(re.fullmatch(r"[A-Za-z_@][\w @.:/()-]{0,60}", name.strip()) for name in names)
    if not simple or len(names) < 3 or len(set(names)) < len(names):
        return False
    try:
        rows = head.decode("utf-8", "replace").splitlines(keepends=True)[1:200]
        cells = next(csv.reader(rows, delimiter=delimiter), [])
    except csv.Error:
        return False
    return len(cells) == len(names)


class _Texts:
    """The lines of a CSV file, no more than LIMIT bytes for one row."""

    def __init__(self, lines: Lines, selection: Selection | None) -> None:
        if selection is None:
            self._lines = lines.whole(self._blank)
        else:
            self._lines = lines.named(selection, also=self._further)
        self.begin = 0
        """The line on which the row begins; 0: none has begun."""
        self._size = 0
        self._first = True

    def _further(self, block: bytearray, begin: int, end: int) -> list[int] | None:
        """The header; and everything where a row may go over more than one line."""
        first, self._first = self._first, False
        return None if self.begin or block.find(b'"', begin, end) >= 0 else [begin] * first

    def _blank(self, chunk: bytes) -> bytes | None:
        """Where no row goes over the lines of a chunk, empty ones say nothing."""
        return None if self.begin or b'"' in chunk else b"\r"

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


def _csv(lines: Lines, report: Report, selection: Selection | None, delimiter: str) -> Iterator[Record]:
    """Rows as objects under the names of the first. A row with fewer cells has fewer keys."""
    csv.field_size_limit(LIMIT)
    texts = _Texts(lines, selection)
    rows = csv.reader(texts, delimiter=delimiter)
    names = [name.strip() for name in next(rows)]
    while True:
        texts.start()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            report(texts.begin, f"not valid {'CSV' if delimiter == ',' else 'TSV'}: {error}")
            continue
        if len(cells) > len(names):
            report(texts.begin, f"{len(cells)} cells under a header of {len(names)}")
        elif cells:
            yield Record(texts.begin, dict(zip(names, cells, strict=False)))

"""Rows as files to be saved: CSV that no spreadsheet takes for formulas, and NDJSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from starlette.responses import Response, StreamingResponse

from indicia.errors import InvalidValue
from indicia.feeds.csv import escape

FORMATS = ("csv", "ndjson")
_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}
_PIECE = 64 * 1024


def saved(name: str, form: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Rows under these columns, sent while they are read; InvalidValue for another format."""
    if form not in FORMATS:
        raise InvalidValue(f"must be one of {', '.join(FORMATS)}", target="format")
    lines = _csv(columns, rows) if form == "csv" else _ndjson(columns, rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(_pieces(lines), headers=headers, media_type=_TYPES[form])


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if value is None else escape(str(value)) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _ndjson(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in rows:
        named = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        yield json.dumps(named) + "\n"


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """In pieces of some size: one of each row would be a message of the server each."""
    piece, size = list[str](), 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PIECE:
            yield "".join(piece).encode("utf-8", "replace")
            piece, size = [], 0
    yield "".join(piece).encode("utf-8", "replace")

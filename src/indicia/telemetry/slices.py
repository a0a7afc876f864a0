"""A large file becomes pieces, so that every core has something to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import BinaryIO

from indicia.errors import InputError, MissingExtra
from indicia.telemetry import evtx, tables
from indicia.telemetry.lines import HEAD
from indicia.telemetry.records import Form, Part, form_of
from indicia.telemetry.sources import Source, is_compressed

SIZE = 16 * 1024 * 1024
"""Bytes of a piece, about: it ends with a line."""
_OF_LINES = frozenset({Form.JSON, Form.LINES, Form.ZEEK})
_OF_COLUMNS = frozenset({Form.PARQUET, Form.ARROW})
_STEP = 1 << 20


def pieces(source: Source, size: int = SIZE) -> list[Source]:
    """The source as pieces of about `size` bytes; itself alone where it cannot be cut.

    Cut are plain files of lines, EVTX between chunks, Parquet between row groups, Arrow's files between
    batches: no CSV (a row may go over lines), no documents, nothing compressed, no member of an archive, no
    UTF-16. The numbers of lines count from the beginning of each piece. Raises InputError where the file
    cannot be read.
    """
    if source.path is None or source.size is None or source.size < 2 * size or not source.path.is_file():
        return [source]
    if source.member is not None or source.fault is not None:
        return [source]
    try:
        with source.path.open("rb", buffering=0) as file:
            head = file.read(HEAD)
            if is_compressed(head) or head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
                return [source]
            form = form_of(head)
            if form is Form.EVTX:
                return _chunks(source, head[: evtx.HEADER], size)
            if form in _OF_COLUMNS:
                return _groups(source, file, form, size)
            if form not in _OF_LINES:
                return [source]
            cuts = list(_cuts(file, source.size, size))
            headers = _headers(file, cuts) if form is Form.ZEEK else [b""] * len(cuts)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=source.name) from None
    ends = [*cuts[1:], source.size]
    return [
        replace(source, start=start, size=end - start, part=Part(form, header))
        for start, end, header in zip(cuts, ends, headers, strict=True)
    ]


def _chunks(source: Source, header: bytes, size: int) -> list[Source]:
    """An EVTX file: its header, and chunks of one size, each of which stands for itself."""
    total, step = source.size or 0, max(size - size % evtx.CHUNK, evtx.CHUNK)
    cuts = [0, *range(evtx.HEADER + step, total, step), total]
    return [
        replace(
            source,
            start=start,
            size=end - start,
            part=Part(Form.EVTX, header if start else b"", start // evtx.CHUNK),
        )
        for start, end in pairwise(cuts)
    ]


def _groups(source: Source, file: BinaryIO, form: Form, size: int) -> list[Source]:
    """A file of columns: its row groups or batches, as many together as make about `size` bytes."""
    total = source.size or 0
    try:
        if form is Form.PARQUET:
            sizes = tables.parquet_cuts(file)
        else:
            count = tables.arrow_batches(file)
            sizes = [total // count] * count
    except (MissingExtra, OSError, ValueError, ArithmeticError):
        return [source]  # reading tells what is wrong
    found, first, start, held = list[Source](), 0, 0, 0
    for number, bytes_of in enumerate(sizes, 1):
        held += bytes_of
        if held >= size or number == len(sizes):
            found.append(replace(source, start=start, size=held, part=Part(form, rows=(first, number))))
            first, start, held = number, start + max(held, 1), 0
    return found or [source]


def _cuts(file: BinaryIO, total: int, size: int) -> Iterator[int]:
    """Where pieces begin: at the beginning of a line."""
    at = 0
    while at < total:
        yield at
        file.seek(at + size)
        at += size
        while at < total and (data := file.read(_STEP)):
            found = data.find(b"\n")
            if found >= 0:
                at += found + 1
                break
            at += len(data)


def _headers(file: BinaryIO, cuts: list[int]) -> list[bytes]:
    """The `#` lines above each piece, all of them: the last of a kind counts."""
    headers, so_far = [], b""
    for start, end in zip(cuts, [*cuts[1:], cuts[-1]], strict=True):
        headers.append(so_far)
        file.seek(start)
        data = file.read(end - start)
        so_far += b"".join(line + b"\n" for line in _hash_lines(data))
    return headers


def _hash_lines(data: bytes) -> Iterator[bytes]:
    at = 0 if data.startswith(b"#") else data.find(b"\n#") + 1
    while data[at : at + 1] == b"#":
        end = data.find(b"\n", at)
        yield data[at : end if end >= 0 else len(data)]
        at = data.find(b"\n#", at) + 1
        if at == 0:
            return

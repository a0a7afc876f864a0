"""Indicators in: files of indicators become rows, whatever they look like.

    bytes ─► lines.py (numbered, bounded) ─► one format ─► FeedRow | FeedFault ─► make.py ─► Indicator
                                              csv, ndjson, plain

A format is one file and one row of FORMATS; its docstring is its manual. Nothing stops at a bad row: it
becomes a FeedFault with its line. `.gz` and `.zst` are known by their first bytes. Memory: one line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from indicia.errors import InputError, MalformedFile
from indicia.feeds import csv
from indicia.feeds.lines import Line, first_of, lines
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.telemetry.sources import Source

FORMATS: dict[str, str] = {
    "csv": "indicia.feeds.csv",
    "ndjson": "indicia.feeds.ndjson",
    "list": "indicia.feeds.plain_list",
    "text": "indicia.feeds.plain_text",
}
"""Name to module; each has `fits(head) -> bool` and `rows(lines) -> Iterator[FeedRow | FeedFault]`.

The order is the order of asking; `text` takes everything.
"""

__all__ = ["FORMATS", "FeedFault", "FeedRow", "digest", "read"]


def read(
    path: str,
    format: str | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    broken: Callable[[], None] = lambda: None,
    taken: Callable[[str], None] | None = None,
) -> Iterator[FeedRow | FeedFault]:
    """Every row of a file (`-`: standard input) in one of FORMATS; found by its look where none is named.

    `progress` hears of bytes read from the disk, `broken` that the file breaks off (of which the last row
    tells), `taken` which format was found. Raises InputError where the file cannot be opened, and
    MalformedFile where its head cannot be of the format (a CSV without its columns, or with
    lines above them).
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"there is no format {format!r}; known: {', '.join(FORMATS)}", place=path)
    with _source(path).open(progress) as stream:
        head, everything = first_of(lines(stream, broken))
        try:
            name = format or guess(head)
            if format is None and taken is not None:
                taken(name)
            yield from read_lines(name, everything)
        except InputError as error:
            error.place = f"{path}:{error.place}" if error.place else path
            raise


def digest(path: str) -> str:
    """SHA-256 of the file as it lies on the disk, in hex: by it an import of the same file is known.

    Empty for standard input, which nobody can read twice. Raises InputError where it cannot be read.
    """
    found = _source(path).path
    if found is None:
        return ""
    try:
        with found.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=path) from None


def _source(path: str) -> Source:
    if path == "-":
        return Source("-")
    found = Path(path)
    if found.is_dir():
        raise InputError("is a folder; name one file of indicators", place=path)
    if not found.exists():
        raise InputError("there is no such file", place=path)
    return Source(path, found, found.stat().st_size)


def guess(head: Sequence[Line]) -> str:
    """The format by its look. Raises MalformedFile where lines stand above what is the header of a CSV."""
    texts = [line.text for line in head]
    found = next((name for name, module in FORMATS.items() if import_module(module).fits(texts)), "text")
    if found in ("list", "text") and (number := csv.buried(texts)) is not None:
        raise MalformedFile(
            f"looks like {found}, but line {number} is the header of a CSV: remove what stands above "
            f"it, or import it with --format {found}"
        )
    return found


def read_lines(name: str, everything: Iterable[Line]) -> Iterator[FeedRow | FeedFault]:
    """Every row of lines in one of FORMATS."""
    found: Iterator[FeedRow | FeedFault] = import_module(FORMATS[name]).rows(everything)
    return found

"""EVTX: records of Windows event logs as the objects that the package `evtx` makes of them.

A file is a header and chunks of 64 KiB, each of which can be read for itself. So they are read in groups
behind the same header: memory stays bounded, a damaged chunk costs itself alone, and a large file can be cut
anywhere between two of them. The number of a record is the one in its own header, not the EventRecordID of
the event inside, which differs from it where events were exported or forwarded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from indicia.telemetry.extras import extra
from indicia.telemetry.lines import WHOLE, Report, Selection

MAGIC = b"ElfFile\0"
HEADER = 4096
CHUNK = 65536
_CHUNK_MAGIC = b"ElfChnk\0"
_GROUP = 64
"""Chunks that are read at once: 4 MiB."""
_RECORDS = 2048
"""Records whose texts a sieve is given at once."""

Text = tuple[int, str]
"""The number of a record, and its JSON."""


def texts(
    chunks: Iterator[bytes], header: bytes, first: int, report: Report, selection: Selection | None
) -> Iterator[Text]:
    """The records in some chunks, those that the sieve names where there is a selection.

    `first` is the number of the first chunk, for the words about damaged ones. Raises MissingExtra.
    """
    parser = extra("evtx", "evtx", "reading EVTX").PyEvtxParser
    for number, group in _grouped(chunks, first, report):
        data = io.BytesIO(header + b"".join(group))
        found = _records(parser(data, indent=False), number, len(group), report)
        yield from found if selection is None else _named(found, selection)


def _grouped(chunks: Iterator[bytes], first: int, report: Report) -> Iterator[tuple[int, list[bytes]]]:
    """Chunks that hold records, and the number of the first of each group; others are told, or never used."""
    group, number = list[bytes](), first - 1
    for number, chunk in enumerate(chunks, first):
        if len(chunk) == CHUNK and chunk.startswith(_CHUNK_MAGIC):
            group.append(chunk)
            if len(group) == _GROUP:
                yield number + 1 - len(group), group
                group = []
            continue
        if chunk != bytes(len(chunk)):
            why = "is cut short" if len(chunk) < CHUNK else "does not begin as one"
            report(WHOLE, f"chunk {number} of the EVTX file {why}")
        if group:
            yield number - len(group), group
            group = []
    if group:
        yield number + 1 - len(group), group


def _records(parser: Any, number: int, count: int, report: Report) -> Iterator[Text]:
    """Record by record, because one that is damaged must not end the others."""
    found, faults = iter(parser.records_json()), 0
    while True:
        try:
            record = next(found)
        except StopIteration:
            return
        except (RuntimeError, ValueError, OSError) as error:
            faults += 1
            report(
                WHOLE, f"in chunks {number} to {number + count - 1} of the EVTX file: {_first_line(error)}"
            )
            if faults > CHUNK:  # more than there can be records
                return
            continue
        yield record["event_record_id"], record["data"]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _named(found: Iterator[Text], selection: Selection) -> Iterator[Text]:
    """Many texts at once, a line each."""
    while batch := list(islice(found, _RECORDS)):
        block = "\n".join(text for _, text in batch).encode("utf-8", "replace")
        spans = selection.sieve.spans(block, 0, len(block))
        selection.passed(len(batch) - len(spans))
        at = place = 0
        for start, _ in spans:
            place += block.count(b"\n", at, start)
            at = start
            yield batch[place]

"""Allow-lists in files: MISP's warning lists as they are, tables of them, and plain lists.

- JSON: `{"name": …, "type": "hostname", "list": [ … ], "matching_attributes": [ … ]}`, or a list of such.
- CSV with the columns `match_type`, `value`, `list` and, where wanted, `matching_attributes` joined by `|`.
- Anything else: a value a line, of one name and kind that the caller gives; `#` begins a comment.

Compressed files (.gz, .zst) are read as they are. The whole file is in memory; it has at most LIMIT bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indicia import allow
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.errors import InputError, InvalidValue, MalformedFile
from indicia.model import REASON_LIMIT, IndicatorType
from indicia.telemetry.sources import Source

LIMIT = 256 * 1024 * 1024
"""Bytes of a file, unpacked."""
_KINDS = {str(kind).lower(): kind for kind in AllowKind}
_COLUMNS = {"match_type", "value", "list"}


@dataclass(slots=True)
class WarningList:
    """One list of a file."""

    name: str
    comment: str = ""
    attributes: tuple[str, ...] | None = None
    """MISP's `matching_attributes`; None where the file names none."""
    values: list[tuple[int, AllowKind, str]] = field(default_factory=list)
    """Each behind its line, or its place in the list of JSON, from 1."""


def read(path: str, name: str | None = None, kind: AllowKind | None = None) -> list[WarningList]:
    """Every list of a file, `-` for standard input. `name` and `kind` are for files that do not say them.

    InputError, MalformedFile with the place.
    """
    return lists(_text(path), path, name, kind)


def lists(text: str, path: str, name: str | None = None, kind: AllowKind | None = None) -> list[WarningList]:
    """As `read`, of what a file holds."""
    begin = text.lstrip()[:1]
    try:
        if begin in ("{", "["):
            found = _of_json(text, name)
        elif set(text.partition("\n")[0].strip().split(",")) >= _COLUMNS:
            found = _of_csv(text)
        else:
            return [_plain(text, name, kind)]
    except MalformedFile as error:
        error.place = f"{path}:{error.place}" if error.place else path
        raise
    return found if name is None or begin in ("{", "[") else [one for one in found if one.name == name]


Fault = Callable[[int, str], None]
"""Told of what cannot be used: a line, or 0, and why."""


def ready(
    one: WarningList, types: tuple[IndicatorType, ...], fault: Fault
) -> tuple[AllowList, list[AllowEntry]]:
    """A list as it is kept, and its entries; what cannot be one is told. `types`: what it is about."""
    if not types and one.attributes is not None:
        types = allow.types_of(one.attributes)
        if not types:
            fault(0, f"{one.name} is about no type of indicator that there is here; it is empty")
            return AllowList(one.name, comment=one.comment[:REASON_LIMIT]), []
    found: list[AllowEntry] = []
    for line, kind, value in one.values:
        try:
            found += allow.entries(kind, value, types)
        except InvalidValue as error:
            fault(line, error.message)
    return AllowList(one.name, comment=one.comment[:REASON_LIMIT], types=types), found


def _text(path: str) -> str:
    file = None if path == "-" else Path(path)
    if file is not None and not file.is_file():
        raise InputError("there is no such file", place=path)
    return unpacked(Source(path, file))


def unpacked(source: Source) -> str:
    """What a source holds, unpacked, as text. InputError, MalformedFile."""
    data = bytearray()
    try:
        with source.open() as stream:
            while piece := stream.read(1024 * 1024):
                data += piece
                if len(data) > LIMIT:
                    raise InputError(f"has more than {LIMIT:,} bytes; import it in parts", place=source.name)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedFile(f"is not UTF-8 at byte {error.start + 1}", place=source.name) from None
    except OSError as error:
        raise MalformedFile(f"cannot be read to its end: {error}", place=source.name) from None


def _of_json(text: str, name: str | None) -> list[WarningList]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedFile(f"is not JSON: {error}") from None
    several = whole if isinstance(whole, list) else [whole]
    found = [_of_object(one, number) for number, one in enumerate(several, 1)]
    if name is not None and len(found) == 1:
        found[0].name = name
    return [one for one in found if name is None or one.name == name]


def _of_object(one: Any, number: int) -> WarningList:
    if not isinstance(one, dict):
        raise MalformedFile(f"list {number} is no object with name, type and list")
    name, values = one.get("name"), one.get("list")
    if not isinstance(name, str) or not isinstance(values, list):
        raise MalformedFile(f"list {number} has no name, or no list of values")
    attributes, kind = one.get("matching_attributes"), _kind(one.get("type", "string"), f"list {number}")
    return WarningList(
        name,
        str(one.get("description", "")),
        tuple(str(item) for item in attributes) if isinstance(attributes, list) else None,
        [(place, kind, str(value)) for place, value in enumerate(values, 1)],
    )


def _of_csv(text: str) -> list[WarningList]:
    lists: dict[str, WarningList] = {}
    rows = csv.DictReader(io.StringIO(text))
    for row in _rows(rows):
        one = lists.get(row["list"])
        if one is None:
            named = row.get("matching_attributes")
            one = WarningList(row["list"], attributes=tuple(named.split("|")) if named else None)
            lists[row["list"]] = one
        kind = _KINDS.get(row["match_type"]) or _kind(row["match_type"], f"{rows.line_num}")
        one.values.append((rows.line_num, kind, row["value"]))
    return list(lists.values())


def _rows(rows: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        for row in rows:
            if any(row.get(name) is None for name in _COLUMNS):
                raise MalformedFile("a cell is missing", place=str(rows.line_num))
            yield row
    except csv.Error as error:
        raise MalformedFile(f"is no CSV: {error}", place=str(rows.line_num)) from None


def _plain(text: str, name: str | None, kind: AllowKind | None) -> WarningList:
    if name is None or kind is None:
        raise InputError("a plain list says neither its name nor its kind: give --name and --kind")
    made = WarningList(name)
    for number, line in enumerate(text.splitlines(), 1):
        value = line.strip()
        if value and not value.startswith("#"):
            made.values.append((number, kind, value))
    return made


def _kind(text: object, place: str) -> AllowKind:
    found = _KINDS.get(str(text).lower())
    if found is None:
        raise MalformedFile(f"{place}: {text!r} is no kind of list; known: {', '.join(_KINDS)}")
    return found

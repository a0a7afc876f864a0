"""CSV with a header: `type,value` and, where wanted, more.

    column        meaning
    type          Md5, Sha1, Sha256, IpAddress, DomainName, Url, FileName in any letter case; also ip, Cidr,
                  domain, hostname, uri, file …; absent or empty: guessed from the value
    value         the only column that must be there; `evil[.]example` and `hxxp` will do
    function      Equals, StartWith, EndWith, Contains, SubdomainOf
    source        kept with the indicator: where it came from
    valid_from, expires_at    `2026-01-31T12:00:00Z`, or a date (its midnight, UTC)
    enabled       true (default) or false
    definition, title, severity, category, definition_uid, group_by, window_seconds
                  the alert definition of the row, for lists that bring their own

Names of columns count without letter case, blanks, `_` and `-`, and the API's own (`DetectionFunction`,
`ExpiresAt`) are known too. Other columns are ignored. Cells are separated by comma, semicolon or TAB, as
the header shows. Rows that begin with `#` are comments. A cell that a spreadsheet would take for a formula
may stand behind an apostrophe (`'=x`): that is how `indicia indicators export` writes it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from indicia.errors import MalformedFile
from indicia.feeds import rows as words
from indicia.feeds.lines import Line
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.values import guess_type, refang

COLUMNS: dict[str, str] = {
    "type": "type",
    "indicatortype": "type",
    "value": "value",
    "indicatorvalue": "value",
    "indicator": "value",
    "function": "function",
    "detectionfunction": "function",
    "action": "function",
    "source": "source",
    "validfrom": "valid_from",
    "expiresat": "expires_at",
    "enabled": "enabled",
    "name": "definition",
    **{words.squeezed(name): name for name in words.DEFINITION_COLUMNS},
}
SEPARATORS = ",;\t"
JOINED = 20
"""Lines that one quoted cell may span."""
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def escape(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; `unescape` undoes it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape(cell: str) -> str:
    """The cell as it was before `escape`."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def fits(head: Sequence[str]) -> bool:
    """Whether the first line that is no comment names the column `value`, beside another known one."""
    text = next((text for text in head if text.strip() and not text.startswith("#")), "")
    _, names = _header(text)
    return "value" in names and len([name for name in names if name]) > 1


def buried(head: Sequence[str]) -> int | None:
    """Which of these lines, from 1, is a header though others stand above it; None: none is."""
    return next((number for number, text in enumerate(head, 1) if fits([text])), None)


def _header(text: str) -> tuple[str, list[str]]:
    """The separator, and what each column is called here; empty for one that is not known."""
    separator = max(SEPARATORS, key=text.count)
    try:
        cells = next(csv.reader([text], delimiter=separator), [])
    except csv.Error:  # a cell that is longer than any header's
        return separator, []
    return separator, [COLUMNS.get(words.squeezed(cell), "") for cell in cells]


def rows(lines: Iterable[Line]) -> Iterator[FeedRow | FeedFault]:
    """Rows below the header. MalformedFile where it does not name `value`, or names a column twice."""
    found = iter(lines)
    head = next((line for line in found if line.text.strip() and not line.text.startswith("#")), None)
    if head is None:
        raise MalformedFile("holds no header; the first line must name the columns, as type,value")
    separator, names = _header(head.text)
    known = [name for name in names if name]
    if "value" not in known:
        raise MalformedFile("the header names no column `value`; it needs type,value", place=str(head.number))
    if len(set(known)) < len(known):
        raise MalformedFile("the header names a column twice", place=str(head.number))
    reader = _Reader(names)
    for number, cells in _records(found, separator):
        if isinstance(cells, str):
            yield FeedFault(number, cells)
        else:
            yield reader.row(number, cells)


def _records(lines: Iterator[Line], separator: str) -> Iterator[tuple[int, list[str] | str]]:
    """Cells with the line on which they begin, or what is wrong.

    Line by line, so that a stray quote costs one row and not the rest of the file.
    """
    waiting: list[Line] = []
    while True:
        line = waiting.pop(0) if waiting else next(lines, None)
        if line is None:
            return
        if line.fault:
            yield line.number, line.fault
        elif '"' not in line.text:
            if line.text and not line.text.isspace() and not line.text.startswith("#"):
                yield line.number, line.text.split(separator)
        else:
            yield line.number, _quoted(line, lines, waiting, separator)


def _quoted(line: Line, lines: Iterator[Line], waiting: list[Line], separator: str) -> list[str] | str:
    """A record with quotes; it may go on below. Lines that turn out not to belong to it wait again."""
    text, taken = line.text, list[Line]()
    while True:
        try:
            return next(
                csv.reader((f"{part}\n" for part in text.split("\n")), delimiter=separator, strict=True)
            )
        except csv.Error as error:
            reason = str(error)
        more = None
        if "end of data" in reason and len(taken) < JOINED:
            more = waiting.pop(0) if waiting else next(lines, None)
        if more is not None:
            taken.append(more)
            text = f"{text}\n{more.text}"
        if more is None or more.fault:
            waiting[:0] = taken
            return f"not valid CSV: {reason}"


class _Reader:
    """Cells under a header."""

    def __init__(self, names: Sequence[str]) -> None:
        self._count = len(names)
        place = {name: number for number, name in enumerate(names) if name}
        self._type = place.get("type", -1)
        self._value = place["value"]
        self._function = place.get("function", -1)
        self._source = place.get("source", -1)
        self._enabled = place.get("enabled", -1)
        self._times = place.get("valid_from", -1), place.get("expires_at", -1)
        self._definition = [(name, place[name]) for name in words.DEFINITION_COLUMNS if name in place]

    def row(self, number: int, cells: list[str]) -> FeedRow | FeedFault:
        """One row, or what is wrong with it."""
        if len(cells) > self._count:
            return FeedFault(number, f"{len(cells)} cells under a header of {self._count}")
        if len(cells) <= self._value or not cells[self._value].strip():
            return FeedFault(number, "has no value")
        if len(cells) < self._count:
            cells = cells + [""] * (self._count - len(cells))
        try:
            return self._parsed(number, cells)
        except ValueError as error:
            return FeedFault(number, str(error))

    def _parsed(self, number: int, cells: list[str]) -> FeedRow:
        value = unescape(cells[self._value].strip())
        given = cells[self._type].strip() if self._type >= 0 else ""
        if given:
            kind = words.type_of(given)
        else:
            value = refang(value)
            found = guess_type(value)
            if found is None:
                raise ValueError(f"{value[:60]!r} looks like no indicator; name its type")
            kind = found
        function = self._cell(cells, self._function)
        enabled = self._cell(cells, self._enabled)
        return FeedRow(
            number,
            kind,
            value,
            words.function_of(function) if function else None,
            unescape(self._cell(cells, self._source)) or None,
            _time(self._cell(cells, self._times[0])),
            _time(self._cell(cells, self._times[1])),
            words.boolean_of(enabled) if enabled else True,
            self._about(cells) if self._definition else words.NOTHING,
        )

    def _about(self, cells: list[str]) -> dict[str, str]:
        return {name: unescape(text) for name, place in self._definition if (text := cells[place].strip())}

    @staticmethod
    def _cell(cells: list[str], place: int) -> str:
        return cells[place].strip() if place >= 0 else ""


def _time(cell: str) -> datetime | None:
    return words.time_of(cell) if cell else None

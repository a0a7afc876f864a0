"""What somebody pastes, before anything is stored: a list, a table, a mail, a report, all of it as one text.

The text is read as a file of the same content would be (`feeds.guess`), so a table keeps its columns and a
report is searched; of a list, the lines that are no value are searched, too. Each indicator is given once,
with the function that is suggested, where it stood, and what its author should know; what could not be used
is given with the reason. Time is bounded by SECONDS, memory by LIMIT.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from indicia.errors import InvalidValue, MalformedFile, TooLarge
from indicia.feeds import guess, make, plain_text, read_lines
from indicia.feeds.lines import Line, first_of, lines
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.model import Indicator

LIMIT = 1024 * 1024
"""Characters of a text."""
MOST = 500
"""Indicators that are shown; what is more is counted."""
FAULTS = 100
"""Things that could not be used, of which the reason is given."""
SECONDS = 3.0
"""For how long a text is read."""
PIECE = 4096
"""Characters that are searched at once."""
EXCERPT = 120
"""Characters of a line that are given as the place."""


@dataclass(frozen=True, slots=True)
class Understood:
    """One indicator that was found in a text."""

    indicator: Indicator
    """Of no definition yet."""
    line: int
    """1-based line on which it stands first."""
    excerpt: str
    """What stands there."""
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Reading:
    """What was understood of a text."""

    format: str
    """One of `feeds.FORMATS`."""
    rows: list[Understood] = field(default_factory=list)
    more: int = 0
    """Further ones, beyond MOST."""
    repeated: int = 0
    """Rows that say what one before has said."""
    faults: list[FeedFault] = field(default_factory=list)
    further_faults: int = 0
    line: int = 0
    """The line that was read last."""
    cut: bool = False
    """Whether the rest was not read, because SECONDS were over."""

    @property
    def total(self) -> int:
        """How many indicators there are."""
        return len(self.rows) + self.more


def read(text: str, source: str | None = None) -> Reading:
    """What a text says. TooLarge beyond LIMIT; MalformedFile for a table whose header cannot be used."""
    if len(text) > LIMIT:
        raise TooLarge(
            f"the text has {len(text):,} characters; at most {LIMIT:,} are read here: upload it as a file"
        )
    whole = text.split("\n")
    head, everything = first_of(lines(io.BytesIO(text.encode("utf-8", "replace"))))
    try:
        name = guess(head)
    except MalformedFile:  # a table below other lines, as in a mail: then it is searched
        name = "text"
    made = Reading(name)
    choice = make.Choice(subdomains=True, source=source)
    seen: set[object] = set()
    end = time.monotonic() + SECONDS
    rows: Iterator[FeedRow | FeedFault | None] = (
        _in_pieces(whole) if name == "text" else read_lines(name, everything)
    )
    for row in _searched(rows, whole) if name == "list" else rows:
        if row is not None:
            _take(made, row, choice, seen, whole)
            made.line = row.line
        if time.monotonic() > end:
            made.cut = True
            break
    return made


def _in_pieces(whole: list[str]) -> Iterator[FeedRow | FeedFault | None]:
    """The rows of a free text, None between two pieces: no line takes long before the clock is seen."""
    for number, line in enumerate(whole, 1):
        for piece in _pieces(line):
            yield from plain_text.found_in(Line(number, piece))
            yield None


def _searched(
    rows: Iterator[FeedRow | FeedFault | None], whole: list[str]
) -> Iterator[FeedRow | FeedFault | None]:
    """The rows of a list; a line that is no value may be a sentence with some in it."""
    for row in rows:
        found = False
        if isinstance(row, FeedFault) and row.line <= len(whole):
            for piece in _pieces(whole[row.line - 1]):
                for one in plain_text.found_in(Line(row.line, piece)):
                    found = True
                    yield one
                yield None
        if not found:
            yield row


def _pieces(line: str) -> Iterator[str]:
    """Parts of a line that end with a word."""
    begin = 0
    while len(line) - begin > PIECE:
        end = max(line.rfind(" ", begin, begin + PIECE), line.rfind("\t", begin, begin + PIECE))
        end = begin + PIECE if end <= begin else end
        yield line[begin:end]
        begin = end
    yield line[begin:]


def _take(
    made: Reading,
    row: FeedRow | FeedFault,
    choice: make.Choice,
    seen: set[object],
    whole: list[str],
) -> None:
    if isinstance(row, FeedFault):
        if row.reason not in seen:
            seen.add(row.reason)
            _fault(made, row)
        return
    try:
        found, warnings = make.indicator(row, make.NOBODY, choice)
    except InvalidValue as error:
        _fault(made, FeedFault(row.line, make.words(error)))
        return
    key = found.type, found.function, found.canonical
    if key in seen:
        made.repeated += 1
        return
    seen.add(key)
    if len(made.rows) < MOST:
        made.rows.append(Understood(found, row.line, _excerpt(whole, row), warnings))
    else:
        made.more += 1


def _fault(made: Reading, fault: FeedFault) -> None:
    fault = FeedFault(fault.line, fault.reason if len(fault.reason) <= 300 else f"{fault.reason[:300]}…")
    if len(made.faults) < FAULTS:
        made.faults.append(fault)
    else:
        made.further_faults += 1


def _excerpt(whole: list[str], row: FeedRow) -> str:
    """The line, or what stands around the value in it."""
    line = whole[row.line - 1] if row.line <= len(whole) else ""
    place = max(0, line.find(row.value))
    begin = max(0, place - EXCERPT // 3) if len(line) > EXCERPT else 0
    cut = line[begin : begin + EXCERPT].strip()
    return f"{'…' if begin else ''}{cut}{'…' if begin + EXCERPT < len(line) else ''}"

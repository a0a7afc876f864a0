"""What people and programs read: tables, JSON, and texts of attackers made harmless."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

T = TypeVar("T")
_OBEYED = "\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb"
_HARMFUL = re.compile(f"[\x00-\x1f{_OBEYED}]")
_HARMFUL_IN_JSON = re.compile(f"[{_OBEYED}]")
COLUMN = 60
"""Characters that a column of a table has at the most."""


def safe(text: str) -> str:
    r"""The text with control characters as `\x1b`: events are written by attackers, terminals obey.

    Marks that turn the direction of writing, and invisible ones, are escaped too.
    """
    return _HARMFUL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    click.echo(safe(text), err=True)


def complain(text: str) -> None:
    """A fault, on stderr."""
    say(f"indicia: {text}")


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment(time: datetime | None) -> str:
    """`2026-11-24 17:05:09Z`; empty for None."""
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON in UTF-8; times in UTC with Z, enums by their names."""
    return harmless(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def harmless(text: str) -> str:
    """JSON as it was, with escapes in place of what a terminal would obey or show in another order."""
    return _HARMFUL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(type(value).__name__)


def stamp(time: datetime) -> str:
    """`2026-11-24T17:05:09.120000Z`, without the fraction where it is zero."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def result(value: Any, *, json_asked: bool, text: Callable[[], None]) -> None:
    """The result as JSON on stdout, or as `text` prints it."""
    if json_asked:
        click.echo(as_json(value))
    else:
        text()


def page(found: Sequence[T], limit: int, key: Callable[[T], int]) -> Sequence[T]:
    """The page of what was asked for with one more than `limit`; that there is more is said."""
    if len(found) > limit:
        say(f"There are more: --after {key(found[limit - 1])}")
    return found[:limit]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout: fitted to the terminal, or plain columns where there is none."""
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _rich(columns, cells)
    else:
        _plain_table(columns, cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return safe(f"{value:,}" if isinstance(value, int) else str(value))


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[place]) for line in (columns, *rows)) for place in range(len(columns))]
    for line in (columns, *rows):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold", max_width=COLUMN)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(shown)


def details(pairs: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each property that is there."""
    found = [(name, _cell(value)) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in found), default=0)
    for name, text in found:
        click.echo(f"{name.ljust(width)}  {text}")

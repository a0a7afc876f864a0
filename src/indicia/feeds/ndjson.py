"""NDJSON: one object a line with the columns of `csv` as keys.

    {"type": "DomainName", "value": "evil.example", "function": "SubdomainOf", "source": "a report"}

What `indicia indicators export --output ndjson` writes. null is an empty cell; keys that are not known are
ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from indicia.feeds import rows as words
from indicia.feeds.csv import COLUMNS
from indicia.feeds.lines import Line
from indicia.feeds.rows import FeedFault, FeedRow
from indicia.values import guess_type, refang


def fits(head: Sequence[str]) -> bool:
    """Whether the first line is an object that has a value."""
    text = next((text for text in head if text.strip()), "")
    if not text.lstrip().startswith("{"):
        return False
    try:
        return "value" in _named(json.loads(text))
    except ValueError:
        return False


def rows(lines: Iterable[Line]) -> Iterator[FeedRow | FeedFault]:
    """One row a line."""
    for line in lines:
        if line.fault:
            yield FeedFault(line.number, line.fault)
        elif line.text.strip():
            try:
                yield _row(line.number, _named(json.loads(line.text)))
            except json.JSONDecodeError as error:
                yield FeedFault(line.number, f"not valid JSON: {error.msg} at character {error.pos}")
            except (ValueError, RecursionError) as error:
                yield FeedFault(line.number, str(error))


def _named(found: Any) -> dict[str, str]:
    """What is there, by the names of the columns; ValueError for anything but texts and booleans."""
    if not isinstance(found, dict):
        raise ValueError(f"not an object but {type(found).__name__}")
    named = {}
    for key, value in found.items():
        name = COLUMNS.get(words.squeezed(key))
        if name is None or value is None or value == "":
            continue
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, str | int):
            raise ValueError(f"{key} must be a text")
        named[name] = str(value)
    return named


def _row(number: int, named: dict[str, str]) -> FeedRow:
    value = named.get("value", "").strip()
    if not value:
        raise ValueError("has no value")
    if "type" not in named:
        value = refang(value)
    kind = words.type_of(named["type"]) if "type" in named else guess_type(value)
    if kind is None:
        raise ValueError(f"{value[:60]!r} looks like no indicator; name its type")
    return FeedRow(
        number,
        kind,
        value,
        words.function_of(named["function"]) if "function" in named else None,
        named.get("source"),
        words.time_of(named["valid_from"]) if "valid_from" in named else None,
        words.time_of(named["expires_at"]) if "expires_at" in named else None,
        words.boolean_of(named.get("enabled", "true")),
        {name: named[name] for name in words.DEFINITION_COLUMNS if name in named} or words.NOTHING,
    )

"""How a scan shows what it finds: a table of alerts, or detections as NDJSON or CSV while they are found."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

import msgspec

from indicia.cli import nouns
from indicia.cli.show import as_json, harmless, moment, safe, stamp, table
from indicia.feeds.csv import escape
from indicia.model import Severity

if TYPE_CHECKING:
    from indicia.model import Alert, Detection

ALERT_COLUMNS = ("severity", "title", "machine", "first seen", "last seen", "detections", "indicators")
CSV_COLUMNS = (
    "detection_id",
    "alert_id",
    "event_id",
    "raises",
    "source",
    "line",
    "event_time",
    "machine",
    "indicator_id",
    "indicator_type",
    "indicator_value",
    "indicator_function",
    "definition_uid",
    "definition_id",
    "definition_title",
    "definition_severity",
    "definition_category",
    "evidence_path",
    "evidence_role",
    "evidence_side",
    "evidence_matched",
)
_WORST_FIRST = {severity: -place for place, severity in enumerate(Severity)}
NAMED = 3
"""Indicators that a row of the table names; the others are counted."""

Each = Callable[["Detection"], None]


def each_of(output: str, file: TextIO, *, header: bool = True) -> Each:
    """What is to be done with a detection when it is found: `table` waits for the end.

    `header`: csv begins with the names of its columns.
    """
    if output == "ndjson":
        return _ndjson(file)
    return _csv(file, header=header) if output == "csv" else _nothing


def _nothing(_found: Detection) -> None:
    """The table is made of alerts."""


def _ndjson(file: TextIO) -> Each:
    encode = msgspec.json.Encoder().encode

    def each(found: Detection) -> None:
        noun = nouns.detection(found)
        try:
            line = encode(noun).decode()
        except UnicodeEncodeError:  # an unpaired surrogate, which only the API lets in
            line = json.dumps(noun, ensure_ascii=False, separators=(",", ":"))
        file.write(harmless(line) + "\n")

    return each


def _csv(file: TextIO, *, header: bool) -> Each:
    """One line for each piece of evidence."""
    write = csv_rows(file)
    if header:
        write(CSV_COLUMNS)

    def each(found: Detection) -> None:
        flat = nouns.detection(found)
        inside = [*flat.pop("indicator").values(), *flat.pop("definition").values()]
        evidence = flat.pop("evidence")
        for piece in evidence:
            write((*flat.values(), *inside, *piece.values()))

    return each


def csv_rows(file: TextIO) -> Callable[[Iterable[object]], None]:
    """What writes rows of CSV; a cell that a spreadsheet would run gets an apostrophe before it."""
    writer = csv.writer(_LineFeeds(file), lineterminator="\r\n")
    shown = safe if file.isatty() else str
    return lambda row: writer.writerow([shown(_cell(value)) for value in row])


def rows_writer(output: str, file: TextIO, columns: Sequence[str]) -> Callable[[Iterable[object]], None]:
    """What writes rows under these columns as `csv` or `ndjson`; empty cells are left out of the latter."""
    if output == "csv":
        write = csv_rows(file)
        write(columns)
        return write

    def ndjson(row: Iterable[object]) -> None:
        named = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        file.write(as_json(named, indent=None) + "\n")

    return ndjson


@dataclass(frozen=True)
class _LineFeeds:
    """Rows end with LF, although the writer ends them with CR LF: else it would leave a CR in a cell bare."""

    file: TextIO

    def write(self, row: str) -> None:
        self.file.write(row.removesuffix("\r\n") + "\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return stamp(value)
    return escape(str(value))


def alerts(found: Iterable[Alert]) -> None:
    """The table: the worst first, then the latest."""
    rows = sorted(
        found, key=lambda alert: alert.last_seen.timestamp() if alert.last_seen else 0.0, reverse=True
    )
    rows.sort(key=lambda alert: _WORST_FIRST[alert.definition.severity])
    table(ALERT_COLUMNS, (alert_row(alert) for alert in rows))


def alert_row(alert: Alert) -> tuple[object, ...]:
    """An alert as the table shows it."""
    return (
        alert.definition.severity,
        f"Storm: {alert.definition.title}" if alert.storm else alert.definition.title,
        alert.machine,
        moment(alert.first_seen) or "unknown",
        moment(alert.last_seen) or "unknown",
        alert.detection_count,
        indicators_named(alert),
    )


def indicators_named(alert: Alert) -> str:
    """The first indicators of an alert by value."""
    more = len(alert.indicators) - NAMED
    return ", ".join(alert.indicators[:NAMED]) + (f" and {more} more" if more > 0 else "")

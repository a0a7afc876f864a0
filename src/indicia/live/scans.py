"""Scans of files that people bring: what is asked of one, and what is told of it; `live.jobs` has the rest.

`live.scanner` is the process of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import msgspec

from indicia.errors import InputError
from indicia.live import jobs
from indicia.live.jobs import Job, Jobs
from indicia.model import AlertStatus, Severity

FOUND = "found.ndjson"
"""Its detections as they come, a JSON object a line."""


@dataclass(frozen=True, slots=True)
class Asked(jobs.Asked):
    """What somebody asked for."""

    record: bool
    """Whether what is found is kept in the store, as `indicia scan` does."""
    alerts_per_hour: int
    """As the service is set: what goes beyond is a storm."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of evidence; long texts are cut."""

    path: str
    role: str
    matched: str


@dataclass(frozen=True, slots=True)
class Found:
    """A detection."""

    id: str
    alert_id: str
    severity: Severity
    definition: str
    machine: str
    type: str
    function: str
    value: str
    raises: bool
    source: str
    line: int
    at: datetime | None
    evidence: list[Piece]
    allow_lists: list[str]


@dataclass(frozen=True, slots=True)
class FoundAlert:
    """An alert as the scan alone makes it."""

    id: str
    severity: Severity
    definition: str
    title: str
    machine: str
    first_seen: datetime | None
    last_seen: datetime | None
    detections: int
    values: list[str]
    number: int = 0
    """Of the alert in the store, where the scan recorded it."""
    status: AlertStatus | None = None
    """In the store."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of the file that could not be read."""

    place: str
    line: int
    """0: the file as a whole."""
    reason: str


@dataclass(frozen=True, slots=True)
class State(jobs.State):
    """How far a scan is, and what came of it."""

    generation: int = 0
    """Of the indicators that it looks for."""
    total: int = 0
    """Bytes that are to be read."""
    events: int = 0
    malformed: int = 0
    raising: int = 0
    silent: int = 0
    withheld: int = 0
    listed: int = 0
    """Detections that FOUND holds."""
    alert_count: int = 0
    alerts: list[FoundAlert] = field(default_factory=list)
    """The gravest and largest ones."""
    faults: list[Fault] = field(default_factory=list)
    """The first malformed lines, and what could not be read at all."""
    unreadable: int = 0
    damaged: int = 0
    recorded: int = 0
    """Detections that the store did not have."""
    opened: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class Scan(Job[Asked, State]):
    """A scan of a tenant."""

    def found(self, begin: int, most: int) -> tuple[list[Found], int]:
        """Detections from a place of their file on, and the place behind them; at most so many."""
        made: list[Found] = []
        for line in _lines(self.read(FOUND, begin)):
            if len(made) == most:
                break
            try:
                made.append(msgspec.json.decode(line, type=Found))
            except msgspec.MsgspecError:
                raise InputError("there is no such place in this scan's detections") from None
            begin += len(line)
        return made, begin


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The whole lines of a file that comes in parts."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line + b"\n"


class Scans(Jobs[Scan]):
    """The scans of a tenant."""

    word, kind, process = "scan", "scans", "indicia.live.scanner"
    running, kept, most, unfinished = 2, timedelta(hours=24), 20, 5
    made, asked, state = Scan, Asked, State

    def begin(self, name: str, content: BinaryIO, by: str, limit: int, *, record: bool) -> Scan:
        """Keep a file and scan it. TooLarge beyond `limit` bytes, TooManyRequests, InputError for no room."""
        now, most = datetime.now(UTC), self.tenant.quotas.alerts_per_hour
        return self.keep(content, limit, lambda size: Asked(jobs.named(name), size, by, now, record, most))

    def record(self, scan: Scan, by: str) -> None:
        """Scan the file once more and record what is found. InputError while it runs, or without its file."""
        self.again(scan, by=by, record=True)

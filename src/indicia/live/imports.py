"""Files of indicators that people upload: what is asked of an import, and what is told of it; `live.jobs` has
the rest.

The process (`live.importer`) goes the road of `indicia indicators import`. What is stored stays stored,
whatever ends it; an import that is begun again goes on where it was, and a file that is uploaded twice adds
nothing. Its file is gone when it is in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import BinaryIO

from indicia.live import jobs
from indicia.live.jobs import Job, Jobs
from indicia.model import Quotas

REPORT = "report.csv"
"""The rows that could not be used, or of which something is to be known."""


@dataclass(frozen=True, slots=True)
class Asked(jobs.Asked):
    """What somebody asked for."""

    definition_id: int
    definition: str
    """Its title then."""
    function: str
    """For all rows; empty: the rows say it."""
    format: str
    """Empty: found by its look."""
    source: str
    subdomains: bool
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class Told:
    """A row that could not be used, or of which something is to be known."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class State(jobs.State):
    """How far an import is, and what came of it."""

    format: str = ""
    rows: int = 0
    skipped: int = 0
    """Rows that an earlier, interrupted one had stored."""
    added: int = 0
    known: int = 0
    """Rows whose indicator was there already."""
    faults: int = 0
    warnings: int = 0
    reported: int = 0
    """Lines of the report."""
    broken: bool = False
    """The file breaks off; what came before is in."""
    first: list[Told] = field(default_factory=list)
    """The first rows that could not be used."""


@dataclass(frozen=True, slots=True)
class Import(Job[Asked, State]):
    """An import of a tenant."""


class Imports(Jobs[Import]):
    """The imports of a tenant."""

    word, kind, process = "import", "imports", "indicia.live.importer"
    running, kept, most, unfinished = 1, timedelta(days=7), 50, 3
    made, asked, state = Import, Asked, State

    def begin(self, asked: Asked, content: BinaryIO, limit: int) -> Import:
        """Keep a file and import it; its size is found here. TooLarge, TooManyRequests, InputError."""
        return self.keep(content, limit, lambda size: replace(asked, name=jobs.named(asked.name), size=size))

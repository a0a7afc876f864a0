"""The process of one import of `live.imports`: by the same road as `indicia indicators import`.

One that was broken off goes on where it was, on whichever host.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from indicia import allow, feeds, road
from indicia.feeds import FeedFault, make
from indicia.feeds.csv import escape
from indicia.live.imports import REPORT, Asked, Imports, State, Told
from indicia.live.work import Desk, Work, attend
from indicia.model import Actor, DetectionFunction, Through
from indicia.store import Phase

SECONDS = 4 * 3600
"""Of one import, without its waiting."""
FIRST = 50
"""Rows that could not be used which the state names."""
REPORTED = 100_000
"""Lines of a report; further ones are counted."""
TEXT = 500
"""Characters of a reason."""
_FIGURES = ("rows", "skipped", "added", "known", "faults", "warnings", "broken")
"""Of what an import counts those that its state has by the same name."""


class Importer(Work[Asked, State]):
    """One import."""

    seconds = SECONDS
    too_long = f"it took longer than {SECONDS // 3600} hours; what is stored stays, begin it again to go on"

    def __init__(self, desk: Desk[Asked, State], _home: Path, _url: str) -> None:
        super().__init__(desk, State())
        self._tenant = desk.tenant
        self._tenant.quotas = desk.asked.quotas
        self._done = road.Loaded()

    def work(self) -> None:
        """Import."""
        with (self._desk.folder / REPORT).open("w", encoding="utf-8", newline="", errors="replace") as file:
            self._load(file)

    def end(self, phase: Phase, fault: str = "") -> bool:
        """The last word; the file goes when it is in, unless another one works on it by now."""
        held = super().end(phase, fault)
        if held and phase is Phase.DONE:
            self._desk.drop_upload()
        return held

    def figures(self) -> dict[str, Any]:
        """What is counted."""
        return {name: getattr(self._done, name) for name in _FIGURES}

    def _load(self, file: TextIO) -> None:
        asked, path = self._asked, str(self._desk.upload())
        report = csv.writer(file, lineterminator="\r\n")
        report.writerow(("line", "what", "reason"))
        choice = make.Choice(
            DetectionFunction(asked.function) if asked.function else None,
            subdomains=asked.subdomains,
            source=asked.source or None,
        )
        job = road.LoadJob(
            path,
            self._tenant.definition(asked.definition_id),
            choice,
            asked.format or None,
            key=_key(asked, feeds.digest(path)),
            by=asked.by,
            known=allow.warnings(self._tenant.allow_lists.allowance()),
        )

        def told(what: str, fault: FeedFault) -> None:
            if self._state.reported < REPORTED:
                reason = fault.reason[:TEXT]
                report.writerow((fault.line, what, escape(reason)))
                self._state = replace(self._state, reported=self._state.reported + 1)
                if what == "refused" and len(self._state.first) < FIRST:
                    self._state.first.append(Told(fault.line, reason.encode("utf-8", "replace").decode()))

        watch = road.LoadWatch(
            fault=lambda fault: told("refused", fault),
            warning=lambda fault: told("warning", fault),
            format=lambda name: self.put(format=name),
            stored=lambda _state: self.stop_if_asked(),
            progress=self._moved,
        )
        road.load(job, self._tenant.acting(Actor(asked.by, Through.PORTAL)), watch, self._done)

    def _moved(self, count: int) -> None:
        self._state = replace(self._state, read=self._state.read + count)
        self.tell()


def _key(asked: Asked, digest: str) -> str:
    """By which the same import is known again: the file's content, and what was asked of it."""
    parts = [digest, asked.function, asked.format, asked.source, asked.subdomains]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(attend(sys.argv[1:], Imports, Importer))

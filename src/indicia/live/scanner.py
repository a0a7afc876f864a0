"""The process of one scan of `live.scans`: by the same road as `indicia scan`, within bounds (`live.work`).

What is looked for is what is in force: the live index that the service has made, brought up to date from the
store. One that was broken off begins anew; what it recorded is known then and does not count twice.
"""

from __future__ import annotations

import heapq
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from indicia import road, telemetry
from indicia.errors import InputError, MissingExtra, StoreError
from indicia.live import compiled
from indicia.live.following import Following
from indicia.live.scans import FOUND, Asked, Fault, Found, FoundAlert, Piece, Scans, State
from indicia.live.view import View
from indicia.live.work import Desk, Work, attend
from indicia.model import Actor, Alert, Detection, Severity, Through
from indicia.scanning import Engine
from indicia.store import Phase
from indicia.telemetry import Malformed, Source

SECONDS = 3600
"""Of one scan, without its waiting."""
SMALL = 16 * 1024 * 1024
"""Bytes up to which every line is parsed, and so every malformed one told, as `indicia scan` does."""
PER_INDICATOR = 10_000
"""Detections of one indicator; further ones are withheld: counted, neither told nor recorded."""
LISTED = 20_000
"""Detections that are told one by one."""
ALERTS = 200
"""Alerts that are told one by one."""
FAULTS = 100
TEXT = 300
"""Characters of a text from the file that are kept."""
_ORDER = {severity: at for at, severity in enumerate(Severity)}


class Scanner(Work[Asked, State]):
    """One scan."""

    seconds = SECONDS
    too_long = f"it took longer than {SECONDS // 60} minutes; scan a part of the file"

    def __init__(self, desk: Desk[Asked, State], home: Path, url: str) -> None:
        super().__init__(desk, State(total=desk.asked.size))
        self._tenant = desk.tenant
        # As the service is set that took the file.
        quotas = replace(self._tenant.quotas, alerts_per_hour=desk.asked.alerts_per_hour)
        self._tenant.quotas = quotas
        self._indexes = home / "indexes"
        self._url = url
        self._done = road.Scanned()
        self._faults: list[Fault] = []
        self._listed = 0
        self._read = 0
        self._stored: dict[str, Alert] = {}

    def work(self) -> None:
        """Scan."""
        with (self._desk.folder / FOUND).open("wb") as file:
            self._scan(file)
        self._read = self._state.total

    def figures(self) -> dict[str, Any]:
        """What is counted, and the gravest alerts."""
        done = self._done
        return {
            **{name: getattr(done, name) for name in _COUNTS},
            "read": min(self._read, self._state.total),
            "listed": self._listed,
            "alert_count": len(done.alerts),
            "alerts": [_as_stored(one, self._stored.get(one.id)) for one in _gravest(done.alerts)],
            "faults": list(self._faults),
        }

    def end(self, phase: Phase, fault: str = "") -> bool:
        """The last word; alerts with their numbers in the store."""
        if self._asked.record:
            with suppress(StoreError):  # they are there, and only not linked
                self._stored = self._tenant.alerts_by_id([one.id for one in _gravest(self._done.alerts)])
        return super().end(phase, _cut(fault))

    def _scan(self, file: BinaryIO) -> None:
        asked, tenant = self._asked, self._tenant
        live = Following(tenant, self._indexes, lambda: compiled.make_apart(self._url, tenant, self._indexes))
        view = live.view
        sources = self._sources()
        self.put(generation=view.generation, total=sum(source.size or 0 for source in sources))
        job = road.ScanJob(
            sources,
            _engine(view, parse_all=sum(source.size or 0 for source in sources) <= SMALL),
            tenant=tenant.uid,
            store=tenant.acting(Actor(asked.by, Through.PORTAL)) if asked.record else None,
            limit=PER_INDICATOR,
            over=tenant.allow_lists.allowance().over,
        )
        watch = road.ScanWatch(
            detection=lambda detection: self._detected(detection, file),
            malformed=self._malformed,
            unreadable=self._unreadable,
            progress=self._moved,
        )
        road.scan(job, watch, self._done)
        file.flush()

    def _sources(self) -> list[Source]:
        """The file under the name that its sender gave it, an archive as its members."""
        path = str(self._desk.upload())
        return [
            replace(source, name=source.name.replace(path, self._asked.name, 1))
            for source in telemetry.sources([path])
        ]

    def _detected(self, detection: Detection, file: BinaryIO) -> None:
        if self._listed < LISTED:
            file.write(msgspec.json.encode(_found(detection)) + b"\n")
            file.flush()
            self._listed += 1
        self.tell()

    def _malformed(self, what: Malformed) -> None:
        if len(self._faults) < FAULTS:
            self._faults.append(Fault(_cut(what.source), what.line, _cut(what.reason)))

    def _unreadable(self, error: InputError | MissingExtra) -> None:
        if len(self._faults) < FAULTS:
            self._faults.append(Fault(_cut(error.place or self._asked.name), 0, _cut(error.message)))

    def _moved(self, read: int, _events: int) -> None:
        self._read += read
        self.tell()


_COUNTS = (
    "events",
    "malformed",
    "raising",
    "silent",
    "withheld",
    "unreadable",
    "damaged",
    "recorded",
    "opened",
    "reopened",
)
"""Of what a scan counts those that its state has by the same name."""


def _engine(view: View, *, parse_all: bool) -> Engine:
    """The matcher of a view, and its sieve unless everything is to be parsed."""
    if parse_all:
        return lambda: (view.engine()[0], None)
    return view.engine


def _found(detection: Detection) -> Found:
    indicator = detection.indicator
    return Found(
        detection.id,
        detection.alert_id,
        indicator.definition.severity,
        indicator.definition.name,
        _cut(detection.machine),
        indicator.type,
        indicator.function,
        _cut(indicator.value),
        detection.raises,
        _cut(detection.source),
        detection.line,
        detection.event_time,
        [Piece(_cut(one.path), one.role, _cut(one.matched)) for one in detection.evidence[:10]],
        [_cut(one) for one in detection.allow_lists[:5]],
    )


def _gravest(alerts: dict[str, Alert]) -> list[FoundAlert]:
    chosen = heapq.nsmallest(
        ALERTS,
        alerts.values(),
        key=lambda one: (-_ORDER[one.definition.severity], -one.detection_count, one.id),
    )
    return [
        FoundAlert(
            one.id,
            one.definition.severity,
            one.definition.name,
            one.definition.title,
            _cut(one.machine),
            one.first_seen,
            one.last_seen,
            one.detection_count,
            [_cut(value) for value in one.indicators],
        )
        for one in chosen
    ]


def _as_stored(one: FoundAlert, stored: Alert | None) -> FoundAlert:
    return one if stored is None else replace(one, number=stored.number, status=stored.status)


def _cut(text: str) -> str:
    """Short enough to be kept, and what JSON can hold."""
    whole = text if len(text) <= TEXT else f"{text[:TEXT]}…"
    return whole.encode("utf-8", "replace").decode()


if __name__ == "__main__":
    sys.exit(attend(sys.argv[1:], Scans, Scanner))

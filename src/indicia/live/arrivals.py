"""What came of each source, added up in memory and noted in the store every few seconds.

Events that meet nothing cost no write, so what came is not noted with each of them: the thread that keeps the
live index up to date does so (`following`), every EVERY seconds and when it ends. A kill loses the counts of
the last seconds, and no event. Of the last line alone the time is read.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from indicia.live.blocks import time_of
from indicia.store import Arrived, TenantStore
from indicia.telemetry import Source

EVERY = 3.0
"""Seconds between two notes."""
MOST = 1000
"""Sources that are told apart between two notes; more names are an error of who sends, or a flood."""


@dataclass(slots=True)
class _Came:
    events: int = 0
    malformed: int = 0
    detections: int = 0
    at: datetime | None = None
    last: Source | datetime | None = None


class Arrivals:
    """Of one tenant; safe for any number of threads."""

    def __init__(self, tenant: TenantStore) -> None:
        self._tenant = tenant
        self._turn = threading.Lock()
        self._found: dict[str, _Came] = {}
        self._behind: dict[str, int] = {}
        self._noted = time.monotonic()

    def came(
        self, name: str, last: Source | datetime | None, events: int, malformed: int, detections: int
    ) -> None:
        """What was in some lines of a source; `last`: the last one, or the time that it bears."""
        now = datetime.now(UTC)
        with self._turn:
            if name not in self._found and len(self._found) >= MOST:
                return
            one = self._found.setdefault(name, _Came())
            one.events += events
            one.malformed += malformed
            one.detections += detections
            one.at = now
            one.last = last or one.last

    def behind(self, name: str, messages: int | None) -> None:
        """How many messages of a source wait where it keeps them; None: nobody knows."""
        with self._turn:
            if messages is not None:
                self._behind[name] = messages

    def note_if_due(self) -> None:
        """Note what came where the last time is long enough ago; StoreError, then it is noted later."""
        if (self._found or self._behind) and time.monotonic() - self._noted >= EVERY:
            self.note()

    def note(self) -> None:
        """Note what came; StoreError, then it is noted later."""
        with self._turn:
            found, self._found = self._found, {}
            behind, self._behind = self._behind, {}
            self._noted = time.monotonic()
        if not (found or behind):
            return
        try:
            self._tenant.overview.note_sources([_arrived(name, one) for name, one in found.items()], behind)
        except BaseException:
            with self._turn:
                for name, one in found.items():
                    self._found[name] = _together(one, self._found.get(name))
                self._behind = behind | self._behind
            raise


def _arrived(name: str, one: _Came) -> Arrived:
    at = one.at or datetime.now(UTC)
    time = time_of(one.last) if isinstance(one.last, Source) else one.last
    return Arrived(name, one.events, one.malformed, one.detections, at, time)


def _together(one: _Came, newer: _Came | None) -> _Came:
    if newer is None:
        return one
    return _Came(
        one.events + newer.events,
        one.malformed + newer.malformed,
        one.detections + newer.detections,
        newer.at,
        newer.last or one.last,
    )

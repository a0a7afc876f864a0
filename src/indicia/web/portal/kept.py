"""Figures that take a part of a second, kept so that no page waits for them.

Who asks is given what is kept if nothing changed since it was made (`mark`). Else it is made anew, in a
thread of its own, and whoever asks waits PATIENCE at the most: a small store has made it by then, so its
figures are always those of this moment; of a large one those of some seconds ago are given, with their time.
How much of a core that may take is bounded: what took a second is made every ten seconds at the most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from indicia.errors import IndiciaError

PATIENCE = 0.025
"""Seconds that a request waits."""
SHORT = 0.05
"""Seconds up to which it is made whenever something changed."""
REST = 10.0
"""What took longer is left alone for so many times as long."""
OLDEST = 60.0
"""Seconds after which it is made anew though nothing changed: time goes on, and indicators expire."""
MOST = 500
"""Figures that are kept; the one that was made first goes first."""
LOG = logging.getLogger("indicia.web")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Figures(Generic[Made]):
    """What was made, and when."""

    made: Made
    at: datetime
    current: bool
    """Whether nothing has changed since."""


@dataclass(frozen=True, slots=True)
class _Entry:
    mark: object
    made: object
    at: datetime
    ended: float
    took: float


class Kept:
    """The kept figures of a service; for any number of threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}
        self._making: dict[Hashable, Future[None]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def ask(self, key: Hashable, mark: object, make: Callable[[], Made]) -> Figures[Made] | None:
        """Figures by their key; None where they are made for the first time, which takes longer.

        `mark` is the same as long as nothing changes of which they are made.
        """
        entry = self._entries.get(key)
        if entry is None or _is_due(entry, mark):
            making = self._begin(key, mark, make)
            try:
                making.result(PATIENCE)
            except TimeoutError:
                pass
            except IndiciaError as error:
                LOG.warning("figures of the overview were not made: %s", error)
            entry = self._entries.get(key)
        if entry is None:
            return None
        return Figures(entry.made, entry.at, entry.mark == mark)  # type: ignore[arg-type]

    def _begin(self, key: Hashable, mark: object, make: Callable[[], Made]) -> Future[None]:
        with self._turn:
            making = self._making.get(key)
            if making is None:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(1, thread_name_prefix="figures")
                making = self._making[key] = self._threads.submit(self._make, key, mark, make)
            return making

    def _make(self, key: Hashable, mark: object, make: Callable[[], Made]) -> None:
        begun, at = time.monotonic(), datetime.now(UTC)
        try:
            made = make()
            ended = time.monotonic()
            with self._turn:
                self._entries.pop(key, None)
                self._entries[key] = _Entry(mark, made, at, ended, ended - begun)
                while len(self._entries) > MOST:
                    self._entries.pop(next(iter(self._entries)))
        finally:
            with self._turn:
                self._making.pop(key, None)


def _is_due(entry: _Entry, mark: object) -> bool:
    passed = time.monotonic() - entry.ended
    rest = REST * entry.took if entry.took > SHORT else 0.0
    return passed >= (rest if entry.mark != mark else max(OLDEST, rest))

"""Figures that take a part of a second, kept so that no page waits for them.

Who asks is given what is kept if nothing changed since it was made (`mark`). Else it is made anew, in a
thread of its own, and whoever asks waits PATIENCE at the most: a small store has made it by then, so its
figures are always those of this moment; of a large one those of some seconds ago are given, with their time.
How much of a core that may take is bounded: one is made at a time, and what took a second is made every ten
seconds at the most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import format_tb
from typing import Generic, TypeVar

from indicia.errors import IndiciaError, TooManyRequests

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
WAITING = 4
"""Figures of one tenant that are made or wait for it at one time; the overview has as many."""
RETRY = 10
"""Seconds after which who was refused may ask again."""
LOG = logging.getLogger("indicia.web")
BREATH = 0.0005
"""Seconds that who makes figures in Python stops at each note, else requests wait 5 ms for each turn."""
Key = tuple[Hashable, ...]
"""Whose figures, and which; the first part is the tenant."""
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
        self._entries: dict[Key, _Entry] = {}
        self._making: dict[Key, Future[None]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._noted: dict[Key, int] = {}
        self._closed = False

    def ask(self, key: Key, mark: object, make: Callable[[], Made]) -> Figures[Made] | None:
        """Figures by their key; None where they are made for the first time, which takes longer.

        `mark` is the same as long as nothing changes of which they are made. TooManyRequests while WAITING
        others of the tenant are not made yet.
        """
        entry = self._entries.get(key)
        if entry is None or _is_due(entry, mark):
            making = self._begin(key, mark, make)
            with suppress(TimeoutError, CancelledError, IndiciaError):  # what went wrong is logged
                making.result(PATIENCE)
            entry = self._entries.get(key)
        if entry is None:
            return None
        return Figures(entry.made, entry.at, entry.mark == mark)  # type: ignore[arg-type]

    def note(self, key: Key, count: int) -> None:
        """How far the figures are that are being made; requests come first. CancelledError once closed."""
        if self._closed:
            raise CancelledError
        time.sleep(BREATH)
        self._noted[key] = count

    def noted(self, key: Key) -> int:
        """How far they are; 0 before they are begun and once they are made."""
        return self._noted.get(key, 0)

    def close(self) -> None:
        """Begin none any more; the one that is being made ends first, at its next note."""
        with self._turn:
            threads, self._closed = self._threads, True
        if threads is not None:
            threads.shutdown(cancel_futures=True)

    def _begin(self, key: Key, mark: object, make: Callable[[], Made]) -> Future[None]:
        with self._turn:
            making = self._making.get(key)
            if making is None:
                if sum(other[0] == key[0] for other in self._making) >= WAITING:
                    raise TooManyRequests(
                        f"{WAITING} figures of this tenant are being made; try again in {RETRY} seconds",
                        retry_after=RETRY,
                    )
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(1, thread_name_prefix="figures")
                making = self._making[key] = self._threads.submit(self._make, key, mark, make)
                making.add_done_callback(_told)
            return making

    def _make(self, key: Key, mark: object, make: Callable[[], Made]) -> None:
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
                self._noted.pop(key, None)


def _told(making: Future[None]) -> None:
    """Log what went wrong, because whoever asked may be gone; without the content of what nobody foresaw."""
    error = None if making.cancelled() else making.exception()
    if isinstance(error, CancelledError):
        return
    if isinstance(error, IndiciaError):
        LOG.warning("figures were not made: %s", error)
    elif error is not None:
        place = "".join(format_tb(error.__traceback__))
        LOG.error("figures were not made: %s\n%s", type(error).__name__, place)


def _is_due(entry: _Entry, mark: object) -> bool:
    passed = time.monotonic() - entry.ended
    rest = REST * entry.took if entry.took > SHORT else 0.0
    return passed >= (rest if entry.mark != mark else max(OLDEST, rest))

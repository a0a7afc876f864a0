"""The process of a job of `live.jobs`: it waits for its turn, works within bounds, and says how it ended.

    python -m indicia.live.scanner HOME TENANT FOLDER       it lives while standard input is open

The first line of standard input is the URL of the store.
"""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic, NamedTuple

from indicia.errors import IndiciaError, placed
from indicia.live.jobs import A, Phase, S, write

LOG = logging.getLogger("indicia.live")
MEMORY = 2 * 1024**3
"""Bytes; what is mapped from files, as an index is, aside."""
EVERY = 0.3
"""Seconds between two writings of the state."""
PAUSE = 0.2
NICENESS = 5


class Order(NamedTuple):
    """What the process of a job is told."""

    url: str
    """Of the store."""
    home: Path
    tenant: str
    folder: Path


class Work(ABC, Generic[A, S]):
    """One job."""

    seconds: ClassVar[int]
    """Of working, without waiting."""
    too_long: ClassVar[str]
    """What is said when that is over."""

    def __init__(self, folder: Path, asked: A, state: S) -> None:
        self._folder, self._asked, self._state = folder, asked, state
        self._told = 0.0
        self._pause = EVERY
        self._late = False

    @abstractmethod
    def work(self) -> None:
        """Do it. KeyboardInterrupt where `stop_if_asked` says so, and whatever goes wrong."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """What there is to tell at this moment, by the names of the state."""

    def run(self) -> None:
        """Work, and say in the end how it ended; never raises."""
        self.put(phase=Phase.RUNNING, began_at=datetime.now(UTC))
        phase, fault = self._ended()
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.end(phase, fault)

    def end(self, phase: Phase, fault: str = "") -> None:
        """The last word."""
        with suppress(OSError):  # it may be deleted by now
            self.put(phase=phase, fault=fault, ended_at=datetime.now(UTC))

    def too_late(self, _number: int, _frame: FrameType | None) -> None:
        """Its time is over."""
        self._late = True
        raise KeyboardInterrupt

    def stop_if_asked(self) -> None:
        """Raise KeyboardInterrupt where somebody has had enough, or the job was deleted."""
        if (self._folder / "cancel").exists() or not self._folder.exists():
            raise KeyboardInterrupt

    def tell(self) -> None:
        """Write how far it is, now and then. KeyboardInterrupt as `stop_if_asked`."""
        now = time.monotonic()
        if now - self._told < self._pause:
            return
        self.stop_if_asked()
        self.put()
        # Much to tell may take its time.
        self._told = time.monotonic()
        self._pause = max(EVERY, 10 * (self._told - now))

    def put(self, **changes: object) -> None:
        """Write how far it is."""
        self._state = replace(self._state, **self.figures() | changes)
        with suppress(FileNotFoundError):  # it was deleted
            write(self._folder / "state.json", self._state)

    def _ended(self) -> tuple[Phase, str]:
        try:
            self.work()
        except KeyboardInterrupt:
            return (Phase.FAILED, self.too_long) if self._late else (Phase.CANCELLED, "")
        except IndiciaError as error:
            return Phase.FAILED, error.message
        except MemoryError:
            return Phase.FAILED, "it needed more memory than it may have; send a part of the file"
        except OSError as error:
            return Phase.FAILED, f"the disk of the service: {error.strerror or error}"
        except Exception as error:  # whatever a file brings about is told, with its place in our code
            LOG.error("%s", placed(error))
            name = type(error).__name__
            return (
                Phase.FAILED,
                f"an unforeseen error ({name}); the service's log has the place, please report it",
            )
        return Phase.DONE, ""


def attend(arguments: list[str], places: int, work: Callable[[Order], Any]) -> int:
    """The process: `work` gives a context manager of a Work; `places` of a kind work at once in a home."""
    home, tenant, folder = arguments
    url = sys.stdin.buffer.readline().decode().rstrip("\n")
    threading.Thread(target=_end_with_service, daemon=True).start()
    order = Order(url, Path(home), tenant, Path(folder))
    try:
        with work(order) as one:
            _work(one, order.folder.parent.parent, places)
    except FileNotFoundError:
        if order.folder.exists():
            raise
        # It was deleted before it had begun.
    return 0


def _work(one: Work[Any, Any], folder: Path, places: int) -> None:
    _bound(one.seconds)
    try:
        with _turn(folder, places, one):
            signal.signal(signal.SIGALRM, one.too_late)
            signal.setitimer(signal.ITIMER_REAL, one.seconds)
            one.run()
    except KeyboardInterrupt:
        one.end(Phase.CANCELLED)


@contextmanager
def _turn(folder: Path, places: int, one: Work[Any, Any]) -> Iterator[None]:
    """Wait for one of the places of those that work; KeyboardInterrupt where it is cancelled meanwhile."""
    while True:
        one.stop_if_asked()
        for number in range(places):
            with (folder / f"place-{number}").open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                yield
                return
        time.sleep(PAUSE)


def _end_with_service() -> None:
    """End this process when the service goes away."""
    # Not by sys.stdin, whose lock this thread would hold when the interpreter ends: it aborts then.
    while os.read(0, 4096):
        pass
    os._exit(1)


def _bound(seconds: int) -> None:
    with suppress(OSError, ValueError):
        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        # For what no signal of Python's interrupts.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds + 60, seconds + 60))

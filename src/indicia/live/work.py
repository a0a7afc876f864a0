"""The process of a job of `live.jobs`: it works within bounds, and says how it ended.

    python -m indicia.live.scanner HOME TENANT JOB LEASE       it lives while standard input is open

The first line of standard input is the URL of the store. Who began it renews its lease while it lives
(`live.runner`); a process that has lost it ends at once, and every write of its state names the lease.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic

from indicia.errors import IndiciaError, StoreError, placed
from indicia.live.contents import made
from indicia.live.jobs import LEASE, A, Job, Jobs, S, encoded
from indicia.store import Phase, Store

LOG = logging.getLogger("indicia.live")
MEMORY = 2 * 1024**3
"""Bytes; what is mapped from files, as an index is, aside."""
EVERY = 1.0
"""Seconds between two writings of the state, which are transactions."""
LOOK = 0.5
"""Seconds between two looks whether the job is still ours, and wanted."""
NICENESS = 5
LOST = 4
"""What a process ends with that has lost its lease."""


class Desk(Generic[A, S]):
    """A job under our lease: its file, where results go, and its row. Safe for two threads."""

    def __init__(self, jobs: Jobs[Any], one: Job[A, S]) -> None:
        self._jobs, self._one = jobs, one
        self._rows = jobs.tenant.jobs
        self._sent: dict[str, int] = {}
        self.asked: A = one.asked
        self.tenant = jobs.tenant
        self.folder = made(jobs.contents.folder / one.id / one.kept.lease)
        """For results."""
        self.cancelled = one.kept.cancelled
        """Whether somebody has had enough."""
        self.over = threading.Event()
        """The last word is being said."""
        for old in self.folder.parent.iterdir():  # of leases before
            if old.is_dir() and old != self.folder:
                shutil.rmtree(old, ignore_errors=True)

    def upload(self) -> Path:
        """The file. InputError where it is gone, or there is no room for it here.

        KeyboardInterrupt as `stop_if_asked`: to copy a large one takes its time.
        """
        return self._jobs.contents.fetch(self._one.kept, self._one.asked.size, self.stop_if_asked)

    def stop_if_asked(self) -> None:
        """Raise KeyboardInterrupt where somebody has had enough."""
        if self.cancelled:
            raise KeyboardInterrupt

    def drop_upload(self) -> None:
        """It is needed no more."""
        self._jobs.contents.drop_upload(self._one.kept)

    def put(self, state: S) -> bool:
        """Write how far it is, and as much of the results as goes at once; whether it is still ours."""
        return self._put({"phase": state.phase, "state": encoded(state)})

    def end(self, state: S) -> bool:
        """Write the last word, behind all of the results; whether it was still ours. StoreError."""
        while self._jobs.contents.grown(self._one.kept, self._sent):
            if not self._put():
                return False
        return self._put({"phase": state.phase, "state": encoded(state)})

    def _put(self, values: Mapping[str, str] | None = None) -> bool:
        pieces = self._jobs.contents.grown(self._one.kept, self._sent)
        lease = self._one.kept.lease
        held = self._rows.put(self._jobs.kind, self._one.id, lease, LEASE, values, pieces)
        if held:
            self._sent |= {one.name: one.position + len(one.content) for one in pieces}
        return held

    def watch(self) -> None:
        """Look whether the lease is ours, until the job is over; the process ends where it is lost."""
        seen = time.monotonic()
        while not self.over.wait(LOOK):
            try:
                stands = self._rows.stands(self._jobs.kind, self._one.id, self._one.kept.lease)
            except StoreError:
                if time.monotonic() - seen > LEASE:  # another one may begin
                    os._exit(LOST)
                continue
            if stands is None and not self.over.is_set():
                os._exit(LOST)
            self.cancelled, seen = bool(stands), time.monotonic()


class Work(ABC, Generic[A, S]):
    """One job."""

    seconds: ClassVar[int]
    """Of working, without waiting."""
    too_long: ClassVar[str]
    """What is said when that is over."""

    def __init__(self, desk: Desk[A, S], state: S) -> None:
        self._desk, self._asked, self._state = desk, desk.asked, state
        self._told = 0.0
        self._pause = EVERY
        self._late = self._lost = False

    @abstractmethod
    def work(self) -> None:
        """Do it. KeyboardInterrupt where `stop_if_asked` says so, and whatever goes wrong."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """What there is to tell at this moment, by the names of the state."""

    def run(self) -> None:
        """Work, and say in the end how it ended. StoreError where that cannot be said: it is done again."""
        signal.signal(signal.SIGALRM, self.too_late)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        phase, fault = self._ended()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not self._lost:
            self.end(phase, fault)

    def end(self, phase: Phase, fault: str = "") -> bool:
        """The last word; whether the job was still ours."""
        self._change(phase=phase, fault=fault, ended_at=datetime.now(UTC))
        self._desk.over.set()
        return self._desk.end(self._state)

    def too_late(self, _number: int, _frame: FrameType | None) -> None:
        """Its time is over."""
        self._late = True
        raise KeyboardInterrupt

    def stop_if_asked(self) -> None:
        """As the desk does."""
        self._desk.stop_if_asked()

    def tell(self) -> None:
        """Write how far it is, now and then. KeyboardInterrupt as `stop_if_asked`."""
        now = time.monotonic()
        self.stop_if_asked()
        if now - self._told < self._pause:
            return
        with suppress(StoreError):  # next time
            self.put()
        # Much to tell may take its time.
        self._told = time.monotonic()
        self._pause = max(EVERY, 10 * (self._told - now))

    def put(self, **changes: object) -> None:
        """Write how far it is. KeyboardInterrupt where the job is another's by now."""
        self._change(**changes)
        if not self._desk.put(self._state):
            self._lost = True
            raise KeyboardInterrupt

    def _change(self, **changes: object) -> None:
        self._state = replace(self._state, **self.figures() | changes)

    def _ended(self) -> tuple[Phase, str]:
        try:
            self.put(phase=Phase.RUNNING, began_at=datetime.now(UTC))
            self.work()
        except KeyboardInterrupt:
            return (Phase.FAILED, self.too_long) if self._late else (Phase.CANCELLED, "")
        except StoreError as error:
            if error.retry_after is not None:  # a store that is away for a while: another attempt is worth it
                raise
            return Phase.FAILED, error.message
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


def attend(
    arguments: list[str], kind: type[Jobs[Any]], work: Callable[[Desk[Any, Any], Path, str], Work[Any, Any]]
) -> int:
    """The process; `work` is given the desk, the home and the URL of the store."""
    home, tenant, key, lease = arguments
    url = sys.stdin.buffer.readline().decode().rstrip("\n")
    threading.Thread(target=_end_with_service, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Who stops the service may send them to all of its processes; this one ends with the service.
        signal.signal(number, signal.SIG_IGN)
    try:
        with Store.open(url, create=False) as store:
            jobs = kind(Path(home), store.tenant(tenant))
            row = jobs.tenant.jobs.find(jobs.kind, key)
            if row is None or row.lease != lease:
                return LOST
            desk: Desk[Any, Any] = Desk(jobs, jobs.of_row(row))
            threading.Thread(target=desk.watch, daemon=True).start()
            one = work(desk, Path(home), url)
            _bound(one.seconds)
            one.run()
    except IndiciaError as error:
        LOG.warning("a job waits: %s", error)
        return 1
    return 0


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

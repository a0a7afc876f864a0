"""Who has jobs worked on: takes those that wait, a process for each, as many at once as a host may.

One process of a service does it. It looks for jobs of whatever host, which begin within LOOK_SECONDS of their
file's arrival where a place is free; a place is the lock of a file, which the process of a job holds while it
lives, so that it counts even when its service was killed a moment ago. A service that is stopped gives its
jobs back.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from indicia.errors import IndiciaError, StoreError, placed
from indicia.live import contents
from indicia.live.imports import Imports
from indicia.live.jobs import LEASE, LEFT, RENEWAL, Job, Jobs, token
from indicia.live.scans import Scans
from indicia.store import Store

KINDS: tuple[type[Jobs[Any]], ...] = (Scans, Imports)
LOOK_SECONDS = 0.25
"""Seconds between two looks: a read of a few rows; so nobody needs to be told of a job."""
PAUSE = 1.0
"""Seconds until it is tried again where the store is away."""
LONGEST = 6 * 3600.0
"""Seconds for which a lease is held at the most; a process that lives has ended before, by its own bounds."""
END_SECONDS = 10.0
"""How long processes may take to end."""
LOG = logging.getLogger("indicia.live")

Child = subprocess.Popen[bytes]


class Runner:
    """Has the jobs of a store worked on, in a home."""

    def __init__(self, store: Store, url: str, home: Path) -> None:
        self._store, self._url, self._home = store, url, home
        self._stopped = threading.Event()
        self._children: dict[threading.Thread, Child] = {}

    def run(self) -> None:
        """Until it is stopped."""
        wait = LOOK_SECONDS
        while not self._stopped.wait(wait):
            wait = PAUSE
            try:
                self.look()
                wait = LOOK_SECONDS
            except IndiciaError as error:
                LOG.warning("jobs wait: %s", error)
            except OSError as error:
                LOG.warning("jobs wait: %s", error.strerror)
            except Exception as error:  # a thread that died of it would begin nothing any more
                LOG.error("jobs wait: %s", placed(error))
        self._end()

    def stop(self) -> None:
        """Have it end; `run` returns when all processes have ended and their jobs are given back."""
        self._stopped.set()

    def look(self) -> None:
        """Begin what waits, while there is a place for it."""
        begun = True
        while begun and (found := self._store.waiting()):
            begun = False
            for kind in KINDS:
                jobs = [kind(self._home, tenant) for name, tenant in found if name == kind.kind]
                if jobs and (place := self._place(kind)) is not None:
                    with place:  # the first one is taken that others have not been quicker at
                        begun |= any(self._begin(one, place) for one in jobs)

    def _end(self) -> None:
        for process in list(self._children.values()):
            _close(process)
        end = time.monotonic() + END_SECONDS
        for thread in list(self._children):
            thread.join(max(0.0, end - time.monotonic()))

    def _place(self, kind: type[Jobs[Any]]) -> IO[bytes] | None:
        """One of the places of a kind; None where all are taken."""
        folder = contents.made(self._home / kind.kind)
        for number in range(kind.running):
            file = (folder / f"place-{number}").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
            else:
                return file
        return None

    def _begin(self, jobs: Jobs[Any], place: IO[bytes]) -> bool:
        """Take one of a tenant's and start its process; whether there was one."""
        one = jobs.take(token())
        if one is None:
            return False
        command = [sys.executable, "-m", jobs.process, str(self._home), jobs.tenant.uid, one.id]
        process = subprocess.Popen(  # noqa: S603 - our own module, by ids and paths that we made
            [*command, one.kept.lease],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[place.fileno()],
        )
        # Not among the arguments, which everybody on the machine can read.
        with suppress(BrokenPipeError):  # it has ended already
            process.stdin.write(self._url.encode() + b"\n")  # type: ignore[union-attr]  # it is a PIPE
            process.stdin.flush()  # type: ignore[union-attr]
        # It ends when this end of the pipe is closed, which is when the service goes away.
        thread = threading.Thread(target=self._reap, args=(jobs, one, process), name=jobs.word, daemon=True)
        self._children[thread] = process
        thread.start()
        return True

    def _reap(self, jobs: Jobs[Any], one: Job[Any, Any], process: Child) -> None:
        """Wait for the end of a process, and hold its lease; what it has not ended is given back."""
        code = _end_of(process, lambda: jobs.hold(one))
        stopped = self._stopped.is_set()
        if code and not stopped:  # one that was killed is worth a line
            LOG.warning("a process of a job (%d) ended with %d", process.pid, code)
        _close(process)
        end = time.monotonic() + LEASE
        while time.monotonic() < end:  # beyond it anybody may take it in any case
            try:
                if code == -signal.SIGXCPU:  # it would be so another time, too
                    jobs.fail(one, "it took more processor time than it may; send a part of the file")
                else:
                    jobs.give_back(one, counted=not stopped)
                break
            except StoreError as error:
                LOG.warning("a job is not given back yet: %s", error)
                if self._stopped.wait(PAUSE):
                    break
        self._children.pop(threading.current_thread(), None)


def _end_of(process: Child, hold: Callable[[], None]) -> int:
    """Wait for it. It does not hold its lease itself: a machine that has much to do starts it slowly."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        try:
            return process.wait(RENEWAL)
        except subprocess.TimeoutExpired:
            with suppress(StoreError):  # next time
                hold()
    return process.wait()


def _close(process: Child) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


@contextmanager
def running(store: Store, url: str, home: Path) -> Iterator[None]:
    """Meanwhile, in a thread, have jobs worked on."""
    runner = Runner(store, url, home)
    thread = threading.Thread(target=runner.run, name="runner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        runner.stop()
        thread.join()


def tidy(store: Store, home: Path) -> None:
    """Delete jobs that are older than they are kept, and what is left of others in a home. StoreError."""
    tenants = store.tenants()
    for kind in KINDS:
        for tenant in tenants:
            kind(home, store.tenant(tenant.uid)).tidy()
        there = {tenant.uid for tenant in tenants}
        for folder in (home / kind.kind).iterdir() if (home / kind.kind).is_dir() else ():
            old = time.time() - folder.stat().st_mtime > LEFT
            if folder.is_dir() and folder.name not in there and old:
                shutil.rmtree(folder, ignore_errors=True)

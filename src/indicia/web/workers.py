"""Several processes that answer on one socket, over one store, and the one that looks after them.

The parent binds, has certificates, keys and tables made, and forks; it keeps no store and no thread. A worker
that dies is replaced, after longer and longer pauses while it dies young. What the workers have in common is
the store, the files of the live index, and `Crew`; a parent that is killed takes them along.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace

from indicia.errors import IndiciaError, InputError, placed
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import serve
from indicia.web.crew import Crew
from indicia.web.gate import issuer_of
from indicia.web.metrics import Board

MOST = 64
YOUNG = 10.0
"""Seconds; a worker that dies before was not replaced for good."""
LONGEST_PAUSE = 30.0
"""Seconds until a worker is replaced at the most."""
DEATHS = 5
"""Workers that may die before all of them have started once."""
GRACE = serve.GRACE_SECONDS + 5
"""Seconds until a worker that does not end is killed."""
LOG = logging.getLogger("indicia.web")
_LOOK = 0.1
_READY = b"ready"
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def run(
    settings: Settings,
    opening: Callable[[], AbstractContextManager[Store]],
    announce: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """As `serve.run`, by `settings.workers` processes; each opens the store anew.

    `announce` is given its line when all of them accept connections. Raises InputError, also for what a
    worker could not do at its start.
    """
    if not 1 <= settings.workers <= MOST:
        raise InputError(f"must be from 1 to {MOST}, not {settings.workers}", place="workers")
    with serve.bound(settings) as listening:
        with opening() as store:
            issuer_of(settings, store)
        serve.certify(settings, warn)
        serve.listen(listening, settings)
        with _blocked() as before:
            crew = Crew(Board(settings.workers))
            _Parent(settings, opening, listening, crew, before).attend(announce)


@contextmanager
def _blocked() -> Iterator[set[signal.Signals | int]]:
    """Signals are asked for, so that none is missed between two steps; what was blocked before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int = 0
    """0 while there is none."""
    told: int = -1
    """Where it says that it is ready, or what is wrong."""
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0
    """When it is to be started."""


class _Parent:
    """Looks after the workers."""

    def __init__(
        self,
        settings: Settings,
        opening: Callable[[], AbstractContextManager[Store]],
        listening: socket.socket,
        crew: Crew,
        mask: set[signal.Signals | int],
    ) -> None:
        self._settings, self._opening, self._listening = settings, opening, listening
        self._crew, self._mask = crew, mask
        self._workers = [_Worker(number) for number in range(settings.workers)]
        # Its writing end is the parent's alone: when it is closed, by whatever end, the workers end.
        self._alive, self._life = os.pipe()
        self._stopping = 0.0
        """When those that are left are killed; 0 while nobody is asked to end."""

    def attend(self, announce: Callable[[str], None]) -> None:
        """Until all of them have ended."""
        for worker in self._workers:
            self._start(worker, told=True)
        fault = self._wait_for_all()
        if fault is None and not self._stopping:
            announce(serve.greeting(self._settings))
        else:
            self._stop()
        # First, because one may have died since it was waited for.
        self._bury()
        while any(worker.pid for worker in self._workers) or not self._stopping:
            self._hear(self._patience())
            self._bury()
            if self._stopping and time.monotonic() > self._stopping:
                self._send(signal.SIGKILL)
            for worker in self._workers:
                if not worker.pid and not self._stopping and time.monotonic() >= worker.due:
                    self._crew.board.note_restart()
                    self._start(worker, told=False)
        if fault is not None:
            raise InputError(fault)

    def _patience(self) -> float:
        """Seconds until something is to be done, whoever dies or asks."""
        if self._stopping:
            return _LOOK
        due = [worker.due - time.monotonic() for worker in self._workers if not worker.pid]
        return max(0.0, min(due, default=3600.0))

    def _hear(self, seconds: float) -> None:
        """Wait for a signal, at the most so long."""
        found = signal.sigtimedwait(_SIGNALS, seconds)
        if found is None or found.si_signo == signal.SIGCHLD:
            return
        if self._stopping and found.si_signo == signal.SIGINT:
            # Asked twice: what was accepted is in the store, or its sender is not answered.
            self._send(signal.SIGKILL)
        self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = time.monotonic() + GRACE
            self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _wait_for_all(self) -> str | None:
        """Until every worker accepts connections; what one of them says is wrong."""
        waiting = {worker.told: worker for worker in self._workers}
        deaths, fault = 0, None
        while waiting and fault is None and not self._stopping:
            for told in select.select(list(waiting), [], [], _LOOK)[0]:
                worker, said = waiting.pop(told), os.read(told, 4096)
                os.close(told)
                if said == _READY:
                    continue
                deaths += 1
                if said or deaths > DEATHS:
                    fault = said.decode("utf-8", "replace") or "workers die at their start; the log says why"
                    break
                # Killed by somebody, as those are that come later.
                os.waitpid(worker.pid, 0)
                self._crew.board.note_restart()
                self._start(worker, told=True)
                waiting[worker.told] = worker
            self._hear(0.0)
        for told in waiting:
            os.close(told)
        return fault

    def _bury(self) -> None:
        """Take note of those that have ended."""
        for worker in self._workers:
            if not worker.pid or os.waitpid(worker.pid, os.WNOHANG)[0] == 0:
                continue
            lived = time.monotonic() - worker.started
            worker.pause = _LOOK if lived > YOUNG else min(LONGEST_PAUSE, max(_LOOK, worker.pause * 2))
            worker.due = time.monotonic() + worker.pause
            if not self._stopping:
                LOG.error("worker %d (process %d) died; another one is started", worker.number, worker.pid)
            worker.pid = 0

    def _start(self, worker: _Worker, *, told: bool) -> None:
        """Fork it; `told`: somebody waits for what it says."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.close(reading)
            os.close(self._life)
            os._exit(self._work(worker.number, writing))
        os.close(writing)
        if not told:
            os.close(reading)
        worker.pid, worker.told, worker.started = pid, reading, time.monotonic()

    def _work(self, number: int, writing: int) -> int:
        """The life of a worker; its exit code."""

        def ready() -> None:
            with suppress(OSError):
                os.write(writing, _READY)

        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            threading.Thread(target=self._outlive, name="life", daemon=True).start()
            with self._opening() as store:
                crew = replace(self._crew, number=number)
                serve.attend(self._settings, store, self._listening, crew, ready)
        except IndiciaError as error:
            with suppress(OSError):
                os.write(writing, str(error).encode()[:4000])
            LOG.error("worker %d: %s", number, error)
            return 1
        except BaseException as error:
            LOG.error("worker %d: %s", number, placed(error))
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _outlive(self) -> None:
        """End as if asked to when the parent is no more."""
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

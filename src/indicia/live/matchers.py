"""The processes that match for a service, seen from there: started when needed, replaced when they die.

    matchers = Matchers(2)
    outcome = matchers.meet(block, view, task)     # as `blocks.meet` in this process

A block goes to a process that is free (`live.matcher`). One that dies, lies, says that it could not, or takes
longer than DEADLINE is killed, and the block is tried once more with a fresh one; then MatchingFailed is
raised, and the next block finds a fresh one again.
"""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import queue
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

import indicia
from indicia.errors import MatchingFailed, TooLarge
from indicia.live.blocks import Outcome, Task, meet
from indicia.live.matcher import BLOCK, FAULT, FILES, VIEW, Change, receive, send
from indicia.live.view import Layer, View
from indicia.model import Detection

DEADLINE = 30.0
"""Seconds that a block may take; a slow one takes less than one."""
ROOM = 24 << 20
"""Bytes of the longest block."""
ANSWER = 256 << 20
"""Bytes of the longest outcome."""
TENANTS = 16
"""Tenants whose views a process keeps."""
TRIES = 2
LOG = logging.getLogger("indicia.live")
_decoder = msgspec.msgpack.Decoder(Outcome)


def _nobody() -> None:
    """Hears it."""


class Matchers:
    """So many processes. Safe for any number of threads."""

    def __init__(
        self, count: int, *, died: Callable[[], None] = _nobody, failed: Callable[[], None] = _nobody
    ) -> None:
        """`died` hears of each process that had to be replaced, `failed` of each block that was given up."""
        self._died, self._failed = died, failed
        self._slots = [_Slot() for _ in range(count)]
        # The last one that was used first, so that few are started where few are needed.
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._slots:
            self._free.put(slot)

    @property
    def processes(self) -> list[int]:
        """Their numbers, of those that live."""
        return [slot.pid for slot in self._slots if slot.pid]

    def meet(self, block: bytes, view: View, task: Task) -> Outcome:
        """What came of a block. Raises MatchingFailed where two processes could not do it."""
        if any(layer.file is None for layer in _filled(view)):
            return meet(block, view.engine(), task)
        why = ""
        for _ in range(TRIES):
            slot = self._free.get()
            try:
                return slot.meet(block, view, task)
            except MatchingFailed as error:
                why = error.message  # of an event it says nothing
                LOG.error("a matcher was replaced: %s", why)
                self._died()
            finally:
                self._free.put(slot)
        self._failed()
        raise MatchingFailed(
            f"{len(block)} bytes of these events could not be matched: the process that looked at them"
            f" {why.partition(chr(10))[0]}, twice; send them in smaller parts to find the event that does it"
        )

    def close(self) -> None:
        """End all of them."""
        for slot in self._slots:
            slot.end()


class _Slot:
    """Where a process is, or can be started. For one thread at a time."""

    def __init__(self) -> None:
        self.pid = 0
        """0: there is none."""
        self._process: subprocess.Popen[bytes] | None = None
        self._views: dict[str, View] = {}
        """What the process has."""

    def meet(self, block: bytes, view: View, task: Task) -> Outcome:
        """Raises MatchingFailed; then there is no process any more."""
        if len(block) > ROOM:
            raise TooLarge(f"a block has {len(block)} bytes; at most {ROOM} can be matched at once")
        if self._process is None:
            self._start()
        try:
            return self._ask(block, view, task)
        except (OSError, ValueError, KeyError) as error:  # a time-out and msgspec's errors are among them
            found = self._why(error)
        except MatchingFailed as error:
            found = error.message
        except BaseException:
            self.end()
            raise
        self.end()
        raise MatchingFailed(found)

    def _ask(self, block: bytes, view: View, task: Task) -> Outcome:
        self._end.settimeout(DEADLINE)
        before = self._views.get(task.tenant)
        if before is not view:
            self._show(view, before, task.tenant)
        self._room[: len(block)] = block
        send(self._end, BLOCK, pickle.dumps((task.tenant, len(block), task)))
        frame = receive(self._end, ANSWER)
        if frame is None:
            raise ConnectionError
        kind, data, _ = frame
        if kind == FAULT:
            raise MatchingFailed(f"said: {data.decode('utf-8', 'replace')}")
        return believed(_decoder.decode(data), view, task, len(block))

    def _show(self, view: View, before: View | None, tenant: str) -> None:
        """Send the process what it does not have of a view."""
        forget: tuple[str, ...] = ()
        if before is None and len(self._views) >= TENANTS:
            forget = (next(iter(self._views)),)
            del self._views[forget[0]]
        sent = _filled(before) if before is not None else []
        known = {id(layer): place for place, layer in enumerate(sent)}
        wanted = _filled(view)
        change = Change(
            tenant,
            forget,
            tuple((layer.number, known.get(id(layer), -1)) for layer in wanted),
            None if before is not None and before.definitions == view.definitions else dict(view.definitions),
            None if before is not None and before.replaced is view.replaced else dict(view.replaced),
            dict(view.clears),
        )
        fresh = [layer for layer in wanted if id(layer) not in known]
        send(self._end, VIEW, pickle.dumps(change), _files(fresh))
        self._views.pop(tenant, None)
        self._views[tenant] = view

    def _why(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"took longer than {DEADLINE:.0f} seconds"
        if isinstance(error, ConnectionError) and self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(1)
                return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"answered what cannot be ({type(error).__name__})"

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        number = os.memfd_create("indicia-blocks")
        try:
            os.ftruncate(number, ROOM)
            self._room = mmap.mmap(number, ROOM)
            files = theirs.fileno(), number
            command = [sys.executable, "-s", "-m", "indicia.live.matcher", *map(str, files)]
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=files,
                env=_environment(),
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise MatchingFailed(f"could not be started: {error.strerror}") from None
        finally:
            theirs.close()
            os.close(number)
        self._end, self.pid, self._views = ours, self._process.pid, {}

    def end(self) -> None:
        """Kill the process, if there is one."""
        process, self._process, self.pid = self._process, None, 0
        if process is not None:
            process.kill()
            self._end.close()
            self._room.close()
            self._views = {}
            process.wait()


def believed(outcome: Outcome, view: View, task: Task, size: int) -> Outcome:
    """An outcome with its definitions. Raises ValueError for one that no matcher can come to.

    A process that somebody took over can say what it likes of the events it was given, and nothing else.
    """
    if not 0 < outcome.done <= size or min(outcome.feeds, outcome.accepted, outcome.malformed) < 0:
        raise ValueError("an outcome of nothing")
    outcome.detections = [_believed(one, view, task) for one in outcome.detections]
    return outcome


def _believed(found: Detection, view: View, task: Task) -> Detection:
    owner = view.definitions.get(found.indicator.definition.id)
    if owner is None or found.tenant != task.tenant or found.source != task.source:
        raise ValueError("a detection of somebody else")
    return replace(found, indicator=replace(found.indicator, definition=owner))


def _filled(view: View) -> list[Layer]:
    return [layer for layer in view.layers if len(layer)]


def _files(layers: list[Layer]) -> list[int]:
    found = [layer.file for layer in layers if layer.file is not None]
    if len(found) > FILES:
        raise ValueError("too many layers")
    return found


def _environment() -> dict[str, str]:
    """What Python needs to find Indicia, and nothing of ours."""
    needed = {"PYTHONPATH": str(Path(indicia.__file__).parent.parent), "PYTHONSAFEPATH": "1"}
    libraries = os.environ.get("LD_LIBRARY_PATH")
    return needed | ({"LD_LIBRARY_PATH": libraries} if libraries else {})

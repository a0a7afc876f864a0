"""Work on files that people bring: a folder for each, a process for each, and what came of it.

    HOME/<kind>/<tenant>/<job>/asked.json      what was asked, and by whom
                               upload          the file itself
                               state.json      how far it is, as it goes
                               lock            held while its process lives
                               cancel          is there when somebody has had enough

Everything is in files, so every worker of a service can tell of every job, and what a job costs it costs its
own process (`live.work`), which has bounds for memory and time, and ends with the service. Jobs that nobody
works on any more, because the service or the machine went away, are known by their lock. `live.scans` and
`live.imports` are the two kinds.
"""

from __future__ import annotations

import fcntl
import logging
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, Generic, TypeVar

import msgspec

from indicia.errors import InputError, NotFound, TooLarge, TooManyRequests

LOG = logging.getLogger("indicia.live")
FREE = 512 * 1024 * 1024
"""Bytes that an upload leaves free on the disk."""
NAME_LIMIT = 200
PATIENCE = 10.0
"""Seconds that a process may take to end after its last word."""
_STEP = 1 << 20
_ID = re.compile(r"[0-9a-f]{16}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\!]+")


class Phase(StrEnum):
    """Where a job is."""

    WAITING = "Waiting"
    """For others to end."""
    RUNNING = "Running"
    DONE = "Done"
    CANCELLED = "Cancelled"
    FAILED = "Failed"
    """`State.fault` says why."""
    STOPPED = "Stopped"
    """Its process went away: the service was stopped, or the machine, or it had no memory left."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (Phase.WAITING, Phase.RUNNING)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asked for."""

    name: str
    """Of the file, as its sender calls it."""
    size: int
    """Of the file, in bytes."""
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """How far a job is, and what came of it."""

    phase: Phase = Phase.WAITING
    fault: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None
    read: int = 0
    """Bytes of the file."""


A = TypeVar("A", bound=Asked)
S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Job(Generic[A, S]):
    """A job of a tenant."""

    id: str
    folder: Path
    asked: A
    state: S


J = TypeVar("J", bound=Job[Any, Any])


class Jobs(Generic[J]):
    """The jobs of one kind in a home; any number of processes may have one."""

    word: ClassVar[str]
    """What one is called."""
    place: ClassVar[str]
    """The folder of the home."""
    process: ClassVar[str]
    """The module that works on one."""
    results: ClassVar[tuple[str, ...]]
    """Files of a job that are made anew when it begins again."""
    kept: ClassVar[timedelta]
    """How long what came of one can be looked at, and its file lies on the disk."""
    most: ClassVar[int]
    """Jobs of a tenant that are kept; the oldest that has ended goes first."""
    unfinished: ClassVar[int]
    """Jobs of a tenant that run or wait."""
    goes_on: ClassVar[bool]
    """Whether one that was stopped can go on, so that its file is still wanted."""
    made: type[J]
    asked: type[Asked]
    state: type[State]

    def __init__(self, home: Path, url: str) -> None:
        self._home = home
        self._url = url
        self._folder = home / self.place

    def keep(self, tenant: str, content: BinaryIO, limit: int, asked: Callable[[int], Asked]) -> J:
        """Keep a file and begin to work on it; `asked` is given its size.

        TooLarge beyond `limit` bytes, TooManyRequests, InputError for an empty file or no room.
        """
        folder, file = self._place(tenant)
        try:
            with file:
                size = self._copy(content, file, limit)
            return self.start(self.made(folder.name, folder, asked(size), self.state()), tenant)
        except BaseException:  # whatever it was, half a file is no use
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def again(self, one: J, tenant: str, **changes: object) -> None:
        """Begin it once more, asked for with these changes. InputError while it runs, or without its file."""
        if not one.state.phase.is_over:
            raise InputError(f"this {self.word} still runs; wait until it has ended, or cancel it")
        if not (one.folder / "upload").exists():
            raise InputError(f"the file of this {self.word} is gone; send it again")
        asked = replace(one.asked, made_at=datetime.now(UTC), **changes)
        self.start(replace(one, asked=asked, state=self.state()), tenant)

    def every(self, tenant: str) -> list[J]:
        """Those of a tenant, newest first."""
        found = [one for folder in self._folders(tenant) if (one := self._read(folder)) is not None]
        return sorted(found, key=lambda one: (one.asked.made_at, one.id), reverse=True)

    def one(self, tenant: str, number: str) -> J:
        """One of a tenant; NotFound."""
        found = self._read(self._folder / tenant / number) if _ID.fullmatch(number) else None
        if found is None:
            days = self.kept.days
            raise NotFound(
                f"there is no such {self.word}; what came of one is kept for {days} day{'s' * (days != 1)}"
            )
        return found

    def cancel(self, one: J) -> None:
        """Have it end soon; what it has stored stays stored."""
        (one.folder / "cancel").touch(mode=0o600)

    def delete(self, one: J) -> None:
        """Forget what came of it, and its file; one that runs ends."""
        self.cancel(one)
        shutil.rmtree(one.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Delete what is too old, and the files of those that cannot go on."""
        for tenant in self._folder.iterdir() if self._folder.is_dir() else ():
            for folder in self._folders(tenant.name):
                with suppress(FileNotFoundError):  # somebody deletes it at this moment
                    self._tidy(folder)

    def start(self, one: J, tenant: str) -> J:
        """Its process, which holds the lock from its first moment on."""
        with (one.folder / "lock").open("ab") as lock:
            self._take(lock)
            for name in ("cancel", *self.results):
                (one.folder / name).unlink(missing_ok=True)
            write(one.folder / "asked.json", one.asked)
            write(one.folder / "state.json", one.state)
            process = subprocess.Popen(  # noqa: S603 - our own module, by ids and paths that we made
                [sys.executable, "-m", self.process, str(self._home), tenant, str(one.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
            )
        # Not among the arguments, which everybody on the machine can read.
        with suppress(BrokenPipeError):  # it has ended already, and its lock says so
            process.stdin.write(self._url.encode() + b"\n")  # type: ignore[union-attr]  # it is a PIPE
            process.stdin.flush()  # type: ignore[union-attr]
        # It ends when this end of the pipe is closed, which is when the service goes away.
        threading.Thread(target=_reap, args=(process,), name=self.word, daemon=True).start()
        return one

    def _place(self, tenant: str) -> tuple[Path, BinaryIO]:
        """A folder, and the file in it for what comes, held while it comes. TooManyRequests.

        One at a time, so that of many requests at once each sees what the others have begun.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with (self._folder / "coming").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.tidy()
            mine = self.every(tenant)
            coming = sum(is_held(folder / "upload") for folder in self._folders(tenant))
            if coming + sum(not one.state.phase.is_over for one in mine) >= self.unfinished:
                raise TooManyRequests(
                    f"{self.unfinished} {self.place} of this tenant run or wait; cancel one, "
                    "or wait until one has ended",
                    retry_after=10,
                )
            ended = [one for one in reversed(mine) if one.state.phase.is_over]
            for old in ended[: max(0, len(mine) - self.most + 1)]:
                self.delete(old)
            (self._folder / tenant).mkdir(mode=0o700, exist_ok=True)
            folder = self._folder / tenant / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            file = (folder / "upload").open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            return folder, file

    def _folders(self, tenant: str) -> Iterator[Path]:
        place = self._folder / tenant
        if place.is_dir():
            yield from (path for path in place.iterdir() if _ID.fullmatch(path.name))

    def _copy(self, content: BinaryIO, file: BinaryIO, limit: int) -> int:
        size = 0
        while data := content.read(_STEP):
            if size % (64 * _STEP) == 0 and shutil.disk_usage(self._home).free < FREE + limit // 8:
                raise InputError("there is too little room for it on the disk of the service")
            size += len(data)
            if size > limit:
                raise TooLarge(
                    f"the file is larger than {limit // 1024:,} KiB; compress it, or send parts of it"
                )
            file.write(data)
        if not size:
            raise InputError("the file is empty", target="file")
        return size

    def _take(self, lock: IO[bytes]) -> None:
        """Hold the lock, once a process that has said its last word has let go. InputError."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > end:
                    raise InputError(f"this {self.word} still runs; wait until it has ended") from None
                time.sleep(0.05)
            else:
                return

    def _read(self, folder: Path) -> J | None:
        """The job of a folder as it stands; None where there is none (any more)."""
        try:
            asked = asked_of(folder, self.asked)
            # Asked before the state is read: a process writes its last word and then lets go.
            alive = is_held(folder / "lock")
            state = msgspec.json.decode((folder / "state.json").read_bytes(), type=self.state)
        except (OSError, msgspec.MsgspecError):
            return None
        if not state.phase.is_over and not alive:
            state = replace(state, phase=Phase.STOPPED)
        return self.made(folder.name, folder, asked, state)

    def _tidy(self, folder: Path) -> None:
        one = self._read(folder)
        if one is None:
            # Somebody writes it at this moment, or was killed meanwhile.
            old = datetime.now(UTC).timestamp() - folder.stat().st_mtime > self.kept.total_seconds()
        else:
            old = datetime.now(UTC) - one.asked.made_at > self.kept and one.state.phase.is_over
        if old:
            shutil.rmtree(folder, ignore_errors=True)
        elif one is not None and one.state.phase is Phase.STOPPED and not self.goes_on:
            (folder / "upload").unlink(missing_ok=True)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process, and let go of it; one that was killed is worth a line."""
    if code := process.wait():
        LOG.warning("a process of a job (%d) ended with %d", process.pid, code)
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def write(path: Path, what: Asked | State) -> None:
    """As JSON, so that who reads it meanwhile sees the old or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(what))
    fresh.replace(path)


def asked_of(folder: Path, kind: type[A]) -> A:
    """What was asked of the job of a folder."""
    return msgspec.json.decode((folder / "asked.json").read_bytes(), type=kind)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def named(name: str) -> str:
    """A file's name without folders and what steers a terminal; detections name the file so."""
    last = re.split(r"[/\\]", name)[-1]
    clean = _UNSEEN.sub("_", last.encode("utf-8", "replace").decode())[:NAME_LIMIT].strip()
    return clean if clean.strip(".") else "upload"

"""Scans of files that people bring: a folder for each, a process for each, and what came of it.

    HOME/scans/<tenant>/<scan>/asked.json          what was asked, and by whom
                               upload              the file itself; gone with the scan
                               state.json          how far it is, its alerts and faults, as it goes
                               found.ndjson        its detections as they come, a JSON object each
                               lock                held while its process lives
                               cancel              is there when somebody has had enough

Everything is in files, so every worker of a service can tell of every scan, and what a scan costs it costs
its own process (`live.scanner`), which has bounds for memory and time, and ends with the service. Scans that
nobody runs any more, because the service or the machine went away, are known by their lock.
"""

from __future__ import annotations

import fcntl
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from indicia.errors import InputError, NotFound, TooLarge, TooManyRequests
from indicia.model import AlertStatus, Severity

KEPT = timedelta(hours=24)
"""How long what came of a scan can be looked at, and its file lies on the disk."""
MOST = 20
"""Scans of a tenant that are kept; the oldest that has ended goes first."""
UNFINISHED = 5
"""Scans of a tenant that run or wait."""
FREE = 512 * 1024 * 1024
"""Bytes that an upload leaves free on the disk."""
NAME_LIMIT = 200
PATIENCE = 10.0
"""Seconds that a process may take to end after its last word."""
_STEP = 1 << 20
_ID = re.compile(r"[0-9a-f]{16}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\!]+")


class Phase(StrEnum):
    """Where a scan is."""

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
    record: bool
    """Whether what is found is kept in the store, as `indicia scan` does."""
    alerts_per_hour: int
    """As the service is set: what goes beyond is a storm."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of evidence; long texts are cut."""

    path: str
    role: str
    matched: str


@dataclass(frozen=True, slots=True)
class Found:
    """A detection."""

    id: str
    alert_id: str
    severity: Severity
    definition: str
    machine: str
    type: str
    function: str
    value: str
    raises: bool
    source: str
    line: int
    at: datetime | None
    evidence: list[Piece]
    allow_lists: list[str]


@dataclass(frozen=True, slots=True)
class FoundAlert:
    """An alert as the scan alone makes it."""

    id: str
    severity: Severity
    definition: str
    title: str
    machine: str
    first_seen: datetime | None
    last_seen: datetime | None
    detections: int
    values: list[str]
    number: int = 0
    """Of the alert in the store, where the scan recorded it."""
    status: AlertStatus | None = None
    """In the store."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of the file that could not be read."""

    place: str
    line: int
    """0: the file as a whole."""
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """How far a scan is, and what came of it."""

    phase: Phase = Phase.WAITING
    fault: str = ""
    generation: int = 0
    """Of the indicators that it looks for."""
    began_at: datetime | None = None
    ended_at: datetime | None = None
    read: int = 0
    """Bytes of the file."""
    total: int = 0
    events: int = 0
    malformed: int = 0
    raising: int = 0
    silent: int = 0
    withheld: int = 0
    listed: int = 0
    """Detections that `found.ndjson` holds."""
    alert_count: int = 0
    alerts: list[FoundAlert] = field(default_factory=list)
    """The gravest and largest ones."""
    faults: list[Fault] = field(default_factory=list)
    """The first malformed lines, and what could not be read at all."""
    unreadable: int = 0
    damaged: int = 0
    recorded: int = 0
    """Detections that the store did not have."""
    opened: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of a tenant."""

    id: str
    folder: Path
    asked: Asked
    state: State

    def found(self, begin: int, most: int) -> tuple[list[Found], int]:
        """Detections from a place of their file on, and the place behind them; at most so many."""
        made: list[Found] = []
        path = self.folder / "found.ndjson"
        if not path.exists():
            return made, begin
        with path.open("rb") as file:
            file.seek(begin)
            for line in file:
                if len(made) == most or not line.endswith(b"\n"):
                    break
                try:
                    made.append(msgspec.json.decode(line, type=Found))
                except msgspec.MsgspecError:
                    raise InputError("there is no such place in this scan's detections") from None
                begin += len(line)
        return made, begin


class Scans:
    """The scans of a home; any number of processes may have one."""

    def __init__(self, home: Path, url: str, alerts_per_hour: int) -> None:
        self._home = home
        self._url = url
        self._alerts_per_hour = alerts_per_hour
        self._folder = home / "scans"

    def begin(self, tenant: str, name: str, content: BinaryIO, by: str, limit: int, *, record: bool) -> Scan:
        """Keep a file and scan it. TooLarge beyond `limit` bytes, TooManyRequests, InputError for no room."""
        folder, file = self._place(tenant)
        try:
            with file:
                size = self._copy(content, file, limit)
            asked = Asked(named(name), size, by, datetime.now(UTC), record, self._alerts_per_hour)
            return self._start(Scan(folder.name, folder, asked, State(total=size)), tenant)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _place(self, tenant: str) -> tuple[Path, BinaryIO]:
        """A folder, and the file in it for what comes, held while it comes. TooManyRequests.

        One at a time, so that of many requests at once each sees what the others have begun.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with (self._folder / "turn").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.tidy()
            mine = self.every(tenant)
            coming = sum(is_held(folder / "upload") for folder in self._folders(tenant))
            if coming + sum(not scan.state.phase.is_over for scan in mine) >= UNFINISHED:
                raise TooManyRequests(
                    f"{UNFINISHED} scans of this tenant run or wait; cancel one, or wait until one has ended",
                    retry_after=30,
                )
            ended = [scan for scan in reversed(mine) if scan.state.phase.is_over]
            for old in ended[: max(0, len(mine) - MOST + 1)]:
                self.delete(old)
            (self._folder / tenant).mkdir(mode=0o700, exist_ok=True)
            folder = self._folder / tenant / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            file = (folder / "upload").open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
            return folder, file

    def again(self, scan: Scan, tenant: str, by: str) -> None:
        """Scan the file once more and record what is found. InputError while it runs, or without its file."""
        if not scan.state.phase.is_over:
            raise InputError("this scan still runs; record what it finds when it has ended")
        if not (scan.folder / "upload").exists():
            raise InputError("the file of this scan is gone; send it again")
        asked = replace(scan.asked, by=by, record=True, made_at=datetime.now(UTC))
        self._start(replace(scan, asked=asked, state=State(total=asked.size)), tenant)

    def every(self, tenant: str) -> list[Scan]:
        """Those of a tenant, newest first."""
        found = [scan for folder in self._folders(tenant) if (scan := _read(folder)) is not None]
        return sorted(found, key=lambda scan: (scan.asked.made_at, scan.id), reverse=True)

    def one(self, tenant: str, number: str) -> Scan:
        """One of a tenant; NotFound."""
        found = _read(self._folder / tenant / number) if _ID.fullmatch(number) else None
        if found is None:
            raise NotFound("there is no such scan; what came of one is kept for a day")
        return found

    def cancel(self, scan: Scan) -> None:
        """Have it end soon; what it has recorded stays recorded."""
        (scan.folder / "cancel").touch(mode=0o600)

    def delete(self, scan: Scan) -> None:
        """Forget what came of it, and its file; one that runs ends."""
        self.cancel(scan)
        shutil.rmtree(scan.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Delete what is too old, and the files of those that nobody runs any more."""
        if not self._folder.is_dir():
            return
        for tenant in self._folder.iterdir():
            for folder in self._folders(tenant.name):
                with suppress(FileNotFoundError):  # somebody deletes it at this moment
                    _tidy(folder)

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

    def _start(self, scan: Scan, tenant: str) -> Scan:
        """Its process, which holds the lock from its first moment on."""
        with (scan.folder / "lock").open("ab") as lock:
            take(lock)
            for name in ("cancel", "found.ndjson"):
                (scan.folder / name).unlink(missing_ok=True)
            write(scan.folder / "asked.json", scan.asked)
            write(scan.folder / "state.json", scan.state)
            command = [sys.executable, "-m", "indicia.live.scanner", self._url, str(self._home), tenant]
            process = subprocess.Popen(  # noqa: S603 - our own
                [*command, str(scan.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
            )
        # It ends when this end of the pipe is closed, which is when the service goes away.
        threading.Thread(target=reap, args=(process,), name="scan", daemon=True).start()
        return scan


def take(lock: IO[bytes]) -> None:
    """Hold the lock, once a process that has said its last word has let go. InputError for one that runs."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                raise InputError("this scan still runs; wait until it has ended") from None
            time.sleep(0.05)
        else:
            return


def reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process, and let go of it."""
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def write(path: Path, what: Asked | State) -> None:
    """As JSON, so that who reads it meanwhile sees the old or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(what))
    fresh.replace(path)


def asked_of(folder: Path) -> Asked:
    """What was asked of the scan of a folder."""
    return msgspec.json.decode((folder / "asked.json").read_bytes(), type=Asked)


def _tidy(folder: Path) -> None:
    """Delete a scan that is too old, or the file of one that nobody runs any more."""
    scan = _read(folder)
    if scan is None:
        # Somebody writes it at this moment, or was killed meanwhile.
        old = datetime.now(UTC).timestamp() - folder.stat().st_mtime > KEPT.total_seconds()
    else:
        old = datetime.now(UTC) - scan.asked.made_at > KEPT
    if old:
        shutil.rmtree(folder, ignore_errors=True)
    elif scan is not None and scan.state.phase is Phase.STOPPED:
        (folder / "upload").unlink(missing_ok=True)


def _read(folder: Path) -> Scan | None:
    """The scan of a folder as it stands; None where there is none (any more)."""
    try:
        asked = asked_of(folder)
        # Asked before the state is read: a process writes its last word and then lets go.
        alive = is_held(folder / "lock")
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None
    if not state.phase.is_over and not alive:
        state = replace(state, phase=Phase.STOPPED)
    return Scan(folder.name, folder, asked, state)


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

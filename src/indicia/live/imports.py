"""Files of indicators that people upload: a folder for each, a process for each, and what came of it.

    HOME/imports/<tenant>/<import>/asked.json      what was asked, and by whom
                                   upload          the file itself; gone when it is in
                                   state.json      how far it is, as it goes
                                   report.csv      what could not be used, and what is to be known
                                   lock            held while its process lives
                                   cancel          is there when somebody has had enough

The process (`live.importer`) goes the road of `indicia indicators import`, so that every worker of a service
can tell of it, and what it costs it costs itself. What is stored stays stored, whatever ends it; an import
that is begun again goes on where it was, and a file that is uploaded twice adds nothing.
"""

from __future__ import annotations

import fcntl
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import msgspec

from indicia.errors import InputError, NotFound, TooManyRequests
from indicia.live.scans import FREE, Phase, is_held, named, reap, take
from indicia.model import Quotas

KEPT = timedelta(days=7)
"""How long what came of an import can be looked at."""
MOST = 50
"""Imports of a tenant that are kept; the oldest that has ended goes first."""
UNFINISHED = 3
"""Imports of a tenant that run or wait."""
_STEP = 1 << 20
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asked for."""

    name: str
    """Of the file, as its sender calls it."""
    size: int
    """Of the file, in bytes."""
    by: str
    made_at: datetime
    definition_id: int
    definition: str
    """Its title then."""
    function: str
    """For all rows; empty: the rows say it."""
    format: str
    """Empty: found by its look."""
    source: str
    subdomains: bool
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class Told:
    """A row that could not be used, or of which something is to be known."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """How far an import is, and what came of it."""

    phase: Phase = Phase.WAITING
    fault: str = ""
    format: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None
    read: int = 0
    """Bytes of the file."""
    rows: int = 0
    skipped: int = 0
    """Rows that an earlier, interrupted one had stored."""
    added: int = 0
    known: int = 0
    """Rows whose indicator was there already."""
    faults: int = 0
    warnings: int = 0
    reported: int = 0
    """Lines of the report."""
    broken: bool = False
    """The file breaks off; what came before is in."""
    first: list[Told] = field(default_factory=list)
    """The first rows that could not be used."""


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a tenant."""

    id: str
    folder: Path
    asked: Asked
    state: State

    @property
    def report(self) -> Path:
        """The rows that could not be used or are to be known, as CSV; it need not be there."""
        return self.folder / "report.csv"


class Imports:
    """The imports of a home; any number of processes may have one."""

    def __init__(self, home: Path, url: str) -> None:
        self._home = home
        self._url = url
        self._folder = home / "imports"

    def begin(self, tenant: str, asked: Asked, content: BinaryIO) -> Import:
        """Keep a file and import it; its size is found here. TooManyRequests, InputError."""
        folder, file = self._place(tenant)
        try:
            with file:
                size = self._copy(content, file)
            whole = replace(asked, name=named(asked.name), size=size)
            return self._start(Import(folder.name, folder, whole, State()), tenant)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

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
            if coming + sum(not one.state.phase.is_over for one in mine) >= UNFINISHED:
                words = f"{UNFINISHED} imports of this tenant run or wait; wait until one has ended"
                raise TooManyRequests(words, retry_after=10)
            ended = [one for one in reversed(mine) if one.state.phase.is_over]
            for old in ended[: max(0, len(mine) - MOST + 1)]:
                shutil.rmtree(old.folder, ignore_errors=True)
            (self._folder / tenant).mkdir(mode=0o700, exist_ok=True)
            folder = self._folder / tenant / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            file = (folder / "upload").open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            return folder, file

    def again(self, one: Import, tenant: str, by: str) -> None:
        """Go on with one that was stopped, cancelled or has failed. InputError."""
        if not one.state.phase.is_over:
            raise InputError("this import still runs")
        if not (one.folder / "upload").exists():
            raise InputError("the file of this import is gone; upload it again, what is in is known")
        asked = replace(one.asked, by=by, made_at=datetime.now(UTC))
        self._start(replace(one, asked=asked, state=State()), tenant)

    def every(self, tenant: str) -> list[Import]:
        """Those of a tenant, newest first."""
        found = [one for folder in self._folders(tenant) if (one := _read(folder)) is not None]
        return sorted(found, key=lambda one: (one.asked.made_at, one.id), reverse=True)

    def one(self, tenant: str, number: str) -> Import:
        """One of a tenant; NotFound."""
        found = _read(self._folder / tenant / number) if _ID.fullmatch(number) else None
        if found is None:
            raise NotFound(f"there is no such import; what came of one is kept for {KEPT.days} days")
        return found

    def cancel(self, one: Import) -> None:
        """Have it end soon; what is stored stays."""
        (one.folder / "cancel").touch(mode=0o600)

    def tidy(self) -> None:
        """Delete what is too old."""
        for tenant in self._folder.iterdir() if self._folder.is_dir() else ():
            for folder in self._folders(tenant.name):
                with suppress(FileNotFoundError):  # somebody deletes it at this moment
                    old = datetime.now(UTC).timestamp() - folder.stat().st_mtime
                    if old > KEPT.total_seconds() and not is_held(folder / "lock"):
                        shutil.rmtree(folder, ignore_errors=True)

    def _folders(self, tenant: str) -> Iterator[Path]:
        place = self._folder / tenant
        if place.is_dir():
            yield from (path for path in place.iterdir() if _ID.fullmatch(path.name))

    def _copy(self, content: BinaryIO, file: BinaryIO) -> int:
        size = 0
        if shutil.disk_usage(self._home).free < FREE:
            raise InputError("there is too little room for it on the disk of the service")
        while data := content.read(_STEP):
            size += len(data)
            file.write(data)
        if not size:
            raise InputError("the file is empty", target="file")
        return size

    def _start(self, one: Import, tenant: str) -> Import:
        """Its process, which holds the lock from its first moment on."""
        with (one.folder / "lock").open("ab") as lock:
            take(lock)
            for name in ("cancel", "report.csv"):
                (one.folder / name).unlink(missing_ok=True)
            write(one.folder / "asked.json", one.asked)
            write(one.folder / "state.json", one.state)
            command = [sys.executable, "-m", "indicia.live.importer", self._url, str(self._home), tenant]
            process = subprocess.Popen(  # noqa: S603 - our own
                [*command, str(one.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
            )
        # It ends when this end of the pipe is closed, which is when the service goes away.
        threading.Thread(target=reap, args=(process,), name="import", daemon=True).start()
        return one


def write(path: Path, what: Asked | State) -> None:
    """As JSON, so that who reads it meanwhile sees the old or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(what))
    fresh.replace(path)


def asked_of(folder: Path) -> Asked:
    """What was asked of the import of a folder."""
    return msgspec.json.decode((folder / "asked.json").read_bytes(), type=Asked)


def _read(folder: Path) -> Import | None:
    """The import of a folder as it stands; None where there is none (any more)."""
    try:
        asked = asked_of(folder)
        # Asked before the state is read: a process writes its last word and then lets go.
        alive = is_held(folder / "lock")
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None
    if not state.phase.is_over and not alive:
        state = replace(state, phase=Phase.STOPPED)
    return Import(folder.name, folder, asked, state)

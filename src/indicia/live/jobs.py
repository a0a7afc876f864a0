"""Work on files that people bring: a row of the store for each, a process for each, and what came of it.

A job is in the store (`store.jobs`), so every process of every host can tell of it, cancel and delete it; its
files are where `live.contents` says. Some host takes it (`live.runner`) and has a process work on it
(`live.work`), which has bounds for memory and time, and ends with its service; then another one takes it, or
the same one later. After ATTEMPTS it has failed: a file that kills its process does not go round for ever.
`live.scans` and `live.imports` are the two kinds.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, TypeVar

import msgspec

from indicia.errors import InputError, NotFound, StoreError, TooLarge, TooManyRequests
from indicia.live import contents
from indicia.live.contents import PIECE
from indicia.store import UPLOAD, KeptJob, NewJob, Phase, TenantStore

NAME_LIMIT = 200
LEASE = 20.0
"""Seconds for which a job is held; who lives renews it in good time, see RENEWAL."""
RENEWAL = 4.0
"""Seconds between two renewals: a writer of a file may wait 15 s for its turn."""
ATTEMPTS = 3
"""How often one is taken before it has failed."""
LEFT = 3600.0
"""Seconds for which a folder stays that no row tells of: it may be of another version, or another store."""
_ID = re.compile(r"[0-9a-f]{16}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\!]+")


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
    """Why it has failed."""
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
    asked: A
    state: S
    kept: KeptJob
    contents: contents.Contents

    def read(self, name: str, begin: int = 0) -> Iterator[bytes]:
        """A result from a byte on, as far as it is there."""
        return self.contents.read(self.kept, name, begin)


J = TypeVar("J", bound=Job[Any, Any])


class Jobs(Generic[J]):
    """A tenant's jobs of one kind; any number of processes may have one."""

    word: ClassVar[str]
    """What one is called."""
    kind: ClassVar[str]
    """What they are called: in the store, and as a folder of the home."""
    process: ClassVar[str]
    """The module that works on one."""
    running: ClassVar[int]
    """How many work at once on a host, the others wait."""
    kept: ClassVar[timedelta]
    """How long what came of one can be looked at, and its file is kept."""
    most: ClassVar[int]
    """Jobs of a tenant that are kept; the oldest that has ended goes first."""
    unfinished: ClassVar[int]
    """Jobs of a tenant that run or wait."""
    made: type[J]
    asked: type[Asked]
    state: type[State]

    def __init__(self, home: Path, tenant: TenantStore) -> None:
        self.tenant = tenant
        self.contents = contents.of(home, self.kind, tenant)
        self._rows = tenant.jobs

    def keep(self, content: BinaryIO, limit: int, asked: Callable[[int], Asked]) -> J:
        """Keep a file and have it worked on; `asked` is given its size.

        TooLarge beyond `limit` bytes, TooManyRequests, InputError for an empty file or no room.
        """
        key, lease, now = secrets.token_hex(8), token(), asked(0)
        new = NewJob(key, lease, socket.gethostname(), now.name, now.by, now.made_at)
        gone = self._rows.add(self.kind, new, LEASE, unfinished=self.unfinished, most=self.most)
        if gone is None:
            raise self._too_many()
        for old in gone:
            self._forget(old)
        try:
            size = self._bring(key, lease, content, limit)
            last = {"phase": Phase.WAITING, "asked": encoded(asked(size)), "state": encoded(self.state())}
            self._held(self._rows.put(self.kind, key, lease, LEASE, last))
        except BaseException:  # whatever it was, half a file is no use
            with suppress(StoreError):  # who went away has no lease in a while
                self._rows.delete(self.kind, key)
            self._forget(key)
            raise
        return self.one(key)

    def again(self, one: J, **changes: object) -> None:
        """Begin it once more, asked for with these changes.

        InputError while it runs, or without its file, TooManyRequests.
        """
        if not self.contents.has(one.kept, UPLOAD):
            raise InputError(f"the file of this {self.word} is gone; send it again")
        now = datetime.now(UTC)
        asked, state = encoded(replace(one.asked, made_at=now, **changes)), encoded(self.state())
        began = self._rows.begin_again(self.kind, one.id, asked, state, now, self.unfinished)
        if began is None:
            raise self._too_many()
        if not began:
            raise InputError(f"this {self.word} still runs; wait until it has ended, or cancel it")

    def every(self) -> list[J]:
        """All of them, newest first."""
        return [one for row in self._rows.every(self.kind) if (one := self._readable(row)) is not None]

    def one(self, key: str) -> J:
        """One of them; NotFound."""
        row = self._rows.find(self.kind, key) if _ID.fullmatch(key) else None
        found = None if row is None else self._readable(row)
        if found is None:
            days = self.kept.days
            raise NotFound(
                f"there is no such {self.word}; what came of one is kept for {days} day{'s' * (days != 1)}"
            )
        return found

    def cancel(self, one: J) -> None:
        """Have it end soon; what it has stored stays stored."""
        ended = replace(one.state, phase=Phase.CANCELLED, ended_at=datetime.now(UTC))
        self._rows.cancel(self.kind, one.id, encoded(ended))

    def delete(self, one: J) -> None:
        """Forget what came of it, and its file; one that runs ends."""
        self._rows.delete(self.kind, one.id)
        self._forget(one.id)

    def tidy(self) -> None:
        """Delete what is too old, and what somebody left in the home who was killed."""
        for old in self._rows.tidy(self.kind, datetime.now(UTC) - self.kept):
            self._forget(old)
        folder = self.contents.folder
        folders = [path for path in folder.iterdir() if _ID.fullmatch(path.name)] if folder.is_dir() else []
        tables = [table for path in folders for table in path.iterdir()] if self._rows.shared else []
        # Read last: what is made from now on is not looked at.
        leases = self._rows.leases(self.kind)
        left = [path for path in folders if path.name not in leases and self._is_left(path)]
        left += [path for path in tables if leases.get(path.parent.name, path.name) != path.name]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)

    def take(self, lease: str) -> J | None:
        """One that waits, or has nobody any more, for a process of this host; None where there is none.

        One that was taken too often has failed, and is passed over.
        """
        while (row := self._rows.take(self.kind, lease, socket.gethostname(), LEASE)) is not None:
            one = self._readable(row)
            if one is None:  # or it would hold up all others
                self._rows.put(self.kind, row.key, lease, LEASE, {"phase": Phase.FAILED})
                continue
            if row.attempts <= ATTEMPTS:
                return one
            self.fail(
                one,
                f"its process went away {ATTEMPTS} times before it had ended, as one that the system kills "
                "for want of memory; send a part of the file, or see the service's log",
            )
        return None

    def hold(self, one: J) -> None:
        """Renew its lease, where it is still ours. StoreError."""
        self._rows.put(self.kind, one.id, one.kept.lease, LEASE)

    def fail(self, one: J, fault: str) -> None:
        """No process will end it; where another one has it by now, that is none of ours."""
        self.contents.clear(one.kept)
        with suppress(NotFound):  # it was deleted
            now = self.one(one.id).state
            state = replace(now, phase=Phase.FAILED, fault=fault, ended_at=datetime.now(UTC))
            last = {"phase": Phase.FAILED, "state": encoded(state)}
            self._rows.put(self.kind, one.id, one.kept.lease, LEASE, last)

    def give_back(self, one: J, *, counted: bool) -> None:
        """Its process is no more; where that has not said its last word, another one takes the job."""
        self.contents.clear(one.kept)
        self._rows.give_back(self.kind, one.id, one.kept.lease, counted=counted)

    def _readable(self, row: KeptJob) -> J | None:
        """The job of a row; None where another version wrote what this one does not know."""
        try:
            return self.of_row(row)
        except msgspec.MsgspecError:
            return None

    def of_row(self, row: KeptJob) -> J:
        """The job of a row."""
        asked = msgspec.json.decode(row.asked, type=self.asked)
        state = replace(msgspec.json.decode(row.state, type=self.state), phase=row.phase)
        return self.made(row.key, asked, state, row, self.contents)

    def _bring(self, key: str, lease: str, content: BinaryIO, limit: int) -> int:
        """Keep what comes, piece by piece; its size."""
        size, held = 0, time.monotonic()
        while data := content.read(PIECE):
            if size + len(data) > limit:
                raise TooLarge(
                    f"the file is larger than {limit // 1024:,} KiB; compress it, or send parts of it"
                )
            pieces = self.contents.bring(key, size, data, limit)
            size += len(data)
            if pieces or time.monotonic() - held > RENEWAL:
                self._held(self._rows.put(self.kind, key, lease, LEASE, pieces=pieces))
                held = time.monotonic()
        if not size:
            raise InputError("the file is empty", target="file")
        return size

    def _held(self, held: bool) -> None:
        if not held:
            raise StoreError("the file came too slowly, and was given up; send it again", retry_after=1)

    def _too_many(self) -> TooManyRequests:
        return TooManyRequests(
            f"{self.unfinished} {self.kind} of this tenant run or wait; cancel one, "
            "or wait until one has ended",
            retry_after=10,
        )

    def _is_left(self, path: Path) -> bool:
        """Whether nobody needs a folder that is of no job."""
        age = time.time() - path.stat().st_mtime
        # An earlier version kept all of a job there, and may run beside this one.
        if (path / "asked.json").exists():
            return age > self.kept.total_seconds()
        return not (path / UPLOAD).exists() or age > LEFT

    def _forget(self, key: str) -> None:
        shutil.rmtree(self.contents.folder / key, ignore_errors=True)


def token() -> str:
    """A word for a lease, which nobody had before."""
    return secrets.token_hex(8)


def encoded(what: Asked | State) -> str:
    """As it is kept."""
    return msgspec.json.encode(what).decode()


def named(name: str) -> str:
    """A file's name without folders and what steers a terminal; detections name the file so."""
    last = re.split(r"[/\\]", name)[-1]
    clean = _UNSEEN.sub("_", last.encode("utf-8", "replace").decode())[:NAME_LIMIT].strip()
    return clean if clean.strip(".") else "upload"

"""Where the files of jobs are: what somebody brought, and what came of it.

    HOME/<kind>/<tenant>/<job>/upload          the file itself
                               <lease>/…       results, of who works under that lease

Where one host has the store, they stay in its home. Where hosts share a store, they are in it, in pieces, so
that each of them can work on a job and show what comes of it; the folder of a lease then is but the table of
who works, and is cleared with it. A lease has a folder of its own, so what a process writes that has lost its
lease is read by nobody.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from indicia.errors import InputError
from indicia.store import UPLOAD, KeptJob, Piece, TenantStore

FREE = 512 * 1024 * 1024
"""Bytes that an upload leaves free on the disk."""
PIECE = 1 << 20
"""Bytes of a piece at the most."""
AT_ONCE = 8
"""Pieces of one transaction at the most."""


class Contents(Protocol):
    """The files of a tenant's jobs of a kind."""

    folder: Path
    """Of the jobs, a folder each."""

    def bring(self, key: str, position: int, data: bytes, limit: int) -> list[Piece]:
        """Keep a part of what somebody brings, at most a piece, or give it to be kept with the job.

        InputError where there is no room for a file of `limit` bytes.
        """

    def fetch(self, job: KeptJob, size: int, between: Callable[[], None]) -> Path:
        """The file that was brought, on this host. InputError where it is gone, or there is no room.

        Where it is copied, `between` is called before each piece, and may raise.
        """

    def grown(self, job: KeptJob, sent: dict[str, int]) -> list[Piece]:
        """What results have grown by that is to be kept with the job, which has `sent` bytes of each."""

    def read(self, job: KeptJob, name: str, begin: int) -> Iterator[bytes]:
        """A result from a byte on, as far as it is there."""

    def has(self, job: KeptJob, name: str) -> bool:
        """Whether there is anything of a file."""

    def drop_upload(self, job: KeptJob) -> None:
        """Delete the file that was brought."""

    def clear(self, job: KeptJob) -> None:
        """Whoever worked under the job's lease has ended."""


def of(home: Path, kind: str, tenant: TenantStore) -> Contents:
    """Those of a tenant's jobs."""
    folder = home / kind / tenant.uid
    return InStore(folder, tenant) if tenant.jobs.shared else InHome(folder)


class InHome:
    """Files of the home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bring(self, key: str, position: int, data: bytes, limit: int) -> list[Piece]:
        """Keep it in the folder; see `Contents`."""
        if position % (64 * PIECE) == 0:
            _need_room(self.folder, limit // 8)
        with (made(self.folder / key) / UPLOAD).open("ab") as file:
            file.write(data)
        return []

    def fetch(self, job: KeptJob, size: int, between: Callable[[], None]) -> Path:
        """It is here."""
        path = self.folder / job.key / UPLOAD
        if not path.exists():
            raise InputError("the file is gone; send it again")
        return path

    def grown(self, job: KeptJob, sent: dict[str, int]) -> list[Piece]:
        """They are where they are read."""
        return []

    def read(self, job: KeptJob, name: str, begin: int) -> Iterator[bytes]:
        """As the file is."""
        path = self.folder / job.key / job.lease / name
        if job.lease and path.exists():
            with path.open("rb") as file:
                file.seek(begin)
                while data := file.read(PIECE):
                    yield data

    def has(self, job: KeptJob, name: str) -> bool:
        """Whether the file is there."""
        return (self.folder / job.key / (job.lease if name != UPLOAD else "") / name).exists()

    def drop_upload(self, job: KeptJob) -> None:
        """Unlink it."""
        (self.folder / job.key / UPLOAD).unlink(missing_ok=True)

    def clear(self, job: KeptJob) -> None:
        """Results stay."""


class InStore:
    """Pieces in the store."""

    def __init__(self, folder: Path, tenant: TenantStore) -> None:
        self.folder = folder
        self._jobs = tenant.jobs

    def bring(self, key: str, position: int, data: bytes, limit: int) -> list[Piece]:
        """It is kept with the job."""
        return [Piece(UPLOAD, position, data)]

    def fetch(self, job: KeptJob, size: int, between: Callable[[], None]) -> Path:
        """Copy it to the table."""
        path = self._table(job) / UPLOAD
        _need_room(self.folder, size)
        with path.open("wb") as file:
            for data in self.read(job, UPLOAD, 0):
                between()
                file.write(data)
        if path.stat().st_size != size:
            raise InputError("the file is gone; send it again")
        return path

    def grown(self, job: KeptJob, sent: dict[str, int]) -> list[Piece]:
        """What lies on the table beyond what was sent."""
        pieces: list[Piece] = []
        for path in sorted(self._table(job).iterdir()):
            if path.name == UPLOAD:
                continue
            with path.open("rb") as file:
                position = sent.get(path.name, 0)
                file.seek(position)
                while len(pieces) < AT_ONCE and (data := file.read(PIECE)):
                    pieces.append(Piece(path.name, position, data))
                    position += len(data)
        return pieces

    def read(self, job: KeptJob, name: str, begin: int) -> Iterator[bytes]:
        """Piece by piece."""
        while data := self._jobs.read(job.number, name, begin):
            yield data
            begin += len(data)

    def has(self, job: KeptJob, name: str) -> bool:
        """Whether there is a piece."""
        return self._jobs.holds(job.number, name)

    def drop_upload(self, job: KeptJob) -> None:
        """Delete its pieces."""
        self._jobs.drop_upload(job.number)

    def clear(self, job: KeptJob) -> None:
        """Clear the table."""
        shutil.rmtree(self.folder / job.key / job.lease, ignore_errors=True)

    def _table(self, job: KeptJob) -> Path:
        return made(self.folder / job.key / job.lease)


def made(folder: Path) -> Path:
    """The folder, made where it is not there, for its owner alone."""
    while not folder.is_dir():
        made(folder.parent)
        with suppress(FileNotFoundError):  # who clears up was quicker
            folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _need_room(folder: Path, size: int) -> None:
    if shutil.disk_usage(made(folder)).free < FREE + size:
        raise InputError("there is too little room for it on the disk of the service")

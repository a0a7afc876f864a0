"""How far a scan came, in a file of its own, so that it goes on after any end, `kill -9` included.

    {"scan": 1, "asked": {…}, "fixed": {…}}                            what was asked
    {"pieces": […], "found": […], "tally": {…}, "place": 8192}         since the line before: what is kept
    …

A line is written when everything that it names is kept for good: detections are committed to the store, or
flushed to the disk up to `place` bytes of the file that they are saved to. It counts when its line feed is
there. So what is in the journal is kept; what is not is done again and, by the ids in it, kept once.

A piece is known by file, place in it, size, time of change and inode, never by its number, so that a file
that has changed since is scanned anew, and one that is new is scanned too.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from indicia.errors import InputError, MalformedFile
from indicia.model import Severity
from indicia.telemetry import Source

FORMAT = 1

Key = tuple[str | int, ...]
Asked = Mapping[str, Any]
"""What must be the same for a scan to go on: JSON."""


class Found(NamedTuple):
    """A detection as a scan remembers it."""

    id: str
    alert_id: str
    severity: Severity
    raises: bool
    withheld: bool
    indicator: str
    """By which a limit counts."""
    silenced: bool = False
    """Whether an allow-list has it silent, although it raises by itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """What has been kept since the line before."""

    pieces: Mapping[Key, int]
    """Pieces that are done, with the lines that each has."""
    found: tuple[Found, ...]
    tally: Mapping[str, int]
    """Whatever the scan counts, up to the last piece that is done."""
    place: int
    """Bytes of the saved file that count; 0 without one."""


def key_of(piece: Source) -> Key | None:
    """By what a piece is known again; None: it cannot be, as standard input."""
    if piece.path is None or piece.mark is None:
        return None
    return (piece.name, str(piece.path.absolute()), piece.start, piece.size or 0, *piece.mark)


class Journal:
    """The journal of one scan. Made by `begin` or `resume`; `end` removes it.

    While it is open no other process can go on with it. Raises InputError where it cannot be read or written.
    """

    def __init__(self, path: Path, asked: Asked, fixed: Asked) -> None:
        self.path = path
        self.resumed = False
        self.pieces: dict[Key, int] = {}
        self.found: list[Found] = []
        """Of the runs before; who has read them may clear them."""
        self.tally: dict[str, int] = {}
        self.place = 0
        self.lost: InputError | None = None
        """Why nothing can be noted."""
        self.fixed = dict(fixed)
        """What the first run made of what was asked, as the moment that `7d` ago was."""
        self._asked = dict(asked)
        self._descriptor = -1

    @classmethod
    def begin(cls, path: Path, asked: Asked, fixed: Asked, *, now: bool) -> Journal:
        """A new one in place of an old one; `now`: its file is there at once, else with its first line."""
        made = cls(path, asked, fixed)
        made._open(os.O_RDWR | (os.O_CREAT if now else 0))
        if made._descriptor >= 0:
            os.ftruncate(made._descriptor, 0)
            made._head()
        return made

    @classmethod
    def resume(cls, path: Path, asked: Asked, fixed: Asked) -> Journal | None:
        """The one that is there; None where there is none. Raises InputError where it was asked otherwise."""
        made = cls(path, asked, fixed)
        made._open(os.O_RDWR)
        if made._descriptor < 0:
            return None
        try:
            made._read()
        except BaseException:
            made.close()
            raise
        return made

    def keep(self, line: Line) -> None:
        """Note what is kept; returns when that is on the disk.

        Where the file is made only now and cannot be, the scan goes on and `lost` says why.
        """
        if self.lost is not None:
            return
        if self._descriptor < 0:
            try:
                self._open(os.O_RDWR | os.O_CREAT)
            except InputError as error:
                self.lost = error
                return
            self._head()
        pieces = [[*key, lines] for key, lines in line.pieces.items()]
        self._write({"pieces": pieces, "found": line.found, "tally": dict(line.tally), "place": line.place})

    def end(self) -> None:
        """The scan is whole: nothing is left to go on with."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it to the next run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self, flags: int) -> None:
        """Open and lock; no descriptor where there is no such file and none is to be made."""
        try:
            if flags & os.O_CREAT:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, flags, 0o600)
            # A lock of the process: workers that outlive it for a moment do not hold it.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return
        except BlockingIOError:
            self.close()
            raise InputError("another process does this very scan", place=str(self.path)) from None
        except OSError as error:
            self.close()
            raise InputError(f"cannot be written: {error.strerror}", place=str(self.path)) from None

    def _head(self) -> None:
        self._write({"scan": FORMAT, "asked": self._asked, "fixed": self.fixed})

    def _write(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", place=str(self.path)) from None

    def _read(self) -> None:
        """Take in what is there, and go on behind its last whole line."""
        good = 0
        # Not closed: to close any descriptor of a file gives up the lock.
        with os.fdopen(self._descriptor, "rb", closefd=False) as file:
            for data in file:
                if not data.endswith(b"\n"):
                    break
                try:
                    line = json.loads(data)
                    self._take(line, first=good == 0)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise MalformedFile(
                        f"is no journal of a scan ({type(error).__name__}); scan without --resume",
                        place=str(self.path),
                    ) from None
                good += len(data)
        os.ftruncate(self._descriptor, good)
        os.lseek(self._descriptor, good, os.SEEK_SET)
        if not good:
            self._head()
        self.resumed = True

    def _take(self, line: dict[str, Any], *, first: bool) -> None:
        if first:
            if line["scan"] != FORMAT:
                raise ValueError("another format")
            self._compare(line["asked"])
            self.fixed = line["fixed"]
            return
        for *key, lines in line["pieces"]:
            self.pieces[tuple(key)] = int(lines)
        self.found += _found(line["found"])
        self.tally = line["tally"]
        self.place = int(line["place"])

    def _compare(self, before: dict[str, Any]) -> None:
        for name in {*before, *self._asked}:
            if before.get(name) != self._asked.get(name):
                raise InputError(
                    f"the interrupted scan cannot go on: {name} was {before.get(name)!r} and is "
                    f"{self._asked.get(name)!r} now; scan without --resume",
                    place=str(self.path),
                )


def _found(rows: Iterable[list[Any]]) -> list[Found]:
    return [
        Found(id_, alert, Severity(severity), bool(raises), bool(withheld), indicator, bool(silenced))
        for id_, alert, severity, raises, withheld, indicator, silenced in rows
    ]

"""`file:` a file of JSON lines, one for each message.

    indicia outputs add lines file:///var/log/indicia/alerts.ndjson

Lines are appended and are on the disk (fsync) before they count as delivered. The file is opened anew for
each batch, so whoever renames it away (logrotate without copytruncate) finds all of it there, and the next
line begins a new file. After a kill what was written already is recognised by its `MessageId` and not written
again, and a line that breaks off is completed. The file is made with mode 0600; one that is there keeps its
mode. Another writer must not write to it.

    rotate    bytes beyond which it is renamed to NAME.TIME, 67108864 unless given; 0 never
    keep      how many of those that were renamed stay, 8 unless given; older ones are deleted
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from indicia.errors import InvalidValue
from indicia.messages import Delivery, Message, Outcome
from indicia.outputs.given import Given

TAIL = 4 * 1024 * 1024
"""Bytes at the end that are looked at after a start for what was written already."""
_OWN = b'{"MessageId":"'
_ID = re.compile(rb'^\{"MessageId":"([0-9a-z-]{32,40})"', re.MULTILINE)
_RENAMED = re.compile(r"\.\d{8}T\d{12}Z")


class File:
    """Appends to one file."""

    most = 500

    def __init__(self, given: Given) -> None:
        given.only("rotate", "keep")
        text = given.target.partition(":")[2]
        host, slash, rest = text.removeprefix("//").partition("/") if text.startswith("//") else ("", "/", "")
        path = f"/{rest}" if text.startswith("//") else text
        self.path = Path(unquote(path))
        if host not in ("", "localhost") or not slash or not self.path.is_absolute() or "\0" in unquote(path):
            raise InvalidValue("must be file:///FOLDER/NAME with the whole path", target="Target")
        self.shown = given.target
        self._rotate = given.number("rotate", 64 * 1024 * 1024, 0, 1 << 40)
        self._keep = given.number("keep", 8, 0, 10_000)
        self._written: set[str] | None = None
        """Ids at the end of the file as a start found it."""

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """Append all of them, or none."""
        try:
            self._append(messages)
        except OSError as error:
            fault = f"{self.path} cannot be written: {error.strerror or error}"
            return [Delivery(messages[0], Outcome.LATER, fault)]
        return [Delivery(message, Outcome.DELIVERED) for message in messages]

    def close(self) -> None:
        """Nothing is kept open."""

    def _append(self, messages: Sequence[Message]) -> None:
        number = self._opened()
        try:
            if self._written is None:
                self._written = self._ids(number)
            lines = b"".join(
                message.body.encode() + b"\n" for message in messages if message.id not in self._written
            )
            before = os.fstat(number).st_size
            start = self._begin(number, before)
            try:
                _write_all(number, start + lines)
                os.fsync(number)
            except OSError:
                # A part of a batch would be written a second time with the whole.
                with suppress(OSError):
                    os.ftruncate(number, before)
                raise
            size = os.fstat(number).st_size
        finally:
            os.close(number)
        if self._rotate and size > self._rotate:
            self._rename()

    def _opened(self) -> int:
        """The file, made if need be, which nobody has renamed meanwhile; locked until it is closed."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        while True:
            number = os.open(self.path, flags, 0o600)
            try:
                found = os.fstat(number)
                if not stat.S_ISREG(found.st_mode):
                    raise OSError(None, "it is no regular file")
                fcntl.flock(number, fcntl.LOCK_EX)
                if not found.st_size:
                    _sync_folder(self.path.parent)
                with suppress(FileNotFoundError):
                    there = self.path.stat()
                    if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                        return number
            except BaseException:
                os.close(number)
                raise
            os.close(number)

    def _ids(self, number: int) -> set[str]:
        """What is at the end of the file, and of the one that was renamed last."""
        found = _tail(number)
        if len(found) < TAIL and (renamed := self._renamed()):
            with suppress(OSError), renamed[-1].open("rb") as file:
                found = _tail(file.fileno()) + b"\n" + found
        # A line that breaks off was not written: `_begin` cuts it off.
        whole = found[: found.rfind(b"\n") + 1]
        return {one.decode() for one in _ID.findall(whole)}

    def _begin(self, number: int, size: int) -> bytes:
        """What is to be written first, so that a line begins; a broken one of our own is cut off."""
        if not size or os.pread(number, 1, size - 1) == b"\n":
            return b""
        last = _tail(number).rpartition(b"\n")[2]
        if not last.startswith(_OWN[: len(last)]):
            return b"\n"
        os.ftruncate(number, size - len(last))
        return b""

    def _rename(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        self.path.rename(self.path.with_name(f"{self.path.name}.{stamp}"))
        renamed = self._renamed()
        for old in renamed[: len(renamed) - self._keep]:
            old.unlink(missing_ok=True)
        _sync_folder(self.path.parent)

    def _renamed(self) -> list[Path]:
        """Those that were renamed, the oldest first."""
        name = self.path.name
        return sorted(
            path
            for path in self.path.parent.iterdir()
            if path.name.startswith(name) and _RENAMED.fullmatch(path.name[len(name) :])
        )


def _tail(number: int) -> bytes:
    size = os.fstat(number).st_size
    return os.pread(number, TAIL, max(0, size - TAIL))


def _write_all(number: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(number, view) :]


def _sync_folder(folder: Path) -> None:
    """So that a new name is still there after a loss of power."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""Where bytes come from: files, folders, globs, zip archives and standard input, decompressed while read.

Compressed bytes are known by their first ones, whatever the name says (`inflate`); a zip archive stands for
its members (`archives`).
"""

from __future__ import annotations

import glob
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from indicia.errors import InputError
from indicia.telemetry import archives, inflate

if TYPE_CHECKING:
    from indicia.telemetry.records import Part

_THREADED = 1 << 18
"""Compressed bytes from which on a thread is worth its start."""


class Change(Enum):
    """What happened to a file while it was read."""

    GREW = "grew"
    """What was read is what it held when it was found."""
    OTHER = "changed"
    """Rewritten, cut or replaced: nobody knows what was read."""


@lru_cache(maxsize=256)
def _stem(name: str) -> str:
    return Path(name).name.split(".", 1)[0]


@dataclass(frozen=True)
class Source:
    """One file or stream of telemetry."""

    name: str
    """As detections name it: the path that was given, or what a folder holds below it."""
    path: Path | None = None
    """None: standard input."""
    size: int | None = None
    """Bytes as they lie on disk; None where nobody knows."""
    start: int = 0
    """Where a piece of a file begins; it has `size` bytes."""
    part: Part | None = None
    """How a piece is to be read; None: this is all of it."""
    mark: tuple[int, int, int] | None = None
    """Size, time of change and inode of a file when it was found."""
    member: archives.Member | None = None
    """What of an archive this is; None: `path` is no archive."""
    fault: str | None = None
    """Why it cannot be read, where that is known already; `open` tells."""
    held: bytes | None = field(default=None, repr=False)
    """The bytes themselves, where they lie in memory and in no file."""

    def change(self) -> Change | None:
        """What became of the file since it was found: nothing, more at its end, or another file."""
        if self.path is None or self.mark is None:
            return None
        now = _mark(self.path)
        if now == self.mark:
            return None
        grown = now is not None and now[0] > self.mark[0] and now[2] == self.mark[2]
        return Change.GREW if grown else Change.OTHER

    @property
    def stem(self) -> str:
        """The file's name up to its first dot: what names the path of a Zeek line in no other way."""
        return _stem(self.member.name if self.member is not None else self.name)

    def open(self, progress: Callable[[int], None] | None = None) -> io.BufferedReader[Any]:
        """The bytes, decompressed; `progress` hears how many bytes of the disk were read since last.

        What is no piece, not compressed and in a regular file can be read in any order. Raises InputError
        with the name where it cannot be opened. Reading raises OSError where compressed data is damaged or
        has no end, after what came before that was given.
        """
        meter = _Meter(progress)
        outer: _Counted | inflate.Inflated = _Counted(self._raw(), self._bound(), meter, self._stop())
        stream: io.BufferedReader[Any] = io.BufferedReader(outer, inflate.BLOCK)
        ahead = self.path is not None and (self.size or 0) >= _THREADED
        if self.member is not None:
            found = archives.unpacked(stream, self.member)
            outer = inflate.Inflated(stream, found, "zip", taken=meter.taken, ahead=ahead)
            stream = io.BufferedReader(outer, inflate.BLOCK)
        if self.part is None and (form := inflate.form_of(stream.peek(10)[:10])):
            found = inflate.blocks(stream, form)
            outer = inflate.Inflated(stream, found, form, taken=meter.taken, ahead=ahead)
            stream = io.BufferedReader(outer, inflate.BLOCK)
        # Told in the thread of who reads, whichever thread reads the disk.
        outer.heard = meter.tell
        meter.tell()
        return stream

    def _raw(self) -> IO[bytes]:
        if self.fault is not None:
            raise InputError(self.fault, place=self.name)
        if self.held is not None:
            return io.BytesIO(self.held)
        if self.path is None:
            return sys.stdin.buffer
        try:
            file = self.path.open("rb", buffering=0)
            if self.member is not None:
                archives.begin(file, self.member)
            elif self._bound() is not None:
                file.seek(self.start)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", place=self.name) from None
        return file

    def _bound(self) -> int | None:
        """How many bytes of the file are ours; None: all of them."""
        if self.member is not None:
            return self.member.size
        return self.size if self.part is not None and self.part.rows is None else None

    def _stop(self) -> int | None:
        """Where a file ended when it was found: one that grows must not keep a scan for ever.

        What says that it holds nothing may be a file of the kernel, which is read to its end.
        """
        return self.mark[0] or None if self.mark is not None else None


def is_compressed(head: bytes) -> bool:
    """Whether these first bytes are of a form that `Source.open` decompresses."""
    return inflate.form_of(head) is not None


class _Meter:
    """Bytes read from the disk, and who hears of them."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self.read = 0
        self._told = 0

    def taken(self) -> int:
        """All of them."""
        return self.read

    def tell(self) -> None:
        """Of those since the last call."""
        new = self.read - self._told
        if new and self._progress is not None:
            self._told += new
            self._progress(new)


class _Counted(io.RawIOBase):
    """Counts what is read, and stops where a piece ends."""

    def __init__(self, raw: IO[bytes], left: int | None, meter: _Meter, stop: int | None) -> None:
        self._raw = raw
        self._left = left
        self._stop = stop
        self._meter = meter
        self.heard: Callable[[], None] = lambda: None
        """Called whenever something was read."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._left is None and self._raw is not sys.stdin.buffer and self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("seek")
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell() if self.seekable() else self._meter.read

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left is not None:
            buffer = buffer[: self._left]
        elif self._stop is not None:
            buffer = buffer[: max(0, self._stop - self._raw.tell())]
        if isinstance(self._raw, io.FileIO):
            size = self._raw.readinto(buffer) or 0
        else:  # a pipe gives what has come
            data = (
                self._raw.read1(len(buffer))
                if isinstance(self._raw, io.BufferedReader)
                else self._raw.read(len(buffer))
            )
            size = len(data)
            buffer[:size] = data
        self._meter.read += size
        if self._left is not None:
            self._left -= size
        self.heard()
        return size

    def close(self) -> None:
        if not self.closed and self._raw is not sys.stdin.buffer:
            self._raw.close()
        super().close()


def sources(paths: Sequence[str]) -> list[Source]:
    """Files, folders with all below them, globs, `-`; a file that two paths name comes once, a zip archive as
    its members.

    Of a folder, in the order of names: what begins with a dot, links to folders, and what is no file
    (sockets, pipes) is left out. A pipe that is named itself is read. What below a folder cannot be looked
    into is a source whose `fault` says why. Raises InputError that names what is not there.
    """
    found, seen = list[Source](), set[str]()
    for given in paths:
        if given == "-":
            found += [] if given in seen else [Source("-")]
            seen.add(given)
            continue
        try:
            for path in _expand(given):
                place = path if isinstance(path, Path) else path.name
                real = os.path.realpath(place)
                if real not in seen:
                    found += _sources_of(path) if isinstance(path, Path) else [path]
                seen.add(real)
        except OSError as error:
            place = error.filename if isinstance(error.filename, str) else given
            raise InputError(f"cannot be read: {error.strerror}", place=place) from None
    return found


def _sources_of(path: Path) -> Iterator[Source]:
    """The file, or the members of the archive that it is."""
    mark = _mark(path)
    if mark is None or not archives.is_archive(path):
        yield Source(str(path), path, mark[0] if mark is not None else None, mark=mark)
        return
    try:
        for member in archives.members(path):
            name = f"{path}!{member.name}"
            yield Source(name, path, member.size, mark=mark, member=member, fault=member.fault)
    except ValueError as error:
        yield Source(str(path), path, mark[0], mark=mark, fault=str(error))


def _mark(path: Path) -> tuple[int, int, int] | None:
    """None for what is no file (any more)."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _expand(given: str) -> Iterator[Path | Source]:
    """Files, and what cannot be looked into as sources that say so."""
    path = Path(given)
    if path.is_dir():
        below = _sorted_below(path)
        if not below:
            raise InputError("the folder holds no files", place=given)
        yield from below
    elif path.exists():
        yield path
    elif matched := sorted(filter(_is_there, glob.glob(given, recursive=True))):  # noqa: PTH207 - hidden stay out
        for name in matched:
            yield from _sorted_below(Path(name)) if Path(name).is_dir() else (Path(name),)
    else:
        raise InputError("there is no such file, folder or glob", place=given)


def _is_there(name: str) -> bool:
    return Path(name).exists()  # a link may lead nowhere


def _sorted_below(folder: Path) -> list[Path | Source]:
    return sorted(_below(folder), key=lambda one: one if isinstance(one, Path) else Path(one.name))


def _below(folder: Path) -> Iterator[Path | Source]:
    lost: list[Source] = []
    for place, folders, names in os.walk(folder, onerror=lambda error: lost.append(_lost(error, folder))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            try:
                if not name.startswith(".") and path.is_file():
                    yield path
            except OSError as error:  # of a folder whose names can be read, and nothing else
                lost.append(_lost(error, path))
    yield from lost


def _lost(error: OSError, otherwise: Path) -> Source:
    path = Path(error.filename) if isinstance(error.filename, str) else otherwise
    return Source(str(path), path, 0, fault=f"cannot be read: {error.strerror or error}")

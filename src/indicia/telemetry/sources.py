"""Where bytes come from: files, folders, globs and standard input, decompressed as they are read.

`.gz` and `.zst` are known by their first bytes, whatever the name says: several members or frames behind one
another are one stream, and what lies before a damage is still given.
"""

from __future__ import annotations

import glob
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import zstandard

from indicia.errors import InputError

if TYPE_CHECKING:
    from indicia.telemetry.records import Part

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 2 to 4 of a zstd frame that holds no data (pzstd begins with one)."""
_SLICE = 512
"""Compressed bytes that are taken at once: even of a bomb they give no more than 16 MiB."""
_WINDOW = 1 << 27
"""The largest window of a zstd frame, in bytes: what `zstd --long` writes."""


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

    def has_changed(self) -> bool:
        """Whether the file is another one now, or has grown or shrunk, since it was found."""
        return self.path is not None and self.mark is not None and self.mark != _mark(self.path)

    @property
    def stem(self) -> str:
        """The file's name up to its first dot: what names the path of a Zeek line in no other way."""
        return Path(self.name).name.split(".", 1)[0]

    def open(self, progress: Callable[[int], None] | None = None) -> io.BufferedReader:
        """The bytes, decompressed; `progress` hears how many bytes of the disk were read since last.

        Raises InputError with the name where it cannot be opened. Reading raises OSError where compressed
        data is damaged or has no end, after everything before that was given.
        """
        try:
            raw: IO[bytes] = sys.stdin.buffer if self.path is None else self.path.open("rb", buffering=0)
            if self.start:
                raw.seek(self.start)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", place=self.name) from None
        left = None if self.part is None else self.size
        counted: io.BufferedReader = io.BufferedReader(_Counted(raw, progress, left), 1 << 20)
        if self.part is not None:
            return counted
        head = counted.peek(4)[:4]
        if not is_compressed(head):
            return counted
        if head.startswith(_GZIP):
            return io.BufferedReader(_Inflated(counted, "gzip", lambda: zlib.decompressobj(31)), 1 << 20)
        frames = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return io.BufferedReader(_Inflated(counted, "zstd", frames.decompressobj), 1 << 20)


def is_compressed(head: bytes) -> bool:
    """Whether these first bytes are of a form that `Source.open` decompresses."""
    return (
        head.startswith(_GZIP) or head[:4] == _ZSTD or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F)
    )


class _Member(Protocol):
    """What zlib and zstandard give for one gzip member or zstd frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _Inflated(io.RawIOBase):
    """Compressed bytes as they were before; memory stays bounded whatever they expand to."""

    def __init__(self, raw: io.BufferedReader, form: str, member: Callable[[], _Member]) -> None:
        self._raw = raw
        self._form = form
        self._make = member
        self._member = member()
        self._begun = False
        self._left = b""
        self._ready = bytearray()
        self._damage: OSError | None = None
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while len(self._ready) < len(buffer) and not self._ended:
            try:
                self._take()
            except (OSError, zlib.error, zstandard.ZstdError) as error:
                self._damage = OSError(f"damaged {self._form} data: {error}")
                self._ended = True
        if not self._ready and self._damage is not None:
            raise self._damage
        given = min(len(buffer), len(self._ready))
        buffer[:given] = self._ready[:given]
        del self._ready[:given]
        return given

    def _take(self) -> None:
        """One slice of input, of a new member where the last one has ended."""
        data = self._left or self._raw.read(_SLICE)
        self._left = b""
        if self._member.eof:
            data = data.lstrip(b"\0") if self._form == "gzip" else data  # padding of tapes
            if data:
                self._member, self._begun = self._make(), False
        if data:
            self._begun = True
            self._ready += self._member.decompress(data)
            self._left = self._member.unused_data
        elif not self._raw.peek(1):
            self._ended = True
            if self._begun and not self._member.eof:
                raise OSError("it ends in the middle")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Counted(io.RawIOBase):
    """Tells how much was read, and stops where a piece ends."""

    def __init__(self, raw: IO[bytes], progress: Callable[[int], None] | None, left: int | None) -> None:
        self._raw = raw
        self._progress = progress
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left is not None:
            buffer = buffer[: self._left]
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
        if self._left is not None:
            self._left -= size
        if self._progress is not None and size:
            self._progress(size)
        return size

    def close(self) -> None:
        if not self.closed and self._raw is not sys.stdin.buffer:
            self._raw.close()
        super().close()


def sources(paths: Sequence[str]) -> list[Source]:
    """Files, folders with all below them, globs, `-`; a file that two paths name comes once.

    Of a folder, in the order of names: what begins with a dot, links to folders, and what is no file
    (sockets, pipes) is left out. A pipe that is named itself is read. Raises InputError that names what is
    not there or cannot be read.
    """
    found: dict[str, Source] = {}
    for given in paths:
        if given == "-":
            found["-"] = Source("-")
            continue
        try:
            for path in _expand(given):
                mark = _mark(path)
                size = mark[0] if mark is not None else None
                found.setdefault(os.path.realpath(path), Source(str(path), path, size, mark=mark))
        except OSError as error:
            place = error.filename if isinstance(error.filename, str) else given
            raise InputError(f"cannot be read: {error.strerror}", place=place) from None
    return list(found.values())


def _mark(path: Path) -> tuple[int, int, int] | None:
    """None for what is no file (any more)."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _expand(given: str) -> Iterator[Path]:
    path = Path(given)
    if path.is_dir():
        below = sorted(_below(path))
        if not below:
            raise InputError("the folder holds no files", place=given)
        yield from below
    elif path.exists():
        yield path
    elif matched := sorted(filter(_is_there, glob.glob(given, recursive=True))):  # noqa: PTH207 - hidden stay out
        for name in matched:
            yield from sorted(_below(Path(name))) if Path(name).is_dir() else (Path(name),)
    else:
        raise InputError("there is no such file, folder or glob", place=given)


def _is_there(name: str) -> bool:
    return Path(name).exists()  # a link may lead nowhere


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and (path := Path(place, name)).is_file():
                yield path


def _refuse(error: OSError) -> None:
    raise error

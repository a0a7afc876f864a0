"""Where bytes come from: files, folders, globs and standard input, decompressed as they are read.

`.gz` and `.zst` are known by their first bytes, whatever the name says.
"""

from __future__ import annotations

import glob
import gzip
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from indicia.errors import InputError

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SUFFIXES = (".gz", ".zst")


@dataclass(frozen=True)
class Source:
    """One file or stream of telemetry."""

    name: str
    """As detections name it: the path that was given, or what a folder holds below it."""
    path: Path | None = None
    """None: standard input."""
    size: int | None = None
    """Bytes as they lie on disk; None where nobody knows."""

    @property
    def stem(self) -> str:
        """The file's name up to its first dot: what names the path of a Zeek line in no other way."""
        return Path(self.name).name.split(".", 1)[0]

    def open(self, progress: Callable[[int], None] | None = None) -> BinaryIO:
        """The bytes, decompressed; `progress` hears how many bytes of the disk were read since last.

        Raises InputError with the name where it cannot be opened.
        """
        try:
            raw: IO[bytes] = sys.stdin.buffer if self.path is None else self.path.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", place=self.name) from None
        counted = io.BufferedReader(_Counted(raw, progress), 1 << 20)
        head = counted.peek(4)[:4]
        if head.startswith(_GZIP):
            return io.BufferedReader(gzip.GzipFile(fileobj=counted), 1 << 20)
        if head == _ZSTD:
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            stream = reader.stream_reader(counted, read_across_frames=True, closefd=True)
            return io.BufferedReader(stream, 1 << 20)
        return counted


class _Counted(io.RawIOBase):
    """Tells how much was read."""

    def __init__(self, raw: IO[bytes], progress: Callable[[int], None] | None) -> None:
        self._raw = raw
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        if self._progress is not None and data:
            self._progress(len(data))
        return len(data)

    def close(self) -> None:
        if not self.closed and self._raw is not sys.stdin.buffer:
            self._raw.close()
        super().close()


def sources(paths: Sequence[str]) -> list[Source]:
    """Files, folders with all below them (sorted), globs, `-`; a file that two paths name comes once.

    Raises InputError that names what is not there.
    """
    found: dict[str, Source] = {}
    for given in paths:
        if given == "-":
            found["-"] = Source("-")
            continue
        for path in _expand(given):
            found.setdefault(str(path.resolve()), Source(str(path), path, path.stat().st_size))
    return list(found.values())


def _expand(given: str) -> Iterator[Path]:
    path = Path(given)
    if path.is_dir():
        below = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        if not below:
            raise InputError("the folder holds no files", place=given)
        yield from below
    elif path.exists():
        yield path
    elif matched := sorted(glob.glob(given, recursive=True)):
        for name in matched:
            yield from _expand(name) if Path(name).is_dir() else (Path(name),)
    else:
        raise InputError("there is no such file, folder or glob", place=given)

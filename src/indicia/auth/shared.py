"""A bounded memory that processes share: what one of them has noted, all of them know at once.

It is made before the processes are forked. A mark has its place in one of many small rows; in a full row the
value with the lowest rank gives way. The system releases the lock of a process that is killed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

MARK = 16
"""Bytes of a mark; the rest of a longer one is not looked at."""
VALUE = 16
"""Bytes of a value at the most."""
WAYS = 8
"""Places of a row."""
_PLACE = struct.Struct(f"={MARK}s{VALUE}sd")
_ROW = WAYS * _PLACE.size
_FREE = bytes(MARK)


@dataclass(frozen=True, slots=True)
class Kept:
    """A value; `rank` says what gives way to others first, and is more than 0."""

    value: bytes
    rank: float


class Counts(Protocol):
    """What `Shared` does, wherever it is kept."""

    def __len__(self) -> int: ...

    def find(self, mark: bytes) -> Kept | None:
        """What is kept under a mark."""

    def change(self, mark: bytes, become: Callable[[Kept | None], Kept | None]) -> Kept | None:
        """Put what `become` makes of the value in its place, nobody comes between; None forgets it."""


class Shared:
    """At most `size` values under marks (digests); safe to use from several threads and processes."""

    def __init__(self, size: int) -> None:
        self._rows = max(1, size // WAYS)
        self._file = os.memfd_create("indicia")
        os.ftruncate(self._file, self._rows * _ROW)
        self._bytes = mmap.mmap(self._file, self._rows * _ROW)
        self._turn = threading.Lock()

    def __del__(self) -> None:
        os.close(self._file)

    def __len__(self) -> int:
        marks = (mark for mark, _, _ in _PLACE.iter_unpack(self._bytes[:]))
        return sum(mark != _FREE for mark in marks)

    def find(self, mark: bytes) -> Kept | None:
        """What is kept under a mark."""
        return self.change(mark, lambda kept: kept)

    def change(self, mark: bytes, become: Callable[[Kept | None], Kept | None]) -> Kept | None:
        """Put what `become` makes of the value in its place, nobody comes between; None forgets it."""
        mark = mark[:MARK]
        row = int.from_bytes(mark[:8], "big") % self._rows
        with self._alone(row):
            places = [
                (*_PLACE.unpack_from(self._bytes, row * _ROW + at * _PLACE.size), at) for at in range(WAYS)
            ]
            found = next((place for place in places if place[0] == mark), None)
            before = Kept(found[1], found[2]) if found else None
            after = become(before)
            if after != before:
                at = (found or min(places, key=lambda place: place[2]))[3]
                content = (mark, after.value, after.rank) if after else (_FREE, b"", 0.0)
                _PLACE.pack_into(self._bytes, row * _ROW + at * _PLACE.size, *content)
            return after

    @contextmanager
    def _alone(self, row: int) -> Iterator[None]:
        # The lock of the file keeps other processes out, but not other threads of this one.
        with self._turn:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, row)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)

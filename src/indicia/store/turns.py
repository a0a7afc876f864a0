"""What one process does for all: the one that has the turn, of those that share a store.

    turn = store.turn("outputs")
    if turn.take(): ...            mine now, or still mine
    if turn.holds(): ...           asked before each thing that nobody else may do meanwhile

Beside a store in a file the turn is a lock of another file, which the system gives back however the process
ends. On a server it is a lock of a session on a connection of its own (`postgres.SessionTurn`): the server
gives it back when that connection ends, and whoever lost it is told so by `holds`. No clock is asked.
"""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import IO, Protocol

from indicia.errors import StoreError


class Turn(Protocol):
    """Safe for several threads."""

    @property
    def patience(self) -> float:
        """Seconds that who took it waits: so long another one may yet note what it did while it had it."""

    def take(self) -> bool:
        """Whether it is ours; taken where nobody has it. StoreError."""

    def holds(self) -> bool:
        """Whether it is still ours, without taking it."""

    def close(self) -> None:
        """Give it back."""


class FileTurn:
    """A lock of a file, between the processes of one machine."""

    patience = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Whether it is ours; taken where nobody has it. StoreError where its file cannot be made."""
        with self._guard:
            if self._file is not None:
                return True
            try:
                file = self._path.open("ab")
            except OSError as error:
                raise StoreError(f"{self._path}: {error.strerror}") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
            self._file = file
            return True

    def holds(self) -> bool:
        """Whether it is ours: nobody takes it away."""
        return self._file is not None

    def close(self) -> None:
        """Give it back."""
        with self._guard:
            if self._file is not None:
                self._file.close()
                self._file = None

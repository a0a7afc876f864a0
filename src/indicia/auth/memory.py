"""A bounded memory: what was found out once, under a digest, until it is forgotten or pushed out."""

from __future__ import annotations

import hashlib
import threading
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """At most `size` values; the oldest goes first. Safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[bytes, Value] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def find(self, mark: bytes) -> Value | None:
        """What is remembered under `mark`, or None."""
        return self._values.get(mark)

    def put(self, mark: bytes, value: Value) -> None:
        """Remember `value`, and forget the oldest where there is no room."""
        with self._lock:
            self._values.pop(mark, None)
            self._keep(mark, value)

    def forget(self, mark: bytes) -> None:
        """Know nothing of `mark` any more."""
        with self._lock:
            self._values.pop(mark, None)

    def _keep(self, mark: bytes, value: Value) -> None:
        while len(self._values) >= self._size:
            self._values.pop(next(iter(self._values)))
        self._values[mark] = value


def mark_of(text: str) -> bytes:
    """The digest under which a text is remembered: SHA-256, so that the memory itself holds no token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

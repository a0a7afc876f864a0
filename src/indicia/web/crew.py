"""What the worker processes of one service have in common; made before they are forked.

Services of several hosts count what somebody has tried in their store instead (`over`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from indicia.auth.assertions import CLOCK_SKEW, LONGEST_SECONDS, Assertions
from indicia.auth.attempts import Attempts
from indicia.auth.shared import Kept
from indicia.store import Marks, Store
from indicia.web.metrics import Board


@dataclass(frozen=True)
class Crew:
    """Memory that they share, and which of them this one is."""

    board: Board = field(default_factory=Board)
    attempts: Attempts = field(default_factory=Attempts)
    sign_ins: Attempts = field(default_factory=Attempts)
    """Of people; `attempts` are those of applications."""
    assertions: Assertions = field(default_factory=Assertions)
    number: int = 0

    def over(self, store: Store) -> Self:
        """The same, but what must be counted over all hosts of a store that has several is in that store."""
        if not store.shared:
            return self
        return replace(
            self,
            attempts=Attempts(time.time, InStore(store.marks("attempts", 0))),
            sign_ins=Attempts(time.time, InStore(store.marks("sign-ins", 0))),
            assertions=Assertions(used=InStore(store.marks("assertions", LONGEST_SECONDS + 2 * CLOCK_SKEW))),
        )


@dataclass(frozen=True, slots=True)
class InStore:
    """Marks of the store as `auth` counts (`shared.Counts`)."""

    marks: Marks

    def __len__(self) -> int:
        return len(self.marks)

    def find(self, mark: bytes) -> Kept | None:
        """What is kept under a mark. StoreError."""
        return _kept(self.marks.find(mark))

    def change(self, mark: bytes, become: Callable[[Kept | None], Kept | None]) -> Kept | None:
        """As `Shared.change`. StoreError."""

        def after(before: tuple[bytes, float] | None) -> tuple[bytes, float] | None:
            kept = become(_kept(before))
            return None if kept is None else (kept.value, kept.rank)

        return _kept(self.marks.change(mark, after))


def _kept(value: tuple[bytes, float] | None) -> Kept | None:
    return None if value is None else Kept(*value)

"""Bad lines on stderr: each with file and line, the first ones in full, all of them counted."""

from __future__ import annotations

from dataclasses import dataclass

from indicia.cli.show import complain

SHOWN = 20
"""Of each kind; the rest is only counted."""


@dataclass
class Faults:
    """Faults of one kind, as `malformed lines`."""

    kind: str
    shown: int = SHOWN
    count: int = 0

    def __call__(self, place: str, line: int, reason: str) -> None:
        """One more; `line` 0 where there is none."""
        self.count += 1
        if self.count <= self.shown:
            complain(f"{place}:{line}: {reason}" if line else f"{place}: {reason}")

    def close(self) -> None:
        """Say how many were not shown."""
        if self.count > self.shown:
            complain(f"and {self.count - self.shown:,} more {self.kind}")

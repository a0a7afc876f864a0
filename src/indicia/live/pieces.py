"""What a watched source gives: whole lines, with what is needed to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from indicia.telemetry import Source
from indicia.telemetry.records import Form, Part


class Places(Protocol):
    """Numbers of lines."""

    def __getitem__(self, at: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Some whole lines of a source."""

    name: str
    """Of the source, as detections name it."""
    data: bytes
    form: Form = Form.LINES
    header: bytes = b""
    """Lines of the beginning of the file that are needed to read these, and that are not among them."""
    lines: int = 0
    """Of the source, before these."""
    places: Places | None = None
    """Of each of these lines its number in the source, where they do not count on."""
    refused: Callable[[int, str], None] | None = None
    """Is to hear of lines of `source` that are no events, and why; else the watch tells."""

    @property
    def source(self) -> Source:
        """As telemetry reads it."""
        part = Part(self.form) if self.form in (Form.JSON, Form.LINES) else None
        return Source(self.name, part=part, held=self.header + self.data)

    def line(self, number: int) -> int:
        """The number in the source of a line of `source`."""
        if self.places is not None:
            return self.places[number - 1]
        return number + self.lines - self.header.count(b"\n")

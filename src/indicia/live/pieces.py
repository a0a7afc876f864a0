"""What a watched source gives: whole lines, with what is needed to read them."""

from __future__ import annotations

from dataclasses import dataclass

from indicia.telemetry import Source
from indicia.telemetry.records import Form, Part


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

    @property
    def source(self) -> Source:
        """As telemetry reads it."""
        part = Part(self.form) if self.form in (Form.JSON, Form.LINES) else None
        return Source(self.name, part=part, held=self.header + self.data)

    def line(self, number: int) -> int:
        """The number in the source of a line of `source`."""
        return number + self.lines - self.header.count(b"\n")

"""What a message says, taken apart for receivers that do not take its JSON as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from indicia.messages import Message
from indicia.model import IndicatorType

MACHINE = "Machine"
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Told:
    """A message, and the alert or detection in it as the API gives it; of a test it is empty."""

    message: Message
    body: Mapping[str, Any]
    noun: str
    """`Alert`, `Detection`, or empty."""
    about: Mapping[str, Any]

    @classmethod
    def of(cls, message: Message) -> Told:
        """From its JSON."""
        body = json.loads(message.body)
        noun = next((name for name in ("Alert", "Detection") if name in body), "")
        return cls(message, body, noun, body.get(noun, {}))

    @property
    def title(self) -> str:
        """Of the definition."""
        storm = "Storm: " if self.about.get("Storm") else ""
        return storm + str(self.about.get("Title", "Test of an output of Indicia"))

    @property
    def severity(self) -> str:
        """Of the definition."""
        return str(self.about.get("Severity", "Informational"))

    @property
    def machine(self) -> str:
        """As the alert names it; empty for a storm, which is on many."""
        return "" if self.about.get("Storm") else str(self.about.get(MACHINE, ""))

    @property
    def values(self) -> Sequence[str]:
        """Of the indicators."""
        if self.noun == "Detection":
            return [str(self.about["Value"])]
        return [str(value) for value in self.about.get("Indicators", ())]

    @property
    def type(self) -> IndicatorType | None:
        """Of the indicator of a detection."""
        return IndicatorType(self.about["Type"]) if self.noun == "Detection" else None

    @property
    def summary(self) -> str:
        """In one sentence."""
        if not self.noun:
            return self.title
        where = f" on {self.machine}" if self.machine else ""
        count = f", {self.about['DetectionCount']} detections" if self.noun == "Alert" else ""
        return f"{self.message.sent}: {self.title}{where}{count} ({', '.join(self.values)})"

    def time(self, name: str) -> datetime | None:
        """A time of what it is about."""
        text = self.about.get(name)
        return None if text is None else datetime.fromisoformat(text)


def one_line(text: str) -> str:
    """The text without what ends a line or speaks to a terminal: a space stands in."""
    return _HARMFUL.sub(" ", text)

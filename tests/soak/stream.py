"""Events that follow from a seed, and what all of them make of a store at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia.live import compiled
from indicia.live.following import Following
from indicia.live.intake import Intake
from indicia.model import DetectionFunction
from indicia.store import TenantStore
from stored import add, indicator

START = datetime(2024, 3, 12, tzinfo=UTC)
MACHINES = 50
NAMES = 10
SHARE = 20
"""Of so many events one meets an indicator."""
POSTED = 2000
"""Events of the largest request."""


@dataclass(frozen=True)
class Stream:
    """Events that follow from a seed."""

    seed: int
    events: int
    each: int = 0
    """With so many events another machine begins, so that alerts open until the end; 0: all on MACHINES."""

    def hits(self, number: int) -> bool:
        """Whether an event meets an indicator."""
        return self._dice(number) % SHARE == 0

    def _dice(self, number: int) -> int:
        return (number * 2654435761 + self.seed * 40503) % 4294967291

    def line(self, number: int) -> bytes:
        """One of them."""
        dice = self._dice(number)
        name = f"host-{dice // SHARE % NAMES}.example" if dice % SHARE == 0 else "other.example"
        event = {
            "@timestamp": (START + timedelta(seconds=dice % 259_200)).isoformat(),
            "event": {"id": str(number)},
            "host": {"name": f"pc-{number // self.each if self.each else dice // 7 % MACHINES}"},
            "dns": {"question": {"name": f"n{number}.{name}"}},
        }
        return json.dumps(event).encode() + b"\n"

    def lines(self, numbers: range) -> bytes:
        """Some of them."""
        return b"".join(self.line(number) for number in numbers)


def furnish(tenant: TenantStore, others: int = 0) -> None:
    """A definition with the names that some events hold, and so many others that none holds."""
    owner, below = add(tenant), DetectionFunction.SUBDOMAIN_OF
    tenant.add_indicators([indicator(owner, number, function=below) for number in range(NAMES)], "x")
    if others:
        more = (indicator(owner, 1_000_000 + number) for number in range(others))
        for _ in tenant.import_indicators(owner.id, more, "x", key="others"):
            pass


def undisturbed(tenant: TenantStore, stream: Stream, folder: Path) -> dict[str, object]:
    """What all events make at once."""
    made = folder / "indexes"
    intake = Intake(Following(tenant, made, lambda: compiled.make(tenant, made)), "events")
    for begin in range(0, stream.events, POSTED):
        intake.feed(stream.lines(range(begin, min(begin + POSTED, stream.events))))
    taken = intake.end()
    assert (taken.accepted, taken.malformed) == (stream.events, 0)
    return outcome(tenant)


def outcome(tenant: TenantStore) -> dict[str, object]:
    """What the events made of a store: each alert with its counts and times, and how much there is."""
    counts = tenant.counts()
    found: dict[str, object] = {"detections": counts.detections, "alerts": counts.alerts}
    for alert in tenant.alerts(limit=10_000):
        found[alert.id] = alert.machine, alert.detection_count, alert.first_seen, alert.last_seen
    return found

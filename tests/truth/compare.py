"""Truth and ours, place by place; every difference has to find the rule that explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from indicia.model import Role
from truth.lines import Place, Truth
from truth.ours import Found


class Only(StrEnum):
    """Whose the difference is."""

    TRUTH = "truth only"
    OURS = "ours only"


@dataclass(frozen=True)
class Difference:
    """A place that only one of the two names."""

    only: Only
    place: Place
    truth: Truth | None = None
    found: Found | None = None
    event: str = ""
    """The event's own text, as it lies in its file."""

    @property
    def matched(self) -> str:
        """The text as the event spells it, as far as its side tells."""
        if self.found:
            return self.found.evidence.matched
        return (self.truth.observed or self.truth.value) if self.truth else ""


@dataclass
class Comparison:
    """What two sets of places have in common, and what not."""

    truth_places: int = 0
    our_places: int = 0
    agreed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the truth's kind and our role."""
    differences: list[Difference] = field(default_factory=list)


def compare(truths: Iterable[Truth], found: Iterable[Found]) -> Comparison:
    """Both ways."""
    theirs: dict[Place, Truth] = {}
    for truth in truths:
        for place in truth.places():
            theirs.setdefault(place, truth)
    ours: dict[Place, Found] = {}
    for item in sorted(found, key=_weight):
        ours.setdefault(item.place, item)
    result = Comparison(len(theirs), len(ours))
    for place, truth in theirs.items():
        if place in ours:
            result.agreed[truth.kind, role(ours[place])] += 1
        else:
            result.differences.append(Difference(Only.TRUTH, place, truth=truth))
    result.differences += [
        Difference(Only.OURS, place, found=item) for place, item in ours.items() if place not in theirs
    ]
    return result


def _weight(found: Found) -> tuple[bool, bool]:
    """Of several pieces of evidence at one place (`san.dns[0]`, `san.dns[1]`) the strongest stands for it."""
    return found.evidence.role is Role.MENTIONED, not found.evidence.raises


def role(found: Found) -> str:
    """Our role, and whether it raises."""
    return found.evidence.role + ("" if found.evidence.raises else ", silent")

"""The written rules: why a place stands on one side only. The first rule that holds explains it.

Each is a predicate over what the difference shows (side, path, type, relation, text), never over a
file, a line or a value of the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indicia.model import IndicatorType
from truth.compare import Difference, Only


@dataclass(frozen=True)
class Rule:
    """A name, whose side it explains, a sentence for the docs, and the predicate."""

    name: str
    only: Only
    sentence: str
    holds: Callable[[Difference], bool]


def explain(difference: Difference) -> Rule | None:
    """The first rule that holds; None: unexplained, which fails the test."""
    return next((rule for rule in RULES if rule.only is difference.only and rule.holds(difference)), None)


def under_wildcard(difference: Difference) -> bool:
    """The name follows `*.` in the event."""
    return (
        difference.place.type == IndicatorType.DOMAIN_NAME and f"*.{difference.matched}" in difference.event
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "composed",
        Only.OURS,
        "A URL that stands in two fields (host and path) is put together; it, its host and its file name are "
        "evidence there, too. The truth does so for Zeek alone and lists nothing but the URL.",
        lambda difference: "+" in difference.place.path,
    ),
    Rule(
        "wildcard",
        Only.OURS,
        "`*.example.com` in a certificate is a silent mention of example.com. The truth skips such words.",
        under_wildcard,
    ),
)

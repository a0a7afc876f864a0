"""A tenant's counters and quotas: looked at before anything is written, moved in the same transaction."""

from __future__ import annotations

from sqlalchemy import Column

from indicia.errors import QuotaExceeded
from indicia.model import Quotas
from indicia.store.nouns import Counts
from indicia.store.scope import Scope
from indicia.store.tables import counters

_COLUMNS = ("definitions", "indicators", "patterns", "alerts", "detections", "generation")


def counts(scope: Scope) -> Counts:
    """What the tenant has."""
    row = scope.row(scope.select(counters))
    if row is None:
        return Counts()
    return Counts(row.definitions, row.indicators, row.patterns, row.alerts, row.detections)


def generation(scope: Scope) -> int:
    """A number that has grown with every change of definitions and indicators."""
    row = scope.row(scope.select(counters, counters.c.generation))
    return 0 if row is None else int(row[0])


def touch(scope: Scope) -> None:
    """Something that is matched has changed."""
    move(scope, generation=1)


def move(scope: Scope, **by: int) -> None:
    """Add to the counters, as `indicators=5, patterns=-1`; what is matched has changed then."""
    steps = {name: step for name, step in by.items() if step}
    if not steps:
        return
    if steps.keys() & {"definitions", "indicators", "patterns"}:
        steps["generation"] = 1
    columns: dict[str, Column[int]] = {name: counters.c[name] for name in steps}
    if not scope.update(counters, **{name: columns[name] + step for name, step in steps.items()}):
        nothing = dict.fromkeys(_COLUMNS, 0)
        scope.insert(counters, **(nothing | steps))
    if "generation" in steps:
        scope.tell()


def room_for(
    scope: Scope, quotas: Quotas, *, definitions: int = 0, indicators: int = 0, patterns: int = 0
) -> None:
    """Raise QuotaExceeded with the figures unless that many more fit."""
    check(counts(scope), quotas, definitions=definitions, indicators=indicators, patterns=patterns)


def check(
    have: Counts, quotas: Quotas, *, definitions: int = 0, indicators: int = 0, patterns: int = 0
) -> None:
    """As `room_for`, for a tenant that has so much."""
    _check("alert definitions", have.definitions, definitions, quotas.definitions)
    _check("indicators", have.indicators, indicators, quotas.indicators)
    _check("indicators with StartWith, EndWith or Contains", have.patterns, patterns, quotas.patterns)


def _check(what: str, have: int, more: int, quota: int) -> None:
    if more > 0 and have + more > quota:
        words = "1 more does not fit, and was not stored"
        if more > 1:
            words = f"{more} more do not fit, and none of these was stored"
        raise QuotaExceeded(
            f"the tenant has {have} of {quota} {what}; {words}: delete some, or ask for a larger quota"
        )

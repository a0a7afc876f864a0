"""Work on alerts: where one stands, what it turned out to be, comments, and the history of all that.

Every function works inside the transaction of its scope. What is written here stands beside what detections
make of an alert (`alerts`), which changes one thing of it: a detection in a Resolved one reopens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from indicia.errors import InvalidValue
from indicia.model import COMMENT_LIMIT, Alert, AlertChange, AlertComment, AlertStatus, Classification
from indicia.odata.entities import ALERT
from indicia.store import messages, rows
from indicia.store.scope import Scope
from indicia.store.tables import alert_changes, alert_comments, alerts

Changes = Mapping[str, object] | Callable[[Alert], Mapping[str, object]]
NAMES: Mapping[str, str] = {item.attribute: item.name for item in ALERT.properties if not item.server_set}
"""What can be changed, and what the API calls it."""
FALSE_POSITIVE: Mapping[str, object] = {
    "status": AlertStatus.RESOLVED,
    "classification": Classification.FALSE_POSITIVE,
}
SERVICE = "Indicia"
"""Who reopens alerts."""


def change(scope: Scope, before: Alert, changes: Changes, by: str) -> Alert:
    """Set attributes of one alert; a function is asked for them with the alert as it stands.

    What is as it was already is no change: neither time nor history moves.
    """
    wanted = changes(before) if callable(changes) else changes
    for name in wanted:
        if name not in NAMES:
            raise InvalidValue(f"{name} cannot be changed", target=name)
    different = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not different:
        return before
    now = rows.now()
    after = replace(before, **different, last_modified_at=now)  # type: ignore[arg-type]
    if after.status is not before.status:
        after = replace(after, resolved_at=now if after.status is AlertStatus.RESOLVED else None)
    values = rows.alert_values(after)
    written = {name: values[name] for name in (*different, "resolved_at")}
    scope.update(alerts, alerts.c.alert_id == before.id, **written, last_modified_at=rows.micros(now))
    _note(scope, before, after, by, now)
    messages.changed(scope, before, after, by, now)
    return after


def reopened(scope: Scope, pairs: Iterable[tuple[Alert, Alert]], at: datetime) -> None:
    """Note of alerts, as they were and as they are, that detections opened them again."""
    for before, after in pairs:
        _note(scope, before, after, SERVICE, at)


def comment(scope: Scope, alert: Alert, text: str, by: str) -> AlertComment:
    """Write something about an alert; InvalidValue unless it has 1 to COMMENT_LIMIT characters."""
    if not text.strip():
        raise InvalidValue("must not be empty", target="Text")
    if len(text) > COMMENT_LIMIT or not rows.storable(text):
        raise InvalidValue(f"has at most {COMMENT_LIMIT} characters of Unicode, not U+0000", target="Text")
    now = rows.now()
    number = scope.insert(
        alert_comments, alert_id=alert.id, text=text, created_at=rows.micros(now), created_by=by
    )
    return AlertComment(number, alert.id, text, now, by)


def comments(scope: Scope, alert: Alert) -> list[AlertComment]:
    """What was written about an alert, oldest first."""
    query = scope.select(alert_comments).where(alert_comments.c.alert_id == alert.id)
    return comment_nouns(scope, scope.rows(query.order_by(alert_comments.c.id)))


def history(scope: Scope, alert: Alert) -> list[AlertChange]:
    """What was changed of an alert, oldest first."""
    query = scope.select(alert_changes).where(alert_changes.c.alert_id == alert.id)
    return change_nouns(scope, scope.rows(query.order_by(alert_changes.c.id)))


def comment_nouns(_scope: Scope, found: Sequence[Any]) -> list[AlertComment]:
    """Rows of `alert_comments`."""
    return [
        AlertComment(row.id, row.alert_id, row.text, rows.when(row.created_at), row.created_by)
        for row in found
    ]


def change_nouns(_scope: Scope, found: Sequence[Any]) -> list[AlertChange]:
    """Rows of `alert_changes`."""
    return [
        AlertChange(row.id, row.alert_id, rows.when(row.at), row.by, row.property, row.before, row.after)
        for row in found
    ]


def _note(scope: Scope, before: Alert, after: Alert, by: str, at: datetime) -> None:
    for attribute, name in NAMES.items():
        old, new = getattr(before, attribute), getattr(after, attribute)
        if old != new:
            scope.insert(
                alert_changes,
                alert_id=before.id,
                at=rows.micros(at),
                by=by,
                property=name,
                before=None if old is None else str(old),
                after=None if new is None else str(new),
            )

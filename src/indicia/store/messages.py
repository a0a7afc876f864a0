"""What outputs are to be sent, put into the outbox in the transaction that makes it true.

A body is a JSON object: `MessageId`, `Sent`, `MadeAt`, `Tenant`, and the `Alert` or the `Detection` as the
API gives it at that moment; of a change also `By`, and `Before` with what was different. Where a tenant has
no output that is enabled nothing is made: one row is looked for, and only where an alert or a detection that
raises is at hand.

A message may come back as an event: a file that is watched, a syslog server whose logs are. Its id stands in
it, in every format; nobody else can know one, so an event that holds one of the tenant's is its own message,
and raises nothing while the outbox keeps that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from indicia.messages import MessageState, Sent
from indicia.model import Alert, AlertDefinition, Detection, Severity, Silenced
from indicia.odata.entities import ALERT, DETECTION
from indicia.odata.shapes import Entity
from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import outbox, outputs

PREFIX = "indicia-"
"""By which an id is found in an event, as `telemetry.events` does."""
_READ = ("id", "sends", "severity", "definition_ids")
_COLUMNS = ("output_id", "message_id", "sent", "body", "state", "attempts", "made_at")
_RANK = {str(severity): rank for rank, severity in enumerate(Severity)}


class _Receiver(NamedTuple):
    """An output as its row has it."""

    number: int
    sends: frozenset[str]
    least: int
    definition_ids: frozenset[int]

    def wants(self, sent: Sent, about: AlertDefinition) -> bool:
        """Whether it is to be sent a message of that kind about something of a definition."""
        return (
            sent in self.sends
            and _RANK[about.severity] >= self.least
            and (not self.definition_ids or about.id in self.definition_ids)
        )


def recorded(
    scope: Scope,
    tenant_uid: str,
    alerts: Mapping[Sent, Sequence[Alert]],
    raised: Sequence[Detection],
    now: datetime,
) -> None:
    """Detections that raise were stored, and alerts are as they are now because of them."""
    if not (raised or any(alerts.values())) or not (receivers := _receivers(scope)):
        return
    about = [
        (sent, found.definition, "Alert", _content(ALERT, found))
        for sent, several in alerts.items()
        for found in several
    ]
    if any(Sent.DETECTED in one.sends for one in receivers):
        about += [
            (Sent.DETECTED, found.definition, "Detection", _content(DETECTION, found, RecordedAt=now))
            for found in raised
        ]
    _put(scope, tenant_uid, receivers, about, now)


def changed(scope: Scope, before: Alert, after: Alert, by: str, now: datetime) -> None:
    """Somebody worked on an alert."""
    if receivers := _receivers(scope):
        was = {
            item.name: item.of(before)
            for item in ALERT.properties
            if not item.server_set and item.of(before) != item.of(after)
        }
        about = [(Sent.CHANGED, after.definition, "Alert", _content(ALERT, after))]
        _put(scope, after.tenant, receivers, about, now, By=by, Before=was)


def quiet(scope: Scope, found: Sequence[Detection]) -> list[Detection]:
    """Detections in messages of the tenant's own outputs as they are to be kept, the others as they are."""
    marks = {mark for detection in found if detection.raises for mark in detection.marks}
    if not marks:
        return list(found)
    query = scope.select(outbox, outbox.c.message_id)
    own = {row.message_id for row in scope.rows_in(query, outbox.c.message_id, marks)}
    return [
        replace(detection, raises=False, silenced=Silenced.OWN)
        if detection.raises and not own.isdisjoint(detection.marks)
        else detection
        for detection in found
    ]


def text(tenant_uid: str, sent: Sent, now: datetime, **more: object) -> tuple[str, str]:
    """The id and the body of a new message."""
    made = PREFIX + uuid4().hex
    head = {"MessageId": made, "Sent": sent, "MadeAt": now, "Tenant": tenant_uid}
    # In ASCII: an unpaired surrogate, which only the API lets in, has no other form that all can read.
    return made, json.dumps(head | more, default=_plain, separators=(",", ":"))


def _receivers(scope: Scope) -> list[_Receiver]:
    """The outputs of the tenant that are enabled."""
    return [
        _Receiver(
            number,
            frozenset(json.loads(sends)),
            _RANK.get(severity, 0),
            frozenset(json.loads(definition_ids)),
        )
        for number, sends, severity, definition_ids in scope.tuples(outputs, _READ, "enabled", True)
    ]


def _put(
    scope: Scope,
    tenant_uid: str,
    receivers: Sequence[_Receiver],
    about: Iterable[tuple[Sent, AlertDefinition, str, Mapping[str, object]]],
    now: datetime,
    **more: object,
) -> None:
    made = []
    for sent, definition, noun, content in about:
        wanting = [one.number for one in receivers if one.wants(sent, definition)]
        if wanting:
            key, body = text(tenant_uid, sent, now, **more, **{noun: content})
            stamp = rows.micros(now)
            made += [
                (number, key, str(sent), body, str(MessageState.WAITING), 0, stamp) for number in wanting
            ]
    scope.insert_many(outbox, _COLUMNS, made)


def _content(described: Entity, noun: object, **more: object) -> dict[str, object]:
    """An entity as the API gives it; without the number of a row that is not known here."""
    content = {item.name: item.of(noun) for item in described.properties} | more
    if not content["Id"]:
        del content["Id"]
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(type(value).__name__)

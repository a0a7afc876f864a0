"""Rows of the tables to nouns and back. Times: microseconds since 1970 UTC here, aware datetimes there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from struct import Struct
from typing import Any

from sqlalchemy import Row

from indicia import identity
from indicia.model import (
    Alert,
    AlertDefinition,
    AlertStatus,
    Category,
    Classification,
    Detection,
    DetectionFunction,
    Determination,
    Evidence,
    GroupBy,
    Indicator,
    IndicatorType,
    Role,
    Severity,
    Side,
    Silenced,
    TimeNote,
)
from indicia.store.nouns import (
    Application,
    Certificate,
    ImportState,
    Link,
    Member,
    Person,
    Secret,
    Session,
    SigningKey,
    Tenant,
)
from indicia.store.nouns import Role as MemberRole

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64 = Struct(">q").unpack

TYPES: dict[str, IndicatorType] = {str(member): member for member in IndicatorType}
FUNCTIONS: dict[str, DetectionFunction] = {str(member): member for member in DetectionFunction}
_SEVERITIES: dict[str, Severity] = {str(member): member for member in Severity}
_CATEGORIES: dict[str, Category] = {str(member): member for member in Category}
_GROUPS: dict[str, GroupBy] = {str(member): member for member in GroupBy}
SEVERITIES = tuple(Severity)
"""The number of each, as `severity_rank` has it."""
PATTERNS = frozenset({DetectionFunction.START_WITH, DetectionFunction.END_WITH, DetectionFunction.CONTAINS})
"""What the quota of patterns counts: SubdomainOf costs what Equals costs."""

DEFINITION_CONTENT = (
    "uid",
    "name",
    "title",
    "severity",
    "category",
    "internal_description",
    "ux_description",
    "recommended_action",
    "enabled",
    "group_by",
    "window_seconds",
)
INDICATOR_COLUMNS = (
    "id",
    "definition_id",
    "type",
    "value",
    "canonical",
    "canonical_key",
    "function",
    "enabled",
    "valid_from",
    "expires_at",
    "source",
    "created_at",
    "created_by",
)
_EVIDENCE = tuple(one.name for one in fields(Evidence))
_TIMES = frozenset({"valid_from", "expires_at", "created_at", "last_modified_at"})
_ENUMS = frozenset({"severity", "category", "group_by", "type", "function"})


def micros(time: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def micros_or_none(time: datetime | None) -> int | None:
    """As `micros`; None stays None."""
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def when(value: int) -> datetime:
    """The aware datetime of microseconds since 1970 UTC."""
    return _EPOCH + timedelta(microseconds=value)


def when_or_none(value: int | None) -> datetime | None:
    """As `when`; None stays None."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def now() -> datetime:
    """UTC, to the microsecond, so that what was written reads back the same."""
    return datetime.now(UTC)


def storable(text: str) -> bool:
    """Whether a text can be kept: without U+0000, which ends it for some readers, and lone surrogates."""
    return "\0" not in text and identity.clean(text) == text


def canonical_key(canonical: str) -> int:
    """A signed 64-bit digest of a canonical value: what the index of values holds."""
    number: int = _INT64(blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).digest())[0]
    return number


def column_values(changes: Mapping[str, object]) -> dict[str, object]:
    """Attributes of a noun as its columns hold them."""
    values: dict[str, object] = {}
    for name, value in changes.items():
        if name in _TIMES:
            values[name] = micros(value) if isinstance(value, datetime) else None
        else:
            values[name] = str(value) if name in _ENUMS else value
    return values


def definition_values(definition: AlertDefinition) -> dict[str, object]:
    """What a definition says, as columns; without id and stamps."""
    return column_values({name: getattr(definition, name) for name in DEFINITION_CONTENT})


def definition(row: Sequence[Any]) -> AlertDefinition:
    """A row of `definitions`."""
    return _definition(row[0], row[2:])


def snapshot(row: Sequence[Any]) -> AlertDefinition:
    """A row of `snapshots`: the definition as it was."""
    return _definition(row[3], row[4:])


def _definition(definition_id: int, columns: Sequence[Any]) -> AlertDefinition:
    """By place: what both tables have in common stands in the same order, and is last in both."""
    uid, name, title, severity, category, internal, shown, action, enabled, group_by, window, *stamps = (
        columns
    )
    made, by, at, who = stamps[:4]
    return AlertDefinition(
        uid=uid,
        name=name,
        title=title,
        severity=_SEVERITIES[severity],
        category=_CATEGORIES[category],
        id=definition_id,
        internal_description=internal,
        ux_description=shown,
        recommended_action=action,
        enabled=bool(enabled),
        group_by=_GROUPS[group_by],
        window_seconds=window,
        created_at=when(made),
        created_by=by,
        last_modified_at=when_or_none(at),
        last_modified_by=who,
    )


def snapshot_values(definition: AlertDefinition) -> dict[str, object]:
    """A definition as a row of `snapshots`, with the digest of everything in it."""
    stamps = {
        "definition_id": definition.id,
        "created_at": micros_or_none(definition.created_at) or 0,
        "created_by": definition.created_by,
        "last_modified_at": micros_or_none(definition.last_modified_at),
        "last_modified_by": definition.last_modified_by,
    }
    values = definition_values(definition) | stamps
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return values | {"digest": blake2b(text.encode(), digest_size=32).hexdigest()}


def indicator(row: Sequence[Any], owner: AlertDefinition) -> Indicator:
    """A row of `indicators` and the definition that it belongs to.

    Columns by place, what comes after them aside: by name a page of a thousand takes twice as long.
    """
    number, _, _, kind, value, canonical, _, function, enabled, start, end, source, made, by, at, who, *_ = (
        row
    )
    return Indicator(
        TYPES[kind],
        value,
        canonical,
        FUNCTIONS[function],
        owner,
        number,
        bool(enabled),
        None if start is None else _EPOCH + timedelta(microseconds=start),
        None if end is None else _EPOCH + timedelta(microseconds=end),
        source,
        _EPOCH + timedelta(microseconds=made),
        by,
        None if at is None else _EPOCH + timedelta(microseconds=at),
        who,
    )


def indicator_tuple(
    indicator: Indicator, row_id: int, definition_id: int, key: int, created_at: int, created_by: str
) -> tuple[object, ...]:
    """An indicator, with its `canonical_key`, in the order of INDICATOR_COLUMNS.

    Millions pass here: plain str and int, because sqlite3 looks for an adapter of everything else.
    """
    return (
        row_id,
        definition_id,
        str(indicator.type),
        indicator.value,
        indicator.canonical,
        key,
        str(indicator.function),
        1 if indicator.enabled else 0,
        micros_or_none(indicator.valid_from),
        micros_or_none(indicator.expires_at),
        indicator.source,
        created_at,
        created_by,
    )


def evidence_text(evidence: tuple[Evidence, ...]) -> str:
    """JSON of the evidence of a detection."""
    return json.dumps(
        [{name: getattr(piece, name) for name in _EVIDENCE} for piece in evidence],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _evidence(text: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            path=piece["path"],
            role=Role(piece["role"]),
            side=None if piece["side"] is None else Side(piece["side"]),
            matched=piece["matched"],
            raises=piece["raises"],
        )
        for piece in json.loads(text)
    )


def _texts(texts: tuple[str, ...]) -> str:
    """JSON of a list of texts, of which there are none mostly."""
    return json.dumps(texts, ensure_ascii=False) if texts else "[]"


def detection_values(detection: Detection) -> dict[str, object]:
    """A detection as a row of `detections`, without snapshot and time of recording."""
    found = detection.indicator
    return {
        "detection_id": detection.id,
        "alert_id": detection.alert_id,
        "event_id": detection.event_id,
        "raises": detection.raises,
        "source": detection.source,
        "line": detection.line,
        "event_time": micros_or_none(detection.event_time),
        "time_note": None if detection.time_note is None else str(detection.time_note),
        "machine": detection.machine,
        "schema": detection.schema,
        "window": detection.window,
        "evidence": evidence_text(detection.evidence),
        "indicator_id": found.id,
        "indicator_type": str(found.type),
        "indicator_value": found.value,
        "indicator_canonical": found.canonical,
        "indicator_function": str(found.function),
        "indicator_valid_from": micros_or_none(found.valid_from),
        "indicator_expires_at": micros_or_none(found.expires_at),
        "indicator_source": found.source,
        "silenced": None if detection.silenced is None else str(detection.silenced),
        "suppression_id": detection.suppression_id,
        "storm_id": detection.storm_id,
        "allow_list_id": detection.allow_list_id,
        "allow_lists": _texts(detection.allow_lists),
    }


def detection(row: Row[Any], owner: AlertDefinition, tenant_uid: str) -> Detection:
    """A row of `detections`, and the definition as it was."""
    return Detection(
        id=row.detection_id,
        alert_id=row.alert_id,
        event_id=row.event_id,
        raises=bool(row.raises),
        source=row.source,
        line=row.line,
        event_time=when_or_none(row.event_time),
        time_note=None if row.time_note is None else TimeNote(row.time_note),
        machine=row.machine,
        indicator=Indicator(
            type=TYPES[row.indicator_type],
            value=row.indicator_value,
            canonical=row.indicator_canonical,
            function=FUNCTIONS[row.indicator_function],
            definition=owner,
            id=row.indicator_id,
            valid_from=when_or_none(row.indicator_valid_from),
            expires_at=when_or_none(row.indicator_expires_at),
            source=row.indicator_source,
        ),
        evidence=_evidence(row.evidence),
        schema=row.schema,
        tenant=tenant_uid,
        window=row.window,
        number=row.id,
        recorded_at=when(row.recorded_at),
        silenced=None if row.silenced is None else Silenced(row.silenced),
        suppression_id=row.suppression_id,
        storm_id=row.storm_id,
        allow_list_id=row.allow_list_id,
        allow_lists=tuple(json.loads(row.allow_lists)),
    )


def alert_values(alert: Alert) -> dict[str, object]:
    """An alert as a row of `alerts`, without snapshot and stamps."""
    return {
        "alert_id": alert.id,
        "machine": alert.machine,
        "group": alert.group,
        "window": alert.window,
        "first_seen": micros_or_none(alert.first_seen),
        "last_seen": micros_or_none(alert.last_seen),
        "detection_count": alert.detection_count,
        "indicators": json.dumps(alert.indicators, ensure_ascii=False),
        "status": str(alert.status),
        "reopened_count": alert.reopened_count,
        "classification": str(alert.classification),
        "determination": str(alert.determination),
        "assigned_to": alert.assigned_to,
        "resolved_at": micros_or_none(alert.resolved_at),
        "storm": alert.storm,
        "allow_lists": _texts(alert.allow_lists),
        "severity_rank": SEVERITIES.index(alert.definition.severity),
    }


def alert(row: Row[Any], owner: AlertDefinition, tenant_uid: str) -> Alert:
    """A row of `alerts`, and the definition as it was."""
    return Alert(
        id=row.alert_id,
        definition=owner,
        machine=row.machine,
        group=row.group,
        window=row.window,
        first_seen=when_or_none(row.first_seen),
        last_seen=when_or_none(row.last_seen),
        detection_count=row.detection_count,
        indicators=tuple(json.loads(row.indicators)),
        status=AlertStatus(row.status),
        reopened_count=row.reopened_count,
        created_at=when(row.created_at),
        last_modified_at=when(row.last_modified_at),
        tenant=tenant_uid,
        number=row.id,
        classification=Classification(row.classification),
        determination=Determination(row.determination),
        assigned_to=row.assigned_to,
        resolved_at=when_or_none(row.resolved_at),
        storm=bool(row.storm),
        allow_lists=tuple(json.loads(row.allow_lists)),
    )


def tenant(row: Row[Any]) -> Tenant:
    """A row of `tenants`."""
    return Tenant(id=row.id, uid=row.uid, name=row.name, created_at=when(row.created_at))


def secret(row: Row[Any]) -> Secret:
    """A row of `secrets`."""
    return Secret(
        id=row.id,
        hash=row.hash,
        hint=row.hint,
        description=row.description,
        created_at=when(row.created_at),
        expires_at=when_or_none(row.expires_at),
        revoked_at=when_or_none(row.revoked_at),
    )


def certificate(row: Row[Any]) -> Certificate:
    """A row of `certificates`."""
    return Certificate(
        id=row.id,
        sha1=row.sha1,
        sha256=row.sha256,
        pem=row.pem,
        subject=row.subject,
        created_at=when(row.created_at),
        valid_from=when(row.valid_from),
        expires_at=when(row.expires_at),
        revoked_at=when_or_none(row.revoked_at),
    )


def application(
    row: Row[Any],
    tenant_uid: str,
    secrets: tuple[Secret, ...],
    certificates: tuple[Certificate, ...] = (),
) -> Application:
    """A row of `applications`, its secrets and certificates."""
    return Application(
        client_id=row.client_id,
        tenant_uid=tenant_uid,
        name=row.name,
        roles=tuple(json.loads(row.roles)),
        created_at=when(row.created_at),
        revoked_at=when_or_none(row.revoked_at),
        secrets=secrets,
        certificates=certificates,
    )


def signing_key(row: Row[Any]) -> SigningKey:
    """A row of `signing_keys`."""
    return SigningKey(
        kid=row.kid,
        private_pem=row.private_pem,
        created_at=when(row.created_at),
        retired_at=when_or_none(row.retired_at),
    )


def import_state(row: Row[Any]) -> ImportState:
    """A row of `imports`."""
    return ImportState(
        key=row.key,
        definition_id=row.definition_id,
        position=row.position,
        added=row.added,
        known=row.known,
        finished=bool(row.finished),
        started_at=when(row.started_at),
        last_modified_at=when(row.last_modified_at),
    )


def person(row: Row[Any]) -> Person:
    """A row of `people`."""
    return Person(uid=row.uid, name=row.name, created_at=when(row.created_at), issuer=row.issuer)


def member(row: Row[Any], seen_at: int | None = None) -> Member:
    """A row of `members` with `uid`, `name` and `issuer` of its person."""
    return Member(
        uid=row.uid,
        name=row.name,
        role=MemberRole.of(row.role),
        created_at=when(row.created_at),
        created_by=row.created_by,
        disabled_at=when_or_none(row.disabled_at),
        issuer=row.issuer,
        seen_at=when_or_none(seen_at),
    )


def session(row: Row[Any], tenant: str) -> Session:
    """A row of `sessions`."""
    return Session(
        id=row.id,
        created_at=when(row.created_at),
        seen_at=when(row.seen_at),
        expires_at=when(row.expires_at),
        address=row.address,
        agent=row.agent,
        tenant=tenant,
    )


def link(row: Row[Any], tenant: Tenant, person_uid: str | None) -> Link:
    """A row of `links`."""
    return Link(
        id=row.id,
        tenant=tenant,
        role=MemberRole.of(row.role),
        name=row.name,
        person_uid=person_uid,
        created_at=when(row.created_at),
        created_by=row.created_by,
        expires_at=when(row.expires_at),
    )

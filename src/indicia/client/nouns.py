"""The entities of the API as frozen values. Attributes are what one of them holds, fields what is asked for:
`found.value` is a text, `Indicator.Value == "evil.example"` a condition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar

from indicia import model
from indicia.client.fields import Fields, Many, Text, flag, member, number, one, texts, time
from indicia.errors import BadAnswer, InvalidValue
from indicia.model import (
    AlertStatus,
    Category,
    Classification,
    DetectionFunction,
    Determination,
    GroupBy,
    IndicatorType,
    Severity,
    Silenced,
    TimeNote,
)

N = TypeVar("N", bound=Fields)
BIND = "AlertDefinition@odata.bind"
ETAG = "@odata.etag"
DEFINITIONS = "AlertDefinitions"
INDICATORS = "IndicatorsOfCompromise"
ALERTS = "Alerts"
DETECTIONS = "Detections"
COMMENTS = "Comments"


class Stamps(Fields):
    """Who made an entity and who changed it last, and when."""

    CreatedAt = time("CreatedAt", "created_at", sent=False)
    CreatedBy = Text("CreatedBy", "created_by", sent=False)
    LastModifiedAt = time("LastModifiedAt", "last_modified_at", sent=False)
    LastModifiedBy = Text("LastModifiedBy", "last_modified_by", sent=False)


class AlertDefinitionFields(Stamps):
    """The fields of AlertDefinition."""

    Id = number("Id", "id", sent=False)
    Name = Text("Name", "name")
    Severity = member("Severity", "severity", model.Severity)
    InternalDescription = Text("InternalDescription", "internal_description")
    Title = Text("Title", "title")
    UxDescription = Text("UxDescription", "ux_description")
    RecommendedAction = Text("RecommendedAction", "recommended_action")
    Category = member("Category", "category", model.Category)
    Enabled = flag("Enabled", "enabled")
    Uid = Text("Uid", "uid", sent=False)
    GroupBy = member("GroupBy", "group_by", model.GroupBy)
    WindowSeconds = number("WindowSeconds", "window_seconds")
    IndicatorsOfCompromise = Many(INDICATORS)


class IndicatorFields(Stamps):
    """The fields of IndicatorOfCompromise."""

    Id = number("Id", "id", sent=False)
    Type = member("Type", "type", model.IndicatorType)
    Value = Text("Value", "value")
    DetectionFunction = member("DetectionFunction", "function", model.DetectionFunction)
    Enabled = flag("Enabled", "enabled")
    ExpiresAt = time("ExpiresAt", "expires_at")
    ValidFrom = time("ValidFrom", "valid_from")
    Source = Text("Source", "source")
    AlertDefinition = one(AlertDefinitionFields, "AlertDefinition")


class AsItWas(Fields):
    """The fields of a definition as it was when something matched; it may be another now, or gone."""

    Title = Text("Title", "title", sent=False)
    Severity = member("Severity", "severity", model.Severity, sent=False)
    Category = member("Category", "category", model.Category, sent=False)
    UxDescription = Text("UxDescription", "ux_description", sent=False)
    RecommendedAction = Text("RecommendedAction", "recommended_action", sent=False)
    AlertDefinitionId = number("AlertDefinitionId", "definition_id", sent=False)
    AlertDefinitionUid = Text("AlertDefinitionUid", "definition_uid", sent=False)
    AlertDefinition = one(AlertDefinitionFields, "AlertDefinition")


class AlertFields(AsItWas):
    """The fields of Alert."""

    Id = number("Id", "id", sent=False)
    AlertId = Text("AlertId", "alert_id", sent=False)
    Machine = Text("Machine", "machine", sent=False)
    Group = Text("Group", "group", sent=False)
    Window = Text("Window", "window", sent=False)
    FirstSeen = time("FirstSeen", "first_seen", sent=False)
    LastSeen = time("LastSeen", "last_seen", sent=False)
    DetectionCount = number("DetectionCount", "detection_count", sent=False)
    Indicators = texts("Indicators", "indicators")
    Status = member("Status", "status", model.AlertStatus)
    Classification = member("Classification", "classification", model.Classification)
    Determination = member("Determination", "determination", model.Determination)
    AssignedTo = Text("AssignedTo", "assigned_to")
    ResolvedAt = time("ResolvedAt", "resolved_at", sent=False)
    Storm = flag("Storm", "storm", sent=False)
    AllowLists = texts("AllowLists", "allow_lists")
    ReopenedCount = number("ReopenedCount", "reopened_count", sent=False)
    CreatedAt = time("CreatedAt", "created_at", sent=False)
    LastModifiedAt = time("LastModifiedAt", "last_modified_at", sent=False)
    Detections = Many(DETECTIONS)
    Comments = Many("Comments")
    History = Many("History")


class AlertCommentFields(Fields):
    """The fields of AlertComment."""

    Id = number("Id", "id", sent=False)
    AlertId = Text("AlertId", "alert_id", sent=False)
    CreatedAt = time("CreatedAt", "created_at", sent=False)
    CreatedBy = Text("CreatedBy", "created_by", sent=False)
    Alert = one(AlertFields, "Alert")
    Text = Text("Text", "text")  # last, because it hides the class


class DetectionFields(AsItWas):
    """The fields of Detection."""

    Id = number("Id", "id", sent=False)
    DetectionId = Text("DetectionId", "detection_id", sent=False)
    AlertId = Text("AlertId", "alert_id", sent=False)
    EventId = Text("EventId", "event_id", sent=False)
    EventTime = time("EventTime", "event_time", sent=False)
    TimeNote = member("TimeNote", "time_note", model.TimeNote, sent=False)
    RecordedAt = time("RecordedAt", "recorded_at", sent=False)
    Raises = flag("Raises", "raises", sent=False)
    Machine = Text("Machine", "machine", sent=False)
    Schema = Text("Schema", "schema", sent=False)
    Source = Text("Source", "source", sent=False)
    Line = number("Line", "line", sent=False)
    Window = Text("Window", "window", sent=False)
    IndicatorId = number("IndicatorId", "indicator_id", sent=False)
    Type = member("Type", "type", model.IndicatorType, sent=False)
    Value = Text("Value", "value", sent=False)
    DetectionFunction = member("DetectionFunction", "function", model.DetectionFunction, sent=False)
    IndicatorSource = Text("IndicatorSource", "indicator_source", sent=False)
    Evidence = texts("Evidence", "evidence")
    Silenced = member("Silenced", "silenced", model.Silenced, sent=False)
    SuppressionId = number("SuppressionId", "suppression_id", sent=False)
    StormAlertId = Text("StormAlertId", "storm_alert_id", sent=False)
    AllowListId = number("AllowListId", "allow_list_id", sent=False)
    AllowLists = texts("AllowLists", "allow_lists")
    Alert = one(AlertFields, "Alert")
    IndicatorOfCompromise = one(IndicatorFields, "IndicatorOfCompromise")


@dataclass(frozen=True, kw_only=True)
class AlertDefinition(AlertDefinitionFields):
    """What an alert shows, and the container of indicators. `id` 0: not stored yet."""

    name: str
    title: str
    severity: Severity
    category: Category
    internal_description: str = ""
    ux_description: str = ""
    recommended_action: str | None = None
    enabled: bool = True
    group_by: GroupBy = GroupBy.DEFINITION
    window_seconds: int = model.WINDOW_SECONDS
    etag: str = dataclasses.field(default="", compare=False)
    """Its version, for `if_match`; empty where the answer did not tell it, as those of lists do not."""
    id: int = 0
    uid: str = ""
    created_at: datetime | None = None
    created_by: str | None = None
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Indicator(IndicatorFields):
    """One thing to look for: type, value, function. `id` 0: not stored yet."""

    type: IndicatorType
    value: str
    function: DetectionFunction = DetectionFunction.EQUALS
    definition_id: int = 0
    """The definition that it belongs to; 0 where the answer did not tell it."""
    definition: AlertDefinition | None = None
    """There where it was asked for with `expand`."""
    enabled: bool = True
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    source: str | None = None
    etag: str = dataclasses.field(default="", compare=False)
    """Its version, as of an alert definition."""
    id: int = 0
    created_at: datetime | None = None
    created_by: str | None = None
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Alert(AlertFields):
    """Detections of one definition on one machine in one window, with the definition as it then was."""

    id: int
    """The key in the API."""
    alert_id: str
    """The permanent id, the same wherever the same is found."""
    title: str
    severity: Severity
    category: Category
    ux_description: str = ""
    recommended_action: str | None = None
    definition_id: int = 0
    definition_uid: str = ""
    machine: str
    group: str = ""
    window: str = ""
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    detection_count: int
    indicators: tuple[str, ...] = ()
    """Values that matched, at most 10."""
    status: AlertStatus
    classification: Classification = Classification.UNKNOWN
    determination: Determination = Determination.NOT_AVAILABLE
    assigned_to: str | None = None
    resolved_at: datetime | None = None
    storm: bool = False
    """Whether it stands for the alerts beyond the hourly limit of its definition."""
    allow_lists: tuple[str, ...] = ()
    """Allow-lists that know a value of its detections, with their entries."""
    reopened_count: int = 0
    created_at: datetime | None = None
    last_modified_at: datetime | None = None
    etag: str = dataclasses.field(default="", compare=False)
    """Its version, as of an alert definition."""


@dataclass(frozen=True, kw_only=True)
class AlertComment(AlertCommentFields):
    """What somebody wrote about an alert."""

    id: int
    alert_id: str
    """The permanent id of the alert."""
    text: str
    created_at: datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Detection(DetectionFields):
    """One event met one indicator."""

    id: int
    """The key in the API."""
    detection_id: str
    """The permanent id, the same wherever the same is found."""
    alert_id: str
    event_id: str
    event_time: datetime | None = None
    time_note: TimeNote | None = None
    recorded_at: datetime | None = None
    raises: bool
    machine: str
    schema: str = ""
    source: str
    line: int
    window: str = ""
    title: str
    severity: Severity
    category: Category
    ux_description: str = ""
    recommended_action: str | None = None
    definition_id: int = 0
    definition_uid: str = ""
    indicator_id: int = 0
    type: IndicatorType
    value: str
    function: DetectionFunction
    indicator_source: str | None = None
    evidence: tuple[str, ...] = ()
    """Where the event held the value, each as `query observed: beacon.example`."""
    silenced: Silenced | None = None
    """Why it opened no alert although it would have."""
    suppression_id: int | None = None
    storm_alert_id: str | None = None
    allow_list_id: int | None = None
    allow_lists: tuple[str, ...] = ()
    """Allow-lists that know the value, with their entries."""


class AlertDefinitionChanges(TypedDict, total=False):
    """What can be changed of an alert definition."""

    name: str
    title: str
    severity: Severity
    category: Category
    internal_description: str
    ux_description: str
    recommended_action: str | None
    enabled: bool
    group_by: GroupBy
    window_seconds: int


class IndicatorChanges(TypedDict, total=False):
    """What can be changed of an indicator; `definition_id` moves it."""

    type: IndicatorType
    value: str
    function: DetectionFunction
    definition_id: int
    enabled: bool
    valid_from: datetime | None
    expires_at: datetime | None
    source: str | None


class AlertChanges(TypedDict, total=False):
    """What can be changed of an alert."""

    status: AlertStatus
    classification: Classification
    determination: Determination
    assigned_to: str | None


def read(kind: type[N], raw: Any, **known: Any) -> N:
    """An entity of an answer; what it has beyond the known fields is passed over.

    `known` are attributes that the answer does not tell. Raises BadAnswer for what is no such entity.
    """
    if not isinstance(raw, Mapping):
        raise BadAnswer(f"the service's answer is no {kind.__name__}")
    held: dict[str, Any] = {}
    for name, field in kind.table().items():
        if name not in raw:
            continue
        try:
            held[field.attribute] = None if raw[name] is None else field.codec.read(raw[name])
        except (ValueError, TypeError) as error:
            raise BadAnswer(f"not understood: {error}", target=f"{kind.__name__}.{name}") from None
    if ETAG in raw and hasattr(kind, "etag"):
        held["etag"] = str(raw[ETAG])
    owner = raw.get("AlertDefinition")
    if kind is Indicator and isinstance(owner, Mapping):
        definition = read(AlertDefinition, owner)
        held |= {"definition": definition, "definition_id": definition.id}
    try:
        return kind(**{**held, **known})
    except TypeError as error:
        raise BadAnswer(f"the service's answer is no {kind.__name__}: {error}") from None


def definition_body(noun: AlertDefinition) -> dict[str, Any]:
    """As the service takes it."""
    return _body(AlertDefinition, vars(noun))


def indicator_body(noun: Indicator) -> dict[str, Any]:
    """As the service takes it, bound to its definition. Raises InvalidValue where none is named."""
    if noun.definition_id < 1:
        raise InvalidValue("is missing: say which definition the indicator is of", target="definition_id")
    return _body(Indicator, vars(noun))


def definition_changes(changes: AlertDefinitionChanges) -> dict[str, Any]:
    """The body of a PATCH. Raises InvalidValue for what cannot be changed."""
    return _changes(AlertDefinition, changes)


def indicator_changes(changes: IndicatorChanges) -> dict[str, Any]:
    """The body of a PATCH. Raises InvalidValue for what cannot be changed."""
    return _changes(Indicator, changes)


def alert_changes(changes: AlertChanges) -> dict[str, Any]:
    """The body of a PATCH. Raises InvalidValue for what cannot be changed."""
    return _changes(Alert, changes)


def comment_body(text: str) -> dict[str, Any]:
    """As the service takes it."""
    return _body(AlertComment, {"text": text})


def _changes(kind: type[Fields], changes: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {field.attribute for field in kind.table().values() if field.sent}
    if kind is Indicator:
        allowed.add("definition_id")
    unknown = changes.keys() - allowed
    if unknown:
        names = ", ".join(sorted(allowed))
        raise InvalidValue(f"cannot be changed; these can: {names}", target=min(unknown))
    return _body(kind, changes)


def _body(kind: type[Fields], held: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, field in kind.table().items():
        if field.sent and field.attribute in held:
            value = held[field.attribute]
            if value is not None and not field.codec.fits(value):
                raise InvalidValue(f"takes {field.codec.what}, not {str(value)[:80]!r}", target=name)
            content[name] = None if value is None else field.codec.write(value)
    if held.get("definition_id"):
        content[BIND] = f"{DEFINITIONS}({held['definition_id']:d})"
    return content

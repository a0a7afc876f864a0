"""The one table of what the API serves. Reading, writing and $metadata all follow it.

A property that the published service did not have is marked `extension`; so is a member of an enum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any

from indicia import model

NAMESPACE = "Indicia"
"""Namespace of the types. Actions have their own, because published calls name it: `Actions.BulkUpload`."""
ACTIONS_NAMESPACE = "Actions"
WINDOW_MINIMUM = 60
WINDOW_MAXIMUM = 31 * 86_400


class Kind(StrEnum):
    """Primitive types of OData, and ENUM for one of `ENUMS`."""

    INT64 = "Edm.Int64"
    STRING = "Edm.String"
    BOOLEAN = "Edm.Boolean"
    TIME = "Edm.DateTimeOffset"
    ENUM = "enum"
    TEXTS = "Collection(Edm.String)"


@dataclass(frozen=True, slots=True)
class Property:
    """One structural property of an entity, and the attribute of the noun that holds it."""

    name: str
    attribute: str
    """With dots where it is an attribute of an attribute."""
    kind: Kind = Kind.STRING
    enum: type[StrEnum] | None = None
    limit: int | None = None
    """Longest text, in characters."""
    blank: bool = True
    """Whether the empty text is a value."""
    bounds: tuple[int, int] | None = None
    nullable: bool = False
    server_set: bool = False
    """A value in a body is ignored: clients send back what they read."""
    default: str | bool | int | None = None
    """What an absent property means (null for a nullable one); None on one that is not: it is required."""
    aliases: tuple[str, ...] = ()
    """Other names that the published pages give it."""
    extension: bool = False
    column: str = ""
    """Where the store keeps it, if not under the attribute's name; `snapshot.` before what is kept of the
    definition as it was."""

    def of(self, noun: object) -> Any:
        """Its value in a noun."""
        return attrgetter(self.attribute)(noun)

    @property
    def stored(self) -> str:
        """Where the store keeps it."""
        return self.column or self.attribute

    @property
    def required(self) -> bool:
        """Whether a new entity must have it."""
        return not (self.server_set or self.nullable) and self.default is None


@dataclass(frozen=True, slots=True)
class Navigation:
    """A way from one entity to another."""

    name: str
    target: str
    """Name of the target's entity set."""
    many: bool
    key: str = ""
    """Where the store keeps what leads to the target, as `Property.stored`."""
    target_key: str = "id"
    """The column of the target that holds the same."""
    key_of: str = "id"
    """The attribute of the noun that is the same, with dots as in a property."""
    attribute: str | None = None
    """Attribute of the noun that holds the one target; None: the store is asked."""
    nullable: bool = False
    """Whether the one target may be gone, or was never there."""


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the `Actions` namespace, bound to an entity or to a set of them."""

    name: str
    of_set: bool
    parameter: str | None = None
    """The parameter that holds a collection of the entity."""
    switch: str | None = None
    """A parameter that is true or, like an absent one, false (extension)."""
    given: tuple[Property, ...] = ()
    """Parameters of their own, as properties are; one with a default may be absent (extension)."""
    gives: str = ""
    """The entity of which it answers a collection, unless it is the one of `parameter`."""


@dataclass(frozen=True, eq=False)
class Entity:
    """One entity type and its set."""

    name: str
    set_name: str
    noun: type
    properties: tuple[Property, ...]
    navigations: tuple[Navigation, ...]
    actions: tuple[Action, ...] = ()
    bulk: str = ""
    """The parameter of BulkUpload."""
    editable: bool = False
    """Whether one can be changed although there is no BulkUpload."""
    extension: bool = False
    by_name: Mapping[str, Property] = field(init=False)
    required: tuple[Property, ...] = field(init=False)
    key_of: Callable[[Any], int] = field(init=False)
    """The key of a noun."""
    values_of: Callable[[Any], tuple[Any, ...]] = field(init=False)
    """The values of a noun's properties, in their order."""

    def __post_init__(self) -> None:
        names = {name: item for item in self.properties for name in (item.name, *item.aliases)}
        object.__setattr__(self, "by_name", names)
        object.__setattr__(self, "required", tuple(item for item in self.properties if item.required))
        key = names.get("Id", self.properties[0])  # parameters of an action have no key
        object.__setattr__(self, "key_of", attrgetter(key.attribute))
        object.__setattr__(self, "values_of", attrgetter(*(item.attribute for item in self.properties)))

    def navigation(self, name: str) -> Navigation | None:
        """The navigation property of that name."""
        return next((item for item in self.navigations if item.name == name), None)


_STAMPS = (
    Property("CreatedAt", "created_at", Kind.TIME, nullable=True, server_set=True),
    Property("CreatedBy", "created_by", nullable=True, server_set=True),
    Property("LastModifiedAt", "last_modified_at", Kind.TIME, nullable=True, server_set=True),
    Property("LastModifiedBy", "last_modified_by", nullable=True, server_set=True),
)

ALERT_DEFINITION = Entity(
    name="AlertDefinition",
    set_name="AlertDefinitions",
    noun=model.AlertDefinition,
    properties=(
        Property("Id", "id", Kind.INT64, server_set=True),
        Property("Name", "name", limit=model.NAME_LIMIT, blank=False),
        Property("Severity", "severity", Kind.ENUM, enum=model.Severity),
        Property(
            "InternalDescription",
            "internal_description",
            limit=model.INTERNAL_DESCRIPTION_LIMIT,
            default="",
        ),
        Property("Title", "title", limit=model.TITLE_LIMIT, blank=False),
        Property("UxDescription", "ux_description", limit=model.UX_DESCRIPTION_LIMIT, default=""),
        Property(
            "RecommendedAction", "recommended_action", limit=model.RECOMMENDED_ACTION_LIMIT, nullable=True
        ),
        Property("Category", "category", Kind.ENUM, enum=model.Category),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=True),
        *_STAMPS,
        Property("Uid", "uid", server_set=True, extension=True),
        Property(
            "GroupBy",
            "group_by",
            Kind.ENUM,
            enum=model.GroupBy,
            default=model.GroupBy.DEFINITION,
            extension=True,
        ),
        Property(
            "WindowSeconds",
            "window_seconds",
            Kind.INT64,
            bounds=(WINDOW_MINIMUM, WINDOW_MAXIMUM),
            default=model.WINDOW_SECONDS,
            extension=True,
        ),
    ),
    navigations=(
        Navigation(
            "IndicatorsOfCompromise",
            "IndicatorsOfCompromise",
            many=True,
            key="id",
            target_key="definition_id",
        ),
    ),
    actions=(
        Action("BulkUpload", of_set=True, parameter="alertDefinitions"),
        Action("DeleteIOCs", of_set=False),
    ),
    bulk="alertDefinitions",
)

INDICATOR = Entity(
    name="IndicatorOfCompromise",
    set_name="IndicatorsOfCompromise",
    noun=model.Indicator,
    properties=(
        Property("Id", "id", Kind.INT64, server_set=True),
        Property("Type", "type", Kind.ENUM, enum=model.IndicatorType),
        Property("Value", "value", limit=model.VALUE_LIMIT, blank=False),
        Property(
            "DetectionFunction", "function", Kind.ENUM, enum=model.DetectionFunction, aliases=("Action",)
        ),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=True),
        Property("ExpiresAt", "expires_at", Kind.TIME, nullable=True),
        *_STAMPS,
        Property("ValidFrom", "valid_from", Kind.TIME, nullable=True, extension=True),
        Property("Source", "source", limit=model.SOURCE_LIMIT, nullable=True, extension=True),
    ),
    navigations=(
        Navigation(
            "AlertDefinition",
            "AlertDefinitions",
            many=False,
            key="definition_id",
            key_of="definition.id",
            attribute="definition",
        ),
    ),
    actions=(Action("BulkUpload", of_set=True, parameter="iocs", switch="upsert"),),
    bulk="iocs",
)


def _shown(name: str, attribute: str, kind: Kind = Kind.STRING, **more: Any) -> Property:
    """A property of a set that is only read."""
    return Property(name, attribute, kind, server_set=True, **more)


_AS_IT_WAS = (
    _shown("Title", "definition.title", column="snapshot.title"),
    _shown("Severity", "definition.severity", Kind.ENUM, enum=model.Severity, column="snapshot.severity"),
    _shown("Category", "definition.category", Kind.ENUM, enum=model.Category, column="snapshot.category"),
    _shown("UxDescription", "definition.ux_description", column="snapshot.ux_description"),
    _shown(
        "RecommendedAction",
        "definition.recommended_action",
        nullable=True,
        column="snapshot.recommended_action",
    ),
    _shown("AlertDefinitionId", "definition.id", Kind.INT64, column="snapshot.definition_id"),
    _shown("AlertDefinitionUid", "definition.uid", column="snapshot.uid"),
)
"""The definition as it was when something matched; it may have been changed or deleted since."""

SUPPRESS = (
    Property("ByDefinition", "by_definition", Kind.BOOLEAN, default=True),
    Property("ByMachine", "by_machine", Kind.BOOLEAN, default=True),
    Property("ByValue", "by_value", Kind.BOOLEAN, default=True),
    Property("EndsAt", "ends_at", Kind.TIME),
    Property("Reason", "reason", limit=model.REASON_LIMIT, default=""),
)
SUPPRESS_ALERT = Entity("Suppress", "Suppress", model.SuppressAlert, SUPPRESS, ())
"""What the action of that name is given, read as an entity is."""

ALERT = Entity(
    name="Alert",
    set_name="Alerts",
    noun=model.Alert,
    properties=(
        _shown("Id", "number", Kind.INT64, column="id"),
        _shown("AlertId", "id", column="alert_id"),
        *_AS_IT_WAS,
        _shown("Machine", "machine"),
        _shown("Group", "group"),
        _shown("Window", "window"),
        _shown("FirstSeen", "first_seen", Kind.TIME, nullable=True),
        _shown("LastSeen", "last_seen", Kind.TIME, nullable=True),
        _shown("DetectionCount", "detection_count", Kind.INT64),
        _shown("Indicators", "indicators", Kind.TEXTS),
        Property("Status", "status", Kind.ENUM, enum=model.AlertStatus, default=model.AlertStatus.NEW),
        Property(
            "Classification",
            "classification",
            Kind.ENUM,
            enum=model.Classification,
            default=model.Classification.UNKNOWN,
        ),
        Property(
            "Determination",
            "determination",
            Kind.ENUM,
            enum=model.Determination,
            default=model.Determination.NOT_AVAILABLE,
        ),
        Property("AssignedTo", "assigned_to", limit=model.ASSIGNED_TO_LIMIT, blank=False, nullable=True),
        _shown("ResolvedAt", "resolved_at", Kind.TIME, nullable=True),
        _shown("Storm", "storm", Kind.BOOLEAN),
        _shown("AllowLists", "allow_lists", Kind.TEXTS),
        _shown("ReopenedCount", "reopened_count", Kind.INT64),
        _shown("CreatedAt", "created_at", Kind.TIME),
        _shown("LastModifiedAt", "last_modified_at", Kind.TIME),
    ),
    navigations=(
        Navigation(
            "AlertDefinition",
            "AlertDefinitions",
            many=False,
            key="snapshot.definition_id",
            key_of="definition.id",
            nullable=True,
        ),
        Navigation("Detections", "Detections", many=True, key="alert_id", target_key="alert_id", key_of="id"),
        Navigation(
            "Comments", "AlertComments", many=True, key="alert_id", target_key="alert_id", key_of="id"
        ),
        Navigation("History", "AlertHistory", many=True, key="alert_id", target_key="alert_id", key_of="id"),
    ),
    actions=(Action("Suppress", of_set=False, given=SUPPRESS, gives="Suppression"),),
    editable=True,
    extension=True,
)

_TO_ALERT = Navigation(
    "Alert", "Alerts", many=False, key="alert_id", target_key="alert_id", key_of="alert_id", nullable=True
)

ALERT_COMMENT = Entity(
    name="AlertComment",
    set_name="AlertComments",
    noun=model.AlertComment,
    properties=(
        _shown("Id", "id", Kind.INT64),
        _shown("AlertId", "alert_id"),
        Property("Text", "text", limit=model.COMMENT_LIMIT, blank=False),
        _shown("CreatedAt", "created_at", Kind.TIME),
        _shown("CreatedBy", "created_by"),
    ),
    navigations=(_TO_ALERT,),
    extension=True,
)

ALERT_CHANGE = Entity(
    name="AlertChange",
    set_name="AlertHistory",
    noun=model.AlertChange,
    properties=(
        _shown("Id", "id", Kind.INT64),
        _shown("AlertId", "alert_id"),
        _shown("At", "at", Kind.TIME),
        _shown("By", "by"),
        _shown("Property", "property"),
        _shown("Before", "before", nullable=True),
        _shown("After", "after", nullable=True),
    ),
    navigations=(_TO_ALERT,),
    extension=True,
)

SUPPRESSION = Entity(
    name="Suppression",
    set_name="Suppressions",
    noun=model.Suppression,
    properties=(
        _shown("Id", "id", Kind.INT64),
        Property("AlertDefinitionId", "definition_id", Kind.INT64, nullable=True),
        _shown("AlertDefinitionUid", "definition_uid", nullable=True),
        Property("Machine", "machine", limit=model.MACHINE_LIMIT, blank=False, nullable=True),
        Property("Value", "value", limit=model.VALUE_LIMIT, blank=False, nullable=True),
        Property("Reason", "reason", limit=model.REASON_LIMIT, default=""),
        Property("EndsAt", "ends_at", Kind.TIME),
        _shown("SuppressedCount", "suppressed_count", Kind.INT64),
        _shown("LastSuppressedAt", "last_suppressed_at", Kind.TIME, nullable=True),
        _shown("AlertId", "alert_id", nullable=True),
        _shown("CreatedAt", "created_at", Kind.TIME),
        _shown("CreatedBy", "created_by"),
    ),
    navigations=(
        _TO_ALERT,
        Navigation("Detections", "Detections", many=True, key="id", target_key="suppression_id", key_of="id"),
    ),
    editable=True,
    extension=True,
)

AUDIT = Entity(
    name="AuditEntry",
    set_name="AuditLog",
    noun=model.AuditEntry,
    properties=(
        _shown("Id", "id", Kind.INT64),
        _shown("At", "at", Kind.TIME),
        _shown("By", "by"),
        _shown("Through", "through", Kind.ENUM, enum=model.Through),
        _shown("RequestId", "request_id", nullable=True),
        _shown("Action", "action", Kind.ENUM, enum=model.AuditAction),
        _shown("Set", "set_name"),
        _shown("Key", "key", nullable=True),
        _shown("Count", "count", Kind.INT64),
        _shown("Before", "before", nullable=True),
        _shown("After", "after", nullable=True),
    ),
    navigations=(),
    extension=True,
)

DETECTION = Entity(
    name="Detection",
    set_name="Detections",
    noun=model.Detection,
    properties=(
        _shown("Id", "number", Kind.INT64, column="id"),
        _shown("DetectionId", "id", column="detection_id"),
        _shown("AlertId", "alert_id"),
        _shown("EventId", "event_id"),
        _shown("EventTime", "event_time", Kind.TIME, nullable=True),
        _shown("TimeNote", "time_note", Kind.ENUM, enum=model.TimeNote, nullable=True),
        _shown("RecordedAt", "recorded_at", Kind.TIME, nullable=True),
        _shown("Raises", "raises", Kind.BOOLEAN),
        _shown("Machine", "machine"),
        _shown("Schema", "schema"),
        _shown("Source", "source"),
        _shown("Line", "line", Kind.INT64),
        _shown("Window", "window"),
        *_AS_IT_WAS,
        _shown("IndicatorId", "indicator.id", Kind.INT64, column="indicator_id"),
        _shown("Type", "indicator.type", Kind.ENUM, enum=model.IndicatorType, column="indicator_type"),
        _shown("Value", "indicator.value", column="indicator_value"),
        _shown(
            "DetectionFunction",
            "indicator.function",
            Kind.ENUM,
            enum=model.DetectionFunction,
            column="indicator_function",
        ),
        _shown("IndicatorSource", "indicator.source", nullable=True, column="indicator_source"),
        _shown("Evidence", "evidence_texts", Kind.TEXTS),
        _shown("Silenced", "silenced", Kind.ENUM, enum=model.Silenced, nullable=True),
        _shown("SuppressionId", "suppression_id", Kind.INT64, nullable=True),
        _shown("StormAlertId", "storm_id", nullable=True),
        _shown("AllowListId", "allow_list_id", Kind.INT64, nullable=True),
        _shown("AllowLists", "allow_lists", Kind.TEXTS),
    ),
    navigations=(
        Navigation(
            "Alert",
            "Alerts",
            many=False,
            key="alert_id",
            target_key="alert_id",
            key_of="alert_id",
            nullable=True,
        ),
        Navigation(
            "AlertDefinition",
            "AlertDefinitions",
            many=False,
            key="snapshot.definition_id",
            key_of="definition.id",
            nullable=True,
        ),
        Navigation(
            "IndicatorOfCompromise",
            "IndicatorsOfCompromise",
            many=False,
            key="indicator_id",
            key_of="indicator.id",
            nullable=True,
        ),
    ),
    extension=True,
)

WRITTEN = (ALERT_DEFINITION, INDICATOR)
"""The published sets; clients fill them."""
ENTITIES = (*WRITTEN, ALERT, DETECTION, ALERT_COMMENT, ALERT_CHANGE, SUPPRESSION, AUDIT)
BY_SET: Mapping[str, Entity] = {entity.set_name: entity for entity in ENTITIES}

ENUMS: tuple[type[StrEnum], ...] = (
    model.Severity,
    model.Category,
    model.IndicatorType,
    model.DetectionFunction,
    model.GroupBy,
    model.AlertStatus,
    model.TimeNote,
    model.Classification,
    model.Determination,
    model.Silenced,
    model.Through,
    model.AuditAction,
)
EXTENSION_ENUMS: frozenset[type[StrEnum]] = frozenset(ENUMS[4:])
EXTENSION_MEMBERS: frozenset[StrEnum] = frozenset(
    {
        model.IndicatorType.URL,
        model.IndicatorType.FILE_NAME,
        model.DetectionFunction.SUBDOMAIN_OF,
    }
)
SPELLINGS: Mapping[str, str] = {"SHA1": "Sha1", "SHA256": "Sha256", "MD5": "Md5"}
"""Enum values that the published pages also write so."""

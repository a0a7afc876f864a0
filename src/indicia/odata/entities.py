"""The one table of what the API serves. Reading, writing and $metadata all follow it.

A property that the published service did not have is marked `extension`; so is a member of an enum.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from indicia import allow, messages, model
from indicia.odata.records import ALLOW_KNOWN, ALLOW_PREVIEW, CHECK, OUTPUT_TEST, PREVIEW, REPLAY, SUPPRESS
from indicia.odata.shapes import Action, Entity, Kind, Navigation, Property

NAMESPACE = "Indicia"
"""Namespace of the types. Actions have their own, because published calls name it: `Actions.BulkUpload`."""
ACTIONS_NAMESPACE = "Actions"
WINDOW_MINIMUM = 60
WINDOW_MAXIMUM = 31 * 86_400


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

_LIST_STAMPS = (
    _shown("CreatedAt", "created_at", Kind.TIME),
    _shown("CreatedBy", "created_by"),
    _shown("LastModifiedAt", "last_modified_at", Kind.TIME, nullable=True),
    _shown("LastModifiedBy", "last_modified_by", nullable=True),
)

ALLOW_LIST = Entity(
    name="AllowList",
    set_name="AllowLists",
    noun=allow.AllowList,
    properties=(
        _shown("Id", "id", Kind.INT64),
        Property("Name", "name", limit=model.NAME_LIMIT, blank=False),
        Property("Owner", "owner", limit=model.REASON_LIMIT, default=""),
        Property("Comment", "comment", limit=model.REASON_LIMIT, default=""),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=False),
        Property("Action", "action", Kind.ENUM, enum=allow.AllowAction, default=allow.AllowAction.ANNOTATE),
        Property("Types", "types", Kind.TEXTS, enum=model.IndicatorType, default=()),
        _shown("EntryCount", "entry_count", Kind.INT64),
        _shown("SuppressedCount", "suppressed_count", Kind.INT64),
        _shown("LastSuppressedAt", "last_suppressed_at", Kind.TIME, nullable=True),
        *_LIST_STAMPS,
    ),
    navigations=(
        Navigation("Entries", "AllowEntries", many=True, key="id", target_key="list_id", key_of="id"),
        Navigation("Detections", "Detections", many=True, key="id", target_key="allow_list_id", key_of="id"),
    ),
    actions=(
        Action("Check", of_set=True, given=CHECK, gives=ALLOW_KNOWN.name),
        Action("Preview", of_set=False, given=PREVIEW, gives=ALLOW_PREVIEW.name, one=True),
        *(
            Action(
                name,
                of_set=False,
                parameter="entries",
                elements="AllowEntry",
                gives="AllowList",
                one=True,
            )
            for name in ("AddEntries", "ReplaceEntries")
        ),
    ),
    editable=True,
    extension=True,
)

ALLOW_ENTRY = Entity(
    name="AllowEntry",
    set_name="AllowEntries",
    noun=allow.AllowEntry,
    properties=(
        _shown("Id", "id", Kind.INT64),
        Property("Kind", "kind", Kind.ENUM, enum=allow.AllowKind),
        Property("Value", "value", limit=model.VALUE_LIMIT, blank=False),
        Property("Type", "type", Kind.ENUM, enum=model.IndicatorType, nullable=True),
    ),
    navigations=(
        Navigation("AllowList", "AllowLists", many=False, key="list_id", key_of="list_id", nullable=True),
    ),
    bulk="entries",
    extension=True,
)

OUTPUT = Entity(
    name="Output",
    set_name="Outputs",
    noun=messages.Output,
    properties=(
        _shown("Id", "id", Kind.INT64),
        Property("Name", "name", limit=64, blank=False),
        _shown("Kind", "kind"),
        Property("Target", "target", limit=messages.TARGET_LIMIT, blank=False),
        Property(
            "Sends", "sends", Kind.TEXTS, enum=messages.Sent, default=tuple(map(str, messages.UNLESS_SAID))
        ),
        Property("Options", "option_texts", Kind.TEXTS, limit=messages.TARGET_LIMIT, default=()),
        Property("Severity", "severity", Kind.ENUM, enum=model.Severity, nullable=True),
        Property("AlertDefinitionIds", "definition_ids", Kind.NUMBERS, default=()),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=True),
        _shown("Failures", "failures", Kind.INT64),
        _shown("RetryAt", "retry_at", Kind.TIME, nullable=True),
        _shown("Fault", "fault", nullable=True),
        _shown("DeliveredAt", "delivered_at", Kind.TIME, nullable=True),
        *_LIST_STAMPS,
    ),
    secret=(Property("Secret", "secret", limit=messages.SECRET_LIMIT, nullable=True),),
    navigations=(
        Navigation("Messages", "OutputMessages", many=True, key="id", target_key="output_id", key_of="id"),
    ),
    actions=(
        Action("Test", of_set=False, gives=OUTPUT_TEST.name, one=True),
        Action("Replay", of_set=False, given=REPLAY, gives="Edm.Int64", one=True),
    ),
    editable=True,
    extension=True,
)

OUTPUT_MESSAGE = Entity(
    name="OutputMessage",
    set_name="OutputMessages",
    noun=messages.Message,
    properties=(
        _shown("Id", "number", Kind.INT64, column="id"),
        _shown("MessageId", "id", column="message_id"),
        _shown("Sent", "sent", Kind.ENUM, enum=messages.Sent),
        _shown("State", "state", Kind.ENUM, enum=messages.MessageState),
        _shown("Attempts", "attempts", Kind.INT64),
        _shown("MadeAt", "made_at", Kind.TIME),
        _shown("DoneAt", "done_at", Kind.TIME, nullable=True),
        _shown("Fault", "fault", nullable=True),
        _shown("Body", "body"),
    ),
    navigations=(
        Navigation("Output", "Outputs", many=False, key="output_id", key_of="output_id", nullable=True),
    ),
    extension=True,
)


def _parameters(name: str, given: tuple[Property, ...]) -> Entity:
    """What an action is given, read as an entity is."""
    return Entity(name, name, dict, given, ())


PREVIEW_ALLOW_LIST = _parameters("Preview", PREVIEW)
CHECK_ALLOW_LISTS = _parameters("Check", CHECK)
REPLAY_OUTPUT = _parameters("Replay", REPLAY)

WRITTEN = (ALERT_DEFINITION, INDICATOR)
"""The published sets; clients fill them."""
ENTITIES = (
    *WRITTEN,
    ALERT,
    DETECTION,
    ALERT_COMMENT,
    ALERT_CHANGE,
    SUPPRESSION,
    ALLOW_LIST,
    ALLOW_ENTRY,
    OUTPUT,
    OUTPUT_MESSAGE,
    AUDIT,
)
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
    allow.AllowAction,
    allow.AllowKind,
    messages.Sent,
    messages.MessageState,
    messages.Outcome,
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

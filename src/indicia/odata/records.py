"""What actions are given, and what they answer that is no entity."""

from __future__ import annotations

from indicia import allow, messages, model
from indicia.odata.shapes import Kind, Property, Record

SUPPRESS = (
    Property("ByDefinition", "by_definition", Kind.BOOLEAN, default=True),
    Property("ByMachine", "by_machine", Kind.BOOLEAN, default=True),
    Property("ByValue", "by_value", Kind.BOOLEAN, default=True),
    Property("EndsAt", "ends_at", Kind.TIME),
    Property("Reason", "reason", limit=model.REASON_LIMIT, default=""),
)

ALLOW_PREVIEW = Record(
    "AllowPreview",
    (
        Property("AllowListId", "list.id", Kind.INT64),
        Property("Action", "list.action", Kind.ENUM, enum=allow.AllowAction),
        Property("Days", "days", Kind.INT64),
        Property("IndicatorsSeen", "indicators.seen", Kind.INT64),
        Property("IndicatorsAnnotated", "indicators.annotated", Kind.INT64),
        Property("IndicatorsSuppressed", "indicators.suppressed", Kind.INT64),
        Property("DetectionsSeen", "detections.seen", Kind.INT64),
        Property("DetectionsAnnotated", "detections.annotated", Kind.INT64),
        Property("DetectionsSuppressed", "detections.suppressed", Kind.INT64),
        Property("AlertsSilenced", "alerts", Kind.INT64),
        Property(
            "Entries",
            "entries",
            Kind.RECORDS,
            record=Record(
                "AllowPreviewEntry",
                (
                    Property("Entry", "entry"),
                    Property("Indicators", "indicators", Kind.INT64),
                    Property("Detections", "detections", Kind.INT64),
                ),
            ),
        ),
    ),
)
ALLOW_KNOWN = Record(
    "AllowKnown",
    (
        Property("AllowListId", "list.id", Kind.INT64),
        Property("Name", "list.name"),
        Property("Action", "list.action", Kind.ENUM, enum=allow.AllowAction),
        Property("Kind", "kind", Kind.ENUM, enum=allow.AllowKind),
        Property("Entry", "entry"),
    ),
)
PREVIEW = (
    Property("Days", "days", Kind.INT64, bounds=(1, allow.PREVIEW_DAYS), default=30),
    Property("Action", "action", Kind.ENUM, enum=allow.AllowAction, nullable=True),
)
CHECK = (
    Property("Value", "value", limit=model.VALUE_LIMIT, blank=False),
    Property("Type", "type", Kind.ENUM, enum=model.IndicatorType, nullable=True),
)

OUTPUT_TEST = Record(
    "OutputTest",
    (
        Property("MessageId", "message.id"),
        Property("Outcome", "outcome", Kind.ENUM, enum=messages.Outcome),
        Property("Fault", "fault"),
    ),
)
REPLAY = (
    Property("MessageId", "message_id", limit=40, blank=False, nullable=True),
    Property("Since", "since", Kind.TIME, nullable=True),
)

RECORDS = (ALLOW_PREVIEW, ALLOW_KNOWN, OUTPUT_TEST)

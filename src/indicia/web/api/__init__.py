"""The route table of the TI API: method, shape of the path, handler, and the roles of which one is needed.

A shape is the path below /v1.0 with every key written `#` (odata/paths.py). HEAD is served as GET, OPTIONS
from this table.
"""

from __future__ import annotations

from collections.abc import Mapping

from indicia.auth.roles import ADMINS, ALERT_READERS, ALERT_WRITERS, READERS, WRITERS
from indicia.odata.entities import (
    ALERT,
    ALERT_CHANGE,
    ALERT_COMMENT,
    ALERT_DEFINITION,
    ALLOW_ENTRY,
    ALLOW_LIST,
    AUDIT,
    DETECTION,
    INDICATOR,
    OUTPUT,
    OUTPUT_MESSAGE,
    SUPPRESSION,
)
from indicia.odata.shapes import Entity
from indicia.web.api import alerts, allow, definitions, indicators, outputs, reading, service, suppressions
from indicia.web.api.call import ANYONE, Body, Row

_OWNER = "IndicatorsOfCompromise(#)/AlertDefinition"
"""The way from an indicator to its definition; what lies below a definition lies below that too."""
_LIST = "AllowLists(#)"
READERS_OF: Mapping[str, frozenset[str]] = {
    "AlertDefinitions": READERS,
    "IndicatorsOfCompromise": READERS,
    "Alerts": ALERT_READERS,
    "Detections": ALERT_READERS,
    "AlertComments": ALERT_READERS,
    "AlertHistory": ALERT_READERS,
    "Suppressions": ALERT_READERS,
    "AllowLists": READERS | ALERT_READERS | ADMINS,
    "AllowEntries": READERS | ALERT_READERS | ADMINS,
    "Outputs": ADMINS,
    "OutputMessages": ADMINS,
    "AuditLog": ADMINS,
}
"""Who may read which set, by its own paths and by navigation."""


def _collection(shape: str, roles: frozenset[str], also: frozenset[str] = ANYONE) -> tuple[Row, ...]:
    """The rows that read a collection: its page, its count, its references."""
    return (
        Row("GET", shape, reading.collection, roles, also=also),
        Row("GET", f"{shape}/$count", reading.count, roles, also=also),
        Row("GET", f"{shape}/$ref", reading.references, roles, also=also),
    )


def _entity(shape: str, described: Entity, roles: frozenset[str]) -> tuple[Row, ...]:
    """The rows that read one entity: itself, its reference, every property as JSON and as its raw value."""
    places = [(f"{shape}/{item.name}", item) for item in described.properties]
    return (
        Row("GET", shape, reading.entity, roles, quick=True),
        Row("GET", f"{shape}/$ref", reading.reference, roles, quick=True),
        *(Row("GET", place, reading.single, roles) for place, _ in places),
        *(Row("GET", f"{place}/$value", reading.raw_value, roles) for place, item in places if not item.many),
    )


def _readable(described: Entity) -> tuple[Row, ...]:
    """The rows that read a set. A way out of it asks for the roles of where it leads, too."""
    name = described.set_name
    rows = [*_collection(name, READERS_OF[name]), *_entity(f"{name}(#)", described, READERS_OF[name])]
    for way in described.navigations:
        shape, roles = f"{name}(#)/{way.name}", READERS_OF[name]
        if way.many:
            rows += _collection(shape, roles, READERS_OF[way.target])
        else:
            rows += [Row("GET", shape, reading.entity, roles, also=READERS_OF[way.target])]
    return tuple(rows)


ROUTES: tuple[Row, ...] = (
    Row("GET", "", service.document, ANYONE),
    Row("GET", "$metadata", service.metadata, ANYONE),
    *_collection("AlertDefinitions", READERS),
    Row("POST", "AlertDefinitions", definitions.create, WRITERS, Body.ENTITY),
    Row("DELETE", "AlertDefinitions", definitions.delete_all, WRITERS),
    Row("POST", "AlertDefinitions/Actions.BulkUpload", definitions.upload, WRITERS, Body.BULK),
    *_entity("AlertDefinitions(#)", ALERT_DEFINITION, READERS),
    Row("PATCH", "AlertDefinitions(#)", definitions.change, WRITERS, Body.ENTITY, tagged=True),
    Row("DELETE", "AlertDefinitions(#)", definitions.delete, WRITERS, tagged=True),
    *_collection("AlertDefinitions(#)/IndicatorsOfCompromise", READERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise(#)", reading.entity, READERS),
    Row("POST", "AlertDefinitions(#)/Actions.DeleteIOCs", definitions.delete_indicators, WRITERS),
    *_collection("IndicatorsOfCompromise", READERS),
    Row("POST", "IndicatorsOfCompromise", indicators.create, WRITERS, Body.ENTITY),
    Row("DELETE", "IndicatorsOfCompromise", indicators.delete_all, WRITERS),
    Row("POST", "IndicatorsOfCompromise/Actions.BulkUpload", indicators.upload, WRITERS, Body.BULK),
    *_entity("IndicatorsOfCompromise(#)", INDICATOR, READERS),
    Row("PATCH", "IndicatorsOfCompromise(#)", indicators.change, WRITERS, Body.ENTITY, tagged=True),
    Row("DELETE", "IndicatorsOfCompromise(#)", indicators.delete, WRITERS, tagged=True),
    *_entity(_OWNER, ALERT_DEFINITION, READERS),
    Row("PUT", f"{_OWNER}/$ref", indicators.move, WRITERS, Body.ENTITY, tagged=True),
    *_collection(f"{_OWNER}/IndicatorsOfCompromise", READERS),
    *_readable(ALERT),
    Row("PATCH", "Alerts(#)", alerts.change, ALERT_WRITERS, Body.ENTITY, tagged=True),
    Row("POST", "Alerts(#)/Comments", alerts.comment, ALERT_WRITERS, Body.ENTITY),
    Row("POST", "Alerts(#)/Actions.Suppress", alerts.suppress, ALERT_WRITERS, Body.ENTITY, tagged=True),
    *_readable(DETECTION),
    *_readable(ALERT_COMMENT),
    *_readable(ALERT_CHANGE),
    *_readable(SUPPRESSION),
    Row("POST", "Suppressions", suppressions.create, ALERT_WRITERS, Body.ENTITY),
    Row("PATCH", "Suppressions(#)", suppressions.change, ALERT_WRITERS, Body.ENTITY, tagged=True),
    Row("DELETE", "Suppressions(#)", suppressions.delete, ALERT_WRITERS, tagged=True),
    *_readable(ALLOW_LIST),
    Row("POST", "AllowLists", allow.create, ADMINS, Body.ENTITY),
    Row("PATCH", _LIST, allow.change, ADMINS, Body.ENTITY, tagged=True),
    Row("DELETE", _LIST, allow.delete, ADMINS, tagged=True),
    Row("POST", "AllowLists/Actions.Check", allow.check, READERS_OF["AllowLists"], Body.ENTITY),
    Row("POST", f"{_LIST}/Actions.Preview", allow.preview, ADMINS, Body.ENTITY),
    Row("POST", f"{_LIST}/Actions.AddEntries", allow.add_entries, ADMINS, Body.BULK, tagged=True),
    Row("POST", f"{_LIST}/Actions.ReplaceEntries", allow.replace_entries, ADMINS, Body.BULK, tagged=True),
    Row("POST", f"{_LIST}/Entries", allow.add_entry, ADMINS, Body.ENTITY),
    Row("DELETE", f"{_LIST}/Entries", allow.delete_entries, ADMINS),
    *_readable(ALLOW_ENTRY),
    Row("DELETE", "AllowEntries(#)", allow.delete_entry, ADMINS, tagged=True),
    *_readable(OUTPUT),
    Row("POST", "Outputs", outputs.create, ADMINS, Body.ENTITY),
    Row("PATCH", "Outputs(#)", outputs.change, ADMINS, Body.ENTITY, tagged=True),
    Row("DELETE", "Outputs(#)", outputs.delete, ADMINS, tagged=True),
    Row("POST", "Outputs(#)/Actions.Test", outputs.test, ADMINS),
    Row("POST", "Outputs(#)/Actions.Replay", outputs.replay, ADMINS, Body.ENTITY),
    *_readable(OUTPUT_MESSAGE),
    *_readable(AUDIT),
)

LATER: tuple[str, ...] = ("$all", "$batch", "$crossjoin", "$entity")
"""Shapes of the standard that are answered by 501 until they are done."""

"""The route table of the TI API: method, shape of the path, handler, and the roles of which one is needed.

A shape is the path below /v1.0 with every key written `#` (odata/paths.py). HEAD is served as GET, OPTIONS
from this table.
"""

from __future__ import annotations

from indicia.auth.roles import READERS, WRITERS
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR, Entity
from indicia.web.api import definitions, indicators, reading, service
from indicia.web.api.call import ANYONE, Body, Row

_OWNER = "IndicatorsOfCompromise(#)/AlertDefinition"
"""The way from an indicator to its definition; what lies below a definition lies below that too."""


def _properties(shape: str, described: Entity) -> tuple[Row, ...]:
    """The rows of every property of an entity: as JSON and as its raw value."""
    places = [f"{shape}/{item.name}" for item in described.properties]
    return (
        *(Row("GET", place, reading.single, READERS) for place in places),
        *(Row("GET", f"{place}/$value", reading.raw_value, READERS) for place in places),
    )


ROUTES: tuple[Row, ...] = (
    Row("GET", "", service.document, ANYONE),
    Row("GET", "$metadata", service.metadata, ANYONE),
    Row("GET", "AlertDefinitions", reading.definitions, READERS),
    Row("GET", "AlertDefinitions/$count", reading.definition_count, READERS),
    Row("GET", "AlertDefinitions/$ref", reading.definition_references, READERS),
    Row("POST", "AlertDefinitions", definitions.create, WRITERS, Body.ENTITY),
    Row("DELETE", "AlertDefinitions", definitions.delete_all, WRITERS),
    Row("POST", "AlertDefinitions/Actions.BulkUpload", definitions.upload, WRITERS, Body.BULK),
    Row("GET", "AlertDefinitions(#)", reading.entity, READERS),
    Row("GET", "AlertDefinitions(#)/$ref", reading.reference, READERS),
    *_properties("AlertDefinitions(#)", ALERT_DEFINITION),
    Row("PATCH", "AlertDefinitions(#)", definitions.change, WRITERS, Body.ENTITY),
    Row("DELETE", "AlertDefinitions(#)", definitions.delete, WRITERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise", reading.indicators, READERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise/$count", reading.indicator_count, READERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise/$ref", reading.indicator_references, READERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise(#)", reading.entity, READERS),
    Row("POST", "AlertDefinitions(#)/Actions.DeleteIOCs", definitions.delete_indicators, WRITERS),
    Row("GET", "IndicatorsOfCompromise", reading.indicators, READERS),
    Row("GET", "IndicatorsOfCompromise/$count", reading.indicator_count, READERS),
    Row("GET", "IndicatorsOfCompromise/$ref", reading.indicator_references, READERS),
    Row("POST", "IndicatorsOfCompromise", indicators.create, WRITERS, Body.ENTITY),
    Row("DELETE", "IndicatorsOfCompromise", indicators.delete_all, WRITERS),
    Row("POST", "IndicatorsOfCompromise/Actions.BulkUpload", indicators.upload, WRITERS, Body.BULK),
    Row("GET", "IndicatorsOfCompromise(#)", reading.entity, READERS),
    Row("GET", "IndicatorsOfCompromise(#)/$ref", reading.reference, READERS),
    *_properties("IndicatorsOfCompromise(#)", INDICATOR),
    Row("PATCH", "IndicatorsOfCompromise(#)", indicators.change, WRITERS, Body.ENTITY),
    Row("DELETE", "IndicatorsOfCompromise(#)", indicators.delete, WRITERS),
    Row("GET", "IndicatorsOfCompromise(#)/AlertDefinition", reading.entity, READERS),
    Row("GET", "IndicatorsOfCompromise(#)/AlertDefinition/$ref", reading.reference, READERS),
    Row("PUT", "IndicatorsOfCompromise(#)/AlertDefinition/$ref", indicators.move, WRITERS, Body.ENTITY),
    *_properties(_OWNER, ALERT_DEFINITION),
    Row("GET", f"{_OWNER}/IndicatorsOfCompromise", reading.indicators, READERS),
    Row("GET", f"{_OWNER}/IndicatorsOfCompromise/$count", reading.indicator_count, READERS),
    Row("GET", f"{_OWNER}/IndicatorsOfCompromise/$ref", reading.indicator_references, READERS),
)

LATER: tuple[str, ...] = ("$all", "$batch", "$crossjoin", "$entity")
"""Shapes of the standard that are answered by 501 until they are done."""

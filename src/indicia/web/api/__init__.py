"""The route table of the TI API: method, shape of the path, handler, and the roles of which one is needed.

A shape is the path below /v1.0 with every key written `#` (odata/paths.py). HEAD is served as GET, OPTIONS
from this table.
"""

from __future__ import annotations

from indicia.auth.roles import READERS, WRITERS
from indicia.web.api import definitions, indicators, service
from indicia.web.api.call import ANYONE, Body, Row

ROUTES: tuple[Row, ...] = (
    Row("GET", "", service.document, ANYONE),
    Row("GET", "$metadata", service.metadata, ANYONE),
    Row("GET", "AlertDefinitions", definitions.page, READERS),
    Row("POST", "AlertDefinitions", definitions.create, WRITERS, Body.ENTITY),
    Row("DELETE", "AlertDefinitions", definitions.delete_all, WRITERS),
    Row("POST", "AlertDefinitions/Actions.BulkUpload", definitions.upload, WRITERS, Body.BULK),
    Row("GET", "AlertDefinitions(#)", definitions.read, READERS),
    Row("PATCH", "AlertDefinitions(#)", definitions.change, WRITERS, Body.ENTITY),
    Row("DELETE", "AlertDefinitions(#)", definitions.delete, WRITERS),
    Row("GET", "AlertDefinitions(#)/IndicatorsOfCompromise", indicators.page_of_definition, READERS),
    Row("POST", "AlertDefinitions(#)/Actions.DeleteIOCs", definitions.delete_indicators, WRITERS),
    Row("GET", "IndicatorsOfCompromise", indicators.page, READERS),
    Row("POST", "IndicatorsOfCompromise", indicators.create, WRITERS, Body.ENTITY),
    Row("DELETE", "IndicatorsOfCompromise", indicators.delete_all, WRITERS),
    Row("POST", "IndicatorsOfCompromise/Actions.BulkUpload", indicators.upload, WRITERS, Body.BULK),
    Row("GET", "IndicatorsOfCompromise(#)", indicators.read, READERS),
    Row("PATCH", "IndicatorsOfCompromise(#)", indicators.change, WRITERS, Body.ENTITY),
    Row("DELETE", "IndicatorsOfCompromise(#)", indicators.delete, WRITERS),
    Row("GET", "IndicatorsOfCompromise(#)/AlertDefinition", indicators.definition, READERS),
    Row("PUT", "IndicatorsOfCompromise(#)/AlertDefinition/$ref", indicators.move, WRITERS, Body.ENTITY),
)

LATER: tuple[str, ...] = (
    "$batch",
    "AlertDefinitions/$count",
    "AlertDefinitions(#)/IndicatorsOfCompromise/$count",
    "AlertDefinitions(#)/IndicatorsOfCompromise/$ref",
    "IndicatorsOfCompromise/$count",
)
"""Shapes of the standard that are answered by 501 until they are done; so are single properties."""

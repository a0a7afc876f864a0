"""AlertDefinitions."""

from __future__ import annotations

from indicia.odata import bodies, options
from indicia.odata import format as odata
from indicia.odata.entities import ALERT_DEFINITION
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call


def create(call: Call) -> Answer:
    """POST AlertDefinitions"""
    options.none(call.query)
    given = bodies.one(ALERT_DEFINITION, bodies.decode(call.body), call.roots, partial=False)
    (made,) = call.tenant.add_definitions([bodies.definition(given)], call.by)
    return calls.entity(call, ALERT_DEFINITION, made, created=True)


def upload(call: Call) -> Answer:
    """POST AlertDefinitions/Actions.BulkUpload: all or none, answered by what was made."""
    options.none(call.query)
    given = bodies.many(ALERT_DEFINITION, bodies.decode(call.body), call.roots)
    made = call.tenant.add_definitions([bodies.definition(item) for item in given], call.by)
    return calls.answer(call, odata.collection(ALERT_DEFINITION, made, call.form))


def change(call: Call) -> Answer:
    """PATCH AlertDefinitions(1)"""
    options.none(call.query)
    given = bodies.one(ALERT_DEFINITION, bodies.decode(call.body), call.roots, partial=True)
    changed = call.tenant.change_definition(call.key, given.attributes, call.by)
    return calls.entity(call, ALERT_DEFINITION, changed)


def delete(call: Call) -> Answer:
    """DELETE AlertDefinitions(1), with its indicators; alerts stay"""
    options.none(call.query)
    call.tenant.delete_definition(call.key)
    return NO_CONTENT


def delete_all(call: Call) -> Answer:
    """DELETE AlertDefinitions: all of the tenant's. Any option would be a misunderstanding."""
    options.refuse_any(call.query)
    call.tenant.delete_definitions()
    return NO_CONTENT


def delete_indicators(call: Call) -> Answer:
    """POST AlertDefinitions(1)/Actions.DeleteIOCs: the definition stays"""
    options.refuse_any(call.query)
    call.tenant.delete_indicators(call.key)
    return NO_CONTENT

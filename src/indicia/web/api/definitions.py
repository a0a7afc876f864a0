"""AlertDefinitions."""

from __future__ import annotations

from collections.abc import Mapping

from indicia.errors import IndiciaError
from indicia.model import AlertDefinition
from indicia.odata import bodies, options
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
    """POST AlertDefinitions/Actions.BulkUpload: all or none, unless the client would go on after errors"""
    options.none(call.query)
    bulk = bodies.bulk(ALERT_DEFINITION, bodies.decode(call.body))
    if call.wants.continue_on_error:
        return _upload_each(call, bulk)
    given = bodies.many(ALERT_DEFINITION, bulk.rows, call.roots)
    made = call.tenant.add_definitions([bodies.definition(item) for item in given], call.by)
    return calls.collection(call, ALERT_DEFINITION, made)


def _upload_each(call: Call, bulk: bodies.Bulk) -> Answer:
    given = bodies.each(ALERT_DEFINITION, bulk.rows, call.roots)
    good = [bodies.definition(item) for item in given if isinstance(item, bodies.Given)]
    made = iter(call.tenant.upload_definitions(good, call.by))
    outcomes = [next(made) if isinstance(item, bodies.Given) else item for item in given]
    created = [item if isinstance(item, IndiciaError) else (item, 201) for item in outcomes]
    return calls.results(call, ALERT_DEFINITION, created)


def change(call: Call) -> Answer:
    """PATCH AlertDefinitions(1)"""
    options.none(call.query)
    given = bodies.one(ALERT_DEFINITION, bodies.decode(call.body), call.roots, partial=True)
    check = calls.check(call, ALERT_DEFINITION)

    def changes(before: AlertDefinition) -> Mapping[str, object]:
        check(before)
        return given.attributes

    changed = call.tenant.change_definition(call.key, changes, call.by)
    return calls.entity(call, ALERT_DEFINITION, changed)


def delete(call: Call) -> Answer:
    """DELETE AlertDefinitions(1), with its indicators; alerts stay"""
    options.none(call.query)
    call.tenant.delete_definition(call.key, calls.check(call, ALERT_DEFINITION))
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

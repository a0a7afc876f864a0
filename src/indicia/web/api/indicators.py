"""IndicatorsOfCompromise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indicia.errors import InvalidValue, NotFound
from indicia.model import AlertDefinition, Indicator
from indicia.odata import bodies, options, paths
from indicia.odata import format as odata
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call

REFERENCE = "@odata.id"


def create(call: Call) -> Answer:
    """POST IndicatorsOfCompromise"""
    options.none(call.query)
    given = bodies.one(INDICATOR, bodies.decode(call.body), call.roots, partial=False)
    owner = _owner(call, given.definition_id or 0)
    (made,) = _add(call, [bodies.indicator(given, owner)])
    return calls.entity(call, INDICATOR, made, bodies.warnings(made), created=True)


def upload(call: Call) -> Answer:
    """POST IndicatorsOfCompromise/Actions.BulkUpload: all or none, answered by what was made."""
    options.none(call.query)
    given = bodies.many(INDICATOR, bodies.decode(call.body), call.roots)
    owners = call.tenant.definitions_by_id({item.definition_id or 0 for item in given})
    made = _add(call, bodies.indicators(given, owners))
    return calls.answer(call, odata.collection(INDICATOR, made, call.form, warnings=_warnings(made)))


def change(call: Call) -> Answer:
    """PATCH IndicatorsOfCompromise(1); a bound definition moves it there, in the same transaction."""
    options.none(call.query)
    given = bodies.one(INDICATOR, bodies.decode(call.body), call.roots, partial=True)

    def changes(before: Indicator) -> Mapping[str, object]:
        return bodies.indicator_changes(given, before)

    if given.definition_id is not None:
        _owner(call, given.definition_id)
    changed = call.tenant.change_indicator(call.key, changes, call.by)
    return calls.entity(call, INDICATOR, changed, bodies.warnings(changed))


def move(call: Call) -> Answer:
    """PUT IndicatorsOfCompromise(3)/AlertDefinition/$ref with {"@odata.id": "…/AlertDefinitions(6)"}"""
    options.none(call.query)
    body = bodies.decode(call.body)
    named = body.get(REFERENCE) if isinstance(body, dict) else None
    owner = paths.reference(named, ALERT_DEFINITION.set_name, call.roots, REFERENCE)
    call.tenant.indicator(call.key)
    _owner(call, owner, REFERENCE)
    call.tenant.move_indicator(call.key, owner, call.by)
    return NO_CONTENT


def delete(call: Call) -> Answer:
    """DELETE IndicatorsOfCompromise(1)"""
    options.none(call.query)
    call.tenant.delete_indicator(call.key)
    return NO_CONTENT


def delete_all(call: Call) -> Answer:
    """DELETE IndicatorsOfCompromise: all of the tenant's. Any option would be a misunderstanding."""
    options.refuse_any(call.query)
    call.tenant.delete_indicators()
    return NO_CONTENT


def _owner(call: Call, definition_id: int, target: str = bodies.BIND) -> AlertDefinition:
    """The definition that a body names; one that is not there is the body's fault, so 400."""
    try:
        return call.tenant.definition(definition_id)
    except NotFound:
        raise InvalidValue(bodies.definition_missing(definition_id), target=target) from None


def _add(call: Call, new: Sequence[Indicator]) -> list[Indicator]:
    """Add them; a definition that was deleted since it was looked up is named as one that was never there."""
    try:
        return call.tenant.add_indicators(new, call.by)
    except NotFound as error:
        place = f"{INDICATOR.bulk}{error.target}." if len(new) > 1 else ""
        raise InvalidValue(error.message, target=f"{place}{bodies.BIND}") from None


def _warnings(made: Sequence[Indicator]) -> list[str]:
    """The first hundred warnings of a bulk upload, each with its index."""
    found: list[str] = []
    for index, item in enumerate(made):
        found += [f"{INDICATOR.bulk}[{index}]: {text}" for text in bodies.warnings(item)]
        if len(found) >= bodies.FAULT_LIMIT:
            break
    return found

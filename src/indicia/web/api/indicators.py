"""IndicatorsOfCompromise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from indicia.errors import IndiciaError, InvalidValue, NotFound
from indicia.model import AlertDefinition, Indicator
from indicia.odata import bodies, options, paths
from indicia.odata import format as odata
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.format import Noun
from indicia.store import Upload, Uploaded
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
    """POST IndicatorsOfCompromise/Actions.BulkUpload: all or none, unless the client would go on after errors

    With `upsert` an indicator that is there (definition, type, function, canonical value) is changed.
    """
    options.none(call.query)
    bulk = bodies.bulk(INDICATOR, bodies.decode(call.body))
    if call.wants.continue_on_error:
        return _upload_each(call, bulk)
    given = bodies.many(INDICATOR, bulk.rows, call.roots)
    new = bodies.indicators(given, _owners(call, given))
    made = _upsert(call, new, given) if bulk.upsert else _add(call, new)
    return calls.collection(call, INDICATOR, made, _warnings(made))


def _upsert(call: Call, new: Sequence[Indicator], given: Sequence[bodies.Given]) -> list[Indicator]:
    try:
        outcomes = call.tenant.upload_indicators(_uploads(new, given), call.by, upsert=True, whole=True)
    except (NotFound, InvalidValue) as error:
        raise InvalidValue(error.message, target=f"{INDICATOR.bulk}{error.target}") from None
    return [item.indicator for item in outcomes if isinstance(item, Uploaded)]


def _upload_each(call: Call, bulk: bodies.Bulk) -> Answer:
    read = bodies.each(INDICATOR, bulk.rows, call.roots)
    made = bodies.each_indicator(read, _owners(call, read))
    good = [
        (found, given)
        for found, given in zip(made, read, strict=True)
        if isinstance(found, Indicator) and isinstance(given, bodies.Given)
    ]
    uploads = _uploads([found for found, _ in good], [given for _, given in good])
    stored = iter(call.tenant.upload_indicators(uploads, call.by, upsert=bulk.upsert))
    outcomes = [
        _outcome(next(stored) if isinstance(found, Indicator) else found, index)
        for index, found in enumerate(made)
    ]
    return calls.results(call, INDICATOR, outcomes)


def _uploads(new: Sequence[Indicator], given: Sequence[bodies.Given]) -> list[Upload]:
    return [
        Upload(found, partial(bodies.indicator_changes, item)) for found, item in zip(new, given, strict=True)
    ]


def _outcome(outcome: Uploaded | IndiciaError, index: int) -> tuple[Noun, int] | IndiciaError:
    """With the status that the entity alone would have been answered by."""
    if isinstance(outcome, Uploaded):
        return outcome.indicator, 201 if outcome.created else 200
    if isinstance(outcome, NotFound):  # its definition was deleted since it was looked up
        return InvalidValue(outcome.message, target=f"{INDICATOR.bulk}[{index}].{bodies.BIND}")
    return outcome


def _owners(call: Call, given: Sequence[bodies.Given | InvalidValue]) -> Mapping[int, AlertDefinition]:
    """The definitions that the entities of a bulk upload name, those that exist."""
    named = {item.definition_id or 0 for item in given if isinstance(item, bodies.Given)}
    return call.tenant.definitions_by_id(named)


def change(call: Call) -> Answer:
    """PATCH IndicatorsOfCompromise(1); a bound definition moves it there, in the same transaction."""
    options.none(call.query)
    given = bodies.one(INDICATOR, bodies.decode(call.body), call.roots, partial=True)

    check = calls.check(call, INDICATOR)

    def changes(before: Indicator) -> Mapping[str, object]:
        check(before)
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
    check = calls.check(call, INDICATOR)

    def changes(before: Indicator) -> Mapping[str, object]:
        check(before)
        return {"definition_id": owner}

    call.tenant.indicator(call.key)
    _owner(call, owner, REFERENCE)
    changed = call.tenant.change_indicator(call.key, changes, call.by)
    return Answer(204, headers={"ETag": odata.etag(INDICATOR, changed)})


def delete(call: Call) -> Answer:
    """DELETE IndicatorsOfCompromise(1)"""
    options.none(call.query)
    call.tenant.delete_indicator(call.key, calls.check(call, INDICATOR))
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

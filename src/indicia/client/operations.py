"""What can be done with the service: each operation once, for the blocking and the asynchronous client.

An operation is a function that gives Steps of its result, or a Listing to go through. What the clients call
is made of these by `transport`. All raise the errors of the service by the leaf that it names, Unreachable,
AnswerLost and BadAnswer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, Unpack

from indicia.client import nouns
from indicia.client.fields import Condition, Field, Order, ordering
from indicia.client.nouns import (
    ALERTS,
    COMMENTS,
    DEFINITIONS,
    DETECTIONS,
    INDICATORS,
    Alert,
    AlertChanges,
    AlertComment,
    AlertDefinition,
    AlertDefinitionChanges,
    Detection,
    Indicator,
    IndicatorChanges,
)
from indicia.client.pages import Listing, bounded
from indicia.client.session import MATCH, Session
from indicia.client.uploads import (
    DEFINITION_UPLOAD,
    INDICATOR_UPLOAD,
    Position,
    Progress,
    Results,
    Way,
    upload,
)
from indicia.client.wire import Steps
from indicia.errors import BadAnswer, InvalidValue

TOLD: Mapping[str, str] = {"Accept": "application/json;odata.metadata=full"}
"""What asks for an answer of one entity that tells its ETag."""
_ETAG = re.compile(r'\*|(?:W/)?"[\x21\x23-\x7e]*"')
Keys: TypeAlias = Sequence[Order | Field[Any]]
"""Sort keys: fields, or their `ascending` and `descending`."""


def definitions(
    session: Session, where: Condition | None = None, *, order: Keys = (), limit: int | None = None
) -> Listing[AlertDefinition]:
    """The alert definitions that fulfil a condition; all without one. `limit`: at most so many."""
    url = session.link(DEFINITIONS, _query(where, order, limit))
    return Listing(session, url, lambda raw: nouns.read(AlertDefinition, raw))


def definition(session: Session, id: int) -> Steps[AlertDefinition]:
    """One alert definition. Raises NotFound."""
    raw = yield from session.call("GET", session.link(f"{DEFINITIONS}({id:d})"), headers=TOLD)
    return nouns.read(AlertDefinition, raw)


def count_definitions(session: Session, where: Condition | None = None) -> Steps[int]:
    """How many alert definitions fulfil a condition."""
    return (yield from _count(session, DEFINITIONS, where))


def add_definition(session: Session, definition: AlertDefinition) -> Steps[AlertDefinition]:
    """Store a new alert definition; as the service has it then. Raises InvalidValue, QuotaExceeded."""
    body = nouns.definition_body(definition)
    raw = yield from session.call("POST", session.link(DEFINITIONS), body, headers=TOLD)
    return nouns.read(AlertDefinition, raw)


def change_definition(
    session: Session,
    id: int,
    *,
    if_match: AlertDefinition | str | None = None,
    **changes: Unpack[AlertDefinitionChanges],
) -> Steps[AlertDefinition]:
    """Change what is named, as `change_definition(1, title="new")`; as it is then. Raises NotFound.

    `if_match`: the definition as it was read, or its ETag. Raises PreconditionFailed, and changes nothing,
    where somebody else has changed it since.
    """
    body, headers = nouns.definition_changes(changes), _matching(if_match)
    raw = yield from session.call("PATCH", session.link(f"{DEFINITIONS}({id:d})"), body, headers=headers)
    return nouns.read(AlertDefinition, raw)


def delete_definition(
    session: Session, id: int, *, if_match: AlertDefinition | str | None = None
) -> Steps[None]:
    """Delete one alert definition with its indicators; its alerts stay. Raises NotFound.

    `if_match` as in `change_definition`.
    """
    url = session.link(f"{DEFINITIONS}({id:d})")
    yield from session.call("DELETE", url, headers=_matching(if_match))


def delete_all_definitions(session: Session) -> Steps[None]:
    """Delete every alert definition of the tenant, and so every indicator."""
    yield from session.call("DELETE", session.link(DEFINITIONS))


def upload_definitions(
    session: Session,
    definitions: Iterable[AlertDefinition],
    *,
    start: Position | int = 0,
    progress: Progress | None = None,
    results: Results | None = None,
) -> Steps[Position]:
    """Store any number of alert definitions; see `upload_indicators`."""
    way = Way(progress, results)
    return (yield from upload(session, DEFINITION_UPLOAD, definitions, start, way))


def indicators(
    session: Session,
    where: Condition | None = None,
    *,
    definition_id: int | None = None,
    order: Keys = (),
    limit: int | None = None,
    expand: bool = False,
) -> Listing[Indicator]:
    """The indicators that fulfil a condition, of all or of one definition.

    Only with `expand` or `definition_id` do they know the definition that they belong to.
    """
    query = _query(where, order, limit) | ({"$expand": "AlertDefinition"} if expand else {})
    known = {} if definition_id is None or expand else {"definition_id": definition_id}
    place = INDICATORS if definition_id is None else f"{DEFINITIONS}({definition_id:d})/{INDICATORS}"
    return Listing(session, session.link(place, query), lambda raw: nouns.read(Indicator, raw, **known))


def indicator(session: Session, id: int) -> Steps[Indicator]:
    """One indicator with its definition. Raises NotFound."""
    url = session.link(f"{INDICATORS}({id:d})", {"$expand": "AlertDefinition"})
    return nouns.read(Indicator, (yield from session.call("GET", url, headers=TOLD)))


def count_indicators(
    session: Session, where: Condition | None = None, *, definition_id: int | None = None
) -> Steps[int]:
    """How many indicators fulfil a condition, of all or of one definition."""
    place = INDICATORS if definition_id is None else f"{DEFINITIONS}({definition_id:d})/{INDICATORS}"
    return (yield from _count(session, place, where))


def add_indicator(session: Session, indicator: Indicator) -> Steps[Indicator]:
    """Store a new indicator; as the service has it then. Raises InvalidValue, QuotaExceeded."""
    body = nouns.indicator_body(indicator)
    raw = yield from session.call("POST", session.link(INDICATORS), body, headers=TOLD)
    return nouns.read(Indicator, raw, definition_id=indicator.definition_id)


def change_indicator(
    session: Session,
    id: int,
    *,
    if_match: Indicator | str | None = None,
    **changes: Unpack[IndicatorChanges],
) -> Steps[Indicator]:
    """Change what is named, as `change_indicator(1, enabled=False)`; as it is then. Raises NotFound.

    `if_match` as in `change_definition`.
    """
    body, headers = nouns.indicator_changes(changes), _matching(if_match)
    raw = yield from session.call("PATCH", session.link(f"{INDICATORS}({id:d})"), body, headers=headers)
    found = nouns.read(Indicator, raw)
    return replace(found, definition_id=changes.get("definition_id", found.definition_id))


def move_indicator(
    session: Session, id: int, definition_id: int, *, if_match: Indicator | str | None = None
) -> Steps[None]:
    """Move an indicator to another definition. Raises NotFound, InvalidValue.

    `if_match` as in `change_definition`.
    """
    url, body = session.link(f"{INDICATORS}({id:d})/AlertDefinition/$ref"), _reference(definition_id)
    yield from session.call("PUT", url, body, headers=_matching(if_match))


def delete_indicator(session: Session, id: int, *, if_match: Indicator | str | None = None) -> Steps[None]:
    """Delete one indicator. Raises NotFound. `if_match` as in `change_definition`."""
    url = session.link(f"{INDICATORS}({id:d})")
    yield from session.call("DELETE", url, headers=_matching(if_match))


def delete_indicators(session: Session, definition_id: int) -> Steps[None]:
    """Delete the indicators of one definition, which stays. Raises NotFound."""
    url = session.link(f"{DEFINITIONS}({definition_id:d})/Actions.DeleteIOCs")
    yield from session.call("POST", url)


def delete_all_indicators(session: Session) -> Steps[None]:
    """Delete every indicator of the tenant."""
    yield from session.call("DELETE", session.link(INDICATORS))


def upload_indicators(
    session: Session,
    indicators: Iterable[Indicator],
    *,
    start: Position | int = 0,
    progress: Progress | None = None,
    results: Results | None = None,
    upsert: bool = False,
) -> Steps[Position]:
    """Store any number of indicators in chunks of 5,000, each stored whole or not at all.

    `progress` is called with the position after each chunk. Raises UploadStopped; `Position.of` it, or the
    last position that `progress` saw, is the `start` of a later call with the same indicators in the same
    order, which looks whether the next chunk is stored already, so that none is stored twice. A number as
    `start` passes over so many without looking.

    With `upsert` an indicator that is there already (definition, type, function, value) is changed to what is
    given, and none is made twice; what was lost is then simply sent again.

    With `results` an indicator that is refused stops nothing: it is called with the Result of each. A chunk
    whose answer was lost is then sent again only with `upsert`, because of a chunk that is stored in part
    nobody can tell whether it is there.
    """
    way = Way(progress, results, upsert)
    return (yield from upload(session, INDICATOR_UPLOAD, indicators, start, way))


def alerts(
    session: Session, where: Condition | None = None, *, order: Keys = (), limit: int | None = None
) -> Listing[Alert]:
    """The alerts that fulfil a condition. `Alert.Detections.any(…)` asks for their detections."""
    url = session.link(ALERTS, _query(where, order, limit))
    return Listing(session, url, lambda raw: nouns.read(Alert, raw))


def alert(session: Session, id: int) -> Steps[Alert]:
    """One alert. Raises NotFound."""
    url = session.link(f"{ALERTS}({id:d})")
    return nouns.read(Alert, (yield from session.call("GET", url, headers=TOLD)))


def change_alert(
    session: Session, id: int, *, if_match: Alert | str | None = None, **changes: Unpack[AlertChanges]
) -> Steps[Alert]:
    """Work on an alert, as `change_alert(7, status=AlertStatus.RESOLVED)`; as it is then. Raises NotFound.

    `if_match` as in `change_definition`; new detections change an alert, too.
    """
    body, headers = nouns.alert_changes(changes), _matching(if_match)
    raw = yield from session.call("PATCH", session.link(f"{ALERTS}({id:d})"), body, headers=headers)
    return nouns.read(Alert, raw)


def comments(session: Session, alert_id: int) -> Listing[AlertComment]:
    """What was written about the alert with that `id`, the oldest first."""
    url = session.link(f"{ALERTS}({alert_id:d})/{COMMENTS}")
    return Listing(session, url, lambda raw: nouns.read(AlertComment, raw))


def add_comment(session: Session, alert_id: int, text: str) -> Steps[AlertComment]:
    """Write something about an alert, which nobody changes afterwards. Raises NotFound, InvalidValue."""
    url = session.link(f"{ALERTS}({alert_id:d})/{COMMENTS}")
    raw = yield from session.call("POST", url, nouns.comment_body(text))
    return nouns.read(AlertComment, raw)


def count_alerts(session: Session, where: Condition | None = None) -> Steps[int]:
    """How many alerts fulfil a condition."""
    return (yield from _count(session, ALERTS, where))


def detections(
    session: Session,
    where: Condition | None = None,
    *,
    alert_id: int | None = None,
    order: Keys = (),
    limit: int | None = None,
) -> Listing[Detection]:
    """The detections that fulfil a condition, of all or of the alert with that `id`."""
    place = DETECTIONS if alert_id is None else f"{ALERTS}({alert_id:d})/{DETECTIONS}"
    url = session.link(place, _query(where, order, limit))
    return Listing(session, url, lambda raw: nouns.read(Detection, raw))


def count_detections(session: Session, where: Condition | None = None) -> Steps[int]:
    """How many detections fulfil a condition."""
    return (yield from _count(session, DETECTIONS, where))


def rows(
    session: Session,
    entity_set: str,
    where: Condition | None = None,
    *,
    select: Sequence[Field[Any]] = (),
    order: Keys = (),
    limit: int | None = None,
) -> Listing[dict[str, Any]]:
    """Entities of any set as plain JSON objects, with the selected fields alone; for tables and exports."""
    if not entity_set.isascii() or not entity_set.isalnum():
        raise InvalidValue("is the name of a set, such as IndicatorsOfCompromise", target="entity_set")
    query = _query(where, order, limit)
    if select:
        query["$select"] = ",".join(field.path for field in select)
    return Listing(session, session.link(entity_set, query), dict)


def _query(where: Condition | None, order: Keys, limit: int | None) -> dict[str, str]:
    query = bounded(limit)
    if where is not None:
        if not isinstance(where, Condition):
            raise InvalidValue("is a condition, such as Indicator.Value == 'evil.example'", target="where")
        query["$filter"] = where.text()
    if order:
        query["$orderby"] = ordering(order)
    return query


def _matching(if_match: AlertDefinition | Indicator | Alert | str | None) -> Mapping[str, str]:
    """The headers of a change. Raises InvalidValue for what is no ETag."""
    if if_match is None:
        return TOLD
    etag = if_match if isinstance(if_match, str) else if_match.etag
    if not etag:
        raise InvalidValue("has no ETag: lists do not tell it; ask for it by its id", target="if_match")
    if not _ETAG.fullmatch(etag):
        raise InvalidValue(f"is an ETag in quotes, or *; not {etag[:80]!r}", target="if_match")
    return {**TOLD, MATCH: etag}


def _reference(definition_id: int) -> dict[str, str]:
    return {"@odata.id": f"{DEFINITIONS}({definition_id:d})"}


def _count(session: Session, place: str, where: Condition | None) -> Steps[int]:
    found = yield from session.call("GET", session.link(f"{place}/$count", _query(where, (), None)))
    if type(found) is not int:
        raise BadAnswer(f"{place}/$count is no number")
    return found

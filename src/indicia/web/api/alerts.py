"""Alerts: what people do with them. Reading is that of every set."""

from __future__ import annotations

from collections.abc import Mapping

from indicia.model import Alert, SuppressAlert
from indicia.odata import bodies, options
from indicia.odata import format as odata
from indicia.odata.entities import ALERT, ALERT_COMMENT, SUPPRESS_ALERT, SUPPRESSION
from indicia.web.api import call as calls
from indicia.web.api.call import Answer, Call


def change(call: Call) -> Answer:
    """PATCH Alerts(1): Status, Classification, Determination, AssignedTo"""
    options.none(call.query)
    given = bodies.one(ALERT, bodies.decode(call.body), call.roots, partial=True)
    check = calls.check(call, ALERT)

    def changes(before: Alert) -> Mapping[str, object]:
        check(before)
        return given.attributes

    return calls.entity(call, ALERT, call.tenant.change_alert(call.key, changes, call.by))


def comment(call: Call) -> Answer:
    """POST Alerts(1)/Comments"""
    options.none(call.query)
    given = bodies.one(ALERT_COMMENT, bodies.decode(call.body), call.roots, partial=False)
    made = call.tenant.add_comment(call.key, given.attributes["text"], call.by)
    return calls.entity(call, ALERT_COMMENT, made, created=True)


def suppress(call: Call) -> Answer:
    """POST Alerts(1)/Actions.Suppress: it is a false positive, and its like is kept in silence"""
    options.none(call.query)
    given = bodies.one(SUPPRESS_ALERT, bodies.decode(call.body), call.roots, partial=False)
    wanted = SuppressAlert(**given.attributes)
    made = call.tenant.suppress_alert(call.key, wanted, call.by, calls.check(call, ALERT))
    if call.wants.minimal:
        return Answer(204, headers=calls.applied(call))
    content = odata.collection(SUPPRESSION, made, call.form)
    return calls.answer(call, content, headers=calls.applied(call))

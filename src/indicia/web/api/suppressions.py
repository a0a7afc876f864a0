"""Suppressions: until when what is kept in silence."""

from __future__ import annotations

from collections.abc import Mapping

from indicia.errors import InvalidValue
from indicia.model import Suppression
from indicia.odata import bodies, options
from indicia.odata.entities import SUPPRESSION
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call


def create(call: Call) -> Answer:
    """POST Suppressions"""
    options.none(call.query)
    given = bodies.one(SUPPRESSION, bodies.decode(call.body), call.roots, partial=False)
    wanted = {"reason": "", **given.attributes}
    made = call.tenant.add_suppression(Suppression(**wanted), call.by)
    return calls.entity(call, SUPPRESSION, made, created=True)


def change(call: Call) -> Answer:
    """PATCH Suppressions(1): EndsAt and Reason; what it names stays"""
    options.none(call.query)
    given = bodies.one(SUPPRESSION, bodies.decode(call.body), call.roots, partial=True)
    check = calls.check(call, SUPPRESSION)

    def changes(before: Suppression) -> Mapping[str, object]:
        check(before)
        return _changes(given, before)

    return calls.entity(call, SUPPRESSION, call.tenant.change_suppression(call.key, changes, call.by))


def _changes(given: bodies.Given, before: Suppression) -> Mapping[str, object]:
    """What is sent back as it was read is no change."""
    for described in SUPPRESSION.properties:
        name = described.attribute
        fixed = name in ("definition_id", "machine", "value")
        if fixed and name in given.attributes and given.attributes[name] != getattr(before, name):
            raise InvalidValue("cannot be changed; make another suppression", target=described.name)
    return {name: value for name, value in given.attributes.items() if name in ("ends_at", "reason")}


def delete(call: Call) -> Answer:
    """DELETE Suppressions(1): it ends now; what it kept in silence stays so"""
    options.none(call.query)
    call.tenant.delete_suppression(call.key, calls.check(call, SUPPRESSION))
    return NO_CONTENT

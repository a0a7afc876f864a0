"""Outputs: who is told of alerts, what waits for them, and what they would not take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indicia.errors import InvalidValue
from indicia.live import courier, targets
from indicia.messages import Output, Sent
from indicia.odata import bodies, options
from indicia.odata import format as odata
from indicia.odata.entities import OUTPUT, REPLAY_OUTPUT
from indicia.odata.records import OUTPUT_TEST
from indicia.outputs.given import Given
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call

_CHOICES = ("sends", "severity", "definition_ids", "enabled")


def create(call: Call) -> Answer:
    """POST Outputs: told of alerts from now on; a secret that was made is in this answer and in no other"""
    options.none(call.query)
    given = bodies.one(OUTPUT, bodies.decode(call.body), call.roots, partial=False).attributes
    target, wanted = given["target"], targets.options_of(given.get("option_texts", ()))
    own = given.get("secret")
    secret = own or targets.secret_for(target)
    new = Output(name=given["name"], kind="", target="", **_choices(call, given))
    targets.must_be_remote(target, wanted)
    targets.must_open(call.seal, call.tenant.uid, call.tenant.outbox.outputs())
    new = targets.sealed(call.seal, call.tenant.uid, new, Given(target, wanted, secret))
    made = call.tenant.outbox.add(new, call.by)
    told = {odata.MADE: secret} if secret and not own else {}
    return calls.entity(call, OUTPUT, made, created=True, more=told)


def change(call: Call) -> Answer:
    """PATCH Outputs(1): all but its name; what waits for it is then tried again at once"""
    options.none(call.query)
    given = bodies.one(OUTPUT, bodies.decode(call.body), call.roots, partial=True).attributes
    chosen, check = _choices(call, given), calls.check(call, OUTPUT)

    def changes(before: Output) -> Mapping[str, object]:
        check(before)
        if given.get("name", before.name) != before.name:
            raise InvalidValue("cannot be changed; add another output", target="Name")
        return {**chosen, **_target(call, given, before)}

    return calls.entity(call, OUTPUT, call.tenant.outbox.change(call.key, changes, call.by))


def delete(call: Call) -> Answer:
    """DELETE Outputs(1), with all that waits for it"""
    options.none(call.query)
    call.tenant.outbox.delete(call.key, call.by, calls.check(call, OUTPUT))
    return NO_CONTENT


def test(call: Call) -> Answer:
    """POST Outputs(1)/Actions.Test: send it a message of its own now; what the receiver said"""
    options.none(call.query)
    box = call.tenant.outbox
    said = courier.try_out(call.seal, box, box.output(call.key), box.trial())
    return calls.answer(call, odata.record(OUTPUT_TEST, said, call.form))


def replay(call: Call) -> Answer:
    """POST Outputs(1)/Actions.Replay: the dead ones again, the one named, or all since; how many"""
    options.none(call.query)
    body = bodies.decode(call.body) if call.body else {}
    given = bodies.one(REPLAY_OUTPUT, body, call.roots, partial=False).attributes
    message_id, since = given.get("message_id"), given.get("since")
    if message_id and since:
        raise InvalidValue("give either MessageId or Since", target="Since")
    count = call.tenant.outbox.replay(call.key, call.by, message_id=message_id, since=since)
    return calls.answer(call, odata.primitive("Edm.Int64", count, call.form))


def _choices(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a tenant's alerts is sent. Raises InvalidValue."""
    found = {name: given[name] for name in _CHOICES if name in given}
    sends = found.get("sends", (Sent.OPENED,))
    if not sends or Sent.TEST in sends:
        allowed = ", ".join(one for one in Sent if one is not Sent.TEST)
        raise InvalidValue(f"must be one or more of {allowed}", target="Sends")
    wanted = found.get("definition_ids", ())
    absent = set(wanted) - call.tenant.definitions_by_id(wanted).keys() if wanted else set()
    if absent:
        raise InvalidValue(bodies.definition_missing(min(absent)), target="AlertDefinitionIds")
    return found


def _target(call: Call, given: Mapping[str, Any], before: Output) -> Mapping[str, object]:
    """What changes of target, options and secret; what is sent back as it was read is no change."""
    target = given.get("target", before.target)
    wanted = targets.options_of(given["option_texts"]) if "option_texts" in given else before.options
    secret = given.get("secret")
    if not secret and (target, wanted) == (before.target, before.options):
        return {}
    new = None if target == before.target else target
    targets.must_be_remote(new, wanted, before.options)
    after = targets.renewed(call.seal, call.tenant.uid, before, new, wanted, secret)
    return {"target": after.target, "options": after.options, "sealed": after.sealed}

"""Outputs: who is told of alerts, what waits for each, what was given up; tested, paused, sent again.

What only the service's machine may say stays on the command line: files to be written, and files of
certificates. A secret that was made is on the answer to the POST that made it and nowhere else.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from indicia import outputs as kinds
from indicia.auth.sealing import Seal
from indicia.errors import InputError, InvalidValue, TooManyRequests
from indicia.live import courier, targets
from indicia.messages import SECRET_LIMIT, TARGET_LIMIT, UNLESS_SAID, Backlog, Outcome, Output, Sent
from indicia.model import Severity
from indicia.outputs import brokers
from indicia.outputs.given import Given as Target
from indicia.store.outbox import MOST
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit

OUTPUTS = "/portal/settings/outputs"
COUNTED = 10_001
"""Messages of an output that are counted; beyond it is said that there are more."""
AT_ONCE = 50
_TESTS = threading.BoundedSemaphore(4)
"""Of a process at one time: a receiver that is silent holds a thread for half a minute."""
SENDS = tuple(sent for sent in Sent if sent is not Sent.TEST)


class Option(NamedTuple):
    """An option of a kind, as the form asks for it."""

    name: str
    label: str
    hint: str
    choices: tuple[str, ...] = ()
    """Where it is one of some words; the first one unless said otherwise."""


class Kind(NamedTuple):
    """A kind of receiver that can be added here."""

    name: str
    title: str
    example: str
    secret: str
    """What the secret is; empty where there is none."""
    options: tuple[Option, ...]


KINDS: tuple[Kind, ...] = (
    Kind(
        "webhook",
        "Webhook",
        "https://alerts.example/indicia",
        "whsec_ and the Base64 of a key; left empty, one is made and shown once.",
        (
            Option("allow", "Addresses allowed", "Networks that are none of the internet: 10.1.2.0/24"),
            Option("redirects", "Redirects followed", "0 to 5; 0 unless given"),
        ),
    ),
    Kind(
        "syslog",
        "Syslog",
        "syslog+tls://siem.example:6514",
        "",
        (
            Option("format", "Format", "", ("rfc5424", "cef")),
            Option("framing", "Framing", "Over TCP and TLS", ("octets", "lines")),
            Option("facility", "Facility", "0 to 23; 16 (local0) unless given"),
            Option("longest", "Longest message", "Bytes; 8192 unless given"),
        ),
    ),
    Kind(
        "elastic",
        "Elasticsearch or OpenSearch",
        "elastic+https://search.example:9200/indicia-alerts",
        "USER:PASSWORD, or ApiKey and the encoded key.",
        (),
    ),
    Kind(
        "kafka",
        "Kafka",
        "kafka+tls://broker.example:9093/indicia-alerts",
        "USER:PASSWORD, for SASL.",
        (Option("mechanism", "SASL mechanism", "PLAIN over TLS alone", brokers.MECHANISMS),),
    ),
)


class Line(NamedTuple):
    """An output as the list shows it."""

    output: Output
    backlog: Backlog


def the_list(visit: Visit, fault: InputError | None = None) -> Response:
    """GET /portal/settings/outputs: all of them, and the form for another one of `?kind=`."""
    wanted = visit.form.one("kind") or visit.query("kind")
    box = visit.tenant.outbox
    backlogs = {one.output_id: one for one in box.backlogs(COUNTED)}
    nothing = Backlog(0, 0, None, 0)
    holder = visit.portal.store.turn_of(courier.TURN)
    return visit.page(
        "outputs.html",
        200 if fault is None else fault.status,
        lines=[Line(one, backlogs.get(one.id, nothing)) for one in box.outputs()],
        kinds=KINDS,
        kind=next((one for one in KINDS if one.name == wanted), None),
        kind_tabs=[(one.title, f"{OUTPUTS}?kind={one.name}#add") for one in KINDS],
        kind_tab=f"{OUTPUTS}?kind={wanted}#add",
        most=MOST,
        counted=COUNTED,
        given=Given(visit.form),
        fault=fault,
        delivering=holder.rpartition(":")[::2] if holder else (),
        **_offered(visit),
    )


def _offered(visit: Visit) -> dict[str, Any]:
    """What can be chosen of what is sent."""
    return {"sends": SENDS, "unless_said": UNLESS_SAID, "severities": [str(one) for one in Severity]}


def create(visit: Visit) -> Response:
    """POST /portal/settings/outputs: told of alerts from now on; a secret that was made is shown once."""
    form = visit.form
    try:
        given = _given(visit)
        made_secret = "" if given.secret else targets.secret_for(given.target)
        new = Output(name=form.one("name").strip(), kind="", target="", **_choices(visit))
        whole = Target(given.target, given.options, given.secret or made_secret)
        seal = Seal(visit.settings.home)
        targets.must_open(seal, visit.tenant.uid, visit.tenant.outbox.outputs())
        sealed = targets.sealed(seal, visit.tenant.uid, new, whole)
        made = visit.tenant.outbox.add(sealed, visit.person.name)
    except InvalidValue as fault:
        return the_list(visit, fault)
    if made_secret:
        return _show(visit, made.name, secret=made_secret)
    return visit.go(f"{OUTPUTS}/{made.name}", f"{made.name} is told of alerts from now on. Test it.")


def _given(visit: Visit) -> Target:
    """Target, options and secret of the form; InvalidValue."""
    form = visit.form
    target, secret = form.one("target").strip(), form.one("secret").strip()
    wanted = next((one for one in KINDS if one.name == form.one("kind")), None)
    if wanted is None:
        raise InvalidValue("choose what kind of receiver it is", target="Target")
    if len(target) > TARGET_LIMIT or len(secret) > SECRET_LIMIT:
        raise InvalidValue("is too long", target="Target" if len(target) > TARGET_LIMIT else "Secret")
    targets.must_be_remote(target, {})
    if kinds.kind_of(target) != wanted.name:
        raise InvalidValue(f"must begin as {wanted.example}", target="Target")
    options: dict[str, str] = {}
    for option in wanted.options:
        text = form.one(f"option-{option.name}").strip()
        if len(text) > TARGET_LIMIT or not text.isprintable():
            raise InvalidValue(f"{option.name} is too long, or not printable", target="Options")
        if text and not (option.choices and text == option.choices[0]):
            options[option.name] = text
    return Target(target, options, secret)


def _choices(visit: Visit) -> dict[str, Any]:
    """What of the tenant's alerts is sent; InvalidValue, NotFound."""
    form = visit.form
    chosen = tuple(sent for sent in SENDS if str(sent) in form.many("sends"))
    if not chosen:
        raise InvalidValue("choose at least one; else it is told nothing", target="Sends")
    severity = form.one("severity")
    if severity and severity not in list(Severity):
        raise InvalidValue(f"must be one of {', '.join(Severity)}", target="Severity")
    return {
        "sends": chosen,
        "severity": Severity(severity) if severity else None,
        "definition_ids": _definitions(visit, form.one("definitions")),
    }


def _definitions(visit: Visit, text: str) -> tuple[int, ...]:
    """The numbers of alert definitions, apart by commas or blanks; each must be there."""
    parts = text.replace(",", " ").split()
    if len(parts) > 100 or not all(part.isascii() and part.isdecimal() and len(part) < 16 for part in parts):
        raise InvalidValue("must be the ids of at most 100 alert definitions", target="AlertDefinitionIds")
    wanted = sorted({int(part) for part in parts})
    there = visit.tenant.definitions_by_id(wanted) if wanted else {}
    if missing := [number for number in wanted if number not in there]:
        raise InvalidValue(f"there is no alert definition {missing[0]}", target="AlertDefinitionIds")
    return tuple(wanted)


def output(visit: Visit) -> Response:
    """GET /portal/settings/outputs/{name}"""
    return _show(visit, visit.at("name"))


def _show(
    visit: Visit,
    name: str,
    *,
    secret: str = "",
    tested: str = "",
    worked: bool = False,
    fault: InputError | None = None,
) -> Response:
    """An output and the messages to it that were given up; `secret` was made, `tested` said just now."""
    box = visit.tenant.outbox
    found = box.output(name)
    after = visit.query("after", "0")
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise InvalidValue("is no place in the list; begin again without it", target="after")
    dead = box.dead(name, after=int(after), limit=AT_ONCE + 1)
    more = len(dead) > AT_ONCE
    here = f"{OUTPUTS}/{found.name}"
    return visit.page(
        "output.html",
        200 if fault is None else fault.status,
        output=found,
        home=here,
        backlog=next(one for one in box.backlogs(COUNTED) if one.output_id == found.id),
        counted=COUNTED,
        dead=dead[:AT_ONCE],
        next=f"{here}?{urlencode({'after': dead[AT_ONCE - 1].number})}" if more else None,
        first=here if after != "0" else None,
        secret=secret,
        tested=tested,
        worked=worked,
        given=Given(visit.form),
        fault=fault,
        **_offered(visit),
    )


def change(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}: what is sent."""
    name = visit.at("name")
    try:
        visit.tenant.outbox.change(name, _choices(visit), visit.person.name)
    except InvalidValue as fault:
        return _show(visit, name, fault=fault)
    return visit.go(f"{OUTPUTS}/{name}", "Saved. What waits already is sent as it is.")


def pause(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}/pause: it is told nothing; what waits goes on waiting."""
    made = visit.tenant.outbox.change(visit.at("name"), {"enabled": False}, visit.person.name)
    return visit.go(f"{OUTPUTS}/{made.name}", f"{made.name} is paused.")


def resume(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}/resume: what waits is tried at once."""
    made = visit.tenant.outbox.change(visit.at("name"), {"enabled": True}, visit.person.name)
    return visit.go(f"{OUTPUTS}/{made.name}", f"{made.name} is told again; what waits is tried at once.")


def _as_here(fault: str) -> str:
    """An error in the words of these pages: the command line's option is a field here."""
    return fault.replace(
        "allow it: --option allow=", "delete this output and add it with, under “Addresses allowed”: "
    )


def test(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}/test: a message of its own, now; what the receiver said."""
    box = visit.tenant.outbox
    found = box.output(visit.at("name"))
    if not _TESTS.acquire(blocking=False):
        raise TooManyRequests("other outputs are tested at this moment; try again", retry_after=10)
    try:
        said = courier.try_out(Seal(visit.settings.home), box, found, box.trial())
    finally:
        _TESTS.release()
    worked = said.outcome is Outcome.DELIVERED
    words = f"took the message {said.message.id}" if worked else _as_here(said.fault)
    return _show(visit, found.name, tested=words, worked=worked)


def replay(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}/replay: those that were given up, or the one of `message`."""
    name, message = visit.at("name"), visit.form.one("message")
    if len(message) > 100:
        raise InvalidValue("is no id of a message", target="message")
    count = visit.tenant.outbox.replay(name, visit.person.name, message_id=message or None)
    words = "1 message" if count == 1 else f"{count:,} messages"
    return visit.go(f"{OUTPUTS}/{visit.tenant.outbox.output(name).name}", f"{words} will be sent again.")


def delete(visit: Visit) -> Response:
    """POST /portal/settings/outputs/{name}/delete: with all that waits for it."""
    name = visit.at("name")
    visit.tenant.outbox.delete(name, visit.person.name)
    return visit.go(OUTPUTS, f"{name} is gone, with what waited for it.")


_ONE = f"{OUTPUTS}/{{name}}"
PAGES: tuple[Page, ...] = (
    Page("GET", OUTPUTS, the_list, Role.ADMINISTRATOR),
    Page("POST", OUTPUTS, create, Role.ADMINISTRATOR),
    Page("GET", _ONE, output, Role.ADMINISTRATOR),
    Page("POST", _ONE, change, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/pause", pause, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/resume", resume, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/test", test, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/replay", replay, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/delete", delete, Role.ADMINISTRATOR),
)

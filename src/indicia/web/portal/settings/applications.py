"""Applications: what they are, what they may, and what proves them.

An application is shown on its own page and on that of the original's settings (`threat_intel`); what is
done to it is done below either path, and the same page comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.responses import Response

from indicia.auth import roles, secrets
from indicia.errors import InputError, InvalidValue, NotFound
from indicia.model import REASON_LIMIT
from indicia.store import Application
from indicia.web import access, snippets
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings import slices
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit
from indicia.web.token import v1_answer

APPLICATIONS = "/portal/settings/applications"
INTEL = "/portal/settings/threat-intel"
LONGEST_DAYS = 36_500
CERTIFICATE_BYTES = 64 * 1024
ROLES: tuple[tuple[str, str], ...] = (
    (roles.TI_READ, "Read alert definitions and indicators"),
    (roles.TI_WRITE, "Read and change alert definitions and indicators"),
    (roles.ALERT_READ, "Read alerts and detections"),
    (roles.ALERT_WRITE, "Read alerts and detections, and work on alerts"),
    (roles.EVENT_WRITE, "Send events"),
    (roles.ADMIN, "Read the audit log and metrics, manage outputs and allow-lists"),
)
_TEMPLATES = {APPLICATIONS: "application.html", INTEL: "threat-intel.html"}


def days_of(text: str) -> int:
    """How long a secret is to be valid; InvalidValue."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= LONGEST_DAYS):
        raise InvalidValue(f"must be a whole number of days from 1 to {LONGEST_DAYS:,}", target="days")
    return int(text)


def described(visit: Visit) -> tuple[str, int]:
    """What a new secret is for, and for how long; InvalidValue."""
    text = visit.form.one("description").strip()
    if len(text) > REASON_LIMIT or "\0" in text:
        raise InvalidValue(f"has at most {REASON_LIMIT} characters, not U+0000", target="description")
    return text, days_of(visit.form.one("days", str(secrets.DAYS)).strip())


def _chosen(visit: Visit) -> tuple[str, ...]:
    """The roles that are ticked; InvalidValue."""
    wanted = visit.form.many("roles")
    if not wanted:
        raise InvalidValue("choose at least one; without any it may do nothing", target="roles")
    if strange := set(wanted) - set(roles.ALL):
        raise InvalidValue(f"{min(strange)[:40]!r} is no role", target="roles")
    return tuple(role for role in roles.ALL if role in wanted)


def the_list(visit: Visit, fault: InputError | None = None) -> Response:
    """GET /portal/settings/applications"""
    found = slices.behind(visit.tenant.applications(), lambda one: one.client_id, visit.query("after"))
    return visit.page(
        "applications.html",
        200 if fault is None else fault.status,
        applications=found.rows,
        next=f"{APPLICATIONS}?after={found.mark}" if found.mark else None,
        first=APPLICATIONS if visit.query("after") else None,
        roles=ROLES,
        ticked=visit.form.many("roles") if fault else roles.DEFAULT,
        given=Given(visit.form),
        fault=fault,
        days=secrets.DAYS,
        now=datetime.now(UTC),
    )


def create(visit: Visit) -> Response:
    """POST /portal/settings/applications: one with its first secret, shown on the answer alone."""
    try:
        held, (description, days) = _chosen(visit), described(visit)
        made = visit.tenant.add_application(visit.form.one("name"), held)
    except InvalidValue as fault:
        return the_list(visit, fault)
    text, _ = access.new_secret(visit.tenant, made.client_id, description, days)
    return show(visit, APPLICATIONS, made.client_id, secret=text)


def show(
    visit: Visit,
    place: str,
    client_id: str,
    *,
    secret: str = "",
    tokens: dict[str, Any] | None = None,
    fault: InputError | None = None,
) -> Response:
    """The page of an application; `secret` and `tokens` were made just now."""
    found = visit.tenant.access.application(client_id)
    details = access.details(visit.settings, visit.tenant.uid, found.client_id, "")
    return visit.page(
        _TEMPLATES[place],
        200 if fault is None else fault.status,
        application=found,
        others=_others(visit, found) if place == INTEL else [],
        home=f"{place}/{found.client_id}",
        details=details,
        snippets=[(one, snippets.filled(one, details)) for one in snippets.LANGUAGES],
        secret_variable=snippets.SECRET,
        secret=secret,
        tokens=tokens,
        given=Given(visit.form),
        fault=fault,
        roles=ROLES,
        days=secrets.DAYS,
        now=datetime.now(UTC),
    )


def _others(visit: Visit, shown: Application) -> list[Application]:
    """The applications that can take the place of the one that is shown, this one too."""
    return [one for one in visit.tenant.applications() if serves(one) or one.client_id == shown.client_id]


def serves(one: Application) -> bool:
    """Whether an application can use the threat intelligence API."""
    return one.revoked_at is None and not roles.READERS.isdisjoint(one.roles)


def _usable(visit: Visit) -> Application:
    found = visit.tenant.access.application(visit.at("client_id"))
    if found.revoked_at is not None:
        raise InputError(f"{found.name} was disabled for good; make another application")
    return found


def _page(place: str, visit: Visit) -> Response:
    """GET …/{client_id}"""
    return show(visit, place, visit.at("client_id"))


def _add_secret(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/secrets: another one, shown on the answer alone."""
    owner = _usable(visit)
    try:
        description, days = described(visit)
        text, _ = access.new_secret(visit.tenant, owner.client_id, description, days)
    except InvalidValue as fault:
        return show(visit, place, owner.client_id, fault=fault)
    return show(visit, place, owner.client_id, secret=text)


def _revoke_secret(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/secrets/{number}/revoke"""
    visit.tenant.revoke_secret(visit.at("client_id"), visit.at("number"))
    return _back(place, visit, f"Secret {visit.at('number')} is refused from now on.")


def _add_certificate(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/certificates: the file of a certificate, never its key."""
    owner, sent = _usable(visit), visit.form.file("certificate")
    try:
        if sent is None:
            raise InvalidValue("choose the file of a certificate", target="certificate")
        content = sent.content.read(CERTIFICATE_BYTES + 1)
        if len(content) > CERTIFICATE_BYTES:
            raise InvalidValue("is too large for a certificate", target="certificate")
        if b"PRIVATE KEY" in content:
            raise InvalidValue("holds a private key; send the certificate alone", target="certificate")
        kept = access.register(visit.tenant, owner.client_id, content, sent.name[:100])
    except InputError as fault:
        fault.target = "certificate"
        return show(visit, place, owner.client_id, fault=fault)
    return _back(place, visit, f"Certificate {kept.id} is registered.")


def _revoke_certificate(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/certificates/{number}/revoke"""
    visit.tenant.revoke_certificate(visit.at("client_id"), visit.at("number"))
    return _back(place, visit, f"Certificate {visit.at('number')} is refused from now on.")


def _generate(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/tokens: an access token and a refresh token, shown on the answer alone."""
    owner = _usable(visit)
    answer = v1_answer(visit.portal.grants.generate(visit.tenant, owner.client_id))
    return show(visit, place, owner.client_id, tokens=answer)


def _revoke_tokens(place: str, visit: Visit) -> Response:
    """POST …/{client_id}/tokens/revoke"""
    count = visit.tenant.access.revoke_refresh_tokens(visit.at("client_id"))
    return _back(place, visit, f"{count} generated token{'' if count == 1 else 's'} revoked.")


def _save(_place: str, visit: Visit) -> Response:
    """POST …/{client_id}/details: a file for clients, with the secret where the form has it still."""
    owner = visit.tenant.access.application(visit.at("client_id"))
    secret = visit.form.one("client_secret")
    if secret and secrets.held(secret, [one.hash for one in owner.secrets]) is None:
        raise NotFound(f"this is no secret of {owner.name}")
    found = access.details(visit.settings, visit.tenant.uid, owner.client_id, secret)
    return attachment(json.dumps(found, indent=2) + "\n", "details.json", "application/json")


def attachment(content: str | bytes, name: str, media_type: str) -> Response:
    """A file to be saved; `name` is ours."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type=media_type)


def change(visit: Visit) -> Response:
    """POST /portal/settings/applications/{client_id}: another name, other roles."""
    client_id = visit.at("client_id")
    try:
        visit.tenant.access.change(client_id, name=visit.form.one("name"), roles=_chosen(visit))
    except InvalidValue as fault:
        return show(visit, APPLICATIONS, client_id, fault=fault)
    return _back(APPLICATIONS, visit, "Saved. New roles come with the next token.")


def disable(visit: Visit) -> Response:
    """POST /portal/settings/applications/{client_id}/disable: refuse it for good."""
    found = visit.tenant.access.application(visit.at("client_id"))
    visit.tenant.revoke_application(found.client_id)
    return visit.go(APPLICATIONS, f"{found.name} is refused from now on.")


def _back(place: str, visit: Visit, said: str) -> Response:
    return visit.go(f"{place}/{visit.at('client_id')}", said)


_DEEDS: tuple[tuple[str, str, Callable[[str, Visit], Response]], ...] = (
    ("GET", "", _page),
    ("POST", "/secrets", _add_secret),
    ("POST", "/secrets/{number:int}/revoke", _revoke_secret),
    ("POST", "/certificates", _add_certificate),
    ("POST", "/certificates/{number:int}/revoke", _revoke_certificate),
    ("POST", "/tokens", _generate),
    ("POST", "/tokens/revoke", _revoke_tokens),
    ("POST", "/details", _save),
)


def below(place: str) -> tuple[Page, ...]:
    """What can be done to one application below a path."""
    return tuple(
        Page(method, f"{place}/{{client_id}}{path}", partial(handler, place), Role.ADMINISTRATOR)
        for method, path, handler in _DEEDS
    )


PAGES: tuple[Page, ...] = (
    Page("GET", APPLICATIONS, the_list, Role.ADMINISTRATOR),
    Page("POST", APPLICATIONS, create, Role.ADMINISTRATOR),
    *below(APPLICATIONS),
    Page("POST", f"{APPLICATIONS}/{{client_id}}", change, Role.ADMINISTRATOR),
    Page("POST", f"{APPLICATIONS}/{{client_id}}/disable", disable, Role.ADMINISTRATOR),
)

"""Sign on at an OpenID Connect provider of `config.toml`, and come back.

What belongs to one sign-on (state, nonce, verifier, where to go then) is in a cookie of the browser that
began it, for ten minutes and one answer; the service keeps nothing.
"""

from __future__ import annotations

import hmac
import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from starlette.responses import Response

from indicia.auth.sign_on import Provider, parse
from indicia.errors import Forbidden, IndiciaError, InputError, NotFound, Unauthorized
from indicia.model import Actor, Through
from indicia.settings import Settings
from indicia.store import Role, Tenant
from indicia.web import jwks, problems, trace
from indicia.web.portal import signing, tokens
from indicia.web.portal.pages import OpenPage
from indicia.web.portal.visit import HOME, Guest, local

LOG = logging.getLogger("indicia.web")
SECONDS = 600
"""How long somebody may take to sign on there."""
_KEPT = ("provider", "state", "nonce", "verifier", "next")


def providers(settings: Settings) -> dict[str, Provider]:
    """Those that `config.toml` names; InputError with what is wrong in which table."""
    found: dict[str, Provider] = {}
    for position, table in enumerate(settings.sign_on):
        place = f"{settings.home / 'config.toml'}: sign_on[{position}]"
        one = parse(table, place)
        if one.name in found:
            raise InputError("is there twice", place=f"{place}.name")
        found[one.name] = Provider(one, jwks.fetch, jwks.post)
    return found


def begin(guest: Guest) -> Response:
    """GET /portal/sign-on/{name}: to the provider."""
    provider = _provider(guest)
    kept = {name: tokens.made() for name in ("state", "nonce", "verifier")}
    try:
        target = provider.begin(**kept, back=_back(guest, provider))
    except IndiciaError as fault:
        return signing.refused(guest, problems.told(fault), fault)
    response = guest.go(target)
    kept |= {"provider": provider.sign_on.name, "next": local(guest.query("next", HOME))}
    content = urlsafe_b64encode(json.dumps(kept).encode()).decode()
    guest.portal.cookies.set(response, tokens.SIGN_ON, content, SECONDS)
    return response


def finish(guest: Guest) -> Response:
    """GET /portal/sign-on/{name}/back: the provider's answer; signed in, or why not."""
    provider = _provider(guest)
    kept = _kept(guest)
    try:
        _check(guest, provider, kept)
        proved = provider.finish(
            code=guest.query("code"),
            nonce=kept["nonce"],
            verifier=kept["verifier"],
            back=_back(guest, provider),
        )
        tenant = _tenant(guest, proved.tenant)
        person = guest.portal.store.people.signed_on(
            proved.issuer,
            proved.subject,
            proved.name,
            tenant,
            Role.of(proved.role),
            Actor("", Through.PORTAL, trace.current_id()),
        )
        response = signing.entered(guest, person.uid, tenant, local(kept["next"]))
    except IndiciaError as fault:
        LOG.warning("a sign-on at %s is refused: %s", provider.sign_on.issuer, fault.message)
        response = signing.refused(guest, problems.told(fault), fault)
    guest.portal.cookies.drop(response, tokens.SIGN_ON)
    return response


def _check(guest: Guest, provider: Provider, kept: Mapping[str, str]) -> None:
    """Whether it is the answer to what this browser began; RFC 6749 10.12, RFC 9207."""
    state = guest.query("state").encode("utf-8", "replace")
    ours = kept.get("provider") == provider.sign_on.name and hmac.compare_digest(
        state, kept.get("state", "").encode()
    )
    if not kept or not ours:
        raise Forbidden("this sign-on was not begun in this browser, took too long, or was used; begin again")
    if guest.query("iss", provider.sign_on.issuer) != provider.sign_on.issuer:
        raise Unauthorized("the answer is of another provider (iss)")
    if guest.query("error"):
        said = guest.query("error_description") or guest.query("error")
        raise Unauthorized(f"{provider.sign_on.title} says: {said[:300]}")
    if not guest.query("code"):
        raise Unauthorized(f"{provider.sign_on.title} gave no code; begin again")


def _provider(guest: Guest) -> Provider:
    found = guest.portal.providers.get(guest.at("name"))
    if found is None:
        raise NotFound("there is no such provider")
    return found


def _back(guest: Guest, provider: Provider) -> str:
    return f"{guest.settings.portal_url}/portal/sign-on/{provider.sign_on.name}/back"


def _kept(guest: Guest) -> dict[str, str]:
    """What the cookie says; nothing where it is none of ours."""
    try:
        content = json.loads(urlsafe_b64decode(guest.portal.cookies.read(guest.request, tokens.SIGN_ON)))
        return {name: str(content[name]) for name in _KEPT}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _tenant(guest: Guest, name: str) -> Tenant:
    try:
        return guest.portal.store.tenant(name).tenant
    except NotFound:
        LOG.error("config.toml maps a sign-on to a tenant that is not there: %s", name)
        raise Unauthorized("you are mapped to a tenant that is not there; see config.toml") from None


OPEN_PAGES: tuple[OpenPage, ...] = (
    OpenPage("GET", "/portal/sign-on/{name}", begin),
    OpenPage("GET", "/portal/sign-on/{name}/back", finish),
)

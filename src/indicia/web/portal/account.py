"""What somebody changes about themselves: password, sessions, the tenant they look at, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.responses import Response

from indicia.auth import passwords
from indicia.errors import IndiciaError, InvalidValue, NotFound
from indicia.store import Session
from indicia.web.portal import signing, tokens
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import HOME, THEMES, Visit, local, path_of

ACCOUNT = "/portal/account"


def account(visit: Visit) -> Response:
    """GET /portal/account"""
    return _page(visit)


def change_password(visit: Visit) -> Response:
    """POST /portal/account/password: who knows the old one sets a new one; other sessions end."""
    new = visit.form.one("new")
    try:
        signing.proved(visit.guest, visit.person.name, visit.form.one("old"))
    except IndiciaError as fault:
        wrong = "is wrong" if fault.message == signing.REFUSED else fault.message
        return _page(visit, fault.status, wrong, "old")
    try:
        passwords.check(new, visit.person.name, "new")
        if new != visit.form.one("again"):
            raise InvalidValue("is not what you wrote first; write it twice the same", target="again")
    except InvalidValue as fault:
        return _page(visit, fault.status, fault.message, fault.target or "")
    kept = tokens.digest(visit.guest.seed)
    people = visit.portal.store.people
    people.change_password(visit.person.uid, passwords.digest(new), kept, visit.tenant.actor)
    return visit.go(ACCOUNT, "Your password is changed; your other sessions have ended.")


def end_session(visit: Visit) -> Response:
    """POST /portal/account/sessions/{id}: end one of one's own."""
    if visit.at("id") == visit.session.id:
        return signing.sign_out(visit)
    visit.portal.store.people.sign_out(visit.at("id"), visit.person.uid, visit.tenant.actor)
    return visit.go(ACCOUNT, "The session has ended.")


def end_sessions(visit: Visit) -> Response:
    """POST /portal/account/sessions: sign out everywhere, here too."""
    visit.portal.store.people.sign_out_everywhere(visit.person.uid, visit.tenant.actor)
    response = visit.go("/portal/sign-in", "You are signed out everywhere.")
    visit.portal.cookies.drop(response, tokens.SESSION)
    return response


def change_tenant(visit: Visit) -> Response:
    """POST /portal/tenant: look at another tenant, in a new session that ends when this one would have."""
    wanted = next((one for one in visit.tenants if one.uid == visit.form.one("tenant")), None)
    if wanted is None:
        raise NotFound("there is no such tenant that you may enter")
    return signing.entered(visit.guest, visit.person.uid, wanted, HOME, visit.session.expires_at)


def change_theme(visit: Visit) -> Response:
    """POST /portal/theme: light or dark; anything else: as the browser has it."""
    response = visit.go(local(path_of(visit.request.headers.get("referer", ""))))
    theme = visit.form.one("theme")
    if theme in THEMES:
        visit.portal.cookies.set(response, tokens.THEME, theme, tokens.YEAR)
    else:
        visit.portal.cookies.drop(response, tokens.THEME)
    return response


def _page(visit: Visit, status: int = 200, fault: str = "", place: str = "") -> Response:
    people = visit.portal.store.people
    return visit.page(
        "account.html",
        status,
        sessions=alive(visit, people.sessions(visit.person.uid)),
        here=visit.session.id,
        fault=fault,
        place=place,
        shortest=passwords.SHORTEST,
    )


def alive(visit: Visit, found: Sequence[Session]) -> list[tuple[Session, str]]:
    """Those that were used of late, with what their browsers are; others let nobody in any more."""
    since = datetime.now(UTC) - visit.settings.session_idle
    return [(one, browser_of(one.agent)) for one in found if one.seen_at > since]


_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def browser_of(agent: str) -> str:
    """What a browser calls itself in two words, as `Firefox on Linux`; else all that it says."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser} on {system}" if browser and system else agent or "unknown"


PAGES: tuple[Page, ...] = (
    Page("GET", ACCOUNT, account, Role.READER),
    Page("POST", "/portal/account/password", change_password, Role.READER),
    Page("POST", "/portal/account/sessions", end_sessions, Role.READER),
    Page("POST", "/portal/account/sessions/{id:int}", end_session, Role.READER),
    Page("POST", "/portal/tenant", change_tenant, Role.READER),
    Page("POST", "/portal/theme", change_theme, Role.READER),
)

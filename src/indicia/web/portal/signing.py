"""The way in and out: sign in by name and password, open a one-time link, sign out."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from starlette.responses import Response

from indicia.auth import passwords
from indicia.auth.attempts import FAILURES
from indicia.errors import Forbidden, IndiciaError, InputError, InvalidValue, TooManyRequests
from indicia.model import Actor, Through
from indicia.store import Link, Member, Tenant
from indicia.store.members import login_of
from indicia.web import trace
from indicia.web.portal import tokens
from indicia.web.portal.pages import OpenPage, Page, Role
from indicia.web.portal.visit import HOME, Guest, Visit, local

NAME_LIMIT = 200
ANYBODY = ""
"""Stands for every name, where the failures of an address are counted."""
OF_AN_ADDRESS = 100
"""Failed sign-ins from one address within a minute, whoever they name."""
REFUSED = "Name or password is wrong."


def sign_in_page(guest: Guest) -> Response:
    """GET /portal/sign-in"""
    return _sign_in_form(guest, local(guest.query("next", HOME)))


def sign_in(guest: Guest) -> Response:
    """POST /portal/sign-in: the same refusal for a name that is not there as for a wrong password."""
    name, after = guest.form.one("name")[:NAME_LIMIT], local(guest.form.one("next", HOME))
    try:
        uid = proved(guest, name, guest.form.one("password"))
        return entered(guest, uid, _choose(guest, uid), after)
    except IndiciaError as fault:
        return refused(guest, fault.message, fault, name, after)


def refused(guest: Guest, said: str, fault: IndiciaError, name: str = "", after: str = HOME) -> Response:
    """The sign-in page with what was wrong."""
    response = _sign_in_form(guest, after, fault.status, said, name)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


def _sign_in_form(guest: Guest, after: str, status: int = 200, fault: str = "", name: str = "") -> Response:
    found = [(one.sign_on.name, one.sign_on.title) for one in guest.portal.providers.values()]
    said = fault[:1].upper() + fault[1:]
    return guest.page("sign-in.html", status, name=name, fault=said, next=after, providers=found)


def proved(guest: Guest, name: str, password: str) -> str:
    """The uid of the person whose password it is; InputError, TooManyRequests after too many failures."""
    attempts, people, who = guest.portal.attempts, guest.portal.store.people, login_of(name)
    _admit(guest, who)
    found = people.by_name(name)
    person, known = found or (None, None)
    if not passwords.holds(password, known) or person is None or known is None:
        attempts.failed(ANYBODY, guest.address)
        raise InputError(REFUSED)
    attempts.succeeded(who, guest.address)
    if passwords.is_old(known):
        people.rehash(person.uid, passwords.digest(password))
    return person.uid


def _admit(guest: Guest, who: str) -> None:
    """Count a failure before it is known to be one: so many at once are no way around the limit."""
    attempts = guest.portal.attempts
    try:
        attempts.admit(ANYBODY, guest.address, OF_AN_ADDRESS)
        attempts.failed(who, guest.address)
        attempts.admit(who, guest.address, FAILURES + 1)
    except TooManyRequests as fault:
        raise TooManyRequests(
            f"Too many failed attempts; try again in {fault.retry_after} seconds.",
            retry_after=fault.retry_after,
        ) from None


def entered(guest: Guest, uid: str, tenant: Tenant, after: str, ends: datetime | None = None) -> Response:
    """To the page `after`, with a new session in a tenant; a token that the browser had before is no more."""
    portal, token = guest.portal, tokens.made()
    people = portal.store.people
    person, _ = people.of(uid)
    actor = Actor(person.name, Through.PORTAL, trace.current_id())
    known = portal.cookies.read(guest.request, tokens.SESSION)
    before = people.visitor(tokens.digest(known), portal.settings.session_idle) if known else None
    people.sign_in(
        uid,
        tenant,
        tokens.digest(token),
        ends or datetime.now(UTC) + portal.settings.session_length,
        actor,
        address=guest.address,
        agent=guest.request.headers.get("user-agent", ""),
    )
    if before is not None:
        people.sign_out(before.session.id, before.person.uid, actor)
    response = guest.go(after)
    portal.cookies.set(response, tokens.SESSION, token)
    portal.cookies.drop(response, tokens.ENTRY)
    return response


def _choose(guest: Guest, uid: str) -> Tenant:
    """The first tenant that the person may enter."""
    memberships = guest.portal.store.people.memberships(uid)
    if not memberships:
        raise Forbidden("You are a member of no tenant, or disabled there; ask an administrator.")
    return memberships[0][0]


def sign_out(visit: Visit) -> Response:
    """POST /portal/sign-out"""
    visit.portal.store.people.sign_out(visit.session.id, visit.person.uid, visit.tenant.actor)
    response = visit.go("/portal/sign-in", "You are signed out.")
    visit.portal.cookies.drop(response, tokens.SESSION)
    return response


# One-time links


def link_page(guest: Guest) -> Response:
    """GET /portal/link/{token}"""
    link = _link(guest)
    return _link_form(guest, link, 200, "", "" if link.person_uid else link.name)


def use_link(guest: Guest) -> Response:
    """POST /portal/link/{token}: a new person, or a new password; signed in at once."""
    link = _link(guest)
    name, password = guest.form.one("name").strip()[:NAME_LIMIT], guest.form.one("password")
    try:
        passwords.check(password, link.name if link.person_uid else name)
        if password != guest.form.one("again"):
            raise InvalidValue("is not what you wrote first; write it twice the same", target="again")
    except InvalidValue as fault:
        return _link_form(guest, link, fault.status, fault.message, name, fault.target or "")
    kept, through = passwords.digest(password), Actor("", Through.PORTAL, trace.current_id())
    people, link_hash = guest.portal.store.people, tokens.digest(guest.at("token"))
    try:
        if link.person_uid:
            person, _ = people.set_password(link_hash, kept, through)
        else:
            person, _ = people.begin(link_hash, name, kept, through)
    except InvalidValue as fault:
        return _link_form(guest, link, fault.status, fault.message, name, fault.target or "")
    return entered(guest, person.uid, link.tenant, HOME)


def join(guest: Guest) -> Response:
    """POST /portal/link/{token}/join: whoever is signed in, or says name and password, becomes a member."""
    link = _link(guest)
    if link.person_uid:
        raise Forbidden("this link is for a new password")
    me = _signed_in(guest)
    name = guest.form.one("name")[:NAME_LIMIT]
    try:
        uid = me.uid if me else proved(guest, name, guest.form.one("password"))
    except IndiciaError as fault:
        return _link_form(guest, link, fault.status, fault.message, name, "join")
    through = Actor("", Through.PORTAL, trace.current_id())
    guest.portal.store.people.join(tokens.digest(guest.at("token")), uid, through)
    return entered(guest, uid, link.tenant, HOME)


def _link(guest: Guest) -> Link:
    found = guest.portal.store.people.link(tokens.digest(guest.at("token")))
    if found is None:
        raise Forbidden("this link was used before, has expired or was revoked; ask for a new one")
    return found


def _signed_in(guest: Guest) -> Member | None:
    """Whoever is signed in already."""
    token, portal = guest.portal.cookies.read(guest.request, tokens.SESSION), guest.portal
    found = portal.store.people.visitor(tokens.digest(token), portal.settings.session_idle) if token else None
    return found.person if found else None


def _link_form(guest: Guest, link: Link, status: int, fault: str, name: str, place: str = "") -> Response:
    return guest.page(
        "link.html",
        status,
        link=link,
        token=quote(guest.at("token")),
        name=name,
        fault=fault,
        place=place,
        me=_signed_in(guest),
        shortest=passwords.SHORTEST,
    )


OPEN_PAGES: tuple[OpenPage, ...] = (
    OpenPage("GET", "/portal/sign-in", sign_in_page),
    OpenPage("POST", "/portal/sign-in", sign_in),
    OpenPage("GET", "/portal/link/{token}", link_page),
    OpenPage("POST", "/portal/link/{token}", use_link),
    OpenPage("POST", "/portal/link/{token}/join", join),
)
PAGES: tuple[Page, ...] = (Page("POST", "/portal/sign-out", sign_out, Role.READER),)

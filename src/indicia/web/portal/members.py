"""Settings > Members: who may sign in to the tenant, as what, and the links by which people come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

from starlette.responses import Response

from indicia.errors import Forbidden, IndiciaError, InvalidValue
from indicia.store import Member
from indicia.web.portal import tokens
from indicia.web.portal.account import alive
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit

MEMBERS = "/portal/settings/members"
ROWS = 50
_ROLES = tuple(role.word for role in Role)
INVITED = timedelta(days=7)
"""How long an invitation can be used."""
RESET = timedelta(hours=24)
"""How long a link for a new password can be used."""


def members(visit: Visit) -> Response:
    """GET /portal/settings/members"""
    return _page(visit)


def member(visit: Visit) -> Response:
    """GET /portal/settings/members/{uid}"""
    return _member_page(visit)


def invite(visit: Visit) -> Response:
    """POST /portal/settings/members: make a link, which is shown this once."""
    name, token = visit.form.one("name").strip(), tokens.made()
    try:
        visit.tenant.members.invite(tokens.digest(token), _role(visit), name, INVITED)
    except IndiciaError as fault:
        return _page(visit, fault=fault, name=name)
    return _page(visit, 201, link=_url(visit, token), whom=name or "whoever opens it first")


def change_role(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/role"""
    return _changed(visit, lambda uid: visit.tenant.members.change_role(uid, _role(visit)), "{} is {} now.")


def disable(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/disable: its sessions here end."""
    return _changed(visit, visit.tenant.members.disable, "{} cannot sign in here any more.")


def enable(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/enable"""
    return _changed(visit, visit.tenant.members.enable, "{} can sign in again.")


def remove(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/remove"""

    def removed(uid: str) -> Member:
        before = visit.tenant.members.one(uid)
        visit.tenant.members.remove(uid)
        return before

    return _changed(visit, removed, "{} is no member any more.", MEMBERS)


def reset(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/reset: a link for a new password, which is shown this once."""
    uid, token = visit.at("uid"), tokens.made()
    found = visit.tenant.members.one(uid)
    try:
        if visit.portal.store.people.belongs_elsewhere(uid, visit.tenant.tenant):
            raise Forbidden(
                f"{found.name} has a password for other tenants, too; whoever has the host makes a link for "
                f"a new one: indicia admin reset --name '{found.name}' --tenant '{visit.tenant.name}'"
            )
        visit.tenant.members.reset(tokens.digest(token), uid, RESET)
    except IndiciaError as fault:
        return _member_page(visit, fault=fault)
    return _member_page(visit, 201, link=_url(visit, token))


def end_sessions(visit: Visit) -> Response:
    """POST /portal/settings/members/{uid}/sign-out: its sessions in this tenant end."""
    found = visit.tenant.members.one(visit.at("uid"))
    visit.tenant.members.sign_out(found.uid)
    return visit.go(f"{MEMBERS}/{found.uid}", f"{found.name} is signed out here.")


def revoke(visit: Visit) -> Response:
    """POST /portal/settings/members/links/{id}: it opens nothing any more."""
    visit.tenant.members.revoke_link(visit.at("id"))
    return visit.go(MEMBERS, "The link opens nothing any more.")


def _changed(visit: Visit, change: Callable[[str], Member], said: str, after: str = "") -> Response:
    """What a change of somebody else's membership comes to."""
    uid = visit.at("uid")
    visit.tenant.members.one(uid)
    try:
        if uid == visit.person.uid:
            raise InvalidValue("nobody changes their own membership; ask another administrator")
        found = change(uid)
    except InvalidValue as fault:
        return _member_page(visit, fault=fault)
    return visit.go(after or f"{MEMBERS}/{uid}", said.format(found.name, found.role.word))


def _role(visit: Visit) -> Role:
    try:
        return Role.of(visit.form.one("role"))
    except KeyError:
        raise InvalidValue(f"is one of {', '.join(_ROLES)}", target="role") from None


def _url(visit: Visit, token: str) -> str:
    return f"{visit.settings.portal_url}/portal/link/{token}"


def _page(
    visit: Visit,
    status: int = 200,
    *,
    fault: IndiciaError | None = None,
    link: str = "",
    whom: str = "",
    name: str = "",
) -> Response:
    found = visit.tenant.members.page(visit.query("after"), ROWS + 1)
    more = f"{MEMBERS}?{urlencode({'after': found[ROWS - 1].name})}" if len(found) > ROWS else None
    return visit.page(
        "members.html",
        fault.status if fault else status,
        members=found[:ROWS],
        first=MEMBERS if visit.query("after") else None,
        next=more,
        links=visit.tenant.members.links(),
        roles=_ROLES,
        fault=fault,
        link=link,
        whom=whom,
        name=name,
    )


def _member_page(
    visit: Visit, status: int = 200, *, fault: IndiciaError | None = None, link: str = ""
) -> Response:
    uid = visit.at("uid")
    return visit.page(
        "member.html",
        fault.status if fault else status,
        member=visit.tenant.members.one(uid),
        sessions=alive(visit, visit.tenant.members.sessions(uid)[:ROWS]),
        roles=_ROLES,
        fault=fault,
        link=link,
    )


PAGES: tuple[Page, ...] = (
    Page("GET", MEMBERS, members, Role.ADMINISTRATOR),
    Page("POST", MEMBERS, invite, Role.ADMINISTRATOR),
    Page("GET", f"{MEMBERS}/{{uid}}", member, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/links/{{id:int}}", revoke, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/role", change_role, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/disable", disable, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/enable", enable, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/remove", remove, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/reset", reset, Role.ADMINISTRATOR),
    Page("POST", f"{MEMBERS}/{{uid}}/sign-out", end_sessions, Role.ADMINISTRATOR),
)

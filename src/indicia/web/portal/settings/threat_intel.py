"""How the original service gave access: enable, read off, save to a file, generate tokens; and snippets."""

from __future__ import annotations

from starlette.responses import Response

from indicia.auth import roles, secrets
from indicia.errors import InputError, InvalidValue
from indicia.web import access
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings import applications
from indicia.web.portal.settings.applications import INTEL
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit

NAME = "Threat intelligence API"
"""What the application is called that enabling makes."""


def threat_intel(visit: Visit) -> Response:
    """GET /portal/settings/threat-intel: the oldest application that can use the API, or how to get one."""
    found = [one for one in visit.tenant.applications() if applications.serves(one)]
    return applications.show(visit, INTEL, found[0].client_id) if found else _invite(visit)


def choose(visit: Visit) -> Response:
    """GET /portal/settings/threat-intel/choose: the page of another application."""
    wanted = visit.query("application")
    if not wanted:
        return visit.go(INTEL)
    return visit.go(f"{INTEL}/{visit.tenant.access.application(wanted).client_id}")


def _invite(visit: Visit, fault: InputError | None = None) -> Response:
    return visit.page(
        "threat-intel.html",
        200 if fault is None else fault.status,
        application=None,
        given=Given(visit.form),
        fault=fault,
        days=secrets.DAYS,
    )


def enable(visit: Visit) -> Response:
    """POST /portal/settings/threat-intel: an application with its roles and first secret."""
    try:
        description, days = applications.described(visit)
    except InvalidValue as fault:
        return _invite(visit, fault)
    made = visit.tenant.add_application(NAME, roles.DEFAULT)
    text, _ = access.new_secret(visit.tenant, made.client_id, description, days)
    return applications.show(visit, INTEL, made.client_id, secret=text)


def authority(visit: Visit) -> Response:
    """GET /portal/settings/threat-intel/ca.pem: whom clients are to trust."""
    file = access.authority_of(visit.settings)
    if file is None or not file.is_file():
        return visit.go(
            INTEL, "The service has no authority of its own: it shows a certificate of another one, or none."
        )
    return applications.attachment(file.read_bytes(), "ca.pem", "application/x-pem-file")


PAGES: tuple[Page, ...] = (
    Page("GET", INTEL, threat_intel, Role.ADMINISTRATOR),
    Page("POST", INTEL, enable, Role.ADMINISTRATOR),
    Page("GET", f"{INTEL}/choose", choose, Role.ADMINISTRATOR),
    Page("GET", f"{INTEL}/ca.pem", authority, Role.ADMINISTRATOR),
    *applications.below(INTEL),
)

"""What the tests of the portal's settings share: a tenant with an administrator, and what pages show."""

from __future__ import annotations

import re

import pytest

from indicia.model import AuditAction, Through
from indicia.store import TenantStore, Wanted
from service import Local, Reply
from visiting import Visiting, text_of, visiting

ROOT = "/portal/settings"
INTEL, APPLICATIONS = f"{ROOT}/threat-intel", f"{ROOT}/applications"
LISTS, OUTPUTS = f"{ROOT}/allow-lists", f"{ROOT}/outputs"
AUDIT, RETENTION, QUOTAS = f"{ROOT}/audit", f"{ROOT}/retention", f"{ROOT}/quotas"
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m{{7*7}}'\""
SECRET = re.compile(r'aria-label="Client secret"[^>]*><code>([\w-]{43})</code>')
CLIENT = re.compile(r'id="value-client_id">([0-9a-f-]{36})<')
TOKENS = re.compile(r'aria-label="(?:Access|Refresh) token"[^>]*><code>([\w.-]+)</code>')
WEBHOOK = re.compile(r"whsec_[\w+/=]{20,}")


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    """A tenant of the test's own."""
    return service.store.tenant(service.store.add_tenant(request.node.name[:90]).uid)


@pytest.fixture
def alex(service: Local, tenant: TenantStore) -> Visiting:
    """Its administrator."""
    return visiting(service, tenant.uid)


def html(reply: Reply) -> str:
    """The page as it was sent."""
    return reply.body.decode()


def found(pattern: re.Pattern[str], reply: Reply) -> str:
    """What a page shows in a place."""
    match = pattern.search(html(reply))
    assert match, text_of(reply)
    return match[1]


def last(tenant: TenantStore) -> tuple[str, AuditAction, str]:
    """Who did what to what, last, by the portal."""
    one = tenant.trail.page(Wanted()).found[0]
    assert one.through is Through.PORTAL
    return one.by, one.action, one.set_name


def enabled(alex: Visiting) -> tuple[str, str]:
    """The client id and the secret of an application that was made by enabling."""
    reply = alex.post(INTEL, {"description": "tests", "days": "10"})
    assert reply.status == 200
    return found(CLIENT, reply), found(SECRET, reply)


def token(service: Local, tenant: TenantStore, client_id: str, secret: str) -> Reply:
    """What the token endpoint says."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return service.form(f"/{tenant.uid}/oauth2/token", form)

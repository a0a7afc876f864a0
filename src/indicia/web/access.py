"""What somebody needs who sets up a client: secrets, made and shown once, and the details beside them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from indicia.auth import certificates, secrets
from indicia.auth.tokens import RESOURCES
from indicia.settings import Settings
from indicia.store import Secret, TenantStore

RESOURCE = RESOURCES[0]


def details(settings: Settings, tenant_uid: str, client_id: str, secret: str) -> dict[str, str]:
    """The access of an application, in the words that client libraries use."""
    authority = certificates.ensure(settings.home, settings.host).authority if settings.tls else None
    login = f"{settings.base_url}/{tenant_uid}/oauth2"
    return {
        "tenant_id": tenant_uid,
        "client_id": client_id,
        "client_secret": secret,
        "authorization_url": f"{login}/token",
        "token_url_v2": f"{login}/v2.0/token",
        "resource": RESOURCE,
        "api_url": f"{settings.base_url}/V1.0",
        "ca_file": os.fspath(authority) if authority else "",
    }


def new_secret(
    tenant: TenantStore, client_id: str, description: str, days: int | None = secrets.DAYS
) -> tuple[str, Secret]:
    """A new secret of an application: its text, shown this once, and what the store keeps of it.

    `days` of validity; None: it never expires.
    """
    text = secrets.make()
    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    kept = tenant.add_secret(client_id, secrets.digest(text), secrets.hint(text), description, end)
    return text, kept

"""What somebody needs who sets up a client: secrets and certificates, and the details beside them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia.auth import assertions, certificates, secrets
from indicia.auth.certificates import Shown
from indicia.auth.tokens import RESOURCES
from indicia.errors import InputError
from indicia.settings import Settings
from indicia.store import Certificate, Secret, TenantStore

RESOURCE = RESOURCES[0]


def details(settings: Settings, tenant_uid: str, client_id: str, secret: str) -> dict[str, str]:
    """The access of an application, in the words that client libraries use."""
    authority = authority_of(settings)
    login = f"{settings.portal_url}/{tenant_uid}/oauth2"
    return {
        "tenant_id": tenant_uid,
        "client_id": client_id,
        "client_secret": secret,
        "authorization_url": f"{login}/token",
        "token_url_v2": f"{login}/v2.0/token",
        "resource": RESOURCE,
        "api_url": f"{settings.portal_url}/V1.0",
        "ca_file": os.fspath(authority) if authority else "",
    }


def certified(settings: Settings) -> Shown | None:
    """The service's certificates: those it was given, else its own, made where there are none.

    None without TLS. Raises InputError with what is wrong with a file.
    """
    if not settings.tls:
        return None
    if settings.tls_certificate or settings.tls_key:
        return certificates.given(settings.tls_certificate, settings.tls_key)
    return certificates.ensure(settings.home, settings.host)


def authority_of(settings: Settings) -> Path | None:
    """The file with the home's own authority, made by the first start.

    None where clients have no use for it: without TLS, and with a certificate that others issued.
    """
    return certificates.authority(settings.home) if settings.tls and not settings.tls_certificate else None


def register(tenant: TenantStore, client_id: str, content: bytes, place: str) -> Certificate:
    """Keep the certificate in a file for an application. InputError, InvalidValue, NotFound."""
    read = assertions.read_certificate(content, place)
    now = datetime.now(UTC)
    if now >= read.expires_at:
        raise InputError("the certificate has expired; register one that is valid", place=place)
    new = Certificate(
        0, read.sha1, read.sha256, read.pem, read.subject, now, read.valid_from, read.expires_at, None
    )
    return tenant.add_certificate(client_id, new)


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

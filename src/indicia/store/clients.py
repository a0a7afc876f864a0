"""Applications of one tenant and their secrets. Every function works inside the transaction of its scope."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Row

from indicia.errors import InvalidValue, NotFound
from indicia.model import NAME_LIMIT, REASON_LIMIT
from indicia.store import rows
from indicia.store.nouns import Application, Certificate, Secret
from indicia.store.scope import Scope
from indicia.store.tables import applications, certificates, secrets


def every(scope: Scope, tenant_uid: str) -> list[Application]:
    """All applications of the tenant, oldest first, revoked ones too."""
    found = scope.rows(scope.select(applications).order_by(applications.c.id))
    kept: dict[int, list[Secret]] = {}
    for row in scope.rows(scope.select(secrets).order_by(secrets.c.id)):
        kept.setdefault(row.application_id, []).append(rows.secret(row))
    shown: dict[int, list[Certificate]] = {}
    for row in scope.rows(scope.select(certificates).order_by(certificates.c.id)):
        shown.setdefault(row.application_id, []).append(rows.certificate(row))
    return [
        rows.application(row, tenant_uid, tuple(kept.get(row.id, ())), tuple(shown.get(row.id, ())))
        for row in found
    ]


def one(scope: Scope, tenant_uid: str, client_id: str) -> Application:
    """The application of a client id; NotFound."""
    row = owner_of(scope, client_id)
    kept = scope.select(secrets).where(secrets.c.application_id == row.id).order_by(secrets.c.id)
    shown = scope.select(certificates).where(certificates.c.application_id == row.id)
    return rows.application(
        row,
        tenant_uid,
        tuple(rows.secret(found) for found in scope.rows(kept)),
        tuple(rows.certificate(found) for found in scope.rows(shown.order_by(certificates.c.id))),
    )


def change(scope: Scope, before: Application, name: str | None, roles: Collection[str] | None) -> Application:
    """It with another name, or other roles; InvalidValue, also for one that was revoked."""
    if before.revoked_at is not None:
        raise InvalidValue("the application was revoked; make another one", target="name")
    after = replace(
        before,
        name=before.name if name is None else name,
        roles=before.roles if roles is None else tuple(roles),
    )
    _must_be_name(after.name)
    mine = applications.c.client_id == before.client_id
    scope.update(applications, mine, name=after.name, roles=json.dumps(after.roles))
    return after


def _must_be_name(name: str) -> None:
    if not name.strip():
        raise InvalidValue("an application needs a name", target="name")
    if len(name) > NAME_LIMIT or not name.isprintable():
        words = f"the name of an application has at most {NAME_LIMIT} characters, all of them printable"
        raise InvalidValue(words, target="name")


def add(scope: Scope, tenant_uid: str, name: str, roles: Iterable[str]) -> Application:
    """A new application without a secret."""
    _must_be_name(name)
    made = Application(
        client_id=str(uuid4()),
        tenant_uid=tenant_uid,
        name=name,
        roles=tuple(roles),
        created_at=rows.now(),
        revoked_at=None,
        secrets=(),
    )
    scope.insert(
        applications,
        client_id=made.client_id,
        name=name,
        roles=json.dumps(made.roles),
        created_at=rows.micros(made.created_at),
    )
    return made


def add_secret(
    scope: Scope, client_id: str, secret_hash: str, hint: str, description: str, expires_at: datetime | None
) -> Secret:
    """Keep the hash of a new secret beside those there are."""
    owner = owner_of(scope, client_id)
    if len(description) > REASON_LIMIT or not rows.storable(description):
        words = f"has at most {REASON_LIMIT} characters of Unicode, not U+0000"
        raise InvalidValue(words, target="description")
    created_at = rows.now()
    number = scope.insert(
        secrets,
        application_id=owner.id,
        hash=secret_hash,
        hint=hint,
        description=description,
        created_at=rows.micros(created_at),
        expires_at=rows.micros_or_none(expires_at),
    )
    return Secret(number, secret_hash, hint, description, created_at, expires_at, None)


def revoke_secret(scope: Scope, client_id: str, secret_id: int) -> None:
    """It is refused from now on; NotFound where the application has none of that id."""
    owner = owner_of(scope, client_id)
    mine = (secrets.c.application_id == owner.id, secrets.c.id == secret_id)
    if scope.row(scope.select(secrets).where(*mine)) is None:
        raise NotFound(f"the application {client_id} has no secret {secret_id}")
    scope.update(secrets, *mine, secrets.c.revoked_at.is_(None), revoked_at=rows.micros(rows.now()))


def revoke(scope: Scope, client_id: str) -> None:
    """The application and its secrets are refused from now on."""
    owner = owner_of(scope, client_id)
    scope.update(
        applications,
        applications.c.id == owner.id,
        applications.c.revoked_at.is_(None),
        revoked_at=rows.micros(rows.now()),
    )


def owner_of(scope: Scope, client_id: str) -> Row[Any]:
    """The application's row; NotFound."""
    row = scope.row(scope.select(applications).where(applications.c.client_id == client_id.lower()))
    if row is None:
        raise NotFound(f"this tenant has no application {client_id!r}")
    return row

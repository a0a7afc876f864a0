"""Who there is: tenants, signing keys, and whose an application is.

The only queries without a tenant, because here the tenant is what is asked. Of the tables of tenants they
read `applications`, `secrets`, `certificates` and `refresh_tokens`, by client id, and touch no other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from indicia.errors import InvalidValue, NotFound
from indicia.store import rows, tables
from indicia.store.nouns import Application, Holder, SigningKey, Tenant

_CREDENTIALS = {
    "secret": tables.secrets,
    "certificate": tables.certificates,
    "refresh": tables.refresh_tokens,
}


def tenants(connection: Connection) -> list[Tenant]:
    """Every tenant, oldest first."""
    table = tables.tenants
    return [rows.tenant(row) for row in connection.execute(select(table).order_by(table.c.id))]


def tenant(connection: Connection, uid_or_name: str) -> Tenant:
    """The tenant of that uid (any letter case) or name; NotFound."""
    table = tables.tenants
    by_uid: ColumnElement[bool] = table.c.uid == uid_or_name.lower()
    found = connection.execute(
        select(table).where(or_(by_uid, table.c.name == uid_or_name)).order_by(by_uid.desc())
    ).first()
    if found is None:
        raise NotFound(f"there is no tenant {uid_or_name!r}")
    return rows.tenant(found)


def add_tenant(connection: Connection, name: str) -> Tenant:
    """A new tenant that has nothing; its name must be new."""
    if not name.strip():
        raise InvalidValue("a tenant needs a name", target="name")
    uid = str(uuid4())
    created_at = rows.now()
    try:
        result = connection.execute(
            insert(tables.tenants).values(uid=uid, name=name, created_at=rows.micros(created_at))
        )
    except IntegrityError:
        words = f"there is a tenant {name!r} already; choose another name"
        raise InvalidValue(words, target="name") from None
    (number,) = result.inserted_primary_key or (0,)
    return Tenant(id=int(number), uid=uid, name=name, created_at=created_at)


def application(connection: Connection, client_id: str) -> Application | None:
    """The application of a client id with its tenant and secrets, revoked ones too; None where unknown."""
    table, owners = tables.applications, tables.tenants
    found = connection.execute(
        select(table, owners.c.uid.label("tenant_uid"))
        .join(owners, owners.c.id == table.c.tenant_id)
        .where(table.c.client_id == client_id.lower())
    ).first()
    if found is None:
        return None
    keys = tables.secrets
    secrets = connection.execute(
        select(keys)
        .where(keys.c.tenant_id == found.tenant_id, keys.c.application_id == found.id)
        .order_by(keys.c.id)
    )
    shown = tables.certificates
    certificates = connection.execute(
        select(shown)
        .where(shown.c.tenant_id == found.tenant_id, shown.c.application_id == found.id)
        .order_by(shown.c.id)
    )
    return rows.application(
        found,
        found.tenant_uid,
        tuple(rows.secret(row) for row in secrets),
        tuple(rows.certificate(row) for row in certificates),
    )


def holder(connection: Connection, client_id: str, kind: str, number: int) -> Holder | None:
    """The application, where neither it nor that credential of its is revoked or expired; one query."""
    table, owners = tables.applications, tables.tenants
    key = _CREDENTIALS[kind]
    now = rows.micros(rows.now())
    found = connection.execute(
        select(table.c.roles, owners.c.uid)
        .join(owners, owners.c.id == table.c.tenant_id)
        .join(key, and_(key.c.tenant_id == table.c.tenant_id, key.c.application_id == table.c.id))
        .where(
            table.c.client_id == client_id.lower(),
            table.c.revoked_at.is_(None),
            (key.c.family if kind == "refresh" else key.c.id) == number,
            key.c.revoked_at.is_(None),
            # A refresh token that was used or has expired ends nothing: its access tokens end by themselves.
            or_(literal(kind == "refresh"), key.c.expires_at.is_(None), key.c.expires_at > now),
        )
    ).first()
    return Holder(found.uid, client_id.lower(), tuple(json.loads(found.roles))) if found else None


def signing_keys(connection: Connection) -> Sequence[SigningKey]:
    """Every signing key, newest first."""
    table = tables.signing_keys
    return [rows.signing_key(row) for row in connection.execute(select(table).order_by(table.c.id.desc()))]


def add_signing_key(connection: Connection, kid: str, private_pem: str) -> SigningKey:
    """Keep a new private key; its kid must be new."""
    key = SigningKey(kid=kid, private_pem=private_pem, created_at=rows.now(), retired_at=None)
    try:
        connection.execute(
            insert(tables.signing_keys).values(
                kid=kid, private_pem=private_pem, created_at=rows.micros(key.created_at)
            )
        )
    except IntegrityError:
        raise InvalidValue(f"there is a signing key {kid!r} already", target="kid") from None
    return key


def retire_signing_key(connection: Connection, kid: str, at: datetime | None = None) -> None:
    """From `at` (default: now) on it signs nothing; NotFound where there is none of that kid."""
    table = tables.signing_keys
    values = {"retired_at": rows.micros(at or rows.now())}
    if not connection.execute(update(table).where(table.c.kid == kid).values(values)).rowcount:
        raise NotFound(f"there is no signing key {kid!r}")


def remove_signing_key(connection: Connection, kid: str) -> None:
    """Its tokens are refused from now on; NotFound where there is none of that kid."""
    table = tables.signing_keys
    if not connection.execute(delete(table).where(table.c.kid == kid)).rowcount:
        raise NotFound(f"there is no signing key {kid!r}")

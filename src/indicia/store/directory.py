"""Who there is: tenants, signing keys, and whose an application is.

The only queries without a tenant, because here the tenant is what is asked. Of the tables of tenants they
read `applications`, `secrets`, `certificates` and `refresh_tokens`, by client id, of `purges` whose the first
one is, of `outputs` and `jobs` whose they are, and of `members` whether somebody is one, and touch no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from indicia.errors import InvalidValue, NotFound
from indicia.model import NAME_LIMIT
from indicia.store import rows, tables
from indicia.store.jobs import Phase, takeable
from indicia.store.nouns import Application, Holder, SigningKey, Tenant
from indicia.store.scope import clock


def _holder_query(key: Table, number: ColumnElement[int], *good: ColumnElement[bool]) -> Select[Any]:
    """Made once for each kind of credential, because every request to the API asks it."""
    table, owners = tables.applications, tables.tenants
    return (
        select(table.c.roles, owners.c.uid)
        .join(owners, owners.c.id == table.c.tenant_id)
        .join(key, and_(key.c.tenant_id == table.c.tenant_id, key.c.application_id == table.c.id))
        .where(
            table.c.client_id == bindparam("client_id"),
            table.c.revoked_at.is_(None),
            number == bindparam("number"),
            key.c.revoked_at.is_(None),
            *good,
        )
    )


def _owned_query(key: Table) -> Select[Any]:
    mine = (key.c.tenant_id == bindparam("tenant_id"), key.c.application_id == bindparam("application_id"))
    return select(key).where(*mine).order_by(key.c.id)


_APPLICATION = (
    select(tables.applications, tables.tenants.c.uid.label("tenant_uid"))
    .join(tables.tenants, tables.tenants.c.id == tables.applications.c.tenant_id)
    .where(tables.applications.c.client_id == bindparam("client_id"))
)
_SECRETS_OF, _CERTIFICATES_OF = _owned_query(tables.secrets), _owned_query(tables.certificates)
_SECRETS, _CERTIFICATES, _REFRESH = tables.secrets, tables.certificates, tables.refresh_tokens
_HOLDERS = {
    "secret": _holder_query(
        _SECRETS,
        _SECRETS.c.id,
        or_(_SECRETS.c.expires_at.is_(None), _SECRETS.c.expires_at > bindparam("now")),
    ),
    "certificate": _holder_query(
        _CERTIFICATES, _CERTIFICATES.c.id, _CERTIFICATES.c.expires_at > bindparam("now")
    ),
    # A refresh token that was used or has expired ends nothing: its access tokens end by themselves.
    "refresh": _holder_query(_REFRESH, _REFRESH.c.family),
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
    """A new tenant that has nothing; its name must be new, of 1 to NAME_LIMIT printable characters."""
    if not name.strip():
        raise InvalidValue("a tenant needs a name", target="name")
    if len(name) > NAME_LIMIT or not name.isprintable():
        words = f"the name of a tenant has at most {NAME_LIMIT} characters, all of them printable"
        raise InvalidValue(words, target="name")
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


def remove_tenant(connection: Connection, one: Tenant) -> None:
    """Remove a tenant that has nothing any more."""
    table = tables.tenants
    connection.execute(delete(table).where(table.c.id == one.id))


def remove_people(connection: Connection, ids: Iterable[int]) -> None:
    """Remove those of the people who are members of no tenant."""
    people, members = tables.people, tables.members
    for number in ids:
        entered = select(members.c.id).where(members.c.person_id == number).exists()
        connection.execute(delete(people).where(people.c.id == number, ~entered))


def purging(connection: Connection) -> int | None:
    """The number of a tenant that has something deleted and not removed yet."""
    table = tables.purges
    found: int | None = connection.execute(select(table.c.tenant_id).order_by(table.c.id)).scalar()
    return found


def sending(connection: Connection) -> list[Tenant]:
    """The tenants that have outputs."""
    table = tables.tenants
    having = select(tables.outputs.c.tenant_id).distinct()
    found = connection.execute(select(table).where(table.c.id.in_(having)).order_by(table.c.id))
    return [rows.tenant(row) for row in found]


def waiting(connection: Connection) -> list[tuple[str, Tenant]]:
    """Kinds of jobs, and tenants of whom one can be taken: first those of whom the fewest of the kind run.

    So nobody holds all places while another one waits; of equals the one that waits longest comes first.
    """
    table, jobs = tables.tenants, tables.jobs
    free = takeable(clock(connection))
    runs = func.sum(case((and_(jobs.c.phase == Phase.RUNNING, not_(free)), 1), else_=0))
    since = func.min(case((free, jobs.c.made_at)))
    unfinished = jobs.c.phase.in_((Phase.WAITING, Phase.RUNNING))
    some = select(jobs.c.tenant_id, jobs.c.kind, runs.label("runs"), since.label("since"))
    some = some.where(unfinished).group_by(jobs.c.tenant_id, jobs.c.kind)
    each = some.having(since.is_not(None)).subquery()
    asked = select(table, each.c.kind).join(each, each.c.tenant_id == table.c.id)
    found = connection.execute(asked.order_by(each.c.runs, each.c.since))
    return [(row.kind, rows.tenant(row)) for row in found]


def application(connection: Connection, client_id: str) -> Application | None:
    """The application of a client id with its tenant and secrets, revoked ones too; None where unknown."""
    found = connection.execute(_APPLICATION, {"client_id": client_id.lower()}).first()
    if found is None:
        return None
    owner = {"tenant_id": found.tenant_id, "application_id": found.id}
    secrets = connection.execute(_SECRETS_OF, owner)
    certificates = connection.execute(_CERTIFICATES_OF, owner)
    return rows.application(
        found,
        found.tenant_uid,
        tuple(rows.secret(row) for row in secrets),
        tuple(rows.certificate(row) for row in certificates),
    )


def holder(connection: Connection, client_id: str, kind: str, number: int) -> Holder | None:
    """The application, where neither it nor that credential of its is revoked or expired; one query."""
    given = {"client_id": client_id.lower(), "number": number, "now": rows.micros(rows.now())}
    text, names = _holder_sql(kind, connection.dialect)
    # The driver's own call, as in `scope.Scope.lookup`.
    cursor = connection.connection.cursor()
    cursor.execute(text, [given[name] for name in names])
    found = cursor.fetchone()
    return Holder(found[1], client_id.lower(), tuple(json.loads(found[0]))) if found else None


@lru_cache(maxsize=16)
def _holder_sql(kind: str, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The query as text, and the names of its parameters in their order."""
    compiled = _HOLDERS[kind].compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


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

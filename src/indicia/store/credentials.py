"""Certificates and refresh tokens of one tenant's applications, inside the transaction of their scope.

Refresh tokens come in families: each use replaces the token by the next one of its family. A token that is
used a second time is in two hands, so the whole family is revoked, and every access token that it got.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from indicia.errors import InvalidValue, NotFound
from indicia.store import rows
from indicia.store.clients import owner_of
from indicia.store.nouns import Certificate, Redeemed, RefreshToken
from indicia.store.scope import Scope
from indicia.store.tables import certificates, refresh_tokens

CERTIFICATES = 10
"""Unrevoked certificates that an application may have; each may have to be tried for one assertion."""
KEPT = timedelta(days=7)
"""How long an expired refresh token is kept, so that its access tokens end by themselves."""


def add_certificate(scope: Scope, client_id: str, new: Certificate) -> Certificate:
    """Keep a certificate beside those there are; InvalidValue where it is there or there are too many."""
    owner = owner_of(scope, client_id)
    mine = scope.select(certificates).where(
        certificates.c.application_id == owner.id, certificates.c.revoked_at.is_(None)
    )
    known = scope.rows(mine)
    if any(row.sha256 == new.sha256 for row in known):
        raise InvalidValue(f"the application {client_id} has this certificate already", target="certificate")
    if len(known) >= CERTIFICATES:
        raise InvalidValue(
            f"the application {client_id} has {CERTIFICATES} certificates; revoke one first",
            target="certificate",
        )
    created_at = rows.now()
    number = scope.insert(
        certificates,
        application_id=owner.id,
        sha1=new.sha1,
        sha256=new.sha256,
        pem=new.pem,
        subject=new.subject,
        created_at=rows.micros(created_at),
        valid_from=rows.micros(new.valid_from),
        expires_at=rows.micros(new.expires_at),
    )
    found = scope.row(scope.select(certificates).where(certificates.c.id == number))
    if found is None:
        raise NotFound(f"the certificate {number} is gone")
    return rows.certificate(found)


def revoke_certificate(scope: Scope, client_id: str, number: int) -> None:
    """It is refused from now on; NotFound where the application has none of that id."""
    owner = owner_of(scope, client_id)
    mine = (certificates.c.application_id == owner.id, certificates.c.id == number)
    if scope.row(scope.select(certificates).where(*mine)) is None:
        raise NotFound(f"the application {client_id} has no certificate {number}")
    scope.update(certificates, *mine, certificates.c.revoked_at.is_(None), revoked_at=rows.micros(rows.now()))


def add_refresh_token(
    scope: Scope, client_id: str, token_hash: str, resource: str, idle: timedelta, longest: timedelta
) -> RefreshToken:
    """The first token of a new family; tokens of the application that expired long ago are dropped."""
    owner, now = owner_of(scope, client_id), rows.now()
    scope.delete(
        refresh_tokens,
        refresh_tokens.c.application_id == owner.id,
        refresh_tokens.c.expires_at < rows.micros(now - KEPT),
    )
    end = now + longest
    number = _insert(scope, owner.id, 0, token_hash, resource, now, min(now + idle, end), end)
    scope.update(refresh_tokens, refresh_tokens.c.id == number, family=number)
    return RefreshToken(number, owner.client_id, resource, min(now + idle, end), end)


def rotate_refresh_token(
    scope: Scope, client_id: str, token_hash: str, next_hash: str, idle: timedelta
) -> Redeemed:
    """Take the token and put the next one of its family in its place, or say why not.

    The answer is no exception, because a second use must stay on disk: it revokes the family.
    """
    owner, now = owner_of(scope, client_id), rows.now()
    found = scope.row(
        scope.select(refresh_tokens).where(
            refresh_tokens.c.application_id == owner.id, refresh_tokens.c.hash == token_hash
        )
    )
    if found is None:
        return Redeemed("unknown")
    if found.revoked_at is not None:
        return Redeemed("revoked")
    if found.used_at is not None:
        _revoke(scope, owner.id, now, refresh_tokens.c.family == found.family)
        return Redeemed("replayed")
    if rows.when(found.expires_at) <= now:
        return Redeemed("expired")
    return Redeemed("rotated", _next(scope, owner, found, next_hash, now, idle))


def revoke_refresh_tokens(scope: Scope, client_id: str) -> int:
    """The application's are refused from now on, and what they got; how many could be used."""
    owner, now = owner_of(scope, client_id), rows.now()
    usable = scope.rows(
        scope.select(refresh_tokens, refresh_tokens.c.id).where(
            refresh_tokens.c.application_id == owner.id,
            refresh_tokens.c.revoked_at.is_(None),
            refresh_tokens.c.used_at.is_(None),
            refresh_tokens.c.expires_at > rows.micros(now),
        )
    )
    _revoke(scope, owner.id, now)
    return len(usable)


def _next(
    scope: Scope, owner: Row[Any], used: Row[Any], next_hash: str, now: datetime, idle: timedelta
) -> RefreshToken:
    scope.update(refresh_tokens, refresh_tokens.c.id == used.id, used_at=rows.micros(now))
    end = rows.when(used.family_expires_at)
    until = min(now + idle, end)
    _insert(scope, owner.id, used.family, next_hash, used.resource, now, until, end)
    return RefreshToken(used.family, owner.client_id, used.resource, until, end)


def _insert(
    scope: Scope,
    application_id: int,
    family: int,
    token_hash: str,
    resource: str,
    now: datetime,
    expires_at: datetime,
    family_expires_at: datetime,
) -> int:
    return scope.insert(
        refresh_tokens,
        application_id=application_id,
        family=family,
        hash=token_hash,
        resource=resource,
        created_at=rows.micros(now),
        expires_at=rows.micros(expires_at),
        family_expires_at=rows.micros(family_expires_at),
    )


def _revoke(scope: Scope, application_id: int, now: datetime, *where: Any) -> None:
    scope.update(
        refresh_tokens,
        refresh_tokens.c.application_id == application_id,
        refresh_tokens.c.revoked_at.is_(None),
        *where,
        revoked_at=rows.micros(now),
    )

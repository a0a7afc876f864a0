"""Who is calling: the token of a request, and whether its application and secret still hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from indicia.auth import keys, roles
from indicia.auth.tokens import Grant, Issuer
from indicia.errors import Unauthorized
from indicia.settings import Settings
from indicia.store import Application, Store, TenantStore

SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's store, and the application that asks for it."""

    tenant: TenantStore
    client_id: str
    roles: frozenset[str]
    """What token and application both allow."""

    def require(self, asked: frozenset[str]) -> None:
        """Raise Forbidden unless the caller has one of the roles."""
        roles.require(self.roles, asked)


def issuer_of(settings: Settings, store: Store) -> Issuer:
    """The service's issuer over the store's signing keys; the first start makes one."""
    if not any(key.retired_at is None for key in store.signing_keys()):
        fresh = keys.make()
        store.add_signing_key(fresh.kid, keys.private_pem(fresh))
    held = [
        keys.from_pem(key.kid, key.private_pem, signs=key.retired_at is None) for key in store.signing_keys()
    ]
    return Issuer(settings.base_url, held, seconds=settings.token_seconds)


class Gate:
    """Admits requests by their bearer token."""

    def __init__(self, store: Store, issuer: Issuer) -> None:
        self._store = store
        self._issuer = issuer
        self._tenants: dict[str, TenantStore] = {}

    def admit(self, authorization: str | None) -> Caller:
        """The caller of an Authorization header; raises Unauthorized.

        The store is asked about application and secret each time, so that a revocation acts at once.
        """
        if authorization is None or authorization[: len(SCHEME)].lower() != SCHEME:
            raise Unauthorized("send the header Authorization: Bearer and an access token")
        grant = self._issuer.verify(authorization[len(SCHEME) :].strip()).grant
        application = self._store.application(grant.client_id)
        if application is None or not _holds(application, grant):
            raise Unauthorized("the application or its secret has been revoked, or has expired")
        allowed = frozenset(grant.roles) & frozenset(application.roles)
        return Caller(self._tenant(grant.tenant), grant.client_id, allowed)

    def _tenant(self, uid: str) -> TenantStore:
        found = self._tenants.get(uid)
        if found is None:
            found = self._tenants[uid] = self._store.tenant(uid)
        return found


def _holds(application: Application, grant: Grant) -> bool:
    if application.revoked_at is not None or application.tenant_uid != grant.tenant:
        return False
    now = datetime.now(UTC)
    return any(secret.id == grant.secret_id and secret.holds(now) for secret in application.secrets)

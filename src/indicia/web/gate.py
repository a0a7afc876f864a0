"""Who is calling: the token of a request, and whether its application and credential still hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from indicia.auth import certificates, external, keys, roles
from indicia.auth.external import ExternalIssuer
from indicia.auth.tokens import Issuer
from indicia.errors import InputError, NotFound, Unauthorized
from indicia.settings import Settings
from indicia.store import SigningKey, Store, TenantStore
from indicia.web import jwks, trace

SCHEME = "bearer "
KEPT_SECONDS = 86_400
"""How long a retired key verifies at least; longer where tokens hold longer."""
LOG = logging.getLogger("indicia.web")


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's store, and the application that asks for it."""

    tenant: TenantStore
    client_id: str
    """Of an external issuer: the subject, with the issuer behind it."""
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
    kept = timedelta(seconds=max(KEPT_SECONDS, 2 * settings.token_seconds))
    parsed: dict[str, keys.SigningKey] = {}

    def load() -> Sequence[keys.SigningKey]:
        now = datetime.now(UTC)
        held = [key for key in store.signing_keys() if key.retired_at is None or now < key.retired_at + kept]
        return [_parsed(parsed, key, now) for key in held]

    # By the public URL, so that hosts behind one balancer issue what each of them accepts.
    return Issuer(
        settings.portal_url,
        keys.KeyRing(load),
        aliases=[settings.base_url, *_aliases(settings)],
        seconds=settings.token_seconds,
    )


def _parsed(parsed: dict[str, keys.SigningKey], key: SigningKey, now: datetime) -> keys.SigningKey:
    signs = key.retired_at is None or now < key.retired_at
    known = parsed.get(key.kid)
    if known is None or known.signs != signs:
        known = parsed[key.kid] = keys.from_pem(key.kid, key.private_pem, signs=signs)
    return known


def _aliases(settings: Settings) -> list[str]:
    """The URLs of all names that the service's certificates have."""
    scheme = "https" if settings.tls else "http"
    names = certificates.names_of(settings.host)
    own = [f"{scheme}://{f'[{name}]' if ':' in name else name}:{settings.port}" for name in names]
    # Those are reached at the port that no URL names.
    return own + [f"https://{name}" for name in certificates.ORIGINAL if settings.original_hosts]


def external_issuers(settings: Settings) -> list[ExternalIssuer]:
    """Those that `config.toml` names; InputError with what is wrong in which table."""
    found: list[ExternalIssuer] = []
    for position, table in enumerate(settings.issuers):
        place = f"{settings.home / 'config.toml'}: issuers[{position}]"
        trust = external.parse(table, place)
        if f"{trust.issuer}/".startswith((f"{settings.base_url}/", f"{settings.portal_url}/")):
            raise InputError("is this service itself", place=f"{place}.issuer")
        if trust.issuer in {other.trust.issuer for other in found}:
            raise InputError("is there twice", place=f"{place}.issuer")
        found.append(ExternalIssuer(trust, jwks.fetch))
    return found


class Gate:
    """Admits requests by their bearer token."""

    def __init__(self, store: Store, issuer: Issuer, outside: Sequence[ExternalIssuer] = ()) -> None:
        self._store = store
        self._issuer = issuer
        self._outside = {one.trust.issuer: one for one in outside}
        self._tenants: dict[str, TenantStore] = {}

    @property
    def asks_others(self) -> bool:
        """Whether admitting may have to fetch the keys of another issuer."""
        return bool(self._outside)

    def admit(self, authorization: str | None) -> Caller:
        """The caller of an Authorization header; raises Unauthorized.

        The store is asked about application and credential each time, so that a revocation acts at once.
        """
        if authorization is None or authorization[: len(SCHEME)].lower() != SCHEME:
            raise Unauthorized("send the header Authorization: Bearer and an access token")
        token = authorization[len(SCHEME) :].strip()
        outside = self._outside.get(external.issuer_named(token) or "") if self._outside else None
        caller = self._admit_outsider(outside, token) if outside else self._admit_application(token)
        trace.admitted(caller.tenant.uid, caller.client_id)
        return caller

    def _admit_application(self, token: str) -> Caller:
        grant = self._issuer.verify(token).grant
        holder = self._store.holder(grant.client_id, grant.credential.kind, grant.credential.number)
        if holder is None or holder.tenant_uid != grant.tenant:
            raise Unauthorized("the application or its credential has been revoked, or has expired")
        allowed = frozenset(grant.roles) & frozenset(holder.roles)
        return Caller(self._tenant(grant.tenant), grant.client_id, allowed)

    def _admit_outsider(self, issuer: ExternalIssuer, token: str) -> Caller:
        outsider = issuer.verify(token)
        try:
            tenant = self._store.tenant(outsider.tenant)  # each time: it may have been deleted
        except NotFound:
            LOG.error("config.toml maps %s to a tenant that is not there", issuer.trust.issuer)
            raise Unauthorized("the access token is mapped to a tenant that is not there") from None
        return Caller(tenant, outsider.subject, outsider.roles)

    def _tenant(self, name: str) -> TenantStore:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = self._store.tenant(name)
        return found

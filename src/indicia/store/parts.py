"""How an object of its own hangs on a tenant's store: `members = Part(Members)`, then `tenant.members`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from indicia.model import Actor
from indicia.store.engine import Database
from indicia.store.nouns import Tenant

Kept = TypeVar("Kept")


class Owner(Protocol):
    """What a part needs of the store of a tenant."""

    _database: Database
    tenant: Tenant
    actor: Actor


class Part(Generic[Kept]):
    """A property that gives an object over the same database, tenant and actor, made anew for each use."""

    def __init__(self, kind: Callable[[Database, Tenant, Actor], Kept]) -> None:
        self._kind = kind

    def __get__(self, own: Owner, _kind: object = None) -> Kept:
        return self._kind(own._database, own.tenant, own.actor)

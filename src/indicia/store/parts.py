"""How an object of its own hangs on a tenant's store: `members = Has(Members)`, then `tenant.members`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from indicia.model import Actor
from indicia.store.engine import Database
from indicia.store.nouns import Tenant
from indicia.store.scope import Scope

Kept = TypeVar("Kept")


class Owner(Protocol):
    """What a part needs of the store of a tenant."""

    _database: Database
    tenant: Tenant
    actor: Actor


class Has(Generic[Kept]):
    """A property that gives an object over the same database, tenant and actor, made anew for each use."""

    def __init__(self, kind: Callable[[Database, Tenant, Actor], Kept]) -> None:
        self._kind = kind

    def __get__(self, own: Owner, _kind: object = None) -> Kept:
        return self._kind(own._database, own.tenant, own.actor)


@dataclass(frozen=True, slots=True)
class Part:
    """Such an object: what it does, it does to one tenant, in transactions of its own."""

    database: Database
    tenant: Tenant
    actor: Actor

    def _who(self, by: str) -> Actor:
        """Who acts; where nobody was named, whom the stamps name."""
        return self.actor if self.actor.name else replace(self.actor, name=by)

    @contextmanager
    def _reading(self) -> Iterator[Scope]:
        with self.database.reading() as connection:
            yield Scope.walled(connection, self.tenant.id)

    @contextmanager
    def _writing(self) -> Iterator[Scope]:
        with self.database.writing() as connection:
            yield Scope.walled(connection, self.tenant.id)

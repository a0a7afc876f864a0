"""The whole store: opening it, the tenants, and what the token endpoint asks before it knows a tenant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event
from types import TracebackType
from typing import Self

from indicia.model import Quotas
from indicia.store import copying, directory, leaving, migrate, purges
from indicia.store.engine import BUSY_SECONDS, Database, connect
from indicia.store.marks import Marks
from indicia.store.nouns import Application, Holder, SigningKey, Tenant
from indicia.store.people import People
from indicia.store.scope import Scope
from indicia.store.tenant import TenantStore
from indicia.store.turns import Turn


class Store:
    """One database with all its tenants; safe for any number of threads and processes."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self.quotas = quotas

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = True,
        quotas: Quotas | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open the store of a URL (`engine` shows both kinds) and bring its tables up to date.

        An absent file is made, mode 0600, and so are the tables of an empty database of a server (StoreError
        with `create=False`). StoreError, which says what to do, for an absent folder, a disk that cannot be
        written, a server that cannot be reached, what is no store, and a store of a newer version. A writer
        waits `busy_seconds` for others before it gives up.
        """
        database = connect(url, create=create, busy_seconds=busy_seconds)
        try:
            migrate.up_to_date(database)
        except BaseException:
            database.close()
            raise
        return cls(database, quotas or Quotas())

    def close(self) -> None:
        """Give back every connection."""
        self._database.close()

    def copy_to(
        self,
        url: str,
        tell: copying.Tell = copying.nobody,
        *,
        as_is: bool = False,
        ready: Callable[[], None] = copying.nothing,
    ) -> dict[str, copying.Content]:
        """All of it into an empty database (see `copying`); what each table holds. StoreError."""
        target = connect(url, create=True)
        try:
            return copying.copy(self._database, target, tell, as_is=as_is, ready=ready)
        finally:
            target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def follow(self, told: Callable[[], None], over: Event) -> None:
        """Call `told` soon after any process changed what is matched, until `over`; see `engine`."""
        self._database.follow(told, over)

    def tenants(self) -> list[Tenant]:
        """Every tenant, oldest first."""
        with self._database.reading() as connection:
            return directory.tenants(connection)

    def add_tenant(self, name: str) -> Tenant:
        """A new tenant with a uid made here; InvalidValue where the name is taken or empty."""
        with self._database.writing() as connection:
            return directory.add_tenant(connection, name)

    def remove_tenant(self, uid_or_name: str, tell: leaving.Tell = copying.nobody) -> None:
        """Remove a tenant with everything that is its own, its audit log too; NotFound.

        Many transactions, of which the first locks everybody out (`leaving`); what was broken off goes on
        when it is called again.
        """
        with self._database.reading() as connection:
            found = directory.tenant(connection, uid_or_name)
        leaving.leave(self._database, found, tell)

    def tenant(self, uid_or_name: str) -> TenantStore:
        """The store as that tenant sees it; NotFound."""
        with self._database.reading() as connection:
            found = directory.tenant(connection, uid_or_name)
        return TenantStore(self._database, found, self.quotas)

    @property
    def people(self) -> People:
        """Who signs in to the portal."""
        return People(self._database)

    def sending(self) -> list[TenantStore]:
        """The store as those tenants see it that have outputs."""
        with self._database.reading() as connection:
            found = directory.sending(connection)
        return [TenantStore(self._database, one, self.quotas) for one in found]

    def waiting(self) -> list[tuple[str, TenantStore]]:
        """Kinds of jobs, and the store as those tenants see it of whom one can be taken, in a fair order."""
        with self._database.reading() as connection:
            found = directory.waiting(connection)
        return [(kind, TenantStore(self._database, one, self.quotas)) for kind, one in found]

    def application(self, client_id: str) -> Application | None:
        """Whose client id it is, with roles, secrets (hashes) and certificates; None where unknown."""
        with self._database.reading() as connection:
            return directory.application(connection, client_id)

    def holder(self, client_id: str, kind: str, number: int) -> Holder | None:
        """The application, if it and its credential (`secret`, `certificate`, `refresh`) are good now."""
        with self._database.reading() as connection:
            return directory.holder(connection, client_id, kind, number)

    def purge(self) -> bool:
        """Remove some of what was deleted and only hidden (`purges`); whether there may be more.

        One short transaction. Whoever deletes much calls it until there is no more, with pauses in which
        others write: the service does, and so do the commands that delete.
        """
        with self._database.reading() as connection:
            number = directory.purging(connection)
        if number is None:
            return False
        with self._database.tidying() as connection:
            purges.step(Scope(connection, number, deleted=True))
        return True

    def turn(self, name: str, seconds: float = 0) -> Turn:
        """What one process does for all that share the store: a word of each kind of work (`turns`).

        With `seconds` it is lost where the one that has it does not ask for so long: it may be cut off.
        """
        return self._database.turn(name, seconds)

    def turn_of(self, name: str) -> str:
        """Who has a turn, as `HOST:PROCESS`; empty where nobody has it, or where there is one host."""
        return self._database.turn_of(name)

    @property
    def shared(self) -> bool:
        """Whether processes of several hosts may use it, so that what they count must be in it."""
        return self._database.shared

    def marks(self, kind: str, seconds: float) -> Marks:
        """A memory that all processes share (`marks`); a value is kept for so long beyond its rank."""
        return Marks(self._database, kind, seconds)

    def signing_keys(self) -> Sequence[SigningKey]:
        """Every key that signs or signed tokens, newest first."""
        with self._database.reading() as connection:
            return directory.signing_keys(connection)

    def add_signing_key(self, kid: str, private_pem: str) -> SigningKey:
        """Keep a new private key (PEM); InvalidValue where there is one of that kid."""
        with self._database.writing() as connection:
            return directory.add_signing_key(connection, kid, private_pem)

    def retire_signing_key(self, kid: str, at: datetime | None = None) -> None:
        """It signs nothing from `at` (default: now) on and is still published; NotFound."""
        with self._database.writing() as connection:
            directory.retire_signing_key(connection, kid, at)

    def remove_signing_key(self, kid: str) -> None:
        """The tokens that it signed are refused from now on; NotFound."""
        with self._database.writing() as connection:
            directory.remove_signing_key(connection, kid)

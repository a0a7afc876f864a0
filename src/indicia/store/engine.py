"""The database of a store: what every one of them does, and which one a URL names.

    sqlite:////home/x/indicia.db               a file: `sqlite`
    postgresql://indicia@db.example/indicia    a server: `postgres`

On both a reader sees one snapshot and waits for nobody, and writers come one after the other: whoever writes
holds the lock from the first statement on, so what it reads stays so until it has committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from threading import Event
from typing import Protocol

from sqlalchemy import Connection

from indicia.errors import StoreError
from indicia.store import sqlite
from indicia.store.turns import Turn

BUSY_SECONDS = 15.0
"""How long a writer waits for its turn."""
SERVERS = ("postgresql://", "postgres://")


class Database(Protocol):
    """A database, safe for any number of threads. What goes wrong with it is a StoreError in words."""

    @property
    def name(self) -> str:
        """What messages call it: a path, or a URL without its password."""

    @property
    def shared(self) -> bool:
        """Whether processes of several hosts may use it."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection on one snapshot of the store."""

    def querying(self, seconds: float) -> AbstractContextManager[Connection]:
        """As `reading`, for queries that somebody else thought up: InputError after so many seconds."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A connection that holds the write lock; committed at the end, undone by any exception."""

    def beside(self, key: int | None = None) -> AbstractContextManager[Connection]:
        """As `writing`, for rows that stand by themselves: alone among those of the same key (32 bits)."""

    def tidying(self) -> AbstractContextManager[Connection]:
        """As `writing`, for what nobody waits for."""

    def bulk(self) -> AbstractContextManager[Callable[[], AbstractContextManager[Connection]]]:
        """As `writing`, many times for one long command."""

    def schema_change(self) -> AbstractContextManager[Connection]:
        """As `writing`, for migrations: whoever else migrates waits."""

    def tables(self, connection: Connection) -> Collection[str]:
        """The names of all that it holds."""

    def last_id(self, connection: Connection, table: str) -> int:
        """The greatest id that a table ever had, or a greater one."""

    def skip_ids(self, connection: Connection, table: str, number: int) -> None:
        """New rows of a table get greater ids than this one; the transaction must hold the write lock."""

    def follow(self, told: Callable[[], None], over: Event) -> None:
        """Call `told` soon after anybody changed what is matched (`Scope.tell`), until `over`.

        Returns at once where the database cannot say it; who needs to know looks now and then in any case.
        """

    def turn(self, name: str, seconds: float = 0) -> Turn:
        """What one process of all does, as long as it asks every so many `seconds`: see `turns`."""

    def turn_of(self, name: str) -> str:
        """Who has a turn, as `HOST:PROCESS`; empty where nobody has it, or it cannot be said."""

    def close(self) -> None:
        """Give back every connection."""


def connect(url: str, *, create: bool, busy_seconds: float = BUSY_SECONDS) -> Database:
    """The database of a URL; with `create` one that holds nothing yet, too. Raises StoreError."""
    if url.startswith(sqlite.PREFIX):
        return sqlite.SQLite(url, create=create, busy_seconds=busy_seconds)
    if not url.startswith(SERVERS):
        raise StoreError(
            f"{url.partition(':')[0] + ':'!r} is no store; a URL begins with {sqlite.PREFIX} or {SERVERS[0]}"
        )
    try:
        # A tenth of a second that a store in a file does not need, and a driver that it need not have.
        from indicia.store import postgres  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise StoreError(
            "a store on PostgreSQL needs its driver; install it with `pip install 'indicia[postgres]'`"
        ) from None
    return postgres.PostgreSQL(url, create=create, busy_seconds=busy_seconds)

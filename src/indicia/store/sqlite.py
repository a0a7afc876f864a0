"""One SQLite file: how it is opened, locked and committed, and what its faults are called in words.

Readers see a snapshot and never wait (WAL). A writer takes the lock at its start (BEGIN IMMEDIATE), so that
it either waits for its turn or fails before it has done anything; inside one process writers queue at a
lock of our own, because SQLite's waiters poll. A commit is on disk when it returns (synchronous=FULL).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, TimeoutError
from sqlalchemy.pool import QueuePool

from indicia.errors import InputError, StoreError
from indicia.odata import functions
from indicia.store.turns import FileTurn

_STEPS = 20_000
"""Steps of SQLite's machine (a millisecond or so) between two looks at the clock."""
PREFIX = "sqlite:///"
BULK_CACHE_KIB = 128 * 1024
"""Page cache while an import runs: the random inserts of its index then stay in memory."""
BULK_WAL_PAGES = 64 * 1024
"""Pages in the log before an import writes them home: fewer, larger, sorted writes (256 MiB)."""
_KEPT_READERS = 8
_CACHE_KIB = 16 * 1024
_WAL_PAGES = 1000

_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA cache_size=-{_CACHE_KIB}",
    "PRAGMA temp_store=MEMORY",
    f"PRAGMA journal_size_limit={64 * 1024 * 1024}",
)

_WORDS: tuple[tuple[str, str, int | None], ...] = (
    ("SQLITE_BUSY", "another process is writing to {path} and did not finish in time; try again", 2),
    ("SQLITE_LOCKED", "another process is writing to {path} and did not finish in time; try again", 2),
    ("SQLITE_FULL", "no space left for {path}; make room on that disk, nothing was changed", None),
    ("SQLITE_READONLY", "{path} cannot be written; check owner and mode of the file and its folder", None),
    ("SQLITE_CANTOPEN", "{path} cannot be opened; check its folder, and who may read and write there", None),
    ("SQLITE_NOTADB", "{path} is not an Indicia store; name another home, or move that file away", None),
    (
        "SQLITE_CORRUPT",
        "{path} is damaged; restore a backup (`sqlite3 FILE .recover` saves parts)",
        None,
    ),
    ("SQLITE_IOERR", "the disk of {path} reports an error; check the disk and its free space", None),
)


class SQLite:
    """The engine of one SQLite file (`engine.Database`)."""

    shared = False

    def __init__(self, url: str, *, create: bool, busy_seconds: float) -> None:
        self.path = _path(url, create=create)
        self.name = str(self.path)
        self._busy_seconds = busy_seconds
        self._turn = threading.Lock()
        self._readers: deque[Connection] = deque()
        self._engine = _engine(self.path, busy_seconds)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection on one snapshot of the store."""
        with self._in_words():
            connection = self._reader()
            raw = _raw(connection)
            try:
                raw.execute("BEGIN")
                yield connection
                raw.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            if len(self._readers) < _KEPT_READERS:
                self._readers.append(connection)
            else:
                connection.close()

    @contextmanager
    def querying(self, seconds: float) -> Iterator[Connection]:
        """As `reading`, for queries that somebody else thought up: InputError after so many seconds."""
        with self.reading() as connection, _stopped_after(_raw(connection), seconds):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection that holds the write lock; committed at the end, undone by any exception."""
        with self._in_words(), self._taking_turn(), self._engine.connect() as connection:
            connection.execution_options(indicia_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def tidying(self) -> Iterator[Connection]:
        """As `writing`, for what nobody waits for: the log is written home after the turn was given back."""
        with self._in_words(), self._engine.connect() as connection:
            raw = _raw(connection)
            connection.execution_options(indicia_write=True)
            raw.execute("PRAGMA wal_autocheckpoint=0")
            try:
                with self._taking_turn(), connection.begin():
                    yield connection
                raw.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                if not connection.invalidated:
                    raw.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")

    @contextmanager
    def bulk(self) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
        """As `writing`, many times over one connection with a larger cache and log; see BULK_CACHE_KIB."""
        with self._in_words(), self._engine.connect() as connection:
            raw = _raw(connection)
            connection.execution_options(indicia_write=True)

            @contextmanager
            def begin() -> Iterator[Connection]:
                with self._in_words(), self._taking_turn(), connection.begin():
                    yield connection

            try:
                _tune(raw, BULK_CACHE_KIB, BULK_WAL_PAGES)
                yield begin
            finally:
                # An interrupt in the middle of a statement costs the connection; it is closed already.
                if not connection.invalidated:
                    _tune(raw, _CACHE_KIB, _WAL_PAGES)
                    # Else somebody's next small write would have to bring the large log home.
                    raw.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def schema_change(self) -> Iterator[Connection]:
        """As `writing`, but references are checked at the end only: batch migrations rebuild tables."""
        with self._in_words(), self._taking_turn(), self._engine.connect() as connection:
            raw = _raw(connection)
            raw.execute("PRAGMA foreign_keys=OFF")
            try:
                connection.execution_options(indicia_write=True)
                with connection.begin():
                    yield connection
                    if raw.execute("PRAGMA foreign_key_check").fetchone():
                        raise StoreError(f"{self.path} holds rows without their owner; it was not migrated")
            finally:
                if not connection.invalidated:
                    raw.execute("PRAGMA foreign_keys=ON")

    def beside(self, _key: int | None = None) -> AbstractContextManager[Connection]:
        """As `writing`: a file has one writer."""
        return self.writing()

    def turn(self, name: str, seconds: float = 0) -> FileTurn:
        """A lock beside the file."""
        return FileTurn(self.path.with_name(f"{name}.lock"))

    def turn_of(self, name: str) -> str:
        """A lock of a file does not say whose it is; there is one host."""
        return ""

    def tables(self, connection: Connection) -> Collection[str]:
        """The names of all that it holds."""
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {str(name) for name in found.scalars()}

    def last_id(self, connection: Connection, table: str) -> int:
        """The greatest id that a table ever had."""
        found = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        return int(found.scalar() or 0)

    def skip_ids(self, connection: Connection, table: str, number: int) -> None:
        """New rows of a table get greater ids than this one."""
        if number > self.last_id(connection, table):
            connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            fresh = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
            connection.exec_driver_sql(fresh, (table, number))

    def follow(self, told: Callable[[], None], over: threading.Event) -> None:
        """A file tells nobody."""

    def close(self) -> None:
        """Give back every connection; the last one folds the log into the file."""
        while self._readers:
            self._readers.pop().close()
        self._engine.dispose()

    def _reader(self) -> Connection:
        """One for reading, that was kept or is made.

        They are kept because a request reads twice, and SQLAlchemy's work on taking a connection and giving
        it back is half of what looking up a row costs. To SQLAlchemy they are in one transaction for good.
        """
        with suppress(IndexError):
            return self._readers.pop()
        connection = self._engine.connect().execution_options(indicia_read=True)
        connection.begin()
        return connection

    @contextmanager
    def _taking_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._busy_seconds):
            raise StoreError(f"a longer write to {self.path} is still running; try again", retry_after=2)
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise _in_words(error.orig, self.path) from error
        except sqlite3.DatabaseError as error:
            raise _in_words(error, self.path) from error
        except TimeoutError as error:
            raise StoreError("too many requests use the store at once; try again", retry_after=2) from error


def _path(url: str, *, create: bool) -> Path:
    """The file of a URL as `sqlite:////home/x/indicia.db`; made with mode 0600 where allowed and absent."""
    if not url.removeprefix(PREFIX):
        raise StoreError(f"{url!r} names no file; write {PREFIX}PATH")
    path = Path(url.removeprefix(PREFIX))
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; `indicia init` makes one")
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a store; name a file")
    if not path.exists():
        if not create:
            raise StoreError(f"there is no store at {path}; `indicia init` makes one")
        try:
            # SQLite gives its log and shared memory the mode of the file.
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StoreError(f"{path} cannot be made: {error.strerror}; check who may write there") from None
    return path


def _engine(path: Path, busy_seconds: float) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=56,  # the thread pool of the service has 40
        pool_timeout=30,
        connect_args={"check_same_thread": False, "timeout": busy_seconds},
    )

    @event.listens_for(engine, "connect")
    def _connect(raw: sqlite3.Connection, _record: Any) -> None:
        raw.isolation_level = None  # BEGIN is ours to say
        if raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            raw.execute("PRAGMA journal_mode=WAL")
        for pragma in _PRAGMAS:
            raw.execute(pragma)
        for function in (*functions.FUNCTIONS, *functions.OPERATORS):
            call = functions.null_safe(function)
            raw.create_function(function.key, len(function.arguments), call, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("indicia_read", False):
            return  # `reading` begins and ends many
        # The driver's own call: a request begins two transactions, and SQLAlchemy takes three times as long.
        _raw(connection).execute("BEGIN IMMEDIATE" if options.get("indicia_write", False) else "BEGIN")

    return engine


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError(f"{raw!r} is no connection of sqlite3")
    return raw


@contextmanager
def _stopped_after(raw: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Stop whatever runs on the connection once the time is over."""
    end = time.monotonic() + seconds
    raw.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except DatabaseError as error:
        if getattr(error.orig, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        raise InputError(
            f"the query took longer than {seconds:g} seconds and was stopped; narrow it, or ask for less"
        ) from None
    finally:
        raw.set_progress_handler(None, 0)


def _tune(raw: sqlite3.Connection, cache_kib: int, wal_pages: int) -> None:
    raw.execute(f"PRAGMA cache_size=-{cache_kib}")
    raw.execute(f"PRAGMA wal_autocheckpoint={wal_pages}")


def _in_words(error: BaseException | None, path: Path) -> BaseException:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, words, retry_after in _WORDS:
        if name.startswith(prefix):
            return StoreError(words.format(path=path), retry_after=retry_after)
    return StoreError(f"{path}: {error}; please report this")

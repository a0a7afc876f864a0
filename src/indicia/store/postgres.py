"""A database of a PostgreSQL server: how it is reached, locked and committed, its faults in words.

Readers see a snapshot (REPEATABLE READ, READ ONLY). A writer takes one lock of the whole store at its start,
before it has read anything, and gives it back with the commit: so writers are as serial as on SQLite, on
however many hosts they are (docs/decisions/0011). The URL is libpq's own, with all of its parameters
(`sslmode`, `target_session_attrs`, several hosts); a password may stand in it, or in PGPASSWORD, or in
`~/.pgpass`, and is in no message. A connection that the server has closed meanwhile is replaced unseen.

PostgreSQL keeps no U+0000 in a text, SQLite does. So U+0000 goes over as U+0001 U+0001, and U+0001 itself as
U+0001 U+0002: texts come back as they were, and their order stays the one by code points.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any
from zlib import crc32

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus
from psycopg.types.string import StrDumperUnknown, TextLoader
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, TimeoutError

from indicia.errors import InputError, OutcomeUnknown, StoreError
from indicia.store.reach import Line, Reach
from indicia.store.scope import CHANNEL, WALLED

WRITERS = 0x1D1C1A
"""The advisory lock that every writer holds."""
_TURNS, _MARKS = WRITERS, WRITERS + 1
"""The first halves of advisory locks of two halves, which are others than those of one."""
_KEPT, _MOST = 4, 24
"""Connections that stay open, and all there may be: a server takes 100 in all unless it is told otherwise.

One of them is for who writes: many who read would take each that comes back before who writes has seen it.
"""
_PATIENCE = 30
"""Seconds that who wants a connection waits for one."""
_STALLED = "20s"
"""How long a writer may do nothing: a process that is stopped or cut off must not hold up all others."""

_DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "indicia",
    # `reach` sees to it that nobody waits; these are for connections that nobody waits for.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
}
_SESSION = (
    "SET client_encoding = 'UTF8'; SET jit = off; "
    # A host that went away without a word gives its lock back within 20 seconds.
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2; "
    "SET tcp_user_timeout = 20000; "
)
_LOCK = (
    f"SET LOCAL idle_in_transaction_session_timeout = '{_STALLED}'; SELECT pg_advisory_xact_lock({WRITERS})"
)
_BESIDE = "SELECT set_config('idle_in_transaction_session_timeout', %s, true)"
_LOCK_BESIDE = (
    "SELECT set_config('idle_in_transaction_session_timeout', %s, true), pg_advisory_xact_lock(%s, %s)"
)

_IS_WALLED = "SELECT row_security_active(to_regclass('alerts'))"

_HOLDER = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""Of a lock of two halves."""

_GLANCE = 0.25
"""Seconds between two looks whether a listener is to end."""

_TOO_MANY = "too many requests use the store at once; try again"
_BEAT = 5.0
"""Seconds after which a listener that hears nothing asks whether it is still heard."""
_REST = 1.0
"""Seconds until a listener whose server is away tries again."""
_LATER = 5
"""Seconds after which it is worth another try, where a server is away."""
_STATES: tuple[tuple[str, str, int | None], ...] = (
    ("55P03", "another process is writing to {name} and did not finish in time; try again", 2),
    ("40", "others were in the way at {name}; try again", 1),
    ("53100", "no space left for {name}; make room on that server's disk, nothing was changed", None),
    ("53300", "{name} has no connection left; raise its max_connections, or try again", _LATER),
    ("53", "{name} is out of memory or another resource; see its log, then try again", _LATER),
    ("25006", "{name} takes no writes: it is a standby, or read only; name the primary", _LATER),
    ("25P0", "{name} ended a write that stood still too long; try again", 2),
    ("57014", "{name} ended a statement that took too long; see which `statement_timeout` its user has", 2),
    ("57P", "{name} is stopping or starting; try again", _LATER),
    ("08", "the connection to {name} was lost; try again", _LATER),
    ("58", "the disk of {name} reports an error; see the log of that server", None),
    ("XX001", "{name} is damaged; restore a backup", None),
    ("XX002", "{name} is damaged; `REINDEX` it, or restore a backup", None),
    ("28", "{name} refuses who asks; check the user and the password", None),
    ("3D", "{name} does not exist; make it with `createdb`", None),
    (
        "42501",
        "the user of {name} may not do that: to make and migrate tables (`indicia store migrate`) is for who "
        "owns them, all else needs rights on them",
        None,
    ),
    ("42P01", "a table of {name} is gone, or was never made; see which `search_path` its user has", None),
)
"""Beginnings of SQLSTATE, the longer before the shorter."""
_UNSURE = ("", "08", "57")
"""After a commit: the connection ended, which may have been before it or after it."""
_AT_THE_DOOR: tuple[tuple[str, str], ...] = (
    ("too many ", "53300"),
    ("remaining connection slots", "53300"),
    ("the database system is ", "57P03"),
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
    ('role "', "28000"),
    ('database "', "3D000"),
)
"""What a server says that lets nobody in, where libpq hands on its words alone."""


class PostgreSQL:
    """The engine of one database of a server (`engine.Database`)."""

    shared = True

    def __init__(self, url: str, *, create: bool, busy_seconds: float) -> None:
        self._conninfo, self.name = _parsed(url)
        self._busy_seconds = busy_seconds
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST - 1)
        self._reach = Reach(self._conninfo, self.name)
        self._engine = _engine(self._reach, busy_seconds)
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        if not create:
            with self.reading() as connection:
                empty = not self.tables(connection)
            if empty:
                self.close()
                raise StoreError(f"there is no store in {self.name}; `indicia init` makes one")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection on one snapshot of the store."""
        with (
            self._in_words(),
            self._having_place(),
            self._snapshots.connect() as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def querying(self, seconds: float) -> Iterator[Connection]:
        """As `reading`, for queries that somebody else thought up: InputError after so many seconds."""
        with self.reading() as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
            try:
                yield connection
            except (DBAPIError, psycopg.Error) as error:
                if _state(error) != "57014":
                    raise
                raise InputError(
                    f"the query took longer than {seconds:g} seconds and was stopped; "
                    "narrow it, or ask for less"
                ) from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection that holds the write lock; committed at the end, undone by any exception."""
        with (
            self._in_words(),
            self._taking_turn(),
            self._engine.connect() as connection,
            self._committed(connection),
        ):
            connection.exec_driver_sql(_LOCK)
            yield connection

    @contextmanager
    def beside(self, key: int | None = None) -> Iterator[Connection]:
        """As `writing`, alone among those of the same key; other writers are not waited for."""
        with (
            self._in_words(),
            self._having_place(),
            self._engine.connect() as connection,
            connection.begin(),
        ):
            if key is None:
                connection.exec_driver_sql(_BESIDE, (_STALLED,))
            else:
                connection.exec_driver_sql(_LOCK_BESIDE, (_STALLED, _MARKS, _signed(key)))
            yield connection

    def turn(self, name: str, seconds: float = 0) -> SessionTurn:
        """A lock of a session of its own, which the server ends when it was not asked for so many seconds."""
        return SessionTurn(self._reach, name, seconds, self._in_words)

    def turn_of(self, name: str) -> str:
        """By the lock, and the name that `SessionTurn` gives its session."""
        with self.reading() as connection:
            key = (_TURNS, crc32(name.encode()))
            found = connection.exec_driver_sql(_HOLDER, key).scalar()
        return str(found or "").rpartition(" ")[2]

    def tidying(self) -> AbstractContextManager[Connection]:
        """As `writing`: the server writes its log home by itself."""
        return self.writing()

    @contextmanager
    def bulk(self) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
        """As `writing`, many times."""
        yield self.writing

    def schema_change(self) -> AbstractContextManager[Connection]:
        """As `writing`: the server changes its tables within a transaction."""
        return self.writing()

    def tables(self, connection: Connection) -> Collection[str]:
        """The names of all that its schema holds."""
        found = connection.exec_driver_sql(
            "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
        )
        return {str(name) for name in found.scalars()}

    def last_id(self, connection: Connection, table: str) -> int:
        """The greatest id that a table ever had, or a greater one: a sequence runs ahead of a snapshot."""
        ask = "SELECT pg_sequence_last_value(CAST(%s AS regclass))"
        return int(connection.exec_driver_sql(ask, (f"{table}_id_seq",)).scalar() or 0)

    def skip_ids(self, connection: Connection, table: str, number: int) -> None:
        """New rows of a table get greater ids than this one."""
        if number > self.last_id(connection, table):
            connection.exec_driver_sql("SELECT setval(CAST(%s AS regclass), %s)", (f"{table}_id_seq", number))

    def follow(self, told: Callable[[], None], over: threading.Event) -> None:
        """Call `told` soon after anybody changed what is matched, until `over`."""
        while not over.is_set():
            try:
                self._reach.must_answer()
                with closing(self._reach.connect(autocommit=True)) as raw:
                    raw.execute(f"LISTEN {CHANNEL}".encode())
                    while not over.is_set():
                        raw.execute("SELECT 1")  # one that is cut off hears as little as one that is idle
                        told()  # of what was committed before
                        self._listen(raw, told, over)
            except (psycopg.Error, StoreError):  # a server that is away; who looks by itself says so
                over.wait(_REST)

    @staticmethod
    def _listen(raw: Line, told: Callable[[], None], over: threading.Event) -> None:
        """For _BEAT seconds."""
        end = time.monotonic() + _BEAT
        while not over.is_set() and time.monotonic() < end:
            for _ in raw.notifies(timeout=_GLANCE, stop_after=1):
                told()

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    @contextmanager
    def _taking_turn(self) -> Iterator[None]:
        """One writer of this process at a time asks for the lock: those who wait hold no connection."""
        if not self._turn.acquire(timeout=self._busy_seconds):
            raise StoreError(f"a longer write to {self.name} is still running; try again", retry_after=2)
        try:
            self._reach.must_answer()
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _having_place(self) -> Iterator[None]:
        """One of the places of those who do not hold the write lock."""
        if not self._places.acquire(timeout=_PATIENCE):
            raise StoreError(_TOO_MANY, retry_after=2)
        try:
            self._reach.must_answer()
            yield
        finally:
            self._places.release()

    @contextmanager
    def _committed(self, connection: Connection) -> Iterator[None]:
        """A transaction; OutcomeUnknown where the answer to its commit was lost."""
        done = False
        try:
            with connection.begin():
                yield
                done = True
        except (DBAPIError, psycopg.Error) as error:
            if done and _state(error)[:2] in _UNSURE:
                said = _in_words(error, self.name)
                raise OutcomeUnknown(
                    f"{said}; whether it was done is not known", retry_after=_LATER
                ) from error
            raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            raise _in_words(error, self.name) from error
        except TimeoutError as error:
            raise StoreError(_TOO_MANY, retry_after=2) from error


class SessionTurn:
    """A lock that a connection of its own has (`turns.Turn`): it is lost with that connection."""

    patience = 2.0

    def __init__(
        self, reach: Reach, name: str, seconds: float, in_words: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._reach, self._in_words = reach, in_words
        who = f"indicia {name} {socket.gethostname()[:30]}:{os.getpid()}"
        self._settings = sql.SQL(
            _SESSION + "SET idle_session_timeout = {}; SET application_name = {}"
        ).format(int(seconds * 1000), who)
        self._key = (_TURNS, _signed(crc32(name.encode())))
        self._guard = threading.Lock()
        self._connection: Line | None = None
        self._held = False

    def take(self) -> bool:
        """Whether it is ours; taken where nobody has it. StoreError where the server is away."""
        with self._guard, self._in_words():
            if self._held:
                return self._answers()
            try:
                if self._connection is None:
                    self._reach.must_answer()
                    self._connection = self._reach.connect(autocommit=True)
                    self._connection.execute(self._settings)
                row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", self._key).fetchone()
            except psycopg.Error:
                self._drop()
                raise
            self._held = row is not None and bool(row[0])
            return self._held

    def holds(self) -> bool:
        """Whether the server still answers on that connection, and still takes writes."""
        with self._guard:
            return self._held and self._answers()

    def close(self) -> None:
        """Give it back, at once: the end of a connection is seen by the server a moment later."""
        with self._guard:
            if self._held and self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.execute("SELECT pg_advisory_unlock_all()")
            self._drop()

    def _answers(self) -> bool:
        with suppress(psycopg.Error):
            if self._connection is not None:
                row = self._connection.execute("SELECT pg_is_in_recovery()").fetchone()
                if row == (False,):
                    return True
        self._drop()
        return False

    def _drop(self) -> None:
        self._held = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _signed(key: int) -> int:
    """The lower 32 bits as the server's integer."""
    return (key & 0xFFFFFFFF) - ((key & 0x80000000) << 1)


def _parsed(url: str) -> tuple[str, str]:
    """What libpq is given, and what messages call it."""
    given = _read(url)
    told = {key: str(value) for key, value in given.items() if value is not None}
    host = told.get("host", "") or told.get("hostaddr", "")
    port = f":{told['port']}" if told.get("port", "5432") != "5432" else ""
    who = f"{told['user']}@" if "user" in told else ""
    folder = host.startswith(("/", "@"))
    place = "" if folder else host + port
    name = f"postgresql://{who}{place}/{told.get('dbname', '')}" + (f"?host={host}" if folder else "")
    return make_conninfo(**(_DEFAULTS | told)), name


def _read(url: str) -> dict[str, Any]:
    """The parts of a URL as libpq finds them; StoreError, in words without the password."""
    place, _, parameters = url.partition("?")
    server, _, database = place.partition("://")[2].partition("/")
    unknown = None
    # A password with @ or / in it would be read as a part of the host, and be told as such.
    if server.count("@") <= 1 and "@" not in database:
        try:
            return dict(conninfo_to_dict(url))
        except psycopg.Error as error:  # its words may hold the password
            unknown = "@" not in parameters and re.search(r'query parameter: "(\w+)"', str(error))
    if unknown:
        raise StoreError(f"the URL of the database cannot be read: libpq knows no parameter {unknown[1]!r}")
    raise StoreError(
        "the URL of the database cannot be read; write postgresql://USER@HOST/DATABASE, "
        "and %-escape what is special in it"
    )


def _engine(reach: Reach, busy_seconds: float) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=reach.connect,
        paramstyle="format",  # by position, as the statements that `scope` keeps as texts have them
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
        pool_size=_KEPT,
        max_overflow=_MOST - _KEPT,
        pool_timeout=_PATIENCE,
    )

    @event.listens_for(engine, "connect")
    def _connect(raw: psycopg.Connection[Any], record: Any) -> None:
        raw.execute(f"{_SESSION}SET lock_timeout = {max(1, int(busy_seconds * 1000))}".encode())
        (record.info[WALLED],) = raw.execute(_IS_WALLED).fetchone() or (None,)
        raw.commit()
        raw.adapters.register_dumper(str, _Dumper)
        raw.adapters.register_loader("text", _Loader)
        raw.adapters.register_loader("varchar", _Loader)

    @event.listens_for(engine, "checkout")
    def _checkout(raw: psycopg.Connection[Any], _record: Any, _proxy: Any) -> None:
        # A look at the socket costs a microsecond, a question to the server a round trip.
        try:
            look = select.poll()
            look.register(raw.pgconn.socket, select.POLLIN)
            while look.poll(0):
                raw.pgconn.consume_input()
        except (OSError, ValueError, psycopg.Error):
            raise InvalidatePoolError from None
        if raw.pgconn.status != ConnStatus.OK:
            raise InvalidatePoolError

    @event.listens_for(engine, "checkin")
    def _checkin(raw: psycopg.Connection[Any] | None, _record: Any) -> None:
        # SQLAlchemy leaves it at "may write", which a standby refuses; unsaid it is as the server has it.
        if raw is not None and not raw.closed:
            raw.read_only = None

    return engine


class _Dumper(StrDumperUnknown):
    """A text as PostgreSQL takes it."""

    def dump(self, obj: str) -> Buffer:
        if "\0" in obj or "\1" in obj:
            obj = obj.replace("\1", "\1\2").replace("\0", "\1\1")
        return obj.encode()


class _Loader(TextLoader):
    """A text as it was."""

    def load(self, data: Buffer) -> str:
        text = str(data, "utf-8")
        if "\1" in text:
            text = text.replace("\1\1", "\0").replace("\1\2", "\1")
        return text


def _state(error: BaseException | None) -> str:
    """The SQLSTATE, or what comes near where the server was not reached; empty where there is none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if state:
        return str(state)
    said = str(cause)
    for words, likely in _AT_THE_DOOR:
        if words in said:
            return likely
    return ""


def _in_words(error: BaseException, name: str) -> StoreError:
    state = _state(error)
    for beginning, words, retry_after in _STATES:
        if state.startswith(beginning):
            return StoreError(words.format(name=name), retry_after=retry_after, away=retry_after == _LATER)
    cause = error.orig if isinstance(error, DBAPIError) else error
    said = " ".join(str(cause).split())[:300]
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError) and not state:
        return StoreError(f"{name} cannot be reached: {said}", retry_after=_LATER, away=True)
    return StoreError(f"{name}: {said}; please report this")

"""Whether a server answers: nobody waits long for one that is silent, nor at all for one that was found so.

A connection may end without a word: packets that nobody takes, a box in between that has forgotten it. The
kernel gives up what was sent and not taken (`tcp_user_timeout`), but knows nothing of a box that takes all
and hands on none of it, and libpq waits for an answer without an end. So whoever has waited SILENCE seconds
asks by a new connection whether the server is at work for the old one (`pg_stat_activity`). A statement that
takes long is waited for, one that nobody works on, or of a server that does not answer, is given up.

While a server was found silent, one at a time looks whether it is back, and all others are told at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from indicia.errors import StoreError

SILENCE = 5.0
"""Seconds that somebody waits for an answer before it is asked whether one will come."""
GRACE = 1.0
"""Seconds in which an answer may still come that was on its way when it was asked."""
PAUSE = 0.5
"""Seconds after a server was found silent in which nobody looks again."""
_QUICK = 1.0
"""Seconds below which a refusal keeps nobody waiting, so that everybody may get one of his own."""

_SILENT = "no answer came, and the server is not at work on one"
_AT_WORK = (
    "SELECT pid FROM pg_stat_activity "
    # Who waits for us, as in COPY, while we wait, is not at work.
    "WHERE state NOT LIKE 'idle%' AND wait_event_type IS DISTINCT FROM 'Client'"
)
_Answer = TypeVar("_Answer")


class Line(psycopg.Connection[Any]):
    """A connection that gives up where no answer will come; OperationalError, and it is closed."""

    reach: Reach | None = None
    backend = 0
    """The process of the server; without it no answer is waited for longer than SILENCE."""

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """What comes of a conversation with the server, as psycopg has it."""
        return super().wait(self._heard(gen) if timeout is None else gen, interval, timeout)

    def _heard(self, gen: PQGen[_Answer]) -> Generator[Any, Any, _Answer]:
        """The same conversation; each `interval` in which nothing came looks at the clock."""
        since, end, doubted = 0.0, 0.0, False
        try:
            wanted = next(gen)
            while True:
                came = yield wanted
                if came:
                    since, doubted = 0.0, False
                elif not since:
                    since = time.monotonic()
                    end = since + SILENCE
                elif time.monotonic() >= end:
                    if doubted:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(_SILENT)
                    doubted = self.reach is None or not self.reach.works_for(self.backend, since)
                    end = time.monotonic() + (GRACE if doubted else SILENCE)
                wanted = gen.send(came)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


class Reach:
    """Connections to one server, and what is known of it; for any number of threads."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._orders = _orders(conninfo)
        self._first = 0
        self._name = name
        self._looking = threading.Lock()
        self._looked_at = 0.0
        self._at_work: frozenset[int] | None = None
        """Processes of the server; None where it is there, and does not say."""
        self._fault = ""
        self._again_at = 0.0

    def connect(self, *, autocommit: bool = False) -> Line:
        """A new connection; StoreError for a database of another encoding, which cannot keep every text."""
        begun = time.monotonic()
        try:
            raw = self._connected()
        except psycopg.OperationalError as error:
            self._failed(error, begun)
            raise
        encoding = raw.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raw.close()
            raise StoreError(
                f"{self._name} keeps texts as {encoding}; make it with `createdb --encoding=UTF8`"
            )
        # Not what the protocol says: a pool in between has numbers of its own.
        (raw.backend,) = raw.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        raw.reach = self
        raw.autocommit = autocommit
        return raw

    def must_answer(self) -> None:
        """OperationalError at once where the server was found silent, and is not known to be back."""
        if not self._fault:
            return
        if self._looking.acquire(blocking=False):
            try:
                if self._fault and time.monotonic() >= self._again_at:
                    self._look()
            finally:
                self._looking.release()
        if fault := self._fault:
            raise psycopg.OperationalError(fault)

    def works_for(self, backend: int, since: float) -> bool:
        """Whether the server is at work on a statement that has been waited for since then, or may be."""
        with self._looking:
            if self._looked_at < since:
                self._look()
            return self._at_work is None or backend in self._at_work

    def _connected(self) -> Line:
        """By the host that answered last: one that is silent, before it, would cost each its time."""
        raw = Line.connect(self._orders[self._first][1], autocommit=True)
        place = raw.info.host, str(raw.info.port)
        self._first = next((at for at, (own, _) in enumerate(self._orders) if own == place), 0)
        return raw

    def _look(self) -> None:
        """Ask the server, by a new connection, for whom it works."""
        self._looked_at = begun = time.monotonic()
        try:
            with closing(self._connected()) as raw:
                self._at_work = frozenset(pid for (pid,) in raw.execute(_AT_WORK).fetchall())
        except psycopg.Error as error:
            self._failed(error, begun)
            # One that has no place for a new connection may well be at work for an old one.
            self._at_work = frozenset() if self._fault else None
        else:
            self._fault = ""

    def _failed(self, error: psycopg.Error, begun: float) -> None:
        """One that refuses is there; for one that is silent nobody else waits."""
        now, said = time.monotonic(), " ".join(str(error).split())
        # The driver gives no SQLSTATE to what was said at the door.
        answered = error.sqlstate or ("FATAL:" in said and "timeout" not in said)
        if now - begun > _QUICK and not answered:
            self._fault, self._again_at = said, now + PAUSE
        else:
            self._fault = ""


def _orders(conninfo: str) -> list[tuple[tuple[str, str], str]]:
    """For each host of several, with its port, a conninfo that asks it first and the others after it."""
    given = conninfo_to_dict(conninfo)
    lists = {key: str(given[key]).split(",") for key in ("host", "hostaddr", "port") if given.get(key)}
    count = max(map(len, lists.values()), default=1)
    if count == 1 or given.get("load_balance_hosts") == "random":
        return [(("", ""), conninfo)]
    each = {key: values * count if len(values) == 1 else values for key, values in lists.items()}
    if any(len(values) != count for key, values in lists.items() if len(values) > 1):
        return [(("", ""), conninfo)]  # libpq says what is wrong with it
    found = []
    for at in range(count):
        turned = {key: ",".join((*values[at:count], *values[:at])) for key, values in each.items()}
        host = each.get("host", each.get("hostaddr", [""] * count))[at]
        port = each.get("port", ["5432"] * count)[at] or "5432"
        found.append(((host, port), make_conninfo(conninfo, **turned)))
    return found

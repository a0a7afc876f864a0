"""A look at the database of a machine without using it as a store: nothing is made, migrated or locked."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from indicia.errors import StoreError
from indicia.store.engine import connect
from indicia.store.scope import WALLED

SQLITE_MINIMUM = (3, 35)
"""Lists of 32,766 parameters (3.32) and RETURNING (3.35)."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the file of a store says of itself."""

    version: str | None
    """Of its tables, as `migrate.VERSIONS` has them; None where it holds none."""
    journal: str
    """`wal` for every store that was opened once; of a server, its version."""
    since: str | None = None
    """Code of which version on may use its tables; None where they do not say so."""
    walled: bool = False
    """Whether row-level security of a server holds for who asks."""


def sqlite_version() -> str:
    """Of the library that Python uses."""
    return sqlite3.sqlite_version


def sqlite_suffices() -> bool:
    """Whether it is as new as the store needs."""
    return sqlite3.sqlite_version_info >= SQLITE_MINIMUM


def inspect(path: Path) -> Inspected:
    """Read what a file says of itself; StoreError for one that is no store or cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as raw:
            journal = str(raw.execute("PRAGMA journal_mode").fetchone()[0])
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return Inspected(None, journal)
            if "alembic_version" not in tables:
                raise StoreError("it is a database of another program; name another home")
            row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
            since = raw.execute("SELECT since FROM compatible").fetchone() if "compatible" in tables else None
            return Inspected(str(row[0]) if row else None, journal, since and str(since[0]))
    except sqlite3.Error as error:
        raise StoreError(f"it cannot be read as a store: {error}") from None


def inspect_server(url: str) -> tuple[str, Inspected]:
    """What a database of a server is called, and what it says of itself; StoreError."""
    with closing(connect(url, create=True)) as database, database.reading() as connection:
        server = str(connection.exec_driver_sql("SHOW server_version").scalar()).partition(" ")[0]
        found = database.tables(connection)
        if not found:
            return database.name, Inspected(None, server)
        if "alembic_version" not in found:
            raise StoreError(f"{database.name} is a database of another program; name another one")
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        asked = "SELECT since FROM compatible"
        since = connection.exec_driver_sql(asked).scalar() if "compatible" in found else None
        held = None if version is None else str(version)
        return database.name, Inspected(held, server, since, bool(connection.info.get(WALLED)))


def writable(home: Path) -> bool:
    """Whether a home, and the store in it where there is one, can be written by who runs this."""
    effective = os.access in os.supports_effective_ids
    asked = [(home, os.W_OK | os.X_OK)]
    if (home / "indicia.db").exists():
        asked.append((home / "indicia.db", os.R_OK | os.W_OK))
    return all(os.access(path, mode, effective_ids=effective) for path, mode in asked)


def keeps_a_log(folder: Path) -> bool:
    """Whether SQLite can use its log (WAL) there: network folders often cannot. Tried with a file of its own.

    Raises OSError where nothing can be written there.
    """
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as own:
        try:
            with closing(sqlite3.connect(Path(own) / "probe.db")) as raw:
                kept = bool(raw.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal")
                raw.execute("CREATE TABLE probe (id INTEGER)")
                return kept
        except sqlite3.Error:
            return False

"""Which version the tables are, and bringing older ones up to date.

Hosts are upgraded one after the other, so processes of the version before go on over tables that are newer
than they know: until the next release a migration only adds, and what it adds has a default or may be NULL.
The store says how far that reaches back (`compatible`), so that a roll-back may open it again, too.

Alembic is slow to import and is needed only when something is to be done, so the version is read here and
compared with VERSIONS; a test holds that list against the migrations themselves.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, delete, insert, select

from indicia.errors import StoreError
from indicia.store.engine import Database
from indicia.store.tables import compatible

VERSIONS = tuple(f"{number:04}" for number in range(1, 22))
"""Every migration, oldest first."""
HEAD = VERSIONS[-1]
SINCE = "0018"
"""The oldest version whose code may use the tables of HEAD. A migration that takes something away, or asks of
writers what older ones do not do, raises it to a version that has been released before."""


COPYING = Table("copying", MetaData(), Column("since", BigInteger))
"""It is there while a store is being copied into a database (`copying`)."""


def up_to_date(database: Database, *, copying: bool = False) -> None:
    """Bring the tables to HEAD, unless they are newer and this code may use them.

    StoreError for a store of a newer version that it may not use, and of another program. `copying`: it is
    the target of a copy, which is nothing for anybody else.
    """
    with database.reading() as connection:
        behind = _is_behind(connection, database, copying=copying)
    if behind:
        with database.schema_change() as connection:
            # Another process may have been quicker.
            if _is_behind(connection, database, copying=copying):
                _upgrade(connection)


def reaches_back(since: str | None) -> bool:
    """Whether tables of a newer version, which say so of themselves, may be used by this one."""
    return since is not None and since <= HEAD


def _is_behind(connection: Connection, database: Database, *, copying: bool) -> bool:
    """Whether the tables are older than HEAD, or not there."""
    found = set(database.tables(connection))
    if COPYING.name in found and not copying:
        raise StoreError(
            f"a copy into {database.name} has not ended; give the same `indicia store` command once more, "
            "which goes on with it, or empty that database"
        )
    found.discard(COPYING.name)
    if not found:
        return True
    if "alembic_version" not in found:
        raise StoreError(f"{database.name} is a database of another program; name another one")
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version is None or version in VERSIONS:
        return version != HEAD
    since = connection.execute(select(compatible.c.since)).scalar() if compatible.name in found else None
    if not reaches_back(since):
        raise StoreError(
            f"{database.name} was made by a newer Indicia (its tables are {version}, this one knows up to "
            f"{HEAD}); install that version, or name another home"
        )
    return False


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a quarter of a second that most starts do not need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "indicia:store/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.execute(delete(compatible))
    connection.execute(insert(compatible).values(since=SINCE))

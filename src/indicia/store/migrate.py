"""Which version the tables are, and bringing older ones up to date.

Alembic is slow to import and is needed only when something is to be done, so the version is read here and
compared with VERSIONS; a test holds that list against the migrations themselves.
"""

from __future__ import annotations

from sqlalchemy import Connection

from indicia.errors import StoreError
from indicia.store.engine import Database

VERSIONS = tuple(f"{number:04}" for number in range(1, 17))
"""Every migration, oldest first."""
HEAD = VERSIONS[-1]


COPYING = "copying"
"""A table that is there while a store is being copied into a database (`copying`)."""


def up_to_date(database: Database, *, copying: bool = False) -> None:
    """Bring the tables to HEAD; StoreError for a store of a newer version or of another program.

    `copying`: it is the target of a copy, which is nothing for anybody else.
    """
    with database.reading() as connection:
        version = _version(connection, database, copying=copying)
    if version != HEAD:
        with database.schema_change() as connection:
            # Another process may have been quicker.
            if _version(connection, database, copying=copying) != HEAD:
                _upgrade(connection)


def _version(connection: Connection, database: Database, *, copying: bool) -> str | None:
    """The version of the tables; None where there are none."""
    found = set(database.tables(connection))
    if COPYING in found and not copying:
        raise StoreError(
            f"a copy into {database.name} has not ended; give the same `indicia store` command once more, "
            "which goes on with it, or empty that database"
        )
    found.discard(COPYING)
    if not found:
        return None
    if "alembic_version" not in found:
        raise StoreError(f"{database.name} is a database of another program; name another one")
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version is not None and version not in VERSIONS:
        raise StoreError(
            f"{database.name} was made by a newer Indicia (its tables are {version}, this one knows up to "
            f"{HEAD}); install that version, or name another home"
        )
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a quarter of a second that most starts do not need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "indicia:store/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

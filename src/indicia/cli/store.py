"""`indicia store`: back a store up, bring it back, move it to another database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli.progress import rows
from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import counted, result, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indicia.store.copying import Content

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def group() -> None:
    """The store as a whole: backups, moving it to another database, its tables."""


@group.command()
@folder_argument
@json_option
@pass_session
def backup(session: Session, folder: Path, json_asked: bool) -> None:
    """Back the store and the keys of the home up into FOLDER, while the service goes on.

    FOLDER holds keys: keep it as you keep them. config.toml is not in it.
    """
    from indicia import backups

    with session.store() as store, rows("backup") as tell:
        made = backups.make(store, session.home, folder.absolute(), tell)
    _done(f"{folder} holds", made.contents, json_asked=json_asked)


@group.command()
@folder_argument
@json_option
@pass_session
def restore(session: Session, folder: Path, json_asked: bool) -> None:
    """Bring the backup in FOLDER back: into the home, and into the database of its settings.

    Both must be empty. Sessions and links end; what was revoked since the backup holds again.
    """
    from indicia import backups

    with rows("restore") as tell:
        found = backups.restore(folder.absolute(), session.home, session.settings.database_url, tell)
    _done(f"Restored into {session.home}:", found.contents, json_asked=json_asked)


@group.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
@pass_session
def copy(session: Session, source: str, target: str, json_asked: bool) -> None:
    """Copy a whole store into an empty database; what was broken off goes on.

    FROM and TO are files of SQLite, or URLs (postgresql://USER@HOST/DATABASE; leave the password to
    PGPASSWORD or ~/.pgpass). Stop what writes to FROM before. Both sides are compared in the end.
    """
    from indicia.store import Store

    with Store.open(_url(source), create=False) as store, rows("copy") as tell:
        found = store.copy_to(_url(target), tell)
    _done("Copied and compared:", found, json_asked=json_asked)


@group.command()
@click.option("--create", is_flag=True, help="Also make them in a database that is empty.")
@json_option
@pass_session
def migrate(session: Session, create: bool, json_asked: bool) -> None:
    """Bring the tables of the store up to date, as every other command does that opens it.

    For upgrades in which that is a step of its own: what goes wrong is seen before a service is stopped.
    Services of the version before go on meanwhile.
    """
    from indicia.store import migrate as migrations

    with session.store(create=create):
        pass
    result(
        {"tables": migrations.HEAD},
        json_asked=json_asked,
        text=lambda: click.echo(f"The tables are at {migrations.HEAD}."),
    )


def _url(given: str) -> str:
    return given if "://" in given else f"sqlite:///{Path(given).expanduser().absolute()}"


def _done(what: str, found: Mapping[str, Content], *, json_asked: bool) -> None:
    told = {name: {"rows": content.rows, "digest": content.digest} for name, content in found.items()}
    total = sum(content.rows for content in found.values())
    result(
        told,
        json_asked=json_asked,
        text=lambda: say(f"{what} {counted(total, 'row')} in {len(found)} tables."),
    )

"""`indicia suppressions`: what is kept in silence, until when, and how often it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from indicia.cli import nouns
from indicia.cli.session import Session, list_options, pass_session, store_options
from indicia.cli.show import page, result, say, table
from indicia.cli.times import end_of, end_option

if TYPE_CHECKING:
    from indicia.model import Suppression

COLUMNS = ("id", "definition", "machine", "value", "until", "suppressed", "last", "reason", "by")


@click.group()
def group() -> None:
    """Suppressions: detections that are recorded in silence and open no alert, until an end."""


@group.command("list")
@list_options
@pass_session
def list_(session: Session, limit: int, after: int, tenant: str | None, json_asked: bool) -> None:
    """List suppressions in the order of their ids, ended ones too."""
    with session.tenant(tenant) as own:
        found = page(own.suppressions(after=after, limit=limit + 1), limit, lambda one: one.id)
    result(
        [nouns.suppression(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one) for one in found)),
    )


def _row(one: Suppression) -> tuple[object, ...]:
    owner = "any" if one.definition_uid is None else str(one.definition_id or one.definition_uid)
    named = (owner, one.machine or "any", one.value or "any")
    counted = (one.suppressed_count, one.last_suppressed_at)
    return (str(one.id), *named, one.ends_at, *counted, one.reason, one.created_by)


@group.command()
@click.option("--definition", "definition_id", metavar="ID", type=click.IntRange(1), help="Of this one.")
@click.option("--machine", help="On this machine, as alerts name it.")
@click.option("--value", help="Of this value of an indicator, as alerts name it.")
@end_option
@click.option("--reason", default="", help="Why.")
@store_options
@pass_session
def add(session: Session, /, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Keep in silence what fulfils all that is given: a definition, a machine, a value."""
    from indicia.model import Suppression

    if not any(given[name] for name in ("definition_id", "machine", "value")):
        raise click.UsageError("name a --definition, a --machine, a --value, or several of them")
    until = given.pop("until")
    with session.tenant(tenant) as own:
        made = own.add_suppression(Suppression(ends_at=until.moment, **given), session.by)
    result(nouns.suppression(made), json_asked=json_asked, text=lambda: click.echo(made.id))


@group.command("set")
@click.argument("number", metavar="ID", type=click.IntRange(1))
@click.option(
    "--until", metavar="TIME", callback=end_of, help="When it ends: a date, or in how long, as 30d."
)
@click.option("--reason", help="Why.")
@store_options
@pass_session
def set_(session: Session, /, number: int, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Give a suppression another end or reason."""
    wanted = {name: given[name] for name in ("reason",) if given[name] is not None}
    if given["until"] is not None:
        wanted["ends_at"] = given["until"].moment
    if not wanted:
        raise click.UsageError("say what to change, as --until 30d")
    with session.tenant(tenant) as own:
        changed = own.change_suppression(number, wanted, session.by)
    result(nouns.suppression(changed), json_asked=json_asked, text=lambda: table(COLUMNS, [_row(changed)]))


@group.command()
@click.argument("number", metavar="ID", type=click.IntRange(1))
@store_options
@pass_session
def delete(session: Session, number: int, tenant: str | None, json_asked: bool) -> None:
    """End a suppression now; what it kept in silence stays so."""
    with session.tenant(tenant) as own:
        own.delete_suppression(number)
    result({"deleted": number}, json_asked=json_asked, text=lambda: say(f"Suppression {number} is gone."))

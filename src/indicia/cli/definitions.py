"""`indicia definitions`: what an alert shows, and the container of indicators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indicia.cli import nouns
from indicia.cli.session import (
    Choice,
    Session,
    list_options,
    make_sure,
    pass_session,
    store_options,
    yes_option,
)
from indicia.cli.show import details, page, result, say, table
from indicia.model import Category, GroupBy, Severity

if TYPE_CHECKING:
    from indicia.model import AlertDefinition

Command = TypeVar("Command", bound=Callable[..., Any])
COLUMNS = ("id", "name", "title", "severity", "category", "enabled", "group by")
CONTENT = (
    click.option("--name", help="By which you know it; alerts do not show it."),
    click.option("--title", help="What alerts are called.  [default: the name]"),
    click.option(
        "--severity",
        type=Choice(one.value for one in Severity),
        help="[default: Medium]",
    ),
    click.option(
        "--category",
        metavar="CATEGORY",
        type=Choice(one.value for one in Category),
        help="One of the API's, as Malware or CommandAndControl.  [default: General]",
    ),
    click.option("--internal-description", metavar="TEXT", help="For you alone."),
    click.option("--ux-description", metavar="TEXT", help="What alerts say."),
    click.option("--recommended-action", metavar="TEXT", help="What the reader of an alert should do."),
    click.option(
        "--group-by",
        type=Choice(one.value for one in GroupBy),
        help="What makes one alert, beside machine and window.  [default: Definition]",
    ),
    click.option(
        "--window-seconds", type=int, help="Length of an alert's window of event time.  [default: a day]"
    ),
    click.option("--enabled/--disabled", default=None, help="Whether its indicators are looked for."),
)
DEFAULTS = {"severity": Severity.MEDIUM, "category": Category.GENERAL}


def content_options(command: Command) -> Command:
    """An option for each property that a definition's author sets."""
    for option in reversed(CONTENT):
        command = option(command)
    return command


@click.group()
def group() -> None:
    """Alert definitions: what an alert shows, and which indicators raise it."""


@group.command("list")
@list_options
@pass_session
def list_(session: Session, limit: int, after: int, tenant: str | None, json_asked: bool) -> None:
    """List alert definitions in the order of their ids."""
    with session.tenant(tenant) as own:
        found = page(own.definitions(after=after, limit=limit + 1), limit, lambda one: one.id)
    result(
        [nouns.definition(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one) for one in found)),
    )


def _row(one: AlertDefinition) -> tuple[object, ...]:
    return (str(one.id), one.name, one.title, one.severity, one.category, one.enabled, one.group_by)


@group.command()
@click.argument("definition_id", metavar="ID", type=click.IntRange(1))
@store_options
@pass_session
def show(session: Session, definition_id: int, tenant: str | None, json_asked: bool) -> None:
    """Show all of one alert definition."""
    with session.tenant(tenant) as own:
        found = own.definition(definition_id)
    _show(found, json_asked=json_asked)


@group.command()
@content_options
@store_options
@pass_session
def add(session: Session, /, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Make an alert definition; its id is printed.

    A severity, a category and the rest may be left out; --name is needed.
    """
    if not given["name"]:
        raise click.UsageError("an alert definition needs a --name")
    wanted = DEFAULTS | {"title": given["name"]} | _only_given(given)
    with session.tenant(tenant) as own:
        from indicia.odata import bodies
        from indicia.odata.entities import ALERT_DEFINITION

        body = bodies.one(ALERT_DEFINITION, _body(wanted), frozenset(), partial=False)
        (made,) = own.add_definitions([bodies.definition(body)], session.by)
    result(nouns.definition(made), json_asked=json_asked, text=lambda: click.echo(made.id))


@group.command("set")
@click.argument("definition_id", metavar="ID", type=click.IntRange(1))
@content_options
@store_options
@pass_session
def set_(session: Session, /, definition_id: int, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Change what is given of an alert definition; alerts that exist stay as they are."""
    wanted = _only_given(given)
    if not wanted:
        raise click.UsageError("say what to change, as --title TEXT or --disabled")
    with session.tenant(tenant) as own:
        from indicia.odata import bodies
        from indicia.odata.entities import ALERT_DEFINITION

        body = bodies.one(ALERT_DEFINITION, _body(wanted), frozenset(), partial=True)
        changed = own.change_definition(definition_id, body.attributes, session.by)
    _show(changed, json_asked=json_asked)


@group.command()
@click.argument("definition_id", metavar="ID", type=click.IntRange(1))
@yes_option
@store_options
@pass_session
def delete(session: Session, definition_id: int, yes: bool, tenant: str | None, json_asked: bool) -> None:
    """Delete an alert definition with its indicators; its alerts stay."""
    with session.tenant(tenant) as own:
        found = own.definition(definition_id)
        make_sure(f"Shall {found.name!r} be deleted with all of its indicators?", yes=yes)
        own.delete_definition(definition_id)
    session.purge()
    result(
        {"deleted": definition_id},
        json_asked=json_asked,
        text=lambda: say(f"Deleted {found.name} with its indicators."),
    )


def _only_given(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _body(attributes: dict[str, Any]) -> dict[str, Any]:
    """As the API is sent it, so that its rules and its words for their breach hold here too."""
    from indicia.odata.entities import ALERT_DEFINITION

    names = {described.attribute: described.name for described in ALERT_DEFINITION.properties}
    return {names[attribute]: value for attribute, value in attributes.items()}


def _show(one: AlertDefinition, *, json_asked: bool) -> None:
    shown = nouns.definition(one)
    plain = {"id": str(one.id), "window_seconds": str(one.window_seconds)}
    result(
        shown,
        json_asked=json_asked,
        text=lambda: details((name.replace("_", " "), value) for name, value in (shown | plain).items()),
    )

"""`indicia indicators`: what is looked for; import and export of whole lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli import nouns
from indicia.cli.imports import command as import_command
from indicia.cli.session import (
    Choice,
    Session,
    list_options,
    make_sure,
    pass_session,
    store_options,
    yes_option,
)
from indicia.cli.show import counted, details, page, result, say, table
from indicia.model import DetectionFunction, IndicatorType

if TYPE_CHECKING:
    from indicia.feeds import FeedRow
    from indicia.model import Indicator
    from indicia.store import TenantStore

COLUMNS = ("id", "type", "value", "function", "enabled", "valid from", "expires at", "source", "definition")
PAGE = 5000
"""Indicators that an export reads at a time."""


@click.group()
def group() -> None:
    """Indicators: what is looked for, each under an alert definition."""


group.add_command(import_command)


@group.command("list")
@click.option("--definition", metavar="ID", type=click.IntRange(1), help="Those of this one alone.")
@list_options
@pass_session
def list_(
    session: Session, definition: int | None, limit: int, after: int, tenant: str | None, json_asked: bool
) -> None:
    """List indicators in the order of their ids."""
    with session.tenant(tenant) as own:
        if definition is not None:
            own.definition(definition)
        some = own.indicators(after=after, limit=limit + 1, definition_id=definition)
    found = page(some, limit, lambda one: one.id)
    result(
        [nouns.indicator(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one) for one in found)),
    )


def _row(one: Indicator) -> tuple[object, ...]:
    owner = f"{one.definition.id} {one.definition.name}"
    start, end = one.valid_from, one.expires_at
    return (str(one.id), one.type, one.value, one.function, one.enabled, start, end, one.source, owner)


@group.command()
@click.argument("indicator_id", metavar="ID", type=click.IntRange(1))
@store_options
@pass_session
def show(session: Session, indicator_id: int, tenant: str | None, json_asked: bool) -> None:
    """Show all of one indicator."""
    with session.tenant(tenant) as own:
        found = own.indicator(indicator_id)
    shown = nouns.indicator(found)
    plain = {"id": str(found.id), "definition_id": f"{found.definition.id} ({found.definition.name})"}
    result(
        shown,
        json_asked=json_asked,
        text=lambda: details((name.replace("_", " "), value) for name, value in (shown | plain).items()),
    )


@group.command()
@click.option("--definition", metavar="ID", type=click.IntRange(1), required=True, help="Whose it becomes.")
@click.option("--value", required=True, help="As 203.0.113.7 or evil.example.")
@click.option(
    "--type",
    type=Choice(one.value for one in IndicatorType),
    help="[default: what the value looks like]",
)
@click.option(
    "--function",
    type=Choice(one.value for one in DetectionFunction),
    default=DetectionFunction.EQUALS.value,
    show_default=True,
    help="How it is met.",
)
@click.option(
    "--valid-from", metavar="TIME", help="Judged at event time; 2026-01-31, or with a time and zone."
)
@click.option("--expires-at", metavar="TIME", help="Likewise.")
@click.option("--source", metavar="TEXT", help="Where it comes from; kept with it.")
@click.option("--disabled", is_flag=True, help="Keep it without looking for it.")
@click.option("--force", is_flag=True, help="Take a short pattern as it is.")
@store_options
@pass_session
def add(session: Session, /, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Add one indicator to a definition; its id is printed."""
    from indicia import allow
    from indicia.feeds import make

    row = _given_row(given)
    with session.tenant(tenant) as own:
        owner = own.definition(given["definition"])
        new, warnings = make.indicator(row, owner, make.Choice(force=given["force"]))
        (made,) = own.add_indicators([new], session.by)
        known = allow.warnings(own.allow_lists.allowance())(made)
    for warning in (*warnings, *known):
        say(f"Warning: {warning}")
    result(nouns.indicator(made), json_asked=json_asked, text=lambda: click.echo(made.id))


def _given_row(given: dict[str, Any]) -> FeedRow:
    """What was given as one row of a list. Raises InvalidValue."""
    from indicia.errors import InvalidValue
    from indicia.feeds import FeedRow
    from indicia.feeds.rows import time_of
    from indicia.values import guess_type

    kind = IndicatorType(given["type"]) if given["type"] else guess_type(given["value"].strip())
    if kind is None:
        raise InvalidValue("looks like no indicator; name its --type", target="--value")
    times = {}
    for option in ("valid_from", "expires_at"):
        try:
            times[option] = time_of(given[option]) if given[option] else None
        except ValueError as error:
            raise InvalidValue(str(error), target=f"--{option.replace('_', '-')}") from None
    return FeedRow(
        0,
        kind,
        given["value"],
        DetectionFunction(given["function"]),
        given["source"],
        times["valid_from"],
        times["expires_at"],
        not given["disabled"],
    )


@group.command()
@click.argument("indicator_id", metavar="[ID]", type=click.IntRange(1), required=False)
@click.option("--definition", metavar="ID", type=click.IntRange(1), help="All of this definition instead.")
@yes_option
@store_options
@pass_session
def delete(
    session: Session,
    indicator_id: int | None,
    definition: int | None,
    yes: bool,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """Delete one indicator, or all of a definition, which stays."""
    if (indicator_id is None) == (definition is None):
        raise click.UsageError("name one indicator by its ID, or all of one definition by --definition")
    with session.tenant(tenant) as own:
        if indicator_id is not None:
            own.delete_indicator(indicator_id)
            deleted = 1
        else:
            name = own.definition(definition or 0).name
            make_sure(f"Shall all indicators of {name!r} be deleted?", yes=yes)
            deleted = own.delete_indicators(definition)
    session.purge()
    result(
        {"deleted": deleted},
        json_asked=json_asked,
        text=lambda: say(f"Deleted {counted(deleted, 'indicator')}."),
    )


@group.command()
@click.option("--definition", metavar="ID", type=click.IntRange(1), help="Those of this one alone.")
@click.option("--output", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option(
    "--save",
    metavar="FILE",
    default="-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write to this new file, mode 0600.  [default: stdout]",
)
@click.option("--replace", "overwrite", is_flag=True, help="Let --save replace a file that exists.")
@store_options
@pass_session
def export(
    session: Session,
    definition: int | None,
    output: str,
    save: Path,
    overwrite: bool,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """Write indicators with their definitions, as `import` and `scan --indicators` read them.

    Those of disabled definitions too. In csv a cell that a spreadsheet would take for a formula stands
    behind an apostrophe, which reading undoes.
    """
    from indicia.cli.access import SaveFile
    from indicia.cli.outputs import rows_writer
    from indicia.feeds.rows import EXPORTED, exported

    count = 0
    with session.tenant(tenant) as own:
        if definition is not None:
            own.definition(definition)
        with SaveFile(save, overwrite=overwrite) as file, file.stream() as stream:
            write = rows_writer(output, stream, EXPORTED)
            for one in _every(own, definition):
                write(exported(one))
                count += 1
    if str(save) != "-":
        shown = {"exported": count, "saved": str(save)}
        result(
            shown,
            json_asked=json_asked,
            text=lambda: say(f"Exported {counted(count, 'indicator')} to {save}."),
        )


def _every(own: TenantStore, definition: int | None) -> Iterator[Indicator]:
    after = 0
    while found := own.indicators(after=after, limit=PAGE, definition_id=definition):
        yield from found
        after = found[-1].id

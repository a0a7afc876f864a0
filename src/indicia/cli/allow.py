"""`indicia allow`: lists of values that are known to be harmless, and what they do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from indicia.cli import nouns
from indicia.cli.faults import Faults
from indicia.cli.session import (
    Choice,
    Session,
    after_option,
    limit_option,
    make_sure,
    pass_session,
    store_options,
    yes_option,
)
from indicia.cli.show import counted, details, result, say, table
from indicia.model import IndicatorType

if TYPE_CHECKING:
    from indicia.allow import AllowList, Effect, Preview

COLUMNS = ("name", "enabled", "action", "entries", "types", "owner", "suppressed", "comment")
KINDS = ("String", "Substring", "Hostname", "Cidr", "Regex")
ACTIONS = ("Annotate", "Suppress")
SHOWN = 10
"""Entries that a preview names."""
_name = click.argument("name", metavar="LIST")


@click.group()
def group() -> None:
    """Allow-lists: values that are known to be harmless, or at least common."""


@group.command()
@store_options
@pass_session
def lists(session: Session, tenant: str | None, json_asked: bool) -> None:
    """List them, with what comes of each."""
    with session.tenant(tenant) as own:
        found = own.allow_lists.all()
    result(
        [nouns.allow_list(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one) for one in found)),
    )


def _row(one: AllowList) -> tuple[object, ...]:
    types = ", ".join(one.types) or "all"
    counted_ = (one.entry_count, types, one.owner, one.suppressed_count, one.comment)
    return (one.name, one.enabled, one.action, *counted_)


@group.command("import")
@click.argument("file", metavar="FILE")
@click.option("--name", help="Name of a plain list; of a file with several lists, the one to import.")
@click.option("--kind", type=Choice(KINDS), help="How the lines of a plain list know a value.")
@click.option(
    "--type",
    "types",
    type=Choice(one.value for one in IndicatorType),
    multiple=True,
    help="Types of indicators that it is about.  [default: as the file says, else all]",
)
@click.option("--strict", is_flag=True, help="Import nothing where an entry cannot be used.")
@store_options
@pass_session
def import_(session: Session, /, tenant: str | None, json_asked: bool, **given: Any) -> int:
    """Import a file of lists; `-` is standard input. A list of a name that is there gets the file's entries.

    MISP's warning lists (JSON, or CSV with match_type,value,list), or plain lists with a value a line. New
    lists are disabled and annotate: look at `preview` first, then `enable` them, and `set --action Suppress`
    where they are to silence.
    """
    from indicia.errors import InputError
    from indicia.feeds import warning_lists

    kind = None if given["kind"] is None else _kind(given["kind"])
    read = warning_lists.read(given["file"], given["name"], kind)
    if not read:
        raise InputError("holds no list of that name", place=given["file"])
    types = tuple(IndicatorType(name) for name in given["types"])
    faults = Faults("entries that cannot be used")
    ready = [warning_lists.ready(one, types, partial(faults, given["file"])) for one in read]
    faults.close()
    if given["strict"] and faults.count:
        raise InputError(
            f"{faults.count:,} of the entries cannot be used; nothing was imported",
            place=given["file"],
        )
    with session.tenant(tenant) as own:
        made = [own.allow_lists.put(new, entries, session.by) for new, entries in ready]
    result(
        {"faults": faults.count, "lists": [nouns.allow_list(one) for one in made]},
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one) for one in made)),
    )
    return 0


def _kind(name: str) -> Any:
    from indicia.allow import AllowKind

    return AllowKind(name)


@group.command()
@_name
@limit_option
@after_option
@store_options
@pass_session
def show(session: Session, name: str, limit: int, after: int, tenant: str | None, json_asked: bool) -> None:
    """Show a list and its entries."""
    with session.tenant(tenant) as own:
        found = own.allow_lists.one(name)
        entries = own.allow_lists.entries(name, after=after, limit=limit + 1)
    if len(entries) > limit:
        say(f"There are more: --after {entries[limit - 1].id}")
        entries = entries[:limit]
    shown = nouns.allow_list(found)
    listed = [{"id": one.id, "kind": one.kind, "value": one.value, "type": one.type} for one in entries]

    def text() -> None:
        details((key.replace("_", " "), value) for key, value in shown.items())
        table(("id", "kind", "value", "type"), ((str(e.id), e.kind, e.value, e.type) for e in entries))

    result(shown | {"listed": listed}, json_asked=json_asked, text=text)


@group.command()
@_name
@store_options
@pass_session
def enable(session: Session, name: str, tenant: str | None, json_asked: bool) -> None:
    """Put a list in force, for what is detected from now on."""
    _change(session, name, {"enabled": True}, tenant, json_asked)


@group.command()
@_name
@store_options
@pass_session
def disable(session: Session, name: str, tenant: str | None, json_asked: bool) -> None:
    """Put a list out of force; what it kept silent stays so."""
    _change(session, name, {"enabled": False}, tenant, json_asked)


@group.command("set")
@_name
@click.option("--action", type=Choice(ACTIONS), help="What it does to a detection whose value it knows.")
@click.option("--owner", metavar="TEXT", help="Whose it is.")
@click.option("--comment", metavar="TEXT", help="What it is for.")
@click.option("--name", "new_name", metavar="TEXT", help="Another name.")
@store_options
@pass_session
def set_(session: Session, /, name: str, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Change a list."""
    from indicia.allow import AllowAction

    wanted = {key: value for key, value in given.items() if value is not None}
    if not wanted:
        raise click.UsageError("say what to change, as --action Suppress")
    if "new_name" in wanted:
        wanted["name"] = wanted.pop("new_name")
    if "action" in wanted:
        wanted["action"] = AllowAction(wanted["action"])
    _change(session, name, wanted, tenant, json_asked)


def _change(
    session: Session, name: str, changes: dict[str, Any], tenant: str | None, json_asked: bool
) -> None:
    with session.tenant(tenant) as own:
        found = own.allow_lists.change(name, changes, session.by)
    result(nouns.allow_list(found), json_asked=json_asked, text=lambda: table(COLUMNS, [_row(found)]))


@group.command()
@_name
@yes_option
@store_options
@pass_session
def delete(session: Session, name: str, yes: bool, tenant: str | None, json_asked: bool) -> None:
    """Delete a list with its entries; what it kept silent stays so."""
    with session.tenant(tenant) as own:
        own.allow_lists.one(name)
        make_sure(f"Shall the allow-list {name!r} be deleted?", yes=yes)
        own.allow_lists.delete(name)
    result({"deleted": name}, json_asked=json_asked, text=lambda: say(f"The allow-list {name} is gone."))


@group.command()
@_name
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Of detections.")
@click.option("--action", type=Choice(ACTIONS), help="As if it did this.  [default: as it is]")
@store_options
@pass_session
def preview(
    session: Session, name: str, days: int, action: str | None, tenant: str | None, json_asked: bool
) -> None:
    """Say what a list does, or would do: to the indicators in force, and to detections of the last days."""
    from indicia.allow import AllowAction

    with session.tenant(tenant) as own:
        found = own.allow_lists.preview(name, days, AllowAction(action) if action else None)
    result(_previewed(found), json_asked=json_asked, text=lambda: _show_preview(found))


def _previewed(found: Preview) -> dict[str, Any]:
    return {
        "list": nouns.allow_list(found.list),
        "days": found.days,
        "indicators": _effect(found.indicators),
        "detections": _effect(found.detections),
        "alerts_silenced": found.alerts,
    }


def _effect(effect: Effect) -> dict[str, Any]:
    first = sorted(effect.entries.items(), key=lambda one: (-one[1], one[0]))
    return {
        "seen": effect.seen,
        "annotated": effect.annotated,
        "suppressed": effect.suppressed,
        "entries": [{"entry": entry, "count": count} for entry, count in first],
    }


def _show_preview(found: Preview) -> None:
    say(f"{found.list.name}, as {found.list.action}:")
    for noun, effect in (
        ("indicator", found.indicators),
        (f"detection of the last {found.days} days", found.detections),
    ):
        known = effect.annotated + effect.suppressed
        first, _, rest = noun.partition(" ")
        say(
            f"knows {known:,} of {counted(effect.seen, first)} {rest}".rstrip()
            + f": {effect.annotated:,} annotated, {effect.suppressed:,} silent"
        )
    say(f"{counted(found.alerts, 'alert')} would not have been opened.")
    table(("entry", "indicators", "detections"), found.entries[:SHOWN])


@group.command()
@click.argument("value", metavar="VALUE")
@click.option(
    "--type",
    "kind",
    type=Choice(one.value for one in IndicatorType),
    help="[default: what the value looks like]",
)
@store_options
@pass_session
def check(session: Session, value: str, kind: str | None, tenant: str | None, json_asked: bool) -> None:
    """Say which lists in force know a value; the first one decides."""
    from indicia import values
    from indicia.errors import InvalidValue
    from indicia.model import DetectionFunction

    found = IndicatorType(kind) if kind else values.guess_type(value.strip())
    if found is None:
        raise InvalidValue("looks like no indicator; name its --type", target="VALUE")
    canonical = values.indicator_value(found, DetectionFunction.EQUALS, value)
    with session.tenant(tenant) as own:
        known = own.allow_lists.allowance().known(found, canonical)
    shown = [
        {"list": one.list.name, "action": one.list.action, "kind": one.kind, "entry": one.entry}
        for one in known
    ]

    def text() -> None:
        if not shown:
            say(f"No allow-list in force knows {canonical} ({found}).")
        else:
            table(("list", "action", "kind", "entry"), (tuple(one.values()) for one in shown))

    result({"type": found, "value": canonical, "known": shown}, json_asked=json_asked, text=text)

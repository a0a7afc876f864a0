"""`indicia retention`: for how long detections, alerts, the audit log and answers are kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from indicia.cli.session import Choice, Session, make_sure, pass_session, store_options, yes_option
from indicia.cli.show import result, say, table

if TYPE_CHECKING:
    from indicia.store import What

WHAT = ("Detections", "Alerts", "AuditLog", "Receipts")
WITHOUT = "none"


def _number(_context: click.Context, _option: click.Parameter, given: str | None) -> int | str | None:
    """A number, `none` for no limit, or None where the option was not given."""
    if given is None or given == WITHOUT:
        return given
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise click.BadParameter(f"{given!r} is neither a number nor `{WITHOUT}`")
    return int(given)


@click.group()
def group() -> None:
    """Retention: how long what is recorded is kept; the service deletes the rest once an hour."""


@group.command()
@store_options
@pass_session
def show(session: Session, tenant: str | None, json_asked: bool) -> None:
    """Show the limits that hold."""
    with session.tenant(tenant) as own:
        limits = own.retention.limits()
    result(
        {str(what): {"days": limit.days, "most": limit.most} for what, limit in limits.items()},
        json_asked=json_asked,
        text=lambda: table(
            ("what", "days", "most"),
            ((what, limit.days or WITHOUT, limit.most or WITHOUT) for what, limit in limits.items()),
        ),
    )


@group.command("set")
@click.argument("what", metavar="WHAT", type=Choice(WHAT))
@click.option("--days", callback=_number, metavar="DAYS", help="Delete what is older; `none`: however old.")
@click.option("--most", callback=_number, metavar="NUMBER", help="Keep the newest so many; `none`: all.")
@store_options
@pass_session
def set_(
    session: Session,
    what: str,
    days: int | str | None,
    most: int | str | None,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """Keep Detections, Alerts, AuditLog or Receipts for other times; `run --dry-run` says what would go."""
    from indicia.store import Limit, What

    if days is None and most is None:
        raise click.UsageError("say what to change, as --days 90")
    with session.tenant(tenant) as own:
        before = own.retention.limits()[What(what)]
        limit = Limit(_limit(days, before.days), _limit(most, before.most))
        own.retention.change(What(what), limit, session.by)
    shown = {"what": what, "days": limit.days, "most": limit.most}
    result(
        shown,
        json_asked=json_asked,
        text=lambda: table(("what", "days", "most"), [(what, limit.days or WITHOUT, limit.most or WITHOUT)]),
    )


def _limit(given: int | str | None, before: int | None) -> int | None:
    if given is None:
        return before
    return None if isinstance(given, str) else given


@group.command()
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@yes_option
@store_options
@pass_session
def run(session: Session, dry_run: bool, yes: bool, tenant: str | None, json_asked: bool) -> None:
    """Delete now what is too old or too much, in small steps."""
    with session.tenant(tenant) as own:
        due = own.retention.due()
        if not dry_run and any(due.values()):
            make_sure(f"Shall {_told(due)} be deleted?", yes=yes)
        counts = due
        if not dry_run:
            counts = dict.fromkeys(due, 0)
            for so_far in own.retention.run():
                counts = dict(so_far)
                time.sleep(0.01)  # others write meanwhile
    told = f"Dry run: {_told(counts)} would be deleted." if dry_run else f"Deleted {_told(counts)}."
    result(
        {"dry_run": dry_run, "deleted": {str(what): count for what, count in counts.items()}},
        json_asked=json_asked,
        text=lambda: say(told),
    )


def _told(counts: Mapping[What, int]) -> str:
    return ", ".join(f"{count:,} of {what}" for what, count in counts.items())

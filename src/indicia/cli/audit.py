"""`indicia audit`: who changed what, through which door."""

from __future__ import annotations

import click

from indicia.cli import nouns
from indicia.cli.session import Session, list_options, pass_session
from indicia.cli.show import page, result, table

COLUMNS = ("id", "at", "by", "through", "action", "set", "key", "count", "before", "after")


@click.group()
def group() -> None:
    """The audit log: an entry for each call that changed something."""


@group.command("list")
@list_options
@pass_session
def list_(session: Session, limit: int, after: int, tenant: str | None, json_asked: bool) -> None:
    """List changes, the oldest first."""
    with session.tenant(tenant) as own:
        found = page(own.audit_log(after=after, limit=limit + 1), limit, lambda one: one.id)
    result(
        [nouns.audit_entry(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(
            COLUMNS,
            (
                (
                    str(one.id),
                    one.at,
                    one.by,
                    one.through,
                    one.action,
                    one.set_name,
                    one.key,
                    one.count,
                    one.before,
                    one.after,
                )
                for one in found
            ),
        ),
    )

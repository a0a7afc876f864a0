"""`indicia admin`: administrators of the portal, by whoever has the host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from indicia.cli.session import Session, pass_session, store_options
from indicia.cli.show import result, say, table

if TYPE_CHECKING:
    from indicia.settings import Settings
    from indicia.store import TenantStore

VALID = timedelta(hours=24)
"""How long a link can be used."""
COLUMNS = ("name", "role", "since", "state", "last seen")


@click.group()
def group() -> None:
    """Administrators of the portal; for whoever has the host, whatever the portal itself allows."""


@group.command()
@click.option("--name", help="Set a new password for this person, let it in again, make it administrator.")
@store_options
@pass_session
def reset(session: Session, name: str | None, tenant: str | None, json_asked: bool) -> None:
    """Print a one-time link, valid for 24 hours: to become an administrator of the tenant, or with --name to
    set a new password, where the old one is lost.
    """
    from indicia.errors import NotFound

    with session.tenant(tenant) as own:
        uid = None
        if name is not None:
            known = [one for one in own.members.all() if one.name.casefold() == name.strip().casefold()]
            if not known:
                raise NotFound(
                    f"{own.name} has no member {name!r}; `indicia admin list` shows them, and without --name"
                    " the link makes a new administrator"
                )
            uid = known[0].uid
        made = link(session.settings, own, uid)
    what = f"sets a new password of {name}" if uid else f"administers {own.name}"
    result({"link": made}, json_asked=json_asked, text=lambda: click.echo(made))
    say(f"Whoever opens it first {what}; it is valid for 24 hours.")


@group.command("list")
@store_options
@pass_session
def list_(session: Session, tenant: str | None, json_asked: bool) -> None:
    """List the people who may sign in to the tenant, and as what."""
    with session.tenant(tenant) as own:
        found = own.members.all()
    result(
        [
            {
                "name": one.name,
                "role": one.role.word,
                "since": one.created_at,
                "disabled_at": one.disabled_at,
                "signs_on_at": one.issuer,
                "seen_at": one.seen_at,
            }
            for one in found
        ],
        json_asked=json_asked,
        text=lambda: table(
            COLUMNS,
            (
                (
                    one.name,
                    one.role.word,
                    one.created_at,
                    "disabled" if one.disabled_at else "enabled",
                    one.seen_at,
                )
                for one in found
            ),
        ),
    )


def link(settings: Settings, own: TenantStore, uid: str | None = None) -> str:
    """A one-time link for an administrator: a new one, or a new password of somebody."""
    from indicia.auth import secrets
    from indicia.store import Role

    token = secrets.make()
    if uid is None:
        own.members.invite(secrets.digest(token), Role.ADMINISTRATOR, "", VALID)
    else:
        own.members.reset(secrets.digest(token), uid, VALID, Role.ADMINISTRATOR)
    return f"{settings.portal_url}/portal/link/{token}"


def offer(session: Session, settings: Settings) -> None:
    """Where the first tenant has no administrator yet: say by which link somebody becomes one."""
    with session.store() as store:
        first = next(iter(store.tenants()), None)
        if first is None:
            return
        own = store.tenant(first.uid).acting(session.actor)
        if not own.members.has_administrator():
            say(f"{own.name} has no administrator. Whoever opens this first is one: {link(settings, own)}")

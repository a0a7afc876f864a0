"""`indicia admin`: administrators of the portal, by whoever has the host."""

from __future__ import annotations

import logging
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
OFFERED = 10
"""Links that starts of the service have left; the oldest gives way."""
_NOBODY = "%s has no administrator; `indicia admin reset` makes a link for the first one"
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
    """Where the first tenant has no administrator yet: say by which link somebody becomes one.

    Logs that go elsewhere are not told the link, but how to make one.
    """
    from indicia.errors import IndiciaError

    try:
        with session.store() as store:
            first = next(iter(store.tenants()), None)
            own = store.tenant(first.uid).acting(session.actor) if first else None
            if own is None or own.members.has_administrator():
                return
            if settings.log == "json":
                logging.getLogger("indicia.web").warning(_NOBODY, own.name)
            else:
                for old in own.members.links()[OFFERED - 1 :]:
                    own.members.revoke_link(old.id)
                made = link(settings, own)
                say(f"{own.name} has no administrator. Whoever opens this first is one: {made}")
    except IndiciaError as fault:
        # The service itself is up; `indicia admin reset` makes a link, too.
        say(f"No link for a first administrator was made: {fault}")

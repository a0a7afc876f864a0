"""`indicia clients`: applications that use the API, and their secrets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indicia.auth import roles, secrets
from indicia.cli import credentials, nouns
from indicia.cli.session import Choice, Session, make_sure, pass_session, store_options, yes_option
from indicia.cli.show import as_json, details, moment, result, say, stamp, table

if TYPE_CHECKING:
    from indicia.store import Application, Secret, TenantStore

Command = TypeVar("Command", bound=Callable[..., Any])
COLUMNS = ("client id", "name", "roles", "secret", "hint", "description", "expires at", "state")


def secret_options(command: Command) -> Command:
    """What a new secret is, and where it goes."""
    for option in (
        click.option("--replace", "overwrite", is_flag=True, help="Let --save replace a file that exists."),
        click.option(
            "--save",
            metavar="FILE",
            type=click.Path(path_type=Path, allow_dash=True),
            help="Write the access with the secret (JSON, mode 0600) to this new file and do not show it.",
        ),
        click.option(
            "--days",
            type=click.IntRange(1, 36_500),
            default=secrets.DAYS,
            show_default=True,
            help="How long the secret is valid.",
        ),
        click.option("--description", metavar="TEXT", default="", help="What the secret is for."),
    ):
        command = option(command)
    return command


@click.group()
def group() -> None:
    """Applications that use the API, each with its client id, roles and secrets."""


group.add_command(credentials.certificate)
group.add_command(credentials.token)
group.add_command(credentials.revoke_tokens)


@group.command("list")
@store_options
@pass_session
def list_(session: Session, tenant: str | None, json_asked: bool) -> None:
    """List applications with their secrets, of which only the first characters are known."""
    with session.tenant(tenant) as own:
        found = own.applications()
    now = datetime.now(UTC)
    result(
        [nouns.application(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (row for one in found for row in _rows(one, now))),
    )


@group.command()
@click.argument("client_id", metavar="CLIENT_ID")
@store_options
@pass_session
def show(session: Session, client_id: str, tenant: str | None, json_asked: bool) -> None:
    """Show an application, its secrets and its certificates."""
    with session.tenant(tenant) as own:
        found = _application(own, client_id)
    result(nouns.application(found), json_asked=json_asked, text=lambda: _details(found))


def _details(one: Application) -> None:
    now = datetime.now(UTC)
    pairs: list[tuple[str, object]] = [
        ("client id", one.client_id),
        ("tenant id", one.tenant_uid),
        ("name", one.name),
        ("roles", " ".join(one.roles)),
        ("created", one.created_at),
        ("revoked", one.revoked_at),
    ]
    for kept in one.secrets:
        text = f"{kept.hint}… {_state(one, kept, now)}, expires {moment(kept.expires_at) or 'never'}"
        pairs.append((f"secret {kept.id}", f"{text}  {kept.description}".rstrip()))
    for held in one.certificates:
        state = credentials.state_of(held, now)
        pairs.append((f"certificate {held.id}", f"{held.subject} {state}, expires {moment(held.expires_at)}"))
    details(pairs)


def _rows(one: Application, now: datetime) -> list[tuple[object, ...]]:
    """A line for each secret."""
    known = (one.client_id, one.name, " ".join(one.roles))
    if not one.secrets:
        return [(*known, "", "", "", "", "revoked" if one.revoked_at else "no secret")]
    return [
        (*known, str(kept.id), f"{kept.hint}…", kept.description, kept.expires_at, _state(one, kept, now))
        for kept in one.secrets
    ]


def _state(one: Application, kept: Secret, now: datetime) -> str:
    if one.revoked_at or kept.revoked_at:
        return "revoked"
    return "valid" if kept.holds(now) else "expired"


@group.command()
@click.option("--name", required=True, help="What it is, for you.")
@click.option(
    "--role",
    "held",
    metavar="ROLE",
    type=Choice(roles.ALL),
    multiple=True,
    help=f"May be given again: {', '.join(roles.ALL)}.  [default: {', '.join(roles.DEFAULT)}]",
)
@secret_options
@store_options
@pass_session
def add(session: Session, /, name: str, held: tuple[str, ...], **given: Any) -> None:
    """Make an application and its first secret, which is shown this once or saved."""
    with session.tenant(given["tenant"]) as own:
        _new_secret(session, own, lambda: own.add_application(name, held or roles.DEFAULT), given)


@group.command()
@click.argument("client_id", metavar="CLIENT_ID")
@secret_options
@store_options
@pass_session
def secret(session: Session, /, client_id: str, **given: Any) -> None:
    """Make another secret of an application, shown this once or saved; those there are stay valid."""
    with session.tenant(given["tenant"]) as own:
        _new_secret(session, own, lambda: _holding(own, client_id), given)


@group.command()
@click.argument("client_id", metavar="CLIENT_ID")
@click.option("--secret", "secret_id", metavar="ID", type=click.IntRange(1), help="This secret alone.")
@yes_option
@store_options
@pass_session
def revoke(
    session: Session, client_id: str, secret_id: int | None, yes: bool, tenant: str | None, json_asked: bool
) -> None:
    """Refuse an application, or one of its secrets, from now on; it cannot be undone."""
    with session.tenant(tenant) as own:
        name = _application(own, client_id).name
        what = f"secret {secret_id} of {name}" if secret_id else f"{name} with all of its secrets"
        make_sure(f"Revoke {what}?", yes=yes)
        if secret_id:
            own.revoke_secret(client_id, secret_id)
        else:
            own.revoke_application(client_id)
        after = _application(own, client_id)
    result(nouns.application(after), json_asked=json_asked, text=lambda: say(f"Revoked {what}."))


def _application(own: TenantStore, client_id: str) -> Application:
    from indicia.errors import NotFound

    found = next((one for one in own.applications() if one.client_id == client_id.lower()), None)
    if found is None:
        raise NotFound(f"this tenant has no application {client_id!r}; `indicia clients list` shows them")
    return found


def _holding(own: TenantStore, client_id: str) -> Application:
    from indicia.errors import InputError

    found = _application(own, client_id)
    if found.revoked_at:
        raise InputError(f"{found.name} was revoked; make another application: indicia clients add")
    return found


def _new_secret(
    session: Session, own: TenantStore, application: Callable[[], Application], given: dict[str, Any]
) -> None:
    """A secret of the application, saved or shown; the file is there before anything is made."""
    from indicia.cli.access import SaveFile
    from indicia.cli.access import details as access_of
    from indicia.web.access import new_secret

    def make() -> tuple[Application, Secret, dict[str, str]]:
        owner = application()
        text, kept = new_secret(own, owner.client_id, given["description"], given["days"])
        return owner, kept, access_of(session.settings, own.uid, owner.client_id, text)

    save = given["save"]
    if save is None:
        owner, kept, access = make()
    else:
        with SaveFile(save, overwrite=given["overwrite"]) as file:
            owner, kept, access = make()
            file.write(as_json(access) + "\n")
    until = stamp(kept.expires_at) if kept.expires_at else "ever"
    _show(owner, kept, access, save, json_asked=given["json_asked"])
    where = f"in {save}" if save and str(save) != "-" else "shown this once"
    say(f"Secret {kept.id} of {owner.name} ({owner.client_id}) is valid until {until} and {where}.")


def _show(
    owner: Application, kept: Secret, access: dict[str, str], save: Path | None, *, json_asked: bool
) -> None:
    """On stdout the secret alone, so that a script can take it, or everything as JSON."""
    if json_asked and str(save) != "-":
        shown = {name: value for name, value in access.items() if save is None or name != "client_secret"}
        more = {"saved": str(save)} if save else {}
        click.echo(as_json({"name": owner.name, "secret": nouns.secret(kept), **more, **shown}))
    elif save is None:
        click.echo(access["client_secret"])

"""`indicia init`: a home, a tenant, an application and its secret."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, say

if TYPE_CHECKING:
    from indicia.settings import Settings
    from indicia.store import Store, TenantStore

FIRST = "default"
"""Name of the first tenant; further ones are default-2, default-3, …"""


@click.command()
@click.option("--tenant", metavar="NAME", help="Name of the new tenant.  [default: default, default-2, …]")
@click.option("--host", help="Address or name that the service listens on; remembered.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port; remembered.  [default: 8443]")
@click.option(
    "--save",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the access (JSON, mode 0600) to this new file; `-`: to stdout.",
)
@click.option("--replace", "overwrite", is_flag=True, help="Let --save replace a file that exists.")
@json_option
@pass_session
def command(
    session: Session,
    tenant: str | None,
    host: str | None,
    port: int | None,
    save: Path,
    overwrite: bool,
    json_asked: bool,
) -> None:
    """Make the home where it is not there yet, a tenant, an application and its secret.

    A further init makes a further tenant. The secret is shown nowhere but in FILE, and is valid for two
    years; `indicia clients secret` makes another one.
    """
    from indicia.cli import admin
    from indicia.cli.access import SaveFile

    with SaveFile(save, overwrite=overwrite) as file:
        settings = _home(session, host, port)
        with session.store(create=True) as store:
            others = [one.name for one in store.tenants()]
            made = store.add_tenant(_free_name(others) if tenant is None else tenant)
            own = store.tenant(made.uid).acting(session.actor)
            access = _access(settings, store, own)
            link = admin.link(settings, own)
        file.write(as_json(access) + "\n")
    if json_asked and str(save) != "-":
        shown = {name: value for name, value in access.items() if name != "client_secret"}
        click.echo(as_json({"tenant": own.name, "saved": str(save), **shown}))
    where = "on stdout" if str(save) == "-" else f"in {save}"
    say(f"Tenant {own.name} is ready; its access is {where}. Next: indicia serve")
    if others:
        # Meant for a further host or application, it is a second world beside the first.
        beside = others[0] if len(others) == 1 else f"the {len(others)} tenants there were"
        say(
            f"It is apart from {beside}. A further host needs no init, only `indicia serve`; "
            "a further application is for `indicia clients add`."
        )
    say(f"Whoever opens this first administers it in the portal: {link}")


def _home(session: Session, host: str | None, port: int | None) -> Settings:
    """The home with its settings; host and port are remembered where they are given."""
    from indicia import settings
    from indicia.errors import InputError

    home = session.home
    try:
        _own_folder(home)
    except OSError as error:
        raise InputError(
            f"cannot be made a home: {error.strerror}; name another with --home", place=str(home)
        ) from None
    kept = settings.read(home, {})
    wanted = replace(kept, host=host or session.settings.host, port=port or session.settings.port)
    if wanted != kept:
        if (home / "indicia.db").exists() or kept.database:
            say(f"The service's address is now {wanted.base_url}; files saved before name {kept.base_url}.")
        settings.remember(wanted)
    return replace(session.settings, host=wanted.host, port=wanted.port)


def _own_folder(home: Path) -> None:
    """For us alone, mode 0700; a folder that holds other things keeps its mode."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = home.stat().st_mode & 0o077
    if others and ((home / "indicia.db").exists() or not any(home.iterdir())):
        home.chmod(0o700)
    elif others:
        say(f"{home} can be read by others; `chmod 700 {home}` makes it yours alone.")


def _free_name(names: Collection[str]) -> str:
    number = 1
    name = FIRST
    while name in names:
        number += 1
        name = f"{FIRST}-{number}"
    return name


def _access(settings: Settings, store: Store, tenant: TenantStore) -> dict[str, str]:
    """The access of a new application."""
    from indicia.auth import roles
    from indicia.cli.access import details
    from indicia.web.access import new_secret
    from indicia.web.gate import issuer_of

    issuer_of(settings, store)  # makes the signing key, so that the first start is as quick as the others
    application = tenant.add_application("made by indicia init", roles.DEFAULT)
    secret, _ = new_secret(tenant, application.client_id, "made by indicia init")
    return details(settings, tenant.uid, application.client_id, secret)

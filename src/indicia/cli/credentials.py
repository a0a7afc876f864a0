"""`indicia clients certificate`, `token`, `revoke-tokens`: what applications have beside secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli import nouns
from indicia.cli.session import Session, make_sure, pass_session, store_options, yes_option
from indicia.cli.show import as_json, details, result, say, table

if TYPE_CHECKING:
    from indicia.store import Certificate, TenantStore

COLUMNS = ("id", "subject", "sha1 (x5t)", "valid from", "expires at", "state")


@click.command()
@click.argument("client_id", metavar="CLIENT_ID")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--revoke", "revoked", metavar="ID", type=click.IntRange(1), help="Refuse this one from now on."
)
@store_options
@pass_session
def certificate(
    session: Session,
    client_id: str,
    file: Path | None,
    revoked: int | None,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """Register the certificate in FILE for an application, or list those that it has.

    The application then asks for tokens with an assertion that it signs with the certificate's key, and
    needs no secret. Only the certificate is read and kept; its key stays with the application.
    """
    if file and revoked:
        raise click.UsageError("give either FILE or --revoke")
    with session.tenant(tenant) as own:
        if file:
            _register(own, client_id, file)
        elif revoked:
            own.revoke_certificate(client_id, revoked)
            say(f"Revoked certificate {revoked}.")
        found = _certificates(own, client_id)
    now = datetime.now(UTC)
    result(
        [nouns.certificate(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one, now) for one in found)),
    )


def _register(own: TenantStore, client_id: str, file: Path) -> None:
    from indicia.errors import InputError
    from indicia.web import access

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=str(file)) from None
    kept = access.register(own, client_id, content, str(file))
    say(f"Registered {kept.subject} as certificate {kept.id}.")


def _certificates(own: TenantStore, client_id: str) -> tuple[Certificate, ...]:
    from indicia.errors import NotFound

    for one in own.applications():
        if one.client_id == client_id.lower():
            return one.certificates
    raise NotFound(f"this tenant has no application {client_id!r}; `indicia clients list` shows them")


def _row(one: Certificate, now: datetime) -> tuple[object, ...]:
    return (str(one.id), one.subject, one.sha1, one.valid_from, one.expires_at, state_of(one, now))


def state_of(one: Certificate, now: datetime) -> str:
    """A word on whether it is accepted."""
    return "valid" if one.holds(now) else "revoked" if one.revoked_at else "not valid now"


@click.command()
@click.argument("client_id", metavar="CLIENT_ID")
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the tokens (JSON, mode 0600) to this new file and do not show them.",
)
@click.option("--replace", "overwrite", is_flag=True, help="Let --save replace a file that exists.")
@store_options
@pass_session
def token(
    session: Session, client_id: str, save: Path | None, overwrite: bool, tenant: str | None, json_asked: bool
) -> None:
    """Generate an access token and a refresh token of an application, for ad-hoc use.

    The refresh token is used once and replaced by the answer's; it ends after 14 days without use, after
    90 days at the latest.
    """
    from indicia.cli.access import SaveFile
    from indicia.web.gate import issuer_of
    from indicia.web.grants import Grants
    from indicia.web.token import v1_answer

    with session.store() as store, session.tenant(tenant) as own:
        grants = Grants(store, issuer_of(session.settings, store))
        if save is None:
            answer = v1_answer(grants.generate(own, client_id))
        else:
            with SaveFile(save, overwrite=overwrite) as file:
                file.write(as_json(v1_answer(grants.generate(own, client_id))) + "\n")
            if str(save) != "-":
                say(f"The tokens are in {save}.")
            return
    shown = [("access token", answer["access_token"]), ("refresh token", answer["refresh_token"])]
    result(answer, json_asked=json_asked, text=lambda: details(shown))


@click.command("revoke-tokens")
@click.argument("client_id", metavar="CLIENT_ID")
@yes_option
@store_options
@pass_session
def revoke_tokens(session: Session, client_id: str, yes: bool, tenant: str | None, json_asked: bool) -> None:
    """Refuse every refresh token of an application from now on, and the access tokens that they got."""
    with session.tenant(tenant) as own:
        make_sure(f"Revoke the generated tokens of {client_id}?", yes=yes)
        count = own.access.revoke_refresh_tokens(client_id)
    result({"revoked": count}, json_asked=json_asked, text=lambda: say(f"Revoked {count} refresh tokens."))

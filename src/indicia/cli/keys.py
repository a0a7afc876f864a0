"""`indicia keys`: the keys that sign access tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.session import Session, json_option, make_sure, pass_session, yes_option
from indicia.cli.show import result, say, table

if TYPE_CHECKING:
    from indicia.store import SigningKey, Store

COLUMNS = ("key id", "created at", "signs until", "state")


@click.group()
def group() -> None:
    """The keys that sign access tokens; running services see a change within seconds."""


@group.command("list")
@json_option
@pass_session
def list_(session: Session, json_asked: bool) -> None:
    """List the signing keys, newest first; private halves are never shown."""
    with session.store() as store:
        found = _told(store)
    result(
        found,
        json_asked=json_asked,
        text=lambda: table(
            COLUMNS, ((one["kid"], one["created_at"], one["retired_at"], one["state"]) for one in found)
        ),
    )


@group.command()
@click.option(
    "--revoke",
    is_flag=True,
    help="Remove the old keys at once: every token that they signed is refused. For a key that was stolen.",
)
@yes_option
@json_option
@pass_session
def rotate(session: Session, revoke: bool, yes: bool, json_asked: bool) -> None:
    """Make a new signing key in the place of those there are.

    The new key is published first and signs after ten seconds, when every process that shares the store
    knows it. Tokens of the old ones hold until they expire.
    """
    from indicia.auth import keys

    with session.store() as store:
        if revoke:
            make_sure("Refuse every access token that was issued until now?", yes=yes)
        old = store.signing_keys()
        fresh = keys.make()
        store.add_signing_key(fresh.kid, keys.private_pem(fresh))
        until = datetime.now(UTC) + timedelta(seconds=keys.OVERLAP_SECONDS)
        for key in old:
            if revoke:
                store.remove_signing_key(key.kid)
            elif key.retired_at is None:
                store.retire_signing_key(key.kid, until)
        found = _told(store)
    result(found, json_asked=json_asked, text=lambda: say(f"The new key is {fresh.kid}."))


def _told(store: Store) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    signing = next((key.kid for key in reversed(store.signing_keys()) if _signs(key, now)), "")
    return [
        {
            "kid": key.kid,
            "created_at": key.created_at,
            "retired_at": key.retired_at,
            "state": _state(key, signing, now),
        }
        for key in store.signing_keys()
    ]


def _signs(key: SigningKey, now: datetime) -> bool:
    return key.retired_at is None or now < key.retired_at


def _state(key: SigningKey, signing: str, now: datetime) -> str:
    if key.kid == signing:
        return "signs"
    return "signs next" if _signs(key, now) else "verifies"

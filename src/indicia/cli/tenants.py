"""`indicia tenants`: who shares the service; to make one is `indicia init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from indicia.cli.progress import rows
from indicia.cli.session import Session, json_option, make_sure, pass_session, yes_option
from indicia.cli.show import counted, result, say, table

if TYPE_CHECKING:
    from indicia.store import Store, TenantStore

COLUMNS = ("name", "id", "created at", "definitions", "indicators", "alerts")


@click.group()
def group() -> None:
    """Tenants: worlds apart in one service. `indicia init --tenant NAME` makes one."""


@group.command("list")
@json_option
@pass_session
def list_(session: Session, json_asked: bool) -> None:
    """List the tenants, oldest first, with what each has."""
    with session.store() as store:
        found = [_told(store.tenant(one.uid)) for one in store.tenants()]
    result(
        found,
        json_asked=json_asked,
        text=lambda: table(COLUMNS, ([one[name.replace(" ", "_")] for name in COLUMNS] for one in found)),
    )


@group.command()
@click.argument("name")
@yes_option
@json_option
@pass_session
def delete(session: Session, name: str, yes: bool, json_asked: bool) -> None:
    """Delete the tenant NAME (or of that id) with everything that is its own, for good.

    Its audit log goes too, and people who are in no other tenant: export what you want to keep before.
    Nobody enters it from the first moment on; broken off, it goes on when it is begun again.
    """
    with session.store() as store:
        own = store.tenant(name)
        told = _told(own)
        what = ", ".join(counted(told[f"{noun}s"], noun) for noun in ("definition", "indicator", "alert"))
        make_sure(f"Shall tenant {own.name} be deleted for good, with {what}, people and audit log?", yes=yes)
        _remove(store, own)
    result(
        {"deleted": told},
        json_asked=json_asked,
        text=lambda: say(f"Tenant {told['name']} is deleted, with {what}."),
    )


def _remove(store: Store, own: TenantStore) -> None:
    try:
        with rows("delete") as tell:
            store.remove_tenant(own.uid, tell)
    except KeyboardInterrupt:
        say(
            f"Not all of it is removed yet, and nobody enters it any more; go on by: tenants delete {own.uid}"
        )
        raise


def _told(own: TenantStore) -> dict[str, Any]:
    have = own.counts()
    return {
        "name": own.name,
        "id": own.uid,
        "created_at": own.tenant.created_at,
        "definitions": have.definitions,
        "indicators": have.indicators,
        "alerts": have.alerts,
    }

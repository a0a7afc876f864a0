"""What commands share: the home, its settings and store, the tenant, and the options that name them."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from indicia.model import Actor
    from indicia.settings import Settings
    from indicia.store import Store, TenantStore

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "json_asked", is_flag=True, help="Print JSON on stdout; errors as JSON on stderr."
)
tenant_option = click.option(
    "--tenant", metavar="NAME", help="Name or id of the tenant; not needed where there is one."
)


limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at the most."
)
after_option = click.option(
    "--after",
    metavar="ID",
    type=click.IntRange(0),
    default=0,
    help="Begin after this one.  [default: the first]",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def list_options(command: Command) -> Command:
    """--limit, --after, --tenant and --json."""
    return limit_option(after_option(store_options(command)))


def store_options(command: Command) -> Command:
    """--tenant and --json."""
    return tenant_option(json_option(command))


class Choice(click.Choice[str]):
    """One of the API's words, in any letter case; help and faults spell them as the API does."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(tuple(words), case_sensitive=False)

    def _metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """`[Low|High]`; an argument in braces."""
        words = "|".join(self.choices)
        return f"{{{words}}}" if isinstance(param, click.Argument) and param.required else f"[{words}]"

    def _wrong(self, value: Any, ctx: click.Context | None) -> str:
        """With all of the words."""
        return f"{value!r} is not one of {', '.join(self.choices)}"

    # What click calls them.
    get_metavar = _metavar
    get_invalid_choice_message = _wrong


@dataclass
class Session:
    """One run of the command line."""

    given_home: Path | None = None
    debug: bool = False

    @cached_property
    def home(self) -> Path:
        """The folder of --home, INDICIA_HOME, or the XDG data folder."""
        from indicia.settings import default_home

        return (self.given_home or default_home()).expanduser().absolute()

    @cached_property
    def settings(self) -> Settings:
        """Defaults, config.toml of the home, INDICIA_*."""
        from indicia import settings

        return settings.read(self.home)

    @property
    def by(self) -> str:
        """Who writes, as stamps show it."""
        try:
            return f"{getpass.getuser()} (command line)"
        except (OSError, KeyError):
            return "command line"

    @property
    def actor(self) -> Actor:
        """The same, as the audit log names it."""
        from indicia.model import Actor, Through

        return Actor(self.by, Through.COMMAND_LINE)

    @contextmanager
    def store(self, *, create: bool = False, look: bool = False) -> Iterator[Store]:
        """The home's store; StoreError says what to do where there is none.

        The home of another host of a store on a server is made, for its user alone, unless it is for a look.
        """
        from indicia.model import Quotas
        from indicia.store import Store

        settings = self.settings
        quotas = Quotas(
            settings.quota_definitions,
            settings.quota_indicators,
            settings.quota_patterns,
            settings.alerts_per_hour,
        )
        with Store.open(settings.database_url, create=create, quotas=quotas) as store:
            if not look:
                with suppress(OSError):  # who writes there says why it cannot be
                    self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield store

    @contextmanager
    def tenant(self, name: str | None) -> Iterator[TenantStore]:
        """The store as the named tenant sees it, or the only one."""
        with self.store() as store:
            yield store.tenant(name if name else _only(store)).acting(self.actor)

    def purge(self) -> None:
        """Remove what was deleted and is only hidden so far; who writes meanwhile gets every second turn."""
        with self.store() as store:
            while store.purge():
                time.sleep(0.05)


def _only(store: Store) -> str:
    from indicia.errors import InputError

    names = [tenant.name for tenant in store.tenants()]
    if not names:
        raise InputError("the store has no tenant yet; `indicia init --save FILE` makes one")
    if len(names) > 1:
        raise InputError(f"there are {len(names)} tenants; name one with --tenant: {', '.join(names)}")
    return store.tenants()[0].uid


def make_sure(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; where nobody can answer --yes must be given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes to say so")
    click.confirm(question, abort=True, err=True)


pass_session = click.make_pass_decorator(Session)

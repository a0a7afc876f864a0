"""Groups whose commands are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

CLOSED = 141
"""Exit code where the reader of our output went away: what a shell shows of a program ended by SIGPIPE."""


class LazyGroup(click.Group):
    """A group over a literal table: name to `module:attribute` and one line of help."""

    def __init__(
        self, *args: Any, commands_table: Mapping[str, tuple[str, str]] | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._table = commands_table or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(self._table)

    def command_of(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where there is none of that name."""
        if cmd_name not in self._table:
            return None
        module, _, attribute = self._table[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    get_command = command_of
    """What click calls it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown name is answered with those there are."""
        if args and args[0] not in self._table and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = [name for name in self._table if name.startswith(args[0]) or args[0].startswith(name)]
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self._table)}"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self._table.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Tell a closed pipe from other faults before click turns it into exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(CLOSED) from None

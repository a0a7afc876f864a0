"""`indicia completion`: the script that makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

HOW = {
    "bash": 'eval "$(indicia completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(indicia completion zsh)"   # in ~/.zshrc',
    "fish": "indicia completion fish > ~/.config/fish/completions/indicia.fish",
}


@click.command(epilog="\n".join(f"\b\n{line}\n" for line in HOW.values()))
@click.argument("shell", type=click.Choice(list(HOW)), default="bash")
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click has no completion for {shell}")
    click.echo(found(context.find_root().command, {}, "indicia", "_INDICIA_COMPLETE").source())

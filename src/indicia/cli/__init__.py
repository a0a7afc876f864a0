"""The command line: one file per noun, a thin skin over road, store and web.

`main` is the one entry. Importing this package costs click and nothing else; a command's module is imported
when the command runs (COMMANDS), so that `indicia --help` stays quick.

Exit codes: 0 done (of a scan: nothing raised), 1 a scan raised something or `doctor` found a fault, 2 wrong
usage or input, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from indicia import __version__
from indicia.cli import failure
from indicia.cli.lazy import LazyGroup
from indicia.cli.session import Session

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("indicia.cli.init:command", "Make a home, a tenant, and the access of a first client."),
    "serve": ("indicia.cli.serve:command", "Run the service."),
    "scan": ("indicia.cli.scan:command", "Look for indicators in telemetry."),
    "explain": ("indicia.cli.explain:command", "Say why an event meets an indicator, or does not."),
    "index": ("indicia.cli.index:group", "Indexes: indicators compiled into one file."),
    "spark": ("indicia.cli.spark:group", "Jobs for Spark: a lake, or what comes into it, meets an index."),
    "watch": ("indicia.cli.watch:command", "Look for indicators in what comes, day and night."),
    "definitions": ("indicia.cli.definitions:group", "Alert definitions: what an alert shows."),
    "indicators": ("indicia.cli.indicators:group", "Indicators: what is looked for; import and export."),
    "alerts": ("indicia.cli.alerts:group", "Alerts: what was found."),
    "suppressions": ("indicia.cli.suppressions:group", "Suppressions: what raises no alert until an end."),
    "outputs": ("indicia.cli.delivery:group", "Outputs: who is told of alerts, and what waits for them."),
    "allow": ("indicia.cli.allow:group", "Allow-lists: values that are known to be harmless."),
    "retention": ("indicia.cli.retention:group", "Retention: how long what is recorded is kept."),
    "audit": ("indicia.cli.audit:group", "The audit log: who changed what."),
    "admin": (
        "indicia.cli.admin:group",
        "Administrators of the portal: a link to become one, a lost password.",
    ),
    "tenants": ("indicia.cli.tenants:group", "Tenants: list them, delete one."),
    "clients": ("indicia.cli.clients:group", "Applications that use the API, and their secrets."),
    "keys": ("indicia.cli.keys:group", "Keys that sign access tokens: list, rotate."),
    "store": ("indicia.cli.store:group", "The store as a whole: backups, moving it, its tables."),
    "doctor": ("indicia.cli.doctor:command", "Say what works on this machine and what is missing."),
    "completion": ("indicia.cli.completion:command", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    commands_table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of store, certificates and config.toml.  "
    "[default: $INDICIA_HOME, else indicia in the XDG data folder]",
)
@click.option("--debug", is_flag=True, help="Show the traceback of unexpected errors.")
@click.version_option(__version__, prog_name="indicia")
@click.pass_context
def root(context: click.Context, home: Path | None, debug: bool) -> None:
    """Custom threat intelligence, hosted by you: indicators meet your own logs and become alerts.

    Begin with `indicia init --save access.json` and `indicia serve`; or, without a store, with
    `indicia scan LOGS --indicators LIST.csv`.
    """
    context.obj = Session(home, debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of `arguments` (default: those of the process) and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(failure.run(root, given))

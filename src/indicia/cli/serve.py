"""`indicia serve`: the service, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, say

if TYPE_CHECKING:
    from indicia.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on.  [default: the remembered one, 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: the remembered one, 8443]")
@click.option("--no-tls", is_flag=True, help="Plain HTTP; on loopback only, unless --insecure is given too.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP on an address that others can reach.")
@click.option(
    "--original-hosts",
    is_flag=True,
    help="Show who asks for the original service's names a certificate for them, made by an authority of its "
    "own in tls/original of the home.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Processes that answer.  [default: the remembered number, 1]",
)
@click.option(
    "--log",
    type=click.Choice(("text", "json")),
    help="On stderr: what goes wrong as text; or as JSON, a line for each request, too.  [default: text]",
)
@click.option("--allow-slow", is_flag=True, help="Serve even though the C extension was not built.")
@json_option
@pass_session
def command(session: Session, /, insecure: bool, allow_slow: bool, json_asked: bool, **given: Any) -> None:
    """Serve the token endpoints and the threat intelligence API.

    One line on stdout says that clients can connect, with --workers to all processes; one that dies is
    replaced. SIGTERM and Ctrl-C end the service when the requests that run are answered.
    """
    from indicia.cli import admin
    from indicia.errors import InputError
    from indicia.match.kernel import BUILT
    from indicia.store import inspection
    from indicia.web import logs, serve, workers

    if not BUILT and not allow_slow:
        raise click.UsageError(
            "the C extension was not built, so that matching is far slower; `indicia doctor` says"
            " what to do, --allow-slow serves all the same"
        )
    settings = _settings(session.settings, **given)
    if not settings.tls and not _is_loopback(settings.host):
        if not insecure:
            raise click.UsageError(
                f"without TLS secrets and tokens cross the network readable: listen on 127.0.0.1 instead of "
                f"{settings.host} behind a proxy that has TLS, or add --insecure"
            )
        say(f"Warning: plain HTTP on {settings.host}: secrets and tokens can be read on the way.")

    if session.home.is_dir() and not inspection.writable(session.home):
        raise InputError(
            "cannot be written by you, so nothing could be stored; check its owner and mode, and those of "
            "indicia.db",
            place=str(session.home),
        )

    def announce(line: str) -> None:
        _tell_systemd()
        click.echo(as_json({"ready": True, "url": settings.base_url}, indent=None) if json_asked else line)
        admin.offer(session, settings)

    logs.begin(settings.log)
    if settings.workers != 1:
        workers.run(settings, session.store, announce, say)
        return
    with session.store() as store:
        serve.run(settings, store, announce, say)


def _tell_systemd() -> None:
    """That the service is ready, where a unit of Type=notify started it (sd_notify(3))."""
    place = os.environ.pop("NOTIFY_SOCKET", "")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, suppress(OSError):
            told.connect(f"\0{place[1:]}" if place.startswith("@") else place)
            told.send(b"READY=1")


def _settings(settings: Settings, *, no_tls: bool, original_hosts: bool, **given: Any) -> Settings:
    """Those of the home with what is given here in their place."""
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(
        settings,
        tls=settings.tls and not no_tls,
        original_hosts=settings.original_hosts or original_hosts,
        **changes,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

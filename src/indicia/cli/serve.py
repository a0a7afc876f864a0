"""`indicia serve`: the service, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import click

from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, say


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
@click.option("--allow-slow", is_flag=True, help="Serve even though the C extension was not built.")
@json_option
@pass_session
def command(
    session: Session,
    host: str | None,
    port: int | None,
    no_tls: bool,
    insecure: bool,
    original_hosts: bool,
    allow_slow: bool,
    json_asked: bool,
) -> None:
    """Serve the token endpoints and the threat intelligence API.

    One line on stdout says that clients can connect. SIGTERM and Ctrl-C end the service when the requests
    that run are answered.
    """
    from indicia.errors import InputError
    from indicia.match.kernel import BUILT
    from indicia.store import inspection
    from indicia.web import serve

    if not BUILT and not allow_slow:
        raise click.UsageError(
            "the C extension was not built, so that matching is far slower; `indicia doctor` says"
            " what to do, --allow-slow serves all the same"
        )
    settings = session.settings
    settings = replace(
        settings,
        host=host or settings.host,
        port=port or settings.port,
        tls=settings.tls and not no_tls,
        original_hosts=settings.original_hosts or original_hosts,
    )
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
        click.echo(as_json({"ready": True, "url": settings.base_url}, indent=None) if json_asked else line)

    with session.store() as store:
        serve.run(settings, store, announce, say)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

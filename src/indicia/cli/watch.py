"""`indicia watch`: sources that never end meet the indicators of the store, as those are at each moment."""

from __future__ import annotations

import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, counted, say

if TYPE_CHECKING:
    from indicia.settings import Settings


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--tenant", metavar="NAME", help="Whose indicators and alerts; not needed where there is one tenant."
)
@click.option(
    "--idle", type=click.FloatRange(0), metavar="SECONDS", help="End when nothing came for so long."
)
@json_option
@pass_session
def command(
    session: Session, sources: tuple[str, ...], tenant: str | None, idle: float | None, json_asked: bool
) -> None:
    """Watch files that grow and rotate, folders of them, `-`, syslog at an address, and topics of Kafka.

    Addresses are syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT and syslog+tls://HOST:PORT; TLS shows the
    home's own certificate, or ?certificate=FILE&key=FILE. &clients=CA asks senders for a certificate,
    &connections=N, &idle=SECONDS and &longest=BYTES are limits.

    kafka://HOST:9092/TOPIC and kafka+tls://HOST:9093/TOPIC are read as ?group=indicia; &secret=FILE holds
    USER:PASSWORD, &trust=FILE the authorities of the brokers, &dead=TOPIC takes what cannot be read.

    Every alert that is opened is told on stdout. What is written by `indicia indicators`, `indicia
    definitions` or the service is in force within a second. SIGTERM and Ctrl-C end it; the next call goes on
    where files were.
    """
    from indicia.cli import nouns
    from indicia.cli.faults import Faults
    from indicia.live.following import Followings
    from indicia.live.watch import Watch
    from indicia.model import Alert

    stopped = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stopped.set())
    malformed = Faults("malformed lines")

    def opened(alert: Alert) -> None:
        found = nouns.alert(alert)
        text = f"{alert.definition.severity}: {alert.definition.title} ({alert.machine})"
        click.echo(as_json(found, indent=None) if json_asked else text)

    with session.store() as store:
        live = Followings(store, session.settings.database_url, session.home)
        try:
            with session.tenant(tenant) as scope:
                uid = scope.uid
            following = live.of(store.tenant(uid))
            watch = Watch(
                following,
                sources,
                session.home / "watch",
                opened,
                lambda what: malformed(what.source, what.line, what.reason),
                partial(_own, session.settings),
                partial(store.tenant, uid),
            )
            watch.run(stopped, idle)
        finally:
            live.close()
    malformed.close()
    seen = watch.seen
    if seen.dead:
        say(f"{counted(seen.dead, 'message')} went to dead-letter topics.")
    say(f"{counted(seen.events, 'event')}, {counted(seen.detections, 'new detection')}, "
        f"{counted(seen.alerts, 'new alert')}.")  # fmt: skip


def _own(settings: Settings, host: str) -> tuple[Path, Path]:
    """The service's certificate and key; InputError for a host that the home's own are not for.

    They are for the names of the home's service and stay so, or its clients would be cut off.
    """
    from indicia.auth import certificates
    from indicia.errors import InputError

    if settings.tls_certificate:
        shown = certificates.given(settings.tls_certificate, settings.tls_key)
        return shown.certificate, shown.key
    names = certificates.names_of(settings.host)
    if not set(certificates.names_of(host)) <= set(names):
        raise InputError(
            f"the home's certificate is for {', '.join(names)}, not for {host};"
            " give ?certificate=FILE&key=FILE, or let the service listen there, too (INDICIA_HOST)"
        )
    found = certificates.ensure(settings.home, settings.host)
    return found.certificate, found.key

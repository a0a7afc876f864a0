"""The process: one socket, TLS, and signals that end it gracefully."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from ipaddress import ip_network

import uvicorn
from starlette.applications import Starlette

from indicia.auth import certificates
from indicia.auth.certificates import Certificates, Shown, names_of
from indicia.errors import IndiciaError, InputError, StoreError, placed
from indicia.live import compiled, courier, runner
from indicia.model import Actor
from indicia.settings import Settings
from indicia.store import Store, Turn
from indicia.web import access, app, renewals
from indicia.web.crew import Crew

BACKLOG = 1024
GRACE_SECONDS = 30
"""How long requests may take to finish after SIGTERM."""
KEEP_ALIVE_SECONDS = 60
PURGE_SECONDS = 1.0
"""How often it is looked whether there is something to remove."""
RETENTION_SECONDS = 3600.0
"""How often what is too old is removed."""
RETENTION_FIRST = 60.0
"""How long after the start that is done first."""
TURN = "tidying"
"""Whose turn it is to do both, where several services share a store."""
LOG = logging.getLogger("indicia.web")
RETAINER = Actor("Indicia")
"""Who removes it."""
IDLE_SECONDS = 1.0
"""How long a client may take to agree to the end of its connection."""


def _nobody(_line: str) -> None:
    """Hears it."""


def run(
    settings: Settings,
    store: Store,
    announce: Callable[[str], None] = _nobody,
    warn: Callable[[str], None] = _nobody,
) -> None:
    """Serve until SIGTERM or SIGINT; requests that run then are finished first. One process; see `workers`.

    `announce` is given one line when clients can connect, `warn` what its owner must know. Raises
    InputError where the address cannot be used, or certificates cannot be made.
    """
    # Bound first, so that a mistyped address makes no certificates; listening last, so that whatever can
    # fail has done so before a client connects.
    with bound(settings) as listening:
        attend(settings, store, listening, Crew(), lambda: announce(greeting(settings)), warn)


def greeting(settings: Settings) -> str:
    """The line that says that clients can connect."""
    return f"Indicia listens on {settings.base_url} (stop: Ctrl+C or SIGTERM)"


def attend(
    settings: Settings,
    store: Store,
    listening: socket.socket,
    crew: Crew,
    started: Callable[[], None],
    warn: Callable[[str], None] = _nobody,
) -> None:
    """Answer what comes to a socket until SIGTERM; to a worker that is one of several SIGINT says nothing."""
    application = app.create(settings, store, crew)
    config = _config(settings, application, certify(settings, warn))
    config.load()
    if settings.original_hosts:
        _show_original(config, settings)
    listen(listening, settings)
    server = _Server(config, started)
    if threading.current_thread() is threading.main_thread():
        # Before anybody is told, because the first signal may follow at once.
        signal.signal(signal.SIGTERM, server.handle_exit)
        # A terminal sends it to all processes; who started the workers ends them.
        signal.signal(signal.SIGINT, signal.SIG_IGN if crew.board.workers > 1 else server.handle_exit)
    threading.Thread(target=app.preload, args=(application,), name="preload", daemon=True).start()
    first = crew.number == 0
    try:
        # One worker of a service is enough for what is done beside.
        with renewals.followed(config.ssl, settings), _beside(store, settings) if first else nullcontext():
            server.run(sockets=[listening])
    finally:
        app.close(application)


@contextmanager
def _beside(store: Store, settings: Settings) -> Iterator[None]:
    """Meanwhile remove what is deleted or too old, deliver what outputs are to be sent, work on jobs."""
    with (
        _purging(store, settings),
        courier.delivering(store, settings.home),
        runner.running(store, settings.database_url, settings.home),
    ):
        yield


@contextmanager
def _purging(store: Store, settings: Settings) -> Iterator[None]:
    """Meanwhile, in threads, remove what is deleted and only hidden, and what was kept for long enough."""
    stopped = threading.Event()
    with closing(store.turn(TURN)) as turn:
        threads = [
            threading.Thread(target=_purge, args=(store, turn, stopped), name="purge", daemon=True),
            threading.Thread(
                target=_retain, args=(store, settings, turn, stopped), name="retain", daemon=True
            ),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            for thread in threads:
                thread.join()


def _purge(store: Store, turn: Turn, stopped: threading.Event) -> None:
    wait = 0.0
    while not stopped.wait(wait):
        begin = time.monotonic()
        try:
            # Twice would do no harm, but leave less time to others who write.
            more = turn.take() and store.purge()
        except StoreError as error:
            LOG.warning("what was deleted is not removed yet: %s", error)
            more = False
        except Exception as error:  # a thread that died of it would remove nothing any more
            LOG.error("what was deleted is not removed yet: %s", placed(error))
            more = False
        # Half of the time is left to others who write.
        wait = max(time.monotonic() - begin, 0.01) if more else PURGE_SECONDS


def _retain(store: Store, settings: Settings, turn: Turn, stopped: threading.Event) -> None:
    _tidy(store, settings)  # what the last service was stopped in is not waited for
    wait = RETENTION_FIRST
    while not stopped.wait(wait):
        wait = RETENTION_SECONDS
        _tidy(store, settings)
        try:
            tenants = store.tenants()
            compiled.forget(settings.home / "indexes", [one.uid for one in tenants])
            for tenant in tenants if turn.take() else ():
                for _ in store.tenant(tenant.uid).acting(RETAINER).retention.run():
                    if stopped.wait(0.01):  # others write meanwhile
                        return
        except StoreError as error:
            LOG.warning("what is too old is not removed yet: %s", error)
        except Exception as error:  # as above
            LOG.error("what is too old is not removed yet: %s", placed(error))


def _tidy(store: Store, settings: Settings) -> None:
    """Delete scans and imports, with the files that people brought, which are older than these are kept."""
    try:
        runner.tidy(store, settings.home)
    except IndiciaError as error:
        LOG.warning("old scans and imports are not removed yet: %s", error)
    except OSError as error:
        LOG.warning("old files of scans and imports are not removed yet: %s", error.strerror)


class _Server(uvicorn.Server):
    """Says when it has started, and ends connections that have nothing more to say.

    A client that keeps an idle TLS connection does not answer its end, and asyncio waits 30 s for that.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are set by `attend`; uvicorn would raise them again at the end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(self._end_idle())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            for connection in list(self.server_state.connections):
                transport = getattr(connection, "transport", None)
                if transport and transport.is_closing() and not transport.get_write_buffer_size():
                    transport.abort()


def certify(settings: Settings, warn: Callable[[str], None] = _nobody) -> Shown | None:
    """`access.certified`; who runs the service is told of a new authority."""
    found = access.certified(settings)
    if isinstance(found, Certificates) and found.replaced:
        name = names_of(settings.host)[-1]
        warn(
            f"The certificate authority was made anew, because the old one may not vouch for {name} "
            f"or has come to its end: clients that keep a copy need {found.authority}, and a service that "
            "runs on this home must be restarted."
        )
    return found


def _config(settings: Settings, application: Starlette, found: Shown | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        ssl_certfile=found.certificate if found else None,
        ssl_keyfile=found.key if found else None,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Else everybody behind a balancer would be counted as one address, and be locked out as one.
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=_proxies(settings),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="none",
    )


def _proxies(settings: Settings) -> list[str]:
    """The addresses and networks that `proxies` names. InputError."""
    named = [one.strip() for one in settings.proxies.split(",") if one.strip()]
    for one in named:
        try:
            ip_network(one)
        except ValueError:
            raise InputError(
                f"must be addresses and networks such as 10.0.0.5, 10.1.0.0/16, not {one!r}", place="proxies"
            ) from None
    return named


def _show_original(config: uvicorn.Config, settings: Settings) -> None:
    """Who asks for a name of the original service is shown the certificate for it (SNI)."""
    if config.ssl is None:
        raise InputError("the original service's names are served with TLS alone; leave out --no-tls")
    found = certificates.ensure_original(settings.home)
    original = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    original.load_cert_chain(found.certificate, found.key)

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name is not None and name.lower() in certificates.ORIGINAL:
            connection.context = original

    config.ssl.sni_callback = choose


def bound(settings: Settings) -> socket.socket:
    """A socket at the service's address, to be listened at. Raises InputError with what to do."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol named: asyncio sets TCP_NODELAY only then, and without it every answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise _unusable(error, settings) from None
    listening.set_inheritable(True)
    return listening


def listen(found: socket.socket, settings: Settings) -> None:
    """Let clients connect. Raises InputError where another program was quicker."""
    try:
        found.listen(BACKLOG)
    except OSError as error:
        raise _unusable(error, settings) from None


def _unusable(error: OSError, settings: Settings) -> InputError:
    return InputError(_why(error, settings), place=f"{settings.host}:{settings.port}")


def _why(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already; stop it, or give another --port"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {settings.port}; give a --port from 1024 on"
    return f"cannot listen there ({error.strerror or error}); check --host and --port"

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
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from indicia.auth import certificates
from indicia.errors import InputError, StoreError
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import app

BACKLOG = 1024
GRACE_SECONDS = 30
"""How long requests may take to finish after SIGTERM."""
KEEP_ALIVE_SECONDS = 60
PURGE_SECONDS = 1.0
"""How often it is looked whether there is something to remove."""
LOG = logging.getLogger("indicia.web")
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
    """Serve until SIGTERM or SIGINT; requests that run then are finished first.

    `announce` is given one line when clients can connect, `warn` what its owner must know. Raises
    InputError where the address cannot be used, or certificates cannot be made.
    """
    # Bound first, so that a mistyped address makes no certificates; listening last, so that whatever can
    # fail has done so before a client connects.
    with _socket(settings) as listening:
        application = app.create(settings, store)
        config = _config(settings, application, warn)
        config.load()
        if settings.original_hosts:
            _show_original(config, settings)
        _listen(listening, settings)
        server = _Server(config)
        if threading.current_thread() is threading.main_thread():
            # Before anybody is told, because the first signal may follow at once. uvicorn raises a signal
            # again when it has finished; that must not end the process by force.
            signal.signal(signal.SIGTERM, server.handle_exit)
            signal.signal(signal.SIGINT, server.handle_exit)
        announce(f"Indicia listens on {settings.base_url} (stop: Ctrl+C or SIGTERM)")
        threading.Thread(target=application.state.live.preload, name="preload", daemon=True).start()
        try:
            with _purging(store):
                server.run(sockets=[listening])
        finally:
            app.close(application)


@contextmanager
def _purging(store: Store) -> Iterator[None]:
    """Meanwhile, in a thread, remove what is deleted and only hidden, by this process or another."""
    stopped = threading.Event()
    thread = threading.Thread(target=_purge, args=(store, stopped), name="purge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _purge(store: Store, stopped: threading.Event) -> None:
    wait = 0.0
    while not stopped.wait(wait):
        begin = time.monotonic()
        try:
            more = store.purge()
        except StoreError as error:
            LOG.warning("what was deleted is not removed yet: %s", error)
            more = False
        # Half of the time is left to others who write.
        wait = max(time.monotonic() - begin, 0.01) if more else PURGE_SECONDS


class _Server(uvicorn.Server):
    """Ends connections that have nothing more to say.

    A client that keeps an idle TLS connection does not answer its end, and asyncio waits 30 s for that.
    """

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


def _config(settings: Settings, application: Starlette, warn: Callable[[str], None]) -> uvicorn.Config:
    found = certificates.ensure(settings.home, settings.host) if settings.tls else None
    if found is not None and found.replaced:
        warn(
            f"The certificate authority was made anew, because the old one may not vouch for {settings.host} "
            f"or has come to its end: clients that keep a copy need {found.authority}, and a service that "
            "runs on this home must be restarted."
        )
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        ssl_certfile=found.certificate if found else None,
        ssl_keyfile=found.key if found else None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="none",
    )


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


def _socket(settings: Settings) -> socket.socket:
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


def _listen(bound: socket.socket, settings: Settings) -> None:
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # another program was quicker
        raise _unusable(error, settings) from None


def _unusable(error: OSError, settings: Settings) -> InputError:
    return InputError(_why(error, settings), place=f"{settings.host}:{settings.port}")


def _why(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already; stop it, or give another --port"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {settings.port}; give a --port from 1024 on"
    return f"cannot listen there ({error.strerror or error}); check --host and --port"

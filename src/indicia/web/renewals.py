"""A certificate that others issue and renew: what is put in the place of its files is shown soon after."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indicia.auth import certificates
from indicia.errors import InputError
from indicia.settings import Settings

LOOK_SECONDS = 5.0
"""How often it is looked whether the files are others."""
LOG = logging.getLogger("indicia.web")


@contextmanager
def followed(shown: ssl.SSLContext | None, settings: Settings) -> Iterator[None]:
    """Meanwhile, in a thread, connections that begin are shown what the files hold."""
    if shown is None or not settings.tls_certificate:
        yield
        return
    stopped = threading.Event()
    thread = threading.Thread(
        target=_follow, args=(shown, settings, stopped), name="certificate", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _follow(shown: ssl.SSLContext, settings: Settings, stopped: threading.Event) -> None:
    seen = _state(settings)
    while not stopped.wait(LOOK_SECONDS):
        now = _state(settings)
        if now == seen:
            continue
        seen = now
        try:
            found = certificates.given(settings.tls_certificate, settings.tls_key)
            shown.load_cert_chain(found.certificate, found.key)
        except (InputError, OSError) as error:
            # Perhaps one of the two was written before the other; then they change once more.
            LOG.warning("the certificate from before is shown on: %s", error)
        else:
            LOG.warning("a new certificate is shown: %s", found.certificate)


def _state(settings: Settings) -> list[tuple[int, int, int] | None]:
    """By which it is seen that a file is another one, also where a link leads to another one."""
    return [_state_of(Path(name)) for name in (settings.tls_certificate, settings.tls_key)]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size

"""POST over HTTP and HTTPS, one connection at a time, to addresses that are allowed alone.

No proxy, no cookie, no credential of the environment. An answer takes ANSWER_SECONDS at the most, however
slowly it comes. A connection is kept until it is closed; a redirect is an answer like any other, unless so
many are followed: then by the same method with the same body (307, 308), and never from https to http.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from indicia.errors import AnswerLost, IndiciaError, Unreachable
from indicia.outputs.given import version
from indicia.outputs.reaching import Allowed, Resolve, connect, resolve

ANSWER_SECONDS = 30.0
LONGEST = 4 * 1024 * 1024
"""Bytes of an answer that are read."""
_KEPT_METHOD = (307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said."""

    status: int
    body: bytes
    retry_after: float
    """Seconds; 0 where it did not say, or not as a number."""


class Poster:
    """Posts to one URL."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        allowed: Allowed,
        *,
        redirects: int = 0,
        resolving: Resolve = resolve,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._context, self._allowed, self._redirects = context, allowed, redirects
        self._resolving, self._seconds = resolving, seconds
        self._open: tuple[tuple[str, str], _Connection] | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post; Unreachable where there was no connection, AnswerLost where no answer came."""
        for _ in range(self._redirects + 1):
            status, answer, location = self._once(urlsplit(url), body, headers)
            if status not in _KEPT_METHOD or not location or not self._redirects:
                return answer
            target = urljoin(url, location)
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise Unreachable("the receiver redirects from https to http, which is not followed")
            url = target
        raise Unreachable(f"the receiver redirects more than {self._redirects} times")

    def close(self) -> None:
        """End the connection that is kept."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _once(
        self, url: SplitResult, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Answer, str | None]:
        kept = self._open is not None
        try:
            return self._exchange(url, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if not kept:
                raise AnswerLost(f"the receiver ended the connection: {error}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise AnswerLost(f"no answer came: {error}") from None
        except IndiciaError:
            self.close()
            raise
        # Receivers end what was idle; nothing was answered, and the message says by its id which one it is.
        try:
            return self._exchange(url, body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise AnswerLost(f"no answer came: {error}") from None

    def _exchange(
        self, url: SplitResult, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Answer, str | None]:
        connection = self._connection(url)
        sent = {"User-Agent": f"indicia/{version()}", "Accept": "application/json", **headers}
        with _deadline(connection.sock, self._seconds):
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("POST", path, body, sent)
            found = connection.getresponse()
            text = _content(found)
        if not found.isclosed() or found.will_close:
            self.close()
        after = found.headers.get("Retry-After", "")
        seconds = float(after) if after.isascii() and after.isdecimal() and len(after) < 9 else 0.0
        return found.status, Answer(found.status, text, seconds), found.headers.get("Location")

    def _connection(self, url: SplitResult) -> _Connection:
        """The kept one, if it is to the same place."""
        place = (url.scheme, url.netloc)
        if self._open is not None and self._open[0] == place:
            return self._open[1]
        self.close()
        if url.scheme not in ("http", "https") or not url.hostname:
            raise Unreachable("the receiver redirects to what is neither http nor https")
        secure = url.scheme == "https"
        port = url.port or (443 if secure else 80)
        raw = connect(url.hostname, port, self._allowed, self._resolving)
        try:
            raw.settimeout(self._seconds)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = self._secured(raw, url.hostname) if secure else raw
        except (OSError, ValueError) as error:
            raw.close()
            raise Unreachable(f"no TLS with {url.hostname}: {error}") from None
        connection = _Connection(url.hostname, port, made, secure=secure)
        self._open = place, connection
        return connection

    def _secured(self, raw: socket.socket, host: str) -> socket.socket:
        context = self._context or ssl.create_default_context()
        made = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        try:
            with _deadline(made, self._seconds):
                made.do_handshake()
        except OSError:
            made.close()
            raise
        return made


def _content(found: http.client.HTTPResponse) -> bytes:
    """What can be read of it: what the receiver has said stands in the first line."""
    try:
        return found.read(LONGEST)
    except (OSError, http.client.HTTPException):
        return b""


class _Connection(http.client.HTTPConnection):
    """Over a socket that is connected already; it never makes another one."""

    auto_open = 0

    def __init__(self, host: str, port: int, made: socket.socket, *, secure: bool) -> None:
        super().__init__(host, port)
        self.default_port = 443 if secure else 80  # else the Host header would name it
        self.sock: socket.socket = made


@contextmanager
def _deadline(open_socket: socket.socket, seconds: float) -> Iterator[None]:
    """Hang up after so long: the timeout of a socket begins anew with each byte. Raises TimeoutError then."""
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with suppress(OSError):
            # The plain one's: that of a TLS socket takes it out of its reader's hands.
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError(f"the receiver took longer than {seconds:g} s") from None
        raise
    finally:
        timer.cancel()

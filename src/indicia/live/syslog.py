"""`syslog+udp:`, `syslog+tcp:`, `syslog+tls:` messages of RFC 3164 and RFC 5424, as other machines send them.

    indicia watch syslog+udp://0.0.0.0:5514 syslog+tcp://127.0.0.1:5514
    indicia watch 'syslog+tls://0.0.0.0:6514?certificate=server.pem&key=server.key&clients=senders-ca.pem'

A datagram is a message; over TCP and TLS they end with a line feed, or each has its length before it
(octet counting; RFC 6587, RFC 5425). Of a message the priority is dropped, the rest is a line; a JSON object
as the whole rest is that object. UDP loses what comes while WAITING messages wait (it is counted); TCP and
TLS make their senders wait. What was received and not matched yet when the process is killed is gone; one
that is asked to end matches it first.

What may stand behind the `?`:

    certificate, key   files in PEM that TLS shows; without them those of the home, which are for the names of
                       its service (senders trust tls/ca.pem of the home)
    clients            a file with the authorities of senders: who shows no certificate of theirs is refused
    connections        how many senders at once, 256; further ones are hung up on
    idle               seconds without a byte after which a connection is closed, 3600
    longest            bytes of a message, 1048576; what is beyond is cut off, and counted
"""

from __future__ import annotations

import queue
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from indicia.errors import InputError
from indicia.live.pieces import Piece

PROTOCOLS = ("udp", "tcp", "tls")
WAITING = 20_000
"""Messages that wait to be matched."""
HANDSHAKE = 10.0
"""Seconds that a sender has to agree on TLS."""
_CHUNK = 64 * 1024
_PRIORITY = re.compile(rb"<[0-9]{1,3}>")
_LENGTH = re.compile(rb"[1-9][0-9]{0,8} ")
_BEGUN = re.compile(rb"[1-9][0-9]{0,8}\Z")
_FILES = ("certificate", "key", "clients")
_NUMBERS = ("connections", "idle", "longest")

Own = Callable[[str], tuple[Path, Path]]
"""Certificate and key of the home for a host; InputError where they are not for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address puts up with."""

    connections: int = 256
    idle: int = 3600
    """Seconds."""
    longest: int = 1 << 20
    """Bytes of a message."""


def listen(given: str, own: Own) -> Syslog:
    """The address of a URL, listened at. Raises InputError for what it cannot be."""
    found = urlsplit(given)
    protocol = found.scheme.removeprefix("syslog+")
    try:
        port = found.port
    except ValueError:
        port = None
    if protocol not in PROTOCOLS or not found.hostname or port is None or found.path not in ("", "/"):
        wanted = " or ".join(f"syslog+{name}://HOST:PORT" for name in PROTOCOLS)
        raise InputError(f"must be {wanted}", place=given)
    options = _options(given, found.query, protocol)
    numbers = {name: int(options[name]) for name in _NUMBERS if name in options}
    context = _context(given, found.hostname, options, own) if protocol == "tls" else None
    return Syslog(given, protocol, (found.hostname, port), Limits(**numbers), context)


def _options(given: str, query: str, protocol: str) -> dict[str, str]:
    allowed = (*_FILES, *_NUMBERS) if protocol == "tls" else _NUMBERS if protocol == "tcp" else ("longest",)
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise InputError(f"{name[:40]!r} is nothing to say here; {', '.join(allowed)} are", place=given)
        if name in _NUMBERS and not (value.isdecimal() and len(value) < 10 and int(value)):
            raise InputError(f"{name} must be a whole number from 1 on", place=given)
        options[name] = value
    return options


def _context(given: str, host: str, options: dict[str, str], own: Own) -> ssl.SSLContext:
    if ("certificate" in options) != ("key" in options):
        raise InputError("give certificate and key, or neither", place=given)
    files = (Path(options["certificate"]), Path(options["key"])) if "key" in options else own(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"cannot show {files[0]} with {files[1]}: {error}", place=given) from None
    if "clients" in options:
        try:
            context.load_verify_locations(options["clients"])
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"cannot trust {options['clients']}: {error}", place=given) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Syslog:
    """One address that listens, in threads of its own, until it is closed."""

    def __init__(
        self,
        name: str,
        protocol: str,
        address: tuple[str, int],
        limits: Limits | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.limits = limits or Limits()
        self.context = context
        self.lost = 0
        """Datagrams for which there was no room, and connections that were one too many."""
        self.cut = 0
        """Messages that were longer than they may be, or broke off."""
        self._found: queue.Queue[bytes] = queue.Queue(WAITING)
        self._lines = 0
        handler = type("Handler", (_Datagram if protocol == "udp" else _Stream,), {"syslog": self})
        kind = _Udp if protocol == "udp" else _Tcp
        server = type("Server", (kind,), {"address_family": _family(address[0]), "syslog": self})
        try:
            self._server = server(address, handler)
        except OSError as error:
            raise InputError(f"cannot listen there: {error.strerror or error}", place=name) from None
        self.address = str(self._server.server_address[0]), int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        self._closed = False

    def pieces(self) -> Iterator[Piece]:
        """What has come since."""
        lines: list[bytes] = []
        while len(lines) < WAITING:
            try:
                lines.append(self._found.get_nowait())
            except queue.Empty:
                break
        if lines:
            yield Piece(self.name, b"\n".join(lines) + b"\n", lines=self._lines)
            self._lines += len(lines)

    def close(self) -> None:
        """Stop listening; what was received is still to be asked for."""
        if not self._closed:
            self._closed = True
            self._server.shutdown()
            self._server.server_close()

    def take(self, message: bytes, *, wait: bool) -> None:
        """A message that came."""
        line = line_of(message)
        if not line:
            return
        try:
            self._found.put(line, block=wait)
        except queue.Full:
            self.lost += 1


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def line_of(message: bytes) -> bytes:
    """A message without its priority and line ends; those inside become spaces."""
    found = _PRIORITY.match(message)
    rest = message[found.end() :] if found else message
    return rest.strip(b"\r\n\0").replace(b"\r", b" ").replace(b"\n", b" ")


class Frames:
    """Messages out of a stream that comes in pieces of any size, each by line or by its length."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._looked = 0
        """How much of the rest has no line feed."""
        self._over = 0
        """Bytes that are still to come of a message that was cut; -1: up to the end of the line."""
        self.cut = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Those that are complete now."""
        rest, at = self._rest, 0
        rest += data
        while at < len(rest):
            if self._over:
                at = self._passed(at)
                continue
            found = self._next(at)
            if found is None:
                break
            message, at = found
            yield message
        del rest[:at]
        self._looked = len(rest)

    def end(self) -> Iterator[bytes]:
        """A last line without its end; a message that broke off is none."""
        if self._rest and not self._over:
            if _LENGTH.match(self._rest):
                self.cut += 1
            else:
                yield bytes(self._rest)
        self._rest.clear()

    def _next(self, at: int) -> tuple[bytes, int] | None:
        """A message, and where the next one begins; None where more is needed."""
        rest = self._rest
        counted = _LENGTH.match(rest, at)
        if counted is not None:
            begin, size = counted.end(), int(counted[0])
            kept = min(size, self._longest)
            if len(rest) < begin + kept:
                return None
            self._over = size - kept
            self.cut += size > kept
            return bytes(rest[begin : begin + kept]), begin + kept
        if len(rest) - at < 10 and _BEGUN.match(rest, at):
            return None
        stop = rest.find(b"\n", max(at, self._looked))
        if 0 <= stop - at <= self._longest:
            return bytes(rest[at:stop]), stop + 1
        if len(rest) - at <= self._longest:
            return None
        self._over = -1
        self.cut += 1
        return bytes(rest[at : at + self._longest]), at + self._longest

    def _passed(self, at: int) -> int:
        """Where it goes on behind what was cut off."""
        if self._over < 0:
            stop = self._rest.find(b"\n", at)
            self._over = 0 if stop >= 0 else -1
            return stop + 1 if stop >= 0 else len(self._rest)
        passed = min(self._over, len(self._rest) - at)
        self._over -= passed
        return at + passed


class _Datagram(socketserver.BaseRequestHandler):
    syslog: ClassVar[Syslog]

    def handle(self) -> None:
        message = self.request[0]
        longest = self.syslog.limits.longest
        self.syslog.cut += len(message) > longest
        self.syslog.take(message[:longest], wait=False)


class _Stream(socketserver.BaseRequestHandler):
    syslog: ClassVar[Syslog]

    def handle(self) -> None:
        frames = Frames(self.syslog.limits.longest)
        # Whoever hangs up in the middle, is silent for too long or speaks no TLS is let go.
        with suppress(OSError):
            for data in self._received():
                for message in frames.feed(data):
                    self.syslog.take(message, wait=True)
        for message in frames.end():
            self.syslog.take(message, wait=True)
        self.syslog.cut += frames.cut

    def _received(self) -> Iterator[bytes]:
        connection: socket.socket = self.request
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.syslog.context is not None:
            # In the sender's own thread, so that nobody else waits for it.
            connection.settimeout(HANDSHAKE)
            connection = self.syslog.context.wrap_socket(connection, server_side=True)
        with connection:
            connection.settimeout(self.syslog.limits.idle)
            while data := connection.recv(_CHUNK):
                yield data


class _Udp(socketserver.UDPServer):
    allow_reuse_address = True
    max_packet_size = 65_535


class _Tcp(socketserver.ThreadingTCPServer):
    syslog: ClassVar[Syslog]

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *given: Any) -> None:
        self._free = threading.Semaphore(self.syslog.limits.connections)
        super().__init__(*given)

    def verify_request(self, _request: Any, _address: Any) -> bool:
        """Whether there is room for one more."""
        free = self._free.acquire(blocking=False)
        self.syslog.lost += not free
        return free

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a sender in a thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

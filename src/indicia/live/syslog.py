"""`syslog+udp:` and `syslog+tcp:` messages of RFC 3164 and RFC 5424, as other machines send them.

    indicia watch syslog+udp://0.0.0.0:5514 syslog+tcp://127.0.0.1:5514

A datagram is a message; over TCP they end with a line feed, or each has its length before it (RFC 6587,
octet counting). Of a message the priority is dropped, the rest is a line; a JSON object as the whole rest is
that object. UDP loses what comes while WAITING messages wait (it is counted); TCP makes its senders wait.
What was received and not matched yet when the process is killed is gone.
"""

from __future__ import annotations

import io
import queue
import re
import socketserver
import threading
from collections.abc import Iterator
from typing import ClassVar

from indicia.errors import InputError
from indicia.live.pieces import Piece

WAITING = 20_000
"""Messages that wait to be matched."""
LONGEST = 1 << 20
"""Bytes of a message."""
_PRIORITY = re.compile(rb"<[0-9]{1,3}>")
_LENGTH = re.compile(rb"[1-9][0-9]{0,6} ")
_DIGITS = 8


class Syslog:
    """One address that listens, in threads of its own, until it is closed."""

    def __init__(self, name: str, protocol: str, host: str, port: int) -> None:
        self.name = name
        self.lost = 0
        """Datagrams for which there was no room."""
        self._found: queue.Queue[bytes] = queue.Queue(WAITING)
        self._lines = 0
        handler = type("Handler", (_Datagram if protocol == "udp" else _Stream,), {"syslog": self})
        server = _Udp if protocol == "udp" else _Tcp
        try:
            self._server = server((host, port), handler)
        except OSError as error:
            raise InputError(f"cannot listen there: {error.strerror or error}", place=name) from None
        self.address = str(self._server.server_address[0]), int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

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
        """Stop listening."""
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


def line_of(message: bytes) -> bytes:
    """A message without its priority and line ends; those inside become spaces."""
    found = _PRIORITY.match(message)
    rest = message[found.end() :] if found else message
    return rest.strip(b"\r\n\0").replace(b"\r", b" ").replace(b"\n", b" ")


class _Datagram(socketserver.BaseRequestHandler):
    syslog: ClassVar[Syslog]

    def handle(self) -> None:
        self.syslog.take(self.request[0], wait=False)


class _Stream(socketserver.StreamRequestHandler):
    syslog: ClassVar[Syslog]

    rfile: io.BufferedReader

    def handle(self) -> None:
        while message := _message(self.rfile):
            self.syslog.take(message, wait=True)


def _message(stream: io.BufferedReader) -> bytes:
    """The next message of a stream; nothing at its end."""
    begun = stream.peek(_DIGITS)[:_DIGITS]
    counted = _LENGTH.match(begun)
    if counted is None:
        return bytes(stream.readline(LONGEST))
    stream.read(counted.end())
    return bytes(stream.read(min(int(counted[0]), LONGEST)))


class _Udp(socketserver.UDPServer):
    allow_reuse_address = True
    max_packet_size = 65_535


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

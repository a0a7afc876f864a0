"""A webhook's receiver that can be dead in several ways, and keeps what it acknowledged."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

SLOW_SECONDS = 3.0
HANG_SECONDS = 20.0
"""How long one that hangs keeps a connection at the most; the service itself waits for 30."""


@dataclass
class Hook:
    """The receiver; `mode` is ok, refuse, hang, fail, reset or slow."""

    mode: str = "ok"
    acknowledged: Counter[str] = field(default_factory=Counter)
    """How often each message was answered by 204."""
    alerts: dict[str, str] = field(default_factory=dict)
    """Message id to the id of its alert."""
    port: int = 0
    _server: ThreadingHTTPServer | None = None
    _changed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where messages go."""
        return f"http://127.0.0.1:{self.port}/hook"

    def set(self, mode: str) -> None:
        """Be so from now on."""
        self.mode = mode
        self._changed.set()
        self._changed = threading.Event()
        if mode == "refuse":
            self.close()
        elif self._server is None:
            self.open()

    def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Listen no more; connections that are open end."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for one in _Server.connections:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            _Server.connections.clear()
        self._server = None

    def hang(self, seconds: float) -> None:
        """Until it is to be otherwise."""
        self._changed.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connections: ClassVar[list[socket.socket]] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        made = super().get_request()
        self.connections.append(made[0])
        return made

    def handle_error(self, *_: Any) -> None:
        """Clients that went away are what this is about."""


def _handler(hook: Hook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            mode, size = hook.mode, int(self.headers["Content-Length"])
            if mode == "reset":
                self.rfile.read(size // 2)
                self.wfile.write(b"HTTP/1.1 20")
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            body = json.loads(self.rfile.read(size))
            if mode == "hang":
                hook.hang(HANG_SECONDS)
                self.close_connection = True
                return
            if mode == "slow":
                hook.hang(SLOW_SECONDS)
            if mode == "fail":
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(204)
            self.end_headers()
            hook.alerts[self.headers["webhook-id"]] = body["Alert"]["AlertId"]
            hook.acknowledged[self.headers["webhook-id"]] += 1

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler

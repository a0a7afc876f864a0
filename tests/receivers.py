"""Receivers of outputs as tests need them: real servers on loopback that answer as they are told to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from indicia.messages import Message, Sent

BODY = {
    "Tenant": "8d0f8f9c-0000-4000-8000-000000000001",
    "MadeAt": "2024-03-12T08:53:07Z",
    "Alert": {
        "Id": 7,
        "AlertId": "a" * 32,
        "Title": "Paper Lantern: command and control",
        "Severity": "High",
        "Category": "CommandAndControl",
        "UxDescription": "It calls home",
        "AlertDefinitionId": 3,
        "AlertDefinitionUid": "8d0f8f9c-0000-4000-8000-000000000002",
        "Machine": "pc-1",
        "FirstSeen": "2024-03-12T08:00:00Z",
        "LastSeen": "2024-03-12T08:30:00Z",
        "DetectionCount": 2,
        "Indicators": ["198.51.100.44", "beacon.example"],
        "Status": "New",
        "Storm": False,
    },
}


def message(number: int = 1, sent: Sent = Sent.OPENED, **changes: Any) -> Message:
    """One of an alert; `changes` are of the alert."""
    key = f"indicia-{number:032x}"
    alert = BODY["Alert"] | changes  # type: ignore[operator]
    body = {"MessageId": key, "Sent": sent, **BODY, "Alert": alert}
    return Message(
        number,
        key,
        sent,
        datetime(2024, 3, 12, 8, 53, 7, tzinfo=UTC),
        json.dumps(body, separators=(",", ":")),
    )


@dataclass(frozen=True)
class Request:
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Of the message."""
        return self.headers["webhook-id"]


Reply = tuple[int, dict[str, str], bytes]
TAKEN: Reply = (204, {}, b"")


@dataclass
class Web:
    """A web server that keeps what it is sent and answers by a function."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Reply] = lambda _request: TAKEN

    @property
    def ids(self) -> list[str]:
        """Of what came, in its order."""
        return [one.id for one in self.requests]


@contextmanager
def web(
    answer: Callable[[Request], Reply] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    context: ssl.SSLContext | None = None,
) -> Iterator[Web]:
    """A server on loopback, until the end."""
    found = Web()
    if answer is not None:
        found.answer = answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.path, dict(self.headers.items()), body)
            status, headers, content = found.answer(request)
            found.requests.append(request)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = False

        connections: ClassVar[list[socket.socket]] = []

        def get_request(self) -> tuple[socket.socket, Any]:
            made = super().get_request()
            self.connections.append(made[0])
            return made

        def handle_error(self, *_: Any) -> None:
            """A client that went away is what some tests are about."""

    server = Server((host, port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"{'https' if context else 'http'}://{host}:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        for one in server.connections:
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        server.server_close()
        thread.join()


@dataclass
class Lines:
    """A server that keeps the bytes it is sent."""

    port: int
    data: bytearray = field(default_factory=bytearray)
    connections: int = 0


@contextmanager
def stream(context: ssl.SSLContext | None = None) -> Iterator[Lines]:
    """A TCP or TLS server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Lines(int(server.getsockname()[1]))
        server.settimeout(0.05)
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    raw, _ = server.accept()
                except TimeoutError:
                    continue
                found.connections += 1
                with (
                    raw,
                    suppress(ssl.SSLError, ConnectionError),
                    context.wrap_socket(raw, server_side=True) if context else raw as connection,
                ):
                    connection.settimeout(0.05)
                    read(connection)

        def read(connection: socket.socket) -> None:
            while not stopped.is_set():
                try:
                    part = connection.recv(65536)
                except TimeoutError:
                    continue
                if not part:
                    return
                found.data += part

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            stopped.set()
            thread.join()


def slowly(seconds: float) -> Callable[[Request], Reply]:
    """An answer that takes its time."""

    def answer(_request: Request) -> Reply:
        time.sleep(seconds)
        return TAKEN

    return answer

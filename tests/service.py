"""The service as tests drive it: in this process over ASGI, or as a real process over TLS on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import requests
from starlette.applications import Starlette
from starlette.types import Message, Receive

from indicia.auth import roles, secrets
from indicia.live import runner
from indicia.model import Quotas
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import app

DEFINITION: dict[str, Any] = {
    "Name": "The alert's name",
    "Severity": "Low",
    "InternalDescription": "An internal description of the alert",
    "Title": "The title",
    "UxDescription": "Description of the alert",
    "RecommendedAction": "The alert's recommended action",
    "Category": "Trojan",
    "Enabled": True,
}
SHA1 = "dead1111eeaabbccddeeaabbccddee11ffffffff"


def indicator(definition_id: int, **changes: Any) -> dict[str, Any]:
    """The body of the published example, bound to a definition."""
    return {
        "Type": "Sha1",
        "Value": SHA1,
        "DetectionFunction": "Equals",
        "Enabled": True,
        "AlertDefinition@odata.bind": f"AlertDefinitions({definition_id})",
    } | changes


Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Access:
    """What one application of one tenant needs to get tokens."""

    tenant_id: str
    client_id: str
    client_secret: str
    secret_id: int

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the published token request."""
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "resource": "https://graph.windows.net",
        }


def add_access(store: Store, name: str, held: tuple[str, ...] = roles.DEFAULT) -> Access:
    """A new tenant with one application and its secret."""
    tenant = store.tenant(store.add_tenant(name).uid)
    return add_application(store, tenant.uid, held)


def add_application(store: Store, tenant: str, held: tuple[str, ...]) -> Access:
    """A further application of a tenant."""
    scope = store.tenant(tenant)
    application = scope.add_application("tests", held)
    secret = secrets.make()
    kept = scope.add_secret(application.client_id, secrets.digest(secret), secrets.hint(secret))
    return Access(scope.uid, application.client_id, secret, kept.id)


@dataclass(frozen=True)
class Reply:
    """An answer of the service."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()
    """Every Set-Cookie."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """OData's error object."""
        return self.json()["error"]


class Runner:
    """An event loop in a thread of its own, because in the main one that of a browser may be running."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._hand = ThreadPoolExecutor(1)

    def run(self, what: Coroutine[Any, Any, Answer]) -> Answer:
        """What comes of it."""
        return self._hand.submit(self._runner.run, what).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hand.submit(self._runner.close).result()
        self._hand.shutdown()


@dataclass
class Local:
    """The application in this process, called over ASGI without a socket."""

    application: Starlette
    store: Store
    settings: Settings
    runner: Runner = field(default_factory=Runner)
    address: str = "127.0.0.1"
    """Where requests seem to come from."""

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `target` is the path and query as they go over the wire."""
        parts = [body[start : start + 65536] for start in range(0, len(body), 65536)] or [b""]

        async def receive() -> Message:
            if not parts:  # a client that waits for its answer
                await asyncio.Event().wait()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        return self.runner.run(self.exchange(method, target, headers or {}, receive))

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], receive: Receive) -> Reply:
        """One request whose body comes as `receive` gives it."""
        path, _, query = target.partition("?")
        raw = path.encode("latin-1")
        given = {"host": "127.0.0.1:8443", **{name.lower(): value for name, value in headers.items()}}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": _unquoted(path),
            "raw_path": raw,
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
            "client": (self.address, 1),
            "server": ("127.0.0.1", 8443),
        }
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        cookies = tuple(value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie")
        return Reply(sent[0]["status"], answer, b"".join(part.get("body", b"") for part in sent[1:]), cookies)

    def token(self, access: Access) -> str:
        """An access token by the v1 endpoint."""
        reply = self.form(f"/{access.tenant_id}/oauth2/token", access.form)
        assert reply.status == 200, reply.body
        return str(reply.json()["access_token"])

    def form(self, target: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Reply:
        """A form post."""
        kind = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        return self.request("POST", target, urlencode(form).encode(), {**kind, **(headers or {})})

    def client(self, access: Access) -> Client:
        """Somebody who calls the TI API with a token."""
        return Client(self, self.token(access))


def _unquoted(path: str) -> str:
    from urllib.parse import unquote  # noqa: PLC0415

    return unquote(path)


@dataclass
class Client:
    """Calls of the TI API with one token."""

    local: Local
    token: str

    def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call below /v1.0; `body` is sent as JSON, bytes as they are."""
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        return self.local.request(method, f"/v1.0/{path}", content, given)

    def add_definition(self, **changes: Any) -> int:
        """A new definition; its Id."""
        reply = self("POST", "AlertDefinitions", DEFINITION | changes)
        assert reply.status == 201, reply.body
        return int(reply.json()["Id"])

    def add_indicator(self, definition_id: int, **changes: Any) -> int:
        """A new indicator; its Id."""
        reply = self("POST", "IndicatorsOfCompromise", indicator(definition_id, **changes))
        assert reply.status == 201, reply.body
        return int(reply.json()["Id"])


@contextmanager
def local(home: Path, quotas: Quotas | None = None, **changes: Any) -> Iterator[Local]:
    """The application over a new store in `home`."""
    # A process that matches takes half a second to start; `tests/test_matchers.py` has it, and real services.
    settings = Settings(home=home, **{"matchers": 0} | changes)
    with Store.open(settings.database_url, quotas=quotas) as store:
        application = app.create(settings, store)
        service = Local(application, store, settings)
        try:
            with service.runner, runner.running(store, settings.database_url, home):
                yield service
        finally:
            app.close(application)


def family(pid: int) -> list[int]:
    """A process, then those below it, whichever live now."""
    found, place = [pid], 0
    while place < len(found):
        one = found[place]
        with suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        place += 1
    return found


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVE = """
import sys
from pathlib import Path
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import serve
settings = Settings(home=Path(sys.argv[1]), port=int(sys.argv[2]))
with Store.open(settings.database_url) as store:
    serve.run(settings, store, lambda line: print(line, flush=True))
"""


@dataclass
class Process:
    """The service as a process of its own, with TLS by its own authority."""

    home: Path
    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        """The file that clients trust."""
        return str(self.home / "tls" / "ca.pem")

    def session(self, access: Access | None = None) -> requests.Session:
        """A session that trusts this service alone, with a token where access is given."""
        session = requests.Session()
        # Else REQUESTS_CA_BUNDLE of the environment wins over `verify`.
        session.trust_env = False
        session.verify = self.authority
        if access:
            session.headers["Authorization"] = f"Bearer {self.token(access)}"
        return session

    def token(self, access: Access) -> str:
        """An access token by the v1 endpoint."""
        with self.session() as session:
            reply = session.post(f"{self.url}/{access.tenant_id}/oauth2/token", data=access.form, timeout=30)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["access_token"])

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL: no handler, no flush."""
        self.process.kill()
        self.process.wait(30)


def start(home: Path, port: int, workers: int = 1) -> Process:
    """Start the service and wait for its line."""
    command = ["-c", SERVE, str(home), str(port)]
    if workers > 1:
        command = ["-m", "indicia", "--home", str(home), "serve", "--port", str(port)]
        command += ["--workers", str(workers)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("Indicia listens on "):
        process.kill()
        _, errors = process.communicate()
        raise AssertionError(f"the service did not start: {line} {errors}")
    return Process(home, port, process)


@contextmanager
def running(home: Path, port: int | None = None, workers: int = 1) -> Iterator[Process]:
    """The service as a process, or several workers and the one that looks after them; ended at the end."""
    service = start(home, port or free_port(), workers)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def wait_until(seconds: float, condition: Any) -> None:
    """Poll until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)

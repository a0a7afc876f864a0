"""When the SDK tries again and when it must not: a server on loopback that refuses, stalls and hangs up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from indicia.client import (
    AlertDefinition,
    Category,
    Client,
    Details,
    Indicator,
    IndicatorType,
    Position,
    Retries,
    Severity,
)
from indicia.errors import (
    AnswerLost,
    BadAnswer,
    IndiciaError,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    StoreError,
    TooManyRequests,
    Unauthorized,
    UploadStopped,
)
from indicia.model import BULK_LIMIT
from indicia.settings import Settings
from indicia.store import Store
from service import Process, add_access, running

pytestmark = pytest.mark.full

DEFINITION = AlertDefinition(name="n", title="t", severity=Severity.LOW, category=Category.TROJAN)
STORED = {"Id": 7, "Name": "n", "Title": "t", "Severity": "Low", "Category": "Trojan", "Enabled": True}
QUICK = Retries(attempts=3, first_wait=0.01)


@dataclass
class Said:
    """What the server answers once."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class HangUp:
    """The server closes the connection without an answer."""


@dataclass
class Stall:
    """The server says nothing for a while."""

    seconds: float


Act = Said | HangUp | Stall


@dataclass
class Loopback:
    """A server that does one act after the other; the last one again and again. It gives out tokens."""

    acts: list[Act] = field(default_factory=list)
    token_acts: list[Act] = field(default_factory=list)
    token_seconds: float = 3599
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Authorization of each request of the API."""
    tokens: int = 0
    forward: Callable[[BaseHTTPRequestHandler, bytes], Said] | None = None
    """Has the real service do it; then `losses` says what becomes of the answer of each bulk upload."""
    losses: list[Act | None] = field(default_factory=list)
    port: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> Act:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if handler.path == "/t/oauth2/token":
            if self.token_acts:
                return self.token_acts.pop(0)
            self.tokens += 1
            return Said(body={"access_token": f"token{self.tokens}", "expires_in": str(self.token_seconds)})
        self.seen.append((handler.command, handler.path, handler.headers.get("authorization", "")))
        if self.forward:
            done = self.forward(handler, body)
            lost = self.losses.pop(0) if self.losses and handler.path.endswith("BulkUpload") else None
            return lost or done
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]

    @property
    def details(self) -> Details:
        url = f"http://127.0.0.1:{self.port}"
        return Details(
            client_id="c",
            client_secret="s",
            authorization_url=f"{url}/t/oauth2/token",
            api_url=f"{url}/V1.0",
        )

    def client(self, retries: Retries = QUICK, seconds: float = 10) -> Client:
        return Client(self.details, retries=retries, seconds=seconds)


@contextmanager
def listening(loopback: Loopback) -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            act = loopback.answer(self)
            if isinstance(act, Stall):
                time.sleep(act.seconds)
            if not isinstance(act, Said):
                self.close_connection = True
                return
            content = act.body if isinstance(act.body, bytes) else json.dumps(act.body).encode()
            content = b"" if act.body is None else content
            self.send_response(act.status)
            for name, value in {**act.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    loopback.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[Loopback]:
    with listening(Loopback()) as made:
        yield made


BUSY = Said(503, {"error": {"code": "StoreUnavailable", "message": "busy"}}, {"Retry-After": "0"})
SLOW_DOWN = Said(429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, {"Retry-After": "0"})
GATEWAY = Said(503, b"<html>no backend</html>")
UNSURE = Said(504, {"error": {"code": "OutcomeUnknown", "message": "may be done"}})


@pytest.mark.parametrize(
    "act",
    [BUSY, SLOW_DOWN, GATEWAY, UNSURE, HangUp()],
    ids=["503", "429", "gateway", "unsure", "hang up"],
)
def test_reading_is_tried_again(server: Loopback, act: Act) -> None:
    server.acts = [act, act, Said(body=STORED)]
    with server.client() as client:
        assert client.definition(7).title == "t"
    assert len(server.seen) == 3


@pytest.mark.parametrize("act", [BUSY, SLOW_DOWN], ids=["503", "429"])
def test_a_post_that_was_refused_is_tried_again(server: Loopback, act: Act) -> None:
    server.acts = [act, Said(201, STORED)]
    with server.client() as client:
        assert client.add_definition(DEFINITION).id == 7
    assert [method for method, _, _ in server.seen] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("act", "error"),
    [(HangUp(), AnswerLost), (GATEWAY, BadAnswer), (UNSURE, OutcomeUnknown)],
    ids=["hang up", "gateway", "unsure"],
)
def test_a_post_that_may_have_been_done_is_not_sent_twice(
    server: Loopback, act: Act, error: type[IndiciaError]
) -> None:
    server.acts = [act]
    with server.client() as client:
        with pytest.raises(error):
            client.add_definition(DEFINITION)
        with pytest.raises(error):
            client.change_definition(7, title="x")
    assert [method for method, _, _ in server.seen] == ["POST", "PATCH"]


def test_a_service_that_starts_late_is_waited_for_even_by_a_post() -> None:
    late = Loopback(acts=[Said(201, STORED)])
    with listening(late):
        pass
    port = late.port
    details = late.details

    class Late(threading.Thread):
        def run(self) -> None:
            time.sleep(0.2)
            self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
            self.server.serve_forever(poll_interval=0.01)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            act = late.answer(self)
            assert isinstance(act, Said)
            content = json.dumps(act.body).encode()
            self.send_response(act.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    thread = Late()
    thread.start()
    try:
        with Client(details, retries=Retries(attempts=30, first_wait=0.05, longest_wait=0.1)) as client:
            assert client.add_definition(DEFINITION).id == 7
    finally:
        thread.server.shutdown()
        thread.join()
        thread.server.server_close()
    assert len(late.seen) == 1


@pytest.mark.parametrize("act", [HangUp(), UNSURE], ids=["hang up", "unsure"])
def test_a_deletion_whose_answer_was_lost_is_done(server: Loopback, act: Act) -> None:
    gone = Said(404, {"error": {"code": "NotFound", "message": "gone"}})
    server.acts = [act, gone]
    with server.client() as client:
        client.delete_definition(7)
        with pytest.raises(NotFound):
            client.delete_definition(7)


def test_tries_end_and_the_last_refusal_is_told(server: Loopback) -> None:
    server.acts = [BUSY]
    with server.client() as client, pytest.raises(StoreError) as error:
        client.count_definitions()
    assert (error.value.message, error.value.retry_after) == ("busy", 0)
    assert len(server.seen) == QUICK.attempts


@pytest.mark.full
def test_retry_after_is_obeyed_as_a_number_and_as_a_date(server: Loopback) -> None:
    for seconds in (1, 2):
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        asked = soon if seconds == 2 else "1"
        server.acts = [Said(429, SLOW_DOWN.body, {"Retry-After": asked}), Said(body=STORED)]
        start = time.monotonic()
        with server.client() as client:
            client.definition(7)
        assert 0.9 < time.monotonic() - start < 5


def test_nobody_waits_for_an_hour(server: Loopback) -> None:
    server.acts = [Said(429, SLOW_DOWN.body, {"Retry-After": "3600"})]
    with server.client() as client, pytest.raises(TooManyRequests) as error:
        client.definition(7)
    assert error.value.retry_after == 3600
    assert len(server.seen) == 1


@pytest.mark.full
def test_a_token_serves_until_shortly_before_its_end(server: Loopback) -> None:
    server.acts = [Said(body=STORED)]
    server.token_seconds = 1
    with server.client() as client:
        client.definition(7)
        client.definition(7)
        assert server.tokens == 1
        time.sleep(0.95)
        client.definition(7)
    assert [token for _, _, token in server.seen] == ["Bearer token1", "Bearer token1", "Bearer token2"]


def test_a_token_that_is_refused_is_replaced_once(server: Loopback) -> None:
    no = Said(401, {"error": {"code": "Unauthorized", "message": "revoked"}})
    server.acts = [no, Said(201, STORED)]
    with server.client() as client:
        assert client.add_definition(DEFINITION).id == 7
        server.acts = [no]
        server.seen.clear()
        with pytest.raises(Unauthorized, match="revoked"):
            client.add_definition(DEFINITION)
    assert [token for _, _, token in server.seen] == ["Bearer token2", "Bearer token3"]


def test_the_token_endpoint_is_tried_again(server: Loopback) -> None:
    server.acts = [Said(body=STORED)]
    server.token_acts = [HangUp(), Said(429, {"error": "temporarily_unavailable"}, {"Retry-After": "0"})]
    with server.client() as client:
        assert client.definition(7).id == 7


def test_the_token_goes_nowhere_else(server: Loopback) -> None:
    server.acts = [
        Said(body={"value": [STORED], "@odata.nextLink": "http://127.0.0.1:1/V1.0/AlertDefinitions?x"})
    ]
    with server.client() as client:
        found = client.definitions()
        assert next(found).id == 7
        with pytest.raises(BadAnswer, match="not followed"):
            next(found)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{", {"value": 5}, {"value": [5]}, {"value": [{"Id": "x"}]}, {"value": [{"Id": 1}]}],
    ids=repr,
)
def test_an_answer_of_something_else_is_told_as_such(server: Loopback, body: Any) -> None:
    server.acts = [Said(body=body)]
    with server.client() as client, pytest.raises(BadAnswer):
        list(client.definitions())


def test_what_a_newer_service_adds_is_passed_over_and_its_codes_are_read(server: Loopback) -> None:
    server.acts = [
        Said(body={**STORED, "Colour": "red"}),
        Said(
            501, {"error": {"code": "NewCode", "message": "later", "target": "x", "details": [{"code": "a"}]}}
        ),
    ]
    with server.client() as client:
        assert client.definition(7).id == 7
        with pytest.raises(NotSupported) as error:
            client.definition(7)
    assert (error.value.target, error.value.details[0].code) == ("x", "a")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture
def between(process: Process, request: pytest.FixtureRequest) -> Iterator[Loopback]:
    """A server between client and service, which loses answers of what the service has done."""
    with Store.open(Settings(home=process.home).database_url) as store:
        access = add_access(store, request.node.name[:60])
    with process.session(access) as api:

        def forward(handler: BaseHTTPRequestHandler, body: bytes) -> Said:
            kind = {"Content-Type": "application/json"}
            reply = api.request(
                handler.command, process.url + handler.path, data=body, headers=kind, timeout=30
            )
            return Said(reply.status_code, reply.content or None)

        with listening(Loopback(forward=forward)) as made:
            yield made


def many(owner: int, count: int) -> Iterator[Indicator]:
    for number in range(count):
        yield Indicator(type=IndicatorType.FILE_NAME, value=f"it's {number:06}.exe", definition_id=owner)


@pytest.mark.full
@pytest.mark.parametrize("loss", [HangUp(), GATEWAY, UNSURE], ids=["hang up", "gateway", "unsure"])
def test_a_chunk_whose_answer_was_lost_is_not_stored_twice(between: Loopback, loss: Act) -> None:
    with between.client() as client:
        owner = client.add_definition(DEFINITION).id
        given = list(many(owner, 2 * BULK_LIMIT + 3))
        between.losses = [None, loss, loss]
        position: Position | int = 0
        for _ in range(3):
            try:
                position = client.upload_indicators(given, start=position)
                break
            except UploadStopped as error:
                position = Position.of(error)
        assert position == Position(len(given), position.after if isinstance(position, Position) else None)
        assert client.count_indicators() == len(given)
        assert client.count_indicators(Indicator.Value == given[BULK_LIMIT].value) == 1


@pytest.mark.full
def test_an_upsert_is_sent_again_whatever_was_lost(between: Loopback) -> None:
    with between.client() as client:
        owner = client.add_definition(DEFINITION).id
        between.losses = [HangUp(), GATEWAY]
        assert client.upload_indicators(many(owner, 10), upsert=True).stored == 10
        assert client.count_indicators() == 10
    assert sum(path.endswith("BulkUpload") for _, path, _ in between.seen) == 3


@pytest.mark.full
def test_a_chunk_that_timed_out_is_left_to_the_caller(between: Loopback) -> None:
    with between.client() as client:
        owner = client.add_definition(DEFINITION).id
    given = list(many(owner, 10))
    between.losses = [Stall(1.5)]
    with between.client(seconds=0.7) as client:
        with pytest.raises(UploadStopped, match="no answer") as stopped:
            client.upload_indicators(given)
        assert isinstance(stopped.value.__cause__, AnswerLost)
        assert stopped.value.stored == 0
        assert client.upload_indicators(given, start=Position.of(stopped.value)).stored == 10
        assert client.count_indicators() == 10


@pytest.mark.full
def test_the_last_position_that_was_kept_is_enough(between: Loopback) -> None:
    kept = [Position()]
    with between.client() as client:
        owner = client.add_definition(DEFINITION).id
        given = list(many(owner, BULK_LIMIT + 10))

        def killed(position: Position) -> None:
            kept.append(position)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.upload_indicators(given, progress=killed)
        client.upload_indicators(given[BULK_LIMIT:])  # stored, and nobody kept that
        assert client.upload_indicators(given, start=kept[-1]).stored == len(given)
        assert client.count_indicators() == len(given)

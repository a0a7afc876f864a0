"""Bodies of events from senders who are slow, greedy, gone, or up to something."""

from __future__ import annotations

import asyncio
import base64
import gzip
import random
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from indicia import telemetry
from indicia.errors import TooManyRequests
from indicia.telemetry import Source, inflate
from indicia.web import arriving
from indicia.web.arriving import Expanded, Room
from indicia.web.events import WAITING
from service import Access, Local, Reply, add_access, local

pytestmark = pytest.mark.full

HIT = (
    b'{"event":{"id":"%d"},"@timestamp":"2024-03-12T08:53:07Z","dns":{"question":{"name":"evil.example"}}}\n'
)
NDJSON = {"Content-Type": "application/x-ndjson"}
Sender = Callable[[], Awaitable[Message]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    with local(tmp_path_factory.mktemp("home"), max_event_bytes=1 << 30) as started:
        yield started


@pytest.fixture(scope="module")
def access(service: Local) -> Access:
    access = add_access(service.store, "contoso")
    api = service.client(access)
    api("POST", "IndicatorsOfCompromise", _indicator(api.add_definition()), {"Prefer": "wait=5"})
    return access


def _indicator(owner: int) -> dict[str, Any]:
    return {
        "Type": "DomainName",
        "Value": "evil.example",
        "DetectionFunction": "Equals",
        "Enabled": True,
        "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
    }


def sending(*parts: bytes, end: bool = False) -> Sender:
    """A sender of parts of a body, who then waits, for the answer or for nothing."""
    waiting: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting += [{"type": "http.request", "body": b"", "more_body": False}] * end

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return receive


async def post(
    service: Local, token: str, receive: Sender, path: str = "/v1.0/Events", **headers: str
) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.exchange(
        "POST", path, {"Authorization": f"Bearer {token}"} | NDJSON | given, receive
    )


def waiting(service: Local) -> int:
    return int(service.application.state.events._places.used)


def test_slow_clients_hold_no_thread_and_no_tenant_shuts_out_another(service: Local, access: Access) -> None:
    slow, other = service.token(access), service.token(add_access(service.store, "fabrikam"))

    async def scene() -> list[Reply]:
        sent = [asyncio.create_task(post(service, slow, sending(HIT % n))) for n in range(WAITING)]
        async with asyncio.timeout(30):
            while waiting(service) + sum(task.done() for task in sent) < WAITING:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        refused = [task.result() for task in sent if task.done()]
        began = time.monotonic()
        taken = await post(service, other, sending(HIT % 1, HIT % 2, end=True))
        assert time.monotonic() - began < 5
        for task in sent:
            task.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
        return [*refused, taken]

    *refused, taken = service.runner.run(scene())
    assert WAITING / 4 < len(refused) < WAITING
    assert {(one.status, one.headers["retry-after"]) for one in refused} == {(429, "1")}
    assert (taken.status, taken.json()["accepted"]) == (200, 2)
    assert waiting(service) == 0


@pytest.mark.parametrize("pace", ["silent", "dripping"])
def test_a_body_that_does_not_come_is_answered_408_and_what_came_is_kept(
    service: Local, access: Access, monkeypatch: pytest.MonkeyPatch, pace: str
) -> None:
    monkeypatch.setattr(arriving, "SILENCE", 0.2 if pace == "silent" else 30.0)
    monkeypatch.setattr(arriving, "MINUTE", 0.3 if pace == "dripping" else 60.0)
    monkeypatch.setattr(arriving, "PIECE", 200)
    monkeypatch.setattr("indicia.live.intake.BLOCK", 200)
    monkeypatch.setattr("indicia.live.intake.BATCH", 1)
    first = random.Random(pace).randrange(10**6, 10**9)
    parts = [HIT % (first + n) for n in range(4)]
    quick = sending(*parts)

    async def dripping() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    before = service.store.tenant(access.tenant_id).counts().detections
    reply = service.runner.run(post(service, service.token(access), quick if pace == "silent" else dripping))
    assert (reply.status, reply.headers["connection"]) == (408, "close"), reply.body
    assert "smaller parts" in reply.error["message"]
    assert service.store.tenant(access.tenant_id).counts().detections >= before + 2


def test_a_client_that_leaves_ends_the_work_at_once(service: Local, access: Access) -> None:
    token = service.token(access)
    body = zstandard.ZstdCompressor().compress(b"{}\n" * 20_000_000)
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def scene() -> float:
        began = time.monotonic()
        with pytest.raises(IndexError):  # nothing was answered
            await post(service, token, receive, Content_Encoding="zstd")
        return time.monotonic() - began

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arriving, "RATIO", 10**9)
        assert service.runner.run(scene()) < 3
    assert waiting(service) == 0


@pytest.mark.full
@pytest.mark.parametrize("unit", [b"\n", b"x\n", b"{x}\n", b"[]\n"])
def test_what_is_no_event_costs_little(service: Local, access: Access, unit: bytes) -> None:
    client = service.client(access)
    began = time.process_time()
    reply = client("POST", "Events", unit * (5_000_000 // len(unit)), NDJSON)
    assert time.process_time() - began < 12  # 25 s before, without coverage and on an idle machine
    if unit == b"\n":
        assert reply.json() | {"generation": 0} == {
            "accepted": 0, "malformed": 0, "malformedLines": [], "reasons": [], "detections": 0,
            "newDetections": 0, "newAlerts": 0, "generation": 0,
        }  # fmt: skip
    else:
        assert (reply.status, reply.error["target"]) == (400, "body")
        assert "line 1" in reply.error["message"]


@pytest.mark.full
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_what_expands_as_no_log_does_is_refused(service: Local, access: Access, form: str) -> None:
    client = service.client(access)
    pack = gzip.compress if form == "gzip" else zstandard.ZstdCompressor().compress
    reply = client("POST", "Events", pack(b"\n" * 100_000_000), NDJSON | {"Content-Encoding": form})
    assert reply.status == 413
    assert "500 times" in reply.error["message"]
    # Lines that come again and again between others are a log all the same.
    dice = random.Random(1)
    many = b"".join(b'{"a":%d}\n' % n for n in range(999))
    some = b"".join(b'{"b":"%x"}\n' % dice.getrandbits(200) + many for _ in range(8000))
    assert len(some) > arriving.FREE
    reply = client("POST", "Events", pack(some), NDJSON | {"Content-Encoding": form})
    assert (reply.status, reply.json()["accepted"]) == (200, 8_000_000)


def test_a_frame_that_looks_back_too_far_is_refused(service: Local, access: Access) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(b"{}\n" * 1000) + stream.flush()
    reply = service.client(access)("POST", "Events", body, NDJSON | {"Content-Encoding": "zstd"})
    assert (reply.status, reply.error["target"]) == (400, "Content-Encoding")


def test_a_bulk_request_has_a_bounded_number_of_items(
    service: Local, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indicia.web.shippers.ITEMS", 100)
    both = base64.b64encode(f"{access.client_id}:{access.client_secret}".encode()).decode()
    token = {"Authorization": f"Basic {both}"}
    assert service.request("POST", "/_bulk", b'{"delete":{}}\n' * 100, token).status == 200
    assert service.request("POST", "/_bulk", b'{"delete":{}}\n' * 101, token).status == 413


def test_a_long_name_of_an_index_is_not_said_again_with_each_item(service: Local, access: Access) -> None:
    both = base64.b64encode(f"{access.client_id}:{access.client_secret}".encode()).decode()
    token = {"Authorization": f"Basic {both}"}
    body = b'{"delete":{}}\n{"delete":{"_index":"%s"}}\n' % (b"i" * 30_000)
    reply = service.request("POST", f"/{'i' * 30_000}/_bulk", body, token)
    assert [item["delete"]["_index"] for item in reply.json()["items"]] == ["i" * 255] * 2


@pytest.mark.parametrize(
    "query", ["sourse=a", "source=a%00b", "source=a&source=b", "source=", "source=%1b[31m"]
)
def test_parameters_are_checked(service: Local, access: Access, query: str) -> None:
    client = service.client(access)
    assert client("POST", f"Events?{query}", b"{}\n", NDJSON).status == 400
    assert client("POST", "Events?source=Büro%201", b"{}\n", NDJSON).status == 200
    assert client("GET", "Index?x=1").status == 400


def test_a_tenant_has_as_much_as_is_free_at_the_most() -> None:
    room = Room(8, "things")
    for tenant, most in (("a", 4), ("b", 2), ("c", 1)):
        for _ in range(most):
            room.take(tenant, 1)
        with pytest.raises(TooManyRequests):
            room.take(tenant, 1)
    room.give("a", 4)
    room.take("b", 1)
    assert room.used == 4


LONG = {b"1": b"\n" * 400_000, b"2": b"ab" * 70_000}
TEXTS = st.lists(st.binary(max_size=300) | st.sampled_from(sorted(LONG)), max_size=4)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@given(texts=TEXTS, step=st.sampled_from([1, 2, 7, 1000, 10**6]), cut=st.integers(0, 30), skip=st.booleans())
def test_what_is_pushed_is_what_is_pulled(
    form: str, texts: list[bytes], step: int, cut: int, skip: bool
) -> None:
    pack = gzip.compress if form == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress
    packed = b"".join(pack(LONG.get(text, text)) for text in texts)
    if skip and form == "zstd":
        packed = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello" + packed
    packed = packed[: len(packed) - min(cut, len(packed))]
    found, whole = [], True
    pushed = inflate.Pushed(form)
    try:
        for at in range(0, len(packed), step):
            pushed.put(packed[at : at + step])
            while piece := pushed.take():
                assert len(piece) <= 2 * inflate.STEP
                found.append(piece)
        pushed.end()
    except (OSError, zlib.error, zstandard.ZstdError):
        whole = False
    pulled, sound = list[bytes](), True
    try:
        pulled.extend(inflate.blocks(BufferedReader(BytesIO(packed)), form))
    except (OSError, zlib.error, zstandard.ZstdError):
        sound = False
    assert whole == sound
    # Of what breaks off the one or the other may come further.
    one, other = sorted((b"".join(found), b"".join(pulled)), key=len)
    assert other.startswith(one) if not sound else other == one


@pytest.mark.parametrize(
    ("form", "head", "unit", "tail"),
    [
        ("gzip", b"", gzip.compress(b""), b""),
        ("gzip", b"", b"\0", b""),
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x58", b"\0\0\0", b"\x01\0\0"),
    ],
    ids=["members", "padding", "blocks"],
)
def test_what_holds_nothing_costs_little(form: str, head: bytes, unit: bytes, tail: bytes) -> None:
    body = head + unit * (2 * arriving.PIECE // len(unit)) + tail
    began = time.process_time()
    assert Expanded(form, len(body)).take(body, last=True) == (b"", False)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("head", "line", "events"),
    [(b"", b"\n", []), (b"{}\n", b" \n", [1, 5000002]), (b"a,b,c\n1,2,3\n", b"\r\n", [2, 5000003, 5000004])],
    ids=["empty", "ndjson", "csv"],
)
def test_a_source_of_blank_lines_is_read_quickly(
    tmp_path: Path, head: bytes, line: bytes, events: list[int]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + line * (10_000_000 // len(line)) + head)
    began = time.process_time()
    found = list(telemetry.events(Source("x", path), malformed=lambda _what: None))
    assert time.process_time() - began < 3
    assert [one.line for one in found] == events

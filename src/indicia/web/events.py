"""`POST /v1.0/Events`: events in, one JSON object a line, plain, gzip or zstd; and what is in force here.

A request is read while it is matched, in one of a few threads, piece by piece: memory does not grow with it.
While all of them are at work requests wait unread; beyond WAITING of them the answer is 429 with Retry-After.
What was detected is in the store before the answer. Events have ids of their own, so sending them again
changes nothing; under an `Idempotency-Key` the answer, too, is the same for a day.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

import zstandard
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.roles import EVENT_WRITERS, READERS
from indicia.errors import InputError, InvalidValue, NotFound, TooLarge, TooManyRequests, WrongMediaType
from indicia.live import Following, Followings
from indicia.live.intake import Intake, Taken
from indicia.odata import paths
from indicia.odata.format import encode
from indicia.store import Receipt
from indicia.telemetry import inflate
from indicia.telemetry.records import Form
from indicia.web import intake, problems
from indicia.web.gate import Caller, Gate
from indicia.web.metrics import Metrics

THREADS = os.cpu_count() or 1
WAITING = 64
"""Requests that may wait for a thread."""
PIECE = 1 << 20
"""Bytes of a request that are received at once."""
RETRY_SECONDS = 1
GENERATION = "Indicia-Generation"
"""The header that says with which generation of the indicators events were matched."""
KEY = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEY_LIMIT = 256
SOURCE_LIMIT = 200
_FORMS = {"": None, "identity": None, "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
_KINDS = ("", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/json")
_JSON = "application/json; charset=utf-8"


class Events:
    """The routes for events, over live indexes."""

    def __init__(self, gate: Gate, live: Followings, limit: int, metrics: Metrics) -> None:
        self._gate = gate
        self._metrics = metrics
        self._live = live
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="events")
        self._waiting = 0

    def routes(self) -> list[Route]:
        """`Events` and `Index` below every spelling of the version."""
        return [
            Route("/{version}/Events", self.take, methods=["POST"]),
            Route("/{version}/Index", self.index, methods=["GET"]),
        ]

    async def index(self, request: Request) -> Response:
        """GET /v1.0/Index: the generation that is in force in this process, and the store's."""
        _must_be_version(request)
        caller = await run_in_threadpool(self._admit, request, READERS | EVENT_WRITERS)
        return await run_in_threadpool(self._index, caller)

    def _index(self, caller: Caller) -> Response:
        view = self._live.of(caller.tenant).view
        content = {
            "generation": view.generation,
            "storeGeneration": caller.tenant.generation(),
            "indicators": [len(layer) for layer in view.layers],
            "process": os.getpid(),
        }
        return _answer(content, view.generation)

    async def take(self, request: Request) -> Response:
        """POST /v1.0/Events"""
        _must_be_version(request)
        caller = await run_in_threadpool(self._admit, request, EVENT_WRITERS)
        job = self._job(request, caller)
        return await self.run(partial(self._take, job), request)

    def _job(self, request: Request, caller: Caller) -> _Job:
        kind = intake.media_type(request)
        if kind not in _KINDS:
            raise WrongMediaType(
                f"events come as application/x-ndjson, not {kind[:80]}", target="Content-Type"
            )
        source = request.query_params.get("source", "events")
        if not source or len(source) > SOURCE_LIMIT:
            raise InvalidValue(f"must have 1 to {SOURCE_LIMIT} characters", target="source")
        key = request.headers.get(KEY)
        if key is not None and not 0 < len(key) <= KEY_LIMIT:
            raise InvalidValue(f"must have 1 to {KEY_LIMIT} characters", target=KEY)
        return _Job(caller, source, form_of(request), key)

    async def run(self, work: Callable[[Iterator[bytes]], Response], request: Request) -> Response:
        """Do work that reads the body, in a thread of its own kind; TooManyRequests where too many wait."""
        must_fit(request, self._limit)
        if self._waiting >= WAITING:
            raise TooManyRequests("too many events are waiting; send them again", retry_after=RETRY_SECONDS)
        self._count(1)
        try:
            loop = asyncio.get_running_loop()
            pulled = _pulled(request.stream(), loop)
            return await loop.run_in_executor(self._threads, work, pulled)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._waiting += change
        self._metrics.waiting(self._waiting)

    @contextmanager
    def taking(self, live: Following, source: str, form: Form = Form.JSON, **more: int) -> Iterator[Intake]:
        """An intake; what it took is counted, however that ends."""
        intake = Intake(live, source, form, **more)
        try:
            yield intake
        finally:
            self._metrics.took(intake.taken)

    def _admit(self, request: Request, asked: frozenset[str]) -> Caller:
        caller = self._gate.admit(request.headers.get("authorization"))
        caller.require(asked)
        return caller

    def _take(self, job: _Job, body: Iterator[bytes]) -> Response:
        tenant = job.caller.tenant
        before = tenant.receipt(job.key) if job.key else None
        if before is not None:
            return self._again(before, job, body)
        with self.taking(self._live.of(tenant), job.source) as taking:
            for piece in job.read(body, self._limit):
                taking.feed(piece)
            taken = taking.end()
        content = _content(taken)
        if job.key:
            # Another request with the key may have been quicker, in this process or another.
            kept = tenant.keep_receipt(job.key, Receipt(job.digest, json.dumps(content)))
            if kept.digest != job.digest:
                raise _used()
            content = json.loads(kept.answer)
        return _answer(content, taken.generation)

    def _again(self, before: Receipt, job: _Job, body: Iterator[bytes]) -> Response:
        for _ in job.read(body, self._limit):
            pass
        if before.digest != job.digest:
            raise _used()
        content = json.loads(before.answer)
        return _answer(content, content["generation"], {REPLAYED: "true"})

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()


@dataclass
class _Job:
    """One request."""

    caller: Caller
    source: str
    """What the events are of; stands in where they name no machine."""
    form: str | None
    """How they are compressed."""
    key: str | None
    _hash: blake2b = field(default_factory=lambda: blake2b(digest_size=32))

    @property
    def digest(self) -> str:
        """Of the body as it came, once it is read."""
        return self._hash.hexdigest()

    def read(self, body: Iterator[bytes], limit: int) -> Iterator[bytes]:
        """The body, decompressed."""
        return expanded(self._hashed(body) if self.key else body, self.form, limit)

    def _hashed(self, body: Iterator[bytes]) -> Iterator[bytes]:
        for piece in body:
            self._hash.update(piece)
            yield piece
        self._hash.update(self.source.encode("utf-8", "replace"))


def _used() -> InvalidValue:
    return InvalidValue("was used for other events; take another one", target=KEY)


def form_of(request: Request) -> str | None:
    """How a body is compressed; WrongMediaType for a form that is not read."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _FORMS:
        raise WrongMediaType(f"send gzip, zstd or nothing, not {encoding[:40]}", target="Content-Encoding")
    return _FORMS[encoding]


def must_fit(request: Request, limit: int) -> None:
    """Raise TooLarge where a body is announced that is longer than the limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise _too_large(limit)


def expanded(body: Iterator[bytes], form: str | None, limit: int) -> Iterator[bytes]:
    """The body, decompressed, in small pieces. Raises TooLarge beyond the limit, InputError for damage."""
    pieces = _bounded(body, limit)
    if form is None:
        yield from pieces
        return
    raw: io.RawIOBase = _Stream(pieces)
    try:
        yield from _bounded(inflate.blocks(io.BufferedReader(raw), form), limit)
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"damaged {form} data: {error}", target="Content-Encoding") from None


def _bounded(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the events are larger than {limit} bytes; send them in smaller parts")


class _Stream(io.RawIOBase):
    """Pieces as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            found = next(self._pieces, None)
            if found is None:
                return 0
            self._rest = found
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _pulled(stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """A request in pieces, for another thread; one more is received while that works on the one before."""

    async def following() -> bytes:
        parts, size = [], 0
        while size < PIECE and (part := await anext(stream, None)) is not None:
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    received = asyncio.run_coroutine_threadsafe(following(), loop)
    try:
        while piece := received.result():
            received = asyncio.run_coroutine_threadsafe(following(), loop)
            yield piece
    finally:
        received.cancel()


def _content(taken: Taken) -> dict[str, object]:
    return {
        "accepted": taken.accepted,
        "malformed": taken.malformed,
        "malformedLines": taken.lines,
        "reasons": [{"line": line, "reason": reason} for line, reason in taken.reasons],
        "detections": taken.detections,
        "newDetections": taken.recorded,
        "newAlerts": taken.alerts,
        "generation": taken.generation,
    }


def _answer(content: dict[str, object], generation: int, headers: dict[str, str] | None = None) -> Response:
    more = {**problems.HEADERS, GENERATION: str(generation), **(headers or {})}
    return Response(encode(content), 200, more, media_type=_JSON)


def _must_be_version(request: Request) -> None:
    version = str(request.path_params["version"])
    if not paths.version(version):
        raise NotFound(f"there is nothing at /{version[:80]}; the API is at /{paths.VERSION}/")

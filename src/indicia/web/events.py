"""`POST /v1.0/Events`: events in, one JSON object a line, plain, gzip or zstd; and what is in force here.

A request is received without a thread (`web.arriving`), and worked on in steps of about a megabyte, each in
one of a few threads; who has more to do waits in one line with the others. What was detected is in the store
before the answer. Events have ids of their own, so sending them again changes nothing; under an
`Idempotency-Key` the answer, too, is the same for a day.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.roles import EVENT_WRITERS, READERS
from indicia.errors import (
    InvalidValue,
    MatchingFailed,
    NotFound,
    OutcomeUnknown,
    StoreError,
    WrongMediaType,
)
from indicia.live.blocks import Task
from indicia.live.following import Followings
from indicia.live.intake import BLOCK, NUMBERS, Intake, Meet, Taken, meet_here
from indicia.live.matchers import Matchers
from indicia.odata import paths
from indicia.odata.format import encode
from indicia.store import Receipt
from indicia.telemetry.records import Form
from indicia.web import arriving, intake, problems
from indicia.web.arriving import PIECE, Arriving, Expanded, Room, form_of, holding
from indicia.web.gate import Caller, Gate
from indicia.web.metrics import Metrics

THREADS = os.cpu_count() or 1
"""Where no other process matches."""
WAITING = 128
"""Requests that may be here at once; a tenant has as many at the most as are free."""
MEMORY = 512 << 20
"""Bytes that all of them together may hold, shared likewise."""
GENERATION = "Indicia-Generation"
"""The header that says with which generation of the indicators events were matched."""
KEY = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEY_LIMIT = 256
SOURCE_LIMIT = 200
_KINDS = ("", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/json")
_JSON = "application/json; charset=utf-8"


class Work(Protocol):
    """What is to be done with a body, in steps; for one thread at a time."""

    @property
    def held(self) -> int:
        """Bytes that wait in it."""
        ...

    def step(self, data: bytes, last: bool) -> Response | bool:
        """Some of it. The answer, or whether there is more to do, without data, before the next piece."""
        ...

    def close(self) -> None:
        """However it ended."""
        ...


class Events:
    """The routes for events, over live indexes."""

    def __init__(self, gate: Gate, live: Followings, limit: int, metrics: Metrics, matchers: int = 1) -> None:
        """`matchers`: processes that match; 0: this one does."""
        self._gate = gate
        self._metrics = metrics
        self._live = live
        self._limit = limit
        self._threads = ThreadPoolExecutor(matchers or THREADS, thread_name_prefix="events")
        self.matchers = Matchers(matchers, died=metrics.matcher_died, failed=metrics.block_failed)
        self._meet: Meet = self.matchers.meet if matchers else meet_here
        self._places = Room(WAITING, "too many requests with events")
        self._memory = Room(MEMORY, "too many events")

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
        _parameters(request)
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
        source, key = self._asked(request)
        form = form_of(request)

        def work() -> Work:
            return _Taking(self, caller, source, Expanded(form, self._limit), key)

        return await self.run(work, request, caller)

    def _asked(self, request: Request) -> tuple[str, str | None]:
        """What the events are of, and the key of the request."""
        kind = intake.media_type(request)
        if kind not in _KINDS:
            raise WrongMediaType(
                f"events come as application/x-ndjson, not {kind[:80]}", target="Content-Type"
            )
        source = _parameters(request, "source").get("source", "events")
        if not 0 < len(source) <= SOURCE_LIMIT or not source.isprintable():
            raise InvalidValue(f"must have 1 to {SOURCE_LIMIT} printable characters", target="source")
        key = request.headers.get(KEY)
        if key is not None and not 0 < len(key) <= KEY_LIMIT:
            raise InvalidValue(f"must have 1 to {KEY_LIMIT} characters", target=KEY)
        return source, key

    async def _turn(self, work: Work, data: bytes, last: bool) -> Response | bool:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work.step, data, last)
        except OutcomeUnknown as error:  # events may be sent again, whatever was done
            raise StoreError(error.message, retry_after=error.retry_after, away=True) from error

    async def run(self, make: Callable[[], Work], request: Request, caller: Caller) -> Response:
        """Do work with the body. Raises TooManyRequests where too much waits, TooLarge, TooSlow."""
        arriving.must_fit(request, self._limit)
        tenant, size = caller.tenant.uid, _needs(request)
        with holding(self._places, tenant, 1), holding(self._memory, tenant, size) as memory:
            self._metrics.waiting(self._places.used)
            body = Arriving(request)
            work = await run_in_threadpool(make)
            try:
                while True:
                    piece, last = await body.next()
                    found = await self._turn(work, piece, last)
                    while found is True:
                        body.must_be_wanted()
                        found = await self._turn(work, b"", last)
                    if isinstance(found, Response):
                        return found
                    memory.hold(size + max(0, work.held - BLOCK))
            finally:
                body.close()
                work.close()
                self._metrics.waiting(self._places.used - 1)

    def intake(self, caller: Caller, source: str, form: Form = Form.JSON, numbers: int = NUMBERS) -> Intake:
        """Where the events of a request go; the first time of a tenant its index is loaded."""
        return Intake(self._live.of(caller.tenant), source, form, numbers=numbers, meet=self._meet)

    def warm(self) -> None:
        """Have a process start, and see the indexes that are loaded."""
        for live in self._live.all:
            with suppress(MatchingFailed):
                self._meet(b"{}\n", live.view, Task("", live.tenant.uid))

    def took(self, taken: Taken) -> None:
        """Count what came of a request, however it ended."""
        self._metrics.took(taken)

    def _admit(self, request: Request, asked: frozenset[str]) -> Caller:
        caller = self._gate.admit(request.headers.get("authorization"))
        caller.require(asked)
        return caller

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()
        self.matchers.close()


class _Taking:
    """`POST /v1.0/Events`."""

    def __init__(self, events: Events, caller: Caller, source: str, body: Expanded, key: str | None) -> None:
        self._events, self._tenant, self._body, self._key = events, caller.tenant, body, key
        self._source = source
        self._hash = blake2b(digest_size=32)
        self._before = self._tenant.receipt(key) if key else None
        self._intake = events.intake(caller, source)

    @property
    def held(self) -> int:
        return self._intake.held

    def step(self, data: bytes, last: bool) -> Response | bool:
        if self._key:
            self._hash.update(data)
        found, more = self._body.take(data, last)
        if self._before is None:
            self._intake.feed(found)
        if more or not last:
            return more
        return self._end() if self._before is None else self._again(self._before)

    def close(self) -> None:
        self._events.took(self._intake.taken)

    @property
    def _digest(self) -> str:
        """Of the body as it came, once it is read."""
        whole = self._hash.copy()
        whole.update(self._source.encode("utf-8", "replace"))
        return whole.hexdigest()

    def _end(self) -> Response:
        taken = self._intake.end()
        content = _content(taken)
        if self._key:
            # Another request with the key may have been quicker, in this process or another.
            kept = self._tenant.keep_receipt(self._key, Receipt(self._digest, json.dumps(content)))
            if kept.digest != self._digest:
                raise _used()
            content = json.loads(kept.answer)
        return _answer(content, taken.generation)

    def _again(self, before: Receipt) -> Response:
        if before.digest != self._digest:
            raise _used()
        content = json.loads(before.answer)
        return _answer(content, content["generation"], {REPLAYED: "true"})


def _used() -> InvalidValue:
    return InvalidValue("was used for other events; take another one", target=KEY)


def _needs(request: Request) -> int:
    """Bytes that a request holds at the most while its lines have a usual length."""
    size = arriving.announced(request)
    form = form_of(request)
    if form is None and size is not None and size <= PIECE:
        return 2 * size + (1 << 16)
    return 3 * PIECE + BLOCK + (arriving.WINDOW if form == "zstd" else 0)


def _parameters(request: Request, *known: str) -> dict[str, str]:
    """Those of the query. Raises InvalidValue for one that there is not, or that comes twice."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "there is none"
            raise InvalidValue(f"there is no parameter {name[:80]!r}; {there}", target=name[:80])
    if len(dict(given)) < len(given):
        raise InvalidValue("a parameter is given twice")
    return dict(given)


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

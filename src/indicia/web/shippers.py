"""What log shippers send: the bulk API of Elasticsearch and the event collector of Splunk, as far as needed.

    POST /_bulk, /{index}/_bulk        create and index are events; delete and update are refused one by one
    POST /services/collector[/event]   {"event": …} objects, one behind the other; text events are lines

A shipper shows an application's client id and secret (`web.credentials`). Of a bulk request every document
has its own status in the answer. Of Splunk's envelope the event alone is kept: its time, host and source are
taken from the event itself. Line feeds inside of a text event become spaces.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.roles import EVENT_WRITERS
from indicia.errors import InputError
from indicia.live import Followings
from indicia.live.intake import LINE
from indicia.odata.format import encode
from indicia.telemetry.documents import Splitter
from indicia.telemetry.records import Form, decode
from indicia.web import problems
from indicia.web.credentials import Credentials
from indicia.web.events import GENERATION, Events, expanded, form_of
from indicia.web.gate import Caller

_JSON = "application/json; charset=utf-8"
_WITH_DOCUMENT = frozenset({"create", "index", "update"})
_ACTIONS = _WITH_DOCUMENT | {"delete"}
_TAKEN = frozenset({"create", "index"})


class Shippers:
    """The routes of shippers; the work is that of `Events`."""

    def __init__(self, events: Events, credentials: Credentials, live: Followings, limit: int) -> None:
        self._events, self._credentials = events, credentials
        self._live, self._limit = live, limit

    def routes(self) -> list[Route]:
        """Both forms, by the paths that shippers know."""
        collector = ("/services/collector", "/services/collector/event", "/services/collector/event/1.0")
        return [
            Route("/_bulk", self.bulk, methods=["POST", "PUT"]),
            Route("/{index}/_bulk", self.bulk, methods=["POST", "PUT"]),
            *(Route(path, self.collect, methods=["POST"]) for path in collector),
        ]

    async def bulk(self, request: Request) -> Response:
        """POST /_bulk"""
        caller = await run_in_threadpool(self._credentials.admit, request, EVENT_WRITERS)
        work = partial(self._bulk, caller, form_of(request), str(request.path_params.get("index", "events")))
        return await self._events.run(work, request)

    async def collect(self, request: Request) -> Response:
        """POST /services/collector/event"""
        caller = await run_in_threadpool(self._credentials.admit, request, EVENT_WRITERS)
        return await self._events.run(partial(self._collect, caller, form_of(request)), request)

    def _bulk(self, caller: Caller, form: str | None, index: str, body: Iterator[bytes]) -> Response:
        begun = time.monotonic()
        live = self._live.of(caller.tenant)
        items: list[tuple[str, dict[str, Any]]] = []
        documents: list[dict[str, Any]] = []
        """Of each line that was given to the intake, its item."""
        with self._events.taking(live, "bulk", numbers=self._limit) as taking:
            lines = _lines(expanded(body, form, self._limit))
            for line in lines:
                if not line.strip():
                    continue
                action, meta = _action(line, len(items))
                item = {"_index": str(meta.get("_index", index)), "status": 201, "result": "created"}
                items.append((action, item))
                document = next(lines, b"") if action in _WITH_DOCUMENT else None
                if action in _TAKEN and document is not None and document.strip():
                    documents.append(item)
                    taking.feed(document.replace(b"\n", b"") + b"\n")
                else:
                    _refuse(item, f"{action} is not possible here, or the document is missing")
            taken = taking.end()
        for number in taken.lines:
            _refuse(documents[number - 1], "the document is no JSON object")
        wrong = any("error" in item for _, item in items)
        took = int((time.monotonic() - begun) * 1000)
        content = {"took": took, "errors": wrong, "items": [{action: item} for action, item in items]}
        return _answer(content, taken.generation)

    def _collect(self, caller: Caller, form: str | None, body: Iterator[bytes]) -> Response:
        number, splitter, fault = 0, Splitter(), ""
        with self._events.taking(self._live.of(caller.tenant), "collector", Form.LINES) as taking:
            for piece in expanded(body, form, self._limit):
                for _, document in splitter.feed(piece):
                    event = _event(document)
                    if event is None:
                        fault = "an object without an event"
                        break
                    taking.feed(event + b"\n")
                    number += 1
                pending = splitter.pending
                if fault or (pending is not None and pending[1] > LINE):
                    break
            generation = taking.end().generation
        if fault or splitter.pending is not None:
            content = {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
            return _answer(content, generation, 400)
        if not number:
            return _answer({"text": "No data", "code": 5}, generation, 400)
        return _answer({"text": "Success", "code": 0}, generation)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        if b"\n" in piece:
            *whole, last = bytes(rest).split(b"\n")
            yield from whole
            rest = bytearray(last)
        elif len(rest) > LINE:
            raise InputError(f"a line is longer than {LINE} bytes")
    if rest:
        yield bytes(rest)


def _action(line: bytes, number: int) -> tuple[str, dict[str, Any]]:
    try:
        found = decode(line)
    except ValueError:
        found = None
    if isinstance(found, dict) and len(found) == 1:
        ((action, meta),) = found.items()
        if action in _ACTIONS and isinstance(meta, dict):
            return action, meta
    raise InputError(f'item {number} must begin with an action, as {{"create":{{}}}}')


def _refuse(item: dict[str, Any], reason: str) -> None:
    item["status"] = 400
    item.pop("result", None)
    item["error"] = {"type": "document_parsing_exception", "reason": reason}


def _event(document: bytes | str) -> bytes | None:
    """The event of a collector's object as one line; None where there is none."""
    try:
        found = decode(document)
    except ValueError:
        return None
    event = found.get("event") if isinstance(found, dict) else None
    if isinstance(event, str) and event.strip():
        return event.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace")
    return json.dumps(event).encode() if isinstance(event, dict) else None


def _answer(content: dict[str, object], generation: int, status: int = 200) -> Response:
    headers = {**problems.HEADERS, GENERATION: str(generation)}
    return Response(encode(content), status, headers, media_type=_JSON)

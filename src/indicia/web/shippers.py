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
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.roles import EVENT_WRITERS
from indicia.errors import InputError, TooLarge
from indicia.live.intake import LINE
from indicia.odata.format import encode
from indicia.telemetry.documents import Splitter
from indicia.telemetry.records import Form, decode
from indicia.web import problems
from indicia.web.arriving import Expanded, form_of
from indicia.web.credentials import Credentials
from indicia.web.events import GENERATION, Events
from indicia.web.gate import Caller

ITEMS = 100_000
"""Items of one bulk request."""
ITEM_BYTES = 500
"""Of memory that an item needs until it is answered, about."""
INDEX_NAME = 255
"""Characters of an index's name that are said again with each item; Elasticsearch knows no longer ones."""
_JSON = "application/json; charset=utf-8"
_WITH_DOCUMENT = frozenset({"create", "index", "update"})
_ACTIONS = _WITH_DOCUMENT | {"delete"}
_TAKEN = frozenset({"create", "index"})


class Shippers:
    """The routes of shippers; the work is that of `Events`."""

    def __init__(self, events: Events, credentials: Credentials, limit: int) -> None:
        self._events, self._credentials, self._limit = events, credentials, limit

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
        form, index = form_of(request), str(request.path_params.get("index", "events"))
        return await self._events.run(
            lambda: _Bulk(self._events, caller, Expanded(form, self._limit), index), request, caller
        )

    async def collect(self, request: Request) -> Response:
        """POST /services/collector/event"""
        caller = await run_in_threadpool(self._credentials.admit, request, EVENT_WRITERS)
        form = form_of(request)
        return await self._events.run(
            lambda: _Collected(self._events, caller, Expanded(form, self._limit)), request, caller
        )


class _Bulk:
    """Actions and documents, one a line."""

    def __init__(self, events: Events, caller: Caller, body: Expanded, index: str) -> None:
        self._events, self._body, self._index = events, body, index[:INDEX_NAME]
        self._begun = time.monotonic()
        self._rest = bytearray()
        """A line that is not whole yet."""
        self._items: list[tuple[str, dict[str, Any]]] = []
        self._documents: list[dict[str, Any]] = []
        """Of each line that was given to the intake, its item."""
        self._wants: tuple[str, dict[str, Any]] | None = None
        """Action and item whose document is the next line."""
        self._intake = events.intake(caller, "bulk", numbers=ITEMS)

    @property
    def held(self) -> int:
        return self._intake.held + len(self._rest) + len(self._items) * ITEM_BYTES

    def step(self, data: bytes, last: bool) -> Response | bool:
        found, more = self._body.take(data, last)
        for line in self._lines(found):
            self._line(line)
        if more or not last:
            return more
        if self._rest:
            self._line(bytes(self._rest))
        if self._wants is not None:
            self._line(b"")
        return self._end()

    def close(self) -> None:
        self._events.took(self._intake.taken)

    def _lines(self, data: bytes) -> list[bytes]:
        self._rest += data
        if b"\n" in data:
            *whole, last = bytes(self._rest).split(b"\n")
            self._rest = bytearray(last)
            return whole
        if len(self._rest) > LINE:
            raise InputError(f"a line is longer than {LINE} bytes")
        return []

    def _line(self, line: bytes) -> None:
        if self._wants is not None:
            (action, item), self._wants = self._wants, None
            self._document(action, item, line)
        elif line.strip():
            action, meta = _action(line, len(self._items))
            name = str(meta.get("_index", self._index))[:INDEX_NAME]
            item = {"_index": name, "status": 201, "result": "created"}
            self._items.append((action, item))
            if len(self._items) > ITEMS:
                raise TooLarge(f"there are more than {ITEMS} items; send them in smaller parts")
            if action in _WITH_DOCUMENT:
                self._wants = action, item
            else:
                self._document(action, item, b"")

    def _document(self, action: str, item: dict[str, Any], document: bytes) -> None:
        if action in _TAKEN and document.strip():
            self._documents.append(item)
            self._intake.feed(document + b"\n")
        else:
            _refuse(item, f"{action} is not possible here, or the document is missing")

    def _end(self) -> Response:
        taken = self._intake.end()
        for number in taken.lines:
            _refuse(self._documents[number - 1], "the document is no JSON object")
        wrong = any("error" in item for _, item in self._items)
        took = int((time.monotonic() - self._begun) * 1000)
        content = {"took": took, "errors": wrong, "items": [{action: item} for action, item in self._items]}
        return _answer(content, taken.generation)


class _Collected:
    """Splunk's envelopes, one behind the other."""

    def __init__(self, events: Events, caller: Caller, body: Expanded) -> None:
        self._events, self._body = events, body
        self._splitter, self._number = Splitter(), 0
        self._intake = events.intake(caller, "collector", Form.LINES)

    @property
    def held(self) -> int:
        pending = self._splitter.pending
        return self._intake.held + (pending[1] if pending is not None else 0)

    def step(self, data: bytes, last: bool) -> Response | bool:
        found, more = self._body.take(data, last)
        for _, document in self._splitter.feed(found):
            event = _event(document)
            if event is None:
                return self._end(sound=False)
            self._intake.feed(event + b"\n")
            self._number += 1
        pending = self._splitter.pending
        if pending is not None and pending[1] > LINE:
            return self._end(sound=False)
        return more if more or not last else self._end(sound=pending is None)

    def close(self) -> None:
        self._events.took(self._intake.taken)

    def _end(self, *, sound: bool) -> Response:
        generation = self._intake.end().generation
        if not sound:
            content = {"text": "Invalid data format", "code": 6, "invalid-event-number": self._number}
            return _answer(content, generation, 400)
        if not self._number:
            return _answer({"text": "No data", "code": 5}, generation, 400)
        return _answer({"text": "Success", "code": 0}, generation)


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

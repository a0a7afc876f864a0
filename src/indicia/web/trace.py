"""One request from its beginning to the end of its answer: its id, who asks, and what comes of it.

A client names its request by `client-request-id` or `x-request-id`; else it is given a name. The answer has
it as `x-request-id`, and under the name by which it came.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indicia.web import logs
from indicia.web.metrics import OTHER, Metrics

ROUTE = "indicia.route"
"""Where in a scope a handler says of which route a request is, if the router does not know."""
LEFT = 499
"""The status of a request whose client left before it was answered."""
_NAMES = ("client-request-id", "x-request-id")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


@dataclass(slots=True)
class Trace:
    """What is known of a request."""

    id: str
    tenant: str = ""
    client: str = ""


def admitted(tenant: str, client: str) -> None:
    """Who asks is known now."""
    trace = _CURRENT.get()
    if trace is not None:
        trace.tenant, trace.client = tenant, client


def current_id() -> str | None:
    """The id of the request that is being served; None outside of one."""
    trace = _CURRENT.get()
    return None if trace is None else trace.id


class Traced:
    """ASGI middleware around everything: counts and logs each request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Mapping[Callable[..., Any], str]) -> None:
        """`routes`: the template of each endpoint."""
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, ended = time.perf_counter(), LEFT, False
        headers = Headers(scope=scope)
        given = [name for name in _NAMES if _ID.match(headers.get(name, ""))]
        trace = Trace(headers[given[0]] if given else str(uuid4()))
        token = _CURRENT.set(trace)

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._end(scope, trace, status, time.perf_counter() - began)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(raw=message["headers"])
                for name in {"x-request-id", *given}:
                    answer.setdefault(name, trace.id)
            elif not message.get("more_body", False):
                # Before the client has it all, so that whoever has its answer finds it counted.
                end()
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _CURRENT.reset(token)
            end()

    def _end(self, scope: Scope, trace: Trace, status: int, seconds: float) -> None:
        route = scope.get(ROUTE) or self._routes.get(scope.get("endpoint", None), OTHER)
        self._metrics.answered(group(route), status, seconds)
        if logs.REQUESTS.isEnabledFor(20):
            method = scope["method"] if len(scope["method"]) <= 20 else ""
            told = {"id": trace.id, "tenant": trace.tenant, "client": trace.client, "method": method}
            told |= {"route": route, "status": status, "ms": round(seconds * 1000, 1)}
            logs.REQUESTS.info("request", extra={"request": told})


def group(route: str) -> str:
    """The route under which a latency is counted: of the API's many below one entity, the entity's."""
    below = route.split("/")
    if below[1:2] != ["v1.0"] or len(below) <= 3:
        return route
    return "/".join(below if below[3].startswith("Actions.") else [*below[:3], "*"])

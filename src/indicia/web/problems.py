"""Errors as answers: every fault becomes OData's error object, and none leaves as a traceback."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indicia.errors import (
    IndiciaError,
    InputError,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    StoreError,
    TooLarge,
    TooSlow,
    Unauthorized,
    placed,
)
from indicia.odata import format as odata

LOG = logging.getLogger("indicia.web")
LATER_SECONDS = 10
"""After so long who was answered 503 tries again, unless the fault says otherwise."""
HEADERS = {
    "OData-Version": "4.0",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_FRAMEWORK: dict[int, type[IndiciaError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
"""What the web framework itself refuses."""


def answer(fault: IndiciaError, headers: dict[str, str] | None = None) -> Response:
    """The refusal as OData JSON, with Retry-After and WWW-Authenticate where they belong."""
    extra = dict(HEADERS, **(headers or {}))
    if (seconds := later(fault)) is not None:
        extra["Retry-After"] = str(seconds)
    if isinstance(fault, TooSlow):
        extra["Connection"] = "close"  # the rest of the body is not waited for
    if isinstance(fault, Unauthorized):
        extra["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    body = odata.encode(odata.error(fault, _instead(fault)))
    return Response(body, fault.status, extra, media_type="application/json; charset=utf-8")


def later(fault: IndiciaError) -> int | None:
    """Seconds until another try makes sense; what is full, locked or away now may not be so then."""
    if isinstance(fault, OutcomeUnknown):  # clients take Retry-After as leave to send it again
        return None
    unusable = fault.status == HTTPStatus.SERVICE_UNAVAILABLE
    return LATER_SECONDS if fault.retry_after is None and unusable else fault.retry_after


def told(fault: IndiciaError) -> str:
    """What somebody outside is told of a fault."""
    return _instead(fault) or fault.message


def _instead(fault: IndiciaError) -> str | None:
    """What is told instead of the message; where files are is nothing for clients."""
    if not isinstance(fault, StoreError):
        return None
    if isinstance(fault, OutcomeUnknown):
        return "the server of the store was lost before it answered; look whether it was done"
    if fault.away:
        return "the server of the store is away at the moment; try again"
    if fault.retry_after is not None:
        return "the store is busy with another write; try again"
    return "the store cannot be used at the moment; the service's log says why"


class Guard:
    """ASGI middleware: whatever the application raises is answered, and logged without its content.

    Messages of unforeseen exceptions may hold telemetry or indicators, so the log has the exception's type
    and the code lines that it went through, nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except ClientDisconnect:
            return
        except Exception as error:  # the last place that can still answer
            response = _for(error)
            if not started:
                await response(scope, receive, send)


def _for(error: Exception) -> Response:
    if isinstance(error, IndiciaError):
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(error, StoreError):
            LOG.error("store: %s", error)
        return answer(error)
    if isinstance(error, HTTPException):
        leaf = _FRAMEWORK.get(error.status_code, InputError)
        return answer(leaf(HTTPStatus(error.status_code).phrase), dict(error.headers or {}))
    LOG.error("%s", placed(error))
    return answer(IndiciaError("an unforeseen error; the service's log has the place"))

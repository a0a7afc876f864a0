"""The application: which path goes where."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from indicia import __version__
from indicia.live import Followings
from indicia.odata import paths
from indicia.odata.format import encode
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import openapi, siem
from indicia.web.api.dispatch import TiApi
from indicia.web.discovery import Discovery
from indicia.web.events import Events
from indicia.web.gate import Gate, external_issuers, issuer_of
from indicia.web.grants import Grants
from indicia.web.problems import Guard
from indicia.web.shippers import Shippers
from indicia.web.token import TokenEndpoint
from indicia.web.waiting import Waiting


def create(settings: Settings, store: Store) -> Starlette:
    """The ASGI application over an open store, which stays the caller's to close."""
    issuer = issuer_of(settings, store)
    grants = Grants(store, issuer)
    gate = Gate(store, issuer, external_issuers(settings))
    live = Followings(store, settings.database_url, settings.home)
    events = Events(gate, live, settings.max_event_bytes)

    async def health(_request: Request) -> Response:
        """200 while the store can be read; the Guard answers 503 where it cannot."""
        await run_in_threadpool(store.signing_keys)
        return Response(encode({"status": "ok", "version": __version__}), media_type="application/json")

    api = Waiting(TiApi(settings, gate), gate, live)
    application = Starlette(
        routes=[
            *events.routes(),
            _First(api),
            Route("/health", health),
            openapi.route(),
            siem.Pull(gate).route(),
            *TokenEndpoint(grants, issuer).routes(),
            *Discovery(grants, issuer).routes(),
            *Shippers(events, gate, grants, live, settings.max_body_bytes).routes(),
        ],
        middleware=[Middleware(Guard)],
    )
    application.router.redirect_slashes = False
    application.router.default = api
    application.state.live, application.state.events = live, events
    return application


def close(application: Starlette) -> None:
    """Finish what was begun, and stop what runs beside requests."""
    application.state.events.close()
    application.state.live.close()


class _First(BaseRoute):
    """The API before all other routes, because most requests are for it; its errors are those of any path."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path begins with the version."""
        ours = scope["type"] == "http" and paths.version(scope["path"][1 : 1 + len(paths.VERSION)])
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._api(scope, receive, send)

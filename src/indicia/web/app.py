"""The application: which path goes where."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from indicia import __version__
from indicia.auth.roles import ADMINS
from indicia.errors import InputError, StoreError
from indicia.live import courier
from indicia.live.following import Followings
from indicia.odata import paths
from indicia.odata.format import encode
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import openapi, portal, siem
from indicia.web.api.dispatch import TABLE, TiApi
from indicia.web.credentials import Credentials
from indicia.web.crew import Crew
from indicia.web.discovery import Discovery
from indicia.web.events import Events
from indicia.web.gate import Gate, external_issuers, issuer_of
from indicia.web.grants import Grants
from indicia.web.metrics import MEDIA_TYPE, Metrics
from indicia.web.problems import Guard, told
from indicia.web.shippers import Shippers
from indicia.web.token import TokenEndpoint
from indicia.web.trace import Traced, group
from indicia.web.waiting import Waiting

LOG = logging.getLogger("indicia.web")
MOST_MATCHERS = 64
LOADING_SECONDS = 1
"""After so long who asks whether the service is ready asks again."""


def create(settings: Settings, store: Store, crew: Crew | None = None) -> Starlette:
    """The ASGI application over an open store, which stays the caller's to close.

    `crew`: what this process shares with the other workers of the same service.
    """
    crew = (crew or Crew()).over(store)
    issuer = issuer_of(settings, store)
    grants = Grants(store, issuer, crew.attempts, crew.assertions)
    gate = Gate(store, issuer, external_issuers(settings))
    credentials = Credentials(gate, grants)
    metrics = Metrics(crew.board, crew.number)
    live = Followings(store, settings.database_url, settings.home, metrics.following)
    matchers = _matchers(settings)
    events = Events(gate, live, settings.max_event_bytes, metrics, matchers)
    api = Waiting(TiApi(settings, gate), gate, live)
    door = portal.door(settings, store, crew.sign_ins, live, grants)
    routes = [
        *events.routes(),
        _First(api),
        *_states(store, live),
        _metrics_route(metrics, credentials, store),
        openapi.route(),
        siem.Pull(gate).route(),
        *door.routes(),
        *TokenEndpoint(grants, issuer).routes(),
        *Discovery(grants, issuer).routes(),
        *Shippers(events, credentials, settings.max_body_bytes).routes(),
    ]
    templates = {route.endpoint: route.path for route in reversed(routes) if isinstance(route, Route)}
    metrics.name(
        [*templates.values(), *door.templates(), *(group(f"/{paths.VERSION}/{shape}") for shape in TABLE)]
    )
    traced = Middleware(Traced, metrics=metrics, routes=templates)
    application = Starlette(routes=routes, middleware=[traced, Middleware(Guard)])
    application.router.redirect_slashes = False
    application.router.default = api
    application.state.live, application.state.events, application.state.door = live, events, door
    return application


def _matchers(settings: Settings) -> int:
    if not 0 <= settings.matchers <= MOST_MATCHERS:
        raise InputError(f"must be from 0 to {MOST_MATCHERS}, not {settings.matchers}", place="matchers")
    return settings.matchers


def preload(application: Starlette) -> None:
    """Load the indexes that are on the disk, and have ready what the first events and pages need."""
    application.state.live.preload()
    application.state.events.warm()
    application.state.door.warm()


def close(application: Starlette) -> None:
    """Finish what was begun, and stop what runs beside requests."""
    application.state.events.close()
    application.state.live.close()
    application.state.door.close()


def _states(store: Store, live: Followings) -> list[Route]:
    """`/health` and `/ready`, for who looks after the service."""

    async def health(_request: Request) -> Response:
        """200 while the process answers."""
        return _state("ok", 200)

    async def ready(_request: Request) -> Response:
        """200 while the store can be read and indexes are loaded; 503 says what is wrong."""
        try:
            await run_in_threadpool(store.signing_keys)
        except StoreError as fault:
            LOG.error("store: %s", fault)
            return _state(told(fault), 503)
        return _state("ready", 200) if live.loaded.is_set() else _state("loading", 503)

    return [Route("/health", health), Route("/ready", ready)]


def _state(status: str, code: int) -> Response:
    headers = {"Cache-Control": "no-store"} | ({} if code == 200 else {"Retry-After": str(LOADING_SECONDS)})
    content = encode({"status": status, "version": __version__})
    return Response(content, code, headers, media_type="application/json")


def _metrics_route(metrics: Metrics, credentials: Credentials, store: Store) -> Route:
    def text() -> str:
        backlogs = [one for tenant in store.sending() for one in tenant.outbox.backlogs()]
        sources = [one for tenant in store.tenants() for one in store.tenant(tenant.uid).overview.sources()]
        return metrics.text(backlogs, sources, store.turn_of(courier.TURN))

    async def answer(request: Request) -> Response:
        """GET /metrics"""
        await run_in_threadpool(credentials.admit, request, ADMINS)
        content = await run_in_threadpool(text)
        return Response(content, headers={"Cache-Control": "no-store", "Content-Type": MEDIA_TYPE})

    return Route("/metrics", answer)


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

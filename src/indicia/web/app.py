"""The application: which path goes where."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia import __version__
from indicia.odata.format import encode
from indicia.settings import Settings
from indicia.store import Store
from indicia.web.api.dispatch import TiApi
from indicia.web.discovery import Discovery
from indicia.web.gate import Gate, external_issuers, issuer_of
from indicia.web.grants import Grants
from indicia.web.problems import Guard
from indicia.web.token import TokenEndpoint


def create(settings: Settings, store: Store) -> Starlette:
    """The ASGI application over an open store, which stays the caller's to close."""
    issuer = issuer_of(settings, store)
    grants = Grants(store, issuer)

    async def health(_request: Request) -> Response:
        """200 while the store can be read; the Guard answers 503 where it cannot."""
        await run_in_threadpool(store.signing_keys)
        return Response(encode({"status": "ok", "version": __version__}), media_type="application/json")

    application = Starlette(
        routes=[
            Route("/health", health),
            *TokenEndpoint(grants, issuer).routes(),
            *Discovery(grants, issuer).routes(),
        ],
        middleware=[Middleware(Guard)],
    )
    application.router.redirect_slashes = False
    application.router.default = TiApi(settings, Gate(store, issuer, external_issuers(settings)))
    return application

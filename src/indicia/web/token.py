"""The token endpoints as Azure AD has them.

    POST /{tenant}/oauth2/token                  v1: `resource`, every number a string
    POST /{tenant}/oauth2/v2.0/token             v2: `scope`, numbers

Unknown parameters are accepted. `grants` decides, `refusals` words what is refused.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth.tokens import Issuer, Version
from indicia.errors import GrantRefused, StoreError, TooLarge, TooManyRequests
from indicia.web import intake, refusals
from indicia.web.grants import Ask, Given, Grants, missing

FORM = "application/x-www-form-urlencoded"
BODY_LIMIT = 64 * 1024
FIELD_LIMIT = 100


class TokenEndpoint:
    """The grants, over HTTP."""

    def __init__(self, grants: Grants, issuer: Issuer) -> None:
        self._grants = grants
        self._issuer = issuer

    def routes(self) -> list[Route]:
        """The paths that this endpoint serves, by any method, because each refusal is in its own words."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return [
            Route("/{tenant}/oauth2/token", self._v1, methods=methods),
            Route("/{tenant}/oauth2/v2.0/token", self._v2, methods=methods),
        ]

    async def _v1(self, request: Request) -> Response:
        return await self._answer(request, "1.0")

    async def _v2(self, request: Request) -> Response:
        return await self._answer(request, "2.0")

    async def _answer(self, request: Request, version: Version) -> Response:
        form: dict[str, str] = {}
        try:
            form = await _form(request)
            _add_basic(form, request.headers.get("authorization", ""))
            address = request.client.host if request.client else ""
            ask = Ask(request.path_params["tenant"], form, version, address)
            given = await run_in_threadpool(self._grants.answer, ask)
        except (GrantRefused, TooManyRequests, TooLarge, StoreError) as fault:
            return refusals.answer(fault, request, form, self._issuer.base_url)
        return refusals.json(v1_answer(given) if version == "1.0" else _v2_answer(given))


def v1_answer(given: Given) -> dict[str, Any]:
    """As the published pages show it: strings for numbers."""
    issued = given.issued
    return {
        "token_type": "Bearer",
        "expires_in": str(issued.expires_on - issued.not_before),
        "ext_expires_in": "0",
        "expires_on": str(issued.expires_on),
        "not_before": str(issued.not_before),
        "resource": given.grant.resource,
        "access_token": issued.token,
        **({"refresh_token": given.refresh_token} if given.refresh_token else {}),
    }


def _v2_answer(given: Given) -> dict[str, Any]:
    seconds = given.issued.expires_on - given.issued.not_before
    more = {"scope": f"{given.grant.resource}/.default", "refresh_token": given.refresh_token}
    return {
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "access_token": given.issued.token,
        **(more if given.refresh_token else {}),
    }


async def _form(request: Request) -> dict[str, str]:
    """The parameters of the body; raises GrantRefused where it is no form or names one of them twice."""
    if request.method != "POST":
        raise GrantRefused(
            "invalid_request",
            900561,
            f"The endpoint only accepts POST requests. Received a {request.method[:20]} request.",
        )
    body = await intake.body(request, BODY_LIMIT)
    if intake.media_type(request) != FORM:
        raise missing("grant_type")
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=FIELD_LIMIT
        )
    except ValueError:
        raise GrantRefused("invalid_request", 9000410, "Malformed form in the request body.") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise GrantRefused(
                "invalid_request",
                9000411,
                f"The request is not properly formatted. The parameter '{name[:80]}' is duplicated.",
            )
        form[name] = value
    return form


def _add_basic(form: dict[str, str], authorization: str) -> None:
    """client_secret_basic (RFC 6749 2.3.1), where the form itself has no secret."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or "client_secret" in form:
        return
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = name = secret = ""
    if not colon or form.setdefault("client_id", unquote_plus(name)) != unquote_plus(name):
        raise GrantRefused(
            "invalid_client", 7000215, "The Authorization header is malformed, or names another client_id."
        )
    form["client_secret"] = unquote_plus(secret)

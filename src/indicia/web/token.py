"""The token endpoints as Azure AD has them, and what clients discover about them.

    POST /{tenant}/oauth2/token                  v1: `resource`, every number a string
    POST /{tenant}/oauth2/v2.0/token             v2: `scope`, numbers
    GET  /{tenant}/.well-known/openid-configuration, /{tenant}/v2.0/.well-known/openid-configuration
    GET  /{tenant}/discovery/keys, /{tenant}/discovery/v2.0/keys

Unknown parameters are accepted. Refusals are 401 for invalid_client, else 400.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID, uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth import keys, secrets
from indicia.auth.tokens import RESOURCES, Grant, Issued, Issuer, Version
from indicia.errors import GrantRefused, NotFound
from indicia.odata.format import encode
from indicia.store import Application, Secret, Store
from indicia.web import intake

FORM = "application/x-www-form-urlencoded"
BODY_LIMIT = 64 * 1024
FIELD_LIMIT = 100
DEFAULT_SCOPE = "/.default"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff"}


EXPLAINED: Mapping[str, str] = {
    "70003": "Ask for grant_type=client_credentials.",
    "90002": "Use the tenant_id that `indicia init` saved, or the tenant's name.",
    "500011": "Ask for the resource https://graph.windows.net, https://graph.microsoft.com or this service.",
    "700016": "Use the client_id that `indicia init` or `indicia clients add` gave, with its own tenant.",
    "900144": "Send the parameters as application/x-www-form-urlencoded.",
    "1002012": "Ask for a scope such as https://graph.microsoft.com/.default.",
    "7000112": "The application was revoked; make another one: indicia clients add.",
    "7000215": "Send the secret as it was shown once; a lost one is replaced: indicia clients secret.",
    "7000216": "Send client_secret in the form, or by HTTP Basic.",
    "7000222": "The secret has expired; make a new one: indicia clients secret.",
    "9000410": "Send a well-formed form in UTF-8.",
    "9000411": "Send each parameter once.",
}
"""What to do about each refusal; `error_uri` leads here."""


class TokenEndpoint:
    """Grants tokens to the applications of a store."""

    def __init__(self, store: Store, issuer: Issuer) -> None:
        self._store = store
        self._issuer = issuer

    def routes(self) -> list[Route]:
        """The paths that this endpoint serves."""
        return [
            Route("/{tenant}/oauth2/token", self._v1, methods=["POST"]),
            Route("/{tenant}/oauth2/v2.0/token", self._v2, methods=["POST"]),
            Route("/{tenant}/.well-known/openid-configuration", self._discover_v1),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self._discover_v2),
            Route("/{tenant}/discovery/keys", self._keys),
            Route("/{tenant}/discovery/v2.0/keys", self._keys),
            Route("/error", self._explain),
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
            tenant = request.path_params["tenant"]
            grant, issued = await run_in_threadpool(self._grant, tenant, form, version)
        except GrantRefused as refused:
            return self._refusal(refused, _correlation(request, form))
        content = _v1_answer(grant, issued) if version == "1.0" else _v2_answer(issued)
        return _json(content)

    def _grant(self, tenant: str, form: Mapping[str, str], version: Version) -> tuple[Grant, Issued]:
        uid = self._tenant(tenant)
        kind = _needed(form, "grant_type")
        if kind != "client_credentials":
            raise GrantRefused(
                "unsupported_grant_type",
                70003,
                f"The app requested an unsupported grant type '{kind[:80]}'; use client_credentials.",
            )
        application, secret = self._client(uid, form)
        resource = self._resource(form) if version == "1.0" else self._scope(form)
        grant = Grant(uid, application.client_id, secret.id, application.roles, resource, version)
        return grant, self._issuer.issue(grant)

    def _tenant(self, name: str) -> str:
        try:
            return self._store.tenant(name).uid
        except NotFound:
            raise GrantRefused(
                "invalid_request",
                90002,
                f"Tenant '{name[:80]}' not found. Check to make sure you have the correct tenant ID.",
            ) from None

    def _client(self, tenant: str, form: Mapping[str, str]) -> tuple[Application, Secret]:
        client_id = _needed(form, "client_id")
        application = self._store.application(client_id)
        if application is None or application.tenant_uid != tenant:
            raise GrantRefused(
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id[:80]}' was not found in the directory '{tenant}'.",
            )
        if application.revoked_at is not None:
            raise GrantRefused("unauthorized_client", 7000112, f"Application '{client_id}' is disabled.")
        if not form.get("client_secret"):
            raise GrantRefused(
                "invalid_client",
                7000216,
                "'client_secret' is required for the 'client_credentials' grant type; "
                "certificates ('client_assertion') are not supported yet.",
            )
        return application, _secret(application, form["client_secret"])

    def _resource(self, form: Mapping[str, str]) -> str:
        """v1 names the resource itself; without one Azure AD means its graph, and so do the samples."""
        resource = form.get("resource") or RESOURCES[0]
        if not self._issuer.knows(resource.removesuffix(DEFAULT_SCOPE)):
            raise GrantRefused(
                "invalid_resource",
                500011,
                f"The resource principal named {resource[:200]} was not found. "
                f"Known: {', '.join((*RESOURCES, self._issuer.base_url))}.",
            )
        return resource.removesuffix(DEFAULT_SCOPE)

    def _scope(self, form: Mapping[str, str]) -> str:
        """v2 names it as `RESOURCE/.default`; OpenID's own scopes beside it say nothing here."""
        scope = _needed(form, "scope")
        named = [part for part in scope.split() if part not in ("openid", "profile", "offline_access")]
        resource = named[0].removesuffix(DEFAULT_SCOPE) if len(named) == 1 else ""
        if not resource or resource == named[0]:
            raise GrantRefused(
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope[:200]} is not valid. Client credential flows must have "
                "a scope value with /.default suffixed to the resource identifier (application ID URI).",
            )
        return self._resource({"resource": resource})

    def _refusal(self, refused: GrantRefused, correlation: str) -> Response:
        trace, moment = str(uuid4()), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        description = (
            f"AADSTS{refused.aadsts}: {refused.message}\r\nTrace ID: {trace}\r\n"
            f"Correlation ID: {correlation}\r\nTimestamp: {moment}"
        )
        content = {
            "error": refused.error,
            "error_description": description,
            "error_codes": [refused.aadsts],
            "timestamp": moment,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"{self._issuer.base_url}/error?code={refused.aadsts}",
        }
        response = _json(content, refused.http_status)
        if refused.http_status == 401:
            response.headers["WWW-Authenticate"] = 'Basic realm="Indicia"'
        return response

    async def _discover_v1(self, request: Request) -> Response:
        return await self._discover(request, "1.0")

    async def _discover_v2(self, request: Request) -> Response:
        return await self._discover(request, "2.0")

    async def _discover(self, request: Request, version: Version) -> Response:
        """OpenID Connect Discovery 1.0, 4.2; clients insist on an `authorization_endpoint`."""
        try:
            uid = await run_in_threadpool(self._tenant, request.path_params["tenant"])
        except GrantRefused as refused:
            return self._refusal(refused, _correlation(request, {}))
        base, step = f"{self._issuer.base_url}/{uid}", "/v2.0" if version == "2.0" else ""
        return _json(
            {
                "issuer": self._issuer.issuer(uid, version),
                "authorization_endpoint": f"{base}/oauth2{step}/authorize",
                "token_endpoint": f"{base}/oauth2{step}/token",
                "jwks_uri": f"{base}/discovery{step}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "grant_types_supported": ["client_credentials"],
                "response_types_supported": ["token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _keys(self, request: Request) -> Response:
        """The public keys (RFC 7517): the same for every tenant, so an unknown one is not told."""
        version: Version = "2.0" if "/v2.0/" in request.url.path else "1.0"
        issuer = self._issuer.issuer("{tenantid}", version)
        return _json({"keys": [keys.public_jwk(key, issuer) for key in self._issuer.keys.values()]})

    async def _explain(self, request: Request) -> Response:
        code = request.query_params.get("code", "")
        if code not in EXPLAINED:
            return _json({"error": "there is no explanation of that code"}, 404)
        return _json({"code": f"AADSTS{code}", "explanation": EXPLAINED[code]})


def _v1_answer(grant: Grant, issued: Issued) -> dict[str, Any]:
    return {
        "token_type": "Bearer",
        "expires_in": str(issued.expires_on - issued.not_before),
        "ext_expires_in": "0",
        "expires_on": str(issued.expires_on),
        "not_before": str(issued.not_before),
        "resource": grant.resource,
        "access_token": issued.token,
    }


def _v2_answer(issued: Issued) -> dict[str, Any]:
    seconds = issued.expires_on - issued.not_before
    return {
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "access_token": issued.token,
    }


async def _form(request: Request) -> dict[str, str]:
    """The parameters of the body; raises GrantRefused where it is no form or names one of them twice."""
    body = await intake.body(request, BODY_LIMIT)
    if intake.media_type(request) != FORM:
        raise _missing("grant_type")
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


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise _missing(name)
    return value


def _missing(name: str) -> GrantRefused:
    return GrantRefused(
        "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'."
    )


def _secret(application: Application, given: str) -> Secret:
    position = secrets.held(given, [secret.hash for secret in application.secrets])
    found = None if position is None else application.secrets[position]
    if found is None or found.revoked_at is not None:
        raise GrantRefused(
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client "
            f"secret value, not the client secret ID, for a secret added to app '{application.client_id}'.",
        )
    if not found.holds(datetime.now(UTC)):
        raise GrantRefused(
            "invalid_client",
            7000222,
            f"The provided client secret keys for app '{application.client_id}' are expired. "
            "Make a new one: indicia clients secret.",
        )
    return found


def _correlation(request: Request, form: Mapping[str, str]) -> str:
    """The client's own id for the request, where it is a UUID; else a new one."""
    given = (
        request.headers.get("client-request-id")
        or request.query_params.get("client-request-id")
        or form.get("client-request-id", "")
    )
    try:
        return str(UUID(given))
    except ValueError:
        return str(uuid4())


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(encode(content), status, NO_STORE, media_type="application/json; charset=utf-8")

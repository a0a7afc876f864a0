"""What clients discover about the token endpoints: OpenID configuration, keys, instances, explanations.

    GET /{tenant}/.well-known/openid-configuration       v1; below /{tenant}/v2.0/ and
    GET /{tenant}/oauth2/v2.0/… and /{tenant}/oauth2/…   where OAuth libraries look for it, too
    GET /{tenant}/discovery/keys, /{tenant}/discovery/v2.0/keys
    GET /common/discovery/instance                       what adal and msal ask a host whether it is one

`common`, `organizations` and `consumers` stand for any tenant; their issuer is a template, as Azure AD's is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia.auth import keys, roles
from indicia.auth.tokens import Issuer, Version
from indicia.errors import GrantRefused
from indicia.web import refusals
from indicia.web.grants import ANY_TENANT, Grants

TEMPLATE = "{tenantid}"


class Discovery:
    """Describes the token endpoints of an issuer."""

    def __init__(self, grants: Grants, issuer: Issuer) -> None:
        self._grants = grants
        self._issuer = issuer

    def routes(self) -> list[Route]:
        """The paths that are served."""
        known = ".well-known"
        return [
            Route(f"/{{tenant}}/{known}/openid-configuration", self._v1),
            Route(f"/{{tenant}}/{known}/oauth-authorization-server", self._v1),
            Route(f"/{{tenant}}/oauth2/{known}/openid-configuration", self._v1),
            Route(f"/{{tenant}}/v2.0/{known}/openid-configuration", self._v2),
            Route(f"/{{tenant}}/v2.0/{known}/oauth-authorization-server", self._v2),
            Route(f"/{{tenant}}/oauth2/v2.0/{known}/openid-configuration", self._v2),
            Route("/{tenant}/discovery/keys", self._keys_v1),
            Route("/{tenant}/discovery/v2.0/keys", self._keys_v2),
            Route("/{tenant}/discovery/instance", self._instance),
            Route("/{tenant}/oauth2/authorize", self._authorize),
            Route("/{tenant}/oauth2/v2.0/authorize", self._authorize),
            Route("/error", self._explain),
        ]

    async def _v1(self, request: Request) -> Response:
        return await self._describe(request, "1.0")

    async def _v2(self, request: Request) -> Response:
        return await self._describe(request, "2.0")

    async def _describe(self, request: Request, version: Version) -> Response:
        """OpenID Connect Discovery 1.0, 4.2; clients insist on an `authorization_endpoint`."""
        named = request.path_params["tenant"]
        try:
            if named.lower() in ANY_TENANT:
                return refusals.json(self._configuration(request, named.lower(), TEMPLATE, version))
            uid = (await run_in_threadpool(self._grants.tenant, named)).uid
        except GrantRefused as refused:
            return refusals.answer(refused, request, {}, self._issuer.base_url)
        return refusals.json(self._configuration(request, uid, uid, version))

    def _configuration(self, request: Request, named: str, uid: str, version: Version) -> Mapping[str, Any]:
        base, step = f"{self._base(request)}/{named}", "/v2.0" if version == "2.0" else ""
        return {
            "issuer": self._issuer.issuer(uid, version),
            "authorization_endpoint": f"{base}/oauth2{step}/authorize",
            "token_endpoint": f"{base}/oauth2{step}/token",
            "jwks_uri": f"{base}/discovery{step}/keys",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "client_secret_basic",
                "private_key_jwt",
            ],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "response_types_supported": ["token"],
            "response_modes_supported": ["query"],
            "scopes_supported": ["openid", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["aud", "exp", "iat", "iss", "nbf", "oid", "roles", "sub", "tid", "ver"],
            "app_roles_supported": list(roles.ALL),
        }

    def _base(self, request: Request) -> str:
        """The URL by which the client came, where it is one of ours: its certificate check holds there."""
        came = f"{request.scope['scheme']}://{request.headers.get('host', '').lower()}"
        return came if came in self._issuer.bases else self._issuer.base_url

    async def _keys_v1(self, request: Request) -> Response:
        return await run_in_threadpool(self._keys, "1.0")

    async def _keys_v2(self, request: Request) -> Response:
        return await run_in_threadpool(self._keys, "2.0")

    def _keys(self, version: Version) -> Response:
        """The public keys (RFC 7517): the same for every tenant, so an unknown one is not told."""
        issuer = self._issuer.issuer(TEMPLATE, version)
        return refusals.json({"keys": [keys.public_jwk(key, issuer) for key in self._issuer.ring.every()]})

    async def _instance(self, request: Request) -> Response:
        """Whether the host of `authorization_endpoint` is an authority: ours is, no other."""
        host, path = _split(request.query_params.get("authorization_endpoint", ""))
        # msal leaves the port out, so the name alone is compared.
        base = next((one for one in self._issuer.bases if host and host == _split(one)[0]), None)
        if base is None:
            refused = GrantRefused(
                "invalid_instance",
                50049,
                "Unknown or invalid instance; this service knows itself alone: "
                f"{', '.join(self._issuer.bases)}.",
            )
            return refusals.answer(refused, request, {}, self._issuer.base_url)
        host = base.partition("://")[2]
        named = path.strip("/").partition("/")[0] or "common"
        step = "/v2.0" if "/v2.0/" in path else ""
        return refusals.json(
            {
                "tenant_discovery_endpoint": f"{base}/{named}{step}/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )

    async def _authorize(self, request: Request) -> Response:
        """Nobody signs in here: applications alone get tokens."""
        refused = GrantRefused(
            "unsupported_response_type",
            700051,
            "This service has no sign-in page; use grant_type=client_credentials at the token endpoint.",
        )
        return refusals.answer(refused, request, {}, self._issuer.base_url)

    async def _explain(self, request: Request) -> Response:
        code = request.query_params.get("code", "")
        if code not in refusals.EXPLAINED:
            return refusals.json({"error": "there is no explanation of that code"}, 404)
        return refusals.json({"code": f"AADSTS{code}", "explanation": refusals.EXPLAINED[code]})


def _split(url: str) -> tuple[str, str]:
    """Host and path; both empty where it is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.hostname or "", parts.path

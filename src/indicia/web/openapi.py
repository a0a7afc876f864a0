"""What the service answers beside OData, as an OpenAPI 3.1 document: tokens, events, health and more.

OData describes itself at /v1.0/$metadata. A test walks the routes of the application and this document, and
another lets schemathesis hold the two together against a running service.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indicia import __version__
from indicia.odata.format import encode
from indicia.web import refusals, siem

Node = Mapping[str, Any]
_JSON = "application/json"
_TEXT: Node = {"type": "string"}


async def serve(_request: Request) -> Response:
    """GET /openapi.json"""
    return Response(_encoded(), media_type=_JSON)


def route() -> Route:
    """Where the document is."""
    return Route("/openapi.json", serve)


@cache
def _encoded() -> bytes:
    return encode(document())


def document() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Indicia beside OData",
            "version": __version__,
            "description": "Tokens, discovery, events and health. The threat intelligence API is OData: "
            "/v1.0/ and /v1.0/$metadata describe it.",
        },
        "paths": _paths(),
        "components": {"schemas": _SCHEMAS},
    }


def _paths() -> dict[str, Node]:
    known = ".well-known"
    configurations = [
        f"/{known}/openid-configuration",
        f"/{known}/oauth-authorization-server",
        f"/oauth2/{known}/openid-configuration",
        f"/v2.0/{known}/openid-configuration",
        f"/v2.0/{known}/oauth-authorization-server",
        f"/oauth2/v2.0/{known}/openid-configuration",
    ]
    refused = {"400": _answer("A refusal as Azure AD words it", "Refusal")}
    described = _answer("The OpenID configuration", "Configuration")
    return {
        "/health": _get("Whether the process answers", {"200": _answer("It does", "State")}),
        "/ready": _get(
            "Whether the store can be read and indexes are loaded",
            {"200": _answer("They are", "State"), **_UNUSABLE},
        ),
        "/metrics": _get("Numbers for Prometheus", {"200": _METRICS, **_NOT_ADMITTED, **_UNUSABLE}),
        **_events(),
        "/openapi.json": _get("This document", {"200": _answer("It", "Anything")}),
        "/{tenant}/oauth2/token": _token("v1", "A token; every number is a text", "TokenV1"),
        "/{tenant}/oauth2/v2.0/token": _token("v2", "A token", "TokenV2"),
        **{
            f"/{{tenant}}{path}": _of_tenant("What clients discover", {"200": described, **refused})
            for path in configurations
        },
        **{
            f"/{{tenant}}/discovery/{path}": _of_tenant("The public keys", {"200": _answer("Keys", "Keys")})
            for path in ("keys", "v2.0/keys")
        },
        "/{tenant}/discovery/instance": _of_tenant(
            "Whether the host of an authority is this service",
            {"200": _answer("It is", "Anything"), **refused},
            {"name": "authorization_endpoint", "in": "query", "schema": _TEXT},
        ),
        **{
            f"/{{tenant}}/oauth2/{path}": _of_tenant("Nobody signs in here", refused)
            for path in ("authorize", "v2.0/authorize")
        },
        "/api/alerts": _get(
            "Detections as SIEM tools pull them",
            {
                "200": _answer("Detections, the oldest first", "Detections"),
                **{code: _answer(words, "ODataError") for code, words in _PULL_REFUSED.items()},
                **_UNUSABLE,
            },
            *({"name": name, "in": "query", "schema": kind} for name, kind in _PULL.items()),
        ),
        "/error": _get(
            "What to do about a refusal",
            {"200": _answer("The explanation", "Explanation"), "404": _answer("There is none", "Anything")},
            {"name": "code", "in": "query", "schema": _TEXT, "example": "7000215"},
        ),
    }


def _events() -> dict[str, Node]:
    """What takes events, and what is in force for them."""
    version = {"name": "version", "in": "path", "required": True, "schema": {"const": "v1.0"}}
    index = {"name": "index", "in": "path", "required": True, "schema": _PLAIN, "example": "logs"}
    refused = {
        "400": _answer("Damaged, or no such request", "Anything"),
        "413": _answer("Too large", "ODataError"),
        "415": _answer("Of another kind", "ODataError"),
        "429": _answer("Too many wait; Retry-After says how long", "ODataError"),
        **_NOT_ADMITTED,
        **_UNUSABLE,
    }
    bulk = {"200": _answer("A status for each document", "Bulk"), **refused}
    collected = {"200": _answer("They are taken", "Collected"), **refused}
    return {
        "/{version}/Events": _post("Events, a JSON object a line", {"200": _TAKEN, **refused}, version),
        "/{version}/Index": _get(
            "What is in force in this process",
            {"200": _answer("It", "Index"), **_NOT_ADMITTED, "404": _answer("No such version", "ODataError")},
            version,
        ),
        "/_bulk": _post("Events as Elasticsearch takes them", bulk),
        "/{index}/_bulk": _post("Events as Elasticsearch takes them", bulk, index),
        **{
            f"/services/collector{path}": _post("Events as Splunk takes them", collected)
            for path in ("", "/event", "/event/1.0")
        },
    }


def _post(summary: str, responses: Node, *parameters: Node) -> Node:
    body = {"content": {"application/x-ndjson": {"schema": _TEXT}}}
    operation = {"summary": summary, "parameters": list(parameters), "requestBody": body}
    return {"post": operation | {"responses": {**responses, "404": _answer("No such version", "ODataError")}}}


def _get(summary: str, responses: Node, *parameters: Node) -> Node:
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


def _of_tenant(summary: str, responses: Node, *parameters: Node) -> Node:
    return _get(summary, responses, _TENANT, *parameters)


def _token(version: str, given: str, schema: str) -> Node:
    """A token endpoint; which of the form's fields are needed depends on the grant."""
    form = {"$ref": f"#/components/schemas/Form{version.upper()}"}
    refused = {
        "400": _answer("A refusal as Azure AD words it", "Refusal"),
        "401": _answer("The client is not who it says", "Refusal"),
        "413": _answer("The form is too large", "Refusal"),
        "429": _answer("Too many failures; Retry-After says how long", "Refusal"),
        **_UNUSABLE,
    }
    body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    operation = {
        "summary": f"Get a token, {version}",
        "parameters": [_TENANT],
        "requestBody": body,
        "responses": {"200": _answer(given, schema), **refused},
    }
    return {"post": operation}


def _answer(description: str, schema: str) -> Node:
    content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _object(required: Mapping[str, Node], **optional: Node) -> Node:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _texts(*names: str) -> dict[str, Node]:
    return dict.fromkeys(names, _TEXT)


_UNUSABLE = {"503": _answer("The store cannot be used at the moment", "Anything")}
_NOT_ADMITTED = {
    "401": _answer("No token or secret, or one that does not hold", "ODataError"),
    "403": _answer("The role is missing", "ODataError"),
}
_METRICS: Node = {"description": "Text format 0.0.4", "content": {"text/plain": {"schema": _TEXT}}}
_TAKEN = _answer("What came of them", "Taken")
_PLAIN: Node = {"type": "string", "minLength": 1, "pattern": "^[a-z0-9-]+$"}
_TENANT: Node = {
    "name": "tenant",
    "in": "path",
    "required": True,
    "description": "The tenant's id or name",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9._-]+$"},
    "example": "contoso",
}
_CREDENTIALS = _texts(
    "client_id", "client_secret", "client_assertion", "client_assertion_type", "refresh_token"
)
_PULL: Mapping[str, Node] = {
    "sinceTimeUtc": _TEXT,
    "untilTimeUtc": _TEXT,
    "ago": {"type": "string", "example": "PT10M"},
    "limit": {"type": "integer", "minimum": 1, "maximum": siem.LIMIT},
    "machinegroups": _TEXT,
}
_PULL_REFUSED = {
    "400": "A parameter is wrong",
    "401": "No token, or one that does not hold",
    "403": "The token lacks the role Alert.Read or Alert.ReadWrite",
    "501": "Machines have no groups here",
}
_GRANT: Node = {"type": "string", "enum": ["client_credentials", "refresh_token"]}
_NUMBER: Node = {"type": "integer"}
_LIST: Node = {"type": "array", "items": _TEXT}
_SCHEMAS: dict[str, Node] = {
    "Anything": {"type": "object"},
    "State": _object({"status": {"enum": ["ok", "ready"]}, "version": _TEXT}),
    "Taken": _object(
        dict.fromkeys(
            ("accepted", "malformed", "detections", "newDetections", "newAlerts", "generation"), _NUMBER
        )
        | {"malformedLines": {"type": "array", "items": _NUMBER}, "reasons": {"type": "array"}}
    ),
    "Index": _object(
        dict.fromkeys(("generation", "storeGeneration", "process"), _NUMBER)
        | {"indicators": {"type": "array", "items": _NUMBER}}
    ),
    "Bulk": _object({"took": _NUMBER, "errors": {"type": "boolean"}, "items": {"type": "array"}}),
    "Collected": _object({"text": _TEXT, "code": _NUMBER}),
    "FormV1": _object({"grant_type": _GRANT}, resource=_TEXT, **_CREDENTIALS),
    "FormV2": _object({"grant_type": _GRANT}, scope=_TEXT, **_CREDENTIALS),
    "TokenV1": _object(
        _texts(
            "token_type",
            "expires_in",
            "ext_expires_in",
            "expires_on",
            "not_before",
            "resource",
            "access_token",
        ),
        refresh_token=_TEXT,
    ),
    "TokenV2": _object(
        {"expires_in": _NUMBER, "ext_expires_in": _NUMBER, **_texts("token_type", "access_token")},
        scope=_TEXT,
        refresh_token=_TEXT,
    ),
    "Refusal": _object(
        {
            **_texts("error", "error_description", "timestamp", "trace_id", "correlation_id", "error_uri"),
            "error_codes": {"type": "array", "items": _NUMBER},
        }
    ),
    "Configuration": _object(
        {
            **_texts("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"),
            "grant_types_supported": _LIST,
            "token_endpoint_auth_methods_supported": _LIST,
        }
    ),
    "Detections": {
        "type": "array",
        "items": _object(_texts("AlertId", "FullId", "AlertTitle", "IocValue", "LastProcessedTimeUtc")),
    },
    "ODataError": _object({"error": _object(_texts("code", "message"), target=_TEXT)}),
    "Keys": _object({"keys": {"type": "array", "items": _object(_texts("kty", "kid", "n", "e", "alg"))}}),
    "Explanation": _object({"code": _TEXT, "explanation": {"enum": list(refusals.EXPLAINED.values())}}),
}

"""Refusals of the token endpoint as Azure AD words them: AADSTS numbers, trace, correlation, `error_uri`.

401 for invalid_client, 429 after too many failures, 413 and 503 where they are the truth, else 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response

from indicia.errors import GrantRefused, IndiciaError, StoreError, TooLarge, TooManyRequests
from indicia.odata.format import encode
from indicia.web import problems

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff"}
OTHERS: tuple[tuple[type[IndiciaError], str, int], ...] = (
    (TooManyRequests, "temporarily_unavailable", 50053),
    (StoreError, "temporarily_unavailable", 90033),
    (TooLarge, "invalid_request", 90100),
)
"""Errors that are not the endpoint's own, in its words."""
EXPLAINED: Mapping[str, str] = {
    "50013": "An assertion that was used from one address is refused from others; make a new one.",
    "50027": "Send a JWT of RS256 or PS256 in client_assertion; a token library makes it.",
    "50049": "Name this service's own address as authority, or switch instance discovery off.",
    "50053": "Wait as long as Retry-After says, then send the right secret.",
    "50173": "Generate new tokens: indicia clients token, or the portal.",
    "70000": "Send a refresh token as it was given last: each is used once and replaced.",
    "70003": "Ask for grant_type=client_credentials or refresh_token.",
    "90002": "Use the tenant_id that `indicia init` saved, or the tenant's name.",
    "90033": "The service's store is busy; try again after a moment.",
    "90100": "Send a smaller form; the limit is 64 KiB.",
    "500011": "Ask for the resource https://graph.windows.net, https://graph.microsoft.com or this service.",
    "700016": "Use the client_id that `indicia init` or `indicia clients add` gave, with its own tenant.",
    "700021": "In the assertion, iss and sub are both the client_id.",
    "700023": "In the assertion, aud is the URL of the token endpoint, as the OpenID configuration has it.",
    "700024": "Set the client's clock, and let the assertion expire within an hour.",
    "700026": "Register the certificate: indicia clients certificate.",
    "700027": "Sign with the key of a registered certificate: indicia clients certificate.",
    "700051": "Use grant_type=client_credentials; nobody signs in here.",
    "700082": "Generate new tokens: indicia clients token, or the portal.",
    "900144": "Send the parameters as application/x-www-form-urlencoded.",
    "900561": "Send the request by POST.",
    "1002012": "Ask for a scope such as https://graph.microsoft.com/.default.",
    "7000112": "The application was revoked; make another one: indicia clients add.",
    "7000215": "Send the secret as it was shown once; a lost one is replaced: indicia clients secret.",
    "7000216": "Send client_secret in the form or by HTTP Basic, or client_assertion.",
    "7000222": "The secret has expired; make a new one: indicia clients secret.",
    "9000410": "Send a well-formed form in UTF-8.",
    "9000411": "Send each parameter once, and one kind of credential.",
}
"""What to do about each refusal; `error_uri` leads here."""


def answer(fault: IndiciaError, request: Request, form: Mapping[str, str], base_url: str) -> Response:
    """The refusal of a request; what no client should know, of the store, is not told."""
    error, code, status, message = _wording(fault)
    trace, moment = str(uuid4()), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    correlation = _correlation(request, form)
    content = {
        "error": error,
        "error_description": f"AADSTS{code}: {message}\r\nTrace ID: {trace}\r\n"
        f"Correlation ID: {correlation}\r\nTimestamp: {moment}",
        "error_codes": [code],
        "timestamp": moment,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"{base_url}/error?code={code}",
    }
    response = json(content, status)
    response.headers["x-ms-request-id"] = trace
    if request.headers.get("return-client-request-id", "").lower() == "true":
        response.headers["client-request-id"] = correlation
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="Indicia"'
    if (seconds := problems.later(fault)) is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


def json(content: Mapping[str, Any], status: int = 200) -> Response:
    """An answer that nobody may keep."""
    return Response(encode(content), status, NO_STORE, media_type="application/json; charset=utf-8")


def _wording(fault: IndiciaError) -> tuple[str, int, int, str]:
    """RFC 6749's error, the AADSTS number, the HTTP status, and the sentence."""
    if isinstance(fault, GrantRefused):
        return fault.error, fault.aadsts, fault.http_status, fault.message
    for kind, error, code in OTHERS:
        if isinstance(fault, kind):
            message = fault.message
            if kind is StoreError:
                message = "The service cannot use its store at the moment; try again."
            return error, code, kind.status, message
    raise fault


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

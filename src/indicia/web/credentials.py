"""Callers that cannot ask for a token first: log shippers, and whoever reads the metrics.

They show an application's client id and secret, as they can: `Authorization: Basic` (user and password),
`ApiKey` (base64 of both with a colon between) or `Splunk` (both with a colon between); a bearer token will do
as well. The secret is looked at once a minute, whether it was revoked each time.
"""

from __future__ import annotations

import base64
import binascii
import time
from hashlib import blake2b

from starlette.requests import Request

from indicia.errors import GrantRefused, Unauthorized
from indicia.web.gate import Caller, Gate
from indicia.web.grants import Ask, Grants

REMEMBERED_SECONDS = 60.0
REMEMBERED = 1000
_HOW = "send Authorization: Basic, ApiKey or Splunk with client id and secret, or Bearer with a token"


class Credentials:
    """Admits by client id and secret, or by a token."""

    def __init__(self, gate: Gate, grants: Grants) -> None:
        self._gate, self._grants = gate, grants
        self._bearers: dict[bytes, tuple[float, str]] = {}

    def admit(self, request: Request, asked: frozenset[str]) -> Caller:
        """The caller of a request, who has one of the roles; Unauthorized, Forbidden."""
        given = request.headers.get("authorization", "")
        scheme, _, rest = given.partition(" ")
        if scheme.lower() != "bearer":
            given = self._bearer(given, _read(scheme.lower(), rest.strip()), request)
        caller = self._gate.admit(given)
        caller.require(asked)
        return caller

    def _bearer(self, header: str, credentials: tuple[str, str], request: Request) -> str:
        """A token for client id and secret; the same one for a while."""
        key = blake2b(header.encode("utf-8", "replace"), digest_size=32).digest()
        until, bearer = self._bearers.get(key, (0.0, ""))
        if time.monotonic() < until:
            return bearer
        client_id, secret = credentials
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        form["resource"] = "https://graph.windows.net"
        address = request.client.host if request.client else ""
        try:
            issued = self._grants.answer(Ask("common", form, "1.0", address)).issued
        except GrantRefused:
            raise Unauthorized(f"the client id or its secret does not hold; {_HOW}") from None
        if len(self._bearers) >= REMEMBERED:
            self._bearers.clear()
        self._bearers[key] = time.monotonic() + REMEMBERED_SECONDS, f"Bearer {issued.token}"
        return self._bearers[key][1]


def _read(scheme: str, rest: str) -> tuple[str, str]:
    if scheme in ("basic", "apikey"):
        try:
            rest = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthorized(f"the credentials are not base64; {_HOW}") from None
    elif scheme != "splunk":
        raise Unauthorized(_HOW)
    client_id, _, secret = rest.partition(":")
    if not client_id or not secret:
        raise Unauthorized(_HOW)
    return client_id, secret

"""Access tokens: RS256 JWTs as Azure AD shapes them, version 1.0 and 2.0; issued and verified.

    issuer   v1 {base}/{tenant}/     v2 {base}/{tenant}/v2.0
    client   v1 appid                v2 azp
    both     aud iat nbf exp tid sub oid roles ver uti, and credential: what got the token, as `secret/7`

`credential` is ours: whoever accepts a token looks that up, so that revoking it acts at once.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, RSAKey

from indicia.auth.keys import KeyRing
from indicia.auth.memory import Memory, mark_of
from indicia.errors import Unauthorized

Version = Literal["1.0", "2.0"]
CredentialKind = Literal["secret", "certificate", "refresh"]

RESOURCES = ("https://graph.windows.net", "https://graph.microsoft.com")
"""What the published samples ask a token for; the service's own URL is the third."""
CACHE_SIZE = 4096
TOKEN_LIMIT = 16 * 1024
"""Characters of a token; ours have about 900, those of external issuers may list many groups."""
_STRENGTH: dict[CredentialKind, str] = {"secret": "1", "certificate": "2", "refresh": "0"}
"""`appidacr` of Azure AD: 0 a public client, 1 a secret, 2 a certificate."""
CLOCK_SKEW = 60
"""Seconds by which another host's clock may be ahead of ours (`nbf`)."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What an application got a token with: a secret, a certificate, or a family of refresh tokens."""

    kind: CredentialKind
    number: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.number}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Who was given a token, and for what."""

    tenant: str
    """The tenant's uid."""
    client_id: str
    credential: Credential
    roles: tuple[str, ...]
    resource: str
    """As the client wrote it; the token's audience."""
    version: Version = "1.0"


@dataclass(frozen=True, slots=True)
class Issued:
    """A token with its bounds, in seconds since 1970 UTC."""

    token: str
    not_before: int
    expires_on: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token that holds says."""

    grant: Grant
    expires_on: int
    kid: str
    """The key that signed it."""


class Issuer:
    """Signs and verifies the tokens of one service. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        ring: KeyRing,
        *,
        aliases: Sequence[str] = (),
        seconds: int = 3599,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`aliases`: further URLs by which clients may reach the service, as https://localhost:8443."""
        self.base_url = base_url.rstrip("/")
        self.bases = tuple(dict.fromkeys((self.base_url, *(alias.rstrip("/") for alias in aliases))))
        self.ring = ring
        self._seconds = seconds
        self._clock = clock
        self._resources = frozenset((*RESOURCES, *self.bases))
        self._verified: Memory[Verified] = Memory(CACHE_SIZE)

    def issuer(self, tenant: str, version: Version) -> str:
        """The `iss` of a tenant's tokens."""
        return _issuer(self.base_url, tenant, version)

    def knows(self, resource: str) -> bool:
        """Whether tokens are issued for `resource`, with or without a slash at its end."""
        return resource.removesuffix("/") in self._resources

    def issue(self, grant: Grant) -> Issued:
        """A signed token that holds from now on for the service's number of seconds."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "aud": grant.resource,
            "iss": self.issuer(grant.tenant, grant.version),
            "iat": now,
            "nbf": now,
            "exp": now + self._seconds,
            "appidacr" if grant.version == "1.0" else "azpacr": _STRENGTH[grant.credential.kind],
            "appid" if grant.version == "1.0" else "azp": grant.client_id,
            "oid": grant.client_id,
            "sub": grant.client_id,
            "tid": grant.tenant,
            "roles": list(grant.roles),
            "ver": grant.version,
            "uti": base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode(),
            "credential": str(grant.credential),
        }
        signing = self.ring.signing()
        header = {"typ": "JWT", "alg": "RS256", "kid": signing.kid}
        token = jwt.encode(header, claims, signing.key, algorithms=["RS256"])
        return Issued(token, now, now + self._seconds)

    def verify(self, token: str) -> Verified:
        """What the token says; raises Unauthorized where it does not hold.

        Checked: algorithm, key, signature, issuer, audience, tenant, `nbf`, `exp`. Not checked here: that
        the application and its credential are still good, which changes from one moment to the next.
        """
        mark = mark_of(token)
        known = self._verified.find(mark)
        if known is None or self.ring.find(known.kid) is None:
            known = self._examine(token)
            self._verified.put(mark, known)
        if self._clock() >= known.expires_on:
            self._verified.forget(mark)
            raise Unauthorized("the access token has expired: get a new one from the token endpoint")
        return known

    def _examine(self, token: str) -> Verified:
        if len(token) > TOKEN_LIMIT:
            raise Unauthorized(f"the access token is longer than {TOKEN_LIMIT} characters")
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=["RS256"])
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthorized(f"the access token does not hold: {type(error).__name__}") from None
        claims = decoded.claims
        grant = _grant(claims)
        # Another host on this store may call itself by another of the names, or did so an hour ago.
        if claims.get("iss") not in [_issuer(base, grant.tenant, grant.version) for base in self.bases]:
            raise Unauthorized("the access token was issued by another service or for another tenant (iss)")
        if not self.knows(grant.resource):
            raise Unauthorized("the access token is for another resource (aud)")
        if _seconds(claims, "nbf") > self._clock() + CLOCK_SKEW:
            raise Unauthorized("the access token does not hold yet (nbf)")
        return Verified(grant, _seconds(claims, "exp"), str(decoded.header["kid"]))

    def _key_of(self, token: GuestProtocol) -> RSAKey:
        kid = token.headers().get("kid")
        found = self.ring.find(kid) if isinstance(kid, str) else None
        if found is None:
            raise Unauthorized("the access token was signed with a key that this service does not have (kid)")
        return found.key


def _issuer(base: str, tenant: str, version: Version) -> str:
    return f"{base}/{tenant}/" + ("v2.0" if version == "2.0" else "")


def _grant(claims: dict[str, Any]) -> Grant:
    """The grant that the claims tell; signed by us, but by an older or newer version perhaps."""
    version, roles = claims.get("ver"), claims.get("roles")
    client_id, tenant, resource = claims.get("sub"), claims.get("tid"), claims.get("aud")
    if version not in ("1.0", "2.0") or not isinstance(roles, list):
        raise Unauthorized("the access token lacks a claim (ver, roles)")
    if not isinstance(client_id, str) or not isinstance(tenant, str) or not isinstance(resource, str):
        raise Unauthorized("the access token lacks a claim (sub, tid, aud)")
    if claims.get("appid" if version == "1.0" else "azp") != client_id:
        raise Unauthorized("the access token contradicts itself (appid, azp)")
    credential = _credential(claims.get("credential"))
    return Grant(tenant, client_id, credential, tuple(str(role) for role in roles), resource, version)


def _credential(text: object) -> Credential:
    kind, slash, number = text.partition("/") if isinstance(text, str) else ("", "", "")
    for known in get_args(CredentialKind):
        if kind == known and slash and number.isascii() and number.isdecimal() and len(number) < 19:
            return Credential(known, int(number))
    raise Unauthorized("the access token lacks a claim (credential)")


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:
        raise Unauthorized(f"the access token lacks a claim ({name})")
    return value

"""Tokens of other issuers: OpenID Connect providers that `config.toml` names, mapped to tenant and roles.

    [[issuers]]
    issuer = "https://login.example.com/realms/soc"    # `iss`, to the letter
    jwks_url = "https://login.example.com/realms/soc/certs"
    audience = "api://indicia"                         # one of `aud`; a list is possible
    tenant = "contoso"                                 # or tenant_claim and tenants, as below
    # tenant_claim = "organization"
    # tenants = { "org-17" = "contoso" }
    roles_claim = "realm_access.roles"                 # default: roles; a dot leads into an object
    roles = { "soc-analyst" = ["Ti.ReadWrite", "Alert.ReadWrite"] }
    # ca_file = "/etc/indicia/login-ca.pem"            # default: the authorities of this machine

What is not mapped gives nothing: no role of theirs means one of ours by its name alone. Only asymmetric
algorithms are accepted. Keys are fetched when they are needed, kept for an hour, and fetched again for an
unknown `kid`, but not more often than every 30 seconds.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, RSAKey

from indicia.auth.memory import Memory, mark_of
from indicia.auth.roles import ALL
from indicia.auth.tokens import CACHE_SIZE, CLOCK_SKEW, TOKEN_LIMIT
from indicia.errors import InputError, KeysUnavailable, Unauthorized

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
KEYS = 100
"""Keys of one issuer; what comes after them is not read."""
MODULUS = range(342, 1367)
"""Characters of an RSA key's `n`: 2048 to 8192 bits in base64url."""
KEY_SECONDS = 3600.0
"""After this time keys are fetched again, so that a withdrawn one ends."""
STALE_SECONDS = 86_400.0
"""How long keys are used that cannot be fetched again."""
RETRY_SECONDS = 30.0
"""The least time between two fetches."""
WAIT_SECONDS = 5.0
"""How long a request waits for the first fetch, which another request has begun."""
SUBJECT_LIMIT = 200

Fetch = Callable[[str, str | None], bytes]
"""The body at a URL, by the authorities of a file; raises KeysUnavailable."""


@dataclass(frozen=True, slots=True)
class Trust:
    """One external issuer as it is configured."""

    issuer: str
    jwks_url: str
    audiences: frozenset[str]
    tenants: Mapping[str, str]
    """Value of the tenant claim to tenant; under `""` the tenant of every token."""
    roles: Mapping[str, tuple[str, ...]]
    tenant_claim: str = ""
    roles_claim: str = "roles"
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Outsider:
    """What a token of an external issuer says, in our words."""

    tenant: str
    """Uid or name, as configured."""
    subject: str
    """`sub`, with the issuer behind it: two issuers may have the same."""
    roles: frozenset[str]
    expires_on: int
    kid: str


def parse(table: Mapping[str, Any], place: str) -> Trust:
    """An `[[issuers]]` table; InputError with what is wrong where."""
    known = {
        "issuer",
        "jwks_url",
        "audience",
        "tenant",
        "tenant_claim",
        "tenants",
        "roles_claim",
        "roles",
        "ca_file",
    }
    for name in table.keys() - known:
        raise InputError(f"unknown key {name!r}; known: {', '.join(sorted(known))}", place=place)
    texts = {name: text(table, name, place) for name in known - {"audience", "tenants", "roles"}}
    for name in ("issuer", "jwks_url"):
        if not texts[name]:
            raise InputError(f"needs {name}", place=place)
    if not is_safe(texts["jwks_url"]):
        raise InputError("must be an https URL (http on loopback alone)", place=f"{place}.jwks_url")
    return Trust(
        issuer=texts["issuer"],
        jwks_url=texts["jwks_url"],
        audiences=frozenset(_texts(table.get("audience"), f"{place}.audience")),
        tenants=tenants(table, texts, place),
        roles=_roles(table, place),
        tenant_claim=texts["tenant_claim"],
        roles_claim=texts["roles_claim"] or "roles",
        ca_file=texts["ca_file"] or None,
    )


class ExternalIssuer:
    """Verifies the tokens of one external issuer. Safe to use from several threads."""

    def __init__(
        self,
        trust: Trust,
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.trust = trust
        self._keys = FetchedKeys(trust, fetch)
        self._clock = clock
        self._verified: Memory[Outsider] = Memory(CACHE_SIZE)

    def verify(self, token: str) -> Outsider:
        """What the token says; Unauthorized where it does not hold, KeysUnavailable where nobody can tell.

        Checked: algorithm, key, signature, `iss`, `aud`, `nbf`, `exp`, and that it maps to a tenant.
        """
        mark = mark_of(token)
        known = self._verified.find(mark)
        if known is None or self._keys.find(known.kid) is None:
            known = self._examine(token)
            self._verified.put(mark, known)
        if self._clock() >= known.expires_on:
            self._verified.forget(mark)
            raise Unauthorized(f"the access token of {self.trust.issuer} has expired: get a new one there")
        return known

    def _examine(self, token: str) -> Outsider:
        if len(token) > TOKEN_LIMIT:
            raise Unauthorized(f"the access token is longer than {TOKEN_LIMIT} characters")
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized(f"the access token does not hold: {type(error).__name__}") from None
        claims = decoded.claims
        self._check(claims)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LIMIT or not subject.isprintable():
            raise Unauthorized("the access token lacks a usable claim sub")
        kid = decoded.header.get("kid")
        return Outsider(
            self._tenant(claims),
            f"{subject} ({self.trust.issuer})",
            self._mapped_roles(claims),
            seconds(claims, "exp"),
            kid if isinstance(kid, str) else "",
        )

    def _check(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self.trust.issuer:
            raise Unauthorized("the access token was issued by another issuer (iss)")
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(one, str) and one in self.trust.audiences for one in named):
            raise Unauthorized("the access token is for another audience (aud)")
        if "nbf" in claims and seconds(claims, "nbf") > self._clock() + CLOCK_SKEW:
            raise Unauthorized("the access token does not hold yet (nbf)")

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        claimed = at(claims, self.trust.tenant_claim) if self.trust.tenant_claim else ""
        found = self.trust.tenants.get(claimed) if isinstance(claimed, str) else None
        if found is None:
            raise Unauthorized(f"the access token's {self.trust.tenant_claim} is mapped to no tenant")
        return found

    def _mapped_roles(self, claims: Mapping[str, Any]) -> frozenset[str]:
        theirs = at(claims, self.trust.roles_claim)
        named = theirs.split() if isinstance(theirs, str) else theirs if isinstance(theirs, list) else []
        return frozenset(
            ours for one in named if isinstance(one, str) for ours in self.trust.roles.get(one, ())
        )

    def _key_of(self, token: GuestProtocol) -> RSAKey | ECKey:
        kid = token.headers().get("kid", "")
        found = self._keys.find(kid) if isinstance(kid, str) else None
        if found is None:
            raise Unauthorized(
                "the access token was signed with a key that its issuer does not publish (kid)"
            )
        return found


class FetchedKeys:
    """The public keys of an issuer, fetched when they are needed and not more often than that."""

    def __init__(self, trust: Trust, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust = trust
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, RSAKey | ECKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def find(self, kid: str) -> RSAKey | ECKey | None:
        """The key of that id; `""`: the only one. KeysUnavailable where none can be fetched."""
        if self._clock() - self._fetched_at > KEY_SECONDS or kid not in self._keys:
            self._renew()
        if self._clock() - self._fetched_at > STALE_SECONDS:
            raise KeysUnavailable(
                f"the keys of {self._trust.issuer} cannot be fetched at the moment; try again",
                retry_after=int(RETRY_SECONDS),
            )
        return self._keys.get(kid)

    def _renew(self) -> None:
        """Fetch where the last try is long enough ago; others wait only where no key is known."""
        if not self._lock.acquire(timeout=0 if self._keys else WAIT_SECONDS):
            return
        try:
            if self._clock() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            self._keys = read_keys(self._fetch(self._trust.jwks_url, self._trust.ca_file))
            self._fetched_at = self._clock()
        except KeysUnavailable:
            # `find` judges by the age of those there are.
            return
        finally:
            self._lock.release()


def read_keys(body: bytes) -> dict[str, RSAKey | ECKey]:
    """The usable keys of a JWK set (RFC 7517) by their ids; KeysUnavailable where it is no such set."""
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeysUnavailable("the answer is no JWK set") from None
    found: dict[str, RSAKey | ECKey] = {}
    for one in listed[:KEYS] if isinstance(listed, list) else ():
        key = _key(one)
        if key is not None:
            kid = one.get("kid")
            found[kid if isinstance(kid, str) else ""] = key
    if len(found) == 1:
        # A token may leave its key unnamed where there is one alone (OpenID Connect Core, 10.1).
        found.setdefault("", next(iter(found.values())))
    return found


def issuer_named(token: str) -> str | None:
    """The `iss` that a token claims, nothing proved yet; None where it is no token."""
    parts = token.split(".") if len(token) <= TOKEN_LIMIT else []
    if len(parts) != 3:
        return None
    try:
        content = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claimed = json.loads(content).get("iss")
    except (ValueError, RecursionError, AttributeError):
        return None
    return claimed if isinstance(claimed, str) else None


def _key(listed: object) -> RSAKey | ECKey | None:
    if not isinstance(listed, dict) or listed.get("use", "sig") != "sig":
        return None
    kinds: Mapping[str, type[RSAKey | ECKey]] = {"RSA": RSAKey, "EC": ECKey}
    kind = kinds.get(str(listed.get("kty")))
    if kind is None or (kind is RSAKey and len(str(listed.get("n"))) not in MODULUS):
        return None
    public = {
        name: value for name, value in listed.items() if name in ("kty", "n", "e", "crv", "x", "y", "alg")
    }
    try:
        return kind.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def is_safe(url: str) -> bool:
    """Whether nobody between can read or change what is sent: https, or http on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https" and host:
        return True
    try:
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def text(table: Mapping[str, Any], name: str, place: str) -> str:
    """A text of the table; empty where it is absent."""
    value = table.get(name, "")
    if not isinstance(value, str):
        raise InputError("must be a text", place=f"{place}.{name}")
    return value


def _texts(value: object, place: str) -> Sequence[str]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one for one in listed):
        raise InputError("must be a text or a list of texts", place=place)
    return listed


def tenants(table: Mapping[str, Any], texts: Mapping[str, str], place: str) -> Mapping[str, str]:
    """Value of the tenant claim to tenant; under `""` the tenant of all."""
    mapped = table.get("tenants", {})
    if texts["tenant"] and not texts["tenant_claim"] and not mapped:
        return {"": texts["tenant"]}
    if texts["tenant"] or not texts["tenant_claim"] or not isinstance(mapped, dict) or not mapped:
        raise InputError("needs either tenant, or tenant_claim and tenants", place=place)
    if not all(isinstance(name, str) and name for name in mapped.values()):
        raise InputError("must map values of the claim to tenants", place=f"{place}.tenants")
    return dict(mapped)


def _roles(table: Mapping[str, Any], place: str) -> Mapping[str, tuple[str, ...]]:
    mapped = table.get("roles")
    if not isinstance(mapped, dict) or not mapped:
        raise InputError('needs roles, as { "their-role" = ["Ti.Read"] }', place=place)
    return {theirs: _ours(ours, f"{place}.roles.{theirs}") for theirs, ours in mapped.items()}


def _ours(value: object, place: str) -> tuple[str, ...]:
    named: Collection[str] = _texts(value, place)
    for one in named:
        if one not in ALL:
            raise InputError(f"there is no role {one!r}; there are {', '.join(ALL)}", place=place)
    return tuple(named)


def at(claims: Mapping[str, Any], path: str) -> object:
    """The claim of that very name, else where the dots lead."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def seconds(claims: Mapping[str, Any], name: str) -> int:
    """A time of the claims, in seconds since 1970 UTC; Unauthorized where it is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise Unauthorized(f"the access token lacks a usable claim {name}")
    return int(value)

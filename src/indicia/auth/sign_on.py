"""Signing on at an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

    [[sign_on]]
    name = "contoso"                                   # in our URLs; `title` is what the button says
    title = "Contoso"
    issuer = "https://login.example.com/realms/soc"    # what discovery and tokens say, to the letter
    client_id = "indicia"
    client_secret_file = "/etc/indicia/oidc-secret"    # none for a public client: PKCE alone protects it
    tenant = "contoso"                                 # or tenant_claim and tenants, as of [[issuers]]
    roles_claim = "groups"                             # default: roles; a dot leads into an object
    roles = { "soc-admins" = "Administrator", "soc" = "Analyst" }
    emails = { "kim@example.com" = "Analyst", "@example.com" = "Reader" }    # verified addresses alone
    # name_claim, scope, ca_file

What is not mapped lets nobody in. The highest role that is mapped is the person's, at each sign-on anew.
By OpenID Connect Core 1.0 (3.1), RFC 7636 (S256), RFC 9207 (`iss` of the answer, where it is there).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, RSAKey

from indicia.auth import external
from indicia.auth.external import (
    ALGORITHMS,
    RETRY_SECONDS,
    SUBJECT_LIMIT,
    WAIT_SECONDS,
    Fetch,
    FetchedKeys,
    Trust,
)
from indicia.auth.tokens import CLOCK_SKEW, TOKEN_LIMIT
from indicia.errors import InputError, KeysUnavailable, Unauthorized

DISCOVERY = "/.well-known/openid-configuration"
DISCOVERED_SECONDS = 3600.0
"""After so long the provider is asked anew where its endpoints are."""
ROLES = ("Reader", "Analyst", "Administrator")
"""From the lowest to the highest."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TEXTS = ("name", "title", "issuer", "client_id", "client_secret_file", "tenant", "tenant_claim")
_MORE_TEXTS = ("roles_claim", "name_claim", "scope", "ca_file")
_TABLES = ("tenants", "roles", "emails")

Post = Callable[[str, bytes, Mapping[str, str], str | None], bytes]
"""The body of the answer to a form, by the authorities of a file; raises KeysUnavailable."""


@dataclass(frozen=True, slots=True)
class SignOn:
    """One provider as it is configured."""

    name: str
    title: str
    issuer: str
    client_id: str
    client_secret: str
    tenants: Mapping[str, str]
    """Value of the tenant claim to tenant; under `""` the tenant of everybody."""
    tenant_claim: str
    roles: Mapping[str, str]
    roles_claim: str
    emails: Mapping[str, str]
    """Verified addresses, or `@domain`, in lower case to roles."""
    name_claim: str
    scope: str
    ca_file: str | None


@dataclass(frozen=True, slots=True)
class Proved:
    """Whom a provider vouches for, in our words."""

    issuer: str
    subject: str
    name: str
    tenant: str
    """Uid or name, as configured."""
    role: str


def parse(table: Mapping[str, Any], place: str) -> SignOn:
    """A `[[sign_on]]` table; InputError with what is wrong where."""
    known = {*_TEXTS, *_MORE_TEXTS, *_TABLES}
    for name in table.keys() - known:
        raise InputError(f"unknown key {name!r}; known: {', '.join(sorted(known))}", place=place)
    texts = {name: external.text(table, name, place) for name in (*_TEXTS, *_MORE_TEXTS)}
    for name in ("name", "issuer", "client_id"):
        if not texts[name]:
            raise InputError(f"needs {name}", place=place)
    if not _NAME.fullmatch(texts["name"]):
        raise InputError("has 1 to 40 small letters, digits and hyphens", place=f"{place}.name")
    if not external.is_safe(texts["issuer"]):
        raise InputError("must be an https URL (http on loopback alone)", place=f"{place}.issuer")
    roles, emails = _mapped(table, "roles", place), _mapped(table, "emails", place)
    if not roles and not emails:
        raise InputError('needs roles or emails, as { "their-group" = "Analyst" }', place=place)
    return SignOn(
        name=texts["name"],
        title=texts["title"] or texts["name"],
        issuer=texts["issuer"],
        client_id=texts["client_id"],
        client_secret=_secret(texts["client_secret_file"], place),
        tenants=external.tenants(table, texts, place),
        tenant_claim=texts["tenant_claim"],
        roles=roles,
        roles_claim=texts["roles_claim"] or "roles",
        emails={address.lower(): role for address, role in emails.items()},
        name_claim=texts["name_claim"],
        scope=texts["scope"] or "openid profile email",
        ca_file=texts["ca_file"] or None,
    )


def challenge(verifier: str) -> str:
    """What a provider is told of a verifier (RFC 7636, 4.2, S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class Provider:
    """One provider. Safe to use from several threads."""

    def __init__(
        self, sign_on: SignOn, fetch: Fetch, post: Post, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.sign_on = sign_on
        self._fetch, self._post, self._clock = fetch, post, clock
        self._lock = threading.Lock()
        self._failed_at = float("-inf")
        self._found: tuple[float, Mapping[str, str], FetchedKeys] | None = None

    def begin(self, *, state: str, nonce: str, verifier: str, back: str) -> str:
        """The URL that a browser is sent to; KeysUnavailable where the provider does not answer."""
        endpoints, _ = self._discovered()
        asked = {
            "response_type": "code",
            "client_id": self.sign_on.client_id,
            "redirect_uri": back,
            "scope": self.sign_on.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        start = endpoints["authorization_endpoint"]
        return f"{start}{'&' if '?' in start else '?'}{urlencode(asked, quote_via=quote)}"

    def finish(self, *, code: str, nonce: str, verifier: str, back: str) -> Proved:
        """Whom the code stands for; Unauthorized where it does not hold, KeysUnavailable."""
        endpoints, keys = self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
            "client_id": self.sign_on.client_id,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self.sign_on.client_secret:
            # RFC 6749, 2.3.1: every server knows this way.
            pair = f"{quote(self.sign_on.client_id, safe='')}:{quote(self.sign_on.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            del form["client_id"]
        answer = _object(
            self._post(endpoints["token_endpoint"], urlencode(form).encode(), headers, self.sign_on.ca_file),
            "the answer of the token endpoint",
        )
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > TOKEN_LIMIT:
            raise Unauthorized(
                "the provider gave no usable id_token; see that its client may use scope openid"
            )
        return self._proved(self._claims(token, keys, nonce))

    def _discovered(self) -> tuple[Mapping[str, str], FetchedKeys]:
        """Where the endpoints are, and the keys; after a failure nobody asks for a while."""
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise self._silent()
        try:
            now = time.monotonic()
            if self._found is None or now - self._found[0] > DISCOVERED_SECONDS:
                if now - self._failed_at < RETRY_SECONDS:
                    raise self._silent()
                self._failed_at = now
                self._found = (now, *self._discover())
                self._failed_at = float("-inf")
            return self._found[1], self._found[2]
        finally:
            self._lock.release()

    def _silent(self) -> KeysUnavailable:
        return KeysUnavailable(
            f"{self.sign_on.issuer} does not answer at the moment; try again",
            retry_after=int(RETRY_SECONDS),
        )

    def _discover(self) -> tuple[Mapping[str, str], FetchedKeys]:
        wanted, ca_file = self.sign_on.issuer, self.sign_on.ca_file
        content = _object(self._fetch(wanted.rstrip("/") + DISCOVERY, ca_file), f"the discovery of {wanted}")
        if content.get("issuer") != wanted:
            raise KeysUnavailable(f"{wanted} says that it is {str(content.get('issuer'))[:200]!r}")
        found: dict[str, str] = {}
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            url = content.get(name)
            if not isinstance(url, str) or not external.is_safe(url):
                raise KeysUnavailable(f"the discovery of {wanted} has no usable {name}")
            found[name] = url
        trust = Trust(wanted, found["jwks_uri"], frozenset(), {}, {}, ca_file=ca_file)
        return found, FetchedKeys(trust, self._fetch)

    def _claims(self, token: str, keys: FetchedKeys, nonce: str) -> Mapping[str, Any]:
        """What the token says, of which everything is checked that OpenID Connect Core asks (3.1.3.7)."""

        def key_of(signed: GuestProtocol) -> RSAKey | ECKey:
            kid = signed.headers().get("kid", "")
            found = keys.find(kid) if isinstance(kid, str) else None
            if found is None:
                raise Unauthorized(
                    "the id_token was signed with a key that its issuer does not publish (kid)"
                )
            return found

        try:
            claims: Mapping[str, Any] = jwt.decode(token, key_of, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized(f"the id_token does not hold: {type(error).__name__}") from None
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self.sign_on.issuer or self.sign_on.client_id not in named:
            raise Unauthorized("the id_token is of another issuer, or for another client (iss, aud)")
        if (len(named) > 1 or "azp" in claims) and claims.get("azp") != self.sign_on.client_id:
            raise Unauthorized("the id_token is for another client (azp)")
        if claims.get("nonce") != nonce:
            raise Unauthorized("the id_token belongs to another sign-on (nonce)")
        now = self._clock()
        if external.seconds(claims, "exp") <= now - CLOCK_SKEW:
            raise Unauthorized("the id_token has expired")
        if "nbf" in claims and external.seconds(claims, "nbf") > now + CLOCK_SKEW:
            raise Unauthorized("the id_token does not hold yet (nbf)")
        return claims

    def _proved(self, claims: Mapping[str, Any]) -> Proved:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LIMIT or not subject.isprintable():
            raise Unauthorized("the id_token lacks a usable claim sub")
        claimed = external.at(claims, self.sign_on.tenant_claim) if self.sign_on.tenant_claim else ""
        tenant = self.sign_on.tenants.get(claimed) if isinstance(claimed, str) else None
        if tenant is None:
            raise Unauthorized(f"your {self.sign_on.tenant_claim} is mapped to no tenant; see config.toml")
        roles = [*self._by_claim(claims), *self._by_email(claims)]
        if not roles:
            raise Unauthorized(
                "you are known there, but nothing that is said of you is mapped to a role here; ask whoever "
                "looks after this service"
            )
        return Proved(
            self.sign_on.issuer, subject, self._name(claims, subject), tenant, max(roles, key=ROLES.index)
        )

    def _by_claim(self, claims: Mapping[str, Any]) -> list[str]:
        theirs = external.at(claims, self.sign_on.roles_claim)
        named = theirs.split() if isinstance(theirs, str) else theirs if isinstance(theirs, list) else []
        return [
            self.sign_on.roles[one] for one in named if isinstance(one, str) and one in self.sign_on.roles
        ]

    def _by_email(self, claims: Mapping[str, Any]) -> list[str]:
        """Only of an address that the provider says it has verified: else anybody could write one there."""
        address = claims.get("email")
        if claims.get("email_verified") is not True or not isinstance(address, str) or "@" not in address:
            return []
        whole = address.lower()
        mapped = self.sign_on.emails
        return [mapped[one] for one in (whole, f"@{whole.rpartition('@')[2]}") if one in mapped]

    def _name(self, claims: Mapping[str, Any], subject: str) -> str:
        wanted = (self.sign_on.name_claim,) if self.sign_on.name_claim else ()
        for name in (*wanted, "preferred_username", "email", "name"):
            found = external.at(claims, name)
            if isinstance(found, str) and found.strip() and found.isprintable():
                return found.strip()
        return subject


def _object(body: bytes, what: str) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise KeysUnavailable(f"{what} is no JSON object")
    return content


def _mapped(table: Mapping[str, Any], name: str, place: str) -> Mapping[str, str]:
    mapped = table.get(name, {})
    if not isinstance(mapped, dict):
        raise InputError('must be a table, as { "their-group" = "Analyst" }', place=f"{place}.{name}")
    for theirs, ours in mapped.items():
        if ours not in ROLES:
            raise InputError(f"must be one of {', '.join(ROLES)}", place=f"{place}.{name}.{theirs}")
    return dict(mapped)


def _secret(path: str, place: str) -> str:
    if not path:
        return ""
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", place=f"{place}.client_secret_file") from None
    if not text:
        raise InputError("is empty", place=f"{place}.client_secret_file")
    return text

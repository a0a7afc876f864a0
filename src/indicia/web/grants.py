"""Who is given a token, and who is not: the grants of the token endpoint, without HTTP.

    client_credentials   by client_secret, or by client_assertion with a registered certificate
    refresh_token        by a refresh token of "Generate tokens"; each is used once and replaced

A refresh token stands for the application by itself, as a bearer token does, so a client that redeems one
need not prove who it is; where it sends a secret or an assertion, that must be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from indicia.auth import assertions, secrets
from indicia.auth.assertions import Assertions
from indicia.auth.attempts import UNKNOWN, Attempts
from indicia.auth.tokens import RESOURCES, Credential, Grant, Issued, Issuer, Version
from indicia.errors import GrantRefused, InputError, NotFound
from indicia.store import Application, RefreshToken, Secret, Store, TenantStore
from indicia.web import trace

DEFAULT_SCOPE = "/.default"
OPENID_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
ANY_TENANT = frozenset({"common", "organizations", "consumers"})
"""Names in the place of a tenant that say: the one that the credentials belong to."""
REFRESH_IDLE = timedelta(days=14)
"""A refresh token that is not used for so long ends."""
REFRESH_LONGEST = timedelta(days=90)
"""So long after "Generate tokens" the last one of its family ends."""
NO_APPLICATION = 700016
GUESSES = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})
"""Refusals that count as failed attempts; a malformed request tries no secret."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for a token."""

    tenant: str
    """As the path has it."""
    form: Mapping[str, str]
    version: Version
    address: str
    """Where it came from."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is answered."""

    grant: Grant
    issued: Issued
    refresh_token: str = ""


class Grants:
    """Grants tokens to the applications of a store. Safe to use from several threads."""

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        attempts: Attempts | None = None,
        used: Assertions | None = None,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._attempts = Attempts() if attempts is None else attempts
        self._assertions = Assertions() if used is None else used

    def answer(self, ask: Ask) -> Given:
        """The token; raises GrantRefused, or TooManyRequests after too many failures."""
        kind = _needed(ask.form, "grant_type")
        if kind not in ("client_credentials", "refresh_token"):
            raise GrantRefused(
                "unsupported_grant_type",
                70003,
                f"The app requested an unsupported grant type '{kind[:80]}'; "
                "use client_credentials or refresh_token.",
            )
        client_id = _client_id(ask.form)
        self._attempts.admit(client_id, ask.address)
        try:
            given = self._grant(ask, kind, client_id)
        except GrantRefused as refused:
            if refused.error in GUESSES:
                who = UNKNOWN if refused.aadsts == NO_APPLICATION else client_id
                self._attempts.admit(who, ask.address)
                self._attempts.failed(who, ask.address)
            raise
        self._attempts.succeeded(client_id, ask.address)
        trace.admitted(given.grant.tenant, given.grant.client_id)
        return given

    def generate(self, tenant: TenantStore, client_id: str, resource: str = RESOURCES[0]) -> Given:
        """Access and refresh token for ad-hoc use, as the portal's "Generate tokens" gives them.

        Raises NotFound, and InputError where the application was revoked.
        """
        application = self._store.application(client_id)
        if application is None or application.tenant_uid != tenant.uid:
            raise NotFound(f"this tenant has no application {client_id!r}")
        if application.revoked_at is not None:
            raise InputError(
                f"the application {client_id} was revoked; make another one: indicia clients add"
            )
        text = secrets.make()
        token = tenant.access.add_refresh_token(
            client_id, secrets.digest(text), resource, REFRESH_IDLE, REFRESH_LONGEST
        )
        return self._refreshed(application, token, text, resource, "1.0")

    def tenant(self, name: str) -> TenantStore:
        """The tenant of a path; GrantRefused."""
        try:
            return self._store.tenant(name)
        except NotFound:
            raise GrantRefused(
                "invalid_request",
                90002,
                f"Tenant '{name[:80]}' not found. Check to make sure you have the correct tenant ID.",
            ) from None

    def _grant(self, ask: Ask, kind: str, client_id: str) -> Given:
        application = self._application(client_id, ask.tenant)
        if kind == "refresh_token":
            return self._refresh(ask, application)
        credential = self._credential(ask, application)
        if credential is None:
            raise GrantRefused(
                "invalid_client",
                7000216,
                "'client_assertion' or 'client_secret' is required for the 'client_credentials' grant type.",
            )
        resource = self._resource(ask)
        grant = Grant(
            application.tenant_uid,
            application.client_id,
            credential,
            application.roles,
            resource,
            ask.version,
        )
        return Given(grant, self._issuer.issue(grant))

    def _application(self, client_id: str, named: str) -> Application:
        """The application, if it belongs to the tenant that the path names."""
        application = self._store.application(client_id)
        if application is None and named.lower() not in ANY_TENANT:
            self.tenant(named)  # where there is not even the tenant, that is the answer
        if application is None or not self._is_of(application, named):
            raise GrantRefused(
                "unauthorized_client",
                NO_APPLICATION,
                f"Application with identifier '{client_id[:80]}' was not found in the directory "
                f"'{named[:80]}'.",
            )
        if application.revoked_at is not None:
            raise GrantRefused("unauthorized_client", 7000112, f"Application '{client_id}' is disabled.")
        return application

    def _is_of(self, application: Application, named: str) -> bool:
        if named.lower() in (*ANY_TENANT, application.tenant_uid):
            return True
        return self.tenant(named).uid == application.tenant_uid

    def _credential(self, ask: Ask, application: Application) -> Credential | None:
        """What the client proved itself by; None where it sent nothing. GrantRefused where that is wrong."""
        secret, assertion = ask.form.get("client_secret"), ask.form.get("client_assertion")
        if secret and assertion:
            raise GrantRefused(
                "invalid_request", 9000411, "Send either 'client_secret' or 'client_assertion', not both."
            )
        if secret:
            return Credential("secret", _secret(application, secret).id)
        if assertion:
            return Credential("certificate", self._certificate(ask, application, assertion))
        return None

    def _certificate(self, ask: Ask, application: Application, assertion: str) -> int:
        if ask.form.get("client_assertion_type") != assertions.TYPE:
            raise GrantRefused(
                "invalid_request", 900144, f"'client_assertion_type' must be '{assertions.TYPE}'."
            )
        now = datetime.now(UTC)
        holding = [one for one in application.certificates if one.holds(now)]
        if not holding:
            raise GrantRefused(
                "invalid_client",
                700026,
                f"Application '{application.client_id}' has no certificate that is valid now.",
            )
        places = self._audiences(ask.tenant, application.tenant_uid)
        return self._assertions.verify(assertion, application.client_id, places, holding, ask.address).id

    def _audiences(self, named: str, uid: str) -> frozenset[str]:
        """What a client may call this endpoint: any of our URLs, the tenant as it wrote it or by its uid."""
        return frozenset(
            f"{base}/{tenant}{path}"
            for base in self._issuer.bases
            for tenant in (named, uid)
            for path in ("/oauth2/token", "/oauth2/v2.0/token", "", "/v2.0")
        )

    def _refresh(self, ask: Ask, application: Application) -> Given:
        self._credential(ask, application)
        text = _needed(ask.form, "refresh_token")
        resource = self._resource(ask) if ask.form.get("resource") or ask.form.get("scope") else ""
        fresh = secrets.make()
        redeemed = self.tenant(application.tenant_uid).access.rotate_refresh_token(
            application.client_id, secrets.digest(text), secrets.digest(fresh), REFRESH_IDLE
        )
        if redeemed.token is None:
            code, why = _NOT_REDEEMED[redeemed.state]
            raise GrantRefused("invalid_grant", code, why)
        return self._refreshed(
            application, redeemed.token, fresh, resource or redeemed.token.resource, ask.version
        )

    def _refreshed(
        self, application: Application, token: RefreshToken, text: str, resource: str, version: Version
    ) -> Given:
        credential = Credential("refresh", token.family)
        grant = Grant(
            application.tenant_uid, application.client_id, credential, application.roles, resource, version
        )
        return Given(grant, self._issuer.issue(grant), text)

    def _resource(self, ask: Ask) -> str:
        """v1 names the resource itself; without one Azure AD means its graph, and so do the samples."""
        if ask.version == "2.0":
            return self._scope(ask.form)
        return self._known(ask.form.get("resource") or RESOURCES[0])

    def _scope(self, form: Mapping[str, str]) -> str:
        """v2 names it as `RESOURCE/.default`; OpenID's own scopes beside it say nothing here."""
        scope = _needed(form, "scope")
        named = [part for part in scope.split() if part not in OPENID_SCOPES]
        resource = named[0].removesuffix(DEFAULT_SCOPE) if len(named) == 1 else ""
        if not resource or resource == named[0]:
            raise GrantRefused(
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope[:200]} is not valid. Client credential flows must have "
                "a scope value with /.default suffixed to the resource identifier (application ID URI).",
            )
        return self._known(resource)

    def _known(self, resource: str) -> str:
        resource = resource.removesuffix(DEFAULT_SCOPE)
        if not self._issuer.knows(resource):
            raise GrantRefused(
                "invalid_resource",
                500011,
                f"The resource principal named {resource[:200]} was not found. "
                f"Known: {', '.join((*RESOURCES, self._issuer.base_url))}.",
            )
        return resource


_NOT_REDEEMED: Mapping[str, tuple[int, str]] = {
    "unknown": (70000, "The provided value for the 'refresh_token' is not valid."),
    "expired": (700082, "The refresh token has expired due to inactivity or age."),
    "revoked": (50173, "The provided grant has expired due to it being revoked."),
    "replayed": (
        50173,
        "The refresh token was used before. It is in two hands, so it was revoked with all that came of it.",
    ),
}


def _client_id(form: Mapping[str, str]) -> str:
    """Named by the form, or by the assertion alone (RFC 7521, 4.2)."""
    if not form.get("client_id") and form.get("client_assertion"):
        return assertions.claimed_client(form["client_assertion"])
    return _needed(form, "client_id")


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise missing(name)
    return value


def missing(name: str) -> GrantRefused:
    """The refusal of a request without a parameter that it needs."""
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

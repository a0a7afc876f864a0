"""One application of a tenant: what it is, what it may, and the tokens that a person generated for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from indicia.model import AuditAction
from indicia.store import audit, clients, credentials
from indicia.store.nouns import Application, Redeemed, RefreshToken
from indicia.store.parts import Part


@dataclass(frozen=True, slots=True)
class Access(Part):
    """The applications of a tenant, one by one. Each call is one transaction."""

    def application(self, client_id: str) -> Application:
        """The one of that client id with its secrets (hashes) and certificates; NotFound."""
        with self._reading() as scope:
            return clients.one(scope, self.tenant.uid, client_id)

    def change(
        self, client_id: str, *, name: str | None = None, roles: Collection[str] | None = None
    ) -> Application:
        """Give it another name, or other roles; NotFound, InvalidValue.

        A role that is taken away is gone at once, one that is added comes with the next token.
        """
        with self._writing() as scope:
            before = clients.one(scope, self.tenant.uid, client_id)
            after = clients.change(scope, before, name, roles)
            was, said = ({"Name": one.name, "Roles": " ".join(one.roles)} for one in (before, after))
            different = [key for key in was if was[key] != said[key]]
            if different:
                audit.note(
                    scope,
                    self.actor,
                    AuditAction.CHANGE,
                    audit.APPLICATIONS,
                    key=before.client_id,
                    before={key: was[key] for key in different},
                    after={key: said[key] for key in different},
                )
            return after

    def add_refresh_token(
        self, client_id: str, token_hash: str, resource: str, idle: timedelta, longest: timedelta
    ) -> RefreshToken:
        """The first token of a family, which ends `idle` after its last use, or after `longest`; NotFound."""
        with self._writing() as scope:
            made = credentials.add_refresh_token(scope, client_id, token_hash, resource, idle, longest)
            said = {"RefreshToken": made.family, "ExpiresAt": made.family_expires_at}
            audit.of_client(scope, self.actor, AuditAction.CHANGE, client_id, after=said)
            return made

    def rotate_refresh_token(
        self, client_id: str, token_hash: str, next_hash: str, idle: timedelta
    ) -> Redeemed:
        """Take a token and put the next one of its family in its place; one of several callers wins."""
        with self._writing() as scope:
            return credentials.rotate_refresh_token(scope, client_id, token_hash, next_hash, idle)

    def revoke_refresh_tokens(self, client_id: str) -> int:
        """All of the application's are refused from now on, with what they got; how many could be used."""
        with self._writing() as scope:
            count = credentials.revoke_refresh_tokens(scope, client_id)
            audit.revoked(scope, self.actor, client_id, {"RefreshTokens": count})
            return count

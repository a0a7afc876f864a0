"""What the store keeps beside the nouns of `indicia.model`: tenants, applications, keys, answers of calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Literal

from indicia.model import Alert


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer of the service; nothing of another one is ever seen."""

    id: int
    uid: str
    """UUID in lower case; the tenant id of tokens and of detection ids."""
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret of an application. Its text is shown once and never stored."""

    id: int
    hash: str
    """What `auth.secrets` made of it."""
    hint: str
    """The first characters, so that a person tells two secrets apart."""
    description: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Neither revoked nor expired at `now` (UTC)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate by whose key an application signs its assertions; the key itself is never ours."""

    id: int
    """0 for one that is not stored yet."""
    sha1: str
    """Thumbprint in lower-case hex; `x5t` of an assertion names it."""
    sha256: str
    pem: str
    subject: str
    created_at: datetime
    valid_from: datetime
    expires_at: datetime
    revoked_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Not revoked, and valid at `now` (UTC)."""
        return self.revoked_at is None and self.valid_from <= now < self.expires_at


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as it is kept; its text was shown once."""

    family: int
    """The same for a token and all that replace it."""
    client_id: str
    resource: str
    expires_at: datetime
    family_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What became of a refresh token that somebody sent."""

    state: Literal["rotated", "unknown", "revoked", "replayed", "expired"]
    token: RefreshToken | None = None
    """The next one, where the state is rotated."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An application one of whose credentials is good at this moment."""

    tenant_uid: str
    client_id: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Application:
    """Something that asks for tokens, by its client id."""

    client_id: str
    tenant_uid: str
    name: str
    roles: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None
    secrets: tuple[Secret, ...]
    """Oldest first, those no longer valid too."""
    certificates: tuple[Certificate, ...] = ()
    """As `secrets`."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs tokens."""

    kid: str
    private_pem: str
    created_at: datetime
    retired_at: datetime | None
    """From then on (it may lie ahead) it signs nothing; it verifies until its last token has expired."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows a tenant has; kept by every write in its own transaction, so reading is one row."""

    definitions: int = 0
    indicators: int = 0
    patterns: int = 0
    """Indicators whose function is StartWith, EndWith or Contains."""
    alerts: int = 0
    detections: int = 0


@dataclass(frozen=True, slots=True)
class ImportState:
    """How far an import of one file under one definition has come."""

    key: str
    definition_id: int
    position: int
    """The reader's place (by default rows consumed) up to which everything is stored."""
    added: int
    known: int
    """Rows skipped because the same type, function and canonical value were there already."""
    finished: bool
    started_at: datetime
    last_modified_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one call of `record` changed. A replay of the same detections changes nothing."""

    new_detections: int
    """Detections that were not stored before, silent ones included."""
    opened: tuple[Alert, ...]
    """Alerts that did not exist before, as they now stand."""
    reopened: tuple[Alert, ...]
    """Alerts that were Resolved, as they now stand."""
    grown: tuple[Alert, ...]
    """Other alerts that got detections, as they now stand."""

    @property
    def new_alerts(self) -> int:
        """How many alerts were opened."""
        return len(self.opened)


class Role(IntEnum):
    """What a person may do in a tenant; each may all that those below it may."""

    READER = 1
    """Look at everything but settings."""
    ANALYST = 2
    """Work on alerts, definitions and indicators."""
    ADMINISTRATOR = 3
    """Change settings and members, too."""

    @property
    def word(self) -> str:
        """As people read it and the store keeps it: `Reader`."""
        return self.name.capitalize()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role of a word; KeyError where there is none."""
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs in, apart from any tenant."""

    uid: str
    """UUID in lower case."""
    name: str
    created_at: datetime
    issuer: str | None
    """Where the person signs on, if not here by a password."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person in one tenant."""

    uid: str
    """The person's."""
    name: str
    role: Role
    created_at: datetime
    """Since when it is a member."""
    created_by: str
    disabled_at: datetime | None = None
    issuer: str | None = None
    """Where the person signs on, if not here by a password."""
    seen_at: datetime | None = None
    """When a session of the person in this tenant was last used; None where there is none."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody being signed in. Its token is in the browser alone, the store has a digest."""

    id: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    """Latest end, however much it is used."""
    address: str
    agent: str
    """What the browser calls itself."""
    tenant: str
    """The tenant's name."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a session's token stands for, at this moment."""

    session: Session
    person: Member
    tenant: Tenant
    tenants: tuple[Tenant, ...]
    """Every tenant that the person may change to, this one too, by name."""


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link: whoever opens it becomes a member, or sets the password of `person_uid` anew."""

    id: int
    tenant: Tenant
    role: Role
    name: str
    """Whom it is for, as whoever made it wrote."""
    person_uid: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime

"""The tables of people: who they are, of which tenants they are members, their sessions, one-time links.

`tables` has them among all others, and says what holds for all.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
)

from indicia.store.columns import METADATA, Identity, Words, number, tenant, time, word

people = Table(  # who signs in; what each may do stands in `members`, one row for each tenant
    "people",
    METADATA,
    number(),
    Column("uid", word(36), nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("login", Words, nullable=False, unique=True),  # the name as it is compared
    Column("password", Words),  # what `auth.passwords` made of it; null for who signs on elsewhere
    Column("issuer", Words),
    Column("subject", Words),  # who that is to the issuer
    time("created_at"),
    UniqueConstraint("issuer", "subject"),
    sqlite_autoincrement=True,
)

members = Table(
    "members",
    METADATA,
    number(),
    tenant(),
    Column("person_id", Identity, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("role", word(16), nullable=False),
    time("created_at"),
    Column("created_by", Words, nullable=False),
    time("disabled_at", nullable=True),
    UniqueConstraint("tenant_id", "person_id"),
    Index(None, "person_id"),
    sqlite_autoincrement=True,
)

sessions = Table(  # who is signed in to which tenant; it ends with the membership
    "sessions",
    METADATA,
    number(),
    tenant(),
    Column("person_id", Identity, nullable=False),
    Column("hash", word(64), nullable=False, unique=True),
    time("created_at"),
    time("seen_at"),
    time("expires_at"),
    Column("address", Words, nullable=False),
    Column("agent", Words, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "person_id"], ["members.tenant_id", "members.person_id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "person_id"),
    Index(None, "expires_at"),
    sqlite_autoincrement=True,
)

links = Table(  # one-time links: to become a member, or to set a new password
    "links",
    METADATA,
    number(),
    tenant(),
    Column("hash", word(64), nullable=False, unique=True),
    Column("role", word(16), nullable=False),
    Column("person_id", Identity, ForeignKey("people.id", ondelete="CASCADE")),  # whose password
    Column("name", Words, nullable=False),
    time("created_at"),
    Column("created_by", Words, nullable=False),
    time("expires_at"),
    time("used_at", nullable=True),
    Index(None, "tenant_id", "id"),
    Index(None, "person_id"),
    sqlite_autoincrement=True,
)

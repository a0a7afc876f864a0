"""The tables of people: who they are, of which tenants they are members, their sessions, one-time links.

`tables` has them among all others, and says what holds for all.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from indicia.store.columns import METADATA, Identity, number, tenant, time

people = Table(  # who signs in; what each may do stands in `members`, one row for each tenant
    "people",
    METADATA,
    number(),
    Column("uid", String(36), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("login", Text, nullable=False, unique=True),  # the name as it is compared
    Column("password", Text),  # what `auth.passwords` made of it; null for who signs on elsewhere
    Column("issuer", Text),
    Column("subject", Text),  # who that is to the issuer
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
    Column("role", String(16), nullable=False),
    time("created_at"),
    Column("created_by", Text, nullable=False),
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
    Column("hash", String(64), nullable=False, unique=True),
    time("created_at"),
    time("seen_at"),
    time("expires_at"),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
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
    Column("hash", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("person_id", Identity, ForeignKey("people.id", ondelete="CASCADE")),  # whose password
    Column("name", Text, nullable=False),
    time("created_at"),
    Column("created_by", Text, nullable=False),
    time("expires_at"),
    time("used_at", nullable=True),
    Index(None, "tenant_id", "id"),
    Index(None, "person_id"),
    sqlite_autoincrement=True,
)

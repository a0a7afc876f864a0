"""The tables of what is counted: what was recorded in each hour, what sent events, what a tenant has.

`tables` has them among all others, and says what holds for all.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Table, UniqueConstraint

from indicia.store.columns import METADATA, Identity, Words, number, tenant, time, word

tallies = Table(  # what was recorded in an hour: see the module of that name
    "tallies",
    METADATA,
    number(),
    tenant(),
    Column("hour", BigInteger, nullable=False),  # since 1970 UTC
    Column("severity", word(32), nullable=False),
    Column("alerts", BigInteger, nullable=False),
    Column("detections", BigInteger, nullable=False),
    Column("silent", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "hour", "severity"),
    sqlite_autoincrement=True,
)

sources = Table(  # what sent events: see the module of that name
    "sources",
    METADATA,
    number(),
    tenant(),
    Column("name", Words, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("malformed", BigInteger, nullable=False),
    Column("detections", BigInteger, nullable=False),
    time("first_at"),
    time("last_at"),
    time("event_at", nullable=True),
    Column("behind", BigInteger, nullable=True),
    time("behind_at", nullable=True),
    UniqueConstraint("tenant_id", "name"),
    sqlite_autoincrement=True,
)

counters = Table(  # what a tenant has, kept by every write in its own transaction
    "counters",
    METADATA,
    Column("tenant_id", Identity, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("definitions", BigInteger, nullable=False),
    Column("indicators", BigInteger, nullable=False),
    Column("patterns", BigInteger, nullable=False),
    Column("alerts", BigInteger, nullable=False),
    Column("detections", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("allow_revision", BigInteger, nullable=False, server_default="0"),
)

"""What the tables are made of: names of constraints, and the columns that many of them have."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Text
from sqlalchemy.types import TypeEngine

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA = MetaData(naming_convention=NAMING)

Identity = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows itself only where the type is exactly INTEGER."""

# Compared and ordered by code points, as SQLite does it, whatever the language of a PostgreSQL server.
_POINTS = Text(collation="C")
Words: TypeEngine[str] = Text().with_variant(_POINTS, "postgresql")
"""A text."""


def word(length: int) -> TypeEngine[str]:
    """A text that is of so many characters at most: no database watches it, who writes it does."""
    return String(length).with_variant(_POINTS, "postgresql")


def number() -> Column[int]:
    """`id`, which the database counts."""
    return Column("id", Identity, primary_key=True, autoincrement=True)


def tenant() -> Column[int]:
    """Whose row it is."""
    return Column("tenant_id", Identity, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False)


def time(name: str, *, nullable: bool = False) -> Column[int]:
    """Microseconds since 1970 UTC."""
    return Column(name, BigInteger, nullable=nullable)


def stamps() -> tuple[Column[int], Column[str], Column[int], Column[str]]:
    """Who made the row and who changed it last; null until the first change (contract)."""
    return (
        time("created_at"),
        Column("created_by", Words, nullable=False),
        time("last_modified_at", nullable=True),
        Column("last_modified_by", Words),
    )

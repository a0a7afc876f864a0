"""The tables of what is looked for: alert definitions, indicators, and how both change.

`tables` has them among all others, and says what holds for all.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKeyConstraint,
    Index,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    literal_column,
)

from indicia.store.columns import METADATA, Identity, Words, number, stamps, tenant, time, word


def definition_columns() -> tuple[Column[str] | Column[bool] | Column[int] | Column[str | None], ...]:
    """What a definition says; its snapshots say the same."""
    return (
        Column("uid", word(36), nullable=False),
        Column("name", Words, nullable=False),
        Column("title", Words, nullable=False),
        Column("severity", word(32), nullable=False),
        Column("category", word(40), nullable=False),
        Column("internal_description", Words, nullable=False),
        Column("ux_description", Words, nullable=False),
        Column("recommended_action", Words),
        Column("enabled", Boolean, nullable=False),
        Column("group_by", word(16), nullable=False),
        Column("window_seconds", BigInteger, nullable=False),
    )


definitions = Table(
    "definitions",
    METADATA,
    number(),
    tenant(),
    *definition_columns(),
    *stamps(),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "uid"),
    sqlite_autoincrement=True,
)

indicators = Table(
    "indicators",
    METADATA,
    number(),
    tenant(),
    Column("definition_id", Identity, nullable=False),
    Column("type", word(16), nullable=False),
    Column("value", Words, nullable=False),
    Column("canonical", Words, nullable=False),
    # A digest of canonical: an index over the text itself would be three times as large, and PostgreSQL
    # refuses index entries beyond 2,704 bytes.
    Column("canonical_key", BigInteger, nullable=False),
    Column("function", word(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    time("valid_from", nullable=True),
    time("expires_at", nullable=True),
    Column("source", Words),
    *stamps(),
    ForeignKeyConstraint(
        ["tenant_id", "definition_id"], ["definitions.tenant_id", "definitions.id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "definition_id", "id"),
    # With the definition behind the key: what an import asks for is in the index alone, and the planner has
    # no reason to walk the whole definition instead.
    Index(None, "tenant_id", "canonical_key", "definition_id"),
    Index(None, "tenant_id", "type", "function", "id"),
    sqlite_autoincrement=True,
)

HEAD = 24
"""Characters of a canonical value by which those are found that begin alike."""
# Of the numbers as they stand: a bound one is not that of the index.
canonical_head: ColumnElement[str] = func.substr(
    indicators.c.canonical, literal_column("1"), literal_column(str(HEAD)), type_=Text()
)
Index("ix_indicators_head", indicators.c.tenant_id, canonical_head, indicators.c.id)
for _name, _where, _columns in (
    ("disabled", indicators.c.enabled.is_(false()), (indicators.c.id,)),
    ("expiring", indicators.c.expires_at.is_not(None), (indicators.c.expires_at, indicators.c.id)),
):
    Index(
        f"ix_indicators_{_name}",
        indicators.c.tenant_id,
        *_columns,
        sqlite_where=_where,
        postgresql_where=_where,
    )

imports = Table(
    "imports",
    METADATA,
    number(),
    tenant(),
    Column("key", word(128), nullable=False),
    Column("definition_id", Identity, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("known", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    time("started_at"),
    time("last_modified_at"),
    UniqueConstraint("tenant_id", "definition_id", "key"),
    ForeignKeyConstraint(
        ["tenant_id", "definition_id"], ["definitions.tenant_id", "definitions.id"], ondelete="CASCADE"
    ),
    sqlite_autoincrement=True,
)

purges = Table(  # what is deleted and not removed yet: see the module of that name
    "purges",
    METADATA,
    number(),
    tenant(),
    Column("definition_id", BigInteger, nullable=False),  # 0: of the whole tenant
    Column("indicators_to", BigInteger, nullable=False),  # the highest id that is gone
    Column("definitions_to", BigInteger, nullable=False),  # 0: the definitions stay
    Index(None, "tenant_id", "definition_id"),
    sqlite_autoincrement=True,
)

changes = Table(  # what changed of what is matched: see the module of that name
    "changes",
    METADATA,
    number(),
    tenant(),
    Column("generation", BigInteger, nullable=False),
    Column("kind", word(16), nullable=False),
    Column("target_id", BigInteger, nullable=False),
    Column("indicators_to", BigInteger, nullable=False),
    Index(None, "tenant_id", "generation"),
    sqlite_autoincrement=True,
)

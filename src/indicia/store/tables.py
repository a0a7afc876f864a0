"""The tables. SQLite and PostgreSQL take them alike; the migrations make them, a test compares the two.

Conventions: `id` is a 64-bit identity and never used twice; times are microseconds since 1970 UTC as
BIGINT; lists are JSON as TEXT; every table of a tenant carries `tenant_id`, and a reference from one of
them to another holds both columns, so that the database itself refuses a row that mixes two tenants.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    false,
)

from indicia.store.accounts import links, members, people, sessions
from indicia.store.columns import METADATA, Identity, Words, word
from indicia.store.columns import number as _id
from indicia.store.columns import stamps as _stamps
from indicia.store.columns import tenant as _tenant
from indicia.store.columns import time as _time
from indicia.store.figures import counters, sources, tallies
from indicia.store.sought import (
    HEAD,
    canonical_head,
    changes,
    definition_columns,
    definitions,
    imports,
    indicators,
    purges,
)

__all__ = [
    "HEAD",
    "METADATA",
    "canonical_head",
    "changes",
    "counters",
    "definitions",
    "imports",
    "indicators",
    "links",
    "members",
    "people",
    "purges",
    "sessions",
    "sources",
    "tallies",
]

compatible = Table(  # one row: code of which version on may use these tables
    "compatible", METADATA, Column("since", String(32), nullable=False, primary_key=True)
)

tenants = Table(
    "tenants",
    METADATA,
    _id(),
    Column("uid", word(36), nullable=False, unique=True),
    Column("name", Words, nullable=False, unique=True),
    _time("created_at"),
    sqlite_autoincrement=True,
)

signing_keys = Table(
    "signing_keys",
    METADATA,
    _id(),
    Column("kid", word(64), nullable=False, unique=True),
    Column("private_pem", Words, nullable=False),
    _time("created_at"),
    _time("retired_at", nullable=True),
    sqlite_autoincrement=True,
)

applications = Table(
    "applications",
    METADATA,
    _id(),
    _tenant(),
    Column("client_id", word(36), nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("roles", Words, nullable=False),  # JSON list of strings
    _time("created_at"),
    _time("revoked_at", nullable=True),
    UniqueConstraint("tenant_id", "id"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    METADATA,
    _id(),
    _tenant(),
    Column("application_id", Identity, nullable=False),
    Column("hash", Words, nullable=False),
    Column("hint", Words, nullable=False),
    Column("description", Words, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "application_id"], ["applications.tenant_id", "applications.id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "application_id"),
    sqlite_autoincrement=True,
)

certificates = Table(
    "certificates",
    METADATA,
    _id(),
    _tenant(),
    Column("application_id", Identity, nullable=False),
    Column("sha1", word(40), nullable=False),
    Column("sha256", word(64), nullable=False),
    Column("pem", Words, nullable=False),
    Column("subject", Words, nullable=False),
    _time("created_at"),
    _time("valid_from"),
    _time("expires_at"),
    _time("revoked_at", nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "application_id"], ["applications.tenant_id", "applications.id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "application_id"),
    sqlite_autoincrement=True,
)

refresh_tokens = Table(  # each use replaces the token by the next one of its family
    "refresh_tokens",
    METADATA,
    _id(),
    _tenant(),
    Column("application_id", Identity, nullable=False),
    Column("family", BigInteger, nullable=False),  # the id of the first one
    Column("hash", Words, nullable=False),
    Column("resource", Words, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("family_expires_at"),
    _time("used_at", nullable=True),
    _time("revoked_at", nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "application_id"], ["applications.tenant_id", "applications.id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "application_id", "family"),
    Index(None, "tenant_id", "hash"),
    sqlite_autoincrement=True,
)

receipts = Table(  # what was answered under an Idempotency-Key
    "receipts",
    METADATA,
    _id(),
    _tenant(),
    Column("key", word(256), nullable=False),
    Column("digest", word(64), nullable=False),
    Column("answer", Words, nullable=False),
    _time("created_at"),
    UniqueConstraint("tenant_id", "key"),
    Index(None, "tenant_id", "created_at"),
    sqlite_autoincrement=True,
)

snapshots = Table(  # definitions as they were when something matched; outlive them
    "snapshots",
    METADATA,
    _id(),
    _tenant(),
    Column("digest", word(64), nullable=False),
    Column("definition_id", BigInteger, nullable=False),  # no reference: the definition may be gone
    *definition_columns(),
    *_stamps(),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "digest"),
    Index(None, "tenant_id", "definition_id"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    METADATA,
    _id(),
    _tenant(),
    Column("alert_id", word(32), nullable=False),
    Column("snapshot_id", Identity, nullable=False),
    Column("machine", Words, nullable=False),
    Column("group", Words, nullable=False),
    Column("window", Words, nullable=False),
    _time("first_seen", nullable=True),
    _time("last_seen", nullable=True),
    Column("detection_count", BigInteger, nullable=False),
    Column("indicators", Words, nullable=False),  # JSON list of canonical values
    Column("status", word(16), nullable=False),
    Column("reopened_count", BigInteger, nullable=False),
    _time("created_at"),
    _time("last_modified_at"),
    Column("classification", word(16), nullable=False, server_default="Unknown"),
    Column("determination", word(24), nullable=False, server_default="NotAvailable"),
    Column("assigned_to", Words),
    _time("resolved_at", nullable=True),
    Column("storm", Boolean, nullable=False, server_default="0"),
    Column("allow_lists", Words, nullable=False, server_default="[]"),  # JSON list of texts
    Column("severity_rank", Integer, nullable=False, server_default="0"),  # the number of the snapshot's
    UniqueConstraint("tenant_id", "alert_id"),
    ForeignKeyConstraint(["tenant_id", "snapshot_id"], ["snapshots.tenant_id", "snapshots.id"]),
    Index(None, "tenant_id", "id", unique=True),
    Index(None, "tenant_id", "snapshot_id"),
    # For the overview: the open ones, and machines, are grouped in the order of an index.
    Index(None, "tenant_id", "status", "snapshot_id"),
    Index(None, "tenant_id", "created_at"),
    Index(None, "tenant_id", "assigned_to"),
    # The orders of the queue, with what it is filtered by most: a filter that few fulfil reads no table.
    Index("ix_alerts_newest", "tenant_id", "id", "status", "severity_rank", "last_seen", "detection_count"),
    Index("ix_alerts_gravest", "tenant_id", "severity_rank", "id", "status", "last_seen"),
    Index("ix_alerts_last_seen", "tenant_id", "last_seen", "id", "status", "severity_rank"),
    Index("ix_alerts_largest", "tenant_id", "detection_count", "id", "status", "severity_rank", "last_seen"),
    sqlite_autoincrement=True,
)

detections = Table(
    "detections",
    METADATA,
    _id(),
    _tenant(),
    Column("detection_id", word(32), nullable=False),
    Column("alert_id", word(32), nullable=False),  # no reference: silent detections open no alert
    Column("event_id", word(32), nullable=False),
    Column("raises", Boolean, nullable=False),
    Column("source", Words, nullable=False),
    Column("line", BigInteger, nullable=False),
    _time("event_time", nullable=True),
    Column("time_note", word(16)),
    Column("machine", Words, nullable=False),
    Column("schema", word(64), nullable=False),
    Column("window", Words, nullable=False),
    Column("evidence", Words, nullable=False),  # JSON list of {path, role, side, matched, raises}
    Column("snapshot_id", Identity, nullable=False),
    # The indicator as it was; no reference: it may be gone.
    Column("indicator_id", BigInteger, nullable=False),
    Column("indicator_type", word(16), nullable=False),
    Column("indicator_value", Words, nullable=False),
    Column("indicator_canonical", Words, nullable=False),
    Column("indicator_function", word(16), nullable=False),
    Column("indicator_valid_from", BigInteger),
    Column("indicator_expires_at", BigInteger),
    Column("indicator_source", Words),
    _time("recorded_at"),
    Column("silenced", word(16)),
    Column("suppression_id", BigInteger),  # no reference: the suppression may be gone
    Column("storm_id", word(32)),
    Column("allow_list_id", BigInteger),  # no reference: the list may be gone
    Column("allow_lists", Words, nullable=False, server_default="[]"),  # JSON list of texts
    UniqueConstraint("tenant_id", "detection_id"),
    ForeignKeyConstraint(["tenant_id", "snapshot_id"], ["snapshots.tenant_id", "snapshots.id"]),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "alert_id", "id"),
    Index(None, "tenant_id", "snapshot_id"),
    Index(None, "tenant_id", "recorded_at", "id"),
    sqlite_autoincrement=True,
)

# An event says what its machine is called, and PostgreSQL's ordered indexes take nothing over 2,704 bytes.
Index(
    "ix_alerts_tenant_id_machine_created_at", alerts.c.tenant_id, alerts.c.machine, alerts.c.created_at
).ddl_if(dialect="sqlite")
Index("ix_alerts_machine", alerts.c.machine, postgresql_using="hash").ddl_if(dialect="postgresql")

# Few detections are silenced, and an index that leaves out the others costs these nothing.
for _name, _column in (
    ("suppression", detections.c.suppression_id),
    ("storm", detections.c.storm_id),
    ("allow_list", detections.c.allow_list_id),
):
    Index(
        f"ix_detections_{_name}",
        detections.c.tenant_id,
        _column,
        detections.c.id,
        sqlite_where=_column.is_not(None),
        postgresql_where=_column.is_not(None),
    )

Index(
    "ix_alerts_storm",
    alerts.c.tenant_id,
    alerts.c.id,
    sqlite_where=alerts.c.storm.is_(True),
    postgresql_where=alerts.c.storm.is_(True),
)

event_texts = Table(  # the events of detections, beside them because few ask for them
    "event_texts",
    METADATA,
    _id(),
    _tenant(),
    Column("detection_id", word(32), nullable=False),
    Column("text", Words, nullable=False),
    UniqueConstraint("tenant_id", "detection_id"),
    ForeignKeyConstraint(
        ["tenant_id", "detection_id"], ["detections.tenant_id", "detections.detection_id"], ondelete="CASCADE"
    ),
    sqlite_autoincrement=True,
)

alert_values = Table(  # all of the values of which an alert names ten
    "alert_values",
    METADATA,
    _id(),
    _tenant(),
    Column("alert_number", Identity, nullable=False),
    Column("value_key", BigInteger, nullable=False),  # as indicators.canonical_key
    UniqueConstraint("tenant_id", "alert_number", "value_key"),
    Index(None, "tenant_id", "value_key", "alert_number"),
    ForeignKeyConstraint(
        ["tenant_id", "alert_number"], ["alerts.tenant_id", "alerts.id"], ondelete="CASCADE"
    ),
    sqlite_autoincrement=True,
)

alert_comments = Table(
    "alert_comments",
    METADATA,
    _id(),
    _tenant(),
    Column("alert_id", word(32), nullable=False),
    Column("text", Words, nullable=False),
    _time("created_at"),
    Column("created_by", Words, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "alert_id"], ["alerts.tenant_id", "alerts.alert_id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "alert_id", "id"),
    sqlite_autoincrement=True,
)

alert_changes = Table(  # one row for each property that was changed
    "alert_changes",
    METADATA,
    _id(),
    _tenant(),
    Column("alert_id", word(32), nullable=False),
    _time("at"),
    Column("by", Words, nullable=False),
    Column("property", word(32), nullable=False),
    Column("before", Words),
    Column("after", Words),
    ForeignKeyConstraint(
        ["tenant_id", "alert_id"], ["alerts.tenant_id", "alerts.alert_id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "alert_id", "id"),
    sqlite_autoincrement=True,
)

suppressions = Table(
    "suppressions",
    METADATA,
    _id(),
    _tenant(),
    Column("definition_uid", word(36)),  # no reference: the definition may be gone
    Column("definition_id", BigInteger),
    Column("machine", Words),
    Column("value", Words),
    Column("reason", Words, nullable=False),
    _time("ends_at"),
    Column("alert_id", word(32)),
    _time("created_at"),
    Column("created_by", Words, nullable=False),
    Column("suppressed_count", BigInteger, nullable=False),
    _time("last_suppressed_at", nullable=True),
    Index(None, "tenant_id", "ends_at"),
    Index(None, "tenant_id", "id"),
    sqlite_autoincrement=True,
)

openings = Table(  # how many alerts a definition opened in an hour: see the module storms
    "openings",
    METADATA,
    _id(),
    _tenant(),
    Column("definition_uid", word(36), nullable=False),
    Column("hour", BigInteger, nullable=False),  # since 1970 UTC
    Column("opened", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "hour", "definition_uid"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    METADATA,
    _id(),
    _tenant(),
    _time("at"),
    Column("by", Words, nullable=False),
    Column("through", word(16), nullable=False),
    Column("request_id", word(128)),
    Column("action", word(16), nullable=False),
    Column("set_name", word(32), nullable=False),
    Column("key", word(64)),
    Column("count", BigInteger, nullable=False),
    Column("before", Words),
    Column("after", Words),
    Column("first_id", BigInteger),  # of an entry about many: the least and the greatest of them,
    Column("last_id", BigInteger),
    Column("ids", Words),  # and which, as `3-17 20`
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "at", "id"),  # by which people read it: the module trail
    sqlite_autoincrement=True,
)
Index(  # the history of one entity
    "ix_audit_entity",
    audit.c.tenant_id,
    audit.c.set_name,
    audit.c.key,
    audit.c.id,
    sqlite_where=audit.c.key.is_not(None),
    postgresql_where=audit.c.key.is_not(None),
)
Index(  # what was done to it together with others
    "ix_audit_many",
    audit.c.tenant_id,
    audit.c.set_name,
    audit.c.id,
    audit.c.first_id,
    audit.c.last_id,
    sqlite_where=audit.c.first_id.is_not(None),
    postgresql_where=audit.c.first_id.is_not(None),
)

outputs = Table(
    "outputs",
    METADATA,
    _id(),
    _tenant(),
    Column("name", word(64), nullable=False),
    Column("kind", word(16), nullable=False),
    Column("target", Words, nullable=False),
    Column("sends", Words, nullable=False),  # JSON list of model.Sent
    Column("options", Words, nullable=False),  # JSON object of texts
    Column("sealed", Words, nullable=False),
    Column("severity", word(32)),
    Column("definition_ids", Words, nullable=False),  # JSON list of numbers; no reference: they may be gone
    Column("enabled", Boolean, nullable=False),
    *_stamps(),
    Column("failures", BigInteger, nullable=False),
    _time("retry_at", nullable=True),
    Column("fault", Words),
    _time("delivered_at", nullable=True),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    sqlite_autoincrement=True,
)

outbox = Table(  # a row for each message and output: see the module of that name
    "outbox",
    METADATA,
    _id(),
    _tenant(),
    Column("output_id", Identity, nullable=False),
    Column("message_id", word(40), nullable=False),
    Column("sent", word(16), nullable=False),
    Column("body", Words, nullable=False),
    Column("state", word(16), nullable=False),
    Column("attempts", BigInteger, nullable=False),
    _time("made_at"),
    _time("done_at", nullable=True),
    Column("fault", Words),
    ForeignKeyConstraint(["tenant_id", "output_id"], ["outputs.tenant_id", "outputs.id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "output_id", "state", "id"),
    Index(None, "tenant_id", "message_id"),
    sqlite_autoincrement=True,
)

allow_lists = Table(
    "allow_lists",
    METADATA,
    _id(),
    _tenant(),
    Column("name", word(100), nullable=False),
    Column("owner", Words, nullable=False),
    Column("comment", Words, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("action", word(16), nullable=False),
    Column("types", Words, nullable=False),  # JSON list of texts
    Column("entry_count", BigInteger, nullable=False),
    *_stamps(),
    Column("suppressed_count", BigInteger, nullable=False),
    _time("last_suppressed_at", nullable=True),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    sqlite_autoincrement=True,
)

allow_entries = Table(
    "allow_entries",
    METADATA,
    _id(),
    _tenant(),
    Column("list_id", Identity, nullable=False),
    Column("kind", word(16), nullable=False),
    Column("value", Words, nullable=False),
    Column("type", word(16)),
    ForeignKeyConstraint(
        ["tenant_id", "list_id"], ["allow_lists.tenant_id", "allow_lists.id"], ondelete="CASCADE"
    ),
    Index(None, "tenant_id", "list_id", "id"),
    sqlite_autoincrement=True,
)

retention = Table(  # what a tenant keeps otherwise than by default: see the module of that name
    "retention",
    METADATA,
    _id(),
    _tenant(),
    Column("kept", word(16), nullable=False),
    Column("days", BigInteger),
    Column("most", BigInteger),
    UniqueConstraint("tenant_id", "kept"),
    sqlite_autoincrement=True,
)

marks = Table(  # of all tenants, by digests: see the module of that name
    "marks",
    METADATA,
    _id(),
    Column("kind", word(16), nullable=False),
    Column("mark", word(64), nullable=False),
    Column("value", word(64), nullable=False),
    _time("rank"),
    _time("kept_until"),
    UniqueConstraint("kind", "mark"),
    Index(None, "kept_until"),
    sqlite_autoincrement=True,
)

jobs = Table(  # work on files that people bring: see the module of that name
    "jobs",
    METADATA,
    _id(),
    _tenant(),
    Column("kind", word(16), nullable=False),
    Column("key", word(32), nullable=False),
    Column("host", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("made_by", Words, nullable=False),
    _time("made_at"),
    Column("phase", word(16), nullable=False, server_default=""),  # empty: no job, but a note of 0020
    Column("asked", Words, nullable=False, server_default=""),
    Column("state", Words, nullable=False, server_default=""),
    Column("lease", word(32), nullable=False, server_default=""),
    Column("lease_until", BigInteger, nullable=False, server_default="0"),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    Column("cancelled", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("tenant_id", "kind", "key"),
    Index(None, "phase", "kind"),
    Index(None, "tenant_id", "id", unique=True),
    sqlite_autoincrement=True,
)

job_pieces = Table(  # their files, where several hosts share them
    "job_pieces",
    METADATA,
    _id(),
    _tenant(),
    Column("job_id", Identity, nullable=False),
    Column("name", word(32), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    UniqueConstraint("tenant_id", "job_id", "name", "position"),
    sqlite_autoincrement=True,
)

OF_TENANTS = frozenset(table for table in METADATA.tables.values() if "tenant_id" in table.c)
"""Tables that only `scope.Scope` may reach."""

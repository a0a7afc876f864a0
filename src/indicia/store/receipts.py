"""What was answered under an Idempotency-Key: the same key is answered in the same way for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import receipts

KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was sent and what was answered."""

    digest: str
    """Of the content that was sent."""
    answer: str


def find(scope: Scope, key: str) -> Receipt | None:
    """The one of a key, unless it is too old."""
    since = rows.micros(rows.now() - KEPT)
    row = scope.row(scope.select(receipts).where(receipts.c.key == key, receipts.c.created_at > since))
    return None if row is None else Receipt(row.digest, row.answer)


def keep(scope: Scope, key: str, receipt: Receipt) -> Receipt:
    """Keep one, and forget those that are too old; of two under one key the first is kept and given."""
    now = rows.now()
    scope.delete(receipts, receipts.c.created_at <= rows.micros(now - KEPT))
    before = find(scope, key)
    if before is None:
        values = {"key": key, "digest": receipt.digest, "answer": receipt.answer}
        scope.insert(receipts, **values, created_at=rows.micros(now))
    return before or receipt

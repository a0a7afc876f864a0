"""The nouns as JSON on the command line: one spelling everywhere, that of the scan's NDJSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indicia.cli.show import stamp

if TYPE_CHECKING:
    from indicia.allow import AllowList
    from indicia.messages import Backlog, Message, Output
    from indicia.model import (
        Alert,
        AlertChange,
        AlertComment,
        AlertDefinition,
        AuditEntry,
        Detection,
        Indicator,
        Suppression,
    )
    from indicia.store import Application, Certificate, Secret


def definition(noun: AlertDefinition) -> dict[str, Any]:
    """All of an alert definition."""
    return {
        "id": noun.id or None,
        "uid": noun.uid,
        "name": noun.name,
        "title": noun.title,
        "severity": noun.severity,
        "category": noun.category,
        "internal_description": noun.internal_description,
        "ux_description": noun.ux_description,
        "recommended_action": noun.recommended_action,
        "enabled": noun.enabled,
        "group_by": noun.group_by,
        "window_seconds": noun.window_seconds,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
        "last_modified_at": noun.last_modified_at,
        "last_modified_by": noun.last_modified_by,
    }


def indicator(noun: Indicator) -> dict[str, Any]:
    """All of an indicator, its definition by id."""
    return {
        "id": noun.id or None,
        "type": noun.type,
        "value": noun.value,
        "canonical": noun.canonical,
        "function": noun.function,
        "enabled": noun.enabled,
        "valid_from": noun.valid_from,
        "expires_at": noun.expires_at,
        "source": noun.source,
        "definition_id": noun.definition.id or None,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
        "last_modified_at": noun.last_modified_at,
        "last_modified_by": noun.last_modified_by,
    }


def detection(noun: Detection) -> dict[str, Any]:
    """A detection as `scan --output ndjson` writes it; ids of what no store has seen are null."""
    owner, found = noun.indicator.definition, noun.indicator
    return {
        "detection_id": noun.id,
        "alert_id": noun.alert_id,
        "event_id": noun.event_id,
        "raises": noun.raises,
        "source": noun.source,
        "line": noun.line,
        "event_time": stamp(noun.event_time) if noun.event_time else None,
        "machine": noun.machine,
        "indicator": {
            "id": found.id or None,
            "type": found.type,
            "value": found.value,
            "function": found.function,
        },
        "definition": {
            "uid": owner.uid,
            "id": owner.id or None,
            "title": owner.title,
            "severity": owner.severity,
            "category": owner.category,
        },
        "evidence": [
            {"path": piece.path, "role": piece.role, "side": piece.side, "matched": piece.matched}
            for piece in noun.evidence
        ],
    }


def kept_detection(noun: Detection) -> dict[str, Any]:
    """The same, and what the store made of it; the lines of a scan have no more fields than they ever had."""
    return detection(noun) | {"silenced": noun.silenced, "allow_lists": list(noun.allow_lists)}


def alert(noun: Alert) -> dict[str, Any]:
    """An alert, with its definition as it was at the first detection."""
    owner = noun.definition
    return {
        "number": noun.number or None,
        "alert_id": noun.id,
        "status": noun.status,
        "classification": noun.classification,
        "determination": noun.determination,
        "assigned_to": noun.assigned_to,
        "resolved_at": noun.resolved_at,
        "storm": noun.storm,
        "title": owner.title,
        "severity": owner.severity,
        "category": owner.category,
        "recommended_action": owner.recommended_action,
        "definition": {"uid": owner.uid, "id": owner.id or None, "name": owner.name},
        "machine": noun.machine,
        "group": noun.group,
        "window": noun.window,
        "first_seen": noun.first_seen,
        "last_seen": noun.last_seen,
        "detection_count": noun.detection_count,
        "indicators": list(noun.indicators),
        "allow_lists": list(noun.allow_lists),
        "reopened_count": noun.reopened_count,
        "created_at": noun.created_at,
        "last_modified_at": noun.last_modified_at,
    }


def comment(noun: AlertComment) -> dict[str, Any]:
    """What somebody wrote about an alert."""
    return {
        "id": noun.id,
        "text": noun.text,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
    }


def change(noun: AlertChange) -> dict[str, Any]:
    """What was changed of an alert."""
    return {
        "id": noun.id,
        "at": noun.at,
        "by": noun.by,
        "property": noun.property,
        "before": noun.before,
        "after": noun.after,
    }


def suppression(noun: Suppression) -> dict[str, Any]:
    """All of a suppression."""
    return {
        "id": noun.id or None,
        "definition_id": noun.definition_id,
        "definition_uid": noun.definition_uid,
        "machine": noun.machine,
        "value": noun.value,
        "reason": noun.reason,
        "ends_at": noun.ends_at,
        "suppressed_count": noun.suppressed_count,
        "last_suppressed_at": noun.last_suppressed_at,
        "alert_id": noun.alert_id,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
    }


def allow_list(noun: AllowList) -> dict[str, Any]:
    """All of an allow-list but its entries."""
    return {
        "id": noun.id or None,
        "name": noun.name,
        "owner": noun.owner,
        "comment": noun.comment,
        "enabled": noun.enabled,
        "action": noun.action,
        "types": list(noun.types),
        "entries": noun.entry_count,
        "suppressed_count": noun.suppressed_count,
        "last_suppressed_at": noun.last_suppressed_at,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
        "last_modified_at": noun.last_modified_at,
        "last_modified_by": noun.last_modified_by,
    }


def audit_entry(noun: AuditEntry) -> dict[str, Any]:
    """Who changed what; before and after as objects."""
    return {
        "id": noun.id,
        "at": noun.at,
        "by": noun.by,
        "through": noun.through,
        "request_id": noun.request_id,
        "action": noun.action,
        "set": noun.set_name,
        "key": noun.key,
        "count": noun.count,
        "before": json.loads(noun.before) if noun.before else None,
        "after": json.loads(noun.after) if noun.after else None,
    }


def application(noun: Application) -> dict[str, Any]:
    """An application with its secrets, of which nobody has the text any more."""
    return {
        "client_id": noun.client_id,
        "tenant_id": noun.tenant_uid,
        "name": noun.name,
        "roles": list(noun.roles),
        "created_at": noun.created_at,
        "revoked_at": noun.revoked_at,
        "secrets": [secret(kept) for kept in noun.secrets],
        "certificates": [certificate(kept) for kept in noun.certificates],
    }


def secret(noun: Secret) -> dict[str, Any]:
    """A secret without its text."""
    return {
        "id": noun.id,
        "hint": noun.hint,
        "description": noun.description,
        "created_at": noun.created_at,
        "expires_at": noun.expires_at,
        "revoked_at": noun.revoked_at,
    }


def certificate(noun: Certificate) -> dict[str, Any]:
    """A certificate of an application, by its thumbprints."""
    return {
        "id": noun.id,
        "subject": noun.subject,
        "sha1": noun.sha1,
        "sha256": noun.sha256,
        "created_at": noun.created_at,
        "valid_from": noun.valid_from,
        "expires_at": noun.expires_at,
        "revoked_at": noun.revoked_at,
    }


def output(noun: Output, backlog: Backlog | None = None) -> dict[str, Any]:
    """All of an output but its secret, and what waits for it."""
    return {
        "id": noun.id,
        "name": noun.name,
        "kind": noun.kind,
        "target": noun.target,
        "sends": noun.sends,
        "options": dict(noun.options),
        "severity": noun.severity,
        "definition_ids": noun.definition_ids,
        "enabled": noun.enabled,
        "created_at": noun.created_at,
        "created_by": noun.created_by,
        "last_modified_at": noun.last_modified_at,
        "last_modified_by": noun.last_modified_by,
        "delivered_at": noun.delivered_at,
        "failures": noun.failures,
        "retry_at": noun.retry_at,
        "fault": noun.fault,
        "waiting": backlog.waiting if backlog else 0,
        "oldest_waiting": backlog.oldest if backlog else None,
        "dead": backlog.dead if backlog else 0,
    }


def message(noun: Message) -> dict[str, Any]:
    """All of a message, its body as it is sent."""
    return {
        "number": noun.number,
        "id": noun.id,
        "sent": noun.sent,
        "made_at": noun.made_at,
        "state": noun.state,
        "attempts": noun.attempts,
        "done_at": noun.done_at,
        "fault": noun.fault,
        "body": json.loads(noun.body),
    }

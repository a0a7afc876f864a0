"""`indicia alerts`: what was found, and where each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indicia.cli import nouns
from indicia.cli.session import Choice, Session, list_options, pass_session, store_options
from indicia.cli.show import details, page, result, say, table
from indicia.model import AlertStatus

if TYPE_CHECKING:
    from indicia.model import Alert, Detection

DETECTION_COLUMNS = ("event time", "source", "line", "indicator", "path", "matched")
STATUSES = Choice(one.value for one in AlertStatus)


@click.group()
def group() -> None:
    """Alerts: detections of one definition on one machine in one window of time."""


@group.command("list")
@click.option("--status", type=STATUSES, help="Those that stand so.")
@click.option("--definition", metavar="ID", type=click.IntRange(1), help="Those of this one alone.")
@list_options
@pass_session
def list_(
    session: Session,
    status: str | None,
    definition: int | None,
    limit: int,
    after: int,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """List alerts in the order of their numbers."""
    from indicia.cli import outputs

    with session.tenant(tenant) as own:
        some = own.alerts(
            after=after,
            limit=limit + 1,
            definition_uid=None if definition is None else own.definition(definition).uid,
            status=AlertStatus(status) if status else None,
        )
    found = page(some, limit, lambda one: one.number)
    result(
        [nouns.alert(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(
            ("number", "status", *outputs.ALERT_COLUMNS),
            ((str(one.number), one.status, *outputs.alert_row(one)) for one in found),
        ),
    )


@group.command()
@click.argument("alert", metavar="NUMBER")
@click.option(
    "--limit", type=click.IntRange(0, 10_000), default=100, show_default=True, help="Detections shown."
)
@store_options
@pass_session
def show(session: Session, alert: str, limit: int, tenant: str | None, json_asked: bool) -> None:
    """Show an alert, by its number or alert id, and the detections that made it."""
    with session.tenant(tenant) as own:
        found = own.alert(_named(alert))
        detections = [one for _, one in own.detections(found.id, raises=True, limit=limit)] if limit else []
    if len(detections) < found.detection_count:
        say(f"{len(detections):,} of {found.detection_count:,} detections are shown; --limit shows more.")
    shown = nouns.alert(found) | {"detections": [nouns.detection(one) for one in detections]}
    result(shown, json_asked=json_asked, text=lambda: _show(found, detections))


@group.command("set")
@click.argument("alert", metavar="NUMBER")
@click.argument("status", type=STATUSES)
@store_options
@pass_session
def set_(session: Session, alert: str, status: str, tenant: str | None, json_asked: bool) -> None:
    """Say where an alert stands. A new detection in a Resolved one reopens it."""
    with session.tenant(tenant) as own:
        changed = own.change_alert_status(_named(alert), AlertStatus(status))
    result(
        nouns.alert(changed),
        json_asked=json_asked,
        text=lambda: say(f"Alert {changed.number} is {changed.status}."),
    )


def _named(word: str) -> int | str:
    """A number, or the alert id, whose 32 hex digits may all be decimal ones."""
    return int(word) if word.isdecimal() and len(word) < 19 else word.lower()


def _show(one: Alert, detections: list[Detection]) -> None:
    owner = one.definition
    details(
        (
            ("number", str(one.number)),
            ("alert id", one.id),
            ("status", one.status),
            ("title", owner.title),
            ("severity", owner.severity),
            ("category", owner.category),
            ("description", owner.ux_description),
            ("recommended action", owner.recommended_action),
            ("definition", f"{owner.id} {owner.name}"),
            ("machine", one.machine),
            ("group", one.group.replace("\t", " ")),
            ("first seen", one.first_seen),
            ("last seen", one.last_seen),
            ("detections", one.detection_count),
            ("indicators", ", ".join(one.indicators)),
            ("reopened", one.reopened_count or None),
            ("created at", one.created_at),
            ("last modified at", one.last_modified_at),
        )
    )
    if detections:
        click.echo()
        table(DETECTION_COLUMNS, (row for found in detections for row in _rows(found)))


def _rows(found: Detection) -> list[tuple[object, ...]]:
    """A line for each piece of evidence that raised."""
    indicator = f"{found.indicator.type} {found.indicator.function} {found.indicator.value}"
    return [
        (found.event_time, found.source, str(found.line), indicator, piece.path, piece.matched)
        for piece in found.evidence
        if piece.raises
    ]

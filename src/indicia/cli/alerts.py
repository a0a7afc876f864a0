"""`indicia alerts`: what was found, and where each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from indicia.cli import nouns
from indicia.cli.ingest import ingest
from indicia.cli.session import Choice, Session, list_options, pass_session, store_options
from indicia.cli.show import counted, details, moment, page, result, safe, say, table
from indicia.cli.times import Time, end_option
from indicia.model import AlertStatus, Classification, Determination, SuppressAlert

if TYPE_CHECKING:
    from indicia.model import Alert, AlertComment, Detection

DETECTION_COLUMNS = ("event time", "source", "line", "indicator", "path", "matched")
HISTORY_COLUMNS = ("at", "by", "property", "before", "after")
STORM = "stands for the alerts beyond the hourly limit of its definition; its detections are in none"
SUPPRESSED_BY = ("definition", "machine", "value")
_NAMES = {"status": "Status", "classification": "Classification", "determination": "Determination"}
STATUSES = Choice(one.value for one in AlertStatus)


@click.group()
def group() -> None:
    """Alerts: detections of one definition on one machine in one window of time."""


group.add_command(ingest)


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
        comments = own.comments(found.number)
    if len(detections) < found.detection_count and not found.storm:
        say(f"{len(detections):,} of {found.detection_count:,} detections are shown; --limit shows more.")
    shown = nouns.alert(found) | {
        "comments": [nouns.comment(one) for one in comments],
        "detections": [nouns.kept_detection(one) for one in detections],
    }
    result(shown, json_asked=json_asked, text=lambda: _show(found, detections, comments))


@group.command()
@click.argument("alert", metavar="NUMBER")
@click.option(
    "--status", type=STATUSES, help="Where it stands. A new detection in a Resolved one reopens it."
)
@click.option("--classification", type=Choice(one.value for one in Classification), help="What it was.")
@click.option("--determination", type=Choice(one.value for one in Determination), help="What was behind it.")
@click.option("--assign", metavar="NAME", help="Whose work it is.")
@click.option("--unassign", is_flag=True, help="It is nobody's work.")
@store_options
@pass_session
def update(
    session: Session, /, alert: str, assign: str | None, unassign: bool, json_asked: bool, **given: Any
) -> None:
    """Say where an alert stands, what it was, and whose work it is."""
    from indicia.odata import bodies
    from indicia.odata.entities import ALERT

    if assign is not None and unassign:
        raise click.UsageError("--assign and --unassign contradict each other")
    body = {_NAMES[name]: given[name] for name in _NAMES if given.get(name) is not None}
    if assign is not None or unassign:
        body["AssignedTo"] = assign
    if not body:
        raise click.UsageError("say what to change, as --status Resolved or --assign NAME")
    wanted = bodies.one(ALERT, body, frozenset(), partial=True).attributes
    with session.tenant(given["tenant"]) as own:
        changed = own.change_alert(_named(alert), wanted, session.by)
    result(
        nouns.alert(changed),
        json_asked=json_asked,
        text=lambda: say(f"Alert {changed.number} is {changed.status}{_judged(changed)}."),
    )


def _judged(one: Alert) -> str:
    parts = [
        str(one.classification) if one.classification is not Classification.UNKNOWN else "",
        str(one.determination) if one.determination is not Determination.NOT_AVAILABLE else "",
        f"assigned to {one.assigned_to}" if one.assigned_to else "",
    ]
    return "".join(f", {part}" for part in parts if part)


@group.command()
@click.argument("alert", metavar="NUMBER")
@click.argument("text", metavar="TEXT")
@store_options
@pass_session
def comment(session: Session, alert: str, text: str, tenant: str | None, json_asked: bool) -> None:
    """Write something about an alert."""
    with session.tenant(tenant) as own:
        made = own.add_comment(_named(alert), text, session.by)
    result(nouns.comment(made), json_asked=json_asked, text=lambda: say(f"Comment {made.id} is kept."))


@group.command()
@click.argument("alert", metavar="NUMBER")
@store_options
@pass_session
def history(session: Session, alert: str, tenant: str | None, json_asked: bool) -> None:
    """Show who changed what of an alert, and when."""
    with session.tenant(tenant) as own:
        found = own.history(_named(alert))
    result(
        [nouns.change(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(
            HISTORY_COLUMNS, ((one.at, one.by, one.property, one.before, one.after) for one in found)
        ),
    )


@group.command()
@click.argument("alert", metavar="NUMBER")
@click.option(
    "--by",
    "named",
    default="definition,machine,value",
    show_default=True,
    help="What has to be the same for a detection to be silenced, joined by commas.",
)
@end_option
@click.option("--reason", default="", help="Why.")
@store_options
@pass_session
def suppress(
    session: Session, alert: str, named: str, until: Time, reason: str, tenant: str | None, json_asked: bool
) -> None:
    """Resolve an alert as a false positive, and keep its like in silence until an end."""
    words = {word.strip().lower() for word in named.split(",")} - {""}
    if not words or words - set(SUPPRESSED_BY):
        raise click.UsageError(f"--by takes {', '.join(SUPPRESSED_BY)}, joined by commas")
    by = {f"by_{word}": word in words for word in SUPPRESSED_BY}
    with session.tenant(tenant) as own:
        made = own.suppress_alert(_named(alert), SuppressAlert(until.moment, reason, **by), session.by)
    result(
        [nouns.suppression(one) for one in made],
        json_asked=json_asked,
        text=lambda: say(
            f"Alert {alert} is Resolved; {counted(len(made), 'suppression')} until {until.text}."
        ),
    )


def _named(word: str) -> int | str:
    """A number, or the alert id, whose 32 hex digits may all be decimal ones."""
    return int(word) if word.isdecimal() and len(word) < 19 else word.lower()


def _show(one: Alert, detections: list[Detection], comments: list[AlertComment]) -> None:
    owner = one.definition
    details(
        (
            ("number", str(one.number)),
            ("alert id", one.id),
            ("status", one.status),
            ("classification", one.classification),
            ("determination", one.determination),
            ("assigned to", one.assigned_to),
            ("resolved at", one.resolved_at),
            ("storm", STORM if one.storm else None),
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
    if comments:
        click.echo()
        for written in comments:
            click.echo(safe(f"{moment(written.created_at)} {written.created_by}: {written.text}"))
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

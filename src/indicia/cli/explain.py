"""`indicia explain`: why a value or an event meets an indicator, or does not, step by step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli import ground
from indicia.cli.ground import Ground
from indicia.cli.session import Session, json_option, pass_session, tenant_option
from indicia.cli.show import as_json, safe, say
from indicia.cli.times import Time, time_of

if TYPE_CHECKING:
    from indicia.explain import Explanation, Place, Step
    from indicia.model import Event, Observable
    from indicia.telemetry import Source

SHOWN = 10
"""Values of an event that a step lists."""
WIDTH = 10


@dataclass(frozen=True)
class Subject:
    """What is explained."""

    event: Event
    places: Sequence[Place]


@click.command()
@click.argument("what", metavar="VALUE|EVENT")
@click.option(
    "--indicator",
    metavar="ID",
    help="Explain this one: its id in the store or the index, or its value.  "
    "[default: all that are met, else those that come near]",
)
@click.option("--indicators", metavar="FILE", help="The indicators of this list, as `indicia scan` takes it.")
@click.option("--index", metavar="FILE", help="The indicators of this compiled index.")
@tenant_option
@click.option("--schema", metavar="S", help="Schema of the event.  [default: it is recognised]")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["value", "event"]),
    help="What it is.  [default: an event where it is a file, `-`, JSON or a text with blanks]",
)
@click.option("--line", metavar="N", type=click.IntRange(1), help="The event on this line of the file.")
@click.option(
    "--at", metavar="TIME", callback=time_of, help="Of a value: the time of its event.  [default: now]"
)
@json_option
@pass_session
def command(session: Session, /, what: str, json_asked: bool, **given: Any) -> None:
    """Say why a value or an event meets an indicator, or does not.

    A value is taken as if it stood in a field that means it. An event is a JSON object or a line: as
    argument, in a file, or `-` for standard input. Each step ends with what it saw; the reason that decided
    comes first. docs/explain.md tells of every reason.
    """
    from indicia.explain import explain

    if given["index"] and given["indicators"]:
        raise click.UsageError("--index and --indicators are two ways to say the same; give one")
    subject = _subject(what, given["kind"], given["schema"], given["line"], given["at"])
    asked = ground.Asking(given["tenant"], given["indicators"], given["index"], None, strict=False)
    with ground.ground(session, asked) as found:
        chosen = _chosen(found, subject.event, given["indicator"])
        explained = [
            explain(
                subject.event,
                one,
                tenant=found.uid,
                places=subject.places,
                compiled=one not in found.absent,
                allowance=found.allowance,
            )
            for one in chosen
        ]
        near = given["indicator"] is None and not any(one.hit for one in explained)
        if json_asked:
            click.echo(as_json(_json(found, subject.event, explained, near=near)))
        else:
            _show(found, subject.event, explained, near=near)


def _chosen(found: Ground, event: Event, indicator: str | None) -> list[Any]:
    """The indicators that are explained. Raises NotFound."""
    from indicia.detect import detect
    from indicia.errors import NotFound

    if indicator is None:
        met = [one.indicator for one in detect(event, found.matcher, found.uid)]
        return met or found.near(event)
    named = found.named(indicator)
    if not named:
        raise NotFound(f"{found.says} holds no indicator {indicator!r}")
    return named


# The subject


def _subject(what: str, kind: str | None, schema: str | None, line: int | None, at: Time | None) -> Subject:
    from indicia.explain import event_of_value, read_event

    file = what != "-" and kind != "value" and _is_file(what)
    as_event = kind == "event" or (
        kind is None and (what == "-" or file or what.lstrip()[:1] == "{" or " " in what.strip())
    )
    if not as_event:
        if schema or line:
            raise click.UsageError("--schema and --line go with an event; this is taken as a value")
        return Subject(event_of_value(what, at.moment if at else datetime.now(UTC)), ())
    if at:
        raise click.UsageError("--at goes with a value; an event has its own time")
    return Subject(*read_event(_source(what, file=file), schema, line))


def _is_file(what: str) -> bool:
    try:
        return Path(what).is_file()
    except (OSError, ValueError):
        return False


def _source(what: str, *, file: bool) -> Source:
    """Where the event is; one that is no file is held in memory, because it is read twice."""
    from indicia import telemetry
    from indicia.telemetry.lines import LIMIT

    if file:
        return telemetry.sources([what])[0]
    if what == "-":
        return telemetry.Source("-", held=sys.stdin.buffer.read(LIMIT))
    return telemetry.Source("argument", held=what.encode("utf-8", "surrogateescape"))


# What is shown


def _reason(explained: Sequence[Explanation], *, near: bool) -> str:
    from indicia.explain import Reason

    return Reason.NO_INDICATOR if near or not explained else explained[0].reason


def _show(found: Ground, event: Event, explained: Sequence[Explanation], *, near: bool) -> None:
    say(f"Against {found.says}.")
    click.echo(f"event: schema {event.schema}, {len(event.observables)} values that could meet an indicator")
    for value in event.observables[:SHOWN]:
        click.echo(f"  {_value(value)}")
    if len(event.observables) > SHOWN:
        click.echo(f"  and {len(event.observables) - SHOWN} more")
    if near:
        click.echo(f"{_reason(explained, near=near)}: none of {found.count:,} indicators meets the event")
    for one in explained:
        click.echo()
        owner = f"indicator {one.indicator.id or ''} {one.indicator.value!r}".replace("  ", " ")
        click.echo(
            safe(f"{'near: ' if near else ''}{one.reason}: {owner} of {one.indicator.definition.name!r}")
        )
        for step in one.steps:
            _show_step(step)


def _show_step(step: Step) -> None:
    mark = "ok" if step.reason is None else "no"
    code = f"  [{step.reason}]" if step.reason is not None else ""
    click.echo(safe(f"  {mark}  {step.name.ljust(WIDTH)}{step.says}{code}"))
    if step.name == "role":
        for one in step.seen[:SHOWN]:
            click.echo(f"      {' ' * WIDTH}{_value(one)}")
        if len(step.seen) > SHOWN:
            click.echo(f"      {' ' * WIDTH}and {len(step.seen) - SHOWN} more")


def _value(one: Observable) -> str:
    """`query: DomainName 'www.evil.example', observed, raises`; the text where it is another."""
    written = "" if one.text == one.value else f", written {one.text!r}"
    side = f" ({one.side})" if one.side else ""
    silent = "" if one.raises else ", silent"
    where = one.path or "value"
    return safe(f"{where}: {one.type} {one.value!r}{written}, {one.role}{side}{silent}")


def _json(found: Ground, event: Event, explained: Sequence[Explanation], *, near: bool) -> dict[str, Any]:
    facts = event.facts
    return {
        "reason": _reason(explained, near=near),
        "against": found.says,
        "generation": found.generation,
        "event": {
            "schema": event.schema,
            "event_id": facts.event_id or None,
            "event_time": facts.time,
            "time_note": facts.time_note,
            "values": [_value_json(one) for one in event.observables],
        },
        "indicators": [_explained_json(one) for one in explained],
    }


def _explained_json(one: Explanation) -> dict[str, Any]:
    found = one.indicator
    return {
        "hit": one.hit,
        "reason": one.reason,
        "indicator": {
            "id": found.id or None,
            "type": found.type,
            "value": found.value,
            "canonical": found.canonical,
            "function": found.function,
            "definition": found.definition.name,
        },
        "detection_id": one.detection.id if one.detection is not None and one.detection.event_id else None,
        "allow_lists": [
            {"list": known.list.name, "action": known.list.action, "kind": known.kind, "entry": known.entry}
            for known in one.known
        ],
        "steps": [
            {
                "step": step.name,
                "passed": step.reason is None,
                "reason": step.reason,
                "says": step.says,
                "values": [_value_json(seen) for seen in step.seen],
            }
            for step in one.steps
        ],
    }


def _value_json(one: Observable) -> dict[str, Any]:
    return {
        "type": one.type,
        "canonical": one.value,
        "text": one.text,
        "path": one.path,
        "role": one.role,
        "side": one.side,
        "raises": one.raises,
    }

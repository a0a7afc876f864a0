"""`indicia outputs`: who is told of alerts, what waits for them, and what they would not take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indicia.cli import nouns
from indicia.cli.session import (
    Choice,
    Session,
    after_option,
    json_option,
    limit_option,
    make_sure,
    pass_session,
    store_options,
    yes_option,
)
from indicia.cli.show import counted, details, page, result, say, table
from indicia.cli.times import Time, time_of
from indicia.messages import Sent
from indicia.model import Severity

if TYPE_CHECKING:
    from indicia.messages import Backlog, Output
    from indicia.store import TenantStore

Command = TypeVar("Command", bound=Callable[..., Any])
COLUMNS = ("name", "target", "sends", "severity", "enabled", "waiting", "since", "dead", "fault")
DEAD_COLUMNS = ("number", "id", "sent", "made at", "attempts", "fault")
SENDS = tuple(str(sent) for sent in Sent if sent is not Sent.TEST)
ANY = "any"
_SECRET_BYTES = 10_000


def choice_options(command: Command) -> Command:
    """What of a tenant's alerts an output is sent, and how."""
    for option in (
        click.option(
            "--secret",
            "secret_file",
            metavar="FILE",
            type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
            help="Take the secret from this file, - for stdin.",
        ),
        click.option(
            "--option",
            "options",
            metavar="NAME=VALUE",
            multiple=True,
            help="An option of the kind of target; several may be given.",
        ),
        click.option(
            "--definition",
            "definition_ids",
            metavar="ID",
            multiple=True,
            type=click.IntRange(0),
            help="Of this alert definition only; several may be given, 0 is all.",
        ),
        click.option("--severity", type=Choice((ANY, *Severity)), help="From this severity on."),
        click.option(
            "--send",
            "sends",
            multiple=True,
            type=Choice(SENDS),
            help="What is sent; several may be given.  [default: Opened, Reopened, Changed]",
        ),
    ):
        command = option(command)
    return command


@click.group()
def group() -> None:
    """Outputs: files, webhooks, syslog servers, search indexes and Kafka topics that are told of alerts."""


@group.command()
@click.argument("name")
@click.argument("target", metavar="URL")
@choice_options
@store_options
@pass_session
def add(
    session: Session, /, name: str, target: str, tenant: str | None, json_asked: bool, **given: Any
) -> None:
    """Tell a receiver of alerts from now on.

    URL is file:///FOLDER/NAME.ndjson, https://HOST/PATH (a webhook), syslog+udp://HOST, syslog+tcp://HOST,
    syslog+tls://HOST, elastic+https://HOST:9200/INDEX, or kafka+tls://HOST:9093/TOPIC. The secret of a
    webhook is made, and shown this once, unless --secret gives one. Target and secret are kept sealed by the
    key outputs.key of the home.
    """
    from indicia.auth.sealing import Seal
    from indicia.live import targets
    from indicia.messages import Output
    from indicia.outputs.given import Given

    secret_file = given.pop("secret_file")
    options = _options(given.pop("options"))
    secret = _secret(secret_file) if secret_file else targets.secret_for(target)
    with session.tenant(tenant) as own:
        new = Output(name=name, kind="", target="", **_choices(own, given))
        seal = Seal(session.home)
        targets.must_open(seal, own.uid, own.outbox.outputs())
        new = targets.sealed(seal, own.uid, new, Given(target, options, secret))
        made = own.outbox.add(new, session.by)
    shown = "" if secret_file else secret
    result(
        nouns.output(made) | ({"secret": shown} if shown else {}),
        json_asked=json_asked,
        text=lambda: _added(made, shown),
    )


def _added(made: Output, secret: str) -> None:
    say(f"{made.name} is told of alerts from now on: {', '.join(made.sends)}.")
    if secret:
        say("Its secret, which is not shown again:")
        click.echo(secret)


@group.command("list")
@store_options
@pass_session
def list_(session: Session, tenant: str | None, json_asked: bool) -> None:
    """List outputs, what waits for each, and what is wrong."""
    with session.tenant(tenant) as own:
        found = own.outbox.outputs()
        backlogs = _backlogs(own)
    result(
        [nouns.output(one, backlogs.get(one.id)) for one in found],
        json_asked=json_asked,
        text=lambda: table(COLUMNS, (_row(one, backlogs[one.id]) for one in found)),
    )


def _row(one: Output, backlog: Backlog) -> tuple[object, ...]:
    chosen = (", ".join(one.sends), one.severity or ANY, one.enabled)
    return (one.name, one.target, *chosen, backlog.waiting, backlog.oldest, backlog.dead, one.fault)


@group.command()
@click.argument("name")
@store_options
@pass_session
def show(session: Session, name: str, tenant: str | None, json_asked: bool) -> None:
    """Show an output; never its secret."""
    with session.tenant(tenant) as own:
        found = own.outbox.output(name)
        noun = nouns.output(found, _backlogs(own).get(found.id))
    result(
        noun, json_asked=json_asked, text=lambda: details((key, _text(value)) for key, value in noun.items())
    )


def _text(value: object) -> object:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


@group.command("set")
@click.argument("name")
@click.option("--target", metavar="URL", help="Another target of any kind.")
@choice_options
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is told anything.")
@store_options
@pass_session
def set_(session: Session, /, name: str, tenant: str | None, json_asked: bool, **given: Any) -> None:
    """Change an output; what waits for it is then tried again at once.

    --send and --definition replace what was chosen before; `--option NAME=` takes one away. A disabled
    output is told nothing, and what waits for it goes on waiting.
    """
    with session.tenant(tenant) as own:
        changes = _choices(own, given) | _target(session, own, name, given)
        if given["enabled"] is not None:
            changes["enabled"] = given["enabled"]
        if not changes:
            raise click.UsageError("say what to change, as --severity High")
        changed = own.outbox.change(name, changes, session.by)
        backlog = _backlogs(own)[changed.id]
    result(
        nouns.output(changed, backlog),
        json_asked=json_asked,
        text=lambda: table(COLUMNS, [_row(changed, backlog)]),
    )


def _target(session: Session, own: TenantStore, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be changed of target, options and secret."""
    from indicia.auth.sealing import Seal
    from indicia.live import targets

    if not (given["target"] or given["options"] or given["secret_file"]):
        return {}
    before = own.outbox.output(name)
    options = {**before.options, **_options(given["options"])}
    made = targets.renewed(
        Seal(session.home),
        own.uid,
        before,
        given["target"],
        {key: value for key, value in options.items() if value},
        _secret(given["secret_file"]) if given["secret_file"] else None,
    )
    return {"target": made.target, "options": made.options, "sealed": made.sealed}


@group.command()
@click.argument("name")
@yes_option
@store_options
@pass_session
def delete(session: Session, name: str, yes: bool, tenant: str | None, json_asked: bool) -> None:
    """Delete an output with all that waits for it."""
    with session.tenant(tenant) as own:
        waiting = _backlogs(own)[own.outbox.output(name).id].waiting
        make_sure(f"{counted(waiting, 'message')} wait for {name}. Delete it with them?", yes=yes)
        own.outbox.delete(name, session.by)
    result({"deleted": name}, json_asked=json_asked, text=lambda: say(f"{name} is gone."))


@group.command()
@click.argument("name")
@store_options
@pass_session
def test(session: Session, name: str, tenant: str | None, json_asked: bool) -> None:
    """Send an output a message of its own now, and say what the receiver said."""
    from indicia.auth.sealing import Seal
    from indicia.errors import InputError
    from indicia.live import courier
    from indicia.messages import Outcome

    with session.tenant(tenant) as own:
        output = own.outbox.output(name)
        said = courier.try_out(Seal(session.home), own.outbox, output, own.outbox.trial())
    if said.outcome is not Outcome.DELIVERED:
        raise InputError(said.fault, place=name)
    result(
        {"delivered": said.message.id},
        json_asked=json_asked,
        text=lambda: say(f"{name} took the message {said.message.id}."),
    )


@group.command()
@click.argument("name")
@limit_option
@after_option
@store_options
@pass_session
def dead(session: Session, name: str, limit: int, after: int, tenant: str | None, json_asked: bool) -> None:
    """List messages that were given up: refused too often, or too old."""
    with session.tenant(tenant) as own:
        found = page(own.outbox.dead(name, after=after, limit=limit + 1), limit, lambda one: one.number)
    result(
        [nouns.message(one) for one in found],
        json_asked=json_asked,
        text=lambda: table(
            DEAD_COLUMNS,
            ((str(one.number), one.id, one.sent, one.made_at, one.attempts, one.fault) for one in found),
        ),
    )


@group.command()
@click.argument("name")
@click.option("--message", "message_id", metavar="ID", help="This one, dead or delivered.")
@click.option(
    "--since",
    metavar="TIME",
    callback=time_of,
    help="All that was delivered or given up since: a date, or how long ago as 2h.",
)
@store_options
@pass_session
def replay(
    session: Session,
    name: str,
    message_id: str | None,
    since: Time | None,
    tenant: str | None,
    json_asked: bool,
) -> None:
    """Have messages sent again, in their order: those that are dead, unless others are named."""
    if message_id and since:
        raise click.UsageError("give either --message or --since")
    with session.tenant(tenant) as own:
        count = own.outbox.replay(
            name, session.by, message_id=message_id, since=since.moment if since else None
        )
    result(
        {"replayed": count},
        json_asked=json_asked,
        text=lambda: say(f"{counted(count, 'message')} will be sent to {name} again."),
    )


@group.command()
@click.option("--once", is_flag=True, help="Send what can be sent now, then end.")
@json_option
@pass_session
def run(session: Session, once: bool, json_asked: bool) -> None:
    """Deliver until SIGTERM or Ctrl-C, for all tenants; `indicia serve` does so by itself.

    One process of those that share a home delivers; another one waits until that has ended.
    """
    from indicia.errors import InputError
    from indicia.live.courier import Courier

    stopped = threading.Event()
    if not once:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stopped.set())
    with session.store() as store:
        courier = Courier(store, session.home)
        if once:
            if not courier.run_once(stopped):
                raise InputError("another process delivers already, as `indicia serve` does")
        else:
            say("Delivering (stop: Ctrl+C or SIGTERM)")
            courier.run(stopped)
        waiting = sum(one.waiting for own in store.sending() for one in own.outbox.backlogs())
    result(
        {"waiting": waiting},
        json_asked=json_asked,
        text=lambda: say(f"{counted(waiting, 'message')} wait."),
    )


def _backlogs(own: TenantStore) -> dict[int, Backlog]:
    return {one.output_id: one for one in own.outbox.backlogs()}


def _choices(own: TenantStore, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was said about what is sent."""
    found: dict[str, Any] = {}
    if given["sends"]:
        found["sends"] = tuple(dict.fromkeys(Sent(one) for one in given["sends"]))
    if given["severity"]:
        found["severity"] = None if given["severity"] == ANY else Severity(given["severity"])
    if given["definition_ids"]:
        wanted = tuple(sorted(set(given["definition_ids"]) - {0}))
        for number in wanted:
            own.definition(number)
        found["definition_ids"] = wanted
    return found


def _options(given: Iterable[str]) -> dict[str, str]:
    from indicia.outputs.given import TLS_OPTIONS

    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--option takes NAME=VALUE, not {one!r}")
        # Who delivers runs in another folder.
        found[name] = str(Path(value).absolute()) if value and name in TLS_OPTIONS else value
    return found


def _secret(file: Path) -> str:
    """The first line of a file."""
    from indicia.errors import InputError

    try:
        with click.open_file(str(file), encoding="utf-8") as stream:
            text = str(stream.read(_SECRET_BYTES)).partition("\n")[0].strip()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=str(file)) from None
    except UnicodeDecodeError:
        raise InputError("is no text; its first line must be the secret", place=str(file)) from None
    if not text:
        raise InputError("holds no secret", place=str(file))
    return text

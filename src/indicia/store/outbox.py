"""Outputs of one tenant, and the messages that wait for them until they are acknowledged.

`messages` puts them in, in the transaction that makes an alert. Whoever delivers takes those of one output
in the order of their numbers, sends them, and settles what the receiver said. What was delivered stays for
KEPT, so that it can be sent again on demand, what was given up for DEAD_KEPT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement

from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.messages import Backlog, Delivery, Message, MessageState, Outcome, Output, Sent
from indicia.model import (
    AuditAction,
    Severity,
)
from indicia.store import audit, messages, rows
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import outbox, outputs

MOST = 50
"""Outputs of a tenant: each alert is written once for each of them."""
REFUSALS = 5
"""How often a receiver may refuse one message until that is given up."""
GIVEN_UP = timedelta(days=3)
"""How long a message waits for a receiver that is not there."""
KEPT = timedelta(days=7)
DEAD_KEPT = timedelta(days=30)
SET = "Outputs"
"""What the audit log calls them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHANGEABLE = {"sends", "severity", "definition_ids", "enabled", "target", "options", "sealed"}
_STEP = 1000
"""Rows of one transaction that removes old ones."""
_FAULT = 500
"""Characters that are kept of what was wrong."""
Changes = Mapping[str, object] | Callable[[Output], Mapping[str, object]]
Check = Callable[[Output], None]
_CALM: Mapping[str, object] = {"failures": 0, "retry_at": None, "fault": None}


@dataclass(frozen=True, slots=True)
class Outbox(Part):
    """The outputs of a tenant, each named by its name or id, and what waits for them.

    Each call is one transaction. `check` is asked inside it with the output as it stands, and may raise to
    leave it so.
    """

    def outputs(self) -> list[Output]:
        """All of them, by name."""
        with self._reading() as scope:
            return nouns(scope, scope.rows(scope.select(outputs).order_by(outputs.c.name)))

    def output(self, name: str | int) -> Output:
        """One of them; NotFound."""
        with self._reading() as scope:
            return _one(scope, name)

    def add(self, new: Output, by: str) -> Output:
        """With id and stamps made here; InvalidValue, QuotaExceeded."""
        if not _NAME.fullmatch(new.name):
            raise InvalidValue(
                "has 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first",
                target="Name",
            )
        with self._writing() as scope:
            if scope.count(outputs, outputs.c.name == new.name):
                raise InvalidValue(f"there is an output {new.name} already", target="Name")
            if scope.count(outputs) >= MOST:
                raise QuotaExceeded(f"the tenant has {MOST} outputs, which is the most; delete one")
            made = replace(new, created_at=rows.now(), created_by=by)
            stamps = {"created_at": rows.micros(rows.now()), "created_by": by}
            number = scope.insert(outputs, **_values(made), **stamps, failures=0)
            made = replace(_one(scope, new.name), id=number)
            audit.note(scope, self._who(by), AuditAction.CREATE, SET, key=number, after=_said(made))
            return made

    def change(self, name: str | int, changes: Changes, by: str) -> Output:
        """Set attributes of one, which is then tried anew at once; NotFound, InvalidValue for other names.

        What waits for it already is sent as it is. `changes` may be a function, which is then asked inside
        the transaction with the output as it stands.
        """
        with self._writing() as scope:
            before = _one(scope, name)
            wanted = changes(before) if callable(changes) else changes
            for attribute in wanted:
                if attribute not in _CHANGEABLE:
                    raise InvalidValue(f"{attribute} cannot be changed", target=attribute)
            after = replace(before, **wanted)  # type: ignore[arg-type]
            if after == before:
                scope.update(outputs, outputs.c.id == before.id, **_CALM)
                return _one(scope, before.id)
            stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
            scope.update(outputs, outputs.c.id == before.id, **_values(after), **stamps, **_CALM)
            was, now = _said(before), _said(after)
            different = [key for key in was if was[key] != now[key]]
            if before.sealed != after.sealed:
                different.append("Secret")
                was, now = was | {"Secret": "(hidden)"}, now | {"Secret": "(another one)"}
            said = ({key: was[key] for key in different}, {key: now[key] for key in different})
            action = AuditAction.CHANGE
            audit.note(scope, self._who(by), action, SET, key=before.id, before=said[0], after=said[1])
            return _one(scope, before.id)

    def delete(self, name: str | int, by: str, check: Check | None = None) -> None:
        """With everything that waits for it; NotFound."""
        with self._writing() as scope:
            before = _one(scope, name)
            if check is not None:
                check(before)
            scope.delete(outputs, outputs.c.id == before.id)
            action = AuditAction.DELETE
            audit.note(scope, self._who(by), action, SET, key=before.id, before=_said(before))

    # Messages

    def waiting(self, output_id: int, limit: int) -> list[Message]:
        """The next messages of an output, at most `limit`, in their order."""
        with self._reading() as scope:
            return _messages(scope, output_id, MessageState.WAITING, 0, limit)

    def dead(self, name: str | int, *, after: int = 0, limit: int = 1000) -> list[Message]:
        """A page of the messages that were given up; NotFound."""
        with self._reading() as scope:
            return _messages(scope, _one(scope, name).id, MessageState.DEAD, after, limit)

    def trial(self) -> Message:
        """A message of no alert, which is in no outbox."""
        now = rows.now()
        key, body = messages.text(self.tenant.uid, Sent.TEST, now)
        return Message(0, key, Sent.TEST, now, body)

    def settle(self, output_id: int, said: Sequence[Delivery], retry_at: datetime | None) -> None:
        """Keep what the receiver said of messages; `retry_at`: when to try again, None where all went well.

        One that was refused REFUSALS times is dead; so is all that waits for longer than GIVEN_UP, where
        the receiver is not there. An output that was deleted meanwhile is left alone.
        """
        now = rows.now()
        with self._writing() as scope:
            done = [one.message.number for one in said if one.outcome is Outcome.DELIVERED]
            if done:
                state = {"state": str(MessageState.DELIVERED), "done_at": rows.micros(now), "fault": None}
                scope.update(outbox, outbox.c.output_id == output_id, outbox.c.id.in_(done), **state)
            for one in said:
                if one.outcome is Outcome.REFUSED:
                    _refused(scope, output_id, one, now)
            faults = [one for one in said if one.outcome is not Outcome.DELIVERED]
            if any(one.outcome is Outcome.LATER for one in faults):
                _give_up(scope, output_id, faults[-1].fault, now)
            _tell(scope, output_id, faults, retry_at, rows.micros(now) if done else None)

    def replay(
        self, name: str | int, by: str, *, message_id: str | None = None, since: datetime | None = None
    ) -> int:
        """Have messages sent again, in their old order; how many. NotFound where there is no such output.

        Those that are dead, or with `since` also those that were delivered from then on, or the one of an id.
        """
        with self._writing() as scope:
            owner = _one(scope, name)
            ended = [str(MessageState.DEAD)]
            wanted = [outbox.c.output_id == owner.id]
            if message_id is not None:
                ended.append(str(MessageState.DELIVERED))
                wanted.append(outbox.c.message_id == message_id)
            elif since is not None:
                ended.append(str(MessageState.DELIVERED))
                wanted.append(outbox.c.done_at >= rows.micros(since))
            again: dict[str, Any] = {"state": str(MessageState.WAITING), "attempts": 0, "done_at": None}
            # Else what waited too long would be given up again at once.
            again["made_at"] = rows.micros(rows.now())
            count = scope.update(outbox, *wanted, outbox.c.state.in_(ended), **again)
            if count:
                scope.update(outputs, outputs.c.id == owner.id, **_CALM)
                said = {"Replayed": count}
                audit.note(scope, self._who(by), AuditAction.CHANGE, SET, key=owner.id, after=said)
            return count

    def backlogs(self, most: int | None = None) -> list[Backlog]:
        """Of each output what has not been sent yet; `most`: no more messages are counted."""
        with self._reading() as scope:
            query = scope.select(outputs, outputs.c.id).order_by(outputs.c.id)
            numbers = [row.id for row in scope.rows(query)]
            return [_backlog(scope, number, most) for number in numbers]

    def drop_old(self, now: datetime | None = None) -> int:
        """Forget some of what was delivered or given up long ago; how many messages."""
        ends = {MessageState.DELIVERED: KEPT, MessageState.DEAD: DEAD_KEPT}
        old = []
        with self._reading() as scope:
            for row in scope.rows(scope.select(outputs, outputs.c.id)):
                for state, kept in ends.items():
                    until = rows.micros((now or rows.now()) - kept)
                    query = scope.select(outbox, outbox.c.id, outbox.c.done_at).where(
                        outbox.c.output_id == row[0], outbox.c.state == str(state)
                    )
                    found = scope.rows(query.order_by(outbox.c.id).limit(_STEP))
                    old += [one.id for one in found if one.done_at < until]
        if not old:
            return 0
        with self._writing() as scope:
            states = [str(state) for state in ends]
            return sum(
                scope.delete(outbox, outbox.c.id.in_(old[at : at + _STEP]), outbox.c.state.in_(states))
                for at in range(0, len(old), _STEP)
            )


def _one(scope: Scope, name: str | int) -> Output:
    by_id = isinstance(name, int)
    row = scope.row(scope.select(outputs).where(outputs.c.id == name if by_id else outputs.c.name == name))
    if row is None and by_id:
        raise NotFound(f"there is no {SET}({name})")
    if row is None:
        raise NotFound(f"there is no output {name!r}; `indicia outputs list` names those there are")
    return nouns(scope, [row])[0]


def _messages(scope: Scope, output_id: int, state: MessageState, after: int, limit: int) -> list[Message]:
    query = scope.select(outbox).where(
        outbox.c.output_id == output_id, outbox.c.state == str(state), outbox.c.id > after
    )
    return message_nouns(scope, scope.rows(query.order_by(outbox.c.id).limit(limit)))


def message_nouns(_scope: Scope, found: Sequence[Any]) -> list[Message]:
    """Rows of `outbox`."""
    return [
        Message(
            number=row.id,
            id=row.message_id,
            sent=Sent(row.sent),
            made_at=rows.when(row.made_at),
            body=row.body,
            state=MessageState(row.state),
            attempts=row.attempts,
            done_at=rows.when_or_none(row.done_at),
            fault=row.fault,
            output_id=row.output_id,
        )
        for row in found
    ]


def _backlog(scope: Scope, output_id: int, most: int | None) -> Backlog:
    mine = outbox.c.output_id == output_id
    waits = (mine, outbox.c.state == str(MessageState.WAITING))
    # By its number, which the index has, not by its time.
    first = scope.row(scope.select(outbox, outbox.c.made_at).where(*waits).order_by(outbox.c.id).limit(1))
    return Backlog(
        output_id,
        _count(scope, most, *waits),
        None if first is None else rows.when(first.made_at),
        _count(scope, most, mine, outbox.c.state == str(MessageState.DEAD)),
    )


def _count(scope: Scope, most: int | None, *where: ColumnElement[bool]) -> int:
    in_order = scope.select(outbox, outbox.c.id).where(*where).order_by(outbox.c.id)
    if most is not None and scope.row(in_order.offset(most - 1).limit(1)) is not None:
        return most
    return scope.count(outbox, *where)


def _refused(scope: Scope, output_id: int, said: Delivery, now: datetime) -> None:
    # Who lost the turn while it sent may come last: what another one has delivered meanwhile stays so.
    waits = outbox.c.state == str(MessageState.WAITING)
    mine = (outbox.c.output_id == output_id, outbox.c.id == said.message.number, waits)
    attempts = said.message.attempts + 1
    values: dict[str, Any] = {"attempts": attempts, "fault": said.fault[:_FAULT]}
    if attempts >= REFUSALS:
        values |= {"state": str(MessageState.DEAD), "done_at": rows.micros(now)}
    scope.update(outbox, *mine, **values)


def _give_up(scope: Scope, output_id: int, fault: str, now: datetime) -> None:
    scope.update(
        outbox,
        outbox.c.output_id == output_id,
        outbox.c.state == str(MessageState.WAITING),
        outbox.c.made_at < rows.micros(now - GIVEN_UP),
        state=str(MessageState.DEAD),
        done_at=rows.micros(now),
        fault=fault[:_FAULT],
    )


def _tell(
    scope: Scope, output_id: int, faults: Sequence[Delivery], retry_at: datetime | None, done: int | None
) -> None:
    """Keep of an output how it went."""
    values: dict[str, Any] = {} if done is None else {"delivered_at": done}
    if faults:
        values |= {"failures": outputs.c.failures + 1, "fault": faults[-1].fault[:_FAULT]}
        values["retry_at"] = rows.micros_or_none(retry_at)
    else:
        values |= _CALM
    scope.update(outputs, outputs.c.id == output_id, **values)


def _values(output: Output) -> dict[str, Any]:
    return {
        "name": output.name,
        "kind": output.kind,
        "target": output.target,
        "sends": json.dumps(output.sends),
        "options": json.dumps(dict(output.options)),
        "sealed": output.sealed,
        "severity": None if output.severity is None else str(output.severity),
        "definition_ids": json.dumps(output.definition_ids),
        "enabled": output.enabled,
    }


def _said(output: Output) -> dict[str, object]:
    """What the audit log tells of one; never its secret."""
    options = " ".join(f"{name}={value}" for name, value in sorted(output.options.items()))
    return {
        "Name": output.name,
        "Kind": output.kind,
        "Target": output.target,
        "Sends": " ".join(output.sends),
        "Options": options,
        "Severity": output.severity,
        "AlertDefinitionIds": " ".join(map(str, output.definition_ids)),
        "Enabled": output.enabled,
    }


def nouns(_scope: Scope, found: Sequence[Any]) -> list[Output]:
    """Rows of `outputs`."""
    return [
        Output(
            name=row.name,
            kind=row.kind,
            target=row.target,
            sends=tuple(map(Sent, json.loads(row.sends))),
            options=json.loads(row.options),
            sealed=row.sealed,
            severity=None if row.severity is None else Severity(row.severity),
            definition_ids=tuple(json.loads(row.definition_ids)),
            enabled=bool(row.enabled),
            id=row.id,
            created_at=rows.when(row.created_at),
            created_by=row.created_by,
            last_modified_at=rows.when_or_none(row.last_modified_at),
            last_modified_by=row.last_modified_by,
            failures=row.failures,
            retry_at=rows.when_or_none(row.retry_at),
            fault=row.fault,
            delivered_at=rows.when_or_none(row.delivered_at),
        )
        for row in found
    ]

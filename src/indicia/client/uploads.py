"""Bulk upload of any length: chunks of 5,000, each stored whole or not at all, and where to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, TypeVar

from indicia.client import faults
from indicia.client.fields import Condition, Field, Fields
from indicia.client.nouns import (
    DEFINITIONS,
    INDICATORS,
    AlertDefinition,
    Indicator,
    definition_body,
    indicator_body,
)
from indicia.client.session import Session
from indicia.client.wire import Steps, Wait
from indicia.errors import (
    AnswerLost,
    BadAnswer,
    IndiciaError,
    InvalidValue,
    OutcomeUnknown,
    UploadStopped,
)
from indicia.model import BULK_LIMIT

N = TypeVar("N", bound=Fields)
ACTION = "Actions.BulkUpload"
CREATED = 201


@dataclass(frozen=True, slots=True)
class Position:
    """How far an upload has come; two numbers that can be kept in a file and given as `start`."""

    stored: int = 0
    """Entities that are stored, or with `results` refused, counted from the first of all."""
    after: int | None = None
    """The highest Id of the set before the next chunk was sent. An upload that goes on from here looks
    whether that chunk is stored already, as it is where its answer was lost or the program was killed.
    None: nobody looks.
    """

    @classmethod
    def of(cls, error: UploadStopped) -> Position:
        """Where the upload stopped."""
        return cls(error.stored, error.after)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entity of an upload."""

    index: int
    """Its place among all that were given, from 0."""
    id: int = 0
    """As in the API; 0 where it was refused."""
    created: bool = False
    """False where it was refused, or was there already (upsert)."""
    error: IndiciaError | None = None
    """Why it was refused; the target has the index among all, as `iocs[5017].Value`."""


Progress = Callable[[Position], None]
"""Called after each chunk that was stored."""
Results = Callable[[Result], None]
"""Called for each entity, in their order."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an upload goes about it."""

    progress: Progress | None = None
    results: Results | None = None
    upsert: bool = False


@dataclass(frozen=True, slots=True)
class Kind(Generic[N]):
    """What differs between the sets that take bulk uploads."""

    set_name: str
    parameter: str
    body: Callable[[N], dict[str, Any]]
    id: Field[int]
    is_it: Callable[[N], Condition]
    """The condition that a stored entity made of this one fulfils."""


def _is_definition(noun: AlertDefinition) -> Condition:
    return (AlertDefinition.Name == noun.name) & (AlertDefinition.Title == noun.title)


def _is_indicator(noun: Indicator) -> Condition:
    return (
        (Indicator.Value == noun.value)
        & (Indicator.Type == noun.type)
        & (Indicator.DetectionFunction == noun.function)
        & (Indicator.AlertDefinition.Id == noun.definition_id)
    )


DEFINITION_UPLOAD = Kind(DEFINITIONS, "alertDefinitions", definition_body, AlertDefinition.Id, _is_definition)
INDICATOR_UPLOAD = Kind(INDICATORS, "iocs", indicator_body, Indicator.Id, _is_indicator)


def upload(
    session: Session,
    kind: Kind[N],
    nouns: Iterable[N],
    start: Position | int,
    way: Way,
) -> Steps[Position]:
    """All of them from `start` on; where it ended.

    Raises UploadStopped, whose position a later call goes on from with the same entities in the same order.
    """
    position = start if isinstance(start, Position) else Position(start)
    if position.stored < 0:
        raise InvalidValue("must be 0 or more", target="start")
    doubtful = position.after is not None
    if doubtful and way.results is not None and not way.upsert:
        raise InvalidValue("with `results` and without `upsert` is a number", target="start")
    try:
        if position.after is None and way.results is None:
            position = replace(position, after=(yield from _highest(session, kind)))
        for chunk in _chunks(nouns, position.stored):
            highest = yield from _send(session, kind, chunk, position, way, doubtful=doubtful)
            position, doubtful = Position(position.stored + len(chunk), highest), False
            if way.progress is not None:
                way.progress(position)
    except IndiciaError as error:
        raise UploadStopped(_placed(error, kind, position.stored), position.stored, position.after) from error
    return position


def _send(
    session: Session, kind: Kind[N], chunk: list[N], position: Position, way: Way, *, doubtful: bool
) -> Steps[int | None]:
    """One chunk; the highest Id of the set then, None where nobody may look for the next one."""
    after = position.after or 0
    if way.results is not None:
        found = yield from _store_each(session, kind, chunk, position.stored, upsert=way.upsert)
        for result in found:
            way.results(result)
        return None
    if way.upsert:
        return (yield from _upsert(session, kind, chunk, after))
    return (yield from _store(session, kind, chunk, after, doubtful=doubtful))


def _store_each(
    session: Session, kind: Kind[N], chunk: list[N], stored: int, *, upsert: bool
) -> Steps[list[Result]]:
    """One chunk, each entity for itself; what became of each."""
    bodies: dict[int, dict[str, Any]] = {}
    results: list[Result] = []
    for index, noun in enumerate(chunk, stored):
        try:
            bodies[index] = _body(kind, noun, index)
        except InvalidValue as error:
            results.append(Result(index, error=error))
    if not bodies:
        return results
    content = {kind.parameter: list(bodies.values())} | ({"upsert": True} if upsert else {})
    url = session.link(f"{kind.set_name}/{ACTION}")
    wish = {"Prefer": "continue-on-error, return=minimal"}
    answer = yield from session.call("POST", url, content, headers=wish, repeatable=upsert)
    found = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(found, list) or len(found) != len(bodies):
        raise BadAnswer("the answer does not tell of each entity")
    for sent, (raw, index) in enumerate(zip(found, bodies, strict=True)):
        results.append(_result(kind, raw, index, sent))
    return sorted(results, key=lambda result: result.index)


def _body(kind: Kind[N], noun: N, index: int) -> dict[str, Any]:
    """As the service takes it. Raises InvalidValue with the index, as the service would."""
    try:
        return kind.body(noun)
    except InvalidValue as error:
        raise InvalidValue(error.message, target=f"{kind.parameter}[{index}].{error.target}") from None


def _result(kind: Kind[N], raw: Any, index: int, sent: int) -> Result:
    """What the service tells of an entity that was the `sent`-th of the call."""
    try:
        status, fault = raw["@indicia.status"], raw.get("@indicia.error")
        if fault is None:
            return Result(index, int(raw["Id"]), created=status == CREATED)
        error = faults.leaf(fault, status)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadAnswer("the answer does not tell of each entity") from None
    return Result(index, error=type(error)(error.message, **_moved(error, kind, index - sent)))


def _chunks(nouns: Iterable[N], start: int) -> Iterator[list[N]]:
    rest = iter(nouns)
    passed = sum(1 for _ in islice(rest, start))
    if passed < start:
        raise InvalidValue(f"is {start}, but there are {passed} entities", target="start")
    while chunk := list(islice(rest, BULK_LIMIT)):
        yield chunk


def _store(session: Session, kind: Kind[N], chunk: list[N], after: int, *, doubtful: bool) -> Steps[int]:
    """One chunk, once; the highest Id of the set then.

    After a lost connection it is looked for before it is sent again. Not so after a timeout: the service may
    be at work on it still, so that is for the caller to go on from, later.
    """
    content = {kind.parameter: [_body(kind, noun, index) for index, noun in enumerate(chunk)]}
    url = session.link(f"{kind.set_name}/{ACTION}")
    attempt = 1
    while True:
        if doubtful and (yield from _is_stored(session, kind, chunk[0], after)):
            return (yield from _highest(session, kind))
        try:
            return _last_id((yield from session.call("POST", url, content)))
        except (AnswerLost, OutcomeUnknown) as error:
            if getattr(error, "timed_out", False) or attempt >= session.retries.attempts:
                raise
        yield Wait(session.backoff(attempt))
        attempt, doubtful = attempt + 1, True


def _upsert(session: Session, kind: Kind[N], chunk: list[N], after: int) -> Steps[int]:
    """One chunk, in a way that may be done twice; the highest Id of the set then."""
    bodies = [_body(kind, noun, index) for index, noun in enumerate(chunk)]
    content = {kind.parameter: bodies, "upsert": True}
    url = session.link(f"{kind.set_name}/{ACTION}")
    return max(after, _last_id((yield from session.call("POST", url, content, repeatable=True))))


def _is_stored(session: Session, kind: Kind[N], first: N, after: int) -> Steps[bool]:
    """Whether the chunk that begins with this entity is there: of a chunk all are or none."""
    condition = kind.is_it(first) & (kind.id > after)
    query = {"$filter": condition.text(), "$top": "1", "$select": "Id"}
    page = yield from session.call("GET", session.link(kind.set_name, query))
    return bool(_entities(page))


def _highest(session: Session, kind: Kind[N]) -> Steps[int]:
    """The highest Id of the set; 0 where it is empty."""
    query = {"$orderby": kind.id.descending.text, "$top": "1", "$select": "Id"}
    return _last_id((yield from session.call("GET", session.link(kind.set_name, query))))


def _last_id(content: Any) -> int:
    return max((int(raw["Id"]) for raw in _entities(content)), default=0)


def _entities(content: Any) -> list[Any]:
    found = content.get("value") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(raw, dict) and "Id" in raw for raw in found):
        raise BadAnswer("the answer is not a list of entities")
    return found


def _placed(error: IndiciaError, kind: Kind[N], stored: int) -> IndiciaError:
    """The error with the indexes of the whole upload in place of those of its chunk."""
    return IndiciaError(error.message, retry_after=error.retry_after, **_moved(error, kind, stored))


def _moved(error: IndiciaError, kind: Kind[N], stored: int) -> dict[str, Any]:
    """Target and details of an error, so many entities further on."""

    def of_all(target: str | None) -> str | None:
        found = re.match(rf"{kind.parameter}\[(\d+)\](.*)", target or "")
        return f"{kind.parameter}[{int(found[1]) + stored}]{found[2]}" if found else target

    details = tuple(replace(item, target=of_all(item.target)) for item in error.details)
    return {"target": of_all(error.target), "details": details}

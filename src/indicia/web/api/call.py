"""What a handler of the TI API is given, what it gives back, and a row of the route table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from indicia.auth.sealing import Seal
from indicia.errors import IndiciaError, QuotaExceeded
from indicia.odata import format as odata
from indicia.odata.entities import BY_SET
from indicia.odata.format import Format, Noun
from indicia.odata.headers import NO_CONDITIONS, NO_PREFERENCES, Conditions, Preferences
from indicia.odata.paths import Path
from indicia.odata.shapes import Entity
from indicia.store import TenantStore

ANYONE: frozenset[str] = frozenset()
"""Routes that hold nothing of a tenant and need no token."""


class Body(Enum):
    """What a route reads of the request's body."""

    NONE = "none"
    ENTITY = "one entity"
    BULK = "thousands of entities"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and admitted."""

    path: Path
    query: str
    form: Format
    roots: frozenset[str]
    """Scheme and authority of every name of this service that a reference may use, in lower case."""
    body: bytes = b""
    by: str = ""
    """The client id, for CreatedBy and LastModifiedBy."""
    _tenant: TenantStore | None = None
    wants: Preferences = NO_PREFERENCES
    conditions: Conditions = NO_CONDITIONS
    sets: Mapping[str, Entity] = field(default_factory=lambda: BY_SET)
    """The sets that the caller may read, where navigations may lead."""
    _seal: Seal | None = None

    @property
    def tenant(self) -> TenantStore:
        """The caller's store; a route for anyone has none."""
        if self._tenant is None:
            raise TypeError("a route for anyone asked for a tenant")
        return self._tenant

    @property
    def seal(self) -> Seal:
        """What seals the secrets of outputs."""
        if self._seal is None:
            raise TypeError("a call without a home asked for its key")
        return self._seal

    @property
    def key(self) -> int:
        """The first key of the path."""
        return self.path.keys[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the route table."""

    method: str
    shape: str
    handler: Handler
    roles: frozenset[str]
    """The caller must have one of them; empty: anyone, without a token."""
    body: Body = Body.NONE
    also: frozenset[str] = ANYONE
    """Further roles of which the caller must have one as well."""
    quick: bool = False
    """Whether it looks up a row or two and does no more: a thread of its own would cost more than that."""
    tagged: bool = False
    """Whether If-Match and If-None-Match are asked of the one entity that is changed."""


NO_CONTENT = Answer(204)


def answer(
    call: Call, content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """A JSON answer in the format that was asked for."""
    return Answer(status, odata.encode(content), call.form.media_type, headers or {})


def entity(
    call: Call,
    described: Entity,
    noun: Noun,
    warnings: Sequence[str] = (),
    *,
    created: bool = False,
    more: Mapping[str, str] | None = None,
) -> Answer:
    """One entity that was written, or by preference nothing of it; a created one with its Location.

    `more`: annotations that are told whatever is preferred.
    """
    headers = applied(call) | {"ETag": odata.etag(described, noun)}
    link = odata.link_of(described, noun, call.form)
    if created:
        headers["Location"] = link
    if call.wants.minimal and not more:
        return Answer(204, headers=headers | {"OData-EntityId": link})
    content = odata.entity(described, noun, call.form, warnings, related=more)
    return answer(call, content, 201 if created else 200, headers)


def collection(call: Call, described: Entity, made: Sequence[Noun], warnings: Sequence[str] = ()) -> Answer:
    """What a bulk upload made, or by preference nothing of it."""
    if call.wants.minimal:
        return Answer(204, headers=applied(call))
    content = odata.collection(described, made, call.form, warnings=warnings)
    return answer(call, content, headers=applied(call))


def results(call: Call, described: Entity, outcomes: Sequence[tuple[Noun, int] | IndiciaError]) -> Answer:
    """The outcome of each entity of a bulk upload that goes on after errors."""
    placed = [
        type(outcome)(outcome.message, target=f"{described.bulk}[{index}]")
        if isinstance(outcome, QuotaExceeded)
        else outcome
        for index, outcome in enumerate(outcomes)
    ]
    content = odata.results(described, placed, call.form, minimal=bool(call.wants.minimal))
    return answer(call, content, headers=applied(call))


def check(call: Call, described: Entity) -> Callable[[Noun], None]:
    """What holds If-Match and If-None-Match against an entity inside the transaction that changes it."""
    return lambda noun: call.conditions.check(odata.etag(described, noun))


def applied(call: Call) -> dict[str, str]:
    """The header that says which preferences were followed by a call that writes."""
    followed = [call.wants.returned] if call.wants.returned else []
    if call.wants.continue_on_error and call.path.shape.endswith(".BulkUpload"):
        followed.append("continue-on-error")
    return {"Preference-Applied": ", ".join(followed)} if followed else {}


def place(path: Path) -> str:
    """The path with its keys back in."""
    text = path.shape
    for key in path.keys:
        text = text.replace("#", str(key), 1)
    return text

"""Forms as the bodies of the API: the same properties, rules and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from indicia.errors import InputError, InvalidValue
from indicia.odata import bodies
from indicia.odata.entities import INDICATOR
from indicia.odata.shapes import Entity, Kind, Property
from indicia.web.portal.forms import Form

OWNER = "AlertDefinition"
"""The field that names the definition of an indicator."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with a form, by field."""

    of: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def __call__(self, name: str) -> str:
        """Of one field; empty where it is right."""
        return self.of.get(name, "")

    def __bool__(self) -> bool:
        return bool(self.of)


NO_FAULTS = Faults()


def faults_of(error: InputError) -> Faults:
    """Every fault of an error by its field; what names no field stands under the empty name."""
    if not error.details:
        return Faults({error.target or "": error.message}, error.status)
    found: dict[str, str] = {}
    for one in error.details:
        found.setdefault(one.target or "", one.message)
    return Faults(found, error.status)


def body(entity: Entity, form: Form) -> dict[str, Any]:
    """The fields of an entity as JSON would give them; those that the form does not have are left out."""
    return {
        one.name: _raw(one, form)
        for one in entity.properties
        if not one.server_set and (form.has(one.name) or form.has(f"{one.name}-box"))
    }


def _raw(described: Property, form: Form) -> Any:
    text = form.one(described.name)
    if described.kind is Kind.BOOLEAN:
        return form.has(
            described.name
        )  # a box that is not ticked is not sent; `…-box` says that there is one
    if not text.strip() and described.nullable:
        return None
    if described.kind is Kind.INT64:
        digits = text.strip()
        return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else text
    if described.kind is Kind.TIME:
        return zoned(text.strip())
    return text.replace("\r\n", "\n")


def zoned(text: str) -> str:
    """A time as people and date fields write it, in UTC where it names no zone: `2026-01-31 08:00`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    made = found if found.tzinfo else found.replace(tzinfo=UTC)
    return made.isoformat()


def read(
    entity: Entity,
    form: Form,
    *,
    partial: bool = False,
    owner: int | None = None,
    also: Mapping[str, Any] = MappingProxyType({}),
) -> bodies.Given:
    """What a form says of an entity. InvalidValue with every fault.

    `owner`: an indicator's definition; `also`: what is said in place of the form.
    """
    given = {**body(entity, form), **also}
    if owner is not None:
        given[bodies.BIND] = f"AlertDefinitions({owner})"
    return bodies.one(entity, given, frozenset(), partial=partial or (entity is INDICATOR and owner is None))


def checked(call: Callable[[], object]) -> Faults:
    """What is wrong with what a call reads; nothing where it reads it."""
    try:
        call()
    except InputError as error:
        return faults_of(error)
    return NO_FAULTS


def time_of(text: str, target: str) -> datetime | None:
    """A time of a form; None where it is empty. InvalidValue."""
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(zoned(text.strip()))
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None or not 1 < found.year < 9999:
        raise InvalidValue("must be a date as 2026-01-31, or a time as 2026-01-31 08:00 (UTC)", target=target)
    return found


def local(time: datetime | None) -> str:
    """As a field of type `datetime-local` has it."""
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")

"""The shapes of which the table of entities is made: properties, navigations, actions, entities, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any


class Kind(StrEnum):
    """Primitive types of OData, and ENUM for one of `ENUMS`."""

    INT64 = "Edm.Int64"
    STRING = "Edm.String"
    BOOLEAN = "Edm.Boolean"
    TIME = "Edm.DateTimeOffset"
    ENUM = "enum"
    TEXTS = "Collection(Edm.String)"
    """With an enum a collection of its members."""
    NUMBERS = "Collection(Edm.Int64)"
    RECORDS = "records"
    """A collection of the `record` of the property."""


@dataclass(frozen=True, slots=True)
class Property:
    """One structural property of an entity, and the attribute of the noun that holds it."""

    name: str
    attribute: str
    """With dots where it is an attribute of an attribute."""
    kind: Kind = Kind.STRING
    enum: type[StrEnum] | None = None
    limit: int | None = None
    """Longest text, in characters; of a collection of texts, each of them."""
    blank: bool = True
    """Whether the empty text is a value."""
    bounds: tuple[int, int] | None = None
    nullable: bool = False
    server_set: bool = False
    """A value in a body is ignored: clients send back what they read."""
    default: str | bool | int | tuple[str, ...] | None = None
    """What an absent property means (null for a nullable one); None on one that is not: it is required."""
    aliases: tuple[str, ...] = ()
    """Other names that the published pages give it."""
    extension: bool = False
    column: str = ""
    """Where the store keeps it, if not under the attribute's name; `snapshot.` before what is kept of the
    definition as it was."""
    record: Record | None = None

    def of(self, noun: object) -> Any:
        """Its value in a noun."""
        return attrgetter(self.attribute)(noun)

    @property
    def stored(self) -> str:
        """Where the store keeps it."""
        return self.column or self.attribute

    @property
    def many(self) -> bool:
        """Whether it is a collection, which no expression takes and which has no raw value."""
        return self.kind in (Kind.TEXTS, Kind.NUMBERS, Kind.RECORDS)

    @property
    def required(self) -> bool:
        """Whether a new entity must have it."""
        return not (self.server_set or self.nullable) and self.default is None


@dataclass(frozen=True, slots=True)
class Record:
    """A complex type: what an action answers that is no entity."""

    name: str
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class Navigation:
    """A way from one entity to another."""

    name: str
    target: str
    """Name of the target's entity set."""
    many: bool
    key: str = ""
    """Where the store keeps what leads to the target, as `Property.stored`."""
    target_key: str = "id"
    """The column of the target that holds the same."""
    key_of: str = "id"
    """The attribute of the noun that is the same, with dots as in a property."""
    attribute: str | None = None
    """Attribute of the noun that holds the one target; None: the store is asked."""
    nullable: bool = False
    """Whether the one target may be gone, or was never there."""


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the `Actions` namespace, bound to an entity or to a set of them."""

    name: str
    of_set: bool
    parameter: str | None = None
    """The parameter that holds a collection of the entity, or of `elements`."""
    elements: str = ""
    """Another entity of which the parameter holds a collection."""
    switch: str | None = None
    """A parameter that is true or, like an absent one, false (extension)."""
    given: tuple[Property, ...] = ()
    """Parameters of their own, as properties are; one with a default may be absent (extension)."""
    gives: str = ""
    """What it answers a collection of, unless that is the entity of `parameter`: an entity, a record, or a
    primitive type as `Edm.Int64`."""
    one: bool = False
    """It answers one of these, not a collection."""


@dataclass(frozen=True, eq=False)
class Entity:
    """One entity type and its set."""

    name: str
    set_name: str
    noun: type
    properties: tuple[Property, ...]
    navigations: tuple[Navigation, ...]
    actions: tuple[Action, ...] = ()
    bulk: str = ""
    """The parameter of BulkUpload."""
    editable: bool = False
    """Whether one can be changed although there is no BulkUpload."""
    extension: bool = False
    secret: tuple[Property, ...] = ()
    """What a body may give and no answer ever tells."""
    by_name: Mapping[str, Property] = field(init=False)
    taken: Mapping[str, Property] = field(init=False)
    """`by_name` with what is secret: what a body may hold."""
    required: tuple[Property, ...] = field(init=False)
    key_of: Callable[[Any], int] = field(init=False)
    """The key of a noun."""
    values_of: Callable[[Any], tuple[Any, ...]] = field(init=False)
    """The values of a noun's properties, in their order."""

    def __post_init__(self) -> None:
        names = {name: item for item in self.properties for name in (item.name, *item.aliases)}
        object.__setattr__(self, "by_name", names)
        object.__setattr__(self, "taken", names | {item.name: item for item in self.secret})
        object.__setattr__(self, "required", tuple(item for item in self.properties if item.required))
        key = names.get("Id", self.properties[0])  # parameters of an action have no key
        object.__setattr__(self, "key_of", attrgetter(key.attribute))
        object.__setattr__(self, "values_of", attrgetter(*(item.attribute for item in self.properties)))

    def navigation(self, name: str) -> Navigation | None:
        """The navigation property of that name."""
        return next((item for item in self.navigations if item.name == name), None)

"""The one table of what the API serves. Reading, writing and $metadata all follow it.

A property that the published service did not have is marked `extension`; so is a member of an enum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from indicia import model

NAMESPACE = "Indicia"
"""Namespace of the types. Actions have their own, because published calls name it: `Actions.BulkUpload`."""
ACTIONS_NAMESPACE = "Actions"
WINDOW_MINIMUM = 60
WINDOW_MAXIMUM = 31 * 86_400


class Kind(StrEnum):
    """Primitive types of OData, and ENUM for one of `ENUMS`."""

    INT64 = "Edm.Int64"
    STRING = "Edm.String"
    BOOLEAN = "Edm.Boolean"
    TIME = "Edm.DateTimeOffset"
    ENUM = "enum"


@dataclass(frozen=True, slots=True)
class Property:
    """One structural property of an entity, and the attribute of the noun that holds it."""

    name: str
    attribute: str
    kind: Kind = Kind.STRING
    enum: type[StrEnum] | None = None
    limit: int | None = None
    """Longest text, in characters."""
    blank: bool = True
    """Whether the empty text is a value."""
    bounds: tuple[int, int] | None = None
    nullable: bool = False
    server_set: bool = False
    """A value in a body is ignored: clients send back what they read."""
    default: str | bool | int | None = None
    """What an absent property means (null for a nullable one); None on one that is not: it is required."""
    aliases: tuple[str, ...] = ()
    """Other names that the published pages give it."""
    extension: bool = False

    @property
    def required(self) -> bool:
        """Whether a new entity must have it."""
        return not (self.server_set or self.nullable) and self.default is None


@dataclass(frozen=True, slots=True)
class Navigation:
    """A way from one entity to another."""

    name: str
    target: str
    """Name of the target's entity set."""
    many: bool
    attribute: str | None = None
    """Attribute of the noun that holds the one target."""


@dataclass(frozen=True, slots=True)
class Action:
    """An operation of the `Actions` namespace, bound to an entity or to a set of them."""

    name: str
    of_set: bool
    parameter: str | None = None
    """The parameter that holds a collection of the entity."""


@dataclass(frozen=True)
class Entity:
    """One entity type and its set."""

    name: str
    set_name: str
    noun: type
    properties: tuple[Property, ...]
    navigations: tuple[Navigation, ...]
    actions: tuple[Action, ...]
    bulk: str
    """The parameter of BulkUpload."""
    by_name: Mapping[str, Property] = field(init=False)
    required: tuple[Property, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = {name: item for item in self.properties for name in (item.name, *item.aliases)}
        object.__setattr__(self, "by_name", names)
        object.__setattr__(self, "required", tuple(item for item in self.properties if item.required))

    def navigation(self, name: str) -> Navigation | None:
        """The navigation property of that name."""
        return next((item for item in self.navigations if item.name == name), None)


_STAMPS = (
    Property("CreatedAt", "created_at", Kind.TIME, nullable=True, server_set=True),
    Property("CreatedBy", "created_by", nullable=True, server_set=True),
    Property("LastModifiedAt", "last_modified_at", Kind.TIME, nullable=True, server_set=True),
    Property("LastModifiedBy", "last_modified_by", nullable=True, server_set=True),
)

ALERT_DEFINITION = Entity(
    name="AlertDefinition",
    set_name="AlertDefinitions",
    noun=model.AlertDefinition,
    properties=(
        Property("Id", "id", Kind.INT64, server_set=True),
        Property("Name", "name", limit=model.NAME_LIMIT, blank=False),
        Property("Severity", "severity", Kind.ENUM, enum=model.Severity),
        Property(
            "InternalDescription",
            "internal_description",
            limit=model.INTERNAL_DESCRIPTION_LIMIT,
            default="",
        ),
        Property("Title", "title", limit=model.TITLE_LIMIT, blank=False),
        Property("UxDescription", "ux_description", limit=model.UX_DESCRIPTION_LIMIT, default=""),
        Property(
            "RecommendedAction", "recommended_action", limit=model.RECOMMENDED_ACTION_LIMIT, nullable=True
        ),
        Property("Category", "category", Kind.ENUM, enum=model.Category),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=True),
        *_STAMPS,
        Property("Uid", "uid", server_set=True, extension=True),
        Property(
            "GroupBy",
            "group_by",
            Kind.ENUM,
            enum=model.GroupBy,
            default=model.GroupBy.DEFINITION,
            extension=True,
        ),
        Property(
            "WindowSeconds",
            "window_seconds",
            Kind.INT64,
            bounds=(WINDOW_MINIMUM, WINDOW_MAXIMUM),
            default=model.WINDOW_SECONDS,
            extension=True,
        ),
    ),
    navigations=(Navigation("IndicatorsOfCompromise", "IndicatorsOfCompromise", many=True),),
    actions=(
        Action("BulkUpload", of_set=True, parameter="alertDefinitions"),
        Action("DeleteIOCs", of_set=False),
    ),
    bulk="alertDefinitions",
)

INDICATOR = Entity(
    name="IndicatorOfCompromise",
    set_name="IndicatorsOfCompromise",
    noun=model.Indicator,
    properties=(
        Property("Id", "id", Kind.INT64, server_set=True),
        Property("Type", "type", Kind.ENUM, enum=model.IndicatorType),
        Property("Value", "value", limit=model.VALUE_LIMIT, blank=False),
        Property(
            "DetectionFunction", "function", Kind.ENUM, enum=model.DetectionFunction, aliases=("Action",)
        ),
        Property("Enabled", "enabled", Kind.BOOLEAN, default=True),
        Property("ExpiresAt", "expires_at", Kind.TIME, nullable=True),
        *_STAMPS,
        Property("ValidFrom", "valid_from", Kind.TIME, nullable=True, extension=True),
        Property("Source", "source", limit=model.SOURCE_LIMIT, nullable=True, extension=True),
    ),
    navigations=(Navigation("AlertDefinition", "AlertDefinitions", many=False, attribute="definition"),),
    actions=(Action("BulkUpload", of_set=True, parameter="iocs"),),
    bulk="iocs",
)

ENTITIES = (ALERT_DEFINITION, INDICATOR)
BY_SET: Mapping[str, Entity] = {entity.set_name: entity for entity in ENTITIES}

ENUMS: tuple[type[StrEnum], ...] = (
    model.Severity,
    model.Category,
    model.IndicatorType,
    model.DetectionFunction,
    model.GroupBy,
)
EXTENSION_ENUMS = frozenset({model.GroupBy})
EXTENSION_MEMBERS: frozenset[StrEnum] = frozenset(
    {
        model.IndicatorType.URL,
        model.IndicatorType.FILE_NAME,
        model.DetectionFunction.SUBDOMAIN_OF,
    }
)
SPELLINGS: Mapping[str, str] = {"SHA1": "Sha1", "SHA256": "Sha256", "MD5": "Md5"}
"""Enum values that the published pages also write so."""

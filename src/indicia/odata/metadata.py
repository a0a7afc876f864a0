"""The entity table as the metadata document (CSDL XML 4.01, version 4.0) and as the service document."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from indicia.odata.entities import (
    ACTIONS_NAMESPACE,
    ENTITIES,
    ENUMS,
    EXTENSION_ENUMS,
    EXTENSION_MEMBERS,
    NAMESPACE,
)
from indicia.odata.format import Format, Level
from indicia.odata.records import RECORDS
from indicia.odata.shapes import Action, Entity, Kind, Property, Record

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"
_VOCABULARY = "https://oasis-tcs.github.io/odata-vocabularies/vocabularies/Org.OData.Core.V1.xml"
_DESCRIPTION = "Org.OData.Core.V1.Description"
_COMPUTED = "Org.OData.Core.V1.Computed"
_READ_ONLY = {"Term": "Org.OData.Core.V1.Permissions", "EnumMember": "Org.OData.Core.V1.Permission/Read"}
KEY = "Id"
_WRITE_ONLY = {"Term": "Org.OData.Core.V1.Permissions", "EnumMember": "Org.OData.Core.V1.Permission/Write"}
_OPTIONAL = "Org.OData.Core.V1.OptionalParameter"
EXTENSION = "Extension of Indicia; the published service did not have it."


def service_document(form: Format) -> dict[str, Any]:
    """What is at the service root (OData JSON 4.01, 5)."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata"
    content["value"] = [
        {"name": entity.set_name, "kind": "EntitySet", "url": entity.set_name} for entity in ENTITIES
    ]
    return content


@cache
def csdl() -> bytes:
    """The metadata document in UTF-8."""
    edmx = Element("edmx:Edmx", {"Version": "4.0", "xmlns:edmx": EDMX})
    reference = SubElement(edmx, "edmx:Reference", {"Uri": _VOCABULARY})
    SubElement(reference, "edmx:Include", {"Namespace": "Org.OData.Core.V1"})
    services = SubElement(edmx, "edmx:DataServices")
    types = SubElement(services, "Schema", {"Namespace": NAMESPACE, "xmlns": EDM})
    for enum in ENUMS:
        _enum(types, enum)
    for record in RECORDS:
        _record(types, record)
    for entity in ENTITIES:
        _entity(types, entity)
    _container(types)
    actions = SubElement(services, "Schema", {"Namespace": ACTIONS_NAMESPACE, "xmlns": EDM})
    for entity in ENTITIES:
        for action in entity.actions:
            _action(actions, entity, action)
    indent(edmx)
    text: bytes = tostring(edmx, encoding="utf-8", xml_declaration=True)
    return text


def _enum(schema: Element, enum: type[StrEnum]) -> None:
    made = SubElement(schema, "EnumType", {"Name": enum.__name__})
    if enum in EXTENSION_ENUMS:
        _annotate_extension(made)
    for number, member in enumerate(enum):
        element = SubElement(made, "Member", {"Name": member.value, "Value": str(number)})
        if member in EXTENSION_MEMBERS:
            _annotate_extension(element)


def _entity(schema: Element, entity: Entity) -> None:
    made = SubElement(schema, "EntityType", {"Name": entity.name})
    SubElement(SubElement(made, "Key"), "PropertyRef", {"Name": KEY})
    for described in entity.properties:
        _property(made, described)
    for described in entity.secret:
        secret = _property(made, described)
        SubElement(secret, "Annotation", _WRITE_ONLY)
    for way in entity.navigations:
        target = next(other for other in ENTITIES if other.set_name == way.target)
        partner = next((back.name for back in target.navigations if back.target == entity.set_name), None)
        kind = f"{NAMESPACE}.{target.name}"
        attributes = {"Name": way.name, "Type": f"Collection({kind})" if way.many else kind}
        if not way.many:
            attributes["Nullable"] = _word(way.nullable)
        if partner is not None:
            attributes["Partner"] = partner
        SubElement(made, "NavigationProperty", attributes)
    if entity.extension:
        _annotate_extension(made)


def _record(schema: Element, record: Record) -> None:
    for described in record.properties:
        if described.record is not None:
            _record(schema, described.record)
    made = SubElement(schema, "ComplexType", {"Name": record.name})
    for described in record.properties:
        attributes = {"Name": described.name, "Type": _type(described), "Nullable": _word(described.nullable)}
        SubElement(made, "Property", attributes)
    _annotate_extension(made)


def _type(described: Property) -> str:
    """The type of a property or parameter."""
    if described.record is not None:
        return f"Collection({NAMESPACE}.{described.record.name})"
    if described.enum is None:
        return described.kind.value
    kind = f"{NAMESPACE}.{described.enum.__name__}"
    return f"Collection({kind})" if described.many else kind


def _property(entity: Element, described: Property) -> Element:
    attributes = {
        "Name": described.name,
        "Type": _type(described),
        "Nullable": _word(described.nullable),
    }
    if described.limit is not None:
        attributes["MaxLength"] = str(described.limit)
    if described.kind is Kind.TIME:
        attributes["Precision"] = "6"
    if described.default is not None and not described.many:
        value = described.default
        attributes["DefaultValue"] = _word(value) if isinstance(value, bool) else str(value)
    made = SubElement(entity, "Property", attributes)
    if described.server_set:
        # Of the key the same in other words: python-odata can insert nothing whose key is Computed.
        key = described.name == KEY
        SubElement(made, "Annotation", _READ_ONLY if key else {"Term": _COMPUTED, "Bool": "true"})
    if described.extension:
        _annotate_extension(made)
    return made


def _container(schema: Element) -> None:
    made = SubElement(schema, "EntityContainer", {"Name": "Container"})
    for entity in ENTITIES:
        kind = f"{NAMESPACE}.{entity.name}"
        entity_set = SubElement(made, "EntitySet", {"Name": entity.set_name, "EntityType": kind})
        for way in entity.navigations:
            SubElement(entity_set, "NavigationPropertyBinding", {"Path": way.name, "Target": way.target})


def _action(schema: Element, entity: Entity, action: Action) -> None:
    made = SubElement(schema, "Action", {"Name": action.name, "IsBound": "true"})
    one, many = f"{NAMESPACE}.{entity.name}", f"Collection({NAMESPACE}.{entity.name})"
    binding = many if action.of_set else one
    SubElement(made, "Parameter", {"Name": "bindingParameter", "Type": binding, "Nullable": "false"})
    if action.parameter:
        held = f"Collection({NAMESPACE}.{action.elements})" if action.elements else many
        SubElement(made, "Parameter", {"Name": action.parameter, "Type": held, "Nullable": "false"})
        if action.switch:
            attributes = {"Name": action.switch, "Type": Kind.BOOLEAN.value, "Nullable": "true"}
            switch = SubElement(made, "Parameter", attributes)
            SubElement(SubElement(switch, "Annotation", {"Term": _OPTIONAL}), "Record")
            _annotate_extension(switch)
        if not action.gives:
            SubElement(made, "ReturnType", {"Type": many, "Nullable": "false"})
    for described in action.given:
        given = SubElement(
            made,
            "Parameter",
            {"Name": described.name, "Type": _type(described), "Nullable": _word(described.nullable)},
        )
        if not described.required:
            SubElement(SubElement(given, "Annotation", {"Term": _OPTIONAL}), "Record")
    if action.gives:
        kind = action.gives if "." in action.gives else f"{NAMESPACE}.{action.gives}"
        kind = kind if action.one else f"Collection({kind})"
        SubElement(made, "ReturnType", {"Type": kind, "Nullable": "false"})


def _annotate_extension(element: Element) -> None:
    SubElement(element, "Annotation", {"Term": _DESCRIPTION, "String": EXTENSION})


def _word(value: bool) -> str:
    return "true" if value else "false"

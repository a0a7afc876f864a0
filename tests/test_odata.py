"""The pure half of OData: literals, paths, references, options, bodies, format, metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_type_hints
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia import model
from indicia.errors import IndiciaError, InputError, InvalidValue, NotFound, NotSupported
from indicia.model import AlertDefinition, Indicator
from indicia.odata import bodies, entities, literals, metadata, paths
from indicia.odata import format as odata
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.shapes import Entity

ROOT = "https://127.0.0.1:8443"
ROOTS = frozenset({ROOT})
DEFINITION = {"Name": "n", "Severity": "Low", "Title": "t", "Category": "Trojan"}
INDICATOR_BODY = {
    "Type": "Md5",
    "Value": "d41d8cd98f00b204e9800998ecf8427e",
    "DetectionFunction": "Equals",
    "AlertDefinition@odata.bind": "AlertDefinitions(1)",
}
NOUN = AlertDefinition(
    uid="u", name="n", title="t", severity=model.Severity.LOW, category=model.Category.TROJAN, id=1
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-5", -5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("1" * 5000, None),
        ("1.0", None),
        ("", None),
        ("١", None),
        ("1\n", None),
    ],
)
def test_integers(text: str, value: int | None) -> None:
    assert literals.integer(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31t12:00:00z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00.1234567Z", datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:30", datetime(2030, 1, 31, 9, 30, tzinfo=UTC)),
        ("2030-01-31T12:00:00-00:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_times(text: str, value: datetime) -> None:
    assert literals.time(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2030-01-31T12:00:00", "time zone"),
        ("2030-01-31", "must be a time"),
        ("2030-02-31T12:00:00Z", "not a time that exists"),
        ("2030-01-31T24:00:00Z", "not a time that exists"),
        ("2030-01-31T12:00:00+99:00", "not a time that exists"),
        ("2030-01-31T12:00:00+01:60", "not a time that exists"),
        ("0001-01-01T00:00:00+01:00", "not a time that exists"),
        ("0000-01-01T00:00:00Z", "not a time that exists"),
        ("tomorrow", "must be a time"),
    ],
)
def test_times_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        literals.time(text)


@pytest.mark.parametrize(
    ("raw", "shape", "keys"),
    [
        ("", "", ()),
        ("/", "", ()),
        ("$metadata", "$metadata", ()),
        ("AlertDefinitions", "AlertDefinitions", ()),
        ("AlertDefinitions/", "AlertDefinitions", ()),
        ("AlertDefinitions(7)", "AlertDefinitions(#)", (7,)),
        ("AlertDefinitions%287%29", "AlertDefinitions(#)", (7,)),
        ("AlertDefinitions(Id=7)", "AlertDefinitions(#)", (7,)),
        ("AlertDefinitions(1)/Actions.DeleteIOCs", "AlertDefinitions(#)/Actions.DeleteIOCs", (1,)),
        (
            "IndicatorsOfCompromise(3)/AlertDefinition/$ref",
            "IndicatorsOfCompromise(#)/AlertDefinition/$ref",
            (3,),
        ),
    ],
)
def test_paths(raw: str, shape: str, keys: tuple[int, ...]) -> None:
    assert paths.parse(raw) == paths.Path(shape, keys)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("A//B", NotFound),
        ("//", NotFound),
        ("..", NotFound),
        ("%00", InputError),
        ("AlertDefinitions%00", InputError),
        ("A(1", NotFound),
        ("A((1))", NotFound),
        ("A" * 5000, InputError),
        ("/".join("A" * 40), NotFound),
        ("%FF", InputError),
        ("A('x')", InputError),
        ("A()", InputError),
        ("A(99999999999999999999)", InputError),
        ("A(" + "9" * 1500 + ")", InputError),
        ("(" * 2000, NotFound),
        ("A(" + "9" * 5000 + ")", InputError),
        ("$crossjoin(A,B)", NotSupported),
    ],
)
def test_paths_that_are_refused(raw: str, error: type[IndiciaError]) -> None:
    with pytest.raises(error) as caught:
        paths.parse(raw)
    assert caught.value.status in (400, 404, 501)


@pytest.mark.parametrize(
    "text",
    [
        "AlertDefinitions(6)",
        "/AlertDefinitions(6)",
        "/v1.0/AlertDefinitions(6)",
        "V1.0/AlertDefinitions(6)",
        f"{ROOT}/V1.0/AlertDefinitions(6)",
        f"{ROOT.upper()}/v1.0/AlertDefinitions(6)",
    ],
)
def test_references(text: str) -> None:
    assert paths.reference(text, "AlertDefinitions", ROOTS, "x") == 6


@pytest.mark.parametrize(
    "text",
    [
        None,
        6,
        "",
        "6",
        "AlertDefinitions",
        "IndicatorsOfCompromise(6)",
        "AlertDefinitions(6)/Name",
        "AlertDefinitions('6')",
        "AlertDefinitions(6)?x=1",
        "https://evil.example/v1.0/AlertDefinitions(6)",
        "//evil.example/v1.0/AlertDefinitions(6)",
        "https://[::1/AlertDefinitions(6)",
        "AlertDefinitions(6)\0",
        "x" * 10_000,
        "$crossjoin(AlertDefinitions)",
    ],
)
def test_references_that_are_refused(text: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        paths.reference(text, "AlertDefinitions", ROOTS, "x")
    assert caught.value.target == "x"


def _definition(**changes: Any) -> bodies.Given:
    return bodies.one(ALERT_DEFINITION, DEFINITION | changes, ROOTS, partial=False)


def _indicator(**changes: Any) -> bodies.Given:
    return bodies.one(INDICATOR, INDICATOR_BODY | changes, ROOTS, partial=False)


def test_a_definition_needs_four_properties_and_the_rest_has_defaults() -> None:
    made = bodies.definition(_definition())
    assert made == AlertDefinition(
        uid="", name="n", title="t", severity=model.Severity.LOW, category=model.Category.TROJAN
    )


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"Enabled": "true"}, "enabled", True),
        ({"Enabled": "False"}, "enabled", False),
        ({"RecommendedAction": None}, "recommended_action", None),
        ({"Name": "n" * 100}, "name", "n" * 100),
        ({"GroupBy": "Indicator"}, "group_by", model.GroupBy.INDICATOR),
        ({"WindowSeconds": 3600}, "window_seconds", 3600),
    ],
)
def test_values_that_are_accepted(changes: dict[str, Any], attribute: str, value: object) -> None:
    assert _definition(**changes).attributes[attribute] == value


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ({"Name": ""}, "Name", "must not be empty"),
        ({"Name": " \n"}, "Name", "must not be empty"),
        ({"Name": None}, "Name", "must not be null"),
        ({"Name": 1}, "Name", "must be a text, not 1"),
        ({"Name": ["x"]}, "Name", "must be a text, not a list"),
        ({"Name": "n" * 101}, "Name", "has 101 characters; at most 100"),
        ({"Name": "a\0b"}, "Name", "U+0000"),
        ({"Title": "n" * 121}, "Title", "at most 120"),
        ({"InternalDescription": "n" * 351}, "InternalDescription", "at most 350"),
        ({"UxDescription": "n" * 501}, "UxDescription", "at most 500"),
        ({"RecommendedAction": "n" * 2001}, "RecommendedAction", "at most 2000"),
        ({"Severity": "low"}, "Severity", "must be one of Informational, Low, Medium, High; not"),
        ({"Severity": 1}, "Severity", "must be one of"),
        ({"Category": "Virus"}, "Category", "must be one of None, SuspiciousActivity"),
        ({"Enabled": 1}, "Enabled", "must be true or false, not 1"),
        ({"Enabled": "yes"}, "Enabled", "must be true or false"),
        ({"WindowSeconds": 1}, "WindowSeconds", "must be from 60"),
        ({"WindowSeconds": True}, "WindowSeconds", "must be an integer"),
        ({"WindowSeconds": 10**400}, "WindowSeconds", "must be from 60"),
        ({"title": "t"}, "title", "did you mean Title?"),
        ({"Colour": "red"}, "Colour", "has no property 'Colour'; it has Id, Name"),
        ({"Colour@odata.type": "x"}, "Colour@odata.type", "has no property"),
        ({"@odata.type": "#X.IndicatorOfCompromise"}, "@odata.type", "a set of AlertDefinition"),
        ({"IndicatorsOfCompromise@odata.bind": []}, "IndicatorsOfCompromise@odata.bind", "cannot be bound"),
    ],
    ids=str,
)
def test_values_that_are_refused(changes: dict[str, Any], target: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        _definition(**changes)
    assert caught.value.target == target
    assert message in caught.value.message


def test_what_the_service_sets_is_ignored_so_that_a_read_entity_can_be_sent_back() -> None:
    form = odata.Format(f"{ROOT}/v1.0", odata.Level.FULL)
    sent_back = json.loads(odata.encode(odata.entity(ALERT_DEFINITION, NOUN, form, ("careful",))))
    again = bodies.one(ALERT_DEFINITION, sent_back, ROOTS, partial=True)
    assert not again.attributes.keys() & {"id", "uid", "created_at", "created_by"}
    assert again.attributes["title"] == "t"


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"Type": "MD5"}, "type", model.IndicatorType.MD5),
        ({"ExpiresAt": "2030-01-01T00:00:00Z"}, "expires_at", datetime(2030, 1, 1, tzinfo=UTC)),
        ({"ExpiresAt": None}, "expires_at", None),
        ({"Source": "a feed"}, "source", "a feed"),
        ({"Action": "Equals"}, "function", model.DetectionFunction.EQUALS),
    ],
    ids=str,
)
def test_indicator_values_that_are_accepted(changes: dict[str, Any], attribute: str, value: object) -> None:
    assert _indicator(**changes).attributes[attribute] == value


def test_action_is_another_name_of_detection_function() -> None:
    body = {name: value for name, value in INDICATOR_BODY.items() if name != "DetectionFunction"}
    found = bodies.one(INDICATOR, body | {"Action": "Contains"}, ROOTS, partial=False)
    assert found.attributes["function"] is model.DetectionFunction.CONTAINS


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ({"Type": "md5"}, "Type", "must be one of Sha1, Sha256, Md5, IpAddress, DomainName, Url, FileName"),
        ({"Type": "Cidr"}, "Type", "must be one of"),
        ({"Action": "Contains"}, "Action", "contradicts DetectionFunction"),
        ({"ExpiresAt": "2030-01-01T00:00:00"}, "ExpiresAt", "time zone"),
        ({"ExpiresAt": 5}, "ExpiresAt", "must be a time"),
        (
            {"ValidFrom": "2030-01-02T00:00:00Z", "ExpiresAt": "2030-01-01T00:00:00Z"},
            "ValidFrom",
            "must be earlier than ExpiresAt",
        ),
        ({"AlertDefinition@odata.bind": "X(1)"}, "AlertDefinition@odata.bind", "AlertDefinitions(1)"),
        ({"Value": "x" * 5000}, "Value", "at most 4096"),
    ],
    ids=str,
)
def test_indicator_values_that_are_refused(changes: dict[str, Any], target: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        _indicator(**changes)
    assert caught.value.target == target
    assert message in caught.value.message


def test_a_body_inside_a_body_is_not_supported() -> None:
    with pytest.raises(NotSupported):
        _indicator(AlertDefinition={})


def test_every_fault_of_a_bulk_upload_is_named_with_its_index() -> None:
    rows: list[Any] = [dict(INDICATOR_BODY) for _ in range(20)]
    rows[17] = INDICATOR_BODY | {"Type": "Sha9"}
    rows[18] = {}
    rows[19] = 5
    with pytest.raises(InvalidValue) as caught:
        bodies.many(INDICATOR, rows, ROOTS)
    assert caught.value.target == "iocs[17].Type"
    assert [item.target for item in caught.value.details] == [
        "iocs[17].Type",
        "iocs[18].AlertDefinition@odata.bind",
        "iocs[18].Type",
        "iocs[18].Value",
        "iocs[18].DetectionFunction",
        "iocs[19]",
    ]


def test_no_answer_lists_more_than_a_hundred_faults() -> None:
    with pytest.raises(InvalidValue) as caught:
        bodies.many(INDICATOR, [{}] * 5000, ROOTS)
    assert len(caught.value.details) == bodies.FAULT_LIMIT


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ([], None),
        ({}, "iocs"),
        ({"iocs": {}}, "iocs"),
        ({"alertDefinitions": []}, "alertDefinitions"),
        ({"iocs": [{}] * 5001}, "iocs"),
    ],
    ids=["list", "empty", "object", "other", "5001"],
)
def test_bulk_bodies_that_are_refused(body: Any, target: str | None) -> None:
    with pytest.raises(InputError) as caught:
        bodies.bulk(INDICATOR, body)
    assert caught.value.target == target


def test_the_value_of_an_indicator_is_judged_with_its_index() -> None:
    rows = [dict(INDICATOR_BODY), INDICATOR_BODY | {"Value": "zz"}]
    found = bodies.many(INDICATOR, rows, ROOTS)
    with pytest.raises(InvalidValue) as caught:
        bodies.indicators(found, {1: NOUN})
    assert caught.value.target == "iocs[1].Value"
    with pytest.raises(InvalidValue) as caught:
        bodies.indicators(found[:1], {})
    assert caught.value.target == "iocs[0].AlertDefinition@odata.bind"


def test_a_change_brings_the_canonical_form_along() -> None:
    before = bodies.indicator(_indicator(), NOUN)
    changes = bodies.one(INDICATOR, {"Type": "DomainName", "Value": "EVIL.Example."}, ROOTS, partial=True)
    assert bodies.indicator_changes(changes, before) == {
        "type": model.IndicatorType.DOMAIN_NAME,
        "value": "EVIL.Example.",
        "canonical": "evil.example",
    }
    with pytest.raises(InvalidValue):
        bodies.indicator_changes(bodies.Given({"type": model.IndicatorType.SHA1}), before)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"{'a':1}",
        b'"\\ud800"',
        b"\xff",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1e999",
        b"1" * 100_000,
        b"{}{}",
        '{"a":1}'.encode("utf-16"),
    ],
    ids=range(13),
)
def test_bodies_that_are_not_json(body: bytes) -> None:
    with pytest.raises(InputError):
        bodies.decode(body)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert bodies.decode(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    ("accept", "level"),
    [
        ("", "minimal"),
        ("*/*", "minimal"),
        ("application/json", "minimal"),
        ("application/json;odata.metadata=none", "none"),
        ("application/json; odata.metadata=Full; q=0.9, */*", "full"),
        ('application/json;metadata="none"', "none"),
    ],
)
def test_levels(accept: str, level: str) -> None:
    assert odata.level_of(accept) == level


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidValue):
        odata.level_of("application/json;odata.metadata=verbose")


def test_levels_of_annotation() -> None:
    found = Indicator(
        type=model.IndicatorType.MD5,
        value="X",
        canonical="x",
        function=model.DetectionFunction.EQUALS,
        definition=NOUN,
        id=3,
        created_at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    texts = {
        level: json.loads(
            odata.encode(odata.entity(INDICATOR, found, odata.Format(f"{ROOT}/v1.0", level), ("w",)))
        )
        for level in odata.Level
    }
    assert texts[odata.Level.NONE]["Type"] == "Md5"
    assert texts[odata.Level.NONE]["CreatedAt"] == "2030-01-01T00:00:00Z"
    assert [name for name in texts[odata.Level.MINIMAL] if "@" in name] == [
        "@odata.context",
        "@indicia.warnings",
    ]
    full = texts[odata.Level.FULL]
    assert full["@odata.type"] == "#Indicia.IndicatorOfCompromise"
    link = f"{ROOT}/v1.0/IndicatorsOfCompromise(3)"
    assert full["@odata.id"] == full["@odata.editLink"] == link
    assert full["AlertDefinition@odata.navigationLink"] == f"{link}/AlertDefinition"


def test_metadata_tells_every_property_and_what_is_an_extension() -> None:
    document = Xml.fromstring(metadata.csdl())
    edm = "{http://docs.oasis-open.org/odata/ns/edm}"
    for described in entities.ENTITIES:
        kind = document.find(f".//{edm}EntityType[@Name='{described.name}']")
        assert kind is not None
        told = {item.get("Name"): item for item in kind.findall(f"{edm}Property")}
        assert list(told) == [item.name for item in (*described.properties, *described.secret)]
        extensions = {
            name
            for name, item in told.items()
            if any("xtension" in mark.get("String", "") for mark in item.findall(f"{edm}Annotation"))
        }
        assert extensions == {item.name for item in described.properties if item.extension}
    members = document.findall(f".//{edm}EnumType/{edm}Member")
    marked = {item.get("Name") for item in members if item.find(f"{edm}Annotation") is not None}
    assert marked == {"Url", "FileName", "SubdomainOf"}
    types = document.findall(f".//{edm}EntityType")
    marked = {item.get("Name") for item in types if item.find(f"{edm}Annotation") is not None}
    assert marked == {item.name for item in entities.ENTITIES} - {"AlertDefinition", "IndicatorOfCompromise"}
    sets = {item.get("Name") for item in document.iter(f"{edm}EntitySet")}
    assert sets == entities.BY_SET.keys()
    actions = [(item.get("Name"), item[0].get("Type")) for item in document.iter(f"{edm}Action")]
    assert actions == [
        ("BulkUpload", "Collection(Indicia.AlertDefinition)"),
        ("DeleteIOCs", "Indicia.AlertDefinition"),
        ("BulkUpload", "Collection(Indicia.IndicatorOfCompromise)"),
        ("Suppress", "Indicia.Alert"),
        ("Check", "Collection(Indicia.AllowList)"),
        ("Preview", "Indicia.AllowList"),
        ("AddEntries", "Indicia.AllowList"),
        ("ReplaceEntries", "Indicia.AllowList"),
        ("Test", "Indicia.Output"),
        ("Replay", "Indicia.Output"),
    ]


def test_every_attribute_of_the_table_is_one_of_its_noun() -> None:
    for described in entities.ENTITIES:
        for path in [item.attribute for item in described.properties] + [
            way.key_of for way in described.navigations
        ]:
            kind: Any = described.noun
            for name in path.split("."):
                held = get_type_hints(kind)
                assert name in held or isinstance(vars(kind)[name], property), path
                kind = held[name] if name in held else get_type_hints(vars(kind)[name].fget)["return"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def status(attempt: Callable[[], object]) -> int:
    """200, or the status of the refusal."""
    try:
        attempt()
    except IndiciaError as error:
        return error.status
    return 200


NAMES = st.sampled_from([*ALERT_DEFINITION.by_name, *INDICATOR.by_name, bodies.BIND, "@odata.id", "x@y"])


@given(st.dictionaries(NAMES | st.text(), JSON), st.sampled_from(entities.WRITTEN), st.booleans())
def test_any_object_is_read_or_refused(body: dict[str, Any], described: Entity, partial: bool) -> None:
    assert status(lambda: bodies.one(described, body, ROOTS, partial=partial)) in (200, 400, 501)


@given(st.binary())
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    assert status(lambda: bodies.decode(body)) in (200, 400)


@given(st.text(st.characters(max_codepoint=255)))
def test_any_path_is_read_or_refused(raw: str) -> None:
    assert status(lambda: paths.parse(raw)) in (200, 400, 404)


@given(st.text())
def test_any_reference_is_read_or_refused(text: str) -> None:
    assert status(lambda: paths.reference(text, "AlertDefinitions", ROOTS, "x")) in (200, 400)

"""What seldom happens in the query language and its answers, function by function."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from indicia.errors import InvalidValue, NotSupported
from indicia.model import AlertDefinition, Category, DetectionFunction, Indicator, IndicatorType, Severity
from indicia.odata import bodies, format, literals, metadata, options, parse, skiptoken, tree
from indicia.odata.entities import ALERT, ALERT_DEFINITION, INDICATOR
from indicia.odata.format import Format, Level
from indicia.odata.meaning import Meaning

FORM = Format("https://h.example/v1.0", Level.NONE)
OWNER = AlertDefinition("u", "n", "t", Severity.LOW, Category.NONE, id=1)


def a_fault(call: Callable[[], object]) -> InvalidValue:
    """What a call is refused with."""
    with pytest.raises(InvalidValue) as refused:
        call()
    return refused.value


@pytest.mark.parametrize(
    "content",
    [
        metadata.service_document(FORM),
        format.references(ALERT_DEFINITION, [OWNER], FORM),
        format.reference(ALERT_DEFINITION, OWNER, FORM),
        format.single("AlertDefinitions(1)/Title", "t", FORM),
        format.results(ALERT_DEFINITION, [(OWNER, 201), InvalidValue("x")], FORM, minimal=True),
    ],
    ids=["service document", "references", "reference", "property", "results"],
)
def test_without_metadata_there_is_no_context(content: dict[str, Any]) -> None:
    assert "@odata.context" not in content
    assert content


def test_where_only_a_way_is_selected_an_entity_has_no_properties() -> None:
    asked = options.parse("$select=AlertDefinition", options.ENTITY_OPTIONS, INDICATOR)
    url = "http://a.example/"
    made = Indicator(IndicatorType.URL, url, url, DetectionFunction.EQUALS, OWNER, 3)
    assert format.member(INDICATOR, made, FORM, asked) == {}


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (literals.days, "2030-13-01"),
        (literals.days, "yesterday"),
        (literals.time_of_day, "24:00"),
        (literals.time_of_day, "noon"),
        (literals.duration, "P"),
        (literals.time, "2030-01-31T25:00:00Z"),
    ],
)
def test_what_is_no_literal_is_said_to_be_none(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not a|must be)"):
        read(text)


def test_no_list_of_faults_is_longer_than_a_hundred_for_values_too() -> None:
    row = {"Type": "Md5", "Value": "x", "DetectionFunction": "Equals", bodies.BIND: "AlertDefinitions(1)"}
    given = bodies.many(INDICATOR, [row] * 120, frozenset())
    found = a_fault(lambda: bodies.indicators(given, {1: OWNER}))
    assert len(found.details) == bodies.FAULT_LIMIT
    assert found.details[-1].target == f"iocs[{bodies.FAULT_LIMIT - 1}].Value"


def test_of_two_that_an_order_does_not_tell_apart_none_comes_first() -> None:
    order = (tree.Order(tree.Member(tree.IT, (), ALERT_DEFINITION.by_name["Title"])),)
    other = AlertDefinition("v", "m", "t", Severity.HIGH, Category.NONE, id=2)
    plain = Meaning(lambda _owner: [])
    assert plain.compare(order, OWNER, other) == 0
    assert plain.compare((), OWNER, other) < 0


@pytest.mark.parametrize("text", ["Title/length eq 1", "Title/$count gt 1", "Indicators eq 'x'"])
def test_what_is_below_a_property_and_lists_of_texts_are_not_supported(text: str) -> None:
    with pytest.raises(NotSupported) as refused:
        parse.predicate(text, parse.context(ALERT))
    assert refused.value.target == "$filter"


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "{}", "[1", "1"])
def test_a_token_of_another_make_is_refused(text: str) -> None:
    order = tree.total((), ALERT_DEFINITION)
    made = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    assert a_fault(lambda: skiptoken.read(made, order)).target == "$skiptoken"

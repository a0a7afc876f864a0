"""The query string: options that are taken, options that are refused, and the link to the next page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia.errors import IndiciaError, InputError, InvalidValue, NotSupported
from indicia.odata import format as odata
from indicia.odata import options
from indicia.odata.entities import ALERT_DEFINITION
from indicia.odata.shapes import Entity, Navigation


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", options.Options()),
        ("$top=5", options.Options(top=5)),
        ("%24top=5&$count=true", options.Options(top=5, count=True)),
        ("$top=0", options.Options(top=0)),
        ("top=5&$Count=true", options.Options(top=5, count=True)),
        ("$skip=100000", options.Options(skip=100_000)),
        ("$format=json", options.Options(level=odata.Level.MINIMAL)),
        ("$format=application/json;odata.metadata=none", options.Options(level=odata.Level.NONE)),
        ("$select=Title, Id", options.Options(select=("Id", "Title"))),
        ("$select=Title,*", options.Options()),
        ("$select=IndicatorsOfCompromise", options.Options(select=())),
    ],
)
def test_options(query: str, expected: options.Options) -> None:
    assert options.parse(query, options.LIST_OPTIONS) == expected


@pytest.mark.parametrize(
    ("query", "error", "target"),
    [
        ("$top=-1", InvalidValue, "$top"),
        ("$top=x", InvalidValue, "$top"),
        ("$top=", InvalidValue, "$top"),
        ("$top=1&$top=1", InvalidValue, "$top"),
        ("$count=1", InvalidValue, "$count"),
        ("$count=TRUE", InvalidValue, "$count"),
        ("$skiptoken=x", InvalidValue, "$skiptoken"),
        ("$skiptoken=%00", InvalidValue, "$skiptoken"),
        ("$skiptoken=é", InvalidValue, "$skiptoken"),
        ("$skiptoken=MToxOjE", InvalidValue, "$skiptoken"),
        ("$skiptoken=WzIsIngiXQ", InvalidValue, "$skiptoken"),
        ("$skiptoken=WzIsMV0&$skip=1", InvalidValue, "$skiptoken"),
        ("top=-1", InvalidValue, "$top"),
        ("top=1&$TOP=1", InvalidValue, "$top"),
        ("x", InvalidValue, "x"),
        ("@", InvalidValue, "@"),
        ("$filter=a%20eq%201", InvalidValue, "$filter"),
        ("$filter=", InvalidValue, "$filter"),
        ("$orderby=Name,", InvalidValue, "$orderby"),
        ("$orderby=null", InvalidValue, "$orderby"),
        ("$skip=100001", InvalidValue, "$skip"),
        ("$skip=x", InvalidValue, "$skip"),
        ("$search=x", NotSupported, "$search"),
        ("$apply=x", NotSupported, "$apply"),
        ("$id=x", NotSupported, "$id"),
        ("$format=json;odata.metadata=some", InvalidValue, "$format"),
        ("$select=", InvalidValue, "$select"),
        ("$select=Colour", InvalidValue, "$select"),
        ("$select=Name Title", InvalidValue, "$select"),
        ("$select=Name/Title", NotSupported, "$select"),
        ("$select=Actions.BulkUpload", NotSupported, "$select"),
        ("$expand=Name", InvalidValue, "$expand"),
        ("$expand=Colour", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise,*", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise/$ref", NotSupported, "$expand"),
        ("$expand=IndicatorsOfCompromise($levels=2)", NotSupported, "$expand"),
        ("$expand=IndicatorsOfCompromise($top=1", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise Name", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise(1)", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise(@a=1)", NotSupported, "$expand"),
        ("$expand=IndicatorsOfCompromise($top=1;top=2)", InvalidValue, "$expand"),
        ("$expand=IndicatorsOfCompromise($top=x)", InvalidValue, "$expand/IndicatorsOfCompromise/$top"),
        ("$expand=IndicatorsOfCompromise($skiptoken=x)", InvalidValue, "$skiptoken"),
        (
            "$expand=IndicatorsOfCompromise($filter=Name eq '')",
            InvalidValue,
            "$expand/IndicatorsOfCompromise/$filter",
        ),
        (
            "$expand=IndicatorsOfCompromise($expand=AlertDefinition($expand=IndicatorsOfCompromise))",
            NotSupported,
            "$expand/IndicatorsOfCompromise/$expand",
        ),
        (
            "$expand=IndicatorsOfCompromise($expand=AlertDefinition($top=1))",
            InvalidValue,
            "$expand/IndicatorsOfCompromise/$expand",
        ),
        ("$format=xml", NotSupported, "$format"),
        ("%FF=1", InputError, None),
        ("&".join(f"a{n}=1" for n in range(200)), InputError, None),
        ("a" * 20_000, InputError, None),
    ],
)
def test_options_that_are_refused(query: str, error: type[IndiciaError], target: str | None) -> None:
    with pytest.raises(error) as caught:
        options.parse(query, options.LIST_OPTIONS)
    assert caught.value.target == target
    assert caught.value.status in (400, 501)


def test_the_next_page_goes_on_where_this_one_ended() -> None:
    query = "top=2500&$count=true&$skip=7&$filter=Title eq @t&@t=%27a%26b%27"
    asked = options.parse(query, options.LIST_OPTIONS)
    following = options.next_query(asked, 1000, (4711,))
    assert following is not None
    again = options.parse(following, options.LIST_OPTIONS)
    assert again == options.Options(filter=asked.filter, top=1500, count=True, after=(4711,))
    assert options.next_query(options.Options(top=10), 10, (1,)) is None


MANY = Entity(
    "Node", "Nodes", object, ALERT_DEFINITION.properties, (Navigation("Nodes", "Nodes", many=True),), (), ""
)
ONE = Entity(
    "Link",
    "Links",
    object,
    ALERT_DEFINITION.properties,
    (Navigation("Link", "Links", many=False, attribute="link"),),
    (),
    "",
)


def test_expansions_multiply_neither_in_width_nor_in_depth() -> None:
    with pytest.raises(NotSupported, match="inside an expanded collection"):
        options.parse("$expand=Nodes($expand=Nodes)", options.LIST_OPTIONS, MANY, {"Nodes": MANY})
    deep = "$expand=Link($expand=Link($expand=Link{}))"
    options.parse(deep.format(""), options.LIST_OPTIONS, ONE, {"Links": ONE})
    with pytest.raises(InvalidValue, match="more than 3 levels"):
        options.parse(deep.format("($expand=Link)"), options.LIST_OPTIONS, ONE, {"Links": ONE})


def test_the_metadata_document_is_xml() -> None:
    options.of_metadata("$format=application/xml")
    with pytest.raises(NotSupported):
        options.of_metadata("$format=json")
    with pytest.raises(InvalidValue):
        options.of_metadata("$top=1")


def test_the_token_of_a_next_link_has_a_limit_of_its_own() -> None:
    order = ",".join(["Name", "Title", "UxDescription", "InternalDescription"])
    asked = options.parse(f"$orderby={order}&$filter=Name ne '{'x' * 12_000}'", options.LIST_OPTIONS)
    query = options.next_query(asked, 1, (*["\U0001f600" * 256] * 4, 7))
    assert query is not None
    assert len(query) > options.QUERY_LIMIT
    assert options.parse(query, options.LIST_OPTIONS).filter == asked.filter
    with pytest.raises(InputError, match="longer than"):
        options.parse(f"{query}&$select={'x' * 5000}", options.LIST_OPTIONS)


def status(query: str) -> int:
    """200, or the status of the refusal."""
    try:
        options.parse(query, options.LIST_OPTIONS)
    except IndiciaError as error:
        return error.status
    return 200


@given(st.text(st.characters(max_codepoint=255)))
def test_any_query_is_read_or_refused(query: str) -> None:
    assert status(query) in (200, 400, 501)

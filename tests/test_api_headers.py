"""What the headers of a request ask: preferences, ETags, versions of the protocol."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia.errors import InvalidValue
from indicia.odata import headers
from service import DEFINITION, Client, Reply, indicator

BULK = "IndicatorsOfCompromise/Actions.BulkUpload"
OTHER = 'W/"0123456789abcdef"'


def etag(reply: Reply) -> str:
    """Of one entity."""
    found = reply.headers["etag"]
    assert found.startswith('W/"')
    return found


def changed(api: Client, method: str, path: str, body: Any, **conditions: str) -> int:
    """The status of a change under conditions, as `if_match='…'`."""
    given = {name.replace("_", "-"): value for name, value in conditions.items()}
    return api(method, path, body, given).status


# ETags


@pytest.mark.parametrize("kind", ["AlertDefinitions", "IndicatorsOfCompromise"])
def test_an_etag_names_one_state_of_an_entity(empty: Client, kind: str) -> None:
    owner = empty.add_definition()
    number = owner if kind == "AlertDefinitions" else empty.add_indicator(owner)
    path = f"{kind}({number})"
    first = etag(empty("GET", path))
    assert etag(empty("GET", path)) == first
    assert etag(empty("GET", f"{path}?$select=Id")) == first
    assert "etag" not in empty("GET", f"{path}?$expand=*").headers
    full = {"Accept": "application/json;odata.metadata=full"}
    assert empty("GET", path, headers=full).json()["@odata.etag"] == first
    listed = empty("GET", kind, headers=full).json()["value"]
    assert [item["@odata.etag"] for item in listed] == [first]
    assert "@odata.etag" not in empty("GET", path).json()
    second = etag(empty("PATCH", path, {"Enabled": False}))
    assert second != first
    assert etag(empty("GET", path)) == second


def test_who_has_the_entity_is_told_so(empty: Client) -> None:
    path = f"AlertDefinitions({empty.add_definition()})"
    now = etag(empty("GET", path))
    for known in (now, now.removeprefix("W/"), f"{OTHER}, {now}", "*"):
        reply = empty("GET", path, headers={"If-None-Match": known})
        assert (reply.status, reply.body, etag(reply)) == (304, b"", now)
    assert empty("GET", path, headers={"If-None-Match": OTHER}).status == 200
    assert empty("GET", path, headers={"If-Match": now}).status == 200
    assert empty("GET", path, headers={"If-Match": OTHER}).status == 412


def test_a_change_is_made_to_the_state_that_was_read(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    found = f"IndicatorsOfCompromise({empty.add_indicator(first)})"
    move = {"@odata.id": f"AlertDefinitions({second})"}
    for method, read, path, body in (
        ("PATCH", f"AlertDefinitions({first})", f"AlertDefinitions({first})", {"Title": "New"}),
        ("PATCH", found, found, {"Enabled": False}),
        ("PUT", found, f"{found}/AlertDefinition/$ref", move),
        ("DELETE", found, found, None),
        ("DELETE", f"AlertDefinitions({first})", f"AlertDefinitions({first})", None),
    ):
        now = etag(empty("GET", read))
        before = empty("GET", read).body
        assert changed(empty, method, path, body, if_match=OTHER) == 412
        assert changed(empty, method, path, body, if_none_match="*") == 412
        assert changed(empty, method, path, body, if_none_match=now) == 412
        assert changed(empty, method, path, body, if_match="now") == 400
        assert empty("GET", read).body == before
        assert changed(empty, method, path, body, if_match=f"{OTHER} , {now}") in (200, 204)
    assert changed(empty, "DELETE", f"AlertDefinitions({second})", None, if_match="*") == 204
    assert changed(empty, "DELETE", f"AlertDefinitions({second})", None, if_match="*") == 404


def test_the_move_of_an_indicator_is_another_state(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    path = f"IndicatorsOfCompromise({empty.add_indicator(first)})"
    before = etag(empty("GET", path))
    moved = empty("PUT", f"{path}/AlertDefinition/$ref", {"@odata.id": f"AlertDefinitions({second})"})
    assert etag(moved) == etag(empty("GET", path)) != before


def test_what_has_no_etag_is_not_changed_under_conditions(empty: Client) -> None:
    owner = empty.add_definition()
    empty.add_indicator(owner)
    calls: list[tuple[str, str, Any]] = [
        ("POST", "AlertDefinitions", DEFINITION),
        ("POST", BULK, {"iocs": [indicator(owner)]}),
        ("POST", f"AlertDefinitions({owner})/Actions.DeleteIOCs", None),
        ("DELETE", "IndicatorsOfCompromise", None),
        ("DELETE", "AlertDefinitions", None),
    ]
    for method, path, body in calls:
        assert changed(empty, method, path, body, if_match=OTHER) == 412
        assert changed(empty, method, path, body, if_none_match="*") == 412
    assert empty("GET", "AlertDefinitions/$count").body == b"1"
    assert empty("GET", "IndicatorsOfCompromise/$count").body == b"1"


# Preferences


def test_what_is_written_is_returned_or_not(empty: Client) -> None:
    minimal, whole = {"Prefer": "return=minimal"}, {"Prefer": "return=representation"}
    made = empty("POST", "AlertDefinitions", DEFINITION, minimal)
    assert (made.status, made.body) == (204, b"")
    assert made.headers["preference-applied"] == "return=minimal"
    assert made.headers["location"] == made.headers["odata-entityid"]
    path = made.headers["location"].partition("/v1.0/")[2]
    assert etag(empty("GET", path)) == etag(made)
    same = empty("PATCH", path, {"Title": "New"}, minimal)
    assert (same.status, same.body, same.headers["preference-applied"]) == (204, b"", "return=minimal")
    assert empty("GET", f"{path}/Title").json()["value"] == "New"
    for method, where, body, status in (
        ("PATCH", path, {"Title": "Newer"}, 200),
        ("POST", "AlertDefinitions", DEFINITION, 201),
    ):
        reply = empty(method, where, body, whole)
        assert (reply.status, reply.headers["preference-applied"]) == (status, "return=representation")
        assert "preference-applied" not in empty(method, where, body).headers
    number = int(path.partition("(")[2].rstrip(")"))
    many = empty("POST", BULK, {"iocs": [indicator(number)] * 3}, minimal)
    assert (many.status, many.body) == (204, b"")
    assert empty("GET", "IndicatorsOfCompromise/$count").body == b"3"


@pytest.mark.parametrize("name", ["odata.maxpagesize", "maxpagesize"])
def test_pages_as_long_as_the_client_likes(empty: Client, name: str) -> None:
    owner = empty.add_definition()
    empty("POST", BULK, {"iocs": [indicator(owner)] * 7})
    for path in ("IndicatorsOfCompromise", f"AlertDefinitions({owner})/IndicatorsOfCompromise/$ref"):
        seen, following, pages = 0, f"{path}?$top=6", 0
        while following:
            reply = empty("GET", following, headers={"Prefer": f"{name}=4"})
            assert reply.headers["preference-applied"] == "odata.maxpagesize=4"
            page = reply.json()
            seen, pages = seen + len(page["value"]), pages + 1
            following = page.get("@odata.nextLink", "").partition("/v1.0/")[2]
        assert (seen, pages) == (6, 2)
    for nonsense in ("0", "-1", "x", "", "9" * 30):
        reply = empty("GET", "IndicatorsOfCompromise", headers={"Prefer": f"{name}={nonsense}"})
        assert len(reply.json()["value"]) == 7
        assert "preference-applied" not in reply.headers
    reply = empty("GET", "IndicatorsOfCompromise", headers={"Prefer": f"{name}=100000"})
    assert len(reply.json()["value"]) == 7


def test_preferences_that_nobody_knows_are_passed_over(empty: Client) -> None:
    asked = 'respond-async, foo; bar="x", return=everything, odata.include-annotations="*"'
    reply = empty("POST", "AlertDefinitions", DEFINITION, {"Prefer": asked})
    assert reply.status == 201
    assert "preference-applied" not in reply.headers
    both = headers.preferences(["Return=minimal; x=y", "return=representation"])
    assert both.minimal is True, "of one that comes twice the first counts (RFC 7240, 2)"


# Versions


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("OData-Version", "4.0", 201),
        ("OData-Version", "4.01", 201),
        ("OData-Version", "4.0;NetFx", 201),
        ("OData-Version", "3.0", 400),
        ("OData-Version", "5.0", 400),
        ("OData-Version", "x", 400),
        ("OData-MaxVersion", "4.0", 201),
        ("OData-MaxVersion", "4.01", 201),
        ("OData-MaxVersion", "5.0", 201),
        ("OData-MaxVersion", "3.0", 400),
        ("OData-MaxVersion", "", 400),
    ],
)
def test_versions(empty: Client, header: str, value: str, status: int) -> None:
    reply = empty("POST", "AlertDefinitions", DEFINITION, {header: value})
    assert (reply.status, reply.headers["odata-version"]) == (status, "4.0")
    if status == 400:
        assert reply.error["target"] == header
        assert empty("GET", "AlertDefinitions").json()["value"] == []


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_any_prefer_is_read(given_: list[str]) -> None:
    assert headers.preferences(given_).minimal in (None, True, False)


@given(st.none() | st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_any_condition_is_read_or_refused(match: str | None, version: str) -> None:
    for attempt in (
        lambda: headers.conditions(match, version),
        lambda: headers.check_versions(version, match),
    ):
        with contextlib.suppress(InvalidValue):
            attempt()

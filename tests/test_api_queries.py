"""The query language over the wire: options, pages, counts, references, properties, related entities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from service import Client, add_access, indicator, local

ROOT = "https://127.0.0.1:8443/v1.0"
SETS = ("AlertDefinitions", "IndicatorsOfCompromise")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A tenant with two definitions and 250 indicators under the first, beside one that has the same."""
    with local(tmp_path_factory.mktemp("queries")) as running:
        access = [add_access(running.store, name) for name in ("one", "two")]
        clients = [running.client(item) for item in access]
        for client in reversed(clients):
            first = client.add_definition(Name="First", Severity="High", RecommendedAction=None)
            client.add_definition(Name="Second", Title="a 'quoted' & <tagged> title")
            rows = [indicator(first, Type="DomainName", Value=f"h{n:03}.example") for n in range(250)]
            assert client("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows}).status == 200
        yield clients[0]


def asked(client: Client, path: str, status: int = 200, **options: str) -> Any:
    """The JSON that a GET with options is answered by; `filter` is `$filter`."""
    query = "&".join(f"${name}={quote(text, safe='')}" for name, text in options.items())
    reply = client("GET", f"{path}?{query}" if query else path)
    assert reply.status == status, reply.body
    return reply.json()


def all_pages(client: Client, path: str, **options: str) -> list[Any]:
    """The pages that next links lead through."""
    pages = [asked(client, path, 200, **options)]
    while "@odata.nextLink" in pages[-1]:
        link = pages[-1]["@odata.nextLink"]
        assert link.startswith(f"{ROOT}/")
        pages.append(asked(client, link.removeprefix(f"{ROOT}/")))
        assert len(pages) < 50
    return pages


def ids(client: Client, path: str) -> list[int]:
    """The ids of a whole set."""
    return [item["Id"] for page in all_pages(client, path) for item in page["value"]]


def test_a_filtered_list_with_its_count(api: Client) -> None:
    found = asked(api, "AlertDefinitions", filter="Severity eq 'High'", count="true")
    assert [item["Name"] for item in found["value"]] == ["First"]
    assert found["@odata.count"] == 1
    found = asked(api, "IndicatorsOfCompromise", filter="endswith(Value,'9.example')", top="2", count="true")
    assert [item["Value"] for item in found["value"]] == ["h009.example", "h019.example"]
    assert found["@odata.count"] == 25
    assert "@odata.nextLink" not in found


def test_options_without_dollar_and_aliases(api: Client) -> None:
    found = api("GET", "AlertDefinitions?filter=Name%20eq%20@n&@n='Second'&Top=1").json()
    assert [item["Name"] for item in found["value"]] == ["Second"]


def test_order_and_skip(api: Client) -> None:
    found = asked(api, "IndicatorsOfCompromise", orderby="Value desc", top="3", skip="2")
    assert [item["Value"] for item in found["value"]] == ["h247.example", "h246.example", "h245.example"]
    found = asked(api, "AlertDefinitions", orderby="IndicatorsOfCompromise/$count,Name desc")
    assert [item["Name"] for item in found["value"]] == ["Second", "First"]


def test_pages_keep_filter_order_selection_count_and_aliases(api: Client) -> None:
    # A page that expands a collection holds a hundred entities, with a hundred of each collection.
    pages = all_pages(
        api,
        "AlertDefinitions",
        filter="Name ne 'a+b & ü%'",
        orderby="Name",
        top="2",
        count="true",
        expand="IndicatorsOfCompromise($select=Value;$orderby=Value desc;$filter=contains(Value,'h'))",
    )
    assert [item["Name"] for page in pages for item in page["value"]] == ["First", "Second"]
    first = pages[0]["value"][0]
    values = [item["Value"] for item in first["IndicatorsOfCompromise"]]
    assert all(set(item) == {"Value"} for item in first["IndicatorsOfCompromise"])
    link = first["IndicatorsOfCompromise@odata.nextLink"]
    assert len(values) == 100
    rest = all_pages(api, link.removeprefix(f"{ROOT}/"))
    values += [item["Value"] for page in rest for item in page["value"]]
    assert values == [f"h{n:03}.example" for n in reversed(range(250))]
    assert "IndicatorsOfCompromise@odata.nextLink" not in pages[0]["value"][1]


def test_what_is_selected_is_all_that_comes(api: Client) -> None:
    found = asked(api, "AlertDefinitions", select="Title,Name")
    assert [list(item) for item in found["value"]] == [["Name", "Title"]] * 2
    assert found["@odata.context"] == f"{ROOT}/$metadata#AlertDefinitions(Name,Title)"
    first = ids(api, "AlertDefinitions")[0]
    one = asked(api, f"AlertDefinitions({first})", select="Id", expand="IndicatorsOfCompromise($top=1)")
    assert set(one) == {"@odata.context", "Id", "IndicatorsOfCompromise"}
    assert one["@odata.context"] == f"{ROOT}/$metadata#AlertDefinitions(Id,IndicatorsOfCompromise())/$entity"
    full = api(
        "GET", f"AlertDefinitions({first})?$select=Id&$format=application/json;odata.metadata=full"
    ).json()
    assert full["@odata.id"] == f"{ROOT}/AlertDefinitions({first})"
    assert "Name" not in full


def test_related_entities_inside(api: Client) -> None:
    found = asked(api, "IndicatorsOfCompromise", top="1", expand="AlertDefinition($select=Name,Severity)")
    assert found["value"][0]["AlertDefinition"] == {"Name": "First", "Severity": "High"}
    assert (
        found["@odata.context"] == f"{ROOT}/$metadata#IndicatorsOfCompromise(AlertDefinition(Name,Severity))"
    )
    nested = (
        "IndicatorsOfCompromise($top=2;$skip=1;$count=true;$filter=Value gt 'h1';$expand=AlertDefinition)"
    )
    found = asked(api, "AlertDefinitions", expand=nested, orderby="Name")
    first, second = found["value"]
    assert first["IndicatorsOfCompromise@odata.count"] == 150
    assert [item["Value"] for item in first["IndicatorsOfCompromise"]] == ["h101.example", "h102.example"]
    assert first["IndicatorsOfCompromise"][0]["AlertDefinition"]["Id"] == first["Id"]
    assert (second["IndicatorsOfCompromise"], second["IndicatorsOfCompromise@odata.count"]) == ([], 0)


def test_counts_as_text(api: Client) -> None:
    first, second = ids(api, "AlertDefinitions")
    some = ids(api, "IndicatorsOfCompromise")[0]
    for path, expected in (
        ("AlertDefinitions/$count", b"2"),
        ("AlertDefinitions/$count?$filter=Enabled%20eq%20false", b"0"),
        ("IndicatorsOfCompromise/$count", b"250"),
        ("IndicatorsOfCompromise/$count?$filter=Value%20lt%20'h1'", b"100"),
        (f"AlertDefinitions({first})/IndicatorsOfCompromise/$count", b"250"),
        (f"AlertDefinitions({second})/IndicatorsOfCompromise/$count", b"0"),
        (f"IndicatorsOfCompromise({some})/AlertDefinition/IndicatorsOfCompromise/$count", b"250"),
    ):
        reply = api("GET", path)
        assert (reply.status, reply.body) == (200, expected), path
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert asked(api, f"AlertDefinitions({first})/IndicatorsOfCompromise", count="true", top="0") == {
        "@odata.context": f"{ROOT}/$metadata#IndicatorsOfCompromise",
        "@odata.count": 250,
        "value": [],
    }


@pytest.mark.parametrize(
    "described", [ALERT_DEFINITION, INDICATOR], ids=lambda described: str(described.name)
)
def test_every_property_alone_and_as_text(api: Client, described: Any) -> None:
    key = ids(api, described.set_name)[0]
    whole = asked(api, f"{described.set_name}({key})")
    for item in described.properties:
        place = f"{described.set_name}({key})/{item.name}"
        single, text = api("GET", place), api("GET", f"{place}/$value")
        if whole[item.name] is None:
            assert (single.status, text.status, single.body, text.body) == (204, 204, b"", b"")
            continue
        assert single.json() == {"@odata.context": f"{ROOT}/$metadata#{place}", "value": whole[item.name]}
        expected = whole[item.name]
        shown = (
            {True: "true", False: "false"}.get(expected, expected) if isinstance(expected, bool) else expected
        )
        assert text.body.decode() == str(shown)
        assert text.headers["content-type"] == "text/plain; charset=utf-8"


def test_ways_between_the_sets(api: Client) -> None:
    first, second = ids(api, "AlertDefinitions")
    some = ids(api, "IndicatorsOfCompromise")[0]
    owner = f"IndicatorsOfCompromise({some})/AlertDefinition"
    assert asked(api, owner)["Id"] == first
    assert asked(api, owner, select="Name")["Name"] == "First"
    assert asked(api, f"{owner}/Name")["value"] == "First"
    assert api("GET", f"{owner}/Severity/$value").body == b"High"
    assert asked(api, f"{owner}/$ref") == {
        "@odata.context": f"{ROOT}/$metadata#$ref",
        "@odata.id": f"{ROOT}/AlertDefinitions({first})",
    }
    assert asked(api, f"AlertDefinitions({first})/IndicatorsOfCompromise({some})")["Id"] == some
    assert api("GET", f"AlertDefinitions({second})/IndicatorsOfCompromise({some})").status == 404
    assert asked(api, f"AlertDefinitions({second})/IndicatorsOfCompromise")["value"] == []
    assert api("GET", "AlertDefinitions(99999)/IndicatorsOfCompromise").status == 404


def test_references(api: Client) -> None:
    first, second = ids(api, "AlertDefinitions")
    found = asked(api, "AlertDefinitions/$ref", orderby="Name desc", count="true")
    assert found == {
        "@odata.context": f"{ROOT}/$metadata#Collection($ref)",
        "@odata.count": 2,
        "value": [{"@odata.id": f"{ROOT}/AlertDefinitions({key})"} for key in (second, first)],
    }
    assert asked(api, f"AlertDefinitions({first})/$ref")["@odata.id"] == f"{ROOT}/AlertDefinitions({first})"
    found = asked(
        api, f"AlertDefinitions({first})/IndicatorsOfCompromise/$ref", filter="Value eq 'h001.example'"
    )
    assert len(found["value"]) == 1
    assert (
        asked(api, "IndicatorsOfCompromise/$ref", top="3", select="Id", status=400)["error"]["target"]
        == "$select"
    )


def test_formats(api: Client) -> None:
    none = api(
        "GET", "AlertDefinitions?$format=application/json;odata.metadata=none", headers={"Accept": "*/*"}
    )
    assert "@odata.context" not in none.json()
    assert none.headers["content-type"].startswith("application/json; odata.metadata=none")
    assert api("GET", "$metadata?$format=xml").status == 200
    assert api("GET", "?$format=json").status == 200
    assert api("GET", "AlertDefinitions?$format=atom").status == 501


@pytest.mark.parametrize(
    ("path", "status", "target"),
    [
        ("AlertDefinitions?$filter=Name eq 'a", 400, "$filter"),
        ("AlertDefinitions?$filter=Colour eq 1", 400, "$filter"),
        ("AlertDefinitions?$filter=Name eq %00", 400, "$filter"),
        ("AlertDefinitions?$filter=" + "(" * 10_000, 400, "$filter"),
        ("AlertDefinitions?$filter=Id eq " + "9" * 5000, 400, "$filter"),
        ("AlertDefinitions?$filter=cast(Id,Edm.String) eq '1'", 501, "$filter"),
        ("AlertDefinitions?$orderby=Colour", 400, "$orderby"),
        ("AlertDefinitions?$orderby=" + ",".join(["Name"] * 9), 400, "$orderby"),
        ("AlertDefinitions?$skip=100001", 400, "$skip"),
        ("AlertDefinitions?$skiptoken=WzIsMV0&$orderby=Name", 400, "$skiptoken"),
        ("AlertDefinitions?$search=a", 501, "$search"),
        ("AlertDefinitions?$apply=aggregate(Id)", 501, "$apply"),
        ("AlertDefinitions(1)?$filter=true", 400, "$filter"),
        ("AlertDefinitions/$count?$top=1", 400, "$top"),
        ("AlertDefinitions(1)/Name?$select=Id", 400, "$select"),
        ("IndicatorsOfCompromise?$expand=AlertDefinition($levels=2)", 501, "$expand"),
        ("$all?$search=a", 501, None),
    ],
)
def test_refusals_name_the_option(api: Client, path: str, status: int, target: str | None) -> None:
    reply = api("GET", quote(path, safe="$?&=/(),:%"))
    assert reply.status == status, reply.body
    assert reply.error.get("target") == target


def test_a_walk_by_next_links_sees_every_entity_once_while_others_are_added(api: Client) -> None:
    owner = api.add_definition(Name="Walk")
    rows = [indicator(owner, Type="DomainName", Value=f"w{n:04}.example") for n in range(1500)]
    assert api("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows}).status == 200
    path = f"AlertDefinitions({owner})/IndicatorsOfCompromise"
    page = asked(api, path, orderby="Value desc", select="Value")
    seen = [item["Value"] for item in page["value"]]
    api.add_indicator(owner, Type="DomainName", Value="x.example")
    while "@odata.nextLink" in page:
        page = asked(api, page["@odata.nextLink"].removeprefix(f"{ROOT}/"))
        seen += [item["Value"] for item in page["value"]]
    assert seen == [f"w{n:04}.example" for n in reversed(range(1500))]
    assert api("DELETE", f"AlertDefinitions({owner})").status == 204

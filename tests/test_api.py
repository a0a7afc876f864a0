"""The TI API over a real store, called in this process: what the published calls do, tenants kept apart."""

from __future__ import annotations

from typing import Any

import pytest

from service import (
    DEFINITION,
    SHA1,
    Client,
    Local,
    add_access,
    indicator,
)

BIND = "AlertDefinition@odata.bind"


def test_the_five_steps(empty: Client) -> None:
    assert empty("GET", "AlertDefinitions").json()["value"] == []
    made = empty("POST", "AlertDefinitions", DEFINITION)
    assert made.status == 201
    number = made.json()["Id"]
    assert made.headers["location"] == f"https://127.0.0.1:8443/v1.0/AlertDefinitions({number})"
    found = empty("POST", "IndicatorsOfCompromise", indicator(number))
    assert found.status == 201
    assert found.json()["Value"] == SHA1
    assert found.headers["odata-version"] == "4.0"


def test_version_in_both_letter_cases(service: Local, api: Client) -> None:
    token = {"Authorization": f"Bearer {api.token}"}
    for version in ("v1.0", "V1.0"):
        reply = service.request("GET", f"/{version}/AlertDefinitions", headers=token)
        assert (
            reply.json()["@odata.context"] == f"https://127.0.0.1:8443/{version}/$metadata#AlertDefinitions"
        )
    assert service.request("GET", "/v2.0/AlertDefinitions", headers=token).status == 404


def test_service_document_and_metadata(service: Local) -> None:
    for target in ("/v1.0", "/v1.0/"):
        document = service.request("GET", target).json()
        sets = ["AlertDefinitions", "IndicatorsOfCompromise", "Alerts", "Detections"]
        assert [item["name"] for item in document["value"]][:4] == sets
    reply = service.request("GET", "/V1.0/$metadata")
    assert reply.headers["content-type"] == "application/xml; charset=utf-8"
    assert b"EntityContainer" in reply.body


def test_a_definition_is_read_changed_and_deleted(empty: Client) -> None:
    number = empty.add_definition()
    before = empty("GET", f"AlertDefinitions({number})").json()
    assert before["LastModifiedAt"] is None
    assert before["LastModifiedBy"] is None
    assert before["CreatedAt"].endswith("Z")
    changed = empty("PATCH", f"AlertDefinitions({number})", {"Title": "Another"})
    assert changed.status == 200
    assert changed.json()["Title"] == "Another"
    assert changed.json()["Name"] == before["Name"]
    assert changed.json()["LastModifiedBy"] == before["CreatedBy"]
    whole = empty("PATCH", f"AlertDefinitions({number})", before | {"Severity": "High"})
    assert (whole.json()["Title"], whole.json()["Severity"]) == (before["Title"], "High")
    found = empty.add_indicator(number)
    assert empty("DELETE", f"AlertDefinitions({number})").status == 204
    assert empty("GET", f"AlertDefinitions({number})").status == 404
    assert empty("GET", f"IndicatorsOfCompromise({found})").status == 404


def test_an_indicator_is_changed_moved_and_deleted(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    number = empty.add_indicator(first)
    path = f"IndicatorsOfCompromise({number})"
    changed = empty("PATCH", path, {"Type": "DomainName", "Value": "evil.example", "Enabled": "false"})
    assert changed.status == 200
    assert (changed.json()["Value"], changed.json()["Enabled"]) == ("evil.example", False)
    wrong = empty("PATCH", path, {"Type": "IpAddress"})
    assert (wrong.status, wrong.error["target"]) == (400, "Value")
    for reference in (
        f"AlertDefinitions({second})",
        f"https://127.0.0.1:8443/V1.0/AlertDefinitions({first})",
        f"AlertDefinitions({second})",
    ):
        assert empty("PUT", f"{path}/AlertDefinition/$ref", {"@odata.id": reference}).status == 204
    assert empty("GET", f"{path}/AlertDefinition").json()["Id"] == second
    assert empty("PATCH", path, {BIND: f"AlertDefinitions({first})"}).status == 200
    assert empty("GET", f"{path}/AlertDefinition").json()["Id"] == first
    assert empty("PUT", f"{path}/AlertDefinition/$ref", {"@odata.id": "AlertDefinitions(999)"}).status == 400
    assert empty("PUT", f"{path}/AlertDefinition/$ref", {}).status == 400
    assert empty("PATCH", path, {BIND: "AlertDefinitions(999)"}).error["target"] == BIND
    moved = {"@odata.id": f"AlertDefinitions({first})"}
    assert empty("PUT", "IndicatorsOfCompromise(999999)/AlertDefinition/$ref", moved).status == 404
    assert empty("DELETE", path).status == 204
    assert empty("DELETE", path).status == 404


def test_lists_are_paged_by_next_links(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(2300)]
    made = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert made.status == 200
    ids = [item["Id"] for item in made.json()["value"]]
    assert len(ids) == 2300
    for start, expected in (
        ("IndicatorsOfCompromise", ids),
        ("IndicatorsOfCompromise?$top=1500&$count=true", ids[:1500]),
        ("IndicatorsOfCompromise?$top=1000", ids[:1000]),
        ("IndicatorsOfCompromise?$top=0", []),
        (f"AlertDefinitions({owner})/IndicatorsOfCompromise", ids),
    ):
        seen: list[int] = []
        path: str | None = start
        while path:
            page = empty("GET", path).json()
            assert ("@odata.count" in page) is ("$count" in start)
            seen += [item["Id"] for item in page["value"]]
            link = page.get("@odata.nextLink")
            path = link.partition("/v1.0/")[2] if link else None
        assert seen == expected


def test_extensions_of_type_function_and_time(empty: Client) -> None:
    owner = empty.add_definition(GroupBy="Indicator", WindowSeconds=3600)
    number = 0
    for kind, function, value in (
        ("Url", "Equals", "http://Evil.example/a"),
        ("FileName", "Equals", "Evil.exe"),
        ("IpAddress", "Equals", "192.0.2.0/24"),
        ("DomainName", "SubdomainOf", "evil.example"),
    ):
        number = empty.add_indicator(
            owner,
            Type=kind,
            Value=value,
            DetectionFunction=function,
            ValidFrom="2029-01-01T00:00:00Z",
            ExpiresAt="2030-01-01T01:00:00+01:00",
            Source="report 7",
        )
        found = empty("GET", f"IndicatorsOfCompromise({number})").json()
        assert found["Value"] == value
        assert (found["ValidFrom"], found["ExpiresAt"]) == ("2029-01-01T00:00:00Z", "2030-01-01T00:00:00Z")
        assert found["Source"] == "report 7"
    shown = empty("GET", f"AlertDefinitions({owner})").json()
    assert (shown["GroupBy"], shown["WindowSeconds"]) == ("Indicator", 3600)
    path = f"IndicatorsOfCompromise({number})"
    assert empty("PATCH", path, {"ValidFrom": "2031-01-01T00:00:00Z"}).error["target"] == "ValidFrom"


def test_what_the_author_should_know_is_said_beside_the_entity(empty: Client) -> None:
    owner = empty.add_definition()
    body = indicator(owner, Type="DomainName", Value="evil.com", DetectionFunction="EndWith")
    assert empty("POST", "IndicatorsOfCompromise", body).json()["@indicia.warnings"]
    assert "@indicia.warnings" not in empty("POST", "IndicatorsOfCompromise", indicator(owner)).json()
    many = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": [indicator(owner), body]})
    assert many.json()["@indicia.warnings"][0].startswith("iocs[1]: ")


@pytest.mark.parametrize(
    ("level", "context", "identity"), [("none", False, False), ("minimal", True, False), ("full", True, True)]
)
def test_levels_of_annotation(empty: Client, level: str, context: bool, identity: bool) -> None:
    number = empty.add_definition()
    for path in (f"AlertDefinitions({number})", "AlertDefinitions"):
        reply = empty("GET", path, headers={"Accept": f"application/json;odata.metadata={level}"})
        assert reply.headers["content-type"] == f"application/json; odata.metadata={level}; charset=utf-8"
        content = reply.json()
        assert ("@odata.context" in content) is context
        assert ("@odata.id" in content.get("value", [content])[0]) is identity


def test_no_tenant_sees_or_touches_what_another_has(service: Local) -> None:
    ours = service.client(add_access(service.store, "ours"))
    theirs = service.client(add_access(service.store, "theirs"))
    owner = ours.add_definition()
    found = ours.add_indicator(owner)
    their_owner = theirs.add_definition()
    their_found = theirs.add_indicator(their_owner)
    state = [ours("GET", path).body for path in ("AlertDefinitions", "IndicatorsOfCompromise")]
    calls: list[tuple[str, str, Any, int]] = [
        ("GET", f"AlertDefinitions({owner})", None, 404),
        ("GET", f"AlertDefinitions({owner})/IndicatorsOfCompromise", None, 404),
        ("GET", f"IndicatorsOfCompromise({found})", None, 404),
        ("GET", f"IndicatorsOfCompromise({found})/AlertDefinition", None, 404),
        ("PATCH", f"AlertDefinitions({owner})", {"Title": "x"}, 404),
        ("PATCH", f"IndicatorsOfCompromise({found})", {"Enabled": False}, 404),
        ("PATCH", f"IndicatorsOfCompromise({their_found})", {BIND: f"AlertDefinitions({owner})"}, 400),
        (
            "PUT",
            f"IndicatorsOfCompromise({found})/AlertDefinition/$ref",
            {"@odata.id": f"AlertDefinitions({their_owner})"},
            404,
        ),
        (
            "PUT",
            f"IndicatorsOfCompromise({their_found})/AlertDefinition/$ref",
            {"@odata.id": f"AlertDefinitions({owner})"},
            400,
        ),
        ("POST", "IndicatorsOfCompromise", indicator(owner), 400),
        ("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": [indicator(owner)]}, 400),
        ("POST", f"AlertDefinitions({owner})/Actions.DeleteIOCs", None, 404),
        ("DELETE", f"AlertDefinitions({owner})", None, 404),
        ("DELETE", f"IndicatorsOfCompromise({found})", None, 404),
        ("DELETE", "IndicatorsOfCompromise", None, 204),
        ("DELETE", "AlertDefinitions", None, 204),
    ]
    for method, path, body, status in calls:
        reply = theirs(method, path, body)
        assert reply.status == status, (method, path, reply.body)
    assert [ours("GET", path).body for path in ("AlertDefinitions", "IndicatorsOfCompromise")] == state
    for path in ("AlertDefinitions", "IndicatorsOfCompromise"):
        page = theirs("GET", f"{path}?$count=true").json()
        assert (page["value"], page["@odata.count"]) == ([], 0)

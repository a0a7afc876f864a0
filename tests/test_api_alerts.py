"""Alerts and Detections: sets that are only read, with their ways to what raised them, which may be gone."""

from __future__ import annotations

from typing import Any

import pytest

from indicia.auth import roles
from indicia.model import AlertStatus
from indicia.store import TenantStore
from service import Access, Client, Local, add_access, add_application, indicator
from stored import detection


class Scene:
    """A tenant with two alerts of one definition, one of them silent as well, and a lone silent detection."""

    def __init__(self, service: Local, name: str) -> None:
        self.access: Access = add_access(service.store, name)
        self.api: Client = service.client(self.access)
        self.store: TenantStore = service.store.tenant(self.access.tenant_id)
        self.owner = self.api.add_definition(Severity="High", Title="Seen", RecommendedAction=None)
        for value in ("a.example", "b.example"):
            self.api.add_indicator(self.owner, Type="DomainName", Value=value)
        first, second = self.indicators = self.store.indicators()
        uid = self.store.uid
        self.store.record(
            [
                detection(first, uid, 0, machine="host-1"),
                detection(second, uid, 1, machine="host-1"),
                detection(first, uid, 2, machine="host-2"),
                detection(second, uid, 30, machine="host-3", raises=False),
            ]
        )

    def ids(self, path: str) -> list[int]:
        """The Ids of a page."""
        reply = self.api("GET", path.replace(" ", "%20"))
        assert reply.status == 200, reply.body
        return [item["Id"] for item in reply.json()["value"]]


@pytest.fixture(scope="module")
def scene(service: Local) -> Scene:
    """For the tests that change nothing."""
    return Scene(service, "scene")


def test_an_alert_says_what_the_definition_said(scene: Scene) -> None:
    page = scene.api("GET", "Alerts?$count=true").json()
    assert page["@odata.count"] == 2
    first = page["value"][0]
    stored = scene.store.alerts()[0]
    assert first["Id"] == stored.number
    assert first["AlertId"] == stored.id
    assert (first["Title"], first["Severity"], first["Machine"]) == ("Seen", "High", "host-1")
    assert (first["DetectionCount"], first["Indicators"]) == (2, ["a.example", "b.example"])
    assert first["AlertDefinitionUid"] == scene.store.definitions()[0].uid
    assert first["Status"] == "New"
    one = scene.api("GET", f"Alerts({first['Id']})")
    assert {name: value for name, value in one.json().items() if "@" not in name} == first
    assert one.headers["etag"]
    scene.store.change_alert(stored.id, {"status": AlertStatus.IN_PROGRESS}, "tests")
    again = scene.api("GET", f"Alerts({first['Id']})")
    assert again.json()["Status"] == "InProgress"
    assert again.headers["etag"] != one.headers["etag"]


def test_a_detection_says_what_met_what(scene: Scene) -> None:
    found = scene.api("GET", "Detections").json()["value"]
    assert len(found) == 4
    first = found[0]
    number, stored = scene.store.detections()[0]
    assert (first["Id"], first["DetectionId"], first["EventId"]) == (number, stored.id, stored.event_id)
    assert (first["Type"], first["Value"], first["DetectionFunction"]) == (
        "DomainName",
        "a.example",
        "Equals",
    )
    assert first["Evidence"] == ["query observed: a.example"]
    assert (first["Source"], first["Line"], first["Raises"]) == ("dns.log", 1, True)
    assert first["IndicatorId"] == scene.indicators[0].id
    assert first["RecordedAt"].endswith("Z")


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("Alerts?$filter=Machine eq 'host-1'", [0]),
        ("Alerts?$filter=Title eq 'Seen' and Severity ge 'High'", [0, 1]),
        ("Alerts?$filter=Severity gt 'High'", []),
        ("Alerts?$filter=RecommendedAction eq null", [0, 1]),
        ("Alerts?$filter=DetectionCount gt 1", [0]),
        ("Alerts?$filter=FirstSeen ge 2024-03-12T02:00:00Z", [1]),
        ("Alerts?$filter=AlertDefinition/Title eq 'Seen'", [0, 1]),
        ("Alerts?$filter=AlertDefinition/IndicatorsOfCompromise/$count eq 2", [0, 1]),
        ("Alerts?$filter=Detections/any(d:d/Value eq 'b.example')", [0]),
        ("Alerts?$filter=Detections/all(d:d/Value eq 'a.example')", [1]),
        ("Alerts?$filter=Detections/$count eq 2", [0]),
        ("Alerts?$orderby=Machine desc", [1, 0]),
        ("Alerts?$orderby=Title,Id desc", [1, 0]),
        ("Alerts?$top=1&$skip=1", [1]),
        ("Detections?$filter=Raises eq false", [3]),
        ("Detections?$filter=Alert eq null", None),
        ("Detections?$filter=Alert/Machine eq 'host-2'", [2]),
        ("Detections?$filter=Alert/Machine eq null", [3]),
        ("Detections?$filter=not (Alert/Machine eq 'host-2')", [0, 1, 3]),
        ("Detections?$filter=IndicatorOfCompromise/Value eq 'b.example'", [1, 3]),
        ("Detections?$filter=AlertDefinition/Severity eq 'High'", [0, 1, 2, 3]),
        ("Detections?$filter=AlertDefinitionId eq 0", []),
        ("Detections?$filter=Title eq 'Seen' and EventTime gt 2024-03-12T01:30:00Z", [2, 3]),
        ("Detections?$orderby=Value desc,Id desc", [3, 1, 2, 0]),
    ],
)
def test_queries(scene: Scene, path: str, places: list[int] | None) -> None:
    if places is None:
        assert scene.api("GET", path.replace(" ", "%20")).status == 501
        return
    ids = scene.ids(path.partition("?")[0])
    assert scene.ids(path) == [ids[place] for place in places]
    if "$top" not in path and "$orderby" not in path:
        counted = scene.api("GET", path.replace("?", "/$count?").replace(" ", "%20"))
        assert int(counted.body) == len(places)


def test_ways(scene: Scene) -> None:
    first, second = scene.ids("Alerts")
    rows = scene.ids("Detections")
    assert scene.ids(f"Alerts({first})/Detections") == rows[:2]
    assert scene.ids(f"Alerts({second})/Detections") == [rows[2]]
    assert scene.api("GET", f"Alerts({first})/Detections/$count").body == b"2"
    assert scene.api("GET", f"Alerts({first})/AlertDefinition").json()["Id"] == scene.owner
    assert scene.api("GET", f"Detections({rows[0]})/Alert").json()["Id"] == first
    assert scene.api("GET", f"Detections({rows[3]})/Alert").status == 204
    found = scene.api("GET", f"Detections({rows[0]})/IndicatorOfCompromise").json()
    assert found["Value"] == "a.example"
    assert scene.api("GET", f"Alerts({first})/Title/$value").body == b"Seen"
    assert scene.api("GET", f"Alerts({first})/Indicators").json()["value"] == ["a.example", "b.example"]
    assert scene.api("GET", f"Alerts({first})/Indicators/$value").status in (404, 501)
    assert scene.api("GET", f"Alerts({first})/RecommendedAction").status == 204


def test_expanded(scene: Scene) -> None:
    page = scene.api("GET", "Alerts?$expand=AlertDefinition($select=Title),Detections($top=1;$count=true)")
    first, second = page.json()["value"]
    assert first["AlertDefinition"] == {"Title": "Seen"}
    assert [item["Value"] for item in first["Detections"]] == ["a.example"]
    assert (first["Detections@odata.count"], second["Detections@odata.count"]) == (2, 1)
    link = scene.api(
        "GET", "Alerts?$expand=Detections&$select=Id", headers={"Prefer": "odata.maxpagesize=1"}
    ).json()["@odata.nextLink"]
    assert scene.api("GET", link.partition("/v1.0/")[2]).json()["value"][0]["Id"] == second["Id"]
    everything = scene.api("GET", "Detections?$expand=*").json()["value"]
    assert [item["Alert"] is None for item in everything] == [False, False, False, True]
    assert [item["IndicatorOfCompromise"]["Value"][0] for item in everything] == ["a", "b", "a", "b"]


def test_what_raised_them_may_be_gone(service: Local) -> None:
    scene = Scene(service, "gone")
    before = scene.api("GET", "Alerts").json()["value"]
    scene.api("PATCH", f"AlertDefinitions({scene.owner})", {"Title": "Changed"})
    assert scene.api("GET", "Alerts").json()["value"] == before
    assert scene.api("DELETE", "AlertDefinitions").status == 204
    assert scene.api("GET", "Alerts").json()["value"] == before
    number = before[0]["Id"]
    assert scene.api("GET", f"Alerts({number})/AlertDefinition").status == 204
    page = scene.api("GET", "Detections?$expand=AlertDefinition,IndicatorOfCompromise").json()["value"]
    assert all(item["AlertDefinition"] is item["IndicatorOfCompromise"] is None for item in page)
    assert scene.ids("Alerts?$filter=AlertDefinition/Title eq null") == [item["Id"] for item in before]
    assert scene.ids("Alerts?$filter=AlertDefinition/Title eq 'Seen'") == []
    assert scene.ids("Alerts?$filter=AlertDefinition/IndicatorsOfCompromise/any()") == []


def test_what_is_only_read(scene: Scene) -> None:
    read = "GET, HEAD, OPTIONS"
    for path, allowed in (
        ("Alerts", read),
        ("Alerts(1)", "GET, HEAD, OPTIONS, PATCH"),
        ("Alerts(1)/Detections", read),
        ("Alerts(1)/History", read),
        ("Detections", read),
        ("Detections(1)", read),
        ("AlertComments", read),
        ("AlertComments(1)", read),
        ("AlertHistory(1)", read),
        ("AuditLog", read),
        ("AuditLog(1)", read),
    ):
        for method in ("POST", "PUT", "DELETE"):
            reply = scene.api(method, path, {"Status": "Resolved"})
            assert (reply.status, reply.headers["allow"]) == (405, allowed), path
    assert scene.api("GET", "Alerts(999999)").status == 404
    assert scene.api("GET", "Alerts(999999)/Detections").status == 404


def test_each_role_reads_its_own_sets(service: Local, scene: Scene) -> None:
    def client(*held: str) -> Client:
        return service.client(add_application(service.store, scene.access.tenant_id, held))

    first = scene.ids("Alerts")[0]
    alerts, both = client(roles.ALERT_READ), client(roles.ALERT_WRITE, roles.TI_READ)
    indicators = client(roles.TI_WRITE)
    for path, status in (
        ("Alerts", 200),
        (f"Alerts({first})/Detections", 200),
        ("Alerts?$expand=Detections", 200),
        ("Alerts?$filter=Detections/any(d:d/Line%20eq%201)", 200),
        ("AlertDefinitions", 403),
        (f"Alerts({first})/AlertDefinition", 403),
        ("Alerts?$expand=AlertDefinition", 403),
        ("Alerts?$expand=*", 403),
        ("Alerts?$filter=AlertDefinition/InternalDescription%20eq%20'x'", 403),
        ("Alerts?$orderby=AlertDefinition/Name", 403),
        ("Detections?$expand=IndicatorOfCompromise", 403),
    ):
        assert alerts("GET", path).status == status, path
        assert both("GET", path).status == 200, path
    for path in ("Alerts", "Detections", f"Alerts({first})"):
        assert indicators("GET", path).status == 403
    assert indicators("GET", "AlertDefinitions?$expand=IndicatorsOfCompromise").status == 200


def test_no_tenant_sees_the_alerts_of_another(service: Local, scene: Scene) -> None:
    other = Scene(service, "another")
    mine, theirs = scene.ids("Alerts"), other.ids("Alerts")
    assert not set(mine) & set(theirs)
    calls: list[str] = [f"Alerts({theirs[0]})", f"Alerts({theirs[0]})/Detections"]
    calls += [f"Detections({number})" for number in other.ids("Detections")]
    for path in calls:
        assert scene.api("GET", path).status == 404
    text = f"Alerts?$expand=*&$filter=Id in ({','.join(map(str, [*mine, *theirs]))})"
    assert scene.ids(text) == mine
    whole: Any = scene.api("GET", "Detections?$expand=*").body
    assert other.store.definitions()[0].uid.encode() not in whole
    body = indicator(other.owner)
    assert scene.api("POST", "IndicatorsOfCompromise", body).status == 400

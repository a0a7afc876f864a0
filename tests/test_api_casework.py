"""Work on alerts through the API: PATCH, comments, history, suppressions, and the audit log of it all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indicia.auth import roles
from indicia.model import Quotas
from indicia.store import TenantStore
from service import Access, Client, Local, add_access, add_application, local
from stored import detection

AHEAD = "2100-01-01T00:00:00Z"
ALL = (*roles.DEFAULT, roles.ADMIN)


class Desk:
    """A tenant with an alert of two values, somebody who works on it, and an administrator."""

    def __init__(self, service: Local, name: str) -> None:
        self.access: Access = add_access(service.store, name, ALL)
        self.api: Client = service.client(self.access)
        self.store: TenantStore = service.store.tenant(self.access.tenant_id)
        self.owner = self.api.add_definition(Title="Seen")
        for value in ("a.example", "b.example"):
            self.api.add_indicator(self.owner, Type="DomainName", Value=value)
        self.found = self.store.indicators()
        self.see(0)
        self.see(1, 1)
        (alert,) = self.store.alerts()
        self.alert = f"Alerts({alert.number})"
        self.alert_id = alert.id

    def see(self, event: int, value: int = 0, machine: str = "host-1") -> None:
        """An event that holds one of the values."""
        self.store.record([detection(self.found[value], self.store.uid, event, machine=machine)])

    def log(self) -> list[dict[str, Any]]:
        """The audit log, the newest first."""
        found: list[dict[str, Any]] = self.api("GET", "AuditLog?$orderby=Id%20desc").json()["value"]
        return found


def plain(entity: dict[str, Any]) -> dict[str, Any]:
    """An entity without what its answer says about itself."""
    return {name: value for name, value in entity.items() if "@" not in name}


@pytest.fixture
def desk(service: Local, request: pytest.FixtureRequest) -> Desk:
    """A desk of the test's own."""
    return Desk(service, request.node.name)


def test_an_alert_is_worked_on(desk: Desk) -> None:
    before = desk.api("GET", desk.alert)
    given = {
        "Status": "InProgress",
        "Classification": "TruePositive",
        "Determination": "SecurityTesting",
        "AssignedTo": "ann@contoso.example",
    }
    reply = desk.api("PATCH", desk.alert, given)
    assert reply.status == 200
    assert {name: reply.json()[name] for name in given} == given
    assert reply.headers["etag"] != before.headers["etag"]
    assert reply.headers["etag"] == desk.api("GET", desk.alert).headers["etag"]
    steps = desk.api("GET", f"{desk.alert}/History").json()["value"]
    assert [(step["Property"], step["Before"], step["After"]) for step in steps] == [
        ("Status", "New", "InProgress"),
        ("Classification", "Unknown", "TruePositive"),
        ("Determination", "NotAvailable", "SecurityTesting"),
        ("AssignedTo", None, "ann@contoso.example"),
    ]
    assert {step["By"] for step in steps} == {desk.access.client_id}
    back = desk.api("PATCH", desk.alert, reply.json())
    assert (back.status, back.json()) == (200, reply.json()), "what was read is sent back and changes nothing"
    resolved = desk.api("PATCH", desk.alert, {"Status": "Resolved", "AssignedTo": None}).json()
    assert resolved["ResolvedAt"] == resolved["LastModifiedAt"]
    desk.see(2)
    again = desk.api("GET", desk.alert).json()
    assert (again["Status"], again["ResolvedAt"], again["ReopenedCount"]) == ("New", None, 1)
    found = desk.api("GET", "Alerts?$filter=Classification%20eq%20'TruePositive'").json()["value"]
    assert found == [plain(again)]
    newest = desk.api("GET", f"{desk.alert}/History?$orderby=Id%20desc&$top=1").json()["value"][0]
    assert (newest["By"], newest["Before"], newest["After"]) == ("Indicia", "Resolved", "New")


@pytest.mark.parametrize(
    ("body", "target", "words"),
    [
        ({"Status": "Gone"}, "Status", "must be one of New, InProgress, Resolved"),
        ({"Status": "resolved"}, "Status", "must be one of"),
        ({"Status": None}, "Status", "must not be null"),
        ({"Classification": "Benign"}, "Classification", "Unknown, FalsePositive, TruePositive"),
        ({"Determination": 3}, "Determination", "UnwantedSoftware, Other"),
        ({"AssignedTo": ""}, "AssignedTo", "must not be empty"),
        ({"AssignedTo": "x" * 201}, "AssignedTo", "at most 200"),
        ({"AssignedTo": ["ann"]}, "AssignedTo", "must be a text"),
        ({"Comment": "x"}, "Comment", "has no property"),
        ({"status": "Resolved"}, "status", "did you mean Status?"),
        ([], "Alert", "must be an object"),
    ],
)
def test_a_change_that_is_none(service: Local, body: Any, target: str, words: str) -> None:
    desk = Desk(service, f"{target} {words} {body}"[:90])
    before = desk.api("GET", desk.alert).body
    reply = desk.api("PATCH", desk.alert, body)
    assert (reply.status, reply.error["target"]) == (400, target)
    assert words in reply.error["message"]
    half = desk.api("PATCH", desk.alert, {"Status": "Resolved", "Colour": "red"})
    assert half.status == 400
    assert desk.api("GET", desk.alert).body == before


def test_who_was_quicker(desk: Desk) -> None:
    etag = desk.api("GET", desk.alert).headers["etag"]
    first = desk.api("PATCH", desk.alert, {"AssignedTo": "ann"}, {"If-Match": etag})
    assert first.status == 200
    second = desk.api("PATCH", desk.alert, {"AssignedTo": "bob"}, {"If-Match": etag})
    assert (second.status, second.error["code"]) == (412, "PreconditionFailed")
    assert desk.api("GET", f"{desk.alert}/AssignedTo").json()["value"] == "ann"
    stale = desk.api("POST", f"{desk.alert}/Actions.Suppress", {"EndsAt": AHEAD}, {"If-Match": etag})
    assert stale.status == 412
    assert desk.api("GET", "Suppressions/$count").body == b"0"
    quiet = desk.api("PATCH", desk.alert, {"Status": "Resolved"}, {"Prefer": "return=minimal"})
    assert (quiet.status, quiet.body, quiet.headers["preference-applied"]) == (204, b"", "return=minimal")
    assert desk.api("PATCH", "Alerts(999999)", {"Status": "New"}).status == 404


def test_comments(desk: Desk) -> None:
    made = desk.api("POST", f"{desk.alert}/Comments", {"Text": "Ask the owner ✓"})
    assert made.status == 201
    assert made.headers["location"].endswith(f"/AlertComments({made.json()['Id']})")
    assert (made.json()["Text"], made.json()["CreatedBy"]) == ("Ask the owner ✓", desk.access.client_id)
    desk.api("POST", f"{desk.alert}/Comments", {"Text": "x" * 4000})
    texts = [one["Text"] for one in desk.api("GET", f"{desk.alert}/Comments").json()["value"]]
    assert texts == ["Ask the owner ✓", "x" * 4000]
    there = desk.api("GET", f"AlertComments({made.json()['Id']})/Alert").json()
    assert there["AlertId"] == desk.alert_id
    shown = desk.api("GET", "Alerts?$expand=Comments($select=Text),History&$select=Id").json()["value"][0]
    assert shown["Comments"] == [{"Text": text} for text in texts]
    for body, target in (
        ({"Text": "x" * 4001}, "Text"),
        ({"Text": " "}, "Text"),
        ({}, "Text"),
        ({"Text": "x", "By": "somebody"}, "By"),
    ):
        reply = desk.api("POST", f"{desk.alert}/Comments", body)
        assert (reply.status, reply.error["target"]) == (400, target)
    assert desk.api("POST", "Alerts(999999)/Comments", {"Text": "x"}).status == 404
    held = desk.api("GET", "Alerts?$filter=Comments/any(c:contains(c/Text,'owner'))").json()["value"]
    assert [one["AlertId"] for one in held] == [desk.alert_id]


def test_a_false_positive_is_silenced(desk: Desk) -> None:
    action = f"{desk.alert}/Actions.Suppress"
    reply = desk.api("POST", action, {"EndsAt": AHEAD, "Reason": "our scanner", "ByMachine": False})
    assert reply.status == 200
    first, second = reply.json()["value"]
    assert (first["Value"], second["Value"], first["Machine"]) == ("a.example", "b.example", None)
    assert (first["AlertDefinitionId"], first["AlertId"]) == (desk.owner, desk.alert_id)
    alert = desk.api("GET", desk.alert).json()
    assert (alert["Status"], alert["Classification"]) == ("Resolved", "FalsePositive")
    desk.see(2)
    desk.see(3, machine="host-2")
    assert desk.api("GET", "Alerts").json()["value"] == [plain(alert)]
    number = first["Id"]
    counted = desk.api("GET", f"Suppressions({number})").json()
    assert counted["SuppressedCount"] == 2
    silent = desk.api("GET", f"Suppressions({number})/Detections").json()["value"]
    assert [(one["Silenced"], one["Raises"]) for one in silent] == [("Suppression", False)] * 2
    same = desk.api("GET", f"Detections?$filter=SuppressionId%20eq%20{number}").json()["value"]
    assert same == silent
    assert desk.api("GET", f"Suppressions({number})/Alert").json()["AlertId"] == desk.alert_id
    assert desk.api("DELETE", f"Suppressions({number})").status == 204
    assert desk.api("DELETE", f"Suppressions({number})").status == 404
    desk.see(4)
    assert desk.api("GET", desk.alert).json()["ReopenedCount"] == 1


def test_suppressions_are_made_and_changed(desk: Desk) -> None:
    made = desk.api("POST", "Suppressions", {"Machine": "HOST-1", "EndsAt": AHEAD, "Reason": "lab"})
    assert (made.status, made.json()["Machine"]) == (201, "host-1")
    place = f"Suppressions({made.json()['Id']})"
    assert made.headers["location"].endswith(place)
    assert desk.api("GET", f"{place}/Alert").status == 204
    expanded = desk.api("GET", "Suppressions?$expand=Alert").json()["value"][0]
    assert expanded["Alert"] is None
    etag = made.headers["etag"]
    changed = desk.api("PATCH", place, {"EndsAt": "2101-01-01T00:00:00Z"}, {"If-Match": etag})
    assert (changed.status, changed.json()["EndsAt"]) == (200, "2101-01-01T00:00:00Z")
    assert desk.api("PATCH", place, {"Reason": "x"}, {"If-Match": etag}).status == 412
    assert desk.api("PATCH", place, changed.json()).json() == changed.json()
    assert desk.api("DELETE", place, headers={"If-Match": etag}).status == 412
    for method, path, body, target in (
        ("PATCH", place, {"Machine": "other"}, "Machine"),
        ("PATCH", place, {"EndsAt": "2001-01-01T00:00:00Z"}, "EndsAt"),
        ("PATCH", place, {"EndsAt": None}, "EndsAt"),
        ("POST", "Suppressions", {"EndsAt": AHEAD}, "AlertDefinitionId"),
        ("POST", "Suppressions", {"Machine": "x"}, "EndsAt"),
        ("POST", "Suppressions", {"AlertDefinitionId": 999999, "EndsAt": AHEAD}, "AlertDefinitionId"),
        ("POST", "Suppressions", {"Machine": "x", "EndsAt": AHEAD, "Colour": 1}, "Colour"),
        ("POST", f"{desk.alert}/Actions.Suppress", {}, "EndsAt"),
        ("POST", f"{desk.alert}/Actions.Suppress", {"EndsAt": AHEAD, "ByColour": True}, "ByColour"),
        ("POST", f"{desk.alert}/Actions.Suppress", {"EndsAt": "2001-01-01T00:00:00Z"}, "EndsAt"),
    ):
        reply = desk.api(method, path, body)
        assert (reply.status, reply.error["target"]) == (400, target), reply.body
    assert desk.api("GET", "Suppressions/$count").body == b"1"
    assert desk.api("GET", desk.alert).json()["Status"] == "New"


def test_a_storm_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    with local(tmp_path_factory.mktemp("storm"), Quotas(alerts_per_hour=2)) as service:
        desk = Desk(service, "storm")
        for event in range(2, 7):
            desk.see(event, machine=f"host-{event}")
        (storm,) = desk.api("GET", "Alerts?$filter=Storm%20eq%20true").json()["value"]
        assert (storm["DetectionCount"], storm["Machine"]) == (4, "*")
        held = desk.api("GET", f"Detections?$filter=StormAlertId%20eq%20'{storm['AlertId']}'").json()["value"]
        assert {one["Silenced"] for one in held} == {"Storm"}
        assert len(held) == 4


# The audit log


def test_the_audit_log_says_who_did_what(desk: Desk) -> None:
    desk.api("PATCH", desk.alert, {"Status": "Resolved"}, {"X-Request-Id": "case-7"})
    newest = desk.log()[0]
    assert (newest["By"], newest["Through"], newest["RequestId"]) == (desk.access.client_id, "Api", "case-7")
    assert (newest["Action"], newest["Set"], newest["Count"]) == ("Change", "Alerts", 1)
    assert desk.alert == f"Alerts({newest['Key']})"
    assert json.loads(newest["Before"]) == {"Status": "New"}
    assert json.loads(newest["After"]) == {"Status": "Resolved"}
    count = len(desk.log())
    desk.api("PATCH", desk.alert, {"Status": "Gone"})
    desk.api("PATCH", desk.alert, {"Status": "Resolved"})
    desk.api("GET", desk.alert)
    assert len(desk.log()) == count, "what changes nothing is not told"
    bulk = {
        "iocs": [
            {
                "Type": "DomainName",
                "Value": f"bulk-{number}.example",
                "DetectionFunction": "Equals",
                "AlertDefinition@odata.bind": f"AlertDefinitions({desk.owner})",
            }
            for number in range(500)
        ]
    }
    assert desk.api("POST", "IndicatorsOfCompromise/Actions.BulkUpload", bulk).status == 200
    again = desk.api("POST", "IndicatorsOfCompromise/Actions.BulkUpload", bulk | {"upsert": True})
    assert again.status == 200
    assert desk.api("DELETE", "IndicatorsOfCompromise").status == 204
    purged, uploaded, _ = desk.log()[:3]
    assert (uploaded["Action"], uploaded["Count"]) == ("BulkUpload", 500)
    assert (purged["Action"], purged["Count"], purged["Key"]) == ("DeleteMany", 502, None)
    assert len(desk.log()) == count + 2


def test_its_pages_go_on(desk: Desk) -> None:
    whole = desk.api("GET", "AuditLog").json()["value"]
    walked: list[Any] = []
    path = "AuditLog"
    while path:
        page = desk.api("GET", path, headers={"Prefer": "odata.maxpagesize=2"}).json()
        walked += page["value"]
        path = page.get("@odata.nextLink", "").partition("/v1.0/")[2]
    assert walked == whole
    assert int(desk.api("GET", "AuditLog/$count").body) == len(whole)
    assert desk.api("GET", f"AuditLog({whole[0]['Id']})").json()["By"] == whole[0]["By"]
    made = desk.api("GET", "AuditLog?$filter=Action%20eq%20'Create'%20and%20Set%20eq%20'AlertDefinitions'")
    assert len(made.json()["value"]) == 1


def test_each_role_does_its_own(service: Local, desk: Desk) -> None:
    def client(*held: str) -> Client:
        return service.client(add_application(service.store, desk.access.tenant_id, held))

    desk.api("POST", f"{desk.alert}/Comments", {"Text": "x"})
    reader, writer = client(roles.ALERT_READ), client(roles.ALERT_WRITE)
    indicators, admin = client(roles.TI_WRITE), client(roles.ADMIN)
    for path in (f"{desk.alert}/Comments", f"{desk.alert}/History", "Suppressions", "AlertHistory"):
        assert [one("GET", path).status for one in (reader, writer, indicators)] == [200, 200, 403]
    for method, path, body, done in (
        ("PATCH", desk.alert, {"Status": "InProgress"}, 200),
        ("POST", f"{desk.alert}/Comments", {"Text": "x"}, 201),
        ("POST", "Suppressions", {"Machine": "x", "EndsAt": AHEAD}, 201),
        ("POST", f"{desk.alert}/Actions.Suppress", {"EndsAt": AHEAD}, 200),
    ):
        for one in (reader, indicators, admin):
            assert one(method, path, body).status == 403
        assert writer(method, path, body).status == done
    for one, status in ((reader, 403), (writer, 403), (indicators, 403), (admin, 200)):
        assert one("GET", "AuditLog").status == status
    assert reader("GET", "Alerts?$expand=Comments,History").status == 200
    assert admin("GET", "Alerts").status == 403


def test_no_tenant_works_on_what_is_anothers(service: Local, desk: Desk) -> None:
    other = Desk(service, "another desk")
    theirs = other.api("POST", "Suppressions", {"Machine": "x", "EndsAt": AHEAD}).json()["Id"]
    comment = other.api("POST", f"{other.alert}/Comments", {"Text": "x"}).json()["Id"]
    entry = other.log()[0]["Id"]
    before = other.api("GET", other.alert).body
    for method, path, body in (
        ("PATCH", other.alert, {"Status": "Resolved"}),
        ("POST", f"{other.alert}/Comments", {"Text": "mine"}),
        ("POST", f"{other.alert}/Actions.Suppress", {"EndsAt": AHEAD}),
        ("GET", f"{other.alert}/Comments", None),
        ("GET", f"AlertComments({comment})", None),
        ("GET", f"Suppressions({theirs})", None),
        ("PATCH", f"Suppressions({theirs})", {"Reason": "x"}),
        ("DELETE", f"Suppressions({theirs})", None),
        ("GET", f"AuditLog({entry})", None),
    ):
        assert desk.api(method, path, body).status == 404, path
    assert other.api("GET", other.alert).body == before
    assert desk.api("GET", "Suppressions").json()["value"] == []
    reply = desk.api("POST", "Suppressions", {"AlertDefinitionId": other.owner, "EndsAt": AHEAD})
    assert (reply.status, reply.error["target"]) == (400, "AlertDefinitionId")

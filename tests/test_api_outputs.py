"""Outputs through the API: made, changed, tried, replayed; their secrets are written and never read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from indicia.auth import roles
from indicia.live.courier import Courier
from receivers import TAKEN, Reply, Request, Web, web
from service import Access, Client, Local, add_access, add_application
from stored import detection
from test_courier import GO_ON

ALL = (*roles.DEFAULT, roles.ADMIN)
SECRET = "whsec_" + "QUJD" * 11
PATH = "/hook/only-the-owner-knows"


class Desk:
    """A tenant with an indicator and an administrator."""

    def __init__(self, service: Local, name: str) -> None:
        self.service = service
        self.access: Access = add_access(service.store, name, ALL)
        self.api: Client = service.client(self.access)
        self.store = service.store.tenant(self.access.tenant_id)
        self.owner = self.api.add_definition(Title="Seen")
        self.api.add_indicator(self.owner, Type="DomainName", Value="a.example")

    def see(self, event: int) -> None:
        """An event that opens an alert."""
        (found,) = self.store.indicators()
        self.store.record([detection(found, self.store.uid, event, machine=f"host-{event}")])

    def deliver(self) -> None:
        """Send what waits, whenever it is due."""
        for one in self.store.outbox.outputs():
            self.store.outbox.change(one.name, {}, "tests")
        assert Courier(self.service.store, self.service.settings.home).run_once(GO_ON)

    def log(self) -> list[dict[str, Any]]:
        """The audit log, the newest first."""
        found: list[dict[str, Any]] = self.api("GET", "AuditLog?$orderby=Id%20desc").json()["value"]
        return found


@pytest.fixture
def desk(service: Local, request: pytest.FixtureRequest) -> Desk:
    """A desk of the test's own."""
    return Desk(service, request.node.name)


@pytest.fixture
def hook() -> Iterator[Web]:
    """A receiver on loopback."""
    with web() as found:
        yield found


def body(hook: Web, **changes: Any) -> dict[str, Any]:
    """What makes an output for the receiver."""
    target = hook.url.replace("/hook", PATH)
    return {"Name": "hook", "Target": target, "Options": ["allow=127.0.0.1"]} | changes


def test_an_output_is_made_and_its_secret_is_told_once(desk: Desk, hook: Web) -> None:
    made = desk.api("POST", "Outputs", body(hook), {"Prefer": "return=minimal"})
    assert made.status == 201, made.body
    told = made.json()
    secret = told.pop("@indicia.secret")
    assert secret.startswith("whsec_")
    path = f"Outputs({told['Id']})"
    assert (told["Kind"], told["Enabled"]) == ("webhook", True)
    assert told["Sends"] == ["Opened", "Reopened", "Changed"]
    assert told["Target"].endswith("/…")
    mine = desk.api("POST", "Outputs", body(hook, Name="mine", Secret=SECRET))
    assert "@indicia.secret" not in mine.json()
    whole = {"Accept": "application/json;odata.metadata=full"}
    wheres = (path, "Outputs", f"Outputs({mine.json()['Id']})", "AuditLog", "$metadata", "OutputMessages")
    everywhere = [desk.api("GET", where, headers=whole).body for where in wheres]
    for text in (secret.encode(), SECRET.encode(), PATH.encode(), b"sealed", b'"Secret":'):
        assert not any(text in one for one in everywhere), text
    for where in (f"{path}/Secret", "Outputs?$select=Secret", "Outputs?$filter=Secret%20eq%20'x'"):
        assert desk.api("GET", where).status in (400, 404), where
    desk.see(0)
    desk.deliver()
    assert {one.path for one in hook.requests} == {PATH}


def test_an_output_is_changed(desk: Desk, hook: Web) -> None:
    made = desk.api("POST", "Outputs", body(hook, Secret=SECRET))
    path, etag = f"Outputs({made.json()['Id']})", made.headers["etag"]
    count = len(desk.log())
    assert desk.api("PATCH", path, made.json()).json() == made.json(), "sent back as it was read"
    assert len(desk.log()) == count
    given = {"Severity": "High", "Sends": ["Opened"], "Enabled": False, "AlertDefinitionIds": [desk.owner]}
    changed = desk.api("PATCH", path, given, {"If-Match": etag})
    assert changed.status == 200
    assert {name: changed.json()[name] for name in given} == given
    assert desk.api("PATCH", path, {"Enabled": True}, {"If-Match": etag}).status == 412
    told = desk.log()[0]
    assert (told["Action"], json.loads(told["Before"])["Enabled"]) == ("Change", True)
    secret = desk.api("PATCH", path, {"Secret": "whsec_" + "REVG" * 11})
    assert secret.status == 200
    assert json.loads(desk.log()[0]["After"]) == {"Secret": "(another one)"}
    moved = desk.api("PATCH", path, {"Target": hook.url, "Options": ["allow=any"], "Enabled": True})
    assert (moved.status, moved.json()["Options"]) == (200, ["allow=any"])
    listed = desk.api("GET", "Outputs?$filter=Enabled%20and%20Kind%20eq%20'webhook'&$orderby=Name").json()
    assert [one["Name"] for one in listed["value"]] == ["hook"]
    assert desk.api("DELETE", path, headers={"If-Match": etag}).status == 412
    assert desk.api("DELETE", path).status == 204
    assert desk.api("GET", path).status == 404
    assert desk.log()[0]["Action"] == "Delete"


@pytest.mark.parametrize(
    ("changes", "target", "words"),
    [
        ({"Name": "no spaces"}, "Name", "letters"),
        ({"Target": "gopher://x"}, "Target", "begins with one of"),
        ({"Target": "file:///var/log/alerts.ndjson"}, "Target", "indicia outputs add"),
        ({"Target": "https://ann:pw@alerts.example/"}, "Target", "must not hold a password"),
        ({"Target": "syslog+tls://siem.example", "Options": ["trust=/etc/passwd"]}, "Options", "machine"),
        ({"Options": ["certificate=/etc/x", "key=/etc/y"]}, "Options", "machine"),
        ({"Options": ["colour=red"]}, "Options", "no option"),
        ({"Options": ["allow"]}, "Options", "NAME=VALUE"),
        ({"Sends": []}, "Sends", "one or more"),
        ({"Sends": ["Test"]}, "Sends", "one or more"),
        ({"Sends": ["Often"]}, "Sends", "one of Opened"),
        ({"AlertDefinitionIds": [999999]}, "AlertDefinitionIds", "does not exist"),
        ({"AlertDefinitionIds": ["1"]}, "AlertDefinitionIds", "an integer"),
        ({"Secret": "short"}, "Secret", "whsec_"),
        ({"Severity": "Huge"}, "Severity", "one of Informational"),
        ({"Colour": "red"}, "Colour", "has no property"),
    ],
)
def test_what_is_no_output(service: Local, changes: Any, target: str, words: str) -> None:
    desk = Desk(service, f"{target} {words} {changes}"[:90])
    given = {"Name": "hook", "Target": "https://alerts.example/hook", **changes}
    reply = desk.api("POST", "Outputs", given)
    assert (reply.status, reply.error["target"]) == (400, target), reply.body
    assert words in reply.error["message"]
    assert desk.api("GET", "Outputs/$count").body == b"0"


def test_a_change_that_is_none(desk: Desk, hook: Web) -> None:
    path = f"Outputs({desk.api('POST', 'Outputs', body(hook)).json()['Id']})"
    before = desk.api("GET", path).body
    for given, target in (
        ({"Name": "other"}, "Name"),
        ({"Target": "syslog+udp://siem.example"}, "Target"),
        ({"Target": "file:///tmp/x"}, "Target"),
        ({"Options": ["trust=/etc/x"]}, "Options"),
        ({"Enabled": False, "Secret": "x"}, "Secret"),
    ):
        reply = desk.api("PATCH", path, given)
        assert (reply.status, reply.error["target"]) == (400, target), reply.body
    assert desk.api("GET", path).body == before
    again = desk.api("POST", "Outputs", body(hook))
    assert (again.status, again.error["target"]) == (400, "Name")
    assert desk.api("PATCH", "Outputs(999999)", {"Enabled": True}).status == 404


def test_it_is_tried_paused_and_replayed(desk: Desk, hook: Web) -> None:
    path = f"Outputs({desk.api('POST', 'Outputs', body(hook)).json()['Id']})"
    tried = desk.api("POST", f"{path}/Actions.Test")
    assert (tried.status, tried.json()["Outcome"]) == (200, "Delivered")
    assert hook.ids == [tried.json()["MessageId"]]

    def refuse(_request: Request) -> Reply:
        return 422, {}, b"no"

    hook.answer = refuse
    tried = desk.api("POST", f"{path}/Actions.Test")
    assert (tried.json()["Outcome"], tried.json()["Fault"]) == ("Refused", "the receiver answered 422")
    desk.api("PATCH", path, {"Enabled": False})
    desk.see(0)
    desk.deliver()
    waits = f"{path}/Messages?$filter=State%20eq%20'Waiting'"
    assert desk.api("GET", waits).json()["value"] == [], "it is told nothing while it is paused"
    desk.api("PATCH", path, {"Enabled": True})
    desk.see(1)
    for _ in range(5):
        desk.deliver()
    (dead,) = desk.api("GET", f"{path}/Messages?$filter=State%20eq%20'Dead'").json()["value"]
    assert (dead["Attempts"], dead["Sent"], dead["Fault"]) == (5, "Opened", "the receiver answered 422")
    assert json.loads(dead["Body"])["MessageId"] == dead["MessageId"]
    assert desk.api("GET", f"OutputMessages({dead['Id']})/Output").json()["Name"] == "hook"
    shown = desk.api("GET", "Outputs?$expand=Messages($filter=State%20eq%20'Dead';$count=true;$select=Id)")
    assert shown.json()["value"][0]["Messages@odata.count"] == 1
    hook.answer = lambda _request: TAKEN
    hook.requests.clear()
    again = desk.api("POST", f"{path}/Actions.Replay")
    assert (again.status, again.json()["value"]) == (200, 1)
    desk.deliver()
    assert hook.ids == [dead["MessageId"]]
    assert desk.api("POST", f"{path}/Actions.Replay").json()["value"] == 0
    one = desk.api("POST", f"{path}/Actions.Replay", {"MessageId": dead["MessageId"]})
    assert one.json()["value"] == 1
    assert desk.api("POST", f"{path}/Actions.Replay", {"Since": "2024-01-01T00:00:00Z"}).status == 200
    both = {"Since": "2024-01-01T00:00:00Z", "MessageId": "x"}
    assert desk.api("POST", f"{path}/Actions.Replay", both).status == 400
    assert desk.api("POST", "Outputs(999999)/Actions.Replay").status == 404
    assert desk.api("POST", "Outputs(999999)/Actions.Test").status == 404


def test_they_are_the_administrators(service: Local, desk: Desk, hook: Web) -> None:
    def client(*held: str) -> Client:
        return service.client(add_application(service.store, desk.access.tenant_id, held))

    path = f"Outputs({desk.api('POST', 'Outputs', body(hook)).json()['Id']})"
    admin, others = client(roles.ADMIN), client(*roles.DEFAULT)
    reads = ("Outputs", path, f"{path}/Messages", "OutputMessages", f"{path}/Target")
    assert {admin("GET", where).status for where in reads} == {200}
    assert {others("GET", where).status for where in reads} == {403}
    for method, where in (
        ("POST", "Outputs"),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/Actions.Test"),
        ("POST", f"{path}/Actions.Replay"),
    ):
        assert others(method, where, {}).status == 403, where
    stranger = Desk(service, "another tenant's outputs")
    for method, where in (
        ("GET", path),
        ("GET", f"{path}/Messages"),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/Actions.Test"),
        ("POST", f"{path}/Actions.Replay"),
    ):
        assert stranger.api(method, where, None if method in ("GET", "DELETE") else {}).status == 404
    assert hook.requests == []
    assert desk.api("GET", path).status == 200

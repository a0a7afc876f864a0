"""Allow-lists through the API: lists, entries one by one and in bulk, the preview, and who may do what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indicia.auth import roles
from service import Access, Client, Local, add_access, add_application
from stored import detection

ALL = (*roles.DEFAULT, roles.ADMIN)
LIST = {"Name": "known", "Owner": "soc", "Comment": "agreed on 3 March"}


class Desk:
    """A tenant with two indicators and an administrator."""

    def __init__(self, service: Local, name: str) -> None:
        self.service = service
        self.access: Access = add_access(service.store, name, ALL)
        self.api: Client = service.client(self.access)
        self.store = service.store.tenant(self.access.tenant_id)
        owner = self.api.add_definition(Title="Seen")
        for value in ("a.example", "b.example"):
            self.api.add_indicator(owner, Type="DomainName", Value=value)
        self.found = self.store.indicators()

    def add(self, *entries: tuple[str, str], **changes: Any) -> str:
        """A list with entries; its path."""
        made = self.api("POST", "AllowLists", LIST | changes)
        assert made.status == 201, made.body
        path = f"AllowLists({made.json()['Id']})"
        if entries:
            given = {"entries": [{"Kind": kind, "Value": value} for kind, value in entries]}
            assert self.api("POST", f"{path}/Actions.AddEntries", given).status == 200
        return path

    def see(self, event: int, value: int = 0) -> None:
        """An event that holds one of the values."""
        self.store.record([detection(self.found[value], self.store.uid, event)])

    def log(self, most: int = 1) -> list[dict[str, Any]]:
        """The newest entries of the audit log."""
        reply = self.api("GET", f"AuditLog?$orderby=Id%20desc&$top={most}")
        found: list[dict[str, Any]] = reply.json()["value"]
        return found

    def other(self, *held: str) -> Client:
        """Another application of the tenant."""
        return self.service.client(add_application(self.service.store, self.access.tenant_id, held))


@pytest.fixture
def desk(service: Local, request: pytest.FixtureRequest) -> Desk:
    """A desk of the test's own."""
    return Desk(service, request.node.name)


def test_a_list_is_made_changed_and_deleted(desk: Desk) -> None:
    made = desk.api("POST", "AllowLists", LIST)
    assert made.status == 201
    list_ = made.json()
    path = f"AllowLists({list_['Id']})"
    assert made.headers["location"].endswith(path)
    assert {name: list_[name] for name in ("Enabled", "Action", "Types", "EntryCount", "CreatedBy")} == {
        "Enabled": False,
        "Action": "Annotate",
        "Types": [],
        "EntryCount": 0,
        "CreatedBy": desk.access.client_id,
    }
    assert (desk.log()[0]["Action"], desk.log()[0]["Set"]) == ("Create", "AllowLists")
    given = {"Enabled": True, "Action": "Suppress", "Types": ["DomainName", "Url", "Url"]}
    changed = desk.api("PATCH", path, given, {"If-Match": made.headers["etag"]})
    assert changed.status == 200
    assert changed.json()["Types"] == ["DomainName", "Url"]
    assert desk.api("PATCH", path, {"Owner": "x"}, {"If-Match": made.headers["etag"]}).status == 412
    count = len(desk.log(100))
    assert desk.api("PATCH", path, changed.json()).json() == changed.json(), "sent back as it was read"
    assert len(desk.log(100)) == count
    entry = desk.log()[0]
    assert (entry["Action"], json.loads(entry["After"])["Action"]) == ("Change", "Suppress")
    found = desk.api("GET", "AllowLists?$filter=Enabled%20and%20Action%20eq%20'Suppress'&$count=true").json()
    assert (found["@odata.count"], found["value"][0]["Name"]) == (1, "known")
    assert desk.api("GET", f"{path}/Types").json()["value"] == ["DomainName", "Url"]
    assert desk.api("DELETE", path, headers={"If-Match": made.headers["etag"]}).status == 412
    assert desk.api("DELETE", path).status == 204
    assert desk.api("DELETE", path).status == 404
    assert desk.log()[0]["Action"] == "Delete"


@pytest.mark.parametrize(
    ("body", "target", "words"),
    [
        ({}, "Name", "is missing"),
        (LIST | {"Name": " "}, "Name", "must not be empty"),
        (LIST | {"Name": "x" * 101}, "Name", "at most 100"),
        (LIST | {"Action": "Drop"}, "Action", "must be one of Annotate, Suppress"),
        (LIST | {"Types": ["Colour"]}, "Types", "must be one of Sha1"),
        (LIST | {"Types": "Url"}, "Types", "must be a list"),
        (LIST | {"Types": ["Url"] * 1001}, "Types", "at most 1000"),
        (LIST | {"Colour": 1}, "Colour", "has no property"),
        (LIST | {"enabled": True}, "enabled", "did you mean Enabled?"),
    ],
)
def test_what_is_no_list(service: Local, body: Any, target: str, words: str) -> None:
    desk = Desk(service, f"{target} {words} {body}"[:90])
    reply = desk.api("POST", "AllowLists", body)
    assert (reply.status, reply.error["target"]) == (400, target)
    assert words in reply.error["message"]
    assert desk.api("GET", "AllowLists/$count").body == b"0"


def test_a_name_is_given_once(desk: Desk) -> None:
    first, second = desk.add(), desk.add(Name="second")
    again = desk.api("POST", "AllowLists", LIST)
    assert (again.status, again.error["target"]) == (400, "Name")
    taken = desk.api("PATCH", second, {"Name": "known"})
    assert (taken.status, taken.error["target"]) == (400, "Name")
    assert desk.api("PATCH", first, {"Name": "known"}).status == 200


def test_entries_one_by_one(desk: Desk) -> None:
    path = desk.add()
    made = desk.api("POST", f"{path}/Entries", {"Kind": "Hostname", "Value": "*.A.example"})
    assert (made.status, made.json()["Value"], made.json()["Type"]) == (201, "a.example", None)
    entry = f"AllowEntries({made.json()['Id']})"
    assert made.headers["location"].endswith(entry)
    assert desk.api("GET", f"{entry}/AllowList").json()["EntryCount"] == 1
    told = desk.log()[0]
    assert (told["Action"], told["Set"], json.loads(told["After"])["Value"]) == (
        "Create",
        "AllowEntries",
        "a.example",
    )
    vague = desk.api("POST", f"{path}/Entries", {"Kind": "String", "Value": "setup.exe"})
    assert vague.status in (201, 400)
    if vague.status == 400:
        assert "say which" in vague.error["message"]
    file = {"Kind": "String", "Value": "Tool.EXE", "Type": "FileName"}
    assert desk.api("POST", f"{path}/Entries", file).json()["Value"] == "tool.exe"
    for body, target, words in (
        (file, "Value", "already"),
        ({"Kind": "Substring", "Value": "abc"}, "Value", "4 characters"),
        ({"Kind": "Regex", "Value": "(a"}, "Value", ""),
        ({"Kind": "Cidr", "Value": "x"}, "Value", "neither"),
        ({"Kind": "Colour", "Value": "x"}, "Kind", "one of String"),
        ({"Kind": "String"}, "Value", "is missing"),
    ):
        reply = desk.api("POST", f"{path}/Entries", body)
        assert (reply.status, reply.error["target"]) == (400, target), reply.body
        assert words in reply.error["message"]
    assert desk.api("POST", "AllowLists(999999)/Entries", file).status == 404
    assert desk.api("DELETE", entry).status == 204
    assert desk.api("DELETE", entry).status == 404
    assert desk.log()[0]["Action"] == "Delete"
    left = desk.api("GET", f"{path}/Entries/$count").body
    assert int(left) == desk.api("GET", path).json()["EntryCount"]
    assert desk.api("DELETE", f"{path}/Entries?$filter=Id%20eq%201").status == 400
    assert desk.api("DELETE", f"{path}/Entries").status == 204
    assert desk.api("GET", path).json()["EntryCount"] == 0
    assert (desk.log()[0]["Action"], desk.log()[0]["Count"]) == ("DeleteMany", int(left))


def test_entries_in_bulk(desk: Desk) -> None:
    path = desk.add(Types=["DomainName"])
    many = {"entries": [{"Kind": "String", "Value": f"h{number}.example"} for number in range(3000)]}
    first = desk.api("POST", f"{path}/Actions.AddEntries", many)
    assert (first.status, first.json()["EntryCount"]) == (200, 3000)
    assert (desk.log()[0]["Action"], desk.log()[0]["Count"]) == ("BulkUpload", 3000)
    more = {"entries": [*many["entries"][:10], {"Kind": "String", "Value": "new.example"}]}
    second = desk.api("POST", f"{path}/Actions.AddEntries", more, {"If-Match": first.headers["etag"]})
    assert (second.status, second.json()["EntryCount"]) == (200, 3001), "what is there is passed over"
    late = desk.api("POST", f"{path}/Actions.AddEntries", more, {"If-Match": first.headers["etag"]})
    assert late.status == 412
    expand = "Entries($filter=Value%20eq%20'new.example';$select=Value)"
    shown = desk.api("GET", f"{path}?$expand={expand}").json()
    assert shown["Entries"] == [{"Value": "new.example"}]
    wrong = {"entries": [{"Kind": "String", "Value": "x.example"}, {"Kind": "String", "Value": "a b"}, {}]}
    reply = desk.api("POST", f"{path}/Actions.ReplaceEntries", wrong)
    assert (reply.status, reply.error["target"]) == (400, "entries[2].Kind")
    reply = desk.api("POST", f"{path}/Actions.ReplaceEntries", {"entries": wrong["entries"][:2]})
    assert (reply.status, reply.error["target"]) == (400, "entries[1].Value")
    typed = {"entries": [{"Kind": "String", "Value": "a" * 32, "Type": "Md5"}]}
    reply = desk.api("POST", f"{path}/Actions.ReplaceEntries", typed)
    assert (reply.status, reply.error["target"]) == (400, "entries[0].Type")
    assert desk.api("GET", path).json()["EntryCount"] == 3001, "nothing is half done"
    beyond = {"entries": many["entries"] * 2}
    assert desk.api("POST", f"{path}/Actions.AddEntries", beyond).status == 400
    assert desk.api("POST", f"{path}/Actions.AddEntries", {"rows": []}).status == 400
    only = {"entries": [{"Kind": "Hostname", "Value": "only.example"}]}
    replaced = desk.api("POST", f"{path}/Actions.ReplaceEntries", only)
    assert (replaced.status, replaced.json()["EntryCount"]) == (200, 1)
    assert replaced.json()["Types"] == ["DomainName"]
    assert desk.api("POST", "AllowLists(999999)/Actions.ReplaceEntries", only).status == 404


def test_a_preview_and_what_comes_of_a_list(desk: Desk) -> None:
    path = desk.add(("String", "a.example"))
    desk.see(0)
    desk.see(1, 1)
    before = desk.api("POST", f"{path}/Actions.Preview", {"Action": "Suppress"})
    assert before.status == 200
    told = before.json()
    assert told["@odata.context"].endswith("$metadata#Indicia.AllowPreview")
    assert (told["IndicatorsSeen"], told["IndicatorsSuppressed"], told["DetectionsSeen"]) == (2, 1, 2)
    assert told["Entries"] == [{"Entry": "String a.example", "Indicators": 1, "Detections": 1}]
    assert desk.api("GET", path).json()["Enabled"] is False
    assert desk.api("POST", f"{path}/Actions.Preview").json()["Action"] == "Annotate"
    for body, target in (({"Days": 0}, "Days"), ({"Days": 5000}, "Days"), ({"Colour": 1}, "Colour")):
        reply = desk.api("POST", f"{path}/Actions.Preview", body)
        assert (reply.status, reply.error["target"]) == (400, target)
    known = desk.api("POST", "AllowLists/Actions.Check", {"Value": "A.example"})
    assert known.json()["value"] == []
    desk.api("PATCH", path, {"Enabled": True, "Action": "Suppress"})
    known = desk.api("POST", "AllowLists/Actions.Check", {"Value": "A.example"})
    assert [(one["Name"], one["Action"], one["Kind"], one["Entry"]) for one in known.json()["value"]] == [
        ("known", "Suppress", "String", "a.example")
    ]
    vague = desk.api("POST", "AllowLists/Actions.Check", {"Value": "what is this"})
    assert (vague.status, vague.error["target"]) == (400, "Value")
    desk.see(2)
    assert desk.api("GET", path).json()["SuppressedCount"] == 1
    silent = desk.api("GET", f"{path}/Detections").json()["value"]
    assert [(one["Silenced"], one["AllowLists"]) for one in silent] == [
        ("AllowList", ["known: String a.example"])
    ]


def test_each_role_does_its_own(desk: Desk) -> None:
    path = desk.add(("String", "a.example"))
    entry = desk.api("GET", f"{path}/Entries").json()["value"][0]["Id"]
    admin, reader = desk.other(roles.ADMIN), desk.other(roles.ALERT_READ)
    indicators, events = desk.other(roles.TI_READ), desk.other(roles.EVENT_WRITE)
    readers = (admin, reader, indicators, events)
    for where in ("AllowLists", path, f"{path}/Entries", f"AllowEntries({entry})", f"{path}/Entries/$count"):
        assert [one("GET", where).status for one in readers] == [200, 200, 200, 403]
    check = ("POST", "AllowLists/Actions.Check", {"Value": "a.example"})
    assert [one(*check).status for one in readers] == [200, 200, 200, 403]
    for where in (f"{path}/Detections", f"{path}/Detections/$count"):
        assert [one("GET", where).status for one in (admin, reader, indicators)] == [403, 200, 403]
    assert indicators("GET", "AllowLists?$expand=Detections").status in (400, 403)
    writes: list[tuple[str, str, Any]] = [
        ("POST", "AllowLists", LIST | {"Name": "other"}),
        ("PATCH", path, {"Enabled": True}),
        ("POST", f"{path}/Entries", {"Kind": "String", "Value": "c.example"}),
        ("POST", f"{path}/Actions.AddEntries", {"entries": []}),
        ("POST", f"{path}/Actions.ReplaceEntries", {"entries": []}),
        ("POST", f"{path}/Actions.Preview", {}),
        ("DELETE", f"AllowEntries({entry})", None),
        ("DELETE", f"{path}/Entries", None),
        ("DELETE", path, None),
    ]
    for method, where, body in writes:
        for one in (reader, indicators, events, desk.other(roles.ALERT_WRITE, roles.TI_WRITE)):
            assert one(method, where, body).status == 403, where
    assert desk.api("GET", path).json()["EntryCount"] == 1


def test_no_tenant_sees_what_is_anothers(service: Local, desk: Desk) -> None:
    other = Desk(service, "another tenant's lists")
    path = other.add(("String", "a.example"))
    entry = other.api("GET", f"{path}/Entries").json()["value"][0]["Id"]
    before = other.api("GET", path).body
    attempts: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("GET", f"{path}/Entries", None),
        ("GET", f"AllowEntries({entry})", None),
        ("PATCH", path, {"Enabled": True}),
        ("POST", f"{path}/Entries", {"Kind": "String", "Value": "c.example"}),
        ("POST", f"{path}/Actions.AddEntries", {"entries": []}),
        ("POST", f"{path}/Actions.ReplaceEntries", {"entries": []}),
        ("POST", f"{path}/Actions.Preview", {}),
        ("DELETE", f"AllowEntries({entry})", None),
        ("DELETE", f"{path}/Entries", None),
        ("DELETE", path, None),
    ]
    for method, where, body in attempts:
        assert desk.api(method, where, body).status == 404, (method, where)
    assert other.api("GET", path).body == before
    assert desk.api("GET", "AllowEntries").json()["value"] == []

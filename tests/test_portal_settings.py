"""The portal's settings: lists, outputs, audit log, retention; what is refused, what the audit log tells."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from administered import (
    APPLICATIONS,
    AUDIT,
    HOSTILE,
    INTEL,
    LISTS,
    OUTPUTS,
    QUOTAS,
    RETENTION,
    WEBHOOK,
    html,
    last,
)
from indicia.allow import AllowAction, AllowEntry, AllowKind, AllowList
from indicia.auth.sealing import Seal
from indicia.live import targets
from indicia.messages import Delivery, Outcome, Output
from indicia.model import Actor, AuditAction, Through
from indicia.outputs.given import Given
from indicia.store import Limit, Role, TenantStore, What, trail
from indicia.web.portal import settings as pages
from receivers import web
from service import Local
from stored import add, detection
from visiting import Visiting, settled, text_of, visiting

pytestmark = pytest.mark.full

# Quotas


def test_quotas_say_what_is_used(tenant: TenantStore, alex: Visiting) -> None:
    add(tenant, 3)
    text = text_of(alex.get(QUOTAS))
    for words in ("Alert definitions 1 10,000", "Indicators 3 10,000,000", "0 50", "5,000"):
        assert words in text
    use = pages.quotas.Use("x", "/", 95, 100)
    assert (use.percent, use.state) == (95, "nearly full")
    assert (pages.quotas.Use("x", "/", 0, 0).state, use._replace(used=200).percent) == ("full", 100)


# Allow-lists


def test_a_list_of_pasted_text(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    assert "No allow-list yet" in text_of(alex.get(LISTS))
    fields = {"name": "ours", "kind": "Hostname", "text": "host-1.example\n# a comment\nHost-2.example\n"}
    page = alex.follow(alex.post(LISTS, fields | {"types": "DomainName"}))
    assert "ours has 2 entries. It is disabled" in text_of(page)
    assert last(tenant) == (alex.name, AuditAction.CREATE, "AllowLists")
    one = tenant.allow_lists.one("ours")
    assert (one.enabled, one.action, one.types) == (False, AllowAction.ANNOTATE, ("DomainName",))

    add(tenant, 4)
    home = f"{LISTS}/{one.id}"
    previewed = text_of(settled(alex, f"{home}/preview?days=30&action=Suppress"))
    assert "2 of 4 known: 0 annotated, 2 silent" in previewed
    assert "Hostname host-1.example" in previewed
    assert not tenant.allow_lists.one("ours").enabled, "a preview changes nothing"
    assert alex.get(f"{home}/preview?days=0").status == 400

    alex.follow(alex.post(f"{home}/enable"))
    changes = {"name": "our own", "action": "Suppress", "owner": "soc", "comment": "agreed"}
    alex.follow(alex.post(home, changes))
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "AllowLists")
    now = tenant.allow_lists.one(one.id)
    assert (now.name, now.enabled, now.action, now.owner) == ("our own", True, "Suppress", "soc")
    assert "our own" in text_of(alex.get(f"{LISTS}?check=a.host-1.example"))
    assert "No allow-list in force knows" in text_of(alex.get(f"{LISTS}?check=8.8.8.8"))
    assert alex.get(f"{LISTS}?check=no%20indicator").status == 400

    assert "host-2" not in text_of(alex.get(f"{home}?q=HOST-1"))
    alex.follow(alex.post(f"{home}/entries", {"kind": "Hostname", "text": "host-3.example"}))
    assert [entry.value for entry in tenant.allow_lists.entries(one.id)] == ["host-3.example"]
    alex.follow(alex.post(f"{home}/disable"))
    assert "our own is gone" in text_of(alex.follow(alex.post(f"{home}/delete")))
    assert tenant.allow_lists.all() == []


MISP = [
    {"name": "Public resolvers", "type": "cidr", "list": ["192.0.2.53", "not an address"]},
    {"name": "Names", "type": "hostname", "list": ["update.example"], "matching_attributes": ["hostname"]},
]
CSV = "match_type,value,list\nhostname,cdn.example,CDN\ncidr,198.51.100.0/24,Ranges\n"


@pytest.mark.parametrize(
    ("name", "content", "lists"),
    [
        ("misp.json", json.dumps(MISP).encode(), {"Public resolvers": 1, "Names": 1}),
        (
            "misp.json.gz",
            gzip.compress(json.dumps(MISP).encode(), mtime=0),
            {"Public resolvers": 1, "Names": 1},
        ),
        ("lists.csv", CSV.encode(), {"CDN": 1, "Ranges": 1}),
        ("<img src=x onerror=alert(1)>.csv", CSV.encode(), {"CDN": 1, "Ranges": 1}),
    ],
)
def test_lists_of_a_file(
    tenant: TenantStore, alex: Visiting, name: str, content: bytes, lists: dict[str, int]
) -> None:
    reply = alex.post(LISTS, files={"file": (name, content)})
    assert reply.status == 200
    assert {one.name: one.entry_count for one in tenant.allow_lists.all()} == lists
    if "misp" in name:
        assert "1 cannot be used and was left out" in text_of(reply)
    assert "<img" not in html(reply)


@pytest.mark.parametrize(
    ("fields", "file", "target"),
    [
        ({}, None, "text"),
        ({"text": "a.example", "name": "x", "kind": "Hostname"}, b"b.example", "text"),
        ({"text": "a.example", "kind": "Hostname"}, None, "name"),
        ({"text": "a.example", "name": "x"}, None, "kind"),
        ({"text": "a.example", "name": "x", "kind": "Magic"}, None, "kind"),
        ({"text": "# nothing", "name": "x", "kind": "Hostname"}, None, "text"),
        ({"text": "(a|b)(?=c)\n", "name": "x", "kind": "Regex"}, None, "text"),
        ({"text": "a.example\n\\\\", "name": "x", "kind": "Hostname", "strict": "on"}, None, "text"),
        ({"text": "a.example", "name": "x" * 101, "kind": "Hostname"}, None, "name"),
        ({}, b"{", "text"),
        ({}, b"[" * 100_000, "text"),
        ({}, b"\xff\xfe\x00", "text"),
        ({}, gzip.compress(b"[]" * 1000, mtime=0)[:-9], "text"),
        ({}, json.dumps([{"name": HOSTILE, "type": HOSTILE, "list": []}]).encode(), "text"),
        ({"name": "none of these"}, CSV.encode(), "name"),
    ],
)
def test_lists_that_are_none_are_refused_whole(
    tenant: TenantStore, alex: Visiting, fields: dict[str, str], file: bytes | None, target: str
) -> None:
    files = None if file is None else {"file": ("list", file)}
    reply = alex.post(LISTS, fields, files=files)
    assert reply.status == 400, text_of(reply)
    assert f'id="field-{target}-fault"' in html(reply), text_of(reply)
    assert "<script>alert" not in html(reply)
    assert tenant.allow_lists.all() == []


def test_a_preview_is_worked_out_beside_the_request(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    previews, free = service.application.state.door.portal.previews, threading.Event()
    add(tenant, 4)
    entries = [AllowEntry(AllowKind.HOSTNAME, f"host-{number}.example") for number in (1, 2)]
    one = tenant.allow_lists.put(AllowList("ours"), entries, "x")
    path = f"{LISTS}/{one.id}/preview?days=30&action=Suppress"
    assert previews.ask(("another tenant",), 1, lambda: free.wait(20)) is None
    try:
        page = html(alex.get(path))
        assert "Waiting to be worked out … Load the page again in a moment." in text_of(alex.get(path))
        assert f'hx-get="{path.replace("&", "&amp;")}"' in page
        for days in (1, 2, 3):
            assert alex.get(path.replace("30", str(days))).status == 200
        refused = alex.get(path.replace("30", "4"))
        assert (refused.status, refused.headers["retry-after"]) == (429, "10")
    finally:
        free.set()
    part = html(settled(alex, path, {"HX-Request": "true"}))
    assert part.strip().startswith('<div id="previewed">')
    assert "2 of 4 known: 0 annotated, 2 silent" in part
    assert "hx-get" not in part
    tenant.allow_lists.put(AllowList("ours"), entries[:1], "x")
    assert "1 of 4 known: 0 annotated, 1 silent" in text_of(settled(alex, path)), "of the entries it has now"


def test_a_list_with_hostile_texts_is_shown_harmless(tenant: TenantStore, alex: Visiting) -> None:
    name = "<b>x</b>\u202e"
    entries = [AllowEntry(AllowKind.SUBSTRING, f"<script>{number}\x1b[31m") for number in range(60)]
    one = tenant.allow_lists.put(AllowList(name, owner=HOSTILE, comment=HOSTILE), entries, HOSTILE)
    for path in (LISTS, f"{LISTS}/{one.id}", f"{LISTS}/{one.id}?q=%3Cscript", f"{LISTS}/{one.id}/preview"):
        # What a field holds is what would be stored again.
        page = re.sub(r' value="[^"]*"', "", html(settled(alex, path)))
        assert "<script>" not in page
        assert "<b>x" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    following = re.search(r'href="([^"]*after=\d+[^"]*)"', html(alex.get(f"{LISTS}/{one.id}?q=script")))
    assert following
    assert "59" in html(alex.get(following[1].replace("&amp;", "&")))
    for path in (f"{LISTS}/999999", f"{LISTS}/{one.id}?after=x", f"{LISTS}/{one.id}?q={'x' * 5000}"):
        assert alex.get(path).status in (400, 404)
    changed = alex.post(f"{LISTS}/{one.id}", {"name": "", "action": "Suppress"})
    assert 'id="field-name-fault"' in html(changed)


def test_long_lists_are_shown_in_pages(tenant: TenantStore, alex: Visiting) -> None:
    for number in range(55):
        tenant.allow_lists.put(AllowList(f"list {number:02}"), [], "x")
        tenant.add_application(f"app {number:02}", ["Ti.Read"])
    for path, word in ((LISTS, "list"), (APPLICATIONS, "app")):
        first = alex.get(path)
        assert html(first).count(f">{word} ") == 50
        following = re.search(r'href="([^"]*after=[^"]+)"', html(first))
        assert following
        assert re.findall(rf">({word} \d+)<", html(alex.get(following[1])))[0] == f"{word} 50"
        assert html(alex.get(following[1])).count(f">{word} ") == 5
        assert f">{word} 00<" in html(alex.get(f"{path}?after=nobody"))


# Outputs


def test_a_webhook_is_added_tested_paused_and_deleted(tenant: TenantStore, alex: Visiting) -> None:
    assert "Nobody is told of alerts yet" in text_of(alex.get(OUTPUTS))
    with web() as receiver:
        fields = [("kind", "webhook"), ("name", "hook"), ("target", receiver.url), ("sends", "Opened")]
        made = alex.post(OUTPUTS, [*fields, ("option-allow", "127.0.0.1"), ("severity", "High")])
        assert made.status == 200
        assert WEBHOOK.search(html(made))
        assert last(tenant) == (alex.name, AuditAction.CREATE, "Outputs")
        home = f"{OUTPUTS}/hook"
        tested = alex.post(f"{home}/test")
        assert "hook took the message" in text_of(tested)
        assert json.loads(receiver.requests[0].body)["Sent"] == "Test"
        receiver.answer = lambda _request: (500, {}, HOSTILE.encode())
        refused = alex.post(f"{home}/test")
    assert "The test was not taken" in text_of(refused)
    assert "<script>alert" not in html(refused)
    kept = tenant.outbox.output("hook")
    assert (kept.sends, kept.severity, kept.options) == (("Opened",), "High", {"allow": "127.0.0.1"})
    alex.follow(alex.post(f"{home}/pause"))
    assert not tenant.outbox.output("hook").enabled
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Outputs")
    alex.follow(alex.post(f"{home}/resume"))
    owner = add(tenant)
    alex.follow(alex.post(home, [("sends", "Grown"), ("sends", "Changed"), ("definitions", str(owner.id))]))
    kept = tenant.outbox.output("hook")
    assert (kept.sends, kept.severity, kept.definition_ids) == (("Grown", "Changed"), None, (owner.id,))
    assert "hook is gone" in text_of(alex.follow(alex.post(f"{home}/delete")))
    assert last(tenant) == (alex.name, AuditAction.DELETE, "Outputs")
    assert tenant.outbox.outputs() == []


def test_dead_letters_are_shown_and_sent_again(tenant: TenantStore, alex: Visiting) -> None:
    output = tenant.outbox.add(Output("siem", "syslog", "syslog+tcp://siem.example", sealed="x"), "x")
    owner = add(tenant, 1)
    (one,) = tenant.indicators(definition_id=owner.id)
    for number in range(55):
        tenant.record([detection(one, tenant.uid, number, machine=f"m{number}")])
    for _ in range(5):
        waiting = tenant.outbox.waiting(output.id, 100)
        said = [Delivery(message, Outcome.REFUSED, HOSTILE) for message in waiting]
        tenant.outbox.settle(output.id, said, None)
    home = f"{OUTPUTS}/siem"
    page = alex.get(home)
    assert "<script>alert" not in html(page)
    assert html(page).count("Send again") >= 50
    assert "55" in text_of(alex.get(OUTPUTS))
    following = re.search(r'href="([^"]*after=\d+)"', html(page))
    assert following
    assert html(alex.get(following[1])).count('name="message"') == 5
    first = tenant.outbox.dead("siem")[0]
    assert "1 message will be sent again" in text_of(
        alex.follow(alex.post(f"{home}/replay", {"message": first.id}))
    )
    assert "54 messages" in text_of(alex.follow(alex.post(f"{home}/replay")))
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Outputs")
    assert tenant.outbox.dead("siem") == []
    assert "0 messages" in text_of(alex.follow(alex.post(f"{home}/replay", {"message": HOSTILE})))


GOOD = {"kind": "webhook", "name": "hook", "target": "https://alerts.example/x", "sends": "Opened"}


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"name": ""}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": HOSTILE}, "name"),
        ({"target": ""}, "target"),
        ({"target": "file:///etc/cron.d/x"}, "target"),
        ({"target": "FILE:///etc/passwd"}, "target"),
        ({"target": "javascript:alert(1)"}, "target"),
        ({"target": "syslog+tcp://x.example"}, "target"),
        ({"target": "https://user:pass@x.example/"}, "target"),
        ({"target": "https://x.example/" + "a" * 3000}, "target"),
        ({"target": "https://x.example/\r\nHost: y"}, "target"),
        ({"kind": "file", "target": "file:///tmp/x"}, None),
        ({"kind": "elastic", "target": "elastic+https://x.example:9200/"}, "target"),
        ({"secret": "too short"}, "secret"),
        ({"option-allow": "everything"}, None),
        ({"option-redirects": "99"}, None),
        ({"sends": "Everything"}, None),
        ({"severity": "Terrible"}, "severity"),
        ({"definitions": "999999"}, "definitions"),
        ({"definitions": "1;2"}, "definitions"),
    ],
)
def test_outputs_that_cannot_be_are_refused(
    tenant: TenantStore, alex: Visiting, changes: dict[str, str], target: str | None
) -> None:
    reply = alex.post(OUTPUTS, GOOD | changes)
    assert reply.status == 400, text_of(reply)
    assert 'class="fault"' in html(reply) or target is None
    assert target is None or f'id="field-{target}-fault"' in html(reply), text_of(reply)
    assert "<script>alert" not in html(reply)
    assert tenant.outbox.outputs() == []


def test_files_of_the_machine_cannot_be_named(tenant: TenantStore, alex: Visiting) -> None:
    """Options that name files of the service's machine have no field, and are none when they are sent."""
    extra = {f"option-{name}": "/etc/passwd" for name in ("trust", "certificate", "key")}
    assert alex.post(OUTPUTS, GOOD | extra).status == 200
    assert tenant.outbox.output("hook").options == {}


# Audit


def test_the_audit_log_by_filters(
    tenant: TenantStore, alex: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = tenant.acting(Actor("ann", Through.API))
    owner = add(ann, 1)
    ann.change_definition(owner.id, {"title": HOSTILE, "enabled": False}, "ann")
    client = tenant.add_application("feeds", ["Ti.Read"])
    tenant.acting(Actor(client.client_id, Through.API)).delete_indicators(owner.id)
    page = html(alex.get(AUDIT))
    assert "<script>alert" not in page
    assert "feeds" in page, "a client id is told by the application's name"
    changed = text_of(alex.get(f"{AUDIT}?by=ann&action=Change&set=AlertDefinitions&key={owner.id}"))
    assert "was Paper Lantern: command and control" in changed
    assert "is False" in changed
    assert "DeleteMany" not in changed.split("What changed")[1]
    assert "No change fits" in text_of(alex.get(f"{AUDIT}?by=nobody&since=2020-01-01&until=2020-02-01"))
    today = datetime.now(UTC).date().isoformat()
    assert "ann" in text_of(alex.get(f"{AUDIT}?since={today}&until={today}&through=Api"))
    for query in ("since=yesterday", "until=0", "action=Steal", "through=Window", f"by={'x' * 300}"):
        reply = alex.get(f"{AUDIT}?{query}&key={HOSTILE.encode().hex()}")
        assert reply.status == 400, query
        assert re.search(rf'id="field-{query.split("=")[0]}-fault"', html(reply)), query
    for mark in ("x", "1", "1.x", "9" * 19 + "." + "9" * 19, "-.1"):
        assert alex.get(f"{AUDIT}?after={mark}").status == 400
    monkeypatch.setattr(trail, "LOOKED_AT", 2)
    looked = alex.get(f"{AUDIT}?action=BulkUpload")
    assert "Looked back to" in text_of(looked)
    following = re.search(r'href="([^"]*after=[^"]*)"', html(looked))
    assert following
    assert "action=BulkUpload" in following[1]
    assert alex.get(following[1].replace("&amp;", "&")).status == 200


def test_the_audit_log_as_a_file(tenant: TenantStore, alex: Visiting) -> None:
    name = '=HYPERLINK("http://x.example","y")'
    for number in range(3):
        tenant.acting(Actor(name, Through.API)).add_application(f"app {number}", ["Admin"])
    reply = alex.get(f"{AUDIT}/export?action=Create&set=Applications")
    assert reply.headers["content-disposition"] == 'attachment; filename="audit-log.csv"'
    rows = list(csv.DictReader(io.StringIO(html(reply))))
    assert [row["by"] for row in rows] == [f"'{name}"] * 3
    assert [json.loads(row["after"])["Name"] for row in rows] == ["app 2", "app 1", "app 0"]
    lines = html(alex.get(f"{AUDIT}/export?format=ndjson&by=%3DHYPERLINK(%22http://x.example%22,%22y%22)"))
    assert [json.loads(line)["by"] for line in lines.splitlines()] == [name] * 3
    assert alex.get(f"{AUDIT}/export?format=xlsx").status == 400
    assert alex.get(f"{AUDIT}/export?since=never").status == 400


# Retention


def test_retention_is_previewed_and_held(tenant: TenantStore, alex: Visiting) -> None:
    add(tenant, 1)
    page = text_of(alex.get(RETENTION))
    assert "Detections 0" in page
    fields = {"days_Detections": "90", "most_Detections": "5,000", "days_Alerts": "", "most_Alerts": ""}
    fields |= {"days_AuditLog": "730", "most_AuditLog": "1000"}
    before = tenant.retention.limits()
    previewed = alex.post(f"{RETENTION}/preview", fields)
    assert "What would go now" in text_of(previewed)
    assert 'value="90"' in html(previewed)
    assert tenant.retention.limits() == before
    assert "Saved" in text_of(alex.follow(alex.post(RETENTION, fields)))
    held = tenant.retention.limits()
    assert (held[What.DETECTIONS], held[What.ALERTS]) == (Limit(90, 5000), Limit())
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Retention")
    for name, text in (
        ("days_Detections", "0"),
        ("most_AuditLog", "5"),
        ("days_Alerts", "x"),
        ("days_AuditLog", "9" * 30),
        ("most_Alerts", HOSTILE),
    ):
        for path in (RETENTION, f"{RETENTION}/preview"):
            wrong = alex.post(path, fields | {"days_Detections": "7"} | {name: text})
            assert wrong.status == 400
            assert f'id="{name}-fault"' in html(wrong)
            assert "<script>alert" not in html(wrong)
    assert tenant.retention.limits() == held, "all of them or none"


# Everybody


CHANGES = [page for page in pages.PAGES if page.method == "POST"]


def furnished(tenant: TenantStore, home: Path) -> dict[str, Any]:
    """One of everything, and what paths call it."""
    client = tenant.add_application("app", ["Ti.Read"]).client_id
    number = tenant.add_secret(client, "hash", "abc").id
    given = Given("syslog+tcp://x.example")
    tenant.outbox.add(targets.sealed(Seal(home), tenant.uid, Output("one", "", ""), given), "x")
    one = tenant.allow_lists.put(AllowList("theirs"), [AllowEntry(AllowKind.HOSTNAME, "a.example")], "x")
    return {"client_id": client, "number": number, "name": "one", "id": one.id}


def filled(path: str, names: dict[str, Any]) -> str:
    """The path with what its names stand for."""
    return re.sub(r"\{(\w+)(:int)?\}", lambda one: str(names[one[1]]), path)


def test_nothing_of_another_tenant_is_seen_or_changed(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    theirs = service.store.tenant(service.store.add_tenant("theirs of settings").uid)
    names = furnished(theirs, alex.local.settings.home)
    before = (theirs.applications(), theirs.outbox.outputs(), theirs.allow_lists.all(), theirs.audit_log())
    for page in pages.PAGES:
        if "{" not in page.path:
            continue
        path = filled(page.path, names)
        reply = alex.get(path) if page.method == "GET" else alex.post(path, GOOD | {"roles": "Admin"})
        assert reply.status in (400, 404), (page.path, reply.status, text_of(reply))
        assert "a.example" not in html(reply)
    for path in (INTEL, APPLICATIONS, LISTS, OUTPUTS, AUDIT, f"{AUDIT}/export", f"{LISTS}?check=a.example"):
        shown = html(alex.get(path))
        assert names["client_id"] not in shown
        assert "theirs" not in shown
    after = (theirs.applications(), theirs.outbox.outputs(), theirs.allow_lists.all(), theirs.audit_log())
    assert after == before


def test_only_administrators_with_a_form_of_ours_change_anything(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    names = furnished(tenant, service.settings.home)
    ann = visiting(service, tenant.uid, Role.ANALYST)
    before = tenant.audit_log()[-1].id
    for page in CHANGES:
        path = filled(page.path, names)
        assert ann.post(path, GOOD).status == 403, path
        token, alex.csrf = alex.csrf, "0" * 64
        assert alex.post(path, GOOD).status == 403, path
        alex.csrf = token
        assert service.request("POST", path).status == 303, path
    assert tenant.audit_log()[-1].id == before


def test_every_deed_is_in_the_audit_log(tenant: TenantStore, alex: Visiting) -> None:
    """But a preview, a test, what is saved to a file, and what found nothing to do: these change nothing."""
    silent = re.compile(r"/(preview|test|details)$")
    names = furnished(tenant, alex.local.settings.home)
    names["number"] = tenant.access.application(names["client_id"]).secrets[0].id
    fields = {"days": "1", "roles": "Ti.Read", "text": "b.example", "sends": "Grown", "action": "Suppress"}
    fields |= {"days_Alerts": "77", "days_Detections": "77", "days_AuditLog": "77"}
    last_ones = ("/disable", "/delete")
    for page in sorted(CHANGES, key=lambda page: page.path.endswith(last_ones)):
        if silent.search(page.path) or "certificates" in page.path or page.path.endswith("/replay"):
            continue
        given = fields | {"kind": "webhook" if "outputs" in page.path else "Hostname"}
        given |= {"name": f"n{CHANGES.index(page)}", "target": GOOD["target"]}
        mark = tenant.audit_log()[-1].id
        reply = alex.post(filled(page.path, names), given)
        assert reply.status in (200, 303), (page.path, text_of(reply))
        told = [one for one in tenant.audit_log(after=mark) if one.through is Through.PORTAL]
        assert told, page.path
        assert {one.by for one in told} == {alex.name}


def test_large_texts_make_no_large_page(tenant: TenantStore, alex: Visiting) -> None:
    huge = "A" * 1_000_000
    for path, fields in (
        (APPLICATIONS, {"name": huge, "roles": "Admin", "days": "1"}),
        (OUTPUTS, GOOD | {"target": f"https://x.example/{huge}"}),
        (f"{RETENTION}/preview", {"days_Alerts": huge}),
        (INTEL, {"description": huge, "days": "1"}),
    ):
        reply = alex.post(path, fields)
        assert reply.status == 400
        assert len(reply.body) < 200_000, path
    reply = alex.post(LISTS, {"name": "big", "kind": "Hostname", "text": f"ok.example\n{huge}"})
    assert reply.status == 200
    assert len(reply.body) < 200_000

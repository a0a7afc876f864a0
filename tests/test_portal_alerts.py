"""The portal's alerts without a browser: filters, many at once, stale forms, hostile texts, other tenants."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from alerting import alert_of, armed, dns, met, several, under
from explained import ON_A_FILE, plans
from indicia.feeds.csv import unescape
from indicia.model import (
    Alert,
    AlertStatus,
    Classification,
    Quotas,
    Severity,
    Suppression,
)
from indicia.store import AlertFilter, Role, Sort, Store, TenantStore, tables
from service import Local, Reply
from stored import START, definition
from stored import url as url_of
from visiting import Visiting, text_of, visiting

pytestmark = pytest.mark.full

HTMX = {"HX-Request": "true"}
HOSTILE = "<script>alert(1)</script>\u202egpj.exe\x1b[31m\u200b'\"&=cmd|' /C calc'!A0"
LIMIT = 300_000
AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    """One of the test's own."""
    return service.store.tenant(service.store.add_tenant(request.node.name).uid)


@pytest.fixture
def ann(service: Local, tenant: TenantStore) -> Visiting:
    """An analyst of it."""
    return visiting(service, tenant.uid, Role.ANALYST)


def page_of(reply: Reply) -> str:
    """A page that is well and small."""
    html = reply.body.decode()
    assert reply.status == 200, text_of(reply)
    assert len(reply.body) < LIMIT
    assert not re.search(r"<script(?! src=)|\sstyle=|\son\w+=", html)
    return html


def listed(who: Visiting, **query: str) -> list[int]:
    """The numbers of the queue, in its order."""
    html = page_of(who.get(f"/portal/alerts?{urlencode(query)}"))
    return [int(number) for number in re.findall(r'<tr data-row tabindex="-1" id="alert-(\d+)"', html)]


def stamps(who: Visiting) -> dict[int, str]:
    """What a tick of each alert sends."""
    html = page_of(who.get("/portal/alerts?status=all"))
    found = re.findall(r'name="alert" value="((\d+)\.\w+)"', html)
    return {int(number): whole for whole, number in found}


def form_stamp(who: Visiting, number: int) -> str:
    """What the forms of an alert's page send."""
    found = re.search(r'name="stamp" value="(\w+)"', page_of(who.get(f"/portal/alerts/{number}")))
    assert found
    return found[1]


# The queue


def test_first_things_first(ann: Visiting, tenant: TenantStore) -> None:
    assert "No alert yet" in text_of(ann.get("/portal/alerts"))
    alert = alert_of(tenant, armed(tenant))
    assert "No alert fits" in text_of(ann.get("/portal/alerts?q=nothing"))
    tenant.change_alert(alert.id, {"status": AlertStatus.RESOLVED}, "x")
    assert "Nothing is open" in text_of(ann.get("/portal/alerts"))
    assert listed(ann, status="all") == [alert.number]


def test_every_filter(ann: Visiting, tenant: TenantStore) -> None:
    one = alert_of(tenant, armed(tenant, severity=Severity.HIGH, title="Paper Lantern"))
    early = dns("other.example", "WS-2", "2023-01-01T00:00:00Z")
    two = alert_of(tenant, armed(tenant, "other.example", severity=Severity.LOW, title="Rogue MSI"), early)
    tenant.change_alert(two.id, {"status": AlertStatus.RESOLVED, "assigned_to": ann.name}, "x")
    first, second = [one.number], [two.number]
    cases: list[tuple[dict[str, str], list[int]]] = [
        ({}, first),
        ({"status": "all"}, second + first),
        ({"status": "open"}, first),
        ({"status": "Resolved"}, second),
        ({"status": "InProgress"}, []),
        ({"severity": "High"}, first),
        ({"definition": str(two.definition.id)}, second),
        ({"machine": "Ws-17"}, first),
        ({"machine": "ws-1"}, []),
        ({"value": "EVIL.example."}, first),
        ({"value": "example"}, []),
        ({"assigned": "me"}, second),
        ({"assigned": ann.name}, second),
        ({"assigned": "nobody"}, first),
        ({"from": "2024-03-12"}, first),
        ({"from": "2024-03-12T09:13:08"}, []),
        ({"to": "2023-01-01"}, second),
        ({"to": "2022-12-31"}, []),
        ({"from": "2023-01-01T01:00:00+01:00", "to": "2023-01-01"}, second),
        ({"q": "LANTERN"}, first),
        ({"q": "ws-2"}, second),
        ({"q": "rogue", "severity": "High"}, []),
    ]
    for query, wanted in cases:
        assert listed(ann, **query) == wanted, query
    assert page_of(ann.get("/portal/alerts?severity=High&severity=Low")).count("<tr data-row") == 2
    wrong = {
        "status=Foo": "'Foo' is none of open, all",
        "severity=Foo": "none of Informational, Low",
        "sort=Foo": "none of newest",
        "definition=x": "'x' is no number of an alert definition",
        "from=yesterday": "neither a day, as 2026-11-25",
        "to=9999-12-31": "neither a day, as 2026-11-25",
        "after=x": "no such place in the list",
        "after=99999999999999999999.1": "no such place in the list",
        f"q={'x' * 201}": "at most 200 characters",
    }
    for url, said in wrong.items():
        reply = ann.get(f"/portal/alerts?{url}")
        assert reply.status == 400, url
        assert said in text_of(reply).replace("&#39;", "'"), url


def test_orders_and_pages(ann: Visiting, tenant: TenantStore) -> None:
    made = several(tenant, 120)
    high = alert_of(tenant, armed(tenant, "b.example", severity=Severity.HIGH), dns("b.example", "big"))
    more = [dns("evil.example", "ws-60", f"2024-03-12T10:00:{n:02}Z") for n in range(3)]
    largest = alert_of(tenant, tenant.indicators()[0], *more)
    untimed = alert_of(
        tenant, armed(tenant, "c.example", severity=Severity.LOW), '{"QueryName": "c.example", "EventID": 22}'
    )
    assert listed(ann, sort="severity")[0] == high.number
    assert listed(ann, sort="count")[0] == largest.number
    assert listed(ann, sort="last-seen")[0] == largest.number
    everything = {one.number for one in (*made, high, untimed)}
    for sort in Sort:
        url, seen = f"/portal/alerts?sort={sort}", list[int]()
        while url:
            html = page_of(ann.get(url))
            seen += [int(number) for number in re.findall(r'id="alert-(\d+)"', html)]
            following = re.search(r'href="([^"]+)" rel="next"', html)
            url = following[1].replace("&amp;", "&") if following else ""
        assert len(seen) == len(everything), sort
        assert set(seen) == everything, sort
    assert listed(ann, sort="last-seen", after=".99999") == [untimed.number]
    assert "The first 40 of 122 alerts" in text_of(ann.get("/portal/alerts"))


def test_many_at_once(ann: Visiting, tenant: TenantStore) -> None:
    several(tenant, 5)
    ticks = stamps(ann)
    numbers = sorted(ticks)
    tenant.change_alert(numbers[1], {"assigned_to": "Bo"}, "Bo")
    tenant.change_alert(numbers[2], {"status": AlertStatus.RESOLVED}, "Bo")
    fresh = stamps(ann)
    sent = [ticks[numbers[0]], ticks[numbers[1]], fresh[numbers[2]], ticks[numbers[3]], "999999.00", "x.y"]
    fields = [("alert", one) for one in sent]
    fields += [("status", "Resolved"), ("classification", "TruePositive"), ("assigned", "me")]
    reply = ann.post("/portal/alerts/triage", [*fields, ("back", "/portal/alerts?status=New")])
    assert reply.headers["location"] == "/portal/alerts?status=New"
    said = text_of(ann.follow(reply))
    assert f"3 changed; 1 left alone, because somebody was quicker (number {numbers[1]})" in said
    assert "1 not there any more" in said
    states = [(one.status, one.classification, one.assigned_to) for one in tenant.alerts()]
    done = (AlertStatus.RESOLVED, Classification.TRUE_POSITIVE, ann.name)
    untouched = AlertStatus.NEW, Classification.UNKNOWN
    assert states == [done, (*untouched, "Bo"), done, done, (*untouched, None)]
    assert {entry.by for entry in tenant.audit_log()[-3:]} == {ann.name}
    for wrong, words in (
        ([("status", "Resolved")], "No alert was ticked"),
        ([("alert", ticks[numbers[4]])], "Nothing was chosen"),
    ):
        assert words in text_of(ann.follow(ann.post("/portal/alerts/triage", wrong)))
    reply = ann.post("/portal/alerts/triage", [("alert", ticks[numbers[4]]), ("status", "Gone")])
    assert reply.status == 400
    assert "Status" in text_of(reply)
    far = [("alert", ticks[numbers[4]]), ("status", "New"), ("back", "https://evil.example/")]
    assert ann.post("/portal/alerts/triage", far).headers["location"] == "/portal/"


def test_what_is_new_is_told_and_what_changed_is_shown(ann: Visiting, tenant: TenantStore) -> None:
    alert = alert_of(tenant, found := armed(tenant))
    html = page_of(ann.get("/portal/alerts?severity=High"))
    url = re.search(r'hx-get="([^"]+)"', html)
    assert url
    look = url[1].replace("&amp;", "&") + f"&shown={alert.number}"
    assert ann.get(look, HTMX).status == 204
    assert ann.get(look).status == 303
    tenant.change_alert(alert.id, {"status": AlertStatus.IN_PROGRESS, "assigned_to": "Bo"}, "Bo")
    for number in range(3):
        tenant.record(met(tenant, found, dns(machine=f"new-{number}")))
    several(tenant, 1, Severity.LOW)  # which the filter leaves out
    part = ann.get(look, HTMX)
    assert "3 new alerts – show" in text_of(part)
    assert f'id="status-{alert.number}" hx-swap-oob="true"' in part.body.decode()
    assert "In progress" in text_of(part)
    again = re.search(r'hx-get="([^"]+)"', part.body.decode())
    assert again
    assert ann.get(again[1].replace("&amp;", "&"), HTMX).status == 204


def test_csv_is_the_view(ann: Visiting, tenant: TenantStore) -> None:
    (owner,) = tenant.add_definitions([definition(title="=HYPERLINK(1)", severity=Severity.LOW)], "x")
    (found,) = tenant.add_indicators([under(owner, "evil.example")], "x")
    for machine in ("@cmd", "plain"):
        tenant.record(met(tenant, found, dns(machine=machine)))
    reply = ann.get("/portal/alerts/export?q=cmd")
    assert reply.headers["content-type"].startswith("text/csv")
    assert "attachment" in reply.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [(row["Title"], row["Machine"], row["Severity"]) for row in rows] == [
        ("'=HYPERLINK(1)", "'@cmd", "Low")
    ]
    assert unescape(rows[0]["Title"]) == "=HYPERLINK(1)"
    assert len(ann.get("/portal/alerts/export").body.decode().splitlines()) == 3


# One alert


def test_a_page_says_it_all(ann: Visiting, tenant: TenantStore) -> None:
    found = armed(tenant, title="Paper Lantern: command and control")
    line = dns(r"EVIL.example").replace("EVIL", r"\u0045VIL")
    alert = alert_of(tenant, found, line, dns(time="2024-03-12T11:00:00Z"))
    other = alert_of(tenant, armed(tenant, "else.example"), dns("else.example"))
    tenant.add_comment(alert.id, "Asked <the> owner.", "Bo")
    html = page_of(ann.get(f"/portal/alerts/{alert.number}"))
    said = text_of(ann.get(f"/portal/alerts/{alert.number}"))
    for words in (
        "Paper Lantern: command and control",
        "High",
        "CommandAndControl",
        "A host spoke to it.",
        "Isolate the host.",
        "ws-17",
        "2 events, first seen 2024-03-12 09:13, last seen 2024-03-12 11:00",
        "holds: function Equals holds for",
        "Asked &lt;the&gt; owner.",
        "On this machine",
        "No allow-list knows",
        "&#34;Machine&#34;: &#34;ws-17&#34;",
    ):
        assert words.replace("&#34;", '"') in said.replace("&#34;", '"'), words
    assert f'href="/portal/alerts/{other.number}"' in html
    assert "<mark>evil.example</mark>" in html
    (_, first), _ = tenant.detections(alert.id)
    assert first.number
    marked = page_of(ann.get(f"/portal/alerts/{alert.number}?detection={first.number}"))
    assert r"<mark>\u0045VIL.example</mark>" in marked
    assert ann.get(f"/portal/alerts/{other.number}?detection={first.number}").status == 404


def test_what_is_gone_is_said_to_be(ann: Visiting, tenant: TenantStore) -> None:
    found = armed(tenant)
    alert = alert_of(tenant, found)
    tenant.change_indicator(found.id, {"enabled": False}, "x")
    assert "As the indicator is now, this event would not match." in text_of(at(ann, alert))
    tenant.delete_indicator(found.id)
    said = text_of(at(ann, alert))
    assert "The indicator is gone; this is how it was." in said
    assert "Equals holds for" in said
    huge = alert_of(tenant, armed(tenant, "huge.example"), dns("huge.example", Padding="x" * 20_000))
    said = text_of(at(ann, huge))
    assert "16,384 characters are kept" in said
    assert "The event is longer" in said
    silent = met(tenant, armed(tenant, "old.example"), dns("old.example"))
    (old,) = tenant.record([replace(one, event_text="") for one in silent]).opened
    assert "was not kept with this detection" in text_of(at(ann, tenant.alert(old.id)))


def at(who: Visiting, alert: Alert) -> Reply:
    """The page of an alert."""
    reply = who.get(f"/portal/alerts/{alert.number}")
    page_of(reply)
    return reply


def test_work_is_saved_and_a_stale_form_is_not(ann: Visiting, tenant: TenantStore) -> None:
    alert = alert_of(tenant, found := armed(tenant))
    path, stamp = f"/portal/alerts/{alert.number}", form_stamp(ann, alert.number)
    work = {"status": "InProgress", "classification": "Unknown", "determination": "Malware", "assigned": "me"}
    assert "is saved" in text_of(ann.follow(ann.post(f"{path}/triage", work | {"stamp": stamp})))
    now = tenant.alert(alert.id)
    assert (now.status, str(now.determination), now.assigned_to) == ("InProgress", "Malware", ann.name)
    late = ann.post(f"{path}/triage", work | {"status": "Resolved", "stamp": stamp})
    assert late.status == 412
    assert "Nothing was saved" in text_of(late)
    assert '<option value="Resolved" selected>' in late.body.decode()
    assert tenant.alert(alert.id) == now
    tenant.record(met(tenant, found, dns(time="2024-03-12T12:00:00Z")))  # that it grows is no conflict
    reply = ann.post(f"{path}/triage", work | {"status": "Resolved", "stamp": fresh(late)})
    assert reply.status == 303
    tenant.record(met(tenant, found, dns(time="2024-03-12T13:00:00Z")))
    assert "reopened 1×" in text_of(at(ann, alert))
    assert ann.post(f"{path}/triage", work | {"stamp": fresh(late)}).status == 412
    for wrong, words in (({"status": "Foo"}, "Foo"), ({"assigned": "x" * 201}, "200")):
        reply = ann.post(f"{path}/triage", work | {"stamp": form_stamp(ann, alert.number)} | wrong)
        assert reply.status == 400
        assert words in text_of(reply)
    assert "AssignedTo" in text_of(at(ann, alert))


def fresh(reply: Reply) -> str:
    found = re.search(r'name="stamp" value="(\w+)"', reply.body.decode())
    assert found
    return found[1]


def test_a_false_positive_is_suppressed(ann: Visiting, tenant: TenantStore) -> None:
    alert = alert_of(tenant, found := armed(tenant))
    path, stamp = f"/portal/alerts/{alert.number}/false-positive", form_stamp(ann, alert.number)
    given = {"by_machine": "on", "by_value": "on", "ends": "7", "reason": "our scanner"}
    tenant.change_alert(alert.id, {"assigned_to": "Bo"}, "Bo")
    assert ann.post(path, given | {"stamp": stamp}).status == 412
    stamp = form_stamp(ann, alert.number)
    wrong = ann.post(path, given | {"stamp": stamp, "ends": "9"})
    assert wrong.status == 400
    assert not tenant.suppressions()
    said = text_of(ann.follow(ann.post(path, given | {"stamp": stamp})))
    assert "with 1 suppression in force until" in said
    assert "this machine, evil.example, until" in said
    (kept,) = tenant.suppressions()
    assert (kept.definition_uid, kept.machine, kept.value) == (None, "ws-17", "evil.example")
    assert timedelta(days=6) < kept.ends_at - datetime.now(UTC) < timedelta(days=8)
    now = tenant.alert(alert.id)
    assert (now.status, now.classification) == (AlertStatus.RESOLVED, Classification.FALSE_POSITIVE)
    assert not tenant.record(met(tenant, found, dns(time="2024-03-12T12:00:00Z"))).reopened
    end = f"/portal/alerts/{alert.number}/suppressions/{kept.id}"
    assert "is deleted" in text_of(ann.follow(ann.post(end)))
    assert tenant.record(met(tenant, found, dns(time="2024-03-12T13:00:00Z"))).reopened
    bare = {"stamp": form_stamp(ann, alert.number), "ends": "7"}
    assert "nothing is suppressed" in text_of(ann.follow(ann.post(path, bare)))
    assert not tenant.suppressions()


def test_comments(ann: Visiting, tenant: TenantStore) -> None:
    alert = alert_of(tenant, armed(tenant))
    path = f"/portal/alerts/{alert.number}/comments"
    assert "Two lines" in text_of(ann.follow(ann.post(path, {"text": "Two lines\r\nof mine"})))
    assert [(one.text, one.created_by) for one in tenant.comments(alert.number)] == [
        ("Two lines\nof mine", ann.name)
    ]
    for text in (" ", "x" * 4001):
        reply = ann.post(path, {"text": text})
        assert reply.status == 400
        assert "characters" in text_of(reply) or "empty" in text_of(reply)
    for number in range(40):
        tenant.add_comment(alert.number, f"number {number}", "Bo")
    assert "11 earlier ones" in text_of(at(ann, alert))


def test_a_storm_is_shown_as_one(service: Local, ann: Visiting, tenant: TenantStore) -> None:
    with Store.open(service.settings.database_url, quotas=Quotas(alerts_per_hour=2)) as small:
        found = armed(tenant)
        lines = [dns(machine=f"ws-{number}") for number in range(6)]
        stormy = small.tenant(tenant.uid)
        stormy.record(met(tenant, found, *lines))
    (storm,) = [one for one in tenant.alerts() if one.storm]
    said = text_of(at(ann, storm))
    assert "This is a storm" in said
    assert "4 events" in said
    assert "<mark>evil.example</mark>" in at(ann, storm).body.decode()
    assert "Storm" in text_of(ann.get("/portal/alerts"))
    assert storm.number in listed(ann, value="evil.example")


# What comes from attackers, and from other tenants


def test_hostile_texts_stay_texts_and_pages_small(ann: Visiting, tenant: TenantStore) -> None:
    large = HOSTILE * (1_000_000 // len(HOSTILE))
    found = armed(tenant, title=HOSTILE[:120], ux_description=large[:500], recommended_action=large[:2000])
    hidden = "\x07\u202e" * 20
    lines = [dns(machine=f"{hidden}{HOSTILE}{number}", CommandLine=HOSTILE) for number in range(54)]
    tenant.record(met(tenant, found, *lines))
    alert = alert_of(tenant, found, dns(machine=large, CommandLine=large, Image=hidden * 1000))
    for number in range(35):
        tenant.add_comment(alert.number, large[: 1000 if number else 4000], HOSTILE)
    assert len(listed(ann)) == 40
    said = at(ann, alert).body.decode()
    assert "U+202E" in said
    assert "\u202e" not in said
    assert "\x1b" not in said
    assert "<script>alert" not in said
    rows = ann.get("/portal/alerts/export?q=ws").body.decode()
    assert "\r\n=" not in rows


def test_a_line_of_nothing_but_what_is_hidden(ann: Visiting, tenant: TenantStore) -> None:
    line = "\u202e\x1b\u200b" * 8000 + " evil.example"
    (found,) = met(tenant, armed(tenant), "evil.example " + line)
    (alert,) = tenant.record([found]).opened
    assert at(ann, tenant.alert(alert.id)).body.count(b"U+202E") > 100


def test_what_is_anothers_is_not_there(service: Local, ann: Visiting, tenant: TenantStore) -> None:
    theirs = service.store.tenant(service.store.add_tenant("theirs").uid)
    secret = alert_of(theirs, armed(theirs, title="theirs alone"))
    (kept, *_) = [theirs.add_suppression(Suppression("", AHEAD, machine="x"), "x")]
    mine = alert_of(tenant, armed(tenant))
    assert listed(ann, status="all") == [mine.number]
    path = f"/portal/alerts/{secret.number}"
    assert ann.get(path).status == 404
    stamp = form_stamp(ann, mine.number)
    for action in ("triage", "false-positive", "comments", f"suppressions/{kept.id}"):
        assert ann.post(f"{path}/{action}", {"stamp": stamp, "text": "x", "status": "New"}).status == 404
    assert ann.post(f"/portal/alerts/{mine.number}/suppressions/{kept.id}").status == 404
    fields = [("alert", f"{secret.number}.{stamp}"), ("status", "Resolved")]
    assert "not there any more" in text_of(ann.follow(ann.post("/portal/alerts/triage", fields)))
    assert theirs.alert(secret.id) == secret
    assert theirs.suppressions() == [kept]
    assert "theirs alone" not in ann.get("/portal/alerts/export").body.decode()
    part = ann.get(f"/portal/alerts/news?since=0&at=0&told=9&shown={secret.number}", HTMX)
    assert f"status-{secret.number}" not in part.body.decode()
    assert "theirs alone" not in text_of(ann.get("/portal/alerts?q=theirs"))


def test_a_reader_reads(service: Local, tenant: TenantStore) -> None:
    alert = alert_of(tenant, armed(tenant))
    reader = visiting(service, tenant.uid, Role.READER)
    for path in ("/portal/alerts", f"/portal/alerts/{alert.number}"):
        html = page_of(reader.get(path))
        assert 'action="/portal/alerts/' not in html
        assert 'name="alert"' not in html


# The store's side


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[TenantStore]:
    """A tenant with alerts of three definitions on 40 machines, some without a time."""
    with Store.open(url_of(tmp_path_factory.mktemp(kind) / "queue.db")) as store:
        tenant = store.tenant(store.add_tenant("full").uid)
        for number, severity in enumerate((Severity.LOW, Severity.HIGH, Severity.MEDIUM)):
            found = armed(tenant, f"v{number}.example", severity=severity, title=f"Title {number}")
            times = ["" if n % 9 == 0 else f"2024-03-{1 + n % 28:02}T00:00:00Z" for n in range(40)]
            lines = [dns(f"v{number}.example", f"m-{n}", time) for n, time in enumerate(times)]
            tenant.record(met(tenant, found, *lines))
        for alert in tenant.alerts()[::3]:
            tenant.change_alert(alert.id, {"status": AlertStatus.RESOLVED, "assigned_to": "Bo"}, "Bo")
        yield tenant


FILTERS: dict[str, tuple[AlertFilter, Callable[[Alert], bool]]] = {
    "all": (AlertFilter(), lambda one: True),
    "status": (AlertFilter((AlertStatus.RESOLVED,)), lambda one: one.status is AlertStatus.RESOLVED),
    "severity": (
        AlertFilter(severity=(Severity.HIGH, Severity.LOW)),
        lambda one: one.definition.severity is not Severity.MEDIUM,
    ),
    "definition": (AlertFilter(definition=2), lambda one: one.definition.id == 2),
    "machine": (AlertFilter(machine="M-3"), lambda one: one.machine == "m-3"),
    "value": (AlertFilter(value="V1.example"), lambda one: "v1.example" in one.indicators),
    "assigned": (AlertFilter(assigned="Bo"), lambda one: one.assigned_to == "Bo"),
    "nobody": (AlertFilter(assigned=""), lambda one: one.assigned_to is None),
    "text": (
        AlertFilter(text="M-3"),
        lambda one: "m-3" in one.machine,
    ),
    "title": (AlertFilter(text="title 1"), lambda one: one.definition.title == "Title 1"),
    "several": (
        AlertFilter((AlertStatus.NEW,), (Severity.HIGH,), machine="m-4", value="v1.example"),
        lambda one: (one.status, one.machine, one.definition.id) == (AlertStatus.NEW, "m-4", 2),
    ),
}


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("name", FILTERS)
def test_pages_are_those_of_the_plain_meaning(
    full: TenantStore, name: str, sort: Sort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few a filter names, and whichever way it is then looked for."""
    wanted, meaning = FILTERS[name]
    keys: dict[Sort, Callable[[Alert], object]] = {
        Sort.NEWEST: lambda one: one.number,
        Sort.SEVERITY: lambda one: (list(Severity).index(one.definition.severity), one.number),
        Sort.LAST_SEEN: lambda one: (one.last_seen is not None, one.last_seen or START, one.number),
        Sort.COUNT: lambda one: (one.detection_count, one.number),
    }
    plain = [one for one in full.alerts() if meaning(one)]
    assert name != "all" or 0 < sum(one.last_seen is None for one in plain) < len(plain)
    plain.sort(key=keys[sort], reverse=True)  # type: ignore[arg-type]
    for few in (1, 2000):
        monkeypatch.setattr("indicia.store.queue.FEW", few)
        assert paged(full, wanted, sort) == plain
        assert full.queue.page(wanted, sort, None, 1, counted=1000).count == len(plain)
        assert full.queue.newer(wanted, 60, 1000) == sum(one.number > 60 for one in plain)


def paged(full: TenantStore, wanted: AlertFilter, sort: Sort) -> list[Alert]:
    """All pages, one behind the other."""
    page = full.queue.page(wanted, sort, None, 7)
    found = page.found
    while page.last is not None:
        page = full.queue.page(wanted, sort, page.last, 7)
        found += page.found
    return found


def plan_of(tenant: TenantStore, wanted: AlertFilter, sort: Sort) -> list[str]:
    """The statements of a page, as SQLite goes about them."""
    found = plans(tenant, lambda: tenant.queue.page(wanted, sort, None, 7))
    return [plan for text, plan in found if "FROM alerts" in text]


_TWO = (Severity.HIGH, Severity.LOW)
_BOTH = (AlertStatus.NEW, AlertStatus.RESOLVED)


@ON_A_FILE
@pytest.mark.parametrize(
    ("sort", "index"),
    [
        (Sort.NEWEST, "ix_alerts_(newest|tenant_id_id)"),
        (Sort.SEVERITY, "ix_alerts_gravest"),
        (Sort.LAST_SEEN, "ix_alerts_last_seen"),
        (Sort.COUNT, "ix_alerts_largest"),
    ],
)
def test_an_order_is_that_of_an_index(full: TenantStore, sort: Sort, index: str) -> None:
    for wanted in (AlertFilter(), AlertFilter((AlertStatus.NEW,), _TWO), AlertFilter(_BOTH, seen_to=AHEAD)):
        first = plan_of(full, wanted, sort)[0]
        assert re.search(f"COVERING INDEX {index} ", first), wanted
        assert "TEMP B-TREE" not in first


@ON_A_FILE
def test_what_names_few_is_not_walked_for(full: TenantStore) -> None:
    for wanted in (AlertFilter(machine="m-3"), AlertFilter(definition=2), AlertFilter(assigned="Bo")):
        for sort in Sort:
            assert all("tenant_id=? AND" in plan or "rowid=?" in plan for plan in plan_of(full, wanted, sort))


def test_values_beyond_those_named_are_found(full: TenantStore) -> None:
    (owner,) = full.add_definitions([definition()], "x")
    made = full.add_indicators([under(owner, f"z{n:02}.example") for n in range(15)], "x")
    for found in made:
        full.record(met(full, found, dns(found.value, "many")))
    assert [one.machine for one in full.queue.page(AlertFilter(value="z14.example")).found] == ["many"]
    (alert,) = full.queue.page(AlertFilter(machine="many")).found
    assert "z14.example" not in alert.indicators


def test_events_go_with_their_detections(full: TenantStore) -> None:
    found = armed(full, "gone.example")
    line = dns("gone.example")
    alert_of(full, found, line)
    (detection,) = [one for _, one in full.detections() if one.indicator.value == "gone.example"]
    assert full.queue.event(detection) == line
    assert json.loads(line)["QueryName"] == "gone.example"
    with full._writing() as scope:
        scope.delete(tables.detections, tables.detections.c.detection_id == detection.id)
    assert full.queue.event(detection) is None

"""Definitions and indicators in the portal: lists, forms, many at once, paste, upload, try."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.model import AuditAction, DetectionFunction, IndicatorType, Through
from indicia.store import Role, TenantStore
from service import Local, Reply
from stored import add, definition, detection, indicator
from visiting import Visiting, text_of, visiting

pytestmark = pytest.mark.full

DEFINITIONS, INDICATORS = "/portal/definitions", "/portal/indicators"
HTMX = {"HX-Request": "true"}
NASTY = "</td><script>alert(1)</script>\u202egnp.exe\x1b[31m"
FORM = {
    "Title": "Paper Lantern",
    "Name": "lantern",
    "Severity": "High",
    "Category": "Malware",
    "UxDescription": "",
    "RecommendedAction": "",
    "InternalDescription": "",
    "GroupBy": "Definition",
    "WindowSeconds": "86400",
    "Enabled-box": "on",
    "Enabled": "on",
}


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    """A tenant of the test's own."""
    return service.store.tenant(service.store.add_tenant(request.node.name).uid)


@pytest.fixture
def alex(service: Local, tenant: TenantStore) -> Visiting:
    """An analyst of it."""
    return visiting(service, tenant.uid, Role.ANALYST)


@pytest.fixture
def robin(service: Local, tenant: TenantStore) -> Visiting:
    """A reader of it."""
    return visiting(service, tenant.uid, Role.READER)


def entries(tenant: TenantStore) -> list[tuple[str, str, int]]:
    """What was changed through the portal: action, set and number."""
    return [
        (one.action, one.set_name, one.count)
        for one in tenant.audit_log()
        if one.through is Through.PORTAL and one.action not in (AuditAction.SIGN_IN, AuditAction.SIGN_OUT)
    ]


def fault_of(reply: Reply, name: str) -> str:
    """What is told under a field."""
    found = re.search(rf'id="field-{name}-fault">.*?<span>(.*?)</span>', reply.body.decode(), re.DOTALL)
    return found[1] if found else ""


# Alert definitions


def test_what_is_there_is_told_first(alex: Visiting, robin: Visiting) -> None:
    for path in (DEFINITIONS, INDICATORS):
        assert "No " in text_of(alex.get(path))
        assert "/new" in alex.get(path).body.decode()
        assert "/new" not in robin.get(path).body.decode()


def test_a_definition_from_fault_to_deletion(alex: Visiting, tenant: TenantStore) -> None:
    refused = alex.post(f"{DEFINITIONS}/new", FORM | {"Title": " ", "WindowSeconds": "5"})
    assert refused.status == 400
    assert fault_of(refused, "Title") == "Must not be empty"
    assert "must be from" in fault_of(refused, "WindowSeconds").lower()
    assert 'value="lantern"' in refused.body.decode()
    assert not tenant.definitions()
    made = alex.post(f"{DEFINITIONS}/new", FORM)
    (found,) = tenant.definitions()
    assert (found.title, found.created_by, found.enabled) == ("Paper Lantern", alex.name, True)
    assert found.recommended_action is None
    assert "Paper Lantern" in text_of(alex.follow(made))
    changed = {name: value for name, value in FORM.items() if name != "Enabled"} | {"Severity": "Low"}
    assert alex.post(f"{DEFINITIONS}/{found.id}/edit", changed).status == 303
    found = tenant.definition(found.id)
    assert (found.severity, found.enabled) == ("Low", False)
    assert alex.post(f"{DEFINITIONS}/{found.id}/enable", {"enabled": "yes"}).status == 303
    assert tenant.definition(found.id).enabled
    tenant.add_indicators([indicator(found, 1)], "x")
    page = text_of(alex.get(f"{DEFINITIONS}/{found.id}"))
    assert "deletes the definition with 1 indicator." in page
    assert "was High → is Low" in page
    alex.post(f"{DEFINITIONS}/{found.id}/delete")
    assert (tenant.definitions(), tenant.counts().indicators) == ([], 0)
    actions = [action for action, name, _ in entries(tenant) if name == "AlertDefinitions"]
    assert actions == [AuditAction.CREATE, AuditAction.CHANGE, AuditAction.CHANGE, AuditAction.DELETE]


def test_a_field_is_looked_at_while_somebody_types(alex: Visiting) -> None:
    long = alex.post(f"{DEFINITIONS}/check?field=Title", FORM | {"Title": "x" * 121}, headers=HTMX)
    assert "Has 121 characters; at most 120" in text_of(long)
    right = alex.post(f"{DEFINITIONS}/check?field=Title", FORM, headers=HTMX)
    assert text_of(right).strip() == ""
    other = alex.post(f"{DEFINITIONS}/check?field=<script>", FORM, headers=HTMX)
    assert (other.status, b"script" in other.body) == (200, False)


def test_definitions_are_filtered_sorted_and_paged(alex: Visiting, tenant: TenantStore) -> None:
    tenant.add_definitions([definition(name=f"n{n:03}", title=f"Title {n:03}") for n in range(60)], "x")
    tenant.add_definitions([definition(name="it's", title="100% Ümläut", severity="Low", enabled=False)], "x")
    first = alex.get(DEFINITIONS)
    assert first.body.count(b"data-row") == 50
    after = re.search(r'href="(/portal/definitions\?[^"]*after=[^"]*)" rel="next"', first.body.decode())
    assert after is not None
    assert alex.get(after[1].replace("&amp;", "&")).body.count(b"data-row") == 11
    for query, count in (
        ("q=title+00", 10),
        ("q=ümläut", 1),
        ("q=it's", 1),
        ("q=%25", 1),
        ("severity=Low", 1),
        ("enabled=no", 1),
        ("q=nothing", 0),
        ("sort=severity", 50),
        ("sort=newest&category=Malware", 0),
    ):
        found = alex.get(f"{DEFINITIONS}?{quote(query, safe='=&%+')}")
        assert (query, found.status, found.body.count(b"data-row")) == (query, 200, count)


@pytest.mark.parametrize(
    "query",
    ["severity=Huge", "category=x", "enabled=x", "sort=x", "after=x", "after=[1]", "after=[1e99,1]", "q=%00"],
)
def test_a_wrong_filter_is_told(alex: Visiting, query: str) -> None:
    for path in (DEFINITIONS, INDICATORS):
        assert alex.get(f"{path}?{query}").status in (200, 400)
    assert alex.get(f"{DEFINITIONS}?{query}").status == 400 or query == "q=%00"


# Indicators


def test_an_indicator_from_fault_to_deletion(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    form = {
        "Value": "hxxp://evil[.]example/a",
        "Type": "",
        "DetectionFunction": "Equals",
        "Enabled-box": "on",
    }
    refused = alex.post(f"{INDICATORS}/new", form | {"ExpiresAt": "soon"})
    assert refused.status == 400
    assert "belongs to an alert definition" in fault_of(refused, "AlertDefinition")
    assert "time" in fault_of(refused, "ExpiresAt")
    assert not tenant.counts().indicators
    form |= {"AlertDefinition": owner.name, "ExpiresAt": "2030-01-31T08:00", "Enabled": "on"}
    assert alex.post(f"{INDICATORS}/new", form).status == 303
    (found,) = tenant.indicators()
    assert (found.type, found.canonical) == (IndicatorType.URL, "http://evil.example/a")
    assert found.expires_at == datetime(2030, 1, 31, 8, tzinfo=UTC)
    change = {"Value": "evil.example", "Type": "DomainName", "DetectionFunction": "SubdomainOf"}
    alex.post(f"{INDICATORS}/{found.id}/edit", change | {"ExpiresAt": "", "AlertDefinition": str(owner.id)})
    after = tenant.indicator(found.id)
    assert (after.canonical, after.function, after.expires_at) == ("evil.example", "SubdomainOf", None)
    assert after.enabled, "a form without the box does not disable"
    wrong = alex.post(f"{INDICATORS}/{found.id}/edit", change | {"Type": "Url"})
    assert (wrong.status, tenant.indicator(found.id)) == (400, after)
    page = text_of(alex.get(f"{INDICATORS}/{found.id}"))
    assert "was Url → is DomainName" in page
    alex.post(f"{INDICATORS}/{found.id}/enable", {"enabled": "no"})
    assert not tenant.indicator(found.id).enabled
    alex.post(f"{INDICATORS}/{found.id}/delete")
    assert not tenant.counts().indicators
    assert [action for action, *_ in entries(tenant)] == ["Create", "Change", "Change", "Delete"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"Value": "evil.example", "Type": "Md5"}, "is not an MD5"),
        ({"Value": "evil.example", "Type": "Url", "DetectionFunction": "SubdomainOf"}, "DomainName alone"),
        ({"Value": "co.uk", "Type": "DomainName", "DetectionFunction": "SubdomainOf"}, "is a public suffix"),
        ({"Value": "10.0.0.1", "Type": ""}, "is no public address"),
        ({"Value": "known.example", "Type": ""}, "is on an allow-list"),
        ({"Value": "", "Type": "Md5"}, ""),
        ({"Value": "blank blank", "Type": ""}, "looks like no indicator"),
    ],
)
def test_a_value_is_looked_at_while_somebody_types(
    alex: Visiting, tenant: TenantStore, given: dict[str, str], told: str
) -> None:
    known = AllowEntry(AllowKind.STRING, "known.example", IndicatorType.DOMAIN_NAME)
    tenant.allow_lists.put(AllowList("ours", enabled=True), [known], "x")
    form = {"DetectionFunction": "Equals"} | given
    said = text_of(alex.post(f"{INDICATORS}/check?field=Value", form, headers=HTMX)).strip()
    assert told.lower() in said.lower()
    assert bool(said) is bool(told)


@pytest.fixture(scope="module")
def stocked(service: Local) -> TenantStore:
    """A tenant with a few of every kind."""
    tenant = service.store.tenant(service.store.add_tenant("stocked").uid)
    owner, other = add(tenant, 60), add(tenant, name="other")
    now = datetime.now(UTC)
    kinds: list[tuple[IndicatorType, str, dict[str, Any]]] = [
        (IndicatorType.URL, "http://evil.example/a", {}),
        (IndicatorType.URL, "evil.example/b", {}),
        (IndicatorType.IP_ADDRESS, "2001:db8::1", {"enabled": False}),
        (IndicatorType.DOMAIN_NAME, "evil.example", {"expires_at": now - timedelta(days=1)}),
        (IndicatorType.DOMAIN_NAME, "evil.example.net", {"expires_at": now + timedelta(days=1)}),
        (IndicatorType.MD5, "d" * 32, {"function": DetectionFunction.START_WITH}),
        (IndicatorType.FILE_NAME, "straße.exe", {}),
    ]
    made = [indicator(other, type=kind, value=text, canonical=text, **more) for kind, text, more in kinds]
    tenant.add_indicators(made, "feed")
    assert owner.id < other.id
    return tenant


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 50),
        ("type=Url", 2),
        ("type=Sha1", 0),
        ("function=StartWith", 1),
        ("type=Url&function=Equals", 2),
        ("type=Md5&enabled=yes", 1),
        ("enabled=no", 1),
        ("enabled=no&type=Url", 0),
        ("expiry=Expired", 1),
        ("expiry=Soon", 1),
        ("expiry=Soon&type=Url", 0),
        ("value=evil.example", 3),
        ("value=EVIL[.]Example", 3),
        ("value=evil.example&exact=on", 1),
        ("value=hxxp://evil[.]example", 1),
        ("value=evil.example&type=DomainName", 2),
        ("value=2001:0DB8:0:0::1&exact=on", 1),
        ("value=" + "d" * 30, 1),
        ("value=" + "d" * 33, 0),
        ("value=straß", 1),
        ("value=host-1", 11),
        ("value=%25", 0),
        ("by=feed", 7),
        ("by=nobody", 0),
        ("since=2020-01-01", 50),
        ("since=2100-01-01", 0),
        ("until=2020-01-01", 0),
        ("until=2100-01-01&type=Url", 2),
    ],
)
def test_indicators_are_filtered(service: Local, stocked: TenantStore, query: str, count: int) -> None:
    robin = visiting(service, stocked.uid, Role.READER)
    found = robin.get(f"{INDICATORS}?{quote(query, safe='=&%:/')}")
    assert found.status == 200, text_of(found)
    assert found.body.count(b"data-row") == count
    assert b'name="ids"' not in found.body


def test_pages_pass_every_indicator_once(service: Local, stocked: TenantStore) -> None:
    robin = visiting(service, stocked.uid, Role.READER)
    for query in ("", "?function=Equals", "?value=h", "?by=tests"):
        seen: list[str] = []
        path: str | None = INDICATORS + query
        while path is not None:
            body = robin.get(path).body.decode()
            seen += re.findall(r'class="value" data-key="Enter" href="[^"]*/(\d+)"', body)
            following = re.search(r'href="([^"]*)" rel="next"', body)
            path = following[1].replace("&amp;", "&") if following else None
        assert len(seen) == len(set(seen)) >= 60


def test_the_export_is_read_again_and_runs_no_formula(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant, name="=cmd()", title="@evil")
    values = ["=1+1.exe", "a,b.exe", 'a"b.exe']
    tenant.add_indicators(
        [indicator(owner, type=IndicatorType.FILE_NAME, value=one, canonical=one) for one in values], "x"
    )
    reply = alex.get(f"{INDICATORS}/export?type=FileName")
    assert reply.headers["content-disposition"] == 'attachment; filename="indicators.csv"'
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert {row["value"] for row in rows} == {"'=1+1.exe", *values[1:]}
    assert rows[0]["definition"] == "'=cmd()"
    assert rows[0]["title"] == "'@evil"


# Many at once


def many(who: Visiting, **fields: str) -> Reply:
    return who.post(f"{INDICATORS}/many", fields)


def test_those_that_are_ticked_are_changed(alex: Visiting, tenant: TenantStore) -> None:
    owner, other = add(tenant, 5), add(tenant, name="other")
    ids = [one.id for one in tenant.indicators()]
    ticked = [("ids", str(one)) for one in ids[:2]]

    def do(**fields: str) -> Reply:
        return alex.post(f"{INDICATORS}/many", [*ticked, *fields.items()])

    assert "2 indicators are disabled" in text_of(alex.follow(do(action="disable", definition=str(owner.id))))
    assert [one.enabled for one in tenant.indicators()] == [False, False, True, True, True]
    assert "0 indicators are disabled" in text_of(alex.follow(do(action="disable")))
    do(action="until", at="2031-01-01T00:00")
    assert tenant.indicators()[1].expires_at == datetime(2031, 1, 1, tzinfo=UTC)
    do(action="expire")
    assert tenant.indicators()[1].expires_at is not None
    do(action="keep")
    assert tenant.indicators()[1].expires_at is None
    do(action="move", target=other.name)
    assert [one.id for one in tenant.indicators(definition_id=other.id)] == ids[:2]
    asked = do(action="delete")
    assert "2 indicators will be deleted" in text_of(asked)
    assert tenant.counts().indicators == 5
    do(action="delete", sure="on")
    assert [one.id for one in tenant.indicators()] == ids[2:]
    assert tenant.counts().indicators == 3
    told = [entry for entry in entries(tenant) if entry[1] == "IndicatorsOfCompromise"]
    assert (
        told == [("Change", "IndicatorsOfCompromise", 1)] * 10 + [("Delete", "IndicatorsOfCompromise", 1)] * 2
    )


def test_all_that_the_filters_give_are_changed_in_steps(
    alex: Visiting, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indicia.store.many.STEP", 150)
    add(tenant, 500)
    other = add(tenant, 3, name="other")
    asked = many(alex, action="disable", scope="all", value="host-1")
    assert "All indicators that the filters give will be disabled" in text_of(asked)
    assert tenant.matchable().__next__().enabled
    form = {"action": "disable", "value": "host-1", "sure": "on"}
    steps = 0
    while True:
        reply = alex.post(f"{INDICATORS}/many/step", form)
        steps += 1
        if reply.status == 303:
            break
        body = reply.body.decode()
        form |= dict(re.findall(r'name="(after|done)" value="([^"]*)"', body.replace("&#34;", '"')))
        assert steps < 20
    assert "112 indicators are disabled" in text_of(alex.follow(reply))
    assert sum(not one.enabled for one in tenant.indicators()) == 112
    moved = many(alex, action="move", scope="all", target=str(other.id), definition=str(other.id))
    assert moved.status == 200
    done = alex.post(f"{INDICATORS}/many/step", {"action": "delete", "sure": "on"}, headers=HTMX)
    assert "More are looked at" in text_of(done)
    assert sum(one.count for one in tenant.audit_log() if one.action is AuditAction.DELETE_MANY) == 150
    assert tenant.counts().indicators == 353


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "explode", "ids": "1"},
        {"action": "disable"},
        {"action": "until", "ids": "1", "at": "x"},
        {"action": "move", "ids": "1", "target": "nowhere"},
        {"action": "disable", "ids": "x"},
        {"action": "disable", "ids": "9" * 30},
        {"action": "disable", "scope": "all", "type": "x"},
    ],
)
def test_what_cannot_be_done_to_many_is_told(
    alex: Visiting, tenant: TenantStore, fields: dict[str, str]
) -> None:
    add(tenant, 1)
    assert many(alex, **fields).status == 400
    assert not entries(tenant)


# Attackers, and others


def pages(tenant: TenantStore) -> Iterator[str]:
    owner, found = tenant.definitions()[0], tenant.indicators()[0]
    yield from (DEFINITIONS, INDICATORS, "/portal/paste", "/portal/upload", "/portal/try")
    yield from (f"{DEFINITIONS}/{owner.id}", f"{DEFINITIONS}/{owner.id}/edit", f"{DEFINITIONS}/new")
    yield from (f"{INDICATORS}/{found.id}", f"{INDICATORS}/{found.id}/edit", f"{INDICATORS}/new")


def test_texts_of_others_stay_texts(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant, name=NASTY, title=NASTY, ux_description=NASTY, recommended_action=NASTY)
    tenant.change_definition(owner.id, {"internal_description": NASTY}, NASTY)
    nasty = indicator(owner, type=IndicatorType.FILE_NAME, value=NASTY, canonical=NASTY, source=NASTY)
    (made, _) = tenant.add_indicators([nasty, nasty], NASTY)
    tenant.record([detection(made, tenant.uid)])
    for path in pages(tenant):
        reply = alex.get(path)
        assert reply.status == 200, path
        assert b"<script>alert" not in reply.body, path
        shown = re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", reply.body.decode(), flags=re.DOTALL)
        assert not set("\x1b\u202e") & set(shown), path
    for path, form in (
        ("/portal/paste", {"text": f"{NASTY} hxxp://evil[.]example/{NASTY}"}),
        ("/portal/try", {"event": json.dumps({"query": NASTY}), "value": NASTY, "type": "FileName"}),
        (f"{DEFINITIONS}/new", FORM | {"Severity": NASTY}),
        (f"{INDICATORS}/new", {"Value": NASTY, "Type": NASTY}),
        (f"{INDICATORS}/many", {"action": "disable", "scope": "all", "value": NASTY}),
    ):
        assert b"<script>alert" not in alex.post(path, form).body, path
    assert b"<script>alert" not in alex.get(f"{INDICATORS}?{urlencode({'value': NASTY})}").body
    assert b"<script>alert" not in alex.get(f"{DEFINITIONS}?{urlencode({'q': NASTY})}").body


def test_what_is_anothers_is_not_there(service: Local, alex: Visiting, tenant: TenantStore) -> None:
    theirs = service.store.tenant(service.store.add_tenant("theirs").uid)
    owner = add(theirs, 2)
    mine = add(tenant, 1)
    found = theirs.indicators()[0]
    before = theirs.counts(), theirs.generation(), len(theirs.audit_log())
    for path in (f"{DEFINITIONS}/{owner.id}", f"{DEFINITIONS}/{owner.id}/edit", f"{INDICATORS}/{found.id}"):
        assert alex.get(path).status == 404
    for path, fields in (
        (f"{DEFINITIONS}/{owner.id}/delete", {}),
        (f"{DEFINITIONS}/{owner.id}/edit", FORM),
        (f"{INDICATORS}/{found.id}/delete", {}),
        (f"{INDICATORS}/{found.id}/edit", {"Value": "x.example"}),
        (f"{INDICATORS}/new", {"Value": "x.example", "Type": "", "AlertDefinition": str(owner.id)}),
        ("/portal/try", {"event": "x y", "indicator": str(found.id)}),
    ):
        assert alex.post(path, fields).status in (400, 404), path
    many(alex, action="delete", ids=str(found.id), sure="on")
    many(alex, action="move", ids=str(found.id), target=str(mine.id))
    assert many(alex, action="move", ids=str(mine.id), target=str(owner.id)).status == 400
    alex.post(f"{INDICATORS}/many/step", {"action": "delete", "sure": "on", "definition": str(owner.id)})
    assert alex.get(f"{INDICATORS}?definition={owner.id}").body.count(b"data-row") == 0
    assert found.canonical not in alex.get(f"{INDICATORS}/export?definition={owner.id}").body.decode()
    assert (theirs.counts(), theirs.generation(), len(theirs.audit_log())) == before


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("https://h/portal/indicators?type=Url", 'href="/portal/indicators?type=Url">'),
        ("https://h/portal/indicators/many", ""),
        ("https://other.example/", ""),
        ("https://h/portal/../x", ""),
        ("", ""),
    ],
    ids=("its list", "itself", "another site", "no page", "nothing"),
)
def test_an_error_page_leads_back(alex: Visiting, referer: str, back: str) -> None:
    reply = alex.post(
        "/portal/indicators/many", {"scope": "ticked", "action": "disable"}, headers={"Referer": referer}
    )
    said = reply.body.decode()
    assert reply.status == 400
    assert "Tick the indicators that are meant" in said
    assert ("</svg>Back</a>" in said) == bool(back)
    assert back in said

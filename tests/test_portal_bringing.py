"""What brings indicators in through the portal, paste and upload; and the page that tries one."""

from __future__ import annotations

import csv
import io
import json
import re
import time

import pytest

from indicia import telemetry
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.detect import detect
from indicia.match import ReferenceMatcher
from indicia.model import AuditAction, IndicatorType, Through
from indicia.store import Role, TenantStore
from indicia.telemetry import Source
from service import Local, Reply
from stored import add, indicator
from visiting import Visiting, text_of, visiting

pytestmark = pytest.mark.full


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


# Paste

MAIL = """From: kim@partner.example
The beacon is at hxxps://evil[.]example/gate.php?id=1 and 192.0.2.77 (or 192[.]0[.]2[.]78).
Hash: D41D8CD98F00B204E9800998ECF8427E, again d41d8cd98f00b204e9800998ecf8427e.
It came below duckdns[.]org; see internal.lan and known[.]example.
"""


def test_a_mail_is_understood_and_stored(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant, 1)
    stored = indicator(owner, value="192.0.2.78", canonical="192.0.2.78", type=IndicatorType.IP_ADDRESS)
    tenant.add_indicators([stored], "x")
    known = AllowEntry(AllowKind.STRING, "known.example", IndicatorType.DOMAIN_NAME)
    tenant.allow_lists.put(AllowList("ours", enabled=True), [known], "x")
    before = tenant.counts().indicators
    page = alex.post("/portal/paste", {"text": MAIL, "source": "mail of 3 March"})
    said = text_of(page)
    assert page.status == 200
    for words in (
        "https://evil.example/gate.php?id=1",
        "stands undefanged in a text; it may be a version",
        "is the hash of every empty file",
        "duckdns.org is a public suffix",
        "known.example is on an allow-list",
        "stored Equals under Paper Lantern",
        "kim@partner.example is a mail address",
        "internal.lan ends in no public top-level domain",
        "1 repeated",
        "line 2",
    ):
        assert words in said, words
    assert tenant.counts().indicators == before
    body = page.body.decode()
    ticked = re.findall(r'name="pick" value="(\d+)" checked', body)
    assert [re.search(rf'name="value-{n}" value="([^"]*)"', body)[1] for n in ticked] == [  # type: ignore[index]
        "https://evil.example/gate.php?id=1"
    ]
    sent = [(name, value) for name, value in re.findall(r'name="((?:value|type)-\d+)" value="([^"]*)"', body)]
    functions = [(f"function-{n}", "Equals") for n in range(10)]
    form = [*sent, *functions, ("source", "mail of 3 March"), *(("pick", str(n)) for n in range(6))]
    nowhere = alex.post("/portal/paste/store", form)
    assert (nowhere.status, "belongs to an alert definition" in text_of(nowhere)) == (400, True)
    assert "stored Equals under Paper Lantern" in text_of(nowhere), "it is as well known as before"
    assert tenant.counts().indicators == before
    again = [*form, ("AlertDefinition", str(owner.id))]
    told = text_of(alex.follow(alex.post("/portal/paste/store", again)))
    assert "5 indicators are stored under Paper Lantern" in told
    assert "1 was there already" in told
    told = text_of(alex.follow(alex.post("/portal/paste/store", again)))
    assert "0 indicators are stored" in told
    assert tenant.counts().indicators == before + 5
    new = [one for one in tenant.indicators() if one.created_by == alex.name]
    assert {one.source for one in new} == {"mail of 3 March"}
    last = tenant.audit_log()[-1]
    assert (last.action, last.through, last.by) == (AuditAction.BULK_UPLOAD, Through.PORTAL, alex.name)


def test_a_text_without_indicators_is_not_lost(alex: Visiting, tenant: TenantStore) -> None:
    assert "There is no alert definition yet" in text_of(alex.get("/portal/paste"))
    add(tenant)
    page = alex.post("/portal/paste", {"text": "an evil.lan of long ago", "source": "a mail"})
    assert "No indicator was found in this text" in text_of(page)
    assert "There is no alert definition yet" not in text_of(page)
    assert "an evil.lan of long ago</textarea>" in page.body.decode()
    assert 'value="a mail"' in page.body.decode()


def test_one_wrong_row_stores_nothing(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    form = [
        ("value-0", "evil.example"), ("type-0", "DomainName"), ("function-0", "Equals"), ("pick", "0"),
        ("value-1", "not a hash"), ("type-1", "Md5"), ("function-1", "Equals"), ("pick", "1"),
        ("AlertDefinition", str(owner.id)),
    ]  # fmt: skip
    reply = alex.post("/portal/paste/store", form)
    assert reply.status == 400
    assert "is not an MD5" in text_of(reply)
    assert not tenant.counts().indicators


@pytest.mark.parametrize("form", [[], [("pick", "0")], [("pick", "x")], [("pick", "9" * 20)]])
def test_nothing_ticked_is_told(alex: Visiting, tenant: TenantStore, form: list[tuple[str, str]]) -> None:
    owner = add(tenant)
    assert alex.post("/portal/paste/store", [*form, ("AlertDefinition", str(owner.id))]).status == 400


@pytest.mark.full
@pytest.mark.parametrize("word", ["a@b.cc ", "hxxp[:]//a[.]com/{n}?y ", "x"])
def test_a_megabyte_is_read_in_bounded_time(alex: Visiting, word: str) -> None:
    many_words = "".join(word.replace("{n}", str(n)) for n in range(1024 * 1024 // len(word)))[: 1024 * 1024]
    begin = time.process_time()
    reply = alex.post("/portal/paste", {"text": many_words})
    assert reply.status == 200
    assert len(reply.body) < 1_500_000
    assert time.process_time() - begin < 8
    assert alex.post("/portal/paste", {"text": many_words + "x" * 100}).status == 413


# Upload


def uploaded(alex: Visiting, reply: Reply) -> Reply:
    """The page of an import, once it has ended."""
    assert reply.status == 303, text_of(reply)
    end = time.monotonic() + 60
    while True:
        page = alex.get(reply.headers["location"])
        if 'hx-trigger="every' not in page.body.decode() or time.monotonic() > end:
            return page
        time.sleep(0.1)


CSV = """type,value,function,expires_at
DomainName,evil[.]example,SubdomainOf,2031-01-01
Md5,tooshort,Equals,
IpAddress,192.0.2.1,,
FileName,=cmd.exe,,yesterday
IpAddress,192.0.2.1,,
"""


@pytest.mark.full
def test_a_file_is_imported_and_what_was_refused_is_told(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    form = {"AlertDefinition": str(owner.id), "source": "partner"}
    file = {"file": ("../feed\u202e.csv", CSV.encode())}
    first = alex.post("/portal/upload", form, files=file)
    page = uploaded(alex, first)
    said = text_of(page)
    assert "2 indicators are added, 1 were there already, 2 refused" in said
    assert "is not an MD5" in said
    report = alex.get(first.headers["location"] + "/report")
    rows = list(csv.reader(io.StringIO(report.body.decode())))
    assert rows[0] == ["line", "what", "reason"]
    assert [row[0] for row in rows if row[1] == "refused"] == ["3", "5"]
    assert all(row[1] in ("what", "refused", "warning") for row in rows)
    assert {one.source for one in tenant.indicators()} == {"partner"}
    (entry,) = [one for one in tenant.audit_log() if one.action is AuditAction.IMPORT]
    assert (entry.by, entry.through, entry.count) == (alex.name, Through.PORTAL, 2)
    again = uploaded(alex, alex.post("/portal/upload", form, files=file))
    assert "0 indicators are added, 3 were there already" in text_of(again)
    assert tenant.counts().indicators == 2
    listed = text_of(alex.get("/portal/upload"))
    assert listed.count("Done") == 2


@pytest.mark.full
def test_a_file_that_cannot_be_read_says_so(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    form = {"AlertDefinition": str(owner.id), "format": "csv"}
    page = uploaded(alex, alex.post("/portal/upload", form, files={"file": ("x.csv", b"a,b\n1,2\n")}))
    assert "names no column" in text_of(page)
    assert "Go on where it was" in text_of(page)


@pytest.mark.full
def test_one_that_was_cancelled_goes_on(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    rows = "".join(f"host-{number}.example\n" for number in range(60_000))
    file = {"file": ("hosts.txt", rows.encode())}
    begun = alex.post("/portal/upload", {"AlertDefinition": str(owner.id)}, files=file)
    path = begun.headers["location"]
    alex.get(path)
    alex.post(f"{path}/cancel")
    said = text_of(uploaded(alex, begun))
    assert "It was cancelled; what was stored stays" in said
    assert tenant.counts().indicators < 60_000
    uploaded(alex, alex.post(f"{path}/again"))
    assert tenant.counts().indicators == 60_000
    assert alex.post(f"{path}/again").status == 400


def test_a_wrong_upload_is_told(alex: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    file = {"file": ("x.csv", b"value\nevil.example\n")}
    assert "choose a file" in text_of(alex.post("/portal/upload", {"AlertDefinition": str(owner.id)})).lower()
    for fields in ({}, {"AlertDefinition": "nothing"}, {"AlertDefinition": str(owner.id), "function": "x"}):
        assert alex.post("/portal/upload", fields, files=file).status == 400
    empty = alex.post("/portal/upload", {"AlertDefinition": str(owner.id)}, files={"file": ("x", b"")})
    assert (empty.status, "the file is empty" in text_of(empty).lower()) == (400, True)
    assert alex.get("/portal/upload/" + "0" * 16).status == 404
    assert alex.get("/portal/upload/..%2f..").status == 404


# Try


def test_an_indicator_is_tried_step_by_step(alex: Visiting, robin: Visiting, tenant: TenantStore) -> None:
    owner = add(tenant)
    (made,) = tenant.add_indicators([indicator(owner, 7)], "x")
    event = json.dumps({"query": "www.host-7.example"})
    miss = text_of(robin.post("/portal/try", {"event": event, "indicator": str(made.id)}))
    assert "does not meet it not-equal" in miss
    assert "SubdomainOf would meet" in miss
    typed = {"event": event, "value": "host-7[.]example", "function": "SubdomainOf"}
    assert "meets it hit" in text_of(robin.post("/portal/try", typed))
    whole = text_of(alex.post("/portal/try", {"event": '{"query": "host-7.example"}'}))
    assert "meets it hit" in whole
    assert "of Paper Lantern" in whole
    assert "no-indicator" in text_of(alex.post("/portal/try", {"event": "nothing.example"}))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"event": " "},
        {"event": "{} "},
        {"event": "x y", "indicator": "x"},
        {"event": "x y", "value": "a b"},
        {"event": "x y", "value": "evil.example", "type": "Colour"},
        {"event": "x y", "value": "evil.example", "type": "Md5"},
        {"event": "x y", "value": "x" * 5000},
    ],
)
def test_what_cannot_be_tried_is_told(alex: Visiting, form: dict[str, str]) -> None:
    assert alex.post("/portal/try", form).status in (200, 400)
    if form.get("event", "").strip() != "{}":
        assert alex.post("/portal/try", form).status == 400
    assert alex.post("/portal/try", {"event": "x y", "indicator": "99999999"}).status == 404


def test_the_reach_is_that_of_the_kept_events(
    service: Local, robin: Visiting, alex: Visiting, tenant: TenantStore
) -> None:
    owner = add(tenant, 3)
    wide = indicator(owner, value="host-", canonical="host-", function="StartWith", enabled=False)
    (made,) = tenant.add_indicators([wide], "x")
    assert "No event is kept yet" in text_of(robin.get(f"/portal/indicators/{made.id}/reach"))
    lines = [json.dumps({"query": f"host-{n % 3}.example", "n": n}) for n in range(6)]
    lines.append(json.dumps({"query": "x.example", "file": "host-1.example"}))
    source = Source("dns.log", held="\n".join(lines).encode())
    matcher = ReferenceMatcher(tenant.matchable())
    for event in telemetry.events(source, malformed=print):
        tenant.record(detect(event, matcher, tenant.uid))
    said = text_of(robin.get(f"/portal/indicators/{made.id}/reach"))
    assert "It would have met 7 of the 7 newest kept events" in said
    assert "Enable it" not in said
    assert "Enable it" in text_of(alex.get(f"/portal/indicators/{made.id}/reach"))
    other = visiting(service, service.store.add_tenant("reach of others").uid, Role.READER)
    assert other.get(f"/portal/indicators/{made.id}/reach").status == 404

"""The pages for scans: a file goes in, what is found comes out, for this tenant alone."""

from __future__ import annotations

import re
import time

import pytest

from indicia.live.scans import Scans
from indicia.model import Severity
from indicia.store import Role, TenantStore
from service import Local, Reply
from stored import add
from test_scans import HOSTILE, LOG, dns
from visiting import Visiting, text_of, visiting

pytestmark = pytest.mark.full

PATH = "/portal/scan"


@pytest.fixture(scope="module")
def tenant(service: Local) -> TenantStore:
    found = service.store.tenant(service.store.add_tenant("scanning").uid)
    add(found, 3, severity=Severity.HIGH)
    return found


@pytest.fixture(scope="module")
def alex(service: Local, tenant: TenantStore) -> Visiting:
    return visiting(service, tenant.uid)


def ended(who: Visiting, sent: Reply) -> tuple[str, Reply]:
    """The page of a scan that was begun, when it has ended."""
    assert sent.status == 303, text_of(sent)
    path = sent.headers["location"]
    end = time.monotonic() + 60
    while b'hx-trigger="every 1s"' in (reply := who.get(path)).body and time.monotonic() < end:
        time.sleep(0.05)
    assert reply.status == 200
    return path, reply


def send(who: Visiting, content: bytes, name: str = "dns.log", **fields: str) -> Reply:
    return who.post(PATH, fields, files={"file": (name, content)})


def test_a_file_is_scanned_then_recorded_then_deleted(tenant: TenantStore, alex: Visiting) -> None:
    path, reply = ended(alex, send(alex, LOG))
    said = text_of(reply)
    assert "Scan of dns.log" in said
    assert "Nothing of this is stored" in said
    assert f"Done, {len(LOG) / 1024:.1f} KiB of {len(LOG) / 1024:.1f} KiB read" in said
    assert "Malformed lines 1" in said
    assert "not valid JSON" in said
    assert "query observed: host-0.example" in said
    assert tenant.counts().detections == 0
    path, reply = ended(alex, alex.post(f"{path}/record"))
    said = text_of(reply)
    counts = tenant.counts()
    assert f"Recorded: {counts.detections:,} new detections, {counts.alerts:,} new alerts, 0 reopened" in said
    number = tenant.alerts()[0].number
    assert f'href="/portal/alerts/{number}"' in reply.body.decode()
    listed = text_of(alex.get(PATH))
    assert re.search(r"dns\.log Done Recorded \d", listed)
    assert alex.post(f"{path}/delete").status == 303
    assert "No scan yet" in text_of(alex.get(PATH))
    assert alex.get(path).status == 404
    assert tenant.counts() == counts


def test_what_is_found_may_be_recorded_at_once(tenant: TenantStore, alex: Visiting) -> None:
    before = tenant.counts().detections
    _, reply = ended(alex, send(alex, dns("host-1.example", 5000, "198.51.100.9"), record="on"))
    assert "Recorded: 1 new detection, 1 new alert, 0 reopened" in text_of(reply)
    assert tenant.counts().detections == before + 1


def test_a_reader_scans_and_records_nothing(service: Local, tenant: TenantStore) -> None:
    sam = visiting(service, tenant.uid, Role.READER)
    assert "Record what is found" not in text_of(sam.get(PATH))
    path, reply = ended(sam, send(sam, dns("host-1.example", 6000)))
    assert "Record as alerts" not in text_of(reply)
    assert sam.post(f"{path}/record").status == 403
    refused = send(sam, LOG, record="on")
    assert refused.status == 403
    assert "needs the role Analyst" in text_of(refused)


def test_what_is_anothers_is_not_there(service: Local, alex: Visiting) -> None:
    path, _ = ended(alex, send(alex, b"nothing\n", "theirs.log"))
    other = visiting(service, service.store.add_tenant("another").uid)
    for answer in (
        other.get(path),
        *(other.post(f"{path}/{what}") for what in ("cancel", "record", "delete")),
    ):
        assert answer.status == 404
    assert "theirs.log" not in text_of(other.get(PATH))
    assert alex.get(path).status == 200


def test_what_is_wrong_is_told_at_the_field(
    service: Local, tenant: TenantStore, alex: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reply, said in ((alex.post(PATH), "Choose a file first"), (send(alex, b""), "The file is empty")):
        assert reply.status == 400
        assert said in text_of(reply)
        assert 'aria-invalid="true"' in reply.body.decode()
    monkeypatch.setattr(Scans, "unfinished", 0)
    assert send(alex, LOG).status == 429
    assert "run or wait" in text_of(send(alex, LOG))


def test_htmx_is_led_to_the_scan(alex: Visiting) -> None:
    reply = alex.post(PATH, files={"file": ("x.log", LOG)}, headers={"HX-Request": "true"})
    assert reply.status == 200
    path = reply.headers["hx-redirect"]
    end = time.monotonic() + 60
    while (
        "hx-refresh" not in (part := alex.get(path, {"HX-Request": "true"})).headers
        and time.monotonic() < end
    ):
        time.sleep(0.05)
    assert part.headers["hx-refresh"] == "true"
    assert part.body.decode().strip().startswith('<div id="scan"')
    refused = alex.post(PATH, headers={"HX-Request": "true"})
    assert (refused.status, refused.headers["hx-retarget"]) == (400, "#notices")


@pytest.mark.parametrize("pages", [PATH, "/portal/upload"])
def test_a_page_of_what_was_deleted_asks_no_more(alex: Visiting, pages: str) -> None:
    gone = f"{pages}/{'0' * 16}"
    assert alex.get(gone, {"HX-Request": "true"}).headers["hx-redirect"] == pages
    assert alex.get(gone).status == 404


def test_detections_are_told_page_by_page(alex: Visiting) -> None:
    log = b"".join(dns(f"host-{number % 3}.example", 9000 + number) for number in range(70))
    path, reply = ended(alex, send(alex, log))
    lines = re.findall(r'data-label="Line"><span[^>]*>[^<]*</span>(\d+)<', reply.body.decode())
    assert lines == [str(number) for number in range(1, 51)]
    (after,) = re.findall(rf'href="({path}\?at=\d+)#detections"', reply.body.decode())
    rest = re.findall(r'data-label="Line"><span[^>]*>[^<]*</span>(\d+)<', alex.get(after).body.decode())
    assert rest == [str(number) for number in range(51, 71)]
    assert alex.get(f"{path}?at=1").status == 400
    for strange in ("-1", "x", "9" * 30, "\u0661"):
        assert alex.get(f"{path}?at={strange}".encode().decode("latin-1")).status == 200


def test_what_attackers_wrote_stays_text(alex: Visiting) -> None:
    line = (
        dns(f"{HOSTILE}host-1.example").replace(b"192.0.2.1", HOSTILE.encode()) + b'{"query":"' + b"a" * 2**20
    )
    log = (
        line + b'\n{"query":"host-1.example","computer_name":"\\u001b[31m\\u202e<script>alert(1)</script>"}\n'
    )
    _, reply = ended(alex, send(alex, log, f"\u202e<script>alert{HOSTILE[:5]}x.log"))
    page = reply.body.decode()
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "U+202E" in page
    assert len(page) < 100_000

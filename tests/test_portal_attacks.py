"""Attacks on the portal that worked once: what nobody may do by a request, a link, or both together."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from indicia.auth import secrets
from indicia.errors import Forbidden, InputError, TooManyRequests
from indicia.live import contents, imports
from indicia.live.imports import Imports
from indicia.live.jobs import Jobs
from indicia.live.scans import Scans
from indicia.model import Actor, AuditAction, Quotas, Through
from indicia.store import Role, TenantStore, Wanted
from indicia.web.portal import forms
from indicia.web.portal.settings import outputs
from service import Local, Reply
from stored import opened
from visiting import FORM, HOUR, PASSWORD, Visiting, add_person, text_of, visiting

pytestmark = pytest.mark.full

MEMBERS = "/portal/settings/members"


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    """A tenant of the test's own."""
    return service.store.tenant(service.store.add_tenant(request.node.name).uid)


def reset_link(tenant: TenantStore, uid: str, boss: str = "boss") -> str:
    """A link for a new password of a member, as an administrator makes it; its digest."""
    digest = secrets.digest(secrets.make())
    tenant.acting(Actor(boss)).members.reset(digest, uid, HOUR)
    return digest


# Links


def test_a_link_for_a_password_ends_when_its_person_joins_another_tenant(
    service: Local, tenant: TenantStore
) -> None:
    """Else an administrator of the first could make one, wait, and be the person in the second."""
    second = service.store.tenant(service.store.add_tenant(f"{tenant.name} 2").uid)
    kim = visiting(service, tenant.uid, Role.READER)
    digest = reset_link(tenant, kim.uid)
    token = secrets.make()
    second.members.invite(secrets.digest(token), Role.ADMINISTRATOR, "", HOUR)
    assert kim.post(f"/portal/link/{token}/join").status == 303
    assert service.store.people.link(digest) is None
    with pytest.raises(Forbidden):
        service.store.people.set_password(digest, "digest", Actor())
    assert tenant.members.links() == []
    assert tenant.trail.page(Wanted(action=AuditAction.REVOKE, set_name="Links")).found


@pytest.mark.parametrize(
    "change",
    [
        lambda tenant, uid: tenant.members.disable(uid),
        lambda tenant, uid: tenant.members.remove(uid),
        lambda tenant, uid: tenant.members.change_role(uid, Role.READER),
    ],
    ids=["disabled", "removed", "made less"],
)
def test_who_is_made_less_is_not_made_more_again_by_an_old_link(
    service: Local, tenant: TenantStore, change: Callable[[TenantStore, str], object]
) -> None:
    add_person(service.store, tenant.uid, f"first of {tenant.uid}")
    name = f"second of {tenant.uid}"
    uid = add_person(service.store, tenant.uid, name)
    password, invitation = reset_link(tenant, uid), secrets.digest(secrets.make())
    tenant.acting(Actor(name)).members.invite(invitation, Role.ADMINISTRATOR, "", HOUR)
    others = reset_link(tenant, tenant.members.all()[0].uid)
    change(tenant, uid)
    people = service.store.people
    assert people.link(password) is None, "the old role, or the membership, would come back"
    assert people.link(invitation) is None, "nor by an invitation that the person made before"
    assert people.link(others) is not None, "what is nobody's business stays"


def test_whom_a_provider_makes_less_has_no_link_left(service: Local, tenant: TenantStore) -> None:
    add_person(service.store, tenant.uid, f"first of {tenant.uid}")
    issuer, people = f"https://{tenant.uid}.example", service.store.people
    name = f"signed on to {tenant.uid}"
    given = (issuer, "subject", name, tenant.tenant)
    people.signed_on(*given, Role.ADMINISTRATOR, Actor())
    invitation = secrets.digest(secrets.make())
    tenant.acting(Actor(name)).members.invite(invitation, Role.ADMINISTRATOR, "", HOUR)
    people.signed_on(*given, Role.ADMINISTRATOR, Actor())
    assert people.link(invitation) is not None
    people.signed_on(*given, Role.READER, Actor())
    assert people.link(invitation) is None


def test_who_joins_is_told_with_the_request(service: Local, tenant: TenantStore) -> None:
    kim = visiting(service, service.store.add_tenant(f"{tenant.name} 2").uid)
    token = secrets.make()
    tenant.members.invite(secrets.digest(token), Role.READER, "", HOUR)
    kim.post(f"/portal/link/{token}/join")
    (entry,) = tenant.trail.page(Wanted(action=AuditAction.CREATE, set_name="People")).found
    assert (entry.by, entry.through, bool(entry.request_id)) == (kim.name, Through.PORTAL, True)


def test_links_for_the_first_administrator_end_when_there_is_one(service: Local, tenant: TenantStore) -> None:
    """Each start of the service prints one: in a log of yesterday it would make another administrator."""
    links = [secrets.digest(secrets.make()) for _ in range(3)]
    for one in links:
        tenant.members.invite(one, Role.ADMINISTRATOR, "", HOUR)
    service.store.people.begin(links[1], f"first of {tenant.uid}", "digest", Actor())
    assert [service.store.people.link(one) for one in links] == [None] * 3
    tenant.members.invite(secrets.digest(secrets.make()), Role.ADMINISTRATOR, "", HOUR)
    assert len(tenant.members.links()) == 1, "the first one may invite a second one"


def test_a_link_that_many_open_at_once_lets_one_in(service: Local, tenant: TenantStore) -> None:
    digest = secrets.digest(secrets.make())
    tenant.members.invite(digest, Role.READER, "", HOUR)
    done: list[str] = []

    def use(number: int) -> None:
        with suppress(Forbidden):
            done.append(service.store.people.begin(digest, f"{number} {tenant.uid}", "x", Actor())[0].name)

    together(use, 8)
    assert len(done) == len(tenant.members.all()) == 1


def together(work: Callable[[int], None], count: int) -> None:
    """The work in so many threads at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Guessing


def test_many_guesses_at_once_are_no_way_around_the_limit(service: Local, tenant: TenantStore) -> None:
    name = f"guessed of {tenant.uid}"
    add_person(service.store, tenant.uid, name)
    guest = Visiting(service)
    guest.get("/portal/sign-in")
    body = urlencode({"csrf": guest.csrf, "name": name, "password": "wrong"}).encode()
    headers = guest._headers({"Content-Type": FORM})

    async def guess() -> int:
        parts = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, object]:
            return next(parts)

        return (await service.exchange("POST", "/portal/sign-in", headers, receive)).status

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(guess() for _ in range(24)))

    service.address = "192.0.2.91"
    try:
        found = service.runner.run(all_at_once())
    finally:
        service.address = "127.0.0.1"
    assert 1 <= found.count(400) <= 10
    assert found.count(400) + found.count(429) == 24
    assert Visiting(service).sign_in(name, PASSWORD).status == 303


# What cannot be read


def of_fields(csrf: str, charset: str, value: bytes) -> tuple[dict[str, str], bytes]:
    """A form in parts, said to be of a charset."""
    head = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = head % (b"csrf", csrf.encode()) + head % (b"name", value) + b"--x--\r\n"
    return {"Content-Type": f"multipart/form-data; boundary=x; {charset}"}, body


@pytest.mark.parametrize(
    "charset",
    [
        "charset=punycode",
        "charset=unicode_escape",
        "charset=utf-16",
        'x="a; charset=utf-8"; charset=punycode',
    ],
)
def test_forms_are_of_one_charset(service: Local, charset: str) -> None:
    """Of punycode 60 KiB take the service nearly a second, and of unicode_escape come texts that are none."""
    guest = Visiting(service)
    guest.get("/portal/sign-in")
    headers, body = of_fields(guest.csrf, charset, b"aa-" + b"a" * 60_000)
    reply = service.request("POST", "/portal/sign-in", body, guest._headers(headers))
    assert reply.status == 400
    assert "UTF-8" in text_of(reply)


def test_a_form_that_says_its_charset_is_read(service: Local) -> None:
    guest = Visiting(service)
    guest.get("/portal/sign-in")
    headers, body = of_fields(guest.csrf, "charset=UTF-8", "Åsa".encode())
    reply = service.request("POST", "/portal/sign-in", body, guest._headers(headers))
    assert (reply.status, 'value="Åsa"' in reply.body.decode()) == (400, True)


def test_what_is_typed_has_a_limit_of_its_own(
    service: Local, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "TYPED", 100_000)
    who = visiting(service, tenant.uid, Role.READER)
    assert who.post("/portal/theme", {"theme": "x" * 101_000}).status == 413
    assert who.post("/portal/theme", {"theme": "x" * 90_000}).status == 303


LONG = "9" * 5000
"""Python makes no number of so many digits."""


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda who: who.get(f"/portal/alerts/{LONG}"), 404),
        (lambda who: who.get("/portal/alerts/9223372036854775807"), 404),
        (lambda who: who.post(f"{MEMBERS}/links/{LONG}"), 404),
        (lambda who: who.post("/portal/theme", {"theme": "dark"}, headers={"Origin": "http://["}), 403),
        (lambda who: who.post("/portal/theme", {"theme": "dark"}, headers={"Origin": "null"}), 403),
        (lambda who: who.post("/portal/theme", {"theme": "dark"}, headers={"Referer": "http://["}), 303),
        (lambda who: who.post("/portal/paste/store", {"pick": LONG}), 400),
        (lambda who: who.get('/portal/indicators?after=["a","b"]'), 400),
        (lambda who: who.get('/portal/indicators?after=["a"]'), 400),
        (lambda who: who.get("/portal/indicators?after=[1,2]"), 400),
        (lambda who: who.get("/portal/indicators?after=[1]&value=abc"), 400),
        (lambda who: who.get('/portal/indicators?after=["a"]&type=Url&value=http'), 400),
        (lambda who: who.get('/portal/indicators?after=["a",1]&expiry=expired'), 400),
        (lambda who: who.get("/portal/indicators?after=[7]"), 200),
    ],
)
def test_what_cannot_be_read_is_refused(
    service: Local, tenant: TenantStore, ask: Callable[[Visiting], Reply], status: int
) -> None:
    assert ask(visiting(service, tenant.uid)).status == status


def test_a_page_that_is_nowhere_leads_to_the_sign_in(service: Local) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://["}
    reply = Visiting(service).get("/portal/alerts", headers=headers)
    assert (reply.status, reply.headers["hx-redirect"]) == (401, "/portal/sign-in")


def test_a_secret_that_cannot_be_made_leaves_no_application(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    reply = who.post("/portal/settings/threat-intel", {"days": "9", "description": "a\0"})
    assert reply.status == 400
    assert tenant.applications() == []


# Scans


def test_a_reader_ends_no_scan_of_others(service: Local, tenant: TenantStore) -> None:
    alex, kim, noor = (
        visiting(service, tenant.uid, role) for role in (Role.ANALYST, Role.READER, Role.READER)
    )
    sent = alex.post("/portal/scan", {}, files={"file": ("a.log", b"{}\n")})
    theirs = sent.headers["location"]
    for what in ("cancel", "delete"):
        refused = kim.post(f"{theirs}/{what}")
        assert refused.status == 403
        assert "began this scan" in text_of(refused)
    assert "Cancel the scan" not in text_of(kim.get(theirs))
    own = kim.post("/portal/scan", {}, files={"file": ("b.log", b"{}\n")}).headers["location"]
    assert noor.post(f"{own}/cancel").status == 403
    assert kim.post(f"{own}/cancel").status == 303
    assert alex.post(f"{own}/delete").status == 303, "an Analyst may"
    assert alex.post(f"{theirs}/delete").status == 303


class Slow(io.BytesIO):
    """A file that is read only when all who send one have begun."""

    def __init__(self, ready: threading.Event) -> None:
        super().__init__(b"{}\n")
        self._ready = ready

    def read(self, size: int | None = -1, /) -> bytes:
        self._ready.wait(10)
        return super().read(size)


def scan_of(home: Path, tenant: TenantStore, content: Slow) -> object:
    """One more scan."""
    return Scans(home, tenant).begin("a.log", content, "x", 1000, record=False)


def import_of(home: Path, tenant: TenantStore, content: Slow) -> object:
    """One more import."""
    now = datetime.now(UTC)
    asked = imports.Asked("a.csv", 0, "x", now, 1, "title", "", "", "", False, Quotas())
    return Imports(home, tenant).begin(asked, content, 1000)


@pytest.mark.parametrize(("what", "begin"), [(Scans, scan_of), (Imports, import_of)])
def test_many_files_at_once_are_not_more_than_may_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: type[Jobs[Any]],
    begin: Callable[[Path, TenantStore, Slow], object],
    database: str,
) -> None:
    """What is still coming counts, too."""
    monkeypatch.setattr(what, "unfinished", 2)
    ready = threading.Event()
    refused: list[int] = []

    def send(number: int) -> None:
        try:
            begin(tmp_path, own, Slow(ready))
        except TooManyRequests:
            refused.append(number)
        if len(refused) == 4:
            ready.set()

    with opened(tmp_path / "indicia.db") as own:
        together(send, 6)
        assert len(refused) == 4
        assert len(what(tmp_path, own).every()) == 2
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(folders) == (4 if database == "sqlite" else 0)
    assert {path.stat().st_mode & 0o777 for path in folders} <= {0o700}


def test_a_file_is_not_taken_where_the_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "FREE", 1 << 62)
    content = io.BytesIO(b"x" * (2 << 20))
    with opened(tmp_path / "indicia.db") as own:
        scans = Scans(tmp_path, own)
        with pytest.raises(InputError, match="too little room"):
            scans.begin("a.log", content, "x", 8 << 20, record=False)
        assert scans.every() == []
        assert not list(scans.contents.folder.iterdir())


def test_a_spool_leaves_room_on_the_disk(
    service: Local, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "FREE", 1 << 62)
    who = visiting(service, tenant.uid, Role.READER)
    reply = who.post("/portal/scan", {}, files={"file": ("a.log", b"x" * (5 << 20))})
    assert reply.status == 400
    assert "too little room" in text_of(reply)


# Outputs


def test_silent_receivers_hold_few_threads(
    service: Local, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test of an output waits for its receiver, in a thread that all tenants share."""
    who = visiting(service, tenant.uid)
    made = {"kind": "syslog", "target": "syslog+tcp://127.0.0.1:1", "name": "silent", "sends": "Opened"}
    assert who.post("/portal/settings/outputs", made).status == 303
    turns = threading.BoundedSemaphore(1)
    monkeypatch.setattr(outputs, "_TESTS", turns)
    assert who.post("/portal/settings/outputs/silent/test").status == 200
    with turns:
        assert who.post("/portal/settings/outputs/silent/test").status == 429
    assert who.post("/portal/settings/outputs/silent/test").status == 200

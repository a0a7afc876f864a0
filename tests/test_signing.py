"""The way into the portal and what may go wrong there: links, passwords, sessions, cookies, forged forms."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from argon2 import PasswordHasher

from indicia.auth import passwords, secrets
from indicia.errors import InputError, InvalidValue
from indicia.model import Actor
from indicia.store import Role, TenantStore
from indicia.web.portal import forms
from indicia.web.portal.visit import local as is_local
from service import Local, local
from visiting import HOUR, PASSWORD, Visiting, add_person, text_of, visiting

pytestmark = pytest.mark.full

OTHER = "eleven boats without oars"


@pytest.fixture
def tenant(service: Local, request: pytest.FixtureRequest) -> TenantStore:
    """A tenant of the test's own."""
    return service.store.tenant(service.store.add_tenant(request.node.name).uid)


def link(tenant: TenantStore, role: Role = Role.ANALYST, valid: timedelta = HOUR) -> str:
    """The path of a new one-time link."""
    token = secrets.make()
    tenant.members.invite(secrets.digest(token), role, "", valid)
    return f"/portal/link/{token}"


def begun(service: Local, path: str, name: str, password: str = PASSWORD) -> Visiting:
    """Somebody who has used a link, or tried to."""
    who = Visiting(service)
    who.get(path)
    who.post(path, {"name": name, "password": password, "again": password})
    return who


def is_in(who: Visiting) -> bool:
    """Whether somebody is signed in."""
    return who.get("/portal/account").status == 200


# Links


def test_a_link_makes_a_member_once(service: Local, tenant: TenantStore) -> None:
    path = link(tenant, Role.ADMINISTRATOR)
    who = begun(service, path, "Åsa")
    assert is_in(who)
    (member,) = tenant.members.all()
    assert (member.name, member.role) == ("Åsa", Role.ADMINISTRATOR)
    late = Visiting(service)
    reply = late.get(path)
    assert reply.status == 403
    assert "used before" in text_of(reply)
    late.get("/portal/sign-in")
    again = {"name": "mallory", "password": PASSWORD, "again": PASSWORD}
    assert late.post(path, again).status == 403
    assert late.post(f"{path}/join", {"name": "Åsa", "password": PASSWORD}).status == 403
    assert len(tenant.members.all()) == 1


def test_a_link_ends(service: Local, tenant: TenantStore) -> None:
    assert Visiting(service).get(link(tenant, valid=timedelta(seconds=-1))).status == 403
    path = link(tenant)
    (open_link,) = tenant.members.links()
    tenant.members.revoke_link(open_link.id)
    assert Visiting(service).get(path).status == 403
    assert Visiting(service).get("/portal/link/nothing").status == 403


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "short"}, "12 characters or more"),
        ({"password": "aaaaaaaaaaaaaaaa"}, "too few different characters"),
        ({"name": "a name of mine", "password": "A name of mine"}, "is your name"),
        ({"password": "x" * 2000}, "at most 1024"),
        ({"again": "another password"}, "twice the same"),
        ({"name": ""}, "1 to 64 printable"),
        ({"name": "x" * 65}, "1 to 64 printable"),
        ({"name": "a\u202eb"}, "1 to 64 printable"),
        ({"name": "TAKEN"}, "is taken"),
        ({"name": "\uff34aken"}, "is taken"),
    ],
)
def test_what_a_new_person_may_not_choose(
    service: Local, tenant: TenantStore, fields: dict[str, str], said: str
) -> None:
    if service.store.people.by_name("taken") is None:
        add_person(service.store, tenant.uid, "taken")
    path, who = link(tenant), Visiting(service)
    who.get(path)
    given = {"name": "fresh", "password": PASSWORD, "again": fields.get("password", PASSWORD)} | fields
    reply = who.post(path, given)
    assert reply.status == 400
    assert said in text_of(reply)
    assert PASSWORD not in reply.body.decode()
    assert not is_in(who)
    assert who.get(path).status == 200, "a link is used up by what comes of it alone"


def test_who_is_a_person_already_joins(service: Local, tenant: TenantStore) -> None:
    other = service.store.tenant(service.store.add_tenant(f"{tenant.name} 2").uid)
    who = visiting(service, tenant.uid, Role.READER)
    path = link(other)
    assert f"Join as {who.name}" in text_of(who.get(path))
    who.follow(who.post(f"{path}/join"))
    assert other.name in text_of(who.get("/portal/account"))
    # And by name and password.
    path, stranger = link(tenant, Role.ADMINISTRATOR), Visiting(service)
    stranger.get(path)
    reply = stranger.post(f"{path}/join", {"name": who.name, "password": "not the password"})
    assert reply.status == 400
    assert stranger.post(f"{path}/join", {"name": who.name, "password": PASSWORD}).status == 303
    assert tenant.members.one(who.uid).role is Role.ADMINISTRATOR
    # A link never takes a role away.
    assert who.post(f"{link(tenant, Role.READER)}/join").status == 303
    assert tenant.members.one(who.uid).role is Role.ADMINISTRATOR


def test_a_lost_password(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    helper = visiting(service, tenant.uid)
    helper.get("/portal/settings/members")
    reply = helper.post(f"/portal/settings/members/{who.uid}/reset")
    found = re.search(r"/portal/link/[\w-]{43}", reply.body.decode())
    assert found
    fresh = Visiting(service)
    assert f"new password for {who.name}" in re.sub(r"\s+", " ", text_of(fresh.get(found[0])))
    assert fresh.post(f"{found[0]}/join", {"name": who.name, "password": PASSWORD}).status == 403
    assert fresh.post(found[0], {"password": OTHER, "again": OTHER}).status == 303
    assert is_in(fresh)
    assert not is_in(who), "sessions of the old password end"
    assert Visiting(service).sign_in(who.name, PASSWORD).status == 400
    assert Visiting(service).sign_in(who.name, OTHER).status == 303


# Signing in


def test_names_and_passwords(service: Local, tenant: TenantStore) -> None:
    add_person(service.store, tenant.uid, "Renée Aoki")
    for name in ("Renée Aoki", " renée AOKI ", "Rene\u0301e Aoki"):
        who = Visiting(service)
        assert who.sign_in(name).status == 303, name
        assert is_in(who)
    wrong = Visiting(service).sign_in("Renée Aoki", "wrong")
    unknown = Visiting(service).sign_in("nobody at all", "wrong")
    assert wrong.status == unknown.status == 400
    for reply in (wrong, unknown):
        assert "Name or password is wrong." in text_of(reply)
    assert Visiting(service).sign_in("Renée Aoki", "").status == 400
    assert Visiting(service).sign_in("Renée Aoki", "\x00" * 4096).status == 400


def test_unknown_names_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    known = passwords.digest(PASSWORD)
    assert passwords.holds(PASSWORD, known)
    assert not passwords.holds(PASSWORD, None)
    assert not passwords.holds("x" * 2000, known)
    assert not passwords.holds(PASSWORD, "no digest")
    parameters = [text.split("$")[1:4] for text in (known, passwords._NOBODYS)]
    assert parameters[0] == parameters[1] == ["argon2id", "v=19", "m=19456,t=2,p=1"]


def test_an_old_digest_is_made_anew(service: Local, tenant: TenantStore) -> None:
    uid = add_person(service.store, tenant.uid, "old hand")
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    assert passwords.is_old(old)
    service.store.people.rehash(uid, old)
    assert Visiting(service).sign_in("old hand").status == 303
    kept = service.store.people.of(uid)[1]
    assert kept is not None
    assert not passwords.is_old(kept)
    assert passwords.holds(PASSWORD, kept)


def test_guessing_is_slow(service: Local, tenant: TenantStore) -> None:
    add_person(service.store, tenant.uid, "guessed")
    service.address = "192.0.2.77"
    try:
        who = Visiting(service)
        who.get("/portal/sign-in")
        fields = {"name": "guessed", "password": "a wrong password"}
        found = [who.post("/portal/sign-in", fields).status for _ in range(12)]
        assert found == [400] * 10 + [429] * 2
        reply = who.post("/portal/sign-in", {"name": "Guessed ", "password": PASSWORD})
        assert reply.status == 429, "the same name in other letters is the same"
        assert int(reply.headers["retry-after"]) > 0
        assert Visiting(service).sign_in("somebody else", "wrong").status == 400
        service.address = "192.0.2.78"
        assert Visiting(service).sign_in("guessed").status == 303, "others are not kept out by it"
    finally:
        service.address = "127.0.0.1"


def test_passwords_in_use_are_guessed_slowly_too(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    service.address = "192.0.2.79"
    try:
        form = {"old": "wrong", "new": OTHER, "again": OTHER}
        found = [who.post("/portal/account/password", form).status for _ in range(11)]
        assert found == [400] * 10 + [429]
    finally:
        service.address = "127.0.0.1"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/portal//evil.example",
        "/portal/../v1.0",
        "/portal/x\r\nSet-Cookie: a=b",
        "/portalevil",
        "javascript:alert(1)",
        "/portal/" + "x" * 5000,
        "/portal/\u0430",
        "",
    ],
)
def test_next_leads_nowhere_else(service: Local, tenant: TenantStore, target: str) -> None:
    assert is_local(target) == "/portal/"
    who = Visiting(service)
    name = f"led {abs(hash(target))}"
    add_person(service.store, tenant.uid, name)
    page = who.get(f"/portal/sign-in?next={quote(target)}").body.decode()
    assert 'name="next" value="/portal/"' in page
    reply = who.post("/portal/sign-in", {"name": name, "password": PASSWORD, "next": target})
    assert (reply.status, reply.headers["location"]) == (303, "/portal/")


def test_next_leads_back(service: Local, tenant: TenantStore) -> None:
    add_person(service.store, tenant.uid, "returning")
    who = Visiting(service)
    asked = "/portal/alerts?status=New&q=a%20b"
    location = who.get(asked).headers["location"]
    assert 'name="next" value="/portal/alerts?status=New&amp;q=a%20b"' in who.get(location).body.decode()
    fields = {"name": "returning", "password": PASSWORD, "next": asked}
    assert who.post("/portal/sign-in", fields).headers["location"] == asked


# Sessions and cookies


def test_cookies_are_kept_from_scripts_and_other_sites(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    lines = [
        *Visiting(service).get("/portal/sign-in").cookies,
        *who.post("/portal/theme", {"theme": "dark"}).cookies,
    ]
    lines += who.sign_in(who.name).cookies
    assert len(lines) >= 3
    for line in lines:
        assert line.startswith("__Host-")
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(line.split("; "))
        assert "Domain" not in line


def test_without_tls_cookies_have_no_prefix(tmp_path: Path) -> None:
    with local(tmp_path, tls=False) as plain:
        (line,) = plain.request("GET", "/portal/sign-in").cookies
        assert line.startswith("entry=")
        assert "Secure" not in line
    with local(tmp_path, tls=False, public_url="https://indicia.example/") as proxied:
        (line,) = proxied.request("GET", "/portal/sign-in").cookies
        assert line.startswith("__Host-entry=")
    with pytest.raises(InputError, match="must be a URL"), local(tmp_path, public_url="indicia.example"):
        pass


def test_a_session_that_was_planted_is_not_used(service: Local, tenant: TenantStore) -> None:
    add_person(service.store, tenant.uid, "planted")
    attacker = visiting(service, tenant.uid)
    name = next(name for name in attacker.cookies if name.endswith("indicia"))
    who = Visiting(service)
    who.cookies[name] = attacker.cookies[name]
    assert who.sign_in("planted").status == 303
    assert who.cookies[name] != attacker.cookies[name]
    assert not is_in(attacker), "what was in the browser before is no session any more"
    unknown = Visiting(service, cookies={name: "made-up"})
    assert unknown.sign_in("planted").status == 303
    assert unknown.cookies[name] != "made-up"


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Local]:
    """A service whose sessions end soon."""
    with local(tmp_path, session_idle_seconds=600, session_seconds=3600) as service:
        service.store.add_tenant("contoso")
        yield service


def aged(service: Local, column: str, seconds: int) -> None:
    """All sessions, as if time had passed."""
    with closing(sqlite3.connect(service.settings.home / "indicia.db")) as raw:
        raw.execute(f"UPDATE sessions SET {column} = {column} - ?", (seconds * 1_000_000,))
        raw.commit()


def test_sessions_end(hasty: Local) -> None:
    who = visiting(hasty, "contoso")
    aged(hasty, "seen_at", 590)
    assert is_in(who)
    aged(hasty, "seen_at", 590)
    assert is_in(who), "it was used a moment ago"
    aged(hasty, "seen_at", 610)
    assert not is_in(who)
    who.sign_in(who.name)
    page = who.get("/portal/account").body.decode()
    assert len(re.findall(r"/portal/account/sessions/\d+", page)) == 1, "what is over is not listed"
    busy = visiting(hasty, "contoso")
    aged(hasty, "expires_at", 3599)
    assert is_in(busy)
    aged(hasty, "expires_at", 2)
    assert not is_in(busy), "however much it is used"


def test_what_a_page_asks_by_itself_keeps_nobody_signed_in(hasty: Local) -> None:
    who = visiting(hasty, "contoso")
    for _ in range(2):
        aged(hasty, "seen_at", 290)
        assert who.get("/portal/account", {"X-Background": "1"}).status == 200
    aged(hasty, "seen_at", 290)
    assert not is_in(who)


def test_signing_out(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    other = Visiting(service)
    other.sign_in(who.name)
    kept = dict(who.cookies)
    reply = who.post("/portal/sign-out")
    assert "You are signed out." in text_of(who.follow(reply))
    assert not is_in(Visiting(service, cookies=kept)), "its token is worth nothing"
    assert is_in(other)
    third = Visiting(service)
    third.sign_in(who.name)
    assert is_in(third)
    third.post("/portal/account/sessions")
    assert not is_in(third)
    assert not is_in(other)


def test_ending_one_session(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    other = Visiting(service)
    other.sign_in(who.name)
    ids = re.findall(r"/portal/account/sessions/(\d+)", who.get("/portal/account").body.decode())
    assert len(ids) == 2
    stranger = visiting(service, tenant.uid)
    for number in ids:
        assert stranger.post(f"/portal/account/sessions/{number}").status == 404
    for number in ids:
        who.post(f"/portal/account/sessions/{number}")
    assert not is_in(who)
    assert not is_in(other)


def test_another_password_ends_other_sessions(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    other = Visiting(service)
    other.sign_in(who.name)
    for fields, said in (
        ({"old": "wrong", "new": OTHER, "again": OTHER}, "Is wrong"),
        ({"old": PASSWORD, "new": "short", "again": "short"}, "12 characters"),
        ({"old": PASSWORD, "new": OTHER, "again": PASSWORD}, "twice the same"),
    ):
        reply = who.post("/portal/account/password", fields)
        assert reply.status == 400
        assert said in text_of(reply)
    reply = who.post("/portal/account/password", {"old": PASSWORD, "new": OTHER, "again": OTHER})
    assert "password is changed" in text_of(who.follow(reply))
    assert is_in(who)
    assert not is_in(other)
    assert Visiting(service).sign_in(who.name, PASSWORD).status == 400
    assert Visiting(service).sign_in(who.name, OTHER).status == 303


def test_a_stolen_store_lets_nobody_in(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        tenant = service.store.tenant(service.store.add_tenant("contoso").uid)
        path = link(tenant)
        who = visiting(service, "contoso")
        (token,) = (value for name, value in who.cookies.items() if name.endswith("indicia"))
        for row in columns(tmp_path, ("sessions", "links", "people")):
            for stolen in row:
                thief = Visiting(service, cookies=dict.fromkeys(who.cookies, str(stolen)))
                assert not is_in(thief)
                assert Visiting(service).get(f"/portal/link/{quote(str(stolen), safe='')}").status != 200
    content = b"".join(file.read_bytes() for file in tmp_path.glob("indicia.db*"))
    for secret in (token, path.rpartition("/")[2], PASSWORD, who.csrf):
        assert secret.encode() not in content


def columns(home: Path, names: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Every row of some tables."""
    with closing(sqlite3.connect(home / "indicia.db")) as raw:
        return [row for name in names for row in raw.execute(f"SELECT * FROM {name}")]


# Tenants


def test_changing_the_tenant(service: Local, tenant: TenantStore) -> None:
    second = service.store.tenant(service.store.add_tenant(f"{tenant.name} 2").uid)
    third = service.store.tenant(service.store.add_tenant(f"{tenant.name} 3").uid)
    who = visiting(service, tenant.uid, Role.ADMINISTRATOR)
    who.post(f"{link(second, Role.READER)}/join")
    page = who.get("/portal/account")
    assert f"Reader of {second.name}" in text_of(page)
    before = dict(who.cookies)
    assert who.post("/portal/tenant", {"tenant": third.uid}).status == 404
    assert who.post("/portal/tenant", {"tenant": tenant.uid}).status == 303
    assert f"Administrator of {tenant.name}" in text_of(who.get("/portal/account"))
    assert not is_in(Visiting(service, cookies=before)), "another tenant is another session"
    assert who.get("/portal/settings/members").status == 200
    who.post("/portal/tenant", {"tenant": second.uid})
    assert who.get("/portal/settings/members").status == 403
    second.members.remove(who.uid)
    assert not is_in(who)


# Members


def test_members_are_managed(service: Local, tenant: TenantStore) -> None:
    boss, mate = visiting(service, tenant.uid), visiting(service, tenant.uid, Role.READER)
    base = f"/portal/settings/members/{mate.uid}"
    boss.get("/portal/settings/members")
    assert "is Analyst now" in text_of(boss.follow(boss.post(f"{base}/role", {"role": "Analyst"})))
    assert boss.post(f"{base}/role", {"role": "Root"}).status == 400
    assert tenant.members.one(mate.uid).role is Role.ANALYST
    assert boss.post(f"{base}/disable").status == 303
    assert not is_in(mate)
    assert "disabled there" in text_of(Visiting(service).sign_in(mate.name))
    assert boss.post(f"{base}/enable").status == 303
    assert Visiting(service).sign_in(mate.name).status == 303
    assert boss.post(f"{base}/remove").status == 303
    assert boss.post(f"{base}/remove").status == 404
    assert [member.uid for member in tenant.members.all()] == [boss.uid]
    actions = [
        str(one.action) for one in tenant.audit_log() if one.set_name == "People" and one.by == boss.name
    ]
    assert actions == ["Create", "Change", "Change", "Change", "Delete"], "the first one is itself"


def test_the_last_administrator_stays(service: Local, tenant: TenantStore) -> None:
    boss = visiting(service, tenant.uid)
    members = tenant.members
    for change in (
        lambda: members.change_role(boss.uid, Role.ANALYST),
        lambda: members.disable(boss.uid),
        lambda: members.remove(boss.uid),
    ):
        with pytest.raises(InvalidValue, match="is the last administrator"):
            change()
    for what in ("role", "disable", "remove"):
        reply = boss.post(f"/portal/settings/members/{boss.uid}/{what}", {"role": "Reader"})
        assert reply.status == 400
        assert "nobody changes their own membership" in text_of(reply).lower()
    second = visiting(service, tenant.uid)
    members.disable(second.uid)
    with pytest.raises(InvalidValue, match="is the last administrator"):
        members.remove(boss.uid)
    members.remove(second.uid)


def test_many_members_are_pages(service: Local, tenant: TenantStore) -> None:
    boss = visiting(service, tenant.uid)
    for number in range(51):
        add_person(service.store, tenant.uid, f"m {tenant.name} {number:02}", Role.READER)
    page = boss.get("/portal/settings/members").body.decode()
    found = re.search(r'href="(/portal/settings/members\?after=[^"]+)" rel="next"', page)
    assert found
    assert page.count("/portal/settings/members/") == 50
    rest = boss.get(found[1]).body.decode()
    assert rest.count("/portal/settings/members/") == 2
    assert 'rel="next"' not in rest


def test_a_member_is_signed_out_by_an_administrator(service: Local, tenant: TenantStore) -> None:
    boss, mate = visiting(service, tenant.uid), visiting(service, tenant.uid, Role.READER)
    page = boss.get(f"/portal/settings/members/{mate.uid}")
    assert mate.name in text_of(page)
    assert boss.post(f"/portal/settings/members/{mate.uid}/sign-out").status == 303
    assert not is_in(mate)
    assert is_in(boss)


def test_an_invitation_is_shown_once(service: Local, tenant: TenantStore) -> None:
    boss = visiting(service, tenant.uid)
    boss.get("/portal/settings/members")
    reply = boss.post("/portal/settings/members", {"name": "Noor", "role": "Analyst"})
    assert reply.status == 201
    found = re.search(r"https://127\.0\.0\.1:8443(/portal/link/[\w-]{43})", reply.body.decode())
    assert found
    page = boss.get("/portal/settings/members")
    assert found[1] not in page.body.decode()
    assert "Noor" in text_of(page)
    assert 'value="Noor"' in Visiting(service).get(found[1]).body.decode()
    assert boss.post("/portal/settings/members", {"name": "x" * 65, "role": "Reader"}).status == 400
    assert boss.post("/portal/settings/members", {"role": "Root"}).status == 400
    (open_link,) = tenant.members.links()
    boss.post(f"/portal/settings/members/links/{open_link.id}")
    assert Visiting(service).get(found[1]).status == 403


def test_nobody_takes_over_a_password_of_another_tenant(service: Local, tenant: TenantStore) -> None:
    second = service.store.tenant(service.store.add_tenant(f"{tenant.name} 2").uid)
    both = visiting(service, second.uid)
    both.post(f"{link(tenant, Role.READER)}/join")
    boss = visiting(service, tenant.uid)
    reply = boss.post(f"/portal/settings/members/{both.uid}/reset")
    assert reply.status == 403
    assert "indicia admin reset --name" in text_of(reply)


# Forms


def test_forms_have_limits(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    guest = Visiting(service)
    guest.get("/portal/sign-in")
    assert guest.post("/portal/sign-in", {"name": "x" * 70_000}).status == 413
    large = b"x" * (5 * 1024 * 1024)
    assert who.post("/portal/theme", {"theme": "x"}, files={"file": ("a.txt", large)}).status == 413
    many = [("a", "")] * (forms.FIELDS + 1)
    assert who.post("/portal/theme", many).status == 400
    json = who.post("/portal/theme", {}, headers={"Content-Type": "application/json"})
    assert json.status == 415
    broken = who.post("/portal/theme", {}, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert broken.status in (400, 403)
    assert "Traceback" not in text_of(broken)


def test_the_theme_is_kept(service: Local, tenant: TenantStore) -> None:
    who = visiting(service, tenant.uid)
    referer = {"Referer": "https://127.0.0.1:8443/portal/settings/members?x=1"}
    reply = who.post("/portal/theme", {"theme": "dark"}, headers=referer)
    assert reply.headers["location"] == "/portal/settings/members?x=1"
    assert '<html lang="en" data-theme="dark">' in who.get("/portal/account").body.decode()
    who.post("/portal/theme", {"theme": ""}, headers={"Referer": "https://evil.example/portal/x"})
    assert "data-theme" not in who.get("/portal/account").body.decode()


def test_a_changed_member_acts_as_of_now(service: Local, tenant: TenantStore) -> None:
    visiting(service, tenant.uid)
    who = visiting(service, tenant.uid)
    tenant.acting(Actor("tests")).members.change_role(who.uid, Role.READER)
    assert who.get("/portal/settings/members").status == 403
    assert datetime.now(UTC) - tenant.members.one(who.uid).created_at < HOUR

"""Signing on at an OpenID Connect provider: one that others made, and one of ours that can lie."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from indicia import settings as settings_of
from indicia.auth import sign_on
from indicia.errors import InputError
from indicia.store import Member, Role
from service import Local, Reply, free_port, local, wait_until
from visiting import Visiting, add_person, text_of

pytestmark = pytest.mark.full

KEY, STRANGER = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
SECRET = "a secret with a + and a /"
AHEAD = 300


@dataclass
class Provider:
    """An OpenID Connect provider that checks what it is sent, and lies on request."""

    url: str
    asked: dict[str, str] = field(default_factory=dict)
    """What the browser brought last."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the id_token; None takes one away."""
    key: Any = field(default_factory=lambda: KEY)
    alg: str = "RS256"
    issuer: str = ""
    """What discovery says, if not the truth."""
    code: str = ""
    name: str = "mika"
    refused: str = ""
    """Why the token endpoint refused last."""

    def discovery(self) -> dict[str, Any]:
        """The metadata."""
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer or self.url, **{k: f"{self.url}/{v}" for k, v in names.items()}}

    def authorize(self, url: str) -> dict[str, str]:
        """Somebody signs on there; what is answered by the browser's next request."""
        self.asked = dict(parse_qsl(urlsplit(url).query))
        self.code = f"code {time.monotonic_ns()}"
        return {"code": self.code, "state": self.asked["state"]}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """RFC 6749 4.1.3 with RFC 7636 4.6."""
        pair = "indicia:a%20secret%20with%20a%20%2B%20and%20a%20%2F"
        wanted = {
            "code": (form.get("code"), self.code),
            "redirect_uri": (form.get("redirect_uri"), self.asked["redirect_uri"]),
            "code_verifier": (
                sign_on.challenge(form.get("code_verifier", "")),
                self.asked["code_challenge"],
            ),
            "client": (authorization, f"Basic {base64.b64encode(pair.encode()).decode()}"),
        }
        self.refused = ", ".join(name for name, (given, right) in wanted.items() if given != right)
        if self.refused:
            return 400, {"error": "invalid_grant"}
        self.code = ""
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.url, "aud": "indicia", "sub": f"id of {self.name}", "iat": now}
        claims |= {"exp": now + AHEAD, "nonce": self.asked["nonce"], "groups": ["soc"]}
        claims |= {"preferred_username": self.name} | self.claims
        kept = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.alg, "kid": "one"}
        return 200, {"id_token": jwt.encode(header, kept, self.key, algorithms=[self.alg])}

    def table(self, folder: Path, **changes: Any) -> dict[str, Any]:
        """Its table in `config.toml`."""
        file = folder / "oidc-secret"
        file.write_text(f"{SECRET}\n", "utf-8")
        made: dict[str, Any] = {
            "name": "corp",
            "title": "Corp",
            "issuer": self.url,
            "client_id": "indicia",
            "client_secret_file": str(file),
            "tenant": "contoso",
            "roles_claim": "groups",
            "roles": {"soc": "Analyst", "soc-admins": "Administrator"},
            "emails": {"kim@example.com": "Administrator", "@example.com": "Reader"},
        }
        return {name: value for name, value in (made | changes).items() if value is not None}


@contextmanager
def provider() -> Iterator[Provider]:
    """One on a free port of loopback."""
    made: list[Provider] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = {"keys": [{"kid": "one", "use": "sig", **KEY.as_dict(private=False)}]}
            self._answer(200, listed if self.path == "/keys" else made[0].discovery())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*made[0].token(dict(parse_qsl(body)), self.headers.get("Authorization", "")))

        def _answer(self, status: int, content: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Provider(f"http://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Corp:
    """A service and the provider that it trusts."""

    service: Local
    provider: Provider
    name: str = "mika"

    @property
    def member(self) -> Member:
        """Who has signed on, here."""
        found = self.service.store.tenant("contoso").members.all()
        return next(one for one in found if one.name == self.name)

    def sign_on(self, who: Visiting, **changes: str) -> Reply:
        """From the sign-in page to the provider and back; `changes` of what the browser brings back."""
        reply = who.get("/portal/sign-on/corp?next=/portal/account")
        assert reply.status == 303, text_of(reply)
        answer = self.provider.authorize(reply.headers["location"]) | changes
        return who.get(f"/portal/sign-on/corp/back?{_query(answer)}")

    def refused(self, said: str, status: int = 401, **changes: str) -> None:
        """A sign-on comes to nothing, and says why."""
        who = Visiting(self.service)
        reply = self.sign_on(who, **changes)
        assert reply.status == status
        assert said in text_of(reply)
        assert who.get("/portal/account").status == 303
        assert not {name for name in who.cookies if "sign-on" in name}


def _query(pairs: dict[str, str]) -> str:
    from urllib.parse import urlencode  # noqa: PLC0415

    return urlencode(pairs)


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corp]:
    """The tenant contoso, which trusts a provider."""
    home = tmp_path_factory.mktemp("home")
    with provider() as found, local(home, sign_on=(found.table(home),)) as service:
        service.store.add_tenant("contoso")
        yield Corp(service, found)


@pytest.fixture
def corp(trusting: Corp) -> Corp:
    """The same, and at the provider somebody new, of whom it tells the truth."""
    trusting.name = f"mika {next(_NUMBERS)}"
    trusting.provider.name, trusting.provider.claims = trusting.name, {}
    trusting.provider.key, trusting.provider.alg = KEY, "RS256"
    return trusting


_NUMBERS = itertools.count(1)


def test_somebody_signs_on(corp: Corp) -> None:
    who = Visiting(corp.service)
    page = who.get("/portal/sign-in?next=/portal/account")
    assert 'href="/portal/sign-on/corp?next=/portal/account"' in page.body.decode()
    reply = corp.sign_on(who)
    assert (reply.status, reply.headers["location"]) == (303, "/portal/account")
    page = who.follow(reply)
    assert corp.name in text_of(page)
    assert corp.provider.url in text_of(page)
    assert (corp.member.role, corp.member.issuer) == (Role.ANALYST, corp.provider.url)
    assert corp.provider.asked["redirect_uri"] == "https://127.0.0.1:8443/portal/sign-on/corp/back"
    entries = [one for one in corp.service.store.tenant("contoso").audit_log() if one.by == corp.name]
    assert [(str(one.action), str(one.through)) for one in entries] == [
        ("Create", "Portal"),
        ("SignIn", "Portal"),
    ]


def test_the_role_is_that_of_today(corp: Corp) -> None:
    for claims, role in (
        ({"groups": ["soc", "soc-admins"]}, Role.ADMINISTRATOR),
        ({"groups": "soc other"}, Role.ANALYST),
        ({"groups": None, "email": "M@Example.com", "email_verified": True}, Role.READER),
        ({"groups": None, "email": "kim@example.com", "email_verified": True}, Role.ADMINISTRATOR),
    ):
        corp.provider.claims = claims
        assert corp.sign_on(Visiting(corp.service)).status == 303
        assert corp.member.role is role


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"groups": ["Administrator"]}, "nothing that is said of you is mapped"),
        ({"groups": None, "email": "kim@example.com"}, "nothing that is said of you is mapped"),
        (
            {"groups": None, "email": "kim@example.com", "email_verified": "true"},
            "nothing that is said of you is mapped",
        ),
        ({"groups": None, "email": "x@example.com.evil", "email_verified": True}, "nothing that is said"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"aud": "other"}, "for another client"),
        ({"aud": ["indicia", "other"]}, "for another client (azp)"),
        ({"azp": "other"}, "for another client (azp)"),
        ({"nonce": "replayed"}, "another sign-on (nonce)"),
        ({"nonce": None}, "another sign-on (nonce)"),
        ({"exp": 1}, "has expired"),
        ({"exp": None}, "usable claim exp"),
        ({"nbf": 99999999999}, "does not hold yet"),
        ({"sub": None}, "usable claim sub"),
        ({"sub": "a\x1b[31m"}, "usable claim sub"),
    ],
)
def test_what_does_not_hold(corp: Corp, claims: dict[str, Any], said: str) -> None:
    corp.provider.claims = claims
    corp.refused(said)


def test_a_token_of_somebody_else(corp: Corp) -> None:
    corp.provider.key = STRANGER
    corp.refused("does not hold")
    corp.provider.key, corp.provider.alg = OctKey.import_key("k" * 32), "HS256"
    corp.refused("does not hold")


def test_an_answer_that_was_not_asked_for(corp: Corp) -> None:
    corp.refused("was not begun in this browser", 403, state="another")
    corp.refused("another provider (iss)", iss="https://evil.example")
    corp.refused("refuses the sign-on", code="guessed")
    assert corp.provider.refused == "code"
    corp.refused("Corp says: not today", error="access_denied", error_description="not today")
    # Login CSRF: a victim's browser is sent the answer that an attacker was given.
    attacker, victim = Visiting(corp.service), Visiting(corp.service)
    started = attacker.get("/portal/sign-on/corp")
    answer = corp.provider.authorize(started.headers["location"])
    back = f"/portal/sign-on/corp/back?{_query(answer)}"
    assert victim.get(back).status == 403
    assert attacker.get(back).status == 303
    # The cookie of a sign-on is good for one answer.
    assert attacker.get(back).status == 403


def test_a_verifier_of_another_sign_on_is_refused_there(corp: Corp) -> None:
    who = Visiting(corp.service)
    first = who.get("/portal/sign-on/corp")
    kept = dict(who.cookies)
    who.get("/portal/sign-on/corp")
    answer = corp.provider.authorize(first.headers["location"])
    name = next(name for name in kept if "sign-on" in name)
    content = json.loads(base64.urlsafe_b64decode(who.cookies[name]))
    content["state"] = answer["state"]
    who.cookies[name] = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    assert who.get(f"/portal/sign-on/corp/back?{_query(answer)}").status == 401
    assert corp.provider.refused == "code_verifier"


def test_no_name_there_takes_over_a_person_here(corp: Corp) -> None:
    uid = add_person(corp.service.store, "contoso", corp.name.upper())
    assert corp.sign_on(Visiting(corp.service)).status == 303
    found = {member.name: member for member in corp.service.store.tenant("contoso").members.all()}
    assert found[corp.name.upper()].uid == uid
    assert found[f"{corp.name} (2)"].role is Role.ANALYST
    refused = Visiting(corp.service).sign_in(f"{corp.name} (2)", "")
    assert refused.status == 400


def test_who_is_disabled_here_stays_so(corp: Corp) -> None:
    who = Visiting(corp.service)
    assert corp.sign_on(who).status == 303
    corp.service.store.tenant("contoso").members.disable(corp.member.uid)
    assert who.get("/portal/account").status == 303
    corp.refused("disabled in this tenant", 403)


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    table = Provider(f"http://127.0.0.1:{free_port()}").table(tmp_path)
    with local(tmp_path, sign_on=(table,)) as service:
        reply = Visiting(service).get("/portal/sign-on/corp")
        assert reply.status == 503
        reply = Visiting(service).get("/portal/sign-on/corp")
        assert (reply.status, reply.headers["retry-after"]) == (503, "30")
        assert Visiting(service).get("/portal/sign-on/other").status == 303


def test_a_provider_that_says_to_be_another(tmp_path: Path) -> None:
    with provider() as found, local(tmp_path, sign_on=(found.table(tmp_path),)) as service:
        found.issuer = "https://login.example.com"
        reply = Visiting(service).get("/portal/sign-on/corp")
        assert reply.status == 503
        assert "says that it is" in text_of(reply)


def test_a_tenant_by_a_claim(tmp_path: Path) -> None:
    with provider() as found:
        changes = {"tenant": None, "tenant_claim": "org", "tenants": {"o1": "contoso", "o2": "lost"}}
        with local(tmp_path, sign_on=(found.table(tmp_path, **changes),)) as service:
            service.store.add_tenant("contoso")
            corp = Corp(service, found)
            found.claims = {"org": "o1"}
            assert corp.sign_on(Visiting(service)).status == 303
            found.claims = {"org": "o2"}
            corp.refused("mapped to a tenant that is not there")
            found.claims = {"org": "o3"}
            corp.refused("is mapped to no tenant")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"issuer": "http://login.example.com"}, "https URL"),
        ({"issuer": None}, "needs issuer"),
        ({"name": "Corp Ltd"}, "small letters"),
        ({"roles": {"soc": "Root"}}, "must be one of Reader, Analyst, Administrator"),
        ({"roles": None, "emails": None}, "needs roles or emails"),
        ({"roles": "soc"}, "must be a table"),
        ({"tenant": None}, "needs either tenant"),
        ({"client_secret_file": "/nowhere/secret"}, "cannot be read"),
    ],
)
def test_a_table_that_is_wrong(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    table = Provider("https://login.example.com").table(tmp_path, **changes)
    with pytest.raises(InputError, match=re.escape(said)), local(tmp_path, sign_on=(table,)):
        pass


def test_tables_are_read_and_remembered(tmp_path: Path) -> None:
    table = Provider("https://login.example.com").table(tmp_path)
    settings = settings_of.Settings(home=tmp_path, sign_on=(table,))
    settings_of.remember(settings)
    assert settings_of.read(tmp_path, {}).sign_on == (table,)
    with pytest.raises(InputError, match="there twice"), local(tmp_path, sign_on=(table, table)):
        pass


@pytest.mark.full
def test_a_provider_that_others_made(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://localhost:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    claims = {"sub": "kim-1", "groups": ["soc"], "preferred_username": "kim"}
    process = subprocess.Popen(
        [*command, "--user-claims", json.dumps(claims), "--require-nonce", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(20, lambda: _answers(url))
        with local(tmp_path, sign_on=(Provider(url).table(tmp_path),)) as service:
            service.store.add_tenant("contoso")
            who = Visiting(service)
            started = who.get("/portal/sign-on/corp")
            signed = requests.post(
                started.headers["location"], data={"sub": "kim-1"}, allow_redirects=False, timeout=10
            )
            back = urlsplit(signed.headers["location"])
            assert "code" in parse_qs(back.query), back
            reply = who.get(f"{back.path}?{back.query}")
            assert reply.status == 303, text_of(reply)
            (member,) = service.store.tenant("contoso").members.all()
            assert (member.role, member.issuer) == (Role.ANALYST, url)
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/.well-known/openid-configuration", timeout=2).ok
    except requests.RequestException:
        return False

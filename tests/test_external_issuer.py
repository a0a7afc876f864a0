"""Tokens of other issuers: a small OpenID Connect provider on loopback is the other side."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from indicia import settings as settings_of
from indicia.auth import certificates, external
from indicia.auth.external import ExternalIssuer, FetchedKeys, parse, read_keys
from indicia.errors import InputError, KeysUnavailable, Unauthorized
from indicia.settings import Settings
from indicia.web import app, jwks
from indicia.web.gate import external_issuers
from service import DEFINITION, Client, Local, add_access, local

pytestmark = pytest.mark.full

AUDIENCE = "api://indicia"
KEY, NEXT, EC_KEY, STRANGER = (
    RSAKey.generate_key(2048),
    RSAKey.generate_key(2048),
    ECKey.generate_key("P-256"),
    RSAKey.generate_key(2048),
)


@dataclass
class Provider:
    """An OpenID Connect provider that publishes keys and signs what it is asked to."""

    url: str
    keys: dict[str, RSAKey | ECKey] = field(default_factory=lambda: {"one": KEY})
    body: bytes | None = None
    """What is answered in the place of the keys."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    asked: int = 0

    def jwks(self) -> bytes:
        """What is answered."""
        self.asked += 1
        if self.body is not None:
            return self.body
        listed = [{"kid": kid, "use": "sig", **key.as_dict(private=False)} for kid, key in self.keys.items()]
        return json.dumps({"keys": listed}).encode()

    def token(self, kid: str | None = "one", alg: str = "RS256", key: Any = None, **changes: Any) -> str:
        """A token, with some claims changed; None takes one away."""
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.url, "aud": AUDIENCE, "sub": "mika", "org": "one"}
        claims |= {
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "realm_access": {"roles": ["analyst"]},
            **changes,
        }
        header = {"alg": alg, "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})
        chosen = key or self.keys.get(kid or "one") or KEY
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, kept, chosen, algorithms=[alg])

    def table(self, **changes: Any) -> dict[str, Any]:
        """Its table in `config.toml`."""
        made: dict[str, Any] = {
            "issuer": self.url,
            "jwks_url": f"{self.url}/keys",
            "audience": AUDIENCE,
            "tenant_claim": "org",
            "tenants": {"one": "contoso", "two": "fabrikam", "lost": "nobody"},
            "roles_claim": "realm_access.roles",
            "roles": {"analyst": ["Ti.ReadWrite", "Alert.Read"], "viewer": ["Ti.Read"]},
        }
        return {name: value for name, value in (made | changes).items() if value is not None}


@contextmanager
def provider(context: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """A provider on a free port of loopback."""
    made: list[Provider] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made[0].jwks()
            time.sleep(made[0].delay)
            self.send_response(made[0].status)
            for name, value in made[0].headers.items():
                self.send_header(name, value)
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked may have had enough
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        made.append(Provider(f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def oidc() -> Iterator[Provider]:
    """The provider."""
    with provider() as started:
        yield started


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One store with two tenants."""
    with local(tmp_path_factory.mktemp("home")) as started:
        for name in ("contoso", "fabrikam"):
            add_access(started.store, name)
        yield started


@pytest.fixture
def service(kept: Local, oidc: Provider) -> Iterator[Local]:
    """A service over it that trusts the provider, and knows nothing of its keys yet."""
    settings = replace(kept.settings, issuers=(oidc.table(),))
    started = Local(app.create(settings, kept.store), kept.store, settings)
    with started.runner:
        yield started


def status(service: Local, token: str) -> int:
    """What the API says: 404 to who may read, because there is nothing."""
    return Client(service, token)("GET", "AlertDefinitions(999999)").status


def test_a_token_of_theirs_is_a_caller_of_ours(service: Local, oidc: Provider) -> None:
    client = Client(service, oidc.token())
    reply = client("POST", "AlertDefinitions", DEFINITION)
    assert reply.status == 201
    assert reply.json()["CreatedBy"] == f"mika ({oidc.url})"
    assert client("GET", f"AlertDefinitions({reply.json()['Id']})").status == 200
    assert oidc.asked == 1
    other = Client(service, oidc.token(org="two"))
    assert other("GET", f"AlertDefinitions({reply.json()['Id']})").status == 404
    viewer = Client(service, oidc.token(realm_access={"roles": "viewer other"}))
    assert viewer("GET", f"AlertDefinitions({reply.json()['Id']})").status == 200
    assert viewer("POST", "AlertDefinitions", DEFINITION).status == 403
    for nothing in ({"roles": ["Admin", "Ti.ReadWrite"]}, {"roles": 7}, "analyst", None, {"roles": [["x"]]}):
        assert status(service, oidc.token(realm_access=nothing)) == 403
    assert oidc.asked == 1
    own = service.store.tenant("contoso")
    assert own.applications(), "our own applications go on"


def test_our_own_tokens_are_judged_by_our_own_keys(service: Local, oidc: Provider) -> None:
    access = add_access(service.store, "own")
    assert status(service, service.token(access)) == 404
    ours = f"https://127.0.0.1:8443/{access.tenant_id}/"
    assert status(service, oidc.token(iss=ours)) == 401
    assert oidc.asked == 0


@pytest.mark.parametrize("alg", ["RS256", "RS512", "PS256", "ES256"])
def test_algorithms(service: Local, oidc: Provider, alg: str) -> None:
    oidc.keys["ec"] = EC_KEY
    assert status(service, oidc.token("ec" if alg == "ES256" else "one", alg)) == 404
    with pytest.raises(InputError, match="unknown key"):
        parse(oidc.table(algorithms=["none"]), "x")


def _unsigned(oidc: Provider) -> str:
    _, claims, _ = oidc.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    return f"{header}.{claims}."


def _public_as_secret(oidc: Provider) -> str:
    secret = OctKey.import_key(base64.b64encode(KEY.as_pem(private=False)))
    return oidc.token(alg="HS256", key=secret)


BAD: Mapping[str, Any] = {
    "alg none": _unsigned,
    "HS256 with the public key": _public_as_secret,
    "another's key under our kid": lambda oidc: oidc.token(key=STRANGER),
    "EC key for RSA's kid": lambda oidc: oidc.token("one", "ES256", EC_KEY),
    "unknown kid": lambda oidc: oidc.token("two", key=KEY),
    "kid a path": lambda oidc: oidc.token("../../../dev/null", key=KEY),
    "kid an SQL": lambda oidc: oidc.token("x' UNION SELECT 'y", key=KEY),
    "wrong aud": lambda oidc: oidc.token(aud="api://other"),
    "aud a number": lambda oidc: oidc.token(aud=7),
    "no aud": lambda oidc: oidc.token(aud=None),
    "wrong iss": lambda oidc: oidc.token(iss=f"{oidc.url}/"),
    "expired": lambda oidc: oidc.token(exp=int(time.time()) - 1),
    "no exp": lambda oidc: oidc.token(exp=None),
    "exp a text": lambda oidc: oidc.token(exp="9999999999"),
    "exp infinite": lambda oidc: oidc.token(exp=float("inf")),
    "nbf in future": lambda oidc: oidc.token(nbf=int(time.time()) + 600),
    "no sub": lambda oidc: oidc.token(sub=None),
    "sub empty": lambda oidc: oidc.token(sub=""),
    "sub with a line break": lambda oidc: oidc.token(sub="a\nb"),
    "sub too long": lambda oidc: oidc.token(sub="a" * 300),
    "org unmapped": lambda oidc: oidc.token(org="three"),
    "org a list": lambda oidc: oidc.token(org=["one"]),
    "no org": lambda oidc: oidc.token(org=None),
    "tenant that is not there": lambda oidc: oidc.token(org="lost"),
    "too long": lambda oidc: oidc.token(more="x" * 20_000),
    "cut": lambda oidc: oidc.token()[:-4],
    "four parts": lambda oidc: oidc.token() + ".x",
    "nested": lambda oidc: f"e30.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.x",
}


@pytest.mark.parametrize("name", BAD)
def test_a_token_with_something_wrong_is_refused(service: Local, oidc: Provider, name: str) -> None:
    assert status(service, BAD[name](oidc)) == 401


def test_a_single_key_may_stay_unnamed(service: Local, oidc: Provider) -> None:
    assert status(service, oidc.token(None)) == 404
    other = {"a": KEY.as_dict(private=False), "b": NEXT.as_dict(private=False)}
    assert "" not in read_keys(json.dumps({"keys": [{"kid": k, **v} for k, v in other.items()]}).encode())


class Clock:
    """Seconds, set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_new_key_is_fetched_when_it_is_met_but_not_too_often(oidc: Provider) -> None:
    clock = Clock()
    found = FetchedKeys(parse(oidc.table(), "x"), jwks.fetch, clock=clock)
    assert found.find("one")
    assert oidc.asked == 1
    oidc.keys = {"two": NEXT}
    for number in range(50):
        assert found.find(f"guess-{number}") is None
    assert found.find("one")
    assert oidc.asked == 1
    clock.now += external.RETRY_SECONDS
    assert found.find("two")
    assert oidc.asked == 2
    assert found.find("one") is None, "withdrawn"
    clock.now += external.KEY_SECONDS + 1
    assert found.find("two")
    assert oidc.asked == 3


def test_keys_that_are_there_serve_while_the_provider_is_away_but_not_for_ever(oidc: Provider) -> None:
    clock = Clock()
    found = FetchedKeys(parse(oidc.table(), "x"), jwks.fetch, clock=clock)
    assert found.find("one")
    oidc.status = 500
    clock.now += external.KEY_SECONDS + 1
    assert found.find("one")
    clock.now += external.STALE_SECONDS
    with pytest.raises(KeysUnavailable):
        found.find("one")
    oidc.status = 200
    clock.now += external.RETRY_SECONDS
    assert found.find("one")


def test_a_token_is_not_remembered_longer_than_it_or_its_key_holds(oidc: Provider) -> None:
    clock = Clock()
    clock.now = time.time()
    issuer = ExternalIssuer(parse(oidc.table(), "x"), jwks.fetch, clock=clock)
    token = oidc.token()
    assert issuer.verify(token).subject == f"mika ({oidc.url})"
    assert issuer.verify(token).roles == {"Ti.ReadWrite", "Alert.Read"}
    with pytest.raises(Unauthorized, match="longer than"):
        issuer.verify(oidc.token(more="x" * 20_000))
    issuer._keys._keys = {"two": NEXT}  # as after its next fetch
    with pytest.raises(Unauthorized, match="kid"):
        issuer.verify(token)
    issuer._keys._keys = {"one": KEY}
    clock.now += 300
    for _ in range(2):
        with pytest.raises(Unauthorized, match="expired"):
            issuer.verify(token)


def test_who_comes_during_the_first_fetch_waits_for_it(oidc: Provider) -> None:
    oidc.delay = 0.2
    found = FetchedKeys(parse(oidc.table(), "x"), jwks.fetch)
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(bool(found.find("one")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8
    assert oidc.asked == 1


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("body", b"x" * (jwks.SIZE_LIMIT + 1)),
        ("body", b"not JSON"),
        ("body", b"[" * 100_000),
        ("body", b'{"keys": 7'),
        ("body", b"[]"),
        ("status", 404),
        ("status", 503),
        ("status", 302),
        ("delay", 2.0),
    ],
    ids=["large", "text", "deep", "cut", "list", "404", "503", "redirect", "slow"],
)
def test_a_provider_that_misbehaves_is_503_with_when_to_try_again(
    service: Local, oidc: Provider, monkeypatch: pytest.MonkeyPatch, what: str, value: Any
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_SECONDS", 0.5)
    setattr(oidc, what, value)
    oidc.headers["Location"] = f"{oidc.url}/elsewhere"
    for _ in range(3):
        reply = Client(service, oidc.token())("GET", "AlertDefinitions(1)")
        assert (reply.status, reply.error["code"]) == (503, "KeysUnavailable")
        assert int(reply.headers["retry-after"]) > 0
    assert oidc.asked == 1


def test_a_provider_that_drips_is_cut_off(oidc: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "DEADLINE_SECONDS", -1.0)
    with pytest.raises(KeysUnavailable, match="too slow"):
        jwks.fetch(f"{oidc.url}/keys", None)


def test_tls_by_an_authority_of_ones_own(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with provider(context) as oidc:
        assert b"keys" in jwks.fetch(f"{oidc.url}/keys", str(made.authority))
        with pytest.raises(KeysUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            jwks.fetch(f"{oidc.url}/keys", None)
        with pytest.raises(KeysUnavailable, match="No such file"):
            jwks.fetch(f"{oidc.url}/keys", str(tmp_path / "absent.pem"))


def test_of_a_key_set_only_good_signing_keys_are_taken() -> None:
    small = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 128).rstrip(b"=").decode()}
    keys = [
        {"kid": "good", **KEY.as_dict(private=False)},
        {"kid": "encryption", **NEXT.as_dict(private=False), "use": "enc"},
        {"kid": "small", **small},
        {"kid": "secret", "kty": "oct", "k": "AAAA"},
        {"kid": "broken", "kty": "RSA", "n": "!", "e": "AQAB"},
        {"kid": "partial", "kty": "RSA"},
        {"kid": "curve", "kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kid": "private", **NEXT.as_dict(private=True)},
        7,
        None,
    ]
    found = read_keys(json.dumps({"keys": keys}).encode())
    assert set(found) == {"good", "private"}
    assert not found["private"].is_private
    many = [{"kid": str(number), **EC_KEY.as_dict(private=False)} for number in range(500)]
    assert len(read_keys(json.dumps({"keys": many}).encode())) == external.KEYS


WRONG: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "no issuer": ({"issuer": None}, "needs issuer"),
    "no jwks_url": ({"jwks_url": None}, "needs jwks_url"),
    "plain HTTP": ({"jwks_url": "http://login.example.com/keys"}, "https"),
    "plain HTTP to a name": ({"jwks_url": "http://127.0.0.1.example.com/keys"}, "https"),
    "a file": ({"jwks_url": "file:///etc/passwd"}, "https"),
    "no URL": ({"jwks_url": "https://[x"}, "https"),
    "no audience": ({"audience": None}, "audience"),
    "an empty audience": ({"audience": []}, "audience"),
    "no tenant": ({"tenant_claim": None, "tenants": None}, "tenant"),
    "both tenants": ({"tenant": "contoso"}, "either tenant"),
    "a claim without map": ({"tenants": None}, "either tenant"),
    "a map without claim": ({"tenant_claim": None}, "either tenant"),
    "a tenant of a number": ({"tenants": {"one": 7}}, "tenants"),
    "no roles": ({"roles": None}, "roles"),
    "a role that is none": ({"roles": {"analyst": ["Ti.Write"]}}, "no role 'Ti.Write'"),
    "a role of a number": ({"roles": {"analyst": [7]}}, "list of texts"),
    "a key that is none": ({"jwks": "x"}, "unknown key 'jwks'"),
    "a text of a number": ({"issuer": 7}, "must be a text"),
    "ourselves": ({"issuer": "https://127.0.0.1:8443/x/"}, "this service itself"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_configuration_with_something_wrong_says_what_and_where(
    tmp_path: Path, oidc: Provider, name: str
) -> None:
    changes, told = WRONG[name]
    good, bad = oidc.table(issuer="https://good.example"), oidc.table(**changes)
    with pytest.raises(InputError, match=told) as raised:
        external_issuers(Settings(tmp_path, issuers=(good, bad)))
    assert f"{tmp_path / 'config.toml'}: issuers[1]" in str(raised.value)


def test_an_issuer_is_there_once(tmp_path: Path, oidc: Provider) -> None:
    with pytest.raises(InputError, match="there twice"):
        external_issuers(Settings(tmp_path, issuers=(oidc.table(), oidc.table())))


def test_the_configuration_of_the_manual_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "issuers.md").read_text("utf-8")
    (tmp_path / "config.toml").write_text(text.split("```toml\n")[1].split("```")[0], "utf-8")
    found = external_issuers(settings_of.read(tmp_path, {}))
    assert [one.trust.issuer for one in found] == [
        "https://login.example.com/realms/soc",
        "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0",
    ]


def test_what_is_remembered_keeps_the_issuers(tmp_path: Path, oidc: Provider) -> None:
    odd = oidc.table(
        issuer='https://x.example/"\\é\n', roles={"their role\x7f": ["Ti.Read"]}, tenants={"": "x"}
    )
    before = Settings(tmp_path, port=9443, issuers=(oidc.table(), odd))
    settings_of.remember(before)
    assert settings_of.read(tmp_path, {}) == before
    (tmp_path / "config.toml").write_text("issuers = 7\n")
    with pytest.raises(InputError, match="must be tables"):
        settings_of.read(tmp_path, {})

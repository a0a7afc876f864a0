"""Keys, secrets, tokens, roles and certificates, without a store or a socket."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import OctKey

from indicia.auth import certificates, keys, roles, secrets
from indicia.auth.memory import Memory
from indicia.auth.tokens import Credential, Grant, Issuer
from indicia.errors import Forbidden, InputError, StoreError, Unauthorized
from indicia.settings import Settings
from indicia.store import Store
from indicia.web import serve

BASE = "https://127.0.0.1:8443"
TENANT = "1a2b3c4d-0000-4000-8000-000000000001"
GRANT = Grant(TENANT, "client-1", Credential("secret", 7), ("Ti.ReadWrite",), "https://graph.windows.net")
KEY = keys.make()


class Clock:
    """Seconds since 1970, set by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def issuer(**changes: Any) -> Issuer:
    """An issuer with one key."""
    return Issuer(BASE, keys.KeyRing(lambda: [KEY]), **changes)


def forged(header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token as `GRANT` gets it, signed with the real key, with some claims changed."""
    token = issuer().issue(GRANT).token
    claims = jwt.decode(token, KEY.key, algorithms=["RS256"]).claims | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(header or {"alg": "RS256", "kid": KEY.kid}, claims, KEY.key)


def test_a_key_survives_its_pem_and_never_shows_itself() -> None:
    again = keys.from_pem(KEY.kid, keys.private_pem(KEY))
    assert again.key.as_dict(private=True) == KEY.key.as_dict(private=True)
    assert KEY.key.private_key is not None
    assert KEY.key.private_key.key_size == 2048
    assert "PRIVATE" not in repr(again)
    assert again.key.thumbprint() == KEY.kid


def test_the_published_key_is_the_public_half_alone() -> None:
    assert set(keys.public_jwk(KEY, "issuer")) == {"kty", "use", "alg", "kid", "n", "e", "issuer"}


def test_a_secret_is_256_bits_and_needs_no_quoting() -> None:
    made = {secrets.make() for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32


def test_a_secret_is_known_by_its_digest_alone() -> None:
    first, second = secrets.make(), secrets.make()
    digests = [secrets.digest(first), secrets.digest(second)]
    assert first not in digests
    assert secrets.held(second, digests) == 1
    assert secrets.held(first, digests) == 0
    assert secrets.held(secrets.make(), digests) is None
    assert secrets.held("\ud800", digests) is None
    assert secrets.hint(first) == first[:3]


@pytest.mark.parametrize(
    ("version", "iss", "client"),
    [("1.0", f"{BASE}/{TENANT}/", "appid"), ("2.0", f"{BASE}/{TENANT}/v2.0", "azp")],
)
def test_a_token_says_what_azure_ad_says(version: Any, iss: str, client: str) -> None:
    grant = Grant(
        TENANT, "client-1", Credential("certificate", 7), ("Ti.Read",), "https://graph.microsoft.com", version
    )
    issued = issuer(clock=Clock()).issue(grant)
    token = jwt.decode(issued.token, KEY.key, algorithms=["RS256"])
    assert token.header == {"typ": "JWT", "alg": "RS256", "kid": KEY.kid}
    claims = token.claims
    assert claims["iss"] == iss
    assert claims[client] == claims["sub"] == "client-1"
    assert (claims["tid"], claims["ver"], claims["aud"]) == (TENANT, version, grant.resource)
    assert claims["roles"] == ["Ti.Read"]
    assert claims["iat"] == claims["nbf"] == 1_800_000_000
    assert claims["exp"] == issued.expires_on == 1_800_003_599
    assert len(claims["uti"]) == 22
    assert claims["credential"] == "certificate/7"
    assert claims["appidacr" if version == "1.0" else "azpacr"] == "2"


def test_a_token_holds_until_it_expires_also_from_the_cache() -> None:
    clock = Clock()
    ours = issuer(clock=clock)
    token = ours.issue(GRANT).token
    assert ours.verify(token).grant == GRANT
    clock.now += 3598
    assert ours.verify(token).grant == GRANT
    clock.now += 1
    for _ in range(2):
        with pytest.raises(Unauthorized, match="expired"):
            ours.verify(token)


def test_the_memory_of_verified_tokens_is_bounded() -> None:
    memory: Memory[int] = Memory(100)
    for number in range(1000):
        memory.put(str(number).encode(), number)
    assert len(memory) == 100
    assert memory.find(b"899") is None
    assert memory.find(b"900") == 900


FIRST = issuer().issue(GRANT).token


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": f"{BASE}/another/"},
        {"iss": "https://login.windows.net/x/"},
        {"iss": f"{BASE}/{TENANT}/v2.0"},
        {"tid": "another"},
        {"tid": None},
        {"aud": "https://management.azure.com"},
        {"aud": ["https://graph.windows.net"]},
        {"nbf": 9_000_000_000},
        {"nbf": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "9000000000"},
        {"ver": "3.0"},
        {"ver": None},
        {"credential": None},
        {"credential": 7},
        {"credential": "secret"},
        {"credential": "secret/"},
        {"credential": "secret/-1"},
        {"credential": "secret/7/8"},
        {"credential": "secret/" + "9" * 19},
        {"credential": "password/7"},
        {"roles": None},
        {"roles": "Admin"},
        {"sub": None},
        {"appid": "another"},
    ],
    ids=str,
)
def test_a_signed_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        issuer().verify(forged(**changes))


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _none() -> str:
    _, claims, _ = FIRST.split(".")
    return f"{_part({'alg': 'none', 'kid': KEY.kid})}.{claims}."


def _hs256() -> str:
    """The public key as an HMAC secret."""
    claims = jwt.decode(FIRST, KEY.key, algorithms=["RS256"]).claims
    public = KEY.key.as_pem(private=False)
    return jwt.encode({"alg": "HS256", "kid": KEY.kid}, claims, OctKey.import_key(base64.b64encode(public)))


def _own_key() -> str:
    """Signed by a key of the attacker that the header brings along under our kid."""
    other = keys.make()
    claims = jwt.decode(FIRST, KEY.key, algorithms=["RS256"]).claims
    return jwt.encode({"alg": "RS256", "kid": KEY.kid}, claims, other.key)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "..",
        FIRST[:-3] + "AAA",
        FIRST + ".",
        "." + FIRST,
        FIRST.replace(".", "..", 1),
        "é" * 10,
        "\ud800",
        "A" * 20_000,
        "[" * 3000,
        _none(),
        _hs256(),
        _own_key(),
        forged({"alg": "RS256", "kid": "unknown"}),
        forged({"alg": "RS256"}),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        issuer().verify(token)


def test_a_retired_key_verifies_and_signs_nothing() -> None:
    retired = keys.SigningKey(KEY.kid, KEY.key, signs=False)
    fresh = keys.make()
    ours = Issuer(BASE, keys.KeyRing(lambda: [fresh, retired]))
    assert ours.verify(FIRST).grant == GRANT
    assert jwt.decode(ours.issue(GRANT).token, fresh.key, algorithms=["RS256"]).header["kid"] == fresh.kid


def test_the_new_key_signs_when_the_old_one_is_retired_and_a_removed_one_verifies_nothing() -> None:
    clock = Clock()
    old, new = keys.make(), keys.make()
    held = [old]
    ours = Issuer(BASE, keys.KeyRing(lambda: list(held), clock=clock))
    before = ours.issue(GRANT).token
    assert ours.verify(before).kid == old.kid

    held[:] = [new, old]  # published, not signing yet
    assert [key.kid for key in ours.ring.every()] == [old.kid], "read again after RELOAD_SECONDS only"
    clock.now += keys.RELOAD_SECONDS
    assert [key.kid for key in ours.ring.every()] == [new.kid, old.kid]
    assert ours.verify(ours.issue(GRANT).token).kid == old.kid

    held[:] = [new, keys.SigningKey(old.kid, old.key, signs=False)]
    clock.now += keys.RELOAD_SECONDS
    assert ours.verify(ours.issue(GRANT).token).kid == new.kid
    assert ours.verify(before).grant == GRANT

    held[:] = [new]
    clock.now += keys.RELOAD_SECONDS
    with pytest.raises(Unauthorized, match="kid"):
        ours.verify(before)


def test_where_no_key_signs_the_store_is_at_fault() -> None:
    with pytest.raises(StoreError, match="indicia keys rotate"):
        Issuer(BASE, keys.KeyRing(lambda: [keys.SigningKey(KEY.kid, KEY.key, signs=False)])).issue(GRANT)


def test_a_key_that_another_process_made_is_known_within_a_second() -> None:
    clock = Clock()
    held = [KEY]
    ring = keys.KeyRing(lambda: list(held), clock=clock)
    fresh = keys.make()
    held.insert(0, fresh)
    assert ring.find(fresh.kid) is None
    clock.now += keys.UNKNOWN_SECONDS
    assert ring.find(fresh.kid) is fresh


@pytest.mark.parametrize(
    ("resource", "known"),
    [
        ("https://graph.windows.net", True),
        ("https://graph.windows.net/", True),
        ("https://graph.microsoft.com", True),
        (BASE, True),
        (f"{BASE}/", True),
        (f"{BASE}//", False),
        ("https://graph.windows.net.evil.example", False),
        ("", False),
    ],
)
def test_resources(resource: str, known: bool) -> None:
    assert issuer().knows(resource) is known


def test_one_of_the_roles_is_enough_and_none_of_them_is_not() -> None:
    roles.require({roles.TI_WRITE}, roles.READERS)
    roles.require(set(), frozenset())
    with pytest.raises(Forbidden, match=r"lacks the role Ti\.ReadWrite; it has Ti\.Read"):
        roles.require({roles.TI_READ}, roles.WRITERS)
    with pytest.raises(Forbidden, match="it has none"):
        roles.require(set(), roles.WRITERS)


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_certificates_are_made_once_with_closed_keys(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    assert set(before) == {"ca.pem", "ca.key", "server.pem", "server.key"}
    for name in ("ca.key", "server.key"):
        assert (tmp_path / "tls" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    certificates.ensure(tmp_path, "127.0.0.1")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    leaf = _certificate(made.certificate)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=397)


def test_the_service_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    authority, leaf = made.authority.read_bytes(), made.certificate.read_bytes()
    soon = datetime.now(UTC) + timedelta(days=370)
    certificates.ensure(tmp_path, "127.0.0.1", now=soon)
    assert made.authority.read_bytes() == authority
    assert made.certificate.read_bytes() != leaf
    certificates.ensure(tmp_path, "127.0.0.1", now=soon + timedelta(days=9 * 365))
    assert made.authority.read_bytes() != authority


def test_a_further_name_makes_an_authority_for_all_names(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    authority = made.authority.read_bytes()
    certificates.ensure(tmp_path, "TI.example.com")
    assert made.authority.read_bytes() != authority
    certificates.ensure(tmp_path, "192.0.2.1")
    names = _certificate(made.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(name.value) for name in names.value] == [
        "localhost",
        "127.0.0.1",
        "::1",
        "192.0.2.1",
        "ti.example.com",
    ]


def test_a_key_that_does_not_belong_to_its_certificate_is_replaced(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    other = certificates.ensure(tmp_path / "other", "127.0.0.1")
    made.key.write_bytes(other.key.read_bytes())
    certificates.ensure(tmp_path, "127.0.0.1")
    assert made.key.read_bytes() != other.key.read_bytes()
    _handshake(made, "127.0.0.1", made.certificate, made.key)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    made.authority.write_text("not a certificate")
    with pytest.raises(InputError, match="remove it"):
        certificates.ensure(tmp_path, "127.0.0.1")


def test_any_address_means_the_name_of_this_machine() -> None:
    assert len(certificates.names_of("0.0.0.0")) >= 3
    assert certificates.names_of("localhost") == certificates.ALWAYS


def _handshake(made: certificates.Certificates, name: str, certificate: Path, key: Path) -> None:
    """A TLS handshake in memory, by OpenSSL's strict rules."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(made.authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    open_ends = list(ends)
    for _ in range(10):
        for end in list(open_ends):
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not open_ends


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "ti.example.com"])
def test_a_client_that_trusts_the_authority_accepts_the_service(tmp_path: Path, name: str) -> None:
    made = certificates.ensure(tmp_path, "ti.example.com")
    _handshake(made, name, made.certificate, made.key)


@pytest.mark.parametrize("name", ["login.windows.net", "192.0.2.7"])
def test_the_authority_cannot_vouch_for_another_name(tmp_path: Path, name: str) -> None:
    """Whoever steals ca.key still cannot pose as somebody else."""
    made = certificates.ensure(tmp_path, "127.0.0.1")
    signer = serialization.load_pem_private_key((tmp_path / "tls" / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    certificates._write_leaf(made.authority.parent, [name], datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        _handshake(made, name, made.certificate, made.key)


def test_an_address_that_cannot_be_used_changes_no_certificate(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    before = made.authority.read_bytes()
    settings = Settings(home=tmp_path, host="no-such-host.invalid", port=9)
    with Store.open(Settings(home=tmp_path).database_url) as store, pytest.raises(InputError):
        serve.run(settings, store)
    assert made.authority.read_bytes() == before


def test_an_authority_that_is_replaced_is_told(tmp_path: Path) -> None:
    assert not certificates.ensure(tmp_path, "127.0.0.1").replaced
    assert not certificates.ensure(tmp_path, "127.0.0.1").replaced
    assert certificates.ensure(tmp_path, "ti.example").replaced

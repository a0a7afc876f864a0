"""What seldom happens in auth: other threads, tokens of other issuers, keys of another kind."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import RSAKey

from indicia.auth import certificates, external, keys
from indicia.auth.assertions import Assertions
from indicia.auth.external import ExternalIssuer, FetchedKeys
from indicia.errors import GrantRefused, InputError, Unauthorized
from oauth import claims, pair, sign

TABLE: dict[str, Any] = {
    "issuer": "https://login.example",
    "jwks_url": "https://login.example/keys",
    "audience": "api://indicia",
    "tenant_claim": "org",
    "tenants": {"one": "contoso"},
    "roles_claim": "roles",
    "roles": {"analyst": ["Ti.Read"]},
}


class Slow:
    """Something that is read while another thread comes."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.times = 0
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> Any:
        """Read it."""
        self.times += 1
        self.begun.set()
        assert self.may_end.wait(10)
        return self.found


def test_who_waited_for_the_ring_of_another_thread_does_not_read_it_again() -> None:
    now = [0.0]
    key = keys.make()
    slow = Slow([key])
    slow.may_end.set()
    ring = keys.KeyRing(slow, clock=lambda: now[0])
    slow.begun.clear()
    slow.may_end.clear()
    now[0] = keys.RELOAD_SECONDS + 1
    first = threading.Thread(target=ring.every)
    first.start()
    assert slow.begun.wait(10)
    second = threading.Thread(target=ring.find, args=("unknown",))
    second.start()
    time.sleep(0.05)  # it has come to the lock by now; if it has not, it finds the ring fresh all the same
    slow.may_end.set()
    first.join(10)
    second.join(10)
    assert slow.times == 2


def test_keys_that_are_there_serve_while_another_thread_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RSAKey.generate_key(2048, {"kid": "one"})
    monkeypatch.setattr(external, "read_keys", lambda _body: {"one": known})
    now = [0.0]
    slow = Slow(b"")
    slow.may_end.set()
    fetched = FetchedKeys(external.parse(TABLE, "x"), slow, clock=lambda: now[0])
    assert fetched.find("one") is known
    slow.begun.clear()
    slow.may_end.clear()
    now[0] = external.RETRY_SECONDS + 1
    other = threading.Thread(target=fetched.find, args=("new",))
    other.start()
    assert slow.begun.wait(10)
    begin = time.monotonic()
    assert fetched.find("another") is None
    assert time.monotonic() - begin < external.WAIT_SECONDS
    slow.may_end.set()
    other.join(10)
    assert slow.times == 2


def test_an_issuer_takes_no_token_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    key = RSAKey.generate_key(2048, {"kid": "one"})
    monkeypatch.setattr(external, "read_keys", lambda _body: {"one": key})
    issuer = ExternalIssuer(external.parse(TABLE, "x"), lambda *_: b"")
    said = {"aud": "api://indicia", "sub": "mika", "org": "one", "exp": int(time.time()) + 300}
    for named, taken in (("https://login.example", True), ("https://other.example", False)):
        token = jwt.encode({"alg": "RS256", "kid": "one"}, said | {"iss": named}, key)
        if taken:
            assert issuer.verify(token).tenant == "contoso"
        else:
            with pytest.raises(Unauthorized, match="another issuer"):
                issuer.verify(token)


@dataclass(frozen=True)
class Kept:
    """A certificate as it may stand in a store that somebody has written into."""

    pem: str
    sha1: str = ""
    sha256: str = ""

    def holds(self, _now: datetime) -> bool:
        """It does."""
        return True


def test_a_certificate_of_another_kind_of_key_proves_nothing() -> None:
    given = pair()
    other = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(given.certificate.subject)
        .issuer_name(given.certificate.subject)
        .public_key(other.public_key())
        .serial_number(1)
        .not_valid_before(given.certificate.not_valid_before_utc)
        .not_valid_after(given.certificate.not_valid_after_utc)
        .sign(other, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    text = sign(given, {"alg": "RS256"}, claims("client", "https://h/t"))
    with pytest.raises(GrantRefused, match="no RSA key"):
        Assertions().verify(text, "client", ["https://h/t"], [Kept(pem)], "192.0.2.1")


def test_the_authority_for_the_original_names_vouches_for_no_address(tmp_path: Path) -> None:
    made = certificates.ensure_original(tmp_path)
    found = x509.load_pem_x509_certificate(made.authority.read_bytes()).extensions
    constraints = found.get_extension_for_class(x509.NameConstraints).value
    permitted = {str(name.value) for name in constraints.permitted_subtrees or ()}
    excluded = {str(name.value) for name in constraints.excluded_subtrees or ()}
    assert permitted == set(certificates.ORIGINAL)
    assert excluded == {"0.0.0.0/0", "::/0"}
    assert not made.replaced


def test_an_authority_of_another_kind_of_key_is_told(tmp_path: Path) -> None:
    made = certificates.ensure(tmp_path, "127.0.0.1")
    given = pair(days=3650)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    of_rsa = (
        x509.CertificateBuilder()
        .subject_name(authority.subject)
        .issuer_name(authority.subject)
        .public_key(given.key.public_key())
        .serial_number(1)
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(constraints, critical=True)
        .sign(given.key, hashes.SHA256())
    )
    made.authority.write_bytes(of_rsa.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "tls" / "ca.key").write_bytes(given.key_pem)
    made.certificate.unlink()
    with pytest.raises(InputError, match="not an elliptic-curve key; make the folder usable, or remove it"):
        certificates.ensure(tmp_path, "127.0.0.1")

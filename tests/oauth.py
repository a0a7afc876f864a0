"""Asking for tokens in tests: requests and what they must answer, certificates, assertions made by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from indicia.auth.assertions import TYPE, read_certificate
from indicia.store import Certificate, Store
from service import Access, Client, Local, Reply


@dataclass(frozen=True)
class Pair:
    """A key and its self-signed certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, as token libraries read it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def x5c(self) -> list[str]:
        """The chain of one."""
        return [base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()]

    def thumbprint(self, algorithm: hashes.HashAlgorithm) -> str:
        """`x5t` by SHA-1, `x5t#S256` by SHA-256."""
        return part(self.certificate.fingerprint(algorithm))


def pair(name: str = "soc-scripts", days: int = 30, bits: int = 2048, begin: int = -1) -> Pair:
    """A new pair, valid from `begin` days from now on, for `days`."""
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) + timedelta(days=begin)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return Pair(key, made)


def register(store: Store, tenant: str, client_id: str, given: Pair) -> Certificate:
    """Register the certificate for an application."""
    read = read_certificate(given.pem, "test")
    start, end = read.valid_from, read.expires_at
    new = Certificate(0, read.sha1, read.sha256, read.pem, read.subject, start, start, end, None)
    return store.tenant(tenant).add_certificate(client_id, new)


def part(content: bytes | dict[str, Any] | str) -> str:
    """Base64url without padding; objects as JSON."""
    if isinstance(content, dict):
        content = json.dumps(content)
    raw = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(client_id: str, audience: str, **changes: Any) -> dict[str, Any]:
    """As msal writes them: times with fractions."""
    now = time.time()
    made = {"aud": audience, "iss": client_id, "sub": client_id, "exp": now + 600, "iat": now}
    made |= {"jti": str(uuid4())} | changes
    return {name: value for name, value in made.items() if value is not None}


def sign(given: Pair, header: dict[str, Any], content: dict[str, Any] | str) -> str:
    """The assertion, signed as its header says; `HS256` takes the public certificate as the secret."""
    text = f"{part(header)}.{part(content)}"
    algorithm = header.get("alg")
    if algorithm == "none":
        return f"{text}."
    if algorithm == "HS256":
        return f"{text}.{part(hmac.digest(given.pem, text.encode(), hashlib.sha256))}"
    pad: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm == "PS256":
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return f"{text}.{part(given.key.sign(text.encode(), pad, hashes.SHA256()))}"


def ask(service: Local, access: Access, version: str = "", **form: str) -> Reply:
    """A request for a token."""
    return service.form(f"/{access.tenant_id}/oauth2{version}/token", form)


def refused(reply: Reply, status: int, error: str, code: int) -> None:
    """The reply says no, in these words."""
    content = reply.json()
    assert (reply.status, content["error"], content["error_codes"]) == (status, error, [code]), content


def works(service: Local, token: str) -> bool:
    """Whether the API takes the token."""
    status = Client(service, token)("GET", "AlertDefinitions(999999999)").status
    assert status in (404, 401)
    return status == 404


def assertion_form(access: Access, assertion: str, **more: str) -> dict[str, str]:
    """The request of a client that has a certificate."""
    form = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": assertion}
    return form | {"client_id": access.client_id, "scope": "https://graph.microsoft.com/.default"} | more


def endpoint(access: Access, version: str = "/v2.0", base: str = "https://127.0.0.1:8443") -> str:
    """The token endpoint's URL."""
    return f"{base}/{access.tenant_id}/oauth2{version}/token"


def redeem(service: Local, access: Access, text: str, version: str = "", **more: str) -> Reply:
    """grant_type=refresh_token."""
    form = {"grant_type": "refresh_token", "client_id": access.client_id, "refresh_token": text}
    return ask(service, access, version, **form | more)

"""RSA keys that sign access tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from joserfc.jwk import RSAKey

KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key under its id. Its text never shows the key."""

    kid: str
    """RFC 7638 thumbprint, so that the same key has the same id on every host."""
    key: RSAKey
    signs: bool = True
    """False for a retired key: it verifies until its last token has expired."""

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, signs={self.signs})"


def make() -> SigningKey:
    """A new RSA key of 2048 bits."""
    key = RSAKey.generate_key(KEY_BITS)
    return SigningKey(key.thumbprint(), key)


def private_pem(signing_key: SigningKey) -> str:
    """PKCS#8 in PEM, unencrypted: what the store keeps."""
    return signing_key.key.as_pem(private=True).decode("ascii")


def from_pem(kid: str, pem: str, *, signs: bool = True) -> SigningKey:
    """The key that `private_pem` wrote."""
    return SigningKey(kid, RSAKey.import_key(pem), signs)


def public_jwk(signing_key: SigningKey, issuer: str) -> dict[str, Any]:
    """The public half as clients fetch it (RFC 7517), with what Azure AD adds: use, algorithm, issuer."""
    numbers = signing_key.key.as_dict(private=False)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": signing_key.kid,
        "n": numbers["n"],
        "e": numbers["e"],
        "issuer": issuer,
    }

"""RSA keys that sign access tokens, and the ring of those that are in use now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import RSAKey

from indicia.errors import StoreError

KEY_BITS = 2048
RELOAD_SECONDS = 5.0
"""After this time the ring is read again: so soon a running service knows of a new key."""
OVERLAP_SECONDS = 10.0
"""How long the old key goes on signing after a rotation, so that every process knows the new one before."""
UNKNOWN_SECONDS = 1.0
"""An unknown key id has the ring read again, but not more often than this."""


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


class KeyRing:
    """The signing keys as they are now, read again from time to time. Safe to use from several threads."""

    def __init__(
        self, load: Callable[[], Sequence[SigningKey]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, SigningKey] = {}
        self._read_at = float("-inf")
        self._renew(RELOAD_SECONDS)

    def every(self) -> list[SigningKey]:
        """All keys that sign or verify, newest first."""
        self._renew(RELOAD_SECONDS)
        return list(self._keys.values())

    def signing(self) -> SigningKey:
        """The oldest key that signs: a newer one waits until that is retired. StoreError where none does."""
        found = next((key for key in reversed(self.every()) if key.signs), None)
        if found is None:
            raise StoreError("no key signs tokens any more; make one: indicia keys rotate")
        return found

    def find(self, kid: str) -> SigningKey | None:
        """The key of that id; another process may have made it just now, so an unknown one is looked up."""
        self._renew(RELOAD_SECONDS)
        if kid not in self._keys:
            self._renew(UNKNOWN_SECONDS, wait=True)
        return self._keys.get(kid)

    def _renew(self, seconds: float, *, wait: bool = False) -> None:
        """Read the ring where it is older than `seconds`; threads that need not `wait` use the old one."""
        if self._clock() - self._read_at < seconds or not self._lock.acquire(blocking=wait or not self._keys):
            return
        try:
            if self._clock() - self._read_at >= seconds:
                self._keys = {key.kid: key for key in self._load()}
                self._read_at = self._clock()
        finally:
            self._lock.release()


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

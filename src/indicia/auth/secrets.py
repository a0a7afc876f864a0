"""Client secrets and refresh tokens: random, shown once, kept as a digest.

Either is 256 random bits, so a plain SHA-256 is as hard to undo as the slowest password hash, and the
token endpoint stays quick.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

HINT_LENGTH = 3
DAYS = 730
"""For how long a client secret is valid unless somebody says otherwise."""


def make() -> str:
    """A new secret: 256 bits, 43 characters that need no quoting in a URL or a form."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored: SHA-256 in 64 hex digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def hint(secret: str) -> str:
    """The first three characters, by which a person tells two secrets apart."""
    return secret[:HINT_LENGTH]


def held(secret: str, digests: Iterable[str]) -> int | None:
    """Which of `digests` the secret has, by position; None for none.

    Every digest is compared, in constant time, so that the time taken tells nothing about any of them.
    """
    given = digest(secret)
    found = None
    for position, known in enumerate(digests):
        if hmac.compare_digest(given, known):
            found = position
    return found

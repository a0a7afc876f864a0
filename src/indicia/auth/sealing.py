"""Secrets that must be used again, sealed: AES-256-GCM by a key in a file of the home.

Who has the store alone, as a backup of it, cannot read them; who has the home, can. The key is made when
something is sealed first, mode 0600; hosts that share a store need the same one (docs/operations.md).
"""

from __future__ import annotations

import base64
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from indicia.errors import StoreError

NAME = "outputs.key"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_BRING = "bring that one from the home where that was done, or from a backup, or set target and secret anew"


class Seal:
    """The key of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME

    def seal(self, text: str, about: str) -> str:
        """The text so that only `unseal` with the same key and `about` gives it back. StoreError."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key(make=True)).encrypt(nonce, text.encode(), about.encode())
        return base64.b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str, about: str) -> str:
        """The text again; StoreError where the key is absent or another one."""
        try:
            raw = base64.b64decode(sealed)
            opened = AESGCM(self._key()).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise StoreError(f"{self._path} is not the key that this was sealed with; {_BRING}") from None
        return opened.decode()

    def _key(self, *, make: bool = False) -> bytes:
        try:
            if make and not self._path.exists():
                self._make()
            found = self._path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{self._path} is not there, which this was sealed with; {_BRING}") from None
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be used: {error.strerror}; restore it, or set the secret anew"
            ) from None
        if len(found) != _KEY_BYTES:
            raise StoreError(f"{self._path} is no key; restore it, or set the secret anew")
        return found

    def _make(self) -> None:
        """Under another name first, so that nobody reads a part; of two makers the first one wins."""
        part = self._path.with_name(f".{NAME}.{os.getpid()}.{secrets.token_hex(4)}")
        number = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(number)
            with suppress(FileExistsError):
                os.link(part, self._path)
        finally:
            part.unlink()

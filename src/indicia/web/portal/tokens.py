"""Cookies and what is bound to them.

    session   `__Host-indicia`: a random token; the store has its digest. Ends with the browser
    entry     `__Host-entry`: random, for the forms of those who are not signed in
    said      `__Host-said`: a sentence for the next page
    theme     `theme`: light or dark

Without TLS a browser takes no `__Host-`, so the names go without it. A form's token is made of the cookie
that it is bound to, so the store holds none, and one session's is no use in another.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

from indicia.auth import secrets

SESSION, ENTRY, SAID, SIGN_ON, THEME = "indicia", "entry", "said", "sign-on", "theme"
FIELD = "csrf"
"""The field of a form that holds its token."""
HEADER = "x-csrf-token"
"""Where htmx sends it."""
SAID_LIMIT = 400
YEAR = 365 * 86_400
_TOKEN_LIMIT = 200


class Cookies:
    """Reads and sets them; `secure` where browsers come by TLS."""

    def __init__(self, *, secure: bool) -> None:
        self.secure = secure

    def read(self, request: Request, name: str) -> str:
        """The value; empty where there is none."""
        value = request.cookies.get(self._name(name), "")
        return unquote(value) if name == SAID else value[: 16 * _TOKEN_LIMIT]

    def set(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        """Set it, until the browser ends or for so long."""
        content = quote(value[:SAID_LIMIT]) if name == SAID else value
        response.set_cookie(
            self._name(name),
            content,
            max_age=seconds,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def drop(self, response: Response, name: str) -> None:
        """Let the browser forget it."""
        response.delete_cookie(self._name(name), path="/", secure=self.secure, httponly=True, samesite="lax")

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name


def made() -> str:
    """A new random token."""
    return secrets.make()


def digest(token: str) -> str:
    """What the store keeps of it."""
    return secrets.digest(token)


def form_token(seed: str) -> str:
    """The token of every form that is bound to a cookie's value."""
    return hmac.new(seed.encode(), b"indicia form", hashlib.sha256).hexdigest()


def is_form_token(given: str, seed: str) -> bool:
    """Whether it is that token; in constant time."""
    known = form_token(seed)
    return bool(seed) and hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())

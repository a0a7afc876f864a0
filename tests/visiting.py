"""Somebody who uses the portal without a browser: cookies, forms and their tokens, over ASGI.

alex = visiting(service, "contoso", Role.ANALYST)
assert alex.get("/portal/account").status == 200
alex.post("/portal/theme", {"theme": "dark"})
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from indicia.auth import passwords, secrets
from indicia.model import Actor
from indicia.store import Role, Store
from service import Local, Reply

PASSWORD = "seven lanterns over water"
HOUR = timedelta(hours=1)
BOUNDARY = "a-line-that-no-file-has"
Fields = Mapping[str, str] | Iterable[tuple[str, str]]
_DIGEST: list[str] = []
_NUMBERS = itertools.count(1)


def add_person(store: Store, tenant: str, name: str, role: Role = Role.ADMINISTRATOR) -> str:
    """A person of a tenant, whose password is PASSWORD; its uid."""
    if not _DIGEST:
        _DIGEST.append(passwords.digest(PASSWORD))
    token = secrets.make()
    store.tenant(tenant).members.invite(secrets.digest(token), role, name, HOUR)
    return store.people.begin(secrets.digest(token), name, _DIGEST[0], Actor())[0].uid


@dataclass
class Visiting:
    """A browser's cookies, and what it sends."""

    local: Local
    name: str = ""
    uid: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    """The token of the forms of the page that was seen last."""

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """A page, which need not be one."""
        return self._heard(self.local.request("GET", path, b"", self._headers(headers)))

    def post(
        self,
        path: str,
        fields: Fields = (),
        *,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A form with the token; `files`: name of the file and content by field."""
        pairs = [*([("csrf", self.csrf)] if self.csrf else []), *dict_or_pairs(fields)]
        kind, body = multipart(pairs, files) if files else (FORM, urlencode(pairs).encode())
        given = self._headers({"Content-Type": kind, **(headers or {})})
        return self._heard(self.local.request("POST", path, body, given))

    def follow(self, reply: Reply) -> Reply:
        """The page that a 303 leads to."""
        assert reply.status == 303, (reply.status, text_of(reply))
        return self.get(reply.headers["location"].partition("#")[0])

    def sign_in(self, name: str, password: str = PASSWORD, **fields: str) -> Reply:
        """By the sign-in page; what is answered to its form."""
        self.get("/portal/sign-in")
        return self.post("/portal/sign-in", {"name": name, "password": password, **fields})

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return ({"Cookie": cookies} if cookies else {}) | dict(more or {})

    def _heard(self, reply: Reply) -> Reply:
        for line in reply.cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        found = re.search(rb'name="csrf" value="(\w+)"', reply.body)
        self.csrf = found[1].decode() if found else self.csrf
        return reply


FORM = "application/x-www-form-urlencoded"


def dict_or_pairs(fields: Fields) -> list[tuple[str, str]]:
    """Of either the pairs."""
    return list(fields.items()) if isinstance(fields, Mapping) else list(fields)


def multipart(pairs: Iterable[tuple[str, str]], files: Mapping[str, tuple[str, bytes]]) -> tuple[str, bytes]:
    """Type and body of a form with files (RFC 7578)."""
    parts: list[bytes] = []
    for name, value in pairs:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(head.encode() + value.encode() + b"\r\n")
    for name, (file, content) in files.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def visiting(service: Local, tenant: str, role: Role = Role.ADMINISTRATOR) -> Visiting:
    """A new person with a role in a tenant (uid or name), signed in."""
    name = f"person {next(_NUMBERS)}"
    made = Visiting(service, name, add_person(service.store, tenant, name, role))
    reply = made.sign_in(name)
    assert reply.status == 303, text_of(reply)
    made.get("/portal/account")  # whose forms hold the token
    return made


def settled(who: Visiting, path: str = "/portal/", headers: Mapping[str, str] | None = None) -> Reply:
    """The page, once all that is made beside requests is there (`not_yet` of components.html)."""
    end = time.monotonic() + 20
    while b"Load the page again" in (reply := who.get(path, headers)).body and time.monotonic() < end:
        time.sleep(0.05)
    assert reply.status == 200, text_of(reply)
    return reply


def text_of(reply: Reply) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", reply.body.decode("utf-8", "replace")))

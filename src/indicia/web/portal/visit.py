"""One request, as a handler sees it: of somebody who is signed in, or of anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from indicia.auth.attempts import Attempts
from indicia.auth.sign_on import Provider
from indicia.live.following import Followings
from indicia.settings import Settings
from indicia.store import Member, Role, Session, Store, Tenant, TenantStore
from indicia.web.grants import Grants
from indicia.web.portal import tokens
from indicia.web.portal.forms import Form
from indicia.web.portal.kept import Kept
from indicia.web.portal.pages import Entry
from indicia.web.portal.rendering import Renderer
from indicia.web.portal.tokens import Cookies

HOME = "/portal/"
_LOCAL = re.compile(r"/portal(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
THEMES = ("light", "dark")


def local(path: str) -> str:
    """The path, if it leads to a page of the portal and nowhere else; else its first page."""
    parts = path.partition("?")[0].split("/")[1:]
    inside = len(path) <= 4000 and _LOCAL.fullmatch(path) and not {"", ".", ".."} & set(parts[:-1])
    return path if inside and parts[-1] not in (".", "..") else HOME


def path_of(url: str) -> str:
    """Path and query of a URL that a browser sent; empty where it is none."""
    found = _split(url)
    return found.path + (f"?{found.query}" if found.query else "")


def host_of(url: str) -> str:
    """Host and port of a URL that a browser sent, in lower case; empty where it is none."""
    return _split(url).netloc.lower()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


@dataclass(frozen=True, slots=True)
class Portal:
    """What all requests share."""

    store: Store
    settings: Settings
    renderer: Renderer
    cookies: Cookies
    attempts: Attempts
    """Failed sign-ins."""
    live: Followings
    grants: Grants
    providers: Mapping[str, Provider]
    """Where people sign on, by name."""
    kept: Kept = field(default_factory=Kept)
    """Figures of overviews, which take their time."""
    previews: Kept = field(default_factory=Kept)
    """Of allow-lists, which take longer: no overview waits for them."""


@dataclass(slots=True)
class Guest:
    """A request of anybody."""

    portal: Portal
    request: Request
    seed: str
    """What its forms are bound to: the value of a cookie."""
    form: Form = field(default_factory=Form)

    @property
    def settings(self) -> Settings:
        """Of the service."""
        return self.portal.settings

    @property
    def partial(self) -> bool:
        """Whether htmx asked, for a part of a page."""
        return self.request.headers.get("hx-request", "") == "true"

    @property
    def address(self) -> str:
        """Where it came from."""
        return self.request.client.host if self.request.client else ""

    def query(self, name: str, default: str = "") -> str:
        """The first value of a name in the URL's query."""
        return self.request.query_params.get(name, default)

    def at(self, name: str) -> Any:
        """What the path has in the place of `{name}`: a text, a number for `{name:int}`."""
        return self.request.path_params[name]

    def page(self, template: str, /, status: int = 200, **context: object) -> Response:
        """A whole page."""
        said = self.portal.cookies.read(self.request, tokens.SAID)
        content = self.portal.renderer.page(template, {**self.known(), "said": said, **context})
        response = HTMLResponse(content, status)
        if said:
            self.portal.cookies.drop(response, tokens.SAID)
        return response

    def part(self, template: str, block: str, /, **context: object) -> Response:
        """One block of a page's template alone, for htmx."""
        content = self.portal.renderer.part(template, block, {**self.known(), "said": "", **context})
        return HTMLResponse(content)

    def go(self, path: str, said: str = "") -> Response:
        """To another page (303), with a sentence that it shows once."""
        response = Response(status_code=303, headers={"Location": path})
        if said:
            self.portal.cookies.set(response, tokens.SAID, said)
        return response

    def known(self) -> dict[str, object]:
        """What every template knows."""
        theme = self.portal.cookies.read(self.request, tokens.THEME)
        return {
            "csrf": tokens.form_token(self.seed),
            "theme": theme if theme in THEMES else "",
            "path": self.request.url.path,
        }


@dataclass(slots=True)
class Visit:
    """A request of somebody who is signed in."""

    guest: Guest
    person: Member
    """Who it is, and its role in this tenant."""
    tenant: TenantStore
    """The store as the tenant sees it; whoever acts through it is the person, as the audit log says."""
    tenants: tuple[Tenant, ...]
    """All that the person may change to."""
    session: Session
    navigation: tuple[tuple[str, tuple[Entry, ...]], ...]

    @property
    def portal(self) -> Portal:
        """What all requests share; for the tenant's things there is `tenant`."""
        return self.guest.portal

    @property
    def request(self) -> Request:
        """As Starlette has it."""
        return self.guest.request

    @property
    def settings(self) -> Settings:
        """Of the service."""
        return self.guest.portal.settings

    @property
    def form(self) -> Form:
        """What was sent by POST; that it came from a form of ours is checked."""
        return self.guest.form

    @property
    def partial(self) -> bool:
        """Whether htmx asked, for a part of a page."""
        return self.guest.partial

    def query(self, name: str, default: str = "") -> str:
        """The first value of a name in the URL's query."""
        return self.guest.query(name, default)

    def at(self, name: str) -> Any:
        """What the path has in the place of `{name}`: a text, a number for `{name:int}`."""
        return self.guest.at(name)

    def may(self, role: Role) -> bool:
        """Whether the person has that role or a higher one here."""
        return self.person.role >= role

    def page(self, template: str, /, status: int = 200, **context: object) -> Response:
        """A whole page; its template extends `base.html`."""
        return self.guest.page(template, status, **{**self._known(), **context})

    def part(self, template: str, block: str, /, **context: object) -> Response:
        """One block of a page's template alone, for htmx; it knows what the page knows."""
        return self.guest.part(template, block, **{**self._known(), **context})

    def go(self, path: str, said: str = "") -> Response:
        """To another page (303), with a sentence that it shows once."""
        return self.guest.go(path, said)

    def _known(self) -> Mapping[str, object]:
        return {
            "person": self.person,
            "tenant": self.tenant.tenant,
            "tenants": self.tenants,
            "navigation": self.navigation,
            "may_write": self.may(Role.ANALYST),
            "may_administer": self.may(Role.ADMINISTRATOR),
        }

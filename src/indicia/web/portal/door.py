"""The portal's door: which page a request is for, who asks, and whether it may; then headers and faults.

Every request of a page goes the same way: path, session, role, then the form and its token, then the handler
in a thread. What the handlers of pages need not do, and cannot forget, is done here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from indicia import telemetry
from indicia.errors import (
    Forbidden,
    IndiciaError,
    MethodNotAllowed,
    NotFound,
    StoreError,
    Unauthorized,
    placed,
)
from indicia.model import Actor, Through
from indicia.store import Role, TenantStore, Visitor
from indicia.web import problems, trace
from indicia.web.portal import forms, tokens
from indicia.web.portal.pages import NAVIGATION, Entry, OpenPage, Page
from indicia.web.portal.visit import HOME, Guest, Portal, Visit, host_of, local, path_of

LOG = logging.getLogger("indicia.web")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
FOR_GOOD = "public, max-age=31536000, immutable"
GUEST_FORM = 64 * 1024
"""Bytes of a form of somebody who is not signed in."""
SIGN_IN = "/portal/sign-in"
BACKGROUND = "x-background"
"""What a page asks by itself, as a refresh, says so by this header: it keeps nobody signed in."""
_DIGITS = 18
"""Of a number in a path; longer ones are those of nothing, and need not fit into 64 bits."""
AnyPage = Page | OpenPage


class Door:
    """The ASGI endpoint of everything below `/portal`."""

    def __init__(self, portal: Portal, pages: Sequence[Page], open_pages: Sequence[OpenPage]) -> None:
        self.portal = portal
        self.pages: list[AnyPage] = [*pages, *open_pages]
        self._patterns = [(compile_path(page.path), page) for page in self.pages]
        self._navigation = {role: _navigation(pages, role) for role in Role}

    def routes(self) -> list[Route]:
        """Of the application."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return [
            Route("/", self._home),
            Route("/favicon.ico", self._icon),
            Route("/portal/static/{digest}/{name}", self._static),
            Route("/portal", self._home),
            Route("/portal/{rest:path}", self._answer, methods=methods),
        ]

    def warm(self) -> None:
        """Have at hand what the first look at some page would wait for."""
        self.portal.renderer.warm()
        telemetry.schemas()

    def close(self) -> None:
        """Stop what runs beside requests."""
        self.portal.kept.close()
        self.portal.previews.close()

    def templates(self) -> set[str]:
        """The paths of all pages, as metrics and logs call them."""
        return {page.path for page in self.pages}

    async def _home(self, _request: Request) -> Response:
        return _headed(Response(status_code=303, headers={"Location": "/portal/"}))

    async def _icon(self, _request: Request) -> Response:
        location = self.portal.renderer.url_of("icon.svg")
        return _headed(Response(status_code=303, headers={"Location": location}))

    async def _static(self, request: Request) -> Response:
        found = self.portal.renderer.files.get(request.path_params["name"])
        if found is None or request.path_params["digest"] != found.digest:
            return _headed(Response("There is no such file.", 404, media_type="text/plain"))
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"Cache-Control": FOR_GOOD, "Vary": "Accept-Encoding", "Content-Type": found.media_type}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return _headed(Response(found.packed if packed else found.content, headers=headers))

    async def _answer(self, request: Request) -> Response:
        """Any request of a page, whatever comes of it."""
        guest = Guest(self.portal, request, self.portal.cookies.read(request, tokens.ENTRY))
        visit: Visit | None = None
        try:
            visit = await run_in_threadpool(self._enter, guest)
            page = self._page(request)
            response = await self._serve(page, guest, visit)
        except ClientDisconnect:
            raise
        except Exception as error:  # else the answer would be the API's
            response = self._refuse(_fault(error), guest, visit)
        finally:
            guest.form.close()
        return _headed(response)

    def _enter(self, guest: Guest) -> Visit | None:
        """The visit of whoever is signed in; None for others."""
        token = self.portal.cookies.read(guest.request, tokens.SESSION)
        if not token:
            return None
        people, settings = self.portal.store.people, self.portal.settings
        visitor = people.visitor(tokens.digest(token), settings.session_idle)
        if visitor is None:
            return None
        if not guest.request.headers.get(BACKGROUND):
            people.seen(visitor)
        guest.seed = token
        return self._visit(guest, visitor)

    def _visit(self, guest: Guest, visitor: Visitor) -> Visit:
        trace.admitted(visitor.tenant.uid, visitor.person.uid)
        actor = Actor(visitor.person.name, Through.PORTAL, trace.current_id())
        tenant: TenantStore = self.portal.store.tenant(visitor.tenant.uid).acting(actor)
        navigation = self._navigation[visitor.person.role]
        return Visit(guest, visitor.person, tenant, visitor.tenants, visitor.session, navigation)

    def _page(self, request: Request) -> AnyPage:
        """The page of a path; its parameters go where Starlette has them."""
        method = "GET" if request.method == "HEAD" else request.method
        others: list[str] = []
        for (pattern, _, convertors), page in self._patterns:
            match = pattern.match(request.scope["path"])
            if match is None:
                continue
            if page.method != method:
                others.append(page.method)
                continue
            texts = match.groupdict()
            numbers = [text for name, text in texts.items() if isinstance(convertors[name], IntegerConvertor)]
            if any(len(text) > _DIGITS for text in numbers):
                break
            given = {name: convertors[name].convert(value) for name, value in texts.items()}
            request.scope["path_params"] = given
            request.scope[trace.ROUTE] = page.path
            return page
        if others:
            raise MethodNotAllowed(f"this page is for {' and '.join(sorted(set(others)))} alone")
        raise NotFound("there is no such page")

    async def _serve(self, page: AnyPage, guest: Guest, visit: Visit | None) -> Response:
        if isinstance(page, OpenPage):
            await self._read(guest, page.method, GUEST_FORM)
            response = await run_in_threadpool(page.handler, guest)
            return self._bound(response, guest)
        if visit is None:
            raise Unauthorized("sign in first")
        if not visit.may(page.role):
            raise Forbidden(
                f"this needs the role {page.role.word}; you are {visit.person.role.word} of "
                f"{visit.tenant.name}. Ask an administrator of this tenant"
            )
        settings = self.portal.settings
        files = settings.max_event_bytes if page.large else 0
        await self._read(guest, page.method, settings.max_body_bytes, files)
        return await run_in_threadpool(page.handler, visit)

    async def _read(self, guest: Guest, method: str, limit: int, files: int = 0) -> None:
        """The form, which must have come from a page of ours; `files`: bytes that its files may have."""
        request = guest.request
        if method == "GET":
            if not guest.seed:
                guest.seed = tokens.made()
            return
        if not _is_ours(request):
            raise Forbidden("this was sent by a page of another site; open the portal itself and try again")
        guest.form = await forms.read(request, limit, files)
        given = request.headers.get(tokens.HEADER) or guest.form.one(tokens.FIELD)
        if not tokens.is_form_token(given, guest.seed):
            raise Forbidden("this form is out of date; go back, load the page again and repeat what you did")

    def _bound(self, response: Response, guest: Guest) -> Response:
        """With the cookie that the forms of a guest are bound to."""
        cookies = self.portal.cookies
        signed_in = cookies.read(guest.request, tokens.SESSION) == guest.seed
        if guest.seed and not signed_in and cookies.read(guest.request, tokens.ENTRY) != guest.seed:
            cookies.set(response, tokens.ENTRY, guest.seed)
        return response

    def _refuse(self, fault: IndiciaError, guest: Guest, visit: Visit | None) -> Response:
        """The fault as a page, or for htmx as a notice; whoever must sign in is led there."""
        if isinstance(fault, Unauthorized) or (visit is None and isinstance(fault, NotFound)):
            return self._to_sign_in(guest)
        said = problems.told(fault)
        if guest.partial:
            response = (visit or guest).part("error.html", "notice", fault=fault, message=said)
            response.status_code = fault.status
            response.headers["HX-Retarget"] = "#notices"
            response.headers["HX-Reswap"] = "innerHTML"
        else:
            layout = "plain.html" if visit is None else "base.html"
            phrase = HTTPStatus(fault.status).phrase
            context = {"fault": fault, "message": said, "layout": layout, "phrase": phrase}
            context["back"] = _back(guest.request)
            response = (visit or guest).page("error.html", fault.status, **context)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
        return response

    def _to_sign_in(self, guest: Guest) -> Response:
        request = guest.request
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if guest.partial:
            wanted = path_of(request.headers.get("hx-current-url", ""))
        after = local(wanted) if guest.partial or request.method in ("GET", "HEAD") else ""
        target = f"{SIGN_IN}?next={quote(after, safe='/')}" if after not in ("", "/portal/") else SIGN_IN
        if guest.partial:
            return Response(status_code=401, headers={"HX-Redirect": target})
        return Response(status_code=303, headers={"Location": target})


def _navigation(pages: Sequence[Page], role: Role) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
    """The entries whose pages are there and open to a role."""
    there = {page.path for page in pages if page.method == "GET" and page.role <= role}
    sections = (
        (title, tuple(entry for entry in entries if entry.path in there)) for title, entries in NAVIGATION
    )
    return tuple((title, entries) for title, entries in sections if entries)


def _is_ours(request: Request) -> bool:
    """Whether a browser says that a page of this very origin sent it; not every one says so."""
    site = request.headers.get("sec-fetch-site", "")
    if site and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin", "")
    return not origin or host_of(origin) == request.headers.get("host", "").lower()


def _back(request: Request) -> str:
    """The page whose link or form led here; empty where it is this one, none of ours, or not said."""
    said = path_of(request.headers.get("referer", ""))
    found = local(said) if said else HOME
    return "" if found == HOME or found.partition("?")[0] == request.url.path else found


def _fault(error: Exception) -> IndiciaError:
    """What is answered for an error; what nobody foresaw is logged without its content."""
    if isinstance(error, StoreError):
        LOG.error("store: %s", error)
    if isinstance(error, IndiciaError):
        return error
    LOG.error("%s", placed(error))
    return IndiciaError("an unforeseen error; the service's log has the place")


def _headed(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response

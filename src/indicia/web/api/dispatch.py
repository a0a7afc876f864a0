"""From a request to its row of the route table, and from the handler's answer to a response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from indicia.auth import certificates
from indicia.auth.sealing import Seal
from indicia.errors import InputError, MethodNotAllowed, NotFound, NotSupported
from indicia.model import Actor, Through
from indicia.odata import format as odata
from indicia.odata import headers, options, paths
from indicia.odata.entities import BY_SET
from indicia.odata.shapes import Entity
from indicia.settings import Settings
from indicia.web import intake, problems, trace
from indicia.web.api import LATER, READERS_OF, ROUTES
from indicia.web.api.call import Answer, Body, Call, Row
from indicia.web.gate import Caller, Gate

METADATA = "$metadata"
ENTITY_LIMIT = 256 * 1024
"""Bytes of a body that holds one entity; a definition with every text at its limit has about 20,000."""
_HOST = re.compile(r"(?:([A-Za-z0-9._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?\Z")
_PUBLIC = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,300}(/[A-Za-z0-9._~/-]*)?\Z")


def _by_shape(rows: tuple[Row, ...]) -> Mapping[str, dict[str, Row]]:
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        table.setdefault(row.shape, {})[row.method] = row
    for methods in table.values():
        if "GET" in methods:
            methods["HEAD"] = methods["GET"]
    return table


TABLE = _by_shape(ROUTES)


class TiApi:
    """The ASGI application of everything below /v1.0."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        self._gate = gate
        self._seal = Seal(settings.home)
        self._own_root = _public(settings.public_url) or settings.base_url
        self._base_url = settings.base_url
        self._names = {*certificates.names_of(settings.host)}
        if settings.original_hosts:
            self._names.update(certificates.ORIGINAL)
        self._limits = {
            Body.ENTITY: min(ENTITY_LIMIT, settings.max_body_bytes),
            Body.BULK: settings.max_body_bytes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; faults are the Guard's to answer."""
        request = Request(scope, receive)
        response = await self._serve(request)
        await response(scope, receive, send)

    async def _serve(self, request: Request) -> Response:
        version, path = _split(request)
        methods = _methods(path)
        request.scope[trace.ROUTE] = f"/{paths.VERSION}/{path.shape}"
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=dict(problems.HEADERS, Allow=_allow(methods)))
        row = methods.get(request.method)
        if row is None:
            return _not_allowed(request.method, methods)
        form = odata.Format(self._root(request) + "/" + version, _level(request, path))
        call = Call(
            path,
            request.scope["query_string"].decode("latin-1"),
            form,
            self._roots(request),
            wants=_wants(request),
            conditions=_conditions(request, row),
            _seal=self._seal,
        )
        answer = await self._run(request, row, call)
        more = dict(problems.HEADERS, **answer.headers)
        return Response(answer.body, answer.status, more, answer.media_type or None)

    async def _run(self, request: Request, row: Row, call: Call) -> Answer:
        """Admit, read and handle. Only who is admitted may send a body, so reading comes second."""
        authorization = request.headers.get("authorization")
        if row.quick and not self._gate.asks_others and "expand" not in call.query.lower():
            return self._admit_and_handle(row, call, authorization)
        if row.body is Body.NONE:
            return await run_in_threadpool(self._admit_and_handle, row, call, authorization)
        caller = await run_in_threadpool(self._admit, row, authorization)
        intake.must_be_json(request)
        body = await intake.body(request, self._limits[row.body])
        return await run_in_threadpool(partial(_handle, row, call, caller, body))

    def _admit(self, row: Row, authorization: str | None) -> Caller | None:
        if not row.roles:
            return None
        caller = self._gate.admit(authorization)
        caller.require(row.roles)
        caller.require(row.also)
        return caller

    def _admit_and_handle(self, row: Row, call: Call, authorization: str | None) -> Answer:
        return _handle(row, call, self._admit(row, authorization), b"")

    def _root(self, request: Request) -> str:
        """Scheme and authority as the client reached us, where that is a name of ours; else our own."""
        host = request.headers.get("host", "")
        found = _HOST.match(host)
        ours = found is not None and (found[1] or found[2]).lower() in self._names
        return f"{request.scope['scheme']}://{host}" if ours else self._own_root

    def _roots(self, request: Request) -> frozenset[str]:
        return frozenset(root.lower() for root in (self._root(request), self._own_root, self._base_url))


def _public(url: str) -> str:
    """Without a closing slash. Raises InputError for what is no URL to put before a path."""
    if url and not _PUBLIC.match(url):
        raise InputError("must be a URL such as https://ti.example", place="public_url")
    return url.rstrip("/")


def _handle(row: Row, call: Call, caller: Caller | None, body: bytes) -> Answer:
    if caller is None:
        return row.handler(call)
    tenant = caller.tenant
    if row.method != "GET":
        tenant = tenant.acting(Actor(caller.client_id, Through.API, trace.current_id()))
    admitted = replace(call, body=body, by=caller.client_id, _tenant=tenant, sets=_sets(caller.roles))
    return row.handler(admitted)


@lru_cache(maxsize=64)
def _sets(held: frozenset[str]) -> Mapping[str, Entity]:
    """The sets that one of the roles may read."""
    return {name: BY_SET[name] for name, asked in READERS_OF.items() if not asked.isdisjoint(held)}


def _wants(request: Request) -> headers.Preferences:
    """What Prefer asks; the versions of the protocol are looked at first."""
    given = request.headers
    headers.check_versions(given.get("odata-version"), given.get("odata-maxversion"))
    asked = given.getlist("prefer")
    return headers.preferences(asked) if asked else headers.NO_PREFERENCES


def _conditions(request: Request, row: Row) -> headers.Conditions:
    """What If-Match and If-None-Match ask; a change of what has no ETag refuses them."""
    found = headers.conditions(request.headers.get("if-match"), request.headers.get("if-none-match"))
    if row.method != "GET" and not row.tagged:
        found.refuse()
    return found


def _split(request: Request) -> tuple[str, paths.Path]:
    """The version as the client spells it, and the path below it, from the path before it was decoded."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    text = raw.partition(b"?")[0].decode("latin-1")
    version, _, rest = text.removeprefix("/").partition("/")
    if not paths.version(version):
        raise NotFound(f"there is nothing at /{version[:80]}; the API is at /{paths.VERSION}/")
    return version, paths.parse(rest)


def _level(request: Request, path: paths.Path) -> odata.Level:
    """$format wins over Accept (OData 4.01 Part 1, 11.2.12); the metadata document has no levels."""
    if request.method in ("GET", "HEAD") and path.shape != METADATA:
        level = options.format_level(request.scope["query_string"].decode("latin-1"))
        if level is not None:
            return level
    return odata.level_of(request.headers.get("accept", ""))


def _methods(path: paths.Path) -> Mapping[str, Row]:
    """The rows of a shape by method. Raises NotSupported for what the standard has and we do not, yet."""
    found = TABLE.get(path.shape)
    if found is not None:
        return found
    first, *rest = path.shape.split("/")
    described = BY_SET.get(first.removesuffix("(#)"))
    if path.shape in LATER or (described and first.endswith("(#)") and rest and rest[0] in described.by_name):
        raise NotSupported(f"{path.shape.replace('(#)', '(…)')} is not supported by this service yet")
    if described is None:
        sets = ", ".join(BY_SET)
        raise NotFound(f"there is no resource {first.removesuffix('(#)')[:80]!r}; there are {sets}")
    raise NotFound(f"{described.set_name} has nothing at {path.shape.replace('(#)', '(…)')[:200]!r}")


def _allow(methods: Mapping[str, Row]) -> str:
    return ", ".join(sorted({*methods, "OPTIONS"}))


def _not_allowed(method: str, methods: Mapping[str, Row]) -> Response:
    allowed = _allow(methods)
    if len(method) > 40:
        raise InputError("the method is too long")
    return problems.answer(
        MethodNotAllowed(f"{method} is not possible here; possible: {allowed}"), {"Allow": allowed}
    )

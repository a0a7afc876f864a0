"""The OpenAPI document: it is valid, it names every route beside OData, and the service does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, SerializationContext
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.routing import Route

from indicia.store import Store
from indicia.web import openapi
from service import Access, Local, Process, add_access, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def as_it_is(_context: SerializationContext, value: Any) -> bytes:
    """A body of lines is whatever the schema's text is."""
    return str(value).encode("utf-8", "replace")


SCHEMA = schemathesis.openapi.from_dict(openapi.document())


def test_the_document_is_served_and_valid(service: Local) -> None:
    reply = service.request("GET", "/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    schemathesis.openapi.from_dict(reply.json()).validate()
    assert reply.json() == openapi.document()


def test_it_names_every_route_beside_odata_and_the_portal(service: Local) -> None:
    application = service.application
    assert isinstance(application, Starlette)
    routes = {route.path for route in application.routes if isinstance(route, Route)}
    pages = {path for path in routes if path in ("/", "/favicon.ico") or path.startswith("/portal")}
    assert len(pages) == 5
    assert routes - pages == set(openapi.document()["paths"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Access]]:
    """A real service with the tenant contoso."""
    home = tmp_path_factory.mktemp("home")
    with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
        access = add_access(store, "contoso")
    with running(home) as process:
        yield process, access


@pytest.mark.full
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@SCHEMA.parametrize()
def test_the_service_does_what_the_document_says(case: Case[Any], live: tuple[Process, Access]) -> None:
    process, _ = live
    reply = case.call(base_url=process.url, verify=process.authority, timeout=30)
    case.validate_response(reply, checks=CHECKS)


@pytest.mark.full
@pytest.mark.parametrize("version", ["", "v2.0/"])
def test_a_token_is_given_as_the_document_says(live: tuple[Process, Access], version: str) -> None:
    process, access = live
    operation = SCHEMA[f"/{{tenant}}/oauth2/{version}token"]["POST"]
    form: dict[str, Any] = access.form | {"scope": "https://graph.microsoft.com/.default"}
    case = operation.Case(
        path_parameters={"tenant": access.tenant_id},
        body=form,
        media_type="application/x-www-form-urlencoded",
    )
    reply = case.call(base_url=process.url, verify=process.authority, timeout=30)
    assert reply.status_code == 200
    case.validate_response(reply, checks=CHECKS)

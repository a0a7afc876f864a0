"""Access over HTTP: the token endpoints, what clients discover, and the roles that routes ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from indicia.auth import roles, secrets
from indicia.web.api import ROUTES
from service import (
    Access,
    Client,
    Local,
    add_access,
    add_application,
)

BIND = "AlertDefinition@odata.bind"


def test_v1_answers_with_texts_for_numbers(service: Local, access: Access) -> None:
    reply = service.form(f"/{access.tenant_id}/oauth2/token", access.form)
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    content = reply.json()
    assert all(isinstance(value, str) for value in content.values())
    assert (content["token_type"], content["expires_in"], content["ext_expires_in"]) == (
        "Bearer",
        "3599",
        "0",
    )
    assert int(content["expires_on"]) - int(content["not_before"]) == 3599
    assert content["resource"] == "https://graph.windows.net"


@pytest.mark.parametrize(
    "resource",
    [
        "https://graph.windows.net",
        "https://graph.windows.net/",
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/.default",
        "https://127.0.0.1:8443",
        "https://127.0.0.1:8443/",
    ],
)
def test_v1_resources(service: Local, access: Access, resource: str) -> None:
    reply = service.form(f"/{access.tenant_id}/oauth2/token", access.form | {"resource": resource})
    assert reply.status == 200
    assert Client(service, reply.json()["access_token"])("GET", "AlertDefinitions").status == 200


@pytest.mark.parametrize(
    "scope",
    [
        "https://graph.microsoft.com/.default",
        "https://graph.windows.net//.default",
        "https://127.0.0.1:8443/.default",
        "openid https://graph.microsoft.com/.default offline_access",
    ],
)
def test_v2_answers_with_numbers(service: Local, access: Access, scope: str) -> None:
    form = {name: value for name, value in access.form.items() if name != "resource"}
    reply = service.form(
        f"/{access.tenant_id}/oauth2/v2.0/token", form | {"scope": scope, "client_info": "1", "x": "y"}
    )
    assert reply.status == 200
    content = reply.json()
    assert (content["token_type"], content["expires_in"], content["ext_expires_in"]) == ("Bearer", 3599, 3599)
    assert Client(service, content["access_token"])("GET", "AlertDefinitions").status == 200


def test_the_tenant_may_be_named_and_the_secret_come_by_basic(service: Local, access: Access) -> None:
    import base64  # noqa: PLC0415

    both = base64.b64encode(f"{access.client_id}:{access.client_secret}".encode()).decode()
    reply = service.form(
        "/contoso/oauth2/token", {"grant_type": "client_credentials"}, {"Authorization": f"Basic {both}"}
    )
    assert reply.status == 200


NO_SECRET = {"client_secret": ""}


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"client_id": "00000000-0000-4000-8000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"client_id": "\0'\"--"}, 400, "unauthorized_client", 700016),
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000216),
        ({"resource": "https://evil.example"}, 400, "invalid_resource", 500011),
    ],
    ids=str,
)
def test_v1_refusals(
    service: Local, access: Access, changes: dict[str, str], status: int, error: str, number: int
) -> None:
    correlation = "11111111-2222-4333-8444-555555555555"
    reply = service.form(
        f"/{access.tenant_id}/oauth2/token", access.form | changes, {"client-request-id": correlation}
    )
    assert reply.status == status, reply.body
    content = reply.json()
    assert (content["error"], content["error_codes"]) == (error, [number])
    assert content["correlation_id"] == correlation
    assert content["error_description"].startswith(f"AADSTS{number}: ")
    assert (
        f"\r\nTrace ID: {content['trace_id']}\r\nCorrelation ID: {correlation}"
        in content["error_description"]
    )
    datetime.strptime(content["timestamp"], "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
    assert content["error_uri"] == f"https://127.0.0.1:8443/error?code={number}"
    assert service.request("GET", f"/error?code={number}").status == 200
    assert ("www-authenticate" in reply.headers) is (status == 401)


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ("", "invalid_request"),
        ("https://graph.microsoft.com", "invalid_scope"),
        ("/.default", "invalid_scope"),
        ("https://a/.default https://b/.default", "invalid_scope"),
        ("https://evil.example/.default", "invalid_resource"),
    ],
)
def test_v2_refusals(service: Local, access: Access, scope: str, error: str) -> None:
    reply = service.form(f"/{access.tenant_id}/oauth2/v2.0/token", access.form | {"scope": scope})
    assert (reply.status, reply.json()["error"]) == (400, error)


def test_forms_that_are_none(service: Local, access: Access) -> None:
    where = f"/{access.tenant_id}/oauth2/token"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert service.request("POST", where, b"a=1&a=2", form).json()["error_codes"] == [9000411]
    assert service.request("POST", where, b"a=%ff", form).json()["error_codes"] == [9000410]
    assert service.request("POST", where, b"\xff", form).json()["error_codes"] == [9000410]
    assert service.request("POST", where, b"a=1&" * 200, form).json()["error_codes"] == [9000410]
    assert service.request("POST", where, b"{}", {"Content-Type": "application/json"}).status == 400
    assert service.request("POST", where, b"a" * 70_000, form).status == 413
    assert service.request("GET", where).status == 400
    assert service.form("/nobody/oauth2/token", access.form).json()["error_codes"] == [90002]
    bad = form | {"Authorization": "Basic !"}
    assert service.request("POST", where, b"", bad).json()["error_codes"] == [7000215]


def test_an_application_gets_no_token_from_another_tenant(service: Local, access: Access) -> None:
    other = add_access(service.store, "fabrikam-token")
    reply = service.form(f"/{other.tenant_id}/oauth2/token", access.form)
    assert reply.json()["error_codes"] == [700016]


def test_secrets_expire_and_are_revoked_at_once(service: Local) -> None:
    access = add_access(service.store, "secrets")
    scope = service.store.tenant(access.tenant_id)
    client = service.client(access)
    assert client("GET", "AlertDefinitions").status == 200
    old = secrets.make()
    past = datetime.now(UTC) - timedelta(seconds=1)
    scope.add_secret(access.client_id, secrets.digest(old), "old", expires_at=past)
    where = f"/{access.tenant_id}/oauth2/token"
    assert service.form(where, access.form | {"client_secret": old}).json()["error_codes"] == [7000222]
    second = secrets.make()
    scope.add_secret(access.client_id, secrets.digest(second), "new")
    scope.revoke_secret(access.client_id, access.secret_id)
    assert client("GET", "AlertDefinitions").status == 401
    assert service.form(where, access.form).json()["error_codes"] == [7000215]
    reply = service.form(where, access.form | {"client_secret": second})
    another = Client(service, reply.json()["access_token"])
    assert another("GET", "AlertDefinitions").status == 200
    scope.revoke_application(access.client_id)
    assert another("GET", "AlertDefinitions").status == 401
    reply = service.form(where, access.form | {"client_secret": second})
    assert (reply.status, reply.json()["error"]) == (400, "unauthorized_client")


@pytest.mark.parametrize("step", ["", "/v2.0"])
def test_what_clients_discover(service: Local, access: Access, step: str) -> None:
    found = service.request("GET", f"/contoso{step}/.well-known/openid-configuration").json()
    base = f"https://127.0.0.1:8443/{access.tenant_id}"
    assert found["issuer"] == f"{base}/{step.removeprefix('/')}"
    assert found["token_endpoint"] == f"{base}/oauth2{step}/token"
    path = found["jwks_uri"].removeprefix("https://127.0.0.1:8443")
    assert len(service.request("GET", path).json()["keys"]) == 1
    assert service.request("GET", f"/nobody{step}/.well-known/openid-configuration").status == 400


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic eDp5", "Bearer é"])
def test_without_a_token_that_holds_nothing_is_told(service: Local, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for target in ("AlertDefinitions", "AlertDefinitions(1)", "IndicatorsOfCompromise"):
        reply = service.request("GET", f"/v1.0/{target}", headers=headers)
        assert (reply.status, reply.error["code"]) == (401, "Unauthorized")
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.full
def test_roles_are_asked_for_by_every_route(service: Local, access: Access) -> None:
    held = frozenset({roles.TI_READ, roles.ALERT_READ})
    reader = service.client(add_application(service.store, access.tenant_id, tuple(held)))
    nobody = service.client(add_application(service.store, access.tenant_id, ()))
    for row in ROUTES:
        path = row.shape.replace("#", "1")
        body: dict[str, Any] | None = {} if row.body.name != "NONE" else None
        if not row.roles:
            assert service.request("GET", f"/v1.0/{path}").status == 200
            continue
        assert nobody(row.method, path, body).status == 403
        refused = reader(row.method, path, body).status == 403
        assert refused is held.isdisjoint(row.roles), path
        reads = row.method == "GET" or row.shape == "AllowLists/Actions.Check"
        assert refused or reads, path
        assert not (refused and reads) or row.roles == roles.ADMINS, path

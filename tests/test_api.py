"""The service over a real store, called in this process: tokens, the TI API, limits, tenants kept apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia.auth import roles, secrets
from indicia.errors import StoreError
from indicia.model import Quotas
from indicia.web.api import ROUTES
from indicia.web.api.dispatch import ENTITY_LIMIT
from service import (
    DEFINITION,
    SHA1,
    Access,
    Client,
    Local,
    Reply,
    add_access,
    add_application,
    indicator,
    local,
)

BIND = "AlertDefinition@odata.bind"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One store for the tests that look after themselves."""
    with local(tmp_path_factory.mktemp("home"), max_body_bytes=4 * 1024 * 1024) as started:
        yield started


@pytest.fixture(scope="module")
def access(service: Local) -> Access:
    """Its tenant contoso."""
    return add_access(service.store, "contoso")


@pytest.fixture(scope="module")
def api(service: Local, access: Access) -> Client:
    """Calls as contoso."""
    return service.client(access)


@pytest.fixture
def empty(service: Local, request: pytest.FixtureRequest) -> Client:
    """Calls as a tenant of the test's own."""
    return service.client(add_access(service.store, request.node.name))


# Tokens


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


def test_roles_are_asked_for_by_every_route(service: Local, access: Access) -> None:
    reader = service.client(add_application(service.store, access.tenant_id, (roles.TI_READ,)))
    nobody = service.client(add_application(service.store, access.tenant_id, ()))
    for row in ROUTES:
        path = row.shape.replace("#", "1")
        body: dict[str, Any] | None = {} if row.body.name != "NONE" else None
        if not row.roles:
            assert service.request("GET", f"/v1.0/{path}").status == 200
            continue
        assert nobody(row.method, path, body).status == 403
        assert (reader(row.method, path, body).status == 403) is (row.method != "GET")


# The TI API


def test_the_five_steps(empty: Client) -> None:
    assert empty("GET", "AlertDefinitions").json()["value"] == []
    made = empty("POST", "AlertDefinitions", DEFINITION)
    assert made.status == 201
    number = made.json()["Id"]
    assert made.headers["location"] == f"https://127.0.0.1:8443/v1.0/AlertDefinitions({number})"
    found = empty("POST", "IndicatorsOfCompromise", indicator(number))
    assert found.status == 201
    assert found.json()["Value"] == SHA1
    assert found.headers["odata-version"] == "4.0"


def test_version_in_both_letter_cases(service: Local, api: Client) -> None:
    token = {"Authorization": f"Bearer {api.token}"}
    for version in ("v1.0", "V1.0"):
        reply = service.request("GET", f"/{version}/AlertDefinitions", headers=token)
        assert (
            reply.json()["@odata.context"] == f"https://127.0.0.1:8443/{version}/$metadata#AlertDefinitions"
        )
    assert service.request("GET", "/v2.0/AlertDefinitions", headers=token).status == 404


def test_service_document_and_metadata(service: Local) -> None:
    for target in ("/v1.0", "/v1.0/"):
        document = service.request("GET", target).json()
        assert [item["name"] for item in document["value"]] == ["AlertDefinitions", "IndicatorsOfCompromise"]
    reply = service.request("GET", "/V1.0/$metadata")
    assert reply.headers["content-type"] == "application/xml; charset=utf-8"
    assert b"EntityContainer" in reply.body


def test_a_definition_is_read_changed_and_deleted(empty: Client) -> None:
    number = empty.add_definition()
    before = empty("GET", f"AlertDefinitions({number})").json()
    assert before["LastModifiedAt"] is None
    assert before["LastModifiedBy"] is None
    assert before["CreatedAt"].endswith("Z")
    changed = empty("PATCH", f"AlertDefinitions({number})", {"Title": "Another"})
    assert changed.status == 200
    assert changed.json()["Title"] == "Another"
    assert changed.json()["Name"] == before["Name"]
    assert changed.json()["LastModifiedBy"] == before["CreatedBy"]
    whole = empty("PATCH", f"AlertDefinitions({number})", before | {"Severity": "High"})
    assert (whole.json()["Title"], whole.json()["Severity"]) == (before["Title"], "High")
    found = empty.add_indicator(number)
    assert empty("DELETE", f"AlertDefinitions({number})").status == 204
    assert empty("GET", f"AlertDefinitions({number})").status == 404
    assert empty("GET", f"IndicatorsOfCompromise({found})").status == 404


def test_an_indicator_is_changed_moved_and_deleted(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    number = empty.add_indicator(first)
    path = f"IndicatorsOfCompromise({number})"
    changed = empty("PATCH", path, {"Type": "DomainName", "Value": "evil.example", "Enabled": "false"})
    assert changed.status == 200
    assert (changed.json()["Value"], changed.json()["Enabled"]) == ("evil.example", False)
    wrong = empty("PATCH", path, {"Type": "IpAddress"})
    assert (wrong.status, wrong.error["target"]) == (400, "Value")
    for reference in (
        f"AlertDefinitions({second})",
        f"https://127.0.0.1:8443/V1.0/AlertDefinitions({first})",
        f"AlertDefinitions({second})",
    ):
        assert empty("PUT", f"{path}/AlertDefinition/$ref", {"@odata.id": reference}).status == 204
    assert empty("GET", f"{path}/AlertDefinition").json()["Id"] == second
    assert empty("PATCH", path, {BIND: f"AlertDefinitions({first})"}).status == 200
    assert empty("GET", f"{path}/AlertDefinition").json()["Id"] == first
    assert empty("PUT", f"{path}/AlertDefinition/$ref", {"@odata.id": "AlertDefinitions(999)"}).status == 400
    assert empty("PUT", f"{path}/AlertDefinition/$ref", {}).status == 400
    assert empty("PATCH", path, {BIND: "AlertDefinitions(999)"}).error["target"] == BIND
    moved = {"@odata.id": f"AlertDefinitions({first})"}
    assert empty("PUT", "IndicatorsOfCompromise(999999)/AlertDefinition/$ref", moved).status == 404
    assert empty("DELETE", path).status == 204
    assert empty("DELETE", path).status == 404


def test_collections_are_deleted_whole_but_never_with_a_query(empty: Client) -> None:
    first, second = empty.add_definition(), empty.add_definition()
    for owner in (first, first, second):
        empty.add_indicator(owner)
    for path in (
        "AlertDefinitions",
        "IndicatorsOfCompromise",
        f"AlertDefinitions({first})/Actions.DeleteIOCs",
    ):
        method = "POST" if "Actions" in path else "DELETE"
        for query in ("$filter=Id%20eq%201", "x", "$top=1"):
            assert empty(method, f"{path}?{query}").status == 400
    assert empty("GET", "IndicatorsOfCompromise?$count=true").json()["@odata.count"] == 3
    assert empty("POST", f"AlertDefinitions({first})/Actions.DeleteIOCs").status == 204
    assert empty("GET", "IndicatorsOfCompromise?$count=true").json()["@odata.count"] == 1
    assert empty("POST", "AlertDefinitions(999999)/Actions.DeleteIOCs").status == 404
    assert empty("DELETE", "IndicatorsOfCompromise").status == 204
    assert empty("GET", "AlertDefinitions?$count=true").json()["@odata.count"] == 2
    assert empty("DELETE", "AlertDefinitions").status == 204
    assert empty("GET", "AlertDefinitions").json()["value"] == []


def test_lists_are_paged_by_next_links(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(2300)]
    made = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert made.status == 200
    ids = [item["Id"] for item in made.json()["value"]]
    assert len(ids) == 2300
    for start, expected in (
        ("IndicatorsOfCompromise", ids),
        ("IndicatorsOfCompromise?$top=1500&$count=true", ids[:1500]),
        ("IndicatorsOfCompromise?$top=1000", ids[:1000]),
        ("IndicatorsOfCompromise?$top=0", []),
        (f"AlertDefinitions({owner})/IndicatorsOfCompromise", ids),
    ):
        seen: list[int] = []
        path: str | None = start
        while path:
            page = empty("GET", path).json()
            assert ("@odata.count" in page) is ("$count" in start)
            seen += [item["Id"] for item in page["value"]]
            link = page.get("@odata.nextLink")
            path = link.partition("/v1.0/")[2] if link else None
        assert seen == expected


def test_a_bulk_upload_is_whole_or_not_at_all(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(20)]
    twice = [*rows, rows[0]]
    rows[17] = rows[17] | {"Value": "not a domain"}
    reply = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert (reply.status, reply.error["target"]) == (400, "iocs[17].Value")
    rows[17] = indicator(999_999)
    reply = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": rows})
    assert (reply.status, reply.error["target"]) == (400, f"iocs[17].{BIND}")
    assert empty("GET", "IndicatorsOfCompromise").json()["value"] == []
    assert empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": twice}).status == 200
    reply = empty("POST", "AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": [DEFINITION] * 3})
    assert [item["Title"] for item in reply.json()["value"]] == [DEFINITION["Title"]] * 3
    wrong = [DEFINITION, DEFINITION | {"Severity": "Huge"}]
    reply = empty("POST", "AlertDefinitions/Actions.BulkUpload", {"alertDefinitions": wrong})
    assert reply.error["target"] == "alertDefinitions[1].Severity"
    assert "Informational, Low, Medium, High" in reply.error["message"]
    assert len(empty("GET", "AlertDefinitions").json()["value"]) == 4


def test_five_thousand_entities_and_not_one_more(empty: Client) -> None:
    owner = empty.add_definition()
    rows = [indicator(owner, Type="DomainName", Value=f"h{n}.example") for n in range(5001)]
    path = "IndicatorsOfCompromise/Actions.BulkUpload"
    assert empty("POST", path, {"iocs": rows}).error["target"] == "iocs"
    assert empty("POST", path, {"iocs": rows[:5000]}).status == 200


def test_quotas_are_507_with_the_figures(tmp_path: Path) -> None:
    with local(tmp_path, Quotas(definitions=2, indicators=4, patterns=1)) as service:
        api = service.client(add_access(service.store, "small"))
        owner = api.add_definition()
        api.add_definition()
        reply = api("POST", "AlertDefinitions", DEFINITION)
        assert (reply.status, reply.error["code"]) == (507, "QuotaExceeded")
        assert "2" in reply.error["message"]
        pattern = indicator(owner, Type="DomainName", Value="evil.example", DetectionFunction="EndWith")
        number = api.add_indicator(
            owner, Type="DomainName", Value="evil.example", DetectionFunction="Contains"
        )
        assert api("POST", "IndicatorsOfCompromise", pattern).status == 507
        other = api.add_indicator(owner)
        change = {"Type": "DomainName", "Value": "evil.example", "DetectionFunction": "EndWith"}
        assert api("PATCH", f"IndicatorsOfCompromise({other})", change).status == 507
        many = {"iocs": [indicator(owner)] * 3}
        assert api("POST", "IndicatorsOfCompromise/Actions.BulkUpload", many).status == 507
        assert len(api("GET", "IndicatorsOfCompromise").json()["value"]) == 2
        assert api("DELETE", f"IndicatorsOfCompromise({number})").status == 204
        assert api("POST", "IndicatorsOfCompromise", pattern).status == 201


def test_extensions_of_type_function_and_time(empty: Client) -> None:
    owner = empty.add_definition(GroupBy="Indicator", WindowSeconds=3600)
    number = 0
    for kind, function, value in (
        ("Url", "Equals", "http://Evil.example/a"),
        ("FileName", "Equals", "Evil.exe"),
        ("IpAddress", "Equals", "192.0.2.0/24"),
        ("DomainName", "SubdomainOf", "evil.example"),
    ):
        number = empty.add_indicator(
            owner,
            Type=kind,
            Value=value,
            DetectionFunction=function,
            ValidFrom="2029-01-01T00:00:00Z",
            ExpiresAt="2030-01-01T01:00:00+01:00",
            Source="report 7",
        )
        found = empty("GET", f"IndicatorsOfCompromise({number})").json()
        assert found["Value"] == value
        assert (found["ValidFrom"], found["ExpiresAt"]) == ("2029-01-01T00:00:00Z", "2030-01-01T00:00:00Z")
        assert found["Source"] == "report 7"
    shown = empty("GET", f"AlertDefinitions({owner})").json()
    assert (shown["GroupBy"], shown["WindowSeconds"]) == ("Indicator", 3600)
    path = f"IndicatorsOfCompromise({number})"
    assert empty("PATCH", path, {"ValidFrom": "2031-01-01T00:00:00Z"}).error["target"] == "ValidFrom"


def test_what_the_author_should_know_is_said_beside_the_entity(empty: Client) -> None:
    owner = empty.add_definition()
    body = indicator(owner, Type="DomainName", Value="evil.com", DetectionFunction="EndWith")
    assert empty("POST", "IndicatorsOfCompromise", body).json()["@indicia.warnings"]
    assert "@indicia.warnings" not in empty("POST", "IndicatorsOfCompromise", indicator(owner)).json()
    many = empty("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": [indicator(owner), body]})
    assert many.json()["@indicia.warnings"][0].startswith("iocs[1]: ")


@pytest.mark.parametrize(
    ("level", "context", "identity"), [("none", False, False), ("minimal", True, False), ("full", True, True)]
)
def test_levels_of_annotation(empty: Client, level: str, context: bool, identity: bool) -> None:
    number = empty.add_definition()
    for path in (f"AlertDefinitions({number})", "AlertDefinitions"):
        reply = empty("GET", path, headers={"Accept": f"application/json;odata.metadata={level}"})
        assert reply.headers["content-type"] == f"application/json; odata.metadata={level}; charset=utf-8"
        content = reply.json()
        assert ("@odata.context" in content) is context
        assert ("@odata.id" in content.get("value", [content])[0]) is identity


# Errors and limits


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("AlertDefinitions(999999)", 404),
        ("AlertDefinitions(0)", 404),
        ("AlertDefinitions(-1)", 404),
        ("AlertDefinitions('1')", 400),
        ("AlertDefinitions(9223372036854775807)", 404),
        ("AlertDefinitions(9223372036854775808)", 400),
        ("AlertDefinitions(1)(2)", 404),
        ("AlertDefinitions(1", 404),
        ("alertdefinitions", 404),
        ("Nothing", 404),
        ("..%2f..%2fetc", 404),
        ("%00", 404),
        ("%ff", 400),
        ("%zz", 404),
        ("AlertDefinitions(1)/Name", 404),
        ("AlertDefinitions/$count/Name", 404),
        ("$batch", 501),
        ("AlertDefinitions(1)/Colour", 404),
        ("AlertDefinitions?$search=red", 501),
        ("AlertDefinitions?$filter=Colour%20eq%201", 400),
        ("AlertDefinitions?colour=red", 400),
        ("AlertDefinitions?$top=-1", 400),
        ("AlertDefinitions(1)?$top=1", 400),
        ("$metadata?$format=json", 501),
        ("A" * 5000, 404),
        ("(" * 10_000, 404),
    ],
)
def test_paths_that_lead_nowhere(api: Client, path: str, status: int) -> None:
    reply = api("GET", path)
    assert reply.status == status, reply.body
    assert set(reply.error) <= {"code", "message", "target", "details"}
    assert reply.error["message"]


def test_methods(api: Client) -> None:
    reply = api("PUT", "AlertDefinitions")
    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, POST")
    assert api("OPTIONS", "AlertDefinitions(1)").headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert api("OPTIONS", "AlertDefinitions(1)").status == 204
    assert api("HEAD", "AlertDefinitions").status == 200
    assert api("TRACE", "AlertDefinitions").status == 405
    assert api("X" * 500, "AlertDefinitions").status == 400
    assert api("POST", "$metadata", {}).status == 405


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 201),
        ("application/json;odata.metadata=minimal;charset=UTF-8", 201),
        ("text/json", 201),
        ("", 201),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("application/json;charset=utf-16", 400),
    ],
)
def test_media_types(empty: Client, kind: str, status: int) -> None:
    assert empty("POST", "AlertDefinitions", DEFINITION, {"Content-Type": kind}).status == status


def test_compressed_bodies_are_refused(api: Client) -> None:
    assert api("POST", "AlertDefinitions", b"x", {"Content-Encoding": "gzip"}).status == 415


def test_bodies_beyond_the_limit(service: Local, api: Client) -> None:
    limit = service.settings.max_body_bytes
    bulk = "IndicatorsOfCompromise/Actions.BulkUpload"
    assert api("POST", bulk, b" " * limit).status == 400
    assert api("POST", bulk, b" " * (limit + 1)).status == 413
    assert api("POST", bulk, b"{}", {"Content-Length": str(limit + 1)}).status == 413
    assert api("POST", bulk, b"{}", {"Content-Length": "9" * 50}).status == 413
    assert api("POST", "AlertDefinitions", b" " * (ENTITY_LIMIT + 1)).status == 413


def test_a_busy_store_says_when_to_try_again(
    service: Local, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> None:
        raise StoreError("/secret/place is locked", retry_after=2)

    monkeypatch.setattr("indicia.store.TenantStore.definition", busy)
    reply = api("GET", "AlertDefinitions(1)")
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert b"secret" not in reply.body
    monkeypatch.setattr("indicia.store.Store.signing_keys", busy)
    assert service.request("GET", "/health").status == 503


def test_what_nobody_foresaw_is_told_and_logged_without_content(
    api: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "evil.example was seen on host-7"

    def broken(*_: Any) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr("indicia.store.TenantStore.definition", broken)
    reply = api("GET", "AlertDefinitions(1)")
    assert (reply.status, reply.error["code"]) == (500, "InternalError")
    assert "RuntimeError" in caplog.text
    assert "host-7" not in caplog.text + reply.body.decode()


def test_health(service: Local) -> None:
    assert service.request("GET", "/health").json()["status"] == "ok"


def test_links_lead_back_the_way_the_client_came(service: Local, api: Client) -> None:
    token = {"Authorization": f"Bearer {api.token}"}
    for host, root in (
        ("ti.example:9000", "https://ti.example:9000"),
        ("[::1]:8443", "https://[::1]:8443"),
        ('evil"><script>', "https://127.0.0.1:8443"),
        ("a b", "https://127.0.0.1:8443"),
    ):
        reply = service.request("GET", "/v1.0/AlertDefinitions", headers=token | {"Host": host})
        assert reply.json()["@odata.context"].startswith(f"{root}/v1.0/$metadata")


# Tenants kept apart


def test_no_tenant_sees_or_touches_what_another_has(service: Local) -> None:
    ours = service.client(add_access(service.store, "ours"))
    theirs = service.client(add_access(service.store, "theirs"))
    owner = ours.add_definition()
    found = ours.add_indicator(owner)
    their_owner = theirs.add_definition()
    their_found = theirs.add_indicator(their_owner)
    state = [ours("GET", path).body for path in ("AlertDefinitions", "IndicatorsOfCompromise")]
    calls: list[tuple[str, str, Any, int]] = [
        ("GET", f"AlertDefinitions({owner})", None, 404),
        ("GET", f"AlertDefinitions({owner})/IndicatorsOfCompromise", None, 404),
        ("GET", f"IndicatorsOfCompromise({found})", None, 404),
        ("GET", f"IndicatorsOfCompromise({found})/AlertDefinition", None, 404),
        ("PATCH", f"AlertDefinitions({owner})", {"Title": "x"}, 404),
        ("PATCH", f"IndicatorsOfCompromise({found})", {"Enabled": False}, 404),
        ("PATCH", f"IndicatorsOfCompromise({their_found})", {BIND: f"AlertDefinitions({owner})"}, 400),
        (
            "PUT",
            f"IndicatorsOfCompromise({found})/AlertDefinition/$ref",
            {"@odata.id": f"AlertDefinitions({their_owner})"},
            404,
        ),
        (
            "PUT",
            f"IndicatorsOfCompromise({their_found})/AlertDefinition/$ref",
            {"@odata.id": f"AlertDefinitions({owner})"},
            400,
        ),
        ("POST", "IndicatorsOfCompromise", indicator(owner), 400),
        ("POST", "IndicatorsOfCompromise/Actions.BulkUpload", {"iocs": [indicator(owner)]}, 400),
        ("POST", f"AlertDefinitions({owner})/Actions.DeleteIOCs", None, 404),
        ("DELETE", f"AlertDefinitions({owner})", None, 404),
        ("DELETE", f"IndicatorsOfCompromise({found})", None, 404),
        ("DELETE", "IndicatorsOfCompromise", None, 204),
        ("DELETE", "AlertDefinitions", None, 204),
    ]
    for method, path, body, status in calls:
        reply = theirs(method, path, body)
        assert reply.status == status, (method, path, reply.body)
    assert [ours("GET", path).body for path in ("AlertDefinitions", "IndicatorsOfCompromise")] == state
    for path in ("AlertDefinitions", "IndicatorsOfCompromise"):
        page = theirs("GET", f"{path}?$count=true").json()
        assert (page["value"], page["@odata.count"]) == ([], 0)


# Whatever comes


def _sane(reply: Reply) -> None:
    assert reply.status < 500 or reply.status in (501, 507), reply.body
    if reply.status >= 400:
        assert reply.error["message"]


QUIET = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WIRE = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"))
SHAPES = st.sampled_from([row.shape for row in ROUTES]).flatmap(
    lambda shape: st.integers(-5, 2**65).map(lambda key: shape.replace("#", str(key)))
)
METHODS = st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "QUERY"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [*DEFINITION, *indicator(1), "Id", "ExpiresAt", "iocs", "alertDefinitions", "@odata.id"]
)


@QUIET
@given(METHODS, SHAPES | WIRE, st.none() | WIRE, st.binary() | VALUES | st.dictionaries(MEMBERS, VALUES))
def test_whatever_is_asked_is_answered(
    api: Client, method: str, path: str, query: str | None, body: Any
) -> None:
    target = path if query is None else f"{path}?{query}"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    _sane(api(method, target, content))


@QUIET
@given(st.dictionaries(MEMBERS, VALUES, max_size=3), st.booleans())
def test_whatever_a_nearly_good_body_holds_is_answered(
    api: Client, changes: dict[str, Any], bulk: bool
) -> None:
    body: Any = indicator(1) | changes
    path = "IndicatorsOfCompromise"
    if bulk:
        path, body = f"{path}/Actions.BulkUpload", {"iocs": [indicator(1), body]}
    _sane(api("POST", path, body))
    _sane(api("POST", "AlertDefinitions", DEFINITION | changes))


@QUIET
@given(
    st.sampled_from(["", "1.0", "contoso", "%00", "a" * 300]),
    st.dictionaries(
        st.sampled_from(["grant_type", "client_id", "client_secret", "resource", "scope"]), st.text()
    ),
    st.booleans(),
)
def test_whatever_the_token_endpoint_is_asked_is_answered(
    service: Local, tenant: str, form: dict[str, str], version: bool
) -> None:
    step = "/v2.0" if version else ""
    changed = {"grant_type": "client_credentials"} | {
        name: value.encode("utf-8", "replace").decode() for name, value in form.items()
    }
    reply = service.form(f"/{tenant}/oauth2{step}/token", changed)
    assert reply.status in (400, 401, 404, 405, 429)

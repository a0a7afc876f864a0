"""Who gets a token: certificates, refresh tokens, limits on guessing, roles, keys; and how a no is worded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia.auth import attempts, roles, secrets
from indicia.auth.assertions import TYPE
from indicia.auth.attempts import Attempts
from indicia.errors import InputError, NotFound, StoreError, TooManyRequests
from indicia.web.api import ROUTES
from indicia.web.api.call import ANYONE, Row
from indicia.web.gate import issuer_of
from indicia.web.grants import Given, Grants
from oauth import ask, assertion_form, part, redeem, refused, works
from service import DEFINITION, Access, Local, add_access, add_application, local


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One store; every test has a tenant of its own, and an address of its own where it fails often."""
    with local(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
def access(service: Local, request: pytest.FixtureRequest) -> Access:
    """An application of a tenant of the test's own, that calls from an address of its own."""
    number = abs(hash(request.node.name))
    service.address = f"10.{number % 250}.{number // 250 % 250}.{number // 62_500 % 250}"
    return add_access(service.store, str(uuid4()))


@pytest.fixture
def grants(service: Local) -> Grants:
    """What the portal and the command line call."""
    return Grants(service.store, issuer_of(service.settings, service.store))


# Refusals as Azure AD words them


def test_a_refusal_has_all_that_azure_ad_says(service: Local, access: Access) -> None:
    correlation = str(uuid4())
    reply = service.form(
        f"/{access.tenant_id}/oauth2/token",
        access.form | {"client_secret": "wrong"},
        {"client-request-id": correlation, "return-client-request-id": "true"},
    )
    content = reply.json()
    assert reply.status == 401
    assert set(content) == {
        "error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri",
    }  # fmt: skip
    assert content["correlation_id"] == reply.headers["client-request-id"] == correlation
    assert str(UUID(content["trace_id"])) == reply.headers["x-ms-request-id"]
    assert datetime.strptime(content["timestamp"], "%Y-%m-%d %H:%M:%SZ").year >= 2026  # noqa: DTZ007
    first, trace, correlated, stamp = content["error_description"].split("\r\n")
    assert first.startswith("AADSTS7000215: ")
    assert trace == f"Trace ID: {content['trace_id']}"
    assert correlated == f"Correlation ID: {correlation}"
    assert stamp == f"Timestamp: {content['timestamp']}"
    path = content["error_uri"].removeprefix("https://127.0.0.1:8443")
    assert "secret" in service.request("GET", path).json()["explanation"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_the_token_endpoint_takes_post_alone(service: Local, access: Access, method: str) -> None:
    refused(service.request(method, f"/{access.tenant_id}/oauth2/token"), 400, "invalid_request", 900561)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("application/json", 900144),
        ("multipart/form-data; boundary=x", 900144),
        ("text/plain", 900144),
        ("", 900144),
        (";;;", 900144),
        ("application/x-www-form-urlencoded; charset=utf-16", 7000215),
        ("APPLICATION/X-WWW-FORM-URLENCODED", 7000215),
    ],
)
def test_content_types(service: Local, access: Access, kind: str, code: int) -> None:
    body = f"grant_type=client_credentials&client_id={access.client_id}&client_secret=x".encode()
    reply = service.request("POST", f"/{access.tenant_id}/oauth2/token", body, {"Content-Type": kind})
    assert reply.json()["error_codes"] == [code]


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_body_is_not_read(service: Local, access: Access, announced: bool) -> None:
    body = b"grant_type=" + b"x" * 1_000_000
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if announced:
        headers["Content-Length"] = str(10**30)
    reply = service.request("POST", f"/{access.tenant_id}/oauth2/token", body, headers)
    refused(reply, 413, "invalid_request", 90100)


def test_a_busy_store_is_told_in_the_endpoints_own_words(
    service: Local, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> None:
        raise StoreError("/secret/path is busy", retry_after=2)

    monkeypatch.setattr("indicia.store.Store.application", busy)
    reply = ask(service, access, **access.form)
    refused(reply, 503, "temporarily_unavailable", 90033)
    assert reply.headers["retry-after"] == "2"
    assert b"secret" not in reply.body


# Guessing


class Clock:
    """Seconds, set by hand."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_ten_failures_a_minute_of_one_application_from_one_address() -> None:
    clock = Clock()
    counted = Attempts(clock)
    for _ in range(attempts.FAILURES):
        counted.admit("a", "192.0.2.1")
        counted.failed("A", "192.0.2.1")
    clock.now += 20.5
    with pytest.raises(TooManyRequests) as told:
        counted.admit("a", "192.0.2.1")
    assert told.value.retry_after == 40
    counted.admit("b", "192.0.2.1")
    counted.admit("a", "192.0.2.2")
    clock.now += 40
    counted.admit("a", "192.0.2.1")
    counted.failed("a", "192.0.2.1")
    counted.admit("a", "192.0.2.1")


def test_one_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() -> None:
    counted = Attempts()
    for number in range(attempts.FAILURES):
        counted.failed("a", f"2001:db8::{number:x}")
        counted.failed("a", f"::ffff:192.0.2.{number}")
    with pytest.raises(TooManyRequests):
        counted.admit("a", "2001:db8::ffff:1")
    counted.admit("a", "2001:db8:0:1::1")
    counted.admit("a", "::ffff:192.0.2.1")


def test_a_caller_without_an_address_is_counted_too() -> None:
    counted = Attempts()
    for _ in range(attempts.FAILURES):
        counted.failed("a", "")
    with pytest.raises(TooManyRequests):
        counted.admit("a", "")


def test_the_count_of_failures_is_bounded() -> None:
    counted = Attempts()
    for number in range(attempts.PLACES + 500):
        counted.failed(str(number), "192.0.2.1")
    assert attempts.PLACES * 0.8 < len(counted) <= attempts.PLACES


def test_guessed_secrets_are_slowed_down_and_nobody_else_is(service: Local, access: Access) -> None:
    other = add_application(service.store, access.tenant_id, roles.DEFAULT)
    for _ in range(attempts.FAILURES):
        refused(ask(service, access, **access.form | {"client_secret": "x"}), 401, "invalid_client", 7000215)
    reply = ask(service, access, **access.form)
    refused(reply, 429, "temporarily_unavailable", 50053)
    assert 0 < int(reply.headers["retry-after"]) <= attempts.WINDOW_SECONDS
    assert ask(service, other, **other.form).status == 200
    service.address = "192.0.2.77"
    assert ask(service, access, **access.form).status == 200


def test_a_success_forgets_failures_and_a_malformed_request_is_none(service: Local, access: Access) -> None:
    for _ in range(attempts.FAILURES - 1):
        assert ask(service, access, **access.form | {"client_secret": "x"}).status == 401
    assert ask(service, access, **access.form).status == 200
    for _ in range(attempts.FAILURES + 1):
        assert ask(service, access, **access.form | {"resource": "https://other.example"}).status == 400
    assert ask(service, access, **access.form).status == 200


def test_guessing_client_ids_is_one_bucket_for_an_address(service: Local, access: Access) -> None:
    for _ in range(attempts.FAILURES):
        refused(
            ask(service, access, **access.form | {"client_id": str(uuid4())}),
            400, "unauthorized_client", 700016,
        )  # fmt: skip
    reply = ask(service, access, **access.form | {"client_id": str(uuid4())})
    refused(reply, 429, "temporarily_unavailable", 50053)
    assert ask(service, access, **access.form).status == 200


def test_guessed_refresh_tokens_and_assertions_count_too(service: Local, access: Access) -> None:
    for number in range(attempts.FAILURES):
        form = {"grant_type": "refresh_token", "client_id": access.client_id, "refresh_token": "guess"}
        if number % 2:
            form = assertion_form(access, "a.b.c")
        assert ask(service, access, **form).status in (400, 401)
    assert ask(service, access, **access.form).status == 429


# Refresh tokens


def generated(grants: Grants, service: Local, access: Access) -> Given:
    """What "Generate tokens" gives."""
    return grants.generate(service.store.tenant(access.tenant_id), access.client_id)


@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_a_refresh_token_is_used_once_and_replaced(
    service: Local, access: Access, grants: Grants, version: str
) -> None:
    first = generated(grants, service, access)
    assert works(service, first.issued.token)
    text = first.refresh_token
    for _ in range(3):
        reply = redeem(service, access, text, version, scope="https://graph.microsoft.com/.default openid")
        assert reply.status == 200, reply.body
        assert works(service, reply.json()["access_token"])
        assert isinstance(reply.json()["expires_in"], int if version else str)
        assert reply.json()["refresh_token"] != text
        text = reply.json()["refresh_token"]


def test_a_refresh_token_that_is_used_twice_ends_its_whole_family(
    service: Local, access: Access, grants: Grants
) -> None:
    first, bystander = generated(grants, service, access), generated(grants, service, access)
    second = redeem(service, access, first.refresh_token).json()
    assert works(service, second["access_token"])
    refused(redeem(service, access, first.refresh_token), 400, "invalid_grant", 50173)
    refused(redeem(service, access, second["refresh_token"]), 400, "invalid_grant", 50173)
    assert not works(service, second["access_token"])
    assert not works(service, first.issued.token)
    assert works(service, bystander.issued.token)
    assert redeem(service, access, bystander.refresh_token).status == 200
    assert works(service, service.token(access))


def test_of_several_at_once_one_gets_the_next_token(service: Local, access: Access, grants: Grants) -> None:
    text = generated(grants, service, access).refresh_token
    tenant = service.store.tenant(access.tenant_id)
    found: list[str] = []

    def take(number: int) -> None:
        redeemed = tenant.access.rotate_refresh_token(
            access.client_id, secrets.digest(text), str(number), timedelta(days=1)
        )
        found.append(redeemed.state)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["replayed", *["revoked"] * 6, "rotated"]


def test_refresh_tokens_that_are_refused(service: Local, access: Access, grants: Grants) -> None:
    text = generated(grants, service, access).refresh_token
    refused(redeem(service, access, "guess"), 400, "invalid_grant", 70000)
    neighbour = add_application(service.store, access.tenant_id, roles.ALL)
    refused(redeem(service, neighbour, text), 400, "invalid_grant", 70000)
    stranger = add_access(service.store, str(uuid4()))
    refused(redeem(service, stranger, text), 400, "invalid_grant", 70000)
    refused(redeem(service, access, text, client_secret="wrong"), 401, "invalid_client", 7000215)
    refused(redeem(service, access, text, resource="https://evil.example"), 400, "invalid_resource", 500011)
    refused(redeem(service, access, "", "/v2.0"), 400, "invalid_request", 900144)
    digest = secrets.digest("old")
    zero = timedelta(0)
    tenant = service.store.tenant(access.tenant_id)
    tenant.access.add_refresh_token(access.client_id, digest, "https://graph.windows.net", zero, zero)
    refused(redeem(service, access, "old"), 400, "invalid_grant", 700082)
    assert redeem(service, access, text, client_secret=access.client_secret).status == 200


def test_a_family_ends_whatever_its_use(service: Local, access: Access) -> None:
    tenant = service.store.tenant(access.tenant_id)
    longest = timedelta(seconds=3)
    first = tenant.access.add_refresh_token(
        access.client_id, "1", "https://graph.windows.net", longest, longest
    )
    token = tenant.access.rotate_refresh_token(access.client_id, "1", "2", timedelta(days=14)).token
    assert token is not None
    assert token.expires_at == token.family_expires_at == first.family_expires_at


def test_revoking_ends_refresh_tokens_and_what_they_got(
    service: Local, access: Access, grants: Grants
) -> None:
    given_ = generated(grants, service, access)
    tenant = service.store.tenant(access.tenant_id)
    assert tenant.access.revoke_refresh_tokens(access.client_id) == 1
    assert tenant.access.revoke_refresh_tokens(access.client_id) == 0
    refused(redeem(service, access, given_.refresh_token), 400, "invalid_grant", 50173)
    assert not works(service, given_.issued.token)
    again = generated(grants, service, access)
    tenant.revoke_application(access.client_id)
    refused(redeem(service, access, again.refresh_token), 400, "unauthorized_client", 7000112)
    assert not works(service, again.issued.token)
    with pytest.raises(InputError, match="revoked"):
        generated(grants, service, access)
    with pytest.raises(NotFound):
        grants.generate(tenant, str(uuid4()))


def test_nothing_that_gets_in_is_kept_as_text(service: Local, access: Access, grants: Grants) -> None:
    text = generated(grants, service, access).refresh_token
    content = b"".join(path.read_bytes() for path in service.settings.home.glob("indicia.db*"))
    assert access.client_id.encode() in content
    assert text.encode() not in content
    assert access.client_secret.encode() not in content


def test_client_credentials_give_no_refresh_token(service: Local, access: Access) -> None:
    assert "refresh_token" not in ask(service, access, **access.form).json()


# Roles


@pytest.mark.full
@pytest.mark.parametrize("row", ROUTES, ids=lambda row: f"{row.method} {row.shape}")
def test_every_route_asks_for_a_role(service: Local, row: Row) -> None:
    """And says no without it, before the body is looked at."""
    assert (row.roles == ANYONE) == (row.shape in ("", "$metadata"))
    assert row.roles <= set(roles.ALL)
    if row.roles == ANYONE:
        return
    path = row.shape.replace("(#)", "(999999)")
    assert service.request(row.method, f"/v1.0/{path}").status == 401
    others = tuple(role for role in roles.ALL if role not in row.roles)
    access = add_access(service.store, str(uuid4()), others)
    reply = service.client(access)(row.method, path)
    assert (reply.status, reply.error["code"]) == (403, "Forbidden")
    for role in row.roles:
        assert service.client(add_access(service.store, str(uuid4()), (role, *row.also)))(
            row.method, path
        ).status not in (401, 403)


def test_a_role_that_was_not_in_the_token_is_not_had(service: Local, access: Access) -> None:
    reader = add_application(service.store, access.tenant_id, (roles.TI_READ,))
    client = service.client(reader)
    assert client("GET", "AlertDefinitions(999999999)").status == 404
    assert client("POST", "AlertDefinitions", DEFINITION).status == 403


# What clients discover


@pytest.mark.parametrize("tenant", ["common", "organizations", "COMMON"])
@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_any_tenant_is_described_by_a_template(service: Local, tenant: str, version: str) -> None:
    found = service.request("GET", f"/{tenant}{version}/.well-known/openid-configuration").json()
    assert "{tenantid}" in found["issuer"]
    assert found["token_endpoint"].endswith(f"/{tenant.lower()}/oauth2{version}/token")


def test_a_token_of_any_tenant_is_one_of_the_applications_own(service: Local, access: Access) -> None:
    reply = service.form("/common/oauth2/token", access.form)
    assert reply.status == 200
    assert works(service, reply.json()["access_token"])


@pytest.mark.parametrize("host", ["127.0.0.1:8443", "localhost:8443", "[::1]:8443"])
def test_endpoints_lead_back_the_way_the_client_came(service: Local, access: Access, host: str) -> None:
    path = f"/{access.tenant_id}/v2.0/.well-known/openid-configuration"
    found = service.request("GET", path, headers={"Host": host}).json()
    assert found["token_endpoint"] == f"https://{host}/{access.tenant_id}/oauth2/v2.0/token"
    assert found["issuer"] == f"https://127.0.0.1:8443/{access.tenant_id}/v2.0"
    spoofed = service.request("GET", path, headers={"Host": "evil.example"}).json()
    assert "evil.example" not in json.dumps(spoofed)


def test_instances(service: Local, access: Access) -> None:
    asked = f"https%3A%2F%2Flocalhost%3A8443%2F{access.tenant_id}%2Foauth2%2Fauthorize"
    reply = service.request(
        "GET", f"/common/discovery/instance?authorization_endpoint={asked}&api-version=1.1"
    )
    found = reply.json()
    place = f"https://localhost:8443/{access.tenant_id}/.well-known/openid-configuration"
    assert found["tenant_discovery_endpoint"] == place
    for other in ("https%3A%2F%2Fevil.example%2Fx", "https%3A%2F%2F%5B", ""):
        reply = service.request("GET", f"/common/discovery/instance?authorization_endpoint={other}")
        refused(reply, 400, "invalid_instance", 50049)


def test_an_unknown_tenant_is_told(service: Local, access: Access) -> None:
    for path in ("v2.0/.well-known/openid-configuration", ".well-known/openid-configuration"):
        refused(service.request("GET", f"/nobody/{path}"), 400, "invalid_request", 90002)
    for client_id in (access.client_id, "unknown"):
        reply = service.form("/nobody/oauth2/token", access.form | {"client_id": client_id})
        refused(reply, 400, "invalid_request", 90002)
    for step in ("", "/v2.0"):
        assert len(service.request("GET", f"/nobody/discovery{step}/keys").json()["keys"]) == 1
    assert service.request("GET", "/error?code=1").status == 404


def test_nobody_signs_in_here(service: Local, access: Access) -> None:
    reply = service.request("GET", f"/{access.tenant_id}/oauth2/v2.0/authorize?response_type=code")
    refused(reply, 400, "unsupported_response_type", 700051)


# Whatever is sent

FIELDS = st.sampled_from(
    [
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "refresh_token",
        "resource",
        "scope",
    ]
)
VALUES = st.text() | st.sampled_from(
    [TYPE, "a.b.c", "https://graph.windows.net", f"{part('{}')}.{part('{}')}.x"]
)


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(
    st.sampled_from(["client_credentials", "refresh_token"]), st.dictionaries(FIELDS, VALUES), st.booleans()
)
def test_whatever_is_sent_is_refused_in_words(
    service: Local, kind: str, form: dict[str, str], second: bool
) -> None:
    tenant = service.store.tenants()[0].uid if service.store.tenants() else "common"
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in form.items()}
    reply = service.form(f"/{tenant}/oauth2{'/v2.0' if second else ''}/token", {"grant_type": kind} | clean)
    assert reply.status in (400, 401, 429)
    assert reply.json()["error_description"].startswith("AADSTS")

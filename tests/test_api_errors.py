"""Wrong calls of the API: each is refused in its own words, whatever comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from indicia.errors import InputError, OutcomeUnknown, StoreError
from indicia.web.api import ROUTES
from indicia.web.api.dispatch import ENTITY_LIMIT
from indicia.web.problems import LATER_SECONDS
from service import (
    DEFINITION,
    Client,
    Local,
    Reply,
    add_access,
    indicator,
    local,
)

BIND = "AlertDefinition@odata.bind"


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
        ("%00", 400),
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
        ("$crossjoin(AlertDefinitions,Alerts)", 501),
        ("A" * 5000, 400),
        ("(" * 10_000, 400),
        (f"AlertDefinitions({'9' * 5000})", 400),
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

    monkeypatch.setattr("indicia.store.TenantStore.find", busy)
    reply = api("GET", "AlertDefinitions(1)")
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert b"secret" not in reply.body

    def full(*_: Any) -> None:
        raise StoreError("no space left for /secret/place")

    monkeypatch.setattr("indicia.store.TenantStore.find", full)
    reply = api("GET", "AlertDefinitions(1)")
    assert (reply.status, reply.headers["retry-after"]) == (503, str(LATER_SECONDS))
    assert "the service's log says why" in reply.error["message"]
    monkeypatch.setattr("indicia.store.Store.signing_keys", busy)
    assert service.request("GET", "/ready").status == 503
    assert service.request("GET", "/health").status == 200


def test_what_may_have_been_done_is_not_to_be_sent_again(
    service: Local, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = api.add_definition()

    def unsure(*_: Any, **__: Any) -> None:
        raise OutcomeUnknown("/secret/place cannot be reached", retry_after=5)

    monkeypatch.setattr("indicia.store.TenantStore.find", unsure)
    reply = api("GET", f"AlertDefinitions({owner})")
    assert (reply.status, reply.error["code"]) == (504, "OutcomeUnknown")
    assert "retry-after" not in reply.headers
    assert b"secret" not in reply.body
    # Events may be sent again, whatever was done.
    monkeypatch.setattr("indicia.live.intake.Intake.end", unsure)
    reply = api("POST", "Events", b'{"a": 1}\n')
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert b"secret" not in reply.body


def test_what_nobody_foresaw_is_told_and_logged_without_content(
    api: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "evil.example was seen on host-7"

    def broken(*_: Any) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr("indicia.store.TenantStore.find", broken)
    reply = api("GET", "AlertDefinitions(1)")
    assert (reply.status, reply.error["code"]) == (500, "InternalError")
    assert "RuntimeError" in caplog.text
    assert "host-7" not in caplog.text + reply.body.decode()


def test_health(service: Local) -> None:
    assert service.request("GET", "/health").json()["status"] == "ok"


def test_who_is_ready_has_loaded_what_is_on_the_disk(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        loading = service.request("GET", "/ready")
        assert (loading.status, loading.json()["status"], loading.headers["retry-after"]) == (
            503,
            "loading",
            "1",
        )
        assert isinstance(service.application, Starlette)
        service.application.state.live.preload()
        assert service.request("GET", "/ready").json()["status"] == "ready"


def test_links_lead_back_the_way_the_client_came(service: Local, api: Client) -> None:
    token = {"Authorization": f"Bearer {api.token}"}
    for host, root in (
        ("localhost:9000", "https://localhost:9000"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("127.0.0.1", "https://127.0.0.1"),
        ("somebody.example", "https://127.0.0.1:8443"),
        ("[localhost", "https://127.0.0.1:8443"),
        ('evil"><script>', "https://127.0.0.1:8443"),
        ("a b", "https://127.0.0.1:8443"),
    ):
        reply = service.request("GET", "/v1.0/AlertDefinitions", headers=token | {"Host": host})
        assert reply.json()["@odata.context"].startswith(f"{root}/v1.0/$metadata")


def test_links_lead_to_the_proxy_that_is_named(tmp_path: Path) -> None:
    with local(tmp_path, public_url="https://ti.example/indicia/") as service:
        api = service.client(add_access(service.store, "contoso"))
        token = {"Authorization": f"Bearer {api.token}"}
        for host, root in (("ti.example", "https://ti.example/indicia"), ("localhost", "https://localhost")):
            reply = service.request("GET", "/v1.0/AlertDefinitions", headers=token | {"Host": host})
            assert reply.json()["@odata.context"].startswith(f"{root}/v1.0/$metadata")
    with pytest.raises(InputError, match="public_url"), local(tmp_path, public_url="ti.example"):
        pass


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


@pytest.mark.full
@QUIET
@given(METHODS, SHAPES | WIRE, st.none() | WIRE, st.binary() | VALUES | st.dictionaries(MEMBERS, VALUES))
def test_whatever_is_asked_is_answered(
    api: Client, method: str, path: str, query: str | None, body: Any
) -> None:
    target = path if query is None else f"{path}?{query}"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    _sane(api(method, target, content))


@pytest.mark.full
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

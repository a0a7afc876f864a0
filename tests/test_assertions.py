"""Certificates in place of secrets: assertions that hold, and every way in which they do not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hashes

from indicia.auth import roles
from indicia.auth.assertions import read_certificate
from indicia.errors import InputError, InvalidValue, NotFound
from indicia.store.credentials import CERTIFICATES
from oauth import Pair, ask, assertion_form, claims, endpoint, pair, part, refused, register, sign, works
from service import Access, Local, add_access, add_application, local

GOOD, STRANGER, PAST = pair(), pair("stranger"), pair("past", days=1, begin=-2)


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
def certified(service: Local, access: Access) -> Access:
    """An application with a certificate (and one that is over)."""
    for one in (GOOD, PAST):
        register(service.store, access.tenant_id, access.client_id, one)
    return access


X5T = {"x5t": GOOD.thumbprint(hashes.SHA1())}


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256"} | X5T,
        {"alg": "PS256", "x5c": GOOD.x5c},
        {"alg": "PS256", "x5t#S256": GOOD.thumbprint(hashes.SHA256()), "x5c": GOOD.x5c},
        {"alg": "RS256", "x5t": X5T["x5t"] + "="},
        {"alg": "RS256"},
        {"alg": "RS256", "kid": "../../../../etc/passwd"},
        {"alg": "RS256", "jku": "https://evil.example/keys", "x5u": "file:///etc/passwd", "jwk": {}},
    ],
    ids=lambda header: "-".join(header),
)
@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_a_registered_certificate_gets_a_token(
    service: Local, certified: Access, header: dict[str, Any], version: str
) -> None:
    made = sign(GOOD, header, claims(certified.client_id, endpoint(certified, version)))
    reply = ask(service, certified, version, **assertion_form(certified, made))
    assert reply.status == 200, reply.body
    token = reply.json()["access_token"]
    assert works(service, token)
    said = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert said["credential"].startswith("certificate/")


@pytest.mark.parametrize(
    "audience",
    [
        "https://localhost:8443/{t}/oauth2/token",
        "https://127.0.0.1:8443/{t}/v2.0",
        "https://127.0.0.1:8443/{t}/",
        ["https://[::1]:8443/{t}/oauth2/v2.0/token"],
    ],
)
def test_the_audience_may_be_any_name_of_this_endpoint(
    service: Local, certified: Access, audience: Any
) -> None:
    filled = json.loads(json.dumps(audience).replace("{t}", certified.tenant_id))
    made = sign(GOOD, {"alg": "RS256"}, claims(certified.client_id, filled))
    assert ask(service, certified, "/v2.0", **assertion_form(certified, made)).status == 200


def test_the_assertion_alone_may_name_the_client(service: Local, certified: Access) -> None:
    made = sign(GOOD, {"alg": "PS256"}, claims(certified.client_id, endpoint(certified)))
    form = assertion_form(certified, made)
    del form["client_id"]
    assert ask(service, certified, "/v2.0", **form).status == 200


def wrong(header: dict[str, Any] | None = None, by: Pair = GOOD, **changes: Any) -> dict[str, Any]:
    """An assertion with something wrong."""
    return {"header": {"alg": "RS256"} if header is None else header, "by": by, "changes": changes}


NOW = time.time()


WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "alg none": (wrong({"alg": "none"}), 700027),
    "alg None": (wrong({"alg": "None"}), 700027),
    "HS256 with the certificate": (wrong({"alg": "HS256"} | X5T), 700027),
    "RS512": (wrong({"alg": "RS512"}), 700027),
    "alg a list": (wrong({"alg": ["RS256"]}), 700027),
    "no alg": (wrong({}), 700027),
    "crit": (wrong({"alg": "RS256", "crit": ["exp"]}), 700027),
    "stranger's key": (wrong(by=STRANGER), 700027),
    "stranger's key, our x5t": (wrong({"alg": "RS256"} | X5T, by=STRANGER), 700027),
    "stranger's key and x5c": (wrong({"alg": "PS256", "x5c": STRANGER.x5c}, by=STRANGER), 700027),
    "our key, stranger's x5c": (wrong({"alg": "PS256", "x5c": STRANGER.x5c}), 700027),
    "x5t another than x5c": (wrong({"alg": "PS256", "x5c": [GOOD.x5c[0], 7], "x5t": "AAAA"}), 700027),
    "x5c a text": (wrong({"alg": "PS256", "x5c": "x"}), 700027),
    "x5c not ASCII": (wrong({"alg": "PS256", "x5c": ["é"]}), 700027),
    "x5t#S256 of another": (
        wrong({"alg": "PS256", "x5t#S256": STRANGER.thumbprint(hashes.SHA256())}),
        700027,
    ),
    "x5t a number": (wrong({"alg": "RS256", "x5t": 7}), 700027),
    "x5t a path": (wrong({"alg": "RS256", "x5t": "../x5t"}), 700027),
    "expired certificate": (wrong({"alg": "RS256", "x5t": PAST.thumbprint(hashes.SHA1())}, by=PAST), 700027),
    "aud of Azure AD": (wrong(aud="https://login.windows.net/common/oauth2/token"), 700023),
    "aud of another tenant": (wrong(aud="https://127.0.0.1:8443/another/oauth2/token"), 700023),
    "two audiences": (wrong(aud=["https://127.0.0.1:8443", "https://evil.example"]), 700023),
    "no aud": (wrong(aud=None), 700023),
    "iss another": (wrong(iss="another"), 700021),
    "no iss": (wrong(iss=None), 700021),
    "expired": (wrong(exp=NOW - 3600), 700024),
    "valid for a day": (wrong(exp=NOW + 86_400), 700024),
    "exp beyond time": (wrong(exp=1e300), 50027),
    "no exp": (wrong(exp=None), 50027),
    "exp a text": (wrong(exp="soon"), 50027),
    "exp a boolean": (wrong(exp=True), 50027),
    "exp NaN": (wrong(exp=float("nan")), 50027),
    "exp infinite": (wrong(exp=float("inf")), 50027),
    "nbf in future": (wrong(nbf=NOW + 3000, exp=NOW + 3500), 700024),
    "iat in future": (wrong(iat=NOW + 3000, exp=NOW + 3500), 700024),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_assertion_with_something_wrong_is_refused(service: Local, certified: Access, name: str) -> None:
    case, code = WRONG[name]
    content = claims(certified.client_id, endpoint(certified), **case["changes"])
    made = sign(case["by"], case["header"], content)
    refused(ask(service, certified, "/v2.0", **assertion_form(certified, made)), 401, "invalid_client", code)


@pytest.mark.parametrize(
    "text",
    [
        "x", "a.b", "a.b.c.d", "..", "é.é.é",
        f"{part('[1]')}.{part('{}')}.xx", f"{part('{}')}.{part('7')}.xx",
        f"{part('[' * 3000)}.{part('{}')}.xx", f"{part('{}')}.{part('9' * 5000)}.xx", "A" * 20_000,
        "\0.\0.\0",
    ],
)  # fmt: skip
def test_what_is_no_assertion_is_refused(service: Local, certified: Access, text: str) -> None:
    refused(ask(service, certified, "/v2.0", **assertion_form(certified, text)), 401, "invalid_client", 50027)


def test_a_changed_assertion_does_not_hold(service: Local, certified: Access) -> None:
    made = sign(GOOD, {"alg": "RS256"}, claims(certified.client_id, endpoint(certified), roles=[]))
    header, _, signature = made.split(".")
    other = part(claims(certified.client_id, endpoint(certified), roles=["Admin"]))
    reply = ask(service, certified, "/v2.0", **assertion_form(certified, f"{header}.{other}.{signature}"))
    refused(reply, 401, "invalid_client", 700027)


def test_an_assertion_that_was_stolen_is_refused_elsewhere(service: Local, certified: Access) -> None:
    """msal and azure-identity use one for many requests, so that is allowed to where it came from."""
    made = sign(GOOD, {"alg": "RS256"}, claims(certified.client_id, endpoint(certified)))
    for _ in range(2):
        assert ask(service, certified, "/v2.0", **assertion_form(certified, made)).status == 200
    service.address = "192.0.2.66"
    # The same proof in another spelling is the same.
    for spelled in (made, made + "="):
        reply = ask(service, certified, "/v2.0", **assertion_form(certified, spelled))
        refused(reply, 401, "invalid_client", 50013)


def test_an_assertion_of_one_application_is_none_of_another(service: Local, certified: Access) -> None:
    other = add_application(service.store, certified.tenant_id, roles.ALL)
    register(service.store, other.tenant_id, other.client_id, STRANGER)
    made = sign(GOOD, {"alg": "RS256"}, claims(certified.client_id, endpoint(certified)))
    refused(ask(service, other, "/v2.0", **assertion_form(other, made)), 401, "invalid_client", 700021)
    posing = sign(GOOD, {"alg": "RS256"}, claims(other.client_id, endpoint(other)))
    refused(ask(service, other, "/v2.0", **assertion_form(other, posing)), 401, "invalid_client", 700027)


def test_other_faults_of_the_form(service: Local, certified: Access) -> None:
    made = sign(GOOD, {"alg": "RS256"}, claims(certified.client_id, endpoint(certified)))
    form = assertion_form(certified, made)
    refused(ask(service, certified, "/v2.0", **form, client_secret="x"), 400, "invalid_request", 9000411)
    kind = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}
    refused(ask(service, certified, "/v2.0", **form | kind), 400, "invalid_request", 900144)
    bare = add_application(service.store, certified.tenant_id, roles.ALL)
    made = sign(GOOD, {"alg": "RS256"}, claims(bare.client_id, endpoint(bare)))
    refused(ask(service, bare, "/v2.0", **assertion_form(bare, made)), 401, "invalid_client", 700026)


def test_a_revoked_certificate_ends_at_once_with_its_tokens(service: Local, access: Access) -> None:
    kept = register(service.store, access.tenant_id, access.client_id, GOOD)
    made = sign(GOOD, {"alg": "RS256"}, claims(access.client_id, endpoint(access)))
    token = ask(service, access, "/v2.0", **assertion_form(access, made)).json()["access_token"]
    assert works(service, token)
    service.store.tenant(access.tenant_id).revoke_certificate(access.client_id, kept.id)
    assert not works(service, token)
    refused(ask(service, access, "/v2.0", **assertion_form(access, made)), 401, "invalid_client", 700026)
    assert works(service, service.token(access)), "its secret is still good"


def test_an_assertion_that_names_no_client(service: Local, certified: Access) -> None:
    form = assertion_form(certified, sign(GOOD, {"alg": "RS256"}, claims("x", "y", sub=None)))
    del form["client_id"]
    refused(ask(service, certified, "/v2.0", **form), 401, "invalid_client", 50027)


def test_an_application_has_ten_certificates_at_the_most(service: Local, access: Access) -> None:
    tenant = service.store.tenant(access.tenant_id)
    kept = register(service.store, access.tenant_id, access.client_id, GOOD)
    for number in range(CERTIFICATES - 1):
        tenant.add_certificate(access.client_id, replace(kept, sha256=f"{number:064x}"))
    with pytest.raises(InvalidValue, match="revoke one first"):
        register(service.store, access.tenant_id, access.client_id, STRANGER)
    tenant.revoke_certificate(access.client_id, kept.id)
    assert register(service.store, access.tenant_id, access.client_id, STRANGER).id > kept.id


def test_certificates_that_are_not_registered(service: Local, access: Access, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="RSA key of 2048"):
        read_certificate(pair(bits=1024).pem, "small.pem")
    for content in (GOOD.key_pem, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InputError, match="no certificate"):
            read_certificate(content, "x.pem")
    register(service.store, access.tenant_id, access.client_id, GOOD)
    with pytest.raises(InvalidValue, match="already"):
        register(service.store, access.tenant_id, access.client_id, GOOD)
    other = add_access(service.store, str(uuid4()))
    with pytest.raises(NotFound):
        register(service.store, other.tenant_id, access.client_id, STRANGER)
    with pytest.raises(NotFound):
        service.store.tenant(other.tenant_id).revoke_certificate(access.client_id, 1)

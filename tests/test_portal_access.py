"""How clients get in by the portal: threat intel, applications, secrets that are shown once, certificates."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from administered import (
    APPLICATIONS,
    AUDIT,
    CLIENT,
    HOSTILE,
    INTEL,
    LISTS,
    OUTPUTS,
    QUOTAS,
    RETENTION,
    SECRET,
    TOKENS,
    WEBHOOK,
    enabled,
    found,
    html,
    last,
    token,
)
from indicia.auth import roles
from indicia.model import AuditAction
from indicia.store import TenantStore, Wanted
from service import Local
from visiting import Visiting, text_of

pytestmark = pytest.mark.full

# Threat intel, and applications


def test_the_original_s_steps(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    assert "Enable the threat intelligence API" in text_of(alex.get(INTEL))
    client_id, secret = enabled(alex)
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Applications")
    (made,) = tenant.applications()
    assert (made.client_id, made.roles, made.secrets[0].description) == (client_id, roles.DEFAULT, "tests")
    assert timedelta(days=9) < (made.secrets[0].expires_at or datetime.now(UTC)) - datetime.now(UTC)

    shown = html(alex.get(INTEL))
    base = service.settings.base_url
    for value in (tenant.uid, client_id, f"{base}/{tenant.uid}/oauth2/token", "https://graph.windows.net"):
        assert value in shown
    assert token(service, tenant, client_id, secret).status == 200

    saved = alex.post(f"{INTEL}/{client_id}/details", {"client_secret": secret})
    assert saved.headers["content-disposition"] == 'attachment; filename="details.json"'
    assert json.loads(saved.body)["client_secret"] == secret
    assert json.loads(saved.body)["client_id"] == client_id
    later = json.loads(alex.post(f"{INTEL}/{client_id}/details", {}).body)
    assert later == json.loads(saved.body) | {"client_secret": ""}
    assert alex.post(f"{INTEL}/{client_id}/details", {"client_secret": "guess"}).status == 404


def test_generated_tokens_are_real_and_shown_once(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    client_id, _ = enabled(alex)
    reply = alex.post(f"{INTEL}/{client_id}/tokens")
    access, refresh = TOKENS.findall(html(reply))
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Applications")
    ask = {"Authorization": f"Bearer {access}"}
    assert service.request("GET", "/v1.0/AlertDefinitions", b"", ask).status == 200
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh}
    again = service.form(f"/{tenant.uid}/oauth2/token", form)
    assert again.status == 200
    assert alex.follow(alex.post(f"{INTEL}/{client_id}/tokens/revoke")).status == 200
    assert last(tenant)[1] is AuditAction.REVOKE
    assert service.request("GET", "/v1.0/AlertDefinitions", b"", ask).status == 401


def test_no_secret_is_anywhere_after_its_one_showing(
    service: Local,
    tenant: TenantStore,
    alex: Visiting,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(0)
    client_id, secret = enabled(alex)
    made = alex.post(APPLICATIONS, {"name": "second", "roles": "Ti.Read", "days": "5"})
    more = alex.post(f"{APPLICATIONS}/{client_id}/secrets", {"days": "5"})
    tokens = TOKENS.findall(html(alex.post(f"{APPLICATIONS}/{client_id}/tokens")))
    hook = alex.post(
        OUTPUTS,
        {"kind": "webhook", "name": "hook", "target": "https://alerts.example/path-that-is-secret"}
        | {"sends": "Opened"},
    )
    key = WEBHOOK.findall(html(hook))
    search = {"kind": "elastic", "name": "search", "target": "elastic+https://search.example:9200/x"}
    went = alex.post(OUTPUTS, search | {"sends": "Opened", "secret": "elastic:the password of it"})
    assert "password" not in went.headers["location"]
    hidden = [secret, found(SECRET, made), found(SECRET, more), *tokens, *key]
    hidden += ["path-that-is-secret", "the password of it"]
    assert len(hidden) == 8
    walked = [INTEL, APPLICATIONS, QUOTAS, LISTS, OUTPUTS, AUDIT, RETENTION, f"{AUDIT}/export"]
    walked += [f"{AUDIT}/export?format=ndjson", f"{OUTPUTS}/hook", f"{OUTPUTS}/search", "/portal/account"]
    walked += [f"{place}/{one.client_id}" for place in (INTEL, APPLICATIONS) for one in tenant.applications()]
    for path in walked:
        reply = alex.get(path)
        assert reply.status == 200, path
        whole = html(reply) + repr(reply.headers)
        assert not [one for one in hidden if one in whole], path
    said = caplog.text + "".join(capfd.readouterr())
    assert not [one for one in hidden if one in said]
    assert not [one for one in hidden if one in repr(list(tenant.trail.each(Wanted())))]
    with Path(service.settings.home / "indicia.db-wal").open("rb") as file:
        kept = file.read() + (service.settings.home / "indicia.db").read_bytes()
    assert not [one for one in hidden if one.encode() in kept]


def test_secrets_come_and_go(service: Local, tenant: TenantStore, alex: Visiting) -> None:
    client_id, first = enabled(alex)
    reply = alex.post(f"{INTEL}/{client_id}/secrets", {"description": HOSTILE, "days": "1"})
    second = found(SECRET, reply)
    assert "<script>alert" not in html(reply)
    number = tenant.access.application(client_id).secrets[0].id
    assert "Secret" in text_of(alex.follow(alex.post(f"{INTEL}/{client_id}/secrets/{number}/revoke")))
    assert last(tenant) == (alex.name, AuditAction.REVOKE, "Applications")
    assert token(service, tenant, client_id, first).status == 401
    assert token(service, tenant, client_id, second).status == 200


@pytest.mark.parametrize("days", ["", "0", "-1", "36501", "1.5", "ten", "٣", "9" * 400])
def test_days_that_are_none_are_told_at_their_field(tenant: TenantStore, alex: Visiting, days: str) -> None:
    client_id, _ = enabled(alex)
    for path in (INTEL, f"{INTEL}/{client_id}/secrets", APPLICATIONS):
        reply = alex.post(path, {"days": days, "name": "x", "roles": "Ti.Read"})
        assert reply.status == 400
        assert 'id="field-days-fault"' in html(reply)
    assert len(tenant.applications()) == len(tenant.applications()[0].secrets) == 1


def test_an_application_is_made_changed_and_disabled(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    assert "No application yet" in text_of(alex.get(APPLICATIONS))
    fields = [("name", HOSTILE.replace("\x1b", "").replace("\u202e", "")), ("days", "3")]
    fields += [("roles", "Event.Write"), ("roles", "Alert.Read")]
    reply = alex.post(APPLICATIONS, fields)
    assert reply.status == 200
    client_id, secret = found(CLIENT, reply), found(SECRET, reply)
    one = f"{APPLICATIONS}/{client_id}"
    assert tenant.access.application(client_id).roles == ("Alert.Read", "Event.Write")
    for page in (alex.get(APPLICATIONS), alex.get(one), alex.get(AUDIT)):
        assert "<script>alert" not in html(page)
        assert "49" not in re.findall(r"\[31m(\w+)", html(page))
    alex.follow(alex.post(one, [("name", "Filebeat"), ("roles", "Ti.Read")]))
    entry = tenant.trail.page(Wanted()).found[0]
    assert json.loads(entry.after or "")["Roles"] == "Ti.Read"
    assert token(service, tenant, client_id, secret).status == 200

    assert "Filebeat is refused" in text_of(alex.follow(alex.post(f"{one}/disable")))
    assert last(tenant) == (alex.name, AuditAction.REVOKE, "Applications")
    assert token(service, tenant, client_id, secret).status == 400
    for deed, body in (("/secrets", {"days": "1"}), ("/tokens", {}), ("", {"name": "x", "roles": "Admin"})):
        refused = alex.post(one + deed, body)
        assert refused.status == 400
        assert "disabled for good" in text_of(refused) or "revoked" in text_of(refused)
    assert not TOKENS.findall(html(alex.get(one)))


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ([("name", "x")], "roles"),
        ([("name", "x"), ("roles", "Root")], "roles"),
        ([("name", ""), ("roles", "Admin")], "name"),
        ([("name", "x" * 101), ("roles", "Admin")], "name"),
        ([("name", HOSTILE), ("roles", "Admin")], "name"),
        ([("name", "x"), ("roles", "Admin"), ("description", "y" * 501)], "description"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_makes_nothing(
    tenant: TenantStore, alex: Visiting, fields: list[tuple[str, str]], target: str
) -> None:
    reply = alex.post(APPLICATIONS, [("days", "1"), *fields])
    assert reply.status == 400
    assert re.search(rf'id="(field-)?{target}-fault"', html(reply))
    assert "<script>alert" not in html(reply)
    assert tenant.applications() == []


def certificate(days: int = 30) -> tuple[bytes, bytes]:
    """A certificate and its key, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def test_certificates(tenant: TenantStore, alex: Visiting) -> None:
    client_id, _ = enabled(alex)
    path = f"{APPLICATIONS}/{client_id}/certificates"
    pem, private = certificate()
    assert "registered" in text_of(alex.follow(alex.post(path, files={"certificate": ("c.pem", pem)})))
    assert last(tenant) == (alex.name, AuditAction.CHANGE, "Applications")
    (kept,) = tenant.access.application(client_id).certificates
    assert "CN=collector" in text_of(alex.get(f"{APPLICATIONS}/{client_id}"))
    expired, _ = certificate(days=-1)
    for content in (pem, pem + private, private, expired, b"nothing", b"-----BEGIN", b"x" * 70_000):
        reply = alex.post(path, files={"certificate": ("c.pem", content)})
        assert reply.status == 400, content[:30]
        assert 'id="field-certificate-fault"' in html(reply)
        assert "PRIVATE" not in html(reply)
    assert alex.post(path).status == 400
    alex.follow(alex.post(f"{path}/{kept.id}/revoke"))
    assert tenant.access.application(client_id).certificates[0].revoked_at is not None


def test_the_authority_is_given_where_there_is_one(service: Local, alex: Visiting) -> None:
    file = service.settings.home / "tls" / "ca.pem"
    assert "no authority" in text_of(alex.follow(alex.get(f"{INTEL}/ca.pem")))
    file.parent.mkdir()
    file.write_text("the authority")
    reply = alex.get(f"{INTEL}/ca.pem")
    assert (reply.status, reply.body) == (200, b"the authority")


def test_another_application_can_be_shown(tenant: TenantStore, alex: Visiting) -> None:
    enabled(alex)
    other = tenant.add_application("feeds", ["Ti.Read"])
    assert "feeds" in html(alex.get(INTEL))
    chosen = alex.get(f"{INTEL}/choose?application={other.client_id}")
    assert chosen.headers["location"] == f"{INTEL}/{other.client_id}"
    assert other.client_id in html(alex.follow(chosen))
    assert alex.get(f"{INTEL}/choose?application=nobody").status == 404

"""The libraries that people get tokens with, as they are, against the service with its own authority."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adal
import msal
import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientSecretCredential
from azure.identity.aio import CertificateCredential as AsyncCertificateCredential
from azure.identity.aio import ClientSecretCredential as AsyncSecretCredential
from cryptography.hazmat.primitives import hashes
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidClientError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from indicia.settings import Settings
from indicia.store import Store
from indicia.web.gate import issuer_of
from indicia.web.grants import Grants
from oauth import pair, register
from service import Access, Process, add_access, running

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parent.parent
SCOPE = "https://graph.microsoft.com/.default"
PAIR = pair("oauth-clients")


@dataclass(frozen=True)
class Given:
    """The service, an application with secret and certificate, and tokens that were generated for it."""

    process: Process
    access: Access
    refresh_tokens: list[str]
    folder: Path

    @property
    def authority(self) -> str:
        """As msal calls it."""
        return f"{self.process.url}/{self.access.tenant_id}"

    def url(self, version: str = "/v2.0") -> str:
        """The token endpoint."""
        return f"{self.authority}/oauth2{version}/token"

    def works(self, token: str) -> bool:
        """Whether the API takes the token."""
        with self.process.session() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            where = f"{self.process.url}/v1.0/AlertDefinitions(1)"
            return session.get(where, timeout=30).status_code == 404


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """The service as a process of its own."""
    folder = tmp_path_factory.mktemp("clients")
    home = folder / "home"
    home.mkdir()
    with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
        access = add_access(store, "contoso")
        register(store, access.tenant_id, access.client_id, PAIR)
    with running(home) as process:
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            grants = Grants(store, issuer_of(Settings(home, port=process.port), store))
            tenant = store.tenant(access.tenant_id)
            refresh = [grants.generate(tenant, access.client_id).refresh_token for _ in range(2)]
        (folder / "soc.pem").write_bytes(PAIR.pem)
        (folder / "soc.key").write_bytes(PAIR.key_pem)
        login = f"{process.url}/{access.tenant_id}/oauth2"
        details = {
            "tenant_id": access.tenant_id,
            "client_id": access.client_id,
            "client_secret": access.client_secret,
            "authorization_url": f"{login}/token",
            "token_url_v2": f"{login}/v2.0/token",
            "resource": "https://graph.windows.net",
            "ca_file": process.authority,
        }
        (folder / "details.json").write_text(json.dumps(details))
        yield Given(process, access, refresh, folder)


@pytest.fixture(autouse=True)
def trust(service: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/clients.md says to set."""
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", service.process.authority)
    monkeypatch.setenv("SSL_CERT_FILE", service.process.authority)


# msal


def msal_app(service: Given, credential: Any, **changes: Any) -> msal.ConfidentialClientApplication:
    """An application as docs/clients.md makes it."""
    given = {"authority": service.authority, "instance_discovery": False} | changes
    return msal.ConfidentialClientApplication(service.access.client_id, client_credential=credential, **given)


MSAL_CREDENTIALS: dict[str, Any] = {
    "PS256 with x5c": {"private_key": PAIR.key_pem.decode(), "public_certificate": PAIR.pem.decode()},
    "RS256 with x5t": {
        "private_key": PAIR.key_pem.decode(),
        "thumbprint": PAIR.certificate.fingerprint(hashes.SHA1()).hex(),
    },
    "RS256 with x5t and x5c": {
        "private_key": PAIR.key_pem.decode(),
        "thumbprint": PAIR.certificate.fingerprint(hashes.SHA1()).hex(),
        "public_certificate": PAIR.pem.decode(),
    },
}


@pytest.mark.parametrize("name", ["secret", *MSAL_CREDENTIALS])
def test_msal(service: Given, name: str) -> None:
    app = msal_app(service, MSAL_CREDENTIALS.get(name, service.access.client_secret))
    answer = app.acquire_token_for_client([SCOPE])
    assert answer["token_source"] == "identity_provider"
    assert answer["expires_in"] == 3599
    assert service.works(answer["access_token"])
    assert app.acquire_token_for_client([SCOPE])["token_source"] == "cache"
    # With a certificate this sends the same assertion once more.
    other = app.acquire_token_for_client(["https://graph.windows.net/.default"])
    assert other["token_source"] == "identity_provider", other
    assert service.works(other["access_token"])


def test_msal_by_other_ways_to_the_authority(service: Given) -> None:
    secret = service.access.client_secret
    local = service.authority.replace("127.0.0.1", "localhost")
    ways: list[dict[str, Any]] = [
        {"authority": local},
        {"authority": f"{service.process.url}/contoso"},
        {"authority": None, "instance_discovery": None, "oidc_authority": f"{service.authority}/v2.0"},
        {"authority": None, "instance_discovery": None, "oidc_authority": service.authority},
        {"instance_discovery": f"{service.process.url}/common/discovery/instance"},
    ]
    for way in ways:
        answer = msal_app(service, secret, **way).acquire_token_for_client([SCOPE])
        assert service.works(answer["access_token"]), way


def test_msal_with_a_refresh_token(service: Given) -> None:
    app = msal_app(service, service.access.client_secret)
    answer = app.acquire_token_by_refresh_token(service.refresh_tokens[0], [SCOPE])
    assert service.works(answer["access_token"])
    again = app.acquire_token_by_refresh_token(service.refresh_tokens[0], [SCOPE])
    assert (again["error"], again["error_codes"]) == ("invalid_grant", [50173])


def test_msal_tells_what_was_wrong(service: Given) -> None:
    answer = msal_app(service, "wrong").acquire_token_for_client([SCOPE])
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])
    assert answer["error_description"].startswith("AADSTS7000215: Invalid client secret")
    assert answer["correlation_id"]


# azure-identity


def azure_arguments(service: Given) -> dict[str, Any]:
    """As docs/clients.md has them."""
    return {"authority": service.process.url, "disable_instance_discovery": True}


def test_azure_identity(service: Given) -> None:
    access = service.access
    secret = ClientSecretCredential(
        access.tenant_id, access.client_id, access.client_secret, **azure_arguments(service)
    )
    certificate = CertificateCredential(
        access.tenant_id,
        access.client_id,
        certificate_data=PAIR.key_pem + PAIR.pem,
        **azure_arguments(service),
    )
    for credential in (secret, certificate):
        with credential:
            assert service.works(credential.get_token(SCOPE).token)
    wrong = ClientSecretCredential(access.tenant_id, access.client_id, "wrong", **azure_arguments(service))
    with wrong, pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        wrong.get_token(SCOPE)


def test_azure_identity_aio(service: Given) -> None:
    access = service.access

    async def tokens() -> list[str]:
        found = []
        secret = AsyncSecretCredential(
            access.tenant_id, access.client_id, access.client_secret, **azure_arguments(service)
        )
        certificate = AsyncCertificateCredential(
            access.tenant_id,
            access.client_id,
            certificate_data=PAIR.key_pem + PAIR.pem,
            **azure_arguments(service),
        )
        for credential in (secret, certificate):
            async with credential:
                found.append((await credential.get_token(SCOPE)).token)
        wrong = AsyncSecretCredential(access.tenant_id, access.client_id, "wrong", **azure_arguments(service))
        async with wrong:
            with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
                await wrong.get_token(SCOPE)
        return found

    assert all(service.works(token) for token in asyncio.run(tokens()))


# adal


def test_adal(service: Given) -> None:
    context = adal.AuthenticationContext(service.authority, validate_authority=False)
    access = service.access
    resource = "https://graph.windows.net"
    answer = context.acquire_token_with_client_credentials(resource, access.client_id, access.client_secret)
    assert (answer["tokenType"], answer["resource"], answer["expiresIn"]) == ("Bearer", resource, 3599)
    assert service.works(answer["accessToken"])
    thumbprint = PAIR.certificate.fingerprint(hashes.SHA1()).hex()
    other = adal.AuthenticationContext(service.authority, validate_authority=False)
    for public in (None, PAIR.pem.decode()):
        answer = other.acquire_token_with_client_certificate(
            "https://graph.microsoft.com", access.client_id, PAIR.key_pem.decode(), thumbprint, public
        )
        assert service.works(answer["accessToken"])
    refreshed = adal.AuthenticationContext(service.authority, validate_authority=False)
    answer = refreshed.acquire_token_with_refresh_token(
        service.refresh_tokens[1], access.client_id, resource, access.client_secret
    )
    assert service.works(answer["accessToken"])
    assert answer["refreshToken"] != service.refresh_tokens[1]
    fresh = adal.AuthenticationContext(service.authority, validate_authority=False)
    with pytest.raises(adal.AdalError) as told:
        fresh.acquire_token_with_client_credentials(resource, access.client_id, "wrong")
    assert told.value.error_response["error_codes"] == [7000215]


# Libraries of everybody


@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_requests_oauthlib(service: Given, version: str) -> None:
    access = service.access
    session = OAuth2Session(client=BackendApplicationClient(access.client_id))
    answer = session.fetch_token(
        service.url(version), auth=HTTPBasicAuth(access.client_id, access.client_secret), scope=[SCOPE]
    )
    assert service.works(answer["access_token"])
    body = OAuth2Session(client=BackendApplicationClient(access.client_id))
    answer = body.fetch_token(
        service.url(version), client_secret=access.client_secret, include_client_id=True, scope=[SCOPE]
    )
    assert service.works(answer["access_token"])
    with pytest.raises(InvalidClientError, match="AADSTS7000215"):
        session.fetch_token(
            service.url(version), auth=HTTPBasicAuth(access.client_id, "wrong"), scope=[SCOPE]
        )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_authlib(service: Given, method: str) -> None:
    access = service.access
    secret = PAIR.key_pem.decode() if method == "private_key_jwt" else access.client_secret
    session = AuthlibSession(access.client_id, secret, scope=SCOPE, token_endpoint_auth_method=method)
    session.register_client_auth_method(PrivateKeyJWT(service.url()))
    answer = session.fetch_token(service.url(), grant_type="client_credentials")
    assert service.works(answer["access_token"])
    if method == "client_secret_post":
        wrong = AuthlibSession(access.client_id, "x", scope=SCOPE, token_endpoint_auth_method=method)
        with pytest.raises(OAuthError, match="AADSTS7000215"):
            wrong.fetch_token(service.url(), grant_type="client_credentials")


def test_authlib_async(service: Given) -> None:
    access = service.access

    async def token() -> str:
        async with AsyncOAuth2Client(access.client_id, access.client_secret, scope=SCOPE) as client:
            answer = await client.fetch_token(service.url(), grant_type="client_credentials")
            return str(answer["access_token"])

    assert service.works(asyncio.run(token()))


def test_the_published_example_with_requests(service: Given) -> None:
    reply = requests.post(service.url(""), data=service.access.form, timeout=30)
    assert service.works(reply.json()["access_token"])


# The manual


def snippets(kind: str) -> list[str]:
    """The code of a language in the section about token libraries."""
    text = (ROOT / "docs" / "clients.md").read_text("utf-8")
    section = text[text.index("## Token libraries") : text.index("## A script that cannot be edited")]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


FIRST, *EXAMPLES = snippets("python")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.partition("\n")[0])
def test_the_examples_of_the_manual(service: Given, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{FIRST}\n{example}\nprint(token)"],
        cwd=service.folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert service.works(done.stdout.strip())


def node(service: Given, script: str) -> str:
    """What a script prints; skipped where there is no Node.js."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is absent")
    done = subprocess.run(
        [program, "-e", script],
        cwd=service.folder, capture_output=True, text=True, timeout=60,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": service.process.authority},
    )  # fmt: skip
    if "Cannot find module '@azure/msal-node'" in done.stderr:
        pytest.skip("msal-node is absent: npm install @azure/msal-node, and set NODE_PATH")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_node_finds_the_authority_where_the_manual_says(service: Given) -> None:
    script = f"""
        const form = new URLSearchParams({json.dumps(service.access.form)});
        fetch("{service.url("")}", {{method: "POST", body: form}})
            .then((answer) => answer.json()).then((found) => console.log(found.access_token));
    """
    assert service.works(node(service, script))


def test_msal_node(service: Given) -> None:
    (script,) = snippets("js")
    assert service.works(node(service, script))

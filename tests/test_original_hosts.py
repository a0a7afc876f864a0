"""A script that cannot be edited: the published flow with its own hosts, which lead to loopback."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from indicia.auth import certificates
from indicia.settings import Settings
from indicia.store import Store
from service import Access, add_access, local

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "clients.md").read_text("utf-8")
HOST = "127.0.0.43"
"""A loopback address of the test's own, so that nothing else listens at its port 443."""


def snippet(first: str) -> str:
    """The Python of the page that begins with a comment."""
    (found,) = re.findall(rf"```python\n(# {first}.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, Access]]:
    """The home of a service at port 443, and an access to it."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, 443))
    except OSError as error:
        pytest.skip(f"{HOST}:443 cannot be listened at here ({error.strerror}): the flow is not run")
    home = tmp_path / "home"
    home.mkdir()
    with Store.open(Settings(home=home).database_url) as store:
        access = add_access(store, "contoso")
    command = [sys.executable, "-m", "indicia", "--home", str(home), "serve"]
    arguments = ["--host", HOST, "--port", "443", "--original-hosts"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Indicia listens on ")
        yield home, access
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.full
def test_the_published_flow_runs_letter_by_letter(served: tuple[Path, Access], tmp_path: Path) -> None:
    home, access = served
    folder = tmp_path / "path"
    folder.mkdir()
    custom = snippet(r"sitecustomize\.py").replace("127.0.0.1", HOST)
    (folder / "sitecustomize.py").write_text(custom, "utf-8")
    script = tmp_path / "script.py"
    script.write_text(snippet("published"), "utf-8")
    authority = str(home / "tls" / "original" / "ca.pem")

    def run(bundle: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),
            "REQUESTS_CA_BUNDLE": bundle,
        }
        given = [sys.executable, str(script), access.tenant_id, access.client_id, access.client_secret]
        return subprocess.run(given, env=environment, capture_output=True, text=True, timeout=120)

    done = run(authority)
    assert done.returncode == 0, done.stderr
    first, last = map(json.loads, done.stdout.splitlines())
    assert first["value"] == []
    root = "https://ti.securitycenter.windows.com/V1.0"
    assert first["@odata.context"] == f"{root}/$metadata#AlertDefinitions"
    assert last["Value"] == "dead1111eeaabbccddeeaabbccddee11ffffffff"
    # The authority of the service's own names does not vouch for these.
    refused = run(str(home / "tls" / "ca.pem"))
    assert refused.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr


@pytest.mark.full
def test_each_name_is_shown_the_certificate_for_it(served: tuple[Path, Access]) -> None:
    home, _ = served

    def shown(name: str, authority: Path) -> str:
        context = ssl.create_default_context(cafile=str(authority))
        with (
            socket.create_connection((HOST, 443), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return str(secure.version())

    own, original = home / "tls" / "ca.pem", home / "tls" / "original" / "ca.pem"
    for name in certificates.ORIGINAL:
        assert shown(name, original) == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            shown(name, own)
    for name in (HOST, "localhost"):
        assert shown(name, own) == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            shown(name, original)


def test_the_authority_is_made_on_request_and_for_these_names_alone(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, "127.0.0.1")
    assert not (tmp_path / "tls" / "original").exists()
    made = certificates.ensure_original(tmp_path)
    assert certificates.ensure_original(tmp_path) == made
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    limits = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert {name.value for name in limits.value.permitted_subtrees or ()} == set(certificates.ORIGINAL)
    assert [str(name.value) for name in limits.value.excluded_subtrees or ()] == ["0.0.0.0/0", "::/0"]
    assert (tmp_path / "tls" / "original" / "ca.key").stat().st_mode & 0o777 == 0o600
    own = x509.load_pem_x509_certificate((tmp_path / "tls" / "ca.pem").read_bytes())
    assert own.public_key() != authority.public_key()
    again = certificates.ensure_original(tmp_path, now=datetime(2050, 1, 1, tzinfo=UTC))
    assert (again.authority, again.replaced) == (made.authority, True)
    renewed = x509.load_pem_x509_certificate(made.authority.read_bytes())
    assert renewed.not_valid_before_utc.year == 2049, "made anew, with the same limits"


def test_paths_and_discovery_under_the_original_names(tmp_path: Path) -> None:
    with local(tmp_path, original_hosts=True) as service:
        access = add_access(service.store, "contoso")
        login, api = {"Host": "login.windows.net"}, {"Host": "ti.securitycenter.windows.com"}
        reply = service.form(f"/{access.tenant_id}/oauth2/token", access.form, login)
        token = {"Authorization": f"Bearer {reply.json()['access_token']}"}
        page = service.request("GET", "/V1.0/AlertDefinitions", headers=api | token)
        assert page.json()["@odata.context"].startswith("https://ti.securitycenter.windows.com/V1.0/")
        found = service.request("GET", f"/{access.tenant_id}/.well-known/openid-configuration", headers=login)
        assert found.json()["token_endpoint"] == f"https://login.windows.net/{access.tenant_id}/oauth2/token"

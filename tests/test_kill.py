"""How the service ends: at SIGTERM soon, at `kill -9` with nothing lost.

`kill -9` comes in the middle of bulk uploads: each upload is whole or absent, and what was answered is there.
The service is the one that users start (`indicia init`, `indicia serve`). Several clients upload at once and
note what they were answered; after a random moment the process is killed, the file is looked at, and the
service started again. Every indicator carries the name of its upload, so that parts of one would be seen.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from service import DEFINITION, Access, Process, free_port
from stored import sound

SIZE = 400
"""Indicators of one upload."""
CLIENTS = 3


class Service:
    """A home, its service, and a client's access to it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.port = free_port()
        saved = folder / "access.json"
        self._run("init", "--port", str(self.port), "--save", str(saved))
        given = json.loads(saved.read_text("utf-8"))
        self.access = Access(given["tenant_id"], given["client_id"], given["client_secret"], 0)
        self.url = given["api_url"]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "indicia", "--home", str(self.home), *arguments]

    def _run(self, *arguments: str) -> None:
        subprocess.run(self._command(*arguments), check=True, capture_output=True)

    def start(self) -> Process:
        """Serve; returns when clients can connect."""
        process = subprocess.Popen(
            self._command("serve"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("Indicia listens on "):
            _, errors = process.communicate()
            raise AssertionError(f"the service did not start: {line} {errors}")
        return Process(self.home, self.port, process)


class Uploads:
    """Clients that upload until the service is gone."""

    def __init__(self, service: Service, definition_id: int) -> None:
        self._service = service
        self._definition_id = definition_id
        self._lock = threading.Lock()
        self._next = 0
        self.answered: set[str] = set()
        self.refused: list[str] = []

    def _body(self, name: str) -> dict[str, Any]:
        bound = {"AlertDefinition@odata.bind": f"AlertDefinitions({self._definition_id})"}
        kind = {"Type": "DomainName", "DetectionFunction": "Equals", "Enabled": True}
        return {"iocs": [kind | bound | {"Value": f"{name}-{n}.example"} for n in range(SIZE)]}

    def run(self, session: requests.Session) -> None:
        """One client."""
        url = f"{self._service.url}/IndicatorsOfCompromise/Actions.BulkUpload"
        while True:
            with self._lock:
                self._next += 1
                name = f"upload{self._next}"
            try:
                reply = session.post(url, json=self._body(name), timeout=60)
            except requests.RequestException:
                return
            if reply.status_code == 200:
                with self._lock:
                    self.answered.add(name)
            else:
                self.refused.append(reply.text)
                return


def there(home: Path) -> Counter[str]:
    """How many indicators of each upload are in the file."""
    with closing(sqlite3.connect(home / "indicia.db")) as raw:
        return Counter(value.partition("-")[0] for (value,) in raw.execute("SELECT value FROM indicators"))


def kill_once(service: Service, uploads: Uploads, dice: random.Random) -> None:
    """Upload, kill at some moment, and look."""
    process = service.start()
    try:
        sessions = [process.session(service.access) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=uploads.run, args=(session,)) for session in sessions]
        before = len(uploads.answered)
        for thread in threads:
            thread.start()
        while len(uploads.answered) < before + 2 and not uploads.refused:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        for thread in threads:
            thread.join()
        for session in sessions:
            session.close()
    finally:
        process.process.kill()
        process.process.communicate()
    found = there(service.home)
    assert not uploads.refused
    assert set(found.values()) <= {SIZE}, "an upload is there in part"
    assert uploads.answered <= found.keys(), "an upload that was answered is gone"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A new home."""
    return Service(tmp_path)


def kills(service: Service, times: int) -> None:
    """So many kills over one home; at the end the service counts what the file holds."""
    process = service.start()
    with process.session(service.access) as session:
        reply = session.post(f"{service.url}/AlertDefinitions", json=DEFINITION, timeout=30)
        definition_id = int(reply.json()["Id"])
    process.stop()
    process.process.communicate()
    uploads = Uploads(service, definition_id)
    dice = random.Random(times)
    for _ in range(times):
        kill_once(service, uploads, dice)
    assert len(uploads.answered) >= 2 * times
    process = service.start()
    try:
        with process.session(service.access) as session:
            asked = {"$count": "true", "$top": "1"}
            page = session.get(f"{service.url}/IndicatorsOfCompromise", params=asked, timeout=30).json()
        assert page["@odata.count"] == there(service.home).total()
    finally:
        process.stop()
        process.process.communicate()
    sound(service.home / "indicia.db")


@pytest.mark.full
def test_sigterm_does_not_wait_for_a_client_that_keeps_its_connection(service: Service) -> None:
    process = service.start()
    with process.session(service.access) as session:
        reply = session.get(f"{service.url}/AlertDefinitions", timeout=30)
        assert reply.status_code == 200
        begun = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begun < 10
    process.process.communicate()


@pytest.mark.full
def test_ten_kills_lose_nothing(service: Service) -> None:
    kills(service, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_kills_lose_nothing(service: Service) -> None:
    kills(service, 100)

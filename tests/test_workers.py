"""`indicia serve --workers`: several processes that behave as one, whichever of them answers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from indicia.auth import attempts, roles
from indicia.store import Store
from oauth import assertion_form, claims, pair, register, sign
from service import DEFINITION, Access, add_access, add_application, free_port, wait_until

pytestmark = pytest.mark.full
TIME = "2024-03-12T08:53:07Z"
SECRET_WORD = "cat-of-nine-tails"
"""Stands in events and queries; the log must not have it."""


class From(HTTPAdapter):
    """Connects from an address of loopback."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> Any:
        return super().init_poolmanager(*arguments, source_address=(self._address, 0), **more)


@dataclass
class Serving:
    """A service of two workers without TLS, as the command line starts it."""

    home: Path
    url: str
    process: subprocess.Popen[str]
    access: Access
    store: Store
    token: str = ""
    sessions: list[requests.Session] = field(default_factory=list)

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in (self.home / "log").read_text().splitlines()]

    def session(self, address: str = "127.0.0.1") -> requests.Session:
        """A new connection with the token."""
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", From(address))
        session.headers["Authorization"] = f"Bearer {self.token}"
        self.sessions.append(session)
        return session

    def each(self, count: int = 2, address: str = "127.0.0.1") -> dict[int, requests.Session]:
        """A connection to each worker, by its process id."""
        found: dict[int, requests.Session] = {}
        end = time.monotonic() + 20
        while len(found) < count:
            assert time.monotonic() < end, f"only {list(found)} answer"
            session = self.session(address)
            found.setdefault(self.index(session)["process"], session)
        return found

    def index(self, session: requests.Session) -> dict[str, Any]:
        """GET Index by a connection."""
        reply = session.get(f"{self.url}/v1.0/Index", timeout=30)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def add_indicator(self, session: requests.Session, value: str) -> None:
        """A new indicator."""
        owner = session.post(f"{self.url}/v1.0/AlertDefinitions", json=DEFINITION, timeout=30).json()["Id"]
        body = {
            "Type": "DomainName",
            "Value": value,
            "DetectionFunction": "Equals",
            "Enabled": True,
            "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
        }
        url = f"{self.url}/v1.0/IndicatorsOfCompromise"
        assert session.post(url, json=body, timeout=30).status_code == 201

    def events(self, session: requests.Session, body: Any, **headers: str) -> requests.Response:
        """POST Events."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return session.post(f"{self.url}/v1.0/Events", data=body, headers=given, timeout=60)


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Serving]:
    with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
        held = (*roles.DEFAULT, roles.ADMIN)
        access, port = add_access(store, "contoso", held), free_port()
        command = [sys.executable, "-m", "indicia", "--home", str(home), "serve", "--no-tls", "--json"]
        command += ["--port", str(port), "--workers", "2", "--log", "json", *options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        with (home / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=clean)
        assert process.stdout is not None
        service = Serving(home, f"http://127.0.0.1:{port}", process, access, store)
        try:
            said = process.stdout.readline()
            assert said, (home / "log").read_text()
            assert json.loads(said)["ready"] is True
            url = f"{service.url}/{access.tenant_id}/oauth2/token"
            reply = service.session().post(url, data=access.form, headers={"Authorization": ""}, timeout=30)
            service.token = str(reply.json()["access_token"])
            yield service
        finally:
            for session in service.sessions:
                session.close()
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Two workers, for the tests that leave them alive."""
    with serving(tmp_path_factory.mktemp("home")) as started:
        yield started


def line(host: str, number: int = 0) -> bytes:
    found = {"@timestamp": TIME, "event": {"id": f"{host}-{number}"}, "host": {"name": "pc-1"}}
    return json.dumps(found | {"dns": {"question": {"name": host}}, "message": SECRET_WORD}).encode() + b"\n"


def numbers(service: Serving, session: requests.Session) -> dict[str, float]:
    """The metrics by name and labels."""
    reply = session.get(f"{service.url}/metrics", timeout=30)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in reply.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_is_written_through_one_is_read_and_in_force_through_the_other(service: Serving) -> None:
    one, two = service.each().values()
    service.index(two)
    service.add_indicator(one, "written.example")
    begun = time.monotonic()
    found = two.get(
        f"{service.url}/v1.0/IndicatorsOfCompromise?$filter=Value eq 'written.example'", timeout=30
    )
    assert len(found.json()["value"]) == 1
    wanted = service.index(two)["storeGeneration"]
    wait_until(10, lambda: all(service.index(each)["generation"] >= wanted for each in (one, two)))
    assert time.monotonic() - begun < 1
    assert service.events(two, line("written.example")).json()["newDetections"] == 1


def test_a_revoked_secret_is_refused_by_all_at_once(service: Serving) -> None:
    other = add_application(service.store, service.access.tenant_id, roles.DEFAULT)
    url = f"{service.url}/{service.access.tenant_id}/oauth2/token"
    each = service.each().values()
    token = service.session().post(url, data=other.form, headers={"Authorization": ""}, timeout=30).json()
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    basic = (other.client_id, other.client_secret)
    ways: list[dict[str, Any]] = [{"headers": bearer}, {"headers": {"Authorization": None}, "auth": basic}]

    def statuses() -> set[int]:
        url = f"{service.url}/_bulk"
        return {session.post(url, timeout=30, **way).status_code for session in each for way in ways}

    assert statuses() == {200}
    service.store.tenant(other.tenant_id).revoke_secret(other.client_id, other.secret_id)
    assert statuses() == {401}
    for session in each:
        assert (
            session.post(url, data=other.form, headers={"Authorization": ""}, timeout=30).status_code == 401
        )


def test_failed_attempts_are_counted_over_all(service: Serving) -> None:
    other = add_application(service.store, service.access.tenant_id, roles.DEFAULT)
    url = f"{service.url}/{service.access.tenant_id}/oauth2/token"
    one, two = service.each(address="127.0.0.3").values()

    def ask(session: requests.Session, **form: str) -> int:
        given = other.form | form
        return session.post(url, data=given, headers={"Authorization": ""}, timeout=30).status_code

    for number in range(attempts.FAILURES):
        assert ask(two if number % 3 else one, client_secret="guess") == 401
    assert (ask(one), ask(two)) == (429, 429)


def test_an_assertion_is_used_from_one_address_whoever_is_asked(service: Serving) -> None:
    other = add_application(service.store, service.access.tenant_id, roles.DEFAULT)
    held = pair()
    register(service.store, other.tenant_id, other.client_id, held)
    place = f"{service.url}/{service.access.tenant_id}/oauth2/token"
    header = {"alg": "RS256", "typ": "JWT"}
    form = assertion_form(other, sign(held, header, claims(other.client_id, place)))
    one, two = service.each().values()
    far = service.each(address="127.0.0.4").values()
    given: dict[str, Any] = {"data": form, "headers": {"Authorization": ""}, "timeout": 30}
    assert [session.post(place, **given).status_code for session in (one, two, one)] == [200, 200, 200]
    assert [session.post(place, **given).status_code for session in far] == [401, 401]


def test_an_idempotency_key_is_known_to_all(service: Serving) -> None:
    one, two = service.each().values()
    first = service.events(one, line("other.example"), Idempotency_Key="k")
    again = service.events(two, line("other.example"), Idempotency_Key="k")
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    assert service.events(two, line("third.example"), Idempotency_Key="k").status_code == 400


def test_a_key_is_answered_once_while_two_use_it_at_the_same_time(service: Serving) -> None:
    each, answers = list(service.each().values()), []

    def send(session: requests.Session, body: bytes) -> None:
        answers.append(service.events(session, body, Idempotency_Key="same"))

    bodies = [b"".join(line(f"{name}.example", number) for number in range(3000)) for name in "ab"]
    threads = [threading.Thread(target=send, args=pair) for pair in zip(each, bodies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 400]


def test_metrics_are_those_of_all_workers(service: Serving) -> None:
    one, two = service.each().values()
    before = numbers(service, one)
    service.add_indicator(one, "counted.example")
    wanted = service.index(one)["storeGeneration"]
    wait_until(10, lambda: all(service.index(each)["generation"] >= wanted for each in (one, two)))
    service.events(one, line("counted.example") + b"nonsense\n")
    service.events(two, line("counted.example", 1) + line("other.example", 2))
    assert one.get(f"{service.url}/v1.0/Nothing", timeout=30).status_code == 404
    for after in (numbers(service, one), numbers(service, two)):
        grown = {name: value - before.get(name, 0) for name, value in after.items()}
        assert grown["indicia_events_total"] == 3
        assert grown["indicia_malformed_total"] == 1
        assert grown["indicia_detections_total"] == 2
        assert grown["indicia_alerts_total"] == 1
        assert grown['indicia_responses_total{status="404"}'] == 1
        assert grown['indicia_request_seconds_count{route="/{version}/Events"}'] == 2
        assert grown['indicia_request_seconds_bucket{route="/{version}/Events",le="+Inf"}'] == 2
        for worker in "01":
            assert after[f'indicia_index_generation{{worker="{worker}"}}'] >= wanted
            assert 0 <= after[f'indicia_index_lag_seconds{{worker="{worker}"}}'] < 2
            assert after[f'indicia_events_waiting{{worker="{worker}"}}'] == 0
        assert after["indicia_workers"] == 2


def test_metrics_are_for_the_role_admin(service: Serving) -> None:
    plain = add_application(service.store, service.access.tenant_id, roles.DEFAULT)
    admin, url = service.access, f"{service.url}/metrics"
    session = service.session()
    session.headers.clear()
    assert session.get(url, timeout=30).status_code == 401
    assert session.get(url, auth=(plain.client_id, plain.client_secret), timeout=30).status_code == 403
    assert session.get(url, auth=(admin.client_id, admin.client_secret), timeout=30).status_code == 200


def test_every_request_is_a_line_of_the_log_without_content(service: Serving) -> None:
    session = service.session()
    service.index(session)
    query = f"$filter=Value eq '{SECRET_WORD}'"
    url = f"{service.url}/v1.0/IndicatorsOfCompromise(7)/Value?{query}"
    reply = session.get(url, headers={"client-request-id": "my-own.7"}, timeout=30)
    assert (reply.headers["x-request-id"], reply.headers["client-request-id"]) == ("my-own.7", "my-own.7")
    given = session.get(f"{service.url}/{SECRET_WORD}", headers={"x-request-id": "a b\tc"}, timeout=30)
    assert re.fullmatch(r"[0-9a-f-]{36}", given.headers["x-request-id"])
    service.events(session, line(SECRET_WORD))
    wait_until(10, lambda: any(told["id"] == "my-own.7" for told in service.log if "id" in told))
    (told,) = (told for told in service.log if told.get("id") == "my-own.7")
    assert told["route"] == "/v1.0/IndicatorsOfCompromise(#)/Value"
    assert (told["method"], told["status"], told["level"]) == ("GET", reply.status_code, "info")
    assert (told["tenant"], told["client"]) == (service.access.tenant_id, service.access.client_id)
    assert told["ms"] > 0
    assert told["time"].endswith("Z")
    (lost,) = (told for told in service.log if told.get("id") == given.headers["x-request-id"])
    assert (lost["route"], lost["status"]) == ("other", 404)
    text = (service.home / "log").read_text()
    for secret in (SECRET_WORD, service.token, service.access.client_secret, "evil.example"):
        assert secret not in text


# Ends


def gone(pids: list[int]) -> bool:
    """Whether none of the processes is there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
    return True


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = [entry.read_text().split() for entry in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for part in found for child in part]


@pytest.mark.full
def test_a_worker_that_dies_is_replaced_and_a_stop_finishes_what_was_accepted(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        each = service.each()
        (first, one), (second, two) = each.items()
        service.add_indicator(two, "evil.example")
        service.events(one, line("good.example"))
        os.kill(first, signal.SIGKILL)
        fresh = service.each()
        assert first not in fresh
        after = numbers(service, two)
        assert after["indicia_worker_restarts_total"] == 1
        assert after["indicia_events_total"] == 1
        assert any("died" in told.get("message", "") for told in service.log)
        # Half of a request is there when the stop is asked for.
        asked = threading.Event()

        def body() -> Iterator[bytes]:
            yield line("evil.example")
            asked.wait(20)
            yield line("evil.example", 1)

        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(service.events(two, body())))
        thread.start()
        waits = 'indicia_events_waiting{worker="%d"}'
        wait_until(10, lambda: sum(numbers(service, service.session())[waits % n] for n in (0, 1)) == 1)
        service.process.terminate()
        time.sleep(0.5)
        assert service.process.poll() is None
        asked.set()
        thread.join()
        assert answers[0].json()["newDetections"] == 2
        assert service.process.wait(30) == 0
        assert gone([*each, *fresh])
        assert second in fresh


def test_one_that_is_killed_while_the_service_starts_is_replaced(tmp_path: Path) -> None:
    stopped = threading.Event()

    def kill() -> None:
        """A worker as soon as there is one."""
        while not stopped.wait(0.001):
            for pid in children(os.getpid()):
                with suppress(OSError):
                    ours = str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text()
                    if ours and (workers := children(pid)):
                        os.kill(workers[0], signal.SIGKILL)
                        return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with serving(tmp_path) as service:
            assert len(service.each()) == 2
            assert numbers(service, service.session())["indicia_worker_restarts_total"] == 1
            # As a terminal does at Ctrl-C.
            for pid in (*children(service.process.pid), service.process.pid):
                os.kill(pid, signal.SIGINT)
            assert service.process.wait(30) == 0
    finally:
        stopped.set()
        killer.join()


@pytest.mark.full
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        pids = list(service.each())
        service.process.kill()
        wait_until(10, lambda: gone(pids))


def test_what_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "indicia", "--home", str(tmp_path), "serve", "--workers", "2"]
    with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}"):
        pass
    (tmp_path / "config.toml").write_text('[[issuers]]\nissuer = "not a URL"\n')
    done = subprocess.run([*command, "--port", str(free_port())], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "issuers[0]" in done.stderr
    assert "Traceback" not in done.stderr

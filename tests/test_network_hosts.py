"""Services whose network to the database breaks: what clients see, and that nothing is lost or twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

import broker
import postgres
from hosts import LASTING, Host
from indicia.auth import certificates, roles
from indicia.auth.sealing import Seal
from indicia.live import targets
from indicia.messages import Output, Sent
from indicia.outputs.given import Given
from indicia.store import Store
from network import WRITTEN, Network, to
from service import DEFINITION, Access, add_access, free_port, indicator, wait_until
from soak.hook import Hook
from soak.stream import Stream, furnish

pytestmark = pytest.mark.full
TOLD = 11.0
"""Seconds until a request is answered, as docs/hosts.md says: of silence, of looking, of grace."""
BACK = 3.0
"""Seconds until all is well after the network is back."""
SLACK = 3.0
"""What a machine that does much else may take beside."""
STREAM = Stream(1, 0)


@dataclass
class Cut:
    """A service, and its own network to the database."""

    host: Host
    net: Network
    access: Access
    token: str = ""

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(self.host.home / "tls" / "ca.pem")
            return session.request(method, f"{self.host.url}/{path}", headers=headers, timeout=90, **more)

    def sign_in(self) -> None:
        """Get a token."""
        reply = self.call("POST", f"{self.access.tenant_id}/oauth2/token", data=self.access.form)
        self.token = reply.json()["access_token"]

    def events(self, numbers: range, key: str = "") -> requests.Response:
        """Send some."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.call("POST", "v1.0/Events", data=STREAM.lines(numbers), headers=headers)


@dataclass
class Place:
    """A server, a tenant with names that events hold, and who gets messages."""

    server: postgres.Server
    folder: Path
    access: Access
    owner: int
    hook: Hook

    @contextmanager
    def cut(self, name: str) -> Iterator[Cut]:
        """A service, ready."""
        with to(self.server) as net:
            host = Host(self.home(name, net), free_port())
            certificates.ensure(host.home, "127.0.0.1")
            host.start()
            try:
                wait_until(60, host.answers)
                made = Cut(host, net, self.access)
                made.sign_in()
                yield made
            finally:
                host.kill()

    def home(self, name: str, net: Network) -> Path:
        """A home whose store is beyond a network, with the key of all homes."""
        home = self.folder / name
        home.mkdir(mode=0o700)
        (home / "config.toml").write_text(f'database = "{net.url("indicia")}"\nmatchers = 0\nlog = "json"\n')
        (home / "log").touch()
        (home / "outputs.key").write_bytes((self.folder / "outputs.key").read_bytes())
        (home / "outputs.key").chmod(0o600)
        return home

    def asks(self, statement: str) -> list[Any]:
        """What the database holds."""
        with self.server.connect("indicia") as raw:
            return raw.execute(statement.encode()).fetchall()

    def number(self, statement: str) -> int:
        """One number of it."""
        return int(self.asks(statement)[0][0])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All but services."""
    folder = tmp_path_factory.mktemp("network")
    with ExitStack() as stack:
        server = postgres.new(LASTING)
        stack.callback(postgres.remove, server)
        server.make(name="indicia")
        hook = Hook()
        hook.open()
        stack.callback(hook.close)
        with Store.open(server.url("indicia")) as store:
            access = add_access(store, "contoso", (*roles.DEFAULT, roles.ADMIN))
            tenant = store.tenant(access.tenant_id)
            furnish(tenant)
            given = Given(hook.url, {"allow": "127.0.0.1"}, targets.secret_for(hook.url))
            new = Output("hook", "", "", sends=(Sent.OPENED,))
            tenant.outbox.add(targets.sealed(Seal(folder), tenant.uid, new, given), "tests")
            owner = tenant.definitions()[0].id
        yield Place(server, folder, access, owner, hook)


@pytest.fixture(scope="module")
def one(place: Place) -> Iterator[Cut]:
    """A service."""
    with place.cut("one") as made:
        yield made


@pytest.fixture(scope="module")
def two(place: Place, one: Cut) -> Iterator[Cut]:
    """Another one, of another host."""
    with place.cut("two") as made:
        yield made


def timed(work: Callable[[], requests.Response]) -> tuple[float, requests.Response]:
    """An answer, and after how many seconds it came."""
    begun = time.monotonic()
    reply = work()
    return time.monotonic() - begun, reply


def during(one: Cut, owner: int, mark: str) -> list[tuple[float, requests.Response]]:
    """Requests of every kind at once, and what became of them."""
    name = f"{mark}.example"
    body = indicator(owner, Type="DomainName", Value=name)
    form = one.access.form
    kinds: list[Callable[[], requests.Response]] = [
        lambda: one.call("GET", "v1.0/Alerts?$top=5"),
        lambda: one.events(range(10), mark),
        lambda: one.call("POST", "v1.0/AlertDefinitions", json=DEFINITION | {"Name": mark}),
        lambda: one.call("POST", "v1.0/IndicatorsOfCompromise", json=body),
        lambda: one.call("POST", f"{one.access.tenant_id}/oauth2/token", data=form),
        lambda: one.call("GET", "ready"),
    ]
    with ThreadPoolExecutor(60) as threads:
        asked = [threads.submit(timed, kind) for kind in kinds * 10]
        for _ in range(5):
            assert one.host.answers("/health")
            time.sleep(0.3)
        return [each.result() for each in asked]


def refused(found: list[tuple[float, requests.Response]]) -> float:
    """All are 503 that say when to come back, in time; the longest."""
    for seconds, reply in found:
        assert reply.status_code == 503, reply.text
        assert int(reply.headers["Retry-After"]) <= 10
        assert seconds < TOLD + SLACK, f"{reply.request.path_url}: {seconds:.1f} s"
    return max(seconds for seconds, _ in found)


def well(one: Cut) -> float:
    """Seconds until it is."""
    begun = time.monotonic()
    wait_until(BACK + SLACK, lambda: one.host.ask("/ready") == 200)
    assert one.call("GET", "v1.0/Alerts?$top=5").status_code == 200
    assert one.events(range(10)).status_code == 200
    return time.monotonic() - begun


def test_packets_are_lost(place: Place, one: Cut, capsys: pytest.CaptureFixture[str]) -> None:
    assert one.events(range(100), "before").json()["newDetections"] == sum(map(STREAM.hits, range(100)))
    one.net.swallow()
    longest = refused(during(one, place.owner, "lost"))
    later, reply = timed(lambda: one.call("GET", "v1.0/Alerts?$top=5"))
    assert reply.status_code == 503
    status, said = one.host.get("/ready")
    assert status == 503
    assert "is away" in json.loads(said)["status"]
    one.net.mend()
    back = well(one)
    with capsys.disabled():
        print(f"\n  503 after {longest:.1f} s, later after {later:.2f} s; well {back:.1f} s after")
    assert place.number("SELECT count(*) FROM indicators WHERE value = 'lost.example'") == 0
    assert one.events(range(100), "before").headers["Idempotent-Replayed"] == "true"


@pytest.mark.slow
def test_the_answer_to_a_commit_is_lost(place: Place, one: Cut) -> None:
    body = DEFINITION | {"Name": "once"}
    one.net.hold_after(*WRITTEN)
    seconds, reply = timed(lambda: one.call("POST", "v1.0/AlertDefinitions", json=body))
    assert seconds < TOLD + SLACK
    # Whoever is told to come later sends it again.
    assert (reply.status_code, "Retry-After" in reply.headers) == (504, False)
    assert reply.json()["error"]["code"] == "OutcomeUnknown"
    one.net.mend()
    well(one)
    found = one.call("GET", "v1.0/AlertDefinitions?$filter=Name eq 'once'").json()["value"]
    assert len(found) == 1
    numbers, hits = range(1000, 1100), sum(map(STREAM.hits, range(1000, 1100)))
    before = place.number("SELECT count(*) FROM detections")
    one.net.hold_after(*WRITTEN)
    reply = one.events(numbers, "again")
    # Events may be sent again, whatever was done.
    assert (reply.status_code, "Retry-After" in reply.headers) == (503, True)
    one.net.mend()
    well(one)
    said = [one.events(numbers, "again") for _ in range(2)]
    assert {each.status_code for each in said} == {200}
    assert said[0].json() == said[1].json()
    assert place.number("SELECT count(*) FROM detections") == before + hits


@pytest.mark.slow
@pytest.mark.parametrize("way", ["hold", "answers", "forget", "reset", "refuse", "delay"])
def test_other_ways_to_break(place: Place, one: Cut, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = one.net
    ways: dict[str, Callable[[], None]] = {
        "hold": lambda: net.hold("up", "down"),
        "answers": lambda: net.hold("down"),
        "forget": net.forget,
        "reset": net.reset,
        "refuse": net.refuse,
        "delay": lambda: setattr(net, "delay", 0.01),
    }
    ways[way]()
    found = during(one, place.owner, way)
    assert all(seconds < TOLD + SLACK for seconds, _ in found)
    if way in ("hold", "answers", "refuse"):
        refused(found)
    net.mend()
    back = well(one)
    with capsys.disabled():
        print(f"\n  {way}: {max(seconds for seconds, _ in found):.1f} s; well {back:.1f} s after")
    twice = f"SELECT count(*) FROM definitions WHERE name = '{way}'"
    done = sum(reply.status_code == 201 for _, reply in found if "Definitions" in reply.request.path_url)
    assert place.number(twice) == done


@pytest.mark.slow
def test_writes_of_others_are_in_force_after_it(
    place: Place, one: Cut, two: Cut, capsys: pytest.CaptureFixture[str]
) -> None:
    one.net.swallow()
    time.sleep(8)
    for number in range(3):
        body = indicator(place.owner, Type="DomainName", Value=f"meanwhile{number}.example")
        seconds, reply = timed(lambda sent=body: two.call("POST", "v1.0/IndicatorsOfCompromise", json=sent))  # type: ignore[misc]
        assert reply.status_code == 201
        assert seconds < 2, "one that is cut off holds nobody up"
    time.sleep(8)
    one.net.mend()
    begun = time.monotonic()
    wait_until(BACK + SLACK, lambda: _meets(one, "meanwhile2.example"))
    with capsys.disabled():
        print(f"\n  in force {time.monotonic() - begun:.1f} s after the network was back")


def _meets(one: Cut, name: str) -> bool:
    event = {"@timestamp": "2024-03-12T08:53:07Z", "event": {"id": f"{name}-{time.monotonic()}"}}
    line = event | {"host": {"name": "probe"}, "dns": {"question": {"name": name}}}
    reply = one.call("POST", "v1.0/Events", data=json.dumps(line))
    return reply.status_code == 200 and reply.json()["detections"] == 1


@pytest.mark.slow
def test_a_writer_that_is_cut_off_gives_the_lock_back(place: Place, one: Cut, two: Cut) -> None:
    """Its transaction stands open at the server, which is told nothing."""
    one.net.hold_after(b"UPDATE ")
    with ThreadPoolExecutor() as threads:
        body = indicator(place.owner, Type="DomainName", Value="cut.example")
        lost = threads.submit(timed, lambda: one.call("POST", "v1.0/IndicatorsOfCompromise", json=body))
        time.sleep(1)
        begun = time.monotonic()
        more = indicator(place.owner, Type="DomainName", Value="goes-on.example")
        while two.call("POST", "v1.0/IndicatorsOfCompromise", json=more).status_code != 201:
            assert time.monotonic() < begun + 22 + SLACK
        refused([lost.result()])
    one.net.mend()
    well(one)
    assert place.number("SELECT count(*) FROM indicators WHERE value = 'cut.example'") == 0


@pytest.mark.slow
@pytest.mark.parametrize("way", ["swallow", "hold"])
def test_who_has_a_network_delivers(
    place: Place, one: Cut, two: Cut, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    holder, other = _by_turn(one, two)
    before = len(place.hook.acknowledged)
    if way == "swallow":
        holder.net.swallow()
    else:
        holder.net.hold("up", "down")
    begun = time.monotonic()
    assert _meets(other, "host-1.example")
    event = {"@timestamp": "2024-03-12T08:53:07Z", "event": {"id": way}, "host": {"name": f"new-{way}"}}
    line = event | {"dns": {"question": {"name": "host-2.example"}}}
    assert other.call("POST", "v1.0/Events", data=json.dumps(line)).json()["newDetections"] == 1
    wait_until(26 + SLACK, lambda: len(place.hook.acknowledged) > before)
    took = time.monotonic() - begun
    assert _by_turn(other, holder)[0] is other
    holder.net.mend()
    well(holder)
    time.sleep(3)
    assert _by_turn(holder, other)[0] is other
    assert not [key for key, times in place.hook.acknowledged.items() if times > 1]
    with capsys.disabled():
        print(f"\n  {way}: delivered by the other one after {took:.1f} s")


def _by_turn(asked: Cut, other: Cut) -> tuple[Cut, Cut]:
    """Who has the turn to deliver, as the metrics of one of them say, and who has not."""
    lines = asked.call("GET", "metrics").text.splitlines()
    (line,) = [one for one in lines if one.startswith("indicia_outputs_turn{")]
    assert asked.host.process is not None
    return (asked, other) if f'process="{asked.host.process.pid}"' in line else (other, asked)


@pytest.mark.slow
def test_watches_wait_and_lose_nothing(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = place.number("SELECT count(*) FROM detections")
    log = tmp_path_factory.mktemp("logs") / "app.log"
    log.touch()
    with broker.running(tmp_path_factory.mktemp("kafka")) as kafka, to(place.server) as net:
        topic = kafka.topic(2)
        home = place.home("watch", net)
        command = [sys.executable, "-m", "indicia", "--home", str(home), "watch", str(log)]
        command.append(f"{kafka.url}/{topic}?group=network")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
        with (home / "log").open("ab") as out:
            watch = subprocess.Popen(command, stdout=out, stderr=out, env=clean)
        try:
            _watched(place, net, kafka, topic, log, before)
            watch.terminate()
            assert watch.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                watch.kill()
            watch.wait()
        assert "Traceback" not in (home / "log").read_text()
        assert kafka.committed(topic, "network") == kafka.ends(topic)


def _watched(place: Place, net: Network, kafka: broker.Broker, topic: str, log: Path, wanted: int) -> None:
    at = 100_000

    def found() -> int:
        return place.number("SELECT count(*) FROM detections")

    for way in (None, net.swallow, lambda: net.hold("down"), lambda: net.hold_after(*WRITTEN)):
        if way is not None:
            way()
        first, second = range(at, at + 200), range(at + 200, at + 400)
        at += 400
        with log.open("ab") as file:
            file.write(STREAM.lines(first))
        kafka.put(topic, *map(STREAM.line, second))
        wanted += sum(map(STREAM.hits, (*first, *second)))
        if way is not None:
            time.sleep(15)
        net.mend()
        begun = time.monotonic()
        while found() < wanted:
            assert time.monotonic() < begun + 60
            time.sleep(0.1)
    assert found() == wanted
    assert place.number("SELECT sum(detection_count) FROM alerts") == wanted

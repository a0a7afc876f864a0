"""Topics of a real Kafka: as a source, as an output, and whatever happens to brokers and consumers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import broker as kafka
from broker import PASSWORD, USER, Broker
from indicia.auth.sealing import Seal
from indicia.errors import StoreError
from indicia.live import courier, targets
from indicia.live.courier import Courier
from indicia.live.following import Following
from indicia.live.kafka import Kafka
from indicia.live.watch import Watch
from indicia.messages import Outcome, Output, Sent
from indicia.outputs.given import Given
from indicia.outputs.kafka import Kafka as Sender
from indicia.store import Store, TenantStore
from indicia.telemetry import Malformed
from indicia.web.metrics import Board, Metrics
from service import wait_until
from soak.group import GroupSoak
from soak.stream import SHARE, Stream, furnish, outcome, undisturbed
from stored import add, detection, opened, path_of, url

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with kafka.running(tmp_path_factory.mktemp("kafka")) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[TenantStore]:
    """A tenant with the names that some events hold."""
    with opened(tmp_path / "indicia.db") as tenant:
        furnish(tenant)
        yield tenant


def watched(
    own: TenantStore, url: str, wanted: int, told: list[Malformed] | None = None, seconds: float = 60
) -> Watch:
    """A watch of a topic that has ended soon after so many events and malformed lines had come."""
    following = Following(own, path_of(own).parent / "indexes", lambda: False)
    heard: list[Malformed] = [] if told is None else told
    watch = Watch(following, [url], path_of(own).parent / "watch", malformed=heard.append)
    stopped, end = threading.Event(), time.monotonic() + seconds

    def look() -> None:
        while watch.seen.events + watch.seen.malformed < wanted and time.monotonic() < end:
            time.sleep(0.05)
        stopped.wait(0.3)  # for what is too much
        stopped.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        watch.run(stopped)
    finally:
        thread.join()
        following.arrivals.note()
    return watch


def lines(stream: Stream) -> list[bytes]:
    return [stream.line(number).rstrip() for number in range(stream.events)]


def event(number: int) -> bytes:
    """One that meets an indicator."""
    made = {"@timestamp": "2024-03-12T08:53:07Z", "event": {"id": str(number)}, "host": {"name": "pc-1"}}
    return json.dumps(made | {"dns": {"question": {"name": f"n{number}.host-0.example"}}}).encode()


# What comes


def test_messages_of_all_partitions_are_matched_and_then_committed(broker: Broker, own: TenantStore) -> None:
    stream, topic = Stream(1, 2000), broker.topic(4)
    broker.put(topic, *lines(stream))
    watch = watched(own, f"{broker.url}/{topic}", 2000)
    assert (watch.seen.events, watch.seen.malformed) == (2000, 0)
    ends = broker.ends(topic)
    assert broker.committed(topic) == ends
    assert min(ends.values()) > 0
    found = outcome(own)
    assert found["detections"] == pytest.approx(2000 / SHARE, rel=0.2)
    (source,) = own.overview.sources()
    assert (source.name, source.events, source.malformed) == (f"kafka:{topic}", 2000, 0)
    # As a scan of the same lines finds them.
    folder = path_of(own).parent
    with opened(folder / "other.db") as other:
        furnish(other)
        wanted = undisturbed(other, stream, folder / "other")
    assert (found["detections"], found["alerts"]) == (wanted["detections"], wanted["alerts"])
    ((_, detected), *_) = own.detections(limit=1)
    assert detected.source == f"kafka:{topic}"
    assert 0 <= detected.line < 2000


def test_the_next_watch_goes_on_and_another_group_begins_anew(broker: Broker, own: TenantStore) -> None:
    topic = broker.topic(2)
    broker.put(topic, *map(event, range(10)))
    assert watched(own, f"{broker.url}/{topic}", 10).seen.events == 10
    broker.put(topic, *map(event, range(10, 13)))
    assert watched(own, f"{broker.url}/{topic}", 3).seen.events == 3
    assert watched(own, f"{broker.url}/{topic}?group=other", 13).seen.events == 13


def test_nothing_is_committed_that_is_not_in_the_store(broker: Broker) -> None:
    topic = broker.topic(2)
    broker.put(topic, *map(event, range(100)))

    def full() -> None:
        raise StoreError("the disk is full")

    def read(source: Kafka) -> int:
        return sum(piece.data.count(b"\n") for piece in source.pieces())

    def taken(source: Kafka) -> int:
        found = 0
        end = time.monotonic() + 20
        while found < 100 and time.monotonic() < end:
            found += read(source)
        return found

    with closing(Kafka(f"{broker.url}/{topic}", full, lambda *_: None)) as source:
        assert taken(source) == 100
    assert not broker.committed(topic)
    settled: list[int] = []
    with closing(Kafka(f"{broker.url}/{topic}", lambda: settled.append(1), lambda *_: None)) as source:
        assert taken(source) == 100
        # They count as matched when more is asked for, and are committed when they are kept.
        assert not broker.committed(topic)
        source.keep()
        wait_until(10, lambda: sum(broker.committed(topic).values()) == 100)
    assert settled


def test_a_partition_that_is_given_up_is_settled_first(broker: Broker) -> None:
    topic = broker.topic(2)
    broker.put(topic, *map(event, range(100)))
    settled: list[float] = []
    url = f"{broker.url}/{topic}?session=2"
    first = Kafka(url, lambda: settled.append(time.monotonic()), lambda *_: None)
    with closing(first):
        wait_until(20, lambda: ([*first.pieces()] and len(first._done) == 2) or len(first._done) == 2)
        with closing(Kafka(url, lambda: None, lambda *_: None)) as second:
            wait_until(20, lambda: [*first.pieces(), *second.pieces()] or len(second._owned) == 1)
            wait_until(20, lambda: not [*first.pieces()] and len(second._owned) == 1)
            assert settled
            assert len(first._owned) == 1
            (given,) = second._owned
            # What the first one had matched of it is committed, so the second one finds nothing there.
            assert broker.committed(topic)[given] == broker.ends(topic)[given]
            assert not [*second.pieces()]


POISON: tuple[tuple[bytes | None, str], ...] = (
    (None, "a tombstone: it has no value"),
    (b" \n", "it is empty"),
    (b"\x00\x00\x00\x00\x07avro", "it is neither JSON nor text: it holds NUL"),
    (b'{"a": ', "not valid JSON: Expecting value at character 5"),
    (b"x" * 2001, "2001 bytes, more than 2000"),
    (event(20) + b"\n[1]\n" + event(40), "line 2: not a JSON object but list"),
)


def test_what_cannot_be_read_goes_to_the_dead_letter_topic(broker: Broker, own: TenantStore) -> None:
    topic, dead = broker.topic(1), broker.topic(1)
    broker.put(topic, event(0), *(value for value, _ in POISON), event(60), key="k", headers={"a": b"b"})
    told: list[Malformed] = []
    watch = watched(own, f"{broker.url}/{topic}?dead={dead}&longest=2000", 10, told)
    assert (watch.seen.events, watch.seen.malformed, watch.seen.dead, told) == (4, 6, 6, [])
    assert broker.committed(topic) == {0: 8}
    found = broker.held(dead)
    assert [(one.value(), one.key()) for one in found] == [(value, b"k") for value, _ in POISON]
    for at, ((_, reason), one) in enumerate(zip(POISON, found, strict=True), 1):
        assert dict(one.headers()) == {
            "a": b"b",
            "indicia-reason": reason.encode(),
            "indicia-topic": topic.encode(),
            "indicia-partition": b"0",
            "indicia-offset": str(at).encode(),
        }


def test_letters_that_are_always_under_way_hold_up_no_commit(broker: Broker) -> None:
    topic, dead = broker.topic(1), broker.topic(1)
    refused: list[str | None] = []
    source = Kafka(f"{broker.url}/{topic}?dead={dead}", lambda: None, lambda _, words: refused.append(words))
    with closing(source):
        for number in range(1, 6):
            broker.put(topic, b"\0")
            while len(refused) < number:
                assert not list(source.pieces())
            # Whenever it is asked how far it is, one was sent a moment ago.
            source.keep()
        wait_until(10, lambda: list(source.pieces()) == [] and broker.committed(topic).get(0, 0) >= 4)


def test_without_a_dead_letter_topic_it_is_told(broker: Broker, own: TenantStore) -> None:
    topic = broker.topic(1)
    broker.put(topic, event(0), *(value for value, _ in POISON), event(60))
    told: list[Malformed] = []
    watch = watched(own, f"{broker.url}/{topic}?longest=2000", 10, told)
    assert (watch.seen.events, watch.seen.malformed, watch.seen.dead) == (4, 6, 0)
    assert [(one.source, one.line) for one in told] == [(f"kafka:{topic}", 0)] * 6
    assert [one.reason for one in told][:2] == [
        "partition 0, offset 1: a tombstone: it has no value",
        "partition 0, offset 2: it is empty",
    ]
    assert own.overview.sources()[0].malformed == 6
    assert broker.committed(topic) == {0: 8}


def test_a_dead_letter_topic_that_is_not_there_holds_up_nothing(
    broker: Broker, own: TenantStore, caplog: pytest.LogCaptureFixture
) -> None:
    topic, dead = broker.topic(1), broker.topic(1, max_message_bytes="1000")
    broker.put(topic, b"\0" * 2000, event(0))
    watch = watched(own, f"{broker.url}/{topic}?dead={dead}", 2)
    assert (watch.seen.events, watch.seen.malformed, watch.seen.dead) == (1, 1, 1)
    # Too large for that topic: what it was is in its headers.
    (one,) = broker.held(dead)
    assert (one.value(), dict(one.headers())["indicia-bytes"]) == (b"", b"2000")
    broker.put(topic, b"\0", event(0))
    watched(own, f"{broker.url}/{topic}?dead=nowhere", 2)
    assert broker.committed(topic) == {0: 4}
    assert re.search(r"partition 0, offset 2 .*the topic nowhere did not take it", caplog.text)


def test_lines_of_text_and_json_over_many_lines_are_events(broker: Broker, own: TenantStore) -> None:
    topic = broker.topic(1)
    pretty = json.dumps(json.loads(event(0)), indent=2).encode()
    text = b"Mar 12 08:53:07 gw app: one\nMar 12 08:53:08 gw app: n1.host-0.example\n"
    broker.put(topic, pretty, text, event(20) + b"\n\n" + event(40) + b"\n", b"\xef\xbb\xbf" + event(60))
    watch = watched(own, f"{broker.url}/{topic}?source=mixed", 6)
    assert (watch.seen.events, watch.seen.malformed) == (6, 0)
    assert own.overview.sources()[0].name == "mixed"
    assert {one.line for _, one in own.detections(limit=10)} >= {0, 2, 3}


def test_of_a_topic_that_is_not_there_nobody_knows_how_far_it_is(broker: Broker) -> None:
    with closing(Kafka(f"{broker.url}/absent", lambda: None, lambda *_: None)) as source:
        asked = time.monotonic() + 2.5
        while time.monotonic() < asked:
            assert not list(source.pieces())
            assert source.lag.behind is None
            time.sleep(0.05)


def test_how_far_a_group_is_behind_is_told(broker: Broker, own: TenantStore) -> None:
    topic = broker.topic(3)
    broker.put(topic, *map(event, range(50)))
    source = Kafka(f"{broker.url}/{topic}?group=behind", lambda: None, lambda *_: None)
    with closing(source):
        wait_until(20, lambda: source.lag.behind == 50)
    watch = watched(own, f"{broker.url}/{topic}?group=behind", 50)
    assert watch.seen.events == 50
    own.overview.note_sources([], {f"kafka:{topic}": 7, "other": 1})
    (found,) = own.overview.sources()
    assert found.behind == 7
    assert found.behind_at is not None
    text = Metrics(Board(), 0).text((), [found])
    assert f'indicia_source_behind{{source="{found.number}"}} 7\n' in text
    assert f'indicia_source_asked_seconds{{source="{found.number}"}} ' in text


# Who may


def secret(folder: Path, text: str = f"{USER}:{PASSWORD}") -> Path:
    (folder / "secret").write_text(f"{text}\n")
    return folder / "secret"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_listener_with_tls_and_a_password(
    broker: Broker, own: TenantStore, tmp_path: Path, mechanism: str
) -> None:
    topic = broker.topic(1)
    broker.put(topic, *map(event, range(3)))
    more = f"secret={secret(tmp_path)}&trust={broker.authority}&mechanism={mechanism}"
    assert watched(own, f"{broker.secure_url}/{topic}?{more}", 3).seen.events == 3


def test_a_wrong_password_and_an_unknown_authority_are_told_in_words(
    broker: Broker, own: TenantStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topic, wrong = broker.topic(1), secret(tmp_path, f"{USER}:battery staple")
    url = f"{broker.secure_url}/{topic}?secret={wrong}"
    watched(own, f"{url}&trust={broker.authority}", 1, seconds=2)
    assert re.search(r"localhost:\d+ refuses user or password: .*invalid credentials", caplog.text)
    assert "staple" not in caplog.text
    caplog.clear()
    watched(own, url, 1, seconds=2)
    assert re.search(r"TLS with localhost:\d+ failed: .*certificate verify failed", caplog.text)
    sender = Sender(Given(url.partition("?")[0], {"trust": str(broker.authority)}, f"{USER}:battery staple"))
    with closing(sender), opened(tmp_path / "box.db") as tenant:
        (said,) = sender.send([tenant.outbox.trial()])
    assert said.outcome is Outcome.LATER
    assert "refuses user or password" in said.fault
    assert "staple" not in said.fault


# Brokers that are not there


def started(tmp_path: Path, url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "indicia", "--home", str(tmp_path), "watch", url]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    with (tmp_path / "out").open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=clean)


def test_a_watch_waits_for_brokers_in_words_and_ends_at_once(
    broker: Broker, own: TenantStore, tmp_path: Path
) -> None:
    """Once for each time that none is there; it goes on when one is, and ends by SIGTERM in any case."""
    topic = broker.topic(2)

    def told() -> str:
        return (tmp_path / "out").read_text()

    broker.kill()
    watch = started(tmp_path, f"{broker.url}/{topic}")
    try:
        words = (
            f"kafka:{topic}: 127.0.0.1:{broker.port} cannot be reached: Connection refused; it is tried again"
        )
        wait_until(30, lambda: words in told())
        time.sleep(1.0)
        assert told().count(words) == 1
        broker.start()
        broker.put(topic, *map(event, range(0, 200, 20)))
        wait_until(60, lambda: own.counts().detections == 10 or watch.poll() is not None)
        assert watch.poll() is None
        assert "brokers answer again" in told()
        broker.kill()
        wait_until(30, lambda: told().count("it is tried again") > 1)
        asked = time.monotonic()
        watch.terminate()
        assert watch.wait(10) == 0
        assert time.monotonic() - asked < 5  # of which the end of a process takes what the machine lets it
        assert "10 events, 10 new detections" in told()
        assert "Traceback" not in told()
    finally:
        watch.kill()
        watch.wait()
        broker.start()


# Alerts out


def output(own: TenantStore, target: str, **more: Any) -> Output:
    home = path_of(own).parent
    new = Output(name="lake", kind="", target="", sends=(Sent.OPENED, Sent.GROWN, Sent.DETECTED))
    given = Given(target, more.get("options", {}), more.get("secret", ""))
    return own.outbox.add(targets.sealed(Seal(home), own.uid, new, given), "tests")


def alerts(own: TenantStore, *events: int) -> None:
    found = own.indicators()[0]
    for number in events:
        own.record([detection(found, own.uid, number, machine=f"host-{number % 5}")])


def test_alerts_go_to_a_topic_and_a_broker_that_is_down_loses_none(broker: Broker, tmp_path: Path) -> None:
    topic = broker.topic(3)
    more = {"options": {"trust": str(broker.authority)}, "secret": f"{USER}:{PASSWORD}"}
    with opened(tmp_path / "indicia.db") as own:
        add(own, 1)
        lake = output(own, f"{broker.secure_url}/{topic}", **more)
        assert (lake.kind, lake.target) == ("kafka", f"{broker.secure_url}/{topic}")
        said = courier.try_out(Seal(tmp_path), own.outbox, lake, own.outbox.trial())
        assert (said.outcome, said.fault) == (Outcome.DELIVERED, "")
        alerts(own, *range(20))
        store = Courier(own_store(own), tmp_path)
        assert store.run_once(threading.Event())
        broker.kill()
        alerts(own, *range(20, 40))
        assert store.run_once(threading.Event())
        (backlog,) = own.outbox.backlogs()
        assert backlog.waiting > 0
        assert "cannot be reached" in str(own.outbox.outputs()[0].fault)
        broker.start()
        own.outbox.change("lake", {}, "tests")
        assert store.run_once(threading.Event())
        (backlog,) = own.outbox.backlogs()
        assert (backlog.waiting, backlog.dead) == (0, 0)
        count = own.counts().alerts
    bodies = [(one.key().decode(), json.loads(one.value()), one) for one in broker.held(topic)]
    detections = [body["Detection"] for _, body, _ in bodies if "Detection" in body]
    assert len({one["DetectionId"] for one in detections}) == 40
    places: dict[str, set[int]] = {}
    for key, body, one in bodies[1:] if bodies[0][1]["Sent"] == "Test" else bodies:
        about = body.get("Alert") or body.get("Detection")
        if about is None:
            continue
        assert key == about["AlertId"]
        places.setdefault(key, set()).add(one.partition())
        assert dict(one.headers())["indicia-message"].decode() == body["MessageId"]
    assert len(places) == count
    assert all(len(numbers) == 1 for numbers in places.values())


def own_store(own: TenantStore) -> Any:
    """The store that a tenant is of."""
    return Store.open(url(path_of(own)))


def test_what_a_topic_refuses_is_refused_and_the_rest_delivered(broker: Broker, tmp_path: Path) -> None:
    topic = broker.topic(1, max_message_bytes="1000")
    with opened(tmp_path / "indicia.db") as own, closing(Sender(Given(f"{broker.url}/{topic}"))) as sender:
        small = own.outbox.trial()
        large = replace(own.outbox.trial(), body=json.dumps({"x": os.urandom(1500).hex()}))
        said = sender.send([small, large, own.outbox.trial()])
    assert [one.outcome for one in said] == [Outcome.DELIVERED, Outcome.REFUSED, Outcome.DELIVERED]
    assert "too large" in said[1].fault
    with closing(Sender(Given(f"{broker.url}/nowhere"), seconds=2.0)) as lost:
        (one,) = lost.send([small])
    assert one.outcome is Outcome.LATER
    assert "nknown topic" in one.fault


# Kills


def test_consumers_that_are_killed_in_rebalances_change_nothing(broker: Broker, tmp_path: Path) -> None:
    stream = Stream(3, 8000)
    found, wanted = GroupSoak(tmp_path / "home", broker, stream, 4, (0.3, 0.8)).run()
    assert found == wanted
    assert wanted["detections"] == pytest.approx(stream.events / SHARE, rel=0.1)

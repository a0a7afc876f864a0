"""From the store to receivers: nothing is lost, and nothing that was acknowledged is sent again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from indicia.auth.sealing import Seal
from indicia.detect import detect_all
from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.live import courier, targets
from indicia.live.courier import Courier
from indicia.match.reference import ReferenceMatcher
from indicia.messages import Delivery, MessageState, Outcome, Output, Sent
from indicia.model import AlertStatus, Detection, Severity
from indicia.outputs import elastic, syslog
from indicia.outputs.given import Given
from indicia.store import Store, TenantStore, outbox
from indicia.store.outbox import REFUSALS
from indicia.telemetry.events import events
from indicia.telemetry.sources import Source
from receivers import Reply, Request, slowly, web
from service import Local, add_access, running, wait_until
from stored import add, detection, everything, opened, path_of, raw, url

pytestmark = pytest.mark.full

ALL = (Sent.OPENED, Sent.GROWN, Sent.REOPENED, Sent.CHANGED, Sent.DETECTED)
GO_ON = threading.Event()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody had the turn before, so nobody is to be waited for."""
    monkeypatch.setattr("indicia.store.postgres.SessionTurn.patience", 0.0)


@pytest.fixture
def own(tmp_path: Path, database: str) -> Iterator[TenantStore]:
    """A tenant with three indicators."""
    with opened(tmp_path / "indicia.db") as tenant:
        add(tenant, 3)
        yield tenant


def output(own: TenantStore, target: str, name: str = "one", **changes: Any) -> Output:
    """One of the tenant's."""
    home = path_of(own).parent
    given = Given(target, changes.pop("options", {}), changes.pop("secret", targets.secret_for(target)))
    new = Output(name=name, kind="", target="", **changes)
    return own.outbox.add(targets.sealed(Seal(home), own.uid, new, given), "tests")


def hook(own: TenantStore, url: str, name: str = "one", **changes: Any) -> Output:
    return output(own, url, name, options={"allow": "127.0.0.1"}, **changes)


def alerts(own: TenantStore, *events: int) -> None:
    """One alert for each number: each on a machine of its own."""
    found = own.indicators()[0]
    for number in events:
        own.record([detection(found, own.uid, number, machine=f"host-{number}")])


def deliver(own: TenantStore) -> bool:
    """What can be sent now is sent; what waits for another attempt waits no longer."""
    box = own.outbox
    for one in box.outputs():
        if one.retry_at:
            box.change(one.name, {}, "tests")
    with Store.open(url(path_of(own))) as store:
        return Courier(store, path_of(own).parent).run_once(GO_ON)


def told(own: TenantStore, name: str = "one") -> list[dict[str, Any]]:
    """The bodies that wait for an output."""
    number = own.outbox.output(name).id
    return [json.loads(one.body) for one in own.outbox.waiting(number, 1000)]


def count(own: TenantStore, state: str, name: str = "one") -> int:
    with raw(path_of(own)) as execute:
        query = "SELECT count(*) FROM outbox WHERE state = ? AND output_id = ?"
        return int(execute(query, state, own.outbox.output(name).id)[0][0])


# What is put in


def test_without_an_output_nothing_is_made(own: TenantStore) -> None:
    alerts(own, 1)
    assert everything(path_of(own))["outbox"] == []


def test_each_step_of_an_alert_is_told(own: TenantStore) -> None:
    output(own, "file:///dev/null", sends=ALL)
    found = own.indicators()[0]
    own.record([detection(found, own.uid, 1)])
    own.record([detection(found, own.uid, 1)])  # a replay
    own.record([detection(found, own.uid, 2), detection(found, own.uid, 3, raises=False)])
    own.change_alert(1, {"status": AlertStatus.RESOLVED, "assigned_to": "ann"}, "ann")
    own.change_alert(1, {"status": AlertStatus.RESOLVED}, "ann")  # no change
    own.record([detection(found, own.uid, 3)])
    bodies = told(own)
    assert [one["Sent"] for one in bodies] == [
        "Opened", "Detected", "Grown", "Detected", "Changed", "Reopened", "Detected",
    ]  # fmt: skip
    assert bodies[0]["Alert"]["Title"] == "Paper Lantern: command and control"
    assert (bodies[0]["Alert"]["Id"], bodies[0]["Tenant"]) == (1, own.uid)
    assert bodies[2]["Alert"]["DetectionCount"] == 2
    assert bodies[4]["By"] == "ann"
    assert bodies[4]["Before"] == {"Status": "New", "AssignedTo": None}
    assert (bodies[4]["Alert"]["Status"], bodies[5]["Alert"]["Status"]) == ("Resolved", "New")
    assert bodies[1]["Detection"]["Value"] == "HOST-0.EXAMPLE"
    assert len({one["MessageId"] for one in bodies}) == len(bodies)


def test_an_output_is_told_what_it_wants(own: TenantStore) -> None:
    low = add(own, 1, name="low", severity=Severity.LOW)
    output(own, "file:///dev/null", severity=Severity.MEDIUM)
    output(own, "file:///dev/null", "two", definition_ids=(low.id,), sends=(Sent.DETECTED, Sent.OPENED))
    output(own, "file:///dev/null", "three", enabled=False)
    own.record([detection(found, own.uid, 1) for found in own.indicators()])
    assert [one["Alert"]["Severity"] for one in told(own)] == ["High"]
    assert [one["Sent"] for one in told(own, "two")] == ["Opened", "Detected"]
    assert told(own, "two")[1]["Detection"]["AlertDefinitionId"] == low.id
    assert told(own, "three") == []


def test_messages_are_made_with_the_alert_or_not_at_all(
    own: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    output(own, "file:///dev/null")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr("indicia.store.messages._put", fail)
        with pytest.raises(RuntimeError):
            alerts(own, 1)
    assert (own.alerts(), told(own)) == ([], [])
    alerts(own, 1)
    assert (len(own.alerts()), len(told(own))) == (1, 1)


def test_own_messages_raise_nothing_in_whatever_form_they_come_back(own: TenantStore) -> None:
    output(own, "file:///dev/null", sends=ALL)
    alerts(own, 1)
    (made, _) = own.outbox.waiting(own.outbox.output("one").id, 10)
    ecs = elastic.document(made)
    forms = {
        "json": made.body.encode(),
        "ecs": json.dumps(ecs).encode(),
        "wrapped": json.dumps({"@timestamp": "2024-03-12T08:53:07Z", "message": made.body}).encode(),
        "cef": syslog.cef(made, 16, 8192),
        "rfc5424": b"Mar 12 08:53:07 relay " + syslog.rfc5424(made, 16, 8192),
    }
    matcher = ReferenceMatcher(own.indicators())
    for name, text in forms.items():
        found = detections_of(text + b"\n", matcher, own.uid)
        # In ECS the value stands in fields where a mention is silent anyway.
        assert any(one.raises for one in found) or name == "ecs", name
        own.record(found)
        forged = text.replace(made.id.encode(), b"indicia-" + b"0" * 32)
        assert detections_of(forged + b"\n", matcher, own.uid)[0].marks == ("indicia-" + "0" * 32,)
    kept = [one for _, one in own.detections() if one.silenced]
    assert {str(one.silenced) for one in kept} == {"Own"}
    assert len(kept) >= len(forms) - 1
    assert (len(own.alerts()), own.alerts()[0].detection_count) == (1, 1)
    own.record(
        detections_of(forms["json"].replace(made.id.encode(), b"indicia-" + b"0" * 32), matcher, own.uid)
    )
    assert len(own.alerts()) == 2  # nobody hides by an id of his own


def detections_of(text: bytes, matcher: ReferenceMatcher, tenant: str) -> list[Detection]:
    """What a log of that content gives."""
    source = Source("a.log", held=text)
    return list(detect_all(events(source, malformed=print), matcher, tenant))


# Delivery


def test_a_receiver_that_is_down_for_a_while_gets_everything_once_and_in_order(own: TenantStore) -> None:
    with web() as server:
        url, port = server.url, int(server.url.rpartition(":")[2].partition("/")[0])
        hook(own, url)
        alerts(own, 1)
        assert deliver(own)
        assert len(server.requests) == 1
    for number in range(2, 6):  # while it is down
        alerts(own, number)
        deliver(own)
    found = own.outbox.output("one")
    assert found.fault
    assert "cannot be reached" in found.fault
    assert found.retry_at is not None
    assert (found.failures, found.delivered_at is not None) == (1, True)
    (backlog,) = own.outbox.backlogs()
    assert (backlog.waiting, backlog.dead) == (4, 0)
    wanted = [one["MessageId"] for one in told(own)]
    with web(port=port) as server:
        deliver(own)
        assert server.ids == wanted
        deliver(own)
        assert server.ids == wanted
    (backlog,) = own.outbox.backlogs()
    assert (backlog.waiting, backlog.oldest) == (0, None)
    assert own.outbox.output("one").fault is None


def test_a_pause_doubles_and_ends(own: TenantStore) -> None:
    with web(lambda _: (503, {}, b"")) as server:
        one = hook(own, server.url)
        alerts(own, 1)
        said = [Delivery(own.outbox.waiting(one.id, 1)[0], Outcome.LATER, "no")]
    for failures, least, most in ((0, 0.5, 1), (3, 4, 8), (30, 150, 300)):
        found = Output(
            **{name: getattr(one, name) for name in one.__dataclass_fields__} | {"failures": failures}
        )
        pauses = [courier._pause(found, said) for _ in range(50)]
        assert all(least <= pause <= most for pause in pauses if pause is not None)
        assert len(set(pauses)) > 10
    asked = Delivery(said[0].message, Outcome.LATER, "", 9999999)
    assert courier._pause(one, [asked]) == courier.LONGEST_WISH


def test_what_another_host_has_delivered_is_not_given_up_by_who_comes_last(own: TenantStore) -> None:
    with web(lambda _request: (204, {}, b"")) as server:
        one = hook(own, server.url)
        alerts(own, 1)
        (message,) = own.outbox.waiting(one.id, 9)
        late = Delivery(replace(message, attempts=REFUSALS), Outcome.REFUSED, "the receiver answered 422")
        deliver(own)
        own.outbox.settle(one.id, [late], None)
        assert (own.outbox.dead("one"), own.outbox.waiting(one.id, 9)) == ([], [])


def test_what_is_refused_too_often_is_dead_and_can_be_sent_again(own: TenantStore) -> None:
    refused: set[str] = set()
    with web(lambda request: (422 if request.id in refused else 204, {}, b"")) as server:
        hook(own, server.url)
        alerts(own, 1, 2, 3)
        ids = [one["MessageId"] for one in told(own)]
        refused.add(ids[1])
        for _ in range(REFUSALS):
            deliver(own)
        assert server.ids == [ids[0]] + [ids[1]] * REFUSALS
        deliver(own)
        assert server.ids[-1] == ids[2]
        (dead,) = own.outbox.dead("one")
        assert (dead.id, dead.attempts, dead.state) == (ids[1], REFUSALS, MessageState.DEAD)
        assert dead.fault == "the receiver answered 422"
        refused.clear()
        assert own.outbox.replay("one", "tests") == 1
        deliver(own)
        assert server.ids[-1] == ids[1]
        assert own.outbox.replay("one", "tests") == 0
        assert own.outbox.replay("one", "tests", message_id=ids[0]) == 1
        assert own.outbox.replay("one", "tests", since=dead.made_at) == 2
        deliver(own)
        assert server.ids[-3:] == ids


def test_what_nobody_takes_for_days_is_dead(own: TenantStore) -> None:
    hook(own, "http://127.0.0.1:9/")
    alerts(own, 1, 2)
    with raw(path_of(own)) as execute:
        execute("UPDATE outbox SET made_at = made_at - ? WHERE id = 1", 4 * 86_400 * 10**6)
    deliver(own)
    assert [one.number for one in own.outbox.dead("one")] == [1]
    assert own.outbox.replay("one", "tests") == 1
    deliver(own)
    assert own.outbox.dead("one") == []  # it waits anew


def test_bulk_failures_are_sent_again_alone(own: TenantStore) -> None:
    sent: list[list[str]] = []

    def answer(request: Request) -> Reply:
        ids = [json.loads(line)["create"]["_id"] for line in request.body.splitlines()[::2]]
        sent.append(ids)
        first = len(sent) == 1
        statuses = [
            429 if first and at == 1 else 400 if at == len(ids) - 1 else 201 for at in range(len(ids))
        ]
        return (
            200,
            {},
            json.dumps({"items": [{"create": {"status": status}} for status in statuses]}).encode(),
        )

    with web(answer) as server:
        output(own, f"elastic+{server.url}", secret="user:password")
        alerts(own, 1, 2, 3, 4)
        for _ in range(REFUSALS + 1):
            deliver(own)
    ids = sent[0]
    assert sent[1] == [ids[1], ids[3]]
    assert sent[2:] == [[ids[3]]] * (REFUSALS - 2)
    assert [one.id for one in own.outbox.dead("one")] == [ids[3]]
    assert count(own, "Delivered") == 3


@pytest.mark.full
def test_a_slow_receiver_keeps_no_other_waiting(own: TenantStore, tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    with web(slowly(0.5)) as server:
        hook(own, server.url)
        output(own, f"file://{path}", "two")
        alerts(own, 1, 2, 3, 4)
        stopped = threading.Event()
        with Store.open(url(path_of(own))) as store:
            thread = threading.Thread(target=Courier(store, tmp_path).run, args=(stopped,))
            thread.start()
            wait_until(5, lambda: path.exists() and len(path.read_text().splitlines()) == 4)
            assert len(server.requests) < 4
            stopped.set()
            thread.join()


@pytest.mark.full
def test_what_was_acknowledged_is_noted_when_the_store_is_free_again(
    own: TenantStore, tmp_path: Path
) -> None:
    """Another process holds the store's lock for longer than a writer waits."""
    with opened(path_of(own)) as other, web() as server:

        def hold(held: threading.Event) -> None:
            with other._database.writing():
                held.set()
                time.sleep(0.8)

        def answer(_request: Request) -> Reply:
            if not server.requests:
                held = threading.Event()
                threading.Thread(target=hold, args=(held,)).start()
                assert held.wait(10)
            return 204, {}, b""

        server.answer = answer
        hook(own, server.url)
        alerts(own, 1, 2)
        with Store.open(url(path_of(own)), busy_seconds=0.1) as store:
            assert Courier(store, tmp_path).run_once(GO_ON)
        assert len(server.ids) == len(set(server.ids)) == 2
        assert told(own) == []


def test_one_process_delivers(own: TenantStore, tmp_path: Path) -> None:
    output(own, f"file://{tmp_path}/a.ndjson")
    alerts(own, 1)
    with Store.open(url(path_of(own))) as store, closing(store.turn(courier.TURN)) as turn:
        assert turn.take()
        assert not deliver(own)
        assert len(told(own)) == 1
    assert deliver(own)
    assert told(own) == []


def test_a_fault_of_ours_lets_the_output_wait_and_its_place_stands_in_the_log(
    own: TenantStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a thread would be begun for the same messages again at once, and for ever."""
    output(own, f"file://{tmp_path / 'alerts.ndjson'}")
    alerts(own, 1)

    def broken(*_given: object) -> None:
        raise LookupError(" ".join(("of", "a", "victim")))

    monkeypatch.setattr("indicia.live.courier._send", broken)
    deliver(own)
    (waiting,) = own.outbox.outputs()
    assert waiting.retry_at is not None
    assert waiting.fault == "unexpected: LookupError; please report it"
    assert "LookupError" in caplog.text
    assert "in broken" in caplog.text
    assert "of a victim" not in caplog.text
    monkeypatch.undo()
    deliver(own)
    assert (tmp_path / "alerts.ndjson").read_text().count("\n") == 1


def test_what_cannot_be_opened_waits_and_says_why(own: TenantStore, tmp_path: Path) -> None:
    output(own, f"file://{tmp_path}/a.ndjson")
    alerts(own, 1)
    (tmp_path / "outputs.key").write_bytes(b"x" * 32)
    deliver(own)
    assert "is not the key" in str(own.outbox.output("one").fault)
    assert len(told(own)) == 1


KILLED_AT_SETTLE = """
import os, signal, sys
from indicia.store.outbox import Outbox
count = int(sys.argv.pop(1))
before = Outbox.settle
def settle(self, *given):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    before(self, *given)
Outbox.settle = settle
from indicia.cli import main
main(sys.argv[1:])
"""


def killed(home: Path, settles: int) -> None:
    """`indicia outputs run --once`, killed after it has sent and before it has noted that."""
    command = [
        sys.executable,
        "-c",
        KILLED_AT_SETTLE,
        str(settles),
        "--home",
        str(home),
        "outputs",
        "run",
        "--once",
    ]
    environment = os.environ | {"INDICIA_DATABASE": url(home / "indicia.db")}
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_kill_between_sending_and_noting(own: TenantStore, tmp_path: Path) -> None:
    """A file gets each message once; a webhook one of them twice, under one id."""
    path = tmp_path / "alerts.ndjson"
    with web() as server:
        output(own, f"file://{path}")
        alerts(own, 1, 2, 3)
        killed(tmp_path, 1)
        assert len(path.read_text().splitlines()) == 3
        assert len(told(own)) == 3
        deliver(own)
        assert len(path.read_text().splitlines()) == 3
        assert told(own) == []
        own.outbox.delete("one", "tests")
        hook(own, server.url)
        alerts(own, 4, 5, 6)
        ids = [one["MessageId"] for one in told(own)]
        killed(tmp_path, 2)
        deliver(own)
        assert server.ids == [ids[0], ids[1], ids[1], ids[2]]


@pytest.mark.full
def test_a_service_delivers_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Worker 0 delivers; when the service is killed another process has the lock at once."""
    with web() as server, opened(tmp_path / "indicia.db") as own:
        add(own, 1)
        hook(own, server.url)
        with running(tmp_path, workers=2) as service:
            alerts(own, 1)
            wait_until(20, lambda: len(server.requests) == 1)
            assert not deliver(own)
            os.kill(service.process.pid, signal.SIGKILL)
            service.process.wait(10)
            wait_until(40, lambda: deliver(own))
        alerts(own, 2)
        deliver(own)
        assert len(server.requests) == len(set(server.ids)) == 2


# Looking after them


def test_old_messages_are_forgotten(own: TenantStore, tmp_path: Path) -> None:
    output(own, f"file://{tmp_path}/a.ndjson")
    alerts(own, 1, 2)
    deliver(own)
    alerts(own, 3)
    now = own.outbox.output("one").delivered_at
    assert now is not None
    assert own.outbox.drop_old(now + outbox.KEPT - timedelta(minutes=1)) == 0
    assert own.outbox.drop_old(now + outbox.KEPT + timedelta(minutes=1)) == 2
    assert len(told(own)) == 1


def test_an_output_is_changed_and_deleted_and_the_log_says_so(own: TenantStore) -> None:
    hook(own, "http://127.0.0.1:9/secret-path")
    with pytest.raises(InvalidValue, match="already"):
        hook(own, "http://127.0.0.1:9/")
    with pytest.raises(InvalidValue, match="1 to 64"):
        hook(own, "http://127.0.0.1:9/", "-x")
    with pytest.raises(InvalidValue, match="cannot be changed"):
        own.outbox.change("one", {"id": 7}, "tests")
    alerts(own, 1)
    own.outbox.change("one", {"severity": Severity.HIGH, "enabled": False}, "tests")
    own.outbox.delete("one", "tests")
    with pytest.raises(NotFound):
        own.outbox.output("one")
    assert everything(path_of(own))["outbox"] == []
    entries = [one for one in own.audit_log() if one.set_name == "Outputs"]
    assert [str(one.action) for one in entries] == ["Create", "Change", "Delete"]
    assert entries[1].after == '{"Severity": "High", "Enabled": false}'
    assert not any("secret-path" in f"{one.before}{one.after}" for one in entries)


def test_there_are_not_too_many(own: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST", 1)
    output(own, "file:///dev/null")
    with pytest.raises(QuotaExceeded):
        output(own, "file:///dev/null", "two")


def test_the_backlog_is_a_metric(service: Local) -> None:
    access = add_access(service.store, "metrics", ("Admin",))
    own = service.store.tenant("metrics")
    add(own, 1)
    number = hook(own, "http://127.0.0.1:9/").id
    alerts(own, 1, 2)
    time.sleep(0.01)
    headers = {"Authorization": f"Bearer {service.token(access)}"}
    text = service.request("GET", "/metrics", headers=headers).body.decode()
    assert f'indicia_output_backlog{{output="{number}"}} 2\n' in text
    assert f'indicia_output_dead{{output="{number}"}} 0\n' in text
    assert f'indicia_output_lag_seconds{{output="{number}"}} 0.' in text

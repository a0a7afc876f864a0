"""Processes that match: what they know, what they may, and what happens when they die in the middle."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from indicia.errors import MatchingFailed
from indicia.live import compiled, following, matchers
from indicia.live.blocks import Outcome, Task
from indicia.live.following import Following, Followings
from indicia.live.intake import Intake, meet_here
from indicia.live.matcher import encoded
from indicia.live.matchers import Matchers, believed
from indicia.match.kernel import BUILT
from indicia.model import AlertDefinition
from indicia.store import Store, TenantStore
from service import Local, add_access, local
from stored import add, indicator, opened, url

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not BUILT, reason="the C extension was not built"),
]
TASK = Task("s", "")


def line(name: str, number: int = 0) -> bytes:
    return (
        b'{"event":{"id":"%d"},"@timestamp":"2024-03-12T08:53:07Z","host":{"name":"pc-1"},'
        b'"dns":{"question":{"name":"%s"}}}\n' % (number, name.encode())
    )


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantStore]:
    with opened(tmp_path_factory.mktemp("home") / "i.db") as tenant:
        tenant.add_indicators([indicator(add(tenant), number) for number in range(20)], "x")
        yield tenant


@pytest.fixture(scope="module")
def live(tenant: TenantStore, tmp_path_factory: pytest.TempPathFactory) -> Following:
    return Following(tenant, tmp_path_factory.mktemp("indexes"), lambda: False)


@pytest.fixture(scope="module")
def pool() -> Iterator[Matchers]:
    made = Matchers(1)
    yield made
    made.close()


def task(live: Following) -> Task:
    return replace(TASK, tenant=live.tenant.uid)


def test_what_comes_back_is_what_would_have_come_here(live: Following, pool: Matchers) -> None:
    blocks = (
        b"".join(line(f"host-{number % 40}.example", number) for number in range(3000)),
        line("host-1.example") + b'nonsense\n{"a":\n' + line("good.example"),
        b"",
        b"\n\n",
        "{\"query\":\"host-1.example\",\"x\":\"\ud800\"}\n".encode("utf-8", "surrogatepass"),
        b"\xff\xfe" + '{"query":"host-1.example"}\n'.encode("utf-16-le"),
    )  # fmt: skip
    for block in blocks:
        if block:
            assert pool.meet(block, live.view, task(live)) == meet_here(block, live.view, task(live))


def test_a_view_is_followed_change_by_change(
    tmp_path: Path, pool: Matchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "i.db") as tenant:
        owner = add(tenant)
        made = tenant.add_indicators([indicator(owner, number) for number in range(30)], "x")
        live = Following(tenant, tmp_path, lambda: compiled.make(tenant, tmp_path))
        block = b"".join(line(f"host-{number}.example", number) for number in range(40))

        def same() -> int:
            live.refresh()
            live.settle()
            found = pool.meet(block, live.view, task(live))
            assert found == meet_here(block, live.view, task(live))
            return len(found.detections)

        assert same() == 30
        tenant.delete_indicator(made[0].id)
        assert same() == 29
        tenant.add_indicators([indicator(owner, 35)], "x")
        assert same() == 30
        tenant.change_definition(owner.id, {"title": "Another"}, "x")
        assert same() == 30
        monkeypatch.setattr(following, "SMALL", 5)
        more = tenant.add_indicators([indicator(owner, number) for number in range(36, 39)], "x")
        assert same() == 33
        tenant.change_indicator(more[0].id, {"enabled": False}, "x")
        assert same() == 32
        tenant.change_definition(owner.id, {"enabled": False}, "x")
        assert same() == 0


def test_of_many_tenants_the_last_ones_are_kept(
    live: Following, pool: Matchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matchers, "TENANTS", 2)
    for name in ("a", "b", "c", "a", "c", "b"):
        found = pool.meet(line("host-1.example"), live.view, Task("s", name))
        assert [one.tenant for one in found.detections] == [name]


def test_a_killed_one_is_replaced_in_the_middle_of_a_block(live: Following) -> None:
    died: list[bool] = []
    pool = Matchers(1, died=lambda: died.append(True))
    try:
        pool.meet(line("good.example"), live.view, task(live))
        (first,) = pool.processes
        os.kill(first, signal.SIGSTOP)  # so that it is in the middle when it is killed
        threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
        found = pool.meet(line("host-1.example"), live.view, task(live))
        assert (len(found.detections), len(died)) == (1, 1)
        assert pool.processes != [first]
    finally:
        pool.close()
    assert pool.processes == []


def test_a_block_that_always_kills_it_is_given_up_and_the_next_one_is_not(
    live: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[bool] = []
    pool = Matchers(1, failed=lambda: failed.append(True))
    stop = threading.Event()

    def hunt() -> None:
        while not stop.wait(0.005):
            for pid in pool.processes:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        with pytest.raises(MatchingFailed, match="signal 9, twice"):
            pool.meet(line("host-1.example"), live.view, task(live))
    finally:
        stop.set()
        hunter.join()
    assert failed == [True]
    assert len(pool.meet(line("host-1.example"), live.view, task(live)).detections) == 1
    # One that hangs is no better.
    monkeypatch.setattr(matchers, "DEADLINE", 0.0001)
    with pytest.raises(MatchingFailed, match="took longer"):
        pool.meet(line("host-1.example") * 30_000, live.view, task(live))
    pool.close()


def test_a_fault_of_its_own_says_where_and_nothing_of_the_events(
    live: Following, pool: Matchers, caplog: pytest.LogCaptureFixture
) -> None:
    strange = replace(task(live), numbers=None)  # type: ignore[arg-type]
    with pytest.raises(MatchingFailed):
        pool.meet(line("secret.example"), live.view, strange)
    assert "blocks.py" in caplog.text
    assert "secret" not in caplog.text


def test_what_it_says_is_believed_of_its_own_events_alone(live: Following) -> None:
    view = live.view
    honest = meet_here(line("host-1.example"), view, task(live))
    (found,) = honest.detections
    other = AlertDefinition("", "", "", found.definition.severity, found.definition.category, 999)
    lies = (
        replace(honest, detections=[replace(found, tenant="somebody")]),
        replace(honest, detections=[replace(found, source="elsewhere")]),
        replace(honest, detections=[replace(found, indicator=replace(found.indicator, definition=other))]),
        replace(honest, done=10**9),
        replace(honest, done=0),
        replace(honest, accepted=-1),
        Outcome(),
    )
    for lie in lies:
        with pytest.raises(ValueError, match=r"nothing|somebody"):
            believed(lie, view, task(live), 200)
    slim = Outcome(200, 1, 1, detections=[found])
    encoded(slim)
    assert slim.detections[0].definition.title == ""
    assert believed(slim, view, task(live), 200).detections == [found]


def memory(pid: int) -> Iterator[bytes]:
    """What of a process can be read."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for row in maps:
            span, rights, *_ = row.split()
            if rights.startswith("r"):
                begin, end = (int(place, 16) for place in span.split("-"))
                with suppress(OSError, ValueError, OverflowError):
                    file.seek(begin)
                    yield file.read(end - begin)


def test_it_holds_no_key_no_secret_and_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDICIA_TEST_PASSPHRASE", "open-sesame-in-the-environment")
    with local(tmp_path, matchers=1) as service:
        access = add_access(service.store, "contoso")
        client = service.client(access)
        assert client("POST", "Events", line("good.example")).status == 200
        (pid,) = service.application.state.events.matchers.processes
        names = {row.partition(b"=")[0] for row in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
        assert names - {b"LD_LIBRARY_PATH", b""} == {b"PYTHONPATH", b"PYTHONSAFEPATH"}
        (key,) = service.store.signing_keys()
        inner = b"".join(key.private_pem.encode().splitlines()[1:-1])
        secrets = (inner[200:260], access.client_secret.encode(), b"open-sesame-in-the-environment")
        if os.geteuid():
            pytest.skip("only root can look into the memory of a process that nobody may trace")
        held = list(memory(pid))
        assert any(b"indicia.live.matcher" in piece for piece in held)
        for secret in secrets:
            assert len(secret) > 20
            assert not any(secret in piece for piece in held)
        # That this way would find them.
        child = subprocess.Popen([sys.executable, "-c", "input()", secrets[1]], stdin=subprocess.PIPE)
        assert any(secrets[1] in piece for piece in memory(child.pid))
        child.communicate(b"\n")


TRYING = """
import os, socket, sys
from indicia.live import matcher
matcher.give_up()
def tried(what, *given):
    try:
        what(*given)
    except OSError as error:
        return error.errno
    return 0
print(tried(open, sys.argv[1]), tried(os.listdir, "/"), tried(open, "/proc/1/environ"),
      tried(socket.create_connection, ("127.0.0.1", int(sys.argv[2]))), tried(open, "/tmp/x", "w"))
import xml.dom.minidom
"""


def test_what_it_gave_up_it_cannot_do(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = [str(secret), str(server.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-c", TRYING, *given], capture_output=True, text=True, check=True
        )
    found = [int(number) for number in done.stdout.split()]
    if found[0] == 0:
        pytest.skip("this kernel has no Landlock")
    assert found[:3] == [errno.EACCES] * 3
    assert found[4] == errno.EACCES
    assert found[3] in (errno.EACCES, 0)  # 0 before version 4


def test_they_end_with_the_service(tmp_path: Path) -> None:
    code = (
        "import os,sys,time\nfrom indicia.live.matchers import Matchers, _Slot\n"
        "slot=_Slot(); slot._start(); print(slot.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.05)


def test_a_write_is_in_force_within_a_second(tmp_path: Path, pool: Matchers) -> None:
    path = tmp_path / "i.db"
    with opened(path) as tenant, Store.open(url(path)) as store:
        owner = add(tenant)
        live = Followings(store, url(path), tmp_path)
        try:
            of = live.of(tenant)
            pool.meet(line("good.example"), of.view, task(of))
            for number in range(5):
                tenant.add_indicators([indicator(owner, number)], "x")
                began = time.monotonic()
                while True:
                    intake = Intake(of, "s", meet=pool.meet)
                    intake.feed(line(f"host-{number}.example", number))
                    if intake.end().detections:
                        break
                    assert time.monotonic() - began < 1
        finally:
            live.close()


def test_the_service_goes_on(tmp_path: Path) -> None:
    with local(tmp_path, matchers=1) as service:
        client = service.client(add_access(service.store, "contoso"))
        assert client("POST", "Events", line("good.example")).status == 200
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matchers, "DEADLINE", 0.0001)
            reply = client("POST", "Events", line("good.example") * 30_000)
        assert (reply.status, reply.error["code"]) == (500, "MatchingFailed")
        assert "could not be matched" in reply.error["message"]
        assert client("POST", "Events", line("good.example")).json()["accepted"] == 1
        assert counted(service) == {
            "indicia_matcher_restarts_total": 2,
            "indicia_blocks_failed_total": 1,
        }


def counted(service: Local) -> dict[str, int]:
    rows = service.application.state.events._metrics.text().splitlines()
    pairs = (row.split() for row in rows if row.startswith(("indicia_matcher", "indicia_blocks")))
    return {name: int(value) for name, value in pairs}

"""What scans and imports share: who works on a job, for how long, and what is said of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from indicia.errors import InputError, NotFound, StoreError, TooManyRequests
from indicia.live import runner
from indicia.live.jobs import ATTEMPTS, Job, State, encoded
from indicia.live.work import Desk
from indicia.store import UPLOAD, NewJob, Phase, Piece, Store, TenantStore
from odd_jobs import RESULT, Odd, Odds
from service import wait_until
from stored import drop, everything, on, opened, raw, url

pytestmark = pytest.mark.full


@dataclass
class Bench:
    """A store, as several hosts have it where it is on a server."""

    path: Path
    store: Store
    own: TenantStore

    def odds(self, host: int = 0) -> Odds:
        """The jobs, as a host sees them."""
        home = self.home(host)
        home.mkdir(exist_ok=True)
        return Odds(home, self.own)

    def home(self, host: int) -> Path:
        """Of a host; a file has one host alone."""
        return self.path.parent / f"home-{host if self.store.shared else 0}"

    def running(self, host: int = 0) -> Any:
        """Meanwhile have jobs worked on there."""
        self.odds(host)
        return runner.running(self.store, url(self.path), self.home(host))

    def ends(self, one: Job[Any, Any], host: int = 0) -> State:
        """What is said of a job that has ended."""
        wait_until(90, lambda: self.odds(host).one(one.id).state.phase.is_over)
        state = self.odds(host).one(one.id).state
        assert isinstance(state, State)
        return state

    def runs(self, one: Job[Any, Any]) -> int:
        """Wait until a process works on it; its number."""
        wait_until(90, lambda: self.odds().one(one.id).state.read > 0 and bool(processes(one.id)))
        return processes(one.id)[0]

    def forget_leases(self) -> None:
        """As if time had passed in which nobody renewed one."""
        with raw(self.path) as execute:
            execute("UPDATE jobs SET lease_until = 1")


@contextmanager
def benched(path: Path) -> Iterator[Bench]:
    with Store.open(url(path)) as store:
        yield Bench(path, store, store.tenant(store.add_tenant("contoso").uid))


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of `odd_jobs` alone is done."""
    monkeypatch.setattr(runner, "KINDS", (Odds,))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def bench(tmp_path: Path, database: str, odd: None) -> Iterator[Bench]:
    with benched(tmp_path / "indicia.db") as found:
        yield found


@pytest.fixture
def in_file(tmp_path: Path, odd: None) -> Iterator[Bench]:
    """For what costs a process, and is the same on both."""
    with benched(tmp_path / "indicia.db") as found:
        yield found


@pytest.fixture
def on_server(tmp_path: Path, odd: None) -> Iterator[Bench]:
    """For what takes several hosts."""
    with on("postgresql"), benched(tmp_path / "indicia.db") as found:
        yield found
    drop(tmp_path)


def processes(key: str) -> list[int]:
    """Those that work on a job."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if key.encode() in words:
            found.append(int(place.parent.name))
    return found


def gone(number: int) -> bool:
    """Whether a process has ended."""
    return not Path(f"/proc/{number}/cmdline").exists() or not Path(f"/proc/{number}/cmdline").read_bytes()


def left(bench: Bench) -> list[Path]:
    """Files of jobs that lie in the homes."""
    homes = {bench.home(host) for host in range(3)}
    found = [path for home in homes for path in home.rglob("*") if path.is_file()]
    return [path for path in found if not path.name.startswith("place-")]


ENDINGS = {
    "done": (Phase.DONE, ""),
    "fault": (
        Phase.FAILED,
        "an unforeseen error (RuntimeError); the service's log has the place, please report it",
    ),
    "memory": (Phase.FAILED, "it needed more memory than it may have; send a part of the file"),
    "disk": (Phase.FAILED, "the disk of the service: from the log of a victim"),
    "late": (Phase.FAILED, "it took too long"),
}


def test_however_it_ends_it_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(signal.SIGALRM)
    try:
        for what, ending in ENDINGS.items():
            bench.odds().begin(what)
            taken = bench.odds().take(what)
            assert taken is not None
            Odd(Desk(bench.odds(), taken), bench.home(0), "").run()
            bench.odds().give_back(taken, counted=True)
            seen = bench.odds(1).one(taken.id)
            assert (seen.state.phase, seen.state.fault) == ending
            lines = [f"{what} {number}\n".encode() for number in range(3)]
            assert b"".join(seen.read(RESULT)) == b"".join(lines)
            assert b"".join(seen.read(RESULT, len(lines[0]))) == b"".join(lines[1:])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caplog.text.count("odd_jobs.py") == 1, "the place in our code, where it is ours"
    assert "log of a" not in caplog.text
    kept = [path for path in left(bench) if path.name == UPLOAD]
    assert len(kept) == (0 if bench.store.shared else len(ENDINGS))


def test_a_process_ends_cleanly_while_its_service_goes_on(in_file: Bench) -> None:
    """Its pipe is still open then, and a thread waits at it."""
    one = in_file.odds().begin("memory")
    taken = in_file.odds().take("a lease")
    assert taken is not None
    command = [sys.executable, "-m", "odd_jobs", str(in_file.home(0)), in_file.own.uid, one.id, "a lease"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        process.stdin.write(url(in_file.path).encode() + b"\n")
        process.stdin.flush()
        assert (process.wait(90), process.stderr.read()) == (0, b"")
    assert in_file.odds().one(one.id).state.phase is Phase.FAILED


def test_the_store_s_url_is_not_among_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a password, and everybody on the machine can read arguments."""
    given: list[list[str]] = []

    class Process:
        """Stands in for the process alone; what it is given is looked at."""

        def __init__(self, command: list[str], **_more: object) -> None:
            given.append(command)
            self.pid, self.stdin = 1, (tmp_path / "given").open("wb")

        def wait(self, _seconds: float) -> int:
            return 0

    monkeypatch.setattr("indicia.live.runner.subprocess.Popen", Process)
    monkeypatch.setattr(runner, "KINDS", (Odds,))
    address = "postgresql://indicia:word@127.0.0.1/indicia"
    with benched(tmp_path / "indicia.db") as bench:
        bench.odds().begin("done")
        with runner.running(bench.store, address, bench.home(0)):
            wait_until(5, lambda: bool(given))
            wait_until(5, lambda: (tmp_path / "given").read_bytes() == address.encode() + b"\n")
    assert not [word for command in given for word in command if "word@" in word]


# Who takes what


def test_each_is_taken_once_however_many_want_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odds, "unfinished", 30)
    wanted = {bench.odds().begin("done").id for _ in range(30)}
    taken: list[str] = []
    with Store.open(url(bench.path)) as other:
        hosts = [bench.own, other.tenant(bench.own.uid)]

        def take(number: int) -> None:
            while len(taken) < len(wanted):
                found = hosts[number % 2].jobs.take(Odds.kind, f"{number}", "host", 60)
                if found is not None:
                    taken.append(found.key)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(take, range(8)))
    assert sorted(taken) == sorted(wanted)


def test_a_tenant_that_has_much_leaves_a_place_to_another(bench: Bench) -> None:
    other = bench.store.tenant(bench.store.add_tenant("fabrikam").uid)
    for _ in range(3):
        bench.odds().begin("wait")
    theirs = Odds(bench.home(0), other)
    theirs.begin("wait")

    def order() -> list[str]:
        return [tenant.name for _, tenant in bench.store.waiting()]

    assert order() == ["contoso", "fabrikam"], "that one waits longer"
    assert bench.odds().take("first") is not None
    assert order() == ["fabrikam", "contoso"], "of the other one fewer run"
    assert theirs.take("second") is not None
    assert order() == ["contoso"]
    bench.forget_leases()
    assert order() == ["contoso", "fabrikam"], "nobody works on any"
    assert {kind for kind, _ in bench.store.waiting()} == {Odds.kind}


def test_what_is_half_there_is_nothing(bench: Bench) -> None:
    """Somebody was killed who brought a file."""
    now = datetime.now(UTC)
    new = NewJob("0" * 16, "a lease", "host", "a.log", "x", now)
    rows = bench.own.jobs
    assert rows.add(Odds.kind, new, 60, unfinished=1, most=9) == []
    assert rows.put(Odds.kind, new.key, "a lease", 60, pieces=[Piece(UPLOAD, 0, b"half")])
    assert bench.store.waiting() == []
    assert bench.odds().take("another") is None
    assert bench.odds().every() == []
    another = NewJob("1" * 16, "another", "host", "a.log", "x", now)
    assert rows.add(Odds.kind, another, 60, unfinished=1, most=9) is None, "it may still come"
    bench.forget_leases()
    assert rows.add(Odds.kind, another, 60, unfinished=1, most=9) == [new.key]
    bench.forget_leases()
    runner.tidy(bench.store, bench.home(0))
    found = everything(bench.path)
    assert found["jobs"] == found["job_pieces"] == []
    assert not rows.put(Odds.kind, another.key, "another", 60, {"phase": Phase.WAITING}), "it comes too late"


class Slow:
    """A file that comes too slowly."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._parts = bench, [b"done", b""]

    def read(self, _size: int) -> bytes:
        """Its next part, after others have cleared up."""
        self._bench.forget_leases()
        runner.tidy(self._bench.store, self._bench.home(0))
        return self._parts.pop(0)


def test_a_file_that_comes_too_slowly_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odd_jobs.BytesIO", lambda _content: Slow(bench))
    with pytest.raises(StoreError, match="came too slowly"):
        bench.odds().begin("done")
    assert bench.odds().every() == []
    assert left(bench) == []


# Leases


def test_who_has_lost_a_lease_writes_nothing(bench: Bench) -> None:
    one = bench.odds().begin("wait")
    slow, quick = bench.odds(0), bench.odds(1)
    taken = slow.take("slow")
    assert taken is not None
    late = Odd(Desk(slow, taken), bench.home(0), "")
    late.put(phase=Phase.RUNNING, fault="of the first one")
    assert quick.take("quick") is None, "somebody has it"
    bench.forget_leases()
    again = quick.take("quick")
    assert again is not None
    assert again.kept.attempts == 2
    Desk(quick, again).put(State(Phase.RUNNING, "of the second one"))
    before = everything(bench.path)
    late._desk.folder.mkdir(exist_ok=True)
    (late._desk.folder / RESULT).write_bytes(b"of the first one")
    with pytest.raises(KeyboardInterrupt):
        late.put(fault="late")
    late.end(Phase.DONE, "late")
    slow.give_back(taken, counted=True)
    assert not bench.own.jobs.put(Odds.kind, one.id, "slow", 60)
    assert bench.own.jobs.stands(Odds.kind, one.id, "slow") is None
    assert everything(bench.path) == before
    assert list(quick.one(one.id).read(RESULT)) == []


def test_a_process_that_has_lost_its_lease_ends(in_file: Bench) -> None:
    with in_file.running():
        one = in_file.odds().begin("wait")
        number = in_file.runs(one)
        until = round((time.time() + 300) * 1e6)
        with raw(in_file.path) as execute:
            execute(f"UPDATE jobs SET lease = 'another', lease_until = {until}")
        wait_until(60, lambda: gone(number))
    assert in_file.odds().one(one.id).state.phase is Phase.RUNNING, "by whoever has it"


def test_what_another_version_wrote_holds_up_nobody(in_file: Bench) -> None:
    odds = in_file.odds()
    strange, sound = odds.begin("done"), odds.begin("done")
    with raw(in_file.path) as execute:
        execute("UPDATE jobs SET state = '{\"read\": []}' WHERE key = ?", strange.id)
    taken = odds.take("a" * 16)
    assert taken is not None
    assert taken.id == sound.id
    assert [one.id for one in odds.every()] == [sound.id]
    with pytest.raises(NotFound):
        odds.one(strange.id)
    with raw(in_file.path) as execute:
        assert execute("SELECT phase FROM jobs WHERE key = ?", strange.id) == [("Failed",)]


def test_a_lease_is_renewed_while_its_process_lives(in_file: Bench) -> None:
    def until() -> int:
        with raw(in_file.path) as execute:
            ((found,),) = execute("SELECT lease_until FROM jobs")
        return int(found)

    with in_file.running():
        one = in_file.odds().begin("sleep")
        in_file.runs(one)
        first = until()
        wait_until(60, lambda: until() > first)


def test_a_file_that_kills_its_process_does_not_go_round_for_ever(
    in_file: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "indicia.live"), in_file.running():
        state = in_file.ends(in_file.odds().begin("kill"))
    assert state.phase is Phase.FAILED
    assert state.fault.startswith("its process went away 3 times before it had ended")
    assert caplog.text.count("ended with -9") == ATTEMPTS
    (one,) = in_file.odds().every()
    in_file.odds().again(one)
    assert in_file.odds().one(one.id).kept.attempts == 0


def test_what_loops_for_ever_is_not_tried_again(in_file: Bench) -> None:
    with in_file.running():
        one = in_file.odds().begin("loop")
        state = in_file.ends(one)
    assert (state.phase, state.read) == (Phase.FAILED, 4)
    assert state.fault.startswith("it took more processor time")
    assert in_file.odds().one(one.id).kept.attempts == 1


def test_a_service_that_is_stopped_gives_its_jobs_back(on_server: Bench) -> None:
    with on_server.running(0):
        one = on_server.odds().begin("wait")
        number = on_server.runs(one)
    assert gone(number)
    back = on_server.odds().one(one.id)
    assert (back.state.phase, back.kept.attempts) == (Phase.WAITING, 0)
    with on_server.running(1):
        wait_until(90, lambda: len(processes(one.id)) == 1)
        on_server.odds().cancel(one)
        assert on_server.ends(one).phase is Phase.CANCELLED


HOST = """
import sys, time
from pathlib import Path
from indicia.live import runner
from indicia.store import Store
from odd_jobs import Odds

runner.KINDS = {kinds}
with Store.open(sys.argv[1]) as store, runner.running(store, sys.argv[1], Path(sys.argv[2])):
    time.sleep(600)
"""


def host(path: Path, home: Path, kinds: str = "(Odds,)") -> subprocess.Popen[bytes]:
    """A process that has jobs worked on, to be killed."""
    home.mkdir(exist_ok=True)
    folder = str(Path(__file__).parent)
    command = [sys.executable, "-c", HOST.format(kinds=kinds), url(path), str(home)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": folder})


def test_of_a_host_that_was_killed_another_one_takes_the_jobs(on_server: Bench) -> None:
    process = host(on_server.path, on_server.home(1))
    try:
        one = on_server.odds().begin("wait")
        number = on_server.runs(one)
    finally:
        process.kill()
        process.wait(10)
    wait_until(60, lambda: gone(number))
    assert on_server.odds().one(one.id).state.phase is Phase.RUNNING
    with on_server.running(2):
        time.sleep(1)
        assert processes(one.id) == [], "its lease is not over"
        on_server.forget_leases()
        assert on_server.runs(one)
        assert on_server.odds().one(one.id).kept.attempts == 2
        on_server.odds().delete(one)
        wait_until(60, lambda: not processes(one.id))
    for which in (1, 2):
        runner.tidy(on_server.store, on_server.home(which))
    assert left(on_server) == []


# What people do with them


def test_one_that_waits_is_cancelled_at_once(bench: Bench) -> None:
    one = bench.odds().begin("wait")
    bench.odds(1).cancel(one)
    state = bench.odds().one(one.id).state
    assert state.phase is Phase.CANCELLED
    assert state.ended_at is not None
    assert bench.odds().take("a lease") is None


def test_who_copies_a_file_for_a_job_hears_that_it_is_cancelled(on_server: Bench) -> None:
    one = on_server.odds().begin("done")
    taken = on_server.odds().take("mine")
    assert taken is not None
    desk = Desk(on_server.odds(), taken)
    desk.cancelled = True
    with pytest.raises(KeyboardInterrupt):
        desk.upload()
    desk.cancelled = False
    assert desk.upload().read_bytes() == b"done"
    on_server.odds().delete(one)


def test_again_has_the_limits_that_beginning_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odds, "unfinished", 1)
    one = bench.odds().begin("done")
    with pytest.raises(TooManyRequests):
        bench.odds().again(one)
    monkeypatch.setattr(Odds, "unfinished", 2)
    with pytest.raises(InputError, match="still runs"):
        bench.odds().again(one)
    bench.odds().cancel(one)
    monkeypatch.setattr(Odds, "unfinished", 1)
    bench.odds().begin("done")
    with pytest.raises(TooManyRequests):
        bench.odds().again(one)
    with pytest.raises(TooManyRequests):
        bench.odds().begin("done")
    monkeypatch.setattr(Odds, "unfinished", 2)
    bench.odds(1).contents.drop_upload(one.kept)
    with pytest.raises(InputError, match="the file of this odd job is gone"):
        bench.odds().again(one)


def test_what_earlier_versions_kept_goes_when_it_is_old(bench: Bench) -> None:
    """They may run beside this one, and work on it."""
    folder = bench.odds().contents.folder / ("0" * 16)
    folder.mkdir(parents=True)
    (folder / "asked.json").write_bytes(b"{}")
    now = datetime.now(UTC)
    with raw(bench.path) as execute:
        columns = "tenant_id, kind, key, host, name, made_by, made_at"
        noted = f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, '', '', '', ?)"
        for key, days in (("young", 0), ("old", 2)):
            micros = round((now - timedelta(days=days)).timestamp() * 1e6)
            execute(noted, bench.own.tenant.id, Odds.kind, key, micros)
    runner.tidy(bench.store, bench.home(0))
    assert folder.exists()
    assert bench.odds().every() == []
    assert [row[3] for row in everything(bench.path)["jobs"]] == ["young"]
    strange = bench.home(0) / "odds" / "of a tenant that was deleted"
    strange.mkdir()
    runner.tidy(bench.store, bench.home(0))
    assert strange.exists()
    for path in (folder, strange):
        os.utime(path, (1, 1))
    runner.tidy(bench.store, bench.home(0))
    assert not folder.exists()
    assert not strange.exists()


def test_a_copy_of_a_store_has_no_jobs(tmp_path: Path) -> None:
    """Nobody would ever work on them."""
    with opened(tmp_path / "indicia.db") as own:
        Odds(tmp_path, own).begin("wait")
        with Store.open(url(tmp_path / "indicia.db")) as store:
            store.copy_to(url(tmp_path / "copy.db"))
    with opened(tmp_path / "copy.db") as own:
        assert Odds(tmp_path, own).every() == []
        assert Odds(tmp_path, own).take("a lease") is None


def test_nobody_waits_for_who_writes_to_the_store(bench: Bench) -> None:
    """On a server alone: there a job costs others nothing."""
    if not bench.store.shared:
        return
    with bench.store._database.writing():
        odds = bench.odds()
        one = odds.begin("wait")
        taken = odds.take("a lease")
        assert taken is not None
        assert Desk(odds, taken).put(State(Phase.RUNNING))
        odds.cancel(one)
        assert bench.own.jobs.stands(Odds.kind, one.id, "a lease") is True
        assert bench.own.jobs.put(Odds.kind, one.id, "a lease", 9, {"state": encoded(State())})
        odds.give_back(taken, counted=True)
        odds.delete(one)
        odds.tidy()

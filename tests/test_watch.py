"""Sources that never end: files that grow and rotate, kills in the middle, syslog."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indicia.cli.failure import USAGE
from indicia.live.following import Following
from indicia.live.growing import Growing, Mark, is_rotated
from indicia.live.syslog import Syslog
from indicia.live.watch import Watch
from indicia.model import DetectionFunction
from indicia.store import Store, TenantStore
from service import wait_until
from stored import add, indicator, opened, url

TIME = "2024-03-12T08:53:07Z"


def line(number: int) -> str:
    found = {"@timestamp": TIME, "event": {"id": str(number)}, "host": {"name": f"pc-{number % 7}"}}
    return json.dumps(found | {"dns": {"question": {"name": "host-0.example"}}}) + "\n"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def texts(growing: Growing) -> str:
    return b"".join(piece.data for piece in growing.pieces()).decode()


OPEN: list[Growing] = []


def followed(path: Path, mark: Mark | None = None) -> Growing:
    """Closed at the end of the test."""
    OPEN.append(Growing(path, mark))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("indicia.live.growing.GRACE", 0.0)
    yield
    while OPEN:
        OPEN.pop().close()


# One file


def test_a_file_is_read_as_it_grows_whole_lines_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    growing = followed(path)
    assert texts(growing) == ""
    append(path, "one\ntw")
    assert texts(growing) == "one\n"
    append(path, "o\nthree\n")
    assert texts(growing) == "two\nthree\n"
    assert growing.mark is not None
    assert growing.mark.lines == 3


def test_a_file_that_is_renamed_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing = followed(path)
    assert texts(growing) == "one\n"
    append(path, "two\nwithout end")
    path.rename(tmp_path / "app.log.1")
    append(path, "three\n")
    assert texts(growing) == "two\nwithout endthree\n"


def test_a_file_that_is_copied_and_truncated_is_read_from_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing = followed(path)
    assert texts(growing) == "one\n"
    append(path, "two\n")
    shutil.copyfile(path, tmp_path / "app.log.1")
    path.write_text("three and more than there was\n")
    assert texts(growing) == "two\nthree and more than there was\n"
    path.write_text("")
    append(path, "4\n")
    assert texts(growing) == "4\n"


@pytest.mark.parametrize("copied", [False, True])
def test_what_was_rotated_while_nobody_looked_is_found(tmp_path: Path, copied: bool) -> None:
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing = followed(path)
    assert texts(growing) == "one\n"
    growing.close()
    for number in (3, 2, 1):  # three rotations, the oldest has the highest number
        append(path, f"before {number}\n")
        beside = tmp_path / f"app.log.{number}"
        if copied:
            shutil.copyfile(path, beside)
            path.write_text("")
        else:
            path.rename(beside)
        time.sleep(0.01)
    append(path, "last\n")
    later = followed(path, growing.mark)
    assert texts(later) == "before 3\nbefore 2\nbefore 1\nlast\n"


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_what_was_rotated_since_there_was_nothing_is_found(tmp_path: Path, there: bool, copied: bool) -> None:
    path = tmp_path / "app.log"
    append(tmp_path / "app.log.9", "long ago\n")
    time.sleep(0.01)
    if there:
        path.touch()
    growing = followed(path)
    growing.begin()
    growing.close()
    for number in (2, 1):
        append(path, f"before {number}\n")
        beside = tmp_path / f"app.log.{number}"
        if copied:
            shutil.copyfile(path, beside)
            path.write_text("")
        else:
            path.rename(beside)
        time.sleep(0.01)
    append(path, "last\n")
    assert texts(followed(path, growing.mark)) == "before 2\nbefore 1\nlast\n"


def test_an_empty_file_that_is_filled_copied_and_truncated_between_two_looks_loses_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "app.log"
    path.touch()
    growing = followed(path)
    assert texts(growing) == ""
    append(path, "one\n")
    shutil.copyfile(path, tmp_path / "app.log.1")
    path.write_text("")
    append(path, "two\n")
    assert texts(growing) == "one\ntwo\n"
    append(path, "three\n")
    assert texts(growing) == "three\n"


def test_what_is_rotated_while_a_piece_is_matched_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing, found = followed(path), b""
    for piece in growing.pieces():
        found += piece.data
        if piece.data == b"one\n":
            append(path, "two\n")
            shutil.copyfile(path, tmp_path / "app.log.1")
            path.write_text("three and more\nthan there was before\n")
    assert found + texts(growing).encode() == b"one\ntwo\nthree and more\nthan there was before\n"


def test_a_copy_that_is_not_whole_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indicia.live.growing.GRACE", 0.3)
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing = followed(path)
    assert texts(growing) == "one\n"
    path.rename(tmp_path / "app.log.1")
    append(path, "two\nthree\n")
    growing.close()
    later = followed(path, growing.mark)
    assert texts(later) == ""  # somebody may still write to the first one
    append(tmp_path / "app.log.2", "tw")  # the beginning of a copy
    time.sleep(0.2)
    assert texts(later) == ""
    append(tmp_path / "app.log.2", "o\nthree\n")
    path.write_text("four\n")
    found: list[str] = []

    def four() -> bool:
        found.append(texts(later))
        return "four" in found[-1]

    wait_until(5, four)
    assert "".join(found) == "two\nthree\nfour\n"


def test_rows_under_a_header_are_read_later_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append(path, "time,host,name\n1,a,b\n")
    growing = followed(path)
    (first,) = growing.pieces()
    assert first.header == b""
    append(path, "2,b,c\n")
    (second,) = growing.pieces()
    assert (second.header, second.data, second.line(2)) == (b"time,host,name\n", b"2,b,c\n", 3)


def test_rotated_files_of_a_folder_are_no_sources(tmp_path: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log-20240312", "app.log.2.gz", "conn.2024.log"):
        append(tmp_path / name, "x\n")
    found = sorted(path.name for path in tmp_path.iterdir() if not is_rotated(path))
    assert found == ["app.log", "conn.2024.log"]


# A watch


@contextmanager
def store_with_indicator(home: Path) -> Iterator[TenantStore]:
    with opened(home / "indicia.db") as tenant:
        owner = add(tenant)
        tenant.add_indicators([indicator(owner, 0, function=DetectionFunction.SUBDOMAIN_OF)], "x")
        yield tenant


def watch(tenant: TenantStore, home: Path, *sources: str) -> Watch:
    return Watch(Following(tenant, home / "indexes", lambda: False), sources, home / "watch")


def test_a_folder_is_watched_and_the_next_watch_goes_on(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    append(logs / "a.json", line(1))
    with store_with_indicator(tmp_path) as tenant:
        first = watch(tenant, tmp_path, str(logs))
        first.run(threading.Event(), 0)
        assert (first.seen.events, first.seen.detections, first.seen.alerts) == (1, 1, 1)
        append(logs / "a.json", line(2) + "nonsense\n")
        append(logs / "b.json", line(3))
        second = watch(tenant, tmp_path, str(logs))
        second.run(threading.Event(), 0)
        assert second.seen.events == 3  # the line that is no JSON was passed over: it holds nothing
        assert tenant.counts().detections == 3


def test_syslog_of_every_framing(tmp_path: Path) -> None:
    with store_with_indicator(tmp_path) as tenant:
        one = watch(tenant, tmp_path, "syslog+tcp://127.0.0.1:0", "syslog+udp://127.0.0.1:0")
        stopped = threading.Event()
        thread = threading.Thread(target=one.run, args=(stopped,))
        thread.start()
        try:
            wait_until(10, lambda: len(one._found) == 2)
            tcp, udp = (found.address for found in one._found.values() if isinstance(found, Syslog))
            old = b"<13>Mar 12 08:53:07 pc-1 proxy: GET http://host-0.example/1"
            new = b"<165>1 2024-03-12T08:53:07Z pc-1 app - ID47 - GET http://host-0.example/2"
            with socket.create_connection(tcp) as sender:
                sender.sendall(old + b"\n" + b"%d " % len(new) + new + old.replace(b"/1", b"/3") + b"\n")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(new.replace(b"/2", b"/4"), udp)
                sender.sendto(old, udp)  # the same event as the first
            wait_until(10, lambda: one.seen.events >= 5)
            wait_until(10, lambda: tenant.counts().detections >= 4)
        finally:
            stopped.set()
            thread.join()
        assert tenant.counts().detections == 4


@pytest.mark.full
def test_standard_input_is_taken_line_by_line_and_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "indicia", "--home", str(tmp_path), "watch", "-"]
    with store_with_indicator(tmp_path) as tenant:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stderr is not None
        with process.stdin, process.stderr:
            process.stdin.write((line(1) + line(2)).encode() + line(3).encode()[:-5])
            process.stdin.flush()
            wait_until(30, lambda: tenant.counts().detections == 2)
            process.stdin.write(line(3).encode()[-5:])
            process.stdin.flush()
            wait_until(30, lambda: tenant.counts().detections == 3)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
            said = process.stderr.read().decode()
        assert "Fatal" not in said
        assert "3 events, 3 new detections" in said
        last = line(4).rstrip("\n").encode()
        subprocess.run([*command, "--idle", "1"], input=last, check=True, capture_output=True, timeout=60)
        assert tenant.counts().detections == 4, "the last line has no end"


@pytest.mark.full
def test_a_watch_of_a_tenant_that_is_deleted_ends_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "events.json"
    append(log, line(1))
    command = [sys.executable, "-m", "indicia", "--home", str(tmp_path), "watch", "--idle", "60", str(log)]
    with store_with_indicator(tmp_path) as tenant, Store.open(url(tmp_path / "indicia.db")) as store:
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert process.stderr is not None
        with process.stderr:
            try:
                wait_until(30, lambda: tenant.counts().detections == 1)
                store.remove_tenant(tenant.uid)
                assert process.wait(20) == USAGE
            finally:
                process.kill()
                process.wait(10)
            assert f"there is no tenant '{tenant.uid}'" in process.stderr.read().decode()


class Writer(threading.Thread):
    """Writes events and rotates its log, by turns by renaming and by copying and truncating."""

    def __init__(self, path: Path, events: int, dice: random.Random) -> None:
        super().__init__()
        self._path, self._events, self._dice = path, events, dice

    def run(self) -> None:
        rotations = 0
        for number in range(self._events):
            append(self._path, line(number))
            time.sleep(0.002)
            # What was rotated before anybody watched is nobody's.
            if self._dice.random() < 0.005 and list(self._path.parent.glob("watch/*.json")):
                rotations += 1
                beside = self._path.with_name(f"{self._path.name}.{rotations}")
                if rotations % 2:
                    self._path.rename(beside)
                else:
                    shutil.copyfile(self._path, beside)
                    with self._path.open("r+b") as file:
                        file.truncate(0)


def kills(home: Path, times: int, events: int) -> None:
    """A watch that is killed so many times while a log grows records what was written, each once."""
    log, dice = home / "app.log", random.Random(times)
    command = [sys.executable, "-m", "indicia", "--home", str(home), "watch", str(log)]
    with store_with_indicator(home) as tenant:
        writer = Writer(log, events, dice)
        writer.start()
        progress = set()
        for _ in range(times):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = tenant.counts().detections
            if writer.is_alive():
                wait_until(60, lambda: tenant.counts().detections > before or not writer.is_alive())  # noqa: B023
            time.sleep(dice.uniform(0, 0.6))
            process.kill()
            process.wait(30)
            progress.add(tenant.counts().detections)
        writer.join()
        subprocess.run([*command, "--idle", "3"], check=True, capture_output=True, timeout=200)
        assert len(progress) > 2, "the kills came too early or too late"
        assert len(list(home.glob("app.log.*"))) > 3, "the log was hardly ever rotated"
        assert tenant.counts().detections == events
        alerts = tenant.alerts()
        assert sorted(alert.machine for alert in alerts) == [f"pc-{number}" for number in range(7)]
        assert sum(alert.detection_count for alert in alerts) == events


@pytest.mark.full
def test_ten_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    kills(tmp_path, 10, 3000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    kills(tmp_path, 100, 60_000)


def test_a_file_that_is_rotated_twice_between_two_looks_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    append(path, "one\n")
    growing = followed(path)
    assert texts(growing) == "one\n"
    append(path, "two\n")
    for name, text in (("app.log.2", "three\n"), ("app.log.1", "four\n")):
        path.rename(tmp_path / name)
        time.sleep(0.01)
        append(path, text)
    assert texts(growing) == "two\nthree\nfour\n"

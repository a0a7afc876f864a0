"""A scan that is killed at any moment goes on: the same detections, none twice, none missing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import shell as shells
from indicia.cli.failure import USAGE
from indicia.errors import InputError, MalformedFile
from indicia.journal import Found, Journal, Line
from indicia.model import Severity
from indicia.store import Store, TenantStore
from killed import alone, killed, logs, start
from shell import Shell

LIST = "type,value,function,title,severity\nDomainName,evil.example,SubdomainOf,A bad name,High\n"
LINES = 4000
RAISED = 1
SCAN = ("scan", "logs", "--workers", "2")
WITH_LIST = (*SCAN, "--indicators", "list.csv", "--save", "found.ndjson")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "list.csv").write_text(LIST)
    logs(tmp_path / "logs", LINES)
    return tmp_path


@pytest.fixture
def shell(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in the folder, with no home."""
    return shells.make(folder, monkeypatch, capsys)


def whole(folder: Path, *arguments: str) -> tuple[bytes, float]:
    """What an uninterrupted scan saves, and how many seconds it takes."""
    begun = time.monotonic()
    process = start(folder, *arguments)
    _, err = process.communicate(timeout=120)
    assert process.returncode == RAISED, err
    saved = folder / "found.ndjson"
    content = saved.read_bytes() if saved.exists() else b""
    saved.unlink(missing_ok=True)
    assert not (folder / "found.ndjson.journal").exists(), "a scan that ended leaves no journal"
    return content, time.monotonic() - begun


def until_it_ends(folder: Path, dice: random.Random, seconds: float, *arguments: str) -> int:
    """Start, kill, go on, and so forth until it ends by itself; how many kills that were."""
    kills, more = 0, tuple[str, ...]()
    while True:
        process = start(folder, *arguments, *more)
        if not killed(process, dice.uniform(0.2, seconds)):
            _, err = process.communicate(timeout=60)
            ended = process.returncode == USAGE and b"has ended" in err  # killed behind the journal's end
            assert process.returncode == RAISED or ended, err
            return kills
        kills += 1
        more = ("--resume",)


def kill_saved(folder: Path, times: int) -> None:
    expected, seconds = whole(folder, *WITH_LIST)
    ids = [json.loads(line)["detection_id"] for line in expected.splitlines()]
    assert len(ids) == len(set(ids)) > 200
    dice, kills = random.Random(times), 0
    while kills < times:
        kills += until_it_ends(folder, dice, seconds, *WITH_LIST)
        assert (folder / "found.ndjson").read_bytes() == expected
        (folder / "found.ndjson").unlink()
        assert not (folder / "found.ndjson.journal").exists()


@contextmanager
def tenant(folder: Path) -> Iterator[TenantStore]:
    with Store.open(f"sqlite:///{folder / 'home' / 'indicia.db'}") as store:
        yield store.tenant("default")


def stored(folder: Path) -> tuple[Counter[str], dict[str, int]]:
    """How often each detection is stored, and how many each alert counts."""
    with tenant(folder) as own:
        found = Counter(one.id for _, one in own.detections(limit=100_000))
        return found, {one.id: one.detection_count for one in own.alerts(limit=100_000)}


def kill_stored(folder: Path, shell: Shell, times: int) -> None:
    def fresh() -> None:
        shutil.rmtree(folder / "home", ignore_errors=True)
        (folder / "access-0.json").unlink(missing_ok=True)
        shell.begin()
        number = shell.definition("mine")
        value = ("--value", "evil.example", "--function", "SubdomainOf")
        shell("indicators", "add", "--definition", str(number), *value)

    fresh()
    _, seconds = whole(folder, *SCAN)
    expected, _ = stored(folder)
    dice, kills, uids = random.Random(times), 0, len(expected)
    assert uids > 200
    while kills < times:
        fresh()
        kills += until_it_ends(folder, dice, seconds, *SCAN)
        found, alerts = stored(folder)
        assert (len(found), set(found.values())) == (uids, {1})
        assert sum(alerts.values()) == uids, "no alert counts a detection twice"
        assert not [*(folder / "home" / "scans").glob("*")]


@pytest.mark.full
def test_ten_kills_of_a_scan_that_saves(folder: Path) -> None:
    kill_saved(folder, 10)


@pytest.mark.full
def test_ten_kills_of_a_scan_that_stores(folder: Path, shell: Shell) -> None:
    kill_stored(folder, shell, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_kills_of_a_scan_that_saves(folder: Path) -> None:
    kill_saved(folder, 100)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_kills_of_a_scan_that_stores(folder: Path, shell: Shell) -> None:
    kill_stored(folder, shell, 100)


def interrupted(folder: Path, *arguments: str, code: int = 130) -> str:
    """What a scan says that is interrupted in its midst, with all its workers."""
    saved = folder / "found.ndjson.journal"
    end = time.monotonic() + 60
    while True:
        process = start(folder, *arguments)
        while process.poll() is None and (not saved.exists() or saved.stat().st_size < 3000):
            assert time.monotonic() < end
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        alone(process.pid)
        if b"Saved to" not in err or time.monotonic() > end:
            break
        (folder / "found.ndjson").unlink()  # it was quicker than we
    assert process.returncode == code, err
    return err.decode()


@pytest.mark.full
def test_an_interrupt_ends_all_workers_and_the_scan_goes_on(folder: Path) -> None:
    expected, _ = whole(folder, *WITH_LIST)
    said = interrupted(folder, *WITH_LIST, "--workers", "3")
    assert "Traceback" not in said
    assert "Interrupted after" in said
    assert "The same command with --resume goes on from here." in said
    process = start(folder, *WITH_LIST, "--resume")
    _, err = process.communicate(timeout=60)
    assert process.returncode == RAISED, err
    assert b"Going on: " in err
    assert f"{LINES:,} events in 2 of 2 files, {len(expected.splitlines()):,} detections" in err.decode()
    assert (folder / "found.ndjson").read_bytes() == expected


@pytest.mark.full
def test_the_order_does_not_depend_on_the_workers(folder: Path) -> None:
    contents = []
    for workers in "1", "2", "3":
        process = start(
            folder, "scan", "logs", "--indicators", "list.csv", "--output", "csv", "--workers", workers
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == RAISED, err
        contents.append(out)
    assert contents[0] == contents[1] == contents[2]
    lines = [int(line.split(b",")[5]) for line in contents[0].splitlines()[1:]]
    assert lines[: len(lines) // 4] == sorted(lines[: len(lines) // 4]), "counted from the file's beginning"


@pytest.mark.full
def test_what_changed_since_is_scanned_anew(folder: Path) -> None:
    interrupted(folder, *WITH_LIST)
    first = folder / "logs" / "dns-0.log"
    lines = first.read_text().splitlines(keepends=True)
    first.write_text(
        "".join([lines[1], lines[0], *lines[2:], lines[0].replace('"uid": "C0"', '"uid": "Cnew"')])
    )
    process = start(folder, *WITH_LIST, "--resume")
    _, err = process.communicate(timeout=60)
    assert process.returncode == RAISED, err
    found = [json.loads(line)["detection_id"] for line in (folder / "found.ndjson").read_bytes().splitlines()]
    (folder / "found.ndjson").unlink()
    expected, _ = whole(folder, *WITH_LIST)
    assert sorted(found) == sorted(json.loads(line)["detection_id"] for line in expected.splitlines())


def test_a_scan_that_was_asked_otherwise_does_not_go_on(folder: Path, shell: Shell) -> None:
    interrupted(folder, *WITH_LIST)
    base = ("scan", "logs", "--save", "found.ndjson", "--resume", "--indicators")
    ran = shell(*base, "list.csv", "--limit-per-indicator", "5", code=USAGE)
    assert "limit was None and is 5 now; scan without --resume" in ran.err
    shell.write("list.csv", LIST + "Md5,00112233445566778899aabbccddeeff,,,\n")
    assert "indicators was 'list " in shell(*base, "list.csv", code=USAGE).err
    shell.write("list.csv", LIST)
    (folder / "found.ndjson").write_text("")
    assert "is shorter than the interrupted scan left it" in shell(*base, "list.csv", code=USAGE).err


def test_what_cannot_be_gone_on_with(folder: Path, shell: Shell) -> None:
    given = ("scan", "logs", "--indicators", "list.csv")
    assert "give --save FILE, or scan with a store" in shell(*given, "--resume", code=USAGE).err
    assert "cannot be read again" in shell("scan", "-", "--resume", "--save", "x.csv", code=USAGE).err
    save = (*given, "--save", "found.csv")
    shell(*save, code=RAISED)
    assert "exists already; name another file, add --replace" in shell(*save, code=USAGE).err
    assert "has ended, so there is nothing to go on with" in shell(*save, "--resume", code=USAGE).err
    shell(*save, "--replace", code=RAISED)
    assert "give one" in shell(*save, "--replace", "--resume", code=USAGE).err
    assert "goes with --save" in shell(*given, "--replace", code=USAGE).err
    assert "ndjson or csv" in shell(*save, "--output", "table", code=USAGE).err
    assert (folder / "found.csv").read_text().startswith("detection_id,")
    assert (folder / "found.csv").stat().st_mode & 0o777 == 0o600


# The journal


FOUND = Found("0" * 32, "1" * 32, Severity.HIGH, True, False, "")
ASKED = {"paths": ["a"]}


def line(number: int) -> Line:
    return Line({("a.log", number): 7}, (FOUND,), {"events": number}, number)


def test_a_journal_gives_back_what_it_was_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.journal"
    journal = Journal.begin(path, ASKED, {"since": "x"}, now=False)
    assert not path.exists()
    journal.keep(line(1))
    journal.keep(line(2))
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"pieces":[["a.log",3,7]],"found"')
    again = Journal.resume(path, ASKED, {"since": "y"})
    assert again is not None
    assert (again.pieces, again.found) == ({("a.log", 1): 7, ("a.log", 2): 7}, [FOUND, FOUND])
    assert (again.tally, again.place, again.fixed) == ({"events": 2}, 2, {"since": "x"})
    again.keep(line(4))
    again.close()
    third = Journal.resume(path, ASKED, {})
    assert third is not None
    assert third.place == 4, "a torn line is cut off, and what follows stands on a line of its own"
    third.end()
    assert not path.exists()
    assert Journal.resume(path, ASKED, {}) is None


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    for content in (b"hello\n", b"[]\n", b'{"scan":99,"asked":{},"fixed":{}}\n', b'{"scan":1}\n'):
        path.write_bytes(content)
        with pytest.raises(MalformedFile, match="is no journal of a scan"):
            Journal.resume(path, ASKED, {})
    path.write_bytes(b"")
    empty = Journal.resume(path, ASKED, {})
    assert empty is not None
    assert (empty.pieces, empty.place) == ({}, 0)
    empty.close()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        Journal.begin(path, ASKED, {}, now=True)


def test_two_scans_do_not_write_one_journal(folder: Path) -> None:
    process = start(folder, *WITH_LIST)
    path = folder / "found.ndjson.journal"
    while not path.exists():
        time.sleep(0.001)
    time.sleep(0.05)
    if process.poll() is None:
        with pytest.raises(InputError, match="another process does this very scan"):
            Journal.resume(path, ASKED, {})
    process.communicate(timeout=60)

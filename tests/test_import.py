"""`indicia indicators import` as a process: large files, killed at any moment, end with the same counts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from indicia.store import Store
from indicia.store.tenant import BATCH
from stored import url

ROWS = 3_332_374
REPEATED = 95
"""Rows of all.csv that an earlier one says in other words.

81 file names in other letters, 12 URLs with a fragment or a default port, 2 IPv4-mapped addresses.
"""
PEAK_MIB = 400


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    shown: dict[str, Any]
    """Its JSON on stdout; empty where it printed none."""
    errors: str
    peak_mib: float


class Home:
    """A home with one tenant and one definition."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = url(folder / "home" / "indicia.db")
        self.run("init", "--save", str(folder / "access.json"))
        self.run("definitions", "add", "--name", "Everything", "--json")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "indicia", "--home", str(self.folder / "home"), *arguments]
        environment = os.environ | {"INDICIA_DATABASE": self.url}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> None:
        process = self.start(*arguments)
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    def import_(self, file: Path, *, kill_at: int = 0, by: int = signal.SIGKILL, wait: float = 0) -> Ended:
        """Import; ended by a signal so many seconds after so many indicators are in the store."""
        process = self.start("indicators", "import", str(file), "--definition", "1", "--json")
        if kill_at:
            with self.store() as store:
                while store.tenant(store.tenants()[0].uid).counts().indicators < kill_at:
                    assert process.poll() is None, "it ended before it could be killed"
                    time.sleep(0.005)
            time.sleep(wait)
            process.send_signal(by)
        return ended(process)

    def store(self) -> Store:
        return Store.open(self.url, create=False)

    def count(self) -> int:
        """Indicators as the tenant's counter says; as many as there are rows."""
        with self.store() as store:
            tenant = store.tenant(store.tenants()[0].uid)
            counted = tenant.counts().indicators
            assert sum(1 for _ in tenant.matchable()) == counted
        return counted


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for it; what it writes is small enough for the pipes."""
    peak = 0.0
    while process.poll() is None:
        # The kernel's own figure at the end begins with what this process had when it started that one.
        peak = _peak_mib(process.pid) or peak
        time.sleep(0.02)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        shown, errors = process.stdout.read(), process.stderr.read()
    return Ended(process.returncode, json.loads(shown) if shown else {}, errors, peak)


def _peak_mib(pid: int) -> float:
    """The most that a process had in memory so far; 0 where it has ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def counts(found: Ended) -> tuple[int, int, int, int]:
    """(rows, added, known, at fault) of a finished import."""
    assert found.code == 0, found.errors
    assert found.shown["finished"]
    return tuple(found.shown[name] for name in ("rows", "added", "known", "faults"))


def kinds(count: int) -> Iterator[str]:
    """Rows of every kind in the shares of real lists, with a repeat and a fault now and then."""
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        match number % 10:
            case 0 | 1 | 2 | 3:
                yield f"Md5,{digest[:32]},hashes"
            case 4 | 5 | 6:
                yield f"DomainName,{digest[:12]}.example.com,names"
            case 7:
                yield f"IpAddress,2001:db8::{digest[:4]}:{digest[4:8]}:{digest[8:12]},addresses"
            case 8:
                yield f"Url,http://{digest[:12]}.example.net/{digest[12:20]},urls"
            case _:
                yield "DomainName,repeated.example,names" if number % 100 == 9 else f"Sha256,{digest},hashes"
        if number % 5000 == 0:
            yield f"Md5,{digest[:31]},one digit too few"


def killed(home: Home, file: Path, at: Sequence[tuple[int, int]]) -> list[Ended]:
    """The same import, ended by a signal again and again."""
    found = []
    for kill_at, by in at:
        end = home.import_(file, kill_at=kill_at, by=by)
        assert end.code == (130 if by == signal.SIGINT else -by), end.errors
        if by == signal.SIGINT:
            assert "Interrupted: the first " in end.errors
            assert not end.shown["finished"]
        found.append(end)
    return found


@pytest.mark.full
@pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
def test_an_import_that_is_killed_goes_on_and_ends_with_the_same_counts(
    tmp_path: Path, database: str
) -> None:
    file = tmp_path / "list.csv"
    file.write_text("type,value,source\n" + "".join(f"{row}\n" for row in kinds(50_000)), "utf-8")
    homes = tmp_path / "whole", tmp_path / "killed"
    for folder in homes:
        folder.mkdir()
    whole, broken = (Home(folder) for folder in homes)
    at_once = whole.import_(file)
    assert counts(at_once) == (50_010, 49_501, 499, 10)
    assert f"{file}:3: Value: '5feceb66ffc86f38d952786c6d696c7' is not an MD5" in at_once.errors
    killed(broken, file, [(1, signal.SIGINT), (BATCH + 1, signal.SIGKILL)])
    resumed = broken.import_(file)
    assert "Going on after row " in resumed.errors
    assert resumed.shown["skipped"] >= 2 * BATCH
    assert counts(resumed) == counts(at_once)
    assert broken.count() == whole.count() == 49_501
    again = broken.import_(file)
    assert "This file was imported before" in again.errors
    assert counts(again) == (50_010, 0, 50_000, 10)
    assert broken.count() == 49_501


@pytest.mark.full
def test_an_interrupt_in_the_middle_of_whatever_it_does_is_told_as_one(tmp_path: Path) -> None:
    """One that arrives inside a statement costs the connection; that was an error once, not an interrupt."""
    file = tmp_path / "list.csv"
    file.write_text("type,value,source\n" + "".join(f"{row}\n" for row in kinds(200_000)), "utf-8")
    home = Home(tmp_path)
    for number in range(1, 6):
        end = home.import_(file, kill_at=number * BATCH - BATCH // 2, by=signal.SIGINT, wait=0.05 * number)
        assert end.code == 130, end.errors
        assert "Interrupted: the first " in end.errors
    assert counts(home.import_(file)) == (200_040, 198_001, 1_999, 40)
    assert home.count() == 198_001


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_million_real_indicators_come_in_within_bounded_memory(home: Home, shared: Path) -> None:
    file = shared / "data" / "indicators" / "all.csv.zst"
    ends = killed(home, file, [(1, signal.SIGINT), (800_000, signal.SIGKILL), (2_000_000, signal.SIGINT)])
    ends.append(home.import_(file))
    assert counts(ends[-1]) == (ROWS, ROWS - REPEATED, REPEATED, 0)
    assert home.count() == ROWS - REPEATED
    ends.append(home.import_(file))
    assert counts(ends[-1]) == (ROWS, 0, ROWS, 0)
    assert max(end.peak_mib for end in ends) < PEAK_MIB

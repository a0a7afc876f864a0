"""The command line on a terminal and under signals: real processes, whose streams are real."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import shell as shells
from shell import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell with a home of one tenant."""
    return shells.make(tmp_path, monkeypatch, capsys).begin()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def shown(end: int, needle: bytes, seconds: float = 20) -> bytes:
    """What a terminal shows until the needle is in it."""
    os.set_blocking(end, False)
    text, last = b"", time.monotonic() + seconds
    while needle not in text:
        assert time.monotonic() < last, text
        try:
            text += os.read(end, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    return text


@pytest.mark.full
def test_a_deletion_asks_on_a_terminal(shell: Shell, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    shell.definition()
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        process = shell.process("definitions", "delete", "1", stdin=theirs, stdout=theirs, stderr=theirs)
        shown(ours, b"[y/N]")
        os.write(ours, answer)
        assert process.wait(30) == code
    assert shell("definitions", "list", "--json").json == []


@pytest.mark.full
def test_an_import_on_a_terminal_shows_a_bar(shell: Shell, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    shell.definition()
    shell.write("names.txt", "".join(f"host-{number}.example\n" for number in range(3000)))
    process = shell.process("indicators", "import", "names.txt", "--definition", "1", stderr=theirs)
    text = shown(ours, b"3,000 indicators added")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == b""
    assert b"Importing" in text
    assert "━".encode() in text


@pytest.mark.full
def test_a_scan_on_a_terminal_shows_a_bar_with_its_figures(shell: Shell, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    shell.write("list.csv", "type,value\nDomainName,evil.example\n")
    shell.write("a.log", "192.0.2.5 GET http://evil.example/ 200\n" * 20_000)
    given = ("scan", "a.log", "--indicators", "list.csv", "--output", "ndjson")
    process = shell.process(*given, stderr=theirs)
    text = shown(ours, b"20,000 events")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert len(out.splitlines()) == 1
    for figure in (b"Scanning", "━".encode(), b" MB, ", b" MB/s"):
        assert figure in text


@pytest.mark.full
def test_an_interrupted_scan_is_told(shell: Shell, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    process = shell.process("scan", "-", stdin=subprocess.PIPE, stderr=theirs)
    shown(ours, b"Compiling")
    process.send_signal(signal.SIGINT)
    text = shown(ours, b"\n").lower()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"traceback" not in text


@pytest.mark.full
def test_an_interrupted_import_says_how_to_go_on_and_goes_on(shell: Shell) -> None:
    rows = 130_000
    shell.definition()
    shell.write("names.txt", "".join(f"host-{number}.example\n" for number in range(rows)))
    command = ("indicators", "import", "names.txt", "--definition", "1")
    process = shell.process(*command, "--json")
    end = time.monotonic() + 120
    while shell.counts().indicators == 0:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told = json.loads(out)
    kept = shell.counts().indicators
    assert (told["finished"], told["added"]) == (False, kept)
    assert 0 < kept < rows
    assert f"the first {kept:,} rows are stored. The same command goes on from there" in err.decode()
    ran = shell(*command, "--json")
    assert f"Going on after row {kept:,}" in ran.err
    assert {name: ran.json[name] for name in ("rows", "skipped", "added", "known", "finished")} == {
        "rows": rows,
        "skipped": kept,
        "added": rows,
        "known": 0,
        "finished": True,
    }
    assert shell.counts().indicators == rows
    again = shell(*command, "--json").json
    assert (again["added"], again["known"]) == (0, rows)
    assert shell.counts().indicators == rows

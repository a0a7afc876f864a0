"""What `indicia scan` is asked for beside files: a span of time, a limit, a severity; files that change."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import shell as shells
from indicia import telemetry
from indicia.cli.failure import USAGE
from indicia.cli.progress import Meter
from indicia.telemetry import Source
from killed import alone, members, start
from shell import Ran, Shell

LIST = (
    "type,value,function,definition,severity\nDomainName,evil.example,SubdomainOf,High things,High\n"
    "DomainName,odd.example,SubdomainOf,Low things,Low\n"
)
RAISED = 1


def event(number: int, name: str = "evil.example", **more: Any) -> str:
    """A DNS event of the hour of that number on 2024-03-12."""
    found = {
        "@timestamp": f"2024-03-12T{number % 24:02}:00:00Z",
        "ecs": {"version": "8.0"},
        "event": {"kind": "event"},
        "dns": {"question": {"name": f"n{number}.{name}"}},
        "source": {"ip": f"192.0.2.{number}"},
    }
    return json.dumps(found | more) + "\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell without a home, with a list and 24 events."""
    made = shells.make(tmp_path, monkeypatch, capsys)
    made.write("list.csv", LIST)
    made.write("a.ndjson", "".join(event(hour) for hour in range(24)))
    return made


def scan(shell: Shell, *arguments: str, code: int = RAISED) -> Ran:
    return shell("scan", "a.ndjson", "--indicators", "list.csv", "--output", "ndjson", *arguments, code=code)


def hours(ran: Ran) -> list[int]:
    return [int(json.loads(line)["event_time"][11:13]) for line in ran.out.splitlines()]


@pytest.mark.parametrize("parse", [(), ("--validate",)])
def test_a_span_of_event_time(shell: Shell, parse: tuple[str, ...]) -> None:
    ran = scan(shell, "--since", "2024-03-12T06:00:00Z", "--until", "2024-03-12T09:00:00Z", *parse)
    assert hours(ran) == [6, 7, 8], "from the first moment on, up to the last and without it"
    assert "By event time: 21 events with a hit left out; 0 events with a hit and without a usable" in ran.err
    assert len(hours(scan(shell, "--since", "2024-03-12"))) == 24
    scan(shell, "--until", "2024-03-12", code=0)
    scan(shell, "--since", "7d", code=0)
    ago = (datetime.now(UTC) - datetime(2024, 3, 12, tzinfo=UTC)) // timedelta(days=1)
    assert len(hours(scan(shell, "--since", f"{ago + 1}d"))) == 24


def test_what_has_no_usable_time_is_kept_and_counted(shell: Shell) -> None:
    shell.write("a.ndjson", event(1) + event(2, **{"@timestamp": "soon"}) + event(3, "good.example"))
    ran = scan(shell, "--since", "2025-01-01")
    (one,) = ran.out.splitlines()
    assert json.loads(one)["event_time"] is None
    assert "1 event with a hit left out; 1 event with a hit and without a usable time kept." in ran.err


def test_times_that_are_none(shell: Shell) -> None:
    for given in ("yesterday", "2024-13-01", "7x", "2024-03-12T06:00"):
        said = scan(shell, "--since", given, code=USAGE).err
        assert "or how long ago as 7d, 12h, 30m" in said
    assert "--since must be before --until" in scan(
        shell, "--since", "2024-03-12", "--until", "2024-03-12", code=USAGE
    ).err  # fmt: skip


def test_a_limit_withholds_and_counts(shell: Shell) -> None:
    shell.write("a.ndjson", "".join([event(0), event(0), *map(event, range(1, 9)), event(9, "odd.example")]))
    ran = scan(shell, "--limit-per-indicator", "3")
    assert hours(ran) == [0, 1, 2, 9]
    assert "Withheld: 6 detections beyond 3 of one indicator, neither shown nor stored." in ran.err
    assert "4 detections in 4 alerts" in ran.err
    shell.begin()
    number = str(shell.definition("mine"))
    shell("indicators", "add", "--definition", number, "--value", "evil.example", "--function", "SubdomainOf")
    shell("scan", "a.ndjson", "--limit-per-indicator", "3", code=RAISED)
    assert shell.counts().detections == 3
    scan(shell, "--limit-per-indicator", "0", code=USAGE)


def test_what_raises_is_not_withheld_for_what_is_silent(shell: Shell) -> None:
    silent = [event(n, "good.example", labels={"note": "about evil.example"}) for n in range(5)]
    shell.write("a.ndjson", "".join([*silent, event(7)]))
    ran = scan(shell, "--limit-per-indicator", "2")
    assert [json.loads(line)["raises"] for line in ran.out.splitlines()] == [False, False, True]
    assert "Withheld: 3 detections" in ran.err


def test_the_severity_that_fails(shell: Shell) -> None:
    for severity, code in (("informational", 1), ("Low", 1), ("medium", 1), ("High", 1)):
        scan(shell, "--fail-on", severity, code=code)
    shell.write("a.ndjson", event(1, "odd.example"))
    for severity, code in (("informational", 1), ("Low", 1), ("medium", 0), ("High", 0)):
        assert scan(shell, "--fail-on", severity, code=code).out
    scan(shell, "--fail-on", "worst", code=USAGE)


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Something changes each file when it has been found and before it is read."""
    found = telemetry.sources

    def sources(paths: Sequence[str]) -> list[Source]:
        listed = found(paths)
        for source in listed:
            assert source.path is not None
            change(source.path)
        return listed

    monkeypatch.setattr(telemetry, "sources", sources)


def test_a_file_that_grows_is_read_up_to_its_size_at_the_start(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (shell.folder / "a.ndjson").stat().st_size

    def grow(path: Path) -> None:
        with path.open("a") as file:
            file.write(event(3, "odd.example"))

    changing(monkeypatch, grow)
    ran = scan(shell)
    assert len(hours(ran)) == 24
    assert f"a.ndjson: grew while it was read; the first {size:,} bytes are scanned" in ran.err
    scan(shell, "--strict", code=USAGE)


@pytest.mark.parametrize("how", ["rewritten", "cut", "replaced", "gone"])
def test_a_file_that_changes_otherwise_costs_the_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def change(path: Path) -> None:
        os.utime(path, (1, 1))
        if how == "cut":
            os.truncate(path, 100)
        elif how == "replaced":
            other = shell.write("other", "".join(event(hour) for hour in range(20)))
            other.replace(path)
        elif how == "gone":
            path.unlink()

    changing(monkeypatch, change)
    ran = scan(shell, code=USAGE)
    if how == "gone":
        assert "a.ndjson: cannot be read: No such file or directory" in ran.err
    else:
        assert "was rewritten, cut or replaced while it was read; scan it again" in ran.err
        assert "1 file changed meanwhile" in ran.err


def test_a_meter_says_how_far_and_how_fast() -> None:
    meter = Meter(4_000_000_000, lambda: 12)
    meter._start -= 10
    meter(1_000_000_000, 2_000_000)
    assert meter.text() == "1,000 of 4,000 MB, 100 MB/s, 200,000 events/s, 12 detections, 0:30 left"
    assert Meter(None, lambda: 1).text() == "0 MB, 0 MB/s, 0 events/s, 1 detection"


# Memory and interrupts of the whole tree of processes


def big(folder: Path, size: int) -> Path:
    """A log of so many bytes in which one event of 10,000 meets the list."""
    path, dice = folder / "big.ndjson", random.Random(1)
    block = [event(n % 250, f"h{dice.getrandbits(40):x}.example") for n in range(9_999)]
    block.append(event(1))
    data = "".join(block).encode()
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(data)
    return path


def resident(processes: Sequence[int]) -> int:
    """Bytes of memory of all of them together; what they share counts for each."""
    total = 0
    for process in processes:
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    "more", [pytest.param((), marks=pytest.mark.full), pytest.param(("--validate",), marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_input(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "list.csv").write_text(LIST)
    path = big(tmp_path, 300_000_000 if not more else 150_000_000)
    process = start(
        tmp_path, "scan", path, "--indicators", "list.csv", "--output", "ndjson", "--workers", "2", *more,
        small=False,
    )  # fmt: skip
    peak = most = 0
    while process.poll() is None:
        there = members(process.pid)
        most = max(most, len(there))
        peak = max(peak, resident(there))
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == RAISED, err
    assert b" of 1 file, " in err
    assert len(out.splitlines()) == 1, "all copies of one event are one"
    assert most == 3, "two workers and who asks them"
    print(f"{peak / 1e6:.0f} MB at the most")
    assert peak < 200_000_000


@pytest.mark.full
def test_an_interrupt_ends_a_scan_at_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(LIST)
    big(tmp_path, 100_000_000)
    process = start(
        tmp_path,
        "scan",
        "big.ndjson",
        "--indicators",
        "list.csv",
        "--validate",
        "--workers",
        "2",
        small=False,
    )
    end = time.monotonic() + 60
    while len(members(process.pid)) < 3:
        assert time.monotonic() < end
        time.sleep(0.005)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert b"Traceback" not in err
    assert b"Interrupted after" in err
    assert b"Saved" not in out
    alone(process.pid)

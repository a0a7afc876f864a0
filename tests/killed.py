"""Scans as processes of their own that are cut into small pieces, killed, and looked after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SMALL_PIECES = """
import sys
from indicia import scans, scanning
from indicia.telemetry import slices
scans.EVERY, scans.BATCH = 0.0, 50
scanning.SMALL, scanning.EVENTS, scanning.DETECTIONS = 0, 300, 20
slices.pieces.__defaults__ = (30_000,)
from indicia.cli import main
main(sys.argv[1:])
"""
"""The command line as it is, but for sizes: pieces, batches and commits by the hundred in a small file."""


def logs(folder: Path, lines: int) -> Path:
    """Two files of DNS queries of which every tenth meets `evil.example`, some of them twice."""
    folder.mkdir(exist_ok=True)
    for half in range(2):
        with (folder / f"dns-{half}.log").open("w") as file:
            for number in range(half, lines, 2):
                event = number if number % 50 else number // 2
                name = f"n{event}.evil.example" if event % 10 == 0 else f"host-{event}.example"
                shown = {
                    "_path": "dns",
                    "ts": 1_710_230_000 + event * 60,
                    "uid": f"C{event}",
                    "id.orig_h": f"192.0.2.{event % 250}",
                    "id.orig_p": 50000,
                    "id.resp_h": "192.0.2.53",
                    "id.resp_p": 53,
                    "query": name,
                    "trans_id": event,
                }
                file.write(json.dumps(shown) + "\n")
    return folder


def start(folder: Path, *arguments: str | Path, small: bool = True) -> subprocess.Popen[bytes]:
    """`indicia ARGUMENTS…` in a session of its own; its home is below the folder."""
    command = ["-c", SMALL_PIECES] if small else ["-m", "indicia"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDICIA_")}
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        cwd=folder,
        env=clean | {"INDICIA_HOME": str(folder / "home")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def members(session: int) -> list[int]:
    """The processes of a session that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(after[3]) == session and after[0] not in "ZX":
                found.append(int(entry.name))
    return found


def alone(session: int, seconds: float = 10) -> None:
    """Nothing of the session is left, soon."""
    end = time.monotonic() + seconds
    while left := members(session):
        assert time.monotonic() < end, f"processes are left: {left}"
        time.sleep(0.01)


def killed(process: subprocess.Popen[bytes], delay: float) -> bool:
    """Whether it was killed after so many seconds, or had ended before; its workers end too."""
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        alone(process.pid)
        return True
    return False

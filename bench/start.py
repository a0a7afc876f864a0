"""How long commands take to begin: `indicia --help`, and the service with a million stored indicators.

    .venv/bin/python bench/start.py [--rows 1000000] [--repeat 7]

`help` is a whole run of the command; `python` is an interpreter that does nothing, for comparison. `serve`
is the time from the start of the process to the line that says that clients can connect, over a store of
`--rows` indicators; `empty` is the same over a new store. Wall milliseconds, the runs take turns.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from indicia.model import AlertDefinition, Category, DetectionFunction, Indicator, IndicatorType, Severity
from indicia.store import Store

OWNER = AlertDefinition(uid="", name="Bench", title="Bench", severity=Severity.LOW, category=Category.GENERAL)
COMMAND = Path(sys.executable).with_name("indicia")
GOALS = {"help": 250, "serve": 2000}


def main() -> int:
    """Print one row a way."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeat", type=int, default=7)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full", Path(folder) / "empty"
        for home, count in ((full, given.rows), (empty, 0)):
            furnish(home, count)
        ways: dict[str, Callable[[], float]] = {
            "python": lambda: whole([sys.executable, "-c", ""]),
            "help": lambda: whole([str(COMMAND), "--help"]),
            "empty": lambda: until_ready(empty),
            "serve": lambda: until_ready(full),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.repeat):
            for name, way in ways.items():
                taken[name].append(way() * 1000)
    print(f"{given.rows:,} stored indicators, {given.repeat} runs each\n")
    print("| way | best ms | median ms | goal ms |")
    print("|---|---:|---:|---:|")
    for name, found in taken.items():
        print(f"| {name} | {min(found):.0f} | {statistics.median(found):.0f} | {GOALS.get(name, '')} |")
    return 0


def furnish(home: Path, count: int) -> None:
    """A home with so many indicators."""
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    init = ["init", "--port", str(port), "--save", str(home / "access.json")]
    subprocess.run([COMMAND, "--home", home, *init], check=True, capture_output=True)
    with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
        tenant = store.tenant(json.loads((home / "access.json").read_text("utf-8"))["tenant_id"])
        (owner,) = tenant.add_definitions([OWNER], "bench")
        for _ in tenant.import_indicators(owner.id, indicators(count), "bench", key="bench"):
            pass
        assert tenant.counts().indicators == count


def indicators(count: int) -> Iterator[Indicator]:
    """So many names."""
    for number in range(count):
        value = f"host-{number}.example"
        yield Indicator(IndicatorType.DOMAIN_NAME, value, value, DetectionFunction.EQUALS, OWNER)


def whole(command: list[str]) -> float:
    """Seconds of a run to its end."""
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert len(command) > 2 or "indicators" in done.stdout, "the help names its commands"
    return seconds


def until_ready(home: Path) -> float:
    """Seconds until the service's line."""
    start = time.perf_counter()
    with subprocess.Popen([COMMAND, "--home", home, "serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.terminate()
    assert line.startswith("Indicia listens on "), line
    return seconds


if __name__ == "__main__":
    sys.exit(main())

"""A whole list by `indicia indicators import`, in rows per second, with the peak of its memory.

    .venv/bin/python bench/import.py [--file ../shared/data/indicators/all.csv.zst]
        [--folder /tmp] [--repeat 1]

A new home for each repeat: `first` is an import into an empty store, `again` the same file once more, which
reads it whole and adds nothing. Seconds are those of the whole process, from its start to its exit, best of
the repeats; memory is the largest resident set that the kernel saw (of all repeats).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print one row for each of the two ways."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument(
        "--file", type=Path, default=ROOT.parent / "shared" / "data" / "indicators" / "all.csv.zst"
    )
    arguments.add_argument("--folder", type=Path, help="where the store is made; its disk counts")
    arguments.add_argument("--repeat", type=int, default=1)
    given = arguments.parse_args()
    if not given.file.is_file():
        print(f"{given.file} is absent: nothing to measure")
        return 0
    runs = [measured(given.file, given.folder) for _ in range(given.repeat)]
    print("| import | rows | added | seconds | CPU seconds | rows/s | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, found in zip(("first", "again"), zip(*runs, strict=True), strict=True):
        seconds = min(run["seconds"] for run in found)
        rows, added = found[0]["rows"], found[0]["added"]
        rest = f"{min(run['cpu'] for run in found):.1f} | {rows / seconds:,.0f}"
        peak = max(run["peak"] for run in found)
        print(f"| {name} | {rows:,.0f} | {added:,.0f} | {seconds:.1f} | {rest} | {peak:,.0f} |")
    return 0


def measured(file: Path, where: Path | None) -> list[dict[str, float]]:
    """Both imports into one new home."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        command = [sys.executable, "-m", "indicia", "--home", f"{folder}/home"]
        for arguments in (
            ("init", "--save", f"{folder}/access.json"),
            ("definitions", "add", "--name", "All"),
        ):
            subprocess.run([*command, *arguments], check=True, capture_output=True)
        command += ["indicators", "import", str(file), "--definition", "1", "--json"]
        return [timed(command, Path(folder)), timed(command, Path(folder))]


def timed(command: list[str], folder: Path) -> dict[str, float]:
    """Wall and CPU seconds, peak MiB, and what the command says of its rows."""
    with (folder / "out").open("w+") as out, (folder / "errors").open("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(errors.read())
        out.seek(0)
        shown = json.load(out)
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak": usage.ru_maxrss / 1024} | {
        name: shown[name] for name in ("rows", "added")
    }


if __name__ == "__main__":
    sys.exit(main())

"""`python -m soak kills` and `python -m soak faults`; 1 where the outcome is another than it must be."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from soak.kills import Soak
from soak.run import FaultRun, told
from soak.stream import Stream


def main() -> int:
    """Run once."""
    arguments = argparse.ArgumentParser(description=__doc__)
    chosen = arguments.add_subparsers(dest="what", required=True)
    kills = chosen.add_parser("kills", help="kills by the hundred while a stream runs")
    kills.add_argument("--events", type=int, default=1_000_000)
    kills.add_argument("--kills", type=int, default=100)
    faults = chosen.add_parser("faults", help="faults of the service's surroundings")
    faults.add_argument("--minutes", type=float, default=20)
    for one in (kills, faults):
        one.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-soak-") as folder:
        return _kills(given, Path(folder)) if given.what == "kills" else _faults(given, Path(folder))


def _kills(given: argparse.Namespace, folder: Path) -> int:
    begun = time.monotonic()
    stream = Stream(given.seed, given.events)
    found, wanted = Soak(folder / "home", stream, given.kills, (1.0, 4.0), say=True).run()
    seconds = time.monotonic() - begun
    made, quiet = ((each["detections"], each["alerts"]) for each in (found, wanted))
    print(f"{given.events:,} events, {given.kills} kills, {seconds:.0f} s")
    print(f"detections and alerts: {made}; undisturbed: {quiet}")
    print("the same" if found == wanted else "NOT THE SAME")
    return int(found != wanted)


def _faults(given: argparse.Namespace, folder: Path) -> int:
    report = FaultRun(folder, given.minutes * 60, given.seed, say=True).run()
    print("\n".join(told(report)))
    print("nothing was wrong" if not report.wrong else "\n".join(f"WRONG: {one}" for one in report.wrong))
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())

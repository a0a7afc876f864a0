"""`python -m soak kills`, `group`, `faults`, `hosts`; 1 where the outcome is another than it must be."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import broker
import hosts
from soak.group import GroupSoak
from soak.hosts import PASSWORD, Load, fail_over, kill_in_turn, restart
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
    group = chosen.add_parser("group", help="consumers of a Kafka group are killed during rebalances")
    group.add_argument("--events", type=int, default=1_000_000)
    group.add_argument("--kills", type=int, default=100)
    faults = chosen.add_parser("faults", help="faults of the service's surroundings")
    faults.add_argument("--minutes", type=float, default=20)
    many = chosen.add_parser("hosts", help="several hosts that are killed, and whose database restarts")
    many.add_argument("--minutes", type=float, default=10)
    for one in (kills, group, faults, many):
        one.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-soak-") as folder:
        return _WHAT[given.what](given, Path(folder))


def _kills(given: argparse.Namespace, folder: Path) -> int:
    begun = time.monotonic()
    stream = Stream(given.seed, given.events)
    return _compared(given, begun, *Soak(folder / "home", stream, given.kills, (1.0, 4.0), say=True).run())


def _group(given: argparse.Namespace, folder: Path) -> int:
    begun = time.monotonic()
    (folder / "broker").mkdir()
    with broker.running(folder / "broker") as made:
        soak = GroupSoak(
            folder / "home", made, Stream(given.seed, given.events), given.kills, (0.5, 3.0), say=True
        )
        return _compared(given, begun, *soak.run())


def _compared(
    given: argparse.Namespace, begun: float, found: dict[str, object], wanted: dict[str, object]
) -> int:
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


def _hosts(given: argparse.Namespace, folder: Path) -> int:
    with hosts.hosts(folder, password=PASSWORD) as three:
        if three.access is None:
            raise AssertionError("there is no tenant")
        load = Load(three, three.access, given.seed)
        three.balance("haproxy" if hosts.HAPROXY else "nginx")
        load.begin(load.furnish())
        end, back = time.monotonic() + given.minutes * 60, []
        while time.monotonic() < end:
            kill_in_turn(load, pause=1.0)
            back.append(restart(load, away=3.0)[1])
            time.sleep(5)
        back.append(fail_over(load, hosts.promote))
        time.sleep(5)
        load.end()
        print(", ".join(f"{name} {value}" for name, value in load.judge().items()))
        print(f"all well {max(back):.1f} s after the database was back, at the most")
    print("nothing was wrong" if not load.wrong else "\n".join(f"WRONG: {one}" for one in load.wrong))
    return int(bool(load.wrong))


_WHAT = {"kills": _kills, "group": _group, "faults": _faults, "hosts": _hosts}

if __name__ == "__main__":
    sys.exit(main())

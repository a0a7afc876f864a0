"""`PYTHONPATH=tests python -m truth drawn small all [--write]`: show the tables, or write the docs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from truth.compare import Difference
from truth.run import RUNS
from truth.tables import Result, render, write_block

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Show or write; exit code 1 while something is unexplained."""
    names = [name for name in arguments if name in RUNS] or ["drawn"]
    unexplained = 0
    for name in names:
        results = RUNS[name](ROOT.parent / "shared" / "data")
        print(render(results))
        for result in results:
            unexplained += len(result.unexplained)
            _show(result)
        if "--write" in arguments:
            write_block(ROOT / "docs" / "truth.md", f"truth:{name}", render(results))
    return int(unexplained > 0)


def _show(result: Result) -> None:
    groups: Counter[tuple[str, ...]] = Counter()
    first: dict[tuple[str, ...], Difference] = {}
    for item in result.unexplained:
        role = item.truth.kind if item.truth else item.found.evidence.role if item.found else ""
        place = item.place
        key: tuple[str, ...] = (item.only, place.type, place.function, place.relation, place.path, role)
        groups[key] += 1
        first.setdefault(key, item)
    for key, count in groups.most_common(80):
        item = first[key]
        place = item.place
        print(f"UNEXPLAINED {count} {key}: {place.file} {place.line} {place.value} in {item.matched!r}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

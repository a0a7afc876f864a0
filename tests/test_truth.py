"""Over the real data truth and we differ only by written rules, and docs/truth.md says by how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from truth import tables
from truth.lines import telemetry_files
from truth.run import RUNS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "truth.md"


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in ("drawn", "small")])
def test_every_difference_has_its_rule(shared: Path, name: str) -> None:
    holds(name, RUNS[name](shared / "data"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_difference_has_its_rule_over_everything(shared: Path) -> None:
    data = shared / "data"
    results = RUNS["all"](data)
    assert sum(result.files for result in results) == len(telemetry_files(data, lambda _: True))
    holds("all", results)


def holds(name: str, results: Sequence[tables.Result]) -> None:
    for result in results:
        shown = "\n".join(
            f"{item.only}: {item.place} in {item.matched!r}" for item in result.unexplained[:20]
        )
        assert not result.unexplained, f"{result.name}: {len(result.unexplained)} unexplained:\n{shown}"
    assert tables.block(DOCUMENT, f"truth:{name}") == tables.render(results), (
        f"docs/truth.md is not what was counted: PYTHONPATH=tests python -m truth {name} --write"
    )

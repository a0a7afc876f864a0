"""Over the real data the fast engine, index and sieve, detects exactly what the reference does.

`test_truth.py` holds the reference against the truth; this holds the engine against the reference, on the
same files: every detection with its id, line, evidence, machine and window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from indicia import telemetry
from indicia.detect import detect
from indicia.match import engine
from indicia.match.kernel import BUILT
from indicia.model import Detection, Indicator
from truth.lines import read_rows
from truth.ours import indicators
from truth.run import can_meet, observable_values
from truth.sets import ALL, DRAWN, SMALL, DataSet, files_of

pytestmark = pytest.mark.skipif(not BUILT, reason="the C extension was not built")


def detections(data: Path, file: str, made: engine.Engine) -> Iterator[Detection]:
    """What an engine detects in one file, in the order of ids within a line."""
    matcher, sieve = made()
    selection = telemetry.Selection(sieve, lambda _count: None) if sieve is not None else None
    (source,) = telemetry.sources([str(data / "telemetry" / f"{file}.zst")])
    for event in telemetry.events(source, malformed=lambda _: None, selection=selection):
        yield from sorted(detect(event, matcher), key=lambda one: one.id)


def compare(data: Path, items: Iterable[DataSet], rows: list[Indicator]) -> int:
    """How many detections both gave."""
    slow, fast, count = engine.of_reference(rows), engine.of_indicators(rows), 0
    for item in items:
        for file in files_of(data, item):
            wanted = list(detections(data, file, slow))
            assert list(detections(data, file, fast)) == wanted, file
            count += len(wanted)
    return count


@pytest.mark.full
@pytest.mark.no_cover
def test_drawn(shared: Path) -> None:
    rows = list(indicators(read_rows(shared / "data", "drawn")))
    assert compare(shared / "data", [DRAWN], rows) > 10_000


@pytest.mark.slow
def test_small_sets(shared: Path) -> None:
    data = shared / "data"
    wanted = observable_values(data, (file for item in SMALL for file in files_of(data, item)))
    rows = list(indicators(row for row in read_rows(data, "truth") if can_meet(row, wanted)))
    assert compare(data, SMALL, rows) > 1_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything(shared: Path) -> None:
    rows = list(indicators(read_rows(shared / "data", "truth")))
    assert len(rows) > 3_000_000
    assert compare(shared / "data", ALL, rows) > 1_000

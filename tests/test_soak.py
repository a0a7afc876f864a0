"""Whatever is killed, full, locked or dead: what was acknowledged is there once (`tests/soak/`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.faults import FAULTS
from soak.kills import Soak
from soak.run import FaultRun, Report, told
from soak.stream import SHARE, Stream


def soak(folder: Path, stream: Stream, kills: int, pause: tuple[float, float]) -> None:
    found, wanted = Soak(folder / "home", stream, kills, pause).run()
    assert found == wanted
    assert wanted["detections"] == pytest.approx(stream.events / SHARE, rel=0.1)


@pytest.mark.full
def test_three_kills_change_nothing(tmp_path: Path) -> None:
    soak(tmp_path, Stream(3, 20_000), 3, (0.5, 1.0))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_change_nothing(tmp_path: Path) -> None:
    soak(tmp_path, Stream(1, 1_000_000), 100, (1.0, 4.0))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a run with each fault once."""
    return FaultRun(tmp_path_factory.mktemp("faults"), 40, seed=1, pause=0.2, each=0.8, short=True).run()


@pytest.mark.full
def test_faults_lose_nothing_and_raise_nothing_twice(report: Report) -> None:
    assert report.wrong == []
    assert report.facts["alerts"] != 0, told(report)


@pytest.mark.full
@pytest.mark.parametrize("name", [one.name for one in FAULTS])
def test_each_fault_was_there(report: Report, name: str) -> None:
    """What cannot be done on this machine is skipped, and says why."""
    if name in report.left_out:
        pytest.skip(report.left_out[name])
    assert report.rows[name].times == 1

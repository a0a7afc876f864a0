"""Exactly-once effect: kills change nothing of what is in the store in the end (`tests/soak.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak import SHARE, Soak, Stream


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

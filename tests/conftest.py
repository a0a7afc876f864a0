"""Fixtures that every test file may use, and the rule that holds for all: no socket leaves this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = ("127.", "::1", "localhost")


def only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): connecting or sending to another machine fails the test that does it."""
    if event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
        raise RuntimeError(f"a test wants to reach {address[0]}; tests use loopback alone")


sys.addaudithook(only_loopback)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real indicators and telemetry beside the checkout; without it the test is skipped."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("../shared is absent: tests over real data are skipped")
    return folder

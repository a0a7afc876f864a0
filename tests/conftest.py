"""Fixtures that every test file may use, and the rule that holds for all: no socket leaves this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import stored
from administered import alex, tenant
from browser import _served, portal
from service import Access, Client, Local, add_access, local

ROOT = Path(__file__).resolve().parent.parent
__all__ = ["_served", "alex", "portal", "tenant"]
LOOPBACK = ("127.", "::1", "localhost")

# The same examples in each run, so that a change is judged by what it changes; to look for what nobody has
# found yet is the work of `make fuzz`, and of INDICIA_EXAMPLES=3000 before any test.
settings.register_profile("repeated", derandomize=True)
if int(os.environ.get("INDICIA_EXAMPLES", "0")) <= 400:
    settings.load_profile("repeated")


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


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both kinds of databases, one after the other, for whoever has a store's path of `stored`."""
    with stored.on(request.param):
        yield request.param
    stored.drop(Path("/"))


@pytest.fixture(autouse=True)
def _file(request: pytest.FixtureRequest) -> Iterator[None]:
    """Who does not ask for both kinds has files, though others of its module ask."""
    with nullcontext() if "kind" in request.fixturenames else stored.on("sqlite"):
        yield


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[str]:
    """As `kind`; the stores below the test's own folder are gone after it."""
    yield kind
    stored.drop(tmp_path)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """The service over one store, for the tests of a file that look after themselves."""
    with local(tmp_path_factory.mktemp("home"), max_body_bytes=4 * 1024 * 1024) as started:
        yield started


@pytest.fixture(scope="module")
def access(service: Local) -> Access:
    """Its tenant contoso."""
    return add_access(service.store, "contoso")


@pytest.fixture(scope="module")
def api(service: Local, access: Access) -> Client:
    """Calls as contoso."""
    return service.client(access)


@pytest.fixture
def empty(service: Local, request: pytest.FixtureRequest) -> Client:
    """Calls as a tenant of the test's own."""
    return service.client(add_access(service.store, request.node.name))

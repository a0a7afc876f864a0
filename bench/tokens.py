"""Tokens: how many the token endpoint grants a second, and how many a request's check verifies.

    .venv/bin/python bench/tokens.py [--seconds 4] [--clients 8]

The endpoint over TLS on loopback: one service process, `clients` threads here with a connection each; beside
it `/health` of the same service, which routes and reads the store and signs nothing, and the bare signature.
The check without a network: a token met for the first time, one that is remembered, and all that `admit`
does (with the look into the store, so that a revocation acts at once). Wall-clock seconds of this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import requests  # noqa: E402

from indicia.auth.tokens import Credential, Grant  # noqa: E402
from indicia.settings import Settings  # noqa: E402
from indicia.store import Store  # noqa: E402
from indicia.web.gate import Gate, issuer_of  # noqa: E402
from service import Access, Process, add_access, running  # noqa: E402


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            access = add_access(store, "bench")
            checks(Settings(home), store, access, given.seconds)
        with running(home) as process:
            endpoint(process, access, given.clients, given.seconds)
    print(f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return 0


def checks(settings: Settings, store: Store, access: Access, seconds: float) -> None:
    """The rates that need no network, one thread."""
    issuer = issuer_of(settings, store)
    gate = Gate(store, issuer)
    grant = Grant(
        access.tenant_id, access.client_id, Credential("secret", access.secret_id), ("Ti.Read",),
        "https://graph.windows.net",
    )  # fmt: skip
    show("sign a token", rate(lambda: issuer.issue(grant), seconds))
    token = issuer.issue(grant).token
    show("verify, first time", rate(lambda: issuer._examine(token), seconds))
    show("verify, remembered", rate(lambda: issuer.verify(token), seconds))
    show("admit (verify, remembered, and the store)", rate(lambda: gate.admit(f"Bearer {token}"), seconds))


def endpoint(process: Process, access: Access, clients: int, seconds: float) -> None:
    """The rates over TLS."""

    def token(session: requests.Session) -> None:
        reply = session.post(f"{process.url}/{access.tenant_id}/oauth2/token", data=access.form, timeout=30)
        assert reply.status_code == 200, reply.text

    def health(session: requests.Session) -> None:
        assert session.get(f"{process.url}/health", timeout=30).status_code == 200

    show(f"token endpoint, {clients} clients", over(process, token, clients, seconds))
    show(f"/health, {clients} clients", over(process, health, clients, seconds))


def over(process: Process, call: Callable[[requests.Session], None], clients: int, seconds: float) -> float:
    """Calls a second of several threads, each with a connection of its own."""
    counts: list[int] = []

    def work() -> None:
        with process.session() as session:
            call(session)
            count, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                call(session)
                count += 1
            counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == clients
    return sum(counts) / seconds


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    call()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds / 2:
        for _ in range(20):
            call()
        count += 20
    return count / (time.perf_counter() - start)


def show(name: str, found: float) -> None:
    """One line."""
    print(f"{name:45} {found:12,.0f} /s")


if __name__ == "__main__":
    sys.exit(main())
